//! Tables that a page of the documentation keeps between two marks, `<!-- NAME -->` and `<!-- end of NAME -->`.

use std::fmt::Write as _;

/// `text` with `table` in the place of what stands between the marks of that name; `None` if it has none.
#[must_use]
pub fn replace(text: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

/// The lines that changed, old and new.
#[must_use]
pub fn difference(old: &str, new: &str) -> String {
    let mut text = String::new();
    for (old, new) in old.lines().zip(new.lines()).filter(|(old, new)| old != new) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "-{old}\n+{new}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_goes_between_the_marks_of_its_name() {
        let text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n";
        let fresh = replace(text, "x", "new\n").unwrap();
        assert_eq!(fresh, "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n");
        assert_eq!(difference(text, &fresh), "-old\n+new\n");
        assert!(replace(text, "z", "new\n").is_none());
    }
}

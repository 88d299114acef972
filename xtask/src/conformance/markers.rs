//! The markers: `/// Holds: MUST-12, SHLD-3` in the doc comment of a test.

use std::fs;
use std::path::Path;

const MARKER: &str = "/// Holds:";

/// One row named by one test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Marker {
    /// From the root of the repository.
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) id: String,
    /// Name of the test's function.
    pub(super) test: String,
}

impl Marker {
    /// `file:line`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// All markers of the sources below `folder`, by file and line, and what is wrong with others.
///
/// # Errors
/// A file or folder cannot be read.
pub(super) fn scan(root: &Path, folder: &str) -> Result<(Vec<Marker>, Vec<String>), String> {
    let (mut files, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        let fail = |error| format!("{}: cannot be read: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let (mut markers, mut wrong) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).map_err(|error| format!("{file}: cannot be read: {error}"))?;
        markers.extend(in_file(&file, &text, &mut wrong));
    }
    Ok((markers, wrong))
}

/// The markers of one file.
pub(super) fn in_file(file: &str, text: &str, wrong: &mut Vec<String>) -> Vec<Marker> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut markers = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let Some(ids) = line.strip_prefix(MARKER) else {
            let comment =
                line.strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']).trim_start());
            if comment.is_some_and(|text| text.starts_with("Holds:")) {
                wrong.push(format!("{file}:{}: a marker begins with '{MARKER}'", n + 1));
            }
            continue;
        };
        let ids: Vec<&str> = ids.split(',').map(str::trim).collect();
        if let Some(bad) = ids.iter().find(|id| !is_id(id)) {
            wrong.push(format!("{file}:{}: '{bad}' is no id of a row: '{MARKER} MUST-12, SHLD-3'", n + 1));
            continue;
        }
        match test_below(lines.get(n + 1..).unwrap_or_default()) {
            Ok(test) => markers.extend(ids.into_iter().map(|id| Marker {
                file: file.to_owned(),
                line: n + 1,
                id: id.to_owned(),
                test: test.to_owned(),
            })),
            Err(problem) => wrong.push(format!("{file}:{}: {problem}", n + 1)),
        }
    }
    markers
}

/// `MUST-12`, `U9293-3`.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(name, number)| {
        let is =
            |part: &str, known: fn(&u8) -> bool| !part.is_empty() && part.bytes().all(|byte| known(&byte));
        is(name, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) && is(number, u8::is_ascii_digit)
    })
}

/// Name of the test that begins with these lines: comments, attributes with `#[test]` among them, the function.
fn test_below<'a>(lines: &[&'a str]) -> Result<&'a str, &'static str> {
    let mut is_test = false;
    for line in lines {
        if line.starts_with("#[ignore") {
            return Err("an ignored test holds nothing: take the marker or the attribute away");
        }
        is_test |= *line == "#[test]" || line.starts_with("#[tokio::test");
        if line.starts_with("//") || line.starts_with("#[") {
            continue;
        }
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let name = name.and_then(|rest| rest.split('(').next()).filter(|_| is_test);
        return name.ok_or("the marker stands above no test: put it right above '#[test]'");
    }
    Err("the marker stands above no test: put it right above '#[test]'")
}

#[cfg(test)]
mod tests {
    use super::in_file;

    fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let mut wrong = Vec::new();
        let markers = in_file("a.rs", text, &mut wrong);
        let told = markers.iter().map(|marker| format!("{} {} {}", marker.place(), marker.id, marker.test));
        (told.collect(), wrong)
    }

    #[test]
    fn a_marker_belongs_to_the_test_below_it() {
        let text = "\
/// What it is for.
/// Holds: MUST-1, R5961-2
#[test]
#[cfg(unix)]
fn first() {
    /// Holds: U9293-3
    // More.
    #[tokio::test]
    async fn second() {}
}
";
        let told = ["a.rs:2 MUST-1 first", "a.rs:2 R5961-2 first", "a.rs:6 U9293-3 second"];
        assert_eq!(read(text), (told.map(String::from).to_vec(), Vec::new()));
    }

    #[test]
    fn a_marker_elsewhere_or_misspelt_is_told_with_its_place() {
        for (text, problem) in [
            ("\n/// Holds: MUST-1\nfn helper() {}\n", "a.rs:2: the marker stands above no test"),
            (
                "/// Holds: MUST-1\nstruct X;\n#[test]\nfn it() {}\n",
                "a.rs:1: the marker stands above no test",
            ),
            ("/// Holds: MUST-1\n#[test]\n#[ignore]\nfn it() {}\n", "a.rs:1: an ignored test holds nothing"),
            ("// Holds: MUST-1\n#[test]\nfn it() {}\n", "a.rs:1: a marker begins with '/// Holds:'"),
            ("/// Holds: MUST 1\n#[test]\nfn it() {}\n", "a.rs:1: 'MUST 1' is no id of a row"),
            ("/// Holds:\n#[test]\nfn it() {}\n", "a.rs:1: '' is no id of a row"),
        ] {
            let (markers, wrong) = read(text);
            assert!(markers.is_empty(), "{text}");
            assert!(wrong.len() == 1 && wrong[0].starts_with(problem), "{wrong:?}");
        }
    }
}

//! `docs/conformance.md`: each requirement with the tests that hold it, made from `docs/requirements.toml` and from the
//! markers in the tests.
//!
//! A marker is a line of a test's doc comment: `/// Holds: MUST-12, SHLD-3`.

mod markers;
mod page;
mod rows;

use crate::run::root;
use markers::Marker;
use rows::{Level, Requirements, Row, Standing};
use std::collections::BTreeMap;
use std::fs;

const ROWS: &str = "docs/requirements.toml";
const PAGE: &str = "docs/conformance.md";
/// Where tests are.
const TESTS: &str = "crates";

/// The tests of each row, by its id.
type Tests = BTreeMap<String, Vec<Marker>>;

/// Checks rows and markers, and compares the page with them or, with `write`, makes it anew.
///
/// # Errors
/// Everything that is wrong, a line each: the place, what it is, and what to do.
pub(crate) fn run(write: bool) -> Result<String, String> {
    let text =
        fs::read_to_string(root().join(ROWS)).map_err(|error| format!("{ROWS}: cannot be read: {error}"))?;
    let requirements = rows::read(&text).map_err(|error| format!("{ROWS}: {error}"))?;
    let (markers, mut wrong) = markers::scan(root(), TESTS)?;
    let tests = attach(&requirements, markers, &mut wrong);
    for row in requirements.rows() {
        wrong.extend(judge(row, &text, &tests));
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let wanted = page::page(&requirements, &tests);
    let path = root().join(PAGE);
    if fs::read_to_string(&path).unwrap_or_default() != wanted {
        if !write {
            return Err(format!(
                "{PAGE}: is not what {ROWS} and the tests say: run 'cargo xtask conformance' and look at the difference"
            ));
        }
        fs::write(&path, wanted).map_err(|error| format!("{PAGE}: cannot be written: {error}"))?;
    }
    Ok(page::in_a_line(&requirements, &tests))
}

/// Sorts markers by row; a marker that names none is wrong.
fn attach(requirements: &Requirements, markers: Vec<Marker>, wrong: &mut Vec<String>) -> Tests {
    let mut tests: Tests = requirements.rows().map(|row| (row.id.get_ref().clone(), Vec::new())).collect();
    for marker in markers {
        match tests.get_mut(&marker.id) {
            Some(held) if held.contains(&marker) => {
                wrong.push(format!("{}: {} stands there twice", marker.place(), marker.id));
            }
            Some(held) => held.push(marker),
            None => wrong.push(format!(
                "{}: there is no row {}: correct the marker, or add the row to {ROWS}",
                marker.place(),
                marker.id
            )),
        }
    }
    tests
}

/// What is wrong with a row.
fn judge(row: &Row, text: &str, tests: &Tests) -> Option<String> {
    let id = row.id.get_ref();
    let before = text.get(..row.id.span().start).unwrap_or_default();
    let place = format!("{ROWS}:{}", before.lines().count().max(1));
    let has_test = tests.get(id).is_some_and(|tests| !tests.is_empty());
    match row.standing() {
        Err(problem) => Some(format!("{place}: {id}: {problem}")),
        Ok(Standing::NotApplicable(_)) if has_test => Some(format!(
            "{place}: {id} is not-applicable and has a test: take the marker out, or the reason"
        )),
        Ok(Standing::Claimed) if !has_test && matches!(row.level, Level::Must | Level::Rule) => {
            Some(format!(
                "{place}: {id} has no test: put '/// Holds: {id}' above one that fails where this is broken, \
             or say here 'deviates' and 'linux', or 'not-applicable'"
            ))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Marker, attach, judge, markers, rows};

    const TEXT: &str = "
[[rfc]]
number = 1
title = 'One'

[[rfc.row]]
id = 'MUST-1'
section = '2'
level = 'MUST'
meaning = 'Be held.'

[[rfc.row]]
id = 'MAY-1'
section = '3'
level = 'MAY'
meaning = 'May be held.'
";

    fn problems(more: &str, tests: &str) -> Vec<String> {
        let text = format!("{TEXT}{more}");
        let requirements = rows::read(&text).unwrap();
        let mut wrong = Vec::new();
        let found: Vec<Marker> = markers::in_file("a.rs", tests, &mut wrong);
        let tests = attach(&requirements, found, &mut wrong);
        wrong.extend(requirements.rows().filter_map(|row| judge(row, &text, &tests)));
        wrong
    }

    fn holds(ids: &str) -> String {
        format!("/// Holds: {ids}\n#[test]\nfn it() {{}}\n")
    }

    #[test]
    fn a_must_needs_a_test_or_a_reason_and_a_may_does_not() {
        let wrong = problems("", "");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("docs/requirements.toml:7: MUST-1 has no test"), "{wrong:?}");
        assert_eq!(problems("", &holds("MUST-1")), Vec::<String>::new());
    }

    #[test]
    fn a_marker_must_name_a_row_once() {
        let wrong = problems("", &holds("MUST-1, MUST-2, MUST-1"));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("a.rs:1: there is no row MUST-2"), "{wrong:?}");
        assert_eq!(wrong[1], "a.rs:1: MUST-1 stands there twice");
    }

    #[test]
    fn a_deviation_names_linux_and_what_does_not_apply_has_no_test() {
        let row = "[[rfc.row]]\nid = 'MUST-3'\nsection = '4'\nlevel = 'MUST'\nmeaning = 'x'\n";
        let with = |more: &str, ids: &str| problems(&format!("{row}{more}\n"), &holds(ids));
        assert!(
            with("deviates = 'why'", "MUST-1")[0].contains("MUST-3: 'deviates' and 'linux' belong together")
        );
        assert_eq!(with("deviates = 'why'\nlinux = 'tcp_x'", "MUST-1"), Vec::<String>::new());
        assert_eq!(with("deviates = 'why'\nlinux = 'tcp_x'", "MUST-1, MUST-3"), Vec::<String>::new());
        assert_eq!(with("not-applicable = 'why'", "MUST-1"), Vec::<String>::new());
        assert!(with("not-applicable = 'why'", "MUST-1, MUST-3")[0].contains("MUST-3 is not-applicable"));
    }
}

//! `docs/conformance.md`, written.

use super::rows::{Level, Requirements, Rfc, Row, Standing};
use super::{PAGE, ROWS, Tests};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How a row stands in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Met,
    Deviates,
    NotApplicable,
    Open,
}

impl State {
    const ALL: [Self; 4] = [Self::Met, Self::Deviates, Self::NotApplicable, Self::Open];

    fn of(row: &Row, tests: &Tests) -> Self {
        match row.standing() {
            Ok(Standing::Deviates { .. }) => Self::Deviates,
            Ok(Standing::NotApplicable(_)) => Self::NotApplicable,
            _ if tests.get(row.id.get_ref()).is_some_and(|tests| !tests.is_empty()) => Self::Met,
            _ => Self::Open,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Deviates => "deviates",
            Self::NotApplicable => "not applicable",
            Self::Open => "open",
        }
    }
}

/// Rows by level and state.
fn count<'a>(rows: impl Iterator<Item = &'a Row>, tests: &Tests) -> BTreeMap<(Level, State), usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry((row.level, State::of(row, tests))).or_default() += 1;
    }
    counts
}

/// `MUST: 61 met, 8 deviating; ...`.
pub(super) fn in_a_line(requirements: &Requirements, tests: &Tests) -> String {
    let counts = count(requirements.rows(), tests);
    let levels = Level::ALL.iter().filter_map(|level| {
        let parts: Vec<String> = State::ALL
            .iter()
            .filter_map(|state| Some(format!("{} {}", counts.get(&(*level, *state))?, state.name())))
            .collect();
        (!parts.is_empty()).then(|| format!("{}: {}", level.name(), parts.join(", ")))
    });
    levels.collect::<Vec<_>>().join("; ")
}

/// The whole page.
pub(super) fn page(requirements: &Requirements, tests: &Tests) -> String {
    let file = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut text = format!(
        "# Conformance\n\n\
         What the RFCs ask of a TCP, in our words, and the tests that hold it. This page is made by\n\
         `cargo xtask conformance` from [{rows}]({rows}) and from the line `/// Holds: ...` above the tests;\n\
         `cargo xtask test` fails when `{page}` is behind them, or when a MUST has neither a test nor a reason.\n\n\
         - **met**: the named tests fail if it is broken.\n\
         - **deviates**: lastack does otherwise; why, and what Linux does. Tests named there hold what it does instead.\n\
         - **not applicable**: there is nothing here that it could be about, or it is optional and not built.\n\
         - **open**: nothing holds it yet.\n\n\
         A MUST NOT counts as a MUST. A *rule* is binding text without a capitalised word. What lastack does with Linux\n\
         and against an RFC stands in [deviations.md](deviations.md) too.\n\n",
        rows = file(ROWS),
        page = file(PAGE),
    );
    let states = State::ALL.map(State::name).join(" | ");
    let _ = writeln!(text, "| document | level | rows | {states} |\n|---|---|---|---|---|---|---|");
    for rfc in &requirements.rfc {
        summarise(&mut text, &format!("RFC {}", rfc.number), &count(rfc.row.iter(), tests));
    }
    summarise(&mut text, "all", &count(requirements.rows(), tests));
    for rfc in &requirements.rfc {
        table(&mut text, rfc, tests);
    }
    text
}

fn summarise(text: &mut String, name: &str, counts: &BTreeMap<(Level, State), usize>) {
    for level in Level::ALL {
        let of = State::ALL.map(|state| counts.get(&(level, state)).copied().unwrap_or(0));
        let all: usize = of.iter().sum();
        if all > 0 {
            let [met, deviates, not_applicable, open] = of;
            let level = level.name();
            let _ = writeln!(
                text,
                "| {name} | {level} | {all} | {met} | {deviates} | {not_applicable} | {open} |"
            );
        }
    }
}

fn table(text: &mut String, rfc: &Rfc, tests: &Tests) {
    let number = rfc.number;
    let _ = writeln!(text, "\n## RFC {number}: {}\n", rfc.title);
    text.push_str("| row | section | level | what it asks | state | how |\n|---|---|---|---|---|---|\n");
    for row in &rfc.row {
        let (id, section, level) = (row.id.get_ref(), &row.section, row.level.name());
        let state = State::of(row, tests).name();
        let how = how(row, tests);
        let _ = writeln!(text, "| {id} | {section} | {level} | {} | {state} | {how} |", row.meaning);
    }
}

fn how(row: &Row, tests: &Tests) -> String {
    let names = tests.get(row.id.get_ref()).into_iter().flatten();
    let names: Vec<_> = names.map(|test| format!("[`{}`](../{})", test.test, test.file)).collect();
    let names = names.join(", ");
    match row.standing() {
        Ok(Standing::Deviates { why, linux }) => {
            let end = if names.is_empty() { String::new() } else { format!(" {names}") };
            format!("{why} Linux: {linux}{end}")
        }
        Ok(Standing::NotApplicable(why)) => why.to_owned(),
        _ => names,
    }
}

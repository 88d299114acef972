//! The bestiary: how connections ended wrongly in other stacks and programs, each rebuilt with lastack in the place of
//! what failed.
//!
//! One source: the tables that the macro `entries` makes. The command lists and runs them, the tests run each under its
//! name, and `docs/bestiary.md` is written from them.

mod applications;
mod document;
mod hosts;
mod kit;
mod lost;
mod relays;
mod resets;
mod stuck;
mod time_wait;
mod transitions;

pub use document::document;

use crate::args::Bestiary;
use crate::output;
use kit::Verdict;
use serde::Serialize;
use std::fmt::Write as _;

/// What a group of entries is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// A stack ends its own connections wrongly.
    Close,
    /// A reset where an end of file was due, the other way round, or nobody can tell which it was.
    Reset,
    /// Half-close is not carried, and CLOSE_WAIT or FIN_WAIT_2 pile up.
    HalfClose,
    /// Ports or memory run out in TIME_WAIT.
    TimeWait,
}

impl Theme {
    /// All, in the order of the document.
    pub const ALL: [Self; 4] = [Self::Close, Self::Reset, Self::HalfClose, Self::TimeWait];

    /// Heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Close => "Close goes wrong inside the stack",
            Self::Reset => "Reset or end of file",
            Self::HalfClose => "Half-close, and CLOSE_WAIT for ever",
            Self::TimeWait => "TIME_WAIT",
        }
    }
}

/// What an entry does.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Rebuilds what went wrong; the error says what lastack did instead of the right thing.
    Scenario(fn() -> Verdict),
    /// Cannot be rebuilt; the entry says why.
    NotRebuilt,
}

/// A bug that somebody met.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Project, number and matter, as an identifier.
    pub name: &'static str,
    /// Project and number of the public report.
    pub source: &'static str,
    /// What it is about.
    pub theme: Theme,
    /// What went wrong, in a sentence.
    pub wrong: &'static str,
    /// What lastack does, in a sentence; or why the entry was not rebuilt.
    pub right: &'static str,
    /// What it does.
    pub kind: Kind,
}

impl Entry {
    /// Runs the scenario; nothing to do for an entry that was not rebuilt.
    ///
    /// # Errors
    /// What lastack did wrong.
    pub fn run(&self) -> Verdict {
        match self.kind {
            // One that panics must not keep the others from running.
            Kind::Scenario(run) => {
                std::panic::catch_unwind(run).unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
            }
            Kind::NotRebuilt => Ok(()),
        }
    }

    /// Whether there is a scenario.
    pub const fn is_rebuilt(&self) -> bool {
        matches!(self.kind, Kind::Scenario(_))
    }
}

/// Makes the table `ENTRIES` of a module, and a test for each entry. A name is that of the function that rebuilds it;
/// after a dash stands one that cannot be rebuilt, and why.
macro_rules! entries {
    ($theme:ident;
     $($name:ident: $source:literal, $wrong:literal, $right:literal;)*
     $(- $absent:ident: $absent_source:literal, $absent_wrong:literal, $why:literal;)*) => {
        pub(super) const ENTRIES: &[$crate::bestiary::Entry] = &[
            $($crate::bestiary::Entry {
                name: stringify!($name),
                source: $source,
                theme: $crate::bestiary::Theme::$theme,
                wrong: $wrong,
                right: $right,
                kind: $crate::bestiary::Kind::Scenario($name),
            },)*
            $($crate::bestiary::Entry {
                name: stringify!($absent),
                source: $absent_source,
                theme: $crate::bestiary::Theme::$theme,
                wrong: $absent_wrong,
                right: $why,
                kind: $crate::bestiary::Kind::NotRebuilt,
            },)*
        ];

        #[cfg(test)]
        mod each {
            $(#[test]
            fn $name() {
                if let Err(wrong) = super::$name() {
                    panic!("{wrong}");
                }
            })*
        }
    };
}
use entries;

/// Every entry, theme by theme.
pub fn all() -> Vec<Entry> {
    let tables = [
        lost::ENTRIES,
        stuck::ENTRIES,
        transitions::ENTRIES,
        resets::ENTRIES,
        applications::ENTRIES,
        relays::ENTRIES,
        time_wait::ENTRIES,
    ];
    tables.concat()
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    source: &'static str,
    theme: &'static str,
    wrong: &'static str,
    right: &'static str,
    /// `passed`, `failed` or `not rebuilt`; absent in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    /// What went wrong with lastack.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Lists or runs. Ok: whether every entry passed.
///
/// # Errors
/// A line for the user: there is no such entry, or the output cannot be written.
pub fn main(args: &Bestiary) -> Result<bool, String> {
    let (text, passed) = report(&chosen(&args.names)?, args)?;
    output::write(None, &text)?;
    Ok(passed)
}

/// What is printed, and whether every entry passed.
fn report(entries: &[Entry], args: &Bestiary) -> Result<(String, bool), String> {
    let mut lines = Vec::new();
    let mut text = String::new();
    let mut failed = 0;
    for entry in entries {
        let verdict = if args.list { None } else { Some(entry.run()) };
        let result = verdict.as_ref().map(|verdict| match verdict {
            _ if !entry.is_rebuilt() => "not rebuilt",
            Ok(()) => "passed",
            Err(_) => "failed",
        });
        let failure = verdict.and_then(Result::err);
        failed += usize::from(failure.is_some());
        describe(&mut text, entry, result, failure.as_deref());
        lines.push(Line {
            name: entry.name,
            source: entry.source,
            theme: entry.theme.title(),
            wrong: entry.wrong,
            right: entry.right,
            result,
            failure,
        });
    }
    let rebuilt = entries.iter().filter(|entry| entry.is_rebuilt()).count();
    let absent = entries.len() - rebuilt;
    if args.list {
        let _ = writeln!(text, "{} entries, of which {absent} are not rebuilt", entries.len());
    } else {
        let _ = writeln!(text, "{} passed, {failed} failed, {absent} not rebuilt", rebuilt - failed);
    }
    if args.json {
        text =
            serde_json::to_string_pretty(&lines).map_err(|error| format!("cannot render JSON: {error}"))?;
        text.push('\n');
    }
    Ok((text, failed == 0))
}

fn describe(text: &mut String, entry: &Entry, result: Option<&str>, failure: Option<&str>) {
    let result = result.map_or(String::new(), |result| format!(": {result}"));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}{result}\n  {}: {}", entry.name, entry.source, entry.wrong);
    let label = if entry.is_rebuilt() { "lastack" } else { "not rebuilt" };
    let _ = writeln!(text, "  {label}: {}", entry.right);
    if let Some(failure) = failure {
        let _ = writeln!(text, "  FAILED: {failure}");
    }
}

/// The entries whose names contain one of the words; all without words.
fn chosen(words: &[String]) -> Result<Vec<Entry>, String> {
    let all = all();
    if let Some(word) = words.iter().find(|word| !all.iter().any(|e| e.name.contains(word.as_str()))) {
        return Err(format!("no entry's name contains '{word}'; see 'lastack bestiary --list'"));
    }
    let wanted = |entry: &Entry| words.is_empty() || words.iter().any(|word| entry.name.contains(word));
    Ok(all.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests;

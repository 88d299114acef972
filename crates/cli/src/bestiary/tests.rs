//! The tables themselves; each entry has a test of its own beside its function.

use super::{Entry, Kind, Theme, all, document, report};
use crate::args::Bestiary;
use std::collections::HashSet;
use std::path::Path;

#[test]
fn names_and_reports_are_unique_and_sentences_fit_a_table() {
    let entries = all();
    let names: HashSet<_> = entries.iter().map(|entry| entry.name).collect();
    let sources: HashSet<_> = entries.iter().map(|entry| entry.source).collect();
    assert_eq!((names.len(), sources.len()), (entries.len(), entries.len()));
    for entry in &entries {
        let number: String = entry.source.chars().rev().take_while(char::is_ascii_digit).collect();
        let number: String = number.chars().rev().collect();
        assert!(!number.is_empty() && entry.name.contains(&number), "{}: {}", entry.name, entry.source);
        for sentence in [entry.wrong, entry.right] {
            assert!(sentence.len() > 20 && !sentence.contains('|') && !sentence.ends_with('.'), "{sentence}");
        }
    }
    for theme in Theme::ALL {
        assert!(entries.iter().any(|entry| entry.theme == theme), "{}", theme.title());
    }
}

#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bestiary.md");
    let page = document();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).expect("the file can be written");
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/bestiary.md is stale; run the tests of lastack-cli with BLESS=1");
}

#[test]
fn an_entry_that_fails_or_panics_is_told_and_does_not_stop_the_others() {
    let entry = |name, run| Entry {
        name,
        source: "nowhere #1",
        theme: Theme::Close,
        wrong: "it went wrong",
        right: "it goes right",
        kind: Kind::Scenario(run),
    };
    let entries = [
        entry("fails", || Err("1 instead of 2".to_owned())),
        entry("panics", || panic!("this panic belongs to the test")),
        entry("passes", || Ok(())),
    ];
    let args = |json| Bestiary { names: Vec::new(), list: false, json };
    let (text, passed) = report(&entries, &args(false)).expect("renders");
    assert!(!passed);
    assert!(text.contains("fails: failed") && text.contains("FAILED: 1 instead of 2"), "{text}");
    assert!(text.contains("panics: failed") && text.contains("FAILED: it panicked"), "{text}");
    assert!(text.ends_with("1 passed, 2 failed, 0 not rebuilt\n"), "{text}");
    let (text, passed) = report(&entries, &args(true)).expect("renders");
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(!passed && list[0]["failure"] == "1 instead of 2" && list[2]["result"] == "passed", "{text}");
}

//! The tables themselves; each entry has a test of its own beside its function.

use super::{Theme, all, document};
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

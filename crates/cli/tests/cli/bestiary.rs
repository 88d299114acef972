//! `lastack bestiary`: what it lists, runs and says. Each entry is a test of its own in the library.

use crate::support::{lastack, stdout, text};
use serde_json::Value;

fn json(args: &[&str]) -> Vec<Value> {
    serde_json::from_str(&stdout(&[&["bestiary", "--json"], args].concat())).expect("a list")
}

#[test]
fn every_entry_runs_and_none_fails() {
    let entries = json(&[]);
    let count = |result: &str| entries.iter().filter(|entry| entry["result"] == result).count();
    assert_eq!(count("passed") + count("not rebuilt"), entries.len());
    assert!(count("passed") >= 100, "{} passed", count("passed"));
    assert!(entries.iter().all(|entry| entry["failure"].is_null()));
}

#[test]
fn list_names_all_and_runs_nothing() {
    let list = json(&["--list"]);
    assert_eq!(list.len(), json(&[]).len());
    assert!(list.iter().all(|entry| entry["result"].is_null()));
    let shown = stdout(&["bestiary", "--list"]);
    for entry in list {
        for field in ["name", "source", "wrong", "right"] {
            assert!(shown.contains(entry[field].as_str().expect("a sentence")), "{entry}");
        }
    }
}

#[test]
fn words_choose_entries() {
    let shown = stdout(&["bestiary", "ipstack_89", "gvisor_13393"]);
    assert!(shown.contains("ipstack_89_fin_after_inflight_data: passed"), "{shown}");
    assert!(shown.contains("gvisor_13393_close_behind_zero_window: passed"), "{shown}");
    assert!(shown.ends_with("2 passed, 0 failed, 0 not rebuilt\n"), "{shown}");
}

#[test]
fn a_word_that_no_name_contains_is_status_2() {
    let output = lastack(&["bestiary", "unicorn"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("'unicorn'") && error.contains("--list"), "{error}");
}

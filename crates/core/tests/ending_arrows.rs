//! The table of arrows, as reviewed: `docs/state-table.txt` and `docs/state-table.dot`. `BLESS=1 cargo test` rewrites
//! them.

use lastack_core::tcp::state::{ARROWS, write_graphviz, write_table};
use lastack_core::{Cause, State};
use std::path::PathBuf;

fn check(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/{name} is not the table of the code; look at the difference, then BLESS=1");
}

#[test]
fn the_table_of_arrows_is_the_reviewed_one() {
    let mut text = String::new();
    write_table(&mut text).unwrap();
    check("state-table.txt", &text);
}

#[test]
fn the_graph_of_arrows_is_the_reviewed_one() {
    let mut text = String::new();
    write_graphviz(&mut text).unwrap();
    check("state-table.dot", &text);
}

#[test]
fn no_arrow_is_listed_twice() {
    for (i, arrow) in ARROWS.iter().enumerate() {
        let again = ARROWS[i + 1..].iter().any(|other| (other.from, other.to) == (arrow.from, arrow.to));
        assert!(!again, "{} -> {}", arrow.from, arrow.to);
        assert!(!arrow.causes.is_empty());
    }
}

#[test]
fn every_state_can_be_left_for_closed() {
    // P1: no state without an end.
    for state in State::ALL {
        let mut reached = vec![state];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            for arrow in ARROWS.iter().filter(|arrow| arrow.from == from) {
                if !reached.contains(&arrow.to) {
                    reached.push(arrow.to);
                }
            }
        }
        assert!(reached.contains(&State::Closed), "{state}");
    }
}

#[test]
fn time_wait_is_entered_from_fin_wait_2_and_closing_only() {
    for arrow in ARROWS.iter().filter(|arrow| arrow.to == State::TimeWait) {
        assert!(matches!(arrow.from, State::FinWait2 | State::Closing), "{}", arrow.from);
        assert!(arrow.causes.iter().all(|cause| matches!(cause, Cause::Fin | Cause::FinAcked)));
    }
}

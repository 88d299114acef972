//! The proof that the search can fail, and its full short list. Part of `cargo xtask test`, built with optimisation and the
//! feature `deliberate-bugs`.
#![cfg(feature = "deliberate-bugs")]

use lastack_check::{Limits, Rule, configurations, explore, replay};
use lastack_core::DeliberateBug;

/// Distinct states that the short list has at least.
const STATES: usize = 1_000_000;

/// The rule that both searches find broken, and the steps that the fast one needs for it.
fn broken(name: &str, bug: DeliberateBug) -> (Rule, usize) {
    let found = configurations().into_iter().find(|c| c.name == name);
    let mut configuration = found.expect("a configuration of that name");
    configuration.bug = Some(bug);
    let report = explore(&configuration, Limits::default(), &mut |_| ());
    let violation = report.violation.unwrap_or_else(|| panic!("{bug:?} was not found in {name}"));
    let full = explore(&configuration, Limits { full: true, ..Limits::default() }, &mut |_| ());
    let plain =
        full.violation.unwrap_or_else(|| panic!("{bug:?} was not found in {name} by the plain search"));
    assert_eq!(violation.broken.rule, plain.broken.rule);
    assert!(violation.schedule.len() <= plain.schedule.len(), "breadth first finds the shortest");
    let log = replay(&configuration, &violation.schedule);
    assert!(!log.packets.is_empty() && !log.records.is_empty(), "the schedule can be drawn");
    (violation.broken.rule, violation.schedule.len())
}

#[test]
fn a_fin_that_is_not_retransmitted_is_found() {
    let (rule, steps) = broken("client-closes/loss", DeliberateBug::FinNotRetransmitted);
    assert_eq!(rule, Rule::Finished);
    assert!(steps <= 20, "{steps} steps");
}

#[test]
fn an_ack_of_data_taken_for_that_of_the_fin_is_found() {
    let (rule, steps) = broken("client-closes/loss", DeliberateBug::AckTakenForFin);
    assert_eq!(rule, Rule::Pair);
    assert!(steps <= 12, "{steps} steps");
}

#[test]
fn a_time_wait_that_is_skipped_is_found() {
    let (rule, steps) = broken("client-closes/loss", DeliberateBug::TimeWaitSkipped);
    assert_eq!(rule, Rule::ErrorHasCause);
    assert!(steps <= 20, "{steps} steps");
}

#[test]
fn the_short_list_is_explored_until_its_frontiers_are_empty_and_no_rule_is_broken() {
    let mut states = 0;
    for configuration in configurations().iter().filter(|c| c.short) {
        let report = explore(configuration, Limits::default(), &mut |_| ());
        assert!(report.complete(), "{}: {:?}", report.name, report.violation);
        states += report.states;
    }
    println!("{states} distinct states");
    assert!(states >= STATES, "{states}");
}

//! The search on small configurations, and what is made of a schedule.

use lastack_check::{Configuration, Limits, configurations, explore, replay, script, undisturbed};
use lastack_packetdrill::suite::{self, Job, Target};
use lastack_sim::Side;

fn configuration(name: &str) -> Configuration {
    configurations().into_iter().find(|c| c.name == name).expect("a configuration of that name")
}

#[test]
fn every_schedule_of_the_small_configurations_is_explored_and_keeps_the_rules() {
    for name in ["client-closes/loss", "server-closes/losses+ts", "both-close-early/timer", "unread/loss"] {
        let report = explore(&configuration(name), Limits::default(), &mut |_| ());
        assert!(report.complete(), "{name}: {report:?}");
        assert!(report.states > 500, "{name}: {} states", report.states);
    }
}

#[test]
fn a_budget_stops_the_search_and_the_report_says_so() {
    let limits = Limits { transitions: Some(5_000), ..Limits::default() };
    let report = explore(&configuration("duplex/worst"), limits, &mut |_| ());
    assert!(!report.complete() && report.violation.is_none(), "{report:?}");
    assert!(report.transitions >= 5_000 && report.depth > 3, "{report:?}");
}

#[test]
fn names_are_unique_and_the_short_list_has_every_scenario_but_the_widest() {
    let all = configurations();
    let mut names: Vec<_> = all.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().filter(|c| c.short).count() >= 100);
}

#[test]
fn a_schedule_replays_to_the_same_log_twice() {
    let configuration = configuration("half-close/reorder+ts");
    let schedule = undisturbed(&configuration);
    let tell = || format!("{:?}", replay(&configuration, &schedule).records);
    assert_eq!(tell(), tell());
}

#[test]
fn each_end_of_an_undisturbed_schedule_is_a_script_that_passes() {
    let mut jobs = Vec::new();
    for configuration in configurations().iter().filter(|c| c.name.ends_with("/reorder")) {
        let log = replay(configuration, &undisturbed(configuration));
        for side in Side::BOTH {
            let name = format!("{} {}", configuration.name, side.name());
            let text = script(configuration, &log, side);
            jobs.push(Job { name, text, target: Target::Lastack, options: Vec::new() });
        }
    }
    assert!(jobs.len() > 30, "{}", jobs.len());
    suite::run_all(&jobs, 2, |job, report| {
        let passed = report.verdict == lastack_packetdrill::run::Verdict::Passed;
        assert!(passed, "{}: {report:?}\n{}", job.name, job.text);
    });
}

//! The road of `wan` and `fairness`, with the running kernel at its ends. Needs root.

use lastack_bench::wan::{Plan, Point, fairness, goodput};

const POINT: Point = Point { rate: 20.0, rtt: 2.0, loss: 0.0, reorder: 0.0 };

fn plan(seconds: f64) -> Plan {
    Plan { rounds: 1, seconds: Some(seconds), parallel: 3 }
}

fn without_root() -> bool {
    let skip = std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1");
    if skip {
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
    }
    skip
}

#[test]
fn both_stacks_send_over_the_road_and_neither_more_than_it_carries() {
    if without_root() {
        return;
    }
    let outcomes = goodput(&[POINT], &["cubic".to_owned()], plan(0.5)).unwrap();
    let outcome = &outcomes[0];
    for share in outcome.lastack.iter().chain(&outcome.kernel) {
        assert!(*share > 0.0 && *share < 1.0, "{outcome:?}");
    }
}

#[test]
fn every_connection_of_both_stacks_has_a_share_of_one_road() {
    if without_root() {
        return;
    }
    for shares in fairness(&[POINT], &["reno".to_owned()], plan(0.5)).unwrap() {
        let run = &shares.runs[0];
        assert_eq!(run.len(), shares.senders.len());
        // What waited behind a lost packet counts when it is read.
        let sum: f64 = run.iter().sum();
        assert!(sum > 0.0 && sum < 1.5, "{shares:?}");
        assert!(shares.jain().median <= 1.0 + 1e-9);
    }
}

#[test]
fn unknown_congestion_control_is_an_error_that_names_it() {
    if without_root() {
        return;
    }
    let error = goodput(&[POINT], &["sideways".to_owned()], plan(0.1)).unwrap_err().to_string();
    assert!(error.contains("sideways"), "{error}");
}

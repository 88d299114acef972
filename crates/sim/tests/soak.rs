//! Scenarios by chance. `lastack sim soak` runs thousands; here are a few, so that each change of the stack meets them.

use lastack_sim::{random_scenario, run_scenario};

#[test]
fn a_few_hundred_scenarios_by_chance_lose_no_byte_and_leave_nothing_behind() {
    for seed in 1..301 {
        let scenario = random_scenario(seed);
        let report = run_scenario(&scenario, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(report.passed(), "lastack sim soak --seed {seed}: {:#?}", report.failures);
    }
}

//! Scenarios by chance, once with the short paths of the core and once without any of them: the packets are the same, and so is
//! what became of everything. The core's own test of this looks closer, at less.

use lastack_core::ShortPaths;
use lastack_sim::{Options, Report, random_scenario, run_scenario, run_with};

fn general(scenario: &lastack_sim::Scenario, seed: u64) -> Report {
    let tune = Some(
        (|_: &str, config: &mut lastack_core::Config| config.declined = ShortPaths::all())
            as fn(&str, &mut _),
    );
    run_with(scenario, seed, Options { tune, ..Options::default() }).expect("it went well before")
}

#[test]
fn five_hundred_scenarios_by_chance_go_the_same_way_without_short_paths() {
    for seed in 1..501 {
        let scenario = random_scenario(seed);
        let short = run_scenario(&scenario, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let general = general(&scenario, seed);
        assert_eq!(short.digest, general.digest, "seed {seed}");
        assert_eq!(format!("{short:?}"), format!("{general:?}"), "seed {seed}");
    }
}

//! The scenarios that come with the crate.

use lastack_sim::{library, run_scenario};

#[test]
fn every_scenario_of_the_library_passes_and_its_faults_happen() {
    for entry in library() {
        let scenario = entry.scenario().expect(entry.name);
        let report = run_scenario(&scenario, 1).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        assert!(report.passed(), "{}: {:#?}", entry.name, report.failures);
        assert!(report.faults.iter().all(|fault| fault.fired > 0), "{}: {:?}", entry.name, report.faults);
    }
}

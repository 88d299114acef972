//! `lastack check`, as its user sees it.

use crate::support::{lastack, stdout, text};

#[test]
fn check_explores_by_name_and_says_how_many_states_there_are() {
    let output = lastack(&["check", "no-listener"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    assert!(
        lines.lines().any(|l| l.starts_with("no-listener/worst+ts ") && l.ends_with("complete")),
        "{lines}"
    );
    assert!(lines.contains("12 configurations, 12 complete, 0 broken; "), "{lines}");
}

#[test]
fn check_stops_at_its_budget_and_names_the_depth_in_json_too() {
    let output = lastack(&["check", "--json", "--budget", "2000", "--threads", "1", "duplex/losses+ts"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let entry = &list[0];
    assert_eq!(entry["name"], "duplex/losses+ts");
    assert_eq!(entry["complete"], false);
    assert!(entry["violation"].is_null() && entry["depth"].as_u64() > Some(3), "{entry}");
    assert!(entry["transitions"].as_u64() >= Some(2000), "{entry}");
}

#[test]
fn check_shows_what_the_applications_do_undisturbed() {
    let drawn = stdout(&["check", "--show", "half-close/reorder+ts"]);
    for part in ["half-close/reorder+ts", "shutdown(", "FIN_WAIT_2", "CLOSE_WAIT", "TIME_WAIT"] {
        assert!(drawn.contains(part), "{part} is missing:\n{drawn}");
    }
}

#[test]
fn check_lists_every_configuration_with_its_list_and_a_sentence() {
    let list = stdout(&["check", "--list"]);
    assert!(list.lines().count() > 150, "{list}");
    assert!(list.lines().all(|line| line.contains(" short ") || line.contains(" long ")), "{list}");
}

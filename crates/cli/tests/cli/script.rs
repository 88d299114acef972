//! `lastack script`: its lines, its last line, and its exit status.

use crate::support::{in_crate, lastack, stdout, temporary, text};

/// Writes a script and gives its path.
fn script(name: &str, lines: &str) -> String {
    let path = temporary(name);
    std::fs::write(&path, lines).expect("the script is written");
    path.to_str().expect("UTF-8").to_owned()
}

/// Nobody has the port: a RST answers.
const RIGHT: &str = "0 < . 1:1(0) ack 7 win 100\n+0 > R 7:7(0)\n";

#[test]
fn a_script_that_passes_is_a_line_and_status_0() {
    let path = script("script-right.pkt", RIGHT);
    assert_eq!(stdout(&["script", &path]), format!("passed  {path}\n1 passed, 0 failed, 0 skipped\n"));
}

#[test]
fn a_failure_names_line_and_both_packets_and_is_status_1() {
    let path = script("script-wrong.pkt", &RIGHT.replace("R 7:7", "R 8:8"));
    let output = lastack(&["script", &path]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "failed  {path}: {path}:2: error handling packet: sequence number: expected 8, got 7\n    \
         script packet: 0.000000 R 8:8(0)\n    actual packet: 0.000000 R 7:7(0) win 0\n0 passed, 1 failed, 0 skipped\n"
    );
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn a_skip_has_its_reason_and_is_no_failure() {
    let path = script("script-skipped.pkt", &format!("`tc qdisc show`\n{RIGHT}"));
    let expected = format!(
        "skipped {path}: {path}:1: lastack has no shell for 'tc qdisc show'\n0 passed, 0 failed, 1 skipped\n"
    );
    assert_eq!(stdout(&["script", &path]), expected);
}

#[test]
fn a_script_that_cannot_be_read_is_status_2() {
    let path = script("script-broken.pkt", "0 > X 7:7(0)\n");
    let output = lastack(&["script", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains(":1: TCP flags"), "{}", text(&output.stdout));
    let none = lastack(&["script"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("no script given"), "{}", text(&none.stderr));
    assert_eq!(lastack(&["script", "not/there.pkt"]).status.code(), Some(2));
}

#[test]
fn json_is_an_object_per_script_and_one_at_the_end() {
    let path = script(
        "script-json.pkt",
        &format!("{RIGHT}+0 socket(..., SOCK_STREAM, 0) = 3\n+0 %{{ print(NAME) }}%\n"),
    );
    let out = stdout(&["script", "--json", "-D", "UNUSED=1", &path]);
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    // A name that nobody knows is a reason to skip.
    assert_eq!((&lines[0]["script"], &lines[0]["verdict"]), (&path.as_str().into(), &"skipped".into()));
    assert_eq!((&lines[1]["passed"], &lines[1]["skipped"]), (&0.into(), &1.into()));
}

#[test]
fn a_folder_is_all_scripts_below_it() {
    let folder = in_crate("../../tests/packetdrill/exchanges");
    let out = stdout(&["script", "--strict-tail", "--ip-version", "ipv6", folder.to_str().expect("UTF-8")]);
    assert!(out.ends_with("21 passed, 0 failed, 0 skipped\n"), "{out}");
}

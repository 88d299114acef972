//! `lastack demo`: every scenario in every format.

use crate::support::{compare, in_crate, lastack, stdout, temporary, text};
use serde_json::Value;
use std::process::Command;

/// Every scenario that `--list` names.
fn scenarios() -> Vec<String> {
    let list = stdout(&["demo", "--list"]);
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

pub(crate) fn json(scenario: &str) -> Value {
    serde_json::from_str(&stdout(&["demo", scenario, "--format", "json"])).expect("JSON")
}

pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("{field} is a list")).as_slice()
}

pub(crate) fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is a string"))
}

/// The states that one side goes through; connection 0 is the listener.
pub(crate) fn states(document: &Value, side: &str, connection: u64) -> Vec<String> {
    let mut states = Vec::new();
    for transition in list(document, "transitions") {
        if transition["side"] == side && transition["connection"].as_u64().unwrap_or(0) == connection {
            if let Some(last) = states.last() {
                assert_eq!(last, word(transition, "from"), "the chain of states has a gap");
            }
            states.push(word(transition, "to").to_owned());
        }
    }
    states
}

pub(crate) fn cause_of_last_change(document: &Value, side: &str, connection: u64) -> (String, String) {
    let last = list(document, "transitions")
        .iter()
        .rfind(|t| t["side"] == side && t["connection"].as_u64() == Some(connection))
        .expect("a transition");
    (word(last, "cause").to_owned(), word(last, "initiator").to_owned())
}

pub(crate) fn calls(document: &Value, side: &str, connection: u64) -> Vec<String> {
    let of = |c: &&Value| c["side"] == side && c["connection"].as_u64() == Some(connection);
    list(document, "calls").iter().filter(of).map(|c| word(c, "text").to_owned()).collect()
}

pub(crate) fn has_flag(segment: &Value, flag: &str) -> bool {
    list(segment, "flags").iter().any(|f| f == flag)
}

const OPENS: [&str; 2] = ["SYN_SENT", "ESTABLISHED"];
const IS_OPENED: [&str; 3] = ["NEW_SYN_RECV", "SYN_RECV", "ESTABLISHED"];

pub(crate) fn check_states(document: &Value, connection: u64, a: &[&str], b: &[&str]) {
    assert_eq!(states(document, "A", connection), [&OPENS[..], a].concat());
    assert_eq!(states(document, "B", connection), [&IS_OPENED[..], b].concat());
}

const ACTIVE_CLOSE: [&str; 4] = ["FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT", "CLOSED"];
const PASSIVE_CLOSE: [&str; 3] = ["CLOSE_WAIT", "LAST_ACK", "CLOSED"];

#[test]
fn graceful_close_takes_the_six_steps_and_60_s_of_time_wait() {
    let document = json("graceful");
    check_states(&document, 1, &ACTIVE_CLOSE, &PASSIVE_CLOSE);
    let steps: Vec<_> = list(&document, "steps").iter().map(|s| word(s, "side")).collect();
    assert_eq!(steps, ["A", "B", "A", "B", "A", "B"]);
    let end: Vec<_> = list(&document, "transitions")
        .iter()
        .filter(|t| t["side"] == "A" && ["TIME_WAIT", "CLOSED"].contains(&word(t, "to")))
        .map(|t| t["time_us"].as_u64().expect("a time"))
        .collect();
    assert_eq!(end[1] - end[0], 60_000_000);
    assert_eq!(cause_of_last_change(&document, "A", 1), ("TIME_WAIT expired".into(), "timer".into()));
    assert_eq!(cause_of_last_change(&document, "B", 1), ("FIN acknowledged".into(), "peer".into()));
    let fins = list(&document, "segments").iter().filter(|s| has_flag(s, "FIN"));
    assert_eq!(fins.map(|s| s["step"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(4)]);
    assert!(calls(&document, "B", 1).contains(&"read → 0 (end of file)".to_owned()));
}

#[test]
fn simultaneous_close_goes_through_closing_on_both_sides() {
    let document = json("simultaneous");
    let end = ["FIN_WAIT_1", "CLOSING", "TIME_WAIT", "CLOSED"];
    check_states(&document, 1, &end, &end);
    assert!(list(&document, "steps").iter().all(|s| s["side"] == "both"));
}

#[test]
fn half_close_lets_the_other_side_go_on_sending() {
    let document = json("half-close");
    check_states(&document, 1, &ACTIVE_CLOSE, &PASSIVE_CLOSE);
    let a = calls(&document, "A", 1);
    let shut = a.iter().position(|c| c == "shutdown(Write)").expect("A shuts its direction");
    assert_eq!(
        a[shut + 1..],
        ["read → 1000", "read → 1000", "read → 1000", "read → 0 (end of file)", "close()"]
    );
}

#[test]
fn abort_resets_and_the_peer_reads_econnreset_once() {
    let document = json("abort");
    check_states(&document, 1, &["CLOSED"], &["CLOSED"]);
    assert_eq!(cause_of_last_change(&document, "A", 1), ("abort".into(), "local".into()));
    assert_eq!(cause_of_last_change(&document, "B", 1), ("RST received".into(), "peer".into()));
    let b = calls(&document, "B", 1);
    assert_eq!(b[b.len() - 3..], ["read → ECONNRESET", "write(1) → EPIPE", "close()"]);
    assert!(!list(&document, "segments").iter().any(|s| has_flag(s, "FIN")));
}

#[test]
fn closing_a_listener_resets_the_waiting_connection_and_forgets_the_half_open_one() {
    let document = json("listen");
    assert_eq!(states(&document, "B", 0), ["LISTEN", "CLOSED"]);
    check_states(&document, 1, &["CLOSED"], &["CLOSED"]);
    assert_eq!(cause_of_last_change(&document, "B", 1).0, "listener closed");
    assert_eq!(states(&document, "B", 2), ["NEW_SYN_RECV", "CLOSED"]);
    assert_eq!(states(&document, "A", 2), ["SYN_SENT", "ESTABLISHED", "CLOSED"]);
    for connection in [1, 2] {
        assert!(calls(&document, "A", connection).contains(&"read → ECONNRESET".to_owned()));
        let resets = |s: &&Value| s["connection"] == connection && has_flag(s, "RST");
        assert_eq!(list(&document, "segments").iter().filter(resets).count(), 1);
    }
}

#[test]
fn connect_to_a_closed_port_is_refused() {
    let document = json("refused");
    assert_eq!(states(&document, "A", 1), ["SYN_SENT", "CLOSED"]);
    assert_eq!(states(&document, "B", 1), [""; 0]);
    assert_eq!(calls(&document, "A", 1), ["connect()", "connect → ECONNREFUSED", "close()"]);
}

#[test]
fn close_with_unread_data_resets_instead_of_a_fin() {
    let document = json("unread-data");
    check_states(&document, 1, &["CLOSED"], &["CLOSED"]);
    assert_eq!(cause_of_last_change(&document, "A", 1), ("close with unread data".into(), "local".into()));
    assert!(!list(&document, "segments").iter().any(|s| has_flag(s, "FIN")));
    assert!(calls(&document, "B", 1).contains(&"read → ECONNRESET".to_owned()));
}

#[test]
fn a_lost_fin_is_repeated_by_the_probe_then_by_the_timer_and_the_last_ack_too() {
    let document = json("lost-fin");
    check_states(&document, 1, &ACTIVE_CLOSE, &PASSIVE_CLOSE);
    let fins = |side: &str| -> Vec<(u64, bool)> {
        list(&document, "segments")
            .iter()
            .filter(|s| s["from"] == side && has_flag(s, "FIN"))
            .map(|s| (s["sent_us"].as_u64().expect("a time"), s["lost"] == true))
            .collect()
    };
    let a = fins("A");
    assert_eq!(a.iter().map(|(_, lost)| *lost).collect::<Vec<_>>(), [true, true, false]);
    let waits = [a[1].0 - a[0].0, a[2].0 - a[1].0];
    assert!(waits[0] > 0 && waits[1] >= waits[0], "sooner the second time: {waits:?} us");
    assert_eq!(fins("B").len(), 2, "B repeats its FIN because A's last acknowledgement was lost");
}

#[test]
fn json_counts_every_segment_and_numbers_are_consistent() {
    for scenario in &scenarios() {
        let document = json(scenario);
        assert_eq!(document["scenario"], scenario.as_str());
        assert_eq!(document["version"], 1);
        assert!(!list(&document, "transitions").is_empty());
        for segment in list(&document, "segments") {
            assert_eq!(segment["lost"] == true, segment["arrived_us"].is_null());
            if let (Some(sent), Some(arrived)) = (segment["sent_us"].as_u64(), segment["arrived_us"].as_u64())
            {
                assert!(arrived - sent >= 10_000, "the link takes 10 ms");
                let held = segment["sent_us"].as_u64() == Some(100_000) && scenario == "w7";
                assert_eq!(arrived - sent, if held { 60_000 } else { 10_000 });
            }
            assert_eq!(has_flag(segment, "ACK"), !segment["ack"].is_null());
        }
        let numbers: Vec<_> = list(&document, "steps").iter().map(|s| s["number"].as_u64()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).map(Some).collect::<Vec<_>>());
    }
}

#[test]
fn text_ladders_are_as_reviewed() {
    for scenario in &scenarios() {
        let ladder = stdout(&["demo", scenario]);
        for line in ladder.lines() {
            assert!(line.chars().count() <= 100, "{scenario}: a line is longer than 100 columns: {line}");
        }
        assert!(!ladder.contains('\x1b'), "colour without a terminal");
        compare(&in_crate(&format!("tests/snapshots/{scenario}.txt")), &ladder);
        let full = stdout(&["demo", scenario, "--full", "--ascii"]);
        assert!(full.is_ascii());
        assert!(
            full.contains("SYN seq 0") && full.lines().all(|line| line.len() <= 100),
            "{scenario}:\n{full}"
        );
    }
}

#[test]
fn graceful_is_the_default() {
    assert_eq!(stdout(&["demo"]), stdout(&["demo", "graceful"]));
}

#[test]
fn svg_is_well_formed_and_says_what_the_json_says() {
    for scenario in &scenarios() {
        let figure = stdout(&["demo", scenario, "--format", "svg"]);
        let document = roxmltree::Document::parse(&figure).expect("well-formed XML");
        assert_eq!(document.root_element().tag_name().name(), "svg");
        let words: Vec<_> = document.descendants().filter_map(|n| n.text()).collect::<Vec<_>>();
        let all = words.join(" ");
        for step in list(&json(scenario), "steps") {
            for part in word(step, "text").split(' ') {
                assert!(all.contains(part), "{scenario}: '{part}' is missing in the figure");
            }
        }
    }
}

#[test]
fn figure_in_the_documentation_is_up_to_date() {
    compare(&in_crate("../../docs/graceful.svg"), &stdout(&["demo", "graceful", "--format", "svg"]));
}

#[test]
fn output_goes_to_the_file_and_nothing_to_stdout() {
    let file = temporary("demo-output.txt");
    let shown = stdout(&["demo", "abort", "--output", file.to_str().expect("UTF-8")]);
    assert_eq!(shown, "");
    assert_eq!(std::fs::read_to_string(file).expect("the file is there"), stdout(&["demo", "abort"]));
}

fn tshark(args: &[&str]) -> String {
    let output = Command::new("tshark").args(args).output().expect("tshark (package tshark) is installed");
    assert!(output.status.success(), "tshark {args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn captures_open_in_wireshark_with_every_segment_and_good_checksums() {
    // Those with something of their own: losses, several connections, a late packet, a forged one, a port used twice.
    for scenario in ["graceful", "abort", "listen", "lost-fin", "w7", "w11", "w13"] {
        let file = temporary(&format!("demo-{scenario}.pcapng"));
        let path = file.to_str().expect("UTF-8");
        stdout(&["demo", scenario, "--capture", path]);
        let document = json(scenario);
        let check = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
        let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "tcp.len", "-e", "tcp.checksum.status"];
        let fields = tshark(&[&["-r", path][..], &check, &fields].concat());
        let segments = list(&document, "segments");
        assert_eq!(fields.lines().count(), segments.len(), "{scenario}");
        for (line, segment) in fields.lines().zip(segments) {
            let columns: Vec<_> = line.split('\t').collect();
            let micros = (columns[0].parse::<f64>().expect("a time") * 1e6).round() as u64;
            assert_eq!(Some(micros), segment["sent_us"].as_u64());
            assert_eq!(columns[1].parse().ok(), segment["len"].as_u64());
            assert!(["1", "Good"].contains(&columns[2]), "checksum status {}", columns[2]);
        }
        let malformed = tshark(&["-r", path, "-Y", "_ws.malformed || ip.checksum.status == 0"]);
        assert_eq!(malformed, "", "{scenario}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_one_clear_line_and_status_2() {
    for option in ["--output", "--capture"] {
        let output = lastack(&["demo", option, "/nonexistent/figure"]);
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("/nonexistent/figure") && error.contains("No such file"), "{error}");
    }
}

#[test]
fn list_has_every_scenario_with_a_sentence_that_fits() {
    let list = stdout(&["demo", "--list"]);
    let names = scenarios();
    for name in ["graceful", "lost-fin", "w1", "w16", "tc1", "tc4"] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
    assert_eq!(names.len(), 28);
    assert!(list.lines().all(|line| line.chars().count() <= 14 + 100 && line.ends_with('.')), "{list}");
}

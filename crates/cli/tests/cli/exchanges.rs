//! The canonical exchanges: states, flags, numbers and times, as the RFCs and Linux have them.

use crate::demo::{calls, has_flag, json, list, states, word};
use crate::support::stdout;
use serde_json::Value;

/// The states from ESTABLISHED on.
fn end(document: &Value, side: &str) -> Vec<String> {
    let mut states = states(document, side, 1);
    let open = states.iter().position(|s| s == "ESTABLISHED").map_or(0, |i| i + 1);
    states.split_off(open)
}

fn check_ends(document: &Value, a: &[&str], b: &[&str]) {
    assert_eq!((end(document, "A"), end(document, "B")), (owned(a), owned(b)));
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The segments as `A FIN,ACK 101(0) ack 301`, from a time in milliseconds on.
fn segments(document: &Value, from_ms: u64) -> Vec<String> {
    list(document, "segments")
        .iter()
        .filter(|s| time(s, "sent_us") >= from_ms * 1000)
        .map(|s| {
            let flags: Vec<_> =
                list(s, "flags").iter().filter_map(Value::as_str).filter(|f| *f != "PSH").collect();
            let ack = s["ack_relative"].as_u64().map_or(String::new(), |ack| format!(" ack {ack}"));
            format!("{} {} {}({}){ack}", word(s, "from"), flags.join(","), s["seq_relative"], s["len"])
        })
        .collect()
}

fn time(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is a time"))
}

/// When a side entered a state, in microseconds; the last time.
fn entered(document: &Value, side: &str, state: &str) -> u64 {
    let transitions = list(document, "transitions");
    let found = transitions.iter().rfind(|t| t["side"] == side && t["to"] == state);
    time(found.unwrap_or_else(|| panic!("{side} never enters {state}")), "time_us")
}

fn count(document: &Value, side: &str, flag: &str) -> usize {
    list(document, "segments").iter().filter(|s| s["from"] == side && has_flag(s, flag)).count()
}

const ACTIVE: [&str; 4] = ["FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT", "CLOSED"];
const PASSIVE: [&str; 3] = ["CLOSE_WAIT", "LAST_ACK", "CLOSED"];
const CROSSED: [&str; 4] = ["FIN_WAIT_1", "CLOSING", "TIME_WAIT", "CLOSED"];
const MINUTE: u64 = 60_000_000;

#[test]
fn w1_four_segments_and_time_wait_on_the_side_that_closes_first() {
    let document = json("w1");
    check_ends(&document, &ACTIVE, &PASSIVE);
    assert_eq!(
        segments(&document, 100),
        [
            "A FIN,ACK 101(0) ack 301",
            "B ACK 301(0) ack 102",
            "B FIN,ACK 301(0) ack 102",
            "A ACK 102(0) ack 302"
        ]
    );
    assert_eq!(entered(&document, "A", "CLOSED") - entered(&document, "A", "TIME_WAIT"), MINUTE);
}

#[test]
fn w2_the_fin_of_the_other_side_acknowledges_ours_in_three_segments() {
    let document = json("w2");
    check_ends(&document, &ACTIVE, &PASSIVE);
    assert_eq!(
        segments(&document, 100),
        ["A FIN,ACK 101(0) ack 301", "B FIN,ACK 301(0) ack 102", "A ACK 102(0) ack 302"]
    );
    assert_eq!(entered(&document, "A", "FIN_WAIT_2"), entered(&document, "A", "TIME_WAIT"));
}

#[test]
fn w3_crossed_fins_lead_through_closing_to_time_wait_on_both_sides() {
    let document = json("w3");
    check_ends(&document, &CROSSED, &CROSSED);
    let sent = segments(&document, 100);
    assert_eq!(sent[..2], ["A FIN,ACK 101(0) ack 301", "B FIN,ACK 301(0) ack 101"]);
    assert_eq!((sent.len(), count(&document, "A", "FIN"), count(&document, "B", "FIN")), (4, 1, 1));
}

#[test]
fn w4_a_repeated_fin_restarts_time_wait() {
    let document = json("w4");
    check_ends(&document, &ACTIVE, &PASSIVE);
    assert_eq!(count(&document, "B", "FIN"), 2);
    let again = list(&document, "segments").iter().rfind(|s| s["from"] == "B").expect("the second FIN");
    assert_eq!(entered(&document, "A", "CLOSED") - time(again, "arrived_us"), MINUTE);
}

#[test]
fn w5_a_half_closed_connection_delivers_for_an_hour() {
    let document = json("w5");
    check_ends(&document, &ACTIVE, &PASSIVE);
    let read = calls(&document, "A", 1).iter().filter(|c| *c == "read → 1000").count();
    assert_eq!(read, 5);
    let half_closed = entered(&document, "A", "TIME_WAIT") - entered(&document, "A", "FIN_WAIT_2");
    assert!(half_closed > 57 * MINUTE, "{half_closed} us");
}

#[test]
fn w6_the_state_moves_at_close_and_the_fin_rides_on_the_last_segment() {
    let document = json("w6");
    check_ends(&document, &ACTIVE, &PASSIVE);
    assert_eq!(entered(&document, "A", "FIN_WAIT_1"), 100_000);
    let fins: Vec<_> = segments(&document, 100).into_iter().filter(|s| s.contains("A FIN")).collect();
    assert_eq!(fins, ["A FIN,ACK 3073(924) ack 1"]);
    let sent = list(&document, "segments").iter().find(|s| has_flag(s, "FIN")).expect("the FIN");
    assert!(time(sent, "sent_us") > 300_000, "the window was shut until then");
}

#[test]
fn w7_a_fin_that_overtakes_data_is_held_until_the_hole_is_filled() {
    let document = json("w7");
    check_ends(&document, &PASSIVE, &ACTIVE);
    let fin = list(&document, "segments").iter().find(|s| has_flag(s, "FIN")).expect("the FIN");
    let data = |s: &&serde_json::Value| s["len"] == 100;
    let original = list(&document, "segments").iter().find(data).expect("the data");
    assert!(time(fin, "arrived_us") < time(original, "arrived_us"));
    // Overtaken by so much it counts as lost: the repetition arrives first.
    let arrivals = list(&document, "segments").iter().filter(data).filter_map(|s| s["arrived_us"].as_u64());
    assert_eq!(Some(entered(&document, "A", "CLOSE_WAIT")), arrivals.min());
    let acks: Vec<_> = segments(&document, 105).into_iter().filter(|s| s.starts_with("A ACK")).collect();
    assert_eq!(acks[..2], ["A ACK 1(0) ack 1", "A ACK 1(0) ack 102"]);
    assert_eq!(calls(&document, "A", 1)[2..4], ["read → 100", "read → 0 (end of file)"]);
}

#[test]
fn w8_data_for_an_orphan_draws_a_rst_with_the_number_that_it_acknowledged() {
    let document = json("w8");
    check_ends(&document, &["FIN_WAIT_1", "FIN_WAIT_2", "CLOSED"], &["CLOSE_WAIT", "CLOSED"]);
    assert_eq!(segments(&document, 165), ["B ACK 301(100) ack 102", "A RST 102(0)"]);
    assert!(calls(&document, "B", 1).contains(&"write(100) → EPIPE".to_owned()));
}

#[test]
fn w9_unread_data_makes_the_close_a_rst() {
    let document = json("w9");
    check_ends(&document, &["CLOSED"], &["CLOSED"]);
    assert_eq!(segments(&document, 100), ["A RST,ACK 101(0) ack 301"]);
}

#[test]
fn w10_linger_0_resets_and_the_peer_reads_its_queue_first() {
    let document = json("w10");
    check_ends(&document, &["CLOSED"], &["CLOSED"]);
    assert_eq!(segments(&document, 200), ["A RST,ACK 151(0) ack 301"]);
    let b = calls(&document, "B", 1);
    assert_eq!(b[b.len() - 4..], ["read → 50", "read → ECONNRESET", "write(1) → EPIPE", "close()"]);
}

#[test]
fn w11_a_blind_rst_is_challenged_and_only_the_exact_one_resets() {
    let document = json("w11");
    assert_eq!(end(&document, "A"), ["CLOSED"]);
    let forged: Vec<_> = list(&document, "segments").iter().filter(|s| s["forged"] == true).collect();
    assert_eq!(forged.len(), 2);
    assert_eq!(
        segments(&document, 1000),
        ["B RST 451(0)", "A ACK 101(0) ack 401", "B RST 401(0)"],
        "challenge, and the answer of a host that knows nothing"
    );
    let survived = segments(&document, 200);
    assert_eq!(survived[..3], ["B RST 451(0)", "A ACK 101(0) ack 301", "B ACK 301(100) ack 101"]);
    assert!(calls(&document, "A", 1).contains(&"read → ECONNRESET".to_owned()));
}

#[test]
fn w12_fin_wait_2_without_an_owner_ends_after_60_s() {
    let document = json("w12");
    check_ends(&document, &["FIN_WAIT_1", "FIN_WAIT_2", "CLOSED"], &["CLOSE_WAIT", "CLOSED"]);
    assert_eq!(entered(&document, "A", "CLOSED") - entered(&document, "A", "FIN_WAIT_2"), MINUTE);
    assert_eq!(segments(&document, 80_000), ["B ACK 301(100) ack 102", "A RST 102(0)"]);
}

#[test]
fn w13_a_newer_syn_reopens_from_time_wait_beyond_the_old_numbers() {
    let document = json("w13");
    let a = states(&document, "A", 1);
    let reopened = a.iter().position(|s| s == "TIME_WAIT").expect("TIME_WAIT");
    assert_eq!(a[reopened + 1..reopened + 4], ["CLOSED", "NEW_SYN_RECV", "SYN_RECV"]);
    let syn_acks: Vec<_> = list(&document, "segments")
        .iter()
        .filter(|s| s["from"] == "A" && has_flag(s, "SYN"))
        .map(|s| s["seq_relative"].as_u64().expect("a number"))
        .collect();
    // SND.NXT of the old one: SYN, 300 bytes, FIN.
    assert_eq!(syn_acks, [0, 302 + 65_537]);
    assert_eq!(document["connections"].as_array().map(Vec::len), Some(1), "the same four-tuple");
}

#[test]
fn w14_a_closing_listener_resets_what_is_complete_and_forgets_what_is_half_open() {
    let document = json("w14");
    let resets: Vec<_> = list(&document, "segments")
        .iter()
        .filter(|s| has_flag(s, "RST"))
        .map(|s| (s["connection"].as_u64(), has_flag(s, "ACK")))
        .collect();
    assert_eq!(resets, [(Some(1), true), (Some(2), false)], "an active RST, and a reflex");
    assert_eq!(states(&document, "B", 2), ["NEW_SYN_RECV", "CLOSED"]);
}

#[test]
fn w15_close_in_syn_sent_is_silent_and_the_syn_ack_draws_a_rst() {
    let document = json("w15");
    assert_eq!(states(&document, "A", 1), ["SYN_SENT", "CLOSED"]);
    assert_eq!(states(&document, "B", 1), ["NEW_SYN_RECV", "CLOSED"]);
    assert_eq!(segments(&document, 0), ["A SYN 0(0)", "B SYN,ACK 0(0) ack 1", "A RST 1(0)"]);
}

/// Times between A's probes, in milliseconds, from its close on.
fn probes(document: &Value) -> Vec<u64> {
    let closed = entered(document, "A", "FIN_WAIT_1");
    let sent: Vec<_> = list(document, "segments")
        .iter()
        .filter(|s| s["from"] == "A" && time(s, "sent_us") >= closed && !has_flag(s, "RST"))
        .map(|s| time(s, "sent_us"))
        .collect();
    sent.windows(2).map(|two| (two[1] - two[0]) / 1000).collect()
}

#[test]
fn w16_an_orphan_behind_an_answered_zero_window_ends_once_its_probes_are_120_s_apart() {
    let document = json("w16");
    check_ends(&document, &["FIN_WAIT_1", "CLOSED"], &["CLOSED"]);
    assert_eq!(probes(&document), [440, 880, 1760, 3520, 7040, 14_080, 28_160, 56_320, 112_640]);
    // With an RTO of 220 ms: 0.22 x (2^10 - 1) + 120 s after the window was shut, at 0.12 s.
    assert_eq!(entered(&document, "A", "CLOSED"), 345_180_000);
    assert_eq!(count(&document, "A", "FIN"), 0);
    assert_eq!(segments(&document, 400_000), ["B ACK 1(0) ack 2049", "A RST 2049(0)"]);
}

#[test]
fn tc1_an_orphan_behind_a_silent_zero_window_ends_after_its_retries() {
    let document = json("tc1");
    assert_eq!(end(&document, "A"), ["FIN_WAIT_1", "CLOSED"]);
    assert_eq!(entered(&document, "A", "FIN_WAIT_1"), 250_000, "at the call");
    assert_eq!(probes(&document), [440, 880, 1760, 3520, 7040, 14_080, 28_160]);
    // 0.22 x (2^9 - 1) s after the window was shut.
    assert_eq!(entered(&document, "A", "CLOSED"), 112_540_000);
    assert_eq!(count(&document, "A", "RST"), 0);
}

/// The first acknowledgement of all that A had sent, and the FIN, come at these times.
fn acknowledged_and_fin(document: &Value) -> (u64, u64) {
    let acked = list(document, "segments").iter().find(|s| s["from"] == "B" && s["ack_relative"] == 2049);
    let fin = list(document, "segments").iter().find(|s| s["from"] == "A" && has_flag(s, "FIN"));
    (time(acked.expect("an ACK"), "arrived_us"), time(fin.expect("a FIN"), "sent_us"))
}

#[test]
fn tc2_an_ack_of_all_data_does_not_acknowledge_an_unsent_fin() {
    let document = json("tc2");
    check_ends(&document, &ACTIVE, &PASSIVE);
    let (acked, fin) = acknowledged_and_fin(&document);
    assert!(acked < fin && fin < entered(&document, "A", "FIN_WAIT_2"));
}

#[test]
fn tc3_the_same_holds_in_last_ack() {
    let document = json("tc3");
    check_ends(&document, &PASSIVE, &ACTIVE);
    let (acked, fin) = acknowledged_and_fin(&document);
    assert!(entered(&document, "A", "LAST_ACK") < acked && acked < fin);
    assert!(fin < entered(&document, "A", "CLOSED"));
}

#[test]
fn tc4_abort_in_closing_resets_while_the_fin_has_not_left() {
    let document = json("tc4");
    assert_eq!(end(&document, "A"), ["FIN_WAIT_1", "CLOSING", "CLOSED"]);
    assert_eq!(count(&document, "A", "FIN"), 0);
    assert_eq!(segments(&document, 400), ["A RST,ACK 2049(0) ack 2"]);
    assert!(calls(&document, "B", 1).contains(&"read → ECONNRESET".to_owned()));
}

#[test]
fn waits_say_who_has_to_act_and_what_ends_them() {
    let waits = |scenario: &str, side: &str| -> Vec<String> {
        let document = json(scenario);
        let of = list(&document, "waits").iter().filter(|wait| wait["side"] == side);
        of.map(|wait| word(wait, "text").to_owned()).collect()
    };
    let has = |texts: &[String], words: &[&str]| {
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(words.iter().all(|word| texts[0].contains(word)), "{words:?} in {texts:?}");
    };
    has(&waits("w12", "A"), &["FIN_WAIT_2", "the peer has to act", "FIN_WAIT_2 timed out"]);
    has(&waits("w12", "B"), &["CLOSE_WAIT", "the application has to act", "no timer ends it"]);
    has(&waits("w16", "A"), &["7952 bytes and our FIN wait for the peer's window", "the record goes in"]);
    has(&waits("w16", "B"), &["2048 bytes wait to be read", "the application has to act"]);
    let shown = stdout(&["demo", "w12", "--why"]);
    assert!(shown.contains("the peer has not closed"), "{shown}");
    assert!(!stdout(&["demo", "w12"]).contains("the peer has not closed"));
}

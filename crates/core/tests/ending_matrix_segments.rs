//! Every kind of segment in every state: next state, answer, counters, timers, and what the owner is told.
//!
//! The table is that of the packetdrill scripts, which both lastack and the running kernel have to pass.

mod common;
use common::matrix::{rows, run_row};
use common::*;

const TABLE: &str = include_str!("../../../tests/packetdrill/matrix/segments.txt");

/// A neutral acknowledgement: of the handshake, and of nothing new otherwise.
fn una(start: Start) -> i64 {
    start.snd_una().max(0)
}

/// A segment of the table. Scripts count from the SYN, the rig from what follows it.
fn segment(text: &str, start: Start) -> SegSpec {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [letters, place, ack] = words[..] else { panic!("a segment has three words: {text}") };
    let names = [('F', "FIN"), ('S', "SYN"), ('R', "RST"), ('P', "PSH"), ('U', "URG"), ('.', "ACK")];
    let flags: Vec<&str> =
        names.iter().filter(|(letter, _)| letters.contains(*letter)).map(|(_, name)| *name).collect();
    let (place, len) = place.trim_end_matches(')').split_once('(').expect("SEQ(LENGTH)");
    let (base, offset) = place.split_at(place.find(['+', '-']).unwrap_or(place.len()));
    let base = match base {
        "rcv" => start.rcv_nxt(),
        "isn" => -1,
        other => panic!("no place '{other}'"),
    };
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i64>().expect("an offset") };
    let ack = match ack {
        "-" => 0,
        // In a half-open connection the SYN is what is not acknowledged yet.
        "una" => una(start),
        "syn" => 0,
        "fin" => 1,
        "far" => 5000,
        "old" => -20_000_000,
        other => panic!("no acknowledgement '{other}'"),
    };
    seg(&flags.join(","), base + offset, ack).len(len.parse().expect("a length"))
}

/// Runs the rows whose names begin with one of `names`. The edge of the window, which is another in each setup, is the scripts'.
fn check(names: &[&str]) {
    let mut failures = Vec::new();
    let mut cells = 0;
    for setup in setups() {
        for [name, event, row] in rows(TABLE) {
            if event.contains("edge") || !names.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let inject = |start: Start, rig: &mut Rig| {
                let spec = segment(event, start);
                rig.inject(spec.clone());
                Some(spec)
            };
            cells += run_row(name, &setup, row, inject, &mut failures);
        }
    }
    assert!(cells > 50, "only {cells} cells");
    assert!(failures.is_empty(), "{} of {cells} cells:\n{}", failures.len(), failures.join("\n"));
}

fn setups() -> [Setup; 3] {
    [Setup::default(), Setup::v6(), Setup::modern()]
}

/// Holds: U9293-1, U9293-13, U9293-14, U9293-15
#[test]
fn a_fin_in_every_state() {
    check(&["S1 ", "S2 ", "S3 ", "S4 ", "S5 ", "S6 ", "S7 "]);
}

/// Holds: U9293-1, U9293-2, U9293-3
#[test]
fn an_ack_or_text_in_every_state() {
    check(&["S8 ", "S9 ", "S10 ", "S11 ", "S13 ", "S14 "]);
}

/// Holds: SHLD-2, U9293-1, U9293-11, R5961-1, R5961-2, R5961-3, R5961-4, R5961-5, R5961-14
#[test]
fn a_rst_in_every_state() {
    check(&["S15 ", "S16 ", "S17 ", "RST "]);
}

/// Holds: U9293-1, R5961-6, R5961-7
#[test]
fn a_syn_in_every_state() {
    check(&["S18 ", "S19 ", "S20 ", "S21 ", "S22 "]);
}

/// Holds: MUST-3, U9293-1, U9293-11
#[test]
fn a_scan_in_every_state() {
    check(&["S23 "]);
    run(
        &[row(
            "S26 bad checksum",
            |at| seg("RST", at.rcv_nxt(), 0).bad_checksum(),
            "CL,LI,SS,NSR,SR = - | sync = - | F2o = - | TW = - keep",
        )],
        &setups(),
    );
}

/// A row that no script has: a wrong checksum, and stamps.
struct Row {
    name: &'static str,
    segment: fn(Start) -> SegSpec,
    cells: &'static str,
}

const fn row(name: &'static str, segment: fn(Start) -> SegSpec, cells: &'static str) -> Row {
    Row { name, segment, cells }
}

fn run(rows: &[Row], setups: &[Setup]) {
    let mut failures = Vec::new();
    let mut cells = 0;
    for setup in setups {
        for row in rows {
            let event = |start: Start, rig: &mut Rig| {
                let spec = (row.segment)(start);
                rig.inject(spec.clone());
                Some(spec)
            };
            cells += run_row(row.name, setup, row.cells, event, &mut failures);
        }
    }
    assert!(cells > 0);
    assert!(failures.is_empty(), "{} of {cells} cells:\n{}", failures.len(), failures.join("\n"));
}

/// A stamp older than any that was seen.
fn old(names: &'static str, seq: i64, ack: i64) -> SegSpec {
    seg(names, seq, ack).ts(1000, 0)
}

const PAWS: &[Row] = &[
    row(
        "S24 old stamp on text",
        |at| old("ACK", at.rcv_nxt(), una(at)).len(5),
        "CL,LI = rst | NSR,SR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row(
        "S24 old stamp on a FIN",
        |at| old("FIN,ACK", at.rcv_nxt(), una(at)),
        "CL,LI = rst | NSR,SR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row("S24 old stamp on a pure ACK below RCV.NXT", |at| old("ACK", at.rcv_nxt() - 5, una(at)), "sync = -"),
    row("S24 old stamp on a SYN", |at| old("SYN", at.rcv_nxt() + 10, 0), "sync = CH | TW = ACK restart"),
    row(
        "S25 old stamp on a RST at RCV.NXT",
        |at| old("RST", at.rcv_nxt(), 0),
        "NSR = - | SR gone - ECONNRESET | ES,F1,F2,CG,LA gone - ECONNRESET | CW gone - EPIPE | F2o = ACK | TW = - keep",
    ),
    row(
        "S25 old stamp on a RST in the window",
        |at| old("RST", at.rcv_nxt() + 9, 0),
        "sync = CH | TW = - keep",
    ),
];

/// Holds: R7323-29, R7323-30, R7323-31
#[test]
fn an_old_timestamp_in_every_state() {
    run(PAWS, &[Setup::modern(), Setup { v6: true, ..Setup::modern() }]);
}

#[test]
fn what_came_twice_is_reported_as_a_duplicate() {
    // S5, S13: D-SACK (RFC 2883).
    for start in [Start::Closing, Start::CloseWait, Start::LastAck] {
        let mut rig = start.rig(Setup { sack: true, ..Setup::default() });
        rig.inject(seg("FIN,ACK", 0, una(start)));
        let sent = rig.expect(&format!("ACK {}(0) ack 1", start.snd_nxt()));
        assert_eq!(sent.sack(rig.peer_iss), [(0, 1)], "{start:?}");
    }
    for start in [Start::Established, Start::FinWait1, Start::FinWait2] {
        let mut rig = start.rig(Setup { sack: true, ..Setup::default() });
        rig.inject(seg("ACK", 0, una(start)).len(10));
        rig.advance(ms(200));
        rig.take();
        for (from, to) in [(0, 10), (2, 5)] {
            rig.inject(seg("ACK", from, una(start)).len((to - from) as usize));
            let sent = rig.expect(&format!("ACK {}(0) ack 10", start.snd_nxt()));
            assert_eq!(sent.sack(rig.peer_iss), [(from as i32, to as i32)], "{start:?}");
        }
    }
}

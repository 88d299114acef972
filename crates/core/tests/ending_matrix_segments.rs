//! Every kind of segment in every state: next state, answer, and what the owner is told.

mod common;
use common::matrix::run_row;
use common::*;

/// Far outside any window here.
const FAR: i64 = 300_000;

struct Row {
    name: &'static str,
    segment: fn(Start) -> SegSpec,
    cells: &'static str,
}

/// A neutral acknowledgement: of the handshake, and of nothing new otherwise.
fn una(start: Start) -> i64 {
    start.snd_una().max(0)
}

const fn row(name: &'static str, segment: fn(Start) -> SegSpec, cells: &'static str) -> Row {
    Row { name, segment, cells }
}

const FINS: &[Row] = &[
    row(
        "S1 FIN at RCV.NXT, ours not acknowledged",
        |at| seg("FIN,ACK", at.rcv_nxt(), una(at)),
        "CL,LI = rst | SS = - | NSR,SR CW ack+1 | ES CW ack+1 | F1 CG ACK+1 | F2,F2o TW ACK+1",
    ),
    row(
        "S1 FIN with an unacceptable ACK",
        |at| seg("FIN,ACK", at.rcv_nxt(), 5000),
        "SS = rst&SYN | NSR,SR = rst | sync = CH",
    ),
    row(
        "S2 FIN that acknowledges ours",
        |_| seg("FIN,ACK", 0, 1),
        "CL,LI = rst | F1 TW ACK+1 | F2,F2o TW ACK+1 | CG TW - | TW = ACK restart | LA gone -",
    ),
    row(
        "S3 text and FIN in order",
        |at| seg("FIN,ACK", at.rcv_nxt(), una(at)).len(5),
        "CL,LI = rst | SS = - | NSR,SR CW ack+6 | ES CW ack+6 | F1 CG ACK+6 | F1o gone rst | F2 TW ACK+6 \
         | F2o gone rst | CG,CW,LA = - | TW = ACK restart",
    ),
    row(
        "S4 FIN out of order",
        |at| seg("FIN,ACK", at.rcv_nxt() + 100, una(at)),
        "CL,LI = rst | SS = - | NSR,SR ES ACK | ES,F1,F2 = ACK | F1o,F2o gone rst | CG,CW,LA = - | TW = ACK restart",
    ),
    row(
        "S5 repeated FIN",
        |at| seg("FIN,ACK", 0, una(at)),
        "CL,LI = rst | SS = - | CG,CW,LA = ACK | TW = ACK restart",
    ),
    row(
        "S6 text after the peer's FIN",
        |at| seg("ACK", 1, una(at)).len(5),
        "CL,LI = rst | CG,CW,LA = - | TW = ACK restart",
    ),
    row(
        "S6 text after the peer's FIN that acknowledges ours",
        |_| seg("ACK", 1, 1).len(5),
        "CG TW - | LA gone - | TW = ACK restart",
    ),
    row(
        "S7 ACK of our FIN",
        |at| seg("ACK", at.rcv_nxt(), 1),
        "CL,LI = rst | F1 F2 - | F2,F2o = - | CG TW - | LA gone - | TW = - restart",
    ),
];

const ACKS_AND_TEXT: &[Row] = &[
    row(
        "S8 ACK of nothing new",
        |at| seg("ACK", at.rcv_nxt(), 0),
        "CL,LI = rst | SS = - | NSR,SR ES - | ES,F1,CG,CW,LA = - | TW = - restart",
    ),
    row(
        "S9 ACK beyond SND.NXT",
        |at| seg("ACK", at.rcv_nxt(), 5000),
        "CL,LI = rst | SS = rst&SYN | NSR,SR = rst | sync = CH | F2o = - | TW = - restart",
    ),
    row(
        "S10 ACK far below SND.UNA",
        |at| seg("ACK", at.rcv_nxt(), -20_000_000),
        "CL,LI = rst | SS = rst&SYN | NSR,SR = rst | sync = CH | F2o = - | TW = - restart",
    ),
    row(
        "S11 text in order",
        |at| seg("ACK", at.rcv_nxt(), una(at)).len(5),
        "CL,LI = rst | SS = - | NSR,SR ES ack+5 | ES,F1,F2 = ack+5 | F1o,F2o gone rst | CG,CW,LA = - | TW = ACK restart",
    ),
    row(
        "S13 text below RCV.NXT",
        |at| seg("ACK", at.rcv_nxt() - 5, una(at)).len(3),
        "CL,LI = rst | SS = - | NSR,SR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row(
        "S13 text that ends at RCV.NXT",
        |at| seg("ACK", at.rcv_nxt() - 5, una(at)).len(5),
        "NSR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row(
        "S13 bare ACK below RCV.NXT",
        |at| seg("ACK", at.rcv_nxt() - 5, una(at)),
        "NSR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row(
        "S14 text beyond the window",
        |at| seg("ACK", at.rcv_nxt() + FAR, una(at)).len(5),
        "CL,LI = rst | SS = - | NSR,SR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
    row(
        "S14 bare FIN beyond the window",
        |at| seg("FIN,ACK", at.rcv_nxt() + FAR, una(at)),
        "NSR,SR = ACK | sync = ACK | F2o = ACK | TW = ACK restart",
    ),
];

const RESETS: &[Row] = &[
    row(
        "S15 RST at RCV.NXT",
        |at| seg("RST", at.rcv_nxt(), 0),
        "CL,LI = - | SS = - | NSR gone - | SR gone - ECONNRESET | ES,F1,F2,CG,LA gone - ECONNRESET | F2o gone - \
         | CW gone - EPIPE | TW gone -",
    ),
    row(
        "S15 RST,ACK at RCV.NXT",
        |at| seg("RST,ACK", at.rcv_nxt(), una(at)),
        "CL,LI = - | SS gone - ECONNREFUSED | NSR gone - | SR gone - ECONNRESET \
         | ES,F1,F2,CG,LA gone - ECONNRESET | F2o gone - | CW gone - EPIPE | TW gone -",
    ),
    row(
        "S16 RST in the window",
        |at| seg("RST", at.rcv_nxt() + 10, 0),
        "CL,LI = - | SS = - | SR = CH | NSR = ACK | sync = CH | F2o gone - | TW = - keep",
    ),
    row(
        "S17 RST beyond the window",
        |at| seg("RST", at.rcv_nxt() + FAR, 0),
        "CL,LI = - | SS = - | NSR,SR = - | sync = - | F2o = ACK | TW = - keep",
    ),
    row(
        "S17 RST below the window",
        |at| seg("RST", at.rcv_nxt() - 10, 0),
        "NSR,SR = - | sync = - | F2o = ACK | TW = - keep",
    ),
    row(
        "S17 RST at RCV.NXT-1",
        |at| seg("RST", at.rcv_nxt() - 1, 0),
        "SR = - | ES,F1,F2 = - | F2o = ACK | TW = - keep | CG,LA gone - ECONNRESET | CW gone - EPIPE",
    ),
    row(
        "RST with text at RCV.NXT",
        |at| seg("RST", at.rcv_nxt(), 0).len(9),
        "NSR gone - | ES,F1,F2,CG,LA gone - ECONNRESET | F2o gone - | CW gone - EPIPE | TW gone -",
    ),
];

const SYNS: &[Row] = &[
    row(
        "S18 SYN in the window",
        |at| seg("SYN", at.rcv_nxt() + 10, 0),
        "CL = rst+ack | LI NSR SA* | SS SR SA* | NSR gone rst+ack | SR = CH | sync = CH | F2o gone rst+ack",
    ),
    row("S18 SYN repeated", |_| seg("SYN", -1, 0), "NSR = SA | SR = CH | ES,F1,F2 = CH"),
    row(
        "S19 SYN below the window",
        |at| seg("SYN", at.rcv_nxt() - 1000, 0),
        "CL = rst+ack | NSR = ACK | SR = CH | sync = CH | F2o = ACK | TW = ACK keep",
    ),
    row(
        "S20 SYN of a new incarnation, nobody listens",
        |at| seg("SYN", at.rcv_nxt() + 5000, 0),
        "sync = CH | F2o gone rst+ack | TW = ACK keep",
    ),
    row(
        "S20 SYN beyond the window",
        |at| seg("SYN", at.rcv_nxt() + FAR, 0),
        "SR = CH | sync = CH | F2o = ACK | NSR = ACK | TW = ACK keep",
    ),
    row(
        "S21 SYN,ACK in the window",
        |at| seg("SYN,ACK", at.rcv_nxt() + 10, una(at)),
        "CL,LI = rst | NSR gone rst | SR = CH | sync = CH | F2o gone rst | TW = ACK restart",
    ),
    row(
        "S21 SYN,ACK with our handshake's numbers",
        |at| seg("SYN,ACK", -1, una(at)),
        "SS ES ACK | NSR = ACK | SR ES ACK",
    ),
    row(
        "S21 SYN,ACK with a wrong ACK",
        |at| seg("SYN,ACK", at.rcv_nxt() - 1, 700),
        "SS = rst&SYN | NSR = rst | SR = CH",
    ),
    row(
        "S22 SYN,FIN",
        |at| seg("SYN,FIN", at.rcv_nxt() + 10, 0),
        "CL = rst+ack | LI = - | NSR gone rst+ack | SR = CH | sync = CH | F2o gone rst+ack | TW = ACK keep",
    ),
];

const SCANS: &[Row] = &[
    row(
        "S23 no flag",
        |at| seg("", at.rcv_nxt(), 0),
        "CL = rst+ack | LI,SS,NSR,SR = - | sync = - | F2o = - | TW = - restart",
    ),
    row(
        "S23 bare FIN",
        |at| seg("FIN", at.rcv_nxt(), 0),
        "CL = rst+ack | LI,SS,NSR,SR = - | sync = - | F2o = - | TW = ACK keep",
    ),
    row(
        "S23 christmas tree",
        |at| seg("FIN,PSH,URG", at.rcv_nxt(), 0),
        "CL = rst+ack | LI,SS,NSR,SR = - | sync = - | F2o = - | TW = ACK keep",
    ),
    row(
        "S23 text without ACK",
        |at| seg("", at.rcv_nxt(), 0).len(5),
        "LI,SS,NSR,SR = - | sync = - | F2o = - | TW = ACK keep",
    ),
    row(
        "S26 bad checksum",
        |at| seg("RST", at.rcv_nxt(), 0).bad_checksum(),
        "CL,LI,SS,NSR,SR = - | sync = - | F2o = - | TW = - keep",
    ),
];

fn check(rows: &[Row], setups: &[Setup]) {
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

fn setups() -> [Setup; 3] {
    [Setup::default(), Setup::v6(), Setup::modern()]
}

/// Holds: U9293-1, U9293-13, U9293-14, U9293-15
#[test]
fn a_fin_in_every_state() {
    check(FINS, &setups());
}

/// Holds: U9293-1, U9293-2, U9293-3
#[test]
fn an_ack_or_text_in_every_state() {
    check(ACKS_AND_TEXT, &setups());
}

/// Holds: SHLD-2, U9293-1, U9293-11, R5961-1, R5961-2, R5961-3, R5961-4, R5961-5, R5961-14
#[test]
fn a_rst_in_every_state() {
    check(RESETS, &setups());
}

/// Holds: U9293-1, R5961-6, R5961-7
#[test]
fn a_syn_in_every_state() {
    check(SYNS, &setups());
}

/// Holds: MUST-3, U9293-1, U9293-11
#[test]
fn a_scan_in_every_state() {
    check(SCANS, &setups());
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
    check(PAWS, &[Setup::modern(), Setup { v6: true, ..Setup::modern() }]);
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

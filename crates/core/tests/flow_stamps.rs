//! Timestamps and window scaling (RFC 7323), the estimator's samples (RFC 6298 3), and what TIME_WAIT makes of a SYN by
//! number and stamp (RFC 6191).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use lastack_core::TcpInfo;

fn open(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.open();
    rig
}

fn info(rig: &Rig) -> TcpInfo {
    rig.stack.tcp_info(rig.h()).unwrap()
}

/// The SYN of a connection to another port of the peer.
fn syn(rig: &mut Rig, port: u16) -> Sent {
    let h = rig.stack.tcp_socket();
    let mut remote = rig.peer;
    remote.set_port(port);
    rig.stack.tcp_connect(rig.now, h, remote).unwrap();
    rig.pump();
    rig.sent.pop_back().unwrap()
}

/// Holds: R7323-1, R7323-2, R7323-16, R7323-18
#[test]
fn a_syn_offers_all_and_echoes_nothing() {
    for (buffer, shift) in [(6 << 20, 7), (65_535, 0), (65_536, 1), (512 << 20, 14)] {
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.recv_buffer_max = buffer));
        let options = syn(&mut rig, 80).options;
        assert_eq!(options.window_scale, Some(shift), "{buffer}");
        assert!(options.sack_permitted);
        assert_eq!(options.timestamps.unwrap().1, 0);
    }
}

/// The offset is that of a pair of addresses, as on Linux.
///
/// Holds: R7323-36
#[test]
fn the_stamps_of_a_host_say_nothing_of_those_of_another() {
    let mut rig = Rig::new(Setup::default());
    let mut stamps = std::collections::BTreeSet::new();
    for host in 2..66 {
        rig.peer.set_ip([192, 0, 2, host].into());
        stamps.insert(syn(&mut rig, 80).options.timestamps.unwrap().0 >> 16);
    }
    assert!(stamps.len() >= 60, "{} different upper halves of 64", stamps.len());
}

/// Holds: R7323-5
#[test]
fn a_window_scale_behind_the_handshake_is_ignored() {
    let mut rig = open(Setup { scale: Some(2), ..Setup::default() });
    let options = Options { window_scale: Some(9), ..Options::default() };
    rig.inject(seg("ACK", 0, 0).len(10).win(1000).options(options));
    assert_eq!(info(&rig).send_window, 4000);
    rig.inject(seg("ACK", 10, 0).win(1001));
    assert_eq!(info(&rig).send_window, 4004);
}

/// Holds: R7323-19, R7323-20, R7323-24, R7323-33
#[test]
fn once_agreed_every_segment_carries_a_stamp_that_counts_milliseconds() {
    let mut rig = open(Setup::modern());
    let (start, first) = (rig.now, rig.ts_echo);
    let mut all = Vec::new();
    rig.write_len(3000);
    rig.advance(ms(300));
    all.extend(rig.sent.drain(..));
    rig.inject(seg("ACK", 0, 3000).len(100));
    rig.inject(seg("ACK", 500, 3000).len(100));
    // A challenge, a keep-alive, a probe.
    rig.inject(seg("RST", 50_000, 0));
    rig.option(TcpOption::KeepIdle(s(1)));
    rig.option(TcpOption::KeepAlive(true));
    rig.advance(s(3));
    rig.inject(seg("ACK", 100, 3000).win(0));
    rig.write_len(10);
    rig.advance(s(7));
    rig.inject(seg("ACK", 100, 3000));
    let mut aborted = rig.clone();
    rig.inject(seg("ACK", 100, 3010).len(400));
    rig.read().unwrap();
    rig.close();
    rig.inject(seg("FIN,ACK", 600, 3011));
    rig.inject(seg("FIN,ACK", 600, 3011));
    all.extend(rig.sent.drain(..));
    aborted.abort();
    all.extend(aborted.sent.pop_back());
    assert!(all.len() >= 14, "{}", all.len());
    assert!(all.iter().any(|sent| sent.flags.contains(Flags::RST)));
    for sent in &all {
        let (value, _) = sent.options.timestamps.unwrap_or_else(|| panic!("no stamp on {sent}"));
        let elapsed = (sent.at - start).as_millis() as u32;
        assert_eq!(value.wrapping_sub(first), elapsed, "{sent}");
    }
}

/// Holds: R7323-28
#[test]
fn an_ack_that_was_overtaken_does_not_take_the_stamp_back() {
    let mut rig = open(Setup::modern());
    rig.advance(s(1));
    let (now, echo) = (rig.peer_ts(), rig.ts_echo);
    rig.inject(seg("ACK", 0, 0).ts(now, echo));
    rig.inject(seg("ACK", 0, 0).ts(now - 20, echo));
    rig.write_len(1);
    assert_eq!(rig.sent.back().unwrap().options.timestamps.unwrap().1, now);
}

/// Holds: R7323-32
#[test]
fn a_segment_is_checked_when_it_comes_and_not_when_its_turn_comes() {
    let mut rig = open(Setup::modern());
    let (now, echo) = (rig.peer_ts(), rig.ts_echo);
    rig.inject(seg("ACK", 100, 0).len(100).ts(now + 5, echo));
    rig.inject(seg("ACK", 0, 0).len(50).ts(now + 500, echo));
    rig.inject(seg("ACK", 50, 0).len(50).ts(now + 501, echo));
    assert_eq!(rig.read().unwrap().len(), 200);
    assert_eq!(rig.stack.counters().paws_drops, 0);
}

/// Holds: R6298-8, R7323-25
#[test]
fn each_round_trip_gives_a_sample_and_an_ack_of_nothing_new_none() {
    for setup in [Setup::default(), Setup::modern()] {
        let mut rig = open(setup);
        for n in 1..=60 {
            rig.write_len(100);
            rig.advance(ms(100));
            rig.inject(seg("ACK", 0, n * 100));
        }
        let srtt = info(&rig).srtt;
        assert!((ms(98)..=ms(101)).contains(&srtt), "{srtt:?}");
        let echo = rig.ts_echo;
        for _ in 0..60 {
            rig.advance(ms(100));
            let stamp = rig.peer_ts();
            rig.inject(if rig.setup.timestamps {
                seg("ACK", 0, 6000).ts(stamp, echo)
            } else {
                seg("ACK", 0, 6000)
            });
        }
        assert_eq!(info(&rig).srtt, srtt);
    }
}

/// RFC 5681 4.3 asks for two reductions.
///
/// Holds: R5681-21
#[test]
fn losses_in_two_windows_count_twice() {
    let mut rig = open(Setup::default().with(|config| config.tcp.congestion = "reno".into()));
    // The first segment after the handshake counts as news of the window, not as a duplicate.
    rig.inject(seg("ACK", 0, 0));
    rig.write_len(100_000);
    let mut acked = 0;
    let mut thresholds = Vec::new();
    for _ in 0..2 {
        let sent = rig.sent.drain(..).map(|sent| i64::from(sent.rel_seq) + sent.payload.len() as i64);
        let end = sent.max().unwrap().max(acked);
        for _ in 0..3 {
            rig.inject(seg("ACK", 0, acked));
        }
        assert!(info(&rig).in_recovery);
        thresholds.push(info(&rig).ssthresh);
        acked = end;
        // All of it, and then something above it: without SACK the recovery is held until that (RFC 6582 4.1).
        for _ in 0..2 {
            let more = rig.sent.drain(..).map(|sent| i64::from(sent.rel_seq) + sent.payload.len() as i64);
            acked = more.max().unwrap().max(acked);
            rig.inject(seg("ACK", 0, acked));
        }
        assert!(!info(&rig).in_recovery);
    }
    assert!(thresholds[1] < thresholds[0], "{thresholds:?}");
    assert!(thresholds[0] <= 5);
}

/// The old connection had stamps or not; a SYN with a stamp that is newer, equal, older, or none, and a number above the
/// peer's FIN or not. What is not taken draws an ACK, and TIME_WAIT stays.
///
/// Holds: R6191-1, R6191-2, R6191-3, R6191-4, R6191-5, R6191-6, R6191-7
#[test]
fn time_wait_takes_a_syn_by_its_stamp_or_its_number() {
    for stamped in [false, true] {
        for (stamp, number, taken) in [
            (Some(1), 2, true),
            (Some(1), 1, stamped),
            (Some(1), -1000, stamped),
            (Some(0), 2, true),
            (Some(0), 1, false),
            (Some(0), -1000, false),
            (Some(-1), 2, !stamped),
            (Some(-1), -1000, false),
            (None, 2, true),
            (None, 1, false),
            (None, -1000, false),
        ] {
            let mut rig = Rig::new(Setup { timestamps: stamped, ..Setup::default() });
            rig.open_passive();
            rig.close();
            rig.inject(seg("ACK", 0, 1));
            // The FIN has number 0, so that RCV.NXT is 1.
            rig.inject(seg("FIN,ACK", 0, 1));
            rig.expect_state(State::TimeWait);
            rig.take();
            let last = rig.peer_ts();
            rig.advance(s(1));
            let stamp = stamp.map(|ahead: i32| (last.wrapping_add(ahead as u32), 0));
            let options = Options { timestamps: stamp, ..rig.syn_options() };
            rig.inject(seg("SYN", number, 0).options(options));
            let answer = rig.sent.pop_front().expect("no answer");
            let what = format!("{stamped} {stamp:?} {number}");
            assert_eq!(answer.flags, if taken { Flags::SYN | Flags::ACK } else { Flags::ACK }, "{what}");
            let next = if taken { State::NewSynRecv } else { State::TimeWait };
            assert_eq!(rig.state(), Some(next), "{what}");
        }
    }
}

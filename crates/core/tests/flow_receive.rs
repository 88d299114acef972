//! What a receiver does: acknowledgements, SACK, the window, timestamps, memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use lastack_core::TcpInfo;
use proptest::prelude::*;

fn open(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.open();
    rig
}

fn info(rig: &Rig) -> TcpInfo {
    rig.stack.tcp_info(rig.h()).unwrap()
}

/// Past the quick ACKs of the start, everything read: the next byte is at `at`. The window stays as it is, for while it
/// grows each segment is acknowledged.
fn settled(setup: Setup) -> (Rig, i64) {
    let mut rig = open(setup.with(|config| config.tcp.moderate_recv_buffer = false));
    let mut at = 0;
    for _ in 0..40 {
        rig.inject(seg("ACK", at, 0).len(1460));
        at += 1460;
        rig.read().unwrap();
        rig.advance(ms(1));
    }
    // Longer than an RTO, and the start would begin anew.
    rig.advance(ms(100));
    rig.take();
    (rig, at)
}

#[test]
fn the_first_segments_are_acknowledged_at_once() {
    let mut rig = open(Setup::default());
    for n in 0..16 {
        rig.inject(seg("ACK", n * 100, 0).len(100));
        assert_eq!(rig.take(), [format!("ACK 0(0) ack {}", (n + 1) * 100)]);
    }
}

/// Holds: SHLD-18, R5681-19
#[test]
fn a_lone_segment_is_acknowledged_after_40_ms() {
    let (mut rig, at) = settled(Setup::default());
    rig.inject(seg("ACK", at, 0).len(1460));
    let start = rig.now;
    rig.expect_nothing();
    rig.advance(ms(500));
    let sent = rig.take_timed(start);
    assert_eq!(sent.len(), 1);
    assert!((40..=41).contains(&sent[0].0), "{sent:?}");
    assert_eq!(rig.stack.counters().delayed_acks, 1);
}

/// Holds: MUST-58, MUST-59, SHLD-19, R5681-19, R5681-20
#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let (mut rig, mut at) = settled(Setup::default());
    let mut acks = 0;
    for _ in 0..40 {
        rig.inject(seg("ACK", at, 0).len(1460));
        at += 1460;
        rig.read().unwrap();
        acks += rig.take().len();
    }
    assert_eq!(acks, 20);
    // A batch is processed to its end, and one ACK answers all of it.
    for _ in 0..10 {
        let packet = rig.build(&seg("ACK", at, 0).len(1460));
        rig.stack.receive(rig.now, &Default::default(), &packet);
        at += 1460;
    }
    assert_eq!(rig.take(), [format!("ACK 0(0) ack {at}")]);
}

#[test]
fn an_answer_carries_the_ack_of_interactive_traffic() {
    let (mut rig, mut at) = settled(Setup::default());
    rig.inject(seg("ACK", at, 0).len(10));
    at += 10;
    rig.expect_nothing();
    rig.read().unwrap();
    rig.expect(&format!("ACK 0(0) ack {at}"));
    for n in 0..5 {
        rig.write_len(5);
        rig.expect(&format!("ACK {}(5) ack {at}", n * 5));
        rig.advance(ms(10));
        rig.inject(seg("ACK", at, (n + 1) * 5).len(10));
        at += 10;
        rig.read().unwrap();
        rig.expect_nothing();
    }
    // No answer: the timer sends it.
    rig.advance(ms(200));
    rig.expect(&format!("ACK 25(0) ack {at}"));
}

#[test]
fn quickack_lets_the_waiting_ack_of_a_reader_go_who_has_caught_up() {
    let (mut rig, at) = settled(Setup::default());
    rig.option(TcpOption::QuickAck(false));
    rig.inject(seg("ACK", at, 0).len(10));
    rig.expect_nothing();
    rig.option(TcpOption::QuickAck(true));
    rig.expect_nothing();
    rig.option(TcpOption::QuickAck(false));
    rig.read().unwrap();
    rig.expect_nothing();
    rig.option(TcpOption::QuickAck(true));
    rig.expect(&format!("ACK 0(0) ack {}", at + 10));
}

// RFC 2018 4.
/// Holds: MAY-13, R5681-11
#[test]
fn a_segment_out_of_order_draws_an_ack_at_once_with_the_newest_block_first() {
    let (mut rig, at) = settled(Setup { sack: true, ..Setup::default() });
    let blocks = |rig: &mut Rig, from: i64, len: usize| {
        rig.inject(seg("ACK", at + from, 0).len(len));
        let sent = rig.sent.pop_front().expect("no immediate ACK");
        assert_eq!(i64::from(sent.rel_ack), at);
        rig.expect_nothing();
        let peer = rig.peer_iss;
        sent.sack(peer).iter().map(|(a, b)| (i64::from(*a) - at, i64::from(*b) - at)).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&mut rig, 1000, 100), [(1000, 1100)]);
    assert_eq!(blocks(&mut rig, 3000, 100), [(3000, 3100), (1000, 1100)]);
    assert_eq!(blocks(&mut rig, 2000, 100), [(2000, 2100), (3000, 3100), (1000, 1100)]);
    assert_eq!(blocks(&mut rig, 1100, 100), [(1000, 1200), (2000, 2100), (3000, 3100)]);
    assert_eq!(blocks(&mut rig, 5000, 1), [(5000, 5001), (1000, 1200), (2000, 2100), (3000, 3100)]);
    assert_eq!(blocks(&mut rig, 7000, 1)[..2], [(7000, 7001), (5000, 5001)]);
    assert_eq!(blocks(&mut rig, 1200, 800)[..2], [(1000, 2100), (7000, 7001)]);
    // RFC 2883: a duplicate comes first, then the block that holds it.
    assert_eq!(blocks(&mut rig, 3010, 20)[..2], [(3010, 3030), (3000, 3100)]);
    assert_eq!(blocks(&mut rig, 3050, 100)[..2], [(3050, 3100), (3000, 3150)], "in part");
    // Told once.
    assert_eq!(blocks(&mut rig, 9000, 1)[0], (9000, 9001));
}

#[test]
fn with_timestamps_three_sack_blocks_fit() {
    let mut rig = open(Setup::modern());
    for n in 1..6 {
        rig.inject(seg("ACK", n * 1000, 0).len(10));
    }
    let last = rig.sent.pop_back().unwrap();
    assert_eq!(last.sack(rig.peer_iss), [(5000, 5010), (4000, 4010), (3000, 3010)]);
}

#[test]
fn without_sack_permitted_no_block_is_sent() {
    let mut rig = open(Setup::default());
    rig.inject(seg("ACK", 1000, 0).len(10));
    rig.inject(seg("ACK", 1000, 0).len(10));
    assert!(rig.sent.iter().all(|sent| sent.options.sack.is_empty()));
    assert_eq!(rig.sent.len(), 2);
}

// RFC 2883; the filler of a hole is acknowledged at once.
/// Holds: SHLD-31, R5681-11
#[test]
fn filling_the_hole_acknowledges_at_once_and_delivers_all() {
    let (mut rig, at) = settled(Setup { sack: true, ..Setup::default() });
    rig.inject(seg("ACK", at + 26, 0).len(26));
    rig.take();
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.inject(seg("ACK", at, 0).len(26));
    let sent = rig.sent.pop_front().unwrap();
    assert_eq!((i64::from(sent.rel_ack), sent.options.sack.len()), (at + 52, 0));
    assert_eq!(rig.read().unwrap(), [&b"abcdefghijklmnopqrstuvwxyz"[..]; 2].concat());
    // What was delivered and comes again is reported.
    rig.inject(seg("ACK", at + 10, 0).len(20));
    let sent = rig.sent.pop_front().unwrap();
    assert_eq!(sent.sack(rig.peer_iss), [((at + 10) as i32, (at + 30) as i32)]);
}

// The first arrival of a byte wins; what was acknowledged never changes.
#[test]
fn the_first_arrival_of_a_byte_wins() {
    let mut rig = open(Setup::default());
    rig.inject(seg("ACK", 4, 0).data(b"1111"));
    rig.inject(seg("ACK", 2, 0).data(b"22222222"));
    rig.inject(seg("ACK", 0, 0).data(b"333333333333"));
    assert_eq!(rig.read().unwrap(), b"332211112233");
}

/// Holds: SHLD-14, MAY-8, R7323-11, R7323-12
#[test]
fn the_right_edge_never_moves_back_and_the_window_shuts_when_nobody_reads() {
    for scale in [None, Some(7)] {
        let mut rig = open(Setup { scale, ..Setup::default() });
        let shift = if scale.is_some() { 7 } else { 0 };
        let (mut at, mut edge) = (0i64, 65_535i64);
        loop {
            let room = (edge - at).min(1460);
            if room < 100 {
                break;
            }
            rig.inject(seg("ACK", at, 0).len(room as usize));
            at += room;
            rig.advance(ms(300));
            for sent in rig.sent.drain(..) {
                let right = i64::from(sent.rel_ack) + (i64::from(sent.window) << shift);
                assert!(right >= edge, "the edge went from {edge} to {right}");
                edge = right;
            }
            assert!(at < 80_000, "the window stays open");
        }
        assert!(info(&rig).unread > 60_000);
        // Beyond it nothing is taken, and the peer is told.
        let before = info(&rig).unread;
        rig.inject(seg("ACK", edge, 0).len(100));
        assert_eq!(rig.take().len(), 1);
        assert_eq!(info(&rig).unread, before);
        // It opens again by a useful step, told at once.
        rig.read_some(100).unwrap();
        rig.expect_nothing();
        rig.read().unwrap();
        let update = rig.sent.pop_front().expect("no window update");
        assert!(i64::from(update.window) << shift > 30_000);
        rig.expect_nothing();
    }
}

// One-byte segments in order, nobody reads.
#[test]
fn one_byte_segments_cannot_push_the_edge_on_without_end() {
    for setup in [Setup::default(), Setup::modern()] {
        let mut rig = open(setup);
        for at in 0..200_000 {
            rig.inject(seg("ACK", at, 0).data(b"x"));
            rig.sent.clear();
        }
        let unread = info(&rig).unread;
        assert!((60_000..80_000).contains(&unread), "{unread} bytes of a 64 KiB window");
        assert!(rig.stack.counts().buffer_bytes <= 4 * 65_536);
    }
}

// The silly window of the receiver.
/// Holds: MUST-39
#[test]
fn a_slow_reader_opens_the_window_in_useful_steps() {
    for (scale, buffer) in [(None, 8192), (Some(7), 80_000)] {
        let mut rig = Rig::new(Setup { scale, ..Setup::default() });
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_set_option(rig.now, h, TcpOption::RecvBuffer(buffer)).unwrap();
        rig.stack.tcp_bind(h, rig.local).unwrap();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.socket = Some(h);
        rig.pump();
        rig.iss = rig.sent.pop_front().unwrap().seq;
        rig.inject(seg("SYN,ACK", -1, 0));
        rig.take();
        let mut at = 0;
        while at < buffer {
            let len = (buffer - at).min(1460);
            rig.inject(seg("ACK", at as i64, 0).len(len));
            at += len;
        }
        rig.advance(ms(500));
        assert_eq!(rig.sent.pop_back().unwrap().window, 0);
        rig.sent.clear();
        let shift = info(&rig).window_scales.map_or(0, |scales| scales.1);
        assert_eq!(shift > 0, scale.is_some());
        let mut updates = Vec::new();
        for _ in 0..buffer {
            rig.read_some(1).unwrap();
            updates.extend(rig.sent.drain(..).map(|sent| u32::from(sent.window) << shift));
        }
        assert!(!updates.is_empty() && updates.len() <= 6, "{updates:?}");
        assert!(updates.iter().all(|window| *window >= 1460), "{updates:?}");
    }
}

/// Holds: R7323-6, R7323-8
#[test]
fn the_window_of_a_syn_is_not_scaled_and_later_ones_are() {
    let mut rig = Rig::new(Setup::modern());
    rig.listen(4);
    rig.inject(seg("SYN", -1, 0));
    let answer = rig.sent.pop_front().unwrap();
    assert_eq!((answer.window, answer.options.window_scale), (65_535, Some(7)));
    rig.iss = answer.seq;
    rig.inject(seg("ACK", 0, 0).data(b"x"));
    let ack = rig.sent.pop_front().unwrap();
    assert_eq!(u32::from(ack.window) << 7, 65_536);
}

#[test]
fn a_fast_reader_is_offered_a_larger_window_and_a_fixed_buffer_is_not() {
    for fixed in [false, true] {
        let mut rig = open(Setup::modern());
        if fixed {
            rig.option(TcpOption::RecvBuffer(60_000));
        }
        let mut at = 0;
        for _ in 0..20 {
            rig.advance(ms(20));
            for _ in 0..40 {
                rig.inject(seg("ACK", at, 0).len(1448));
                at += 1448;
                rig.read().unwrap();
            }
        }
        let window = u32::from(rig.sent.back().unwrap().window) << 7;
        assert_eq!(window > 150_000, !fixed, "{window}");
        assert!(window <= 6 << 20);
    }
}

// SegmentSmack, at a tenth of its size here; the cost is bounded by the number of ranges.
#[test]
fn one_byte_segments_at_every_second_position_cost_bounded_memory() {
    for order in 0..4u32 {
        let setup = Setup::modern().with(|c| c.tcp.recv_buffer_initial = 6 << 20);
        let mut rig = open(setup);
        // What is sent past the rig it cannot compare.
        rig.check_text = false;
        // The window grows from the SYN's 64 KiB with the first ACK.
        rig.inject(seg("ACK", 0, 0).data(b"x"));
        let window = 6 << 20;
        let count = 500_000u32;
        for n in 0..count {
            let n = match order {
                0 => n,
                1 => count - 1 - n,
                2 => n.wrapping_mul(0x9e37_79b1) % count,
                _ => n.reverse_bits() >> 13,
            };
            let at = 2 + i64::from(n) * 2;
            let packet = rig.build(&seg("ACK", at, 0).data(b"y"));
            rig.stack.receive(rig.now, &Default::default(), &packet);
            if n % 16 == 0 {
                rig.pump();
                rig.sent.clear();
            }
        }
        rig.pump();
        rig.sent.clear();
        assert!(rig.stack.counts().buffer_bytes <= window);
        assert!(info(&rig).out_of_order <= 1024 * 2);
        let mut at = 1i64;
        while at < 20_000 {
            rig.inject(seg("ACK", at, 0).len(1448));
            at += 1448;
        }
        assert!(rig.read().unwrap().len() >= 20_000);
        rig.sent.clear();
        rig.abort();
        assert_eq!(rig.stack.counts().buffer_bytes, 0);
    }
}

// The stack's limit; what is in order has to be sent again, nothing breaks.
#[test]
fn the_stacks_memory_limit_drops_what_does_not_fit() {
    let mut rig = open(Setup::modern().with(|c| c.memory_limit = 16 << 10));
    for n in 1..=20 {
        rig.inject(seg("ACK", n * 4096, 0).len(10));
    }
    assert!(rig.stack.counts().buffer_bytes <= 16 << 10);
    assert!(rig.stack.counters().ofo_dropped_bytes > 0);
    rig.sent.clear();
    rig.inject(seg("ACK", 0, 0).len(100));
    let ack = rig.sent.pop_back().expect("refused text is acknowledged at once");
    assert!(ack.rel_ack == 0 || ack.rel_ack == 100);
}

/// Holds: R7323-17, R7323-27
#[test]
fn the_echoed_stamp_is_that_of_the_first_segment_not_yet_acknowledged() {
    let (mut rig, at) = settled(Setup { timestamps: true, ..Setup::default() });
    let base = rig.peer_ts();
    let echo = rig.ts_echo;
    rig.inject(seg("ACK", at, 0).len(1000).ts(base + 10, echo));
    rig.inject(seg("ACK", at + 1000, 0).len(100).ts(base + 20, echo));
    rig.advance(ms(300));
    let ack = rig.sent.pop_front().unwrap();
    assert_eq!(ack.options.timestamps.unwrap().1, base + 10);
    // Out of order: the stamp does not count; the filler's does.
    rig.inject(seg("ACK", at + 2000, 0).len(100).ts(base + 30, echo));
    assert_eq!(rig.sent.pop_front().unwrap().options.timestamps.unwrap().1, base + 10);
    rig.inject(seg("ACK", at + 1100, 0).len(900).ts(base + 25, echo));
    assert_eq!(rig.sent.pop_front().unwrap().options.timestamps.unwrap().1, base + 25);
}

#[test]
fn a_forged_stamp_does_not_poison_paws() {
    let (mut rig, at) = settled(Setup::modern());
    let poison = rig.peer_ts().wrapping_add(1 << 30);
    let echo = rig.ts_echo;
    // In the window with a bad ACK, out of order, and beyond the window.
    rig.inject(seg("ACK", at, 100_000).len(10).ts(poison, echo));
    rig.inject(seg("ACK", at, -10_000_000).len(10).ts(poison, echo));
    rig.inject(seg("ACK", at + 5000, 0).len(10).ts(poison, echo));
    rig.inject(seg("ACK", at + 50_000_000, 0).len(10).ts(poison, echo));
    rig.inject(seg("ACK", at - 50_000_000, 0).len(10).ts(poison, echo));
    rig.sent.clear();
    rig.inject(seg("ACK", at, 0).len(10));
    assert_eq!(rig.read().unwrap().len(), 10);
    assert_eq!(rig.stack.counters().paws_drops, 0);
}

/// Holds: R7323-31, R7323-34
#[test]
fn an_old_stamp_is_refused_with_an_ack_until_24_days_of_silence() {
    let (mut rig, at) = settled(Setup::modern());
    let echo = rig.ts_echo;
    let old = rig.peer_ts() - 10_000;
    rig.inject(seg("ACK", at, 0).len(10).ts(old, echo));
    rig.expect(&format!("ACK 0(0) ack {at}"));
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    assert_eq!(rig.stack.counters().paws_drops, 1);
    rig.advance(s(24 * 24 * 3600 + 10));
    rig.inject(seg("ACK", at, 0).len(10).ts(old, echo));
    assert_eq!(rig.read().unwrap().len(), 10);
}

// A missing stamp is taken, as on Linux; one that was not agreed is ignored.
/// Holds: R7323-21, R7323-22, R7323-23
#[test]
fn a_missing_or_uninvited_stamp_breaks_nothing() {
    let mut rig = open(Setup::modern());
    rig.inject(seg("ACK", 0, 0).len(10).options(Options::default()));
    assert_eq!(rig.read().unwrap().len(), 10);
    let mut rig = open(Setup::default());
    rig.inject(seg("ACK", 0, 0).len(10).ts(1, 2));
    rig.inject(seg("ACK", 10, 0).len(10).ts(0, 0));
    assert_eq!(rig.read().unwrap().len(), 20);
}

#[test]
fn peek_leaves_the_bytes() {
    let mut rig = open(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"hello"));
    let mut buf = [0; 3];
    assert_eq!(rig.stack.tcp_peek(rig.h(), &mut buf), Ok(3));
    assert_eq!(&buf, b"hel");
    assert_eq!(rig.read().unwrap(), b"hello");
    assert_eq!(rig.stack.tcp_peek(rig.h(), &mut buf), Err(Error::WouldBlock));
}

/// A segment of the peer that may be anything.
fn any_segment() -> impl Strategy<Value = SegSpec> {
    let near = prop_oneof![
        8 => -10i64..30_000,
        1 => -100_000i64..200_000,
        1 => any::<u32>().prop_map(i64::from),
    ];
    let ack = prop_oneof![8 => -10i64..30_000, 1 => any::<u32>().prop_map(i64::from)];
    let flag =
        prop_oneof![10 => Just(0x10u16), 3 => Just(0x18), 3 => Just(0x11), 2 => Just(0x30), 4 => 0..0x200u16];
    let sack = proptest::collection::vec((any::<i16>(), any::<u16>()), 0..4);
    let stamp = proptest::option::of((any::<i16>(), any::<i16>()));
    (flag, near, ack, 0..3000usize, any::<u16>(), any::<u16>(), sack, stamp).prop_map(
        |(flag, seq, ack, len, window, urgent, sack, stamp)| {
            let mut options = Options::default();
            for (start, len) in sack {
                let start = SeqNumber(start as u32);
                options.sack.push(start, start + u32::from(len));
            }
            options.timestamps = stamp.map(|(value, echo)| (value as u32, echo as u32));
            if stamp.is_some() {
                options.sack.truncate(3);
            }
            let mut spec = seg("", seq, ack).len(len).win(window).options(options);
            spec.flags = Flags::from_bits_truncate(flag);
            spec.urgent = urgent;
            spec
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Law 10: whatever arrives, in any state, the worst outcome is a counter and a dropped packet.
    #[test]
    fn no_sequence_of_segments_panics(
        start in proptest::sample::select(&Start::ALL[..]),
        specs in proptest::collection::vec((any_segment(), 0..6u8), 1..40),
        modern in any::<bool>(),
        write in 0..50_000usize,
    ) {
        let setup = if modern { Setup::modern() } else { Setup::default() };
        let mut rig = start.rig(setup);
        for (mut spec, act) in specs {
            // Options are relative to the connection, so that many of them are plausible.
            if let Some(options) = &mut spec.options {
                let mut sack = lastack_core::wire::tcp::SackBlocks::new();
                for (from, to) in &options.sack {
                    sack.push(rig.iss + from.0, rig.iss + to.0);
                }
                options.sack = sack;
                let (ts, echo) = (rig.peer_ts(), rig.ts_echo);
                options.timestamps =
                    options.timestamps.map(|(v, e)| (ts.wrapping_add(v), echo.wrapping_add(e)));
            }
            rig.inject(spec);
            if let Some(h) = rig.socket {
                match act {
                    0 => { let _ = rig.read_some(5000); }
                    1 => { let _ = rig.write(&vec![1; write]); }
                    2 => { let _ = rig.stack.tcp_read_urgent(h); }
                    3 => rig.advance(ms(write as u64 / 10)),
                    4 if write % 7 == 0 => { let _ = rig.stack.tcp_shutdown(rig.now, h, Shutdown::Write); }
                    _ => {}
                }
                let _ = rig.stack.tcp_info(h);
            }
            rig.sent.clear();
        }
        // Law 3: what nobody owns ends.
        if let Some(h) = rig.listener.take() {
            rig.stack.tcp_close(rig.now, h);
        }
        if let Some(h) = rig.socket.take() {
            rig.stack.tcp_close(rig.now, h);
        }
        rig.advance(s(1200));
        prop_assert_eq!(rig.stack.counts(), lastack_core::Counts::default());
    }
}

/// Long text is copied while its checksum is computed.
#[test]
fn long_text_with_a_bad_checksum_leaves_nothing_behind() {
    let setup = Setup::modern().with(|config| config.tcp.recv_buffer_initial = 1 << 20);
    let mut rig = open(setup);
    for round in 0..3 {
        let at = round * 40_000;
        for len in [5_000, 40_000] {
            rig.inject(seg("PSH,ACK", at, 0).data(&vec![b'x'; len]).bad_checksum());
        }
        // Not what comes next, no acknowledgement that counts, an old stamp: refused, whatever the checksum.
        rig.inject(seg("PSH,ACK", at, 9999).data(&[b'x'; 5_000]));
        rig.inject(seg("PSH,ACK", at, 0).data(&[b'x'; 5_000]).ts(1, 0));
        assert_eq!((rig.stack.counts().buffer_bytes, info(&rig).unread), (0, 0));
        rig.inject(seg("PSH,ACK", at, 0).len(40_000));
        let expected = seg("ACK", 0, 0).len(40_000).payload;
        assert!(rig.read().unwrap() == expected, "the text that came with a good checksum");
        assert_eq!(rig.stack.counts().buffer_bytes, 0);
    }
    assert_eq!(rig.stack.counters().in_csum_errors, 6);
}

/// Long text that comes before a hole is filled, in the hole, and behind it.
#[test]
fn long_text_out_of_order_is_put_together() {
    let setup = Setup::default().with(|config| config.tcp.recv_buffer_initial = 1 << 20);
    let mut rig = open(setup);
    let text = seg("ACK", 0, 0).len(30_000).payload;
    let part = |n: usize| &text[n * 10_000..(n + 1) * 10_000];
    rig.inject(seg("ACK", 10_000, 0).data(part(1)));
    rig.inject(seg("ACK", 0, 0).data(part(0)).bad_checksum());
    rig.inject(seg("ACK", 0, 0).data(part(0)));
    rig.inject(seg("FIN,ACK", 20_000, 0).data(part(2)));
    assert!(rig.read().unwrap() == text);
    assert_eq!(rig.read(), Ok(Vec::new()));
}

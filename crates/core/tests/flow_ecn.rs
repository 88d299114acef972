//! Explicit congestion notification between two stacks and at one of them (RFC 3168).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use lastack_core::wire::{PacketMeta, ipv4};
use lastack_core::{CongestionReport, EcnKind, EcnOption, EcnPolicy};
use proptest::prelude::*;

const BOTH: EcnPolicy = EcnPolicy { accept: EcnKind::Classic, connect: EcnKind::Classic };

fn config() -> Config {
    let mut config = Config::default();
    config.tcp.ecn = BOTH;
    config
}

/// Sends `len` bytes from A to B while the line does what it does.
fn transfer(pair: &mut Pair, (client, server): (TcpHandle, TcpHandle), len: usize) {
    let text: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
    let (mut written, mut got) = (0, Vec::new());
    let mut room = vec![0; 65_536];
    for _ in 0..100_000 {
        if let Ok(n) = pair.a.tcp_write(pair.now, client, &text[written..]) {
            written += n;
        }
        pair.run(ms(5));
        while let Ok(n @ 1..) = pair.b.tcp_read(pair.now, server, &mut room) {
            got.extend_from_slice(&room[..n]);
        }
        if got.len() == len {
            assert_eq!(got, text);
            return;
        }
    }
    panic!("{} of {len} bytes arrived", got.len());
}

/// Holds: SHLD-8, R3168-5, R3168-6
#[test]
fn a_marked_path_slows_the_sender_without_a_loss() {
    let mut pair = Pair::new(&config(), ms(10));
    let ends = pair.connected();
    pair.rule(
        |flying| if flying.from == Side::A && flying.index % 100 == 99 { Fate::Mark } else { Fate::Deliver },
    );
    transfer(&mut pair, ends, 2_000_000);
    let info = pair.a.tcp_info(ends.0).unwrap();
    assert!(info.ecn && info.delivered_ce > 0 && info.ssthresh < u32::MAX, "{info:?}");
    assert_eq!(info.retransmissions, 0);
    let marks = pair.b.counters().ip.in_ce;
    assert!(marks >= 10 && pair.b.tcp_info(ends.1).unwrap().ecn_seen);
    // Once for each reduction, which is at most once for each mark.
    let told = pair.log.iter().filter(|flying| flying.sent.flags.contains(Flags::CWR)).skip(1).count() as u64;
    assert!(told > 0 && told <= marks, "{told} of {marks}");
}

/// Holds: R3168-7, R3168-8
#[test]
fn only_new_text_may_be_marked() {
    let mut pair = Pair::new(&config(), ms(10));
    let ends = pair.connected();
    pair.rule(|flying| if flying.index % 50 == 20 { Fate::Drop } else { Fate::Deliver });
    transfer(&mut pair, ends, 500_000);
    let mut highest = i32::MIN;
    for flying in pair.log.iter().filter(|flying| flying.from == Side::A) {
        let sent = &flying.sent;
        let new = !sent.payload.is_empty() && sent.rel_seq >= highest;
        assert_eq!(sent.tos() & 3, if new { 2 } else { 0 }, "{sent}");
        highest = highest.max(sent.rel_seq + sent.payload.len() as i32);
    }
    assert!(pair.log.iter().all(|flying| flying.from == Side::A || flying.sent.tos() == 0));
    assert!(pair.a.tcp_info(ends.0).unwrap().retransmissions > 0);
}

/// Holds: R3168-2
#[test]
fn a_listener_grants_ecn_to_a_syn_that_asks_and_is_not_marked() {
    for (policy, asks, tos, granted) in [
        (2, "SYN,ECE,CWR", 0, true),
        (1, "SYN,ECE,CWR", 0, true),
        (0, "SYN,ECE,CWR", 0, false),
        (2, "SYN,ECE", 0, false),
        (2, "SYN,CWR", 0, false),
        (2, "SYN", 2, false),
        (2, "SYN,ECE,CWR", 2, false),
        (2, "SYN,ECE,CWR", 3, false),
        (2, "SYN,ECE,CWR,AE", 2, true),
    ] {
        let policy = EcnPolicy::from_sysctl(policy).unwrap();
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = policy));
        let listener = rig.listen(4);
        let mut syn = rig.build(&seg(asks, -1, 0));
        set_tos(&mut syn, tos);
        rig.inject_packet(&syn);
        let answer = rig.sent.pop_front().unwrap();
        assert_eq!((answer.flags.contains(Flags::ECE), answer.tos()), (granted, 0), "{asks} {tos}");
        rig.iss = answer.seq;
        rig.inject(seg("ACK", 0, 0));
        rig.socket = rig.stack.tcp_accept(listener).ok();
        rig.write(b"x").unwrap();
        rig.pump();
        assert_eq!(rig.expect("ACK 0(1) ack 0").tos(), if granted { 2 } else { 0 });
    }
}

/// Holds: R3168-3
#[test]
fn a_syn_ack_grants_ecn_with_ece_alone() {
    for (answer, granted) in
        [("SYN,ACK,ECE", true), ("SYN,ACK", false), ("SYN,ACK,ECE,CWR", false), ("SYN,ACK,CWR", false)]
    {
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = BOTH));
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_bind(h, rig.local).unwrap();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        let syn = rig.sent.pop_front().unwrap();
        assert_eq!((syn.flags, syn.tos()), (flags("SYN,ECE,CWR"), 0));
        (rig.iss, rig.socket) = (syn.seq, Some(h));
        rig.inject(seg(answer, -1, 0));
        assert_eq!(rig.expect("ACK 0(0) ack 0").tos(), 0);
        assert_eq!(rig.stack.tcp_info(h).unwrap().ecn, granted, "{answer}");
        rig.write(b"x").unwrap();
        rig.pump();
        assert_eq!(rig.expect("ACK 0(1) ack 0").tos(), if granted { 2 } else { 0 });
    }
}

/// Holds: R3168-4
#[test]
fn a_repeated_syn_asks_no_more_unless_told_to() {
    for fallback in [true, false] {
        let setup = Setup::default().with(|config| {
            config.tcp.ecn = BOTH;
            config.tcp.ecn_fallback = fallback;
        });
        let mut rig = Rig::new(setup);
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        assert_eq!(rig.sent.pop_front().unwrap().flags, flags("SYN,ECE,CWR"));
        rig.advance(ms(1100));
        let again = if fallback { "SYN" } else { "SYN,ECE,CWR" };
        assert_eq!(rig.sent.pop_front().unwrap().flags, flags(again));
    }
}

/// Holds: R3168-9, R3168-10
#[test]
fn a_mark_is_echoed_on_everything_until_a_cwr() {
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(4);
    rig.inject(seg("SYN,ECE,CWR", -1, 0));
    rig.iss = rig.sent.pop_front().unwrap().seq;
    rig.inject(seg("ACK", 0, 0));
    rig.socket = rig.stack.tcp_accept(listener).ok();
    let marked = |rig: &Rig, spec: SegSpec, tos| {
        let mut packet = rig.build(&spec);
        set_tos(&mut packet, tos);
        packet
    };
    let packet = marked(&rig, seg("ACK", 0, 0).len(10).win(0), 3);
    rig.inject_packet(&packet);
    rig.expect("ACK,ECE 0(0) ack 10");
    rig.write(b"hello").unwrap();
    rig.pump();
    rig.advance(ms(1500));
    let probe = rig.expect("ACK,ECE -1(0) ack 10");
    assert_eq!(probe.tos(), 0);
    rig.sent.clear();
    rig.inject(seg("ACK", 10, 0));
    assert_eq!(rig.expect("ACK,ECE 0(5) ack 10").tos(), 2);
    let packet = marked(&rig, seg("ACK,CWR", 10, 5).len(10), 2);
    rig.inject_packet(&packet);
    rig.expect("ACK 5(0) ack 20");
}

#[test]
fn the_dscp_stays_beside_the_ecn_bits() {
    for v6 in [false, true] {
        let setup = if v6 { Setup::v6() } else { Setup::default() };
        let mut rig = Rig::new(setup);
        let listener = rig.listen(4);
        rig.stack.tcp_set_option(rig.now, listener, TcpOption::Tos(0xb8)).unwrap();
        rig.inject(seg("SYN,ECE,CWR", -1, 0));
        let answer = rig.sent.pop_front().unwrap();
        assert_eq!((answer.flags, answer.tos()), (flags("SYN,ACK,ECE"), 0xb8));
        rig.iss = answer.seq;
        rig.inject(seg("ACK", 0, 0));
        rig.socket = rig.stack.tcp_accept(listener).ok();
        rig.write(b"hello").unwrap();
        rig.pump();
        assert_eq!(rig.expect("ACK 0(5) ack 0").tos(), 0xba);
        let mut packet = rig.build(&seg("ACK", 0, 5).len(3));
        set_tos(&mut packet, 0xbb);
        rig.inject_packet(&packet);
        assert_eq!(rig.expect("ACK,ECE 5(0) ack 3").tos(), 0xb8);
    }
}

/// RFC 3168 5.3: a mark on one fragment counts for the datagram.
///
/// Holds: R3168-1
#[test]
fn a_mark_on_a_fragment_is_echoed() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(4);
    rig.inject(seg("SYN,ECE,CWR", -1, 0));
    rig.iss = rig.sent.pop_front().unwrap().seq;
    rig.inject(seg("ACK", 0, 0));
    let packet = rig.build(&seg("ACK", 0, 0).len(500));
    let whole = ipv4::Packet::parse(&packet).unwrap();
    for (at, tos) in [(0, 2), (256, 3)] {
        let last = at > 0;
        let end = if last { whole.payload().len() } else { 256 };
        let data = &whole.payload()[at..end];
        let mut fragment = vec![0; 20 + data.len()];
        let repr = ipv4::Repr { tos, id: 7, df: false, payload_len: data.len(), ..whole.repr() };
        repr.emit_fragment(at as u16, !last, &mut fragment).unwrap();
        fragment[20..].copy_from_slice(data);
        rig.stack.receive(rig.now, &PacketMeta::default(), &fragment);
    }
    rig.pump();
    rig.expect("ACK,ECE 0(0) ack 500");
}

/// RFC 8257 3.2: ECE is what the packets were, run by run, although acknowledgements are delayed.
#[test]
fn dctcp_echoes_each_run_of_marks() {
    let mut config = config();
    config.tcp.congestion = "dctcp".into();
    let mut pair = Pair::new(&config, ms(10));
    let ends = pair.connected();
    // Past the first acknowledgements, which do not wait.
    transfer(&mut pair, ends, 200_000);
    pair.log.clear();
    let text = [7; 1448];
    let mut marks = [false, true, true, true, false, false, true, false].into_iter();
    pair.rule(move |flying| match flying.from {
        Side::A if marks.next() == Some(true) => Fate::Mark,
        _ => Fate::Deliver,
    });
    for _ in 0..8 {
        pair.a.tcp_write(pair.now, ends.0, &text).unwrap();
        pair.run(ms(1));
    }
    pair.run(ms(300));
    let start = pair.log.iter().find(|flying| flying.from == Side::A).unwrap().sent.rel_seq;
    let echo = |n: i32| {
        let covers = |sent: &Sent| sent.rel_ack >= start + n * 1448;
        let ack = pair.log.iter().find(|flying| flying.from == Side::B && covers(&flying.sent)).unwrap();
        ack.sent.flags.contains(Flags::ECE)
    };
    let echoes: Vec<bool> = (1..=8).map(echo).collect();
    assert_eq!(echoes, [false, true, true, true, false, false, true, false]);
}

/// RFC 8257 3.1, 4: every packet is ECT, SYNs and acknowledgements too, and the window falls by the marked share.
#[test]
fn dctcp_marks_every_packet_and_falls_by_the_marked_share() {
    let mut config = config();
    config.tcp.congestion = "dctcp".into();
    config.tcp.ecn = EcnPolicy::OFF;
    let mut pair = Pair::new(&config, ms(10));
    let ends = pair.connected();
    pair.rule(|flying| if flying.index % 10 == 9 { Fate::Mark } else { Fate::Deliver });
    transfer(&mut pair, ends, 3_000_000);
    assert!(pair.log.iter().all(|flying| flying.sent.tos() == 2));
    let info = pair.a.tcp_info(ends.0).unwrap();
    let Some(CongestionReport::Dctcp { active: true, alpha, .. }) = info.congestion_report else {
        panic!("{info:?}")
    };
    // One in ten is 102 of 1024, to which it comes down from 1024.
    assert!((60..=400).contains(&alpha), "{alpha}");
    assert_eq!(info.retransmissions, 0);
}

#[test]
fn dctcp_is_reno_where_the_peer_has_no_ecn() {
    let mut rig = Rig::new(Setup::default().with(|config| config.tcp.congestion = "dctcp".into()));
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_bind(h, rig.local).unwrap();
    rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
    rig.pump();
    let syn = rig.sent.pop_front().unwrap();
    assert_eq!((syn.flags, syn.tos()), (flags("SYN,ECE,CWR"), 2));
    (rig.iss, rig.socket) = (syn.seq, Some(h));
    rig.inject(seg("SYN,ACK", -1, 0));
    assert_eq!(rig.expect("ACK 0(0) ack 0").tos(), 0);
    rig.write(b"x").unwrap();
    rig.pump();
    assert_eq!(rig.expect("ACK 0(1) ack 0").tos(), 0);
    let report = rig.stack.tcp_info(h).unwrap().congestion_report;
    assert!(matches!(report, Some(CongestionReport::Dctcp { active: false, .. })), "{report:?}");
}

const ACCURATE: EcnPolicy = EcnPolicy { accept: EcnKind::Accurate, connect: EcnKind::Accurate };

fn accurate() -> Config {
    let mut config = config();
    config.tcp.ecn = ACCURATE;
    config
}

/// RFC 9768 3.1: the handshake, and what each packet of the connection carries.
#[test]
fn accurate_ecn_counts_every_mark_in_both_directions() {
    for option in [EcnOption::Never, EcnOption::Sparing, EcnOption::Always] {
        let mut config = accurate();
        config.tcp.ecn_option = option;
        let mut pair = Pair::new(&config, ms(10));
        let ends = pair.connected();
        let flags_of = |n: usize| pair.log[n].sent.flags;
        assert_eq!(flags_of(0), flags("SYN,ECE,CWR,AE"));
        assert_eq!(flags_of(1), flags("SYN,ACK,CWR"));
        assert_eq!(flags_of(2), flags("ACK,CWR"));
        assert_eq!(pair.log[1].sent.options.accurate_ecn.is_some(), option > EcnOption::Never);
        pair.rule(|flying| if flying.index % 20 == 19 { Fate::Mark } else { Fate::Deliver });
        transfer(&mut pair, ends, 1_000_000);
        pair.run(s(1));
        let (a, b) = (pair.a.tcp_info(ends.0).unwrap(), pair.b.tcp_info(ends.1).unwrap());
        let (counted, marked) = (u64::from(a.delivered_ce), pair.b.counters().ip.in_ce);
        assert!(a.ecn && b.ecn && b.ecn_seen && marked > 20);
        // Batches of more than seven are counted as often as the counter may have gone round; the option knows better.
        assert!(counted >= marked - 8, "{option:?}: {counted} of {marked}");
        if option == EcnOption::Always {
            assert!(counted <= marked + 64, "{counted} of {marked}");
        }
        assert_eq!((a.retransmissions, b.retransmissions), (0, 0));
        assert!(pair.log.iter().skip(2).all(|flying| flying.sent.tos() == 2));
        assert!(a.ssthresh < u32::MAX);
    }
}

/// RFC 9768 3.1.2: peers that have less, or nothing.
#[test]
fn accurate_ecn_makes_do_with_what_the_peer_has() {
    for (answer, uses, tos, third) in [
        ("SYN,ACK", false, 0, "ACK"),
        ("SYN,ACK,ECE", true, 2, "ACK"),
        ("SYN,ACK,ECE,AE", true, 2, "ACK"),
        ("SYN,ACK,ECE,CWR,AE", false, 0, "ACK"),
        ("SYN,ACK,CWR", true, 2, "ACK,CWR"),
        // Our SYN came as ECT(0) to the peer: the way rewrites it, and what we send stays unmarked.
        ("SYN,ACK,AE", true, 0, "ACK,CWR"),
    ] {
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = ACCURATE));
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_bind(h, rig.local).unwrap();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        let syn = rig.sent.pop_front().unwrap();
        assert_eq!((syn.flags, syn.tos()), (flags("SYN,ECE,CWR,AE"), 0));
        (rig.iss, rig.socket) = (syn.seq, Some(h));
        rig.inject(seg(answer, -1, 0));
        assert_eq!(rig.sent.pop_front().unwrap().flags, flags(third), "{answer}");
        assert_eq!(rig.stack.tcp_info(h).unwrap().ecn, uses, "{answer}");
        rig.write(b"x").unwrap();
        rig.pump();
        let sent = rig.sent.pop_front().unwrap();
        assert_eq!(sent.tos(), tos, "{answer}");
        let counts = uses && third != "ACK";
        assert_eq!(sent.flags.contains(Flags::ECE | Flags::AE), counts, "{answer}");
    }
}

/// RFC 9768 3.1.2, table 2, and 3.2.2.1: the handshake tells with which bits the SYN and the SYN-ACK came.
#[test]
fn accurate_ecn_reflects_the_bits_of_the_handshake() {
    for (tos, answer) in [(0, "CWR"), (1, "ECE,CWR"), (2, "AE"), (3, "CWR,AE")] {
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = ACCURATE));
        rig.listen(4);
        let mut syn = rig.build(&seg("SYN,ECE,CWR,AE", -1, 0));
        set_tos(&mut syn, tos);
        rig.inject_packet(&syn);
        assert_eq!(rig.sent.pop_front().unwrap().flags, flags(&format!("SYN,ACK,{answer}")));

        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = ACCURATE));
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_bind(h, rig.local).unwrap();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        rig.iss = rig.sent.pop_front().unwrap().seq;
        let mut syn_ack = rig.build(&seg("SYN,ACK,CWR", -1, 0));
        set_tos(&mut syn_ack, tos);
        rig.inject_packet(&syn_ack);
        let third = rig.sent.pop_front().unwrap();
        assert_eq!((third.flags, third.tos()), (flags(&format!("ACK,{answer}")), 2));
    }
}

/// RFC 9768 3.2.2.4: a third segment whose flags are zero: marks would not come back.
#[test]
fn accurate_ecn_with_zeroed_flags_sends_nothing_that_may_be_marked() {
    for (third, tos) in [("ACK", 0), ("ACK,CWR", 2), ("ACK,AE", 0)] {
        let mut rig = Rig::new(Setup::default().with(|config| config.tcp.ecn = ACCURATE));
        let listener = rig.listen(4);
        rig.inject(seg("SYN,ECE,CWR,AE", -1, 0));
        rig.iss = rig.sent.pop_front().unwrap().seq;
        rig.inject(seg(third, 0, 0));
        rig.socket = rig.stack.tcp_accept(listener).ok();
        rig.write(b"x").unwrap();
        rig.pump();
        assert_eq!(rig.sent.pop_front().unwrap().tos(), tos, "{third}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is marked, lost or late, on either way: all arrives, and both sides come to rest.
    #[test]
    fn marks_and_losses_together_do_no_harm(
        fates in prop::collection::vec(0u8..40, 1..200),
        kind in prop::bool::ANY,
    ) {
        let config = if kind { config() } else { accurate() };
        let mut pair = Pair::new(&config, ms(10));
        let ends = pair.connected();
        pair.rule(move |flying| match fates[flying.index % fates.len()] {
            0 => Fate::Drop,
            1 => Fate::Delay(ms(15)),
            2..=9 => Fate::Mark,
            _ => Fate::Deliver,
        });
        transfer(&mut pair, ends, 60_000);
        pair.perfect();
        pair.run(s(2));
        let info = pair.a.tcp_info(ends.0).unwrap();
        prop_assert_eq!((info.unacked, info.segments), (0, lastack_core::SegmentCounts::default()));
    }
}

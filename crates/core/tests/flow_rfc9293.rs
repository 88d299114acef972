//! What RFC 9293 asks and no other file of tests is about: sizes and addresses, the application's settings, late checks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use core::net::{IpAddr, SocketAddr};
use lastack_core::wire::{Capabilities, ip, tcp};
use lastack_core::{SendFlags, TcpInfo};

const MSS: i64 = 1460;

fn open(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.open();
    rig
}

fn info(rig: &Rig) -> TcpInfo {
    rig.stack.tcp_info(rig.h()).unwrap()
}

/// Fills the offered window without reading; the sequence number behind it.
fn shut_window(rig: &mut Rig) -> i64 {
    let mut at = 0;
    while info(rig).recv_window > 0 {
        let len = info(rig).recv_window.min(1460);
        rig.inject(seg("ACK", at, 0).len(len as usize));
        at += i64::from(len);
        rig.advance(ms(300));
    }
    rig.sent.clear();
    at
}

/// TTL and type of service (hop limit and traffic class) of a packet.
fn ttl_and_tos(sent: &Sent) -> (u8, u8) {
    match ip::Packet::parse(&sent.packet).unwrap() {
        ip::Packet::V4(packet) => (packet.ttl(), packet.tos()),
        ip::Packet::V6(packet) => (packet.hop_limit(), packet.traffic_class()),
    }
}

/// Holds: MUST-1, REC-1
#[test]
fn a_window_is_unsigned_and_counted_in_32_bits() {
    let mut rig = open(Setup { scale: Some(14), ..Setup::default() });
    for field in [0x7fff, 0x8000, 0xffff] {
        rig.inject(seg("ACK", 0, 0).win(field));
        assert_eq!(info(&rig).send_window, u32::from(field) << 14);
    }
    // Without scaling: what 32,768 and more let through is more than what 32,767 do.
    let mut rig = open(Setup::default());
    rig.inject(seg("ACK", 0, 0).win(0x9000));
    rig.write_len(14_600);
    assert_eq!(rig.sent.iter().map(|sent| sent.payload.len()).sum::<usize>(), 14_600);
}

/// Holds: MUST-2
#[test]
fn every_kind_of_segment_carries_a_right_checksum() {
    for setup in [Setup::default(), Setup::v6(), Setup::modern()] {
        let mut rig = Rig::new(setup);
        let mut sent: Vec<Sent> = Vec::new();
        rig.listen(4);
        rig.inject(seg("SYN", -1, 0));
        sent.extend(rig.sent.iter().cloned());
        rig.iss = rig.sent.pop_front().unwrap().seq;
        rig.inject(seg("ACK", 0, 0));
        rig.socket = Some(rig.stack.tcp_accept(rig.listener.unwrap()).unwrap());
        rig.write_len(999);
        rig.inject(seg("ACK", 5, 999).len(1));
        rig.inject(seg("ACK", 0, 5000));
        rig.shutdown(Shutdown::Write).unwrap();
        rig.abort();
        rig.inject(seg("ACK", 0, 999));
        rig.peer.set_port(7);
        rig.inject(seg("FIN", 0, 0));
        let peer = rig.setup.v6;
        rig.local.set_port(81);
        rig.peer.set_port(PEER_PORT);
        let h = rig.stack.tcp_socket();
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        sent.extend(rig.sent.drain(..));
        let kinds: std::collections::BTreeSet<u16> = sent.iter().map(|sent| sent.flags.bits()).collect();
        // SYN-ACK, data, ACK, FIN, RST of an abort, both reflexes, SYN.
        assert!(kinds.len() >= 6, "{kinds:?}");
        let (ours, theirs) = common::addresses(peer);
        for sent in &sent {
            let payload = match ip::Packet::parse(&sent.packet).unwrap() {
                ip::Packet::V4(packet) => packet.payload(),
                ip::Packet::V6(packet) => packet.payload(),
            };
            assert!(tcp::verify_checksum(ours, theirs, payload), "{sent}");
            assert_ne!(payload[tcp::CHECKSUM_OFFSET..][..2], [0, 0], "{sent}");
        }
    }
}

/// Holds: MUST-3
#[test]
fn a_segment_with_a_wrong_checksum_is_not_believed() {
    let mut rig = open(Setup::default());
    rig.write_len(100);
    rig.take();
    for spec in [
        seg("ACK", 0, 100),
        seg("ACK", 0, 0).len(10),
        seg("FIN,ACK", 0, 0),
        seg("RST", 0, 0),
        seg("SYN", 0, 0),
        seg("ACK", 0, 9999),
    ] {
        rig.inject(spec.bad_checksum());
        rig.expect_nothing();
    }
    assert_eq!((info(&rig).unacked, info(&rig).unread), (100, 0));
    rig.expect_state(State::Established);
}

/// Holds: MUST-5, MUST-65
#[test]
fn an_mss_option_behind_the_handshake_is_read_over_and_never_sent() {
    let mut rig = open(Setup::modern());
    let stamps = Some((rig.peer_ts(), rig.ts_echo));
    let options = Options { mss: Some(500), timestamps: stamps, ..Options::default() };
    rig.inject(seg("ACK", 0, 0).len(10).options(options));
    assert_eq!(rig.read().unwrap().len(), 10);
    // The stamp behind it was read.
    rig.write_len(3000);
    assert_eq!(rig.sent.back().unwrap().options.timestamps.map(|stamps| stamps.1), stamps.map(|s| s.0));
    assert_eq!(rig.sent.iter().map(|sent| sent.payload.len()).max(), Some(1448), "not 500");
    rig.shutdown(Shutdown::Write).unwrap();
    rig.inject(seg("RST", 11, 0));
    rig.abort();
    assert!(rig.sent.len() >= 4);
    assert!(rig.sent.iter().all(|sent| sent.options.mss.is_none()));
}

/// Holds: MUST-14, MUST-67, SHLD-5, MAY-3
#[test]
fn both_syns_carry_an_mss_of_the_interface_and_the_peers_is_heeded() {
    for (v6, mtu, told) in [(false, 1500, 1460), (false, 576, 536), (true, 1280, 1220), (true, 9000, 8940)] {
        let setup = Setup { v6, mtu, mss: Some(700), ..Setup::default() };
        let mut rig = Rig::new(setup.clone());
        rig.socket = Some(rig.stack.tcp_socket());
        rig.stack.tcp_bind(rig.h(), rig.local).unwrap();
        rig.stack.tcp_connect(rig.now, rig.h(), rig.peer).unwrap();
        rig.pump();
        let syn = rig.sent.pop_front().unwrap();
        assert_eq!((syn.flags, syn.options.mss), (Flags::SYN, Some(told)));
        rig.iss = syn.seq;
        rig.inject(seg("SYN,ACK", -1, 0));
        rig.take();
        rig.write_len(3000);
        assert!(rig.sent.len() >= 4);
        assert_eq!(rig.sent.iter().map(|sent| sent.payload.len()).max(), Some(700.min(usize::from(told))));
        let mut rig = Rig::new(setup);
        rig.listen(4);
        rig.inject(seg("SYN", -1, 0));
        assert_eq!(rig.sent.pop_front().unwrap().options.mss, Some(told));
    }
}

/// Holds: MUST-9, R6528-2
#[test]
fn an_isn_depends_on_a_secret() {
    let isn = |seed: u8| {
        let mut rig = Rig::new(Setup::default());
        let mut config = rig.setup.config.clone();
        config.addresses = vec!["192.0.2.1/24".parse().unwrap()];
        rig.stack = Stack::new(config, Capabilities::plain(1500), [seed; 32], rig.now);
        rig.connect();
        rig.iss.0
    };
    let isns: std::collections::BTreeSet<u32> = (0..64).map(|seed| isn(seed) >> 16).collect();
    assert!(isns.len() >= 60, "{} different upper halves of 64", isns.len());
    assert_eq!(isn(1), isn(1));
}

/// Holds: MUST-11
#[test]
fn syn_received_remembers_which_side_opened() {
    // Passive: the listener goes on as if nothing had been, and nobody is told.
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(4);
    rig.peer_syn();
    rig.inject(seg("RST", 0, 0));
    rig.expect_gone();
    assert_eq!(rig.stack.tcp_state(listener), Some(State::Listen));
    assert_eq!(rig.stack.tcp_take_error(listener), None);
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0));
    assert!(rig.stack.tcp_accept(listener).is_ok());
    // Active: the attempt has failed, and its owner hears of it.
    let mut rig = Start::SynReceived.rig(Setup::default());
    rig.inject(seg("RST", 0, 0));
    assert_eq!(rig.app_state(), State::Closed);
    assert_eq!(rig.take_error(), Some(Error::ConnectionReset));
}

/// Holds: MUST-21
#[test]
fn a_user_timeout_sets_r2_of_one_connection_above_and_below_the_default() {
    for (limit, alive) in [(s(30), false), (s(3600), true)] {
        let mut rig = open(Setup::default());
        rig.option(TcpOption::UserTimeout(limit));
        rig.write_len(10);
        // R2 is 924 s by default.
        rig.advance(s(925));
        assert_eq!(rig.state().is_some(), alive, "{limit:?}");
        rig.advance(s(3000));
        assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
    }
}

/// Holds: MUST-24, MUST-25, MAY-5
#[test]
fn keep_alive_is_off_until_switched_on_for_one_connection() {
    let mut rig = open(Setup::default());
    rig.advance(s(100_000));
    rig.expect_nothing();
    assert!(!rig.stack.tcp_options(rig.h()).unwrap().keepalive);
    rig.option(TcpOption::KeepIdle(s(5)));
    rig.option(TcpOption::KeepAlive(true));
    let first = (rig.local, rig.iss, rig.socket);
    rig.local.set_port(81);
    rig.open();
    rig.advance(s(5));
    let probes: Vec<_> = rig.sent.drain(..).collect();
    assert_eq!(probes.len(), 1, "of the first only");
    assert_eq!(probes[0].packet[21], LOCAL_PORT as u8);
    (rig.local, rig.iss, rig.socket) = first;
    rig.inject(seg("ACK", 0, 0));
    rig.option(TcpOption::KeepAlive(false));
    rig.advance(s(100_000));
    rig.expect_nothing();
}

/// Linux `tcp_rtx_probe0_timed_out`: what is sent again into a window that was shut is a probe.
///
/// Holds: MUST-35, MUST-37, SHLD-17, R7323-14
#[test]
fn a_window_shrunk_to_zero_is_probed_for_as_long_as_the_peer_answers() {
    let mut rig = open(Setup::default());
    rig.write_len(10_000);
    rig.take();
    rig.inject(seg("ACK", 0, MSS).win(0));
    let since = rig.now;
    let mut probes = 0;
    while rig.now - since < s(5000) {
        rig.advance(s(1));
        for probe in rig.sent.drain(..).collect::<Vec<_>>() {
            assert_eq!((probe.rel_seq, probe.payload.len()), (MSS as i32, MSS as usize));
            probes += 1;
            rig.inject(seg("ACK", 0, MSS).win(0));
            rig.expect_nothing();
        }
    }
    rig.expect_state(State::Established);
    assert!((40..60).contains(&probes), "{probes}");
    // The window opens, and all goes on, soon and with all of the patience.
    rig.inject(seg("ACK", 0, MSS).win(65_535));
    rig.advance(ms(201));
    rig.expect("ACK 1460(1460) ack 0");
    rig.advance(s(900));
    rig.expect_state(State::Established);
    rig.sent.clear();
    rig.inject(seg("ACK", 0, 10_000));
    assert_eq!((info(&rig).unacked, info(&rig).unsent), (0, 0));
    // A peer that falls silent is given up.
    let mut rig = open(Setup::default());
    rig.write_len(10_000);
    rig.inject(seg("ACK", 0, MSS).win(0));
    rig.advance(s(925));
    rig.expect_gone();
    assert!(matches!(rig.take_error(), Some(Error::TimedOut(_))));
}

/// Holds: MUST-40
#[test]
fn no_ack_waits_for_half_a_second_whatever_the_rhythm_of_the_peer() {
    for (rtt, gap) in
        [(s(2), ms(700)), (s(2), ms(1500)), (ms(300), ms(450)), (ms(1), ms(190)), (s(1), ms(90))]
    {
        let mut rig = Rig::new(Setup::default());
        rig.connect();
        rig.advance(rtt.min(ms(990)));
        rig.inject(seg("SYN,ACK", -1, 0));
        rig.write_len(10);
        rig.advance(rtt.min(ms(990)));
        rig.inject(seg("ACK", 0, 10));
        rig.take();
        let mut at = 0;
        for n in 0..60 {
            rig.inject(seg("ACK", at, 10).len(1460));
            at += 1460;
            let since = rig.now;
            let _ = rig.read();
            rig.advance(gap);
            let owed = rig.take_timed(since);
            let last = owed.first().map(|(at, _)| *at);
            assert!(last.is_none_or(|waited| waited < 500), "{rtt:?} {gap:?}, segment {n}: {owed:?}");
            assert!(last.is_some() || gap < ms(500), "{rtt:?} {gap:?}, segment {n}");
        }
    }
}

/// Holds: MUST-41, MUST-42
#[test]
fn listening_disturbs_no_record_of_the_port_and_is_possible_beside_one_that_opens() {
    let mut rig = Rig::new(Setup::default());
    let first = rig.listen(4);
    rig.open_passive();
    let second = rig.stack.tcp_socket();
    assert_eq!(rig.stack.tcp_bind(second, rig.local), Err(Error::AddrInUse));
    rig.stack.tcp_listen(rig.now, first, 8).unwrap();
    rig.write_len(10);
    rig.expect("ACK 0(10) ack 0");
    rig.expect_state(State::Established);
    // Beside SYN-SENT, and beside SYN-RECEIVED.
    for crossed in [false, true] {
        let mut rig = Rig::new(Setup::default());
        let socket = |rig: &mut Rig| {
            let h = rig.stack.tcp_socket();
            rig.stack.tcp_set_option(rig.now, h, TcpOption::ReuseAddr(true)).unwrap();
            rig.stack.tcp_bind(h, rig.local).unwrap();
            h
        };
        let attempt = socket(&mut rig);
        rig.stack.tcp_connect(rig.now, attempt, rig.peer).unwrap();
        rig.pump();
        rig.iss = rig.sent.pop_front().unwrap().seq;
        if crossed {
            rig.inject(seg("SYN", -1, 0));
        }
        let listener = socket(&mut rig);
        rig.stack.tcp_listen(rig.now, listener, 4).unwrap();
        rig.sent.clear();
        rig.inject(seg("SYN,ACK", -1, 0));
        assert_eq!(rig.stack.tcp_state(attempt), Some(State::Established));
        rig.take();
        rig.next_peer();
        rig.peer_syn();
        rig.inject(seg("ACK", 0, 0));
        assert!(rig.stack.tcp_accept(listener).is_ok(), "{crossed}");
    }
}

/// Holds: MUST-43, MUST-44, MUST-45
#[test]
fn the_source_address_is_the_callers_or_the_routes_and_stays() {
    let source = |sent: &Sent| match ip::Packet::parse(&sent.packet).unwrap() {
        ip::Packet::V4(packet) => IpAddr::V4(packet.src()),
        ip::Packet::V6(packet) => IpAddr::V6(packet.src()),
    };
    let (first, second) = ("192.0.2.1".parse::<IpAddr>().unwrap(), "198.51.100.7".parse::<IpAddr>().unwrap());
    for (bound, peer, wanted) in [
        (None, "192.0.2.2:80", first),
        (None, "198.51.100.2:80", second),
        (Some(second), "192.0.2.2:80", second),
        (Some(first), "198.51.100.2:80", first),
    ] {
        let mut rig = Rig::new(Setup::default());
        let mut config = rig.setup.config.clone();
        config.addresses = ["192.0.2.1/24", "198.51.100.7/24"].map(|text| text.parse().unwrap()).to_vec();
        rig.stack = Stack::new(config, Capabilities::plain(1500), [7; 32], rig.now);
        rig.peer = peer.parse().unwrap();
        let h = rig.stack.tcp_socket();
        if let Some(ip) = bound {
            rig.stack.tcp_bind(h, SocketAddr::new(ip, 0)).unwrap();
        }
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.socket = Some(h);
        rig.local = rig.stack.tcp_local_addr(h).unwrap();
        assert_eq!(rig.local.ip(), wanted);
        rig.pump();
        rig.iss = rig.sent.back().unwrap().seq;
        rig.inject(seg("SYN,ACK", -1, 0));
        rig.write_len(10);
        rig.inject(seg("ACK", 0, 10).len(5));
        rig.close();
        assert!(rig.sent.len() >= 4);
        assert!(rig.sent.iter().all(|sent| source(sent) == wanted), "{bound:?} {peer}");
    }
}

/// Holds: MUST-47, SHLD-25
#[test]
fn a_soft_error_can_be_asked_for_until_the_path_answers_again() {
    for (kind, error) in [
        ("net", Error::NetworkUnreachable),
        ("host", Error::HostUnreachable),
        ("ttl", Error::HostUnreachable),
        ("parameter", Error::Protocol),
    ] {
        let mut rig = open(Setup::default());
        rig.write_len(100);
        assert_eq!(info(&rig).soft_error, None);
        rig.icmp(kind, 0, 0);
        rig.expect_state(State::Established);
        assert_eq!(info(&rig).soft_error, Some(error), "{kind}");
        rig.inject(seg("ACK", 0, 100));
        assert_eq!(info(&rig).soft_error, None);
    }
}

/// Holds: MUST-48, MUST-49, SHLD-21, SHLD-22
#[test]
fn ttl_and_diffserv_are_the_applications_from_the_next_segment_on() {
    for setup in [Setup::default(), Setup::v6()] {
        let mut rig = Rig::new(setup);
        let h = rig.stack.tcp_socket();
        rig.socket = Some(h);
        rig.stack.tcp_bind(h, rig.local).unwrap();
        rig.option(TcpOption::Ttl(17));
        rig.option(TcpOption::Tos(46 << 2));
        rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
        rig.pump();
        let syn = rig.sent.pop_front().unwrap();
        assert_eq!(ttl_and_tos(&syn), (17, 46 << 2));
        rig.iss = syn.seq;
        rig.inject(seg("SYN,ACK", -1, 0));
        assert_eq!(ttl_and_tos(&rig.expect("ACK 0(0) ack 0")), (17, 46 << 2));
        for dscp in [0, 1, 10, 63] {
            rig.option(TcpOption::Tos(dscp << 2));
            rig.option(TcpOption::Ttl(dscp + 1));
            rig.option(TcpOption::NoDelay(true));
            rig.write_len(1);
            assert_eq!(ttl_and_tos(&rig.sent.pop_front().unwrap()), (dscp + 1, dscp << 2));
        }
        rig.abort();
        assert_eq!(ttl_and_tos(&rig.sent.pop_back().unwrap()), (64, 63 << 2));
    }
}

/// Holds: MUST-60, SHLD-27, MAY-16
#[test]
fn writes_that_had_to_wait_leave_together_with_one_push() {
    let mut rig = open(Setup::default());
    rig.write(b"first").unwrap();
    rig.take();
    for part in [&b"sec"[..], b"on", b"d"] {
        rig.write(part).unwrap();
        rig.expect_nothing();
    }
    rig.inject(seg("ACK", 0, 5));
    let sent = rig.sent.pop_front().unwrap();
    assert_eq!((&sent.payload[..], sent.flags), (&b"second"[..], Flags::ACK | Flags::PSH));
    rig.expect_nothing();
}

/// Holds: MUST-66, U9293-12
#[test]
fn while_the_window_is_shut_a_rst_and_an_ack_still_count() {
    let mut rig = open(Setup::default());
    let at = shut_window(&mut rig);
    rig.write_len(100);
    rig.take();
    rig.inject(seg("ACK", at, 100));
    assert_eq!(info(&rig).unacked, 0);
    // Text is refused and acknowledged.
    rig.inject(seg("ACK", at, 100).len(10));
    rig.expect(&format!("ACK 100(0) ack {at}"));
    let mut fin = rig.clone();
    rig.inject(seg("RST", at, 0));
    rig.expect_gone();
    // A bare FIN takes no room.
    fin.inject(seg("FIN,ACK", at, 100));
    fin.expect_state(State::CloseWait);
}

/// Holds: R5961-8
#[test]
fn the_rst_that_answers_a_challenge_ends_the_connection() {
    for start in [Start::Established, Start::FinWait1, Start::CloseWait] {
        let mut rig = start.rig(Setup::default());
        // The peer has restarted and opens anew with the old ports.
        rig.inject(seg("SYN", 70_000, 0));
        let challenge = rig.sent.pop_front().unwrap();
        assert_eq!(challenge.flags, Flags::ACK);
        rig.inject(seg("RST", i64::from(challenge.rel_ack), 0));
        rig.expect_gone();
        rig.close();
        rig.listen(4);
        rig.inject(seg("SYN", 70_000, 0));
        assert_eq!(rig.sent.pop_front().unwrap().flags, Flags::SYN | Flags::ACK);
    }
}

/// Holds: R5961-9, R5961-10, R5961-11
#[test]
fn an_ack_may_be_old_by_the_largest_window_that_was_ever_offered() {
    let mut rig = open(Setup { window: 3000, ..Setup::default() });
    for n in 1..=6 {
        rig.write_len(1000);
        // At last it shrinks; the bound does not.
        rig.inject(seg("ACK", 0, n * 1000).win(if n < 6 { 3000 } else { 100 }));
    }
    assert_eq!(info(&rig).send_window, 100);
    rig.take();
    let mut old = rig.clone();
    old.inject(seg("ACK", 0, 3000).len(5));
    assert_eq!(old.read().unwrap().len(), 5);
    rig.inject(seg("ACK", 0, 2999).len(5));
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.expect("ACK 6000(0) ack 0");
    rig.advance(s(1));
    rig.inject(seg("ACK", 0, 6001).len(5));
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.expect("ACK 6000(0) ack 0");
}

/// Holds: R5961-13
#[test]
fn the_interval_of_challenge_acks_is_a_setting() {
    for (interval, answers) in [(Duration::ZERO, 10), (ms(100), 4), (s(10), 1)] {
        let mut rig = open(Setup::default().with(|config| config.tcp.invalid_ratelimit = interval));
        for _ in 0..10 {
            rig.inject(seg("RST", 10, 0));
            rig.advance(ms(40));
        }
        assert_eq!(rig.take().len(), answers, "{interval:?}");
    }
}

/// RFC 9293 3.10.7.4 and 3.8.5: told of every mark, and of one that moved on before the first was read.
///
/// Holds: MUST-32, MUST-33
#[test]
fn each_new_urgent_pointer_is_told() {
    let urgent = |seq, pointer, data: &[u8]| {
        let mut spec = seg("ACK,URG", seq, 0).data(data);
        spec.urgent = pointer;
        spec
    };
    let told = |rig: &mut Rig| {
        let events = core::mem::take(&mut rig.events);
        events.iter().any(|event| format!("{event:?}").contains("PRI"))
    };
    let mut rig = open(Setup::default());
    rig.events.clear();
    rig.inject(urgent(0, 2, b"aB"));
    assert!(told(&mut rig));
    rig.inject(seg("ACK", 2, 0).data(b"c"));
    assert!(!told(&mut rig), "nothing new");
    rig.inject(urgent(3, 2, b"dE"));
    assert!(told(&mut rig), "it moved on");
    assert!(rig.ready().contains(Ready::PRI));
    rig.read().unwrap();
    assert!(rig.ready().contains(Ready::PRI), "still to be read");
    let h = rig.h();
    assert_eq!(rig.stack.tcp_read_urgent(h), Ok(b'E'));
    assert!(!rig.ready().contains(Ready::PRI));
}

/// `MSG_OOB`; the pointer stands on all segments up to the urgent byte until that is acknowledged.
///
/// Holds: MUST-30, MUST-62
#[test]
fn the_pointer_that_is_sent_names_the_octet_behind_the_urgent_one() {
    let pointers = |rig: &mut Rig| {
        let of = |sent: &Sent| {
            let urgent = u16::from_be_bytes([sent.packet[38], sent.packet[39]]);
            (sent.rel_seq, sent.payload.len(), sent.flags.contains(Flags::URG).then_some(urgent))
        };
        rig.sent.drain(..).map(|sent| of(&sent)).collect::<Vec<_>>()
    };
    let mut rig = open(Setup::default());
    rig.send(&[1; 2000], SendFlags::URGENT).unwrap();
    assert_eq!(pointers(&mut rig), [(0, 1460, Some(2000)), (1460, 540, Some(540))]);
    rig.option(TcpOption::NoDelay(true));
    rig.write_len(10);
    assert_eq!(pointers(&mut rig), [(2000, 10, None)], "behind it");
    rig.advance(ms(201));
    assert_eq!(pointers(&mut rig)[0], (0, 1460, Some(2000)), "sent again");
    rig.inject(seg("ACK", 0, 2010));
    rig.write_len(10);
    assert_eq!(pointers(&mut rig), [(2010, 10, None)]);
}

/// Holds: U9293-16
#[test]
fn the_user_timeout_ends_an_attempt_too() {
    let mut rig = Rig::new(Setup::default());
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_set_option(rig.now, h, TcpOption::UserTimeout(s(3))).unwrap();
    rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
    rig.socket = Some(h);
    rig.advance(s(10));
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
    assert_eq!(rig.last_transition().cause, Cause::UserTimeout);
    rig.expect_all_freed();
}

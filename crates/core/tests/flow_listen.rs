//! What a listener does: half-open requests and their limits, cookies, deferred decisions, every port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use core::net::{IpAddr, SocketAddr};
use lastack_core::{IcmpUnreach, PendingRequest, Refusal};

/// The peer speaks from another port.
fn peer_at(rig: &mut Rig, port: u16) {
    rig.peer.set_port(port);
}

// RFC 9293 3.8.3: at most 1+5 SYN-ACKs over 63 s, none after a RST.
#[test]
fn a_syn_ack_is_repeated_five_times_and_given_up_after_63_seconds() {
    let mut rig = Rig::new(Setup::modern());
    rig.listen(16);
    rig.peer_syn();
    let start = rig.now;
    rig.advance(ms(62_999));
    let times: Vec<u64> = rig.take_timed(start).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [1, 3, 7, 15, 31].map(|s| s * 1000));
    rig.expect_state(State::NewSynRecv);
    rig.advance(ms(1));
    rig.expect_gone();
    rig.expect_all_freed();
}

#[test]
fn a_rst_ends_the_repeats_of_a_syn_ack() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(16);
    rig.peer_syn();
    rig.advance(s(1));
    rig.expect("SYN,ACK -1(0) ack 0");
    rig.inject(seg("RST", 0, 0));
    rig.expect_gone();
    rig.advance(s(100));
    rig.expect_nothing();
    rig.expect_all_freed();
}

#[test]
fn a_repeated_syn_draws_the_same_syn_ack_at_a_limited_rate() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(16);
    rig.peer_syn();
    for _ in 0..10 {
        rig.inject(seg("SYN", -1, 0));
    }
    rig.expect("SYN,ACK -1(0) ack 0");
    rig.expect_nothing();
    assert_eq!(rig.stack.counts().requests, 1);
}

// A blind sender does not know the stamp that was sent.
#[test]
fn the_third_segment_must_echo_a_stamp_that_was_sent() {
    let mut rig = Rig::new(Setup::modern());
    let listener = rig.listen(16);
    rig.peer_syn();
    rig.advance(ms(100));
    for wrong in [rig.ts_echo.wrapping_sub(1000), rig.ts_echo.wrapping_add(1 << 30)] {
        let stamp = rig.peer_ts();
        rig.inject(seg("ACK", 0, 0).ts(stamp, wrong));
        assert_eq!(rig.stack.tcp_accept(listener), Err(Error::WouldBlock));
    }
    rig.inject(seg("ACK", 0, 0));
    assert!(rig.stack.tcp_accept(listener).is_ok());
}

#[test]
fn the_accept_queue_holds_backlog_plus_one_and_the_last_ack_is_dropped() {
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(2);
    let mut isses = Vec::new();
    for port in 0..4 {
        peer_at(&mut rig, 2000 + port);
        rig.peer_syn();
        isses.push(rig.iss);
    }
    // The SYN queue holds one more than the backlog; a fourth SYN was answered by a cookie.
    assert_eq!(rig.stack.counters().syncookies_sent, 1);
    for port in 0..2 {
        peer_at(&mut rig, 2000 + port);
        rig.iss = isses[port as usize];
        rig.inject(seg("ACK", 0, 0));
    }
    for (port, state) in [(3000, State::Established), (3001, State::NewSynRecv)] {
        peer_at(&mut rig, port);
        if port == 3000 {
            rig.peer_syn();
            isses.push(rig.iss);
            peer_at(&mut rig, 3001);
            rig.peer_syn();
            isses.push(rig.iss);
            peer_at(&mut rig, 3000);
            rig.iss = isses[4];
        } else {
            rig.iss = isses[5];
        }
        rig.inject(seg("ACK", 0, 0));
        rig.expect_state(state);
    }
    rig.expect_nothing();
    assert_eq!(rig.stack.counters().listen_overflows, 1);
    // A full accept queue drops new SYNs.
    peer_at(&mut rig, 4000);
    rig.inject(seg("SYN", -1, 0));
    rig.expect_nothing();
    // The SYN-ACK is repeated; once there is room the peer's answer opens the connection.
    assert!(rig.stack.tcp_accept(listener).is_ok());
    peer_at(&mut rig, 3001);
    rig.advance(s(1));
    assert!(rig.take().contains(&"SYN,ACK -1(0) ack 0".into()));
    rig.inject(seg("ACK", 0, 0));
    rig.expect_state(State::Established);
}

#[test]
fn abort_on_overflow_resets_instead() {
    let mut rig = Rig::new(Setup::default().with(|c| c.tcp.abort_on_overflow = true));
    rig.listen(1);
    let mut isses = Vec::new();
    // A backlog of one: one request at a time, two children.
    for port in 0..2 {
        peer_at(&mut rig, 2000 + port);
        rig.peer_syn();
        if port == 1 {
            // A second request while the queue still has room.
            isses.push((2001, rig.iss));
            break;
        }
        rig.inject(seg("ACK", 0, 0));
    }
    rig.stack.tcp_listen(rig.now, rig.listener.unwrap(), 0).unwrap();
    rig.iss = isses[0].1;
    rig.inject(seg("ACK", 0, 0));
    rig.expect("RST 0(0)");
    rig.expect_gone();
}

// RFC 4987 3.6.
#[test]
fn cookies_are_sent_only_when_the_syn_queue_is_full_and_open_connections() {
    let mut rig = Rig::new(Setup::modern());
    let listener = rig.listen(8);
    for port in 0..=8 {
        peer_at(&mut rig, 2000 + port);
        rig.peer_syn();
    }
    assert_eq!(rig.stack.counters().syncookies_sent, 0);
    peer_at(&mut rig, 3000);
    rig.peer_syn();
    assert_eq!((rig.stack.counters().syncookies_sent, rig.stack.counts().requests), (1, 9));
    rig.advance(ms(500));
    rig.take();
    // A wrong one first.
    rig.inject(seg("ACK", 0, 1));
    rig.expect("RST 1(0)");
    rig.inject(seg("ACK", 0, 0));
    rig.expect_nothing();
    rig.socket = Some(rig.stack.tcp_accept(listener).unwrap());
    let info = rig.stack.tcp_info(rig.h()).unwrap();
    assert!(info.sack && info.timestamps);
    assert_eq!(info.window_scales, Some((7, 7)));
    assert_eq!(info.mss, 1460);
    // The round trip is known from the echoed stamp, whose low bits the cookie uses.
    assert!((ms(430)..=ms(565)).contains(&info.srtt), "{:?}", info.srtt);
    assert_eq!(info.cwnd, 10);
    rig.inject(seg("ACK", 0, 0).data(b"abc"));
    assert_eq!(rig.read().unwrap(), b"abc");
}

#[test]
fn a_cookie_without_timestamps_carries_the_mss_and_no_other_option() {
    for (mss, told) in [(Some(1460), 1460), (Some(1459), 1440), (Some(700), 536), (None, 536)] {
        let setup = Setup { sack: true, scale: Some(7), mss, ..Setup::default() };
        let mut rig = Rig::new(setup);
        let listener = rig.listen(0);
        rig.peer_syn();
        peer_at(&mut rig, 3000);
        rig.inject(seg("SYN", -1, 0));
        let cookie = rig.sent.pop_front().unwrap();
        assert_eq!((cookie.options.sack_permitted, cookie.options.window_scale), (false, None));
        rig.iss = cookie.seq;
        rig.inject(seg("ACK", 0, 0));
        let child = rig.stack.tcp_accept(listener).unwrap();
        assert_eq!(rig.stack.tcp_info(child).unwrap().mss, told);
    }
}

#[test]
fn a_cookie_is_believed_only_soon_after_an_overflow() {
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(1);
    rig.peer_syn();
    peer_at(&mut rig, 3000);
    rig.peer_syn();
    let fresh = rig.clone();
    for (wait, good) in [(s(50), true), (s(121), false)] {
        let mut rig = fresh.clone();
        rig.advance(wait);
        rig.take();
        rig.inject(seg("ACK", 0, 0));
        assert_eq!(rig.stack.tcp_accept(listener).is_ok(), good);
        if !good {
            rig.expect("RST 0(0)");
        }
    }
    // No overflow at all: nothing is believed.
    let mut rig = Rig::new(Setup::default());
    rig.listen(1);
    for n in 0..10_000u32 {
        rig.iss = SeqNumber(n.wrapping_mul(0x9e37_79b9));
        rig.inject(seg("ACK", 0, 0));
    }
    assert_eq!(rig.stack.counts().sockets, 1);
    assert_eq!(rig.stack.counters().out_rsts, 10_000);
}

#[test]
fn a_full_syn_queue_without_cookies_drops() {
    let mut rig = Rig::new(Setup::default().with(|c| c.tcp.syn_cookies = false));
    rig.listen(0);
    rig.peer_syn();
    peer_at(&mut rig, 3000);
    rig.inject(seg("SYN", -1, 0));
    rig.expect_nothing();
    assert_eq!(rig.stack.counters().listen_drops, 1);
}

#[test]
fn without_cookies_the_last_quarter_of_max_syn_backlog_stays_free() {
    for (limit, taken) in [(8, 7), (4, 4), (0, 1)] {
        let setup = Setup::default().with(|c| {
            c.tcp.syn_cookies = false;
            c.tcp.max_syn_backlog = limit;
        });
        let mut rig = Rig::new(setup);
        rig.listen(100);
        for port in 0..20 {
            peer_at(&mut rig, 2000 + port);
            rig.inject(seg("SYN", -1, 0));
        }
        assert_eq!(
            (rig.stack.counts().requests, rig.stack.counters().listen_drops),
            (taken, 20 - taken as u64)
        );
    }
}

// The records stay bounded and the honest client gets in.
#[test]
fn a_syn_flood_leaves_no_more_records_than_the_backlog() {
    let mut rig = Rig::new(Setup::modern());
    let listener = rig.listen(128);
    for n in 0..20_000u32 {
        rig.peer = SocketAddr::new([192, 0, 2, 3 + (n % 200) as u8].into(), 1024 + (n / 200) as u16);
        rig.inject(seg("SYN", -1, 0));
    }
    assert_eq!(rig.stack.counts().requests, 129);
    assert_eq!(rig.stack.counters().syncookies_sent, 20_000 - 129);
    rig.sent.clear();
    rig.peer = "192.0.2.2:999".parse().unwrap();
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0));
    assert!(rig.stack.tcp_accept(listener).is_ok());
    rig.advance(s(70));
    assert_eq!(rig.stack.counts().requests, 0);
    assert_eq!(rig.stack.counts().buffer_bytes, 0);
}

/// Holds: MUST-57, MUST-63
#[test]
fn a_syn_from_or_to_what_is_no_single_host_draws_nothing() {
    let bad = ["0.0.0.0", "255.255.255.255", "192.0.2.255", "224.0.0.1", "127.0.0.1", "192.0.2.1"];
    for bad in bad.map(|text| text.parse::<IpAddr>().unwrap()) {
        let mut rig = Rig::new(Setup::default().with(|c| c.any_address = true));
        rig.listen(4);
        rig.peer.set_ip(bad);
        if bad == rig.local.ip() {
            rig.peer.set_port(rig.local.port());
        }
        rig.inject(seg("SYN", -1, 0));
        rig.expect_nothing();
        assert_eq!(rig.stack.counts().requests, 0, "from {bad}");
    }
    for bad in ["255.255.255.255", "192.0.2.255", "224.0.0.1"] {
        let mut rig = Rig::new(Setup::default());
        rig.listen(4);
        rig.local.set_ip(bad.parse().unwrap());
        rig.inject(seg("SYN", -1, 0));
        rig.expect_nothing();
        assert_eq!(rig.stack.counts().requests, 0, "to {bad}");
    }
}

// RFC 9293 3.10.7.2: RST first, ACK second for SYN with FIN.
/// Holds: U9293-9
#[test]
fn a_listener_answers_only_a_plain_syn() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(4);
    for names in ["RST", "SYN,RST", "SYN,FIN", "FIN", "", "PSH,URG"] {
        rig.inject(seg(names, -1, 0));
        rig.expect_nothing();
    }
    rig.inject(seg("SYN,ACK", -1, 7));
    assert_eq!(rig.sent.pop_front().unwrap().flags, Flags::RST);
    assert_eq!(rig.stack.counts().requests, 0);
}

fn deferring() -> (Rig, TcpHandle) {
    let mut rig = Rig::new(Setup::modern());
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_set_option(rig.now, h, TcpOption::Defer(true)).unwrap();
    rig.stack.tcp_bind(h, rig.local).unwrap();
    rig.stack.tcp_listen(rig.now, h, 4).unwrap();
    rig.listener = Some(h);
    (rig, h)
}

fn pending(rig: &mut Rig, listener: TcpHandle) -> PendingRequest {
    rig.inject(seg("SYN", -1, 0));
    rig.expect_nothing();
    assert!(rig.stack.tcp_ready(listener).contains(Ready::PENDING));
    let request = rig.stack.tcp_next_pending(listener).unwrap();
    assert_eq!((request.local, request.remote), (rig.local, rig.peer));
    assert!(rig.stack.tcp_next_pending(listener).is_none());
    assert!(!rig.stack.tcp_ready(listener).contains(Ready::PENDING));
    request
}

#[test]
fn a_deferred_request_goes_on_when_it_is_accepted() {
    let (mut rig, listener) = deferring();
    let request = pending(&mut rig, listener);
    rig.advance(s(2));
    rig.expect_nothing();
    // A repeated SYN joins the pending one.
    rig.inject(seg("SYN", -1, 0));
    rig.expect_nothing();
    assert!(rig.stack.tcp_next_pending(listener).is_none());
    rig.stack.tcp_pending_accept(rig.now, request.id).unwrap();
    rig.pump();
    let answer = rig.sent.pop_front().unwrap();
    assert_eq!(answer.flags, flags("SYN,ACK"));
    rig.iss = answer.seq;
    assert_eq!(rig.stack.tcp_pending_accept(rig.now, request.id), Err(Error::BadHandle));
    rig.advance(s(1));
    rig.expect("SYN,ACK -1(0) ack 0");
    rig.inject(seg("ACK", 0, 0));
    let child = rig.stack.tcp_accept(listener).unwrap();
    assert_eq!(rig.stack.tcp_connection(child), Some(request.connection));
}

#[test]
fn a_deferred_request_is_refused_by_rst_icmp_or_silence() {
    let (mut rig, listener) = deferring();
    let request = pending(&mut rig, listener);
    rig.stack.tcp_pending_refuse(rig.now, request.id, Refusal::Reset).unwrap();
    rig.expect("RST,ACK #0(0) ack 0");
    rig.expect_gone();
    for kind in [IcmpUnreach::Host, IcmpUnreach::Network, IcmpUnreach::Port, IcmpUnreach::Prohibited] {
        let request = pending(&mut rig, listener);
        rig.stack.tcp_pending_refuse(rig.now, request.id, Refusal::Unreachable(kind)).unwrap();
        rig.expect_nothing();
        let icmp = rig.others.pop().expect("no ICMP error");
        assert_eq!(icmp[20], 3, "destination unreachable");
        rig.expect_gone();
        rig.advance(s(1));
    }
    let request = pending(&mut rig, listener);
    rig.stack.tcp_pending_refuse(rig.now, request.id, Refusal::Silent).unwrap();
    rig.expect_nothing();
    assert!(rig.others.is_empty());
    assert_eq!(rig.stack.tcp_pending_refuse(rig.now, request.id, Refusal::Silent), Err(Error::BadHandle));
    rig.expect_all_freed();
}

#[test]
fn a_deferred_request_ends_with_the_peers_rst_its_time_or_its_listener() {
    let (mut rig, listener) = deferring();
    let request = pending(&mut rig, listener);
    assert!(rig.stack.tcp_is_pending(request.id));
    rig.inject(seg("RST", 0, 0));
    assert!(!rig.stack.tcp_is_pending(request.id));
    rig.expect_gone();
    let request = pending(&mut rig, listener);
    // The SYNs of a peer that goes on for ever, a minute apart at the end.
    for pause in [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 60] {
        rig.advance(s(pause));
        assert!(rig.stack.tcp_is_pending(request.id));
        rig.inject(seg("SYN", -1, 0));
        rig.expect_nothing();
    }
    rig.advance(ms(2_999));
    assert!(rig.stack.tcp_is_pending(request.id));
    rig.advance(ms(1));
    assert_eq!(rig.stack.tcp_pending_accept(rig.now, request.id), Err(Error::BadHandle));
    rig.inject(seg("SYN", -1, 0));
    rig.close_listener();
    rig.expect_all_freed();
}

#[test]
fn a_deferred_request_is_forgotten_when_the_peers_syns_cease() {
    let (mut rig, listener) = deferring();
    let request = pending(&mut rig, listener);
    rig.advance(ms(4_999));
    assert!(rig.stack.tcp_is_pending(request.id));
    rig.advance(ms(1));
    assert!(!rig.stack.tcp_is_pending(request.id), "no second SYN");
    rig.expect_gone();
    let request = pending(&mut rig, listener);
    for pause in [3, 6] {
        rig.advance(s(pause));
        rig.inject(seg("SYN", -1, 0));
    }
    rig.advance(ms(23_999));
    assert!(rig.stack.tcp_is_pending(request.id), "the next one may have been lost");
    rig.advance(ms(1));
    assert!(!rig.stack.tcp_is_pending(request.id));
    rig.expect_gone();
    rig.expect_all_freed();
}

#[test]
fn a_new_syn_takes_the_place_of_a_deferred_request() {
    let (mut rig, listener) = deferring();
    let old = pending(&mut rig, listener);
    rig.inject(seg("SYN", 99_999, 0));
    rig.expect_nothing();
    assert!(!rig.stack.tcp_is_pending(old.id));
    rig.inject(seg("SYN", 99_999, 0));
    assert!(rig.stack.tcp_next_pending(listener).is_some());
    rig.close_listener();
    rig.expect_all_freed();
}

#[test]
fn deferred_requests_are_bounded_and_use_no_cookies() {
    let (mut rig, listener) = deferring();
    for port in 0..10 {
        peer_at(&mut rig, 2000 + port);
        rig.inject(seg("SYN", -1, 0));
    }
    rig.expect_nothing();
    assert_eq!(rig.stack.counts().requests, 5);
    assert_eq!(rig.stack.counters().syncookies_sent, 0);
    assert_eq!(core::iter::from_fn(|| rig.stack.tcp_next_pending(listener)).count(), 5);
    rig.advance(s(131));
    assert_eq!(rig.stack.counts().requests, 0);
    rig.expect_all_freed();
}

#[test]
fn an_any_port_listener_takes_every_address_and_port_that_nobody_listens_on() {
    let mut rig = Rig::new(Setup::default().with(|c| c.any_address = true));
    let special = rig.listen(4);
    let all = rig.stack.tcp_socket();
    rig.stack.tcp_set_option(rig.now, all, TcpOption::AnyPort(true)).unwrap();
    assert_eq!(rig.stack.tcp_bind(all, "0.0.0.0:5".parse().unwrap()), Err(Error::InvalidInput));
    rig.stack.tcp_bind(all, "0.0.0.0:0".parse().unwrap()).unwrap();
    rig.stack.tcp_listen(rig.now, all, 100).unwrap();
    let local = rig.local;
    for to in ["203.0.113.9:1", "198.51.100.1:443", "192.0.2.1:65535"].map(|a| a.parse().unwrap()) {
        rig.local = to;
        rig.peer_syn();
        rig.inject(seg("ACK", 0, 0));
        let child = rig.stack.tcp_accept(all).unwrap();
        assert_eq!(rig.stack.tcp_local_addr(child), Some(to));
        assert_eq!(rig.stack.tcp_accept(special), Err(Error::WouldBlock));
        rig.stack.tcp_abort(rig.now, child);
        rig.sent.clear();
        rig.pump();
        rig.sent.clear();
    }
    rig.local = local;
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0));
    assert!(rig.stack.tcp_accept(special).is_ok());
    // A second one of its kind clashes.
    let other = rig.stack.tcp_socket();
    rig.stack.tcp_set_option(rig.now, other, TcpOption::AnyPort(true)).unwrap();
    rig.stack.tcp_bind(other, "0.0.0.0:0".parse().unwrap()).unwrap();
    assert_eq!(rig.stack.tcp_listen(rig.now, other, 4), Err(Error::AddrInUse));
    // Once it is closed nobody takes them any more.
    rig.stack.tcp_close(rig.now, all);
    rig.local = "203.0.113.9:1".parse().unwrap();
    rig.inject(seg("SYN", -1, 0));
    rig.expect("RST,ACK #0(0) ack 0");
}

#[test]
fn connections_of_a_listener_are_numbered_without_gaps() {
    let mut pair = Pair::new(&Config::default(), ms(5));
    let (_, listener, first) = pair.connected_with_listener();
    let mut connect = || {
        let client = pair.a.tcp_socket();
        pair.a.tcp_connect(pair.now, client, Pair::addr(Side::B, 80)).unwrap();
        pair.run(ms(50));
        pair.b.tcp_accept(listener).unwrap()
    };
    let handles = [first, connect(), connect()];
    // The listener itself has the first number.
    assert_eq!(handles.map(|h| pair.b.tcp_connection(h).unwrap().0), [2, 3, 4]);
}

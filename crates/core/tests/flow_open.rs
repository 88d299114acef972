//! How a connection opens: the handshake, its options and repeats, ports and numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use core::net::SocketAddr;

/// The peer speaks from another port.
fn peer_at(rig: &mut Rig, port: u16) {
    rig.peer.set_port(port);
}

#[test]
fn passive_open_takes_three_segments_and_accept_yields_it() {
    for setup in [Setup::default(), Setup::modern(), Setup::v6()] {
        let mut rig = Rig::new(setup);
        let listener = rig.listen(4);
        assert_eq!(rig.stack.tcp_accept(listener), Err(Error::WouldBlock));
        rig.peer_syn();
        rig.expect_state(State::NewSynRecv);
        assert_eq!(rig.stack.tcp_accept(listener), Err(Error::WouldBlock));
        rig.inject(seg("ACK", 0, 0));
        rig.expect_nothing();
        rig.expect_state(State::Established);
        assert!(rig.stack.tcp_ready(listener).contains(Ready::IN));
        let child = rig.stack.tcp_accept(listener).unwrap();
        assert_eq!(rig.stack.tcp_local_addr(child), Some(rig.local));
        assert_eq!(rig.stack.tcp_peer_addr(child), Some(rig.peer));
        assert!(!rig.stack.tcp_ready(listener).contains(Ready::IN));
        assert!(rig.stack.tcp_ready(child).contains(Ready::OUT));
    }
}

#[test]
fn data_on_the_third_segment_is_delivered() {
    let mut rig = Rig::new(Setup::modern());
    let listener = rig.listen(4);
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0).data(b"hello"));
    rig.socket = Some(rig.stack.tcp_accept(listener).unwrap());
    assert_eq!(rig.read().unwrap(), b"hello");
    rig.expect("ACK 0(0) ack 5");
}

/// Holds: MUST-10, R7323-6
#[test]
fn crossed_syns_make_one_connection() {
    for setup in [Setup::default(), Setup::modern()] {
        let scale = setup.scale;
        let mut rig = Rig::new(setup);
        rig.connect();
        rig.inject(seg("SYN", -1, 0));
        rig.expect("SYN,ACK -1(0) ack 0");
        rig.expect_state(State::SynReceived);
        rig.inject(seg("SYN,ACK", -1, 0).win(1000));
        rig.expect_state(State::Established);
        // RFC 7323 2.2: the window of a segment with SYN is not scaled.
        assert_eq!(rig.stack.tcp_info(rig.h()).unwrap().send_window, 1000);
        rig.expect("ACK 0(0) ack 0");
        assert_eq!(rig.write_len(10), 10);
        rig.expect("ACK 0(10) ack 0");
        rig.inject(seg("ACK", 0, 10).win(1000));
        let shift = scale.unwrap_or(0);
        assert_eq!(rig.stack.tcp_info(rig.h()).unwrap().send_window, 1000 << shift);
    }
}

/// Holds: MUST-10, U9293-17
#[test]
fn crossed_syns_of_two_stacks_open_both() {
    let mut pair = Pair::new(&Config::default(), ms(10));
    let (a, b) = (pair.a.tcp_socket(), pair.b.tcp_socket());
    let (at_a, at_b) = (Pair::addr(Side::A, 5000), Pair::addr(Side::B, 6000));
    pair.a.tcp_bind(a, at_a).unwrap();
    pair.b.tcp_bind(b, at_b).unwrap();
    pair.a.tcp_connect(pair.now, a, at_b).unwrap();
    pair.b.tcp_connect(pair.now, b, at_a).unwrap();
    pair.run(ms(100));
    assert_eq!(pair.a.tcp_state(a), Some(State::Established));
    assert_eq!(pair.b.tcp_state(b), Some(State::Established));
    pair.a.tcp_write(pair.now, a, b"from a").unwrap();
    pair.b.tcp_write(pair.now, b, b"from b").unwrap();
    pair.run(ms(200));
    let mut buf = [0; 10];
    assert_eq!(pair.a.tcp_read(pair.now, a, &mut buf), Ok(6));
    assert_eq!(pair.b.tcp_read(pair.now, b, &mut buf), Ok(6));
    assert_eq!(&buf[..6], b"from a");
    assert_eq!((pair.a.counts().sockets, pair.b.counts().sockets), (1, 1));
}

// RFC 2018 2.
/// Holds: R7323-3, R7323-4, R7323-7, R7323-18
#[test]
fn an_option_is_on_only_if_both_sent_it() {
    for bits in 0..16u8 {
        let (ts, sack, scale, ours) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0);
        let setup = Setup { timestamps: ts, sack, scale: scale.then_some(3), ..Setup::default() }.with(|c| {
            c.tcp.timestamps = ours;
            c.tcp.sack = ours;
            c.tcp.window_scaling = ours;
        });
        for passive in [false, true] {
            let mut rig = Rig::new(setup.clone());
            if passive {
                let listener = rig.listen(4);
                rig.inject(seg("SYN", -1, 0));
                let answer = rig.sent.pop_front().unwrap();
                rig.iss = answer.seq;
                assert_eq!(answer.options.timestamps.is_some(), ts && ours);
                assert_eq!(answer.options.sack_permitted, sack && ours);
                assert_eq!(answer.options.window_scale.is_some(), scale && ours);
                assert_eq!(answer.options.mss, Some(1460));
                if let Some((_, echo)) = answer.options.timestamps {
                    assert_eq!(echo, rig.peer_ts());
                }
                rig.inject(seg("ACK", 0, 0));
                rig.socket = Some(rig.stack.tcp_accept(listener).unwrap());
            } else {
                rig.open();
            }
            let info = rig.stack.tcp_info(rig.h()).unwrap();
            assert_eq!(info.timestamps, ts && ours);
            assert_eq!(info.sack, sack && ours);
            assert_eq!(info.window_scales.map(|scales| scales.0), (scale && ours).then_some(3));
        }
    }
}

/// Holds: R7323-9
#[test]
fn a_window_shift_beyond_14_is_read_as_14() {
    let mut rig = Rig::new(Setup { scale: Some(15), ..Setup::default() });
    rig.open_passive();
    assert_eq!(rig.stack.tcp_info(rig.h()).unwrap().window_scales.unwrap().0, 14);
}

// A peer's MSS below the floor is raised to it.
/// Holds: MUST-15
#[test]
fn without_an_mss_option_536_or_1220_is_assumed() {
    for (v6, mss, expected) in [
        (false, None, 536),
        (true, None, 1220),
        (false, Some(1), 48),
        (false, Some(0), 536),
        (false, Some(9000), 1460),
        (true, Some(9000), 1440),
    ] {
        let mut rig = Rig::new(Setup { v6, mss, ..Setup::default() });
        rig.open_passive();
        assert_eq!(rig.stack.tcp_info(rig.h()).unwrap().mss, expected, "{v6} {mss:?}");
    }
}

// With Linux's four linear repeats.
/// Holds: MUST-22, MUST-23
#[test]
fn a_syn_is_repeated_after_1_1_1_1_1_2_4_to_64_seconds_and_fails_at_131() {
    let mut rig = Rig::new(Setup::default());
    rig.connect();
    let start = rig.now;
    rig.advance(ms(130_999));
    let times: Vec<u64> = rig.take_timed(start).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67].map(|s| s * 1000));
    assert_eq!(rig.app_state(), State::SynSent);
    rig.advance(ms(1));
    rig.expect_nothing();
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::Syn)));
    rig.expect_all_freed();
}

#[test]
fn syncnt_bounds_the_repeats_of_a_syn() {
    let mut rig = Rig::new(Setup::default().with(|c| c.tcp.syn_linear_timeouts = 0));
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_set_option(rig.now, h, TcpOption::SynRetries(2)).unwrap();
    rig.stack.tcp_connect(rig.now, h, rig.peer).unwrap();
    rig.socket = Some(h);
    let start = rig.now;
    rig.advance(s(20));
    let times: Vec<u64> = rig.take_timed(start).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 1000, 3000]);
    assert_eq!(rig.history().last().unwrap().at, start + s(7));
}

#[test]
fn bind_follows_the_rules_of_reuse() {
    let addr: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let any: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let mut rig = Rig::new(Setup::default());
    let now = rig.now;
    let stack = &mut rig.stack;
    let socket = |stack: &mut Stack, reuse: bool, port: bool| {
        let h = stack.tcp_socket();
        stack.tcp_set_option(now, h, TcpOption::ReuseAddr(reuse)).unwrap();
        stack.tcp_set_option(now, h, TcpOption::ReusePort(port)).unwrap();
        h
    };
    let far = "203.0.113.1:80".parse().unwrap();
    let stranger = socket(stack, false, false);
    assert_eq!(stack.tcp_bind(stranger, far), Err(Error::AddrNotAvailable));
    let a = socket(stack, false, false);
    stack.tcp_bind(a, addr).unwrap();
    assert_eq!(stack.tcp_bind(a, addr), Err(Error::InvalidInput), "bound already");
    for (reuse, port) in [(false, false), (true, false), (false, true)] {
        let b = socket(stack, reuse, port);
        assert_eq!(stack.tcp_bind(b, addr), Err(Error::AddrInUse), "{reuse} {port}");
        assert_eq!(stack.tcp_bind(b, any), Err(Error::AddrInUse), "the wildcard overlaps");
        stack.tcp_close(now, b);
    }
    stack.tcp_close(now, a);
    // Both with SO_REUSEADDR and none listens: both bind, one listens.
    let (a, b) = (socket(stack, true, false), socket(stack, true, false));
    stack.tcp_bind(a, addr).unwrap();
    stack.tcp_bind(b, addr).unwrap();
    stack.tcp_listen(now, a, 4).unwrap();
    assert_eq!(stack.tcp_listen(now, b, 4), Err(Error::AddrInUse));
    let c = socket(stack, true, false);
    assert_eq!(stack.tcp_bind(c, addr), Err(Error::AddrInUse), "somebody listens");
    for h in [a, b, c] {
        stack.tcp_close(now, h);
    }
    // SO_REUSEPORT on both: both listen, and connections are shared out.
    let group = [0; 4].map(|_| socket(stack, false, true));
    for h in group {
        stack.tcp_bind(h, addr).unwrap();
        stack.tcp_listen(now, h, 200).unwrap();
    }
    for port in 0..200 {
        peer_at(&mut rig, 2000 + port);
        rig.peer_syn();
        rig.inject(seg("ACK", 0, 0));
    }
    for h in group {
        let share = core::iter::from_fn(|| rig.stack.tcp_accept(h).ok()).count();
        assert!((20..=90).contains(&share), "a share of {share}");
    }
}

#[test]
fn bind_to_port_zero_takes_a_free_ephemeral_port() {
    let mut rig = Rig::new(Setup::default().with(|c| c.ephemeral_ports = (50_000, 50_009)));
    let ip = rig.local.ip();
    let mut ports: Vec<u16> = (0..10)
        .map(|_| {
            let h = rig.stack.tcp_socket();
            rig.stack.tcp_bind(h, SocketAddr::new(ip, 0)).unwrap();
            rig.stack.tcp_local_addr(h).unwrap().port()
        })
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, (50_000..50_010).collect::<Vec<_>>());
    let h = rig.stack.tcp_socket();
    assert_eq!(rig.stack.tcp_bind(h, SocketAddr::new(ip, 0)), Err(Error::AddrInUse));
}

fn connect_to(rig: &mut Rig, remote: SocketAddr) -> Result<(TcpHandle, u16), Error> {
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_connect(rig.now, h, remote)?;
    rig.pump();
    Ok((h, rig.stack.tcp_local_addr(h).unwrap().port()))
}

// RFC 6056.
#[test]
fn every_ephemeral_port_is_used_once_before_reuse_towards_a_destination() {
    let mut rig = Rig::new(Setup::default().with(|c| c.ephemeral_ports = (40_000, 40_999)));
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let (h, port) = connect_to(&mut rig, "192.0.2.2:80".parse().unwrap()).unwrap();
        rig.stack.tcp_abort(rig.now, h);
        seen.push(port);
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (40_000..41_000).collect::<Vec<_>>());
    // While all of them are in use there is none left for this destination, but each for another.
    for _ in 0..1000 {
        connect_to(&mut rig, "192.0.2.2:80".parse().unwrap()).unwrap();
    }
    let full = connect_to(&mut rig, "192.0.2.2:80".parse().unwrap());
    assert_eq!(full.map(|_| ()), Err(Error::AddrNotAvailable));
    for host in 3..8 {
        connect_to(&mut rig, SocketAddr::new([192, 0, 2, host].into(), 80)).unwrap();
    }
}

#[test]
fn ports_towards_one_destination_do_not_foretell_those_towards_another() {
    let mut rig = Rig::new(Setup::default());
    let mut hits = 0;
    for n in 0..2000u16 {
        let x = SocketAddr::new([192, 0, 2, 10].into(), 1000 + n);
        let y = SocketAddr::new([192, 0, 2, 20].into(), 1000 + n);
        let (h, at_x) = connect_to(&mut rig, x).unwrap();
        let (g, at_y) = connect_to(&mut rig, y).unwrap();
        hits += u32::from(at_x.abs_diff(at_y) < 16);
        for h in [h, g] {
            rig.stack.tcp_abort(rig.now, h);
        }
    }
    // Chance: 2000 * 31 / 28,232 = 2.2.
    assert!(hits <= 10, "{hits} of 2000 near hits");
}

#[test]
fn a_port_that_a_listener_holds_is_not_chosen() {
    let mut rig = Rig::new(Setup::default().with(|c| c.ephemeral_ports = (80, 81)));
    rig.listen(4);
    let peer = rig.peer;
    assert_eq!(connect_to(&mut rig, peer).unwrap().1, 81);
    assert_eq!(connect_to(&mut rig, peer).map(|_| ()), Err(Error::AddrNotAvailable));
}

/// Holds: MUST-8, SHLD-1, R6528-1
#[test]
fn isns_rise_with_the_clock_for_a_tuple_and_are_unrelated_across_tuples() {
    let mut rig = Rig::new(Setup::default());
    let mut last: Option<(SeqNumber, Instant)> = None;
    for _ in 0..1000 {
        rig.connect();
        let iss = rig.iss;
        rig.abort();
        rig.sent.clear();
        if let Some((before, at)) = last {
            let ticks = (rig.now - at).as_nanos() as i64 >> 6;
            assert!((i64::from(iss - before) - ticks).abs() <= 1, "64 ns ticks");
        }
        last = Some((iss, rig.now));
        rig.advance(Duration::from_micros(777));
    }
    let mut bins = [0u32; 16];
    let mut second = Rig::new(Setup::default());
    for n in 0..4096u16 {
        second.peer.set_port(n + 1);
        second.connect();
        bins[(second.iss.0 >> 28) as usize] += 1;
        second.abort();
        second.sent.clear();
    }
    // Chi-square, 15 degrees of freedom, p = 0.001.
    let chi: f64 = bins.iter().map(|n| (f64::from(*n) - 256.0).powi(2) / 256.0).sum();
    assert!(chi < 37.7, "chi-square {chi}: {bins:?}");
}

// All four corners of both sides' numbers. A stack whose ISN is near a corner is found among seeds.
#[test]
fn any_isn_works_on_both_sides() {
    use lastack_core::wire::Capabilities;
    let corners = [0u32, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    for corner in corners {
        for peer_corner in corners {
            let mut rig = Rig::new(Setup::modern());
            let mut config = rig.setup.config.clone();
            config.addresses = vec!["192.0.2.1/24".parse().unwrap()];
            // The ISN moves by one each 64 ns: the moment is chosen so that it is the corner's.
            rig.connect();
            let ahead = corner.wrapping_sub(rig.iss.0);
            rig.stack = Stack::new(config, Capabilities::plain(1500), [7; 32], rig.now);
            rig.now += Duration::from_nanos(u64::from(ahead) << 6);
            rig.peer_iss = SeqNumber(peer_corner);
            rig.socket = None;
            rig.sent.clear();
            rig.connect();
            assert_eq!(rig.iss.0, corner);
            rig.inject(seg("SYN,ACK", -1, 0));
            rig.expect("ACK 0(0) ack 0");
            rig.write_len(3000);
            rig.inject(seg("ACK", 0, 3000).len(1000));
            assert_eq!(rig.read().unwrap().len(), 1000);
            // Out of order, then the hole.
            rig.inject(seg("ACK", 1500, 3000).len(500));
            assert_eq!(rig.sent.back().unwrap().sack(rig.peer_iss), [(1500, 2000)]);
            rig.inject(seg("ACK", 1000, 3000).len(500));
            assert_eq!(rig.read().unwrap().len(), 1000);
            rig.sent.clear();
            rig.shutdown(Shutdown::Write).unwrap();
            rig.expect("FIN,ACK 3000(0) ack 2000");
            rig.inject(seg("FIN,ACK", 2000, 3001));
            rig.expect("ACK 3001(0) ack 2001");
            rig.expect_state(State::TimeWait);
            rig.close();
            rig.advance(ms(60_001));
            rig.expect_all_freed();
        }
    }
}

/// Holds: MUST-46
#[test]
fn connect_refuses_what_cannot_be_a_peer() {
    let mut rig = Rig::new(Setup::default());
    for (remote, error) in [
        ("192.0.2.2:0", Error::AddrNotAvailable),
        ("0.0.0.0:80", Error::AddrNotAvailable),
        ("224.0.0.1:80", Error::Prohibited),
        ("255.255.255.255:80", Error::Prohibited),
        ("203.0.113.1:80", Error::NetworkUnreachable),
        ("[fd00::2]:80", Error::NetworkUnreachable),
    ] {
        let result = connect_to(&mut rig, remote.parse().unwrap());
        assert_eq!(result.map(|_| ()), Err(error), "{remote}");
    }
    rig.expect_nothing();
}

/// Holds: R6298-14
#[test]
fn after_a_lost_syn_data_begins_with_three_seconds_and_after_two_with_one_segment() {
    for (lost, window) in [(1, 10), (2, 1), (3, 1)] {
        let mut rig = Rig::new(Setup::default());
        rig.connect();
        for _ in 0..lost {
            rig.advance(s(1));
            rig.take();
        }
        rig.inject(seg("SYN,ACK", -1, 0));
        rig.take();
        let info = rig.stack.tcp_info(rig.h()).unwrap();
        assert_eq!((info.rto, info.cwnd), (s(3), window), "{lost}");
        rig.write_len(5000);
        rig.expect("ACK 0(1460) ack 0");
        if window == 1 {
            rig.expect_nothing();
        }
    }
}

// RFC 6191, Linux `tcp_tw_reuse`: free ports come first, a TIME_WAIT record gives way only when its stamps are old.
#[test]
fn a_port_in_time_wait_is_the_last_choice() {
    let mut rig = Rig::new(Setup::modern().with(|c| c.ephemeral_ports = (40_000, 40_001)));
    let remote = rig.peer;
    let (h, first) = connect_to(&mut rig, remote).unwrap();
    rig.iss = rig.sent.pop_back().unwrap().seq;
    rig.local.set_port(first);
    rig.socket = Some(h);
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.close();
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect_state(State::TimeWait);
    let (_, second) = connect_to(&mut rig, remote).unwrap();
    assert_ne!(first, second);
    assert_eq!(connect_to(&mut rig, remote).map(|_| ()), Err(Error::AddrNotAvailable));
    rig.advance(s(1));
    rig.sent.clear();
    let (_, third) = connect_to(&mut rig, remote).unwrap();
    assert_eq!(third, first);
    // RFC 6191: the new numbers lie beyond the old ones.
    let syn = rig.sent.pop_back().unwrap();
    assert!(syn.rel_seq > 65_535);
}

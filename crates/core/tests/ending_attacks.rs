//! Attacks on closing connections: many records, stuck states, storms, forged segments.

mod common;
use common::*;
use lastack_core::wire::tcp::Options;

/// `n` connections of different peers, accepted, with `segment` sent by each peer afterwards.
fn crowd(
    n: u16,
    setup: Setup,
    segment: Option<SegSpec>,
) -> (Rig, Vec<(TcpHandle, core::net::SocketAddr, SeqNumber)>) {
    let mut rig = Rig::new(setup);
    rig.peer.set_port(1000);
    let mut all = Vec::new();
    for _ in 0..n {
        rig.open_passive();
        if let Some(segment) = &segment {
            rig.inject(segment.clone());
        }
        all.push((rig.socket.take().unwrap(), rig.peer, rig.iss));
        rig.next_peer();
    }
    rig.take();
    (rig, all)
}

#[test]
fn connections_of_vanished_peers_are_gone_soon_after_close() {
    // B1 (Naptha).
    let (mut rig, all) = crowd(2000, Setup::default(), None);
    for (h, ..) in all {
        rig.stack.tcp_close(rig.now, h);
    }
    assert_eq!(rig.stack.counts().orphans, 2000);
    rig.advance(s(135));
    rig.sent.clear();
    rig.expect_all_freed();
}

#[test]
fn peers_with_a_closed_window_that_answer_probes_are_gone_within_330_s() {
    // B2 (Sockstress).
    let (mut rig, all) = crowd(200, Setup::default(), Some(seg("ACK", 0, 0).win(0)));
    for (h, ..) in &all {
        assert_eq!(rig.stack.tcp_write(rig.now, *h, &[1; 20_000]), Ok(20_000));
        rig.stack.tcp_close(rig.now, *h);
    }
    let since = rig.now;
    rig.pump();
    while rig.stack.counts().sockets > 1 && rig.now - since < s(400) {
        rig.advance(ms(100));
        let probes: Vec<_> = rig.sent.drain(..).collect();
        assert!(probes.len() <= 200, "more than one probe in 100 ms");
        for probe in probes {
            // The answer goes to the connection that probed.
            rig.peer.set_port(probe.ports.1);
            rig.iss = probe.seq;
            rig.inject(seg("ACK", 0, 0).win(0));
        }
    }
    assert!(rig.now - since <= s(330), "{:?}", rig.now - since);
    rig.sent.clear();
    rig.expect_all_freed();
}

#[test]
fn peers_that_acknowledge_the_fin_and_stay_cost_a_small_record_for_60_s() {
    // B3.
    let (mut rig, all) = crowd(1000, Setup::default(), None);
    for (h, peer, iss) in &all {
        rig.stack.tcp_close(rig.now, *h);
        rig.pump();
        (rig.peer, rig.iss) = (*peer, *iss);
        rig.inject(seg("ACK", 0, 1));
    }
    let counts = rig.stack.counts();
    // One socket is the listener.
    assert_eq!((counts.sockets, counts.orphans, counts.time_wait, counts.buffer_bytes), (1, 0, 1000, 0));
    rig.advance(s(61));
    rig.sent.clear();
    rig.expect_all_freed();
}

#[test]
fn an_orphan_that_is_fed_drop_by_drop_ends_with_its_last_byte() {
    // E8: as on Linux, progress is no stall; each byte costs the peer a segment.
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.write_len(60);
    rig.close();
    let mut got = 0;
    let since = rig.now;
    while rig.state() == Some(State::FinWait1) && rig.now - since < s(10_000) {
        rig.advance(ms(100));
        for sent in rig.sent.drain(..) {
            got = got.max(
                i64::from(sent.rel_seq)
                    + sent.payload.len() as i64
                    + i64::from(sent.flags.contains(Flags::FIN)),
            );
        }
        rig.inject(seg("ACK", 0, got).win(1));
    }
    rig.expect_state(State::FinWait2);
    assert_eq!(got, 61);
    rig.advance(s(60));
    rig.sent.clear();
    rig.expect_all_freed();
}

#[test]
fn time_wait_records_never_pass_their_limit() {
    // B6.
    let setup = Setup::default().with(|config| config.tcp.max_time_wait = 10);
    let (mut rig, all) = crowd(50, setup, None);
    for (h, peer, iss) in &all {
        rig.stack.tcp_close(rig.now, *h);
        rig.pump();
        (rig.peer, rig.iss) = (*peer, *iss);
        rig.inject(seg("FIN,ACK", 0, 1));
        assert!(rig.stack.counts().time_wait <= 10);
    }
    assert_eq!(rig.stack.counts().time_wait, 10);
    assert_eq!(rig.stack.counters().time_wait_overflow, 40);
    assert_eq!(rig.stack.counts().sockets, 1);
    rig.advance(s(60));
    rig.sent.clear();
    rig.expect_all_freed();
}

#[test]
fn a_flood_of_challenges_costs_neither_memory_nor_replies() {
    // B8.
    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"text in flight").unwrap();
    rig.inject(seg("ACK", 0, 14));
    rig.take();
    let before = rig.stack.counts();
    let mut replies = 0;
    for i in 0..20_000 {
        rig.inject(if i % 2 == 0 { seg("RST", 9, 0) } else { seg("SYN", 9, 0) });
        replies += rig.sent.len();
        rig.sent.clear();
        if i % 100 == 0 {
            rig.advance(ms(10));
        }
    }
    // 2 s passed.
    assert!(replies <= 5, "{replies}");
    assert_eq!(rig.stack.counts(), before);
}

#[test]
fn no_idle_connection_sends_more_than_one_segment_in_100_ms() {
    // B9: windows and user timeouts, peer silent or answering.
    for window in [0u16, 1, 10, 500] {
        for user in [0u64, 1, 10, 3000] {
            for answers in [false, true] {
                for shrink in [false, true] {
                    let mut rig = Start::Established.rig(Setup::default());
                    rig.option(TcpOption::UserTimeout(ms(user)));
                    if !shrink {
                        rig.inject(seg("ACK", 0, 0).win(window));
                    }
                    rig.write_len(3000);
                    rig.close();
                    if shrink {
                        rig.inject(seg("ACK", 0, 0).win(window));
                    }
                    rig.advance(ms(100));
                    rig.take();
                    for _ in 0..100 {
                        rig.advance(ms(100));
                        let sent = rig.take();
                        assert!(
                            sent.len() <= 1,
                            "window {window}, user timeout {user}, {answers}, {shrink}: {sent:?}"
                        );
                        if answers && !sent.is_empty() {
                            rig.inject(seg("ACK", 0, 0).win(window));
                        }
                        let drawn = rig.take();
                        assert!(
                            drawn.len() <= 1,
                            "window {window}, user timeout {user}, {answers}, {shrink}: {drawn:?}"
                        );
                    }
                    rig.advance(s(900));
                    rig.sent.clear();
                    rig.expect_all_freed();
                }
            }
        }
    }
}

#[test]
fn a_forged_stamp_does_not_poison_paws() {
    // D9: a segment whose ACK is not acceptable teaches nothing.
    for forged in [seg("ACK", 0, 9000), seg("ACK", 0, -200_000_000)] {
        let mut rig = Start::Established.rig(Setup::modern());
        let stamp = rig.peer_ts().wrapping_add(1 << 30);
        let options = Options { timestamps: Some((stamp, rig.ts_echo)), ..Options::default() };
        rig.inject(forged.len(1).options(options));
        rig.take();
        rig.inject(seg("ACK", 0, 0).data(b"true"));
        assert_eq!(rig.read(), Ok(b"true".to_vec()));
        rig.inject(seg("FIN,ACK", 4, 0));
        rig.expect_state(State::CloseWait);
    }
}

/// Holds: MAY-12, R5961-9, R5961-10
#[test]
fn blind_text_and_fin_need_an_acceptable_ack() {
    // D3, RFC 5961 5.
    for names in ["ACK", "FIN,ACK"] {
        for ack in [5000, -200_000_000, 1 << 31] {
            let mut rig = Start::Established.rig(Setup::default());
            rig.inject(seg(names, 0, ack).len(5));
            rig.expect("ACK 0(0) ack 0");
            rig.expect_state(State::Established);
            assert_eq!(rig.read(), Err(Error::WouldBlock));
        }
    }
}

#[test]
fn a_half_open_peer_is_reset_and_the_new_connection_opens_in_one_round_trip() {
    // The RST goes before the repeated SYN.
    let mut rig = Start::SynSent.rig(Setup::default());
    rig.inject(seg("ACK", 4000, 700));
    assert_eq!(rig.take(), ["RST 700(0)", "SYN -1(0)"]);
    // Only once, or two half-open peers would shout at each other.
    rig.inject(seg("ACK", 4000, 700));
    assert_eq!(rig.take(), ["RST 700(0)"]);
    // A RST with a wrong number has the SYN repeated too, but is not answered.
    let mut rig = Start::SynSent.rig(Setup::default());
    rig.inject(seg("RST,ACK", 4000, 700));
    assert_eq!(rig.take(), ["SYN -1(0)"]);
    rig.expect_state(State::SynSent);
}

#[test]
fn a_handle_whose_record_has_left_arms_no_timer_and_sends_nothing() {
    for start in [Start::TimeWait, Start::LastAck] {
        let mut rig = start.rig(Setup::default());
        if start == Start::LastAck {
            rig.inject(seg("ACK", 1, 1));
        }
        rig.advance(s(61));
        rig.take();
        for option in [
            TcpOption::KeepIdle(s(1)),
            TcpOption::KeepAlive(true),
            TcpOption::UserTimeout(s(3)),
            TcpOption::QuickAck(true),
            TcpOption::QuickAck(false),
            TcpOption::NoDelay(true),
            TcpOption::Cork(false),
        ] {
            rig.option(option);
        }
        assert_eq!(rig.stack.next_timeout(), None, "{start:?}");
        rig.advance(s(10_000));
        rig.expect_nothing();
        assert_eq!(rig.take_error(), None);
        rig.expect_all_freed();
    }
}

#[test]
fn an_orphan_can_be_aborted_by_its_number() {
    // L11 for what nobody owns.
    let mut rig = Start::Established.rig(Setup::default());
    let id = rig.stack.tcp_connection(rig.h()).unwrap();
    rig.write(b"hello").unwrap();
    rig.take();
    rig.close();
    rig.take();
    let orphan = rig.stack.orphans().next().unwrap();
    assert_eq!((orphan.id, orphan.state, orphan.undelivered), (id, State::FinWait1, 5));
    assert!(orphan.fin_unacked);
    assert!(rig.stack.abort_orphan(rig.now, id));
    assert!(!rig.stack.abort_orphan(rig.now, id));
    rig.expect("RST,ACK 6(0) ack 0");
    rig.expect_all_freed();
}

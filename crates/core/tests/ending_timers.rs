//! Losses, repetitions to the millisecond, and the bounds after which each state gives up.

mod common;
use common::*;
use lastack_core::Timeout;

const FIN: &str = "FIN,ACK 0(0) ack 0";

/// Milliseconds at which `text` was sent; nothing else may have been sent.
#[track_caller]
fn times(rig: &mut Rig, since: Instant, text: &str) -> Vec<u64> {
    let sent = rig.take_timed(since);
    for (at, other) in &sent {
        assert_eq!(other, text, "at {at} ms");
    }
    sent.into_iter().map(|(at, _)| at).collect()
}

/// When a timer that doubles up to 120 s expires, in milliseconds. The RTO is 201 ms: the handshake took no time, the
/// smallest sample is 1 µs, and timeouts are rounded up to a jiffy.
fn backoff(expiries: usize) -> Vec<u64> {
    let mut at = 0;
    (0..expiries)
        .map(|n| {
            at += (201 << n.min(20)).min(120_000);
            at
        })
        .collect()
}

/// The first expiry at which 0.2 s x (2^9 - 1) = 102.2 s are over since the first repeat: the patience with an orphan.
const ORPHAN_END: u64 = 102_711;
/// The same for 0.2 s x (2^10 - 1) + 6 x 120 s = 924.6 s: the patience of an owner.
const OWNED_END: u64 = 925_623;

#[test]
fn the_model_of_back_off() {
    assert_eq!(backoff(9), [201, 603, 1407, 3015, 6231, 12_663, 25_527, 51_255, ORPHAN_END]);
    assert_eq!(backoff(16)[9..], [205_623, 325_623, 445_623, 565_623, 685_623, 805_623, OWNED_END]);
}

#[test]
fn a_fin_lost_once_or_twice_is_repeated_with_back_off() {
    for lost in 1..=2 {
        let mut rig = Start::Established.rig(Setup::default());
        let since = rig.now;
        rig.close();
        rig.advance(ms(backoff(2)[lost - 1]));
        let mut wanted = vec![0];
        wanted.extend_from_slice(&backoff(lost));
        assert_eq!(times(&mut rig, since, FIN), wanted);
        rig.inject(seg("ACK", 0, 1));
        rig.expect_state(State::FinWait2);
        rig.advance(s(59));
        rig.inject(seg("FIN,ACK", 0, 1));
        rig.expect("ACK 1(0) ack 1");
        rig.advance(s(60));
        rig.expect_all_freed();
    }
}

/// A FIN that is never acknowledged by a connection in `start`, owned or not.
fn fin_never_acked(start: Start, owned: bool) {
    let mut rig = start.rig(Setup::default());
    let since = rig.now;
    if owned {
        rig.shutdown(Shutdown::Write).unwrap();
    } else {
        rig.close();
    }
    let text = format!("FIN,ACK 0(0) ack {}", start.rcv_nxt());
    let expiries = backoff(if owned { 16 } else { 9 });
    let (end, repeats) = expiries.split_last().unwrap();
    rig.advance(ms(end - 1));
    let mut wanted = vec![0];
    wanted.extend_from_slice(repeats);
    assert_eq!(times(&mut rig, since, &text), wanted);
    assert!(rig.state().is_some(), "gone too early");
    rig.advance(ms(1));
    rig.expect_nothing();
    rig.expect_gone();
    let last = rig.last_transition();
    assert_eq!((last.cause, last.initiator), (Cause::RetransmissionTimeout, Initiator::Timer));
    assert_eq!(rig.stack.counters().abort_on_timeout, 1);
    if owned {
        assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::Retransmission)));
        assert_eq!(rig.take_error(), None);
    }
    rig.expect_all_freed();
}

/// Holds: SHLD-11
#[test]
fn a_fin_lost_for_ever_ends_an_orphan_in_fin_wait_1_after_102_s() {
    fin_never_acked(Start::Established, false);
}

#[test]
fn a_fin_lost_for_ever_ends_an_orphan_in_last_ack_after_102_s() {
    fin_never_acked(Start::CloseWait, false);
}

/// Holds: MUST-20, SHLD-11
#[test]
fn a_fin_lost_for_ever_ends_an_owned_connection_after_924_s() {
    fin_never_acked(Start::Established, true);
    fin_never_acked(Start::CloseWait, true);
}

#[test]
fn closing_gives_up_like_fin_wait_1() {
    for (start, end) in [(Start::ClosingOrphan, ORPHAN_END), (Start::Closing, OWNED_END)] {
        let mut rig = start.rig(Setup::default());
        rig.advance(ms(end - 1));
        rig.expect_state(State::Closing);
        assert!(rig.take().iter().all(|text| text == "FIN,ACK 0(0) ack 1"));
        rig.advance(ms(1));
        rig.expect_gone();
        rig.expect_all_freed();
    }
}

#[test]
fn closing_an_owner_that_waited_long_applies_the_patience_of_an_orphan() {
    let mut rig = Start::FinWait1.rig(Setup::default());
    rig.advance(s(300));
    rig.expect_state(State::FinWait1);
    rig.close();
    rig.take();
    // The next expiry is past the orphan's bound.
    rig.advance(ms(25_623));
    rig.expect_gone();
    rig.expect_nothing();
}

#[test]
fn the_ack_of_the_fin_lost_is_repeated_for_the_repeated_fin() {
    // W4 and its mirror.
    let mut rig = Start::CloseWait.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 0));
    rig.expect("ACK 0(0) ack 1");
    rig.expect_state(State::CloseWait);
    let mut rig = Start::TimeWait.rig(Setup::default());
    for _ in 0..3 {
        rig.advance(s(59));
        rig.inject(seg("FIN,ACK", 0, 1));
        rig.expect("ACK 1(0) ack 1");
    }
    rig.advance(s(60) - ms(1));
    rig.expect_state(State::TimeWait);
    rig.advance(ms(1));
    rig.expect_gone();
}

#[test]
fn text_and_fin_lost_together_come_again_together() {
    let mut rig = Start::Established.rig(Setup::default());
    let since = rig.now;
    rig.write(b"hello").unwrap();
    rig.close();
    assert_eq!(rig.take(), ["ACK 0(5) ack 0", "FIN,ACK 5(0) ack 0"]);
    rig.advance(ms(201));
    let sent = rig.take_timed(since);
    assert_eq!(sent[0].0, 201);
    assert!(sent[0].1.contains("0(5)"), "{sent:?}");
    // The peer has the text, not the FIN.
    rig.inject(seg("ACK", 0, 5));
    rig.expect_state(State::FinWait1);
    rig.advance(s(2));
    assert!(rig.take().iter().any(|text| text == "FIN,ACK 5(0) ack 0"));
    rig.inject(seg("ACK", 0, 6));
    rig.expect_state(State::FinWait2);
}

#[test]
fn a_fin_out_of_order_is_held_and_reported() {
    // W7, P5.
    let mut rig = Start::Established.rig(Setup { sack: true, ..Setup::default() });
    rig.inject(seg("FIN,ACK", 100, 0));
    let sent = rig.expect("ACK 0(0) ack 0");
    assert_eq!(sent.sack(rig.peer_iss), [(100, 101)]);
    rig.expect_state(State::Established);
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.inject(seg("ACK", 0, 0).len(100));
    rig.expect("ACK 0(0) ack 101");
    rig.expect_state(State::CloseWait);
    assert_eq!(rig.read().unwrap().len(), 100);
    assert_eq!(rig.read(), Ok(vec![]));
}

#[test]
fn a_fin_with_text_out_of_order_is_held_and_reported() {
    let mut rig = Start::Established.rig(Setup { sack: true, ..Setup::default() });
    rig.inject(seg("FIN,ACK", 10, 0).len(5));
    let sent = rig.expect("ACK 0(0) ack 0");
    assert_eq!(sent.sack(rig.peer_iss), [(10, 16)]);
    rig.inject(seg("ACK", 0, 0).len(4));
    rig.take();
    rig.inject(seg("ACK", 4, 0).len(6));
    rig.expect("ACK 0(0) ack 16");
    rig.expect_state(State::CloseWait);
    assert_eq!(rig.read().unwrap().len(), 15);
}

#[test]
fn what_lies_beyond_a_fin_is_thrown_away() {
    let mut rig = Start::Established.rig(Setup { sack: true, ..Setup::default() });
    rig.inject(seg("ACK", 200, 0).len(50));
    rig.inject(seg("FIN,ACK", 0, 0).len(10));
    rig.advance(ms(200));
    assert_eq!(rig.take().last().unwrap(), "ACK 0(0) ack 11");
    assert_eq!(rig.read().unwrap().len(), 10);
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.stack.counts().buffer_bytes, 0);
}

#[test]
fn the_ack_of_a_fin_waits_40_ms_for_data() {
    let mut rig = Start::Established.rig(Setup::default());
    let since = rig.now;
    rig.inject(seg("FIN,ACK", 0, 0));
    rig.expect_nothing();
    rig.advance(ms(100));
    assert_eq!(times(&mut rig, since, "ACK 0(0) ack 1"), [40]);
}

#[test]
fn fin_wait_2_without_an_owner_ends_after_60_s() {
    // W12.
    let mut rig = Start::FinWait2Orphan.rig(Setup::default());
    rig.advance(s(60) - ms(1));
    rig.expect_state(State::FinWait2);
    rig.advance(ms(1));
    rig.expect_gone();
    rig.expect_nothing();
    assert_eq!(rig.last_transition().cause, Cause::FinWait2Timeout);
    rig.inject(seg("ACK", 0, 1).len(5));
    rig.expect("RST 1(0)");
    rig.expect_all_freed();
}

#[test]
fn fin_wait_2_without_an_owner_counts_from_the_close_or_the_ack() {
    // Closed before: from the ACK of the FIN. Closed after: from the close.
    let mut rig = Start::FinWait1Orphan.rig(Setup::default());
    rig.advance(s(5));
    rig.inject(seg("ACK", 0, 1));
    rig.expect_state(State::FinWait2);
    rig.advance(s(60) - ms(1));
    rig.expect_state(State::FinWait2);
    rig.advance(ms(1));
    rig.expect_gone();
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.advance(s(4000));
    rig.expect_state(State::FinWait2);
    rig.close();
    rig.advance(s(60) - ms(1));
    rig.expect_state(State::FinWait2);
    rig.advance(ms(1));
    rig.expect_gone();
}

#[test]
fn linger2_sets_the_life_of_fin_wait_2() {
    for (seconds, then_small) in [(3, false), (10, false), (60, false), (90, true), (120, true)] {
        let mut rig = Start::FinWait2.rig(Setup::default());
        rig.option(TcpOption::Linger2(Some(s(seconds))));
        rig.close();
        assert_eq!(rig.stack.counts().sockets, usize::from(then_small), "{seconds}");
        rig.advance(s(seconds) - ms(1));
        rig.expect_state(State::FinWait2);
        assert_eq!(rig.stack.counts().time_wait, 1, "{seconds}");
        rig.advance(ms(1));
        rig.expect_gone();
        rig.expect_nothing();
        rig.expect_all_freed();
    }
}

#[test]
fn linger2_of_zero_is_the_default() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.option(TcpOption::Linger2(Some(Duration::ZERO)));
    rig.close();
    rig.advance(s(60) - ms(1));
    rig.expect_state(State::FinWait2);
    rig.advance(ms(1));
    rig.expect_gone();
}

#[test]
fn no_linger2_means_no_fin_wait_2_at_close() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.option(TcpOption::Linger2(None));
    rig.close();
    rig.expect("RST,ACK 1(0) ack 0");
    rig.expect_gone();
    assert_eq!(rig.last_transition().cause, Cause::NoFinWait2);
    rig.expect_all_freed();
}

#[test]
fn fin_wait_2_lasts_at_least_three_and_a_half_rto() {
    // The SYN was repeated, so the ACK of the FIN gives the first sample: 900 ms.
    let mut rig = Rig::new(Setup::default().with(|config| config.tcp.fin_timeout = s(1)));
    rig.connect();
    rig.advance(ms(1000));
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.shutdown(Shutdown::Write).unwrap();
    rig.advance(ms(900));
    rig.inject(seg("ACK", 0, 1));
    rig.expect_state(State::FinWait2);
    let rto = rig.stack.tcp_info(rig.h()).unwrap().rto;
    assert_eq!(rto, ms(2700));
    rig.close();
    rig.advance(rto * 7 / 2 - ms(1));
    rig.expect_state(State::FinWait2);
    rig.advance(ms(2));
    rig.expect_gone();
}

#[test]
fn a_full_orphan_in_fin_wait_2_takes_a_fin() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.option(TcpOption::Linger2(Some(s(100))));
    rig.close();
    assert_eq!(rig.stack.counts().orphans, 1);
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect("ACK 1(0) ack 1");
    rig.expect_state(State::TimeWait);
    assert_eq!((rig.stack.counts().sockets, rig.stack.counts().orphans), (0, 0));
    rig.advance(s(60));
    rig.expect_all_freed();
}

/// ESTABLISHED with 10 KB before a closed window.
fn stuck() -> Rig {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.write_len(10_000);
    rig.expect_nothing();
    rig
}

/// Holds: U9293-4
#[test]
fn close_before_a_zero_window_enters_fin_wait_1_at_once_and_ends_after_102_s() {
    // TC-1, W16, n31: no probe is answered.
    let mut rig = stuck();
    let since = rig.now;
    rig.close();
    rig.expect_state(State::FinWait1);
    rig.expect_nothing();
    let expiries = backoff(9);
    rig.advance(ms(ORPHAN_END - 1));
    assert_eq!(times(&mut rig, since, "ACK -1(0) ack 0"), expiries[..8]);
    rig.expect_state(State::FinWait1);
    rig.advance(ms(1));
    rig.expect_gone();
    rig.expect_nothing();
    assert_eq!(rig.last_transition().cause, Cause::ZeroWindowTimeout);
    rig.expect_all_freed();
}

#[test]
fn an_orphan_whose_probes_are_answered_ends_after_325_s() {
    // n31, the end of Sockstress.
    let mut rig = stuck();
    let since = rig.now;
    rig.close();
    let mut probes = Vec::new();
    while rig.state().is_some() && rig.now - since < s(1000) {
        let next = rig.stack.next_timeout().unwrap();
        rig.advance(next - rig.now);
        for (at, text) in rig.take_timed(since) {
            assert_eq!(text, "ACK -1(0) ack 0");
            probes.push(at);
            rig.inject(seg("ACK", 0, 0).win(0));
        }
    }
    assert_eq!(probes, backoff(10));
    assert_eq!(rig.now - since, ms(325_623));
    rig.expect_all_freed();
}

#[test]
fn unasked_acks_do_not_put_off_the_end_of_an_orphan() {
    // A peer that does not wait for probes: an ACK of nothing each 150 ms, before any probe timer expires.
    for window in [0, 1] {
        let mut rig = stuck();
        let since = rig.now;
        rig.close();
        while rig.state().is_some() && rig.now - since < s(1000) {
            rig.advance(ms(150));
            rig.sent.clear();
            rig.inject(seg("ACK", 0, 0).win(window));
        }
        assert!(rig.now - since < s(330), "window {window}: {:?}", rig.now - since);
        rig.take();
        rig.expect_all_freed();
    }
}

#[test]
fn a_close_in_syn_received_repeats_the_handshake_before_the_fin() {
    let mut rig = Start::SynReceived.rig(Setup::default());
    rig.close();
    rig.expect("FIN,ACK 0(0) ack 0");
    rig.expect_state(State::FinWait1);
    rig.advance(s(10));
    let sent = rig.take();
    assert_eq!(sent, ["SYN,ACK -1(0) ack 0"; 3]);
    // The peer has both.
    rig.inject(seg("ACK", 0, 1));
    rig.expect_state(State::FinWait2);
    rig.advance(s(60));
    rig.expect_all_freed();
}

/// Holds: MUST-37
#[test]
fn an_owned_connection_probes_for_ever_while_answered() {
    let mut rig = stuck();
    let since = rig.now;
    while rig.now - since < s(20_000) {
        rig.advance(s(10));
        for _ in rig.take() {
            rig.inject(seg("ACK", 0, 0).win(0));
        }
    }
    rig.expect_state(State::Established);
    // The window opens: everything goes out.
    rig.inject(seg("ACK", 0, 0));
    assert_eq!(rig.sent.iter().map(|sent| sent.payload.len()).sum::<usize>(), 10_000);
}

#[test]
fn fifteen_unanswered_probes_end_an_owned_connection() {
    let mut rig = stuck();
    let since = rig.now;
    rig.advance(ms(OWNED_END - 1));
    assert_eq!(times(&mut rig, since, "ACK -1(0) ack 0"), backoff(15));
    rig.expect_state(State::Established);
    rig.advance(ms(1));
    rig.expect_gone();
    assert_eq!(rig.read(), Err(Error::TimedOut(Timeout::ZeroWindow)));
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    rig.expect_all_freed();
}

#[test]
fn a_fin_alone_before_a_zero_window_is_probed_for() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.close();
    rig.expect_state(State::FinWait1);
    rig.expect_nothing();
    rig.advance(ms(201));
    rig.expect("ACK -1(0) ack 0");
    rig.inject(seg("ACK", 0, 0));
    rig.expect("FIN,ACK 0(0) ack 0");
    rig.inject(seg("ACK", 0, 1));
    rig.expect_state(State::FinWait2);
}

/// Holds: U9293-5
#[test]
fn the_ack_of_all_text_sent_is_not_the_ack_of_an_unsent_fin() {
    // TC-2 and TC-3: the peer's window lets 4 bytes of 8 through.
    for passive in [false, true] {
        let mut rig = Start::Established.rig(Setup { window: 4, ..Setup::default() });
        if passive {
            rig.inject(seg("FIN,ACK", 0, 0));
        }
        rig.write_len(8);
        rig.advance(ms(250));
        let rcv = i64::from(passive);
        assert!(rig.take().iter().any(|text| text.starts_with("ACK 0(4)")));
        rig.close();
        let waiting = if passive { State::LastAck } else { State::FinWait1 };
        rig.expect_state(waiting);
        rig.inject(seg("ACK", rcv, 4).win(0));
        rig.expect_state(waiting);
        rig.inject(seg("ACK", rcv, 4).win(100));
        rig.expect(&format!("FIN,ACK 4(4) ack {rcv}"));
        rig.inject(seg("ACK", rcv, 8));
        rig.expect_state(waiting);
        rig.inject(seg("ACK", rcv, 9));
        assert_eq!(rig.state(), (!passive).then_some(State::FinWait2));
    }
}

/// Holds: U9293-8
#[test]
fn abort_while_the_fin_is_unsent_resets_in_closing_and_last_ack() {
    // TC-4, n6.
    for passive in [false, true] {
        for linger in [false, true] {
            let mut rig = stuck();
            if passive {
                rig.inject(seg("FIN,ACK", 0, 0).win(0));
                rig.shutdown(Shutdown::Write).unwrap();
                rig.expect_state(State::LastAck);
            } else {
                rig.shutdown(Shutdown::Write).unwrap();
                rig.inject(seg("FIN,ACK", 0, 0).win(0));
                rig.expect_state(State::Closing);
            }
            rig.take();
            if linger {
                rig.option(TcpOption::Linger(Some(Duration::ZERO)));
                rig.close();
            } else {
                rig.abort();
            }
            rig.expect("RST,ACK 0(0) ack 1");
            rig.expect_all_freed();
        }
    }
}

/// Holds: U9293-4
#[test]
fn text_behind_a_small_window_leaves_piece_by_piece_and_the_fin_last() {
    // W6.
    let mut rig = Start::Established.rig(Setup { window: 1460, ..Setup::default() });
    rig.write_len(3 * 1460);
    rig.close();
    rig.expect_state(State::FinWait1);
    let first = rig.take();
    assert!(first.iter().all(|text| !text.contains("FIN")), "{first:?}");
    rig.inject(seg("ACK", 0, 1460).win(20_000));
    let rest = rig.take();
    assert_eq!(rest.iter().filter(|text| text.contains("FIN")).count(), 1, "{rest:?}");
    assert!(rest.last().unwrap().starts_with("FIN,ACK"), "{rest:?}");
    rig.inject(seg("ACK", 0, 3 * 1460 + 1).win(20_000));
    rig.expect_state(State::FinWait2);
}

/// Holds: U9293-16
#[test]
fn the_user_timeout_bounds_the_fin_of_an_orphan() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::UserTimeout(ms(3000)));
    let since = rig.now;
    rig.close();
    // It counts from the first repeat.
    rig.advance(ms(3200));
    assert_eq!(times(&mut rig, since, FIN), [0, 201, 603, 1407, 3015]);
    rig.expect_state(State::FinWait1);
    rig.advance(ms(1));
    rig.expect_gone();
    rig.expect_nothing();
    rig.inject(seg("ACK", 0, 1));
    rig.expect("RST 1(0)");
    rig.expect_all_freed();
}

/// Holds: U9293-16
#[test]
fn the_user_timeout_ends_what_is_owned_with_its_name() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::UserTimeout(s(5)));
    rig.write(b"hello").unwrap();
    rig.advance(ms(5200));
    rig.expect_state(State::Established);
    rig.advance(ms(1));
    rig.expect_gone();
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
    assert_eq!(rig.last_transition().cause, Cause::UserTimeout);
    // Zero-window probing.
    let mut rig = stuck();
    rig.option(TcpOption::UserTimeout(s(7)));
    let since = rig.now;
    while rig.state().is_some() && rig.now - since < s(100) {
        rig.advance(ms(10));
    }
    assert!(rig.now - since >= s(7) && rig.now - since < s(8), "{:?}", rig.now - since);
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
    rig.expect_all_freed();
}

/// Holds: U9293-16
#[test]
fn the_user_timeout_bounds_a_handshake_but_for_its_first_wait() {
    for (user, start, end, repeats) in [
        (500, Start::SynSent, 1001, &[1000][..]),
        (2500, Start::SynSent, 2500, &[1000, 2000]),
        (2500, Start::SynReceived, 2500, &[1000]),
    ] {
        let mut rig = start.rig(Setup::default());
        rig.option(TcpOption::UserTimeout(ms(user)));
        let since = rig.now;
        rig.advance(ms(end - 1));
        let at: Vec<u64> = rig.take_timed(since).into_iter().map(|(at, _)| at).collect();
        assert_eq!(at, repeats[..], "{start:?}");
        assert_eq!(rig.state(), start.state());
        rig.advance(ms(1));
        rig.expect_nothing();
        rig.expect_gone();
        assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
        rig.expect_all_freed();
    }
}

/// Holds: U9293-16
#[test]
fn the_user_timeout_ends_the_probing_of_a_zero_window_however_often_it_is_answered() {
    let mut rig = stuck();
    rig.option(TcpOption::UserTimeout(s(3)));
    let since = rig.now;
    while rig.state().is_some() && rig.now - since < s(100) {
        rig.advance(ms(1));
        for _ in rig.take() {
            rig.inject(seg("ACK", 0, 0).win(0));
        }
    }
    // It counts from the first probe.
    assert_eq!(rig.now - since, ms(3201));
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
    // A window that opens in time starts it anew.
    let mut rig = stuck();
    rig.option(TcpOption::UserTimeout(s(3)));
    rig.advance(s(2));
    rig.inject(seg("ACK", 0, 0).win(9000));
    rig.take();
    rig.inject(seg("ACK", 0, 9000).win(0));
    rig.advance(s(3));
    rig.expect_state(State::Established);
    rig.advance(ms(201));
    rig.expect_gone();
}

#[test]
fn patience_and_probes_know_a_model_of_200_ms_whatever_the_least_rto_is() {
    let setup = || {
        Setup::default().with(|config| {
            config.tcp.rto_min = ms(20);
            config.tcp.retries2 = 1;
        })
    };
    let mut rig = Start::Established.rig(setup());
    let since = rig.now;
    rig.write(b"hello").unwrap();
    rig.advance(ms(650));
    // 0.6 s are over since the first repeat at the expiry of 651 ms.
    assert_eq!(times(&mut rig, since, "ACK 0(5) ack 0"), [0, 21, 63, 147, 315]);
    rig.expect_state(State::Established);
    rig.advance(ms(1));
    rig.expect_gone();
    let mut rig = Start::Established.rig(setup());
    let since = rig.now;
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.write(b"hello").unwrap();
    rig.advance(ms(500));
    assert_eq!(times(&mut rig, since, "ACK -1(0) ack 0"), [200]);
}

/// Holds: MUST-29, SHLD-12
#[test]
fn keep_alive_gives_up_after_nine_probes_with_a_rst() {
    for start in [Start::Established, Start::FinWait2, Start::CloseWait] {
        let mut rig = start.rig(Setup::default());
        rig.option(TcpOption::KeepAlive(true));
        let since = rig.now;
        rig.advance(s(7875) + s(1));
        let sent = rig.take_timed(since);
        assert_eq!(sent.len(), 10, "{start:?} {sent:?}");
        let (snd, rcv) = (start.snd_nxt(), start.rcv_nxt());
        for (n, (_, text)) in sent[..9].iter().enumerate() {
            assert_eq!(*text, format!("ACK {}(0) ack {rcv}", start.snd_una() - 1), "{start:?}, probe {n}");
        }
        let first = sent[0].0;
        assert!((7_199_000..=7_200_000).contains(&first), "{start:?} {first}");
        assert_eq!(sent[9].0 - first, 9 * 75_000);
        assert_eq!(sent[9].1, format!("RST,ACK {snd}(0) ack {rcv}"));
        rig.expect_gone();
        let wanted = (start != Start::CloseWait).then_some(Error::TimedOut(Timeout::KeepAlive));
        if let Some(wanted) = wanted {
            assert_eq!(rig.read(), Err(wanted));
        }
        assert_eq!(rig.read(), Ok(vec![]));
        rig.expect_all_freed();
    }
}

/// Holds: MUST-26, MUST-27
#[test]
fn an_answered_keep_alive_probe_starts_the_idle_time_anew() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::KeepIdle(s(10)));
    rig.option(TcpOption::KeepInterval(s(1)));
    rig.option(TcpOption::KeepAlive(true));
    for _ in 0..5 {
        rig.advance(s(10));
        assert_eq!(rig.take(), ["ACK -1(0) ack 0"]);
        rig.inject(seg("ACK", 0, 0));
        rig.expect_nothing();
    }
    rig.advance(s(5));
    rig.inject(seg("ACK", 0, 0));
    rig.advance(s(9));
    rig.expect_nothing();
    rig.advance(s(1));
    assert_eq!(rig.take(), ["ACK -1(0) ack 0"]);
}

/// Holds: MUST-26
#[test]
fn keep_alive_waits_while_a_fin_is_in_flight() {
    for start in [Start::FinWait1, Start::Closing, Start::LastAck] {
        let mut rig = start.rig(Setup::default());
        rig.option(TcpOption::KeepIdle(s(1)));
        rig.option(TcpOption::KeepInterval(s(1)));
        rig.option(TcpOption::KeepCount(1));
        rig.option(TcpOption::KeepAlive(true));
        rig.advance(s(500));
        assert_eq!(rig.state(), start.state());
        assert_eq!(rig.stack.counters().keepalive_probes, 0);
    }
}

#[test]
fn a_syn_is_given_up_after_131_s() {
    let mut rig = Start::SynSent.rig(Setup::default());
    let since = rig.now;
    rig.advance(ms(130_999));
    let at: Vec<_> = times(&mut rig, since, "SYN -1(0)").iter().map(|at| at / 1000).collect();
    assert_eq!(at, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    rig.expect_state(State::SynSent);
    rig.advance(ms(1));
    rig.expect_gone();
    assert_eq!(rig.read(), Err(Error::TimedOut(Timeout::Syn)));
    assert_eq!(rig.read(), Ok(vec![]));
    rig.expect_all_freed();
}

#[test]
fn few_syn_retries_end_when_so_many_doublings_would() {
    // Five expiries without back-off come before the first doubling.
    for (retries, end, repeats) in
        [(1, 3, &[1, 2][..]), (2, 7, &[1, 2, 3, 4, 5]), (3, 19, &[1, 2, 3, 4, 5, 7, 11])]
    {
        let mut rig = Start::SynSent.rig(Setup::default().with(|config| config.tcp.syn_retries = retries));
        let since = rig.now;
        rig.advance(s(end) - ms(1));
        let at: Vec<_> = times(&mut rig, since, "SYN -1(0)").iter().map(|at| at / 1000).collect();
        assert_eq!(at, repeats, "{retries}");
        rig.expect_state(State::SynSent);
        rig.advance(ms(1));
        rig.expect_gone();
        assert_eq!(rig.read(), Err(Error::TimedOut(Timeout::Syn)));
    }
}

#[test]
fn a_syn_ack_is_given_up_after_63_s_and_that_of_crossed_syns_after_127() {
    // tcp_synack_retries is the listener's; crossed SYNs have the patience of a SYN.
    for (start, repeats) in [(Start::NewSynRecv, 5), (Start::SynReceived, 6)] {
        let mut rig = start.rig(Setup::default());
        let since = rig.now;
        rig.advance(s((2 << repeats) - 1) - ms(1));
        let at: Vec<_> = times(&mut rig, since, "SYN,ACK -1(0) ack 0").iter().map(|at| at / 1000).collect();
        let wanted: Vec<u64> = (1..=repeats).map(|n| (1 << n) - 1).collect();
        assert_eq!(at, wanted, "{start:?}");
        assert_eq!(rig.state(), start.state());
        rig.advance(ms(1));
        rig.expect_nothing();
        rig.expect_gone();
        rig.expect_all_freed();
    }
}

/// Holds: MUST-25
#[test]
fn owned_half_closed_and_idle_connections_have_no_timer() {
    // What is owned may last; the watchdog of CLOSE_WAIT only tells.
    for start in [Start::Established, Start::FinWait2, Start::CloseWait] {
        let mut rig = start.rig(Setup::default().with(|config| config.tcp.close_wait_watchdog = None));
        rig.advance(s(5));
        assert_eq!(rig.stack.next_timeout(), None, "{start:?}");
        rig.advance(s(1_000_000));
        assert_eq!(rig.state(), start.state());
        rig.expect_nothing();
    }
}

#[test]
fn a_retransmission_that_gives_up_reports_the_icmp_error_it_saw() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"hello").unwrap();
    rig.icmp("host", 0, 0);
    rig.expect_state(State::Established);
    rig.advance(s(926));
    rig.expect_gone();
    assert_eq!(rig.take_error(), Some(Error::HostUnreachable));
    rig.expect_all_freed();
}

#[test]
fn an_orphan_at_its_limit_dies_at_its_timer_with_a_rst() {
    // The limit is checked at each RTO of an orphan.
    let setup = Setup::default().with(|config| config.tcp.max_orphans = 1);
    let mut rig = Rig::new(setup);
    rig.open();
    let first = rig.peer;
    rig.close();
    rig.take();
    // An ICMP error makes it weigh double.
    rig.icmp("host", 0, 0);
    rig.advance(ms(201));
    let sent = rig.take();
    assert!(sent.iter().any(|text| text.starts_with("RST,ACK")), "{sent:?}");
    assert_eq!(rig.stack.tcp_record_state(rig.local, first), None);
    assert_eq!(rig.stack.counters().abort_on_memory, 1);
    rig.expect_all_freed();
}

#[test]
fn no_duplicate_ack_or_icmp_makes_a_syn_come_again_as_text() {
    let mut rig = Start::SynReceived.rig(Setup::default());
    rig.close();
    rig.expect("FIN,ACK 0(0) ack 0");
    for _ in 0..6 {
        rig.inject(seg("ACK", 0, -1));
    }
    rig.icmp("big", 900, -1);
    for text in rig.take() {
        assert_eq!(text, "FIN,ACK 0(0) ack 0");
    }
    rig.advance(s(300));
    assert!(rig.take().iter().all(|text| text == "SYN,ACK -1(0) ack 0"));
    rig.expect_all_freed();
}

/// A peer that takes one byte a minute out of what a closed connection still owes.
fn drip(lifetime: Option<Duration>) -> Rig {
    let mut rig =
        Start::Established.rig(Setup::default().with(|config| config.tcp.orphan_lifetime = lifetime));
    rig.write_len(1000);
    rig.take();
    rig.close();
    for byte in 1..=20 {
        rig.advance(s(60));
        if rig.stack.counts().orphans == 0 {
            break;
        }
        rig.inject(seg("ACK", 0, byte));
    }
    rig
}

#[test]
fn an_orphan_whose_peer_takes_a_byte_a_minute_lives_as_long_as_it_makes_progress() {
    let mut rig = drip(None);
    rig.expect_state(State::FinWait1);
    rig.take();
}

#[test]
fn an_orphan_ends_after_its_configured_lifetime_whatever_its_peer_acknowledges() {
    let mut rig = drip(Some(s(300)));
    rig.expect_gone();
    let sent = rig.take();
    assert!(sent.last().is_some_and(|last| last.starts_with("RST,ACK")), "{sent:?}");
    rig.expect_all_freed();
}

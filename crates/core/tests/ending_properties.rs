//! Properties of all endings: nothing without an owner lasts, whatever happened before and whatever the peer does; no
//! segment makes the stack panic; no state changes by an arrow that the table does not have.

mod common;
use common::schedule::{Step, cases, expected, seen, segment, setups, step, take};
use common::*;
use lastack_core::{Counts, Error};
use proptest::prelude::*;
use proptest::sample::select;

/// What the peer does after the application has let go.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Silent,
    /// Acknowledges what was received, with this window; never closes.
    OnlyAcks(u16),
    /// Sends the same garbage once a second; it acknowledges nothing new.
    Garbage,
    /// Acknowledges one byte more each second, which Linux takes for progress.
    Drip,
}

/// Orphans, FIN_WAIT_2 and TIME_WAIT one after the other, each with a last timer of 120 s on its way.
const BOUND: Duration = s(900);

/// `TcpConfig::orphan_lifetime` in the property with a configured bound.
const LIFETIME: Duration = s(30);

/// What the configuration promises with it: the lifetime, a FIN_WAIT_2 (`TCP_LINGER2` may ask for 100 s here),
/// TIME_WAIT with its two restarts, and one second as the step of the clock here.
const CONFIGURED_BOUND: Duration = s(30 + 100 + 3 * 60 + 1);

fn let_go(rig: &mut Rig, abort: bool) {
    if let Some(h) = rig.socket.take() {
        if abort {
            rig.stack.tcp_abort(rig.now, h);
        } else {
            rig.stack.tcp_close(rig.now, h);
        }
    }
    if let Some(h) = rig.listener.take() {
        rig.stack.tcp_close(rig.now, h);
    }
    rig.pump();
}

fn outlast(rig: &mut Rig, peer: Peer, garbage: &[Step]) {
    // A peer that takes what is owed drop by drop is given the time that this needs: progress is no stall.
    let owed: usize = rig.stack.orphans().map(|orphan| orphan.undelivered).sum();
    let drip = if matches!(peer, Peer::OnlyAcks(1..100)) { s(3) * owed as u32 } else { Duration::ZERO };
    let configured = rig.setup.config.tcp.orphan_lifetime.is_some();
    let bound = if configured { CONFIGURED_BOUND } else { BOUND + drip };
    let end = rig.now + bound;
    let mut n = 0;
    while rig.now < end && rig.stack.counts() != Counts::default() {
        match peer {
            Peer::Silent => {}
            Peer::OnlyAcks(window) => {
                if !rig.sent.is_empty() {
                    let (seq, ack) = (expected(rig), seen(rig));
                    rig.sent.clear();
                    rig.inject(seg("ACK", seq, ack).win(window));
                }
            }
            Peer::Drip => {
                let seq = expected(rig);
                rig.inject(seg("ACK", seq, n as i64));
                n += 1;
            }
            Peer::Garbage => {
                if let Some(step) = garbage.get(n % garbage.len().max(1)) {
                    take(rig, step);
                }
                n += 1;
                rig.sent.clear();
            }
        }
        rig.advance(s(1));
    }
    // What a stranger opened needs a listener, and there is none.
    assert_eq!(rig.stack.counts(), Counts::default(), "{peer:?}: left behind after {bound:?}");
    rig.advance(s(31));
    assert!(rig.stack.is_idle());
    assert_eq!(rig.stack.next_timeout(), None);
}

/// Each record but CLOSED, LISTEN, an owned FIN_WAIT_2 and an idle open connection waits for a timer.
fn must_have_a_timer(rig: &Rig) -> bool {
    let owed = rig.socket.map_or(0, |h| rig.stack.tcp_unacked(h));
    match rig.state() {
        None | Some(State::Closed | State::Listen) => false,
        Some(State::FinWait2) => rig.socket.is_none(),
        Some(State::Established | State::CloseWait) => owed > 0,
        Some(_) => true,
    }
}

fn gave_up(pair: &Pair) -> bool {
    pair.a.counters().abort_on_timeout + pair.b.counters().abort_on_timeout > 0
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn what_nobody_owns_ends(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..12),
        abort in any::<bool>(),
        peer in select(&[
            Peer::Silent, Peer::OnlyAcks(65_535), Peer::OnlyAcks(0), Peer::OnlyAcks(1), Peer::Garbage,
        ][..]),
        garbage in proptest::collection::vec(segment(), 1..5),
    ) {
        let mut rig = start.rig(setup);
        // P3: no text that was not written, none after the FIN.
        rig.check_text = rig.socket.is_some();
        for step in &steps {
            take(&mut rig, step);
        }
        let_go(&mut rig, abort);
        outlast(&mut rig, peer, &garbage);
    }

    #[test]
    fn what_nobody_owns_ends_within_the_configured_bound_whatever_the_peer_does(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..12),
        abort in any::<bool>(),
        peer in select(&[
            Peer::Silent, Peer::OnlyAcks(65_535), Peer::OnlyAcks(0), Peer::OnlyAcks(1), Peer::Garbage, Peer::Drip,
            Peer::Drip,
        ][..]),
        garbage in proptest::collection::vec(segment(), 1..8),
    ) {
        // P1, with the bound that the configuration states.
        let mut rig = start.rig(setup.with(|config| config.tcp.orphan_lifetime = Some(LIFETIME)));
        for step in &steps {
            take(&mut rig, step);
        }
        let_go(&mut rig, abort);
        outlast(&mut rig, peer, &garbage);
    }

    #[test]
    fn no_schedule_makes_the_stack_panic_or_take_an_illegal_arrow(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut rig = start.rig(setup);
        if rig.listener.is_none() && start == Start::Nothing {
            rig.listen(4);
        }
        rig.check_text = rig.socket.is_some();
        for step in &steps {
            take(&mut rig, step);
            if rig.socket.is_none() && let Some(h) = rig.listener {
                rig.socket = rig.stack.tcp_accept(h).ok();
            }
            prop_assert!(!must_have_a_timer(&rig) || rig.stack.next_timeout().is_some(), "no timer after {:?}", step);
        }
        prop_assert_eq!(rig.stack.counters().illegal_transitions, 0);
        prop_assert_eq!(rig.stack.counters().stale_handles, 0);
    }

    #[test]
    fn a_reset_is_never_answered_but_by_a_limited_ack(
        setup in setups(),
        start in select(&Start::ALL[..]),
        seq in -3i64..400_000,
        ack in -3i64..5,
        len in 0usize..3,
        both in any::<bool>(),
    ) {
        // P6. SYN_SENT may repeat its SYN.
        let mut rig = start.rig(setup);
        rig.inject(seg(if both { "RST,ACK" } else { "RST" }, seq, ack).len(len));
        for sent in &rig.sent {
            let bare_ack = sent.flags == Flags::ACK && sent.payload.is_empty();
            prop_assert!(bare_ack || (start == Start::SynSent && sent.flags == Flags::SYN), "{}", sent);
        }
        prop_assert!(rig.sent.len() <= 1);
    }

    #[test]
    fn read_gives_text_then_an_end_and_never_text_again(
        setup in setups(),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        // P10.
        let mut rig = Start::Established.rig(setup);
        let mut ended = false;
        let mut dead = false;
        for step in &steps {
            take(&mut rig, step);
            let shut_by_us = matches!(step, Step::Shutdown(0 | 2));
            match rig.read() {
                Ok(text) if text.is_empty() => ended |= !shut_by_us && rig.app_state() == State::Closed,
                Ok(_) => prop_assert!(!ended, "text after the end"),
                Err(Error::WouldBlock) => prop_assert!(!ended),
                Err(_) => ended = true,
            }
            match rig.write(b"y") {
                Ok(_) => prop_assert!(!dead, "written after EPIPE"),
                Err(Error::BrokenPipe) => dead = true,
                Err(_) => {}
            }
        }
    }

    #[test]
    fn text_written_before_close_arrives_once_and_whole_or_the_peer_sees_an_error(
        seed in any::<u64>(),
        loss in 0u64..30,
        amount in 1usize..30_000,
        reply in 0usize..3000,
        server_first in any::<bool>(),
    ) {
        // P4, P5: two stacks, a line that loses, repeats and reorders.
        let mut pair = Pair::new(&lastack_core::Config::default(), ms(5));
        let (client, listener, server) = pair.connected_with_listener();
        let mut random = seed | 1;
        pair.rule(move |_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 100 {
                n if n < loss => Fate::Drop,
                n if n < loss + 5 => Fate::Delay(ms(random % 50)),
                n if n < loss + 10 => Fate::Duplicate(ms(random % 50)),
                _ => Fate::Deliver,
            }
        });
        let text: Vec<u8> = (0..amount).map(|i| (i % 251) as u8).collect();
        let back: Vec<u8> = (0..reply).map(|i| (i % 241) as u8).collect();
        let now = pair.now;
        prop_assert_eq!(pair.a.tcp_write(now, client, &text), Ok(amount));
        if reply > 0 {
            prop_assert_eq!(pair.b.tcp_write(now, server, &back), Ok(reply));
        }
        let mut open = [true, true];
        let mut received = [Vec::new(), Vec::new()];
        let mut ended = [false, false];
        let mut failed = [false, false];
        if server_first {
            pair.b.tcp_shutdown(now, server, Shutdown::Write).unwrap();
        } else {
            pair.a.tcp_shutdown(now, client, Shutdown::Write).unwrap();
        }
        for _ in 0..40_000 {
            for (i, side, h) in [(0, Side::A, client), (1, Side::B, server)] {
                let mut buf = [0; 4096];
                let now = pair.now;
                while open[i] && !ended[i] {
                    let over = gave_up(&pair);
                    match pair.stack(side).tcp_read(now, h, &mut buf) {
                        Ok(0) => {
                            ended[i] = true;
                            pair.stack(side).tcp_close(now, h);
                            open[i] = false;
                        }
                        Ok(n) => received[i].extend_from_slice(&buf[..n]),
                        // A closed side that met too much loss gives up without a word; its peer can
                        // only be ended by its owner.
                        Err(Error::WouldBlock) if !over => break,
                        Err(_) => {
                            failed[i] = true;
                            ended[i] = true;
                            pair.stack(side).tcp_close(now, h);
                            open[i] = false;
                        }
                    }
                }
            }
            if ended == [true, true] {
                break;
            }
            pair.run(ms(100));
        }
        prop_assert_eq!(ended, [true, true], "it never ends");
        prop_assert!(text.starts_with(&received[1]) && back.starts_with(&received[0]));
        prop_assert!(failed[1] || received[1] == text, "{} of {amount} bytes, then an end of file", received[1].len());
        prop_assert!(failed[0] || received[0] == back);
        let now = pair.now;
        pair.b.tcp_close(now, listener);
        pair.run(BOUND);
        prop_assert_eq!(pair.a.counts(), Counts::default());
        prop_assert_eq!(pair.b.counts(), Counts::default());
    }
}

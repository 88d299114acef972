//! What the application sees of each ending: read, write, shutdown, SO_ERROR and poll, row by row.

mod common;
use common::*;
use lastack_core::Event;

const I: Ready = Ready::IN;
const O: Ready = Ready::OUT;
const R: Ready = Ready::RDHUP;
const H: Ready = Ready::HUP;
const E: Ready = Ready::ERR;

#[test]
fn never_connected() {
    let mut rig = Start::Closed.rig(Setup::default());
    assert_eq!(rig.read(), Err(Error::NotConnected));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Err(Error::NotConnected));
    assert_eq!(rig.take_error(), None);
    assert_eq!(rig.ready(), O | H);
}

#[test]
fn listening() {
    let mut rig = Start::Listen.rig(Setup::default());
    rig.socket = rig.listener;
    assert_eq!(rig.read(), Err(Error::NotConnected));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Ok(()));
    assert_eq!(rig.take_error(), None);
    assert_eq!(rig.ready(), Ready::empty());
    rig.peer_syn();
    assert_eq!(rig.ready(), Ready::empty());
    rig.inject(seg("ACK", 0, 0));
    assert_eq!(rig.ready(), I);
}

#[test]
fn connecting() {
    for start in [Start::SynSent, Start::SynReceived] {
        let mut rig = start.rig(Setup::default());
        assert_eq!(rig.read(), Err(Error::WouldBlock));
        assert_eq!(rig.write(b"x"), Err(Error::WouldBlock));
        assert_eq!(rig.take_error(), None);
        assert_eq!(rig.ready(), Ready::empty(), "{start:?}");
    }
    // The attempt is dropped.
    let mut rig = Start::SynSent.rig(Setup::default());
    assert_eq!(rig.shutdown(Shutdown::Write), Ok(()));
    rig.expect_gone();
}

/// A dead connection whose error nobody has seen: each call may be the one that gets it, once.
fn dead(make: impl Fn() -> Rig, error: Error) {
    let mut rig = make();
    assert_eq!(rig.ready(), I | O | R | H | E);
    assert_eq!(rig.read(), Err(error));
    assert_eq!(rig.ready(), I | O | R | H);
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.take_error(), None);
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    let mut rig = make();
    assert_eq!(rig.write(b"x"), Err(error));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.read(), Ok(vec![]));
    let mut rig = make();
    assert_eq!(rig.take_error(), Some(error));
    assert_eq!(rig.take_error(), None);
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    let mut rig = make();
    assert_eq!(rig.shutdown(Shutdown::Write), Err(Error::NotConnected));
    assert_eq!(rig.shutdown(Shutdown::Both), Err(Error::NotConnected));
    assert_eq!(rig.app_state(), State::Closed);
    rig.expect_all_freed();
}

/// Holds: R5961-5
#[test]
fn connect_refused() {
    dead(
        || {
            let mut rig = Start::SynSent.rig(Setup::default());
            rig.inject(seg("RST,ACK", -1, 0));
            rig
        },
        Error::ConnectionRefused,
    );
}

#[test]
fn connect_timed_out() {
    dead(
        || {
            let mut rig = Start::SynSent.rig(Setup::default());
            rig.advance(s(131));
            rig.take();
            rig
        },
        Error::TimedOut(Timeout::Syn),
    );
}

#[test]
fn connect_unreachable() {
    for (kind, error) in [
        ("port", Error::ConnectionRefused),
        ("net", Error::NetworkUnreachable),
        ("host", Error::HostUnreachable),
        ("ttl", Error::HostUnreachable),
        ("protocol", Error::ProtocolUnreachable),
        ("parameter", Error::Protocol),
    ] {
        dead(
            || {
                let mut rig = Start::SynSent.rig(Setup::default());
                rig.icmp(kind, 0, -1);
                rig
            },
            error,
        );
    }
}

#[test]
fn established() {
    let mut rig = Start::Established.rig(Setup::default());
    assert_eq!(rig.ready(), O);
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.inject(seg("ACK", 0, 0).data(b"abc"));
    assert_eq!(rig.ready(), O | I);
    assert_eq!(rig.read(), Ok(b"abc".to_vec()));
    assert_eq!(rig.write(b"x"), Ok(1));
    assert_eq!(rig.take_error(), None);
}

/// Holds: MUST-12
#[test]
fn peer_sent_fin() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 0).data(b"abc"));
    assert_eq!(rig.ready(), I | R | O);
    assert_eq!(rig.read(), Ok(b"abc".to_vec()));
    for _ in 0..3 {
        assert_eq!(rig.read(), Ok(vec![]));
    }
    assert_eq!(rig.ready(), I | R | O);
    assert_eq!(rig.write(b"x"), Ok(1));
    assert_eq!(rig.shutdown(Shutdown::Write), Ok(()));
    rig.expect_state(State::LastAck);
    assert_eq!(rig.ready(), I | R | H | O);
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Ok(()));
    assert_eq!(rig.take_error(), None);
}

#[test]
fn we_shut_write() {
    for start in [Start::FinWait1, Start::FinWait2] {
        let mut rig = start.rig(Setup::default());
        assert_eq!(rig.ready(), O, "{start:?}");
        assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
        assert_eq!(rig.read(), Err(Error::WouldBlock));
        assert_eq!(rig.shutdown(Shutdown::Write), Ok(()));
        assert_eq!(rig.take_error(), None);
        rig.inject(seg("ACK", 0, 1).data(b"late"));
        assert_eq!(rig.ready(), O | I);
        assert_eq!(rig.read(), Ok(b"late".to_vec()));
    }
}

#[test]
fn we_shut_read() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"early"));
    rig.shutdown(Shutdown::Read).unwrap();
    assert_eq!(rig.ready(), I | R | O);
    assert_eq!(rig.read(), Ok(b"early".to_vec()));
    assert_eq!(rig.read(), Ok(vec![]));
    rig.take();
    rig.inject(seg("ACK", 5, 0).data(b"later"));
    rig.advance(ms(200));
    rig.expect("ACK 0(0) ack 10");
    assert_eq!(rig.read(), Ok(b"later".to_vec()));
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Ok(1));
    rig.expect_state(State::Established);
}

#[test]
fn we_shut_both() {
    // Unread text does not turn this into a RST.
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"queued"));
    rig.take();
    rig.shutdown(Shutdown::Both).unwrap();
    rig.expect("FIN,ACK 0(0) ack 6");
    rig.expect_state(State::FinWait1);
    assert_eq!(rig.ready(), I | R | H | O);
    assert_eq!(rig.read(), Ok(b"queued".to_vec()));
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Both), Ok(()));
    assert_eq!(rig.take_error(), None);
}

#[test]
fn text_after_both_directions_were_shut_resets() {
    // S12, n20: new text only; what was received before does no harm.
    for (fin_acked, order) in [(0, 0), (1, 0), (0, 100), (1, 100)] {
        let mut rig = Start::Established.rig(Setup::default());
        rig.inject(seg("ACK", 0, 0).len(10));
        rig.read().unwrap();
        rig.shutdown(Shutdown::Both).unwrap();
        rig.take();
        rig.inject(seg("ACK", 0, fin_acked).len(10));
        assert!(rig.state().is_some());
        rig.take();
        rig.inject(seg("ACK", 10 + order, fin_acked).len(5));
        rig.expect(&format!("RST {fin_acked}(0)"));
        rig.expect_gone();
        assert_eq!(rig.take_error(), Some(Error::ConnectionReset));
        assert_eq!(rig.stack.counters().abort_on_data, 1);
        rig.expect_all_freed();
    }
}

#[test]
fn both_fins_in_closing_last_ack_and_time_wait() {
    for start in [Start::Closing, Start::LastAck, Start::TimeWait] {
        let mut rig = start.rig(Setup::default());
        assert_eq!(rig.ready(), I | R | H | O, "{start:?}");
        assert_eq!(rig.read(), Ok(vec![]));
        assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
        let wanted = if start == Start::TimeWait { Err(Error::NotConnected) } else { Ok(()) };
        assert_eq!(rig.shutdown(Shutdown::Write), wanted, "{start:?}");
        assert_eq!(rig.take_error(), None);
    }
}

#[test]
fn a_socket_in_last_ack_ends_without_an_error() {
    let mut rig = Start::LastAck.rig(Setup::default());
    rig.inject(seg("ACK", 1, 1));
    rig.expect_gone();
    assert_eq!(rig.app_state(), State::Closed);
    assert_eq!(rig.ready(), I | R | H | O);
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Err(Error::NotConnected));
    assert_eq!(rig.take_error(), None);
}

/// Holds: MUST-12
#[test]
fn reset() {
    dead(
        || {
            let mut rig = Start::Established.rig(Setup::default());
            rig.inject(seg("RST", 0, 0));
            rig
        },
        Error::ConnectionReset,
    );
}

#[test]
fn reset_with_unread_text() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"still good"));
    rig.write(b"never acknowledged").unwrap();
    rig.inject(seg("RST", 10, 0));
    assert_eq!(rig.read(), Ok(b"still good".to_vec()));
    assert_eq!(rig.read(), Err(Error::ConnectionReset));
    assert_eq!(rig.read(), Ok(vec![]));
    rig.expect_all_freed();
}

#[test]
fn peek_shows_the_error_without_taking_it() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("RST", 0, 0));
    let h = rig.h();
    for _ in 0..2 {
        assert_eq!(rig.stack.tcp_peek(h, &mut [0; 1]), Err(Error::ConnectionReset));
    }
    assert_eq!(rig.read(), Err(Error::ConnectionReset));
    assert_eq!(rig.stack.tcp_peek(h, &mut [0; 1]), Ok(0));
}

#[test]
fn reset_after_the_peers_fin() {
    // The end of file wins in read.
    let make = || {
        let mut rig = Start::Established.rig(Setup::default());
        rig.inject(seg("FIN,ACK", 0, 0).data(b"end"));
        rig.inject(seg("RST", 4, 0));
        rig.expect_gone();
        rig
    };
    let mut rig = make();
    assert_eq!(rig.ready(), I | O | R | H | E);
    assert_eq!(rig.read(), Ok(b"end".to_vec()));
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.take_error(), Some(Error::BrokenPipe));
    assert_eq!(rig.take_error(), None);
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Err(Error::NotConnected));
    let mut rig = make();
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
}

/// Holds: MUST-20
#[test]
fn retransmission_gave_up() {
    dead(
        || {
            let mut rig = Start::Established.rig(Setup::default());
            rig.write(b"into the void").unwrap();
            rig.advance(s(926));
            rig.take();
            rig.expect_gone();
            rig
        },
        Error::TimedOut(Timeout::Retransmission),
    );
}

#[test]
fn retransmission_gave_up_with_unread_text() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"abc"));
    rig.write(b"into the void").unwrap();
    rig.advance(s(926));
    assert_eq!(rig.read(), Ok(b"abc".to_vec()));
    assert_eq!(rig.read(), Err(Error::TimedOut(Timeout::Retransmission)));
    assert_eq!(rig.read(), Ok(vec![]));
}

#[test]
fn accepted_after_the_peers_rst() {
    // Linux hands the dead socket out.
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(16);
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0).data(b"abc"));
    rig.inject(seg("RST", 3, 0));
    rig.expect_gone();
    rig.socket = Some(rig.stack.tcp_accept(listener).unwrap());
    assert_eq!(rig.ready(), I | O | R | H | E);
    assert_eq!(rig.read(), Ok(b"abc".to_vec()));
    assert_eq!(rig.read(), Err(Error::ConnectionReset));
    rig.expect_all_freed();
}

#[test]
fn a_dead_child_that_nobody_accepts_goes_with_its_listener() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(16);
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0).data(b"abc"));
    rig.inject(seg("RST", 3, 0));
    rig.take();
    rig.close_listener();
    rig.expect_nothing();
    rig.expect_all_freed();
}

/// Whether the events since the last look contain these flags of the socket.
fn signalled(rig: &mut Rig, flags: Ready) -> bool {
    let h = rig.h();
    let events = core::mem::take(&mut rig.events);
    let of_h = events.into_iter().filter_map(|event| match event {
        lastack_core::Event::Tcp(of, ready) if of == h => Some(ready),
        _ => None,
    });
    of_h.fold(Ready::empty(), |all, ready| all | ready).contains(flags)
}

#[test]
fn every_ending_wakes_its_owner() {
    // P11.
    for start in [
        Start::SynSent,
        Start::SynReceived,
        Start::Established,
        Start::FinWait1,
        Start::FinWait2,
        Start::Closing,
        Start::CloseWait,
        Start::LastAck,
    ] {
        let mut rig = start.rig(Setup::default());
        rig.inject(seg("RST,ACK", start.rcv_nxt(), start.snd_una().max(0)));
        rig.expect_gone();
        assert!(signalled(&mut rig, I | O | R | H | E), "{start:?}");
    }
}

/// Holds: U9293-15
#[test]
fn each_fin_wakes_its_reader() {
    for start in [Start::Established, Start::FinWait1, Start::FinWait2] {
        let mut rig = start.rig(Setup::default());
        rig.inject(seg("FIN,ACK", 0, start.snd_una().max(0)));
        let shut = start != Start::Established;
        assert!(signalled(&mut rig, if shut { I | R | H } else { I | R }), "{start:?}");
    }
    let mut rig = Start::LastAck.rig(Setup::default());
    rig.inject(seg("ACK", 1, 1));
    assert!(signalled(&mut rig, H));
}

#[test]
fn timers_wake_the_owner_of_what_they_end() {
    let mut rig = Start::FinWait1.rig(Setup::default());
    rig.advance(s(926));
    assert!(signalled(&mut rig, I | O | R | H | E));
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::KeepAlive(true));
    rig.advance(s(8000));
    assert!(signalled(&mut rig, I | O | R | H | E));
}

#[test]
fn closing_of_the_own_side_is_seen_in_the_history() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 1));
    let seen: Vec<_> = rig.history().iter().map(|t| (t.to, t.cause, t.initiator)).collect();
    assert_eq!(
        seen,
        [
            (State::SynSent, Cause::Connect, Initiator::Local),
            (State::Established, Cause::Handshake, Initiator::Peer),
            (State::FinWait1, Cause::Shutdown, Initiator::Local),
            (State::FinWait2, Cause::FinAcked, Initiator::Peer),
            (State::TimeWait, Cause::Fin, Initiator::Peer),
        ]
    );
}

/// The socket's events that say that it is overdue.
fn overdue(rig: &mut Rig) -> usize {
    let events = rig.events.drain(..);
    events.filter(|event| matches!(event, Event::Tcp(_, ready) if ready.contains(Ready::OVERDUE))).count()
}

#[test]
fn an_owner_that_does_not_close_after_the_peer_is_reminded_once() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 0));
    rig.advance(s(60) - ms(1));
    assert_eq!(overdue(&mut rig), 0);
    rig.advance(ms(2));
    assert_eq!(overdue(&mut rig), 1);
    assert_eq!(rig.stack.counters().close_wait_overdue, 1);
    assert!(!rig.ready().contains(Ready::OVERDUE));
    rig.advance(s(1000));
    assert_eq!(overdue(&mut rig), 0);
    rig.expect_state(State::CloseWait);
}

#[test]
fn an_owner_that_closes_or_still_sends_is_not_reminded() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 0));
    rig.advance(s(30));
    rig.shutdown(Shutdown::Write).unwrap();
    rig.advance(s(90));
    assert_eq!(overdue(&mut rig), 0);

    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 0));
    for sent in 1..5 {
        rig.advance(s(50));
        rig.write(b"x").unwrap();
        rig.inject(seg("ACK", 1, sent));
    }
    assert_eq!(overdue(&mut rig), 0);
    rig.advance(s(61));
    assert_eq!(overdue(&mut rig), 1);
}

#[test]
fn the_reminder_can_be_turned_off() {
    let setup = Setup::default().with(|config| config.tcp.close_wait_watchdog = None);
    let mut rig = Start::CloseWait.rig(setup);
    rig.advance(s(10_000));
    assert_eq!(overdue(&mut rig), 0);
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_reminded_of_after_its_accept() {
    let mut rig = Rig::new(Setup::default());
    let listener = rig.listen(4);
    rig.peer_syn();
    rig.inject(seg("ACK", 0, 0));
    rig.inject(seg("FIN,ACK", 0, 0));
    rig.advance(s(90));
    rig.socket = Some(rig.stack.tcp_accept(listener).unwrap());
    assert_eq!(overdue(&mut rig), 0);
    rig.advance(s(60));
    assert_eq!(overdue(&mut rig), 1);
}

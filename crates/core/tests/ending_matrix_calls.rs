//! Every call of the application in every state: next state, what goes out, what the call returns.

mod common;
use common::matrix::{rows, run_row};
use common::*;

/// The table of the packetdrill scripts, which both lastack and the running kernel have to pass.
const TABLE: &str = include_str!("../../../tests/packetdrill/matrix/calls.txt");

/// Runs a row of the table in each setup.
fn check_row(id: &str, event: impl Fn(Start, &mut Rig)) {
    let found = rows(TABLE).find(|[name, ..]| name.split_whitespace().next() == Some(id));
    let [name, _, cells] = found.unwrap_or_else(|| panic!("no row {id}"));
    // Nobody can call for what nobody owns.
    check(name, &format!("{cells} | F1o,CGo,LAo = -"), event);
}

/// Runs an event that is no segment in each cell of a row.
fn check(name: &str, row: &str, event: impl Fn(Start, &mut Rig)) {
    let mut failures = Vec::new();
    for setup in [Setup::default(), Setup::v6(), Setup::modern()] {
        let cells = run_row(
            name,
            &setup,
            row,
            |start, rig| {
                event(start, rig);
                None
            },
            &mut failures,
        );
        assert!(cells > 0);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Only states with a handle; orphans and records without one have no calls.
const HELD: [Start; 11] = [
    Start::Closed,
    Start::SynSent,
    Start::SynReceived,
    Start::Established,
    Start::FinWait1,
    Start::FinWait2,
    Start::Closing,
    Start::TimeWait,
    Start::CloseWait,
    Start::LastAck,
    Start::Listen,
];

fn unless_orphan(start: Start, rig: &mut Rig, event: impl Fn(&mut Rig)) {
    if start.is_owned() {
        event(rig);
    }
}

/// Holds: U9293-6, U9293-7
#[test]
fn close_in_every_state() {
    // L1. An orphan's cells are those where nothing happens.
    check_row("L1", |start, rig| unless_orphan(start, rig, Rig::close));
}

/// Holds: SHLD-3, R2525-3
#[test]
fn close_with_unread_text_in_every_state_that_can_have_it() {
    // L2: unread text makes close an abort, also in CLOSING and LAST_ACK.
    let mut failures = Vec::new();
    for start in [
        Start::Established,
        Start::FinWait1,
        Start::FinWait2,
        Start::Closing,
        Start::CloseWait,
        Start::LastAck,
        Start::TimeWait,
    ] {
        let mut rig = Rig::new(Setup::default());
        rig.open();
        rig.inject(seg("ACK", 0, 0).len(5));
        let fin = start.rcv_nxt() == 1;
        let passive = matches!(start, Start::CloseWait | Start::LastAck);
        if fin && passive {
            rig.inject(seg("FIN,ACK", 5, 0));
        }
        if !matches!(start, Start::Established | Start::CloseWait) {
            rig.shutdown(Shutdown::Write).unwrap();
        }
        match start {
            Start::FinWait2 => rig.inject(seg("ACK", 5, 1)),
            Start::Closing => rig.inject(seg("FIN,ACK", 5, 0)),
            Start::TimeWait => rig.inject(seg("FIN,ACK", 5, 1)),
            _ => {}
        }
        assert_eq!(rig.state(), start.state());
        rig.take();
        rig.close();
        let wanted: Vec<String> = if start == Start::TimeWait {
            vec![]
        } else {
            vec![format!("RST,ACK {}(0) ack {}", start.snd_nxt(), 5 + start.rcv_nxt())]
        };
        let got = rig.take();
        let next = if start == Start::TimeWait { Some(State::TimeWait) } else { None };
        if got != wanted || rig.state() != next {
            failures.push(format!("{start:?}: sent {got:?}, state {:?}", rig.state()));
        }
        assert_eq!(rig.stack.counters().abort_on_close, u64::from(start != Start::TimeWait), "{start:?}");
        rig.advance(s(61));
        rig.expect_all_freed();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_fin_alone_is_not_unread_text() {
    let mut rig = Start::CloseWait.rig(Setup::default());
    rig.close();
    rig.expect("FIN,ACK 0(0) ack 1");
    rig.expect_state(State::LastAck);
}

#[test]
fn text_out_of_order_is_not_unread_text() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 100, 0).len(50));
    rig.expect("ACK 0(0) ack 0");
    rig.close();
    rig.expect("FIN,ACK 0(0) ack 0");
}

#[test]
fn text_that_was_read_and_came_again_is_not_unread() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).len(50));
    rig.read().unwrap();
    rig.inject(seg("ACK", 0, 0).len(50));
    rig.take();
    rig.close();
    rig.expect("FIN,ACK 0(0) ack 50");
}

#[test]
fn close_with_linger_zero_in_every_state() {
    // L4.
    check_row("L4", |start, rig| {
        unless_orphan(start, rig, |rig| {
            rig.option(TcpOption::Linger(Some(Duration::ZERO)));
            rig.close();
        });
    });
}

#[test]
fn close_with_linger_time_is_a_close() {
    // L5: the core never waits; the front end does.
    check(
        "L5 close with linger 5 s",
        "SS gone - | SR F1 FIN | ES F1 FIN | F1 = - | F2 = - | CG = - | TW = - keep | CW LA FIN | LA = -",
        |start, rig| {
            unless_orphan(start, rig, |rig| {
                rig.option(TcpOption::Linger(Some(s(5))));
                rig.close();
            });
        },
    );
}

#[test]
fn shutdown_write_in_every_state() {
    // L6.
    check_row("L6", |start, rig| {
        unless_orphan(start, rig, |rig| {
            let result = rig.shutdown(Shutdown::Write);
            let wanted = if start == Start::TimeWait { Err(Error::NotConnected) } else { Ok(()) };
            assert_eq!(result, wanted, "{start:?}");
        });
    });
}

#[test]
fn shutdown_read_in_every_state() {
    // L7: the wire is silent.
    check_row("L7", |start, rig| {
        unless_orphan(start, rig, |rig| {
            let result = rig.shutdown(Shutdown::Read);
            let wanted = if start == Start::TimeWait { Err(Error::NotConnected) } else { Ok(()) };
            assert_eq!(result, wanted, "{start:?}");
        });
    });
}

#[test]
fn shutdown_both_in_every_state() {
    // L8: a FIN, never a RST.
    check_row("L8", |start, rig| {
        unless_orphan(start, rig, |rig| {
            let result = rig.shutdown(Shutdown::Both);
            let wanted = if start == Start::TimeWait { Err(Error::NotConnected) } else { Ok(()) };
            assert_eq!(result, wanted, "{start:?}");
        });
    });
}

/// Holds: U9293-8
#[test]
fn abort_in_every_state() {
    // L9.
    check_row("L9", |start, rig| unless_orphan(start, rig, Rig::abort));
}

#[test]
fn write_in_every_state() {
    // L12.
    for start in HELD {
        let mut rig = start.rig(Setup::default());
        if start == Start::Listen {
            rig.socket = rig.listener.take();
        }
        let wanted = match start {
            Start::SynSent | Start::SynReceived => Err(Error::WouldBlock),
            Start::Established | Start::CloseWait => Ok(5),
            _ => Err(Error::BrokenPipe),
        };
        assert_eq!(rig.write(b"hello"), wanted, "{start:?}");
    }
}

#[test]
fn read_in_every_state() {
    // L13.
    for start in HELD {
        let mut rig = start.rig(Setup::default());
        if start == Start::Listen {
            rig.socket = rig.listener.take();
        }
        let wanted = match start {
            Start::Closed | Start::Listen => Err(Error::NotConnected),
            Start::SynSent | Start::SynReceived | Start::Established | Start::FinWait1 | Start::FinWait2 => {
                Err(Error::WouldBlock)
            }
            _ => Ok(vec![]),
        };
        assert_eq!(rig.read(), wanted, "{start:?}");
        assert_eq!(rig.read(), wanted, "{start:?}, again");
    }
}

#[test]
fn calls_on_a_socket_that_was_never_connected() {
    let mut rig = Start::Closed.rig(Setup::default());
    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        assert_eq!(rig.shutdown(how), Err(Error::NotConnected));
    }
    rig.close();
    rig.expect_nothing();
    rig.expect_all_freed();
}

/// Holds: MAY-1
#[test]
fn calls_after_close_find_no_socket() {
    let mut rig = Start::Established.rig(Setup::default());
    let h = rig.h();
    rig.close();
    let (stack, now) = (&mut rig.stack, rig.now);
    assert_eq!(stack.tcp_read(now, h, &mut [0; 4]), Err(Error::BadHandle));
    assert_eq!(stack.tcp_write(now, h, b"x"), Err(Error::BadHandle));
    assert_eq!(stack.tcp_shutdown(now, h, Shutdown::Write), Err(Error::BadHandle));
    assert_eq!(stack.tcp_take_error(h), None);
    stack.tcp_close(now, h);
    stack.tcp_abort(now, h);
    rig.expect("FIN,ACK 0(0) ack 0");
    rig.expect_nothing();
    rig.expect_state(State::FinWait1);
}

/// Holds: U9293-6
#[test]
fn shutdown_in_syn_received_sends_the_fin_once_the_handshake_is_done() {
    let mut rig = Start::SynReceived.rig(Setup::default());
    rig.shutdown(Shutdown::Write).unwrap();
    rig.expect_nothing();
    rig.inject(seg("ACK", 0, 0));
    rig.expect("FIN,ACK 0(0) ack 0");
    rig.expect_state(State::FinWait1);
    rig.inject(seg("ACK", 0, 1).len(5));
    rig.expect_state(State::FinWait2);
}

#[test]
fn a_syn_ack_after_close_in_syn_sent_draws_a_rst() {
    // n2, W15.
    let mut rig = Start::SynSent.rig(Setup::default());
    rig.close();
    rig.expect_nothing();
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.expect("RST 0(0)");
    rig.expect_all_freed();
}

#[test]
fn close_of_a_listener_resets_children_and_forgets_requests() {
    // n1, W14. Three completed connections (one with text, one with a FIN) and a half-open one.
    let mut rig = Rig::new(Setup::default());
    rig.listen(16);
    let mut children = Vec::new();
    for kind in 0..3 {
        rig.peer_syn();
        rig.inject(seg("ACK", 0, 0));
        match kind {
            1 => rig.inject(seg("ACK", 0, 0).len(10)),
            2 => rig.inject(seg("FIN,ACK", 0, 0)),
            _ => {}
        }
        children.push((rig.peer, rig.iss));
        rig.advance(ms(300));
        rig.take();
        rig.next_peer();
    }
    rig.peer_syn();
    rig.advance(ms(300));
    rig.take();
    assert_eq!((rig.stack.counts().sockets, rig.stack.counts().requests), (4, 1));
    rig.close_listener();
    let resets: Vec<_> = rig.sent.drain(..).collect();
    assert_eq!(resets.len(), 3);
    for (sent, (peer, iss)) in resets.iter().zip(&children) {
        assert_eq!(sent.flags, flags("RST,ACK"));
        assert_eq!(sent.seq, *iss + 1);
        assert_eq!(rig.stack.tcp_record_state(rig.local, *peer), None);
    }
    assert_eq!(resets.iter().map(|sent| sent.rel_ack).collect::<Vec<_>>(), [0, 10, 1]);
    // The half-open peer is not told; its ACK finds nobody.
    rig.inject(seg("ACK", 0, 0));
    rig.expect("RST 0(0)");
    rig.expect_all_freed();
}

#[test]
fn a_listener_that_was_shut_for_reading_closes_and_may_listen_again() {
    let mut rig = Start::NewSynRecv.rig(Setup::default());
    let h = rig.listener.unwrap();
    assert_eq!(rig.stack.tcp_shutdown(rig.now, h, Shutdown::Write), Ok(()));
    assert_eq!(rig.stack.tcp_state(h), Some(State::Listen));
    assert_eq!(rig.stack.tcp_shutdown(rig.now, h, Shutdown::Read), Ok(()));
    assert_eq!(rig.stack.tcp_state(h), Some(State::Closed));
    rig.expect_gone();
    assert_eq!(rig.stack.tcp_ready(h), Ready::OUT | Ready::HUP);
    assert_eq!(rig.stack.tcp_read(rig.now, h, &mut [0; 1]), Err(Error::NotConnected));
    assert_eq!(rig.stack.tcp_shutdown(rig.now, h, Shutdown::Read), Err(Error::NotConnected));
    assert_eq!(rig.stack.tcp_write(rig.now, h, b"x"), Err(Error::BrokenPipe));
    // Refused, and remembered all the same, as on Linux.
    assert_eq!(rig.stack.tcp_read(rig.now, h, &mut [0; 1]), Ok(0));
    rig.inject(seg("SYN", -1, 0));
    rig.expect("RST,ACK #0(0) ack 0");
    // It listens again, on the same port.
    rig.stack.tcp_listen(rig.now, h, 4).unwrap();
    assert_eq!(rig.stack.tcp_local_addr(h).unwrap().port(), LOCAL_PORT);
    rig.peer_syn();
    rig.expect_state(State::NewSynRecv);
    rig.expect_all_freed();
}

/// Holds: U9293-7
#[test]
fn the_port_of_a_closed_listener_is_free_at_once() {
    let mut rig = Rig::new(Setup::default());
    rig.listen(4);
    rig.peer_syn();
    rig.close_listener();
    rig.listen(4);
    rig.next_peer();
    rig.peer_syn();
    rig.expect_state(State::NewSynRecv);
}

#[test]
fn orphans_over_the_limit_are_reset_at_close() {
    // T8.
    for start in [
        Start::Established,
        Start::CloseWait,
        Start::FinWait1,
        Start::FinWait2,
        Start::Closing,
        Start::LastAck,
    ] {
        let setup = Setup::default().with(|config| config.tcp.max_orphans = 0);
        let mut rig = start.rig(setup);
        rig.close();
        let sent = rig.take();
        assert!(
            sent.iter().any(|text| text.starts_with("RST,ACK")) || start == Start::FinWait2,
            "{start:?} {sent:?}"
        );
        if start != Start::FinWait2 {
            assert_eq!(rig.state(), None, "{start:?}");
            assert_eq!(rig.stack.counters().abort_on_memory, 1, "{start:?}");
        }
        rig.advance(s(61));
        rig.expect_all_freed();
    }
}

#[test]
fn beyond_the_time_wait_limit_no_record_is_made() {
    let setup = Setup::default().with(|config| config.tcp.max_time_wait = 0);
    let mut rig = Start::FinWait2.rig(setup.clone());
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect("ACK 1(0) ack 1");
    rig.expect_gone();
    assert_eq!(rig.stack.counters().time_wait_overflow, 1);
    assert_eq!(rig.read(), Ok(vec![]));
    rig.expect_all_freed();
    let mut rig = Start::FinWait1Orphan.rig(setup);
    rig.inject(seg("ACK", 0, 1));
    rig.expect_gone();
    assert_eq!(rig.stack.counters().time_wait_overflow, 1);
    rig.expect_all_freed();
}

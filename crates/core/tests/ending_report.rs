//! Who ended a connection, how, and what never arrived: the report of the end, and the end by an administrator.

mod common;
use common::*;
use lastack_core::{Ending, How};

/// The one report of the connection's end that the transitions carry.
#[track_caller]
fn told(rig: &Rig) -> Ending {
    let mut endings = rig.transitions.iter().filter_map(|event| event.ending);
    let ending = endings.next().expect("no transition carries a report");
    assert_eq!(endings.next(), None, "a connection ends once");
    ending
}

/// The report that the socket gives; the transition told the same.
#[track_caller]
fn report(rig: &Rig) -> Ending {
    let ending = rig.stack.tcp_close_report(rig.h()).expect("the connection has ended");
    let told = told(rig);
    assert_eq!(
        (ending.at, ending.began, ending.how, ending.cause),
        (told.at, told.began, told.how, told.cause)
    );
    ending
}

fn is(ending: Ending, began: Initiator, how: How, cause: Cause) -> bool {
    (ending.began, ending.how, ending.cause) == (began, how, cause)
}

#[test]
fn a_living_connection_has_no_report() {
    for start in Start::ALL.into_iter().filter(|start| start.is_owned()) {
        let rig = start.rig(Setup::default());
        let ended = start == Start::TimeWait;
        assert_eq!(rig.stack.tcp_close_report(rig.h()).is_some(), ended, "{start:?}");
    }
}

#[test]
fn the_side_whose_fin_came_first_began_a_graceful_end() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 1));
    assert!(is(report(&rig), Initiator::Local, How::Graceful, Cause::Fin));

    let mut rig = Start::LastAck.rig(Setup::default());
    rig.inject(seg("ACK", 1, 1));
    assert!(is(report(&rig), Initiator::Peer, How::Graceful, Cause::FinAcked));

    let mut rig = Start::Closing.rig(Setup::default());
    rig.inject(seg("ACK", 1, 1));
    assert!(is(report(&rig), Initiator::Local, How::Graceful, Cause::FinAcked));
}

#[test]
fn data_after_the_others_end_of_file_makes_it_half_closed() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.inject(seg("ACK", 0, 1).data(b"late"));
    rig.inject(seg("FIN,ACK", 4, 1));
    let ending = report(&rig);
    assert!(is(ending, Initiator::Local, How::HalfClosed, Cause::Fin));
    assert_eq!((ending.unacked, ending.unread), (0, 4));
    rig.read().unwrap();
    assert_eq!(report(&rig).unread, 0, "what was read since is not missing any more");

    let mut rig = Start::CloseWait.rig(Setup::default());
    rig.write(b"answer").unwrap();
    rig.shutdown(Shutdown::Write).unwrap();
    rig.inject(seg("ACK", 1, 7));
    assert!(is(report(&rig), Initiator::Peer, How::HalfClosed, Cause::FinAcked));
}

#[test]
fn data_written_before_the_close_does_not_make_it_half_closed() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"request").unwrap();
    rig.shutdown(Shutdown::Write).unwrap();
    rig.inject(seg("FIN,ACK", 0, 8));
    assert!(is(report(&rig), Initiator::Local, How::Graceful, Cause::Fin));
}

#[test]
fn a_reset_says_what_was_not_acknowledged_and_not_read() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"unread"));
    rig.write(b"lost").unwrap();
    rig.inject(seg("RST", 6, 0));
    let ending = report(&rig);
    assert!(is(ending, Initiator::Peer, How::Reset, Cause::Reset));
    assert_eq!((ending.unacked, ending.unread), (4, 6));
    let text = "reset, begun by the peer (RST received); 4 bytes written were not acknowledged; \
                6 bytes received were not read";
    assert_eq!(ending.to_string(), text);
}

#[test]
fn what_the_application_leaves_is_told_by_the_transition() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"unread"));
    rig.close();
    let ending = told(&rig);
    assert!(is(ending, Initiator::Local, How::Reset, Cause::UnreadData));
    assert_eq!(ending.unread, 6);

    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"lost").unwrap();
    rig.abort();
    let ending = told(&rig);
    assert!(is(ending, Initiator::Local, How::Reset, Cause::Abort));
    assert_eq!(ending.unacked, 4);
}

#[test]
fn a_timer_that_gives_up_is_named() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::UserTimeout(s(5)));
    rig.write(b"lost").unwrap();
    rig.advance(s(10));
    let ending = report(&rig);
    assert!(is(ending, Initiator::Timer, How::TimedOut, Cause::UserTimeout));
    assert_eq!(ending.unacked, 4);

    let mut rig = Start::SynSent.rig(Setup::default());
    rig.advance(s(300));
    assert!(is(report(&rig), Initiator::Timer, How::TimedOut, Cause::SynTimeout));
}

#[test]
fn an_end_that_a_timer_finished_was_begun_by_who_closed() {
    let mut rig = Start::FinWait1.rig(Setup::default());
    rig.close();
    rig.advance(s(1000));
    assert!(is(told(&rig), Initiator::Local, How::TimedOut, Cause::RetransmissionTimeout));
}

#[test]
fn the_small_record_of_fin_wait_2_reports_its_end() {
    for (finish, how, cause) in
        [(true, How::Graceful, Cause::Fin), (false, How::TimedOut, Cause::FinWait2Timeout)]
    {
        let mut rig = Start::FinWait2Orphan.rig(Setup::default());
        assert!(rig.transitions.iter().all(|event| event.ending.is_none()));
        if finish {
            rig.inject(seg("FIN,ACK", 0, 1));
        } else {
            rig.advance(s(61));
        }
        assert!(is(told(&rig), Initiator::Local, how, cause));
        rig.advance(s(70));
        told(&rig);
    }
}

#[test]
fn a_connection_that_never_opened_says_so() {
    let mut rig = Start::SynSent.rig(Setup::default());
    rig.close();
    assert!(is(told(&rig), Initiator::Local, How::NotOpened, Cause::Close));
    let mut rig = Start::SynSent.rig(Setup::default());
    rig.inject(seg("RST,ACK", -1, 0));
    assert!(is(report(&rig), Initiator::Peer, How::Reset, Cause::Reset));
}

#[test]
fn a_killed_connection_resets_its_peer_and_tells_its_owner() {
    for start in Start::ALL {
        let mut rig = start.rig(Setup::default());
        let id = rig.transitions.last().map(|event| event.id);
        let Some(id) = id.filter(|_| start.state().is_some()) else { continue };
        assert!(rig.stack.kill(rig.now, id), "{start:?}");
        rig.pump();
        rig.expect_gone();
        let last = rig.last_transition();
        assert_eq!((last.cause, last.initiator), (Cause::Killed, Initiator::Administrator), "{start:?}");
        let resets = rig.take().len();
        let known = matches!(
            start.state(),
            Some(
                State::SynReceived
                    | State::Established
                    | State::FinWait1
                    | State::FinWait2
                    | State::CloseWait
            )
        );
        let full = known && start != Start::FinWait2Orphan;
        assert_eq!(resets, usize::from(full), "{start:?}");
        if rig.socket.is_some() && start != Start::TimeWait {
            assert_eq!(rig.take_error(), Some(Error::ConnectionAborted), "{start:?}");
        }
        assert!(!rig.stack.kill(rig.now, id), "{start:?}: it is gone");
        rig.expect_all_freed();
    }
}

#[test]
fn a_killed_listener_stops() {
    let mut rig = Start::Nothing.rig(Setup::default());
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_bind(h, std::net::SocketAddr::new(rig.local.ip(), 99)).unwrap();
    rig.stack.tcp_listen(rig.now, h, 4).unwrap();
    let id = rig.stack.tcp_connection(h).unwrap();
    assert!(rig.stack.kill(rig.now, id));
    assert_eq!(rig.stack.tcp_state(h), Some(State::Closed));
    rig.stack.tcp_close(rig.now, h);
    rig.expect_all_freed();
}

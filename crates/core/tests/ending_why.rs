//! Why a record is still there: the sentence, who has to act, and that the end it predicts is the one that comes.

mod common;
use common::*;
use lastack_core::{Actor, ConnectionId, Why};

#[track_caller]
fn why(rig: &mut Rig) -> Why {
    let id = rig.transitions.last().expect("no connection").id;
    rig.stack.why(rig.now, id).unwrap_or_else(|| panic!("no record {id:?}"))
}

#[track_caller]
fn says(rig: &mut Rig, who: Actor, text: &str) {
    let why = why(rig);
    assert_eq!(why.to_string(), text);
    assert_eq!(why.who, who);
}

#[test]
fn each_state_says_what_it_waits_for() {
    let rows = [
        (
            Start::SynSent,
            Actor::Peer,
            "SYN_SENT for 2 s: our SYN (sent 3 times) is not answered; the peer has to act; the record goes in 129 s (SYN timed out)",
        ),
        (
            Start::SynReceived,
            Actor::Peer,
            "SYN_RECV for 2 s: our SYN-ACK (sent 2 times) is not acknowledged; the peer has to act; the record goes in 125 s (retransmission timed out)",
        ),
        (
            Start::NewSynRecv,
            Actor::Peer,
            "NEW_SYN_RECV for 2 s: our SYN-ACK (sent 2 times) is not acknowledged; the peer has to act; the record goes in 61 s (SYN-ACK timed out)",
        ),
        (
            Start::Established,
            Actor::Either,
            "ESTABLISHED for 2 s: nothing is under way; either side may act; no timer ends it",
        ),
        (
            Start::FinWait2,
            Actor::Peer,
            "FIN_WAIT_2 for 2 s: our FIN was acknowledged, the peer has not closed; the peer has to act; no timer ends it",
        ),
        (
            Start::FinWait2Orphan,
            Actor::Peer,
            "FIN_WAIT_2 for 2 s: our FIN was acknowledged, the peer has not closed; the peer has to act; the record goes in 58 s (FIN_WAIT_2 timed out)",
        ),
        (
            Start::TimeWait,
            Actor::Nobody,
            "TIME_WAIT for 2 s: both sides have closed, the record answers late segments; nobody has to act; the record goes in 58 s (TIME_WAIT expired)",
        ),
        (
            Start::CloseWait,
            Actor::Application,
            "CLOSE_WAIT for 2 s: the peer has closed, the application has not; the application has to act; no timer ends it",
        ),
    ];
    for (start, who, text) in rows {
        let mut rig = start.rig(Setup::default());
        rig.advance(s(2));
        says(&mut rig, who, text);
    }
}

#[test]
fn an_unacknowledged_fin_is_named() {
    for start in
        [Start::FinWait1, Start::FinWait1Orphan, Start::Closing, Start::LastAck, Start::LastAckOrphan]
    {
        let mut rig = start.rig(Setup::default());
        rig.advance(ms(250));
        let text = why(&mut rig).to_string();
        assert!(text.contains("our FIN is not acknowledged, the timer ran out once"), "{start:?}: {text}");
    }
}

#[test]
fn the_socket_of_a_connection_in_time_wait_says_so() {
    let mut rig = Start::TimeWait.rig(Setup::default());
    assert_eq!(rig.stack.tcp_why(rig.now, rig.h()), Some(why(&mut rig)));
    let mut rig = Start::CloseWait.rig(Setup::default());
    assert_eq!(rig.stack.tcp_why(rig.now, rig.h()), Some(why(&mut rig)));
}

#[test]
fn unread_data_waits_for_the_application() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.advance(s(2));
    rig.inject(seg("ACK", 0, 0).data(b"unread"));
    rig.advance(s(3));
    let text =
        "ESTABLISHED for 5 s: 6 bytes wait to be read for 3 s; the application has to act; no timer ends it";
    says(&mut rig, Actor::Application, text);
}

#[test]
fn a_closed_window_waits_for_the_peer() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0).data(b"x").win(0));
    rig.read().unwrap();
    rig.write(b"held").unwrap();
    rig.advance(ms(100));
    assert!(why(&mut rig).to_string().contains("4 bytes wait for the peer's window"));
    rig.shutdown(Shutdown::Write).unwrap();
    assert!(why(&mut rig).to_string().contains("4 bytes and our FIN wait for the peer's window"));
}

#[test]
fn a_cork_waits_for_the_application() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::Cork(true));
    rig.write(b"held").unwrap();
    let why = why(&mut rig);
    assert!(why.to_string().contains("4 bytes are held back until more is written"), "{why}");
    assert_eq!(why.who, Actor::Application);
}

#[test]
fn an_unaccepted_connection_waits_for_accept() {
    let mut rig = Start::NewSynRecv.rig(Setup::default());
    rig.inject(seg("ACK", 0, 0));
    assert!(
        why(&mut rig).to_string().contains("the connection waits to be accepted; the application has to act")
    );
    let listener = rig.stack.tcp_why(rig.now, rig.listener.unwrap()).unwrap();
    assert!(listener.to_string().contains("listening, 0 half-open, 1 to be accepted"), "{listener}");
}

#[test]
fn a_request_that_waits_for_a_decision_says_so() {
    let mut rig = Rig::new(Setup::default());
    let h = rig.stack.tcp_socket();
    rig.stack.tcp_bind(h, rig.local).unwrap();
    rig.stack.tcp_set_option(rig.now, h, TcpOption::Defer(true)).unwrap();
    rig.stack.tcp_listen(rig.now, h, 4).unwrap();
    rig.inject(seg("SYN", -1, 0));
    let why = why(&mut rig);
    assert!(why.to_string().contains("the request waits to be let in or refused"), "{why}");
    assert_eq!(why.who, Actor::Application);
}

#[test]
fn nobody_asks_after_what_is_gone() {
    let mut rig = Start::Nothing.rig(Setup::default());
    assert_eq!(rig.stack.why(rig.now, ConnectionId(1)), None);
}

/// Each expiry may come up to a tick of the timer wheel late.
const TICKS: Duration = ms(64);

/// With a silent peer the record goes when it was said, for the reason that was said, and every timer expiry on the way
/// says the same.
#[track_caller]
fn ends_as_predicted(mut rig: Rig, what: &str) {
    let predict = |rig: &mut Rig| why(rig).ends.map(|(cause, left)| (cause, rig.now + left));
    let (cause, at) = predict(&mut rig).unwrap_or_else(|| panic!("{what}: no end in sight"));
    while rig.last_transition().cause != cause {
        let (again, then) = predict(&mut rig).unwrap_or_else(|| panic!("{what}: {}", why(&mut rig)));
        assert_eq!(again, cause, "{what}: {}", why(&mut rig));
        assert!(then >= at && then - at <= TICKS, "{what}: {at:?} became {then:?}: {}", why(&mut rig));
        let next = rig.stack.next_timeout().expect("a timer that ends it");
        let now = rig.now;
        rig.advance(next - now);
    }
    rig.expect_gone();
    let end = rig.last_transition().at;
    assert!(end >= at && end - at <= TICKS, "{what}: {at:?} was {end:?}");
}

#[test]
fn the_predicted_end_comes() {
    let starts = [
        Start::SynSent,
        Start::SynReceived,
        Start::NewSynRecv,
        Start::FinWait1,
        Start::FinWait1Orphan,
        Start::FinWait2Orphan,
        Start::Closing,
        Start::ClosingOrphan,
        Start::TimeWait,
        Start::TimeWaitOrphan,
        Start::LastAck,
        Start::LastAckOrphan,
    ];
    for start in starts {
        ends_as_predicted(start.rig(Setup::default()), &format!("{start:?}"));
    }
}

#[test]
fn the_predicted_end_of_lost_data_comes() {
    for user in [None, Some(s(30))] {
        let mut rig = Start::Established.rig(Setup::default());
        if let Some(user) = user {
            rig.option(TcpOption::UserTimeout(user));
        }
        rig.write(b"lost").unwrap();
        ends_as_predicted(rig, &format!("user timeout {user:?}"));
    }
}

#[test]
fn the_predicted_end_at_a_closed_window_comes() {
    for orphan in [false, true] {
        let mut rig = Start::Established.rig(Setup::default());
        rig.inject(seg("ACK", 0, 0).data(b"x").win(0));
        rig.read().unwrap();
        rig.write(b"held").unwrap();
        if orphan {
            rig.close();
        }
        ends_as_predicted(rig, &format!("orphan {orphan}"));
    }
}

#[test]
fn the_predicted_end_at_a_window_that_was_shut_over_what_is_in_flight_comes() {
    for orphan in [false, true] {
        let mut rig = Start::Established.rig(Setup::default());
        rig.write(b"in flight").unwrap();
        rig.advance(ms(1));
        rig.inject(seg("ACK", 0, 2).win(0));
        if orphan {
            rig.close();
        }
        ends_as_predicted(rig, &format!("orphan {orphan}"));
    }
}

#[test]
fn the_predicted_end_by_keepalive_comes() {
    let mut rig = Start::Established.rig(Setup::default());
    for option in [
        TcpOption::KeepIdle(s(10)),
        TcpOption::KeepInterval(s(3)),
        TcpOption::KeepCount(4),
        TcpOption::KeepAlive(true),
    ] {
        rig.option(option);
    }
    ends_as_predicted(rig, "keep-alive");
}

#[test]
fn the_predicted_end_of_an_orphan_with_a_lifetime_comes() {
    let setup = Setup::default().with(|config| config.tcp.orphan_lifetime = Some(s(7)));
    ends_as_predicted(Start::FinWait1Orphan.rig(setup), "orphan lifetime");
}

//! The six steps from either side, simultaneous close, half-close: numbers of each segment, states of both sides.

mod common;
use common::*;
use lastack_core::wire::tcp::Flags;
use lastack_core::{Config, Counts, TcpOption};

const LATENCY: Duration = ms(10);

fn pair() -> Pair {
    Pair::new(&Config::default(), LATENCY)
}

fn client_addr(pair: &Pair, client: TcpHandle) -> core::net::SocketAddr {
    pair.a.tcp_local_addr(client).unwrap()
}

/// Both sides have forgotten the connection.
#[track_caller]
fn expect_nothing_left(pair: &mut Pair, listener: Option<TcpHandle>) {
    if let Some(listener) = listener {
        let now = pair.now;
        pair.b.tcp_close(now, listener);
    }
    assert_eq!((pair.a.counts(), pair.b.counts()), (Counts::default(), Counts::default()));
    assert!(pair.a.is_idle() && pair.b.is_idle());
    assert_eq!((pair.a.next_timeout(), pair.b.next_timeout()), (None, None));
}

/// Holds: MUST-13
#[test]
fn six_steps_with_the_client_first() {
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let addr = client_addr(&pair, client);
    pair.take_log();
    // Step 1: A closes; its state changes before the segment leaves.
    let now = pair.now;
    pair.a.tcp_close(now, client);
    assert_eq!(pair.record(Side::A, addr), Some(State::FinWait1));
    // Step 2: B gets the FIN, its reader sees the end.
    pair.run(LATENCY);
    assert_eq!(pair.record(Side::B, addr), Some(State::CloseWait));
    assert_eq!(pair.b.tcp_read(pair.now, server, &mut [0; 4]), Ok(0));
    // Step 3: the ACK, delayed by 40 ms because B might have had data for it.
    pair.run(ms(40) + LATENCY);
    assert_eq!(pair.record(Side::A, addr), Some(State::FinWait2));
    // Step 4: B closes.
    let now = pair.now;
    pair.b.tcp_close(now, server);
    assert_eq!(pair.record(Side::B, addr), Some(State::LastAck));
    // Step 5: A answers and remembers; step 6: B forgets.
    pair.run(LATENCY);
    assert_eq!(pair.record(Side::A, addr), Some(State::TimeWait));
    assert_eq!(pair.record(Side::B, addr), Some(State::LastAck));
    pair.run(LATENCY);
    assert_eq!(pair.record(Side::B, addr), None);
    assert_eq!(
        pair.take_log(),
        ["A FIN,ACK 0(0) ack 0", "B ACK 0(0) ack 1", "B FIN,ACK 0(0) ack 1", "A ACK 1(0) ack 1"]
    );
    // TIME_WAIT began with step 5.
    pair.run(s(60) - LATENCY - ms(1));
    assert_eq!(pair.record(Side::A, addr), Some(State::TimeWait));
    pair.run(ms(1));
    assert_eq!(pair.record(Side::A, addr), None);
    use State::*;
    assert_eq!(pair.path(Side::A), [SynSent, Established, FinWait1, FinWait2, TimeWait, Closed]);
    let path = pair.path(Side::B);
    assert_eq!(path, [Listen, NewSynRecv, SynReceived, Established, CloseWait, LastAck, Closed]);
    expect_nothing_left(&mut pair, Some(listener));
}

#[test]
fn six_steps_with_the_server_first() {
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let addr = client_addr(&pair, client);
    pair.take_log();
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(s(1));
    assert_eq!(
        (pair.record(Side::A, addr), pair.record(Side::B, addr)),
        (Some(State::CloseWait), Some(State::FinWait2))
    );
    let now = pair.now;
    pair.a.tcp_close(now, client);
    pair.run(s(1));
    // The side that closed first keeps TIME_WAIT, the other nothing.
    assert_eq!((pair.record(Side::A, addr), pair.record(Side::B, addr)), (None, Some(State::TimeWait)));
    assert_eq!(
        pair.take_log(),
        ["B FIN,ACK 0(0) ack 0", "A ACK 0(0) ack 1", "A FIN,ACK 0(0) ack 1", "B ACK 1(0) ack 1"]
    );
    pair.run(s(60));
    expect_nothing_left(&mut pair, Some(listener));
}

#[test]
fn a_close_at_once_answers_with_fin_and_ack_in_one_segment() {
    // W2.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let addr = client_addr(&pair, client);
    pair.take_log();
    let now = pair.now;
    pair.a.tcp_close(now, client);
    pair.run(LATENCY);
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(s(1));
    assert_eq!(pair.take_log(), ["A FIN,ACK 0(0) ack 0", "B FIN,ACK 0(0) ack 1", "A ACK 1(0) ack 1"]);
    assert_eq!((pair.record(Side::A, addr), pair.record(Side::B, addr)), (Some(State::TimeWait), None));
    pair.run(s(60));
    expect_nothing_left(&mut pair, Some(listener));
}

/// Holds: U9293-13
#[test]
fn fin_wait_1_goes_to_time_wait_in_one_segment_when_owned() {
    let mut rig = Start::FinWait1.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect("ACK 1(0) ack 1");
    rig.expect_state(State::TimeWait);
    let states: Vec<_> = rig.transitions.iter().rev().take(2).map(|event| event.transition.to).collect();
    assert_eq!(states, [State::TimeWait, State::FinWait2]);
}

/// Holds: U9293-13, U9293-17
#[test]
fn simultaneous_close_leaves_time_wait_on_both_sides() {
    // W3.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let addr = client_addr(&pair, client);
    pair.take_log();
    let now = pair.now;
    pair.a.tcp_close(now, client);
    pair.b.tcp_close(now, server);
    pair.run(LATENCY);
    assert_eq!(
        (pair.record(Side::A, addr), pair.record(Side::B, addr)),
        (Some(State::Closing), Some(State::Closing))
    );
    pair.run(LATENCY);
    assert_eq!(
        (pair.record(Side::A, addr), pair.record(Side::B, addr)),
        (Some(State::TimeWait), Some(State::TimeWait))
    );
    assert_eq!(
        pair.take_log(),
        ["A FIN,ACK 0(0) ack 0", "B FIN,ACK 0(0) ack 0", "A ACK 1(0) ack 1", "B ACK 1(0) ack 1"]
    );
    pair.run(s(60));
    expect_nothing_left(&mut pair, Some(listener));
}

#[test]
fn the_passive_closer_never_enters_time_wait() {
    // P8.
    let mut pair = pair();
    let (client, _, server) = pair.connected_with_listener();
    let now = pair.now;
    pair.a.tcp_close(now, client);
    pair.run(s(1));
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(s(100));
    assert!(!pair.path(Side::B).contains(&State::TimeWait));
}

/// One side has shut its sending direction: text still flows the other way, for an hour.
fn half_close(first: Side) {
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let (closer, other) = if first == Side::A { (client, server) } else { (server, client) };
    let now = pair.now;
    pair.stack(first).tcp_shutdown(now, closer, Shutdown::Write).unwrap();
    pair.run(s(1));
    assert_eq!(pair.stack(first).tcp_state(closer), Some(State::FinWait2));
    let mut buf = [0; 16];
    let now = pair.now;
    assert_eq!(pair.stack(first.other()).tcp_read(now, other, &mut buf), Ok(0));
    for round in 0..36 {
        pair.run(s(100));
        let now = pair.now;
        assert_eq!(pair.stack(first.other()).tcp_write(now, other, &[round; 10]), Ok(10));
        pair.run(s(1));
        let now = pair.now;
        assert_eq!(pair.stack(first).tcp_read(now, closer, &mut buf), Ok(10));
        assert_eq!(buf[0], round);
        assert_eq!(pair.stack(first).tcp_write(now, closer, b"x"), Err(Error::BrokenPipe));
    }
    let now = pair.now;
    pair.stack(first.other()).tcp_close(now, other);
    pair.run(s(1));
    let now = pair.now;
    assert_eq!(pair.stack(first).tcp_read(now, closer, &mut buf), Ok(0));
    assert_eq!(pair.stack(first).tcp_state(closer), Some(State::Closed));
    pair.stack(first).tcp_close(now, closer);
    pair.run(s(61));
    expect_nothing_left(&mut pair, Some(listener));
}

#[test]
fn half_close_by_the_client_lets_the_server_send_on() {
    half_close(Side::A);
}

#[test]
fn half_close_by_the_server_lets_the_client_send_on() {
    half_close(Side::B);
}

/// Holds: U9293-4
#[test]
fn text_that_waits_at_close_is_delivered_before_the_end_of_file() {
    // P4: 1 MB through a 64 KB window, closed at once.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let text: Vec<u8> = (0..1_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let now = pair.now;
    pair.a.tcp_set_option(now, client, TcpOption::SendBuffer(1 << 20)).unwrap();
    assert_eq!(pair.a.tcp_write(now, client, &text), Ok(text.len()));
    pair.a.tcp_close(now, client);
    let mut received = Vec::new();
    let mut buf = vec![0; 100_000];
    loop {
        match pair.b.tcp_read(pair.now, server, &mut buf) {
            Ok(0) => break,
            Ok(n) => received.extend_from_slice(&buf[..n]),
            Err(Error::WouldBlock) => pair.run(ms(5)),
            Err(error) => panic!("{error}"),
        }
        assert!(pair.now < Instant::from_secs(1600), "it stalls");
    }
    assert!(received == text);
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(s(61));
    expect_nothing_left(&mut pair, Some(listener));
}

/// Holds: U9293-4, R2525-1
#[test]
fn the_fin_rides_on_the_last_segment() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"first").unwrap();
    rig.expect("ACK 0(5) ack 0");
    // Nagle holds this one back; close does not care.
    rig.write(b"second").unwrap();
    rig.expect_nothing();
    rig.close();
    rig.expect("FIN,ACK 5(6) ack 0");
    rig.expect_nothing();
    rig.inject(seg("ACK", 0, 5));
    rig.expect_state(State::FinWait1);
    rig.inject(seg("ACK", 0, 12));
    rig.expect_state(State::FinWait2);
}

#[test]
fn a_cork_does_not_hold_the_fin() {
    let mut rig = Start::Established.rig(Setup::default());
    rig.option(TcpOption::Cork(true));
    rig.write(b"corked").unwrap();
    rig.expect_nothing();
    rig.shutdown(Shutdown::Write).unwrap();
    rig.expect("FIN,ACK 0(6) ack 0");
}

/// Holds: U9293-7
#[test]
fn a_second_close_of_the_direction_sends_no_second_fin() {
    // P2.
    let mut rig = Start::Established.rig(Setup::default());
    rig.shutdown(Shutdown::Write).unwrap();
    rig.expect("FIN,ACK 0(0) ack 0");
    rig.shutdown(Shutdown::Write).unwrap();
    rig.shutdown(Shutdown::Both).unwrap();
    rig.close();
    rig.expect_nothing();
}

#[test]
fn linger_zero_resets_and_the_peer_sees_it_after_its_text() {
    // W10.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let addr = client_addr(&pair, client);
    let now = pair.now;
    pair.a.tcp_write(now, client, b"bye").unwrap();
    pair.run(s(1));
    pair.take_log();
    let now = pair.now;
    pair.a.tcp_set_option(now, client, TcpOption::Linger(Some(Duration::ZERO))).unwrap();
    pair.a.tcp_close(now, client);
    pair.run(LATENCY);
    assert_eq!(pair.take_log(), ["A RST,ACK 3(0) ack 0"]);
    assert_eq!((pair.record(Side::A, addr), pair.record(Side::B, addr)), (None, None));
    let mut buf = [0; 8];
    let now = pair.now;
    assert_eq!(pair.b.tcp_read(now, server, &mut buf), Ok(3));
    assert_eq!(pair.b.tcp_read(now, server, &mut buf), Err(Error::ConnectionReset));
    assert_eq!(pair.b.tcp_read(now, server, &mut buf), Ok(0));
    assert_eq!(pair.b.tcp_write(now, server, b"x"), Err(Error::BrokenPipe));
    pair.b.tcp_close(now, server);
    assert!(!pair.path(Side::A).contains(&State::TimeWait));
    expect_nothing_left(&mut pair, Some(listener));
}

/// Holds: SHLD-3, R2525-2
#[test]
fn an_orphan_that_gets_text_resets() {
    // W8: the peer learns that nobody reads.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    let now = pair.now;
    pair.a.tcp_close(now, client);
    pair.run(s(1));
    pair.take_log();
    let now = pair.now;
    pair.b.tcp_write(now, server, b"hello?").unwrap();
    pair.run(s(1));
    assert_eq!(pair.take_log(), ["B ACK 0(6) ack 1", "A RST 1(0)"]);
    let now = pair.now;
    assert_eq!(pair.b.tcp_read(now, server, &mut [0; 4]), Ok(0));
    assert_eq!(pair.b.tcp_write(now, server, b"x"), Err(Error::BrokenPipe));
    pair.b.tcp_close(now, server);
    expect_nothing_left(&mut pair, Some(listener));
}

#[test]
fn no_segment_after_the_fin_carries_text() {
    // P3, with every third packet of A lost.
    let mut pair = pair();
    let (client, listener, server) = pair.connected_with_listener();
    pair.rule(|flying| if flying.index % 3 == 2 { Fate::Drop } else { Fate::Deliver });
    let now = pair.now;
    pair.a.tcp_write(now, client, &[7; 50_000]).unwrap();
    pair.a.tcp_close(now, client);
    let mut total = 0;
    let mut buf = vec![0; 65_536];
    for _ in 0..4000 {
        pair.run(ms(100));
        match pair.b.tcp_read(pair.now, server, &mut buf) {
            Ok(0) => break,
            Ok(n) => total += n,
            Err(Error::WouldBlock) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(total, 50_000);
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(s(400));
    for flying in &pair.log {
        if flying.from == Side::A && !flying.sent.flags.contains(Flags::SYN) {
            let end = flying.sent.rel_seq + flying.sent.payload.len() as i32;
            assert!(end <= 50_000 || flying.sent.payload.is_empty(), "{}", flying.sent);
            if flying.sent.flags.contains(Flags::FIN) {
                assert_eq!(end, 50_000, "{}", flying.sent);
            }
        }
    }
    expect_nothing_left(&mut pair, Some(listener));
}

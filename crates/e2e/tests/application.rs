//! What an application sees of each ending, row by row: the first call, then later ones.
//!
//! Each row is one text that three kinds of sockets play: the kernel's, lastack's blocking ones, lastack's for tokio. What
//! `poll` gives is compared for the kernel's socket by its letters and for tokio's by the readiness that tokio makes of them.
//! Rows of sockets that no Rust program holds (never connected, a listener that was shut down) are
//! played by scripts and by the core's tests. The kernel's rows need root; `LASTACK_SKIP_ROOT_TESTS=1` leaves them out.

use std::io::{ErrorKind, Write};
use std::net::Shutdown::{self, Both, Read as Reading, Write as Writing};
use std::thread;
use std::time::Duration;

use lastack::State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, TimeWait,
};
use lastack::{IcmpUnreach, Refusal, TcpOption, blocking};
use lastack_e2e::To;
use lastack_e2e::gate::Kind::{Any, PureAck};
use lastack_e2e::lab::{Family, PATIENCE, eventually};
use lastack_e2e::socket::Socket;
use lastack_e2e::stage::{Kind, Knobs, Stage, play};

const EBADF: i32 = 9;
const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
const ENETUNREACH: i32 = 101;
/// More segments than there are.
const ALL: u64 = 1 << 40;

macro_rules! rows {
    ($($name:ident $(($($knob:ident: $value:expr),*))?;)*) => {
        $(mod $name {
            use super::*;

            const KNOBS: Knobs =
                Knobs { $($($knob: Some($value),)*)? ..Knobs { syn_retries: None, retries2: None } };

            #[test]
            fn kernel() {
                play(Kind::Kernel, KNOBS, super::$name);
            }

            #[test]
            fn blocking() {
                play(Kind::Blocking, KNOBS, super::$name);
            }

            #[test]
            fn tokio() {
                play(Kind::Tokio, KNOBS, super::$name);
            }
        })*
    };
}

rows! {
    listening;
    connecting;
    connect_refused;
    connect_unreachable;
    connect_timed_out(syn_retries: 1);
    established;
    peer_sent_fin;
    we_shut_write;
    we_shut_read;
    we_shut_both;
    time_wait_last_ack_and_closing;
    reset;
    reset_with_unread_text;
    reset_after_the_peers_fin;
    retransmission_gave_up(retries2: 3);
    user_timeout;
    keepalive_gave_up;
    killed_by_an_administrator;
    accepted_after_the_peers_reset;
}

/// What is there to be read; an error if it fails.
fn read(socket: &mut Socket) -> Result<Vec<u8>, i32> {
    let mut buf = [0; 64];
    let len = socket.read(&mut buf)?;
    Ok(buf[..len].to_vec())
}

const END: Result<Vec<u8>, i32> = Ok(Vec::new());

fn text(text: &str) -> Result<Vec<u8>, i32> {
    Ok(text.as_bytes().to_vec())
}

fn write(socket: &mut Socket) -> Result<usize, i32> {
    socket.write(b"x")
}

/// A read that would have to wait.
fn would_wait(socket: &mut Socket) {
    socket.set_nonblocking(true);
    assert_eq!(read(socket), Err(EAGAIN));
    socket.set_nonblocking(false);
}

/// The peer writes, and the subject has it.
fn tell(peer: &mut blocking::TcpStream, subject: &mut Socket, text: &str) {
    peer.write_all(text.as_bytes()).expect("the peer writes");
    let mut buf = [0; 64];
    eventually("text", text.len(), || subject.peek(&mut buf).expect("text"));
}

/// A connection is dead, and its error has not been told: whichever call comes first gets it, once. There is one socket for
/// each order of calls.
fn dead(sockets: [Socket; 4], error: i32) {
    let [mut reads, mut writes, mut asks, mut shuts] = sockets;

    reads.polls("IORHE");
    assert_eq!(read(&mut reads), Err(error));
    reads.polls("IORH");
    assert_eq!(read(&mut reads), END);
    assert_eq!(reads.take_error(), 0);
    assert_eq!(write(&mut reads), Err(EPIPE));

    writes.polls("IORHE");
    assert_eq!(write(&mut writes), Err(error));
    writes.polls("IORH");
    assert_eq!(write(&mut writes), Err(EPIPE));
    assert_eq!(read(&mut writes), END);

    asks.polls("IORHE");
    assert_eq!(asks.take_error(), error);
    asks.polls("IORH");
    assert_eq!(asks.take_error(), 0);
    assert_eq!(read(&mut asks), END);
    assert_eq!(write(&mut asks), Err(EPIPE));

    shuts.polls("IORHE");
    for how in [Writing, Reading, Both] {
        assert_eq!(shuts.shutdown(how), Err(ENOTCONN));
    }
    assert_eq!(shuts.take_error(), error, "shutdown takes no error");
}

/// Four connections of the subject's.
fn four(stage: &Stage) -> ([Socket; 4], [blocking::TcpStream; 4]) {
    let [a, b, c, d] = [(); 4].map(|()| stage.connected());
    ([a.0, b.0, c.0, d.0], [a.1, b.1, c.1, d.1])
}

/// All have ended.
fn ended(stage: &Stage, sockets: &[Socket]) {
    for socket in sockets {
        stage.is_in(socket, Closed);
    }
}

fn listening(stage: &Stage) {
    let listener = stage.listen();
    listener.polls("");
    assert_eq!(listener.try_accept().err(), Some(EAGAIN));
    let peer = blocking::TcpStream::connect(&stage.peer, listener.address()).expect("the peer connects");
    listener.polls("I");
    let subject = listener.accept();
    listener.polls("");
    assert_eq!(listener.try_accept().err(), Some(EAGAIN));
    stage.is_in(&subject, Established);
    drop(peer);
    // Its end is that of the children that nobody has accepted.
    let waits = blocking::TcpStream::connect(&stage.peer, listener.address()).expect("the peer connects");
    listener.polls("I");
    drop(listener);
    eventually("reset", Closed, || waits.info().expect("info").state);
    assert_eq!(waits.take_error().expect("asked").map(|e| e.kind()), Some(ErrorKind::ConnectionReset));
}

/// Nothing can be done with a connection that is under way but to wait or to let it go: then a late answer draws a RST.
fn connecting(stage: &Stage) {
    let listener = stage.peer_listens();
    stage.gate.hold(To::Kernel);
    let attempt = stage.connect_within(listener.local_addr().expect("an address"), Duration::from_millis(50));
    assert_eq!(attempt.err(), Some(ErrorKind::TimedOut));
    eventually("the SYN came", true, || stage.gate.traffic(To::Kernel).packets > 0);
    stage.gate.release(To::Kernel);
    eventually("the RST came", true, || stage.gate.record().iter().any(|line| line.contains("Flags [R]")));
    assert!(stage.peer.connections().iter().all(|connection| connection.state == Listen));
}

fn connect_refused(stage: &Stage) {
    for _ in 0..2 {
        assert_eq!(stage.connect(Family::V4.lastack(9)).err(), Some(ECONNREFUSED));
    }
}

fn connect_unreachable(stage: &Stage) {
    let socket = lastack::tokio::TcpSocket::new(&stage.peer).expect("a socket");
    socket.set_defer(true).expect("before it listens");
    socket.bind(Family::V4.lastack(0)).expect("bound");
    let listener = socket.listen(8).expect("it listens");
    let to = listener.local_addr().expect("an address");
    let answers = [
        (IcmpUnreach::Network, ENETUNREACH),
        (IcmpUnreach::Host, EHOSTUNREACH),
        (IcmpUnreach::Port, ECONNREFUSED),
        (IcmpUnreach::Prohibited, EHOSTUNREACH),
    ];
    let peer = thread::spawn(move || {
        let runtime = lastack_e2e::awaited::runtime();
        for (answer, _) in answers {
            let request = lastack_e2e::awaited::wait(&runtime, listener.pending()).expect("a SYN");
            request.refuse(Refusal::Unreachable(answer)).expect("refused");
        }
    });
    for (answer, errno) in answers {
        assert_eq!(stage.connect(to).err(), Some(errno), "{answer:?}");
    }
    peer.join().expect("the peer");
}

fn connect_timed_out(stage: &Stage) {
    stage.gate.lose(To::Lastack, Any, ALL);
    assert_eq!(stage.connect(Family::V4.lastack(9)).err(), Some(ETIMEDOUT));
}

fn established(stage: &Stage) {
    let (mut subject, mut peer) = stage.connected();
    subject.polls("O");
    would_wait(&mut subject);
    tell(&mut peer, &mut subject, "abc");
    subject.polls("IO");
    assert_eq!(read(&mut subject), text("abc"));
    subject.polls("O");
    assert_eq!(write(&mut subject), Ok(1));
    assert_eq!(subject.take_error(), 0);
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, FinWait2);
}

fn peer_sent_fin(stage: &Stage) {
    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "abc");
    peer.shutdown(Writing).expect("shut");
    stage.is_in(&subject, CloseWait);
    subject.polls("IOR");
    assert_eq!(write(&mut subject), Ok(1), "unread text is no matter");
    assert_eq!(read(&mut subject), text("abc"));
    for _ in 0..3 {
        assert_eq!(read(&mut subject), END);
    }
    subject.polls("IOR");
    assert_eq!(write(&mut subject), Ok(1));
    assert_eq!(subject.take_error(), 0);
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, Closed);
    subject.polls("IORH");
    assert_eq!(read(&mut subject), END);
    assert_eq!(write(&mut subject), Err(EPIPE));
    assert_eq!(subject.shutdown(Writing), Err(ENOTCONN));
    assert_eq!(subject.take_error(), 0);
}

fn we_shut_write(stage: &Stage) {
    for (heard, state) in [(true, FinWait2), (false, FinWait1)] {
        let (mut subject, mut peer) = stage.connected();
        if !heard {
            stage.gate.lose(To::Lastack, Any, ALL);
        }
        assert_eq!(subject.shutdown(Writing), Ok(()));
        stage.is_in(&subject, state);
        subject.polls("O");
        assert_eq!(write(&mut subject), Err(EPIPE));
        would_wait(&mut subject);
        assert_eq!(subject.shutdown(Writing), Ok(()), "again");
        assert_eq!(subject.take_error(), 0);
        tell(&mut peer, &mut subject, "late");
        subject.polls("IO");
        assert_eq!(read(&mut subject), text("late"));
        would_wait(&mut subject);
    }
}

fn we_shut_read(stage: &Stage) {
    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "early");
    assert_eq!(subject.shutdown(Reading), Ok(()));
    subject.polls("IOR");
    assert_eq!(read(&mut subject), text("early"));
    assert_eq!(read(&mut subject), END);
    tell(&mut peer, &mut subject, "later");
    assert_eq!(read(&mut subject), text("later"));
    assert_eq!(read(&mut subject), END);
    assert_eq!(write(&mut subject), Ok(1));
    assert_eq!(subject.take_error(), 0);
    stage.is_in(&subject, Established);
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, FinWait2);
}

fn we_shut_both(stage: &Stage) {
    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "queued");
    assert_eq!(subject.shutdown(Both), Ok(()));
    stage.is_in(&subject, FinWait2);
    subject.polls("IORH");
    assert_eq!(read(&mut subject), text("queued"));
    assert_eq!(read(&mut subject), END);
    assert_eq!(write(&mut subject), Err(EPIPE));
    for how in [Both, Writing, Reading] {
        assert_eq!(subject.shutdown(how), Ok(()));
    }
    assert_eq!(subject.take_error(), 0);
}

/// Both directions are over on both sides: TIME_WAIT, and before it CLOSING or LAST_ACK.
fn time_wait_last_ack_and_closing(stage: &Stage) {
    let after = |subject: &mut Socket, shutdown: Result<(), i32>| {
        subject.polls("IORH");
        assert_eq!(read(subject), text("last"));
        assert_eq!(read(subject), END);
        assert_eq!(write(subject), Err(EPIPE));
        for how in [Writing, Reading, Both] {
            assert_eq!(subject.shutdown(how), shutdown, "{how:?}");
        }
        assert_eq!(subject.take_error(), 0);
    };
    let shut = |peer: &blocking::TcpStream, how: Shutdown| peer.shutdown(how).expect("shut");

    let (mut subject, mut peer) = stage.connected();
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, FinWait2);
    tell(&mut peer, &mut subject, "last");
    shut(&peer, Writing);
    stage.is_in(&subject, TimeWait);
    after(&mut subject, Err(ENOTCONN));

    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "last");
    shut(&peer, Writing);
    stage.is_in(&subject, CloseWait);
    stage.gate.lose(To::Kernel, PureAck, ALL);
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, LastAck);
    after(&mut subject, Ok(()));
    stage.gate.lose(To::Kernel, PureAck, 0);

    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "last");
    stage.gate.hold(To::Lastack);
    assert_eq!(subject.shutdown(Writing), Ok(()));
    stage.is_in(&subject, FinWait1);
    shut(&peer, Writing);
    stage.is_in(&subject, Closing);
    after(&mut subject, Ok(()));
}

fn reset(stage: &Stage) {
    let (subjects, peers) = four(stage);
    peers.into_iter().for_each(blocking::TcpStream::abort);
    ended(stage, &subjects);
    dead(subjects, ECONNRESET);
}

/// Text that came before the RST is still there; what waits to be sent is not.
fn reset_with_unread_text(stage: &Stage) {
    let (mut subject, mut peer) = stage.connected();
    tell(&mut peer, &mut subject, "still good");
    assert_eq!(write(&mut subject), Ok(1));
    peer.abort();
    stage.is_in(&subject, Closed);
    subject.polls("IORHE");
    assert_eq!(read(&mut subject), text("still good"));
    assert_eq!(read(&mut subject), Err(ECONNRESET));
    subject.polls("IORH");
    assert_eq!(read(&mut subject), END);
    assert_eq!(write(&mut subject), Err(EPIPE));
    assert_eq!(subject.shutdown(Writing), Err(ENOTCONN));
    assert_eq!(subject.take_error(), 0);
}

/// The end of file wins in reading; the error is EPIPE then, for whoever asks.
fn reset_after_the_peers_fin(stage: &Stage) {
    let make = || {
        let (mut subject, mut peer) = stage.connected();
        tell(&mut peer, &mut subject, "end");
        peer.shutdown(Writing).expect("shut");
        stage.is_in(&subject, CloseWait);
        peer.abort();
        stage.is_in(&subject, Closed);
        subject.polls("IORHE");
        subject
    };
    let mut subject = make();
    assert_eq!(read(&mut subject), text("end"));
    assert_eq!(read(&mut subject), END);
    assert_eq!(subject.take_error(), EPIPE);
    assert_eq!(subject.take_error(), 0);
    subject.polls("IORH");
    assert_eq!(write(&mut subject), Err(EPIPE));
    assert_eq!(subject.shutdown(Writing), Err(ENOTCONN));
    let mut subject = make();
    assert_eq!(write(&mut subject), Err(EPIPE));
    assert_eq!(subject.take_error(), 0);
    assert_eq!(read(&mut subject), text("end"));
    assert_eq!(read(&mut subject), END);
}

/// A connection with unread text, and four without, die of `silence`.
fn die_of(stage: &Stage, silence: impl Fn(&mut Socket)) {
    let (mut unread, mut peer) = stage.connected();
    tell(&mut peer, &mut unread, "unread");
    let (mut subjects, _peers) = four(stage);
    stage.gate.lose(To::Lastack, Any, ALL);
    stage.gate.lose(To::Kernel, Any, ALL);
    silence(&mut unread);
    subjects.iter_mut().for_each(silence);
    stage.is_in(&unread, Closed);
    ended(stage, &subjects);
    unread.polls("IORHE");
    assert_eq!(read(&mut unread), text("unread"));
    assert_eq!(read(&mut unread), Err(ETIMEDOUT));
    assert_eq!(read(&mut unread), END);
    dead(subjects, ETIMEDOUT);
}

fn retransmission_gave_up(stage: &Stage) {
    die_of(stage, |subject| assert_eq!(write(subject), Ok(1)));
}

fn user_timeout(stage: &Stage) {
    die_of(stage, |subject| {
        subject.set_user_timeout(Duration::from_millis(300));
        assert_eq!(write(subject), Ok(1));
    });
}

fn keepalive_gave_up(stage: &Stage) {
    die_of(stage, Socket::set_keepalive);
}

fn killed_by_an_administrator(stage: &Stage) {
    let (subjects, _peers) = four(stage);
    for subject in &subjects {
        stage.kill(subject);
    }
    ended(stage, &subjects);
    dead(subjects, ECONNABORTED);
}

/// After close(): nobody in Rust holds a closed socket, but a clone of one that was aborted, or a socket whose host is gone.
fn nothing_is_left(stage: &Stage) {
    let gone = |socket: &mut Socket| {
        assert_eq!(read(socket), Err(EBADF));
        assert_eq!(write(socket), Err(EBADF));
        assert_eq!(socket.shutdown(Both), Err(EBADF));
    };
    let (mut subject, _peer) = stage.connected();
    if let (mut aborted @ Socket::Lastack(_), _peer) = stage.connected() {
        let Socket::Lastack(stream) = &aborted else { return };
        stream.try_clone().expect("a clone").abort();
        gone(&mut aborted);
    }
    let report = stage.subject().expect("lastack's").close(PATIENCE);
    assert!(report.is_complete(), "{report:?}");
    gone(&mut subject);
}

#[test]
fn nothing_is_left_of_a_blocking_socket() {
    play(Kind::Blocking, Knobs::default(), nothing_is_left);
}

#[test]
fn nothing_is_left_of_a_tokio_socket() {
    play(Kind::Tokio, Knobs::default(), nothing_is_left);
}

/// The listener hands the dead socket out.
fn accepted_after_the_peers_reset(stage: &Stage) {
    let listener = stage.listen();
    let mut peer = blocking::TcpStream::connect(&stage.peer, listener.address()).expect("the peer connects");
    peer.set_option(TcpOption::NoDelay(true)).expect("set");
    peer.write_all(b"abc").expect("the peer writes");
    // What it has sent is acknowledged, so that the RST stands behind it.
    eventually("acknowledged", 3, || peer.info().expect("info").bytes_acked);
    let rsts = |stage: &Stage| stage.gate.record().iter().filter(|line| line.contains("Flags [R")).count();
    peer.abort();
    eventually("the RST is sent", 1, || rsts(stage));
    // Behind the RST, in order: when this one can be accepted the first is dead.
    let _second = blocking::TcpStream::connect(&stage.peer, listener.address()).expect("the peer connects");
    let mut subject = listener.accept();
    let _other = listener.accept();
    subject.polls("IORHE");
    assert_eq!(read(&mut subject), text("abc"));
    assert_eq!(read(&mut subject), Err(ECONNRESET));
    assert_eq!(read(&mut subject), END);
    assert_eq!(write(&mut subject), Err(EPIPE));
}

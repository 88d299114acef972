//! The blocking sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use common::{A, B, LIMIT, addr, hosts, hosts_with, pattern, run_blocking};
use lastack::blocking::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use lastack::{Actor, Config, Delivery, Host, How, Initiator, TcpConfig, TcpOption, Wait};

fn pair(a: &Host, b: &Host) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(b, addr(B, 0)).expect("bind");
    let client = TcpStream::connect(a, listener.local_addr().expect("address")).expect("connect");
    (client, listener.accept().expect("accept").0)
}

#[test]
fn ten_mebibytes_come_back_as_they_went() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, server) = pair(&a, &b);
        let echo = thread::spawn(move || {
            std::io::copy(&mut &server, &mut &server).expect("echo");
            server.shutdown(Shutdown::Write).expect("shutdown");
        });
        let sent = pattern(10 << 20);
        let writer = thread::spawn({
            let (mut client, sent) = (client.try_clone().expect("clone"), sent.clone());
            move || {
                client.write_all(&sent).expect("write");
                client.shutdown(Shutdown::Write).expect("shutdown");
            }
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("read");
        assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
        writer.join().expect("writer");
        echo.join().expect("echo");
    });
}

/// A listener at B that takes text with the SYN, in a thread that gives everything back. For each connection: whether its
/// SYN had text.
fn fast_echo(b: &Host, connections: usize) -> (SocketAddr, thread::JoinHandle<Vec<bool>>) {
    let socket = TcpSocket::new(b).expect("socket");
    socket.set_option(TcpOption::FastOpen(16)).expect("Fast Open");
    socket.bind(addr(B, 0)).expect("bind");
    let listener = socket.listen(16).expect("listen");
    let to = listener.local_addr().expect("address");
    let echo = |stream: TcpStream| {
        std::io::copy(&mut &stream, &mut &stream).expect("echo");
        stream.info().expect("info").syn_data
    };
    let serve =
        move || listener.incoming().take(connections).map(|stream| echo(stream.expect("accept"))).collect();
    (to, thread::spawn(serve))
}

fn fast_hosts() -> (Host, Host) {
    let tcp = TcpConfig { fast_open_server: true, ..TcpConfig::default() };
    hosts_with(&Config { tcp, ..Config::default() })
}

fn read_back(mut stream: TcpStream, sent: &[u8]) -> bool {
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("read");
    assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
    stream.info().expect("info").syn_data
}

#[test]
fn from_the_second_connection_on_the_request_is_on_the_syn() {
    run_blocking(|| {
        let (a, b) = fast_hosts();
        let (to, server) = fast_echo(&b, 4);
        let sent = pattern(1 << 20);
        // Nothing, a part, more than a SYN carries.
        let on_syn: Vec<bool> = [100, 100, 5000, sent.len()]
            .into_iter()
            .map(|len| {
                let part = &sent[..len];
                let stream =
                    TcpSocket::new(&a).expect("socket").connect_with_data(to, part).expect("connect");
                read_back(stream, part)
            })
            .collect();
        assert_eq!(on_syn, [false, true, true, true]);
        assert_eq!(server.join().expect("server"), on_syn);
    });
}

#[test]
fn with_fast_open_connect_the_first_write_is_on_the_syn() {
    run_blocking(|| {
        let (a, b) = fast_hosts();
        let (to, server) = fast_echo(&b, 2);
        let on_syn: Vec<bool> = (0..2)
            .map(|_| {
                let socket = TcpSocket::new(&a).expect("socket");
                socket.set_option(TcpOption::FastOpenConnect(true)).expect("option");
                let mut stream = socket.connect(to).expect("connect");
                stream.write_all(b"request").expect("write");
                // Before the answer a shutdown would end the attempt, as on Linux.
                let mut got = [0; 7];
                stream.read_exact(&mut got).expect("read");
                assert_eq!(&got, b"request");
                read_back(stream, b"")
            })
            .collect();
        assert_eq!(on_syn, [false, true]);
        assert_eq!(server.join().expect("server"), on_syn);
    });
}

#[test]
fn without_fast_open_connect_with_data_connects_and_writes() {
    run_blocking(|| {
        let tcp = TcpConfig { fast_open_server: true, fast_open_client: false, ..TcpConfig::default() };
        let (a, b) = hosts_with(&Config { tcp, ..Config::default() });
        let (to, server) = fast_echo(&b, 2);
        for _ in 0..2 {
            let stream =
                TcpSocket::new(&a).expect("socket").connect_with_data(to, b"request").expect("connect");
            assert!(!read_back(stream, b"request"));
        }
        let refused = TcpSocket::new(&a).expect("socket").set_option(TcpOption::FastOpenConnect(true));
        assert_eq!(refused.expect_err("it is off").kind(), ErrorKind::Unsupported);
        assert_eq!(server.join().expect("server"), [false, false]);
        let nobody = TcpSocket::new(&a).expect("socket").connect_with_data(addr(B, 9), b"request");
        assert_eq!(nobody.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn incoming_serves_several_threads() {
    run_blocking(|| {
        let (a, b) = hosts();
        let listener = TcpListener::bind(&b, addr(B, 80)).expect("bind");
        let servers: Vec<_> = (0..3)
            .map(|_| {
                let listener = listener.try_clone().expect("clone");
                thread::spawn(move || {
                    for stream in listener.incoming().take(5) {
                        stream.expect("accept").write_all(b"hi").expect("write");
                    }
                })
            })
            .collect();
        for _ in 0..15 {
            let mut text = String::new();
            TcpStream::connect(&a, addr(B, 80)).expect("connect").read_to_string(&mut text).expect("read");
            assert_eq!(text, "hi");
        }
        for server in servers {
            server.join().expect("server");
        }
    });
}

#[test]
fn time_outs_and_non_blocking_are_would_block() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        client.set_read_timeout(Some(Duration::from_millis(20))).expect("option");
        assert_eq!(client.read(&mut [0; 4]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        assert_eq!(
            client.set_read_timeout(Some(Duration::ZERO)).expect_err("zero").kind(),
            ErrorKind::InvalidInput
        );
        client.set_read_timeout(None).expect("option");
        client.set_nonblocking(true).expect("option");
        assert_eq!(client.read(&mut [0; 4]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).expect("option");
        server.write_all(b"abcd").expect("write");
        let mut buf = [0; 4];
        assert_eq!(client.peek(&mut buf).expect("peek"), 4);
        client.read_exact(&mut buf).expect("read");
        assert_eq!(&buf, b"abcd");
        server.set_write_timeout(Some(Duration::from_millis(20))).expect("option");
        let e = loop {
            if let Err(e) = server.write(&[0; 65536]) {
                break e;
            }
        };
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        let listener = TcpListener::bind(&b, addr(B, 81)).expect("bind");
        listener.set_nonblocking(true).expect("option");
        assert_eq!(listener.accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn connecting_fails_as_on_linux() {
    run_blocking(|| {
        let (a, b) = hosts();
        assert_eq!(
            TcpStream::connect(&a, addr(B, 9)).expect_err("refused").kind(),
            ErrorKind::ConnectionRefused
        );
        // Nobody has 10.0.0.3.
        let e = TcpStream::connect_timeout(
            &a,
            &"10.0.0.3:9".parse().expect("address"),
            Duration::from_millis(50),
        )
        .expect_err("silence");
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(lastack::error_of(&e).expect("reason").to_string().contains("10.0.0.3:9"));
        let socket = TcpSocket::new(&a).expect("socket");
        socket.bind(addr(A, 4000)).expect("bind");
        let listener = TcpListener::bind(&b, addr(B, 80)).expect("bind");
        let client = socket.connect(addr(B, 80)).expect("connect");
        assert_eq!(client.local_addr().expect("address"), addr(A, 4000));
        assert_eq!(client.peer_addr().expect("address"), addr(B, 80));
        assert_eq!(listener.accept().expect("accept").1, addr(A, 4000));
    });
}

#[test]
fn reset_once_then_end_of_file_then_broken_pipe() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, server) = pair(&a, &b);
        server.abort();
        assert_eq!(client.read(&mut [0; 4]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut [0; 4]).expect("then the end"), 0);
        assert_eq!(client.write(b"x").expect_err("no peer").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_socket_tells_why_its_connection_lives_and_how_it_ended() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        assert_eq!(client.close_report(), None);
        assert_eq!(client.why().map(|why| why.who), Some(Actor::Either));
        client.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(server.read(&mut [0; 4]).expect("end of file"), 0);
        assert_eq!(server.why().map(|why| (why.waits_for, why.who)), Some((Wait::Close, Actor::Application)));
        server.write_all(b"late").expect("write");
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("read");
        let ending = client.close_report().expect("it has ended");
        assert_eq!((ending.began, ending.how, ending.unread), (Initiator::Local, How::HalfClosed, 0));
    });
}

#[test]
fn an_administrator_ends_a_connection() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        let id = client.connection_id().expect("a number");
        assert!(a.why(id).is_some());
        assert!(a.kill(id));
        assert!(!a.kill(id));
        let error = client.read(&mut [0; 4]).expect_err("killed");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert_eq!(client.close_report().map(|e| e.began), Some(Initiator::Administrator));
        assert_eq!(server.read(&mut [0; 4]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_socket_that_is_not_closed_after_the_peer_is_reported_once() {
    run_blocking(|| {
        let mut config = lastack::Config::default();
        config.tcp.close_wait_watchdog = Some(Duration::from_millis(20));
        let (a, b) = hosts_with(&config);
        let (tell, told) = std::sync::mpsc::channel();
        b.on_close_wait_overdue(move |why| tell.send(*why).expect("somebody listens"));
        let (client, mut server) = pair(&a, &b);
        drop(client);
        let why = told.recv().expect("it is told");
        assert_eq!((Some(why.id), why.waits_for), (server.connection_id(), Wait::Close));
        assert_eq!(why.remote, server.peer_addr().expect("address"));
        assert_eq!(server.read(&mut [0; 4]).expect("end of file"), 0);
        drop(server);
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
    });
}

#[test]
fn close_linger_waits_for_the_peer() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        client.write_all(b"all of it").expect("write");
        assert_eq!(client.close_linger(LIMIT), Delivery::Delivered);
        let mut text = String::new();
        server.read_to_string(&mut text).expect("read");
        assert_eq!(text, "all of it");
    });
}

#[test]
fn datagrams_are_received_peeked_and_refused() {
    run_blocking(|| {
        let (a, b) = hosts();
        let client = UdpSocket::bind(&a, addr(A, 0)).expect("bind");
        let server = UdpSocket::bind(&b, addr(B, 53)).expect("bind");
        client.connect(addr(B, 53)).expect("connect");
        assert_eq!(client.send(b"name?").expect("send"), 5);
        let mut buf = [0; 64];
        assert_eq!(server.peek(&mut buf).expect("peek"), 5);
        let (len, from) = server.recv_from(&mut buf).expect("receive");
        assert_eq!(&buf[..len], b"name?");
        server.send_to(b"!", from).expect("send");
        assert_eq!(client.recv(&mut buf).expect("receive"), 1);
        drop(server);
        client.send(b"name?").expect("send");
        // The ICMP answer.
        assert_eq!(client.recv(&mut buf).expect_err("refused").kind(), ErrorKind::ConnectionRefused);
    });
}

/// What a host chooses by chance comes from the operating system's generator, unless a seed was given.
///
/// Holds: R6528-3
#[test]
fn no_two_hosts_have_the_same_secrets() {
    run_blocking(|| {
        let port = || {
            let (a, _) = hosts();
            let listener = TcpListener::bind(&a, addr(A, 0)).expect("bind");
            listener.local_addr().expect("address").port()
        };
        let ports: std::collections::BTreeSet<u16> = (0..6).map(|_| port()).collect();
        assert!(ports.len() > 2, "six hosts, but only {ports:?}");
    });
}

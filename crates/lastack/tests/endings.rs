//! What the application sees of each ending, through the blocking and the async sockets: the first call, then later ones.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use common::{B, addr, connected, hosts, run, run_blocking, until};
use lastack::blocking::{TcpListener, TcpStream};
use lastack::{Host, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn pair(a: &Host, b: &Host) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(b, addr(B, 0)).expect("bind");
    let client = TcpStream::connect(a, listener.local_addr().expect("address")).expect("connect");
    (client, listener.accept().expect("accept").0)
}

/// A read: how many bytes, or what error.
fn read(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    stream.read(&mut [0; 16]).map_err(|error| error.kind())
}

fn write(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    stream.write(b"x").map_err(|error| error.kind())
}

/// Waits until the connection is over on this side.
fn wait_closed(stream: &TcpStream) {
    while stream.info().expect("info").state != State::Closed {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn blocking_reset_with_unread_text_gives_the_text_then_the_error_once_then_an_end() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        server.write_all(b"text").expect("write");
        assert_eq!(client.peek(&mut [0; 16]).expect("it has come"), 4);
        server.abort();
        wait_closed(&client);
        assert_eq!(read(&mut client), Ok(4));
        assert_eq!(read(&mut client), Err(ErrorKind::ConnectionReset));
        assert_eq!(read(&mut client), Ok(0));
        assert_eq!(write(&mut client), Err(ErrorKind::BrokenPipe));
        let error = client.shutdown(Shutdown::Write).expect_err("no connection");
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn blocking_write_takes_the_error_of_a_reset_once() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, server) = pair(&a, &b);
        server.abort();
        wait_closed(&client);
        assert_eq!(write(&mut client), Err(ErrorKind::ConnectionReset));
        assert_eq!(write(&mut client), Err(ErrorKind::BrokenPipe));
        assert_eq!(read(&mut client), Ok(0));
        assert!(client.take_error().expect("host").is_none());
    });
}

#[test]
fn blocking_reset_after_the_peers_fin_never_shows_in_read() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, server) = pair(&a, &b);
        server.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(read(&mut client), Ok(0));
        server.abort();
        wait_closed(&client);
        assert_eq!(read(&mut client), Ok(0));
        assert_eq!(write(&mut client), Err(ErrorKind::BrokenPipe));
        let error = client.shutdown(Shutdown::Write).expect_err("no connection");
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn blocking_shut_directions() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (mut client, mut server) = pair(&a, &b);
        client.shutdown(Shutdown::Write).expect("shutdown");
        client.shutdown(Shutdown::Write).expect("again");
        assert_eq!(write(&mut client), Err(ErrorKind::BrokenPipe));
        assert_eq!(read(&mut server), Ok(0));
        assert_eq!(read(&mut server), Ok(0));
        server.write_all(b"late").expect("the other direction is open");
        assert_eq!(client.peek(&mut [0; 16]).expect("it has come"), 4);
        client.shutdown(Shutdown::Read).expect("shutdown");
        assert_eq!(read(&mut client), Ok(4));
        assert_eq!(read(&mut client), Ok(0));
    });
}

#[test]
fn blocking_refused() {
    run_blocking(|| {
        let (a, _b) = hosts();
        let error = TcpStream::connect(&a, addr(B, 9)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn async_reset_gives_the_text_then_the_error_once_then_an_end() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        server.write_all(b"text").await.expect("write");
        let mut buf = [0; 16];
        assert_eq!(client.peek(&mut buf).await.expect("it has come"), 4);
        server.abort();
        until("closed", || client.info().expect("info").state == State::Closed).await;
        assert_eq!(client.read(&mut buf).await.expect("text"), 4);
        assert_eq!(client.read(&mut buf).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut buf).await.expect("end"), 0);
        assert_eq!(client.write(b"x").await.expect_err("dead").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn async_reset_after_the_peers_fin_never_shows_in_read() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        server.shutdown().await.expect("shutdown");
        let mut buf = [0; 16];
        assert_eq!(client.read(&mut buf).await.expect("end"), 0);
        server.abort();
        until("closed", || client.info().expect("info").state == State::Closed).await;
        assert_eq!(client.read(&mut buf).await.expect("end"), 0);
        assert_eq!(client.write(b"x").await.expect_err("dead").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn async_killed_by_an_administrator_gives_the_error_once_then_an_end() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        assert!(a.kill(client.connection_id().expect("a number")));
        let mut buf = [0; 16];
        assert_eq!(client.read(&mut buf).await.expect_err("killed").kind(), ErrorKind::ConnectionAborted);
        assert_eq!(client.read(&mut buf).await.expect("end"), 0);
        assert_eq!(client.write(b"x").await.expect_err("dead").kind(), ErrorKind::BrokenPipe);
        assert_eq!(server.read(&mut buf).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn async_refused() {
    run(async {
        let (a, _b) = hosts();
        let error = lastack::tokio::TcpStream::connect(&a, addr(B, 9)).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

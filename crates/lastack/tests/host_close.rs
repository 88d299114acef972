//! The end of a host, of a runtime and of a process.

mod common;

use std::io::{ErrorKind, Read};
use std::time::Duration;

use common::{A, B, LIMIT, addr, connected, hosts, pattern, run, run_blocking, until};
use lastack::{Host, Loss, State, blocking};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn closing_a_host_delivers_what_its_sockets_owe() {
    run(async {
        let (a, b) = hosts();
        let (mut dropped, mut server_of_dropped) = connected(&a, &b).await;
        let (mut open, mut server_of_open) = connected(&a, &b).await;
        dropped.write_all(&pattern(50_000)).await.expect("write");
        open.write_all(&pattern(60_000)).await.expect("write");
        drop(dropped);
        let readers = tokio::spawn(async move {
            let mut got = (Vec::new(), Vec::new());
            server_of_dropped.read_to_end(&mut got.0).await.expect("read");
            server_of_open.read_to_end(&mut got.1).await.expect("read");
            (got.0.len(), got.1.len())
        });
        let report = a.close_async(LIMIT).await;
        assert!(report.is_complete(), "{report}");
        assert_eq!(readers.await.expect("join"), (50_000, 60_000));
        let e = open.write(b"x").await.expect_err("closed");
        assert_eq!(e.kind(), ErrorKind::NotConnected);
        assert!(e.to_string().contains("host was closed"), "{e}");
        let e = blocking::TcpListener::bind(&a, addr(A, 1)).expect_err("closed");
        assert_eq!(e.kind(), ErrorKind::NotConnected);
        assert_eq!(a.close_async(LIMIT).await, report, "the same answer again");
    });
}

#[test]
fn closing_a_host_reports_what_was_not_delivered() {
    run(async {
        let (a, b) = hosts();
        let (client, server) = connected(&a, &b).await;
        let mut written = 0;
        while let Ok(ready) = tokio::time::timeout(Duration::from_millis(200), client.writable()).await {
            ready.expect("writable");
            written += client.try_write(&[1; 65536]).unwrap_or(0) as u64;
        }
        let id = client.connection_id();
        drop(client);
        until("the orphan shows", || a.connections().iter().any(|c| !c.owned && c.send_queue > 0)).await;
        let report = a.close_async(Duration::from_millis(100)).await;
        assert!(!report.is_complete());
        let lost = &report.undelivered[0];
        assert_eq!((Some(lost.id), lost.why, lost.remote.ip()), (id, Loss::Deadline, B.into()));
        assert!(lost.bytes > 0 && lost.bytes < written, "{} of {written}", lost.bytes);
        // And the peer is told by a reset, not by an end of file.
        let mut server = server;
        let mut buf = vec![0; 65536];
        let mut got = 0;
        let e = loop {
            match server.read(&mut buf).await {
                Ok(0) => panic!("a cut stream must not look whole"),
                Ok(n) => got += n as u64,
                Err(e) => break e,
            }
        };
        assert_eq!(e.kind(), ErrorKind::ConnectionReset);
        assert_eq!(got + lost.bytes, written);
    });
}

#[test]
fn a_host_that_ends_resets_every_connection_that_is_left_however_many() {
    run(async {
        let (a, b) = hosts();
        let mut servers = Vec::new();
        for _ in 0..600 {
            let (mut client, server) = connected(&a, &b).await;
            // More than the window of a peer that does not read: the rest cannot be delivered.
            client.write_all(&[1; 200_000]).await.expect("write");
            servers.push(server);
        }
        let open = || b.connections().iter().filter(|c| c.state == State::Established).count();
        assert_eq!(open(), 600);
        let report = a.close_async(Duration::from_millis(100)).await;
        assert!(!report.is_complete());
        until("all peers were told", || open() == 0).await;
    });
}

#[test]
fn a_connection_that_broke_after_its_drop_is_in_the_report() {
    run(async {
        let (a, b) = hosts();
        let (client, server) = connected(&a, &b).await;
        while let Ok(_ready) = tokio::time::timeout(Duration::from_millis(200), client.writable()).await {
            let _ = client.try_write(&[1; 65536]);
        }
        drop(client);
        until("the FIN is queued", || a.connections().iter().any(|c| c.state == State::FinWait1)).await;
        server.abort();
        until("the reset has arrived", || a.connections().is_empty()).await;
        let report = a.close_async(LIMIT).await;
        assert_eq!(report.undelivered.len(), 1, "{report}");
        assert_eq!(report.undelivered[0].why, Loss::Ended(lastack::Cause::Reset));
    });
}

#[test]
fn closing_wakes_all_who_wait() {
    run(async {
        let (a, b) = hosts();
        let (mut client, _server) = connected(&a, &b).await;
        let listener = lastack::tokio::TcpListener::bind(&a, addr(A, 80)).await.expect("bind");
        let udp = lastack::tokio::UdpSocket::bind(&a, addr(A, 80)).await.expect("bind");
        let read = tokio::spawn(async move { client.read(&mut [0; 8]).await.map(drop) });
        let accept = tokio::spawn(async move { listener.accept().await.map(drop) });
        let receive = tokio::spawn(async move { udp.recv(&mut [0; 8]).await.map(drop) });
        let blocked = blocking::TcpListener::bind(&a, addr(A, 81)).expect("bind");
        let blocked = std::thread::spawn(move || blocked.accept().map(drop));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let report = a.close_async(LIMIT).await;
        assert!(report.is_complete(), "{report}");
        for task in [read, accept, receive] {
            assert_eq!(task.await.expect("join").expect_err("closed").kind(), ErrorKind::NotConnected);
        }
        assert_eq!(blocked.join().expect("join").expect_err("closed").kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_runtime_that_shuts_down_loses_nothing() {
    run_blocking(|| {
        let (a, b) = hosts();
        let listener = blocking::TcpListener::bind(&b, addr(B, 80)).expect("bind");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut stream = lastack::tokio::TcpStream::connect(&a, addr(B, 80)).await.expect("connect");
            stream.write_all(&pattern(1 << 20)).await.expect("write");
        });
        drop(runtime);
        drop(a);
        // Only now somebody reads.
        let mut got = Vec::new();
        listener.accept().expect("accept").0.read_to_end(&mut got).expect("read");
        assert!(got == pattern(1 << 20), "{} bytes", got.len());
    });
}

#[test]
fn a_dropped_host_runs_on_for_its_sockets_and_then_drains() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        client.write_all(&pattern(10_000)).await.expect("write");
        drop(a);
        // The socket keeps it running.
        server.write_all(b"still there").await.expect("write");
        client.read_exact(&mut [0; 11]).await.expect("read");
        drop(client);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.expect("read");
        assert_eq!(got.len(), 10_000);
    });
}

#[test]
fn hosts_are_independent() {
    run_blocking(|| {
        let (a, b) = hosts();
        let (c, d) = hosts();
        let listeners: Vec<blocking::TcpListener> =
            [&b, &d].map(|host: &Host| blocking::TcpListener::bind(host, addr(B, 80)).expect("bind")).into();
        let _one = blocking::TcpStream::connect(&a, addr(B, 80)).expect("connect");
        let report = a.close(LIMIT);
        assert!(report.is_complete(), "{report}");
        let _two = blocking::TcpStream::connect(&c, addr(B, 80)).expect("connect");
        drop(listeners);
    });
}

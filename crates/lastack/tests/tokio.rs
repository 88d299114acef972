//! The async sockets.

mod common;

use std::io::{self, ErrorKind};
use std::time::Duration;

use common::{A, B, LIMIT, addr, connected, hosts, hosts_with, path, pattern, run, until};
use lastack::tokio::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use lastack::{Cause, Config, Delivery, Error, Loss, Refusal, State, TcpConfig, TcpOption, error_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

#[test]
fn ten_mebibytes_come_back_as_they_went() {
    run(async {
        let (a, b) = hosts();
        let (client, mut server) = connected(&a, &b).await;
        let echo = tokio::spawn(async move {
            let (mut read, mut write) = server.split();
            tokio::io::copy(&mut read, &mut write).await.expect("echo");
            write.shutdown().await.expect("shutdown");
        });
        let sent = pattern(10 << 20);
        let (mut read, mut write) = client.into_split();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            write.write_all(&copy).await.expect("write");
            // Dropping the half ends the stream.
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.expect("read");
        assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
        writer.await.expect("writer");
        echo.await.expect("echo");
    });
}

#[test]
fn from_the_second_connection_on_the_request_is_on_the_syn() {
    run(async {
        let tcp = TcpConfig { fast_open_server: true, ..TcpConfig::default() };
        let (a, b) = hosts_with(&Config { tcp, ..Config::default() });
        let socket = TcpSocket::new(&b).expect("socket");
        socket.set_option(TcpOption::FastOpen(16)).expect("Fast Open");
        socket.bind(addr(B, 80)).expect("bind");
        let listener = socket.listen(16).expect("listen");
        for (len, on_syn) in [(100, false), (100, true), (100_000, true)] {
            let sent = pattern(len);
            let client = TcpSocket::new(&a).expect("socket");
            let serve = async {
                let (mut server, _) = listener.accept().await.expect("accept");
                let mut got = vec![0; len];
                server.read_exact(&mut got).await.expect("read");
                assert_eq!(server.info().expect("info").syn_data, on_syn);
                got
            };
            let (client, got) = tokio::join!(client.connect_with_data(addr(B, 80), &sent), serve);
            assert_eq!(client.expect("connect").info().expect("info").syn_data, on_syn);
            assert!(got == sent);
        }
    });
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    run(async {
        let (a, b) = hosts();
        for client_first in [true, false] {
            let (client, server) = connected(&a, &b).await;
            let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
            first.write_all(b"question").await.expect("write");
            first.shutdown().await.expect("shutdown");
            assert_eq!(first.write(b"x").await.expect_err("shut").kind(), ErrorKind::BrokenPipe);
            let mut got = Vec::new();
            second.read_to_end(&mut got).await.expect("read");
            assert_eq!(got, b"question");
            // The half that is left carries as much as it likes.
            let reply = pattern(300_000);
            second.write_all(&reply).await.expect("write");
            second.shutdown().await.expect("shutdown");
            got.clear();
            first.read_to_end(&mut got).await.expect("read");
            assert!(got == reply);
        }
    });
}

#[test]
fn a_reset_is_told_once_and_data_before_it_is_read() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        client.write_all(b"last words").await.expect("write");
        until("the data has arrived", || server.info().expect("info").unread == 10).await;
        client.abort();
        until("the reset has arrived", || server.info().expect("info").state == State::Closed).await;
        let mut buf = [0; 64];
        assert_eq!(server.read(&mut buf).await.expect("data first"), 10);
        let e = server.read(&mut buf).await.expect_err("then the reset");
        assert_eq!(e.kind(), ErrorKind::ConnectionReset);
        let reason = error_of(&e).expect("reason");
        assert_eq!((reason.error, reason.errno()), (Error::ConnectionReset, 104));
        assert_eq!(reason.local.map(|a| a.ip()), Some(B.into()));
        assert_eq!(reason.remote.map(|a| a.ip()), Some(A.into()));
        assert_eq!(server.read(&mut buf).await.expect("then the end"), 0);
        assert_eq!(server.write(b"x").await.expect_err("no peer").kind(), ErrorKind::BrokenPipe);
        assert_eq!(server.shutdown().await.expect_err("no connection").kind(), ErrorKind::NotConnected);
        assert_eq!(server.history().last().map(|t| t.cause), Some(Cause::Reset));
    });
}

#[test]
fn a_reset_wakes_a_reader_and_a_writer_that_wait() {
    run(async {
        let (a, b) = hosts();
        let (client, server) = connected(&a, &b).await;
        let (mut read, mut write) = client.into_split();
        let reader = tokio::spawn(async move { read.read(&mut [0; 8]).await });
        let writer = tokio::spawn(async move { write.write_all(&pattern(64 << 20)).await });
        until("the writer met a full buffer", || server.info().expect("info").recv_window == 0).await;
        server.abort();
        // The error is stored once; who comes second sees what is left.
        let (reader, writer) = (reader.await.expect("join"), writer.await.expect("join"));
        let writer = writer.expect_err("reset").kind();
        match reader {
            Ok(n) => assert_eq!((n, writer), (0, ErrorKind::ConnectionReset)),
            Err(e) => assert_eq!((e.kind(), writer), (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe)),
        }
    });
}

#[test]
fn nobody_listening_is_connection_refused() {
    run(async {
        let (a, _b) = hosts();
        let e = TcpStream::connect(&a, addr(B, 4)).await.expect_err("refused");
        assert_eq!(e.kind(), ErrorKind::ConnectionRefused);
        let reason = error_of(&e).expect("reason");
        assert_eq!(reason.remote, Some(addr(B, 4)));
        assert!(e.to_string().contains("10.0.0.2:4"), "{e}");
        let e = TcpStream::connect(&a, "192.0.2.1:80").await.expect_err("no route");
        assert_eq!(e.kind(), ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn binding_twice_is_address_in_use() {
    run(async {
        let (a, _b) = hosts();
        let _first = TcpListener::bind(&a, addr(A, 80)).await.expect("bind");
        assert_eq!(TcpListener::bind(&a, addr(A, 80)).await.expect_err("twice").kind(), ErrorKind::AddrInUse);
        let e = TcpListener::bind(&a, "192.0.2.1:80").await.expect_err("not ours");
        assert_eq!(e.kind(), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn close_with_unread_data_resets_the_peer() {
    run(async {
        let (a, b) = hosts();
        let (mut client, server) = connected(&a, &b).await;
        client.write_all(b"never read").await.expect("write");
        until("the data has arrived", || server.info().expect("info").unread > 0).await;
        drop(server);
        let e = client.read(&mut [0; 8]).await.expect_err("reset");
        assert_eq!(e.kind(), ErrorKind::ConnectionReset);
        assert_eq!(b.counters().abort_on_close, 1);
    });
}

#[test]
fn linger_zero_makes_the_close_an_abort() {
    run(async {
        let (a, b) = hosts();
        let (client, mut server) = connected(&a, &b).await;
        client.set_linger_zero(true).expect("option");
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn split_halves_end_separately_and_reunite() {
    run(async {
        let (a, b) = hosts();
        let (client, mut server) = connected(&a, &b).await;
        let (read, write) = client.into_split();
        let (other_read, _other_write) = connected(&a, &b).await.0.into_split();
        let wrong = other_read.reunite(write).expect_err("not of one connection");
        let client = read.reunite(wrong.1).expect("of one connection");
        let (mut read, write) = client.into_split();
        drop(write);
        assert_eq!(server.read(&mut [0; 8]).await.expect("end"), 0);
        server.write_all(b"still there").await.expect("write");
        drop(server);
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"still there");

        let (client, mut server) = connected(&a, &b).await;
        let (_read, write) = client.into_split();
        write.forget();
        let nothing = tokio::time::timeout(Duration::from_millis(50), server.read(&mut [0; 8])).await;
        assert!(nothing.is_err(), "a forgotten half must not end the stream");
    });
}

#[test]
fn a_task_that_panics_closes_its_connection() {
    run(async {
        let (a, b) = hosts();
        let (mut client, server) = connected(&a, &b).await;
        let task = tokio::spawn(async move {
            let _server = server;
            panic!("on purpose");
        });
        assert!(task.await.expect_err("panicked").is_panic());
        assert_eq!(client.read(&mut [0; 8]).await.expect("a FIN, as after a crash"), 0);
    });
}

#[test]
fn close_linger_tells_what_became_of_the_data() {
    run(async {
        let (a, b) = hosts();
        let (mut client, mut server) = connected(&a, &b).await;
        client.write_all(&pattern(100_000)).await.expect("write");
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.map(|_| got.len())
        });
        assert_eq!(client.close_linger(LIMIT).await, Delivery::Delivered);
        assert_eq!(reader.await.expect("join").expect("read"), 100_000);

        // Nobody reads: a part stays in the queue.
        let (mut client, server) = connected(&a, &b).await;
        let mut written = 0;
        while let Ok(n) = tokio::time::timeout(Duration::from_millis(200), client.write(&[7; 65536])).await {
            written += n.expect("write") as u64;
        }
        match client.close_linger(Duration::from_millis(100)).await {
            Delivery::Undelivered { bytes, why: Loss::Deadline } => {
                assert!(bytes > 0 && bytes < written, "{bytes}");
            }
            other => panic!("{other:?}"),
        }
        // The stack goes on: it arrives all the same.
        let mut server = server;
        let mut got = 0;
        let mut buf = vec![0; 65536];
        loop {
            match server.read(&mut buf).await.expect("read") {
                0 => break,
                n => got += n as u64,
            }
        }
        assert_eq!(got, written);

        // The peer resets while we wait.
        let (mut client, server) = connected(&a, &b).await;
        while let Ok(n) = tokio::time::timeout(Duration::from_millis(200), client.write(&[7; 65536])).await {
            n.expect("write");
        }
        let linger = tokio::spawn(client.close_linger(LIMIT));
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.abort();
        match linger.await.expect("join") {
            Delivery::Undelivered { bytes, why: Loss::Ended(Cause::Reset) } => assert!(bytes > 0),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn close_linger_with_unread_data_says_so() {
    run(async {
        let (a, b) = hosts();
        let (mut client, server) = connected(&a, &b).await;
        client.write_all(b"unread").await.expect("write");
        until("the data has arrived", || server.info().expect("info").unread > 0).await;
        let delivery = server.close_linger(LIMIT).await;
        assert_eq!(delivery, Delivery::Undelivered { bytes: 0, why: Loss::Ended(Cause::UnreadData) });
    });
}

#[test]
fn readiness_follows_the_connection() {
    run(async {
        let (a, b) = hosts();
        let (client, mut server) = connected(&a, &b).await;
        client.writable().await.expect("writable");
        assert_eq!(client.try_read(&mut [0; 8]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        server.write_all(b"abc").await.expect("write");
        client.readable().await.expect("readable");
        let mut buf = [0; 8];
        assert_eq!(client.peek(&mut buf).await.expect("peek"), 3);
        assert_eq!(client.try_read(&mut buf).expect("read"), 3);
        assert_eq!(&buf[..3], b"abc");
        assert!(client.ready(Interest::READABLE | Interest::WRITABLE).await.expect("ready").is_writable());
        drop(server);
        let ready = client.ready(Interest::READABLE).await.expect("ready");
        assert!(ready.is_readable() && ready.is_read_closed());
        // A writer that waits is told when there is room.
        let (client, mut server) = connected(&a, &b).await;
        let mut sent = 0;
        for _ in 0..3 {
            while let Ok(n) = client.try_write(&[1; 65536]) {
                sent += n;
            }
            assert_eq!(client.try_write(&[1]).expect_err("full").kind(), ErrorKind::WouldBlock);
            let mut buf = vec![0; 65536];
            let mut writable = std::pin::pin!(client.writable());
            loop {
                tokio::select! {
                    ready = &mut writable => break ready.expect("writable"),
                    n = server.read(&mut buf) => assert!(n.expect("read") > 0),
                }
            }
        }
        assert!(sent > 3 << 20);
    });
}

#[test]
fn options_are_kept_and_checked() {
    run(async {
        let (a, b) = hosts();
        let (client, _server) = connected(&a, &b).await;
        client.set_nodelay(true).expect("option");
        assert!(client.nodelay().expect("option"));
        client.set_ttl(7).expect("option");
        assert_eq!(client.ttl().expect("option"), 7);
        assert_eq!(client.set_ttl(0).expect_err("range").kind(), ErrorKind::InvalidInput);
        assert_eq!(client.set_ttl(256).expect_err("range").kind(), ErrorKind::InvalidInput);
        client.set_user_timeout(Some(Duration::from_secs(3))).expect("option");
        assert_eq!(client.user_timeout().expect("option"), Some(Duration::from_secs(3)));
        client.set_keepalive(true).expect("option");
        client.set_option(TcpOption::KeepIdle(Duration::from_secs(9))).expect("option");
        let options = client.options().expect("options");
        assert!(options.keepalive && options.keep_idle == Duration::from_secs(9));
        assert!(client.take_error().expect("no error").is_none());
    });
}

#[test]
fn a_graceful_close_walks_the_states_of_the_book() {
    run(async {
        let (a, b) = hosts();
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = std::sync::Arc::clone(&seen);
        a.trace(move |event| sink.lock().expect("lock").push((event.id, event.transition.to)));
        let (mut client, mut server) = connected(&a, &b).await;
        let id = client.connection_id().expect("id");
        client.shutdown().await.expect("shutdown");
        assert_eq!(server.read(&mut [0; 8]).await.expect("end"), 0);
        server.shutdown().await.expect("shutdown");
        assert_eq!(client.read(&mut [0; 8]).await.expect("end"), 0);
        let expected =
            [State::SynSent, State::Established, State::FinWait1, State::FinWait2, State::TimeWait];
        until("TIME_WAIT", || {
            seen.lock().expect("lock").last().is_some_and(|(_, to)| *to == State::TimeWait)
        })
        .await;
        let seen: Vec<_> =
            seen.lock().expect("lock").iter().filter(|(i, _)| *i == id).map(|(_, to)| *to).collect();
        assert_eq!(seen, expected);
        assert_eq!(path(&client.history()), expected);
    });
}

#[test]
fn a_gateway_decides_before_the_handshake_goes_on() {
    run(async {
        let (a, b) = hosts();
        let socket = TcpSocket::new(&b).expect("socket");
        socket.set_any_port(true).expect("option");
        socket.set_defer(true).expect("option");
        socket.bind(addr(B, 0)).expect("bind");
        let listener = socket.listen(64).expect("listen");

        // Let in, on whatever port.
        let connecting = tokio::spawn({
            let a = a.clone();
            async move { TcpStream::connect(&a, addr(B, 12345)).await }
        });
        let pending = listener.pending().await.expect("pending");
        assert_eq!(pending.local(), addr(B, 12345));
        assert_eq!(pending.remote().ip(), std::net::IpAddr::from(A));
        assert!(!connecting.is_finished());
        let id = pending.id();
        let mut server = pending.accept().await.expect("accept");
        assert_eq!(server.connection_id(), Some(id));
        let mut client = connecting.await.expect("join").expect("connect");
        client.write_all(b"hi").await.expect("write");
        let mut buf = [0; 2];
        server.read_exact(&mut buf).await.expect("read");
        assert_eq!(server.local_addr().expect("address"), addr(B, 12345));

        // Refused.
        for (how, kind) in [(Refusal::Reset, ErrorKind::ConnectionRefused)] {
            let connecting = tokio::spawn({
                let a = a.clone();
                async move { TcpStream::connect(&a, addr(B, 23)).await }
            });
            listener.pending().await.expect("pending").refuse(how).expect("refuse");
            assert_eq!(connecting.await.expect("join").expect_err("refused").kind(), kind);
        }
        // Dropped.
        let connecting = tokio::spawn({
            let a = a.clone();
            async move { TcpStream::connect(&a, addr(B, 24)).await }
        });
        drop(listener.pending().await.expect("pending"));
        assert_eq!(
            connecting.await.expect("join").expect_err("refused").kind(),
            ErrorKind::ConnectionRefused
        );
        // Several at a time, answered in another order.
        let mut tasks = Vec::new();
        for port in 100..110 {
            let a = a.clone();
            tasks.push(tokio::spawn(async move { TcpStream::connect(&a, addr(B, port)).await }));
        }
        let mut pending = Vec::new();
        for _ in 100..110 {
            pending.push(listener.pending().await.expect("pending"));
        }
        pending.reverse();
        let accepts: Vec<_> = pending.into_iter().map(|p| tokio::spawn(p.accept())).collect();
        for accept in accepts {
            accept.await.expect("join").expect("accept");
        }
        for task in tasks {
            task.await.expect("join").expect("connect");
        }
    });
}

#[test]
fn a_request_that_is_forgotten_while_somebody_decides_is_gone() {
    run(async {
        let mut config = Config::default();
        config.tcp.defer_timeout = Duration::from_millis(50);
        let (a, b) = hosts_with(&config);
        let socket = TcpSocket::new(&b).expect("socket");
        socket.set_defer(true).expect("option");
        socket.bind(addr(B, 80)).expect("bind");
        let listener = socket.listen(64).expect("listen");
        let _connecting = tokio::spawn(async move { TcpStream::connect(&a, addr(B, 80)).await });
        let pending = listener.pending().await.expect("pending");
        pending.gone().await;
        assert!(pending.refuse(Refusal::Reset).is_err(), "there is nothing left to refuse");
    });
}

#[test]
fn datagrams_go_both_ways_and_for_every_port() {
    run(async {
        let (a, b) = hosts();
        let client = UdpSocket::bind(&a, addr(A, 0)).await.expect("bind");
        let server = UdpSocket::bind(&b, addr(B, 53)).await.expect("bind");
        client.send_to(b"name?", addr(B, 53)).await.expect("send");
        let mut buf = [0; 64];
        assert_eq!(server.peek(&mut buf).await.expect("peek"), 5);
        let (len, from) = server.recv_from(&mut buf).await.expect("receive");
        assert_eq!((&buf[..len], from), (&b"name?"[..], client.local_addr().expect("address")));
        server.send_to(b"10.0.0.9", from).await.expect("send");
        assert_eq!(client.recv(&mut buf).await.expect("receive"), 8);

        let gateway = UdpSocket::bind_any_port(&b, std::net::Ipv4Addr::UNSPECIFIED.into()).expect("bind");
        client.send_to(b"?", addr(B, 999)).await.expect("send");
        let (len, from, to) = gateway.recv_to(&mut buf).await.expect("receive");
        assert_eq!((len, to), (1, addr(B, 999)));
        gateway.send_from(b"!!", to, from).await.expect("send");
        assert_eq!(client.recv_from(&mut buf).await.expect("receive"), (2, addr(B, 999)));
    });
}

#[test]
fn a_thousand_connections_leave_nothing_but_time_wait() {
    run(async {
        let (a, b) = hosts();
        let listener = TcpListener::bind(&b, addr(B, 80)).await.expect("bind");
        let server = tokio::spawn(async move {
            for _ in 0..1000 {
                let (mut stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let mut buf = [0; 16];
                    let n = stream.read(&mut buf).await?;
                    stream.write_all(&buf[..n]).await?;
                    stream.read(&mut buf).await
                });
            }
            io::Result::Ok(())
        });
        for round in 0..20 {
            let mut tasks = Vec::new();
            for _ in 0..50 {
                let a = a.clone();
                tasks.push(tokio::spawn(async move {
                    let mut stream = TcpStream::connect(&a, addr(B, 80)).await?;
                    stream.write_all(b"ping").await?;
                    stream.shutdown().await?;
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).await?;
                    io::Result::Ok(got)
                }));
            }
            for task in tasks {
                assert_eq!(task.await.expect("join").expect("exchange"), b"ping", "round {round}");
            }
        }
        server.await.expect("join").expect("accept");
        until("no connection is left", || a.connections().is_empty() && b.connections().is_empty()).await;
        assert_eq!((a.counters().illegal_transitions, b.counters().illegal_transitions), (0, 0));
    });
}

#[test]
fn no_wake_up_is_lost_under_ping_pong() {
    run(async {
        let (a, b) = hosts();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (mut client, mut server) = connected(&a, &b).await;
            client.set_nodelay(true).expect("option");
            server.set_nodelay(true).expect("option");
            tasks.push(tokio::spawn(async move {
                for _ in 0..2000 {
                    let byte = server.read_u8().await?;
                    server.write_u8(byte.wrapping_add(1)).await?;
                }
                io::Result::Ok(())
            }));
            tasks.push(tokio::spawn(async move {
                for i in 0..2000_u32 {
                    client.write_u8(i as u8).await?;
                    assert_eq!(client.read_u8().await?, (i as u8).wrapping_add(1));
                }
                io::Result::Ok(())
            }));
        }
        for task in tasks {
            task.await.expect("join").expect("exchange");
        }
    });
}

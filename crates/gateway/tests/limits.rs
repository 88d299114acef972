//! What happens at each limit: who is over it waits or goes, others go on, and the summary says it. Over a link in memory;
//! needs no root.

mod link;

use std::net::SocketAddr;
use std::time::Duration;

use lastack::Host;
use lastack::tokio::{TcpStream, UdpSocket};
use lastack_gateway::addresses::GATEWAY_V4;
use lastack_gateway::summary::{End, Report};
use lastack_gateway::{LimitMet, Limits};
use link::{link, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A listener of the host, and where the program finds it.
async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, (GATEWAY_V4, port).into())
}

fn met(report: &Report, name: &str) -> LimitMet {
    let met = report.limits.iter().find(|met| met.name == name);
    met.cloned().unwrap_or_else(|| panic!("{name} was not met: {:?}", report.limits))
}

/// A second connection that waits while the first lives.
async fn waits_for(host: &Host, first: TcpStream, server: SocketAddr) {
    let other = host.clone();
    let second = tokio::spawn(async move { TcpStream::connect(&other, server).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished(), "a SYN over the limit is answered by silence");
    drop(first);
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_wait_for_their_turn() {
    let (listener, server) = listener().await;
    let link = link(Limits { max_connections: 1, ..Limits::default() });
    let first = TcpStream::connect(&link.program, server).await.unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    waits_for(&link.program, first, server).await;
    let report = link.end().await;
    assert_eq!(met(&report, "max_connections").limit, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_destination_over_its_limit_wait_and_others_do_not() {
    let ((one, first), (other, second)) = (listener().await, listener().await);
    let link = link(Limits { max_per_destination: 1, ..Limits::default() });
    let stream = TcpStream::connect(&link.program, first).await.unwrap();
    tokio::spawn(async move { while one.accept().await.is_ok() {} });
    let _elsewhere = TcpStream::connect(&link.program, second).await.unwrap();
    waits_for(&link.program, stream, first).await;
    drop(other);
    let report = link.end().await;
    assert!(met(&report, "max_per_destination").times > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_udp_flow_too_many_ends_the_one_that_was_idle_the_longest() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = SocketAddr::from((GATEWAY_V4, server.local_addr().unwrap().port()));
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((len, from)) = server.recv_from(&mut buffer).await {
            server.send_to(&buffer[..len], from).await.unwrap();
        }
    });
    let link = link(Limits { max_udp_flows: 2, ..Limits::default() });
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let socket = UdpSocket::bind(&link.program, "10.0.2.15:0").await.unwrap();
        socket.send_to(b"x", to).await.unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).await.unwrap(), 1);
        sockets.push(socket);
    }
    // One that went comes again, as any other.
    sockets[0].send_to(b"xy", to).await.unwrap();
    assert_eq!(sockets[0].recv(&mut [0; 100]).await.unwrap(), 2);
    let report = link.end().await;
    assert_eq!((met(&report, "max_udp_flows").times, report.udp_flows.len()), (4, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_readers_that_do_not_read_stays_within_its_limit_and_all_arrives_later() {
    const LIMIT: usize = 1 << 20;
    const EACH: usize = 1 << 20;
    let (listener, server) = listener().await;
    let link = link(Limits { max_memory: LIMIT, ..Limits::default() });
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        let mut stream = TcpStream::connect(&link.program, server).await.unwrap();
        let (mut reader, _) = listener.accept().await.unwrap();
        // What the program does not read.
        senders.push(tokio::spawn(async move {
            let mut sent = 0;
            while sent < EACH {
                sent += reader.write(&[7; 65_536]).await.unwrap();
            }
            reader.shutdown().await.unwrap();
            reader.read_to_end(&mut Vec::new()).await.unwrap();
            sent
        }));
        readers.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let mut data = Vec::new();
            stream.read_to_end(&mut data).await.unwrap();
            data.len()
        }));
    }
    let mut most = 0;
    until(|| {
        most = most.max(link.gateway.counts().buffer_bytes);
        readers.iter().all(tokio::task::JoinHandle::is_finished)
    })
    .await;
    for (sender, reader) in senders.into_iter().zip(readers) {
        assert_eq!(sender.await.unwrap(), reader.await.unwrap());
    }
    assert!(most <= LIMIT && most > LIMIT / 2, "{most} bytes");
    let report = link.end().await;
    assert_eq!(met(&report, "max_memory").limit, LIMIT as u64);
    assert!(report.connections.iter().all(|record| record.end == End::Graceful));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_the_limit_are_repeated_and_come_through() {
    let (listener, server) = listener().await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let link = link(Limits { max_pending: 4, ..Limits::default() });
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let host = link.program.clone();
        all.spawn(async move { TcpStream::connect(&host, server).await.map(drop) });
    }
    while let Some(connected) = all.join_next().await {
        connected.unwrap().unwrap();
    }
    let report = link.end().await;
    assert_eq!(met(&report, "max_pending").limit, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_that_is_met_the_summary_has_none() {
    let (listener, server) = listener().await;
    let link = link(Limits::default());
    drop(TcpStream::connect(&link.program, server).await.unwrap());
    drop(listener);
    assert_eq!(link.end().await.limits, []);
}

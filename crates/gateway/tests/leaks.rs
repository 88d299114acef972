//! What is left after many connections with every kind of ending: nothing. Over a link in memory, with servers on
//! the loopback of this machine; needs no root.

mod link;

use std::net::SocketAddr;

use lastack::Host;
use lastack::tokio::TcpStream;
use lastack_gateway::Limits;
use lastack_gateway::addresses::GATEWAY_V4;
use lastack_gateway::summary::End;
use link::{link, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Echoes until the end of the stream; every third connection is reset instead, after some bytes.
async fn serve(listener: tokio::net::TcpListener) {
    let mut number = 0;
    while let Ok((mut stream, _)) = listener.accept().await {
        number += 1;
        tokio::spawn(async move {
            if number % 3 == 0 {
                let mut some = [0; 10];
                let _ = stream.read(&mut some).await;
                stream.set_zero_linger().unwrap();
                return;
            }
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

/// One connection with the ending of its number.
async fn use_connection(host: &Host, server: SocketAddr, number: usize) {
    let Ok(mut stream) = TcpStream::connect(host, server).await else { return };
    let _ = stream.write_all(&vec![1; number * 37 % 50_000]).await;
    match number % 5 {
        0 => {
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        1 => stream.abort(),
        2 => drop(stream),
        3 => {
            let _ = stream.read(&mut [0; 100]).await;
        }
        _ => {
            let _ = stream.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_ten_thousand_endings() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener));
    let link = link(Limits::default());
    let before = open_files();
    for round in 0..50 {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..200 {
            let host = link.program.clone();
            all.spawn(async move {
                // One in ten finds nobody.
                let port = if number % 10 == 9 { 1 } else { port };
                use_connection(&host, (GATEWAY_V4, port).into(), round * 200 + number).await;
            });
        }
        while all.join_next().await.is_some() {}
    }
    // The listener stays, and TIME_WAIT records, which are not listed.
    until(|| link.gateway.connections().len() == 1).await;
    until(|| open_files() <= before).await;
    let report = link.end().await;
    assert_eq!(report.connections.len(), 10_000);
    assert_eq!(report.not_listed, 0);
    let count = |end| report.connections.iter().filter(|record| record.end == end).count();
    assert_eq!(count(End::Refused), 1000);
    assert_eq!(count(End::Cut), 0);
    assert!(count(End::Reset) > 0 && count(End::Graceful) > 0);
}

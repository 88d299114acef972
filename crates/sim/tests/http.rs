//! Somebody else's programs: a hyper client and an axum server, unchanged, over a link that loses packets, in virtual time.

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderValue;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use lastack::tokio::{TcpListener, TcpStream};
use lastack_sim::{AsyncNetwork, Scenario};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

const NETWORK: &str = r#"
name = "web"
summary = "a server behind a lossy line"
host = [{ name = "client" }, { name = "server" }]

[[link]]
between = ["client", "server"]
both = { rate = "10M", delay = "30ms", loss = "3%", queue = { kind = "drop-tail", bytes = "100k" } }
"#;

/// axum's listener over lastack's.
struct Listener(TcpListener);

impl axum::serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.0.accept().await.expect("the host stays open")
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A Date of the real clock would be another one each time.
async fn date(mut response: Response) -> Response {
    response.headers_mut().insert("date", HeaderValue::from_static("Mon, 01 Jan 2024 00:00:00 GMT"));
    response
}

async fn serve(host: lastack::Host, at: SocketAddr) {
    let letters = |Path(n): Path<usize>| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        "0123456789".repeat(n)
    };
    let app = Router::new().route("/{n}", get(letters)).layer(map_response(date));
    let listener = Listener(TcpListener::bind(&host, at).await.expect("the address is free"));
    axum::serve(listener, app).await.expect("it serves for ever");
}

/// Fetches three pages on one connection; gives the times that they took.
async fn fetch(host: lastack::Host, at: SocketAddr) -> Vec<Duration> {
    let stream = TcpStream::connect(&host, at).await.expect("the server listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut times = Vec::new();
    for n in [1, 1000, 30_000] {
        let start = Instant::now();
        let request = Request::get(format!("/{n}")).header("host", "server").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.expect("a request")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.expect("the body").to_bytes();
        assert!(body.len() == 10 * n && body.chunks(10).all(|ten| ten == b"0123456789"), "{n}");
        times.push(start.elapsed());
    }
    drop(sender);
    connection.await.expect("no panic").expect("a clean end");
    times
}

fn run(seed: u64) -> (String, u64, Vec<Vec<Duration>>, u64) {
    let scenario = Scenario::parse(NETWORK).expect("a scenario");
    let mut network = AsyncNetwork::new(&scenario, seed).expect("a network");
    let host = |name: &str| network.host(name).expect("a host");
    let (client, server) = (host("client"), host("server"));
    let at = SocketAddr::new(network.address("server").expect("an address"), 80);
    let times = network.run(Duration::from_secs(600), async move {
        tokio::spawn(serve(server, at));
        let clients: Vec<_> = (0..4).map(|_| tokio::spawn(fetch(client.clone(), at))).collect();
        let mut times = Vec::new();
        for client in clients {
            times.push(client.await.expect("no panic"));
        }
        times
    });
    let times = times.expect("ten minutes are enough");
    let lost = network.faults().iter().map(|fault| fault.fired).sum();
    (network.digest(), network.packets(), times, lost)
}

#[test]
fn hyper_and_axum_run_in_virtual_time_and_the_seed_decides_everything() {
    let (digest, packets, times, lost) = run(1);
    assert_eq!((digest.clone(), packets, times.clone(), lost), run(1), "the same seed");
    assert_ne!(digest, run(2).0, "another seed");
    assert!(lost > 10, "{lost} packets were lost");
    for times in &times {
        // A round trip and the server's pause; at 10 Mbit/s shared by four, 300 kB take a while.
        assert!(times[0] >= Duration::from_millis(310), "{times:?}");
        assert!(times[2] >= Duration::from_millis(550), "{times:?}");
    }
}

#[test]
fn a_request_outlasts_a_partition_and_tokios_timeout_comes_in_virtual_time() {
    let cut = "both = { down = [{ from = \"600ms\", to = \"3600ms\" }], ";
    let scenario = Scenario::parse(&NETWORK.replace("both = { ", cut)).expect("a scenario");
    let mut network = AsyncNetwork::new(&scenario, 1).expect("a network");
    let (client, server) = (network.host("client").expect("a host"), network.host("server").expect("a host"));
    let at = SocketAddr::new(network.address("server").expect("an address"), 80);
    let (gave_up, answered) = network
        .run(Duration::from_secs(60), async move {
            let start = Instant::now();
            tokio::spawn(serve(server, at));
            let stream = TcpStream::connect(&client, at).await.expect("the server listens");
            let io = TokioIo::new(stream);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(io).await.expect("a handshake");
            tokio::spawn(connection);
            tokio::time::sleep_until(start + Duration::from_millis(700)).await;
            let request = Request::get("/1000").header("host", "server").body(Empty::<Bytes>::new());
            let mut response = Box::pin(sender.send_request(request.expect("a request")));
            let impatient = tokio::time::timeout(Duration::from_secs(1), &mut response).await;
            assert!(impatient.is_err(), "nothing passes");
            let gave_up = start.elapsed();
            let body = response.await.expect("a response").into_body().collect().await;
            assert_eq!(body.expect("the body").to_bytes().len(), 10_000);
            (gave_up, start.elapsed())
        })
        .expect("in time");
    assert_eq!(gave_up, Duration::from_millis(1700));
    assert!(answered > Duration::from_millis(3600 + 60 + 250), "{answered:?}");
    let cut = network.faults().iter().any(|fault| fault.fault.contains("down") && fault.fired > 0);
    assert!(cut, "{:?}", network.faults());
}

#[test]
fn a_program_that_waits_for_ever_is_stopped_at_its_limit() {
    let scenario = Scenario::parse(NETWORK).expect("a scenario");
    let mut network = AsyncNetwork::new(&scenario, 1).expect("a network");
    let server = network.host("server").expect("a host");
    let at = SocketAddr::new(network.address("server").expect("an address"), 80);
    let limit = Duration::from_secs(3600);
    let stopped = network.run(limit, async move {
        TcpListener::bind(&server, at).await.expect("an address").accept().await.map(drop)
    });
    assert_eq!(stopped.err(), Some(lastack_sim::tokio::Stopped::TimeLimit));
    assert_eq!(network.now(), limit);
}

#[test]
fn packets_arrive_to_the_nanosecond_and_timers_to_the_millisecond() {
    let text = NETWORK.replace("\"30ms\", loss = \"3%\"", "\"30123456ns\"").replace("rate = \"10M\", ", "");
    let text = text.replace(", queue = { kind = \"drop-tail\", bytes = \"100k\" }", "");
    let scenario = Scenario::parse(&text).expect("a scenario");
    let mut network = AsyncNetwork::new(&scenario, 1).expect("a network");
    let (client, server) = (network.host("client").expect("a host"), network.host("server").expect("a host"));
    let at = SocketAddr::new(network.address("server").expect("an address"), 80);
    let (connect, sleep) = network
        .run(Duration::from_secs(60), async move {
            let _listener = TcpListener::bind(&server, at).await.expect("an address");
            let start = Instant::now();
            TcpStream::connect(&client, at).await.expect("a connection");
            let connected = start.elapsed();
            tokio::time::sleep(Duration::from_millis(7)).await;
            (connected, start.elapsed())
        })
        .expect("in time");
    assert_eq!(connect, Duration::from_nanos(2 * 30_123_456));
    assert_eq!(sleep, Duration::from_millis(68), "the tick behind 60.246912 ms + 7 ms");
}

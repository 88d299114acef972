//! Two hosts on a link in memory, in real time. No test depends on how long anything takes; the limits only keep a
//! broken stack from hanging the suite.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use lastack::device::{Capabilities, memory};
use lastack::{Config, Host, State, Transition};

/// More than anything here takes.
pub const LIMIT: Duration = Duration::from_secs(60);

pub const A: [u8; 4] = [10, 0, 0, 1];
pub const B: [u8; 4] = [10, 0, 0, 2];

pub fn addr(ip: [u8; 4], port: u16) -> SocketAddr {
    (ip, port).into()
}

/// Send buffers that take at once what a test writes.
pub fn large_buffers() -> Config {
    let mut config = Config::default();
    config.tcp.send_buffer_initial = config.tcp.send_buffer_max;
    config
}

/// Hosts A and B.
pub fn hosts() -> (Host, Host) {
    hosts_with(&large_buffers())
}

/// The same with a configuration.
pub fn hosts_with(config: &Config) -> (Host, Host) {
    let (a, b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    let host = |device, ip, name| {
        Host::builder()
            .config(config.clone())
            .device(device)
            .address(ip, 24)
            .name(name)
            .start()
            .expect("host")
    };
    (host(a, A, "host-a"), host(b, B, "host-b"))
}

/// Runs an async test on a runtime of two threads, with the limit.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test hangs") });
}

/// Runs a blocking test, with the limit.
pub fn run_blocking(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _done = done;
        test();
    });
    assert_eq!(
        wait.recv_timeout(LIMIT),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected),
        "the test hangs"
    );
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// The states that a connection went through.
pub fn path(history: &[Transition]) -> Vec<State> {
    history.iter().map(|t| t.to).collect()
}

/// A connection from A to a listener at B.
pub async fn connected(a: &Host, b: &Host) -> (lastack::tokio::TcpStream, lastack::tokio::TcpStream) {
    let listener = lastack::tokio::TcpListener::bind(b, addr(B, 0)).await.expect("bind");
    let to = listener.local_addr().expect("address");
    let (client, server) = tokio::join!(lastack::tokio::TcpStream::connect(a, to), listener.accept());
    (client.expect("connect"), server.expect("accept").0)
}

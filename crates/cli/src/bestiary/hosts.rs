//! What the scenarios about programs and relays are built with: real hosts on links in memory, in real time. Nothing
//! depends on how long anything takes; the limit only keeps a broken stack from hanging the command.

use super::kit::{Verdict, ensure};
use lastack::device::{Capabilities, memory};
use lastack::tokio::{TcpListener, TcpStream};
use lastack::{Config, Host, RelayReport, relay};
use std::fmt::Debug;
use std::future::Future;
use std::io::ErrorKind;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

/// More than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const PREFIX: u8 = 24;
/// All that is ever written.
const BYTE: u8 = b'x';

/// Runs on a runtime of one thread, away from this one: a call that blocks that thread hangs it, and is found.
pub(super) fn run<F>(scenario: F) -> Verdict
where
    F: Future<Output = Verdict> + Send + 'static,
{
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let verdict = match runtime {
            Ok(runtime) => runtime.block_on(scenario),
            Err(error) => Err(format!("no runtime: {error}")),
        };
        // Nobody waits any more if the limit has passed.
        let _ = done.send(verdict);
    });
    match wait.recv_timeout(LIMIT) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => Err(format!("it does not end within {LIMIT:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("it panicked, see above".to_owned()),
    }
}

fn words(what: &str, error: impl Debug) -> String {
    format!("{what}: {error:?}")
}

/// Two hosts.
pub(super) struct Link {
    pub(super) a: Host,
    pub(super) b: Host,
}

impl Link {
    pub(super) fn new() -> Result<Self, String> {
        let (a, b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
        let host = |device, address: [u8; 4]| {
            let builder = Host::builder().config(Config::default()).device(device).address(address, PREFIX);
            builder.start().map_err(|error| words("start", error))
        };
        Ok(Self { a: host(a, A)?, b: host(b, B)? })
    }

    /// A connection from A to B.
    pub(super) async fn connected(&self) -> Result<(TcpStream, TcpStream), String> {
        let listener = TcpListener::bind(&self.b, std::net::SocketAddr::from((B, 0)));
        let listener = listener.await.map_err(|error| words("bind", error))?;
        let to = listener.local_addr().map_err(|error| words("address", error))?;
        let (near, far) = tokio::join!(TcpStream::connect(&self.a, to), listener.accept());
        let near = near.map_err(|error| words("connect", error))?;
        Ok((near, far.map_err(|error| words("accept", error))?.0))
    }
}

/// A proxy between a client and a server, each over its own link and its own connection.
pub(super) struct Proxy {
    /// Client and the proxy's near side.
    pub(super) front: Link,
    /// The proxy's far side, and server.
    pub(super) back: Link,
}

/// One connection through the proxy.
pub(super) struct Relayed {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    pub(super) relay: JoinHandle<RelayReport>,
}

impl Proxy {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self { front: Link::new()?, back: Link::new()? })
    }

    pub(super) async fn open(&self) -> Result<Relayed, String> {
        let (client, a) = self.front.connected().await?;
        let (b, server) = self.back.connected().await?;
        Ok(Relayed { client, server, relay: tokio::spawn(relay(a, b)) })
    }

    /// All four hosts have no connection left, of whatever state.
    pub(super) async fn is_empty(&self) -> Verdict {
        let hosts = [&self.front.a, &self.front.b, &self.back.a, &self.back.b];
        let left = || hosts.iter().flat_map(|host| host.connections()).count();
        until("every connection has ended", || left() == 0).await
    }
}

/// Bytes until the stream ended, and the error that ended it.
pub(super) async fn read_all(stream: &mut TcpStream) -> (usize, Option<ErrorKind>) {
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).await.err();
    // Bytes that nobody wrote do not count.
    let written = got.iter().filter(|byte| **byte == BYTE).count();
    (written, error.map(|error| error.kind()))
}

pub(super) async fn read_exactly(stream: &mut TcpStream, len: usize) -> Verdict {
    let mut got = vec![0; len];
    stream.read_exact(&mut got).await.map_err(|error| words("read", error))?;
    ensure!(got.iter().all(|byte| *byte == BYTE), "bytes were read that nobody wrote");
    Ok(())
}

pub(super) async fn write(stream: &mut TcpStream, len: usize) -> Verdict {
    stream.write_all(&vec![BYTE; len]).await.map_err(|error| words("write", error))
}

/// Writes until it fails; the error.
pub(super) async fn write_until_error(stream: &mut TcpStream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write_all(&[BYTE; 65_536]).await {
            return error.kind();
        }
    }
}

/// Ends the sending direction.
pub(super) async fn finish(stream: &mut TcpStream) -> Verdict {
    stream.shutdown().await.map_err(|error| words("shutdown", error))
}

pub(super) async fn joined<T>(task: JoinHandle<Result<T, String>>) -> Result<T, String> {
    task.await.map_err(|error| words("task", error))?
}

pub(super) async fn ended(relay: JoinHandle<RelayReport>) -> Result<RelayReport, String> {
    relay.await.map_err(|error| words("relay", error))
}

/// Waits until something holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
    for _ in 0..3000 {
        if holds() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("never: {what}"))
}

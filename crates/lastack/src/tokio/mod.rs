//! Async sockets in the shape of [`tokio::net`].
//!
//! Where tokio has one kernel, these take a [`Host`](crate::Host) first. Names, results and
//! [error kinds](std::io::ErrorKind) are as there, and so is what a dropped half does. Beyond it there are
//! `close_linger`, `abort`, `info`, `history`, the options of [`TcpOption`](crate::TcpOption) and
//! [deferred accept](TcpListener::pending).
//!
//! The packets are moved by the host's own thread, not by a task: these sockets work in any async runtime and without
//! one, and nothing that was written is lost when a runtime shuts down. (Names of hosts are resolved by
//! [`tokio::net::lookup_host`], which needs tokio's runtime; numeric addresses need none.)

mod listener;
mod socket;
mod split;
mod stream;
mod udp;

pub use listener::{PendingConnection, TcpListener};
pub use socket::TcpSocket;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::TcpStream;
pub use udp::UdpSocket;

use std::io;
use std::net::SocketAddr;

use ::tokio::io::{Interest as TokioInterest, Ready};
use ::tokio::net::{ToSocketAddrs, lookup_host};
use lastack_core::Ready as CoreReady;

use crate::host::Interest;

/// Tries each address until one works.
async fn each<R, F>(addr: impl ToSocketAddrs, mut f: impl FnMut(SocketAddr) -> F) -> io::Result<R>
where
    F: Future<Output = io::Result<R>>,
{
    let mut last = None;
    for addr in lookup_host(addr).await? {
        match f(addr).await {
            Ok(result) => return Ok(result),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(no_address))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no address given")
}

/// What tokio calls a readiness of the core.
fn to_tokio(ready: CoreReady, interest: TokioInterest) -> Ready {
    let mut out = Ready::EMPTY;
    if interest.is_readable() && ready.intersects(Interest::Read.flags()) {
        out |= Ready::READABLE;
        if ready.intersects(CoreReady::RDHUP | CoreReady::HUP) {
            out |= Ready::READ_CLOSED;
        }
    }
    if interest.is_writable() && ready.intersects(Interest::Write.flags()) {
        out |= Ready::WRITABLE;
        if ready.intersects(CoreReady::HUP | CoreReady::ERR) {
            out |= Ready::WRITE_CLOSED;
        }
    }
    if interest.is_error() && ready.contains(CoreReady::ERR) {
        out |= Ready::ERROR;
    }
    out
}

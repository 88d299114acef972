//! Blocking sockets in the shape of [`std::net`].
//!
//! Where the standard library has one kernel, these take a [`Host`](crate::Host) first. Everything else is as there:
//! names, results, [error kinds](std::io::ErrorKind), what a drop does, what clones share. Beyond it there are
//! `close_linger`, `abort`, `info`, `history` and the options of [`TcpOption`](crate::TcpOption).
//!
//! Host names are resolved by the operating system, as [`std::net::ToSocketAddrs`] does.

mod listener;
mod stream;
mod udp;

pub use listener::{Incoming, TcpListener};
pub use stream::{TcpSocket, TcpStream};
pub use udp::UdpSocket;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::host::block_on;

/// Blocking or not, and the time-outs: shared by all clones of a socket, as the kernel shares them.
#[derive(Debug, Default)]
struct Mode {
    nonblocking: AtomicBool,
    /// Nanoseconds; 0 = none.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
}

impl Mode {
    /// Waits as this mode says. A time-out is `WouldBlock`, as Linux gives it.
    fn wait<R>(&self, timeout: &AtomicU64, future: impl Future<Output = io::Result<R>>) -> io::Result<R> {
        let deadline = match load(timeout) {
            _ if self.nonblocking.load(Ordering::Relaxed) => Some(Instant::now()),
            None => None,
            // A time that the clock cannot say is no limit.
            Some(limit) => Instant::now().checked_add(limit),
        };
        block_on(future, deadline).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    fn read<R>(&self, future: impl Future<Output = io::Result<R>>) -> io::Result<R> {
        self.wait(&self.read_timeout, future)
    }

    fn write<R>(&self, future: impl Future<Output = io::Result<R>>) -> io::Result<R> {
        self.wait(&self.write_timeout, future)
    }
}

fn load(timeout: &AtomicU64) -> Option<Duration> {
    match timeout.load(Ordering::Relaxed) {
        0 => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}

fn store(timeout: &AtomicU64, value: Option<Duration>) -> io::Result<()> {
    if value == Some(Duration::ZERO) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a time-out of zero; `None` means no time-out",
        ));
    }
    let nanos = value.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    timeout.store(nanos, Ordering::Relaxed);
    Ok(())
}

/// Tries each address until one works.
fn each<R>(addr: impl ToSocketAddrs, mut f: impl FnMut(SocketAddr) -> io::Result<R>) -> io::Result<R> {
    let mut last = None;
    for addr in addr.to_socket_addrs()? {
        match f(addr) {
            Ok(result) => return Ok(result),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(no_address))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no address given")
}

//! A blocking listener.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastack_core::{SocketOptions, TcpOption};

use super::stream::{TcpSocket, TcpStream};
use super::{Mode, each};
use crate::host::Host;
use crate::options::tcp_options;
use crate::socket::TcpSock;

/// Connections that wait to be accepted, as the standard library has it.
const BACKLOG: u32 = 128;

/// A listener, in the shape of [`std::net::TcpListener`].
///
/// Dropping the last clone resets the connections that nobody has accepted and forgets half-open ones.
#[derive(Debug)]
pub struct TcpListener {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sock: TcpSock,
    mode: Mode,
}

impl TcpListener {
    pub(super) fn new(sock: TcpSock) -> Self {
        Self { inner: Arc::new(Inner { sock, mode: Mode::default() }) }
    }

    fn sock(&self) -> &TcpSock {
        &self.inner.sock
    }

    /// Listens on the first of the addresses that works, with `SO_REUSEADDR` as the standard library sets it on Unix.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub fn bind(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| {
            let socket = TcpSocket::new(host)?;
            socket.set_option(TcpOption::ReuseAddr(true))?;
            socket.bind(addr)?;
            socket.listen(BACKLOG)
        })
    }

    tcp_options!();

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if set to non-blocking; [`NotConnected`](io::ErrorKind::NotConnected)
    /// once the host is closed. A connection that was reset meanwhile is handed out all the same, as on Linux.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (sock, remote) = self.inner.mode.read(self.sock().wait_accept())?;
        Ok((TcpStream::new(sock), remote))
    }

    /// An endless iterator of connections.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Another handle of the same listener.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: Arc::clone(&self.inner) })
    }

    /// Makes [`TcpListener::accept`] fail with [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.inner.mode.nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }
}

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

//! A blocking connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lastack_core::{
    ConnectionId, Ending, Error, SocketOptions, TcpInfo, TcpOption, Timeout, Transition, Why,
};

use super::listener::TcpListener;
use super::{Mode, each, load, store};
use crate::error::ConnectionError;
use crate::host::{Delivery, Host, Release, block_on};
use crate::options::{tcp_connection, tcp_options, tcp_socket};
use crate::socket::TcpSock;

/// A TCP connection, in the shape of [`std::net::TcpStream`].
///
/// Dropping the last clone closes it: what was written is still delivered in the background (see [`Host`] for the end of
/// the program); unread data turns the close into a reset, as on Linux.
#[derive(Debug)]
pub struct TcpStream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sock: TcpSock,
    mode: Mode,
}

impl TcpStream {
    pub(super) fn new(sock: TcpSock) -> Self {
        Self { inner: Arc::new(Inner { sock, mode: Mode::default() }) }
    }

    fn sock(&self) -> &TcpSock {
        &self.inner.sock
    }

    /// Connects; of several addresses the first that works. Blocks until the handshake is done.
    ///
    /// # Errors
    /// Of the last address: [`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// [`TimedOut`](io::ErrorKind::TimedOut) (after about 131 s by default),
    /// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable) and the others that `connect` gives on Linux.
    pub fn connect(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| TcpSocket::new(host)?.connect(addr))
    }

    /// The same with a limit of one's own.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; [`TimedOut`](io::ErrorKind::TimedOut) when the limit has passed;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is zero.
    pub fn connect_timeout(host: &Host, addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        TcpSocket::new(host)?.connect_timeout(*addr, timeout)
    }

    tcp_options!();
    tcp_connection!();

    /// Shuts a direction down. [`Shutdown::Write`] queues the FIN behind all data and returns at once.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.sock().shutdown(shutdown(how))
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: Arc::clone(&self.inner) })
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    /// As reading.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.mode.read(self.sock().peek(buf))
    }

    /// Limit of a blocking read; then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), as on Linux.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        store(&self.inner.mode.read_timeout, limit)
    }

    /// Limit of a blocking write; then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), as on Linux.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        store(&self.inner.mode.write_timeout, limit)
    }

    /// See [`TcpStream::set_read_timeout`].
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(load(&self.inner.mode.read_timeout))
    }

    /// See [`TcpStream::set_write_timeout`].
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(load(&self.inner.mode.write_timeout))
    }

    /// Makes reads and writes fail with [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.inner.mode.nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the connection and waits, for at most `limit`, until the peer has acknowledged all data and the end of the
    /// stream; says what became of them. Nothing is aborted when the limit has passed: the stack goes on as after a
    /// drop. Like every close it resets if received data is unread.
    pub fn close_linger(self, limit: Duration) -> Delivery {
        let stopped = Delivery::Undelivered { bytes: 0, why: crate::Loss::HostStopped };
        block_on(self.sock().close_linger(limit), None).unwrap_or(stopped)
    }
}

pub(super) fn shutdown(how: Shutdown) -> lastack_core::Shutdown {
    match how {
        Shutdown::Read => lastack_core::Shutdown::Read,
        Shutdown::Write => lastack_core::Shutdown::Write,
        Shutdown::Both => lastack_core::Shutdown::Both,
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.mode.read(self.sock().read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.mode.write(self.sock().write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket before it connects or listens, for options and a local address.
#[derive(Debug)]
pub struct TcpSocket {
    sock: TcpSock,
}

impl TcpSocket {
    tcp_socket!();

    /// Connects. Blocks.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn connect(self, remote: SocketAddr) -> io::Result<TcpStream> {
        if let Some(result) = block_on(self.sock.connect(remote), None) {
            result?;
        }
        Ok(TcpStream::new(self.sock))
    }

    /// Connects and sends `data` as soon as can be: with TCP Fast Open (RFC 7413) on the SYN, which spares a round trip, if
    /// there is a cookie from an earlier connection to that address; otherwise, and as far as the SYN cannot carry it, when
    /// the connection is open. Blocks until the connection is open and has taken all of `data`.
    ///
    /// The SYN asks for a cookie where there is none, so that a second connection profits. It needs
    /// [`TcpConfig::fast_open_client`](crate::TcpConfig::fast_open_client) here (the default) and a server with Fast Open;
    /// where either is missing, this is a connect and a write. A server may see `data` twice, once in a connection that came to
    /// nothing, if the network repeats the SYN: it should be a request that may be repeated, as HTTP's GET or TLS's first
    /// message. [`TcpInfo::syn_data`](crate::TcpInfo::syn_data) tells whether it went with the SYN.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; those of a write.
    pub fn connect_with_data(self, remote: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
        if let Some(result) = block_on(self.sock.connect_with_data(remote, data), None) {
            result?;
        }
        Ok(TcpStream::new(self.sock))
    }

    /// Connects within `timeout`. Blocks.
    ///
    /// # Errors
    /// As [`TcpStream::connect_timeout`].
    pub fn connect_timeout(self, remote: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a time-out of zero"));
        }
        match block_on(self.sock.connect(remote), Instant::now().checked_add(timeout)) {
            Some(result) => result?,
            None => {
                let reason = ConnectionError::new(Error::TimedOut(Timeout::Syn));
                return Err(reason.with_addresses(None, Some(remote)).with_note("the given limit").into());
            }
        }
        Ok(TcpStream::new(self.sock))
    }
}

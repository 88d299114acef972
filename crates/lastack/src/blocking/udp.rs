//! A blocking UDP socket.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Mode, each, load, no_address, store};
use crate::datagram::UdpSock;
use crate::host::Host;

/// A UDP socket, in the shape of [`std::net::UdpSocket`].
#[derive(Debug)]
pub struct UdpSocket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sock: UdpSock,
    mode: Mode,
}

impl UdpSocket {
    /// Binds to the first of the addresses that works; port 0 picks a port.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub fn bind(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| {
            let sock = UdpSock::open(host)?;
            sock.call(|stack, _, handle| stack.udp_bind(handle, addr))?;
            Ok(Self { inner: Arc::new(Inner { sock, mode: Mode::default() }) })
        })
    }

    /// Sends to and receives from one address only.
    ///
    /// # Errors
    /// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable).
    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        each(addr, |addr| self.inner.sock.call(|stack, _, handle| stack.udp_connect(handle, addr)))
    }

    /// Sends to the connected address.
    ///
    /// # Errors
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) after an ICMP answer to an earlier datagram, and what
    /// else Linux gives.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.inner.mode.write(self.inner.sock.send(buf, None, None))
    }

    /// Sends to the first of the addresses.
    ///
    /// # Errors
    /// As [`UdpSocket::send`].
    pub fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let addr = addr.to_socket_addrs()?.next().ok_or_else(no_address)?;
        self.inner.mode.write(self.inner.sock.send(buf, Some(addr), None))
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// As [`UdpSocket::send`]; [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from(buf)?.0)
    }

    /// Receives a datagram and says from whom.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buf.len();
        let meta = self.inner.mode.read(self.inner.sock.recv(buf))?;
        Ok((meta.len.min(room), meta.from))
    }

    /// Receives without taking the datagram out.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.peek_from(buf)?.0)
    }

    /// Receives without taking the datagram out, and says from whom.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buf.len();
        let meta = self.inner.mode.read(self.inner.sock.peek(buf))?;
        Ok((meta.len.min(room), meta.from))
    }

    /// The local address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.sock.local_addr()
    }

    /// The connected address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.sock.peer_addr()
    }

    /// The stored error, which is cleared by this.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.inner.sock.take_error()
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: Arc::clone(&self.inner) })
    }

    /// Makes calls fail with [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.inner.mode.nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Limit of a blocking receive; then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        store(&self.inner.mode.read_timeout, limit)
    }

    /// See [`UdpSocket::set_read_timeout`].
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(load(&self.inner.mode.read_timeout))
    }

    /// Limit of a blocking send; then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        store(&self.inner.mode.write_timeout, limit)
    }

    /// See [`UdpSocket::set_write_timeout`].
    ///
    /// # Errors
    /// None; the shape is the standard library's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(load(&self.inner.mode.write_timeout))
    }
}

//! A socket before it connects or listens.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lastack_core::{SocketOptions, TcpOption};

use super::{TcpListener, TcpStream};
use crate::host::Host;
use crate::options::tcp_options;
use crate::socket::TcpSock;

/// A socket before it connects or listens, for options and a local address; in the shape of
/// [`tokio::net::TcpSocket`].
#[derive(Debug)]
pub struct TcpSocket {
    sock: TcpSock,
}

impl TcpSocket {
    /// A new socket. The family is that of the first address it is given.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn new(host: &Host) -> io::Result<Self> {
        Ok(Self { sock: TcpSock::open(host)? })
    }

    fn sock(&self) -> &TcpSock {
        &self.sock
    }

    tcp_options!();

    /// Sets `SO_REUSEADDR`. Default off.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn set_reuseaddr(&self, on: bool) -> io::Result<()> {
        self.sock.set_option(TcpOption::ReuseAddr(on))
    }

    /// Sets `SO_REUSEPORT`. Default off.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn set_reuseport(&self, on: bool) -> io::Result<()> {
        self.sock.set_option(TcpOption::ReusePort(on))
    }

    /// A listener for every port of its address; bound to the unspecified address with port 0, for every address and
    /// port (the host's [`Config::any_address`](crate::Config::any_address) has to be set). For gateways.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn set_any_port(&self, on: bool) -> io::Result<()> {
        self.sock.set_option(TcpOption::AnyPort(on))
    }

    /// A listener that decides on each request before the handshake goes on: see [`TcpListener::pending`].
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn set_defer(&self, on: bool) -> io::Result<()> {
        self.sock.set_option(TcpOption::Defer(on))
    }

    /// Sets the local address; port 0 picks one.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub fn bind(&self, local: SocketAddr) -> io::Result<()> {
        self.sock.bind(local)
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connect(self, remote: SocketAddr) -> io::Result<TcpStream> {
        self.sock.connect(remote).await?;
        Ok(TcpStream::new(self.sock))
    }

    /// Listens, with room for `backlog` connections that nobody has accepted yet.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.sock.listen(backlog as usize)?;
        Ok(TcpListener::new(self.sock))
    }
}

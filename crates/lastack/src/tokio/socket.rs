//! A socket before it connects or listens.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lastack_core::{SocketOptions, TcpOption};

use super::{TcpListener, TcpStream};
use crate::host::Host;
use crate::options::tcp_socket;
use crate::socket::TcpSock;

/// A socket before it connects or listens, for options and a local address; in the shape of
/// [`tokio::net::TcpSocket`].
#[derive(Debug)]
pub struct TcpSocket {
    sock: TcpSock,
}

impl TcpSocket {
    tcp_socket!();

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

    /// Connects.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connect(self, remote: SocketAddr) -> io::Result<TcpStream> {
        self.sock.connect(remote).await?;
        Ok(TcpStream::new(self.sock))
    }
}

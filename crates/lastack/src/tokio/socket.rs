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

    /// Connects and sends `data` as soon as can be: with TCP Fast Open (RFC 7413) on the SYN, which spares a round trip, if
    /// there is a cookie from an earlier connection to that address; otherwise, and as far as the SYN cannot carry it, when
    /// the connection is open. Returns when the connection is open and has taken all of `data`.
    ///
    /// The SYN asks for a cookie where there is none, so that a second connection profits. It needs
    /// [`TcpConfig::fast_open_client`](crate::TcpConfig::fast_open_client) here (the default) and a server with Fast Open;
    /// where either is missing, this is a connect and a write. A server may see `data` twice, once in a connection that came to
    /// nothing, if the network repeats the SYN: it should be a request that may be repeated, as HTTP's GET or TLS's first
    /// message. [`TcpInfo::syn_data`](crate::TcpInfo::syn_data) tells whether it went with the SYN.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; those of a write.
    pub async fn connect_with_data(self, remote: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
        self.sock.connect_with_data(remote, data).await?;
        Ok(TcpStream::new(self.sock))
    }
}

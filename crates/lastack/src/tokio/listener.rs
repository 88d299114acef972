//! An async listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::tokio::net::ToSocketAddrs;
use lastack_core::{ConnectionId, PendingRequest, Refusal, SocketOptions, TcpOption};

use super::{TcpSocket, TcpStream, each};
use crate::host::{Host, Release};
use crate::options::tcp_options;
use crate::socket::TcpSock;

/// Connections that wait to be accepted, as tokio has it.
const BACKLOG: u32 = 1024;

/// A listener, in the shape of [`tokio::net::TcpListener`].
///
/// Dropping it resets the connections that nobody has accepted and forgets half-open and pending ones.
#[derive(Debug)]
pub struct TcpListener {
    sock: Arc<TcpSock>,
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        // Pending requests may still hold the socket.
        self.sock.release(Release::Close);
    }
}

impl TcpListener {
    pub(super) fn new(sock: TcpSock) -> Self {
        Self { sock: Arc::new(sock) }
    }

    fn sock(&self) -> &TcpSock {
        &self.sock
    }

    /// Listens on the first of the addresses that works, with `SO_REUSEADDR`, as tokio does.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub async fn bind(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| async move {
            let socket = TcpSocket::new(host)?;
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            socket.listen(BACKLOG)
        })
        .await
    }

    tcp_options!();

    /// Waits for a connection. Safe to drop at any time: no connection is lost.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed. A connection that was reset meanwhile is
    /// handed out all the same, as on Linux.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (sock, remote) = self.sock.wait_accept().await?;
        Ok((TcpStream::new(sock), remote))
    }

    /// [`TcpListener::accept`] as a poll; the last caller is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.sock.poll_accept(cx).map_ok(|(sock, remote)| (TcpStream::new(sock), remote))
    }

    /// [`TcpListener::accept`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (sock, remote) = self.sock.try_accept()?;
        Ok((TcpStream::new(sock), remote))
    }

    /// Waits for a request to connect that is to be decided on, on a socket with
    /// [`set_defer`](TcpSocket::set_defer). Nothing was sent to the peer yet. Safe to drop at any time.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub async fn pending(&self) -> io::Result<PendingConnection> {
        let request = self.sock.wait_pending().await?;
        Ok(PendingConnection { listener: Arc::clone(&self.sock), request, decided: false })
    }
}

/// A request to connect that waits for a decision; a gateway dials on first and then answers the same.
///
/// The peer repeats its SYN meanwhile, which joins this request. When its SYNs cease, and after
/// [`defer_timeout`](crate::TcpConfig::defer_timeout), the stack forgets it and an answer fails. Dropping it refuses with
/// a reset.
#[derive(Debug)]
#[must_use = "dropping it refuses the connection"]
pub struct PendingConnection {
    listener: Arc<TcpSock>,
    request: PendingRequest,
    decided: bool,
}

impl PendingConnection {
    /// The address that the peer wants to reach.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.request.local
    }

    /// The peer's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.request.remote
    }

    /// Number of the connection to be.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.request.connection
    }

    /// Answers with SYN-ACK and waits for the end of the handshake. If the future is dropped, the connection is reset.
    ///
    /// # Errors
    /// How the attempt ended: [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer gave up,
    /// [`TimedOut`](io::ErrorKind::TimedOut) if the SYN-ACK stayed unanswered; the request expired; the listener or the
    /// host was closed.
    pub async fn accept(mut self) -> io::Result<TcpStream> {
        self.decided = true;
        Ok(TcpStream::new(self.listener.let_in(&self.request).await?))
    }

    /// Waits until nobody waits for the decision any more: the peer withdrew its request, or the stack has forgotten it.
    /// Linux sends nothing when an application gives a `connect()` up; such a request goes when its SYNs have ceased.
    pub async fn gone(&self) {
        self.listener.gone(&self.request).await;
    }

    /// Refuses: with a reset, an ICMP error or in silence.
    ///
    /// # Errors
    /// The request expired; the listener or the host was closed.
    pub fn refuse(mut self, how: Refusal) -> io::Result<()> {
        self.refuse_now(how)
    }

    fn refuse_now(&mut self, how: Refusal) -> io::Result<()> {
        self.decided = true;
        let id = self.request.id;
        self.listener.call(|stack, now, _| stack.tcp_pending_refuse(now, id, how))
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        if !self.decided {
            // It fails if the request is gone already.
            let _ = self.refuse_now(Refusal::Reset);
        }
    }
}

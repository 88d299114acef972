//! An async connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::io::{AsyncRead, AsyncWrite, Interest as TokioInterest, ReadBuf, Ready};
use ::tokio::net::ToSocketAddrs;
use ::tokio::task::coop;
use lastack_core::{ConnectionId, Ending, Shutdown, SocketOptions, TcpInfo, TcpOption, Transition, Why};

use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::{TcpSocket, each, to_tokio};
use crate::host::{Delivery, Host, Interest, Release};
use crate::options::{tcp_connection, tcp_options};
use crate::relay::RelayStream;
use crate::socket::{CHUNK, TcpSock};

/// A TCP connection, in the shape of [`tokio::net::TcpStream`].
///
/// Dropping it closes it: what was written is still delivered in the background (see [`Host`] for the end of the
/// program); unread data turns the close into a reset, as on Linux. That holds for a task that panics, too.
#[derive(Debug)]
pub struct TcpStream {
    pub(super) sock: Arc<TcpSock>,
}

impl TcpStream {
    pub(super) fn new(sock: TcpSock) -> Self {
        Self { sock: Arc::new(sock) }
    }

    fn sock(&self) -> &TcpSock {
        &self.sock
    }

    /// Connects; of several addresses the first that works.
    ///
    /// # Errors
    /// Of the last address: [`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// [`TimedOut`](io::ErrorKind::TimedOut) (after about 131 s by default),
    /// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable) and the others that `connect` gives on Linux.
    pub async fn connect(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| async move { TcpSocket::new(host)?.connect(addr).await }).await
    }

    tcp_options!();
    tcp_connection!();

    /// Shuts a direction down. [`std::net::Shutdown::Write`] queues the FIN behind all data and returns at once; so
    /// does `AsyncWriteExt::shutdown`.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn shutdown_direction(&self, how: std::net::Shutdown) -> io::Result<()> {
        self.sock.shutdown(match how {
            std::net::Shutdown::Read => Shutdown::Read,
            std::net::Shutdown::Write => Shutdown::Write,
            std::net::Shutdown::Both => Shutdown::Both,
        })
    }

    /// Closes the connection and waits, for at most `limit` of the host's clock, until the peer has acknowledged all data
    /// and the end of the stream; says what became of them. Nothing is aborted when the limit has passed or the future
    /// is dropped: the stack goes on as after a drop. Like every close it resets if received data is unread.
    pub async fn close_linger(self, limit: Duration) -> Delivery {
        self.sock.close_linger(limit).await
    }

    // --- reading and writing ---

    /// Waits until one of the wanted things may be possible.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub async fn ready(&self, interest: TokioInterest) -> io::Result<Ready> {
        ready_of(&self.sock, interest).await
    }

    /// Waits until a read may succeed or fail.
    ///
    /// # Errors
    /// As [`TcpStream::ready`].
    pub async fn readable(&self) -> io::Result<()> {
        self.sock.wait_ready(Interest::Read).await.map(drop)
    }

    /// Waits until a write may succeed or fail.
    ///
    /// # Errors
    /// As [`TcpStream::ready`].
    pub async fn writable(&self) -> io::Result<()> {
        self.sock.wait_ready(Interest::Write).await.map(drop)
    }

    /// [`TcpStream::readable`] as a poll; the last caller is woken.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sock.poll_ready(cx, Interest::Read).map_ok(drop)
    }

    /// [`TcpStream::writable`] as a poll; the last caller is woken.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sock.poll_ready(cx, Interest::Write).map_ok(drop)
    }

    /// Reads what is there; at most 64 KiB.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock); how the connection ended.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.sock.try_read(buf)
    }

    /// Writes what there is room for; at most 64 KiB.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock); [`BrokenPipe`](io::ErrorKind::BrokenPipe) and how the connection
    /// ended.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.sock.try_write(buf)
    }

    /// Reads without taking the bytes out.
    ///
    /// # Errors
    /// As reading.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.sock.peek(buf).await
    }

    /// [`TcpStream::peek`] as a poll; the last caller is woken.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        poll_peek(&self.sock, cx, buf)
    }

    // --- halves ---

    /// Two borrowed halves. Dropping them does nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::split(self)
    }

    /// Two owned halves, for two tasks. Dropping the write half shuts the write direction down; dropping both closes.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::into_split(self)
    }
}

pub(super) async fn ready_of(sock: &TcpSock, interest: TokioInterest) -> io::Result<Ready> {
    let core = match (interest.is_readable(), interest.is_writable()) {
        (true, true) => {
            // Whichever comes first; each future takes itself out when it is dropped.
            let mut read = std::pin::pin!(sock.wait_ready(Interest::Read));
            let mut write = std::pin::pin!(sock.wait_ready(Interest::Write));
            poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Pending => write.as_mut().poll(cx),
                done => done,
            })
            .await?;
            sock.ready()
        }
        (true, false) => sock.wait_ready(Interest::Read).await?,
        (false, true) => sock.wait_ready(Interest::Write).await?,
        (false, false) => sock.wait_ready(Interest::End).await?,
    };
    Ok(to_tokio(core, interest))
}

pub(super) fn poll_read(sock: &TcpSock, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    if buf.remaining() == 0 {
        return Poll::Ready(Ok(()));
    }
    // A task that always finds data must let others run.
    let budget = ready!(coop::poll_proceed(cx));
    let room = buf.initialize_unfilled_to(buf.remaining().min(CHUNK));
    let n = ready!(sock.poll_read(cx, room))?;
    buf.advance(n);
    budget.made_progress();
    Poll::Ready(Ok(()))
}

pub(super) fn poll_peek(
    sock: &TcpSock,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let n = ready!(sock.poll_peek(cx, buf.initialize_unfilled()))?;
    buf.advance(n);
    Poll::Ready(Ok(n))
}

pub(super) fn poll_write(sock: &TcpSock, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
    let budget = ready!(coop::poll_proceed(cx));
    let n = ready!(sock.poll_write(cx, buf))?;
    budget.made_progress();
    Poll::Ready(Ok(n))
}

/// One copy under one lock; the rest of the slices is for the next call.
pub(super) fn poll_write_vectored(
    sock: &TcpSock,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    // Many small slices (a header, a body) in one segment: gather them if they are small together.
    const GATHER: usize = 4096;
    let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
    if first.len() >= GATHER || bufs.len() < 2 {
        return poll_write(sock, cx, first);
    }
    let mut gathered = [0; GATHER];
    let mut len = 0;
    for buf in bufs {
        let n = buf.len().min(GATHER - len);
        gathered[len..len + n].copy_from_slice(&buf[..n]);
        len += n;
        if n < buf.len() {
            break;
        }
    }
    poll_write(sock, cx, &gathered[..len])
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(&self.sock, cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&self.sock, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_vectored(&self.sock, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Queues the FIN behind all data and is ready at once.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sock.shutdown(Shutdown::Write))
    }
}

impl RelayStream for TcpStream {
    fn abort(&mut self) {
        self.sock.release(Release::Abort);
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sock.poll_delivered(cx)
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.sock.poll_reset(cx)
    }
}

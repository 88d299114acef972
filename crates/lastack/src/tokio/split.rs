//! The two halves of a connection.

use std::error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, Interest as TokioInterest, ReadBuf, Ready};
use lastack_core::Shutdown;

use super::TcpStream;
use super::stream::{poll_peek, poll_read, poll_write, poll_write_vectored, ready_of};
use crate::host::Interest;
use crate::socket::TcpSock;

/// The half that reads, borrowed; of [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The half that writes, borrowed; of [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

/// The half that reads, owned; of [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf {
    sock: Arc<TcpSock>,
}

/// The half that writes, owned; of [`TcpStream::into_split`]. Dropping it shuts the write direction down, unless it was
/// [forgotten](OwnedWriteHalf::forget).
#[derive(Debug)]
pub struct OwnedWriteHalf {
    sock: Arc<TcpSock>,
    shutdown_on_drop: bool,
}

/// Two halves that are not of one connection.
#[derive(Debug)]
pub struct ReuniteError(
    /// The half that reads.
    pub OwnedReadHalf,
    /// The half that writes.
    pub OwnedWriteHalf,
);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of one connection")
    }
}

impl error::Error for ReuniteError {}

pub(super) fn split(stream: &mut TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn into_split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let sock = stream.sock;
    (OwnedReadHalf { sock: Arc::clone(&sock) }, OwnedWriteHalf { sock, shutdown_on_drop: true })
}

fn reunite(read: OwnedReadHalf, write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
    if !Arc::ptr_eq(&read.sock, &write.sock) {
        return Err(ReuniteError(read, write));
    }
    write.forget();
    Ok(TcpStream { sock: read.sock })
}

impl OwnedReadHalf {
    /// Puts the halves together again.
    ///
    /// # Errors
    /// They are not of one connection.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        reunite(self, other)
    }
}

impl OwnedWriteHalf {
    /// Puts the halves together again.
    ///
    /// # Errors
    /// They are not of one connection.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        reunite(other, self)
    }

    /// Drops the half without shutting the write direction down.
    pub fn forget(mut self) {
        self.shutdown_on_drop = false;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            // It fails where there is no connection any more, and then there is nothing to shut.
            let _ = self.sock.shutdown(Shutdown::Write);
        }
    }
}

macro_rules! half {
    ($($name:ty),+) => { $(
        impl $name {
            /// The address of this side.
            ///
            /// # Errors
            /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.sock().local_addr()
            }

            /// The address of the peer.
            ///
            /// # Errors
            /// [`NotConnected`](io::ErrorKind::NotConnected).
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.sock().peer_addr()
            }

            /// See [`TcpStream::ready`].
            ///
            /// # Errors
            /// As there.
            pub async fn ready(&self, interest: TokioInterest) -> io::Result<Ready> {
                ready_of(self.sock(), interest).await
            }
        }
    )+ };
}

macro_rules! read_half {
    ($($name:ty),+) => { $(
        impl $name {
            /// See [`TcpStream::readable`].
            ///
            /// # Errors
            /// As there.
            pub async fn readable(&self) -> io::Result<()> {
                self.sock().wait_ready(Interest::Read).await.map(drop)
            }

            /// See [`TcpStream::try_read`].
            ///
            /// # Errors
            /// As there.
            pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.sock().try_read(buf)
            }

            /// See [`TcpStream::peek`].
            ///
            /// # Errors
            /// As there.
            pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.sock().peek(buf).await
            }

            /// See [`TcpStream::poll_peek`].
            pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
                poll_peek(self.sock(), cx, buf)
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read(self.sock(), cx, buf)
            }
        }
    )+ };
}

macro_rules! write_half {
    ($($name:ty),+) => { $(
        impl $name {
            /// See [`TcpStream::writable`].
            ///
            /// # Errors
            /// As there.
            pub async fn writable(&self) -> io::Result<()> {
                self.sock().wait_ready(Interest::Write).await.map(drop)
            }

            /// See [`TcpStream::try_write`].
            ///
            /// # Errors
            /// As there.
            pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.sock().try_write(buf)
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                poll_write(self.sock(), cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_vectored(self.sock(), cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.sock().shutdown(Shutdown::Write))
            }
        }
    )+ };
}

impl ReadHalf<'_> {
    fn sock(&self) -> &TcpSock {
        &self.0.sock
    }
}

impl WriteHalf<'_> {
    fn sock(&self) -> &TcpSock {
        &self.0.sock
    }
}

impl OwnedReadHalf {
    fn sock(&self) -> &TcpSock {
        &self.sock
    }
}

impl OwnedWriteHalf {
    fn sock(&self) -> &TcpSock {
        &self.sock
    }
}

half!(ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf);
read_half!(ReadHalf<'_>, OwnedReadHalf);
write_half!(WriteHalf<'_>, OwnedWriteHalf);

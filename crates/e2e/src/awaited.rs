//! The tokio sockets with the calls of the blocking ones: each call is awaited on a runtime of one's own.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::FutureExt;
use lastack::tokio::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::runtime::Runtime;

use crate::lab::PATIENCE;

/// A runtime on the calling thread.
///
/// # Panics
/// If there is none to be had.
#[must_use]
pub fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"))
}

/// Awaits, for a minute at the longest: then `WouldBlock`, as a blocking socket with a time-out.
///
/// # Errors
/// Those of `future`.
pub fn wait<R>(runtime: &Runtime, future: impl Future<Output = io::Result<R>>) -> io::Result<R> {
    runtime.block_on(async {
        let limited = tokio::time::timeout(PATIENCE, future).await;
        limited.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    })
}

/// What a socket may be ready for.
///
/// # Panics
/// Never: these interests can be joined.
#[must_use]
pub fn everything() -> Interest {
    Interest::READABLE.add(Interest::WRITABLE).add(Interest::ERROR)
}

/// A connection of lastack's for tokio.
pub struct Awaited {
    runtime: Arc<Runtime>,
    stream: TcpStream,
    nonblocking: bool,
}

impl Awaited {
    /// Takes a connection over.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>, stream: TcpStream) -> Self {
        Self { runtime, stream, nonblocking: false }
    }

    /// Polls once, or awaits.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.nonblocking {
            return self.stream.try_read(buf);
        }
        wait(&self.runtime, self.stream.read(buf))
    }

    pub(crate) fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait(&self.runtime, self.stream.peek(buf))
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.nonblocking {
            return self.stream.try_write(data);
        }
        wait(&self.runtime, self.stream.write(data))
    }

    pub(crate) fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match how {
            // The way that is tokio's own.
            Shutdown::Write => wait(&self.runtime, self.stream.shutdown()),
            how => self.stream.shutdown_direction(how),
        }
    }

    pub(crate) fn set_nonblocking(&mut self, on: bool) -> io::Result<()> {
        self.nonblocking = on;
        Ok(())
    }

    /// What the socket is ready for at this moment.
    pub(crate) fn ready(&self) -> Ready {
        // A future that is polled once: nothing is ready if it waits.
        let ready = self.stream.ready(everything()).now_or_never();
        ready.map_or(Ready::EMPTY, |ready| ready.expect("the host lives"))
    }
}

impl Deref for Awaited {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

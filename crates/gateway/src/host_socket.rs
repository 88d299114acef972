//! A TCP socket of the host's kernel as one end of a relay.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lastack::RelayStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::activity::Share;
use crate::sys;
use crate::tally::Tally;

/// First and longest pause between two looks at the send queue: the kernel tells nobody when it is empty.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Waits for the kernel's error notice.
type Watch = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A connected TCP socket of the kernel that can be aborted, asked whether all was delivered, and watched for a reset
/// after its end of file.
///
/// Dropped before both directions have ended, it is reset: the end of a relay must not look like the end of a stream.
pub(crate) struct HostSocket {
    /// `None` once aborted.
    socket: Option<Arc<TcpStream>>,
    watch: Option<Watch>,
    /// The next look at the send queue, and the pause before it.
    look: Option<(Pin<Box<Sleep>>, Duration)>,
    /// The error that ended the connection. The kernel tells it once, to whichever call comes first.
    failed: Option<i32>,
    read_ended: bool,
    write_ended: bool,
    share: Share,
    tally: Arc<Tally>,
}

impl HostSocket {
    /// Wraps a connected socket.
    pub(crate) fn new(socket: TcpStream, share: Share, tally: Arc<Tally>) -> Self {
        Self {
            socket: Some(Arc::new(socket)),
            watch: None,
            look: None,
            failed: None,
            read_ended: false,
            write_ended: false,
            share,
            tally,
        }
    }

    /// The socket, for those who look at it; gone once aborted.
    pub(crate) fn watched(&self) -> Weak<TcpStream> {
        self.socket.as_ref().map_or_else(Weak::new, Arc::downgrade)
    }

    fn socket(&self) -> io::Result<&Arc<TcpStream>> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Remembers an error that ended the connection.
    fn note(&mut self, error: io::Error) -> io::Error {
        // A write after the peer's reset fails with EPIPE, whatever the reset had been reported as.
        if error.kind() != io::ErrorKind::WouldBlock && self.failed.is_none() {
            self.failed = error.raw_os_error();
            self.tally.host_error.store(self.failed.unwrap_or(0), Ordering::Relaxed);
        }
        error
    }

    /// The error in place of an end of file that is none: the kernel gives 0 where the error was told to another call.
    /// With EPIPE the peer's FIN came before its reset, so the end is real.
    fn hidden_failure(&self) -> Option<io::Error> {
        self.failed.filter(|errno| *errno != libc::EPIPE).map(io::Error::from_raw_os_error)
    }

    fn failure(&self) -> Option<io::Error> {
        match self.failed? {
            libc::EPIPE => Some(io::ErrorKind::ConnectionReset.into()),
            errno => Some(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Whether the kernel has given the connection up or brought it to its end.
    fn is_closed(socket: &TcpStream) -> bool {
        // Linux's getpeername() knows a peer in every state but CLOSE.
        socket.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
    }
}

impl AsyncRead for HostSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let socket = self.socket()?;
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_read(buf.initialize_unfilled()) {
                Ok(0) => {
                    return Poll::Ready(match self.hidden_failure() {
                        Some(error) if !self.read_ended => Err(error),
                        _ => {
                            self.read_ended = true;
                            Ok(())
                        }
                    });
                }
                Ok(len) => {
                    self.tally.read.fetch_add(len as u64, Ordering::Relaxed);
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(self.note(error))),
            }
        }
    }
}

impl AsyncWrite for HostSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let socket = self.socket()?;
            match socket.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.share.set_blocked(true);
                    return Poll::Pending;
                }
            }
            match socket.try_write(buf) {
                Ok(len) => {
                    self.share.wrote(len);
                    self.tally.written.fetch_add(len as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(len));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(self.note(error))),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Queues the FIN behind all data.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = SockRef::from(&**self.socket()?).shutdown(Shutdown::Write);
        self.write_ended = true;
        self.share.finish();
        Poll::Ready(match shut {
            // The connection is over: what became of it is told by reading and by `poll_reset`.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            shut => shut,
        })
    }
}

impl RelayStream for HostSocket {
    /// `SO_LINGER` with time 0 and close(): RST where Linux's disconnect sends one. When the gateway leaves and the
    /// program has ended its stream, close() alone: the kernel delivers the rest, as after the program's own exit.
    fn abort(&mut self) {
        self.watch = None;
        let Some(socket) = self.socket.take() else { return };
        self.tally.let_go_outside(&socket, self.write_ended);
        if !self.share.may_leave() {
            // It fails on a socket that is closed already; then there is nobody to tell.
            let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
        }
        self.share.finish();
    }

    /// Whether the peer has acknowledged every byte, and the FIN if there is one (`SIOCOUTQ`).
    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some((sleep, _)) = &mut self.look {
                ready!(sleep.as_mut().poll(cx));
            }
            let socket = self.socket()?;
            if sys::unacknowledged(socket.as_fd())? == 0 {
                self.look = None;
                return Poll::Ready(Ok(()));
            }
            if Self::is_closed(socket) {
                self.look = None;
                return Poll::Ready(Err(self
                    .failure()
                    .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())));
            }
            let pause = self.look.take().map_or(LOOK.0, |(_, pause)| LOOK.1.min(pause * 2));
            self.look = Some((Box::pin(sleep(pause)), pause));
        }
    }

    /// The error that ended the connection, also after its end of file, when reads no longer tell.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(error) = self.failure() {
            return Poll::Ready(error);
        }
        let socket = match self.socket() {
            Ok(socket) => Arc::clone(socket),
            Err(error) => return Poll::Ready(error),
        };
        let watch = self.watch.get_or_insert_with(|| {
            Box::pin(async move {
                socket.ready(Interest::ERROR).await?;
                match socket.take_error()? {
                    Some(error) => Err(error),
                    None if Self::is_closed(&socket) => Err(io::ErrorKind::ConnectionReset.into()),
                    // A notice without an error.
                    None => std::future::pending().await,
                }
            })
        });
        let outcome = ready!(watch.as_mut().poll(cx));
        self.watch = None;
        let error = outcome.err().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
        let error = self.note(error);
        Poll::Ready(self.failure().unwrap_or(error))
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        let ended = self.read_ended && self.write_ended;
        if !ended && self.failed.is_none() {
            self.abort();
        } else if let Some(socket) = &self.socket {
            self.tally.let_go_outside(socket, self.write_ended);
        }
    }
}

//! A relay's view of a socket of the operating system.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use ::tokio::net::TcpStream;
use socket2::SockRef;

use super::RelayStream;

type Watch = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A [`tokio::net::TcpStream`] for [`relay`](super::relay), as far as safe code can: the operating system does not say
/// through safe interfaces what the peer has acknowledged, so that after bytes were written
/// [`poll_delivered`](RelayStream::poll_delivered) stays pending and a reset is carried when the grace is over.
pub struct KernelStream {
    /// `None` after an abort.
    stream: Option<Arc<TcpStream>>,
    /// Waits for the socket's error condition.
    watch: Option<Watch>,
    written: bool,
}

impl KernelStream {
    /// Wraps a connected stream.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: Some(Arc::new(stream)), watch: None, written: false }
    }

    /// The stream; `None` after an abort.
    #[must_use]
    pub fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_deref()
    }

    fn live(&self) -> io::Result<&Arc<TcpStream>> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl fmt::Debug for KernelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl AsyncRead for KernelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.live()?;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buf.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    buf.advance(result?);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for KernelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = {
            let stream = self.live()?;
            loop {
                ready!(stream.poll_write_ready(cx))?;
                match stream.try_write(buf) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result?,
                }
            }
        };
        self.written = true;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&**self.live()?).shutdown(Shutdown::Write))
    }
}

impl RelayStream for KernelStream {
    fn abort(&mut self) {
        self.watch = None;
        if let Some(stream) = self.stream.take() {
            // Then the close that the drop does is a reset. If it fails the close is what it is.
            let _ = stream.set_zero_linger();
        }
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_reset(cx) {
            Poll::Ready(e) => Poll::Ready(Err(e)),
            Poll::Pending if self.written => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(stream) = &self.stream else { return Poll::Ready(io::ErrorKind::ConnectionAborted.into()) };
        let watch = self.watch.get_or_insert_with(|| {
            let stream = Arc::clone(stream);
            Box::pin(async move { stream.ready(Interest::ERROR).await.map(drop) })
        });
        match ready!(watch.as_mut().poll(cx)) {
            Err(e) => Poll::Ready(e),
            Ok(()) => match stream.take_error() {
                Ok(Some(e)) | Err(e) => Poll::Ready(e),
                // A read or a write has reported it, or is about to. The finished future stays, so that this is not
                // asked again and again.
                Ok(None) => {
                    self.watch = Some(Box::pin(std::future::pending()));
                    Poll::Pending
                }
            },
        }
    }
}

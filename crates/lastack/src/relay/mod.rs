//! Carrying one connection over another, so that each side sees the other's end as it was.

mod kernel;
mod pump;

pub use kernel::KernelStream;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::time::{Instant, Sleep, sleep_until};

use pump::{Pump, Step};

/// A stream that [`relay`] can carry without hiding how it ended.
///
/// `AsyncRead` gives end of file as `Ok` without bytes and a reset as an error; `poll_shutdown` sends the end of the
/// stream and leaves the other direction open. The functions below are what `AsyncRead` and `AsyncWrite` cannot say.
pub trait RelayStream: AsyncRead + AsyncWrite + Unpin {
    /// Ends the connection with a reset, at once; queued data is dropped. Nothing else is called afterwards.
    fn abort(&mut self);

    /// Ready when the peer has acknowledged everything that was written, and the end of the stream if it was shut; an
    /// error if the connection ended first. A stream that cannot know it stays pending: the relay then waits for
    /// [`RelayOptions::reset_grace`]. The last caller is woken.
    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the connection has ended by a reset, a time-out or another error; also after an end of file, while
    /// nobody reads, and with received data still to be read (which stays there). Pending as long as it lives, and for
    /// ever after a graceful end. The last caller is woken.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

/// How [`relay_with`] does it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayOptions {
    /// Bytes of the buffer of each direction, at least 1. It exists only while it holds data. Default 64 KiB.
    pub buffer: usize,
    /// After one side was reset: how long the other may take to acknowledge the bytes that came before, until it is
    /// reset too. Default 10 s.
    pub reset_grace: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { buffer: 64 << 10, reset_grace: Duration::from_secs(10) }
    }
}

impl RelayOptions {
    /// See [`RelayOptions::buffer`].
    #[must_use]
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes.max(1);
        self
    }

    /// See [`RelayOptions::reset_grace`].
    #[must_use]
    pub fn reset_grace(mut self, limit: Duration) -> Self {
        self.reset_grace = limit;
        self
    }
}

/// One of the two streams of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first argument.
    A,
    /// The second.
    B,
}

impl Side {
    fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// How a relay ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayEnd {
    /// Both sides ended their streams.
    Graceful,
    /// One side broke; the other was reset.
    Reset {
        /// Which one broke.
        by: Side,
        /// How.
        error: io::Error,
        /// Everything that came before was acknowledged by the other side before it was reset.
        delivered: bool,
    },
}

/// What a relay did.
#[derive(Debug)]
pub struct RelayReport {
    /// Bytes read from A and written to B.
    pub a_to_b: u64,
    /// Bytes read from B and written to A.
    pub b_to_a: u64,
    /// Who ended first, by an end of its stream or by breaking.
    pub first: Side,
    /// How it ended.
    pub end: RelayEnd,
}

impl fmt::Display for RelayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a_to_b, b_to_a, first, end } = self;
        write!(f, "{a_to_b} bytes A to B, {b_to_a} bytes B to A, {first} ended first; ")?;
        match end {
            RelayEnd::Graceful => f.write_str("graceful"),
            RelayEnd::Reset { by, error, delivered: true } => write!(f, "{by} broke: {error}"),
            RelayEnd::Reset { by, error, delivered: false } => {
                write!(f, "{by} broke and not all it sent was acknowledged by {}: {error}", by.other())
            }
        }
    }
}

/// [`relay_with`] the default [`RelayOptions`].
pub async fn relay<A: RelayStream, B: RelayStream>(a: A, b: B) -> RelayReport {
    relay_with(a, b, &RelayOptions::default()).await
}

/// Copies both ways until both sides have ended, and carries how each ended to the other.
///
/// - The end of one side's stream is passed on behind its data; the other direction goes on for as long as it takes.
/// - A side that breaks (reset, time-out, any error), also after its end of file or while nothing is read from it: the
///   bytes it sent before are still delivered to the other side, which is reset once it has acknowledged them, or after
///   [`RelayOptions::reset_grace`].
/// - What one side does not take is not read from the other (one buffer a direction).
/// - After a graceful end both streams are dropped, which closes them. If the future is dropped before its end, both are
///   reset: a cut relay must not look like an end of file.
///
/// Needs a tokio runtime with its timer, for the grace after a reset.
pub async fn relay_with<A: RelayStream, B: RelayStream>(a: A, b: B, options: &RelayOptions) -> RelayReport {
    let mut relay = Relay {
        a,
        b,
        pumps: [Pump::new(options.buffer), Pump::new(options.buffer)],
        broken: None,
        first: None,
        grace: None,
        options,
        over: false,
    };
    poll_fn(|cx| relay.poll(cx)).await
}

struct Relay<'a, A: RelayStream, B: RelayStream> {
    a: A,
    b: B,
    /// From A to B, from B to A.
    pumps: [Pump; 2],
    /// Who broke, and how. The first to break counts.
    broken: Option<(Side, io::Error)>,
    first: Option<Side>,
    grace: Option<Pin<Box<Sleep>>>,
    options: &'a RelayOptions,
    over: bool,
}

impl<A: RelayStream, B: RelayStream> Relay<'_, A, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayReport> {
        if self.broken.is_none() {
            let mut busy = self.pump(Side::A, cx);
            if self.broken.is_none() {
                busy |= self.pump(Side::B, cx);
            }
            self.notice_resets(cx);
            if self.broken.is_none() {
                if busy {
                    // Others first: each poll moves a bounded number of bytes.
                    cx.waker().wake_by_ref();
                } else if self.pumps.iter().all(Pump::is_done) {
                    self.over = true;
                    return Poll::Ready(self.report(RelayEnd::Graceful));
                }
                return Poll::Pending;
            }
        }
        self.carry_reset(cx)
    }

    /// Moves bytes from `from` to the other side; true if there may be more right now.
    fn pump(&mut self, from: Side, cx: &mut Context<'_>) -> bool {
        let pump = &mut self.pumps[from.index()];
        let step = match from {
            Side::A => pump.poll(&mut self.a, &mut self.b, cx),
            Side::B => pump.poll(&mut self.b, &mut self.a, cx),
        };
        if pump.at_end() {
            self.first.get_or_insert(from);
        }
        match step {
            Step::Busy => true,
            Step::Waiting | Step::Done => false,
            Step::ReadFailed(e) => {
                self.broke(from, e);
                false
            }
            Step::WriteFailed(e) => {
                self.broke(from.other(), e);
                false
            }
        }
    }

    fn broke(&mut self, side: Side, error: io::Error) {
        self.first.get_or_insert(side);
        if self.broken.is_none() {
            self.broken = Some((side, error));
        }
    }

    fn notice_resets(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(e) = self.a.poll_reset(cx) {
            self.broke(Side::A, e);
        }
        if let Poll::Ready(e) = self.b.poll_reset(cx) {
            self.broke(Side::B, e);
        }
    }

    /// One side broke: what it sent before goes on to the other, which is reset behind it.
    fn carry_reset(&mut self, cx: &mut Context<'_>) -> Poll<RelayReport> {
        let Some((by, _)) = self.broken else { return Poll::Pending };
        let delivered = match by {
            Side::A => drain(&mut self.pumps[0], &mut self.a, &mut self.b, cx),
            Side::B => drain(&mut self.pumps[1], &mut self.b, &mut self.a, cx),
        };
        let delivered = match delivered {
            Poll::Ready(delivered) => delivered,
            Poll::Pending => {
                let until = Instant::now() + self.options.reset_grace;
                let grace = self.grace.get_or_insert_with(|| Box::pin(sleep_until(until)));
                if grace.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                false
            }
        };
        self.over = true;
        // The broken side too: where it broke for us alone (a write that failed), its peer must not wait.
        self.a.abort();
        self.b.abort();
        match self.broken.take() {
            Some((by, error)) => Poll::Ready(self.report(RelayEnd::Reset { by, error, delivered })),
            None => Poll::Pending,
        }
    }

    fn report(&self, end: RelayEnd) -> RelayReport {
        let [a_to_b, b_to_a] = [self.pumps[0].moved(), self.pumps[1].moved()];
        RelayReport { a_to_b, b_to_a, first: self.first.unwrap_or(Side::A), end }
    }
}

/// Delivers what is left of a broken side. Ready: whether the other side acknowledged all of it.
fn drain<F: RelayStream, T: RelayStream>(
    pump: &mut Pump,
    from: &mut F,
    to: &mut T,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    match pump.poll_rest(from, to, cx) {
        Step::Busy => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        // Reading failed: that is how the broken side says that this was all.
        Step::Done | Step::ReadFailed(_) => to.poll_delivered(cx).map(|result| result.is_ok()),
        Step::Waiting => match to.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        },
        Step::WriteFailed(_) => Poll::Ready(false),
    }
}

impl<A: RelayStream, B: RelayStream> Drop for Relay<'_, A, B> {
    fn drop(&mut self) {
        if !self.over {
            self.a.abort();
            self.b.abort();
        }
    }
}

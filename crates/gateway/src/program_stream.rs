//! The program's side of a relay: its connection, what rules do to it, and what is known of it when it is over.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lastack::RelayStream;
use lastack::tokio::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::faults::Plan;
use crate::silence::Silence;
use crate::stage::{Line, Treatment};
use crate::tally::Tally;

/// How long a connection whose server's FIN was swallowed stays after the program's own: as long as Linux keeps
/// FIN_WAIT_2 for nobody (`tcp_fin_timeout`).
const SWALLOWED: Duration = Duration::from_secs(60);

/// The line of a connection, which outlives the stream where the program is to hear nothing more.
pub(crate) type SharedLine = Arc<Mutex<Line>>;

/// The program's connection as one end of a relay.
pub(crate) struct ProgramStream {
    stream: TcpStream,
    plan: Plan,
    line: SharedLine,
    silence: Silence,
    tally: Arc<Tally>,
    /// Bytes from the program and to it.
    taken: u64,
    given: u64,
    /// The program has ended its stream.
    ended: bool,
    /// The server's stream was ended early; what comes is lost.
    closed: bool,
    swallowed: bool,
    timer: Option<Pin<Box<Sleep>>>,
    over: Option<io::ErrorKind>,
}

impl ProgramStream {
    pub(crate) fn new(
        stream: TcpStream,
        plan: Plan,
        line: SharedLine,
        silence: Silence,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            stream,
            plan,
            line,
            silence,
            tally,
            taken: 0,
            given: 0,
            ended: false,
            closed: false,
            swallowed: false,
            timer: None,
            over: None,
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self, after: u64) -> bool {
        self.taken >= after || self.given >= after
    }

    /// Bytes that may pass in a direction before a rule has its turn.
    fn room(&self, passed: u64) -> usize {
        let limits = [&self.plan.reset, &self.plan.close, &self.plan.silence];
        let next = limits.into_iter().flatten().map(|(after, _)| after.saturating_sub(passed)).min();
        let zero = self.plan.zero_window.as_ref().filter(|(after, ..)| !self.reached(*after));
        let zero = zero.map(|(after, ..)| after.saturating_sub(passed));
        let next = [next, zero].into_iter().flatten().min();
        next.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Lets rules act whose turn it is. Ready: how the connection ends by one.
    fn act(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(kind) = self.over {
            return Poll::Ready(kind.into());
        }
        let Self { stream, line, silence, .. } = self;
        silence.poll(cx, stream, &mut line.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some((after, rule)) = self.plan.reset.clone()
            && self.reached(after)
        {
            // Whatever came of the bytes before, this is the end.
            let _ = ready!(self.stream.poll_delivered(cx));
            return self.end(&rule, io::ErrorKind::ConnectionReset);
        }
        if let Some((after, rule)) = self.plan.silence.clone()
            && self.reached(after)
        {
            let _ = ready!(self.stream.poll_delivered(cx));
            let mut line = self.line();
            line.set(Treatment::Deaf, true);
            line.set(Treatment::Mute, true);
            drop(line);
            return self.end(&rule, io::ErrorKind::TimedOut);
        }
        if let Some((after, rule)) = self.plan.close.clone()
            && self.reached(after)
            && Pin::new(&mut self.stream).poll_shutdown(cx).is_ready()
        {
            rule.fire();
            self.closed = true;
            self.plan.close = None;
        }
        self.shut_window(cx);
        self.hold(cx)
    }

    fn end(&mut self, rule: &crate::faults::Armed, kind: io::ErrorKind) -> Poll<io::Error> {
        rule.fire();
        self.tally.by_rule.store(true, Ordering::Relaxed);
        self.over = Some(kind);
        Poll::Ready(kind.into())
    }

    /// `zero window`: from the first byte too many until the time is over.
    fn shut_window(&mut self, cx: &mut Context<'_>) {
        let Some((after, time, rule)) = self.plan.zero_window.clone() else { return };
        if !self.reached(after) {
            return;
        }
        let mut timer = self.timer.take().unwrap_or_else(|| {
            rule.fire();
            self.line().set(Treatment::ZeroWindow, true);
            Box::pin(sleep(time))
        });
        if timer.as_mut().poll(cx).is_ready() {
            self.line().set(Treatment::ZeroWindow, false);
            self.plan.zero_window = None;
        } else {
            self.timer = Some(timer);
        }
    }

    /// `swallow fin`: the connection stays for as long as the program's kernel may know it.
    fn hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.swallowed || !self.ended || self.plan.zero_window.is_some() {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(SWALLOWED)));
        ready!(timer.as_mut().poll(cx));
        self.line().set(Treatment::Mute, true);
        self.over = Some(io::ErrorKind::TimedOut);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Notes what is known of the connection.
    fn note(&self) {
        if self.tally.is_watched() {
            self.tally.let_go_inside(self.stream.info().ok(), self.stream.close_report());
        }
    }

    /// The server was silent to the end, and the program has sent something that nobody has answered: its own timers are to
    /// tell it. Anybody else is told by a reset.
    fn leaves_it_to_the_program(&self) -> bool {
        let host = self.tally.host_error.load(Ordering::Relaxed);
        let heard_nothing = host != 0 && host != libc::ECONNRESET && host != libc::EPIPE;
        heard_nothing && self.silence.is_silent() && self.line().unheard() > 0
    }
}

impl AsyncRead for ProgramStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.act(cx) {
            return Poll::Ready(Err(error));
        }
        let room = self.room(self.taken).min(buf.remaining());
        if room == 0 && buf.remaining() > 0 {
            // `act` has registered for what has to happen first.
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let len = part.filled().len();
        buf.advance(len);
        self.taken += len as u64;
        self.tally.taken.fetch_add(len as u64, Ordering::Relaxed);
        self.ended |= len == 0 && room > 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ProgramStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.act(cx) {
            return Poll::Ready(Err(error));
        }
        if self.closed {
            return Poll::Ready(Ok(buf.len()));
        }
        let room = self.room(self.given);
        let Some(part) = buf.get(..room.min(buf.len())).filter(|part| !part.is_empty()) else {
            return Poll::Pending;
        };
        let len = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
        self.given += len as u64;
        self.tally.given.fetch_add(len as u64, Ordering::Relaxed);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.act(cx) {
            return Poll::Ready(Err(error));
        }
        if let Some(rule) = &self.plan.swallow_fin {
            if !self.swallowed {
                rule.fire();
                self.swallowed = true;
            }
            return Poll::Pending;
        }
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl RelayStream for ProgramStream {
    fn abort(&mut self) {
        self.note();
        if self.leaves_it_to_the_program() {
            self.line().set(Treatment::Mute, true);
        }
        RelayStream::abort(&mut self.stream);
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_delivered(cx)
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Poll::Ready(error) = self.act(cx) {
            return Poll::Ready(error);
        }
        self.stream.poll_reset(cx)
    }
}

impl Drop for ProgramStream {
    fn drop(&mut self) {
        self.note();
    }
}

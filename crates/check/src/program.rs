//! What the two applications do: one or two threads a side, each a list of calls, made one at a time.

use lastack_core::{Error, Instant, Ready, Shutdown, Stack, TcpHandle, TcpOption};
use lastack_sim::{Call, Op, Outcome, Side};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Threads of an application at the most.
pub(crate) const THREADS: usize = 2;
/// Room at the listener.
const BACKLOG: usize = 4;
/// Largest number of bytes that one read takes: more than any configuration sends.
const READ: usize = 4096;

/// One call of an application. A call that would block is made when it no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Do {
    /// Socket, bind, `listen()`.
    Listen,
    /// `accept()`.
    Accept,
    /// `close()` of the listener.
    CloseListener,
    /// Socket, bind, `connect()`.
    Connect,
    /// Waits for the outcome of `connect()`.
    Connected,
    /// `write()` of so many bytes, with Nagle's algorithm off: a segment of its own if the window has room.
    Write(usize),
    /// Reads until so many bytes of the stream came, or it ended.
    Read(usize),
    /// Reads to the end of the stream, or to an error.
    ReadToEnd,
    /// Waits until this side's other thread has finished.
    Join,
    /// `shutdown()` of the sending direction.
    ShutdownWrite,
    /// `close()`.
    Close,
    /// `close()` with linger 0.
    CloseLingerZero,
    /// `abort()`.
    Abort,
    /// Keep-alive on: first probe after 10 s, 3 probes, 5 s between them.
    KeepAlive,
    /// The machine crashes and is there again at once, knowing nothing.
    Reboot,
    /// The machine falls silent for good.
    PowerOff,
}

/// The two applications: per side, per thread, the calls.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    threads: [[Vec<Do>; THREADS]; 2],
}

impl Programs {
    /// Gives a side its first thread; it opens the connection.
    #[must_use]
    pub fn main(mut self, side: Side, calls: impl Into<Vec<Do>>) -> Self {
        self.threads[side as usize][0] = calls.into();
        self
    }

    /// Gives a side its second thread; it begins when the first has a connection.
    #[must_use]
    pub fn second(mut self, side: Side, calls: impl Into<Vec<Do>>) -> Self {
        self.threads[side as usize][1] = calls.into();
        self
    }

    pub(crate) fn call(&self, side: Side, thread: usize, at: u8) -> Option<Do> {
        self.threads[side as usize].get(thread)?.get(usize::from(at)).copied()
    }

    fn len(&self, side: Side, thread: usize) -> usize {
        self.threads[side as usize].get(thread).map_or(0, Vec::len)
    }

    /// The side reads its stream to the end.
    pub(crate) fn reads_to_end(&self, side: Side) -> bool {
        self.threads[side as usize].iter().flatten().any(|call| *call == Do::ReadToEnd)
    }
}

/// Address of a side.
pub(crate) fn address(side: Side) -> SocketAddr {
    let (host, port) = match side {
        Side::A => (1, 40_000),
        Side::B => (2, 80),
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), port)
}

/// The byte at an offset of the stream that a side sends. The two streams differ.
pub(crate) fn byte(side: Side, offset: usize) -> u8 {
    let letter = (offset % 26) as u8;
    match side {
        Side::A => b'a' + letter,
        Side::B => b'A' + letter,
    }
}

/// What the application of one side has done and seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct App {
    /// The next call of each thread.
    pub(crate) at: [u8; THREADS],
    /// It has, or had, a connection.
    pub(crate) opened: bool,
    /// Bytes that `write()` took.
    pub(crate) written: usize,
    /// Bytes that `read()` gave.
    pub(crate) read: usize,
    /// `read()` gave the end of the stream.
    pub(crate) ended: bool,
    /// The first error that a call gave.
    pub(crate) error: Option<Error>,
}

/// The sockets of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) listener: Option<TcpHandle>,
    pub(crate) connection: Option<TcpHandle>,
}

/// Where a call is made.
pub(crate) struct Place<'a> {
    pub(crate) side: Side,
    pub(crate) now: Instant,
    pub(crate) stack: &'a mut Stack,
    pub(crate) sockets: &'a mut Sockets,
}

impl Place<'_> {
    fn connection(&self) -> Result<TcpHandle, Error> {
        self.sockets.connection.ok_or(Error::BadHandle)
    }

    fn note(&self, op: Op, outcome: Outcome) -> Call {
        let remote = if op == Op::Listen { None } else { Some(address(self.side.other())) };
        Call { op, outcome, local: Some(address(self.side)), remote }
    }

    fn set(&mut self, options: impl IntoIterator<Item = TcpOption>) -> Result<(), Error> {
        let handle = self.connection()?;
        options.into_iter().try_for_each(|option| self.stack.tcp_set_option(self.now, handle, option))
    }

    fn close(&mut self, abort: bool) {
        match self.sockets.connection.take() {
            Some(handle) if abort => self.stack.tcp_abort(self.now, handle),
            Some(handle) => self.stack.tcp_close(self.now, handle),
            None => {}
        }
    }
}

/// What a call led to.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// The calls, for the log.
    pub(crate) calls: Vec<Call>,
    /// What is wrong with what the application saw.
    pub(crate) wrong: Option<String>,
    /// The side falls silent.
    pub(crate) off: bool,
    /// The side forgets everything.
    pub(crate) reboot: bool,
}

impl App {
    pub(crate) fn finished(&self, programs: &Programs, side: Side, thread: usize) -> bool {
        usize::from(self.at[thread]) >= programs.len(side, thread)
    }

    /// The thread has a call to make that does not block now.
    pub(crate) fn can_run(
        &self,
        programs: &Programs,
        side: Side,
        thread: usize,
        stack: &Stack,
        sockets: Sockets,
    ) -> bool {
        let Some(call) = programs.call(side, thread, self.at[thread]) else { return false };
        if thread > 0 && !self.opened {
            return false;
        }
        let ready = sockets.connection.map(|handle| stack.tcp_ready(handle));
        let any = |wanted: Ready| ready.is_none_or(|ready| ready.intersects(wanted));
        match call {
            Do::Accept => sockets.listener.is_none_or(|handle| stack.tcp_ready(handle).contains(Ready::IN)),
            Do::Connected => any(Ready::OUT | Ready::ERR | Ready::HUP),
            Do::Read(total) => self.over() || self.read >= total || any(Ready::IN | Ready::ERR | Ready::HUP),
            Do::ReadToEnd => self.over() || any(Ready::IN | Ready::ERR | Ready::HUP),
            Do::Write(_) => any(Ready::OUT | Ready::ERR | Ready::HUP),
            Do::Join => self.finished(programs, side, 1 - thread),
            _ => true,
        }
    }

    /// Nothing more is to be read.
    fn over(&self) -> bool {
        self.ended || self.error.is_some()
    }

    /// Makes the thread's next call.
    pub(crate) fn run(&mut self, call: Do, thread: usize, place: &mut Place<'_>) -> Effect {
        let mut effect = Effect::default();
        let mut done = true;
        let mut said = Vec::new();
        match call {
            Do::Listen | Do::Accept | Do::CloseListener | Do::Connect | Do::Connected => {
                said.push(self.open(call, place));
            }
            Do::Write(len) => said.push((Op::Write(len), self.write(place, len))),
            Do::Read(_) | Do::ReadToEnd if self.over() => {}
            Do::Read(total) if self.read >= total => {}
            Do::Read(_) | Do::ReadToEnd => {
                let (outcome, wrong) = self.read(place);
                said.push((Op::Read, outcome));
                effect.wrong = wrong;
                done = self.over() || matches!(call, Do::Read(total) if self.read >= total);
            }
            Do::Join => {}
            Do::ShutdownWrite => {
                let result = place.connection();
                let result = result.and_then(|h| place.stack.tcp_shutdown(place.now, h, Shutdown::Write));
                said.push((Op::Shutdown(Shutdown::Write), self.outcome(result)));
            }
            Do::Close | Do::CloseLingerZero | Do::Abort => {
                if call == Do::CloseLingerZero {
                    let result = place.set([TcpOption::Linger(Some(Duration::ZERO))]);
                    said.push((Op::SetOption("SO_LINGER"), self.outcome(result)));
                }
                place.close(call == Do::Abort);
                said.push((if call == Do::Abort { Op::Abort } else { Op::Close }, Outcome::Done));
            }
            Do::KeepAlive => {
                let result = place.set([
                    TcpOption::KeepIdle(Duration::from_secs(10)),
                    TcpOption::KeepInterval(Duration::from_secs(5)),
                    TcpOption::KeepCount(3),
                    TcpOption::KeepAlive(true),
                ]);
                said.push((Op::SetOption("SO_KEEPALIVE"), self.outcome(result)));
            }
            Do::Reboot => {
                said.push((Op::Reboot, Outcome::Done));
                effect.reboot = true;
            }
            Do::PowerOff => {
                said.push((Op::PowerOff, Outcome::Done));
                effect.off = true;
            }
        }
        effect.calls = said.into_iter().map(|(op, outcome)| place.note(op, outcome)).collect();
        if done {
            self.at[thread] += 1;
        }
        effect
    }

    /// The calls that lead to a connection.
    fn open(&mut self, call: Do, place: &mut Place<'_>) -> (Op, Outcome) {
        let Place { side, now, stack, sockets } = place;
        match call {
            Do::Listen => {
                let handle = stack.tcp_socket();
                let bound = stack.tcp_bind(handle, address(*side));
                sockets.listener = Some(handle);
                (Op::Listen, self.outcome(bound.and_then(|()| stack.tcp_listen(*now, handle, BACKLOG))))
            }
            Do::Accept => {
                let result = sockets.listener.ok_or(Error::BadHandle).and_then(|l| stack.tcp_accept(l));
                let result = result.and_then(|handle| {
                    sockets.connection = Some(handle);
                    self.opened = true;
                    stack.tcp_set_option(*now, handle, TcpOption::NoDelay(true))
                });
                (Op::Accept, self.outcome(result))
            }
            Do::CloseListener => {
                if let Some(handle) = sockets.listener.take() {
                    stack.tcp_close(*now, handle);
                }
                (Op::CloseListener, Outcome::Done)
            }
            Do::Connect => {
                let handle = stack.tcp_socket();
                sockets.connection = Some(handle);
                self.opened = true;
                let ready = stack.tcp_set_option(*now, handle, TcpOption::NoDelay(true));
                let bound = ready.and_then(|()| stack.tcp_bind(handle, address(*side)));
                let result = bound.and_then(|()| stack.tcp_connect(*now, handle, address(side.other())));
                let outcome = self.outcome(result);
                (Op::Connect, if outcome == Outcome::Done { Outcome::Started } else { outcome })
            }
            _ => {
                let error = sockets.connection.and_then(|handle| stack.tcp_take_error(handle));
                (Op::Connect, self.outcome(error.map_or(Ok(()), Err)))
            }
        }
    }

    fn outcome(&mut self, result: Result<(), Error>) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => {
                // EPIPE says nothing about the other direction.
                if error != Error::BrokenPipe {
                    self.error.get_or_insert(error);
                }
                Outcome::Failed(error)
            }
        }
    }

    fn write(&mut self, place: &mut Place<'_>, len: usize) -> Outcome {
        let data: Vec<u8> = (self.written..self.written + len).map(|at| byte(place.side, at)).collect();
        let result = place.connection().and_then(|handle| place.stack.tcp_write(place.now, handle, &data));
        match result {
            Ok(n) => {
                self.written += n;
                Outcome::Bytes(n)
            }
            Err(error) => self.outcome(Err(error)),
        }
    }

    /// Reads what is there, and compares it with what the peer writes.
    fn read(&mut self, place: &mut Place<'_>) -> (Outcome, Option<String>) {
        let mut buffer = [0; READ];
        let result =
            place.connection().and_then(|handle| place.stack.tcp_read(place.now, handle, &mut buffer));
        match result {
            Ok(0) => {
                self.ended = true;
                (Outcome::Bytes(0), None)
            }
            Ok(n) => {
                let peer = place.side.other();
                let wrong = (0..n).find(|i| buffer[*i] != byte(peer, self.read + i)).map(|i| {
                    let (me, it) = (place.side.name(), peer.name());
                    let (got, sent) = (char::from(buffer[i]), char::from(byte(peer, self.read + i)));
                    format!(
                        "{me} read {got:?} as byte {} of the stream, where {it} wrote {sent:?}",
                        self.read + i
                    )
                });
                self.read += n;
                (Outcome::Bytes(n), wrong)
            }
            Err(error) => (self.outcome(Err(error)), None),
        }
    }
}

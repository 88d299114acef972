//! An application that does one blocking call after the other, as a short program would.

use crate::app::{Application, Io, Wait};
use crate::log::{Call, Op, Outcome};
use lastack_core::{Error, Instant, Ready, Shutdown, TcpHandle, TcpOption};
use std::net::SocketAddr;
use std::time::Duration;

/// One line of a program.
#[derive(Clone, Debug)]
pub enum Act {
    /// Listen on this address.
    Listen(SocketAddr),
    /// Wait for a connection and take it.
    Accept,
    /// Connect and wait for the outcome.
    Connect(SocketAddr),
    /// The same from this local address; it may be one that was used before.
    ConnectFrom(SocketAddr, SocketAddr),
    /// Begin to connect, and go on without waiting for the outcome.
    Begin(SocketAddr),
    /// Set an option of the connection, or of the listener while there is no connection; the words are for the log.
    Option(&'static str, TcpOption),
    /// Write so many bytes.
    Write(usize),
    /// Read until so many bytes came, or nothing more can come.
    Read(usize),
    /// Read until the end of the stream, or an error.
    ReadToEnd,
    /// Read so many bytes at a time, with a pause before each, until the end of the stream, or an error.
    ReadSlowly(usize, Duration),
    /// Shut the direction.
    Shutdown(Shutdown),
    /// Close the connection.
    Close,
    /// Close the listener.
    CloseListener,
    /// Reset the connection.
    Abort,
    /// Do nothing for so long.
    Sleep(Duration),
    /// Do nothing until this time.
    Until(Instant),
}

/// The listener's backlog: room for every connection of a scenario.
const BACKLOG: usize = 8;

/// A program: acts done in order, on one listener and one connection at the most.
#[derive(Debug)]
pub struct Script {
    acts: Vec<Act>,
    next: usize,
    /// Bytes that the running act has moved.
    moved: usize,
    /// End of the running sleep.
    wake: Option<Instant>,
    listener: Option<(TcpHandle, SocketAddr)>,
    connection: Option<Connection>,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    handle: TcpHandle,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

enum Progress {
    Done,
    Wait(Wait),
}

impl Script {
    /// A program of these acts.
    #[must_use]
    pub fn new(acts: Vec<Act>) -> Self {
        Self { acts, next: 0, moved: 0, wake: None, listener: None, connection: None }
    }

    fn act(&mut self, io: &mut Io<'_>, act: Act) -> Progress {
        match act {
            Act::Listen(at) => self.listen(io, at),
            Act::Accept => self.accept(io),
            Act::Connect(to) => self.connect(io, None, to),
            Act::ConnectFrom(from, to) => self.connect(io, Some(from), to),
            Act::Begin(to) => {
                self.connect(io, None, to);
                Progress::Done
            }
            Act::Option(words, option) => self.set_option(io, words, option),
            Act::ReadSlowly(step, pause) => self.read_slowly(io, step, pause),
            Act::Write(len) => self.write(io, len),
            Act::Read(len) => self.read(io, Some(len)),
            Act::ReadToEnd => self.read(io, None),
            Act::Shutdown(how) => self.shutdown(io, how),
            Act::Close => self.give_back(io, Op::Close),
            Act::Abort => self.give_back(io, Op::Abort),
            Act::CloseListener => self.close_listener(io),
            Act::Sleep(time) => {
                let wake = *self.wake.get_or_insert(io.now + time);
                self.sleep(io, wake)
            }
            Act::Until(at) => self.sleep(io, at),
        }
    }

    fn sleep(&mut self, io: &Io<'_>, wake: Instant) -> Progress {
        if io.now < wake {
            return Progress::Wait(Wait::Until(wake));
        }
        self.wake = None;
        Progress::Done
    }

    fn listen(&mut self, io: &mut Io<'_>, at: SocketAddr) -> Progress {
        let handle = io.stack.tcp_socket();
        let result =
            io.stack.tcp_bind(handle, at).and_then(|()| io.stack.tcp_listen(io.now, handle, BACKLOG));
        self.listener = Some((handle, at));
        io.note(Call { op: Op::Listen, outcome: outcome(result), local: Some(at), remote: None });
        Progress::Done
    }

    fn accept(&mut self, io: &mut Io<'_>) -> Progress {
        let Some((listener, at)) = self.listener else { return self.without_socket(io, Op::Accept) };
        let result = io.stack.tcp_accept(listener);
        if result == Err(Error::WouldBlock) {
            return Progress::Wait(Wait::Event);
        }
        if let Ok(handle) = result {
            self.adopt(io, handle, None);
        }
        let remote = self.connection.and_then(|c| c.remote);
        io.note(Call { op: Op::Accept, outcome: outcome(result.map(|_| ())), local: Some(at), remote });
        Progress::Done
    }

    fn adopt(&mut self, io: &Io<'_>, handle: TcpHandle, remote: Option<SocketAddr>) {
        let local = io.stack.tcp_local_addr(handle);
        let remote = remote.or_else(|| io.stack.tcp_peer_addr(handle));
        self.connection = Some(Connection { handle, local, remote });
    }

    fn connect(&mut self, io: &mut Io<'_>, from: Option<SocketAddr>, to: SocketAddr) -> Progress {
        let Some(connection) = self.connection else {
            let handle = io.stack.tcp_socket();
            let bound = from.map_or(Ok(()), |from| bind_again(io, handle, from));
            let result = bound.and_then(|()| io.stack.tcp_connect(io.now, handle, to));
            self.adopt(io, handle, Some(to));
            let started = if result.is_ok() { Outcome::Started } else { outcome(result) };
            self.note(io, Op::Connect, started);
            return if result.is_ok() { Progress::Wait(Wait::Event) } else { Progress::Done };
        };
        let ready = io.stack.tcp_ready(connection.handle);
        if !ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
            return Progress::Wait(Wait::Event);
        }
        let result = io.stack.tcp_take_error(connection.handle).map_or(Ok(()), Err);
        self.note(io, Op::Connect, outcome(result));
        Progress::Done
    }

    fn write(&mut self, io: &mut Io<'_>, len: usize) -> Progress {
        let Some(connection) = self.connection else { return self.without_socket(io, Op::Write(len)) };
        let data: Vec<u8> = (self.moved..len).map(letter).collect();
        match io.stack.tcp_write(io.now, connection.handle, &data) {
            Ok(n) => {
                self.moved += n;
                self.note(io, Op::Write(data.len()), Outcome::Bytes(n));
                if self.moved < len { Progress::Wait(Wait::Event) } else { Progress::Done }
            }
            Err(Error::WouldBlock) => Progress::Wait(Wait::Event),
            Err(error) => {
                self.note(io, Op::Write(data.len()), Outcome::Failed(error));
                Progress::Done
            }
        }
    }

    fn set_option(&mut self, io: &mut Io<'_>, words: &'static str, option: TcpOption) -> Progress {
        let op = Op::SetOption(words);
        let listener = self.listener.map(|(handle, _)| handle);
        let Some(handle) = self.connection.map(|c| c.handle).or(listener) else {
            return self.without_socket(io, op);
        };
        let result = io.stack.tcp_set_option(io.now, handle, option);
        self.note(io, op, outcome(result));
        Progress::Done
    }

    fn read_slowly(&mut self, io: &mut Io<'_>, step: usize, pause: Duration) -> Progress {
        let wake = *self.wake.get_or_insert(io.now + pause);
        if io.now < wake {
            return Progress::Wait(Wait::Until(wake));
        }
        let Some(connection) = self.connection else { return self.without_socket(io, Op::Read) };
        let mut buffer = vec![0; step];
        match io.stack.tcp_read(io.now, connection.handle, &mut buffer) {
            Err(Error::WouldBlock) => Progress::Wait(Wait::Event),
            Ok(n) if n > 0 => {
                self.note(io, Op::Read, Outcome::Bytes(n));
                let wake = io.now + pause;
                self.wake = Some(wake);
                Progress::Wait(Wait::Until(wake))
            }
            end => {
                self.wake = None;
                self.note(io, Op::Read, end.map_or_else(Outcome::Failed, Outcome::Bytes));
                Progress::Done
            }
        }
    }

    /// Reads up to `len` bytes, or without a limit.
    fn read(&mut self, io: &mut Io<'_>, len: Option<usize>) -> Progress {
        let Some(connection) = self.connection else { return self.without_socket(io, Op::Read) };
        let mut buffer = [0; 65_536];
        loop {
            let want = len.map_or(buffer.len(), |len| buffer.len().min(len - self.moved));
            if want == 0 {
                return Progress::Done;
            }
            match io.stack.tcp_read(io.now, connection.handle, &mut buffer[..want]) {
                Err(Error::WouldBlock) => return Progress::Wait(Wait::Event),
                Ok(n) => {
                    self.moved += n;
                    self.note(io, Op::Read, Outcome::Bytes(n));
                    if n == 0 {
                        return Progress::Done;
                    }
                }
                Err(error) => {
                    self.note(io, Op::Read, Outcome::Failed(error));
                    return Progress::Done;
                }
            }
        }
    }

    fn shutdown(&mut self, io: &mut Io<'_>, how: Shutdown) -> Progress {
        let op = Op::Shutdown(how);
        let Some(connection) = self.connection else { return self.without_socket(io, op) };
        let result = io.stack.tcp_shutdown(io.now, connection.handle, how);
        self.note(io, op, outcome(result));
        Progress::Done
    }

    /// `close()` or `abort()`: either takes the handle.
    fn give_back(&mut self, io: &mut Io<'_>, op: Op) -> Progress {
        let Some(connection) = self.connection else { return self.without_socket(io, op) };
        if op == Op::Abort {
            io.stack.tcp_abort(io.now, connection.handle);
        } else {
            io.stack.tcp_close(io.now, connection.handle);
        }
        self.note(io, op, Outcome::Done);
        self.connection = None;
        Progress::Done
    }

    fn close_listener(&mut self, io: &mut Io<'_>) -> Progress {
        let Some((handle, at)) = self.listener.take() else {
            return self.without_socket(io, Op::CloseListener);
        };
        io.stack.tcp_close(io.now, handle);
        io.note(Call { op: Op::CloseListener, outcome: Outcome::Done, local: Some(at), remote: None });
        Progress::Done
    }

    /// A call on a socket that the program does not have, as after a failed `accept()`.
    fn without_socket(&self, io: &mut Io<'_>, op: Op) -> Progress {
        self.note(io, op, Outcome::Failed(Error::BadHandle));
        Progress::Done
    }

    fn note(&self, io: &mut Io<'_>, op: Op, outcome: Outcome) {
        let local = self.connection.and_then(|c| c.local);
        let remote = self.connection.and_then(|c| c.remote);
        io.note(Call { op, outcome, local, remote });
    }
}

impl Application for Script {
    fn resume(&mut self, io: &mut Io<'_>) -> Wait {
        while let Some(act) = self.acts.get(self.next).cloned() {
            match self.act(io, act) {
                Progress::Done => {
                    self.next += 1;
                    self.moved = 0;
                }
                Progress::Wait(wait) => return wait,
            }
        }
        Wait::Finished
    }
}

/// Binds to an address that may still be known from a connection that has ended.
fn bind_again(io: &mut Io<'_>, handle: TcpHandle, from: SocketAddr) -> Result<(), Error> {
    io.stack.tcp_set_option(io.now, handle, TcpOption::ReuseAddr(true))?;
    io.stack.tcp_bind(handle, from)
}

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error),
    }
}

/// The stream that every write sends: the alphabet over and over, easy to follow in a capture.
fn letter(offset: usize) -> u8 {
    b"abcdefghijklmnopqrstuvwxyz"[offset % 26]
}

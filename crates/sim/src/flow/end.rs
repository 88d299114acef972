//! One end of a connection: its program, how far it got, and what it was told.

use super::{Step, content};
use crate::node::{Moved, Node, Sock};
use crate::trace::Sample;
use lastack_core::{Ending, Error, Instant};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one write.
const WRITE: usize = 16 * 1024;
/// Bytes of one read at the most.
const READ: usize = 64 * 1024;

/// Room for bytes on their way between an application and its stack.
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    expected: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bytes: vec![0; READ], expected: vec![0; READ] }
    }
}

/// What an end works with.
pub(crate) struct Io<'a> {
    pub(crate) now: Instant,
    pub(crate) node: &'a mut Node,
    pub(crate) scratch: &'a mut Scratch,
}

/// Where a step got to.
enum Progress {
    Done,
    /// It goes on at an event of the socket, or at this time.
    Wait(Option<Instant>),
    Failed(Error),
}
use Progress::{Done, Failed, Wait};

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) sock: Option<Sock>,
    program: Arc<[Step]>,
    next: usize,
    /// Bytes that the running step has moved.
    moved: u64,
    /// When the running step goes on or ends.
    until: Option<Instant>,
    /// Keys of what it sends and of what it is to read.
    keys: [u64; 2],
    connecting: bool,
    patience: Option<Duration>,
    /// When it last got something done.
    progress: Instant,
    /// Bytes that the stack took.
    pub(crate) wrote: u64,
    /// Bytes read, all of them right.
    pub(crate) read: u64,
    /// When the last byte was read.
    pub(crate) last_read: Option<Instant>,
    /// It is connected since then.
    pub(crate) opened: Option<Instant>,
    /// It let go of its socket then.
    pub(crate) closed: Option<Instant>,
    /// It read the end of the stream.
    pub(crate) saw_end: bool,
    /// Its SYN met that of its peer.
    pub(crate) crossed: bool,
    /// It ended in the middle of its work, as its flow wants it.
    pub(crate) crashed: bool,
    /// It said that it sends no more: shutdown or close.
    pub(crate) said_end: bool,
    /// It reset the connection.
    pub(crate) aborted: bool,
    /// Its program ran to its end.
    pub(crate) finished: bool,
    /// The stream ended before what the program wanted to read.
    pub(crate) early: bool,
    /// It lost its patience.
    pub(crate) gave_up: bool,
    /// What a call failed with.
    pub(crate) error: Option<Error>,
    /// The first byte that was wrong.
    pub(crate) wrong: Option<u64>,
    /// Its host was switched off before its connection was over.
    pub(crate) died: bool,
    /// How the stack says that the connection ended.
    pub(crate) ending: Option<Ending>,
    /// The connection's numbers when it let go of it.
    pub(crate) last: Option<Sample>,
}

impl End {
    /// `keys`: of what it sends, and of what its peer sends.
    pub(crate) fn new(
        now: Instant,
        host: usize,
        program: Arc<[Step]>,
        keys: [u64; 2],
        patience: Option<Duration>,
    ) -> Self {
        Self {
            host,
            sock: None,
            program,
            next: 0,
            moved: 0,
            until: None,
            keys,
            connecting: true,
            patience,
            progress: now,
            wrote: 0,
            read: 0,
            last_read: None,
            opened: None,
            closed: None,
            saw_end: false,
            crossed: false,
            crashed: false,
            said_end: false,
            aborted: false,
            finished: false,
            early: false,
            gave_up: false,
            error: None,
            wrong: None,
            died: false,
            ending: None,
            last: None,
        }
    }

    /// It has done all that it ever will.
    pub(crate) fn is_over(&self) -> bool {
        self.closed.is_some() || self.died
    }

    /// Its host was switched off.
    pub(crate) fn die(&mut self) {
        self.sock = None;
        self.died = true;
    }

    /// The connection could not even begin.
    pub(crate) fn refuse(&mut self, now: Instant, error: Error) {
        self.error = Some(error);
        self.closed = Some(now);
    }

    /// Runs until nothing more can be done now; gives the time at which to run it again without an event.
    pub(crate) fn run(&mut self, io: &mut Io<'_>) -> Option<Instant> {
        let sock = self.sock.filter(|_| !self.is_over())?;
        if self.connecting {
            self.crossed |= io.node.crossed(sock);
            match io.node.connected(sock) {
                None => return self.lose_patience(io, sock, None),
                Some(Err(error)) => {
                    self.fail(io, sock, error);
                    return None;
                }
                Some(Ok(())) => {
                    self.connecting = false;
                    self.opened = Some(io.now);
                    self.progress = io.now;
                }
            }
        }
        while let Some(step) = self.program.get(self.next).copied() {
            match self.step(io, sock, step) {
                Done => {
                    self.next += 1;
                    self.moved = 0;
                    self.until = None;
                    self.progress = io.now;
                    if self.is_over() {
                        self.finished = self.next == self.program.len();
                        return None;
                    }
                }
                Wait(_) if self.is_over() => return None,
                Wait(at) => return self.lose_patience(io, sock, at),
                Failed(error) => {
                    self.fail(io, sock, error);
                    return None;
                }
            }
        }
        None
    }

    /// Goes on waiting, or gives up.
    fn lose_patience(&mut self, io: &mut Io<'_>, sock: Sock, at: Option<Instant>) -> Option<Instant> {
        let Some(patience) = self.patience else { return at };
        let end = self.progress + patience;
        if io.now < end {
            return Some(at.map_or(end, |at| at.min(end)));
        }
        self.gave_up = true;
        self.abort(io, sock);
        None
    }

    fn fail(&mut self, io: &mut Io<'_>, sock: Sock, error: Error) {
        self.error = Some(error);
        self.close(io, sock);
    }

    fn close(&mut self, io: &mut Io<'_>, sock: Sock) {
        self.last = io.node.sample(io.now, sock);
        io.node.close(io.now, sock);
        self.sock = None;
        self.said_end = true;
        self.closed = Some(io.now);
    }

    fn abort(&mut self, io: &mut Io<'_>, sock: Sock) {
        self.last = io.node.sample(io.now, sock);
        io.node.abort(io.now, sock);
        self.sock = None;
        self.aborted = true;
        self.closed = Some(io.now);
    }

    fn step(&mut self, io: &mut Io<'_>, sock: Sock, step: Step) -> Progress {
        match step {
            Step::Send(len) => self.send(io, sock, len),
            Step::SendFor(time) => self.send_for(io, sock, time),
            Step::Recv(len) => self.recv(io, sock, Some(len)),
            Step::RecvToEnd => self.recv(io, sock, None),
            Step::RecvSlowly(piece, every) => self.recv_slowly(io, sock, piece, every),
            Step::Exchange(len) => self.exchange(io, sock, len),
            Step::Pause(time) => {
                let until = *self.until.get_or_insert(io.now + time);
                // It is no lack of progress to wait on purpose.
                self.progress = until;
                if io.now < until { Wait(Some(until)) } else { Done }
            }
            Step::Shutdown => self.shutdown(io, sock),
            Step::Close => {
                self.close(io, sock);
                Done
            }
            Step::Crash { reset } => {
                self.crashed = true;
                if reset {
                    self.abort(io, sock);
                } else {
                    self.close(io, sock);
                }
                Done
            }
        }
    }

    fn shutdown(&mut self, io: &mut Io<'_>, sock: Sock) -> Progress {
        match io.node.shutdown(io.now, sock) {
            Ok(()) => {
                self.said_end = true;
                Done
            }
            Err(error) => Failed(error),
        }
    }

    /// Writes until this step has moved `len` bytes.
    fn send(&mut self, io: &mut Io<'_>, sock: Sock, len: u64) -> Progress {
        while self.moved < len {
            let want = (len - self.moved).min(WRITE as u64) as usize;
            let Io { now, node, scratch } = io;
            content::fill(self.keys[0], self.wrote, &mut scratch.bytes[..want]);
            let mut done = 0;
            while done < want {
                match node.write(*now, sock, &scratch.bytes[done..want]) {
                    Moved::Bytes(n) => {
                        done += n;
                        self.wrote += n as u64;
                        self.moved += n as u64;
                        self.progress = *now;
                    }
                    Moved::Failed(error) => return Failed(error),
                    // There is no end of file for a writer.
                    Moved::Nothing | Moved::End => return Wait(None),
                }
            }
        }
        Done
    }

    fn send_for(&mut self, io: &mut Io<'_>, sock: Sock, time: Duration) -> Progress {
        let until = *self.until.get_or_insert(io.now + time);
        if io.now >= until {
            return Done;
        }
        match self.send(io, sock, u64::MAX) {
            Wait(_) => Wait(Some(until)),
            other => other,
        }
    }

    /// Reads once, at most `most` bytes, and compares.
    fn read_once(&mut self, io: &mut Io<'_>, sock: Sock, most: u64) -> Moved {
        let Io { now, node, scratch } = io;
        let most = most.min(READ as u64) as usize;
        let moved = node.read(*now, sock, &mut scratch.bytes[..most]);
        match moved {
            Moved::Bytes(n) => {
                let (bytes, expected) = (&scratch.bytes[..n], &mut scratch.expected);
                if self.wrong.is_none() {
                    self.wrong = content::difference(self.keys[1], self.read, bytes, expected);
                }
                self.read += n as u64;
                self.moved += n as u64;
                self.progress = *now;
                self.last_read = Some(*now);
            }
            Moved::End => self.saw_end = true,
            Moved::Nothing | Moved::Failed(_) => {}
        }
        moved
    }

    /// Reads until this step has moved so many bytes, or to the end of the stream.
    fn recv(&mut self, io: &mut Io<'_>, sock: Sock, len: Option<u64>) -> Progress {
        loop {
            let left = len.map_or(u64::MAX, |len| len - self.moved);
            if left == 0 {
                return Done;
            }
            match self.read_once(io, sock, left) {
                Moved::Bytes(_) => {}
                Moved::End if len.is_none() => return Done,
                Moved::End => {
                    self.early = true;
                    self.close(io, sock);
                    return Wait(None);
                }
                Moved::Nothing => return Wait(None),
                Moved::Failed(error) => return Failed(error),
            }
        }
    }

    fn recv_slowly(&mut self, io: &mut Io<'_>, sock: Sock, piece: u64, every: Duration) -> Progress {
        let next = *self.until.get_or_insert(io.now + every);
        if io.now < next {
            return Wait(Some(next));
        }
        match self.read_once(io, sock, piece) {
            Moved::Bytes(_) => {
                let next = io.now + every;
                self.until = Some(next);
                Wait(Some(next))
            }
            Moved::End => Done,
            Moved::Nothing => Wait(None),
            Moved::Failed(error) => Failed(error),
        }
    }

    /// `moved` counts both directions, so the writer's part is known by what it wrote: the step is the program's first.
    fn exchange(&mut self, io: &mut Io<'_>, sock: Sock, len: u64) -> Progress {
        if !self.said_end {
            self.moved = self.wrote;
            match self.send(io, sock, len) {
                Done => {
                    if let Failed(error) = self.shutdown(io, sock) {
                        return Failed(error);
                    }
                }
                Wait(_) => {}
                Failed(error) => return Failed(error),
            }
        }
        if !self.saw_end {
            match self.recv(io, sock, None) {
                Failed(error) => return Failed(error),
                Wait(at) => return Wait(at),
                Done => {}
            }
        }
        if self.said_end { Done } else { Wait(None) }
    }
}

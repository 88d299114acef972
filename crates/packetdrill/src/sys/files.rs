//! The descriptors of the program: numbers, what they stand for, their status flags.

use crate::call::Fd;
use lastack_core::{Ready, TcpHandle};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::poll::Epoll;
use super::reports::Reports;

/// Where descriptor numbers come from.
pub trait Descriptors: Send {
    /// A number that nothing uses.
    ///
    /// # Errors
    /// The errno of the call that wanted it (EMFILE, ENFILE).
    fn open(&mut self) -> Result<Fd, i32>;

    /// The program has closed it.
    fn close(&mut self, fd: Fd);
}

impl fmt::Debug for dyn Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Descriptors")
    }
}

/// The lowest free number from 3 on, as a program sees it that has only its standard streams open.
#[derive(Debug, Default)]
pub struct Counter {
    used: std::collections::BTreeSet<Fd>,
}

impl Descriptors for Counter {
    fn open(&mut self) -> Result<Fd, i32> {
        let fd = (3..1024).find(|fd| !self.used.contains(fd)).ok_or(libc::EMFILE)?;
        self.used.insert(fd);
        Ok(fd)
    }

    fn close(&mut self, fd: Fd) {
        self.used.remove(&fd);
    }
}

/// `sock->state` of Linux: what the program has asked of a socket, apart from what TCP has made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// SS_UNCONNECTED.
    Unconnected,
    /// SS_CONNECTING: `connect` has not yet been told how it ended.
    Connecting,
    /// SS_CONNECTED.
    Connected,
}

/// A socket of the program: the stack's socket, and what only the calls know of it.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) handle: TcpHandle,
    /// AF_INET6.
    pub(super) v6: bool,
    pub(super) phase: Phase,
    /// `connect` has asked for a cookie on behalf of TCP_FASTOPEN_CONNECT: MSG_FASTOPEN has nothing more to do here.
    pub(super) asks_cookie: bool,
    /// SO_RCVTIMEO and SO_SNDTIMEO.
    pub(super) receive_timeout: Option<Duration>,
    pub(super) send_timeout: Option<Duration>,
    /// SO_RCVLOWAT.
    pub(super) low_water: usize,
    /// TCP_INQ: `recvmsg` tells how much is left.
    pub(super) tells_inq: bool,
    /// `sk_sndbuf` and `sk_rcvbuf` where the program has set them (SO_BUF_LOCK).
    pub(super) send_buffer: Option<i32>,
    pub(super) receive_buffer: Option<i32>,
    /// Options that are kept and given back without an effect on this stack, by level and name.
    pub(super) kept: BTreeMap<(i32, i32), i32>,
    /// SO_ZEROCOPY, SO_TIMESTAMPING and what they have to tell.
    pub(super) reports: Reports,
    /// Number for SO_COOKIE.
    pub(super) cookie: u64,
}

/// What a descriptor stands for.
#[derive(Debug)]
pub(super) enum Kind {
    Socket(Box<Socket>),
    /// Read end of the pipe with this number.
    PipeRead(u32),
    /// Write end.
    PipeWrite(u32),
    Epoll(Epoll),
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: Kind,
    /// Status flags besides the access mode: O_NONBLOCK and others that `fcntl` may set.
    pub(super) flags: i32,
    /// FD_CLOEXEC.
    pub(super) close_on_exec: bool,
}

impl File {
    pub(super) fn nonblocking(&self) -> bool {
        self.flags & libc::O_NONBLOCK != 0
    }
}

/// Bytes in a pipe.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) data: VecDeque<u8>,
    pub(super) has_reader: bool,
    pub(super) has_writer: bool,
}

/// All descriptors.
#[derive(Debug)]
pub(super) struct Files {
    numbers: Box<dyn Descriptors>,
    open: BTreeMap<Fd, File>,
    pub(super) pipes: BTreeMap<u32, Pipe>,
    pub(super) pipes_made: u32,
    pub(super) sockets_made: u64,
}

impl Files {
    pub(super) fn new(numbers: Box<dyn Descriptors>) -> Self {
        Self { numbers, open: BTreeMap::new(), pipes: BTreeMap::new(), pipes_made: 0, sockets_made: 0 }
    }

    pub(super) fn get(&self, fd: Fd) -> Option<&File> {
        self.open.get(&fd)
    }

    pub(super) fn get_mut(&mut self, fd: Fd) -> Option<&mut File> {
        self.open.get_mut(&fd)
    }

    /// A number for `kind`, with the flags that the making call may give.
    pub(super) fn add(&mut self, kind: Kind, nonblocking: bool, close_on_exec: bool) -> Result<Fd, i32> {
        let fd = self.numbers.open()?;
        let flags = if nonblocking { libc::O_NONBLOCK } else { 0 };
        self.open.insert(fd, File { kind, flags, close_on_exec });
        Ok(fd)
    }

    /// Takes a descriptor out, of every epoll set too.
    pub(super) fn remove(&mut self, fd: Fd) -> Option<File> {
        let file = self.open.remove(&fd)?;
        self.numbers.close(fd);
        for other in self.open.values_mut() {
            if let Kind::Epoll(epoll) = &mut other.kind {
                epoll.forget(fd);
            }
        }
        Some(file)
    }

    pub(super) fn socket(&self, fd: Fd) -> Result<&Socket, i32> {
        match &self.get(fd).ok_or(libc::EBADF)?.kind {
            Kind::Socket(socket) => Ok(socket),
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(super) fn socket_mut(&mut self, fd: Fd) -> Result<&mut Socket, i32> {
        match &mut self.get_mut(fd).ok_or(libc::EBADF)?.kind {
            Kind::Socket(socket) => Ok(socket),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// The sockets of a kind.
    pub(super) fn sockets(&self, wanted: impl Fn(&Socket) -> bool) -> Vec<(Fd, TcpHandle)> {
        let one = |(fd, file): (&Fd, &File)| match &file.kind {
            Kind::Socket(socket) if wanted(socket) => Some((*fd, socket.handle)),
            _ => None,
        };
        self.open.iter().filter_map(one).collect()
    }

    /// The stack has news of a socket: whoever watches it looks at it again.
    pub(super) fn note_event(&mut self, handle: TcpHandle, ready: Ready) {
        let fd = self.open.iter().find_map(|(fd, file)| match &file.kind {
            Kind::Socket(socket) if socket.handle == handle => Some(*fd),
            _ => None,
        });
        if let Some(fd) = fd {
            self.wake(fd, super::poll::poll_bits(ready));
        }
    }

    /// A descriptor has changed: `bits` are the poll flags that came up.
    pub(super) fn wake(&mut self, fd: Fd, bits: u32) {
        for file in self.open.values_mut() {
            if let Kind::Epoll(epoll) = &mut file.kind {
                epoll.wake(fd, bits);
            }
        }
    }

    /// The ends of the pipe with this number.
    pub(super) fn pipe_ends(&self, number: u32) -> Vec<Fd> {
        self.open
            .iter()
            .filter(|(_, file)| matches!(&file.kind, Kind::PipeRead(n) | Kind::PipeWrite(n) if *n == number))
            .map(|(fd, _)| *fd)
            .collect()
    }
}

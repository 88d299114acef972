//! Every system call that a packetdrill script can make, in plain types, and what comes back.
//!
//! A [`Call`] is what the program asks, before anybody has judged it: descriptors may be unknown, lengths wrong,
//! pointers null. Numbers of flags, levels, options and commands are those of Linux on this machine (`libc`). An
//! [`Outcome`] is the result with everything that the call has written to the program's memory.

use std::net::SocketAddr;

mod address;

pub use address::{Address, socket_address_bytes};

/// A file descriptor. Any number may stand in a call; an unknown one gives EBADF.
pub type Fd = i32;

/// Bytes that the program hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The bytes.
    Bytes(Vec<u8>),
    /// A null pointer that claims this many bytes (EFAULT, unless it is 0).
    Null(usize),
}

impl Data {
    /// Length that the program gave.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Null(len) => *len,
        }
    }

    /// Nothing is handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Room for bytes that the call writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// This many bytes.
    Bytes(usize),
    /// A null pointer that claims this many (EFAULT when something is to be written there).
    Null(usize),
}

impl Room {
    /// Length that the program gave.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Bytes(len) | Self::Null(len) => len,
        }
    }

    /// There is no room.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What `poll` is asked about one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollFd {
    /// Descriptor; a negative one is skipped.
    pub fd: Fd,
    /// POLLIN and so on.
    pub events: i16,
}

/// `struct epoll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpollEvent {
    /// EPOLLIN, EPOLLET and so on.
    pub events: u32,
    /// What the program stored with it.
    pub data: u64,
}

/// A system call with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket(domain, type, protocol)`; `kind` may hold SOCK_NONBLOCK and SOCK_CLOEXEC.
    Socket {
        /// AF_INET, AF_INET6.
        domain: i32,
        /// SOCK_STREAM and flags.
        kind: i32,
        /// 0 or IPPROTO_TCP.
        protocol: i32,
    },
    /// `bind`.
    Bind {
        /// Socket.
        fd: Fd,
        /// Local address.
        address: Address,
    },
    /// `listen`.
    Listen {
        /// Socket.
        fd: Fd,
        /// Backlog.
        backlog: i32,
    },
    /// `accept`, and `accept4` when flags are not 0.
    Accept {
        /// Listener.
        fd: Fd,
        /// `flags` of `accept4`.
        flags: i32,
    },
    /// `connect`.
    Connect {
        /// Socket.
        fd: Fd,
        /// Peer.
        address: Address,
    },
    /// `read` and, with several pieces, `readv`.
    Read {
        /// Descriptor.
        fd: Fd,
        /// Where to. One piece for `read`.
        rooms: Vec<Room>,
    },
    /// `recv`; `recvfrom` with `wants_address`.
    Recv {
        /// Socket.
        fd: Fd,
        /// Where to.
        room: Room,
        /// MSG_PEEK and so on.
        flags: i32,
        /// The program gave room for the sender's address.
        wants_address: bool,
    },
    /// `recvmsg`.
    RecvMsg {
        /// Socket.
        fd: Fd,
        /// Where to.
        rooms: Vec<Room>,
        /// Room for the sender's address in bytes; `None` for a null pointer.
        name_room: Option<usize>,
        /// Room for control messages in bytes.
        control_room: usize,
        /// MSG_PEEK and so on.
        flags: i32,
    },
    /// `write` and, with several pieces, `writev`.
    Write {
        /// Descriptor.
        fd: Fd,
        /// One piece for `write`.
        pieces: Vec<Data>,
    },
    /// `send`; `sendto` with an address.
    Send {
        /// Socket.
        fd: Fd,
        /// Bytes.
        data: Data,
        /// MSG_MORE and so on.
        flags: i32,
        /// Peer.
        to: Option<Address>,
    },
    /// `sendmsg`.
    SendMsg {
        /// Socket.
        fd: Fd,
        /// Bytes.
        pieces: Vec<Data>,
        /// `msg_name`.
        to: Option<Address>,
        /// Control messages, as they lie in memory.
        control: Vec<u8>,
        /// MSG_MORE and so on.
        flags: i32,
    },
    /// `shutdown`.
    Shutdown {
        /// Socket.
        fd: Fd,
        /// SHUT_RD, SHUT_WR, SHUT_RDWR.
        how: i32,
    },
    /// `close`.
    Close {
        /// Descriptor.
        fd: Fd,
    },
    /// `fcntl(fd, F_GETFL)`, `fcntl(fd, F_SETFL, arg)`.
    Fcntl {
        /// Descriptor.
        fd: Fd,
        /// Command.
        command: i32,
        /// Third argument; 0 where the command has none.
        argument: i64,
    },
    /// `ioctl(fd, request, int *)`: SIOCINQ (FIONREAD), SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK.
    Ioctl {
        /// Descriptor.
        fd: Fd,
        /// Request.
        request: u64,
        /// The third argument is a null pointer.
        null: bool,
    },
    /// `poll`.
    Poll {
        /// What is asked.
        fds: Vec<PollFd>,
        /// Milliseconds; negative waits for ever.
        timeout: i32,
    },
    /// `getsockopt`.
    GetSockOpt {
        /// Socket.
        fd: Fd,
        /// SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6.
        level: i32,
        /// Option.
        name: i32,
        /// Room for the value: `*optlen` at the call. A negative length gives EINVAL.
        len: i32,
        /// `optval` is a null pointer.
        null: bool,
    },
    /// `setsockopt`.
    SetSockOpt {
        /// Socket.
        fd: Fd,
        /// As in `GetSockOpt`.
        level: i32,
        /// Option.
        name: i32,
        /// The value as far as it lies in memory, at the most `len` bytes; `None` for a null pointer.
        value: Option<Vec<u8>>,
        /// `optlen`. A negative length gives EINVAL.
        len: i32,
    },
    /// `epoll_create(size)`.
    EpollCreate {
        /// Not positive: EINVAL.
        size: i32,
    },
    /// `epoll_ctl`.
    EpollCtl {
        /// Epoll descriptor.
        epfd: Fd,
        /// EPOLL_CTL_ADD, _MOD, _DEL.
        op: i32,
        /// Descriptor to watch.
        fd: Fd,
        /// `None` for a null pointer.
        event: Option<EpollEvent>,
    },
    /// `epoll_wait`.
    EpollWait {
        /// Epoll descriptor.
        epfd: Fd,
        /// Room for that many events.
        max: i32,
        /// Milliseconds; negative waits for ever.
        timeout: i32,
    },
    /// `pipe`, and `pipe2` when flags are not 0.
    Pipe {
        /// O_NONBLOCK, O_CLOEXEC.
        flags: i32,
    },
    /// `splice`.
    Splice {
        /// Source.
        from: Fd,
        /// Offset in the source; `None` for a null pointer.
        from_offset: Option<i64>,
        /// Target.
        to: Fd,
        /// Offset in the target; `None` for a null pointer.
        to_offset: Option<i64>,
        /// Bytes at the most.
        len: usize,
        /// SPLICE_F_NONBLOCK and so on.
        flags: u32,
    },
}

impl Call {
    /// Name of the call as a script writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "socket",
            Self::Bind { .. } => "bind",
            Self::Listen { .. } => "listen",
            Self::Accept { flags: 0, .. } => "accept",
            Self::Accept { .. } => "accept4",
            Self::Connect { .. } => "connect",
            Self::Read { rooms, .. } if rooms.len() == 1 => "read",
            Self::Read { .. } => "readv",
            Self::Recv { wants_address: false, .. } => "recv",
            Self::Recv { .. } => "recvfrom",
            Self::RecvMsg { .. } => "recvmsg",
            Self::Write { pieces, .. } if pieces.len() == 1 => "write",
            Self::Write { .. } => "writev",
            Self::Send { to: None, .. } => "send",
            Self::Send { .. } => "sendto",
            Self::SendMsg { .. } => "sendmsg",
            Self::Shutdown { .. } => "shutdown",
            Self::Close { .. } => "close",
            Self::Fcntl { .. } => "fcntl",
            Self::Ioctl { .. } => "ioctl",
            Self::Poll { .. } => "poll",
            Self::GetSockOpt { .. } => "getsockopt",
            Self::SetSockOpt { .. } => "setsockopt",
            Self::EpollCreate { .. } => "epoll_create",
            Self::EpollCtl { .. } => "epoll_ctl",
            Self::EpollWait { .. } => "epoll_wait",
            Self::Pipe { .. } => "pipe",
            Self::Splice { .. } => "splice",
        }
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The return value; -1 for an error.
    pub result: i64,
    /// `errno` after an error, else 0.
    pub errno: i32,
    /// What was written to the program's memory.
    pub out: Out,
}

impl Outcome {
    /// Success that writes nothing.
    #[must_use]
    pub fn ok(result: i64) -> Self {
        Self { result, errno: 0, out: Out::Nothing }
    }

    /// Success that writes `out`.
    #[must_use]
    pub fn with(result: i64, out: Out) -> Self {
        Self { result, errno: 0, out }
    }

    /// Failure.
    #[must_use]
    pub fn error(errno: i32) -> Self {
        Self { result: -1, errno, out: Out::Nothing }
    }
}

/// What a call writes to the program's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// Nothing.
    Nothing,
    /// Bytes read, to be spread over the rooms in order. They can be fewer than the result says: MSG_TRUNC on a stream
    /// counts bytes that it throws away.
    Data(Vec<u8>),
    /// Result of `recvmsg`. A TCP socket names no sender: `msg_namelen` is 0.
    Message {
        /// Bytes read.
        data: Vec<u8>,
        /// Control messages as they lie in memory; `msg_controllen` is their length.
        control: Vec<u8>,
        /// `msg_flags`.
        flags: i32,
    },
    /// The peer of the connection accepted.
    Peer(SocketAddr),
    /// An option's value; `*optlen` is its length.
    Value(Vec<u8>),
    /// The int of an `ioctl`.
    Int(i32),
    /// `revents` of every entry, in order.
    Polled(Vec<i16>),
    /// What `epoll_wait` found.
    Events(Vec<EpollEvent>),
    /// Read end and write end of a pipe.
    Pipe(Fd, Fd),
}

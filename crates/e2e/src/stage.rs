//! One kind of socket with a scripted peer, so that one text is played by all kinds: the kernel's and lastack's, blocking
//! and for tokio.
//!
//! The socket under test is called the subject. The kernel's subject lives in a [`Lab`]; lastack's in a host of its own on
//! a link in memory, which needs no root. The peer is a lastack host in both cases, and a [`Gate`] lies between.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lastack::device::{Capabilities, memory};
use lastack::{Config, Host, State, blocking};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Ready;
use tokio::runtime::Runtime;

use crate::awaited::{Awaited, everything, runtime, wait};
use crate::gate::Gate;
use crate::lab::{Family, Lab, LabOptions, eventually};
use crate::socket::{Socket, errno};
use crate::{kernel, namespace};

/// Whose sockets play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's, through the standard library; needs root.
    Kernel,
    /// lastack's blocking ones.
    Blocking,
    /// lastack's for tokio.
    Tokio,
}

/// Settings of both stacks, by Linux's names. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knobs {
    /// `tcp_syn_retries`.
    pub syn_retries: Option<u8>,
    /// `tcp_retries2`.
    pub retries2: Option<u8>,
}

enum Home {
    Kernel,
    Blocking(Host),
    Tokio(Host, Arc<Runtime>),
}

/// The subject's stack, the peer's, and the gate between them.
pub struct Stage {
    home: Home,
    /// Ends with the stage; explains a failure.
    lab: Option<Lab>,
    /// The peer's stack.
    pub peer: Host,
    /// What is between: its direction [`To::Kernel`](crate::To) leads to the subject.
    pub gate: Gate,
}

/// A listener of the subject's.
pub enum Listener {
    /// The kernel's.
    Kernel(TcpListener),
    /// lastack's.
    Blocking(blocking::TcpListener),
    /// lastack's for tokio.
    Tokio(Arc<Runtime>, lastack::tokio::TcpListener),
}

/// Plays `row` with sockets of a kind.
///
/// # Panics
/// If the row does; if it hangs.
pub fn play(kind: Kind, knobs: Knobs, row: fn(&Stage)) {
    match kind {
        Kind::Kernel => namespace::in_namespace(move || {
            let set = |name: &str, value: Option<u8>| {
                if let Some(value) = value {
                    fs::write(format!("/proc/sys/net/ipv4/{name}"), value.to_string()).expect(name);
                }
            };
            set("tcp_syn_retries", knobs.syn_retries);
            set("tcp_retries2", knobs.retries2);
            let lab = Lab::with(LabOptions { offloads: false, ..LabOptions::default() });
            let (peer, gate) = (lab.host.clone(), lab.gate.clone());
            row(&Stage { home: Home::Kernel, lab: Some(lab), peer, gate });
        }),
        _ => row(&Stage::in_memory(kind, knobs)),
    }
}

impl Stage {
    fn in_memory(kind: Kind, knobs: Knobs) -> Self {
        let (near, far) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
        let (gate, far) = Gate::new(far, true);
        let mut config = Config::default();
        config.tcp.syn_retries = knobs.syn_retries.unwrap_or(config.tcp.syn_retries);
        config.tcp.retries2 = knobs.retries2.unwrap_or(config.tcp.retries2);
        let subject = Host::builder().config(config).address(Family::V4.kernel(0).ip(), 24);
        let subject = subject.device(near).start().expect("a host");
        let peer = Host::builder().address(Family::V4.lastack(0).ip(), 24).device(far);
        let home = match kind {
            Kind::Tokio => Home::Tokio(subject, runtime()),
            _ => Home::Blocking(subject),
        };
        Self { home, lab: None, peer: peer.start().expect("a host"), gate }
    }

    /// Whether the subject is the kernel.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        matches!(self.home, Home::Kernel)
    }

    /// The subject's host, if it is lastack's.
    #[must_use]
    pub fn subject(&self) -> Option<&Host> {
        match &self.home {
            Home::Kernel => None,
            Home::Blocking(host) | Home::Tokio(host, _) => Some(host),
        }
    }

    /// The peer listens.
    #[must_use]
    pub fn peer_listens(&self) -> blocking::TcpListener {
        blocking::TcpListener::bind(&self.peer, Family::V4.lastack(0)).expect("the peer binds")
    }

    /// The subject connects.
    ///
    /// # Errors
    /// The errno.
    pub fn connect(&self, to: SocketAddr) -> Result<Socket, i32> {
        match &self.home {
            Home::Kernel => TcpStream::connect(to).map(Socket::Kernel),
            Home::Blocking(host) => blocking::TcpStream::connect(host, to).map(Socket::Lastack),
            Home::Tokio(host, runtime) => {
                wait(runtime, lastack::tokio::TcpStream::connect(host, to)).map(|stream| self.awaited(stream))
            }
        }
        .map_err(|e| errno(&e))
    }

    /// The subject tries to connect and gives up by itself after `limit`: a time-out of the call, or a future that is
    /// dropped.
    ///
    /// # Errors
    /// What the call gave.
    pub fn connect_within(&self, to: SocketAddr, limit: Duration) -> Result<Socket, io::ErrorKind> {
        match &self.home {
            Home::Kernel => TcpStream::connect_timeout(&to, limit).map(Socket::Kernel),
            Home::Blocking(host) => {
                blocking::TcpStream::connect_timeout(host, &to, limit).map(Socket::Lastack)
            }
            Home::Tokio(host, runtime) => runtime
                .block_on(async {
                    let attempt = lastack::tokio::TcpStream::connect(host, to);
                    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|late| Err(late.into()))
                })
                .map(|stream| self.awaited(stream)),
        }
        .map_err(|e| e.kind())
    }

    fn awaited(&self, stream: lastack::tokio::TcpStream) -> Socket {
        match &self.home {
            Home::Tokio(_, runtime) => Socket::Tokio(Awaited::new(Arc::clone(runtime), stream)),
            _ => panic!("only tokio's sockets are awaited"),
        }
    }

    /// A connection that the subject has opened, and the peer's end.
    #[must_use]
    pub fn connected(&self) -> (Socket, blocking::TcpStream) {
        let listener = self.peer_listens();
        let subject = self.connect(listener.local_addr().expect("an address")).expect("connected");
        (subject, listener.accept().expect("the peer accepts").0)
    }

    /// The subject listens.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let at = Family::V4.kernel(0);
        match &self.home {
            Home::Kernel => TcpListener::bind(at).map(Listener::Kernel),
            Home::Blocking(host) => blocking::TcpListener::bind(host, at).map(Listener::Blocking),
            Home::Tokio(host, runtime) => wait(runtime, lastack::tokio::TcpListener::bind(host, at))
                .map(|listener| Listener::Tokio(Arc::clone(runtime), listener)),
        }
        .expect("the subject listens")
    }

    /// Waits until the subject's end is in a state. The kernel's closed records cannot be told from none.
    pub fn is_in(&self, socket: &Socket, state: State) {
        eventually("the subject's state", state, || match socket {
            Socket::Kernel(stream) => kernel_state(stream),
            // What Linux's tables show after the socket has gone on to a record in TIME_WAIT.
            Socket::Lastack(stream) => shown(stream.info().expect("info").state, &stream.history()),
            Socket::Tokio(stream) => shown(stream.info().expect("info").state, &stream.history()),
            Socket::Held(_) => panic!("the socket belongs to another process"),
        });
    }

    /// An administrator ends the subject's connection.
    ///
    /// # Panics
    /// If that fails.
    pub fn kill(&self, socket: &Socket) {
        let id = match socket {
            Socket::Lastack(stream) => stream.connection_id(),
            Socket::Tokio(stream) => stream.connection_id(),
            Socket::Kernel(stream) => {
                let port = |address: io::Result<SocketAddr>| address.expect("an address").port().to_string();
                let (from, to) = (port(stream.local_addr()), port(stream.peer_addr()));
                // It complains about the families that it cannot kill; what became of it shows in the socket.
                let output =
                    Command::new("ss").args(["-K", "sport", "=", &from, "and", "dport", "=", &to]).output();
                output.expect("ss (Debian package iproute2) is needed");
                return;
            }
            Socket::Held(_) => panic!("the socket belongs to another process"),
        };
        let host = self.subject().expect("lastack's");
        assert!(host.kill(id.expect("a number")));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A lab has its own words.
        if self.lab.is_none() && std::thread::panicking() {
            for line in self.gate.record() {
                eprintln!("{line}");
            }
        }
    }
}

fn shown(state: State, history: &[lastack::Transition]) -> State {
    match history.last() {
        Some(last) if last.to == State::TimeWait => State::TimeWait,
        _ => state,
    }
}

/// The state of the kernel's end; CLOSED if it has none. A socket whose connection is over has forgotten its peer while
/// its record in TIME_WAIT is there: then its own port has to do.
fn kernel_state(stream: &TcpStream) -> State {
    let (local, remote) = (stream.local_addr().expect("an address"), stream.peer_addr().ok());
    let ours = |entry: &kernel::Entry| {
        entry.local == local && remote.map_or(entry.remote.port() != 0, |remote| entry.remote == remote)
    };
    kernel::sockets().into_iter().find(ours).map_or(State::Closed, |entry| entry.state)
}

impl Listener {
    /// Where.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Kernel(listener) => listener.local_addr(),
            Self::Blocking(listener) => listener.local_addr(),
            Self::Tokio(_, listener) => listener.local_addr(),
        }
        .expect("an address")
    }

    /// Accepts, or waits for a connection.
    #[must_use]
    pub fn accept(&self) -> Socket {
        match self {
            Self::Kernel(listener) => listener.accept().map(|(stream, _)| Socket::Kernel(stream)),
            Self::Blocking(listener) => listener.accept().map(|(stream, _)| Socket::Lastack(stream)),
            Self::Tokio(runtime, listener) => wait(runtime, listener.accept())
                .map(|(stream, _)| Socket::Tokio(Awaited::new(Arc::clone(runtime), stream))),
        }
        .expect("accepted")
    }

    /// Accepts if a connection is there.
    ///
    /// # Errors
    /// The errno.
    pub fn try_accept(&self) -> Result<Socket, i32> {
        let set = |on| match self {
            Self::Kernel(listener) => listener.set_nonblocking(on).expect("the mode is set"),
            Self::Blocking(listener) => listener.set_nonblocking(on).expect("the mode is set"),
            Self::Tokio(..) => {}
        };
        set(true);
        let accepted = match self {
            Self::Kernel(listener) => listener.accept().map(|(stream, _)| Socket::Kernel(stream)),
            Self::Blocking(listener) => listener.accept().map(|(stream, _)| Socket::Lastack(stream)),
            Self::Tokio(runtime, listener) => listener
                .try_accept()
                .map(|(stream, _)| Socket::Tokio(Awaited::new(Arc::clone(runtime), stream))),
        };
        set(false);
        accepted.map_err(|e| errno(&e))
    }

    /// Waits until the kernel's `poll` says so; lastack's listeners have none.
    pub fn polls(&self, wanted: &str) {
        if let Self::Kernel(listener) = self {
            eventually("poll", wanted.to_owned(), || letters(listener).expect("epoll"));
        }
    }
}

/// The letters of `poll`: In, Out, Rdhup, Hup, Err.
const LETTERS: [(char, EpollFlags); 5] = [
    ('I', EpollFlags::EPOLLIN),
    ('O', EpollFlags::EPOLLOUT),
    ('R', EpollFlags::EPOLLRDHUP),
    ('H', EpollFlags::EPOLLHUP),
    ('E', EpollFlags::EPOLLERR),
];

fn letters(fd: impl AsFd) -> nix::Result<String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let all = LETTERS.iter().fold(EpollFlags::empty(), |all, (_, flag)| all | *flag);
    epoll.add(fd, EpollEvent::new(all, 0))?;
    let mut events = [EpollEvent::empty()];
    let count = epoll.wait(&mut events, EpollTimeout::ZERO)?;
    let seen = if count == 0 { EpollFlags::empty() } else { events[0].events() };
    Ok(LETTERS.iter().filter(|(_, flag)| seen.contains(*flag)).map(|(letter, _)| *letter).collect())
}

/// What tokio makes of the letters on Linux.
fn tokio_ready(letters: &str) -> Ready {
    let has = |letter| letters.contains(letter);
    let mut ready = Ready::EMPTY;
    let mut set = |flag, on| {
        if on {
            ready |= flag;
        }
    };
    set(Ready::READABLE, has('I'));
    set(Ready::WRITABLE, has('O'));
    set(Ready::READ_CLOSED, has('H') || has('I') && has('R'));
    set(Ready::WRITE_CLOSED, has('H') || has('O') && has('E'));
    set(Ready::ERROR, has('E'));
    ready
}

/// A readiness that can be compared and shown.
#[derive(PartialEq, Eq)]
struct Seen(Ready);

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Socket {
    /// Waits until `poll` gives exactly these of the letters I, O, R, H and E, in this order. Of the kernel's socket tokio's
    /// readiness is compared too, so that what lastack's gives is what tokio gives. A blocking socket of lastack's
    /// has no `poll`: it is in the same state as the others, and nothing is asked.
    ///
    /// # Panics
    /// If that does not come.
    pub fn polls(&self, wanted: &str) {
        match self {
            Self::Kernel(stream) => {
                eventually("poll", wanted.to_owned(), || letters(stream).expect("epoll"));
                if !wanted.is_empty() {
                    let ready = ready_of_kernel(stream).expect("tokio");
                    assert_eq!(Seen(ready), Seen(tokio_ready(wanted)), "tokio's view of {wanted}");
                }
            }
            Self::Tokio(stream) => {
                eventually("readiness", Seen(tokio_ready(wanted)), || Seen(stream.ready()));
            }
            Self::Lastack(_) | Self::Held(_) => {}
        }
    }
}

fn ready_of_kernel(stream: &TcpStream) -> io::Result<Ready> {
    let copy = stream.try_clone()?;
    copy.set_nonblocking(true)?;
    let ready = runtime().block_on(async {
        let stream = tokio::net::TcpStream::from_std(copy)?;
        stream.ready(everything()).await
    });
    // The copies share the mode.
    stream.set_nonblocking(false)?;
    ready
}

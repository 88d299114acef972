//! What a host runs: lastack, or smoltcp as a peer. Both behind the same few calls.

mod lastack;
mod smoltcp;

pub(crate) use lastack::{Lastack, configuration};
pub(crate) use smoltcp::Smoltcp;

use crate::trace::Sample;
use lastack_core::{Ending, Error, Instant};
use std::net::SocketAddr;

/// A socket of a host: a number that no other of its live sockets has.
pub(crate) type Sock = usize;

/// What a read or a write gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes, at least 1.
    Bytes(usize),
    /// The end of the stream; of reads only.
    End,
    /// Nothing for now.
    Nothing,
    /// It failed.
    Failed(Error),
}

/// How a connection is to be set up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) congestion: Option<String>,
    pub(crate) nodelay: bool,
    /// The client's first bytes go with the SYN.
    pub(crate) fast_open: bool,
}

/// How a connection ended, as its stack tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The stack's number of the connection.
    pub(crate) id: u32,
    pub(crate) ending: Ending,
}

/// A host's stack.
// There are few of them, and each lives in a vector for as long as the run.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Node {
    Lastack(Lastack),
    Smoltcp(Smoltcp),
}

macro_rules! both {
    ($self:ident, $node:ident => $call:expr) => {
        match $self {
            Self::Lastack($node) => $call,
            Self::Smoltcp($node) => $call,
        }
    };
}

impl Node {
    /// Takes a packet in.
    pub(crate) fn receive(&mut self, now: Instant, packet: &[u8]) {
        both!(self, node => node.receive(now, packet));
    }

    /// Acts on time and on what it received.
    pub(crate) fn act(&mut self, now: Instant) {
        both!(self, node => node.act(now));
    }

    /// Hands every packet that it has to send to `send`.
    pub(crate) fn transmit(&mut self, now: Instant, frame: &mut [u8], send: impl FnMut(&[u8])) {
        both!(self, node => node.transmit(now, frame, send));
    }

    /// When to call [`Node::act`] at the latest.
    pub(crate) fn next_time(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Lastack(node) => node.next_time(),
            Self::Smoltcp(node) => node.next_time(now),
        }
    }

    /// Puts the sockets that something happened to into `socks`.
    pub(crate) fn events(&mut self, socks: &mut Vec<Sock>) {
        both!(self, node => node.events(socks));
    }

    /// The next connection that has ended since the last call; of lastack only.
    pub(crate) fn poll_ended(&mut self) -> Option<Ended> {
        match self {
            Self::Lastack(node) => node.poll_ended(),
            Self::Smoltcp(_) => None,
        }
    }

    /// The stack's number of a socket's connection; of lastack only.
    pub(crate) fn id(&self, sock: Sock) -> Option<u32> {
        match self {
            Self::Lastack(node) => node.id(sock),
            Self::Smoltcp(_) => None,
        }
    }

    pub(crate) fn listen(
        &mut self,
        now: Instant,
        at: SocketAddr,
        settings: &Settings,
    ) -> Result<Sock, Error> {
        both!(self, node => node.listen(now, at, settings))
    }

    /// The next connection of a listener, and its peer.
    pub(crate) fn accept(&mut self, listener: Sock) -> Option<(Sock, SocketAddr)> {
        both!(self, node => node.accept(listener))
    }

    /// Begins to connect, from a port that it is given or from any; gives the address of this end too.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        ends: (Option<u16>, SocketAddr),
        settings: &Settings,
    ) -> Result<(Sock, SocketAddr), Error> {
        both!(self, node => node.connect(now, ends, settings))
    }

    /// A connection that connected has met the SYN of a peer that connected too. Asked while it is being set up, and
    /// right after it.
    pub(crate) fn crossed(&mut self, sock: Sock) -> bool {
        both!(self, node => node.crossed(sock))
    }

    /// What became of the attempt; `None` while it lasts.
    pub(crate) fn connected(&mut self, sock: Sock) -> Option<Result<(), Error>> {
        both!(self, node => node.connected(sock))
    }

    pub(crate) fn read(&mut self, now: Instant, sock: Sock, buffer: &mut [u8]) -> Moved {
        both!(self, node => node.read(now, sock, buffer))
    }

    pub(crate) fn write(&mut self, now: Instant, sock: Sock, bytes: &[u8]) -> Moved {
        both!(self, node => node.write(now, sock, bytes))
    }

    /// Shuts the direction to the peer.
    pub(crate) fn shutdown(&mut self, now: Instant, sock: Sock) -> Result<(), Error> {
        both!(self, node => node.shutdown(now, sock))
    }

    /// Closes, and gives the socket back.
    pub(crate) fn close(&mut self, now: Instant, sock: Sock) {
        both!(self, node => node.close(now, sock));
    }

    /// Resets, and gives the socket back.
    pub(crate) fn abort(&mut self, now: Instant, sock: Sock) {
        both!(self, node => node.abort(now, sock));
    }

    /// The numbers of a connection for a plot; of lastack only.
    pub(crate) fn sample(&self, now: Instant, sock: Sock) -> Option<Sample> {
        match self {
            Self::Lastack(node) => node.sample(now, sock),
            Self::Smoltcp(_) => None,
        }
    }

    /// What is left of connections, in words; `None` if nothing is, and for smoltcp, which may wait for ever for the FIN
    /// of a peer that is gone.
    pub(crate) fn leftovers(&self) -> Option<String> {
        match self {
            Self::Lastack(node) => node.leftovers(),
            Self::Smoltcp(_) => None,
        }
    }
}

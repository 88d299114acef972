//! What the stack tells its owner: readiness of sockets, and every change of state.

use crate::socket::TcpHandle;
use crate::tcp::ending::Ending;
use crate::tcp::state::{Cause, Initiator, State};
use crate::time::Instant;
use crate::udp::UdpHandle;
use core::net::SocketAddr;

bitflags::bitflags! {
    /// What a socket is ready for, with the meaning of Linux's poll flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Ready: u8 {
        /// `POLLIN`: a read would not block (data, end of file or error), or a listener has a connection to accept.
        const IN = 1;
        /// `POLLOUT`: a write would not block (it may fail).
        const OUT = 2;
        /// `POLLRDHUP`: the receive direction is shut.
        const RDHUP = 4;
        /// `POLLHUP`: both directions are shut, or there is no connection.
        const HUP = 8;
        /// `POLLERR`: an error is stored.
        const ERR = 16;
        /// A deferring listener has a request to decide on.
        const PENDING = 32;
        /// `POLLPRI`: an urgent byte is there to read.
        const PRI = 64;
        /// The peer closed [`TcpConfig::close_wait_watchdog`](crate::TcpConfig) ago, and the application neither closed
        /// nor sent anything since: it seems to have forgotten the socket. Given once for a connection, and only by an
        /// event; [`Stack::tcp_ready`](crate::Stack::tcp_ready) never has it.
        const OVERDUE = 128;
    }
}

/// A socket changed: look at it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A TCP socket; the flags are those that newly hold or were signalled since the last event of this socket.
    Tcp(TcpHandle, Ready),
    /// A UDP socket.
    Udp(UdpHandle, Ready),
}

/// Number of a connection, unique within a stack until it wraps after 2^32 connections. It stays the same from the
/// half-open request to the end of TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// One change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// On whose account.
    pub initiator: Initiator,
}

/// A [`Transition`] and the connection that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransitionEvent {
    /// Which connection.
    pub id: ConnectionId,
    /// This side's address.
    pub local: SocketAddr,
    /// The peer's address; for a listener unspecified with port 0.
    pub remote: SocketAddr,
    /// What happened.
    pub transition: Transition,
    /// With the arrow that ended the connection (into TIME_WAIT, or into CLOSED without it): how it ended. A request that
    /// never became a connection has none.
    pub ending: Option<Ending>,
}

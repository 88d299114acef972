//! What became of the data of closed sockets.

use std::fmt;
use std::net::SocketAddr;

use lastack_core::{Cause, ConnectionId};

/// Why bytes were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The time that was given ran out; the connection was then reset.
    Deadline,
    /// The connection ended before the peer acknowledged them.
    Ended(Cause),
    /// The host stopped.
    HostStopped,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("the deadline passed"),
            Self::Ended(cause) => write!(f, "the connection ended: {cause}"),
            Self::HostStopped => f.write_str("the host stopped"),
        }
    }
}

/// What became of the data of a socket that was closed with
/// [`close_linger`](crate::tokio::TcpStream::close_linger).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The peer's stack acknowledged every byte and the end of the stream. (That the peer's application has read
    /// them only the application's own protocol can say.)
    Delivered,
    /// Not everything was acknowledged.
    Undelivered {
        /// Bytes not acknowledged; 0 if only the end of the stream is missing.
        bytes: u64,
        /// Why. After [`Loss::Deadline`] the stack goes on trying in the background, as after `close()`.
        why: Loss,
    },
}

impl Delivery {
    /// Everything arrived.
    #[must_use]
    pub fn is_delivered(self) -> bool {
        self == Self::Delivered
    }
}

/// A connection whose data did not all arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Number of the connection.
    pub id: ConnectionId,
    /// This side's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Bytes that were not acknowledged: exact after [`Loss::Deadline`], else as it stood when the socket was closed,
    /// so an upper limit. 0 if only the end of the stream is missing.
    pub bytes: u64,
    /// Why.
    pub why: Loss,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, local, remote, bytes, why } = self;
        write!(f, "connection {} ({local} -> {remote}): ", id.0)?;
        match bytes {
            0 => write!(f, "end of the stream not acknowledged: {why}"),
            n => write!(f, "{n} bytes not acknowledged: {why}"),
        }
    }
}

/// What [`Host::close`](crate::Host::close) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CloseReport {
    /// Connections closed by their sockets (at any time) or by the host whose data did not all arrive: the last 1024.
    pub undelivered: Vec<Undelivered>,
    /// How many more there were.
    pub not_listed: u64,
    /// Set if the device had failed before.
    pub failure: Option<String>,
}

impl CloseReport {
    /// All that was written on connections that this side closed has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.undelivered.is_empty() && self.not_listed == 0 && self.failure.is_none()
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("everything was delivered");
        }
        if let Some(failure) = &self.failure {
            writeln!(f, "the device failed: {failure}")?;
        }
        for line in &self.undelivered {
            writeln!(f, "{line}")?;
        }
        write!(f, "{} more not listed", self.not_listed)
    }
}

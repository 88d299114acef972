//! Errors: `std::io::Error` of the kinds that a Linux socket gives, with the reason inside.

use std::error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use lastack_core::{Cause, ConnectionId, Error, Timeout};

/// The reason inside an [`io::Error`] of a lastack socket; [`error_of`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionError {
    /// What happened.
    pub error: Error,
    /// Which connection, if the socket has or had one.
    pub id: Option<ConnectionId>,
    /// This side's address, if known.
    pub local: Option<SocketAddr>,
    /// The peer's address, if known.
    pub remote: Option<SocketAddr>,
    /// More about it where the error's own words do not say enough.
    pub(crate) note: Option<&'static str>,
}

impl ConnectionError {
    pub(crate) fn new(error: Error) -> Self {
        Self { error, id: None, local: None, remote: None, note: None }
    }

    pub(crate) fn with_addresses(mut self, local: Option<SocketAddr>, remote: Option<SocketAddr>) -> Self {
        self.local = local;
        self.remote = remote;
        self
    }

    pub(crate) fn with_id(mut self, id: Option<ConnectionId>) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn with_note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// The errno that Linux gives in the same situation.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.error.errno()
    }

    /// The [`ErrorKind`] that std makes of that errno; [`ErrorKind::Other`] where std has no stable kind for it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        kind_of(self.error)
    }

    /// What the program or its user can do about it, in a sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.error {
            Error::WouldBlock => "wait for readiness and try again",
            Error::BadHandle => "the host was closed or its device failed; open the socket on a running host",
            Error::InvalidInput => "check the arguments and the order of the calls",
            Error::AddressFamily => "use addresses of one family",
            Error::NotConnected => "connect first",
            Error::AlreadyConnected => "use a new socket for another connection",
            Error::InProgress => "wait for the attempt to end",
            Error::BrokenPipe => "stop writing; data written before may not have been read by the peer",
            Error::ConnectionReset => {
                "open a new connection; the end of the data is not known to have arrived"
            }
            Error::ConnectionRefused => "check that the server listens on that address and port",
            Error::ConnectionAborted => "open a new connection if this was not intended",
            Error::TimedOut(Timeout::Syn) => "check the address and the way to it; a filter may drop the SYN",
            Error::TimedOut(_) => "open a new connection; the peer or the way to it is gone",
            Error::HostUnreachable | Error::HostDown => "check the address and that the host is up",
            Error::NetworkUnreachable => {
                "add a route or an address of that family to the host's configuration"
            }
            Error::ProtocolUnreachable | Error::Protocol => {
                "the peer does not take this protocol as it was sent"
            }
            Error::Prohibited => "a filter on the way refuses it; ask its administrator",
            Error::AddrInUse => "choose another port, close its owner, or set reuse on both sockets",
            Error::AddrNotAvailable => "use an address of this host and a free port",
            Error::MessageTooLong => "send smaller datagrams",
            Error::NoBufferSpace => "close connections or raise the limit in the configuration",
            Error::NoSuchAlgorithm => "use `cubic` or `reno`",
            Error::NotSupported => "change the configuration, or do without",
            _ => "see the documentation of the call",
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(note) = self.note {
            write!(f, " ({note})")?;
        }
        match (self.local, self.remote) {
            (Some(local), Some(remote)) => write!(f, ", connection {local} -> {remote}")?,
            (Some(local), None) => write!(f, ", socket {local}")?,
            (None, Some(remote)) => write!(f, ", peer {remote}")?,
            (None, None) => {}
        }
        write!(f, "; {}", self.advice())
    }
}

impl error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<ConnectionError> for io::Error {
    fn from(e: ConnectionError) -> Self {
        // Hot and expected: not worth an allocation.
        if e.error == Error::WouldBlock { ErrorKind::WouldBlock.into() } else { Self::new(e.kind(), e) }
    }
}

/// The reason inside an error of a lastack socket: which connection, what happened, which timer. `None` for errors
/// of other origin and for [`ErrorKind::WouldBlock`].
///
/// ```
/// # fn f(stream: &mut lastack::blocking::TcpStream, buf: &mut [u8]) -> std::io::Result<()> {
/// use std::io::Read;
/// if let Err(e) = stream.read(buf) {
///     if let Some(reason) = lastack::error_of(&e) {
///         eprintln!("{:?} of {:?}: errno {}, {}", reason.error, reason.remote, reason.errno(), reason.advice());
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use]
pub fn error_of(e: &io::Error) -> Option<&ConnectionError> {
    e.get_ref()?.downcast_ref()
}

fn kind_of(error: Error) -> ErrorKind {
    match error {
        Error::WouldBlock => ErrorKind::WouldBlock,
        Error::InvalidInput => ErrorKind::InvalidInput,
        Error::NotConnected | Error::BadHandle => ErrorKind::NotConnected,
        Error::BrokenPipe => ErrorKind::BrokenPipe,
        Error::ConnectionReset => ErrorKind::ConnectionReset,
        Error::ConnectionRefused => ErrorKind::ConnectionRefused,
        Error::ConnectionAborted => ErrorKind::ConnectionAborted,
        Error::TimedOut(_) => ErrorKind::TimedOut,
        Error::HostUnreachable | Error::HostDown => ErrorKind::HostUnreachable,
        Error::NetworkUnreachable => ErrorKind::NetworkUnreachable,
        Error::Prohibited => ErrorKind::PermissionDenied,
        Error::AddrInUse => ErrorKind::AddrInUse,
        Error::AddrNotAvailable => ErrorKind::AddrNotAvailable,
        Error::NoSuchAlgorithm => ErrorKind::NotFound,
        Error::NotSupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

/// The error that a connection's end stands for; `None` for a graceful one.
pub(crate) fn error_of_cause(cause: Cause) -> Option<Error> {
    Some(match cause {
        Cause::Reset | Cause::UnexpectedSyn => Error::ConnectionReset,
        Cause::SynTimeout | Cause::SynAckTimeout => Error::TimedOut(Timeout::Syn),
        Cause::RetransmissionTimeout => Error::TimedOut(Timeout::Retransmission),
        Cause::ZeroWindowTimeout => Error::TimedOut(Timeout::ZeroWindow),
        Cause::KeepAliveTimeout => Error::TimedOut(Timeout::KeepAlive),
        Cause::UserTimeout => Error::TimedOut(Timeout::User),
        Cause::Icmp => Error::HostUnreachable,
        Cause::UnreadData
        | Cause::LingerZero
        | Cause::Abort
        | Cause::NoFinWait2
        | Cause::DataAfterClose
        | Cause::ResourceLimit
        | Cause::OrphanTimeout
        | Cause::ListenerClosed
        | Cause::Killed
        | Cause::Refused => Error::ConnectionAborted,
        _ => return None,
    })
}

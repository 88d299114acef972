//! What a call can fail with. Each error carries the errno that a Linux socket gives in the same situation.

use core::fmt;

/// Why a connection timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// The SYN was repeated `tcp_syn_retries` times without an answer.
    Syn,
    /// Data or the FIN was repeated until R2 (`tcp_retries2`).
    Retransmission,
    /// Zero-window probes stayed unanswered.
    ZeroWindow,
    /// Keep-alive probes stayed unanswered.
    KeepAlive,
    /// The user timeout (`TCP_USER_TIMEOUT`, RFC 5482) ran out.
    User,
}

/// Result of a socket call that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to do now; wait for readiness (EAGAIN).
    WouldBlock,
    /// The handle does not name a socket of this stack (EBADF).
    BadHandle,
    /// The call does not fit the socket's state or an argument is out of range (EINVAL).
    InvalidInput,
    /// The address family does not fit the socket or the stack (EAFNOSUPPORT).
    AddressFamily,
    /// The socket has no connection (ENOTCONN).
    NotConnected,
    /// The socket is connected already (EISCONN).
    AlreadyConnected,
    /// A connection attempt is under way (EALREADY).
    InProgress,
    /// No peer can read what would be written (EPIPE).
    BrokenPipe,
    /// The peer reset the connection (ECONNRESET).
    ConnectionReset,
    /// The peer refused the connection (ECONNREFUSED).
    ConnectionRefused,
    /// The connection was aborted on this side by an administrator (ECONNABORTED).
    ConnectionAborted,
    /// The peer did not answer in time (ETIMEDOUT).
    TimedOut(Timeout),
    /// ICMP: host unreachable, or hop limit exceeded (EHOSTUNREACH).
    HostUnreachable,
    /// ICMP: the destination is not known (EHOSTDOWN).
    HostDown,
    /// ICMP: the source is isolated (ENONET).
    HostIsolated,
    /// ICMP: a source route failed (EOPNOTSUPP).
    SourceRouteFailed,
    /// No route, or ICMP: network unreachable (ENETUNREACH).
    NetworkUnreachable,
    /// ICMP: protocol unreachable (ENOPROTOOPT).
    ProtocolUnreachable,
    /// ICMP: parameter problem (EPROTO).
    Protocol,
    /// ICMP: administratively prohibited (EACCES), or a broadcast or multicast peer.
    Prohibited,
    /// The address or port is taken (EADDRINUSE).
    AddrInUse,
    /// The address is not one of this stack's, or no ephemeral port is left (EADDRNOTAVAIL).
    AddrNotAvailable,
    /// The datagram is larger than can be sent (EMSGSIZE).
    MessageTooLong,
    /// A limit on memory or table size was met (ENOBUFS).
    NoBufferSpace,
    /// No congestion control has that name (ENOENT).
    NoSuchAlgorithm,
    /// The stack's configuration has it switched off (EOPNOTSUPP).
    NotSupported,
}

impl Error {
    /// The errno's name.
    #[must_use]
    pub const fn errno_name(self) -> &'static str {
        match self {
            Self::NoSuchAlgorithm => "ENOENT",
            Self::NotSupported => "EOPNOTSUPP",
            Self::BadHandle => "EBADF",
            Self::WouldBlock => "EAGAIN",
            Self::Prohibited => "EACCES",
            Self::InvalidInput => "EINVAL",
            Self::BrokenPipe => "EPIPE",
            Self::Protocol => "EPROTO",
            Self::MessageTooLong => "EMSGSIZE",
            Self::HostIsolated => "ENONET",
            Self::ProtocolUnreachable => "ENOPROTOOPT",
            Self::SourceRouteFailed => "EOPNOTSUPP",
            Self::AddressFamily => "EAFNOSUPPORT",
            Self::AddrInUse => "EADDRINUSE",
            Self::AddrNotAvailable => "EADDRNOTAVAIL",
            Self::NetworkUnreachable => "ENETUNREACH",
            Self::ConnectionAborted => "ECONNABORTED",
            Self::ConnectionReset => "ECONNRESET",
            Self::NoBufferSpace => "ENOBUFS",
            Self::AlreadyConnected => "EISCONN",
            Self::NotConnected => "ENOTCONN",
            Self::TimedOut(_) => "ETIMEDOUT",
            Self::ConnectionRefused => "ECONNREFUSED",
            Self::HostDown => "EHOSTDOWN",
            Self::HostUnreachable => "EHOSTUNREACH",
            Self::InProgress => "EALREADY",
        }
    }

    /// The errno that Linux on x86-64 gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NoSuchAlgorithm => 2,
            Self::BadHandle => 9,
            Self::WouldBlock => 11,
            Self::Prohibited => 13,
            Self::InvalidInput => 22,
            Self::BrokenPipe => 32,
            Self::HostIsolated => 64,
            Self::Protocol => 71,
            Self::MessageTooLong => 90,
            Self::ProtocolUnreachable => 92,
            Self::SourceRouteFailed | Self::NotSupported => 95,
            Self::AddressFamily => 97,
            Self::AddrInUse => 98,
            Self::AddrNotAvailable => 99,
            Self::NetworkUnreachable => 101,
            Self::ConnectionAborted => 103,
            Self::ConnectionReset => 104,
            Self::NoBufferSpace => 105,
            Self::AlreadyConnected => 106,
            Self::NotConnected => 107,
            Self::TimedOut(_) => 110,
            Self::ConnectionRefused => 111,
            Self::HostDown => 112,
            Self::HostUnreachable => 113,
            Self::InProgress => 114,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WouldBlock => "not ready; wait for readiness and try again",
            Self::BadHandle => "no such socket in this stack",
            Self::InvalidInput => "the call does not fit the socket's state or an argument is out of range",
            Self::AddressFamily => "address family does not fit the socket",
            Self::NotConnected => "socket is not connected",
            Self::AlreadyConnected => "socket is connected already",
            Self::InProgress => "a connection attempt is under way",
            Self::BrokenPipe => "broken pipe: this direction is closed",
            Self::ConnectionReset => "connection reset by the peer",
            Self::ConnectionRefused => "connection refused by the peer",
            Self::ConnectionAborted => "connection aborted on this side",
            Self::TimedOut(Timeout::Syn) => "timed out: no answer to the SYN",
            Self::TimedOut(Timeout::Retransmission) => "timed out: retransmissions stayed unacknowledged",
            Self::TimedOut(Timeout::ZeroWindow) => "timed out: zero-window probes stayed unanswered",
            Self::TimedOut(Timeout::KeepAlive) => "timed out: keep-alive probes stayed unanswered",
            Self::TimedOut(Timeout::User) => "timed out: user timeout",
            Self::HostUnreachable => "host unreachable",
            Self::HostDown => "host unknown to the last router",
            Self::HostIsolated => "this host is isolated, says a router",
            Self::SourceRouteFailed => "source route failed",
            Self::NetworkUnreachable => "network unreachable",
            Self::ProtocolUnreachable => "protocol unreachable",
            Self::Protocol => "protocol error reported by ICMP",
            Self::Prohibited => "communication prohibited",
            Self::AddrInUse => "address in use",
            Self::AddrNotAvailable => "address not available",
            Self::MessageTooLong => "message too long",
            Self::NoBufferSpace => "no buffer space: a limit of the stack was met",
            Self::NoSuchAlgorithm => "no congestion control of that name",
            Self::NotSupported => "switched off in the stack's configuration",
        })
    }
}

impl core::error::Error for Error {}

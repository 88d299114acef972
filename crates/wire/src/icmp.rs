//! ICMP for IPv4 (RFC 792, RFC 1191 for the MTU of a next hop).

use crate::Error;
use crate::checksum::Sum;

pub use crate::quoted::Quoted;

/// Length of the header of every message, in bytes.
pub const HEADER_LEN: usize = 8;
/// Bytes of the offending packet that an error may quote, so that it is at most 576 bytes long (RFC 1812 4.3.2.3).
pub const MAX_QUOTE: usize = 576 - 20 - HEADER_LEN;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// Code of a destination unreachable message (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// 0: no route to the network.
    Network,
    /// 1: no route to the host.
    Host,
    /// 2: the host does not speak the protocol.
    Protocol,
    /// 3: nobody has the port.
    Port,
    /// 4: the packet is too big for the next hop, and must not be fragmented.
    FragmentationNeeded,
    /// 5: source route failed.
    SourceRoute,
    /// 6: network unknown.
    NetworkUnknown,
    /// 7: host unknown.
    HostUnknown,
    /// 8: source host isolated.
    HostIsolated,
    /// 9: network administratively prohibited.
    NetworkProhibited,
    /// 10: host administratively prohibited.
    HostProhibited,
    /// 11: network unreachable for this type of service.
    NetworkTos,
    /// 12: host unreachable for this type of service.
    HostTos,
    /// 13: communication administratively prohibited by a filter.
    Filtered,
    /// 14: host precedence violation.
    PrecedenceViolation,
    /// 15: precedence cut-off.
    PrecedenceCutoff,
    /// A code that has no meaning: 16..=255.
    Other(u8),
}

impl Unreachable {
    const NAMED: [Self; 16] = [
        Self::Network,
        Self::Host,
        Self::Protocol,
        Self::Port,
        Self::FragmentationNeeded,
        Self::SourceRoute,
        Self::NetworkUnknown,
        Self::HostUnknown,
        Self::HostIsolated,
        Self::NetworkProhibited,
        Self::HostProhibited,
        Self::NetworkTos,
        Self::HostTos,
        Self::Filtered,
        Self::PrecedenceViolation,
        Self::PrecedenceCutoff,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Other(code) => code,
            named => Self::NAMED.iter().zip(0..).find(|(n, _)| **n == named).map_or(0, |(_, code)| code),
        }
    }

    /// The meaning of a number on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::NAMED.get(usize::from(code)).copied().unwrap_or(Self::Other(code))
    }
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Echo request (ping).
    EchoRequest {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
        /// Data, which the reply repeats.
        data: &'a [u8],
    },
    /// Echo reply.
    EchoReply {
        /// Identifier of the request.
        ident: u16,
        /// Sequence number of the request.
        seq: u16,
        /// Data of the request.
        data: &'a [u8],
    },
    /// A packet could not be delivered.
    DestinationUnreachable {
        /// Why.
        code: Unreachable,
        /// For [`Unreachable::FragmentationNeeded`] the MTU of the next hop in bytes, 0 from routers that do not say
        /// (RFC 1191 section 5); otherwise not used.
        next_hop_mtu: u16,
        /// The start of that packet: [`Quoted::parse_v4`].
        quoted: &'a [u8],
    },
    /// A packet was too long on its way.
    TimeExceeded {
        /// 0 time to live, 1 reassembly.
        code: u8,
        /// The start of that packet: [`Quoted::parse_v4`].
        quoted: &'a [u8],
    },
    /// A header was wrong.
    ParameterProblem {
        /// 0: the pointer says where; 1: an option is missing; 2: bad length.
        code: u8,
        /// The offending byte of the packet.
        pointer: u8,
        /// The start of that packet: [`Quoted::parse_v4`].
        quoted: &'a [u8],
    },
    /// A message to be ignored: source quench (RFC 6633), redirect, and every type not named here.
    Ignored {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The four bytes after the checksum.
        rest: [u8; 4],
        /// What follows.
        data: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Checks the checksum and reads the message.
    ///
    /// # Errors
    /// [`Error::Truncated`] below 8 bytes, [`Error::BadChecksum`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (&[kind, code, _, _, r0, r1, r2, r3], data) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        if !verify_checksum(bytes) {
            return Err(Error::BadChecksum);
        }
        let (ident, seq) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([r2, r3]));
        Ok(match (kind, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq, data },
            (ECHO_REPLY, 0) => Self::EchoReply { ident, seq, data },
            (UNREACHABLE, _) => Self::DestinationUnreachable {
                code: Unreachable::from_code(code),
                next_hop_mtu: seq,
                quoted: data,
            },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, quoted: data },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem { code, pointer: r0, quoted: data },
            _ => Self::Ignored { kind, code, rest: [r0, r1, r2, r3], data },
        })
    }

    /// Length of the message on the wire, in bytes.
    #[must_use]
    pub const fn emitted_len(&self) -> usize {
        HEADER_LEN + self.data().len()
    }

    /// What follows the 8 bytes of the header: the data, or the quoted packet.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } | Self::Ignored { data, .. } => {
                data
            }
            Self::DestinationUnreachable { quoted, .. }
            | Self::TimeExceeded { quoted, .. }
            | Self::ParameterProblem { quoted, .. } => quoted,
        }
    }

    /// The message reports an error, so that it must not be answered with one (RFC 1122 section 3.2.2).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest { .. } | Self::EchoReply { .. } => false,
            Self::DestinationUnreachable { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            Self::Ignored { kind, .. } => matches!(*kind, SOURCE_QUENCH | REDIRECT),
        }
    }

    /// Writes the message with its checksum to the start of `buf` and gives its length.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn emit(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let (kind, code, [r0, r1, r2, r3]) = match *self {
            Self::EchoRequest { ident, seq, .. } => (ECHO_REQUEST, 0, words(ident, seq)),
            Self::EchoReply { ident, seq, .. } => (ECHO_REPLY, 0, words(ident, seq)),
            Self::DestinationUnreachable { code, next_hop_mtu, .. } => {
                (UNREACHABLE, code.code(), words(0, next_hop_mtu))
            }
            Self::TimeExceeded { code, .. } => (TIME_EXCEEDED, code, [0; 4]),
            Self::ParameterProblem { code, pointer, .. } => (PARAMETER_PROBLEM, code, [pointer, 0, 0, 0]),
            Self::Ignored { kind, code, rest, .. } => (kind, code, rest),
        };
        emit([kind, code, 0, 0, r0, r1, r2, r3], self.data(), Sum::new(), buf)
    }
}

/// The checksum of a whole message is right.
#[must_use]
pub fn verify_checksum(bytes: &[u8]) -> bool {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    sum.fold() == 0xffff
}

const fn words(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
    [a, b, c, d]
}

/// Writes a message of either ICMP; `sum` is that over the pseudo-header.
pub(crate) fn emit(
    mut header: [u8; HEADER_LEN],
    data: &[u8],
    mut sum: Sum,
    buf: &mut [u8],
) -> Result<usize, Error> {
    let len = HEADER_LEN + data.len();
    let message = buf.get_mut(..len).ok_or(Error::BufferTooSmall)?;
    let (head, body) = message.split_first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
    sum.add_bytes(&header);
    sum.add_bytes(data);
    [header[2], header[3]] = sum.finish().to_be_bytes();
    *head = header;
    body.copy_from_slice(data);
    Ok(len)
}

#[cfg(test)]
mod tests;

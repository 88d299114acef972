//! ICMPv6 (RFC 4443).

use core::net::Ipv6Addr;

use crate::checksum::{self, Sum};
use crate::{Error, icmp, ip};

pub use crate::quoted::Quoted;

/// Length of the header of every message named here, in bytes.
pub const HEADER_LEN: usize = 8;
/// Bytes of the offending packet that an error may quote, so that it fits the least MTU (RFC 4443 section 2.4 c).
pub const MAX_QUOTE: usize = 1280 - 40 - HEADER_LEN;

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const REDIRECT: u8 = 137;

/// Code of a destination unreachable message (RFC 4443 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// 0: no route.
    NoRoute,
    /// 1: administratively prohibited.
    Prohibited,
    /// 2: beyond the scope of the source address.
    BeyondScope,
    /// 3: address unreachable.
    Address,
    /// 4: nobody has the port.
    Port,
    /// 5: source address failed the ingress or egress policy.
    Policy,
    /// 6: reject route.
    RejectRoute,
    /// A code that has no meaning here: 7..=255.
    Other(u8),
}

impl Unreachable {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NoRoute => 0,
            Self::Prohibited => 1,
            Self::BeyondScope => 2,
            Self::Address => 3,
            Self::Port => 4,
            Self::Policy => 5,
            Self::RejectRoute => 6,
            Self::Other(code) => code,
        }
    }

    /// The meaning of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::NoRoute,
            1 => Self::Prohibited,
            2 => Self::BeyondScope,
            3 => Self::Address,
            4 => Self::Port,
            5 => Self::Policy,
            6 => Self::RejectRoute,
            other => Self::Other(other),
        }
    }
}

/// An ICMPv6 message.
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
        /// The start of that packet: [`Quoted::parse_v6`].
        quoted: &'a [u8],
    },
    /// A packet is too big for a link on its way.
    PacketTooBig {
        /// MTU of that link in bytes; a router may send anything, also below 1280.
        mtu: u32,
        /// The start of that packet: [`Quoted::parse_v6`].
        quoted: &'a [u8],
    },
    /// A packet was too long on its way.
    TimeExceeded {
        /// 0 hop limit, 1 reassembly.
        code: u8,
        /// The start of that packet: [`Quoted::parse_v6`].
        quoted: &'a [u8],
    },
    /// A header was wrong.
    ParameterProblem {
        /// 0 erroneous field, 1 unrecognised next header, 2 unrecognised option.
        code: u8,
        /// The offending byte of the packet.
        pointer: u32,
        /// The start of that packet: [`Quoted::parse_v6`].
        quoted: &'a [u8],
    },
    /// A message to be ignored here: redirect, neighbour discovery, and every type not named above.
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
    pub fn parse(src: Ipv6Addr, dst: Ipv6Addr, bytes: &'a [u8]) -> Result<Self, Error> {
        let (&[kind, code, _, _, r0, r1, r2, r3], data) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        if !verify_checksum(src, dst, bytes) {
            return Err(Error::BadChecksum);
        }
        let rest = [r0, r1, r2, r3];
        let (ident, seq) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([r2, r3]));
        let number = u32::from_be_bytes(rest);
        Ok(match (kind, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq, data },
            (ECHO_REPLY, 0) => Self::EchoReply { ident, seq, data },
            (UNREACHABLE, _) => {
                Self::DestinationUnreachable { code: Unreachable::from_code(code), quoted: data }
            }
            // The code is to be ignored (RFC 4443 section 3.2).
            (PACKET_TOO_BIG, _) => Self::PacketTooBig { mtu: number, quoted: data },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, quoted: data },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem { code, pointer: number, quoted: data },
            _ => Self::Ignored { kind, code, rest, data },
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
            | Self::PacketTooBig { quoted, .. }
            | Self::TimeExceeded { quoted, .. }
            | Self::ParameterProblem { quoted, .. } => quoted,
        }
    }

    /// The message reports an error or is a redirect, so that it must not be answered with an error (RFC 4443
    /// section 2.4 e).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest { .. } | Self::EchoReply { .. } => false,
            Self::DestinationUnreachable { .. }
            | Self::PacketTooBig { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            Self::Ignored { kind, .. } => *kind < 128 || *kind == REDIRECT,
        }
    }

    /// Writes the message with its checksum to the start of `buf` and gives its length.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, buf: &mut [u8]) -> Result<usize, Error> {
        let echo = |ident: u16, seq: u16| (u32::from(ident) << 16 | u32::from(seq)).to_be_bytes();
        let (kind, code, [r0, r1, r2, r3]) = match *self {
            Self::EchoRequest { ident, seq, .. } => (ECHO_REQUEST, 0, echo(ident, seq)),
            Self::EchoReply { ident, seq, .. } => (ECHO_REPLY, 0, echo(ident, seq)),
            Self::DestinationUnreachable { code, .. } => (UNREACHABLE, code.code(), [0; 4]),
            Self::PacketTooBig { mtu, .. } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
            Self::TimeExceeded { code, .. } => (TIME_EXCEEDED, code, [0; 4]),
            Self::ParameterProblem { code, pointer, .. } => (PARAMETER_PROBLEM, code, pointer.to_be_bytes()),
            Self::Ignored { kind, code, rest, .. } => (kind, code, rest),
        };
        let sum = pseudo_header(src, dst, self.emitted_len());
        icmp::emit([kind, code, 0, 0, r0, r1, r2, r3], self.data(), sum, buf)
    }
}

/// The checksum of a whole message is right.
#[must_use]
pub fn verify_checksum(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) -> bool {
    let mut sum = pseudo_header(src, dst, bytes.len());
    sum.add_bytes(bytes);
    sum.fold() == 0xffff
}

fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, len: usize) -> Sum {
    checksum::pseudo_header(src.into(), dst.into(), ip::protocol::ICMPV6, len as u32)
}

#[cfg(test)]
mod tests;

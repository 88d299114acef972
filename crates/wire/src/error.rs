//! Why bytes are not the packet they claim to be.

use core::fmt;

/// Why a packet could not be read, or could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The bytes end before the header, or before what the header announces.
    Truncated,
    /// The IP version field is not the one expected, or is neither 4 nor 6.
    BadVersion,
    /// The header length field (IPv4 IHL, TCP data offset, length of an extension header) is below the minimum or
    /// runs past the packet.
    BadHeaderLength,
    /// The length field of the packet (IPv4 total length, UDP length) is shorter than its own header.
    BadTotalLength,
    /// The checksum is wrong.
    BadChecksum,
    /// A UDP checksum of zero over IPv6 (RFC 8200 section 8.1).
    ZeroChecksum,
    /// A later fragment: the transport header is in another packet.
    NotFirstFragment,
    /// The extension headers before the transport header of a quoted IPv6 packet cannot be followed.
    BadExtensionHeader,
    /// The caller's buffer is too small for the packet to be written.
    BufferTooSmall,
    /// The packet to be written is longer than the length field of its protocol can say.
    TooLong,
    /// A fragment offset to be written is not a multiple of 8, or lies past 65528.
    BadFragmentOffset,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet truncated",
            Self::BadVersion => "bad IP version",
            Self::BadHeaderLength => "bad header length",
            Self::BadTotalLength => "bad total length",
            Self::BadChecksum => "bad checksum",
            Self::ZeroChecksum => "no UDP checksum over IPv6",
            Self::NotFirstFragment => "not the first fragment",
            Self::BadExtensionHeader => "bad extension header",
            Self::BufferTooSmall => "buffer too small for the packet",
            Self::TooLong => "packet too long for its length field",
            Self::BadFragmentOffset => "fragment offset not a multiple of 8 or too large",
        })
    }
}

impl core::error::Error for Error {}

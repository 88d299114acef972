//! IPv6 headers and extension headers (RFC 8200).

use core::net::Ipv6Addr;

use crate::Error;

mod ext;

pub use ext::{ExtError, ExtHeaders, FRAGMENT_HEADER_LEN, Fragment, MAX_EXT_HEADERS, MAX_EXT_OPTIONS};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

/// A received packet whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    start: &'a [u8; 8],
    src: &'a [u8; 16],
    dst: &'a [u8; 16],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and lengths. Bytes past the payload length are left out.
    ///
    /// A payload length of 0 (a jumbogram, RFC 2675) is taken as it stands: jumbograms are not supported.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::BadVersion`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (start, src, dst, rest) = split(bytes).ok_or(Error::Truncated)?;
        if start[0] >> 4 != 6 {
            return Err(Error::BadVersion);
        }
        let payload_len = usize::from(u16::from_be_bytes([start[4], start[5]]));
        let payload = rest.get(..payload_len).ok_or(Error::Truncated)?;
        Ok(Self { start, src, dst, payload })
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from(*self.src)
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from(*self.dst)
    }

    /// The next-header field of the fixed header.
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.start[6]
    }

    /// Hop limit.
    #[inline]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.start[7]
    }

    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        self.start[0] << 4 | self.start[1] >> 4
    }

    /// Explicit congestion notification: 0..=3 (RFC 3168; 3 = congestion experienced).
    #[inline]
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// Flow label: 0..=2^20-1.
    #[inline]
    #[must_use]
    pub const fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.start[1] & 0x0f, self.start[2], self.start[3]])
    }

    /// What follows the fixed header: extension headers, if any, and the upper layer.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Length of the packet, in bytes.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// Walks the extension headers up to the upper layer or to a fragment.
    ///
    /// # Errors
    /// [`ExtError`], which says what a node has to do with the packet.
    #[inline]
    pub fn ext_headers(&self) -> Result<ExtHeaders<'a>, ExtError> {
        ExtHeaders::walk(self.next_header(), self.payload)
    }

    /// The fields of the fixed header, ready to be written.
    #[must_use]
    pub fn repr(&self) -> Repr {
        Repr {
            src: self.src(),
            dst: self.dst(),
            next_header: self.next_header(),
            hop_limit: self.hop_limit(),
            traffic_class: self.traffic_class(),
            flow_label: self.flow_label(),
            payload_len: self.payload.len(),
        }
    }
}

/// The parts of a fixed header: all before the addresses, source, destination; and what follows.
type Split<'a> = (&'a [u8; 8], &'a [u8; 16], &'a [u8; 16], &'a [u8]);

/// Takes a fixed header apart, whatever its version.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> Option<Split<'_>> {
    let (start, rest) = bytes.split_first_chunk()?;
    let (src, rest) = rest.split_first_chunk()?;
    let (dst, rest) = rest.split_first_chunk()?;
    Some((start, src, dst, rest))
}

/// A fixed header to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows: a protocol or an extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Flow label: 0..=2^20-1; higher bits are not sent.
    pub flow_label: u32,
    /// Length of what follows, in bytes: 0..=65535.
    pub payload_len: usize,
}

impl Repr {
    /// Length of the packet, in bytes.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.payload_len)
    }

    /// Writes the header to the start of `buf` and gives its length, 40.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], [`Error::TooLong`] if the payload is longer than 65535 bytes.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let payload_len = u16::try_from(self.payload_len).map_err(|_| Error::TooLong)?;
        let header = buf.first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        let [w0, w1, w2, w3] = word.to_be_bytes();
        let [l0, l1] = payload_len.to_be_bytes();
        let (start, rest) = header.split_at_mut(8);
        start.copy_from_slice(&[w0, w1, w2, w3, l0, l1, self.next_header, self.hop_limit]);
        let (src, dst) = rest.split_at_mut(16);
        src.copy_from_slice(&self.src.octets());
        dst.copy_from_slice(&self.dst.octets());
        Ok(HEADER_LEN)
    }
}

#[cfg(test)]
mod tests;

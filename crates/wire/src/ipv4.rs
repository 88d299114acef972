//! IPv4 headers (RFC 791).

use core::net::Ipv4Addr;

use crate::Error;
use crate::checksum::Sum;

/// Length of the header without options, in bytes.
pub const HEADER_LEN: usize = 20;

const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET_MASK: u16 = 0x1fff;

/// A received packet whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, lengths and header checksum. Bytes past the total length are left out.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the header or the total length runs past `bytes`, [`Error::BadVersion`],
    /// [`Error::BadHeaderLength`] below 20, [`Error::BadTotalLength`] if that is shorter than the header,
    /// [`Error::BadChecksum`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(Error::BadVersion);
        }
        let header_len = usize::from(header[0] & 0x0f) * 4;
        if header_len < HEADER_LEN {
            return Err(Error::BadHeaderLength);
        }
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total_len < header_len {
            return Err(Error::BadTotalLength);
        }
        let packet = bytes.get(..total_len).ok_or(Error::Truncated)?;
        let (whole_header, payload) = packet.split_at_checked(header_len).ok_or(Error::Truncated)?;
        let options = whole_header.get(HEADER_LEN..).ok_or(Error::BadHeaderLength)?;
        let mut sum = Sum::new();
        sum.add_bytes(header);
        if !options.is_empty() {
            sum.add_bytes(options);
        }
        if sum.fold() != 0xffff {
            return Err(Error::BadChecksum);
        }
        Ok(Self { header, options, payload })
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[12], h[13], h[14], h[15])
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[16], h[17], h[18], h[19])
    }

    /// Protocol of the payload.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.header[9]
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// Type of service: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    #[must_use]
    pub const fn tos(&self) -> u8 {
        self.header[1]
    }

    /// Differentiated services code point: 0..=63.
    #[inline]
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.tos() >> 2
    }

    /// Explicit congestion notification: 0..=3 (RFC 3168; 3 = congestion experienced).
    #[inline]
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.tos() & 3
    }

    /// Identification, which the fragments of one packet share.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// "Don't fragment" is set.
    #[inline]
    #[must_use]
    pub const fn df(&self) -> bool {
        self.fragment_word() & DONT_FRAGMENT != 0
    }

    /// "More fragments" is set.
    #[inline]
    #[must_use]
    pub const fn mf(&self) -> bool {
        self.fragment_word() & MORE_FRAGMENTS != 0
    }

    /// Where the payload belongs in the whole packet's payload, in bytes: a multiple of 8, up to 65528.
    #[inline]
    #[must_use]
    pub const fn frag_offset(&self) -> u16 {
        (self.fragment_word() & OFFSET_MASK) << 3
    }

    /// The packet is a part of a larger one.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment_word() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    const fn fragment_word(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// Options, not interpreted: 0..=40 bytes.
    #[inline]
    #[must_use]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// Length of the header with options, in bytes: 20..=60.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Length of the packet, in bytes.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    /// What follows the header, cut to the total length.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The fields of the header (options are not kept), ready to be written.
    #[must_use]
    pub const fn repr(&self) -> Repr {
        Repr {
            src: self.src(),
            dst: self.dst(),
            protocol: self.protocol(),
            ttl: self.ttl(),
            tos: self.tos(),
            id: self.id(),
            df: self.df(),
            payload_len: self.payload.len(),
        }
    }
}

/// A header to be written, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Identification; may be anything if `df` is set (RFC 6864).
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// Length of what follows, in bytes: 0..=65515.
    pub payload_len: usize,
}

impl Repr {
    /// Length of the packet, in bytes.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.payload_len)
    }

    /// Writes the header with its checksum to the start of `buf` and gives its length, 20.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], [`Error::TooLong`] if the packet would be longer than 65535 bytes.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> Result<usize, Error> {
        self.emit_word(0, buf)
    }

    /// Writes the header of one fragment, whose payload is `payload_len` bytes and belongs at byte `offset` of the
    /// whole; `more` if it is not the last.
    ///
    /// # Errors
    /// Those of [`Repr::emit`], and [`Error::BadFragmentOffset`] if `offset` is not a multiple of 8.
    #[inline]
    pub fn emit_fragment(&self, offset: u16, more: bool, buf: &mut [u8]) -> Result<usize, Error> {
        if offset & 7 != 0 {
            return Err(Error::BadFragmentOffset);
        }
        self.emit_word(offset >> 3 | if more { MORE_FRAGMENTS } else { 0 }, buf)
    }

    #[inline]
    fn emit_word(&self, fragment: u16, buf: &mut [u8]) -> Result<usize, Error> {
        let total_len = u16::try_from(self.total_len()).map_err(|_| Error::TooLong)?;
        let header = buf.first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let fragment = fragment | if self.df { DONT_FRAGMENT } else { 0 };
        let [l0, l1] = total_len.to_be_bytes();
        let [i0, i1] = self.id.to_be_bytes();
        let [f0, f1] = fragment.to_be_bytes();
        let [s0, s1, s2, s3] = self.src.octets();
        let [d0, d1, d2, d3] = self.dst.octets();
        let (ttl, protocol) = (self.ttl, self.protocol);
        let mut sum = Sum::new();
        let mut out =
            [0x45, self.tos, l0, l1, i0, i1, f0, f1, ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
        sum.add_bytes(&out);
        [out[10], out[11]] = sum.finish().to_be_bytes();
        *header = out;
        Ok(HEADER_LEN)
    }
}

#[cfg(test)]
mod tests;

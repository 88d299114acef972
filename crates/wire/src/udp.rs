//! UDP datagrams (RFC 768).

use core::net::IpAddr;

use crate::checksum::{self, Sum};
use crate::{Error, ip};

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;
/// Byte offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source port; 0 if the sender expects no answer.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Data.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the header. Bytes past the length that it states are left out. Does not look at the checksum: see
    /// [`verify_checksum`].
    ///
    /// # Errors
    /// [`Error::Truncated`] if the header or the stated length runs past the end, [`Error::BadTotalLength`] if that
    /// length is below 8.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let (&[s0, s1, d0, d1, _, _, _, _], payload) = split(datagram)?;
        Ok(Self { src_port: u16::from_be_bytes([s0, s1]), dst_port: u16::from_be_bytes([d0, d1]), payload })
    }

    /// The header of this datagram, ready to be written.
    #[inline]
    #[must_use]
    pub const fn repr(&self) -> Repr {
        Repr { src_port: self.src_port, dst_port: self.dst_port, payload_len: self.payload.len() }
    }
}

/// Header and payload, cut to the length that the header states.
#[inline]
fn split(datagram: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), Error> {
    let (header, rest) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload_len = len.checked_sub(HEADER_LEN).ok_or(Error::BadTotalLength)?;
    Ok((header, rest.get(..payload_len).ok_or(Error::Truncated)?))
}

/// Checks the checksum of a whole datagram. Zero means that there is none, which only IPv4 allows.
///
/// # Errors
/// Those of [`Datagram::parse`], [`Error::BadChecksum`], and [`Error::ZeroChecksum`] for none over IPv6 (RFC 8200
/// section 8.1).
#[inline]
pub fn verify_checksum(src: IpAddr, dst: IpAddr, datagram: &[u8]) -> Result<(), Error> {
    let (header, payload) = split(datagram)?;
    if let [.., 0, 0] = header {
        return if src.is_ipv4() { Ok(()) } else { Err(Error::ZeroChecksum) };
    }
    let mut sum = pseudo_header(src, dst, HEADER_LEN + payload.len());
    sum.add_bytes(header);
    sum.add_bytes(payload);
    if sum.fold() == 0xffff { Ok(()) } else { Err(Error::BadChecksum) }
}

/// A header to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of the data, in bytes: 0..=65527.
    pub payload_len: usize,
}

impl Repr {
    /// Writes the header, with zero in the checksum field, to the start of `buf` and gives its length, 8.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], [`Error::TooLong`].
    #[inline]
    pub fn emit_header(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let len = HEADER_LEN.saturating_add(self.payload_len);
        let [l0, l1] = u16::try_from(len).map_err(|_| Error::TooLong)?.to_be_bytes();
        let header = buf.first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let [s0, s1] = self.src_port.to_be_bytes();
        let [d0, d1] = self.dst_port.to_be_bytes();
        *header = [s0, s1, d0, d1, l0, l1, 0, 0];
        Ok(HEADER_LEN)
    }
}

/// Computes the checksum over a whole datagram, header and data, and writes it into its field. A sum that comes to
/// zero is sent as 0xffff (RFC 768).
///
/// # Errors
/// [`Error::BufferTooSmall`] if the datagram is shorter than a header.
#[inline]
pub fn fill_checksum(src: IpAddr, dst: IpAddr, datagram: &mut [u8]) -> Result<(), Error> {
    write_checksum(datagram, 0)?;
    let mut sum = pseudo_header(src, dst, datagram.len());
    sum.add_bytes(datagram);
    let value = match sum.finish() {
        0 => 0xffff,
        value => value,
    };
    write_checksum(datagram, value)
}

/// Writes the sum over the pseudo-header, not inverted, into the checksum field: the device adds the rest
/// ([`crate::ChecksumState::Partial`]).
///
/// # Errors
/// [`Error::BufferTooSmall`] if the datagram is shorter than a header.
#[inline]
pub fn set_partial_checksum(src: IpAddr, dst: IpAddr, datagram: &mut [u8]) -> Result<(), Error> {
    let sum = pseudo_header(src, dst, datagram.len());
    write_checksum(datagram, sum.fold())
}

#[inline]
fn pseudo_header(src: IpAddr, dst: IpAddr, len: usize) -> Sum {
    checksum::pseudo_header(src, dst, ip::protocol::UDP, len as u32)
}

#[inline]
fn write_checksum(datagram: &mut [u8], value: u16) -> Result<(), Error> {
    let header = datagram.first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
    [header[CHECKSUM_OFFSET], header[CHECKSUM_OFFSET + 1]] = value.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests;

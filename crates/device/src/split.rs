//! Software segmentation and checksums: what a device that offers neither makes of a packet before it goes out.

use lastack_wire::checksum::Sum;
use lastack_wire::{ChecksumState, PacketMeta};

use crate::headers::{TCP_CHECKSUM, TCP_FLAGS, TcpHeaders, UDP_CHECKSUM, get_u32, put_u16, put_u32};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Why a packet does not fit its meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The meta asks for TCP segmentation, but the packet is not an unfragmented, whole TCP packet of that family.
    #[error("packet to be segmented is not a whole TCP packet of the family its meta says")]
    NotTcp,
    /// The segment size is 0.
    #[error("segment size is 0")]
    ZeroSize,
    /// The checksum field lies outside of the packet.
    #[error("checksum field lies outside of the packet")]
    ChecksumField,
}

/// The wire-sized packets that one packet stands for.
///
/// A packet without [`Gso`](lastack_wire::Gso) stands for itself. Checksums are finished in all of them. The header
/// length is found in the packet; `Gso::hdr_len` is not trusted.
///
/// Of a TCP packet, each segment has its own IPv4 identification (counting up), length, sequence number and
/// checksums; FIN and PSH are on the last only, CWR on the first only (RFC 3168 6.1.2: once a window).
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    meta: PacketMeta,
    packet: &'a [u8],
    /// Set for a packet of more than one segment.
    tcp: Option<(TcpHeaders, usize)>,
    count: usize,
}

impl<'a> Segments<'a> {
    /// Looks at the headers.
    ///
    /// # Errors
    /// The packet does not fit its meta.
    pub fn new(meta: &PacketMeta, packet: &'a [u8]) -> Result<Self, SplitError> {
        let Some(gso) = meta.gso else {
            checksum_field(meta, packet.len())?;
            return Ok(Self { meta: *meta, packet, tcp: None, count: 1 });
        };
        if gso.size == 0 {
            return Err(SplitError::ZeroSize);
        }
        let headers = TcpHeaders::parse(packet)?;
        if headers.kind != gso.kind {
            return Err(SplitError::NotTcp);
        }
        let size = usize::from(gso.size);
        let count = (packet.len() - headers.total_len).div_ceil(size).max(1);
        Ok(Self { meta: *meta, packet, tcp: Some((headers, size)), count })
    }

    /// How many packets there are: at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length in bytes of packet `index` (0-based), or 0 if there is none.
    #[must_use]
    pub fn len_of(&self, index: usize) -> usize {
        if index >= self.count {
            return 0;
        }
        match self.tcp {
            None => self.packet.len(),
            Some((headers, size)) => {
                let payload = self.packet.len() - headers.total_len;
                headers.total_len + (payload - index * size).min(size)
            }
        }
    }

    /// Writes packet `index` to the start of `out` and returns its length; `None` if there is no such packet or `out`
    /// is shorter than [`len_of`](Self::len_of).
    pub fn write(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        if index >= self.count {
            return None;
        }
        let out = out.get_mut(..self.len_of(index))?;
        match self.tcp {
            None => {
                out.copy_from_slice(self.packet);
                // The field was found to be inside the packet when `self` was made.
                finish_checksum(&self.meta, out).ok()?;
            }
            Some((headers, size)) => self.write_segment(&headers, index, size, out),
        }
        Some(out.len())
    }

    fn write_segment(&self, headers: &TcpHeaders, index: usize, size: usize, out: &mut [u8]) {
        let skip = index * size;
        let payload = out.len() - headers.total_len;
        out[..headers.total_len].copy_from_slice(&self.packet[..headers.total_len]);
        let from = headers.total_len + skip;
        out[headers.total_len..].copy_from_slice(&self.packet[from..from + payload]);
        // At most 65535 segments of at most 65535 bytes each: both casts are exact for any IP packet.
        headers.fix_ip(out, index as u16);
        let tcp = &mut out[headers.ip_len..];
        put_u32(tcp, 4, get_u32(tcp, 4).wrapping_add(skip as u32));
        if index + 1 != self.count {
            tcp[TCP_FLAGS] &= !(FIN | PSH);
        }
        if index != 0 {
            tcp[TCP_FLAGS] &= !CWR;
        }
        put_u16(tcp, TCP_CHECKSUM, 0);
        let mut sum = headers.pseudo_header(out, out.len() - headers.ip_len);
        sum.add_bytes(&out[headers.ip_len..]);
        put_u16(&mut out[headers.ip_len..], TCP_CHECKSUM, sum.finish());
    }
}

/// Hands each wire-sized packet that `packet` stands for to `sink`, in order, with finished checksums.
///
/// # Errors
/// The packet does not fit its meta; nothing was handed over.
pub fn segment(
    meta: &PacketMeta,
    packet: &[u8],
    sink: &mut (impl FnMut(&[u8]) + ?Sized),
) -> Result<usize, SplitError> {
    let segments = Segments::new(meta, packet)?;
    if meta.gso.is_none() && !matches!(meta.checksum, ChecksumState::Partial { .. }) {
        sink(packet);
        return Ok(1);
    }
    let mut frame = vec![0; segments.len_of(0)];
    for index in 0..segments.count() {
        if let Some(len) = segments.write(index, &mut frame) {
            sink(&frame[..len]);
        }
    }
    Ok(segments.count())
}

/// Finishes a [`ChecksumState::Partial`] checksum in place; does nothing if the checksum is not partial.
///
/// # Errors
/// The checksum field lies outside of the packet, which is left as it was.
pub fn finish_checksum(meta: &PacketMeta, packet: &mut [u8]) -> Result<(), SplitError> {
    let Some((start, field)) = checksum_field(meta, packet.len())? else {
        return Ok(());
    };
    let mut sum = Sum::new();
    sum.add_bytes(&packet[start..]);
    let mut value = sum.finish();
    if value == 0 && field - start == UDP_CHECKSUM {
        // In UDP zero means "no checksum" (RFC 768).
        value = 0xffff;
    }
    put_u16(packet, field, value);
    Ok(())
}

/// Where a partial checksum starts and has its field, from the start of the packet.
pub(crate) fn checksum_field(meta: &PacketMeta, len: usize) -> Result<Option<(usize, usize)>, SplitError> {
    let ChecksumState::Partial { start, offset } = meta.checksum else {
        return Ok(None);
    };
    let start = usize::from(start);
    let field = start + usize::from(offset);
    if field + 2 > len {
        return Err(SplitError::ChecksumField);
    }
    Ok(Some((start, field)))
}

#[cfg(test)]
mod tests;

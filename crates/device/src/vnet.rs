//! `struct virtio_net_hdr` (virtio 1.2, 5.1.6) to [`PacketMeta`] and back.

use lastack_wire::{ChecksumState, Gso, GsoKind, PacketMeta};

use crate::headers::{TCP_CHECKSUM, TcpHeaders, put_u16};
use crate::split::{SplitError, checksum_field};

/// Length of the header without the buffer count of merged receive buffers, in bytes.
pub(crate) const VNET_HDR: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// What a received header says of its packet, which follows `link` bytes of the link's own; `None` if they don't fit each
/// other.
pub(crate) fn decode(header: &[u8; VNET_HDR], link: usize, packet: &[u8]) -> Option<PacketMeta> {
    let [flags, gso_type, ..] = *header;
    let checksum = if flags & F_NEEDS_CSUM != 0 {
        let start = native(header, 6).checked_sub(u16::try_from(link).ok()?)?;
        ChecksumState::Partial { start, offset: native(header, 8) }
    } else if flags & F_DATA_VALID != 0 {
        ChecksumState::Verified
    } else {
        ChecksumState::Complete
    };
    let kind = match gso_type & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCPV4 => Some(GsoKind::TcpV4),
        GSO_TCPV6 => Some(GsoKind::TcpV6),
        _ => return None,
    };
    let gso = match kind {
        None => None,
        Some(kind) => {
            let size = native(header, 4);
            let headers = TcpHeaders::parse(packet).ok()?;
            if size == 0 || headers.kind != kind {
                return None;
            }
            Some(Gso { kind, size, hdr_len: u16::try_from(headers.total_len).ok()? })
        }
    };
    let meta = PacketMeta { checksum, gso };
    checksum_field(&meta, packet.len()).ok()?;
    Some(meta)
}

/// The header for a packet to be sent. The kernel takes a segmented packet with a partial checksum only; if it has a
/// finished one, it is made partial here.
pub(crate) fn encode(meta: &PacketMeta, packet: &mut [u8]) -> Result<[u8; VNET_HDR], SplitError> {
    let mut header = [0; VNET_HDR];
    let mut checksum = meta.checksum;
    if let Some(gso) = meta.gso {
        let headers = TcpHeaders::parse(packet)?;
        if headers.kind != gso.kind {
            return Err(SplitError::NotTcp);
        }
        if gso.size == 0 {
            return Err(SplitError::ZeroSize);
        }
        if !matches!(checksum, ChecksumState::Partial { .. }) {
            let sum = headers.pseudo_header(packet, packet.len() - headers.ip_len);
            put_u16(packet, headers.ip_len + TCP_CHECKSUM, sum.fold());
            checksum = ChecksumState::Partial { start: short(headers.ip_len)?, offset: TCP_CHECKSUM as u16 };
        }
        header[1] = match gso.kind {
            GsoKind::TcpV4 => GSO_TCPV4,
            GsoKind::TcpV6 => GSO_TCPV6,
        };
        if packet[headers.ip_len + crate::headers::TCP_FLAGS] & 0x80 != 0 {
            // CWR set: it belongs on the first segment only.
            header[1] |= GSO_ECN;
        }
        header[2..4].copy_from_slice(&short(headers.total_len)?.to_ne_bytes());
        header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
    }
    checksum_field(&PacketMeta { checksum, gso: None }, packet.len())?;
    match checksum {
        ChecksumState::Partial { start, offset } => {
            header[0] = F_NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        ChecksumState::Verified => header[0] = F_DATA_VALID,
        ChecksumState::Complete => {}
    }
    Ok(header)
}

/// Makes room in a header for `link` bytes of the link's own before the packet.
pub(crate) fn move_back(header: &mut [u8; VNET_HDR], link: u16) -> Option<()> {
    let [flags, gso_type, ..] = *header;
    for (at, used) in [(2, gso_type != GSO_NONE), (6, flags & F_NEEDS_CSUM != 0)] {
        if used {
            let moved = native(header, at).checked_add(link)?;
            header[at..at + 2].copy_from_slice(&moved.to_ne_bytes());
        }
    }
    Some(())
}

fn short(len: usize) -> Result<u16, SplitError> {
    u16::try_from(len).map_err(|_| SplitError::NotTcp)
}

/// A field in the byte order of this machine, as a TUN has it unless told otherwise.
fn native(header: &[u8; VNET_HDR], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

#[cfg(test)]
mod tests;

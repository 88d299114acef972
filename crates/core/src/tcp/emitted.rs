//! What is said of a packet that was just written.

use core::num::NonZeroU64;
use lastack_wire::tcp::CHECKSUM_OFFSET;
use lastack_wire::{ChecksumState, Gso, GsoKind, PacketMeta, ipv4, ipv6};

/// The device splits the packet into segments of so many bytes: 16 bits from here on.
const GSO: u32 = 32;
/// Length of TCP's header in bytes: 8 bits.
const HEADER: u32 = 48;
/// IPv6.
const V6: u64 = 1 << 56;
/// The device finishes the checksum.
const PARTIAL: u64 = 1 << 57;

/// A TCP packet in the caller's frame, as one word, its length lowest. A [`PacketMeta`] is written in pieces and read in larger ones
/// by each function that hands it on, and each time the processor waits for the pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted(NonZeroU64);

impl Emitted {
    /// A packet of `text` bytes behind headers of `ip` and `tcp` bytes, whose checksum the device finishes if it is `partial`.
    /// `None` for a packet without a byte.
    #[inline]
    pub(super) fn new((ip, tcp): (usize, usize), text: usize, partial: bool) -> Option<Self> {
        let len = u64::from((ip + tcp + text) as u32);
        let v6 = if ip == ipv6::HEADER_LEN { V6 } else { 0 };
        let partial = if partial { PARTIAL } else { 0 };
        NonZeroU64::new(len | u64::from(tcp as u8) << HEADER | v6 | partial).map(Self)
    }

    /// The same, to be split into segments of `gso` bytes.
    #[inline]
    pub(super) fn split(self, gso: Option<u16>) -> Self {
        Self(self.0 | u64::from(gso.unwrap_or(0)) << GSO)
    }

    /// The length of the packet, and what the device is told.
    #[inline]
    pub(crate) fn told(self) -> (usize, PacketMeta) {
        let word = self.0.get();
        let v6 = word & V6 != 0;
        let ip = if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN } as u16;
        let checksum = if word & PARTIAL != 0 {
            ChecksumState::Partial { start: ip, offset: CHECKSUM_OFFSET as u16 }
        } else {
            ChecksumState::Complete
        };
        let size = (word >> GSO) as u16;
        let gso = (size > 0).then(|| Gso {
            kind: if v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 },
            size,
            hdr_len: ip + u16::from((word >> HEADER) as u8),
        });
        (word as u32 as usize, PacketMeta { checksum, gso })
    }
}

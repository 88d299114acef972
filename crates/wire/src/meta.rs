//! What a device knows of a packet besides its bytes: checksum and segmentation offload.
//!
//! The fields carry what Linux's `struct virtio_net_hdr` carries, so that a TUN with `IFF_VNET_HDR`, a virtio device
//! and an in-memory link can all say it without loss.

/// State of the transport checksum of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChecksumState {
    /// The checksum field is finished and nobody has verified it yet. The receiver verifies it.
    #[default]
    Complete,
    /// The device vouches for the data (verified it, or the packet never left memory). The receiver trusts it.
    Verified,
    /// The checksum is to be finished by the device: the field at `start + offset` holds the pseudo-header sum (not
    /// inverted), and the one's-complement sum over everything from `start` to the end of the packet is still
    /// missing. On receive this means that the packet never crossed a wire; the receiver trusts it.
    Partial {
        /// Byte offset of the transport header, from the start of the IP header.
        start: u16,
        /// Byte offset of the checksum field, from `start`.
        offset: u16,
    },
}

/// Which protocol a segmented packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
}

/// Segmentation still to be done (transmit), or merging that was done (receive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gso {
    /// Protocol of the packet.
    pub kind: GsoKind,
    /// Payload bytes of each resulting segment but the last, which may be shorter. Never 0.
    pub size: u16,
    /// Length of the IP and TCP headers together, in bytes.
    pub hdr_len: u16,
}

/// What a device knows of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PacketMeta {
    /// Transport checksum.
    pub checksum: ChecksumState,
    /// Set if the packet stands for several segments on the wire.
    pub gso: Option<Gso>,
}

/// What a device can do, and how large a packet on its link may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Largest IP packet on the link in bytes: 68..=65535 (IPv4 only below 1280).
    pub mtu: u16,
    /// The device finishes [`ChecksumState::Partial`] checksums on transmit.
    pub tx_checksum: bool,
    /// Largest packet, IP header included, that the device segments on transmit for TCP over IPv4 ([`Gso`]);
    /// 0 = none. Implies `tx_checksum`.
    pub tx_gso_v4: u32,
    /// The same for TCP over IPv6.
    pub tx_gso_v6: u32,
}

impl Capabilities {
    /// A plain link of the given MTU: no offloads.
    #[must_use]
    pub const fn plain(mtu: u16) -> Self {
        Self { mtu, tx_checksum: false, tx_gso_v4: 0, tx_gso_v6: 0 }
    }
}

//! Finding the TCP header of a packet, and fixing the fields that segmentation changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lastack_wire::GsoKind;
use lastack_wire::checksum::{self, Sum};

use crate::split::SplitError;

pub(crate) const PROTO_TCP: u8 = 6;
/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
pub(crate) const UDP_CHECKSUM: usize = 6;
/// Offset of the flags in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
const IPV6_HEADER: usize = 40;

/// Where the headers of a TCP packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpHeaders {
    pub(crate) kind: GsoKind,
    /// Length of the IP header with options and extension headers, in bytes.
    pub(crate) ip_len: usize,
    /// Length of all headers, in bytes.
    pub(crate) total_len: usize,
}

impl TcpHeaders {
    /// Finds the headers. Fails on what is not TCP, is a fragment, or is cut short.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, SplitError> {
        let version = packet.first().ok_or(SplitError::NotTcp)? >> 4;
        let (kind, ip_len) = match version {
            4 => (GsoKind::TcpV4, ipv4_header(packet)?),
            6 => (GsoKind::TcpV6, ipv6_headers(packet)?),
            _ => return Err(SplitError::NotTcp),
        };
        let tcp = packet.get(ip_len..).ok_or(SplitError::NotTcp)?;
        let tcp_len = usize::from(tcp.get(12).ok_or(SplitError::NotTcp)? >> 4) * 4;
        if tcp_len < 20 || tcp.len() < tcp_len {
            return Err(SplitError::NotTcp);
        }
        Ok(Self { kind, ip_len, total_len: ip_len + tcp_len })
    }

    /// The pseudo-header sum of a segment with `tcp_len` bytes of header and data.
    pub(crate) fn pseudo_header(&self, packet: &[u8], tcp_len: usize) -> Sum {
        let (src, dst) = addresses(self.kind, packet);
        checksum::pseudo_header(src, dst, PROTO_TCP, u32::try_from(tcp_len).unwrap_or(u32::MAX))
    }

    /// Writes the IP length field for a packet of this length, adds `id_step` to the identification and finishes the
    /// IPv4 header checksum.
    pub(crate) fn fix_ip(&self, packet: &mut [u8], id_step: u16) {
        let len = packet.len();
        match self.kind {
            GsoKind::TcpV4 => {
                put_u16(packet, 2, u16::try_from(len).unwrap_or(u16::MAX));
                let id = get_u16(packet, 4).wrapping_add(id_step);
                put_u16(packet, 4, id);
                put_u16(packet, 10, 0);
                let mut sum = Sum::new();
                sum.add_bytes(&packet[..self.ip_len]);
                put_u16(packet, 10, sum.finish());
            }
            GsoKind::TcpV6 => put_u16(packet, 4, u16::try_from(len - IPV6_HEADER).unwrap_or(u16::MAX)),
        }
    }
}

fn ipv4_header(packet: &[u8]) -> Result<usize, SplitError> {
    let header = packet.get(..20).ok_or(SplitError::NotTcp)?;
    let ip_len = usize::from(header[0] & 0xf) * 4;
    let fragment = get_u16(header, 6) & 0x3fff != 0;
    if ip_len < 20 || packet.len() < ip_len || header[9] != PROTO_TCP || fragment {
        return Err(SplitError::NotTcp);
    }
    Ok(ip_len)
}

/// Walks over the extension headers that may stand before TCP in a packet that is to be segmented: hop-by-hop (0),
/// routing (43) and destination options (60).
fn ipv6_headers(packet: &[u8]) -> Result<usize, SplitError> {
    let mut next = *packet.get(6).ok_or(SplitError::NotTcp)?;
    let mut at = IPV6_HEADER;
    while next != PROTO_TCP {
        if !matches!(next, 0 | 43 | 60) {
            return Err(SplitError::NotTcp);
        }
        let header = packet.get(at..at + 2).ok_or(SplitError::NotTcp)?;
        next = header[0];
        at += (usize::from(header[1]) + 1) * 8;
    }
    Ok(at)
}

fn addresses(kind: GsoKind, packet: &[u8]) -> (IpAddr, IpAddr) {
    fn v4(bytes: &[u8]) -> IpAddr {
        let mut octets = [0; 4];
        octets.copy_from_slice(bytes);
        IpAddr::V4(Ipv4Addr::from(octets))
    }
    fn v6(bytes: &[u8]) -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(bytes);
        IpAddr::V6(Ipv6Addr::from(octets))
    }
    match kind {
        GsoKind::TcpV4 => (v4(&packet[12..16]), v4(&packet[16..20])),
        GsoKind::TcpV6 => (v6(&packet[8..24]), v6(&packet[24..40])),
    }
}

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

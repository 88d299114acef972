//! Packets taken to pieces and put together again, as routers and middleboxes do.

use lastack_core::wire::checksum::Sum;
use lastack_core::wire::ip::{self, protocol};
use lastack_core::wire::tcp::{self, Flags};
use lastack_core::wire::{icmp, icmpv6, ipv4, ipv6};
use std::net::{IpAddr, SocketAddr};

/// ECN codepoints (RFC 3168 5).
const NOT_ECT: u8 = 0b00;
const CE: u8 = 0b11;

/// Where a TCP segment lies in a packet without IPv6 extension headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    /// The sender.
    pub(crate) src: SocketAddr,
    /// The receiver.
    pub(crate) dst: SocketAddr,
    /// Where the TCP header begins.
    pub(crate) start: usize,
    /// Where the data begin.
    pub(crate) data: usize,
    /// Where the segment ends.
    pub(crate) end: usize,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// Control bits.
    pub(crate) flags: Flags,
}

impl Tcp {
    /// Finds it. Does not look at checksums.
    pub(crate) fn find(packet: &[u8]) -> Option<Self> {
        let ip = ip::Packet::parse(packet).ok().filter(|p| p.protocol() == protocol::TCP)?;
        if matches!(&ip, ip::Packet::V4(packet) if packet.is_fragment()) {
            return None;
        }
        let parts = tcp::Parts::split(ip.payload()).ok()?;
        let header = parts.header();
        Some(Self {
            src: SocketAddr::new(ip.src(), header.src_port),
            dst: SocketAddr::new(ip.dst(), header.dst_port),
            start: ip.header_len(),
            data: ip.header_len() + ip.payload().len() - parts.payload().len(),
            end: ip.header_len() + ip.payload().len(),
            seq: header.seq.0,
            ack: header.ack.0,
            flags: header.flags,
        })
    }

    /// The same, if the checksum is right.
    pub(crate) fn find_valid(packet: &[u8]) -> Option<Self> {
        let tcp = Self::find(packet)?;
        tcp::verify_checksum(tcp.src.ip(), tcp.dst.ip(), &packet[tcp.start..tcp.end]).then_some(tcp)
    }

    /// Bytes of data.
    pub(crate) fn len(&self) -> usize {
        self.end - self.data
    }

    /// Writes the sequence number.
    pub(crate) fn set_seq(&mut self, packet: &mut [u8], seq: u32) {
        self.seq = seq;
        packet[self.start + 4..self.start + 8].copy_from_slice(&seq.to_be_bytes());
    }

    /// Writes the acknowledgement number.
    pub(crate) fn set_ack(&mut self, packet: &mut [u8], ack: u32) {
        self.ack = ack;
        packet[self.start + 8..self.start + 12].copy_from_slice(&ack.to_be_bytes());
    }

    /// Clears control bits (of the lower eight).
    pub(crate) fn clear(&mut self, packet: &mut [u8], flags: Flags) {
        self.flags -= flags;
        packet[self.start + 13] &= !(flags.bits() as u8);
    }

    /// The options, as they are.
    pub(crate) fn options_mut<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        &mut packet[self.start + tcp::HEADER_LEN..self.data]
    }

    /// Writes lengths and checksums anew, for a packet that is now so long.
    pub(crate) fn finish(&mut self, packet: &mut [u8]) {
        self.end = packet.len();
        if self.src.is_ipv4() {
            replace_word(packet, 2, self.end as u16);
        } else {
            packet[4..6].copy_from_slice(&((self.end - ipv6::HEADER_LEN) as u16).to_be_bytes());
        }
        // The segment was found, so it has room for its checksum.
        let _ = tcp::fill_checksum(self.src.ip(), self.dst.ip(), &mut packet[self.start..]);
    }
}

/// Calls `each` with the kind and the place of every option.
pub(crate) fn each_option(options: &mut [u8], mut each: impl FnMut(u8, &mut [u8])) {
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        let len = match kind {
            0 => return,
            1 => 1,
            _ => options.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = options.get_mut(at..at + len).filter(|_| len > 0) else { return };
        each(kind, option);
        at += len;
    }
}

/// Writes a word of an IPv4 header and keeps its checksum as right, or as wrong, as it was (RFC 1624).
fn replace_word(header: &mut [u8], at: usize, word: u16) {
    let old = u16::from_be_bytes([header[at], header[at + 1]]);
    let mut sum = Sum::new();
    sum.add_u16(!u16::from_be_bytes([header[10], header[11]]));
    sum.add_u16(!old);
    sum.add_u16(word);
    header[at..at + 2].copy_from_slice(&word.to_be_bytes());
    header[10..12].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Marks a packet as one that met congestion (RFC 3168), if its transport understands that.
pub(crate) fn mark_congestion(packet: &mut [u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= ipv4::HEADER_LEN && packet[1] & CE != NOT_ECT => {
            replace_word(packet, 0, u16::from_be_bytes([packet[0], packet[1] | CE]));
            true
        }
        Some(6) if packet.len() >= ipv6::HEADER_LEN && (packet[1] >> 4) & CE != NOT_ECT => {
            packet[1] |= CE << 4;
            true
        }
        _ => false,
    }
}

/// A router takes one from the time to live. False: the packet ends here.
pub(crate) fn age(packet: &mut [u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= ipv4::HEADER_LEN && packet[8] > 1 => {
            replace_word(packet, 8, u16::from_be_bytes([packet[8] - 1, packet[9]]));
            true
        }
        Some(6) if packet.len() >= ipv6::HEADER_LEN && packet[7] > 1 => {
            packet[7] -= 1;
            true
        }
        _ => false,
    }
}

/// Where a packet wants to go.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    ip::Packet::parse(packet).ok().map(|packet| packet.dst())
}

/// What a router says of a packet that is too large for the next link; `None` where it has to be silent.
pub(crate) fn too_big(from: IpAddr, packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    match (from, ip::Packet::parse(packet).ok()?) {
        (IpAddr::V4(src), ip::Packet::V4(lost)) => {
            if lost.protocol() == protocol::ICMP && icmp::Message::parse(lost.payload()).ok()?.is_error() {
                return None;
            }
            let message = icmp::Message::DestinationUnreachable {
                code: icmp::Unreachable::FragmentationNeeded,
                next_hop_mtu: mtu,
                quoted: &packet[..packet.len().min(icmp::MAX_QUOTE)],
            };
            let payload_len = message.emitted_len();
            let header = ipv4::Repr {
                src,
                dst: lost.src(),
                protocol: protocol::ICMP,
                ttl: 64,
                tos: 0,
                id: 0,
                df: true,
                payload_len,
            };
            let mut bytes = vec![0; ipv4::HEADER_LEN + payload_len];
            let at = header.emit(&mut bytes).ok()?;
            message.emit(&mut bytes[at..]).ok()?;
            Some(bytes)
        }
        (IpAddr::V6(src), ip::Packet::V6(lost)) => {
            let (dst, body) = (lost.src(), lost.payload());
            let is_icmp = ip::Packet::V6(lost).protocol() == protocol::ICMPV6;
            if is_icmp && icmpv6::Message::parse(dst, lost.dst(), body).ok()?.is_error() {
                return None;
            }
            let quoted = &packet[..packet.len().min(icmpv6::MAX_QUOTE)];
            let message = icmpv6::Message::PacketTooBig { mtu: mtu.into(), quoted };
            let payload_len = message.emitted_len();
            let header = ipv6::Repr {
                src,
                dst,
                next_header: protocol::ICMPV6,
                hop_limit: 64,
                traffic_class: 0,
                flow_label: 0,
                payload_len,
            };
            let mut bytes = vec![0; ipv6::HEADER_LEN + payload_len];
            let at = header.emit(&mut bytes).ok()?;
            message.emit(src, dst, &mut bytes[at..]).ok()?;
            Some(bytes)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! TCP segments in packets: read with relative numbers, and written by hand.

use crate::log::{Packet, Side};
use lastack_core::Instant;
use lastack_core::wire::ip::{self, protocol};
use lastack_core::wire::tcp::{self, Flags, Options, Repr, Segment};
use lastack_core::wire::{Error, SeqNumber, ipv4, ipv6};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

const NAMES: [(Flags, &str); 9] = [
    (Flags::SYN, "SYN"),
    (Flags::FIN, "FIN"),
    (Flags::RST, "RST"),
    (Flags::PSH, "PSH"),
    (Flags::URG, "URG"),
    (Flags::ECE, "ECE"),
    (Flags::CWR, "CWR"),
    (Flags::AE, "AE"),
    (Flags::ACK, "ACK"),
];

/// Names of control bits, for example `FIN,ACK`; `none` if there are none.
#[must_use]
pub fn flag_names(flags: Flags) -> String {
    let set: Vec<_> = NAMES.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, n)| *n).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

/// The TCP segment in a packet without IPv6 extension headers.
#[must_use]
pub fn segment_of(packet: &[u8]) -> Option<(ip::Packet<'_>, Segment<'_>)> {
    let packet = ip::Packet::parse(packet).ok().filter(|p| p.protocol() == protocol::TCP)?;
    let segment = Segment::parse(packet.payload()).ok()?;
    Some((packet, segment))
}

/// A segment that was sent. Numbers count from the first byte behind the SYN of their side, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who sent it.
    pub from: Side,
    /// When it left.
    pub at: Instant,
    /// When it arrives; `None` if it is lost.
    pub arrives: Option<Instant>,
    /// The sender's address.
    pub local: SocketAddr,
    /// The receiver's address.
    pub remote: SocketAddr,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub seq: i32,
    /// Acknowledgement number; `None` without the ACK bit.
    pub ack: Option<i32>,
    /// Bytes of data.
    pub len: usize,
    /// The window field, not scaled.
    pub window: u16,
    /// Sequence number as it is on the wire.
    pub wire_seq: SeqNumber,
    /// No stack sent it.
    pub by_hand: bool,
}

impl Sent {
    /// All of these control bits are set.
    #[must_use]
    pub fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// In a line, PSH left out: `FIN,ACK 100(0) ack 300`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} {}({})", flag_names(self.flags - Flags::PSH), self.seq, self.len);
        if let Some(ack) = self.ack {
            text += &format!(" ack {ack}");
        }
        text
    }
}

/// Reads the segments of a log.
pub(crate) fn segments(packets: &[Packet]) -> Vec<Sent> {
    // Of each connection as its sender sees it: the number behind the SYN.
    let mut first: HashMap<(SocketAddr, SocketAddr), SeqNumber> = HashMap::new();
    let mut sent = Vec::new();
    for packet in packets {
        let Some((ip, tcp)) = segment_of(&packet.bytes) else { continue };
        let local = SocketAddr::new(ip.src(), tcp.src_port);
        let remote = SocketAddr::new(ip.dst(), tcp.dst_port);
        if tcp.flags.contains(Flags::SYN) {
            let known = first.entry((local, remote)).or_insert(tcp.seq + 1);
            // A stack's own SYN begins anew; a stranger's does not.
            if !packet.by_hand {
                *known = tcp.seq + 1;
            }
        }
        let base = |from, to, number: SeqNumber| match first.get(&(from, to)) {
            Some(first) => number - *first,
            None => number.0.cast_signed(),
        };
        sent.push(Sent {
            from: packet.from,
            at: packet.sent,
            arrives: packet.arrives,
            local,
            remote,
            flags: tcp.flags,
            seq: base(local, remote, tcp.seq),
            ack: tcp.flags.contains(Flags::ACK).then(|| base(remote, local, tcp.ack)),
            len: tcp.payload.len(),
            window: tcp.window,
            wire_seq: tcp.seq,
            by_hand: packet.by_hand,
        });
    }
    sent
}

/// Builds the packet of a segment that is written by hand, with its checksums.
///
/// # Errors
/// If the addresses are of two families, or the segment is longer than a packet can be.
pub fn build(from: SocketAddr, to: SocketAddr, header: &Header, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let repr = Repr {
        src_port: from.port(),
        dst_port: to.port(),
        seq: header.seq,
        ack: header.ack,
        flags: header.flags,
        window: header.window,
        urgent: 0,
        options: header.options,
    };
    let header_len = repr.header_len();
    let payload_len = header_len + payload.len();
    let mut bytes = vec![0; ipv6::HEADER_LEN + payload_len];
    let at = match (from.ip(), to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Repr { src, dst, protocol: protocol::TCP, ttl: 64, tos: 0, id: 0, df: true, payload_len }
                .emit(&mut bytes)?
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr {
            src,
            dst,
            next_header: protocol::TCP,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len,
        }
        .emit(&mut bytes)?,
        _ => return Err(Error::BadHeaderLength),
    };
    bytes.truncate(at + payload_len);
    let segment = bytes.get_mut(at..).ok_or(Error::BufferTooSmall)?;
    repr.emit_header(segment)?;
    segment.get_mut(header_len..).ok_or(Error::BufferTooSmall)?.copy_from_slice(payload);
    tcp::fill_checksum(from.ip(), to.ip(), segment)?;
    Ok(bytes)
}

/// What a segment that is written by hand says, in numbers as they are on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub seq: SeqNumber,
    /// Acknowledgement number.
    pub ack: SeqNumber,
    /// Window field.
    pub window: u16,
    /// Options.
    pub options: Options,
}

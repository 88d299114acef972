//! Packets, built and read with the wire crate alone.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use lastack_core::Instant;
use lastack_core::wire::checksum::Sum;
use lastack_core::wire::tcp::{self, Flags, Options, Repr, Segment};
use lastack_core::wire::{SeqNumber, icmp, icmpv6, ip, ipv4, ipv6};

const NAMES: [(Flags, &str); 9] = [
    (Flags::SYN, "SYN"),
    (Flags::FIN, "FIN"),
    (Flags::RST, "RST"),
    (Flags::PSH, "PSH"),
    (Flags::ACK, "ACK"),
    (Flags::URG, "URG"),
    (Flags::ECE, "ECE"),
    (Flags::CWR, "CWR"),
    (Flags::AE, "AE"),
];

/// Flags from their names: `"FIN,ACK"`; an empty text is none.
pub fn flags(text: &str) -> Flags {
    let one = |name: &str| {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.unwrap_or_else(|| panic!("no flag {name:?}")).0
    };
    text.split(',').filter(|name| !name.is_empty()).map(one).fold(Flags::empty(), |all, flag| all | flag)
}

fn flag_names(flags: Flags) -> String {
    // PSH says nothing about the life of a connection.
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(flag, _)| flags.contains(*flag) && *flag != Flags::PSH)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() { "none".into() } else { names.join(",") }
}

/// A segment of the peer to be sent; numbers are relative to the connection.
#[derive(Clone, Debug)]
pub struct SegSpec {
    pub flags: Flags,
    /// SEQ, relative to the peer's first byte.
    pub seq: i64,
    /// ACK, relative to the stack's first byte.
    pub ack: i64,
    pub payload: Vec<u8>,
    /// The window field; `None` = the rig's.
    pub window: Option<u16>,
    /// Options; `None` = those of any segment of the connection.
    pub options: Option<Options>,
    pub urgent: u16,
    /// Flip a bit of the checksum.
    pub bad_checksum: bool,
}

/// A segment of the peer: flags by name, relative numbers.
pub fn seg(names: &str, seq: i64, ack: i64) -> SegSpec {
    SegSpec {
        flags: flags(names),
        seq,
        ack,
        payload: Vec::new(),
        window: None,
        options: None,
        urgent: 0,
        bad_checksum: false,
    }
}

impl SegSpec {
    pub fn data(mut self, data: &[u8]) -> Self {
        self.payload = data.to_vec();
        self
    }

    /// `n` bytes of text.
    pub fn len(self, n: usize) -> Self {
        let text: Vec<u8> = (0..n).map(|i| b'a' + (i % 26) as u8).collect();
        self.data(&text)
    }

    pub fn win(mut self, window: u16) -> Self {
        self.window = Some(window);
        self
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = Some(options);
        self
    }

    /// Timestamps TSval and TSecr instead of the usual options.
    pub fn ts(self, value: u32, echo: u32) -> Self {
        self.options(Options { timestamps: Some((value, echo)), ..Options::default() })
    }

    pub fn bad_checksum(mut self) -> Self {
        self.bad_checksum = true;
        self
    }
}

/// A segment that the stack sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// Source and destination.
    pub ports: (u16, u16),
    pub flags: Flags,
    pub seq: SeqNumber,
    pub ack: SeqNumber,
    /// SEQ, relative to the stack's first byte.
    pub rel_seq: i32,
    /// ACK, relative to the peer's first byte.
    pub rel_ack: i32,
    pub window: u16,
    pub options: Options,
    pub payload: Vec<u8>,
    pub packet: Vec<u8>,
}

/// Writes the DSCP and the ECN bits of a packet.
pub fn set_tos(packet: &mut [u8], tos: u8) {
    if packet[0] >> 4 == 6 {
        packet[0] = 0x60 | tos >> 4;
        packet[1] = tos << 4 | packet[1] & 0xf;
        return;
    }
    packet[1] = tos;
    packet[10..12].fill(0);
    let mut sum = Sum::new();
    sum.add_bytes(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.finish().to_be_bytes());
}

impl Sent {
    /// Type of service, or traffic class.
    pub fn tos(&self) -> u8 {
        ip::Packet::parse(&self.packet).expect("it was read before").tos()
    }

    /// Reads a packet with TCP in it; `None` for any other.
    pub fn parse(at: Instant, packet: &[u8], iss: SeqNumber, peer_iss: SeqNumber) -> Option<Self> {
        let (src, dst, protocol, payload) = match ip::Packet::parse(packet).ok()? {
            ip::Packet::V4(p) => (IpAddr::V4(p.src()), IpAddr::V4(p.dst()), p.protocol(), p.payload()),
            ip::Packet::V6(p) => (IpAddr::V6(p.src()), IpAddr::V6(p.dst()), p.next_header(), p.payload()),
        };
        if protocol != ip::protocol::TCP {
            return None;
        }
        assert!(tcp::verify_checksum(src, dst, payload), "the stack sent a wrong checksum");
        let segment = Segment::parse(payload).expect("the stack sent a bad header");
        Some(Self {
            at,
            ports: (segment.src_port, segment.dst_port),
            flags: segment.flags,
            seq: segment.seq,
            ack: segment.ack,
            rel_seq: segment.seq - (iss + 1),
            rel_ack: segment.ack - (peer_iss + 1),
            window: segment.window,
            options: segment.options,
            payload: segment.payload.to_vec(),
            packet: packet.to_vec(),
        })
    }

    /// `FIN,ACK 0(5) ack 1`: flags, SEQ, bytes of text, ACK; relative numbers. SEQ 0 of a reflex RST is `#0`.
    pub fn text(&self) -> String {
        let reflex = self.flags.contains(Flags::RST | Flags::ACK) && self.seq == SeqNumber(0);
        let seq = if reflex { String::from("#0") } else { self.rel_seq.to_string() };
        let mut text = format!("{} {seq}({})", flag_names(self.flags), self.payload.len());
        if self.flags.contains(Flags::ACK) {
            text += &format!(" ack {}", self.rel_ack);
        }
        text
    }

    /// SACK blocks, relative to the peer's first byte.
    pub fn sack(&self, peer_iss: SeqNumber) -> Vec<(i32, i32)> {
        self.options.sack.iter().map(|(a, b)| (*a - (peer_iss + 1), *b - (peer_iss + 1))).collect()
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Addresses of the stack and of its peer.
pub fn addresses(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ([192, 0, 2, 1].into(), [192, 0, 2, 2].into())
    }
}

fn ip_packet(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; 40 + payload.len()];
    let len = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Repr { src, dst, protocol, ttl: 64, tos: 0, id: 0, df: true, payload_len: payload.len() }
                .emit(&mut buf)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr {
            src,
            dst,
            next_header: protocol,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len: payload.len(),
        }
        .emit(&mut buf),
        _ => panic!("mixed address families"),
    }
    .unwrap();
    buf.truncate(len);
    buf.extend_from_slice(payload);
    buf
}

/// The packet of a segment.
pub fn tcp_packet(src: SocketAddr, dst: SocketAddr, repr: &Repr, payload: &[u8], bad: bool) -> Vec<u8> {
    let mut segment = vec![0; repr.header_len()];
    repr.emit_header(&mut segment).unwrap();
    segment.extend_from_slice(payload);
    tcp::fill_checksum(src.ip(), dst.ip(), &mut segment).unwrap();
    if bad {
        segment[tcp::CHECKSUM_OFFSET] ^= 0x40;
    }
    ip_packet(src.ip(), dst.ip(), ip::protocol::TCP, &segment)
}

/// An ICMP error of a router about a segment with `seq` that went from `src` to `dst`. `kind`: `"port"`, `"protocol"`
/// (IPv4 only), `"net"`, `"host"`, `"ttl"`, `"parameter"`, or `"big"` with the MTU.
pub fn icmp_error(kind: &str, mtu: u16, src: SocketAddr, dst: SocketAddr, seq: SeqNumber) -> Vec<u8> {
    let repr = Repr { src_port: src.port(), dst_port: dst.port(), seq, flags: Flags::ACK, ..Repr::default() };
    let quoted = tcp_packet(src, dst, &repr, &[], false);
    match (src.ip(), dst.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            use icmp::{Message, Unreachable};
            let unreachable =
                |code, next_hop_mtu| Message::DestinationUnreachable { code, next_hop_mtu, quoted: &quoted };
            let message = match kind {
                "port" => unreachable(Unreachable::Port, 0),
                "protocol" => unreachable(Unreachable::Protocol, 0),
                "net" => unreachable(Unreachable::Network, 0),
                "host" => unreachable(Unreachable::Host, 0),
                "big" => unreachable(Unreachable::FragmentationNeeded, mtu),
                "ttl" => Message::TimeExceeded { code: 0, quoted: &quoted },
                "parameter" => Message::ParameterProblem { code: 0, pointer: 1, quoted: &quoted },
                _ => panic!("no ICMP error {kind:?}"),
            };
            let mut body = vec![0; message.emitted_len()];
            message.emit(&mut body).unwrap();
            ip_packet(dst.ip(), src.ip(), ip::protocol::ICMP, &body)
        }
        (IpAddr::V6(ours), IpAddr::V6(router)) => {
            use icmpv6::{Message, Unreachable};
            let message = match kind {
                "port" => Message::DestinationUnreachable { code: Unreachable::Port, quoted: &quoted },
                "net" => Message::DestinationUnreachable { code: Unreachable::NoRoute, quoted: &quoted },
                "host" => Message::DestinationUnreachable { code: Unreachable::Address, quoted: &quoted },
                "big" => Message::PacketTooBig { mtu: mtu.into(), quoted: &quoted },
                "ttl" => Message::TimeExceeded { code: 0, quoted: &quoted },
                "parameter" => Message::ParameterProblem { code: 0, pointer: 1, quoted: &quoted },
                _ => panic!("no ICMPv6 error {kind:?}"),
            };
            let mut body = vec![0; message.emitted_len()];
            message.emit(router, ours, &mut body).unwrap();
            ip_packet(dst.ip(), src.ip(), ip::protocol::ICMPV6, &body)
        }
        _ => panic!("mixed address families"),
    }
}

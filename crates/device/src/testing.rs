//! Packets for the tests.

use std::net::IpAddr;

use lastack_wire::{ChecksumState, Gso, GsoKind, PacketMeta, SeqNumber, ip, ipv4, ipv6, tcp};

/// A TCP packet between the addresses with what `tcp` says, partial checksum; split in segments of `gso` bytes if that
/// is not 0.
pub(crate) fn tcp_packet(
    src: IpAddr,
    dst: IpAddr,
    tcp: &tcp::Repr,
    payload: &[u8],
    gso: u16,
) -> (PacketMeta, Vec<u8>) {
    let payload_len = tcp.header_len() + payload.len();
    let mut packet = vec![0; 40 + payload_len];
    let (at, kind) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let protocol = ip::protocol::TCP;
            let ip = ipv4::Repr { src, dst, protocol, ttl: 64, tos: 0, id: 0xfffe, df: true, payload_len };
            (ip.emit(&mut packet).unwrap(), GsoKind::TcpV4)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let next_header = ip::protocol::TCP;
            let (traffic_class, flow_label) = (0, 0x12345);
            let ip =
                ipv6::Repr { src, dst, next_header, hop_limit: 64, traffic_class, flow_label, payload_len };
            (ip.emit(&mut packet).unwrap(), GsoKind::TcpV6)
        }
        _ => panic!("mixed families"),
    };
    packet.truncate(at + payload_len);
    let header = tcp.emit_header(&mut packet[at..]).unwrap();
    packet[at + header..].copy_from_slice(payload);
    tcp::set_partial_checksum(src, dst, &mut packet[at..]).unwrap();
    let gso = (gso != 0).then_some(Gso { kind, size: gso, hdr_len: (at + header) as u16 });
    let checksum = ChecksumState::Partial { start: at as u16, offset: 16 };
    (PacketMeta { checksum, gso }, packet)
}

/// A header with every flag whose treatment depends on the segment.
pub(crate) fn header(seq: u32) -> tcp::Repr {
    use tcp::Flags;
    tcp::Repr {
        src_port: 1000,
        dst_port: 2000,
        seq: SeqNumber(seq),
        ack: SeqNumber(77),
        flags: Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR,
        window: 500,
        options: tcp::Options { timestamps: Some((1, 2)), ..Default::default() },
        ..Default::default()
    }
}

/// Addresses of one family.
pub(crate) fn addresses(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
    }
}

/// Bytes that differ from their neighbours.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Reads a packet with lastack-wire and panics unless its TCP checksum is right.
pub(crate) fn parse(packet: &[u8]) -> (ip::Packet<'_>, tcp::Segment<'_>) {
    let ip = ip::Packet::parse(packet).unwrap();
    assert!(tcp::verify_checksum(ip.src(), ip.dst(), ip.payload()), "bad TCP checksum");
    (ip, tcp::Segment::parse(ip.payload()).unwrap())
}

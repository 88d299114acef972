use lastack_wire::tcp::Flags;
use lastack_wire::{ChecksumState, Gso, GsoKind, PacketMeta, ip};
use proptest::prelude::*;

use super::*;
use crate::testing::{addresses, bytes, header, parse, tcp_packet};

fn split(meta: &PacketMeta, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let count = segment(meta, packet, &mut |segment: &[u8]| out.push(segment.to_vec())).unwrap();
    assert_eq!(count, out.len());
    out
}

proptest! {
    /// Every segment is read by lastack-wire, which shares no code with the splitter but the checksum.
    #[test]
    fn segments_are_valid_and_carry_the_payload_once(
        v6: bool, len in 0usize..9000, size in 1u16..3000, seq: u32,
    ) {
        let (src, dst) = addresses(v6);
        let payload = bytes(len);
        let (meta, packet) = tcp_packet(src, dst, &header(seq), &payload, size);
        let segments = split(&meta, &packet);
        let mut joined = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let (ip, tcp) = parse(segment);
            if let ip::Packet::V4(ip) = ip {
                prop_assert_eq!(ip.id(), 0xfffe_u16.wrapping_add(index as u16));
            }
            prop_assert_eq!(ip.header_len() + ip.payload().len(), segment.len());
            prop_assert_eq!(tcp.seq.0, seq.wrapping_add(joined.len() as u32));
            let last = index + 1 == segments.len();
            prop_assert_eq!(tcp.flags.contains(Flags::FIN), last);
            prop_assert_eq!(tcp.flags.contains(Flags::PSH), last);
            prop_assert_eq!(tcp.flags.contains(Flags::CWR), index == 0);
            prop_assert!(tcp.flags.contains(Flags::ACK));
            prop_assert_eq!(tcp.options.timestamps, Some((1, 2)));
            prop_assert!(last || tcp.payload.len() == usize::from(size));
            joined.extend_from_slice(tcp.payload);
        }
        prop_assert_eq!(joined, payload);
    }

    #[test]
    fn finished_checksum_is_valid(v6: bool, len in 0usize..3000, seq: u32) {
        let (src, dst) = addresses(v6);
        let (meta, mut packet) = tcp_packet(src, dst, &header(seq), &bytes(len), 0);
        finish_checksum(&meta, &mut packet).unwrap();
        parse(&packet);
    }

    #[test]
    fn arbitrary_bytes_and_meta_never_panic(
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        start: u16, offset in 0u16..100, size: u16, v6: bool, partial: bool, gso: bool, version in 0u8..16,
    ) {
        if let Some(first) = packet.first_mut() {
            *first = version << 4 | *first & 0xf;
        }
        let kind = if v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
        let start = start % 256;
        let meta = PacketMeta {
            checksum: if partial { ChecksumState::Partial { start, offset } } else { ChecksumState::Complete },
            gso: gso.then_some(Gso { kind, size, hdr_len: 40 }),
        };
        let _ = segment(&meta, &packet, &mut |_: &[u8]| {});
        let _ = finish_checksum(&meta, &mut packet);
    }
}

#[test]
fn extension_headers_are_repeated_in_every_segment() {
    let (src, dst) = addresses(true);
    let payload = bytes(5000);
    let (_, plain) = tcp_packet(src, dst, &header(1), &payload, 1000);
    let mut packet = plain[..40].to_vec();
    // An empty destination options header: next header TCP, 8 bytes, PadN.
    packet.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend_from_slice(&plain[40..]);
    packet[6] = 60;
    let gso = Some(Gso { kind: GsoKind::TcpV6, size: 1000, hdr_len: 0 });
    let segments = split(&PacketMeta { checksum: ChecksumState::Complete, gso }, &packet);
    assert_eq!(segments.len(), 5);
    for segment in &segments {
        assert_eq!(segment[40..48], packet[40..48]);
        let tcp = &segment[48..];
        assert!(lastack_wire::tcp::verify_checksum(src, dst, tcp));
        assert_eq!(usize::from(u16::from_be_bytes([segment[4], segment[5]])), segment.len() - 40);
    }
}

#[test]
fn udp_checksum_of_zero_is_sent_as_all_ones() {
    // Header and pseudo-header sum chosen so that the whole adds up to 0xffff.
    let mut packet = [0, 1, 0, 2, 0, 8, 0xff, 0xff - 11];
    let meta = PacketMeta { checksum: ChecksumState::Partial { start: 0, offset: 6 }, gso: None };
    finish_checksum(&meta, &mut packet).unwrap();
    assert_eq!(packet[6..], [0xff, 0xff]);
}

#[test]
fn what_is_not_whole_tcp_is_refused() {
    let (src, dst) = addresses(false);
    let (meta, packet) = tcp_packet(src, dst, &header(1), &bytes(3000), 1000);
    let refused = |packet: &[u8], meta: &PacketMeta| Segments::new(meta, packet).unwrap_err();
    let mut fragment = packet.clone();
    fragment[6] = 0x20;
    assert_eq!(refused(&fragment, &meta), SplitError::NotTcp);
    assert_eq!(refused(&packet[..45], &meta), SplitError::NotTcp);
    let mut zero = meta;
    zero.gso.as_mut().unwrap().size = 0;
    assert_eq!(refused(&packet, &zero), SplitError::ZeroSize);
    let mut family = meta;
    family.gso.as_mut().unwrap().kind = GsoKind::TcpV6;
    assert_eq!(refused(&packet, &family), SplitError::NotTcp);
    let outside = PacketMeta { checksum: ChecksumState::Partial { start: 3050, offset: 16 }, gso: None };
    assert_eq!(refused(&packet, &outside), SplitError::ChecksumField);
}

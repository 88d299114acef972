use proptest::prelude::*;

use super::*;
use crate::testing::{addresses, bytes, header, tcp_packet};

#[test]
fn header_and_meta_round_trip() {
    for v6 in [false, true] {
        let (src, dst) = addresses(v6);
        let (meta, mut packet) = tcp_packet(src, dst, &header(1), &bytes(5000), 1000);
        let mut plain = meta;
        plain.gso = None;
        let verified = PacketMeta { checksum: ChecksumState::Verified, gso: None };
        for meta in [meta, plain, verified, PacketMeta::default()] {
            let encoded = encode(&meta, &mut packet).unwrap();
            assert_eq!(decode(&encoded, 0, &packet), Some(meta));
        }
    }
}

#[test]
fn header_length_from_the_kernel_is_not_trusted() {
    let (src, dst) = addresses(false);
    let (meta, mut packet) = tcp_packet(src, dst, &header(1), &bytes(5000), 1000);
    let mut encoded = encode(&meta, &mut packet).unwrap();
    encoded[2..4].copy_from_slice(&9999u16.to_ne_bytes());
    assert_eq!(decode(&encoded, 0, &packet), Some(meta));
}

#[test]
fn finished_checksum_of_a_segmented_packet_is_made_partial() {
    let (src, dst) = addresses(false);
    let (meta, packet) = tcp_packet(src, dst, &header(1), &bytes(5000), 1000);
    let mut finished = packet.clone();
    crate::split::finish_checksum(&meta, &mut finished).unwrap();
    assert_ne!(finished, packet);
    let complete = PacketMeta { checksum: ChecksumState::Complete, gso: meta.gso };
    let encoded = encode(&complete, &mut finished).unwrap();
    assert_eq!(finished, packet);
    assert_eq!(decode(&encoded, 0, &packet), Some(meta));
}

#[test]
fn congestion_window_reduced_sets_the_ecn_bit() {
    let (src, dst) = addresses(false);
    let (meta, mut packet) = tcp_packet(src, dst, &header(1), &bytes(5000), 1000);
    assert_eq!(encode(&meta, &mut packet).unwrap()[1], GSO_TCPV4 | GSO_ECN);
}

proptest! {
    #[test]
    fn arbitrary_headers_never_panic(
        encoded: [u8; VNET_HDR], mut packet in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Some(meta) = decode(&encoded, 0, &packet) {
            prop_assert!(crate::split::Segments::new(&meta, &packet).is_ok());
            prop_assert!(encode(&meta, &mut packet).is_ok());
        }
    }
}

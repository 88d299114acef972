use std::vec;

use proptest::prelude::*;

use super::*;

#[test]
fn version_field_chooses_the_format() {
    let v4 = ipv4::Repr {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: protocol::UDP,
        ttl: 9,
        tos: 3,
        id: 0,
        df: true,
        payload_len: 2,
    };
    let mut bytes = vec![0xee; 30];
    v4.emit(&mut bytes).unwrap();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.src(), packet.dst()), (v4.src.into(), v4.dst.into()));
    assert_eq!((packet.protocol(), packet.ttl(), packet.tos()), (protocol::UDP, 9, 3));
    assert_eq!((packet.header_len(), packet.payload()), (20, &[0xee; 2][..]));

    let v6 = ipv6::Repr {
        src: [1; 16].into(),
        dst: [2; 16].into(),
        next_header: protocol::TCP,
        hop_limit: 8,
        traffic_class: 2,
        flow_label: 5,
        payload_len: 3,
    };
    let mut bytes = vec![0xee; 50];
    v6.emit(&mut bytes).unwrap();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.src(), packet.dst()), (v6.src.into(), v6.dst.into()));
    assert_eq!((packet.protocol(), packet.ttl(), packet.tos()), (protocol::TCP, 8, 2));
    assert_eq!((packet.header_len(), packet.payload()), (40, &[0xee; 3][..]));
}

#[test]
fn other_versions_and_no_bytes_are_refused() {
    for version in (0..16u8).filter(|v| *v != 4 && *v != 6) {
        assert_eq!(Packet::parse(&[version << 4; 60]).map(|_| ()), Err(Error::BadVersion));
    }
    assert_eq!(Packet::parse(&[]).map(|_| ()), Err(Error::Truncated));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.header_len() + packet.payload().len() <= bytes.len());
        }
    }
}

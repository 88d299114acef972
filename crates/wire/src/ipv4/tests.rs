use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_repr()(
        src: [u8; 4],
        dst: [u8; 4],
        bytes: (u8, u8, u8),
        id: u16,
        df: bool,
        payload_len in 0usize..100,
    ) -> Repr {
        let (protocol, ttl, tos) = bytes;
        Repr { src: src.into(), dst: dst.into(), protocol, ttl, tos, id, df, payload_len }
    }
}

fn sample() -> Repr {
    Repr {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: 6,
        ttl: 64,
        tos: 0b1010_1011,
        id: 7,
        df: true,
        payload_len: 4,
    }
}

fn build(repr: &Repr) -> Vec<u8> {
    let mut bytes = vec![0; repr.total_len()];
    assert_eq!(repr.emit(&mut bytes), Ok(HEADER_LEN));
    bytes
}

/// Makes the header checksum right again after a change; the header is `len` bytes long.
fn refill(bytes: &mut [u8], len: usize) {
    bytes[10..12].fill(0);
    let mut sum = Sum::new();
    sum.add_bytes(&bytes[..len]);
    bytes[10..12].copy_from_slice(&sum.finish().to_be_bytes());
}

proptest! {
    #[test]
    fn parsed_packet_is_the_built_one(repr in any_repr(), extra in 0usize..20) {
        let mut bytes = build(&repr);
        bytes.extend(vec![0xee; extra]);
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet.repr(), repr);
        prop_assert_eq!(packet.total_len(), repr.total_len());
        prop_assert!(!packet.is_fragment() && packet.options().is_empty());
    }

    #[test]
    fn parsed_fragment_is_the_built_one(repr in any_repr(), units in 0u16..0x2000, more: bool) {
        let mut bytes = vec![0; repr.total_len()];
        repr.emit_fragment(units * 8, more, &mut bytes).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!((packet.frag_offset(), packet.mf(), packet.df()), (units * 8, more, repr.df));
        prop_assert_eq!(packet.is_fragment(), units != 0 || more);
    }

    #[test]
    fn every_bit_flip_in_the_header_is_noticed_or_refused(repr in any_repr(), bit in 0usize..160) {
        let mut bytes = build(&repr);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Packet::parse(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        first in prop_oneof![Just(0x45u8), 0x40u8..0x50, any::<u8>()],
        fix: bool,
    ) {
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let len = usize::from(first & 15) * 4;
        if fix && len >= HEADER_LEN && bytes.len() >= len {
            let total = (bytes.len() as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&total);
            refill(&mut bytes, len);
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert_eq!(packet.header_len() + packet.payload().len(), packet.total_len());
            prop_assert!(packet.total_len() <= bytes.len());
        }
    }
}

#[test]
fn options_are_kept_apart_from_the_payload() {
    let mut bytes = build(&Repr { payload_len: 8, ..sample() });
    bytes[0] = 0x46;
    bytes[20..].copy_from_slice(&[0x94, 4, 0, 0, 1, 2, 3, 4]);
    refill(&mut bytes, 24);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.header_len(), 24);
    assert_eq!(packet.options(), [0x94, 4, 0, 0]);
    assert_eq!(packet.payload(), [1, 2, 3, 4]);
    assert_eq!((packet.dscp(), packet.ecn()), (0b10_1010, 0b11));
}

#[test]
fn wrong_version_and_lengths_are_refused() {
    let good = build(&sample());
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        refill(&mut bytes, 20);
        Packet::parse(&bytes).map(|_| ())
    };
    assert_eq!(broken(|_| ()), Ok(()));
    assert_eq!(broken(|b| b[0] = 0x65), Err(Error::BadVersion));
    assert_eq!(broken(|b| b[0] = 0x44), Err(Error::BadHeaderLength));
    assert_eq!(broken(|b| b[3] = 19), Err(Error::BadTotalLength));
    assert_eq!(broken(|b| b[0] = 0x4f), Err(Error::BadTotalLength));
    assert_eq!(broken(|b| b[3] = 25), Err(Error::Truncated));
    assert_eq!(Packet::parse(&good[..23]).map(|_| ()), Err(Error::Truncated));
    let mut bytes = good.clone();
    bytes[8] -= 1;
    assert_eq!(Packet::parse(&bytes).map(|_| ()), Err(Error::BadChecksum));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    assert_eq!(sample().emit(&mut [0; 19]), Err(Error::BufferTooSmall));
    assert_eq!(Repr { payload_len: 65515, ..sample() }.emit(&mut [0; 20]), Ok(20));
    assert_eq!(Repr { payload_len: 65516, ..sample() }.emit(&mut [0; 20]), Err(Error::TooLong));
    assert_eq!(Repr { payload_len: usize::MAX, ..sample() }.emit(&mut [0; 20]), Err(Error::TooLong));
    assert_eq!(sample().emit_fragment(4, true, &mut [0; 20]), Err(Error::BadFragmentOffset));
}

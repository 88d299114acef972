use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn v4() -> (IpAddr, IpAddr) {
    (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into())
}

fn v6() -> (IpAddr, IpAddr) {
    (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::from([0xfd; 16]).into())
}

fn build(repr: &Repr, payload: &[u8], (src, dst): (IpAddr, IpAddr)) -> Vec<u8> {
    let mut datagram = vec![0; HEADER_LEN + payload.len()];
    let at = repr.emit_header(&mut datagram).unwrap();
    datagram[at..].copy_from_slice(payload);
    fill_checksum(src, dst, &mut datagram).unwrap();
    datagram
}

#[test]
fn zero_checksum_is_allowed_over_ipv4_and_refused_over_ipv6() {
    let mut datagram = build(&Repr { src_port: 1, dst_port: 2, payload_len: 3 }, b"abc", v4());
    datagram[6..8].fill(0);
    assert_eq!(verify_checksum(v4().0, v4().1, &datagram), Ok(()));
    assert_eq!(verify_checksum(v6().0, v6().1, &datagram), Err(Error::ZeroChecksum));
}

#[test]
fn checksum_that_comes_to_zero_is_sent_as_ones() {
    // The two bytes of data make up for the rest of the sum.
    let (src, dst) = v4();
    let mut datagram = build(&Repr { src_port: 1, dst_port: 2, payload_len: 2 }, &[0, 0], v4());
    let missing = [datagram[6], datagram[7]];
    datagram[8..].copy_from_slice(&missing);
    fill_checksum(src, dst, &mut datagram).unwrap();
    assert_eq!(datagram[6..8], [0xff, 0xff]);
    assert_eq!(verify_checksum(src, dst, &datagram), Ok(()));
}

#[test]
fn length_field_below_the_header_or_past_the_end_is_refused() {
    for len in 0..8u8 {
        let bytes = [0, 1, 0, 2, 0, len, 0, 0, 9, 9];
        assert_eq!(Datagram::parse(&bytes), Err(Error::BadTotalLength));
    }
    assert_eq!(Datagram::parse(&[0, 1, 0, 2, 0, 11, 0, 0, 9, 9]), Err(Error::Truncated));
    assert_eq!(Datagram::parse(&[0, 1, 0, 2, 0, 9, 0, 0, 9, 9]).unwrap().payload, [9]);
    assert_eq!(Datagram::parse(&[0; 7]), Err(Error::Truncated));
}

#[test]
fn writing_into_a_short_buffer_or_too_much_data_is_an_error() {
    let repr = Repr { src_port: 1, dst_port: 2, payload_len: 65527 };
    assert_eq!(repr.emit_header(&mut [0; 7]), Err(Error::BufferTooSmall));
    assert_eq!(repr.emit_header(&mut [0; 8]), Ok(8));
    assert_eq!(Repr { payload_len: 65528, ..repr }.emit_header(&mut [0; 8]), Err(Error::TooLong));
    assert_eq!(Repr { payload_len: usize::MAX, ..repr }.emit_header(&mut [0; 8]), Err(Error::TooLong));
    assert_eq!(fill_checksum(v4().0, v4().1, &mut [0; 7]), Err(Error::BufferTooSmall));
}

proptest! {
    #[test]
    fn parsed_datagram_is_the_built_one(
        src_port: u16,
        dst_port: u16,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        over_v6: bool,
    ) {
        let ends = if over_v6 { v6() } else { v4() };
        let repr = Repr { src_port, dst_port, payload_len: payload.len() };
        let datagram = build(&repr, &payload, ends);
        let parsed = Datagram::parse(&datagram).unwrap();
        prop_assert_eq!(parsed.repr(), repr);
        prop_assert_eq!(parsed.payload, &payload[..]);
        prop_assert_eq!(verify_checksum(ends.0, ends.1, &datagram), Ok(()));
    }

    #[test]
    fn partial_checksum_is_finished_by_the_sum_over_the_datagram(
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (src, dst) = v6();
        let mut datagram = build(&Repr { src_port: 7, dst_port: 9, payload_len: payload.len() }, &payload, v6());
        let finished = datagram.clone();
        set_partial_checksum(src, dst, &mut datagram).unwrap();
        let mut sum = Sum::new();
        sum.add_bytes(&datagram);
        let value = if sum.finish() == 0 { 0xffff } else { sum.finish() };
        datagram[6..8].copy_from_slice(&value.to_be_bytes());
        prop_assert_eq!(datagram, finished);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Datagram::parse(&bytes);
        let _ = verify_checksum(v4().0, v4().1, &bytes);
        let _ = verify_checksum(v6().0, v6().1, &bytes);
    }
}

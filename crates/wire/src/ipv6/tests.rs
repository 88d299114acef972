use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ip::protocol::{
    DESTINATION_OPTIONS as DST, FRAGMENT as FRAG, HOP_BY_HOP as HBH, NO_NEXT, ROUTING, TCP,
};

prop_compose! {
    fn any_repr()(
        src: [u8; 16],
        dst: [u8; 16],
        bytes: (u8, u8, u8),
        flow_label in 0u32..1 << 20,
        payload_len in 0usize..100,
    ) -> Repr {
        let (next_header, hop_limit, traffic_class) = bytes;
        Repr { src: src.into(), dst: dst.into(), next_header, hop_limit, traffic_class, flow_label, payload_len }
    }
}

fn build(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let repr = Repr {
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::LOCALHOST,
        next_header,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len(),
    };
    let mut bytes = vec![0; HEADER_LEN];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

/// Where the walk ends: protocol, offset of the payload, offset of the field that named the protocol.
fn walk(next_header: u8, payload: &[u8]) -> Result<(u8, usize, usize), ExtError> {
    let bytes = build(next_header, payload);
    let ext = Packet::parse(&bytes).unwrap().ext_headers()?;
    assert_eq!(ext.payload, &bytes[ext.payload_offset..]);
    Ok((ext.protocol, ext.payload_offset, ext.next_header_offset))
}

fn problem(code: u8, pointer: u32) -> ExtError {
    ExtError::ParameterProblem { code, pointer, even_if_multicast: false }
}

/// An empty options header: next header, length 8, one PadN.
const fn empty(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

proptest! {
    #[test]
    fn parsed_packet_is_the_built_one(repr in any_repr(), extra in 0usize..20) {
        let mut bytes = vec![0; repr.total_len() + extra];
        prop_assert_eq!(repr.emit(&mut bytes), Ok(HEADER_LEN));
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet.repr(), repr);
        prop_assert_eq!(packet.total_len(), repr.total_len());
        prop_assert_eq!(packet.ecn(), repr.traffic_class & 3);
    }

    #[test]
    fn parsed_fragment_header_is_the_built_one(id: u32, units in 0u16..0x2000, more: bool, next: u8) {
        let fragment = Fragment { id, offset: units * 8, more, header_offset: 40, named_at: 6 };
        let mut payload = [0xee; 11];
        prop_assert_eq!(fragment.emit(next, &mut payload), Ok(FRAGMENT_HEADER_LEN));
        let bytes = build(FRAG, &payload);
        let packet = Packet::parse(&bytes).unwrap();
        if units != 0 || more {
            let ext = packet.ext_headers().unwrap();
            prop_assert_eq!(ext.fragment, Some(fragment));
            prop_assert_eq!((ext.protocol, ext.payload_offset, ext.next_header_offset), (next, 48, 40));
            prop_assert_eq!(ext.payload, &[0xee; 3]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 40..400),
        first in prop::sample::select(vec![HBH, DST, ROUTING, FRAG, TCP]),
        keep in 0usize..400,
    ) {
        bytes[0] = 0x60;
        let len = (bytes.len() - 40) as u16;
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
        bytes[6] = first;
        if let Ok(ext) = Packet::parse(&bytes).unwrap().ext_headers() {
            prop_assert_eq!(ext.payload, &bytes[ext.payload_offset..]);
            prop_assert!(ext.next_header_offset < ext.payload_offset);
        }
        let _ = Packet::parse(&bytes[..keep.min(bytes.len())]).map(|packet| packet.ext_headers());
    }

    #[test]
    fn arbitrary_chains_of_headers_end(
        kinds in prop::collection::vec(prop::sample::select(vec![HBH, DST, ROUTING, FRAG, TCP, 200]), 1..20),
    ) {
        let mut payload = Vec::new();
        for next in kinds.iter().skip(1).chain(&[TCP]) {
            payload.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        let _ = walk(kinds[0], &payload);
    }
}

#[test]
fn wrong_version_and_lengths_are_refused() {
    let mut bytes = build(TCP, &[1, 2, 3]);
    assert_eq!(Packet::parse(&bytes[..42]).map(|_| ()), Err(Error::Truncated));
    assert_eq!(Packet::parse(&bytes[..39]).map(|_| ()), Err(Error::Truncated));
    bytes[0] = 0x45;
    assert_eq!(Packet::parse(&bytes).map(|_| ()), Err(Error::BadVersion));
}

#[test]
fn without_extension_headers_the_walk_ends_at_once() {
    assert_eq!(walk(TCP, &[1, 2, 3]), Ok((TCP, 40, 6)));
    assert_eq!(walk(NO_NEXT, &[]), Ok((NO_NEXT, 40, 6)));
    assert_eq!(walk(200, &[]), Ok((200, 40, 6)));
}

#[test]
fn known_headers_are_walked_over() {
    let mut payload = Vec::from(empty(DST));
    payload.extend(empty(ROUTING));
    payload.extend([FRAG, 0, 0, 0, 0, 0, 0, 0]);
    // A fragment header on a packet that is whole.
    payload.extend([DST, 0, 0, 0, 1, 2, 3, 4]);
    payload.extend([TCP, 1]);
    payload.extend([0x05, 2, 0, 0, 0, 0, 1, 6]);
    payload.extend([0; 6]);
    payload.extend([9, 9]);
    assert_eq!(walk(HBH, &payload), Ok((TCP, 88, 72)));
}

#[test]
fn hop_by_hop_options_elsewhere_than_first_are_a_parameter_problem() {
    let mut payload = Vec::from(empty(HBH));
    payload.extend(empty(TCP));
    assert_eq!(walk(DST, &payload), Err(problem(1, 40)));
}

#[test]
fn routing_header_with_segments_left_is_a_parameter_problem() {
    assert_eq!(walk(ROUTING, &[TCP, 0, 0, 1, 0, 0, 0, 0]), Err(problem(0, 42)));
    assert_eq!(walk(ROUTING, &[TCP, 0, 200, 0, 0, 0, 0, 0]), Ok((TCP, 48, 40)));
}

#[test]
fn unknown_options_are_treated_as_their_type_asks() {
    let option = |kind| walk(DST, &[TCP, 0, 0, kind, 2, 0, 0, 0]);
    assert_eq!(option(0x1e), Ok((TCP, 48, 40)));
    assert_eq!(option(0x5e), Err(ExtError::Discard));
    let told = |even_if_multicast| ExtError::ParameterProblem { code: 2, pointer: 43, even_if_multicast };
    assert_eq!(option(0x9e), Err(told(true)));
    assert_eq!(option(0xde), Err(told(false)));
}

#[test]
fn pointer_counts_the_headers_and_options_before_the_unknown_one() {
    let mut payload = Vec::from(empty(DST));
    payload.extend([TCP, 1, 0, 0x1e, 3, 0, 0, 0, 1, 1, 0, 0xde, 2, 0, 0, 0]);
    assert_eq!(walk(HBH, &payload), Err(problem(2, 48 + 11)));
}

#[test]
fn more_options_than_the_limit_are_refused() {
    let options = |count: usize| {
        let mut payload = vec![TCP, 3];
        payload.extend([0x1e, 0].repeat(count));
        payload.resize(32, 0);
        walk(DST, &payload)
    };
    assert_eq!(options(MAX_EXT_OPTIONS), Ok((TCP, 72, 40)));
    assert_eq!(options(MAX_EXT_OPTIONS + 1), Err(ExtError::TooMany));
}

#[test]
fn more_headers_than_the_limit_are_refused() {
    let headers = |count: usize| {
        let mut payload = empty(DST).repeat(count - 1);
        payload.extend(empty(TCP));
        walk(DST, &payload)
    };
    assert_eq!(headers(MAX_EXT_HEADERS), Ok((TCP, 40 + 8 * MAX_EXT_HEADERS, 40 + 8 * (MAX_EXT_HEADERS - 1))));
    assert_eq!(headers(MAX_EXT_HEADERS + 1), Err(ExtError::TooMany));
}

#[test]
fn header_or_option_past_the_end_is_truncated() {
    for (next, payload) in [
        (DST, &[TCP][..]),
        (DST, &[TCP, 1, 0, 0, 0, 0, 0, 0]),
        (DST, &[TCP, 0, 1, 5, 0, 0, 0, 0]),
        (DST, &[TCP, 0, 0, 0, 0, 0, 0, 1]),
        (FRAG, &[TCP, 0, 0, 1, 0, 0, 0]),
        (HBH, &[]),
    ] {
        assert_eq!(walk(next, payload), Err(ExtError::Truncated), "{next} {payload:?}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let bytes = build(TCP, &[]);
    let repr = Packet::parse(&bytes).unwrap().repr();
    assert_eq!(repr.emit(&mut [0; 39]), Err(Error::BufferTooSmall));
    assert_eq!(Repr { payload_len: 65536, ..repr }.emit(&mut [0; 40]), Err(Error::TooLong));
    let fragment = Fragment { id: 1, offset: 4, more: true, header_offset: 40, named_at: 6 };
    assert_eq!(fragment.emit(TCP, &mut [0; 8]), Err(Error::BadFragmentOffset));
    assert_eq!(Fragment { offset: 8, ..fragment }.emit(TCP, &mut [0; 7]), Err(Error::BufferTooSmall));
}

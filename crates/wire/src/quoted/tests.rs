use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{ipv4, tcp};

const PORTS_AND_SEQ: [u8; 8] = [0x12, 0x34, 0, 80, 1, 2, 3, 4];

/// An IPv4 header for `payload_len` bytes, then `upper`.
fn v4(protocol: u8, payload_len: usize, upper: &[u8]) -> Vec<u8> {
    let repr = ipv4::Repr {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol,
        ttl: 1,
        tos: 0,
        id: 0,
        df: true,
        payload_len,
    };
    let mut bytes = vec![0; 20];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(upper);
    bytes
}

fn v6(next_header: u8, payload_len: usize, upper: &[u8]) -> Vec<u8> {
    let repr = ipv6::Repr {
        src: "fd00::1".parse().unwrap(),
        dst: "fd00::2".parse().unwrap(),
        next_header,
        hop_limit: 1,
        traffic_class: 0,
        flow_label: 0,
        payload_len,
    };
    let mut bytes = vec![0; 40];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(upper);
    bytes
}

fn expected(src: &str, dst: &str, total_len: u32) -> Quoted {
    Quoted {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: protocol::TCP,
        src_port: 0x1234,
        dst_port: 80,
        tcp_seq: Some(SeqNumber(0x01020304)),
        total_len,
    }
}

#[test]
fn eight_bytes_of_tcp_name_the_connection_and_the_segment() {
    let mut bytes = v4(protocol::TCP, 1480, &PORTS_AND_SEQ);
    // Routers have changed the time to live, and some do not mend the checksum.
    bytes[10] ^= 0xff;
    assert_eq!(Quoted::parse_v4(&bytes), Ok(expected("10.0.0.1", "10.0.0.2", 1500)));
    let bytes = v6(protocol::TCP, 1460, &PORTS_AND_SEQ);
    assert_eq!(Quoted::parse_v6(&bytes), Ok(expected("fd00::1", "fd00::2", 1500)));
}

#[test]
fn ipv4_options_in_the_quote_are_skipped() {
    let mut bytes = v4(protocol::TCP, 100, &[0x94, 4, 0, 0]);
    bytes[0] = 0x46;
    bytes.extend(PORTS_AND_SEQ);
    assert_eq!(Quoted::parse_v4(&bytes), Ok(expected("10.0.0.1", "10.0.0.2", 120)));
}

#[test]
fn ipv6_extension_headers_in_the_quote_are_skipped() {
    let mut upper = vec![protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0];
    upper.extend([protocol::TCP, 0, 0, 1, 0, 0, 0, 9]);
    upper.extend(PORTS_AND_SEQ);
    let bytes = v6(protocol::DESTINATION_OPTIONS, 60, &upper);
    assert_eq!(Quoted::parse_v6(&bytes), Ok(expected("fd00::1", "fd00::2", 100)));
    upper[11] = 9;
    let bytes = v6(protocol::DESTINATION_OPTIONS, 60, &upper);
    assert_eq!(Quoted::parse_v6(&bytes), Err(Error::NotFirstFragment));
    upper[8 - 6] = 0xc7;
    let bytes = v6(protocol::DESTINATION_OPTIONS, 60, &upper);
    assert_eq!(Quoted::parse_v6(&bytes), Err(Error::BadExtensionHeader));
}

#[test]
fn first_fragment_of_ipv4_has_ports_and_a_later_one_has_none() {
    let mut bytes = v4(protocol::TCP, 100, &PORTS_AND_SEQ);
    bytes[6] = 0x20;
    assert_eq!(Quoted::parse_v4(&bytes), Ok(expected("10.0.0.1", "10.0.0.2", 120)));
    bytes[7] = 1;
    assert_eq!(Quoted::parse_v4(&bytes), Err(Error::NotFirstFragment));
}

#[test]
fn udp_needs_four_bytes_and_has_no_sequence_number() {
    let quoted = Quoted::parse_v4(&v4(protocol::UDP, 100, &PORTS_AND_SEQ[..4])).unwrap();
    assert_eq!((quoted.src_port, quoted.dst_port, quoted.tcp_seq), (0x1234, 80, None));
    assert_eq!(Quoted::parse_v4(&v4(protocol::UDP, 100, &[0; 3])), Err(Error::Truncated));
}

#[test]
fn other_protocols_have_no_ports() {
    let quoted = Quoted::parse_v4(&v4(protocol::ICMP, 100, &[])).unwrap();
    assert_eq!((quoted.protocol, quoted.src_port, quoted.dst_port), (protocol::ICMP, 0, 0));
}

#[test]
fn quote_that_is_too_short_is_refused_at_every_length() {
    let bytes = v4(protocol::TCP, 1480, &PORTS_AND_SEQ);
    for len in 0..bytes.len() {
        assert_eq!(Quoted::parse_v4(&bytes[..len]), Err(Error::Truncated), "{len}");
    }
    let bytes = v6(protocol::TCP, 1480, &PORTS_AND_SEQ);
    for len in 0..bytes.len() {
        assert_eq!(Quoted::parse_v6(&bytes[..len]), Err(Error::Truncated), "{len}");
    }
}

#[test]
fn wrong_version_and_header_length_are_refused() {
    let mut bytes = v4(protocol::TCP, 1480, &PORTS_AND_SEQ);
    assert_eq!(Quoted::parse_v6(&[&bytes[..], &[0; 40]].concat()), Err(Error::BadVersion));
    bytes[0] = 0x44;
    assert_eq!(Quoted::parse_v4(&bytes), Err(Error::BadHeaderLength));
    bytes[0] = 0x65;
    assert_eq!(Quoted::parse_v4(&bytes), Err(Error::BadVersion));
}

proptest! {
    #[test]
    fn quote_of_a_segment_says_what_the_segment_said(
        src_port: u16,
        dst_port: u16,
        seq: u32,
        keep in 8usize..20,
    ) {
        let repr = tcp::Repr { src_port, dst_port, seq: SeqNumber(seq), ..Default::default() };
        let mut header = [0; 20];
        repr.emit_header(&mut header).unwrap();
        for quoted in [
            Quoted::parse_v4(&v4(protocol::TCP, 20, &header[..keep])).unwrap(),
            Quoted::parse_v6(&v6(protocol::TCP, 20, &header[..keep])).unwrap(),
        ] {
            prop_assert_eq!((quoted.src_port, quoted.dst_port), (src_port, dst_port));
            prop_assert_eq!(quoted.tcp_seq, Some(SeqNumber(seq)));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        first in prop_oneof![0x40u8..0x50, Just(0x60u8), any::<u8>()],
    ) {
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let _ = Quoted::parse_v4(&bytes);
        let _ = Quoted::parse_v6(&bytes);
    }
}

use core::net::{Ipv4Addr, Ipv6Addr};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::tcp::{SackBlocks, UserTimeout};

const A4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn in_v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (ttl, payload_len) = (64, payload.len());
    let repr = ipv4::Repr { src: A4, dst: B4, protocol, ttl, tos: 0, id: 7, df: false, payload_len };
    let mut bytes = vec![0; 20];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

fn in_v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let repr = ipv6::Repr {
        src: A6,
        dst: B6,
        next_header,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len(),
    };
    let mut bytes = vec![0; 40];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

fn segment(repr: &tcp::Repr, payload: &[u8], (src, dst): Ends) -> Vec<u8> {
    let mut bytes = vec![0; repr.header_len() + payload.len()];
    let at = repr.emit_header(&mut bytes).unwrap();
    bytes[at..].copy_from_slice(payload);
    tcp::fill_checksum(src, dst, &mut bytes).unwrap();
    bytes
}

fn repr(flags: Flags) -> tcp::Repr {
    tcp::Repr {
        src_port: 1234,
        dst_port: 80,
        seq: SeqNumber(1001),
        ack: SeqNumber(5001),
        flags,
        window: 512,
        ..Default::default()
    }
}

fn print(bytes: &[u8]) -> String {
    PacketPrinter::new(bytes).to_string()
}

fn tcp_v4(repr: &tcp::Repr, payload: &[u8]) -> Vec<u8> {
    in_v4(protocol::TCP, &segment(repr, payload, (A4.into(), B4.into())))
}

#[test]
fn syn_shows_its_options_in_the_order_of_the_wire() {
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((10, 0)),
        user_timeout: Some(UserTimeout { minutes: true, value: 5 }),
        fast_open: tcp::FastOpen::new(&[0xa1, 2, 3, 4], false),
        ..Options::default()
    };
    assert_eq!(
        print(&tcp_v4(&tcp::Repr { options, ..repr(Flags::SYN) }, b"")),
        "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S], seq 1001, win 512, \
         options [mss 1460,sackOK,TS val 10 ecr 0,wscale 7,uto 5 min,tfo a1020304], length 0",
    );
}

#[test]
fn data_over_ipv6_shows_its_range_and_relative_numbers() {
    let mut sack = SackBlocks::new();
    sack.push(SeqNumber(5101), SeqNumber(5201));
    let repr = tcp::Repr { options: Options { sack, ..Options::default() }, ..repr(Flags::ACK | Flags::PSH) };
    let bytes = in_v6(protocol::TCP, &segment(&repr, b"hello", (A6.into(), B6.into())));
    assert_eq!(
        PacketPrinter::new(&bytes).relative(SeqNumber(1000), SeqNumber(5000)).to_string(),
        "IP6 fd00::1.1234 > fd00::2.80: Flags [P.], seq 1:6, ack 1, win 512, \
         options [sack 1 {101:201}], length 5",
    );
}

#[test]
fn bare_ack_has_no_sequence_number() {
    assert_eq!(
        print(&tcp_v4(&repr(Flags::ACK), b"")),
        "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [.], ack 5001, win 512, length 0",
    );
}

#[test]
fn every_flag_has_its_letter() {
    let line = print(&tcp_v4(&tcp::Repr { urgent: 9, ..repr(Flags::all()) }, b""));
    assert!(line.contains("Flags [FSRP.UEWe], seq 1001, ack 5001, win 512, urg 9,"), "{line}");
    assert!(print(&tcp_v4(&repr(Flags::empty()), b"")).contains("Flags [none], win"));
}

#[test]
fn wrong_transport_checksum_is_shown_only_when_asked_for() {
    let mut bytes = tcp_v4(&repr(Flags::ACK), b"");
    assert!(!PacketPrinter::new(&bytes).verify().to_string().contains("checksum"));
    bytes[36] ^= 1;
    assert!(!print(&bytes).contains("checksum"));
    assert!(PacketPrinter::new(&bytes).verify().to_string().contains("Flags [.], [bad checksum], ack"));
}

#[test]
fn udp_shows_ports_and_length() {
    let mut datagram = [0; 11];
    udp::Repr { src_port: 5000, dst_port: 53, payload_len: 3 }.emit_header(&mut datagram).unwrap();
    let bytes = in_v6(protocol::UDP, &datagram);
    assert_eq!(print(&bytes), "IP6 fd00::1.5000 > fd00::2.53: UDP, length 3");
    assert_eq!(
        PacketPrinter::new(&bytes).verify().to_string(),
        "IP6 fd00::1.5000 > fd00::2.53: UDP, [no UDP checksum over IPv6], length 3",
    );
}

#[test]
fn icmp_shows_what_an_error_is_about() {
    let quoted = tcp_v4(&repr(Flags::ACK), b"");
    let code = icmp::Unreachable::FragmentationNeeded;
    let error = icmp::Message::DestinationUnreachable { code, next_hop_mtu: 1400, quoted: &quoted[..28] };
    let mut message = vec![0; error.emitted_len()];
    error.emit(&mut message).unwrap();
    assert_eq!(
        print(&in_v4(protocol::ICMP, &message)),
        "IP 10.0.0.1 > 10.0.0.2: ICMP unreachable - need to frag (mtu 1400) \
         for tcp 10.0.0.1.1234 > 10.0.0.2.80 seq 1001, length 36",
    );
}

#[test]
fn icmpv6_echo_and_packet_too_big() {
    let show = |message: icmpv6::Message<'_>| {
        let mut bytes = vec![0; message.emitted_len()];
        message.emit(A6, B6, &mut bytes).unwrap();
        print(&in_v6(protocol::ICMPV6, &bytes))
    };
    assert_eq!(
        show(icmpv6::Message::EchoRequest { ident: 1, seq: 2, data: &[0; 56] }),
        "IP6 fd00::1 > fd00::2: ICMP6, echo request, id 1, seq 2, length 64",
    );
    assert_eq!(
        show(icmpv6::Message::PacketTooBig { mtu: 1280, quoted: &[0x60] }),
        "IP6 fd00::1 > fd00::2: ICMP6, packet too big, mtu 1280 for [packet truncated], length 9",
    );
}

#[test]
fn fragments_show_where_they_belong() {
    let mut bytes = vec![0; 28];
    let repr = ipv4::Packet::parse(&in_v4(protocol::UDP, &[0; 8])).unwrap().repr();
    repr.emit_fragment(1480, true, &mut bytes).unwrap();
    assert_eq!(print(&bytes), "IP 10.0.0.1 > 10.0.0.2: frag (id 7, offset 1480+) udp, length 8");
    let bytes = in_v6(protocol::FRAGMENT, &[protocol::TCP, 0, 0, 8, 0, 0, 0, 5, 1, 2]);
    assert_eq!(print(&bytes), "IP6 fd00::1 > fd00::2: frag (id 5, offset 8) tcp, length 2");
}

#[test]
fn malformed_packets_say_what_is_wrong() {
    assert_eq!(print(&[]), "[packet truncated], length 0");
    assert_eq!(print(&[0x10; 30]), "[bad IP version], length 30");
    let mut bytes = tcp_v4(&repr(Flags::ACK), b"");
    bytes[32] = 0x40;
    assert_eq!(print(&bytes), "IP 10.0.0.1 > 10.0.0.2: tcp, [bad header length], length 20");
    bytes[10] ^= 1;
    assert_eq!(print(&bytes), "IP [bad checksum], length 40");
    assert_eq!(
        print(&in_v6(protocol::DESTINATION_OPTIONS, &[6])),
        "IP6 fd00::1 > fd00::2: [extension header truncated], length 1",
    );
    assert_eq!(
        print(&in_v4(protocol::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0])),
        "IP 10.0.0.1 > 10.0.0.2: ICMP [bad checksum], length 8",
    );
    assert_eq!(print(&in_v4(99, &[1])), "IP 10.0.0.1 > 10.0.0.2: ip-proto-99, length 1");
}

proptest! {
    #[test]
    fn arbitrary_bytes_print_as_one_line(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let line = print(&bytes);
        prop_assert!(!line.is_empty() && !line.contains('\n'));
    }

    #[test]
    fn arbitrary_payloads_print_as_one_line(
        payload in prop::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..100),
        kind in prop::sample::select(vec![0u8, 1, 3, 4, 5, 11, 12, 128, 137]),
        protocol in prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 58, 60, 99]),
    ) {
        let (src, dst) = (SeqNumber(u32::MAX), SeqNumber(9));
        for bytes in [in_v4(protocol, &payload), in_v6(protocol, &payload)] {
            let line = PacketPrinter::new(&bytes).relative(src, dst).verify().to_string();
            prop_assert!(!line.contains('\n'));
        }
        // Messages of ICMP whose checksum is right, so that the printer looks inside.
        let v4 = icmp::Message::Ignored { kind, code: 0, rest: [0; 4], data: &payload };
        let v6 = icmpv6::Message::Ignored { kind, code: 0, rest: [0; 4], data: &payload };
        let mut message = vec![0; v4.emitted_len()];
        v4.emit(&mut message).unwrap();
        prop_assert!(!print(&in_v4(protocol::ICMP, &message)).contains("checksum"));
        v6.emit(A6, B6, &mut message).unwrap();
        prop_assert!(!print(&in_v6(protocol::ICMPV6, &message)).contains("ICMP6, [bad checksum]"));
    }
}

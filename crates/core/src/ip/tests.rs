//! Rules of IP input, each seen from outside: packets in, replies and counters out.

use super::*;
use crate::config::Config;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use lastack_wire::ip::{Packet, protocol};
use lastack_wire::{ChecksumState, Gso, GsoKind, PacketMeta, icmp, icmpv6, ipv4, ipv6};
use proptest::prelude::*;

/// An IP layer with 10.0.0.1/24 and fd00::1/64, and what it works with.
pub(super) struct Bench {
    pub(super) ip: Ip,
    pub(super) cfg: Config,
    pub(super) counters: IpCounters,
    pub(super) replies: Replies,
    pub(super) now: Instant,
}

pub(super) const OWN4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const PEER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

pub(super) fn config() -> Config {
    Config {
        addresses: ["10.0.0.1/24", "fd00::1/64"].iter().map(|text| text.parse().unwrap()).collect(),
        ..Config::default()
    }
}

impl Bench {
    pub(super) fn new(cfg: Config) -> Self {
        let ip = Ip::new(&cfg, Capabilities::plain(1500), [7; 16]);
        let (counters, replies) = (IpCounters::default(), Replies::new(cfg.reply_queue_limit));
        Self { ip, cfg, counters, replies, now: Instant::from_secs(1) }
    }

    pub(super) fn receive<'a>(&mut self, packet: &'a [u8]) -> Received<'a> {
        let meta = PacketMeta::default();
        self.ip.receive(self.now, &self.cfg, &mut self.counters, &meta, packet, &mut self.replies)
    }

    fn silent(&mut self, packet: &[u8]) -> bool {
        matches!(self.receive(packet), Received::Consumed) && self.replies.is_empty()
    }

    fn delivers(&mut self, packet: &[u8]) -> bool {
        matches!(self.receive(packet), Received::Upper(_))
    }

    pub(super) fn advance(&mut self, secs: u64) {
        self.now += core::time::Duration::from_secs(secs);
        self.ip.handle_timeout(self.now, &self.cfg, &mut self.counters, &mut self.replies);
    }
}

pub(super) fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let repr =
        ipv4::Repr { src, dst, protocol, ttl: 64, tos: 0, id: 0, df: true, payload_len: payload.len() };
    let mut packet = alloc::vec![0; repr.total_len()];
    repr.emit(&mut packet).unwrap();
    packet[20..].copy_from_slice(payload);
    packet
}

pub(super) fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let payload_len = payload.len();
    let repr =
        ipv6::Repr { src, dst, next_header, hop_limit: 64, traffic_class: 0, flow_label: 0, payload_len };
    let mut packet = alloc::vec![0; repr.total_len()];
    repr.emit(&mut packet).unwrap();
    packet[40..].copy_from_slice(payload);
    packet
}

fn v4_with_options(options: &[u8]) -> Vec<u8> {
    let mut packet = v4(PEER4, OWN4, protocol::TCP, &[0; 20]);
    let total = packet.len() + options.len();
    packet[0] = 0x45 + (options.len() / 4) as u8;
    packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    packet.splice(20..20, options.iter().copied());
    fix_checksum(&mut packet, 20 + options.len());
    packet
}

pub(super) fn fix_checksum(packet: &mut [u8], header_len: usize) {
    packet[10..12].fill(0);
    let mut sum = lastack_wire::checksum::Sum::new();
    sum.add_bytes(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.finish().to_be_bytes());
}

fn ping4(dst: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let mut message = alloc::vec![0; 8 + data.len()];
    icmp::Message::EchoRequest { ident: 1, seq: 2, data }.emit(&mut message).unwrap();
    v4(PEER4, dst, protocol::ICMP, &message)
}

fn ping6(dst: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let mut message = alloc::vec![0; 8 + data.len()];
    icmpv6::Message::EchoRequest { ident: 1, seq: 2, data }.emit(PEER6, dst, &mut message).unwrap();
    v6(PEER6, dst, protocol::ICMPV6, &message)
}

/// As Linux's `ip_rcv`: `InECT0Pkts` and the like are of packets on the wire.
#[test]
fn marks_of_merged_packets_are_counted_for_each_with_ip_options_too() {
    let no_operations = [1; 4];
    for (mut packet, header, ecn_at, ecn) in [
        (v4(PEER4, OWN4, protocol::TCP, &[0; 20 + 250]), 20, 1, 2),
        (v4_with_options(&no_operations), 24, 1, 2),
        (v6(PEER6, OWN6, protocol::TCP, &[0; 20 + 250]), 40, 1, 2 << 4),
    ] {
        packet.resize(header + 20 + 250, 0);
        packet[ecn_at] |= ecn;
        if header < 40 {
            packet[2..4].copy_from_slice(&(header as u16 + 270).to_be_bytes());
            fix_checksum(&mut packet, header);
        }
        let mut bench = Bench::new(config());
        let gso = Gso { kind: GsoKind::TcpV4, size: 100, hdr_len: header as u16 + 20 };
        let meta = PacketMeta { gso: Some(gso), checksum: ChecksumState::Verified };
        let Bench { ip, cfg, counters, replies, now } = &mut bench;
        let general = ip.receive(*now, cfg, counters, &meta, &packet, replies);
        assert!(matches!(general, Received::Upper(_)));
        assert_eq!(counters.in_ect0, 3);
        let plain = ip.receive_plain(counters, &meta, &packet).is_some();
        assert_eq!((plain, counters.in_ect0), (header != 24, if plain { 6 } else { 3 }));
    }
}

#[test]
fn tcp_to_an_own_address_is_delivered_with_its_fields() {
    let mut bench = Bench::new(config());
    let packet = v4(PEER4, OWN4, protocol::TCP, b"segment");
    let Received::Upper(datagram) = bench.receive(&packet) else { panic!("not delivered") };
    assert_eq!((datagram.src, datagram.dst), (PEER4.into(), OWN4.into()));
    assert_eq!((&*datagram.payload, datagram.packet()), (&b"segment"[..], &packet[..]));
    assert!(datagram.unicast && datagram.own && !datagram.checksum_trusted);
    assert!(bench.delivers(&v6(PEER6, OWN6, protocol::TCP, b"segment")));
}

#[test]
fn bytes_behind_the_stated_length_are_not_payload() {
    let mut bench = Bench::new(config());
    let mut packet = v4(PEER4, OWN4, protocol::UDP, b"data");
    packet.extend_from_slice(&[0xa5; 18]);
    let Received::Upper(datagram) = bench.receive(&packet) else { panic!("not delivered") };
    assert_eq!(&*datagram.payload, b"data");
}

#[test]
fn malformed_headers_are_dropped_and_counted() {
    let mut bench = Bench::new(config());
    let good = v4(PEER4, OWN4, protocol::TCP, &[0; 20]);
    let mut bad_sum = good.clone();
    bad_sum[10] ^= 1;
    let mut no_ttl = good.clone();
    no_ttl[8] = 0;
    fix_checksum(&mut no_ttl, 20);
    for packet in [&[][..], &[0x75; 40], &bad_sum, &no_ttl] {
        assert!(bench.silent(packet));
    }
    assert_eq!(bench.counters.in_hdr_errors, 4);
    assert!(bench.silent(&good[..30]));
    assert_eq!(bench.counters.in_truncated_pkts, 1);
}

/// Holds: MUST-63
#[test]
fn land_and_other_invalid_sources_are_dropped_in_silence() {
    for any_address in [false, true] {
        let mut bench = Bench::new(Config { any_address, ..config() });
        for src in [[10, 0, 0, 1], [0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [10, 0, 0, 255]] {
            assert!(bench.silent(&v4(src.into(), OWN4, protocol::TCP, &[0; 20])), "{src:?}");
            assert!(bench.silent(&v4(src.into(), OWN4, 99, &[0; 20])), "{src:?}");
        }
        for src in ["fd00::1", "::", "::1", "ff02::1", "::ffff:10.0.0.2"] {
            let src = src.parse().unwrap();
            assert!(bench.silent(&v6(src, OWN6, protocol::TCP, &[0; 20])), "{src}");
        }
        assert_eq!(bench.counters.in_martian_sources, 17);
    }
}

#[test]
fn only_own_addresses_are_taken_unless_any_address() {
    let other = Ipv4Addr::new(192, 0, 2, 1);
    let mut strict = Bench::new(config());
    assert!(strict.silent(&v4(PEER4, other, protocol::TCP, &[0; 20])));
    assert_eq!(strict.counters.in_addr_errors, 1);
    let mut open = Bench::new(Config { any_address: true, ..config() });
    let packet = v4(PEER4, other, protocol::TCP, &[0; 20]);
    let Received::Upper(datagram) = open.receive(&packet) else { panic!("not delivered") };
    assert!(datagram.unicast && !datagram.own);
    for dst in [[0, 0, 0, 0], [127, 0, 0, 1], [240, 0, 0, 1]] {
        assert!(open.silent(&v4(PEER4, dst.into(), protocol::TCP, &[0; 20])), "{dst:?}");
    }
    for dst in ["::", "::1", "fe80::1", "::ffff:10.0.0.1"] {
        assert!(open.silent(&v6(PEER6, dst.parse().unwrap(), protocol::TCP, &[0; 20])), "{dst}");
    }
    assert_eq!(open.counters.in_addr_errors, 7);
}

/// Holds: MUST-57
#[test]
fn groups_get_no_tcp_and_no_errors() {
    let mut bench = Bench::new(Config { any_address: true, ..config() });
    for dst in [[255; 4], [10, 0, 0, 255], [224, 0, 0, 1]] {
        for protocol in [protocol::TCP, 99] {
            assert!(bench.silent(&v4(PEER4, dst.into(), protocol, &[0; 20])), "{dst:?}");
        }
        assert!(bench.silent(&ping4(dst.into(), b"smurf")));
    }
    // What a kernel says into a TUN: router solicitation, multicast listener reports.
    let link_local = "fe80::1234".parse().unwrap();
    assert!(bench.silent(&v6(link_local, "ff02::2".parse().unwrap(), protocol::ICMPV6, &[133, 0, 0, 0])));
    assert_eq!(bench.counters.in_mcast_pkts, 4);
    let packet = v4(PEER4, Ipv4Addr::BROADCAST, protocol::UDP, &[0; 8]);
    let Received::Upper(datagram) = bench.receive(&packet) else { panic!("not delivered") };
    assert!(!datagram.unicast);
}

/// Holds: MUST-50, MUST-53
#[test]
fn source_routes_are_dropped_and_other_options_ignored() {
    let mut bench = Bench::new(config());
    for options in [[131, 3, 4, 0], [1, 137, 3, 4], [7, 2, 131, 3]] {
        assert!(bench.silent(&v4_with_options(&options)));
    }
    assert_eq!(bench.counters.in_source_routed, 3);
    for options in [[1, 1, 1, 1], [7, 4, 0, 131], [0, 131, 0, 0], [7, 0, 131, 3], [7, 200, 0, 0]] {
        assert!(bench.delivers(&v4_with_options(&options)), "{options:?}");
    }
}

#[test]
fn unknown_protocols_are_reported_with_a_quote_and_without_options() {
    let mut bench = Bench::new(config());
    let packet = v4(PEER4, OWN4, 99, &[1; 1000]);
    bench.receive(&packet);
    let reply = bench.replies.pop().unwrap();
    let Packet::V4(header) = Packet::parse(&reply).unwrap() else { panic!("family") };
    assert_eq!((header.src(), header.dst(), header.total_len()), (OWN4, PEER4, 576));
    assert_eq!((header.df(), header.id(), header.options().len()), (true, 0, 0));
    let icmp::Message::DestinationUnreachable { code, quoted, .. } =
        icmp::Message::parse(header.payload()).unwrap()
    else {
        panic!("message")
    };
    assert_eq!((code, quoted), (icmp::Unreachable::Protocol, &packet[..548]));

    let packet = v6(PEER6, OWN6, 99, &[1; 1400]);
    bench.receive(&packet);
    let reply = bench.replies.pop().unwrap();
    let Packet::V6(header) = Packet::parse(&reply).unwrap() else { panic!("family") };
    assert_eq!(header.total_len(), 1280);
    let message = icmpv6::Message::parse(OWN6, PEER6, header.payload()).unwrap();
    assert!(matches!(message, icmpv6::Message::ParameterProblem { code: 1, pointer: 6, .. }));
    assert_eq!(bench.counters.in_unknown_protos, 2);
}

#[test]
fn ip_in_ip_is_not_unwrapped() {
    let mut bench = Bench::new(config());
    let inner = v4(PEER4, OWN4, protocol::TCP, &[0; 20]);
    assert!(matches!(bench.receive(&v4(PEER4, OWN4, 4, &inner)), Received::Consumed));
    assert_eq!(bench.counters.icmp_out_dest_unreachs, 1);
}

#[test]
fn no_error_is_sent_about_errors_and_later_fragments() {
    let mut bench = Bench::new(config());
    let mut unreachable = alloc::vec![0; 28];
    let quoted = &v4(OWN4, PEER4, protocol::TCP, &[0; 20])[..];
    unreachable.resize(8 + quoted.len(), 0);
    icmp::Message::TimeExceeded { code: 0, quoted }.emit(&mut unreachable).unwrap();
    let error = v4(PEER4, OWN4, protocol::ICMP, &unreachable);
    let mut later = v4(PEER4, OWN4, protocol::UDP, &[0; 20]);
    later[7] = 1;
    fix_checksum(&mut later, 20);
    let echo_reply = v4(PEER4, OWN4, protocol::ICMP, &[0; 8]);
    for (packet, reported) in [(&error, false), (&later, false), (&echo_reply, true)] {
        bench.ip.unreachable(
            bench.now,
            &bench.cfg,
            &mut bench.counters,
            IcmpUnreach::Host,
            packet,
            &mut bench.replies,
        );
        assert_eq!(bench.replies.pop().is_some(), reported);
    }
}

#[test]
fn echo_is_answered_for_own_addresses_only() {
    let mut bench = Bench::new(Config { any_address: true, ..config() });
    bench.receive(&ping4(OWN4, b"hello"));
    let reply = bench.replies.pop().unwrap();
    let Packet::V4(header) = Packet::parse(&reply).unwrap() else { panic!("family") };
    assert_eq!((header.src(), header.dst()), (OWN4, PEER4));
    let expected = icmp::Message::EchoReply { ident: 1, seq: 2, data: b"hello" };
    assert_eq!(icmp::Message::parse(header.payload()), Ok(expected));
    bench.receive(&ping6(OWN6, b"hello"));
    let reply = bench.replies.pop().unwrap();
    let expected = icmpv6::Message::EchoReply { ident: 1, seq: 2, data: b"hello" };
    assert_eq!(icmpv6::Message::parse(OWN6, PEER6, &reply[40..]), Ok(expected));

    assert!(bench.silent(&ping4([192, 0, 2, 1].into(), b"")));
    bench.cfg.answer_echo = false;
    assert!(bench.silent(&ping4(OWN4, b"")));
    assert_eq!((bench.counters.icmp_echos_ignored, bench.counters.icmp_out_echo_reps), (2, 2));
}

#[test]
fn echo_reply_above_the_mtu_leaves_in_fragments_that_reassemble() {
    for len in [1472, 1473, 3000, 60_000] {
        let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let mut bench = Bench::new(config());
        bench.receive(&ping4(OWN4, &data));
        // The peer is a stack too; it counts the reply once it is whole.
        let mut peer =
            Bench::new(Config { addresses: alloc::vec!["10.0.0.2/24".parse().unwrap()], ..config() });
        let mut packets = 0;
        while let Some(packet) = bench.replies.pop() {
            assert!(packet.len() <= 1500);
            peer.receive(&packet);
            packets += 1;
        }
        assert_eq!(packets > 1, len > 1472);
        assert_eq!((peer.counters.icmp_in_echo_reps, peer.counters.icmp_in_errors), (1, 0));
    }
}

#[test]
fn reply_queue_is_bounded_and_counts() {
    let mut bench = Bench::new(Config { reply_queue_limit: 3, ..config() });
    bench.replies = Replies::new(3);
    for _ in 0..5 {
        bench.receive(&ping4(OWN4, b""));
    }
    assert_eq!(core::iter::from_fn(|| bench.replies.pop()).count(), 3);
    assert_eq!((bench.replies.take_dropped(), bench.replies.take_dropped()), (2, 0));
}

#[test]
fn unknown_ipv6_options_do_what_their_type_says() {
    let mut bench = Bench::new(config());
    let with = |kind: u8| {
        let mut payload = alloc::vec![protocol::TCP, 0, kind, 4, 0, 0, 0, 0];
        payload.extend_from_slice(&[0; 20]);
        v6(PEER6, OWN6, protocol::DESTINATION_OPTIONS, &payload)
    };
    assert!(bench.delivers(&with(0x1e)));
    assert!(bench.silent(&with(0x5e)));
    for kind in [0x9e, 0xde] {
        bench.receive(&with(kind));
        let reply = bench.replies.pop().unwrap();
        let message = icmpv6::Message::parse(OWN6, PEER6, &reply[40..]).unwrap();
        assert!(matches!(message, icmpv6::Message::ParameterProblem { code: 2, pointer: 42, .. }));
    }
}

#[test]
fn fingerprint_is_relative_to_now_and_ignores_counters() {
    use core::hash::Hasher;
    let print = |bench: &Bench| {
        let mut h = siphasher::sip::SipHasher13::new();
        bench.ip.fingerprint(bench.now, &mut h);
        h.finish()
    };
    let mut fragment = v4(PEER4, OWN4, protocol::UDP, &[0; 16]);
    fragment[6] = 0x20;
    fix_checksum(&mut fragment, 20);
    let mut early = Bench::new(config());
    let mut late = Bench::new(config());
    late.now = Instant::from_secs(50);
    let empty = print(&early);
    early.receive(&fragment);
    late.receive(&[]);
    late.receive(&fragment);
    assert_eq!(print(&early), print(&late));
    assert_ne!(print(&early), empty);
    late.now += core::time::Duration::from_millis(1);
    assert_ne!(print(&early), print(&late));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(packets in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut bench = Bench::new(Config { any_address: true, ..config() });
        for packet in &packets {
            bench.receive(packet);
        }
    }

    /// Valid fixed headers, so that what lies behind is reached.
    #[test]
    fn arbitrary_content_never_panics(
        packets in proptest::collection::vec(
            (any::<bool>(), any::<u8>(), 0u8..4, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200)),
            0..30,
        ),
    ) {
        const UPPER: [u8; 8] = [1, 6, 17, 43, 44, 58, 60, 0];
        let mut bench = Bench::new(Config { any_address: true, ..config() });
        for (six, kind, fragment, id, payload) in packets {
            let kind = UPPER[usize::from(kind) % UPPER.len()];
            let packet = if six {
                v6(PEER6, OWN6, kind, &payload)
            } else {
                let mut packet = v4(PEER4, OWN4, kind, &payload);
                packet[5] = id as u8 & 1;
                packet[6] = fragment << 4;
                packet[7] = (id >> 8) as u8 & 3;
                fix_checksum(&mut packet, 20);
                packet
            };
            bench.receive(&packet);
            bench.advance(1);
        }
        bench.advance(200);
        prop_assert!(bench.ip.is_idle());
    }
}

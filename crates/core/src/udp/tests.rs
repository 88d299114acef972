use super::*;
use crate::ip::{Received, Replies};
use alloc::vec::Vec;
use lastack_wire::{Capabilities, icmp};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// UDP over an IP layer with 10.0.0.1/24, 10.1.0.1/16 and fd00::1/64.
struct Bench {
    udp: Udp,
    ip: Ip,
    cfg: Config,
    ip_counters: IpCounters,
    counters: UdpCounters,
    replies: Replies,
    now: Instant,
    events: Vec<(UdpHandle, Ready)>,
}

fn config() -> Config {
    let addresses = ["10.0.0.1/24", "10.1.0.1/16", "fd00::1/64"];
    Config { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), ..Config::default() }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Bench {
    fn new(cfg: Config, caps: Capabilities) -> Self {
        Self {
            udp: Udp::new([1; 16]),
            ip: Ip::new(&cfg, caps, [2; 16]),
            replies: Replies::new(cfg.reply_queue_limit),
            cfg,
            ip_counters: IpCounters::default(),
            counters: UdpCounters::default(),
            now: Instant::from_secs(1),
            events: Vec::new(),
        }
    }

    fn plain() -> Self {
        Self::new(config(), Capabilities::plain(1500))
    }

    fn bind(&mut self, local: &str) -> Result<UdpHandle, Error> {
        let h = self.udp.socket();
        self.udp.bind(&self.cfg, &self.ip, h, at(local)).map(|()| h)
    }

    fn connect(&mut self, h: UdpHandle, remote: &str) -> Result<(), Error> {
        self.udp.connect(&self.cfg, &self.ip, h, at(remote))
    }

    fn send(&mut self, h: UdpHandle, data: &[u8], to: Option<&str>, from: Option<&str>) -> Result<(), Error> {
        let Self { udp, ip, cfg, counters, events, .. } = self;
        let sink: Sink<'_> = &mut |h, ready| events.push((h, ready));
        udp.send(cfg, ip, counters, h, data, to.map(at), from.map(at), sink)
    }

    fn transmit(&mut self) -> Option<(Vec<u8>, PacketMeta)> {
        let Self { udp, ip, cfg, ip_counters, counters, events, now, .. } = self;
        let sink: Sink<'_> = &mut |h, ready| events.push((h, ready));
        let mut frame = vec![0xa5; usize::from(ip.capabilities().mtu)];
        let (len, meta) = udp.transmit(*now, cfg, ip, ip_counters, counters, &mut frame, sink)?;
        frame.truncate(len);
        Some((frame, meta))
    }

    fn receive(&mut self, packet: &[u8], meta: &PacketMeta) {
        let Self { udp, ip, cfg, ip_counters, counters, events, now, replies } = self;
        let sink: Sink<'_> = &mut |h, ready| events.push((h, ready));
        match ip.receive(*now, cfg, ip_counters, meta, packet, replies) {
            Received::Upper(datagram) => {
                let mut env = UdpEnv { now: *now, cfg, ip, ip_counters, counters, replies };
                udp.receive(&mut env, &datagram, sink);
            }
            Received::IcmpError(error) => udp.icmp_error(*now, ip, &error, sink),
            Received::Consumed => {}
        }
    }

    /// A datagram from the wire.
    fn arrive(&mut self, from: &str, to: &str, data: &[u8]) {
        let packet = datagram(from, to, data);
        self.receive(&packet, &PacketMeta::default());
    }

    fn recv(&mut self, h: UdpHandle) -> Result<(Vec<u8>, SocketAddr), Error> {
        let mut buf = [0; 2000];
        self.udp.recv(h, &mut buf).map(|meta| (buf[..meta.len.min(2000)].to_vec(), meta.from))
    }

    fn icmp(&mut self, code: icmp::Unreachable, next_hop_mtu: u16, quoted: &[u8]) {
        let message = icmp::Message::DestinationUnreachable { code, next_hop_mtu, quoted };
        let mut bytes = vec![0; message.emitted_len()];
        message.emit(&mut bytes).unwrap();
        let packet = packet(PEER.into(), OWN.into(), protocol::ICMP, &bytes);
        self.receive(&packet, &PacketMeta::default());
    }
}

fn packet(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40 + payload.len()];
    let len = crate::ip::output::emit_header(&mut packet, src, dst, protocol, payload.len(), 64, 0).unwrap();
    packet[len..len + payload.len()].copy_from_slice(payload);
    packet.truncate(len + payload.len());
    packet
}

fn datagram(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (at(from), at(to));
    let mut bytes = vec![0; 8 + data.len()];
    let repr = udp::Repr { src_port: from.port(), dst_port: to.port(), payload_len: data.len() };
    repr.emit_header(&mut bytes).unwrap();
    bytes[8..].copy_from_slice(data);
    udp::fill_checksum(from.ip(), to.ip(), &mut bytes).unwrap();
    packet(from.ip(), to.ip(), protocol::UDP, &bytes)
}

#[test]
fn datagram_arrives_with_its_addresses_and_an_event() {
    let mut bench = Bench::plain();
    let h = bench.bind("10.0.0.1:53").unwrap();
    assert_eq!(bench.recv(h), Err(Error::WouldBlock));
    bench.arrive("10.0.0.2:9", "10.0.0.1:53", b"query");
    assert_eq!(bench.events, [(h, Ready::IN)]);
    assert_eq!(bench.udp.ready(&bench.cfg, h), Ready::IN | Ready::OUT);
    let mut buf = [0; 3];
    let meta = bench.udp.recv(h, &mut buf).unwrap();
    assert_eq!((meta.len, meta.from, meta.to), (5, at("10.0.0.2:9"), at("10.0.0.1:53")));
    assert_eq!(&buf, b"que");
    assert_eq!(bench.udp.recv(h, &mut buf), Err(Error::WouldBlock));
}

#[test]
fn binding_follows_the_rules_of_overlap() {
    let mut bench = Bench::plain();
    bench.bind("10.0.0.1:53").unwrap();
    bench.bind("10.1.0.1:53").unwrap();
    for taken in ["10.0.0.1:53", "0.0.0.0:53", "[::]:53"] {
        assert_eq!(bench.bind(taken), Err(Error::AddrInUse), "{taken}");
    }
    bench.bind("[fd00::1]:53").unwrap();
    bench.bind("[::]:54").unwrap();
    assert_eq!(bench.bind("10.0.0.1:54"), Err(Error::AddrInUse));
    bench.bind("0.0.0.0:55").unwrap();
    bench.bind("[fd00::1]:55").unwrap();
    assert_eq!(bench.bind("192.0.2.1:56"), Err(Error::AddrNotAvailable));
    let h = bench.bind("0.0.0.0:57").unwrap();
    assert_eq!(bench.udp.bind(&bench.cfg, &bench.ip, h, at("0.0.0.0:58")), Err(Error::InvalidInput));
    bench.udp.close(h);
    bench.bind("10.0.0.1:57").unwrap();
}

#[test]
fn ephemeral_ports_are_drawn_until_none_is_left() {
    let mut bench =
        Bench::new(Config { ephemeral_ports: (4000, 4009), ..config() }, Capabilities::plain(1500));
    let ports: Vec<u16> = (0..10)
        .map(|_| {
            let h = bench.bind("0.0.0.0:0").unwrap();
            bench.udp.local_addr(h).unwrap().port()
        })
        .collect();
    let mut sorted = ports.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (4000..=4009).collect::<Vec<_>>());
    assert_ne!(ports, sorted);
    assert_eq!(bench.bind("0.0.0.0:0"), Err(Error::AddrNotAvailable));
    bench.bind("[fd00::1]:0").unwrap();
}

#[test]
fn best_match_gets_the_datagram() {
    let mut bench = Bench::new(Config { any_address: true, ..config() }, Capabilities::plain(1500));
    let any = bench.udp.socket();
    bench.udp.set_any_port(any, true).unwrap();
    let shared = |bench: &mut Bench, local: &str| {
        let h = bench.udp.socket();
        bench.udp.set_reuse_addr(h, true).unwrap();
        bench.udp.bind(&bench.cfg, &bench.ip, h, at(local)).unwrap();
        h
    };
    let wildcard = shared(&mut bench, "0.0.0.0:53");
    let specific = shared(&mut bench, "10.0.0.1:53");
    let connected = shared(&mut bench, "0.0.0.0:53");
    bench.connect(connected, "10.0.0.2:9").unwrap();
    for (from, to, expected) in [
        ("10.0.0.2:9", "10.0.0.1:53", connected),
        ("10.0.0.2:8", "10.0.0.1:53", specific),
        ("10.0.0.2:9", "10.1.0.1:53", wildcard),
        ("10.0.0.2:9", "10.1.0.1:54", any),
        ("10.0.0.2:9", "192.0.2.9:54", any),
    ] {
        bench.events.clear();
        bench.arrive(from, to, b"x");
        assert_eq!(bench.events, [(expected, Ready::IN)], "{from} {to}");
    }
}

#[test]
fn connected_socket_hears_only_its_peer() {
    let mut bench = Bench::plain();
    let h = bench.udp.socket();
    assert_eq!(bench.send(h, b"x", None, None), Err(Error::NotConnected));
    bench.connect(h, "10.0.0.2:9").unwrap();
    let local = bench.udp.local_addr(h).unwrap();
    assert_eq!((local.ip(), bench.udp.peer_addr(h)), (OWN.into(), Some(at("10.0.0.2:9"))));
    let to = alloc::format!("{local}");
    bench.arrive("10.0.0.3:9", &to, b"stranger");
    bench.arrive("10.0.0.2:9", &to, b"peer");
    assert_eq!(bench.recv(h), Ok((b"peer".to_vec(), at("10.0.0.2:9"))));
    assert_eq!(bench.recv(h), Err(Error::WouldBlock));
    // Another peer by another route: the source follows.
    bench.connect(h, "10.1.0.9:9").unwrap();
    assert_eq!(bench.udp.local_addr(h), Some(SocketAddr::from(([10, 1, 0, 1], local.port()))));
}

#[test]
fn wrong_calls_are_refused() {
    let mut bench = Bench::plain();
    let h = bench.bind("0.0.0.0:53").unwrap();
    let large = vec![0; 65_508];
    for (data, to, from, error) in [
        (&large[..], "10.0.0.2:9", None, Error::MessageTooLong),
        (b"x", "10.0.0.2:0", None, Error::InvalidInput),
        (b"x", "10.0.0.255:9", None, Error::Prohibited),
        (b"x", "224.0.0.1:9", None, Error::Prohibited),
        (b"x", "[fd00::2]:9", None, Error::AddressFamily),
        (b"x", "192.0.2.1:9", None, Error::NetworkUnreachable),
        (b"x", "10.0.0.2:9", Some("192.0.2.1:53"), Error::AddrNotAvailable),
        (b"x", "10.0.0.2:9", Some("10.0.0.1:54"), Error::InvalidInput),
    ] {
        assert_eq!(bench.send(h, data, Some(to), from), Err(error), "{to}");
    }
    assert_eq!(bench.connect(h, "10.0.0.255:9"), Err(Error::Prohibited));
    assert!(bench.transmit().is_none());
    bench.udp.close(h);
    assert_eq!(bench.send(h, b"x", Some("10.0.0.2:9"), None), Err(Error::BadHandle));
    assert_eq!(bench.recv(h), Err(Error::BadHandle));
    assert_eq!(bench.udp.count(), 0);
}

#[test]
fn sent_datagram_has_a_right_checksum_or_leaves_it_to_the_device() {
    for (local, to, header) in [("0.0.0.0:53", "10.0.0.2:9", 20), ("[::]:53", "[fd00::2]:9", 40)] {
        let mut bench = Bench::plain();
        let h = bench.bind(local).unwrap();
        bench.send(h, b"hello", Some(to), None).unwrap();
        let (packet, meta) = bench.transmit().unwrap();
        assert_eq!(meta, PacketMeta::default());
        let parsed = lastack_wire::ip::Packet::parse(&packet).unwrap();
        assert_eq!(udp::verify_checksum(parsed.src(), parsed.dst(), parsed.payload()), Ok(()));
        assert_eq!(&packet[header + 8..], b"hello");
        assert!(bench.transmit().is_none() && bench.udp.is_idle());

        let caps = Capabilities { tx_checksum: true, ..Capabilities::plain(1500) };
        let mut bench = Bench::new(config(), caps);
        let h = bench.bind(local).unwrap();
        bench.send(h, b"hello", Some(to), None).unwrap();
        let (_, meta) = bench.transmit().unwrap();
        assert_eq!(meta.checksum, ChecksumState::Partial { start: header as u16, offset: 6 });
    }
}

#[test]
fn checksums_are_verified_unless_the_device_vouches() {
    let mut bench = Bench::plain();
    let h = bench.bind("[::]:53").unwrap();
    let mut packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"x");
    packet[28] ^= 1;
    bench.receive(&packet, &PacketMeta::default());
    assert_eq!(bench.counters.in_csum_errors, 1);
    bench.receive(&packet, &PacketMeta { checksum: ChecksumState::Verified, gso: None });
    // Zero: none over IPv4, forbidden over IPv6.
    packet[26..28].fill(0);
    bench.receive(&packet, &PacketMeta::default());
    let mut six = datagram("[fd00::2]:9", "[fd00::1]:53", b"x");
    six[46..48].fill(0);
    bench.receive(&six, &PacketMeta::default());
    assert_eq!((bench.counters.in_datagrams, bench.counters.in_csum_errors), (2, 2));
    assert!(bench.recv(h).is_ok() && bench.recv(h).is_ok() && bench.recv(h).is_err());
}

#[test]
fn datagram_above_the_path_mtu_leaves_in_fragments_that_the_peer_joins() {
    for (own, peer, header) in [("10.0.0.1:53", "10.0.0.2:9", 20), ("[fd00::1]:53", "[fd00::2]:9", 40)] {
        for len in [1500 - header - 8, 1500 - header - 7, 65_507] {
            let caps = Capabilities { tx_checksum: true, ..Capabilities::plain(1500) };
            let mut bench = Bench::new(config(), caps);
            let addresses = ["10.0.0.2/24", "fd00::2/64"].iter().map(|text| text.parse().unwrap()).collect();
            let mut other = Bench::new(Config { addresses, ..config() }, Capabilities::plain(1500));
            let (h, o) = (bench.bind(own).unwrap(), other.bind(peer).unwrap());
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            bench.send(h, &data, Some(peer), None).unwrap();
            let mut packets = 0;
            while let Some((packet, meta)) = bench.transmit() {
                packets += 1;
                other.receive(&packet, &meta);
            }
            assert_eq!(packets > 1, len + header + 8 > 1500);
            let mut buf = vec![0; 70_000];
            let meta = other.udp.recv(o, &mut buf).unwrap();
            assert_eq!((&buf[..meta.len], meta.from), (&data[..], at(own)));
            assert_eq!(meta.dont_fragment, packets == 1);
            assert_eq!(bench.counters.out_datagrams, 1);
        }
    }
}

#[test]
fn datagram_that_routers_may_cut_is_told_apart() {
    let mut bench = Bench::plain();
    let h = bench.bind("10.0.0.1:53").unwrap();
    for (flags, expected) in [(0x40, true), (0, false)] {
        let mut packet = datagram("10.0.0.2:9", "10.0.0.1:53", b"query");
        packet[6] = flags;
        packet[10..12].fill(0);
        let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        packet[10..12].copy_from_slice(&(!((sum >> 16) + (sum & 0xffff)) as u16).to_be_bytes());
        bench.receive(&packet, &PacketMeta::default());
        assert_eq!(bench.udp.recv(h, &mut [0; 9]).unwrap().dont_fragment, expected);
    }
}

#[test]
fn receive_queue_is_bounded_and_overflow_is_counted() {
    let mut bench = Bench::new(Config { udp_recv_buffer: 1000, ..config() }, Capabilities::plain(1500));
    let h = bench.bind("10.0.0.1:53").unwrap();
    for _ in 0..100 {
        bench.arrive("10.0.0.2:9", "10.0.0.1:53", b"");
    }
    assert_eq!(bench.counters.in_datagrams, 7);
    assert_eq!(bench.counters.rcvbuf_errors, 93);
    while bench.recv(h).is_ok() {}
    bench.arrive("10.0.0.2:9", "10.0.0.1:53", &[0; 1400]);
    assert_eq!(bench.recv(h).map(|(data, _)| data.len()), Ok(1400));
}

#[test]
fn full_send_queue_blocks_until_half_is_free() {
    let mut bench = Bench::new(Config { udp_send_buffer: 2000, ..config() }, Capabilities::plain(1500));
    let h = bench.bind("10.0.0.1:53").unwrap();
    let mut sent = 0;
    while bench.send(h, &[0; 272], Some("10.0.0.2:9"), None).is_ok() {
        sent += 1;
    }
    assert_eq!((sent, bench.udp.ready(&bench.cfg, h)), (5, Ready::empty()));
    bench.transmit();
    bench.transmit();
    assert!(bench.events.is_empty());
    bench.transmit();
    assert_eq!(bench.events, [(h, Ready::OUT)]);
    assert!(bench.udp.ready(&bench.cfg, h).contains(Ready::OUT));
    // Closing does not take back what is queued.
    bench.udp.close(h);
    assert!(bench.transmit().is_some() && bench.transmit().is_some() && bench.transmit().is_none());
}

#[test]
fn nobody_there_is_told_by_icmp_to_unicast_only() {
    let mut bench = Bench::new(Config { any_address: true, ..config() }, Capabilities::plain(1500));
    bench.arrive("10.0.0.2:9", "10.0.0.1:53", b"x");
    let reply = bench.replies.pop().unwrap();
    assert_eq!((reply[20], reply[21]), (3, 3));
    bench.arrive("10.0.0.2:9", "10.0.0.255:53", b"x");
    bench.arrive("10.0.0.2:9", "192.0.2.1:53", b"x");
    assert!(bench.replies.is_empty());
    assert_eq!(bench.counters.no_ports, 3);
}

#[test]
fn broadcast_is_delivered_to_a_wildcard_socket() {
    let mut bench = Bench::plain();
    let h = bench.bind("0.0.0.0:67").unwrap();
    bench.arrive("10.0.0.2:68", "255.255.255.255:67", b"discover");
    assert!(bench.recv(h).is_ok());
}

#[test]
fn port_unreachable_is_an_error_of_the_connected_socket_only() {
    let mut bench = Bench::plain();
    let (connected, open) = (bench.bind("10.0.0.1:1000").unwrap(), bench.bind("10.0.0.1:1001").unwrap());
    bench.connect(connected, "10.0.0.2:9").unwrap();
    for h in [connected, open] {
        bench.send(h, b"x", Some("10.0.0.2:9"), None).unwrap();
        let (packet, _) = bench.transmit().unwrap();
        bench.icmp(icmp::Unreachable::Host, 0, &packet);
        assert_eq!(bench.udp.take_error(h), None);
        bench.icmp(icmp::Unreachable::Port, 0, &packet);
    }
    assert_eq!(bench.events, [(connected, Ready::ERR | Ready::IN)]);
    assert!(bench.udp.ready(&bench.cfg, connected).contains(Ready::ERR));
    assert_eq!(bench.recv(connected), Err(Error::ConnectionRefused));
    assert_eq!(bench.recv(connected), Err(Error::WouldBlock));
    assert_eq!(bench.udp.take_error(open), None);
}

#[test]
fn path_mtu_report_is_believed_for_a_socket_that_exists() {
    let mut bench = Bench::plain();
    let h = bench.bind("10.0.0.1:1000").unwrap();
    bench.send(h, &[0; 1400], Some("10.0.0.2:9"), None).unwrap();
    let (packet, _) = bench.transmit().unwrap();
    let forged = datagram("10.0.0.1:1001", "10.0.0.2:9", &[0; 1400]);
    bench.icmp(icmp::Unreachable::FragmentationNeeded, 1000, &forged);
    assert_eq!(bench.ip.path_mtu(bench.now, PEER.into()), 1500);
    bench.icmp(icmp::Unreachable::FragmentationNeeded, 1000, &packet);
    assert_eq!(bench.ip.path_mtu(bench.now, PEER.into()), 1000);
    bench.send(h, &[0; 1400], Some("10.0.0.2:9"), None).unwrap();
    assert!(bench.transmit().unwrap().0.len() <= 1000);
    assert!(bench.transmit().is_some());
}

#[test]
fn error_about_another_protocol_is_not_for_udp() {
    let mut bench = Bench::new(Config { any_address: true, ..config() }, Capabilities::plain(1500));
    let h = bench.udp.socket();
    bench.udp.set_any_port(h, true).unwrap();
    let quoted = packet(OWN.into(), PEER.into(), protocol::ICMP, &[0; 1400]);
    bench.icmp(icmp::Unreachable::FragmentationNeeded, 1000, &quoted);
    assert_eq!(bench.ip.path_mtu(bench.now, PEER.into()), 1500);
}

#[test]
fn gateway_socket_answers_from_where_it_was_asked() {
    let mut bench = Bench::new(Config { any_address: true, ..config() }, Capabilities::plain(1500));
    let h = bench.udp.socket();
    bench.udp.set_any_port(h, true).unwrap();
    bench.arrive("10.0.0.2:9", "192.0.2.1:53", b"query");
    let mut buf = [0; 10];
    let meta = bench.udp.recv(h, &mut buf).unwrap();
    assert_eq!(meta.to, at("192.0.2.1:53"));
    assert_eq!(bench.send(h, b"x", Some("10.0.0.2:9"), None), Err(Error::InvalidInput));
    bench.send(h, b"answer", Some("10.0.0.2:9"), Some("192.0.2.1:53")).unwrap();
    let (packet, _) = bench.transmit().unwrap();
    assert_eq!(packet, datagram("192.0.2.1:53", "10.0.0.2:9", b"answer"));
}

#[test]
fn own_addresses_are_reached_inside_the_stack() {
    let mut bench = Bench::plain();
    let (a, b) = (bench.bind("10.0.0.1:1").unwrap(), bench.bind("10.1.0.1:2").unwrap());
    bench.send(a, b"inside", Some("10.1.0.1:2"), None).unwrap();
    assert_eq!(bench.recv(b), Ok((b"inside".to_vec(), at("10.0.0.1:1"))));
    assert!(bench.transmit().is_none());
    bench.connect(a, "10.1.0.1:3").unwrap();
    bench.send(a, b"nobody", None, None).unwrap();
    assert_eq!(bench.send(a, b"again", None, None), Err(Error::ConnectionRefused));
}

#[test]
fn dual_stack_wildcard_takes_and_sends_both_families() {
    let mut bench = Bench::plain();
    let h = bench.bind("[::]:53").unwrap();
    bench.arrive("10.0.0.2:9", "10.0.0.1:53", b"four");
    bench.arrive("[fd00::2]:9", "[fd00::1]:53", b"six");
    assert_eq!(bench.recv(h), Ok((b"four".to_vec(), at("10.0.0.2:9"))));
    assert_eq!(bench.recv(h), Ok((b"six".to_vec(), at("[fd00::2]:9"))));
    bench.send(h, b"x", Some("[::ffff:10.0.0.2]:9"), None).unwrap();
    assert_eq!(bench.transmit().unwrap().0, datagram("10.0.0.1:53", "10.0.0.2:9", b"x"));
}

#[test]
fn fingerprint_tells_queues_apart_and_leaves_counters_out() {
    let print = |bench: &Bench| {
        let mut h = siphasher::sip::SipHasher13::new();
        bench.udp.fingerprint(bench.now, &mut h);
        core::hash::Hasher::finish(&h)
    };
    let mut bench = Bench::plain();
    let h = bench.bind("10.0.0.1:53").unwrap();
    let before = print(&bench);
    bench.arrive("10.0.0.2:9", "10.0.0.1:53", b"x");
    assert_ne!(print(&bench), before);
    bench.recv(h).unwrap();
    assert_eq!(print(&bench), before);
}

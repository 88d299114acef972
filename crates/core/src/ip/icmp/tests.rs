use super::super::tests::{Bench, OWN4, OWN6, PEER4, PEER6, config, v4, v6};
use super::*;
use alloc::vec::Vec;
use core::time::Duration;

const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn segment() -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..8].copy_from_slice(&[0, 80, 0x10, 0, 1, 2, 3, 4]);
    segment
}

fn error_v4(message: &icmp::Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.emitted_len()];
    message.emit(&mut bytes).unwrap();
    v4(ROUTER, OWN4, protocol::ICMP, &bytes)
}

fn error_v6(message: &icmpv6::Message<'_>) -> Vec<u8> {
    let router = "2001:db8::1".parse().unwrap();
    let mut bytes = vec![0; message.emitted_len()];
    message.emit(router, OWN6, &mut bytes).unwrap();
    v6(router, OWN6, protocol::ICMPV6, &bytes)
}

fn take(bench: &mut Bench, packet: &[u8]) -> Option<IcmpError> {
    match bench.receive(packet) {
        Received::IcmpError(error) => Some(error),
        Received::Consumed => None,
        Received::Upper(_) => panic!("an ICMP message is not for an upper layer"),
    }
}

#[test]
fn each_code_has_the_meaning_that_linux_gives_it() {
    use Error as E;
    let quoted = &v4(OWN4, PEER4, protocol::TCP, &segment());
    let mut bench = Bench::new(config());
    let table: [(Error, bool); 16] = [
        (E::NetworkUnreachable, false),
        (E::HostUnreachable, false),
        (E::ProtocolUnreachable, true),
        (E::ConnectionRefused, true),
        (E::MessageTooLong, true),
        (E::SourceRouteFailed, false),
        (E::NetworkUnreachable, true),
        (E::HostDown, true),
        (E::HostIsolated, true),
        (E::NetworkUnreachable, true),
        (E::HostUnreachable, true),
        (E::NetworkUnreachable, false),
        (E::HostUnreachable, false),
        (E::HostUnreachable, true),
        (E::HostUnreachable, true),
        (E::HostUnreachable, true),
    ];
    for (code, expected) in table.into_iter().enumerate() {
        let code = icmp::Unreachable::from_code(code as u8);
        let message = icmp::Message::DestinationUnreachable { code, next_hop_mtu: 0, quoted };
        let error = take(&mut bench, &error_v4(&message)).unwrap();
        assert_eq!((error.error(), error.hard), expected, "{code:?}");
        assert_eq!(error.local, SocketAddr::from((OWN4, 80)));
        assert_eq!(error.remote, SocketAddr::from((PEER4, 4096)));
        assert_eq!((error.seq, error.reporter), (Some(SeqNumber(0x0102_0304)), ROUTER.into()));
    }
    let other =
        icmp::Message::DestinationUnreachable { code: icmp::Unreachable::Other(16), next_hop_mtu: 0, quoted };
    assert_eq!(take(&mut bench, &error_v4(&other)), None);
    let table = [
        (E::NetworkUnreachable, false),
        (E::Prohibited, true),
        (E::HostUnreachable, false),
        (E::HostUnreachable, false),
        (E::ConnectionRefused, true),
        (E::Prohibited, true),
        (E::Prohibited, true),
    ];
    let quoted = &v6(OWN6, PEER6, protocol::TCP, &segment());
    for (code, expected) in table.into_iter().enumerate() {
        let code = icmpv6::Unreachable::from_code(code as u8);
        let error = take(&mut bench, &error_v6(&icmpv6::Message::DestinationUnreachable { code, quoted }));
        assert_eq!(error.map(|error| (error.error(), error.hard)), Some(expected), "{code:?}");
    }
}

#[test]
fn errors_that_quote_nobody_of_us_are_dropped_and_counted() {
    let mut bench = Bench::new(config());
    let foreign = v4(PEER4, OWN4, protocol::TCP, &segment());
    let ours = v4(OWN4, PEER4, protocol::TCP, &segment());
    let mut later = ours.clone();
    later[7] = 1;
    for quoted in [&foreign[..], &ours[..27], &[], &later] {
        assert_eq!(take(&mut bench, &error_v4(&icmp::Message::TimeExceeded { code: 0, quoted })), None);
    }
    let mut damaged = error_v4(&icmp::Message::TimeExceeded { code: 0, quoted: &ours });
    damaged[30] ^= 1;
    assert_eq!(take(&mut bench, &damaged), None);
    assert_eq!((bench.counters.icmp_in_errors, bench.counters.icmp_in_csum_errors), (5, 1));
    // A quote of eight bytes behind the header is enough (RFC 792).
    let short = icmp::Message::TimeExceeded { code: 0, quoted: &ours[..28] };
    assert!(take(&mut bench, &error_v4(&short)).is_some());
}

/// Holds: MUST-55
#[test]
fn source_quench_and_redirect_are_ignored() {
    let mut bench = Bench::new(config());
    let data = &v4(OWN4, PEER4, protocol::TCP, &segment());
    for kind in [4, 5] {
        let message = icmp::Message::Ignored { kind, code: 0, rest: [0; 4], data };
        assert_eq!(take(&mut bench, &error_v4(&message)), None);
    }
    assert_eq!((bench.counters.icmp_in_src_quenchs, bench.counters.icmp_in_redirects), (1, 1));
    assert!(bench.replies.is_empty());
}

#[test]
fn path_mtu_is_learned_from_a_report_with_or_without_a_number() {
    let mut bench = Bench::new(config());
    let quoted = &v4(OWN4, PEER4, protocol::TCP, &[0; 1480]);
    for (next_hop_mtu, learned) in [(0, Some(1492)), (1492, None), (1400, Some(1400)), (68, Some(552))] {
        let code = icmp::Unreachable::FragmentationNeeded;
        let message = icmp::Message::DestinationUnreachable { code, next_hop_mtu, quoted };
        let error = take(&mut bench, &error_v4(&message)).unwrap();
        assert_eq!(bench.ip.learn_path_mtu(bench.now, &error), learned);
    }
    let quoted = &v6(OWN6, PEER6, protocol::TCP, &segment());
    for (mtu, learned) in [(1279, None), (70_000, None), (1300, Some(1300))] {
        let error = take(&mut bench, &error_v6(&icmpv6::Message::PacketTooBig { mtu, quoted })).unwrap();
        assert_eq!(bench.ip.learn_path_mtu(bench.now, &error), learned);
    }
    assert_eq!(bench.ip.path_mtu(bench.now, PEER6.into()), 1300);
}

fn errors_sent(bench: &mut Bench, tries: usize) -> usize {
    for _ in 0..tries {
        bench.receive(&v4(PEER4, OWN4, 99, &[]));
    }
    core::iter::from_fn(|| bench.replies.pop()).count()
}

#[test]
fn errors_are_limited_to_the_burst_and_the_rate() {
    let mut bench = Bench::new(config());
    let burst = errors_sent(&mut bench, 1000);
    assert!((10..=50).contains(&burst), "{burst}");
    assert_eq!(bench.counters.icmp_out_rate_limit, 1000 - burst as u64);
    let mut sent = 0;
    for _ in 0..1000 {
        bench.now += Duration::from_millis(10);
        sent += errors_sent(&mut bench, 100);
    }
    // Ten seconds at 1000 per second at the most, and not much less than half of it.
    assert!((4000..=10_050).contains(&sent), "{sent}");
    let mut slow = Bench::new(Config { icmp_per_second: 1, icmp_burst: 1, ..config() });
    let mut sent = 0;
    for _ in 0..10_000 {
        slow.now += Duration::from_millis(1);
        sent += errors_sent(&mut slow, 10);
    }
    assert!((5..=11).contains(&sent), "{sent}");
    bench.cfg.icmp_per_second = 0;
    let mut none = Bench::new(bench.cfg);
    assert_eq!(errors_sent(&mut none, 10), 0);
}

#[test]
fn number_of_errors_does_not_tell_how_many_others_got() {
    let mut counts: Vec<usize> = (0..32u8)
        .map(|key| {
            let mut bench = Bench::new(config());
            bench.ip = Ip::new(&bench.cfg, lastack_wire::Capabilities::plain(1500), [key; 16]);
            errors_sent(&mut bench, 100)
        })
        .collect();
    counts.sort_unstable();
    counts.dedup();
    assert!(counts.len() >= 8, "{counts:?}");
}

#[test]
fn error_about_what_lies_beyond_comes_from_an_own_address() {
    let cfg = Config { any_address: true, ..config() };
    let beyond = Ipv4Addr::new(192, 0, 2, 7);
    let packet = v4(PEER4, beyond, protocol::TCP, &segment());
    for (kind, from, code) in [
        (IcmpUnreach::Network, OWN4, 0),
        (IcmpUnreach::Host, OWN4, 1),
        (IcmpUnreach::Prohibited, OWN4, 13),
        (IcmpUnreach::Port, beyond, 3),
    ] {
        let mut bench = Bench::new(cfg.clone());
        let Bench { ip, cfg, counters, replies, now } = &mut bench;
        ip.unreachable(*now, cfg, counters, kind, &packet, replies);
        let reply = bench.replies.pop().unwrap();
        let header = ipv4::Packet::parse(&reply).unwrap();
        assert_eq!((header.src(), header.dst(), header.payload()[1]), (from, PEER4, code));
    }
    let packet = v6(PEER6, OWN6, protocol::TCP, &segment());
    for (kind, code) in [
        (IcmpUnreach::Network, 0),
        (IcmpUnreach::Prohibited, 1),
        (IcmpUnreach::Host, 3),
        (IcmpUnreach::Port, 4),
    ] {
        let mut bench = Bench::new(cfg.clone());
        let Bench { ip, cfg, counters, replies, now } = &mut bench;
        ip.unreachable(*now, cfg, counters, kind, &packet, replies);
        let reply = bench.replies.pop().unwrap();
        assert_eq!((reply[40], reply[41]), (1, code));
    }
}

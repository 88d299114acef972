//! A TUN against the running kernel, in a network namespace of each test's own. Needs root (`CAP_NET_ADMIN`).
//!
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves these tests out when not root.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use lastack_device::split::{finish_checksum, segment};
use lastack_device::tun::{Tun, TunOptions};
use lastack_device::{Capabilities, ChecksumState, Device, PacketMeta};
use lastack_wire::{SeqNumber, ip, ipv4, ipv6, tcp};

#[allow(dead_code)]
#[path = "../src/testing.rs"]
mod testing;

const KERNEL_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const OURS_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const KERNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const OURS_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
/// A test that hangs ends after this; nothing passes because of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` on a thread in a new network namespace, which ends with the thread and its sockets.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        if std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1") {
            return;
        }
        panic!("this test needs root; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out");
    }
    let namespace = thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        test();
    });
    if let Err(panic) = namespace.join() {
        std::panic::resume_unwind(panic);
    }
}

fn options() -> TunOptions {
    TunOptions {
        mtu: Some(1400),
        ipv4: Some((KERNEL_V4, 24)),
        ipv6: vec![(KERNEL_V6, 64)],
        ..TunOptions::default()
    }
}

/// Receives until `wanted` gives a value.
fn receive_until<T>(tun: &mut Tun, mut wanted: impl FnMut(&PacketMeta, &[u8]) -> Option<T>) -> T {
    for _ in 0..1000 {
        let mut found = None;
        tun.receive(1, &mut |meta, packet| found = wanted(meta, packet)).unwrap();
        if let Some(found) = found {
            return found;
        }
        tun.wait(Some(PATIENCE)).unwrap();
    }
    panic!("the packet did not come");
}

fn transmit(tun: &mut Tun, meta: PacketMeta, packet: &[u8]) {
    let mut once = Some(());
    let mut fill = |frame: &mut [u8]| {
        once.take()?;
        frame[..packet.len()].copy_from_slice(packet);
        Some((packet.len(), meta))
    };
    assert_eq!(tun.transmit(&mut fill).unwrap(), 1);
}

/// The data of a UDP packet and its source port, if it is one; panics if its checksum is not right in the end.
fn udp_of(meta: &PacketMeta, packet: &[u8]) -> Option<(Vec<u8>, u16)> {
    let mut finished = packet.to_vec();
    finish_checksum(meta, &mut finished).unwrap();
    let ip = ip::Packet::parse(&finished).ok()?;
    if ip.protocol() != ip::protocol::UDP {
        return None;
    }
    let sum = lastack_wire::checksum::pseudo_header(ip.src(), ip.dst(), 17, ip.payload().len() as u32);
    let mut sum = sum;
    sum.add_bytes(ip.payload());
    assert_eq!(sum.fold(), 0xffff, "UDP checksum");
    let port = u16::from_be_bytes([ip.payload()[0], ip.payload()[1]]);
    Some((ip.payload()[8..].to_vec(), port))
}

/// A UDP packet from port 9 with a partial checksum.
fn udp_packet(src: IpAddr, dst: IpAddr, port: u16, payload: &[u8]) -> (PacketMeta, Vec<u8>) {
    let len = 8 + payload.len();
    let mut packet = vec![0; 40 + len];
    let at = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let protocol = ip::protocol::UDP;
            ipv4::Repr { src, dst, protocol, ttl: 64, tos: 0, id: 0, df: true, payload_len: len }
                .emit(&mut packet)
                .unwrap()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let next_header = ip::protocol::UDP;
            let (hop_limit, traffic_class, flow_label) = (64, 0, 0);
            ipv6::Repr { src, dst, next_header, hop_limit, traffic_class, flow_label, payload_len: len }
                .emit(&mut packet)
                .unwrap()
        }
        _ => panic!("mixed families"),
    };
    packet.truncate(at + len);
    packet[at..at + 2].copy_from_slice(&9u16.to_be_bytes());
    packet[at + 2..at + 4].copy_from_slice(&port.to_be_bytes());
    packet[at + 4..at + 6].copy_from_slice(&(len as u16).to_be_bytes());
    packet[at + 8..].copy_from_slice(payload);
    let sum = lastack_wire::checksum::pseudo_header(src, dst, 17, len as u32).fold();
    packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    let checksum = ChecksumState::Partial { start: at as u16, offset: 6 };
    (PacketMeta { checksum, gso: None }, packet)
}

/// Lets the kernel send a packet to us and answers it; `queues` are all queues of the interface.
fn question_and_answer(queues: &mut [Tun]) -> Vec<PacketMeta> {
    let mut metas = Vec::new();
    let families: [(IpAddr, IpAddr); 2] =
        [(KERNEL_V4.into(), OURS_V4.into()), (KERNEL_V6.into(), OURS_V6.into())];
    for (kernel, ours) in families {
        let socket = UdpSocket::bind(SocketAddr::new(kernel, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"question", SocketAddr::new(ours, 9)).unwrap();
        let mut question = None;
        while question.is_none() {
            for tun in queues.iter_mut() {
                tun.receive(64, &mut |meta, packet| {
                    if let Some((data, port)) = udp_of(meta, packet) {
                        question = Some((*meta, data, port));
                    }
                })
                .unwrap();
            }
            if question.is_none() {
                queues[0].wait(Some(Duration::from_millis(10))).unwrap();
            }
        }
        let (meta, data, port) = question.unwrap();
        assert_eq!(data, b"question");
        metas.push(meta);
        // Every queue may be used to send, and each is.
        for tun in queues.iter_mut() {
            let (meta, packet) = udp_packet(ours, kernel, port, b"answer");
            transmit(tun, meta, &packet);
            let mut buffer = [0; 64];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (b"answer".as_slice(), SocketAddr::new(ours, 9)));
        }
    }
    metas
}

#[test]
fn kernel_asks_over_udp_and_gets_an_answer_with_offloads() {
    in_namespace(|| {
        let tun = Tun::open(&options()).unwrap();
        let gso = 65535;
        let caps = Capabilities { mtu: 1400, tx_checksum: true, tx_gso_v4: gso, tx_gso_v6: gso };
        assert_eq!(tun.capabilities(), caps);
        let mut queues = [tun];
        for meta in question_and_answer(&mut queues) {
            assert!(matches!(meta.checksum, ChecksumState::Partial { offset: 6, .. }), "{meta:?}");
        }
        assert_eq!(queues[0].stats(), Default::default());
    });
}

#[test]
fn without_offloads_packets_are_finished_on_both_ways() {
    in_namespace(|| {
        let tun = Tun::open(&TunOptions { offloads: false, ..options() }).unwrap();
        assert_eq!(tun.capabilities(), Capabilities::plain(1400));
        for meta in question_and_answer(&mut [tun]) {
            assert_eq!(meta, PacketMeta::default());
        }
    });
}

#[test]
fn every_queue_of_a_multi_queue_interface_works() {
    in_namespace(|| {
        let mut queues = Tun::open_queues(&options(), 3).unwrap();
        assert_eq!(queues.len(), 3);
        assert!(queues.iter().all(|queue| queue.name() == queues[0].name()));
        question_and_answer(&mut queues);
    });
}

#[test]
fn persistent_interface_is_attached_to_by_name() {
    in_namespace(|| {
        let made = tun_rs::DeviceBuilder::new().name("lastack7").build_sync().unwrap();
        made.persist().unwrap();
        drop(made);
        let tun = Tun::open(&TunOptions { name: Some("lastack7".into()), ..options() }).unwrap();
        assert_eq!(tun.name(), "lastack7");
        let second = Tun::open(&TunOptions { name: Some("lastack7".into()), ..options() }).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::ResourceBusy);
        assert!(second.to_string().contains("lastack7"), "{second}");
        question_and_answer(&mut [tun]);
    });
}

#[test]
fn descriptor_of_another_namespace_is_taken_over() {
    in_namespace(|| {
        let opened = Tun::open(&options()).unwrap();
        let name = opened.name().to_owned();
        let fd = opened.poll_fd().unwrap().try_clone_to_owned().unwrap();
        drop(opened);
        // A thread that is in yet another namespace makes the device of it.
        let outside = thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            Tun::from_fd(fd, &TunOptions { mtu: Some(1400), ..TunOptions::default() }).unwrap()
        });
        let tun = outside.join().unwrap();
        assert_eq!((tun.name(), tun.capabilities().mtu), (name.as_str(), 1400));
        question_and_answer(&mut [tun]);
    });
}

#[test]
fn descriptor_that_is_no_tun_is_refused() {
    let null = std::fs::File::open("/dev/null").unwrap().as_fd().try_clone_to_owned().unwrap();
    let error = Tun::from_fd(null, &TunOptions::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn waker_ends_a_wait_without_end() {
    in_namespace(|| {
        // Down: the kernel sends nothing of its own.
        let mut tun = Tun::open(&TunOptions { up: false, ..TunOptions::default() }).unwrap();
        let waker = tun.waker();
        thread::scope(|scope| {
            scope.spawn(move || waker.wake());
            tun.wait(None).unwrap();
        });
    });
}

#[test]
fn packets_to_an_interface_that_is_down_are_counted() {
    in_namespace(|| {
        let mut tun = Tun::open(&TunOptions { up: false, ..options() }).unwrap();
        let (meta, packet) = udp_packet(OURS_V4.into(), KERNEL_V4.into(), 1, b"lost");
        transmit(&mut tun, meta, &packet);
        assert_eq!(tun.stats().tx_refused, 1);
    });
}

/// A TCP peer with just enough in it to exchange segmented packets with the kernel.
fn segmented_packets_both_ways(options: &TunOptions, kernel: IpAddr, ours: IpAddr) {
    const TO_KERNEL: usize = 20_000;
    const FROM_KERNEL: usize = 9_000;
    let mut tun = Tun::open(options).unwrap();
    let listener = TcpListener::bind(SocketAddr::new(kernel, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let application = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut data = vec![0; TO_KERNEL];
        stream.read_exact(&mut data).unwrap();
        stream.write_all(&testing::bytes(FROM_KERNEL)).unwrap();
        data
    });
    let header = |seq: u32, ack: u32, flags| tcp::Repr {
        src_port: 5000,
        dst_port: port,
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags,
        window: 65535,
        ..Default::default()
    };
    let mut syn = header(0, 0, tcp::Flags::SYN);
    syn.options.mss = Some(1000);
    let (meta, packet) = testing::tcp_packet(ours, kernel, &syn, &[], 0);
    transmit(&mut tun, meta, &packet);
    let synack = receive_until(&mut tun, |_, packet| {
        let ip = ip::Packet::parse(packet).ok().filter(|ip| ip.protocol() == ip::protocol::TCP)?;
        Some(tcp::Segment::parse(ip.payload()).unwrap().seq)
    });
    let first = synack + 1;
    let ack = header(1, first.0, tcp::Flags::ACK | tcp::Flags::PSH);
    let (meta, packet) = testing::tcp_packet(ours, kernel, &ack, &testing::bytes(TO_KERNEL), 1000);
    transmit(&mut tun, meta, &packet);
    let mut got = vec![0u8; FROM_KERNEL];
    let mut up_to = 0;
    let mut segmented = 0;
    while up_to < FROM_KERNEL {
        receive_until(&mut tun, |meta, packet| {
            let ip = ip::Packet::parse(packet).ok().filter(|ip| ip.protocol() == ip::protocol::TCP)?;
            assert_eq!((ip.src(), ip.dst()), (kernel, ours));
            segmented += usize::from(meta.gso.is_some_and(|gso| gso.size == 1000));
            segment(meta, packet, &mut |wire: &[u8]| {
                let (_, tcp) = testing::parse(wire);
                assert!(tcp.payload.len() <= 1000);
                let at = tcp.seq.distance_from(first) as usize;
                got[at..at + tcp.payload.len()].copy_from_slice(tcp.payload);
                up_to = up_to.max(at + tcp.payload.len());
            })
            .unwrap();
            Some(())
        });
    }
    assert_eq!(got, testing::bytes(FROM_KERNEL));
    assert!(segmented > 0, "the kernel sent no segmented packet");
    assert_eq!(application.join().unwrap(), testing::bytes(TO_KERNEL));
    assert_eq!(tun.stats(), Default::default());
}

#[test]
fn segmented_ipv4_packets_pass_in_both_directions() {
    in_namespace(|| segmented_packets_both_ways(&options(), KERNEL_V4.into(), OURS_V4.into()));
}

#[test]
fn segmented_ipv6_packets_pass_in_both_directions() {
    in_namespace(|| segmented_packets_both_ways(&options(), KERNEL_V6.into(), OURS_V6.into()));
}

fn tap() -> TunOptions {
    TunOptions { name: Some("lastack8".into()), ethernet: true, ..options() }
}

#[test]
fn kernel_finds_whoever_it_asks_for_on_a_tap_and_talks_to_it() {
    in_namespace(|| {
        for offloads in [true, false] {
            let mut queues = [Tun::open(&TunOptions { offloads, ..tap() }).unwrap()];
            question_and_answer(&mut queues);
            assert_eq!(queues[0].stats(), Default::default());
        }
    });
}

#[test]
fn segmented_packets_pass_a_tap_in_both_directions() {
    in_namespace(|| segmented_packets_both_ways(&tap(), KERNEL_V4.into(), OURS_V4.into()));
    in_namespace(|| segmented_packets_both_ways(&tap(), KERNEL_V6.into(), OURS_V6.into()));
}

#[test]
fn tap_that_is_there_is_not_taken_for_a_tun() {
    in_namespace(|| {
        let made =
            tun_rs::DeviceBuilder::new().name("lastack8").layer(tun_rs::Layer::L2).build_sync().unwrap();
        made.persist().unwrap();
        drop(made);
        let error = Tun::open(&TunOptions { ethernet: false, ..tap() }).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        question_and_answer(&mut [Tun::open(&tap()).unwrap()]);
    });
}

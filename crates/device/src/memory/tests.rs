use std::thread;

use super::*;
use crate::testing::{addresses, bytes, header, parse, tcp_packet};

/// Everything offered.
fn offloads() -> Capabilities {
    Capabilities { mtu: 1500, tx_checksum: true, tx_gso_v4: 65535, tx_gso_v6: 65535 }
}

fn send(device: &mut impl Device, packets: &[(PacketMeta, Vec<u8>)]) -> usize {
    let mut packets = packets.iter();
    device
        .transmit(&mut |frame| {
            let (meta, packet) = packets.next()?;
            frame[..packet.len()].copy_from_slice(packet);
            Some((packet.len(), *meta))
        })
        .unwrap()
}

fn drain(device: &mut impl Device, max: usize) -> Vec<(PacketMeta, Vec<u8>)> {
    let mut got = Vec::new();
    let count = device.receive(max, &mut |meta, packet| got.push((*meta, packet.to_vec()))).unwrap();
    assert_eq!(count, got.len());
    got
}

fn gso_packet(v6: bool) -> (PacketMeta, Vec<u8>) {
    let (src, dst) = addresses(v6);
    tcp_packet(src, dst, &header(9), &bytes(5000), 1000)
}

fn small(n: u8) -> (PacketMeta, Vec<u8>) {
    (PacketMeta::default(), vec![n; 40])
}

#[test]
fn meta_crosses_unchanged_between_equal_ends() {
    let (mut a, mut b) = pair(offloads(), offloads());
    let (src, dst) = addresses(false);
    let partial = tcp_packet(src, dst, &header(9), &bytes(50), 0);
    let verified = (PacketMeta { checksum: ChecksumState::Verified, gso: None }, vec![1; 30]);
    let packets = [gso_packet(false), gso_packet(true), partial, verified];
    assert_eq!(send(&mut a, &packets), 4);
    assert_eq!(drain(&mut b, 64), packets);
    assert_eq!(send(&mut b, &packets), 4);
    assert_eq!(drain(&mut a, 64), packets);
}

#[test]
fn packets_are_split_and_finished_for_an_end_without_offloads() {
    let (mut a, mut b) = pair(offloads(), Capabilities::plain(1500));
    for v6 in [false, true] {
        let (meta, packet) = gso_packet(v6);
        send(&mut a, &[(meta, packet.clone())]);
        let got = drain(&mut b, 64);
        assert_eq!(got.len(), 5);
        let mut joined = Vec::new();
        for (meta, packet) in &got {
            assert_eq!(*meta, PacketMeta::default());
            joined.extend_from_slice(parse(packet).1.payload);
        }
        assert_eq!(joined, bytes(5000));
    }
}

#[test]
fn full_queue_is_found_out_before_the_packet_is_asked_for() {
    let caps = Capabilities::plain(1500);
    let (mut a, mut b) = pair_with_capacity(caps, caps, 3);
    let packets: Vec<_> = (0..5).map(small).collect();
    assert_eq!(send(&mut a, &packets), 3);
    assert!(a.is_full());
    let taken = a.transmit(&mut |_| panic!("a full device asked for a packet")).unwrap();
    assert_eq!(taken, 0);
    assert_eq!(drain(&mut b, 2), packets[..2]);
    assert_eq!(send(&mut a, &packets[3..]), 2);
    assert_eq!(drain(&mut b, 64), packets[2..]);
    assert_eq!(a.stats(), Stats::default());
}

#[test]
fn what_no_wire_could_carry_is_dropped_and_counted() {
    let (mut a, mut b) = pair(Capabilities::plain(1500), Capabilities::plain(1000));
    send(&mut a, &[(PacketMeta::default(), vec![1; 1200]), small(1)]);
    let outside = PacketMeta { checksum: ChecksumState::Partial { start: 60, offset: 16 }, gso: None };
    send(&mut a, &[(outside, vec![1; 40])]);
    assert_eq!(a.transmit(&mut |frame| Some((frame.len() + 1, PacketMeta::default()))).unwrap(), 255);
    assert_eq!(a.stats(), Stats { too_large: 256, malformed: 1, no_peer: 0 });
    assert_eq!(drain(&mut b, 64), [small(1)]);
}

#[test]
fn buffers_are_recycled_and_bounded() {
    let caps = Capabilities::plain(1500);
    let (mut a, mut b) = pair_with_capacity(caps, caps, 4);
    for round in 0..50 {
        send(&mut a, &[small(round), small(round)]);
        assert_eq!(drain(&mut b, 64).len(), 2);
    }
    let held = a.link.lock()[0].free.len() + a.spare.len() + b.used.len();
    assert!((1..=4).contains(&held), "{held} buffers for 2 packets at a time");
}

#[test]
fn dropped_end_takes_packets_no_more() {
    let (mut a, mut b) = pair(offloads(), offloads());
    send(&mut b, &[small(1)]);
    drop(b);
    assert!(a.peer_gone());
    assert_eq!(drain(&mut a, 64), [small(1)]);
    assert_eq!(send(&mut a, &[small(2)]), 1);
    assert_eq!(a.stats().no_peer, 1);
}

#[test]
fn wake_up_before_the_wait_is_not_lost() {
    let (mut a, _b) = pair(offloads(), offloads());
    let waker = a.waker();
    waker.wake();
    waker.clone().wake();
    a.wait(None).unwrap();
    a.wait(Some(Duration::ZERO)).unwrap();
}

#[test]
fn wait_ends_by_packet_room_or_waker_of_another_thread() {
    let caps = Capabilities::plain(1500);
    let (mut a, mut b) = pair_with_capacity(caps, caps, 1);
    send(&mut a, &[small(0), small(1)]);
    let waker = b.waker();
    let other = thread::spawn(move || {
        // Room: ends when the other thread has received.
        a.wait(None).unwrap();
        assert_eq!(send(&mut a, &[small(1)]), 1);
        waker.wake();
        a
    });
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(drain(&mut b, 64));
        if got.len() < 2 {
            b.wait(None).unwrap();
        }
    }
    assert_eq!(got, [small(0), small(1)]);
    let _a = other.join().unwrap();
    b.wait(Some(Duration::ZERO)).unwrap();
}

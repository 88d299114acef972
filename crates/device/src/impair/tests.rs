use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lastack_wire::ChecksumState;

use super::*;
use crate::memory::{self, MemoryDevice};
use crate::testing::{addresses, bytes, header, parse, tcp_packet};

const MS: u64 = 1_000_000;

/// A virtual clock and a link with an impaired end.
struct Rig {
    now: Arc<AtomicU64>,
    a: Impair<MemoryDevice>,
    b: MemoryDevice,
}

impl Rig {
    fn new(seed: u64, tx: Impairment, rx: Impairment) -> Self {
        let caps = Capabilities { mtu: 1500, tx_checksum: true, tx_gso_v4: 65535, tx_gso_v6: 65535 };
        let (a, b) = memory::pair_with_capacity(caps, caps, 4096);
        let now = Arc::new(AtomicU64::new(0));
        let reading = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Duration::from_nanos(reading.load(Ordering::Relaxed)));
        Self { now, a: Impair::new(a, seed, tx, rx, clock), b }
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now.store(ms * MS, Ordering::Relaxed);
        self
    }

    /// Sends `count` packets with their number in them.
    fn send(&mut self, count: u32) {
        let mut numbers = 0..count;
        self.a
            .transmit(&mut |frame| {
                let number = numbers.next()?;
                frame[..100].fill(0);
                frame[..4].copy_from_slice(&number.to_be_bytes());
                Some((100, PacketMeta::default()))
            })
            .unwrap();
    }

    /// Moves the clock from one `next_ready` to the next and gives what arrived: time in ms, packet.
    fn run(&mut self) -> Vec<(u64, Vec<u8>)> {
        let mut got = Vec::new();
        loop {
            let now = self.now.load(Ordering::Relaxed) / MS;
            self.b.receive(10_000, &mut |_, packet| got.push((now, packet.to_vec()))).unwrap();
            let Some(next) = self.a.next_ready() else { return got };
            self.now.store(next.as_nanos() as u64, Ordering::Relaxed);
            self.a.receive(10_000, &mut |_, _| {}).unwrap();
        }
    }
}

fn numbers(got: &[(u64, Vec<u8>)]) -> Vec<u32> {
    got.iter().map(|(_, packet)| u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]])).collect()
}

#[test]
fn default_is_a_perfect_line() {
    let mut rig = Rig::new(1, Impairment::default(), Impairment::default());
    rig.send(100);
    assert_eq!(numbers(&rig.run()), Vec::from_iter(0..100));
    assert_eq!(rig.a.tx_stats(), Stats { packets: 100, delivered: 100, ..Stats::default() });
}

#[test]
fn packets_take_the_delay_in_each_direction() {
    let tx = Impairment { delay: Duration::from_millis(30), ..Default::default() };
    let rx = Impairment { delay: Duration::from_millis(50), ..Default::default() };
    let mut rig = Rig::new(1, tx, rx);
    rig.send(1);
    let mut once = Some(());
    rig.b.transmit(&mut |_| once.take().map(|()| (60, PacketMeta::default()))).unwrap();
    let mut got = 0;
    for (ms, arrived) in [(0, 0), (29, 0), (30, 1)] {
        rig.at(ms).a.receive(8, &mut |_, _| got += 1).unwrap();
        assert_eq!(rig.b.receive(8, &mut |_, _| {}).unwrap(), arrived, "at {ms} ms");
    }
    assert_eq!(rig.a.next_ready(), Some(Duration::from_millis(50)));
    assert_eq!(got, 0);
    assert_eq!(rig.at(50).a.receive(8, &mut |_, _| {}).unwrap(), 1);
    assert_eq!(rig.a.next_ready(), None);
}

#[test]
fn rate_spaces_packets() {
    // 100 bytes at 80 kbit/s take 10 ms.
    let tx = Impairment { rate: Some(80_000), ..Default::default() };
    let mut rig = Rig::new(1, tx, Impairment::default());
    rig.send(5);
    let times: Vec<_> = rig.run().iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [10, 20, 30, 40, 50]);
}

#[test]
fn jitter_keeps_the_order_and_stays_in_its_range() {
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(20));
    let mut rig = Rig::new(7, Impairment { delay, jitter, ..Default::default() }, Impairment::default());
    rig.send(200);
    let got = rig.run();
    assert_eq!(numbers(&got), Vec::from_iter(0..200));
    assert!(got.iter().all(|(ms, _)| (10..=30).contains(ms)));
    assert!(got.first().unwrap().0 < got.last().unwrap().0);
}

#[test]
fn every_fault_fires_about_as_often_as_asked_and_is_counted() {
    let tx = Impairment {
        loss: 0.1,
        duplicate: 0.2,
        corrupt: 0.3,
        reorder: 0.1,
        delay: Duration::from_millis(5),
        ..Default::default()
    };
    let mut rig = Rig::new(42, tx, Impairment::default());
    for ms in 0..1000 {
        rig.at(ms * 2).send(1);
    }
    let got = rig.run();
    let stats = rig.a.tx_stats();
    assert_eq!(stats.packets, 1000);
    assert!((50..200).contains(&stats.lost), "{stats:?}");
    assert!((100..300).contains(&stats.duplicated), "{stats:?}");
    assert!((180..400).contains(&stats.corrupted), "{stats:?}");
    assert!((50..200).contains(&stats.held_back), "{stats:?}");
    assert!(stats.reordered > 0, "{stats:?}");
    assert_eq!(stats.delivered, 1000 - stats.lost + stats.duplicated);
    assert_eq!(got.len() as u64, stats.delivered);
}

#[test]
fn corruption_flips_one_bit() {
    let tx = Impairment { corrupt: 1.0, ..Default::default() };
    let mut rig = Rig::new(3, tx, Impairment::default());
    let mut once = Some(());
    rig.a
        .transmit(&mut |frame| {
            once.take()?;
            frame[..64].fill(0);
            Some((64, PacketMeta::default()))
        })
        .unwrap();
    let got = rig.run();
    assert_eq!(got[0].1.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
}

#[test]
fn same_seed_same_fate_another_seed_another() {
    let tx = Impairment {
        loss: 0.2,
        duplicate: 0.2,
        corrupt: 0.2,
        reorder: 0.2,
        jitter: Duration::from_millis(9),
        ..Default::default()
    };
    let run = |seed| {
        let mut rig = Rig::new(seed, tx.clone(), Impairment::default());
        rig.send(300);
        rig.run()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn turning_on_one_fault_does_not_move_another() {
    let lost = |corrupt| {
        let tx = Impairment { loss: 0.3, corrupt, ..Default::default() };
        let mut rig = Rig::new(5, tx, Impairment::default());
        rig.send(300);
        rig.run();
        rig.a.tx_stats().lost
    };
    assert_eq!(lost(0.0), lost(1.0));
}

#[test]
fn overflow_is_dropped_and_counted() {
    let tx = Impairment { delay: Duration::from_secs(1), limit: 10, ..Default::default() };
    let mut rig = Rig::new(1, tx, Impairment::default());
    rig.send(10);
    rig.send(5);
    assert_eq!(rig.run().len(), 10);
    assert_eq!(rig.a.tx_stats().overflowed, 5);
}

#[test]
fn bottleneck_keeps_what_fits_its_queue_and_drops_the_rest() {
    // A packet of 100 bytes takes 1 ms.
    let tx = Impairment { rate: Some(800_000), queue: Some(450), ..Default::default() };
    let mut rig = Rig::new(1, tx, Impairment::default());
    rig.send(10);
    assert_eq!(rig.a.tx_stats().overflowed, 6);
    rig.at(1).a.receive(1, &mut |_, _| {}).unwrap();
    // One has left, another fits.
    rig.send(2);
    assert_eq!(rig.a.tx_stats().overflowed, 7);
    assert_eq!(numbers(&rig.run()), [0, 1, 2, 3, 0]);
}

#[test]
fn dice_are_rolled_for_wire_sized_packets_with_finished_checksums() {
    let mut rig = Rig::new(1, Impairment::default(), Impairment::default());
    let (src, dst) = addresses(false);
    let (meta, packet) = tcp_packet(src, dst, &header(1), &bytes(5000), 1000);
    let send = |device: &mut dyn Device| {
        let mut once = Some(());
        let mut fill = |frame: &mut [u8]| {
            once.take()?;
            frame[..packet.len()].copy_from_slice(&packet);
            Some((packet.len(), meta))
        };
        device.transmit(&mut fill).unwrap();
    };
    send(&mut rig.a);
    send(&mut rig.b);
    let mut count = 0;
    let mut check = |meta: &PacketMeta, packet: &[u8]| {
        assert_eq!(meta.checksum, ChecksumState::Complete);
        assert!(meta.gso.is_none());
        assert_eq!(parse(packet).1.payload.len(), 1000);
        count += 1;
    };
    rig.b.receive(64, &mut check).unwrap();
    rig.a.receive(64, &mut check).unwrap();
    assert_eq!(count, 10);
    assert_eq!((rig.a.tx_stats().packets, rig.a.rx_stats().packets), (5, 5));
}

#[test]
fn packets_wait_for_a_full_device_below() {
    let caps = Capabilities::plain(1500);
    let (a, mut b) = memory::pair_with_capacity(caps, caps, 2);
    let clock: Clock = Arc::new(|| Duration::ZERO);
    let mut a = Impair::new(a, 1, Impairment::default(), Impairment::default(), clock);
    let mut left = 5;
    a.transmit(&mut |_| {
        left = u32::checked_sub(left, 1)?;
        Some((60, PacketMeta::default()))
    })
    .unwrap();
    assert!(a.is_full());
    assert_eq!(a.next_ready(), None, "no deadline for what the clock does not decide");
    let mut got = 0;
    while a.is_full() {
        got += b.receive(64, &mut |_, _| {}).unwrap();
        a.receive(64, &mut |_, _| {}).unwrap();
    }
    got += b.receive(64, &mut |_, _| {}).unwrap();
    assert_eq!(got, 5);
    assert_eq!(a.tx_stats().delivered, 5);
}

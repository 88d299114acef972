//! Two stacks and a link that loses, delays, duplicates and splits: every byte arrives, once and in order, and nothing is
//! left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use core::time::Duration;
use lastack_core::wire::{Capabilities, ChecksumState, PacketMeta, tcp};
use lastack_core::{Config, Counts, Error, Event, Instant, Ready, Shutdown, Stack, State, TcpHandle};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A small generator (SplitMix64): the link's dice.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True in `per_mille` of 1000 cases.
    fn hits(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    latency: Duration,
    /// Per mille.
    loss: u32,
    duplicate: u32,
    reorder: u32,
    corrupt: u32,
    /// GSO frames are split into wire packets; otherwise the receiver gets them merged.
    split: bool,
}

impl Link {
    const CLEAN: Self = Self {
        latency: Duration::from_millis(5),
        loss: 0,
        duplicate: 0,
        reorder: 0,
        corrupt: 0,
        split: true,
    };
}

/// One direction of a transfer at one end.
#[derive(Default)]
struct Flow {
    /// Bytes still to be written.
    to_write: u64,
    written: u64,
    read: u64,
    shut: bool,
    eof: bool,
}

fn byte_at(side: usize, offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ side as u8
}

struct Net {
    stacks: [Stack; 2],
    handles: [TcpHandle; 2],
    flows: [Flow; 2],
    link: Link,
    dice: Dice,
    line: BTreeMap<(Instant, u64), (usize, PacketMeta, Vec<u8>)>,
    serial: u64,
    now: Instant,
    /// Largest read and write of the application.
    chunk: u64,
}

impl Net {
    fn new(config: &Config, caps: Capabilities, link: Link, seed: u64) -> Self {
        let now = Instant::from_secs(5);
        let stack = |n: u8| {
            let mut config = config.clone();
            config.addresses = vec![format!("10.0.0.{n}/24").parse().unwrap()];
            Stack::new(config, caps, [n ^ seed as u8; 32], now)
        };
        let mut stacks = [stack(1), stack(2)];
        let listener = stacks[1].tcp_socket();
        stacks[1].tcp_bind(listener, "10.0.0.2:80".parse().unwrap()).unwrap();
        stacks[1].tcp_listen(now, listener, 4).unwrap();
        let client = stacks[0].tcp_socket();
        stacks[0].tcp_connect(now, client, "10.0.0.2:80".parse().unwrap()).unwrap();
        let mut net = Self {
            stacks,
            handles: [client; 2],
            flows: Default::default(),
            link: Link::CLEAN,
            dice: Dice(seed),
            line: BTreeMap::new(),
            serial: 0,
            now,
            chunk: 100_000,
        };
        net.run_until(now + Duration::from_millis(100), &mut |_| {});
        net.handles[1] = net.stacks[1].tcp_accept(listener).unwrap();
        net.stacks[1].tcp_close(net.now, listener);
        net.link = link;
        net
    }

    /// Puts the packets of one stack on the line.
    fn send(&mut self, from: usize) {
        let mut frame = vec![0; 66_000];
        while let Some((len, meta)) = self.stacks[from].transmit(self.now, &mut frame) {
            if self.link.split && meta.gso.is_some() {
                for packet in split(&frame[..len], &meta) {
                    self.fly(from, PacketMeta::default(), packet);
                }
            } else {
                self.fly(from, meta, frame[..len].to_vec());
            }
        }
    }

    fn fly(&mut self, from: usize, meta: PacketMeta, mut packet: Vec<u8>) {
        let link = self.link;
        if self.dice.hits(link.loss) {
            return;
        }
        let copies = 1 + usize::from(self.dice.hits(link.duplicate));
        for _ in 0..copies {
            let mut at = self.now + link.latency;
            if self.dice.hits(link.reorder) {
                at += Duration::from_micros(self.dice.below(3 * link.latency.as_micros() as u64 + 1));
            }
            if meta.checksum == ChecksumState::Complete && self.dice.hits(link.corrupt) {
                let bit = self.dice.below(packet.len() as u64 * 8) as usize;
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            self.serial += 1;
            self.line.insert((at, self.serial), (1 - from, meta, packet.clone()));
        }
    }

    /// Runs until `end`; `step` lets the applications act after each event.
    fn run_until(&mut self, end: Instant, step: &mut dyn FnMut(&mut Self)) {
        loop {
            step(self);
            self.send(0);
            self.send(1);
            let arrival = self.line.first_key_value().map(|((at, _), _)| *at);
            let timers = [arrival, self.stacks[0].next_timeout(), self.stacks[1].next_timeout()];
            let Some(next) = timers.into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.line.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, meta, packet) = entry.remove();
                self.stacks[to].receive(self.now, &meta, &packet);
            }
            for stack in &mut self.stacks {
                stack.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    /// Both applications write what is left, read all, and shut down when they have written everything.
    fn step(&mut self, side: usize) {
        let (stack, h, flow) = (&mut self.stacks[side], self.handles[side], &mut self.flows[side]);
        while flow.to_write > 0 {
            let len = (1 + self.dice.below(self.chunk)).min(flow.to_write);
            let data: Vec<u8> = (flow.written..flow.written + len).map(|at| byte_at(side, at)).collect();
            match stack.tcp_write(self.now, h, &data) {
                Ok(n) => {
                    flow.written += n as u64;
                    flow.to_write -= n as u64;
                }
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("side {side} cannot write: {error}"),
            }
        }
        if flow.to_write == 0 && !flow.shut {
            stack.tcp_shutdown(self.now, h, Shutdown::Write).unwrap();
            flow.shut = true;
        }
        let mut buf = vec![0; self.chunk as usize];
        while !flow.eof {
            let len = 1 + self.dice.below(self.chunk) as usize;
            match stack.tcp_read(self.now, h, &mut buf[..len]) {
                Ok(0) => flow.eof = true,
                Ok(n) => {
                    for (i, byte) in buf[..n].iter().enumerate() {
                        assert_eq!(*byte, byte_at(1 - side, flow.read + i as u64), "at {}", flow.read);
                    }
                    flow.read += n as u64;
                }
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("side {side} cannot read: {error}"),
            }
        }
    }

    /// Transfers `bytes` (a to b, b to a) and closes; gives the time it took.
    fn transfer(&mut self, bytes: [u64; 2], limit: Duration) -> Duration {
        let start = self.now;
        for (flow, bytes) in self.flows.iter_mut().zip(bytes) {
            *flow = Flow { to_write: bytes, ..Flow::default() };
        }
        let end = self.now + limit;
        let mut done = None;
        self.run_until(end, &mut |net| {
            if done.is_none() {
                net.step(0);
                net.step(1);
                if net.flows.iter().all(|flow| flow.eof) {
                    done = Some(net.now);
                }
            }
        });
        let done = done.unwrap_or_else(|| {
            let read = [self.flows[1].read, self.flows[0].read];
            let info = [0, 1].map(|side| self.stacks[side].tcp_info(self.handles[side]));
            panic!("{bytes:?} bytes did not arrive within {limit:?}: {read:?}, {info:#?}")
        });
        assert_eq!([self.flows[1].read, self.flows[0].read], bytes);
        done - start
    }

    /// Gives the handles back; after TIME_WAIT nothing is left.
    fn expect_nothing_left(&mut self) {
        for side in 0..2 {
            self.stacks[side].tcp_close(self.now, self.handles[side]);
        }
        self.link = Link { latency: self.link.latency, ..Link::CLEAN };
        self.run_until(self.now + Duration::from_secs(400), &mut |_| {});
        for stack in &self.stacks {
            assert_eq!(stack.counts(), Counts::default(), "something was left");
            assert_eq!(stack.counters().illegal_transitions, 0);
            assert!(stack.is_idle());
        }
    }
}

/// What a device with segmentation offload does: one packet for each segment, checksums finished.
fn split(frame: &[u8], meta: &PacketMeta) -> Vec<Vec<u8>> {
    let gso = meta.gso.unwrap();
    let (header, size) = (usize::from(gso.hdr_len), usize::from(gso.size));
    let payload = &frame[header..];
    assert!(payload.len() > size, "a frame of one segment needs no splitting");
    let count = payload.len().div_ceil(size);
    payload
        .chunks(size)
        .enumerate()
        .map(|(n, piece)| {
            let mut packet = frame[..header].to_vec();
            packet.extend_from_slice(piece);
            let total = packet.len() as u16;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[10..12].fill(0);
            let sum: u32 = packet[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            let seq = u32::from_be_bytes(packet[24..28].try_into().unwrap()).wrapping_add((n * size) as u32);
            packet[24..28].copy_from_slice(&seq.to_be_bytes());
            if n + 1 < count {
                // FIN and PSH belong to the last one.
                packet[33] &= !0b1001;
            }
            let (src, dst) = ([10, 0, 0, frame[15]], [10, 0, 0, frame[19]]);
            packet[20 + tcp::CHECKSUM_OFFSET..][..2].fill(0);
            tcp::fill_checksum(src.into(), dst.into(), &mut packet[20..]).unwrap();
            packet
        })
        .collect()
}

fn gso_caps() -> Capabilities {
    Capabilities { mtu: 1500, tx_checksum: true, tx_gso_v4: 65_535, tx_gso_v6: 65_535 }
}

const MIB: u64 = 1 << 20;

#[test]
fn ten_mebibytes_each_way_over_a_clean_link() {
    for (caps, split) in [(Capabilities::plain(1500), true), (gso_caps(), true), (gso_caps(), false)] {
        for congestion in ["cubic", "reno", "bbr", "bbr3"] {
            let mut config = Config::default();
            config.tcp.congestion = congestion.into();
            let mut net = Net::new(&config, caps, Link { split, ..Link::CLEAN }, 1);
            let time = net.transfer([10 * MIB, 10 * MIB], Duration::from_secs(20));
            // 10 ms round trips: slow start and window tuning are over within some twenty of them.
            assert!(time < Duration::from_secs(1), "{congestion} {caps:?}: {time:?}");
            for stack in &net.stacks {
                assert_eq!(stack.counters().retrans_segs, 0, "nothing was lost");
                assert_eq!(stack.counts().buffer_bytes, 0, "an idle connection holds no chunk");
            }
            net.expect_nothing_left();
        }
    }
}

#[test]
fn slow_start_doubles_the_window_each_round_trip_though_acks_come_in_batches() {
    let mut net = Net::new(&Config::default(), Capabilities::plain(1500), Link::CLEAN, 1);
    net.flows[0] = Flow { to_write: 50 * MIB, ..Flow::default() };
    net.flows[1] = Flow { to_write: 1, ..Flow::default() };
    let start = net.now;
    let mut windows = Vec::new();
    for round in 1..=6 {
        net.run_until(start + Duration::from_micros(10_100 * round), &mut |net| {
            net.step(0);
            net.step(1);
        });
        windows.push(net.stacks[0].tcp_info(net.handles[0]).unwrap().cwnd);
    }
    for pair in windows.windows(2) {
        // The receiver's window may come first in the end.
        let grown = f64::from(pair[1]) / f64::from(pair[0]);
        assert!(grown > 1.9 || pair[1] > 170, "{windows:?}");
    }
}

#[test]
fn ten_mebibytes_each_way_over_a_bad_link() {
    let link = Link { loss: 20, duplicate: 10, reorder: 10, corrupt: 2, ..Link::CLEAN };
    for (n, caps) in [Capabilities::plain(1500), gso_caps()].into_iter().enumerate() {
        for congestion in ["cubic", "reno", "bbr", "bbr3"] {
            let mut config = Config::default();
            config.tcp.congestion = congestion.into();
            let mut net = Net::new(&config, caps, link, 7 + n as u64);
            let time = net.transfer([10 * MIB, 10 * MIB], Duration::from_secs(1200));
            println!("{congestion} {n}: {time:?}");
            net.expect_nothing_left();
        }
    }
}

#[test]
fn without_options_a_bad_link_delivers_as_well() {
    let mut config = Config::default();
    config.tcp.timestamps = false;
    config.tcp.sack = false;
    config.tcp.window_scaling = false;
    let link = Link { loss: 30, duplicate: 20, reorder: 30, ..Link::CLEAN };
    let mut net = Net::new(&config, Capabilities::plain(1500), link, 3);
    let time = net.transfer([2 * MIB, 2 * MIB], Duration::from_secs(1200));
    println!("no options: {time:?}");
    net.expect_nothing_left();
}

#[test]
fn a_small_mtu_and_small_buffers_deliver() {
    let mut config = Config::default();
    config.tcp.recv_buffer_max = 4096;
    config.tcp.send_buffer_max = 4096;
    let link = Link { loss: 10, reorder: 50, ..Link::CLEAN };
    let mut net = Net::new(&config, Capabilities::plain(576), link, 5);
    net.chunk = 700;
    net.transfer([MIB / 4, MIB / 4], Duration::from_secs(600));
    net.expect_nothing_left();
}

/// SND.UNA passes 2^31 beyond the last loss: no number that recovery left behind may come alive again.
#[test]
fn more_than_two_gibibytes_in_one_connection_meet_no_stale_number() {
    let mut config = Config::default();
    config.tcp.recv_buffer_initial = 6 << 20;
    let mut net = Net::new(
        &config,
        gso_caps(),
        Link { split: false, latency: Duration::from_micros(50), ..Link::CLEAN },
        1,
    );
    let data = vec![7; 256 << 10];
    let mut buf = vec![0; 1 << 20];
    let (mut written, mut read) = (0u64, 0u64);
    let total = 5u64 << 29;
    let mut lost_once = false;
    let end = net.now + Duration::from_secs(10_000);
    let started = net.now;
    net.run_until(end, &mut |net| {
        while written < total {
            match net.stacks[0].tcp_write(net.now, net.handles[0], &data) {
                Ok(n) => written += n as u64,
                Err(_) => break,
            }
        }
        while let Ok(n) = net.stacks[1].tcp_read(net.now, net.handles[1], &mut buf) {
            read += n as u64;
        }
        if read > 10 * MIB && !lost_once {
            lost_once = true;
            // One frame is lost early.
            net.send(0);
            let first = net.line.keys().find(|key| net.line[key].0 == 1).copied();
            first.map(|key| net.line.remove(&key));
        }
    });
    assert!(read >= total, "{read} of {total} bytes in {:?}", net.now - started);
    assert!(lost_once);
    assert!(net.stacks[0].counters().retrans_segs < 2000, "{}", net.stacks[0].counters().retrans_segs);
    assert_eq!(net.stacks[0].counts().buffer_bytes, 0);
}

#[test]
fn idle_connections_hold_no_buffer_and_the_record_stays_small() {
    let mut net = Net::new(&Config::default(), Capabilities::plain(1500), Link::CLEAN, 1);
    for _ in 0..50 {
        for side in 0..2 {
            net.flows[side] = Flow { to_write: 0, shut: true, ..Flow::default() };
            net.stacks[side].tcp_write(net.now, net.handles[side], &[1; 30_000]).unwrap();
        }
        let mut buf = vec![0; 100_000];
        net.run_until(net.now + Duration::from_secs(1), &mut |net| {
            for side in 0..2 {
                while net.stacks[side].tcp_read(net.now, net.handles[side], &mut buf).is_ok() {}
            }
        });
        for stack in &net.stacks {
            assert_eq!(stack.counts().buffer_bytes, 0);
        }
    }
}

fn links() -> impl Strategy<Value = Link> {
    (0..100u32, 0..50u32, 0..100u32, 0..10u32, 1..60u64, any::<bool>()).prop_map(
        |(loss, duplicate, reorder, corrupt, latency, split)| Link {
            latency: Duration::from_millis(latency),
            loss,
            duplicate,
            reorder,
            corrupt,
            split,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the link does, exactly the bytes that were written are read, both ends see the end of the stream, and
    /// after TIME_WAIT no record is left.
    #[test]
    fn any_link_delivers_exactly_the_bytes(
        link in links(),
        a in 0..300_000u64,
        b in 0..300_000u64,
        chunk in prop_oneof![1..100u64, 100..20_000u64, 50_000..200_000u64],
        options in 0..24u8,
        gso in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut config = Config::default();
        config.tcp.timestamps = options & 1 != 0;
        config.tcp.sack = options & 2 != 0;
        config.tcp.window_scaling = options & 4 != 0;
        config.tcp.congestion = ["cubic", "reno", "bbr"][usize::from(options / 8)].into();
        let caps = if gso { gso_caps() } else { Capabilities::plain(1500) };
        let mut net = Net::new(&config, caps, link, seed);
        net.chunk = chunk;
        // Tiny writes make tiny segments: fewer bytes then.
        let scale = if chunk < 100 { 50 } else { 1 };
        net.transfer([a / scale, b / scale], Duration::from_secs(3000));
        net.expect_nothing_left();
    }
}

#[test]
fn a_transfer_repeats_byte_for_byte_from_the_same_seed() {
    let run = || {
        let link = Link { loss: 30, duplicate: 10, reorder: 30, ..Link::CLEAN };
        let mut net = Net::new(&Config::default(), Capabilities::plain(1500), link, 11);
        let time = net.transfer([MIB, MIB / 2], Duration::from_secs(600));
        (time, net.serial, *net.stacks[0].counters(), *net.stacks[1].counters())
    };
    assert_eq!(run(), run());
}

#[test]
fn readiness_follows_the_buffers() {
    let mut config = Config::default();
    config.tcp.send_buffer_initial = 4 << 20;
    let mut net = Net::new(&config, Capabilities::plain(1500), Link::CLEAN, 1);
    let h = net.handles;
    assert_eq!(net.stacks[0].tcp_ready(h[0]), Ready::OUT);
    let data = vec![1; 8 << 20];
    let taken = net.stacks[0].tcp_write(net.now, h[0], &data).unwrap();
    assert_eq!(taken, 4 << 20, "the send buffer's limit");
    assert_eq!(net.stacks[0].tcp_ready(h[0]), Ready::empty());
    assert_eq!(net.stacks[0].tcp_write(net.now, h[0], &data), Err(Error::WouldBlock));
    while net.stacks[0].poll_event().is_some() {}
    net.run_until(net.now + Duration::from_secs(1), &mut |_| {});
    assert!(net.stacks[1].tcp_ready(h[1]).contains(Ready::IN));
    // Nobody reads: the window shuts, and nothing is lost.
    assert_eq!(net.stacks[0].tcp_state(h[0]), Some(State::Established));
    let unread = net.stacks[1].tcp_info(h[1]).unwrap().unread;
    assert!((60_000..80_000).contains(&unread), "{unread} bytes wait to be read");
    let mut buf = vec![0; 1 << 20];
    let mut read = 0;
    net.run_until(net.now + Duration::from_secs(10), &mut |net| {
        while let Ok(n) = net.stacks[1].tcp_read(net.now, h[1], &mut buf) {
            read += n;
        }
    });
    assert_eq!(read, taken);
    assert!(net.stacks[0].poll_event().is_some(), "room was made");
    assert_eq!(net.stacks[0].tcp_ready(h[0]), Ready::OUT);
}

/// A writer that found the stack's memory used up by others is told when they give it back.
#[test]
fn a_writer_without_memory_is_woken_when_there_is_some() {
    let mut config = Config { memory_limit: 1 << 20, ..Config::default() };
    config.tcp.send_buffer_initial = 4 << 20;
    let mut net = Net::new(&config, Capabilities::plain(1500), Link::CLEAN, 1);
    let listener = net.stacks[1].tcp_socket();
    net.stacks[1].tcp_bind(listener, "10.0.0.2:81".parse().unwrap()).unwrap();
    net.stacks[1].tcp_listen(net.now, listener, 4).unwrap();
    let late = net.stacks[0].tcp_socket();
    net.stacks[0].tcp_connect(net.now, late, "10.0.0.2:81".parse().unwrap()).unwrap();
    net.run_until(net.now + Duration::from_millis(100), &mut |_| {});
    let data = vec![1; 2 << 20];
    let hog = net.handles[0];
    assert_eq!(net.stacks[0].tcp_write(net.now, hog, &data), Ok(1 << 20));
    assert_eq!(net.stacks[0].tcp_write(net.now, late, &data), Err(Error::WouldBlock));
    assert!(!net.stacks[0].tcp_ready(late).contains(Ready::OUT));
    while net.stacks[0].poll_event().is_some() {}
    assert_eq!(net.stacks[0].tcp_write(net.now, late, &data), Err(Error::WouldBlock));
    assert!(net.stacks[0].poll_event().is_none(), "not before there is memory");
    let mut buf = vec![0; 1 << 20];
    net.run_until(net.now + Duration::from_secs(5), &mut |net| {
        while net.stacks[1].tcp_read(net.now, net.handles[1], &mut buf).is_ok() {}
    });
    let told: Vec<_> = core::iter::from_fn(|| net.stacks[0].poll_event()).collect();
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Tcp(h, ready) if *h == late && ready.contains(Ready::OUT)))
    );
    assert!(net.stacks[0].tcp_ready(late).contains(Ready::OUT));
    assert!(net.stacks[0].tcp_write(net.now, late, &data).is_ok());
}

/// What the scoreboard is worth: the same losses with and without the peer's reports.
#[test]
fn with_sack_a_lossy_link_carries_more_than_without() {
    for congestion in ["cubic", "reno"] {
        let [with, without]: [Duration; 2] = [true, false].map(|sack| {
            let link = Link { loss: 30, ..Link::CLEAN };
            let mut config = Config::default();
            config.tcp.congestion = congestion.into();
            config.tcp.sack = sack;
            let time = |seed| {
                let mut net = Net::new(&config, Capabilities::plain(1500), link, seed);
                net.transfer([2 * MIB, 0], Duration::from_secs(1200))
            };
            // Which packets are lost is luck.
            (1..20).map(time).sum()
        });
        println!("{congestion}: {with:?} with SACK, {without:?} without");
        assert!(with * 100 < without * 75, "{congestion}: {with:?}, {without:?}");
    }
}

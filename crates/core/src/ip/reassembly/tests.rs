//! A datagram comes out exactly as it went in, or not at all; memory stays within its limits.

use super::super::tests::{Bench, OWN4, OWN6, PEER4, PEER6, config, fix_checksum, v4, v6};
use super::super::{Datagram, Received};
use super::*;
use core::time::Duration;
use lastack_wire::ip::protocol;
use lastack_wire::{icmp, icmpv6, ipv4};
use proptest::prelude::*;

fn cut_v4(id: u16, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let repr = ipv4::Repr {
        src: PEER4,
        dst: OWN4,
        protocol: protocol::UDP,
        ttl: 64,
        tos: 0,
        id,
        df: false,
        payload_len: data.len(),
    };
    let mut packet = alloc::vec![0; repr.total_len()];
    repr.emit_fragment(offset, more, &mut packet).unwrap();
    packet[20..].copy_from_slice(data);
    packet
}

fn cut_v6(id: u32, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let [o0, o1] = (offset | u16::from(more)).to_be_bytes();
    let [i0, i1, i2, i3] = id.to_be_bytes();
    let mut payload = alloc::vec![protocol::UDP, 0, o0, o1, i0, i1, i2, i3];
    payload.extend_from_slice(data);
    v6(PEER6, OWN6, protocol::FRAGMENT, &payload)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// The payload, if the packet completed a datagram.
fn payload(received: &Received<'_>) -> Option<Vec<u8>> {
    match received {
        Received::Upper(Datagram { payload, .. }) => Some(payload.to_vec()),
        _ => None,
    }
}

#[test]
fn fragments_become_the_packet_that_was_cut() {
    let data = bytes(40);
    let mut bench = Bench::new(config());
    assert_eq!(payload(&bench.receive(&cut_v4(9, 16, false, &data[16..]))), None);
    let first = cut_v4(9, 0, true, &data[..16]);
    let Received::Upper(datagram) = bench.receive(&first) else { panic!("not whole") };
    assert_eq!(&*datagram.payload, &data[..]);
    let header = ipv4::Packet::parse(datagram.packet()).unwrap();
    assert!(!header.is_fragment() && header.total_len() == 60);

    assert_eq!(payload(&bench.receive(&cut_v6(9, 16, false, &data[16..]))), None);
    let first = cut_v6(9, 0, true, &data[..16]);
    let Received::Upper(datagram) = bench.receive(&first) else { panic!("not whole") };
    assert_eq!((&*datagram.payload, datagram.protocol), (&data[..], protocol::UDP));
    assert_eq!(datagram.packet(), &v6(PEER6, OWN6, protocol::UDP, &data)[..]);
    assert!(bench.ip.is_idle() && bench.ip.reassembly.charged() == 0);
    assert_eq!((bench.counters.reasm_reqds, bench.counters.reasm_oks), (4, 2));
}

#[test]
fn atomic_fragment_is_a_whole_packet_and_meets_no_other() {
    let mut bench = Bench::new(config());
    bench.receive(&cut_v6(9, 0, true, &[1; 16]));
    assert_eq!(payload(&bench.receive(&cut_v6(9, 0, false, &[2; 16]))), Some([2; 16].to_vec()));
    assert_eq!(payload(&bench.receive(&cut_v6(9, 16, false, &[3; 8]))).map(|data| data.len()), Some(24));
}

#[test]
fn fragments_of_fragments_are_refused() {
    let mut inner = alloc::vec![protocol::UDP, 0, 0, 1, 0, 0, 0, 1];
    inner.extend_from_slice(&[0; 16]);
    let mut outer = cut_v6(5, 0, true, &inner);
    outer[40] = protocol::FRAGMENT;
    let mut bench = Bench::new(config());
    bench.receive(&outer);
    let mut last = cut_v6(5, 24, false, &[0; 8]);
    last[40] = protocol::FRAGMENT;
    assert!(matches!(bench.receive(&last), Received::Consumed));
    assert_eq!(bench.counters.in_hdr_errors, 1);
}

#[test]
fn any_overlap_kills_the_datagram_for_good() {
    // Teardrop (inside, reaching back), bonk (past the last), nestea, same place with other bytes.
    let second = [(8, 8, true), (8, 32, true), (16, 16, true), (8, 4, false), (0, 16, true), (24, 16, true)];
    for (offset, len, more) in second {
        for six in [false, true] {
            let cut = |offset, more, data: &[u8]| {
                if six { cut_v6(1, offset, more, data) } else { cut_v4(1, offset, more, data) }
            };
            let mut bench = Bench::new(config());
            bench.receive(&cut(0, true, &[1; 16]));
            bench.receive(&cut(16, true, &[1; 16]));
            bench.receive(&cut(offset, more, &alloc::vec![2; len]));
            assert_eq!(bench.counters.reasm_overlaps, 1, "{offset} {len}");
            for (offset, more, len) in [(0, true, 16), (16, true, 16), (32, false, 8), (0, true, 32)] {
                let packet = cut(offset, more, &alloc::vec![1; len]);
                assert!(matches!(bench.receive(&packet), Received::Consumed), "{offset} {len}");
            }
            assert_eq!(bench.ip.reassembly.charged(), ENTRY_OVERHEAD);
            bench.advance(61);
            assert!(bench.ip.is_idle() && bench.replies.is_empty());
        }
    }
}

#[test]
fn exact_duplicates_are_ignored() {
    let mut bench = Bench::new(config());
    for _ in 0..3 {
        bench.receive(&cut_v4(1, 0, true, &[1; 16]));
        bench.receive(&cut_v4(1, 32, false, &[3; 5]));
    }
    let whole = payload(&bench.receive(&cut_v4(1, 16, true, &[2; 16]))).unwrap();
    assert_eq!(whole.len(), 37);
    assert_eq!(bench.counters.reasm_overlaps, 0);
}

#[test]
fn two_different_ends_kill_the_datagram() {
    for second in [cut_v4(1, 24, false, &[0; 8]), cut_v4(1, 8, false, &[0; 4]), cut_v4(1, 40, true, &[0; 8])]
    {
        let mut bench = Bench::new(config());
        bench.receive(&cut_v4(1, 32, false, &[0; 8]));
        bench.receive(&second);
        assert_eq!(bench.counters.reasm_overlaps, 1);
    }
}

#[test]
fn end_before_a_fragment_that_came_kills_the_datagram() {
    let mut bench = Bench::new(config());
    bench.receive(&cut_v4(1, 24, true, &[1; 8]));
    bench.receive(&cut_v4(1, 16, false, &[1; 5]));
    assert_eq!(bench.counters.reasm_overlaps, 1);
    // The bytes would add up.
    assert_eq!(payload(&bench.receive(&cut_v4(1, 0, true, &[1; 8]))), None);
}

#[test]
fn ping_of_death_and_odd_lengths_are_dropped() {
    let mut bench = Bench::new(config());
    bench.receive(&cut_v4(1, 65_528, false, &[0; 8]));
    bench.receive(&cut_v4(2, 65_512, false, &[0; 8]));
    bench.receive(&cut_v4(3, 0, true, &[0; 12]));
    bench.receive(&cut_v4(4, 8, false, &[]));
    assert!(bench.ip.is_idle() && bench.replies.is_empty());
    assert_eq!(bench.counters.reasm_fails, 4);

    bench.receive(&cut_v6(1, 65_528, false, &[0; 8]));
    let reply = bench.replies.pop().unwrap();
    let message = icmpv6::Message::parse(OWN6, PEER6, &reply[40..]).unwrap();
    assert!(matches!(message, icmpv6::Message::ParameterProblem { code: 0, pointer: 42, .. }));
    bench.receive(&cut_v6(1, 0, true, &[0; 12]));
    let reply = bench.replies.pop().unwrap();
    let message = icmpv6::Message::parse(OWN6, PEER6, &reply[40..]).unwrap();
    assert!(matches!(message, icmpv6::Message::ParameterProblem { code: 0, pointer: 4, .. }));
}

#[test]
fn largest_datagram_is_put_together() {
    let data = bytes(65_515);
    let mut bench = Bench::new(config());
    let mut whole = None;
    for (n, piece) in data.chunks(1480).enumerate() {
        let offset = n * 1480;
        let packet = cut_v4(1, offset as u16, offset + piece.len() < data.len(), piece);
        whole = whole.or(payload(&bench.receive(&packet)));
    }
    assert_eq!(whole, Some(data));
}

#[test]
fn tiny_first_fragment_that_hides_the_header_is_never_parsed_half() {
    let mut bench = Bench::new(config());
    let segment = bytes(24);
    assert_eq!(payload(&bench.receive(&cut_v4(1, 0, true, &segment[..8]))), None);
    assert_eq!(payload(&bench.receive(&cut_v4(1, 8, false, &segment[8..]))), Some(segment));
    // RFC 7112: over IPv6 the first fragment has to hold the whole chain.
    let mut tiny = cut_v6(1, 0, true, &[0; 8]);
    tiny[40] = protocol::TCP;
    bench.receive(&tiny);
    let reply = bench.replies.pop().unwrap();
    let message = icmpv6::Message::parse(OWN6, PEER6, &reply[40..]).unwrap();
    assert!(matches!(message, icmpv6::Message::ParameterProblem { code: 3, .. }));
    assert!(bench.ip.is_idle());
}

#[test]
fn timeout_tells_the_sender_only_if_the_first_fragment_came() {
    let mut bench = Bench::new(config());
    let start = bench.now;
    let first = cut_v4(1, 0, true, &[1; 16]);
    bench.receive(&first);
    bench.receive(&cut_v4(2, 16, false, &[1; 16]));
    bench.receive(&cut_v6(1, 0, true, &[1; 16]));
    assert_eq!(bench.ip.next_timeout(), Some(start + Duration::from_secs(30)));
    bench.advance(29);
    assert!(bench.replies.is_empty());
    bench.advance(1);
    let reply = bench.replies.pop().unwrap();
    let message = icmp::Message::parse(&reply[20..]).unwrap();
    assert_eq!(message, icmp::Message::TimeExceeded { code: 1, quoted: &first });
    assert!(bench.replies.is_empty());
    assert_eq!(bench.ip.next_timeout(), Some(start + Duration::from_secs(60)));
    bench.advance(30);
    let reply = bench.replies.pop().unwrap();
    let message = icmpv6::Message::parse(OWN6, PEER6, &reply[40..]).unwrap();
    assert!(matches!(message, icmpv6::Message::TimeExceeded { code: 1, .. }));
    assert!(bench.ip.is_idle() && bench.ip.next_timeout().is_none());
    assert_eq!(bench.counters.reasm_timeout, 3);
}

fn tos(packet: &[u8]) -> u8 {
    lastack_wire::ip::Packet::parse(packet).unwrap().tos()
}

#[test]
fn congestion_mark_survives_and_contradiction_drops() {
    // ECN of two fragments, and of the whole (`None`: dropped).
    let cases = [(0, 0, Some(0)), (2, 3, Some(3)), (3, 1, Some(3)), (3, 3, Some(3)), (2, 2, Some(2))];
    for (a, b, whole) in cases.into_iter().chain([(0, 3, None), (3, 0, None), (0, 2, None)]) {
        let marked = |ecn: u8, mut packet: Vec<u8>| {
            packet[1] = 0x28 | ecn;
            fix_checksum(&mut packet, 20);
            packet
        };
        let mut bench = Bench::new(config());
        bench.receive(&marked(a, cut_v4(1, 0, true, &[0; 8])));
        let last = marked(b, cut_v4(1, 8, false, &[0; 8]));
        let found = match bench.receive(&last) {
            Received::Upper(datagram) => Some(tos(datagram.packet())),
            _ => None,
        };
        assert_eq!(found, whole.map(|ecn| 0x28 | ecn), "{a} {b}");
        let marked6 = |ecn: u8, mut packet: Vec<u8>| {
            packet[1] |= ecn << 4;
            packet
        };
        bench.receive(&marked6(a, cut_v6(1, 0, true, &[0; 8])));
        let last = marked6(b, cut_v6(1, 8, false, &[0; 8]));
        let class = match bench.receive(&last) {
            Received::Upper(datagram) => Some(tos(datagram.packet())),
            _ => None,
        };
        assert_eq!(class, whole, "{a} {b}");
    }
}

fn from(src: u32, id: u16, offset: u16, more: bool, len: usize) -> Vec<u8> {
    let mut packet = cut_v4(id, offset, more, &alloc::vec![0; len]);
    packet[12..16].copy_from_slice(&(0x0b00_0000 + src).to_be_bytes());
    fix_checksum(&mut packet, 20);
    packet
}

#[test]
fn flood_of_fragments_stays_within_the_limit_and_honest_datagrams_pass() {
    let mut bench = Bench::new(config());
    let limit = bench.cfg.reassembly_limit;
    let (mut tries, mut passed) = (0, 0);
    for n in 0..100_000u32 {
        let (offset, more) = [(0, true), (1480, false), (8 * (n as u16 % 999), true)][n as usize % 3];
        bench.receive(&from(n / 7, n as u16, offset, more, [1480, 8, 8][n as usize % 3]));
        assert!(bench.ip.reassembly.charged() <= limit);
        if n % 100 < 8 {
            let (id, piece) = ((n / 100) as u16, (n % 100) as u16);
            let whole = payload(&bench.receive(&cut_v4(id, piece * 1480, piece < 7, &[9; 1480])));
            tries += u32::from(piece == 7);
            passed += u32::from(whole.is_some_and(|data| data.len() == 8 * 1480));
        }
    }
    assert!(bench.counters.reasm_evictions > 0);
    assert!(passed * 2 >= tries, "{passed} of {tries}");
    bench.advance(60);
    assert_eq!(bench.ip.reassembly.charged(), 0);
    assert!(bench.ip.reassembly.sources.is_empty());
}

#[test]
fn one_source_cannot_fill_the_memory() {
    let mut bench = Bench::new(config());
    bench.receive(&cut_v4(1, 0, true, &[0; 8]));
    for n in 0..2000 {
        bench.receive(&from(1, n, 0, true, 1480));
    }
    assert!(bench.ip.reassembly.sources.values().all(|source| source.serials.len() <= MAX_PER_SOURCE));
    for n in 0..8000u16 {
        bench.receive(&from(1, 3000, 8 * n, true, 8));
    }
    for n in 0..60 {
        for piece in 0..40 {
            bench.receive(&from(1, 4000 + n, piece * 1480, true, 1480));
        }
    }
    assert!(bench.ip.reassembly.charged() <= bench.cfg.reassembly_limit / 2 + 1000);
    assert!(payload(&bench.receive(&cut_v4(1, 8, false, &[0; 8]))).is_some());
}

#[test]
fn limit_of_zero_keeps_nothing() {
    let mut bench = Bench::new(Config { reassembly_limit: 0, ..config() });
    bench.receive(&cut_v4(1, 0, true, &[0; 8]));
    assert!(bench.ip.is_idle());
}

#[test]
fn datagrams_differ_by_protocol_over_ipv4_and_by_addresses() {
    let mut bench = Bench::new(config());
    bench.receive(&cut_v4(1, 0, true, &[0; 8]));
    let mut other = cut_v4(1, 8, false, &[0; 8]);
    other[9] = protocol::TCP;
    fix_checksum(&mut other, 20);
    assert!(payload(&bench.receive(&other)).is_none());
    assert!(payload(&bench.receive(&from(1, 1, 8, false, 8))).is_none());
    assert!(payload(&bench.receive(&cut_v4(1, 8, false, &[0; 8]))).is_some());
    assert!(matches!(bench.receive(&v4(PEER4, OWN4, protocol::UDP, &[])), Received::Upper(_)));
}

/// Cuts `len` bytes at multiples of 8 that lie at least one apart.
fn cuts(len: usize, at: &[usize]) -> Vec<(usize, usize)> {
    let mut ends: Vec<usize> = at.iter().map(|n| n % len.div_ceil(8) * 8).filter(|n| *n > 0).collect();
    ends.push(len);
    ends.sort_unstable();
    ends.dedup();
    let starts = core::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).collect()
}

proptest! {
    /// Any order and any duplicates: exactly the datagram, once every fragment has come, and only then.
    #[test]
    fn any_order_and_duplicates_give_the_exact_datagram(
        len in 9usize..3000,
        at in proptest::collection::vec(any::<usize>(), 1..20),
        order in proptest::collection::vec(any::<usize>(), 1..80),
        six in any::<bool>(),
    ) {
        let data = bytes(len);
        let pieces = cuts(len, &at);
        prop_assume!(pieces.len() > 1);
        let mut missing: alloc::collections::BTreeSet<usize> = (0..pieces.len()).collect();
        let mut bench = Bench::new(config());
        for n in order.iter().map(|n| n % pieces.len()).chain(0..pieces.len()) {
            let (start, end) = pieces[n];
            let (offset, more) = (start as u16, end < len);
            let packet = if six {
                cut_v6(1, offset, more, &data[start..end])
            } else {
                cut_v4(1, offset, more, &data[start..end])
            };
            let whole = payload(&bench.receive(&packet));
            missing.remove(&n);
            prop_assert_eq!(whole.is_some(), missing.is_empty());
            if let Some(whole) = whole {
                prop_assert_eq!(whole, data);
                break;
            }
        }
        prop_assert!(missing.is_empty());
        prop_assert_eq!(bench.ip.reassembly.charged(), 0);
    }

    /// Fragments of two datagrams under one identification do what a list without any cleverness does.
    #[test]
    fn mixed_fragments_do_what_the_model_does(
        fragments in proptest::collection::vec((any::<bool>(), 0u16..6, 1u16..3, any::<bool>()), 1..20),
    ) {
        let mut bench = Bench::new(config());
        let mut model = Model::default();
        for (which, at, units, more) in fragments {
            let len = if more { units * 8 } else { units * 8 - 3 };
            let piece = Piece { start: at * 8, end: at * 8 + len, more, fill: if which { 0xaa } else { 0x55 } };
            let packet = cut_v4(1, piece.start, more, &piece.bytes());
            prop_assert_eq!(payload(&bench.receive(&packet)), model.insert(piece));
            let charged = bench.ip.reassembly.charged();
            let real: usize = bench.ip.reassembly.entries.values().map(|entry| entry.charge).sum();
            prop_assert_eq!(charged, real);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Piece {
    start: u16,
    end: u16,
    more: bool,
    fill: u8,
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        alloc::vec![self.fill; usize::from(self.end - self.start)]
    }

    fn conflicts(&self, other: &Piece) -> bool {
        let overlap = self.start < other.end && other.start < self.end;
        let past = |last: &Piece, piece: &Piece| !last.more && piece.end > last.end;
        overlap || past(self, other) || past(other, self) || !(self.more || other.more)
    }
}

#[derive(Default)]
struct Model {
    pieces: Vec<Piece>,
    killed: bool,
}

impl Model {
    fn insert(&mut self, piece: Piece) -> Option<Vec<u8>> {
        if piece.start == 0 && !piece.more {
            return Some(piece.bytes());
        }
        if self.killed || self.pieces.contains(&piece) {
            return None;
        }
        if self.pieces.iter().any(|other| other.conflicts(&piece)) {
            self.killed = true;
            return None;
        }
        self.pieces.push(piece);
        self.pieces.sort_by_key(|piece| piece.start);
        let mut end = 0;
        for piece in &self.pieces {
            if piece.start != end {
                return None;
            }
            end = piece.end;
        }
        if self.pieces.last()?.more {
            return None;
        }
        Some(core::mem::take(&mut self.pieces).iter().flat_map(Piece::bytes).collect())
    }
}

/// All pairs of (offset, length) from a grid of 16 x 16: the second piece either fits or kills.
#[test]
fn grid_of_pairs_gives_the_exact_datagram_or_none() {
    for a in 0..256u16 {
        for b in 0..256u16 {
            let (at_a, len_a, at_b, len_b) = (a % 16 * 8, a / 16 + 1, b % 16 * 8, b / 16 + 1);
            let (end_a, end_b) = (at_a + len_a * 8, at_b + len_b * 8);
            let mut bench = Bench::new(config());
            bench.receive(&cut_v4(1, at_a, true, &alloc::vec![1; usize::from(len_a * 8)]));
            let second = cut_v4(1, at_b, false, &alloc::vec![2; usize::from(len_b * 8)]);
            let whole = payload(&bench.receive(&second));
            let atomic = at_b == 0;
            let exact = at_a == 0 && at_b == end_a;
            match whole {
                Some(data) if exact => {
                    let (one, two) = data.split_at(usize::from(end_a));
                    assert!(one.iter().all(|x| *x == 1) && two.iter().all(|x| *x == 2));
                }
                Some(data) => {
                    // Offset 0 and no more fragments: a packet of its own.
                    assert!(at_b == 0 && data.iter().all(|x| *x == 2) && data.len() == usize::from(end_b));
                }
                None => assert!(!exact && !atomic),
            }
        }
    }
}

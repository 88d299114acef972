//! A packet on its way: what it says, in numbers that are relative to the connections and to the time of its sending.
//!
//! Sequence numbers and timestamps mean nothing by themselves. A packet keeps them as a distance from the initial number of
//! the incarnation that they belong to, or from the time when it was sent; so one packet stands for all that say the same, and can
//! be handed to a stack that began at another time with other numbers.

use lastack_core::Instant;
use lastack_core::wire::tcp::Flags;
use lastack_core::wire::{ChecksumState, PacketMeta, SeqNumber};
use lastack_sim::{Side, segment_of};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Numbers this far from a side's initial number belong to another incarnation.
const INCARNATION: i32 = 1 << 20;

/// Two initial numbers that are further from each other are never in one window.
const FAR: i32 = 1 << 17;
/// Time in which the clock of the initial numbers, of 64 ns, goes that far.
const APART: Duration = Duration::from_millis(9);

/// The initial sequence numbers that one side knows of, its own and its peer's, in the order of their appearance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    known: [Vec<SeqNumber>; 2],
    /// When this side's own latest was made.
    made: Option<Instant>,
}

impl Numbers {
    /// Learns from a SYN that a side sends.
    fn learn(&mut self, side: Side, isn: SeqNumber, now: Instant) {
        let known = &mut self.known[side as usize];
        if !known.contains(&isn) {
            known.push(isn);
            self.made = Some(now);
        }
    }

    /// The number relative to the first byte of the stream, if it belongs to the latest incarnation.
    pub(crate) fn offset(&self, side: Side, seq: SeqNumber) -> Option<i32> {
        let offset = seq - (*self.known[side as usize].last()? + 1);
        (offset.abs() < INCARNATION).then_some(offset)
    }

    fn place(&self, side: Side, seq: SeqNumber) -> Place {
        let latest_first = self.known[side as usize].iter().enumerate().rev();
        let near = |(k, isn): (usize, &SeqNumber)| {
            let offset = seq - *isn;
            (offset.abs() < INCARNATION).then_some(Place::Stream(side, k as u8, offset))
        };
        latest_first.map(near).find_map(|place| place).unwrap_or(Place::Raw(seq.0))
    }

    /// Takes over incarnations that a packet of their side tells of.
    fn adopt(&mut self, side: Side, template: &Self) {
        let known = &mut self.known[side as usize];
        let theirs = &template.known[side as usize];
        for k in known.len()..theirs.len() {
            // The distance between two incarnations has a meaning; where the first begins has none.
            let isn = match known.first() {
                Some(first) => *first + (theirs[k] - theirs[0]) as u32,
                None => theirs[k],
            };
            known.push(isn);
        }
    }

    /// What of the numbers a packet's digest must tell: how the incarnations lie to each other, as far as a window can see.
    fn hash_distances(&self, h: &mut impl Hasher) {
        for known in &self.known {
            let distance =
                |pair: &[SeqNumber]| Some(pair[1] - pair[0]).filter(|distance| distance.abs() < FAR);
            known.len().hash(h);
            known.windows(2).map(distance).for_each(|distance| distance.hash(h));
        }
    }

    /// The same for a side: also how far the next incarnation would be from the latest. The initial number follows the clock
    /// (RFC 9293 3.4.1).
    pub(crate) fn hash_relative(&self, now: Instant, h: &mut impl Hasher) {
        self.hash_distances(h);
        self.made.map(|made| (now - made).min(APART)).hash(h);
    }
}

/// What a number in a packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// So far from the initial number of this incarnation of a side.
    Stream(Side, u8, i32),
    /// A timestamp, so many milliseconds from the sending of the packet.
    Stamp(u32),
    /// Itself.
    Raw(u32),
}

/// What a packet says. Two packets of one digest say the same.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Side,
    /// The bytes as they were sent.
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) meta: PacketMeta,
    pub(crate) digest: u64,
    pub(crate) is_reset: bool,
    /// The first number of it that counts, for an order among packets that were sent at one instant.
    pub(crate) order: i32,
    /// Where numbers stand in the bytes, and what they mean.
    places: Vec<(u16, Place)>,
    /// What the sender knew when it was sent.
    numbers: Numbers,
}

impl Packet {
    /// Reads what a side sends. `numbers` are those that it knows of.
    pub(crate) fn new(
        from: Side,
        now: Instant,
        bytes: &[u8],
        meta: PacketMeta,
        numbers: &mut Numbers,
    ) -> Self {
        let tcp = segment_of(bytes).map(|(_, tcp)| tcp);
        let flags = tcp.as_ref().map_or(Flags::empty(), |tcp| tcp.flags);
        if let Some(tcp) = tcp.as_ref().filter(|tcp| tcp.flags.contains(Flags::SYN)) {
            numbers.learn(from, tcp.seq, now);
        }
        let places = if tcp.is_some() { places(from, now, bytes, flags, numbers) } else { Vec::new() };
        let mut rest = bytes.to_vec();
        if tcp.is_some() {
            blank(&mut rest, &places);
        }
        let mut h = SipHasher13::new();
        (from, &rest, &places, meta).hash(&mut h);
        numbers.hash_distances(&mut h);
        let order = places.first().map_or(0, |(_, place)| match place {
            Place::Stream(_, _, offset) => *offset,
            Place::Stamp(_) | Place::Raw(_) => 0,
        });
        Self {
            from,
            bytes: bytes.into(),
            meta,
            digest: h.finish128().h1,
            is_reset: flags.contains(Flags::RST),
            order,
            places,
            numbers: numbers.clone(),
        }
    }

    /// The packet as it is for a receiver whose connection has these numbers, and to whom it comes `age` milliseconds after
    /// its sending.
    pub(crate) fn for_receiver(
        &self,
        numbers: &mut Numbers,
        now: Instant,
        age: u32,
    ) -> (Vec<u8>, PacketMeta) {
        numbers.adopt(self.from, &self.numbers);
        let mut bytes = self.bytes.to_vec();
        for (at, place) in &self.places {
            let number = match *place {
                Place::Stream(side, k, offset) => {
                    let known = &numbers.known[side as usize];
                    known.get(usize::from(k)).map_or(0, |isn| (*isn + offset as u32).0)
                }
                Place::Stamp(offset) => millis(now).wrapping_sub(age).wrapping_add(offset),
                Place::Raw(number) => number,
            };
            let at = usize::from(*at);
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        (bytes, PacketMeta { checksum: ChecksumState::Verified, ..self.meta })
    }
}

fn millis(now: Instant) -> u32 {
    now.as_millis() as u32
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Every sequence number and timestamp of an IPv4 packet with a valid TCP segment.
fn places(from: Side, now: Instant, bytes: &[u8], flags: Flags, numbers: &Numbers) -> Vec<(u16, Place)> {
    let tcp = usize::from(bytes[0] & 15) * 4;
    let seq = number(bytes, tcp + 4);
    // A reset of nobody's connection has the number 0.
    let nobodys = flags.contains(Flags::RST) && seq == 0;
    let mine = |at| numbers.place(from, SeqNumber(number(bytes, at)));
    let theirs = |at| numbers.place(from.other(), SeqNumber(number(bytes, at)));
    let stamp = |at| Place::Stamp(number(bytes, at).wrapping_sub(millis(now)));
    let mut places = vec![(tcp + 4, if nobodys { Place::Raw(0) } else { mine(tcp + 4) })];
    if flags.contains(Flags::ACK) {
        places.push((tcp + 8, theirs(tcp + 8)));
    }
    let end = tcp + usize::from(bytes[tcp + 12] >> 4) * 4;
    let mut at = tcp + 20;
    while at + 1 < end && bytes[at] != 0 {
        let (kind, len) = (bytes[at], usize::from(bytes[at + 1]));
        match kind {
            1 => {
                at += 1;
                continue;
            }
            5 => places.extend((at + 2..at + len).step_by(4).map(|at| (at, theirs(at)))),
            8 => {
                places.push((at + 2, stamp(at + 2)));
                // Zero stands for: nothing to echo.
                if number(bytes, at + 6) != 0 {
                    places.push((at + 6, stamp(at + 6)));
                }
            }
            _ => {}
        }
        at += len.max(2);
    }
    places.into_iter().map(|(at, place)| (at as u16, place)).collect()
}

/// Takes out what the places say, and what depends on it: checksums, and the number of a datagram that is in one piece.
fn blank(bytes: &mut [u8], places: &[(u16, Place)]) {
    let tcp = usize::from(bytes[0] & 15) * 4;
    let words = places.iter().map(|(at, _)| usize::from(*at)..usize::from(*at) + 4);
    for range in words.chain([4..6, 10..12, tcp + 16..tcp + 18]) {
        bytes[range].fill(0);
    }
}

/// The digest of a packet that was sent so many milliseconds ago.
pub(crate) fn aged(digest: u64, age: u32) -> u64 {
    let mut h = SipHasher13::new();
    (digest, age).hash(&mut h);
    h.finish128().h1
}

/// A packet in flight.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) packet: Arc<Packet>,
    pub(crate) sent: Instant,
    /// Its place in the log, if there is one.
    pub(crate) index: Option<usize>,
}

impl Flying {
    pub(crate) fn digest(&self, now: Instant) -> u64 {
        aged(self.packet.digest, (now - self.sent).as_millis() as u32)
    }
}

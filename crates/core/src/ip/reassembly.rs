//! Fragments to datagrams (RFC 791, RFC 8200 section 4.5).
//!
//! A datagram is given out exactly as it was sent or not at all: any overlap that is not the exact duplicate of a
//! fragment kills it, and what else comes of it is dropped until its time is up (RFC 5722; for IPv4 too, as Linux).
//! Memory is bounded for all together by `reassembly_limit`, overheads included, and for one source by half of that and
//! by [`MAX_PER_SOURCE`] datagrams; the oldest goes first. Each step costs the logarithm of what is kept.

use super::IpCounters;
use crate::config::Config;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use lastack_wire::checksum::Sum;

/// Incomplete datagrams from one source (Linux's `ipfrag_max_dist` bounds the same flood).
pub(super) const MAX_PER_SOURCE: usize = 64;
/// What a datagram is charged beside its bytes: its entry in the tables.
pub(super) const ENTRY_OVERHEAD: usize = 384;
/// What a fragment is charged beside its bytes.
pub(super) const PIECE_OVERHEAD: usize = 64;
/// Largest length that the header of a packet can state.
const MAX_LEN: usize = 65_535;

const NOT_ECT: u8 = 0;
const CE: u8 = 3;

/// One fragment, its header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: u16,
    pub(super) more: bool,
    /// Two bits.
    pub(super) ecn: u8,
    /// Everything in front of `data`.
    pub(super) headers: &'a [u8],
    pub(super) data: &'a [u8],
    pub(super) shape: Shape,
}

/// How the headers of the whole follow from those of the first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    V4,
    V6 {
        /// Length of the part that every fragment repeats.
        unfragmentable: usize,
        /// The byte in it that named the fragment header.
        named_at: usize,
        /// What the fragment header named.
        next: u8,
    },
}

/// What came of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Kept, or had already.
    Waiting,
    /// The whole packet, with the headers of the first fragment as if it had never been cut.
    Whole(Vec<u8>),
    /// Of no use.
    Dropped,
    /// Not the last, and yet its length is not a multiple of 8; dropped.
    BadLength,
    /// Ends past 65,535; dropped.
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    serial: u64,
    deadline: Instant,
    /// What it is charged.
    charge: usize,
    /// An overlap was seen: nothing more is believed.
    killed: bool,
    pieces: BTreeMap<u16, Box<[u8]>>,
    received: usize,
    /// Largest end of a piece.
    end: usize,
    /// Where the last fragment ends, once it has come.
    total: Option<usize>,
    first: Option<(Box<[u8]>, Shape)>,
    /// Bit n is set if a fragment had ECN n.
    ecn_seen: u8,
}

#[derive(Clone, Debug, Default)]
struct Source {
    charge: usize,
    /// Oldest first.
    serials: VecDeque<u64>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Reassembly {
    entries: BTreeMap<Id, Entry>,
    /// By age. The deadlines of one family rise with the age.
    ages_v4: BTreeMap<u64, Id>,
    ages_v6: BTreeMap<u64, Id>,
    sources: BTreeMap<IpAddr, Source>,
    charge: usize,
    next_serial: u64,
}

/// How a fragment fits to those before it.
enum Fit {
    New,
    Duplicate,
    Conflict,
}

impl Entry {
    fn fit(&self, f: &Fragment<'_>) -> Fit {
        let start = usize::from(f.offset);
        let end = start + f.data.len();
        let consistent = match self.total {
            Some(total) if f.more => end <= total,
            Some(total) => end == total,
            None => f.more || end >= self.end,
        };
        if !consistent {
            return Fit::Conflict;
        }
        if let Some((at, piece)) = self.pieces.range(..=f.offset).next_back() {
            if *at == f.offset && **piece == *f.data && f.more == (self.total != Some(end)) {
                return Fit::Duplicate;
            }
            if usize::from(*at) + piece.len() > start {
                return Fit::Conflict;
            }
        }
        match self.pieces.range(f.offset..).next() {
            Some((at, _)) if usize::from(*at) < end => Fit::Conflict,
            _ => Fit::New,
        }
    }

    fn add(&mut self, f: &Fragment<'_>) {
        let end = usize::from(f.offset) + f.data.len();
        self.received += f.data.len();
        self.end = self.end.max(end);
        if !f.more {
            self.total = Some(end);
        }
        if f.offset == 0 {
            self.first = Some((f.headers.into(), f.shape));
        }
        self.ecn_seen |= 1 << (f.ecn & 3);
        self.pieces.insert(f.offset, f.data.into());
    }

    fn is_complete(&self) -> bool {
        self.first.is_some() && self.total == Some(self.received)
    }

    /// ECN of the whole (RFC 3168 section 5.3). `None` if the fragments disagree whether the transport is capable of
    /// it, which nobody's do (Linux drops these too).
    fn ecn(&self) -> Option<u8> {
        match self.ecn_seen {
            seen if seen == 1 << NOT_ECT => Some(NOT_ECT),
            seen if seen & 1 << NOT_ECT != 0 => None,
            seen if seen & 1 << CE != 0 => Some(CE),
            // ECT(0), ECT(1) or a mix: what the first fragment said.
            _ => Some(NOT_ECT),
        }
    }

    /// The whole packet. `None` if it would be too long for its length field, or for what ECN says.
    fn assemble(self) -> Option<Vec<u8>> {
        let total = self.total?;
        let mark = self.ecn()?;
        let (headers, shape) = self.first?;
        let kept = match shape {
            Shape::V4 => headers.len(),
            Shape::V6 { unfragmentable, .. } => unfragmentable,
        };
        let mut packet = Vec::with_capacity(kept + total);
        packet.extend_from_slice(headers.get(..kept)?);
        for piece in self.pieces.values() {
            packet.extend_from_slice(piece);
        }
        match shape {
            Shape::V4 => finish_v4(&mut packet, kept, mark)?,
            Shape::V6 { named_at, next, .. } => finish_v6(&mut packet, named_at, next, mark)?,
        }
        Some(packet)
    }
}

fn finish_v4(packet: &mut [u8], header_len: usize, mark: u8) -> Option<()> {
    let [l0, l1] = u16::try_from(packet.len()).ok()?.to_be_bytes();
    let header = packet.get_mut(..header_len)?;
    let (fixed, _) = header.split_first_chunk_mut::<20>()?;
    fixed[1] |= mark;
    [fixed[2], fixed[3]] = [l0, l1];
    [fixed[6], fixed[7]] = [0, 0];
    [fixed[10], fixed[11]] = [0, 0];
    let mut sum = Sum::new();
    sum.add_bytes(header);
    header.get_mut(10..12)?.copy_from_slice(&sum.finish().to_be_bytes());
    Some(())
}

fn finish_v6(packet: &mut [u8], named_at: usize, next: u8, mark: u8) -> Option<()> {
    let payload_len = packet.len().checked_sub(lastack_wire::ipv6::HEADER_LEN)?;
    let length = u16::try_from(payload_len).ok()?.to_be_bytes();
    packet.get_mut(4..6)?.copy_from_slice(&length);
    // The lower two bits of the traffic class.
    *packet.get_mut(1)? |= mark << 4;
    *packet.get_mut(named_at)? = next;
    Some(())
}

impl Reassembly {
    /// Takes a fragment.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        cfg: &Config,
        counters: &mut IpCounters,
        f: &Fragment<'_>,
    ) -> Outcome {
        counters.reasm_reqds += 1;
        if let Some(refusal) = malformed(f) {
            counters.reasm_fails += 1;
            return refusal;
        }
        let id = Id { src: f.src, dst: f.dst, protocol: f.protocol, id: f.id };
        let piece = PIECE_OVERHEAD + f.data.len() + if f.offset == 0 { f.headers.len() } else { 0 };
        let need = match self.entries.get(&id) {
            None => ENTRY_OVERHEAD + piece,
            Some(entry) if entry.killed => return Outcome::Dropped,
            Some(entry) => match entry.fit(f) {
                Fit::New => piece,
                Fit::Duplicate => return Outcome::Waiting,
                Fit::Conflict => {
                    self.kill(id);
                    counters.reasm_overlaps += 1;
                    counters.reasm_fails += 1;
                    return Outcome::Dropped;
                }
            },
        };
        let known = self.entries.contains_key(&id);
        self.make_room(f.src, !known, need, cfg.reassembly_limit, counters);
        if known != self.entries.contains_key(&id) || self.charge + need > cfg.reassembly_limit {
            counters.reasm_fails += u64::from(!known);
            return Outcome::Dropped;
        }
        if !known {
            self.create(now, cfg, id);
        }
        self.add_charge(id, need);
        let Some(entry) = self.entries.get_mut(&id) else { return Outcome::Dropped };
        entry.add(f);
        if !entry.is_complete() {
            return Outcome::Waiting;
        }
        match self.remove(id).and_then(Entry::assemble) {
            Some(packet) => {
                counters.reasm_oks += 1;
                Outcome::Whole(packet)
            }
            None => {
                counters.reasm_fails += 1;
                Outcome::Dropped
            }
        }
    }

    fn create(&mut self, now: Instant, cfg: &Config, id: Id) {
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let wait = cfg.reassembly_timeout;
        let (ages, wait) = match id.src {
            IpAddr::V4(_) => (&mut self.ages_v4, wait),
            IpAddr::V6(_) => (&mut self.ages_v6, wait.saturating_mul(2)),
        };
        ages.insert(serial, id);
        self.sources.entry(id.src).or_default().serials.push_back(serial);
        let entry = Entry {
            serial,
            deadline: now + wait,
            charge: 0,
            killed: false,
            pieces: BTreeMap::new(),
            received: 0,
            end: 0,
            total: None,
            first: None,
            ecn_seen: 0,
        };
        self.entries.insert(id, entry);
    }

    /// Drops the oldest datagrams, of this source first, until `need` more bytes are within the limits.
    fn make_room(&mut self, src: IpAddr, create: bool, need: usize, limit: usize, counters: &mut IpCounters) {
        while let Some(source) = self.sources.get(&src) {
            let too_many = create && source.serials.len() >= MAX_PER_SOURCE;
            if !too_many && source.charge.saturating_add(need) <= limit / 2 {
                break;
            }
            let ages = if src.is_ipv4() { &self.ages_v4 } else { &self.ages_v6 };
            let Some(id) = source.serials.front().and_then(|serial| ages.get(serial)).copied() else { break };
            self.evict(id, counters);
        }
        while self.charge.saturating_add(need) > limit {
            let v4 = self.ages_v4.first_key_value();
            let v6 = self.ages_v6.first_key_value();
            let oldest = match (v4, v6) {
                (Some(a), Some(b)) => Some(if a.0 < b.0 { a } else { b }),
                (a, b) => a.or(b),
            };
            let Some((_, id)) = oldest else { break };
            self.evict(*id, counters);
        }
    }

    fn evict(&mut self, id: Id, counters: &mut IpCounters) {
        if let Some(entry) = self.remove(id) {
            // A killed one was counted when it was.
            counters.reasm_fails += u64::from(!entry.killed);
            counters.reasm_evictions += 1;
        }
    }

    fn add_charge(&mut self, id: Id, bytes: usize) {
        if let (Some(entry), Some(source)) = (self.entries.get_mut(&id), self.sources.get_mut(&id.src)) {
            entry.charge += bytes;
            source.charge += bytes;
            self.charge += bytes;
        }
    }

    /// Frees what came, and keeps the entry so that the rest is known to be worthless.
    fn kill(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let freed = entry.charge.saturating_sub(ENTRY_OVERHEAD);
        entry.charge -= freed;
        entry.killed = true;
        entry.pieces = BTreeMap::new();
        entry.first = None;
        self.charge = self.charge.saturating_sub(freed);
        if let Some(source) = self.sources.get_mut(&id.src) {
            source.charge = source.charge.saturating_sub(freed);
        }
    }

    fn remove(&mut self, id: Id) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.ages_v4.remove(&entry.serial);
        self.ages_v6.remove(&entry.serial);
        self.charge = self.charge.saturating_sub(entry.charge);
        if let Some(source) = self.sources.get_mut(&id.src) {
            source.charge = source.charge.saturating_sub(entry.charge);
            source.serials.retain(|serial| *serial != entry.serial);
            if source.serials.is_empty() {
                self.sources.remove(&id.src);
            }
        }
        Some(entry)
    }

    /// When the next datagram has waited long enough.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.entries.is_empty() {
            return None;
        }
        let deadline = |ages: &BTreeMap<u64, Id>| {
            ages.first_key_value().and_then(|(_, id)| self.entries.get(id)).map(|entry| entry.deadline)
        };
        match (deadline(&self.ages_v4), deadline(&self.ages_v6)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Removes a datagram whose time is up: `Some(None)`, or `Some(Some(packet))` with its first fragment if that came.
    /// `None` if there is no such datagram.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Option<Vec<u8>>> {
        let due = [&self.ages_v4, &self.ages_v6].into_iter().find_map(|ages| {
            let (_, id) = ages.first_key_value()?;
            self.entries.get(id).filter(|entry| entry.deadline <= now).map(|_| *id)
        })?;
        let entry = self.remove(due)?;
        Some(entry.first.and_then(|(headers, _)| {
            let data = entry.pieces.get(&0)?;
            Some([&*headers, &**data].concat())
        }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes charged at this moment.
    #[cfg(test)]
    pub(super) fn charged(&self) -> usize {
        self.charge
    }

    pub(super) fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        // The order of age, not the serial numbers themselves.
        for id in self.ages_v4.values().chain(self.ages_v6.values()) {
            let Some(entry) = self.entries.get(id) else { continue };
            (id, entry.deadline - now, entry.killed, entry.total, entry.ecn_seen).hash(h);
            (&entry.first, &entry.pieces).hash(h);
        }
    }
}

/// Why a fragment cannot be part of any datagram.
fn malformed(f: &Fragment<'_>) -> Option<Outcome> {
    let fixed = match f.shape {
        Shape::V4 => f.headers.len(),
        Shape::V6 { unfragmentable, .. } => unfragmentable.saturating_sub(lastack_wire::ipv6::HEADER_LEN),
    };
    if f.data.is_empty() {
        return Some(Outcome::Dropped);
    }
    if f.more && !f.data.len().is_multiple_of(8) {
        return Some(Outcome::BadLength);
    }
    if fixed + usize::from(f.offset) + f.data.len() > MAX_LEN {
        return Some(Outcome::TooLong);
    }
    None
}

#[cfg(test)]
mod tests;

//! The tables: records by four-tuple, listeners by port.
//!
//! One keyed hash table of 5-byte entries finds every kind of record; the records live in slabs. Nothing observable
//! depends on the table's order.

use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use crate::slab::{Key, Slab};
use crate::tcp::listen::Request;
use crate::tcp::options::Knob;
use crate::tcp::state::State;
use crate::tcp::tcb::{Is, Tcb, Tuple};
use crate::tcp::time_wait::{Line, Record};
use crate::wheel::Wheel;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use hashbrown::HashTable;

/// Upper bits of a table entry: the kind of record. The rest is its slot.
const KIND_SHIFT: u32 = 30;
const SLOT_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// A record found by its four-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Connection(Key),
    Request(Key),
    TimeWait4(Key),
    TimeWait6(Key),
}

impl Found {
    fn entry(self) -> u32 {
        let (kind, key) = match self {
            Self::Connection(key) => (0, key),
            Self::Request(key) => (1, key),
            Self::TimeWait4(key) => (2, key),
            Self::TimeWait6(key) => (3, key),
        };
        kind << KIND_SHIFT | key.index() & SLOT_MASK
    }
}

/// Set in a timer key of the small records for IPv6; slots stay below it.
const TIMER_V6: u64 = 1 << 31;

impl Found {
    /// Key of a small record's timer.
    pub(crate) fn to_timer(self) -> u64 {
        match self {
            Self::TimeWait6(key) => key.to_u64() | TIMER_V6,
            Self::TimeWait4(key) | Self::Connection(key) | Self::Request(key) => key.to_u64(),
        }
    }

    /// The small record behind a timer.
    pub(crate) fn from_timer(bits: u64) -> Option<Self> {
        let key = Key::from_u64(bits & !TIMER_V6)?;
        Some(if bits & TIMER_V6 == 0 { Self::TimeWait4(key) } else { Self::TimeWait6(key) })
    }
}

/// What the last look-up found.
#[derive(Clone, Copy, Debug)]
struct Last {
    tuple: Tuple,
    hash: u32,
    entry: Option<u32>,
}

/// All records of TCP.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) connections: Slab<Tcb>,
    pub(crate) requests: Slab<Request>,
    pub(crate) time_wait4: Line<Ipv4Addr>,
    pub(crate) time_wait6: Line<Ipv6Addr>,
    index: HashTable<u32>,
    /// The last four-tuple that was asked for: calls come in runs.
    last: Cell<Option<Last>>,
    /// Sockets bound to a port by the application: listeners, and those about to connect.
    bound: BTreeMap<u16, Vec<Key>>,
    /// Listeners on every port.
    any_port: Vec<Key>,
    /// Where the search for an ephemeral port goes on, by keyed hash of the destination (RFC 6056 3.3.4): 65,536 places, as
    /// many as Linux has since 256 turned out to be a fingerprint (CVE-2022-32296); kept as they are used.
    port_counters: HashTable<(u16, u16)>,
    pub(crate) request_wheel: Wheel,
    pub(crate) time_wait_wheel: Wheel,
}

impl Tables {
    pub(crate) fn new(cx: &Ctx) -> Self {
        Self {
            connections: Slab::new(),
            requests: Slab::new(),
            time_wait4: Line::new(),
            time_wait6: Line::new(),
            index: HashTable::new(),
            last: Cell::new(None),
            bound: BTreeMap::new(),
            any_port: Vec::new(),
            port_counters: HashTable::new(),
            request_wheel: Wheel::new(cx.now),
            time_wait_wheel: Wheel::new(cx.now),
        }
    }

    pub(crate) fn time_wait_len(&self) -> usize {
        self.time_wait4.len() + self.time_wait6.len()
    }

    fn tuple_at(&self, entry: u32) -> Option<Tuple> {
        let slot = entry & SLOT_MASK;
        match entry >> KIND_SHIFT {
            0 => self.connections.at(slot).map(|tcb| tcb.tuple),
            1 => self.requests.at(slot).map(|request| request.tuple),
            2 => self.time_wait4.at(slot).map(Record::tuple),
            _ => self.time_wait6.at(slot).map(Record::tuple),
        }
    }

    /// The hash under which an entry stands.
    fn hash_at(&self, cx: &Ctx, entry: u32) -> u32 {
        let slot = entry & SLOT_MASK;
        let kept = match entry >> KIND_SHIFT {
            2 => self.time_wait4.at(slot).map(Record::hash),
            3 => self.time_wait6.at(slot).map(Record::hash),
            _ => self.tuple_at(entry).map(|tuple| cx.tuple_hash(&tuple)),
        };
        kept.unwrap_or(0)
    }

    /// The record of a four-tuple.
    pub(crate) fn find(&self, cx: &Ctx, tuple: &Tuple) -> Option<Found> {
        let entry = match self.last.get() {
            Some(last) if last.tuple == *tuple && cx.may_take(ShortPaths::SAME_TUPLE) => last.entry,
            _ => {
                let hash = cx.tuple_hash(tuple);
                let entry = self.index.find(spread(hash), |entry| self.entry_is(*entry, tuple)).copied();
                self.last.set(Some(Last { tuple: *tuple, hash, entry }));
                entry
            }
        }?;
        let slot = entry & SLOT_MASK;
        match entry >> KIND_SHIFT {
            0 => self.connections.key_of(slot).map(Found::Connection),
            1 => self.requests.key_of(slot).map(Found::Request),
            2 => self.time_wait4.key_of(slot).map(Found::TimeWait4),
            _ => self.time_wait6.key_of(slot).map(Found::TimeWait6),
        }
    }

    /// The keyed hash of a four-tuple, which the last look-up may have made.
    pub(crate) fn hash(&self, cx: &Ctx, tuple: &Tuple) -> u32 {
        match self.last.get() {
            Some(last) if last.tuple == *tuple && cx.may_take(ShortPaths::SAME_TUPLE) => last.hash,
            _ => cx.tuple_hash(tuple),
        }
    }

    fn entry_is(&self, entry: u32, tuple: &Tuple) -> bool {
        if entry >> KIND_SHIFT == 0 {
            return self.connections.at(entry).is_some_and(|tcb| tcb.tuple == *tuple);
        }
        self.tuple_at(entry).is_some_and(|other| other == *tuple)
    }

    /// Enters a record. Its slab must hold it already.
    pub(crate) fn index(&mut self, cx: &Ctx, tuple: &Tuple, found: Found) {
        let hash = self.hash(cx, tuple);
        self.last.set(Some(Last { tuple: *tuple, hash, entry: Some(found.entry()) }));
        let mut index = core::mem::take(&mut self.index);
        index.insert_unique(spread(hash), found.entry(), |entry| spread(self.hash_at(cx, *entry)));
        self.index = index;
    }

    /// Lets `new` take the place of `old`, a record of the same four-tuple.
    pub(crate) fn replace(&mut self, cx: &Ctx, tuple: &Tuple, old: Found, new: Found) {
        let hash = self.hash(cx, tuple);
        let entry = old.entry();
        match self.index.find_mut(spread(hash), |other| *other == entry) {
            Some(slot) => {
                *slot = new.entry();
                self.last.set(Some(Last { tuple: *tuple, hash, entry: Some(new.entry()) }));
            }
            None => self.index(cx, tuple, new),
        }
    }

    /// Takes a record out. It must still be in its slab.
    pub(crate) fn unindex(&mut self, cx: &Ctx, tuple: &Tuple, found: Found) {
        let hash = self.hash(cx, tuple);
        self.unindex_hashed(hash, found);
    }

    /// As [`Tables::unindex`], with the hash of the four-tuple.
    pub(crate) fn unindex_hashed(&mut self, hash: u32, found: Found) {
        let entry = found.entry();
        if self.last.get().is_some_and(|last| last.entry == Some(entry)) {
            self.last.set(None);
        }
        if let Ok(slot) = self.index.find_entry(spread(hash), |other| *other == entry) {
            slot.remove();
        }
    }

    /// The listener for a destination: a listed port before every port, a listed address before the wildcard, and among
    /// equals of `SO_REUSEPORT` the one that the hash picks (Linux `inet_lookup_listener`).
    pub(crate) fn listener(&self, cx: &Ctx, tuple: &Tuple) -> Option<Key> {
        let by_port = self.bound.get(&tuple.local_port).map_or(&[][..], Vec::as_slice);
        self.best_listener(cx, tuple, by_port).or_else(|| self.best_listener(cx, tuple, &self.any_port))
    }

    fn best_listener(&self, cx: &Ctx, tuple: &Tuple, keys: &[Key]) -> Option<Key> {
        let mut best = 0;
        let mut equals = 0u64;
        let mut chosen = None;
        for key in keys {
            let Some(tcb) = self.connections.get(*key) else { continue };
            if tcb.state() != State::Listen {
                continue;
            }
            if tcb.knobs.has(Knob::V6_ONLY) && tuple.local.is_ipv4() {
                continue;
            }
            let score = match_address(tcb.tuple.local.ip(), tuple.local.ip());
            if score == 0 || score < best {
                continue;
            }
            equals = if score > best { 1 } else { equals + 1 };
            best = score;
            if equals == 1 || u64::from(cx.tuple_hash(tuple)).is_multiple_of(equals) {
                chosen = Some(*key);
            }
        }
        chosen
    }

    /// Notes a socket that the application bound to `port`.
    pub(crate) fn bind(&mut self, port: u16, key: Key) {
        self.bound.entry(port).or_default().push(key);
    }

    pub(crate) fn bind_any_port(&mut self, key: Key) {
        self.any_port.push(key);
    }

    /// Another listener for every port of an overlapping address, without `SO_REUSEPORT` on both.
    pub(crate) fn any_port_conflicts(&self, key: Key) -> bool {
        let Some(me) = self.connections.get(key) else { return true };
        self.any_port.iter().filter_map(|other| self.connections.get(*other)).any(|other| {
            let shared = me.knobs.has(Knob::REUSE_PORT) && other.knobs.has(Knob::REUSE_PORT);
            overlap(other.tuple.local.ip(), me.tuple.local.ip()) && !shared
        })
    }

    pub(crate) fn unbind(&mut self, port: u16, key: Key) {
        self.any_port.retain(|other| *other != key);
        if let Some(keys) = self.bound.get_mut(&port) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.bound.remove(&port);
            }
        }
    }

    /// Linux's rules for `bind`: overlapping addresses conflict unless both sockets have `SO_REUSEADDR` and none
    /// listens, or both have `SO_REUSEPORT`. A TIME_WAIT record counts as a socket that does not listen.
    pub(crate) fn bind_conflicts(&self, key: Key, addr: SocketAddr, listening: bool) -> bool {
        let Some(me) = self.connections.get(key) else { return true };
        let reuse = me.knobs.has(Knob::REUSE_ADDR) && !listening;
        let reuse_port = me.knobs.has(Knob::REUSE_PORT);
        let clashes = |tcb: &Tcb| {
            let both_reuse = reuse && tcb.knobs.has(Knob::REUSE_ADDR) && tcb.state() != State::Listen;
            let v6_only = tcb.tuple.local.is_ipv4() && me.knobs.has(Knob::V6_ONLY)
                || addr.is_ipv4() && tcb.knobs.has(Knob::V6_ONLY);
            tcb.key != key
                && !v6_only
                && overlap(tcb.tuple.local.ip(), addr.ip())
                && !both_reuse
                && !(reuse_port && tcb.knobs.has(Knob::REUSE_PORT))
        };
        let bound = self.bound.get(&addr.port()).map_or(&[][..], Vec::as_slice);
        if bound.iter().filter_map(|key| self.connections.get(*key)).any(clashes) {
            return true;
        }
        // A child or an outgoing connection of an earlier socket on the port.
        let connections = self.connections.iter().map(|(_, tcb)| tcb);
        let with_reuse = me.knobs.has(Knob::REUSE_ADDR);
        let open = connections.filter(|tcb| {
            tcb.is(Is::INDEXED) && tcb.tuple.local_port == addr.port() && tcb.parent != Some(key)
        });
        let waiting4 = self.time_wait4.iter().map(|(_, record)| (record.tuple(), record.reuse_addr()));
        let waiting6 = self.time_wait6.iter().map(|(_, record)| (record.tuple(), record.reuse_addr()));
        open.map(|tcb| (tcb.tuple, tcb.knobs.has(Knob::REUSE_ADDR)))
            .chain(waiting4)
            .chain(waiting6)
            .filter(|(tuple, _)| tuple.local_port == addr.port() && overlap(tuple.local.ip(), addr.ip()))
            .any(|(_, reuses)| !(with_reuse && reuses))
    }

    /// Nobody has bound `port` for an address that overlaps `addr`.
    pub(crate) fn port_is_unbound(&self, port: u16) -> bool {
        !self.bound.contains_key(&port)
    }

    /// Next candidate of the search for an ephemeral port towards one destination, and how to note the choice.
    pub(crate) fn port_counter(&mut self, bucket: u16) -> &mut u16 {
        // The number is half of a keyed hash: no other is needed.
        let hash = |bucket: u16| spread(u32::from(bucket) << 16 | u32::from(bucket));
        let entry = self.port_counters.entry(hash(bucket), |(of, _)| *of == bucket, |(of, _)| hash(*of));
        &mut entry.or_insert((bucket, 0)).into_mut().1
    }
}

/// A hash for the table, which looks at the low bits and at the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn is_wildcard(addr: IpAddr) -> bool {
    addr.is_unspecified()
}

/// 0 no match; 1 IPv6 wildcard for IPv4 (dual stack); 2 wildcard; 3 exact.
fn match_address(listening: IpAddr, wanted: IpAddr) -> u8 {
    match (listening, wanted) {
        (a, b) if a == b => 3,
        (IpAddr::V4(a), IpAddr::V4(_)) if a.is_unspecified() => 2,
        (IpAddr::V6(a), IpAddr::V6(_)) if a.is_unspecified() => 2,
        (IpAddr::V6(a), IpAddr::V4(_)) if a.is_unspecified() => 1,
        _ => 0,
    }
}

/// Two local addresses of which one packet could meet both.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (a, b) if a == b => true,
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => is_wildcard(a) || is_wildcard(b),
        // The IPv6 wildcard takes IPv4 too.
        (IpAddr::V6(six), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(six)) => six.is_unspecified(),
    }
}

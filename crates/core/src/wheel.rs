//! A hierarchical timer wheel: insert, move and remove in constant time.
//!
//! Time is cut into ticks of 1 ms. A deadline fires at the first tick that is not before it. There are
//! eight levels of 64 slots; a slot of level L is 64^L ticks wide, and together they span more than an
//! [`Instant`] can express, so that no deadline is too far away. A timer lives on the level of the
//! highest 6-bit digit in which its tick differs from the wheel's position; when the position enters a
//! slot of a higher level, the slot's timers move down. The level is therefore a function of position
//! and tick and needs no field, and timers of the same tick always share a list, which keeps the order
//! of insertion among them.
//!
//! An occupancy bit for each slot makes a jump over idle hours as cheap as a single tick.

use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::num::NonZeroU32;

const TICK_NANOS: u64 = 1_000_000;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
const NIL: u32 = u32::MAX;
/// The last tick that a clock reading can reach.
const LAST_TICK: u64 = u64::MAX / TICK_NANOS;
/// Marks a node that is on the free list.
const FREE: u64 = u64::MAX;

/// A timer that was inserted and has neither fired nor been removed. The owner forgets it then: the
/// number is used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TimerId(NonZeroU32);

impl TimerId {
    /// `slot` is the number of a node.
    fn new(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    /// The number of the node.
    #[inline]
    fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// Lists are circular: the head's `prev` is the tail.
#[derive(Clone, Debug)]
struct Node {
    key: u64,
    tick: u64,
    next: u32,
    prev: u32,
}

#[derive(Clone, Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
}

/// See the module's documentation. A level is allocated when it is first used (264 bytes each).
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    nodes: Vec<Node>,
    free: u32,
    len: u32,
    /// Bit L is set when level L has an occupied slot.
    occupied: u8,
    /// The tick that the wheel has advanced to: nothing in it is due earlier.
    position: u64,
    /// [`Wheel::next_deadline`] answers no earlier tick. It may be too low.
    soonest: u64,
    /// What [`Wheel::next_deadline`] answered, while nothing has moved since: drivers ask far more often.
    answered: Cell<Option<Option<Instant>>>,
    levels: [Option<Box<Level>>; LEVELS],
}

/// The first tick that is not before `deadline`.
#[inline]
fn tick_of_deadline(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(TICK_NANOS).min(LAST_TICK)
}

/// The tick that the clock has reached.
#[inline]
fn tick_of_now(now: Instant) -> u64 {
    now.as_nanos() / TICK_NANOS
}

#[inline]
fn instant_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK_NANOS))
}

impl Wheel {
    /// An empty wheel whose position is `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Wheel {
            nodes: Vec::new(),
            free: NIL,
            len: 0,
            occupied: 0,
            position: tick_of_now(now),
            soonest: u64::MAX,
            answered: Cell::new(None),
            levels: [const { None }; LEVELS],
        }
    }

    /// Number of timers that are armed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no timer is armed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms a timer. A deadline that has passed fires at the next [`Wheel::pop_expired`].
    pub(crate) fn insert(&mut self, deadline: Instant, key: u64) -> TimerId {
        let tick = tick_of_deadline(deadline).max(self.position);
        let node = Node { key, tick, next: NIL, prev: NIL };
        let id = self.free;
        let id = match self.nodes.get_mut(id as usize) {
            Some(slot) => {
                self.free = slot.next;
                *slot = node;
                id
            }
            None => {
                if self.nodes.len() == self.nodes.capacity() {
                    // Grows by an eighth, so that a hundred thousand connections waste little.
                    self.nodes.reserve_exact(self.nodes.len() / 8 + 4);
                }
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.len += 1;
        self.link(id, tick);
        TimerId::new(id)
    }

    /// When a timer fires, to the tick.
    pub(crate) fn deadline(&self, id: TimerId) -> Option<Instant> {
        self.nodes.get(id.slot() as usize).filter(|node| node.tick != FREE).map(|node| instant_of(node.tick))
    }

    /// Moves a timer to another deadline; it then counts as inserted now, except that a deadline
    /// within the same tick changes nothing. `false` when no such timer is armed.
    pub(crate) fn reschedule(&mut self, id: TimerId, deadline: Instant) -> bool {
        let tick = tick_of_deadline(deadline).max(self.position);
        match self.nodes.get(id.slot() as usize) {
            Some(node) if node.tick == FREE => return false,
            Some(node) if node.tick == tick => return true,
            Some(_) => {}
            None => return false,
        }
        self.unlink(id.slot());
        self.nodes[id.slot() as usize].tick = tick;
        self.link(id.slot(), tick);
        true
    }

    /// Disarms a timer and returns its key; `None` when no such timer is armed.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<u64> {
        self.nodes.get(id.slot() as usize).filter(|node| node.tick != FREE)?;
        self.unlink(id.slot());
        Some(self.release(id.slot()))
    }

    /// Takes the next timer whose tick `now` has reached: in the order of ticks and, within a tick, of
    /// insertion. The timer is disarmed; its [`TimerId`] is void.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<u64> {
        let now = tick_of_now(now);
        self.answered.set(None);
        while let Some((level, slot, start)) = self.first_slot() {
            if start > now {
                break;
            }
            self.position = self.position.max(start);
            if level == 0 {
                let head = self.head(level, slot);
                self.unlink(head);
                return Some(self.release(head));
            }
            self.cascade(level, slot);
        }
        self.position = self.position.max(now);
        self.soonest = self.first_slot().map_or(u64::MAX, |(_, _, start)| start);
        None
    }

    /// Whether [`Wheel::pop_expired`] may find something, or has to move timers down a level: a cheap answer that is never
    /// wrongly "no".
    #[inline]
    pub(crate) fn may_be_due(&self, now: Instant) -> bool {
        tick_of_now(now) >= self.soonest
    }

    /// When to call [`Wheel::pop_expired`] next; `None` when nothing is armed.
    ///
    /// Never later than the tick of the earliest timer. It may be earlier when several timers share a
    /// slot of a higher level; calling [`Wheel::pop_expired`] then moves them down a level, so the
    /// next answer is nearer (at most seven times for a timer).
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if let Some(answer) = self.answered.get() {
            return answer;
        }
        let answer = self.find_deadline();
        self.answered.set(Some(answer));
        answer
    }

    fn find_deadline(&self) -> Option<Instant> {
        let (level, slot, start) = self.first_slot()?;
        let head = &self.nodes[self.head(level, slot) as usize];
        let alone = head.next == head.prev && self.nodes[head.next as usize].next == head.next;
        Some(instant_of(if alone { head.tick } else { start }))
    }

    /// The occupied slot that begins first: (level, slot, first tick). Lower levels come before higher.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.occupied == 0 {
            return None;
        }
        let level = self.occupied.trailing_zeros() as usize;
        let slot = self.levels[level].as_ref()?.occupied.trailing_zeros();
        let shift = SLOT_BITS * level as u32;
        let above = self.position >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Level and slot of a tick that is not before the position.
    #[inline]
    fn place(&self, tick: u64) -> (usize, usize) {
        let differs = (self.position ^ tick) | 1;
        let level = ((u64::BITS - 1 - differs.leading_zeros()) / SLOT_BITS) as usize;
        (level, (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS)
    }

    #[inline]
    fn head(&self, level: usize, slot: usize) -> u32 {
        self.levels[level].as_ref().map_or(NIL, |level| level.heads[slot])
    }

    /// Appends a node to the list of its slot.
    fn link(&mut self, id: u32, tick: u64) {
        self.answered.set(None);
        let (level_no, slot) = self.place(tick);
        let shift = SLOT_BITS * level_no as u32;
        self.soonest = self.soonest.min(tick >> shift << shift);
        let level =
            self.levels[level_no].get_or_insert_with(|| Box::new(Level { occupied: 0, heads: [NIL; SLOTS] }));
        let head = level.heads[slot];
        if head == NIL {
            level.heads[slot] = id;
            level.occupied |= 1 << slot;
            self.occupied |= 1 << level_no;
            let node = &mut self.nodes[id as usize];
            (node.next, node.prev) = (id, id);
            return;
        }
        let tail = core::mem::replace(&mut self.nodes[head as usize].prev, id);
        self.nodes[tail as usize].next = id;
        let node = &mut self.nodes[id as usize];
        (node.next, node.prev) = (head, tail);
    }

    /// Takes a node out of the list of its slot.
    fn unlink(&mut self, id: u32) {
        self.answered.set(None);
        let Node { tick, next, prev, .. } = self.nodes[id as usize];
        let (level_no, slot) = self.place(tick);
        let Some(level) = self.levels[level_no].as_mut() else { return };
        if next == id {
            level.heads[slot] = NIL;
            level.occupied &= !(1 << slot);
            if level.occupied == 0 {
                self.occupied &= !(1 << level_no);
            }
            return;
        }
        if level.heads[slot] == id {
            level.heads[slot] = next;
        }
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
    }

    /// Puts a node on the free list and returns its key.
    fn release(&mut self, id: u32) -> u64 {
        let node = &mut self.nodes[id as usize];
        let key = node.key;
        *node = Node { key: 0, tick: FREE, next: self.free, prev: NIL };
        self.free = id;
        self.len -= 1;
        key
    }

    /// Moves the timers of a slot that the position has just entered to lower levels, in order.
    fn cascade(&mut self, level_no: usize, slot: usize) {
        let Some(level) = self.levels[level_no].as_mut() else { return };
        let head = core::mem::replace(&mut level.heads[slot], NIL);
        level.occupied &= !(1 << slot);
        if level.occupied == 0 {
            self.occupied &= !(1 << level_no);
        }
        let mut id = head;
        loop {
            let Node { tick, next, .. } = self.nodes[id as usize];
            self.link(id, tick);
            if next == head {
                return;
            }
            id = next;
        }
    }
}

#[cfg(test)]
mod tests;

//! The small records of one family, and when they go.
//!
//! Nearly all of them live equally long, so that they go in the order in which they came: they stand in a line, each linked
//! to its neighbours, and need no timer. One that would have to stand before the last has a timer in the wheel instead.

use super::{Address, Record, millis};
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::wheel::{TimerId, Wheel};
use core::ops::{Deref, DerefMut};
use core::time::Duration;

/// No slot.
const NIL: u32 = u32::MAX;
/// A record that lives longer has a timer: places in the line are compared modulo 2^32 ms.
const LONGEST: Duration = Duration::from_secs(1 << 20);
/// A deadline counts from the first whole millisecond that is not before it, as in the wheel.
const TICK_NANOS: u64 = 1_000_000;

/// Where a record waits for its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Nowhere yet.
    None,
    /// In the line: the low bits of the millisecond in which it goes, and the slots of its neighbours.
    Line { ends_ms: u32, before: u32, behind: u32 },
    /// In the wheel.
    Timer(TimerId),
}

impl Place {
    /// When the record goes.
    pub(crate) fn ends(self, now: Instant, wheel: &Wheel) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Line { ends_ms, .. } => Some(instant(now, ends_ms)),
            Self::Timer(timer) => wheel.deadline(timer),
        }
    }
}

/// The time within 24 days of `now` whose milliseconds have these low bits.
fn instant(now: Instant, ms: u32) -> Instant {
    let ahead = ms.wrapping_sub(millis(now)).cast_signed();
    Instant::from_millis(now.as_millis().saturating_add_signed(ahead.into()))
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Line<A> {
    records: Slab<Record<A>>,
    first: u32,
    last: u32,
    /// When the first goes.
    due: Option<Instant>,
}

impl<A> Deref for Line<A> {
    type Target = Slab<Record<A>>;
    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl<A> DerefMut for Line<A> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.records
    }
}

impl<A: Address> Line<A> {
    pub(crate) const fn new() -> Self {
        Self { records: Slab::new(), first: NIL, last: NIL, due: None }
    }

    /// When the first of the line goes; not told of those with a timer.
    #[inline]
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The first of the line, if its time has come.
    pub(crate) fn first_due(&self, now: Instant) -> Option<Key> {
        self.due.filter(|at| *at <= now)?;
        self.records.key_of(self.first)
    }

    /// Lets a record go at `ends` and no longer when it went before. `timer` is its key in the wheel.
    pub(crate) fn let_end(&mut self, wheel: &mut Wheel, now: Instant, key: Key, timer: u64, ends: Instant) {
        self.step_out(wheel, now, key);
        let ends_ms = ends.as_nanos().div_ceil(TICK_NANOS) as u32;
        let place = if ends - now <= LONGEST && self.goes_last(ends_ms) {
            self.append(now, key, ends_ms)
        } else {
            Place::Timer(wheel.insert(ends, timer))
        };
        if let Some(record) = self.records.get_mut(key) {
            record.place = place;
        }
    }

    /// Takes a record out after `leave` has seen it; gives the hash of its four-tuple.
    pub(crate) fn end(
        &mut self,
        wheel: &mut Wheel,
        now: Instant,
        key: Key,
        leave: impl FnOnce(&mut Record<A>),
    ) -> Option<u32> {
        let record = self.records.get_mut(key)?;
        leave(record);
        let hash = record.hash;
        self.step_out(wheel, now, key);
        self.records.discard(key);
        Some(hash)
    }

    /// The wheel has dropped the record's timer.
    pub(crate) fn timer_fired(&mut self, key: Key) {
        if let Some(record) = self.records.get_mut(key) {
            record.place = Place::None;
        }
    }

    fn goes_last(&self, ends_ms: u32) -> bool {
        match self.records.at(self.last).map(|last| last.place) {
            Some(Place::Line { ends_ms: last, .. }) => ends_ms.wrapping_sub(last).cast_signed() >= 0,
            _ => true,
        }
    }

    fn append(&mut self, now: Instant, key: Key, ends_ms: u32) -> Place {
        let before = core::mem::replace(&mut self.last, key.index());
        match self.records.at_mut(before).map(|record| &mut record.place) {
            Some(Place::Line { behind, .. }) => *behind = key.index(),
            _ => {
                self.first = key.index();
                self.due = Some(instant(now, ends_ms));
            }
        }
        Place::Line { ends_ms, before, behind: NIL }
    }

    fn step_out(&mut self, wheel: &mut Wheel, now: Instant, key: Key) {
        let Some(record) = self.records.get_mut(key) else { return };
        let (before, behind) = match core::mem::replace(&mut record.place, Place::None) {
            Place::None => return,
            Place::Timer(timer) => {
                wheel.remove(timer);
                return;
            }
            Place::Line { before, behind, .. } => (before, behind),
        };
        match self.records.at_mut(before).map(|record| &mut record.place) {
            Some(Place::Line { behind: link, .. }) => *link = behind,
            _ => self.first = behind,
        }
        match self.records.at_mut(behind).map(|record| &mut record.place) {
            Some(Place::Line { before: link, ends_ms, .. }) => {
                *link = before;
                if before == NIL {
                    self.due = Some(instant(now, *ends_ms));
                }
            }
            _ => {
                self.last = before;
                if before == NIL {
                    self.due = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

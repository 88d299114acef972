//! How much has been lost since a segment was sent, without a note on each segment.

use crate::tcp::congestion::{Flow, Origin};
use core::hash::{Hash, Hasher};

/// Notes that are kept.
const NOTES: usize = 32;

/// Some moments of the last two flights: what had been delivered, and what had been lost.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// A ring; `next` is the oldest.
    notes: [(u32, u32); NOTES],
    next: u8,
    len: u8,
}

impl Losses {
    pub(super) const fn new() -> Self {
        Self { notes: [(0, 0); NOTES], next: 0, len: 0 }
    }

    /// From the newest to the oldest.
    fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let next = usize::from(self.next);
        (1..=usize::from(self.len))
            .filter_map(move |back| self.notes.get((next + NOTES - back) % NOTES).copied())
    }

    /// Notes the present, if a sixteenth of a flight has been delivered since the last note.
    pub(super) fn remember(&mut self, flow: &Flow) {
        let step = flow.in_flight / 16;
        if self.iter().next().is_some_and(|(delivered, _)| flow.delivered.wrapping_sub(delivered) <= step) {
            return;
        }
        if let Some(note) = self.notes.get_mut(usize::from(self.next)) {
            *note = (flow.delivered, flow.lost);
        }
        self.next = (self.next + 1) % NOTES as u8;
        self.len = (self.len + 1).min(NOTES as u8);
    }

    /// Segments lost since `delivered` had been delivered.
    pub(super) fn since(&self, delivered: Option<u32>, flow: &Flow) -> u32 {
        let Some(delivered) = delivered else { return 0 };
        let known = |(at, _): &(u32, u32)| delivered.wrapping_sub(*at) as i32 >= 0;
        // Nothing so old is known: the oldest that is.
        let note = self.iter().find(known).or_else(|| self.iter().last());
        note.map_or(0, |(_, lost)| flow.lost.wrapping_sub(lost))
    }

    pub(super) fn fingerprint(&self, origin: &Origin, mut h: &mut dyn Hasher) {
        for (delivered, lost) in self.iter() {
            (origin.delivered.wrapping_sub(delivered), origin.lost.wrapping_sub(lost)).hash(&mut h);
        }
    }
}

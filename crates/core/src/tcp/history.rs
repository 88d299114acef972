//! A bounded memory of a connection's transitions.

use crate::event::Transition;

/// Transitions kept per connection: more than any connection can make, save one that is reset and reused oddly.
pub(crate) const CAPACITY: usize = 7;

/// The last [`CAPACITY`] transitions, oldest first, and what the report of the connection's end needs besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    ring: [Option<Transition>; CAPACITY],
    next: u8,
    /// Where the direction that stayed open stood at the first FIN (low bits of its stream offset).
    pub(crate) open_end: u32,
    /// Bytes that were written and not acknowledged when the record left its life.
    pub(crate) unacked: u32,
}

impl History {
    #[inline]
    pub(crate) fn push(&mut self, transition: Transition) {
        let at = usize::from(self.next) % CAPACITY;
        if let Some(slot) = self.ring.get_mut(at) {
            *slot = Some(transition);
        }
        self.next = ((at + 1) % CAPACITY) as u8;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Transition> + '_ {
        let (newer, older) = self.ring.split_at(usize::from(self.next) % CAPACITY);
        older.iter().chain(newer).flatten().copied()
    }

    pub(crate) fn last(&self) -> Option<Transition> {
        self.iter().last()
    }
}

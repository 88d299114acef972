//! A bounded memory of a connection's transitions.

use super::state::{Cause, Initiator, State};
use crate::event::Transition;
use crate::time::Instant;

/// Transitions kept per connection: more than any connection can make, save one that is reset and reused oddly.
pub(crate) const CAPACITY: usize = 7;

/// A transition without its time.
type Step = (State, State, Cause, Initiator);

/// The last [`CAPACITY`] transitions, oldest first, and what the report of the connection's end needs besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    times: [Instant; CAPACITY],
    steps: [Option<Step>; CAPACITY],
    next: u8,
    /// Where the direction that stayed open stood at the first FIN (low bits of its stream offset).
    pub(crate) open_end: u32,
    /// Bytes that were written and not acknowledged when the record left its life.
    pub(crate) unacked: u32,
}

impl History {
    #[inline]
    pub(crate) fn push(&mut self, transition: Transition) {
        let at = usize::from(self.next);
        let Transition { at: time, from, to, cause, initiator } = transition;
        if let (Some(when), Some(step)) = (self.times.get_mut(at), self.steps.get_mut(at)) {
            (*when, *step) = (time, Some((from, to, cause, initiator)));
        }
        self.next = if at + 1 < CAPACITY { self.next + 1 } else { 0 };
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Transition> + '_ {
        let first = usize::from(self.next);
        (first..first + CAPACITY).filter_map(|at| {
            let (from, to, cause, initiator) = self.steps[at % CAPACITY]?;
            Some(Transition { at: self.times[at % CAPACITY], from, to, cause, initiator })
        })
    }

    pub(crate) fn last(&self) -> Option<Transition> {
        self.iter().last()
    }
}

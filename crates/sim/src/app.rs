//! Programs that run on one side.

use crate::log::{Call, Log, Record, Side, What, note_transitions};
use lastack_core::{Instant, Stack};

/// What an application waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Anything that happens on its side.
    Event,
    /// A time, or an event before it.
    Until(Instant),
    /// Nothing: it has finished.
    Finished,
}

/// A program on one side. It is a state machine: it goes on where it stopped.
pub trait Application {
    /// Runs until nothing more can be done now. May be called before what it waits for has come.
    fn resume(&mut self, io: &mut Io<'_>) -> Wait;
}

/// What an application gets its hands on while it runs.
pub struct Io<'a> {
    /// The side it runs on.
    pub side: Side,
    /// The time.
    pub now: Instant,
    /// The stack below it.
    pub stack: &'a mut Stack,
    pub(crate) log: &'a mut Log,
}

impl Io<'_> {
    /// Puts a call that was just made into the log, and behind it the changes of state that it caused.
    pub fn note(&mut self, call: Call) {
        self.log.records.push(Record { at: self.now, side: self.side, what: What::Call(call) });
        note_transitions(self.log, self.side, self.now, self.stack);
    }
}

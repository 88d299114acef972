//! What happened: calls, changes of state, packets, in order.

use crate::packet::{self, Sent};
use lastack_core::wire::PacketMeta;
use lastack_core::{Error, Instant, Shutdown, Stack, State, TransitionEvent, Why};
use std::net::SocketAddr;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Drawn on the left.
    A,
    /// Drawn on the right.
    B,
}

impl Side {
    /// Both, in the order in which they are served at one instant.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `A` or `B`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// A socket call of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `listen()`.
    Listen,
    /// `connect()`; logged once when it starts and once when its outcome is known.
    Connect,
    /// `accept()`.
    Accept,
    /// `read()`.
    Read,
    /// `write()` of so many bytes.
    Write(usize),
    /// `shutdown()`.
    Shutdown(Shutdown),
    /// `close()` of a connection.
    Close,
    /// `close()` of a listener.
    CloseListener,
    /// `abort()`.
    Abort,
    /// `setsockopt()`, in words.
    SetOption(&'static str),
    /// No call: the side falls silent for good.
    PowerOff,
    /// No call: the side crashes and is there again, knowing nothing.
    Reboot,
}

/// What a call gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Begun; the result comes later.
    Started,
    /// Succeeded without a number.
    Done,
    /// Succeeded with so many bytes.
    Bytes(usize),
    /// Failed.
    Failed(Error),
}

/// One call in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which call.
    pub op: Op,
    /// What it gave.
    pub outcome: Outcome,
    /// The socket's own address, if it has one.
    pub local: Option<SocketAddr>,
    /// The peer's address; `None` for a listener.
    pub remote: Option<SocketAddr>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum What {
    /// An application made a call.
    Call(Call),
    /// The stack reported a change of state.
    Transition(TransitionEvent),
    /// The packet with this index left.
    Sent(usize),
    /// The packet with this index arrived.
    Arrived(usize),
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// On which side.
    pub side: Side,
    /// What.
    pub what: What,
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it.
    pub from: Side,
    /// When it left.
    pub sent: Instant,
    /// When it arrives; `None` if the link lost it.
    pub arrives: Option<Instant>,
    /// The packet from its IP header on, with finished checksums.
    pub bytes: Vec<u8>,
    /// What the sending stack told the link about it.
    pub meta: PacketMeta,
    /// No stack sent it: it was written by hand.
    pub by_hand: bool,
}

/// Everything that happened between two stacks.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls, transitions, departures and arrivals, in order.
    pub records: Vec<Record>,
    /// Every packet, in the order of sending. Indices in [`What`] point here.
    pub packets: Vec<Packet>,
    /// What the stacks said in long waits, if [`Pair::explain`](crate::Pair::explain) was called.
    pub waits: Vec<Waiting>,
}

/// What a stack says about a connection in the middle of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it was asked.
    pub at: Instant,
    /// Which side.
    pub side: Side,
    /// Why the connection is still there.
    pub why: Why,
}

impl Log {
    /// Every TCP segment, in the order of sending, with relative numbers.
    #[must_use]
    pub fn segments(&self) -> Vec<Sent> {
        packet::segments(&self.packets)
    }

    /// The states that the connections of one side entered, in order.
    #[must_use]
    pub fn path(&self, side: Side) -> Vec<State> {
        self.transitions(side).map(|(_, event)| event.transition.to).collect()
    }

    /// The changes of state of one side, in order.
    pub fn transitions(&self, side: Side) -> impl Iterator<Item = (Instant, &TransitionEvent)> {
        self.records.iter().filter(move |record| record.side == side).filter_map(|record| {
            match &record.what {
                What::Transition(event) => Some((record.at, event)),
                _ => None,
            }
        })
    }

    /// The calls of one side, in order.
    pub fn calls(&self, side: Side) -> impl Iterator<Item = (Instant, &Call)> {
        self.records.iter().filter(move |record| record.side == side).filter_map(|record| {
            match &record.what {
                What::Call(call) => Some((record.at, call)),
                _ => None,
            }
        })
    }
}

/// Moves the transitions that a stack has to tell into the log.
pub(crate) fn note_transitions(log: &mut Log, side: Side, at: Instant, stack: &mut Stack) {
    while let Some(event) = stack.poll_transition() {
        log.records.push(Record { at, side, what: What::Transition(event) });
    }
}

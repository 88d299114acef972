//! Two stacks joined by a link, driven in virtual time.
//!
//! Nothing here waits, prints or looks at a clock: the same applications, seed and drop rule give the same
//! [`Log`], byte for byte. A side's applications are resumed whenever something happened on that side, and at the
//! times they asked for; what they and the stacks did is in the log in the order in which it happened.

use lastack_core::wire::{Capabilities, PacketMeta};
use lastack_core::{Config, Error, Instant, Shutdown, Stack, TransitionEvent};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Rounds of work at one instant before the pair is called stalled: far above what any exchange needs.
const ROUNDS_AT_ONE_INSTANT: u32 = 10_000;

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
}

/// Everything that happened between two stacks.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls, transitions, departures and arrivals, in order.
    pub records: Vec<Record>,
    /// Every packet, in the order of sending. Indices in [`What`] point here.
    pub packets: Vec<Packet>,
}

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
    log: &'a mut Log,
}

impl Io<'_> {
    /// Puts a call that was just made into the log, and behind it the changes of state that it caused.
    pub fn note(&mut self, call: Call) {
        self.log.records.push(Record { at: self.now, side: self.side, what: What::Call(call) });
        note_transitions(self.log, self.side, self.now, self.stack);
    }
}

/// Decides about each packet at the moment of sending: `true` loses it.
pub type DropRule = Box<dyn FnMut(Side, &[u8]) -> bool>;

/// The link between the two stacks.
pub struct Link {
    /// Largest packet in bytes.
    pub mtu: u16,
    /// Time from one end to the other.
    pub delay: Duration,
    /// Which packets are lost.
    pub loses: DropRule,
}

/// A stack asked to be called again and again at one and the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Where virtual time stood still.
    pub at: Instant,
}

struct Seat {
    side: Side,
    wait: Wait,
    application: Box<dyn Application>,
}

/// Two stacks, a link, applications, and the time.
pub struct Pair {
    now: Instant,
    stacks: [Stack; 2],
    link: Link,
    /// Indices of packets on their way, in the order of arrival (the delay is the same for all).
    flying: VecDeque<usize>,
    seats: Vec<Seat>,
    log: Log,
    frame: Vec<u8>,
}

impl Pair {
    /// Two stacks at time zero. Transitions are traced whatever the configurations say. The first byte of the seed
    /// tells the sides apart.
    pub fn new(configs: [Config; 2], link: Link, seed: [u8; 32]) -> Self {
        let [a, b] = configs;
        let stack = |mut config: Config, side: Side| {
            config.trace_transitions = true;
            let mut seed = seed;
            seed[0] ^= side as u8;
            Stack::new(config, Capabilities::plain(link.mtu), seed, Instant::ZERO)
        };
        Self {
            now: Instant::ZERO,
            stacks: [stack(a, Side::A), stack(b, Side::B)],
            frame: vec![0; usize::from(link.mtu)],
            link,
            flying: VecDeque::new(),
            seats: Vec::new(),
            log: Log::default(),
        }
    }

    /// Gives a side one more application. Applications of one side are resumed in the order of this call.
    pub fn spawn(&mut self, side: Side, application: Box<dyn Application>) {
        self.seats.push(Seat { side, wait: Wait::Event, application });
    }

    /// Runs until nothing is left to happen, at most until `end`.
    ///
    /// # Errors
    /// [`Stalled`] if time stands still; the log is lost, for it would be endless.
    pub fn run(mut self, end: Instant) -> Result<Log, Stalled> {
        let mut rounds = 0;
        loop {
            self.settle()?;
            let Some(next) = self.next_time().filter(|next| *next <= end) else { return Ok(self.log) };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS_AT_ONE_INSTANT {
                return Err(Stalled { at: self.now });
            }
            self.now = next.max(self.now);
            self.advance();
        }
    }

    /// The next moment at which something is due.
    fn next_time(&self) -> Option<Instant> {
        let arrival = self.flying.front().and_then(|&i| self.log.packets.get(i)).and_then(|p| p.arrives);
        let wakes = self.seats.iter().filter_map(|seat| match seat.wait {
            Wait::Until(at) => Some(at),
            Wait::Event | Wait::Finished => None,
        });
        let timers = self.stacks.iter().filter_map(Stack::next_timeout);
        wakes.chain(timers).chain(arrival).min()
    }

    /// Delivers the packets and fires the timers that are due.
    fn advance(&mut self) {
        while let Some(&index) = self.flying.front() {
            let Some(packet) = self.log.packets.get(index).filter(|p| p.arrives <= Some(self.now)) else {
                break;
            };
            self.flying.pop_front();
            let side = packet.from.other();
            let stack = &mut self.stacks[side as usize];
            stack.receive(self.now, &packet.meta, &packet.bytes);
            self.log.records.push(Record { at: self.now, side, what: What::Arrived(index) });
            note_transitions(&mut self.log, side, self.now, stack);
        }
        for side in Side::BOTH {
            let stack = &mut self.stacks[side as usize];
            if stack.next_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
                note_transitions(&mut self.log, side, self.now, stack);
            }
        }
    }

    /// Lets applications and stacks do what they can at this instant.
    fn settle(&mut self) -> Result<(), Stalled> {
        for _ in 0..ROUNDS_AT_ONE_INSTANT {
            let before = self.log.records.len();
            for seat in self.seats.iter_mut().filter(|seat| seat.wait != Wait::Finished) {
                let stack = &mut self.stacks[seat.side as usize];
                // Applications look at their sockets themselves, so events need only be taken.
                while stack.poll_event().is_some() {}
                seat.wait = seat.application.resume(&mut Io {
                    side: seat.side,
                    now: self.now,
                    stack,
                    log: &mut self.log,
                });
            }
            for side in Side::BOTH {
                self.transmit(side);
            }
            if self.log.records.len() == before {
                return Ok(());
            }
        }
        Err(Stalled { at: self.now })
    }

    fn transmit(&mut self, side: Side) {
        let stack = &mut self.stacks[side as usize];
        while let Some((len, meta)) = stack.transmit(self.now, &mut self.frame) {
            let bytes = self.frame[..len].to_vec();
            let lost = (self.link.loses)(side, &bytes);
            let index = self.log.packets.len();
            let arrives = (!lost).then(|| self.now + self.link.delay);
            self.log.packets.push(Packet { from: side, sent: self.now, arrives, bytes, meta });
            self.log.records.push(Record { at: self.now, side, what: What::Sent(index) });
            if !lost {
                self.flying.push_back(index);
            }
        }
        note_transitions(&mut self.log, side, self.now, stack);
    }
}

fn note_transitions(log: &mut Log, side: Side, at: Instant, stack: &mut Stack) {
    while let Some(event) = stack.poll_transition() {
        log.records.push(Record { at, side, what: What::Transition(event) });
    }
}

#[cfg(test)]
mod tests;

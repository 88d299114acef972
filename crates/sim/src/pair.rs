//! Two stacks joined by a link, driven in virtual time.
//!
//! Nothing here waits, prints or looks at a clock: the same applications, seed and rule give the same [`Log`], byte for
//! byte. A side's applications are resumed whenever something happened on that side, and at the times they asked for;
//! what they and the stacks did is in the log in the order in which it happened.

use crate::app::{Application, Io, Wait};
use crate::link::{Fate, Link, Rule};
use crate::log::{Call, Log, Op, Outcome, Packet, Record, Side, Waiting, What, note_transitions};
use lastack_core::wire::{Capabilities, PacketMeta};
use lastack_core::{Config, Instant, Stack};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Rounds of work at one instant before the pair is called stalled: far above what any exchange needs.
const ROUNDS_AT_ONE_INSTANT: u32 = 10_000;

/// A stack asked to be called again and again at one and the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Where virtual time stood still.
    pub at: Instant,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stacks never come to rest at {} s of virtual time", self.at)
    }
}

impl std::error::Error for Stalled {}

struct Seat {
    side: Side,
    wait: Wait,
    application: Box<dyn Application>,
}

/// Something that happens to the pair from outside, at its time.
type Incident = Box<dyn FnOnce(&mut Pair)>;

/// Two stacks, a link, applications, and the time.
pub struct Pair {
    now: Instant,
    configs: [Config; 2],
    seed: [u8; 32],
    stacks: [Stack; 2],
    /// A side that is off neither sends nor receives, and its time stands still.
    off: [bool; 2],
    link: Link,
    /// Packets on their way, by the time of arrival and the order in which they were sent.
    flying: BTreeMap<(Instant, u64), usize>,
    serial: u64,
    incidents: BTreeMap<(Instant, u64), Incident>,
    seats: Vec<Seat>,
    /// Waits from this length on are explained.
    explain: Option<Duration>,
    log: Log,
    frame: Vec<u8>,
}

impl Pair {
    /// Two stacks at time zero. Transitions are traced whatever the configurations say. The first byte of the seed
    /// tells the sides apart.
    #[must_use]
    pub fn new(mut configs: [Config; 2], link: Link, seed: [u8; 32]) -> Self {
        for config in &mut configs {
            config.trace_transitions = true;
        }
        let stacks = Side::BOTH.map(|side| {
            let config = configs[side as usize].clone();
            Stack::new(config, Capabilities::plain(link.mtu), side_seed(seed, side), Instant::ZERO)
        });
        Self {
            now: Instant::ZERO,
            configs,
            seed,
            stacks,
            off: [false; 2],
            frame: vec![0; usize::from(link.mtu)],
            link,
            flying: BTreeMap::new(),
            serial: 0,
            incidents: BTreeMap::new(),
            seats: Vec::new(),
            explain: None,
            log: Log::default(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What has happened so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What has happened.
    #[must_use]
    pub fn into_log(self) -> Log {
        self.log
    }

    /// A side's stack, for calls without an application. What a call leads to happens with the next [`Pair::advance`].
    pub fn stack(&mut self, side: Side) -> &mut Stack {
        &mut self.stacks[side as usize]
    }

    /// What the link does from now on.
    pub fn set_rule(&mut self, rule: Rule) {
        self.link.rule = rule;
    }

    /// Gives a side one more application. Applications of one side are resumed in the order of this call.
    pub fn spawn(&mut self, side: Side, application: Box<dyn Application>) {
        self.seats.push(Seat { side, wait: Wait::Event, application });
    }

    /// Asks the stacks, in each wait that lasts so long, why their connections are still there; the answers are in
    /// [`Log::waits`].
    pub fn explain(&mut self, wait: Duration) {
        self.explain = Some(wait);
    }

    /// Nothing happens until `next`: two thirds of the way there, the stacks are asked what they wait for.
    fn ask_why(&mut self, next: Instant) {
        let wait = next.saturating_since(self.now);
        if self.explain.is_none_or(|explain| wait < explain) {
            return;
        }
        let at = self.now + wait * 2 / 3;
        for side in Side::BOTH.into_iter().filter(|side| !self.off[*side as usize]) {
            let mut ids: Vec<_> = self.log.transitions(side).map(|(_, event)| event.id).collect();
            ids.sort();
            ids.dedup();
            // A copy: to be asked must not change what happens.
            let mut stack = self.stacks[side as usize].clone();
            let answers = ids.into_iter().filter_map(|id| stack.why(at, id));
            // A listener waits for ever by its nature.
            let answers = answers.filter(|why| why.remote.port() != 0);
            self.log.waits.extend(answers.map(|why| Waiting { at, side, why }));
        }
    }

    /// Lets something happen at a time: a crash, a segment written by hand.
    pub fn at(&mut self, time: Instant, incident: impl FnOnce(&mut Self) + 'static) {
        let serial = self.next_serial();
        self.incidents.insert((time, serial), Box::new(incident));
    }

    /// A packet that no stack sent leaves from this side. The link's rule is not asked.
    pub fn inject(&mut self, from: Side, bytes: Vec<u8>, fate: Fate) {
        self.launch(from, bytes, PacketMeta::default(), fate, true);
    }

    /// A side falls silent for good: its stack neither sends nor receives, its applications stop, what is on its way to
    /// it is lost.
    pub fn power_off(&mut self, side: Side) {
        self.fall_silent(side);
        self.note(side, Op::PowerOff);
    }

    fn fall_silent(&mut self, side: Side) {
        self.off[side as usize] = true;
        self.seats.retain(|seat| seat.side != side);
        self.flying.retain(|_, index| self.log.packets.get(*index).is_some_and(|p| p.from == side));
    }

    /// A side crashes and is there again at once, knowing nothing of its connections; its applications are gone.
    pub fn reboot(&mut self, side: Side) {
        self.fall_silent(side);
        self.off[side as usize] = false;
        self.note(side, Op::Reboot);
        // Another life has other numbers.
        self.seed[1] = self.seed[1].wrapping_add(1);
        let config = self.configs[side as usize].clone();
        let caps = Capabilities::plain(self.link.mtu);
        self.stacks[side as usize] = Stack::new(config, caps, side_seed(self.seed, side), self.now);
    }

    fn note(&mut self, side: Side, op: Op) {
        let call = Call { op, outcome: Outcome::Done, local: None, remote: None };
        self.log.records.push(Record { at: self.now, side, what: What::Call(call) });
    }

    /// Runs until nothing is left to happen, at most until `end`.
    ///
    /// # Errors
    /// [`Stalled`] if time stands still.
    pub fn run(&mut self, end: Instant) -> Result<(), Stalled> {
        let mut rounds = 0;
        loop {
            self.settle()?;
            let Some(next) = self.next_time().filter(|next| *next <= end) else { return Ok(()) };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS_AT_ONE_INSTANT {
                return Err(Stalled { at: self.now });
            }
            self.ask_why(next);
            self.now = next.max(self.now);
            self.step();
        }
    }

    /// Lets so much time pass.
    ///
    /// # Errors
    /// [`Stalled`] if time stands still.
    pub fn advance(&mut self, time: Duration) -> Result<(), Stalled> {
        let end = self.now + time;
        self.run(end)?;
        self.now = end;
        Ok(())
    }

    /// The next moment at which something is due.
    fn next_time(&self) -> Option<Instant> {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let incident = self.incidents.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.seats.iter().filter_map(|seat| match seat.wait {
            Wait::Until(at) => Some(at),
            Wait::Event | Wait::Finished => None,
        });
        let on = |side: &Side| !self.off[*side as usize];
        let timers =
            Side::BOTH.into_iter().filter(on).filter_map(|side| self.stacks[side as usize].next_timeout());
        wakes.chain(timers).chain(arrival).chain(incident).min()
    }

    /// Delivers the packets, fires the timers and lets the incidents happen that are due.
    fn step(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let index = entry.remove();
            let Some(packet) = self.log.packets.get(index) else { continue };
            let side = packet.from.other();
            if self.off[side as usize] {
                continue;
            }
            let stack = &mut self.stacks[side as usize];
            stack.receive(self.now, &packet.meta, &packet.bytes);
            self.log.records.push(Record { at: self.now, side, what: What::Arrived(index) });
            note_transitions(&mut self.log, side, self.now, stack);
        }
        for side in Side::BOTH.into_iter().filter(|side| !self.off[*side as usize]) {
            let stack = &mut self.stacks[side as usize];
            if stack.next_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
                note_transitions(&mut self.log, side, self.now, stack);
            }
        }
        while let Some(entry) = self.incidents.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let incident = entry.remove();
            incident(self);
        }
    }

    /// Lets applications and stacks do what they can at this instant.
    fn settle(&mut self) -> Result<(), Stalled> {
        for _ in 0..ROUNDS_AT_ONE_INSTANT {
            let before = self.log.records.len();
            for side in Side::BOTH {
                // Applications look at their sockets themselves, so events need only be taken.
                while self.stacks[side as usize].poll_event().is_some() {}
            }
            for seat in self.seats.iter_mut().filter(|seat| seat.wait != Wait::Finished) {
                let stack = &mut self.stacks[seat.side as usize];
                seat.wait = seat.application.resume(&mut Io {
                    side: seat.side,
                    now: self.now,
                    stack,
                    log: &mut self.log,
                });
            }
            for side in Side::BOTH {
                if !self.off[side as usize] {
                    self.transmit(side);
                }
            }
            if self.log.records.len() == before {
                return Ok(());
            }
        }
        Err(Stalled { at: self.now })
    }

    fn transmit(&mut self, side: Side) {
        // A call without an application may have changed a state.
        note_transitions(&mut self.log, side, self.now, &mut self.stacks[side as usize]);
        while let Some((len, meta)) = self.stacks[side as usize].transmit(self.now, &mut self.frame) {
            let bytes = self.frame[..len].to_vec();
            let fate = (self.link.rule)(side, &bytes);
            self.launch(side, bytes, meta, fate, false);
        }
        note_transitions(&mut self.log, side, self.now, &mut self.stacks[side as usize]);
    }

    fn launch(&mut self, from: Side, bytes: Vec<u8>, meta: PacketMeta, fate: Fate, by_hand: bool) {
        let fate = if self.off[from.other() as usize] { Fate::Lose } else { fate };
        let usual = self.now + self.link.delay;
        let (arrives, again) = match fate {
            Fate::Deliver => (Some(usual), None),
            Fate::Lose => (None, None),
            Fate::Delay(more) => (Some(usual + more), None),
            Fate::Duplicate(more) => (Some(usual), Some(usual + more)),
        };
        let index = self.log.packets.len();
        self.log.packets.push(Packet { from, sent: self.now, arrives, bytes, meta, by_hand });
        self.log.records.push(Record { at: self.now, side: from, what: What::Sent(index) });
        for at in [arrives, again].into_iter().flatten() {
            let serial = self.next_serial();
            self.flying.insert((at, serial), index);
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

fn side_seed(mut seed: [u8; 32], side: Side) -> [u8; 32] {
    seed[0] ^= side as u8;
    seed
}

#[cfg(test)]
mod tests;

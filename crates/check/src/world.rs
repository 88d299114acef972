//! One state: two sides, what is in flight, the time, and what the network may still do wrong. This is the plain form, in which
//! every step is taken by the stacks themselves; [`tables`](crate::tables) has the fast one.

use crate::configuration::Configuration;
use crate::packet::Flying;
use crate::part::{Arriving, Heard, Part, Told};
use crate::program::{Do, THREADS};
use crate::rules::{Broken, Ends, Peer};
use lastack_core::Instant;
use lastack_sim::{Log, Packet, Record, Side, What};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the network keeps a packet: TIME_WAIT relies on it (RFC 9293 3.4.2, with Linux's 60 s for two of them).
pub(crate) const MAXIMUM_SEGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// When a world begins: late enough that what never happened, which stacks keep as the time 0, is older than any age that
/// counts.
pub(crate) const BEGINNING: Instant = Instant::from_secs(1_000);

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A thread of an application makes its next call.
    Run(Side, usize),
    /// The packet at this place arrives.
    Deliver(usize),
    /// It arrives, and will arrive again.
    Duplicate(usize),
    /// It is lost.
    Lose(usize),
    /// Time passes until the next timer, which fires.
    Timer,
}

/// What the network and the clock may still do against the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Packets that may be lost.
    pub losses: u8,
    /// Packets that may be delivered twice.
    pub duplicates: u8,
    /// Timers that may fire although a packet is in flight or an application could go on.
    pub early_timers: u8,
}

/// A side that states share. The lock is never waited for: it makes the value shareable between the threads of the search.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Part>>);

impl Shared {
    fn new(part: Part) -> Self {
        Self(Arc::new(Mutex::new(part)))
    }

    fn read(&self) -> MutexGuard<'_, Part> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state.
#[derive(Clone, Debug)]
pub struct World {
    now: Instant,
    parts: [Shared; 2],
    prints: [u128; 2],
    pub(crate) flying: Vec<Flying>,
    ends: Ends,
    budget: Budget,
    pub(crate) broken: Option<Broken>,
    /// Of everything but the budget.
    bare: u128,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.digest().hash(h);
    }
}

/// A number for everything that later behaviour depends on, but the budget. `packets` are the digests of what is in flight.
pub(crate) fn digest(prints: [u128; 2], packets: &mut [u64], ends: &Ends, broken: bool) -> u128 {
    packets.sort_unstable();
    let mut h = SipHasher13::new();
    (prints, &*packets, ends, broken).hash(&mut h);
    h.finish128().as_u128()
}

impl World {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        Self::begin(configuration, None)
    }

    /// The first state; a server listens already.
    pub(crate) fn begin(configuration: &Configuration, mut log: Option<&mut Log>) -> Self {
        let now = BEGINNING;
        let parts = Side::BOTH.map(|side| Shared::new(Part::new(configuration, side, now)));
        let mut world = Self {
            now,
            prints: [0; 2],
            parts,
            flying: Vec::new(),
            ends: Ends::default(),
            budget: configuration.budget,
            broken: None,
            bare: 0,
        };
        for side in Side::BOTH {
            let print = world.part(side).print();
            world.prints[side as usize] = print;
        }
        // Without a server the client is refused.
        if configuration.programs.call(Side::B, 0, 0) == Some(Do::Listen) {
            world.run(configuration, Side::B, 0, &mut log);
        } else {
            world.ends.upset = true;
        }
        world.settle();
        world
    }

    /// A number for everything that later behaviour depends on.
    pub(crate) fn digest(&self) -> u128 {
        let Budget { losses, duplicates, early_timers } = self.budget;
        self.bare
            ^ u128::from_le_bytes([losses, duplicates, early_timers, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// The same without the budget.
    pub(crate) fn bare_digest(&self) -> u128 {
        self.bare
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// Time since the beginning.
    pub(crate) fn passed(&self) -> Duration {
        self.now - BEGINNING
    }

    fn part(&self, side: Side) -> MutexGuard<'_, Part> {
        self.parts[side as usize].read()
    }

    /// What may happen. With a broken rule nothing more does.
    pub(crate) fn actions(&self, configuration: &Configuration, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        self.runs(configuration, actions);
        let mut seen = Vec::new();
        for (i, packet) in self.flying.iter().enumerate() {
            let digest = packet.digest(self.now);
            if seen.contains(&digest) {
                continue;
            }
            seen.push(digest);
            actions.push(Action::Deliver(i));
            if self.budget.losses > 0 {
                actions.push(Action::Lose(i));
            }
            if self.budget.duplicates > 0 {
                actions.push(Action::Duplicate(i));
            }
        }
        if (actions.is_empty() || self.budget.early_timers > 0) && self.timeout().is_some() {
            actions.push(Action::Timer);
        }
    }

    fn runs(&self, configuration: &Configuration, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            let part = self.part(side);
            let can_run = |thread: &usize| part.can_run(configuration, *thread);
            actions.extend((0..THREADS).filter(can_run).map(|thread| Action::Run(side, thread)));
        }
    }

    /// What happens next when the network delivers in order, applications go on, and timers wait for both.
    pub(crate) fn fair_action(&self, configuration: &Configuration) -> Option<Action> {
        let mut runs = Vec::new();
        if self.broken.is_some() {
            return None;
        }
        self.runs(configuration, &mut runs);
        runs.first().copied().or_else(|| {
            let deliver = (!self.flying.is_empty()).then_some(Action::Deliver(0));
            deliver.or_else(|| self.timeout().map(|_| Action::Timer))
        })
    }

    /// Until the next timer.
    fn timeout(&self) -> Option<Duration> {
        Side::BOTH.into_iter().filter_map(|side| self.part(side).timeout()).min()
    }

    /// The state after an action.
    pub(crate) fn after(
        &self,
        configuration: &Configuration,
        action: Action,
        mut log: Option<&mut Log>,
    ) -> Self {
        let mut next = self.clone();
        match action {
            Action::Run(side, thread) => next.run(configuration, side, thread, &mut log),
            Action::Deliver(at) => {
                let packet = next.flying.remove(at);
                next.deliver(&packet, &mut log);
            }
            Action::Duplicate(at) => {
                next.budget.duplicates -= 1;
                let packet = next.flying[at].clone();
                next.deliver(&packet, &mut log);
            }
            Action::Lose(at) => {
                next.budget.losses -= 1;
                next.flying.remove(at);
            }
            Action::Timer => next.pass_time(configuration, &mut log),
        }
        next.settle();
        next
    }

    fn run(&mut self, configuration: &Configuration, side: Side, thread: usize, log: &mut Option<&mut Log>) {
        let (part, told) = self.part(side).run(configuration, thread);
        self.hear(part, told, log);
    }

    fn deliver(&mut self, flying: &Flying, log: &mut Option<&mut Log>) {
        let to = flying.packet.from.other();
        if let Some(log) = log {
            let what = flying.index.map(What::Arrived);
            log.records.extend(what.map(|what| Record { at: self.now, side: to, what }));
        }
        let age = (self.now - flying.sent).as_millis() as u32;
        let arriving = Arriving { packet: &flying.packet, as_sent: true, age };
        let (part, told) = self.part(to).receive(&arriving);
        self.hear(part, told, log);
    }

    fn pass_time(&mut self, configuration: &Configuration, log: &mut Option<&mut Log>) {
        let mut runs = Vec::new();
        self.runs(configuration, &mut runs);
        if !self.flying.is_empty() || !runs.is_empty() {
            self.budget.early_timers -= 1;
        }
        // A stack may ask to be woken for a timer that was put off meanwhile; such a wake-up is no event.
        while let Some(time) = self.timeout() {
            self.now += time;
            let mut changed = false;
            for side in Side::BOTH {
                let (part, told) = self.part(side).pass(time);
                changed |= told.effects.changed;
                self.hear(part, told, log);
            }
            if changed {
                break;
            }
        }
        let now = self.now;
        self.flying.retain(|packet| now - packet.sent < MAXIMUM_SEGMENT_LIFETIME);
    }

    /// Takes in what a step of a side led to.
    fn hear(&mut self, part: Part, told: Told, log: &mut Option<&mut Log>) {
        let side = part.side;
        let peer_off = self.part(side.other()).off;
        let Told { heard, packets, effects } = told;
        let packets: Vec<_> = packets.into_iter().map(Arc::new).collect();
        let first = log.as_ref().map_or(0, |log| log.packets.len());
        let record = |what| Record { at: self.now, side, what };
        if let Some(log) = log {
            let what = |heard: &Heard| match heard {
                Heard::Call(call) => What::Call(*call),
                Heard::Transition(event) => What::Transition(*event),
                Heard::Sent(index) => What::Sent(first + index),
            };
            log.records.extend(heard.iter().map(|heard| record(what(heard))));
            log.packets.extend(packets.iter().map(|packet| Packet {
                from: side,
                sent: self.now,
                arrives: (!peer_off).then_some(self.now),
                bytes: packet.bytes.to_vec(),
                meta: packet.meta,
                by_hand: false,
            }));
        }
        if part.off {
            self.flying.retain(|packet| packet.packet.from == side);
        }
        if !peer_off {
            let flying = packets.into_iter().enumerate().map(|(i, packet)| Flying {
                packet,
                sent: self.now,
                index: log.is_some().then_some(first + i),
            });
            self.flying.extend(flying);
        }
        let peer = {
            let other = self.part(side.other());
            Peer { written: other.app.written, promised: other.promised }
        };
        if let Some(broken) = self.ends.hear(side, &effects, peer) {
            self.broken.get_or_insert(broken);
        }
        self.prints[side as usize] = part.print();
        self.parts[side as usize] = Shared::new(part);
    }

    /// Brings the digest up to date.
    fn settle(&mut self) {
        let mut packets: Vec<u64> = self.flying.iter().map(|packet| packet.digest(self.now)).collect();
        self.bare = digest(self.prints, &mut packets, &self.ends, self.broken.is_some());
    }

    /// What is left when nothing can happen any more.
    pub(crate) fn leftovers(&self, configuration: &Configuration) -> Option<Broken> {
        let of = |side: Side| {
            let state = self.ends.states[side as usize];
            self.part(side).leftovers(configuration, self.ends.upset, state)
        };
        Side::BOTH.into_iter().find_map(of)
    }
}

#[cfg(test)]
mod tests;

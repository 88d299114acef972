//! One state: two stacks, what is in flight, the applications, the time, and what the network may still do wrong.

use crate::configuration::Configuration;
use crate::packet::{Flying, Origin};
use crate::program::{self, App, Do, Effect, Place, Sockets, THREADS};
use crate::rules::{Broken, Ends, Rule, misfit, upsets};
use lastack_core::tcp::state::is_legal;
use lastack_core::wire::tcp::Flags;
use lastack_core::wire::{Capabilities, SeqNumber};
use lastack_core::{Cause, Config, Instant, Stack, State};
use lastack_sim::{Call, Log, Packet, Record, Side, What, segment_of};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of the largest packet: far more than any configuration sends.
const MTU: u16 = 1500;
/// How long the network keeps a packet: TIME_WAIT relies on it (RFC 9293 3.4.2, with Linux's 60 s for two of them).
const MAXIMUM_SEGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// Packets that a stack sends at one instant at the most: far more than anything asks for.
const BURST: u32 = 200;

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

/// A stack that states share until one of them changes it. The lock is never waited for: it makes the value shareable
/// between the threads of the search.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Stack>>);

impl Shared {
    fn new(stack: Stack) -> Self {
        Self(Arc::new(Mutex::new(stack)))
    }

    fn read(&self) -> MutexGuard<'_, Stack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&mut self) -> &mut Stack {
        if Arc::get_mut(&mut self.0).is_none() {
            let copy = self.read().clone();
            *self = Self::new(copy);
        }
        let alone = Arc::get_mut(&mut self.0).map(Mutex::get_mut);
        alone.expect("just made").unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) now: Instant,
    stacks: [Shared; 2],
    sockets: [Sockets; 2],
    pub(crate) apps: [App; 2],
    off: [bool; 2],
    pub(crate) flying: Vec<Flying>,
    origins: [Origin; 2],
    ends: Ends,
    budget: Budget,
    pub(crate) broken: Option<Broken>,
    prints: [u128; 2],
    digest: u128,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.digest.hash(h);
    }
}

impl World {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        Self::begin(configuration, None)
    }

    /// The first state; a server listens already.
    pub(crate) fn begin(configuration: &Configuration, mut log: Option<&mut Log>) -> Self {
        let now = Instant::ZERO;
        let stacks = Side::BOTH.map(|side| Shared::new(stack(configuration, side, 0, now)));
        let mut world = Self {
            now,
            stacks,
            sockets: Default::default(),
            apps: Default::default(),
            off: [false; 2],
            flying: Vec::new(),
            origins: Default::default(),
            ends: Ends::default(),
            budget: configuration.budget,
            broken: None,
            prints: [0; 2],
            digest: 0,
        };
        // Without a server the client is refused.
        if configuration.programs.call(Side::B, 0, 0) == Some(Do::Listen) {
            world.run(configuration, Side::B, 0, &mut log);
        } else {
            world.ends.upset = true;
        }
        world.settle(&Side::BOTH);
        world
    }

    /// A number for everything that later behaviour depends on.
    pub(crate) fn digest(&self) -> u128 {
        self.digest
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
        if (actions.is_empty() || self.budget.early_timers > 0) && self.next_timeout().is_some() {
            actions.push(Action::Timer);
        }
    }

    fn runs(&self, configuration: &Configuration, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            let (app, sockets) = (&self.apps[side as usize], self.sockets[side as usize]);
            let stack = self.stacks[side as usize].read();
            let can_run = |thread: &usize| {
                !self.off[side as usize]
                    && app.can_run(&configuration.programs, side, *thread, &stack, sockets)
            };
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
            deliver.or_else(|| self.next_timeout().map(|_| Action::Timer))
        })
    }

    fn next_timeout(&self) -> Option<Instant> {
        let on = |side: &Side| !self.off[*side as usize];
        Side::BOTH
            .into_iter()
            .filter(on)
            .filter_map(|side| self.stacks[side as usize].read().next_timeout())
            .min()
    }

    /// The state after an action. A panic of the code below is a broken rule.
    pub(crate) fn after(&self, configuration: &Configuration, action: Action, log: Option<&mut Log>) -> Self {
        let next = catch_unwind(AssertUnwindSafe(|| {
            let mut next = self.clone();
            next.act(configuration, action, log);
            next
        }));
        next.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let mut next = self.clone();
            next.broke(Rule::NoPanic, words.unwrap_or_else(|| "a panic without words".to_owned()));
            next.digest ^= 1;
            next
        })
    }

    fn act(&mut self, configuration: &Configuration, action: Action, mut log: Option<&mut Log>) {
        match action {
            Action::Run(side, thread) => {
                self.run(configuration, side, thread, &mut log);
                self.settle(&[side]);
            }
            Action::Deliver(at) => {
                let packet = self.flying.remove(at);
                let to = self.deliver(&packet, &mut log);
                self.settle(&[to]);
            }
            Action::Duplicate(at) => {
                self.budget.duplicates -= 1;
                let packet = self.flying[at].clone();
                let to = self.deliver(&packet, &mut log);
                self.settle(&[to]);
            }
            Action::Lose(at) => {
                self.budget.losses -= 1;
                self.flying.remove(at);
                self.settle(&[]);
            }
            Action::Timer => {
                self.pass_time(configuration, &mut log);
                self.settle(&Side::BOTH);
            }
        }
    }

    fn run(&mut self, configuration: &Configuration, side: Side, thread: usize, log: &mut Option<&mut Log>) {
        let at = self.apps[side as usize].at[thread];
        let Some(call) = configuration.programs.call(side, thread, at) else { return };
        let stack = self.stacks[side as usize].edit();
        let mut place = Place { side, now: self.now, stack, sockets: &mut self.sockets[side as usize] };
        let app = &mut self.apps[side as usize];
        let read_before = app.read;
        let Effect { calls, wrong, off, reboot } = app.run(call, thread, &mut place);
        if let Some(log) = log {
            log.records.extend(calls.iter().map(|call| self.record(side, What::Call(*call))));
        }
        if let Some(wrong) = wrong {
            self.broke(Rule::Bytes, wrong);
        }
        if off || reboot {
            self.vanish(configuration, side, reboot);
        }
        // A listener that goes refuses who is not accepted yet.
        self.ends.upset |= call == Do::CloseListener && !self.apps[side as usize].opened;
        self.flush(side, log);
        self.judge_calls(side, &calls, read_before);
    }

    fn record(&self, side: Side, what: What) -> Record {
        Record { at: self.now, side, what }
    }

    /// A machine falls silent, or loses its memory.
    fn vanish(&mut self, configuration: &Configuration, side: Side, reboot: bool) {
        self.ends.upset = true;
        self.ends.states[side as usize] = None;
        self.sockets[side as usize] = Sockets::default();
        self.off[side as usize] = !reboot;
        if reboot {
            // The program died with the machine.
            self.apps[side as usize].at = [u8::MAX; THREADS];
            self.stacks[side as usize] = Shared::new(stack(configuration, side, 1, self.now));
        } else {
            self.flying.retain(|packet| packet.from == side);
        }
    }

    /// What the application saw, against what the other one did.
    fn judge_calls(&mut self, side: Side, calls: &[Call], read_before: usize) {
        let peer = side.other();
        let promised = self.ends.promised[peer as usize];
        let app = &self.apps[side as usize];
        let (read, ended, error) = (app.read, app.ended, app.error);
        let written = self.apps[peer as usize].written;
        if read > read_before && read > written {
            self.broke(Rule::Bytes, format!("{} read {read} bytes of {written}", side.name()));
        }
        let ends_here = ended && calls.iter().any(|c| c.outcome == lastack_sim::Outcome::Bytes(0));
        if ends_here && promised != Some(read) && error.is_none() {
            let promised = promised.map_or("did not close".to_owned(), |n| format!("closed behind byte {n}"));
            let what = format!(
                "{} read the end of the stream at byte {read}, but {} {promised}",
                side.name(),
                peer.name()
            );
            self.broke(Rule::EndOfStream, what);
        }
        if let Some(error) = error.filter(|_| !self.ends.upset) {
            self.broke(Rule::ErrorHasCause, format!("{} was told: {error}", side.name()));
        }
    }

    fn deliver(&mut self, packet: &Flying, log: &mut Option<&mut Log>) -> Side {
        let to = packet.from.other();
        if self.off[to as usize] {
            return to;
        }
        let is_reset = segment_of(&packet.bytes).is_some_and(|(_, tcp)| tcp.flags.contains(Flags::RST));
        let before = self.flying.len();
        self.stacks[to as usize].edit().receive(self.now, &packet.meta, &packet.bytes);
        if let Some(log) = log {
            log.records.extend(packet.index.map(|index| self.record(to, What::Arrived(index))));
        }
        self.flush(to, log);
        if is_reset {
            let answer =
                self.flying[before..].iter().filter_map(|p| segment_of(&p.bytes)).find(|(_, tcp)| {
                    tcp.flags.contains(Flags::RST) || tcp.flags.contains(Flags::SYN | Flags::ACK)
                });
            if let Some(flags) = answer.map(|(_, tcp)| tcp.flags) {
                let what =
                    format!("{} answered a reset with {}", to.name(), lastack_sim::packet::flag_names(flags));
                self.broke(Rule::ResetUnanswered, what);
            }
        }
        to
    }

    fn pass_time(&mut self, configuration: &Configuration, log: &mut Option<&mut Log>) {
        let mut runs = Vec::new();
        self.runs(configuration, &mut runs);
        if !self.flying.is_empty() || !runs.is_empty() {
            self.budget.early_timers -= 1;
        }
        // A stack may ask to be woken for a timer that was put off meanwhile; such a wake-up is no event.
        while let Some(next) = self.next_timeout() {
            self.now = self.now.max(next);
            if self.fire(log) {
                break;
            }
        }
        let now = self.now;
        self.flying.retain(|packet| now - packet.sent < MAXIMUM_SEGMENT_LIFETIME);
    }

    /// Lets the timers fire that are due. Whether that changed anything.
    fn fire(&mut self, log: &mut Option<&mut Log>) -> bool {
        let now = self.now;
        let mut changed = false;
        for side in Side::BOTH {
            let stack = &mut self.stacks[side as usize];
            let due = stack.read().next_timeout().is_some_and(|at| at <= now);
            if due && !self.off[side as usize] {
                let before = stack.read().fingerprint(now);
                stack.edit().handle_timeout(now);
                changed |= stack.read().fingerprint(now) != before;
                self.flush(side, log);
            }
        }
        changed
    }

    /// Takes what a stack has to tell and to send.
    fn flush(&mut self, side: Side, log: &mut Option<&mut Log>) {
        if self.off[side as usize] {
            return;
        }
        self.note_transitions(side, log);
        let mut frame = [0; MTU as usize];
        let mut burst = 0;
        loop {
            let stack = self.stacks[side as usize].edit();
            let Some((len, meta)) = stack.transmit(self.now, &mut frame) else { break };
            let bytes = &frame[..len];
            self.judge_wire(side, bytes);
            burst += 1;
            if burst > BURST {
                let what = format!("{} sends more than {BURST} packets at one instant", side.name());
                return self.broke(Rule::Ends, what);
            }
            let index = log.as_ref().map(|log| log.packets.len());
            if let Some(log) = log {
                log.records.push(self.record(side, What::Sent(log.packets.len())));
                let arrives = (!self.off[side.other() as usize]).then_some(self.now);
                let bytes = bytes.to_vec();
                log.packets.push(Packet { from: side, sent: self.now, arrives, bytes, meta, by_hand: false });
            }
            if !self.off[side.other() as usize] {
                let mut flying = Flying::new(side, self.now, bytes, meta, &self.origins);
                flying.index = index;
                self.flying.push(flying);
            }
        }
        self.note_transitions(side, log);
        // Applications look at their sockets themselves.
        let stack = self.stacks[side as usize].edit();
        while stack.poll_event().is_some() {}
    }

    fn note_transitions(&mut self, side: Side, log: &mut Option<&mut Log>) {
        while let Some(event) = self.stacks[side as usize].edit().poll_transition() {
            if let Some(log) = log {
                log.records.push(self.record(side, What::Transition(event)));
            }
            let change = event.transition;
            if !is_legal(change.from, change.to, change.cause) {
                let what = format!("{}: {} to {} for: {}", side.name(), change.from, change.to, change.cause);
                self.broke(Rule::Arrows, what);
            }
            if event.remote.port() == 0 {
                continue;
            }
            self.ends.states[side as usize] = Some(change.to);
            if matches!(change.to, State::FinWait1 | State::LastAck) {
                self.ends.promised[side as usize] = Some(self.apps[side as usize].written);
            }
            self.ends.upset |= upsets(change.cause);
            // A half-open connection may come of a late SYN; its end is a reset by right. TIME_WAIT ends by one as on Linux.
            let was_open = !matches!(change.from, State::NewSynRecv | State::TimeWait);
            if change.cause == Cause::Reset && was_open && !self.ends.upset {
                let what = format!("{} was reset in {}", side.name(), change.from);
                self.broke(Rule::ErrorHasCause, what);
            }
        }
        // A late SYN may open a second, half-open connection at a listener; it has no other end.
        let half_open = self.ends.states.contains(&Some(State::NewSynRecv));
        if !self.ends.upset
            && !half_open
            && let Some(what) = misfit(self.ends.states)
        {
            self.broke(Rule::Pair, what);
        }
    }

    /// What a side sends, against what its application wrote.
    fn judge_wire(&mut self, side: Side, bytes: &[u8]) {
        let Some((_, tcp)) = segment_of(bytes) else { return };
        self.origins[side as usize].learn(self.now, &tcp);
        if tcp.flags.contains(Flags::RST) || tcp.flags.contains(Flags::SYN) {
            return;
        }
        let written = self.apps[side as usize].written;
        let offset = |seq: SeqNumber| self.origins[side as usize].offset(seq);
        let Some(start) = offset(tcp.seq) else {
            return self.broke(Rule::Wire, format!("{} sent a number of no stream", side.name()));
        };
        // One byte behind the stream is the FIN; keep-alive probes lie one byte before what is unsent.
        let start = usize::try_from(start).unwrap_or(0);
        let end = start + tcp.payload.len();
        let right = tcp.payload.iter().enumerate().all(|(i, got)| *got == program::byte(side, start + i));
        if end > written && !tcp.payload.is_empty() || !right {
            let what = format!("{} sent bytes {start} to {end}; {written} were written", side.name());
            self.broke(Rule::Wire, what);
        }
        if tcp.flags.contains(Flags::FIN) && self.ends.promised[side as usize] != Some(end) {
            let what = format!("{} sent a FIN behind byte {end}; {written} were written", side.name());
            self.broke(Rule::Wire, what);
        }
    }

    fn broke(&mut self, rule: Rule, what: String) {
        self.broken.get_or_insert(Broken { rule, what });
    }

    /// Brings the digests up to date; these sides' stacks, or the time, have changed.
    fn settle(&mut self, changed: &[Side]) {
        for side in changed {
            self.prints[*side as usize] = self.stacks[*side as usize].read().fingerprint(self.now);
        }
        let mut packets: Vec<u64> = self.flying.iter().map(|packet| packet.digest(self.now)).collect();
        packets.sort_unstable();
        let mut h = siphasher::sip128::SipHasher13::new();
        (self.prints, &self.apps, self.off, packets, self.budget, self.ends, self.broken.is_some())
            .hash(&mut h);
        for sockets in self.sockets {
            (sockets.listener.is_some(), sockets.connection.is_some()).hash(&mut h);
        }
        self.digest = siphasher::sip128::Hasher128::finish128(&h).as_u128();
    }

    /// What is left when nothing can happen any more.
    pub(crate) fn leftovers(&self, configuration: &Configuration) -> Option<Broken> {
        let rule = Rule::Finished;
        for side in Side::BOTH.into_iter().filter(|side| !self.off[*side as usize]) {
            let app = &self.apps[side as usize];
            // To wait for a client is a server's life.
            let waits = |thread: &usize| {
                let call = configuration.programs.call(side, *thread, app.at[*thread]);
                app.opened && call.is_some()
            };
            let waiting = (0..THREADS).find(waits);
            if let Some(thread) = waiting {
                let call = configuration.programs.call(side, thread, app.at[thread]);
                return Some(Broken { rule, what: format!("{} waits for ever in {call:?}", side.name()) });
            }
            let counts = self.stacks[side as usize].read().counts();
            let listeners = usize::from(self.sockets[side as usize].listener.is_some());
            let left = counts.sockets - listeners.min(counts.sockets) + counts.requests + counts.time_wait;
            if left > 0 {
                let state = self.ends.states[side as usize].map_or("no state", State::name);
                return Some(Broken {
                    rule,
                    what: format!("{} still has a record, in {state}", side.name()),
                });
            }
            if !self.ends.upset && configuration.programs.reads_to_end(side) && !app.ended {
                return Some(Broken { rule, what: format!("{} was never told the end", side.name()) });
            }
        }
        None
    }
}

fn stack(configuration: &Configuration, side: Side, life: u8, now: Instant) -> Stack {
    let mut config =
        Config { addresses: vec![configuration.network(side)], trace_transitions: true, ..Config::default() };
    configuration.tune(&mut config.tcp);
    let mut seed = [7; 32];
    seed[0] = side as u8;
    seed[1] = life;
    Stack::new(config, Capabilities::plain(MTU), seed, now)
}

#[cfg(test)]
mod tests;

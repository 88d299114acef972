//! One side: its stack, its application, what it knows. A step of it depends on nothing else.

use crate::configuration::Configuration;
use crate::packet::{Numbers, Packet};
use crate::program::{self, App, Do, Effect, Place, Sockets, THREADS};
use crate::rules::{Broken, Effects, Note, Reading, Rule};
use lastack_core::tcp::state::is_legal;
use lastack_core::wire::tcp::Flags;
use lastack_core::wire::{Capabilities, PacketMeta};
use lastack_core::{Config, Instant, Stack, State, TransitionEvent};
use lastack_sim::{Call, Outcome, Side, packet::flag_names, segment_of};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Bytes of the largest packet: far more than any configuration sends.
const MTU: u16 = 1500;
/// Packets that a stack sends at one instant at the most: far more than anything asks for.
const BURST: usize = 200;

/// One side of a [`World`](crate::World).
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) side: Side,
    pub(crate) now: Instant,
    stack: Stack,
    sockets: Sockets,
    pub(crate) app: App,
    /// The machine is silent for good.
    pub(crate) off: bool,
    /// Bytes that it will have sent before its FIN.
    pub(crate) promised: Option<usize>,
    numbers: Numbers,
}

/// Something that a side did, in order.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Call(Call),
    Transition(TransitionEvent),
    /// The packet at this place of [`Told::packets`].
    Sent(usize),
}

/// What a step of a side led to outside of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) heard: Vec<Heard>,
    pub(crate) packets: Vec<Packet>,
    pub(crate) effects: Effects,
}

/// A packet, as it is handed to a stack.
pub(crate) struct Arriving<'a> {
    pub(crate) packet: &'a Packet,
    /// The bytes as they were sent; without them they are made for this side.
    pub(crate) as_sent: bool,
    /// Milliseconds since it was sent.
    pub(crate) age: u32,
}

impl Part {
    pub(crate) fn new(configuration: &Configuration, side: Side, now: Instant) -> Self {
        Self {
            side,
            now,
            stack: stack(configuration, side, 0, now),
            sockets: Sockets::default(),
            app: App::default(),
            off: false,
            promised: None,
            numbers: Numbers::default(),
        }
    }

    /// A number for everything that this side's behaviour depends on.
    pub(crate) fn print(&self) -> u128 {
        let mut h = SipHasher13::new();
        (self.side, self.off, &self.app, self.promised).hash(&mut h);
        if !self.off {
            self.stack.fingerprint(self.now).hash(&mut h);
            (self.sockets.listener.is_some(), self.sockets.connection.is_some()).hash(&mut h);
            self.numbers.hash_relative(self.now, &mut h);
        }
        h.finish128().as_u128()
    }

    /// The thread has a call to make that does not block now.
    pub(crate) fn can_run(&self, configuration: &Configuration, thread: usize) -> bool {
        !self.off && self.app.can_run(&configuration.programs, self.side, thread, &self.stack, self.sockets)
    }

    /// Until this side wants to be woken; zero if it is late.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if self.off { None } else { self.stack.next_timeout().map(|at| at - self.now) }
    }

    /// This side after a step. A panic of the code below is a broken rule.
    fn after(&self, step: impl FnOnce(&mut Self, &mut Told)) -> (Self, Told) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let (mut next, mut told) = (self.clone(), Told::default());
            step(&mut next, &mut told);
            (next, told)
        }));
        done.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let mut told = Told::default();
            told.effects.broke(Rule::NoPanic, words.unwrap_or_else(|| "a panic without words".to_owned()));
            (self.clone(), told)
        })
    }

    /// A thread of the application makes its next call.
    pub(crate) fn run(&self, configuration: &Configuration, thread: usize) -> (Self, Told) {
        self.after(|part, told| part.call(configuration, thread, told))
    }

    fn call(&mut self, configuration: &Configuration, thread: usize, told: &mut Told) {
        let Some(call) = configuration.programs.call(self.side, thread, self.app.at[thread]) else { return };
        let Self { side, now, stack, sockets, app, .. } = self;
        let read_before = app.read;
        let Effect { calls, wrong, off, reboot } =
            app.run(call, thread, &mut Place { side: *side, now: *now, stack, sockets });
        told.heard.extend(calls.iter().copied().map(Heard::Call));
        if let Some(wrong) = wrong {
            told.effects.broke(Rule::Bytes, wrong);
        }
        told.effects.reading = Some(Reading {
            read: self.app.read,
            more: self.app.read > read_before,
            ended: self.app.ended && calls.iter().any(|call| call.outcome == Outcome::Bytes(0)),
            error: self.app.error,
        });
        // A listener that goes refuses who is not accepted yet.
        told.effects.upsets = call == Do::CloseListener && !self.app.opened;
        if off || reboot {
            told.effects.vanishes = true;
            self.vanish(configuration, reboot);
        }
        self.flush(told);
    }

    /// The machine falls silent, or loses its memory.
    fn vanish(&mut self, configuration: &Configuration, reboot: bool) {
        self.sockets = Sockets::default();
        self.off = !reboot;
        self.stack = stack(configuration, self.side, u8::from(reboot), self.now);
        if reboot {
            // The program died with the machine.
            self.app.at = [u8::MAX; THREADS];
        }
    }

    /// A packet arrives.
    pub(crate) fn receive(&self, arriving: &Arriving<'_>) -> (Self, Told) {
        self.after(|part, told| {
            let Arriving { packet, as_sent, age } = *arriving;
            let (mut bytes, mut meta) = packet.for_receiver(&mut part.numbers, part.now, age);
            if as_sent {
                (bytes, meta) = (packet.bytes.to_vec(), packet.meta);
            }
            part.stack.receive(part.now, &meta, &bytes);
            part.flush(told);
            if packet.is_reset {
                part.judge_answer(told);
            }
        })
    }

    /// What a side says to a reset.
    fn judge_answer(&self, told: &mut Told) {
        let answers = told.packets.iter().filter_map(|packet| Some(segment_of(&packet.bytes)?.1.flags));
        let wrong = |flags: &Flags| flags.contains(Flags::RST) || flags.contains(Flags::SYN | Flags::ACK);
        if let Some(flags) = answers.clone().find(wrong) {
            let what = format!("{} answered a reset with {}", self.side.name(), flag_names(flags));
            told.effects.broke(Rule::ResetUnanswered, what);
        }
    }

    /// Time passes. Timers that are due then fire; whether that changed anything stands in [`Effects::changed`].
    pub(crate) fn pass(&self, time: Duration) -> (Self, Told) {
        self.after(|part, told| {
            part.now += time;
            if part.timeout().is_some_and(|left| left.is_zero()) {
                let before = part.stack.fingerprint(part.now);
                part.stack.handle_timeout(part.now);
                told.effects.changed = part.stack.fingerprint(part.now) != before;
                part.flush(told);
            }
        })
    }

    /// Takes what the stack has to tell and to send.
    fn flush(&mut self, told: &mut Told) {
        if self.off {
            return;
        }
        self.note_transitions(told);
        let mut frame = [0; MTU as usize];
        while let Some((len, meta)) = self.stack.transmit(self.now, &mut frame) {
            self.send(&frame[..len], meta, told);
            if told.packets.len() > BURST {
                let what = format!("{} sends more than {BURST} packets at one instant", self.side.name());
                return told.effects.broke(Rule::Ends, what);
            }
        }
        self.note_transitions(told);
        // Applications look at their sockets themselves.
        while self.stack.poll_event().is_some() {}
    }

    fn send(&mut self, bytes: &[u8], meta: PacketMeta, told: &mut Told) {
        let packet = Packet::new(self.side, self.now, bytes, meta, &mut self.numbers);
        self.judge_wire(bytes, told);
        told.heard.push(Heard::Sent(told.packets.len()));
        told.packets.push(packet);
    }

    fn note_transitions(&mut self, told: &mut Told) {
        while let Some(event) = self.stack.poll_transition() {
            told.heard.push(Heard::Transition(event));
            let change = event.transition;
            if !is_legal(change.from, change.to, change.cause) {
                let what =
                    format!("{}: {} to {} for: {}", self.side.name(), change.from, change.to, change.cause);
                told.effects.broke(Rule::Arrows, what);
            }
            if event.remote.port() == 0 {
                continue;
            }
            if matches!(change.to, State::FinWait1 | State::LastAck) {
                self.promised = Some(self.app.written);
            }
            told.effects.notes.push(Note { from: change.from, to: change.to, cause: change.cause });
        }
    }

    /// What it sends, against what its application wrote.
    fn judge_wire(&self, bytes: &[u8], told: &mut Told) {
        let name = self.side.name();
        let Some((_, tcp)) = segment_of(bytes) else {
            return told.effects.broke(Rule::Wire, format!("{name} sent something else than TCP"));
        };
        if tcp.flags.contains(Flags::RST) || tcp.flags.contains(Flags::SYN) {
            return;
        }
        let written = self.app.written;
        let Some(start) = self.numbers.offset(self.side, tcp.seq) else {
            return told.effects.broke(Rule::Wire, format!("{name} sent a number of no stream"));
        };
        // One byte behind the stream is the FIN; keep-alive probes lie one byte before what is unsent.
        let start = usize::try_from(start).unwrap_or(0);
        let end = start + tcp.payload.len();
        let right =
            tcp.payload.iter().enumerate().all(|(i, got)| *got == program::byte(self.side, start + i));
        if end > written && !tcp.payload.is_empty() || !right {
            let what = format!("{name} sent bytes {start} to {end}; {written} were written");
            told.effects.broke(Rule::Wire, what);
        }
        if tcp.flags.contains(Flags::FIN) && self.promised != Some(end) {
            let what = format!("{name} sent a FIN behind byte {end}; {written} were written");
            told.effects.broke(Rule::Wire, what);
        }
    }

    /// What is left of this side when nothing can happen any more; `upset` if something ended the connection early, `state` is
    /// its latest.
    pub(crate) fn leftovers(
        &self,
        configuration: &Configuration,
        upset: bool,
        state: Option<State>,
    ) -> Option<Broken> {
        if self.off {
            return None;
        }
        let Self { side, app, .. } = self;
        let name = side.name();
        let found = |what| Some(Broken { rule: Rule::Finished, what });
        // To wait for a client is a server's life.
        let call = |thread: usize| configuration.programs.call(*side, thread, app.at[thread]);
        if let Some(call) = (0..THREADS).find_map(call).filter(|_| app.opened) {
            return found(format!("{name} waits for ever in {call:?}"));
        }
        let counts = self.stack.counts();
        let listeners = usize::from(self.sockets.listener.is_some());
        let left = counts.sockets - listeners.min(counts.sockets) + counts.requests + counts.time_wait;
        if left > 0 {
            let state = state.map_or("no state", State::name);
            return found(format!("{name} still has a record, in {state}"));
        }
        if !upset && configuration.programs.reads_to_end(*side) && !app.ended {
            return found(format!("{name} was never told the end"));
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

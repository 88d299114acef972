//! The fast form of a state. A step of one side depends on nothing but that side and what reaches it, and the same few thousand
//! steps come back in all combinations of the two: each is taken once by the real stack and kept. A state is then
//! a handful of numbers, and a transition a look at a table.
//!
//! Nothing is left out: the states that are reached are those of the plain form ([`world`](crate::world)), digest by digest. A test
//! compares them.

use crate::configuration::Configuration;
use crate::packet::{Packet, aged};
use crate::part::{Arriving, Part, Told};
use crate::program::{Do, THREADS};
use crate::rules::{Broken, Effects, Ends, Peer};
use crate::world::{Action, BEGINNING, Budget, MAXIMUM_SEGMENT_LIFETIME, digest};
use lastack_sim::Side;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// A state.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    parts: [u32; 2],
    /// In rising order.
    flying: Vec<u32>,
    ends: Ends,
    pub(crate) budget: Budget,
    pub(crate) broken: bool,
}

impl Node {
    /// A number for everything but the budget.
    pub(crate) fn hash(&self) -> u64 {
        let states = self.ends.states.map(|state| state.map_or(0xff, |state| state as u64));
        let flags = u64::from(self.ends.upset) << 1 | u64::from(self.broken);
        let mut h = mix(states[0] << 16 | states[1] << 8 | flags, 0x243F_6A88_85A3_08D3);
        h = mix(u64::from(self.parts[0]) << 32 | u64::from(self.parts[1]), h);
        for pair in self.flying.chunks(2) {
            let second = pair.get(1).map_or(u32::MAX, |flight| *flight);
            h = mix(u64::from(pair[0]) << 32 | u64::from(second), h);
        }
        mix(h, 0x1319_8A2E_0370_7344)
    }
}

/// Scatters a word over another.
fn mix(word: u64, seed: u64) -> u64 {
    let word = u128::from(word ^ seed ^ 0xA409_3822_299F_31D0);
    let product = word.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (product >> 64) as u64 ^ product as u64
}

/// For keys that are numbers.
#[derive(Default)]
struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(u64::from(*byte), self.0);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(word, self.0);
    }
}

type ByNumber<V> = HashMap<u64, V, BuildHasherDefault<Scatter>>;

/// A side, and what is asked of it often.
struct Entry {
    part: Part,
    print: u128,
    runs: [bool; THREADS],
    /// Milliseconds until it wants to be woken.
    timeout: Option<u32>,
    peer: Peer,
}

/// A packet of an age.
struct Flight {
    packet: Arc<Packet>,
    age: u32,
    digest: u64,
}

struct Step {
    next: u32,
    sent: Box<[u32]>,
    effects: Effects,
}

/// What reaches a side.
#[derive(Clone, Copy)]
enum Input {
    Run(usize),
    Arrive(u32),
    Pass(u32),
}

impl Input {
    fn code(self) -> u32 {
        match self {
            Self::Arrive(flight) => flight << 2,
            Self::Run(thread) => (thread as u32) << 2 | 1,
            Self::Pass(time) => time << 2 | 2,
        }
    }
}

/// All sides, packets and steps that were met.
pub(crate) struct Tables<'a> {
    configuration: &'a Configuration,
    parts: Vec<Entry>,
    part_ids: HashMap<u128, u32>,
    flights: Vec<Flight>,
    flight_ids: HashMap<u64, u32>,
    steps: Vec<Step>,
    step_ids: ByNumber<u32>,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(configuration: &'a Configuration) -> Self {
        Self {
            configuration,
            parts: Vec::new(),
            part_ids: HashMap::new(),
            flights: Vec::new(),
            flight_ids: HashMap::new(),
            steps: Vec::new(),
            step_ids: ByNumber::default(),
        }
    }

    /// The first state; a server listens already.
    pub(crate) fn first(&mut self) -> Node {
        let sides = Side::BOTH.map(|side| Part::new(self.configuration, side, BEGINNING));
        let parts = sides.map(|part| self.part(part));
        let budget = self.configuration.budget;
        let mut node = Node { parts, flying: Vec::new(), ends: Ends::default(), budget, broken: false };
        // Without a server the client is refused.
        if self.configuration.programs.call(Side::B, 0, 0) == Some(Do::Listen) {
            self.step(&mut node, Side::B, Input::Run(0));
        } else {
            node.ends.upset = true;
        }
        node
    }

    /// The number that the plain form of the state has.
    pub(crate) fn digest(&self, node: &Node) -> u128 {
        let prints = node.parts.map(|part| self.parts[part as usize].print);
        let mut packets: Vec<u64> =
            node.flying.iter().map(|flight| self.flights[*flight as usize].digest).collect();
        digest(prints, &mut packets, &node.ends, node.broken)
    }

    fn part(&mut self, part: Part) -> u32 {
        let print = part.print();
        if let Some(id) = self.part_ids.get(&print) {
            return *id;
        }
        let timeout = part.timeout().map(|left| {
            let millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            assert_eq!(left, Duration::from_millis(u64::from(millis)), "a timer between two ticks");
            millis
        });
        let id = self.parts.len() as u32;
        self.parts.push(Entry {
            print,
            runs: std::array::from_fn(|thread| part.can_run(self.configuration, thread)),
            timeout,
            peer: Peer { written: part.app.written, promised: part.promised },
            part,
        });
        self.part_ids.insert(print, id);
        id
    }

    fn flight(&mut self, packet: &Arc<Packet>, age: u32) -> u32 {
        let digest = aged(packet.digest, age);
        if let Some(id) = self.flight_ids.get(&digest) {
            return *id;
        }
        let id = self.flights.len() as u32;
        self.flights.push(Flight { packet: Arc::clone(packet), age, digest });
        self.flight_ids.insert(digest, id);
        id
    }

    /// What may happen, what costs nothing first. With a broken rule nothing more does.
    pub(crate) fn actions(&self, node: &Node, actions: &mut Vec<Action>) {
        if node.broken {
            return;
        }
        let before = actions.len();
        actions.extend(self.runs(node));
        let distinct =
            || (0..node.flying.len()).filter(|at| *at == 0 || node.flying[at - 1] != node.flying[*at]);
        actions.extend(distinct().map(Action::Deliver));
        let timer = self.timeout(node).is_some();
        if timer && actions.len() == before {
            actions.push(Action::Timer);
            return;
        }
        if node.budget.losses > 0 {
            actions.extend(distinct().map(Action::Lose));
        }
        if node.budget.duplicates > 0 {
            actions.extend(distinct().map(Action::Duplicate));
        }
        if timer && node.budget.early_timers > 0 {
            actions.push(Action::Timer);
        }
    }

    fn runs(&self, node: &Node) -> impl Iterator<Item = Action> {
        let can = Side::BOTH.map(|side| self.parts[node.parts[side as usize] as usize].runs);
        Side::BOTH.into_iter().flat_map(move |side| {
            let threads = (0..THREADS).filter(move |thread| can[side as usize][*thread]);
            threads.map(move |thread| Action::Run(side, thread))
        })
    }

    fn timeout(&self, node: &Node) -> Option<u32> {
        node.parts.iter().filter_map(|part| self.parts[*part as usize].timeout).min()
    }

    /// What happens next when applications go on, the network delivers what was sent first, and timers wait for both.
    pub(crate) fn fair_action(&self, node: &Node) -> Option<Action> {
        if node.broken {
            return None;
        }
        let order = |at: &usize| {
            let flight = &self.flights[node.flying[*at] as usize];
            (std::cmp::Reverse(flight.age), flight.packet.order, flight.digest)
        };
        let oldest = || (0..node.flying.len()).min_by_key(order).map(Action::Deliver);
        let timer = || self.timeout(node).map(|_| Action::Timer);
        let run = self.runs(node).next();
        run.or_else(oldest).or_else(timer)
    }

    /// The state after an action.
    pub(crate) fn after(&mut self, node: &Node, action: Action) -> Node {
        let mut next = node.clone();
        match action {
            Action::Run(side, thread) => {
                self.step(&mut next, side, Input::Run(thread));
            }
            Action::Deliver(at) => {
                let flight = next.flying.remove(at);
                self.arrive(&mut next, flight);
            }
            Action::Duplicate(at) => {
                next.budget.duplicates -= 1;
                let flight = next.flying[at];
                self.arrive(&mut next, flight);
            }
            Action::Lose(at) => {
                next.budget.losses -= 1;
                next.flying.remove(at);
            }
            Action::Timer => self.pass_time(&mut next),
        }
        next
    }

    fn arrive(&mut self, node: &mut Node, flight: u32) {
        let to = self.flights[flight as usize].packet.from.other();
        self.step(node, to, Input::Arrive(flight));
    }

    fn pass_time(&mut self, node: &mut Node) {
        if !node.flying.is_empty() || self.runs(node).next().is_some() {
            node.budget.early_timers -= 1;
        }
        // A stack may ask to be woken for a timer that was put off meanwhile; such a wake-up is no event.
        while let Some(time) = self.timeout(node) {
            self.age(node, time);
            let mut changed = false;
            for side in Side::BOTH {
                changed |= self.step(node, side, Input::Pass(time));
            }
            if changed {
                break;
            }
        }
    }

    /// Makes what is in flight older.
    fn age(&mut self, node: &mut Node, time: u32) {
        let mut older = Vec::with_capacity(node.flying.len());
        for flight in &node.flying {
            let Flight { packet, age, .. } = &self.flights[*flight as usize];
            let (packet, age) = (Arc::clone(packet), age + time);
            if Duration::from_millis(u64::from(age)) < MAXIMUM_SEGMENT_LIFETIME {
                older.push(self.flight(&packet, age));
            }
        }
        older.sort_unstable();
        node.flying = older;
    }

    /// One side takes a step. Whether a timer changed something.
    fn step(&mut self, node: &mut Node, side: Side, input: Input) -> bool {
        let part = node.parts[side as usize];
        let key = u64::from(part) << 32 | u64::from(input.code());
        let id = match self.step_ids.get(&key) {
            Some(id) => *id,
            None => self.take(key, part, input),
        };
        let step = &self.steps[id as usize];
        let other = &self.parts[node.parts[side.other() as usize] as usize];
        node.parts[side as usize] = step.next;
        if step.effects.vanishes && self.parts[step.next as usize].part.off {
            node.flying.retain(|flight| self.flights[*flight as usize].packet.from == side);
        }
        if !other.part.off {
            for flight in &step.sent {
                let at = node.flying.partition_point(|known| known < flight);
                node.flying.insert(at, *flight);
            }
        }
        node.broken |= node.ends.hear(side, &step.effects, other.peer).is_some();
        step.effects.changed
    }

    /// Lets the stack take a step that was not met yet.
    fn take(&mut self, key: u64, part: u32, input: Input) -> u32 {
        let before = &self.parts[part as usize].part;
        let (after, told) = match input {
            Input::Run(thread) => before.run(self.configuration, thread),
            Input::Arrive(flight) => {
                let Flight { packet, age, .. } = &self.flights[flight as usize];
                before.receive(&Arriving { packet, as_sent: false, age: *age })
            }
            Input::Pass(time) => before.pass(Duration::from_millis(u64::from(time))),
        };
        let Told { packets, effects, heard: _ } = told;
        let packets: Vec<_> = packets.into_iter().map(Arc::new).collect();
        let sent = packets.iter().map(|packet| self.flight(packet, 0)).collect();
        let next = self.part(after);
        let id = self.steps.len() as u32;
        self.steps.push(Step { next, sent, effects });
        self.step_ids.insert(key, id);
        id
    }

    /// What is left when nothing can happen any more.
    pub(crate) fn leftovers(&self, node: &Node) -> Option<Broken> {
        let of = |side: Side| {
            let part = &self.parts[node.parts[side as usize] as usize].part;
            part.leftovers(self.configuration, node.ends.upset, node.ends.states[side as usize])
        };
        Side::BOTH.into_iter().find_map(of)
    }
}

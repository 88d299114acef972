//! What a search is given and what it finds; a schedule played again.

use crate::configuration::Configuration;
use crate::rules::Broken;
use crate::world::{Action, BEGINNING, World};
use crate::{direct, search};
use lastack_core::Instant;
use lastack_sim::{Log, What};
use std::collections::HashSet;
use std::time::Duration;

/// Steps after which a fair schedule that still goes on is called endless: many times what any ending needs.
pub(crate) const ENDLESS: usize = 2_000;

/// How much to explore.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Stop after this many transitions; `None`: only when the frontier is empty.
    pub transitions: Option<usize>,
    /// Stop after this time.
    pub time: Option<Duration>,
    /// Stop before the table of states that were seen is larger than this, in bytes. Not with `full`.
    pub memory: Option<usize>,
    /// Search the plain way: every transition taken by two stacks, and every state once for each budget. Some hundred times
    /// slower, with the same result.
    pub full: bool,
}

/// Why a search ended before its frontier was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As many transitions as were allowed.
    Transitions,
    /// The time is over.
    Time,
    /// The table of states is as large as was allowed.
    Memory,
}

impl Stop {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Time => "time",
            Self::Memory => "memory",
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The configuration's name.
    pub name: String,
    /// Distinct states. The plain search counts them once for each budget that is left.
    pub states: usize,
    /// Transitions between them.
    pub transitions: usize,
    /// Length of the longest schedule that was followed.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Why it ended early, if it did.
    pub stopped: Option<Stop>,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
}

impl Report {
    /// The frontier is empty: there is no other state.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.stopped.is_none() && self.violation.is_none()
    }
}

/// A broken rule with the schedule that leads to it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is broken.
    pub broken: Broken,
    /// The schedule, from the beginning.
    pub schedule: Vec<Action>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Distinct states so far.
    pub states: usize,
    /// Depth so far.
    pub depth: usize,
    /// Time so far.
    pub time: Duration,
}

/// Explores a configuration; and once more breadth first for the shortest schedule if a rule was broken. `progress` is called some
/// times a second.
#[must_use]
pub fn explore(
    configuration: &Configuration,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Report {
    if limits.full {
        direct::explore(configuration, limits, progress)
    } else {
        search::explore(configuration, limits, progress)
    }
}

/// The schedule on which nothing goes wrong: the network delivers in order, applications go on at once.
#[must_use]
pub fn undisturbed(configuration: &Configuration) -> Vec<Action> {
    let mut world = World::new(configuration);
    let mut schedule = Vec::new();
    while let Some(action) = world.fair_action(configuration).filter(|_| schedule.len() < ENDLESS) {
        world = world.after(configuration, action, None);
        schedule.push(action);
    }
    schedule
}

/// Plays a schedule and tells what happened.
#[must_use]
pub fn replay(configuration: &Configuration, schedule: &[Action]) -> Log {
    let mut log = Log::default();
    let mut world = World::begin(configuration, Some(&mut log));
    for action in schedule {
        world = world.after(configuration, *action, Some(&mut log));
    }
    // Told from 0 on.
    let since = |at: Instant| Instant::ZERO + (at - BEGINNING);
    for record in &mut log.records {
        record.at = since(record.at);
        if let What::Transition(event) = &mut record.what {
            event.transition.at = since(event.transition.at);
        }
    }
    for packet in &mut log.packets {
        (packet.sent, packet.arrives) = (since(packet.sent), packet.arrives.map(since));
    }
    let arrived: HashSet<usize> = log
        .records
        .iter()
        .filter_map(|record| match record.what {
            What::Arrived(index) => Some(index),
            _ => None,
        })
        .collect();
    for (index, packet) in log.packets.iter_mut().enumerate() {
        packet.arrives = packet.arrives.filter(|_| arrived.contains(&index));
    }
    log
}

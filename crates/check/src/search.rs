//! The fast search: depth first over the tables, with what a wider budget covers left out.
//!
//! A state with some of the budget left can do nothing that it could not do with more. Where it was explored with more, it
//! is not explored again.

use crate::configuration::Configuration;
use crate::explore::{ENDLESS, Limits, Progress, Report, Stop, Violation};
use crate::rules::{Broken, Rule};
use crate::seen::Seen;
use crate::tables::{Node, Tables};
use crate::world::{Action, Budget, World};
use std::time::{Duration, Instant as Clock};

/// Transitions to try for a violation's shortest schedule; each costs some 150 bytes.
const SHORTEST: usize = 10_000_000;
/// Transitions between two looks at the clock.
const GRAIN: usize = 1 << 16;

struct Search<'a> {
    tables: Tables<'a>,
    seen: Seen,
    whole: Budget,
    transitions: usize,
}

/// A state whose actions are being tried.
struct Frame {
    node: Node,
    /// Where its untried actions begin in the list of all.
    first: usize,
    /// The action that led here.
    by: Option<Action>,
}

/// What is wrong in a state, or on the fair schedule from it.
struct Wrong {
    /// The steps to where it shows.
    rest: Vec<Action>,
    /// A rule is broken there; if not, it does not end or something is left.
    broken: bool,
}

/// The way to a broken rule, in the tables' form.
struct Found {
    steps: Vec<Action>,
}

impl<'a> Search<'a> {
    fn new(configuration: &'a Configuration) -> Self {
        let whole = configuration.budget;
        assert!(place(whole, whole) < 15, "a budget too wide for the table");
        Self { tables: Tables::new(configuration), seen: Seen::new(), whole, transitions: 0 }
    }

    fn after(&mut self, node: &Node, action: Action) -> Node {
        self.transitions += 1;
        self.tables.after(node, action)
    }

    /// Comes to a state. Whether it is to be explored from here; an error if something is wrong in it or with its end.
    fn visit(&mut self, node: &Node) -> Result<bool, Wrong> {
        let digest = node.hash();
        let covers = bits(node.budget, self.whole);
        if !self.seen.visit(digest, 1 << place(node.budget, self.whole), covers) {
            return Ok(false);
        }
        if node.broken {
            return Err(Wrong { rest: Vec::new(), broken: true });
        }
        self.walk(node, digest).map_or(Ok(true), Err)
    }

    /// Follows the fair schedule from a state until it ends or meets another that was followed. The steps, if it does neither.
    fn walk(&mut self, node: &Node, digest: u64) -> Option<Wrong> {
        if !self.seen.walk(digest) {
            return None;
        }
        let (mut passed, mut steps) = (vec![digest], Vec::new());
        let mut here = node.clone();
        while let Some(action) = self.tables.fair_action(&here) {
            here = self.after(&here, action);
            steps.push(action);
            let digest = here.hash();
            if here.broken || passed.contains(&digest) || steps.len() == ENDLESS {
                return Some(Wrong { rest: steps, broken: here.broken });
            }
            if !self.seen.walk(digest) {
                return None;
            }
            passed.push(digest);
        }
        self.tables.leftovers(&here).map(|_| Wrong { rest: steps, broken: false })
    }

    /// Searches depth first, what costs nothing first.
    fn depth_first(&mut self, watch: &mut Watch<'_>) -> (Option<Found>, Option<Stop>) {
        let first = self.tables.first();
        let (mut frames, mut actions): (Vec<Frame>, Vec<Action>) = (Vec::new(), Vec::new());
        let mut next = Some((first, None));
        loop {
            if let Some((node, by)) = next.take() {
                match self.visit(&node) {
                    Ok(true) => {
                        let first = actions.len();
                        self.tables.actions(&node, &mut actions);
                        // The last is tried first.
                        actions[first..].reverse();
                        frames.push(Frame { node, first, by });
                        watch.depth = watch.depth.max(frames.len() - 1);
                    }
                    Ok(false) => {}
                    Err(Wrong { rest, .. }) => {
                        let steps = frames.iter().filter_map(|frame| frame.by).chain(by).chain(rest);
                        return (Some(Found { steps: steps.collect() }), None);
                    }
                }
            }
            let Some(frame) = frames.last() else { return (None, None) };
            if actions.len() == frame.first {
                frames.pop();
                continue;
            }
            let Some(action) = actions.pop() else { continue };
            let node = self.tables.after(&frame.node, action);
            self.transitions += 1;
            next = Some((node, Some(action)));
            if self.transitions >= watch.next
                && let Some(stop) = watch.look(self.transitions, &self.seen)
            {
                return (None, Some(stop));
            }
        }
    }

    /// Searches breadth first, for a schedule that none shorter leads to where it goes wrong.
    fn breadth_first(&mut self) -> Option<Found> {
        let mut nodes = vec![(self.tables.first(), 0, None)];
        let mut at = 0;
        let mut actions = Vec::new();
        if let Err(Wrong { rest, broken: false }) = self.visit(&nodes[0].0.clone()) {
            return Some(Found { steps: rest });
        }
        while at < nodes.len() && self.transitions < SHORTEST {
            actions.clear();
            self.tables.actions(&nodes[at].0, &mut actions);
            for action in &actions {
                let node = self.tables.after(&nodes[at].0, *action);
                self.transitions += 1;
                match self.visit(&node) {
                    Ok(true) => nodes.push((node, at, Some(*action))),
                    // A rule that breaks later is met there, on the shortest way.
                    Err(wrong) if wrong.broken && !wrong.rest.is_empty() => {
                        nodes.push((node, at, Some(*action)));
                    }
                    Ok(false) => {}
                    Err(Wrong { rest, .. }) => {
                        let (mut steps, mut at, mut by) = (Vec::new(), at, Some(*action));
                        while let Some(action) = by {
                            steps.push(action);
                            (at, by) = (nodes[at].1, nodes[at].2);
                        }
                        steps.reverse();
                        steps.extend(rest);
                        return Some(Found { steps });
                    }
                }
            }
            at += 1;
        }
        None
    }

    /// Plays a schedule of the tables with plain stacks, whose states must be the same, and tells what is broken at its end.
    fn confirm(&mut self, configuration: &Configuration, found: &Found) -> Violation {
        let mut node = self.tables.first();
        let mut world = World::new(configuration);
        let mut schedule = Vec::new();
        for step in &found.steps {
            node = self.tables.after(&node, *step);
            let wanted = (self.tables.digest(&node), node.budget);
            let mut actions = Vec::new();
            world.actions(configuration, &mut actions);
            let taken = actions.into_iter().find_map(|action| {
                let next = world.after(configuration, action, None);
                ((next.bare_digest(), next.budget()) == wanted).then_some((action, next))
            });
            let (action, next) = taken.expect("the plain search has every state of the fast one");
            schedule.push(action);
            world = next;
        }
        let broken = world.broken.clone().or_else(|| {
            let over = world.fair_action(configuration).is_none();
            over.then(|| world.leftovers(configuration)).flatten()
        });
        let endless = || Broken {
            rule: Rule::Ends,
            what: format!("still going on after {} steps, {:?} later", schedule.len(), world.passed()),
        };
        Violation { broken: broken.unwrap_or_else(endless), schedule }
    }
}

/// The place of a budget in a mask.
fn place(budget: Budget, whole: Budget) -> u32 {
    let (duplicates, timers) = (u32::from(whole.duplicates) + 1, u32::from(whole.early_timers) + 1);
    (u32::from(budget.losses) * duplicates + u32::from(budget.duplicates)) * timers
        + u32::from(budget.early_timers)
}

/// All budgets that are no wider.
fn bits(budget: Budget, whole: Budget) -> u16 {
    let mut bits = 0u16;
    for losses in 0..=budget.losses {
        for duplicates in 0..=budget.duplicates {
            for early_timers in 0..=budget.early_timers {
                bits |= 1 << place(Budget { losses, duplicates, early_timers }, whole);
            }
        }
    }
    bits
}

/// Looks at the clock and the limits.
struct Watch<'a> {
    started: Clock,
    limits: Limits,
    next: usize,
    depth: usize,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl Watch<'_> {
    fn look(&mut self, transitions: usize, seen: &Seen) -> Option<Stop> {
        let (time, limits) = (self.started.elapsed(), self.limits);
        (self.progress)(Progress { states: seen.len(), depth: self.depth, time });
        let left = limits.transitions.map_or(usize::MAX, |limit| limit.saturating_sub(transitions));
        self.next = transitions.saturating_add(left.min(GRAIN));
        if left == 0 {
            Some(Stop::Transitions)
        } else if limits.time.is_some_and(|limit| time >= limit) {
            Some(Stop::Time)
        } else if limits.memory.is_some_and(|limit| seen.bytes() > limit) {
            Some(Stop::Memory)
        } else {
            None
        }
    }
}

/// Explores a configuration.
pub(crate) fn explore(
    configuration: &Configuration,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Report {
    let started = Clock::now();
    let mut watch = Watch { started, limits, next: 0, depth: 0, progress };
    let mut search = Search::new(configuration);
    let (found, stopped) = search.depth_first(&mut watch);
    let time: Duration = started.elapsed();
    let violation = found.map(|found| {
        let shortest = Search::new(configuration).breadth_first();
        let shortest = shortest.filter(|other| other.steps.len() <= found.steps.len()).unwrap_or(found);
        search.confirm(configuration, &shortest)
    });
    Report {
        name: configuration.name.clone(),
        states: search.seen.len(),
        transitions: search.transitions,
        depth: watch.depth,
        time,
        stopped,
        violation,
    }
}

#[cfg(test)]
mod tests;

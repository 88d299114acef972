//! The plain search: every transition is taken by two stacks, nothing is left out, by the model checker `stateright`. It is what the
//! fast one is compared with.

use crate::configuration::Configuration;
use crate::explore::{ENDLESS, Limits, Progress, Report, Stop, Violation};
use crate::rules::{Broken, Rule};
use crate::world::{Action, World};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Property};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant as Clock};

/// Transitions to try for a violation's shortest schedule. Breadth first holds every state of a level, some 10 KiB each.
const SHORTEST: usize = 400_000;
/// Locks of the set of states that are known to end.
const SHARDS: usize = 64;

struct Schedules {
    configuration: Configuration,
    /// Digests of states from which a fair schedule comes to a right end.
    ending: Vec<Mutex<HashSet<u128>>>,
}

impl Schedules {
    fn new(configuration: Configuration) -> Self {
        Self { configuration, ending: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, digest: u128) -> std::sync::MutexGuard<'_, HashSet<u128>> {
        let shard = &self.ending[digest as usize % SHARDS];
        shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What goes wrong on the fair schedule from a state on, and that schedule.
    fn fair_end(&self, world: &World, known: bool) -> Option<(Broken, Vec<Action>)> {
        let mut steps = Vec::new();
        let mut passed = Vec::new();
        let mut here = world.clone();
        loop {
            if let Some(broken) = here.broken {
                return Some((broken, steps));
            }
            if known && self.shard(here.digest()).contains(&here.digest()) {
                break;
            }
            passed.push(here.digest());
            let Some(action) = here.fair_action(&self.configuration) else {
                if let Some(broken) = here.leftovers(&self.configuration) {
                    return Some((broken, steps));
                }
                break;
            };
            if steps.len() == ENDLESS {
                let what = format!("still going on after {ENDLESS} steps, {:?} later", here.passed());
                return Some((Broken { rule: Rule::Ends, what }, steps));
            }
            here = here.after(&self.configuration, action, None);
            steps.push(action);
        }
        for digest in passed {
            self.shard(digest).insert(digest);
        }
        None
    }
}

impl Model for Schedules {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.configuration)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(&self.configuration, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(world.after(&self.configuration, action, None))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the rules hold", |_, world: &World| world.broken.is_none()),
            Property::always("everything ends", |model: &Self, world| model.fair_end(world, true).is_none()),
        ]
    }
}

/// Explores a configuration: depth first, which holds few states at a time; and once more breadth first for the shortest
/// schedule if a rule was broken. `progress` is called about fifty times a second.
pub(crate) fn explore(
    configuration: &Configuration,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Report {
    let started = Clock::now();
    // With a single thread the searcher never looks at the clock.
    let threads = if limits.time.is_some() { 2 } else { 1 };
    let mut builder = checker(configuration).threads(threads);
    if let Some(time) = limits.time {
        builder = builder.timeout(time);
    }
    if let Some(transitions) = limits.transitions {
        builder = builder.target_state_count(transitions);
    }
    let search = builder.spawn_dfs().join_and_report(&mut Teller { progress });
    let time = started.elapsed();
    let found = violation(&search).map(|found| {
        let shortest = checker(configuration).target_state_count(SHORTEST);
        let shortest = shortest.spawn_bfs().join_and_report(&mut Teller { progress });
        violation(&shortest).filter(|other| other.schedule.len() <= found.schedule.len()).unwrap_or(found)
    });
    let out_of_time = limits.time.is_some_and(|limit| time >= limit);
    let out_of_states = limits.transitions.is_some_and(|limit| search.state_count() >= limit);
    Report {
        name: configuration.name.clone(),
        states: search.unique_state_count(),
        transitions: search.state_count(),
        depth: search.max_depth(),
        time,
        stopped: match (out_of_time, out_of_states) {
            _ if found.is_some() => None,
            (true, _) => Some(Stop::Time),
            (_, true) => Some(Stop::Transitions),
            _ => None,
        },
        violation: found,
    }
}

fn checker(configuration: &Configuration) -> CheckerBuilder<Schedules> {
    Schedules::new(configuration.clone()).checker().finish_when(HasDiscoveries::AnyFailures)
}

/// What a search found, with the schedule to the point where it shows.
fn violation(search: &impl Checker<Schedules>) -> Option<Violation> {
    let path = search.discoveries().into_values().min_by_key(|path| path.clone().into_actions().len())?;
    let last = path.last_state().clone();
    let mut schedule = path.into_actions();
    let (broken, rest) = search.model().fair_end(&last, false)?;
    schedule.extend(rest);
    Some(Violation { broken, schedule })
}

struct Teller<'a> {
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl<M: Model> Reporter<M> for Teller<'_> {
    fn report_checking(&mut self, data: ReportData) {
        (self.progress)(Progress { states: data.unique_states, depth: data.max_depth, time: data.duration });
    }

    fn report_discoveries(&mut self, _: &M, _: BTreeMap<&'static str, ReportDiscovery<M>>)
    where
        M::Action: Debug + PartialEq,
        M::State: Debug + std::hash::Hash + PartialEq,
    {
    }

    // The search is waited for at this grain.
    fn delay(&self) -> Duration {
        Duration::from_millis(20)
    }
}

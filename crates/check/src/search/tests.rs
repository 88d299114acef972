//! The fast search leaves nothing out: the same states as the plain one, digest by digest, and the same broken rules.

use super::*;
use crate::configuration::configurations;
use std::collections::HashSet;

fn configuration(name: &str) -> Configuration {
    configurations().into_iter().find(|c| c.name == name).expect("a configuration of that name")
}

/// Every state of the plain form, without the budget; and how many there are with it.
fn plain(configuration: &Configuration) -> (HashSet<u128>, usize) {
    let mut seen = HashSet::new();
    let mut bare = HashSet::new();
    let mut open = vec![World::new(configuration)];
    let mut actions = Vec::new();
    while let Some(world) = open.pop() {
        if !seen.insert(world.digest()) {
            continue;
        }
        bare.insert(world.bare_digest());
        actions.clear();
        world.actions(configuration, &mut actions);
        open.extend(actions.iter().map(|action| world.after(configuration, *action, None)));
    }
    (bare, seen.len())
}

/// Every state of the tables, each once for each budget; and how many.
fn tabled(configuration: &Configuration) -> (HashSet<u128>, usize) {
    let mut tables = Tables::new(configuration);
    let mut seen = HashSet::new();
    let mut bare = HashSet::new();
    let mut open = vec![tables.first()];
    let mut actions = Vec::new();
    while let Some(node) = open.pop() {
        if !seen.insert((node.hash(), place(node.budget, configuration.budget))) {
            continue;
        }
        bare.insert(tables.digest(&node));
        actions.clear();
        tables.actions(&node, &mut actions);
        open.extend(actions.iter().map(|action| tables.after(&node, *action)));
    }
    (bare, seen.len())
}

fn compare(name: &str, least: usize) {
    let configuration = configuration(name);
    let (plain, with_budgets) = plain(&configuration);
    let (tabled, as_many) = tabled(&configuration);
    let (missed, made_up) = (plain.difference(&tabled).count(), tabled.difference(&plain).count());
    assert_eq!((missed, made_up), (0, 0), "{name}: of {} states", plain.len());
    assert_eq!(with_budgets, as_many, "{name}");
    let report = crate::explore(&configuration, Limits::default(), &mut |_| ());
    assert!(report.complete(), "{name}: {report:?}");
    assert_eq!(report.states, plain.len(), "{name}: what a wider budget covers is still seen");
    assert!(plain.len() > least, "{name}: {}", plain.len());
}

#[test]
fn fast_search_has_exactly_the_states_of_the_plain_one() {
    compare("client-closes/losses+ts", 5_000);
    compare("server-closes/timer", 2_000);
    compare("both-close-early/losses", 5_000);
}

#[test]
fn a_crash_and_an_abort_have_exactly_the_states_of_the_plain_search() {
    compare("abort/loss", 1_000);
    compare("unread/loss+ts", 1_000);
    compare("reboot/loss", 1_000);
    compare("power-off/duplicate+ts", 500);
}

#[test]
fn budgets_cover_what_is_no_wider() {
    let whole = Budget { losses: 2, duplicates: 1, early_timers: 1 };
    let budget = |losses, duplicates, early_timers| Budget { losses, duplicates, early_timers };
    assert_eq!(bits(whole, whole), 0xfff);
    assert_eq!(bits(budget(0, 0, 0), whole), 1);
    let of = bits(budget(1, 0, 1), whole);
    for other in [budget(0, 0, 0), budget(1, 0, 0), budget(0, 0, 1), budget(1, 0, 1)] {
        assert!(of & 1 << place(other, whole) != 0, "{other:?}");
    }
    assert_eq!(of.count_ones(), 4);
}

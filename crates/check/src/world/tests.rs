//! The digest is as good as the state: equal digests have equal futures.

use super::*;
use crate::configuration::configurations;
use std::collections::HashMap;

#[test]
fn states_with_equal_digests_have_successors_with_equal_digests() {
    for name in
        ["client-closes/loss+ts", "server-closes/timer", "both-close-early/losses", "unread/duplicate"]
    {
        let found = configurations().into_iter().find(|c| c.name == name);
        let configuration = found.expect("a configuration of that name");
        let mut futures: HashMap<u128, (Vec<u128>, World)> = HashMap::new();
        let mut open = vec![World::new(&configuration)];
        while let Some(world) = open.pop() {
            let mut actions = Vec::new();
            world.actions(&configuration, &mut actions);
            let next: Vec<_> =
                actions.iter().map(|action| world.after(&configuration, *action, None)).collect();
            let mut future: Vec<_> = next.iter().map(World::digest).collect();
            future.sort_unstable();
            if let Some((known, other)) = futures.get(&world.digest()) {
                assert_eq!(
                    *known, future,
                    "{name}: two states of one digest differ:\n{world:#?}\n{other:#?}"
                );
                continue;
            }
            futures.insert(world.digest(), (future, world));
            open.extend(next);
        }
        assert!(futures.len() > 1000, "{name}: {}", futures.len());
    }
}

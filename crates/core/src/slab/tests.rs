use super::*;
use alloc::collections::BTreeMap;
use proptest::prelude::*;

#[test]
fn an_entry_costs_four_bytes_more_than_a_value_of_alignment_four() {
    assert_eq!(size_of::<Slot<[u32; 9]>>(), 40);
    assert_eq!(size_of::<Slot<[u64; 4]>>(), 40);
    assert_eq!(size_of::<Key>(), 8);
    assert_eq!(size_of::<Option<Key>>(), 8);
}

#[test]
fn every_index_has_one_place_and_pages_join_without_gaps() {
    let mut next = 0;
    for page in 0..12 {
        let (first, size) = page_bounds(page);
        assert_eq!(first, next);
        for at in 0..size {
            assert_eq!(locate((first + at) as u32), (page, at));
        }
        next = first + size;
    }
}

#[test]
fn growth_is_by_doubling_up_to_a_page_and_moves_nothing() {
    let mut slab = Slab::new();
    assert_eq!(slab.capacity(), 0);
    let first = slab.insert(0u64);
    assert_eq!(slab.capacity(), 1);
    let place: *const u64 = slab.get(first).unwrap();
    for i in 1..1000 {
        assert_eq!(slab.insert(i).index(), i as u32);
        assert!(slab.capacity() < 2 * slab.len() || slab.capacity() - slab.len() < PAGE);
    }
    assert!(core::ptr::eq(place, slab.get(first).unwrap()));
}

#[test]
fn key_of_a_freed_slot_never_matches_its_next_tenant() {
    let mut slab = Slab::new();
    let old = slab.insert("old");
    assert_eq!(slab.remove(old), Some("old"));
    let new = slab.insert("new");
    assert_eq!(old.index(), new.index());
    assert_eq!(slab.get(old), None);
    assert!(slab.get_mut(old).is_none() && slab.remove(old).is_none());
    assert_eq!((slab.get(new), slab.at(new.index())), (Some(&"new"), Some(&"new")));
    assert_eq!(slab.key_of(0), Some(new));
    assert_eq!(slab.len(), 1);
}

#[test]
fn key_survives_the_way_through_a_number() {
    let mut slab = Slab::new();
    let key = slab.insert(());
    assert_eq!(Key::from_u64(key.to_u64()), Some(key));
    assert_eq!(Key::from_u64(5), None);
}

proptest! {
    #[test]
    fn behaves_as_a_map(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..900)) {
        let mut slab = Slab::new();
        let mut model = BTreeMap::new();
        let mut live: Vec<Key> = Vec::new();
        let mut dead: Vec<Key> = Vec::new();
        for (number, (grow, which)) in steps.into_iter().enumerate() {
            if grow || live.is_empty() {
                let key = slab.insert(number);
                prop_assert!(model.insert(key.index(), number).is_none());
                live.push(key);
            } else {
                let key = live.swap_remove(which.index(live.len()));
                prop_assert_eq!(slab.remove(key), model.remove(&key.index()));
                dead.push(key);
            }
            prop_assert_eq!(slab.len(), model.len());
        }
        for key in dead {
            prop_assert!(slab.get(key).is_none());
        }
        for &key in &live {
            *slab.get_mut(key).unwrap() += 1;
            prop_assert_eq!(slab.at_mut(key.index()).copied(), slab.get(key).copied());
        }
        let listed: Vec<_> = slab.iter().map(|(key, &value)| (key.index(), value)).collect();
        let expected: Vec<_> = model.iter().map(|(&index, &value)| (index, value + 1)).collect();
        prop_assert_eq!(listed, expected);
        slab.iter_mut().for_each(|(_, value)| *value = 0);
        prop_assert!(slab.clone().iter().all(|(_, &value)| value == 0));
    }
}

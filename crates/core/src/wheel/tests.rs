use super::*;
use alloc::collections::BTreeMap;
use core::time::Duration;
use proptest::prelude::*;

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

/// Pops in virtual time, jumping from deadline to deadline: (key, when).
fn drive(wheel: &mut Wheel) -> Vec<(u64, u64)> {
    let mut fired = Vec::new();
    let mut now = Instant::ZERO;
    while let Some(next) = wheel.next_deadline() {
        assert!(next >= now, "time goes forward");
        assert!(wheel.may_be_due(next), "what is due is not passed over");
        now = next;
        while let Some(key) = wheel.pop_expired(now) {
            fired.push((key, now.as_millis()));
        }
    }
    fired
}

#[test]
fn a_node_takes_24_bytes_and_an_unused_wheel_no_level() {
    assert_eq!(size_of::<Node>(), 24);
    assert_eq!(size_of::<Level>(), 264);
    let mut wheel = Wheel::new(ms(12_345));
    assert!(wheel.levels.iter().all(Option::is_none));
    wheel.insert(ms(12_350), 1);
    assert_eq!(wheel.levels.iter().flatten().count(), 1);
}

#[test]
fn fires_at_the_first_tick_not_before_the_deadline() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.insert(Instant::from_micros(4_001), 7);
    assert_eq!(wheel.pop_expired(Instant::from_micros(4_999)), None);
    assert_eq!(wheel.next_deadline(), Some(ms(5)));
    assert_eq!(wheel.pop_expired(ms(5)), Some(7));
    assert!(wheel.is_empty());
}

#[test]
fn jumping_from_deadline_to_deadline_hits_every_exact_tick() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let year = 365 * 86_400_000;
    let deadlines = [0, 1, 63, 64, 65, 199, 200, 4_095, 4_096, 60_000, 7_200_000, year, 30 * year];
    for (key, &deadline) in deadlines.iter().enumerate() {
        wheel.insert(ms(deadline), key as u64);
    }
    let expected: Vec<_> = deadlines.iter().enumerate().map(|(key, &at)| (key as u64, at)).collect();
    assert_eq!(drive(&mut wheel), expected);
}

#[test]
fn a_lone_timer_needs_no_intermediate_wakeup() {
    let mut wheel = Wheel::new(ms(5));
    wheel.insert(ms(7_200_123), 1);
    assert_eq!(wheel.next_deadline(), Some(ms(7_200_123)));
    assert_eq!(wheel.pop_expired(ms(7_200_122)), None);
    assert_eq!(wheel.pop_expired(ms(7_200_123)), Some(1));
}

#[test]
fn timers_of_one_tick_fire_in_order_of_insertion_from_whatever_level() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.insert(ms(10_000), 1);
    assert_eq!(wheel.pop_expired(ms(9_000)), None);
    wheel.insert(ms(10_000), 2);
    assert_eq!(wheel.pop_expired(ms(9_999)), None);
    wheel.insert(ms(10_000), 3);
    let order: Vec<_> = core::iter::from_fn(|| wheel.pop_expired(ms(20_000))).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_call() {
    let mut wheel = Wheel::new(ms(500));
    wheel.insert(ms(3), 1);
    assert_eq!(wheel.next_deadline(), Some(ms(500)));
    assert_eq!(wheel.pop_expired(ms(500)), Some(1));
}

#[test]
fn the_end_of_time_is_a_deadline_like_any_other() {
    let mut wheel = Wheel::new(Instant::ZERO);
    wheel.insert(Instant::FAR_FUTURE, 1);
    wheel.insert(Instant::FAR_FUTURE - Duration::from_millis(1), 2);
    assert_eq!(wheel.pop_expired(Instant::from_secs(1 << 33)), None);
    let fired = drive(&mut wheel);
    assert_eq!(fired.len(), 2);
}

#[test]
fn numbers_of_fired_and_removed_timers_are_refused_until_reused() {
    let mut wheel = Wheel::new(Instant::ZERO);
    let fired = wheel.insert(ms(1), 1);
    let removed = wheel.insert(ms(2), 2);
    assert_eq!(wheel.remove(removed), Some(2));
    assert_eq!(wheel.pop_expired(ms(1)), Some(1));
    assert_eq!((wheel.remove(fired), wheel.remove(removed)), (None, None));
    assert!(!wheel.reschedule(fired, ms(9)));
    wheel.insert(ms(3), 3);
    wheel.insert(ms(3), 4);
    assert_eq!((wheel.nodes.len(), wheel.len()), (2, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Move(usize, u64),
    Remove(usize),
    Advance(u64),
    JumpToNext,
}

/// Delays of all magnitudes, in microseconds.
fn delay() -> impl Strategy<Value = u64> {
    (0u32..46, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => delay().prop_map(Step::Insert),
        2 => (any::<usize>(), delay()).prop_map(|(which, delay)| Step::Move(which, delay)),
        1 => any::<usize>().prop_map(Step::Remove),
        2 => delay().prop_map(Step::Advance),
        3 => Just(Step::JumpToNext),
    ]
}

/// The same contract over a sorted map: (tick, order of insertion) to key.
#[derive(Default)]
struct Model {
    timers: BTreeMap<(u64, u64), u64>,
    place: BTreeMap<u64, (u64, u64)>,
    position: u64,
    order: u64,
}

impl Model {
    fn arm(&mut self, deadline: Instant, key: u64) {
        let tick = deadline.as_nanos().div_ceil(1_000_000).max(self.position);
        if let Some(&old) = self.place.get(&key) {
            if old.0 == tick {
                return;
            }
            self.timers.remove(&old);
        }
        self.order += 1;
        self.timers.insert((tick, self.order), key);
        self.place.insert(key, (tick, self.order));
    }

    fn pop(&mut self, now: Instant) -> Option<u64> {
        let now = now.as_millis();
        match self.timers.first_key_value() {
            Some((&place, &key)) if place.0 <= now => {
                self.timers.remove(&place);
                self.place.remove(&key);
                self.position = self.position.max(place.0);
                Some(key)
            }
            _ => {
                self.position = self.position.max(now);
                None
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn behaves_as_a_sorted_map(start in delay(), steps in prop::collection::vec(step(), 1..120)) {
        let mut now = Instant::from_micros(start);
        let mut wheel = Wheel::new(now);
        let mut model = Model { position: now.as_millis(), ..Model::default() };
        let mut ids: Vec<(u64, TimerId)> = Vec::new();
        for (key, step) in steps.into_iter().enumerate() {
            let key = key as u64;
            match step {
                Step::Insert(delay) => {
                    // Some deadlines lie in the past.
                    let deadline = now + Duration::from_micros(delay) - Duration::from_millis(2);
                    ids.push((key, wheel.insert(deadline, key)));
                    model.arm(deadline, key);
                }
                Step::Move(which, delay) if !ids.is_empty() => {
                    let (key, id) = ids[which % ids.len()];
                    let deadline = now + Duration::from_micros(delay);
                    prop_assert!(wheel.reschedule(id, deadline));
                    model.arm(deadline, key);
                }
                Step::Remove(which) if !ids.is_empty() => {
                    let (key, id) = ids.swap_remove(which % ids.len());
                    prop_assert_eq!(wheel.remove(id), Some(key));
                    let place = model.place.remove(&key).unwrap();
                    model.timers.remove(&place);
                }
                Step::Advance(delay) => now += Duration::from_micros(delay),
                Step::JumpToNext => now = wheel.next_deadline().unwrap_or(now).max(now),
                Step::Move(..) | Step::Remove(_) => {}
            }
            let earliest = model.timers.first_key_value().map(|(place, _)| place.0);
            prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
            prop_assert!(wheel.next_deadline().is_none_or(|at| wheel.may_be_due(at)));
            if let (Some(next), Some(earliest)) = (wheel.next_deadline(), earliest) {
                prop_assert!(next.as_millis() <= earliest);
            }
            // A step in three leaves what is due to the next one.
            if !key.is_multiple_of(3) {
                loop {
                    let (got, expected) = (wheel.pop_expired(now), model.pop(now));
                    prop_assert_eq!(got, expected);
                    let Some(fired) = got else { break };
                    ids.retain(|&(key, _)| key != fired);
                }
            }
            prop_assert_eq!(wheel.len(), model.timers.len());
        }
        // Whatever is left fires at its exact tick when time jumps to each answer in turn.
        while let Some(next) = wheel.next_deadline() {
            let earliest = model.timers.first_key_value().map(|(place, _)| place.0).unwrap();
            now = now.max(next);
            let (got, expected) = (wheel.pop_expired(now), model.pop(now));
            prop_assert_eq!(got, expected);
            prop_assert_eq!(got.is_some(), now.as_millis() >= earliest);
        }
        prop_assert!(model.timers.is_empty());
    }
}

use super::super::TwFlags;
use super::*;
use crate::tcp::set_state::Current;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use lastack_wire::SeqNumber;
use proptest::prelude::*;

fn record(id: u32) -> Record<Ipv4Addr> {
    Record {
        local: Ipv4Addr::LOCALHOST,
        remote: Ipv4Addr::LOCALHOST,
        local_port: 1,
        remote_port: 2,
        id,
        rcv_nxt: SeqNumber(0),
        snd_nxt: SeqNumber(0),
        rcv_wnd: 0,
        ts_recent: 0,
        ts_recent_ms: 0,
        entered_ms: 0,
        last_oow_ms: 0,
        restarts: 0,
        current: Current::closed(),
        flags: TwFlags::empty(),
        rcv_wscale: 0,
        ttl: 64,
        tos: 0,
        hash: id,
        place: Place::None,
    }
}

/// A line, its wheel, and what has to be true of them: who goes when.
struct Rig {
    line: Line<Ipv4Addr>,
    wheel: Wheel,
    now: Instant,
    model: BTreeMap<Key, Instant>,
}

impl Rig {
    fn new(now: Instant) -> Self {
        Self { line: Line::new(), wheel: Wheel::new(now), now, model: BTreeMap::new() }
    }

    fn let_end(&mut self, key: Key, after: Duration) {
        let ends = self.now + after;
        self.line.let_end(&mut self.wheel, self.now, key, key.to_u64(), ends);
        let rounded = Instant::from_millis(ends.as_nanos().div_ceil(TICK_NANOS));
        self.model.insert(key, rounded);
    }

    fn enter(&mut self, id: u32, after: Duration) {
        let key = self.line.insert(record(id));
        self.let_end(key, after);
    }

    fn end(&mut self, key: Key) {
        let id = self.line.get(key).map(|record| record.id);
        let hash = self.line.end(&mut self.wheel, self.now, key, |_| {});
        assert!(hash.is_some() && hash == id);
        assert!(self.model.remove(&key).is_some());
    }

    /// Lets all go whose time has come, and compares.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some(key) = self.line.first_due(self.now) {
            self.end(key);
        }
        while let Some(bits) = self.wheel.pop_expired(self.now) {
            let key = Key::from_u64(bits).unwrap();
            self.line.timer_fired(key);
            self.end(key);
        }
        assert!(self.model.values().all(|ends| *ends > self.now), "all that were due have gone");
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.line.len(), self.model.len());
        for (key, ends) in &self.model {
            let place = self.line.get(*key).unwrap().place;
            assert_eq!(place.ends(self.now, &self.wheel), Some(*ends));
        }
        let earliest = self.model.values().min();
        let told = self.line.due().into_iter().chain(self.wheel.next_deadline()).min();
        assert!(told <= earliest.copied() || earliest.is_none());
        assert_eq!(told.is_some(), earliest.is_some());
    }
}

proptest! {
    #[test]
    fn each_record_goes_in_its_own_millisecond(
        start in 0u64..10_000_000_000,
        steps in proptest::collection::vec((0u32..7, 0u64..200, 0usize..50), 0..120),
    ) {
        let mut rig = Rig::new(Instant::from_millis(start));
        for (id, (what, time, nth)) in (0u32..).zip(steps) {
            let keys: Vec<Key> = rig.model.keys().copied().collect();
            match (what, keys.get(nth % keys.len().max(1))) {
                (0 | 1, _) => rig.enter(id, Duration::from_millis(100)),
                (2, _) => rig.enter(id, Duration::from_micros(time * 777)),
                (3, Some(key)) => rig.let_end(*key, Duration::from_millis(100)),
                (4, Some(key)) => rig.end(*key),
                _ => rig.pass(Duration::from_micros(time * 333)),
            }
            rig.check();
        }
        rig.pass(Duration::from_secs(1));
        prop_assert_eq!(rig.line.len(), 0);
    }
}

#[test]
fn equal_lives_need_no_timer_and_go_in_order() {
    let mut rig = Rig::new(Instant::from_secs(5_000_000));
    for id in 0..100 {
        rig.enter(id, Duration::from_secs(60));
        rig.now += Duration::from_millis(7);
    }
    assert_eq!(rig.wheel.next_deadline(), None);
    rig.now += Duration::from_secs(60);
    for id in 0..100 {
        let key = rig.line.first_due(rig.now).unwrap();
        assert_eq!(rig.line.get(key).unwrap().id, id);
        rig.end(key);
    }
}

#[test]
fn life_too_long_for_the_line_has_a_timer() {
    let mut rig = Rig::new(Instant::from_secs(1));
    rig.enter(0, LONGEST + Duration::from_millis(1));
    assert_eq!((rig.line.due(), rig.wheel.next_deadline().is_some()), (None, true));
    rig.enter(1, LONGEST);
    rig.check();
    rig.pass(LONGEST);
    assert_eq!(rig.line.len(), 1);
}

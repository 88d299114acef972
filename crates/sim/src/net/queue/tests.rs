//! CoDel by itself, step by step as RFC 8289 has it.

use super::Queue;
use crate::scenario::QueueSpec;
use lastack_core::Instant;
use std::time::Duration;

fn codel(ecn: bool) -> Queue {
    Queue::new(Some(QueueSpec::CoDel { target: None, interval: None, packets: None, ecn }))
}

/// A packet that is ECN-capable, or not.
fn packet(capable: bool) -> Vec<u8> {
    let mut bytes = vec![0; 1000];
    bytes[0] = 0x45;
    bytes[1] = if capable { 2 } else { 0 };
    bytes
}

/// Packets wait for 50 ms each, and one leaves each 10 ms; gives the times in ms at which packets were dropped, and marks.
fn standing(queue: &mut Queue, capable: bool, time: u64) -> (Vec<u64>, u64) {
    let mut drops = Vec::new();
    for now in (0..time).step_by(10) {
        let at = Instant::from_millis(now);
        queue.push(at, packet(capable)).expect("room");
        if now >= 50 {
            let mut dropped = Vec::new();
            queue.pop(at, &mut dropped);
            for _ in dropped {
                drops.push(now);
                // Whoever is dropped is replaced, so that the queue stands.
                queue.push(Instant::from_millis(now - 50), packet(capable)).expect("room");
            }
        }
    }
    (drops, queue.tally.marked)
}

#[test]
fn codel_drops_after_an_interval_and_then_ever_more_often() {
    let (drops, _) = standing(&mut codel(false), false, 1000);
    // Too long since 50 ms, so an interval later the first; then 100 / sqrt(1, 2, 3 ...) ms later each.
    assert_eq!(drops[0], 150);
    assert_eq!(drops[1], 250);
    let gaps: Vec<_> = drops.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.is_sorted_by(|a, b| a + 10 >= *b) && gaps.last() < Some(&50), "{drops:?}");
}

#[test]
fn codel_marks_those_who_understand_it_and_drops_none_of_them() {
    let (drops, marked) = standing(&mut codel(true), true, 1000);
    assert!(drops.is_empty() && marked > 10, "{drops:?}, {marked} marked");
    let (drops, marked) = standing(&mut codel(true), false, 1000);
    assert!(!drops.is_empty() && marked == 0, "{drops:?}, {marked} marked");
}

#[test]
fn a_queue_that_empties_has_no_past() {
    let mut queue = codel(false);
    standing(&mut queue, false, 1000);
    let mut dropped = Vec::new();
    let end = Instant::from_millis(1000);
    while queue.pop(end, &mut dropped).is_some() {}
    dropped.clear();
    queue.push(end, packet(false)).expect("room");
    queue.push(end, packet(false)).expect("room");
    queue.push(end, packet(false)).expect("room");
    assert!(queue.pop(end + Duration::from_millis(50), &mut dropped).is_some());
    assert!(dropped.is_empty());
}

#[test]
fn drop_tail_marks_above_its_threshold() {
    let spec = QueueSpec::DropTail { packets: Some(100), bytes: None, mark_above: Some(20) };
    let mut queue = Queue::new(Some(spec));
    for _ in 0..30 {
        queue.push(Instant::ZERO, packet(true)).expect("room");
    }
    assert_eq!(queue.tally.marked, 10);
}

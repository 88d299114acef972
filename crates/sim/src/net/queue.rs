//! Where packets wait for their turn on a link: drop-tail, and CoDel (RFC 8289).

use super::edit;
use crate::scenario::QueueSpec;
use crate::units::{Size, Time};
use lastack_core::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Packets that may wait where a scenario says nothing else (Linux's `txqueuelen`).
const PACKETS: u32 = 1000;
/// RFC 8289 4.4.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);
/// Below so many bytes the queue is no standing queue (RFC 8289 4.2: one MTU).
const NO_QUEUE: u64 = 1514;

/// A packet that waits.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    bytes: Vec<u8>,
}

/// What a queue did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// ECN marks.
    pub marked: u64,
    /// Most packets that waited at once.
    pub most: u32,
    /// Longest wait of a packet that left.
    pub longest: Duration,
    /// All waits together, in nanoseconds.
    pub waited: u128,
    /// Packets that left.
    pub left: u64,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    most_packets: u32,
    most_bytes: u64,
    mark_above: Option<u32>,
    codel: Option<CoDel>,
    pub(crate) tally: Tally,
}

impl Queue {
    pub(crate) fn new(spec: Option<QueueSpec>) -> Self {
        let mut queue = Self {
            waiting: VecDeque::new(),
            bytes: 0,
            most_packets: PACKETS,
            most_bytes: u64::MAX,
            mark_above: None,
            codel: None,
            tally: Tally::default(),
        };
        match spec {
            None => {}
            Some(QueueSpec::DropTail { packets, bytes, mark_above }) => {
                queue.most_bytes = bytes.map_or(u64::MAX, |Size(bytes)| bytes);
                let otherwise = if bytes.is_some() { u32::MAX } else { PACKETS };
                queue.most_packets = packets.unwrap_or(otherwise);
                queue.mark_above = mark_above;
            }
            Some(QueueSpec::CoDel { target, interval, packets, ecn }) => {
                queue.most_packets = packets.unwrap_or(PACKETS);
                queue.codel = Some(CoDel {
                    target: target.map_or(TARGET, |Time(target)| target),
                    interval: interval.map_or(INTERVAL, |Time(interval)| interval),
                    ecn,
                    first_above: None,
                    drop_next: Instant::ZERO,
                    count: 0,
                    last_count: 0,
                    dropping: false,
                });
            }
        }
        queue
    }

    /// It was asked to mark packets.
    pub(crate) fn marks(&self) -> bool {
        self.mark_above.is_some() || self.codel.is_some_and(|codel| codel.ecn)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a packet in, or gives it back because there is no room.
    pub(crate) fn push(&mut self, now: Instant, mut packet: Vec<u8>) -> Result<(), Vec<u8>> {
        let len = packet.len() as u64;
        let waiting = self.waiting.len() as u32;
        if waiting >= self.most_packets || self.bytes + len > self.most_bytes {
            return Err(packet);
        }
        if self.mark_above.is_some_and(|above| waiting >= above) && edit::mark_congestion(&mut packet) {
            self.tally.marked += 1;
        }
        self.bytes += len;
        self.waiting.push_back(Waiting { since: now, bytes: packet });
        self.tally.most = self.tally.most.max(waiting + 1);
        Ok(())
    }

    /// The next packet whose turn it is; what CoDel drops goes to `dropped`.
    pub(crate) fn pop(&mut self, now: Instant, dropped: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(mut codel) = self.codel.take() else { return Some(self.shift(now)?.bytes) };
        let packet = codel.pop(self, now, dropped);
        self.codel = Some(codel);
        packet
    }

    fn shift(&mut self, now: Instant) -> Option<Waiting> {
        let packet = self.waiting.pop_front()?;
        self.bytes -= packet.bytes.len() as u64;
        let wait = now - packet.since;
        self.tally.longest = self.tally.longest.max(wait);
        self.tally.waited += wait.as_nanos();
        self.tally.left += 1;
        Some(packet)
    }
}

/// The state of RFC 8289 5.
#[derive(Clone, Copy, Debug)]
struct CoDel {
    target: Duration,
    interval: Duration,
    ecn: bool,
    /// When the wait will have been too long for an interval.
    first_above: Option<Instant>,
    drop_next: Instant,
    /// Drops since this state of dropping began.
    count: u64,
    /// `count` when it began.
    last_count: u64,
    dropping: bool,
}

impl CoDel {
    fn pop(&mut self, queue: &mut Queue, now: Instant, dropped: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
        let (mut packet, mut too_long) = self.look(queue, now)?;
        if self.dropping {
            if !too_long {
                self.dropping = false;
            }
            while self.dropping && now >= self.drop_next {
                self.count += 1;
                if self.mark(queue, &mut packet) {
                    self.drop_next = self.law(self.drop_next);
                    return Some(packet);
                }
                dropped.push(packet);
                let Some(next) = self.look(queue, now) else {
                    self.dropping = false;
                    return None;
                };
                (packet, too_long) = next;
                if too_long {
                    self.drop_next = self.law(self.drop_next);
                } else {
                    self.dropping = false;
                }
            }
        } else if too_long {
            let marked = self.mark(queue, &mut packet);
            self.begin(now);
            if !marked {
                dropped.push(packet);
                // RFC 8289 5.4: the next one leaves whatever its wait.
                packet = self.look(queue, now)?.0;
            }
        }
        Some(packet)
    }

    /// Starts to drop. Soon after the last time it goes on at the rate that was found then.
    fn begin(&mut self, now: Instant) {
        self.dropping = true;
        let delta = self.count.saturating_sub(self.last_count);
        let recent = now.saturating_since(self.drop_next) < self.interval * 16;
        self.count = if delta > 1 && recent { delta } else { 1 };
        self.drop_next = self.law(now);
        self.last_count = self.count;
    }

    /// The next packet, and whether waits have been too long for an interval.
    fn look(&mut self, queue: &mut Queue, now: Instant) -> Option<(Vec<u8>, bool)> {
        let Some(packet) = queue.shift(now) else {
            self.first_above = None;
            return None;
        };
        if now - packet.since < self.target || queue.bytes <= NO_QUEUE {
            self.first_above = None;
            return Some((packet.bytes, false));
        }
        let first = *self.first_above.get_or_insert(now + self.interval);
        Some((packet.bytes, now >= first))
    }

    fn mark(&self, queue: &mut Queue, packet: &mut [u8]) -> bool {
        let marked = self.ecn && edit::mark_congestion(packet);
        queue.tally.marked += u64::from(marked);
        marked
    }

    /// `t + interval / sqrt(count)`, in whole numbers, so that every machine computes the same.
    fn law(&self, t: Instant) -> Instant {
        let root = (self.count.min(u64::from(u32::MAX)) << 32).isqrt();
        let nanos = (self.interval.as_nanos() << 16) / u128::from(root.max(1));
        t + Duration::from_nanos(nanos as u64)
    }
}

#[cfg(test)]
mod tests;

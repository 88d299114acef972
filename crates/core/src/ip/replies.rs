//! Whole packets that answer others and wait for the device.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// A bounded queue of packets with finished checksums.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    queue: VecDeque<Vec<u8>>,
    limit: usize,
    dropped: u64,
}

impl Replies {
    /// At most `limit` packets wait.
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), limit, dropped: 0 }
    }

    /// Queues a packet; beyond the limit it is dropped and counted.
    pub(crate) fn push(&mut self, packet: Vec<u8>) {
        if self.queue.len() >= self.limit {
            self.dropped = self.dropped.wrapping_add(1);
        } else {
            self.queue.push_back(packet);
        }
    }

    /// The packet that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.queue.pop_front()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets dropped because of the limit since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        core::mem::take(&mut self.dropped)
    }

    /// The packets that wait.
    pub(crate) fn fingerprint(&self, h: &mut impl Hasher) {
        self.queue.hash(h);
    }
}

//! A link inside the process: two ends, a bounded queue in each direction.
//!
//! What one end sends arrives at the other with its meta, exactly as between two virtio ends: a packet with a partial
//! checksum or of several segments crosses as it is, if the receiving end's own capabilities say that it handles
//! such packets; else the link finishes checksums and splits.
//!
//! The queues count packets. A full queue is back-pressure: `transmit` does not ask for another packet. Buffers are
//! recycled; each has the size of the largest packet of its direction, so that a direction holds at most
//! `capacity` times that (one split packet may go over it by its own segments).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lastack_wire::{Capabilities, ChecksumState, GsoKind, PacketMeta};

use crate::device::{Device, Fill, Sink, largest_frame};
use crate::split::Segments;
use crate::waker::Waker;

/// Packets a direction holds unless [`pair_with_capacity`] says otherwise.
pub const DEFAULT_CAPACITY: usize = 256;

/// Two ends of a link of [`DEFAULT_CAPACITY`] packets in each direction.
///
/// `caps_a` is what the first end offers to its user and accepts from the link, `caps_b` the second end's.
#[must_use]
pub fn pair(caps_a: Capabilities, caps_b: Capabilities) -> (MemoryDevice, MemoryDevice) {
    pair_with_capacity(caps_a, caps_b, DEFAULT_CAPACITY)
}

/// The same with a capacity in packets for each direction; 0 counts as 1.
#[must_use]
pub fn pair_with_capacity(
    caps_a: Capabilities,
    caps_b: Capabilities,
    capacity: usize,
) -> (MemoryDevice, MemoryDevice) {
    let link = Arc::new(Link {
        state: Mutex::new([Direction::default(), Direction::default()]),
        woken: [Condvar::new(), Condvar::new()],
        capacity: capacity.max(1),
    });
    let end = |side, caps, peer_caps| MemoryDevice {
        link: Arc::clone(&link),
        side,
        caps,
        peer_caps,
        full: false,
        outgoing: VecDeque::new(),
        spare: Vec::new(),
        incoming: VecDeque::new(),
        used: Vec::new(),
        stats: Stats::default(),
    };
    (end(0, caps_a, caps_b), end(1, caps_b, caps_a))
}

/// What an end of the link did not deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets longer than the MTU of either end that no offload covered, or longer than the frame.
    pub too_large: u64,
    /// Packets that did not fit their meta.
    pub malformed: u64,
    /// Packets sent after the other end was dropped.
    pub no_peer: u64,
}

/// One end of a link made by [`pair`].
#[derive(Debug)]
pub struct MemoryDevice {
    link: Arc<Link>,
    side: usize,
    caps: Capabilities,
    peer_caps: Capabilities,
    full: bool,
    /// Filled by this call of `transmit`, not yet on the link. Empty between calls.
    outgoing: VecDeque<Packet>,
    /// Buffers for packets to be sent.
    spare: Vec<Vec<u8>>,
    /// Taken from the link by this call of `receive`. Empty between calls.
    incoming: VecDeque<Packet>,
    /// Buffers to be given back to the sender.
    used: Vec<Vec<u8>>,
    stats: Stats,
}

#[derive(Debug)]
struct Link {
    /// `state[n]` carries what end n sends.
    state: Mutex<[Direction; 2]>,
    /// `woken[n]` ends a wait of end n.
    woken: [Condvar; 2],
    capacity: usize,
}

#[derive(Debug, Default)]
struct Direction {
    queue: VecDeque<Packet>,
    free: Vec<Vec<u8>>,
    /// The end that sends here was woken by its waker.
    sender_woken: bool,
    /// The end that sends here is gone.
    sender_gone: bool,
}

#[derive(Debug)]
struct Packet {
    meta: PacketMeta,
    len: usize,
    /// At least `len` bytes.
    buffer: Vec<u8>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, [Direction; 2]> {
        // Nothing panics while it holds the lock; and the queues are whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryDevice {
    /// What this end did not deliver.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// True if the other end was dropped. What it sent before can still be received.
    #[must_use]
    pub fn peer_gone(&self) -> bool {
        self.link.lock()[1 - self.side].sender_gone
    }

    fn frame(&mut self) -> Vec<u8> {
        let size = largest_frame(&self.caps);
        let mut buffer = self.spare.pop().unwrap_or_default();
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        buffer
    }

    /// Puts a packet that `fill` wrote on the way, split and finished as far as the other end needs it.
    fn stage(&mut self, meta: PacketMeta, len: usize, buffer: Vec<u8>) {
        let Some(packet) = buffer.get(..len) else {
            self.stats.too_large += 1;
            return self.spare.push(buffer);
        };
        let whole = match meta.gso {
            Some(gso) => {
                let limit = match gso.kind {
                    GsoKind::TcpV4 => self.peer_caps.tx_gso_v4,
                    GsoKind::TcpV6 => self.peer_caps.tx_gso_v6,
                };
                len as u64 <= u64::from(limit)
            }
            None => self.peer_caps.tx_checksum || !matches!(meta.checksum, ChecksumState::Partial { .. }),
        };
        let segments = match Segments::new(&meta, packet) {
            Ok(segments) => segments,
            Err(_) => {
                self.stats.malformed += 1;
                return self.spare.push(buffer);
            }
        };
        if segments.len_of(0) > usize::from(self.caps.mtu.min(self.peer_caps.mtu)) {
            self.stats.too_large += 1;
            return self.spare.push(buffer);
        }
        if whole {
            return self.outgoing.push_back(Packet { meta, len, buffer });
        }
        for index in 0..segments.count() {
            let mut frame = self.spare.pop().unwrap_or_default();
            if frame.len() < segments.len_of(index) {
                frame.resize(segments.len_of(index), 0);
            }
            if let Some(len) = segments.write(index, &mut frame) {
                self.outgoing.push_back(Packet { meta: PacketMeta::default(), len, buffer: frame });
            }
        }
        self.spare.push(buffer);
    }

    /// Hands the staged packets over and gives spare buffers back.
    fn flush(&mut self) {
        let mut state = self.link.lock();
        let peer_gone = state[1 - self.side].sender_gone;
        let direction = &mut state[self.side];
        if peer_gone {
            self.stats.no_peer += self.outgoing.len() as u64;
            self.outgoing.clear();
        }
        let any = !self.outgoing.is_empty();
        direction.queue.append(&mut self.outgoing);
        let keep = self.link.capacity.saturating_sub(direction.queue.len());
        direction.free.append(&mut self.spare);
        direction.free.truncate(keep);
        drop(state);
        if any {
            self.link.woken[1 - self.side].notify_one();
        }
    }
}

impl Device for MemoryDevice {
    fn capabilities(&self) -> Capabilities {
        self.caps
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        {
            let mut state = self.link.lock();
            let direction = &mut state[1 - self.side];
            let count = max.min(direction.queue.len());
            self.incoming.extend(direction.queue.drain(..count));
        }
        let count = self.incoming.len();
        if count == 0 {
            return Ok(0);
        }
        while let Some(packet) = self.incoming.pop_front() {
            sink(&packet.meta, &packet.buffer[..packet.len]);
            self.used.push(packet.buffer);
        }
        {
            let mut state = self.link.lock();
            let direction = &mut state[1 - self.side];
            let keep = self.link.capacity.saturating_sub(direction.queue.len());
            direction.free.append(&mut self.used);
            direction.free.truncate(keep);
        }
        self.link.woken[1 - self.side].notify_one();
        Ok(count)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let room = {
            let mut state = self.link.lock();
            let direction = &mut state[self.side];
            self.spare.append(&mut direction.free);
            self.link.capacity.saturating_sub(direction.queue.len())
        };
        let mut sent = 0;
        // Only this end adds to the queue, so the room cannot shrink meanwhile; the lock is not held during `fill`.
        self.full = loop {
            // Dropped packets count too, so that a sender that always has more comes to an end.
            if self.outgoing.len().max(sent) >= room {
                break true;
            }
            let mut frame = self.frame();
            let Some((len, meta)) = fill(&mut frame) else {
                self.spare.push(frame);
                break false;
            };
            sent += 1;
            self.stage(meta, len, frame);
        };
        self.flush();
        Ok(sent)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // A timeout beyond what the clock can say is no timeout.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.link.lock();
        loop {
            let receivable = !state[1 - self.side].queue.is_empty();
            let writable = self.full && state[self.side].queue.len() < self.link.capacity;
            if std::mem::take(&mut state[self.side].sender_woken) || receivable || writable {
                return Ok(());
            }
            let woken = &self.link.woken[self.side];
            state = match deadline {
                None => woken.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(());
                    }
                    woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn waker(&self) -> Waker {
        let link = Arc::clone(&self.link);
        let side = self.side;
        Waker::new(move || {
            link.lock()[side].sender_woken = true;
            link.woken[side].notify_one();
        })
    }

    fn is_full(&self) -> bool {
        self.full
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        state[self.side].sender_gone = true;
        // Nobody will receive these; and a sender that waits for room need not wait any longer.
        state[1 - self.side].queue.clear();
        drop(state);
        self.link.woken[1 - self.side].notify_one();
    }
}

#[cfg(test)]
mod tests;

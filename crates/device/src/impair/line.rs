//! One direction of an impaired link.

use std::collections::BTreeMap;
use std::time::Duration;

use lastack_wire::PacketMeta;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Impairment, Segments, Stats};

/// One direction of an impaired link: the packets under way, ordered by when they arrive. [`Impair`](super::Impair) has two
/// of them; for those who join devices themselves.
pub struct Line {
    pub(super) config: Impairment,
    pub(super) stats: Stats,
    rng: ChaCha8Rng,
    /// By arrival, then by the order they came in.
    under_way: BTreeMap<(Duration, u64), Vec<u8>>,
    /// Counts packets and copies as they come in.
    next_number: u64,
    /// Highest number delivered so far, plus one.
    delivered_up_to: u64,
    /// When the last bit of the last packet leaves the sender.
    line_free: Duration,
    /// Arrival of the last packet that was not held back: jitter keeps the order.
    last_arrival: Duration,
    free: Vec<Vec<u8>>,
    /// Room for one segment, reused.
    frame: Vec<u8>,
}

/// What the dice say of one packet. All are rolled for every packet, so that one probability does not change what
/// another does.
struct Dice {
    loss: f64,
    duplicate: f64,
    corrupt: f64,
    corrupt_at: u64,
    reorder: f64,
    jitter: f64,
}

impl Dice {
    fn roll(rng: &mut ChaCha8Rng) -> Self {
        /// Uniform in 0.0..1.0: the upper 53 bits fit a double exactly.
        fn unit(rng: &mut ChaCha8Rng) -> f64 {
            (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
        }
        Self {
            loss: unit(rng),
            duplicate: unit(rng),
            corrupt: unit(rng),
            corrupt_at: rng.next_u64(),
            reorder: unit(rng),
            jitter: unit(rng),
        }
    }
}

impl Line {
    /// An empty line. `stream` tells lines of one seed apart.
    #[must_use]
    pub fn new(config: Impairment, seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self {
            config,
            stats: Stats::default(),
            rng,
            under_way: BTreeMap::new(),
            next_number: 0,
            delivered_up_to: 0,
            line_free: Duration::ZERO,
            last_arrival: Duration::ZERO,
            free: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// What was done to the packets so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// A packet enters the line at `now`, a reading that never goes back; split to wire size first.
    pub fn offer(&mut self, now: Duration, meta: &PacketMeta, packet: &[u8]) {
        let Ok(segments) = Segments::new(meta, packet) else {
            self.stats.malformed += 1;
            return;
        };
        let mut frame = std::mem::take(&mut self.frame);
        if frame.len() < segments.len_of(0) {
            frame.resize(segments.len_of(0), 0);
        }
        for index in 0..segments.count() {
            if let Some(len) = segments.write(index, &mut frame) {
                self.segment(now, &mut frame[..len]);
            }
        }
        self.frame = frame;
    }

    fn segment(&mut self, now: Duration, packet: &mut [u8]) {
        self.stats.packets += 1;
        let dice = Dice::roll(&mut self.rng);
        if dice.loss < self.config.loss {
            self.stats.lost += 1;
            return;
        }
        if dice.corrupt < self.config.corrupt && !packet.is_empty() {
            self.stats.corrupted += 1;
            let bit = dice.corrupt_at % (packet.len() as u64 * 8);
            packet[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let held_back = dice.reorder < self.config.reorder;
        self.enqueue(now, packet, dice.jitter, held_back);
        if dice.duplicate < self.config.duplicate {
            self.stats.duplicated += 1;
            self.enqueue(now, packet, dice.jitter, false);
        }
    }

    fn enqueue(&mut self, now: Duration, packet: &[u8], jitter: f64, held_back: bool) {
        if self.under_way.len() >= self.config.limit || self.queue_is_full(now, packet.len()) {
            self.stats.overflowed += 1;
            return;
        }
        let left = self.leaves(now, packet.len());
        let mut arrival = left + self.config.delay + self.config.jitter.mul_f64(jitter);
        arrival = arrival.max(self.last_arrival);
        if held_back {
            self.stats.held_back += 1;
            arrival += self.config.reorder_by;
        } else {
            self.last_arrival = arrival;
        }
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.under_way.insert((arrival, self.next_number), buffer);
        self.next_number += 1;
    }

    /// A packet of `len` bytes does not fit behind those that wait for the line.
    fn queue_is_full(&self, now: Duration, len: usize) -> bool {
        let (Some(queue), Some(rate)) = (self.config.queue, self.config.rate) else { return false };
        let waiting = self.line_free.saturating_sub(now).as_nanos() * u128::from(rate) / 8_000_000_000;
        waiting + len as u128 > u128::from(queue)
    }

    /// When the last bit of a packet of `len` bytes leaves the sender, at the configured rate.
    fn leaves(&mut self, now: Duration, len: usize) -> Duration {
        let Some(rate) = self.config.rate.filter(|rate| *rate > 0) else { return now };
        let nanos = (len as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.line_free = self.line_free.max(now).saturating_add(takes);
        self.line_free
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.under_way.first_key_value().map(|((arrival, _), _)| *arrival)
    }

    /// A packet has arrived by `now`.
    #[must_use]
    pub fn has_due(&self, now: Duration) -> bool {
        self.next_due().is_some_and(|arrival| arrival <= now)
    }

    /// Hands the next packet that has arrived by `now` to `take`.
    pub fn pop_due<T>(&mut self, now: Duration, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let first = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, number), packet) = first.remove_entry();
        self.stats.delivered += 1;
        if number < self.delivered_up_to {
            self.stats.reordered += 1;
        }
        self.delivered_up_to = self.delivered_up_to.max(number + 1);
        let taken = take(&packet);
        // No more spare buffers than packets that can be under way.
        if self.free.len() < self.config.limit {
            self.free.push(packet);
        }
        Some(taken)
    }
}

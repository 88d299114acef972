//! A bad network: delay, jitter, rate, loss, reordering, duplication and corruption, seeded.
//!
//! Every decision is a function of the seed, the order of the packets and the readings of the clock, so that a run in
//! virtual time repeats byte for byte. Packets are split to wire size and their checksums finished before the dice
//! are rolled: a fault hits what a wire carries, and corruption is there for a checksum to find.

use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lastack_wire::{Capabilities, PacketMeta};

use crate::clock::Clock;
use crate::device::{Device, Fill, Sink, largest_frame};
use crate::split::Segments;
use crate::waker::Waker;

mod line;

pub use line::Line;

/// What happens to the packets of one direction. The default is a perfect line.
///
/// Probabilities are per wire-sized packet, from 0.0 to 1.0; values outside are taken as the nearer end.
#[derive(Clone, Debug, PartialEq)]
pub struct Impairment {
    /// Time every packet takes.
    pub delay: Duration,
    /// Added to `delay`: uniform from 0 to this. Jitter alone keeps the order.
    pub jitter: Duration,
    /// Bits per second of IP packets; packets queue behind each other. `None` or 0 = unlimited.
    pub rate: Option<u64>,
    /// Probability that a packet vanishes.
    pub loss: f64,
    /// Probability that a packet is held back by `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// How long such a packet is held back.
    pub reorder_by: Duration,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that one bit of a packet, at a random place, is flipped.
    pub corrupt: f64,
    /// Packets that are under way at most; more are dropped.
    pub limit: usize,
    /// Bytes that may wait for the line at `rate`, the packet that would be the next included; more are dropped (a
    /// drop-tail queue). `None` = only `limit` bounds it.
    pub queue: Option<u64>,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            duplicate: 0.0,
            corrupt: 0.0,
            limit: 10_000,
            queue: None,
        }
    }
}

/// What was done to the packets of one direction, in wire-sized packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Came in.
    pub packets: u64,
    /// Went out, copies included.
    pub delivered: u64,
    /// Vanished by `loss`.
    pub lost: u64,
    /// Dropped because `limit` packets were under way, or `queue` bytes waited.
    pub overflowed: u64,
    /// Held back by `reorder`.
    pub held_back: u64,
    /// Delivered after a packet that had come in later: held back with effect.
    pub reordered: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Damaged. A damaged packet that is then dropped by `limit` is counted here too.
    pub corrupted: u64,
    /// Did not fit their meta, and were dropped.
    pub malformed: u64,
}

/// Impairs what passes a device, each direction on its own.
///
/// The sender is never held up: what does not fit is dropped and counted, as in a network. Received packets come out
/// with [`ChecksumState::Complete`](lastack_wire::ChecksumState), whatever the device below vouched for.
pub struct Impair<D> {
    device: D,
    clock: Clock,
    tx: Line,
    rx: Line,
    /// Room for one packet of the sender, reused.
    frame: Vec<u8>,
    /// The device below was full when due packets were to be handed to it.
    tx_blocked: bool,
}

impl<D: Device> Impair<D> {
    /// Impairs `device`: `tx` is for what is sent to it, `rx` for what is received from it.
    pub fn new(device: D, seed: u64, tx: Impairment, rx: Impairment, clock: Clock) -> Self {
        let frame = vec![0; largest_frame(&device.capabilities())];
        let (tx, rx) = (Line::new(tx, seed, 0), Line::new(rx, seed, 1));
        Self { device, clock, tx, rx, frame, tx_blocked: false }
    }

    /// What was done to the packets sent.
    #[must_use]
    pub fn tx_stats(&self) -> Stats {
        self.tx.stats
    }

    /// What was done to the packets received.
    #[must_use]
    pub fn rx_stats(&self) -> Stats {
        self.rx.stats
    }

    /// Changes what happens to packets from now on; those under way keep their fate.
    pub fn set_impairments(&mut self, tx: Impairment, rx: Impairment) {
        self.tx.config = tx;
        self.rx.config = rx;
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Hands the packets that have crossed the line to the device below.
    fn flush(&mut self, now: Duration) -> io::Result<()> {
        if !self.tx.has_due(now) {
            self.tx_blocked = self.device.is_full();
            if self.tx_blocked {
                // The device keeps a packet of its own that it wants to send first.
                self.device.transmit(&mut |_| None)?;
                self.tx_blocked = self.device.is_full();
            }
            return Ok(());
        }
        let Self { device, tx, .. } = self;
        device.transmit(&mut |frame| {
            let len = tx.pop_due(now, |packet| {
                let to = frame.get_mut(..packet.len())?;
                to.copy_from_slice(packet);
                Some(packet.len())
            })??;
            Some((len, PacketMeta::default()))
        })?;
        self.tx_blocked = self.device.is_full();
        Ok(())
    }
}

impl<D: Device> Device for Impair<D> {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let now = (self.clock)();
        self.flush(now)?;
        let rx = &mut self.rx;
        self.device.receive(max, &mut |meta, packet| rx.offer(now, meta, packet))?;
        let mut count = 0;
        while count < max && rx.pop_due(now, |packet| sink(&PacketMeta::default(), packet)).is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Takes at most [`Impairment::limit`] packets in one call, so that a sender that always has more comes back.
    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let now = (self.clock)();
        let mut sent = 0;
        while sent < self.tx.config.limit.max(1) {
            let Some((len, meta)) = fill(&mut self.frame) else { break };
            sent += 1;
            match self.frame.get(..len) {
                Some(packet) => self.tx.offer(now, &meta, packet),
                None => self.tx.stats.malformed += 1,
            }
        }
        self.flush(now)?;
        Ok(sent)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let ready = self.next_ready().map(|at| at.saturating_sub((self.clock)()));
        let timeout = match (timeout, ready) {
            (Some(timeout), Some(ready)) => Some(timeout.min(ready)),
            (timeout, ready) => timeout.or(ready),
        };
        self.device.wait(timeout)
    }

    fn waker(&self) -> Waker {
        self.device.waker()
    }

    #[cfg(unix)]
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.poll_fd()
    }

    /// True while packets that crossed the line wait for the device below. `transmit` takes more all the same.
    fn is_full(&self) -> bool {
        self.tx_blocked
    }

    fn next_ready(&self) -> Option<Duration> {
        // What waits for a full device below is not ready by the clock: the device tells when it takes more.
        let tx = if self.tx_blocked { None } else { self.tx.next_due() };
        [tx, self.rx.next_due(), self.device.next_ready()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;

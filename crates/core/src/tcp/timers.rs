//! The timers of one connection: a small table of deadlines and one node in the wheel.
//!
//! The node lies at or before the earliest deadline. Pushing a deadline back (each ACK does) leaves it where it is; it
//! then fires early once and is put where it belongs.

use crate::slab::Key;
use crate::time::Instant;
use crate::wheel::{TimerId, Wheel};

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timer {
    /// Retransmission of SYN, SYN-ACK, data or FIN; with nothing in flight the zero-window probe (Linux shares one
    /// timer for them too: `icsk_retransmit_timer`).
    Retransmit,
    /// Delayed ACK.
    DelayedAck,
    /// Keep-alive; for an orphan in FIN_WAIT_2 its end (Linux `sk_timer`).
    KeepAlive,
    /// The end of patience: with the owner of a connection in CLOSE_WAIT (`TcpConfig::close_wait_watchdog`), or with the
    /// peer of an orphan, whatever it does (`TcpConfig::orphan_lifetime`).
    Patience,
}

/// What [`Timer::Retransmit`] waits for while something is in flight (Linux `icsk_pending`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Pending {
    /// The retransmission timeout.
    #[default]
    Retransmission,
    /// The tail-loss probe.
    LossProbe,
    /// What was overtaken counts as lost.
    Reordering,
}

/// All timers, in the order in which they are handled when they expire together.
pub(crate) const ALL: [Timer; 4] = [Timer::DelayedAck, Timer::Retransmit, Timer::KeepAlive, Timer::Patience];

/// Deadlines and the wheel node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    deadlines: [Instant; ALL.len()],
    node_at: Instant,
    node: Option<TimerId>,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self { deadlines: [Instant::FAR_FUTURE; ALL.len()], node_at: Instant::FAR_FUTURE, node: None }
    }

    /// When `timer` expires, if it is armed.
    pub(crate) fn deadline(&self, timer: Timer) -> Option<Instant> {
        let at = self.deadlines[timer as usize];
        (at != Instant::FAR_FUTURE).then_some(at)
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.deadline(timer).is_some()
    }

    /// Arms or moves `timer`.
    pub(crate) fn set(&mut self, wheel: &mut Wheel, key: Key, timer: Timer, at: Instant) {
        self.deadlines[timer as usize] = at;
        self.node_by(wheel, key, at);
    }

    /// The node lies at `at` or before.
    fn node_by(&mut self, wheel: &mut Wheel, key: Key, at: Instant) {
        if at >= self.node_at {
            return;
        }
        self.node_at = at;
        match self.node {
            Some(id) => {
                wheel.reschedule(id, at);
            }
            None => self.node = Some(wheel.insert(at, key.to_u64())),
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = Instant::FAR_FUTURE;
    }

    pub(crate) fn clear_all(&mut self, wheel: &mut Wheel) {
        if let Some(id) = self.node {
            wheel.remove(id);
        }
        *self = Self::new();
    }

    /// The wheel popped our node: it is gone.
    pub(crate) fn node_fired(&mut self) {
        self.node = None;
        self.node_at = Instant::FAR_FUTURE;
    }

    /// `timer` is due: disarms it and says so.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.deadlines[timer as usize] <= now;
        if due {
            self.clear(timer);
        }
        due
    }

    /// After handling: puts the node at the earliest deadline left. What was armed meanwhile may lie behind it.
    pub(crate) fn rearm(&mut self, wheel: &mut Wheel, key: Key) {
        let earliest = self.deadlines.iter().copied().min().unwrap_or(Instant::FAR_FUTURE);
        self.node_by(wheel, key, earliest);
    }
}

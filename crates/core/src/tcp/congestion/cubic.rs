//! CUBIC: RFC 9438; Linux `tcp_cubic.c`.
//!
//! Integer arithmetic throughout, so that every machine computes the same: windows in segments, time in milliseconds (in
//! 1024ths of a second on the curve, as in Linux). `C` is 410/1024, the decrease factor 717/1024.
//!
//! Where Linux differs from RFC 9438, and this module with it:
//!
//! - `ssthresh` starts from the window, not from what is in flight (section 4.6).
//! - The window grows by a segment for each `every` that are acknowledged; `every` follows the curve one smallest round
//!   trip ahead, is found anew at most once a millisecond, and is never below 2. It is at most 20 until a first loss tells
//!   how much the path takes.
//! - Slow start ends by classic HyStart, not HyStart++ (section 4.10); [`HyStart`] has both.
//! - An undo (section 4.9) restores window and threshold, not the curve; a timeout forgets the curve.

use super::hystart::{HyStart, Rounds};
use super::{AckSample, Brief, CaState, CongestionControl, CwndEvent, Flow, Origin, Window};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// The decrease factor, times 1024.
const BETA: u64 = 717;
/// `C`, times 1024, in segments and seconds.
const SCALE: u64 = 410;
/// Eighths of a window that let Reno's estimate grow by a segment: 8 (1 + beta) / (3 (1 - beta)), cut to an integer.
const FRIENDLINESS: u64 = 15;
/// Segments per segment of growth while nothing is known of the path.
const MOST_AT_FIRST: u32 = 20;
/// The same window for so long, in milliseconds: the curve is asked again all the same.
const STALE: u32 = 31;
/// Round trips say little about the path right after a reduction, in milliseconds.
const SETTLING: u32 = 1000;

/// The cubic function of the time since the last congestion, no slower than Reno.
#[derive(Clone, Debug)]
pub struct Cubic {
    /// Segments to be acknowledged for one of growth.
    every: u32,
    /// The window before the last reduction; 0 before the first.
    last_max: u32,
    /// The window for which `every` was found, and when, in milliseconds.
    asked_for: u32,
    asked_at: u32,
    /// Where the curve is flat, in segments, and when, in 1024ths of a second after `epoch`.
    origin: u32,
    k: u32,
    /// The smallest round trip, in microseconds; 0 before the first.
    delay_min: u32,
    /// Start of this stage of congestion avoidance in milliseconds; 0 until its first ACK.
    epoch: u32,
    /// Segments acknowledged since Reno's estimate last grew, and the estimate.
    reno_acked: u32,
    reno_cwnd: u32,
    slow_start: Rounds,
}

/// Milliseconds; never 0.
fn millis(now: Instant) -> u32 {
    (now.as_millis() as u32).max(1)
}

impl Cubic {
    /// Before the first acknowledgement, with classic HyStart.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(HyStart::Classic)
    }

    /// Before the first acknowledgement.
    #[must_use]
    pub const fn with(hystart: HyStart) -> Self {
        Cubic {
            every: 0,
            last_max: 0,
            asked_for: 0,
            asked_at: 0,
            origin: 0,
            k: 0,
            delay_min: 0,
            epoch: 0,
            reno_acked: 0,
            reno_cwnd: 0,
            slow_start: Rounds::new(hystart),
        }
    }

    /// The same without what it has learned.
    pub(super) fn fresh(&self) -> Self {
        Cubic { slow_start: self.slow_start.fresh(), ..Cubic::new() }
    }

    /// The start of the stage of congestion avoidance; begins one if none is under way.
    fn epoch(&mut self, now: u32, cwnd: u32, acked: u32) -> u32 {
        if self.epoch == 0 {
            self.epoch = now;
            self.reno_acked = acked;
            self.reno_cwnd = cwnd;
            (self.k, self.origin) = match self.last_max.checked_sub(cwnd) {
                None | Some(0) => (0, cwnd),
                // K^3 = (W_max - cwnd) / C.
                Some(distance) => (cube_root((1 << 40) / SCALE * u64::from(distance)), self.last_max),
            };
        }
        self.epoch
    }

    /// `W_cubic` in segments, a smallest round trip after `t` milliseconds (section 4.2).
    fn target(&self, t: u32) -> u64 {
        let t = (u64::from(t) + u64::from(self.delay_min) / 1000).min(1 << 30) * 1024 / 1000;
        // No further than the curve can be computed: 2^19 / 1024 s from its flat point.
        let offset = t.abs_diff(u64::from(self.k)).min(1 << 19) as u128;
        let delta = (u128::from(SCALE) * offset * offset * offset) >> 40;
        let (delta, origin) = (delta as u64, u64::from(self.origin));
        if t < u64::from(self.k) { origin.saturating_sub(delta) } else { origin.saturating_add(delta) }
    }

    /// Finds how fast the window grows now.
    fn ask(&mut self, now: u32, cwnd: u32, acked: u32) {
        self.reno_acked = self.reno_acked.saturating_add(acked);
        if self.asked_for == cwnd && now.wrapping_sub(self.asked_at) <= STALE {
            return;
        }
        if self.epoch == 0 || now != self.asked_at {
            (self.asked_for, self.asked_at) = (cwnd, now);
            let epoch = self.epoch(now, cwnd, acked);
            let target = u32::try_from(self.target(now.wrapping_sub(epoch))).unwrap_or(u32::MAX);
            self.every = match target.checked_sub(cwnd) {
                None | Some(0) => cwnd.saturating_mul(100),
                Some(distance) => cwnd / distance,
            };
            if self.last_max == 0 {
                self.every = self.every.min(MOST_AT_FIRST);
            }
        }
        self.follow_reno(cwnd);
        self.every = self.every.max(2);
    }

    /// No slower than Reno with CUBIC's decrease factor would be (section 4.3).
    fn follow_reno(&mut self, cwnd: u32) {
        let step = u32::try_from(u64::from(cwnd) * FRIENDLINESS / 8).unwrap_or(u32::MAX).max(1);
        // As many whole steps as are strictly below.
        let steps = self.reno_acked.saturating_sub(1) / step;
        self.reno_acked -= steps * step;
        self.reno_cwnd = self.reno_cwnd.saturating_add(steps);
        if let Some(ahead @ 1..) = self.reno_cwnd.checked_sub(cwnd) {
            self.every = self.every.min(cwnd / ahead);
        }
    }

    /// Gives the round trip in microseconds, if it may be trusted.
    fn note_round_trip(&mut self, now: Instant, rtt: Duration) -> Option<u32> {
        if self.epoch != 0 && millis(now).wrapping_sub(self.epoch) < SETTLING {
            return None;
        }
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        if self.delay_min == 0 || micros < self.delay_min {
            self.delay_min = micros;
        }
        Some(micros)
    }

    /// An acknowledgement (Linux `cubictcp_acked`, `cubictcp_cong_avoid`).
    #[inline]
    pub(super) fn acked(&mut self, window: &mut Window, ack: &Brief) {
        if let Some(rtt) = ack.rtt.and_then(|rtt| self.note_round_trip(ack.now, rtt))
            && !self.slow_start.found
            && window.in_slow_start()
        {
            self.slow_start.sample(window, ack, rtt, self.delay_min);
        }
        if !ack.grows {
            return;
        }
        let mut left = ack.acked;
        if window.in_slow_start() {
            left = self.slow_start.grow(window, ack);
        }
        if left > 0 {
            self.ask(millis(ack.now), window.cwnd, left);
            window.avoid(self.every, left);
        }
    }

    /// Leaves the idle time since `before` out of the age of the epoch (section 4.2: `t` holds no unused time).
    #[inline]
    pub(super) fn leave_out(&mut self, now: Instant, before: Instant) {
        if self.epoch != 0 {
            let age = millis(now).wrapping_sub(self.epoch);
            let idle = u32::try_from(now.millis_since(before)).unwrap_or(u32::MAX).min(age);
            self.epoch = self.epoch.wrapping_add(idle).max(1);
        }
    }

    /// A timeout forgets the curve, and slow start is watched again.
    pub(super) fn entered(&mut self, state: CaState, flow: &Flow) {
        if state == CaState::Loss {
            *self = self.fresh();
            self.slow_start.begin(flow.now, flow.nxt);
        }
    }
}

impl Default for Cubic {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for Cubic {
    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        let grows = ack.may_grow && ack.is_cwnd_limited;
        let Flow { now, una, nxt, is_paced: paced, .. } = ack.flow;
        self.acked(window, &Brief { now, acked: ack.acked, rtt: ack.rtt, grows, una, nxt, paced });
    }

    fn ssthresh(&mut self, window: &Window, _flow: &Flow) -> u32 {
        let cwnd = window.cwnd;
        self.epoch = 0;
        // Fast convergence (section 4.7): (1 + beta) / 2.
        let shrinks = cwnd < self.last_max;
        self.last_max = if shrinks { (u64::from(cwnd) * (1024 + BETA) / 2048) as u32 } else { cwnd };
        ((u64::from(cwnd) * BETA / 1024) as u32).max(2)
    }

    fn on_state(&mut self, _window: &mut Window, state: CaState, flow: &Flow) {
        self.entered(state, flow);
    }

    fn on_event(&mut self, _window: &mut Window, event: CwndEvent, flow: &Flow) {
        if let CwndEvent::TxStart { idle } = event {
            self.leave_out(flow.now, flow.now - idle);
        }
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, origin: &Origin, mut state: &mut dyn Hasher) {
        let Cubic {
            every,
            last_max,
            asked_for,
            asked_at,
            origin: flat,
            k,
            delay_min,
            epoch,
            reno_acked,
            reno_cwnd,
            slow_start,
        } = self;
        let now = millis(origin.now);
        (every, last_max, asked_for, flat, k).hash(&mut state);
        (delay_min, reno_acked, reno_cwnd).hash(&mut state);
        now.wrapping_sub(*asked_at).min(2 * STALE).hash(&mut state);
        (*epoch != 0).then(|| now.wrapping_sub(*epoch)).hash(&mut state);
        slow_start.fingerprint(origin, state);
    }
}

/// The largest integer whose cube is at most `n`.
fn cube_root(n: u64) -> u32 {
    let mut root: u64 = 0;
    // Digit by digit, three bits of `n` for each bit of the root.
    for shift in (0..22).rev().map(|digit| digit * 3) {
        root <<= 1;
        let step = 3 * root * (root + 1) + 1;
        let rest = (n >> shift).saturating_sub(root * root * root);
        if rest >= step {
            root += 1;
        }
    }
    root as u32
}

#[cfg(test)]
mod tests;

//! CUBIC: RFC 9438; Linux `tcp_cubic.c`.
//!
//! Integer arithmetic throughout, so that every machine computes the same: windows in bytes, time in
//! milliseconds. `C` is 0.4 and the decrease factor 0.7.
//!
//! The window curve is the one of the RFC. Linux differs in detail (its Reno-friendly window grows by
//! counted segments, its `ssthresh` starts from the window instead of the bytes in flight); lastack
//! takes the bytes in flight, for which no other guard against an unused large window is needed.
//! Slow start is that of RFC 5681.

use super::{
    AckSample, CongestionContext, CongestionControl, CongestionEvent, MAX_CWND, MAX_MSS, initial_window,
    slow_start, ssthresh_after_idle, window_after_idle, window_after_mss_change,
};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// The curve is cut off this long (1,000 s) before and after its turning point.
const MAX_OFFSET_MS: u64 = 1_000_000;

/// The cubic function of the time since the last congestion, no slower than Reno.
#[derive(Clone, Debug)]
pub struct Cubic {
    mss: u32,
    /// Bytes of growth owed, times `cwnd`: the remainder of the last division.
    cwnd_rest: u32,
    /// The same for `w_est`, times 17 `cwnd`.
    w_est_rest: u64,
    /// When the last acknowledgement came (to leave unused time out of the epoch).
    last_ack: Instant,
    window: Window,
    /// What was before the last event, for an undo.
    before: Option<Window>,
}

/// The variables that an undo restores (RFC 9438 section 4.9.2); windows in bytes.
#[derive(Clone, Copy, Debug)]
struct Window {
    cwnd: u32,
    ssthresh: u32,
    /// `cwnd` before the last reduction.
    cwnd_prior: u32,
    /// The window where the curve is flat; 0 when the next epoch decides it.
    w_max: u32,
    /// Milliseconds from the start of the epoch to the flat point.
    k: u32,
    /// What Reno's window would be.
    w_est: u32,
    /// Start of this stage of congestion avoidance; `None` until its first ACK.
    epoch: Option<Instant>,
}

impl Cubic {
    /// A controller in slow start with the initial window for segments of `mss` bytes.
    #[must_use]
    pub fn new(mss: u32, now: Instant) -> Self {
        let mss = mss.clamp(1, MAX_MSS);
        let window = Window {
            cwnd: initial_window(mss),
            ssthresh: u32::MAX,
            cwnd_prior: 0,
            w_max: 0,
            k: 0,
            w_est: 0,
            epoch: None,
        };
        Cubic { mss, cwnd_rest: 0, w_est_rest: 0, last_ack: now, window, before: None }
    }

    /// The start of the stage of congestion avoidance; begins one if none is under way.
    fn epoch(&mut self, now: Instant) -> Instant {
        let w = &mut self.window;
        if let Some(epoch) = w.epoch {
            return epoch;
        }
        w.epoch = Some(now);
        w.w_est = w.cwnd;
        (self.cwnd_rest, self.w_est_rest) = (0, 0);
        if w.cwnd < w.w_max {
            // K^3 = (w_max - cwnd) / C, in segments and seconds; C = 2/5, and a cubic second is 10^9 ms^3.
            let distance = u64::from(w.w_max - w.cwnd);
            w.k = cube_root(distance * 2_500_000_000 / u64::from(self.mss));
        } else {
            (w.k, w.w_max) = (0, w.cwnd);
        }
        now
    }

    /// `W_cubic(t)` in bytes (section 4.2).
    fn w_cubic(&self, t: Duration) -> u64 {
        let t = u64::try_from(t.as_millis()).unwrap_or(u64::MAX);
        let k = u64::from(self.window.k);
        let offset = t.abs_diff(k).min(MAX_OFFSET_MS);
        // C * offset^3 segments; at most 10^12 * 2^16 * 4 before the last division.
        let distance = offset * offset * offset / 1_000_000 * u64::from(self.mss) * 4 / 10_000;
        let w_max = u64::from(self.window.w_max);
        if t < k { w_max.saturating_sub(distance) } else { w_max.saturating_add(distance) }
    }

    /// Grows the estimate of Reno's window (section 4.3, equation 4).
    fn grow_estimate(&mut self, acked: u32) {
        let w = &mut self.window;
        // alpha = 3 (1 - 0.7) / (1 + 0.7) = 9/17, and 1 once the old window is reached.
        let alpha = if w.w_est >= w.cwnd_prior { 17 } else { 9 };
        let divisor = u64::from(w.cwnd) * 17;
        let owed = self.w_est_rest + u64::from(self.mss) * u64::from(acked) * alpha;
        let grown = u32::try_from(owed / divisor).unwrap_or(MAX_CWND);
        w.w_est = w.w_est.saturating_add(grown).min(MAX_CWND);
        self.w_est_rest = owed % divisor;
    }

    fn congestion_avoidance(&mut self, ack: &AckSample, acked: u32) {
        let epoch = self.epoch(ack.now);
        let t = ack.now - epoch;
        self.grow_estimate(acked);
        let cwnd = u64::from(self.window.cwnd);
        if self.w_cubic(t) < u64::from(self.window.w_est) {
            self.window.cwnd = self.window.cwnd.max(self.window.w_est);
            return;
        }
        let rtt = ack.srtt.or(ack.rtt).unwrap_or_default();
        let target = self.w_cubic(t + rtt).clamp(cwnd, cwnd + cwnd / 2);
        let owed = u64::from(self.cwnd_rest) + (target - cwnd) * u64::from(acked);
        let grown = (owed / cwnd).min(target - cwnd);
        self.cwnd_rest = (owed % cwnd) as u32;
        self.window.cwnd = u32::try_from(cwnd + grown).unwrap_or(MAX_CWND).min(MAX_CWND);
    }

    /// Leaves `idle` out of the age of the epoch (section 4.2: `t` holds no unused time).
    fn skip_time(&mut self, idle: Duration) {
        if let Some(epoch) = self.window.epoch.as_mut() {
            *epoch += idle;
        }
    }

    /// An acknowledgement while the window was not the limit: it grows nothing.
    #[inline]
    pub(super) fn window_unused(&mut self, now: Instant, in_recovery: bool) {
        if !in_recovery && self.window.epoch.is_some() {
            self.skip_time(now - self.last_ack);
        }
        self.last_ack = now;
    }

    fn new_epoch(&mut self) {
        self.window.epoch = None;
    }
}

impl CongestionControl for Cubic {
    fn name(&self) -> &'static str {
        "cubic"
    }

    fn on_ack(&mut self, ack: &AckSample) {
        if !ack.is_cwnd_limited {
            return self.window_unused(ack.now, ack.in_recovery);
        }
        self.last_ack = ack.now;
        if ack.in_recovery {
            return;
        }
        let Window { cwnd, ssthresh, .. } = self.window;
        let mut left = ack.acked;
        if cwnd < ssthresh {
            left = slow_start(&mut self.window.cwnd, ssthresh, left);
        }
        if left > 0 && self.window.cwnd >= ssthresh.min(MAX_CWND) {
            self.congestion_avoidance(ack, left);
        }
    }

    fn on_congestion(&mut self, event: CongestionEvent, context: &CongestionContext) {
        let reduced = (u64::from(context.in_flight) * 7 / 10).min(u64::from(MAX_CWND)) as u32;
        if !context.repeated {
            self.before = Some(self.window);
            let w = &mut self.window;
            w.cwnd_prior = w.cwnd;
            // Fast convergence (section 4.7): (1 + 0.7) / 2 = 17/20.
            w.w_max = if w.cwnd < w.w_max { (u64::from(w.cwnd) * 17 / 20) as u32 } else { w.cwnd };
            w.ssthresh = reduced.max(self.mss.saturating_mul(2));
        }
        self.new_epoch();
        let w = &mut self.window;
        w.cwnd = match event {
            CongestionEvent::Timeout => {
                // The first epoch after a timeout starts flat at its own window (section 4.8).
                w.w_max = 0;
                self.mss
            }
            CongestionEvent::FastRetransmit => w.ssthresh.min(MAX_CWND),
            CongestionEvent::Ecn => reduced.max(self.mss),
        };
    }

    fn on_recovery_exit(&mut self, _now: Instant) {
        self.window.cwnd = self.window.cwnd.min(self.window.ssthresh);
        self.new_epoch();
    }

    fn on_undo(&mut self, _now: Instant) {
        if let Some(before) = self.before.take()
            && self.window.cwnd < self.window.cwnd_prior
        {
            self.window = before;
            (self.cwnd_rest, self.w_est_rest) = (0, 0);
        }
    }

    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration) {
        let w = &mut self.window;
        w.ssthresh = ssthresh_after_idle(w.cwnd, w.ssthresh);
        w.cwnd = window_after_idle(w.cwnd, self.mss, idle, rto);
        (self.cwnd_rest, self.w_est_rest) = (0, 0);
        self.skip_time(now - self.last_ack);
        self.last_ack = now;
    }

    fn on_mss_change(&mut self, mss: u32) {
        let mss = mss.clamp(1, MAX_MSS);
        self.window.cwnd = window_after_mss_change(self.window.cwnd, self.mss, mss);
        self.mss = mss;
        // The curve counts segments: a new one starts at the next ACK.
        self.new_epoch();
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.window.cwnd = cwnd.clamp(1, MAX_CWND);
    }

    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, now: Instant, mut state: &mut dyn Hasher) {
        let Cubic { mss, cwnd_rest, w_est_rest, last_ack, window, before } = self;
        (mss, cwnd_rest, w_est_rest, now - *last_ack).hash(&mut state);
        window.fingerprint(now, state);
        before.is_some().hash(&mut state);
        if let Some(before) = before {
            before.fingerprint(now, state);
        }
    }
}

impl Window {
    fn fingerprint(&self, now: Instant, mut state: &mut dyn Hasher) {
        let Window { cwnd, ssthresh, cwnd_prior, w_max, k, w_est, epoch } = self;
        (cwnd, ssthresh, cwnd_prior, w_max, k, w_est).hash(&mut state);
        // An idle period may have moved the epoch past `now`: then only how far counts.
        epoch.map(|epoch| (now - epoch, epoch - now)).hash(&mut state);
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

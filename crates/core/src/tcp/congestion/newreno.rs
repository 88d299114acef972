//! NewReno: RFC 5681 with RFC 6582; Linux `tcp_cong.c` (`reno`).

use super::{AckSample, CongestionContext, CongestionControl, CongestionEvent, Window};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// Additive increase of a segment a round trip, halving on loss.
#[derive(Clone, Debug, Hash)]
pub struct NewReno {
    window: Window,
}

impl NewReno {
    /// A controller in slow start with the initial window.
    #[must_use]
    pub const fn new() -> Self {
        NewReno { window: Window::new() }
    }
}

impl Default for NewReno {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for NewReno {
    fn name(&self) -> &'static str {
        "newreno"
    }

    fn on_ack(&mut self, ack: &AckSample) {
        if !ack.may_grow || !ack.is_cwnd_limited {
            return;
        }
        let w = &mut self.window;
        let left = if w.in_slow_start() { w.slow_start(ack.acked) } else { ack.acked };
        if left > 0 {
            // A segment for each window that was acknowledged (RFC 5681 section 3.1).
            w.avoid(w.cwnd, left);
        }
    }

    fn on_congestion(&mut self, _event: CongestionEvent, context: &CongestionContext) {
        if !context.repeated {
            self.window.ssthresh = (self.window.cwnd >> 1).max(2);
        }
        self.window.acked = 0;
    }

    fn on_undo(&mut self, cwnd: u32, ssthresh: u32) {
        self.window.undo(cwnd, ssthresh);
    }

    fn on_idle_restart(&mut self, idle: Duration, rto: Duration) {
        self.window.restart(idle, rto);
    }

    fn on_unused_window(&mut self, cwnd: u32) {
        self.window.unused(cwnd);
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.window.set(cwnd);
    }

    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, _now: Instant, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }
}

#[cfg(test)]
mod tests;

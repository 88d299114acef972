//! NewReno: RFC 5681 with RFC 6582; Linux `tcp_cong.c` (`reno`).

use super::{
    AckSample, CongestionContext, CongestionControl, CongestionEvent, MAX_CWND, MAX_MSS, initial_window,
    slow_start, ssthresh_after_idle, window_after_idle, window_after_mss_change,
};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// Additive increase of a segment a round trip, halving on loss.
#[derive(Clone, Debug, Hash)]
pub struct NewReno {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged in congestion avoidance since the window last grew.
    acked: u32,
    /// Window and threshold before the last event, for an undo.
    before: Option<(u32, u32)>,
}

impl NewReno {
    /// A controller in slow start with the initial window for segments of `mss` bytes.
    #[must_use]
    pub fn new(mss: u32) -> Self {
        let mss = mss.clamp(1, MAX_MSS);
        NewReno { mss, cwnd: initial_window(mss), ssthresh: u32::MAX, acked: 0, before: None }
    }

    /// A segment for each window that was acknowledged (RFC 5681 section 3.1, the variant by bytes).
    fn congestion_avoidance(&mut self, acked: u32) {
        self.acked = self.acked.saturating_add(acked);
        while self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss).min(MAX_CWND);
        }
    }
}

impl CongestionControl for NewReno {
    fn name(&self) -> &'static str {
        "newreno"
    }

    fn on_ack(&mut self, ack: &AckSample) {
        if ack.in_recovery || !ack.is_cwnd_limited {
            return;
        }
        let left = if self.cwnd < self.ssthresh {
            slow_start(&mut self.cwnd, self.ssthresh, ack.acked)
        } else {
            ack.acked
        };
        if self.cwnd >= self.ssthresh {
            self.congestion_avoidance(left);
        }
    }

    fn on_congestion(&mut self, event: CongestionEvent, context: &CongestionContext) {
        let reduced = (context.in_flight / 2).min(MAX_CWND);
        if !context.repeated {
            self.before = Some((self.cwnd, self.ssthresh));
            self.ssthresh = reduced.max(self.mss.saturating_mul(2));
        }
        self.acked = 0;
        self.cwnd = match event {
            CongestionEvent::Timeout => self.mss,
            CongestionEvent::FastRetransmit => self.ssthresh.min(MAX_CWND),
            // Marks reduce the window down to one segment (RFC 3168 section 6.1.2).
            CongestionEvent::Ecn => reduced.max(self.mss),
        };
    }

    fn on_recovery_exit(&mut self, _now: Instant) {
        self.cwnd = self.cwnd.min(self.ssthresh);
        self.acked = 0;
    }

    fn on_undo(&mut self, _now: Instant) {
        if let Some((cwnd, ssthresh)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
        }
    }

    fn on_idle_restart(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        self.ssthresh = ssthresh_after_idle(self.cwnd, self.ssthresh);
        self.cwnd = window_after_idle(self.cwnd, self.mss, idle, rto);
        self.acked = 0;
    }

    fn on_mss_change(&mut self, mss: u32) {
        let mss = mss.clamp(1, MAX_MSS);
        self.cwnd = window_after_mss_change(self.cwnd, self.mss, mss);
        self.mss = mss;
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(1, MAX_CWND);
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
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

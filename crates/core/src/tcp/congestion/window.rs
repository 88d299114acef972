//! The congestion window and its threshold, with what every loss-based algorithm does to them.

use super::INITIAL_SEGMENTS;
use core::time::Duration;

/// No window grows beyond this, in segments: more than the 1 GiB that TCP can express (RFC 7323) holds of the smallest.
pub const MAX_CWND: u32 = 1 << 26;

/// Window and threshold, in segments (Linux `snd_cwnd`, `snd_ssthresh`, `snd_cwnd_cnt`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Segments that may be in flight; 1..=[`MAX_CWND`].
    pub cwnd: u32,
    /// Slow-start threshold; `u32::MAX` before the first congestion.
    pub ssthresh: u32,
    /// Segments acknowledged in congestion avoidance since the window last grew.
    pub acked: u32,
}

impl Window {
    /// The initial window: ten segments. RFC 6928 caps it at 14,600 bytes for segments beyond 1,460 bytes;
    /// Linux (`tcp_init_cwnd`) does not.
    pub(crate) const fn new() -> Self {
        Window { cwnd: INITIAL_SEGMENTS, ssthresh: u32::MAX, acked: 0 }
    }

    /// The window is below the threshold.
    #[must_use]
    #[inline]
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start: grows by what was acknowledged, up to the threshold; returns what is left for congestion avoidance
    /// (Linux `tcp_slow_start`).
    #[inline]
    pub fn slow_start(&mut self, acked: u32) -> u32 {
        let room = self.ssthresh.min(MAX_CWND).saturating_sub(self.cwnd);
        let used = acked.min(room);
        self.cwnd += used;
        acked - used
    }

    /// A segment more for each `every` that are acknowledged (Linux `tcp_cong_avoid_ai`).
    pub fn avoid(&mut self, every: u32, acked: u32) {
        let every = every.max(1);
        if self.acked >= every {
            // Credit from a time of slower growth: a segment, not all at once.
            self.acked = 0;
            self.set_cwnd(self.cwnd.saturating_add(1));
        }
        self.acked = self.acked.saturating_add(acked);
        self.set_cwnd(self.cwnd.saturating_add(self.acked / every));
        self.acked %= every;
    }

    /// Sets the window, within its bounds.
    #[inline]
    pub fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(1, MAX_CWND);
    }

    /// The window after `idle`: halved for each `rto` of it, down to the initial one, as Linux does
    /// (`tcp_cwnd_restart`, RFC 2861); RFC 5681 section 4.1 would go to the restart window at once.
    pub(crate) fn restart(&mut self, idle: Duration, rto: Duration, initial: u32) {
        self.ssthresh = self.remembered();
        let floor = initial.min(self.cwnd);
        let periods = idle.as_nanos().saturating_sub(1) / rto.as_nanos().max(1);
        let halvings = u32::try_from(periods).unwrap_or(u32::MAX).min(31);
        self.set_cwnd((self.cwnd >> halvings).max(floor));
    }

    /// The window was not used for an RTO: it becomes `cwnd` (RFC 2861, RFC 7661; Linux
    /// `tcp_cwnd_application_limited`).
    pub(crate) fn unused(&mut self, cwnd: u32) {
        self.ssthresh = self.remembered();
        self.set_cwnd(cwnd);
    }

    /// Three quarters of the window are worth remembering as threshold when it is given up for another reason than loss
    /// (Linux `tcp_current_ssthresh`, outside of a reduction).
    pub(crate) fn remembered(&self) -> u32 {
        self.ssthresh.max((self.cwnd >> 1) + (self.cwnd >> 2))
    }
}

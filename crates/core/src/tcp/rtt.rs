//! Round-trip time and the retransmission timeout: RFC 6298; Linux `tcp_rtt_estimator`,
//! `tcp_set_rto`, `tcp_update_rtt_min`.
//!
//! Where Linux differs from RFC 6298, and this module with it:
//!
//! - The RFC's RTO is `SRTT + max(G, 4 * RTTVAR)`, raised to at least 1 s (rule 2.4). Linux puts a floor
//!   of 200 ms under the variance term instead: `RTO = SRTT + max(200 ms, variance)`.
//! - The RFC smooths RTTVAR with each sample. Linux smooths a mean deviation with each sample, but takes
//!   its *largest* value of a round trip as the variance term; the term follows a rise at once and a
//!   fall by a quarter of the difference once a round trip.
//! - When a sample falls short of SRTT by more than the deviation, the deviation learns from it with an
//!   eighth of the usual weight, so that a falling RTT does not raise the timeout.
//!
//! Karn's rule (no sample from a retransmitted segment without a timestamp) and the back-off of the
//! timeout are the connection's business.

use crate::time::Instant;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// Samples are capped here (268 s), so that eight times a sample fits the fixed-point fields.
const MAX_SAMPLE: u32 = 1 << 28;
/// Timeouts are whole milliseconds, rounded up, as a kernel has them whose jiffy is one (Linux `usecs_to_jiffies`).
const JIFFY: u32 = 1000;
/// Half of the span over which the minimum is taken (Linux `tcp_min_rtt_wlen` is 300 s).
const MIN_RTT_HALF_WINDOW: Duration = Duration::from_secs(150);

/// Bounds of the retransmission timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RttConfig {
    /// RTO before the first sample (RFC 6298 rule 2.1: 1 s).
    pub(crate) initial_rto: Duration,
    /// Floor of the variance term (Linux `tcp_rto_min_us`: 200 ms).
    pub(crate) min_rto: Duration,
    /// Ceiling of the RTO (RFC 6298 rule 2.5 allows 60 s or more; Linux: 120 s).
    pub(crate) max_rto: Duration,
}

impl Default for RttConfig {
    fn default() -> Self {
        RttConfig {
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
        }
    }
}

/// The estimator of one connection. All fields but `round_end` are in microseconds, scaled as noted.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    /// Smoothed RTT, times 8; 0 before the first sample.
    srtt8: u32,
    /// Smoothed mean deviation, times 4.
    deviation4: u32,
    /// Largest `deviation4` of this round trip, at least `min_rto`.
    round_max: u32,
    /// The variance term of the RTO, at least `min_rto`.
    variance: u32,
    initial_rto: u32,
    min_rto: u32,
    max_rto: u32,
    /// Smallest sample since `min_since`, and of the half window before it (`u32::MAX`: none).
    min_now: u32,
    min_before: u32,
    min_since: Instant,
    /// When `snd_una` passes this offset, a round trip is over.
    round_end: u64,
}

fn micros(duration: Duration) -> u32 {
    let micros = duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into());
    u32::try_from(micros).unwrap_or(u32::MAX)
}

impl RttEstimator {
    /// An estimator without a sample.
    pub(crate) fn new(config: &RttConfig) -> Self {
        let min_rto = micros(config.min_rto);
        RttEstimator {
            srtt8: 0,
            deviation4: 0,
            round_max: min_rto,
            variance: 0,
            initial_rto: micros(config.initial_rto),
            min_rto,
            max_rto: micros(config.max_rto),
            min_now: u32::MAX,
            min_before: u32::MAX,
            min_since: Instant::ZERO,
            round_end: 0,
        }
    }

    /// The handshake gave no sample because its SYN was lost: data begins with a timeout of at least `rto` (RFC 6298
    /// rule 5.7; Linux `tcp_init_metrics`).
    pub(crate) fn fall_back(&mut self, rto: Duration) {
        if self.srtt8 == 0 {
            self.initial_rto = self.initial_rto.max(micros(rto));
        }
    }

    /// Takes in a measured round trip, and `least`, the one that counts for the minimum, if any does. `una` and `nxt` are
    /// the stream offsets of the first unacknowledged byte (after the ACK that gave the sample) and of the next byte to
    /// send: they tell the estimator when a round trip is over.
    pub(crate) fn sample(
        &mut self,
        rtt: Duration,
        least: Option<Duration>,
        now: Instant,
        (una, nxt): (u64, u64),
    ) {
        self.sample_micros(micros(rtt), least.map(micros), now, (una, nxt));
    }

    /// As [`RttEstimator::sample`], in microseconds.
    pub(crate) fn sample_micros(
        &mut self,
        rtt: u32,
        least: Option<u32>,
        now: Instant,
        (una, nxt): (u64, u64),
    ) {
        let rtt = rtt.clamp(1, MAX_SAMPLE);
        if let Some(least) = least {
            self.note_minimum(least.clamp(1, MAX_SAMPLE), now);
        }
        if self.srtt8 == 0 {
            self.srtt8 = rtt * 8;
            self.deviation4 = rtt * 2;
            self.variance = self.deviation4.max(self.min_rto);
            self.round_max = self.variance;
            self.round_end = nxt;
            return;
        }
        self.smooth(rtt);
        self.round_max = self.round_max.max(self.deviation4);
        self.variance = self.variance.max(self.round_max);
        if una > self.round_end {
            self.variance -= (self.variance - self.round_max) / 4;
            self.round_end = nxt;
            self.round_max = self.min_rto;
        }
    }

    /// Gains of 1/8 for the mean and 1/4 for the deviation (RFC 6298 rule 2.3).
    fn smooth(&mut self, rtt: u32) {
        let mean = self.srtt8 / 8;
        self.srtt8 = self.srtt8 - mean + rtt;
        let deviation = self.deviation4 / 4;
        let error = rtt.abs_diff(mean);
        if rtt < mean && error > deviation {
            self.deviation4 += (error - deviation) / 8;
        } else {
            self.deviation4 = self.deviation4 - deviation + error;
        }
    }

    /// A minimum over the last 150 to 300 s.
    fn note_minimum(&mut self, rtt: u32, now: Instant) {
        let age = now - self.min_since;
        if age < MIN_RTT_HALF_WINDOW && self.min_now != u32::MAX {
            self.min_now = self.min_now.min(rtt);
            return;
        }
        self.min_before = if age < 2 * MIN_RTT_HALF_WINDOW { self.min_now } else { u32::MAX };
        (self.min_now, self.min_since) = (rtt, now);
    }

    /// The retransmission timeout without back-off.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_millis(self.rto_millis())
    }

    #[inline]
    fn rto_millis(&self) -> u64 {
        let rto = match self.srtt8 {
            0 => self.initial_rto,
            srtt8 => (srtt8 / 8).saturating_add(self.variance),
        };
        u64::from(rto.min(self.max_rto).div_ceil(JIFFY))
    }

    /// [`RttEstimator::rto`] in nanoseconds.
    #[inline]
    pub(crate) fn rto_nanos(&self) -> u64 {
        self.rto_millis() * 1_000_000
    }

    /// The smoothed round-trip time, once there was a sample.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        (self.srtt8 != 0).then(|| Duration::from_micros(u64::from(self.srtt8 / 8)))
    }

    /// The smoothed mean deviation (`tcpi_rttvar` of Linux shows this value).
    pub(crate) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.deviation4 / 4))
    }

    /// The smallest round trip of the last minutes, once there was a sample.
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        let min = self.min_now.min(self.min_before);
        (min != u32::MAX).then(|| Duration::from_micros(u64::from(min)))
    }

    /// The smallest round trip in microseconds; `u32::MAX` before the first sample.
    #[inline]
    pub(crate) fn min_micros(&self) -> u32 {
        self.min_now.min(self.min_before)
    }

    /// The smoothed round trip in microseconds; 0 before the first sample.
    #[inline]
    pub(crate) fn srtt_micros(&self) -> u32 {
        self.srtt8 / 8
    }

    /// Eight times the smoothed round trip, in microseconds; 0 before the first sample.
    #[inline]
    pub(crate) fn srtt8(&self) -> u32 {
        self.srtt8
    }

    /// Feeds the state, relative to `now` and to the offset `una`, to `state`.
    pub(crate) fn fingerprint<H: Hasher + ?Sized>(&self, now: Instant, una: u64, mut state: &mut H) {
        let RttEstimator {
            srtt8,
            deviation4,
            round_max,
            variance,
            initial_rto,
            min_rto,
            max_rto,
            min_now,
            min_before,
            min_since,
            round_end,
        } = self;
        (srtt8, deviation4, round_max, variance).hash(&mut state);
        (initial_rto, min_rto, max_rto, min_now, min_before).hash(&mut state);
        (now - *min_since).min(2 * MIN_RTT_HALF_WINDOW).hash(&mut state);
        round_end.wrapping_sub(una).hash(&mut state);
    }
}

#[cfg(test)]
mod tests;

//! What both versions of BBR measure and compute: rates, products of rate and round trip, acknowledgements that come in lumps.
//!
//! Units as in Linux's `tcp_bbr.c`: a rate is segments per microsecond, times 2^24; a gain is times 256.

use super::{Flow, INITIAL_SEGMENTS};
use crate::tcp::pacing::PACKET_MAX;
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// Binary digits of a rate behind the point.
const BW_SCALE: u32 = 24;
pub(super) const BW_UNIT: u64 = 1 << BW_SCALE;
/// A gain of one.
pub(super) const UNIT: u32 = 256;
/// Pacing stays a little below the estimate, so that queues do not grow.
pub(super) const MARGIN_PERCENT: u64 = 1;
/// Below this rate, in bytes per second, a packet is one segment.
const SLOW: u64 = 1_200_000 / 8;
/// Acknowledgements that come in lumps: the segments after which a measurement begins anew, and what it may add to the
/// window, in microseconds of the rate.
const AGGREGATION_RESET: u32 = 1 << 20;
const AGGREGATION_MAX: u64 = 100_000;

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Segments of `bw` in `time` microseconds.
pub(super) fn segments_in(bw: u64, time: u64) -> u64 {
    ((u128::from(bw) * u128::from(time)) >> BW_SCALE) as u64
}

/// `percent` of the rate, times `gain`.
pub(super) fn bytes_per_second(bw: u64, gain: u32, mss: u32, percent: u64) -> u64 {
    let rate = (u128::from(bw) * u128::from(mss) * u128::from(gain)) >> 8;
    u64::try_from((rate * u128::from(10_000 * percent)) >> BW_SCALE).unwrap_or(u64::MAX)
}

/// The rate to pace at, in bytes per second.
pub(super) fn pacing_rate(bw: u64, gain: u32, flow: &Flow) -> u64 {
    bytes_per_second(bw, gain, flow.mss, 100 - MARGIN_PERCENT).min(flow.max_pacing_rate)
}

/// Segments of the smallest packet at `pacing_rate` bytes per second.
pub(super) fn least_packet(pacing_rate: u64) -> u32 {
    if pacing_rate < SLOW { 1 } else { 2 }
}

/// Segments of a packet at `pacing_rate` bytes per second.
pub(super) fn packet_segments(pacing_rate: u64, mss: u32) -> u32 {
    let bytes = (pacing_rate >> 10).min(PACKET_MAX.into()) as u32;
    (bytes / mss.max(1)).max(least_packet(pacing_rate)).min(0x7f)
}

/// Segments in flight that fill a path of `rtt` microseconds (`u32::MAX`: unknown), times `gain`.
pub(super) fn bdp(bw: u64, rtt: u32, gain: u32) -> u64 {
    if rtt == u32::MAX {
        return INITIAL_SEGMENTS.into();
    }
    let product = (u128::from(bw) * u128::from(rtt) * u128::from(gain)) >> 8;
    u64::try_from(product.div_ceil(u128::from(BW_UNIT))).unwrap_or(u64::MAX)
}

/// The next random number of `state` (SplitMix64).
pub(super) fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// How much more arrives at once than the rate explains.
#[derive(Clone, Debug)]
pub(super) struct Aggregation {
    at: Instant,
    acked: u32,
    /// The most of two spans of round trips, the present one and the one before.
    extra: [u32; 2],
    rounds: u8,
    slot: u8,
}

impl Aggregation {
    pub(super) const fn new(at: Instant) -> Self {
        Self { at, acked: 0, extra: [0; 2], rounds: 0, slot: 0 }
    }

    /// A measurement begins anew.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.at, self.acked) = (now, 0);
    }

    /// `acked` segments were delivered while `bw` was believed in; a span is `span` round trips.
    pub(super) fn update(
        &mut self,
        cwnd: u32,
        (at, acked): (Instant, u32),
        bw: u64,
        (new, span): (bool, u8),
    ) {
        if acked == 0 {
            return;
        }
        if new {
            self.rounds = self.rounds.saturating_add(1);
            if self.rounds >= span {
                self.rounds = 0;
                self.slot ^= 1;
                self.extra[usize::from(self.slot & 1)] = 0;
            }
        }
        let mut expected = segments_in(bw, micros(at - self.at));
        if u64::from(self.acked) <= expected || self.acked.saturating_add(acked) >= AGGREGATION_RESET {
            self.restart(at);
            expected = 0;
        }
        self.acked = self.acked.saturating_add(acked).min(AGGREGATION_RESET - 1);
        let extra = u64::from(self.acked).saturating_sub(expected).min(cwnd.into()) as u32;
        let most = &mut self.extra[usize::from(self.slot & 1)];
        *most = extra.max(*most);
    }

    /// Segments that the window gets for it, at the rate `bw`.
    pub(super) fn room(&self, bw: u64) -> u64 {
        segments_in(bw, AGGREGATION_MAX).min(self.extra[0].max(self.extra[1]).into())
    }

    pub(super) fn fingerprint(&self, now: Instant, mut h: &mut dyn Hasher) {
        let Self { at, acked, extra, rounds, slot } = self;
        (now - *at, acked, extra, rounds, slot).hash(&mut h);
    }
}

//! Reno, with the recovery of NewReno: RFC 5681 with RFC 6582; Linux `tcp_cong.c` (`reno`).

use super::{AckSample, CongestionControl, Flow, Origin, Window};
use alloc::boxed::Box;
use core::hash::Hasher;

/// Additive increase of a segment a round trip, halving on loss. It has no state but the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reno;

impl Reno {
    /// Segments were acknowledged in a window that may grow (Linux `tcp_reno_cong_avoid`).
    #[inline]
    pub(super) fn grow(window: &mut Window, acked: u32) {
        let left = if window.in_slow_start() { window.slow_start(acked) } else { acked };
        if left > 0 {
            // A segment for each window that was acknowledged (RFC 5681 section 3.1).
            window.avoid(window.cwnd, left);
        }
    }
}

impl CongestionControl for Reno {
    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        if ack.may_grow && ack.is_cwnd_limited {
            Self::grow(window, ack.acked);
        }
    }

    fn ssthresh(&mut self, window: &Window, _flow: &Flow) -> u32 {
        (window.cwnd >> 1).max(2)
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(*self)
    }

    fn fingerprint(&self, _origin: &Origin, _state: &mut dyn Hasher) {}
}

#[cfg(test)]
mod tests;

//! When slow start ends without a loss: HyStart as in Linux's CUBIC (Ha and Rhee; `tcp_cubic.c`), or HyStart++ (RFC 9406).
//!
//! HyStart stops at once where acknowledgements arrive in a train that lasts for half a round trip, or where the smallest of
//! the first eight round trips of a window has grown. HyStart++ looks at round trips alone, and then grows by a quarter of
//! the speed for five windows first: if they shrink again, slow start goes on.

use super::{Brief, Origin, Window};
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use lastack_wire::SeqNumber;

/// How CUBIC finds the end of slow start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HyStart {
    /// Only by a loss.
    Off,
    /// As Linux.
    #[default]
    Classic,
    /// RFC 9406, in the first slow start of a connection.
    PlusPlus,
}

/// Windows below this are never too large, in segments (Linux `hystart_low_window`).
const LOW_WINDOW: u32 = 16;
/// Acknowledgements so close are of one train, in microseconds.
const TRAIN_GAP: u32 = 2000;
/// What the sender's own packets take at the most, in microseconds (Linux: less beyond about 2 Gbit/s).
const SEND_DELAY: u32 = 1000;
/// Round trips that are looked at in each window.
const SAMPLES: u8 = 8;
/// Windows of conservative slow start, a segment for so many there, and the most segments that an ACK counts for without
/// pacing (RFC 9406 4.3).
const CSS_ROUNDS: u8 = 5;
const CSS_DIVISOR: u32 = 4;
const ACK_LIMIT: u32 = 8;

/// By how much a round trip has to grow, in microseconds: an eighth, 4 to 16 ms.
fn threshold(rtt: u32) -> u32 {
    (rtt / 8).clamp(4000, 16_000)
}

/// What is known of the present window.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    kind: HyStart,
    /// Slow start has ended that way: nothing more is looked at.
    pub(super) found: bool,
    samples: u8,
    /// Windows of conservative slow start; 0: it is the fast one.
    css_rounds: u8,
    /// The window is over when this is acknowledged.
    end: SeqNumber,
    /// The smallest round trip of this window; `u32::MAX` before the first.
    least: u32,
    /// Classic: when the window began, and when the last acknowledgement of its train came. Otherwise: the smallest round
    /// trip of the window before, and the one that conservative slow start began with. Microseconds.
    first: u32,
    second: u32,
}

fn clock(now: Instant) -> u32 {
    now.as_micros() as u32
}

impl Rounds {
    pub(super) const fn new(kind: HyStart) -> Self {
        let found = matches!(kind, HyStart::Off);
        Rounds {
            kind,
            found,
            samples: 0,
            css_rounds: 0,
            end: SeqNumber(0),
            least: u32::MAX,
            first: u32::MAX,
            second: u32::MAX,
        }
    }

    /// The connection, or the slow start after a timeout, begins: what is sent from now on is a new window.
    pub(super) fn begin(&mut self, now: Instant, nxt: SeqNumber) {
        *self = Self::new(self.kind);
        self.end = nxt;
        if self.kind == HyStart::Classic {
            (self.first, self.second) = (clock(now), clock(now));
        }
    }

    /// There is a window whose end is known.
    fn has_begun(&self) -> bool {
        self.first != u32::MAX || self.kind != HyStart::Classic && self.least != u32::MAX
    }

    /// The same before anything was sent.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.kind)
    }

    /// A round trip of `rtt` microseconds in slow start; the smallest ever is `min`.
    #[inline]
    pub(super) fn sample(&mut self, window: &mut Window, ack: &Brief, rtt: u32, min: u32) {
        match self.kind {
            HyStart::Off => {}
            HyStart::Classic => self.classic(window, ack, rtt, min),
            HyStart::PlusPlus if window.ssthresh == u32::MAX => self.plus_plus(window, ack, rtt),
            HyStart::PlusPlus => {}
        }
    }

    /// Linux `hystart_update`.
    fn classic(&mut self, window: &mut Window, ack: &Brief, rtt: u32, min: u32) {
        let now = clock(ack.now);
        if ack.una.after(self.end) || !self.has_begun() {
            self.begin(ack.now, ack.nxt);
        }
        if window.cwnd < LOW_WINDOW {
            return;
        }
        let mut found = false;
        if now.wrapping_sub(self.second) <= TRAIN_GAP {
            self.second = now;
            // Paced packets leave over the whole round trip anyway.
            let lasts = min.saturating_add(SEND_DELAY) >> u32::from(!ack.paced);
            found = now.wrapping_sub(self.first) > lasts;
        }
        self.least = self.least.min(rtt);
        if self.samples < SAMPLES {
            self.samples += 1;
        } else if self.least > min.saturating_add(threshold(min)) {
            found = true;
        }
        if found {
            self.end_slow_start(window);
        }
    }

    /// RFC 9406 4.2.
    fn plus_plus(&mut self, window: &mut Window, ack: &Brief, rtt: u32) {
        if !self.has_begun() {
            self.end = ack.nxt;
        } else if ack.una.after(self.end) {
            self.end = ack.nxt;
            (self.first, self.least, self.samples) = (self.least, u32::MAX, 0);
            if self.css_rounds > 0 {
                self.css_rounds += 1;
                if self.css_rounds > CSS_ROUNDS {
                    return self.end_slow_start(window);
                }
            }
        }
        self.least = self.least.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < SAMPLES {
            return;
        }
        if self.css_rounds > 0 {
            if self.least < self.second {
                // What queued has drained: it was no sign of a full path.
                (self.css_rounds, self.second) = (0, u32::MAX);
            }
        } else if self.first != u32::MAX && self.least >= self.first.saturating_add(threshold(self.first)) {
            (self.css_rounds, self.second) = (1, self.least);
        }
    }

    fn end_slow_start(&mut self, window: &mut Window) {
        self.found = true;
        window.ssthresh = window.cwnd;
    }

    /// Slow start grows by what was acknowledged; gives what is left for congestion avoidance.
    #[inline]
    pub(super) fn grow(&self, window: &mut Window, ack: &Brief) -> u32 {
        if self.kind != HyStart::PlusPlus || window.ssthresh != u32::MAX {
            return window.slow_start(ack.acked);
        }
        let acked = if ack.paced { ack.acked } else { ack.acked.min(ACK_LIMIT) };
        if self.css_rounds > 0 {
            window.avoid(CSS_DIVISOR, acked);
            return 0;
        }
        window.slow_start(acked)
    }

    pub(super) fn fingerprint(&self, origin: &Origin, mut h: &mut dyn Hasher) {
        let Self { kind, found, samples, css_rounds, end, least, first, second } = self;
        (kind, found).hash(&mut h);
        if *found {
            return;
        }
        (samples, css_rounds, least).hash(&mut h);
        self.has_begun().then(|| (*end - origin.una).max(0)).hash(&mut h);
        if *kind == HyStart::Classic {
            // A train that has stopped does not go on.
            let now = clock(origin.now);
            let age = |at: &u32| now.wrapping_sub(*at).min(1 << 28);
            let goes_on = *first != u32::MAX && age(second) <= TRAIN_GAP;
            (*first == u32::MAX, goes_on.then(|| (age(first), age(second)))).hash(&mut h);
        } else {
            (first, second).hash(&mut h);
        }
    }
}

#[cfg(test)]
mod tests;

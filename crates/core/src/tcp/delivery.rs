//! How fast the network delivers (draft-cheng-iccrg-delivery-rate-estimation; Linux `tcp_rate.c`): each packet carries what
//! had been delivered when it left; its acknowledgement tells how much more has been since, and in what time.
//!
//! Times are microseconds of a clock of 32 bits: what is in flight is younger than the 71 minutes that it counts.

use super::congestion::{Flow, RateSample};
use super::scoreboard::{Sent, SentFlags};
use super::tcb::Tcb;
use crate::ctx::Ctx;
use crate::time::Instant;
use core::time::Duration;

/// What a packet takes along when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When the packet left that was delivered last before.
    first_sent: u32,
    /// When something was delivered last; 0: the packet gives no sample.
    delivered_at: u32,
}

impl Stamp {
    /// Of a packet that gives no sample: the handshake.
    pub(crate) const NONE: Self = Self { first_sent: 0, delivered_at: 0 };

    /// Ages of both times, for a fingerprint.
    pub(crate) fn ages(self, now: Instant) -> (u32, u32) {
        let now = clock(now);
        (now.wrapping_sub(self.first_sent), now.wrapping_sub(self.delivered_at))
    }
}

/// The connection's part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// When the packet left that was delivered last; with nothing in flight, when the flight began.
    first_sent: u32,
    /// When something was delivered last, or the flight began.
    at: u32,
    /// Until so many segments are delivered, samples say how much the application sent, not what the path takes; 0: they
    /// do not (Linux `app_limited`).
    app_limited: u32,
    /// The last sample worth telling: segments, microseconds, and whether the application was the limit.
    rate_segs: u32,
    rate_micros: u32,
    rate_app_limited: bool,
}

impl Delivery {
    pub(crate) const NEW: Self = Self {
        first_sent: 0,
        at: 0,
        app_limited: u32::MAX,
        rate_segs: 0,
        rate_micros: 0,
        rate_app_limited: true,
    };

    /// Whether the application limits the sender.
    #[inline]
    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited != 0
    }

    /// All that behaviour depends on, relative to `now` and `delivered`: the limit, and how old the times are.
    pub(crate) fn relative(&self, now: Instant, delivered: u32) -> (Option<u32>, u32, u32) {
        let limit = self.is_app_limited().then(|| self.app_limited.wrapping_sub(delivered));
        let now = clock(now);
        (limit, now.wrapping_sub(self.first_sent), now.wrapping_sub(self.at))
    }
}

/// Microseconds; never 0.
#[inline]
fn clock(now: Instant) -> u32 {
    (now.as_micros() as u32).max(1)
}

/// What [`Tcb::measure_rate`] found; times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    segs: u32,
    sending: u32,
    acking: u32,
    is_app_limited: bool,
    is_retransmission: bool,
}

impl Measured {
    /// As a congestion control is told of it.
    pub(crate) fn sample(self) -> RateSample {
        let Self { segs, sending, acking, is_app_limited, is_retransmission } = self;
        let micros = |micros: u32| Duration::from_micros(micros.into());
        RateSample {
            delivered: segs,
            interval: micros(sending.max(acking)),
            send_interval: micros(sending),
            ack_interval: micros(acking),
            is_app_limited,
            is_retransmission,
        }
    }
}

impl Tcb {
    /// A packet leaves, for the first time or again (Linux `tcp_rate_skb_sent`).
    #[inline]
    pub(crate) fn stamp(&mut self, now: Instant) -> Stamp {
        if self.packets_out == 0 {
            let now = clock(now);
            (self.delivery.first_sent, self.delivery.at) = (now, now);
        }
        Stamp { first_sent: self.delivery.first_sent, delivered_at: self.delivery.at }
    }

    /// The flag that goes with the stamp.
    #[inline]
    pub(crate) fn stamp_flag(&self) -> SentFlags {
        if self.delivery.is_app_limited() { SentFlags::APP_LIMITED } else { SentFlags::empty() }
    }

    /// The application is about to write, and less than a segment waits although the window has room: what was delivered
    /// up to now, and what is in flight, says nothing about the path (Linux `tcp_rate_check_app_limited`).
    #[inline]
    pub(crate) fn check_app_limited(&mut self) {
        let unsent = self.write_seq() - self.snd_nxt;
        let all_resent = self.loss.as_deref().is_none_or(|board| board.waiting == 0);
        if unsent.max(0).cast_unsigned() < self.effective_mss()
            && self.in_flight() < self.congestion.cwnd()
            && all_resent
        {
            self.limit_by_application();
        }
    }

    /// What is in flight now was less than the path could take.
    pub(crate) fn limit_by_application(&mut self) {
        self.delivery.app_limited = self.stats.delivered.wrapping_add(self.in_flight()).max(1);
    }

    /// An acknowledgement was taken in that delivered `delivered` segments, of which `newest` was sent last: the rate at
    /// which they arrived (Linux `tcp_rate_gen`).
    #[inline]
    pub(crate) fn measure_rate(
        &mut self,
        now: Instant,
        newest: Option<&Sent>,
        delivered: u32,
    ) -> Option<Measured> {
        let total = self.stats.delivered;
        let min_rtt = self.rtt.min_micros();
        let reneged = self.loss.as_deref().is_some_and(|board| board.reneged);
        let rate = &mut self.delivery;
        if rate.app_limited != 0 && (total.wrapping_sub(rate.app_limited) as i32) > 0 {
            rate.app_limited = 0;
        }
        let now = clock(now);
        if delivered > 0 {
            rate.at = now;
        }
        let sent = newest.filter(|sent| sent.stamp.delivered_at != 0)?;
        rate.first_sent = clock(sent.at);
        if reneged {
            return None;
        }
        let sending = rate.first_sent.wrapping_sub(sent.stamp.first_sent);
        let acking = now.wrapping_sub(sent.stamp.delivered_at);
        let interval = sending.max(acking);
        // Shorter than any round trip: acknowledgements that were held back and came at once.
        if interval < min_rtt {
            return None;
        }
        let segs = total.wrapping_sub(sent.delivered);
        let is_app_limited = sent.is(SentFlags::APP_LIMITED);
        let faster =
            u64::from(segs) * u64::from(rate.rate_micros) >= u64::from(rate.rate_segs) * u64::from(interval);
        if !is_app_limited || faster {
            (rate.rate_segs, rate.rate_micros, rate.rate_app_limited) = (segs, interval, is_app_limited);
        }
        let is_retransmission = sent.is(SentFlags::RETRANSMITTED);
        Some(Measured { segs, sending, acking, is_app_limited, is_retransmission })
    }

    /// Bytes per second of the last sample worth telling, and whether the application was the limit (Linux
    /// `tcp_compute_delivery_rate`).
    pub(crate) fn delivery_rate(&self) -> (u64, bool) {
        let Delivery { rate_segs, rate_micros, rate_app_limited, .. } = self.delivery;
        let bytes = u64::from(rate_segs) * u64::from(self.effective_mss()) * 1_000_000;
        (bytes.checked_div(rate_micros.into()).unwrap_or(0), rate_app_limited)
    }

    /// The connection as the congestion control sees it.
    pub(crate) fn flow(&self, cx: &Ctx) -> Flow {
        let age = Duration::from_micros(clock(cx.now).wrapping_sub(self.delivery.at).into());
        let (max_pacing_rate, next_send) =
            self.rare.pacer.as_ref().map_or((u64::MAX, cx.now), |pacer| (pacer.max, pacer.next.max(cx.now)));
        Flow {
            now: cx.now,
            mss: self.effective_mss(),
            una: self.snd_una,
            nxt: self.snd_nxt,
            in_flight: self.in_flight(),
            delivered: self.stats.delivered,
            delivered_ce: self.delivered_ce(),
            delivered_at: cx.now - age,
            lost: self.loss.as_deref().map_or(0, |board| board.lost),
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            state: self.ca_state,
            is_app_limited: self.delivery.is_app_limited(),
            is_paced: self.rare.pacer.is_some(),
            next_send,
            max_pacing_rate,
        }
    }
}

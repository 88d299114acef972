//! Pacing: packets leave at a rate, one after the other, instead of all that the window lets out at once (Linux's internal
//! pacing: `tcp_pacing_check`, `tcp_update_skb_after_send`, `tcp_update_pacing_rate`).
//!
//! A connection is paced if its congestion control asks for it ([`Needs::PACING`]) or a largest rate was set
//! (`SO_MAX_PACING_RATE`). Others have no [`Pacer`], and pay for a null pointer. As with sch_fq no debt is paid back in a
//! burst: time that was not used is lost, but for half of a packet's own time. The first ten segments are not paced.
//!
//! A packet is what Linux would hand to the device as one: about a millisecond of the rate, more to near peers
//! (`tcp_tso_autosize`).

use super::congestion::Needs;
use super::options::Knob;
use super::scoreboard::Probe;
use super::tcb::Tcb;
use crate::ctx::Ctx;
use crate::time::Instant;
use core::time::Duration;

/// The largest packet, in bytes (Linux: 64 KiB less the room for headers).
pub(crate) const PACKET_MAX: u32 = 65_536 - 320 - 1;
/// Segments that leave before the rate counts.
const UNPACED: u32 = 10;
/// Segments of the smallest packet (Linux `tcp_min_tso_segs`).
const PACKET_MIN: u32 = 2;

/// The state of a paced connection.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// Largest rate, in bytes per second; `u64::MAX`: none.
    pub(crate) max: u64,
    /// The rate.
    pub(crate) rate: u64,
    /// When the next packet may leave (Linux `tcp_wstamp_ns`).
    pub(crate) next: Instant,
    /// Bytes left of the packet that is leaving in several segments.
    burst: u32,
    /// Time that passed unused before it, still to be taken into account.
    credit: Duration,
    /// It stands in the list of departures.
    waits: bool,
}

impl Pacer {
    fn new() -> Self {
        Self {
            max: u64::MAX,
            rate: u64::MAX,
            next: Instant::ZERO,
            burst: 0,
            credit: Duration::ZERO,
            waits: false,
        }
    }

    /// What a child inherits of its listener.
    pub(crate) fn inherited(&self) -> Self {
        Self { max: self.max, rate: self.max, ..Self::new() }
    }

    /// All that behaviour depends on, relative to `now`. A credit beyond a second is more than a packet can use.
    pub(crate) fn relative(&self, now: Instant) -> (u64, u64, Duration, Duration, (u32, Duration, bool)) {
        let Self { max, rate, next, burst, credit, waits } = self;
        let second = Duration::from_secs(1);
        (*max, *rate, *next - now, (now - *next).min(second), (*burst, (*credit).min(second), *waits))
    }

    /// `bytes` leave, the connection's `segs`th segments with data.
    fn charge(&mut self, bytes: u32, segs: u32) {
        if self.rate == u64::MAX || self.rate == 0 || segs < UNPACED {
            return;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let used = self.credit.min(time / 2);
        self.credit -= used;
        self.next += time - used;
    }
}

impl Tcb {
    /// The connection is paced from now on.
    pub(crate) fn pacer_mut(&mut self) -> &mut Pacer {
        self.rare.parts().pacer.get_or_insert_with(Pacer::new)
    }

    /// Begins to pace if the congestion control wants it; once begun it goes on, as on Linux.
    pub(crate) fn start_pacing(&mut self, cx: &Ctx) {
        if self.congestion.needs(Needs::PACING) {
            self.pacer_mut();
        }
        self.update_pacing_rate(cx);
    }

    /// `SO_MAX_PACING_RATE`.
    pub(crate) fn set_max_pacing_rate(&mut self, rate: u64) {
        if self.rare.pacer.is_some() || rate != u64::MAX {
            let pacer = self.pacer_mut();
            pacer.max = rate;
            pacer.rate = pacer.rate.min(rate);
        }
    }

    /// Something was acknowledged: the rate follows the window, or the congestion control's wish.
    #[inline]
    pub(crate) fn update_pacing_rate(&mut self, cx: &Ctx) {
        if self.rare.pacer.is_some() {
            let rate = self.congestion.pacing_rate().unwrap_or_else(|| self.window_rate(cx));
            let pacer = self.pacer_mut();
            pacer.rate = rate.min(pacer.max);
        }
    }

    /// Somewhat more than a window in a round trip, so that the window stays the limit: twice as much in slow start, 1.2
    /// times after it (Linux `tcp_update_pacing_rate`). Bytes per second.
    fn window_rate(&self, cx: &Ctx) -> u64 {
        let cwnd = self.congestion.cwnd();
        let slow_start = cwnd < self.congestion.ssthresh() / 2;
        let tcp = &cx.cfg.tcp;
        let percent = if slow_start { tcp.pacing_ss_ratio } else { tcp.pacing_ca_ratio };
        let segments = u64::from(cwnd.max(self.packets_out));
        let window = u128::from(segments * u64::from(self.effective_mss())) * u128::from(percent);
        let rate = window * 80_000 / u128::from(self.rtt.srtt8().max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// The rate that is told: the one in use, or of a connection that is not paced the one it would have.
    pub(crate) fn pacing_rate(&self, cx: &Ctx) -> u64 {
        match self.rare.pacer.as_ref() {
            Some(pacer) => pacer.rate,
            None if self.rtt.srtt8() == 0 => u64::MAX,
            None => self.window_rate(cx),
        }
    }

    /// Segments of one packet: what a millisecond of the rate is worth; near peers get more (Linux `tcp_tso_segs`).
    pub(crate) fn packet_segments(&self, cx: &Ctx, mss: u32) -> u32 {
        let rate = self.pacing_rate(cx);
        let least = self
            .congestion
            .min_packet(rate)
            .unwrap_or_else(|| cx.cfg.tcp.segmentation_model.unwrap_or(PACKET_MIN));
        let near = PACKET_MAX.checked_shr(self.rtt.min_micros() >> 9).unwrap_or(0);
        let bytes = (rate >> 10).saturating_add(near.into()).min(PACKET_MAX.into()) as u32;
        (bytes / mss.max(1)).max(least).max(1)
    }

    /// Whether the next packet has to wait for its time. Then the connection gets a turn when that has come. What a timer
    /// sends again waits for none (Linux `tcp_retransmit_timer`, `tcp_send_loss_probe`).
    #[inline]
    pub(crate) fn pacing_holds(&mut self, cx: &mut Ctx) -> bool {
        if self.rare.pacer.is_none() {
            return false;
        }
        let inside = self.in_burst();
        let by_timer =
            self.loss.as_deref().is_some_and(|board| matches!(board.probe, Probe::First | Probe::Last));
        let key = self.key;
        let pacer = self.pacer_mut();
        if inside || by_timer || pacer.next <= cx.now {
            return false;
        }
        if !pacer.waits {
            pacer.waits = true;
            cx.departures.insert((pacer.next, key));
        }
        true
    }

    /// A packet of several segments is leaving.
    fn in_burst(&self) -> bool {
        if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            self.marks.burst_end.after(self.snd_nxt)
        } else {
            self.rare.pacer.as_ref().is_some_and(|pacer| pacer.burst > 0)
        }
    }

    /// Most bytes of new data that may leave at once.
    #[inline]
    pub(crate) fn paced_burst(&self, cx: &Ctx, mss: u32) -> u32 {
        match self.rare.pacer.as_ref() {
            None => u32::MAX,
            Some(pacer) if pacer.burst >= mss => pacer.burst - pacer.burst % mss.max(1),
            Some(_) => self.packet_segments(cx, mss).saturating_mul(mss),
        }
    }

    /// A piece of `len` bytes has left, counted already; the first of a packet decides when the next packet may.
    pub(crate) fn pace(&mut self, cx: &Ctx, mss: u32, (len, retransmission): (u32, bool)) {
        if self.rare.pacer.is_none() || len == 0 {
            return;
        }
        let modelled = self.knobs.has(Knob::SEGMENTATION_MODEL);
        // Of the model's packets the length is known with the first piece.
        let rest = match self.marks.burst_end - self.snd_nxt {
            rest @ 1.. if modelled && !retransmission => rest.cast_unsigned(),
            _ => 0,
        };
        let packet = self.packet_segments(cx, mss).saturating_mul(mss);
        let segs = self.stats.data_segs_out.saturating_add(rest.div_ceil(mss.max(1)));
        let pacer = self.pacer_mut();
        if pacer.burst == 0 {
            pacer.credit = cx.now - pacer.next;
            pacer.next = pacer.next.max(cx.now);
            if modelled {
                pacer.charge(len + rest, segs);
                pacer.burst = rest;
                return;
            }
            pacer.burst = packet;
        }
        pacer.burst = pacer.burst.saturating_sub(len);
        if !modelled {
            pacer.charge(len, segs);
        }
    }

    /// Nothing more leaves for now: what follows is another packet.
    pub(crate) fn end_paced_burst(&mut self) {
        let modelled = self.knobs.has(Knob::SEGMENTATION_MODEL);
        if let Some(pacer) = self.rare.get(|rare| &mut rare.pacer).filter(|_| !modelled) {
            pacer.burst = 0;
        }
    }

    /// The time has come that the connection was put into the list of departures for.
    pub(crate) fn departs(&mut self, cx: &mut Ctx) {
        if let Some(pacer) = self.rare.get(|rare| &mut rare.pacer) {
            pacer.waits = false;
            cx.want_output(self);
        }
    }
}

#[cfg(test)]
mod tests;

//! The acknowledgement of all that is in flight, where that is one packet and nothing went wrong: what a connection of
//! requests and answers sees nearly always. It does what [`Tcb::tcp_ack`] does in general, without looking for what
//! cannot be.

use super::ack::RTX_KEPT;
use super::congestion::Brief;
use super::ecn::Ecn;
use super::info::Wait;
use super::scoreboard::{CaState, Sent, SentFlags};
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use core::time::Duration;

impl Tcb {
    /// The one packet in flight, if `seg` acknowledges all of it and neither the segment nor the connection needs more
    /// than plain work. The acknowledgement number is known to be acceptable.
    #[inline]
    pub(super) fn lone_flight(&self, seg: &Seg<'_>) -> Option<Sent> {
        let sent = self.rtx.only().filter(|sent| !sent.end.after(seg.ack))?;
        let odd = SentFlags::SACKED | SentFlags::LOST | SentFlags::RETRANSMITTED | SentFlags::BURST_END;
        let plain = self.loss.is_none()
            && self.ca_state == CaState::Open
            && self.is(Is::SACK)
            && (self.snd_wnd > 0 || self.handshake_unacked())
            && !sent.flags.intersects(odd)
            && !sent.start.before(self.snd_una)
            && !self.ecn.intersects(Ecn::ACCURATE | Ecn::CLASSIC)
            && self.congestion.is_plain()
            && self.rare.is_none()
            && seg.options.sack.is_empty();
        plain.then_some(*sent)
    }

    /// Takes in the acknowledgement of [`Tcb::lone_flight`].
    pub(super) fn lone_flight_acked(&mut self, cx: &mut Ctx, seg: &Seg<'_>, sent: &Sent) {
        let advance = seg.ack.distance_from(self.snd_una);
        self.update_send_window(seg);
        self.soft_error = None;
        self.probes_out = 0;
        self.retransmits = 0;
        self.backoff = 0;
        self.snd_una = seg.ack;
        self.recover = seg.ack;
        let syn = sent.start == self.iss && self.snd_buf.start() == 0;
        let segs = u32::from(sent.segs);
        self.stats.delivered = self.stats.delivered.wrapping_add(segs);
        self.rtx.clear_only(RTX_KEPT);
        self.packets_out = 0;
        self.release_acked(cx, seg.ack);

        let rtt = cx.now.micros_since(sent.at);
        if !syn {
            self.rack_rtt = rtt;
        }
        // A lone small segment: its ACK may have been delayed.
        let delayed = !syn
            && segs == 1
            && sent.delivered.wrapping_add(1) == self.stats.delivered
            && advance < self.effective_mss();
        let has_minimum = self.rtt.min_micros() != u32::MAX;
        let least = (!delayed || has_minimum && rtt < self.rtt.min_micros()).then_some(rtt);
        let una = self.snd_buf.start();
        self.rtt.sample_micros(rtt, least, cx.now, (una, una + u64::from(self.outstanding())));

        self.timers.clear(Timer::Retransmit);
        self.pending = Pending::Retransmission;
        self.measure_rate(cx.now, Some(sent), segs);
        if !syn {
            self.window_is_fresh(cx);
        }
        let brief = Brief {
            now: cx.now,
            acked: segs,
            rtt: Some(Duration::from_micros(rtt.into())),
            grows: !syn && self.is_cwnd_limited(),
            una: self.snd_una,
            nxt: self.snd_nxt,
            paced: false,
        };
        self.congestion.on_plain_ack(&brief);
        if !self.has_unsent() {
            self.stats.chrono.enter(cx.now, Wait::Nothing);
        } else if self.snd_wnd == 0 {
            self.arm_probe(cx);
        }
        self.signal_space(cx);
    }
}

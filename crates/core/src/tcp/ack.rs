//! Acknowledgements: what they free, what they measure, what they tell of loss (RFC 9293 3.10.7.4 step five, RFC 5681,
//! RFC 6582; Linux `tcp_ack`).

use super::congestion::{AckSample, CongestionContext, CongestionControl as _, CongestionEvent};
use super::info::Wait;
use super::segment::Seg;
use super::tcb::{Is, Recovery, SentFlags, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::event::Ready;
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

/// Duplicate ACKs that stand for a loss (RFC 5681 2).
const DUP_THRESH: u16 = 3;

/// A retransmission queue that runs empty keeps memory for so many entries at the most.
const RTX_KEPT: usize = 16;

/// What an acknowledgement number was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckResult {
    /// In [SND.UNA, SND.NXT]: used.
    Accepted,
    /// Below SND.UNA by no more than the largest window: a late segment; its text is still good.
    Old,
    /// Below SND.UNA - MAX.SND.WND (RFC 5961 5.2): blind injection, or very late.
    TooOld,
    /// Beyond SND.NXT: acknowledges what was never sent.
    Unsent,
}

impl Tcb {
    /// Takes in the acknowledgement and the window of a segment.
    pub(crate) fn tcp_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> AckResult {
        let prior_una = self.snd_una;
        if seg.ack.before(prior_una) {
            let bound = self.max_window.min(u32::try_from(self.stats.bytes_acked).unwrap_or(u32::MAX));
            return if seg.ack.before(prior_una - bound) { AckResult::TooOld } else { AckResult::Old };
        }
        if seg.ack.after(self.snd_nxt) {
            return AckResult::Unsent;
        }
        self.update_ts_recent(cx, seg);
        let was_shut = self.snd_wnd == 0;
        let window_changed = self.update_send_window(seg);
        if was_shut && self.snd_wnd > 0 {
            self.window_reopened(cx);
        }
        self.soft_error = None;
        self.probes_out = 0;
        self.probes_since = None;
        if self.rtx.is_empty() && seg.ack == prior_una {
            self.window_probe_answered(cx);
        } else if seg.ack.after(prior_una) {
            self.new_ack(cx, seg, prior_una);
        } else {
            self.consider_duplicate(cx, seg, window_changed);
        }
        if self.has_unsent() || self.rtx_next.before(self.rtx_until) {
            cx.want_output(self);
        }
        AckResult::Accepted
    }

    /// SND.WND follows the newest segment (RFC 9293 3.10.7.4; Linux `tcp_may_update_window`). True if it changed.
    fn update_send_window(&mut self, seg: &Seg<'_>) -> bool {
        let shift = if self.is(Is::SCALED) && !seg.flags.contains(Flags::SYN) { self.snd_wscale } else { 0 };
        let window = u32::from(seg.window) << shift;
        let newer = seg.ack.after(self.snd_una)
            || seg.seq.after(self.snd_wl1)
            || (seg.seq == self.snd_wl1 && (window > self.snd_wnd || window == 0));
        if !newer {
            return false;
        }
        self.snd_wl1 = seg.seq;
        let changed = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_window = self.max_window.max(window);
        changed
    }

    /// The window was shut over what is in flight, and opens: what was sent again meanwhile were probes, so back-off and
    /// patience begin anew. Not for an orphan, which a peer could keep that way.
    fn window_reopened(&mut self, cx: &mut Ctx) {
        if !self.rtx.is_empty() && !self.is_orphan() && !self.handshake_unacked() {
            self.retrans_stamp = None;
            self.backoff = 0;
            self.arm_rto(cx);
        }
    }

    /// Nothing is in flight: the window may have opened (Linux `tcp_ack_probe`).
    fn window_probe_answered(&mut self, cx: &mut Ctx) {
        if !self.has_unsent() {
            return;
        }
        let next = self.snd_nxt + u32::from(self.mss).min(self.write_seq().distance_from(self.snd_nxt));
        if !next.after(self.window_end()) {
            self.backoff = 0;
            self.timers.clear(Timer::Retransmit);
        } else {
            self.arm_probe(cx);
        }
    }

    /// SND.UNA moves.
    fn new_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>, prior_una: SeqNumber) {
        let in_flight = self.outstanding();
        let acked = seg.ack.distance_from(prior_una);
        self.snd_una = seg.ack;
        self.retransmits = 0;
        // Progress: patience (R2, the user timeout) counts from the next loss on.
        self.retrans_stamp = None;
        let sample = self.clean_rtx_queue(cx, seg);
        let data_end = self.snd_seq(self.snd_buf.end());
        let acked_data = seg.ack.min(data_end);
        if acked_data.after(self.snd_seq(self.snd_buf.start())) {
            let offset = self.snd_offset(acked_data);
            self.stats.bytes_acked += offset - self.snd_buf.start();
            self.snd_buf.release(&mut cx.pool, offset);
        }
        if let Some(rtt) = sample {
            let (una, nxt) = self.stream_position();
            self.rtt.sample(rtt, cx.now, una, nxt);
            self.backoff = 0;
        }
        let was_fast = self.recovery == Recovery::Fast;
        self.recovery_progress(cx, acked);
        let (limited, now) = (self.is(Is::CWND_LIMITED), cx.now);
        self.congestion.on_ack_with((now, limited, was_fast), || AckSample {
            now,
            acked,
            rtt: sample,
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            in_flight,
            is_cwnd_limited: limited,
            in_recovery: was_fast,
            delivered: None,
            delivery_rate: None,
            is_app_limited: false,
        });
        if self.rtx.is_empty() {
            self.timers.clear(Timer::Retransmit);
            if self.has_unsent() && self.snd_wnd == 0 {
                self.arm_probe(cx);
            } else if !self.has_unsent() {
                self.stats.chrono.enter(cx.now, Wait::Nothing);
            }
        } else {
            self.arm_rto(cx);
        }
        self.signal_space(cx);
    }

    /// Drops what is acknowledged from the retransmission queue; gives the round-trip sample, if there is one
    /// (RFC 6298 3: not from what was retransmitted, unless timestamps tell the transmissions apart, RFC 7323 4.1).
    fn clean_rtx_queue(&mut self, cx: &Ctx, seg: &Seg<'_>) -> Option<Duration> {
        let mut oldest = None;
        let mut ambiguous = false;
        while let Some(sent) = self.rtx.front_mut().filter(|sent| self.snd_una.after(sent.start)) {
            ambiguous |= sent.flags.contains(SentFlags::RETRANSMITTED);
            oldest.get_or_insert(sent.at);
            if sent.end.after(self.snd_una) {
                sent.start = self.snd_una;
                break;
            }
            if sent.flags.contains(SentFlags::BURST_END) {
                self.marks.bursts = self.marks.bursts.saturating_sub(1);
            }
            self.rtx.pop_front();
            self.stats.delivered = self.stats.delivered.wrapping_add(1);
        }
        if self.rtx.is_empty() {
            self.rtx.shrink_idle(RTX_KEPT);
        }
        if !ambiguous && let Some(at) = oldest {
            return Some(cx.now - at);
        }
        match seg.options.timestamps {
            Some((_, echo)) if self.is(Is::TIMESTAMPS) && echo != 0 => {
                let elapsed = self.ts_now(cx.now).wrapping_sub(echo);
                // An echo from the future, or older than any segment can be, is no sample.
                (elapsed < 1 << 20).then(|| Duration::from_millis(elapsed.max(1).into()))
            }
            _ => None,
        }
    }

    /// Offsets of SND.UNA and SND.NXT in the send stream, for the estimator's notion of a round trip.
    fn stream_position(&self) -> (u64, u64) {
        let una = self.snd_buf.start();
        (una, una + u64::from(self.outstanding()))
    }

    /// Where recovery stands after SND.UNA moved by `acked` (RFC 6582 3.2).
    fn recovery_progress(&mut self, cx: &mut Ctx, acked: u32) {
        self.dup_acks = 0;
        let mss = self.segment_payload();
        match self.recovery {
            // These numbers follow SND.UNA, lest they seem to lie ahead of it after 2 GiB.
            Recovery::Open => {
                self.recover = self.snd_una;
                self.rtx_next = self.snd_una;
                self.rtx_until = self.snd_una;
            }
            Recovery::Fast if self.snd_una.before(self.recover) => {
                self.congestion.deflate_on_partial_ack(acked, mss);
                self.rtx_next = self.snd_una;
                self.rtx_until = self.snd_una + 1;
            }
            Recovery::Fast => {
                let left = self.outstanding();
                self.congestion.deflate_on_full_ack(left, mss);
                self.congestion.on_recovery_exit(cx.now);
                self.leave_recovery();
            }
            Recovery::Loss if self.snd_una.before(self.recover) => {}
            Recovery::Loss => self.leave_recovery(),
        }
    }

    pub(crate) fn leave_recovery(&mut self) {
        self.recovery = Recovery::Open;
        self.rtx_next = self.snd_una;
        self.rtx_until = self.snd_una;
        self.retrans_stamp = None;
    }

    /// RFC 5681 2: same number, no text, no FIN, no window change, something in flight. A peer with SACK says what
    /// arrived instead; without that its duplicate means nothing (RFC 5681 3.2 step 1, RFC 6675 2).
    fn is_duplicate(&self, seg: &Seg<'_>, window_changed: bool) -> bool {
        let tells =
            |block: &(SeqNumber, SeqNumber)| block.1.after(self.snd_una) && block.1.before_eq(self.snd_nxt);
        !self.rtx.is_empty()
            && seg.is_empty()
            && !window_changed
            && (!self.is(Is::SACK) || seg.options.sack.iter().any(tells))
    }

    fn consider_duplicate(&mut self, cx: &mut Ctx, seg: &Seg<'_>, window_changed: bool) {
        if !self.is_duplicate(seg, window_changed) {
            return;
        }
        self.dup_acks = self.dup_acks.saturating_add(1);
        let mss = self.segment_payload();
        match self.recovery {
            Recovery::Fast => {
                // No more segments can have left the network than were in it (RFC 5681 3.2 step 4, against forged
                // duplicates).
                let most =
                    self.congestion.ssthresh().saturating_add(self.recover.distance_from(self.snd_una));
                if self.congestion.cwnd() < most {
                    self.congestion.inflate_on_duplicate(mss);
                }
                cx.want_output(self);
            }
            // RFC 6582 3.2 step 2: not again for the window in which recovery already was.
            Recovery::Open if self.dup_acks == DUP_THRESH && self.snd_una.after_eq(self.recover) => {
                self.enter_fast_recovery(cx);
            }
            Recovery::Open | Recovery::Loss => {}
        }
    }

    fn enter_fast_recovery(&mut self, cx: &mut Ctx) {
        // What Limited Transmit added does not count.
        let in_flight = self.outstanding().min(self.congestion.cwnd().max(self.segment_payload()));
        let context = CongestionContext { now: cx.now, in_flight, repeated: false };
        self.congestion.on_congestion(CongestionEvent::FastRetransmit, &context);
        self.congestion.inflate_on_entry(self.segment_payload());
        self.recovery = Recovery::Fast;
        self.recover = self.snd_nxt;
        self.rtx_next = self.snd_una;
        self.rtx_until = self.snd_una + 1;
        cx.counters.fast_recoveries += 1;
        cx.want_output(self);
    }

    /// Tells a writer that waits once a third of the buffer is free (Linux `sk_stream_write_space`).
    pub(crate) fn signal_space(&mut self, cx: &mut Ctx) {
        if self.is(Is::WANT_SPACE) && self.is_writable() {
            self.is.remove(Is::WANT_SPACE);
            cx.signal(self, Ready::OUT);
        }
    }

    /// RFC 7323 4.3: the stamp of a segment that covers what we acknowledged last, and never back in time. Called
    /// after the acknowledgement was found good, so that a forged stamp is not taken.
    fn update_ts_recent(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        if let Some((value, _)) = seg.options.timestamps
            && self.is(Is::TIMESTAMPS)
            && !seg.seq.after(self.rcv_wup)
            && (value.wrapping_sub(self.ts_recent) as i32 >= 0 || self.ts_recent_expired(cx))
        {
            self.ts_recent = value;
            self.ts_recent_at = cx.now;
        }
    }
}

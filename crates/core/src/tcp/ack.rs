//! Acknowledgements: what they free, what they measure, what they tell of loss (RFC 9293 3.10.7.4 step five, RFC 5681;
//! Linux `tcp_ack`, `tcp_clean_rtx_queue`).

use super::congestion::{AckSample, Brief, Needs};
use super::delivery::Measured;
use super::ecn::Ecn;
use super::info::Wait;
use super::scoreboard::{CaState, Sent, SentFlags};
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use crate::time::Instant;
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

/// A retransmission queue that runs empty keeps memory for so many entries at the most.
pub(super) const RTX_KEPT: usize = 16;

bitflags::bitflags! {
    /// What an acknowledgement told (Linux `FLAG_*` of `tcp_input.c`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Told: u16 {
        /// It carried text, SYN or FIN.
        const TEXT = 1 << 0;
        /// It moved or opened the window.
        const WINDOW = 1 << 1;
        /// Whole segments with text were newly acknowledged.
        const DATA_ACKED = 1 << 2;
        /// A SYN was.
        const SYN_ACKED = 1 << 3;
        /// Some of them had been sent again.
        const RESENT_ACKED = 1 << 4;
        /// Segments were newly reported as arrived out of order.
        const SACKED = 1 << 5;
        /// A retransmission is lost.
        const LOST_RETRANS = 1 << 6;
        /// SND.UNA moved.
        const ADVANCED = 1 << 7;
        /// A duplicate was reported, and believed.
        const DSACKING = 1 << 8;
        /// The duplicate was the tail-loss probe.
        const DSACK_TLP = 1 << 9;
        /// The retransmission timer starts anew.
        const SET_TIMER = 1 << 10;
        /// The first segment in flight is one that had been reported.
        const RENEGED = 1 << 11;
        /// Something was delivered that was never sent again, and was in flight when recovery began.
        const ORIGINAL = 1 << 12;
        /// A congestion mark is echoed.
        const ECE = 1 << 14;
        /// Perhaps a delayed ACK: it says nothing about the smallest round trip.
        const MAYBE_DELAYED = 1 << 13;

        const ACKED = Self::DATA_ACKED.bits() | Self::SYN_ACKED.bits();
        /// Not a duplicate ACK.
        const NOT_DUP = Self::TEXT.bits() | Self::WINDOW.bits() | Self::ACKED.bits();
        /// Something was delivered.
        const PROGRESS = Self::ACKED.bits() | Self::SACKED.bits();
        /// Loss recovery has to look at it.
        const ALERT = Self::SACKED.bits() | Self::DSACKING.bits() | Self::ECE.bits();
    }
}

/// One acknowledgement while it is taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) told: Told,
    pub(crate) prior_una: SeqNumber,
    /// A duplicate ACK in the old sense (RFC 5681 2).
    pub(crate) duplicate: bool,
    /// The lowest original that turned out to have been overtaken.
    pub(crate) reord: SeqNumber,
    /// When the first and the last newly reported original were sent.
    pub(crate) first_sack: Option<Instant>,
    pub(crate) last_sack: Option<Instant>,
    /// Segments newly reported, duplicates included.
    pub(crate) sack_delivered: u32,
    /// The timestamp that it echoes.
    pub(crate) echo: Option<u32>,
    /// Of the packets that it delivers, the one sent last.
    pub(crate) newest: Option<Sent>,
}

impl Ack {
    /// A segment was delivered (Linux `tcp_rate_skb_delivered`).
    #[inline]
    pub(crate) fn sampled(&mut self, sent: &Sent) {
        if self.newest.is_none_or(|newest| newest.sent_before(sent.at, sent.end)) {
            self.newest = Some(*sent);
        }
    }
}

/// What was acknowledged in order.
#[derive(Clone, Copy, Debug, Default)]
struct Cleaned {
    segs: u32,
    /// When the first and the last of the originals among it were sent.
    first: Option<Instant>,
    last: Option<Instant>,
    whole: bool,
}

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
            let bound = self.max_window.min(u32::try_from(self.sequence_acked()).unwrap_or(u32::MAX));
            if seg.ack.before(prior_una - bound) {
                return AckResult::TooOld;
            }
            self.old_ack(cx, seg);
            return AckResult::Old;
        }
        if seg.ack.after(self.snd_nxt) {
            return AckResult::Unsent;
        }
        self.update_ts_recent(cx, seg);
        if let Some(sent) = self.lone_flight(seg)
            && cx.may_take(ShortPaths::LONE_ACK)
        {
            self.lone_flight_acked(cx, seg, &sent);
        } else {
            self.general_ack(cx, seg);
        }
        if self.wants_output() {
            cx.want_output(self);
        }
        AckResult::Accepted
    }

    /// An acknowledgement that may be anything.
    #[inline(never)]
    fn general_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        let marked = self.echoes_mark(seg);
        if self.ecn.contains(Ecn::ACCURATE) {
            self.count_arrival(seg);
        }
        let was_shut = self.snd_wnd == 0;
        let window = self.update_send_window(seg);
        if was_shut && self.snd_wnd > 0 {
            self.window_reopened(cx);
        }
        self.soft_error = None;
        self.probes_out = 0;
        if self.rtx.is_empty()
            && self.loss.is_none()
            && seg.options.sack.is_empty()
            && cx.may_take(ShortPaths::NOTHING_IN_FLIGHT)
        {
            // Of a peer that sends and is sent nothing.
            return self.window_probe_answered(cx);
        }
        let mut ack = self.begin_ack(seg);
        ack.told.set(Told::ECE, marked);
        ack.told.set(Told::WINDOW, window);
        if self.rtx.is_empty() {
            self.nothing_in_flight(cx, seg, &mut ack);
        } else {
            self.in_flight_acked(cx, seg, &mut ack);
        }
    }

    fn begin_ack(&self, seg: &Seg<'_>) -> Ack {
        let mut told = Told::empty();
        told.set(Told::TEXT, !seg.is_empty());
        told.set(Told::ADVANCED, seg.ack.after(self.snd_una));
        Ack {
            told,
            prior_una: self.snd_una,
            duplicate: false,
            reord: self.snd_nxt,
            first_sack: None,
            last_sack: None,
            sack_delivered: 0,
            echo: seg
                .options
                .timestamps
                .map(|(_, echo)| echo)
                .filter(|echo| self.is(Is::TIMESTAMPS) && *echo != 0),
            newest: None,
        }
    }

    /// Below SND.UNA, but not by much: its SACK blocks may be news.
    fn old_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        if !self.is(Is::SACK) || seg.options.sack.is_empty() {
            return;
        }
        let mut ack = self.begin_ack(seg);
        self.take_sack(cx, seg, &mut ack);
        self.stats.delivered = self.stats.delivered.wrapping_add(ack.sack_delivered);
        self.recovery_alert(cx, &mut ack);
        if self.wants_output() {
            cx.want_output(self);
        }
    }

    fn nothing_in_flight(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &mut Ack) {
        if self.is(Is::SACK) && !seg.options.sack.is_empty() {
            self.take_sack(cx, seg, ack);
            self.stats.delivered = self.stats.delivered.wrapping_add(ack.sack_delivered);
            if ack.told.contains(Told::DSACKING) {
                self.recovery_alert(cx, ack);
            }
        }
        self.window_probe_answered(cx);
        self.process_tlp_ack(cx, seg, ack);
    }

    /// Something is in flight: what of it has arrived, what is lost, what the windows become.
    fn in_flight_acked(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &mut Ack) {
        let (in_flight, delivered) = (self.in_flight(), self.stats.delivered);
        let lost = self.loss.as_deref().map_or(0, |board| board.lost);
        let prior_high = self.highest_sack();
        if ack.told.contains(Told::ADVANCED) {
            self.snd_una = seg.ack;
            self.retransmits = 0;
        }
        if self.is(Is::SACK) && !seg.options.sack.is_empty() {
            self.take_sack(cx, seg, ack);
            self.stats.delivered = self.stats.delivered.wrapping_add(ack.sack_delivered);
        }
        let rtt = self.clean_rtx_queue(cx, ack, prior_high);
        if ack.told.contains(Told::ADVANCED) {
            self.release_acked(cx, seg.ack);
            if self.rare.mtu_probe.is_some() {
                self.check_mtu_probe(cx);
            }
        }
        // Before the window is reduced: by how much may depend on it.
        if self.ecn.contains(Ecn::ACCURATE) {
            self.take_ace(cx, seg, ack, self.stats.delivered.wrapping_sub(delivered));
        }
        let counted = self.count_echo(cx, ack, delivered);
        if self.loss.is_some() {
            self.update_reordering_window(ack.newest.map_or(0, |sent| sent.delivered));
            self.process_tlp_ack(cx, seg, ack);
        }
        let dubious = !ack.told.intersects(Told::NOT_DUP) || ack.told.intersects(Told::ALERT);
        if dubious || self.ca_state != CaState::Open {
            ack.duplicate = !ack.told.intersects(Told::ADVANCED | Told::NOT_DUP | Told::DSACKING);
            self.recovery_alert(cx, ack);
        }
        if ack.told.contains(Told::SET_TIMER) {
            self.set_xmit_timer(cx);
        }
        self.count_echo(cx, ack, counted);
        let delivered = self.stats.delivered.wrapping_sub(delivered);
        let lost = self.loss.as_deref().map_or(0, |board| board.lost).wrapping_sub(lost);
        self.control_congestion(cx, ack, rtt, (in_flight, delivered, lost));
        if self.rtx.is_empty() {
            self.all_acked(cx);
        }
        if ack.told.contains(Told::ADVANCED) {
            self.signal_space(cx);
        }
    }

    /// Sequence numbers that the peer acknowledged: text, our FIN, and our SYN if we opened (Linux `bytes_acked`).
    pub(crate) fn sequence_acked(&self) -> u64 {
        self.stats.bytes_acked + u64::from(self.stats.syn_acked) + u64::from(self.fin_acked())
    }

    /// Frees the text below `una`.
    pub(crate) fn release_acked(&mut self, cx: &mut Ctx, una: SeqNumber) {
        let data_end = self.snd_seq(self.snd_buf.end());
        let acked_data = una.min(data_end);
        if acked_data.after(self.snd_seq(self.snd_buf.start())) {
            let offset = self.snd_offset(acked_data);
            self.stats.bytes_acked += offset - self.snd_buf.start();
            self.snd_buf.release(&mut cx.pool, offset);
        }
    }

    fn all_acked(&mut self, cx: &mut Ctx) {
        self.timers.clear(Timer::Retransmit);
        if self.has_unsent() && self.snd_wnd == 0 {
            self.arm_probe(cx);
        } else if !self.has_unsent() {
            self.stats.chrono.enter(cx.now, Wait::Nothing);
        }
    }

    /// The window follows what was delivered, and in a reduction what was lost (Linux `tcp_cong_control`).
    fn control_congestion(
        &mut self,
        cx: &Ctx,
        ack: &Ack,
        rtt: Option<Duration>,
        (in_flight, delivered, lost): (u32, u32, u32),
    ) {
        let rate = self.measure_rate(cx.now, ack.newest.as_ref(), delivered);
        let reduces = self.in_reduction();
        if reduces && !self.congestion.needs(Needs::OWN_WINDOW) {
            self.reduce_cwnd(delivered, lost, ack.told.contains(Told::ADVANCED));
        }
        let reordered =
            self.loss.as_deref().is_some_and(|board| board.reordering > super::scoreboard::REORDERING);
        let progress = if reordered { Told::PROGRESS } else { Told::DATA_ACKED };
        let may_grow = !reduces && ack.told.intersects(progress);
        let limited = self.is_cwnd_limited();
        if may_grow {
            self.window_is_fresh(cx);
        }
        if self.congestion.is_plain() && cx.may_take(ShortPaths::PLAIN_CONGESTION) {
            let brief = Brief {
                now: cx.now,
                acked: delivered,
                rtt,
                grows: limited && may_grow,
                una: self.snd_una,
                nxt: self.snd_nxt,
                paced: self.rare.pacer.is_some(),
            };
            self.congestion.on_plain_ack(&brief);
            return self.update_pacing_rate(cx);
        }
        let sample = AckSample {
            flow: self.flow(cx),
            acked: delivered,
            lost,
            rtt,
            prior_in_flight: in_flight,
            is_cwnd_limited: limited,
            may_grow,
            prior_delivered: ack.newest.map(|sent| sent.delivered),
            rate: rate.map(Measured::sample),
            may_be_delayed: ack.told.contains(Told::MAYBE_DELAYED),
        };
        self.congestion.on_ack(&sample);
        if self.congestion.limits_itself() {
            self.limit_by_application();
        }
        self.update_pacing_rate(cx);
    }

    /// SND.WND follows the newest segment (RFC 9293 3.10.7.4; Linux `tcp_may_update_window`). True if this one is.
    pub(super) fn update_send_window(&mut self, seg: &Seg<'_>) -> bool {
        let shift = if self.is(Is::SCALED) && !seg.flags.contains(Flags::SYN) { self.snd_wscale } else { 0 };
        let window = u32::from(seg.window) << shift;
        let newer = seg.ack.after(self.snd_una)
            || seg.seq.after(self.snd_wl1)
            || (seg.seq == self.snd_wl1 && (window > self.snd_wnd || window == 0));
        if !newer {
            return false;
        }
        self.snd_wl1 = seg.seq;
        self.snd_wnd = window;
        self.max_window = self.max_window.max(window);
        true
    }

    /// The window was shut over what is in flight, and opens: what was sent again meanwhile were probes, so back-off and
    /// patience begin anew. Not for an orphan, which a peer could keep that way.
    fn window_reopened(&mut self, cx: &mut Ctx) {
        if !self.rtx.is_empty() && !self.is_orphan() && !self.handshake_unacked() {
            self.retrans_stamp = None;
            if let Some(board) = self.loss.as_deref_mut() {
                board.undo_marker = None;
            }
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
            self.probes_since = None;
            self.timers.clear(Timer::Retransmit);
        } else {
            self.arm_probe(cx);
        }
    }

    /// Drops what is acknowledged from the retransmission queue (Linux `tcp_clean_rtx_queue`); gives the round trip of the
    /// last segment, if there is a sample.
    fn clean_rtx_queue(&mut self, cx: &mut Ctx, ack: &mut Ack, prior_high: SeqNumber) -> Option<Duration> {
        let mut cleaned = Cleaned { whole: true, ..Cleaned::default() };
        let una = self.snd_una;
        while let Some(&Sent { start, end, .. }) = self.rtx.front()
            && una.after(start)
        {
            if end.after(una) {
                self.part_acked(cx, ack, &mut cleaned);
                break;
            }
            let Some(sent) = self.pop_sent() else { break };
            self.note_acked(cx, ack, &sent, sent.segs.into(), &mut cleaned);
        }
        if self.rtx.is_empty() {
            self.rtx.shrink_idle(RTX_KEPT);
        } else if self.rtx.front().is_some_and(|sent| sent.is(SentFlags::SACKED)) {
            ack.told |= Told::RENEGED;
        }
        if self.ca_state == CaState::Open && ack.told.contains(Told::ADVANCED) {
            // It follows SND.UNA, lest it seem to lie ahead of it after 2 GiB.
            self.recover = una;
        }
        let sample = self.measure(cx, ack, &cleaned);
        if ack.told.intersects(Told::ACKED) {
            ack.told |= Told::SET_TIMER;
            if !self.is(Is::SACK) {
                self.remove_reno_sacks(cx, cleaned.segs);
                if ack.told.contains(Told::RESENT_ACKED) {
                    ack.told -= Told::ORIGINAL;
                }
            } else if ack.reord.before(prior_high) {
                // An original filled a hole.
                self.note_reordering(cx, ack.reord);
            }
        } else if let (Some(first), Some(front)) = (ack.first_sack, self.rtx.front())
            && sample.is_some()
            && first < front.at
        {
            // Not if the sample is of data sent after the oldest segment was: the timer might never expire.
            ack.told |= Told::SET_TIMER;
        }
        sample
    }

    /// The packet in front is acknowledged in part: whole segments of it may be.
    #[inline(never)]
    fn part_acked(&mut self, cx: &Ctx, ack: &mut Ack, cleaned: &mut Cleaned) {
        let Some(sent) = self.rtx.front().copied().filter(|sent| sent.segs > 1) else { return };
        let segs = self.trim_front();
        if segs > 0 {
            cleaned.whole = false;
            self.note_acked(cx, ack, &sent, segs, cleaned);
        }
    }

    /// `segs` segments of `sent` are acknowledged in order.
    #[inline(always)]
    fn note_acked(&mut self, cx: &Ctx, ack: &mut Ack, sent: &Sent, segs: u32, cleaned: &mut Cleaned) {
        if sent.is(SentFlags::RETRANSMITTED) {
            ack.told |= Told::RESENT_ACKED;
        } else if !sent.is(SentFlags::SACKED) {
            cleaned.first.get_or_insert(sent.at);
            cleaned.last = Some(sent.at);
            if sent.start.before(ack.reord) {
                ack.reord = sent.start;
            }
            if !sent.end.after(self.recover) {
                ack.told |= Told::ORIGINAL;
            }
        }
        let syn = sent.start == self.iss && self.snd_buf.start() == 0;
        if !sent.is(SentFlags::SACKED) {
            if self.is(Is::SACK) || syn {
                self.stats.delivered = self.stats.delivered.wrapping_add(segs);
            }
            let needless = sent.is(SentFlags::RETRANSMITTED) && self.echo_is_before(ack, sent.at);
            if self.is(Is::SACK) && !syn && !needless {
                self.rack_advance(cx, sent);
            }
            ack.sampled(sent);
        }
        ack.told |= if syn { Told::SYN_ACKED } else { Told::DATA_ACKED };
        cleaned.segs += segs;
    }

    /// Takes the round trip: from the first original that was acknowledged, else the first that was reported; what was sent
    /// again gives none (RFC 6298 3), unless timestamps tell the transmissions apart (RFC 7323 4.1). Gives the round trip of
    /// the last one (Linux `tcp_ack_update_rtt`).
    fn measure(&mut self, cx: &Ctx, ack: &mut Ack, cleaned: &Cleaned) -> Option<Duration> {
        let mut first =
            cleaned.first.filter(|_| !ack.told.contains(Told::RESENT_ACKED)).map(|at| cx.now - at);
        // Mostly it is one and the same segment.
        let mut last = if cleaned.last == cleaned.first {
            first
        } else {
            cleaned.last.filter(|_| first.is_some()).map(|at| cx.now - at)
        };
        let lone = cleaned.segs == 1 && cleaned.whole && ack.first_sack.is_none();
        if lone && first.is_some() && self.may_be_delayed(ack) {
            ack.told |= Told::MAYBE_DELAYED;
        }
        if let (Some(sacked), Some(newest)) = (ack.first_sack, ack.last_sack) {
            first = first.or(Some(cx.now - sacked));
            last = Some(cx.now - newest);
        }
        if first.is_none() && ack.told.intersects(Told::ACKED) {
            first = self.round_trip_of_stamp(cx, ack);
            last = first;
        }
        let (first, last) = (first?, last?);
        let (una, nxt) = self.stream_position();
        let least = (!ack.told.contains(Told::MAYBE_DELAYED) || last < self.rtt.min_rtt().unwrap_or(last))
            .then_some(last);
        self.rtt.sample(first, least, cx.now, (una, nxt));
        self.backoff = 0;
        Some(last)
    }

    /// A lone segment, not a full one, is acknowledged a round trip after the one before.
    fn may_be_delayed(&self, ack: &Ack) -> bool {
        let quiet = !ack.told.intersects(Told::ALERT | Told::SYN_ACKED);
        let alone = ack.newest.is_some_and(|sent| sent.delivered.wrapping_add(1) == self.stats.delivered);
        quiet && alone && self.snd_una.distance_from(ack.prior_una) < self.effective_mss()
    }

    fn round_trip_of_stamp(&self, cx: &Ctx, ack: &Ack) -> Option<Duration> {
        let elapsed = self.ts_now(cx.now).wrapping_sub(ack.echo?);
        // An echo from the future, or older than any segment can be, is no sample.
        (elapsed < 1 << 20).then(|| Duration::from_millis(elapsed.max(1).into()))
    }

    /// Offsets of SND.UNA and SND.NXT in the send stream, for the estimator's notion of a round trip.
    fn stream_position(&self) -> (u64, u64) {
        let data_end = self.snd_seq(self.snd_buf.end());
        let una = self.snd_una.min(data_end);
        let offset = if una.after(self.snd_seq(self.snd_buf.start())) {
            self.snd_offset(una)
        } else {
            self.snd_buf.start()
        };
        (offset, offset + u64::from(self.outstanding()))
    }

    /// RFC 7323 4.3: the stamp of a segment that covers what we acknowledged last, and never back in time. Called
    /// after the acknowledgement was found good, so that a forged stamp is not taken.
    pub(super) fn update_ts_recent(&mut self, cx: &Ctx, seg: &Seg<'_>) {
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

//! What is in flight, segment by segment: the retransmission queue, and beside it the counts that loss recovery works with
//! (RFC 2018, RFC 6675; Linux `tcp_sock`'s `packets_out`, `sacked_out`, `lost_out`, `retrans_out`).
//!
//! An entry of the queue is a packet as it was sent, of one segment or, where the device splits packets, of several. It is
//! cut where the peer's SACK or a retransmission needs that. [`Board`] is made when a connection first meets loss,
//! reordering or a probe; one that never does pays a pointer.

use super::delivery::Stamp;
use super::tcb::Tcb;
use crate::ctx::Ctx;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};
use core::time::Duration;
use lastack_wire::SeqNumber;

/// Segments out of order that are taken as a loss, as long as no reordering was seen (RFC 5681 2; Linux
/// `tcp_reordering`).
pub(crate) const REORDERING: u32 = 3;

bitflags::bitflags! {
    /// What became of one transmitted piece.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub(crate) struct SentFlags: u16 {
        /// Sent more than once: gives no RTT sample (Karn).
        const RETRANSMITTED = 1;
        /// Ends a write: carries PSH each time it is sent.
        const PUSH = 2;
        /// Ends a packet of the segmentation model.
        const BURST_END = 4;
        /// The peer reports it as arrived (RFC 2018).
        const SACKED = 8;
        /// Taken as lost.
        const LOST = 16;
        /// A retransmission of it is believed to be under way.
        const RESENT = 32;
        /// Ends a record: nothing is joined to it.
        const RECORD = 64;
        /// It left while the application was what limited the sender.
        const APP_LIMITED = 128;
    }
}

/// One entry of the retransmission queue: a piece of sequence space that was sent in one packet. SYN and FIN occupy a
/// number here like data. It may begin below SND.UNA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) start: SeqNumber,
    pub(crate) end: SeqNumber,
    /// When it was sent last.
    pub(crate) at: Instant,
    /// Segments that had been delivered then.
    pub(crate) delivered: u32,
    /// What it measures when it is delivered.
    pub(crate) stamp: Stamp,
    /// Segments on the wire.
    pub(crate) segs: u16,
    pub(crate) flags: SentFlags,
}

impl Sent {
    pub(crate) fn is(&self, flags: SentFlags) -> bool {
        self.flags.contains(flags)
    }

    /// It is lost, and nothing of it is under way.
    pub(crate) fn waits(&self) -> bool {
        self.is(SentFlags::LOST) && !self.flags.intersects(SentFlags::SACKED | SentFlags::RESENT)
    }

    /// Whether it left before `other` did; what left at once, in order of its numbers (RFC 8985 5.2 step 2).
    pub(crate) fn sent_before(&self, at: Instant, end: SeqNumber) -> bool {
        self.at < at || (self.at == at && self.end.before(end))
    }
}

/// Where loss recovery stands (Linux `icsk_ca_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaState {
    /// No trouble.
    #[default]
    Open = 0,
    /// Something arrived out of order.
    Disorder = 1,
    /// The window is being reduced without a loss that has to be repaired.
    Cwr = 2,
    /// Losses are repaired until `recover` is acknowledged.
    Recovery = 3,
    /// The retransmission timer fired.
    Loss = 4,
}

/// What the last acknowledgement or timer lets be sent again (Linux `REXMIT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Resend {
    /// Nothing.
    #[default]
    Nothing,
    /// What is lost.
    Lost,
    /// New data, to find out whether the timeout was spurious; what is lost only if there is none (RFC 5682 2.1 step 2b).
    New,
}

/// What a timer sends, whatever the congestion window says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Probe {
    #[default]
    None,
    /// New data, as a tail-loss probe.
    New,
    /// The last segment again, as a tail-loss probe.
    Last,
    /// The first segment again: the retransmission timer ran out.
    First,
}

/// RACK's memory (RFC 8985 5.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    /// When that segment was sent which was sent last of all that were delivered, and its end.
    pub(crate) at: Instant,
    pub(crate) end: SeqNumber,
    /// Something was delivered since losses were last looked for.
    pub(crate) advanced: bool,
    /// A D-SACK came since the reordering window last changed.
    pub(crate) dsack_seen: bool,
    /// The reordering window, in quarters of the smallest round trip.
    pub(crate) steps: u8,
    /// Recoveries for which a widened window still holds.
    pub(crate) persist: u8,
    /// Segments delivered when the window last changed: it changes once a round trip.
    pub(crate) last_delivered: u32,
}

/// Everything that loss recovery knows beside the queue itself.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    /// Segments that the peer reports as arrived; without SACK, one for each duplicate ACK.
    pub(crate) sacked_out: u32,
    /// Segments taken as lost.
    pub(crate) lost_out: u32,
    /// Segments taken as lost of which nothing is under way. (Linux compares `lost_out` to `retrans_out`; they differ by
    /// more than this after an undo.)
    pub(crate) waiting: u32,
    /// Segments sent again and under way.
    pub(crate) retrans_out: u32,
    /// Segments ever taken as lost.
    pub(crate) lost: u32,
    /// Segments ever reported as received twice.
    pub(crate) dsack_dups: u32,
    /// End of the highest segment that was reported, while any is.
    pub(crate) highest_sack: SeqNumber,
    /// Nothing below has still to be sent again.
    pub(crate) resend_from: SeqNumber,
    /// Every original below is reported, lost or sent again: RACK need not look at it.
    pub(crate) originals_from: SeqNumber,
    /// Retransmissions under way in the order in which they left: number and time.
    pub(crate) resent: VecDeque<(SeqNumber, Instant)>,
    /// The blocks of the last acknowledgement: what lies in them has been taken in.
    pub(crate) seen: [(SeqNumber, SeqNumber); 4],
    pub(crate) resend: Resend,
    /// End of the packet of several segments that is being sent again (the segmentation model).
    pub(crate) resend_pushes: Option<SeqNumber>,
    pub(crate) probe: Probe,
    pub(crate) rack: Rack,
    /// Extent of reordering seen, in segments, and how often.
    pub(crate) reordering: u32,
    pub(crate) reord_seen: u32,
    /// SND.UNA when the window was reduced, as long as that can be undone.
    pub(crate) undo_marker: Option<SeqNumber>,
    /// Retransmissions of this episode that no D-SACK has shown to be needless; `None` before the first one.
    pub(crate) undo_retrans: Option<u32>,
    /// Threshold and window before the reduction; a threshold of 0 stands for: not to be restored.
    pub(crate) prior_ssthresh: u32,
    pub(crate) prior_cwnd: u32,
    /// Segments delivered and sent since the reduction began (RFC 6937).
    pub(crate) prr_delivered: u32,
    pub(crate) prr_out: u32,
    /// SND.NXT when the tail-loss probe left, until it is answered.
    pub(crate) tlp_end: Option<SeqNumber>,
    /// The probe repeated something.
    pub(crate) tlp_retrans: bool,
    /// Whether this timeout was spurious is being found out (RFC 5682).
    pub(crate) frto: bool,
    /// The peer threw away what it had reported: until that is repaired nothing is learned about rates.
    pub(crate) reneged: bool,
}

impl Board {
    fn new(una: SeqNumber) -> Self {
        Self {
            sacked_out: 0,
            lost_out: 0,
            waiting: 0,
            retrans_out: 0,
            lost: 0,
            dsack_dups: 0,
            highest_sack: una,
            resend_from: una,
            originals_from: una,
            resent: VecDeque::new(),
            seen: [(una, una); 4],
            resend: Resend::Nothing,
            resend_pushes: None,
            probe: Probe::None,
            rack: Rack {
                at: Instant::ZERO,
                end: una,
                advanced: false,
                dsack_seen: false,
                steps: 1,
                persist: 0,
                last_delivered: 0,
            },
            reordering: REORDERING,
            reord_seen: 0,
            undo_marker: None,
            undo_retrans: None,
            prior_ssthresh: 0,
            prior_cwnd: 0,
            prr_delivered: 0,
            prr_out: 0,
            tlp_end: None,
            tlp_retrans: false,
            frto: false,
            reneged: false,
        }
    }

    /// Feeds the state to `h`, relative to `now`, to SND.UNA and to what has been delivered.
    pub(crate) fn fingerprint(&self, (una, delivered): (SeqNumber, u32), now: Instant, h: &mut impl Hasher) {
        let Self {
            sacked_out,
            lost_out,
            waiting,
            retrans_out,
            lost: _,
            dsack_dups: _,
            highest_sack,
            resend_from,
            originals_from,
            resent,
            seen,
            resend,
            resend_pushes,
            probe,
            rack,
            reordering,
            reord_seen,
            undo_marker,
            undo_retrans,
            prior_ssthresh,
            prior_cwnd,
            prr_delivered,
            prr_out,
            tlp_end,
            tlp_retrans,
            frto,
            reneged,
        } = self;
        let ahead = |seq: SeqNumber| (seq - una).max(0);
        (sacked_out, lost_out, waiting, retrans_out, resend, probe, reordering).hash(h);
        [*highest_sack, *resend_from, *originals_from].map(ahead).hash(h);
        seen.map(|(start, end)| (ahead(start), ahead(end))).hash(h);
        for (start, at) in resent {
            (ahead(*start), now - *at).hash(h);
        }
        let Rack { at, end, advanced, dsack_seen, steps, persist, last_delivered } = rack;
        ((now - *at).min(Duration::from_secs(240)), ahead(*end), advanced, dsack_seen, steps, persist)
            .hash(h);
        delivered.wrapping_sub(*last_delivered).min(1 << 16).hash(h);
        (*reord_seen > 0, undo_retrans, prior_ssthresh, prior_cwnd, prr_delivered, prr_out).hash(h);
        (undo_marker.map(|seq| una - seq), resend_pushes.map(ahead)).hash(h);
        (tlp_end.map(ahead), tlp_retrans, frto, reneged).hash(h);
    }

    /// Takes `sent` out of the counts that it is in.
    fn forget(&mut self, flags: SentFlags, segs: u32) {
        if flags.contains(SentFlags::SACKED) {
            self.sacked_out = self.sacked_out.saturating_sub(segs);
        }
        if flags.contains(SentFlags::LOST) {
            self.lost_out = self.lost_out.saturating_sub(segs);
            if !flags.contains(SentFlags::RESENT) {
                self.waiting = self.waiting.saturating_sub(segs);
            }
        }
        if flags.contains(SentFlags::RESENT) {
            self.retrans_out = self.retrans_out.saturating_sub(segs);
        }
    }

    fn count(&mut self, flags: SentFlags, segs: u32) {
        self.sacked_out += if flags.contains(SentFlags::SACKED) { segs } else { 0 };
        if flags.contains(SentFlags::LOST) {
            self.lost_out += segs;
            self.waiting += if flags.contains(SentFlags::RESENT) { 0 } else { segs };
        }
        self.retrans_out += if flags.contains(SentFlags::RESENT) { segs } else { 0 };
    }

    /// An entry of `segs` segments changes its marks.
    pub(crate) fn recount(&mut self, old: SentFlags, new: SentFlags, segs: u32) {
        self.forget(old, segs);
        self.count(new, segs);
    }

    /// Takes `sent` as lost. True if it was not yet, or if its retransmission is lost too.
    pub(crate) fn mark_lost(&mut self, sent: &mut Sent) -> bool {
        if sent.is(SentFlags::SACKED) {
            return false;
        }
        let segs = u32::from(sent.segs);
        if sent.start.before(self.resend_from) {
            self.resend_from = sent.start;
        }
        if !sent.is(SentFlags::LOST) {
            sent.flags |= SentFlags::LOST;
            self.lost_out += segs;
            self.waiting += if sent.is(SentFlags::RESENT) { 0 } else { segs };
        } else if sent.is(SentFlags::RESENT) {
            sent.flags -= SentFlags::RESENT;
            self.retrans_out = self.retrans_out.saturating_sub(segs);
            self.waiting += segs;
        } else {
            return false;
        }
        self.lost = self.lost.wrapping_add(segs);
        true
    }

    /// Takes the retransmission of `sent` as lost, also if an undo took the mark of the original away meanwhile. (On Linux
    /// the original is marked then and the retransmission still counts as under way, until the timer runs out.)
    pub(crate) fn mark_resent_lost(&mut self, sent: &mut Sent) {
        let undone = sent.is(SentFlags::RESENT) && !sent.is(SentFlags::LOST);
        if undone {
            sent.flags |= SentFlags::LOST;
            self.lost_out += u32::from(sent.segs);
        }
        self.mark_lost(sent);
    }
}

impl Tcb {
    /// The scoreboard; made now if there is none.
    pub(crate) fn board(&mut self) -> &mut Board {
        let una = self.snd_una;
        self.loss.get_or_insert_with(|| Box::new(Board::new(una)))
    }

    /// Segments that count against the congestion window (RFC 6675's pipe; Linux `tcp_packets_in_flight`).
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        match &self.loss {
            None => self.packets_out,
            Some(board) => (self.packets_out + board.retrans_out)
                .saturating_sub(board.sacked_out.saturating_add(board.lost_out)),
        }
    }

    /// Segments more that the congestion window lets out.
    #[inline]
    pub(crate) fn quota(&self) -> u32 {
        self.congestion.cwnd().saturating_sub(self.in_flight())
    }

    /// A packet of `sent.segs` segments is under way.
    #[inline]
    pub(crate) fn push_sent(&mut self, sent: Sent) {
        self.packets_out += u32::from(sent.segs);
        self.rtx.push_back(sent);
    }

    /// Empties the queue; nothing is known of what was in it.
    pub(crate) fn clear_sent(&mut self) {
        self.rtx.clear();
        self.rtx.shrink_idle(0);
        self.packets_out = 0;
        self.ca_state = CaState::Open;
        self.loss = None;
    }

    /// Place in the queue of the piece with the number `seq`.
    pub(crate) fn rtx_index(&self, seq: SeqNumber) -> usize {
        self.rtx.partition_point(|sent| sent.end.before_eq(seq))
    }

    /// What is in flight counts as `new` segments instead of `old` (Linux `tcp_adjust_pcount`).
    fn recount_packets(&mut self, flags: SentFlags, old: u32, new: u32) {
        let sack = self.is(super::tcb::Is::SACK);
        self.packets_out = (self.packets_out + new).saturating_sub(old);
        if let Some(board) = self.loss.as_deref_mut() {
            board.forget(flags, old);
            board.count(flags, new);
            if !sack {
                // Duplicates stand for no particular segment.
                board.sacked_out = board.sacked_out.saturating_sub(old.saturating_sub(new));
            }
        }
    }

    /// Cuts the entry at `index` so that its first part ends at `at`, a number inside of it.
    pub(crate) fn split(&mut self, index: usize, at: SeqNumber) {
        let mss = self.effective_mss().max(1);
        let Some(sent) = self.rtx.get_mut(index) else { return };
        if !at.after(sent.start) || !sent.end.after(at) {
            return;
        }
        let old = u32::from(sent.segs);
        let rest_len = sent.end.distance_from(at);
        let mut rest = Sent { start: at, ..*sent };
        sent.segs = at.distance_from(sent.start).div_ceil(mss).clamp(1, u32::from(u16::MAX)) as u16;
        sent.end = at;
        sent.flags -= SentFlags::PUSH | SentFlags::BURST_END | SentFlags::RECORD;
        rest.segs = rest_len.div_ceil(mss).clamp(1, u32::from(u16::MAX)) as u16;
        let new = u32::from(sent.segs) + u32::from(rest.segs);
        let flags = sent.flags;
        self.recount_packets(flags, old, new);
        self.rtx.insert(index + 1, rest);
    }

    /// The entry at `index` would leave in segments of another size now: counts it so.
    pub(crate) fn resize(&mut self, index: usize) {
        let mss = self.effective_mss().max(1);
        let Some(sent) = self.rtx.get_mut(index) else { return };
        let (old, flags) = (u32::from(sent.segs), sent.flags);
        sent.segs = sent.end.distance_from(sent.start).div_ceil(mss).clamp(1, u32::from(u16::MAX)) as u16;
        let new = u32::from(sent.segs);
        self.recount_packets(flags, old, new);
    }

    /// Joins the entry after `index` to it: they leave as one segment (Linux `tcp_collapse_retrans`).
    pub(crate) fn join_next(&mut self, index: usize) {
        let Some(next) = self.rtx.remove(index + 1) else { return };
        self.recount_packets(next.flags, next.segs.into(), 0);
        if let Some(sent) = self.rtx.get_mut(index) {
            let kept = SentFlags::PUSH | SentFlags::RECORD | SentFlags::RETRANSMITTED | SentFlags::BURST_END;
            if sent.is(SentFlags::BURST_END) && next.is(SentFlags::BURST_END) {
                self.marks.bursts = self.marks.bursts.saturating_sub(1);
            }
            sent.end = next.end;
            sent.flags |= next.flags & kept;
        }
    }

    /// Takes the first entry out of the queue, for good.
    #[inline]
    pub(crate) fn pop_sent(&mut self) -> Option<Sent> {
        let sent = self.rtx.pop_front()?;
        self.packets_out = self.packets_out.saturating_sub(u32::from(sent.segs));
        if let Some(board) = self.loss.as_deref_mut() {
            board.forget(sent.flags, u32::from(sent.segs));
        }
        if sent.is(SentFlags::BURST_END) {
            self.marks.bursts = self.marks.bursts.saturating_sub(1);
        }
        Some(sent)
    }

    /// The first segments of the packet in front were acknowledged: it begins at SND.UNA. Gives how many they were
    /// (Linux `tcp_tso_acked`).
    pub(crate) fn trim_front(&mut self) -> u32 {
        let (una, mss) = (self.snd_una, self.effective_mss().max(1));
        let Some(sent) = self.rtx.front_mut() else { return 0 };
        let old = u32::from(sent.segs);
        let new = sent.end.distance_from(una).div_ceil(mss).clamp(1, old);
        sent.start = una;
        sent.segs = new as u16;
        let flags = sent.flags;
        self.packets_out = self.packets_out.saturating_sub(old - new);
        if let Some(board) = self.loss.as_deref_mut() {
            board.forget(flags, old - new);
        }
        old - new
    }

    /// End of the highest segment that the peer reported (Linux `tcp_highest_sack_seq`).
    pub(crate) fn highest_sack(&self) -> SeqNumber {
        match self.loss.as_deref() {
            Some(board) if board.sacked_out > 0 && self.is(super::tcb::Is::SACK) => board.highest_sack,
            _ => self.snd_una,
        }
    }

    /// Segments that are reported or lost.
    pub(crate) fn left_out(&self) -> u32 {
        self.loss.as_deref().map_or(0, |board| board.sacked_out + board.lost_out)
    }

    /// Something of what is in flight was sent more than once (Linux `tcp_any_retrans_done`).
    pub(crate) fn any_resent(&self) -> bool {
        self.loss.as_deref().is_some_and(|board| board.retrans_out > 0)
            || self.rtx.front().is_some_and(|sent| sent.is(SentFlags::RETRANSMITTED))
    }

    /// A segment left the network (RFC 8985 5.2 step 2; Linux `tcp_rack_advance`).
    #[inline]
    pub(crate) fn rack_advance(&mut self, cx: &Ctx, sent: &Sent) {
        let rtt = cx.now.micros_since(sent.at);
        if sent.is(SentFlags::RETRANSMITTED) && rtt < self.rtt.min_micros() {
            // Which transmission arrived is not known: the original rather than one so young.
            return;
        }
        self.rack_rtt = rtt;
        if let Some(board) = self.loss.as_deref_mut() {
            let rack = &mut board.rack;
            rack.advanced = true;
            if rack.at < sent.at || (rack.at == sent.at && rack.end.before(sent.end)) {
                (rack.at, rack.end) = (sent.at, sent.end);
            }
        }
    }
}

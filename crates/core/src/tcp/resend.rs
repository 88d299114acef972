//! Sending again what recovery says (Linux `tcp_xmit_retransmit_queue`, `__tcp_retransmit_skb`), and how well the congestion
//! window is used (RFC 7661; Linux `tcp_cwnd_validate`).

use super::congestion::{INITIAL_SEGMENTS, Needs};
use super::options::Knob;
use super::output::Piece;
use super::scoreboard::{CaState, Probe, Resend, Sent, SentFlags};
use super::tcb::{Is, Tcb};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use core::time::Duration;
use lastack_wire::SeqNumber;

impl Tcb {
    /// Something may have to be sent again, or a probe is due.
    pub(crate) fn wants_resend(&self) -> bool {
        self.loss.as_deref().is_some_and(|board| {
            board.probe != Probe::None || (board.resend == Resend::Lost && board.waiting > 0)
        })
    }

    /// The next lost segment, as far as the windows let it out.
    pub(super) fn next_lost(&mut self, cx: &Ctx, mss: u32) -> Option<Piece> {
        if !self.wants_resend() || self.handshake_unacked() || self.quota() == 0 {
            return None;
        }
        let from = self.board().resend_from;
        let mut index = self.rtx_index(from);
        loop {
            let sent = self.rtx.get(index).copied()?;
            if sent.waits() {
                break;
            }
            self.board().resend_from = sent.end;
            index += 1;
        }
        if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            self.model_resent_packet(cx, index, mss);
        }
        self.repeat(index, mss)
    }

    /// Linux would send what is lost of one packet as one, as far as the window takes it.
    fn model_resent_packet(&mut self, cx: &Ctx, index: usize, mss: u32) {
        let Some(first) = self.rtx.get(index).copied() else { return };
        if self.board().resend_pushes.is_some_and(|end| !first.end.after(end)) {
            return;
        }
        let most = self.quota().min(self.packet_segments(cx, mss)) as usize;
        let mut last = index;
        while let Some(sent) = self.rtx.get(last)
            && !sent.is(SentFlags::BURST_END)
            && last + 1 < index + most
            && self.rtx.get(last + 1).is_some_and(Sent::waits)
        {
            last += 1;
        }
        if let Some(sent) = self.rtx.get_mut(last)
            && !sent.is(SentFlags::BURST_END)
        {
            sent.flags |= SentFlags::BURST_END;
            self.marks.bursts += 1;
        }
        let end =
            self.rtx.get(last).map(|sent| sent.end).filter(|_| last > index || (first.segs > 1 && most > 1));
        self.board().resend_pushes = end;
    }

    /// The first segment in flight again, after a timeout: neither the congestion window nor what else is taken to be
    /// under way keeps it back (Linux `tcp_retransmit_timer`).
    pub(super) fn first_segment(&mut self, cx: &Ctx, mss: u32) -> Option<Piece> {
        if self.rtx.is_empty() || self.handshake_unacked() {
            return None;
        }
        if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            self.model_resent_packet(cx, 0, mss);
        }
        self.repeat(0, mss)
    }

    /// The last segment in flight again, as a probe.
    pub(super) fn last_segment(&mut self, mss: u32) -> Option<Piece> {
        let index = self.rtx.len().checked_sub(1)?;
        let sent = self.rtx.get(index).copied()?;
        if sent.segs > 1 {
            self.split(index, sent.start + u32::from(sent.segs - 1) * mss);
        }
        self.repeat(self.rtx.len() - 1, mss)
    }

    /// The segment at `index` again: no more of it than the peer's window takes (one segment in front of a shut window is
    /// its probe), and small neighbours with it.
    fn repeat(&mut self, index: usize, mss: u32) -> Option<Piece> {
        let una = self.snd_una;
        let end = self.window_end();
        let sent = self.rtx.get_mut(index)?;
        if sent.start.before(una) {
            sent.start = una;
        }
        let seq = sent.start;
        let window = match end - seq {
            ..=0 if seq != una => return None,
            ..=0 => mss,
            window => window.cast_unsigned(),
        };
        let most = mss.min(window);
        let data_end = self.snd_seq(self.snd_buf.end());
        if self.data_len(index, data_end) > most {
            self.split(index, seq + most);
        } else if self.rtx.get(index).is_some_and(|sent| sent.segs > 1) {
            self.resize(index);
        }
        if self.data_len(index, data_end) < most {
            self.join_small(index, most, data_end);
        }
        let sent = self.rtx.get(index)?;
        let fin = self.is(Is::FIN_QUEUED) && sent.end.after(data_end);
        let len = self.data_len(index, data_end);
        self.mtu_probe_inconclusive();
        Some(Piece { retransmission: true, ..Piece::new(seq, len, fin) })
    }

    /// Bytes of text in the entry at `index`.
    fn data_len(&self, index: usize, data_end: SeqNumber) -> u32 {
        self.rtx.get(index).map_or(0, |sent| {
            let end = sent.end.min(data_end);
            if end.after(sent.start) { end.distance_from(sent.start) } else { 0 }
        })
    }

    /// Segments that were sent small leave together, up to `most` bytes (Linux `tcp_retrans_try_collapse`).
    fn join_small(&mut self, index: usize, most: u32, data_end: SeqNumber) {
        let mut room = most.saturating_sub(self.data_len(index, data_end));
        while let (Some(sent), Some(next)) = (self.rtx.get(index), self.rtx.get(index + 1)) {
            let blocked = sent.segs > 1 || sent.is(SentFlags::RECORD);
            let taken = next.segs > 1 || next.is(SentFlags::SACKED) || next.end.after(self.window_end());
            let len = self.data_len(index + 1, data_end);
            if blocked || taken || len > room {
                return;
            }
            room -= len;
            self.join_next(index);
        }
    }

    /// A piece went out again (Linux `tcp_retransmit_skb`). A probe's is not counted as under way.
    pub(super) fn note_retransmitted(&mut self, cx: &mut Ctx, piece: Piece) {
        let Piece { seq, len, fin, probe, .. } = piece;
        let index = self.rtx_index(seq);
        let (delivered, stamp, limited) = (self.stats.delivered, self.stamp(cx.now), self.stamp_flag());
        let Some(sent) = self.rtx.get_mut(index) else { return };
        let (old, segs) = (sent.flags, u32::from(sent.segs));
        sent.at = cx.now;
        (sent.delivered, sent.stamp) = (delivered, stamp);
        sent.flags -= SentFlags::APP_LIMITED;
        sent.flags |= SentFlags::RETRANSMITTED | limited;
        if !probe {
            sent.flags |= SentFlags::RESENT;
        }
        let (new, end) = (sent.flags, sent.end);
        let reduces = self.in_reduction();
        let board = self.board();
        board.recount(old, new, segs);
        if !probe {
            board.undo_retrans = Some(board.undo_retrans.unwrap_or(0) + segs);
            board.resend_from = end;
            board.prr_out += if reduces { segs } else { 0 };
        }
        self.remember_resent(index);
        self.last_sent = cx.now;
        if !probe {
            self.retrans_stamp.get_or_insert(cx.now);
        }
        self.stats.retransmissions = self.stats.retransmissions.wrapping_add(segs);
        self.stats.bytes_retransmitted += u64::from(len + u32::from(fin));
        cx.counters.retrans_segs += u64::from(segs);
        let oldest = index == 0 && !probe && self.pending != Pending::Reordering;
        if oldest || !self.timers.is_armed(Timer::Retransmit) {
            self.arm_rto(cx);
        }
    }

    /// Nothing more leaves for now: arms the tail-loss probe, and notes how well the window was used (Linux
    /// `tcp_write_xmit`).
    pub(super) fn end_burst(&mut self, cx: &mut Ctx) {
        let sent = self.is(Is::SENT_NEW);
        if !sent && !self.has_unsent() {
            return;
        }
        let limited = self.is(Is::DEFERS) || self.in_flight() >= self.congestion.cwnd();
        self.is.remove(Is::DEFERS);
        if sent || limited {
            self.validate_window(cx, limited);
        }
        if sent {
            self.is.remove(Is::SENT_NEW);
            self.schedule_loss_probe(cx, false);
        }
    }

    /// Linux `tcp_cwnd_validate`.
    pub(super) fn validate_window(&mut self, cx: &Ctx, limited: bool) {
        let was_limited = self.is(Is::CWND_LIMITED);
        let packets = self.packets_out;
        if self.snd_una.after_eq(self.cwnd_usage_end)
            || limited
            || (!was_limited && packets > self.max_packets_out)
        {
            self.is.set(Is::CWND_LIMITED, limited);
            self.max_packets_out = packets;
            self.cwnd_usage_end = self.snd_nxt;
        }
        let now = cx.now.as_millis() as u32;
        if self.is_cwnd_limited() {
            self.cwnd_used = 0;
            self.cwnd_used_at = now;
            return;
        }
        self.cwnd_used = self.cwnd_used.max(packets);
        let unused = now.wrapping_sub(self.cwnd_used_at);
        // No RTO is below a millisecond.
        if unused > 0
            && cx.cfg.tcp.slow_start_after_idle
            && Duration::from_millis(unused.into()) >= self.backed_off_rto(cx)
            && !self.congestion.needs(Needs::OWN_WINDOW)
        {
            self.give_up_unused_window(now);
        }
    }

    /// The window was the limit, or was adjusted: a time without use begins now (Linux `snd_cwnd_stamp`).
    #[inline]
    pub(super) fn window_is_fresh(&mut self, cx: &Ctx) {
        self.cwnd_used_at = cx.now.as_millis() as u32;
    }

    /// RFC 2861 3.2: half of what was not used for an RTO (Linux `tcp_cwnd_application_limited`).
    fn give_up_unused_window(&mut self, now: u32) {
        let cwnd = self.congestion.cwnd();
        if self.ca_state == CaState::Open && !self.is(Is::WANT_SPACE) {
            let used = self.cwnd_used.max(INITIAL_SEGMENTS);
            if used < cwnd {
                self.congestion.window.unused(cwnd.midpoint(used));
            }
            self.cwnd_used = 0;
        }
        self.cwnd_used_at = now;
    }

    /// The window is what limits the sender; in slow start also while more than half of it is used (Linux
    /// `tcp_is_cwnd_limited`).
    pub(crate) fn is_cwnd_limited(&self) -> bool {
        let cwnd = self.congestion.cwnd();
        self.is(Is::CWND_LIMITED)
            || (cwnd < self.congestion.ssthresh() && cwnd < self.max_packets_out.saturating_mul(2))
    }
}

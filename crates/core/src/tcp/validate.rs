//! The tests a segment must pass before it counts: PAWS (RFC 7323 5), the sequence check (RFC 9293 3.10.7.4 step one),
//! RST and SYN (RFC 5961 3 and 4), and the budget of the ACKs that answer those who fail (Linux
//! `tcp_validate_incoming`).

use super::segment::Seg;
use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::Ready;
use crate::time::Instant;
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

/// After this the saved timestamp is void (RFC 7323 5.5).
pub(crate) const PAWS_24DAYS: Duration = Duration::from_secs(24 * 24 * 3600);
/// Age after which a RST passes PAWS (Linux `TCP_PAWS_MSL`).
pub(crate) const PAWS_MSL: Duration = Duration::from_secs(60);

/// Linux `tcp_in_window`: the segment overlaps the window, or is empty at an edge.
pub(crate) fn in_window(seq: SeqNumber, end_seq: SeqNumber, left: SeqNumber, right: SeqNumber) -> bool {
    seq == left || (end_seq.after(left) && seq.before(right)) || (seq == right && seq == end_seq)
}

/// Whether one more rate-limited ACK may leave; notes that it does (Linux `__tcp_oow_rate_limited`).
pub(crate) fn take_ack_slot(cx: &mut Ctx, last: &mut Option<Instant>) -> bool {
    if let Some(at) = *last
        && cx.now - at < cx.cfg.tcp.invalid_ratelimit
    {
        cx.counters.acks_skipped += 1;
        return false;
    }
    *last = Some(cx.now);
    true
}

impl Tcb {
    /// True if the segment may be processed further. Otherwise all that it deserves has been done.
    pub(crate) fn validate_incoming(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> bool {
        // Nothing that a TCP sends looks like this; Linux does not even ask where it lies.
        if !seg.flags.intersects(Flags::ACK | Flags::RST | Flags::SYN) {
            return false;
        }
        // A RST counts even with an old stamp (RFC 7323 5.2).
        if self.paws_rejects(cx, seg) && !seg.has(Flags::RST) {
            self.answer_paws_failure(cx, seg);
            return false;
        }
        if !self.sequence_acceptable(cx, seg) {
            self.answer_out_of_window(cx, seg);
            return false;
        }
        if seg.has(Flags::RST) {
            self.handle_rst(cx, seg);
            return false;
        }
        if seg.has(Flags::SYN) {
            if self.completes_crossed_open(seg) {
                return true;
            }
            self.challenge_ack(cx);
            return false;
        }
        true
    }

    pub(crate) fn ts_recent_expired(&self, cx: &Ctx) -> bool {
        cx.now - self.ts_recent_at > PAWS_24DAYS
    }

    /// RFC 7323 5.3 R1.
    pub(super) fn paws_rejects(&self, cx: &Ctx, seg: &Seg<'_>) -> bool {
        let Some((value, _)) = seg.options.timestamps else { return false };
        self.is(Is::TIMESTAMPS)
            && (value.wrapping_sub(self.ts_recent) as i32) < 0
            && !self.ts_recent_expired(cx)
            && !self.is_disordered_ack(seg, value)
    }

    /// A pure duplicate ACK whose stamp is only slightly old: reordering, not a wrap (Linux `tcp_disordered_ack`).
    fn is_disordered_ack(&self, seg: &Seg<'_>, value: u32) -> bool {
        let shift = if self.is(Is::SCALED) { self.snd_wscale } else { 0 };
        let rto_ms = self.rtt.rto().as_millis() as i64 * 1200 / 1000;
        seg.has(Flags::ACK)
            && seg.is_empty()
            && seg.seq == self.rcv_nxt
            && seg.ack == self.snd_una
            && u32::from(seg.window) << shift == self.snd_wnd
            && i64::from(self.ts_recent.wrapping_sub(value)) <= rto_ms
    }

    fn answer_paws_failure(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        cx.counters.paws_drops += 1;
        if seg.has(Flags::SYN) {
            self.challenge_ack(cx);
            return;
        }
        if seg.is_empty() && seg.seq.before(self.rcv_nxt) {
            cx.counters.paws_old_ack += 1;
            return;
        }
        self.send_limited_dup_ack(cx, seg);
    }

    /// RFC 9293 3.10.7.4 step one, as Linux 6.17 and later read it: text may not end beyond the window unless nothing
    /// waits in the receive queue; a FIN may stick out by itself.
    fn sequence_acceptable(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> bool {
        if seg.end_seq.before(self.rcv_wup) {
            return false;
        }
        let right = self.rcv_nxt + self.receive_window();
        if !seg.end_seq.after(right) {
            return true;
        }
        if seg.seq.after(right) {
            return false;
        }
        if !seg.text_end().after(right) {
            return true;
        }
        // The peer's FIN waits too, until a read has met the end of file (Linux `tcp_recvmsg_locked`, `found_fin_ok`).
        let fin_waits = self.is(Is::DONE) && !self.eof_read && !self.is(Is::ORPHAN);
        if self.rcv_buf.readable() > 0 || fin_waits {
            cx.counters.beyond_window += 1;
            return false;
        }
        true
    }

    fn answer_out_of_window(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        if seg.has(Flags::RST) {
            if self.rst_matches_after_fin(seg) {
                self.tcp_reset(cx);
            } else {
                cx.counters.in_rsts_ignored += 1;
            }
            return;
        }
        if seg.has(Flags::SYN) {
            self.challenge_ack(cx);
            return;
        }
        self.send_limited_dup_ack(cx, seg);
    }

    /// RFC 5961 3.2: exact match resets; in the window otherwise is challenged.
    fn handle_rst(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        if seg.seq == self.rcv_nxt || self.rst_matches_after_fin(seg) || self.rst_matches_sack(seg) {
            self.tcp_reset(cx);
        } else {
            cx.counters.in_rsts_ignored += 1;
            self.suspicious_reset(cx);
            self.challenge_ack(cx);
        }
    }

    /// A peer whose RST does not count its own FIN (Linux `tcp_reset_check`).
    fn rst_matches_after_fin(&self, seg: &Seg<'_>) -> bool {
        seg.seq == self.rcv_nxt - 1
            && matches!(self.state(), State::CloseWait | State::LastAck | State::Closing)
    }

    /// A peer that took our highest SACK edge for what we expect next (Linux, RFC 5961 3.2 as extended).
    fn rst_matches_sack(&self, seg: &Seg<'_>) -> bool {
        let edges = self.sack_ranges().iter().map(|range| range.1);
        edges.reduce(|a, b| a.max(b)).is_some_and(|highest| seg.seq == highest)
    }

    /// The SYN-ACK of crossed SYNs: same numbers as the SYN we have, and it acknowledges ours.
    fn completes_crossed_open(&self, seg: &Seg<'_>) -> bool {
        self.state() == State::SynReceived
            && seg.has(Flags::ACK)
            && seg.seq + 1 == self.rcv_nxt
            && seg.ack == self.snd_nxt
    }

    /// An acceptable RST ends the connection (RFC 9293 3.10.7.4 step two; Linux `tcp_reset`).
    pub(crate) fn tcp_reset(&mut self, cx: &mut Ctx) {
        let error = match self.state() {
            State::Closed => return,
            State::SynSent => Error::ConnectionRefused,
            State::CloseWait => Error::BrokenPipe,
            _ => Error::ConnectionReset,
        };
        cx.counters.in_rsts += 1;
        self.fail(cx, error, Cause::Reset, Initiator::Peer);
    }

    /// Ends the connection with an error for its owner; nothing is sent (Linux `tcp_done_with_error`).
    pub(crate) fn fail(&mut self, cx: &mut Ctx, error: Error, cause: Cause, initiator: Initiator) {
        self.error = Some(error);
        self.is.insert(Is::RCV_SHUT | Is::SND_SHUT);
        set_state(self, cx, State::Closed, cause, initiator);
        cx.signal(self, Ready::ERR);
    }

    /// RFC 5961: an ACK that asks the sender to prove itself; at most one per slot and connection.
    pub(crate) fn challenge_ack(&mut self, cx: &mut Ctx) {
        if take_ack_slot(cx, &mut self.last_oow_ack) {
            cx.counters.challenge_acks += 1;
            self.send_ack(cx);
        }
    }

    /// A duplicate ACK; limited unless the segment carries text (Linux `tcp_oow_rate_limited`, `tcp_send_dupack`).
    fn send_limited_dup_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        let has_text = !seg.is_empty() && !seg.has(Flags::SYN);
        if !has_text && !take_ack_slot(cx, &mut self.last_oow_ack) {
            return;
        }
        if !seg.is_empty() && seg.seq.before(self.rcv_nxt) {
            self.enter_quick_ack(u8::MAX);
            self.set_dsack(cx, seg.seq, seg.end_seq.min(self.rcv_nxt));
        }
        self.send_ack(cx);
    }
}

//! RACK: a segment is lost when one that was sent later has been delivered and the time that reordering may take is over
//! (RFC 8985 6.2; Linux `tcp_recovery.c`).

use super::ack::Ack;
use super::congestion::Needs;
use super::scoreboard::{CaState, SentFlags};
use super::tcb::{Is, Tcb};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use core::time::Duration;

/// Recoveries for which a widened reordering window holds (RFC 8985 6.2 step 4; Linux `TCP_RACK_RECOVERY_THRESH`).
pub(crate) const PERSIST: u8 = 16;
/// Slack of timers that are computed from a round trip (Linux `TCP_TIMEOUT_MIN_US`).
pub(crate) const TIMER_SLACK: Duration = Duration::from_millis(2);

impl Tcb {
    /// How long a segment may be overtaken before it counts as lost, in microseconds (Linux `tcp_rack_reo_wnd`).
    fn reordering_window(&self) -> u32 {
        let Some(board) = self.loss.as_deref() else { return 0 };
        if board.reord_seen == 0
            && (self.ca_state >= CaState::Recovery || board.sacked_out >= board.reordering)
        {
            return 0;
        }
        let quarter = self.rtt.min_micros() / 4;
        quarter.saturating_mul(board.rack.steps.into()).min(self.rtt.srtt_micros())
    }

    /// Microseconds until a segment sent at `at` is lost, if `window` is allowed for reordering; 0: it is (Linux
    /// `tcp_rack_skb_timeout`).
    pub(crate) fn rack_left(&self, cx: &Ctx, at: crate::time::Instant, window: u32) -> u32 {
        let passed = u32::try_from((cx.now - at).as_micros()).unwrap_or(u32::MAX);
        self.rack_rtt.saturating_add(window).saturating_sub(passed)
    }

    /// Looks for losses if something was delivered. True if more may be lost a little later: then the timer waits for
    /// that (Linux `tcp_rack_mark_lost`).
    fn rack_mark_lost(&mut self, cx: &mut Ctx) -> bool {
        if !self.loss.as_deref_mut().is_some_and(|board| core::mem::take(&mut board.rack.advanced)) {
            return false;
        }
        let wait = self.rack_detect_loss(cx);
        if wait > 0 {
            let wait = Duration::from_micros(wait.into()) + TIMER_SLACK;
            let at = cx.now + wait.min(self.backed_off_rto(cx));
            self.pending = Pending::Reordering;
            self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, at);
        }
        wait > 0
    }

    /// Marks what is lost; gives the longest time, in microseconds, after which more of what was overtaken will be.
    fn rack_detect_loss(&mut self, cx: &mut Ctx) -> u32 {
        let window = self.reordering_window();
        self.detect_lost_originals(cx, window).max(self.detect_lost_resent(cx, window))
    }

    /// Originals lie in the queue in the order in which they were sent.
    fn detect_lost_originals(&mut self, cx: &Ctx, window: u32) -> u32 {
        let decided = SentFlags::SACKED | SentFlags::LOST | SentFlags::RETRANSMITTED;
        let board = self.board();
        let (at, end) = (board.rack.at, board.rack.end);
        let mut from = board.originals_from;
        if from.before(self.snd_una) {
            from = self.snd_una;
        }
        let (mut index, mut wait, mut waiting) = (self.rtx_index(from), 0, false);
        while let Some(sent) = self.rtx.get(index).copied() {
            if !sent.flags.intersects(decided) {
                if !sent.sent_before(at, end) {
                    break;
                }
                let left = self.rack_left(cx, sent.at, window);
                if left == 0 {
                    self.mark_lost_at(index);
                } else {
                    waiting = true;
                    wait = wait.max(left);
                }
            }
            if !waiting {
                from = sent.end;
            }
            index += 1;
        }
        self.board().originals_from = from;
        wait
    }

    /// Retransmissions have a queue of their own, in the order in which they were sent.
    fn detect_lost_resent(&mut self, cx: &mut Ctx, window: u32) -> u32 {
        let (at, end) = {
            let rack = &self.board().rack;
            (rack.at, rack.end)
        };
        let (mut place, mut wait) = (0, 0);
        while let Some(&item) = self.board().resent.get(place) {
            let found = self.resent_index(item).and_then(|index| Some((index, *self.rtx.get(index)?)));
            let Some((index, sent)) = found else {
                if place == 0 {
                    self.board().resent.pop_front();
                } else {
                    place += 1;
                }
                continue;
            };
            if !sent.sent_before(at, end) {
                break;
            }
            let left = self.rack_left(cx, sent.at, window);
            if left == 0 {
                if let (Some(board), Some(sent)) = (self.loss.as_deref_mut(), self.rtx.get_mut(index)) {
                    board.mark_resent_lost(sent);
                }
                cx.counters.lost_retransmissions += u64::from(sent.is(SentFlags::RESENT));
                self.board().resent.pop_front();
            } else {
                wait = wait.max(left);
                place += 1;
            }
        }
        wait
    }

    /// Where the retransmission `item` is in the queue, if it is still under way.
    fn resent_index(&self, (start, at): (lastack_wire::SeqNumber, crate::time::Instant)) -> Option<usize> {
        let index = self.rtx_index(start);
        let sent = self.rtx.get(index).filter(|sent| sent.start == start && sent.at == at)?;
        let given_up = sent.is(SentFlags::LOST) && !sent.is(SentFlags::RESENT);
        (!sent.is(SentFlags::SACKED) && !given_up).then_some(index)
    }

    /// The entry at `index` was just sent again.
    pub(crate) fn remember_resent(&mut self, index: usize) {
        let Some(sent) = self.rtx.get(index).copied() else { return };
        let most = self.rtx.len() * 2 + 16;
        self.board().resent.push_back((sent.start, sent.at));
        if self.board().resent.len() > most {
            let mut list = core::mem::take(&mut self.board().resent);
            list.retain(|item| self.resent_index(*item).is_some());
            self.board().resent = list;
        }
    }

    pub(crate) fn mark_lost_at(&mut self, index: usize) {
        if let (Some(board), Some(sent)) = (self.loss.as_deref_mut(), self.rtx.get_mut(index)) {
            board.mark_lost(sent);
        }
    }

    /// Marks what this acknowledgement shows to be lost (Linux `tcp_identify_packet_loss`).
    pub(crate) fn identify_loss(&mut self, cx: &mut Ctx, ack: &mut Ack) {
        use super::ack::Told;
        if self.rtx.is_empty() {
            return;
        }
        if !self.is(Is::SACK) {
            return self.newreno_mark_lost(ack.told.contains(Told::ADVANCED));
        }
        let before = self.board().retrans_out;
        if self.rack_mark_lost(cx) {
            ack.told -= Told::SET_TIMER;
        }
        if self.board().retrans_out < before {
            ack.told |= Told::LOST_RETRANS;
        }
    }

    /// Without SACK the first segment is lost after enough duplicates, and in recovery whenever an acknowledgement stops
    /// short (RFC 6582 3.2; Linux `tcp_newreno_mark_lost`).
    fn newreno_mark_lost(&mut self, advanced: bool) {
        let state = self.ca_state;
        let board = self.board();
        let starts = state < CaState::Recovery && board.sacked_out >= board.reordering;
        let goes_on = state == CaState::Recovery && advanced;
        if !starts && !goes_on {
            return;
        }
        let mss = self.effective_mss();
        let Some(sent) = self.rtx.front().copied().filter(|sent| !sent.is(SentFlags::LOST)) else { return };
        if sent.segs > 1 {
            self.split(0, sent.start + mss);
        }
        self.mark_lost_at(0);
    }

    /// The time for reordering is over (Linux `tcp_rack_reo_timeout`).
    pub(crate) fn on_reordering_timer(&mut self, cx: &mut Ctx) {
        let (in_flight, lost) = (self.in_flight(), self.board().lost);
        self.rack_detect_loss(cx);
        if in_flight != self.in_flight() {
            if self.ca_state != CaState::Recovery {
                self.enter_recovery(cx, false);
                let lost = self.board().lost.wrapping_sub(lost);
                if !self.congestion.needs(Needs::OWN_WINDOW) {
                    self.reduce_cwnd(1, lost, false);
                }
            }
            self.board().resend = super::scoreboard::Resend::Lost;
            cx.want_output(self);
        }
        self.rearm_rto(cx);
    }

    /// A D-SACK of a recovery that reordering caused widens the window by a quarter of a round trip, at most once in a
    /// round trip; it narrows again after so many recoveries without one (RFC 8985 6.2 step 4; Linux
    /// `tcp_rack_update_reo_wnd`).
    pub(crate) fn update_reordering_window(&mut self, prior_delivered: u32) {
        let delivered = self.stats.delivered;
        let Some(board) = self.loss.as_deref_mut() else { return };
        let rack = &mut board.rack;
        if prior_delivered == 0 {
            return;
        }
        if (prior_delivered.wrapping_sub(rack.last_delivered) as i32) < 0 {
            rack.dsack_seen = false;
        }
        if rack.dsack_seen {
            rack.steps = rack.steps.saturating_add(1);
            rack.dsack_seen = false;
            rack.last_delivered = delivered;
            rack.persist = PERSIST;
        } else if rack.persist == 0 {
            rack.steps = 1;
        }
    }
}

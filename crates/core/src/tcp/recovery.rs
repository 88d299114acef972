//! The states of loss recovery (Linux `tcp_fastretrans_alert`, `tcp_process_loss`, `tcp_enter_loss`), what undoes one that
//! was needless (RFC 3522, RFC 3708, RFC 5682), and the window meanwhile (RFC 6937, RFC 9937).

use super::ack::{Ack, Told};
use super::congestion::{CwndEvent, Needs};
use super::rack::PERSIST;
use super::scoreboard::{CaState, Resend, SentFlags};
use super::tcb::{Is, Tcb};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use crate::time::Instant;
use core::time::Duration;

/// The first segment, once reported and now not acknowledged, is waited for at least so long (Linux
/// `tcp_check_sack_reneging`).
const RENEGING_PATIENCE: Duration = Duration::from_millis(10);

impl Tcb {
    pub(crate) fn set_ca_state(&mut self, cx: &Ctx, state: CaState) {
        let plain = self.congestion.is_plain() && cx.may_take(ShortPaths::PLAIN_CONGESTION);
        let flow = (state == CaState::Loss || !plain).then(|| self.flow(cx));
        self.congestion.on_state(state, flow.as_ref());
        self.ca_state = state;
    }

    /// The window is being reduced (Linux `tcp_in_cwnd_reduction`).
    #[inline]
    pub(crate) fn in_reduction(&self) -> bool {
        matches!(self.ca_state, CaState::Cwr | CaState::Recovery)
    }

    /// An acknowledgement that is no plain progress: moves the state, marks losses and says what may be sent again (Linux
    /// `tcp_fastretrans_alert`).
    pub(crate) fn recovery_alert(&mut self, cx: &mut Ctx, ack: &mut Ack) {
        let duplicate = ack.duplicate;
        let echo = ack.told.contains(Told::ECE);
        let board = self.board();
        board.resend = Resend::Nothing;
        if echo {
            // Congestion was real: what follows is not undone.
            board.prior_ssthresh = 0;
        }
        if self.renege_is_waited_for(cx, ack) {
            return;
        }
        if self.ca_state == CaState::Open {
            self.retrans_stamp = None;
        } else if self.snd_una.after_eq(self.recover) {
            match self.ca_state {
                CaState::Cwr if self.snd_una != self.recover => {
                    self.end_reduction(cx);
                    self.set_ca_state(cx, CaState::Open);
                }
                CaState::Recovery => {
                    if !self.is(Is::SACK) {
                        self.board().sacked_out = 0;
                    }
                    if self.try_undo_recovery(cx, ack) {
                        return;
                    }
                    self.end_reduction(cx);
                }
                _ => {}
            }
        }
        let goes_on = match self.ca_state {
            CaState::Recovery => self.in_recovery(cx, ack, duplicate),
            CaState::Loss => self.in_loss(cx, ack, duplicate) && self.outside_recovery(cx, ack, duplicate),
            _ => self.outside_recovery(cx, ack, duplicate),
        };
        if goes_on {
            self.board().resend = Resend::Lost;
        }
    }

    fn in_recovery(&mut self, cx: &mut Ctx, ack: &mut Ack, duplicate: bool) -> bool {
        if !ack.told.contains(Told::ADVANCED) {
            if !self.is(Is::SACK) {
                self.add_reno_sack(cx, duplicate);
            }
        } else if self.try_undo_partial(cx, ack) {
            return false;
        }
        if self.try_undo_dsack(cx) {
            self.try_to_open(cx, ack);
        }
        self.identify_loss(cx, ack);
        if self.ca_state != CaState::Recovery {
            if self.board().lost_out == 0 {
                return false;
            }
            self.enter_recovery(cx, ack.told.contains(Told::ECE));
        }
        true
    }

    /// True if the state is left, or retransmissions are lost: then as outside of a recovery.
    fn in_loss(&mut self, cx: &mut Ctx, ack: &mut Ack, duplicate: bool) -> bool {
        self.process_loss(cx, ack, duplicate);
        self.identify_loss(cx, ack);
        self.ca_state == CaState::Open || ack.told.contains(Told::LOST_RETRANS)
    }

    fn outside_recovery(&mut self, cx: &mut Ctx, ack: &mut Ack, duplicate: bool) -> bool {
        if !self.is(Is::SACK) {
            if ack.told.contains(Told::ADVANCED) {
                self.board().sacked_out = 0;
            }
            self.add_reno_sack(cx, duplicate);
        }
        if self.ca_state <= CaState::Disorder {
            self.try_undo_dsack(cx);
        }
        self.identify_loss(cx, ack);
        if self.board().lost_out == 0 {
            self.try_to_open(cx, ack);
            return false;
        }
        if self.rare.mtu_probe.is_some() && self.mtu_probe_failed(cx) {
            return false;
        }
        self.enter_recovery(cx, ack.told.contains(Told::ECE));
        true
    }

    /// The peer took back what it had reported: its word no longer counts, but an ACK on the way may still be the
    /// explanation (RFC 2018 8).
    fn renege_is_waited_for(&mut self, cx: &mut Ctx, ack: &mut Ack) -> bool {
        if !ack.told.contains(Told::RENEGED | Told::ADVANCED) {
            return false;
        }
        let wait = Duration::from_micros((self.rtt.srtt_micros() / 2).into()).max(RENEGING_PATIENCE);
        self.pending = Pending::Retransmission;
        self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, cx.now + wait);
        ack.told -= Told::SET_TIMER;
        true
    }

    /// After a timeout (Linux `tcp_process_loss`).
    fn process_loss(&mut self, cx: &mut Ctx, ack: &mut Ack, duplicate: bool) {
        let recovered = self.snd_una.after_eq(self.recover);
        let advanced = ack.told.contains(Told::ADVANCED);
        if advanced && self.try_undo_loss(cx, ack, false) {
            return;
        }
        if self.board().frto {
            if ack.told.contains(Told::ORIGINAL) && self.try_undo_loss(cx, ack, true) {
                return;
            }
            if self.snd_nxt.after(self.recover) {
                if ack.told.contains(Told::SACKED) || duplicate {
                    self.board().frto = false;
                }
            } else if advanced && !recovered {
                self.recover = self.snd_nxt;
                if self.has_unsent() && self.window_end().after(self.snd_nxt) {
                    self.board().resend = Resend::New;
                    return;
                }
                self.board().frto = false;
            }
        }
        if recovered {
            self.try_undo_recovery(cx, ack);
            return;
        }
        if !self.is(Is::SACK) {
            if self.snd_nxt.after(self.recover) {
                self.add_reno_sack(cx, duplicate);
            } else if advanced {
                self.board().sacked_out = 0;
            }
        }
        self.board().resend = Resend::Lost;
    }

    /// Linux `tcp_try_to_open`.
    fn try_to_open(&mut self, cx: &Ctx, ack: &Ack) {
        if !self.any_resent() {
            self.retrans_stamp = None;
        }
        if ack.told.contains(Told::ECE) {
            self.enter_cwr(cx);
        }
        if self.ca_state != CaState::Cwr {
            self.try_keep_open(cx);
        }
    }

    /// The peer echoes a mark: the window is reduced as for a loss, once a round trip, and nothing has to be sent again (RFC
    /// 3168 6.1.2; Linux `tcp_enter_cwr`).
    fn enter_cwr(&mut self, cx: &Ctx) {
        let board = self.board();
        board.prior_ssthresh = 0;
        if self.ca_state < CaState::Cwr {
            self.board().undo_marker = None;
            self.init_reduction(cx);
            self.set_ca_state(cx, CaState::Cwr);
        }
    }

    pub(crate) fn try_keep_open(&mut self, cx: &Ctx) {
        let disorder = self.left_out() > 0 || self.any_resent();
        let state = if disorder { CaState::Disorder } else { CaState::Open };
        if self.ca_state != state {
            self.set_ca_state(cx, state);
            self.recover = self.snd_nxt;
        }
    }

    /// Losses are to be repaired (Linux `tcp_enter_recovery`). With a mark beside them the reduction is not undone.
    pub(crate) fn enter_recovery(&mut self, cx: &mut Ctx, echo: bool) {
        cx.counters.fast_recoveries += 1;
        self.board().prior_ssthresh = 0;
        self.init_undo();
        if !self.in_reduction() {
            if !echo {
                self.board().prior_ssthresh = self.congestion.window.remembered();
            }
            self.init_reduction(cx);
        }
        self.set_ca_state(cx, CaState::Recovery);
    }

    /// Linux `tcp_init_undo`.
    fn init_undo(&mut self) {
        let una = self.snd_una;
        let board = self.board();
        board.undo_marker = Some(una);
        let probes = u32::from(board.tlp_end.is_some() && board.tlp_retrans);
        board.undo_retrans = Some(board.retrans_out + probes).filter(|count| *count > 0);
    }

    /// RFC 6937 3: the window goes down while what is in flight is acknowledged.
    pub(crate) fn init_reduction(&mut self, cx: &Ctx) {
        self.recover = self.snd_nxt;
        let cwnd = self.congestion.cwnd();
        let board = self.board();
        board.tlp_end = None;
        board.prior_cwnd = cwnd;
        board.prr_delivered = 0;
        board.prr_out = 0;
        let flow = self.flow(cx);
        self.congestion.congest(&flow);
        self.queue_cwr();
    }

    /// Lets out as much as keeps the window on its way to `ssthresh` (RFC 6937 3, RFC 9937; Linux `tcp_cwnd_reduction`).
    pub(crate) fn reduce_cwnd(&mut self, delivered: u32, lost: u32, advanced: bool) {
        let in_flight = self.in_flight();
        let ssthresh = self.congestion.ssthresh();
        let board = self.board();
        if delivered == 0 || board.prior_cwnd == 0 {
            return;
        }
        board.prr_delivered = board.prr_delivered.saturating_add(delivered);
        let (sofar, out) = (board.prr_delivered, board.prr_out);
        let first = u32::from(out == 0);
        let more = if in_flight > ssthresh {
            let share = (u64::from(ssthresh) * u64::from(sofar)).div_ceil(board.prior_cwnd.into());
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(out)
        } else {
            let most = sofar.saturating_sub(out).max(delivered) + u32::from(advanced && lost == 0);
            most.min(ssthresh - in_flight)
        };
        self.congestion.window.set_cwnd(in_flight.saturating_add(more.max(first)));
    }

    /// Linux `tcp_end_cwnd_reduction`.
    pub(crate) fn end_reduction(&mut self, cx: &Ctx) {
        if self.congestion.needs(Needs::OWN_WINDOW) {
            return;
        }
        let ssthresh = self.congestion.ssthresh();
        let undoable = self.board().undo_marker.is_some();
        if ssthresh != u32::MAX && (self.ca_state == CaState::Cwr || undoable) {
            self.congestion.window.set_cwnd(ssthresh);
            self.window_is_fresh(cx);
        }
        let flow = self.flow(cx);
        self.congestion.on_event(CwndEvent::CompleteCwr, &flow);
    }

    /// The first segment in flight was not acknowledged in time: all is lost that was not sent just now (RFC 5681 3.1,
    /// RFC 8985 6.3; Linux `tcp_enter_loss`).
    pub(crate) fn enter_loss(&mut self, cx: &mut Ctx) {
        let state = self.ca_state;
        self.mark_lost_by_timeout(cx);
        let again = state > CaState::Disorder
            && self.recover.after(self.snd_una)
            && !(state == CaState::Loss && self.retransmits == 0);
        let cwnd = self.congestion.cwnd();
        if !again {
            let ssthresh = if self.in_reduction() {
                self.congestion.ssthresh()
            } else {
                self.congestion.window.remembered()
            };
            let board = self.board();
            (board.prior_ssthresh, board.prior_cwnd) = (ssthresh, cwnd);
            let flow = self.flow(cx);
            self.congestion.congest(&flow);
            self.congestion.on_event(CwndEvent::Loss, &flow);
            self.init_undo();
        }
        let in_flight = self.in_flight();
        let window = &mut self.congestion.window;
        window.set_cwnd(in_flight + 1);
        window.acked = 0;
        self.window_is_fresh(cx);
        let frto = cx.cfg.tcp.frto && (state < CaState::Recovery || self.retransmits > 0);
        let board = self.board();
        if state <= CaState::Disorder && board.sacked_out >= super::scoreboard::REORDERING {
            board.reordering = board.reordering.min(super::scoreboard::REORDERING);
        }
        board.tlp_end = None;
        board.probe = super::scoreboard::Probe::First;
        board.frto = frto;
        board.resend = Resend::Lost;
        self.set_ca_state(cx, CaState::Loss);
        self.recover = self.snd_nxt;
        self.queue_cwr();
    }

    /// Linux `tcp_timeout_mark_lost`. A first segment that was reported and is not acknowledged: the peer threw away what
    /// it had, and all of it is sent again (RFC 2018 8).
    fn mark_lost_by_timeout(&mut self, cx: &mut Ctx) {
        let reneged = self.rtx.front().is_some_and(|sent| sent.is(SentFlags::SACKED));
        let (una, sack) = (self.snd_una, self.is(Is::SACK));
        let board = self.board();
        board.resend_from = una;
        if reneged {
            cx.counters.sack_reneging += 1;
            board.sacked_out = 0;
            board.reneged = true;
        } else if !sack {
            board.sacked_out = 0;
        }
        for index in 0..self.rtx.len() {
            let Some(sent) = self.rtx.get_mut(index) else { break };
            if reneged {
                sent.flags -= SentFlags::SACKED;
            } else if index > 0 {
                let at = sent.at;
                if self.rack_left(cx, at, 0) > 0 {
                    // It may just not have arrived yet.
                    continue;
                }
            }
            self.mark_lost_at(index);
        }
    }

    /// The path takes smaller segments only: what was too large is sent again at once, which is no sign of congestion (Linux
    /// `tcp_simple_retransmit`).
    pub(crate) fn resend_too_large(&mut self, cx: &mut Ctx) {
        let mss = self.effective_mss();
        let before = self.board().lost_out;
        for index in 0..self.rtx.len() {
            if self.rtx.get(index).is_some_and(|sent| sent.end.distance_from(sent.start) > mss) {
                self.resize(index);
                self.mark_lost_at(index);
            }
        }
        if self.board().lost_out == before {
            return;
        }
        if !self.is(Is::SACK) {
            self.limit_reno_sacks(cx, 0);
        }
        self.resend_uncongested(cx);
    }

    /// A server did not take the text of the SYN: it leaves again at once.
    pub(crate) fn resend_syn_text(&mut self, cx: &mut Ctx) {
        self.board();
        for index in 0..self.rtx.len() {
            self.resize(index);
            self.mark_lost_at(index);
        }
        self.resend_uncongested(cx);
    }

    /// What is marked is not lost by congestion, so the window stays (Linux `tcp_non_congestion_loss_retransmit`).
    fn resend_uncongested(&mut self, cx: &mut Ctx) {
        if self.ca_state != CaState::Loss {
            self.recover = self.snd_nxt;
            let board = self.board();
            board.prior_ssthresh = 0;
            board.undo_marker = None;
            self.set_ca_state(cx, CaState::Loss);
        }
        self.board().resend = Resend::Lost;
        cx.want_output(self);
    }

    // Undo.

    /// The echoed stamp is older than the first retransmission, so that the original was delivered (RFC 3522); or nothing
    /// was sent again at all (Linux `tcp_packet_delayed`).
    fn was_delayed(&self, ack: &Ack) -> bool {
        match self.retrans_stamp {
            Some(at) => self.echo_is_before(ack, at),
            None => self.is(Is::SACK) || self.snd_una.before(self.recover),
        }
    }

    /// The acknowledgement that is being taken in echoes a stamp from before `at` (Linux `tcp_tsopt_ecr_before`).
    pub(crate) fn echo_is_before(&self, ack: &Ack, at: Instant) -> bool {
        ack.echo.is_some_and(|echo| (echo.wrapping_sub(self.ts_now(at)) as i32) < 0)
    }

    fn may_undo(&self, ack: &Ack) -> bool {
        self.loss.as_deref().is_some_and(|board| {
            board.undo_marker.is_some() && (board.undo_retrans == Some(0) || self.was_delayed(ack))
        })
    }

    /// Linux `tcp_undo_cwnd_reduction`.
    fn undo_reduction(&mut self, cx: &mut Ctx, unmark: bool) {
        cx.counters.undos += 1;
        let una = self.snd_una;
        if unmark {
            self.rtx.iter_mut().for_each(|sent| sent.flags -= SentFlags::LOST);
        }
        let board = self.board();
        if unmark {
            (board.lost_out, board.waiting) = (0, 0);
            board.originals_from = una;
        }
        board.undo_marker = None;
        board.rack.advanced = true;
        let (cwnd, ssthresh) = (board.prior_cwnd, board.prior_ssthresh);
        if ssthresh > 0 {
            if ssthresh > self.congestion.window.ssthresh {
                self.withdraw_cwr();
            }
            let flow = self.flow(cx);
            self.congestion.undo(cwnd, ssthresh, &flow);
        }
        self.window_is_fresh(cx);
    }

    /// Without SACK the state is held until something above `recover` is acknowledged, against a second recovery from the
    /// duplicates of the first (RFC 6582 4.1; Linux `tcp_is_non_sack_preventing_reopen`).
    fn prevents_reopening(&mut self) -> bool {
        let held = self.snd_una == self.recover && !self.is(Is::SACK);
        if held && !self.any_resent() {
            self.retrans_stamp = None;
        }
        held
    }

    /// `recover` is acknowledged. True if the state stays.
    fn try_undo_recovery(&mut self, cx: &mut Ctx, ack: &Ack) -> bool {
        if self.may_undo(ack) {
            self.undo_reduction(cx, false);
        } else {
            let rack = &mut self.board().rack;
            rack.persist = rack.persist.saturating_sub(1);
        }
        if self.prevents_reopening() {
            return true;
        }
        self.set_ca_state(cx, CaState::Open);
        self.board().reneged = false;
        false
    }

    /// Every retransmission of the episode was needless (RFC 3708).
    fn try_undo_dsack(&mut self, cx: &mut Ctx) -> bool {
        let board = self.board();
        if board.undo_marker.is_none() || board.undo_retrans != Some(0) {
            return false;
        }
        board.rack.persist = (board.rack.persist + 1).min(PERSIST);
        self.undo_reduction(cx, false);
        true
    }

    /// The timeout was spurious (Linux `tcp_try_undo_loss`).
    fn try_undo_loss(&mut self, cx: &mut Ctx, ack: &Ack, by_frto: bool) -> bool {
        if !by_frto && !self.may_undo(ack) {
            return false;
        }
        self.undo_reduction(cx, true);
        self.retransmits = 0;
        if !self.prevents_reopening() && (by_frto || self.is(Is::SACK)) {
            self.set_ca_state(cx, CaState::Open);
            self.board().reneged = false;
        }
        true
    }

    /// A part was acknowledged: if by the originals, it was reordering. True if nothing more is to be marked or sent again
    /// for now (Linux `tcp_try_undo_partial`).
    fn try_undo_partial(&mut self, cx: &mut Ctx, ack: &Ack) -> bool {
        if self.board().undo_marker.is_none() || !self.was_delayed(ack) {
            return false;
        }
        self.note_reordering(cx, ack.prior_una);
        if self.board().retrans_out > 0 {
            return true;
        }
        if !self.any_resent() {
            self.retrans_stamp = None;
        }
        self.undo_reduction(cx, true);
        self.try_keep_open(cx);
        false
    }
}

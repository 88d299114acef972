//! Tail-loss probes (RFC 8985 7; Linux `tcp_send_loss_probe`, `tcp_process_tlp_ack`), and which of the timers of what is in
//! flight runs.

use super::ack::{Ack, Told};
use super::rack::TIMER_SLACK;
use super::scoreboard::{CaState, Probe};
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use crate::time::nanos;
use core::time::Duration;

/// The probe's timeout as long as there is no round-trip sample (Linux `TCP_TIMEOUT_INIT`).
const PROBE_TIMEOUT_UNMEASURED: Duration = Duration::from_secs(1);

impl Tcb {
    /// Something was acknowledged: the probe's timer, else the retransmission timer, starts anew (Linux
    /// `tcp_set_xmit_timer`).
    pub(crate) fn set_xmit_timer(&mut self, cx: &mut Ctx) {
        if !self.schedule_loss_probe(cx, true) {
            self.rearm_rto(cx);
        }
    }

    /// The retransmission timer runs from now; where another timer had taken its place, from when the oldest segment left
    /// (Linux `tcp_rearm_rto`).
    pub(crate) fn rearm_rto(&mut self, cx: &mut Ctx) {
        if self.fast_opening() {
            return;
        }
        let Some(oldest) = self.rtx.front().map(|sent| sent.at) else {
            self.timers.clear(Timer::Retransmit);
            self.pending = Pending::Retransmission;
            return;
        };
        if self.pending == Pending::Retransmission {
            return self.arm_rto(cx);
        }
        self.pending = Pending::Retransmission;
        let at = oldest.plus_nanos(self.backed_off_rto_nanos(cx)).max(cx.now + Duration::from_micros(1));
        self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, at);
    }

    /// Nothing is left to send, so that this turn ends with the packet at hand; the probe's timer, which it ends with, takes
    /// the place of the retransmission timer: that one need not be set before.
    pub(crate) fn probe_timer_follows(&self, cx: &Ctx) -> bool {
        !self.has_unsent()
            && !self.wants_resend()
            && self.probe_is_of_use(cx)
            && cx.may_take(ShortPaths::PROBE_TIMER)
    }

    fn probe_is_of_use(&self, cx: &Ctx) -> bool {
        cx.cfg.tcp.tail_loss_probes
            && matches!(self.ca_state, CaState::Open | CaState::Cwr)
            && self.is(Is::SACK)
            && !self.handshake_unacked()
            && !self.fast_opening()
    }

    /// Arms the probe's timer, if a probe would be of use: two round trips, and longer where one segment is in flight whose
    /// ACK may be delayed; never later than the RTO (RFC 8985 7.2; Linux `tcp_schedule_loss_probe`).
    pub(crate) fn schedule_loss_probe(&mut self, cx: &mut Ctx, from_now: bool) -> bool {
        let Some(oldest) = self.rtx.front().map(|sent| sent.at) else { return false };
        if !self.probe_is_of_use(cx) {
            return false;
        }
        let probe_at = match self.rtt.srtt_micros() {
            0 => cx.now + PROBE_TIMEOUT_UNMEASURED,
            srtt => {
                let more = if self.packets_out == 1 { cx.cfg.tcp.rto_min } else { TIMER_SLACK };
                cx.now.plus_nanos(2000 * u64::from(srtt) + nanos(more))
            }
        };
        let rto_at = if from_now { cx.now } else { oldest }.plus_nanos(self.backed_off_rto_nanos(cx));
        let at = if rto_at > cx.now { probe_at.min(rto_at) } else { probe_at };
        self.pending = Pending::LossProbe;
        self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, at);
        true
    }

    /// New data if there is any that the peer's window takes, else the last segment again; one probe at a time.
    pub(crate) fn on_loss_probe_timer(&mut self, cx: &mut Ctx) {
        let mss = self.effective_mss();
        let next = self.unsent_in_buffer().0.min(mss).max(1);
        let fits = self.has_unsent() && !(self.snd_nxt + next).after(self.window_end());
        let board = self.board();
        if board.tlp_end.is_none() {
            board.tlp_retrans = false;
            board.probe = if fits { Probe::New } else { Probe::Last };
            cx.want_output(self);
        }
        self.rearm_rto(cx);
    }

    /// The probe has left.
    pub(crate) fn probe_sent(&mut self, cx: &mut Ctx, repeated: bool) {
        let end = self.snd_nxt;
        let board = self.board();
        board.probe = Probe::None;
        board.tlp_end = Some(end);
        board.tlp_retrans = repeated;
        cx.counters.loss_probes += 1;
        if self.is(Is::SENT_NEW) {
            // No probe follows a probe.
            self.is.remove(Is::SENT_NEW);
            let limited = self.quota() == 0;
            self.validate_window(cx, limited);
        }
        self.pending = Pending::Retransmission;
        self.rearm_rto(cx);
    }

    /// What an acknowledgement says of the probe. If the probe itself repaired a loss, the window is reduced all the same
    /// (RFC 8985 7.4; Linux `tcp_process_tlp_ack`).
    pub(crate) fn process_tlp_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &Ack) {
        let Some(board) = self.loss.as_deref_mut() else { return };
        let Some(end) = board.tlp_end.filter(|end| !seg.ack.before(*end)) else { return };
        let needless = ack.told.contains(Told::DSACK_TLP);
        let pure = !ack.told.intersects(Told::ADVANCED | Told::NOT_DUP | Told::SACKED);
        if !board.tlp_retrans || needless {
            board.tlp_end = None;
        } else if seg.ack.after(end) {
            self.init_reduction(cx);
            self.set_ca_state(cx, CaState::Cwr);
            self.end_reduction(cx);
            self.try_keep_open(cx);
            cx.counters.loss_probe_recoveries += 1;
        } else if pure {
            board.tlp_end = None;
        }
    }
}

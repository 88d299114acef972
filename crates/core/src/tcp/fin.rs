//! The peer's FIN, and the small records that a connection leaves behind (RFC 9293 3.10.7.4 step eight; Linux
//! `tcp_fin`, `tcp_time_wait`, `tcp_fin_time`).

use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Successor, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::deliberate::DeliberateBug;
use crate::event::Ready;
use core::time::Duration;
use lastack_wire::SeqNumber;

/// Whether the full record is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It stays.
    Stays,
    /// A small record has taken over.
    Gone,
}

impl Tcb {
    /// The FIN at `seq` and everything before it are here: it takes effect.
    pub(crate) fn fin_in_order(&mut self, cx: &mut Ctx, seq: SeqNumber) {
        if self.is(Is::DONE) {
            return;
        }
        self.rcv_nxt = seq + 1;
        self.fin_at = None;
        self.is.insert(Is::RCV_SHUT | Is::DONE);
        self.schedule_ack();
        // Whatever lies beyond the FIN is thrown away.
        self.rcv_buf.drop_out_of_order(&mut cx.pool);
        if let Some(model) = self.rcv_space.memory.as_deref_mut() {
            model.drop_late();
        }
        self.sack_reset();
        match self.state() {
            State::SynReceived | State::Established => {
                set_state(self, cx, State::CloseWait, Cause::Fin, Initiator::Peer);
                self.is.insert(Is::PINGPONG);
                self.arm_close_wait_watchdog(cx);
            }
            State::FinWait1 => {
                set_state(self, cx, State::Closing, Cause::Fin, Initiator::Peer);
                self.send_ack(cx);
            }
            State::FinWait2 => {
                self.send_ack(cx);
                self.enter_time_wait(cx, Cause::Fin);
                return;
            }
            _ => {}
        }
        cx.signal(self, Ready::IN | Ready::RDHUP);
        if self.is_shut_both() {
            cx.signal(self, Ready::HUP);
        }
    }

    /// Both directions are closed and acknowledged: a TIME_WAIT record takes over, and the full record is CLOSED even
    /// if the application still holds it (Linux `tcp_time_wait`).
    pub(crate) fn enter_time_wait(&mut self, cx: &mut Ctx, cause: Cause) {
        let lifetime = cx.cfg.tcp.time_wait;
        self.is.insert(Is::RCV_SHUT | Is::SND_SHUT);
        if cx.makes(DeliberateBug::TimeWaitSkipped) {
            return set_state(self, cx, State::Closed, Cause::TimeWaitLimit, Initiator::Peer);
        }
        set_state(self, cx, State::TimeWait, cause, Initiator::Peer);
        self.successor = Some(Successor { state: State::TimeWait, ends: cx.now + lifetime });
        self.detach(cx);
    }

    /// FIN_WAIT_2 without an owner: bounded by `fin_timeout` or `TCP_LINGER2` (Linux `tcp_fin_time`). Up to the length
    /// of TIME_WAIT a small record is enough; the excess, or a FIN still to be looked at, keeps the full one.
    pub(crate) fn orphan_fin_wait2(&mut self, cx: &mut Ctx, keep: bool) -> Closing {
        let time = self.fin_time(cx);
        let small = cx.cfg.tcp.time_wait;
        if time > small || keep {
            let wait = if time > small { time - small } else { time };
            self.timers.set(&mut cx.wheel, self.key, Timer::KeepAlive, cx.now + wait);
            return Closing::Stays;
        }
        self.hand_over_fin_wait2(cx, time);
        Closing::Gone
    }

    /// A small record takes FIN_WAIT_2 over for `lifetime`.
    pub(crate) fn hand_over_fin_wait2(&mut self, cx: &mut Ctx, lifetime: Duration) {
        self.successor = Some(Successor { state: State::FinWait2, ends: cx.now + lifetime });
        self.detach(cx);
    }

    /// How long FIN_WAIT_2 lasts without an owner: never less than 3.5 RTO.
    pub(crate) fn fin_time(&self, cx: &Ctx) -> Duration {
        let time = match self.knobs.linger2_ms {
            0 => cx.cfg.tcp.fin_timeout,
            ms => Duration::from_millis(ms.into()),
        };
        let rto = self.rtt.rto();
        time.max(rto * 4 - rto / 2)
    }

    /// The record is out of its life: nothing of it is sent, acknowledged or timed any more.
    pub(crate) fn leave(&mut self, cx: &mut Ctx) {
        if !self.is(Is::LEFT) {
            self.history.unacked = self.unacked_bytes();
        }
        self.end_fast_open(cx, false);
        self.is.insert(Is::LEFT);
        self.is.remove(Is::ACK_NOW | Is::ACK_SCHEDULED);
        self.timers.clear_all(&mut cx.wheel);
        self.purge_send_queue(cx);
    }

    /// The full record has handed over to its successor: it is nothing but a handle to what was received.
    fn detach(&mut self, cx: &mut Ctx) {
        self.leave(cx);
        cx.signal(self, Ready::IN | Ready::OUT | Ready::RDHUP | Ready::HUP);
    }
}

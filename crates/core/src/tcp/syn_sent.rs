//! SEGMENT ARRIVES in SYN_SENT (RFC 9293 3.10.7.3; Linux `tcp_rcv_synsent_state_process`).

use super::data_queue::{DELACK_MAX, MAX_QUICK_ACKS};
use super::reset::send_reset;
use super::segment::{Seg, Verdict};
use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::Ready;
use crate::time::Instant;
use lastack_wire::tcp::Flags;

impl Tcb {
    pub(crate) fn rcv_syn_sent(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Verdict {
        if self.defers_syn() {
            // Nothing was sent yet, so this answers nothing.
            return if seg.has(Flags::ACK) { Verdict::Reset } else { Verdict::Done };
        }
        if seg.has(Flags::ACK) {
            if !self.acks_our_syn(cx, seg) {
                self.wrong_ack(cx, seg);
                return Verdict::Done;
            }
            if seg.has(Flags::RST) {
                self.tcp_reset(cx);
                return Verdict::Done;
            }
            if seg.has(Flags::SYN) {
                self.rcv_syn_ack(cx, seg);
            }
            return Verdict::Done;
        }
        if seg.has(Flags::RST) || !seg.has(Flags::SYN) {
            return Verdict::Done;
        }
        if self.inherited_stamp_rejects(cx, seg) {
            cx.counters.paws_drops += 1;
            return Verdict::Done;
        }
        self.rcv_crossed_syn(cx, seg);
        Verdict::Done
    }

    /// A connection that took TIME_WAIT over knows the old one's last stamp: an older SYN is a duplicate.
    fn inherited_stamp_rejects(&self, cx: &Ctx, seg: &Seg<'_>) -> bool {
        let Some((value, _)) = seg.options.timestamps else { return false };
        let inherited = self.ts_recent_at > Instant::ZERO && !self.ts_recent_expired(cx);
        cx.cfg.tcp.timestamps && inherited && (value.wrapping_sub(self.ts_recent) as i32) < 0
    }

    /// The acknowledgement is of our SYN, and the echoed stamp is one that we sent.
    fn acks_our_syn(&self, cx: &Ctx, seg: &Seg<'_>) -> bool {
        if !seg.ack.after(self.snd_una) || seg.ack.after(self.snd_nxt) {
            return false;
        }
        match seg.options.timestamps {
            Some((_, echo)) if echo != 0 && cx.cfg.tcp.timestamps && !seg.has(Flags::RST) => {
                let first = self.retrans_stamp.unwrap_or(cx.now);
                let (first, last) = (self.ts_now(first), self.ts_now(cx.now));
                echo.wrapping_sub(first) <= last.wrapping_sub(first)
            }
            _ => true,
        }
    }

    /// A half-open peer answers with its old numbers: reset it, and do not wait a second to try again. The RST goes
    /// first, or the peer would answer the new SYN with its old numbers too.
    fn wrong_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        let tuple = self.tuple;
        send_reset(cx, &tuple, seg);
        if self.retransmits == 0 {
            self.repeat_syn(cx);
        }
    }

    fn rcv_syn_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.set_irs(seg.seq);
        let assumed = self.assumed_mss().filter(|_| seg.options.mss.is_none());
        self.learn_options(cx, seg.options);
        self.take_ecn_of_syn_ack(seg);
        if let Some(mss) = assumed {
            self.peer_mss = mss;
            self.sync_mss(cx);
        }
        let sample = (!self.is(Is::SYN_RETRANSMITTED))
            .then(|| self.rtx.front().map(|sent| cx.now - sent.at))
            .flatten();
        self.drop_answered(cx, seg);
        self.timers.clear(Timer::Retransmit);
        if let Some(rtt) = sample {
            self.rtt.sample(rtt, Some(rtt), cx.now, (0, 0));
            self.rack_rtt = self.rtt.srtt_micros();
        }
        // The window of a segment with SYN is never scaled (RFC 7323 2.2).
        self.snd_wnd = u32::from(seg.window);
        self.max_window = self.snd_wnd;
        self.soft_error = None;
        let saves_ack = self.saves_ack();
        self.is.remove(Is::WANT_SPACE);
        set_state(self, cx, State::Established, Cause::Handshake, Initiator::Peer);
        self.finish_connect(cx);
        // Who opened begins with small segments if it is to search; who was called (as on Linux) with full ones.
        self.sync_mss(cx);
        if self.rare.fast_open.is_some() && self.fast_syn_answered(cx, seg) {
            return;
        }
        if saves_ack || self.is(Is::PINGPONG) {
            self.schedule_ack();
            self.enter_quick_ack(MAX_QUICK_ACKS);
            self.timers.set(&mut cx.wheel, self.key, Timer::DelayedAck, cx.now + DELACK_MAX);
            return;
        }
        self.is.insert(Is::ACK_NOW);
        cx.want_output(self);
    }

    /// Data will follow at once, or something else says that the third segment of the handshake may wait for it.
    fn saves_ack(&self) -> bool {
        self.is(Is::WANT_SPACE) || self.knobs.defer_accept > 0
    }

    /// Forgets what the SYN-ACK acknowledges: the SYN, and text on it.
    fn drop_answered(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.snd_una = seg.ack;
        self.stats.delivered += 1;
        self.stats.syn_acked = true;
        if self.rtx.len() == 1 {
            self.clear_sent();
            return;
        }
        while self.rtx.front().is_some_and(|sent| !sent.end.after(seg.ack)) {
            self.pop_sent();
        }
        if let Some(sent) = self.rtx.front_mut() {
            sent.start = sent.start.max(seg.ack);
        }
        self.release_acked(cx, seg.ack);
    }

    /// Crossed SYNs (RFC 9293 3.5, MUST-10). A FIN on the SYN is ignored; the peer repeats it.
    fn rcv_crossed_syn(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.set_irs(seg.seq);
        self.learn_options(cx, seg.options);
        self.take_ecn_of_crossed_syn(seg);
        self.snd_wnd = u32::from(seg.window);
        self.max_window = self.snd_wnd;
        set_state(self, cx, State::SynReceived, Cause::Syn, Initiator::Peer);
        if let Some(sent) = self.rtx.front_mut() {
            // The SYN-ACK is what the peer's answer will be measured from.
            sent.at = cx.now;
        }
        self.send_handshake(cx);
    }

    /// An ICMP error ends an attempt to connect (RFC 9293 3.9.2.2, RFC 5461; Linux `tcp_v4_err`).
    pub(crate) fn attempt_failed(&mut self, cx: &mut Ctx, error: Error) {
        self.fail(cx, error, Cause::Icmp, Initiator::Administrator);
        cx.signal(self, Ready::OUT);
    }
}

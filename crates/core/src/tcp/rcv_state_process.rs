//! The central dispatcher: SEGMENT ARRIVES in every state but LISTEN and ESTABLISHED (RFC 9293 3.10.7.4, step by step;
//! Linux `tcp_rcv_state_process`).

use super::ack::AckResult;
use super::ecn::Ecn;
use super::fin::Closing;
use super::segment::{Seg, Verdict};
use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::deliberate::DeliberateBug;
use crate::error::Error;
use crate::event::Ready;
use core::time::Duration;
use lastack_wire::tcp::Flags;

/// RTO of the first data when the handshake was retransmitted and gave no sample (RFC 6298 5.7).
const RTO_AFTER_LOST_SYN: Duration = Duration::from_secs(3);

/// Whether to go on with the next step.
enum Step {
    Next,
    Stop(Verdict),
}

impl Tcb {
    pub(crate) fn rcv_state_process(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Verdict {
        match self.state() {
            State::SynSent => return self.rcv_syn_sent(cx, seg),
            State::Closed | State::Listen | State::NewSynRecv | State::TimeWait => return Verdict::Done,
            _ => {}
        }
        if self.fast_opening()
            && let Some(verdict) = self.check_fast_open(cx, seg)
        {
            return verdict;
        }
        // Steps one to four: sequence, RST, security, SYN.
        if !self.validate_incoming(cx, seg) {
            return Verdict::Done;
        }
        // Step five: ACK.
        if !seg.has(Flags::ACK) {
            return Verdict::Done;
        }
        if let Step::Stop(verdict) = self.check_ack(cx, seg) {
            return verdict;
        }
        // Step six: URG.
        self.receive_urgent(cx, seg);
        // Steps seven and eight: text, FIN.
        if let Step::Stop(verdict) = self.check_text(cx, seg) {
            return verdict;
        }
        if self.state() != State::Closed {
            self.snd_check(cx);
            self.ack_snd_check(cx);
        }
        Verdict::Done
    }

    fn check_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Step {
        let opening = self.state() == State::SynReceived;
        let acked = seg.ack.after(self.snd_una) || self.fast_opening() && seg.ack == self.snd_una;
        if opening && !(acked && seg.ack.before_eq(self.snd_nxt)) {
            return Step::Stop(Verdict::Reset);
        }
        match self.tcp_ack(cx, seg) {
            AckResult::Accepted => {}
            AckResult::Old => return Step::Next,
            AckResult::TooOld | AckResult::Unsent => {
                self.challenge_ack(cx);
                return Step::Stop(Verdict::Done);
            }
        }
        if self.state() == State::FinWait1 && self.fast_opening() {
            self.fast_open_done(cx);
        }
        match self.state() {
            State::SynReceived => self.handshake_done(cx, seg),
            State::FinWait1 if self.fin_acked() || cx.makes(DeliberateBug::AckTakenForFin) => {
                return self.fin_wait1_acked(cx, seg);
            }
            State::Closing if self.fin_acked() => {
                self.enter_time_wait(cx, Cause::FinAcked);
                return Step::Stop(Verdict::Done);
            }
            State::LastAck if self.fin_acked() => {
                set_state(self, cx, State::Closed, Cause::FinAcked, Initiator::Peer);
                return Step::Stop(Verdict::Done);
            }
            _ => {}
        }
        Step::Next
    }

    /// SYN_RECEIVED → ESTABLISHED: the third segment of the handshake, or the SYN-ACK of crossed SYNs.
    fn handshake_done(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        // The window of this segment is the first that is scaled, unless it is a SYN-ACK that crossed our SYN.
        let shift = if self.is(Is::SCALED) && !seg.has(Flags::SYN) { self.snd_wscale } else { 0 };
        self.snd_wnd = u32::from(seg.window) << shift;
        self.snd_wl1 = seg.seq;
        self.max_window = self.max_window.max(self.snd_wnd);
        if self.ecn.contains(Ecn::ACCURATE) && !seg.has(Flags::SYN) {
            self.complete_accurate(seg);
        }
        set_state(self, cx, State::Established, Cause::Handshake, Initiator::Peer);
        if self.fast_opening() {
            self.fast_open_done(cx);
        } else {
            self.stats.syn_acked = true;
            self.finish_connect(cx);
        }
        if self.is(Is::SND_SHUT) {
            // shutdown(Write) before the handshake was over: only remembered until now.
            self.close_sending(cx, Cause::Shutdown);
        }
    }

    /// FIN_WAIT_1 with our FIN acknowledged: FIN_WAIT_2, or what an orphan gets instead of it.
    fn fin_wait1_acked(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Step {
        if !self.is_orphan() {
            set_state(self, cx, State::FinWait2, Cause::FinAcked, Initiator::Peer);
            return Step::Next;
        }
        if self.knobs.has(super::options::Knob::NO_FIN_WAIT2) {
            set_state(self, cx, State::Closed, Cause::NoFinWait2, Initiator::Local);
            return Step::Stop(Verdict::Reset);
        }
        if !seg.is_empty() && seg.text_end().after(self.rcv_nxt) {
            // Text for a reader that is gone.
            set_state(self, cx, State::Closed, Cause::DataAfterClose, Initiator::Peer);
            return Step::Stop(Verdict::Reset);
        }
        set_state(self, cx, State::FinWait2, Cause::FinAcked, Initiator::Peer);
        // A FIN in this very segment must not be lost: the full record stays for it.
        match self.orphan_fin_wait2(cx, seg.has(Flags::FIN)) {
            Closing::Stays => Step::Next,
            Closing::Gone => Step::Stop(Verdict::Done),
        }
    }

    fn check_text(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Step {
        match self.state() {
            State::CloseWait | State::Closing | State::LastAck => {
                // After the peer's FIN there is no text. What lies before it is an old duplicate and draws an ACK.
                if !seg.seq.before(self.rcv_nxt) {
                    return Step::Next;
                }
                self.data_queue(cx, seg);
            }
            State::FinWait1 | State::FinWait2 => {
                let shut = self.is(Is::RCV_SHUT);
                if shut && !seg.is_empty() && seg.text_end().after(self.rcv_nxt) {
                    // RFC 9293 3.10.4, RFC 2525 2.17: nobody can read this, and the peer must know.
                    self.fail(cx, Error::ConnectionReset, Cause::DataAfterClose, Initiator::Peer);
                    return Step::Stop(Verdict::Reset);
                }
                self.data_queue(cx, seg);
            }
            State::Established => self.data_queue(cx, seg),
            _ => {}
        }
        Step::Next
    }

    /// What both kinds of open do once they are through (Linux `tcp_finish_connect`, `tcp_init_transfer`).
    pub(crate) fn finish_connect(&mut self, cx: &mut Ctx) {
        self.init_congestion(cx);
        if self.is(Is::SYN_RETRANSMITTED) {
            self.rtt.fall_back(RTO_AFTER_LOST_SYN);
        }
        self.init_rcv_space(cx);
        self.init_snd_space(cx);
        self.init_mtu_probe(cx);
        self.last_received = cx.now;
        self.backoff = 0;
        self.retransmits = 0;
        self.retrans_stamp = None;
        self.cwnd_usage_end = self.snd_una;
        self.recover = self.snd_una;
        self.snd_sml = self.snd_una;
        self.arm_keepalive(cx);
        cx.signal(self, Ready::OUT);
        if self.has_unsent() {
            cx.want_output(self);
        }
    }
}

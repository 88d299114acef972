//! ICMP errors that quote a segment of ours (RFC 9293 3.9.2.2, RFC 5927; Linux `tcp_v4_err`, `tcp_v6_err`).

use super::options::Knob;
use super::state::State;
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::Ready;
use lastack_wire::SeqNumber;

impl Tcb {
    /// The quoted number is in flight (RFC 5927 4.1): otherwise anybody could have sent the message.
    pub(crate) fn quotes_flight(&self, seq: SeqNumber) -> bool {
        // The SYN-ACK of a Fast Open child is not counted as in flight, but it is.
        let una = if self.fast_opening() { self.iss } else { self.snd_una };
        self.state() == State::Listen || seq.between(una, self.snd_nxt)
    }

    /// An error about a segment in flight: it ends an attempt to connect; later it is only remembered (RFC 5461).
    pub(crate) fn icmp_error(&mut self, cx: &mut Ctx, error: Error, seq: SeqNumber, unreachable: bool) {
        match self.state() {
            // A Fast Open child that was accepted is as good as connected.
            State::SynSent | State::SynReceived if !self.fast_opening() || self.is(Is::UNACCEPTED) => {
                self.attempt_failed(cx, error);
            }
            State::Closed | State::Listen | State::TimeWait => {}
            _ => {
                if self.knobs.has(Knob::RECV_ERR) {
                    self.error = Some(error);
                    cx.signal(self, Ready::ERR);
                } else {
                    self.soft_error = Some(error);
                }
                if unreachable {
                    self.undo_one_backoff(cx, seq);
                }
            }
        }
    }

    /// RFC 6069: the unreachable names the segment under back-off, so the loss was no congestion.
    fn undo_one_backoff(&mut self, cx: &mut Ctx, seq: SeqNumber) {
        if seq != self.snd_una || self.retransmits == 0 || self.backoff == 0 {
            return;
        }
        self.backoff -= 1;
        let waited = self.rtx.front().map_or(core::time::Duration::ZERO, |sent| cx.now - sent.at);
        let left = self.backed_off_rto(cx).saturating_sub(waited);
        let at = cx.now + left.max(core::time::Duration::from_millis(1));
        self.timers.set(&mut cx.wheel, self.key, super::timers::Timer::Retransmit, at);
    }

    /// The path carries less than was believed: smaller segments, and what was too big again at once (RFC 1191 6.4,
    /// RFC 8201 5.4). Not a sign of congestion.
    pub(crate) fn mtu_reduced(&mut self, cx: &mut Ctx, mtu: u16) {
        if self.knobs.has(Knob::IGNORE_TOO_BIG) {
            return;
        }
        if mtu >= self.path_mtu || matches!(self.state(), State::Closed | State::Listen | State::TimeWait) {
            return;
        }
        self.path_mtu = mtu;
        self.sync_mss(cx);
        if self.fast_syn_was_too_large() {
            self.is.insert(Is::SYN_RETRANSMITTED);
            return self.retransmit_handshake(cx);
        }
        if self.state() != State::SynSent && self.state() != State::SynReceived && self.outstanding() > 0 {
            self.resend_too_large(cx);
        }
    }
}

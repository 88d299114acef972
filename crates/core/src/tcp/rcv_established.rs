//! The path of a segment on an open connection (RFC 9293 3.10.7.4 in ESTABLISHED; Linux `tcp_rcv_established`): header
//! prediction first, everything else in the general order of checks.

use super::ack::AckResult;
use super::segment::{Seg, Verdict};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use lastack_wire::tcp::Flags;

impl Tcb {
    pub(crate) fn rcv_established(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Verdict {
        if self.is_predicted(seg) && cx.may_take(ShortPaths::PREDICTION) {
            cx.counters.predicted += 1;
            self.tcp_ack(cx, seg);
            if !seg.payload.is_empty() {
                self.data_queue(cx, seg);
            }
        } else {
            if !self.validate_incoming(cx, seg) || !seg.has(Flags::ACK) {
                return Verdict::Done;
            }
            match self.tcp_ack(cx, seg) {
                AckResult::Accepted | AckResult::Old => {}
                AckResult::TooOld | AckResult::Unsent => {
                    self.challenge_ack(cx);
                    return Verdict::Done;
                }
            }
            self.receive_urgent(cx, seg);
            self.data_queue(cx, seg);
        }
        self.snd_check(cx);
        self.ack_snd_check(cx);
        Verdict::Done
    }

    /// The common case: in order, nothing but ACK and PSH, the window as it was, the stamp not old. Such a segment
    /// needs none of the checks of `validate_incoming`.
    fn is_predicted(&self, seg: &Seg<'_>) -> bool {
        let shift = if self.is(Is::SCALED) { self.snd_wscale } else { 0 };
        seg.flags.difference(Flags::PSH) == Flags::ACK
            && seg.seq == self.rcv_nxt
            && u32::from(seg.window) << shift == self.snd_wnd
            && seg.ack.between(self.snd_una, self.snd_nxt)
            && seg.payload.len() as u32 <= self.receive_window()
            && !self.is(Is::URGENT_PENDING)
            && match seg.options.timestamps {
                Some((value, _)) => self.is(Is::TIMESTAMPS) && value.wrapping_sub(self.ts_recent) as i32 >= 0,
                None => !self.is(Is::TIMESTAMPS),
            }
    }

    /// After input: something may be sendable now (Linux `tcp_data_snd_check`).
    pub(crate) fn snd_check(&mut self, cx: &mut Ctx) {
        self.end_more();
        if self.wants_output() {
            cx.want_output(self);
        }
    }
}

//! Which RST to send, with which numbers, and when to stay silent (RFC 9293 3.5.2, 3.10.7.1; Linux `tcp_v4_send_reset`,
//! `tcp_send_active_reset`).

use super::output::OutSegment;
use super::segment::Seg;
use super::state::State;
use super::tcb::{Tcb, Tuple};
use crate::ctx::Ctx;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::{Flags, Repr};

/// The reflex: a segment came that belongs to nothing. A RST is never answered.
pub(crate) fn send_reset(cx: &mut Ctx, tuple: &Tuple, seg: &Seg<'_>) {
    if seg.has(Flags::RST) {
        return;
    }
    let mut repr = Repr {
        src_port: tuple.local_port,
        dst_port: tuple.remote_port,
        flags: Flags::RST,
        ..Repr::default()
    };
    if seg.has(Flags::ACK) {
        repr.seq = seg.ack;
    } else {
        repr.seq = SeqNumber(0);
        repr.ack = seg.end_seq;
        repr.flags |= Flags::ACK;
    }
    cx.counters.out_rsts += 1;
    cx.counters.out_segs += 1;
    let ttl = cx.cfg.tcp.ttl;
    cx.send_segment(OutSegment { src: tuple.local, dst: tuple.remote, ttl, tos: 0, repr });
}

impl Tcb {
    /// The RST of an abort: SEQ=SND.NXT (or the window's edge), ACK set. It carries timestamps as any segment of the
    /// connection (RFC 7323 3.2).
    pub(crate) fn send_active_reset(&mut self, cx: &mut Ctx) {
        if matches!(self.state(), State::Closed | State::Listen | State::SynSent | State::TimeWait) {
            return;
        }
        self.sack_reset();
        let mut repr = self.ack_repr(cx);
        repr.flags |= Flags::RST;
        let segment = self.address(repr);
        self.count_out(cx);
        cx.counters.out_rsts += 1;
        cx.send_segment(segment);
    }
}

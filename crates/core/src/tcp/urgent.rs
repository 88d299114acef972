//! The urgent pointer as Linux's default reads it (RFC 9293 3.8.5, RFC 6093; Linux `tcp_check_urg`, `tcp_urg`): one
//! mark, the byte before the pointer's target is taken out of the stream unless `OobInline` is set.
//!
//! The pointer is one sequence number and never a length: nothing is sized by it.

use super::options::Knob;
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::event::Ready;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

impl Tcb {
    /// Step six of SEGMENT ARRIVES. Ignored once the peer's FIN took effect.
    pub(crate) fn receive_urgent(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        if seg.has(Flags::URG) && !self.is(Is::DONE) {
            self.note_urgent(cx, seg);
        }
        if !self.is(Is::URGENT_PENDING) || self.is.intersects(Is::URGENT_VALID | Is::URGENT_READ) {
            return;
        }
        let at = self.urg_seq - seg.seq;
        if let Ok(at) = usize::try_from(at)
            && let Some(byte) = seg.payload.get(at)
        {
            self.urg_byte = *byte;
            self.is.insert(Is::URGENT_VALID);
            cx.signal(self, Ready::PRI);
        }
    }

    fn note_urgent(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        // RFC 1011's reading, as all stacks but the RFC's: the pointer names the byte after the urgent one.
        let Some(back) = seg.urgent.checked_sub(1) else { return };
        let mark = seg.seq + u32::from(back);
        let read_up_to = self.rcv_seq(self.rcv_buf.read_pos());
        let known = self.is(Is::URGENT_PENDING) && !mark.after(self.urg_seq);
        if mark.before(read_up_to) || mark.before(self.rcv_nxt) || known {
            return;
        }
        // The urgent byte before it becomes part of the stream, except at its head: there it would be seen twice.
        if self.readable_before_mark() == (self.rcv_buf.readable(), true) {
            self.rcv_buf.discard(&mut cx.pool, 1);
        }
        self.urg_seq = mark;
        self.is.remove(Is::URGENT_VALID | Is::URGENT_READ);
        self.is.insert(Is::URGENT_PENDING);
        cx.signal(self, Ready::PRI);
    }

    /// The reader has passed the mark: the urgent byte, read or not, is gone.
    pub(crate) fn urgent_passed(&mut self) {
        self.is.remove(Is::URGENT_PENDING | Is::URGENT_VALID | Is::URGENT_READ);
    }

    /// The reader stands at the mark.
    pub(crate) fn at_urgent_mark(&self) -> bool {
        self.is(Is::URGENT_PENDING) && self.urg_seq == self.rcv_seq(self.rcv_buf.read_pos())
    }

    /// Bytes that a read may take before it meets the mark, and whether the next byte is the urgent one that the
    /// reader must not see.
    pub(crate) fn readable_before_mark(&self) -> (usize, bool) {
        let readable = self.rcv_buf.readable();
        if !self.is(Is::URGENT_PENDING) {
            return (readable, false);
        }
        let position: SeqNumber = self.rcv_seq(self.rcv_buf.read_pos());
        match usize::try_from(self.urg_seq - position) {
            Ok(0) if readable > 0 => {
                if self.knobs.has(Knob::OOB_INLINE) {
                    (readable, false)
                } else {
                    (readable, true)
                }
            }
            Ok(before) => (readable.min(before), false),
            Err(_) => (readable, false),
        }
    }
}

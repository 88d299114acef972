//! One short segment while nothing is in flight and nothing else is to be sent: what a connection of requests and answers
//! sends nearly always. It does what [`Tcb::output`] and the end of its turn do in general, without looking for what cannot
//! be.

use super::ecn::NOT_ECT;
use super::emitted::Emitted;
use super::options::Knob;
use super::scoreboard::{CaState, Sent, SentFlags};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::short_paths::ShortPaths;
use lastack_wire::tcp::{Flags, Header};

impl Tcb {
    /// Length of the text that is left to be sent, if it and the FIN behind it can leave in one segment, shorter than a
    /// full one, and nothing has to be looked at but the windows.
    #[inline]
    fn lone_text(&self, cx: &Ctx, header: usize) -> Option<u32> {
        if !self.rtx.is_empty() {
            return None;
        }
        let plain = self.loss.is_none()
            && self.ca_state == CaState::Open
            && self.rare.is_none()
            && self.received.is_none()
            && self.ecn.is_empty()
            && self.congestion.is_plain()
            && self.marks.urgent.is_none()
            && !self.is.intersects(Is::MORE | Is::PROBING | Is::DEFERS | Is::STARVED)
            && !self.knobs.on.intersects(Knob::CORK | Knob::SEGMENTATION_MODEL)
            && cx.cfg.tcp.segmentation_model.is_none()
            && cx.now.nanos_since(self.last_sent) <= self.rtt.rto_nanos();
        let data_end = self.snd_seq(self.snd_buf.end());
        let len = (data_end - self.snd_nxt).max(0).cast_unsigned();
        let end = data_end + u32::from(self.is(Is::FIN_QUEUED));
        let fits = len < self.payload_mss(header) && !end.after(self.window_end());
        let one_write =
            len == 0 || self.marks.queue.only().is_some_and(|mark| mark.end == self.snd_buf.end());
        let one_piece = self.snd_buf.last(len as usize).len() == len as usize;
        (plain && fits && one_write && one_piece && cx.may_take(ShortPaths::LONE_OUTPUT)).then_some(len)
    }

    /// Sends what [`Tcb::lone_text`] found, in a state that may send it. The outer `None`: the general way has to be taken.
    #[inline]
    pub(super) fn output_lone(&mut self, cx: &mut Ctx, frame: &mut [u8]) -> Option<Option<Emitted>> {
        let header = self.plain_header_len();
        let len = self.lone_text(cx, header)?;
        let start = self.snd_nxt;
        let fin = self.is(Is::FIN_QUEUED);
        let end = start + len + u32::from(fin);
        let marks = if len > 0 { self.pass_marks(start + len) } else { SentFlags::empty() };
        let mut flags = Flags::ACK;
        flags.set(Flags::FIN, fin);
        flags.set(Flags::PSH, marks.contains(SentFlags::PUSH));
        let window = self.select_window(cx);
        let (src_port, dst_port) = (self.tuple.local_port, self.tuple.remote_port);
        let fields = Header { src_port, dst_port, seq: start, ack: self.rcv_nxt, flags, window, urgent: 0 };
        let stamps = self.stamps(cx);
        let text = self.snd_buf.last(len as usize);
        let emitted =
            self.envelope(NOT_ECT).emit(frame, (header, len as usize), cx.caps.tx_checksum, |segment| {
                let (_, mut sum) = fields.emit_summed(stamps, segment).ok()?;
                if len > 0 {
                    sum.copy_bytes(text, segment.get_mut(header..)?);
                }
                Some(sum)
            });
        let Some(emitted) = emitted else { return Some(None) };
        if len > 0 {
            self.stats.bytes_sent += u64::from(len);
            self.stats.data_segs_out = self.stats.data_segs_out.wrapping_add(1);
            self.snd_sml = end;
        }
        self.congestion.on_tx_start(cx.now, self.last_sent, None);
        let stamp = self.stamp(cx.now);
        let flags = marks | self.stamp_flag();
        self.push_sent(Sent {
            start,
            end,
            at: cx.now,
            delivered: self.stats.delivered,
            stamp,
            segs: 1,
            flags,
        });
        self.snd_nxt = end;
        self.last_sent = cx.now;
        self.is.remove(Is::PUSH_PENDING);
        self.note_answer(cx);
        if !self.is_writable() {
            self.is.insert(Is::WANT_SPACE);
        }
        self.validate_window(cx, self.congestion.cwnd() <= 1);
        if !self.schedule_loss_probe(cx, false) {
            self.rearm_rto(cx);
        }
        self.ack_sent();
        self.count_out(cx);
        Some(Some(emitted))
    }
}

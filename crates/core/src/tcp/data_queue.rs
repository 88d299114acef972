//! Text (RFC 9293 3.10.7.4 step seven; Linux `tcp_data_queue`), the SACK blocks that report holes (RFC 2018, RFC 2883),
//! and when to acknowledge (RFC 9293 3.8.6.3; Linux `__tcp_ack_snd_check`).

use super::segment::Seg;
use super::tcb::{Is, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::event::Ready;
use crate::short_paths::ShortPaths;
use crate::time::{NANOS_PER_MILLI, nanos};
use alloc::vec::Vec;
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

/// Most immediate ACKs at the start and after an upset (Linux `TCP_MAX_QUICKACKS`).
pub(crate) const MAX_QUICK_ACKS: u8 = 16;
/// Longest delay of an ACK (RFC 9293 3.8.6.3: below 500 ms; Linux `TCP_DELACK_MAX`).
pub(crate) const DELACK_MAX: Duration = Duration::from_millis(200);

/// Ranges that are reported (RFC 2018 3).
const SACK_RANGES: usize = 4;

/// What the peer is told of data that arrived out of order, or twice. Made when there is some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Most recent ranges first (RFC 2018 4); at most [`SACK_RANGES`].
    ranges: Vec<(SeqNumber, SeqNumber)>,
    /// A duplicate to report once (RFC 2883).
    dsack: Option<(SeqNumber, SeqNumber)>,
}

impl Received {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.dsack.is_none()
    }
}

impl Tcb {
    /// Takes the text and the FIN of a segment that passed all checks.
    pub(crate) fn data_queue(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        if seg.has(Flags::CWR) {
            self.accept_cwr(seg);
        }
        if seg.is_empty() {
            return;
        }
        self.measure_rtt_by_stamp(cx, seg);
        if seg.seq == self.rcv_nxt && self.has_no_holes() {
            if seg.payload.is_empty() && cx.may_take(ShortPaths::NEXT_FIN) {
                // A bare FIN. It takes no room: with a shut window some peers would repeat it for ever otherwise.
                return self.fin_in_order(cx, seg.seq);
            }
            if !seg.has(Flags::FIN)
                && seg.placed == 0
                && seg.payload.len() <= self.receive_window() as usize
                && cx.may_take(ShortPaths::NEXT_TEXT)
            {
                return self.store_next(cx, seg);
            }
        }
        if !seg.end_seq.after(self.rcv_nxt) {
            self.old_data(cx, seg);
            return;
        }
        let window = self.receive_window();
        if seg.seq == self.rcv_nxt && window == 0 {
            if seg.payload.is_empty() {
                self.fin_in_order(cx, seg.seq);
            } else {
                cx.counters.zero_window_drops += 1;
                self.refuse_text(cx);
            }
            return;
        }
        if !seg.seq.before(self.rcv_nxt + window) && seg.seq != self.rcv_nxt {
            self.refuse_text(cx);
            return;
        }
        if seg.seq.before(self.rcv_nxt) {
            self.set_dsack(cx, seg.seq, self.rcv_nxt);
            if window == 0 {
                self.refuse_text(cx);
                return;
            }
        }
        self.store(cx, seg);
    }

    /// All of it was received before: our ACK was lost, or the peer repeats without need.
    fn old_data(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.set_dsack(cx, seg.seq, seg.end_seq);
        self.refuse_text(cx);
    }

    /// Text that is not taken is acknowledged at once.
    fn refuse_text(&mut self, cx: &mut Ctx) {
        self.enter_quick_ack(u8::MAX);
        self.schedule_ack();
        self.is.insert(Is::ACK_NOW);
        cx.want_output(self);
    }

    /// All that has arrived is in order, and its memory is not modelled.
    fn has_no_holes(&self) -> bool {
        self.rcv_space.memory.is_none()
            && self.rcv_buf.ranges().is_empty()
            && self.fin_at.is_none()
            && !self.is(Is::DONE)
    }

    /// As [`Tcb::store`], for text that is what comes next, while there are no holes.
    fn store_next(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        let stored = self.rcv_buf.append(&mut cx.pool, seg.payload);
        if stored > 0 {
            self.rcv_nxt += stored as u32;
            self.stats.bytes_received += stored as u64;
            self.event_data_received(cx, seg);
        }
        if stored < seg.payload.len() {
            self.refuse_text(cx);
        }
        if stored > 0 {
            cx.signal(self, Ready::IN);
        }
    }

    fn store(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        let Some(offset) = self.rcv_offset(seg.seq) else { return };
        let in_order = !seg.seq.after(self.rcv_nxt);
        let had_holes = !self.rcv_buf.ranges().is_empty() || self.fin_at.is_some();
        let max_ranges = cx.cfg.tcp.max_out_of_order_ranges;
        let placed = self.rcv_buf.take_placed(&mut cx.pool, offset, (seg.placed, seg.payload));
        let done =
            placed.unwrap_or_else(|| self.rcv_buf.insert(&mut cx.pool, offset, seg.payload, max_ranges));
        self.rcv_nxt += done.advanced as u32;
        if !in_order && done.stored > 0 {
            self.tune_out_of_order(cx, seg);
        }
        self.model_memory(seg, offset, done.stored);
        self.stats.bytes_received += done.advanced;
        if self.fin_at.is_some_and(|at| at.before(self.rcv_nxt)) {
            // A FIN in the middle of text: a forgery, or a peer that changed its mind.
            self.fin_at = None;
        }
        if seg.has(Flags::FIN) && done.dropped == 0 {
            self.fin_at.get_or_insert(seg.text_end());
        }
        if done.advanced > 0 {
            self.event_data_received(cx, seg);
        }
        if let Some((from, to)) = done.duplicate {
            self.set_dsack(cx, self.rcv_seq(from), self.rcv_seq(to));
        }
        if !in_order {
            cx.counters.ofo_queued += u64::from(done.stored > 0);
            self.stats.out_of_order = self.stats.out_of_order.wrapping_add(1);
            cx.counters.ofo_dropped_bytes += done.dropped as u64;
            self.note_out_of_order(cx, seg);
            return;
        }
        if had_holes {
            self.sack_advance();
            // The ACK of a segment that fills a hole is not delayed (RFC 5681 4.2).
            self.is.insert(Is::ACK_NOW);
        }
        if self.fin_at == Some(self.rcv_nxt) {
            self.fin_in_order(cx, self.rcv_nxt);
        }
        if done.dropped > 0 {
            self.refuse_text(cx);
        }
        if done.advanced > 0 {
            cx.signal(self, Ready::IN);
        }
    }

    pub(crate) fn set_dsack(&mut self, cx: &Ctx, start: SeqNumber, end: SeqNumber) {
        if self.is(Is::SACK) && cx.cfg.tcp.sack {
            self.received.get_or_insert_default().dsack = Some((start, end));
        }
    }

    /// A segment above RCV.NXT was kept (or could not be): tell the peer at once, newest range first.
    fn note_out_of_order(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.note_mark(cx, seg.ecn);
        self.enter_quick_ack(u8::MAX);
        if self.is(Is::SACK) && cx.cfg.tcp.sack {
            let range = self
                .rcv_offset(seg.seq)
                .and_then(|offset| {
                    // A bare FIN stands behind what it ends.
                    let at = offset - u64::from(seg.payload.is_empty() && offset > 0);
                    self.rcv_buf.range_containing(at).filter(|(_, to)| *to >= offset)
                })
                .map(|(from, to)| (self.rcv_seq(from), self.rcv_seq(to)));
            let (start, end) = range.unwrap_or((seg.seq, seg.seq));
            let end = if self.fin_at == Some(end) { end + 1 } else { end };
            if start != end {
                self.sack_newest(start, end);
            }
        }
        self.schedule_ack();
        self.send_ack(cx);
    }

    /// Puts a range in front, dropping those that it covers.
    fn sack_newest(&mut self, start: SeqNumber, end: SeqNumber) {
        let received = self.received.get_or_insert_default();
        received.ranges.retain(|range| !(start.before_eq(range.0) && range.1.before_eq(end)));
        received.ranges.truncate(SACK_RANGES - 1);
        received.ranges.insert(0, (start, end));
    }

    /// Forgets the blocks that RCV.NXT has passed.
    fn sack_advance(&mut self) {
        let next = self.rcv_nxt;
        if let Some(received) = self.received.as_deref_mut() {
            received.ranges.retain(|range| range.1.after(next));
            self.forget_empty();
        }
    }

    fn forget_empty(&mut self) {
        if self.received.as_deref().is_some_and(|received| received.is_empty()) {
            self.received = None;
        }
    }

    pub(crate) fn sack_reset(&mut self) {
        self.received = None;
    }

    /// The duplicate has been reported.
    pub(crate) fn dsack_sent(&mut self) {
        if let Some(received) = self.received.as_deref_mut() {
            received.dsack = None;
            self.forget_empty();
        }
    }

    /// Ranges that arrived out of order, the most recent first.
    pub(crate) fn sack_ranges(&self) -> &[(SeqNumber, SeqNumber)] {
        self.received.as_deref().map_or(&[], |received| &received.ranges)
    }

    /// A duplicate that is still to be reported.
    pub(crate) fn dsack(&self) -> Option<(SeqNumber, SeqNumber)> {
        self.received.as_deref()?.dsack
    }

    pub(crate) fn schedule_ack(&mut self) {
        self.is.insert(Is::ACK_SCHEDULED);
    }

    /// The next ACKs are not delayed (Linux `tcp_enter_quickack_mode`).
    pub(crate) fn enter_quick_ack(&mut self, max: u8) {
        let quick = match self.rcv_wnd / (2 * u32::from(self.delack.rcv_mss).max(1)) {
            0 => 2,
            per_window => per_window.min(u32::from(MAX_QUICK_ACKS)) as u8,
        };
        self.delack.quick = self.delack.quick.max(quick.min(max));
        self.is.remove(Is::PINGPONG);
        self.delack.ato_ms = 40;
    }

    /// Text arrived in order: learns the peer's segment size and the rhythm of its sending (Linux
    /// `tcp_event_data_recv`).
    fn event_data_received(&mut self, cx: &mut Ctx, seg: &Seg<'_>) {
        self.schedule_ack();
        self.measure_rcv_mss(cx, seg);
        self.tune_ato(cx);
        self.note_mark(cx, seg.ecn);
        self.tune_for_data(cx, seg);
    }

    /// The peer's segments are at least so large (Linux `tcp_measure_rcv_mss`).
    fn measure_rcv_mss(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        let len = if seg.gso_size > 0 { usize::from(seg.gso_size) } else { seg.payload.len() };
        let len = len.min(usize::from(u16::MAX)) as u16;
        let full = len >= self.delack.rcv_mss;
        if full {
            if len != self.delack.rcv_mss {
                self.reckon_worth(seg);
            }
            self.delack.rcv_mss = len.min(self.receive_mss(cx).min(u32::from(u16::MAX)) as u16);
        }
        if !full || seg.has(Flags::PSH) {
            self.is.set(Is::ACK_PUSHED_TWICE, self.is(Is::ACK_PUSHED) && !full);
            self.is.insert(Is::ACK_PUSHED);
        }
    }

    /// The delay of ACKs follows the rhythm in which text comes.
    fn tune_ato(&mut self, cx: &Ctx) {
        let min = nanos(cx.cfg.tcp.delayed_ack);
        let gap = cx.now.nanos_since(self.delack.last_data);
        let ato = u64::from(self.delack.ato_ms) * NANOS_PER_MILLI;
        if ato == 0 {
            self.enter_quick_ack(MAX_QUICK_ACKS);
            self.delack.ato_ms = (min / NANOS_PER_MILLI) as u16;
        } else if gap <= min / 2 {
            self.set_ato(ato / 2 + min / 2);
        } else if gap < ato {
            self.set_ato((ato / 2 + gap).min(self.rtt.rto_nanos()));
        } else if gap > self.rtt.rto_nanos() {
            let pingpong = self.is(Is::PINGPONG);
            self.enter_quick_ack(MAX_QUICK_ACKS);
            self.is.set(Is::PINGPONG, pingpong);
        }
        self.delack.last_data = cx.now;
    }

    /// Text that came out of order shows how large segments are and how far the buffer has to reach (Linux
    /// `tcp_data_queue_ofo`). Without SACK the window stays, so that the peer can tell duplicate ACKs.
    fn tune_out_of_order(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        self.measure_rcv_mss(cx, seg);
        if self.is(Is::SACK) {
            self.grow_window(cx, seg);
        }
        if self.is(Is::OWNED) {
            self.grow_recv_buffer(cx, self.rcv_space.space);
        }
    }

    fn set_ato(&mut self, nanos: u64) {
        self.delack.ato_ms = (nanos / NANOS_PER_MILLI).min(60_000) as u16;
    }

    /// Decides whether the ACK that is owed leaves now or waits.
    pub(crate) fn ack_snd_check(&mut self, cx: &mut Ctx) {
        if !self.is(Is::ACK_SCHEDULED) {
            return;
        }
        let unacked = self.rcv_nxt.distance_from(self.rcv_wup);
        let second_segment = unacked > u32::from(self.delack.rcv_mss) && self.window_keeps_up(cx);
        let quick = self.delack.quick > 0 && !self.is(Is::PINGPONG);
        if second_segment || quick || self.is(Is::ACK_NOW) || !self.rcv_buf.ranges().is_empty() {
            self.is.insert(Is::ACK_NOW);
            cx.want_output(self);
        } else if !self.timers.is_armed(Timer::DelayedAck) {
            self.arm_delayed_ack(cx);
        }
    }

    /// The reader keeps up: less than half of the buffer is unread. Otherwise the reader's call sends the ACK, or the
    /// timer. (Linux, and the model of it, wait for the reader as soon as the right edge cannot move on.)
    fn window_keeps_up(&mut self, cx: &Ctx) -> bool {
        if self.rcv_space.memory.is_some() {
            return self.wanted_window(cx) >= self.rcv_wnd;
        }
        self.rcv_buf.readable() as u32 <= self.knobs.recv_buffer / 2
    }

    fn arm_delayed_ack(&mut self, cx: &mut Ctx) {
        let min = nanos(cx.cfg.tcp.delayed_ack);
        let ato = u64::from(self.delack.ato_ms) * NANOS_PER_MILLI;
        let most = nanos(DELACK_MAX);
        let longest = match self.rtt.srtt_micros() {
            0 => most,
            srtt => most.min(u64::from(srtt) * 1000),
        };
        let at = cx.now.plus_nanos(ato.clamp(min, longest.max(min)));
        self.timers.set(&mut cx.wheel, self.key, Timer::DelayedAck, at);
    }
}

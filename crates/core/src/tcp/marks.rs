//! Where the application's writes end in the send queue: PSH, records (`MSG_EOR`) and the urgent byte that we send
//! (RFC 9293 3.9.1.2, 3.8.5; Linux `tcp_sendmsg_locked`, `tcp_mark_push`, `tcp_mark_urg`).
//!
//! Linux cuts what is written into buffers: a write fills the last unsent one up to a size, and no segment takes bytes of
//! two. PSH stands on the segment that ends a buffer which a write has ended, and stays with those bytes when they are
//! sent again.

use super::pacing::PACKET_MAX;
use super::scoreboard::{CaState, SentFlags};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::queue::Queue;
use crate::time::Instant;
use core::time::Duration;
use lastack_wire::SeqNumber;

/// Most bytes of one buffer, before it is cut to whole segments (Linux: 65,536 less the room for headers).
const BUFFER_MAX: u32 = PACKET_MAX;

/// Memory that Linux counts for the record of a buffer (`truesize` of an empty one).
const RECORD_MEMORY: usize = 832;

bitflags::bitflags! {
    /// How a write goes on (`send()` flags of Linux).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SendFlags: u8 {
        /// `MSG_MORE`: more will follow at once, hold back what does not fill a segment.
        const MORE = 1;
        /// `MSG_EOR`: the last byte ends a record; no segment carries bytes from both sides of it.
        const END_OF_RECORD = 2;
        /// `MSG_OOB`: the last byte is urgent.
        const URGENT = 4;
        /// The caller sleeps until all of it is taken. While the connection is being opened, the ACK that ends the
        /// handshake then waits for it, up to 200 ms (Linux `sk_write_pending`).
        const SLEEPS = 8;
    }
}

/// The end of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// Offset in the send stream.
    pub(crate) end: u64,
    pub(crate) push: bool,
    /// Nothing may be added to the buffer.
    pub(crate) record: bool,
}

/// Ends of the buffers that wait to be sent. At most one for each [`BUFFER_MAX`] bytes and one for each record.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    pub(crate) queue: Queue<Mark>,
    /// Offset at which the last buffer starts.
    pub(crate) tail: u64,
    /// Offset of the last PSH.
    pub(crate) pushed: u64,
    /// The number after the urgent byte that we sent last.
    pub(crate) urgent: Option<SeqNumber>,
    /// End of the packet of the segmentation model that is being sent, and whether it has several segments.
    pub(crate) burst_end: SeqNumber,
    pub(crate) burst_pushes: bool,
    /// Packets of the model in flight.
    pub(crate) bursts: u32,
}

impl Marks {
    pub(crate) const fn new() -> Self {
        Self {
            queue: Queue::new(),
            tail: 0,
            pushed: 0,
            urgent: None,
            burst_end: SeqNumber(0),
            burst_pushes: false,
            bursts: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.queue.shrink_idle(0);
        self.urgent = None;
        self.bursts = 0;
    }

    fn ends_record(&self, end: u64) -> bool {
        let last = self.queue.len().checked_sub(1).and_then(|last| self.queue.get(last));
        last.is_some_and(|mark| mark.end == end && mark.record)
    }

    /// A record ends before `offset`, behind which no segment may reach.
    pub(crate) fn record_before(&self, offset: u64) -> bool {
        self.queue.iter().take_while(|mark| mark.end < offset).any(|mark| mark.record)
    }

    fn set(&mut self, end: u64, push: bool, record: bool) {
        if push {
            self.pushed = end;
        }
        match self.queue.back_mut().filter(|mark| mark.end == end) {
            Some(mark) => {
                mark.push |= push;
                mark.record |= record;
            }
            None => self.queue.push_back(Mark { end, push, record }),
        }
    }
}

impl Tcb {
    /// Most bytes that one buffer takes: whole segments, and no more than half of the largest window seen.
    pub(crate) fn buffer_goal(&self) -> u64 {
        let mss = self.effective_mss().max(1);
        let bound = if self.max_window > 1 { BUFFER_MAX.min(self.max_window >> 1) } else { BUFFER_MAX };
        u64::from((bound - bound % mss).max(mss))
    }

    /// The application has just written `taken` bytes; `whole`: all that it had.
    pub(crate) fn note_written(&mut self, taken: usize, whole: bool, flags: SendFlags) {
        let goal = self.buffer_goal();
        let end = self.snd_buf.end();
        let mut at = end - taken as u64;
        let sent = self.snd_offset(self.snd_nxt.min(self.snd_seq(end))).min(at);
        let mut first = true;
        while at < end {
            let start = self.marks.tail.max(sent);
            let closed = self.marks.ends_record(at);
            let room = if at > start && !closed { goal.saturating_sub(at - start) } else { 0 };
            if room == 0 {
                self.marks.tail = at;
            } else if first && self.marks.queue.back_mut().is_some_and(|mark| mark.end == at) {
                // The buffer grows: its end moves.
                self.marks.queue.pop_back();
            }
            first = false;
            at += (end - at).min(if room == 0 { goal } else { room });
            if at < end && self.push_is_due(at) {
                self.marks.set(at, true, false);
            }
        }
        if taken > 0 {
            let push = !flags.contains(SendFlags::MORE) || self.push_is_due(end);
            let record = whole && flags.contains(SendFlags::END_OF_RECORD);
            if push || record {
                self.marks.set(end, push, record);
            }
            if flags.contains(SendFlags::URGENT) {
                self.marks.urgent = Some(self.snd_seq(end));
            }
        }
    }

    /// Room for a write under the segmentation model: the last buffer is filled up without a question, a new one is begun
    /// while anything is free (Linux `sk_stream_memory_free`).
    pub(crate) fn modelled_room(&self) -> usize {
        let end = self.snd_buf.end();
        let goal = self.buffer_goal();
        let start = self.marks.tail.max(self.snd_offset(self.snd_nxt.min(self.snd_seq(end)))).min(end);
        let record = self.marks.ends_record(end);
        if end > start && end - start < goal && !record {
            (goal - (end - start)) as usize
        } else if self.send_space() > 0 && self.lowat_space() > 0 {
            goal as usize
        } else {
            0
        }
    }

    /// Memory beside the payload that Linux would count.
    pub(crate) fn modelled_overhead(&self) -> usize {
        let unsent = self.snd_seq(self.snd_buf.end()) - self.snd_nxt;
        let waiting = u64::from(unsent.max(0).cast_unsigned()).div_ceil(self.buffer_goal());
        (u64::from(self.marks.bursts) + waiting) as usize * RECORD_MEMORY
    }

    /// `data` bytes wait in the buffer, and `tail` says that Nagle lets its end go. Bytes up to the end of the packet that
    /// Linux would send now and have split into segments (Linux `tcp_write_xmit`,
    /// `tcp_tso_autosize`, `tcp_mss_split_point`). `None`: nothing for now.
    pub(crate) fn modelled_burst(
        &mut self,
        cx: &Ctx,
        mss: u32,
        data: u32,
        (window, room): (u32, u32),
        tail: bool,
    ) -> Option<u32> {
        if self.marks.burst_end.after(self.snd_nxt) {
            return Some(self.marks.burst_end.distance_from(self.snd_nxt));
        }
        let cwnd = self.congestion.cwnd();
        let packet = self.packet_segments(cx, mss);
        let last = self.marks.queue.len() <= 1;
        if data > mss && self.defers(cx.now, data, (window, room), packet.saturating_mul(mss), last) {
            return None;
        }
        let quota = (room / mss).min((cwnd / 2).max(1)).min(packet).max(1);
        let len = data.min(window).min(quota.saturating_mul(mss));
        let whole = len == data && tail;
        if len < mss && !whole {
            // Held back for now: more may come to it.
            return Some(u32::MAX);
        }
        let len = if whole { len } else { len - len % mss };
        self.marks.burst_end = self.snd_nxt + len;
        self.marks.burst_pushes = len > mss;
        Some(len)
    }

    /// Waits for the next ACK to send a larger packet: what may leave is a small part of the window, something left just
    /// now, and the ACK is not far (Linux `tcp_tso_should_defer`).
    fn defers(
        &mut self,
        now: Instant,
        data: u32,
        (window, room): (u32, u32),
        packet: u32,
        last: bool,
    ) -> bool {
        let Some(oldest) = self.rtx.front().map(|sent| sent.at) else { return false };
        let limit = window.min(room);
        let share = self.snd_wnd.min(self.congestion.cwnd().saturating_mul(self.effective_mss())) / 3;
        let soon = now - oldest >= Duration::from_micros(u64::from(self.rtt.srtt_micros()) / 2);
        let sends = self.ca_state >= CaState::Recovery
            || now - self.last_sent > Duration::from_millis(1)
            || limit >= packet
            || (!last && limit >= data)
            || limit >= share
            || !soon;
        if sends {
            return false;
        }
        if room < window && room <= data {
            self.is.insert(Is::DEFERS);
            return true;
        }
        (window <= room && window <= data) || !(last && self.is(Is::FIN_QUEUED))
    }

    /// Marks what is queued as the end of a write, and lets it go (Linux `tcp_push`).
    pub(crate) fn push_queued(&mut self) {
        let end = self.snd_buf.end();
        if self.snd_nxt.before(self.snd_seq(end)) {
            self.marks.set(end, true, false);
        }
        self.is.remove(Is::MORE);
    }

    /// Linux `forced_push`: half of the largest window is queued without a PSH.
    fn push_is_due(&self, end: u64) -> bool {
        end > self.marks.pushed + u64::from(self.max_window >> 1)
    }

    /// Unsent bytes that the next segment may draw from: up to the end of the buffer they are in. The second value says
    /// that more follows behind it.
    pub(crate) fn unsent_in_buffer(&self) -> (u32, bool) {
        let data_end = self.snd_seq(self.snd_buf.end());
        if !self.snd_nxt.before(data_end) {
            return (0, false);
        }
        let all = data_end.distance_from(self.snd_nxt);
        match self.marks.queue.front() {
            Some(mark) => {
                let buffer = self.snd_seq(mark.end).distance_from(self.snd_nxt).min(all);
                (buffer, buffer < all)
            }
            None => (all, false),
        }
    }

    /// New bytes up to `end` leave: whether the segment carries PSH, and ends a record. Forgets the marks behind it.
    pub(crate) fn pass_marks(&mut self, end: SeqNumber) -> SentFlags {
        let mut marks = SentFlags::empty();
        while let Some(mark) = self.marks.queue.front().copied() {
            let at = self.snd_seq(mark.end);
            if at.after(end) {
                break;
            }
            marks.set(SentFlags::PUSH, mark.push && at == end);
            marks.set(SentFlags::RECORD, mark.record && at == end);
            self.marks.queue.pop_front();
        }
        marks
    }

    /// URG and its pointer for a segment at `seq`, while the urgent byte is not acknowledged.
    pub(crate) fn urgent_pointer(&mut self, seq: SeqNumber) -> Option<u16> {
        let urgent = self.marks.urgent?;
        if !urgent.after(self.snd_una) {
            self.marks.urgent = None;
            return None;
        }
        if !seq.before(urgent) {
            return None;
        }
        match u16::try_from(urgent.distance_from(seq)) {
            Ok(pointer) => Some(pointer),
            Err(_) => (seq + 0xffff).after(self.snd_nxt).then_some(u16::MAX),
        }
    }

    /// Urgent data is not held back.
    pub(crate) fn sends_urgent(&self) -> bool {
        self.marks.urgent.is_some_and(|urgent| urgent.after(self.snd_una))
    }

    /// Whatever held a small segment back for `MSG_MORE` is over: an ACK came.
    pub(crate) fn end_more(&mut self) {
        self.is.remove(Is::MORE);
    }
}

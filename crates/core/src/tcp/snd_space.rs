//! Room in the send buffer: how much there is, who is told of it, and how the buffer grows with the congestion window (Linux
//! `sk_stream_write_space`, `tcp_new_space`, `tcp_sndbuf_expand`).

use super::options::Knob;
use super::scoreboard::{REORDERING, Sent};
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::event::Ready;

/// Segments for which there is room at the least (Linux `TCP_INIT_CWND`).
const LEAST_SEGMENTS: u32 = 10;
/// Memory of a segment beside its payload where Linux's is modelled: the largest headers and what describes the data
/// (`MAX_TCP_HEADER`, `skb_shared_info`), and what describes the packet (`sk_buff`).
const MODELLED: (u32, u32) = (640, 256);

impl Tcb {
    /// Room for new data in the send queue, in bytes. Pieces in flight are charged with their record, so that tiny
    /// segments do not escape the limit.
    pub(crate) fn send_space(&self) -> usize {
        (self.knobs.send_buffer as usize).saturating_sub(self.send_memory())
    }

    /// What counts against the send buffer.
    pub(crate) fn send_memory(&self) -> usize {
        let records = if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            self.modelled_overhead()
        } else {
            self.rtx.len() * core::mem::size_of::<Sent>()
        };
        self.snd_buf.len() + records
    }

    /// A third of the send buffer is free, and less than half of `TCP_NOTSENT_LOWAT` waits (Linux `sk_stream_is_writeable`,
    /// `tcp_stream_memory_free`).
    pub(crate) fn is_writable(&self) -> bool {
        !self.is(Is::STARVED)
            && self.send_space() >= self.knobs.send_buffer as usize / 3
            && (self.knobs.notsent_lowat == 0 || self.not_sent().saturating_mul(2) < self.knobs.notsent_lowat)
    }

    /// Bytes that wait to be sent for the first time.
    fn not_sent(&self) -> u32 {
        (self.snd_seq(self.snd_buf.end()) - self.snd_nxt).max(0).cast_unsigned()
    }

    /// What `TCP_NOTSENT_LOWAT` leaves to a write: whole buffers until the mark is passed.
    pub(crate) fn lowat_space(&self) -> usize {
        match self.knobs.notsent_lowat {
            0 => usize::MAX,
            mark => match mark.checked_sub(self.not_sent()) {
                None | Some(0) => 0,
                Some(left) => (u64::from(left).div_ceil(self.buffer_goal()) * self.buffer_goal()) as usize,
            },
        }
    }

    /// The handshake is through (Linux `tcp_init_buffer_space`).
    pub(crate) fn init_snd_space(&mut self, cx: &Ctx) {
        self.expand_send_buffer(cx);
    }

    /// Tells a writer that waits once a third of the buffer is free (Linux `tcp_new_space`, `sk_stream_write_space`). Before
    /// that the buffer may grow, unless the congestion window is filled: then it holds enough.
    pub(crate) fn signal_space(&mut self, cx: &mut Ctx) {
        if !self.is(Is::WANT_SPACE) {
            return;
        }
        if self.in_flight() < self.congestion.cwnd() {
            self.expand_send_buffer(cx);
        }
        if self.is_writable() {
            self.is.remove(Is::WANT_SPACE);
            cx.signal(self, Ready::OUT);
        }
    }

    /// Room for the congestion windows that the algorithm wants, by a generous measure; never less than there was. Not for a buffer
    /// whose size was set.
    fn expand_send_buffer(&mut self, cx: &Ctx) {
        if self.knobs.has(Knob::FIXED_SNDBUF) {
            return;
        }
        let reordering = self.loss.as_deref().map_or(REORDERING, |board| board.reordering);
        let segments = LEAST_SEGMENTS.max(self.congestion.cwnd()).max(reordering + 1);
        let each = u64::from(self.segment_memory());
        let wanted = u64::from(segments) * each * u64::from(self.congestion.buffered_windows());
        let most = cx.cfg.tcp.send_buffer_limit();
        let size = u32::try_from(wanted).unwrap_or(u32::MAX).min(most);
        self.knobs.send_buffer = self.knobs.send_buffer.max(size);
    }

    /// What a full segment is taken to need of the send buffer. Linux's estimate is nearly twice the memory that its packet then
    /// takes; where payload is counted, it is twice that, so that as many windows fit.
    fn segment_memory(&self) -> u32 {
        let mss = u32::from(self.mss);
        if !self.knobs.has(Knob::SEGMENTATION_MODEL) {
            return 2 * mss;
        }
        let (header, packet) = MODELLED;
        (mss + header).next_power_of_two() + packet
    }
}

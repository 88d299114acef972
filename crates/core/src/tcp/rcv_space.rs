//! How much window there is to offer: it starts small, follows what the application reads in a round trip ("dynamic right
//! sizing"), and never promises what the buffer cannot hold (Linux `tcp_init_buffer_space`, `tcp_grow_window`,
//! `tcp_rcv_space_adjust`, `tcp_rcvbuf_grow`, `tcp_rcv_rtt_measure`, `tcp_measure_rcv_mss`).
//!
//! Four sizes: the buffer (`recv_buffer` of the socket's options), the largest window that it is worth (`window_clamp`), what
//! of it may be promised by now (`ssthresh`, which grows with the full segments that come), and what the
//! application reads in a round trip (`space`).

use super::options::{Knob, Options};
use super::rcv_memory::Memory;
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use super::window::{MAX_WSCALE, NO_CLAMP};
use crate::config::TcpConfig;
use crate::ctx::Ctx;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use lastack_wire::SeqNumber;
use lastack_wire::tcp::HEADER_LEN;

/// Segments of the initial window, which the first measurement has to pass (Linux `TCP_INIT_CWND`).
const INITIAL_SEGMENTS: u32 = 10;
/// Shorter segments say nothing about how much window the buffer is worth.
const GROWTH_LEN: usize = 128;
/// Least `TCP_WINDOW_CLAMP` (Linux: half of `SOCK_MIN_RCVBUF`).
pub(crate) const CLAMP_MIN: u32 = 1152;

/// Tuning of the receive window (Linux `rcv_ssthresh`, `rcvq_space`, `rcv_rtt_est`). Times are in microseconds and
/// wrap.
#[derive(Clone, Debug)]
pub(crate) struct RcvSpace {
    /// Largest window that is offered for now, in bytes.
    pub(crate) ssthresh: u32,
    /// Most bytes that the application has read in a round trip.
    pub(crate) space: u32,
    /// Read position, its low bits, when the measurement began, and when that was.
    read: u32,
    since: u32,
    /// Round trip as the receiver sees it, times 8; 0 before it is known.
    rtt8: u32,
    /// When RCV.NXT passes this number, what was on its way at `rtt_since` has come. `rtt_since` of 0: not measuring.
    rtt_end: SeqNumber,
    rtt_since: u32,
    /// Timestamp echoed last.
    echo: u32,
    /// What Linux would count, if that is asked for.
    pub(crate) memory: Option<Box<Memory>>,
}

impl RcvSpace {
    pub(crate) fn new(cfg: &TcpConfig) -> Self {
        Self {
            ssthresh: 0,
            space: 0,
            read: 0,
            since: 0,
            rtt8: 0,
            rtt_end: SeqNumber(0),
            rtt_since: 0,
            echo: 0,
            memory: cfg.receive_memory_model.map(|_| Box::default()),
        }
    }

    /// The receiver's round trip in microseconds, 0 before it is known (`tcpi_rcv_rtt`).
    pub(crate) fn rtt_micros(&self) -> u32 {
        self.rtt8 >> 3
    }

    /// A window that `memory` bytes of buffer are worth (Linux `tcp_win_from_space`).
    #[inline]
    pub(crate) fn window_of(&self, memory: i64) -> i64 {
        self.memory.as_deref().map_or(memory, |model| model.window_of(memory))
    }

    /// The buffer that a window of `window` bytes takes (Linux `tcp_space_from_win`).
    fn memory_of(&self, window: u64) -> u64 {
        self.memory.as_deref().map_or(window, |model| model.memory_of(window))
    }

    /// Linux `tcp_rcv_rtt_update`. Without timestamps the smallest sample counts, for a sender that pauses makes them long.
    fn take_rtt(&mut self, sample: u32, by_window: bool, all_read: bool) {
        let scaled = sample.saturating_mul(8);
        if self.rtt8 == 0 || scaled < self.rtt8 {
            self.rtt8 = scaled;
        } else if !by_window && all_read {
            self.rtt8 = (self.rtt8 - (self.rtt8 >> 3)).saturating_add(sample);
        }
    }

    /// Feeds the state to `h`: `now` in microseconds, the read position and RCV.NXT.
    pub(crate) fn fingerprint(&self, now: u32, (read, rcv_nxt): (u32, SeqNumber), h: &mut impl Hasher) {
        let Self { ssthresh, space, read: from, since, rtt8, rtt_end, rtt_since, echo, memory } = self;
        (ssthresh, space, read.wrapping_sub(*from), now.wrapping_sub(*since).min(1 << 30), rtt8).hash(h);
        if *rtt_since != 0 {
            (*rtt_end - rcv_nxt, now.wrapping_sub(*rtt_since).min(1 << 30)).hash(h);
        }
        (*echo != 0, memory.is_some()).hash(h);
        if let Some(memory) = memory {
            memory.fingerprint(h);
        }
    }
}

/// What a SYN or a SYN-ACK offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstWindow {
    /// The window; a SYN tells no more than 65,535 of it.
    pub(crate) window: u32,
    /// Largest window ever.
    pub(crate) clamp: u32,
    /// Shift of the window field.
    pub(crate) shift: u8,
}

impl FirstWindow {
    /// For a socket with these options, whose segments carry `segment` bytes (Linux `tcp_select_initial_window`).
    pub(crate) fn new(cfg: &TcpConfig, knobs: &Options, segment: u32) -> Self {
        let full = match cfg.receive_memory_model {
            Some(_) => Memory::default().window_of(knobs.recv_buffer.into()) as u32,
            None => knobs.recv_buffer,
        };
        let mut limit = if knobs.window_clamp == 0 { NO_CLAMP } else { knobs.window_clamp };
        if knobs.has(Knob::FIXED_RCVBUF) {
            limit = limit.min(full);
        }
        let mut window = full.min(limit);
        // Payload is counted in bytes, not in segments, unless the application or the model says otherwise.
        let whole = knobs.window_clamp > 0 || cfg.receive_memory_model.is_some();
        if whole && window > segment {
            window -= window % segment.max(1);
        }
        let mut shift = 0;
        if cfg.window_scaling {
            let option_max = cfg.receive_memory_model.unwrap_or(0) as usize;
            let most = cfg.recv_buffer_max.max(option_max).min(NO_CLAMP as usize) as u32;
            // So that the field still moves in steps, not so that it just suffices.
            let most = window.max(most).min(limit).max(1);
            shift = (most.ilog2().saturating_sub(15) as u8).min(MAX_WSCALE);
        }
        Self { window, clamp: limit.min(u32::from(u16::MAX) << shift), shift }
    }
}

impl Tcb {
    /// The window that the whole buffer is worth (Linux `tcp_full_space`).
    pub(crate) fn full_space(&self) -> u32 {
        self.rcv_space.window_of(self.knobs.recv_buffer.into()).max(0) as u32
    }

    /// The window that the free part of it is worth (Linux `tcp_space`). Bytes out of order lie inside of the window
    /// and take nothing from it.
    pub(crate) fn free_space(&self) -> u32 {
        let size = i64::from(self.knobs.recv_buffer);
        match self.rcv_space.memory.as_deref() {
            None => {
                // The peer's FIN has its place in the window, behind which nothing will come.
                let fin = i64::from(self.is(Is::DONE));
                (size - self.rcv_buf.readable() as i64 - fin).max(0) as u32
            }
            Some(model) => model.window_of(size - i64::from(model.held())).max(0) as u32,
        }
    }

    /// The segment size that we announced, less what timestamps take of it (Linux `advmss`).
    pub(crate) fn receive_mss(&self, cx: &Ctx) -> u32 {
        let stamps = if self.is(Is::TIMESTAMPS) { 12 } else { 0 };
        u32::from(self.advertised_mss(cx)).saturating_sub(stamps).max(1)
    }

    /// The handshake is through: what the buffer allows from now on (Linux `tcp_init_buffer_space`).
    pub(crate) fn init_rcv_space(&mut self, cx: &Ctx) {
        let mss = self.receive_mss(cx);
        let full = self.full_space();
        let mut clamp = self.knobs.window_clamp.min(full);
        if self.rcv_space.memory.is_some() && clamp > 2 * mss && clamp + mss > full {
            // A segment is kept in reserve where overhead is guessed at.
            clamp = (full - mss).max(2 * mss);
        }
        self.knobs.window_clamp = clamp;
        let read = self.rcv_buf.read_pos() as u32;
        let space = &mut self.rcv_space;
        space.ssthresh = space.ssthresh.min(clamp);
        space.space = space.ssthresh.min(self.rcv_wnd).min(INITIAL_SEGMENTS * mss);
        (space.read, space.since) = (read, cx.now.as_micros() as u32);
    }

    /// `TCP_WINDOW_CLAMP` on an open connection, and whenever the buffer turns out to be worth another window (Linux
    /// `tcp_set_window_clamp`).
    pub(crate) fn set_window_clamp(&mut self, clamp: u32) {
        let (old, clamp) = (self.knobs.window_clamp, clamp.max(CLAMP_MIN));
        self.knobs.window_clamp = clamp;
        let space = &mut self.rcv_space;
        if clamp < old {
            space.ssthresh = space.ssthresh.min(clamp);
        } else if clamp > old {
            space.ssthresh = space.ssthresh.max(self.rcv_wnd.min(clamp));
        }
    }

    /// `SO_RCVBUF` on an open connection: the window follows at once.
    pub(crate) fn recv_buffer_set(&mut self) {
        if self.rcv_space.memory.is_none() {
            let full = self.full_space();
            self.set_window_clamp(full);
            self.rcv_space.ssthresh = full;
        }
    }

    /// A segment with text has come in order (Linux `tcp_event_data_recv`).
    pub(crate) fn tune_for_data(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        self.measure_rtt(cx);
        if seg.payload.len() >= GROWTH_LEN {
            self.grow_window(cx, seg);
        }
    }

    /// Larger segments have come: the buffer is worth what they fill of their memory (Linux `tcp_measure_rcv_mss`).
    pub(crate) fn reckon_worth(&mut self, seg: &Seg<'_>) {
        if self.rcv_space.memory.is_none() {
            return;
        }
        let cost = self.segment_cost(seg);
        let Some(model) = self.rcv_space.memory.as_deref_mut() else { return };
        if model.set_ratio(seg.payload.len() as u32, cost) {
            let full = self.full_space();
            self.set_window_clamp(full);
            self.rcv_space.space = self.rcv_space.space.min(full.max(CLAMP_MIN));
        }
    }

    /// What a segment's packet costs in Linux's memory; its payload where memory is not modelled.
    fn segment_cost(&self, seg: &Seg<'_>) -> u32 {
        match self.rcv_space.memory.as_deref() {
            None => seg.payload.len() as u32,
            Some(_) => Memory::cost(self.packet_len(seg)).0,
        }
    }

    fn packet_len(&self, seg: &Seg<'_>) -> usize {
        usize::from(self.tuple.ip_header_len()) + HEADER_LEN + seg.options.emitted_len() + seg.payload.len()
    }

    /// Text of `seg` was stored, which begins at `offset` of the stream: the model counts its packet.
    pub(crate) fn model_memory(&mut self, seg: &Seg<'_>, offset: u64, stored: usize) {
        if self.rcv_space.memory.is_none() || stored == 0 {
            return;
        }
        let (len, next) = (self.packet_len(seg), self.rcv_buf.contiguous_end());
        if let Some(model) = self.rcv_space.memory.as_deref_mut() {
            model.take((offset, offset + seg.payload.len() as u64), next, len);
        }
    }

    /// More may be promised, as long as what comes fills its memory well (Linux `tcp_grow_window`).
    pub(crate) fn grow_window(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        let clamp = self.knobs.window_clamp;
        let ssthresh = self.rcv_space.ssthresh;
        if clamp <= ssthresh {
            return;
        }
        let room = clamp.min(self.free_space()).saturating_sub(ssthresh);
        if room == 0 {
            return;
        }
        let len = seg.payload.len() as u32;
        let cost = self.rcv_space.window_of(self.segment_cost(seg).into());
        let step = if cost <= i64::from(len) {
            2 * self.receive_mss(cx)
        } else if self.pays_later(cx, cost, len) {
            2 * u32::from(self.delack.rcv_mss)
        } else {
            return;
        };
        self.rcv_space.ssthresh += room.min(step.max(len.saturating_mul(2)));
        self.delack.quick |= 1;
    }

    /// Whether segments that fill their memory so badly would still fit a window of this size (Linux
    /// `__tcp_grow_window`).
    fn pays_later(&self, cx: &Ctx, cost: i64, len: u32) -> bool {
        let mut cost = cost >> 1;
        let mut window = self.rcv_space.window_of(cx.cfg.tcp.recv_buffer_max as i64) >> 1;
        while i64::from(self.rcv_space.ssthresh) <= window {
            if cost <= i64::from(len) {
                return true;
            }
            cost >>= 1;
            window >>= 1;
        }
        false
    }

    /// A window full of text takes a round trip at least (Linux `tcp_rcv_rtt_measure`).
    fn measure_rtt(&mut self, cx: &Ctx) {
        let now = cx.now.as_micros() as u32;
        let space = &mut self.rcv_space;
        if space.rtt_since != 0 {
            if self.rcv_nxt.before(space.rtt_end) {
                return;
            }
            space.take_rtt(now.wrapping_sub(space.rtt_since).max(1), true, true);
        }
        space.rtt_end = self.rcv_nxt + self.rcv_wnd;
        space.rtt_since = now.max(1);
    }

    /// With timestamps a full segment that answers something new tells the round trip (Linux `tcp_rcv_rtt_measure_ts`).
    pub(crate) fn measure_rtt_by_stamp(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        let Some((_, echo)) = seg.options.timestamps else { return };
        if echo == self.rcv_space.echo {
            return;
        }
        self.rcv_space.echo = echo;
        if seg.payload.len() < usize::from(self.delack.rcv_mss) {
            return;
        }
        let elapsed = self.ts_now(cx.now).wrapping_sub(echo);
        if (1..1 << 20).contains(&elapsed) {
            let all_read = self.rcv_buf.readable() == 0;
            self.rcv_space.take_rtt(elapsed * 1000, false, all_read);
        }
    }

    /// The application has read: a round trip's worth of it is what the window has to hold (Linux `tcp_rcv_space_adjust`).
    pub(crate) fn adjust_rcv_space(&mut self, cx: &Ctx, read_pos: u64) {
        let rtt = self.rcv_space.rtt_micros();
        let now = cx.now.as_micros() as u32;
        if rtt == 0 || now.wrapping_sub(self.rcv_space.since) < rtt {
            return;
        }
        let read = (read_pos as u32).wrapping_sub(self.rcv_space.read);
        let waiting = self.rcv_buf.contiguous_end().saturating_sub(read_pos) as u32;
        let kept_up = read.saturating_sub(waiting);
        if kept_up > self.rcv_space.space {
            self.grow_recv_buffer(cx, kept_up);
        }
        (self.rcv_space.read, self.rcv_space.since) = (read_pos as u32, now);
    }

    /// A buffer for twice `space`, and more while that grows, for its sender may double its rate each round trip (Linux
    /// `tcp_rcvbuf_grow`).
    pub(crate) fn grow_recv_buffer(&mut self, cx: &Ctx, space: u32) {
        let old = self.rcv_space.space.max(1);
        self.rcv_space.space = space;
        if !cx.cfg.tcp.moderate_recv_buffer || self.knobs.has(Knob::FIXED_RCVBUF) {
            return;
        }
        let mut window = u64::from(space) * 2;
        window += window * u64::from(space.saturating_sub(old)) / u64::from(old) * 2;
        if let Some((_, end)) = self.rcv_buf.ranges().last() {
            window += end.saturating_sub(self.rcv_buf.contiguous_end());
        }
        let size = self.rcv_space.memory_of(window).min(cx.cfg.tcp.recv_buffer_max as u64) as u32;
        if size > self.knobs.recv_buffer {
            self.knobs.recv_buffer = size;
            self.knobs.window_clamp = self.full_space();
        }
    }
}

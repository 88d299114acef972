//! Building and sending segments (RFC 9293 3.8.6.2.1, 3.7.4; Linux `tcp_write_xmit`, `__tcp_transmit_skb`).

use super::congestion::{CwndEvent, Needs};
use super::ecn::Ecn;
use super::emitted::Emitted;
use super::info::Wait;
use super::mtu_probe::Probing;
use super::options::Knob;
use super::scoreboard::{Probe, Resend, Sent, SentFlags};
use super::state::State;
use super::tcb::{Is, Tcb, Tuple};
use super::timers::{Pending, Timer};
use crate::addr::Addr;
use crate::ctx::Ctx;
use crate::demux::{Found, Tables};
use crate::ip::output::emit_header;
use crate::short_paths::ShortPaths;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr};
use lastack_wire::checksum::Sum;
use lastack_wire::tcp::{Flags, HEADER_LEN, Header, Options, Repr, SackBlocks, TIMESTAMPS_LEN};
use lastack_wire::{SeqNumber, ip, tcp};

/// Largest IP packet, in bytes.
const MAX_PACKET: usize = 65_535;
/// SACK blocks that fit beside timestamps (RFC 2018 3).
const SACKS_WITH_TIMESTAMPS: usize = 3;

/// A finished segment without data, addressed and waiting for the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutSegment {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) repr: Repr,
}

impl OutSegment {
    /// Writes the packet. `None` if the frame is too small for it.
    pub(crate) fn emit(&self, offload: bool, frame: &mut [u8]) -> Option<Emitted> {
        let envelope = Envelope { local: self.src, remote: self.dst, ttl: self.ttl, tos: self.tos };
        let len = self.repr.header_len();
        let write = |segment: &mut [u8]| self.repr.emit_header_of(len, segment).ok();
        envelope.emit(frame, (len, 0), offload, write)
    }
}

impl OutSegment {
    /// Feeds the segment to `h`, its numbers relative to those of its connection where there is one.
    pub(crate) fn fingerprint(&self, tables: &Tables, cx: &Ctx, h: &mut impl Hasher) {
        let Self { src, dst, ttl, tos, repr } = self;
        let tuple =
            Tuple { local: *src, remote: *dst, local_port: repr.src_port, remote_port: repr.dst_port };
        let (una, nxt) = match tables.find(cx, &tuple) {
            Some(Found::Connection(key)) => {
                tables.connections.get(key).map_or((0, 0), |tcb| (tcb.snd_una.0, tcb.rcv_nxt.0))
            }
            Some(Found::Request(key)) => tables.requests.get(key).map_or((0, 0), |r| (r.iss.0, r.irs.0)),
            _ => (0, 0),
        };
        (tuple, ttl, tos, repr.flags.bits(), repr.window, repr.urgent).hash(h);
        (repr.seq.0.wrapping_sub(una), repr.ack.0.wrapping_sub(nxt)).hash(h);
        let options = &repr.options;
        (options.mss, options.window_scale, options.sack_permitted, options.timestamps.is_some()).hash(h);
        options.fast_open.hash(h);
        for (start, end) in &options.sack {
            (start.0.wrapping_sub(nxt), end.0.wrapping_sub(nxt)).hash(h);
        }
    }
}

/// What the IP header of a segment says.
#[derive(Clone, Copy)]
pub(super) struct Envelope {
    local: Addr,
    remote: Addr,
    ttl: u8,
    tos: u8,
}

impl Envelope {
    /// Writes a packet: the IP header, and with `write`, which gives the sum over it, the segment of a header and text of
    /// so many bytes. Fills the checksum in, or leaves it to the device. `None` if the frame is too small for it.
    #[inline]
    pub(super) fn emit(
        self,
        frame: &mut [u8],
        len: (usize, usize),
        offload: bool,
        write: impl FnOnce(&mut [u8]) -> Option<Sum>,
    ) -> Option<Emitted> {
        let (local, remote) = (self.local.as_v4(), self.remote.as_v4());
        // Both families go the same way; apart, the compiler knows all sizes.
        if let (Some(local), Some(remote)) = (local, remote) {
            let (local, remote) = (Ipv4Addr::from_bits(local), Ipv4Addr::from_bits(remote));
            self.emit_between(local.into(), remote.into(), frame, len, offload, write)
        } else {
            self.emit_v6(frame, len, offload, write)
        }
    }

    #[inline(never)]
    fn emit_v6(
        self,
        frame: &mut [u8],
        len: (usize, usize),
        offload: bool,
        write: impl FnOnce(&mut [u8]) -> Option<Sum>,
    ) -> Option<Emitted> {
        self.emit_between(self.local.ip(), self.remote.ip(), frame, len, offload, write)
    }

    #[inline(always)]
    fn emit_between(
        self,
        local: IpAddr,
        remote: IpAddr,
        frame: &mut [u8],
        len: (usize, usize),
        offload: bool,
        write: impl FnOnce(&mut [u8]) -> Option<Sum>,
    ) -> Option<Emitted> {
        let (header, text) = len;
        let len = header + text;
        let ip_len = emit_header(frame, local, remote, ip::protocol::TCP, len, self.ttl, self.tos)?;
        let segment = frame.get_mut(ip_len..ip_len + len)?;
        let sum = write(&mut *segment)?;
        if offload {
            tcp::set_partial_checksum(local, remote, segment).ok()?;
        } else {
            tcp::finish_checksum(local, remote, segment, sum).ok()?;
        }
        Emitted::new((ip_len, header), text, offload)
    }
}

/// What a segment carries behind the fixed part of its header.
#[derive(Clone, Copy)]
pub(super) enum Extra<'a> {
    /// Nothing but timestamps, if they are in use: the usual case.
    Stamps(Option<(u32, u32)>),
    /// Any options.
    Options(&'a Options),
}

impl Extra<'_> {
    /// Writes the header; gives the sum over it.
    #[inline]
    fn emit(&self, fields: &Header, segment: &mut [u8]) -> Option<Sum> {
        let written = match self {
            Self::Stamps(stamps) => fields.emit_summed(*stamps, segment),
            Self::Options(options) => fields.with(**options).emit_header_summed(segment),
        };
        written.ok().map(|(_, sum)| sum)
    }
}

/// A segment that is ready to be built: numbers, flags, length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) seq: SeqNumber,
    pub(super) len: u32,
    pub(super) fin: bool,
    pub(super) retransmission: bool,
    /// A tail-loss probe.
    pub(super) probe: bool,
    /// One segment, larger than the others, to see whether it arrives.
    pub(super) mtu_probe: bool,
}

impl Piece {
    /// Bytes that were never sent.
    pub(super) fn new(seq: SeqNumber, len: u32, fin: bool) -> Self {
        Self { seq, len, fin, retransmission: false, probe: false, mtu_probe: false }
    }
}

impl Tcb {
    /// Segments with data or FIN may leave in this state.
    pub(crate) fn can_send_data(&self) -> bool {
        matches!(
            self.state(),
            State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck
        ) || self.opens_for_text()
    }

    /// Writes the next packet of this connection into `frame`: a retransmission, new data, or a bare ACK.
    pub(crate) fn output(&mut self, cx: &mut Ctx, frame: &mut [u8]) -> Option<Emitted> {
        if self.ecn.contains(Ecn::EACH)
            && let Some(segment) = self.next_owed_ack(cx)
        {
            return segment.emit(cx.caps.tx_checksum, frame);
        }
        if self.can_send_data() && (self.has_unsent() || self.wants_resend()) && !self.pacing_holds(cx) {
            if let Some(sent) = self.output_lone(cx, frame) {
                return sent;
            }
            let options;
            let no_more = self.received.is_none() && !self.ecn.contains(Ecn::ACCURATE);
            let (extra, header) = if no_more && cx.may_take(ShortPaths::STAMPS_ALONE) {
                (Extra::Stamps(self.stamps(cx)), self.plain_header_len())
            } else {
                options = self.segment_options(cx);
                (Extra::Options(&options), HEADER_LEN + options.emitted_len())
            };
            let mss = self.payload_mss(header);
            if let Some(piece) = self.next_piece(cx, mss, header, frame.len()) {
                return self.emit_piece(cx, frame, piece, (header, mss), &extra);
            }
        }
        if self.is(Is::ACK_NOW) && self.state() != State::Closed {
            return self.emit_ack(cx, frame);
        }
        if self.state() == State::SynSent { self.emit_fast_syn(cx, frame) } else { None }
    }

    /// Writes a bare ACK.
    fn emit_ack(&mut self, cx: &mut Ctx, frame: &mut [u8]) -> Option<Emitted> {
        let repr = self.ack_repr(cx);
        let segment = self.address(repr);
        self.ack_sent();
        self.count_out(cx);
        segment.emit(cx.caps.tx_checksum, frame)
    }

    /// The timestamps of a segment that leaves now.
    pub(super) fn stamps(&self, cx: &Ctx) -> Option<(u32, u32)> {
        self.is(Is::TIMESTAMPS).then(|| (self.ts_now(cx.now), self.ts_recent))
    }

    /// Bytes of a header with no options but timestamps, where they are in use.
    pub(super) fn plain_header_len(&self) -> usize {
        HEADER_LEN + if self.is(Is::TIMESTAMPS) { TIMESTAMPS_LEN } else { 0 }
    }

    /// Nothing more can leave now: out of the output queue.
    pub(crate) fn end_turn(&mut self, cx: &mut Ctx) {
        self.is.remove(Is::QUEUED);
        self.end_paced_burst();
        self.end_burst(cx);
        self.arm_probe_if_stuck(cx);
        self.note_wait(cx);
    }

    /// Bytes of payload that fit into one wire segment beside a header of `header` bytes. Bounded to half of the
    /// largest window the peer ever offered, so that a small window does not stall (Linux `tcp_bound_to_half_wnd`).
    pub(super) fn payload_mss(&self, header: usize) -> u32 {
        let options = (header - HEADER_LEN) as u32;
        let mss = u32::from(self.mss).saturating_sub(options).max(8);
        let half = if self.max_window > 536 { self.max_window >> 1 } else { self.max_window };
        if half > 0 { mss.min(half.max(28)) } else { mss }
    }

    /// What leaves next: what recovery wants, then new data.
    fn next_piece(&mut self, cx: &mut Ctx, mss: u32, header: usize, frame: usize) -> Option<Piece> {
        let Some((probe, resend)) = self.loss.as_deref().map(|board| (board.probe, board.resend)) else {
            return self.next_new(cx, mss, header, frame, false);
        };
        if probe != Probe::None {
            self.board().probe = Probe::None;
            let piece = match probe {
                Probe::New => self.next_new(cx, mss, header, mss as usize, true),
                Probe::First => self.first_segment(cx, mss),
                _ => self.last_segment(mss),
            };
            if let Some(piece) = piece {
                return Some(Piece { probe: probe != Probe::First, ..piece });
            }
        }
        if resend == Resend::Lost
            && let Some(piece) = self.next_lost(cx, mss)
        {
            return Some(piece);
        }
        let piece = self.next_new(cx, mss, header, frame, false);
        if piece.is_none() && resend == Resend::New && !self.snd_nxt.after(self.recover) {
            // Nothing new can tell whether the timeout was spurious.
            let board = self.board();
            board.frto = false;
            board.resend = Resend::Lost;
            return self.next_lost(cx, mss);
        }
        piece
    }

    /// The next piece of new data that windows, Nagle and cork let go.
    fn next_new(
        &mut self,
        cx: &mut Ctx,
        mss: u32,
        header: usize,
        frame: usize,
        probe: bool,
    ) -> Option<Piece> {
        if !self.has_unsent() {
            return None;
        }
        self.restart_after_idle(cx);
        let seq = self.snd_nxt;
        // What lies behind the end of a buffer waits for its own segment, and this one is not the last.
        let (data, more) = self.unsent_in_buffer();
        let window = (self.window_end() - seq).max(0) as u32;
        let room = self.quota().max(u32::from(probe)).saturating_mul(mss);
        if data == 0 {
            // Only the FIN is left; as a packet it counts against the congestion window too.
            return (window >= 1 && room > 0).then_some(Piece::new(seq, 0, true));
        }
        if self.rare.mtu_probe.is_some() && !probe {
            match self.next_mtu_probe(cx, frame) {
                Probing::Not => {}
                Probing::Waits => return None,
                Probing::Sends(piece) => return Some(piece),
            }
        }
        if window == 0 || room == 0 {
            return None;
        }
        let tail = more || probe || self.may_send_small();
        if data <= mss
            && data <= window
            && !more
            && self.is_unshaped(cx)
            && cx.may_take(ShortPaths::ONE_SEGMENT)
        {
            // All of it, in one segment or none.
            let fin = self.is(Is::FIN_QUEUED) && window > data;
            return (tail || data == mss).then_some(Piece::new(seq, data, fin));
        }
        let burst = match cx.cfg.tcp.segmentation_model {
            Some(_) if window >= mss && !probe => self.modelled_burst(cx, mss, data, (window, room), tail)?,
            Some(_) => u32::MAX,
            None => self.paced_burst(cx, mss),
        };
        let limit = data.min(window).min(room).min(self.gso_payload(cx, header, frame, mss)).min(burst);
        let mut len = if limit < mss { limit } else { limit - limit % mss };
        if limit == data && limit > len && tail {
            len = limit;
        }
        if self.is(Is::PROBING) {
            self.is.remove(Is::PROBING);
            len = data.min(window).min(mss);
        } else if len < mss && !(len == data && tail) {
            // Less than a segment: not the tail, or Nagle holds it back, or the window cut it (silly window).
            return None;
        }
        let fin = len == data && !more && self.is(Is::FIN_QUEUED) && window > len;
        Some(Piece::new(seq, len, fin))
    }

    /// Nothing has a say in the size of what leaves but windows, Nagle and cork.
    fn is_unshaped(&self, cx: &Ctx) -> bool {
        cx.cfg.tcp.segmentation_model.is_none() && self.rare.pacer.is_none() && !self.is(Is::PROBING)
    }

    /// Nagle's rule with Minshall's change, cork, and what overrides them (Linux `tcp_nagle_test`).
    pub(crate) fn may_send_small(&self) -> bool {
        if self.is(Is::FIN_QUEUED) || self.is(Is::PUSH_PENDING) || self.sends_urgent() {
            return true;
        }
        if self.knobs.has(Knob::CORK) || self.is(Is::MORE) {
            return false;
        }
        let small_in_flight = self.snd_sml.after(self.snd_una) && !self.snd_sml.after(self.snd_nxt);
        self.knobs.has(Knob::NODELAY) || self.rtx.is_empty() || !small_in_flight
    }

    /// Most payload that one frame can carry: one segment, or as many as the device splits for us.
    fn gso_payload(&self, cx: &Ctx, header: usize, frame: usize, mss: u32) -> u32 {
        let device = if self.tuple.is_ipv6() { cx.caps.tx_gso_v6 } else { cx.caps.tx_gso_v4 } as usize;
        let headers = usize::from(self.tuple.ip_header_len()) + header;
        let room = device.min(frame).min(MAX_PACKET).saturating_sub(headers) as u32;
        if room >= mss && !self.ace_forbids_splitting() { room - room % mss } else { mss }
    }

    #[inline]
    fn emit_piece(
        &mut self,
        cx: &mut Ctx,
        frame: &mut [u8],
        piece: Piece,
        (header, mss): (usize, u32),
        extra: &Extra<'_>,
    ) -> Option<Emitted> {
        let Piece { seq, len, fin, retransmission, probe, mtu_probe } = piece;
        let mss = if mtu_probe { len } else { mss };
        let end = seq + len + u32::from(fin);
        let mut flags = Flags::ACK;
        flags.set(Flags::FIN, fin);
        let marks = self.carried_marks(piece);
        flags.set(Flags::PSH, marks.contains(SentFlags::PUSH) || self.ends_packet(end, retransmission));
        let urgent = self.urgent_pointer(seq);
        flags.set(Flags::URG, urgent.is_some());
        let ecn = self.ecn_of_segment(len > 0 && !retransmission, &mut flags);
        let window = self.select_window(cx);
        let fields = Header {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            seq,
            ack: self.rcv_nxt,
            flags,
            window,
            urgent: urgent.unwrap_or(0),
        };
        let gso = (len > mss).then_some(mss as u16);
        let emitted = self.emit_segment(cx, frame, (&fields, extra), (header, ecn), (seq, len), gso)?;
        if len > 0 {
            self.stats.bytes_sent += u64::from(len);
            self.stats.data_segs_out = self.stats.data_segs_out.wrapping_add(len.div_ceil(mss));
        }
        if retransmission {
            self.note_retransmitted(cx, piece);
        } else {
            if len < mss && len > 0 {
                self.snd_sml = end;
            }
            let segs = if len > mss { len.div_ceil(mss) as u16 } else { 1 };
            self.note_sent(cx, seq, end, segs, marks);
        }
        self.pace(cx, mss, (len, retransmission));
        if probe {
            self.probe_sent(cx, retransmission);
        }
        if mtu_probe {
            self.mtu_probe_sent(piece);
        }
        self.ack_sent();
        self.count_out(cx);
        Some(emitted)
    }

    /// Writes the packet: headers (`header` bytes of TCP's, and the ECN bits of IP's), and `len` bytes of text
    /// from `seq` on; the device splits it into segments of `gso` bytes.
    #[inline]
    pub(super) fn emit_segment(
        &self,
        cx: &Ctx,
        frame: &mut [u8],
        (fields, extra): (&Header, &Extra<'_>),
        (header, ecn): (usize, u8),
        (seq, len): (SeqNumber, u32),
        gso: Option<u16>,
    ) -> Option<Emitted> {
        let offload = cx.caps.tx_checksum || gso.is_some();
        let emitted = self.envelope(ecn).emit(frame, (header, len as usize), offload, |segment| {
            let mut sum = extra.emit(fields, segment)?;
            if len > 0 {
                let (offset, data) = (self.snd_offset(seq), segment.get_mut(header..)?);
                if offload {
                    self.snd_buf.copy_out(offset, data);
                } else {
                    self.snd_buf.copy_out_summed(offset, data, &mut sum);
                }
            }
            Some(sum)
        })?;
        Some(emitted.split(gso))
    }

    /// Of a segment with these ECN bits.
    #[inline]
    pub(super) fn envelope(&self, ecn: u8) -> Envelope {
        let Tuple { local, remote, .. } = self.tuple;
        Envelope { local, remote, ttl: self.knobs.ttl, tos: self.knobs.tos | ecn }
    }

    /// PSH: on the segment that ends a write, as often as it is sent, and on a probe that carries data. And whether it ends
    /// a record.
    fn carried_marks(&mut self, piece: Piece) -> SentFlags {
        let Piece { seq, len, fin, retransmission, .. } = piece;
        let end = seq + len + u32::from(fin);
        let kept = SentFlags::PUSH | SentFlags::RECORD;
        if len == 0 {
            return SentFlags::empty();
        }
        if retransmission {
            let sent = self.rtx.get(self.rtx_index(seq)).filter(|sent| sent.end == end);
            return sent.map_or(SentFlags::empty(), |sent| sent.flags & kept);
        }
        let probes = self.is(Is::PUSH_PENDING) && self.is(Is::MORE);
        let mut marks = self.pass_marks(seq + len);
        if probes {
            marks |= SentFlags::PUSH;
        }
        marks
    }

    /// Ends a packet of several segments of the segmentation model: PSH, this time only.
    fn ends_packet(&self, end: SeqNumber, retransmission: bool) -> bool {
        if retransmission {
            return self.loss.as_deref().is_some_and(|board| board.resend_pushes == Some(end));
        }
        self.marks.burst_pushes && self.marks.burst_end == end
    }

    /// Payload of a full segment with the options that each one carries.
    pub(crate) fn effective_mss(&self) -> u32 {
        self.payload_mss(self.plain_header_len())
    }

    /// New numbers went out (Linux `tcp_event_new_data_sent`).
    fn note_sent(&mut self, cx: &mut Ctx, start: SeqNumber, end: SeqNumber, segs: u16, marks: SentFlags) {
        let first = self.rtx.is_empty();
        let mut flags = marks;
        if self.knobs.has(Knob::SEGMENTATION_MODEL) && !end.before(self.marks.burst_end) {
            flags.insert(SentFlags::BURST_END);
            self.marks.bursts += 1;
        }
        if self.in_flight() == 0 {
            let plain = self.congestion.is_plain() && cx.may_take(ShortPaths::PLAIN_CONGESTION);
            let flow = (!plain).then(|| self.flow(cx));
            self.congestion.on_tx_start(cx.now, self.last_sent, flow.as_ref());
        }
        let stamp = self.stamp(cx.now);
        flags |= self.stamp_flag();
        self.push_sent(Sent { start, end, at: cx.now, delivered: self.stats.delivered, stamp, segs, flags });
        self.snd_nxt = end;
        self.last_sent = cx.now;
        self.is.insert(Is::SENT_NEW);
        if self.in_reduction() {
            self.board().prr_out += u32::from(segs);
        }
        if !self.is_writable() {
            // The piece's own record took the last room: whoever waits must be told when it is back.
            self.is.insert(Is::WANT_SPACE);
        }
        if !self.has_unsent() {
            self.is.remove(Is::PUSH_PENDING);
        }
        self.note_answer(cx);
        if (first || self.pending == Pending::LossProbe) && !self.probe_timer_follows(cx) {
            self.rearm_rto(cx);
        }
    }

    /// Interactive traffic: an answer to data that came lately (Linux `tcp_event_data_sent`).
    #[inline]
    pub(super) fn note_answer(&mut self, cx: &Ctx) {
        if cx.now.millis_since(self.delack.last_data) < u64::from(self.delack.ato_ms) {
            self.is.insert(Is::PINGPONG);
        }
    }

    pub(crate) fn count_out(&mut self, cx: &mut Ctx) {
        self.stats.segs_out = self.stats.segs_out.wrapping_add(1);
        cx.counters.out_segs += 1;
    }

    /// RFC 5681 4.1, Linux `tcp_cwnd_restart`: a window that was not used for an RTO is not trusted.
    fn restart_after_idle(&mut self, cx: &Ctx) {
        if !self.rtx.is_empty()
            || !cx.cfg.tcp.slow_start_after_idle
            || self.congestion.needs(Needs::OWN_WINDOW)
        {
            return;
        }
        if cx.now.nanos_since(self.last_sent) > self.rtt.rto_nanos() {
            let (idle, rto) = (cx.now - self.last_sent, self.rtt.rto());
            let flow = self.flow(cx);
            self.congestion.on_event(CwndEvent::CwndRestart, &flow);
            self.congestion.window.restart(idle, rto, cx.cfg.tcp.initial_window.max(1));
            self.last_sent = cx.now;
            self.cwnd_used = 0;
            self.window_is_fresh(cx);
        }
    }

    /// Options of a segment of the established connection.
    pub(crate) fn segment_options(&mut self, cx: &Ctx) -> Options {
        let mut options = Options { timestamps: self.stamps(cx), ..Options::default() };
        if self.received.is_some() {
            options.sack = self.sack_blocks();
        }
        if self.ecn.contains(Ecn::ACCURATE) {
            self.add_ecn_option(cx, &mut options);
        }
        options
    }

    fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        if let Some((start, end)) = self.dsack() {
            blocks.push(start, end);
        }
        for (start, end) in self.sack_ranges() {
            blocks.push(*start, *end);
        }
        if self.is(Is::TIMESTAMPS) {
            blocks.truncate(SACKS_WITH_TIMESTAMPS);
        }
        blocks
    }

    /// A bare ACK with SEQ=SND.NXT (Linux `tcp_acceptable_seq`: the window edge if the peer shrank it below).
    pub(crate) fn ack_repr(&mut self, cx: &Ctx) -> Repr {
        let options = self.segment_options(cx);
        let window = self.select_window(cx);
        let mut flags = Flags::ACK;
        self.ecn_of_segment(false, &mut flags);
        Repr {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            seq: self.acceptable_seq(),
            ack: self.rcv_nxt,
            flags,
            window,
            urgent: 0,
            options,
        }
    }

    /// SND.NXT, or the right edge of the peer's window if that was pulled back below it by more than a rounding.
    pub(crate) fn acceptable_seq(&self) -> SeqNumber {
        let edge = self.window_end();
        let beyond = self.snd_nxt - edge;
        if beyond <= 0 || (self.is(Is::SCALED) && beyond < 1 << self.snd_wscale) {
            self.snd_nxt
        } else {
            edge
        }
    }

    pub(crate) fn address(&self, repr: Repr) -> OutSegment {
        OutSegment {
            src: self.tuple.local,
            dst: self.tuple.remote,
            ttl: self.knobs.ttl,
            tos: self.knobs.tos | self.ecn.on_control(),
            repr,
        }
    }

    /// Nothing more can leave now: notes what for (Linux `tcp_chrono_start`).
    pub(crate) fn note_wait(&mut self, cx: &Ctx) {
        let wait = if self.has_unsent() && self.window_end().before_eq(self.snd_nxt) {
            Wait::PeerWindow
        } else if self.is(Is::WANT_SPACE) && !self.has_unsent() && !self.rtx.is_empty() {
            Wait::SendBuffer
        } else if self.has_unsent() || !self.rtx.is_empty() {
            Wait::Network
        } else {
            Wait::Nothing
        };
        self.stats.chrono.enter(cx.now, wait);
    }

    /// Sends an ACK of its own at once, whatever else is queued (Linux `tcp_send_ack`).
    pub(crate) fn send_ack(&mut self, cx: &mut Ctx) {
        if self.state() == State::Closed {
            return;
        }
        if self.dsack().is_some() {
            cx.counters.dsacks_sent += 1;
        }
        while let Some(segment) = self.next_owed_ack(cx) {
            cx.send_segment(segment);
        }
        let repr = self.ack_repr(cx);
        let segment = self.address(repr);
        self.ack_sent();
        self.count_out(cx);
        cx.send_segment(segment);
    }

    /// An acknowledgement left, alone or on data: nothing is owed any more.
    pub(super) fn ack_sent(&mut self) {
        self.delack.quick = self.delack.quick.saturating_sub(u8::from(self.is(Is::ACK_SCHEDULED)));
        self.is.remove(Is::ACK_NOW | Is::ACK_SCHEDULED | Is::ACK_PUSHED | Is::ACK_PUSHED_TWICE);
        self.timers.clear(Timer::DelayedAck);
        self.dsack_sent();
    }

    /// Whether `output` would have something to send, as far as can be told cheaply.
    pub(crate) fn wants_output(&self) -> bool {
        self.is(Is::ACK_NOW) || (self.can_send_data() && (self.wants_resend() || self.has_unsent()))
    }
}

//! How a full record is born: by `socket()`, by `connect()`, from a half-open request (RFC 9293 3.10.1; Linux
//! `tcp_v4_connect`, `tcp_connect_init`, `tcp_create_openreq_child`).

use super::congestion::{Congestion, Needs, Start};
use super::delivery::{Delivery, Stamp};
use super::ecn::Ecn;
use super::flags::Held;
use super::history::History;
use super::listen::Request;
use super::marks::Marks;
use super::options::{Knob, Options as Knobs};
use super::output::OutSegment;
use super::rare::Rare;
use super::rcv_space::{FirstWindow, RcvSpace};
use super::rtt::{RttConfig, RttEstimator};
use super::scoreboard::{CaState, Sent, SentFlags};
use super::set_state::{Current, set_state};
use super::state::{Cause, Initiator, State};
use super::tcb::{Delack, Is, Stats, Tcb, Tuple};
use super::timers::{Pending, Timers};
use crate::buffer::{RecvBuffer, SendBuffer};
use crate::ctx::Ctx;
use crate::event::{ConnectionId, Ready};
use crate::queue::Queue;
use crate::short_paths::ShortPaths;
use crate::slab::Key;
use crate::time::Instant;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::{Flags, Options, Repr};

/// MSS of a peer that announced none (RFC 9293 3.7.1, MUST-15).
pub(crate) const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;

/// Largest segment payload that fits the path: MTU less headers without options (RFC 6691).
pub(crate) fn mss_for_mtu(tuple: &Tuple, mtu: u16) -> u16 {
    mtu.saturating_sub(tuple.ip_header_len() + 20)
}

/// The peer's MSS option, read with the default and the floor.
pub(crate) fn peer_mss(cx: &Ctx, tuple: &Tuple, option: Option<u16>) -> u16 {
    let default = if tuple.is_ipv6() { DEFAULT_MSS_V6 } else { DEFAULT_MSS_V4 };
    match option {
        Some(0) | None => default,
        Some(mss) => mss.max(cx.cfg.tcp.min_snd_mss),
    }
}

impl Tcb {
    /// A socket in CLOSED. The caller puts its key in.
    #[inline]
    pub(crate) fn new(cx: &mut Ctx, key: Key, knobs: Knobs) -> Self {
        let congestion = Congestion::by_name(&cx.cfg.tcp, &cx.cfg.tcp.congestion).unwrap_or_default();
        let id = cx.next_id();
        Self::with_congestion(cx, (key, id, Is::OWNED), knobs, congestion)
    }

    // Inlined, so that it is made where it is to be.
    #[inline(always)]
    fn with_congestion(
        cx: &Ctx,
        (key, id, is): (Key, ConnectionId, Is),
        knobs: Knobs,
        congestion: Congestion,
    ) -> Self {
        let rtt = RttConfig {
            initial_rto: cx.cfg.tcp.rto_initial,
            min_rto: cx.cfg.tcp.rto_min,
            max_rto: cx.cfg.tcp.rto_max,
        };
        let mss = DEFAULT_MSS_V4;
        let zero = SeqNumber(0);
        Self {
            key,
            id,
            tuple: Tuple::UNBOUND,
            current: Current::closed(),
            is: Held::new(is),
            ca_state: CaState::Open,
            ecn: Ecn::empty(),
            iss: zero,
            snd_una: zero,
            snd_nxt: zero,
            snd_wnd: 0,
            snd_wl1: zero,
            snd_sml: zero,
            max_window: 0,
            snd_buf: SendBuffer::new(0),
            marks: Marks::new(),
            rtx: Queue::new(),
            packets_out: 0,
            loss: None,
            rack_rtt: 0,
            max_packets_out: 0,
            cwnd_usage_end: zero,
            cwnd_used: 0,
            cwnd_used_at: cx.now.as_millis() as u32,
            congestion,
            delivery: Delivery::NEW,
            rtt: RttEstimator::new(&rtt),
            recover: zero,
            snd_wscale: 0,
            rcv_wscale: 0,
            mss,
            peer_mss: mss,
            path_mtu: 0,
            irs: zero,
            rcv_nxt: zero,
            rcv_wup: zero,
            rcv_wnd: 0,
            rcv_buf: RecvBuffer::new(0),
            rcv_space: RcvSpace::new(&cx.cfg.tcp),
            fin_at: None,
            eof_read: false,
            received: None,
            urg_seq: zero,
            urg_byte: 0,
            ts_recent: 0,
            ts_offset: 0,
            ts_recent_at: Instant::ZERO,
            delack: Delack { quick: 0, ato_ms: 0, rcv_mss: mss, last_data: Instant::ZERO },
            timers: Timers::new(),
            pending: Pending::Retransmission,
            retransmits: 0,
            backoff: 0,
            probes_out: 0,
            retrans_stamp: None,
            probes_since: None,
            last_received: cx.now,
            last_sent: cx.now,
            last_oow_ack: None,
            knobs,
            error: None,
            soft_error: None,
            history: History::default(),
            stats: Stats::default(),
            rare: Rare::default(),
            parent: None,
            successor: None,
            news: Ready::empty(),
        }
    }

    /// Sizes that follow from the path and the socket's options; before the first segment.
    fn init_sizes(&mut self, cx: &Ctx, path_mtu: u16, ts_offset: u32) {
        self.path_mtu = path_mtu;
        self.delack.rcv_mss = self.advertised_mss(cx).min(DEFAULT_MSS_V4);
        self.ts_offset = ts_offset;
    }

    /// What our MSS option says: the largest segment the interface can carry, whatever the path (RFC 1191 3.1).
    pub(crate) fn advertised_mss(&self, cx: &Ctx) -> u16 {
        let mss = mss_for_mtu(&self.tuple, cx.mtu(&self.tuple));
        if self.knobs.max_seg > 0 { mss.min(self.knobs.max_seg) } else { mss }
    }

    /// The segment size that is used: the smallest of the peer's option, the path and `TCP_MAXSEG`.
    pub(crate) fn sync_mss(&mut self, cx: &Ctx) {
        let path = mss_for_mtu(&self.tuple, self.path_mtu).max(cx.cfg.tcp.min_snd_mss);
        let mut mss = self.peer_mss.min(path);
        if self.knobs.max_seg > 0 {
            mss = mss.min(self.knobs.max_seg);
        }
        self.mss = self.probed_mss(cx, mss);
    }

    /// Active open: SYN_SENT. The SYN follows: [`Tcb::send_syn`].
    pub(crate) fn enter_syn_sent(&mut self, cx: &mut Ctx, path_mtu: u16, (iss, ts_offset): (SeqNumber, u32)) {
        self.init_sizes(cx, path_mtu, ts_offset);
        self.sync_mss(cx);
        self.set_iss(iss);
        let first = FirstWindow::new(&cx.cfg.tcp, &self.knobs, self.advertised_mss(cx).into());
        self.rcv_wscale = first.shift;
        self.open_window(first);
        self.ask_for_ecn(cx);
        set_state(self, cx, State::SynSent, Cause::Connect, Initiator::Local);
    }

    /// The SYN without text.
    pub(crate) fn send_syn(&mut self, cx: &mut Ctx) {
        self.syn_under_way(cx);
        self.send_handshake(cx);
    }

    /// The SYN is about to leave.
    pub(crate) fn syn_under_way(&mut self, cx: &mut Ctx) {
        self.push_handshake(self.iss, cx.now, SentFlags::empty());
        self.snd_nxt = self.iss + 1;
        self.arm_rto(cx);
        self.retrans_stamp = Some(cx.now);
    }

    /// The whole of the first window counts, though a SYN cannot tell it.
    fn open_window(&mut self, first: FirstWindow) {
        self.knobs.window_clamp = first.clamp;
        self.rcv_wnd = first.window;
        self.rcv_space.ssthresh = first.window;
    }

    fn set_iss(&mut self, iss: SeqNumber) {
        self.iss = iss;
        self.snd_una = iss;
        self.snd_nxt = iss;
        self.snd_sml = iss;
        self.marks.burst_end = iss;
        self.recover = iss;
        self.cwnd_usage_end = iss;
    }

    /// The SYN or the SYN-ACK is under way.
    fn push_handshake(&mut self, iss: SeqNumber, at: Instant, flags: SentFlags) {
        self.push_sent(Sent {
            start: iss,
            end: iss + 1,
            at,
            delivered: 0,
            stamp: Stamp::NONE,
            segs: 1,
            flags,
        });
    }

    /// The SYN, or from SYN_RECEIVED on the SYN-ACK, first or repeated.
    pub(crate) fn send_handshake(&mut self, cx: &mut Ctx) {
        let segment = self.handshake_segment(cx);
        self.count_out(cx);
        cx.send_segment(segment);
    }

    /// The segment for [`Tcb::send_handshake`].
    pub(crate) fn handshake_segment(&mut self, cx: &Ctx) -> OutSegment {
        let answer = self.state() != State::SynSent;
        // Linux tells no more than it believes that the path carries.
        let mss = self.advertised_mss(cx).min(mss_for_mtu(&self.tuple, self.path_mtu));
        let mut options = Options { mss: Some(mss), ..Options::default() };
        if if answer { self.is(Is::TIMESTAMPS) } else { cx.cfg.tcp.timestamps } {
            options.timestamps = Some((self.ts_now(cx.now), if answer { self.ts_recent } else { 0 }));
        }
        options.sack_permitted = if answer { self.is(Is::SACK) } else { cx.cfg.tcp.sack };
        if if answer { self.is(Is::SCALED) } else { cx.cfg.tcp.window_scaling } {
            options.window_scale = Some(self.rcv_wscale);
        }
        let window = self.rcv_wnd.min(u32::from(u16::MAX));
        self.rcv_wup = self.rcv_nxt;
        let mut flags = Flags::SYN;
        flags.set(Flags::ACK, answer);
        flags |= self.ecn_of_handshake(cx, answer);
        let repr = Repr {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            seq: self.iss,
            ack: if answer { self.rcv_nxt } else { SeqNumber(0) },
            flags,
            window: window as u16,
            urgent: 0,
            options,
        };
        OutSegment { tos: self.knobs.tos | self.ecn.on_handshake(), ..self.address(repr) }
    }

    /// Takes in the options of the peer's SYN or SYN-ACK (RFC 7323 2.2, 3.2; RFC 2018 2): what both sides sent is on.
    pub(crate) fn learn_options(&mut self, cx: &Ctx, options: &Options) {
        self.is.set(Is::TIMESTAMPS, cx.cfg.tcp.timestamps && options.timestamps.is_some());
        self.is.set(Is::SACK, cx.cfg.tcp.sack && options.sack_permitted);
        self.is.set(Is::SCALED, cx.cfg.tcp.window_scaling && options.window_scale.is_some());
        if self.is(Is::SCALED) {
            self.snd_wscale = options.window_scale.unwrap_or(0).min(super::window::MAX_WSCALE);
        } else {
            self.snd_wscale = 0;
            self.rcv_wscale = 0;
            self.knobs.window_clamp = self.knobs.window_clamp.min(u16::MAX.into());
        }
        if let Some((value, _)) = options.timestamps
            && self.is(Is::TIMESTAMPS)
        {
            self.ts_recent = value;
            self.ts_recent_at = cx.now;
        }
        self.peer_mss = peer_mss(cx, &self.tuple, options.mss);
        self.sync_mss(cx);
    }

    /// The peer's SYN: its numbers.
    pub(crate) fn set_irs(&mut self, irs: SeqNumber) {
        self.irs = irs;
        self.rcv_nxt = irs + 1;
        self.rcv_wup = irs + 1;
        self.snd_wl1 = irs;
    }

    /// The record of a child of a listener, before [`Tcb::take_request_over`].
    #[inline(always)]
    pub(crate) fn child(
        cx: &Ctx,
        key: Key,
        id: ConnectionId,
        mut knobs: Knobs,
        congestion: Congestion,
    ) -> Self {
        knobs.on.remove(Knob::ANY_PORT | Knob::DEFER);
        Self::with_congestion(cx, (key, id, Is::UNACCEPTED), knobs, congestion)
    }

    /// A child of a listener enters SYN_RECEIVED, about to look at the segment that completes the handshake; of a request
    /// that was never in a table, about to take the text of its SYN.
    pub(crate) fn take_request_over(&mut self, cx: &mut Ctx, request: &Request) {
        let cause = if request.current.get() == State::Closed { Cause::Syn } else { Cause::Handshake };
        self.tuple = request.tuple;
        self.parent = Some(request.listener);
        self.init_sizes(cx, request.path_mtu, request.ts_offset);
        self.set_iss(request.iss);
        self.set_irs(request.irs);
        self.rcv_wscale = request.rcv_wscale;
        self.open_window(request.first_window(cx, &self.knobs));
        self.ecn = request.ecn;
        self.inherit_accurate(request.syn_ecn);
        self.learn_options(cx, &request.options);
        self.ts_recent = request.ts_recent;
        self.current = request.current;
        self.snd_nxt = request.iss + 1;
        let ambiguous = request.retransmits > 0 || request.from_cookie;
        let flags = if ambiguous { SentFlags::RETRANSMITTED } else { SentFlags::empty() };
        self.push_handshake(request.iss, request.sent_at, flags);
        self.is.set(Is::SYN_RETRANSMITTED, request.retransmits > 0);
        self.stats.retransmissions = request.retransmits.into();
        set_state(self, cx, State::SynReceived, cause, Initiator::Peer);
    }

    /// The initial window, now that the segment size is known (RFC 5681 3.1, RFC 6928): one segment if SYN or SYN-ACK had
    /// to be repeated more than once (Linux `tcp_init_transfer`).
    pub(crate) fn init_congestion(&mut self, cx: &mut Ctx) {
        let segments = if self.stats.retransmissions > 1 { 1 } else { cx.cfg.tcp.initial_window.max(1) };
        self.congestion.window.set_cwnd(segments);
        self.start_congestion(cx);
    }

    /// The congestion control begins.
    pub(crate) fn start_congestion(&mut self, cx: &mut Ctx) {
        self.sync_ecn();
        if !(self.congestion.is_plain() && cx.may_take(ShortPaths::PLAIN_CONGESTION)) {
            self.start_algorithm(cx);
        }
        self.start_pacing(cx);
    }

    fn start_algorithm(&mut self, cx: &mut Ctx) {
        let mut random = || u64::from(cx.random());
        let seed = if self.congestion.needs(Needs::RANDOM) { random() << 32 | random() } else { 0 };
        self.congestion.start(&Start { flow: self.flow(cx), ecn: self.uses_ecn(), seed });
    }
}

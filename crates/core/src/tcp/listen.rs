//! Listeners, their half-open requests, and SYN cookies (RFC 9293 3.10.7.2, RFC 4987; Linux `tcp_conn_request`,
//! `tcp_check_req`, `syncookies.c`).
//!
//! A request is a small record without a handle. It becomes a full record when the handshake completes, and a child then
//! waits in the accept queue of its listener.

use super::accurate_ecn::first_option;
use super::ecn::Ecn;
use super::open::{mss_for_mtu, peer_mss};
use super::options::Options as Knobs;
use super::output::OutSegment;
use super::rcv_space::FirstWindow;
use super::segment::Seg;
use super::set_state::{Current, transition};
use super::state::{Cause, Initiator, State};
use super::tcb::Tuple;
use super::validate::{PAWS_MSL, in_window, take_ack_slot};
use super::window::MAX_WSCALE;
use crate::config::{EcnOption, TcpConfig};
use crate::ctx::Ctx;
use crate::event::ConnectionId;
use crate::slab::Key;
use crate::time::Instant;
use crate::wheel::TimerId;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::{Flags, Options, Repr};

/// How long after an overflow cookies are believed (Linux: two periods of 60 s).
const COOKIE_PERIOD: Duration = Duration::from_secs(60);
/// How long a pending request stays after its first SYN without another.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// Periods that a cookie lives.
const COOKIE_AGE: u32 = 2;
/// The MSS values that a cookie can tell.
const COOKIE_MSS: [u16; 4] = [536, 1300, 1440, 1460];
/// Low bits of the timestamp of a cookie: window scale, SACK, ECN.
const COOKIE_TS_BITS: u32 = 6;
const COOKIE_TS_SACK: u32 = 1 << 4;
const COOKIE_TS_ECN: u32 = 1 << 5;
/// Window scale field that says: none.
const COOKIE_TS_NO_SCALE: u32 = 0xf;

/// What a listener has besides its record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listen {
    pub(crate) backlog: usize,
    /// Completed connections that nobody has accepted.
    pub(crate) accept: VecDeque<Key>,
    /// Half-open requests.
    pub(crate) half_open: usize,
    /// Those whose SYN-ACK was not repeated yet.
    pub(crate) young: usize,
    /// Requests that wait for the application to be told of them.
    pub(crate) undecided: VecDeque<Key>,
    /// When the SYN queue was last full: only then are cookies believed.
    pub(crate) overflow_at: Option<Instant>,
}

impl Listen {
    /// Linux `sk_acceptq_is_full`: one more than the backlog may wait.
    pub(crate) fn accept_full(&self) -> bool {
        self.accept.len() > self.backlog
    }

    /// What becomes of a SYN (Linux `inet_csk_reqsk_queue_is_full`, `tcp_conn_request`): one request more than the backlog
    /// is kept. Without cookies the last quarter of `max_syn_backlog` is for peers known from before, of which lastack
    /// keeps no record; with them it does not count, unless requests wait for a decision, which a cookie cannot.
    pub(crate) fn syn_queue(&self, cfg: &TcpConfig, deferring: bool) -> SynQueue {
        let full = self.half_open > self.backlog;
        let max = cfg.max_syn_backlog;
        if deferring {
            return if full || self.half_open >= max { SynQueue::Full } else { SynQueue::Room };
        }
        match cfg.syn_cookies {
            true if full => SynQueue::Cookies,
            false if full || self.half_open.saturating_add(max >> 2) > max => SynQueue::Full,
            _ => SynQueue::Room,
        }
    }
}

/// What a listener can do with one more SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SynQueue {
    /// Keep a request.
    Room,
    /// Answer with a cookie and keep nothing.
    Cookies,
    /// Drop it.
    Full,
}

/// A half-open connection.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: ConnectionId,
    pub(crate) current: Current,
    pub(crate) tuple: Tuple,
    pub(crate) listener: Key,
    pub(crate) iss: SeqNumber,
    pub(crate) irs: SeqNumber,
    /// Options of the SYN.
    pub(crate) options: Options,
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
    pub(crate) window: u16,
    pub(crate) path_mtu: u16,
    pub(crate) max_seg: u16,
    pub(crate) rcv_wscale: u8,
    pub(crate) retransmits: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// ECN as it was granted.
    pub(crate) ecn: Ecn,
    /// ECN bits of the SYN's packet.
    pub(crate) syn_ecn: u8,
    /// A deferring listener has not decided; no SYN-ACK was sent.
    pub(crate) deferred: bool,
    /// Repeats of the SYN-ACK during which the handshake's bare ACK is not enough (`TCP_DEFER_ACCEPT`).
    pub(crate) defer_accept: u8,
    /// That ACK has come.
    pub(crate) acked: bool,
    /// Rebuilt from a cookie: when the SYN-ACK left is not known.
    pub(crate) from_cookie: bool,
    pub(crate) made_at: Instant,
    pub(crate) sent_at: Instant,
    pub(crate) last_oow_ack: Option<Instant>,
    pub(crate) timer: Option<TimerId>,
    /// Start of the SYN's packet, for an ICMP refusal; only while deferred.
    pub(crate) quote: Box<[u8]>,
}

/// What the listener's side has to do about a segment for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestAction {
    /// Nothing.
    Drop,
    /// Send the SYN-ACK again.
    Repeat,
    /// The peer still waits for the decision of a deferring listener.
    Waits,
    /// Send this.
    Send(Repr),
    /// A reflex RST; the request stays.
    Reset,
    /// The request goes; a reflex RST if told so.
    Remove {
        /// Why.
        cause: Cause,
        /// Answer with a RST.
        reset: bool,
    },
    /// The handshake is complete.
    Complete,
}

/// What a new request takes from its listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestBase {
    pub(crate) listener: Key,
    pub(crate) window: FirstWindow,
    pub(crate) max_seg: u16,
    pub(crate) path_mtu: u16,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Its congestion control needs ECN.
    pub(crate) needs_ecn: bool,
    pub(crate) defer_accept: u8,
}

impl Request {
    /// A request for the SYN `seg`. With `iss` from a TIME_WAIT record that it takes over, or a cookie.
    pub(crate) fn new(
        cx: &mut Ctx,
        tuple: Tuple,
        seg: &Seg<'_>,
        base: RequestBase,
        iss: Option<SeqNumber>,
    ) -> Self {
        let (isn, ts_offset) = cx.first_numbers(&tuple);
        Self {
            id: cx.next_id(),
            current: Current::closed(),
            tuple,
            listener: base.listener,
            iss: iss.unwrap_or(isn),
            irs: seg.seq,
            options: *seg.options,
            ts_recent: seg.options.timestamps.map_or(0, |(value, _)| value),
            ts_offset,
            window: base.window.window.min(u32::from(u16::MAX)) as u16,
            path_mtu: base.path_mtu,
            max_seg: base.max_seg,
            rcv_wscale: base.window.shift,
            retransmits: 0,
            ttl: base.ttl,
            tos: base.tos,
            ecn: Ecn::of_syn(cx, seg, base.needs_ecn),
            syn_ecn: seg.ecn,
            deferred: false,
            defer_accept: base.defer_accept,
            acked: false,
            from_cookie: false,
            made_at: cx.now,
            sent_at: cx.now,
            last_oow_ack: None,
            timer: None,
            quote: Box::default(),
        }
    }

    /// The SYN again, as far as an answer to it needs it.
    pub(crate) fn syn(&self) -> Seg<'_> {
        Seg {
            seq: self.irs,
            end_seq: self.irs + 1,
            ack: SeqNumber(0),
            flags: Flags::SYN,
            window: 0,
            urgent: 0,
            options: &self.options,
            payload: &[],
            gso_size: 0,
            ecn: 0,
            placed: 0,
        }
    }

    pub(crate) fn enter(&mut self, cx: &mut Ctx) {
        let who = (self.id, &self.tuple);
        transition(&mut self.current, cx, who, State::NewSynRecv, Cause::Syn, Initiator::Peer, None);
    }

    pub(crate) fn leave(&mut self, cx: &mut Ctx, cause: Cause, initiator: Initiator) {
        transition(&mut self.current, cx, (self.id, &self.tuple), State::Closed, cause, initiator, None);
    }

    fn uses_timestamps(&self, cx: &Ctx) -> bool {
        cx.cfg.tcp.timestamps && self.options.timestamps.is_some()
    }

    fn uses_scaling(&self, cx: &Ctx) -> bool {
        cx.cfg.tcp.window_scaling && self.options.window_scale.is_some()
    }

    /// All of the window that was offered, which the SYN-ACK could not tell, for a child with the options `knobs`.
    pub(crate) fn first_window(&self, cx: &Ctx, knobs: &Knobs) -> FirstWindow {
        let mss = mss_for_mtu(&self.tuple, cx.mtu(&self.tuple));
        let segment = if self.max_seg > 0 { mss.min(self.max_seg) } else { mss };
        let stamps = if self.uses_timestamps(cx) { 12 } else { 0 };
        FirstWindow::new(&cx.cfg.tcp, knobs, u32::from(segment.saturating_sub(stamps)))
    }

    fn ts_now(&self, cx: &Ctx) -> u32 {
        (cx.now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The SYN-ACK. `cookie` writes what a cookie cannot hold into the timestamp.
    pub(crate) fn syn_ack(&self, cx: &Ctx, cookie: bool) -> OutSegment {
        let mss = mss_for_mtu(&self.tuple, cx.mtu(&self.tuple).min(self.path_mtu));
        let mut options = Options {
            mss: Some(if self.max_seg > 0 { mss.min(self.max_seg) } else { mss }),
            sack_permitted: cx.cfg.tcp.sack && self.options.sack_permitted,
            ..Options::default()
        };
        if self.uses_timestamps(cx) {
            let value = if cookie { self.cookie_timestamp(cx) } else { self.ts_now(cx) };
            options.timestamps = Some((value, self.ts_recent));
        }
        let mut ecn = self.ecn;
        if ecn.contains(Ecn::ACCURATE) {
            if cookie {
                // What a cookie can hold.
                ecn = Ecn::CLASSIC;
            } else if self.retransmits > 1 && cx.cfg.tcp.ecn_fallback {
                ecn = Ecn::empty();
            } else if self.retransmits == 0 && cx.cfg.tcp.ecn_option > EcnOption::Never {
                options.accurate_ecn = Some(first_option());
            }
        }
        if cookie && !self.uses_timestamps(cx) {
            options.sack_permitted = false;
            ecn = Ecn::empty();
        } else if self.uses_scaling(cx) {
            options.window_scale = Some(self.rcv_wscale);
        }
        let repr = Repr {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            seq: self.iss,
            ack: self.irs + 1,
            flags: Flags::SYN | Flags::ACK | ecn.on_syn_ack(self.syn_ecn),
            window: self.window,
            urgent: 0,
            options,
        };
        self.address(repr)
    }

    fn address(&self, repr: Repr) -> OutSegment {
        let tos = self.tos | self.ecn.on_handshake();
        OutSegment { src: self.tuple.local, dst: self.tuple.remote, ttl: self.ttl, tos, repr }
    }

    pub(crate) fn ack_segment(&self, repr: Repr) -> OutSegment {
        self.address(repr)
    }

    /// A bare ACK of a request: SEQ = ISS + 1 (Linux `tcp_v4_reqsk_send_ack`).
    fn ack_repr(&self, cx: &Ctx) -> Repr {
        let shift = if self.uses_scaling(cx) { self.rcv_wscale } else { 0 };
        let mut options = Options::default();
        if self.uses_timestamps(cx) {
            options.timestamps = Some((self.ts_now(cx), self.ts_recent));
        }
        Repr {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            seq: self.iss + 1,
            ack: self.irs + 1,
            flags: Flags::ACK,
            window: self.window >> shift,
            urgent: 0,
            options,
        }
    }

    fn limited_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> RequestAction {
        let has_text = !seg.is_empty() && !seg.has(Flags::SYN);
        if has_text || take_ack_slot(cx, &mut self.last_oow_ack) {
            RequestAction::Send(self.ack_repr(cx))
        } else {
            RequestAction::Drop
        }
    }

    /// SEGMENT ARRIVES for a half-open request (Linux `tcp_check_req`).
    pub(crate) fn check(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> RequestAction {
        if self.deferred {
            return self.check_deferred(seg);
        }
        let left = self.irs + 1;
        let paws = match seg.options.timestamps {
            Some((value, _)) if self.uses_timestamps(cx) => {
                let old = (value.wrapping_sub(self.ts_recent) as i32) < 0;
                old && !(seg.has(Flags::RST) && cx.now - self.made_at > PAWS_MSL)
            }
            _ => false,
        };
        let control = seg.flags & (Flags::FIN | Flags::SYN | Flags::RST | Flags::ACK);
        if seg.seq == self.irs && control == Flags::SYN && !paws {
            return if take_ack_slot(cx, &mut self.last_oow_ack) {
                RequestAction::Repeat
            } else {
                RequestAction::Drop
            };
        }
        if seg.has(Flags::ACK) && !seg.has(Flags::RST) && seg.ack != self.iss + 1 {
            return RequestAction::Reset;
        }
        let right = left + u32::from(self.window);
        let paws = paws || !self.echoes_our_stamp(cx, seg);
        if paws || !in_window(seg.seq, seg.end_seq, left, right) {
            if paws {
                cx.counters.paws_drops += 1;
            }
            return if seg.has(Flags::RST) { RequestAction::Drop } else { self.limited_ack(cx, seg) };
        }
        if seg.has(Flags::RST) {
            return if seg.seq == left {
                RequestAction::Remove { cause: Cause::Reset, reset: false }
            } else {
                self.limited_ack(cx, seg)
            };
        }
        // A SYN at its old place is only a repetition; text behind it may be new.
        if seg.has(Flags::SYN) && seg.seq != self.irs {
            return RequestAction::Remove { cause: Cause::UnexpectedSyn, reset: true };
        }
        if !seg.has(Flags::ACK) {
            return RequestAction::Drop;
        }
        if let Some((value, _)) = seg.options.timestamps
            && !seg.seq.after(left)
            && self.uses_timestamps(cx)
        {
            self.ts_recent = value;
        }
        if self.retransmits < self.defer_accept && seg.end_seq == left {
            // The handshake is through, but the connection is handed out with its first bytes.
            self.acked = true;
            return RequestAction::Drop;
        }
        RequestAction::Complete
    }

    /// The echoed stamp is one that a SYN-ACK of ours carried: a blind sender cannot know it (Linux
    /// `tcp_check_req` since 6.15).
    fn echoes_our_stamp(&self, cx: &Ctx, seg: &Seg<'_>) -> bool {
        match seg.options.timestamps {
            Some((_, echo)) if echo != 0 && seg.has(Flags::ACK) && self.uses_timestamps(cx) => {
                let age = self.ts_now(cx).wrapping_sub(echo);
                u128::from(age) <= (cx.now - self.sent_at).as_millis() + 1
            }
            _ => true,
        }
    }

    /// Before the decision only a repeated SYN (joins the pending one), another SYN of the same port (the peer began
    /// anew) or the peer's RST means anything.
    fn check_deferred(&self, seg: &Seg<'_>) -> RequestAction {
        let from_peer = seg.seq == self.irs || seg.seq == self.irs + 1;
        if seg.has(Flags::RST) {
            if from_peer {
                RequestAction::Remove { cause: Cause::Reset, reset: false }
            } else {
                RequestAction::Drop
            }
        } else if seg.has(Flags::ACK) {
            RequestAction::Reset
        } else if !seg.has(Flags::SYN) {
            RequestAction::Drop
        } else if seg.seq == self.irs {
            RequestAction::Waits
        } else {
            // Its repetition makes the new request.
            RequestAction::Remove { cause: Cause::UnexpectedSyn, reset: false }
        }
    }

    /// Until when a request that nobody has decided on stays without another SYN, and at the most until `defer_timeout`
    /// is over. A peer that gives up says nothing (RFC 9293 3.10.4: CLOSE in SYN-SENT deletes the record), but its
    /// SYNs cease: the next is due after a second (RFC 6298) or three (RFC 1122), and then after at most twice the
    /// pause before, or four times if one was lost.
    pub(crate) fn patience(&mut self, cx: &Ctx) -> Instant {
        let pause = cx.now - self.sent_at;
        self.sent_at = cx.now;
        (cx.now + FIRST_PATIENCE.max(pause * 4)).min(self.made_at + cx.cfg.tcp.defer_timeout)
    }

    /// Repeats of the SYN-ACK that this request may still have: fewer when the queue is more than half full of old ones
    /// (Linux `reqsk_timer_handler`).
    pub(crate) fn synack_limit(cx: &Ctx, listen: &Listen) -> u8 {
        let mut limit = cx.cfg.tcp.synack_retries;
        if listen.half_open << 1 > listen.backlog.max(8) {
            let mut young = listen.young << 1;
            while limit > 2 && listen.half_open >= young {
                limit -= 1;
                young <<= 1;
                if young == 0 {
                    young = 1;
                }
            }
        }
        limit
    }

    /// Wait after `retransmits` repeats.
    pub(crate) fn synack_wait(&self, cx: &Ctx) -> Duration {
        Self::wait_after(cx, self.retransmits)
    }

    pub(crate) fn wait_after(cx: &Ctx, repeats: u8) -> Duration {
        cx.cfg.tcp.rto_initial.saturating_mul(1 << repeats.min(16)).min(cx.cfg.tcp.rto_max)
    }

    /// The timestamp of a cookie: our clock, with the low bits replaced and never in the future.
    fn cookie_timestamp(&self, cx: &Ctx) -> u32 {
        let scale = self.options.window_scale.filter(|_| cx.cfg.tcp.window_scaling);
        let mut bits = scale.map_or(COOKIE_TS_NO_SCALE, |shift| u32::from(shift.min(MAX_WSCALE)));
        if self.options.sack_permitted && cx.cfg.tcp.sack {
            bits |= COOKIE_TS_SACK;
        }
        if self.ecn.intersects(Ecn::CLASSIC | Ecn::ACCURATE) {
            bits |= COOKIE_TS_ECN;
        }
        let clock = cx.now.as_millis() as u32;
        let mask = (1 << COOKIE_TS_BITS) - 1;
        let mut stamp = clock & !mask | bits;
        if stamp > clock {
            stamp = stamp.wrapping_sub(1 << COOKIE_TS_BITS);
        }
        stamp.wrapping_add(self.ts_offset)
    }
}

fn cookie_count(cx: &Ctx) -> u32 {
    (cx.now.as_nanos() / COOKIE_PERIOD.as_nanos() as u64) as u32
}

/// The sequence number that stands for a request nobody keeps (RFC 4987 3.6): two keyed hashes, a minute counter and
/// the MSS.
pub(crate) fn cookie_isn(cx: &Ctx, tuple: &Tuple, irs: SeqNumber, mss: Option<u16>) -> SeqNumber {
    let mss = peer_mss(cx, tuple, mss);
    let index = COOKIE_MSS.iter().rposition(|known| *known <= mss).unwrap_or(0) as u32;
    let count = cookie_count(cx);
    let base = cx.cookie_hash(tuple, SeqNumber(0), 0).wrapping_add(irs.0).wrapping_add(count << 24);
    let tail = cx.cookie_hash(tuple, SeqNumber(1), count).wrapping_add(index) & 0x00ff_ffff;
    SeqNumber(base.wrapping_add(tail))
}

/// Reads the ACK of a cookie: number, options and ECN flags of the SYN, if the cookie is ours and fresh.
pub(crate) fn check_cookie(
    cx: &mut Ctx,
    tuple: &Tuple,
    seg: &Seg<'_>,
    listen: &Listen,
) -> Option<(SeqNumber, Options, Flags)> {
    let recent = listen.overflow_at.is_some_and(|at| cx.now - at <= COOKIE_PERIOD * COOKIE_AGE);
    if !recent {
        return None;
    }
    let irs = seg.seq - 1;
    let iss = seg.ack - 1;
    let base = cx.cookie_hash(tuple, SeqNumber(0), 0).wrapping_add(irs.0);
    let cookie = iss.0.wrapping_sub(base);
    let count = cookie_count(cx);
    let age = count.wrapping_sub(cookie >> 24) & 0xff;
    let index = (age < COOKIE_AGE).then(|| {
        let tail = cx.cookie_hash(tuple, SeqNumber(1), count.wrapping_sub(age));
        cookie.wrapping_sub(tail) & 0x00ff_ffff
    });
    let Some(mss) = index.and_then(|index| COOKIE_MSS.get(index as usize)) else {
        cx.counters.syncookies_failed += 1;
        return None;
    };
    let mut options = Options { mss: Some(*mss), ..Options::default() };
    let mut flags = Flags::SYN;
    if let Some((value, echo)) = seg.options.timestamps
        && cx.cfg.tcp.timestamps
    {
        let bits = echo.wrapping_sub(cx.ts_offset(tuple));
        options.timestamps = Some((value, 0));
        options.sack_permitted = bits & COOKIE_TS_SACK != 0;
        flags.set(Flags::ECE | Flags::CWR, bits & COOKIE_TS_ECN != 0);
        let scale = bits & COOKIE_TS_NO_SCALE;
        options.window_scale = (scale != COOKIE_TS_NO_SCALE).then_some(scale as u8);
    }
    Some((irs, options, flags))
}

//! Fast Open (RFC 7413; Linux `tcp_fastopen.c`). Here the listener's side: cookies, and children that exist before their
//! handshake is over. `client` is the other side, `memory` what that remembers of servers.
//!
//! A child that a SYN with a good cookie made is a full record in SYN_RECEIVED. Its SYN-ACK is not in the queue of what is
//! in flight: a timer of the handshake repeats it, and until the handshake is through that timer is the only one.

pub(crate) mod client;
pub(crate) mod memory;

use self::client::Client;
use super::output::OutSegment;
use super::segment::{Seg, Verdict};
use super::state::State;
use super::tcb::{Is, Tcb, Tuple};
use super::timers::{Pending, Timer};
use super::validate::{in_window, take_ack_slot};
use crate::config::TcpConfig;
use crate::ctx::Ctx;
use crate::error::{Error, Timeout};
use crate::event::Ready;
use crate::slab::Key;
use crate::tcp::state::{Cause, Initiator};
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::hash::Hasher as _;
use core::time::Duration;
use lastack_wire::tcp::{FastOpen as Cookie, Flags};
use siphasher::sip::SipHasher24;

/// Bytes of a cookie that a server makes (Linux `TCP_FASTOPEN_COOKIE_SIZE`).
const COOKIE_SIZE: usize = 8;
/// How long a child that its peer reset counts as pending: a SYN with a false source costs the server so much (RFC 7413 5.1).
const RESET_COUNTS: Duration = Duration::from_secs(60);

/// Keys of a server's Fast Open cookies: the first makes them, both are believed, so that keys can be changed (RFC 7413
/// 4.1.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKeys {
    /// The key in use.
    pub primary: [u8; 16],
    /// The one before.
    pub backup: Option<[u8; 16]>,
}

impl core::fmt::Debug for FastOpenKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FastOpenKeys")
    }
}

/// The cookie of a peer: a keyed hash of source and destination address of its SYN, as Linux makes it.
fn make_cookie(key: &[u8; 16], tuple: &Tuple) -> [u8; COOKIE_SIZE] {
    let mut hash = SipHasher24::new_with_key(key);
    match (tuple.remote.ip(), tuple.local.ip()) {
        (core::net::IpAddr::V4(remote), core::net::IpAddr::V4(local)) => {
            hash.write(&remote.octets());
            hash.write(&local.octets());
        }
        (remote, local) => {
            for ip in [remote, local] {
                if let core::net::IpAddr::V6(ip) = ip {
                    hash.write(&ip.octets());
                }
            }
        }
    }
    hash.finish().to_le_bytes()
}

/// How a socket uses Fast Open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpenOptions {
    /// Of a listener: how many connections may be open before the end of their handshake (`TCP_FASTOPEN`).
    pub limit: usize,
    /// No cookie is needed (`TCP_FASTOPEN_NO_COOKIE`).
    pub without_cookie: bool,
    /// `connect()` waits for the first write (`TCP_FASTOPEN_CONNECT`).
    pub connect: bool,
    /// It does: `connect()` was called, and nothing has been sent.
    pub deferred: bool,
}

/// What a socket has of Fast Open.
#[derive(Clone, Debug, Default)]
pub(crate) struct FastOpen {
    /// Of a listener: children before the end of their handshake at the most; 0 is off.
    pub(crate) limit: usize,
    /// How many there are.
    pub(crate) pending: usize,
    /// When those that were reset cease to count, the oldest first; they are among `pending`.
    pub(crate) resets: VecDeque<Instant>,
    /// Keys of this listener.
    pub(crate) keys: Option<FastOpenKeys>,
    /// Text is taken, or sent, without a cookie.
    pub(crate) no_cookie: bool,
    /// Of a child: its handshake is not over.
    pub(crate) handshake: Option<Handshake>,
    /// A child: its SYN had a good cookie.
    pub(crate) child: bool,
    /// Text of our SYN was acknowledged, or the peer's brought some.
    pub(crate) syn_data: bool,
    /// Of a socket that connects.
    pub(crate) client: Client,
}

/// The handshake of a child that exists already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) listener: Key,
    pub(crate) sent_at: Instant,
    /// Repeats of the SYN-ACK.
    pub(crate) repeats: u8,
    /// Window that the SYN-ACK offered.
    pub(crate) window: u32,
}

/// A child's handshake is over, or the child is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    listener: Key,
    /// When it ceases to count, if its peer reset it.
    until: Option<Instant>,
}

/// What Fast Open makes of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The child is made at once.
    pub(crate) child: bool,
    /// The cookie for the SYN-ACK.
    pub(crate) cookie: Option<Cookie>,
}

impl FastOpen {
    /// Whether one more child may be pending (Linux `tcp_fastopen_queue_check`).
    fn has_room(&mut self, cx: &mut Ctx) -> bool {
        if self.limit == 0 {
            return false;
        }
        if self.pending >= self.limit {
            if self.resets.front().is_none_or(|until| *until > cx.now) {
                cx.counters.fast_open_overflows += 1;
                return false;
            }
            self.resets.pop_front();
            self.pending = self.pending.saturating_sub(1);
        }
        true
    }

    /// Linux `tcp_try_fastopen`.
    pub(crate) fn answer(&mut self, cx: &mut Ctx, tuple: &Tuple, seg: &Seg<'_>) -> Answer {
        let asked = seg.options.fast_open;
        let concerned = asked.is_some() || !seg.payload.is_empty();
        if !cx.cfg.tcp.fast_open_server || !concerned || !self.has_room(cx) {
            return Answer::default();
        }
        if self.no_cookie || cx.cfg.tcp.fast_open_without_cookie {
            return Answer { child: true, cookie: None };
        }
        let Some(asked) = asked else { return Answer::default() };
        let keys = self.keys.unwrap_or_else(|| cx.fast_open_keys());
        let fresh = make_cookie(&keys.primary, tuple);
        let told = Cookie::new(&fresh, asked.experimental);
        if asked.cookie().is_empty() {
            cx.counters.fast_open_cookie_requests += 1;
            return Answer { child: false, cookie: told };
        }
        if asked.cookie() == fresh {
            return Answer { child: true, cookie: None };
        }
        let old = keys.backup.is_some_and(|key| asked.cookie() == make_cookie(&key, tuple));
        cx.counters.fast_open_refused += u64::from(!old);
        cx.counters.fast_open_backup_keys += u64::from(old);
        Answer { child: old, cookie: told }
    }

    /// One of this listener's children is not pending any more.
    fn ended(&mut self, ended: Ended) {
        match ended.until {
            Some(until) => self.resets.push_back(until),
            None => self.pending = self.pending.saturating_sub(1),
        }
    }
}

impl FastOpen {
    /// What a socket keeps when its connection is dissolved: its options.
    pub(crate) fn kept(&self) -> Self {
        let client = self.client.kept();
        Self { limit: self.limit, keys: self.keys, no_cookie: self.no_cookie, client, ..Self::default() }
    }
}

impl crate::demux::Tables {
    /// Tells the listeners of the children whose handshake has ended.
    pub(crate) fn settle_fast_open(&mut self, cx: &mut Ctx) {
        for ended in cx.fast_open_ended.drain(..) {
            let listener = self.connections.get_mut(ended.listener).filter(|tcb| tcb.rare.listen.is_some());
            if let Some(fast) = listener.and_then(|tcb| tcb.rare.get(|rare| &mut rare.fast_open)) {
                fast.ended(ended);
            }
        }
    }
}

impl Tcb {
    /// A socket's Fast Open, made when it is first needed.
    pub(crate) fn fast_open_mut(&mut self) -> &mut FastOpen {
        self.rare.parts().fast_open.get_or_insert_default()
    }

    /// The socket listens from now on (Linux `inet_listen`): some systems want Fast Open without being asked.
    pub(crate) fn listen_fast(&mut self, cfg: &TcpConfig, backlog: usize) {
        if cfg.fast_open_server && cfg.fast_open_listeners && self.fast_open_limit() == 0 {
            self.fast_open_mut().limit = backlog;
        }
    }

    /// `TCP_FASTOPEN` as it reads.
    pub(crate) fn fast_open_limit(&self) -> usize {
        self.rare.fast_open.as_ref().map_or(0, |fast| fast.limit)
    }

    /// The options as they read.
    pub(crate) fn fast_open_options(&self) -> FastOpenOptions {
        self.rare.fast_open.as_deref().map_or(FastOpenOptions::default(), |fast| FastOpenOptions {
            limit: fast.limit,
            without_cookie: fast.no_cookie,
            connect: fast.client.connect,
            deferred: fast.client.deferred,
        })
    }

    /// The handshake of a Fast Open child is not over.
    #[inline]
    pub(crate) fn fast_opening(&self) -> bool {
        self.rare.fast_open.as_ref().is_some_and(|fast| fast.handshake.is_some())
    }

    /// A new child takes the SYN's text and answers it (Linux `tcp_fastopen_create_child`).
    pub(crate) fn open_fast(&mut self, cx: &mut Ctx, seg: &Seg<'_>, listener: Key, cookie: Option<Cookie>) {
        self.clear_sent();
        self.snd_una = self.iss + 1;
        for seq in [&mut self.snd_sml, &mut self.recover, &mut self.cwnd_usage_end] {
            *seq = self.snd_una;
        }
        // The window of a segment with SYN is never scaled (RFC 7323 2.2).
        self.snd_wnd = seg.window.into();
        self.max_window = self.snd_wnd;
        self.init_congestion(cx);
        let taken = self.take_syn_text(cx, seg);
        self.stats.data_segs_in += u32::from(taken > 0);
        self.stats.segs_in += 1;
        let mut segment = self.handshake_segment(cx);
        segment.repr.options.fast_open = cookie;
        let handshake = Handshake { listener, sent_at: cx.now, repeats: 0, window: self.rcv_wnd };
        let fast = self.fast_open_mut();
        fast.handshake = Some(handshake);
        fast.child = true;
        fast.syn_data = taken > 0;
        self.count_out(cx);
        cx.send_segment(segment);
        self.arm_fast_open(cx, 0);
    }

    /// Takes the text of a segment with SYN, as far as the window that we offer lets it in; gives how much that was.
    fn take_syn_text(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> u64 {
        let offered = (self.rcv_wnd as usize).min(seg.payload.len());
        let text = seg.payload.get(..offered).unwrap_or_default();
        let start = self.rcv_buf.contiguous_end();
        let taken =
            self.rcv_buf.insert(&mut cx.pool, start, text, cx.cfg.tcp.max_out_of_order_ranges).advanced;
        self.rcv_nxt += taken as u32;
        self.stats.bytes_received += taken;
        taken
    }

    fn arm_fast_open(&mut self, cx: &mut Ctx, repeats: u8) {
        let wait = super::listen::Request::wait_after(cx, repeats);
        self.pending = Pending::Retransmission;
        self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, cx.now + wait);
    }

    /// The SYN-ACK again, without a cookie.
    fn repeat_fast_open(&mut self, cx: &mut Ctx) {
        let segment: OutSegment = self.handshake_segment(cx);
        self.stats.retransmissions += 1;
        cx.counters.retrans_segs += 1;
        self.count_out(cx);
        cx.send_segment(segment);
    }

    /// The SYN-ACK was not answered in time. Nothing else is sent again before it is (Linux `tcp_fastopen_synack_timer`).
    pub(crate) fn on_fast_open_timer(&mut self, cx: &mut Ctx) {
        let Some(repeats) = self.rare.fast_open.as_ref().and_then(|fast| fast.handshake).map(|h| h.repeats)
        else {
            return;
        };
        let cfg = &cx.cfg.tcp;
        let asked = (self.knobs.syn_retries != cfg.syn_retries).then_some(self.knobs.syn_retries);
        if repeats >= asked.unwrap_or(cfg.synack_retries.saturating_add(1)) {
            let error = self.soft_error.unwrap_or(Error::TimedOut(Timeout::Syn));
            return self.fail(cx, error, Cause::RetransmissionTimeout, Initiator::Timer);
        }
        if self.retransmits == 1 {
            self.enter_loss(cx);
        }
        self.repeat_fast_open(cx);
        self.retransmits = self.retransmits.saturating_add(1);
        self.retrans_stamp.get_or_insert(cx.now);
        if let Some(handshake) = self.fast_open_mut().handshake.as_mut() {
            handshake.repeats += 1;
        }
        self.arm_fast_open(cx, repeats + 1);
    }

    /// SEGMENT ARRIVES before the handshake is over (Linux `tcp_check_req` of Fast Open). `None`: it may be processed as any
    /// other.
    pub(crate) fn check_fast_open(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> Option<Verdict> {
        let window = self.rare.fast_open.as_ref().and_then(|fast| fast.handshake).map(|h| h.window)?;
        let paws = self.paws_rejects(cx, seg);
        let control = seg.flags & (Flags::FIN | Flags::SYN | Flags::RST | Flags::ACK);
        if seg.seq == self.irs && control == Flags::SYN && !paws {
            if take_ack_slot(cx, &mut self.last_oow_ack) {
                self.repeat_fast_open(cx);
            }
            return Some(Verdict::Done);
        }
        if paws || !in_window(seg.seq, seg.end_seq, self.rcv_nxt, self.rcv_nxt + window) {
            cx.counters.paws_drops += u64::from(paws);
            let text = !seg.is_empty() && !seg.has(Flags::SYN);
            if !seg.has(Flags::RST) && (text || take_ack_slot(cx, &mut self.last_oow_ack)) {
                self.send_ack(cx);
            }
            return Some(Verdict::Done);
        }
        if seg.has(Flags::RST) {
            if seg.seq == self.rcv_nxt {
                self.end_fast_open(cx, true);
                self.tcp_reset(cx);
            } else {
                self.challenge_ack(cx);
            }
            return Some(Verdict::Done);
        }
        if seg.has(Flags::SYN) && seg.seq != self.irs {
            return Some(Verdict::Reset);
        }
        if !seg.has(Flags::ACK) {
            return Some(Verdict::Done);
        }
        None
    }

    /// The listener will hear that this child is not pending any more. A reset that came after it was accepted counts for a
    /// while (Linux `reqsk_fastopen_remove`).
    pub(crate) fn end_fast_open(&mut self, cx: &mut Ctx, reset: bool) -> Option<Handshake> {
        let handshake = self.rare.get(|rare| &mut rare.fast_open)?.handshake.take()?;
        let until = (reset && !self.is(Is::UNACCEPTED)).then(|| cx.now + RESET_COUNTS);
        cx.fast_open_ended.push(Ended { listener: handshake.listener, until });
        Some(handshake)
    }

    /// The handshake is through (Linux `tcp_rcv_synrecv_state_fastopen`).
    pub(crate) fn fast_open_done(&mut self, cx: &mut Ctx) {
        let Some(handshake) = self.end_fast_open(cx, false) else { return };
        if handshake.repeats == 0 && self.rtt.srtt().is_none() {
            let rtt = cx.now - handshake.sent_at;
            self.rtt.sample(rtt, Some(rtt), cx.now, (0, 0));
            self.rack_rtt = self.rtt.srtt_micros();
        }
        self.retransmits = 0;
        self.backoff = 0;
        self.retrans_stamp = None;
        self.rearm_rto(cx);
        self.arm_keepalive(cx);
        cx.signal(self, Ready::OUT);
        if self.has_unsent() {
            cx.want_output(self);
        }
    }

    /// Text may leave: the handshake is through, or need not be.
    pub(crate) fn opens_for_text(&self) -> bool {
        self.state() == State::SynReceived && self.fast_opening()
    }
}

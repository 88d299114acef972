//! Small records for TIME_WAIT and for a FIN_WAIT_2 that nobody owns (RFC 9293 3.6.1, RFC 1337, RFC 6191; Linux
//! `inet_timewait_sock`, `tcp_timewait_state_process`).

use super::ending::Ending;
use super::output::OutSegment;
use super::segment::Seg;
use super::set_state::{Current, transition};
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Successor, Tcb, Tuple};
use super::validate::{PAWS_24DAYS, PAWS_MSL, in_window};
use crate::addr::Addr;
use crate::ctx::Ctx;
use crate::event::ConnectionId;
use crate::time::Instant;
use crate::wheel::Wheel;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::{Flags, Options, Repr};

mod line;

pub(crate) use line::{Line, Place};

/// Distance from the old SND.NXT to the ISN of a connection that takes the record over: beyond any window of the old
/// incarnation (Linux: 65,535 + 2).
const REUSE_STEP: u32 = 65_537;

/// An address of one family.
pub(crate) trait Address: Copy + Into<Addr> + core::fmt::Debug {
    fn to_ip(self) -> IpAddr;
    fn from_ip(addr: IpAddr) -> Option<Self>;
}

impl Address for Ipv4Addr {
    fn to_ip(self) -> IpAddr {
        self.into()
    }
    fn from_ip(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for Ipv6Addr {
    fn to_ip(self) -> IpAddr {
        self.into()
    }
    fn from_ip(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        }
    }
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct TwFlags: u8 {
        const TIMESTAMPS = 1;
        const REUSE_ADDR = 2;
        /// An ACK out of the window went out at `last_oow_ms`.
        const OOW_SENT = 4;
        /// Data came after our FIN: for the report of the end.
        const HALF_CLOSED = 8;
    }
}

/// The record. Times are milliseconds of the low 32 bits of the clock (49 days): all that is asked of them is an age of
/// at most 24 days, and the record itself lives for a minute or two after its last use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<A> {
    local: A,
    remote: A,
    local_port: u16,
    remote_port: u16,
    id: u32,
    rcv_nxt: SeqNumber,
    snd_nxt: SeqNumber,
    rcv_wnd: u32,
    ts_recent: u32,
    ts_recent_ms: u32,
    entered_ms: u32,
    last_oow_ms: u32,
    restarts: u16,
    current: Current,
    flags: TwFlags,
    rcv_wscale: u8,
    ttl: u8,
    tos: u8,
    /// Hash of the four-tuple.
    hash: u32,
    place: Place,
}

/// What a segment did to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TwAction {
    /// Nothing is sent; the record stays.
    Nothing,
    /// The record stays for this long from now.
    Restart(Duration),
    /// Send the ACK; restart if told so.
    Ack(Option<Duration>),
    /// The record goes, with a reflex RST if told so.
    Kill {
        /// Why.
        cause: Cause,
        /// Answer with a RST.
        reset: bool,
    },
    /// A new incarnation may begin with this ISN, if somebody listens. Otherwise as `Ack(restart)`.
    Syn {
        /// ISN of our side.
        iss: SeqNumber,
    },
}

/// What an outgoing connection inherits from the record it takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inheritance {
    pub(crate) iss: SeqNumber,
    pub(crate) ts_recent: u32,
}

fn millis(at: Instant) -> u32 {
    at.as_millis() as u32
}

fn age(cx: &Ctx, since_ms: u32) -> Duration {
    Duration::from_millis(millis(cx.now).wrapping_sub(since_ms).into())
}

impl<A: Address> Record<A> {
    /// The record that takes over from `tcb`. `None` if the families differ.
    pub(crate) fn new(cx: &Ctx, tcb: &Tcb, successor: Successor, hash: u32) -> Option<Self> {
        debug_assert_eq!(tcb.state(), successor.state);
        let mut flags = TwFlags::empty();
        flags.set(TwFlags::TIMESTAMPS, tcb.is(Is::TIMESTAMPS));
        flags.set(TwFlags::REUSE_ADDR, tcb.knobs.has(super::options::Knob::REUSE_ADDR));
        flags.set(TwFlags::HALF_CLOSED, tcb.was_half_closed());
        Some(Self {
            local: A::from_ip(tcb.tuple.local.ip())?,
            remote: A::from_ip(tcb.tuple.remote.ip())?,
            local_port: tcb.tuple.local_port,
            remote_port: tcb.tuple.remote_port,
            id: tcb.id.0,
            rcv_nxt: tcb.rcv_nxt,
            snd_nxt: tcb.snd_nxt,
            rcv_wnd: tcb.receive_window(),
            ts_recent: tcb.ts_recent,
            ts_recent_ms: millis(tcb.ts_recent_at),
            entered_ms: millis(cx.now),
            last_oow_ms: 0,
            restarts: 0,
            current: tcb.current,
            flags,
            rcv_wscale: if tcb.is(Is::SCALED) { tcb.rcv_wscale } else { 0 },
            ttl: tcb.knobs.ttl,
            tos: tcb.knobs.tos,
            hash,
            place: Place::None,
        })
    }

    pub(crate) fn tuple(&self) -> Tuple {
        Tuple {
            local: self.local.into(),
            remote: self.remote.into(),
            local_port: self.local_port,
            remote_port: self.remote_port,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        ConnectionId(self.id)
    }

    pub(crate) fn state(&self) -> State {
        self.current.get()
    }

    /// How long it has been in its state.
    pub(crate) fn age(&self, cx: &Ctx) -> Duration {
        age(cx, self.entered_ms)
    }

    pub(crate) fn hash(&self) -> u32 {
        self.hash
    }

    /// When it goes.
    pub(crate) fn ends(&self, now: Instant, wheel: &Wheel) -> Option<Instant> {
        self.place.ends(now, wheel)
    }

    pub(crate) fn reuse_addr(&self) -> bool {
        self.flags.contains(TwFlags::REUSE_ADDR)
    }

    pub(crate) fn leave(&mut self, cx: &mut Ctx, cause: Cause, initiator: Initiator) {
        self.move_to(cx, State::Closed, cause, initiator);
    }

    fn move_to(&mut self, cx: &mut Ctx, to: State, cause: Cause, initiator: Initiator) {
        let (id, tuple) = (self.id(), self.tuple());
        // TIME_WAIT itself is silent: its connection's end was told when it began.
        let half_closed = self.flags.contains(TwFlags::HALF_CLOSED);
        let ending =
            (self.state() == State::FinWait2).then(|| Ending::of_fin_wait2(cx.now, cause, half_closed));
        transition(&mut self.current, cx, (id, &tuple), to, cause, initiator, ending);
    }

    /// Feeds the record to `h`, relative to now.
    pub(crate) fn fingerprint(&self, now: Instant, wheel: &Wheel, h: &mut impl Hasher) {
        let Self {
            local,
            remote,
            local_port,
            remote_port,
            id: _,
            rcv_nxt: _,
            snd_nxt: _,
            rcv_wnd,
            ts_recent,
            ts_recent_ms,
            entered_ms,
            last_oow_ms,
            restarts,
            current,
            flags,
            rcv_wscale,
            ttl,
            tos,
            hash: _,
            place,
        } = self;
        let now_ms = millis(now);
        (local.to_ip(), remote.to_ip(), local_port, remote_port, current).hash(h);
        (rcv_wnd, restarts, *flags - TwFlags::HALF_CLOSED, rcv_wscale, ttl, tos).hash(h);
        if flags.contains(TwFlags::TIMESTAMPS) {
            (ts_recent_ms.wrapping_sub(now_ms), ts_recent.wrapping_sub(now_ms)).hash(h);
        }
        entered_ms.wrapping_sub(now_ms).hash(h);
        if flags.contains(TwFlags::OOW_SENT) {
            now_ms.wrapping_sub(*last_oow_ms).min(1000).hash(h);
        }
        place.ends(now, wheel).map(|at| at - now).hash(h);
    }

    /// SEGMENT ARRIVES.
    pub(crate) fn arrive(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> TwAction {
        let paws = self.paws_rejects(cx, seg);
        if self.state() == State::FinWait2 {
            self.in_fin_wait2(cx, seg, paws)
        } else {
            self.in_time_wait(cx, seg, paws)
        }
    }

    fn paws_rejects(&self, cx: &Ctx, seg: &Seg<'_>) -> bool {
        let Some((value, _)) = seg.options.timestamps else { return false };
        if !self.flags.contains(TwFlags::TIMESTAMPS) {
            return false;
        }
        let old = (value.wrapping_sub(self.ts_recent) as i32) < 0;
        let age = age(cx, self.ts_recent_ms);
        old && age <= PAWS_24DAYS && !(seg.has(Flags::RST) && age > PAWS_MSL)
    }

    fn learn_timestamp(&mut self, cx: &Ctx, seg: &Seg<'_>) {
        if let Some((value, _)) = seg.options.timestamps
            && self.flags.contains(TwFlags::TIMESTAMPS)
        {
            self.ts_recent = value;
            self.ts_recent_ms = millis(cx.now);
        }
    }

    /// An ownerless FIN_WAIT_2 accepts a bare FIN at RCV.NXT and nothing else.
    fn in_fin_wait2(&mut self, cx: &mut Ctx, seg: &Seg<'_>, paws: bool) -> TwAction {
        let right = self.rcv_nxt + self.rcv_wnd;
        if paws || !in_window(seg.seq, seg.end_seq, self.rcv_nxt, right) {
            return self.limited_ack(cx, seg, None);
        }
        if seg.has(Flags::RST) {
            return TwAction::Kill { cause: Cause::Reset, reset: false };
        }
        if seg.has(Flags::SYN) && !seg.seq.before(self.rcv_nxt) {
            return TwAction::Kill { cause: Cause::UnexpectedSyn, reset: true };
        }
        if !seg.has(Flags::ACK) || !seg.end_seq.after(self.rcv_nxt) || seg.is_empty() {
            return TwAction::Nothing;
        }
        if !seg.has(Flags::FIN) || seg.end_seq != self.rcv_nxt + 1 {
            return TwAction::Kill { cause: Cause::DataAfterClose, reset: true };
        }
        self.move_to(cx, State::TimeWait, Cause::Fin, Initiator::Peer);
        self.rcv_nxt = seg.end_seq;
        self.entered_ms = millis(cx.now);
        self.learn_timestamp(cx, seg);
        TwAction::Ack(Some(cx.cfg.tcp.time_wait))
    }

    fn in_time_wait(&mut self, cx: &mut Ctx, seg: &Seg<'_>, paws: bool) -> TwAction {
        let rst = seg.has(Flags::RST);
        if !paws && seg.seq == self.rcv_nxt && (seg.is_empty() || rst) {
            if rst && !cx.cfg.tcp.rfc1337 {
                return TwAction::Kill { cause: Cause::Reset, reset: false };
            }
            self.learn_timestamp(cx, seg);
            return match self.restart(cx) {
                Some(time) if !rst => TwAction::Restart(time),
                _ => TwAction::Nothing,
            };
        }
        if seg.has(Flags::SYN) && !rst && !seg.has(Flags::ACK) && !paws && self.is_new_incarnation(seg) {
            return TwAction::Syn { iss: self.next_iss() };
        }
        if paws {
            cx.counters.paws_time_wait += 1;
        }
        if rst {
            cx.counters.in_rsts_ignored += 1;
            return TwAction::Nothing;
        }
        self.refuse(cx, seg, paws)
    }

    /// An old duplicate, or a SYN that nobody listens for: an ACK, and TIME_WAIT begins anew.
    pub(crate) fn refuse(&mut self, cx: &mut Ctx, seg: &Seg<'_>, paws: bool) -> TwAction {
        let restart = if paws || seg.has(Flags::ACK) { self.restart(cx) } else { None };
        self.limited_ack(cx, seg, restart)
    }

    /// RFC 9293 MAY-2 by sequence number, RFC 6191 by timestamp, as far as Linux goes.
    fn is_new_incarnation(&self, seg: &Seg<'_>) -> bool {
        // A SYN with FIN would be dropped by the listener: it must not cost us the record.
        if seg.has(Flags::FIN) {
            return false;
        }
        let newer = match seg.options.timestamps {
            Some((value, _)) if self.flags.contains(TwFlags::TIMESTAMPS) => {
                (self.ts_recent.wrapping_sub(value) as i32) < 0
            }
            _ => false,
        };
        seg.seq.after(self.rcv_nxt) || newer
    }

    fn next_iss(&self) -> SeqNumber {
        match self.snd_nxt + REUSE_STEP {
            SeqNumber(0) => SeqNumber(1),
            iss => iss,
        }
    }

    /// The new life time, unless the configured number of restarts is used up.
    fn restart(&mut self, cx: &Ctx) -> Option<Duration> {
        if cx.cfg.tcp.time_wait_restarts.is_some_and(|most| self.restarts >= most) {
            return None;
        }
        self.restarts = self.restarts.saturating_add(1);
        Some(cx.cfg.tcp.time_wait)
    }

    /// Segments with text are always answered, others once per slot.
    fn limited_ack(&mut self, cx: &mut Ctx, seg: &Seg<'_>, restart: Option<Duration>) -> TwAction {
        let has_text = !seg.is_empty() && !seg.has(Flags::SYN);
        if !has_text {
            let sent = self.flags.contains(TwFlags::OOW_SENT);
            if sent && age(cx, self.last_oow_ms) < cx.cfg.tcp.invalid_ratelimit {
                cx.counters.acks_skipped += 1;
                return restart.map_or(TwAction::Nothing, TwAction::Restart);
            }
            self.flags.insert(TwFlags::OOW_SENT);
            self.last_oow_ms = millis(cx.now);
        }
        TwAction::Ack(restart)
    }

    /// The record's ACK.
    pub(crate) fn ack(&self, cx: &Ctx) -> OutSegment {
        let tuple = self.tuple();
        let mut options = Options::default();
        if self.flags.contains(TwFlags::TIMESTAMPS) {
            let now = millis(cx.now).wrapping_add(cx.ts_offset(&tuple));
            options.timestamps = Some((now, self.ts_recent));
        }
        let repr = Repr {
            src_port: self.local_port,
            dst_port: self.remote_port,
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: (self.rcv_wnd >> self.rcv_wscale).min(u32::from(u16::MAX)) as u16,
            urgent: 0,
            options,
        };
        OutSegment { src: tuple.local, dst: tuple.remote, ttl: self.ttl, tos: self.tos, repr }
    }

    /// A RST that ends the connection on the peer's side.
    pub(crate) fn reset(&self, cx: &Ctx) -> OutSegment {
        let mut segment = self.ack(cx);
        segment.repr.flags = Flags::RST | Flags::ACK;
        segment
    }

    /// Whether an outgoing connection may take the four-tuple over (Linux `tcp_twsk_unique`): timestamps make old
    /// segments recognisable once the clock has moved on.
    pub(crate) fn may_be_reused(&self, cx: &Ctx) -> Option<Inheritance> {
        let delay = cx.cfg.tcp.time_wait_reuse_delay?;
        let usable = self.state() == State::TimeWait
            && self.flags.contains(TwFlags::TIMESTAMPS)
            && age(cx, self.entered_ms) >= delay;
        usable.then(|| Inheritance { iss: self.next_iss(), ts_recent: self.ts_recent })
    }
}

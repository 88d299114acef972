//! Why a connection is still there: what it waits for, since when, who has to act, and which timer ends it.

use super::listen::Request;
use super::options::Knob;
use super::retransmit::{RTO_OF_THE_MODEL, double, model_timeout};
use super::state::{Cause, State};
use super::tcb::{Is, Tcb};
use super::time_wait::{Address, Record};
use super::timers::{Pending, Timer};
use crate::ctx::Ctx;
use crate::event::ConnectionId;
use crate::time::Instant;
use crate::wheel::Wheel;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

/// Timer expiries that are played forward at the most to find the one that gives up.
const EXPIRIES: usize = 512;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// For nothing: there is no connection.
    Nothing,
    /// A listener, for connections: half-open requests and connections that nobody has accepted yet.
    Connections {
        /// Requests whose handshake is under way.
        half_open: usize,
        /// Completed connections in the accept queue.
        unaccepted: usize,
    },
    /// For an answer to our SYN, which was sent so many times.
    SynAnswer {
        /// Transmissions so far.
        sent: u32,
    },
    /// For the ACK of our SYN-ACK, which was sent so many times.
    HandshakeAck {
        /// Transmissions so far.
        sent: u32,
    },
    /// For the decision on a deferred request.
    Decision,
    /// For `accept()`.
    Accept,
    /// For the peer's acknowledgement of what was sent.
    Acknowledgement {
        /// Bytes of data sent and not acknowledged.
        bytes: u32,
        /// The FIN was sent and is not acknowledged.
        fin: bool,
        /// Times that the retransmission timer ran out for it.
        retransmits: u8,
    },
    /// For room in the peer's window.
    Window {
        /// Bytes that wait.
        bytes: u32,
        /// The FIN waits behind them.
        fin: bool,
    },
    /// For the application to send more or to take the cork out: a small piece is held back.
    Uncork {
        /// Bytes that wait.
        bytes: u32,
    },
    /// For the application to read.
    Read {
        /// Bytes that wait.
        bytes: u32,
    },
    /// For the application to close: the peer has closed.
    Close,
    /// For the peer to close: our FIN is acknowledged.
    PeerClose,
    /// For either side to send or to close.
    Traffic,
    /// For late segments of a connection that both sides have closed.
    LateSegments,
}

/// Who has to act next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The application on this side.
    Application,
    /// The peer.
    Peer,
    /// Either side.
    Either,
    /// Nobody: a timer ends it.
    Nobody,
}

/// Why a record is still there, at the moment of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// The connection's number.
    pub id: ConnectionId,
    /// This side.
    pub local: SocketAddr,
    /// The peer; unspecified with port 0 for a listener.
    pub remote: SocketAddr,
    /// Its state.
    pub state: State,
    /// No application holds it.
    pub orphan: bool,
    /// How long it has been in that state.
    pub in_state: Duration,
    /// What it waits for.
    pub waits_for: Wait,
    /// How long it has been waiting for that.
    pub waiting: Duration,
    /// Who has to act.
    pub who: Actor,
    /// If nothing happens: what ends it, and in how long at the latest. `None`: it may stay for ever.
    pub ends: Option<(Cause, Duration)>,
}

/// The sentence without addresses: `FIN_WAIT_2 for 41 s: our FIN was acknowledged, the peer has not closed; the record
/// goes in 19 s (FIN_WAIT_2 timed out)`.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}: {}", self.state, Age(self.in_state), self.waits_for)?;
        if self.waiting + Duration::from_millis(1) < self.in_state
            && !matches!(self.waits_for, Wait::Nothing | Wait::Connections { .. })
        {
            write!(f, " for {}", Age(self.waiting))?;
        }
        match (self.who, self.ends) {
            (Actor::Nobody, None) => {}
            (Actor::Nobody, Some(_)) => f.write_str("; nobody has to act")?,
            (Actor::Application, _) => f.write_str("; the application has to act")?,
            (Actor::Peer, _) => f.write_str("; the peer has to act")?,
            (Actor::Either, _) => f.write_str("; either side may act")?,
        }
        match self.ends {
            Some((cause, left)) => write!(f, "; the record goes in {} ({cause})", Age(left)),
            None if self.state == State::Closed => Ok(()),
            None => f.write_str("; no timer ends it"),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("there is no connection"),
            Self::Connections { half_open, unaccepted } => {
                write!(f, "listening, {half_open} half-open, {unaccepted} to be accepted")
            }
            Self::SynAnswer { sent } => write!(f, "our SYN (sent {}) is not answered", Times(sent)),
            Self::HandshakeAck { sent } => {
                write!(f, "our SYN-ACK (sent {}) is not acknowledged", Times(sent))
            }
            Self::Decision => f.write_str("the request waits to be let in or refused"),
            Self::Accept => f.write_str("the connection waits to be accepted"),
            Self::Acknowledgement { bytes, fin, retransmits } => {
                match (bytes, fin) {
                    (0, _) => f.write_str("our FIN is not acknowledged")?,
                    (bytes, false) => write!(f, "{bytes} bytes are not acknowledged")?,
                    (bytes, true) => write!(f, "{bytes} bytes and our FIN are not acknowledged")?,
                }
                if retransmits > 0 {
                    write!(f, ", the timer ran out {}", Times(retransmits.into()))?;
                }
                Ok(())
            }
            Self::Window { bytes, fin } => {
                let fin = if fin { " and our FIN" } else { "" };
                write!(f, "{bytes} bytes{fin} wait for the peer's window")
            }
            Self::Uncork { bytes } => write!(f, "{bytes} bytes are held back until more is written"),
            Self::Read { bytes } => write!(f, "{bytes} bytes wait to be read"),
            Self::Close => f.write_str("the peer has closed, the application has not"),
            Self::PeerClose => f.write_str("our FIN was acknowledged, the peer has not closed"),
            Self::Traffic => f.write_str("nothing is under way"),
            Self::LateSegments => f.write_str("both sides have closed, the record answers late segments"),
        }
    }
}

/// A duration in one unit: `350 ms`, `41 s`, `12 min`, `3 h`.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            s @ 1..300 => write!(f, "{s} s"),
            s @ 300..7200 => write!(f, "{} min", s / 60),
            s => write!(f, "{} h", s / 3600),
        }
    }
}

/// `once`, `3 times`.
struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("once"),
            n => write!(f, "{n} times"),
        }
    }
}

impl Tcb {
    pub(crate) fn why(&self, cx: &Ctx) -> Why {
        let state = if self.is(Is::LEFT) { State::Closed } else { self.state() };
        let entered = self.history.last().map_or(cx.now, |transition| transition.at);
        let (waits_for, since, who) = self.waits_for(cx, state, entered);
        let patience = self.timers.deadline(Timer::Patience).filter(|_| self.is_orphan());
        let orphan_end = patience.map(|at| (Cause::OrphanTimeout, at));
        let ends = [self.gives_up_at(cx, waits_for), orphan_end];
        let ends = ends.into_iter().flatten().min_by_key(|(_, at)| *at);
        Why {
            id: self.id,
            local: self.tuple.local_addr(),
            remote: self.tuple.remote_addr(),
            state,
            orphan: self.is(Is::ORPHAN),
            in_state: cx.now - entered,
            waits_for,
            waiting: cx.now - since,
            who,
            ends: ends.map(|(cause, at)| (cause, at - cx.now)),
        }
    }

    fn waits_for(&self, cx: &Ctx, state: State, entered: Instant) -> (Wait, Instant, Actor) {
        let sent = u32::from(self.retransmits) + 1;
        match state {
            State::Closed => (Wait::Nothing, entered, Actor::Nobody),
            State::Listen => {
                let listen = self.rare.listen.as_deref();
                let half_open = listen.map_or(0, |listen| listen.half_open);
                let unaccepted = listen.map_or(0, |listen| listen.accept.len());
                let who = if unaccepted > 0 { Actor::Application } else { Actor::Peer };
                (Wait::Connections { half_open, unaccepted }, entered, who)
            }
            State::SynSent => (Wait::SynAnswer { sent }, entered, Actor::Peer),
            State::NewSynRecv | State::SynReceived => (Wait::HandshakeAck { sent }, entered, Actor::Peer),
            State::TimeWait => (Wait::LateSegments, entered, Actor::Nobody),
            _ => self.open_waits_for(cx, state, entered),
        }
    }

    /// The states in which data or a FIN may be under way.
    fn open_waits_for(&self, cx: &Ctx, state: State, entered: Instant) -> (Wait, Instant, Actor) {
        let data_end = self.snd_seq(self.snd_buf.end());
        let unsent = if self.snd_nxt.before(data_end) { data_end.distance_from(self.snd_nxt) } else { 0 };
        let unread = u32::try_from(self.rcv_buf.readable()).unwrap_or(u32::MAX);
        let fin = self.is(Is::FIN_QUEUED) && !self.fin_acked();
        if let Some(oldest) = self.rtx.front() {
            let bytes = self.unacked_bytes().saturating_sub(unsent);
            let fin = fin && self.fin_sent();
            let since = self.retrans_stamp.unwrap_or(oldest.at);
            let wait = Wait::Acknowledgement { bytes, fin, retransmits: self.retransmits };
            return (wait, since, Actor::Peer);
        }
        if unsent > 0 && self.snd_nxt.before(self.window_end()) {
            return (Wait::Uncork { bytes: unsent }, self.last_sent.max(entered), Actor::Application);
        }
        if unsent > 0 || fin {
            let since = self.probes_since.unwrap_or(self.last_sent);
            return (Wait::Window { bytes: unsent, fin }, since, Actor::Peer);
        }
        match state {
            State::FinWait2 => (Wait::PeerClose, entered, Actor::Peer),
            _ if self.is(Is::UNACCEPTED) => (Wait::Accept, entered, Actor::Application),
            _ if unread > 0 => {
                (Wait::Read { bytes: unread }, self.delack.last_data.min(cx.now), Actor::Application)
            }
            State::CloseWait => (Wait::Close, entered, Actor::Application),
            _ => (Wait::Traffic, self.last_received.max(self.last_sent).max(entered), Actor::Either),
        }
    }

    /// What gives the connection up if nothing more arrives, and when.
    fn gives_up_at(&self, cx: &Ctx, waits_for: Wait) -> Option<(Cause, Instant)> {
        let timer = self.timers.deadline(Timer::Retransmit);
        match waits_for {
            Wait::SynAnswer { .. } | Wait::HandshakeAck { .. } => self.handshake_ends(cx, timer?),
            Wait::Acknowledgement { .. } => self.retransmission_ends(cx, timer?),
            Wait::Window { .. } => self.probing_ends(cx, timer?),
            Wait::PeerClose if self.is_orphan() => {
                Some((Cause::FinWait2Timeout, self.timers.deadline(Timer::KeepAlive)?))
            }
            Wait::Nothing | Wait::Connections { .. } => None,
            _ => self.keepalive_ends(),
        }
    }

    fn handshake_ends(&self, cx: &Ctx, timer: Instant) -> Option<(Cause, Instant)> {
        let active = self.state() == State::SynSent;
        let (linear, cause) = if active {
            (cx.cfg.tcp.syn_linear_timeouts, Cause::SynTimeout)
        } else {
            (0, Cause::RetransmissionTimeout)
        };
        let (mut at, mut backoff) = (timer, self.backoff);
        for retransmits in self.retransmits..u8::MAX {
            if self.handshake_over(cx, retransmits, at) {
                break;
            }
            backoff = backoff.saturating_add(u8::from(retransmits >= linear));
            at += double(self.rtt.rto(), backoff).min(cx.cfg.tcp.rto_max);
        }
        // The first wait is not cut short.
        let (cause, user) = self.or_user_timeout((cause, at), self.retrans_stamp);
        Some((cause, user.max(timer)))
    }

    /// Plays `on_rto` forward.
    fn retransmission_ends(&self, cx: &Ctx, timer: Instant) -> Option<(Cause, Instant)> {
        let max = cx.cfg.tcp.rto_max;
        let (mut at, mut retransmits, mut backoff) = (timer, self.retransmits, self.backoff);
        if self.pending != Pending::Retransmission {
            at += double(self.rtt.rto(), backoff).min(max);
        }
        let since = self.retrans_stamp.unwrap_or(at);
        for _ in 0..EXPIRIES {
            let rto = double(self.rtt.rto(), backoff).min(max);
            let retries =
                if self.is_orphan() { self.orphan_retries(cx, rto < max) } else { cx.cfg.tcp.retries2 };
            let over = if self.shrunk_to_zero() {
                self.patience_with_shrunk_window(cx, since) < at
            } else {
                at - since >= model_timeout(&cx.cfg.tcp, retries, RTO_OF_THE_MODEL)
            };
            if retransmits > 0 && over {
                break;
            }
            retransmits = retransmits.saturating_add(1);
            backoff = backoff.saturating_add(1);
            at += double(self.rtt.rto(), backoff).min(max);
        }
        Some(self.or_user_timeout((Cause::RetransmissionTimeout, at), Some(since)))
    }

    /// Plays `on_probe_timer` forward. A peer that answers the probes of an owned connection puts the end off for ever;
    /// this is the end if it falls silent.
    fn probing_ends(&self, cx: &Ctx, timer: Instant) -> Option<(Cause, Instant)> {
        let (max, base) = (cx.cfg.tcp.rto_max, self.rtt.rto().max(RTO_OF_THE_MODEL));
        let (mut at, mut probes, mut backoff) = (timer, self.probes_out, self.backoff);
        for _ in 0..EXPIRIES {
            let mut limit = cx.cfg.tcp.retries2;
            if self.is_orphan() {
                let alive = double(self.rtt.rto(), backoff).min(max) < max;
                limit = self.orphan_retries(cx, alive);
                if !alive && backoff >= limit {
                    break;
                }
            }
            if probes >= limit {
                break;
            }
            probes = probes.saturating_add(1);
            backoff = backoff.saturating_add(1).min(cx.cfg.tcp.retries2);
            at += double(base, backoff).min(max);
        }
        Some(self.or_user_timeout((Cause::ZeroWindowTimeout, at), self.probes_since))
    }

    fn keepalive_ends(&self) -> Option<(Cause, Instant)> {
        let timer = self.timers.deadline(Timer::KeepAlive).filter(|_| self.knobs.has(Knob::KEEPALIVE))?;
        let interval = Duration::from_secs(self.knobs.keep_interval_s.into());
        if self.knobs.user_timeout_ms > 0 {
            let user = self.last_received + Duration::from_millis(self.knobs.user_timeout_ms.into());
            return Some((Cause::UserTimeout, user.max(timer + interval)));
        }
        let left = self.knobs.keep_count.saturating_sub(self.probes_out);
        Some((Cause::KeepAliveTimeout, timer + interval * u32::from(left)))
    }

    fn or_user_timeout(&self, end: (Cause, Instant), since: Option<Instant>) -> (Cause, Instant) {
        match (since, self.knobs.user_timeout_ms) {
            (Some(since), ms @ 1..) => (Cause::UserTimeout, since + Duration::from_millis(ms.into())),
            _ => end,
        }
    }
}

impl Request {
    pub(crate) fn why(&self, cx: &Ctx, wheel: &Wheel, limit: u8) -> Why {
        let (waits_for, who, cause) = if self.deferred {
            (Wait::Decision, Actor::Application, Cause::Refused)
        } else {
            let sent = u32::from(self.retransmits) + 1;
            (Wait::HandshakeAck { sent }, Actor::Peer, Cause::SynAckTimeout)
        };
        let mut end = self.timer.and_then(|timer| wheel.deadline(timer));
        if !self.deferred {
            for repeats in self.retransmits..limit {
                end = end.map(|at| at + Self::wait_after(cx, repeats + 1));
            }
        }
        let age = cx.now - self.made_at;
        Why {
            id: self.id,
            local: self.tuple.local_addr(),
            remote: self.tuple.remote_addr(),
            state: self.current.get(),
            orphan: false,
            in_state: age,
            waits_for,
            waiting: age,
            who,
            ends: end.map(|at| (cause, at - cx.now)),
        }
    }
}

impl<A: Address> Record<A> {
    pub(crate) fn why(&self, cx: &Ctx, wheel: &Wheel) -> Why {
        let tuple = self.tuple();
        let (waits_for, who, cause) = if self.state() == State::FinWait2 {
            (Wait::PeerClose, Actor::Peer, Cause::FinWait2Timeout)
        } else {
            (Wait::LateSegments, Actor::Nobody, Cause::TimeWaitExpired)
        };
        let end = self.ends(cx.now, wheel);
        Why {
            id: self.id(),
            local: tuple.local_addr(),
            remote: tuple.remote_addr(),
            state: self.state(),
            orphan: true,
            in_state: self.age(cx),
            waits_for,
            waiting: self.age(cx),
            who,
            ends: end.map(|at| (cause, at - cx.now)),
        }
    }
}

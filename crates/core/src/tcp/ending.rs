//! How a connection ended: who began, how, and what never arrived.
//!
//! Nothing is measured for it on the way of a segment: it is put together from the history of transitions, once, when
//! the connection enters TIME_WAIT or CLOSED.

use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use crate::event::Transition;
use crate::time::Instant;
use core::fmt;

/// The way in which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// Both sides sent a FIN and had it acknowledged.
    Graceful,
    /// As [`How::Graceful`], and the side that closed last still sent data after the other's end of file.
    HalfClosed,
    /// A RST ended it, received or sent; or it was dropped in silence where RFC 9293 asks for no RST.
    Reset,
    /// A timer of this side gave it up; [`Ending::cause`] names the timer.
    TimedOut,
    /// It never opened: withdrawn by the application, or ended by an ICMP error.
    NotOpened,
}

impl How {
    /// A connection that ended for `cause` out of the state `from`.
    fn of(from: State, cause: Cause, half_closed: bool) -> Self {
        match cause {
            Cause::Fin | Cause::FinAcked | Cause::TimeWaitLimit if half_closed => Self::HalfClosed,
            Cause::Fin | Cause::FinAcked | Cause::TimeWaitLimit => Self::Graceful,
            Cause::SynTimeout
            | Cause::SynAckTimeout
            | Cause::RetransmissionTimeout
            | Cause::ZeroWindowTimeout
            | Cause::KeepAliveTimeout
            | Cause::UserTimeout
            | Cause::FinWait2Timeout
            | Cause::OrphanTimeout => Self::TimedOut,
            Cause::Icmp => Self::NotOpened,
            Cause::Killed if from == State::SynSent => Self::NotOpened,
            Cause::Close | Cause::Shutdown | Cause::Abort | Cause::LingerZero if from == State::SynSent => {
                Self::NotOpened
            }
            _ => Self::Reset,
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::HalfClosed => "graceful, half-closed first",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::NotOpened => "never opened",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// How one connection ended, as seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ending {
    /// When it was over: it entered TIME_WAIT or CLOSED.
    pub at: Instant,
    /// Who began the end: the side whose FIN or RST came first, the timer, or the administrator. When both sides sent
    /// a FIN before they saw the other's, each names itself.
    pub began: Initiator,
    /// In what way.
    pub how: How,
    /// What ended it for good.
    pub cause: Cause,
    /// Bytes that were written here and never acknowledged by the peer. It may have got some of them.
    pub unacked: u32,
    /// Bytes that were received in order and not read. It shrinks while the application still reads them.
    pub unread: u32,
}

impl Ending {
    /// The end of an ownerless FIN_WAIT_2 that a small record kept: this side closed first, and all it sent arrived.
    pub(crate) fn of_fin_wait2(at: Instant, cause: Cause, half_closed: bool) -> Self {
        let how = How::of(State::FinWait2, cause, half_closed);
        Self { at, began: Initiator::Local, how, cause, unacked: 0, unread: 0 }
    }
}

/// One sentence: `graceful, begun by the peer (FIN acknowledged); 3 bytes received were not read`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = match self.began {
            Initiator::Local => "this side",
            Initiator::Peer => "the peer",
            Initiator::Timer => "a timer",
            Initiator::Administrator => "the administrator",
        };
        write!(f, "{}, begun by {began} ({})", self.how, self.cause)?;
        if self.unacked > 0 {
            write!(f, "; {} bytes written were not acknowledged", self.unacked)?;
        }
        if self.unread > 0 {
            write!(f, "; {} bytes received were not read", self.unread)?;
        }
        Ok(())
    }
}

/// The arrow that ends a connection: the one into TIME_WAIT, or into CLOSED without it.
pub(crate) fn is_end(t: &Transition) -> bool {
    match t.to {
        State::Closed => !matches!(t.from, State::TimeWait | State::Listen),
        to => to == State::TimeWait,
    }
}

impl Tcb {
    /// Remembers where the direction that stays open stands at the first FIN: what it carries later makes the end a
    /// half-closed one.
    pub(crate) fn mark_first_fin(&mut self, from: State, to: State) {
        if matches!(from, State::SynReceived | State::Established)
            && matches!(to, State::FinWait1 | State::CloseWait)
        {
            self.history.open_end = self.open_end(to == State::FinWait1);
        }
    }

    /// Low bits of the stream offset at which the direction that is still open ends.
    fn open_end(&self, closed_here: bool) -> u32 {
        if closed_here { self.rcv_buf.contiguous_end() as u32 } else { self.snd_buf.end() as u32 }
    }

    /// Data flowed one way after the other had ended.
    pub(crate) fn was_half_closed(&self) -> bool {
        let first = self.history.iter().find(|t| matches!(t.to, State::FinWait1 | State::CloseWait));
        first.is_some_and(|first| self.open_end(first.to == State::FinWait1) != self.history.open_end)
    }

    /// How the connection ended; `None` while it lives, or if there never was one.
    pub(crate) fn ending(&self) -> Option<Ending> {
        let begins = |t: &Transition| {
            matches!(t.to, State::FinWait1 | State::CloseWait | State::Closed)
                && matches!(t.from, State::SynSent | State::SynReceived | State::Established)
        };
        let over = self.history.iter().filter(is_end).last()?;
        let began = self.history.iter().filter(begins).last()?;
        let unacked = if self.is(Is::LEFT) { self.history.unacked } else { self.unacked_bytes() };
        Some(Ending {
            at: over.at,
            began: began.initiator,
            how: How::of(over.from, over.cause, self.was_half_closed()),
            cause: over.cause,
            unacked,
            unread: u32::try_from(self.rcv_buf.readable()).unwrap_or(u32::MAX),
        })
    }

    /// Bytes written and not acknowledged, the FIN not counted.
    pub(crate) fn unacked_bytes(&self) -> u32 {
        u32::try_from(self.snd_buf.len()).unwrap_or(u32::MAX)
    }
}

//! The application lets go (RFC 9293 3.10.4, 3.10.5; Linux `__tcp_close`, `tcp_shutdown`, `tcp_disconnect`).
//!
//! The state moves when the application speaks: `close_state` enters FIN_WAIT_1 or LAST_ACK at once, and `send_fin` puts
//! the FIN behind whatever is still queued. "Our FIN is acknowledged" is therefore tested against the FIN's own number
//! (`fin_acked`), never against SND.NXT.

use super::fin::Closing;
use super::options::Knob;
use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use super::timers::Timer;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::Ready;

/// Unsent and unacknowledged bytes that a closed socket may keep however full the memory is (Linux `SOCK_MIN_SNDBUF`).
const SOCK_MIN_SNDBUF: usize = 4608;

impl Tcb {
    /// The application gives the handle back. Never waits. Linux `__tcp_close`.
    pub(crate) fn close(&mut self, cx: &mut Ctx) {
        let unread = self.rcv_buf.readable() > 0;
        self.is.insert(Is::RCV_SHUT | Is::SND_SHUT);
        self.is.remove(Is::OWNED | Is::UNACCEPTED);
        self.timers.clear(Timer::Patience);
        let linger_zero = self.knobs.has(Knob::LINGER) && self.knobs.linger_ms == 0;
        match self.state() {
            State::Closed | State::TimeWait => {}
            _ if unread => self.abort_with(cx, Cause::UnreadData),
            _ if linger_zero => self.disconnect(cx, Cause::LingerZero),
            _ => self.close_sending(cx, Cause::Close),
        }
        self.adjudge_to_death(cx);
    }

    /// Ends the sending direction: next state first, FIN second. True if a FIN was queued (Linux `tcp_close_state`).
    pub(crate) fn close_sending(&mut self, cx: &mut Ctx, cause: Cause) {
        if self.close_state(cx, cause) {
            self.send_fin(cx);
        }
    }

    fn close_state(&mut self, cx: &mut Ctx, cause: Cause) -> bool {
        let next = match self.state() {
            State::SynReceived | State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            State::SynSent => {
                set_state(self, cx, State::Closed, cause, Initiator::Local);
                return false;
            }
            _ => return false,
        };
        set_state(self, cx, next, cause, Initiator::Local);
        true
    }

    /// What is left after close belongs to nobody: bound it (Linux `__tcp_close`, `adjudge_to_death`).
    fn adjudge_to_death(&mut self, cx: &mut Ctx) {
        if self.successor.is_some() || self.state() == State::Closed {
            return;
        }
        self.is.insert(Is::ORPHAN);
        cx.orphans += 1;
        if self.state() == State::FinWait2 {
            if self.knobs.has(Knob::NO_FIN_WAIT2) {
                self.abort_with(cx, Cause::NoFinWait2);
            } else if self.orphan_fin_wait2(cx, false) == Closing::Gone {
                return;
            }
        }
        // A connection in TIME_WAIT owes nothing; its record has a limit of its own.
        let owes = !matches!(self.state(), State::Closed | State::TimeWait);
        if owes && self.too_many_orphans(cx, 0) {
            self.abort_with(cx, Cause::ResourceLimit);
        } else if let Some(lifetime) = cx.cfg.tcp.orphan_lifetime
            && self.state() != State::Closed
        {
            self.timers.set(&mut cx.wheel, self.key, Timer::Patience, cx.now + lifetime);
        }
    }

    /// The orphan limit (Linux `tcp_check_oom`), and that of memory for those who hold some: `shift` doubles the weight of one that has been silent for long or met
    /// an ICMP error.
    pub(crate) fn too_many_orphans(&self, cx: &Ctx, shift: u32) -> bool {
        let holds = self.snd_buf.len() > SOCK_MIN_SNDBUF;
        cx.orphans << shift > cx.cfg.tcp.max_orphans || holds && cx.pool.allocated() >= cx.pool.limit()
    }

    /// Linux `tcp_disconnect`: a RST where the peer has a record and does not know, silence elsewhere.
    pub(crate) fn disconnect(&mut self, cx: &mut Ctx, cause: Cause) {
        match self.state() {
            State::Closed | State::TimeWait => {}
            _ if self.needs_reset() => self.abort_with(cx, cause),
            _ => {
                self.error = Some(Error::ConnectionReset);
                set_state(self, cx, State::Closed, cause, Initiator::Local);
                cx.signal(self, Ready::ERR);
            }
        }
    }

    /// An administrator ends the connection (Linux `tcp_abort`): the peer gets a RST where it has a record, the owner
    /// ECONNABORTED.
    pub(crate) fn kill(&mut self, cx: &mut Ctx) {
        if self.needs_reset() {
            self.send_active_reset(cx);
        }
        self.fail(cx, Error::ConnectionAborted, Cause::Killed, Initiator::Administrator);
    }

    /// RFC 9293 3.10.5: the ABORT call resets in these states; in CLOSING and LAST_ACK only while the FIN (and data)
    /// has not left, which is the price of moving the state first (Linux `tcp_need_reset`).
    pub(crate) fn needs_reset(&self) -> bool {
        match self.state() {
            State::Established
            | State::CloseWait
            | State::FinWait1
            | State::FinWait2
            | State::SynReceived => true,
            State::Closing | State::LastAck => self.snd_nxt != self.write_seq(),
            _ => false,
        }
    }

    /// RST and CLOSED.
    pub(crate) fn abort_with(&mut self, cx: &mut Ctx, cause: Cause) {
        let initiator = match cause {
            Cause::ResourceLimit | Cause::ListenerClosed => Initiator::Administrator,
            Cause::KeepAliveTimeout | Cause::FinWait2Timeout | Cause::UserTimeout | Cause::OrphanTimeout => {
                Initiator::Timer
            }
            _ => Initiator::Local,
        };
        self.send_active_reset(cx);
        self.is.insert(Is::RCV_SHUT | Is::SND_SHUT);
        set_state(self, cx, State::Closed, cause, initiator);
    }

    /// `shutdown()` of a connection (Linux `tcp_shutdown` under `inet_shutdown`). Listeners and attempts to connect are
    /// the caller's.
    pub(crate) fn shutdown(&mut self, cx: &mut Ctx, read: bool, write: bool) {
        self.is.set(Is::RCV_SHUT, read || self.is(Is::RCV_SHUT));
        if write {
            self.is.insert(Is::SND_SHUT);
            if matches!(self.state(), State::Established | State::CloseWait) {
                self.close_sending(cx, Cause::Shutdown);
            }
        }
    }

    /// The peer has closed: the owner's time to close begins.
    pub(crate) fn arm_close_wait_watchdog(&mut self, cx: &mut Ctx) {
        if let Some(patience) = cx.cfg.tcp.close_wait_watchdog {
            self.timers.set(&mut cx.wheel, self.key, Timer::Patience, cx.now + patience);
        }
    }

    /// The owner has had the end of file for long. As long as it still sends, the half-closed connection is in use.
    pub(crate) fn on_close_wait_watchdog(&mut self, cx: &mut Ctx) {
        let Some(patience) = cx.cfg.tcp.close_wait_watchdog else { return };
        if self.state() != State::CloseWait {
            return;
        }
        let since = self.history.last().map_or(cx.now, |transition| transition.at).max(self.last_sent);
        // Nobody can be told of a connection that waits to be accepted.
        let again = if self.is(Is::OWNED) { since + patience } else { cx.now + patience };
        if again > cx.now {
            self.timers.set(&mut cx.wheel, self.key, Timer::Patience, again);
            return;
        }
        cx.counters.close_wait_overdue += 1;
        cx.signal(self, Ready::OVERDUE);
    }

    /// Drops everything that waits to be sent or acknowledged.
    pub(crate) fn purge_send_queue(&mut self, cx: &mut Ctx) {
        self.snd_buf.clear(&mut cx.pool);
        self.marks.clear();
        self.clear_sent();
    }
}

//! The only place where a state changes (Linux `tcp_set_state`): legal arrows, counters, history, trace.
//!
//! [`Current`] keeps its state private to this file, so no other code can write it.

use super::ending::{Ending, is_end};
use super::state::{Cause, Initiator, State, is_legal};
use super::tcb::{Tcb, Tuple};
use crate::ctx::Ctx;
use crate::event::{ConnectionId, Ready, Transition, TransitionEvent};

/// A state that only this file can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Current(State);

impl Current {
    /// Every record begins in CLOSED.
    pub(crate) const fn closed() -> Self {
        Self(State::Closed)
    }

    pub(crate) const fn get(self) -> State {
        self.0
    }
}

/// Moves a state along a legal arrow and counts it; gives the old state.
#[inline]
fn step(current: &mut Current, cx: &mut Ctx, to: State, cause: Cause) -> State {
    let from = current.0;
    let legal = is_legal(from, to, cause);
    debug_assert!(legal, "no arrow {from} -> {to} for: {cause}");
    if !legal {
        cx.counters.illegal_transitions += 1;
    }
    current.0 = to;
    count(cx, from, to, cause);
    from
}

fn trace(cx: &mut Ctx, id: ConnectionId, tuple: &Tuple, transition: Transition, ending: Option<Ending>) {
    let (local, remote) = (tuple.local_addr(), tuple.remote_addr());
    cx.trace(TransitionEvent { id, local, remote, transition, ending });
}

/// Traces the transition that a full record has just made.
#[cold]
#[inline(never)]
fn trace_full(tcb: &Tcb, cx: &mut Ctx) {
    let Some(transition) = tcb.history.last() else { return };
    let ending = if is_end(&transition) { tcb.ending() } else { None };
    trace(cx, tcb.id, &tcb.tuple, transition, ending);
}

/// Moves the state of a small record; `ending` is told of if the arrow ends the connection.
pub(crate) fn transition(
    current: &mut Current,
    cx: &mut Ctx,
    (id, tuple): (ConnectionId, &Tuple),
    to: State,
    cause: Cause,
    initiator: Initiator,
    ending: Option<Ending>,
) {
    let from = step(current, cx, to, cause);
    if cx.cfg.trace_transitions {
        trace(cx, id, tuple, Transition { at: cx.now, from, to, cause, initiator }, ending);
    }
}

/// Moves the state of a full record, keeps its history and tells its owner.
pub(crate) fn set_state(tcb: &mut Tcb, cx: &mut Ctx, to: State, cause: Cause, initiator: Initiator) {
    let from = step(&mut tcb.current, cx, to, cause);
    tcb.mark_first_fin(from, to);
    tcb.history.push(Transition { at: cx.now, from, to, cause, initiator });
    if cx.cfg.trace_transitions {
        trace_full(tcb, cx);
    }
    if to == State::Closed {
        tcb.leave(cx);
        cx.signal(tcb, Ready::IN | Ready::OUT | Ready::RDHUP | Ready::HUP);
    } else {
        cx.signal(tcb, Ready::OUT);
    }
}

#[inline]
fn count(cx: &mut Ctx, from: State, to: State, cause: Cause) {
    // No other arrow counts.
    if matches!(to, State::SynSent | State::SynReceived | State::Closed) {
        count_begin_or_end(cx, from, to, cause);
    }
}

#[inline(never)]
fn count_begin_or_end(cx: &mut Ctx, from: State, to: State, cause: Cause) {
    let c = &mut cx.counters;
    match (from, to) {
        (_, State::SynSent) => c.active_opens += 1,
        (State::NewSynRecv, State::SynReceived) | (State::Closed, State::SynReceived) => c.passive_opens += 1,
        (State::SynSent | State::SynReceived | State::NewSynRecv, State::Closed) => c.attempt_fails += 1,
        (State::Established | State::CloseWait, State::Closed) => c.estab_resets += 1,
        _ => {}
    }
    if to == State::Closed {
        let by_cause = match cause {
            Cause::UnreadData => &mut c.abort_on_close,
            Cause::LingerZero | Cause::Abort => &mut c.abort_on_linger,
            Cause::DataAfterClose => &mut c.abort_on_data,
            Cause::ResourceLimit => &mut c.abort_on_memory,
            Cause::SynTimeout
            | Cause::RetransmissionTimeout
            | Cause::ZeroWindowTimeout
            | Cause::KeepAliveTimeout
            | Cause::UserTimeout
            | Cause::OrphanTimeout => &mut c.abort_on_timeout,
            Cause::TimeWaitLimit => &mut c.time_wait_overflow,
            Cause::TimeWaitReuse => &mut c.time_wait_recycled,
            _ => return,
        };
        *by_cause += 1;
    }
}

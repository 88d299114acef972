//! Timers that send again or give up: retransmission (RFC 6298 5), zero-window probes (RFC 9293 3.8.6.1), keep-alive
//! (3.8.4), and the bounds on patience (3.8.3, RFC 5482; Linux `tcp_timer.c`).

use super::options::Knob;
use super::scoreboard::SentFlags;
use super::set_state::set_state;
use super::state::{Cause, Initiator, State};
use super::tcb::{Is, Tcb};
use super::timers::{ALL, Pending, Timer};
use crate::config::{MtuProbing, TcpConfig};
use crate::ctx::Ctx;
use crate::deliberate::DeliberateBug;
use crate::error::{Error, Timeout};
use crate::event::Ready;
use crate::time::{Instant, nanos};
use core::time::Duration;

/// The RTO from which patience is reckoned and zero windows are probed, whatever `rto_min` is (Linux `TCP_RTO_MIN`).
pub(crate) const RTO_OF_THE_MODEL: Duration = Duration::from_millis(200);
/// Doublings after which an orphan without answers is given up (Linux `tcp_orphan_retries`).
const ORPHAN_RETRIES: u8 = 8;

/// Time that `boundary` doublings from `base` take, the last ones capped at the ceiling (Linux `tcp_model_timeout`).
pub(crate) fn model_timeout(cfg: &TcpConfig, boundary: u8, base: Duration) -> Duration {
    let (base, max) = (base.as_micros().max(1) as u64, cfg.rto_max.as_micros().max(1) as u64);
    let linear = (max / base).checked_ilog2().unwrap_or(0);
    let boundary = u32::from(boundary);
    let micros = if boundary <= linear {
        ((2 << boundary) - 1) * base
    } else {
        ((2 << linear) - 1) * base + u64::from(boundary - linear) * max
    };
    Duration::from_micros(micros)
}

/// A time after `backoff` doublings; mostly there are none.
#[inline]
pub(crate) fn double(time: Duration, backoff: u8) -> Duration {
    if backoff == 0 { time } else { time.saturating_mul(1 << backoff.min(20)) }
}

impl Tcb {
    /// The wheel popped this connection's node.
    pub(crate) fn on_timer(&mut self, cx: &mut Ctx) {
        self.timers.node_fired();
        for timer in ALL {
            if !self.timers.take_expired(timer, cx.now) {
                continue;
            }
            match timer {
                Timer::DelayedAck => self.on_delayed_ack_timer(cx),
                Timer::Retransmit => self.on_retransmit_timer(cx),
                Timer::KeepAlive => self.on_keepalive_timer(cx),
                Timer::Patience if self.is_orphan() => self.abort_with(cx, Cause::OrphanTimeout),
                Timer::Patience => self.on_close_wait_watchdog(cx),
            }
            if self.is(Is::LEFT) {
                return;
            }
        }
        self.timers.rearm(&mut cx.wheel, self.key);
    }

    fn on_delayed_ack_timer(&mut self, cx: &mut Ctx) {
        if !self.is(Is::ACK_SCHEDULED) {
            return;
        }
        if self.is(Is::PINGPONG) {
            // The answer did not come in time: leave interactive mode (Linux `tcp_delack_timer_handler`).
            self.is.remove(Is::PINGPONG);
            self.delack.ato_ms = cx.cfg.tcp.delayed_ack.as_millis() as u16;
        } else {
            let rto = self.rtt.rto().as_millis().min(60_000) as u16;
            self.delack.ato_ms = self.delack.ato_ms.saturating_mul(2).min(rto);
        }
        cx.counters.delayed_acks += 1;
        self.is.insert(Is::ACK_NOW);
        cx.want_output(self);
    }

    /// RTO with back-off and ceiling.
    pub(crate) fn backed_off_rto(&self, cx: &Ctx) -> Duration {
        Duration::from_nanos(self.backed_off_rto_nanos(cx))
    }

    /// The same in nanoseconds.
    #[inline]
    pub(crate) fn backed_off_rto_nanos(&self, cx: &Ctx) -> u64 {
        let max = nanos(cx.cfg.tcp.rto_max);
        (self.rtt.rto_nanos() << self.backoff.min(20)).min(max)
    }

    /// Starts or restarts the retransmission timer for what is in flight (RFC 6298 5.1, 5.3).
    pub(crate) fn arm_rto(&mut self, cx: &mut Ctx) {
        if self.fast_opening() {
            // The timer is the SYN-ACK's.
            return;
        }
        let mut at = cx.now.plus_nanos(self.backed_off_rto_nanos(cx));
        // The last wait before the user timeout ends with it (Linux `tcp_clamp_rto_to_user_timeout`), but for the first.
        let start = self.retrans_stamp.filter(|_| self.retransmits > 0);
        if let (Some(start), user @ 1..) = (start, self.knobs.user_timeout_ms) {
            let end = start + Duration::from_millis(user.into());
            at = at.min(end.max(cx.now + Duration::from_millis(1)));
        }
        self.pending = Pending::Retransmission;
        self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, at);
    }

    fn on_retransmit_timer(&mut self, cx: &mut Ctx) {
        match self.state() {
            _ if self.fast_opening() => self.on_fast_open_timer(cx),
            State::SynSent => self.on_syn_timer(cx),
            State::SynReceived => self.on_synack_timer(cx),
            _ if self.rtx.is_empty() => self.on_probe_timer(cx),
            _ if self.snd_una + 1 == self.snd_nxt
                && self.fin_sent()
                && cx.makes(DeliberateBug::FinNotRetransmitted) => {}
            _ => match self.pending {
                Pending::Retransmission => self.on_rto(cx),
                Pending::LossProbe => self.on_loss_probe_timer(cx),
                Pending::Reordering => self.on_reordering_timer(cx),
            },
        }
    }

    fn on_syn_timer(&mut self, cx: &mut Ctx) {
        if !self.handshake_failed(cx, Cause::SynTimeout) {
            self.queue_cwr();
            self.repeat_syn(cx);
        }
    }

    /// Patience with the peer is over before the handshake is: ends the connection. `cause` is for too many repeats.
    fn handshake_failed(&mut self, cx: &mut Ctx, cause: Cause) -> bool {
        let user = self.retransmits > 0 && self.user_timeout_passed(cx, self.retrans_stamp);
        let over = user || self.handshake_over(cx, self.retransmits, cx.now);
        self.detect_black_hole(cx, over);
        if !over {
            return false;
        }
        let (timeout, cause) = if user { (Timeout::User, Cause::UserTimeout) } else { (Timeout::Syn, cause) };
        self.fail(cx, self.soft_error.unwrap_or(Error::TimedOut(timeout)), cause, Initiator::Timer);
        true
    }

    /// Whether an expiry at `at`, after `retransmits` repeats, ends the handshake: they were as many as are allowed, or it
    /// has lasted as long as so many doublings take (Linux `tcp_write_timeout`). The latter comes first when SYNs that are
    /// repeated without back-off outlast few retries.
    pub(crate) fn handshake_over(&self, cx: &Ctx, retransmits: u8, at: Instant) -> bool {
        let (cfg, retries) = (&cx.cfg.tcp, self.knobs.syn_retries);
        let linear = if self.state() == State::SynSent { cfg.syn_linear_timeouts } else { 0 };
        let modelled = retransmits > 0 && self.knobs.user_timeout_ms == 0;
        retransmits >= retries.saturating_add(linear)
            || modelled
                && self
                    .retrans_stamp
                    .is_some_and(|since| at - since >= model_timeout(cfg, retries, cfg.rto_initial))
    }

    /// Sends the SYN again and arms its timer: at first at a constant distance, then with back-off.
    pub(crate) fn repeat_syn(&mut self, cx: &mut Ctx) {
        self.retransmits = self.retransmits.saturating_add(1);
        if self.retransmits > cx.cfg.tcp.syn_linear_timeouts {
            self.backoff = self.backoff.saturating_add(1);
        }
        self.is.insert(Is::SYN_RETRANSMITTED);
        self.retransmit_handshake(cx);
    }

    fn on_synack_timer(&mut self, cx: &mut Ctx) {
        if self.handshake_failed(cx, Cause::RetransmissionTimeout) {
            return;
        }
        self.retransmits += 1;
        self.backoff = self.backoff.saturating_add(1);
        self.is.insert(Is::SYN_RETRANSMITTED);
        self.queue_cwr();
        self.retransmit_handshake(cx);
    }

    pub(crate) fn retransmit_handshake(&mut self, cx: &mut Ctx) {
        if let Some(sent) = self.rtx.front_mut() {
            sent.flags |= SentFlags::RETRANSMITTED;
        }
        self.retrans_stamp.get_or_insert(cx.now);
        self.stats.retransmissions += 1;
        cx.counters.retrans_segs += 1;
        self.send_handshake(cx);
        self.arm_rto(cx);
    }

    fn user_timeout_passed(&self, cx: &Ctx, since: Option<Instant>) -> bool {
        match (since, self.knobs.user_timeout_ms) {
            (Some(at), ms @ 1..) => cx.now - at >= Duration::from_millis(ms.into()),
            _ => false,
        }
    }

    /// The oldest segment in flight was not acknowledged in time (RFC 6298 5.4 to 5.6; Linux `tcp_retransmit_timer`).
    fn on_rto(&mut self, cx: &mut Ctx) {
        cx.counters.timeouts += 1;
        self.stats.timeouts = self.stats.timeouts.saturating_add(1);
        if self.gives_up(cx) {
            return;
        }
        if !self.any_resent() && !self.handshake_unacked() {
            self.retrans_stamp = None;
        }
        if !self.handshake_unacked() {
            if cx.cfg.tcp.mtu_probing != MtuProbing::Off && self.retransmits > 0 {
                self.look_for_black_hole(cx);
            }
            self.enter_loss(cx);
        }
        self.retransmits = self.retransmits.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1);
        if self.handshake_unacked() {
            return self.retransmit_handshake(cx);
        }
        self.arm_rto(cx);
        cx.want_output(self);
    }

    /// R1 is over: perhaps it is the size of the packets (RFC 4821 7.7; Linux `tcp_write_timeout`).
    fn look_for_black_hole(&mut self, cx: &mut Ctx) {
        let cfg = &cx.cfg.tcp;
        let since = self.retrans_stamp.unwrap_or(cx.now);
        if cx.now - since >= model_timeout(cfg, cfg.retries1, cfg.rto_min) {
            self.suspect_black_hole(cx);
        }
    }

    /// Our SYN is the oldest thing in flight: the application closed before the handshake was through.
    pub(crate) fn handshake_unacked(&self) -> bool {
        self.snd_una == self.iss && self.snd_buf.start() == 0
    }

    /// R2: patience is over. It counts from the first time that something of what is in flight was sent again (Linux
    /// `tcp_write_timeout`, `retransmits_timed_out`).
    fn gives_up(&mut self, cx: &mut Ctx) -> bool {
        let since = self.retrans_stamp.unwrap_or(cx.now);
        let mut retries = cx.cfg.tcp.retries2;
        if self.is_orphan() {
            let alive = self.backed_off_rto(cx) < cx.cfg.tcp.rto_max;
            retries = self.orphan_retries(cx, alive);
            if self.orphan_out_of_resources(cx) {
                return true;
            }
        }
        // After progress there is always one more attempt.
        if self.retransmits == 0 {
            return false;
        }
        let user = self.user_timeout_passed(cx, Some(since));
        let over = if self.shrunk_to_zero() {
            self.patience_with_shrunk_window(cx, since) < cx.now
        } else {
            let model = model_timeout(&cx.cfg.tcp, retries, RTO_OF_THE_MODEL);
            self.knobs.user_timeout_ms == 0 && cx.now - since >= model
        };
        self.detect_black_hole(cx, user || over);
        if !user && !over {
            return false;
        }
        let (timeout, cause) = if user {
            (Timeout::User, Cause::UserTimeout)
        } else {
            (Timeout::Retransmission, Cause::RetransmissionTimeout)
        };
        self.fail(cx, self.soft_error.unwrap_or(Error::TimedOut(timeout)), cause, Initiator::Timer);
        true
    }

    /// The peer has shut its window over what is in flight: what is sent again is a probe (RFC 9293 3.8.6).
    pub(crate) fn shrunk_to_zero(&self) -> bool {
        self.snd_wnd == 0 && !self.is_orphan() && !self.handshake_unacked()
    }

    /// Until then an owned connection probes a window that was shut over what is in flight; each answer puts it off
    /// (Linux `tcp_rtx_probe0_timed_out`).
    pub(crate) fn patience_with_shrunk_window(&self, cx: &Ctx, since: Instant) -> Instant {
        self.last_received.max(since) + cx.cfg.tcp.rto_max * 2
    }

    pub(crate) fn orphan_retries(&self, cx: &Ctx, alive: bool) -> u8 {
        match cx.cfg.tcp.orphan_retries {
            _ if self.soft_error.is_some() && !alive => 0,
            0 if alive => ORPHAN_RETRIES,
            n => n,
        }
    }

    /// Linux `tcp_out_of_resources`.
    fn orphan_out_of_resources(&mut self, cx: &mut Ctx) -> bool {
        let silent = cx.now - self.last_sent > cx.cfg.tcp.rto_max * 2;
        let shift = u32::from(silent) + u32::from(self.soft_error.is_some());
        if !self.too_many_orphans(cx, shift) {
            return false;
        }
        let recent = cx.now - self.last_sent <= cx.cfg.tcp.time_wait;
        if recent || (self.snd_wnd == 0 && self.rtx.is_empty()) {
            self.abort_with(cx, Cause::ResourceLimit);
        } else {
            set_state(self, cx, State::Closed, Cause::ResourceLimit, Initiator::Administrator);
        }
        true
    }

    /// Arms the zero-window probe (or, with a cork, its end) if something waits, nothing is in flight and no timer runs
    /// (Linux `tcp_check_probe_timer`).
    pub(crate) fn arm_probe_if_stuck(&mut self, cx: &mut Ctx) {
        if self.rtx.is_empty()
            && self.has_unsent()
            && self.can_send_data()
            && !self.timers.is_armed(Timer::Retransmit)
        {
            self.arm_probe(cx);
        }
    }

    pub(crate) fn arm_probe(&mut self, cx: &mut Ctx) {
        let max = cx.cfg.tcp.rto_max;
        let base = self.rtt.rto().max(RTO_OF_THE_MODEL);
        let mut when = double(base, self.backoff).min(max);
        if let (Some(start), user @ 1..) = (self.probes_since, self.knobs.user_timeout_ms) {
            let end = start + Duration::from_millis(user.into());
            when = when.min((end - cx.now).max(Duration::from_millis(1)));
        }
        let at = cx.now + when;
        // An ACK does not put the probe off (on Linux it does): a peer that sends one now and then could otherwise keep
        // an orphan for ever.
        if self.timers.deadline(Timer::Retransmit).is_none_or(|armed| at < armed) {
            self.timers.set(&mut cx.wheel, self.key, Timer::Retransmit, at);
        }
    }

    /// Linux `tcp_probe_timer`.
    fn on_probe_timer(&mut self, cx: &mut Ctx) {
        if !self.has_unsent() || !self.can_send_data() {
            self.probes_out = 0;
            self.probes_since = None;
            return;
        }
        let since = *self.probes_since.get_or_insert(cx.now);
        if self.user_timeout_passed(cx, Some(since)) {
            return self.probing_failed(cx, Timeout::User, Cause::UserTimeout);
        }
        let mut limit = cx.cfg.tcp.retries2;
        if self.is_orphan() {
            let alive = self.backed_off_rto(cx) < cx.cfg.tcp.rto_max;
            limit = self.orphan_retries(cx, alive);
            if !alive && self.backoff >= limit {
                return self.probing_failed(cx, Timeout::ZeroWindow, Cause::ZeroWindowTimeout);
            }
            if self.orphan_out_of_resources(cx) {
                return;
            }
        }
        if self.probes_out >= limit {
            return self.probing_failed(cx, Timeout::ZeroWindow, Cause::ZeroWindowTimeout);
        }
        self.send_probe(cx);
        if self.rtx.is_empty() {
            self.probes_out = self.probes_out.saturating_add(1);
            self.backoff = self.backoff.saturating_add(1).min(cx.cfg.tcp.retries2);
            self.arm_probe(cx);
        } else {
            (self.probes_out, self.backoff, self.probes_since) = (0, 0, None);
        }
    }

    fn probing_failed(&mut self, cx: &mut Ctx, timeout: Timeout, cause: Cause) {
        self.fail(cx, self.soft_error.unwrap_or(Error::TimedOut(timeout)), cause, Initiator::Timer);
    }

    /// Data if the window lets any through (a small piece that silly-window avoidance or a cork held back), otherwise an
    /// empty segment below the window, which draws an ACK (Linux `tcp_write_wakeup`).
    fn send_probe(&mut self, cx: &mut Ctx) {
        if self.snd_nxt.before(self.window_end()) && self.has_unsent() {
            self.is.insert(Is::PUSH_PENDING | Is::PROBING);
            cx.want_output(self);
        } else {
            cx.counters.window_probes += 1;
            self.send_probe_segment(cx);
        }
    }

    fn send_probe_segment(&mut self, cx: &mut Ctx) {
        let mut repr = self.ack_repr(cx);
        repr.seq = self.snd_una - 1;
        let segment = self.address(repr);
        self.count_out(cx);
        cx.send_segment(segment);
    }

    /// Starts the keep-alive timer of a connection that wants one.
    pub(crate) fn arm_keepalive(&mut self, cx: &mut Ctx) {
        if self.is(Is::LEFT) {
            return;
        }
        if self.knobs.has(Knob::KEEPALIVE)
            && !matches!(self.state(), State::Closed | State::Listen | State::SynSent)
        {
            let idle = Duration::from_secs(self.knobs.keep_idle_s.into());
            self.timers.set(&mut cx.wheel, self.key, Timer::KeepAlive, cx.now + idle);
        } else if !(self.is_orphan() && self.state() == State::FinWait2) {
            self.timers.clear(Timer::KeepAlive);
        }
    }

    /// Linux `tcp_keepalive_timer`.
    fn on_keepalive_timer(&mut self, cx: &mut Ctx) {
        if self.state() == State::FinWait2 && self.is_orphan() {
            return self.fin_wait2_expired(cx);
        }
        if !self.knobs.has(Knob::KEEPALIVE) {
            return;
        }
        let idle = Duration::from_secs(self.knobs.keep_idle_s.into());
        let interval = Duration::from_secs(self.knobs.keep_interval_s.into());
        let mut next = idle;
        if self.rtx.is_empty() && !self.has_unsent() {
            let elapsed = cx.now - self.last_received;
            if elapsed >= idle {
                let user = Duration::from_millis(self.knobs.user_timeout_ms.into());
                let dead = if user.is_zero() {
                    self.probes_out >= self.knobs.keep_count
                } else {
                    elapsed >= user && self.probes_out > 0
                };
                if dead {
                    return self.keepalive_failed(cx, !user.is_zero());
                }
                cx.counters.keepalive_probes += 1;
                self.send_probe_segment(cx);
                self.probes_out = self.probes_out.saturating_add(1);
                next = interval;
            } else {
                next = idle - elapsed;
            }
        }
        self.timers.set(&mut cx.wheel, self.key, Timer::KeepAlive, cx.now + next);
    }

    fn keepalive_failed(&mut self, cx: &mut Ctx, user: bool) {
        let (timeout, cause) = if user {
            (Timeout::User, Cause::UserTimeout)
        } else {
            (Timeout::KeepAlive, Cause::KeepAliveTimeout)
        };
        self.error = Some(self.soft_error.unwrap_or(Error::TimedOut(timeout)));
        self.abort_with(cx, cause);
        cx.signal(self, Ready::ERR);
    }

    /// The full record of an orphan in FIN_WAIT_2: its excess time is over, a small record takes the rest; one that has
    /// had all its time is reset.
    fn fin_wait2_expired(&mut self, cx: &mut Ctx) {
        let time = self.fin_time(cx);
        let small = cx.cfg.tcp.time_wait;
        if time > small {
            // Linux gives the small record the excess once more (`tcp_keepalive_timer`), so that 90 s become 60 s.
            self.hand_over_fin_wait2(cx, small);
        } else {
            self.abort_with(cx, Cause::FinWait2Timeout);
        }
    }
}

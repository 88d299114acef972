//! Congestion control: how much may be in flight. RFC 5681, RFC 6928, RFC 6582, RFC 9438; Linux
//! `struct tcp_congestion_ops`.
//!
//! A controller keeps the congestion window; the connection's recovery code decides *when* a loss has
//! happened, what to retransmit, and how the window moves while a recovery lasts
//! (through [`CongestionControl::set_cwnd`]).
//!
//! Windows are in bytes, so an ACK counts for what it acknowledges: a peer that splits an
//! acknowledgement into many gains nothing, and one that merges many loses nothing (RFC 3465). As in
//! Linux, slow start has no cap per ACK (RFC 5681 would allow one segment).

mod cubic;
mod newreno;

pub use cubic::Cubic;
pub use newreno::NewReno;

use crate::time::Instant;
use alloc::boxed::Box;
use core::fmt;
use core::hash::Hasher;
use core::time::Duration;

/// Segments of the initial window (RFC 6928; Linux `TCP_INIT_CWND`).
const INITIAL_SEGMENTS: u32 = 10;
/// No window grows beyond this: 1 GiB, the largest window that TCP can express (RFC 7323).
pub const MAX_CWND: u32 = 1 << 30;
/// The largest segment size that the MSS option can carry; larger values are taken as this one.
const MAX_MSS: u32 = u16::MAX as u32;

/// What an acknowledgement of new data told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes that it newly acknowledged, by its number or by SACK.
    pub acked: u32,
    /// The round trip it measured, if it could be used as a sample (Karn's rule).
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time, this sample included; `None` before the first.
    pub srtt: Option<Duration>,
    /// The smallest round trip of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Bytes in flight before it arrived.
    pub in_flight: u32,
    /// Whether the window, not the application or the peer, limited what was sent. A window that is
    /// not used does not grow (RFC 7661 section 3; Linux `tcp_is_cwnd_limited`).
    pub is_cwnd_limited: bool,
    /// Whether a fast recovery lasts. The recovery code moves the window then; the controller only
    /// takes note. Slow start after a timeout is not meant.
    pub in_recovery: bool,
    /// Bytes delivered over the life of the connection, if the connection measures it.
    pub delivered: Option<u64>,
    /// Delivery rate in bytes per second, if the connection measures it.
    pub delivery_rate: Option<u64>,
    /// Whether the rate sample was taken while the application had too little to send.
    pub is_app_limited: bool,
}

/// A sign of congestion.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CongestionEvent {
    /// A segment was found lost by duplicate acknowledgements or SACK: fast recovery begins.
    FastRetransmit,
    /// The retransmission timer ran out.
    Timeout,
    /// The peer echoed a congestion mark (RFC 3168).
    Ecn,
}

/// The circumstances of a [`CongestionEvent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CongestionContext {
    /// When it was noticed.
    pub now: Instant,
    /// Bytes in flight before the loss was taken out, without those sent by Limited Transmit
    /// (RFC 5681 section 3.2).
    pub in_flight: u32,
    /// Whether the window was already reduced for this flight: a further timeout for the same data, or
    /// a timeout in a fast recovery. `ssthresh` stays then (RFC 5681 section 3.1), and an undo goes back
    /// to the state before the first event.
    pub repeated: bool,
}

/// A congestion controller. Implement it to bring your own ([`Congestion::Custom`]).
///
/// Order of calls: `on_ack` for each acknowledgement of new data; `on_congestion` when a loss or mark
/// is found; `set_cwnd` while a recovery lasts; `on_recovery_exit` when all that was in flight at its
/// start is acknowledged; `on_undo` if the loss turns out not to have been one. Calls must depend on
/// nothing but their arguments and earlier calls.
pub trait CongestionControl: fmt::Debug + Send {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;
    /// New data was acknowledged.
    fn on_ack(&mut self, ack: &AckSample);
    /// Congestion was noticed. Sets `ssthresh`, and `cwnd` to it (one segment after a timeout).
    fn on_congestion(&mut self, event: CongestionEvent, context: &CongestionContext);
    /// A fast recovery is over. A window beyond `ssthresh` falls back to it (RFC 5681 section 3.2
    /// step 6); a smaller one, as RFC 6582 section 3.2 step 3 may leave it, stays.
    fn on_recovery_exit(&mut self, now: Instant);
    /// The last event was spurious: restores what was before it. Without one, does nothing.
    fn on_undo(&mut self, now: Instant);
    /// Sending begins again after `idle` without data in flight, longer than one `rto`.
    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration);
    /// The sender's maximum segment size changed (path MTU); in bytes.
    fn on_mss_change(&mut self, mss: u32);
    /// The recovery code moves the window, in bytes: RFC 6582 inflation, RFC 6937 and the like.
    fn set_cwnd(&mut self, cwnd: u32);
    /// The congestion window, in bytes; at least 1.
    fn cwnd(&self) -> u32;
    /// The slow start threshold, in bytes; `u32::MAX` until the first congestion.
    fn ssthresh(&self) -> u32;
    /// Bytes per second to pace at; `None` leaves it to the connection (from window and RTT).
    fn pacing_rate(&self) -> Option<u64>;
    /// A copy with the same state.
    fn clone_box(&self) -> Box<dyn CongestionControl>;
    /// Feeds all state that future behaviour depends on to `state`; times relative to `now`.
    fn fingerprint(&self, now: Instant, state: &mut dyn Hasher);
}

/// The controller of a connection: a built-in one in place, any other in a box.
#[derive(Debug)]
pub enum Congestion {
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
    /// RFC 9438, the default.
    Cubic(Cubic),
    /// Anything else.
    Custom(Box<dyn CongestionControl>),
}

const _: () = assert!(size_of::<Congestion>() <= 128);

impl Congestion {
    /// The names that [`Congestion::by_name`] knows.
    pub const NAMES: &'static [&'static str] = &["cubic", "newreno", "reno"];

    /// A new built-in controller; `None` for an unknown name. `mss` is in bytes.
    #[must_use]
    pub fn by_name(name: &str, mss: u32, now: Instant) -> Option<Congestion> {
        match name {
            "cubic" => Some(Congestion::Cubic(Cubic::new(mss, now))),
            "newreno" | "reno" => Some(Congestion::NewReno(NewReno::new(mss))),
            _ => None,
        }
    }

    /// The default controller: CUBIC. `mss` is in bytes.
    #[must_use]
    pub fn default_for(mss: u32, now: Instant) -> Congestion {
        Congestion::Cubic(Cubic::new(mss, now))
    }

    /// As [`CongestionControl::on_ack`], with a sample that is made only if the controller looks at it: the built-in
    /// ones do not when the window was not the limit.
    #[inline]
    pub(crate) fn on_ack_with(
        &mut self,
        (now, is_cwnd_limited, in_recovery): (Instant, bool, bool),
        sample: impl FnOnce() -> AckSample,
    ) {
        match self {
            Congestion::Cubic(inner) if !is_cwnd_limited => inner.window_unused(now, in_recovery),
            Congestion::NewReno(_) if !is_cwnd_limited => {}
            _ => self.on_ack(&sample()),
        }
    }

    /// Fast recovery begins: the three duplicates stand for three segments that have left the network
    /// (RFC 5681 section 3.2 step 3). Call after `on_congestion`.
    pub fn inflate_on_entry(&mut self, mss: u32) {
        self.set_cwnd(self.ssthresh().saturating_add(mss.saturating_mul(3)));
    }

    /// A further duplicate ACK: one more segment has left the network (RFC 5681 section 3.2 step 4).
    pub fn inflate_on_duplicate(&mut self, mss: u32) {
        self.set_cwnd(self.cwnd().saturating_add(mss));
    }

    /// An ACK of `acked` new bytes that does not end the recovery: deflates by what it acknowledged and
    /// leaves room for one segment when that was at least one (RFC 6582 section 3.2 step 3).
    pub fn deflate_on_partial_ack(&mut self, acked: u32, mss: u32) {
        let deflated = self.cwnd().saturating_sub(acked);
        self.set_cwnd(if acked >= mss { deflated.saturating_add(mss) } else { deflated });
    }

    /// The ACK that ends the recovery, with `in_flight` bytes left in flight: the window deflates to
    /// `ssthresh`, and no further than one segment above what is in flight, so that no burst leaves
    /// (RFC 6582 section 3.2 step 3, first option). Call before `on_recovery_exit`.
    pub fn deflate_on_full_ack(&mut self, in_flight: u32, mss: u32) {
        self.set_cwnd(self.ssthresh().min(in_flight.max(mss).saturating_add(mss)));
    }
}

impl Clone for Congestion {
    fn clone(&self) -> Self {
        match self {
            Congestion::NewReno(inner) => Congestion::NewReno(inner.clone()),
            Congestion::Cubic(inner) => Congestion::Cubic(inner.clone()),
            Congestion::Custom(inner) => Congestion::Custom(inner.clone_box()),
        }
    }
}

macro_rules! each {
    ($congestion:expr, $inner:ident => $call:expr) => {
        match $congestion {
            Congestion::NewReno($inner) => $call,
            Congestion::Cubic($inner) => $call,
            Congestion::Custom($inner) => $call,
        }
    };
}

impl CongestionControl for Congestion {
    fn name(&self) -> &'static str {
        each!(self, inner => inner.name())
    }

    #[inline]
    fn on_ack(&mut self, ack: &AckSample) {
        each!(self, inner => inner.on_ack(ack));
    }

    fn on_congestion(&mut self, event: CongestionEvent, context: &CongestionContext) {
        each!(self, inner => inner.on_congestion(event, context));
    }

    fn on_recovery_exit(&mut self, now: Instant) {
        each!(self, inner => inner.on_recovery_exit(now));
    }

    fn on_undo(&mut self, now: Instant) {
        each!(self, inner => inner.on_undo(now));
    }

    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration) {
        each!(self, inner => inner.on_idle_restart(now, idle, rto));
    }

    fn on_mss_change(&mut self, mss: u32) {
        each!(self, inner => inner.on_mss_change(mss));
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        each!(self, inner => inner.set_cwnd(cwnd));
    }

    #[inline]
    fn cwnd(&self) -> u32 {
        each!(self, inner => inner.cwnd())
    }

    #[inline]
    fn ssthresh(&self) -> u32 {
        each!(self, inner => inner.ssthresh())
    }

    #[inline]
    fn pacing_rate(&self) -> Option<u64> {
        each!(self, inner => inner.pacing_rate())
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, now: Instant, state: &mut dyn Hasher) {
        each!(self, inner => inner.fingerprint(now, state));
    }
}

/// The initial window: ten segments. RFC 6928 caps it at 14,600 bytes for segments beyond 1,460 bytes;
/// Linux (`tcp_init_cwnd`) does not.
fn initial_window(mss: u32) -> u32 {
    mss.saturating_mul(INITIAL_SEGMENTS).min(MAX_CWND)
}

/// Slow start: grows `cwnd` by what was acknowledged, up to `ssthresh`; returns the bytes that are
/// left for congestion avoidance.
fn slow_start(cwnd: &mut u32, ssthresh: u32, acked: u32) -> u32 {
    let room = ssthresh.min(MAX_CWND).saturating_sub(*cwnd);
    let used = acked.min(room);
    *cwnd += used;
    acked - used
}

/// The window after `idle`: halved for each `rto` of it, down to the restart window, as Linux does
/// (`tcp_cwnd_restart`, RFC 2861); RFC 5681 section 4.1 would go to the restart window at once.
fn window_after_idle(cwnd: u32, mss: u32, idle: Duration, rto: Duration) -> u32 {
    let restart = initial_window(mss).min(cwnd);
    let periods = idle.as_nanos() / rto.as_nanos().max(1);
    let halvings = u32::try_from(periods).unwrap_or(u32::MAX).min(31);
    (cwnd >> halvings).max(restart)
}

/// Three quarters of the window are worth remembering as `ssthresh` when the window is given up for
/// another reason than loss (Linux `tcp_current_ssthresh`).
fn ssthresh_after_idle(cwnd: u32, ssthresh: u32) -> u32 {
    ssthresh.max(cwnd / 4 * 3)
}

/// A window after a change of segment size: a smaller segment keeps the number of segments, a larger
/// one the number of bytes (RFC 4821 section 5, RFC 5681 section 3.1).
fn window_after_mss_change(cwnd: u32, old: u32, new: u32) -> u32 {
    if new >= old || old == 0 {
        return cwnd;
    }
    let scaled = u64::from(cwnd) * u64::from(new) / u64::from(old);
    u32::try_from(scaled).unwrap_or(MAX_CWND).max(new)
}

#[cfg(test)]
mod tests;

//! Congestion control: how much may be in flight. RFC 5681, RFC 6928, RFC 6582, RFC 9438; Linux
//! `struct tcp_congestion_ops`.
//!
//! A controller keeps the congestion window and decides how it grows and how far it falls; the connection's recovery
//! code decides *when* a loss has happened, what to retransmit, and how the window gets to its new size
//! (proportional rate reduction, through [`CongestionControl::set_cwnd`]).
//!
//! Windows are in segments, as in Linux, and an ACK counts for the whole segments that it newly acknowledges: a peer
//! that splits an acknowledgement into many gains nothing, and one that merges many loses nothing (RFC 3465). As in
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
pub(crate) const INITIAL_SEGMENTS: u32 = 10;
/// No window grows beyond this, in segments: more than the 1 GiB that TCP can express (RFC 7323) holds of the smallest.
pub const MAX_CWND: u32 = 1 << 26;

/// What an acknowledgement told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Segments that it newly acknowledged, by its number or by SACK.
    pub acked: u32,
    /// The round trip of the last segment it acknowledged, if it could be used as a sample (Karn's rule).
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time, this sample included; `None` before the first.
    pub srtt: Option<Duration>,
    /// The smallest round trip of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Segments in flight before it arrived.
    pub in_flight: u32,
    /// Segments that were found lost when it arrived.
    pub lost: u32,
    /// Whether the window, not the application or the peer, limited what was sent. A window that is
    /// not used does not grow (RFC 7661 section 3; Linux `tcp_is_cwnd_limited`).
    pub is_cwnd_limited: bool,
    /// Whether the window may grow: no reduction lasts, and data arrived in order (Linux `tcp_may_raise_cwnd`). The
    /// recovery code moves the window while a reduction lasts; the controller only takes note then. Slow start after a
    /// timeout is no reduction.
    pub may_grow: bool,
    /// Segments delivered over the life of the connection.
    pub delivered: u32,
    /// Of these, as many had been delivered when the segment was sent that this acknowledgement delivered last (of
    /// those, the one sent last): a round trip of the connection lies between. `None` if it delivered none.
    pub prior_delivered: Option<u32>,
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
    /// Segments in flight.
    pub in_flight: u32,
    /// Whether the window was already reduced for this flight: a further timeout for the same data, or
    /// a timeout in a fast recovery. `ssthresh` stays then (RFC 5681 section 3.1).
    pub repeated: bool,
}

/// A congestion controller. Implement it to bring your own ([`Congestion::Custom`]).
///
/// Order of calls: `on_ack` for each acknowledgement that delivers something; `on_congestion` when a loss or mark
/// is found; `set_cwnd` while a reduction lasts and at its end; `on_recovery_exit` then; `on_undo` if the loss turns out
/// not to have been one. Calls must depend on nothing but their arguments and earlier calls.
pub trait CongestionControl: fmt::Debug + Send {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;
    /// Data was acknowledged.
    fn on_ack(&mut self, ack: &AckSample);
    /// Congestion was noticed. Sets `ssthresh`, unless the event is `repeated`; the window is moved by the connection.
    fn on_congestion(&mut self, event: CongestionEvent, context: &CongestionContext);
    /// A reduction is over; the window has been set.
    fn on_recovery_exit(&mut self, now: Instant) {
        let _ = now;
    }
    /// The last event was spurious: window and threshold become at least what they were before it, `cwnd` and
    /// `ssthresh`.
    fn on_undo(&mut self, cwnd: u32, ssthresh: u32);
    /// Sending begins with nothing in flight, `idle` after the last segment (Linux `CA_EVENT_TX_START`).
    fn on_tx_start(&mut self, now: Instant, idle: Duration) {
        let _ = (now, idle);
    }
    /// Sending begins again after `idle` without data in flight, longer than one `rto`.
    fn on_idle_restart(&mut self, idle: Duration, rto: Duration);
    /// The window was not used for an RTO: it becomes `cwnd`, and a share of the old one is remembered as `ssthresh`
    /// (RFC 2861, RFC 7661; Linux `tcp_cwnd_application_limited`).
    fn on_unused_window(&mut self, cwnd: u32);
    /// The sender's maximum segment size is known, or has changed (path MTU); in bytes. The window is counted in
    /// segments and stays.
    fn on_mss_change(&mut self, mss: u32) {
        let _ = mss;
    }
    /// The connection moves the window, in segments: the initial window, RFC 6937, a timeout.
    fn set_cwnd(&mut self, cwnd: u32);
    /// The congestion window, in segments; at least 1.
    fn cwnd(&self) -> u32;
    /// The slow start threshold, in segments; `u32::MAX` until the first congestion.
    fn ssthresh(&self) -> u32;
    /// Bytes per second to pace at; `None` leaves it to the connection (from window and RTT).
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
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

const _: () = assert!(size_of::<Congestion>() <= 96);

impl Congestion {
    /// The names that [`Congestion::by_name`] knows.
    pub const NAMES: &'static [&'static str] = &["cubic", "newreno", "reno"];

    /// A new built-in controller; `None` for an unknown name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Congestion> {
        match name {
            "cubic" => Some(Congestion::Cubic(Cubic::new())),
            "newreno" | "reno" => Some(Congestion::NewReno(NewReno::new())),
            _ => None,
        }
    }

    /// As [`CongestionControl::on_ack`], with a sample that is made only if the controller looks at it: Reno's does not
    /// when the window was not the limit.
    #[inline]
    pub(crate) fn on_ack_with(&mut self, is_cwnd_limited: bool, sample: impl FnOnce() -> AckSample) {
        match self {
            Congestion::NewReno(_) if !is_cwnd_limited => {}
            _ => self.on_ack(&sample()),
        }
    }

    /// The threshold that is remembered when the window is given up for another reason than loss (Linux
    /// `tcp_current_ssthresh`, outside of a reduction).
    pub(crate) fn current_ssthresh(&self) -> u32 {
        ssthresh_of_window(self.cwnd(), self.ssthresh())
    }
}

impl Default for Congestion {
    /// CUBIC.
    fn default() -> Self {
        Congestion::Cubic(Cubic::new())
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

    fn on_undo(&mut self, cwnd: u32, ssthresh: u32) {
        each!(self, inner => inner.on_undo(cwnd, ssthresh));
    }

    #[inline]
    fn on_tx_start(&mut self, now: Instant, idle: Duration) {
        each!(self, inner => inner.on_tx_start(now, idle));
    }

    fn on_idle_restart(&mut self, idle: Duration, rto: Duration) {
        each!(self, inner => inner.on_idle_restart(idle, rto));
    }

    fn on_unused_window(&mut self, cwnd: u32) {
        each!(self, inner => inner.on_unused_window(cwnd));
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

/// Window and threshold, in segments, with what every loss-based controller does to them.
#[derive(Clone, Debug, Hash)]
struct Window {
    cwnd: u32,
    ssthresh: u32,
    /// Segments acknowledged in congestion avoidance since the window last grew (Linux `snd_cwnd_cnt`).
    acked: u32,
}

impl Window {
    /// The initial window: ten segments. RFC 6928 caps it at 14,600 bytes for segments beyond 1,460 bytes;
    /// Linux (`tcp_init_cwnd`) does not.
    const fn new() -> Self {
        Window { cwnd: INITIAL_SEGMENTS, ssthresh: u32::MAX, acked: 0 }
    }

    fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start: grows by what was acknowledged, up to `ssthresh`; returns what is left for congestion avoidance.
    fn slow_start(&mut self, acked: u32) -> u32 {
        let room = self.ssthresh.min(MAX_CWND).saturating_sub(self.cwnd);
        let used = acked.min(room);
        self.cwnd += used;
        acked - used
    }

    /// A segment more for each `every` that are acknowledged.
    fn avoid(&mut self, every: u32, acked: u32) {
        let every = every.max(1);
        if self.acked >= every {
            // Credit from a time of slower growth: a segment, not all at once.
            self.acked = 0;
            self.cwnd += 1;
        }
        self.acked = self.acked.saturating_add(acked);
        self.cwnd += self.acked / every;
        self.acked %= every;
        self.cwnd = self.cwnd.min(MAX_CWND);
    }

    fn set(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(1, MAX_CWND);
    }

    fn undo(&mut self, cwnd: u32, ssthresh: u32) {
        self.cwnd = self.cwnd.max(cwnd).min(MAX_CWND);
        self.ssthresh = self.ssthresh.max(ssthresh);
    }

    /// The window after `idle`: halved for each `rto` of it, down to the initial one, as Linux does
    /// (`tcp_cwnd_restart`, RFC 2861); RFC 5681 section 4.1 would go to the restart window at once.
    fn restart(&mut self, idle: Duration, rto: Duration) {
        self.ssthresh = ssthresh_of_window(self.cwnd, self.ssthresh);
        let floor = INITIAL_SEGMENTS.min(self.cwnd);
        let periods = idle.as_nanos().saturating_sub(1) / rto.as_nanos().max(1);
        let halvings = u32::try_from(periods).unwrap_or(u32::MAX).min(31);
        self.cwnd = (self.cwnd >> halvings).max(floor);
        self.acked = 0;
    }

    fn unused(&mut self, cwnd: u32) {
        self.ssthresh = ssthresh_of_window(self.cwnd, self.ssthresh);
        self.set(cwnd);
    }
}

/// Three quarters of the window are worth remembering as `ssthresh` when the window is given up for
/// another reason than loss.
fn ssthresh_of_window(cwnd: u32, ssthresh: u32) -> u32 {
    ssthresh.max((cwnd >> 1) + (cwnd >> 2))
}

#[cfg(test)]
mod tests;

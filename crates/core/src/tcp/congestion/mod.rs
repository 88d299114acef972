//! Congestion control: how much may be in flight. RFC 5681, RFC 6928, RFC 6582, RFC 9438; Linux
//! `struct tcp_congestion_ops`.
//!
//! The connection owns the [`Window`] and decides *when* a loss has happened and what to retransmit; the algorithm decides
//! how the window grows and how far it falls. Between the two sizes the connection reduces the window in proportion to
//! what is delivered (RFC 9937), unless the algorithm moves it by itself ([`Needs::OWN_WINDOW`]).
//!
//! Windows are in segments, as in Linux, and an ACK counts for the whole segments that it newly acknowledges: a peer
//! that splits an acknowledgement into many gains nothing, and one that merges many loses nothing (RFC 3465). As in
//! Linux, slow start has no cap per ACK (RFC 5681 would allow one segment).
//!
//! An algorithm is chosen by its name, for each socket and at any time
//! ([`TcpOption::Congestion`](crate::TcpOption::Congestion)). To bring your own, implement [`CongestionControl`] and put an
//! [`Algorithm`] into [`TcpConfig::congestion_controls`](crate::TcpConfig::congestion_controls), as the example
//! `own_congestion_control` of the crate `lastack` does.

mod bbr;
mod bbr3;
mod cubic;
mod dctcp;
mod hystart;
mod kind;
mod minmax;
mod model;
mod reno;
mod window;

pub use super::scoreboard::CaState;
pub use bbr::Bbr;
pub use bbr3::Bbr3;
pub use cubic::Cubic;
pub use dctcp::Dctcp;
pub use hystart::HyStart;
pub(crate) use kind::{Brief, Congestion};
pub use reno::Reno;
pub use window::{MAX_CWND, Window};

use crate::time::Instant;
use alloc::boxed::Box;
use core::fmt;
use core::hash::Hasher;
use core::time::Duration;
use lastack_wire::SeqNumber;

/// Segments of the initial window (RFC 6928; Linux `TCP_INIT_CWND`).
pub(crate) const INITIAL_SEGMENTS: u32 = 10;

bitflags::bitflags! {
    /// What an algorithm asks of the connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Needs: u8 {
        /// It moves the window itself, also while losses are repaired: no proportional rate reduction, no restart after
        /// idle time (Linux: an algorithm with `cong_control`). A timeout still sets the window to one segment.
        const OWN_WINDOW = 1;
        /// ECN is to be negotiated whatever the configuration says, every packet says that it may be marked, and marks are
        /// echoed packet by packet (RFC 8257; Linux `TCP_CONG_NEEDS_ECN`).
        const ECN = 2;
        /// [`Start::seed`] is to be drawn from the stack's random numbers.
        const RANDOM = 4;
        /// What it lets out leaves paced, at [`CongestionControl::pacing_rate`] (Linux `SK_PACING_NEEDED`).
        const PACING = 8;
    }
}

/// The connection at the moment of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The time of the call.
    pub now: Instant,
    /// Payload of a full segment in bytes, at least 8; what the window counts in.
    pub mss: u32,
    /// SND.UNA and SND.NXT. An algorithm that keeps one of them feeds it to its fingerprint relative to
    /// [`Origin::una`].
    pub una: SeqNumber,
    /// See `una`.
    pub nxt: SeqNumber,
    /// Segments in flight: sent, and neither acknowledged, reported, nor lost (RFC 6675's pipe).
    pub in_flight: u32,
    /// Segments delivered over the life of the connection, modulo 2^32.
    pub delivered: u32,
    /// Of those, acknowledged with a congestion mark, modulo 2^32.
    pub delivered_ce: u32,
    /// When something was delivered last, or the present flight began; to the microsecond.
    pub delivered_at: Instant,
    /// Segments ever found lost, modulo 2^32; retransmissions that were lost too count again.
    pub lost: u32,
    /// Smoothed round-trip time; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// The smallest round trip of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Where loss recovery stands.
    pub state: CaState,
    /// What is in flight is limited by what the application writes.
    pub is_app_limited: bool,
    /// What the window lets out is paced.
    pub is_paced: bool,
    /// When the next packet may leave; `now` if pacing does not hold it back.
    pub next_send: Instant,
    /// Bytes per second that the application allows at the most (`SO_MAX_PACING_RATE`); `u64::MAX` if any.
    pub max_pacing_rate: u64,
}

/// The rate at which segments were delivered (draft-cheng-iccrg-delivery-rate-estimation), measured over about the round
/// trip of the segment that was delivered last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateSample {
    /// Segments delivered in `interval`.
    pub delivered: u32,
    /// The longer of the two below; never shorter than the smallest round trip.
    pub interval: Duration,
    /// In what time they had been sent.
    pub send_interval: Duration,
    /// In what time their acknowledgements came.
    pub ack_interval: Duration,
    /// The sender had nothing more to send meanwhile: the path may take more than this.
    pub is_app_limited: bool,
    /// The segment delivered last was a retransmission.
    pub is_retransmission: bool,
}

/// What an acknowledgement told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckSample {
    /// The connection after the acknowledgement was taken in.
    pub flow: Flow,
    /// Segments that it newly acknowledged, by its number or by SACK.
    pub acked: u32,
    /// Segments that were found lost when it arrived.
    pub lost: u32,
    /// The round trip of the last segment it acknowledged, if it could be used as a sample (Karn's rule).
    pub rtt: Option<Duration>,
    /// Segments in flight before it arrived.
    pub prior_in_flight: u32,
    /// Whether the window, not the application or the peer, limited what was sent. A window that is
    /// not used should not grow (RFC 7661 section 3; Linux `tcp_is_cwnd_limited`).
    pub is_cwnd_limited: bool,
    /// Whether the window may grow: no reduction lasts, and data arrived in order (Linux `tcp_may_raise_cwnd`). Slow start
    /// after a timeout is no reduction.
    pub may_grow: bool,
    /// Of `flow.delivered`, as many had been delivered when the segment was sent that this acknowledgement delivered last
    /// (of those, the one sent last): a round trip of the connection lies between. `None` if it delivered none.
    pub prior_delivered: Option<u32>,
    /// The rate at which it and those before it delivered; `None` if that cannot be told.
    pub rate: Option<RateSample>,
    /// The acknowledgement may have been delayed: `rtt` can be longer than the path's.
    pub may_be_delayed: bool,
}

/// What happens to a window beside acknowledgements (Linux `enum tcp_ca_event`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CwndEvent {
    /// Sending begins with nothing in flight, so long after the last segment (`CA_EVENT_TX_START`).
    TxStart {
        /// Time since the last segment left.
        idle: Duration,
    },
    /// The window is about to be reduced because it was not used for longer than an RTO (`CA_EVENT_CWND_RESTART`).
    CwndRestart,
    /// A reduction is over, and the window has been set to the threshold (`CA_EVENT_COMPLETE_CWR`).
    CompleteCwr,
    /// The retransmission timer ran out; the threshold is set, the window not yet (`CA_EVENT_LOSS`).
    Loss,
}

/// With what an algorithm begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The connection.
    pub flow: Flow,
    /// ECN is in use on the connection.
    pub ecn: bool,
    /// Random bits if it [`Needs::RANDOM`], otherwise 0.
    pub seed: u64,
}

/// What the numbers of a connection are counted from in a fingerprint: two connections that differ in nothing but these
/// behave the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The present.
    pub now: Instant,
    /// SND.UNA.
    pub una: SeqNumber,
    /// [`Flow::delivered`].
    pub delivered: u32,
    /// [`Flow::delivered_ce`].
    pub delivered_ce: u32,
    /// [`Flow::lost`].
    pub lost: u32,
}

/// What an algorithm says of itself (Linux `union tcp_cc_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// BBR's (`struct tcp_bbr_info`).
    Bbr {
        /// The rate that is believed in, in bytes per second.
        bandwidth: u64,
        /// The smallest round trip, in microseconds; `u32::MAX` before the first.
        min_rtt: u32,
        /// Pacing rate and window, in 1/256 of the rate and of the product of rate and round trip.
        pacing_gain: u32,
        /// See `pacing_gain`.
        cwnd_gain: u32,
    },
    /// DCTCP's (`struct tcp_dctcp_info`).
    Dctcp {
        /// The connection has ECN; otherwise it is Reno.
        active: bool,
        /// Share that was marked lately, in 1/1024.
        alpha: u32,
        /// Bytes of this window that were marked.
        marked: u32,
        /// Bytes of this window that were delivered.
        delivered: u32,
    },
}

/// A congestion-control algorithm (Linux `struct tcp_congestion_ops`). What it does may depend on nothing but its state,
/// the window and the arguments.
///
/// Order of calls: `on_start` once; `on_event` ([`CwndEvent::TxStart`]) before the first segment of a flight; `on_ack` for
/// each acknowledgement while something is in flight. When a loss or a mark is found: `ssthresh`, then `on_state`; at a
/// timeout `ssthresh` (unless the window was already reduced for this flight), `on_event` ([`CwndEvent::Loss`]), `on_state`.
/// If the loss turns out not to have been one: `undo_cwnd`.
pub trait CongestionControl: fmt::Debug + Send {
    /// What it asks of the connection; always the same.
    fn needs(&self) -> Needs {
        Needs::empty()
    }

    /// The connection is open, or has changed over from another algorithm (Linux `init`). The window is the initial one,
    /// or the one that the other algorithm left.
    fn on_start(&mut self, window: &mut Window, start: &Start) {
        let _ = (window, start);
    }

    /// An acknowledgement arrived while something was in flight (Linux `pkts_acked`, `in_ack_event`, `cong_avoid`,
    /// `cong_control`).
    fn on_ack(&mut self, window: &mut Window, ack: &AckSample);

    /// Congestion was noticed: the threshold, in segments, that the window falls to (Linux `ssthresh`); at least 2.
    fn ssthresh(&mut self, window: &Window, flow: &Flow) -> u32;

    /// Loss recovery changes its state (Linux `set_state`). `flow.state` is the state that it leaves.
    fn on_state(&mut self, window: &mut Window, state: CaState, flow: &Flow) {
        let _ = (window, state, flow);
    }

    /// Something else happened (Linux `cwnd_event`).
    fn on_event(&mut self, window: &mut Window, event: CwndEvent, flow: &Flow) {
        let _ = (window, event, flow);
    }

    /// The last reduction was needless: the window from now on, in segments; `prior_cwnd` is the one before it (Linux
    /// `undo_cwnd`). The connection restores the threshold.
    fn undo_cwnd(&mut self, window: &Window, prior_cwnd: u32, flow: &Flow) -> u32 {
        let _ = flow;
        window.cwnd.max(prior_cwnd)
    }

    /// What it says of itself (Linux `get_info`).
    fn report(&self, flow: &Flow) -> Option<Report> {
        let _ = flow;
        None
    }

    /// Bytes per second to pace at; `None` leaves it to the connection, from window and round trip.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// The smallest packet, in segments, that is worth pacing by itself, at `pacing_rate` bytes per second (Linux
    /// `min_tso_segs`); `None` for the usual: 2.
    fn min_packet(&self, pacing_rate: u64) -> Option<u32> {
        let _ = pacing_rate;
        None
    }

    /// Congestion windows for which the send buffer has room: one in flight, the rest waits to be sent (Linux `sndbuf_expand`).
    fn buffered_windows(&self) -> u32 {
        2
    }

    /// It keeps less in flight than the path takes, on purpose: until what is in flight now is delivered, rates are marked
    /// as limited by the application. Asked after each `on_ack`.
    fn limits_itself(&self) -> bool {
        false
    }

    /// A copy with the same state.
    fn clone_box(&self) -> Box<dyn CongestionControl>;

    /// Feeds all state that future behaviour depends on to `state`, relative to `origin`.
    fn fingerprint(&self, origin: &Origin, state: &mut dyn Hasher);
}

/// An algorithm from outside of the crate, by name.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    /// The name it is chosen by: at most 15 bytes, as Linux allows (`TCP_CA_NAME_MAX`). One of a built-in algorithm takes
    /// its place.
    pub name: &'static str,
    /// Makes the state of one connection.
    pub make: fn() -> Box<dyn CongestionControl>,
}

#[cfg(test)]
mod bottleneck;
#[cfg(test)]
mod tests;

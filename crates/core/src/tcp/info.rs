//! What can be asked of a connection (Linux `struct tcp_info`, `tcp_get_info`).

use super::congestion::Report;
use super::ecn::Ecn;
use super::fast_open::client::FastOpenFailure;
use super::scoreboard::{CaState, REORDERING};
use super::state::State;
use super::tcb::{Is, Tcb};
use super::timers::{ALL, Pending, Timer};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::{ConnectionId, Transition};
use crate::time::Instant;
use core::time::Duration;

/// A snapshot of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// State; CLOSED once a TIME_WAIT record has taken over, as on Linux.
    pub state: State,
    /// The connection's number.
    pub id: ConnectionId,
    /// Largest segment payload, options not counted, in bytes.
    pub mss: u16,
    /// Path MTU in bytes.
    pub path_mtu: u16,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// The peer understands SACK.
    pub sack: bool,
    /// ECN is in use (RFC 3168, RFC 9768).
    pub ecn: bool,
    /// A packet came in that says it may be marked, or was.
    pub ecn_seen: bool,
    /// Segments that the peer acknowledged while it echoed a congestion mark; with Accurate ECN, that it counted as marked.
    pub delivered_ce: u32,
    /// The counters of Accurate ECN, if it is in use.
    pub accurate_ecn: Option<EcnBytes>,
    /// Window scales: the peer's and ours.
    pub window_scales: Option<(u8, u8)>,
    /// Retransmission timeout with back-off.
    pub rto: Duration,
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
    /// Smallest round-trip time of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Expiries of the retransmission timer for what is in flight.
    pub retransmits: u8,
    /// Unanswered zero-window or keep-alive probes.
    pub probes: u8,
    /// Doublings of the timeout.
    pub backoff: u8,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow-start threshold in segments; `u32::MAX` = none yet.
    pub ssthresh: u32,
    /// Name of the congestion control.
    pub congestion: &'static str,
    /// What the congestion control says of itself (`TCP_CC_INFO`).
    pub congestion_report: Option<Report>,
    /// Losses are being repaired, in fast recovery or after a timeout.
    pub in_recovery: bool,
    /// Bytes sent and not acknowledged (SYN and FIN count one).
    pub unacked: u32,
    /// Bytes queued and never sent.
    pub unsent: u32,
    /// Bytes received in order and not read.
    pub unread: u32,
    /// Bytes received out of order.
    pub out_of_order: u32,
    /// The peer's window in bytes.
    pub send_window: u32,
    /// The window we offer, in bytes.
    pub recv_window: u32,
    /// Bytes acknowledged by the peer since the start.
    pub bytes_acked: u64,
    /// The same with our FIN, and with our SYN if we opened (`tcpi_bytes_acked`).
    pub sequence_acked: u64,
    /// Bytes received in order since the start.
    pub bytes_received: u64,
    /// Segments sent since the start.
    pub segs_out: u32,
    /// Segments received since the start.
    pub segs_in: u32,
    /// Segments sent again since the start.
    pub retransmissions: u32,
    /// Time since something was sent.
    pub last_sent: Duration,
    /// Time since something was received.
    pub last_received: Duration,
    /// Time until the next timer, by kind.
    pub timer: Option<(TimerKind, Duration)>,
    /// Our FIN is queued; and it was sent.
    pub fin: (bool, bool),
    /// What a router said about a segment in flight, and no acknowledgement has refuted since (RFC 9293 3.9.1.8).
    pub soft_error: Option<Error>,
    /// The last transition.
    pub last_transition: Option<Transition>,
    /// The peer's FIN has taken effect.
    pub fin_received: bool,
    /// A SYN with a good Fast Open cookie opened the connection.
    pub fast_open_child: bool,
    /// Text of our SYN was acknowledged by the SYN-ACK, or the peer's SYN or SYN-ACK brought some that was taken (Fast Open).
    pub syn_data: bool,
    /// Why Fast Open did not spare a round trip, if it was to.
    pub fast_open_failure: FastOpenFailure,
    /// ACKs are delayed in the hope of an answer to ride on (Linux's pingpong mode).
    pub interactive: bool,
    /// Payload of a full segment: `mss` less the options that each segment carries.
    pub segment_payload: u16,
    /// Estimate of the peer's segment size.
    pub peer_segment: u16,
    /// Payload of the largest segment that we let the peer send, options not counted.
    pub advertised_mss: u16,
    /// Where loss recovery stands, as Linux numbers it: 0 open, 1 disorder, 2 window reduced, 3 recovery, 4 loss.
    pub recovery_state: u8,
    /// Segments in flight.
    pub segments: SegmentCounts,
    /// Delay of the next delayed ACK.
    pub ack_timeout: Duration,
    /// Time since data was received.
    pub last_data_received: Duration,
    /// How the receive window is tuned.
    pub receive: ReceiveTuning,
    /// Segments out of order that stand for a loss: 3, more once reordering was seen.
    pub reordering: u32,
    /// How often reordering was seen.
    pub reordering_seen: u32,
    /// Segments that the peer reported as received twice.
    pub dsack_dups: u32,
    /// Segments with data received.
    pub data_segs_in: u32,
    /// Segments with data sent, repeated ones included.
    pub data_segs_out: u32,
    /// Bytes sent, repeated ones included.
    pub bytes_sent: u64,
    /// Bytes sent again.
    pub bytes_retransmitted: u64,
    /// Segments that the peer has acknowledged.
    pub delivered: u32,
    /// Segments received out of order.
    pub out_of_order_packets: u32,
    /// Expiries of the retransmission timer since the start.
    pub timeouts: u16,
    /// Memory charged to the send buffer, in bytes.
    pub send_memory: u32,
    /// Bytes per second at which packets leave if the connection is paced, or would if it were; `u64::MAX` if that is not
    /// known yet.
    pub pacing_rate: u64,
    /// Bytes per second at the most (`SO_MAX_PACING_RATE`); `u64::MAX` = no limit.
    pub max_pacing_rate: u64,
    /// Bytes per second at which the path delivered, as measured last; 0 before the first measurement.
    pub delivery_rate: u64,
    /// The application was what limited that rate.
    pub delivery_rate_app_limited: bool,
    /// Time during which something was queued or in flight.
    pub busy: Duration,
    /// Of that, time during which the peer's window held us back.
    pub limited_by_peer: Duration,
    /// Of that, time during which a full send buffer held the application back and nothing was left to send.
    pub limited_by_buffer: Duration,
}

/// What a connection with Accurate ECN has counted (RFC 9768 3.2). Bytes of text, modulo 2^32: of ECT(1) packets, of marked
/// ones, and of ECT(0) packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnBytes {
    /// Packets that came in marked.
    pub received_ce: u32,
    /// Bytes that came in.
    pub received: [u32; 3],
    /// Bytes that came to the peer, by its word.
    pub delivered: [u32; 3],
    /// The peer sends the option that tells so.
    pub told_by_peer: bool,
}

/// Segments in flight, by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentCounts {
    /// Sent and not acknowledged.
    pub unacked: u32,
    /// Of those, reported as arrived out of order (without SACK: one for each duplicate ACK).
    pub sacked: u32,
    /// Taken as lost.
    pub lost: u32,
    /// Sent again, and believed to be under way.
    pub retransmitted: u32,
}

/// What a sender waits for (Linux `enum tcp_chrono`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The application.
    #[default]
    Nothing,
    /// The network: congestion window, acknowledgements.
    Network,
    /// The peer's window.
    PeerWindow,
    /// The application, which met a full send buffer.
    SendBuffer,
}

/// How long a sender has waited for what (Linux `chrono_stat`, which counts ticks): milliseconds, up to 49 days.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chrono {
    since: u32,
    network: u32,
    peer: u32,
    buffer: u32,
    wait: Wait,
}

impl Chrono {
    /// From `now` on the sender waits for something else.
    #[inline]
    pub(crate) fn enter(&mut self, now: Instant, wait: Wait) {
        if wait != self.wait {
            self.settle(now);
            self.wait = wait;
        }
    }

    /// Adds what has passed since the last call.
    #[inline]
    fn settle(&mut self, now: Instant) {
        let now = now.as_millis() as u32;
        let passed = now.wrapping_sub(self.since);
        self.since = now;
        let sum = match self.wait {
            Wait::Nothing => return,
            Wait::Network => &mut self.network,
            Wait::PeerWindow => &mut self.peer,
            Wait::SendBuffer => &mut self.buffer,
        };
        *sum = sum.saturating_add(passed);
    }

    /// The sums as of `now`.
    fn at(mut self, now: Instant) -> Self {
        self.settle(now);
        self
    }
}

/// Which timer ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// Retransmission.
    Retransmit,
    /// Tail-loss probe (RFC 8985 7).
    LossProbe,
    /// What was overtaken counts as lost (RFC 8985 6.2).
    Reordering,
    /// Zero-window probe.
    Probe,
    /// Delayed ACK.
    DelayedAck,
    /// Keep-alive.
    KeepAlive,
    /// End of an ownerless FIN_WAIT_2.
    FinWait2,
    /// End of a connection that nobody owns.
    Orphan,
    /// The owner is told that it still has to close.
    CloseWaitWatchdog,
}

/// How the receive window is tuned (RFC 9293 3.8.6; Linux `tcp_rcv_space_adjust`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveTuning {
    /// The window that the last segment offered, in bytes.
    pub offered: u32,
    /// Largest window that would be offered now, in bytes.
    pub threshold: u32,
    /// Bytes that the application reads in a round trip.
    pub space: u32,
    /// Round trip as the receiver sees it; zero before it is known.
    pub rtt: Duration,
    /// Memory charged to the receive buffer, in bytes: what it holds, out of order too.
    pub memory: u32,
}

impl Tcb {
    pub(crate) fn info(&self, cx: &Ctx) -> TcpInfo {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let left = self.is(Is::LEFT);
        let chrono = self.stats.chrono.at(cx.now);
        let data_end = self.snd_seq(self.snd_buf.end());
        let unsent = if self.snd_nxt.before(data_end) { data_end.distance_from(self.snd_nxt) } else { 0 };
        TcpInfo {
            state: if left { State::Closed } else { self.state() },
            id: self.id,
            mss: self.mss,
            path_mtu: self.path_mtu,
            timestamps: self.is(Is::TIMESTAMPS),
            sack: self.is(Is::SACK),
            ecn: self.uses_ecn(),
            ecn_seen: self.ecn.contains(Ecn::SEEN),
            delivered_ce: self.delivered_ce(),
            accurate_ecn: self.ecn_bytes(),
            window_scales: self.is(Is::SCALED).then_some((self.snd_wscale, self.rcv_wscale)),
            rto: self.backed_off_rto(cx),
            srtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min_rtt(),
            retransmits: self.retransmits,
            probes: self.probes_out,
            backoff: self.backoff,
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            congestion: self.congestion.name(),
            congestion_report: self.congestion.report(|| self.flow(cx)),
            in_recovery: self.ca_state >= CaState::Recovery,
            unacked: self.outstanding(),
            unsent,
            unread: self.rcv_buf.readable() as u32,
            out_of_order: (self.rcv_buf.bytes_held() - self.rcv_buf.readable()) as u32,
            send_window: self.snd_wnd,
            recv_window: self.receive_window(),
            bytes_acked: self.stats.bytes_acked,
            sequence_acked: self.sequence_acked(),
            bytes_received: self.stats.bytes_received,
            segs_out: self.stats.segs_out,
            segs_in: self.stats.segs_in,
            retransmissions: self.stats.retransmissions,
            last_sent: cx.now - self.last_sent,
            last_received: cx.now - self.last_received,
            timer: self.next_timer(cx),
            fin: (self.is(Is::FIN_QUEUED), self.fin_sent()),
            soft_error: self.soft_error,
            last_transition: self.history.last(),
            fin_received: self.is(Is::DONE),
            fast_open_child: self.rare.fast_open.as_ref().is_some_and(|fast| fast.child),
            syn_data: self.rare.fast_open.as_ref().is_some_and(|fast| fast.syn_data),
            fast_open_failure: self.fast_open_failure(),
            interactive: self.is(Is::PINGPONG),
            segment_payload: self.effective_mss().min(u32::from(u16::MAX)) as u16,
            peer_segment: self.delack.rcv_mss,
            advertised_mss: self.advertised_mss(cx) - if self.is(Is::TIMESTAMPS) { 12 } else { 0 },
            recovery_state: self.ca_state as u8,
            segments: self.segment_counts(),
            ack_timeout: Duration::from_millis(self.delack.ato_ms.into()),
            last_data_received: cx.now - self.delack.last_data,
            receive: self.receive_tuning(),
            reordering: self.loss.as_deref().map_or(REORDERING, |board| board.reordering),
            reordering_seen: self.loss.as_deref().map_or(0, |board| board.reord_seen),
            dsack_dups: self.loss.as_deref().map_or(0, |board| board.dsack_dups),
            data_segs_in: self.stats.data_segs_in,
            data_segs_out: self.stats.data_segs_out,
            bytes_sent: self.stats.bytes_sent,
            bytes_retransmitted: self.stats.bytes_retransmitted,
            delivered: self.stats.delivered,
            out_of_order_packets: self.stats.out_of_order,
            timeouts: self.stats.timeouts,
            send_memory: self.send_memory() as u32,
            pacing_rate: self.pacing_rate(cx),
            max_pacing_rate: self.rare.pacer.as_ref().map_or(u64::MAX, |pacer| pacer.max),
            delivery_rate: self.delivery_rate().0,
            delivery_rate_app_limited: self.delivery_rate().1,
            busy: millis(chrono.network) + millis(chrono.peer) + millis(chrono.buffer),
            limited_by_peer: millis(chrono.peer),
            limited_by_buffer: millis(chrono.buffer),
        }
    }

    fn receive_tuning(&self) -> ReceiveTuning {
        let space = &self.rcv_space;
        let held = self.rcv_buf.bytes_held() as u32;
        ReceiveTuning {
            offered: self.rcv_wnd,
            threshold: space.ssthresh,
            space: space.space,
            rtt: Duration::from_micros(space.rtt_micros().into()),
            memory: space.memory.as_deref().map_or(held, |model| model.held()),
        }
    }

    fn segment_counts(&self) -> SegmentCounts {
        let unacked = self.packets_out;
        self.loss.as_deref().map_or(SegmentCounts { unacked, ..SegmentCounts::default() }, |board| {
            SegmentCounts {
                unacked,
                sacked: board.sacked_out,
                lost: board.lost_out,
                retransmitted: board.retrans_out,
            }
        })
    }

    fn next_timer(&self, cx: &Ctx) -> Option<(TimerKind, Duration)> {
        ALL.into_iter()
            .filter_map(|timer| self.timers.deadline(timer).map(|at| (timer, at)))
            .min_by_key(|(_, at)| *at)
            .map(|(timer, at)| {
                let kind = match timer {
                    Timer::Retransmit if self.rtx.is_empty() => TimerKind::Probe,
                    Timer::Retransmit => match self.pending {
                        Pending::Retransmission => TimerKind::Retransmit,
                        Pending::LossProbe => TimerKind::LossProbe,
                        Pending::Reordering => TimerKind::Reordering,
                    },
                    Timer::DelayedAck => TimerKind::DelayedAck,
                    Timer::KeepAlive if self.state() == State::FinWait2 && self.is_orphan() => {
                        TimerKind::FinWait2
                    }
                    Timer::KeepAlive => TimerKind::KeepAlive,
                    Timer::Patience if self.is_orphan() => TimerKind::Orphan,
                    Timer::Patience => TimerKind::CloseWaitWatchdog,
                };
                (kind, at - cx.now)
            })
    }
}

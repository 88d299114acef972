//! What can be asked of a connection (Linux `struct tcp_info`, `tcp_get_info`).

use super::congestion::CongestionControl as _;
use super::state::State;
use super::tcb::{Is, Recovery, Tcb};
use super::timers::{ALL, Timer};
use crate::ctx::Ctx;
use crate::event::{ConnectionId, Transition};
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
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes; `u32::MAX` = none yet.
    pub ssthresh: u32,
    /// Name of the congestion control.
    pub congestion: &'static str,
    /// In fast recovery, or after a timeout.
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
    /// The last transition.
    pub last_transition: Option<Transition>,
}

/// Which timer ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// Retransmission.
    Retransmit,
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

impl Tcb {
    pub(crate) fn info(&self, cx: &Ctx) -> TcpInfo {
        let left = self.is(Is::LEFT);
        let data_end = self.snd_seq(self.snd_buf.end());
        let unsent = if self.snd_nxt.before(data_end) { data_end.distance_from(self.snd_nxt) } else { 0 };
        TcpInfo {
            state: if left { State::Closed } else { self.state() },
            id: self.id,
            mss: self.mss,
            path_mtu: self.path_mtu,
            timestamps: self.is(Is::TIMESTAMPS),
            sack: self.is(Is::SACK),
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
            in_recovery: self.recovery != Recovery::Open,
            unacked: self.outstanding(),
            unsent,
            unread: self.rcv_buf.readable() as u32,
            out_of_order: (self.rcv_buf.bytes_held() - self.rcv_buf.readable()) as u32,
            send_window: self.snd_wnd,
            recv_window: self.receive_window(),
            bytes_acked: self.stats.bytes_acked,
            bytes_received: self.stats.bytes_received,
            segs_out: self.stats.segs_out,
            segs_in: self.stats.segs_in,
            retransmissions: self.stats.retransmissions,
            last_sent: cx.now - self.last_sent,
            last_received: cx.now - self.last_received,
            timer: self.next_timer(cx),
            fin: (self.is(Is::FIN_QUEUED), self.fin_sent()),
            last_transition: self.history.last(),
        }
    }

    fn next_timer(&self, cx: &Ctx) -> Option<(TimerKind, Duration)> {
        ALL.into_iter()
            .filter_map(|timer| self.timers.deadline(timer).map(|at| (timer, at)))
            .min_by_key(|(_, at)| *at)
            .map(|(timer, at)| {
                let kind = match timer {
                    Timer::Retransmit if self.rtx.is_empty() => TimerKind::Probe,
                    Timer::Retransmit => TimerKind::Retransmit,
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

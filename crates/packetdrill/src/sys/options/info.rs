//! TCP_INFO in Linux's layout (`struct tcp_info` of Linux 6.18: 280 bytes).

use super::super::Machine;
use crate::call::Fd;
use lastack_core::{FastOpenFailure, State, TcpInfo};

/// `sizeof(struct tcp_info)`.
const LEN: usize = 280;
/// `tcpi_options`.
const HAS_TIMESTAMPS: u8 = 1;
const HAS_SACK: u8 = 2;
const HAS_WSCALE: u8 = 4;
const HAS_ECN: u8 = 8;
const HAS_ECN_SEEN: u8 = 16;
const HAS_SYN_DATA: u8 = 32;
const IS_FAST_OPEN_CHILD: u8 = 128;
/// Linux's "no threshold yet" (`TCP_INFINITE_SSTHRESH`).
const NO_THRESHOLD: u32 = 0x7fff_ffff;

/// Numbers of Linux's states (`include/net/tcp_states.h`).
fn state_number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
        State::NewSynRecv => 12,
    }
}

/// A block of bytes that is written by offset.
struct Layout([u8; LEN]);

impl Layout {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn word(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_ne_bytes());
    }

    fn long(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_ne_bytes());
    }
}

fn micros(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn millis(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Machine {
    pub(super) fn tcp_info_bytes(&self, fd: Fd) -> Result<Vec<u8>, i32> {
        let handle = self.files.socket(fd)?.handle;
        let info = self.stack.tcp_info(handle).ok_or(libc::EBADF)?;
        let mut out = Layout([0; LEN]);
        first_bytes(&mut out, &info);
        if info.state == State::Listen {
            let (waiting, most) = self.stack.tcp_backlog(handle).unwrap_or_default();
            out.word(24, waiting as u32);
            out.word(28, most as u32);
        } else {
            in_flight(&mut out, &info);
        }
        timing(&mut out, &info);
        totals(&mut out, &info);
        Ok(out.0.to_vec())
    }
}

fn first_bytes(out: &mut Layout, info: &TcpInfo) {
    let mut options = 0;
    if info.timestamps {
        options |= HAS_TIMESTAMPS;
    }
    if info.sack {
        options |= HAS_SACK;
    }
    if info.ecn {
        options |= HAS_ECN;
    }
    if info.ecn_seen {
        options |= HAS_ECN_SEEN;
    }
    if info.fast_open_child {
        options |= IS_FAST_OPEN_CHILD;
    }
    if info.syn_data {
        options |= HAS_SYN_DATA;
    }
    let (theirs, ours) = info.window_scales.unwrap_or_default();
    if info.window_scales.is_some() {
        options |= HAS_WSCALE;
    }
    out.put(0, &[state_number(info.state), info.recovery_state, info.retransmits, info.probes]);
    let failure = match info.fast_open_failure {
        FastOpenFailure::None => 0,
        FastOpenFailure::CookieUnavailable => 1,
        FastOpenFailure::DataNotAcked => 2,
        FastOpenFailure::SynRetransmitted => 3,
    };
    let limited = u8::from(info.delivery_rate_app_limited);
    out.put(4, &[info.backoff, options, theirs & 0xf | ours << 4, failure << 1 | limited]);
}

fn in_flight(out: &mut Layout, info: &TcpInfo) {
    out.word(24, info.segments.unacked);
    out.word(28, info.segments.sacked);
    out.word(32, info.segments.lost);
    out.word(36, info.segments.retransmitted);
}

fn timing(out: &mut Layout, info: &TcpInfo) {
    out.word(8, micros(info.rto));
    out.word(12, micros(info.ack_timeout));
    out.word(16, info.segment_payload.into());
    out.word(20, info.peer_segment.into());
    out.word(44, millis(info.last_sent));
    out.word(52, millis(info.last_data_received));
    out.word(56, millis(info.last_received));
    out.word(60, info.path_mtu.into());
    out.word(64, info.receive.threshold);
    out.word(68, micros(info.srtt));
    out.word(72, micros(info.rttvar));
    let threshold = if info.ssthresh == u32::MAX { NO_THRESHOLD } else { info.ssthresh };
    out.word(76, threshold);
    out.word(80, info.cwnd);
    out.word(84, info.advertised_mss.into());
    out.word(88, info.reordering);
    out.word(92, micros(info.receive.rtt));
    out.word(96, info.receive.space);
    out.word(100, info.retransmissions);
    out.word(148, info.min_rtt.map_or(u32::MAX, micros));
}

fn totals(out: &mut Layout, info: &TcpInfo) {
    out.long(104, info.pacing_rate);
    out.long(112, info.max_pacing_rate);
    out.long(120, info.sequence_acked);
    // A FIN counts.
    out.long(128, info.bytes_received + u64::from(info.fin_received));
    out.word(136, info.segs_out);
    out.word(140, info.segs_in);
    out.word(144, info.unsent);
    out.word(152, info.data_segs_in);
    out.word(156, info.data_segs_out);
    out.long(160, info.delivery_rate);
    out.long(168, micros(info.busy).into());
    out.long(176, micros(info.limited_by_peer).into());
    out.long(184, micros(info.limited_by_buffer).into());
    out.word(192, info.delivered);
    out.word(196, info.delivered_ce);
    if let Some(ecn) = &info.accurate_ecn {
        out.word(248, ecn.received_ce);
        // Linux's order is ECT(1), ECT(0), marked.
        for (place, [e1, ce, e0]) in [(252, ecn.delivered), (264, ecn.received)] {
            out.word(place, e1);
            out.word(place + 4, e0);
            out.word(place + 8, ce);
        }
        out.word(276, u32::from(ecn.told_by_peer) << 17);
    }
    out.long(200, info.bytes_sent);
    out.long(208, info.bytes_retransmitted);
    out.word(216, info.dsack_dups);
    out.word(220, info.reordering_seen);
    out.word(224, info.out_of_order_packets);
    out.word(228, info.send_window);
    out.word(232, info.receive.offered);
    out.put(240, &info.timeouts.to_ne_bytes());
}

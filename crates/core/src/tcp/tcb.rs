//! The record of one connection (RFC 9293 3.3.1's TCB; Linux `struct tcp_sock`).

use super::congestion::Congestion;
use super::data_queue::Received;
use super::delivery::Delivery;
use super::ecn::Ecn;
use super::flags::Held;
use super::history::History;
use super::info::Chrono;
use super::marks::Marks;
use super::options::Options as SocketKnobs;
use super::rare::Rare;
use super::rcv_space::RcvSpace;
use super::rtt::RttEstimator;
use super::scoreboard::{Board, CaState, Sent};
use super::set_state::Current;
use super::state::State;
use super::timers::{Pending, Timers};
use crate::addr::Addr;
use crate::buffer::{RecvBuffer, SendBuffer};
use crate::error::Error;
use crate::event::{ConnectionId, Ready};
use crate::queue::Queue;
use crate::slab::Key;
use crate::time::Instant;
use alloc::boxed::Box;
use core::net::SocketAddr;
use lastack_wire::SeqNumber;

/// Addresses and ports of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) local: Addr,
    pub(crate) remote: Addr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Tuple {
    pub(crate) const UNBOUND: Self =
        Self { local: Addr::UNSPECIFIED_V4, remote: Addr::UNSPECIFIED_V4, local_port: 0, remote_port: 0 };

    pub(crate) fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip(), self.local_port)
    }

    pub(crate) fn remote_addr(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip(), self.remote_port)
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.remote.is_ipv6()
    }

    /// Length of the IP header that packets of this connection carry.
    pub(crate) fn ip_header_len(&self) -> u16 {
        if self.is_ipv6() { 40 } else { 20 }
    }
}

bitflags::bitflags! {
    /// What is true of a connection besides its state.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub(crate) struct Is: u32 {
        /// An application holds the handle. Without it the connection is an orphan (Linux `SOCK_DEAD` unset).
        const OWNED = 1 << 0;
        /// In the output queue.
        const QUEUED = 1 << 1;
        /// In the table of four-tuples.
        const INDEXED = 1 << 2;
        /// Nothing more will be read (Linux `RCV_SHUTDOWN`).
        const RCV_SHUT = 1 << 3;
        /// Nothing more will be written (Linux `SEND_SHUTDOWN`).
        const SND_SHUT = 1 << 4;
        /// The peer's FIN took effect (Linux `SOCK_DONE`): end of file wins over a later error.
        const DONE = 1 << 5;
        /// A FIN stands at the end of the send queue. Not the same as: it was sent.
        const FIN_QUEUED = 1 << 6;
        /// Timestamps are in use.
        const TIMESTAMPS = 1 << 7;
        /// The peer understands SACK.
        const SACK = 1 << 8;
        /// Windows are scaled.
        const SCALED = 1 << 9;
        /// A child of a listener that nobody has accepted yet.
        const UNACCEPTED = 1 << 10;
        /// Counted as an orphan.
        const ORPHAN = 1 << 11;
        /// An ACK is owed.
        const ACK_SCHEDULED = 1 << 12;
        /// It is owed now.
        const ACK_NOW = 1 << 13;
        /// Interactive: ACKs are delayed (Linux pingpong mode).
        const PINGPONG = 1 << 14;
        /// The last segment sent filled the congestion window.
        const CWND_LIMITED = 1 << 15;
        /// Bound to a local port.
        const BOUND = 1 << 16;
        /// An urgent byte is announced and not yet read or passed.
        const URGENT_PENDING = 1 << 17;
        /// The urgent byte has arrived and can be read.
        const URGENT_VALID = 1 << 18;
        /// The RTO of the SYN or SYN-ACK fired: it gives no round-trip time.
        const SYN_RETRANSMITTED = 1 << 19;
        /// The last write said that more follows (`MSG_MORE`).
        const MORE = 1 << 20;
        /// The writer met a full buffer; tell it when there is room. In SYN_SENT: it sleeps until the connection is open.
        const WANT_SPACE = 1 << 21;
        /// `set_state` has closed the record and the tables do not know yet.
        const LEFT = 1 << 22;
        /// In the list of sockets with news.
        const SIGNALLED = 1 << 23;
        /// Send what is there even if it is a small segment: the application uncorked, or the cork's time is over.
        const PUSH_PENDING = 1 << 24;
        /// A zero-window probe with data is due: the window may cut it short.
        const PROBING = 1 << 25;
        /// The urgent byte was read out of line; its place in the stream is still to be skipped.
        const URGENT_READ = 1 << 26;
        /// The peer's write seems to end here: a reader that has taken all of it lets the ACK go (Linux
        /// `ICSK_ACK_PUSHED`).
        const ACK_PUSHED = 1 << 27;
        /// Twice: even in interactive mode (Linux `ICSK_ACK_PUSHED2`).
        const ACK_PUSHED_TWICE = 1 << 28;
        /// The stack's memory ran out under its writer, who is told when there is some again.
        const STARVED = 1 << 29;
        /// New data left since the sender last had to stop.
        const SENT_NEW = 1 << 30;
        /// What the congestion window would let out is held back, so that a larger packet may leave (the segmentation
        /// model).
        const DEFERS = 1 << 31;
    }
}

/// The small record that takes over when the full one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Successor {
    /// TIME_WAIT or an ownerless FIN_WAIT_2.
    pub(crate) state: State,
    /// When it goes.
    pub(crate) ends: Instant,
}

/// Delayed ACKs (Linux `icsk_ack`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delack {
    /// Immediate ACKs left before delaying begins.
    pub(crate) quick: u8,
    /// Current delay in milliseconds.
    pub(crate) ato_ms: u16,
    /// Estimate of the peer's segment size.
    pub(crate) rcv_mss: u16,
    /// When the last data arrived.
    pub(crate) last_data: Instant,
}

/// Counts for `info()`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
    pub(crate) segs_out: u32,
    pub(crate) segs_in: u32,
    pub(crate) retransmissions: u32,
    pub(crate) bytes_retransmitted: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) data_segs_in: u32,
    pub(crate) data_segs_out: u32,
    pub(crate) delivered: u32,
    pub(crate) out_of_order: u32,
    pub(crate) timeouts: u16,
    /// Our SYN was acknowledged; not for connections that a listener made.
    pub(crate) syn_acked: bool,
    pub(crate) chrono: Chrono,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Tcb {
    pub(crate) key: Key,
    pub(crate) id: ConnectionId,
    pub(crate) tuple: Tuple,
    pub(crate) current: Current,
    pub(crate) is: Held,
    pub(crate) ca_state: CaState,
    pub(crate) ecn: Ecn,

    // Send sequence space.
    pub(crate) iss: SeqNumber,
    pub(crate) snd_una: SeqNumber,
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) snd_wnd: u32,
    pub(crate) snd_wl1: SeqNumber,
    /// End of the last segment smaller than the MSS (Minshall's Nagle).
    pub(crate) snd_sml: SeqNumber,
    pub(crate) max_window: u32,
    pub(crate) snd_buf: SendBuffer,
    /// Ends of writes in the part that was not sent yet.
    pub(crate) marks: Marks,
    pub(crate) rtx: Queue<Sent>,
    /// Segments in it.
    pub(crate) packets_out: u32,
    /// What loss recovery knows; made when it is first needed.
    pub(crate) loss: Option<Box<Board>>,
    /// Round trip of the segment delivered last, in microseconds (RACK.rtt).
    pub(crate) rack_rtt: u32,
    /// Most segments in flight until `cwnd_usage_end` is acknowledged (Linux `max_packets_out`).
    pub(crate) max_packets_out: u32,
    pub(crate) cwnd_usage_end: SeqNumber,
    /// Most segments in flight since `cwnd_used_at`, while the window was not the limit (RFC 2861).
    pub(crate) cwnd_used: u32,
    /// When the window last was the limit, or was adjusted to its use; milliseconds.
    pub(crate) cwnd_used_at: u32,
    pub(crate) congestion: Congestion,
    /// How fast the path delivers.
    pub(crate) delivery: Delivery,
    pub(crate) rtt: RttEstimator,
    /// End of what was sent when recovery began.
    pub(crate) recover: SeqNumber,
    pub(crate) snd_wscale: u8,
    pub(crate) rcv_wscale: u8,
    /// Largest segment payload, options not counted: the smaller of the peer's MSS and the path's.
    pub(crate) mss: u16,
    /// What the peer's MSS option allowed.
    pub(crate) peer_mss: u16,
    pub(crate) path_mtu: u16,

    // Receive sequence space.
    pub(crate) irs: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) rcv_wup: SeqNumber,
    pub(crate) rcv_wnd: u32,
    pub(crate) rcv_buf: RecvBuffer,
    pub(crate) rcv_space: RcvSpace,
    /// Number of a FIN that arrived out of order.
    pub(crate) fin_at: Option<SeqNumber>,
    /// A read has met the end of file: the peer's FIN does not wait in the queue any more.
    pub(crate) eof_read: bool,
    /// What is out of order or came twice.
    pub(crate) received: Option<Box<Received>>,
    pub(crate) urg_seq: SeqNumber,
    pub(crate) urg_byte: u8,

    // Timestamps.
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
    pub(crate) ts_recent_at: Instant,

    // Acknowledging.
    pub(crate) delack: Delack,

    // Timers.
    pub(crate) timers: Timers,
    /// What the retransmission timer waits for.
    pub(crate) pending: Pending,
    pub(crate) retransmits: u8,
    pub(crate) backoff: u8,
    pub(crate) probes_out: u8,
    /// When this episode of loss first sent something again; before the handshake is through, when our SYN first left.
    pub(crate) retrans_stamp: Option<Instant>,
    /// When the probing of a zero window began.
    pub(crate) probes_since: Option<Instant>,
    pub(crate) last_received: Instant,
    pub(crate) last_sent: Instant,
    /// When the last rate-limited ACK went out (`last_oow_ack_time`).
    pub(crate) last_oow_ack: Option<Instant>,

    // The application's side.
    pub(crate) knobs: SocketKnobs,
    pub(crate) error: Option<Error>,
    pub(crate) soft_error: Option<Error>,
    pub(crate) history: History,
    pub(crate) stats: Stats,
    /// What few connections need.
    pub(crate) rare: Rare,
    /// Slot of the listener that a child waits at.
    pub(crate) parent: Option<Key>,
    pub(crate) successor: Option<Successor>,
    /// Flags signalled and not yet polled as an event.
    pub(crate) news: Ready,
}

impl Tcb {
    pub(crate) fn state(&self) -> State {
        self.current.get()
    }

    pub(crate) fn is(&self, flags: Is) -> bool {
        self.is.contains(flags)
    }

    /// End of everything queued, the FIN included (Linux `write_seq`).
    pub(crate) fn write_seq(&self) -> SeqNumber {
        self.snd_seq(self.snd_buf.end()) + u32::from(self.is(Is::FIN_QUEUED))
    }

    /// Sequence number of the byte at `offset` of the send stream.
    pub(crate) fn snd_seq(&self, offset: u64) -> SeqNumber {
        self.iss + 1 + offset as u32
    }

    /// Offset in the send stream of `seq`, which lies at or after the oldest byte kept.
    pub(crate) fn snd_offset(&self, seq: SeqNumber) -> u64 {
        let start = self.snd_buf.start();
        start + u64::from(seq.distance_from(self.snd_seq(start)))
    }

    /// Offset in the receive stream of `seq`, taken as within 2^31 of RCV.NXT; `None` before the first byte.
    pub(crate) fn rcv_offset(&self, seq: SeqNumber) -> Option<u64> {
        let data_nxt = self.rcv_nxt - u32::from(self.is(Is::DONE));
        self.rcv_buf.contiguous_end().checked_add_signed(i64::from(seq - data_nxt))
    }

    /// Sequence number of the byte at `offset` of the receive stream.
    pub(crate) fn rcv_seq(&self, offset: u64) -> SeqNumber {
        self.irs + 1 + offset as u32
    }

    /// Our FIN is acknowledged: SND.UNA has passed the FIN's own number.
    pub(crate) fn fin_acked(&self) -> bool {
        self.is(Is::FIN_QUEUED) && self.snd_una == self.write_seq()
    }

    /// The FIN was put on the wire at least once.
    pub(crate) fn fin_sent(&self) -> bool {
        self.is(Is::FIN_QUEUED) && self.snd_nxt == self.write_seq()
    }

    /// Numbers sent and not acknowledged.
    pub(crate) fn outstanding(&self) -> u32 {
        self.snd_nxt.distance_from(self.snd_una)
    }

    /// Something is queued that was never sent (Linux `tcp_send_head`).
    pub(crate) fn has_unsent(&self) -> bool {
        self.snd_nxt.before(self.write_seq())
    }

    /// Right edge of the peer's window (Linux `tcp_wnd_end`).
    pub(crate) fn window_end(&self) -> SeqNumber {
        self.snd_una + self.snd_wnd
    }

    /// What is left of the window we offered (Linux `tcp_receive_window`).
    pub(crate) fn receive_window(&self) -> u32 {
        let left = (self.rcv_wup + self.rcv_wnd) - self.rcv_nxt;
        left.max(0) as u32
    }

    /// Both directions are shut, or there is no connection: nobody can read or write any more.
    pub(crate) fn is_shut_both(&self) -> bool {
        self.is(Is::RCV_SHUT | Is::SND_SHUT)
    }

    /// The owner is gone (Linux `SOCK_DEAD`).
    pub(crate) fn is_orphan(&self) -> bool {
        !self.is(Is::OWNED) && !self.is(Is::UNACCEPTED)
    }

    /// Milliseconds of this connection's timestamp clock (RFC 7323 5.4, keyed offset per 7.1).
    pub(crate) fn ts_now(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }
}

//! Every knob of a stack: its default, its range, and the RFC or Linux sysctl that it answers to.

use crate::ip::Cidr;
use crate::tcp::congestion::{Algorithm, Congestion, HyStart};
use crate::tcp::fast_open::FastOpenKeys;
use crate::tcp::options::{SEND_BUFFER_LIMIT, SEND_BUFFER_MIN};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

/// How a [`Stack`](crate::Stack) behaves. [`Config::default`] is Linux's behaviour with Linux's default values.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the stack's one interface, each with the length of its prefix. Packets for other addresses are
    /// dropped (strong host model, RFC 1122 3.3.4.2) unless [`Config::any_address`] is set.
    pub addresses: Vec<Cidr>,
    /// Routes beside the prefixes of [`Config::addresses`]. A destination without a route gives
    /// [`Error::NetworkUnreachable`](crate::Error::NetworkUnreachable).
    pub routes: Vec<Route>,
    /// Accept packets for every unicast address, as a gateway does (Linux's AnyIP: a `local 0.0.0.0/0` route).
    pub any_address: bool,
    /// Answer ICMP echo requests to the stack's own addresses. Default true.
    pub answer_echo: bool,
    /// Largest memory of all socket buffers together in bytes (`tcp_mem[2]`). Default 1 GiB.
    pub memory_limit: usize,
    /// ICMP errors sent per second at the most (`icmp_msgs_per_sec`). Default 1000; 0 sends none.
    pub icmp_per_second: u32,
    /// Burst of ICMP errors (`icmp_msgs_burst`). Default 50.
    pub icmp_burst: u32,
    /// Memory of all incomplete datagrams (`ipfrag_high_thresh`). Default 4 MiB.
    pub reassembly_limit: usize,
    /// How long fragments wait for their datagram (`ipfrag_time`). Default 30 s; IPv6 uses twice that (RFC 8200 4.5).
    pub reassembly_timeout: Duration,
    /// Destinations whose path MTU is remembered. Default 1024.
    pub path_mtu_entries: usize,
    /// How long a learned path MTU is believed (RFC 8201 5.3, `mtu_expires`). Default 10 min.
    pub path_mtu_timeout: Duration,
    /// Emit a [`TransitionEvent`](crate::TransitionEvent) for each change of state. Default false.
    pub trace_transitions: bool,
    /// Transitions kept until they are polled; more are counted and dropped. Default 65,536.
    pub trace_limit: usize,
    /// Replies without a connection (resets, ICMP, ACKs of TIME_WAIT) that may wait for the device; more are
    /// counted and dropped. Default 4096.
    pub reply_queue_limit: usize,
    /// First and last ephemeral port (`ip_local_port_range`). Default 32768..=60999.
    pub ephemeral_ports: (u16, u16),
    /// Largest IPv4 packet in bytes, where it is less than the device's. Default `None`.
    pub ipv4_mtu: Option<u16>,
    /// TCP.
    pub tcp: TcpConfig,
    /// Bytes that a UDP socket may hold unread (`rmem_default`). Default 256 KiB.
    pub udp_recv_buffer: usize,
    /// Bytes that a UDP socket may hold unsent. Default 256 KiB.
    pub udp_send_buffer: usize,
    /// Short paths that are not taken, for tests.
    #[cfg(feature = "general-paths")]
    pub declined: crate::ShortPaths,
}

/// A route: where a destination lies. The interface is point-to-point, so there is no next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix.
    pub to: Cidr,
    /// Source address for packets that leave by it; `None` picks the first address of the family.
    pub source: Option<IpAddr>,
}

/// What a side of a handshake asks for, or grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EcnKind {
    /// No ECN.
    #[default]
    Off,
    /// RFC 3168: a round trip with marks is one sign of congestion.
    Classic,
    /// RFC 9768: each mark is counted. With a peer that does not have it, as [`EcnKind::Classic`].
    Accurate,
}

/// ECN of new connections (`tcp_ecn`; [`EcnPolicy::from_sysctl`] has its numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcnPolicy {
    /// Granted to a peer that connects, at the most.
    pub accept: EcnKind,
    /// Asked for when connecting.
    pub connect: EcnKind,
}

/// When the option of Accurate ECN is sent (`tcp_ecn_option`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EcnOption {
    /// Never (0).
    Never,
    /// After a change, and [`TcpConfig::ecn_option_beacon`] times a round trip (1).
    Sparing,
    /// Whenever there is room (2).
    #[default]
    Always,
}

impl EcnPolicy {
    /// Neither granted nor asked for.
    pub const OFF: Self = Self { accept: EcnKind::Off, connect: EcnKind::Off };

    /// What a value of Linux's `tcp_ecn` stands for: 0 to 5 (6.18 has the last three, but lets nobody set them); `None` for
    /// another.
    #[must_use]
    pub const fn from_sysctl(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::OFF,
            1 => Self { accept: EcnKind::Classic, connect: EcnKind::Classic },
            2 => Self { accept: EcnKind::Classic, connect: EcnKind::Off },
            3 => Self { accept: EcnKind::Accurate, connect: EcnKind::Accurate },
            4 => Self { accept: EcnKind::Accurate, connect: EcnKind::Classic },
            5 => Self { accept: EcnKind::Accurate, connect: EcnKind::Off },
            _ => return None,
        })
    }
}

impl Default for EcnPolicy {
    /// `tcp_ecn` = 2, as on Linux.
    fn default() -> Self {
        Self { accept: EcnKind::Classic, connect: EcnKind::Off }
    }
}

/// When the path's MTU is searched for with larger segments (`tcp_mtu_probing`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MtuProbing {
    /// Never (0).
    #[default]
    Off,
    /// Once timeouts have repeated, as over a path that swallows large packets without a word (1).
    AfterBlackHole,
    /// From the start (2).
    Always,
}

/// TCP's knobs. Names after Linux's sysctls where one exists.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Lower bound of the RTO (`tcp_rto_min_us`; RFC 6298 2.4 says 1 s). Default 200 ms.
    pub rto_min: Duration,
    /// Upper bound of the RTO (`tcp_rto_max_ms`; RFC 6298 2.5). Default 120 s.
    pub rto_max: Duration,
    /// RTO before the first sample (RFC 6298 2.1). Default 1 s.
    pub rto_initial: Duration,
    /// Repeats of a SYN with back-off, and of the SYN-ACK of crossed SYNs (`tcp_syn_retries`); a SYN is given up at the first
    /// expiry past the time of so many doublings at the latest. Default 6.
    pub syn_retries: u8,
    /// Repeats of a SYN before back-off begins (`tcp_syn_linear_timeouts`). Default 4.
    pub syn_linear_timeouts: u8,
    /// Repeats of a listener's SYN-ACK (`tcp_synack_retries`). Default 5.
    pub synack_retries: u8,
    /// R1 (`tcp_retries1`): past the model time of this many doublings the path's MTU is doubted, if
    /// [`TcpConfig::mtu_probing`] allows it. Default 3 (3 s).
    pub retries1: u8,
    /// R2 (`tcp_retries2`): gives up at the first RTO past the model time of this many doublings. Default 15 (924.6 s).
    pub retries2: u8,
    /// The same once nobody owns the connection (`tcp_orphan_retries`); 0 is read as 8 (102.2 s). Default 0.
    pub orphan_retries: u8,
    /// How long a connection lives that nobody owns, even if its peer goes on to acknowledge; then it is reset. `None` as
    /// on Linux: as long as it makes progress. Set it where the bound must hold against a peer that takes a byte now and
    /// then: with [`TcpConfig::time_wait_restarts`] set too, nothing of a connection is left later than this + FIN_WAIT_2
    /// ([`TcpConfig::fin_timeout`], or the socket's `TCP_LINGER2`) + [`TcpConfig::time_wait`] × (1 + restarts) after its
    /// application has let go, whatever the peer sends. Default `None`.
    pub orphan_lifetime: Option<Duration>,
    /// How long the application may hold a connection in CLOSE_WAIT without sending anything before
    /// [`Ready::OVERDUE`](crate::Ready) says so, once. It changes nothing on the wire. `None`: never. Default 60 s.
    pub close_wait_watchdog: Option<Duration>,
    /// Connections without an owner (`tcp_max_orphans`); beyond it they are reset. Default 65,536.
    pub max_orphans: usize,
    /// FIN_WAIT_2 without an owner (`tcp_fin_timeout`). Default 60 s.
    pub fin_timeout: Duration,
    /// Length of TIME_WAIT (RFC 9293 3.4.2 says 2 MSL = 240 s; Linux 60 s). Default 60 s.
    pub time_wait: Duration,
    /// TIME_WAIT records and ownerless FIN_WAIT_2 records together (`tcp_max_tw_buckets`); beyond it a connection
    /// goes straight to CLOSED and is counted. Default 131,072.
    pub max_time_wait: usize,
    /// How often a segment may restart TIME_WAIT; `None` as on Linux: without limit.
    pub time_wait_restarts: Option<u16>,
    /// Ignore a RST in TIME_WAIT (`tcp_rfc1337`, RFC 1337 F1). Default false, as Linux.
    pub rfc1337: bool,
    /// Outgoing connections may take a port over from TIME_WAIT once its timestamps are this old (`tcp_tw_reuse`=1
    /// with `tcp_tw_reuse_delay`); `None` = never. Default 1 s.
    pub time_wait_reuse_delay: Option<Duration>,
    /// Without cookies, half-open connections of one listener at the most, but for a last quarter (`tcp_max_syn_backlog`);
    /// with them it bounds only those that wait for the application's decision. The backlog and one more bound all of them.
    /// Default 4096.
    pub max_syn_backlog: usize,
    /// Largest backlog of a listener (`somaxconn`). Default 4096.
    pub somaxconn: usize,
    /// Send SYN cookies when the SYN queue of a listener is full (`tcp_syncookies`, RFC 4987 3.6). Default true.
    pub syn_cookies: bool,
    /// Listeners may take text with the SYN (`tcp_fastopen` bit 0x2, RFC 7413), those that ask for it with
    /// [`TcpOption::FastOpen`](crate::TcpOption::FastOpen). Text that is sent twice is then delivered twice in rare cases.
    /// Default false.
    pub fast_open_server: bool,
    /// Connections may be opened with text on the SYN (bit 0x1), those of
    /// [`Stack::tcp_connect_with`](crate::Stack::tcp_connect_with) and [`TcpOption::FastOpenConnect`](crate::TcpOption). The
    /// server may see the text twice in rare cases: for requests that may be repeated. Default true.
    pub fast_open_client: bool,
    /// They send it without a cookie (bit 0x4): for closed networks only. Default false.
    pub fast_open_client_without_cookie: bool,
    /// How long connections are opened in the ordinary way after Fast Open seems to have been swallowed by a middlebox, the
    /// first time; each further time in a row doubles it, up to 64 times (`tcp_fastopen_blackhole_timeout_sec`, RFC 7413
    /// 4.1.3.1). Zero: that is not looked for. Default zero.
    pub fast_open_pause: Duration,
    /// Servers whose cookie is remembered. Default 1024.
    pub fast_open_peers: usize,
    /// They take it without a cookie (bit 0x200): for closed networks only. Default false.
    pub fast_open_without_cookie: bool,
    /// Every listener takes it, with its backlog as the limit (bit 0x400). Default false.
    pub fast_open_listeners: bool,
    /// Keys of the cookies (`tcp_fastopen_key`); `None` is one that the stack makes from its seed. Default `None`.
    pub fast_open_keys: Option<FastOpenKeys>,
    /// Reset instead of dropping the last ACK when the accept queue is full (`tcp_abort_on_overflow`). Default false.
    pub abort_on_overflow: bool,
    /// How long a request waits for a deferring listener's decision at the most; less when the peer's SYNs cease: it has
    /// given up. Default 130 s.
    pub defer_timeout: Duration,
    /// Offer and use timestamps (`tcp_timestamps`, RFC 7323). Default true.
    pub timestamps: bool,
    /// Offer and use window scaling (`tcp_window_scaling`, RFC 7323). Default true.
    pub window_scaling: bool,
    /// Offer SACK and send SACK blocks (`tcp_sack`, RFC 2018). Default true.
    pub sack: bool,
    /// Explicit congestion notification with peers that ask for it, and whether to ask oneself (`tcp_ecn`, RFC 3168). Default:
    /// answered, not asked for.
    pub ecn: EcnPolicy,
    /// A SYN that is sent again does not ask for ECN any more (`tcp_ecn_fallback`, RFC 3168 6.1.1.1). Default true.
    pub ecn_fallback: bool,
    /// When a connection with Accurate ECN sends its byte counters (`tcp_ecn_option`, RFC 9768 3.2.3). Default always.
    pub ecn_option: EcnOption,
    /// Times per round trip that it does without a reason, with [`EcnOption::Sparing`] (`tcp_ecn_option_beacon`). Default 3.
    pub ecn_option_beacon: u8,
    /// Least time between two challenge or duplicate ACKs of one connection (`tcp_invalid_ratelimit`). Default 500 ms.
    pub invalid_ratelimit: Duration,
    /// Smallest segment size that a peer can make us use (`tcp_min_snd_mss`). Default 48.
    pub min_snd_mss: u16,
    /// Smallest path MTU believed from an ICMP message over IPv4 (`min_pmtu`). Default 552.
    pub min_pmtu: u16,
    /// Whether larger segments are tried (`tcp_mtu_probing`, RFC 4821). Default off, as Linux.
    pub mtu_probing: MtuProbing,
    /// Segment size with which the search begins (`tcp_base_mss`). Default 1024.
    pub base_mss: u16,
    /// Smallest segment size that a black hole is answered with (`tcp_mtu_probe_floor`). Default 48.
    pub mtu_probe_floor: u16,
    /// The search ends when what is left of its range is smaller, in bytes (`tcp_probe_threshold`). Default 8.
    pub mtu_probe_threshold: u16,
    /// Then it begins anew after this time (`tcp_probe_interval`). Default 10 min.
    pub mtu_probe_interval: Duration,
    /// Out-of-order ranges kept per connection. Default 1024.
    pub max_out_of_order_ranges: usize,
    /// Receive buffer at first, in bytes, all of which is offered as window; it grows with the rate at which the application
    /// reads (`tcp_rmem[1]`, of which Linux offers half). Default 65,536.
    pub recv_buffer_initial: usize,
    /// Receive buffer at the most (`tcp_rmem[2]`), 4 KiB..=512 MiB. Default 6 MiB.
    pub recv_buffer_max: usize,
    /// Let receive buffers grow with the rate at which the application reads (`tcp_moderate_rcvbuf`). Default true.
    pub moderate_recv_buffer: bool,
    /// Take back what was offered of the window when the buffer fills, if the window is scaled (`tcp_shrink_window`; RFC 9293
    /// 3.8.6 advises against it). Default false.
    pub shrink_window: bool,
    /// Count receive buffers as Linux does, in memory of whole packets, of which the window is a part that follows the
    /// size of segments; the value is the largest `SO_RCVBUF` before it is doubled (`net.core.rmem_max`). For conformance
    /// tests, in which windows are compared. Default `None`: buffers are payload.
    pub receive_memory_model: Option<u32>,
    /// Send buffer at first, in bytes; from the end of the handshake on it grows with the congestion window, of which it holds four (six
    /// with BBR), about what fits on Linux, unless `SO_SNDBUF` sets it (`tcp_wmem[1]`, where Linux counts memory of whole
    /// packets). Default 65,536.
    pub send_buffer_initial: usize,
    /// Send buffer at the most (`tcp_wmem[2]`), 4 KiB..=512 MiB. Default 4 MiB.
    pub send_buffer_max: usize,
    /// Congestion control of new connections (`tcp_congestion_control`): `cubic`, `reno`, `bbr`, `bbr3`, `dctcp`, or one of
    /// [`TcpConfig::congestion_controls`]; an unknown name stands for `cubic`. Default `cubic`.
    pub congestion: String,
    /// Algorithms of your own, which sockets choose by name beside the built-in ones. Default none.
    pub congestion_controls: Vec<Algorithm>,
    /// How CUBIC finds the end of slow start without a loss (Linux: a parameter of its module, `hystart`). Default
    /// [`HyStart::Classic`], as Linux.
    pub hystart: HyStart,
    /// Pacing rate in slow start, in percent of a window in a round trip (`tcp_pacing_ss_ratio`). Default 200.
    pub pacing_ss_ratio: u32,
    /// The same after slow start (`tcp_pacing_ca_ratio`). Default 120.
    pub pacing_ca_ratio: u32,
    /// Segments of the initial window (RFC 6928). Default 10.
    pub initial_window: u32,
    /// Begin with the initial window again after an idle RTO (`tcp_slow_start_after_idle`, RFC 5681 4.1). Default true.
    pub slow_start_after_idle: bool,
    /// Probe the tail of what is in flight before the retransmission timer fires (RFC 8985 7; `tcp_early_retrans` 3, 0 =
    /// off). Default on.
    pub tail_loss_probes: bool,
    /// Find out whether a retransmission timeout was spurious (RFC 5682; `tcp_frto`). Default on.
    pub frto: bool,
    /// Write and send as Linux does over a device without segmentation offload, where `Some` is `tcp_min_tso_segs`: PSH
    /// on the last segment of each packet that Linux would have had split, a send buffer that counts its own records
    /// and is filled by whole packets. It shows in nothing but these; for conformance tests. Default `None`.
    pub segmentation_model: Option<u32>,
    /// Shortest delay of an ACK (`TCP_DELACK_MIN`, `TCP_ATO_MIN`). Default 40 ms; RFC 9293 allows up to 500 ms.
    pub delayed_ack: Duration,
    /// Idle time before the first keep-alive probe (`tcp_keepalive_time`). Default 7200 s.
    pub keepalive_time: Duration,
    /// Time between keep-alive probes (`tcp_keepalive_intvl`). Default 75 s.
    pub keepalive_intvl: Duration,
    /// Unanswered keep-alive probes before the connection is reset (`tcp_keepalive_probes`). Default 9.
    pub keepalive_probes: u8,
    /// Default time to live / hop limit (`ip_default_ttl`). Default 64.
    pub ttl: u8,
    /// A fault on purpose, for tests.
    #[cfg(feature = "deliberate-bugs")]
    pub deliberate_bug: Option<crate::DeliberateBug>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            routes: Vec::new(),
            any_address: false,
            answer_echo: true,
            memory_limit: 1 << 30,
            icmp_per_second: 1000,
            icmp_burst: 50,
            reassembly_limit: 4 << 20,
            reassembly_timeout: Duration::from_secs(30),
            path_mtu_entries: 1024,
            path_mtu_timeout: Duration::from_secs(600),
            trace_transitions: false,
            trace_limit: 65_536,
            reply_queue_limit: 4096,
            ephemeral_ports: (32_768, 60_999),
            ipv4_mtu: None,
            tcp: TcpConfig::default(),
            udp_recv_buffer: 256 << 10,
            udp_send_buffer: 256 << 10,
            #[cfg(feature = "general-paths")]
            declined: crate::ShortPaths::empty(),
        }
    }
}

impl TcpConfig {
    /// Names of the congestion controls that a socket can choose (`tcp_available_congestion_control`): the built-in ones,
    /// then [`TcpConfig::congestion_controls`].
    #[must_use]
    pub fn available_congestion_controls(&self) -> Vec<&'static str> {
        Congestion::names(self).collect()
    }

    /// The largest send buffer that a connection may have, in bytes.
    pub(crate) fn send_buffer_limit(&self) -> u32 {
        self.send_buffer_max.clamp(SEND_BUFFER_MIN, SEND_BUFFER_LIMIT) as u32
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            rto_initial: Duration::from_secs(1),
            syn_retries: 6,
            syn_linear_timeouts: 4,
            synack_retries: 5,
            retries1: 3,
            retries2: 15,
            orphan_retries: 0,
            orphan_lifetime: None,
            close_wait_watchdog: Some(Duration::from_secs(60)),
            max_orphans: 65_536,
            fin_timeout: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            max_time_wait: 131_072,
            time_wait_restarts: None,
            rfc1337: false,
            time_wait_reuse_delay: Some(Duration::from_secs(1)),
            max_syn_backlog: 4096,
            somaxconn: 4096,
            syn_cookies: true,
            fast_open_server: false,
            fast_open_client: true,
            fast_open_client_without_cookie: false,
            fast_open_pause: Duration::ZERO,
            fast_open_peers: 1024,
            fast_open_without_cookie: false,
            fast_open_listeners: false,
            fast_open_keys: None,
            abort_on_overflow: false,
            defer_timeout: Duration::from_secs(130),
            timestamps: true,
            window_scaling: true,
            sack: true,
            ecn: EcnPolicy::default(),
            ecn_fallback: true,
            ecn_option: EcnOption::default(),
            ecn_option_beacon: 3,
            invalid_ratelimit: Duration::from_millis(500),
            min_snd_mss: 48,
            min_pmtu: 552,
            mtu_probing: MtuProbing::Off,
            base_mss: 1024,
            mtu_probe_floor: 48,
            mtu_probe_threshold: 8,
            mtu_probe_interval: Duration::from_secs(600),
            max_out_of_order_ranges: 1024,
            recv_buffer_initial: 65_536,
            recv_buffer_max: 6 << 20,
            moderate_recv_buffer: true,
            shrink_window: false,
            receive_memory_model: None,
            send_buffer_initial: 65_536,
            send_buffer_max: 4 << 20,
            congestion: String::from("cubic"),
            congestion_controls: Vec::new(),
            hystart: HyStart::Classic,
            pacing_ss_ratio: 200,
            pacing_ca_ratio: 120,
            initial_window: 10,
            slow_start_after_idle: true,
            tail_loss_probes: true,
            frto: true,
            segmentation_model: None,
            delayed_ack: Duration::from_millis(40),
            keepalive_time: Duration::from_secs(7200),
            keepalive_intvl: Duration::from_secs(75),
            keepalive_probes: 9,
            ttl: 64,
            #[cfg(feature = "deliberate-bugs")]
            deliberate_bug: None,
        }
    }
}

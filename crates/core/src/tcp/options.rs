//! Options of a TCP socket, and what the application sees of them.

use super::fast_open::FastOpenKeys;
use crate::config::TcpConfig;
use crate::error::Error;
use alloc::string::String;
use core::time::Duration;

/// An option to set on a TCP socket. A listener's options are inherited by the connections it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption {
    /// `TCP_NODELAY`: send small segments at once (RFC 9293 MUST-17). Default off: Nagle's rule.
    NoDelay(bool),
    /// `TCP_CORK`: send full segments only, for at most 200 ms. Default off.
    Cork(bool),
    /// `TCP_QUICKACK`: on ends the interactive mode, in which ACKs wait for data to ride on, until that begins anew, and
    /// sends an ACK that waits if all was read; off begins it.
    QuickAck(bool),
    /// `SO_KEEPALIVE` (RFC 9293 3.8.4). Default off.
    KeepAlive(bool),
    /// `TCP_KEEPIDLE`: 1 s..=32,767 s.
    KeepIdle(Duration),
    /// `TCP_KEEPINTVL`: 1 s..=32,767 s.
    KeepInterval(Duration),
    /// `TCP_KEEPCNT`: 1..=127.
    KeepCount(u8),
    /// `TCP_USER_TIMEOUT` (RFC 5482, local side): zero = off. Rounded to milliseconds.
    UserTimeout(Duration),
    /// `SO_LINGER`: `Some(zero)` makes close an abort. A longer time changes nothing here: close never waits in the
    /// core; front ends offer `close_linger`.
    Linger(Option<Duration>),
    /// `TCP_LINGER2`: life of an ownerless FIN_WAIT_2, at most 120 s. `None` = none at all; zero = `fin_timeout`.
    Linger2(Option<Duration>),
    /// `SO_SNDBUF`: bytes, clamped to 4 KiB..=`send_buffer_max`; switches tuning off.
    SendBuffer(usize),
    /// `SO_RCVBUF`: bytes offered as window, clamped to 2 KiB..=`recv_buffer_max`; switches tuning off. With
    /// `receive_memory_model` it is memory.
    RecvBuffer(usize),
    /// `IP_TTL` / `IPV6_UNICAST_HOPS`: 1..=255.
    Ttl(u8),
    /// `IP_TOS` / `IPV6_TCLASS`: the Diffserv field; the ECN bits are masked.
    Tos(u8),
    /// `TCP_CONGESTION`: the name of a congestion control, see [`TcpConfig::congestion`](crate::TcpConfig::congestion). It may
    /// change while the connection lives: window and threshold stay.
    Congestion(String),
    /// `SO_MAX_PACING_RATE`: bytes per second at the most; what is sent is paced from then on. `u64::MAX` = no limit, the
    /// default.
    MaxPacingRate(u64),
    /// `SO_REUSEADDR`.
    ReuseAddr(bool),
    /// `SO_REUSEPORT`.
    ReusePort(bool),
    /// `TCP_MAXSEG`: 48..=65,495, or 0 for none; only before connecting.
    MaxSeg(u16),
    /// `SO_OOBINLINE`: leave urgent bytes in the stream. Default off, as Linux.
    OobInline(bool),
    /// `TCP_SYNCNT`: repeats of a SYN, 1..=127.
    SynRetries(u8),
    /// A listener for every port of its address (and with the unspecified address for every address): for gateways.
    AnyPort(bool),
    /// A listener decides on each request before the SYN-ACK.
    Defer(bool),
    /// `IPV6_V6ONLY`: a listener on `[::]` takes no IPv4. Default off.
    V6Only(bool),
    /// `TCP_NOTSENT_LOWAT`: a write takes bytes while fewer than this wait to be sent for the first time, and the socket
    /// is ready for writing while fewer than half as many do.
    /// 0 = without limit.
    NotsentLowat(u32),
    /// `TCP_WINDOW_CLAMP`: largest window offered, in bytes. 0 = no limit but the buffer; on an open connection 1,152 at
    /// the least, and it follows the buffer while that grows.
    WindowClamp(u32),
    /// `TCP_DEFER_ACCEPT`: a listener hands a connection out when its first bytes have come, or after this many
    /// repeats of the SYN-ACK. 0 = off.
    DeferAccept(u8),
    /// `IP_RECVERR`, `IPV6_RECVERR`: an ICMP error about an open connection is told at once. Default off.
    RecvErr(bool),
    /// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`: believe ICMP's "too big" (Linux's WANT and DO). Default on.
    PathMtuDiscovery(bool),
    /// `TCP_FASTOPEN`: a listener takes text with the SYN (RFC 7413), of so many connections at the most whose handshake is
    /// not over; clamped to `somaxconn`. 0 = off. It needs [`TcpConfig::fast_open_server`](crate::TcpConfig).
    FastOpen(u32),
    /// `TCP_FASTOPEN_CONNECT`: where there is a cookie for the server, `connect` sends nothing, and the first write sends the
    /// SYN with its bytes on it; where there is none, `connect` asks for one. As with every attempt to connect, close and
    /// shutdown end it while the SYN is unanswered, with what was written. Only before connecting; it needs
    /// [`TcpConfig::fast_open_client`](crate::TcpConfig). Default off.
    FastOpenConnect(bool),
    /// `TCP_FASTOPEN_NO_COOKIE`: a listener takes text without a cookie, a socket that connects sends it without one. Default
    /// off.
    FastOpenWithoutCookie(bool),
    /// `TCP_FASTOPEN_KEY`: the keys of this listener's cookies.
    FastOpenKeys(FastOpenKeys),
}

/// Values of a socket's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// See [`TcpOption::NoDelay`].
    pub nodelay: bool,
    /// See [`TcpOption::Cork`].
    pub cork: bool,
    /// See [`TcpOption::KeepAlive`].
    pub keepalive: bool,
    /// See [`TcpOption::KeepIdle`].
    pub keep_idle: Duration,
    /// See [`TcpOption::KeepInterval`].
    pub keep_interval: Duration,
    /// See [`TcpOption::KeepCount`].
    pub keep_count: u8,
    /// See [`TcpOption::UserTimeout`].
    pub user_timeout: Duration,
    /// See [`TcpOption::Linger`].
    pub linger: Option<Duration>,
    /// See [`TcpOption::Linger2`].
    pub linger2: Option<Duration>,
    /// See [`TcpOption::SendBuffer`].
    pub send_buffer: usize,
    /// See [`TcpOption::RecvBuffer`]; the present value while tuning is on.
    pub recv_buffer: usize,
    /// See [`TcpOption::Ttl`].
    pub ttl: u8,
    /// See [`TcpOption::Tos`].
    pub tos: u8,
    /// See [`TcpOption::ReuseAddr`].
    pub reuse_addr: bool,
    /// See [`TcpOption::ReusePort`].
    pub reuse_port: bool,
    /// See [`TcpOption::MaxSeg`]; 0 = not set.
    pub max_seg: u16,
    /// See [`TcpOption::OobInline`].
    pub oob_inline: bool,
    /// See [`TcpOption::SynRetries`].
    pub syn_retries: u8,
    /// See [`TcpOption::AnyPort`].
    pub any_port: bool,
    /// See [`TcpOption::Defer`].
    pub defer: bool,
    /// See [`TcpOption::V6Only`].
    pub v6_only: bool,
    /// See [`TcpOption::NotsentLowat`].
    pub notsent_lowat: u32,
    /// See [`TcpOption::WindowClamp`]; of an open connection, what bounds its window now.
    pub window_clamp: u32,
    /// See [`TcpOption::DeferAccept`].
    pub defer_accept: u8,
    /// See [`TcpOption::RecvErr`].
    pub recv_err: bool,
    /// See [`TcpOption::PathMtuDiscovery`].
    pub path_mtu_discovery: bool,
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub(crate) struct Knob: u16 {
        const NODELAY = 1;
        const CORK = 2;
        const KEEPALIVE = 4;
        const LINGER = 8;
        const NO_FIN_WAIT2 = 16;
        const REUSE_ADDR = 32;
        const REUSE_PORT = 64;
        const OOB_INLINE = 128;
        const ANY_PORT = 256;
        const DEFER = 512;
        const FIXED_RCVBUF = 1024;
        const V6_ONLY = 2048;
        const RECV_ERR = 4096;
        const IGNORE_TOO_BIG = 8192;
        /// `TcpConfig::segmentation_model`.
        const SEGMENTATION_MODEL = 16384;
        const FIXED_SNDBUF = 32768;
    }
}

/// The compact form in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Options {
    pub(crate) on: Knob,
    pub(crate) keep_count: u8,
    pub(crate) syn_retries: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) max_seg: u16,
    pub(crate) keep_idle_s: u16,
    pub(crate) keep_interval_s: u16,
    pub(crate) user_timeout_ms: u32,
    pub(crate) linger_ms: u32,
    pub(crate) linger2_ms: u32,
    pub(crate) send_buffer: u32,
    /// The receive buffer, which tuning enlarges.
    pub(crate) recv_buffer: u32,
    pub(crate) notsent_lowat: u32,
    pub(crate) window_clamp: u32,
    pub(crate) defer_accept: u8,
}

/// Largest `TCP_LINGER2` (Linux `TCP_FIN_TIMEOUT_MAX`).
const LINGER2_MAX: Duration = Duration::from_secs(120);
const KEEP_MAX_S: u64 = 32_767;
const RECV_BUFFER_MIN: usize = 2048;
pub(crate) const SEND_BUFFER_MIN: usize = 4096;
/// The most that [`TcpConfig::send_buffer_max`] can be.
pub(crate) const SEND_BUFFER_LIMIT: usize = 512 << 20;

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

fn keep_seconds(d: Duration) -> Result<u16, Error> {
    match d.as_secs() {
        s @ 1..=KEEP_MAX_S => Ok(s as u16),
        _ => Err(Error::InvalidInput),
    }
}

impl Options {
    pub(crate) fn new(cfg: &TcpConfig) -> Self {
        Self {
            on: if cfg.segmentation_model.is_some() { Knob::SEGMENTATION_MODEL } else { Knob::empty() },
            keep_count: cfg.keepalive_probes,
            syn_retries: cfg.syn_retries,
            ttl: cfg.ttl,
            tos: 0,
            max_seg: 0,
            keep_idle_s: cfg.keepalive_time.as_secs().clamp(1, KEEP_MAX_S) as u16,
            keep_interval_s: cfg.keepalive_intvl.as_secs().clamp(1, KEEP_MAX_S) as u16,
            user_timeout_ms: 0,
            linger_ms: 0,
            linger2_ms: 0,
            send_buffer: cfg.send_buffer_initial.clamp(1, cfg.send_buffer_limit() as usize) as u32,
            recv_buffer: cfg.recv_buffer_initial.min(cfg.recv_buffer_max).clamp(1, 512 << 20) as u32,
            notsent_lowat: 0,
            window_clamp: 0,
            defer_accept: 0,
        }
    }

    pub(crate) fn has(&self, knob: Knob) -> bool {
        self.on.contains(knob)
    }

    /// Sets what needs nothing but a value. `Congestion`, `MaxPacingRate` and `QuickAck` act on the connection and are not for here.
    pub(crate) fn set(&mut self, cfg: &TcpConfig, option: &TcpOption) -> Result<(), Error> {
        match *option {
            TcpOption::NoDelay(on) => self.on.set(Knob::NODELAY, on),
            TcpOption::Cork(on) => self.on.set(Knob::CORK, on),
            TcpOption::KeepAlive(on) => self.on.set(Knob::KEEPALIVE, on),
            TcpOption::KeepIdle(d) => self.keep_idle_s = keep_seconds(d)?,
            TcpOption::KeepInterval(d) => self.keep_interval_s = keep_seconds(d)?,
            TcpOption::KeepCount(n @ 1..=127) => self.keep_count = n,
            TcpOption::UserTimeout(d) => self.user_timeout_ms = millis(d),
            TcpOption::Linger(linger) => {
                self.on.set(Knob::LINGER, linger.is_some());
                self.linger_ms = linger.map_or(0, millis);
            }
            TcpOption::Linger2(time) => {
                self.on.set(Knob::NO_FIN_WAIT2, time.is_none());
                self.linger2_ms = time.map_or(0, |d| millis(d.min(LINGER2_MAX)));
            }
            TcpOption::SendBuffer(n) => {
                self.send_buffer = n.clamp(SEND_BUFFER_MIN, cfg.send_buffer_limit() as usize) as u32;
                self.on.insert(Knob::FIXED_SNDBUF);
            }
            TcpOption::RecvBuffer(n) => {
                let most = if cfg.receive_memory_model.is_some() { 1 << 30 } else { cfg.recv_buffer_max };
                self.recv_buffer = n.clamp(RECV_BUFFER_MIN, most.max(RECV_BUFFER_MIN)) as u32;
                self.on.insert(Knob::FIXED_RCVBUF);
            }
            TcpOption::Ttl(n @ 1..) => self.ttl = n,
            TcpOption::Tos(n) => self.tos = n & !3,
            TcpOption::ReuseAddr(on) => self.on.set(Knob::REUSE_ADDR, on),
            TcpOption::ReusePort(on) => self.on.set(Knob::REUSE_PORT, on),
            TcpOption::MaxSeg(n @ (0 | 48..=65_495)) => self.max_seg = n,
            TcpOption::OobInline(on) => self.on.set(Knob::OOB_INLINE, on),
            TcpOption::SynRetries(n @ 1..=127) => self.syn_retries = n,
            TcpOption::AnyPort(on) => self.on.set(Knob::ANY_PORT, on),
            TcpOption::Defer(on) => self.on.set(Knob::DEFER, on),
            TcpOption::V6Only(on) => self.on.set(Knob::V6_ONLY, on),
            TcpOption::NotsentLowat(n) => self.notsent_lowat = n,
            TcpOption::WindowClamp(n) => self.window_clamp = n,
            TcpOption::DeferAccept(n) => self.defer_accept = n,
            TcpOption::RecvErr(on) => self.on.set(Knob::RECV_ERR, on),
            TcpOption::PathMtuDiscovery(on) => self.on.set(Knob::IGNORE_TOO_BIG, !on),
            _ => return Err(Error::InvalidInput),
        }
        Ok(())
    }

    pub(crate) fn to_public(self) -> SocketOptions {
        let on = |knob| self.on.contains(knob);
        SocketOptions {
            nodelay: on(Knob::NODELAY),
            cork: on(Knob::CORK),
            keepalive: on(Knob::KEEPALIVE),
            keep_idle: Duration::from_secs(self.keep_idle_s.into()),
            keep_interval: Duration::from_secs(self.keep_interval_s.into()),
            keep_count: self.keep_count,
            user_timeout: Duration::from_millis(self.user_timeout_ms.into()),
            linger: on(Knob::LINGER).then(|| Duration::from_millis(self.linger_ms.into())),
            linger2: (!on(Knob::NO_FIN_WAIT2)).then(|| Duration::from_millis(self.linger2_ms.into())),
            send_buffer: self.send_buffer as usize,
            recv_buffer: self.recv_buffer as usize,
            ttl: self.ttl,
            tos: self.tos,
            reuse_addr: on(Knob::REUSE_ADDR),
            reuse_port: on(Knob::REUSE_PORT),
            max_seg: self.max_seg,
            oob_inline: on(Knob::OOB_INLINE),
            syn_retries: self.syn_retries,
            any_port: on(Knob::ANY_PORT),
            defer: on(Knob::DEFER),
            v6_only: on(Knob::V6_ONLY),
            notsent_lowat: self.notsent_lowat,
            window_clamp: self.window_clamp,
            defer_accept: self.defer_accept,
            recv_err: on(Knob::RECV_ERR),
            path_mtu_discovery: !on(Knob::IGNORE_TOO_BIG),
        }
    }
}

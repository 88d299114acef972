//! ICMP: errors that come in about our packets, errors that go out about others', and echo.

use super::output::Head;
use super::random::Stream;
use super::route::{self, Own};
use super::{Env, Ip, Received};
use crate::config::Config;
use crate::error::Error;
use crate::time::Instant;
use alloc::vec;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use lastack_wire::ip::protocol;
use lastack_wire::{Error as WireError, Quoted, SeqNumber, icmp, icmpv6, ipv4, ipv6};

/// Precedence "internetwork control" for ICMP errors over IPv4 (RFC 1812 section 4.3.2.5), as Linux.
const TOS_INTERNETWORK_CONTROL: u8 = 0xc0;
/// Parts of a token of the rate limiter: so many that none is lost between two packets at one token per second.
const TOKEN: u64 = 1 << 32;

/// What a refused peer is told to be out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpUnreach {
    /// The network: IPv4 code 0, IPv6 code 0 (no route).
    Network,
    /// The host: IPv4 code 1, IPv6 code 3 (address unreachable).
    Host,
    /// The port: IPv4 code 3, IPv6 code 4.
    Port,
    /// A filter forbids it: IPv4 code 13, IPv6 code 1.
    Prohibited,
}

/// What an ICMP error says has happened to one of our packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IcmpErrorKind {
    NetUnreachable,
    HostUnreachable,
    HostUnknown,
    HostIsolated,
    ProtocolUnreachable,
    PortUnreachable,
    /// IPv4; `None` from routers that do not say the MTU of the next hop.
    FragNeeded {
        mtu: Option<u16>,
    },
    SourceRouteFailed,
    Prohibited,
    TimeExceeded,
    ParameterProblem,
    /// IPv6.
    PacketTooBig {
        mtu: u32,
    },
}

/// An ICMP error that quotes a packet from one of our addresses and came to that address. Whether such a packet was
/// ever sent is for its protocol to find out (RFC 5927).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    pub(crate) kind: IcmpErrorKind,
    /// Linux reports it to a connected socket at once, not only with `IP_RECVERR`.
    pub(crate) hard: bool,
    /// Who says so.
    pub(crate) reporter: IpAddr,
    pub(crate) protocol: u8,
    /// Source of the quoted packet. Port 0 unless TCP or UDP.
    pub(crate) local: SocketAddr,
    /// Destination of the quoted packet. Port 0 unless TCP or UDP.
    pub(crate) remote: SocketAddr,
    /// Sequence number of the quoted segment, if it is TCP.
    pub(crate) seq: Option<SeqNumber>,
    /// Length of the quoted packet as its header states it.
    pub(crate) total_len: u32,
}

impl IcmpError {
    /// The error that Linux stores in a socket for it.
    pub(crate) fn error(&self) -> Error {
        match self.kind {
            IcmpErrorKind::NetUnreachable => Error::NetworkUnreachable,
            // Linux has EHOSTUNREACH for a filter over IPv4 and EACCES over IPv6.
            IcmpErrorKind::Prohibited if self.remote.is_ipv6() => Error::Prohibited,
            IcmpErrorKind::HostUnreachable | IcmpErrorKind::Prohibited | IcmpErrorKind::TimeExceeded => {
                Error::HostUnreachable
            }
            IcmpErrorKind::HostUnknown => Error::HostDown,
            IcmpErrorKind::HostIsolated => Error::HostIsolated,
            IcmpErrorKind::SourceRouteFailed => Error::SourceRouteFailed,
            IcmpErrorKind::ProtocolUnreachable => Error::ProtocolUnreachable,
            IcmpErrorKind::PortUnreachable => Error::ConnectionRefused,
            IcmpErrorKind::FragNeeded { .. } | IcmpErrorKind::PacketTooBig { .. } => Error::MessageTooLong,
            IcmpErrorKind::ParameterProblem => Error::Protocol,
        }
    }

    /// Whether it ends a half-open request of a listener: Linux has these for IPv4 (`tcp_v4_err`) and the opposite, the
    /// hard ones, for IPv6 (`tcp_v6_err`).
    pub(crate) fn ends_requests(&self) -> bool {
        if self.remote.is_ipv6() {
            return self.hard && !matches!(self.kind, IcmpErrorKind::PacketTooBig { .. });
        }
        match self.kind {
            IcmpErrorKind::NetUnreachable | IcmpErrorKind::HostUnreachable => !self.hard,
            IcmpErrorKind::TimeExceeded | IcmpErrorKind::ParameterProblem => true,
            _ => false,
        }
    }
}

/// What an outgoing error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Unreachable(IcmpUnreach),
    /// Nobody speaks the protocol that the byte at `pointer` names.
    UnknownProtocol {
        pointer: u32,
    },
    ReassemblyTimeout,
    /// IPv6 only.
    ParameterProblem {
        code: u8,
        pointer: u32,
    },
}

/// Token bucket for outgoing errors.
///
/// Both what an error costs and how full the bucket gets are drawn at random, so that the number of errors somebody
/// gets does not tell how many others got (SAD DNS, CVE-2020-25705).
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    per_second: u64,
    burst: u64,
    level: u64,
    filled: Instant,
    random: Stream,
}

impl Limiter {
    pub(super) fn new(cfg: &Config, random: Stream) -> Self {
        let burst = u64::from(cfg.icmp_burst.max(1)) * TOKEN;
        let per_second = u64::from(cfg.icmp_per_second) * TOKEN;
        Self { per_second, burst, level: burst, filled: Instant::ZERO, random }
    }

    /// Whether one more may be sent now.
    fn allow(&mut self, now: Instant) -> bool {
        if self.per_second == 0 {
            return false;
        }
        self.level = self.level_at(now);
        if self.level == self.burst {
            self.level -= self.random.below((self.burst - TOKEN) / 2);
        }
        self.filled = self.filled.max(now);
        if self.level < TOKEN {
            return false;
        }
        self.level = self.level.saturating_sub(TOKEN + self.random.below(TOKEN));
        true
    }

    fn level_at(&self, now: Instant) -> u64 {
        let nanos = u128::from((now.as_nanos()).saturating_sub(self.filled.as_nanos()));
        let gained = nanos * u128::from(self.per_second) / 1_000_000_000;
        self.level.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)).min(self.burst)
    }

    pub(super) fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        self.level_at(now).hash(h);
    }
}

impl Ip {
    /// Tells the sender of `packet` (a whole IP packet, or the start of one) that it could not be delivered, unless no
    /// error may be sent about it, or too many were sent already.
    pub(crate) fn unreachable(
        &mut self,
        now: Instant,
        cfg: &Config,
        counters: &mut super::IpCounters,
        kind: IcmpUnreach,
        packet: &[u8],
        replies: &mut super::Replies,
    ) {
        let mut env = Env { now, cfg, counters, replies };
        self.report(&mut env, Report::Unreachable(kind), packet);
    }

    pub(super) fn report(&mut self, env: &mut Env<'_>, what: Report, packet: &[u8]) {
        let Some((src, dst)) = may_report(&self.own, what, packet) else { return };
        if !self.limiter.allow(env.now) {
            env.counters.icmp_out_rate_limit += 1;
            return;
        }
        let from = reporter(&self.own, env.cfg, what, dst);
        let mut message = vec![0; icmpv6::HEADER_LEN + icmpv6::MAX_QUOTE];
        let written = match (from, src) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.write_v4(what, packet, &mut message),
            (IpAddr::V6(from), IpAddr::V6(to)) => self.write_v6(what, packet, from, to, &mut message),
            _ => return,
        };
        let Ok(len) = written else { return };
        message.truncate(len);
        let (protocol, tos) = match src {
            IpAddr::V4(_) => (protocol::ICMP, TOS_INTERNETWORK_CONTROL),
            IpAddr::V6(_) => (protocol::ICMPV6, 0),
        };
        let counter = match what {
            Report::UnknownProtocol { .. } if src.is_ipv6() => &mut env.counters.icmp_out_parm_probs,
            Report::ParameterProblem { .. } => &mut env.counters.icmp_out_parm_probs,
            Report::Unreachable(_) | Report::UnknownProtocol { .. } => {
                &mut env.counters.icmp_out_dest_unreachs
            }
            Report::ReassemblyTimeout => &mut env.counters.icmp_out_time_excds,
        };
        *counter += 1;
        env.counters.icmp_out_msgs += 1;
        let head = Head { src: from, dst: src, protocol, ttl: self.ttl, tos };
        self.send_reply(env, &head, &message);
    }

    /// The start of `packet` that an error repeats: as much as fits into `most` bytes and into the device's MTU.
    fn quote<'p>(&self, packet: &'p [u8], most: usize, headers: usize) -> &'p [u8] {
        let most = most.min(usize::from(self.caps.mtu).saturating_sub(headers));
        packet.get(..most).unwrap_or(packet)
    }

    fn write_v4(&self, what: Report, packet: &[u8], buf: &mut [u8]) -> Result<usize, WireError> {
        let quoted = self.quote(packet, icmp::MAX_QUOTE, ipv4::HEADER_LEN + icmp::HEADER_LEN);
        let unreachable = |code| icmp::Message::DestinationUnreachable { code, next_hop_mtu: 0, quoted };
        match what {
            Report::Unreachable(kind) => unreachable(match kind {
                IcmpUnreach::Network => icmp::Unreachable::Network,
                IcmpUnreach::Host => icmp::Unreachable::Host,
                IcmpUnreach::Port => icmp::Unreachable::Port,
                IcmpUnreach::Prohibited => icmp::Unreachable::Filtered,
            }),
            Report::UnknownProtocol { .. } => unreachable(icmp::Unreachable::Protocol),
            Report::ReassemblyTimeout => icmp::Message::TimeExceeded { code: 1, quoted },
            Report::ParameterProblem { code, pointer } => icmp::Message::ParameterProblem {
                code,
                pointer: u8::try_from(pointer).unwrap_or(u8::MAX),
                quoted,
            },
        }
        .emit(buf)
    }

    fn write_v6(
        &self,
        what: Report,
        packet: &[u8],
        from: Ipv6Addr,
        to: Ipv6Addr,
        buf: &mut [u8],
    ) -> Result<usize, WireError> {
        let quoted = self.quote(packet, icmpv6::MAX_QUOTE, ipv6::HEADER_LEN + icmpv6::HEADER_LEN);
        match what {
            Report::Unreachable(kind) => icmpv6::Message::DestinationUnreachable {
                code: match kind {
                    IcmpUnreach::Network => icmpv6::Unreachable::NoRoute,
                    IcmpUnreach::Host => icmpv6::Unreachable::Address,
                    IcmpUnreach::Port => icmpv6::Unreachable::Port,
                    IcmpUnreach::Prohibited => icmpv6::Unreachable::Prohibited,
                },
                quoted,
            },
            Report::UnknownProtocol { pointer } => {
                icmpv6::Message::ParameterProblem { code: 1, pointer, quoted }
            }
            Report::ReassemblyTimeout => icmpv6::Message::TimeExceeded { code: 1, quoted },
            Report::ParameterProblem { code, pointer } => {
                icmpv6::Message::ParameterProblem { code, pointer, quoted }
            }
        }
        .emit(from, to, buf)
    }

    /// An ICMP message over IPv4 with destination `dst`.
    pub(super) fn icmp_v4(
        &mut self,
        env: &mut Env<'_>,
        head: &Head,
        own: bool,
        bytes: &[u8],
    ) -> Received<'static> {
        use icmp::{Message, Unreachable as U};
        env.counters.icmp_in_msgs += 1;
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => return bad_message(env, error),
        };
        let counters = &mut *env.counters;
        let (kind, hard) = match message {
            Message::EchoRequest { ident, seq, data } => {
                counters.icmp_in_echos += 1;
                if echo_allowed(env, own) {
                    let mut reply = vec![0; bytes.len()];
                    let message = Message::EchoReply { ident, seq, data };
                    if message.emit(&mut reply).is_ok() {
                        self.send_echo(env, head, &reply);
                    }
                }
                return Received::Consumed;
            }
            Message::EchoReply { .. } => {
                counters.icmp_in_echo_reps += 1;
                return Received::Consumed;
            }
            Message::Ignored { kind, .. } => {
                counters.icmp_in_src_quenchs += u64::from(kind == 4);
                counters.icmp_in_redirects += u64::from(kind == 5);
                return Received::Consumed;
            }
            Message::DestinationUnreachable { code: U::FragmentationNeeded, next_hop_mtu, .. } => {
                counters.icmp_in_pkt_too_bigs += 1;
                (IcmpErrorKind::FragNeeded { mtu: Some(next_hop_mtu).filter(|mtu| *mtu != 0) }, true)
            }
            Message::DestinationUnreachable { code, .. } => {
                counters.icmp_in_dest_unreachs += 1;
                match unreachable_v4(code) {
                    Some(meaning) => meaning,
                    None => return not_ours(env),
                }
            }
            Message::TimeExceeded { .. } => {
                counters.icmp_in_time_excds += 1;
                (IcmpErrorKind::TimeExceeded, false)
            }
            Message::ParameterProblem { .. } => {
                counters.icmp_in_parm_probs += 1;
                (IcmpErrorKind::ParameterProblem, true)
            }
        };
        validated(env, head, kind, hard, Quoted::parse_v4(message.data()))
    }

    /// An ICMPv6 message.
    pub(super) fn icmp_v6(
        &mut self,
        env: &mut Env<'_>,
        head: &Head,
        own: bool,
        bytes: &[u8],
    ) -> Received<'static> {
        use icmpv6::Message;
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (head.src, head.dst) else { return Received::Consumed };
        env.counters.icmp_in_msgs += 1;
        let message = match Message::parse(src, dst, bytes) {
            Ok(message) => message,
            Err(error) => return bad_message(env, error),
        };
        let counters = &mut *env.counters;
        let (kind, hard) = match message {
            Message::EchoRequest { ident, seq, data } => {
                counters.icmp_in_echos += 1;
                if echo_allowed(env, own) {
                    let mut reply = vec![0; bytes.len()];
                    let message = Message::EchoReply { ident, seq, data };
                    if message.emit(dst, src, &mut reply).is_ok() {
                        self.send_echo(env, head, &reply);
                    }
                }
                return Received::Consumed;
            }
            Message::EchoReply { .. } => {
                counters.icmp_in_echo_reps += 1;
                return Received::Consumed;
            }
            Message::Ignored { kind, .. } => {
                counters.icmp_in_redirects += u64::from(kind == 137);
                return Received::Consumed;
            }
            Message::DestinationUnreachable { code, .. } => {
                counters.icmp_in_dest_unreachs += 1;
                unreachable_v6(code)
            }
            Message::PacketTooBig { mtu, .. } => {
                counters.icmp_in_pkt_too_bigs += 1;
                (IcmpErrorKind::PacketTooBig { mtu }, true)
            }
            Message::TimeExceeded { .. } => {
                counters.icmp_in_time_excds += 1;
                (IcmpErrorKind::TimeExceeded, false)
            }
            Message::ParameterProblem { .. } => {
                counters.icmp_in_parm_probs += 1;
                (IcmpErrorKind::ParameterProblem, true)
            }
        };
        validated(env, head, kind, hard, Quoted::parse_v6(message.data()))
    }

    /// Sends an echo reply back; it is as long as the request, so nothing is amplified.
    fn send_echo(&mut self, env: &mut Env<'_>, request: &Head, reply: &[u8]) {
        env.counters.icmp_out_msgs += 1;
        env.counters.icmp_out_echo_reps += 1;
        let head = Head { src: request.dst, dst: request.src, ttl: self.ttl, ..*request };
        self.send_reply(env, &head, reply);
    }
}

fn echo_allowed(env: &mut Env<'_>, own: bool) -> bool {
    let allowed = own && env.cfg.answer_echo;
    env.counters.icmp_echos_ignored += u64::from(!allowed);
    allowed
}

fn bad_message(env: &mut Env<'_>, error: WireError) -> Received<'static> {
    env.counters.icmp_in_csum_errors += u64::from(error == WireError::BadChecksum);
    not_ours(env)
}

fn not_ours(env: &mut Env<'_>) -> Received<'static> {
    env.counters.icmp_in_errors += 1;
    Received::Consumed
}

/// Meaning of an IPv4 code, and whether Linux counts it as fatal.
fn unreachable_v4(code: icmp::Unreachable) -> Option<(IcmpErrorKind, bool)> {
    use icmp::Unreachable as U;
    Some(match code {
        U::Network | U::NetworkTos => (IcmpErrorKind::NetUnreachable, false),
        U::NetworkUnknown | U::NetworkProhibited => (IcmpErrorKind::NetUnreachable, true),
        U::HostIsolated => (IcmpErrorKind::HostIsolated, true),
        U::HostUnknown => (IcmpErrorKind::HostUnknown, true),
        U::Host | U::HostTos => (IcmpErrorKind::HostUnreachable, false),
        U::PrecedenceViolation | U::PrecedenceCutoff => (IcmpErrorKind::HostUnreachable, true),
        U::Protocol => (IcmpErrorKind::ProtocolUnreachable, true),
        U::Port => (IcmpErrorKind::PortUnreachable, true),
        U::SourceRoute => (IcmpErrorKind::SourceRouteFailed, false),
        U::HostProhibited | U::Filtered => (IcmpErrorKind::Prohibited, true),
        U::FragmentationNeeded | U::Other(_) => return None,
    })
}

/// Meaning of an IPv6 code, and whether Linux counts it as fatal.
fn unreachable_v6(code: icmpv6::Unreachable) -> (IcmpErrorKind, bool) {
    use icmpv6::Unreachable as U;
    match code {
        U::NoRoute => (IcmpErrorKind::NetUnreachable, false),
        U::Prohibited | U::Policy | U::RejectRoute => (IcmpErrorKind::Prohibited, true),
        U::BeyondScope | U::Address => (IcmpErrorKind::HostUnreachable, false),
        U::Port => (IcmpErrorKind::PortUnreachable, true),
        U::Other(_) => (IcmpErrorKind::HostUnreachable, true),
    }
}

/// The error, if it quotes a packet that left from the address to which the error came.
fn validated(
    env: &mut Env<'_>,
    head: &Head,
    kind: IcmpErrorKind,
    hard: bool,
    quoted: Result<Quoted, WireError>,
) -> Received<'static> {
    match quoted {
        Ok(q) if q.src == head.dst => Received::IcmpError(IcmpError {
            kind,
            hard,
            reporter: head.src,
            protocol: q.protocol,
            local: SocketAddr::new(q.src, q.src_port),
            remote: SocketAddr::new(q.dst, q.dst_port),
            seq: q.tcp_seq,
            total_len: q.total_len,
        }),
        _ => not_ours(env),
    }
}

/// Source and destination of `packet` if an error may be sent about it (RFC 1122 3.2.2, RFC 4443 2.4 e): both
/// are unicast, it is not a later fragment (but for a complaint about an IPv6 fragment as such), and it is no ICMP
/// error itself.
fn may_report(own: &Own, what: Report, packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (src, dst, is_error) = match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<{ ipv4::HEADER_LEN }>()?;
            if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
                return None;
            }
            let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
            let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
            let upper = packet.get(usize::from(header[0] & 15) * 4..)?;
            // Queries; everything else is an error or unknown, which is treated as one (as Linux does).
            let query = |kind: &u8| matches!(kind, 0 | 8 | 9 | 10 | 13..=18);
            (src.into(), dst.into(), header[9] == protocol::ICMP && !upper.first().is_some_and(query))
        }
        6 => {
            let (header, rest) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
            let src: [u8; 16] = header.get(8..24)?.try_into().ok()?;
            let dst: [u8; 16] = header.get(24..40)?.try_into().ok()?;
            // If the walk fails, the error is about the extension headers themselves and no message was reached.
            let is_error = match ipv6::ExtHeaders::walk(header[6], rest) {
                Ok(ext) if ext.fragment.is_some_and(|f| f.offset != 0) => {
                    // What kind of ICMP message it is a part of is in another packet.
                    !matches!(what, Report::ParameterProblem { .. }) || ext.protocol == protocol::ICMPV6
                }
                Ok(ext) => {
                    let query = |kind: &u8| *kind >= 128 && *kind != 137;
                    ext.protocol == protocol::ICMPV6 && !ext.payload.first().is_some_and(query)
                }
                Err(_) => false,
            };
            (Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into(), is_error)
        }
        _ => return None,
    };
    let unicast = matches!(route::destination(own, dst), route::Destination::Own | route::Destination::Any);
    (!is_error && unicast && route::source_is_valid(own, src)).then_some((src, dst))
}

/// Where an error comes from: the address that was asked, but for what lies beyond it, an own one if there is one.
fn reporter(own: &Own, cfg: &Config, what: Report, dst: IpAddr) -> IpAddr {
    match what {
        Report::Unreachable(IcmpUnreach::Network | IcmpUnreach::Host | IcmpUnreach::Prohibited)
            if route::destination(own, dst) == route::Destination::Any =>
        {
            route::first_of_family(cfg, dst).unwrap_or(dst)
        }
        _ => dst,
    }
}

#[cfg(test)]
mod tests;

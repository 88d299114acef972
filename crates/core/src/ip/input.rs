//! From a packet of the device to a datagram for an upper layer.

use super::icmp::{IcmpError, Report};
use super::output::Head;
use super::reassembly::{Fragment, Outcome, Shape};
use super::route::{self, Destination, Own};
use super::{Env, Ip, IpCounters, Replies};
use crate::addr::Addr;
use crate::config::Config;
use crate::time::Instant;
use alloc::borrow::Cow;
use core::net::IpAddr;
use core::ops::Deref;
use lastack_wire::ip::protocol;
use lastack_wire::ipv6::{ExtError, ExtHeaders};
use lastack_wire::{ChecksumState, Error as WireError, Gso, PacketMeta, ipv4, ipv6};

/// IPv4 options that let a sender choose the route (RFC 791).
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// What became of a packet.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// For TCP (then unicast) or UDP.
    Upper(Datagram<'a>),
    /// For the protocol that it names.
    IcmpError(IcmpError),
    /// Answered, dropped and counted, or waiting for more fragments.
    Consumed,
}

/// A whole datagram for TCP or UDP. The addresses are checked, the transport header is not.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub(crate) protocol: u8,
    /// `dst` is a unicast address: a configured one, or any with `any_address`.
    pub(crate) unicast: bool,
    /// `dst` is one of the configured addresses.
    pub(crate) own: bool,
    /// The device vouches for the transport checksum.
    pub(crate) checksum_trusted: bool,
    /// The ECN bits of the IP header.
    pub(crate) ecn: u8,
    /// What follows the IP headers.
    pub(crate) payload: Payload<'a>,
}

/// A TCP segment between two unicast addresses, with the packet that it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    /// The segment.
    pub(crate) payload: &'a [u8],
    /// The whole packet, to be quoted in an ICMP error.
    pub(crate) packet: &'a [u8],
    /// The device vouches for the checksum of the segment.
    pub(crate) checksum_trusted: bool,
    /// The ECN bits of the IP header.
    pub(crate) ecn: u8,
}

impl Datagram<'_> {
    /// The whole packet, to be quoted in an ICMP error.
    pub(crate) fn packet(&self) -> &[u8] {
        &self.payload.packet
    }

    /// It came in one packet that no router may cut.
    pub(crate) fn dont_fragment(&self) -> bool {
        match &self.payload.packet {
            Cow::Borrowed(packet) => {
                self.dst.is_ipv6() || ipv4::Packet::parse(packet).is_ok_and(|header| header.df())
            }
            // Put together from fragments.
            Cow::Owned(_) => false,
        }
    }

    pub(crate) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            src: self.src.into(),
            dst: self.dst.into(),
            payload: &self.payload,
            packet: self.packet(),
            checksum_trusted: self.checksum_trusted,
            ecn: self.ecn,
        }
    }
}

/// The payload of a datagram, in the packet that it came in or in one that was put together.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    packet: Cow<'a, [u8]>,
    start: usize,
    end: usize,
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.packet.get(self.start..self.end).unwrap_or(&[])
    }
}

/// A packet on its way up: its payload starts at `start`; `named_at` is the byte that names its protocol.
struct Upward<'a> {
    head: Head,
    to: Destination,
    checksum_trusted: bool,
    named_at: usize,
    payload: Payload<'a>,
}

impl Ip {
    /// The usual case, cheaply: a whole TCP segment without IP options or extension headers that passes all checks.
    /// `None`: [`Ip::receive`] looks at it.
    #[inline]
    pub(crate) fn receive_plain<'a>(
        &mut self,
        counters: &mut IpCounters,
        meta: &PacketMeta,
        packet: &'a [u8],
    ) -> Option<Arrival<'a>> {
        let (src, dst, (ttl, ecn), start, end): (Addr, Addr, (_, u8), _, _) = match packet.first()? >> 4 {
            4 => {
                let header = ipv4::Packet::parse(packet).ok()?;
                let plain = header.header_len() == ipv4::HEADER_LEN && !header.is_fragment();
                if !plain || header.protocol() != protocol::TCP {
                    return None;
                }
                let (src, dst) = (header.src().into(), header.dst().into());
                (src, dst, (header.ttl(), header.ecn()), ipv4::HEADER_LEN, header.total_len())
            }
            _ => {
                let header = ipv6::Packet::parse(packet).ok()?;
                if header.next_header() != protocol::TCP {
                    return None;
                }
                let (src, dst) = (Addr::from(header.src()), Addr::from(header.dst()));
                // One that maps an IPv4 address would be taken for that.
                if src.is_ipv4() || dst.is_ipv4() {
                    return None;
                }
                (src, dst, (header.hop_limit(), header.ecn()), ipv6::HEADER_LEN, header.total_len())
            }
        };
        if ttl == 0 {
            return None;
        }
        if self.known != Some((src, dst)) {
            let unicast =
                matches!(route::destination(&self.own, dst.ip()), Destination::Own | Destination::Any);
            if !unicast || !route::source_is_valid(&self.own, src.ip()) {
                return None;
            }
            self.known = Some((src, dst));
        }
        let payload = packet.get(start..end)?;
        counters.in_receives += 1;
        counters.in_delivers += 1;
        counters.count_ecn(ecn, || packets_in(meta, packet));
        Some(Arrival { src, dst, payload, packet, checksum_trusted: is_trusted(meta), ecn })
    }

    /// Takes a packet from the device.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        cfg: &Config,
        counters: &mut IpCounters,
        meta: &PacketMeta,
        packet: &'a [u8],
        replies: &mut Replies,
    ) -> Received<'a> {
        counters.in_receives += 1;
        let mut env = Env { now, cfg, counters, replies };
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => match ipv4::Packet::parse(packet) {
                Ok(header) => self.receive_v4(&mut env, &header, meta, packet),
                Err(error) => bad_header(&mut env, error),
            },
            Some(6) => match ipv6::Packet::parse(packet) {
                Ok(header) => self.receive_v6(&mut env, &header, meta, packet),
                Err(error) => bad_header(&mut env, error),
            },
            _ => bad_header(&mut env, WireError::BadVersion),
        }
    }

    fn receive_v4<'a>(
        &mut self,
        env: &mut Env<'_>,
        header: &ipv4::Packet<'a>,
        meta: &PacketMeta,
        packet: &'a [u8],
    ) -> Received<'a> {
        let head = Head {
            src: header.src().into(),
            dst: header.dst().into(),
            protocol: header.protocol(),
            ttl: header.ttl(),
            tos: header.tos(),
        };
        env.counters.count_ecn(header.ecn(), || packets_in(meta, packet));
        let Some(to) = admit(&self.own, env, &head) else { return Received::Consumed };
        if is_source_routed(header.options()) {
            env.counters.in_source_routed += 1;
            return Received::Consumed;
        }
        let (start, end) = (header.header_len(), header.total_len());
        if !header.is_fragment() {
            let payload = Payload { packet: Cow::Borrowed(packet), start, end };
            return self
                .upward(env, Upward { head, to, checksum_trusted: is_trusted(meta), named_at: 9, payload });
        }
        let fragment = Fragment {
            src: head.src,
            dst: head.dst,
            protocol: head.protocol,
            id: header.id().into(),
            offset: header.frag_offset(),
            more: header.mf(),
            ecn: header.ecn(),
            headers: packet.get(..start).unwrap_or_default(),
            data: header.payload(),
            shape: Shape::V4,
        };
        let Outcome::Whole(whole) = self.reassemble(env, &fragment) else { return Received::Consumed };
        // The first fragment may have had longer headers and another type of service than this one.
        let Ok(header) = ipv4::Packet::parse(&whole) else { return bad_header(env, WireError::TooLong) };
        let head = Head { ttl: header.ttl(), tos: header.tos(), ..head };
        let (start, end) = (header.header_len(), header.total_len());
        let payload = Payload { packet: Cow::Owned(whole), start, end };
        self.upward(env, Upward { head, to, checksum_trusted: false, named_at: 9, payload })
    }

    fn receive_v6<'a>(
        &mut self,
        env: &mut Env<'_>,
        header: &ipv6::Packet<'a>,
        meta: &PacketMeta,
        packet: &'a [u8],
    ) -> Received<'a> {
        let head = Head {
            src: header.src().into(),
            dst: header.dst().into(),
            protocol: header.next_header(),
            ttl: header.hop_limit(),
            tos: header.traffic_class(),
        };
        env.counters.count_ecn(header.ecn(), || packets_in(meta, packet));
        let Some(to) = admit(&self.own, env, &head) else { return Received::Consumed };
        let whole = packet.get(..header.total_len()).unwrap_or(packet);
        let Some(ext) = self.walk(env, header, whole) else { return Received::Consumed };
        let (start, end) = (ext.payload_offset, header.total_len());
        let Some(found) = ext.fragment else {
            let head = Head { protocol: ext.protocol, ..head };
            let named_at = ext.next_header_offset;
            let payload = Payload { packet: Cow::Borrowed(packet), start, end };
            return self
                .upward(env, Upward { head, to, checksum_trusted: is_trusted(meta), named_at, payload });
        };
        let fragment = Fragment {
            src: head.src,
            dst: head.dst,
            // RFC 8200 section 4.5: the protocol is not part of what identifies a datagram.
            protocol: 0,
            id: found.id,
            offset: found.offset,
            more: found.more,
            ecn: header.ecn(),
            headers: packet.get(..start).unwrap_or_default(),
            data: ext.payload,
            shape: Shape::V6 {
                unfragmentable: found.header_offset,
                named_at: found.named_at,
                next: ext.protocol,
            },
        };
        if found.offset == 0 && !has_all_headers(ext.protocol, ext.payload) {
            env.counters.reasm_reqds += 1;
            env.counters.reasm_fails += 1;
            // RFC 7112 section 5: the first fragment has to hold all headers.
            self.report(env, Report::ParameterProblem { code: 3, pointer: 0 }, whole);
            return Received::Consumed;
        }
        let whole = match self.reassemble(env, &fragment) {
            Outcome::Whole(whole) => whole,
            Outcome::BadLength => {
                self.report(env, Report::ParameterProblem { code: 0, pointer: 4 }, whole);
                return Received::Consumed;
            }
            Outcome::TooLong => {
                let pointer = found.header_offset as u32 + 2;
                self.report(env, Report::ParameterProblem { code: 0, pointer }, whole);
                return Received::Consumed;
            }
            Outcome::Waiting | Outcome::Dropped => return Received::Consumed,
        };
        self.receive_whole_v6(env, head, to, whole)
    }

    /// A datagram that was put together.
    fn receive_whole_v6(
        &mut self,
        env: &mut Env<'_>,
        head: Head,
        to: Destination,
        whole: alloc::vec::Vec<u8>,
    ) -> Received<'static> {
        let Ok(header) = ipv6::Packet::parse(&whole) else { return bad_header(env, WireError::TooLong) };
        let Some(ext) = self.walk(env, &header, &whole) else { return Received::Consumed };
        if ext.fragment.is_some() {
            // Fragments of fragments: nobody makes them but to hide something.
            return bad_header(env, WireError::NotFirstFragment);
        }
        let head =
            Head { protocol: ext.protocol, ttl: header.hop_limit(), tos: header.traffic_class(), ..head };
        let named_at = ext.next_header_offset;
        let (start, end) = (ext.payload_offset, header.total_len());
        let payload = Payload { packet: Cow::Owned(whole), start, end };
        self.upward(env, Upward { head, to, checksum_trusted: false, named_at, payload })
    }

    fn reassemble(&mut self, env: &mut Env<'_>, fragment: &Fragment<'_>) -> Outcome {
        self.reassembly.insert(env.now, env.cfg, env.counters, fragment)
    }

    fn walk<'p>(
        &mut self,
        env: &mut Env<'_>,
        header: &ipv6::Packet<'p>,
        packet: &[u8],
    ) -> Option<ExtHeaders<'p>> {
        match header.ext_headers() {
            Ok(ext) => return Some(ext),
            Err(ExtError::Truncated) => env.counters.in_truncated_pkts += 1,
            Err(ExtError::TooMany | ExtError::Discard) => env.counters.in_hdr_errors += 1,
            Err(ExtError::ParameterProblem { code, pointer, .. }) => {
                env.counters.in_hdr_errors += 1;
                self.report(env, Report::ParameterProblem { code, pointer }, packet);
            }
        }
        None
    }

    fn upward<'a>(&mut self, env: &mut Env<'_>, up: Upward<'a>) -> Received<'a> {
        let Upward { head, to, checksum_trusted, named_at, payload } = up;
        let own = to == Destination::Own;
        let unicast = matches!(to, Destination::Own | Destination::Any);
        match (head.protocol, head.dst) {
            // TCP is between two; what was sent to all is dropped (MUST-57).
            (protocol::TCP, _) if !unicast => env.counters.in_discards += 1,
            (protocol::TCP | protocol::UDP, _) => {
                env.counters.in_delivers += 1;
                let Head { src, dst, protocol, tos, .. } = head;
                return Received::Upper(Datagram {
                    src,
                    dst,
                    protocol,
                    unicast,
                    own,
                    checksum_trusted,
                    ecn: tos & 3,
                    payload,
                });
            }
            (protocol::ICMP, IpAddr::V4(_)) => {
                env.counters.in_delivers += 1;
                return self.icmp_v4(env, &head, own, &payload);
            }
            (protocol::ICMPV6, IpAddr::V6(_)) => {
                env.counters.in_delivers += 1;
                return self.icmp_v6(env, &head, own, &payload);
            }
            (protocol::NO_NEXT, IpAddr::V6(_)) => env.counters.in_discards += 1,
            _ => {
                env.counters.in_unknown_protos += 1;
                let packet = payload.packet.get(..payload.end).unwrap_or_default();
                self.report(env, Report::UnknownProtocol { pointer: named_at as u32 }, packet);
            }
        }
        Received::Consumed
    }
}

/// How many packets the device merged into this one.
fn packets_in(meta: &PacketMeta, packet: &[u8]) -> usize {
    let merged = |gso: Gso| {
        packet.len().saturating_sub(gso.hdr_len.into()).div_ceil(usize::from(gso.size).max(1)).max(1)
    };
    meta.gso.map_or(1, merged)
}

/// The device vouches for the checksum.
#[inline]
fn is_trusted(meta: &PacketMeta) -> bool {
    meta.checksum != ChecksumState::Complete
}

fn bad_header(env: &mut Env<'_>, error: WireError) -> Received<'static> {
    match error {
        WireError::Truncated => env.counters.in_truncated_pkts += 1,
        _ => env.counters.in_hdr_errors += 1,
    }
    Received::Consumed
}

/// The checks that need nothing but the fixed header. `None`: dropped and counted.
fn admit(own: &Own, env: &mut Env<'_>, head: &Head) -> Option<Destination> {
    let to = route::destination(own, head.dst);
    match to {
        // Also what a kernel says to all nodes and routers of a link that it takes a TUN for.
        Destination::Multicast => env.counters.in_mcast_pkts += 1,
        Destination::Foreign => env.counters.in_addr_errors += 1,
        _ if !route::source_is_valid(own, head.src) => env.counters.in_martian_sources += 1,
        _ if head.ttl == 0 => env.counters.in_hdr_errors += 1,
        Destination::Broadcast => {
            env.counters.in_bcast_pkts += 1;
            return Some(to);
        }
        Destination::Own | Destination::Any => return Some(to),
    }
    None
}

/// Whether one of the options is a source route. Malformed options end the search.
fn is_source_routed(mut options: &[u8]) -> bool {
    loop {
        options = match *options {
            [] | [0, ..] => return false,
            [1, ref rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return true,
            [_, len, ..] if len >= 2 => options.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}

/// Whether the first fragment holds everything up to the end of the transport header (RFC 7112).
fn has_all_headers(next: u8, data: &[u8]) -> bool {
    match ExtHeaders::walk(next, data) {
        Ok(ext) => {
            let least = match ext.protocol {
                protocol::TCP => lastack_wire::tcp::HEADER_LEN,
                protocol::UDP => lastack_wire::udp::HEADER_LEN,
                protocol::ICMPV6 => lastack_wire::icmpv6::HEADER_LEN,
                _ => 0,
            };
            ext.payload.len() >= least
        }
        Err(ExtError::Truncated) => false,
        // Found and answered once the datagram is whole.
        Err(_) => true,
    }
}

//! Packets of the peer, from a script's line to bytes.

use super::flow::Flow;
use super::settings::Settings;
use crate::script::{Ecn, EcnBytes, Icmp, IpPart, Options, Packet, TcpOption, TcpPart, Transport};
use lastack_wire::{icmp, icmpv6, ipv4, ipv6, tcp, udp};
use std::net::IpAddr;

/// What the peer's packets have where a line says nothing.
const TTL: u8 = 255;
/// Window of a segment whose line names none.
const WINDOW: u16 = 65535;
const TCP: u8 = 6;
const UDP: u8 = 17;

type Built = Result<Vec<u8>, String>;

/// How the numbers of an option list become those on the wire.
pub(super) trait Numbers {
    /// An edge of a SACK block.
    fn edge(&self, script: u32) -> u32;
    /// Value and echo of a timestamp.
    fn timestamp(&self, value: u32, echo: u32) -> Result<(u32, u32), String>;
}

/// Bytes of an option list, padded with the end-of-list option.
pub(super) fn options(list: &[TcpOption], numbers: &dyn Numbers) -> Built {
    let mut bytes = Vec::new();
    for option in list {
        let (kind, data): (u8, Vec<u8>) = match option {
            TcpOption::Eol => {
                bytes.push(0);
                continue;
            }
            TcpOption::Nop => {
                bytes.push(1);
                continue;
            }
            TcpOption::Mss(mss) => (2, mss.to_be_bytes().into()),
            TcpOption::WindowScale(shift) => (3, vec![*shift]),
            TcpOption::SackOk => (4, Vec::new()),
            TcpOption::Sack(blocks) => {
                let edges = blocks.iter().flat_map(|(left, right)| [*left, *right]);
                (5, edges.flat_map(|edge| numbers.edge(edge).to_be_bytes()).collect())
            }
            TcpOption::Timestamp(value, echo) => {
                let (value, echo) = numbers.timestamp(*value, *echo)?;
                (8, [value.to_be_bytes(), echo.to_be_bytes()].concat())
            }
            TcpOption::Md5(digest) => (19, digest.clone().unwrap_or_else(|| vec![0; 16])),
            TcpOption::AccurateEcn(fields) => {
                let kind =
                    if fields.first().is_some_and(|(name, _)| *name == EcnBytes::Ect0) { 172 } else { 174 };
                (kind, fields.iter().flat_map(|(_, value)| value.to_be_bytes().into_iter().skip(1)).collect())
            }
            TcpOption::FastOpen(cookie) => (34, cookie.clone()),
            TcpOption::FastOpenExperimental(cookie) => (254, [&[0xf9, 0x89], cookie.as_slice()].concat()),
        };
        bytes.extend([kind, data.len() as u8 + 2]);
        bytes.extend(data);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    if bytes.len() > tcp::MAX_OPTIONS_LEN {
        return Err(format!("options of {} bytes do not fit a TCP header", bytes.len()));
    }
    Ok(bytes)
}

/// Options that the peer sends: it speaks of the stack's data and echoes the stack's timestamps.
struct Peer<'a> {
    flow: &'a Flow,
    tick: i64,
}

impl Numbers for Peer<'_> {
    fn edge(&self, script: u32) -> u32 {
        self.flow.local(script)
    }

    fn timestamp(&self, value: u32, echo: u32) -> Result<(u32, u32), String> {
        let echo = self.flow.timestamp(echo, self.tick);
        let echo = echo.ok_or("it echoes a timestamp that the script has not made the stack send")?;
        Ok((value, echo))
    }
}

/// A packet as the peer sends it on a connection.
pub(super) fn packet(packet: &Packet, flow: &Flow, settings: &Settings) -> Built {
    let (from, to) = (settings.remote_ip, settings.local_ip);
    let local_port = flow.local_port.unwrap_or(settings.bind_port);
    match &packet.transport {
        Transport::Tcp(part) => {
            let ports = (flow.remote_port, local_port);
            let ack = flow.local(part.ack.unwrap_or(0));
            let ack = if part.ack.is_some() { ack } else { 0 };
            let list = match &part.options {
                Options::List(list) => list.as_slice(),
                Options::Any => &[],
            };
            let options = options(list, &Peer { flow, tick: settings.timestamp_tick })?;
            let mut segment = segment(part, ports, Flow::remote(part.seq), ack, &options, part.len);
            tcp::fill_checksum(from, to, &mut segment).map_err(|error| error.to_string())?;
            ip(&packet.ip, from, to, TCP, &segment)
        }
        Transport::Udp(len) => {
            let payload = vec![0; *len as usize];
            let mut datagram = vec![0; payload.len() + 8];
            let header =
                udp::Repr { src_port: flow.remote_port, dst_port: local_port, payload_len: payload.len() };
            header.emit_header(&mut datagram).map_err(|error| error.to_string())?;
            udp::fill_checksum(from, to, &mut datagram).map_err(|error| error.to_string())?;
            ip(&packet.ip, from, to, UDP, &datagram)
        }
        Transport::Icmp(message) => {
            let quoted = quoted(message, flow, settings)?;
            let message = message_bytes(message, &quoted, from, to)?;
            let protocol = if settings.ip_version.is_v6() { 58 } else { 1 };
            ip(&packet.ip, from, to, protocol, &message)
        }
    }
}

/// A TCP segment with zeros as payload and in the checksum.
fn segment(part: &TcpPart, ports: (u16, u16), seq: u32, ack: u32, options: &[u8], len: u32) -> Vec<u8> {
    let header = 20 + options.len();
    let mut bytes = Vec::with_capacity(header + len as usize);
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend(((header as u16 / 4) << 12 | part.flags.bits()).to_be_bytes());
    bytes.extend(part.win.unwrap_or(WINDOW).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(part.urg.unwrap_or(0).to_be_bytes());
    bytes.extend(options);
    bytes.resize(header + len as usize, 0);
    bytes
}

fn ip(part: &IpPart, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Built {
    let ecn = match part.ecn {
        None | Some(Ecn::None) => 0,
        Some(Ecn::Ect1) => 1,
        Some(Ecn::Ect0 | Ecn::Ect01) => 2,
        Some(Ecn::Ce) => 3,
    };
    let tos = part.tos.unwrap_or(ecn);
    let ttl = part.ttl.unwrap_or(TTL);
    let mut bytes = vec![0; 40];
    let written = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header =
                ipv4::Repr { src, dst, protocol, ttl, tos, id: 0, df: true, payload_len: payload.len() };
            header.emit(&mut bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let flow_label = part.flow_label.unwrap_or(0);
            let len = payload.len();
            let header = ipv6::Repr {
                src,
                dst,
                next_header: protocol,
                hop_limit: ttl,
                traffic_class: tos,
                flow_label,
                payload_len: len,
            };
            header.emit(&mut bytes)
        }
        _ => return Err("addresses of two families".into()),
    };
    let written = written.map_err(|error| format!("this packet cannot be built: {error}"))?;
    bytes.truncate(written);
    bytes.extend(payload);
    Ok(bytes)
}

/// The start of the stack's packet that an ICMP error is about.
fn quoted(message: &Icmp, flow: &Flow, settings: &Settings) -> Built {
    let Some(quoted) = message.quoted else { return Ok(Vec::new()) };
    let ports = (flow.local_port.unwrap_or(settings.bind_port), flow.remote_port);
    let part = TcpPart {
        flags: tcp::Flags::ACK,
        seq: quoted.seq,
        len: quoted.len,
        ack: None,
        win: None,
        urg: None,
        options: Options::Any,
    };
    let segment = segment(&part, ports, flow.local(quoted.seq), Flow::remote(1), &[], quoted.len);
    let whole = ip(&IpPart::default(), settings.local_ip, settings.remote_ip, TCP, &segment)?;
    // A router quotes the header and 8 bytes; more is allowed, and a TCP header in full is usual.
    let kept = whole.len() - segment.len() + 20;
    Ok(whole.get(..kept).unwrap_or(&whole).to_vec())
}

fn message_bytes(message: &Icmp, quoted: &[u8], src: IpAddr, dst: IpAddr) -> Built {
    let v6 = src.is_ipv6();
    let (kind, code) = icmp_numbers(message, v6)?;
    let mtu = message.mtu.unwrap_or(0);
    let rest = match (v6, message.id) {
        (_, Some(id)) => [(id >> 8) as u8, id as u8, 0, 0],
        (true, None) => mtu.to_be_bytes(),
        (false, None) => (mtu & 0xffff).to_be_bytes(),
    };
    let mut bytes = vec![0; quoted.len() + 8];
    let written = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            icmpv6::Message::Ignored { kind, code, rest, data: quoted }.emit(src, dst, &mut bytes)
        }
        _ => icmp::Message::Ignored { kind, code, rest, data: quoted }.emit(&mut bytes),
    };
    written.map_err(|error| error.to_string())?;
    Ok(bytes)
}

const UNREACHABLE_V4: [(&str, u8); 16] = [
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("communication_prohibited", 13),
    ("host_precedence_violation", 14),
    ("precedence_cutoff", 15),
];
const UNREACHABLE_V6: [(&str, u8); 5] = [
    ("no_route", 0),
    ("communication_prohibited", 1),
    ("beyond_scope", 2),
    ("address_unreachable", 3),
    ("port_unreachable", 4),
];

/// Type and code of an ICMP message.
pub(super) fn icmp_numbers(message: &Icmp, v6: bool) -> Result<(u8, u8), String> {
    let kind = match (message.kind.as_str(), v6) {
        ("unreachable", false) => 3,
        ("source_quench", false) => 4,
        ("echo_request", false) => 8,
        ("echo_reply", false) => 0,
        ("time_exceeded", false) => 11,
        ("parameter_problem", false) => 12,
        ("unreachable", true) => 1,
        ("packet_too_big", true) => 2,
        ("time_exceeded", true) => 3,
        ("parameter_problem", true) => 4,
        ("echo_request", true) => 128,
        ("echo_reply", true) => 129,
        (other, _) => return Err(format!("no ICMP type '{other}' in this IP version")),
    };
    let names: &[(&str, u8)] = match (message.kind.as_str(), v6) {
        ("unreachable", false) => &UNREACHABLE_V4,
        ("unreachable", true) => &UNREACHABLE_V6,
        ("time_exceeded", _) => {
            &[("exceeded_in_transit", 0), ("ttl_exceeded", 0), ("exceeded_in_reassembly", 1)]
        }
        _ => &[],
    };
    let code = match message.code.as_str() {
        "" => Some(0),
        text => {
            names.iter().find(|(name, _)| *name == text).map(|(_, code)| *code).or_else(|| text.parse().ok())
        }
    };
    let code = code.ok_or_else(|| format!("no code '{}' for ICMP type '{}'", message.code, message.kind))?;
    Ok((kind, code))
}

//! A packet of the stack, taken apart, and packets written as tcpdump would.

use super::flow::Flow;
use lastack_wire::{ipv4, ipv6, tcp};
use std::fmt::Write as _;
use std::net::IpAddr;

/// A packet that the stack sent. Numbers as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) at: i64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) flow_label: u32,
    pub(super) body: Body,
}

/// What the IP header carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Tcp(Tcp),
    Udp {
        src: u16,
        dst: u16,
        len: u32,
    },
    /// Type, code, the four bytes after the checksum.
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// A protocol that no script can name.
    Other(u8),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) src: u16,
    pub(super) dst: u16,
    pub(super) flags: tcp::Flags,
    /// Bits between the data offset and the flags.
    pub(super) reserved: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: Vec<u8>,
    pub(super) len: u32,
    /// All bytes of the payload are zero.
    pub(super) zeros: bool,
    pub(super) checksum_ok: bool,
}

impl Observed {
    /// Takes a packet apart.
    ///
    /// # Errors
    /// What is wrong with its headers.
    pub(super) fn read(at: i64, bytes: &[u8]) -> Result<Self, String> {
        let (src, dst, protocol, ttl, tos, flow_label, payload): (IpAddr, IpAddr, _, _, _, _, _);
        if bytes.first().is_some_and(|first| first >> 4 == 6) {
            let packet = ipv6::Packet::parse(bytes).map_err(|error| format!("IPv6 header: {error}"))?;
            (src, dst, protocol) = (packet.src().into(), packet.dst().into(), packet.next_header());
            (ttl, tos) = (packet.hop_limit(), packet.traffic_class());
            (flow_label, payload) = (packet.flow_label(), packet.payload());
            if packet.total_len() != bytes.len() {
                return Err(format!("IPv6 length says {} of {} bytes", packet.total_len(), bytes.len()));
            }
        } else {
            let packet = ipv4::Packet::parse(bytes).map_err(|error| format!("IPv4 header: {error}"))?;
            (src, dst, protocol) = (packet.src().into(), packet.dst().into(), packet.protocol());
            (ttl, tos) = (packet.ttl(), packet.tos());
            (flow_label, payload) = (0, packet.payload());
            if packet.total_len() != bytes.len() {
                return Err(format!("IPv4 length says {} of {} bytes", packet.total_len(), bytes.len()));
            }
            if packet.is_fragment() || !packet.options().is_empty() {
                return Err("a fragment, or IPv4 options".into());
            }
        }
        let body = match (protocol, payload) {
            (6, _) => Body::Tcp(Tcp::read(src, dst, payload)?),
            (17, &[s0, s1, d0, d1, l0, l1, ..]) => Body::Udp {
                src: u16::from_be_bytes([s0, s1]),
                dst: u16::from_be_bytes([d0, d1]),
                len: u32::from(u16::from_be_bytes([l0, l1])).saturating_sub(8),
            },
            (1 | 58, &[kind, code, _, _, r0, r1, r2, r3, ..]) => {
                Body::Icmp { kind, code, rest: [r0, r1, r2, r3] }
            }
            (other, _) => Body::Other(other),
        };
        Ok(Self { at, src, dst, ttl, tos, flow_label, body })
    }

    /// In a line, numbers as the script counts.
    pub(super) fn show(&self, flow: Option<&Flow>) -> String {
        match &self.body {
            Body::Tcp(tcp) => tcp.show(flow),
            Body::Udp { len, .. } => format!("udp ({len})"),
            Body::Icmp { kind, code, .. } => format!("icmp type {kind} code {code}"),
            Body::Other(protocol) => format!("IP protocol {protocol}"),
        }
    }
}

impl Tcp {
    fn read(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Result<Self, String> {
        let short = || "TCP header is cut off".to_owned();
        let segment = tcp::Segment::parse(bytes).map_err(|error| format!("TCP header: {error}"))?;
        let header = usize::from(*bytes.get(12).ok_or_else(short)? >> 4) * 4;
        Ok(Self {
            src: segment.src_port,
            dst: segment.dst_port,
            flags: segment.flags,
            reserved: bytes.get(12).map_or(0, |byte| byte & 0x0e),
            seq: segment.seq.0,
            ack: segment.ack.0,
            window: segment.window,
            urgent: segment.urgent,
            options: bytes.get(20..header).ok_or_else(short)?.to_vec(),
            len: segment.payload.len() as u32,
            zeros: segment.payload.iter().all(|byte| *byte == 0),
            checksum_ok: tcp::verify_checksum(src, dst, bytes),
        })
    }

    /// Joins the next segment of the stream to this one, if the two can stand for one longer segment.
    pub(super) fn join(&mut self, next: &Self, first_len: u32, wanted: u32) -> Result<(), String> {
        let loose = tcp::Flags::FIN | tcp::Flags::PSH | tcp::Flags::CWR;
        let wrong = if next.seq != self.seq.wrapping_add(self.len) {
            "is not the next in sequence"
        } else if next.flags - loose != self.flags - loose {
            "has other flags"
        } else if next.ack != self.ack {
            "has another acknowledgement number"
        } else if next.window != self.window {
            "has another window"
        } else if next.len == 0 || next.len != first_len && self.len + next.len != wanted {
            "has another length"
        } else {
            self.len += next.len;
            self.flags = next.flags;
            self.window = next.window;
            self.zeros &= next.zeros;
            self.checksum_ok &= next.checksum_ok;
            return Ok(());
        };
        Err(format!("the segment after a shorter one {wrong}"))
    }

    fn show(&self, flow: Option<&Flow>) -> String {
        let seq = flow.map_or(self.seq, |flow| flow.local_in_script(self.seq));
        let mut text =
            format!("{} {seq}:{}({})", flag_text(self.flags), seq.wrapping_add(self.len), self.len);
        let ack = Flow::remote_in_script(self.ack);
        let _ = if self.flags.contains(tcp::Flags::ACK) { write!(text, " ack {ack}") } else { Ok(()) };
        let _ = write!(text, " win {}", self.window);
        let _ = if self.urgent == 0 { Ok(()) } else { write!(text, " urg {}", self.urgent) };
        if !self.options.is_empty() {
            let _ = write!(text, " <{}>", option_text(&self.options));
        }
        text
    }
}

/// Flags in the letters of scripts.
pub(super) fn flag_text(flags: tcp::Flags) -> String {
    use tcp::Flags as F;
    let letters = [
        (F::SYN, 'S'),
        (F::FIN, 'F'),
        (F::RST, 'R'),
        (F::PSH, 'P'),
        (F::ACK, '.'),
        (F::URG, 'U'),
        (F::ECE, 'E'),
        (F::CWR, 'W'),
        (F::AE, 'A'),
    ];
    let text: String =
        letters.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| letter).collect();
    if text.is_empty() { "-".into() } else { text }
}

/// Options in the words of scripts. SACK edges are the peer's numbers.
pub(super) fn option_text(mut bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let single = match kind {
            0 => Some("eol"),
            1 => Some("nop"),
            _ => None,
        };
        if let Some(name) = single {
            parts.push(name.to_owned());
            bytes = rest;
            continue;
        }
        let len = usize::from(rest.first().copied().unwrap_or(0));
        let Some(data) = bytes.get(2..len) else {
            parts.push(format!("kind {kind} is cut off"));
            break;
        };
        bytes = bytes.get(len..).unwrap_or_default();
        parts.push(one_option(*kind, data));
    }
    parts.join(",")
}

fn one_option(kind: u8, data: &[u8]) -> String {
    let words: Vec<u32> =
        data.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap_or_default())).collect();
    let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match (kind, data, words.as_slice()) {
        (2, [high, low], _) => format!("mss {}", u16::from_be_bytes([*high, *low])),
        (3, [shift], _) => format!("wscale {shift}"),
        (4, [], _) => "sackOK".into(),
        (5, _, words) => {
            let edge = |wire: &u32| Flow::remote_in_script(*wire);
            let blocks = words.chunks_exact(2).map(|b| format!("{}:{}", edge(&b[0]), edge(&b[1])));
            format!("sack {}", blocks.collect::<Vec<_>>().join(" "))
        }
        (8, _, [value, echo]) => format!("TS val {value} ecr {echo}"),
        (19, ..) => format!("md5 {}", hex(data)),
        (172 | 174, data, _) if data.len() % 3 == 0 && data.len() < 12 => {
            let names = if kind == 172 { ["e0b", "ceb", "e1b"] } else { ["e1b", "ceb", "e0b"] };
            let value = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let fields = data.chunks(3).zip(names).map(|(bytes, name)| format!(" {name} {}", value(bytes)));
            format!("ECN{}", fields.collect::<String>())
        }
        (34, ..) => format!("FO {}", hex(data)),
        (254, [0xf9, 0x89, cookie @ ..], _) => format!("FOEXP {}", hex(cookie)),
        _ => format!("kind {kind} {}", hex(data)),
    }
}

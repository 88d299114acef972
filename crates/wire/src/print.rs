//! One line for one packet, in tcpdump's manner.

use core::fmt::{self, Display, Formatter};
use core::net::IpAddr;

use crate::ip::protocol;
use crate::tcp::{Flags, Options, Segment};
use crate::udp::Datagram;
use crate::{Error, Quoted, SeqNumber, icmp, icmpv6, ip, ipv4, ipv6, tcp, udp};

/// Prints an IP packet as one line.
///
/// Numbers are as on the wire unless [`PacketPrinter::relative`] says otherwise; no-operation options are not shown.
/// Transport checksums of TCP and UDP are looked at only after [`PacketPrinter::verify`], because a packet whose
/// checksum the device finishes has none yet. Of a packet that is wrong the line says what is.
///
/// ```
/// use lastack_wire::PacketPrinter;
/// assert_eq!(PacketPrinter::new(&[0x45, 0]).to_string(), "IP [packet truncated], length 2");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PacketPrinter<'a> {
    bytes: &'a [u8],
    base_seq: SeqNumber,
    base_ack: SeqNumber,
    verify: bool,
}

impl<'a> PacketPrinter<'a> {
    /// A printer for one packet, from the first byte of its IP header.
    #[must_use]
    pub const fn new(packet: &'a [u8]) -> Self {
        Self { bytes: packet, base_seq: SeqNumber(0), base_ack: SeqNumber(0), verify: false }
    }

    /// Counts sequence numbers from `base_seq`, and acknowledgement numbers and SACK blocks from `base_ack`: the
    /// initial sequence numbers of the sender and of its peer.
    #[must_use]
    pub const fn relative(mut self, base_seq: SeqNumber, base_ack: SeqNumber) -> Self {
        self.base_seq = base_seq;
        self.base_ack = base_ack;
        self
    }

    /// Says of a TCP segment or UDP datagram if its checksum is wrong.
    #[must_use]
    pub const fn verify(mut self) -> Self {
        self.verify = true;
        self
    }

    fn malformed(&self, f: &mut Formatter<'_>, error: Error) -> fmt::Result {
        let name = match self.bytes.first().map(|first| first >> 4) {
            Some(4) => "IP ",
            Some(6) => "IP6 ",
            _ => "",
        };
        write!(f, "{name}[{error}], length {}", self.bytes.len())
    }

    fn v4(&self, f: &mut Formatter<'_>, packet: &ipv4::Packet<'_>) -> fmt::Result {
        f.write_str("IP ")?;
        let (src, dst, payload) = (packet.src().into(), packet.dst().into(), packet.payload());
        if packet.is_fragment() {
            let (id, offset, more) = (u32::from(packet.id()), packet.frag_offset(), packet.mf());
            return fragment(f, (src, dst), packet.protocol(), (id, offset, more), payload.len());
        }
        self.upper(f, (src, dst), packet.protocol(), payload)
    }

    fn v6(&self, f: &mut Formatter<'_>, packet: &ipv6::Packet<'_>) -> fmt::Result {
        f.write_str("IP6 ")?;
        let ends = (packet.src().into(), packet.dst().into());
        match packet.ext_headers() {
            Err(error) => write!(f, "{} > {}: [{error}], length {}", ends.0, ends.1, packet.payload().len()),
            Ok(ext) => match ext.fragment {
                Some(part) => {
                    let number = (part.id, part.offset, part.more);
                    fragment(f, ends, ext.protocol, number, ext.payload.len())
                }
                None => self.upper(f, ends, ext.protocol, ext.payload),
            },
        }
    }

    fn upper(&self, f: &mut Formatter<'_>, ends: Ends, protocol: u8, payload: &[u8]) -> fmt::Result {
        let result = match (protocol, ends) {
            (protocol::TCP, _) => return self.tcp(f, ends, payload),
            (protocol::UDP, _) => return self.udp(f, ends, payload),
            (protocol::ICMP, (IpAddr::V4(_), IpAddr::V4(_))) => {
                write!(f, "{} > {}: ICMP ", ends.0, ends.1)?;
                icmp::Message::parse(payload).map(|message| icmp_v4(f, &message))
            }
            (protocol::ICMPV6, (IpAddr::V6(src), IpAddr::V6(dst))) => {
                write!(f, "{src} > {dst}: ICMP6, ")?;
                icmpv6::Message::parse(src, dst, payload).map(|message| icmp_v6(f, &message))
            }
            _ => {
                write!(f, "{} > {}: {}", ends.0, ends.1, Protocol(protocol))?;
                Ok(Ok(()))
            }
        };
        match result {
            Ok(written) => written?,
            Err(error) => write!(f, "[{error}]")?,
        }
        write!(f, ", length {}", payload.len())
    }

    fn udp(&self, f: &mut Formatter<'_>, (src, dst): Ends, payload: &[u8]) -> fmt::Result {
        let datagram = match Datagram::parse(payload) {
            Ok(datagram) => datagram,
            Err(error) => return write!(f, "{src} > {dst}: UDP, [{error}], length {}", payload.len()),
        };
        write!(f, "{src}.{} > {dst}.{}: UDP", datagram.src_port, datagram.dst_port)?;
        if self.verify
            && let Err(error) = udp::verify_checksum(src, dst, payload)
        {
            write!(f, ", [{error}]")?;
        }
        write!(f, ", length {}", datagram.payload.len())
    }

    fn tcp(&self, f: &mut Formatter<'_>, (src, dst): Ends, payload: &[u8]) -> fmt::Result {
        let segment = match Segment::parse(payload) {
            Ok(segment) => segment,
            Err(error) => return write!(f, "{src} > {dst}: tcp, [{error}], length {}", payload.len()),
        };
        write!(f, "{src}.{} > {dst}.{}: Flags [", segment.src_port, segment.dst_port)?;
        flags(f, segment.flags)?;
        f.write_str("]")?;
        if self.verify && !tcp::verify_checksum(src, dst, payload) {
            write!(f, ", [{}]", Error::BadChecksum)?;
        }
        let seq = segment.seq.distance_from(self.base_seq);
        let len = segment.payload.len();
        if len != 0 {
            write!(f, ", seq {seq}:{}", seq.wrapping_add(len as u32))?;
        } else if segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            write!(f, ", seq {seq}")?;
        }
        if segment.flags.contains(Flags::ACK) {
            write!(f, ", ack {}", segment.ack.distance_from(self.base_ack))?;
        }
        write!(f, ", win {}", segment.window)?;
        if segment.flags.contains(Flags::URG) {
            write!(f, ", urg {}", segment.urgent)?;
        }
        self.options(f, &segment.options)?;
        write!(f, ", length {len}")
    }

    fn options(&self, f: &mut Formatter<'_>, options: &Options) -> fmt::Result {
        let Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
            sack,
            user_timeout,
            fast_open,
            accurate_ecn,
            malformed,
        } = options;
        // The first is opened by the bracket, the others by a comma.
        let mut before = ", options [";
        let mut next = || core::mem::replace(&mut before, ",");
        if let Some(mss) = mss {
            write!(f, "{}mss {mss}", next())?;
        }
        if *sack_permitted {
            write!(f, "{}sackOK", next())?;
        }
        if let Some((val, ecr)) = timestamps {
            write!(f, "{}TS val {val} ecr {ecr}", next())?;
        }
        if let Some(shift) = window_scale {
            write!(f, "{}wscale {shift}", next())?;
        }
        if !sack.is_empty() {
            write!(f, "{}sack {} ", next(), sack.len())?;
            for (start, end) in sack {
                let (start, end) = (start.distance_from(self.base_ack), end.distance_from(self.base_ack));
                write!(f, "{{{start}:{end}}}")?;
            }
        }
        if let Some(timeout) = user_timeout {
            let unit = if timeout.minutes { "min" } else { "s" };
            write!(f, "{}uto {} {unit}", next(), timeout.value)?;
        }
        if let Some(option) = accurate_ecn {
            write!(f, "{}accecn", next())?;
            for (name, field) in [("e1b", option.e1b()), ("ceb", option.ceb()), ("e0b", option.e0b())] {
                if let Some(bytes) = field {
                    write!(f, " {name} {bytes}")?;
                }
            }
        }
        if let Some(option) = fast_open {
            write!(f, "{}{}", next(), if option.experimental { "exp-tfo" } else { "tfo" })?;
            for (n, byte) in option.cookie().iter().enumerate() {
                write!(f, "{}{byte:02x}", if n == 0 { " " } else { "" })?;
            }
            if option.cookie().is_empty() {
                f.write_str(" cookiereq")?;
            }
        }
        if *malformed {
            write!(f, "{}bad length", next())?;
        }
        if before == "," { f.write_str("]") } else { Ok(()) }
    }
}

impl Display for PacketPrinter<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match ip::Packet::parse(self.bytes) {
            Ok(ip::Packet::V4(packet)) => self.v4(f, &packet),
            Ok(ip::Packet::V6(packet)) => self.v6(f, &packet),
            Err(error) => self.malformed(f, error),
        }
    }
}

/// Source and destination.
type Ends = (IpAddr, IpAddr);

/// A protocol by the name tcpdump gives it.
struct Protocol(u8);

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            protocol::ICMP => f.write_str("icmp"),
            protocol::TCP => f.write_str("tcp"),
            protocol::UDP => f.write_str("udp"),
            protocol::ICMPV6 => f.write_str("ipv6-icmp"),
            protocol::NO_NEXT => f.write_str("no next header"),
            number => write!(f, "ip-proto-{number}"),
        }
    }
}

fn fragment(
    f: &mut Formatter<'_>,
    (src, dst): Ends,
    protocol: u8,
    (id, offset, more): (u32, u16, bool),
    len: usize,
) -> fmt::Result {
    let more = if more { "+" } else { "" };
    write!(f, "{src} > {dst}: frag (id {id}, offset {offset}{more}) {}, length {len}", Protocol(protocol))
}

fn flags(f: &mut Formatter<'_>, flags: Flags) -> fmt::Result {
    const LETTERS: [(Flags, &str); 9] = [
        (Flags::FIN, "F"),
        (Flags::SYN, "S"),
        (Flags::RST, "R"),
        (Flags::PSH, "P"),
        (Flags::ACK, "."),
        (Flags::URG, "U"),
        (Flags::ECE, "E"),
        (Flags::CWR, "W"),
        (Flags::AE, "e"),
    ];
    if flags.is_empty() {
        return f.write_str("none");
    }
    for (flag, letter) in LETTERS {
        if flags.contains(flag) {
            f.write_str(letter)?;
        }
    }
    Ok(())
}

/// What an error is about.
fn about(f: &mut Formatter<'_>, quoted: Result<Quoted, Error>) -> fmt::Result {
    match quoted {
        Ok(q) if matches!(q.protocol, protocol::TCP | protocol::UDP) => {
            let name = Protocol(q.protocol);
            write!(f, " for {name} {}.{} > {}.{}", q.src, q.src_port, q.dst, q.dst_port)?;
            q.tcp_seq.map_or(Ok(()), |seq| write!(f, " seq {seq}"))
        }
        Ok(q) => write!(f, " for {} {} > {}", Protocol(q.protocol), q.src, q.dst),
        Err(error) => write!(f, " for [{error}]"),
    }
}

fn icmp_v4(f: &mut Formatter<'_>, message: &icmp::Message<'_>) -> fmt::Result {
    use icmp::{Message, Unreachable};
    match *message {
        Message::EchoRequest { ident, seq, .. } => return write!(f, "echo request, id {ident}, seq {seq}"),
        Message::EchoReply { ident, seq, .. } => return write!(f, "echo reply, id {ident}, seq {seq}"),
        Message::DestinationUnreachable { code: Unreachable::FragmentationNeeded, next_hop_mtu, .. } => {
            write!(f, "unreachable - need to frag (mtu {next_hop_mtu})")?;
        }
        Message::DestinationUnreachable { code, .. } => write!(f, "unreachable - {}", reason_v4(code))?,
        Message::TimeExceeded { code: 0, .. } => f.write_str("time exceeded in-transit")?,
        Message::TimeExceeded { code: 1, .. } => f.write_str("ip reassembly time exceeded")?,
        Message::TimeExceeded { code, .. } => write!(f, "time exceeded code {code}")?,
        Message::ParameterProblem { code, pointer, .. } => {
            write!(f, "parameter problem code {code} octet {pointer}")?;
        }
        Message::Ignored { kind: 4, .. } => return f.write_str("source quench"),
        Message::Ignored { kind: 5, .. } => return f.write_str("redirect"),
        Message::Ignored { kind, code, .. } => return write!(f, "type-#{kind} code {code}"),
    }
    about(f, Quoted::parse_v4(message.data()))
}

fn reason_v4(code: icmp::Unreachable) -> &'static str {
    use icmp::Unreachable as U;
    match code {
        U::Network => "net",
        U::Host => "host",
        U::Protocol => "protocol",
        U::Port => "port",
        U::FragmentationNeeded => "need to frag",
        U::SourceRoute => "source route failed",
        U::NetworkUnknown => "net unknown",
        U::HostUnknown => "host unknown",
        U::HostIsolated => "source host isolated",
        U::NetworkProhibited => "net prohibited",
        U::HostProhibited => "host prohibited",
        U::NetworkTos => "net for this tos",
        U::HostTos => "host for this tos",
        U::Filtered => "admin prohibited filter",
        U::PrecedenceViolation => "precedence violation",
        U::PrecedenceCutoff => "precedence cutoff",
        U::Other(_) => "unknown code",
    }
}

fn icmp_v6(f: &mut Formatter<'_>, message: &icmpv6::Message<'_>) -> fmt::Result {
    use icmpv6::Message;
    match *message {
        Message::EchoRequest { ident, seq, .. } => return write!(f, "echo request, id {ident}, seq {seq}"),
        Message::EchoReply { ident, seq, .. } => return write!(f, "echo reply, id {ident}, seq {seq}"),
        Message::DestinationUnreachable { code, .. } => {
            write!(f, "destination unreachable, {}", reason_v6(code))?;
        }
        Message::PacketTooBig { mtu, .. } => write!(f, "packet too big, mtu {mtu}")?,
        Message::TimeExceeded { code: 0, .. } => f.write_str("time exceeded in-transit")?,
        Message::TimeExceeded { code: 1, .. } => f.write_str("time exceeded in reassembly")?,
        Message::TimeExceeded { code, .. } => write!(f, "time exceeded code {code}")?,
        Message::ParameterProblem { code, pointer, .. } => {
            write!(f, "parameter problem code {code} octet {pointer}")?;
        }
        Message::Ignored { kind: 133, .. } => return f.write_str("router solicitation"),
        Message::Ignored { kind: 134, .. } => return f.write_str("router advertisement"),
        Message::Ignored { kind: 135, .. } => return f.write_str("neighbor solicitation"),
        Message::Ignored { kind: 136, .. } => return f.write_str("neighbor advertisement"),
        Message::Ignored { kind: 137, .. } => return f.write_str("redirect"),
        Message::Ignored { kind, code, .. } => return write!(f, "type-#{kind} code {code}"),
    }
    about(f, Quoted::parse_v6(message.data()))
}

fn reason_v6(code: icmpv6::Unreachable) -> &'static str {
    use icmpv6::Unreachable as U;
    match code {
        U::NoRoute => "no route",
        U::Prohibited => "admin prohibited",
        U::BeyondScope => "beyond scope",
        U::Address => "address",
        U::Port => "port",
        U::Policy => "policy",
        U::RejectRoute => "reject route",
        U::Other(_) => "unknown code",
    }
}

#[cfg(test)]
mod tests;

//! Packets that the gateway itself sends to the program, in the name of the addresses it stands for.

use std::net::{IpAddr, SocketAddr};

use lastack_wire::ip::protocol;
use lastack_wire::{icmp, icmpv6, ipv4, ipv6, udp};

/// Time to live of what the gateway sends.
const TTL: u8 = 64;

/// Why something could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Network,
    Host,
    Prohibited,
}

/// An ICMP error about `quoted` (a packet, or the start of one), from the address it was for to the one it came from.
pub(crate) fn unreachable(why: Unreachable, quoted: &[u8]) -> Option<Vec<u8>> {
    match quoted.first()? >> 4 {
        4 => {
            let quoted = quoted.get(..icmp::MAX_QUOTE).unwrap_or(quoted);
            let src = <[u8; 4]>::try_from(quoted.get(12..16)?).ok()?;
            let dst = <[u8; 4]>::try_from(quoted.get(16..20)?).ok()?;
            let code = match why {
                Unreachable::Network => icmp::Unreachable::Network,
                Unreachable::Host => icmp::Unreachable::Host,
                Unreachable::Prohibited => icmp::Unreachable::Filtered,
            };
            let mut message = vec![0; icmp::HEADER_LEN + quoted.len()];
            let error = icmp::Message::DestinationUnreachable { code, next_hop_mtu: 0, quoted };
            let len = error.emit(&mut message).ok()?;
            packet(dst.into(), src.into(), protocol::ICMP, len, message.get(..len)?)
        }
        6 => {
            let quoted = quoted.get(..icmpv6::MAX_QUOTE).unwrap_or(quoted);
            let src = <[u8; 16]>::try_from(quoted.get(8..24)?).ok()?;
            let dst = <[u8; 16]>::try_from(quoted.get(24..40)?).ok()?;
            let code = match why {
                Unreachable::Network => icmpv6::Unreachable::NoRoute,
                Unreachable::Host => icmpv6::Unreachable::Address,
                Unreachable::Prohibited => icmpv6::Unreachable::Prohibited,
            };
            let mut message = vec![0; icmpv6::HEADER_LEN + quoted.len()];
            let error = icmpv6::Message::DestinationUnreachable { code, quoted };
            let len = error.emit(dst.into(), src.into(), &mut message).ok()?;
            packet(dst.into(), src.into(), protocol::ICMPV6, len, message.get(..len)?)
        }
        _ => None,
    }
}

/// A router's word that a datagram from `source` to `destination` was too big: a packet there holds `room` bytes of data. It
/// comes in the destination's name.
pub(crate) fn too_big(source: SocketAddr, destination: SocketAddr, room: usize) -> Option<Vec<u8>> {
    let len = room + 1;
    let mut head = [0; udp::HEADER_LEN];
    let repr = udp::Repr { src_port: source.port(), dst_port: destination.port(), payload_len: len };
    repr.emit_header(&mut head).ok()?;
    let quoted = packet(source.ip(), destination.ip(), protocol::UDP, udp::HEADER_LEN + len, &head)?;
    let mtu = quoted.len() + room;
    let mut message = vec![0; icmp::HEADER_LEN + quoted.len()];
    let (kind, len) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let code = icmp::Unreachable::FragmentationNeeded;
            let next_hop_mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            let error = icmp::Message::DestinationUnreachable { code, next_hop_mtu, quoted: &quoted };
            (protocol::ICMP, error.emit(&mut message).ok()?)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mtu = u32::try_from(mtu).unwrap_or(u32::MAX);
            let error = icmpv6::Message::PacketTooBig { mtu, quoted: &quoted };
            (protocol::ICMPV6, error.emit(destination, source, &mut message).ok()?)
        }
        _ => return None,
    };
    packet(destination.ip(), source.ip(), kind, len, message.get(..len)?)
}

/// The answer of `from` to an echo request of `to`.
pub(crate) fn echo_reply(from: IpAddr, to: IpAddr, ident: u16, seq: u16, data: &[u8]) -> Option<Vec<u8>> {
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let mut message = vec![0; icmp::HEADER_LEN + data.len()];
            let len = icmp::Message::EchoReply { ident, seq, data }.emit(&mut message).ok()?;
            packet(from, to, protocol::ICMP, len, message.get(..len)?)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut message = vec![0; icmpv6::HEADER_LEN + data.len()];
            let reply = icmpv6::Message::EchoReply { ident, seq, data };
            let len = reply.emit(source, destination, &mut message).ok()?;
            packet(from, to, protocol::ICMPV6, len, message.get(..len)?)
        }
        _ => None,
    }
}

/// A packet whose header speaks of `payload_len` bytes; less may be there, for a quote.
fn packet(src: IpAddr, dst: IpAddr, protocol: u8, payload_len: usize, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packet = vec![0; ipv6::HEADER_LEN + payload.len()];
    let at = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Repr { src, dst, protocol, ttl: TTL, tos: 0, id: 0, df: true, payload_len }
                .emit(&mut packet)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr {
            src,
            dst,
            next_header: protocol,
            hop_limit: TTL,
            traffic_class: 0,
            flow_label: 0,
            payload_len,
        }
        .emit(&mut packet),
        _ => return None,
    }
    .ok()?;
    packet.truncate(at + payload.len());
    packet.get_mut(at..)?.copy_from_slice(payload);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastack_wire::ip;

    #[test]
    fn error_comes_from_where_the_packet_was_sent_and_quotes_it() {
        for (from, to) in [("10.0.2.15", "192.0.2.1"), ("fd00::15", "2001:db8::1")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            // Any packet does.
            let request = echo_reply(from, to, 1, 2, b"data").unwrap();
            let error = unreachable(Unreachable::Host, &request).unwrap();
            let header = ip::Packet::parse(&error).unwrap();
            assert_eq!((header.src(), header.dst()), (to, from));
            assert_eq!(header.payload().get(8..), Some(&request[..]));
        }
    }

    #[test]
    fn too_big_tells_the_mtu_of_the_programs_ip_version() {
        for (source, destination, mtu) in
            [("10.0.2.15:9", "192.0.2.1:443", 1228), ("[fd00::15]:9", "[2001:db8::1]:443", 1248)]
        {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let packet = too_big(source, destination, 1200).unwrap();
            let header = ip::Packet::parse(&packet).unwrap();
            assert_eq!((header.src(), header.dst()), (destination.ip(), source.ip()));
            let told = header.payload().get(4..8).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
            assert_eq!(told, Some(mtu));
        }
    }
}

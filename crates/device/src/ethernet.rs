//! The link layer of a TAP: Ethernet headers, ARP (RFC 826) and neighbour solicitations (RFC 4861).
//!
//! The other end is one host, and every other address is behind this end: whoever is asked for is here.

use std::net::Ipv6Addr;

use lastack_wire::checksum;
use lastack_wire::ip::protocol;

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 14;
/// A hardware address.
type Mac = [u8; 6];

/// This end's address: locally administered.
const OWN: Mac = [0x02, b'l', b'a', b's', b't', b'k'];
const BROADCAST: Mac = [0xff; 6];
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// ARP for IPv4 over Ethernet: both kinds and lengths, then the operation.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];

const IPV6_HEADER: usize = 40;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Solicitations and advertisements have crossed no router (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
/// From a router, solicited, in the place of what was known.
const ADVERTISEMENT_FLAGS: u8 = 0xe0;
const TARGET_LINK_ADDRESS: u8 = 2;

/// One end of an Ethernet with one other host.
#[derive(Debug)]
pub(crate) struct Ethernet {
    peer: Mac,
}

/// What a frame is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// An IP packet follows the header.
    Ip,
    /// A question, with its answer.
    Asked(Vec<u8>),
    /// Nothing for anybody here.
    Other,
}

impl Ethernet {
    /// `peer` is the other end's address; without one it is learnt.
    pub(crate) fn new(peer: Option<Mac>) -> Self {
        Self { peer: peer.unwrap_or(BROADCAST) }
    }

    /// Looks at a frame, and notes whose it is.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Frame {
        let Some((header, payload)) = frame.split_first_chunk::<HEADER>() else { return Frame::Other };
        let [_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, kind @ ..] = *header;
        // A group's address sends nothing.
        if s0 & 1 == 0 {
            self.peer = [s0, s1, s2, s3, s4, s5];
        }
        let answer = match kind {
            IPV4 => return Frame::Ip,
            IPV6 => match payload.get(6) {
                Some(&protocol::ICMPV6) if payload.get(IPV6_HEADER) == Some(&SOLICITATION) => {
                    advertise(payload).map(|packet| self.frame(IPV6, &packet))
                }
                _ => return Frame::Ip,
            },
            ARP => answer(payload).map(|packet| self.frame(ARP, &packet)),
            _ => None,
        };
        answer.map_or(Frame::Other, Frame::Asked)
    }

    /// What stands before an IP packet to the other end.
    pub(crate) fn header(&self, packet: &[u8]) -> [u8; HEADER] {
        let kind = if packet.first().is_some_and(|first| first >> 4 == 6) { IPV6 } else { IPV4 };
        let mut header = [0; HEADER];
        header[..6].copy_from_slice(&self.peer);
        header[6..12].copy_from_slice(&OWN);
        header[12..].copy_from_slice(&kind);
        header
    }

    fn frame(&self, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&self.peer[..], &OWN, &kind, payload].concat()
    }
}

/// The answer to an ARP request. A host that asks for itself wants to hear that nobody else has its address (RFC 5227).
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = request.split_first_chunk()?;
    let (operation, rest) = rest.split_first_chunk()?;
    let (sender, rest) = rest.split_first_chunk::<10>()?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (target, _) = rest.split_first_chunk::<4>()?;
    let (_, sender_ip) = sender.split_last_chunk::<4>()?;
    if (*kind, *operation) != (ARP_KIND, ARP_REQUEST) || sender_ip == target || *sender_ip == [0; 4] {
        return None;
    }
    Some([&ARP_KIND[..], &ARP_REPLY, &OWN, target, sender].concat())
}

/// The answer to a neighbour solicitation; none to a host that asks whether its own address is taken (RFC 4862 5.4.3).
fn advertise(packet: &[u8]) -> Option<Vec<u8>> {
    let (header, message) = packet.split_first_chunk::<IPV6_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let message = message.get(..len)?;
    let src = Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?);
    let dst = Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?);
    let target = Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?);
    let valid = header[7] == HOP_LIMIT && message[1] == 0 && !target.is_multicast();
    if !valid || src.is_unspecified() || src == target || sum(src, dst, message) != 0 {
        return None;
    }
    let mut answer = vec![ADVERTISEMENT, 0, 0, 0, ADVERTISEMENT_FLAGS, 0, 0, 0];
    answer.extend(target.octets());
    answer.extend([TARGET_LINK_ADDRESS, 1]);
    answer.extend(OWN);
    let checksum = sum(target, src, &answer);
    answer[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(answer.len()).ok()?.to_be_bytes());
    packet.extend([protocol::ICMPV6, HOP_LIMIT]);
    packet.extend(target.octets());
    packet.extend(src.octets());
    packet.extend(answer);
    Some(packet)
}

/// The checksum of an ICMPv6 message; 0 if it has the right one.
fn sum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> u16 {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum = checksum::pseudo_header(src.into(), dst.into(), protocol::ICMPV6, len);
    sum.add_bytes(message);
    !sum.fold()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Mac = [0x02, 1, 2, 3, 4, 5];

    fn frame(kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&BROADCAST[..], &PEER, &kind, payload].concat()
    }

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&ARP_KIND[..], &ARP_REQUEST, &PEER, &sender, &[0; 6], &target].concat()
    }

    fn solicitation(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let dst: Ipv6Addr = "ff02::1:ff00:2".parse().unwrap();
        let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        message.extend([1, 1]);
        message.extend(PEER);
        let checksum = sum(src, dst, &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, protocol::ICMPV6, HOP_LIMIT];
        packet.extend(src.octets());
        packet.extend(dst.octets());
        packet.extend(message);
        packet
    }

    #[test]
    fn whoever_is_asked_for_is_here_and_the_asker_is_remembered() {
        let mut link = Ethernet::new(None);
        assert_eq!(link.header(&[0x45])[..6], BROADCAST);
        let Frame::Asked(reply) = link.receive(&frame(ARP, &arp([10, 0, 2, 100], [10, 0, 2, 2]))) else {
            panic!("no answer");
        };
        let expected =
            [&PEER[..], &OWN, &ARP, &ARP_KIND, &ARP_REPLY, &OWN, &[10, 0, 2, 2], &PEER, &[10, 0, 2, 100]]
                .concat();
        assert_eq!(reply, expected);
        assert_eq!(link.header(&[0x45]), *[&PEER[..], &OWN, &IPV4].concat());
        assert_eq!(link.header(&[0x60])[12..], IPV6);
    }

    #[test]
    fn a_host_that_asks_for_its_own_address_hears_nothing() {
        let mut link = Ethernet::new(Some(PEER));
        for sender in [[10, 0, 2, 100], [0; 4]] {
            assert_eq!(link.receive(&frame(ARP, &arp(sender, [10, 0, 2, 100]))), Frame::Other);
        }
        let own: Ipv6Addr = "fd00::15".parse().unwrap();
        for src in [own, Ipv6Addr::UNSPECIFIED] {
            assert_eq!(link.receive(&frame(IPV6, &solicitation(src, own))), Frame::Other);
        }
    }

    #[test]
    fn a_neighbour_is_advertised_with_a_right_checksum() {
        let mut link = Ethernet::new(None);
        let (src, target): (Ipv6Addr, Ipv6Addr) = ("fd00::15".parse().unwrap(), "fd00::2".parse().unwrap());
        let question = solicitation(src, target);
        let Frame::Asked(reply) = link.receive(&frame(IPV6, &question)) else { panic!("no answer") };
        let message = &reply[HEADER + IPV6_HEADER..];
        assert_eq!(sum(target, src, message), 0);
        assert_eq!(
            (message[0], &message[8..24], &message[26..]),
            (ADVERTISEMENT, &target.octets()[..], &OWN[..])
        );
        let mut wrong = question;
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(link.receive(&frame(IPV6, &wrong)), Frame::Other);
    }

    #[test]
    fn cut_and_strange_frames_are_nothing() {
        let mut link = Ethernet::new(None);
        let whole = [
            frame(ARP, &arp([10, 0, 2, 100], [10, 0, 2, 2])),
            frame(IPV6, &solicitation("fd00::15".parse().unwrap(), "fd00::2".parse().unwrap())),
        ];
        for frame in &whole {
            for len in 0..frame.len() {
                assert!(!matches!(link.receive(&frame[..len]), Frame::Asked(_)), "{len}");
            }
        }
        assert_eq!(link.receive(&frame([0x81, 0], &[0; 60])), Frame::Other);
        assert_eq!(link.receive(&frame(IPV4, &[0x45])), Frame::Ip);
    }
}

//! Headers for what leaves, and datagrams that are longer than the path MTU.

use super::{Env, Ip};
use crate::time::Instant;
use alloc::vec;
use core::net::IpAddr;
use lastack_wire::ip::protocol;
use lastack_wire::{ipv4, ipv6};

/// Address fields and the like of a packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
}

/// How far a datagram that is sent in fragments has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    id: u32,
    offset: usize,
}

/// What [`Ip::emit_part`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole datagram, in a packet of this many bytes.
    Whole(usize),
    /// A fragment, and more are to come.
    Fragment(usize),
    /// The last fragment.
    Last(usize),
}

/// Writes the IP header of an unfragmented packet to the start of `buf` and gives its length: 20 or 40. `None` if the
/// families differ, the packet would be too long or `buf` is too short.
///
/// IPv4: "don't fragment" is set and the identification is 0, which tells nobody anything (RFC 6864 section 4.1).
#[inline]
pub(crate) fn emit_header(
    buf: &mut [u8],
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    payload_len: usize,
    ttl: u8,
    tos: u8,
) -> Option<usize> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Repr { src, dst, protocol, ttl, tos, id: 0, df: true, payload_len }.emit(buf)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr {
            src,
            dst,
            next_header: protocol,
            hop_limit: ttl,
            traffic_class: tos,
            flow_label: 0,
            payload_len,
        }
        .emit(buf),
        _ => return None,
    }
    .ok()
}

/// Length of the header that [`emit_header`] writes.
#[inline]
pub(crate) const fn header_len(addr: IpAddr) -> usize {
    match addr {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

impl Ip {
    /// Time to live of what the stack sends by itself.
    pub(crate) fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Writes the next packet of a datagram with this payload into `frame`: the whole if the path takes it, else one
    /// fragment after the other. `cut` is `None` at first and keeps the place between the calls. `None` if `frame`
    /// is too short or the datagram cannot be sent.
    pub(crate) fn emit_part(
        &mut self,
        now: Instant,
        head: &Head,
        payload: &[u8],
        cut: &mut Option<Cut>,
        frame: &mut [u8],
    ) -> Option<Part> {
        let mtu = usize::from(self.path_mtu(now, head.dst)).min(frame.len());
        let whole = header_len(head.src) + payload.len();
        if cut.is_none() && whole <= mtu {
            let Head { src, dst, protocol, ttl, tos } = *head;
            let len = emit_header(frame, src, dst, protocol, payload.len(), ttl, tos)?;
            frame.get_mut(len..whole)?.copy_from_slice(payload);
            return Some(Part::Whole(whole));
        }
        let Cut { id, offset } = match *cut {
            Some(cut) => cut,
            None => Cut { id: self.new_id(head.src), offset: 0 },
        };
        let header = match head.src {
            IpAddr::V4(_) => ipv4::HEADER_LEN,
            IpAddr::V6(_) => ipv6::HEADER_LEN + ipv6::FRAGMENT_HEADER_LEN,
        };
        let rest = payload.get(offset..)?;
        let room = mtu.checked_sub(header)?;
        let len = if rest.len() <= room { rest.len() } else { room & !7 };
        if len == 0 {
            return None;
        }
        let more = len < rest.len();
        emit_fragment(head, id, u16::try_from(offset).ok()?, more, len, frame)?;
        frame.get_mut(header..header + len)?.copy_from_slice(rest.get(..len)?);
        *cut = Some(Cut { id, offset: offset + len });
        Some(if more { Part::Fragment(header + len) } else { Part::Last(header + len) })
    }

    fn new_id(&mut self, family: IpAddr) -> u32 {
        match family {
            IpAddr::V4(_) => self.identification.next_v4().into(),
            IpAddr::V6(_) => self.identification.next_v6(),
        }
    }

    /// Queues a payload that the stack itself answers with, in fragments if it has to be.
    pub(super) fn send_reply(&mut self, env: &mut Env<'_>, head: &Head, payload: &[u8]) {
        let mut cut = None;
        loop {
            let mut frame = vec![0; usize::from(self.caps.mtu).min(header_len(head.src) + payload.len() + 8)];
            let Some(part) = self.emit_part(env.now, head, payload, &mut cut, &mut frame) else {
                env.counters.frag_fails += 1;
                return;
            };
            let (Part::Whole(len) | Part::Fragment(len) | Part::Last(len)) = part;
            frame.truncate(len);
            env.replies.push(frame);
            env.counters.frag_creates += u64::from(!matches!(part, Part::Whole(_)));
            match part {
                Part::Fragment(_) => {}
                Part::Whole(_) => return,
                Part::Last(_) => {
                    env.counters.frag_oks += 1;
                    return;
                }
            }
        }
    }
}

fn emit_fragment(head: &Head, id: u32, offset: u16, more: bool, len: usize, frame: &mut [u8]) -> Option<()> {
    let Head { protocol, ttl, tos, .. } = *head;
    match (head.src, head.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let repr =
                ipv4::Repr { src, dst, protocol, ttl, tos, id: id as u16, df: false, payload_len: len };
            repr.emit_fragment(offset, more, frame).ok()?;
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let repr = ipv6::Repr {
                src,
                dst,
                next_header: protocol::FRAGMENT,
                hop_limit: ttl,
                traffic_class: tos,
                flow_label: 0,
                payload_len: ipv6::FRAGMENT_HEADER_LEN + len,
            };
            let at = repr.emit(frame).ok()?;
            let fragment = ipv6::Fragment { id, offset, more, header_offset: at, named_at: 6 };
            fragment.emit(protocol, frame.get_mut(at..)?).ok()?;
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests;

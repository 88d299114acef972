//! Which addresses are ours, and which source an outgoing packet has.

use super::Ip;
use crate::config::Config;
use crate::error::Error;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a destination address is to this stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// One of the configured addresses.
    Own,
    /// Another unicast address, taken because of `any_address`.
    Any,
    /// 255.255.255.255 or the broadcast address of a connected network.
    Broadcast,
    /// A multicast group.
    Multicast,
    /// None of the above: not for us.
    Foreign,
}

/// The configured addresses as numbers, sorted for the look at each packet.
#[derive(Clone, Debug)]
pub(super) struct Own {
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// Broadcast addresses of the connected networks.
    broadcast: Vec<u32>,
    /// [`Config::any_address`].
    any: bool,
}

impl Own {
    pub(super) fn new(cfg: &Config) -> Self {
        let mut own = Self { v4: Vec::new(), v6: Vec::new(), broadcast: Vec::new(), any: cfg.any_address };
        for cidr in &cfg.addresses {
            match cidr.addr() {
                IpAddr::V4(addr) => own.v4.push(addr.to_bits()),
                IpAddr::V6(addr) => own.v6.push(addr.to_bits()),
            }
            own.broadcast.extend(cidr.broadcast().map(Ipv4Addr::to_bits));
        }
        own.v4.sort_unstable();
        own.v6.sort_unstable();
        own.broadcast.sort_unstable();
        own.broadcast.dedup();
        own
    }

    /// Whether `addr` is one of the configured addresses.
    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.v4.binary_search(&addr.to_bits()).is_ok(),
            IpAddr::V6(addr) => self.v6.binary_search(&addr.to_bits()).is_ok(),
        }
    }

    fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr == Ipv4Addr::BROADCAST || self.broadcast.binary_search(&addr.to_bits()).is_ok()
    }
}

impl Ip {
    /// Whether `addr` is one of the configured addresses.
    #[inline]
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        self.own.contains(addr)
    }

    /// Whether a socket may use `addr` as its own: a configured address, or any unicast one with `any_address`.
    pub(crate) fn may_use(&self, addr: IpAddr) -> bool {
        matches!(destination(&self.own, addr), Destination::Own | Destination::Any)
    }

    /// Whether `addr` is a broadcast or multicast address.
    pub(crate) fn is_group(&self, addr: IpAddr) -> bool {
        matches!(destination(&self.own, addr), Destination::Broadcast | Destination::Multicast)
    }

    /// The source for packets to `remote`: the longest match among connected networks and routes; among equals a
    /// connected network, then the earlier one.
    ///
    /// # Errors
    /// [`Error::NetworkUnreachable`] without a route, [`Error::AddrNotAvailable`] if a route leads there but the stack
    /// has no address of that family.
    pub(crate) fn source_for(&self, cfg: &Config, remote: IpAddr) -> Result<IpAddr, Error> {
        let connected = cfg.addresses.iter().map(|own| (own, Some(own.addr())));
        let routes = cfg.routes.iter().map(|route| (&route.to, route.source));
        let mut best: Option<(u8, Option<IpAddr>)> = None;
        for (to, source) in connected.chain(routes) {
            if to.contains(remote) && best.is_none_or(|(prefix, _)| to.prefix() > prefix) {
                best = Some((to.prefix(), source));
            }
        }
        let (_, source) = best.ok_or(Error::NetworkUnreachable)?;
        source.or_else(|| first_of_family(cfg, remote)).ok_or(Error::AddrNotAvailable)
    }
}

/// The first configured address of the family of `like`.
pub(super) fn first_of_family(cfg: &Config, like: IpAddr) -> Option<IpAddr> {
    cfg.addresses.iter().map(super::Cidr::addr).find(|own| own.is_ipv4() == like.is_ipv4())
}

pub(super) fn destination(own: &Own, addr: IpAddr) -> Destination {
    if own.contains(addr) {
        return Destination::Own;
    }
    let routable = match addr {
        IpAddr::V4(a) if own.is_broadcast(a) => return Destination::Broadcast,
        _ if addr.is_multicast() => return Destination::Multicast,
        // The last term is class E, which nobody uses.
        IpAddr::V4(a) => !(a.octets()[0] == 0 || a.is_loopback() || a.octets()[0] >= 240),
        IpAddr::V6(a) => {
            !(a.is_unspecified() || a.is_loopback() || a.is_unicast_link_local() || embeds_v4(a))
        }
    };
    if routable && own.any { Destination::Any } else { Destination::Foreign }
}

/// Whether a packet from the device may carry `src`: no group, nothing that only exists inside a host, and not
/// one of our own (RFC 1122 3.2.1.3; LAND).
pub(super) fn source_is_valid(own: &Own, src: IpAddr) -> bool {
    let valid = match src {
        IpAddr::V4(a) => !(a.octets()[0] == 0 || a.is_loopback() || a.is_multicast() || own.is_broadcast(a)),
        IpAddr::V6(a) => !(a.is_unspecified() || a.is_loopback() || a.is_multicast() || embeds_v4(a)),
    };
    valid && !own.contains(src)
}

/// IPv4-mapped addresses never stand in a packet (RFC 4291 2.5.5.2).
fn embeds_v4(addr: Ipv6Addr) -> bool {
    addr.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests;

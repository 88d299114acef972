//! Which socket has which address and port.

use crate::slab::Key;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// Bound sockets by port and address; ordered, so that nobody can aim at a hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    bound: BTreeMap<(u16, IpAddr), Vec<Bound>>,
    any_port: BTreeSet<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    key: Key,
    reuse: bool,
}

/// Whether a socket bound to `bound` takes what is sent to `addr`. `[::]` takes both families.
pub(super) fn covers(bound: IpAddr, addr: IpAddr) -> bool {
    bound == addr || (bound.is_unspecified() && (bound.is_ipv6() || addr.is_ipv4()))
}

impl Table {
    pub(super) fn insert(&mut self, key: Key, local: SocketAddr, reuse: bool) {
        self.bound.entry((local.port(), local.ip())).or_default().push(Bound { key, reuse });
    }

    pub(super) fn remove(&mut self, key: Key, local: SocketAddr) {
        let place = (local.port(), local.ip());
        if let Some(sockets) = self.bound.get_mut(&place) {
            sockets.retain(|bound| bound.key != key);
            if sockets.is_empty() {
                self.bound.remove(&place);
            }
        }
    }

    pub(super) fn set_any_port(&mut self, key: Key, on: bool) {
        if on {
            self.any_port.insert(key);
        } else {
            self.any_port.remove(&key);
        }
    }

    /// Sockets that take every port, oldest first.
    pub(super) fn any_port(&self) -> impl Iterator<Item = Key> {
        self.any_port.iter().copied()
    }

    /// Whether a socket may not be bound there because of another.
    pub(super) fn conflicts(&self, addr: IpAddr, port: u16, reuse: bool) -> bool {
        self.bound.range((port, FIRST)..=(port, LAST)).any(|((_, other), sockets)| {
            let overlap = covers(addr, *other) || covers(*other, addr);
            overlap && sockets.iter().any(|bound| !(reuse && bound.reuse))
        })
    }

    /// The best of the bound sockets for a datagram; `remote` says to whom a socket is connected.
    pub(super) fn find(
        &self,
        to: SocketAddr,
        from: SocketAddr,
        remote: impl Fn(Key) -> Option<Option<SocketAddr>>,
    ) -> Option<Key> {
        let wildcards = match to.ip() {
            IpAddr::V4(_) => [Some(FIRST), Some(Ipv6Addr::UNSPECIFIED.into())],
            IpAddr::V6(_) => [Some(Ipv6Addr::UNSPECIFIED.into()), None],
        };
        let mut open = None;
        for addr in core::iter::once(to.ip()).chain(wildcards.into_iter().flatten()) {
            let Some(sockets) = self.bound.get(&(to.port(), addr)) else { continue };
            for bound in sockets.iter().rev() {
                match remote(bound.key)? {
                    Some(peer) if peer == from => return Some(bound.key),
                    None if open.is_none() => open = Some(bound.key),
                    _ => {}
                }
            }
        }
        open
    }
}

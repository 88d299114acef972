//! The path MTU cache (RFC 1191, RFC 8201): one estimate for each destination that has reported one.

use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use core::time::Duration;

/// Estimates for IPv6 never go below this (RFC 8200 section 5), and a report below is not believed (RFC 8201 4).
pub(crate) const MIN_V6: u16 = 1280;

/// Sizes of common links, from RFC 1191 section 7.1: what to try when a router does not say its MTU.
const PLATEAUS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// See the module's documentation. Both maps have the same entries.
#[derive(Clone, Debug)]
pub(crate) struct PathMtu {
    device: u16,
    /// The same for IPv4.
    device_v4: u16,
    /// Smallest estimate for IPv4.
    floor: u16,
    capacity: usize,
    timeout: Duration,
    entries: BTreeMap<IpAddr, Entry>,
    /// The same by the time they end, to find the oldest.
    by_end: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mtu: u16,
    ends: Instant,
}

impl PathMtu {
    pub(crate) fn new(device: u16, device_v4: u16, floor: u16, capacity: usize, timeout: Duration) -> Self {
        Self {
            device,
            device_v4,
            floor,
            capacity,
            timeout,
            entries: BTreeMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// Largest packet for `remote` in bytes: the device's MTU unless the path has said less.
    #[inline]
    pub(crate) fn get(&self, now: Instant, remote: IpAddr) -> u16 {
        let device = if remote.is_ipv4() { self.device_v4 } else { self.device };
        if self.entries.is_empty() {
            return device;
        }
        match self.entries.get(&remote) {
            Some(entry) if now < entry.ends => entry.mtu,
            _ => device,
        }
    }

    /// A router reported `mtu`. Gives the new estimate if that is a lower one; a report never raises it.
    pub(crate) fn update(&mut self, now: Instant, remote: IpAddr, mtu: u16) -> Option<u16> {
        self.expire(now);
        let current = self.get(now, remote);
        let mtu = match remote {
            IpAddr::V4(_) => mtu.max(self.floor),
            IpAddr::V6(_) if mtu < MIN_V6 => return None,
            IpAddr::V6(_) => mtu,
        };
        if mtu >= current || self.capacity == 0 {
            return None;
        }
        if let Some(old) = self.entries.remove(&remote) {
            self.by_end.remove(&(old.ends, remote));
        }
        while self.entries.len() >= self.capacity {
            let Some((_, oldest)) = self.by_end.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        let ends = now + self.timeout;
        self.entries.insert(remote, Entry { mtu, ends });
        self.by_end.insert((ends, remote));
        Some(mtu)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(ends, remote)) = self.by_end.first() {
            if now < ends {
                break;
            }
            self.by_end.pop_first();
            self.entries.remove(&remote);
        }
    }

    /// Without what has expired and with the time that is left.
    pub(crate) fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        for (remote, entry) in &self.entries {
            if now < entry.ends {
                (remote, entry.mtu, entry.ends - now).hash(h);
            }
        }
    }
}

/// The next lower plateau for a packet of `len` bytes that was too big (RFC 1191 section 5).
pub(crate) fn plateau_below(len: u16) -> u16 {
    PLATEAUS.into_iter().find(|plateau| *plateau < len).unwrap_or(68)
}

#[cfg(test)]
mod tests;

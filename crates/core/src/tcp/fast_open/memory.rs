//! What a client remembers of Fast Open: cookies and segment sizes of servers (RFC 7413 4.1.3; Linux `tcp_metrics`), and
//! whether the network swallows it (RFC 7413 4.1.3.1; Linux `tcp_fastopen_active_disable`).

use crate::addr::Addr;
use crate::tcp::tcb::Tuple;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::hash::{Hash, Hasher};
use core::time::Duration;
use lastack_wire::tcp::FastOpen as Cookie;

/// Doublings of the time for which Fast Open is left alone.
const MOST_DOUBLINGS: u32 = 6;

/// Our address and the server's: a server may give different cookies to two addresses of ours.
type Path = (Addr, Addr);

/// What is known of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// Its MSS option, in bytes; 0 as long as it is not known.
    pub(crate) mss: u16,
    pub(crate) cookie: Option<Cookie>,
    /// Which form of the option the next request has.
    pub(crate) form: Form,
}

/// The form of a request for a cookie: a server that does not answer the one is asked in the other, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    /// Kind 34.
    #[default]
    Standard,
    /// Kind 254, after kind 34 got no answer.
    Experimental,
    /// Kind 34 for good, after kind 254 got none either.
    StandardAgain,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// With the number of its last use.
    peers: BTreeMap<Path, (u64, Peer)>,
    /// The same by their last use, to find the one that is not used any more.
    by_use: BTreeSet<(u64, Path)>,
    uses: u64,
    /// How often in a row Fast Open seemed to be swallowed, and when last.
    failures: u32,
    failed_at: Instant,
}

impl Memory {
    /// What is known of the server of `tuple`.
    pub(crate) fn get(&mut self, tuple: &Tuple) -> Peer {
        let path = (tuple.local, tuple.remote);
        let Some((used, peer)) = self.peers.get_mut(&path) else { return Peer::default() };
        self.uses += 1;
        self.by_use.remove(&(*used, path));
        self.by_use.insert((self.uses, path));
        *used = self.uses;
        *peer
    }

    /// Remembers `peer` for the server of `tuple`; `capacity` servers at the most, the one that was longest unused goes.
    pub(crate) fn set(&mut self, tuple: &Tuple, peer: Peer, capacity: usize) {
        let path = (tuple.local, tuple.remote);
        if let Some((used, _)) = self.peers.remove(&path) {
            self.by_use.remove(&(used, path));
        }
        if capacity == 0 {
            return;
        }
        while self.peers.len() >= capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.peers.remove(&oldest);
        }
        self.uses += 1;
        self.peers.insert(path, (self.uses, peer));
        self.by_use.insert((self.uses, path));
    }

    /// Forgets all servers.
    pub(crate) fn forget_peers(&mut self) {
        self.peers.clear();
        self.by_use.clear();
    }

    /// A connection went wrong in a way that looks like a middlebox (Linux `tcp_fastopen_active_disable`).
    pub(crate) fn black_hole_met(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
    }

    /// A black hole was met, and nothing has refuted it since.
    pub(crate) fn suspects_black_hole(&self) -> bool {
        self.failures > 0
    }

    /// Fast Open works, or is to be tried again.
    pub(crate) fn forget_black_hole(&mut self) {
        self.failures = 0;
    }

    /// Fast Open is left alone for now: for `pause` after the first failure, twice that after the next, up to 64 times.
    pub(crate) fn pauses(&self, now: Instant, pause: Duration) -> bool {
        let Some(doublings) = self.failures.checked_sub(1) else { return false };
        let pause = pause.saturating_mul(1 << doublings.min(MOST_DOUBLINGS));
        now < self.failed_at + pause
    }

    /// In the order of last use, which decides who is forgotten first.
    pub(crate) fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        let Self { peers, by_use, uses: _, failures, failed_at } = self;
        for (_, path) in by_use {
            (path, peers.get(path).map(|(_, peer)| peer)).hash(h);
        }
        (failures, (*failures > 0).then(|| now - *failed_at)).hash(h);
    }
}

#[cfg(test)]
mod tests;

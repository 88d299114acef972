//! The IP layer: what arrives is checked, put together and sorted; what leaves gets its header and its identification;
//! ICMP goes both ways.
//!
//! `input` checks packets, `reassembly` puts fragments together, `icmp` reads and sends messages, `pmtu` remembers what
//! paths can carry, `route` says which addresses are ours, `output` writes headers and cuts datagrams into fragments.

mod cidr;
mod counters;
mod icmp;
mod input;
pub(crate) mod output;
mod pmtu;
mod random;
mod reassembly;
mod replies;
mod route;

pub use cidr::{Cidr, CidrError};
pub use counters::IpCounters;
pub use icmp::IcmpUnreach;
pub(crate) use icmp::{IcmpError, IcmpErrorKind};
pub(crate) use input::{Arrival, Datagram, Received};
pub(crate) use output::{Cut, Head, Part};
pub(crate) use random::Stream;
pub(crate) use replies::Replies;

use crate::addr::Addr;
use crate::config::Config;
use crate::time::Instant;
use core::hash::Hasher;
use core::net::IpAddr;
use icmp::{Limiter, Report};
use lastack_wire::Capabilities;
use pmtu::PathMtu;
use random::Identification;
use reassembly::Reassembly;
use route::Own;

/// State of the IP layer. Everything in it is bounded by the [`Config`].
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    caps: Capabilities,
    own: Own,
    ttl: u8,
    reassembly: Reassembly,
    path_mtu: PathMtu,
    limiter: Limiter,
    identification: Identification,
    /// Source and destination of the last segment of TCP that passed all checks: the configuration does not change, so
    /// they need no second look.
    known: Option<(Addr, Addr)>,
}

/// What the handling of one packet works with.
struct Env<'s> {
    now: Instant,
    cfg: &'s Config,
    counters: &'s mut IpCounters,
    replies: &'s mut Replies,
}

impl Ip {
    /// `key` is for everything that has to be unpredictable here.
    pub(crate) fn new(cfg: &Config, caps: Capabilities, key: [u8; 16]) -> Self {
        Self {
            caps,
            own: Own::new(cfg),
            ttl: cfg.tcp.ttl,
            reassembly: Reassembly::default(),
            path_mtu: PathMtu::new(
                caps.mtu,
                cfg.ipv4_mtu.map_or(caps.mtu, |mtu| mtu.min(caps.mtu)),
                cfg.tcp.min_pmtu,
                cfg.path_mtu_entries,
                cfg.path_mtu_timeout,
            ),
            limiter: Limiter::new(cfg, Stream::new(key, 0)),
            identification: Identification::new(key),
            known: None,
        }
    }

    /// What the device can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    /// Largest packet in bytes, IP header included, that the path to `remote` is believed to carry.
    #[inline]
    pub(crate) fn path_mtu(&self, now: Instant, remote: IpAddr) -> u16 {
        self.path_mtu.get(now, remote)
    }

    /// Believes what a "too big" report says of the path, once its protocol has found that the report quotes something
    /// that it sent (RFC 5927 section 7.2). Gives the new path MTU if it is lower than before.
    pub(crate) fn learn_path_mtu(&mut self, now: Instant, error: &IcmpError) -> Option<u16> {
        let mtu = match error.kind {
            IcmpErrorKind::FragNeeded { mtu: Some(mtu) } => mtu,
            IcmpErrorKind::FragNeeded { mtu: None } => {
                let len = u16::try_from(error.total_len).unwrap_or(u16::MAX);
                pmtu::plateau_below(len.min(self.path_mtu.get(now, error.remote.ip())))
            }
            IcmpErrorKind::PacketTooBig { mtu } => u16::try_from(mtu).unwrap_or(u16::MAX),
            _ => return None,
        };
        self.path_mtu.update(now, error.remote.ip(), mtu)
    }

    /// When [`Ip::handle_timeout`] has to be called at the latest.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.reassembly.next_timeout()
    }

    /// Gives up the datagrams whose fragments waited too long, and tells their senders if the first fragment came.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        cfg: &Config,
        counters: &mut IpCounters,
        replies: &mut Replies,
    ) {
        let mut env = Env { now, cfg, counters, replies };
        while let Some(expired) = self.reassembly.expire(now) {
            env.counters.reasm_timeout += 1;
            env.counters.reasm_fails += 1;
            if let Some(first) = expired {
                self.report(&mut env, Report::ReassemblyTimeout, &first);
            }
        }
    }

    /// Whether nothing waits for fragments.
    pub(crate) fn is_idle(&self) -> bool {
        self.reassembly.is_empty()
    }

    /// Everything that later behaviour depends on except random numbers, relative to `now`.
    pub(crate) fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        self.reassembly.fingerprint(now, h);
        self.path_mtu.fingerprint(now, h);
        self.limiter.fingerprint(now, h);
    }
}

#[cfg(test)]
mod tests;

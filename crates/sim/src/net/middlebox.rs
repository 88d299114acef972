//! Boxes in a link that change segments.

use super::dice::{Dice, Purpose};
use super::edit::{self, Tcp};
use super::pool::Pool;
use crate::scenario::{Aim, BoxSpec, OptionName, Way};
use crate::units::Time;
use lastack_core::Instant;
use lastack_core::wire::tcp::Flags;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Kinds of options (RFC 9293 3.1, 7323, 2018).
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Connections that a box remembers; it forgets all of them when there are more.
const REMEMBERED: usize = 100_000;

/// From where a segment comes, and where it goes.
type Flow = (SocketAddr, SocketAddr);

/// A box.
#[derive(Debug)]
pub(crate) struct Middlebox {
    work: Work,
    /// Directions in which it works: forward, backward.
    ways: [bool; 2],
    /// How often it did something.
    fired: u64,
    kind: &'static str,
}

#[derive(Debug)]
enum Work {
    /// With how often each of the options was taken away.
    Strip {
        options: Vec<(OptionName, u64)>,
        syn_only: bool,
    },
    Split {
        bytes: usize,
    },
    Coalesce {
        hold: Duration,
        held: [Option<Held>; 2],
    },
    /// With how many SACK blocks were forgotten, if they are.
    Rewrite {
        key: u64,
        forgotten: Option<u64>,
    },
    Forge {
        aim: Aim,
        after: u32,
        seen: BTreeMap<Flow, u32>,
    },
    Swallow {
        count: u32,
        seen: BTreeMap<Flow, u32>,
    },
}

/// A segment that waits for the one behind it.
#[derive(Debug)]
struct Held {
    packet: Vec<u8>,
    until: Instant,
}

/// What a box works with.
pub(crate) struct Tools<'a> {
    pub(crate) now: Instant,
    /// 0 forward, 1 backward.
    pub(crate) way: usize,
    /// Largest packet on the link.
    pub(crate) mtu: usize,
    pub(crate) pool: &'a mut Pool,
}

impl Middlebox {
    pub(crate) fn new(spec: &BoxSpec, seed: u64, number: u64) -> Self {
        let (work, way) = match spec {
            BoxSpec::StripOptions { options, syn_only, way } => {
                let options = options.iter().map(|name| (*name, 0)).collect();
                (Work::Strip { options, syn_only: *syn_only }, *way)
            }
            BoxSpec::Split { bytes, way } => (Work::Split { bytes: usize::from(*bytes) }, *way),
            BoxSpec::Coalesce { hold: Time(hold), way } => {
                (Work::Coalesce { hold: *hold, held: [None, None] }, *way)
            }
            BoxSpec::RewriteSeq { forgets_sack } => {
                let key = Dice::new(seed, Purpose::Middlebox, number).word();
                (Work::Rewrite { key, forgotten: forgets_sack.then_some(0) }, Way::Both)
            }
            BoxSpec::ForgeReset { aim, after, way } => {
                (Work::Forge { aim: *aim, after: *after, seen: BTreeMap::new() }, *way)
            }
            BoxSpec::SwallowFin { count, way } => {
                (Work::Swallow { count: *count, seen: BTreeMap::new() }, *way)
            }
        };
        Self { work, ways: [way != Way::Backward, way != Way::Forward], fired: 0, kind: spec.kind() }
    }

    /// What was asked for, in words, and how often it happened.
    pub(crate) fn faults(&self) -> Vec<(String, u64)> {
        let name = format!("middlebox {}", self.kind);
        match &self.work {
            Work::Strip { options, .. } => {
                let one = |(option, fired): &(OptionName, u64)| (format!("{name} {option}"), *fired);
                options.iter().map(one).collect()
            }
            Work::Rewrite { forgotten: Some(blocks), .. } => {
                vec![(name.clone(), self.fired), (format!("{name} that forgets SACK"), *blocks)]
            }
            _ => vec![(name, self.fired)],
        }
    }

    /// Takes a packet in and puts into `out` what comes out of it. The time it gives is when to call [`Self::flush`].
    pub(crate) fn pass(
        &mut self,
        tools: &mut Tools<'_>,
        mut packet: Vec<u8>,
        out: &mut Vec<Vec<u8>>,
    ) -> Option<Instant> {
        let segment = if self.ways[tools.way] { Tcp::find_valid(&packet) } else { None };
        let Some(mut tcp) = segment else {
            out.push(packet);
            return None;
        };
        match &mut self.work {
            Work::Strip { options, syn_only } => {
                if !*syn_only || tcp.flags.contains(Flags::SYN) {
                    strip(&mut packet, &mut tcp, options);
                }
                out.push(packet);
            }
            Work::Split { bytes } => self.fired += u64::from(split(tools, packet, tcp, *bytes, out)),
            Work::Coalesce { hold, held } => {
                let joined = coalesce(tools, packet, tcp, (*hold, &mut held[tools.way]), out);
                self.fired += u64::from(joined);
                return held[tools.way].as_ref().map(|held| held.until);
            }
            Work::Rewrite { key, forgotten } => {
                rewrite(&mut packet, &mut tcp, *key, forgotten);
                self.fired += 1;
                out.push(packet);
            }
            Work::Forge { aim, after, seen } => {
                let forged = forge(tools, &packet, tcp, (*aim, *after), seen);
                self.fired += u64::from(forged.is_some());
                out.push(packet);
                out.extend(forged);
            }
            Work::Swallow { count, seen } => {
                self.fired += u64::from(swallow(tools, packet, tcp, *count, seen, out));
            }
        }
        None
    }

    /// Lets go of what was held for so long. Gives the time to call again.
    pub(crate) fn flush(&mut self, now: Instant, way: usize, out: &mut Vec<Vec<u8>>) -> Option<Instant> {
        let Work::Coalesce { held, .. } = &mut self.work else { return None };
        let slot = &mut held[way];
        if let Some(due) = slot.take_if(|held| held.until <= now) {
            out.push(due.packet);
        }
        slot.as_ref().map(|held| held.until)
    }
}

/// Whether an option of this kind goes by this name.
fn is_named(kind: u8, name: OptionName) -> bool {
    match name {
        OptionName::Mss => kind == MSS,
        OptionName::WindowScale => kind == WINDOW_SCALE,
        OptionName::Sack => matches!(kind, SACK_PERMITTED | SACK),
        OptionName::Timestamps => kind == TIMESTAMPS,
        OptionName::All => kind != NOP,
    }
}

fn strip(packet: &mut [u8], tcp: &mut Tcp, options: &mut [(OptionName, u64)]) {
    let mut stripped = false;
    edit::each_option(tcp.options_mut(packet), |kind, option| {
        for (_, fired) in options.iter_mut().filter(|(name, _)| is_named(kind, *name)) {
            *fired += 1;
            option.fill(NOP);
            stripped = true;
        }
    });
    if stripped {
        tcp.finish(packet);
    }
}

fn split(tools: &mut Tools<'_>, packet: Vec<u8>, tcp: Tcp, bytes: usize, out: &mut Vec<Vec<u8>>) -> bool {
    if tcp.len() <= bytes || tcp.flags.intersects(Flags::SYN | Flags::URG) {
        out.push(packet);
        return false;
    }
    let mut at = tcp.data;
    while at < tcp.end {
        let end = (at + bytes).min(tcp.end);
        let mut piece = tools.pool.copy(&packet[..tcp.data]);
        piece.extend_from_slice(&packet[at..end]);
        let mut part = tcp;
        part.set_seq(&mut piece, tcp.seq.wrapping_add((at - tcp.data) as u32));
        if end < tcp.end {
            part.clear(&mut piece, Flags::FIN | Flags::PSH);
        }
        if at > tcp.data {
            part.clear(&mut piece, Flags::CWR);
        }
        part.finish(&mut piece);
        out.push(piece);
        at = end;
    }
    tools.pool.give(packet);
    true
}

fn coalesce(
    tools: &mut Tools<'_>,
    packet: Vec<u8>,
    tcp: Tcp,
    (hold, slot): (Duration, &mut Option<Held>),
    out: &mut Vec<Vec<u8>>,
) -> bool {
    let other = Flags::SYN | Flags::FIN | Flags::RST | Flags::URG | Flags::CWR;
    let mut joined = false;
    let mut last = Some(packet);
    if let Some(mut held) = slot.take() {
        let next = Tcp::find(&held.packet).filter(|first| {
            let follows = first.seq.wrapping_add(first.len() as u32) == tcp.seq;
            let same = (first.src, first.dst) == (tcp.src, tcp.dst);
            let fits = first.end + tcp.len() <= tools.mtu;
            follows && same && fits && tcp.len() > 0 && !tcp.flags.intersects(other)
        });
        match (next, last.take()) {
            (Some(mut first), Some(packet)) if first.data - first.start == tcp.data - tcp.start => {
                // What the later segment says counts: acknowledgement, window, options.
                let seq = first.seq;
                held.packet[first.start..first.data].copy_from_slice(&packet[tcp.start..tcp.data]);
                held.packet.extend_from_slice(&packet[tcp.data..tcp.end]);
                first.set_seq(&mut held.packet, seq);
                first.finish(&mut held.packet);
                tools.pool.give(packet);
                joined = true;
                *slot = Some(held);
            }
            (_, packet) => {
                out.push(held.packet);
                last = packet;
            }
        }
    }
    let Some(packet) = last else { return joined };
    if tcp.len() == 0 || tcp.flags.intersects(other) {
        out.push(packet);
    } else {
        *slot = Some(Held { packet, until: tools.now + hold });
    }
    joined
}

/// The number by which a box moves what one end of a connection sends.
fn offset(key: u64, from: SocketAddr, to: SocketAddr) -> u32 {
    let mut hash = key;
    for address in [from, to] {
        let ip = match address.ip() {
            std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
            std::net::IpAddr::V6(ip) => u128::from(ip),
        };
        for word in [ip as u64, (ip >> 64) as u64, u64::from(address.port())] {
            hash = crate::flow::content::mix(hash ^ word);
        }
    }
    (hash >> 32) as u32
}

fn rewrite(packet: &mut [u8], tcp: &mut Tcp, key: u64, forgotten: &mut Option<u64>) {
    let (own, other) = (offset(key, tcp.src, tcp.dst), offset(key, tcp.dst, tcp.src));
    tcp.set_seq(packet, tcp.seq.wrapping_add(own));
    if tcp.flags.contains(Flags::ACK) {
        tcp.set_ack(packet, tcp.ack.wrapping_sub(other));
    }
    edit::each_option(tcp.options_mut(packet), |kind, option| {
        let edges = option.get_mut(2..).filter(|_| kind == SACK).unwrap_or_default().chunks_exact_mut(4);
        if let Some(blocks) = forgotten {
            *blocks += edges.len() as u64 / 2;
            return;
        }
        for edge in edges {
            let value = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]);
            edge.copy_from_slice(&value.wrapping_sub(other).to_be_bytes());
        }
    });
    tcp.finish(packet);
}

/// Counts another segment of a flow; gives how many there were before.
fn count(seen: &mut BTreeMap<Flow, u32>, flow: Flow) -> &mut u32 {
    if seen.len() > REMEMBERED {
        seen.clear();
    }
    seen.entry(flow).or_default()
}

fn forge(
    tools: &mut Tools<'_>,
    packet: &[u8],
    tcp: Tcp,
    (aim, after): (Aim, u32),
    seen: &mut BTreeMap<Flow, u32>,
) -> Option<Vec<u8>> {
    if tcp.len() == 0 {
        return None;
    }
    let before = count(seen, (tcp.src, tcp.dst));
    *before = before.saturating_add(1);
    if *before != after.max(1) {
        return None;
    }
    let mut reset = tools.pool.copy(&packet[..tcp.data]);
    let mut header = tcp;
    let next = tcp.seq.wrapping_add(tcp.len() as u32);
    let seq = match aim {
        Aim::Exact => next,
        Aim::InWindow => next.wrapping_add(1000),
        Aim::Outside => next.wrapping_add(1 << 30),
    };
    header.set_seq(&mut reset, seq);
    header.clear(&mut reset, Flags::from_bits_retain(0xff));
    reset[header.start + 13] = (Flags::RST | Flags::ACK).bits() as u8;
    header.finish(&mut reset);
    Some(reset)
}

fn swallow(
    tools: &mut Tools<'_>,
    mut packet: Vec<u8>,
    mut tcp: Tcp,
    most: u32,
    seen: &mut BTreeMap<Flow, u32>,
    out: &mut Vec<Vec<u8>>,
) -> bool {
    let swallowed = tcp.flags.contains(Flags::FIN) && {
        let before = count(seen, (tcp.src, tcp.dst));
        *before = before.saturating_add(1);
        *before <= most
    };
    if swallowed && tcp.len() == 0 {
        tools.pool.give(packet);
        return true;
    }
    if swallowed {
        tcp.clear(&mut packet, Flags::FIN);
        tcp.finish(&mut packet);
    }
    out.push(packet);
    swallowed
}

#[cfg(test)]
mod tests;

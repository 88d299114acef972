//! The network between the hosts: links, routers, middleboxes, and the time. It knows packets and no connections.

mod dice;
mod edit;
mod middlebox;
mod pipe;
mod pool;
mod queue;

pub use pipe::Loss;

pub(crate) use dice::{Dice, Purpose};
pub(crate) use edit::Tcp;
pub(crate) use pipe::Pipe;

use crate::digest::Digest;
use crate::scenario::{IpVersion, Scenario};
use crate::trace::Trace;
use lastack_core::Instant;
use middlebox::{Middlebox, Tools};
use pool::Pool;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The packet in this slot comes out of a pipe.
    Arrive { pipe: u32, slot: u32 },
    /// A pipe has sent a packet and may send the next.
    Sent { pipe: u32 },
    /// A middlebox has held a packet for long enough.
    Flush { pipe: u32, place: u32 },
    /// The host at the start of a pipe hears that its packet was too large.
    Tell { pipe: u32, slot: u32 },
}

/// What happens at the same time happens in the order in which it was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Instant,
    serial: u64,
    what: What,
}

/// What was asked for, where, and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The link with its direction, or the host.
    pub place: String,
    /// What.
    pub fault: String,
    /// How often it happened.
    pub fired: u64,
}

/// Links, routers, and the packets on them.
pub(crate) struct Network {
    now: Instant,
    plan: BinaryHeap<Reverse<Entry>>,
    serial: u64,
    pool: Pool,
    pub(crate) pipes: Vec<Pipe>,
    /// Boxes of each link.
    boxes: Vec<Vec<Middlebox>>,
    /// Of each node and each host: the pipe to take.
    routes: Vec<Vec<Option<u32>>>,
    hosts: usize,
    ip: IpVersion,
    dropped: Vec<Vec<u8>>,
    /// Every packet that a host sent, in one number.
    pub(crate) digest: Digest,
    pub(crate) trace: Option<Box<Trace>>,
}

/// The address of a host.
pub(crate) fn address(ip: IpVersion, host: usize) -> IpAddr {
    let last = host as u8 + 1;
    match ip {
        IpVersion::V4 => Ipv4Addr::new(10, 0, 0, last).into(),
        IpVersion::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

/// The address from which a link tells that a packet is too large.
fn link_address(ip: IpVersion, pipe: usize) -> IpAddr {
    let [high, low] = (pipe as u16).to_be_bytes();
    match ip {
        IpVersion::V4 => Ipv4Addr::new(10, 255, high, low).into(),
        IpVersion::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, pipe as u16).into(),
    }
}

impl Network {
    /// The links and routers of a scenario that was [checked](Scenario::check).
    ///
    /// # Errors
    /// Two hosts that have a flow between them are not connected.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Result<Self, String> {
        let mut pipes = Vec::new();
        let mut boxes: Vec<Vec<_>> = Vec::new();
        for (number, link) in scenario.links.iter().enumerate() {
            let node = |name: &String| scenario.node(name).ok_or_else(|| format!("there is no '{name}'"));
            let ends = [node(&link.between[0])?, node(&link.between[1])?];
            for (way, over) in [&link.forward, &link.backward].into_iter().enumerate() {
                pipes.push(Pipe::new(&link.both.with(over), seed, (number, way), ends));
            }
            let make = |(place, spec)| Middlebox::new(spec, seed, ((number << 16) | place) as u64);
            boxes.push(link.middleboxes.iter().enumerate().map(make).collect());
        }
        let hosts = scenario.hosts.len();
        let routes = routes(hosts, hosts + scenario.routers.len(), &pipes);
        for flow in &scenario.flows {
            let ends = [&flow.from, &flow.to].map(|name| scenario.node(name).unwrap_or_default());
            if routes[ends[0]][ends[1]].is_none() {
                return Err(format!("there is no way from '{}' to '{}'", flow.from, flow.to));
            }
        }
        Ok(Self {
            now: Instant::ZERO,
            plan: BinaryHeap::new(),
            serial: 0,
            pool: Pool::default(),
            pipes,
            boxes,
            routes,
            hosts,
            ip: scenario.ip,
            dropped: Vec::new(),
            digest: Digest::default(),
            trace: None,
        })
    }

    /// Largest packet that a host may send: the least of its links at the beginning.
    pub(crate) fn mtu(&self, host: usize) -> u16 {
        let own = self.pipes.iter().filter(|pipe| pipe.from == host || pipe.to == host);
        own.map(|pipe| pipe.mtu(Instant::ZERO)).min().unwrap_or(1500)
    }

    /// When something happens next.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.plan.peek().map(|Reverse(entry)| entry.at)
    }

    /// A host sends a packet now.
    pub(crate) fn send(&mut self, now: Instant, host: usize, bytes: &[u8]) {
        self.now = now;
        let packet = self.pool.copy(bytes);
        let Some(pipe) = self.route(host, &packet) else {
            self.pool.give(packet);
            return;
        };
        self.digest.packet(now, pipe as u32, bytes);
        if let Some(trace) = &mut self.trace {
            trace.sent(now, bytes);
        }
        self.enter(pipe, packet);
    }

    /// Lets happen what is due, and calls `deliver` with what arrives at hosts. A host that is off says false.
    pub(crate) fn step(&mut self, now: Instant, mut deliver: impl FnMut(usize, &[u8]) -> bool) {
        self.now = now;
        while let Some(Reverse(entry)) = self.plan.peek().copied().filter(|Reverse(entry)| entry.at <= now) {
            self.plan.pop();
            match entry.what {
                What::Arrive { pipe, slot } => {
                    let packet = self.pool.fetch(slot);
                    self.arrive(pipe as usize, packet, &mut deliver);
                }
                What::Sent { pipe } => self.next_of_queue(pipe as usize),
                What::Flush { pipe, place } => self.flush(pipe as usize, place as usize),
                What::Tell { pipe, slot } => {
                    let packet = self.pool.fetch(slot);
                    deliver(self.pipes[pipe as usize].from, &packet);
                    self.pool.give(packet);
                }
            }
        }
    }

    fn plan(&mut self, at: Instant, what: What) {
        self.serial += 1;
        self.plan.push(Reverse(Entry { at, serial: self.serial, what }));
    }

    fn route(&self, node: usize, packet: &[u8]) -> Option<usize> {
        let host = self.host_of(edit::destination(packet)?)?;
        self.routes[node][host].map(|pipe| pipe as usize)
    }

    /// The host that has an address.
    fn host_of(&self, ip: IpAddr) -> Option<usize> {
        let last = match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let host = usize::from(last.checked_sub(1)?);
        (host < self.hosts && address(self.ip, host) == ip).then_some(host)
    }

    fn arrive(&mut self, p: usize, mut packet: Vec<u8>, deliver: &mut impl FnMut(usize, &[u8]) -> bool) {
        let to = self.pipes[p].to;
        if let Some(trace) = &mut self.trace {
            trace.left(self.now, p, &packet);
        }
        if to < self.hosts {
            if !deliver(to, &packet) {
                return self.lose(p, packet, Loss::HostOff);
            }
        } else if edit::age(&mut packet)
            && let Some(next) = self.route(to, &packet)
        {
            self.delivered(p, packet.len());
            return self.enter(next, packet);
        } else {
            return self.lose(p, packet, Loss::NoRoute);
        }
        if let Some(trace) = &mut self.trace {
            trace.arrived(self.now, &packet);
        }
        self.delivered(p, packet.len());
        self.pool.give(packet);
    }

    fn delivered(&mut self, p: usize, len: usize) {
        let tally = &mut self.pipes[p].tally;
        tally.delivered += 1;
        tally.delivered_bytes += len as u64;
    }

    /// A packet comes to a pipe.
    fn enter(&mut self, p: usize, packet: Vec<u8>) {
        let now = self.now;
        let pipe = &mut self.pipes[p];
        pipe.tally.packets += 1;
        pipe.tally.bytes += packet.len() as u64;
        let link = pipe.link;
        if let Some(trace) = &mut self.trace {
            trace.entered(now, p, &packet);
        }
        if pipe.is_down(now) {
            return self.lose(p, packet, Loss::Down);
        }
        if self.boxes[link].is_empty() {
            return self.cross(p, packet);
        }
        self.through_boxes(p, 0, VecDeque::from([packet]));
    }

    /// Packets go through the boxes of a link, from the one at this place on.
    fn through_boxes(&mut self, p: usize, first: usize, mut packets: VecDeque<Vec<u8>>) {
        let (link, way) = (self.pipes[p].link, self.pipes[p].way);
        let count = self.boxes[link].len();
        let mut out = Vec::new();
        for place in first..count {
            let index = if way == 0 { place } else { count - 1 - place };
            while let Some(packet) = packets.pop_front() {
                let mtu = self.pipes[p].mtu(self.now).into();
                let mut tools = Tools { now: self.now, way, mtu, pool: &mut self.pool };
                if let Some(at) = self.boxes[link][index].pass(&mut tools, packet, &mut out) {
                    self.plan(at, What::Flush { pipe: p as u32, place: place as u32 });
                }
            }
            packets.extend(out.drain(..));
        }
        for packet in packets {
            self.cross(p, packet);
        }
    }

    fn flush(&mut self, p: usize, place: usize) {
        let (link, way) = (self.pipes[p].link, self.pipes[p].way);
        let count = self.boxes[link].len();
        let index = if way == 0 { place } else { count - 1 - place };
        let mut out = Vec::new();
        // The next flush was planned with the packet that it is for.
        self.boxes[link][index].flush(self.now, way, &mut out);
        self.through_boxes(p, place + 1, out.into());
    }

    /// A packet begins its way over a pipe.
    fn cross(&mut self, p: usize, mut packet: Vec<u8>) {
        let now = self.now;
        let pipe = &mut self.pipes[p];
        if let Some(cause) = pipe.loses() {
            return self.lose(p, packet, cause);
        }
        if !pipe.fits(now, packet.len()) {
            if !pipe.black_hole {
                self.tell(p, &packet);
            }
            return self.lose(p, packet, Loss::TooBig);
        }
        if pipe.disturb(&mut packet) {
            let copy = self.pool.copy(&packet);
            self.enqueue(p, packet);
            packet = copy;
        }
        self.enqueue(p, packet);
    }

    fn enqueue(&mut self, p: usize, packet: Vec<u8>) {
        let now = self.now;
        let pipe = &mut self.pipes[p];
        if pipe.busy {
            if let Err(packet) = pipe.queue.push(now, packet) {
                self.lose(p, packet, Loss::QueueFull);
            }
            return;
        }
        self.put_on_wire(p, packet);
    }

    fn put_on_wire(&mut self, p: usize, packet: Vec<u8>) {
        let pipe = &mut self.pipes[p];
        let mut sent = self.now;
        let sending = pipe.sending(packet.len());
        if let Some(time) = sending {
            sent += time;
            pipe.busy = true;
        }
        let at = pipe.arrival(sent);
        if sending.is_some() {
            self.plan(sent, What::Sent { pipe: p as u32 });
        }
        let slot = self.pool.store(packet);
        self.plan(at, What::Arrive { pipe: p as u32, slot });
    }

    fn next_of_queue(&mut self, p: usize) {
        let pipe = &mut self.pipes[p];
        pipe.busy = false;
        if pipe.queue.is_empty() {
            // CoDel has to learn that the queue is empty.
            pipe.queue.pop(self.now, &mut self.dropped);
            return;
        }
        let next = pipe.queue.pop(self.now, &mut self.dropped);
        if !self.dropped.is_empty() {
            for packet in std::mem::take(&mut self.dropped) {
                self.lose(p, packet, Loss::CoDel);
            }
        }
        if let Some(packet) = next {
            self.put_on_wire(p, packet);
        }
    }

    fn lose(&mut self, p: usize, packet: Vec<u8>, cause: Loss) {
        self.pipes[p].tally.lost[cause as usize] += 1;
        if let Some(trace) = &mut self.trace {
            trace.lost(self.now, &packet);
        }
        self.pool.give(packet);
    }

    /// Tells the sender of a packet that it is too large.
    fn tell(&mut self, p: usize, packet: &[u8]) {
        let pipe = &self.pipes[p];
        let (from, mtu) = (pipe.from, pipe.mtu(self.now));
        let Some(message) = edit::too_big(link_address(self.ip, p), packet, mtu) else { return };
        if from < self.hosts {
            let slot = self.pool.store(message);
            self.plan(self.now, What::Tell { pipe: p as u32, slot });
        } else if let Some(next) = self.route(from, &message) {
            self.enter(next, message);
        }
    }

    /// What was asked for, and how often it happened.
    pub(crate) fn faults(&self, scenario: &Scenario) -> Vec<Fault> {
        let mut faults = Vec::new();
        for pipe in &self.pipes {
            let place = direction_name(scenario, pipe);
            let asked = pipe.faults().into_iter();
            faults.extend(asked.map(|(fault, fired)| Fault { place: place.clone(), fault, fired }));
        }
        for (link, boxes) in scenario.links.iter().zip(&self.boxes) {
            let asked = boxes.iter().flat_map(Middlebox::faults);
            faults.extend(asked.map(|(fault, fired)| Fault { place: link.title(), fault, fired }));
        }
        faults
    }
}

/// `client -> server`, with the link's own name if it has one.
pub(crate) fn direction_name(scenario: &Scenario, pipe: &Pipe) -> String {
    let link = &scenario.links[pipe.link];
    let [from, to] = [&link.between[pipe.way], &link.between[1 - pipe.way]];
    match &link.name {
        Some(name) => format!("{name}: {from} -> {to}"),
        None => format!("{from} -> {to}"),
    }
}

/// Shortest ways, in links; of equal ones the first in the scenario. Hosts do not forward.
fn routes(hosts: usize, nodes: usize, pipes: &[Pipe]) -> Vec<Vec<Option<u32>>> {
    let mut routes = vec![vec![None; hosts]; nodes];
    for host in 0..hosts {
        let mut frontier = VecDeque::from([host]);
        let mut seen = vec![false; nodes];
        seen[host] = true;
        while let Some(node) = frontier.pop_front() {
            if node != host && node < hosts {
                continue;
            }
            for (number, pipe) in pipes.iter().enumerate().filter(|(_, pipe)| pipe.to == node) {
                if !seen[pipe.from] {
                    seen[pipe.from] = true;
                    routes[pipe.from][host] = Some(number as u32);
                    frontier.push_back(pipe.from);
                }
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests;

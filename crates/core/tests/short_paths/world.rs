//! Two stacks on a line with faults by chance, and all that can be seen of them, step by step.

use super::chance::Chance;
use super::common::{Sent, addresses, icmp_error, set_tos};
use core::fmt::Debug;
use core::net::SocketAddr;
use core::time::Duration;
use lastack_core::wire::{Capabilities, PacketMeta, SeqNumber, tcp};
use lastack_core::{Config, Counters, Instant, SendFlags, ShortPaths, Shutdown, Stack, TcpHandle, TcpOption};
use std::collections::BTreeMap;

/// Of a thousand packets so many meet this.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: usize,
    pub(crate) twice: usize,
    pub(crate) late: usize,
    pub(crate) marked: usize,
    pub(crate) damaged: usize,
    /// A router says something of it.
    pub(crate) reported: usize,
    /// Another comes behind it that differs in a field.
    pub(crate) forged: usize,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) what: String,
    /// The packet that was sent, if it was one.
    pub(crate) packet: Vec<u8>,
    /// What both stacks were like after it.
    pub(crate) prints: [u128; 2],
}

/// A socket.
#[derive(Clone, Debug)]
struct Socket {
    side: usize,
    handle: TcpHandle,
    /// Bytes sent.
    sent: usize,
    /// Bytes read.
    read: usize,
    /// Reads whatever comes.
    greedy: bool,
}

/// Two stacks, each with a listener at port 80.
pub(crate) struct World {
    stacks: [Stack; 2],
    now: Instant,
    pub(crate) latency: Duration,
    pub(crate) faults: Faults,
    /// Decides what becomes of packets.
    chance: Chance,
    line: BTreeMap<(Instant, u64), (usize, Vec<u8>, PacketMeta)>,
    serial: u64,
    listeners: Vec<TcpHandle>,
    sockets: Vec<Socket>,
    v6: bool,
    /// No byte was urgent or forged: what is read is what was sent.
    plain_streams: bool,
    pub(crate) seen: Vec<Seen>,
    frame: Vec<u8>,
}

/// A run ends when so much was seen.
const ENOUGH: usize = 3000;
/// The largest write.
const LONGEST: usize = 200_000;

/// The byte at a place of every stream.
fn byte_at(at: usize) -> u8 {
    (at * 7 + (at >> 8) * 13 + (at >> 16)) as u8
}

impl World {
    pub(crate) fn new(
        v6: bool,
        caps: Capabilities,
        configs: [Config; 2],
        declined: ShortPaths,
        seed: u64,
    ) -> Self {
        let now = Instant::from_secs(1000);
        let (a, b) = addresses(v6);
        let stack = |(mut config, own): (Config, core::net::IpAddr)| {
            config.addresses = vec![format!("{own}/{}", if v6 { 64 } else { 24 }).parse().unwrap()];
            config.trace_transitions = true;
            config.declined = declined;
            let mut stack = Stack::new(config, caps, [u8::from(own == b); 32], now);
            let listener = stack.tcp_socket();
            stack.tcp_bind(listener, (own, 80).into()).unwrap();
            stack.tcp_listen(now, listener, 8).unwrap();
            (stack, listener)
        };
        let [one, two] = configs;
        let ((one, at_one), (two, at_two)) = (stack((one, a)), stack((two, b)));
        Self {
            stacks: [one, two],
            now,
            latency: Duration::from_millis(1),
            faults: Faults::default(),
            chance: Chance::new(seed ^ 0x11fe),
            line: BTreeMap::new(),
            serial: 0,
            listeners: vec![at_one, at_two],
            sockets: Vec::new(),
            v6,
            plain_streams: true,
            seen: Vec::new(),
            frame: vec![0; 70_000],
        }
    }

    /// How often each stack could have taken a path.
    pub(crate) fn fits(&self, path: ShortPaths) -> u64 {
        self.stacks.iter().map(|stack| stack.short_path_fits(path)).sum()
    }

    /// Segments that both took by header prediction.
    pub(crate) fn predicted(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.counters().predicted).sum()
    }

    fn is_over(&self) -> bool {
        self.seen.len() > ENOUGH
    }

    pub(crate) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn see(&mut self, what: String, packet: Vec<u8>) {
        let now = self.now;
        let prints = self.stacks.each_ref().map(|stack| stack.fingerprint(now));
        self.seen.push(Seen { what, packet, prints });
    }

    /// A call was made at a socket.
    fn called(&mut self, socket: usize, call: &str, result: &dyn Debug) {
        let Socket { side, handle, .. } = self.sockets[socket];
        let stack = &self.stacks[side];
        let (info, ready) = (stack.tcp_info(handle), stack.tcp_ready(handle));
        self.see(format!("socket {socket} {call}: {result:?}, {ready:?}, {info:?}"), Vec::new());
        self.carry();
    }

    /// A socket of `side` is opened, with options set before.
    pub(crate) fn connect(&mut self, side: usize, options: &[TcpOption]) {
        let (a, b) = addresses(self.v6);
        let to = SocketAddr::new(if side == 0 { b } else { a }, 80);
        let stack = &mut self.stacks[side];
        let handle = stack.tcp_socket();
        for option in options {
            let _ = stack.tcp_set_option(self.now, handle, option.clone());
        }
        let result = stack.tcp_connect(self.now, handle, to);
        self.sockets.push(Socket { side, handle, sent: 0, read: 0, greedy: true });
        self.called(self.sockets.len() - 1, "connects", &result);
    }

    pub(crate) fn send(&mut self, socket: usize, len: usize, flags: SendFlags) {
        let Socket { side, handle, sent, .. } = self.sockets[socket];
        let bytes: Vec<u8> = (sent..sent + len.min(LONGEST)).map(byte_at).collect();
        let result = self.stacks[side].tcp_send(self.now, handle, &bytes, flags);
        self.plain_streams &= !flags.contains(SendFlags::URGENT);
        self.sockets[socket].sent += result.unwrap_or(0);
        self.called(socket, "sends", &result);
    }

    /// Gives what was read.
    pub(crate) fn read(&mut self, socket: usize, most: usize) -> usize {
        let Socket { side, handle, read, .. } = self.sockets[socket];
        let mut bytes = vec![0; most];
        let result = self.stacks[side].tcp_read(self.now, handle, &mut bytes);
        let len = result.unwrap_or(0);
        if self.plain_streams {
            assert!(
                bytes.iter().take(len).enumerate().all(|(i, byte)| *byte == byte_at(read + i)),
                "other text"
            );
        }
        self.sockets[socket].read += len;
        self.called(socket, "reads", &result);
        len
    }

    pub(crate) fn read_urgent(&mut self, socket: usize) {
        let Socket { side, handle, .. } = self.sockets[socket];
        let result = self.stacks[side].tcp_read_urgent(handle);
        self.called(socket, "reads urgent", &result);
    }

    pub(crate) fn shutdown(&mut self, socket: usize, how: Shutdown) {
        let Socket { side, handle, .. } = self.sockets[socket];
        let result = self.stacks[side].tcp_shutdown(self.now, handle, how);
        self.called(socket, "shuts down", &result);
    }

    pub(crate) fn push(&mut self, socket: usize) {
        let Socket { side, handle, .. } = self.sockets[socket];
        self.stacks[side].tcp_push(self.now, handle);
        self.called(socket, "pushes", &());
    }

    pub(crate) fn option(&mut self, socket: usize, option: TcpOption) {
        let Socket { side, handle, .. } = self.sockets[socket];
        let result = self.stacks[side].tcp_set_option(self.now, handle, option);
        self.called(socket, "sets an option", &result);
    }

    pub(crate) fn greedy(&mut self, socket: usize, greedy: bool) {
        self.sockets[socket].greedy = greedy;
    }

    /// Closes the socket, or ends it at once.
    pub(crate) fn let_go(&mut self, socket: usize, abort: bool) {
        let Socket { side, handle, .. } = self.sockets[socket];
        let stack = &mut self.stacks[side];
        let (history, unacked) = (stack.tcp_history(handle), stack.tcp_unacked(handle));
        if abort {
            stack.tcp_abort(self.now, handle);
        } else {
            stack.tcp_close(self.now, handle);
        }
        self.called(socket, if abort { "aborts" } else { "closes" }, &(history, unacked));
    }

    /// Time passes.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while !self.is_over() {
            let arrival = self.line.first_key_value().map(|((at, _), _)| *at);
            let timers = self.stacks.each_ref().map(Stack::next_timeout);
            let next = timers.into_iter().chain([arrival]).flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            let before = self.seen.len();
            while let Some(entry) = self.line.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, packet, meta) = entry.remove();
                self.stacks[to].receive(self.now, &meta, &packet);
                self.see(format!("a packet arrives at {to}"), Vec::new());
                self.carry();
            }
            self.timers();
            // A deadline may come early, and that is no matter of what happens.
            if self.seen.len() > before {
                self.applications();
            }
        }
        self.now = end;
        self.timers();
    }

    fn timers(&mut self) {
        let now = self.now;
        for stack in &mut self.stacks {
            stack.handle_timeout(now);
        }
        self.carry();
    }

    /// Sockets are accepted, and the greedy ones read.
    fn applications(&mut self) {
        for side in 0..2 {
            while let Ok(handle) = self.stacks[side].tcp_accept(self.listeners[side]) {
                let greedy = self.chance.half();
                self.sockets.push(Socket { side, handle, sent: 0, read: 0, greedy });
                self.see(format!("socket {} is accepted", self.sockets.len() - 1), Vec::new());
            }
        }
        for socket in 0..self.sockets.len() {
            let Socket { side, handle, greedy, .. } = self.sockets[socket];
            let there = |stack: &Stack| stack.tcp_ready(handle).contains(lastack_core::Ready::IN);
            if greedy && there(&self.stacks[side]) {
                self.read(socket, 65_536);
            }
        }
    }

    /// Puts what the stacks send on the line, and takes their news.
    fn carry(&mut self) {
        for side in 0..2 {
            while let Some((len, meta)) = self.stacks[side].transmit(self.now, &mut self.frame) {
                let packet = self.frame[..len].to_vec();
                self.see(format!("{side} sends {len} bytes at {:?}, {meta:?}", self.now), packet.clone());
                self.fly(1 - side, packet, meta);
            }
            let stack = &mut self.stacks[side];
            let events: Vec<_> = std::iter::from_fn(|| stack.poll_event()).collect();
            let transitions: Vec<_> = std::iter::from_fn(|| stack.poll_transition()).collect();
            if !(events.is_empty() && transitions.is_empty()) {
                let counters = Counters { predicted: 0, ..*stack.counters() };
                let what = format!(
                    "news of {side}: {events:?}, {transitions:?}, {counters:?}, {:?}",
                    stack.counts()
                );
                self.see(what, Vec::new());
            }
        }
    }

    fn fly(&mut self, to: usize, mut packet: Vec<u8>, meta: PacketMeta) {
        let Faults { lost, twice, late, marked, damaged, reported, forged } = self.faults;
        let plain = meta == PacketMeta::default();
        if self.chance.in_thousand(reported) && plain {
            self.report(1 - to, &packet);
        }
        if self.chance.in_thousand(forged) && plain {
            self.plain_streams = false;
            let other = self.forge(1 - to, &packet);
            self.enter(self.now + self.latency, to, other, meta);
        }
        if self.chance.in_thousand(lost) {
            return;
        }
        let tos = if self.v6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] };
        if self.chance.in_thousand(marked) && tos & 3 != 0 {
            set_tos(&mut packet, tos | 3);
        }
        if self.chance.in_thousand(damaged) && plain {
            let at = self.chance.below(packet.len());
            packet[at] ^= 1 << self.chance.below(8);
        }
        let mut at = self.now + self.latency;
        if self.chance.in_thousand(twice) {
            self.enter(at + self.latency / 2, to, packet.clone(), meta);
        }
        if self.chance.in_thousand(late) {
            at += self.latency * (1 + self.chance.below(8) as u32) / 4;
        }
        self.enter(at, to, packet, meta);
    }

    /// The packet with another number, window or flag.
    fn forge(&mut self, sender: usize, packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let (a, b) = addresses(self.v6);
        let (from, to) = if sender == 0 { (a, b) } else { (b, a) };
        let segment = &mut packet[if self.v6 { 40 } else { 20 }..];
        let near = self.chance.of(&[1, 7, 300, 2000, 70_000, 0u32.wrapping_sub(1), 0u32.wrapping_sub(700)]);
        let number = |at: usize, segment: &mut [u8]| {
            let old = u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
            segment[at..at + 4].copy_from_slice(&old.wrapping_add(near).to_be_bytes());
        };
        match self.chance.below(4) {
            0 => number(4, segment),
            1 => number(8, segment),
            2 => segment[14..16].copy_from_slice(&self.chance.of(&[0u16, 0, 1, 40, 2000]).to_be_bytes()),
            _ => segment[13] ^= self.chance.of(&[0x01, 0x08, 0x10, 0x20, 0x40, 0x80]),
        }
        tcp::fill_checksum(from, to, segment).unwrap();
        packet
    }

    /// An ICMP error about a packet goes back to its sender.
    fn report(&mut self, sender: usize, packet: &[u8]) {
        let Some(sent) = Sent::parse(self.now, packet, SeqNumber(0), SeqNumber(0)) else { return };
        let (a, b) = addresses(self.v6);
        let (from, to) = if sender == 0 { (a, b) } else { (b, a) };
        let kind = self.chance.of(&["net", "host", "ttl", "parameter", "port", "big"]);
        let error = icmp_error(kind, 1300, (from, sent.ports.0).into(), (to, sent.ports.1).into(), sent.seq);
        self.enter(self.now + self.latency, sender, error, PacketMeta::default());
    }

    fn enter(&mut self, at: Instant, to: usize, packet: Vec<u8>, meta: PacketMeta) {
        self.serial += 1;
        self.line.insert((at, self.serial), (to, packet, meta));
    }
}

//! Two stacks on a line with latency and faults, in virtual time.

use super::packet::{Sent, set_tos};
use core::net::SocketAddr;
use core::time::Duration;
use lastack_core::wire::tcp::Flags;
use lastack_core::wire::{Capabilities, PacketMeta, SeqNumber};
use lastack_core::{Config, Event, Instant, Stack, State, TcpHandle, TransitionEvent};
use std::collections::BTreeMap;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the line does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Deliver,
    Drop,
    /// Arrives with a congestion mark if it may be marked.
    Mark,
    /// Arrives later by this much.
    Delay(Duration),
    /// Arrives twice, the second time later by this much.
    Duplicate(Duration),
}

/// A packet on the line, with relative numbers.
#[derive(Clone, Debug)]
pub struct Flying {
    pub from: Side,
    pub sent: Sent,
    /// How many packets of this side came before it, from 0.
    pub index: usize,
}

type Rule = Box<dyn FnMut(&Flying) -> Fate>;

/// The two stacks: A at 192.0.2.1, B at 192.0.2.2.
pub struct Pair {
    pub a: Stack,
    pub b: Stack,
    pub now: Instant,
    pub latency: Duration,
    rule: Rule,
    line: BTreeMap<(Instant, u64), (Side, Vec<u8>)>,
    serial: u64,
    counts: [usize; 2],
    /// ISNs of A and B, from the last SYN of each.
    pub iss: [SeqNumber; 2],
    /// All that was sent: who, what; dropped packets too.
    pub log: Vec<Flying>,
    /// Every packet with the side that it is for, while [`Pair::keep_packets`] is on.
    packets: Option<Vec<(Side, Vec<u8>)>>,
    pub transitions: Vec<(Side, TransitionEvent)>,
    pub events: Vec<(Side, Event)>,
}

impl Pair {
    pub const A: [u8; 4] = [192, 0, 2, 1];
    pub const B: [u8; 4] = [192, 0, 2, 2];

    pub fn new(config: &Config, latency: Duration) -> Self {
        let now = Instant::from_secs(1000);
        let stack = |ip: [u8; 4], seed| {
            let mut config = config.clone();
            config.trace_transitions = true;
            config.addresses = vec![format!("{}/24", core::net::Ipv4Addr::from(ip)).parse().unwrap()];
            Stack::new(config, Capabilities::plain(1500), [seed; 32], now)
        };
        Self {
            a: stack(Self::A, 1),
            b: stack(Self::B, 2),
            now,
            latency,
            rule: Box::new(|_| Fate::Deliver),
            line: BTreeMap::new(),
            serial: 0,
            counts: [0; 2],
            iss: [SeqNumber(0); 2],
            log: Vec::new(),
            packets: None,
            transitions: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What the line does from now on.
    pub fn rule(&mut self, rule: impl FnMut(&Flying) -> Fate + 'static) {
        self.rule = Box::new(rule);
    }

    pub fn perfect(&mut self) {
        self.rule(|_| Fate::Deliver);
    }

    pub fn stack(&mut self, side: Side) -> &mut Stack {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub fn addr(side: Side, port: u16) -> SocketAddr {
        match side {
            Side::A => (Self::A, port).into(),
            Side::B => (Self::B, port).into(),
        }
    }

    /// A connected to B's port 80: the handles of both.
    pub fn connected(&mut self) -> (TcpHandle, TcpHandle) {
        let (client, _, server) = self.connected_with_listener();
        (client, server)
    }

    pub fn connected_with_listener(&mut self) -> (TcpHandle, TcpHandle, TcpHandle) {
        let listener = self.b.tcp_socket();
        self.b.tcp_bind(listener, Self::addr(Side::B, 80)).unwrap();
        self.b.tcp_listen(self.now, listener, 16).unwrap();
        let client = self.a.tcp_socket();
        self.a.tcp_connect(self.now, client, Self::addr(Side::B, 80)).unwrap();
        self.run(self.latency * 4 + Duration::from_millis(1));
        let server = self.b.tcp_accept(listener).expect("the handshake did not complete");
        (client, listener, server)
    }

    /// Carries packets that are due and lets timers fire, for `time`.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0u32;
        loop {
            rounds += 1;
            assert!(rounds < 2_000_000, "the stacks never come to rest");
            self.collect(Side::A);
            self.collect(Side::B);
            let arrival = self.line.first_key_value().map(|((at, _), _)| *at);
            let timers = [self.a.next_timeout(), self.b.next_timeout(), arrival];
            let Some(next) = timers.into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            while let Some(entry) = self.line.first_entry().filter(|entry| entry.key().0 <= now) {
                let (to, packet) = entry.remove();
                self.stack(to).receive(now, &PacketMeta::default(), &packet);
            }
            for side in [Side::A, Side::B] {
                let stack = self.stack(side);
                if stack.next_timeout().is_some_and(|at| at <= now) {
                    stack.handle_timeout(now);
                }
            }
        }
        self.now = end;
    }

    fn collect(&mut self, side: Side) {
        let mut frame = vec![0; 70_000];
        let now = self.now;
        while let Some((len, _)) = self.stack(side).transmit(now, &mut frame) {
            let packet = frame[..len].to_vec();
            self.fly(side, packet);
        }
        while let Some(event) = self.stack(side).poll_event() {
            self.events.push((side, event));
        }
        while let Some(transition) = self.stack(side).poll_transition() {
            self.transitions.push((side, transition));
        }
        assert_eq!(self.stack(side).counters().illegal_transitions, 0, "an illegal transition at {side:?}");
    }

    fn fly(&mut self, from: Side, packet: Vec<u8>) {
        let at = self.now + self.latency;
        let parse = |iss: &[SeqNumber; 2]| {
            Sent::parse(self.now, &packet, iss[from as usize], iss[from.other() as usize])
        };
        let Some(mut sent) = parse(&self.iss) else {
            return self.enter(at, from.other(), packet);
        };
        if sent.flags.contains(Flags::SYN) {
            self.iss[from as usize] = sent.seq;
            sent = Sent::parse(self.now, &packet, sent.seq, self.iss[from.other() as usize]).unwrap();
        }
        let flying = Flying { from, sent, index: self.counts[from as usize] };
        self.counts[from as usize] += 1;
        if let Some(packets) = &mut self.packets {
            packets.push((from.other(), packet.clone()));
        }
        let (fate, tos) = ((self.rule)(&flying), flying.sent.tos());
        self.log.push(flying);
        match fate {
            Fate::Deliver => self.enter(at, from.other(), packet),
            Fate::Mark => {
                let mut packet = packet;
                if tos & 3 != 0 {
                    set_tos(&mut packet, tos | 3);
                }
                self.enter(at, from.other(), packet);
            }
            Fate::Drop => {}
            Fate::Delay(more) => self.enter(at + more, from.other(), packet),
            Fate::Duplicate(more) => {
                self.enter(at, from.other(), packet.clone());
                self.enter(at + more, from.other(), packet);
            }
        }
    }

    /// Keeps copies of the packets from now on, or forgets them.
    pub fn keep_packets(&mut self, on: bool) {
        self.packets = on.then(Vec::new);
    }

    pub fn take_packets(&mut self) -> Vec<(Side, Vec<u8>)> {
        self.packets.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts a packet on the line that no stack has sent.
    pub fn inject(&mut self, to: Side, packet: Vec<u8>) {
        self.enter(self.now, to, packet);
    }

    fn enter(&mut self, at: Instant, to: Side, packet: Vec<u8>) {
        self.serial += 1;
        self.line.insert((at, self.serial), (to, packet));
    }

    /// Takes the log as lines: `A FIN,ACK 0(0) ack 0`.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.drain(..).map(|flying| format!("{:?} {}", flying.from, flying.sent)).collect()
    }

    /// State of the record at `side` of the connection between the two addresses.
    pub fn record(&mut self, side: Side, client: SocketAddr) -> Option<State> {
        let server = Self::addr(Side::B, 80);
        match side {
            Side::A => self.a.tcp_record_state(client, server),
            Side::B => self.b.tcp_record_state(server, client),
        }
    }

    /// `(from, to)` of all transitions of one side so far.
    pub fn path(&self, side: Side) -> Vec<State> {
        self.transitions.iter().filter(|(of, _)| *of == side).map(|(_, event)| event.transition.to).collect()
    }
}

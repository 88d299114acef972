//! Hosts, their applications, the network and the time.

use crate::flow::{End, Io, Scratch, Step, programs};
use crate::net::{Dice, Network, Purpose, address};
use crate::node::{Lastack, Node, Settings, Smoltcp, Sock};
use crate::report::{Failure, FailureKind};
use crate::scenario::{Scenario, StackKind, Who};
use crate::trace::Series;
use lastack_core::{Config, Ending, Instant};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The port of the first flow's listener; the others follow.
const FIRST_PORT: u16 = 1000;
/// The first port of those from which both ends connect, and how many there are: none that a stack chooses by itself.
const CROSSED: (u16, u32) = (12_000, 20_000);
/// Rounds at one instant before the run is called stalled: far above what any exchange needs.
const ROUNDS: u32 = 1_000_000;
/// Rounds from one report of progress to the next.
const PROGRESS: u32 = 65_536;

type Tune = Option<fn(&str, &mut Config)>;
/// One end of one connection.
type Who2 = (u32, Who);

/// To whom a socket belongs.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Listener(usize),
    End(Who2),
}

/// A host in the run.
pub(super) struct Host {
    pub(super) node: Node,
    /// How often it was switched on.
    life: u64,
    pub(super) off: bool,
    /// What each of its outages met: connections that it ended, and packets that came in vain.
    pub(super) outages: Vec<u64>,
    /// The outage that it is in, or was in last.
    outage: usize,
    timer: Option<Instant>,
    touched: bool,
    owners: Vec<Option<Owner>>,
    /// Ends by the stack's numbers of their connections. Only looked up, never walked through.
    ids: HashMap<u32, Who2>,
    /// How connections ended that nobody has accepted yet.
    unclaimed: HashMap<u32, Ending>,
}

/// A connection in the run.
pub(super) struct Connection {
    pub(super) flow: usize,
    pub(super) index: u32,
    pub(super) began: Instant,
    pub(super) client: End,
    pub(super) server: Option<End>,
}

impl Connection {
    pub(super) fn end(&self, who: Who) -> Option<&End> {
        match who {
            Who::Client => Some(&self.client),
            Who::Server => self.server.as_ref(),
        }
    }

    fn end_mut(&mut self, who: Who) -> Option<&mut End> {
        match who {
            Who::Client => Some(&mut self.client),
            Who::Server => self.server.as_mut(),
        }
    }
}

/// A flow with what all its connections share.
struct Flow {
    from: usize,
    to: usize,
    at: SocketAddr,
    settings: Settings,
    programs: [Arc<[Step]>; 2],
    patience: Option<Duration>,
    simultaneous: bool,
}

/// Everything.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    tune: Tune,
    pub(super) now: Instant,
    pub(super) net: Network,
    pub(super) hosts: Vec<Host>,
    flows: Vec<Flow>,
    pub(super) connections: Vec<Connection>,
    /// Connections by client and server. Only looked up, never walked through.
    tuples: HashMap<(SocketAddr, SocketAddr), u32>,
    /// Beginnings that are still to come, the next one last.
    starts: Vec<(Instant, usize, u32)>,
    wakes: BinaryHeap<Reverse<(Instant, u64, Who2)>>,
    serial: u64,
    /// Hosts that go off (false) and on, with the number of the outage.
    incidents: VecDeque<(Instant, usize, bool, usize)>,
    touched: Vec<usize>,
    sample: Option<(Duration, Instant)>,
    pub(super) series: HashMap<Who2, Series>,
    pub(super) strays: u64,
    scratch: Scratch,
    frame: Vec<u8>,
    socks: Vec<Sock>,
    content: u64,
    pub(super) progress: Option<Box<dyn FnMut(Duration, u64) + Send>>,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64, tune: Tune) -> Result<Self, String> {
        let net = Network::new(scenario, seed)?;
        let mut world = Self {
            scenario,
            seed,
            tune,
            now: Instant::ZERO,
            net,
            hosts: Vec::new(),
            flows: Vec::new(),
            connections: Vec::new(),
            tuples: HashMap::new(),
            starts: Vec::new(),
            wakes: BinaryHeap::new(),
            serial: 0,
            incidents: VecDeque::new(),
            touched: Vec::new(),
            sample: None,
            series: HashMap::new(),
            strays: 0,
            scratch: Scratch::default(),
            frame: vec![0; 65_536],
            socks: Vec::new(),
            content: Dice::new(seed, Purpose::Content, 0).word(),
            progress: None,
        };
        for host in 0..scenario.hosts.len() {
            let node = world.node(host, 0)?;
            world.hosts.push(Host {
                node,
                life: 0,
                off: false,
                outages: vec![0; scenario.hosts[host].outages.len()],
                outage: 0,
                timer: None,
                touched: false,
                owners: Vec::new(),
                ids: HashMap::new(),
                unclaimed: HashMap::new(),
            });
        }
        world.plan_flows();
        world.plan_incidents();
        for flow in 0..world.flows.len() {
            world.listen(flow)?;
        }
        Ok(world)
    }

    fn node(&self, host: usize, life: u64) -> Result<Node, String> {
        let spec = &self.scenario.hosts[host];
        let address = address(self.scenario.ip, host);
        let mtu = self.net.mtu(host);
        let mut dice = Dice::new(self.seed, Purpose::Stack, ((host as u64) << 32) | life);
        Ok(match spec.stack {
            StackKind::Lastack => {
                let mut config = crate::node::configuration(spec, address)?;
                if let Some(tune) = self.tune {
                    tune(&spec.name, &mut config);
                }
                Node::Lastack(Lastack::new(self.now, config, mtu, dice.seed()))
            }
            StackKind::Smoltcp => {
                let node = Smoltcp::new(self.now, spec, address, mtu, dice.word());
                Node::Smoltcp(node.map_err(|error| format!("host {}: {error}", spec.name))?)
            }
        })
    }

    fn plan_flows(&mut self) {
        for (number, spec) in self.scenario.flows.iter().enumerate() {
            let host = |name: &str| self.scenario.node(name).unwrap_or_default();
            let to = host(&spec.to);
            self.flows.push(Flow {
                from: host(&spec.from),
                to,
                at: SocketAddr::new(address(self.scenario.ip, to), FIRST_PORT + number as u16),
                settings: Settings {
                    congestion: spec.congestion.clone(),
                    nodelay: spec.nodelay,
                    fast_open: spec.fast_open,
                },
                programs: programs(&spec.model),
                patience: spec.patience.map(|patience| patience.0),
                simultaneous: spec.simultaneous,
            });
            let mut dice = Dice::new(self.seed, Purpose::Start, number as u64);
            let mut at = Instant::ZERO + spec.start.0;
            for index in 0..spec.count {
                let spread = dice.below(spec.spread.0.as_nanos() as u64 + 1);
                self.starts.push((at + Duration::from_nanos(spread), number, index));
                at += if spec.poisson { dice.exponential(spec.spacing.0) } else { spec.spacing.0 };
            }
        }
        self.starts.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn plan_incidents(&mut self) {
        let mut incidents = Vec::new();
        for (host, spec) in self.scenario.hosts.iter().enumerate() {
            for (number, outage) in spec.outages.iter().enumerate() {
                let at = Instant::ZERO + outage.at.0;
                incidents.push((at, host, false, number));
                incidents.extend(outage.lasts.map(|lasts| (at + lasts.0, host, true, number)));
            }
        }
        incidents.sort_unstable();
        self.incidents = incidents.into();
    }

    pub(super) fn sample_every(&mut self, interval: Option<Duration>) {
        self.sample = interval.filter(|interval| !interval.is_zero()).map(|i| (i, Instant::ZERO));
    }

    fn listen(&mut self, number: usize) -> Result<(), String> {
        let flow = &self.flows[number];
        if flow.simultaneous {
            return Ok(());
        }
        let (to, at) = (flow.to, flow.at);
        let listening = self.hosts[to].node.listen(self.now, at, &flow.settings);
        let title = self.scenario.flows[number].title();
        let sock = listening.map_err(|error| format!("flow {title}: the server cannot listen: {error}"))?;
        self.own(to, sock, Owner::Listener(number));
        Ok(())
    }

    fn own(&mut self, host: usize, sock: Sock, owner: Owner) {
        let owners = &mut self.hosts[host].owners;
        if owners.len() <= sock {
            owners.resize(sock + 1, None);
        }
        owners[sock] = Some(owner);
        self.touch(host);
    }

    fn touch(&mut self, host: usize) {
        if !self.hosts[host].touched {
            self.hosts[host].touched = true;
            self.touched.push(host);
        }
    }

    /// Runs until nothing is left to happen.
    ///
    /// # Errors
    /// It takes too long, or time stands still.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        self.run_to_rest()?;
        // Listeners wait for ever; without them everything has to be gone.
        for host in 0..self.hosts.len() {
            let owners = self.hosts[host].owners.iter().enumerate();
            let is_listener = |(sock, owner): (Sock, &Option<Owner>)| {
                matches!(owner, Some(Owner::Listener(_))).then_some(sock)
            };
            let listeners: Vec<_> = owners.filter_map(is_listener).collect();
            for sock in listeners {
                self.hosts[host].node.close(self.now, sock);
                self.hosts[host].owners[sock] = None;
                self.touch(host);
            }
        }
        self.run_to_rest()
    }

    fn run_to_rest(&mut self) -> Result<(), Failure> {
        let limit = Instant::ZERO + self.scenario.limit.0;
        let (mut rounds, mut until_progress) = (0, PROGRESS);
        self.settle();
        while let Some(next) = self.next_time() {
            if next > limit {
                let text = format!("it is not over at {} of virtual time", self.scenario.limit);
                return Err(Failure { kind: FailureKind::TimeLimit, text });
            }
            rounds = if next > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS {
                let text = format!("the hosts never come to rest at {} s of virtual time", self.now);
                return Err(Failure { kind: FailureKind::Stalled, text });
            }
            self.now = next.max(self.now);
            self.step();
            self.settle();
            until_progress -= 1;
            if until_progress == 0 {
                until_progress = PROGRESS;
                if let Some(progress) = &mut self.progress {
                    progress(self.now - Instant::ZERO, self.net.digest.packets);
                }
            }
        }
        Ok(())
    }

    /// When something is due, but for samples.
    fn next_event(&self) -> Option<Instant> {
        let timers = self.hosts.iter().filter(|host| !host.off).filter_map(|host| host.timer);
        let start = self.starts.last().map(|(at, ..)| *at);
        let wake = self.wakes.peek().map(|Reverse((at, ..))| *at);
        let incident = self.incidents.front().map(|(at, ..)| *at);
        timers.chain(self.net.next_time()).chain(start).chain(wake).chain(incident).min()
    }

    fn next_time(&self) -> Option<Instant> {
        let next = self.next_event()?;
        Some(self.sample.map_or(next, |(_, at)| at.min(next)))
    }

    /// Lets happen what is due.
    fn step(&mut self) {
        let now = self.now;
        if let Some((interval, at)) = self.sample
            && at <= now
        {
            self.sample = Some((interval, at + interval));
            self.take_samples();
        }
        let Self { net, hosts, touched, .. } = self;
        net.step(now, |host, packet| {
            let to = &mut hosts[host];
            if to.off {
                to.outages[to.outage] += 1;
                return false;
            }
            to.node.receive(now, packet);
            if !to.touched {
                to.touched = true;
                touched.push(host);
            }
            true
        });
        for host in 0..self.hosts.len() {
            if self.hosts[host].timer.is_some_and(|at| at <= now) {
                self.touch(host);
            }
        }
        while let Some((_, host, on, outage)) = self.incidents.pop_front_if(|(at, ..)| *at <= now) {
            self.switch(host, on, outage);
        }
        while let Some((_, flow, index)) = self.starts.pop_if(|(at, ..)| *at <= now) {
            self.begin(flow, index);
        }
        while let Some(Reverse((_, _, end))) = self.wakes.peek().copied().filter(|Reverse(w)| w.0 <= now) {
            self.wakes.pop();
            self.run_end(end);
        }
    }

    /// Switches a host on or off.
    fn switch(&mut self, host: usize, on: bool, outage: usize) {
        let state = &mut self.hosts[host];
        if state.off != on {
            // Outages that overlap.
            return;
        }
        state.off = !on;
        if !on {
            state.outage = outage;
            state.timer = None;
            let owners = std::mem::take(&mut state.owners).into_iter().flatten();
            let owned = owners.filter_map(|owner| match owner {
                Owner::End(who) => Some(who),
                Owner::Listener(_) => None,
            });
            // Those too whose application is done and whose connection is not over.
            let ends: Vec<_> = owned.chain(state.ids.drain().map(|(_, who)| who)).collect();
            state.outages[outage] += ends.len() as u64;
            for (number, who) in ends {
                if let Some(end) = self.connections[number as usize].end_mut(who) {
                    end.die();
                }
            }
            return;
        }
        state.life += 1;
        let life = state.life;
        // The host and its listeners could be made before, so they can be made now.
        if let Ok(node) = self.node(host, life) {
            self.hosts[host].node = node;
        }
        for flow in 0..self.flows.len() {
            if self.flows[flow].to == host {
                let _ = self.listen(flow);
            }
        }
    }

    /// A connection begins.
    fn begin(&mut self, number: usize, index: u32) {
        let flow = &self.flows[number];
        let (ends, patience) = ([flow.from, flow.to], flow.patience);
        let connection = self.connections.len() as u32;
        let [up, down] = self.keys(connection);
        let end = |who: Who, keys| {
            End::new(self.now, ends[who as usize], Arc::clone(&flow.programs[who as usize]), keys, patience)
        };
        let mut client = end(Who::Client, [up, down]);
        // Where both connect each has a port of its own, so that nothing else is on it.
        let port = CROSSED.0 + (connection % CROSSED.1) as u16;
        let crossed = flow.simultaneous.then_some(port);
        let mut server = crossed.map(|_| end(Who::Server, [down, up]));
        let [from, to] = ends.map(|host| address(self.scenario.ip, host));
        let at = crossed.map_or(flow.at, |port| SocketAddr::new(to, port));
        let local = self.connect(number, (connection, Who::Client), &mut client, (crossed, at));
        if let Some(server) = &mut server {
            let at = SocketAddr::new(from, port);
            self.connect(number, (connection, Who::Server), server, (crossed, at));
        }
        if let Some(local) = local {
            self.tuples.insert((local, at), connection);
            if let Some(trace) = &mut self.net.trace {
                trace.begin(connection, local, at);
            }
        }
        let began = self.now;
        self.connections.push(Connection { flow: number, index, began, client, server });
        for who in Who::BOTH {
            self.run_end((connection, who));
        }
    }

    /// An end of a flow connects, from a port that it is given or from any; gives its own address.
    fn connect(
        &mut self,
        flow: usize,
        who: Who2,
        end: &mut End,
        (port, to): (Option<u16>, SocketAddr),
    ) -> Option<SocketAddr> {
        let host = end.host;
        let state = &mut self.hosts[host];
        if state.off {
            state.outages[state.outage] += 1;
            end.die();
            return None;
        }
        match state.node.connect(self.now, (port, to), &self.flows[flow].settings) {
            Ok((sock, local)) => {
                end.sock = Some(sock);
                self.claim(host, sock, who, end);
                Some(local)
            }
            Err(error) => {
                end.refuse(self.now, error);
                None
            }
        }
    }

    /// Keys of what the client sends, and the server.
    fn keys(&self, connection: u32) -> [u64; 2] {
        let key = |way| crate::flow::content::mix(self.content ^ (u64::from(connection) * 2 + way + 1));
        [key(0), key(1)]
    }

    /// An end has a socket now.
    fn claim(&mut self, host: usize, sock: Sock, who: Who2, end: &mut End) {
        self.own(host, sock, Owner::End(who));
        if let Some(id) = self.hosts[host].node.id(sock) {
            self.hosts[host].ids.insert(id, who);
            end.ending = self.hosts[host].unclaimed.remove(&id);
        }
    }

    /// Takes every connection that waits at a listener.
    fn accept(&mut self, host: usize, listener: Sock, number: usize) {
        while let Some((sock, peer)) = self.hosts[host].node.accept(listener) {
            let flow = &self.flows[number];
            let connection = self.tuples.get(&(peer, flow.at)).copied();
            let new = connection.filter(|c| self.connections[*c as usize].server.is_none());
            let Some(connection) = new else {
                self.strays += 1;
                self.hosts[host].node.abort(self.now, sock);
                self.touch(host);
                continue;
            };
            let [up, down] = self.keys(connection);
            let program = Arc::clone(&flow.programs[1]);
            let mut end = End::new(self.now, host, program, [down, up], flow.patience);
            end.sock = Some(sock);
            self.claim(host, sock, (connection, Who::Server), &mut end);
            self.connections[connection as usize].server = Some(end);
            self.run_end((connection, Who::Server));
        }
    }

    /// Lets an application go on.
    fn run_end(&mut self, who: Who2) {
        let (number, side) = who;
        let Some(end) = self.connections[number as usize].end_mut(side) else { return };
        let Some(sock) = end.sock else { return };
        let host = end.host;
        let mut io = Io { now: self.now, node: &mut self.hosts[host].node, scratch: &mut self.scratch };
        let wake = end.run(&mut io);
        if end.sock.is_none() {
            self.hosts[host].owners[sock] = None;
        }
        if let Some(at) = wake {
            self.serial += 1;
            self.wakes.push(Reverse((at, self.serial, who)));
        }
        self.touch(host);
    }

    /// Lets every host that something happened to do what it can at this instant.
    fn settle(&mut self) {
        while let Some(host) = self.touched.pop() {
            self.settle_host(host);
        }
    }

    fn settle_host(&mut self, host: usize) {
        let now = self.now;
        if self.hosts[host].off {
            self.hosts[host].touched = false;
            return;
        }
        loop {
            self.hosts[host].node.act(now);
            let mut socks = std::mem::take(&mut self.socks);
            self.hosts[host].node.events(&mut socks);
            // smoltcp names every socket each time.
            let again = !socks.is_empty() && matches!(self.hosts[host].node, Node::Lastack(_));
            for sock in socks.drain(..) {
                match self.hosts[host].owners.get(sock).copied().flatten() {
                    Some(Owner::Listener(flow)) => self.accept(host, sock, flow),
                    Some(Owner::End(end)) => self.run_end(end),
                    None => {}
                }
            }
            self.socks = socks;
            let Self { hosts, net, frame, .. } = self;
            let node = &mut hosts[host].node;
            node.transmit(now, frame, |packet| net.send(now, host, packet));
            self.collect(host);
            if !again {
                break;
            }
        }
        let state = &mut self.hosts[host];
        state.timer = state.node.next_time(now);
        // What was done above is done.
        state.touched = false;
        self.touched.retain(|other| *other != host);
    }

    /// Notes how connections ended.
    fn collect(&mut self, host: usize) {
        while let Some(ended) = self.hosts[host].node.poll_ended() {
            let state = &mut self.hosts[host];
            let Some((number, who)) = state.ids.remove(&ended.id) else {
                state.unclaimed.insert(ended.id, ended.ending);
                continue;
            };
            if let Some(end) = self.connections[number as usize].end_mut(who) {
                end.ending = Some(ended.ending);
            }
        }
    }

    fn take_samples(&mut self) {
        for (number, connection) in self.connections.iter().enumerate() {
            for end in Who::BOTH {
                let Some((sock, host)) = connection.end(end).and_then(|e| Some((e.sock?, e.host))) else {
                    continue;
                };
                let Some(sample) = self.hosts[host].node.sample(self.now, sock) else { continue };
                let connection = number as u32;
                let new = || Series { connection, end, samples: Vec::new() };
                self.series.entry((connection, end)).or_insert_with(new).samples.push(sample);
            }
        }
    }
}

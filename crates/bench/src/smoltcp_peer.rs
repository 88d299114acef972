//! smoltcp on both ends of the link.
//!
//! Its congestion control is CUBIC, its default with the features that this workspace asks for, and lastack's too. One interface is
//! polled at each end, as its documentation has it; every poll looks at every socket of the set.

use crate::link::{Link, Packet};
use crate::stream::{PERIOD, pattern, slice_at};
use crate::workload::{CHURN_BUFFER, COPY, Peer, ROUND_MICROS, TimeWait, Workload};
use lastack_core::wire::PacketMeta;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::rc::Rc;

const SERVER_PORT: u16 = 80;
/// Rounds without a byte or a connection after which a run is declared stuck: ten virtual minutes.
const STUCK_ROUNDS: u64 = 60_000_000;

/// One end's view of the two links.
struct Port {
    tx: Rc<RefCell<Link>>,
    rx: Rc<RefCell<Link>>,
    mtu: u16,
    gso: u32,
}

struct Rx<'a>(Packet, &'a RefCell<Link>);
struct Tx<'a>(&'a RefCell<Link>);

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(self.0.bytes());
        self.1.borrow_mut().give(self.0.buffer);
        result
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = self.0.borrow_mut().take();
        let result = f(&mut buffer[..len]);
        self.0.borrow_mut().push(Packet { buffer, len, meta: PacketMeta::default() });
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let packet = self.rx.borrow_mut().pop()?;
        Some((Rx(packet, &self.rx), Tx(&self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = usize::from(self.mtu);
        if self.gso > 0 {
            caps.checksum.tcp = Checksum::None;
            caps.segmentation.tcpv4 = NonZeroUsize::new(self.gso as usize);
        }
        caps
    }
}

/// One end: interface, device and sockets.
struct End {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl End {
    fn new(port: Port, host: u8) -> Self {
        let mut port = port;
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut port, Instant::ZERO);
        interface.update_ip_addrs(|list| {
            list.push(IpCidr::new(address(host), 24)).expect("the address list holds at least one");
        });
        Self { port, interface, sockets: SocketSet::new(Vec::new()) }
    }

    /// The first half of a poll. An application that acts before the second half lets its answers carry the ACKs.
    fn receive(&mut self, now: Instant) {
        self.interface.poll_maintenance(now);
        let Self { interface, port, sockets } = self;
        while interface.poll_ingress_single(now, port, sockets) != PollIngressSingleResult::None {}
    }

    /// One packet of each socket at the most.
    fn transmit(&mut self, now: Instant) {
        self.interface.poll_egress(now, &mut self.port, &mut self.sockets);
    }

    fn transmit_all(&mut self, now: Instant) {
        let Self { interface, port, sockets } = self;
        while interface.poll_egress(now, port, sockets) != PollResult::None {}
    }

    /// Polls this end with one socket that is not in its set.
    fn poll_alone(&mut self, now: Instant, alone: &mut SocketSet<'static>) {
        self.interface.poll(now, &mut self.port, alone);
    }
}

fn address(host: u8) -> IpAddress {
    IpAddress::v4(10, 99, 0, host)
}

fn socket(buffer: usize) -> Socket<'static> {
    Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]))
}

/// Both ends and the clock.
struct Duo {
    client: End,
    server: End,
    micros: u64,
}

impl Duo {
    fn new((mtu, gso): (u16, u32)) -> Self {
        let frame = usize::from(mtu).max(gso as usize);
        let there = Rc::new(RefCell::new(Link::new(frame)));
        let back = Rc::new(RefCell::new(Link::new(frame)));
        let client = Port { tx: Rc::clone(&there), rx: Rc::clone(&back), mtu, gso };
        let server = Port { tx: back, rx: there, mtu, gso };
        Self { client: End::new(client, 1), server: End::new(server, 2), micros: 0 }
    }

    fn tick(&mut self, micros: u64) -> Instant {
        self.micros += micros;
        Instant::from_micros(i64::try_from(self.micros).expect("the virtual clock runs for minutes"))
    }

    fn packets(&self) -> (u64, u64) {
        (self.client.port.tx.borrow().packets(), self.server.port.tx.borrow().packets())
    }

    /// Opens a connection between two sockets that are in no set, and gives them back.
    fn connect_alone(
        &mut self,
        buffer: usize,
        local: u16,
        remote: u16,
    ) -> (Socket<'static>, Socket<'static>) {
        let (mut ours, mut theirs) = (SocketSet::new(Vec::new()), SocketSet::new(Vec::new()));
        let mut listener = socket(buffer);
        listener.listen(remote).expect("a fresh socket can listen");
        let theirs_handle = theirs.add(listener);
        let mut client = socket(buffer);
        client.connect(self.client.interface.context(), (address(2), remote), local).expect("fresh socket");
        let ours_handle = ours.add(client);
        for _ in 0..4 {
            let now = self.tick(ROUND_MICROS);
            self.client.poll_alone(now, &mut ours);
            self.server.poll_alone(now, &mut theirs);
        }
        let ours = take(&mut ours, ours_handle);
        let theirs = take(&mut theirs, theirs_handle);
        assert_eq!((ours.state(), theirs.state()), (State::Established, State::Established));
        (ours, theirs)
    }
}

fn take(set: &mut SocketSet<'static>, handle: SocketHandle) -> Socket<'static> {
    let smoltcp::socket::Socket::Tcp(socket) = set.remove(handle);
    socket
}

/// Opens `count` connections and puts the server's ends into the server's set, and the client's if `both`. They are
/// opened one at a time outside of the sets: with all of them inside, the cost of opening grows as the square.
fn open_idle(duo: &mut Duo, count: usize, buffer: usize, both: bool) {
    for i in 0..count {
        let local = 1024 + u16::try_from(i % 60_000).expect("below 60,000");
        let remote = 10_000 + u16::try_from(i / 60_000).expect("a few thousand at the most");
        let (ours, theirs) = duo.connect_alone(buffer, local, remote);
        duo.server.sockets.add(theirs);
        if both {
            duo.client.sockets.add(ours);
        }
    }
}

/// One connection that sends as fast as it can.
pub struct Bulk {
    duo: Duo,
    sender: SocketHandle,
    receiver: SocketHandle,
    /// The stream's pattern, and how much of it has been written since the connection opened.
    source: Vec<u8>,
    written: u64,
    sink: Vec<u8>,
}

impl Bulk {
    /// A connection over a link of the given MTU and largest segment, with buffers of `window` bytes.
    #[must_use]
    pub fn new(link: (u16, u32), window: usize) -> Self {
        let mut duo = Duo::new(link);
        let (ours, theirs) = duo.connect_alone(window, 50_000, SERVER_PORT);
        let sender = duo.client.sockets.add(ours);
        let receiver = duo.server.sockets.add(theirs);
        let mut bulk =
            Self { duo, sender, receiver, source: pattern(COPY + PERIOD), written: 0, sink: vec![0; COPY] };
        bulk.run(8 * window as u64);
        bulk
    }

    /// Bytes of the stream written since the connection opened.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// As [`Workload::run`], and hands every piece that arrived to `check`.
    pub fn run_checked(&mut self, work: u64, mut check: impl FnMut(&[u8])) {
        let (mut sent, mut got, mut idle) = (0u64, 0u64, 0u64);
        while got < work {
            let now = self.duo.tick(ROUND_MICROS);
            self.duo.client.receive(now);
            let socket = self.duo.client.sockets.get_mut::<Socket<'_>>(self.sender);
            while sent < work && socket.can_send() {
                let want = usize::try_from(work - sent).unwrap_or(COPY).min(COPY);
                let piece = slice_at(&self.source, self.written + sent, want);
                let n = socket.send_slice(piece).expect("the connection stays open");
                sent += n as u64;
            }
            self.duo.client.transmit_all(now);
            self.duo.server.receive(now);
            let before = got;
            let socket = self.duo.server.sockets.get_mut::<Socket<'_>>(self.receiver);
            while socket.can_recv() {
                let n = socket.recv_slice(&mut self.sink).expect("the connection stays open");
                check(&self.sink[..n]);
                got += n as u64;
            }
            self.duo.server.transmit(now);
            idle = if got == before { idle + 1 } else { 0 };
            assert!(idle < STUCK_ROUNDS, "smoltcp: no byte for ten virtual minutes at {got} of {work}");
        }
        assert_eq!(got, work);
        self.written += work;
    }
}

impl Workload for Bulk {
    fn run(&mut self, work: u64) {
        self.run_checked(work, |piece| {
            black_box(piece);
        });
    }

    fn packets(&self) -> u64 {
        let (there, back) = self.duo.packets();
        there + back
    }

    fn segments(&self) -> u64 {
        self.duo.packets().0
    }
}

/// One connection after the other. TIME_WAIT either stays as long as smoltcp makes it, 10 s: its socket is in the set, and
/// every poll looks at it. Or it is thrown away with the socket.
pub struct Churn {
    duo: Duo,
    client: SocketHandle,
    /// Clients' sockets in TIME_WAIT, the oldest first, if they are kept.
    waiting: VecDeque<SocketHandle>,
    time_wait: TimeWait,
    server: SocketHandle,
    port: u16,
}

impl Churn {
    /// `idle` other connections stand in the server's set; their client ends are let go, which spares smoltcp half
    /// of the cost.
    #[must_use]
    pub fn new(idle: usize, time_wait: TimeWait) -> Self {
        let mut duo = Duo::new((1500, 0));
        open_idle(&mut duo, idle, 64, false);
        let client = duo.client.sockets.add(socket(CHURN_BUFFER));
        let server = duo.server.sockets.add(socket(CHURN_BUFFER));
        let waiting = VecDeque::new();
        let mut churn = Self { duo, client, waiting, time_wait, server, port: 1024 };
        churn.serve();
        churn.run(if idle > 1_000 { 10 } else { time_wait.warm_up(Peer::Smoltcp) });
        churn
    }

    /// The server: reads the request, answers it, closes after the client, listens again.
    fn serve(&mut self) {
        let socket = self.duo.server.sockets.get_mut::<Socket<'_>>(self.server);
        match socket.state() {
            State::Closed => socket.listen(SERVER_PORT).expect("a closed socket can listen"),
            State::Established | State::CloseWait => {
                if socket.can_recv() {
                    let mut request = [0; 16];
                    let n = socket.recv_slice(&mut request).expect("can_recv said so");
                    assert_eq!(&request[..n], b"q");
                    socket.send_slice(b"r").expect("the client waits for the reply");
                }
                if socket.state() == State::CloseWait {
                    socket.close();
                }
            }
            _ => {}
        }
    }

    /// The client: asks once connected, closes at the reply. True in TIME_WAIT.
    fn ask(&mut self, asked: &mut bool) -> bool {
        let socket = self.duo.client.sockets.get_mut::<Socket<'_>>(self.client);
        match socket.state() {
            State::Established if socket.can_recv() => {
                let mut reply = [0; 16];
                let n = socket.recv_slice(&mut reply).expect("can_recv said so");
                assert_eq!(&reply[..n], b"r");
                socket.close();
            }
            State::Established if !*asked => {
                socket.send_slice(b"q").expect("the connection is open");
                *asked = true;
            }
            _ => {}
        }
        socket.state() == State::TimeWait
    }

    /// The client's socket is in TIME_WAIT: another takes the next connection. One whose TIME_WAIT is over is used again,
    /// as it is; a new one is made if there is none.
    fn leave(&mut self) {
        let sockets = &mut self.duo.client.sockets;
        if self.time_wait != TimeWait::Both {
            *sockets.get_mut::<Socket<'_>>(self.client) = socket(CHURN_BUFFER);
            return;
        }
        self.waiting.push_back(self.client);
        let over = |handle: &mut SocketHandle| sockets.get::<Socket<'_>>(*handle).state() == State::Closed;
        self.client = match self.waiting.pop_front_if(over) {
            Some(handle) => handle,
            None => sockets.add(socket(CHURN_BUFFER)),
        };
    }

    /// Clients' sockets that are in TIME_WAIT.
    #[must_use]
    pub fn time_wait(&self) -> usize {
        let waits = |(_, socket): &(SocketHandle, &smoltcp::socket::Socket<'_>)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.state() == State::TimeWait
        };
        self.duo.client.sockets.iter().filter(waits).count()
    }

    /// One connection, from connect until the server's end is gone and the client's is in TIME_WAIT.
    fn one(&mut self) {
        self.port = if self.port >= 65_000 { 1024 } else { self.port + 1 };
        self.duo.tick(self.time_wait.gap_micros());
        let context = self.duo.client.interface.context();
        let socket = self.duo.client.sockets.get_mut::<Socket<'_>>(self.client);
        socket.connect(context, (address(2), SERVER_PORT), self.port).expect("a fresh socket can connect");
        let (mut asked, mut ended) = (false, false);
        for _ in 0..STUCK_ROUNDS {
            let now = self.duo.tick(ROUND_MICROS);
            self.duo.client.receive(now);
            ended = self.ask(&mut asked) || ended;
            self.duo.client.transmit(now);
            self.duo.server.receive(now);
            self.serve();
            self.duo.server.transmit(now);
            let listens = self.duo.server.sockets.get::<Socket<'_>>(self.server).state() == State::Listen;
            if ended && listens {
                self.leave();
                return;
            }
        }
        panic!("smoltcp: a connection did not end within ten virtual minutes");
    }
}

impl Workload for Churn {
    fn run(&mut self, work: u64) {
        for _ in 0..work {
            self.one();
        }
    }

    fn packets(&self) -> u64 {
        let (there, back) = self.duo.packets();
        there + back
    }

    fn segments(&self) -> u64 {
        self.packets()
    }
}

/// Two ends with `count` established connections between them, each with buffers of `buffer` bytes.
pub struct Idle {
    duo: Duo,
}

impl Idle {
    /// Two ends without a connection.
    #[must_use]
    pub fn new() -> Self {
        Self { duo: Duo::new((1500, 0)) }
    }

    /// Opens the connections.
    pub fn open(&mut self, count: usize, buffer: usize) {
        open_idle(&mut self.duo, count, buffer, true);
    }

    /// Connections that are established, seen from the client's end.
    #[must_use]
    pub fn established(&self) -> usize {
        let open = |(_, socket): (SocketHandle, &smoltcp::socket::Socket<'_>)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            usize::from(socket.state() == State::Established)
        };
        self.duo.client.sockets.iter().map(open).sum()
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

//! lastack's core on both ends of the link, driven as a runtime drives it: packets in, deadlines, packets out,
//! events. Everything runs in virtual time.

use crate::link::{Link, Packet};
use crate::stream::{PERIOD, pattern, slice_at};
use crate::workload::{COPY, Peer, ROUND_MICROS, TimeWait, WINDOW, Workload};
use lastack_core::wire::Capabilities;
use lastack_core::{Cidr, Config, Error, Event, Instant, Ready, Stack, State, TcpHandle};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const SERVER_PORT: u16 = 80;
/// Addresses of a server that many connections lead to. A client has some 28,000 ephemeral ports for each of them.
const MANY_ADDRESSES: u16 = 16;
/// Connections opened at once while many are set up.
const BATCH: usize = 500;
/// Rounds without progress after which a run is declared stuck: ten virtual minutes.
const STUCK_ROUNDS: u64 = 60_000_000;

/// Which IP version the two ends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 99, 0, 1).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    fn server(self, n: u16) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(0x0a63_0100 + u32::from(n)).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 1, n).into(),
        }
    }

    fn prefix(self) -> u8 {
        match self {
            Self::V4 => 16,
            Self::V6 => 64,
        }
    }
}

/// One end: the stack and its view of the two links.
struct End {
    stack: Stack,
}

impl End {
    fn new(addresses: &[IpAddr], prefix: u8, caps: Capabilities, (seed, window): (u8, usize)) -> Self {
        let addresses = addresses.iter().map(|&ip| Cidr::new(ip, prefix).expect("the prefix fits")).collect();
        let mut config = Config { addresses, ..Config::default() };
        config.tcp.recv_buffer_initial = window;
        config.tcp.recv_buffer_max = window;
        config.tcp.send_buffer_max = window;
        Self { stack: Stack::new(config, caps, [seed; 32], Instant::ZERO) }
    }

    /// Everything that a driver does when it wakes up: packets in, deadlines, packets out.
    fn poll(&mut self, now: Instant, rx: &mut Link, tx: &mut Link) {
        self.receive(now, rx);
        self.transmit(now, tx);
    }

    /// The first half of `poll`. An application that acts before the second half lets its answers carry the ACKs.
    fn receive(&mut self, now: Instant, rx: &mut Link) {
        while let Some(packet) = rx.pop() {
            self.stack.receive(now, &packet.meta, packet.bytes());
            rx.give(packet.buffer);
        }
        self.stack.handle_timeout(now);
    }

    fn transmit(&mut self, now: Instant, tx: &mut Link) {
        let mut buffer = tx.take();
        while let Some((len, meta)) = self.stack.transmit(now, &mut buffer) {
            let next = tx.take();
            tx.push(Packet { buffer: std::mem::replace(&mut buffer, next), len, meta });
        }
        tx.give(buffer);
    }
}

/// Both ends, the links between them, and the clock.
struct Duo {
    client: End,
    server: End,
    there: Link,
    back: Link,
    now: Instant,
    listener: TcpHandle,
    family: Family,
    server_addresses: u16,
}

impl Duo {
    fn new((mtu, gso): (u16, u32), family: Family, server_addresses: u16, window: usize) -> Self {
        let mut caps = Capabilities::plain(mtu);
        if gso > 0 {
            caps = Capabilities { mtu, tx_checksum: true, tx_gso_v4: gso, tx_gso_v6: gso };
        }
        let frame = usize::from(mtu).max(gso as usize);
        let servers: Vec<IpAddr> = (1..=server_addresses).map(|n| family.server(n)).collect();
        let client = End::new(&[family.client()], family.prefix(), caps, (1, window));
        let mut server = End::new(&servers, family.prefix(), caps, (2, window));
        let listener = server.stack.tcp_socket();
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        server.stack.tcp_bind(listener, SocketAddr::new(any, SERVER_PORT)).expect("the port is free");
        server.stack.tcp_listen(Instant::ZERO, listener, 4096).expect("a bound socket can listen");
        let (there, back) = (Link::new(frame), Link::new(frame));
        Self { client, server, there, back, now: Instant::ZERO, listener, family, server_addresses }
    }

    fn tick(&mut self, micros: u64) {
        self.now += Duration::from_micros(micros);
    }

    fn poll_client(&mut self) {
        self.client.poll(self.now, &mut self.back, &mut self.there);
    }

    fn poll_server(&mut self) {
        self.server.poll(self.now, &mut self.there, &mut self.back);
    }

    /// Lets time pass and packets cross `count` times, and drops the events.
    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.tick(ROUND_MICROS);
            self.poll_client();
            self.poll_server();
        }
        while self.client.stack.poll_event().is_some() {}
        while self.server.stack.poll_event().is_some() {}
    }

    fn quiet(&self) -> bool {
        self.there.is_empty() && self.back.is_empty()
    }

    fn packets(&self) -> u64 {
        self.there.packets() + self.back.packets()
    }

    /// Begins the `nth` connection; the server's addresses take turns.
    fn connect(&mut self, nth: u64) -> TcpHandle {
        let server = u16::try_from(nth % u64::from(self.server_addresses)).expect("below 2^16") + 1;
        let handle = self.client.stack.tcp_socket();
        let remote = SocketAddr::new(self.family.server(server), SERVER_PORT);
        self.client.stack.tcp_connect(self.now, handle, remote).expect("a four-tuple is free");
        handle
    }

    /// Opens `count` connections and gives back both ends' handles, the server's in the order of acceptance.
    fn open(&mut self, first: u64, count: usize) -> (Vec<TcpHandle>, Vec<TcpHandle>) {
        let (mut ours, mut theirs) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while ours.len() < count {
            let batch = BATCH.min(count - ours.len());
            for _ in 0..batch {
                let handle = self.connect(first + ours.len() as u64);
                ours.push(handle);
            }
            self.rounds(4);
            while let Ok(handle) = self.server.stack.tcp_accept(self.listener) {
                theirs.push(handle);
            }
            assert_eq!(theirs.len(), ours.len(), "each connection of a batch is accepted");
        }
        (ours, theirs)
    }
}

/// One connection that sends as fast as it can.
pub struct Bulk {
    duo: Duo,
    sender: TcpHandle,
    receiver: TcpHandle,
    /// The stream's pattern, and how much of it has been written since the connection opened.
    source: Vec<u8>,
    written: u64,
    sink: Vec<u8>,
}

impl Bulk {
    /// A connection over a link of the given MTU and largest segment, with windows and buffers of `window` bytes, past slow
    /// start.
    #[must_use]
    pub fn new(link: (u16, u32), window: usize) -> Self {
        let mut duo = Duo::new(link, Family::V4, 1, window);
        let (ours, theirs) = duo.open(0, 1);
        let mut bulk = Self {
            duo,
            sender: ours[0],
            receiver: theirs[0],
            source: pattern(COPY + PERIOD),
            written: 0,
            sink: vec![0; COPY],
        };
        bulk.run(8 * window as u64);
        bulk
    }

    /// Segments that the sender has sent more than once.
    #[must_use]
    pub fn retransmissions(&self) -> u64 {
        self.duo.client.stack.counters().retrans_segs
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
            self.duo.tick(ROUND_MICROS);
            let now = self.duo.now;
            let Duo { client, back, .. } = &mut self.duo;
            client.receive(now, back);
            while sent < work {
                let want = usize::try_from(work - sent).unwrap_or(COPY).min(COPY);
                let piece = slice_at(&self.source, self.written + sent, want);
                match self.duo.client.stack.tcp_write(now, self.sender, piece) {
                    Ok(n) => sent += n as u64,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("lastack: write: {error}"),
                }
            }
            let Duo { client, server, there, .. } = &mut self.duo;
            client.transmit(now, there);
            server.receive(now, there);
            let before = got;
            loop {
                match self.duo.server.stack.tcp_read(now, self.receiver, &mut self.sink) {
                    Ok(0) => panic!("lastack: end of file after {got} of {work} bytes"),
                    Ok(n) => {
                        check(&self.sink[..n]);
                        got += n as u64;
                    }
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("lastack: read: {error}"),
                }
            }
            let Duo { server, back, .. } = &mut self.duo;
            server.transmit(now, back);
            while self.duo.client.stack.poll_event().is_some() {}
            while self.duo.server.stack.poll_event().is_some() {}
            idle = if got == before { idle + 1 } else { 0 };
            assert!(idle < STUCK_ROUNDS, "lastack: no byte for ten virtual minutes at {got} of {work}");
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
        self.duo.packets()
    }

    fn segments(&self) -> u64 {
        self.duo.there.packets()
    }
}

/// One connection after the other. Each leaves its TIME_WAIT record in the client's stack, where it stays for the
/// full 60 s of virtual time, unless the stack is told to make none.
pub struct Churn {
    duo: Duo,
    made: u64,
    gap: u64,
    /// The connection at hand is closed on the server.
    served: bool,
}

impl Churn {
    /// `idle` other connections, open at both ends; then the connections before the first that counts.
    #[must_use]
    pub fn new(idle: usize, time_wait: TimeWait) -> Self {
        let mut churn = Self::for_family(Family::V4);
        churn.gap = time_wait.gap_micros();
        if time_wait == TimeWait::Neither {
            for end in [&mut churn.duo.client, &mut churn.duo.server] {
                let config = end.stack.tcp_config_mut();
                config.timestamps = false;
                config.max_time_wait = 0;
            }
        }
        churn.duo.open(0, idle);
        churn.run(time_wait.warm_up(Peer::Lastack));
        churn
    }

    /// Two ends that speak `family`, without a connection.
    #[must_use]
    pub fn for_family(family: Family) -> Self {
        Self {
            duo: Duo::new((1500, 0), family, MANY_ADDRESSES, WINDOW),
            made: 0,
            gap: TimeWait::Lastack.gap_micros(),
            served: false,
        }
    }

    /// Sets the virtual time between two connections, in microseconds.
    pub fn set_gap(&mut self, micros: u64) {
        self.gap = micros;
    }

    /// TIME_WAIT records of the client's stack.
    #[must_use]
    pub fn time_wait(&self) -> usize {
        self.duo.client.stack.counts().time_wait
    }

    /// The server: accepts, reads the request, answers it, closes after the client.
    fn serve(&mut self) {
        while let Some(event) = self.duo.server.stack.poll_event() {
            match event {
                Event::Tcp(handle, _) if handle == self.duo.listener => {
                    while let Ok(accepted) = self.duo.server.stack.tcp_accept(handle) {
                        self.serve_one(accepted);
                    }
                }
                Event::Tcp(handle, _) => self.serve_one(handle),
                Event::Udp(..) => {}
            }
        }
    }

    fn serve_one(&mut self, handle: TcpHandle) {
        let (now, stack) = (self.duo.now, &mut self.duo.server.stack);
        let mut request = [0; 16];
        loop {
            match stack.tcp_read(now, handle, &mut request) {
                Ok(0) => {
                    stack.tcp_close(now, handle);
                    self.served = true;
                    return;
                }
                Ok(n) => {
                    assert_eq!(&request[..n], b"q");
                    assert_eq!(stack.tcp_write(now, handle, b"r"), Ok(1));
                }
                Err(Error::WouldBlock | Error::BadHandle) => return,
                Err(error) => panic!("lastack: server: {error}"),
            }
        }
    }

    /// The client: asks once connected, closes at the reply. True once it has closed.
    fn ask(&mut self, handle: TcpHandle, asked: &mut bool) -> bool {
        let (now, stack) = (self.duo.now, &mut self.duo.client.stack);
        let mut closed = false;
        while let Some(event) = stack.poll_event() {
            let Event::Tcp(of, ready) = event else { continue };
            if of != handle || closed {
                continue;
            }
            if ready.contains(Ready::OUT) && !*asked {
                match stack.tcp_write(now, handle, b"q") {
                    Ok(_) => *asked = true,
                    Err(Error::WouldBlock) => {}
                    Err(error) => panic!("lastack: client: {error}"),
                }
            }
            if ready.contains(Ready::IN) {
                let mut reply = [0; 16];
                match stack.tcp_read(now, handle, &mut reply) {
                    Ok(n) => assert_eq!(&reply[..n], b"r"),
                    Err(Error::WouldBlock) => continue,
                    Err(error) => panic!("lastack: client: {error}"),
                }
                stack.tcp_close(now, handle);
                closed = true;
            }
        }
        closed
    }

    /// One connection, from connect until the server's end is gone and the client's is in TIME_WAIT.
    fn one(&mut self) {
        self.duo.tick(self.gap);
        self.served = false;
        let handle = self.duo.connect(self.made);
        self.made += 1;
        let (mut asked, mut closed) = (false, false);
        for _ in 0..STUCK_ROUNDS {
            self.duo.tick(ROUND_MICROS);
            let Duo { client, back, now, .. } = &mut self.duo;
            client.receive(*now, back);
            closed = self.ask(handle, &mut asked) || closed;
            let Duo { client, server, there, now, .. } = &mut self.duo;
            client.transmit(*now, there);
            server.receive(*now, there);
            self.serve();
            let Duo { server, back, now, .. } = &mut self.duo;
            server.transmit(*now, back);
            if closed && self.served && self.duo.quiet() {
                return;
            }
        }
        panic!("lastack: a connection did not end within ten virtual minutes");
    }
}

impl Workload for Churn {
    fn run(&mut self, work: u64) {
        for _ in 0..work {
            self.one();
        }
    }

    fn packets(&self) -> u64 {
        self.duo.packets()
    }

    fn segments(&self) -> u64 {
        self.packets()
    }
}

/// Two ends and connections between them that do nothing.
pub struct Idle {
    duo: Duo,
    ours: Vec<TcpHandle>,
    theirs: Vec<TcpHandle>,
}

impl Idle {
    /// Two ends without a connection. `count` is how many will be opened; room for the handles and the packets
    /// under way is made here, so that it does not count as memory of the connections.
    #[must_use]
    pub fn new(family: Family, count: usize) -> Self {
        let mut duo = Duo::new((1500, 0), family, MANY_ADDRESSES, WINDOW);
        duo.there.reserve(4 * BATCH);
        duo.back.reserve(4 * BATCH);
        Self { duo, ours: Vec::with_capacity(count), theirs: Vec::with_capacity(count) }
    }

    /// Opens `count` connections.
    pub fn open(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            let (ours, theirs) = self.duo.open(self.ours.len() as u64, batch);
            self.ours.extend(ours);
            self.theirs.extend(theirs);
            left -= batch;
        }
    }

    /// Sends a byte each way on every connection and reads it at the other end, so that each has had buffers.
    pub fn exchange(&mut self) {
        for first in (0..self.ours.len()).step_by(BATCH) {
            let batch = first..self.ours.len().min(first + BATCH);
            send_all(&mut self.duo.client, self.duo.now, &self.ours[batch.clone()]);
            self.duo.rounds(2);
            take_all(&mut self.duo.server, self.duo.now, &self.theirs[batch.clone()]);
            send_all(&mut self.duo.server, self.duo.now, &self.theirs[batch.clone()]);
            self.duo.rounds(2);
            take_all(&mut self.duo.client, self.duo.now, &self.ours[batch]);
            // Long enough for every delayed ACK and retransmission timer to have run out.
            self.duo.tick(500_000);
            self.duo.rounds(4);
        }
    }

    /// Connections that are established at both ends.
    #[must_use]
    pub fn established(&self) -> usize {
        let open = |stack: &Stack, handle: &TcpHandle| stack.tcp_state(*handle) == Some(State::Established);
        let ours = self.ours.iter().filter(|h| open(&self.duo.client.stack, h)).count();
        let theirs = self.theirs.iter().filter(|h| open(&self.duo.server.stack, h)).count();
        ours.min(theirs)
    }
}

fn send_all(end: &mut End, now: Instant, handles: &[TcpHandle]) {
    for &handle in handles {
        assert_eq!(end.stack.tcp_write(now, handle, b"x"), Ok(1));
    }
}

fn take_all(end: &mut End, now: Instant, handles: &[TcpHandle]) {
    let mut byte = [0; 16];
    for &handle in handles {
        assert_eq!(end.stack.tcp_read(now, handle, &mut byte), Ok(1));
    }
}

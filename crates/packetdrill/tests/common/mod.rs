//! A machine with a peer: calls by shorthand, segments by relative numbers.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.

pub mod scripts;

use lastack_core::Instant;
use lastack_core::wire::tcp::{self, Flags, Options, Repr, Segment};
use lastack_core::wire::{SeqNumber, ip, ipv4, ipv6};
use lastack_packetdrill::call::{Address, Call, Data, Fd, Out, Outcome, PollFd, Room};
use lastack_packetdrill::sys::{Machine, Settings, Step, Ticket};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const PEER_V4: &str = "192.0.2.1";
pub const PEER_V6: &str = "fd3d:fa7b:d17d::1";
/// First number of the peer.
const PEER_ISN: u32 = 1000;

pub struct Rig {
    pub machine: Machine,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Our first number, once a SYN was seen.
    pub isn: SeqNumber,
}

/// What a packet of the stack says, relative numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Instant,
    /// As packetdrill writes it: `S.`, `P.`, ...
    pub flags: String,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub urgent: u16,
    pub len: usize,
    pub options: Options,
    pub payload: Vec<u8>,
    pub tos: u8,
    pub ttl: u8,
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn letters(flags: Flags) -> String {
    let table = [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::URG, 'U'),
        (Flags::ACK, '.'),
    ];
    table.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| letter).collect()
}

fn flags(text: &str) -> Flags {
    text.chars().fold(Flags::empty(), |all, letter| {
        all | match letter {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            'U' => Flags::URG,
            '.' => Flags::ACK,
            other => panic!("no flag {other}"),
        }
    })
}

impl Rig {
    pub fn v4() -> Self {
        Self::new(&Settings::default(), "192.168.0.1:8080", &format!("{PEER_V4}:40000"))
    }

    pub fn v6() -> Self {
        Self::new(&Settings::default(), "[fd3d:a0b:17d6::1]:8080", &format!("[{PEER_V6}]:40000"))
    }

    pub fn new(settings: &Settings, local: &str, peer: &str) -> Self {
        Self {
            machine: Machine::new(settings),
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            isn: SeqNumber(0),
        }
    }

    pub fn step(&mut self, call: Call) -> Step {
        self.machine.call(call)
    }

    /// A call that must return at once.
    pub fn call(&mut self, call: Call) -> Outcome {
        let name = call.name();
        match self.machine.call(call) {
            Step::Done(outcome) => outcome,
            Step::Blocked(_) => panic!("{name} blocks"),
        }
    }

    /// The result of a call, or its errno as a negative number.
    pub fn get(&mut self, call: Call) -> i64 {
        let outcome = self.call(call);
        if outcome.result < 0 { -i64::from(outcome.errno) } else { outcome.result }
    }

    pub fn blocks(&mut self, call: Call) -> Ticket {
        match self.machine.call(call) {
            Step::Blocked(ticket) => ticket,
            Step::Done(outcome) => panic!("does not block: {outcome:?}"),
        }
    }

    pub fn socket(&mut self, nonblocking: bool) -> Fd {
        let domain = if self.local.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
        let kind = libc::SOCK_STREAM | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
        self.get(Call::Socket { domain, kind, protocol: 0 }) as Fd
    }

    pub fn listener(&mut self, nonblocking: bool) -> Fd {
        let fd = self.socket(nonblocking);
        self.setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        assert_eq!(self.get(Call::Bind { fd, address: Address::Inet(self.local) }), 0);
        assert_eq!(self.get(Call::Listen { fd, backlog: 8 }), 0);
        fd
    }

    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: i32) -> i64 {
        let value = Some(value.to_ne_bytes().to_vec());
        self.get(Call::SetSockOpt { fd, level, name, value, len: 4 })
    }

    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: i32) -> Result<Vec<u8>, i32> {
        let outcome = self.call(Call::GetSockOpt { fd, level, name, len, null: false });
        match outcome.out {
            Out::Value(bytes) if outcome.result == 0 => Ok(bytes),
            _ => Err(outcome.errno),
        }
    }

    pub fn option(&mut self, fd: Fd, level: i32, name: i32) -> i32 {
        let bytes = self.getsockopt(fd, level, name, 4).unwrap();
        i32::from_ne_bytes(bytes.try_into().unwrap())
    }

    pub fn error(&mut self, fd: Fd) -> i32 {
        self.option(fd, libc::SOL_SOCKET, libc::SO_ERROR)
    }

    pub fn write(&mut self, fd: Fd, len: usize) -> i64 {
        self.get(Call::Write { fd, pieces: vec![Data::Bytes(vec![0; len])] })
    }

    pub fn send(&mut self, fd: Fd, len: usize, flags: i32) -> i64 {
        self.get(Call::Send { fd, data: Data::Bytes(vec![0; len]), flags, to: None })
    }

    pub fn read(&mut self, fd: Fd, len: usize) -> i64 {
        self.get(Call::Read { fd, rooms: vec![Room::Bytes(len)] })
    }

    pub fn poll(&mut self, fd: Fd) -> i16 {
        let fds = vec![PollFd { fd, events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI }];
        match self.call(Call::Poll { fds, timeout: 0 }).out {
            Out::Polled(found) => found[0],
            other => panic!("{other:?}"),
        }
    }

    pub fn close(&mut self, fd: Fd) -> i64 {
        self.get(Call::Close { fd })
    }

    pub fn advance(&mut self, by: Duration) {
        let to = self.machine.now() + by;
        self.machine.advance(to);
    }

    /// A segment of the peer: letters, relative SEQ and ACK, bytes of zeros.
    pub fn inject(&mut self, letters: &str, seq: u32, ack: u32, len: usize) {
        self.inject_with(letters, seq, ack, len, 32_792, Options::default());
    }

    pub fn inject_with(
        &mut self,
        letters: &str,
        seq: u32,
        ack: u32,
        len: usize,
        window: u16,
        options: Options,
    ) {
        let flags = flags(letters);
        let ack = if flags.contains(Flags::ACK) { self.isn + ack } else { SeqNumber(0) };
        let repr = Repr {
            src_port: self.peer.port(),
            dst_port: self.local.port(),
            seq: SeqNumber(PEER_ISN) + seq,
            ack,
            flags,
            window,
            urgent: if flags.contains(Flags::URG) { len as u16 } else { 0 },
            options,
        };
        let mut segment = vec![0; repr.header_len() + len];
        repr.emit_header(&mut segment).unwrap();
        let (src, dst) = (self.peer.ip(), self.local.ip());
        tcp::fill_checksum(src, dst, &mut segment).unwrap();
        let packet = packet(src, dst, &segment);
        self.machine.inject(&packet);
    }

    pub fn seen(&mut self) -> Option<Seen> {
        let sent = self.machine.sent()?;
        let packet = ip::Packet::parse(&sent.packet).unwrap();
        let segment = Segment::parse(packet.payload()).unwrap();
        assert!(tcp::verify_checksum(packet.src(), packet.dst(), packet.payload()));
        self.local = SocketAddr::new(packet.src(), segment.src_port);
        self.peer = SocketAddr::new(packet.dst(), segment.dst_port);
        if segment.flags.contains(Flags::SYN) {
            self.isn = segment.seq;
        }
        let ack = segment.flags.contains(Flags::ACK);
        Some(Seen {
            at: sent.at,
            flags: letters(segment.flags),
            seq: (segment.seq - self.isn) as u32,
            ack: if ack { (segment.ack - SeqNumber(PEER_ISN)) as u32 } else { 0 },
            window: segment.window,
            urgent: segment.urgent,
            len: segment.payload.len(),
            options: segment.options,
            payload: segment.payload.to_vec(),
            tos: packet.tos(),
            ttl: packet.ttl(),
        })
    }

    /// The next packet must be this one.
    #[track_caller]
    pub fn expect(&mut self, flags: &str, seq: u32, len: usize, ack: u32) -> Seen {
        let seen = self.seen().unwrap_or_else(|| panic!("no packet, wanted {flags} {seq}({len})"));
        assert_eq!((seen.flags.as_str(), seen.seq, seen.len, seen.ack), (flags, seq, len, ack));
        seen
    }

    #[track_caller]
    pub fn expect_nothing(&mut self) {
        assert_eq!(self.seen(), None);
    }

    /// An accepted connection with MSS 1000 and nothing else: listener and connection.
    pub fn accepted(&mut self, nonblocking: bool) -> (Fd, Fd) {
        let listener = self.listener(false);
        let options = Options { mss: Some(1000), ..Options::default() };
        self.inject_with("S", 0, 0, 0, 32_792, options);
        self.expect("S.", 0, 0, 1);
        self.inject(".", 1, 1, 0);
        let fd = self.get(Call::Accept { fd: listener, flags: 0 }) as Fd;
        if nonblocking {
            self.get(Call::Fcntl { fd, command: libc::F_SETFL, argument: libc::O_NONBLOCK.into() });
        }
        (listener, fd)
    }
}

pub fn packet(src: IpAddr, dst: IpAddr, segment: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40 + segment.len()];
    let header = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Repr {
            src,
            dst,
            protocol: ip::protocol::TCP,
            ttl: 64,
            tos: 0,
            id: 0,
            df: true,
            payload_len: segment.len(),
        }
        .emit(&mut packet)
        .unwrap(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr {
            src,
            dst,
            next_header: ip::protocol::TCP,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len: segment.len(),
        }
        .emit(&mut packet)
        .unwrap(),
        _ => panic!("two families"),
    };
    packet.truncate(header);
    packet.extend_from_slice(segment);
    packet
}

/// A segment between any two addresses: absolute numbers, bytes of zeros, an MSS of 1000 with SYN.
pub fn segment(from: SocketAddr, to: SocketAddr, letters: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    let flags = flags(letters);
    let mss = flags.contains(Flags::SYN).then_some(1000);
    let repr = Repr {
        src_port: from.port(),
        dst_port: to.port(),
        seq: SeqNumber(PEER_ISN.wrapping_add(seq)),
        ack: SeqNumber(if flags.contains(Flags::ACK) { ack } else { 0 }),
        flags,
        window: 32_792,
        urgent: 0,
        options: Options { mss, ..Options::default() },
    };
    let mut segment = vec![0; repr.header_len() + len];
    repr.emit_header(&mut segment).unwrap();
    tcp::fill_checksum(from.ip(), to.ip(), &mut segment).unwrap();
    segment
}

/// From where, to where, and what, in absolute numbers; `None` for what is no TCP.
pub fn read_packet(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr, Seen)> {
    let packet = ip::Packet::parse(bytes).ok().filter(|packet| packet.protocol() == ip::protocol::TCP)?;
    let segment = Segment::parse(packet.payload()).ok()?;
    let seen = Seen {
        at: Instant::ZERO,
        flags: letters(segment.flags),
        seq: segment.seq.0,
        ack: segment.ack.0,
        window: segment.window,
        urgent: segment.urgent,
        len: segment.payload.len(),
        options: segment.options,
        payload: segment.payload.to_vec(),
        tos: packet.tos(),
        ttl: packet.ttl(),
    };
    let from = SocketAddr::new(packet.src(), segment.src_port);
    Some((from, SocketAddr::new(packet.dst(), segment.dst_port), seen))
}

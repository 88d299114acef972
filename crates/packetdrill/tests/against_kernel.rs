//! The same calls in the same states, over lastack and over the running kernel: results, errno values, poll flags, option
//! values and lengths must be equal. Needs root; `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

mod common;

use common::{Seen, packet, read_packet, segment};
use lastack_packetdrill::backend::{Backend, Kernel, Lastack};
use lastack_packetdrill::call::{Address, Call, Data, EpollEvent, Fd, Out, Outcome, PollFd, Room};
use lastack_packetdrill::run::{IpVersion, Settings};
use std::net::SocketAddr;

/// How far a connection is when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Bound,
    Listening,
    Connecting,
    Established,
    WithData,
    PeerClosed,
    WeShut,
    BothShut,
    Reset,
    ResetWithData,
    ResetAfterFin,
    Refused,
    ShutForReading,
}

const STATES: [State; 14] = [
    State::Closed,
    State::Bound,
    State::Listening,
    State::Connecting,
    State::Established,
    State::WithData,
    State::PeerClosed,
    State::WeShut,
    State::BothShut,
    State::Reset,
    State::ResetWithData,
    State::ResetAfterFin,
    State::Refused,
    State::ShutForReading,
];

struct World<'a> {
    backend: &'a mut dyn Backend,
    version: IpVersion,
    local: SocketAddr,
    peer: SocketAddr,
    isn: u32,
    sockets: Vec<Fd>,
}

impl World<'_> {
    fn call(&mut self, call: &Call) -> Outcome {
        self.backend.call(call).unwrap_or_else(|| panic!("{} blocks", call.name()))
    }

    fn socket(&mut self) -> Fd {
        let domain = if self.version == IpVersion::V4 { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let fd = self.call(&Call::Socket { domain, kind, protocol: 0 }).result as Fd;
        self.sockets.push(fd);
        self.set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        fd
    }

    fn set(&mut self, fd: Fd, level: i32, name: i32, value: i32) -> Outcome {
        let value = Some(value.to_ne_bytes().to_vec());
        self.call(&Call::SetSockOpt { fd, level, name, value, len: 4 })
    }

    /// The address as a socket of the version takes it.
    fn address(&self, address: SocketAddr) -> Address {
        Address::Inet(match address {
            SocketAddr::V4(v4) if self.version == IpVersion::Mapped => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            other => other,
        })
    }

    fn inject(&mut self, flags: &str, seq: u32, ack: u32, len: usize) {
        let segment = segment(self.peer, self.local, flags, seq, self.isn.wrapping_add(ack), len);
        let packet = packet(self.peer.ip(), self.local.ip(), &segment);
        self.backend.inject(&packet).expect("a packet goes in");
        // The kernel takes it in at its leisure.
        let now = self.backend.now();
        self.backend.sleep_until(now + 1000);
    }

    /// Waits for a packet of this connection that `wanted` likes.
    fn wait_for(&mut self, wanted: impl Fn(&Seen) -> bool) {
        let until = self.backend.now() + 2_000_000;
        while let Some(sent) = self.backend.next_packet(until) {
            let Some((src, dst, seen)) = read_packet(&sent.packet) else { continue };
            if (src, dst) != (self.local, self.peer) {
                continue;
            }
            if seen.flags.starts_with('S') {
                self.isn = seen.seq;
            }
            if wanted(&seen) {
                return;
            }
        }
        panic!("the packet does not come");
    }

    fn listen(&mut self) -> Fd {
        let fd = self.socket();
        let address = self.address(self.local);
        assert_eq!(told(self.call(&Call::Bind { fd, address })), "0 Nothing");
        assert_eq!(self.call(&Call::Listen { fd, backlog: 5 }).result, 0);
        fd
    }

    fn connect(&mut self) -> Fd {
        let fd = self.socket();
        let bound = self.address(self.local);
        assert_eq!(self.call(&Call::Bind { fd, address: bound }).result, 0);
        let address = self.address(self.peer);
        assert_eq!(self.call(&Call::Connect { fd, address }).errno, libc::EINPROGRESS);
        self.wait_for(|seen| seen.flags == "S");
        fd
    }

    fn accept(&mut self) -> Fd {
        let listener = self.listen();
        self.inject("S", 0, 0, 0);
        self.wait_for(|seen| seen.flags == "S.");
        self.inject(".", 1, 1, 0);
        let fd = self.call(&Call::Accept { fd: listener, flags: libc::SOCK_NONBLOCK }).result as Fd;
        assert!(fd > 0);
        self.sockets.push(fd);
        fd
    }

    fn shutdown(&mut self, fd: Fd, how: i32) {
        assert_eq!(self.call(&Call::Shutdown { fd, how }).result, 0);
    }

    /// A socket in a state.
    fn reach(&mut self, state: State) -> Fd {
        match state {
            State::Closed => return self.socket(),
            State::Bound => {
                let fd = self.socket();
                let address = self.address(self.local);
                assert_eq!(self.call(&Call::Bind { fd, address }).result, 0);
                return fd;
            }
            State::Listening => return self.listen(),
            State::Connecting => return self.connect(),
            State::Refused => {
                let fd = self.connect();
                self.inject("R.", 0, 1, 0);
                return fd;
            }
            _ => {}
        }
        let fd = self.accept();
        match state {
            State::WithData => self.inject("P.", 1, 1, 100),
            State::PeerClosed => self.inject("F.", 1, 1, 0),
            State::WeShut | State::BothShut => {
                self.shutdown(fd, libc::SHUT_WR);
                self.wait_for(|seen| seen.flags.starts_with('F'));
                self.inject(".", 1, 2, 0);
                if state == State::BothShut {
                    self.inject("F.", 1, 2, 0);
                }
            }
            State::Reset => self.inject("R.", 1, 1, 0),
            State::ResetWithData => {
                self.inject("P.", 1, 1, 100);
                self.inject("R.", 101, 1, 0);
            }
            State::ResetAfterFin => {
                self.inject("F.", 1, 1, 0);
                self.inject("R.", 2, 1, 0);
            }
            State::ShutForReading => self.shutdown(fd, libc::SHUT_RD),
            _ => {}
        }
        fd
    }

    /// Closes what is left and takes the next ports, so that nothing of this connection meets the next.
    fn leave(&mut self) {
        for fd in std::mem::take(&mut self.sockets) {
            let value = Some([1i32, 0].map(i32::to_ne_bytes).concat());
            let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
            self.call(&Call::SetSockOpt { fd, level, name, value, len: 8 });
            self.call(&Call::Close { fd });
        }
        self.local.set_port(self.local.port() + 1);
        self.peer.set_port(self.peer.port() + 1);
    }
}

/// Calls that are tried, each on a fresh socket of each state: one after the other.
fn probes(world: &World<'_>, fd: Fd) -> Vec<(&'static str, Vec<Call>)> {
    let read = |len| Call::Read { fd, rooms: vec![Room::Bytes(len)] };
    let write = |len: usize| Call::Write { fd, pieces: vec![Data::Bytes(vec![0; len])] };
    let recv = |room, flags| Call::Recv { fd, room, flags, wants_address: true };
    let send = |flags| Call::Send { fd, data: Data::Bytes(vec![0; 10]), flags, to: None };
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI;
    let poll = Call::Poll { fds: vec![PollFd { fd, events }], timeout: 0 };
    let error = Call::GetSockOpt { fd, level: libc::SOL_SOCKET, name: libc::SO_ERROR, len: 4, null: false };
    let shutdown = |how| Call::Shutdown { fd, how };
    let ioctl = |request| Call::Ioctl { fd, request, null: false };
    let connect = |address| Call::Connect { fd, address };
    let peer = world.address(world.peer);
    let local = world.address(world.local);
    let short = Address::Other { family: libc::AF_INET as u16, len: 8 };
    let message =
        Call::RecvMsg { fd, rooms: vec![Room::Bytes(10)], name_room: Some(128), control_room: 64, flags: 0 };
    vec![
        ("read", vec![read(50), read(1000), read(10), poll.clone(), error.clone(), read(10)]),
        ("read nothing", vec![read(0), recv(Room::Bytes(0), 0)]),
        ("read null", vec![recv(Room::Null(10), 0), read(10)]),
        ("write", vec![write(10), write(10), poll.clone(), error.clone(), write(10)]),
        ("write nothing", vec![write(0), send(libc::MSG_NOSIGNAL)]),
        ("write null", vec![Call::Write { fd, pieces: vec![Data::Null(10)] }, write(10)]),
        ("poll", vec![poll.clone(), error.clone(), poll.clone()]),
        (
            "peek",
            vec![recv(Room::Bytes(10), libc::MSG_PEEK), recv(Room::Bytes(10), libc::MSG_TRUNC), message],
        ),
        ("urgent", vec![recv(Room::Bytes(10), libc::MSG_OOB), send(libc::MSG_OOB)]),
        ("error queue", vec![recv(Room::Bytes(10), libc::MSG_ERRQUEUE)]),
        ("shut reading", vec![shutdown(libc::SHUT_RD), read(1000), write(10), poll.clone(), error.clone()]),
        ("shut writing", vec![shutdown(libc::SHUT_WR), write(10), read(1000), poll.clone(), error.clone()]),
        (
            "shut both",
            vec![shutdown(libc::SHUT_RDWR), read(1000), write(10), poll.clone(), shutdown(libc::SHUT_WR)],
        ),
        ("shut wrongly", vec![shutdown(3), shutdown(-1)]),
        (
            "bytes",
            vec![ioctl(libc::FIONREAD), ioctl(libc::TIOCOUTQ), ioctl(0x894b), ioctl(0x8905), ioctl(0x1234)],
        ),
        ("connect", vec![connect(peer.clone()), poll.clone(), connect(peer)]),
        ("disconnect", vec![connect(Address::Unspecified), error.clone(), poll.clone(), read(10), write(10)]),
        (
            "connect badly",
            vec![
                connect(short.clone()),
                connect(Address::Null),
                connect(Address::Other { family: 77, len: 28 }),
            ],
        ),
        ("bind", vec![Call::Bind { fd, address: local }, Call::Bind { fd, address: short }]),
        ("bind null", vec![Call::Bind { fd, address: Address::Null }]),
        ("listen", vec![Call::Listen { fd, backlog: -1 }, poll, error]),
        ("accept", vec![Call::Accept { fd, flags: 0 }, Call::Accept { fd, flags: 1 }]),
        ("close", vec![Call::Close { fd }]),
    ]
}

/// What can be compared of an outcome.
fn told(outcome: Outcome) -> String {
    match outcome.out {
        _ if outcome.result < 0 => std::io::Error::from_raw_os_error(outcome.errno).to_string(),
        // A name that the call gives to a file says nothing.
        Out::Peer(peer) => format!("{peer}"),
        Out::Message { data, control, flags } => {
            format!("{} {} bytes, control {control:?}, flags {flags}", outcome.result, data.len())
        }
        Out::Data(_) => format!("{} bytes", outcome.result),
        out => format!("{} {out:?}", outcome.result),
    }
}

fn all_probes(backend: &mut dyn Backend, version: IpVersion) -> Vec<String> {
    with_world(backend, version, |world, log| {
        let names: Vec<&str> = probes(world, 0).into_iter().map(|(name, _)| name).collect();
        for state in STATES {
            for (at, name) in names.iter().enumerate() {
                let fd = world.reach(state);
                let calls = probes(world, fd).remove(at).1;
                let results: Vec<String> = calls.iter().map(|call| told(world.call(call))).collect();
                log.push(format!("{state:?}, {name}: {}", results.join("; ")));
                world.leave();
            }
        }
    })
}

fn with_world(
    backend: &mut dyn Backend,
    version: IpVersion,
    work: impl Fn(&mut World<'_>, &mut Vec<String>),
) -> Vec<String> {
    let settings = settings(version);
    backend.start();
    let mut world = World {
        backend,
        version,
        local: SocketAddr::new(settings.local_ip, 2000),
        peer: SocketAddr::new(settings.remote_ip, 30_000),
        isn: 0,
        sockets: Vec::new(),
    };
    let mut log = Vec::new();
    work(&mut world, &mut log);
    log
}

/// Options with the values that are set: level, name, lengths and values.
fn options(version: IpVersion) -> Vec<(i32, i32)> {
    let mut all: Vec<(i32, i32)> = [
        1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 18, 19, 20, 21, 30, 36, 37, 38, 39, 40, 45, 46, 60, 66,
        67, 72,
    ]
    .map(|name| (libc::SOL_SOCKET, name))
    .to_vec();
    all.extend([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 17, 18, 25, 36].map(|name| (libc::IPPROTO_TCP, name)));
    all.extend([1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 15, 19, 24].map(|name| (libc::IPPROTO_IP, name)));
    all.extend([16, 23, 24, 25, 26, 49, 51, 66, 67, 75, 78].map(|name| (libc::IPPROTO_IPV6, name)));
    // Levels that nobody knows.
    all.extend([(libc::IPPROTO_UDP, 1), (77, 1)]);
    if version == IpVersion::V6 {
        // The path of IPv4 is none of IPv6's.
        all.retain(|option| *option != (libc::IPPROTO_IP, 14));
    }
    all
}

fn all_options(backend: &mut dyn Backend, version: IpVersion) -> Vec<String> {
    with_world(backend, version, |world, log| {
        for state in [State::Closed, State::Listening, State::Connecting, State::Established, State::Reset] {
            for (level, name) in options(version) {
                let fd = world.reach(state);
                let get = |len| Call::GetSockOpt { fd, level, name, len, null: false };
                let mut results = vec![told(world.call(&get(4))), told(world.call(&get(1)))];
                results.push(told(world.call(&get(32))));
                if level != libc::IPPROTO_IPV6 {
                    results.push(told(world.call(&get(-1))));
                }
                for value in [0, 1, 5, 200, 255, 256, 70_000, -1] {
                    results.push(told(world.set(fd, level, name, value)));
                    results.push(told(world.call(&get(4))));
                }
                for len in [0, 1, 3, 8, 16, -1] {
                    let value = Some(vec![1; usize::try_from(len).unwrap_or(0)]);
                    results.push(told(world.call(&Call::SetSockOpt { fd, level, name, value, len })));
                }
                let null = Call::SetSockOpt { fd, level, name, value: None, len: 4 };
                results.push(told(world.call(&null)));
                log.push(format!("{state:?}, option {level}/{name}: {}", results.join("; ")));
                world.leave();
            }
        }
    })
}

fn all_epoll(backend: &mut dyn Backend, version: IpVersion) -> Vec<String> {
    with_world(backend, version, |world, log| {
        for state in STATES {
            for mode in [0, libc::EPOLLET, libc::EPOLLONESHOT] {
                let fd = world.reach(state);
                let epfd = world.call(&Call::EpollCreate { size: 1 }).result as Fd;
                world.sockets.push(epfd);
                let wanted = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | mode;
                let event = Some(EpollEvent { events: wanted as u32, data: 9 });
                let ctl = |op| Call::EpollCtl { epfd, op, fd, event };
                let wait = |max| Call::EpollWait { epfd, max, timeout: 0 };
                let calls = [
                    ctl(libc::EPOLL_CTL_MOD),
                    ctl(libc::EPOLL_CTL_ADD),
                    ctl(libc::EPOLL_CTL_ADD),
                    wait(0),
                    wait(4),
                    wait(4),
                    ctl(libc::EPOLL_CTL_MOD),
                    wait(4),
                    ctl(libc::EPOLL_CTL_DEL),
                    wait(4),
                    ctl(libc::EPOLL_CTL_DEL),
                    ctl(9),
                ];
                let results: Vec<String> = calls.iter().map(|call| told(world.call(call))).collect();
                log.push(format!("{state:?}, epoll {mode:#x}: {}", results.join("; ")));
                world.leave();
            }
        }
    })
}

const MSG_ZEROCOPY: i32 = 0x400_0000;
const SO_ZEROCOPY: i32 = 60;
/// Bits of SO_TIMESTAMPING: what is stamped (the packet that leaves, its way into the queue, its acknowledgement), and how
/// that is told (the software's clock, with a number, without the packet, numbers from the next byte on).
const TX_SOFTWARE: i32 = 2;
const SOFTWARE: i32 = 16;
const OPT_ID: i32 = 1 << 7;
const TX_SCHED: i32 = 1 << 8;
const TX_ACK: i32 = 1 << 9;
const OPT_TSONLY: i32 = 1 << 11;
const OPT_ID_TCP: i32 = 1 << 16;

/// Control messages one after the other; of a stamp only whether it is there.
fn controls(control: &[u8]) -> String {
    let mut rest = control.to_vec();
    let mut text = String::new();
    while rest.len() >= 16 {
        let word = |at: usize| i32::from_ne_bytes(rest[at..at + 4].try_into().expect("four bytes"));
        let len = (word(0) as usize).clamp(16, rest.len());
        let data = &rest[16..len];
        let stamp = (word(8), word(12)) == (libc::SOL_SOCKET, libc::SO_TIMESTAMPING);
        let shown = if stamp {
            let set = data.chunks(16).map(|time| u8::from(time.iter().any(|byte| *byte != 0)));
            format!("stamps {:?}", set.collect::<Vec<_>>())
        } else {
            format!("{data:?}")
        };
        text += &format!("[{}/{} {shown}]", word(8), word(12));
        rest.drain(..len.next_multiple_of(8).min(rest.len()));
    }
    text
}

impl World<'_> {
    fn send(&mut self, fd: Fd, len: usize, flags: i32) -> String {
        let call =
            Call::Send { fd, data: Data::Bytes(vec![0; len]), flags: flags | libc::MSG_DONTWAIT, to: None };
        let outcome = self.call(&call);
        let now = self.backend.now();
        self.backend.sleep_until(now + 1000);
        format!("send {}", told(outcome))
    }

    /// What `poll` and the error queue have to tell, until that is empty.
    fn reports(&mut self, fd: Fd, control_room: usize) -> String {
        let poll = Call::Poll { fds: vec![PollFd { fd, events: libc::POLLIN | libc::POLLPRI }], timeout: 0 };
        let mut text = told(self.call(&poll));
        for _ in 0..9 {
            let flags = libc::MSG_ERRQUEUE;
            let rooms = vec![Room::Bytes(200)];
            let call = Call::RecvMsg { fd, rooms, name_room: Some(128), control_room, flags };
            match self.call(&call) {
                Outcome { result, out: Out::Message { data, control, flags }, .. } if result >= 0 => {
                    text += &format!(
                        "; {result}, {} bytes, {}, flags {flags:#x}",
                        data.len(),
                        controls(&control)
                    );
                }
                outcome => {
                    text += &format!("; {}", told(outcome));
                    break;
                }
            }
        }
        text
    }
}

fn all_reports(backend: &mut dyn Backend, version: IpVersion) -> Vec<String> {
    with_world(backend, version, |world, log| {
        let mut case = |name: &str, play: &dyn Fn(&mut World<'_>, Fd) -> Vec<String>| {
            let fd = world.reach(State::Established);
            world.set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
            let lines = play(world, fd);
            log.push(format!("{name}: {}", lines.join("\n    ")));
            world.leave();
        };
        let zerocopy = |world: &mut World<'_>, fd: Fd| told(world.set(fd, libc::SOL_SOCKET, SO_ZEROCOPY, 1));
        case("zerocopy acknowledged", &|w, fd| {
            let mut log = vec![zerocopy(w, fd), w.send(fd, 100, MSG_ZEROCOPY), w.reports(fd, 512)];
            w.inject(".", 1, 101, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("zerocopy acknowledged in part", &|w, fd| {
            let mut log = vec![zerocopy(w, fd), w.send(fd, 100, MSG_ZEROCOPY)];
            w.inject(".", 1, 51, 0);
            log.push(w.reports(fd, 512));
            w.inject(".", 1, 101, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("zerocopy twice, told together", &|w, fd| {
            let mut log = vec![zerocopy(w, fd)];
            log.extend([w.send(fd, 100, MSG_ZEROCOPY), w.send(fd, 0, MSG_ZEROCOPY), w.send(fd, 50, 0)]);
            log.extend([w.send(fd, 1, MSG_ZEROCOPY)]);
            w.inject(".", 1, 152, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("zerocopy twice, told apart", &|w, fd| {
            let mut log = vec![zerocopy(w, fd), w.send(fd, 100, MSG_ZEROCOPY), w.send(fd, 100, MSG_ZEROCOPY)];
            w.inject(".", 1, 101, 0);
            log.push(w.reports(fd, 512));
            w.inject(".", 1, 201, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("zerocopy and a reset", &|w, fd| {
            let mut log = vec![zerocopy(w, fd), w.send(fd, 100, MSG_ZEROCOPY)];
            w.inject("R.", 1, 1, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("zerocopy without the option", &|w, fd| {
            let mut log = vec![w.send(fd, 100, MSG_ZEROCOPY)];
            w.inject(".", 1, 101, 0);
            log.push(w.reports(fd, 512));
            log
        });
        case("little room", &|w, fd| {
            let mut log = vec![zerocopy(w, fd), w.send(fd, 100, MSG_ZEROCOPY)];
            w.inject(".", 1, 101, 0);
            log.push(w.reports(fd, 24));
            log
        });
        let all = TX_SOFTWARE | TX_SCHED | TX_ACK | SOFTWARE;
        let stamps = [
            all | OPT_ID | OPT_TSONLY,
            all | OPT_ID | OPT_TSONLY | OPT_ID_TCP,
            all | OPT_TSONLY,
            TX_ACK | SOFTWARE | OPT_TSONLY,
            TX_SOFTWARE | SOFTWARE | OPT_TSONLY | OPT_ID,
            TX_ACK | OPT_TSONLY | OPT_ID,
            all | OPT_ID,
        ];
        for flags in stamps {
            case(&format!("stamps {flags:#x}"), &|w, fd| {
                let mut log = vec![w.send(fd, 30, 0)];
                log.push(told(w.set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)));
                log.extend([w.send(fd, 100, 0), w.reports(fd, 512), w.send(fd, 10, 0), w.reports(fd, 512)]);
                w.inject(".", 1, 131, 0);
                log.push(w.reports(fd, 512));
                w.inject(".", 1, 141, 0);
                log.push(w.reports(fd, 512));
                log
            });
        }
    })
}

fn settings(version: IpVersion) -> Settings {
    let name = match version {
        IpVersion::V4 => "ipv4",
        IpVersion::V6 => "ipv6",
        IpVersion::Mapped => "ipv4-mapped-ipv6",
    };
    Settings::new(&[], &[("ip_version".to_owned(), name.to_owned())]).expect("settings")
}

/// Where lastack differs, by the line's beginning, and why.
const KNOWN: [(&str, &str); 8] = [
    ("Refused, bytes", "a failed attempt leaves its SYN counted as unacknowledged; lastack owes nothing"),
    ("BothShut, bind", "a socket that lost its port may bind another; lastack's keeps the address it had"),
    ("Reset, bind", "as above"),
    ("ResetWithData, bind", "as above"),
    ("ResetAfterFin, bind", "as above"),
    ("Reset, option 41/26", "as above: without its port the kernel's socket lets it be set again"),
    ("stamps 0x392", "without OPT_TSONLY the kernel adds the packet that the stamp is about"),
    ("Reset, option 6/10", "the kernel keeps the clamp of the connection that ended, lastack computes it"),
];

/// Descriptors are the process's: one test at a time.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

type Work = fn(&mut dyn Backend, IpVersion) -> Vec<String>;

/// Runs the work over both and compares line by line.
fn compare(work: Work) {
    if std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1") {
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut wrong = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6, IpVersion::Mapped] {
        // The kernel's backend moves its thread into a namespace for good.
        let kernel = std::thread::spawn(move || {
            let mut kernel = Kernel::open(&settings(version)).expect("a namespace; this test needs root");
            work(&mut kernel, version)
        });
        let ours = work(&mut Lastack::new(&settings(version)), version);
        let theirs = kernel.join().expect("the kernel's side");
        assert_eq!(ours.len(), theirs.len());
        let pairs = ours.iter().zip(&theirs).filter(|(ours, theirs)| {
            ours != theirs && !KNOWN.iter().any(|(line, _)| ours.starts_with(&format!("{line}:")))
        });
        wrong
            .extend(pairs.map(|(ours, theirs)| format!("{version:?}\n  lastack {ours}\n  kernel  {theirs}")));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_call_in_every_state_gives_what_the_kernel_gives() {
    compare(all_probes);
}

#[test]
fn every_option_is_read_and_set_as_in_the_kernel() {
    compare(all_options);
}

#[test]
fn epoll_tells_in_every_state_what_the_kernel_tells() {
    compare(all_epoll);
}

#[test]
fn zerocopy_and_timestamps_are_reported_as_by_the_kernel() {
    compare(all_reports);
}

//! A way in which a connection ends, as a table: what each side does, what it sees, and the states it passes.
//!
//! Of the two sides, A and B, one is the kernel and the other lastack. Every way is run with either as A, with either as
//! the client, over IPv4 and IPv6. The kernel's states are read from `/proc/net/tcp`, lastack's from its trace; what a
//! program sees (bytes, errno) is asserted alike of both, so that lastack does what the kernel does in its place.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use lastack::{Cause, State};

use crate::gate::{Kind, To};
use crate::lab::{Family, Lab, LabOptions, eventually};
use crate::socket::{Connected, Socket, connect};
use crate::{kernel, namespace};

/// A side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that the way is about, most often the one that closes first.
    A,
    /// Its peer.
    B,
}

impl Side {
    fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }
}

/// What a side does, or sees when it does it. Data is a pattern of its own for each direction, compared when read.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Writes so many bytes.
    Write(usize),
    /// Writes until all buffers are full.
    Fill,
    /// Writes: this errno.
    WriteFails(i32),
    /// Reads exactly so many bytes.
    Read(usize),
    /// Reads all that the peer wrote so far, and compares.
    ReadAll,
    /// Reads: end of file.
    ReadEnd,
    /// Reads: this errno.
    ReadFails(i32),
    /// Waits until so many bytes can be read, and does not.
    Unread(usize),
    /// Shuts a direction down.
    Shutdown(Shutdown),
    /// Shuts a direction down: this errno.
    ShutdownFails(Shutdown, i32),
    /// `SO_ERROR` is this errno.
    Error(i32),
    /// Sets linger 0.
    LingerZero,
    /// Sets the user timeout, in milliseconds.
    UserTimeout(u64),
    /// Sets keep-alive: 1 s, each 1 s, 2 probes.
    KeepAlive,
    /// Closes the socket (drops it).
    Close,
    /// Aborts (lastack only).
    Abort,
    /// Gives the socket to another process (kernel only).
    GiveToProcess,
    /// `SIGKILL` for that process.
    Kill,
}

/// A step of a way.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A side does something.
    Do(Side, Act),
    /// A side is in a state or comes to be in it. CLOSED: there is no record of it any more.
    Is(Side, State),
    /// What the side sends is kept back.
    Hold(Side),
    /// What was kept back of the side's goes on.
    Release(Side),
    /// The next segments of a kind that the side sends are lost: how many.
    Lose(Side, Kind, u64),
    /// All that was to be lost was lost.
    Lost(Side, u64),
}

/// Who may be A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Either.
    Both,
    /// Only the kernel can do what A does.
    KernelIsA,
    /// Only lastack can.
    LastackIsA,
}

/// How the two stacks are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// As they come.
    Default,
    /// An ownerless FIN_WAIT_2 ends after 2 s (`tcp_fin_timeout`) on both.
    ShortFinWait2,
}

/// The states that lastack enters after ESTABLISHED, and why.
pub type Path = &'static [(State, Cause)];

/// A way of ending.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Who may be A.
    pub roles: Roles,
    /// How the stacks are set up.
    pub setup: Setup,
    /// What happens, in order.
    pub steps: &'static [Step],
    /// lastack's path as A. Its last state is where the kernel ends too, when it is A.
    pub a: Path,
    /// The same of B.
    pub b: Path,
}

/// Runs a way in all its forms.
///
/// # Panics
/// If it does not go as the table has it.
pub fn run(name: &'static str, way: &'static Way) {
    namespace::in_namespace(move || {
        let mut options = LabOptions::default();
        if way.setup == Setup::ShortFinWait2 {
            std::fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "2").expect("sysctl");
            options.config.tcp.fin_timeout = Duration::from_secs(2);
        }
        let lab = Lab::with(options);
        for family in Family::BOTH {
            for kernel_is_client in [true, false] {
                for kernel_is_a in [true, false] {
                    let excluded = if kernel_is_a { Roles::LastackIsA } else { Roles::KernelIsA };
                    if way.roles != excluded {
                        let who = if kernel_is_a { "kernel" } else { "lastack" };
                        let client = if kernel_is_client { "kernel" } else { "lastack" };
                        println!("{name}: {family:?}, A is {who}, client is {client}");
                        Run::new(&lab, family, kernel_is_client, kernel_is_a).way(way, kernel_is_client);
                    }
                }
            }
        }
        let counters = lab.host.counters();
        assert_eq!((counters.illegal_transitions, counters.trace_drops, counters.in_errs), (0, 0, 0));
    });
}

struct Run<'a> {
    lab: &'a Lab,
    kernel_is_a: bool,
    a: Option<Socket>,
    b: Option<Socket>,
    kernel_addr: SocketAddr,
    lastack_addr: SocketAddr,
    /// Bytes written by A and B, and read by A and B.
    written: [u64; 2],
    read: [u64; 2],
    /// Lost so far in each direction, by the sender.
    lost_before: [u64; 2],
}

impl<'a> Run<'a> {
    fn new(lab: &'a Lab, family: Family, kernel_is_client: bool, kernel_is_a: bool) -> Self {
        let Connected { kernel, lastack, kernel_addr, lastack_addr } = connect(lab, family, kernel_is_client);
        let (a, b) = if kernel_is_a { (kernel, lastack) } else { (lastack, kernel) };
        let mut run = Self {
            lab,
            kernel_is_a,
            a: Some(a),
            b: Some(b),
            kernel_addr,
            lastack_addr,
            written: [0; 2],
            read: [0; 2],
            lost_before: [0; 2],
        };
        run.is(Side::A, State::Established);
        run.is(Side::B, State::Established);
        run.lost_before = [Side::A, Side::B].map(|side| lab.gate.traffic(run.sends_to(side)).lost);
        run
    }

    fn way(mut self, way: &Way, kernel_is_client: bool) {
        for (number, step) in way.steps.iter().enumerate() {
            println!("  {number}: {step:?}");
            self.step(*step);
        }
        let (lastack, kernel) = if self.kernel_is_a { (way.b, way.a) } else { (way.a, way.b) };
        let side = if self.kernel_is_a { Side::A } else { Side::B };
        self.is(side, kernel.last().expect("a way ends").0);
        let opening: Path = if kernel_is_client {
            &[
                (State::NewSynRecv, Cause::Syn),
                (State::SynReceived, Cause::Handshake),
                (State::Established, Cause::Handshake),
            ]
        } else {
            &[(State::SynSent, Cause::Connect), (State::Established, Cause::Handshake)]
        };
        let path = [opening, lastack].concat();
        eventually("lastack's path", path, || self.lab.path(self.lastack_addr, self.kernel_addr));
    }

    fn step(&mut self, step: Step) {
        let gate = &self.lab.gate;
        match step {
            Step::Do(side, act) => self.act(side, act),
            Step::Is(side, state) => self.is(side, state),
            Step::Hold(side) => gate.hold(self.sends_to(side)),
            Step::Release(side) => gate.release(self.sends_to(side)),
            Step::Lose(side, kind, count) => gate.lose(self.sends_to(side), kind, count),
            Step::Lost(side, count) => {
                let to = self.sends_to(side);
                let before = self.lost_before[side as usize];
                eventually("lost", count, || gate.traffic(to).lost - before);
            }
        }
    }

    fn is_kernel(&self, side: Side) -> bool {
        (side == Side::A) == self.kernel_is_a
    }

    fn sends_to(&self, side: Side) -> To {
        if self.is_kernel(side) { To::Lastack } else { To::Kernel }
    }

    fn is(&self, side: Side, state: State) {
        if self.is_kernel(side) {
            let look = || kernel::state(self.kernel_addr, self.lastack_addr);
            eventually("the kernel's state", state, look);
        } else {
            let look = || self.lab.state(self.lastack_addr, self.kernel_addr);
            eventually("lastack's state", state, look);
        }
    }

    fn slot(&mut self, side: Side) -> &mut Option<Socket> {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    fn take(&mut self, side: Side) -> Socket {
        self.slot(side).take().expect("the side has a socket")
    }

    fn act(&mut self, side: Side, act: Act) {
        match act {
            Act::Close => return drop(self.take(side)),
            Act::Abort => return self.take(side).abort(),
            Act::Kill => return self.take(side).kill(),
            Act::GiveToProcess => {
                let socket = self.take(side).into_process();
                *self.slot(side) = Some(socket);
                return;
            }
            Act::Read(len) => return self.read(side, len as u64),
            Act::ReadAll => {
                let left = self.written[side.other() as usize] - self.read[side as usize];
                return self.read(side, left);
            }
            _ => {}
        }
        let written = self.written[side as usize];
        let socket = self.slot(side).as_mut().expect("the side has a socket");
        match act {
            Act::Write(len) => {
                let mut data = vec![0; len];
                pattern(side, written, &mut data);
                let mut left = &data[..];
                while !left.is_empty() {
                    let len = socket.write(left).expect("write");
                    left = &left[len..];
                }
                self.written[side as usize] += len as u64;
            }
            Act::Fill => {
                self.written[side as usize] += socket.fill(|at, chunk| pattern(side, written + at, chunk));
            }
            Act::WriteFails(errno) => assert_eq!(socket.write(b"x"), Err(errno)),
            Act::ReadEnd => assert_eq!(socket.read(&mut [0; 64]), Ok(0)),
            Act::ReadFails(errno) => assert_eq!(socket.read(&mut [0; 64]), Err(errno)),
            Act::Unread(len) => {
                let mut buffer = vec![0; len + 1];
                eventually("unread", Ok(len), || socket.peek(&mut buffer));
            }
            Act::Shutdown(how) => assert_eq!(socket.shutdown(how), Ok(())),
            Act::ShutdownFails(how, errno) => assert_eq!(socket.shutdown(how), Err(errno)),
            Act::Error(errno) => assert_eq!(socket.take_error(), errno),
            Act::LingerZero => socket.set_linger_zero(),
            Act::UserTimeout(millis) => socket.set_user_timeout(Duration::from_millis(millis)),
            Act::KeepAlive => socket.set_keepalive(),
            Act::Close | Act::Abort | Act::Kill | Act::GiveToProcess | Act::Read(_) | Act::ReadAll => {
                unreachable!("done above")
            }
        }
    }

    fn read(&mut self, side: Side, mut left: u64) {
        let mut at = self.read[side as usize];
        let socket = self.slot(side).as_mut().expect("the side has a socket");
        let (mut buffer, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        while left > 0 {
            let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let len = socket.read(&mut buffer[..room]).expect("read");
            assert_ne!(len, 0, "end of file with {left} bytes missing");
            pattern(side.other(), at, &mut expected[..len]);
            assert!(buffer[..len] == expected[..len], "other bytes at {at}");
            at += len as u64;
            left -= len as u64;
        }
        self.read[side as usize] = at;
    }
}

/// What a side writes at a place of its stream.
fn pattern(writer: Side, at: u64, data: &mut [u8]) {
    for (index, byte) in data.iter_mut().enumerate() {
        let place = at + index as u64;
        // No period of the size of a segment or a chunk.
        *byte = (place ^ (place >> 8) ^ (place >> 16)) as u8 ^ (writer as u8 + 0x55);
    }
}

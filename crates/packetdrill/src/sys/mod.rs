//! Linux's socket calls over a [`Stack`], on a clock that stands still until it is moved.
//!
//! A [`Machine`] is a stack, the descriptors of one program, and the time. Calls are judged as Linux judges them: order of
//! checks, errno values, lengths. A call that cannot be answered now stays with the machine and is tried again after
//! whatever happens next; its outcome and the moment it was there are fetched with [`Machine::finished`]. Every packet
//! that the stack sends is stamped with the time at which it left.
//!
//! ```
//! use lastack_packetdrill::call::{Call, Outcome};
//! use lastack_packetdrill::sys::{Machine, Settings, Step};
//!
//! let mut machine = Machine::new(&Settings::default());
//! let socket = Call::Socket { domain: libc::AF_INET, kind: libc::SOCK_STREAM, protocol: 0 };
//! assert_eq!(machine.call(socket), Step::Done(Outcome::ok(3)));
//! ```

mod data;
mod fast_open;
mod files;
mod options;
mod pipe;
mod poll;
mod reports;
mod settings;
mod socket;
mod sysctl;

pub use files::{Counter, Descriptors};
pub use settings::Settings;
pub use sysctl::SysctlError;

use crate::call::{Call, Fd, Outcome};
use files::Files;
use lastack_core::wire::PacketMeta;
use lastack_core::{Event, Instant, Stack};
use std::collections::VecDeque;
use std::time::Duration;

/// Largest IP packet.
const MAX_PACKET: usize = 65_535;

/// Names a blocked call until its outcome is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What became of a call at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has returned.
    Done(Outcome),
    /// It sleeps; its outcome comes through [`Machine::finished`].
    Blocked(Ticket),
}

/// A blocked call that has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub ticket: Ticket,
    /// When.
    pub at: Instant,
    /// With what.
    pub outcome: Outcome,
}

/// A packet that the stack sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it left.
    pub at: Instant,
    /// The IP packet, checksums finished.
    pub packet: Vec<u8>,
}

/// A call under way.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    call: Call,
    /// When waiting ends; unset until it begins, and then perhaps never.
    deadline: Option<Instant>,
    /// Waiting has begun.
    waits: bool,
    /// What the call has read so far.
    data: Vec<u8>,
    /// How many bytes it has taken or given so far.
    count: usize,
    /// It sends while it opens the connection; until that is open, what it returns without a byte when its patience ends.
    opening: Option<i32>,
}

impl Pending {
    fn expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// Goes to sleep for at most `limit` (for ever without one). The limit counts from the first sleep on.
    fn wait(&mut self, now: Instant, limit: Option<Duration>) -> Option<Outcome> {
        if !self.waits {
            self.waits = true;
            self.deadline = limit.map(|limit| now + limit);
        }
        None
    }
}

/// A stack, a program's descriptors, and a clock. See the module.
#[derive(Debug)]
pub struct Machine {
    stack: Stack,
    now: Instant,
    settings: Settings,
    files: Files,
    blocked: Vec<Pending>,
    finished: VecDeque<Finished>,
    sent: VecDeque<Sent>,
    tickets: u64,
    frame: Vec<u8>,
}

impl Machine {
    /// A machine whose descriptors count up from 3, at time 1 s.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self::with_descriptors(settings, Box::new(Counter::default()))
    }

    /// A machine that takes its descriptor numbers from `numbers`.
    #[must_use]
    pub fn with_descriptors(settings: &Settings, numbers: Box<dyn Descriptors>) -> Self {
        let now = Instant::from_secs(1);
        Self {
            stack: Stack::new(settings.config.clone(), settings.capabilities(), settings.seed, now),
            now,
            settings: settings.clone(),
            files: Files::new(numbers),
            blocked: Vec::new(),
            finished: VecDeque::new(),
            sent: VecDeque::new(),
            tickets: 0,
            frame: vec![0; MAX_PACKET],
        }
    }

    /// The machine's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The stack, to look at.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Changes TCP's knobs while the stack runs, as writing a sysctl does.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        let pause = self.settings.config.tcp.fast_open_pause;
        change(&mut self.settings);
        *self.stack.tcp_config_mut() = self.settings.config.tcp.clone();
        if self.settings.config.tcp.fast_open_pause != pause {
            self.resume_fast_open();
        }
    }

    /// Uses Fast Open again, as writing `tcp_fastopen_blackhole_timeout_sec` does.
    pub fn resume_fast_open(&mut self) {
        self.stack.resume_fast_open();
    }

    /// Forgets Fast Open cookies, as `ip tcp_metrics flush` does.
    pub fn forget_fast_open_cookies(&mut self) {
        self.stack.forget_fast_open_cookies();
    }

    /// Ends every record as an administrator does with `ss -K`.
    pub fn kill_all(&mut self) {
        for id in self.stack.records() {
            self.stack.kill(self.now, id);
        }
        self.settle();
    }

    /// Whether `fd` is one of this machine's descriptors.
    #[must_use]
    pub fn owns(&self, fd: Fd) -> bool {
        self.files.get(fd).is_some()
    }

    /// Makes a call. It has all effects that it can have at this moment.
    pub fn call(&mut self, call: Call) -> Step {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut pending =
            Pending { ticket, call, deadline: None, waits: false, data: Vec::new(), count: 0, opening: None };
        let mut outcome = self.attempt(&mut pending);
        self.settle();
        if outcome.is_none() && pending.expired(self.now) {
            outcome = self.attempt(&mut pending);
        }
        match outcome {
            Some(outcome) => Step::Done(outcome),
            None => {
                self.blocked.push(pending);
                self.retry_blocked();
                match self.finished.iter().position(|finished| finished.ticket == ticket) {
                    Some(at) => Step::Done(self.finished.remove(at).map_or(Outcome::ok(0), |f| f.outcome)),
                    None => Step::Blocked(ticket),
                }
            }
        }
    }

    /// Whether a call sleeps.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Whether a blocked call has returned and its outcome was not fetched.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// The next blocked call that has returned.
    pub fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// A packet arrives: a whole IP packet without link header.
    pub fn inject(&mut self, packet: &[u8]) {
        self.stack.receive(self.now, &PacketMeta::default(), packet);
        self.settle();
    }

    /// The next packet that the stack sent.
    pub fn sent(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// When something will happen by itself: a timer of the stack, or the end of a blocked call's patience.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let patience = self.blocked.iter().filter_map(|pending| pending.deadline).min();
        match (self.stack.next_timeout(), patience) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Moves the clock to `to`; each timer on the way acts at its own time. Stops early, at the moment when a blocked
    /// call returns: look at [`Machine::finished`], then go on.
    pub fn advance(&mut self, to: Instant) {
        while self.finished.is_empty() {
            match self.next_deadline().filter(|at| *at <= to) {
                Some(at) => self.act_at(at),
                None => {
                    self.now = self.now.max(to);
                    return;
                }
            }
        }
    }

    /// Moves the clock until a packet has left or a blocked call has returned, but not beyond `limit`, and not at all if
    /// there is nothing that could happen. True if a packet is there.
    pub fn advance_to_packet(&mut self, limit: Instant) -> bool {
        while self.sent.is_empty() && self.finished.is_empty() {
            match self.next_deadline().filter(|at| *at <= limit) {
                Some(at) => self.act_at(at),
                None => break,
            }
        }
        !self.sent.is_empty()
    }

    fn act_at(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.stack.handle_timeout(self.now);
        self.settle();
    }

    /// After anything happened: packets leave, epoll hears of it, blocked calls try again, until nothing moves.
    fn settle(&mut self) {
        self.flush();
        self.retry_blocked();
    }

    fn flush(&mut self) {
        while let Some((len, _)) = self.stack.transmit(self.now, &mut self.frame) {
            let packet = self.frame.get(..len).unwrap_or_default().to_vec();
            self.sent.push_back(Sent { at: self.now, packet });
        }
        while let Some(event) = self.stack.poll_event() {
            if let Event::Tcp(handle, ready) = event {
                self.files.note_event(handle, ready);
            }
        }
        self.report();
    }

    fn retry_blocked(&mut self) {
        let mut at = 0;
        while at < self.blocked.len() {
            let mut pending = self.blocked.remove(at);
            match self.attempt(&mut pending) {
                Some(outcome) => {
                    self.finished.push_back(Finished { ticket: pending.ticket, at: self.now, outcome });
                    at = 0;
                }
                None => {
                    self.blocked.insert(at, pending);
                    at += 1;
                }
            }
            self.flush();
        }
    }

    /// Tries a call. `None`: it sleeps on.
    fn attempt(&mut self, pending: &mut Pending) -> Option<Outcome> {
        let call = std::mem::replace(&mut pending.call, Call::Close { fd: -1 });
        let result = self.dispatch(&call, pending);
        pending.call = call;
        result.unwrap_or_else(|errno| Some(Outcome::error(errno)))
    }

    fn dispatch(&mut self, call: &Call, p: &mut Pending) -> Result<Option<Outcome>, i32> {
        match call {
            Call::Socket { domain, kind, protocol } => self.socket(*domain, *kind, *protocol).map(Some),
            Call::Bind { fd, address } => self.bind(*fd, address).map(Some),
            Call::Listen { fd, backlog } => self.listen(*fd, *backlog).map(Some),
            Call::Accept { fd, flags } => self.accept(p, *fd, *flags),
            Call::Connect { fd, address } => self.connect(p, *fd, address),
            Call::Shutdown { fd, how } => self.shutdown(*fd, *how).map(Some),
            Call::Close { fd } => self.close(p, *fd),
            Call::Read { fd, rooms } => self.read(p, *fd, rooms),
            Call::Recv { fd, room, flags, .. } => self.recv(p, *fd, &[*room], *flags),
            Call::RecvMsg { fd, rooms, control_room, flags, .. } => {
                self.recvmsg(p, *fd, rooms, *control_room, *flags)
            }
            Call::Write { fd, pieces } => self.write(p, *fd, pieces),
            Call::Send { fd, data, flags, to } => {
                self.send(p, *fd, std::slice::from_ref(data), *flags, to.as_ref(), &[])
            }
            Call::SendMsg { fd, pieces, to, control, flags } => {
                self.send(p, *fd, pieces, *flags, to.as_ref(), control)
            }
            Call::Fcntl { fd, command, argument } => self.fcntl(*fd, *command, *argument).map(Some),
            Call::Ioctl { fd, request, null } => self.ioctl(*fd, *request, *null).map(Some),
            Call::Poll { fds, timeout } => Ok(self.poll(p, fds, *timeout)),
            Call::GetSockOpt { fd, level, name, len, null } => {
                self.getsockopt(*fd, *level, *name, *len, *null).map(Some)
            }
            Call::SetSockOpt { fd, level, name, value, len } => {
                self.setsockopt(*fd, *level, *name, value.as_deref(), *len).map(Some)
            }
            Call::EpollCreate { size } => self.epoll_create(*size).map(Some),
            Call::EpollCtl { epfd, op, fd, event } => self.epoll_ctl(*epfd, *op, *fd, *event).map(Some),
            Call::EpollWait { epfd, max, timeout } => self.epoll_wait(p, *epfd, *max, *timeout),
            Call::Pipe { flags } => self.pipe(*flags).map(Some),
            Call::Splice { from, from_offset, to, to_offset, len, flags } => {
                if from_offset.is_some() || to_offset.is_some() {
                    return Err(libc::ESPIPE);
                }
                self.splice(p, *from, *to, *len, *flags)
            }
        }
    }
}

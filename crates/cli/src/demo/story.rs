//! From a log to a story: segments with relative numbers, entries on each side, and the numbered steps of the end.

use super::steps::{self, Step};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cause, Initiator, Instant, Shutdown, State};
use lastack_sim::packet::{flag_names, segment_of};
use lastack_sim::{Call, Log, Op, Outcome, Packet, Side, Waiting, What};
use std::collections::HashMap;
use std::net::SocketAddr;

/// A connection, or what A or B takes for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// A's address.
    pub a: SocketAddr,
    /// B's address.
    pub b: SocketAddr,
}

/// A TCP segment that one side sent.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Who sent it.
    pub from: Side,
    /// Index into [`Story::connections`].
    pub connection: usize,
    /// When it left.
    pub sent: Instant,
    /// When it arrived; `None` if it was lost.
    pub arrived: Option<Instant>,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number as it is on the wire.
    pub seq: u32,
    /// Acknowledgement number as it is on the wire, if there is one.
    pub ack: Option<u32>,
    /// Sequence number from the sender's initial one; as on the wire if the sender never sent a SYN.
    pub relative_seq: u32,
    /// Acknowledgement number from the receiver's initial sequence number.
    pub relative_ack: Option<u32>,
    /// No stack sent it: somebody else speaks in the sender's name.
    pub forged: bool,
    /// Bytes of data.
    pub len: usize,
    /// The window field, not scaled.
    pub window: u16,
    /// The same sequence numbers were sent before: index of the segment that did it last.
    pub repeats: Option<usize>,
    /// Index into [`Story::steps`] of the step in which it was sent.
    pub step: Option<usize>,
}

impl Segment {
    /// What it adds to the sequence numbers: data, and one each for SYN and FIN.
    pub(super) fn occupies(&self) -> usize {
        self.len + usize::from(self.flags.contains(Flags::SYN)) + usize::from(self.flags.contains(Flags::FIN))
    }

    /// Names of the control bits, for example `FIN,ACK`.
    pub fn flag_names(&self) -> String {
        flag_names(self.flags)
    }

    /// Flags and relative numbers in a line.
    pub fn label(&self) -> String {
        // A FIN pushes by itself, and the label has to fit.
        let flags = if self.flags.contains(Flags::FIN) { self.flags - Flags::PSH } else { self.flags };
        let mut label = format!("{} seq {}", flag_names(flags), self.relative_seq);
        if let Some(ack) = self.relative_ack {
            label += &format!(" ack {ack}");
        }
        if self.len > 0 {
            label += &format!(" len {}", self.len);
        }
        if self.forged {
            label += " (forged)";
        }
        label
    }
}

/// Whose state or call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// A listener.
    Listener,
    /// Index into [`Story::connections`].
    Connection(usize),
}

/// What happened on one side.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The application made a call.
    Call(Call),
    /// The state changed.
    Transition(Change),
    /// The segment with this index left.
    Depart(usize),
    /// The segment with this index arrived.
    Arrive(usize),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// On whose account.
    pub initiator: Initiator,
}

/// One event of the story.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// On which side.
    pub side: Side,
    /// Whose event it is.
    pub socket: Socket,
    /// What happened.
    pub kind: Kind,
    /// Index into [`Story::steps`].
    pub step: Option<usize>,
}

/// A played scenario, ready to be drawn.
#[derive(Clone, Debug)]
pub struct Story {
    /// The connections in the order of their first appearance.
    pub connections: Vec<Connection>,
    /// The segments in the order of sending.
    pub segments: Vec<Segment>,
    /// The events in order.
    pub entries: Vec<Entry>,
    /// The steps of the end.
    pub steps: Vec<Step>,
    /// What the stacks said in long waits of the end, where it was not what they had said before.
    pub waits: Vec<Waiting>,
    /// Index of the first entry of the end: the first call that ends something, or 0.
    pub end: usize,
}

impl Story {
    /// Reads the log. Packets that carry no TCP are left out.
    pub fn new(log: &Log) -> Self {
        let mut story = Self {
            connections: Vec::new(),
            segments: Vec::new(),
            entries: Vec::new(),
            steps: Vec::new(),
            waits: Vec::new(),
            end: 0,
        };
        let index = story.add_segments(&log.packets);
        for record in &log.records {
            let kind = match &record.what {
                What::Call(call) => Kind::Call(*call),
                What::Transition(event) => {
                    let t = event.transition;
                    Kind::Transition(Change {
                        from: t.from,
                        to: t.to,
                        cause: t.cause,
                        initiator: t.initiator,
                    })
                }
                What::Sent(packet) => match index.get(packet) {
                    Some(segment) => Kind::Depart(*segment),
                    None => continue,
                },
                What::Arrived(packet) => match index.get(packet) {
                    Some(segment) => Kind::Arrive(*segment),
                    None => continue,
                },
            };
            let socket = story.socket_of(record.side, &record.what, kind);
            story.entries.push(Entry { at: record.at, side: record.side, socket, kind, step: None });
        }
        story.end = story.find_end();
        story.add_waits(&log.waits);
        steps::recognise(&mut story);
        story
    }

    /// Takes over what is new in the answers: the same wait, a little later, is told once.
    fn add_waits(&mut self, waits: &[Waiting]) {
        let begin = self.entries.get(self.end).map_or(Instant::ZERO, |entry| entry.at);
        for waiting in waits.iter().filter(|waiting| waiting.at >= begin) {
            let of = |w: &&Waiting| (w.side, w.why.id) == (waiting.side, waiting.why.id);
            let kind = |w: &Waiting| (w.why.state, std::mem::discriminant(&w.why.waits_for));
            if self.waits.iter().rev().find(of).is_none_or(|before| kind(before) != kind(waiting)) {
                self.waits.push(*waiting);
            }
        }
    }

    /// Decodes the packets; gives the index of the segment for the index of its packet.
    fn add_segments(&mut self, packets: &[Packet]) -> HashMap<usize, usize> {
        let mut index = HashMap::new();
        let mut initial: HashMap<(usize, Side), u32> = HashMap::new();
        for (i, packet) in packets.iter().enumerate() {
            let Some((ip, tcp)) = segment_of(&packet.bytes) else { continue };
            let ends = [SocketAddr::new(ip.src(), tcp.src_port), SocketAddr::new(ip.dst(), tcp.dst_port)];
            let connection = self.connection(packet.from, ends[0], ends[1]);
            if tcp.flags.contains(Flags::SYN) && !packet.by_hand {
                initial.entry((connection, packet.from)).or_insert(tcp.seq.0);
            }
            let relative = |side: Side, number: u32| {
                number.wrapping_sub(initial.get(&(connection, side)).copied().unwrap_or(0))
            };
            let ack = tcp.flags.contains(Flags::ACK).then_some(tcp.ack.0);
            let mut segment = Segment {
                from: packet.from,
                connection,
                sent: packet.sent,
                arrived: packet.arrives,
                flags: tcp.flags,
                seq: tcp.seq.0,
                ack,
                relative_seq: relative(packet.from, tcp.seq.0),
                relative_ack: ack.map(|ack| relative(packet.from.other(), ack)),
                forged: packet.by_hand,
                len: tcp.payload.len(),
                window: tcp.window,
                repeats: None,
                step: None,
            };
            segment.repeats = self.sent_before(&segment);
            index.insert(i, self.segments.len());
            self.segments.push(segment);
        }
        index
    }

    /// The last segment that covers the first number which this one occupies.
    fn sent_before(&self, new: &Segment) -> Option<usize> {
        if new.occupies() == 0 {
            return None;
        }
        self.segments.iter().rposition(|old| {
            (old.from, old.connection) == (new.from, new.connection)
                && (new.seq.wrapping_sub(old.seq) as usize) < old.occupies()
        })
    }

    fn connection(&mut self, side: Side, local: SocketAddr, remote: SocketAddr) -> usize {
        let connection = match side {
            Side::A => Connection { a: local, b: remote },
            Side::B => Connection { a: remote, b: local },
        };
        self.connections.iter().position(|c| *c == connection).unwrap_or_else(|| {
            self.connections.push(connection);
            self.connections.len() - 1
        })
    }

    fn socket_of(&mut self, side: Side, what: &What, kind: Kind) -> Socket {
        let ends = match (what, kind) {
            (_, Kind::Depart(segment) | Kind::Arrive(segment)) => {
                return Socket::Connection(self.segments[segment].connection);
            }
            (What::Call(call), _) => (call.local, call.remote),
            (What::Transition(event), _) => (Some(event.local), Some(event.remote)),
            _ => (None, None),
        };
        match ends {
            (Some(local), Some(remote)) if remote.port() != 0 => {
                Socket::Connection(self.connection(side, local, remote))
            }
            _ => Socket::Listener,
        }
    }

    /// The first call that ends something which is not over yet.
    fn find_end(&self) -> usize {
        let ends = |i: usize, entry: &Entry| match entry.kind {
            Kind::Call(call) => {
                matches!(call.op, Op::PowerOff | Op::Reboot)
                    || matches!(call.op, Op::Close | Op::CloseListener | Op::Shutdown(_) | Op::Abort)
                        && self.state_before(entry.side, entry.socket, i) != State::Closed
            }
            Kind::Depart(segment) => self.segments[segment].forged,
            Kind::Transition(_) | Kind::Arrive(_) => false,
        };
        self.entries.iter().enumerate().position(|(i, entry)| ends(i, entry)).unwrap_or(0)
    }

    /// The state of a socket just before an entry.
    pub fn state_before(&self, side: Side, socket: Socket, entry: usize) -> State {
        self.entries[..entry]
            .iter()
            .rev()
            .filter(|e| e.side == side && e.socket == socket)
            .find_map(|e| match e.kind {
                Kind::Transition(change) => Some(change.to),
                _ => None,
            })
            .unwrap_or(State::Closed)
    }

    /// What the figure leaves out before the end, in a few words; `None` if there is nothing to leave out.
    pub fn opening(&self) -> Option<Opening> {
        let departs = |e: &Entry| match e.kind {
            Kind::Depart(segment) => Some(self.segments[segment]),
            _ => None,
        };
        let segments: Vec<_> = self.entries[..self.end].iter().filter_map(departs).collect();
        let bytes = |side| segments.iter().filter(|s| s.from == side).map(|s| s.len).sum();
        (!segments.is_empty())
            .then(|| Opening { segments: segments.len(), bytes: [bytes(Side::A), bytes(Side::B)] })
    }

    /// Prefix that tells several connections apart, for example `#2 `; empty if there is one only.
    pub fn prefix(&self, connection: usize) -> String {
        if self.connections.len() > 1 { format!("#{} ", connection + 1) } else { String::new() }
    }

    /// Flags and numbers of a segment, with its connection if there are several.
    pub fn segment_label(&self, segment: &Segment) -> String {
        self.prefix(segment.connection) + &segment.label()
    }

    /// A state with the socket it belongs to, as the figures show it.
    pub fn state_label(&self, socket: Socket, state: State) -> String {
        match socket {
            Socket::Listener if state == State::Listen => state.name().to_owned(),
            Socket::Listener => format!("listener {}", state.name()),
            Socket::Connection(n) => format!("{}{}", self.prefix(n), state.name()),
        }
    }

    /// A call with the socket it belongs to, as the figures show it.
    pub fn call_label(&self, socket: Socket, call: &Call, arrow: &str) -> String {
        let prefix = match socket {
            Socket::Listener => String::new(),
            Socket::Connection(n) => self.prefix(n),
        };
        prefix + &call_text(call, arrow)
    }
}

/// What came before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Segments sent.
    pub segments: usize,
    /// Bytes of data that A and B sent.
    pub bytes: [usize; 2],
}

/// A call and its result, for example `read → 0 (end of file)`.
pub fn call_text(call: &Call, arrow: &str) -> String {
    let name = match call.op {
        Op::Listen => "listen",
        Op::Connect => "connect",
        Op::Accept => "accept",
        Op::Read => "read",
        Op::Write(len) => return format!("write({len}) {arrow} {}", outcome_text(call)),
        Op::Shutdown(Shutdown::Read) => "shutdown(Read)",
        Op::Shutdown(Shutdown::Write) => "shutdown(Write)",
        Op::Shutdown(Shutdown::Both) => "shutdown(Both)",
        Op::Close => "close",
        Op::CloseListener => "close listener",
        Op::Abort => "abort",
        Op::SetOption(words) => words,
        Op::PowerOff => "falls silent",
        Op::Reboot => "crashes, restarts",
    };
    match call.outcome {
        Outcome::Started => format!("{name}()"),
        Outcome::Done
            if matches!(
                call.op,
                Op::Shutdown(_) | Op::CloseListener | Op::SetOption(_) | Op::PowerOff | Op::Reboot
            ) =>
        {
            name.to_owned()
        }
        Outcome::Done if matches!(call.op, Op::Connect | Op::Accept) => format!("{name} {arrow} ok"),
        Outcome::Done => format!("{name}()"),
        _ => format!("{name} {arrow} {}", outcome_text(call)),
    }
}

/// The result alone.
pub fn outcome_text(call: &Call) -> String {
    match call.outcome {
        Outcome::Started => "started".to_owned(),
        Outcome::Done => "ok".to_owned(),
        Outcome::Bytes(0) if call.op == Op::Read => "0 (end of file)".to_owned(),
        Outcome::Bytes(n) => n.to_string(),
        Outcome::Failed(error) => error.errno_name().to_owned(),
    }
}

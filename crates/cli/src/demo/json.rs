//! The story as JSON. The fields are documented at the structs below.

use super::scenario::Scenario;
use super::story::{Kind, Socket, Story, outcome_text};
use lastack_core::Instant;
use lastack_sim::Side;
use serde::Serialize;

/// Raised when a field is renamed, removed or changes its meaning.
const VERSION: u32 = 1;

/// The whole exchange. Times are in microseconds of virtual time, from the start.
#[derive(Serialize)]
struct Document<'a> {
    /// Version of this format.
    version: u32,
    scenario: &'a str,
    title: &'a str,
    summary: &'a str,
    /// Numbered from 1.
    connections: Vec<Connection>,
    /// The numbered steps of the end.
    steps: Vec<Step<'a>>,
    /// Every change of state on both sides, in order.
    transitions: Vec<Transition>,
    /// Every segment, in the order of sending.
    segments: Vec<Segment>,
    /// Every call of the two applications, in order.
    calls: Vec<Call>,
    /// What each side waited for in long waits of the end.
    waits: Vec<Waiting>,
}

#[derive(Serialize)]
struct Waiting {
    /// When the stack was asked.
    time_us: u64,
    side: &'static str,
    /// What it waits for, who has to act, and what ends it.
    text: String,
}

#[derive(Serialize)]
struct Connection {
    number: usize,
    a: String,
    b: String,
}

#[derive(Serialize)]
struct Step<'a> {
    number: usize,
    time_us: u64,
    /// `A`, `B` or `both`.
    side: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct Transition {
    time_us: u64,
    side: &'static str,
    /// Null for a listener.
    connection: Option<usize>,
    from: &'static str,
    to: &'static str,
    /// For example `FIN acknowledged`.
    cause: &'static str,
    /// `local`, `peer`, `timer` or `administrator`.
    initiator: String,
    /// Null before the end begins.
    step: Option<usize>,
}

#[derive(Serialize)]
struct Segment {
    sent_us: u64,
    /// Null if it was lost.
    arrived_us: Option<u64>,
    lost: bool,
    from: &'static str,
    to: &'static str,
    connection: usize,
    flags: Vec<String>,
    /// As on the wire.
    seq: u32,
    /// As on the wire; null without the ACK flag.
    ack: Option<u32>,
    /// Relative to the sender's initial sequence number.
    seq_relative: u32,
    /// Relative to the receiver's initial sequence number.
    ack_relative: Option<u32>,
    /// No stack sent it: somebody else speaks in the sender's name.
    forged: bool,
    /// Bytes of data.
    len: usize,
    /// The window field, not scaled.
    window: u16,
    /// It repeats sequence numbers that were sent before.
    retransmission: bool,
    step: Option<usize>,
}

#[derive(Serialize)]
struct Call {
    time_us: u64,
    side: &'static str,
    /// Null for a listener.
    connection: Option<usize>,
    /// For example `read → ECONNRESET`.
    text: String,
    /// `started`, `ok`, a number of bytes, or the errno's name.
    result: String,
    step: Option<usize>,
}

/// Renders the story.
pub fn draw(story: &Story, scenario: Scenario) -> serde_json::Result<String> {
    let number = |step: Option<usize>| step.map(|step| story.steps[step].number);
    let mut document = Document {
        version: VERSION,
        scenario: scenario.name(),
        title: scenario.title(),
        summary: scenario.summary(),
        connections: Vec::new(),
        steps: Vec::new(),
        transitions: Vec::new(),
        segments: story.segments.iter().map(|s| segment(s, number(s.step))).collect(),
        calls: Vec::new(),
        waits: story.waits.iter().map(waiting).collect(),
    };
    for (i, c) in story.connections.iter().enumerate() {
        document.connections.push(Connection { number: i + 1, a: c.a.to_string(), b: c.b.to_string() });
    }
    for step in &story.steps {
        let side = if step.both { "both" } else { step.side.name() };
        document.steps.push(Step {
            number: step.number,
            time_us: step.at.as_micros(),
            side,
            text: &step.text,
        });
    }
    for entry in &story.entries {
        let (time_us, side) = (entry.at.as_micros(), entry.side.name());
        let connection = match entry.socket {
            Socket::Listener => None,
            Socket::Connection(n) => Some(n + 1),
        };
        let step = number(entry.step);
        match entry.kind {
            Kind::Transition(change) => document.transitions.push(Transition {
                time_us,
                side,
                connection,
                from: change.from.name(),
                to: change.to.name(),
                cause: change.cause.text(),
                initiator: change.initiator.to_string(),
                step,
            }),
            Kind::Call(call) => {
                let (text, result) = (super::story::call_text(&call, "→"), outcome_text(&call));
                document.calls.push(Call { time_us, side, connection, text, result, step });
            }
            Kind::Depart(_) | Kind::Arrive(_) => {}
        }
    }
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

fn waiting(waiting: &lastack_sim::Waiting) -> Waiting {
    let (time_us, side) = (waiting.at.as_micros(), waiting.side.name());
    Waiting { time_us, side, text: waiting.why.to_string() }
}

fn segment(segment: &super::story::Segment, step: Option<usize>) -> Segment {
    let names = |side: Side| side.name();
    Segment {
        sent_us: segment.sent.as_micros(),
        arrived_us: segment.arrived.map(Instant::as_micros),
        lost: segment.arrived.is_none(),
        from: names(segment.from),
        to: names(segment.from.other()),
        connection: segment.connection + 1,
        flags: segment.flag_names().split(',').filter(|n| *n != "none").map(str::to_owned).collect(),
        seq: segment.seq,
        ack: segment.ack,
        seq_relative: segment.relative_seq,
        ack_relative: segment.relative_ack,
        forged: segment.forged,
        len: segment.len,
        window: segment.window,
        retransmission: segment.repeats.is_some(),
        step,
    }
}

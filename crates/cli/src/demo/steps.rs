//! Recognises the steps of an end from what happened, and says each in a sentence.
//!
//! A step begins where a side changes its state, repeats a segment, sends data, or answers without having a record.
//! For the graceful close this gives the six steps of the book. Nothing here knows which scenario was played.

use super::story::{Change, Entry, Kind, Segment, Socket, Story};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cause, Instant, State};
use lastack_sim::{Op, Outcome, Side};
use std::time::Duration;

/// A step: one or both sides, one moment.
#[derive(Clone, Debug)]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// When it begins.
    pub at: Instant,
    /// The side that takes it; with [`Step::both`], the other one takes the same step at the same moment.
    pub side: Side,
    /// Both sides take it.
    pub both: bool,
    /// The step in a sentence, without a full stop.
    pub text: String,
    nature: Nature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Change,
    Repetition,
    Data,
    Probe,
    Reflex,
    Duplicate,
    Forgery,
    Outage,
}

/// Numbers the steps of the end, links entries and segments to them, and describes them.
pub fn recognise(story: &mut Story) {
    let mut last = [None; 2];
    for i in story.end..story.entries.len() {
        let entry = story.entries[i];
        let step = match entry.kind {
            Kind::Transition(change) => change_step(story, &last, i, entry, change),
            Kind::Depart(segment) => depart_step(story, &last, i, entry, segment),
            Kind::Arrive(segment) => arrive_step(story, i, entry, segment),
            Kind::Call(_) => call_step(story, &last, i, entry),
        };
        let Some(step) = step else { continue };
        story.entries[i].step = Some(step);
        if let Kind::Depart(segment) = entry.kind {
            story.segments[segment].step = Some(step);
        }
        // A call or an acknowledgement that is told with the other side's step does not make it this side's own.
        if story.steps[step].side == entry.side || story.steps[step].both {
            last[entry.side as usize] = Some(step);
        }
    }
    for i in 0..story.steps.len() {
        story.steps[i].text = sentence(story, i);
    }
}

fn new_step(story: &mut Story, entry: Entry, nature: Nature) -> Option<usize> {
    let index = story.steps.len();
    story.steps.push(Step {
        number: index + 1,
        at: entry.at,
        side: entry.side,
        both: false,
        text: String::new(),
        nature,
    });
    Some(index)
}

/// The step of this side that began at this very moment.
fn current(story: &Story, last: &[Option<usize>; 2], entry: Entry) -> Option<usize> {
    last[entry.side as usize].filter(|&step| story.steps[step].at == entry.at)
}

fn latest(story: &Story) -> Option<usize> {
    story.steps.len().checked_sub(1)
}

fn change_step(
    story: &mut Story,
    last: &[Option<usize>; 2],
    i: usize,
    entry: Entry,
    change: Change,
) -> Option<usize> {
    if change.cause == Cause::TimeWaitExpired && last[entry.side as usize].is_some() {
        return last[entry.side as usize];
    }
    let first_change = |step: usize| changes(story, step, story.steps[step].side).next();
    let joined = current(story, last, entry).filter(|&step| no_call_since(story, step, i, entry));
    let mirrored = last[entry.side.other() as usize].filter(|&step| {
        story.steps[step].at == entry.at && first_change(step).is_some_and(|(_, c)| c == change)
    });
    let step = match (joined, mirrored) {
        (Some(step), _) => Some(step),
        (None, Some(step)) => {
            story.steps[step].both = true;
            Some(step)
        }
        (None, None) => new_step(story, entry, Nature::Change),
    };
    claim_causes(story, i, entry, step);
    step
}

/// Whether this side made no call between its last entry of the step and entry `i`: changes without a call between
/// them have one and the same reason.
fn no_call_since(story: &Story, step: usize, i: usize, entry: Entry) -> bool {
    let own = story.entries[..i].iter().rev().filter(|e| e.side == entry.side);
    own.take_while(|e| e.step != Some(step)).all(|e| !matches!(e.kind, Kind::Call(_)))
}

/// What led to a change stands right before it: the call, or the segment that arrived.
fn claim_causes(story: &mut Story, i: usize, entry: Entry, step: Option<usize>) {
    for before in story.entries[story.end..i].iter_mut().rev() {
        if before.at != entry.at || before.side != entry.side || before.step.is_some() {
            break;
        }
        before.step = step;
    }
}

fn depart_step(
    story: &mut Story,
    last: &[Option<usize>; 2],
    i: usize,
    entry: Entry,
    index: usize,
) -> Option<usize> {
    if let Some(step) = current(story, last, entry) {
        return Some(step);
    }
    let segment = story.segments[index];
    if segment.forged {
        return new_step(story, entry, Nature::Forgery);
    }
    if segment.repeats.is_some() {
        return new_step(story, entry, Nature::Repetition);
    }
    if segment.flags.contains(Flags::RST) {
        return new_step(story, entry, Nature::Reflex);
    }
    if segment.len > 0 || segment.flags.contains(Flags::FIN) {
        let step = going_on(story, entry, Nature::Data);
        claim_write(story, i, entry, step);
        return step;
    }
    if is_probe(story, index) {
        return going_on(story, entry, Nature::Probe);
    }
    // An acknowledgement that was delayed, or that answers data.
    latest(story)
}

/// The latest step if this side is at the same thing, else a new one.
fn going_on(story: &mut Story, entry: Entry, nature: Nature) -> Option<usize> {
    let goes_on = |&step: &usize| {
        let step = &story.steps[step];
        step.nature == nature && step.side == entry.side
    };
    latest(story).filter(goes_on).or_else(|| new_step(story, entry, nature))
}

/// An empty segment with a number that was sent before: it asks for an answer.
fn is_probe(story: &Story, index: usize) -> bool {
    let segment = &story.segments[index];
    let own = |s: &&Segment| (s.from, s.connection) == (segment.from, segment.connection);
    story.segments[..index]
        .iter()
        .filter(own)
        .any(|s| s.seq.wrapping_add(s.occupies() as u32).wrapping_sub(segment.seq).cast_signed() > 0)
}

/// The call that wrote the data belongs to the step in which the data leaves.
fn claim_write(story: &mut Story, i: usize, entry: Entry, step: Option<usize>) {
    let moment = story.entries[story.end..i].iter_mut().rev().take_while(|e| e.at == entry.at);
    for before in moment.filter(|e| e.side == entry.side && e.socket == entry.socket) {
        if matches!(before.kind, Kind::Call(call) if matches!(call.op, Op::Write(_))) {
            before.step = step;
        }
    }
}

fn arrive_step(story: &mut Story, i: usize, entry: Entry, index: usize) -> Option<usize> {
    let segment = story.segments[index];
    let came_before = story.entries[..i].iter().any(|e| match e.kind {
        Kind::Arrive(old) => same_numbers(&story.segments[old], &segment),
        _ => false,
    });
    let changes = story.entries[i + 1..]
        .iter()
        .take_while(|e| e.at == entry.at)
        .any(|e| e.side == entry.side && matches!(e.kind, Kind::Transition(_)));
    if segment.repeats.is_some() && came_before && !changes {
        return new_step(story, entry, Nature::Duplicate);
    }
    None
}

fn same_numbers(old: &Segment, new: &Segment) -> bool {
    (old.from, old.connection, old.seq, old.len) == (new.from, new.connection, new.seq, new.len)
        && old.flags.contains(Flags::FIN) == new.flags.contains(Flags::FIN)
}

/// A call that ends something is claimed by the change that follows it; others are told with the running step.
fn call_step(story: &mut Story, last: &[Option<usize>; 2], i: usize, entry: Entry) -> Option<usize> {
    if matches!(entry.kind, Kind::Call(call) if matches!(call.op, Op::PowerOff | Op::Reboot)) {
        return new_step(story, entry, Nature::Outage);
    }
    let causes_change = story.entries.get(i + 1).is_some_and(|next| {
        next.side == entry.side && next.at == entry.at && matches!(next.kind, Kind::Transition(_))
    });
    if causes_change { None } else { current(story, last, entry).or_else(|| latest(story)) }
}

fn changes(story: &Story, step: usize, side: Side) -> impl Iterator<Item = (Socket, Change)> + '_ {
    story.entries.iter().filter(move |e| e.step == Some(step) && e.side == side).filter_map(|e| {
        match e.kind {
            Kind::Transition(change) => Some((e.socket, change)),
            _ => None,
        }
    })
}

fn departures(story: &Story, step: usize, side: Side) -> impl Iterator<Item = &Segment> {
    story.segments.iter().filter(move |s| s.step == Some(step) && s.from == side)
}

fn sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let mut text = match step.nature {
        Nature::Change => change_sentence(story, index),
        Nature::Repetition => repetition_sentence(story, index),
        Nature::Data => data_sentence(story, index),
        Nature::Probe => probe_sentence(story, index),
        Nature::Forgery => forgery_sentence(story, index),
        Nature::Outage => outage_sentence(story, index),
        Nature::Reflex => {
            format!("{} has no record of the connection: it answers with a RST", subject(story, index))
        }
        Nature::Duplicate => duplicate_sentence(story, index),
    };
    for result in results(story, index) {
        text += &format!("; {result}");
    }
    for (at, (_, change)) in timed_changes(story, index) {
        if change.cause == Cause::TimeWaitExpired {
            text += &format!("; {} {} later", change.to.name(), time_text(at.saturating_since(step.at)));
        }
    }
    text
}

fn subject(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    if step.both { "Both sides".to_owned() } else { step.side.name().to_owned() }
}

fn timed_changes(story: &Story, index: usize) -> impl Iterator<Item = (Instant, (Socket, Change))> + '_ {
    let side = story.steps[index].side;
    story.entries.iter().filter(move |e| e.step == Some(index) && e.side == side).filter_map(|e| {
        match e.kind {
            Kind::Transition(change) => Some((e.at, (e.socket, change))),
            _ => None,
        }
    })
}

fn change_sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let (dropped, own): (Vec<_>, Vec<_>) = changes(story, index, step.side)
        .filter(|(_, c)| c.cause != Cause::TimeWaitExpired)
        .partition(|(_, c)| c.cause == Cause::ListenerClosed);
    let Some((socket, first)) = own.first() else { return subject(story, index) };
    let deed = if first.cause == Cause::Fin && late_data(story, index) {
        "gets what was missing before the FIN".to_owned()
    } else {
        deed(*socket, first.cause, step.both)
    };
    let mut text = format!("{} {deed}", subject(story, index));
    if *socket == Socket::Listener {
        for (socket, change) in dropped {
            text += &dropped_phrase(story, index, socket, change);
        }
        return text;
    }
    let sent: Vec<_> = departures(story, index, step.side).collect();
    let sent = sent_phrase(step, first.cause, &sent).unwrap_or_default();
    let states: Vec<_> = own.iter().map(|(socket, c)| story.state_label(*socket, c.to)).collect();
    let states = format!(": {}", states.join(", "));
    // An acknowledgement belongs to what is acknowledged; what else is sent follows from the state.
    if sent.starts_with(';') { text + &states + &sent } else { text + &sent + &states }
}

/// The FIN came before: what arrives now is the data that it had overtaken.
fn late_data(story: &Story, index: usize) -> bool {
    let side = story.steps[index].side;
    let arrivals = story.entries.iter().filter(|e| e.step == Some(index) && e.side == side);
    let mut arrivals = arrivals.filter_map(|e| match e.kind {
        Kind::Arrive(segment) => Some(story.segments[segment].flags),
        _ => None,
    });
    arrivals.next().is_some_and(|flags| !flags.contains(Flags::FIN))
}

/// What becomes of a connection whose listener closes.
fn dropped_phrase(story: &Story, index: usize, socket: Socket, change: Change) -> String {
    let reset = departures(story, index, story.steps[index].side)
        .any(|s| s.flags.contains(Flags::RST) && Socket::Connection(s.connection) == socket);
    let fate = if reset { "gets a RST" } else { "is forgotten without a word" };
    format!("; {} {fate}", story.state_label(socket, change.from))
}

/// What a side does or meets, as a predicate.
fn deed(socket: Socket, cause: Cause, both: bool) -> String {
    let (one, two) = match cause {
        Cause::Close if socket == Socket::Listener => ("closes the listener", "close their listeners"),
        Cause::Close => ("closes", "close"),
        Cause::Shutdown => ("shuts its sending direction", "shut their sending directions"),
        Cause::Abort => ("aborts", "abort"),
        Cause::UnreadData => ("closes with unread data", "close with unread data"),
        Cause::Connect => ("connects", "connect"),
        Cause::Listen => ("listens", "listen"),
        Cause::Syn => ("gets the SYN", "get the SYN"),
        Cause::Handshake => ("completes the handshake", "complete the handshake"),
        Cause::Fin => ("gets the FIN", "get the other's FIN"),
        Cause::FinAcked => ("gets the acknowledgement of its FIN", "get the acknowledgement of their FIN"),
        Cause::Reset => ("gets the RST", "get the RST"),
        Cause::LingerZero => ("closes with linger 0", "close with linger 0"),
        Cause::DataAfterClose => ("gets data that nobody can read any more", "get data that nobody can read"),
        Cause::FinWait2Timeout => {
            ("forgets the connection: nobody owns it, and FIN_WAIT_2 is over", "forget it")
        }
        Cause::RetransmissionTimeout | Cause::ZeroWindowTimeout | Cause::OrphanTimeout => {
            ("gives the connection up: nobody owns it, and its patience is over", "give the connection up")
        }
        Cause::TimeWaitReuse => ("gets a new SYN, which ends TIME_WAIT", "get new SYNs, which end TIME_WAIT"),
        other => return format!("changes its state ({other})"),
    };
    (if both { two } else { one }).to_owned()
}

fn sent_phrase(step: &Step, cause: Cause, sent: &[&Segment]) -> Option<String> {
    let has = |flag| sent.iter().find(|s| s.flags.contains(flag));
    let (segment, one, two) = if let Some(segment) = has(Flags::RST) {
        (segment, "; a RST goes out", "; RSTs go out")
    } else if let Some(segment) = has(Flags::FIN) {
        (segment, "; its FIN goes out", "; their FINs go out")
    } else if let Some(segment) = has(Flags::SYN) {
        let answer = segment.flags.contains(Flags::ACK);
        (segment, if answer { "; a SYN-ACK goes out" } else { "; its SYN goes out" }, "; their SYNs go out")
    } else if let Some(segment) = sent.iter().find(|s| s.len > 0) {
        (segment, "; data goes out, the FIN not yet", "; data goes out, the FINs not yet")
    } else if cause == Cause::Fin {
        (sent.first()?, " and acknowledges it", " and acknowledge it")
    } else {
        (sent.first()?, "; an ACK goes out", "; ACKs go out")
    };
    let mut phrase = (if step.both { two } else { one }).to_owned();
    let delay = segment.sent.saturating_since(step.at);
    if !delay.is_zero() {
        phrase += &format!(" {} later", time_text(delay));
    }
    let lost = if phrase.starts_with(';') { " and is lost" } else { ", but that is lost" };
    Some(if segment.arrived.is_none() { phrase + lost } else { phrase })
}

fn repetition_sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let Some(segment) = departures(story, index, step.side).next() else { return subject(story, index) };
    let what = carried(segment);
    let waited = segment.repeats.map(|old| segment.sent.saturating_since(story.segments[old].sent));
    let waited = waited.map_or(String::new(), |time| format!(" after {}", time_text(time)));
    let lost = if segment.arrived.is_none() { ", and it is lost again" } else { "" };
    format!("{} repeats its {what}{waited}{lost}", subject(story, index))
}

fn carried(segment: &Segment) -> &'static str {
    if segment.flags.contains(Flags::SYN) {
        "SYN"
    } else if segment.flags.contains(Flags::FIN) {
        "FIN"
    } else {
        "data"
    }
}

fn data_sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let sent: Vec<_> = departures(story, index, step.side).collect();
    let bytes: usize = sent.iter().map(|s| s.len).sum();
    let segments = if sent.len() == 1 { "a segment".to_owned() } else { format!("{} segments", sent.len()) };
    let read: usize = story
        .entries
        .iter()
        .filter(|e| e.step == Some(index) && e.side == step.side.other())
        .filter_map(|e| match e.kind {
            Kind::Call(call) if call.op == Op::Read => match call.outcome {
                Outcome::Bytes(n) => Some(n),
                _ => None,
            },
            _ => None,
        })
        .sum();
    let on = sent.first().map_or(String::new(), |s| story.prefix(s.connection));
    let on = if on.is_empty() { on } else { format!(" on {}", on.trim_end()) };
    let fin = sent.iter().any(|s| s.flags.contains(Flags::FIN));
    if bytes == 0 {
        return format!("{}'s FIN goes out{on}", subject(story, index));
    }
    let mut text = format!("{} sends {bytes} bytes{on} in {segments}", subject(story, index));
    if fin {
        text += ", the last with its FIN";
    }
    if read > 0 {
        let state = sent.first().map(|s| state_at(story, step.side.other(), s));
        let state = state.map_or(String::new(), |state| format!(", in {},", state.name()));
        text += &format!("; {}{state} reads {read}", step.side.other().name());
    }
    text
}

fn probe_sentence(story: &Story, index: usize) -> String {
    let sent: Vec<_> = departures(story, index, story.steps[index].side).collect();
    let (Some(first), Some(last)) = (sent.first(), sent.last()) else { return subject(story, index) };
    if sent.len() == 1 {
        return format!("{} asks whether the window is open", subject(story, index));
    }
    let times = format!("{} times", sent.len());
    let over = time_text(last.sent.saturating_since(first.sent));
    format!("{} asks {times} in {over} whether the window is open", subject(story, index))
}

fn forgery_sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let Some(segment) = departures(story, index, step.side).next() else { return subject(story, index) };
    let what = segment.flag_names();
    let mut text =
        format!("A stranger sends {what} seq {} in {}'s name", segment.relative_seq, step.side.name());
    let victim = step.side.other();
    if let Some(answer) = departures(story, index, victim).next() {
        text += &format!(
            "; {}, in {}, only says what it expects",
            victim.name(),
            state_at(story, victim, answer).name()
        );
    }
    text
}

fn outage_sentence(story: &Story, index: usize) -> String {
    let reboots = story
        .entries
        .iter()
        .any(|e| e.step == Some(index) && matches!(e.kind, Kind::Call(call) if call.op == Op::Reboot));
    let what = if reboots { "crashes and starts again, knowing nothing" } else { "falls silent for good" };
    format!("{} {what}", subject(story, index))
}

/// The state of a side when a segment left the other one.
fn state_at(story: &Story, side: Side, segment: &Segment) -> State {
    let entry = story.entries.iter().position(|e| match e.kind {
        Kind::Depart(s) => std::ptr::eq(&story.segments[s], segment),
        _ => false,
    });
    story.state_before(side, Socket::Connection(segment.connection), entry.unwrap_or(0))
}

fn duplicate_sentence(story: &Story, index: usize) -> String {
    let step = &story.steps[index];
    let arrived = story.entries.iter().enumerate().find_map(|(i, e)| match e.kind {
        Kind::Arrive(s) if e.step == Some(index) => Some((i, e.socket, story.segments[s])),
        _ => None,
    });
    let Some((i, socket, segment)) = arrived else { return subject(story, index) };
    let answered = departures(story, index, step.side).next().is_some();
    let answer = if answered { " and acknowledges it again" } else { "" };
    let state = story.state_before(step.side, socket, i).name();
    format!("{} gets the {} again{answer}: {state}", subject(story, index), carried(&segment))
}

/// How calls ended that say something about the end of the connection.
fn results(story: &Story, index: usize) -> Vec<String> {
    let step = &story.steps[index];
    let mut texts = Vec::new();
    for entry in story.entries.iter().filter(|e| e.step == Some(index)) {
        let Kind::Call(call) = entry.kind else { continue };
        let name = match call.op {
            Op::Read => "read",
            Op::Write(_) => "write",
            Op::Connect => "connect",
            Op::Accept => "accept",
            _ => continue,
        };
        let result = match call.outcome {
            Outcome::Bytes(0) if call.op == Op::Read => "returns 0 (end of file)".to_owned(),
            Outcome::Failed(error) => format!("fails with {}", error.errno_name()),
            _ => continue,
        };
        let whose =
            if entry.side == step.side { "its".to_owned() } else { format!("{}'s", entry.side.name()) };
        texts.push(format!("{whose} {name} {result}"));
    }
    texts
}

/// A span of time in the unit that suits it.
pub fn time_text(time: Duration) -> String {
    let millis = time.as_micros() as f64 / 1000.0;
    if millis >= 1000.0 { format!("{} s", trim(millis / 1000.0)) } else { format!("{} ms", trim(millis)) }
}

/// At most three decimals, no trailing zeros.
fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

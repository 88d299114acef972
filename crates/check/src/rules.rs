//! What must hold always, and what is wrong when it does not.

use lastack_core::{Cause, Error, State};
use lastack_sim::Side;

/// A rule that every reachable state obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The code reached no place that it takes for unreachable.
    NoPanic,
    /// Only arrows of the table of states are taken.
    Arrows,
    /// The stream arrives as it was written: no byte twice, out of order, changed, or after the end.
    Bytes,
    /// The end of the stream is told only when the peer ended it, behind its last byte.
    EndOfStream,
    /// On the wire: nothing that was not written, and a FIN only behind the last byte.
    Wire,
    /// A reset is answered by neither a reset nor a SYN-ACK.
    ResetUnanswered,
    /// The two ends are in states that fit each other.
    Pair,
    /// A call fails, or a reset ends a connection, only if something ended it early: an abort, a crash, a timer, unread data.
    ErrorHasCause,
    /// When nothing can happen any more, no record is left and no application waits.
    Finished,
    /// With a network that delivers from here on, everything comes to its end.
    Ends,
}

impl Rule {
    /// The rule in a sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoPanic => "the code reaches no place that it takes for unreachable",
            Self::Arrows => "only arrows of the table of states are taken",
            Self::Bytes => "no byte is delivered twice, out of order, changed or after the end",
            Self::EndOfStream => "an end of file comes only when the peer closed, and behind its last byte",
            Self::Wire => "nothing is sent that was not written, and no FIN before the bytes in front of it",
            Self::ResetUnanswered => "a reset is answered by neither a reset nor a SYN-ACK",
            Self::Pair => "the two ends are in states that fit each other",
            Self::ErrorHasCause => {
                "a call fails, or a reset ends a connection, only if something ended it early"
            }
            Self::Finished => "when nothing can happen any more, no record is left and nobody waits",
            Self::Ends => "from every state everything ends once the network delivers",
        }
    }
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

/// A change of a connection's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) cause: Cause,
}

/// What an application has seen after a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Bytes read so far.
    pub(crate) read: usize,
    /// The call gave some.
    pub(crate) more: bool,
    /// The call gave the end of the stream.
    pub(crate) ended: bool,
    /// The first error that it was told.
    pub(crate) error: Option<Error>,
}

/// What of a side's step the rules between the two sides need to know, and what it broke by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) notes: Vec<Note>,
    pub(crate) reading: Option<Reading>,
    /// The machine falls silent or loses its memory.
    pub(crate) vanishes: bool,
    /// The application ended the connection early.
    pub(crate) upsets: bool,
    /// A timer that fired changed something.
    pub(crate) changed: bool,
    pub(crate) broken: Option<Broken>,
}

impl Effects {
    pub(crate) fn broke(&mut self, rule: Rule, what: String) {
        self.broken.get_or_insert(Broken { rule, what });
    }
}

/// What a rule needs to know of the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Bytes that its application wrote.
    pub(crate) written: usize,
    /// Bytes that it will have sent before its FIN.
    pub(crate) promised: Option<usize>,
}

/// What the two ends have told of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// The latest states.
    pub(crate) states: [Option<State>; 2],
    /// Something ended the connection early: errors are to be expected.
    pub(crate) upset: bool,
}

impl Ends {
    /// Takes in what a side's step led to. The rule that it broke, if it broke one.
    pub(crate) fn hear(&mut self, side: Side, effects: &Effects, peer: Peer) -> Option<Broken> {
        let mut broken = effects.broken.clone();
        self.upset |= effects.upsets || effects.vanishes;
        if effects.vanishes {
            self.states[side as usize] = None;
        }
        for note in &effects.notes {
            self.states[side as usize] = Some(note.to);
            self.upset |= upsets(note.cause);
            // A half-open connection may come of a late SYN; its end is a reset by right. TIME_WAIT ends by one as on Linux.
            let was_open = !matches!(note.from, State::NewSynRecv | State::TimeWait);
            if note.cause == Cause::Reset && was_open && !self.upset {
                let what = format!("{} was reset in {}", side.name(), note.from);
                broken.get_or_insert(Broken { rule: Rule::ErrorHasCause, what });
            }
        }
        // A late SYN may open a second, half-open connection at a listener; it has no other end.
        let half_open = self.states.contains(&Some(State::NewSynRecv));
        if !self.upset && !half_open && broken.is_none() {
            broken = misfit(self.states).map(|what| Broken { rule: Rule::Pair, what });
        }
        broken.or_else(|| self.judge(side, effects.reading.as_ref()?, peer))
    }

    /// What the application saw, against what the other one did.
    fn judge(&self, side: Side, seen: &Reading, peer: Peer) -> Option<Broken> {
        let (name, other) = (side.name(), side.other().name());
        let Reading { read, error, .. } = *seen;
        if seen.more && read > peer.written {
            let what = format!("{name} read {read} bytes of {}", peer.written);
            return Some(Broken { rule: Rule::Bytes, what });
        }
        if seen.ended && peer.promised != Some(read) && error.is_none() {
            let promised =
                peer.promised.map_or("did not close".to_owned(), |n| format!("closed behind byte {n}"));
            let what = format!("{name} read the end of the stream at byte {read}, but {other} {promised}");
            return Some(Broken { rule: Rule::EndOfStream, what });
        }
        let error = error.filter(|_| !self.upset)?;
        Some(Broken { rule: Rule::ErrorHasCause, what: format!("{name} was told: {error}") })
    }
}

/// Something that ends a connection early by itself. A received reset does not: somebody sent it for a reason.
pub(crate) fn upsets(cause: Cause) -> bool {
    !matches!(
        cause,
        Cause::Connect
            | Cause::Listen
            | Cause::Syn
            | Cause::Handshake
            | Cause::Close
            | Cause::Shutdown
            | Cause::Fin
            | Cause::FinAcked
            | Cause::Reset
            | Cause::TimeWaitExpired
            | Cause::TimeWaitReuse
            | Cause::TimeWaitLimit
    )
}

/// What is wrong with the two ends' states, if anything: what one end knows must be true of the other.
pub(crate) fn misfit(states: [Option<State>; 2]) -> Option<String> {
    let [Some(a), Some(b)] = states else { return None };
    let pairs = [(Side::A, a, b), (Side::B, b, a)];
    pairs.into_iter().find_map(|(side, mine, other)| {
        let knows = if got_fin(mine) && !has_closed(other) {
            "has the other's FIN"
        } else if fin_acked(mine) && !(got_fin(other) || other == State::Closed) {
            "had its FIN acknowledged"
        } else if mine == State::Established && matches!(other, State::SynSent | State::Listen) {
            "is open"
        } else {
            return None;
        };
        Some(format!("{} is in {mine} and {knows}, but {} is in {other}", side.name(), side.other().name()))
    })
}

fn got_fin(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}

fn has_closed(state: State) -> bool {
    matches!(
        state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait | State::LastAck | State::Closed
    )
}

fn fin_acked(state: State) -> bool {
    matches!(state, State::FinWait2 | State::TimeWait)
}

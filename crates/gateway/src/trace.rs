//! Lines on standard error.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lastack::{ConnectionId, Initiator, State, TransitionEvent};

/// A warning of the same kind is repeated after this time at the soonest.
const QUIET: Duration = Duration::from_secs(1);

/// Writes one line to standard error; if nobody takes it there is nowhere else to say so.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "lastack: {line}");
}

/// The first number of the stack is that of the gateway's listener.
const LISTENERS: u32 = 1;

/// A connection's number for people: the first one has 1.
pub(crate) fn number(id: ConnectionId) -> u32 {
    id.0.saturating_sub(LISTENERS)
}

/// The trace: a line for each change of state, and for each event on the host's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    on: bool,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// Something on the host's side of a connection.
    pub(crate) fn host(
        self,
        now: lastack::Instant,
        id: ConnectionId,
        source: SocketAddr,
        what: impl fmt::Display,
    ) {
        self.line(now, format_args!("#{} {source} host side: {what}", number(id)));
    }

    /// Something else.
    pub(crate) fn line(self, now: lastack::Instant, what: fmt::Arguments<'_>) {
        if self.on {
            write_line(format_args!("{} {what}", Time(now)));
        }
    }
}

/// Writes a change of state.
pub(crate) fn transition(event: &TransitionEvent) {
    // The listener of the gateway itself.
    if event.remote.port() == 0 {
        return;
    }
    write_line(format_args!("{}", Line(event)));
}

fn write_line(line: fmt::Arguments<'_>) {
    let mut text = line.to_string();
    text.push('\n');
    // One write, so that lines of the program do not come in between.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

struct Time(lastack::Instant);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{:>6}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

struct Line<'a>(&'a TransitionEvent);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TransitionEvent { id, local, remote, transition, .. } = self.0;
        let by = match transition.initiator {
            // The peer of the gateway's stack is the program's kernel.
            Initiator::Peer => "program",
            Initiator::Local => "lastack",
            Initiator::Timer => "timer",
            Initiator::Administrator => "administrator",
        };
        let (from, to): (State, State) = (transition.from, transition.to);
        let time = Time(transition.at);
        write!(f, "{time} #{} {remote} -> {local} {from} -> {to}, {}, by {by}", number(*id), transition.cause)
    }
}

/// A message about a limit, at most once a second however often the limit is met.
#[derive(Debug)]
pub(crate) struct Warning {
    last: Mutex<Option<Instant>>,
    held_back: AtomicU64,
}

impl Warning {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(None), held_back: AtomicU64::new(0) }
    }

    pub(crate) fn say(&self, line: impl fmt::Display) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < QUIET) {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *last = Some(Instant::now());
        match self.held_back.swap(0, Ordering::Relaxed) {
            0 => say(line),
            times => say(format_args!("{line} ({times} times more since the last message)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastack::{Cause, Transition};

    #[test]
    fn line_names_connection_states_cause_and_initiator() {
        let event = TransitionEvent {
            id: ConnectionId(3),
            local: "192.0.2.1:80".parse().unwrap(),
            remote: "10.0.2.15:40000".parse().unwrap(),
            transition: Transition {
                at: lastack::Instant::from_micros(1_234_567),
                from: State::Established,
                to: State::CloseWait,
                cause: Cause::Fin,
                initiator: Initiator::Peer,
            },
            ending: None,
        };
        assert_eq!(
            Line(&event).to_string(),
            "     1.234567 #2 10.0.2.15:40000 -> 192.0.2.1:80 ESTABLISHED -> CLOSE_WAIT, FIN received, by program"
        );
    }
}

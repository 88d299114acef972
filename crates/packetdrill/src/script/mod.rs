//! Scripts: from text to events.
//!
//! [`Script::parse`] reads a whole file. What a script says stands in plain types; nothing is judged here but grammar,
//! names of constants, and lengths that contradict each other.

mod calls;
mod code;
pub(crate) mod constants;
mod cursor;
mod events;
mod packets;

pub use calls::{CallLine, Expr, Field, Want};
pub(crate) use code::Stop;
pub use code::{Code, Operator, Statement, Term, Value};
pub use packets::{Ecn, EcnBytes, Icmp, IpPart, Options, Packet, Quoted, TcpOption, TcpPart, Transport};

use std::collections::BTreeMap;
use std::fmt;

/// A point or span of time as a script writes it, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `0.1`: since the start.
    Absolute(i64),
    /// `0.1~0.2`: anywhere between, since the start.
    AbsoluteRange(i64, i64),
    /// `+.1`: since the event before.
    Relative(i64),
    /// `+.1~+.2`: anywhere between, since the event before.
    RelativeRange(i64, i64),
    /// `*`: whenever.
    Any,
    /// `0.1...0.4`: a call that begins at the first and returns at the second time, since the start.
    Blocking(i64, i64),
    /// `+0...0.3`: the same, both since the event before.
    RelativeBlocking(i64, i64),
}

/// What happens at an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The program calls.
    Call(CallLine),
    /// A packet of the peer arrives.
    Inject(Packet),
    /// The stack has to send this packet.
    Expect(Packet),
    /// A shell command.
    Command(String),
    /// Statements over the fields of `TCP_INFO`.
    Code(Code),
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Line in the file, from 1.
    pub line: usize,
    /// When.
    pub time: Time,
    /// What.
    pub action: Action,
    /// The action as it is written, in one line.
    pub text: String,
}

/// An option line: `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionLine {
    /// Line in the file, from 1.
    pub line: usize,
    /// Name without dashes.
    pub name: String,
    /// Value; empty for a switch.
    pub value: String,
}

/// A script, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Name for messages, usually the path.
    pub name: String,
    /// Option lines at the top, in order.
    pub options: Vec<OptionLine>,
    /// Shell command before the first event: line and text.
    pub setup: Option<(usize, String)>,
    /// Events in order.
    pub events: Vec<Event>,
    /// Shell command after the last event; it runs when a script fails as well.
    pub cleanup: Option<(usize, String)>,
}

/// Why a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Name of the script.
    pub name: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// What was expected and what is there.
    pub message: String,
    /// The script may be right, but says something that this runner does not know.
    pub unsupported: bool,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.name, self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Names that the command line or an option line gives a value (`-D NAME=VALUE`).
pub type Defines = BTreeMap<String, String>;

impl Script {
    /// Reads a script. `name` is for messages. `defines` win over those of the script's own option lines.
    ///
    /// # Errors
    /// The first thing that cannot be understood, with its line.
    pub fn parse(name: &str, text: &str, defines: &Defines) -> Result<Self, ParseError> {
        events::parse(name, text, defines)
    }

    /// Option lines of a script without reading its events.
    ///
    /// # Errors
    /// A malformed option line.
    pub fn options(name: &str, text: &str) -> Result<Vec<OptionLine>, ParseError> {
        events::options(name, text)
    }
}

#[cfg(test)]
mod tests;

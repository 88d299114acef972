//! What stands behind a script: the stack under test, with its clock.

mod command;
mod kernel;
mod lastack;

pub use kernel::Kernel;
pub use lastack::Lastack;

use crate::call::{Call, Outcome};
use std::time::Duration;

/// A packet that the stack sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it left, in microseconds since the start of the script.
    pub at: i64,
    /// The IP packet, from its IP header on.
    pub packet: Vec<u8>,
}

/// Why a shell command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// This backend cannot do it; the script is skipped for this reason.
    Unsupported(String),
    /// It was carried out and failed.
    Failed(String),
}

/// A stack that a script can drive. Times are microseconds since [`Backend::start`].
pub trait Backend {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// The script begins: time 0 is now. Comes after the first shell command.
    fn start(&mut self);

    /// The time.
    fn now(&mut self) -> i64;

    /// Time 0 on the clock of the stack's stamps (SO_TIMESTAMPING).
    fn epoch(&mut self) -> Duration;

    /// Waits until a time; returns at once if it is past.
    fn sleep_until(&mut self, at: i64);

    /// A packet of the peer arrives.
    ///
    /// # Errors
    /// What kept it from arriving.
    fn inject(&mut self, packet: &[u8]) -> Result<(), String>;

    /// The next packet that the stack has sent, in the order sent; waits for it until a time.
    fn next_packet(&mut self, until: i64) -> Option<Sent>;

    /// How long, in microseconds, a packet that may come at any time is waited for.
    fn patience(&self) -> i64;

    /// Makes a call that is not to sleep. `None`: it does sleep, which ends the script.
    fn call(&mut self, call: &Call) -> Option<Outcome>;

    /// Begins a call that may sleep. There is one at a time.
    fn begin(&mut self, call: &Call);

    /// The end of the call that was begun, and when it was; waits for it until a time.
    fn end(&mut self, until: i64) -> Option<(i64, Outcome)>;

    /// Carries out a shell command.
    ///
    /// # Errors
    /// See [`CommandError`].
    fn command(&mut self, command: &str) -> Result<(), CommandError>;
}

//! lastack in virtual time: a script of an hour takes as long as its packets take to be made, and each run is the same.

use super::command::{self, Command};
use super::{Backend, CommandError, Sent};
use crate::call::{Call, Outcome};
use crate::run::Settings;
use crate::sys::{self, Machine, Step, SysctlError};
use lastack_core::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// A packet that may come at any time is waited for this long: longer than any timer of TCP.
const PATIENCE: i64 = 24 * 3600 * 1_000_000;

/// A lastack stack with the clock of a script.
#[derive(Debug)]
pub struct Lastack {
    defaults: sys::Settings,
    machine: Machine,
    /// Time 0 of the script.
    origin: Instant,
    packets: VecDeque<Sent>,
    /// The end of the call that sleeps, once it has come.
    ended: Option<(i64, Outcome)>,
}

impl Lastack {
    /// A stack with the addresses of a script's settings, and the knobs that packetdrill's usual runners set.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut defaults = sys::Settings::default();
        defaults.set_addresses(&[settings.local_ip]);
        defaults.set_mtu(settings.mtu);
        let machine = Machine::new(&defaults);
        let origin = machine.now();
        Self { defaults, machine, origin, packets: VecDeque::new(), ended: None }
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_since(self.origin).as_micros()).unwrap_or(i64::MAX)
    }

    fn instant(&self, at: i64) -> Instant {
        self.origin + Duration::from_micros(u64::try_from(at).unwrap_or(0))
    }

    /// Takes over what the machine has to tell.
    fn collect(&mut self) {
        while let Some(sent) = self.machine.sent() {
            let at = self.micros(sent.at);
            self.packets.push_back(Sent { at, packet: sent.packet });
        }
        while let Some(finished) = self.machine.finished() {
            self.ended = Some((self.micros(finished.at), finished.outcome));
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        let mut result = Ok(());
        self.machine.configure(|settings| result = settings.sysctl(name, value));
        if name.ends_with("tcp_fastopen_blackhole_timeout_sec") {
            // Each write counts, that of the same value too.
            self.machine.resume_fast_open();
        }
        result
    }
}

impl Backend for Lastack {
    fn name(&self) -> &'static str {
        "lastack"
    }

    fn start(&mut self) {
        self.origin = self.machine.now();
    }

    fn now(&mut self) -> i64 {
        self.micros(self.machine.now())
    }

    fn epoch(&mut self) -> Duration {
        Duration::from_nanos(self.origin.as_nanos())
    }

    fn sleep_until(&mut self, at: i64) {
        let to = self.instant(at);
        while self.machine.now() < to {
            // It stops where a call returns.
            self.machine.advance(to);
            self.collect();
        }
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.machine.inject(packet);
        self.collect();
        Ok(())
    }

    fn next_packet(&mut self, until: i64) -> Option<Sent> {
        let limit = self.instant(until);
        self.collect();
        while self.packets.is_empty() {
            let called = self.ended.is_some();
            let found = self.machine.advance_to_packet(limit);
            self.collect();
            // A call that returned stops the clock once; then there is nothing left that could happen.
            if !found && called == self.ended.is_some() {
                break;
            }
        }
        self.packets.pop_front()
    }

    fn patience(&self) -> i64 {
        PATIENCE
    }

    fn call(&mut self, call: &Call) -> Option<Outcome> {
        let step = self.machine.call(call.clone());
        self.collect();
        match step {
            Step::Done(outcome) => Some(outcome),
            Step::Blocked(_) => None,
        }
    }

    fn begin(&mut self, call: &Call) {
        self.ended = None;
        if let Step::Done(outcome) = self.machine.call(call.clone()) {
            self.ended = Some((self.micros(self.machine.now()), outcome));
        }
        self.collect();
    }

    fn end(&mut self, until: i64) -> Option<(i64, Outcome)> {
        let limit = self.instant(until);
        self.collect();
        while self.ended.is_none() && self.machine.now() < limit {
            self.machine.advance(limit);
            self.collect();
        }
        self.ended.take()
    }

    fn command(&mut self, text: &str) -> Result<(), CommandError> {
        for command in command::read(text) {
            match command {
                Command::Nothing => {}
                Command::Kill => {
                    self.machine.kill_all();
                    self.collect();
                }
                Command::FlushMetrics => self.machine.forget_fast_open_cookies(),
                Command::Defaults => {
                    let defaults = self.defaults.clone();
                    self.machine.configure(|settings| *settings = defaults);
                }
                Command::Sleep(time) => {
                    let until = self.now() + time;
                    self.sleep_until(until);
                }
                Command::Set(name, value) => self.set(&name, &value).map_err(|error| match error {
                    SysctlError::Unsupported(_) => CommandError::Unsupported(error.to_string()),
                    SysctlError::Invalid(_) => CommandError::Failed(error.to_string()),
                })?,
                Command::Unknown(command) => {
                    return Err(CommandError::Unsupported(format!("lastack has no shell for '{command}'")));
                }
            }
        }
        Ok(())
    }
}

//! Carrying out a script against a [`Backend`]: each event at its time, each packet and each result compared.

mod build;
mod calls;
mod compare;
mod flow;
mod info;
mod observed;
mod settings;
mod time;

pub use settings::{IpVersion, Settings, SettingsError};

use crate::backend::{Backend, CommandError};
use crate::call::{Address, Call, Out, Outcome};
use crate::script::{Action, CallLine, Code, Event, Packet, Script, TcpPart, Transport, Value, constants};
use calls::{Context, StampClock, Trouble};
use flow::Flow;
use lastack_wire::tcp::Flags;
use observed::{Body, Observed, Tcp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use time::{When, seconds};

/// The first port of a peer that connects to the script's listener.
const FIRST_PEER_PORT: u16 = 40_001;
/// How long after its time a packet is waited for before it counts as missing, in microseconds.
const OVERTIME: i64 = 2_000_000;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as the script says.
    Passed,
    /// Something is not; the message names file, line, what was expected and what came.
    Failed(String),
    /// It was not carried out (to the end), for this reason.
    Skipped(String),
    /// It cannot be understood.
    Broken(String),
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// What `print` said.
    pub printed: Vec<String>,
}

/// Reads a script and carries it out. `open` makes the backend once the script's settings are known.
pub fn run_text<B: Backend>(
    name: &str,
    text: &str,
    command_line: &[(String, String)],
    open: impl FnOnce(&Settings) -> Result<B, String>,
) -> Report {
    let ended = |verdict| Report { verdict, printed: Vec::new() };
    let settings = match Script::options(name, text) {
        Ok(lines) => Settings::new(&lines, command_line),
        Err(error) => return ended(Verdict::Broken(error.to_string())),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(SettingsError::Wrong { line: 0, message }) => return ended(Verdict::Broken(message)),
        Err(SettingsError::Wrong { line, message }) => {
            return ended(Verdict::Broken(format!("{name}:{line}: {message}")));
        }
        Err(SettingsError::OtherFamily(message)) => {
            return ended(Verdict::Skipped(format!("{name}: {message}")));
        }
    };
    let script = match Script::parse(name, text, &settings.defines) {
        Ok(script) => script,
        Err(error) if error.unsupported => return ended(Verdict::Skipped(error.to_string())),
        Err(error) => return ended(Verdict::Broken(error.to_string())),
    };
    match open(&settings) {
        Ok(mut backend) => run(&script, &settings, &mut backend),
        Err(message) => ended(Verdict::Failed(format!("{name}: {message}"))),
    }
}

/// Carries out a script.
pub fn run(script: &Script, settings: &Settings, backend: &mut dyn Backend) -> Report {
    let mut runner = Runner::new(script, settings, backend);
    let mut ended = runner.all();
    if let Some((line, command)) = &script.cleanup
        && let Err(Stop::Failed(message)) = runner.command(*line, command)
        && ended.is_ok()
    {
        ended = Err(Stop::Failed(message));
    }
    let verdict = match ended {
        Ok(()) => Verdict::Passed,
        Err(Stop::Failed(message)) => Verdict::Failed(message),
        Err(Stop::Skipped(message)) => Verdict::Skipped(message),
        Err(Stop::Broken(message)) => Verdict::Broken(message),
    };
    Report { verdict, printed: runner.printed }
}

/// Why a script does not go on.
enum Stop {
    Failed(String),
    Skipped(String),
    Broken(String),
}

type Step<T> = Result<T, Stop>;

/// Whose packets are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// No socket yet, or one that has done nothing: a segment of the peer begins a connection.
    Fresh,
    /// A listener that has not had a SYN.
    Listening,
    /// A connection.
    Connected,
}

/// The socket that a call connects, and to whom.
fn connects(call: &Call) -> Option<(i32, SocketAddr)> {
    match call {
        Call::Connect { fd, address: Address::Inet(peer) } => Some((*fd, *peer)),
        Call::Send { fd, to: Some(Address::Inet(peer)), flags, .. }
        | Call::SendMsg { fd, to: Some(Address::Inet(peer)), flags, .. }
            if flags & libc::MSG_FASTOPEN != 0 =>
        {
            Some((*fd, *peer))
        }
        _ => None,
    }
}

/// A call that sleeps.
struct Sleeping<'a> {
    event: &'a Event,
    line: &'a CallLine,
    ends: i64,
    tolerance: i64,
}

struct Runner<'a> {
    script: &'a Script,
    settings: &'a Settings,
    backend: &'a mut dyn Backend,
    fds: BTreeMap<i64, i32>,
    flows: Vec<Flow>,
    current: Option<usize>,
    subject: Subject,
    /// Descriptor that code blocks ask.
    subject_fd: Option<i32>,
    next_peer_port: u16,
    /// Time of the event before.
    reference: i64,
    sleeping: Option<Sleeping<'a>>,
    /// The script expects other packets than TCP's.
    all_protocols: bool,
    variables: BTreeMap<String, Value>,
    printed: Vec<String>,
}

impl<'a> Runner<'a> {
    fn new(script: &'a Script, settings: &'a Settings, backend: &'a mut dyn Backend) -> Self {
        let other = |event: &Event| match &event.action {
            Action::Expect(packet) => !matches!(packet.transport, Transport::Tcp(_)),
            _ => false,
        };
        Self {
            script,
            settings,
            backend,
            fds: BTreeMap::new(),
            flows: Vec::new(),
            current: None,
            subject: Subject::Fresh,
            subject_fd: None,
            next_peer_port: FIRST_PEER_PORT,
            reference: 0,
            sleeping: None,
            all_protocols: script.events.iter().any(other),
            variables: BTreeMap::new(),
            printed: Vec::new(),
        }
    }

    fn all(&mut self) -> Step<()> {
        if let Some((line, command)) = &self.script.setup {
            self.command(*line, command)?;
        }
        self.backend.start();
        for event in &self.script.events {
            self.event(event)?;
        }
        self.finish_sleeping()?;
        if self.settings.strict_tail { self.tail() } else { Ok(()) }
    }

    fn at(&self, line: usize, message: &str) -> String {
        format!("{}:{line}: {message}", self.script.name)
    }

    fn failed<T>(&self, line: usize, message: &str) -> Step<T> {
        Err(Stop::Failed(self.at(line, message)))
    }

    fn event(&mut self, event: &'a Event) -> Step<()> {
        let tolerance = (self.settings.tolerance, self.settings.tolerance_part);
        let when = When::new(event.time, self.reference, tolerance);
        if let (Some(sleeping), Action::Call(_)) = (&self.sleeping, &event.action)
            && sleeping.ends <= when.from
        {
            self.finish_sleeping()?;
        }
        let mut happened = None;
        match &event.action {
            Action::Expect(packet) => happened = Some(self.expect(event, packet, &when)?),
            action => {
                if !when.any {
                    self.backend.sleep_until(when.from);
                }
                match action {
                    Action::Inject(packet) => self.inject(event, packet)?,
                    Action::Call(line) => self.call(event, line, &when)?,
                    Action::Command(command) => self.command(event.line, command)?,
                    Action::Code(code) => self.code(event.line, code)?,
                    Action::Expect(_) => {}
                }
            }
        }
        self.reference = match happened {
            _ if !when.is_loose() => when.from,
            Some(at) => at,
            None => self.backend.now(),
        };
        Ok(())
    }

    fn command(&mut self, line: usize, command: &str) -> Step<()> {
        match self.backend.command(command) {
            Ok(()) => Ok(()),
            Err(CommandError::Failed(message)) => {
                self.failed(line, &format!("error executing command: {message}"))
            }
            Err(CommandError::Unsupported(message)) => Err(Stop::Skipped(self.at(line, &message))),
        }
    }

    fn code(&mut self, line: usize, code: &Code) -> Step<()> {
        let Some(fd) = self.subject_fd else {
            return self.failed(line, "a block of code before there is a socket");
        };
        let mut ask = |level, name, len| {
            let call = Call::GetSockOpt { fd, level, name, len, null: false };
            match self.backend.call(&call) {
                Some(Outcome { result: 0, out: Out::Value(value), .. }) => Ok(value),
                other => Err(other),
            }
        };
        let meminfo = if code.uses(&info::is_meminfo) {
            ask(libc::SOL_SOCKET, 55, info::MEMINFO_LEN)
        } else {
            Ok(Vec::new())
        };
        let (info, meminfo) = match (ask(libc::IPPROTO_TCP, libc::TCP_INFO, info::INFO_LEN), meminfo) {
            (Ok(info), Ok(meminfo)) => (info, meminfo),
            (info, meminfo) => {
                let shown = format!("TCP_INFO {info:?}, SO_MEMINFO {meminfo:?}");
                return self.failed(line, &format!("the socket does not tell its state: {shown}"));
            }
        };
        let names =
            |name: &str| info::field(name, &info, &meminfo).or_else(|| constants::code_constant(name));
        match code.run(&names, &mut self.variables) {
            Ok(printed) => {
                self.printed.extend(printed);
                Ok(())
            }
            Err(crate::script::Stop::Failed(line, message)) => self.failed(line, &message),
            Err(crate::script::Stop::Unknown(message)) => Err(Stop::Skipped(self.at(line, &message))),
        }
    }

    // --- calls ---

    fn call(&mut self, event: &'a Event, line: &'a CallLine, when: &When) -> Step<()> {
        let context = Context { settings: self.settings, fds: &self.fds };
        let call = match calls::prepare(line, &context) {
            Ok(call) => call,
            Err(Trouble::Wrong(message)) => return Err(Stop::Broken(self.at(event.line, &message))),
            Err(Trouble::Unknown(message)) => return Err(Stop::Skipped(self.at(event.line, &message))),
        };
        if let Some(ends) = when.ends {
            if self.sleeping.is_some() {
                let message =
                    "a second call that sleeps while one sleeps already; there can be one at a time";
                return Err(Stop::Broken(self.at(event.line, message)));
            }
            self.note(line, &call);
            self.backend.begin(&call);
            self.sleeping = Some(Sleeping { event, line, ends, tolerance: when.tolerance_for(ends) });
            return Ok(());
        }
        self.note(line, &call);
        let Some(outcome) = self.backend.call(&call) else {
            let message =
                format!("runtime error in {} call: it sleeps; write START...END as its time", line.name);
            return self.failed(event.line, &message);
        };
        let now = self.backend.now();
        if !when.any && now > when.to + when.tolerance {
            let (expected, now) = (seconds(when.from), seconds(now));
            let message =
                format!("timing error: expected return of {} at {expected}, but it was at {now}", line.name);
            return self.failed(event.line, &message);
        }
        self.returned(event, line, &outcome)
    }

    /// What a call means for the connection under test.
    fn note(&mut self, line: &CallLine, call: &Call) {
        match (line.name.as_str(), call) {
            ("socket", _) => {
                self.flows.retain(|flow| flow.named);
                self.current = None;
                self.subject = Subject::Fresh;
            }
            ("listen", _) if self.current.is_none() => self.subject = Subject::Listening,
            _ => {
                if let Some((fd, peer)) = connects(call)
                    && self.current.is_none()
                {
                    self.subject = Subject::Connected;
                    self.subject_fd = Some(fd);
                    self.current = Some(self.flows.len());
                    self.flows.push(Flow::new(None, peer.port(), false));
                }
            }
        }
    }

    fn returned(&mut self, event: &Event, line: &CallLine, outcome: &Outcome) -> Step<()> {
        let clock = StampClock { epoch: self.backend.epoch(), tolerance: self.settings.tolerance };
        if let Err(message) = calls::check(line, outcome, &clock) {
            let message =
                format!("runtime error in {} call: {message}\nscript call: {}", line.name, event.text);
            return self.failed(event.line, &message);
        }
        let live = i32::try_from(outcome.result).unwrap_or(-1);
        if let crate::script::Want::Value(script) = line.want
            && calls::makes_descriptor(&line.name)
            && live >= 0
        {
            self.fds.insert(script, live);
            if !line.name.starts_with("epoll") {
                self.subject_fd = Some(live);
            }
        }
        if let (Out::Pipe(read, write), Some(crate::script::Expr::List(list))) =
            (&outcome.out, line.args.first())
        {
            for (script, live) in list.iter().zip([read, write]) {
                if let crate::script::Expr::Int(script) = script {
                    self.fds.insert(*script, *live);
                }
            }
        }
        if let ("close", [crate::script::Expr::Int(script)]) = (line.name.as_str(), line.args.as_slice())
            && outcome.result == 0
        {
            self.fds.remove(script);
        }
        Ok(())
    }

    fn finish_sleeping(&mut self) -> Step<()> {
        let Some(Sleeping { event, line, ends, tolerance }) = self.sleeping.take() else { return Ok(()) };
        let Some((at, outcome)) = self.backend.end(ends + tolerance + OVERTIME) else {
            let message =
                format!("timing error: {} sleeps on; expected its return at {}", line.name, seconds(ends));
            return self.failed(event.line, &message);
        };
        if (at - ends).abs() > tolerance {
            let (expected, at) = (seconds(ends), seconds(at));
            let message =
                format!("timing error: expected return of {} at {expected}, but it was at {at}", line.name);
            return self.failed(event.line, &message);
        }
        self.returned(event, line, &outcome)
    }

    // --- packets ---

    fn new_flow(&mut self, local_port: u16, remote_port: u16, named: bool) -> usize {
        self.flows.push(Flow::new(Some(local_port), remote_port, named));
        self.flows.len() - 1
    }

    fn named_flow(&mut self, local_port: u16, remote_port: u16) -> usize {
        let same = |flow: &Flow| flow.local_port == Some(local_port) && flow.remote_port == remote_port;
        match self.flows.iter().position(same) {
            Some(at) => at,
            None => self.new_flow(local_port, remote_port, true),
        }
    }

    /// The connection that a packet of the peer belongs to; it may begin one.
    fn inbound_flow(&mut self, packet: &Packet) -> usize {
        if let Some((from, to)) = packet.ports {
            return self.named_flow(to, from);
        }
        let opens = matches!(&packet.transport, Transport::Tcp(TcpPart { flags, .. })
            if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK));
        if opens && self.subject == Subject::Listening {
            self.subject = Subject::Connected;
            self.current = None;
        }
        match self.current {
            Some(at) => at,
            None => {
                let port = self.next_peer_port;
                self.next_peer_port += 1;
                let at = self.new_flow(self.settings.bind_port, port, false);
                self.current = Some(at);
                at
            }
        }
    }

    fn inject(&mut self, event: &Event, packet: &Packet) -> Step<()> {
        let at = self.inbound_flow(packet);
        let Some(flow) = self.flows.get(at) else { return Ok(()) };
        let bytes = match build::packet(packet, flow, self.settings) {
            Ok(bytes) => bytes,
            Err(message) => return Err(Stop::Broken(self.at(event.line, &message))),
        };
        if let Err(message) = self.backend.inject(&bytes) {
            return self.failed(event.line, &format!("error injecting packet: {message}"));
        }
        Ok(())
    }

    /// The flow a packet of the stack belongs to. The first SYN of a connecting socket tells its port.
    fn flow_of(&mut self, tcp: &Tcp) -> Option<usize> {
        let known = |flow: &Flow| flow.local_port == Some(tcp.src) && flow.remote_port == tcp.dst;
        if let Some(at) = self.flows.iter().position(known) {
            return Some(at);
        }
        let opening = |flow: &Flow| flow.local_port.is_none() && flow.remote_port == tcp.dst;
        let at = self.flows.iter().position(opening).filter(|_| tcp.flags.contains(Flags::SYN))?;
        self.flows.get_mut(at)?.local_port = Some(tcp.src);
        Some(at)
    }

    /// The next packet of a connection under test.
    fn next_packet(&mut self, until: i64) -> Result<Option<(Observed, Option<usize>)>, String> {
        while let Some(sent) = self.backend.next_packet(until) {
            let seen = Observed::read(sent.at, &sent.packet)?;
            if seen.src != self.settings.local_ip || seen.dst != self.settings.remote_ip {
                continue;
            }
            match &seen.body {
                Body::Tcp(tcp) => {
                    if let Some(at) = self.flow_of(tcp) {
                        return Ok(Some((seen, Some(at))));
                    }
                }
                // Neighbour discovery and group membership are of no interest.
                Body::Icmp { kind, .. } if seen.src.is_ipv6() && *kind > 129 => {}
                Body::Icmp { .. } | Body::Udp { .. } if self.all_protocols => return Ok(Some((seen, None))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Two lines that show both packets.
    fn both(&self, event: &Event, when: &When, seen: Option<(&Observed, Option<usize>)>) -> String {
        let actual = match seen {
            Some((seen, flow)) => {
                let flow = flow.and_then(|at| self.flows.get(at));
                let other = flow.is_some_and(|flow| Some(flow.remote_port) != self.current_peer());
                let note = if other { " (of another connection)" } else { "" };
                format!("{} {}{note}", seconds(seen.at), seen.show(flow))
            }
            None => "none".into(),
        };
        format!(
            "\nscript packet: {} {}\nactual packet: {actual}",
            when.text(),
            event.text.trim_start_matches(['>', ' '])
        )
    }

    fn current_peer(&self) -> Option<u16> {
        self.flows.get(self.current?).map(|flow| flow.remote_port)
    }

    fn expect(&mut self, event: &Event, packet: &Packet, when: &When) -> Step<i64> {
        let until = if when.any {
            self.backend.now() + self.backend.patience()
        } else {
            when.to + when.tolerance + OVERTIME
        };
        let wanted = match packet.ports {
            Some((from, to)) => Some(self.named_flow(from, to)),
            None => self.current,
        };
        let bad = |runner: &Self, message: &str, seen: Option<(&Observed, Option<usize>)>| {
            let both = runner.both(event, when, seen);
            runner.failed(event.line, &format!("error handling packet: {message}{both}"))
        };
        let (mut seen, at) = match self.next_packet(until) {
            Ok(Some(found)) => found,
            Ok(None) => return bad(self, "expected a packet, none came", None),
            Err(message) => return bad(self, &message, None),
        };
        if matches!(seen.body, Body::Tcp(_)) && at != wanted {
            return bad(self, "a segment of another connection", Some((&seen, at)));
        }
        if let Transport::Tcp(part) = &packet.transport {
            if let Err(message) = self.gather(part, &mut seen, at, until) {
                return bad(self, &message, Some((&seen, at)));
            }
            self.learn(part, &seen, at);
        }
        let flow = at.and_then(|at| self.flows.get(at));
        if let Err(message) = compare::packet(packet, &seen, flow, self.settings) {
            return bad(self, &message, Some((&seen, at)));
        }
        if !when.holds(seen.at) {
            let message = format!("timing error: it was sent at {}, {}", seconds(seen.at), when.expected());
            return bad(self, &message, Some((&seen, at)));
        }
        Ok(seen.at)
    }

    /// Takes further segments as long as what was seen is shorter than its line.
    fn gather(
        &mut self,
        part: &TcpPart,
        seen: &mut Observed,
        at: Option<usize>,
        until: i64,
    ) -> Result<(), String> {
        let Body::Tcp(first) = &seen.body else { return Ok(()) };
        let first_len = first.len;
        let mut whole = first.clone();
        while !self.settings.strict_segments && whole.len > 0 && whole.len < part.len {
            let Some((next, flow)) = self.next_packet(until)? else { break };
            match &next.body {
                Body::Tcp(tcp) if flow == at => whole.join(tcp, first_len, part.len)?,
                _ => return Err("another packet in the middle of a segment".into()),
            }
            seen.at = next.at;
        }
        seen.body = Body::Tcp(whole);
        Ok(())
    }

    /// A SYN tells the stack's initial number; any segment tells what the script calls its timestamp.
    fn learn(&mut self, part: &TcpPart, seen: &Observed, at: Option<usize>) {
        let (Body::Tcp(tcp), Some(flow)) = (&seen.body, at.and_then(|at| self.flows.get_mut(at))) else {
            return;
        };
        if part.flags.contains(Flags::SYN) && tcp.flags.contains(Flags::SYN) {
            flow.learn(tcp.seq, part.seq);
        }
        if let crate::script::Options::List(list) = &part.options
            && let Some((value, _)) = compare::timestamp(&tcp.options)
        {
            for option in list {
                if let crate::script::TcpOption::Timestamp(script, _) = option {
                    flow.note_timestamp(*script, value);
                }
            }
        }
    }

    /// What the stack has sent by now, and nobody asked for.
    fn tail(&mut self) -> Step<()> {
        let line = self.script.events.last().map_or(1, |event| event.line);
        let now = self.backend.now();
        match self.next_packet(now) {
            Ok(None) => Ok(()),
            Ok(Some((seen, at))) => {
                let flow = at.and_then(|at| self.flows.get(at));
                let shown = format!("{} {}", seconds(seen.at), seen.show(flow));
                self.failed(
                    line,
                    &format!("a packet is left at the end of the script\nactual packet: {shown}"),
                )
            }
            Err(message) => self.failed(line, &message),
        }
    }
}

//! What became of each connection and flow.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack::{Ending, Initiator, TransitionEvent};
use serde::Serialize;

use crate::limit::LimitMet;
use crate::owner::Owner;
use crate::seeing::Opener;
use crate::trace::number;

/// Whose doing something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The program inside.
    Program,
    /// The server, or the host's kernel in its place.
    Host,
    /// The gateway: a limit, a rule, its own end.
    Gateway,
}

/// Who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The program inside.
    Outbound,
    /// A client of a published port.
    Inbound,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Both sides ended their streams.
    Graceful,
    /// A reset, which was passed on.
    Reset,
    /// Given up by a timer.
    TimedOut,
    /// Refused with a reset.
    Refused,
    /// Refused as unreachable.
    Unreachable,
    /// Not answered: the program's own time-out decides.
    Unanswered,
    /// Still open when the gateway stopped.
    Cut,
}

/// One TCP connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionRecord {
    /// Its number, as in the trace; 0 if there was none inside.
    pub number: u32,
    /// From which side it was opened.
    pub direction: Direction,
    /// The program inside that opened it, where that could be found out.
    pub opened_by: Option<Owner>,
    /// The address of who opened it.
    pub source: SocketAddr,
    /// The destination that was named: for an inbound connection the published port.
    pub destination: SocketAddr,
    /// Where that led, if anywhere: on the host; for an inbound connection, inside.
    pub target: Option<SocketAddr>,
    /// Bytes of the program that were passed on.
    pub bytes_out: u64,
    /// Bytes for the program that were passed on.
    pub bytes_in: u64,
    /// From the request to the end.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Smoothed round-trip time between lastack and the program at the end, in seconds; `None` without a sample.
    #[serde(serialize_with = "maybe_seconds")]
    pub rtt_inside: Option<Duration>,
    /// The same between the host and the other side; it is 0.0 on a loopback that is faster than a microsecond.
    #[serde(serialize_with = "maybe_seconds")]
    pub rtt_outside: Option<Duration>,
    /// Segments that lastack sent to the program again. `None`: there was no connection inside.
    pub retransmissions_inside: Option<u32>,
    /// Segments that the host sent to the other side again. `None`: there was no connection of the host.
    pub retransmissions_outside: Option<u32>,
    /// How it ended.
    pub end: End,
    /// Who ended first.
    pub ended_by: Party,
    /// The error behind the end, if there was one.
    pub error: Option<String>,
    /// Everything sent before a reset arrived before it.
    pub delivered: bool,
    /// Bytes of the program that the other side's kernel had not acknowledged at the end. 0 after a graceful end: what the
    /// host's kernel still has then it delivers.
    pub undelivered_out: u64,
    /// Bytes for the program that had arrived at the host and that the program's kernel had not acknowledged.
    pub undelivered_in: u64,
    /// How the stack's connection with the program ended; `None` if there was none.
    pub inside: Option<Inside>,
}

/// The end of the stack's connection with the program, as the stack saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// Who began: `local` (the gateway, for the other side), `peer` (the program), `timer` or `administrator`.
    pub began: &'static str,
    /// In what way.
    pub how: &'static str,
    /// What ended it for good.
    pub cause: String,
    /// Bytes for the program that its kernel never acknowledged.
    pub unacked: u32,
    /// Bytes of the program that were received and not passed on.
    pub unread: u32,
}

impl From<Ending> for Inside {
    fn from(ending: Ending) -> Self {
        let began = match ending.began {
            Initiator::Local => "local",
            Initiator::Peer => "peer",
            Initiator::Timer => "timer",
            Initiator::Administrator => "administrator",
        };
        let Ending { how, cause, unacked, unread, .. } = ending;
        Self { began, how: how.text(), cause: cause.to_string(), unacked, unread }
    }
}

/// One UDP flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowRecord {
    /// From which side the first datagram came.
    pub direction: Direction,
    /// The program inside that sent it, where that could be found out.
    pub opened_by: Option<Owner>,
    /// The address of who sent first.
    pub source: SocketAddr,
    /// The destination that was named: for an inbound flow the published port.
    pub destination: SocketAddr,
    /// Where that led, if anywhere: on the host; for an inbound flow, inside.
    pub target: Option<SocketAddr>,
    /// Datagrams of the program that were passed on, and their bytes.
    pub datagrams_out: u64,
    /// See `datagrams_out`.
    pub bytes_out: u64,
    /// Datagrams for the program that were passed on, and their bytes.
    pub datagrams_in: u64,
    /// See `datagrams_in`.
    pub bytes_in: u64,
    /// How often the host said that nobody takes them (ICMP port unreachable).
    pub refused: u64,
    /// How often a datagram that may not be cut was too big for the way, and the program was told so.
    pub too_big: u64,
}

/// What a gateway did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// TCP connections, in the order of their end.
    pub connections: Vec<ConnectionRecord>,
    /// UDP flows, in the order of their end.
    pub udp_flows: Vec<FlowRecord>,
    /// Connections and flows beyond [`Limits::max_records`](crate::Limits::max_records).
    pub not_listed: u64,
    /// Limits that were met.
    pub limits: Vec<LimitMet>,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn maybe_seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

impl Report {
    /// As one JSON object, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        // No map with odd keys and no writer that fails: nothing of this cannot be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "the program",
            Self::Host => "the server",
            Self::Gateway => "lastack",
        })
    }
}

impl fmt::Display for ConnectionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, source, destination, bytes_out, bytes_in, duration, end, .. } = self;
        let (way, ended_by) = match (self.direction, self.ended_by) {
            (Direction::Inbound, Party::Host) => (" in", &"the client" as &dyn fmt::Display),
            (Direction::Inbound, _) => (" in", &self.ended_by as _),
            (Direction::Outbound, _) => ("", &self.ended_by as _),
        };
        write!(f, "#{number} tcp{way} {source} -> {destination}")?;
        opened_by(f, self.direction, self.opened_by.as_ref())?;
        write!(f, ": {bytes_out} B out, {bytes_in} B in, ")?;
        write!(f, "{:.3} s, ", duration.as_secs_f64())?;
        match end {
            End::Graceful => write!(f, "closed, {ended_by} first")?,
            End::Reset => write!(f, "reset by {ended_by}")?,
            End::TimedOut => write!(f, "timed out on the side of {ended_by}")?,
            End::Refused => write!(f, "refused by {ended_by}")?,
            End::Unreachable => write!(f, "unreachable, said by {ended_by}")?,
            End::Unanswered => write!(f, "not answered by {ended_by}")?,
            End::Cut => write!(f, "still open at the end, cut by {ended_by}")?,
        }
        if let Some(error) = &self.error {
            write!(f, " ({error})")?;
        }
        if !self.delivered {
            f.write_str("; not all that came before was delivered")?;
        }
        if self.undelivered_out > 0 {
            write!(f, "; {} B of the program left undelivered", self.undelivered_out)?;
        }
        if self.undelivered_in > 0 {
            write!(f, "; {} B for the program left undelivered", self.undelivered_in)?;
        }
        if let (Some(inside), Some(outside)) = (self.retransmissions_inside, self.retransmissions_outside)
            && inside + outside > 0
        {
            write!(f, "; retransmitted {inside} inside, {outside} outside")?;
        }
        if let (Some(inside), Some(outside)) = (self.rtt_inside, self.rtt_outside) {
            let millis = |rtt: Duration| rtt.as_secs_f64() * 1000.0;
            write!(f, "; RTT {:.1} ms inside, {:.1} ms outside", millis(inside), millis(outside))?;
        }
        self.inside.as_ref().map_or(Ok(()), |inside| write!(f, "{inside}"))
    }
}

/// A client of a published port is a program of the host or of another machine: its address is its name.
fn opened_by(f: &mut fmt::Formatter<'_>, direction: Direction, owner: Option<&Owner>) -> fmt::Result {
    match (direction, owner) {
        (Direction::Inbound, _) => Ok(()),
        (Direction::Outbound, Some(owner)) => write!(f, " by {owner}"),
        (Direction::Outbound, None) => f.write_str(" by an unknown program"),
    }
}

/// What the line of the connection does not say yet.
impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "; inside {} ({})", self.how, self.cause)
    }
}

impl fmt::Display for FlowRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, datagrams_out, bytes_out, datagrams_in, bytes_in, refused, .. } =
            self;
        let way = if self.direction == Direction::Inbound { " in" } else { "" };
        write!(f, "udp{way} {source} -> {destination}")?;
        opened_by(f, self.direction, self.opened_by.as_ref())?;
        write!(
            f,
            ": {} ({bytes_out} B) out, {datagrams_in} ({bytes_in} B) in",
            many(*datagrams_out, "datagram")
        )?;
        if *refused > 0 {
            write!(f, ", {}", many(*refused, "refusal"))?;
        }
        if self.too_big > 0 {
            write!(f, ", {} too big for the way", many(self.too_big, "datagram"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = count(self.connections.len(), "TCP connection");
        write!(f, "{connections}, {}", count(self.udp_flows.len(), "UDP flow"))?;
        if self.not_listed > 0 {
            write!(f, ", {} more not listed", self.not_listed)?;
        }
        for connection in &self.connections {
            write!(f, "\n  {connection}")?;
        }
        for flow in &self.udp_flows {
            write!(f, "\n  {flow}")?;
        }
        for limit in &self.limits {
            write!(f, "\n  {limit}")?;
        }
        Ok(())
    }
}

/// "1 thing", "2 things".
pub(crate) fn count(number: usize, thing: &str) -> String {
    many(number as u64, thing)
}

fn many(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Where records are kept until the report.
#[derive(Debug)]
pub(crate) struct Ledger {
    report: Mutex<Report>,
    /// Who opened the connections and flows of the report, in the same order: that may be known after they have ended.
    openers: Mutex<(Vec<Opener>, Vec<Opener>)>,
    /// How the stack's connections ended, by their numbers: that may be after their records are made.
    endings: Mutex<BTreeMap<u32, Inside>>,
    /// Records at the most; 0 keeps none and counts none.
    room: usize,
}

impl Ledger {
    pub(crate) fn new(room: usize) -> Self {
        Self { report: Mutex::default(), openers: Mutex::default(), endings: Mutex::default(), room }
    }

    /// Records are kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.room > 0
    }

    fn with(&self, add: impl FnOnce(&mut Report, &mut (Vec<Opener>, Vec<Opener>))) {
        if self.room == 0 {
            return;
        }
        let mut report = lock(&self.report);
        if report.connections.len() + report.udp_flows.len() < self.room {
            add(&mut report, &mut lock(&self.openers));
        } else {
            report.not_listed += 1;
        }
    }

    pub(crate) fn connection(&self, record: ConnectionRecord, opener: &Opener) {
        self.with(|report, openers| {
            report.connections.push(record);
            openers.0.push(opener.clone());
        });
    }

    pub(crate) fn flow(&self, record: FlowRecord, opener: &Opener) {
        self.with(|report, openers| {
            report.udp_flows.push(record);
            openers.1.push(opener.clone());
        });
    }

    /// Follows the stack's transitions.
    pub(crate) fn transition(&self, event: &TransitionEvent) {
        let Some(ending) = event.ending else { return };
        // 0 is the gateway's listener, and a record without a connection inside.
        let number = number(event.id);
        if number == 0 {
            return;
        }
        let mut endings = lock(&self.endings);
        if endings.len() < self.room {
            endings.insert(number, ending.into());
        }
    }

    pub(crate) fn take(&self) -> Report {
        let mut report = std::mem::take(&mut *lock(&self.report));
        let openers = std::mem::take(&mut *lock(&self.openers));
        let mut endings = lock(&self.endings);
        for (connection, opener) in report.connections.iter_mut().zip(&openers.0) {
            connection.opened_by = connection.opened_by.take().or_else(|| opener.get().cloned());
            if let Some(inside) = endings.remove(&connection.number) {
                if connection.end == End::Graceful {
                    connection.undelivered_in = inside.unacked.into();
                }
                connection.inside = Some(inside);
            }
        }
        for (flow, opener) in report.udp_flows.iter_mut().zip(&openers.1) {
            flow.opened_by = flow.opened_by.take().or_else(|| opener.get().cloned());
        }
        report
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32) -> ConnectionRecord {
        ConnectionRecord {
            number,
            direction: Direction::Outbound,
            opened_by: None,
            source: "10.0.2.15:40000".parse().unwrap(),
            destination: "10.0.2.2:80".parse().unwrap(),
            target: Some("127.0.0.1:80".parse().unwrap()),
            bytes_out: 3,
            bytes_in: 4,
            duration: Duration::from_millis(1500),
            rtt_inside: Some(Duration::from_micros(80)),
            rtt_outside: Some(Duration::from_millis(20)),
            retransmissions_inside: Some(0),
            retransmissions_outside: Some(3),
            end: End::Reset,
            ended_by: Party::Host,
            error: Some("connection reset".to_owned()),
            delivered: false,
            undelivered_out: 5,
            undelivered_in: 7,
            inside: None,
        }
    }

    #[test]
    fn records_beyond_the_limit_are_counted_only() {
        let ledger = Ledger::new(2);
        (0..5).for_each(|number| ledger.connection(record(number), &Opener::default()));
        let report = ledger.take();
        assert_eq!((report.connections.len(), report.not_listed), (2, 3));
    }

    #[test]
    fn json_names_end_and_party() {
        let report = Report { connections: vec![record(7)], ..Report::default() };
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let connection = &json["connections"][0];
        assert_eq!(connection["end"], "reset");
        assert_eq!(connection["ended_by"], "host");
        assert_eq!(connection["seconds"], 1.5);
        assert_eq!(connection["destination"], "10.0.2.2:80");
        assert_eq!(json["not_listed"], 0);
    }

    #[test]
    fn text_of_an_inbound_connection_speaks_of_a_client() {
        let record = ConnectionRecord { direction: Direction::Inbound, ..record(7) };
        let text = record.to_string();
        assert!(text.starts_with("#7 tcp in 10.0.2.15:40000 -> 10.0.2.2:80: "), "{text}");
        assert!(text.contains("reset by the client"), "{text}");
    }

    #[test]
    fn text_says_who_ended_it_and_what_was_lost() {
        assert_eq!(
            record(7).to_string(),
            "#7 tcp 10.0.2.15:40000 -> 10.0.2.2:80 by an unknown program: 3 B out, 4 B in, 1.500 s, reset by the server \
             (connection reset); not all that came before was delivered; 5 B of the program left undelivered; \
             7 B for the program left undelivered; retransmitted 0 inside, 3 outside; RTT 0.1 ms inside, 20.0 ms outside"
        );
    }

    #[test]
    fn an_end_inside_says_how_and_what_was_left() {
        let ending = Ending {
            at: lastack::Instant::ZERO,
            began: Initiator::Peer,
            how: lastack::How::Reset,
            cause: lastack::Cause::Reset,
            unacked: 5,
            unread: 2,
        };
        let record = ConnectionRecord { inside: Some(ending.into()), ..record(7) };
        let text = record.to_string();
        let end = "; inside reset (RST received)";
        assert!(text.ends_with(end), "{text}");
        let report = Report { connections: vec![record], ..Report::default() };
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let inside = &json["connections"][0]["inside"];
        assert_eq!((&inside["began"], &inside["unacked"]), (&"peer".into(), &5.into()));
    }
}

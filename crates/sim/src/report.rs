//! What came of a run.

use crate::net::Fault;
use crate::trace::{SegmentEvent, Series};
use serde::Serialize;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Every packet that every host sent, with its time, as one number in hexadecimal digits. Equal on every machine.
    pub digest: String,
    /// Packets that hosts sent.
    pub packets: u64,
    /// Virtual time until the last record was gone, in nanoseconds.
    pub time_ns: u64,
    /// What was wrong; nothing if the run passed.
    pub failures: Vec<Failure>,
    /// What was asked for and how often it happened.
    pub faults: Vec<Fault>,
    /// Connections, flow by flow.
    pub flows: Vec<FlowReport>,
    /// Jain's index of the goodputs of all connections: 1 if all are equal, 1/n if one has everything.
    pub fairness: f64,
    /// The directions of the links.
    pub links: Vec<LinkReport>,
    /// Each connection, by its number.
    pub connections: Vec<ConnectionReport>,
    /// Samples, if they were asked for, in the order of connections, clients first.
    #[serde(skip)]
    pub series: Vec<Series>,
    /// What became of segments, if it was asked for, in the order of time.
    #[serde(skip)]
    pub segments: Vec<SegmentEvent>,
}

impl Report {
    /// Nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Something that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What kind of thing.
    pub kind: FailureKind,
    /// In a sentence.
    pub text: String,
}

/// What can be wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Bytes arrived that were not sent.
    WrongBytes,
    /// A reader was told of an end of the stream that was none, or a close report is not true.
    FalseEnd,
    /// A connection did not do its work.
    Incomplete,
    /// An application waits for ever.
    Stuck,
    /// Records or memory are left of connections that are over.
    Leak,
    /// A connection arrived that nobody opened.
    Stray,
    /// Something that was asked for never happened.
    Unfired,
    /// It took longer than the scenario allows.
    TimeLimit,
    /// Time stood still.
    Stalled,
    /// The capture could not be written.
    Capture,
}

/// The connections of a flow together.
#[derive(Clone, Debug, Serialize)]
pub struct FlowReport {
    /// Its name.
    pub flow: String,
    /// Connections.
    pub connections: u32,
    /// Of those, connections whose two programs ran to their ends.
    pub completed: u32,
    /// Bytes that the servers read.
    pub up_bytes: u64,
    /// Bytes that the clients read.
    pub down_bytes: u64,
    /// Bits per second of each connection that moved bytes, from its beginning to the last byte read.
    pub goodput: Spread,
    /// From the beginning of a connection to the close of its client, in microseconds; completed ones only.
    pub duration_us: Spread,
    /// Jain's index of the goodputs: 1 if all are equal, 1/n if one has everything.
    pub fairness: f64,
    /// Segments that both ends sent again until their applications closed.
    pub retransmissions: u64,
}

/// How some numbers are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// Half are below it.
    pub median: f64,
    /// 95 of 100 are below it.
    pub p95: f64,
    /// 99 of 100 are below it.
    pub p99: f64,
    /// The most.
    pub max: f64,
    /// The sum.
    pub sum: f64,
}

impl Spread {
    /// Of these numbers; zeros if there are none.
    #[must_use]
    pub fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let at = |share: usize| numbers.get((numbers.len().saturating_sub(1)) * share / 100).copied();
        Self {
            min: at(0).unwrap_or_default(),
            median: at(50).unwrap_or_default(),
            p95: at(95).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: at(100).unwrap_or_default(),
            // The sum of nothing is -0.0.
            sum: numbers.iter().sum::<f64>() + 0.0,
        }
    }
}

/// Jain's index of fairness: 1 if all have the same (and of nobody), 1/n if one has everything, 0 if nobody has anything.
#[must_use]
pub fn jain(numbers: &[f64]) -> f64 {
    let sum: f64 = numbers.iter().sum();
    let squares: f64 = numbers.iter().map(|x| x * x).sum();
    match numbers.len() {
        0 => 1.0,
        _ if squares == 0.0 => 0.0,
        n => sum * sum / (n as f64 * squares),
    }
}

/// What one direction of a link did.
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    /// The link and its direction.
    pub link: String,
    /// Packets that came to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that came out at its end.
    pub delivered: u64,
    /// Packets lost, by cause.
    pub lost: Vec<(&'static str, u64)>,
    /// Packets marked (ECN).
    pub marked: u64,
    /// Packets that arrived twice.
    pub duplicated: u64,
    /// Packets that were held back.
    pub reordered: u64,
    /// Packets of which a bit was flipped.
    pub corrupted: u64,
    /// Most packets that waited at once.
    pub queue_packets: u32,
    /// Longest wait in the queue, in microseconds.
    pub queue_longest_us: u64,
    /// Mean wait of the packets that waited, in microseconds.
    pub queue_mean_us: u64,
}

/// One connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionReport {
    /// Name of its flow.
    pub flow: String,
    /// Its number in the flow.
    pub index: u32,
    /// When it began, in nanoseconds of virtual time.
    pub began_ns: u64,
    /// Bits per second, from its beginning to the last byte read.
    pub goodput: f64,
    /// The end that connected.
    pub client: EndReport,
    /// The end that accepted, if it got that far.
    pub server: Option<EndReport>,
}

/// One end of a connection.
#[derive(Clone, Debug, Serialize)]
pub struct EndReport {
    /// Bytes that its stack took.
    pub wrote: u64,
    /// Bytes that it read, all compared with what was sent.
    pub read: u64,
    /// When it was connected, in nanoseconds of virtual time.
    pub opened_ns: Option<u64>,
    /// When it let go of its socket.
    pub closed_ns: Option<u64>,
    /// What its application saw, in words.
    pub outcome: String,
    /// How its stack says that the connection ended; lastack only.
    pub ending: Option<String>,
    /// Segments that it sent again until its application closed; lastack only.
    pub retransmissions: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_one_for_equals_and_one_over_n_for_a_monopoly() {
        assert!((jain(&[5.0; 4]) - 1.0).abs() < 1e-12);
        assert!((jain(&[8.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        assert!((jain(&[]) - 1.0).abs() < 1e-12);
        assert!(jain(&[0.0; 3]).abs() < 1e-12);
    }

    #[test]
    fn a_spread_names_the_least_the_middle_and_the_most() {
        let spread = Spread::of((1..=101).rev().map(f64::from).collect());
        assert_eq!((spread.min, spread.median, spread.p99, spread.max), (1.0, 51.0, 100.0, 101.0));
        assert!(spread.p95.total_cmp(&96.0).is_eq());
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}

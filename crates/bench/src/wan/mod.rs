//! lastack and the running kernel as senders over the same bad road, in real time, one after the other or side by side.
//!
//! The receiver is the kernel, for both. Between them is the project's own emulator: a bottleneck of a rate with a drop-tail
//! queue, a delay each way, and losses and reordering of data (not of acknowledgements), seeded. Of two senders on the same point
//! the same packets are hit, by number. Connections side by side reach the bottleneck with a jitter of a twentieth of the
//! round trip, 1 ms at the most.

mod abreast;
mod road;
mod table;
mod traffic;

pub use table::{Section, fairness_table, table};

use crate::summary::Spread;
use abreast::Job;
use clap::ValueEnum;
use lastack::device::impair::Impairment;
use serde::Serialize;
use std::error::Error;
use std::time::Duration;

/// Least that a bottleneck's queue holds, in bytes.
const LEAST_QUEUE: u64 = 64 * 1500;

/// Most by which the way to the bottleneck differs.
const JITTER: Duration = Duration::from_millis(1);

/// A share that is lower by less than this is the same.
const LEVEL: f64 = 0.995;

/// A road.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Rate of the bottleneck in Mbit/s, IP headers included.
    pub rate: f64,
    /// Round-trip time without a queue, in ms.
    pub rtt: f64,
    /// Data packets lost, in per cent.
    pub loss: f64,
    /// Data packets that later ones overtake, in per cent: they are held back for a quarter of the round-trip time.
    pub reorder: f64,
}

impl Point {
    /// Bytes that may wait at the bottleneck: what the road holds (rate times round-trip time), 64 packets at the least.
    pub(crate) fn queue(&self) -> u64 {
        ((self.rate * 1e6 / 8.0 * self.rtt * 1e-3) as u64).max(LEAST_QUEUE)
    }

    /// By how much the way to the bottleneck differs from packet to packet. Connections side by side have different ways there,
    /// and their packets come in no particular order. Without that the one whose packets always come just after another's
    /// loses more of them at a full queue, and which one that is the machine decides: here it was lastack, a thread, behind the
    /// kernel's timers.
    fn jitter(&self, flows: usize) -> Duration {
        if flows < 2 { Duration::ZERO } else { Duration::from_secs_f64(self.rtt * 0.05e-3).min(JITTER) }
    }

    /// What happens to data, and to acknowledgements.
    fn impairments(&self) -> (Impairment, Impairment) {
        let rate = (self.rate * 1e6) as u64;
        let rtt = Duration::from_secs_f64(self.rtt * 1e-3);
        let back = Impairment { delay: rtt / 2, limit: usize::MAX, ..Impairment::default() };
        let forward = Impairment {
            rate: Some(rate),
            queue: Some(self.queue()),
            loss: self.loss * 1e-2,
            reorder: self.reorder * 1e-2,
            reorder_by: rtt / 4,
            ..back.clone()
        };
        (forward, back)
    }

    fn name(&self) -> String {
        let Self { rate, rtt, loss, reorder } = self;
        format!("{rate} Mbit/s, {rtt} ms, {loss} % lost, {reorder} % reordered")
    }
}

/// A stack that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// lastack.
    Lastack,
    /// The running kernel.
    Kernel,
}

/// One connection of a run.
#[derive(Clone, Debug)]
struct Flow {
    sender: Sender,
    congestion: String,
}

/// A point, a congestion control, and what both senders made of them.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The road.
    pub point: Point,
    /// Name of the congestion control, at both.
    pub congestion: String,
    /// Goodput of lastack's runs as a share of the rate, in order.
    pub lastack: Vec<f64>,
    /// The kernel's, each measured beside lastack's of the same place.
    pub kernel: Vec<f64>,
}

impl Outcome {
    /// lastack's goodput divided by the kernel's, round by round.
    #[must_use]
    pub fn ratio(&self) -> Spread {
        Spread::of(self.lastack.iter().zip(&self.kernel).map(|(ours, theirs)| ours / theirs))
    }

    /// lastack's median is not below all of the kernel's runs by more than half a hundredth of them.
    #[must_use]
    pub fn is_level(&self) -> bool {
        let (ours, theirs) =
            (Spread::of(self.lastack.iter().copied()), Spread::of(self.kernel.iter().copied()));
        ours.median >= theirs.min * LEVEL
    }
}

/// How often, how long, and how many at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Runs of everything.
    pub rounds: u16,
    /// Seconds of a run from its first byte on; `None`: as many as the kind of measurement wants.
    pub seconds: Option<f64>,
    /// Runs at once at the most, as long as their roads carry no more than 400 Mbit/s together.
    pub parallel: usize,
}

impl Plan {
    /// Of one connection by default: twenty round trips, two seconds at the least.
    fn time(&self, point: &Point) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or_else(|| (point.rtt * 20e-3).max(2.0)))
    }

    /// Of connections side by side, with what does not count of it: a third. BBR's connections come to an agreement by their
    /// common looks for the smallest round trip, which are ten seconds apart.
    fn shared_time(&self) -> (Duration, Duration) {
        let seconds = self.seconds.unwrap_or(45.0);
        (Duration::from_secs_f64(seconds / 3.0), Duration::from_secs_f64(seconds * 2.0 / 3.0))
    }
}

/// Measures one connection at each point, the senders in turns.
///
/// # Errors
/// Not root; a congestion control that one of the stacks does not have.
pub fn goodput(points: &[Point], congestions: &[String], plan: Plan) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let mut jobs = Vec::new();
    for (point, congestion) in each(points, congestions) {
        let rate = point.rate * 1e6;
        let time = plan.time(point) * 2;
        jobs.extend((0..plan.rounds).map(|round| Job { what: (point, congestion, round), rate, time }));
    }
    let pairs = abreast::run(&jobs, plan.parallel, |(point, congestion, round)| {
        pair(point, congestion, *round, plan.time(point))
    })?;
    let rounds = usize::from(plan.rounds);
    let outcome = |((point, congestion), pairs): ((&Point, &String), &[[f64; 2]])| Outcome {
        point: *point,
        congestion: congestion.clone(),
        lastack: pairs.iter().map(|pair| pair[0]).collect(),
        kernel: pairs.iter().map(|pair| pair[1]).collect(),
    };
    Ok(each(points, congestions).zip(pairs.chunks(rounds)).map(outcome).collect())
}

/// Every point with every congestion control.
fn each<'a>(points: &'a [Point], congestions: &'a [String]) -> impl Iterator<Item = (&'a Point, &'a String)> {
    points.iter().flat_map(move |point| congestions.iter().map(move |name| (point, name)))
}

/// Shares of the rate of lastack's connection and of the kernel's, one after the other.
fn pair(point: &Point, congestion: &str, round: u16, time: Duration) -> Result<[f64; 2], String> {
    let mut senders = [Sender::Lastack, Sender::Kernel];
    // Who comes first changes.
    senders.rotate_left(usize::from(round % 2));
    let mut shares = [0.0; 2];
    for sender in senders {
        let flow = Flow { sender, congestion: congestion.to_owned() };
        let bits = traffic::goodput(point, &[flow], round.into(), (Duration::ZERO, time))
            .map_err(|error| format!("{sender:?} with {congestion}, {}: {error}", point.name()))?;
        shares[sender as usize] = bits.iter().sum::<f64>() / (point.rate * 1e6);
    }
    Ok(shares)
}

/// Connections side by side on one road.
#[derive(Clone, Debug, Serialize)]
pub struct Shares {
    /// The road.
    pub point: Point,
    /// Name of the congestion control, of all.
    pub congestion: String,
    /// Who sends.
    pub senders: Vec<Sender>,
    /// Of each run, the connections' shares of the rate.
    pub runs: Vec<Vec<f64>>,
}

impl Shares {
    /// Jain's index of each run.
    #[must_use]
    pub fn jain(&self) -> Spread {
        Spread::of(self.runs.iter().map(|shares| lastack_sim::report::jain(shares)))
    }

    /// What one stack's connections have together, the middle one of the runs.
    fn together(&self, sender: Sender) -> f64 {
        let of = |shares: &Vec<f64>| -> f64 {
            self.senders
                .iter()
                .zip(shares)
                .filter(|(other, _)| **other == sender)
                .map(|(_, share)| share)
                .sum()
        };
        Spread::of(self.runs.iter().map(of)).median
    }
}

/// Who stands beside whom: lastack's alone, the kernel's alone, and both by halves.
fn fields() -> Vec<Vec<Sender>> {
    let counts = [2, 4, 16];
    let alone = |sender| counts.map(|count| vec![sender; count]);
    let mixed = counts.map(|count| [Sender::Lastack, Sender::Kernel].repeat(count / 2));
    [alone(Sender::Lastack), alone(Sender::Kernel), mixed].concat()
}

/// Measures connections side by side: 2, 4 and 16 of lastack, of the kernel, and of both by halves. The first third of the time
/// does not count.
///
/// # Errors
/// Those of [`goodput`].
pub fn fairness(points: &[Point], congestions: &[String], plan: Plan) -> Result<Vec<Shares>, Box<dyn Error>> {
    let (skip, time) = plan.shared_time();
    let fields = fields();
    let rows: Vec<_> = each(points, congestions)
        .flat_map(|(point, congestion)| fields.iter().map(move |senders| (point, congestion, senders)))
        .collect();
    let jobs: Vec<_> = rows
        .iter()
        .flat_map(|row| (0..plan.rounds).map(move |round| (*row, round)))
        .map(|what| Job { what, rate: what.0.0.rate * 1e6, time: skip + time })
        .collect();
    let runs = abreast::run(&jobs, plan.parallel, |((point, congestion, senders), round)| {
        let flow = |sender: &Sender| Flow { sender: *sender, congestion: (*congestion).clone() };
        let flows: Vec<_> = senders.iter().map(flow).collect();
        let bits = traffic::goodput(point, &flows, (*round).into(), (skip, time))
            .map_err(|error| format!("{congestion}: {error}"))?;
        Ok(bits.iter().map(|bits| bits / (point.rate * 1e6)).collect::<Vec<_>>())
    })?;
    let shares = rows.iter().zip(runs.chunks(plan.rounds.into())).map(|(row, runs)| {
        let (point, congestion, senders) = *row;
        let (congestion, senders) = (congestion.clone(), senders.clone());
        Shares { point: *point, congestion, senders, runs: runs.to_vec() }
    });
    Ok(shares.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: Point = Point { rate: 100.0, rtt: 50.0, loss: 1.0, reorder: 2.0 };

    #[test]
    fn queue_holds_what_the_road_does() {
        let (forward, back) = POINT.impairments();
        assert_eq!((forward.queue, forward.rate), (Some(625_000), Some(100_000_000)));
        assert_eq!(
            (forward.delay + back.delay, forward.reorder_by),
            (Duration::from_millis(50), Duration::from_micros(12_500))
        );
        assert_eq!((back.loss, back.rate, back.queue), (0.0, None, None));
        assert_eq!((POINT.jitter(1), POINT.jitter(2)), (Duration::ZERO, JITTER));
        let (short, _) = Point { rtt: 1.0, ..POINT }.impairments();
        assert_eq!(short.queue, Some(LEAST_QUEUE));
    }

    #[test]
    fn behind_is_below_every_run_of_the_kernel() {
        let outcome = |lastack: [f64; 3]| Outcome {
            point: POINT,
            congestion: "cubic".to_owned(),
            lastack: lastack.to_vec(),
            kernel: vec![0.5, 0.4, 0.6],
        };
        assert!(outcome([0.4, 0.3, 0.9]).is_level());
        assert!(!outcome([0.39, 0.3, 0.9]).is_level());
        assert!(table(&[outcome([0.2; 3])]).ends_with("| 100 | 50 | 1 | 2 | cubic | 20.0 % (20.0-20.0) | 50.0 % (40.0-60.0) | 0.40 (0.33-0.50) behind |\n"));
    }

    #[test]
    fn jain_is_one_for_equal_shares_and_one_nth_for_a_single_winner() {
        let shares = |runs: Vec<Vec<f64>>| Shares {
            point: POINT,
            congestion: "cubic".to_owned(),
            senders: vec![Sender::Lastack, Sender::Kernel],
            runs,
        };
        let equal = shares(vec![vec![0.4, 0.4]]);
        assert!((equal.jain().median - 1.0).abs() < 1e-12);
        assert!((shares(vec![vec![0.0, 0.7]]).jain().median - 0.5).abs() < 1e-12);
        assert!((equal.together(Sender::Kernel) - 0.4).abs() < 1e-12);
    }
}

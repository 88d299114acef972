//! lastack and the running kernel as senders over the same bad road, in real time, one after the other or side by side.
//!
//! The receiver is the kernel, for both. Between them is the project's own emulator: a bottleneck of a rate with a drop-tail
//! queue, a delay each way, and losses and reordering of data (not of acknowledgements), seeded. Of two senders on the same point
//! the same packets are hit, by number.

mod road;
mod traffic;

use crate::summary::Spread;
use clap::ValueEnum;
use lastack::device::impair::Impairment;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

/// Least that a bottleneck's queue holds, in bytes.
const LEAST_QUEUE: u64 = 64 * 1500;

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

    /// lastack's median is not below the kernel's, or within the kernel's runs.
    #[must_use]
    pub fn is_level(&self) -> bool {
        let (ours, theirs) =
            (Spread::of(self.lastack.iter().copied()), Spread::of(self.kernel.iter().copied()));
        ours.median >= theirs.min
    }
}

/// Measures one connection at each point, the senders in turns.
///
/// # Errors
/// Not root; a congestion control that one of the stacks does not have.
pub fn goodput(
    points: &[Point],
    congestions: &[String],
    rounds: u16,
    seconds: f64,
) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let mut outcomes = Vec::new();
    for (point, congestion) in
        points.iter().flat_map(|point| congestions.iter().map(move |name| (point, name)))
    {
        eprintln!("{}, {congestion} ...", point.name());
        let mut outcome = Outcome {
            point: *point,
            congestion: congestion.clone(),
            lastack: Vec::new(),
            kernel: Vec::new(),
        };
        for round in 0..rounds {
            let mut senders = [Sender::Lastack, Sender::Kernel];
            // Who comes first changes.
            senders.rotate_left(usize::from(round % 2));
            for sender in senders {
                let flow = Flow { sender, congestion: congestion.clone() };
                let time = Duration::from_secs_f64(seconds);
                let bits = traffic::goodput(point, &[flow], round.into(), Duration::ZERO, time)
                    .map_err(|error| format!("{sender:?} with {congestion}: {error}"))?;
                let share = bits.iter().sum::<f64>() / (point.rate * 1e6);
                match sender {
                    Sender::Lastack => outcome.lastack.push(share),
                    Sender::Kernel => outcome.kernel.push(share),
                }
            }
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
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
    /// Jain's index of each run: 1 if all have the same, 1/n if one has everything.
    #[must_use]
    pub fn jain(&self) -> Spread {
        Spread::of(self.runs.iter().map(|shares| {
            let (sum, squares) =
                shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
            if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
        }))
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

/// Who stands beside whom: lastack's alone, and beside the kernel's.
fn fields() -> Vec<Vec<Sender>> {
    let alone = [2, 4, 16].map(|count| vec![Sender::Lastack; count]);
    let mixed = [2, 4, 16].map(|count| [Sender::Lastack, Sender::Kernel].repeat(count / 2));
    alone.into_iter().chain(mixed).collect()
}

/// Measures connections side by side: 2, 4 and 16 of lastack, and of both stacks by halves. The first third of the time does not
/// count.
///
/// # Errors
/// Those of [`goodput`].
pub fn fairness(
    points: &[Point],
    congestions: &[String],
    rounds: u16,
    seconds: f64,
) -> Result<Vec<Shares>, Box<dyn Error>> {
    let mut all = Vec::new();
    for (point, congestion) in
        points.iter().flat_map(|point| congestions.iter().map(move |name| (point, name)))
    {
        for senders in fields() {
            eprintln!("{}, {congestion}, {} connections ...", point.name(), senders.len());
            let flows: Vec<_> = senders
                .iter()
                .map(|sender| Flow { sender: *sender, congestion: congestion.clone() })
                .collect();
            let (skip, time) = (seconds / 3.0, seconds * 2.0 / 3.0);
            let mut runs = Vec::new();
            for round in 0..rounds {
                let (skip, time) = (Duration::from_secs_f64(skip), Duration::from_secs_f64(time));
                let bits = traffic::goodput(point, &flows, round.into(), skip, time)
                    .map_err(|error| format!("{congestion}: {error}"))?;
                runs.push(bits.iter().map(|bits| bits / (point.rate * 1e6)).collect());
            }
            all.push(Shares { point: *point, congestion: congestion.clone(), senders, runs });
        }
    }
    Ok(all)
}

/// What a person reads of connections side by side.
#[must_use]
pub fn fairness_table(all: &[Shares]) -> String {
    let mut text = String::from(
        "| Mbit/s | RTT, ms | algorithm | lastack's | the kernel's | Jain's index | lastack together | kernel together |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for shares in all {
        let count = |sender| shares.senders.iter().filter(|other| **other == sender).count();
        let together = |sender| match count(sender) {
            0 => "-".to_owned(),
            _ => format!("{:.0} %", shares.together(sender) * 100.0),
        };
        let (Point { rate, rtt, .. }, jain) = (shares.point, shares.jain());
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "| {rate} | {rtt} | {} | {} | {} | {:.3} ({:.3}-{:.3}) | {} | {} |",
            shares.congestion,
            count(Sender::Lastack),
            count(Sender::Kernel),
            jain.median,
            jain.min,
            jain.max,
            together(Sender::Lastack),
            together(Sender::Kernel),
        );
    }
    text
}

/// What a person reads.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| Mbit/s | RTT, ms | lost, % | reordered, % | algorithm | lastack | kernel | lastack / kernel |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for outcome in outcomes {
        let Point { rate, rtt, loss, reorder } = outcome.point;
        let share = |runs: &[f64]| {
            let Spread { median, min, max } = Spread::of(runs.iter().map(|share| share * 100.0));
            format!("{median:.1} % ({min:.1}-{max:.1})")
        };
        let (ours, theirs, ratio) = (share(&outcome.lastack), share(&outcome.kernel), outcome.ratio());
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "| {rate} | {rtt} | {loss} | {reorder} | {} | {ours} | {theirs} | {:.2} ({:.2}-{:.2}){} |",
            outcome.congestion,
            ratio.median,
            ratio.min,
            ratio.max,
            if outcome.is_level() { "" } else { " behind" },
        );
    }
    text
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

//! What a person reads of the runs, and the part of the documentation that is written from them.

use super::{Outcome, Plan, Point, Sender, Shares};
use crate::summary::Spread;
use std::fmt::Write as _;

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

/// A part of a page: the table of a measurement, with what has to be known of it.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name of its marks.
    pub name: &'static str,
    /// The text.
    pub text: String,
}

impl Section {
    /// Of [`goodput`](super::goodput).
    #[must_use]
    pub fn goodput(outcomes: &[Outcome], plan: Plan, machine: &str) -> Self {
        let level = outcomes.iter().filter(|outcome| outcome.is_level()).count();
        let seconds = plan.seconds.map_or_else(
            || "of twenty round trips (2 s at the least)".to_owned(),
            |seconds| format!("of {seconds} s"),
        );
        let text = format!(
            "{} runs {seconds} each, up to {} at once, {machine}. Level with the kernel or ahead at {level} of {} points:\n\n{}",
            plan.rounds,
            plan.parallel,
            outcomes.len(),
            table(outcomes)
        );
        Self { name: "wan", text }
    }

    /// Of [`fairness`](super::fairness).
    #[must_use]
    pub fn fairness(all: &[Shares], plan: Plan, machine: &str) -> Self {
        let (skip, time) = plan.shared_time();
        let text = format!(
            "Runs of each: {}; {} s, of which the first {} s do not count; {machine}:\n\n{}",
            plan.rounds,
            (skip + time).as_secs(),
            skip.as_secs(),
            fairness_table(all)
        );
        Self { name: "fairness", text }
    }
}

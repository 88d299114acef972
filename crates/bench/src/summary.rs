//! Timed runs, the two stacks in turns, and what a person reads of them.

use crate::workload::{Case, Peer, Unit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::time::Instant;

/// One timed run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// Bytes or connections.
    pub work: u64,
    /// Seconds of this thread's CPU time.
    pub cpu: f64,
    /// Seconds on the wall.
    pub wall: f64,
    /// Packets, both directions.
    pub packets: u64,
    /// Packets from the sender (bulk), or all (churn).
    pub segments: u64,
}

/// Median, least and greatest of some runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, which must not be empty.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, min: values[0], max: values[values.len() - 1] }
    }
}

/// All runs of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the case.
    pub case: &'static str,
    /// `Gbit/s` or `connections/s`, both per second of CPU time.
    pub unit: &'static str,
    /// lastack's rate.
    pub lastack: Spread,
    /// smoltcp's rate.
    pub smoltcp: Spread,
    /// lastack's rate divided by smoltcp's, run by run.
    pub ratio: Spread,
    /// Nanoseconds of CPU time per segment (bulk) or connection (churn), medians: lastack, smoltcp.
    pub nanos: [f64; 2],
    /// Packets per segment (bulk) or connection (churn): lastack, smoltcp.
    pub packets: [f64; 2],
    /// Every run, in the order in which they were made.
    pub runs: Vec<[Run; 2]>,
}

/// CPU time of this thread in seconds.
fn cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// One run on a fresh pair of stacks.
fn run(case: Case, peer: Peer, window: usize, percent: u64) -> Run {
    let mut workload = case.prepare(peer, window);
    let work = (case.work(peer) * percent / 100).max(1);
    let (packets, segments) = (workload.packets(), workload.segments());
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    workload.run(work);
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    Run { work, cpu, wall, packets: workload.packets() - packets, segments: workload.segments() - segments }
}

/// Runs `case` `runs` times on each stack, in turns; `window` is that of the bulk cases in bytes, and `percent` scales the work of
/// a run.
#[must_use]
pub fn measure(case: Case, window: usize, runs: usize, percent: u64) -> Outcome {
    let runs: Vec<[Run; 2]> =
        (0..runs.max(1)).map(|_| Peer::ALL.map(|peer| run(case, peer, window, percent))).collect();
    let (unit, scale) = match case.unit() {
        Unit::Byte => ("Gbit/s", 8e-9),
        Unit::Connection => ("connections/s", 1.0),
    };
    let rate = |r: &Run| r.work as f64 * scale / r.cpu;
    // Of what the nanoseconds and packets are given: segments, or connections.
    let parts = |r: &Run| match case.unit() {
        Unit::Byte => r.segments as f64,
        Unit::Connection => r.work as f64,
    };
    let nanos = |i: usize| Spread::of(runs.iter().map(|r| r[i].cpu * 1e9 / parts(&r[i]))).median;
    let packets = |i: usize| Spread::of(runs.iter().map(|r| r[i].packets as f64 / parts(&r[i]))).median;
    Outcome {
        case: case.name(),
        unit,
        lastack: Spread::of(runs.iter().map(|r| rate(&r[0]))),
        smoltcp: Spread::of(runs.iter().map(|r| rate(&r[1]))),
        ratio: Spread::of(runs.iter().map(|r| rate(&r[0]) / rate(&r[1]))),
        nanos: [nanos(0), nanos(1)],
        packets: [packets(0), packets(1)],
        runs,
    }
}

/// A number with three or four digits that mean something.
fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1000.0),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn cell(s: Spread) -> String {
    format!("{} ({}-{})", short(s.median), short(s.min), short(s.max))
}

/// The outcomes as a table: median (least-greatest).
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut out = format!(
        "{:<17} {:<14} {:>21} {:>21} {:>21} {:>15} {:>13}\n",
        "case", "per CPU second", "lastack", "smoltcp", "lastack/smoltcp", "ns/seg or conn", "packets/same"
    );
    for o in outcomes {
        out += &format!(
            "{:<17} {:<14} {:>21} {:>21} {:>21} {:>15} {:>13}\n",
            o.case,
            o.unit,
            cell(o.lastack),
            cell(o.smoltcp),
            cell(o.ratio),
            format!("{:.0} / {:.0}", o.nanos[0], o.nanos[1]),
            format!("{:.2} / {:.2}", o.packets[0], o.packets[1]),
        );
    }
    out
}

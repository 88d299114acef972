//! `lastack run` beside slirp4netns and pasta: programs of a network namespace that talk to a server behind the host.
//!
//! Three network namespaces: the server's, the host's (this process, once it has [entered](place::Place::new) it), joined by a
//! veth pair, and the program's, which the tool under test gives its network. Nothing leaves them.

pub mod load;
pub mod place;

use crate::summary::Spread;
use clap::ValueEnum;
use load::Load;
use place::Place;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

/// What gives the program its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// `lastack run`.
    Lastack,
    /// slirp4netns.
    Slirp4netns,
    /// pasta, of passt.
    Pasta,
}

impl Tool {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 3] = [Self::Lastack, Self::Slirp4netns, Self::Pasta];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lastack => "lastack",
            Self::Slirp4netns => "slirp4netns",
            Self::Pasta => "pasta",
        }
    }
}

/// A load, and the MTU that it is done with.
pub type Case = (Load, u16);

/// The cases: throughput of 1 and 8 streams both ways, new connections, and the time of a byte there and back.
#[must_use]
pub fn cases() -> Vec<Case> {
    let streams = [
        Load::Upload { streams: 1 },
        Load::Upload { streams: 8 },
        Load::Download { streams: 1 },
        Load::Download { streams: 8 },
    ];
    let all = streams.into_iter().chain([Load::Churn, Load::Latency]);
    [1500, 65520].into_iter().flat_map(|mtu| all.clone().map(move |load| (load, mtu))).collect()
}

/// What a run found out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// Gbit/s, connections/s, or round trips/s.
    pub rate: f64,
    /// CPU time of the tool, as a share of one processor.
    pub cpu: f64,
}

impl Run {
    fn failed(&self) -> bool {
        self.rate.is_nan()
    }
}

/// All runs of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The load.
    pub case: String,
    /// MTU of the program's interface in bytes.
    pub mtu: u16,
    /// What rates are in.
    pub unit: &'static str,
    /// Of each tool: its name, its runs in order, and their rates.
    pub tools: Vec<(Tool, Vec<Run>)>,
}

impl Outcome {
    fn of(&self, tool: Tool) -> Option<&[Run]> {
        self.tools.iter().find(|(other, _)| *other == tool).map(|(_, runs)| &runs[..])
    }

    /// lastack's figures divided by another's, round by round.
    #[must_use]
    pub fn ratio(&self, other: Tool, figure: impl Fn(&Run) -> f64) -> Option<Spread> {
        let (ours, theirs) = (self.of(Tool::Lastack)?, self.of(other)?);
        Some(Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs))))
    }
}

/// Measures the cases, the tools in turns.
///
/// A tool that does not do its work, but for lastack, has no figures for the case (NaN).
///
/// # Errors
/// lastack is not there or does not do its work; not root.
pub fn measure(
    lastack: &Path,
    tools: &[Tool],
    cases: &[Case],
    rounds: usize,
    seconds: f64,
) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let place = Place::new(lastack)?;
    let mut outcomes = Vec::new();
    for (load, mtu) in cases {
        eprintln!("{} with MTU {mtu} ...", load.name());
        let mut results: Vec<_> = tools.iter().map(|tool| (*tool, Vec::new())).collect();
        for _ in 0..rounds {
            for (tool, runs) in &mut results {
                if runs.iter().any(Run::failed) {
                    continue;
                }
                match place.run(*tool, *load, *mtu, seconds) {
                    Ok(run) => runs.push(run),
                    Err(error) if *tool == Tool::Lastack => return Err(error),
                    // Another tool that does not do its work is a result.
                    Err(error) => {
                        eprintln!("{error}");
                        *runs = vec![Run { rate: f64::NAN, cpu: f64::NAN }];
                    }
                }
            }
        }
        outcomes.push(Outcome { case: load.name(), mtu: *mtu, unit: load.unit(), tools: results });
    }
    Ok(outcomes)
}

/// What a person reads.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let tools: Vec<Tool> =
        outcomes.first().map(|first| first.tools.iter().map(|(tool, _)| *tool).collect()).unwrap_or_default();
    let others: Vec<Tool> = tools.iter().copied().filter(|tool| *tool != Tool::Lastack).collect();
    let names = |tools: &[Tool], what: &str| {
        tools.iter().map(|tool| format!(" {what}{} |", tool.name())).collect::<String>()
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "| case | MTU |{}{}{}",
        names(&tools, ""),
        names(&others, "lastack / "),
        names(&others, "CPU per work, lastack / ")
    );
    let columns = 2 + tools.len() + 2 * others.len();
    let _ = writeln!(text, "|{}", " --- |".repeat(columns));
    for outcome in outcomes {
        let _ = write!(text, "| {}, {} | {} |", outcome.case, outcome.unit, outcome.mtu);
        for (_, runs) in &outcome.tools {
            let _ = write!(text, " {} |", number(Spread::of(runs.iter().map(|run| run.rate)).median));
        }
        let ratios = |figure: fn(&Run) -> f64| {
            others.iter().filter_map(move |other| outcome.ratio(*other, figure)).map(|ratio| {
                if ratio.median.is_nan() {
                    return " - |".to_owned();
                }
                format!(" {} ({}-{}) |", number(ratio.median), number(ratio.min), number(ratio.max))
            })
        };
        text.extend(ratios(|run| run.rate));
        text.extend(ratios(|run| run.cpu / run.rate));
        text.push('\n');
    }
    text
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let runs = |rates: [f64; 3]| rates.map(|rate| Run { rate, cpu: 0.5 }).to_vec();
        let outcome = Outcome {
            case: "upload".to_owned(),
            mtu: 1500,
            unit: "Gbit/s",
            tools: vec![(Tool::Lastack, runs([2.0, 4.0, 9.0])), (Tool::Pasta, runs([1.0, 4.0, 3.0]))],
        };
        let ratio = outcome.ratio(Tool::Pasta, |run| run.rate).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
        assert!(outcome.ratio(Tool::Slirp4netns, |run| run.rate).is_none());
        let text = table(&[outcome]);
        assert_eq!(
            text,
            "| case | MTU | lastack | pasta | lastack / pasta | CPU per work, lastack / pasta |\n\
             | --- | --- | --- | --- | --- | --- |\n\
             | upload, Gbit/s | 1500 | 4.00 | 3.00 | 2.00 (1.00-3.00) | 0.50 (0.33-1.00) |\n"
        );
    }
}

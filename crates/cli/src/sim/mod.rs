//! `lastack sim`: a network of real stacks in virtual time.

mod plot;
mod text;

use crate::output;
use clap::{Parser, Subcommand};
use lastack_sim::{Capture, Options, Report, Scenario, library, random_scenario, run_with};
pub use plot::{End, PlotArgs};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stderr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Progress is shown this often.
const REFRESH: Duration = Duration::from_millis(500);

const NOTES: &str = "\
Examples:
  lastack sim list
  lastack sim lossy-wifi
  lastack sim bufferbloat --seed 7 --json | jq '.flows'
  lastack sim partition --capture partition.pcapng
  lastack sim satellite --plot satellite.svg
  lastack sim lossy-wifi --plot detail.png --plot-span 1.2..1.5
  lastack sim short-connections --seeds 1..101
  lastack sim show satellite > mine.toml && lastack sim ./mine.toml
  lastack sim soak --seeds 1..1001        another scenario for each seed, made by chance
  lastack sim soak --seed 42              one of them again; 'lastack sim show soak --seed 42' prints it

The same scenario and seed give the same packets on every machine; the digest says whether they did.

Exit status: 0 if every run passed, 1 if one failed, 2 for bad usage or a file that cannot be read or written.";

const JSON_FIELDS: &str = "\
JSON: an object per run (one line each with --seeds), times in virtual time:
  scenario, seed, digest, packets, time_ns
  failures:    kind, text; empty if the run passed
  faults:      place, fault, fired
  flows:       flow, connections, completed, up_bytes, down_bytes, goodput and duration_us (min, median, p95, p99,
               max, sum), fairness (Jain's index of the goodputs), retransmissions
  fairness:    the same index over all connections
  links:       link, packets, bytes, delivered, lost (cause and number), marked, duplicated, reordered, corrupted,
               queue_packets, queue_longest_us, queue_mean_us
  connections: flow, index, began_ns, goodput, client and server: wrote, read, opened_ns, closed_ns, outcome,
               ending, retransmissions";

/// Run a scenario: real stacks, links with faults, routers, middleboxes and applications, in virtual time.
///
/// Every byte is checked where it is read, every connection has to be accounted for at the end, and a fault that was asked
/// for has to happen. No privileges are needed.
#[derive(Debug, Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_usage = "lastack sim [OPTIONS] SCENARIO\n       lastack sim list\n       lastack sim show NAME",
    after_help = NOTES,
    after_long_help = format!("{NOTES}\n\n{JSON_FIELDS}")
)]
pub struct Sim {
    /// What else to do.
    #[command(subcommand)]
    pub verb: Option<SimVerb>,
    /// A scenario's name (see 'lastack sim list'), a file that ends in .toml, or 'soak' for one that each seed makes by chance
    #[arg(required = true, value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Where chance begins
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "seeds")]
    pub seed: u64,
    /// Run with each of these seeds, the last one not included
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<Range<u64>>,
    /// Runs at the same time, with --seeds; default: one per processor
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print each connection too
    #[arg(long)]
    pub connections: bool,
    /// Write the packets of a link, as seen at its first end, to FILE (pcapng, virtual time, opens in Wireshark)
    #[arg(long, value_name = "FILE.pcapng", conflicts_with = "seeds")]
    pub capture: Option<PathBuf>,
    /// The link to capture; default: the first of the scenario
    #[arg(long, value_name = "NAME", requires = "capture")]
    pub link: Option<String>,
    /// What to draw
    #[command(flatten)]
    pub plot: PlotArgs,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum SimVerb {
    /// List the scenarios, with a sentence each
    List,
    /// Print a scenario as TOML, to begin one of your own with
    Show {
        /// Its name
        name: String,
        /// Of 'soak': the seed that makes it
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "it takes two numbers as in 1..101, the first below the second".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.trim().parse().map_err(|_| wrong())?..to.trim().parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

/// Does what the command line says.
pub fn main(args: Sim) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(crate::FAILED),
        Err(message) => {
            output::error(&message);
            ExitCode::from(crate::FAILURE)
        }
    }
}

fn run(mut args: Sim) -> Result<bool, String> {
    match args.verb.take() {
        Some(SimVerb::List) => return output::write(None, &text::list()?).map(|()| true),
        Some(SimVerb::Show { name, seed }) if name == SOAK => {
            return output::write(None, &random_scenario(seed).to_toml()?).map(|()| true);
        }
        Some(SimVerb::Show { name, .. }) => {
            let entry = library().iter().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| unknown(&name))?;
            return output::write(None, entry.text).map(|()| true);
        }
        None => {}
    }
    let name = args.scenario.take().unwrap_or_default();
    let source = if name == SOAK { Source::Chance } else { Source::Fixed(Box::new(load(&name)?)) };
    match args.seeds.take() {
        Some(seeds) => many(&args, &name, &source, seeds),
        None => one(&args, &source.scenario(args.seed)),
    }
}

/// The name under which each seed makes a scenario of its own.
const SOAK: &str = "soak";

/// Where scenarios come from.
enum Source {
    Fixed(Box<Scenario>),
    Chance,
}

impl Source {
    fn scenario(&self, seed: u64) -> Cow<'_, Scenario> {
        match self {
            Self::Fixed(scenario) => Cow::Borrowed(scenario),
            Self::Chance => Cow::Owned(random_scenario(seed)),
        }
    }
}

fn unknown(name: &str) -> String {
    format!("there is no scenario '{name}'; see 'lastack sim list', or give a file that ends in .toml")
}

/// A scenario of the library or of a file.
fn load(name: &str) -> Result<Scenario, String> {
    if let Some(entry) = library().iter().find(|entry| entry.name == name) {
        return entry.scenario();
    }
    if !Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("toml")) {
        return Err(unknown(name));
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("cannot read {name}: {error}"))?;
    Scenario::parse(&text).map_err(|error| format!("{name}: {}", error.trim_end()))
}

fn one(args: &Sim, scenario: &Scenario) -> Result<bool, String> {
    let mut options = Options::default();
    if let Some(path) = &args.capture {
        let file = File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let writer = Box::new(BufWriter::new(file));
        options.capture = Some(Capture { link: args.link.clone(), writer });
    }
    args.plot.prepare(&mut options);
    let visible = stderr().is_terminal();
    if visible {
        let mut shown = Instant::now();
        options.progress = Some(Box::new(move |time, packets| {
            if shown.elapsed() >= REFRESH {
                shown = Instant::now();
                // Progress that cannot be shown is no error.
                let _ = write!(stderr(), "\r\x1b[K{:.1} s, {packets} packets", time.as_secs_f64());
            }
        }));
    }
    let report = run_with(scenario, args.seed, options);
    if visible {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    let report = report?;
    args.plot.draw(&report)?;
    let text = if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        format!("{text}\n")
    } else {
        text::report(scenario, &report, args.connections)
    };
    output::write(None, &text)?;
    Ok(report.passed())
}

/// Runs with many seeds, some at the same time; prints in their order.
fn many(args: &Sim, name: &str, source: &Source, seeds: Range<u64>) -> Result<bool, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from);
    let next = AtomicU64::new(seeds.start);
    let end = seeds.end;
    let started = Instant::now();
    let (to, from) = mpsc::channel::<(u64, Result<Report, String>)>();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (to, next) = (to.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run_with(&source.scenario(seed), seed, Options::default());
                    // Nobody listens any more after an error.
                    if to.send((seed, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to);
        let result = collect(args, name, &seeds, &from);
        // Those who still run find no more work.
        next.store(end, Ordering::Relaxed);
        let tally = result?;
        if !args.json {
            output::write(None, &text::totals(&seeds, &tally, started.elapsed()))?;
        }
        Ok(tally.failed == 0)
    })
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    failed: u64,
    packets: u64,
    virtual_ns: u128,
}

/// A line of a terminal that says how far a long run is. It stays until something else is to be written there.
struct ProgressLine<W> {
    to: W,
    /// When it was last written, if it is there.
    shown: Option<Instant>,
}

impl<W: Write> ProgressLine<W> {
    fn new(to: W) -> Self {
        Self { to, shown: None }
    }

    /// Writes the line anew, but not too often.
    fn show(&mut self, text: &str) {
        if self.shown.is_none_or(|at| at.elapsed() >= REFRESH) {
            self.shown = Some(Instant::now());
            // Progress that cannot be shown is no error.
            let _ = write!(self.to, "\r\x1b[K{text}");
        }
    }

    /// Takes the line away, if it is there.
    fn erase(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(self.to, "\r\x1b[K");
        }
    }
}

fn collect(
    args: &Sim,
    name: &str,
    seeds: &Range<u64>,
    from: &mpsc::Receiver<(u64, Result<Report, String>)>,
) -> Result<Tally, String> {
    let mut progress = stderr().is_terminal().then(|| ProgressLine::new(stderr()));
    let all = seeds.end - seeds.start;
    let mut tally = Tally::default();
    let mut early = BTreeMap::new();
    let mut next = seeds.start;
    for (seed, report) in from {
        early.insert(seed, report?);
        while let Some(report) = early.remove(&next) {
            next += 1;
            tally.runs += 1;
            tally.failed += u64::from(!report.passed());
            tally.packets += report.packets;
            tally.virtual_ns += u128::from(report.time_ns);
            let text = if args.json {
                let text = serde_json::to_string(&report).map_err(|error| error.to_string())?;
                format!("{text}\n")
            } else if report.passed() {
                continue;
            } else {
                text::failed_seed(name, &report)
            };
            progress.iter_mut().for_each(ProgressLine::erase);
            output::write(None, &text)?;
        }
        if let Some(progress) = &mut progress {
            progress.show(&format!("{} of {all} seeds, {} failed", tally.runs, tally.failed));
        }
    }
    progress.iter_mut().for_each(ProgressLine::erase);
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_progress_stays_until_something_else_is_written() {
        let mut written = Vec::new();
        let mut line = ProgressLine::new(&mut written);
        line.erase();
        line.show("1 of 9");
        line.show("2 of 9");
        line.erase();
        line.erase();
        line.show("3 of 9");
        assert_eq!(String::from_utf8(written).expect("text"), "\r\x1b[K1 of 9\r\x1b[K\r\x1b[K3 of 9");
    }

    #[test]
    fn ranges_of_seeds_are_read_as_rust_writes_them() {
        assert_eq!(seeds("1..101"), Ok(1..101));
        assert!(seeds("5..5").is_err());
        assert!(seeds("7").is_err());
        assert!(seeds("a..b").is_err());
    }
}

//! `lastack check`: every schedule explored.

use crate::args::{Check, CheckBudget};
use crate::demo::capture;
use crate::demo::story::Story;
use crate::demo::text::{self, Heading, Look};
use crate::output;
use lastack_check::{Configuration, Limits, Progress, Report, Violation};
use lastack_sim::Side;
use serde::Serialize;
use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A rule was broken.
const BROKEN: u8 = 1;
/// Progress is shown this often.
const REFRESH: Duration = Duration::from_millis(500);

/// An entry of `--json`.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    states: usize,
    transitions: usize,
    depth: usize,
    seconds: f64,
    complete: bool,
    violation: Option<Breach>,
}

#[derive(Debug, Serialize)]
struct Breach {
    rule: &'static str,
    what: String,
    steps: usize,
    files: Vec<PathBuf>,
}

/// Explores what was asked for.
pub fn main(args: &Check) -> ExitCode {
    match check(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(message) => {
            output::error(&message);
            ExitCode::from(crate::FAILURE)
        }
    }
}

fn check(args: &Check) -> Result<bool, String> {
    let configurations = choose(args)?;
    if args.list {
        let line = |c: &Configuration| {
            let list = if c.short { "short" } else { "long" };
            format!("{:<30} {list:<6} {}\n", c.name, c.summary)
        };
        return output::write(None, &configurations.iter().map(line).collect::<String>()).map(|()| true);
    }
    if args.show {
        for configuration in &configurations {
            let schedule = lastack_check::undisturbed(configuration);
            output::write(None, &ladder(configuration, configuration.summary, &schedule))?;
        }
        return Ok(true);
    }
    let started = Instant::now();
    let mut entries = Vec::new();
    for configuration in &configurations {
        let report = explore(args, configuration);
        if !args.json {
            output::write(None, &line(&report))?;
        }
        let violation = report.violation.as_ref();
        let violation = violation.map(|violation| tell(args, configuration, violation)).transpose()?;
        entries.push(Entry {
            name: report.name,
            states: report.states,
            transitions: report.transitions,
            depth: report.depth,
            seconds: rounded(report.time),
            complete: report.complete,
            violation,
        });
    }
    let whole = entries.iter().all(|entry| entry.violation.is_none());
    let text = if args.json {
        let text = serde_json::to_string_pretty(&entries).map_err(|error| error.to_string())?;
        format!("{text}\n")
    } else {
        totals(&entries, started.elapsed())
    };
    output::write(None, &text)?;
    Ok(whole)
}

fn choose(args: &Check) -> Result<Vec<Configuration>, String> {
    let mut all = lastack_check::configurations();
    if let Some(name) = args.names.iter().find(|name| !all.iter().any(|c| c.name.contains(name.as_str()))) {
        return Err(format!("no configuration has '{name}' in its name; see 'lastack check --list'"));
    }
    let named = |c: &Configuration| args.names.iter().any(|name| c.name.contains(name.as_str()));
    let every = args.all || args.list;
    all.retain(|c| if args.names.is_empty() { every || c.short } else { named(c) });
    Ok(all)
}

fn explore(args: &Check, configuration: &Configuration) -> Report {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits {
        transitions: match args.budget {
            Some(CheckBudget::Transitions(n)) => Some(n),
            _ => None,
        },
        time: match args.budget {
            Some(CheckBudget::Time(time)) => Some(time),
            _ => None,
        },
        threads: args.threads.map_or(cores, usize::from),
    };
    let visible = stderr().is_terminal();
    let mut shown = Instant::now();
    let mut progress = |p: Progress| {
        if visible && shown.elapsed() >= REFRESH {
            shown = Instant::now();
            let name = &configuration.name;
            // Progress that cannot be shown is no error.
            let _ = write!(
                stderr(),
                "\r\x1b[K{name}: {} states, depth {}, {:.0} s",
                p.states,
                p.depth,
                p.time.as_secs_f64()
            );
        }
    };
    let report = lastack_check::explore(configuration, limits, &mut progress);
    if visible {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    report
}

fn line(report: &Report) -> String {
    let end = match (&report.violation, report.complete) {
        (Some(_), _) => "BROKEN",
        (None, true) => "complete",
        (None, false) => "stopped by the budget",
    };
    format!(
        "{:<30} {:>10} states {:>11} transitions  depth {:>3} {:>7.1} s  {end}\n",
        report.name,
        report.states,
        report.transitions,
        report.depth,
        rounded(report.time)
    )
}

fn totals(entries: &[Entry], time: Duration) -> String {
    let states: usize = entries.iter().map(|entry| entry.states).sum();
    let complete = entries.iter().filter(|entry| entry.complete).count();
    let broken = entries.iter().filter(|entry| entry.violation.is_some()).count();
    format!(
        "{} configurations, {complete} complete, {broken} broken; {states} distinct states in {:.1} s\n",
        entries.len(),
        rounded(time)
    )
}

/// Draws a violation and writes its files.
fn tell(args: &Check, configuration: &Configuration, violation: &Violation) -> Result<Breach, String> {
    let rule = violation.broken.rule.text();
    let what = &violation.broken.what;
    let log = lastack_check::replay(configuration, &violation.schedule);
    let stem = configuration.name.replace('/', "-");
    let path = |end: &str| args.output.join(format!("{stem}{end}"));
    let packets = path(".pcapng");
    capture::write(&packets, &log).map_err(|error| format!("cannot write {}: {error}", packets.display()))?;
    let mut files = vec![packets];
    for (side, end) in [(Side::A, "-a.pkt"), (Side::B, "-b.pkt")] {
        let to = path(end);
        output::write(Some(&to), &lastack_check::script(configuration, &log, side))?;
        files.push(to);
    }
    if !args.json {
        let summary = format!("Broken: {rule}. {what}.");
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let ladder = ladder(configuration, &summary, &violation.schedule);
        output::write(None, &format!("\n{ladder}\nWritten: {}\n\n", names.join(", ")))?;
    }
    Ok(Breach { rule, what: what.clone(), steps: violation.schedule.len(), files })
}

fn ladder(configuration: &Configuration, summary: &str, schedule: &[lastack_check::Action]) -> String {
    let log = lastack_check::replay(configuration, schedule);
    let look = Look { ascii: output::ascii_only(), colour: output::colour(), full: true, why: false };
    text::draw(&Story::new(&log), Heading { title: &configuration.name, summary, has_opening: true }, look)
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use lastack_check::{Broken, Rule};

    #[test]
    fn violation_leaves_a_capture_and_a_script_for_each_end() {
        let directory = std::env::temp_dir().join(format!("lastack-check-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let args =
            Check::try_parse_from(["check", "--json", "--output", directory.to_str().unwrap()]).unwrap();
        let configuration = &lastack_check::configurations()[0];
        let broken = Broken { rule: Rule::Finished, what: "A still has a record".to_owned() };
        let violation = Violation { broken, schedule: lastack_check::undisturbed(configuration) };
        let breach = tell(&args, configuration, &violation).unwrap();
        let names: Vec<_> =
            breach.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["client-closes-reorder.pcapng", "client-closes-reorder-a.pkt", "client-closes-reorder-b.pkt"]
        );
        for file in &breach.files {
            assert!(std::fs::metadata(file).unwrap().len() > 200, "{}", file.display());
        }
        assert_eq!((breach.rule, breach.steps), (Rule::Finished.text(), violation.schedule.len()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

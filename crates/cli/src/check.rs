//! `lastack check`: every schedule explored.

use crate::args::{Check, CheckBudget};
use crate::demo::capture;
use crate::demo::story::Story;
use crate::demo::text::{self, Heading, Look};
use crate::output;
use lastack_check::{Configuration, Limits, Progress, Report, Violation};
use lastack_sim::Side;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{IsTerminal, Read, Write, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A rule was broken.
const BROKEN: u8 = 1;
/// Progress is shown this often.
const REFRESH: Duration = Duration::from_millis(500);

/// An entry of `--json`, and a line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    states: usize,
    transitions: usize,
    depth: usize,
    seconds: f64,
    complete: bool,
    stopped: Option<Cow<'static, str>>,
    violation: Option<Breach>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Breach {
    rule: Cow<'static, str>,
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
    let run = Run::new(args, configurations)?;
    let threads = run.threads.min(run.configurations.len()).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work())).collect();
        // A panic here is a fault of the checker itself, which the standard message tells.
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "the search failed".to_owned())?)
    })?;
    let entries = run.entries();
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

/// What the workers share.
struct Run<'a> {
    args: &'a Check,
    configurations: Vec<Configuration>,
    threads: usize,
    next: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    entries: BTreeMap<usize, Entry>,
    results: Option<File>,
    shown: Instant,
}

impl<'a> Run<'a> {
    /// With the results of an earlier run, if there are some.
    fn new(args: &'a Check, configurations: Vec<Configuration>) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        let mut results = None;
        if let Some(path) = &args.results {
            let failed = |error: &dyn Display| format!("{}: {error}", path.display());
            let open = File::options().read(true).append(true).create(true).open(path);
            let mut file = open.map_err(|error| failed(&error))?;
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|error| failed(&error))?;
            for line in text.lines() {
                let entry: Entry = serde_json::from_str(line).map_err(|error| failed(&error))?;
                let at = configurations.iter().position(|c| c.name == entry.name);
                entries.extend(at.filter(|_| entry.complete).map(|at| (at, entry)));
            }
            results = Some(file);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let state = Mutex::new(State { entries, results, shown: Instant::now() });
        let threads = args.threads.map_or(cores, usize::from);
        Ok(Self { args, configurations, threads, next: AtomicUsize::new(0), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> Vec<Entry> {
        self.state().entries.values().cloned().collect()
    }

    /// Explores one configuration after the other until there is none left.
    fn work(&self) -> Result<(), String> {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(configuration) = self.configurations.get(at) else { return Ok(()) };
            if self.state().entries.contains_key(&at) {
                continue;
            }
            let report = self.explore(configuration);
            let mut state = self.state();
            if stderr().is_terminal() {
                let _ = write!(stderr(), "\r\x1b[K");
            }
            if !self.args.json {
                output::write(None, &line(&report))?;
            }
            let violation = report.violation.as_ref();
            let violation =
                violation.map(|violation| tell(self.args, configuration, violation)).transpose()?;
            let entry = Entry {
                complete: report.complete(),
                name: report.name,
                states: report.states,
                transitions: report.transitions,
                depth: report.depth,
                seconds: rounded(report.time),
                stopped: report.stopped.map(|stop| Cow::Borrowed(stop.name())),
                violation,
            };
            if let Some(file) = &mut state.results {
                let line = serde_json::to_string(&entry).map_err(|error| error.to_string())?;
                writeln!(file, "{line}").map_err(|error| format!("the file of results: {error}"))?;
            }
            state.entries.insert(at, entry);
        }
    }

    fn explore(&self, configuration: &Configuration) -> Report {
        let args = self.args;
        let limits = Limits {
            transitions: match args.budget {
                Some(CheckBudget::Transitions(n)) => Some(n),
                _ => None,
            },
            time: match args.budget {
                Some(CheckBudget::Time(time)) => Some(time),
                _ => None,
            },
            memory: Some((args.memory as usize) << 20).map(|all| all / self.threads),
            full: args.full,
        };
        let visible = stderr().is_terminal();
        let mut progress = |p: Progress| {
            let mut state = self.state();
            if visible && state.shown.elapsed() >= REFRESH {
                state.shown = Instant::now();
                let name = &configuration.name;
                let time = p.time.as_secs_f64();
                // Progress that cannot be shown is no error.
                let _ =
                    write!(stderr(), "\r\x1b[K{name}: {} states, depth {}, {time:.0} s", p.states, p.depth);
            }
        };
        lastack_check::explore(configuration, limits, &mut progress)
    }
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

fn line(report: &Report) -> String {
    let end = match (&report.violation, report.stopped) {
        (Some(_), _) => "BROKEN".to_owned(),
        (None, None) => "complete".to_owned(),
        (None, Some(stop)) => format!("stopped: {}", stop.name()),
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
    Ok(Breach { rule: Cow::Borrowed(rule), what: what.clone(), steps: violation.schedule.len(), files })
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
        assert_eq!((&*breach.rule, breach.steps), (Rule::Finished.text(), violation.schedule.len()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

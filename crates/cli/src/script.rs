//! `lastack script`: packetdrill scripts, one line each.

use crate::args::{Against, Script};
use crate::output;
use lastack_packetdrill::run::{Report, Verdict};
use lastack_packetdrill::suite::{self, Job, Target};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Instant;

/// A script failed.
const SCRIPT_FAILED: u8 = 1;
/// Scripts at once against the kernel, unless it was said: they mostly wait.
const KERNEL_JOBS: usize = 16;

/// What became of all scripts.
#[derive(Debug, Default, Serialize)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Scripts that cannot be read or make no sense.
    broken: usize,
    seconds: f64,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    script: &'a str,
    against: &'static str,
    verdict: &'static str,
    message: &'a str,
    printed: &'a [String],
}

/// Carries out the scripts.
pub fn main(args: &Script) -> ExitCode {
    let jobs = match jobs(args) {
        Ok(jobs) => jobs,
        Err(message) => {
            output::error(&message);
            return ExitCode::from(crate::FAILURE);
        }
    };
    let start = Instant::now();
    let mut totals = Totals::default();
    let mut written = Ok(());
    for target in [Target::Lastack, Target::Kernel] {
        let jobs: Vec<_> = jobs.iter().filter(|job| job.target == target).cloned().collect();
        suite::run_all(&jobs, at_once(args, target), |job, report| {
            let text = totals.take(args, job, &report);
            if written.is_ok() {
                written = output::write(None, &text);
            }
        });
    }
    totals.seconds = (start.elapsed().as_secs_f64() * 1e3).round() / 1e3;
    if let Err(message) = written.and_then(|()| output::write(None, &totals.text(args.json))) {
        output::error(&message);
        return ExitCode::from(crate::FAILURE);
    }
    match (totals.broken, totals.failed) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(SCRIPT_FAILED),
        _ => ExitCode::from(crate::FAILURE),
    }
}

fn at_once(args: &Script, target: Target) -> usize {
    match (args.jobs, target) {
        (Some(jobs), _) => usize::from(jobs),
        (None, Target::Kernel) => KERNEL_JOBS,
        (None, Target::Lastack) => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

fn jobs(args: &Script) -> Result<Vec<Job>, String> {
    let targets: &[Target] = match args.against {
        Against::Lastack => &[Target::Lastack],
        Against::Kernel => &[Target::Kernel],
        Against::Both => &[Target::Lastack, Target::Kernel],
    };
    let options = options(args)?;
    let paths = suite::find(&args.paths).map_err(|error| error.to_string())?;
    if paths.is_empty() {
        return Err("no file ends in .pkt there".into());
    }
    let mut jobs = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        for target in targets {
            jobs.push(Job {
                name: name.clone(),
                text: text.clone(),
                target: *target,
                options: options.clone(),
            });
        }
    }
    Ok(jobs)
}

fn options(args: &Script) -> Result<Vec<(String, String)>, String> {
    let mut options = Vec::new();
    for text in &args.options {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        options.push((name.trim_start_matches('-').replace('-', "_"), value.to_owned()));
    }
    for define in &args.define {
        if !define.contains('=') {
            return Err(format!("-D takes NAME=VALUE, not '{define}'"));
        }
        options.push(("define".to_owned(), define.clone()));
    }
    if let Some(version) = &args.ip_version {
        options.push(("ip_version".to_owned(), version.clone()));
    }
    if let Some(tolerance) = args.tolerance_usecs {
        options.push(("tolerance_usecs".to_owned(), tolerance.to_string()));
    }
    if args.strict_tail {
        options.push(("strict_tail".to_owned(), String::new()));
    }
    Ok(options)
}

impl Totals {
    /// Counts a report; gives what is to be printed of it.
    fn take(&mut self, args: &Script, job: &Job, report: &Report) -> String {
        let (count, verdict, message) = match &report.verdict {
            Verdict::Passed => (&mut self.passed, "passed", ""),
            Verdict::Failed(message) => (&mut self.failed, "failed", message.as_str()),
            Verdict::Skipped(message) => (&mut self.skipped, "skipped", message.as_str()),
            Verdict::Broken(message) => (&mut self.broken, "broken", message.as_str()),
        };
        *count += 1;
        let against = job.target.name();
        if args.json {
            let line = Line { script: &job.name, against, verdict, message, printed: &report.printed };
            return format!("{}\n", serde_json::to_string(&line).unwrap_or_default());
        }
        let mut text = String::new();
        for line in &report.printed {
            text.push_str(&format!("{}: {line}\n", job.name));
        }
        let indented = message.replace('\n', "\n    ");
        let reason = if message.is_empty() { String::new() } else { format!(": {indented}") };
        let stack = if args.against == Against::Both { format!(" ({against})") } else { String::new() };
        text.push_str(&format!("{verdict:<7} {}{stack}{reason}\n", job.name));
        text
    }

    fn text(&self, json: bool) -> String {
        if json {
            return format!("{}\n", serde_json::to_string(self).unwrap_or_default());
        }
        let broken =
            if self.broken == 0 { String::new() } else { format!(", {} cannot be read", self.broken) };
        format!("{} passed, {} failed, {} skipped{broken}\n", self.passed, self.failed, self.skipped)
    }
}

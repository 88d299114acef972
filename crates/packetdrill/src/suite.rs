//! Many scripts: finding them, and carrying them out side by side.

use crate::backend::{Kernel, Lastack};
use crate::run::{Report, Verdict, run_text};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::{fs, io, thread};

/// Which stack a script is carried out against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// lastack in virtual time.
    Lastack,
    /// The running kernel.
    Kernel,
}

impl Target {
    /// As messages have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lastack => "lastack",
            Self::Kernel => "kernel",
        }
    }
}

/// A script to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Name for messages.
    pub name: String,
    /// The script.
    pub text: String,
    /// Against what.
    pub target: Target,
    /// Options that win over the script's own: name (`tolerance_usecs`, `define`, ...) and value.
    pub options: Vec<(String, String)>,
}

impl Job {
    /// Carries it out. Blocks until the script is over: in real time against the kernel.
    #[must_use]
    pub fn run(&self) -> Report {
        match self.target {
            Target::Lastack => {
                run_text(&self.name, &self.text, &self.options, |settings| Ok(Lastack::new(settings)))
            }
            // The kernel's namespace belongs to a thread.
            Target::Kernel => thread::scope(|scope| {
                let work = || run_text(&self.name, &self.text, &self.options, Kernel::open);
                let thread = thread::Builder::new().name("script".into()).spawn_scoped(scope, work);
                let lost = |why: &str| Report {
                    verdict: Verdict::Failed(format!("{}: {why}", self.name)),
                    printed: Vec::new(),
                };
                match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(report)) => report,
                    Ok(Err(_)) => lost("the runner stopped in a panic"),
                    Err(error) => lost(&format!("no thread: {error}")),
                }
            }),
        }
    }
}

/// Carries out all of them, at most `at_once` side by side, and hands each report over in the order of the jobs.
pub fn run_all(jobs: &[Job], at_once: usize, mut report: impl FnMut(&Job, Report)) {
    let next = AtomicUsize::new(0);
    let (send, receive) = channel();
    thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, jobs.len().max(1)) {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    if send.send((at, job.run())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut waiting = std::collections::BTreeMap::new();
        let mut due = 0;
        for (at, result) in receive {
            waiting.insert(at, result);
            while let Some(result) = waiting.remove(&due) {
                if let Some(job) = jobs.get(due) {
                    report(job, result);
                }
                due += 1;
            }
        }
    });
}

/// Carries out all of them like [`run_all`], and what failed up to `again` more times, few at once: real time on a busy machine
/// makes scripts late now and then, and a stack that behaves otherwise does so each time. Hands over the last report of each.
pub fn run_patiently(jobs: &[Job], at_once: usize, again: usize, mut report: impl FnMut(&Job, Report)) {
    let mut left = jobs.to_vec();
    for round in 0..=again {
        let mut failed = Vec::new();
        run_all(&left, if round == 0 { at_once } else { at_once.min(4) }, |job, result| {
            if round < again && matches!(result.verdict, Verdict::Failed(_)) {
                failed.push(job.clone());
            } else {
                report(job, result);
            }
        });
        left = failed;
        if left.is_empty() {
            return;
        }
    }
}

/// The scripts that paths name: a file is itself, a folder all files below that end in `.pkt`, sorted by name.
///
/// # Errors
/// A path that is not there or cannot be read, with the path.
pub fn find(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(explain)?.is_dir() {
            let start = found.len();
            below(path, &mut found).map_err(explain)?;
            if let Some(new) = found.get_mut(start..) {
                new.sort();
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            found.push(path);
        }
    }
    Ok(())
}

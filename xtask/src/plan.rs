//! The checks, in the order in which they tell most for the time they take.

use crate::args::Args;
use crate::packages::{self, SBIN};
use crate::report::{Quiet, Screen, duration};
use crate::run::{cargo, root, run};
use crate::tests_output::TestsOutput;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tools that compile and do not run what they compiled.
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Building the tests and running them.
const TEST_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Tests that need root honour this variable when it is 1 and they have none.
const SKIP_ROOT: &str = "LASTACK_SKIP_ROOT_TESTS";

/// What a check says at its end: a remark, or the whole reason.
type Outcome = Result<String, String>;

/// What can be done here and now.
#[derive(Clone, Copy, Debug)]
struct Situation {
    root: bool,
    /// Continuous integration: nothing may be left out.
    ci: bool,
    fast: bool,
}

/// `cargo xtask no-std`.
pub(crate) fn no_std(args: &Args) -> bool {
    let mut plan = Plan::new(args);
    plan.check("no_std", "the core links without std and runs", crate::no_std::prove);
    plan.conclude()
}

/// `cargo xtask conformance`.
pub(crate) fn conformance(args: &Args) -> bool {
    let mut plan = Plan::new(args);
    let what = if args.check { "docs/conformance.md agrees with the tests" } else { "docs/conformance.md" };
    plan.check("paper", what, |_| crate::conformance::run(!args.check));
    plan.conclude()
}

/// `cargo xtask test`.
pub(crate) fn test(args: &Args) -> bool {
    let here = Situation {
        root: rustix::process::geteuid().is_root(),
        ci: std::env::var("CI").is_ok_and(|value| value == "true" || value == "1"),
        fast: args.fast,
    };
    let mut plan = Plan::new(args);
    if here.ci && (here.fast || !here.root) {
        let problem = "with CI=true nothing may be left out: run as root, without --fast";
        plan.screen.verdict(false, "failed", &format!(": {problem}"));
        return false;
    }
    if !here.fast {
        plan.check("packages", "programs that the tests run", |screen| install(here, screen));
        plan.check("fmt", "cargo fmt --all --check", |screen| {
            tool(screen, cargo(&["fmt", "--all", "--check", "--", "--color=never"]))
        });
    }
    plan.check("paper", "docs/conformance.md agrees with the tests", |_| crate::conformance::run(false));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    plan.check("clippy", &format!("cargo {}", clippy.join(" ")), |screen| tool(screen, cargo(&clippy)));
    if !here.fast {
        plan.check("no_std", "the core links without std and runs", crate::no_std::prove);
    }
    plan.check("test", "cargo test --workspace --no-fail-fast", |screen| tests(here, screen));
    if !here.fast {
        // With a switch in it that no build for use has.
        let with = "lastack-core/general-paths,lastack-sim/general-paths";
        let both = ["-p", "lastack-core", "-p", "lastack-sim", "--features", with, "--test", "short_paths"];
        let paths = [&["test"], &both[..]].concat();
        plan.check("paths", &format!("cargo {}", paths.join(" ")), |screen| tool(screen, cargo(&paths)));
        // The search is long without optimisation; and that it can fail takes faults on purpose.
        let search = ["test", "--release", "-p", "lastack-check", "--features", "deliberate-bugs"];
        plan.check("schedules", &format!("cargo {}", search.join(" ")), |screen| {
            tool(screen, cargo(&search))
        });
        let what = format!("lastack-bench {} --check {FIGURES}", TABLES.join("|"));
        plan.check("goodput", &what, goodput);
    }
    if !here.fast {
        plan.check("doc", "cargo doc --workspace --no-deps, warnings denied", |screen| {
            let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
            command.env("RUSTDOCFLAGS", "-D warnings");
            tool(screen, command)
        });
    }
    if here.fast {
        plan.left_out.push("fmt, no_std, paths, schedules, goodput and doc (--fast)".to_owned());
    }
    if here.fast || !here.root {
        plan.left_out.extend(tests_for_root());
        for package in packages::missing().iter().filter(|package| !package.tests.is_empty()) {
            let tests = package.tests.join("* and *");
            plan.left_out.push(format!("tests named *{tests}*: {} is not installed", package.name));
        }
    }
    plan.conclude()
}

/// Checks that have been made.
struct Plan {
    screen: Screen,
    start: Instant,
    done: Vec<(&'static str, Duration, Outcome)>,
    left_out: Vec<String>,
}

impl Plan {
    fn new(args: &Args) -> Self {
        Self {
            screen: Screen::new(args.verbose),
            start: Instant::now(),
            done: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn check(&mut self, name: &'static str, what: &str, check: impl FnOnce(&mut Screen) -> Outcome) {
        let start = Instant::now();
        self.screen.print(&format!("{name}: {what}"));
        self.screen.begin(what);
        let outcome = check(&mut self.screen);
        if let Err(reason) = &outcome {
            self.screen.print(reason);
        }
        let time = start.elapsed();
        let good = outcome.is_ok();
        let word = if good { "  ok" } else { "  failed" };
        self.screen.verdict(good, word, &format!("  {}", duration(time)));
        self.done.push((name, time, outcome));
    }

    /// The summary. Whether all is well.
    fn conclude(mut self) -> bool {
        self.screen.print("");
        let passed = self.done.iter().filter(|(_, _, outcome)| outcome.is_ok()).count();
        let failed = self.done.len() - passed;
        for (name, time, outcome) in std::mem::take(&mut self.done) {
            let time = duration(time);
            match outcome {
                Ok(remark) => {
                    self.screen.verdict(true, "ok    ", &format!("  {name:<9} {time:>13}  {remark}"));
                }
                Err(reason) => {
                    let last = reason.lines().last().unwrap_or_default();
                    self.screen.verdict(false, "failed", &format!("  {name:<9} {time:>13}  {last}"));
                }
            }
        }
        if !self.left_out.is_empty() {
            self.screen.print("left out:");
        }
        for what in std::mem::take(&mut self.left_out) {
            self.screen.print(&format!("    {what}"));
        }
        let total = duration(self.start.elapsed());
        self.screen.print(&format!("{passed} checks passed, {failed} failed, in {total}"));
        failed == 0
    }
}

fn install(here: Situation, screen: &mut Screen) -> Outcome {
    let missing = packages::missing();
    if missing.is_empty() {
        return Ok("nothing to install".to_owned());
    }
    let names = missing.iter().map(|package| package.name).collect::<Vec<_>>().join(" ");
    screen.print(if here.root { "  installs from Debian's packages:" } else { "  missing:" });
    packages::describe(&missing, screen);
    if !here.root {
        return Ok(format!("only root can install: apt-get install --no-install-recommends {names}"));
    }
    packages::install(&missing, screen)?;
    let still: Vec<_> = packages::missing().iter().map(|package| package.name).collect();
    if still.is_empty() {
        Ok(format!("installed {names}"))
    } else {
        Err(format!("still missing: {}", still.join(" ")))
    }
}

/// A tool that is silent when all is well.
fn tool(screen: &mut Screen, command: Command) -> Outcome {
    let mut watch = Quiet { screen, output: Vec::new() };
    match run(command, BUILD_LIMIT, &mut watch) {
        Ok(()) => Ok(String::new()),
        Err(error) => {
            watch.output.push(error);
            Err(watch.output.join("\n"))
        }
    }
}

/// Tables of figures that follow from the code alone, and where they are.
const TABLES: [&str; 3] = ["matrix", "competition", "sharing"];
const FIGURES: &str = "docs/performance.md";

fn goodput(screen: &mut Screen) -> Outcome {
    for table in TABLES {
        let bench = ["run", "--release", "-p", "lastack-bench", "--", table, "--check", FIGURES];
        tool(screen, cargo(&bench))?;
    }
    Ok(String::new())
}

fn tests(here: Situation, screen: &mut Screen) -> Outcome {
    if here.root && !here.fast && !Path::new("/dev/net/tun").exists() {
        return Err("/dev/net/tun is missing, which the tests against the kernel need: \
                    modprobe tun, or mknod /dev/net/tun c 10 200 where the kernel has it"
            .to_owned());
    }
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.env_remove(SKIP_ROOT);
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    SBIN.iter().for_each(|folder| path.push(format!(":{folder}")));
    command.env("PATH", path);
    if here.fast || !here.root {
        command.env(SKIP_ROOT, "1").arg("--");
        let unable = packages::missing();
        unable.iter().flat_map(|package| package.tests).for_each(|test| {
            command.args(["--skip", test]);
        });
    }
    let mut watch = TestsOutput::new(screen);
    let end = run(command, TEST_LIMIT, &mut watch);
    let mut said = watch.cargo.clone();
    if end.is_err() && watch.total.failed == 0 {
        said.extend(watch.last_lines().iter().cloned());
    }
    watch.finish();
    let summary = format!("{} in {} targets", watch.total, watch.targets);
    let reason = match end {
        Err(error) => error,
        Ok(()) if here.ci && watch.total.ignored > 0 => "with CI=true no test may be ignored".to_owned(),
        Ok(()) if watch.total.passed == 0 => "no test ran".to_owned(),
        Ok(()) => return Ok(summary),
    };
    said.push(format!("{summary}: {reason}"));
    Err(said.join("\n"))
}

/// Files of tests that leave themselves out without root, told by the variable that they read.
fn tests_for_root() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(SKIP_ROOT)) {
                let path = path.strip_prefix(root()).unwrap_or(&path);
                found.push(format!("what needs root in {}", path.display()));
            }
        }
    }
    found.sort();
    found
}

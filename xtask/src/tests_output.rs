//! Reads what `cargo test` prints: one line for each target, and what failed in full.

use crate::report::Screen;
use crate::run::Watch;
use std::fmt;

/// Lines of a target that crashed which are worth showing.
const LAST_LINES: usize = 60;

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.ignored += more.ignored;
    }
}

/// Watches `cargo test`.
#[derive(Debug)]
pub(crate) struct TestsOutput<'a> {
    screen: &'a mut Screen,
    target: Option<Target>,
    pub(crate) total: Counts,
    pub(crate) targets: u64,
    /// What cargo itself says: an error of the build, the list of targets that failed.
    pub(crate) cargo: Vec<String>,
}

#[derive(Debug, Default)]
struct Target {
    name: String,
    /// From the result lines of libtest.
    results: Option<Counts>,
    /// From the lines of single tests, for harnesses that give no result line.
    lines: Counts,
    output: Vec<String>,
    seconds: f64,
}

impl<'a> TestsOutput<'a> {
    pub(crate) fn new(screen: &'a mut Screen) -> Self {
        Self { screen, target: None, total: Counts::default(), targets: 0, cargo: Vec::new() }
    }

    /// The last target ends.
    pub(crate) fn finish(&mut self) {
        let Some(target) = self.target.take() else { return };
        let counts = target.results.unwrap_or(target.lines);
        self.total += counts;
        self.targets += 1;
        self.screen.print(&format!("    {:<44} {counts}  {:.1} s", target.name, target.seconds));
        if counts.failed > 0 {
            let failures = target.output.iter().skip_while(|line| *line != "failures:");
            failures.for_each(|line| self.screen.print(line));
        }
    }

    /// The end of what the running target printed, for one that crashed or was killed.
    pub(crate) fn last_lines(&self) -> &[String] {
        let output = self.target.as_ref().map_or(&[][..], |target| &target.output);
        &output[output.len().saturating_sub(LAST_LINES)..]
    }
}

impl Watch for TestsOutput<'_> {
    fn line(&mut self, line: &str) {
        self.screen.raw(line);
        if let Some(name) = target_name(line) {
            self.finish();
            self.screen.status(&name);
            self.target = Some(Target { name, ..Target::default() });
            return;
        }
        let progress =
            ["Compiling", "Finished", "Downloading", "Downloaded", "Locking", "Updating", "Blocking"];
        if progress.contains(&line.split_whitespace().next().unwrap_or_default()) {
            self.screen.status(line.trim());
            return;
        }
        let Some(target) = &mut self.target else {
            self.cargo.push(line.to_owned());
            return;
        };
        if line.starts_with("error: ") || line.starts_with("    `-p ") || line.starts_with("Caused by") {
            self.cargo.push(line.to_owned());
        }
        if let Some((counts, seconds)) = result(line) {
            *target.results.get_or_insert_default() += counts;
            target.seconds += seconds;
        } else if let Some(test) = line.strip_prefix("test ") {
            if test.ends_with("... ok") {
                target.lines.passed += 1;
            } else if test.ends_with("... FAILED") {
                target.lines.failed += 1;
                self.screen.print(&format!("    FAILED {}", test.trim_end_matches(" ... FAILED")));
            } else if test.contains("has been running for over") {
                self.screen.print(&format!("    {test}"));
            }
        }
        target.output.push(line.to_owned());
    }

    fn tick(&mut self) {
        self.screen.tick();
    }
}

/// `     Running unittests src/lib.rs (target/debug/deps/lastack_core-0123)` and `   Doc-tests lastack_core`.
fn target_name(line: &str) -> Option<String> {
    let line = line.strip_prefix("   ")?.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name}, examples in the documentation"));
    }
    let (what, path) = line.strip_prefix("Running ")?.split_once(" (")?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(match what.strip_prefix("unittests ") {
        Some(source) => format!("{name}, {source}"),
        None => what.to_owned(),
    })
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`.
fn result(line: &str) -> Option<(Counts, f64)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    let mut seconds = 0.0;
    for part in numbers.split("; ") {
        match part.split_once(' ')? {
            ("finished", time) => seconds = time.strip_prefix("in ")?.strip_suffix('s')?.parse().ok()?,
            (number, "passed") => counts.passed = number.parse().ok()?,
            (number, "failed") => counts.failed = number.parse().ok()?,
            (number, "ignored") => counts.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some((counts, seconds))
}

#[cfg(test)]
mod tests {
    use super::{Counts, TestsOutput};
    use crate::report::Screen;
    use crate::run::Watch as _;

    fn counts_of(output: &str) -> (Counts, u64) {
        let mut screen = Screen::silent();
        let mut watch = TestsOutput::new(&mut screen);
        output.lines().for_each(|line| watch.line(line));
        watch.finish();
        (watch.total, watch.targets)
    }

    #[test]
    fn results_of_all_targets_are_added_up() {
        let output = "   Compiling a v0.1.0
     Running unittests src/lib.rs (target/debug/deps/a-0123)
test one ... ok
test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.02s
     Running tests/b.rs (target/debug/deps/b-0123)
test two ... FAILED
test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
   Doc-tests a
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(counts_of(output), (Counts { passed: 13, failed: 1, ignored: 2 }, 3));
    }

    #[test]
    fn a_target_without_a_result_line_counts_its_tests() {
        let output = "     Running tests/exit.rs (target/debug/deps/exit-0123)\ntest a ... ok\ntest b ... ok";
        assert_eq!(counts_of(output), (Counts { passed: 2, ..Counts::default() }, 1));
    }
}

//! Runs a tool, watches its output, and ends it when it takes too long.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often a sign of life is due.
const TICK: Duration = Duration::from_secs(1);

/// Takes what a tool prints.
pub(crate) trait Watch {
    /// A line of standard output or standard error, without its end.
    fn line(&mut self, line: &str);
    /// Nothing came for a second.
    fn tick(&mut self) {}
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that runs us, at the root of the workspace, without colours in its output.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root()).env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs `command` to its end, with each line of its output to `watch`.
///
/// # Errors
/// It cannot be started, it fails, or it runs longer than `limit` (then it and all its children are killed).
pub(crate) fn run(mut command: Command, limit: Duration, watch: &mut dyn Watch) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("no pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
    // It holds the writing ends; the lines end when the last process that has one is gone.
    drop(command);
    let (lines, arrived) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if lines.send(text).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let mut over = false;
    loop {
        match arrived.recv_timeout(TICK) {
            Ok(line) => watch.line(&line),
            Err(RecvTimeoutError::Timeout) => watch.tick(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !over && start.elapsed() > limit {
            over = true;
            kill_tree(child.id());
        }
    }
    let status = child.wait().map_err(|error| format!("{name} cannot be waited for: {error}"))?;
    match (over, status.success()) {
        (true, _) => Err(format!("ended after its limit of {} minutes", limit.as_secs() / 60)),
        (false, true) => Ok(()),
        (false, false) => Err(status.to_string()),
    }
}

/// Kills a process and all that came from it.
fn kill_tree(root: u32) {
    let mut doomed = vec![root];
    let parents: Vec<_> = processes().collect();
    let mut at = 0;
    while let Some(&parent) = doomed.get(at) {
        doomed.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| process));
        at += 1;
    }
    for id in doomed {
        let pid = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Every process with its parent.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        Some((process, parent))
    })
}

#[cfg(test)]
mod tests {
    use super::{Watch, run};
    use std::process::Command;
    use std::time::Duration;

    struct Lines(Vec<String>);

    impl Watch for Lines {
        fn line(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }

    fn sh(script: &str, limit: Duration) -> (Result<(), String>, Vec<String>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut lines = Lines(Vec::new());
        let result = run(command, limit, &mut lines);
        (result, lines.0)
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn both_outputs_arrive_in_order() {
        let (result, lines) = sh("echo one; echo two >&2; echo three", PATIENCE);
        assert_eq!((result, lines), (Ok(()), vec!["one".into(), "two".into(), "three".into()]));
    }

    #[test]
    fn a_status_that_is_not_0_is_an_error() {
        assert_eq!(sh("exit 3", PATIENCE).0, Err("exit status: 3".to_owned()));
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        // The output ends only when the last process that holds it is gone.
        let (result, _) = sh("sleep 1000 & wait", Duration::ZERO);
        assert!(result.is_err_and(|error| error.contains("limit")));
    }
}

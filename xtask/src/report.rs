//! What the person in front of the screen sees.

use crate::run::Watch;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Without a terminal, a sign of life this often.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Columns of the status line.
const STATUS_WIDTH: usize = 76;

/// Standard output: full lines, and on a terminal a last line that says what goes on.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    verbose: bool,
    silent: bool,
    doing: String,
    since: Instant,
    /// The step began then, or the last heartbeat was printed.
    last: Instant,
    status_shown: bool,
}

impl Screen {
    pub(crate) fn new(verbose: bool) -> Self {
        let now = Instant::now();
        Self {
            terminal: std::io::stdout().is_terminal(),
            verbose,
            silent: false,
            doing: String::new(),
            since: now,
            last: now,
            status_shown: false,
        }
    }

    /// Shows nothing.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { silent: true, terminal: false, ..Self::new(false) }
    }

    /// A line that stays.
    pub(crate) fn print(&mut self, line: &str) {
        self.clear();
        if !self.silent {
            println!("{line}");
            self.last = Instant::now();
        }
    }

    /// The same, the first word in colour on a terminal.
    pub(crate) fn verdict(&mut self, good: bool, word: &str, rest: &str) {
        let colour = if good { "32" } else { "31" };
        let line = if self.terminal && std::env::var_os("NO_COLOR").is_none() {
            format!("\x1b[1;{colour}m{word}\x1b[0m{rest}")
        } else {
            format!("{word}{rest}")
        };
        self.print(&line);
    }

    /// A line as a tool printed it; shown if that was asked for.
    pub(crate) fn raw(&mut self, line: &str) {
        if self.verbose {
            self.print(line);
        }
    }

    /// A new activity begins.
    pub(crate) fn begin(&mut self, doing: &str) {
        self.since = Instant::now();
        self.last = self.since;
        self.status(doing);
    }

    /// What goes on now.
    pub(crate) fn status(&mut self, doing: &str) {
        doing.clone_into(&mut self.doing);
        self.tick();
    }

    /// Shows that we are alive.
    pub(crate) fn tick(&mut self) {
        let seconds = self.since.elapsed().as_secs();
        if self.terminal && !self.silent {
            let text: String = self.doing.chars().take(STATUS_WIDTH).collect();
            print!("\r\x1b[K    {text}  {seconds} s");
            // Nobody can be told if the terminal is gone.
            let _ = std::io::stdout().flush();
            self.status_shown = true;
        } else if self.last.elapsed() >= HEARTBEAT {
            let line = format!("    still at it after {seconds} s: {}", self.doing);
            self.print(&line);
        }
    }

    fn clear(&mut self) {
        if self.status_shown {
            print!("\r\x1b[K");
            self.status_shown = false;
        }
    }
}

/// Watches a tool whose output matters only if it fails.
#[derive(Debug)]
pub(crate) struct Quiet<'a> {
    pub(crate) screen: &'a mut Screen,
    pub(crate) output: Vec<String>,
}

impl Watch for Quiet<'_> {
    fn line(&mut self, line: &str) {
        self.screen.raw(line);
        let first = line.split_whitespace().next().unwrap_or_default();
        if ["Compiling", "Checking", "Documenting", "Downloading", "Downloaded", "Get:1"].contains(&first) {
            self.screen.status(line.trim());
        } else {
            self.output.push(line.to_owned());
        }
    }

    fn tick(&mut self) {
        self.screen.tick();
    }
}

/// `83.4 s`, or `6 min 12 s`.
pub(crate) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(120) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}

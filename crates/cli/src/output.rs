//! Where results go, and what the terminal can show.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Says on standard error what went wrong, in one line.
pub fn error(message: &str) {
    // Standard error may be closed; the exit status still tells.
    let _ = writeln!(io::stderr(), "lastack: {message}");
}

/// Colour is for a person at a terminal who has not asked to do without (<https://no-color.org>).
pub fn colour() -> bool {
    io::stdout().is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A terminal whose locale is not UTF-8 shows ASCII only; files and pipes are UTF-8.
pub fn ascii_only() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    io::stdout().is_terminal() && !locale.contains("utf-8") && !locale.contains("utf8")
}

/// Writes a result to a file, or to standard output without one. A reader that closes a pipe early is no error.
pub fn write(to: Option<&Path>, text: &str) -> Result<(), String> {
    let Some(path) = to else {
        let mut out = io::stdout().lock();
        return match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(format!("cannot write to standard output: {error}"))
            }
            _ => Ok(()),
        };
    };
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

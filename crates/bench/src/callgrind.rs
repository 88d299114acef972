//! The cases' work counted in instructions, which a busy machine does not disturb.
//!
//! Valgrind runs this program again as `lastack-bench count CASE PEER`; collection is on only inside [`measured`].
//! Each iteration of a `rep` string instruction counts as an instruction, so glibc is told not to use them.

use crate::workload::{Case, Peer, Unit};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// What `count` prints: how much was done inside [`measured`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Bytes or connections.
    pub work: u64,
    /// Packets from the sender (bulk), or all (churn).
    pub segments: u64,
}

/// Instructions of one case on one stack.
#[derive(Clone, Debug, Serialize)]
pub struct Instructions {
    /// Name of the case.
    pub case: &'static str,
    /// Which stack.
    pub peer: &'static str,
    /// Instructions in all.
    pub total: u64,
    /// `segment` or `connection`.
    pub per: &'static str,
    /// Instructions per segment or connection.
    pub each: f64,
    /// Bulk: instructions per byte of the application.
    pub per_byte: Option<f64>,
}

/// The function that callgrind's collection is tied to.
#[inline(never)]
pub fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Does work of `case` on `peer` inside [`measured`]: so many units, or as many as suit callgrind. `window` is that of the bulk
/// cases in bytes.
#[must_use]
pub fn count(case: Case, peer: Peer, work: Option<u64>, window: usize) -> Counted {
    let mut workload = case.prepare(peer, window);
    let work = work.unwrap_or_else(|| case.counted_work(peer));
    let before = workload.segments();
    measured(&mut || workload.run(work));
    Counted { work, segments: workload.segments() - before }
}

/// Runs `case` on `peer` under callgrind and leaves its profile in `dir`.
///
/// # Errors
/// If valgrind is not installed or fails, or counted nothing.
pub fn instructions(case: Case, peer: Peer, dir: &Path) -> Result<Instructions, Box<dyn Error>> {
    let profile = dir.join(format!("{}-{}.callgrind", case.name(), peer.name()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=lastack_bench::callgrind::measured*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["count", case.name(), peer.name()])
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=2000000000:glibc.cpu.x86_rep_stosb_threshold=2000000000",
        )
        .output()
        .map_err(|e| format!("valgrind cannot be run ({e}); install it from the distribution's packages"))?;
    if !output.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let counted: Counted = serde_json::from_slice(&output.stdout)?;
    let text = std::fs::read_to_string(&profile)?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("the profile has no totals")?;
    let total: u64 = total.trim().parse()?;
    if total == 0 {
        return Err(
            "callgrind counted nothing: the function that turns it on was not found in the program".into()
        );
    }
    let (per, parts) = match case.unit() {
        Unit::Byte => ("segment", counted.segments),
        Unit::Connection => ("connection", counted.work),
    };
    let per_byte = (case.unit() == Unit::Byte).then(|| total as f64 / counted.work as f64);
    let each = total as f64 / parts as f64;
    Ok(Instructions { case: case.name(), peer: peer.name(), total, per, each, per_byte })
}

/// The `top` functions of a profile that [`instructions`] left in `dir`, by their own instructions and those of what
/// was inlined into them.
///
/// # Errors
/// If `callgrind_annotate` is not installed or fails.
pub fn hot_functions(case: Case, peer: Peer, dir: &Path, top: usize) -> Result<String, Box<dyn Error>> {
    let profile = dir.join(format!("{}-{}.callgrind", case.name(), peer.name()));
    let output =
        Command::new("callgrind_annotate").args(["--auto=no", "--threshold=100"]).arg(&profile).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let mut functions: BTreeMap<String, u64> = BTreeMap::new();
    for (function, own) in String::from_utf8_lossy(&output.stdout).lines().filter_map(annotated) {
        *functions.entry(function).or_default() += own;
    }
    let all: u64 = functions.values().sum();
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, own)| Reverse(*own));
    let line = |(function, own): &(String, u64)| {
        format!("{own:>14} {:>5.1} %  {function}\n", *own as f64 * 100.0 / all as f64)
    };
    Ok(functions.iter().take(top).map(line).collect())
}

/// Function and instructions of a line like `1,234 (5.6%)  file.rs:function [object]`.
fn annotated(line: &str) -> Option<(String, u64)> {
    let (own, rest) = line.trim_start().split_once(" (")?;
    let own = own.replace(',', "").parse().ok()?;
    let (_, place) = rest.split_once(')')?;
    // The file is that of the source line, which for inlined code is not the function's.
    let (_, function) = place.split_once(':')?;
    let function = function.split_once(" [").map_or(function, |(name, _)| name);
    Some((function.to_owned(), own))
}

/// The counts as a table.
#[must_use]
pub fn table(counts: &[Instructions]) -> String {
    let mut out = format!("{:<17} {:<8} {:>15} {:>10}  per\n", "case", "stack", "instructions", "per byte");
    for c in counts {
        let per_byte = c.per_byte.map(|n| format!("{n:.3}")).unwrap_or_default();
        out += &format!("{:<17} {:<8} {:>15.0} {:>10}  {}\n", c.case, c.peer, c.each, per_byte, c.per);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::annotated;

    #[test]
    fn annotated_line_gives_the_function_without_file_and_object() {
        let line = " 7,258,474 (13.82%)  ./a/b.S:copy [/lib/libc.so.6]";
        assert_eq!(annotated(line), Some(("copy".to_owned(), 7_258_474)));
        let line = "2,079,829 ( 3.96%)  src/tcp.rs:stack::tcp::process";
        assert_eq!(annotated(line), Some(("stack::tcp::process".to_owned(), 2_079_829)));
        assert_eq!(annotated("52,549,122 (100.0%)  PROGRAM TOTALS"), None);
        assert_eq!(annotated("Thresholds:       100"), None);
    }
}

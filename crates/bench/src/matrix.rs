//! Goodput of one connection over many roads, in virtual time: lastack with each congestion control, and smoltcp with its own.
//!
//! The figures are a function of the code alone, so they are kept in the repository: a change shows as a difference.

use crate::wan::Point;
use lastack_sim::{FailureKind, Scenario, run_scenario};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How long the sender has something to send, in seconds.
const SECONDS: u32 = 10;
/// Begins every run.
const SEED: u64 = 1;
const RATES: [f64; 3] = [10.0, 100.0, 1000.0];
const TIMES: [f64; 3] = [1.0, 50.0, 200.0];
const REORDER: [f64; 2] = [0.0, 2.0];
const LOSSES: [f64; 5] = [0.0, 0.1, 1.0, 3.0, 10.0];
/// Stacks and their congestion controls.
const COLUMNS: [(&str, &str); 7] = [
    ("lastack", "reno"),
    ("lastack", "cubic"),
    ("lastack", "dctcp"),
    ("lastack", "bbr"),
    ("lastack", "bbr3"),
    ("smoltcp", "reno"),
    ("smoltcp", "cubic"),
];

/// The roads, in the order of the table.
#[must_use]
pub fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for rate in RATES {
        for rtt in TIMES {
            for reorder in REORDER {
                points.extend(LOSSES.map(|loss| Point { rate, rtt, loss, reorder }));
            }
        }
    }
    points
}

/// Runs everything, on so many threads; the table.
///
/// # Errors
/// A run failed.
pub fn measure(threads: usize) -> Result<String, Box<dyn Error>> {
    let points = points();
    let runs: Vec<_> = points.iter().flat_map(|point| COLUMNS.map(|column| (*point, column))).collect();
    let (next, shares) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let terminal = io::stderr().is_terminal();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((point, column)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let share = share(point, *column);
                    if let Ok(mut shares) = shares.lock() {
                        shares.insert(key(point, *column), share);
                        if terminal {
                            eprint!("\r{} of {} runs", shares.len(), runs.len());
                        }
                    }
                }
            });
        }
    });
    if terminal {
        eprintln!();
    }
    let shares = shares.into_inner().map_err(|_| "a run panicked")?;
    let mut text = heading();
    for point in &points {
        let _ = write!(text, "| {} | {} | {} | {} |", point.rate, point.rtt, point.reorder, point.loss);
        for column in COLUMNS {
            let share = shares.get(&key(point, column)).ok_or("a run is missing")?;
            let share = share.as_ref().map_err(|error| format!("{column:?}, {point:?}: {error}"))?;
            let _ = write!(text, " {} |", share.text());
        }
        text.push('\n');
    }
    Ok(text)
}

/// What tells a run from all others.
fn key(point: &Point, column: (&str, &str)) -> String {
    format!("{point:?} {column:?}")
}

fn heading() -> String {
    let mut text = String::from("| Mbit/s | RTT, ms | overtaken, % | lost, % |");
    for (stack, congestion) in COLUMNS {
        let _ = write!(text, " {stack} {congestion} |");
    }
    text.push('\n');
    text.push('|');
    text.push_str(&" ---: |".repeat(4 + COLUMNS.len()));
    text.push('\n');
    text
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share {
    /// Goodput as a share of the rate.
    goodput: f64,
    /// The connection ended as it should. Those of another stack may not.
    ended: bool,
}

impl Share {
    fn text(self) -> String {
        let share = self.goodput * 100.0;
        // Two digits that count.
        let digits = (1..4).take_while(|digits| share < 10_f64.powi(2 - digits)).count();
        let number = format!("{share:.digits$}");
        if self.ended { number } else { format!("{number} (1)") }
    }
}

fn share(point: &Point, (stack, congestion): (&str, &str)) -> Result<Share, String> {
    let report = run_scenario(&scenario(point, stack, congestion)?, SEED)?;
    let flow = report.flows.first().ok_or("it has no connection")?;
    let share = Share { goodput: flow.goodput.median / (point.rate * 1e6), ended: report.passed() };
    match report.failures.first() {
        Some(failure) if stack == "lastack" || failure.kind != FailureKind::Stuck => {
            Err(failure.text.clone())
        }
        _ => Ok(share),
    }
}

/// Two hosts of one stack with buffers that do not limit them, and the road of `wan` between them.
fn scenario(point: &Point, stack: &str, congestion: &str) -> Result<Scenario, String> {
    let Point { rate, rtt, loss, reorder } = *point;
    let queue = point.queue();
    let buffer = (queue * 4).max(256 << 10);
    let host = format!(
        "stack = \"{stack}\", congestion = \"{congestion}\", send-buffer = \"{buffer}\", recv-buffer = \"{buffer}\""
    );
    let overtaken = match reorder {
        0.0 => String::new(),
        _ => format!("reorder = {{ share = \"{reorder}%\", by = \"{}us\" }}", rtt * 250.0),
    };
    Scenario::parse(&format!(
        r#"
        name = "matrix"
        summary = "one connection over a bad road"
        limit = "1000h"
        unfired = "report"
        host = [{{ name = "client", {host} }}, {{ name = "server", {host} }}]

        [[link]]
        between = ["client", "server"]
        both = {{ delay = "{delay}us" }}

        [link.forward]
        rate = "{rate}M"
        queue = {{ kind = "drop-tail", bytes = "{queue}" }}
        loss = "{loss}%"
        {overtaken}

        [[flow]]
        from = "client"
        to = "server"
        model = {{ kind = "stream", for = "{SECONDS}s" }}
        "#,
        delay = rtt * 500.0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_road_is_filled_and_a_lossy_one_is_not() {
        let point = Point { rate: 10.0, rtt: 1.0, loss: 0.0, reorder: 0.0 };
        let share = |point| share(&point, ("lastack", "cubic")).unwrap().goodput;
        assert!((0.9..1.0).contains(&share(point)));
        assert!(share(Point { loss: 10.0, rtt: 50.0, ..point }) < 0.5);
    }

    #[test]
    fn shares_have_two_digits_and_a_mark_if_the_connection_did_not_end() {
        let text = |goodput, ended| Share { goodput, ended }.text();
        assert_eq!(
            [0.97, 0.0584, 0.003, 0.00021].map(|share| text(share, true)),
            ["97", "5.8", "0.30", "0.021"]
        );
        assert_eq!(text(0.7, false), "70 (1)");
    }

    #[test]
    fn every_road_and_stack_is_a_scenario() {
        for point in points() {
            for (stack, congestion) in COLUMNS {
                scenario(&point, stack, congestion).unwrap().check().unwrap();
            }
        }
    }
}

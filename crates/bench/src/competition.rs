//! Connections that share a bottleneck, in virtual time: how long short flows take beside long ones, and how evenly long ones share.
//!
//! As in [`crate::matrix`], the figures are a function of the code alone.

use lastack_sim::report::Spread;
use lastack_sim::{Report, Scenario, run_scenario};
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Begins every run.
const SEED: u64 = 1;
/// Congestion controls, and the value of Linux's `tcp_ecn` with which they run: DCTCP is nothing without marks.
const CONTROLS: [(&str, u8); 4] = [("reno", 2), ("cubic", 2), ("dctcp", 1), ("bbr", 2)];
/// Sizes of the short flows in KiB; as many flows of each.
const SIZES: [u32; 4] = [10, 20, 50, 100];
/// Short flows of each size.
const EACH: u32 = 150;
/// The queue: one bandwidth-delay product of 50 Mbit/s and 40 ms in front of it, either way.
const QUEUES: [(&str, &str); 2] = [
    ("drop-tail", "{ kind = \"drop-tail\", bytes = \"250k\", mark-above = 30 }"),
    ("CoDel", "{ kind = \"codel\", ecn = true }"),
];
/// Connections side by side.
const COUNTS: [u32; 3] = [2, 4, 16];

/// Durations of short flows with each queue and congestion control, on so many threads; the table.
///
/// # Errors
/// A run failed.
pub fn durations(threads: usize) -> Result<String, Box<dyn Error>> {
    let mut text = String::from(
        "| queue | algorithm | long flows | short flows | median, ms | 95 % below, ms | 99 % below, ms | \
         longest, ms | share of the long flows, % | mean wait in the queue, ms |\n",
    );
    text.push_str("| --- | --- |");
    text.push_str(&" ---: |".repeat(8));
    text.push('\n');
    let mut cases = vec![(QUEUES[0], CONTROLS[1], 0)];
    for queue in QUEUES {
        cases.extend(CONTROLS.map(|control| (queue, control, 2)));
    }
    let scenarios = cases.iter().map(|(queue, control, long)| short_flows(queue.1, *control, *long));
    let reports = run_all(scenarios.collect::<Result<_, _>>()?, threads)?;
    for (((queue, _), (control, _), long), report) in cases.iter().zip(&reports) {
        let times = report.connections.iter().filter(|c| c.flow != "long");
        let times = times.filter_map(|c| Some((c.client.closed_ns? - c.began_ns) as f64 / 1e6));
        let times: Vec<f64> = times.collect();
        let (count, spread) = (times.len(), Spread::of(times));
        // The sum of nothing is -0.0.
        let share: f64 =
            0.0 + report.flows.iter().filter(|flow| flow.flow == "long").map(|f| f.goodput.sum).sum::<f64>();
        let wait = report.links.first().map_or(0, |link| link.queue_mean_us) as f64 / 1e3;
        let _ = writeln!(
            text,
            "| {queue} | {control} | {long} | {count} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {wait:.1} |",
            spread.median,
            spread.p95,
            spread.p99,
            spread.max,
            share / 50e6 * 100.0
        );
    }
    Ok(text)
}

/// Jain's index of connections side by side, with each congestion control and queue, on so many threads; the table.
///
/// # Errors
/// A run failed.
pub fn sharing(threads: usize) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("| queue | algorithm |");
    for count in COUNTS {
        let _ = write!(text, " {count} connections | together, % |");
    }
    text.push_str("\n| --- | --- |");
    text.push_str(&" ---: |".repeat(2 * COUNTS.len()));
    text.push('\n');
    let mut scenarios = Vec::new();
    for (_, queue) in QUEUES {
        for control in CONTROLS {
            for count in COUNTS {
                scenarios.push(network(queue, control, &long_flows(count, 40))?);
            }
        }
    }
    let reports = run_all(scenarios, threads)?;
    let rows = QUEUES.iter().flat_map(|(queue, _)| CONTROLS.map(|(control, _)| (queue, control)));
    for ((queue, control), reports) in rows.zip(reports.chunks(COUNTS.len())) {
        let _ = write!(text, "| {queue} | {control} |");
        for report in reports {
            let together: f64 = report.flows.iter().map(|flow| flow.goodput.sum).sum();
            let _ = write!(text, " {:.3} | {:.0} |", report.fairness, together / 50e6 * 100.0);
        }
        text.push('\n');
    }
    Ok(text)
}

/// Carries all of them out; the reports in their order.
fn run_all(scenarios: Vec<Scenario>, threads: usize) -> Result<Vec<Report>, String> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(index) else { return };
                    let report = run_scenario(scenario, SEED);
                    if let Ok(mut reports) = reports.lock() {
                        reports.push((index, report));
                    }
                }
            });
        }
    });
    let mut reports = reports.into_inner().map_err(|_| "a run panicked")?;
    reports.sort_unstable_by_key(|(index, _)| *index);
    let passed = |report: Report| match report.failures.first() {
        Some(failure) => Err(format!("{}: {}", report.scenario, failure.text)),
        None => Ok(report),
    };
    reports.into_iter().map(|(_, report)| report.and_then(passed)).collect()
}

/// Short flows of four sizes that arrive as a Poisson process and fill a quarter of the rate, beside `long` ones.
fn short_flows(queue: &str, control: (&str, u8), long: u32) -> Result<Scenario, String> {
    let mut flows = if long > 0 { long_flows(long, 20) } else { String::new() };
    for size in SIZES {
        let _ = write!(
            flows,
            r#"
            [[flow]]
            name = "{size} KiB"
            from = "client"
            to = "server"
            count = {EACH}
            start = "2s"
            spacing = "117ms"
            poisson = true
            model = {{ kind = "bulk", bytes = "{size}Ki" }}
            "#
        );
    }
    network(queue, control, &flows)
}

/// Connections that send for so many seconds and begin within half a second.
fn long_flows(count: u32, seconds: u32) -> String {
    format!(
        r#"
        [[flow]]
        name = "long"
        from = "client"
        to = "server"
        count = {count}
        spread = "500ms"
        model = {{ kind = "stream", for = "{seconds}s" }}
        "#
    )
}

/// Two hosts and a bottleneck of 50 Mbit/s with a round-trip time of 40 ms. CoDel would mark, which most of them cannot be.
fn network(queue: &str, (control, ecn): (&str, u8), flows: &str) -> Result<Scenario, String> {
    let host = format!("congestion = \"{control}\", ecn = {ecn}");
    Scenario::parse(&format!(
        r#"
        name = "{control}"
        summary = "connections share a bottleneck"
        unfired = "report"
        host = [{{ name = "client", {host} }}, {{ name = "server", {host} }}]

        [[link]]
        between = ["client", "server"]
        both = {{ delay = "20ms" }}
        forward = {{ rate = "50M", queue = {queue} }}
        {flows}
        "#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_and_control_is_a_scenario() {
        for (_, queue) in QUEUES {
            for control in CONTROLS {
                short_flows(queue, control, 2).unwrap().check().unwrap();
                network(queue, control, &long_flows(16, 40)).unwrap().check().unwrap();
            }
        }
    }

    #[test]
    fn a_run_that_fails_is_an_error() {
        let mut scenario = network(QUEUES[0].1, CONTROLS[0], &long_flows(1, 2)).unwrap();
        scenario.limit = "1s".parse().unwrap();
        let error = run_all(vec![scenario], 1).unwrap_err();
        assert!(error.starts_with("reno: "), "{error}");
    }
}

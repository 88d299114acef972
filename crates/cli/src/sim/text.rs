//! Reports of runs, for people.

use super::Tally;
use lastack_sim::report::{ConnectionReport, EndReport, FlowReport, LinkReport};
use lastack_sim::{Report, Scenario, library};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// The library, a line each.
pub(super) fn list() -> Result<String, String> {
    let mut text = String::new();
    for entry in library() {
        let _ = writeln!(text, "{:<26} {}", entry.name, entry.scenario()?.summary);
    }
    Ok(text)
}

/// One run.
pub(super) fn report(scenario: &Scenario, report: &Report, connections: bool) -> String {
    let mut text = format!("{}: {}\n\n", scenario.name, scenario.summary);
    let _ = writeln!(
        text,
        "seed {}: {} packets in {} of virtual time, digest {}",
        report.seed,
        report.packets,
        seconds(report.time_ns),
        report.digest
    );
    text.push_str("\nFlows\n");
    for flow in &report.flows {
        text.push_str(&flow_line(flow));
    }
    if report.connections.len() > 1 {
        let _ = writeln!(text, "  Jain's index of all goodputs: {:.3}", report.fairness);
    }
    text.push_str("\nLinks\n");
    for link in &report.links {
        text.push_str(&link_line(link));
    }
    if !report.faults.is_empty() {
        text.push_str("\nFaults\n");
        for fault in &report.faults {
            let _ = writeln!(text, "  {}: {}, {} times", fault.place, fault.fault, fault.fired);
        }
    }
    if connections {
        text.push_str("\nConnections\n");
        for connection in &report.connections {
            text.push_str(&connection_lines(connection));
        }
    }
    text.push('\n');
    if report.passed() {
        text.push_str("Passed: every byte, every end and every record is accounted for.\n");
    } else {
        text.push_str("FAILED\n");
        text.push_str(&failures(report));
    }
    text
}

fn failures(report: &Report) -> String {
    report.failures.iter().fold(String::new(), |mut text, failure| {
        let _ = writeln!(text, "  {}", failure.text);
        text
    })
}

/// A seed that failed, and how to see it again.
pub(super) fn failed_seed(name: &str, report: &Report) -> String {
    format!(
        "seed {} FAILED (again: lastack sim {name} --seed {})\n{}",
        report.seed,
        report.seed,
        failures(report)
    )
}

/// What many seeds came to.
pub(super) fn totals(seeds: &Range<u64>, tally: &Tally, time: Duration) -> String {
    let time = time.as_secs_f64();
    format!(
        "{} seeds ({}..{}), {} failed; {} packets, {:.0} s of virtual time, in {time:.1} s\n",
        tally.runs,
        seeds.start,
        seeds.end,
        tally.failed,
        tally.packets,
        tally.virtual_ns as f64 / 1e9
    )
}

fn flow_line(flow: &FlowReport) -> String {
    let mut text = format!("  {}: {} of {} connections done", flow.flow, flow.completed, flow.connections);
    let _ = write!(text, ", {} up, {} down", bytes(flow.up_bytes), bytes(flow.down_bytes));
    let (goodput, duration) = (flow.goodput, flow.duration_us);
    if flow.connections > 1 {
        let (median, p99) = (micros(duration.median), micros(duration.p99));
        let _ = write!(text, ", median {median}, 99 % below {p99}");
    } else {
        let _ = write!(text, ", {} in {}", bits(goodput.max), micros(duration.max));
    }
    let _ = writeln!(text, ", {} segments sent again", flow.retransmissions);
    text
}

fn link_line(link: &LinkReport) -> String {
    let mut text = format!("  {}: {} packets, {}", link.link, link.packets, bytes(link.bytes));
    for (cause, n) in &link.lost {
        let _ = write!(text, ", {n} lost ({cause})");
    }
    let more = [
        (link.marked, "marked"),
        (link.duplicated, "doubled"),
        (link.reordered, "held back"),
        (link.corrupted, "damaged"),
    ];
    for (n, what) in more.into_iter().filter(|(n, _)| *n > 0) {
        let _ = write!(text, ", {n} {what}");
    }
    if link.queue_packets > 0 {
        let (mean, longest) = (micros(link.queue_mean_us as f64), micros(link.queue_longest_us as f64));
        let _ = write!(text, ", queue {} packets, {mean} on average, {longest} at most", link.queue_packets);
    }
    text.push('\n');
    text
}

fn connection_lines(connection: &ConnectionReport) -> String {
    let mut text = format!(
        "  {} {} at {}, {}\n",
        connection.flow,
        connection.index,
        seconds(connection.began_ns),
        bits(connection.goodput)
    );
    text.push_str(&end_line("client", &connection.client));
    match &connection.server {
        Some(server) => text.push_str(&end_line("server", server)),
        None => text.push_str("    server: never accepted it\n"),
    }
    text
}

fn end_line(who: &str, end: &EndReport) -> String {
    let mut text = format!("    {who}: {} written, {} read, {}", end.wrote, end.read, end.outcome);
    if let Some(ending) = &end.ending {
        let _ = write!(text, "; {ending}");
    }
    text.push('\n');
    text
}

fn seconds(nanos: u64) -> String {
    format!("{:.3} s", nanos as f64 / 1e9)
}

fn micros(micros: f64) -> String {
    if micros >= 1e6 { format!("{:.2} s", micros / 1e6) } else { format!("{:.1} ms", micros / 1e3) }
}

fn bytes(n: u64) -> String {
    let n = n as f64;
    if n >= 1e6 { format!("{:.2} MB", n / 1e6) } else { format!("{:.1} kB", n / 1e3) }
}

fn bits(rate: f64) -> String {
    format!("{:.2} Mbit/s", rate / 1e6)
}

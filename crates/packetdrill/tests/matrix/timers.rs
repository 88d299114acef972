//! From a row of `tests/packetdrill/matrix/timers.txt` to scripts, whose times depend on who has to pass them.

use super::table::{Cell, State, find, path, rows, seen_by_owner, still_there};
use lastack_packetdrill::suite::Target;
use std::fmt::Write as _;

/// Reads the table of timers.
pub(crate) fn cells(text: &str) -> Vec<Cell> {
    rows(text).flat_map(row).collect()
}

fn row(line: &str) -> Vec<Cell> {
    let parts: Vec<&str> = line.split(';').map(str::trim).collect();
    let [name, before, steps, end, states] = parts[..] else { panic!("a row has five parts: {line}") };
    let cell = |given: &str| Cell {
        name: format!("{name} in {given}"),
        script: script((name, given), before, steps, end),
        version: None,
        lastack_alone: end.split_whitespace().any(|word| word == "lastack"),
    };
    states.split(',').map(cell).collect()
}

fn script((name, given): (&str, &str), before: &str, steps: &str, end: &str) -> String {
    let mut out = String::new();
    for setting in listed(before) {
        let _ = writeln!(out, "{setting}");
    }
    let mut state = path(&mut out, name, given, "a timer");
    let words: Vec<&str> = end.split_whitespace().collect();
    for step in listed(steps) {
        if let Some(after) = step.strip_prefix("end@") {
            ends(&mut out, &state, after);
            continue;
        }
        state.owned &= !step.contains("close(3)");
        let numbers = [("UNA", state.una), ("NXT", state.nxt), ("FIN", state.nxt - 1), ("RCV", state.rcv)];
        let line = numbers
            .iter()
            .fold(step.to_owned(), |line, (name, value)| line.replace(name, &value.to_string()));
        let _ = writeln!(out, "{line}");
    }
    let left = if words[0] == "=" { given } else { words[0] };
    if left != given && left != "gone" {
        state = find(left);
    }
    if state.owned {
        seen_by_owner(&mut out, left, &words[1..]);
    }
    still_there(&mut out, left, &state, "-");
    out
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split('&').map(str::trim).filter(|item| *item != "-")
}

/// The record is there until `after` milliseconds have passed, and not longer.
fn ends(out: &mut String, state: &State, after: &str) {
    if state.owned {
        let _ = writeln!(out, "@until {after} %{{ assert tcpi_state != TCP_CLOSE }}%");
    } else {
        let _ = writeln!(out, "@until {after} < . 400001:400006(5) ack {} win 65535", state.una);
        let _ = writeln!(out, "+0 > . {0}:{0}(0) ack {1}", state.nxt, state.rcv);
    }
    let _ = writeln!(out, "@past {after} `true`");
}

/// The script with times: for lastack those of Linux's nominal schedule, to the millisecond; for the kernel what its tick, its
/// timer wheel and its scheduler make of them.
pub(crate) fn timed(script: &str, target: Target) -> String {
    let exact = target == Target::Lastack;
    let mut out = String::new();
    for line in script.lines() {
        let Some(text) = line.strip_prefix('@') else {
            let _ = writeln!(out, "{line}");
            continue;
        };
        let (word, text) = text.split_once(' ').expect("a time and an event");
        let (ms, text) = if word.parse::<u32>().is_ok() {
            (word, text)
        } else {
            text.split_once(' ').expect("milliseconds and an event")
        };
        let nominal = f64::from(ms.parse::<u32>().expect("milliseconds")) / 1000.0;
        let _ = match (word, exact) {
            ("until", true) => writeln!(out, "+{:.3} {text}", nominal - 0.001),
            ("until", false) => writeln!(out, "+{:.3} {text}", nominal * 0.9),
            ("past", true) => writeln!(out, "+.001 {text}"),
            ("past", false) => writeln!(out, "+{:.3} {text}", nominal * 0.35 + 0.2),
            (_, true) => writeln!(out, "+{nominal:.3} {text}"),
            (_, false) => writeln!(out, "+{:.3}~+{:.3} {text}", nominal * 0.98, nominal * 1.125 + 0.05),
        };
    }
    out
}

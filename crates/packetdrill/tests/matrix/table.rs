//! From a row of `tests/packetdrill/matrix/*.txt` to scripts.

use std::fmt::Write as _;

/// The window that is offered with [`BUFFER`]: a multiple of the MSS.
const WINDOW: i64 = 64_240;
/// A receive buffer that is used up by [`WINDOW`]. With a larger one and without window scaling Linux reckons with a window
/// that is larger than the field of the header can say.
const BUFFER: &str = "`echo 4096 128480 128480 > /proc/sys/net/ipv4/tcp_rmem`";

/// The line before the event.
const EVENT: &str = "// the event";

/// A cell of the matrix as a script.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) script: String,
    /// The IP version that it is for, if it is for one alone.
    pub(crate) version: Option<&'static str>,
    /// No script can ask the kernel.
    pub(crate) lastack_alone: bool,
}

/// Numbers of a state, as scripts count: our SYN and the peer's have 0.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pub(crate) name: &'static str,
    /// RCV.NXT
    pub(crate) rcv: i64,
    /// SND.UNA
    pub(crate) una: i64,
    /// SND.NXT
    pub(crate) nxt: i64,
    /// A descriptor, 3, is still held.
    pub(crate) owned: bool,
}

const SOCKET: &[&str] = &["0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3"];
const SHUT_RD: &[&str] = &["+0 shutdown(3, SHUT_RD) = 0"];
const CONNECT: &[&str] = &[
    "0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3",
    "+0 connect(3, ..., ...) = -1 EINPROGRESS",
    "+0 > S 0:0(0) <...>",
];
const LISTEN: &[&str] = &[
    "0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3",
    "+0 bind(3, ..., ...) = 0",
    "+0 listen(3, 16) = 0",
];
const REQUEST: &[&str] = &["+0 < S 0:0(0) win 65535 <mss 1460>", "+0 > S. 0:0(0) ack 1 <mss 1460>"];
const OPEN: &[&str] = &["+0 < S. 0:0(0) ack 1 win 65535 <mss 1460>", "+0 > . 1:1(0) ack 1"];
const SHUT: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 1:1(0) ack 1"];
const CLOSE: &[&str] = &["+0 close(3) = 0"];
const OUR_FIN_ACKED: &[&str] = &["+0 < . 1:1(0) ack 2 win 65535"];
const CROSS: &[&str] = &["+0 < F. 1:1(0) ack 1 win 65535", "+0 > . 2:2(0) ack 2"];
const PEER_FIN: &[&str] = &["+0 < F. 1:1(0) ack 1 win 65535", "+0~+.2 > . 1:1(0) ack 2"];
const LAST: &[&str] = &["+0 < F. 1:1(0) ack 2 win 65535", "+0 > . 2:2(0) ack 2"];
const SHUT_LAST: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 1:1(0) ack 2"];
const CROSSED_SYN: &[&str] = &["+0 < S 0:0(0) win 65535 <mss 1460>", "+0 > S. 0:0(0) ack 1 <...>"];

/// The same with five bytes that nobody has read.
const UNREAD: &[&str] = &["+0 < P. 1:6(5) ack 1 win 65535", "+0~+.2 > . 1:1(0) ack 6"];
const SHUT_6: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 1:1(0) ack 6"];
const OUR_FIN_ACKED_6: &[&str] = &["+0 < . 6:6(0) ack 2 win 65535"];
const CROSS_6: &[&str] = &["+0 < F. 6:6(0) ack 1 win 65535", "+0 > . 2:2(0) ack 7"];
const LAST_6: &[&str] = &["+0 < F. 6:6(0) ack 2 win 65535", "+0 > . 2:2(0) ack 7"];
const PEER_FIN_6: &[&str] = &["+0 < F. 6:6(0) ack 1 win 65535", "+0~+.2 > . 1:1(0) ack 7"];
const SHUT_LAST_7: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 1:1(0) ack 7"];
/// The same with 1000 bytes in flight and 500 behind the peer's window.
const OPEN_SMALL: &[&str] = &["+0 < S. 0:0(0) ack 1 win 1000 <mss 1460>", "+0 > . 1:1(0) ack 1"];
const QUEUE: &[&str] = &["+0 write(3, ..., 1500) = 1500", "+0 > P. 1:1001(1000) ack 1"];
const SHUT_BEHIND: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0"];
const PEER_FIN_NOW: &[&str] = &["+0 < F. 1:1(0) ack 1 win 1000", "+0~+.2 > . 1001:1001(0) ack 2"];

/// The same with 100 bytes in flight.
const TEXT: &[&str] = &["+0 write(3, ..., 100) = 100", "+0 > P. 1:101(100) ack 1"];
const TEXT_2: &[&str] = &["+0 write(3, ..., 100) = 100", "+0 > P. 1:101(100) ack 2"];
const SHUT_AFTER: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 101:101(0) ack 1"];
const SHUT_AFTER_2: &[&str] = &["+0 shutdown(3, SHUT_WR) = 0", "+0 > F. 101:101(0) ack 2"];
/// The same with 100 bytes behind a window of zero.
const NO_WINDOW: &[&str] = &["+0 < . 1:1(0) ack 1 win 0"];
const NO_WINDOW_2: &[&str] = &["+0 < . 2:2(0) ack 1 win 0"];
const STUCK: &[&str] = &["+0 write(3, ..., 100) = 100"];
const PEER_FIN_AT_ONCE: &[&str] = &["+0 < F. 1:1(0) ack 1 win 0", "+0 > . 1:1(0) ack 2"];

/// Parts of the way to a state.
type Way = &'static [&'static [&'static str]];

const fn state(name: &'static str, rcv: i64, una: i64, nxt: i64, owned: bool) -> State {
    State { name, rcv, una, nxt, owned }
}

/// States with the parts of the way to them.
const STATES: [(State, Way); 45] = [
    (state("CL", 1, 1, 1, false), &[]),
    (state("CLs", 1, 1, 1, false), &[SOCKET]),
    (state("LI", 1, 1, 1, false), &[LISTEN]),
    (state("SS", 1, 1, 1, true), &[CONNECT]),
    (state("NSR", 1, 1, 1, false), &[LISTEN, REQUEST]),
    (state("SR", 1, 1, 1, true), &[CONNECT, CROSSED_SYN]),
    (state("ES", 1, 1, 1, true), &[CONNECT, OPEN]),
    (state("F1", 1, 1, 2, true), &[CONNECT, OPEN, SHUT]),
    (state("F1o", 1, 1, 2, false), &[CONNECT, OPEN, SHUT, CLOSE]),
    (state("F2", 1, 2, 2, true), &[CONNECT, OPEN, SHUT, OUR_FIN_ACKED]),
    (state("F2o", 1, 2, 2, false), &[CONNECT, OPEN, SHUT, OUR_FIN_ACKED, CLOSE]),
    (state("CG", 2, 1, 2, true), &[CONNECT, OPEN, SHUT, CROSS]),
    (state("CGo", 2, 1, 2, false), &[CONNECT, OPEN, SHUT, CROSS, CLOSE]),
    (state("TW", 2, 2, 2, true), &[CONNECT, OPEN, SHUT, OUR_FIN_ACKED, LAST]),
    (state("TWo", 2, 2, 2, false), &[CONNECT, OPEN, SHUT, OUR_FIN_ACKED, LAST, CLOSE]),
    (state("CW", 2, 1, 1, true), &[CONNECT, OPEN, PEER_FIN]),
    (state("LA", 2, 1, 2, true), &[CONNECT, OPEN, PEER_FIN, SHUT_LAST]),
    (state("LAo", 2, 1, 2, false), &[CONNECT, OPEN, PEER_FIN, SHUT_LAST, CLOSE]),
    (state("ESu", 6, 1, 1, true), &[CONNECT, OPEN, UNREAD]),
    (state("F1u", 6, 1, 2, true), &[CONNECT, OPEN, UNREAD, SHUT_6]),
    (state("F2u", 6, 2, 2, true), &[CONNECT, OPEN, UNREAD, SHUT_6, OUR_FIN_ACKED_6]),
    (state("CGu", 7, 1, 2, true), &[CONNECT, OPEN, UNREAD, SHUT_6, CROSS_6]),
    (state("TWu", 7, 2, 2, true), &[CONNECT, OPEN, UNREAD, SHUT_6, OUR_FIN_ACKED_6, LAST_6]),
    (state("CWu", 7, 1, 1, true), &[CONNECT, OPEN, UNREAD, PEER_FIN_6]),
    (state("LAu", 7, 1, 2, true), &[CONNECT, OPEN, UNREAD, PEER_FIN_6, SHUT_LAST_7]),
    (state("ESq", 1, 1, 1001, true), &[CONNECT, OPEN_SMALL, QUEUE]),
    (state("F1q", 1, 1, 1001, true), &[CONNECT, OPEN_SMALL, QUEUE, SHUT_BEHIND]),
    (state("CGq", 2, 1, 1001, true), &[CONNECT, OPEN_SMALL, QUEUE, SHUT_BEHIND, PEER_FIN_NOW]),
    (state("CWq", 2, 1, 1001, true), &[CONNECT, OPEN_SMALL, QUEUE, PEER_FIN_NOW]),
    (state("LAq", 2, 1, 1001, true), &[CONNECT, OPEN_SMALL, QUEUE, PEER_FIN_NOW, SHUT_BEHIND]),
    (state("ESr", 1, 1, 1, true), &[CONNECT, OPEN, SHUT_RD]),
    (state("F1r", 1, 1, 2, true), &[CONNECT, OPEN, SHUT, SHUT_RD]),
    (state("F2r", 1, 2, 2, true), &[CONNECT, OPEN, SHUT, OUR_FIN_ACKED, SHUT_RD]),
    (state("CGr", 2, 1, 2, true), &[CONNECT, OPEN, SHUT, CROSS, SHUT_RD]),
    (state("CWr", 2, 1, 1, true), &[CONNECT, OPEN, PEER_FIN, SHUT_RD]),
    (state("LAr", 2, 1, 2, true), &[CONNECT, OPEN, PEER_FIN, SHUT_LAST, SHUT_RD]),
    (state("ESd", 1, 1, 101, true), &[CONNECT, OPEN, TEXT]),
    (state("F1d", 1, 1, 102, true), &[CONNECT, OPEN, TEXT, SHUT_AFTER]),
    (state("CWd", 2, 1, 101, true), &[CONNECT, OPEN, PEER_FIN, TEXT_2]),
    (state("LAd", 2, 1, 102, true), &[CONNECT, OPEN, PEER_FIN, TEXT_2, SHUT_AFTER_2]),
    (state("ESz", 1, 1, 1, true), &[CONNECT, OPEN, NO_WINDOW, STUCK]),
    (state("F1z", 1, 1, 1, true), &[CONNECT, OPEN, NO_WINDOW, STUCK, SHUT_BEHIND]),
    (state("CGz", 2, 1, 1, true), &[CONNECT, OPEN, NO_WINDOW, STUCK, SHUT_BEHIND, PEER_FIN_AT_ONCE]),
    (state("CWz", 2, 1, 1, true), &[CONNECT, OPEN, PEER_FIN, NO_WINDOW_2, STUCK]),
    (state("LAz", 2, 1, 1, true), &[CONNECT, OPEN, PEER_FIN, NO_WINDOW_2, STUCK, SHUT_BEHIND]),
];

fn way(name: &str) -> (State, Way) {
    *STATES.iter().find(|(state, _)| state.name == name).unwrap_or_else(|| panic!("no state '{name}'"))
}

pub(crate) fn find(name: &str) -> State {
    way(name).0
}

/// Reads a table.
pub(crate) fn cells(text: &str) -> Vec<Cell> {
    rows(text).flat_map(row).collect()
}

fn row(line: &str) -> Vec<Cell> {
    let [name, segment, cells] = three(line);
    let mut done: Vec<(String, Cell)> = Vec::new();
    for text in cells.split('|').map(str::trim) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [states, next, answer, views @ ..] = &words[..] else { panic!("a cell has three words: {text}") };
        let version = ["ipv4", "ipv6"].into_iter().find(|version| views.contains(version));
        for given in states.replace("sync", "ES,F1,F2,CG,CW,LA").split(',') {
            for state in std::iter::once(given.to_owned()).chain(orphan_of(given)) {
                let own = state == given;
                let killed = segment.starts_with('`');
                let is_call = segment.ends_with(')') && segment.contains("(3") || killed;
                if is_call && !own && !killed {
                    continue;
                }
                let write = if is_call { call_script } else { script };
                let cell = Cell {
                    name: format!("{name} in {state}"),
                    script: write(name, &state, segment, next, answer, views),
                    version,
                    lastack_alone: false,
                };
                match done.iter_mut().find(|(known, cell)| *known == state && cell.version == version) {
                    // A cell of the state without an owner comes before or after the one it stands against.
                    Some(known) if own => known.1 = cell,
                    Some(_) => {}
                    None => done.push((state, cell)),
                }
            }
        }
    }
    done.into_iter().map(|(_, cell)| cell).collect()
}

fn orphan_of(state: &str) -> Option<String> {
    ["F1", "CG", "TW", "LA"].contains(&state).then(|| format!("{state}o"))
}

/// A number with a sign behind its name.
fn place(text: &str, state: &State) -> i64 {
    let split = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(split);
    let base = match name {
        "rcv" => state.rcv,
        // A FIN takes its number of the window, whose end stays.
        "edge" => 1 + WINDOW,
        "isn" => 0,
        other => panic!("no place '{other}'"),
    };
    base + if offset.is_empty() { 0 } else { offset.parse::<i64>().expect("an offset") }
}

fn wrapped(number: i64) -> u32 {
    number as u32
}

/// An ICMP error about the segment at SND.UNA.
fn message(text: &str, state: &State) -> Segment {
    let (message, far) = text.strip_suffix(" far").map_or((text, 0), |message| (message, 5000));
    let una = if ["SS", "SR", "NSR"].contains(&state.name) { 0 } else { state.una } + far;
    Segment { line: format!("{message} [{una}:{una}(0)]"), ack: 0, end: 0, opened: 0 }
}

/// If the event has the word `stale`: the script with timestamps in all that the peer sends, a stale one in the event.
fn stamped(script: String, event: &str) -> String {
    if !event.ends_with(" stale") {
        return script;
    }
    let mut out = String::new();
    let mut value = 2000;
    for line in script.lines() {
        let stamp = format!("nop,nop,TS val {value} ecr 0>");
        let (rest, options) = line.split_once(" <mss").map_or((line, ""), |(rest, _)| (rest, "mss 1460,"));
        let _ = match line.split_whitespace().nth(1) {
            _ if line.starts_with("//") => writeln!(out, "{line}"),
            Some("<") => writeln!(out, "{rest} <{options}{stamp}"),
            Some(">") => writeln!(out, "{} <...>", rest.trim_end_matches(" <...>")),
            _ => writeln!(out, "{line}"),
        };
        value = if line == EVENT { 1000 } else { 2000 };
    }
    out
}

/// The event's segment, and what is needed to know the answer.
struct Segment {
    line: String,
    ack: u32,
    end: u32,
    /// What acknowledges its SYN and text; a FIN beside a SYN is not taken.
    opened: u32,
}

fn segment(text: &str, state: &State) -> Segment {
    let words: Vec<&str> = text.trim_end_matches(" stale").split_whitespace().collect();
    let [flags, place_and_len, ack] = words[..] else { panic!("a segment has three words: {text}") };
    let (at, len) = place_and_len.trim_end_matches(')').split_once('(').expect("SEQ(LENGTH)");
    let (seq, len) = (place(at, state), len.parse::<i64>().expect("a length"));
    let ack = match ack {
        "-" => None,
        "una" => Some(state.una),
        "syn" => Some(1),
        "fin" => Some(2),
        "far" => Some(5001),
        "old" => Some(-20_000_000),
        other => panic!("no acknowledgement '{other}'"),
    };
    let (from, to) = (wrapped(seq), wrapped(seq + len));
    let mut line = format!("{flags} {from}:{to}({len})");
    if let Some(ack) = ack {
        let _ = write!(line, " ack {}", wrapped(ack));
    }
    line.push_str(" win 65535");
    if flags.contains('S') {
        line.push_str(" <mss 1460>");
    }
    let controls = flags.chars().filter(|c| "SF".contains(*c)).count() as i64;
    let opened = wrapped(seq + len + controls.min(1));
    Segment { line, ack: wrapped(ack.unwrap_or(0)), end: wrapped(seq + len + controls), opened }
}

fn answers(text: &str, state: &State, segment: &Segment) -> Vec<String> {
    let one = |token: &str| {
        let (name, more) = token.split_once('+').unwrap_or((token, "0"));
        let ack = state.rcv + more.parse::<i64>().unwrap_or(0);
        let nxt = state.nxt;
        match name {
            _ if token == "rst+ack" => format!("+0 > R. 0:0(0) ack {}", segment.end),
            "ACK" | "CH" => format!("+0 > . {nxt}:{nxt}(0) ack {ack}"),
            "ack" => format!("+0~+.2 > . {nxt}:{nxt}(0) ack {ack}"),
            "rst" => format!("+0 > R {0}:{0}(0)", segment.ack),
            "SA" => format!("+0 > S. 0:0(0) ack {} <mss 1460>", segment.opened),
            "SA*" => format!("+0 > S. 0:0(0) ack {} <...>", segment.opened),
            "SYN" => "+0 > S 0:0(0) <...>".to_owned(),
            _ => panic!("no answer '{token}'"),
        }
    };
    text.split('&').filter(|token| *token != "-").map(one).collect()
}

/// The lines that lead to a state.
pub(crate) fn path(out: &mut String, name: &str, state: &str, event: &str) -> State {
    let (before, way) = way(state);
    let _ = writeln!(out, "// {name}, in {state}: {event}");
    if event.contains("edge") {
        let _ = writeln!(out, "{BUFFER}");
    }
    for line in way.iter().copied().flatten() {
        let _ = writeln!(out, "{line}");
    }
    before
}

fn call_script(name: &str, state: &str, event: &str, next: &str, answer: &str, words: &[&str]) -> String {
    let mut out = String::new();
    let before = path(&mut out, name, state, event);
    let calls: Vec<&str> = event.split('&').map(str::trim).collect();
    let result = match words.first() {
        Some(word) if word.starts_with('E') => format!("-1 {word}"),
        Some(word) => (*word).to_owned(),
        None => "0".to_owned(),
    };
    let _ = writeln!(out, "{EVENT}");
    for (at, call) in calls.iter().enumerate() {
        let last = at + 1 == calls.len();
        let time = if at == 0 { "+.01" } else { "+0" };
        let result = if last && !call.starts_with('`') { format!(" = {result}") } else { String::new() };
        let _ = writeln!(out, "{time} {call}{result}");
    }
    let (nxt, rcv) = (before.nxt, before.rcv);
    let mut after = before;
    match answer {
        "-" => {}
        "FIN" => {
            let _ = writeln!(out, "+0 > F. {nxt}:{nxt}(0) ack {rcv}");
            after.nxt += 1;
        }
        "P5" => {
            let _ = writeln!(out, "+0 > P. {nxt}:{}(5) ack {rcv}", nxt + 5);
            after.nxt += 5;
        }
        "RST" => {
            let _ = writeln!(out, "+0 > R. {nxt}:{nxt}(0) ack {rcv}");
        }
        other => panic!("no answer '{other}'"),
    }
    let left = if next == "=" { state } else { next };
    let killed = event.starts_with('`');
    if before.owned && killed {
        seen_by_owner(&mut out, left, words);
    } else if before.owned && !event.contains("close") && !event.contains("SHUT_RD") && left != "gone" {
        seen_by_owner(&mut out, left, &[]);
    }
    if killed {
        let _ = writeln!(out, "+.01 < . 301:301(0) ack 77 win 65535\n+0 > R 77:77(0)");
        return out;
    }
    if let Some(error) = words.get(1).filter(|word| word.starts_with('E')) {
        let _ = writeln!(out, "+0 getsockopt(3, SOL_SOCKET, SO_ERROR, [{error}], [4]) = 0");
    }
    if words.contains(&"flush") {
        let _ = writeln!(out, "+.01 < . {rcv}:{rcv}(0) ack {nxt} win 65535");
        let _ = writeln!(out, "+0 > FP. {nxt}:{}(500) ack {rcv}", nxt + 500);
        return out;
    }
    if before.name == "SS" && left == "gone" {
        // The SYN-ACK that comes later finds nothing.
        let _ = writeln!(out, "+.01 < S. 0:0(0) ack 1 win 65535 <mss 1460>\n+0 > R 1:1(0)");
    }
    still_there(&mut out, left, &after, answer);
    out
}

fn script(name: &str, state: &str, event: &str, next: &str, answer: &str, views: &[&str]) -> String {
    let mut out = String::new();
    let mut before = path(&mut out, name, state, event);
    let segment = if event.starts_with("icmp") { message(event, &before) } else { segment(event, &before) };
    let _ = writeln!(out, "{EVENT}\n+.01 < {}", segment.line);
    for line in answers(answer, &before, &segment) {
        let _ = writeln!(out, "{line}");
    }
    let after = match next {
        "=" => state,
        next => next,
    };
    if before.owned {
        seen_by_owner(&mut out, after, views);
    }
    if state == "NSR" && next != "=" {
        seen_by_listener(&mut out, after, views);
    }
    if state == "SS" && after == "SR" {
        before.rcv = i64::from(segment.opened);
    }
    if before.owned && views.contains(&"mss") {
        let _ = writeln!(out, "+0 %{{ assert tcpi_snd_mss == MSS_OF_1280 }}%");
    }
    still_there(&mut out, after, &before, answer);
    stamped(out, event)
}

/// When the event of [`time_wait_cells`] comes, and for how long nothing does then, in seconds: if TIME_WAIT began anew it
/// is left then, if not it ended, up to two seconds late as timers of the kernel may.
const EVENT_AFTER: u32 = 15;
const LOOK_AFTER: u32 = 52;

/// Reads a table: a script for each cell that says whether TIME_WAIT's 60 s begin anew.
pub(crate) fn time_wait_cells(text: &str) -> Vec<Cell> {
    let mut cells = Vec::new();
    for line in rows(text) {
        let [name, event, all] = three(line);
        for cell in all.split('|') {
            let words: Vec<&str> = cell.split_whitespace().collect();
            let Some(restarts) = ["keep", "restart"].iter().position(|word| words.contains(word)) else {
                continue;
            };
            let mut script = String::new();
            let state = path(&mut script, name, "TW", event);
            let segment = segment(event, &state);
            let _ = writeln!(script, "{EVENT}\n+{EVENT_AFTER} < {}", segment.line);
            for line in answers(words[2], &state, &segment) {
                let _ = writeln!(script, "{line}");
            }
            let (ack, answer) = if restarts == 1 { (2, "> . 2:2(0) ack 2") } else { (77, "> R 77:77(0)") };
            let _ = writeln!(script, "+{LOOK_AFTER} < . 400001:400006(5) ack {ack} win 65535\n+0 {answer}");
            let script = stamped(script, event);
            let name = format!("{name}: TIME_WAIT's {}", words[words.len() - 1]);
            cells.push(Cell { name, script, version: None, lastack_alone: false });
        }
    }
    cells
}

pub(crate) fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn three(line: &str) -> [&str; 3] {
    let parts: Vec<&str> = line.split(';').map(str::trim).collect();
    parts.try_into().unwrap_or_else(|_| panic!("a row has three parts: {line}"))
}

pub(crate) fn seen_by_owner(out: &mut String, after: &str, views: &[&str]) {
    let error = views.iter().find(|word| word.starts_with('E'));
    let unread = views.iter().find_map(|word| word.strip_prefix("read="));
    let name = if after == "gone" { after } else { &after[..2] };
    let (state, poll, read) = match name {
        "SS" => ("TCP_SYN_SENT", "0", "-1 EAGAIN"),
        "SR" => ("TCP_SYN_RECV", "0", "-1 EAGAIN"),
        "ES" if after == "ESr" => ("TCP_ESTABLISHED", "POLLIN|POLLOUT|POLLRDHUP", "0"),
        "ES" => ("TCP_ESTABLISHED", "POLLOUT", "-1 EAGAIN"),
        "F1" => ("TCP_FIN_WAIT1", "POLLOUT", "-1 EAGAIN"),
        "F2" => ("TCP_FIN_WAIT2", "POLLOUT", "-1 EAGAIN"),
        "CW" => ("TCP_CLOSE_WAIT", "POLLIN|POLLOUT|POLLRDHUP", "0"),
        "LA" => ("TCP_LAST_ACK", "POLLIN|POLLOUT|POLLRDHUP|POLLHUP", "0"),
        "CG" => ("TCP_CLOSING", "POLLIN|POLLOUT|POLLRDHUP|POLLHUP", "0"),
        // The small record has no descriptor: what is left of the socket is closed.
        "TW" => ("TCP_CLOSE", "POLLIN|POLLOUT|POLLRDHUP|POLLHUP", "0"),
        "gone" if error.is_some() => ("TCP_CLOSE", "POLLIN|POLLOUT|POLLERR|POLLHUP|POLLRDHUP", "0"),
        "gone" => ("TCP_CLOSE", "POLLIN|POLLOUT|POLLHUP|POLLRDHUP", "0"),
        other => panic!("no view of '{other}'"),
    };
    let poll =
        if unread.is_some() && !poll.contains("POLLIN") { format!("POLLIN|{poll}") } else { poll.to_owned() };
    let count = u8::from(poll != "0");
    let asked = "POLLIN|POLLOUT|POLLRDHUP";
    let _ = writeln!(out, "+0 %{{ assert tcpi_state == {state} }}%");
    let _ = writeln!(out, "+0 poll([{{fd=3, events={asked}, revents={poll}}}], 1, 0) = {count}");
    let _ = writeln!(out, "+0 getsockopt(3, SOL_SOCKET, SO_ERROR, [{}], [4]) = 0", error.unwrap_or(&"0"));
    if let Some(unread) = unread {
        let _ = writeln!(out, "+0 read(3, ..., 100) = {unread}");
    }
    let _ = writeln!(out, "+0 read(3, ..., 100) = {read}");
    if !["SS", "SR", "ES", "CW"].contains(&name) {
        let _ = writeln!(out, "+0 write(3, ..., 1) = -1 EPIPE");
    }
}

fn seen_by_listener(out: &mut String, after: &str, views: &[&str]) {
    if after == "gone" {
        let _ = writeln!(out, "+0 accept(3, ..., ...) = -1 EAGAIN");
        return;
    }
    let unread = views.iter().find_map(|word| word.strip_prefix("read="));
    let _ = writeln!(out, "+0 accept4(3, ..., ..., SOCK_NONBLOCK) = 4");
    let state = if after == "CW" { "TCP_CLOSE_WAIT" } else { "TCP_ESTABLISHED" };
    let _ = writeln!(out, "+0 %{{ assert tcpi_state == {state} }}%");
    if let Some(unread) = unread {
        let _ = writeln!(out, "+0 read(4, ..., 100) = {unread}");
    }
    let _ = writeln!(out, "+0 read(4, ..., 100) = {}", if after == "CW" { "0" } else { "-1 EAGAIN" });
}

/// A further segment of the peer shows whether a record is left. Text beyond the window is answered wherever one is.
pub(crate) fn still_there(out: &mut String, after: &str, before: &State, answer: &str) {
    match after {
        "CL" | "CLs" | "LI" | "SS" | "NSR" if before.name != "NSR" => {}
        // A request refuses wrong numbers too; the right ones would open the connection.
        "gone" if before.name == "NSR" => {
            let _ = writeln!(out, "+.01 < . 1:1(0) ack 1 win 65535\n+0 > R 1:1(0)");
        }
        "gone" => {
            let _ = writeln!(out, "+.01 < . 301:301(0) ack 77 win 65535\n+0 > R 77:77(0)");
        }
        _ => {
            let more = answer
                .split_once('+')
                .and_then(|(name, n)| (name != "rst").then(|| n.parse().ok()).flatten());
            let ack = before.rcv + more.unwrap_or(0);
            // What came together with an acknowledgement of our FIN moves nothing of ours.
            let nxt = before.nxt;
            let _ = writeln!(out, "+.01 < . 400001:400006(5) ack {} win 65535", before.una.max(1));
            let _ = writeln!(out, "+0 > . {nxt}:{nxt}(0) ack {ack}");
        }
    }
}

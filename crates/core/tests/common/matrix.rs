//! A table of (state, event) cells as text, in the notation of the tests that use it.
//!
//! A row is `columns next reply [view]`, rows parted by `|`. Columns: one or more of CL LI SS NSR SR ES F1 F1o F2 F2o CG
//! CGo TW TWo CW LA LAo, parted by commas; `sync` is `ES,F1,F2,CG,CW,LA`. What F1, CG, TW and LA say holds for the same
//! state without an owner, unless that has its own cell.
//!
//! Next: a column's name, `=` (stays) or `gone`. Reply: `-`; `ACK+n` at once, acknowledging n more than before; `ack+n`
//! the same within 200 ms; `CH` a challenge ACK (counted as one); `rst` SEQ=SEG.ACK; `rst+ack`; `RST` active; `SA`, `SA*`;
//! `SYN`; `FIN`; several are joined by `&`. Views: the errno name of the stored error; `restart` or `keep` for TIME_WAIT; what
//! else there is concerns the scripts.

use super::packet::{SegSpec, Sent};
use super::rig::{Rig, Setup};
use super::{Flags, Start, ms, s};
use lastack_core::{Error, State};

/// A cell, read.
#[derive(Clone, Debug)]
pub struct Cell {
    pub start: Start,
    pub column: String,
    next: String,
    reply: String,
    views: Vec<String>,
}

fn starts(column: &str) -> &'static [Start] {
    match column {
        "CL" => &[Start::Nothing],
        "LI" => &[Start::Listen],
        "SS" => &[Start::SynSent],
        "NSR" => &[Start::NewSynRecv],
        "SR" => &[Start::SynReceived],
        "ES" => &[Start::Established],
        "F1" => &[Start::FinWait1, Start::FinWait1Orphan],
        "F1o" => &[Start::FinWait1Orphan],
        "F2" => &[Start::FinWait2],
        "F2o" => &[Start::FinWait2Orphan],
        "CG" => &[Start::Closing, Start::ClosingOrphan],
        "CGo" => &[Start::ClosingOrphan],
        "TW" => &[Start::TimeWait, Start::TimeWaitOrphan],
        "TWo" => &[Start::TimeWaitOrphan],
        "CW" => &[Start::CloseWait],
        "LA" => &[Start::LastAck, Start::LastAckOrphan],
        "LAo" => &[Start::LastAckOrphan],
        // What has no record, or differs for the application alone, is the scripts'.
        "CLs" | "ESr" | "F1r" | "F2r" | "CGr" | "CWr" | "LAr" => &[],
        _ => panic!("no column {column:?}"),
    }
}

fn state(code: &str) -> Option<State> {
    Some(match code {
        "gone" => return None,
        "SS" => State::SynSent,
        "NSR" => State::NewSynRecv,
        "SR" => State::SynReceived,
        "ES" => State::Established,
        "F1" => State::FinWait1,
        "F2" => State::FinWait2,
        "CG" => State::Closing,
        "TW" => State::TimeWait,
        "CW" => State::CloseWait,
        "LA" => State::LastAck,
        _ => panic!("no state {code:?}"),
    })
}

/// Name, event and cells of each row of a table under `tests/packetdrill/matrix`.
pub fn rows(text: &str) -> impl Iterator<Item = [&str; 3]> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let parts: Vec<&str> = line.split(';').map(str::trim).collect();
        parts.try_into().unwrap_or_else(|_| panic!("a row has three parts: {line}"))
    })
}

/// Reads a row.
pub fn cells(row: &str) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for text in row.split('|').filter(|text| !text.trim().is_empty()) {
        let mut words = text.split_whitespace();
        let columns = words.next().unwrap().replace("sync", "ES,F1,F2,CG,CW,LA");
        let next = words.next().expect("no next state").to_string();
        let reply = words.next().expect("no reply").to_string();
        let views: Vec<_> = words.map(String::from).collect();
        for column in columns.split(',') {
            for start in starts(column) {
                let cell = Cell {
                    start: *start,
                    column: column.into(),
                    next: next.clone(),
                    reply: reply.clone(),
                    views: views.clone(),
                };
                // A cell of an orphan's own comes before or after the one of the owned state: it wins.
                let own = column.ends_with('o');
                match cells.iter_mut().find(|old| old.start == *start) {
                    Some(old) if own => *old = cell,
                    Some(_) => {}
                    None => cells.push(cell),
                }
            }
        }
    }
    cells
}

fn error_named(name: &str) -> Option<i32> {
    Some(match name {
        "EPIPE" => 32,
        "EPROTO" => 71,
        "ENOPROTOOPT" => 92,
        "ENETUNREACH" => 101,
        "ECONNABORTED" => 103,
        "ECONNRESET" => 104,
        "ETIMEDOUT" => 110,
        "ECONNREFUSED" => 111,
        "EHOSTUNREACH" => 113,
        _ => return None,
    })
}

/// Numbers to judge a reply by.
pub struct Before {
    pub rcv_nxt: i64,
    pub snd_nxt: i64,
    pub seg_ack: i64,
    pub seg_end: i64,
    /// The same without a FIN beside a SYN, which is not taken.
    pub seg_opened: i64,
    pub challenges: u64,
}

impl Cell {
    /// Puts a rig into the cell's state; TIME_WAIT is 6 s old.
    pub fn rig(&self, setup: &Setup) -> Rig {
        let mut rig = self.start.rig(setup.clone());
        if self.start.state() == Some(State::TimeWait) {
            rig.advance(s(6));
        }
        rig.expect_nothing();
        rig
    }

    pub fn before(&self, rig: &Rig, spec: Option<&SegSpec>) -> Before {
        let len = |spec: &SegSpec| {
            let controls = [Flags::SYN, Flags::FIN].into_iter().filter(|flag| spec.flags.contains(*flag));
            (spec.payload.len() + controls.count()) as i64
        };
        Before {
            rcv_nxt: self.start.rcv_nxt(),
            snd_nxt: self.start.snd_nxt(),
            seg_ack: spec.map_or(0, |spec| spec.ack),
            seg_end: spec.map_or(0, |spec| spec.seq + len(spec)),
            seg_opened: spec.map_or(0, |spec| spec.seq + len(spec).min(spec.payload.len() as i64 + 1)),
            challenges: rig.stack.counters().challenge_acks,
        }
    }

    /// What is wrong after the event; empty if nothing.
    pub fn check(&self, mut rig: Rig, before: &Before) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_reply(&mut rig, before, &mut wrong);
        let wanted = if self.next == "=" { self.start.state() } else { state(&self.next) };
        if rig.state() != wanted {
            wrong.push(format!("next state {:?} instead of {wanted:?}", rig.state()));
        }
        if let Some(h) = rig.socket.filter(|_| self.start != Start::TimeWait) {
            let wanted = self.views.iter().find_map(|view| error_named(view));
            let error = rig.stack.tcp_take_error(h).map(Error::errno);
            if error != wanted {
                wrong.push(format!("SO_ERROR {error:?} instead of {wanted:?}"));
            }
        }
        for view in &self.views {
            if view == "restart" || view == "keep" {
                let mut later = rig.clone();
                later.advance(s(54) + ms(1));
                if later.state().is_some() != (view == "restart") {
                    wrong.push(format!("TIME_WAIT after 60 s is {:?}, expected {view}", later.state()));
                }
            }
        }
        // Whatever happened, nothing stays for ever once everybody has let go.
        if let Some(h) = rig.socket.take() {
            rig.stack.tcp_close(rig.now, h);
        }
        if let Some(h) = rig.listener.take() {
            rig.stack.tcp_close(rig.now, h);
        }
        rig.advance(s(400));
        if rig.stack.counts() != lastack_core::Counts::default() || !rig.stack.is_idle() {
            wrong.push(format!("left behind: {:?}", rig.stack.counts()));
        }
        if rig.stack.next_timeout().is_some() {
            wrong.push("a timer is armed for nothing".into());
        }
        wrong
    }

    fn check_reply(&self, rig: &mut Rig, before: &Before, wrong: &mut Vec<String>) {
        let mut sent = core::mem::take(&mut rig.sent);
        if self.reply.starts_with("ack") {
            if !sent.is_empty() {
                // At once is allowed as well.
            } else {
                rig.advance(ms(200));
                sent = core::mem::take(&mut rig.sent);
            }
        }
        let got: Vec<String> = sent.iter().map(Sent::text).collect();
        let wanted: Vec<String> = self
            .reply
            .split('&')
            .filter(|token| *token != "-")
            .map(|token| expected_reply(token, before))
            .collect();
        if got != wanted {
            wrong.push(format!("sent {got:?} instead of {wanted:?}"));
        }
        let challenged = rig.stack.counters().challenge_acks - before.challenges;
        if (challenged == 1) != self.reply.contains("CH") {
            wrong.push(format!("{challenged} challenge ACKs were counted"));
        }
    }
}

fn expected_reply(token: &str, before: &Before) -> String {
    let (name, more) = token.split_once('+').map_or((token, 0), |(name, n)| (name, n.parse().unwrap_or(0)));
    let (snd, rcv) = (before.snd_nxt, before.rcv_nxt + more);
    match name {
        _ if token == "rst+ack" => format!("RST,ACK #0(0) ack {}", before.seg_end),
        "ACK" | "ack" | "CH" => format!("ACK {snd}(0) ack {rcv}"),
        "rst" => format!("RST {}(0)", before.seg_ack),
        "RST" => format!("RST,ACK {snd}(0) ack {rcv}"),
        "FIN" => format!("FIN,ACK {snd}(0) ack {rcv}"),
        "SYN" => "SYN -1(0)".into(),
        "SA" | "SA*" => format!("SYN,ACK -1(0) ack {}", before.seg_opened),
        _ => panic!("no reply {token:?}"),
    }
}

/// Runs an event in each cell of a row and collects what fails, by name.
pub fn run_row(
    name: &str,
    setup: &Setup,
    row: &str,
    mut event: impl FnMut(Start, &mut Rig) -> Option<SegSpec>,
    failures: &mut Vec<String>,
) -> usize {
    let cells = cells(row);
    for cell in &cells {
        let mut rig = cell.rig(setup);
        let mut probe = rig.clone();
        // Once on a copy, to know the segment; the numbers before are needed to judge the answer.
        let spec = event(cell.start, &mut probe);
        let before = cell.before(&rig, spec.as_ref());
        event(cell.start, &mut rig);
        // The ISN of a SYN-ACK becomes known with it.
        if let Some(answer) = rig.sent.iter().find(|sent| sent.flags == Flags::SYN | Flags::ACK)
            && cell.start == Start::Listen
        {
            let iss = answer.seq;
            rig.iss = iss;
            for sent in &mut rig.sent {
                sent.rel_seq = sent.seq - (iss + 1);
            }
        }
        for wrong in cell.check(rig, &before) {
            failures.push(format!("{name} in {} ({:?}): {wrong}", cell.column, cell.start));
        }
    }
    cells.len()
}

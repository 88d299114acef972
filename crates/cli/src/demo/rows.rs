//! Lines of the text ladder: which events of the two sides stand on one line.

use super::story::{Entry, Kind, Segment, Story};
use lastack_core::Instant;
use lastack_sim::Side;

/// What one side shows on a line.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// State or call.
    pub text: Option<Text>,
    /// Number of the step that begins here.
    pub step: Option<usize>,
    /// Segment that leaves here.
    pub depart: Option<usize>,
    /// Segment that arrives here.
    pub arrive: Option<usize>,
}

/// Words beside a lifeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A state that begins.
    State(String),
    /// A call and its result.
    Call(String),
}

/// A line: one moment, both sides.
#[derive(Clone, Debug)]
pub struct Row {
    /// When.
    pub at: Instant,
    /// A and B.
    pub cells: [Cell; 2],
}

/// Arranges the entries from `from` on in lines.
pub fn arrange(story: &Story, from: usize, arrow: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = &story.entries[from..];
    let mut numbered = vec![[false; 2]; story.steps.len()];
    while let Some(first) = rest.first() {
        let len = rest.iter().take_while(|e| e.at == first.at).count();
        let (moment, later) = rest.split_at(len);
        rest = later;
        let mut cells =
            Side::BOTH.map(|side| stack(story, moment, side, arrow, &mut numbered).into_iter().peekable());
        loop {
            let [a, b] = &mut cells;
            let (left, right) = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(l), Some(r)) if fit(story, l, r) => (a.next(), b.next()),
                (Some(_), _) => (a.next(), None),
                (None, Some(_)) => (None, b.next()),
            };
            rows.push(Row { at: first.at, cells: [left.unwrap_or_default(), right.unwrap_or_default()] });
        }
    }
    rows
}

/// The events of one side at one moment, from top to bottom.
fn stack(story: &Story, moment: &[Entry], side: Side, arrow: &str, numbered: &mut [[bool; 2]]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for entry in moment.iter().filter(|e| e.side == side) {
        let step = entry.step.filter(|&step| {
            let own = story.steps[step].side == side || story.steps[step].both;
            own && !std::mem::replace(&mut numbered[step][side as usize], true)
        });
        let step = step.map(|step| story.steps[step].number);
        let open = cells.last_mut().filter(|cell| cell.step.is_none() || step.is_none());
        match entry.kind {
            Kind::Transition(change) => {
                let text = Some(Text::State(story.state_label(entry.socket, change.to)));
                match open.filter(|cell| cell.text.is_none() && cell.depart.is_none()) {
                    Some(cell) => {
                        cell.text = text;
                        cell.step = cell.step.or(step);
                    }
                    None => cells.push(Cell { text, step, ..Cell::default() }),
                }
            }
            Kind::Call(call) => {
                let text = Some(Text::Call(story.call_label(entry.socket, &call, arrow)));
                cells.push(Cell { text, step, ..Cell::default() });
            }
            Kind::Depart(segment) => match open.filter(|cell| leaves_with(cell)) {
                Some(cell) => {
                    cell.depart = Some(segment);
                    cell.step = cell.step.or(step);
                }
                None => cells.push(Cell { depart: Some(segment), step, ..Cell::default() }),
            },
            Kind::Arrive(segment) => cells.push(Cell { arrive: Some(segment), step, ..Cell::default() }),
        }
    }
    cells
}

/// A segment may leave on the line of the state that was entered with it.
fn leaves_with(cell: &Cell) -> bool {
    cell.arrive.is_none() && cell.depart.is_none() && matches!(cell.text, Some(Text::State(_)))
}

/// Two cells share a line unless their arrows would run into each other.
fn fit(story: &Story, left: &Cell, right: &Cell) -> bool {
    let lines = |cell: &Cell| (cell.depart, cell.arrive);
    match (lines(left), lines(right)) {
        ((None, None), _) | (_, (None, None)) => true,
        ((Some(l), _), (Some(r), _)) => cross(&story.segments[l], &story.segments[r]),
        ((_, Some(l)), (_, Some(r))) => cross(&story.segments[l], &story.segments[r]),
        _ => false,
    }
}

/// Sent at the same moment towards each other, and neither is lost.
pub fn cross(one: &Segment, other: &Segment) -> bool {
    one.from != other.from && one.sent == other.sent && one.arrived.is_some() && one.arrived == other.arrived
}

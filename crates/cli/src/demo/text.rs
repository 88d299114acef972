//! The ladder as text, at most [`WIDTH`] columns.

use super::rows::{self, Row, Text};
use super::steps::time_text;
use super::story::{Socket, Story};
use anstyle::{AnsiColor, Style};
use lastack_core::{Instant, State};
use lastack_sim::Side;
use std::fmt::Write as _;
use std::time::Duration;

/// Columns of the figure.
pub const WIDTH: usize = 100;
const TIME_END: usize = 7;
const LEFT: usize = 8;
const LEFT_WIDTH: usize = 20;
const MARK_A: usize = LEFT + LEFT_WIDTH;
const LIFE_A: usize = MARK_A + 4;
const INNER: usize = LIFE_A + 1;
const MIDDLE: usize = 39;
const LIFE_B: usize = INNER + MIDDLE;
const MARK_B: usize = LIFE_B + 2;
const RIGHT: usize = MARK_B + 3;
/// A wait from this length on is drawn as a break.
const BREAK: Duration = Duration::from_secs(1);

/// How to draw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Only ASCII characters.
    pub ascii: bool,
    /// With colour.
    pub colour: bool,
    /// The opening too.
    pub full: bool,
    /// What the stacks say in long waits.
    pub why: bool,
}

struct Glyphs {
    life: char,
    broken: char,
    line: char,
    down: char,
    cross: char,
    lost: char,
    heads: [char; 2],
    /// Corners of an arrow from A: where it turns down, where it goes on.
    from_a: [char; 2],
    from_b: [char; 2],
    slants: [char; 2],
    crossing: char,
    arrow: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    life: '│',
    broken: '┊',
    line: '─',
    down: '│',
    cross: '┼',
    lost: '✕',
    heads: ['◀', '▶'],
    from_a: ['╮', '╰'],
    from_b: ['╭', '╯'],
    slants: ['╲', '╱'],
    crossing: '╳',
    arrow: "→",
};

const ASCII: Glyphs = Glyphs {
    life: '|',
    broken: ':',
    line: '-',
    down: '|',
    cross: '+',
    lost: 'X',
    heads: ['<', '>'],
    from_a: ['.', '\''],
    from_b: ['.', '\''],
    slants: ['\\', '/'],
    crossing: 'X',
    arrow: "->",
};

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const STATE: Style = AnsiColor::Cyan.on_default().bold();
const CALL: Style = AnsiColor::Yellow.on_default();
const MARK: Style = AnsiColor::Green.on_default().bold();
const LOST: Style = AnsiColor::Red.on_default().bold();

/// What stands above a ladder.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// In a few words.
    pub title: &'a str,
    /// In a sentence or two.
    pub summary: &'a str,
    /// The opening of the connection is no part of the story, and may be left out.
    pub has_opening: bool,
}

/// Draws the story.
pub fn draw(story: &Story, heading: Heading<'_>, look: Look) -> String {
    let mut ladder =
        Ladder { story, look, glyphs: if look.ascii { &ASCII } else { &UNICODE }, lines: Vec::new() };
    ladder.heading(heading);
    let from = if look.full || !heading.has_opening { 0 } else { story.end };
    if from > 0 {
        ladder.opening();
    }
    let rows = rows::arrange(story, from, ladder.glyphs.arrow);
    ladder.body(&rows);
    ladder.legend();
    ladder.print()
}

/// One character and how it looks.
type Glyph = (char, Style);

struct Ladder<'a> {
    story: &'a Story,
    look: Look,
    glyphs: &'a Glyphs,
    lines: Vec<Vec<Glyph>>,
}

/// An arrow on its way through the lines.
struct Flight {
    segment: usize,
    rows: [usize; 2],
    lane: usize,
    crossed: bool,
}

impl Ladder<'_> {
    fn heading(&mut self, heading: Heading<'_>) {
        self.words(0, heading.title, BOLD);
        self.words(0, heading.summary, PLAIN);
        self.lines.push(Vec::new());
        let ends = |side: Side| match self.story.connections.as_slice() {
            [one] => match side {
                Side::A => one.a.to_string(),
                Side::B => one.b.to_string(),
            },
            several => several.first().map_or(String::new(), |c| match side {
                Side::A => c.a.ip().to_string(),
                Side::B => c.b.to_string(),
            }),
        };
        let (a, b) = (ends(Side::A), ends(Side::B));
        let mut line = blank();
        write(&mut line, TIME_END - 6, "time/s", DIM);
        write(&mut line, LIFE_A, "A", BOLD);
        write(&mut line, LIFE_B, "B", BOLD);
        write(&mut line, MARK_A + 1 - a.len().min(MARK_A), &a, DIM);
        write(&mut line, RIGHT, &b, DIM);
        self.lines.push(line);
    }

    /// The part before the end, in words, and the states that it led to.
    fn opening(&mut self) {
        let Some(opening) = self.story.opening() else { return };
        let arrow = self.glyphs.arrow;
        let words = [
            format!("the opening: {} segments, not drawn;", opening.segments),
            format!("{} bytes A {arrow} B, {} bytes B {arrow} A", opening.bytes[0], opening.bytes[1]),
        ];
        for words in words {
            let mut line = self.lifelines(self.glyphs.broken);
            write(&mut line, INNER + (MIDDLE - words.chars().count()) / 2, &words, DIM);
            self.lines.push(line);
        }
        let mut line = self.lifelines(self.glyphs.life);
        for side in Side::BOTH {
            let states: Vec<_> = self.states_at_end(side);
            self.side_text(&mut line, side, &states.join(" "), STATE);
        }
        self.lines.push(line);
    }

    fn states_at_end(&self, side: Side) -> Vec<String> {
        let sockets = (0..self.story.connections.len()).map(Socket::Connection);
        sockets
            .map(|socket| (socket, self.story.state_before(side, socket, self.story.end)))
            .filter(|(_, state)| *state != State::Closed)
            .map(|(socket, state)| self.story.state_label(socket, state))
            .collect()
    }

    fn body(&mut self, rows: &[Row]) {
        let flights = self.flights(rows);
        let mut before = None;
        for (i, row) in rows.iter().enumerate() {
            self.pause(before, row.at);
            let mut line = self.lifelines(self.glyphs.life);
            if before != Some(row.at) {
                write(&mut line, 0, &format!("{:>TIME_END$}", seconds(row.at)), DIM);
            }
            for (side, cell) in Side::BOTH.into_iter().zip(&row.cells) {
                match &cell.text {
                    Some(Text::State(text)) => self.side_text(&mut line, side, text, STATE),
                    Some(Text::Call(text)) => self.side_text(&mut line, side, text, CALL),
                    None => {}
                }
                if let Some(number) = cell.step {
                    let at = if side == Side::A { MARK_A } else { MARK_B };
                    write(&mut line, at + usize::from(side == Side::A), &self.mark(number), MARK);
                }
            }
            for flight in &flights {
                self.draw_flight(&mut line, flight, i);
            }
            self.draw_losses(&mut line, row);
            self.lines.push(line);
            if let Some(flight) = flights.iter().find(|f| f.crossed && f.rows[0] == i) {
                let mut line = self.lifelines(self.glyphs.life);
                put(&mut line, INNER + flight.lane, self.glyphs.crossing, PLAIN);
                self.lines.push(line);
            }
            before = Some(row.at);
        }
    }

    /// Finds for each arrow the lines where it begins and ends, and a column in which it goes down.
    fn flights(&self, rows: &[Row]) -> Vec<Flight> {
        let departs = |segment| rows.iter().position(|r| r.cells.iter().any(|c| c.depart == Some(segment)));
        let arrives = |segment| rows.iter().position(|r| r.cells.iter().any(|c| c.arrive == Some(segment)));
        let mut flights: Vec<Flight> = (0..self.story.segments.len())
            .filter_map(|segment| {
                Some(Flight {
                    segment,
                    rows: [departs(segment)?, arrives(segment)?],
                    lane: 0,
                    crossed: false,
                })
            })
            .collect();
        for i in 0..flights.len() {
            let (lane, crossed) = self.lane(&flights, i);
            flights[i].lane = lane;
            flights[i].crossed = crossed;
        }
        flights
    }

    fn lane(&self, flights: &[Flight], i: usize) -> (usize, bool) {
        let flight = &flights[i];
        let segment = &self.story.segments[flight.segment];
        let overlap = |other: &&Flight| other.rows[0] <= flight.rows[1] && flight.rows[0] <= other.rows[1];
        let others: Vec<_> = flights.iter().filter(|o| o.segment != flight.segment).filter(overlap).collect();
        let length = |segment: usize| self.story.segment_label(&self.story.segments[segment]).chars().count();
        let from_left = segment.from == Side::A;
        match others.as_slice() {
            [] => {
                let lane = (MIDDLE / 2).max((length(flight.segment) + 5).min(MIDDLE - 3));
                (if from_left { lane } else { MIDDLE - 1 - lane }, false)
            }
            [other] if other.rows == flight.rows && flight.rows[1] == flight.rows[0] + 1 => {
                (length(flight.segment).max(length(other.segment)) + 7, true)
            }
            _ => {
                let same = |f: &&Flight| self.story.segments[f.segment].from == segment.from;
                let rank = flights[..i].iter().filter(overlap).filter(same).count();
                (if from_left { MIDDLE - 4 - 2 * rank } else { 3 + 2 * rank }, false)
            }
        }
    }

    fn draw_flight(&self, line: &mut [Glyph], flight: &Flight, row: usize) {
        let [first, last] = flight.rows;
        if row < first || row > last {
            return;
        }
        let segment = &self.story.segments[flight.segment];
        let from_left = segment.from == Side::A;
        let lane = INNER + flight.lane;
        let near = if from_left { INNER..lane } else { lane + 1..LIFE_B };
        let far = if from_left { lane + 1..LIFE_B } else { INNER..lane };
        let head = if from_left { LIFE_B - 1 } else { INNER };
        let corners = if from_left { &self.glyphs.from_a } else { &self.glyphs.from_b };
        let label = self.story.segment_label(segment);
        if flight.crossed {
            let slant = if from_left { self.glyphs.slants[0] } else { self.glyphs.slants[1] };
            if row == first {
                let end = if from_left { near.start..near.end - 1 } else { near.start + 1..near.end };
                self.horizontal(line, end);
                put(line, if from_left { lane - 1 } else { lane + 1 }, slant, PLAIN);
            } else {
                let end = if from_left { far.start + 1..far.end } else { far.start..far.end - 1 };
                self.horizontal(line, end);
                put(line, if from_left { lane + 1 } else { lane - 1 }, slant, PLAIN);
                put(line, head, self.glyphs.heads[usize::from(from_left)], PLAIN);
            }
            // Both labels stand on the left, the one from B beside the head of its arrow.
            if (row == first) == from_left {
                write(line, INNER + 2, &format!(" {label} "), PLAIN);
            }
        } else if row == first {
            let label_at = if from_left { near.start + 1 } else { near.end - label.chars().count() - 3 };
            self.horizontal(line, near);
            put(line, lane, corners[0], PLAIN);
            write(line, label_at, &format!(" {label} "), PLAIN);
        } else if row == last {
            self.horizontal(line, far);
            put(line, lane, corners[1], PLAIN);
            put(line, head, self.glyphs.heads[usize::from(from_left)], PLAIN);
        } else {
            let busy = line.get(lane).is_some_and(|(c, _)| *c == self.glyphs.line);
            put(line, lane, if busy { self.glyphs.cross } else { self.glyphs.down }, PLAIN);
        }
    }

    fn draw_losses(&self, line: &mut [Glyph], row: &Row) {
        for cell in &row.cells {
            let Some(segment) = cell.depart.map(|s| &self.story.segments[s]) else { continue };
            if segment.arrived.is_some() {
                continue;
            }
            let label = format!(" {} ", self.story.segment_label(segment));
            let length = label.chars().count();
            let reach = (MIDDLE / 2).max(length + 3);
            if segment.from == Side::A {
                self.horizontal(line, INNER..INNER + reach);
                write(line, INNER + 1, &label, PLAIN);
                write(line, INNER + reach, &format!("{} lost", self.glyphs.lost), LOST);
            } else {
                self.horizontal(line, LIFE_B - reach..LIFE_B);
                write(line, LIFE_B - 1 - length, &label, PLAIN);
                write(line, LIFE_B - reach - 6, &format!("lost {}", self.glyphs.lost), LOST);
            }
        }
    }

    fn horizontal(&self, line: &mut [Glyph], columns: std::ops::Range<usize>) {
        for column in columns {
            let busy = line.get(column).is_some_and(|(c, _)| *c == self.glyphs.down);
            put(line, column, if busy { self.glyphs.cross } else { self.glyphs.line }, PLAIN);
        }
    }

    /// A break in the lifelines where nothing happens for long.
    fn pause(&mut self, before: Option<Instant>, at: Instant) {
        let Some(wait) = before.map(|before| at.saturating_since(before)).filter(|wait| *wait >= BREAK)
        else {
            return;
        };
        let words = format!("{} later", time_text(wait));
        let mut line = self.lifelines(self.glyphs.broken);
        write(&mut line, INNER + (MIDDLE - words.len()) / 2, &words, DIM);
        self.lines.push(line);
    }

    fn lifelines(&self, glyph: char) -> Vec<Glyph> {
        let mut line = blank();
        put(&mut line, LIFE_A, glyph, PLAIN);
        put(&mut line, LIFE_B, glyph, PLAIN);
        line
    }

    fn side_text(&self, line: &mut [Glyph], side: Side, text: &str, style: Style) {
        let at = if side == Side::A { LEFT + LEFT_WIDTH.saturating_sub(text.chars().count()) } else { RIGHT };
        write(line, at, text, style);
    }

    fn mark(&self, number: usize) -> String {
        let circled = u32::try_from(number).ok().filter(|n| (1..=20).contains(n) && !self.look.ascii);
        circled
            .and_then(|n| char::from_u32('①' as u32 + n - 1))
            .map_or(format!("{number}."), |c| c.to_string())
    }

    fn legend(&mut self) {
        self.lines.push(Vec::new());
        for step in &self.story.steps {
            let text = if self.look.ascii { step.text.replace('→', "->") } else { step.text.clone() };
            for (i, words) in wrap(&text, WIDTH - 5).into_iter().enumerate() {
                let mut line = blank();
                if i == 0 {
                    write(&mut line, 1, &self.mark(step.number), MARK);
                }
                write(&mut line, 5, &words, PLAIN);
                self.lines.push(line);
            }
        }
        self.lines.push(Vec::new());
        if self.look.why {
            self.waits();
        }
        self.words(0, "seq and ack are relative to the initial sequence numbers; time is virtual.", DIM);
    }

    /// What each side waited for, where it was long.
    fn waits(&mut self) {
        let waits = self.story.waits.clone();
        for waiting in waits {
            let text = format!("{} at {}: {}", waiting.side.name(), seconds(waiting.at), waiting.why);
            for (i, words) in wrap(&text, WIDTH - 5).into_iter().enumerate() {
                self.words(if i == 0 { 1 } else { 5 }, &words, PLAIN);
            }
        }
        self.lines.push(Vec::new());
    }

    fn words(&mut self, at: usize, text: &str, style: Style) {
        let mut line = blank();
        write(&mut line, at, text, style);
        self.lines.push(line);
    }

    fn print(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let used = line.iter().rposition(|(c, _)| *c != ' ').map_or(0, |last| last + 1);
            let mut style = PLAIN;
            for (c, next) in &line[..used] {
                if self.look.colour && *next != style {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "{}{next}", style.render_reset());
                    style = *next;
                }
                out.push(*c);
            }
            if style != PLAIN {
                let _ = write!(out, "{}", style.render_reset());
            }
            out.push('\n');
        }
        out
    }
}

fn blank() -> Vec<Glyph> {
    vec![(' ', PLAIN); WIDTH]
}

/// Puts a character; past the right edge nothing is drawn.
fn put(line: &mut [Glyph], at: usize, c: char, style: Style) {
    if let Some(glyph) = line.get_mut(at) {
        *glyph = (c, style);
    }
}

fn write(line: &mut [Glyph], at: usize, text: &str, style: Style) {
    for (i, c) in text.chars().enumerate() {
        put(line, at + i, c, style);
    }
}

/// Seconds with three decimals: the scenarios' delays are whole milliseconds, timers are rounded.
pub fn seconds(at: Instant) -> String {
    let millis = at.as_micros().saturating_add(500) / 1000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// Breaks a text at blanks into lines of at most `width` characters.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits =
            |line: &String| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width;
        match lines.last_mut().filter(|line| fits(line)) {
            Some(line) => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

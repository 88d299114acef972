//! The ladder as an SVG figure: light background, system fonts, no scripts, fit for a README.

use super::scenario::Scenario;
use super::steps::time_text;
use super::story::{Entry, Kind, Segment, Socket, Story};
use super::text::{seconds, wrap};
use lastack_core::{Instant, State};
use lastack_sim::Side;
use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 1040.0;
/// The lifelines of A and B.
const LIFE: [f64; 2] = [310.0, 730.0];
const LIFE_WIDTH: f64 = 8.0;
const MARGIN: f64 = 32.0;
/// Distance between lines of words beside a lifeline.
const LINE: f64 = 23.0;
/// Least distance between two moments: the slope of an arrow that takes one link delay.
const MOMENT: f64 = 54.0;
/// The same where arrows cross: their labels need a steeper slope.
const CROSSING: f64 = 84.0;
/// Distance between arrows that leave a side at one moment.
const BURST: f64 = 19.0;
/// Distance over a wait that is not drawn to scale.
const BREAK_HEIGHT: f64 = 74.0;
/// From this length on a wait is drawn as a break.
const BREAK: Duration = Duration::from_secs(1);
const CIRCLE: f64 = 11.0;
/// Advance of one character of the labels, for the boxes around them.
const PILL_CHAR: f64 = 7.6;
const LEGEND_LINE: f64 = 22.0;
const LEGEND_CHARS: usize = 124;

const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;\
font-size:14px;fill:#1f2937}\
.title{font-size:22px;font-weight:700}.sub{fill:#4b5563}.head{font-size:17px;font-weight:700}\
.mono{paint-order:stroke;stroke:#fff;stroke-width:3px;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12.5px}\
.state{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12.5px;\
font-weight:700}.call{fill:#92400e}.time{fill:#6b7280;font-size:12px}.small{fill:#6b7280;font-size:12.5px}\
.lost{fill:#b91c1c}.num{fill:#fff;font-size:12.5px;font-weight:700}.guide{stroke:#e5e7eb;stroke-dasharray:2 4}\
.arrow{stroke-width:1.7;fill:none}.plain{stroke:#374151}.fin{stroke:#1d4ed8}.rst{stroke:#b91c1c}";

/// Kinds of arrows: class and colour.
const KINDS: [(&str, &str); 3] = [("plain", "#374151"), ("fin", "#1d4ed8"), ("rst", "#b91c1c")];

/// Draws the story.
pub fn draw(story: &Story, scenario: Scenario, full: bool) -> String {
    let from = if full || !scenario.has_opening() { 0 } else { story.end };
    let mut figure = Figure { story, out: String::new(), moments: Vec::new() };
    let head = 96.0;
    let top = if from > 0 { head + 128.0 } else { head + 66.0 };
    figure.place(from, top);
    let bottom = figure.moments.last().map_or(top, |m| m.y + m.below()) + 24.0;
    let legend: Vec<Vec<String>> = story.steps.iter().map(|s| wrap(&s.text, LEGEND_CHARS)).collect();
    let lines: usize = legend.iter().map(Vec::len).sum();
    let height = bottom + 40.0 + lines as f64 * LEGEND_LINE + legend.len() as f64 * 5.0 + 44.0;

    figure.open(scenario, height);
    figure.guides();
    figure.lifelines(from, head, bottom);
    if from > 0 {
        figure.opening(head + 38.0);
    }
    figure.arrows();
    figure.sides();
    figure.legend(&legend, bottom + 40.0);
    figure.add(format_args!("</svg>\n"));
    figure.out
}

/// Words beside a lifeline at one moment.
#[derive(Default)]
struct Words {
    /// Calls that came before the first change of state.
    before: Vec<String>,
    /// States, then the calls that followed.
    states: Vec<(String, State)>,
    after: Vec<String>,
    step: Option<usize>,
}

impl Words {
    fn lines_below(&self) -> usize {
        (self.states.len() + self.after.len()).saturating_sub(1)
    }

    fn lines_above(&self) -> usize {
        if self.states.is_empty() { 0 } else { self.before.len() }
    }
}

struct Moment {
    at: Instant,
    y: f64,
    words: [Words; 2],
    /// Time since the moment before, if it is too long to be drawn to scale.
    wait: Option<Duration>,
    /// Arrows that leave a side here, or arrive there, beside the first.
    burst: usize,
    /// Arrows that arrive here have crossed others.
    crossed: bool,
}

impl Moment {
    fn below(&self) -> f64 {
        let words = self.words.iter().map(Words::lines_below).max().unwrap_or(0) as f64 * LINE;
        words.max(self.burst as f64 * BURST)
    }

    fn above(&self) -> f64 {
        self.words.iter().map(Words::lines_above).max().unwrap_or(0) as f64 * LINE
    }
}

struct Figure<'a> {
    story: &'a Story,
    out: String,
    moments: Vec<Moment>,
}

impl Figure<'_> {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(text);
    }

    /// Gathers the words of each moment and gives it a height.
    fn place(&mut self, from: usize, top: f64) {
        let mut numbered = vec![[false; 2]; self.story.steps.len()];
        for entry in &self.story.entries[from..] {
            if self.moments.last().is_none_or(|m| m.at != entry.at) {
                let wait =
                    self.moments.last().map(|m| entry.at.saturating_since(m.at)).filter(|w| *w >= BREAK);
                self.moments.push(Moment {
                    at: entry.at,
                    y: 0.0,
                    words: Default::default(),
                    wait,
                    burst: 0,
                    crossed: false,
                });
            }
            let Some(moment) = self.moments.last_mut() else { continue };
            if let Kind::Depart(segment) | Kind::Arrive(segment) = entry.kind {
                moment.burst = moment.burst.max(rank(self.story, segment));
                let arrives = matches!(entry.kind, Kind::Arrive(_));
                moment.crossed |= arrives && meets_another(self.story, &self.story.segments[segment]);
            }
            let words = &mut moment.words[entry.side as usize];
            add_words(self.story, entry, words, &mut numbered);
        }
        let (mut y, mut below) = (top, 0.0);
        for (i, moment) in self.moments.iter_mut().enumerate() {
            if i > 0 {
                let least = match (moment.wait, moment.crossed) {
                    (Some(_), _) => BREAK_HEIGHT,
                    (None, true) => CROSSING,
                    (None, false) => MOMENT,
                };
                y += least.max(below + moment.above() + LINE + 5.0);
            } else {
                y += moment.above();
            }
            moment.y = y;
            below = moment.below();
        }
    }

    fn y(&self, at: Instant) -> Option<f64> {
        self.moments.iter().find(|m| m.at == at).map(|m| m.y)
    }

    fn open(&mut self, scenario: Scenario, height: f64) {
        self.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-labelledby=\"title\">\n\
             <title id=\"title\">{title}</title>\n<style>{STYLE}</style>\n\
             <defs>{markers}</defs>\n\
             <rect x=\"0.5\" y=\"0.5\" width=\"{w:.0}\" height=\"{h:.0}\" rx=\"10\" fill=\"#fff\" stroke=\"#e5e7eb\"/>\n",
            title = escape(scenario.title()),
            markers = KINDS.map(marker).concat(),
            w = WIDTH - 1.0,
            h = height - 1.0,
        ));
        self.text(MARGIN, 44.0, "title", "start", scenario.title());
        self.text(MARGIN, 69.0, "sub", "start", scenario.summary());
    }

    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>\n",
            escape(words)
        ));
    }

    /// The time axis: a label and a faint line for each moment.
    fn guides(&mut self) {
        for i in 0..self.moments.len() {
            let (y, at) = (self.moments[i].y, self.moments[i].at);
            self.text(MARGIN + 50.0, y + 4.0, "time", "end", &format!("{} s", seconds(at)));
            self.add(format_args!(
                "<line x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" class=\"guide\"/>\n",
                MARGIN + 58.0,
                WIDTH - MARGIN
            ));
        }
    }

    /// The lifelines, coloured by state where there is one connection, and their heads.
    fn lifelines(&mut self, from: usize, head: f64, bottom: f64) {
        for side in Side::BOTH {
            let x = LIFE[side as usize];
            let (mut y, mut state) = (head + 28.0, self.first_state(side, from));
            let changes: Vec<_> = self.story.entries[from..]
                .iter()
                .filter(|e| e.side == side && self.story.connections.len() == 1)
                .filter(|e| matches!(e.socket, Socket::Connection(_)))
                .filter_map(|e| match e.kind {
                    Kind::Transition(change) => Some((e.at, change.to)),
                    _ => None,
                })
                .collect();
            for (at, to) in changes {
                let end = self.y(at).unwrap_or(y);
                self.bar(x, y, end, state);
                (y, state) = (end, to);
            }
            self.bar(x, y, bottom, state);
            let address = self.address(side);
            self.add(format_args!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"176\" height=\"28\" rx=\"6\" fill=\"#1f2937\"/>\n",
                x - 88.0,
                head
            ));
            self.add(format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" style=\"fill:#fff\"><tspan style=\"font-weight:700\">\
                 {}</tspan><tspan dx=\"8\" style=\"font-size:12.5px\">{}</tspan></text>\n",
                head + 19.0,
                side.name(),
                escape(&address)
            ));
        }
        for i in 0..self.moments.len() {
            let Some(wait) = self.moments[i].wait else { continue };
            let before = &self.moments[i - 1];
            let y = f64::midpoint(before.y + before.below(), self.moments[i].y - self.moments[i].above());
            self.pause(y, wait);
        }
    }

    fn first_state(&self, side: Side, from: usize) -> State {
        if self.story.connections.len() == 1 {
            self.story.state_before(side, Socket::Connection(0), from)
        } else {
            State::Closed
        }
    }

    fn address(&self, side: Side) -> String {
        match (self.story.connections.as_slice(), side) {
            ([one], Side::A) => one.a.to_string(),
            ([several, ..], Side::A) => several.a.ip().to_string(),
            ([first, ..], Side::B) => first.b.to_string(),
            ([], _) => String::new(),
        }
    }

    fn bar(&mut self, x: f64, from: f64, to: f64, state: State) {
        self.add(format_args!(
            "<rect x=\"{:.1}\" y=\"{from:.1}\" width=\"{LIFE_WIDTH:.0}\" height=\"{:.1}\" fill=\"{}\"/>\n",
            x - LIFE_WIDTH / 2.0,
            (to - from).max(0.0),
            colours(state).1
        ));
    }

    /// A break in both lifelines with the length of the wait.
    fn pause(&mut self, y: f64, wait: Duration) {
        for x in LIFE {
            self.add(format_args!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"24\" height=\"9\" fill=\"#fff\"/>\n\
                 <path d=\"M{:.1},{:.1} q6,-6 12,0 t12,0 M{:.1},{:.1} q6,-6 12,0 t12,0\" stroke=\"#6b7280\" \
                 stroke-width=\"1.5\" fill=\"none\"/>\n",
                x - 12.0,
                y - 4.5,
                x - 12.0,
                y - 4.5,
                x - 12.0,
                y + 4.5
            ));
        }
        let middle = f64::midpoint(LIFE[0], LIFE[1]);
        self.text(middle, y + 4.0, "small", "middle", &format!("{} later", time_text(wait)));
    }

    /// What came before the end, in a band between the lifelines.
    fn opening(&mut self, y: f64) {
        let Some(opening) = self.story.opening() else { return };
        let middle = f64::midpoint(LIFE[0], LIFE[1]);
        self.add(format_args!(
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"46\" rx=\"6\" fill=\"#f3f4f6\"/>\n",
            LIFE[0] + 14.0,
            LIFE[1] - LIFE[0] - 28.0
        ));
        let words = format!("The opening, not drawn: {} segments,", opening.segments);
        self.text(middle, y + 20.0, "small", "middle", &words);
        let words = format!("{} bytes from A to B, {} bytes from B to A", opening.bytes[0], opening.bytes[1]);
        self.text(middle, y + 37.0, "small", "middle", &words);
        for side in Side::BOTH {
            for n in 0..self.story.connections.len() {
                let socket = Socket::Connection(n);
                let state = self.story.state_before(side, socket, self.story.end);
                let label = self.story.state_label(socket, state);
                self.pill(side, y + 23.0 + n as f64 * LINE, &label, state);
            }
        }
    }

    fn arrows(&mut self) {
        let mut labels = Vec::new();
        for i in 0..self.story.segments.len() {
            let segment = self.story.segments[i];
            let down = rank(self.story, i) as f64 * BURST;
            let Some(start) = self.y(segment.sent).map(|y| y + down) else { continue };
            let from = segment.from;
            let x1 = self.edge(from, segment.sent, down);
            let (head, along) = match segment.arrived {
                Some(at) => {
                    let Some(end) = self.y(at).map(|y| y + down) else { continue };
                    (
                        [self.edge(from.other(), at, down), end],
                        if meets_another(self.story, &segment) { 0.26 } else { 0.5 },
                    )
                }
                None => {
                    let far = LIFE[from.other() as usize];
                    ([x1 + (far - x1) * 0.62, start + MOMENT * 0.62], 0.56)
                }
            };
            match segment.arrived {
                Some(_) => self.arrow(&segment, [x1, start], head),
                None => self.lost(&segment, [x1, start], head),
            }
            labels.push((segment, [x1, start], head, along));
        }
        // Above all lines, so that none runs through them.
        for (segment, tail, head, along) in labels {
            self.label(&segment, tail, head, along);
        }
    }

    /// Where an arrow touches a side: at its lifeline, or at the circle of a step that begins there.
    fn edge(&self, side: Side, at: Instant, down: f64) -> f64 {
        let moment = self.moments.iter().find(|m| m.at == at);
        let circle = down == 0.0 && moment.is_some_and(|m| m.words[side as usize].step.is_some());
        let gap = if circle { CIRCLE + 3.0 } else { LIFE_WIDTH / 2.0 + 1.0 };
        let x = LIFE[side as usize];
        if side == Side::A { x + gap } else { x - gap }
    }

    fn arrow(&mut self, segment: &Segment, [x1, start]: [f64; 2], [x2, end]: [f64; 2]) {
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{start:.1}\" x2=\"{x2:.1}\" y2=\"{end:.1}\" class=\"arrow {0}\" \
             marker-end=\"url(#{0}-head)\"/>\n",
            class(segment)
        ));
    }

    /// A segment that the link lost: the arrow ends half-way in a cross.
    fn lost(&mut self, segment: &Segment, [x1, start]: [f64; 2], [x, y]: [f64; 2]) {
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{start:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\" class=\"arrow {}\" \
             stroke-dasharray=\"6 4\"/>\n<path d=\"M{:.1},{:.1} l12,12 m0,-12 l-12,12\" class=\"arrow rst\" \
             style=\"stroke-width:2.4\"/>\n",
            class(segment),
            x - 6.0,
            y - 6.0
        ));
        let toward = if segment.from == Side::A { 14.0 } else { -14.0 };
        let anchor = if segment.from == Side::A { "start" } else { "end" };
        self.text(x + toward, y + 5.0, "lost", anchor, "lost");
    }

    /// Flags and numbers along an arrow, `along` of the way from its tail.
    fn label(&mut self, segment: &Segment, tail: [f64; 2], head: [f64; 2], along: f64) {
        let (x, y) = (tail[0] + (head[0] - tail[0]) * along, tail[1] + (head[1] - tail[1]) * along);
        let slope = (head[1] - tail[1]) / (head[0] - tail[0]);
        let text = self.story.segment_label(segment);
        self.add(format_args!(
            "<text transform=\"translate({x:.1},{y:.1}) rotate({:.2})\" dy=\"-6\" class=\"mono\" text-anchor=\"middle\">\
             {}</text>\n",
            slope.atan().to_degrees(),
            escape(&text)
        ));
    }

    /// States, calls and step numbers beside the lifelines.
    fn sides(&mut self) {
        for i in 0..self.moments.len() {
            let y = self.moments[i].y;
            for side in Side::BOTH {
                let words = std::mem::take(&mut self.moments[i].words[side as usize]);
                let above = words.lines_above();
                for (n, call) in words.before.iter().enumerate() {
                    let up = if above > 0 { (above - n) as f64 } else { -(n as f64) };
                    self.call(side, y - up * LINE, call);
                }
                let under = if above > 0 { 0 } else { words.before.len() };
                for (n, (label, state)) in words.states.iter().enumerate() {
                    self.pill(side, y + n as f64 * LINE, label, *state);
                }
                for (n, call) in words.after.iter().enumerate() {
                    self.call(side, y + (words.states.len() + under + n) as f64 * LINE, call);
                }
                if let Some(number) = words.step {
                    self.circle(LIFE[side as usize], y, number);
                }
            }
        }
    }

    fn circle(&mut self, x: f64, y: f64, number: usize) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{CIRCLE}\" fill=\"#1f2937\" stroke=\"#fff\" stroke-width=\"2\"/>\n"
        ));
        self.text(x, y + 4.5, "num", "middle", &number.to_string());
    }

    fn call(&mut self, side: Side, y: f64, words: &str) {
        let (x, anchor) = if side == Side::A { (LIFE[0] - 24.0, "end") } else { (LIFE[1] + 24.0, "start") };
        self.text(x, y + 4.5, "mono call", anchor, words);
    }

    fn pill(&mut self, side: Side, y: f64, label: &str, state: State) {
        let width = label.chars().count() as f64 * PILL_CHAR + 16.0;
        let x = if side == Side::A { LIFE[0] - 20.0 - width } else { LIFE[1] + 20.0 };
        let (fill, edge) = colours(state);
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" rx=\"10\" fill=\"{fill}\" \
             stroke=\"{edge}\"/>\n",
            y - 10.0
        ));
        self.text(x + width / 2.0, y + 4.5, "state", "middle", label);
    }

    fn legend(&mut self, steps: &[Vec<String>], top: f64) {
        self.add(format_args!(
            "<line x1=\"{MARGIN:.1}\" y1=\"{0:.1}\" x2=\"{1:.1}\" y2=\"{0:.1}\" stroke=\"#e5e7eb\"/>\n",
            top - 22.0,
            WIDTH - MARGIN
        ));
        let mut y = top + 6.0;
        for (i, lines) in steps.iter().enumerate() {
            self.circle(MARGIN + 11.0, y, self.story.steps[i].number);
            for words in lines {
                self.text(MARGIN + 34.0, y + 5.0, "", "start", words);
                y += LEGEND_LINE;
            }
            y += 5.0;
        }
        let words = "seq and ack are relative to the initial sequence numbers. Time is virtual, its axis not to scale. \
                     Drawn by lastack demo from the stacks' own events.";
        self.text(MARGIN, y + 12.0, "small", "start", words);
    }
}

fn add_words(story: &Story, entry: &Entry, words: &mut Words, numbered: &mut [[bool; 2]]) {
    match entry.kind {
        Kind::Transition(change) => {
            words.states.push((story.state_label(entry.socket, change.to), change.to));
        }
        Kind::Call(call) => {
            let text = story.call_label(entry.socket, &call, "→");
            if words.states.is_empty() { words.before.push(text) } else { words.after.push(text) }
        }
        Kind::Depart(_) | Kind::Arrive(_) => {}
    }
    let Some(step) = entry.step else { return };
    let own = story.steps[step].side == entry.side || story.steps[step].both;
    if own && !std::mem::replace(&mut numbered[step][entry.side as usize], true) {
        words.step = words.step.or(Some(story.steps[step].number));
    }
}

/// How many segments left the same side at the same moment before this one.
fn rank(story: &Story, segment: usize) -> usize {
    let this = &story.segments[segment];
    story.segments[..segment].iter().filter(|s| s.from == this.from && s.sent == this.sent).count()
}

/// Another segment is on its way in the opposite direction at the same time.
fn meets_another(story: &Story, segment: &Segment) -> bool {
    let arrives = |s: &Segment| s.arrived.unwrap_or(s.sent);
    story.segments.iter().any(|other| {
        other.from != segment.from && other.sent < arrives(segment) && segment.sent < arrives(other)
    })
}

fn class(segment: &Segment) -> &'static str {
    use lastack_core::wire::tcp::Flags;
    if segment.flags.contains(Flags::RST) {
        "rst"
    } else if segment.flags.contains(Flags::FIN) {
        "fin"
    } else {
        "plain"
    }
}

/// The head of an arrow of this kind.
fn marker((class, colour): (&str, &str)) -> String {
    format!(
        "<marker id=\"{class}-head\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"11\" \
         markerHeight=\"11\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
         <path d=\"M0,0.8 L10,5 L0,9.2 L2.4,5 z\" fill=\"{colour}\"/></marker>"
    )
}

/// Fill and edge of a state.
fn colours(state: State) -> (&'static str, &'static str) {
    match state {
        State::Closed => ("#f3f4f6", "#9ca3af"),
        State::Listen | State::SynSent | State::NewSynRecv | State::SynReceived => ("#fef3c7", "#f59e0b"),
        State::Established => ("#dcfce7", "#22c55e"),
        State::FinWait1 | State::Closing | State::LastAck => ("#ffedd5", "#f97316"),
        State::FinWait2 | State::CloseWait => ("#dbeafe", "#3b82f6"),
        State::TimeWait => ("#ede9fe", "#8b5cf6"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

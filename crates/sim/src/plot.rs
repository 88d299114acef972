//! A connection of a run as a picture: what its sender thought, and what its segments met.
//!
//! Four panels over one axis of time: the congestion window with what is in flight, the round-trip time, the rate at which
//! bytes were acknowledged, and the time-sequence graph, in which a vertical mark is the bytes of one segment.

use crate::trace::{Sample, SegmentEvent, SegmentKind};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

/// Width and height of a picture in pixels.
const SIZE: (u32, u32) = (1200, 1560);
/// Heights of the upper three panels.
const WINDOW: u32 = 400;
const TIME: u32 = 230;
const RATE: u32 = 230;
/// Means of the rate in a picture.
const MEANS: u32 = 120;
const FONT: &str = "sans-serif";
const TEXT: (&str, u32) = (FONT, 15);

// Colours that can be told apart by everybody (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const GREY: RGBColor = RGBColor(130, 130, 130);
const PALE: RGBColor = RGBColor(228, 228, 228);
/// Behind the times in which the sender recovered from a loss.
const RECOVERY: RGBColor = RGBColor(253, 232, 224);

/// One end of a connection, to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Plot<'a> {
    /// What stands above the picture.
    pub title: &'a str,
    /// What the sender thought, in order of time.
    pub samples: &'a [Sample],
    /// What its segments met, in order of time.
    pub events: &'a [SegmentEvent],
    /// From when to when, in seconds of virtual time; `None`: all of it.
    pub span: Option<(f64, f64)>,
}

type Failure = Box<dyn std::error::Error>;
type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Plot<'_> {
    /// Draws into a file: PNG if its name ends so, else SVG.
    ///
    /// # Errors
    /// There is nothing to draw, or the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        if self.samples.is_empty() {
            return Err("the connection has no samples".into());
        }
        // Another thread may have been first; it is the same font.
        let _ = plotters::style::register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
        if file.extension().is_some_and(|name| name.eq_ignore_ascii_case("png")) {
            self.draw(&BitMapBackend::new(file, SIZE).into_drawing_area())
        } else {
            self.draw(&SVGBackend::new(file, SIZE).into_drawing_area())
        }
    }

    fn draw<'a, DB>(&self, whole: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        whole.fill(&WHITE)?;
        let (window, below) = whole.titled(self.title, (FONT, 22))?.split_vertically(WINDOW);
        let (time, below) = below.split_vertically(TIME);
        let (rate, sequence) = below.split_vertically(RATE);
        self.window(&window)?;
        self.time(&time)?;
        self.rate(&rate)?;
        self.sequence(&sequence)?;
        whole.present()?;
        Ok(())
    }

    /// The first and the last moment of all panels, in seconds.
    fn span(&self) -> Range<f64> {
        let (sample, event) =
            (self.samples.last().map_or(0, |s| s.at), self.events.last().map_or(0, |e| e.at));
        let (from, to) = self.span.unwrap_or((0.0, seconds(sample.max(event))));
        from..to.max(from + 1e-6)
    }

    /// The samples of the span, and the one before it.
    fn samples(&self) -> impl Iterator<Item = &Sample> + Clone {
        let span = self.span();
        let first = self.samples.partition_point(|sample| seconds(sample.at) < span.start).saturating_sub(1);
        self.samples.iter().skip(first).take_while(move |sample| seconds(sample.at) <= span.end)
    }

    /// The segments' events of the span.
    fn events(&self) -> impl Iterator<Item = &SegmentEvent> + Clone {
        let span = self.span();
        self.events
            .iter()
            .filter(move |event| span.contains(&seconds(event.at)) || seconds(event.at) == span.end)
    }

    /// A line that keeps its height until the next sample, and until the end of the span.
    fn steps(&self, value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
        let (mut line, span): (Vec<(f64, f64)>, _) = (Vec::new(), self.span());
        for (at, value) in self.samples().filter_map(|sample| Some((seconds(sample.at), value(sample)?))) {
            let at = at.max(span.start);
            match line.last() {
                Some(&(_, last)) if last == value => continue,
                Some(&(_, last)) => line.push((at, last)),
                None => {}
            }
            line.push((at, value));
        }
        line.extend(line.last().map(|last| (span.end, last.1)));
        line
    }

    fn window<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let segments = |value: fn(&Sample) -> u32| self.steps(move |sample| Some(value(sample).into()));
        let (cwnd, flight) = (segments(|s| s.cwnd), segments(|s| s.in_flight));
        let top = highest(cwnd.iter().chain(&flight));
        let mut chart = chart(area, self.span(), 0.0..top, "segments")?;
        let spans =
            self.recoveries().map(|(from, to)| Rectangle::new([(from, 0.0), (to, top)], RECOVERY.filled()));
        chart
            .draw_series(spans)?
            .label("recovery from a loss")
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], RECOVERY.filled()));
        // A threshold beyond the picture was not reached yet.
        let threshold =
            self.steps(|sample| sample.ssthresh.map(f64::from).filter(|threshold| *threshold <= top));
        line(&mut chart, "slow-start threshold", ORANGE, threshold)?;
        line(&mut chart, "in flight", GREY, flight)?;
        line(&mut chart, "congestion window", BLUE, cwnd)?;
        legend(&mut chart)
    }

    /// When the sender was in recovery (RFC 5681) or loss (after a timeout).
    fn recoveries(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut spans = Vec::new();
        let mut since = None;
        let whole = self.span();
        for sample in self.samples() {
            let at = seconds(sample.at).max(whole.start);
            match (since, sample.recovery >= 2) {
                (None, true) => since = Some(at),
                (Some(from), false) => {
                    spans.push((from, at));
                    since = None;
                }
                _ => {}
            }
        }
        spans.extend(since.map(|from| (from, whole.end)));
        spans.into_iter()
    }

    fn time<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let srtt = self.steps(|sample| (sample.srtt > 0).then_some(sample.srtt as f64 * 1e-3));
        let mut chart = chart(area, self.span(), 0.0..highest(&srtt), "ms")?;
        line(&mut chart, "smoothed round-trip time", GREEN, srtt)?;
        legend(&mut chart)
    }

    fn rate<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let rate = self.rates();
        let mut chart = chart(area, self.span(), 0.0..highest(&rate), "Mbit/s")?;
        line(&mut chart, "acknowledged", BLUE, rate)?;
        legend(&mut chart)
    }

    /// Acknowledged bytes as Mbit/s, means over equal times.
    fn rates(&self) -> Vec<(f64, f64)> {
        let span = self.span();
        let width = (span.end - span.start) / f64::from(MEANS);
        let mut points = Vec::new();
        let mut samples = self.samples().peekable();
        let mut delivered = samples.peek().map_or(0, |first| first.delivered);
        for bin in 0..MEANS {
            let from = span.start + f64::from(bin) * width;
            let to = from + width;
            let before = delivered;
            while let Some(sample) = samples.next_if(|sample| seconds(sample.at) <= to) {
                delivered = sample.delivered;
            }
            let rate = (delivered - before) as f64 * 8e-6 / width;
            points.extend([(from, rate), (to, rate)]);
        }
        points
    }

    fn sequence<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let span = self.span();
        let ends = self.events().map(|event| event.end as f64 * 1e-3);
        // The second half of a picture need not begin at the first byte.
        let from = self.events().map(|event| event.start as f64 * 1e-3).fold(f64::INFINITY, f64::min);
        let to = ends.fold(0.0, f64::max);
        let bytes = if from < to { from..to + (to - from) * 0.05 } else { 0.0..1.0 };
        let mut chart = chart(area, span.clone(), bytes.clone(), "kB")?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        let (columns, rows) =
            (f64::from(width) / (span.end - span.start), f64::from(height) / (bytes.end - bytes.start));
        for (kind, name, color) in [
            (SegmentKind::Sent, "sent", BLUE),
            (SegmentKind::Acked, "acknowledged", GREY),
            (SegmentKind::Sacked, "named by SACK", GREEN),
            (SegmentKind::Resent, "sent again", RED),
            (SegmentKind::Lost, "lost in the network", BLACK),
        ] {
            // What falls on the same pixels is drawn once.
            let mut seen = HashSet::new();
            let mut marks: Vec<_> = self.events().filter(|event| event.what == kind).collect();
            marks.retain(|event| {
                let place = |byte: u64| (byte as f64 * 1e-3 * rows) as u64;
                seen.insert(((seconds(event.at) * columns) as u64, place(event.start), place(event.end)))
            });
            let span = |event: &SegmentEvent| {
                (seconds(event.at), event.start as f64 * 1e-3, event.end as f64 * 1e-3)
            };
            let bars = marks.iter().map(|event| {
                let (at, start, end) = span(event);
                PathElement::new(
                    [(at, start), (at, end)],
                    color.stroke_width(if kind == SegmentKind::Resent { 3 } else { 1 }),
                )
            });
            chart.draw_series(bars)?.label(name).legend(move |place| swatch(place, color));
            // A segment that was lost, or went out again, is to be seen however small it is.
            let rare = matches!(kind, SegmentKind::Lost | SegmentKind::Resent);
            let points = marks.iter().filter(|_| rare).map(|event| {
                let (at, start, end) = span(event);
                let size = if kind == SegmentKind::Lost { 4 } else { 2 };
                Cross::new((at, f64::midpoint(start, end)), size, color.stroke_width(2))
            });
            chart.draw_series(points)?;
        }
        legend(&mut chart)
    }
}

fn seconds(at: u64) -> f64 {
    at as f64 * 1e-9
}

/// Where the axis ends, with room for the legend.
fn highest<'p>(points: impl IntoIterator<Item = &'p (f64, f64)>) -> f64 {
    points.into_iter().map(|point| point.1).fold(1e-3, f64::max) * 1.35
}

fn chart<'a, DB>(
    area: &DrawingArea<DB, Shift>,
    time: Range<f64>,
    values: Range<f64>,
    unit: &str,
) -> Result<Chart<'a, DB>, Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(30)
        .y_label_area_size(80)
        .build_cartesian_2d(time, values)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(PALE)
        .x_labels(12)
        .x_label_formatter(&|at| format!("{} s", short(*at)))
        .y_label_formatter(&|value| short(*value))
        .y_desc(unit)
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .draw()?;
    Ok(chart)
}

/// A number of an axis, without noise behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn line<'a, DB>(
    chart: &mut Chart<'a, DB>,
    name: &str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
) -> Result<(), Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    chart
        .draw_series(LineSeries::new(points, color.stroke_width(2)))?
        .label(name)
        .legend(move |place| swatch(place, color));
    Ok(())
}

/// A piece of a line, for the legend.
fn swatch((x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
}

fn legend<'a, DB>(chart: &mut Chart<'a, DB>) -> Result<(), Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(PALE)
        .label_font(TEXT)
        .draw()?;
    Ok(())
}

//! A connection of a run as a picture: what its sender thought, and what its segments met.
//!
//! Four panels over one axis of time: the congestion window with what is in flight, the round-trip time, the rate at which
//! bytes were delivered, and the time-sequence graph, in which a vertical mark is the bytes of one segment. Each panel has its
//! name and its legend above it, where no line can run behind them. What falls on the same pixels is drawn once, so that
//! the picture of an hour is not larger than that of a second.

mod axis;
mod thin;

use crate::trace::{Sample, SegmentEvent, SegmentKind};
use axis::{Axis, BITS_PER_SECOND, BYTES, MICROS, Mark};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

/// Width and height of a picture in pixels.
const SIZE: (u32, u32) = (1200, 1600);
/// Heights of the upper three panels.
const WINDOW: u32 = 420;
const TIME: u32 = 240;
const RATE: u32 = 240;
/// Pixels of a picture's width that are not the panel's: margins and the labels of the axis.
const BESIDE: u32 = 100;
/// Means of the rate in a picture, at the most.
const MEANS: f64 = 120.0;
/// Pixels from one symbol to the next at the least.
const SYMBOL: f64 = 5.0;
const FONT: &str = "sans-serif";
const TEXT: (&str, u32) = (FONT, 15);

// Colours that can be told apart by everybody (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const GREY: RGBColor = RGBColor(130, 130, 130);
const SHADE: RGBColor = RGBColor(205, 205, 205);
const PALE: RGBColor = RGBColor(228, 228, 228);
/// Behind the times in which the sender recovered from a loss, and in which it began anew after a timeout.
const RECOVERY: RGBColor = RGBColor(253, 226, 210);
const TIMEOUT: RGBColor = RGBColor(214, 226, 244);

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
        let (title, below) = whole.split_vertically(40);
        title.draw_text(self.title, &(FONT, 22).into_text_style(&title), (16, 10))?;
        let (window, below) = below.split_vertically(WINDOW);
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
        let span = self.span();
        let values = self.samples().filter_map(|s| Some((seconds(s.at).max(span.start), value(s)?)));
        thin::steps(values, &span, SIZE.0 - BESIDE)
    }

    fn window<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let keys = [
            ("congestion window", Mark::Line(BLUE)),
            ("in flight", Mark::Band(SHADE)),
            ("slow-start threshold", Mark::Line(ORANGE)),
            ("window of the peer", Mark::Line(PURPLE)),
            ("recovery", Mark::Band(RECOVERY)),
            ("after a timeout", Mark::Band(TIMEOUT)),
        ];
        let segments = |value: fn(&Sample) -> u32| self.steps(move |sample| Some(value(sample).into()));
        let (cwnd, flight) = (segments(|s| s.cwnd), segments(|s| s.in_flight));
        let axis = Axis::plain("segments", cwnd.iter().chain(&flight));
        let area = axis::heading(area, &axis.title("Windows"), &keys)?;
        let (top, span) = (axis.top(), self.span());
        let mut chart = axis.chart(&area, span.clone(), &axis::seconds(&span))?;
        for (state, color) in [(3, RECOVERY), (4, TIMEOUT)] {
            let spans = self.times_in(state);
            let bands =
                spans.into_iter().map(|(from, to)| Rectangle::new([(from, 0.0), (to, top)], color.filled()));
            chart.draw_series(bands)?;
        }
        chart.draw_series(AreaSeries::new(flight.iter().copied(), 0.0, SHADE))?;
        line(&mut chart, GREY, 1, flight)?;
        // What lies beyond the picture holds nobody back.
        let within = |value: f64| (value <= top).then_some(value);
        let peer = |s: &Sample| within(f64::from(s.send_window) / f64::from(s.segment.max(1)));
        runs(&mut chart, PURPLE, &self.steps(|s| Some(peer(s).unwrap_or(f64::NAN))))?;
        let threshold = |s: &Sample| s.ssthresh.map(f64::from).and_then(within);
        runs(&mut chart, ORANGE, &self.steps(|s| Some(threshold(s).unwrap_or(f64::NAN))))?;
        line(&mut chart, BLUE, 2, cwnd)
    }

    /// When the sender was in a state of recovery: 3 after a loss (RFC 5681), 4 after a timeout.
    fn times_in(&self, state: u8) -> Vec<(f64, f64)> {
        let mut spans = Vec::new();
        let mut since = None;
        let whole = self.span();
        for sample in self.samples() {
            let at = seconds(sample.at).max(whole.start);
            match (since, sample.recovery == state) {
                (None, true) => since = Some(at),
                (Some(from), false) => {
                    spans.push((from, at));
                    since = None;
                }
                _ => {}
            }
        }
        spans.extend(since.map(|from| (from, whole.end)));
        thin::spans(spans, (whole.end - whole.start) / f64::from(SIZE.0 - BESIDE))
    }

    fn time<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let srtt = self.steps(|sample| (sample.srtt > 0).then_some(sample.srtt as f64));
        let (axis, span) = (Axis::scaled(&MICROS, &srtt), self.span());
        let keys = [("smoothed", Mark::Line(GREEN))];
        let area = axis::heading(area, &axis.title("Round-trip time"), &keys)?;
        let mut chart = axis.chart(&area, span.clone(), &axis::seconds(&span))?;
        line(&mut chart, GREEN, 2, srtt)
    }

    fn rate<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let rate = self.rates();
        let (axis, span) = (Axis::scaled(&BITS_PER_SECOND, &rate), self.span());
        let keys = [("acknowledged in that time", Mark::Line(BLUE))];
        let area = axis::heading(area, &axis.title("Delivered"), &keys)?;
        let mut chart = axis.chart(&area, span.clone(), &axis::seconds(&span))?;
        line(&mut chart, BLUE, 2, rate)
    }

    /// Acknowledged bits per second, means over equal times. None of these is shorter than the usual round trip: in less, a
    /// rate is nothing but how acknowledgements cluster.
    fn rates(&self) -> Vec<(f64, f64)> {
        let span = self.span();
        let whole = span.end - span.start;
        let mut trips: Vec<_> = self.samples().map(|sample| sample.srtt).collect();
        trips.sort_unstable();
        let trip = trips.get(trips.len() / 2).copied().unwrap_or(0) as f64 * 1e-6;
        let means = (whole / trip.max(1e-9)).clamp(1.0, MEANS).floor();
        let width = whole / means;
        let mut bits = vec![0.0; means as usize];
        for event in self.events().filter(|event| event.what == SegmentKind::Acked) {
            let bin = ((seconds(event.at) - span.start) / width) as usize;
            let last = bits.len() - 1;
            bits[bin.min(last)] += (event.end - event.start) as f64 * 8.0;
        }
        let bins = bits.into_iter().enumerate();
        let points = bins.flat_map(|(bin, bits)| {
            let from = span.start + bin as f64 * width;
            [(from, bits / width), (from + width, bits / width)]
        });
        points.collect()
    }

    fn sequence<'a, DB>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let keys = [
            ("sent", Mark::Bar(BLUE)),
            ("acknowledged: delivered", Mark::Line(GREY)),
            ("named by SACK", Mark::Bar(GREEN)),
            ("sent again", Mark::Dot(RED)),
            ("lost in the network", Mark::Cross(BLACK)),
        ];
        let span = self.span();
        let ends = self.events().map(|event| event.end as f64);
        // The second half of a picture need not begin at the first byte.
        let from = self.events().map(|event| event.start as f64).fold(f64::INFINITY, f64::min);
        let to = ends.fold(0.0, f64::max);
        let bytes = if from < to { from..to + (to - from) * 0.03 } else { 0.0..1.0 };
        let axis = Axis::between(&BYTES, bytes.clone());
        let area = axis::heading(area, &axis.title("Each segment"), &keys)?;
        let mut chart = axis.chart(&area, span.clone(), &axis::seconds(&span))?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        let pixel =
            ((span.end - span.start) / f64::from(width), (bytes.end - bytes.start) / f64::from(height));
        let acked = self.events().filter(|event| event.what == SegmentKind::Acked);
        let before = acked.clone().next().map(|event| (span.start, event.start as f64));
        let acked = before.into_iter().chain(acked.map(|event| (seconds(event.at), event.end as f64)));
        line(&mut chart, GREY, 2, thin::steps(acked, &span, width))?;
        let of = |kind| self.events().filter(move |event| event.what == kind).map(bar);
        for (kind, color, thick) in [
            (SegmentKind::Sent, BLUE, 2),
            (SegmentKind::Sacked, GREEN, 2),
            (SegmentKind::Resent, RED, 3),
            (SegmentKind::Lost, BLACK, 1),
        ] {
            let bars = thin::bars(of(kind).collect(), pixel).into_iter().map(|(at, start, end)| {
                PathElement::new([(at, start), (at, end)], color.stroke_width(thick))
            });
            chart.draw_series(bars)?;
        }
        // A segment that was lost, or went out again, is to be seen however small it is.
        let cell = (pixel.0 * SYMBOL, pixel.1 * SYMBOL);
        let middle = |(at, start, end): (f64, f64, f64)| (at, f64::midpoint(start, end));
        let again = thin::points(of(SegmentKind::Resent).map(middle), cell);
        chart.draw_series(again.into_iter().map(|place| Circle::new(place, 4, RED.filled())))?;
        let lost = thin::points(of(SegmentKind::Lost).map(middle), cell);
        chart.draw_series(lost.into_iter().map(|place| Cross::new(place, 4, BLACK.stroke_width(2))))?;
        Ok(())
    }
}

/// When, and from which byte to which.
fn bar(event: &SegmentEvent) -> (f64, f64, f64) {
    (seconds(event.at), event.start as f64, event.end as f64)
}

fn seconds(at: u64) -> f64 {
    at as f64 * 1e-9
}

fn line<'a, DB>(
    chart: &mut Chart<'a, DB>,
    color: RGBColor,
    width: u32,
    points: Vec<(f64, f64)>,
) -> Result<(), Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    chart.draw_series(LineSeries::new(points, color.stroke_width(width)))?;
    Ok(())
}

/// A line with gaps where there is no value.
fn runs<'a, DB>(chart: &mut Chart<'a, DB>, color: RGBColor, points: &[(f64, f64)]) -> Result<(), Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    for run in points.split(|point| point.1.is_nan()).filter(|run| !run.is_empty()) {
        line(chart, color, 2, run.to_vec())?;
    }
    Ok(())
}

//! Axes with units that people read, and what stands above a panel.

use super::{Chart, FONT, Failure, PALE, TEXT};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

/// Units, the smallest first, and how many of the smallest each is worth.
type Units = [(&'static str, f64)];
pub(super) const BYTES: [(&str, f64); 4] = [("bytes", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
pub(super) const MICROS: [(&str, f64); 3] = [("\u{b5}s", 1.0), ("ms", 1e3), ("s", 1e6)];
pub(super) const BITS_PER_SECOND: [(&str, f64); 4] =
    [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
const NANOS: [(&str, f64); 4] = [("ns", 1.0), ("\u{b5}s", 1e3), ("ms", 1e6), ("s", 1e9)];

/// Height of the line above a panel.
const HEADING: u32 = 28;

/// What a legend shows beside a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Line(RGBColor),
    Bar(RGBColor),
    Band(RGBColor),
    Dot(RGBColor),
    Cross(RGBColor),
}

/// A vertical axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    values: Range<f64>,
    unit: &'static str,
    worth: f64,
}

/// The largest unit that the value reaches.
fn unit_of(units: &Units, value: f64) -> (&'static str, f64) {
    let reached = units.iter().rev().find(|(_, worth)| value >= *worth);
    reached.or(units.first()).copied().unwrap_or(("", 1.0))
}

impl Axis {
    /// From 0 to a little above the highest of the points, in this unit.
    pub(super) fn plain<'p>(unit: &'static str, points: impl IntoIterator<Item = &'p (f64, f64)>) -> Self {
        let top = points.into_iter().map(|point| point.1).fold(1.0, f64::max);
        Self { values: 0.0..top * 1.08, unit, worth: 1.0 }
    }

    /// The same, in the unit that fits.
    pub(super) fn scaled(units: &Units, points: &[(f64, f64)]) -> Self {
        let axis = Self::plain("", points);
        Self::between(units, axis.values)
    }

    /// From one value to another.
    pub(super) fn between(units: &Units, values: Range<f64>) -> Self {
        let (unit, worth) = unit_of(units, values.end / 1.08);
        Self { values, unit, worth }
    }

    /// A name with the unit.
    pub(super) fn title(&self, name: &str) -> String {
        format!("{name}, {}", self.unit)
    }

    /// Where it ends.
    pub(super) fn top(&self) -> f64 {
        self.values.end
    }

    /// A chart with this axis, over an axis of time that writes its labels with `time`.
    pub(super) fn chart<'a, DB>(
        &self,
        area: &DrawingArea<DB, Shift>,
        span: Range<f64>,
        time: &dyn Fn(&f64) -> String,
    ) -> Result<Chart<'a, DB>, Failure>
    where
        DB: DrawingBackend<ErrorType: 'static> + 'a,
    {
        let height = self.values.end - self.values.start;
        // A line for each 40 pixels, and none between two whole numbers of what cannot be divided.
        let room = area.dim_in_pixel().1 as usize / 40;
        let whole = (height / self.worth).floor() as usize + 1;
        let lines = if self.worth > 1.0 { room } else { room.min(whole) };
        let step = height / self.worth / lines.max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_bottom(4)
            .margin_right(36)
            .x_label_area_size(26)
            .y_label_area_size(64)
            .build_cartesian_2d(span, self.values.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(PALE)
            .x_labels(12)
            .x_label_formatter(&|at| time(at))
            .y_labels(lines.max(2))
            .y_label_formatter(&|value| short(value / self.worth, step))
            .label_style(TEXT)
            .draw()?;
        Ok(chart)
    }
}

/// How the times of a span, in seconds, are written.
pub(super) fn seconds(span: &Range<f64>) -> impl Fn(&f64) -> String + use<> {
    let (unit, worth) = unit_of(&NANOS, span.end * 1e9);
    let step = (span.end - span.start) * 1e9 / worth / 12.0;
    move |at| format!("{} {unit}", short(at * 1e9 / worth, step))
}

/// A number of an axis whose lines are so far apart, without noise behind the point.
fn short(value: f64, step: f64) -> String {
    let mut digits = 0;
    let mut step = step;
    while step < 2.0 && digits < 9 {
        step *= 10.0;
        digits += 1;
    }
    let text = format!("{value:.digits$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes the name and the legend of a panel above it, and gives the rest of the area.
pub(super) fn heading<'a, DB>(
    area: &DrawingArea<DB, Shift>,
    name: &str,
    keys: &[(&str, Mark)],
) -> Result<DrawingArea<DB, Shift>, Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    let (line, rest) = area.split_vertically(HEADING);
    line.draw_text(name, &(FONT, 17).into_text_style(&line), (16, 6))?;
    let style = TEXT.into_text_style(&line);
    // From right to left, so that the marks end where the panel does.
    let mut x = line.dim_in_pixel().0.cast_signed() - 36;
    for (name, mark) in keys.iter().rev() {
        let (width, _) = line.estimate_text_size(name, &style)?;
        x -= width.cast_signed();
        line.draw_text(name, &style, (x, 7))?;
        x -= 28;
        draw_mark(&line, *mark, (x, 15))?;
        x -= 16;
    }
    Ok(rest)
}

fn draw_mark<'a, DB>(line: &DrawingArea<DB, Shift>, mark: Mark, (x, y): (i32, i32)) -> Result<(), Failure>
where
    DB: DrawingBackend<ErrorType: 'static> + 'a,
{
    match mark {
        Mark::Line(color) => line.draw(&PathElement::new([(x, y), (x + 20, y)], color.stroke_width(3)))?,
        Mark::Bar(color) => {
            line.draw(&PathElement::new([(x + 12, y - 7), (x + 12, y + 7)], color.stroke_width(3)))?;
        }
        Mark::Band(color) => {
            line.draw(&Rectangle::new([(x, y - 6), (x + 20, y + 6)], color.filled()))?;
        }
        Mark::Dot(color) => line.draw(&Circle::new((x + 12, y), 4, color.filled()))?,
        Mark::Cross(color) => line.draw(&Cross::new((x + 12, y), 4, color.stroke_width(2)))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_digits_that_tell_them_apart() {
        let time = |from: f64, to: f64, at: f64| seconds(&(from..to))(&at);
        assert_eq!(time(0.0, 1200.0, 300.0), "300 s");
        assert_eq!(time(0.0, 0.04, 0.005), "5 ms");
        assert_eq!(time(100.0, 100.001, 100.0005), "100.0005 s");
        assert_eq!(short(0.0, 1.0), "0");
        assert_eq!(short(100.0, 50.0), "100");
    }

    #[test]
    fn a_unit_is_the_largest_that_is_reached() {
        assert_eq!(unit_of(&BYTES, 1_400_000.0).0, "MB");
        assert_eq!(unit_of(&BYTES, 0.0).0, "bytes");
        let axis = Axis::scaled(&BITS_PER_SECOND, &[(0.0, 20e6), (1.0, 3e6)]);
        assert_eq!((axis.unit, axis.top()), ("Mbit/s", 21.6e6));
    }
}

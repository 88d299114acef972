//! What a picture can show of many points: no more than its pixels.

use std::collections::HashSet;
use std::ops::Range;

/// A line that keeps its height until the next value and until the end of the span. Of what falls into the same of so many
/// columns only the first, the lowest, the highest and the last value are left.
pub(super) fn steps(
    values: impl Iterator<Item = (f64, f64)>,
    span: &Range<f64>,
    columns: u32,
) -> Vec<(f64, f64)> {
    let width = (span.end - span.start) / f64::from(columns.max(1));
    let mut line: Vec<(f64, f64)> = Vec::new();
    let mut column: Option<(u64, [(f64, f64); 4])> = None;
    let mut last = f64::INFINITY;
    for (at, value) in values {
        // Of equal values the first is enough; that there is none is a value too.
        if value == last || (value.is_nan() && last.is_nan()) {
            continue;
        }
        last = value;
        let (number, point) = (((at - span.start) / width) as u64, (at, value));
        match &mut column {
            Some((same, [_, low, high, end])) if *same == number => {
                *end = point;
                if value.is_nan() || value < low.1 {
                    *low = point;
                }
                if value.is_nan() || value > high.1 {
                    *high = point;
                }
            }
            _ => {
                emit(&mut line, column.take());
                column = Some((number, [point; 4]));
            }
        }
    }
    emit(&mut line, column);
    line.extend(line.last().map(|last| (span.end, last.1)));
    line
}

fn emit(line: &mut Vec<(f64, f64)>, column: Option<(u64, [(f64, f64); 4])>) {
    let Some((_, mut points)) = column else { return };
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, value) in points {
        match line.last() {
            Some(&last) if last == (at, value) => continue,
            Some(&(_, before)) => line.push((at, before)),
            None => {}
        }
        line.push((at, value));
    }
}

/// Spans in order of time; those that are less than `gap` apart as one.
pub(super) fn spans(spans: Vec<(f64, f64)>, gap: f64) -> Vec<(f64, f64)> {
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from - last.1 < gap => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Vertical bars `(at, from, to)`: those in the same column of pixels that touch or overlap as one.
pub(super) fn bars(bars: Vec<(f64, f64, f64)>, pixel: (f64, f64)) -> Vec<(f64, f64, f64)> {
    let mut placed: Vec<_> = bars.into_iter().map(|bar| ((bar.0 / pixel.0) as u64, bar)).collect();
    placed.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.1.total_cmp(&y.1)));
    let mut joined: Vec<(u64, (f64, f64, f64))> = Vec::new();
    for (column, bar) in placed {
        match joined.last_mut() {
            Some((same, last)) if *same == column && bar.1 <= last.2 + pixel.1 => last.2 = last.2.max(bar.2),
            _ => joined.push((column, bar)),
        }
    }
    joined.into_iter().map(|(_, bar)| bar).collect()
}

/// Points, one of those in the same cell.
pub(super) fn points(points: impl Iterator<Item = (f64, f64)>, cell: (f64, f64)) -> Vec<(f64, f64)> {
    let mut seen = HashSet::new();
    points.filter(|(x, y)| seen.insert(((x / cell.0) as u64, (y / cell.1) as u64))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_many_values_keeps_its_peaks_and_its_end() {
        let values =
            (0..100_000).map(|i| (f64::from(i) * 1e-5, if i == 5000 { 99.0 } else { f64::from(i % 7) }));
        let line = steps(values, &(0.0..1.0), 100);
        assert!(line.len() < 100 * 9, "{} points", line.len());
        assert!(line.iter().any(|point| point.1 == 99.0), "the peak is lost");
        assert_eq!(line.last().map(|point| point.0), Some(1.0));
        assert!(line.windows(2).all(|two| two[0].0 <= two[1].0));
    }

    #[test]
    fn a_value_is_kept_until_the_next() {
        let line = steps([(0.0, 1.0), (0.5, 3.0), (0.6, 3.0)].into_iter(), &(0.0..1.0), 10);
        assert_eq!(line, [(0.0, 1.0), (0.5, 1.0), (0.5, 3.0), (1.0, 3.0)]);
        assert!(steps([].into_iter(), &(0.0..1.0), 10).is_empty());
    }

    #[test]
    fn bars_and_spans_that_touch_are_one() {
        assert_eq!(spans(vec![(0.0, 1.0), (1.1, 2.0), (5.0, 6.0)], 0.5), [(0.0, 2.0), (5.0, 6.0)]);
        let all = vec![(0.1, 0.0, 10.0), (0.2, 10.0, 20.0), (0.3, 50.0, 60.0), (1.5, 20.0, 30.0)];
        assert_eq!(bars(all, (1.0, 1.0)), [(0.1, 0.0, 20.0), (0.3, 50.0, 60.0), (1.5, 20.0, 30.0)]);
        assert_eq!(points([(0.1, 0.1), (0.2, 0.2), (3.0, 0.0)].into_iter(), (1.0, 1.0)).len(), 2);
    }
}

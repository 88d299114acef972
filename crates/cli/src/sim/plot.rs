//! Which connection of a run is drawn, and of that which part.

use clap::ValueEnum;
use lastack_sim::plot::Plot;
use lastack_sim::report::ConnectionReport;
use lastack_sim::scenario::Who;
use lastack_sim::{Options, Report};
use std::path::PathBuf;
use std::time::Duration;

/// Longest time between two samples of a picture.
const SAMPLE: Duration = Duration::from_millis(2);

/// What is drawn of a run.
#[derive(Debug, clap::Args)]
pub struct PlotArgs {
    /// Draw a connection: windows, round-trip time, rate and each segment against time; may be repeated
    #[arg(long, value_name = "FILE.svg|png", value_parser = picture, conflicts_with = "seeds")]
    pub plot: Vec<PathBuf>,
    /// The connection to draw, by its place in the JSON's list; default: the one that moved most bytes
    #[arg(long, value_name = "N", requires = "plot")]
    pub plot_connection: Option<usize>,
    /// Whose sending to draw; default: the end that wrote more
    #[arg(long, value_enum, value_name = "END", requires = "plot")]
    pub plot_end: Option<End>,
    /// Draw only from one time to another, in seconds of virtual time
    #[arg(long, value_name = "FROM..TO", value_parser = span, requires = "plot")]
    pub plot_span: Option<(f64, f64)>,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// The one that connected.
    Client,
    /// The one that accepted.
    Server,
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|end| end.to_str()) {
        Some(end) if end.eq_ignore_ascii_case("svg") || end.eq_ignore_ascii_case("png") => Ok(path),
        _ => Err("the name has to end in .svg or .png".to_owned()),
    }
}

fn span(text: &str) -> Result<(f64, f64), String> {
    let wrong = || "it takes two times in seconds as in 1.5..2, the first before the second".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let second = |text: &str| text.trim().parse::<f64>().ok().filter(|time| time.is_finite() && *time >= 0.0);
    match (second(from), second(to)) {
        (Some(from), Some(to)) if from < to => Ok((from, to)),
        _ => Err(wrong()),
    }
}

impl PlotArgs {
    /// Has the run write down what a picture needs.
    pub(super) fn prepare(&self, options: &mut Options) {
        if !self.plot.is_empty() {
            options.sample = Some(SAMPLE);
            options.segments = true;
        }
    }

    /// Draws.
    pub(super) fn draw(&self, report: &Report) -> Result<(), String> {
        if self.plot.is_empty() {
            return Ok(());
        }
        let number = self.number(report)?;
        let connection = &report.connections[number];
        let end = self.end(connection);
        let id = u32::try_from(number).map_err(|error| error.to_string())?;
        let series = report.series.iter().find(|series| series.connection == id && series.end == end);
        let series =
            series.ok_or("that end is not lastack's, or never had a connection: there is nothing to draw")?;
        let events = report.segments.iter().filter(|event| event.connection == id && event.from == end);
        let events: Vec<_> = events.copied().collect();
        let title = format!(
            "{}, seed {}: connection {} of {}, what the {end} sent",
            report.scenario, report.seed, connection.index, connection.flow
        );
        let plot = Plot { title: &title, samples: &series.samples, events: &events, span: self.plot_span };
        for file in &self.plot {
            plot.write(file).map_err(|error| format!("cannot draw {}: {error}", file.display()))?;
        }
        Ok(())
    }

    fn number(&self, report: &Report) -> Result<usize, String> {
        let count = report.connections.len();
        match self.plot_connection {
            Some(number) if number < count => Ok(number),
            Some(number) => Err(format!("there is no connection {number}; the run had {count}, from 0 on")),
            None => {
                let moved = |connection: &ConnectionReport| {
                    connection.client.wrote + connection.server.as_ref().map_or(0, |server| server.wrote)
                };
                // The first of equals.
                let most = report
                    .connections
                    .iter()
                    .enumerate()
                    .rev()
                    .max_by_key(|(_, connection)| moved(connection));
                most.map(|(number, _)| number).ok_or_else(|| "the run had no connection to draw".to_owned())
            }
        }
    }

    fn end(&self, connection: &ConnectionReport) -> Who {
        let server = connection.server.as_ref().map_or(0, |server| server.wrote);
        match self.plot_end {
            Some(End::Client) => Who::Client,
            Some(End::Server) => Who::Server,
            None if server > connection.client.wrote => Who::Server,
            None => Who::Client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_two_times_in_order() {
        assert_eq!(span("1.5..2"), Ok((1.5, 2.0)));
        assert!(
            span("2..2").is_err() && span("..1").is_err() && span("1").is_err() && span("0..inf").is_err()
        );
    }

    #[test]
    fn pictures_are_svg_or_png() {
        assert!(picture("a.svg").is_ok() && picture("A.PNG").is_ok());
        assert!(picture("a.gif").is_err() && picture("svg").is_err());
    }
}

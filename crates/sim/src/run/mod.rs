//! Carrying out a scenario.

mod account;
mod world;

pub(crate) use account::link_report;

use crate::report::{Failure, FailureKind, Report};
use crate::scenario::Scenario;
use crate::trace::Trace;
use lastack_core::Config;
use std::io::Write;
use std::time::Duration;
use world::World;

/// What a run leaves beside its [`Report`].
#[derive(Default)]
pub struct Options {
    /// Take the numbers of every connection so often.
    pub sample: Option<Duration>,
    /// Write down what becomes of every segment.
    pub segments: bool,
    /// Write the packets of a link down as pcapng.
    pub capture: Option<Capture>,
    /// Has the last word on the configuration of each host that runs lastack; it gets the host's name.
    pub tune: Option<fn(&str, &mut Config)>,
    /// Called now and then with the virtual time that has passed and the packets so far.
    pub progress: Option<Box<dyn FnMut(Duration, u64) + Send>>,
}

/// Where the packets of a link go.
pub struct Capture {
    /// The link's name, or that of its ends as in `client-server`; the first link without one.
    pub link: Option<String>,
    /// Where to.
    pub writer: Box<dyn Write + Send>,
}

/// Carries out a scenario. The same scenario and seed give the same packets, byte for byte, and so the same report.
///
/// It takes no real time but that for computing, and shares nothing with other runs: many seeds may run in many threads.
///
/// # Errors
/// The scenario is impossible; what is wrong with the run itself is in [`Report::failures`].
pub fn run_scenario(scenario: &Scenario, seed: u64) -> Result<Report, String> {
    run_with(scenario, seed, Options::default())
}

/// The same, with samples, a log of segments or a capture.
///
/// # Errors
/// As [`run_scenario`], and a link to capture that is not there.
pub fn run_with(scenario: &Scenario, seed: u64, options: Options) -> Result<Report, String> {
    scenario.check()?;
    let mut world = World::new(scenario, seed, options.tune)?;
    world.sample_every(options.sample);
    world.progress = options.progress;
    let mut trace = Trace::default();
    let traced = options.segments || options.capture.is_some();
    if options.segments {
        trace.log_segments();
    }
    if let Some(capture) = options.capture {
        let titles: Vec<_> = scenario.links.iter().map(crate::scenario::LinkSpec::title).collect();
        let wanted = capture.link.as_deref();
        let link = wanted.map_or(Some(0), |name| titles.iter().position(|title| title == name));
        let link = link.ok_or_else(|| {
            format!("there is no link '{}'; there are {}", wanted.unwrap_or_default(), titles.join(", "))
        })?;
        let title = titles.get(link).ok_or("the scenario has no link")?;
        trace.capture(link, title, capture.writer).map_err(|error| format!("the capture failed: {error}"))?;
    }
    if traced {
        world.net.trace = Some(Box::new(trace));
    }
    let outcome = world.run();
    let mut failures: Vec<_> = outcome.err().into_iter().collect();
    let mut segments = Vec::new();
    if let Some(mut trace) = world.net.trace.take() {
        segments = std::mem::take(&mut trace.events);
        if let Err(error) = trace.finish() {
            let text = format!("the capture is not whole: {error}");
            failures.push(Failure { kind: FailureKind::Capture, text });
        }
    }
    let mut report = account::settle(&mut world, failures);
    report.segments = segments;
    Ok(report)
}

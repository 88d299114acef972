//! `lastack demo`: plays a scenario between two stacks and draws it.

pub mod capture;
mod exchanges;
pub mod json;
pub mod rows;
pub mod scenario;
pub mod steps;
pub mod story;
pub mod svg;
pub mod text;

pub use scenario::Scenario;

use crate::args::{Demo, Format};
use crate::output;
use story::Story;
use text::Look;

/// Plays, draws and writes. The error is a line for the user.
pub fn main(args: &Demo) -> Result<(), String> {
    if args.list {
        return output::write(args.output.as_deref(), &list());
    }
    let scenario = args.scenario;
    if args.ascii && args.format != Format::Text {
        return Err("--ascii is for the text ladder only; leave it out, or use --format text".to_owned());
    }
    if args.why && args.format != Format::Text {
        return Err("--why is for the text ladder; JSON has it always, the figure never".to_owned());
    }
    let log = scenario
        .play()
        .map_err(|stalled| format!("{stalled}, in '{}'; please report this as a bug", scenario.name()))?;
    let story = Story::new(&log);
    if let Some(path) = &args.capture {
        capture::write(path, &log)
            .map_err(|error| format!("cannot write the capture {}: {error}", path.display()))?;
    }
    let drawing = match args.format {
        Format::Text => {
            let to_screen = args.output.is_none();
            let look = Look {
                ascii: args.ascii || to_screen && output::ascii_only(),
                colour: to_screen && output::colour(),
                full: args.full,
                why: args.why,
            };
            text::draw(&story, scenario.heading(), look)
        }
        Format::Json => {
            json::draw(&story, scenario).map_err(|error| format!("cannot render JSON: {error}"))?
        }
        Format::Svg => svg::draw(&story, scenario, args.full),
    };
    output::write(args.output.as_deref(), &drawing)
}

/// Every scenario with a sentence.
fn list() -> String {
    Scenario::all().iter().map(|s| format!("{:<13} {}\n", s.name(), s.summary())).collect()
}

#[cfg(test)]
mod tests;

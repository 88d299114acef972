//! `cargo xtask`: the chores of the project. `cargo xtask test` is what a clean clone, a developer and the continuous
//! integration all run.

mod args;
mod conformance;
#[cfg(test)]
mod docs;
mod no_std;
mod packages;
mod plan;
mod report;
mod run;
mod tests_output;

use args::{Args, Verb};
use std::process::ExitCode;

/// A check did not pass.
const FAILED: u8 = 1;
/// The command line was not understood.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("xtask: {problem}; see 'cargo xtask --help'");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let passed = match args.verb {
        Verb::Help => {
            print!("{}", args::HELP);
            true
        }
        Verb::NoStd => plan::no_std(&args),
        Verb::Conformance => plan::conformance(&args),
        Verb::Test => plan::test(&args),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

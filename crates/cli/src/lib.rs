//! The command `lastack`, as a library: what the binary does, and the drawing of ladders, for tests and other tools.

pub mod args;
pub mod attach;
pub mod bestiary;
pub mod check;
pub mod demo;
pub mod limits;
pub mod output;
pub mod run;
pub mod script;
pub mod sim;
pub mod tun2socks;

use args::{Args, Verb};
use clap::Parser as _;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit status when an entry of the bestiary failed.
pub const FAILED: u8 = 1;
/// Exit status for a command line that cannot be understood, or a file that cannot be written.
pub const FAILURE: u8 = 2;
/// The same for `run`, where 2 may be the program's own status (as `env` and `chroot` do).
pub const RUN_FAILURE: u8 = 125;

/// Under this name the command is `lastack attach`, for programs that start it.
const SLIRP4NETNS: &str = "slirp4netns";

/// The words of the command line, the first of which is the program's name.
fn words(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = given.into_iter().collect();
    let is_slirp =
        words.first().is_some_and(|name| Path::new(name).file_name() == Some(SLIRP4NETNS.as_ref()));
    if is_slirp {
        // It shows its version for `-v` too.
        let version = words.len() == 2 && (words[1] == "-v" || words[1] == "--version");
        if version {
            words[1] = "--version".into();
        } else {
            words.insert(1, "attach".into());
        }
    }
    words
}

/// Does what the command line of this process says; gives the exit status.
pub fn main() -> ExitCode {
    let words = words(std::env::args_os());
    let args = match Args::try_parse_from(&words) {
        Ok(args) => args,
        Err(error) => return args::report(&error, words.get(1)),
    };
    match args.verb {
        Verb::Demo(demo) => match demo::main(&demo) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                output::error(&message);
                ExitCode::from(FAILURE)
            }
        },
        Verb::Bestiary(bestiary) => match bestiary::main(&bestiary) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(FAILED),
            Err(message) => {
                output::error(&message);
                ExitCode::from(FAILURE)
            }
        },
        Verb::Check(check) => check::main(&check),
        Verb::Run(run) => run::main(run),
        Verb::Script(script) => script::main(&script),
        Verb::Sim(args) => sim::main(args),
        Verb::Tun2Socks(args) => tun2socks::main(args),
        Verb::Attach(attach) => attach::main(attach).unwrap_or_else(|message| {
            output::error(&message);
            ExitCode::from(FAILURE)
        }),
    }
}

//! The proof that the core needs neither the standard library nor libc: see `tests/no_std/src/main.rs`.

use crate::report::Screen;
use crate::run::{cargo, root, run, target_dir};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Links the program around the core and runs it.
///
/// # Errors
/// What the compiler or linker said, or the step at which the program failed.
pub(crate) fn prove(screen: &mut Screen) -> Result<String, String> {
    let package = root().join("tests/no_std");
    let target = target_dir().join("no-std");
    // The proof is about the versions that the workspace uses; cargo takes the rest out of the copy.
    std::fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock"))
        .map_err(|error| format!("cannot copy Cargo.lock: {error}"))?;
    let mut command = cargo(&["rustc", "--"]);
    command.args(["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles", "-Clink-arg=-static"]);
    command.arg("-Crelocation-model=static").arg("-Dwarnings");
    command.current_dir(&package).env("CARGO_TARGET_DIR", &target);
    let mut watch = crate::report::Quiet { screen, output: Vec::new() };
    run(command, LIMIT, &mut watch).map_err(|error| {
        watch.output.push(format!("the core does not link without std: {error}"));
        watch.output.join("\n")
    })?;
    let program = target.join("debug/no-std-proof");
    run(Command::new(&program), LIMIT, &mut watch)
        .map_err(|error| format!("{} failed at a step of exchange(): {error}", program.display()))?;
    Ok("two stacks linked without std and libc, and talked".to_owned())
}

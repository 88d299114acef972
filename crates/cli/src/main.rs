//! The command `lastack`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lastack_cli::main()
}

//! The command line.

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The chores of lastack.

Usage: cargo xtask VERB [OPTIONS]

Verbs:
  test      Install what the tests need (as root, from Debian's packages) and check everything:
            formatting, clippy, the no_std proof of the core, all tests, the documentation
  no-std    Only the proof that the core links without the standard library and without libc

Options of both:
  -v, --verbose    Show all that the tools say
  -h, --help       This help

Options of test:
  --fast           A developer's loop: clippy and the tests that need neither root nor packages

Tests against the running kernel need root (network namespaces and TUN devices of their own; the host's network is
not touched). Without root they are left out, and the end of the output says which. With CI=true nothing may be left
out.

Examples:
  cargo xtask test            everything, as on a clean clone
  cargo xtask test --fast     while you work
  cargo xtask no-std

Exit status: 0 if all is well, 1 if a check failed, 2 for bad usage.
";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Print the help.
    Help,
    /// All checks.
    Test,
    /// The proof for the core.
    NoStd,
}

/// The command line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) verb: Verb,
    pub(crate) fast: bool,
    pub(crate) verbose: bool,
}

impl Args {
    /// # Errors
    /// A word that is not known here, or no verb: the problem in a few words.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut verb, mut fast, mut verbose) = (None, false, false);
        for word in words {
            match word.as_str() {
                "-h" | "--help" | "help" => return Ok(Self { verb: Verb::Help, fast, verbose }),
                "test" if verb.is_none() => verb = Some(Verb::Test),
                "no-std" if verb.is_none() => verb = Some(Verb::NoStd),
                "-v" | "--verbose" => verbose = true,
                "--fast" => fast = true,
                other => return Err(format!("unexpected '{other}'")),
            }
        }
        let verb = verb.ok_or("no verb given; there are test and no-std")?;
        if fast && verb != Verb::Test {
            return Err("--fast belongs to test".to_owned());
        }
        Ok(Self { verb, fast, verbose })
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, Verb};

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_verb_and_its_options_are_understood() {
        assert_eq!(parse("test --fast -v"), Ok(Args { verb: Verb::Test, fast: true, verbose: true }));
        assert_eq!(parse("no-std"), Ok(Args { verb: Verb::NoStd, fast: false, verbose: false }));
        assert_eq!(parse("test --help").map(|args| args.verb), Ok(Verb::Help));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse("tset"), Err("unexpected 'tset'".to_owned()));
        assert_eq!(parse("test test"), Err("unexpected 'test'".to_owned()));
        assert!(parse("").is_err());
        assert!(parse("no-std --fast").is_err());
    }
}

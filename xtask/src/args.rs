//! The command line.

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The chores of lastack.

Usage: cargo xtask VERB [OPTIONS]

Verbs:
  test      Install what the tests need (as root, from Debian's packages) and check everything:
            formatting, clippy, the no_std proof of the core, all tests, the core's short paths
            beside its general code, the search of all schedules, the table of goodput,
            the documentation
  no-std    Only the proof that the core links without the standard library and without libc
  conformance
            Write docs/conformance.md anew, from docs/requirements.toml and the lines '/// Holds: MUST-12, SHLD-3'
            above the tests; a MUST without a test or a reason is an error, and so is a line that names no row

Options of all:
  -v, --verbose    Show all that the tools say
  -h, --help       This help

Options of test:
  --fast           A developer's loop: clippy and the tests that need neither root nor packages

Options of conformance:
  --check          Write nothing; fail if the page is not what it should be (part of test)

Tests against the running kernel need root (network namespaces and TUN devices of their own; the host's network is
not touched). Without root they are left out, and the end of the output says which. With CI=true nothing may be left
out.

Examples:
  cargo xtask test            everything, as on a clean clone
  cargo xtask test --fast     while you work
  cargo xtask no-std
  cargo xtask conformance     after a change of tests or rows; look at the difference

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
    /// The page on the requirements.
    Conformance,
}

/// The command line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) verb: Verb,
    pub(crate) fast: bool,
    pub(crate) check: bool,
    pub(crate) verbose: bool,
}

impl Args {
    /// # Errors
    /// A word that is not known here, or no verb: the problem in a few words.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut verb = None;
        let (mut fast, mut check, mut verbose) = (false, false, false);
        for word in words {
            match word.as_str() {
                "-h" | "--help" | "help" => return Ok(Self { verb: Verb::Help, fast, check, verbose }),
                "test" if verb.is_none() => verb = Some(Verb::Test),
                "no-std" if verb.is_none() => verb = Some(Verb::NoStd),
                "conformance" if verb.is_none() => verb = Some(Verb::Conformance),
                "-v" | "--verbose" => verbose = true,
                "--fast" => fast = true,
                "--check" => check = true,
                other => return Err(format!("unexpected '{other}'")),
            }
        }
        let verb = verb.ok_or("no verb given; there are test, no-std and conformance")?;
        if fast && verb != Verb::Test {
            return Err("--fast belongs to test".to_owned());
        }
        if check && verb != Verb::Conformance {
            return Err("--check belongs to conformance".to_owned());
        }
        Ok(Self { verb, fast, check, verbose })
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
        let (fast, check, verbose) = (false, false, false);
        let all = Args { verb: Verb::Test, fast: true, check, verbose: true };
        assert_eq!(parse("test --fast -v"), Ok(all));
        assert_eq!(parse("no-std"), Ok(Args { verb: Verb::NoStd, fast, check, verbose }));
        let page = Args { verb: Verb::Conformance, fast, check: true, verbose };
        assert_eq!(parse("conformance --check"), Ok(page));
        assert_eq!(parse("test --help").map(|args| args.verb), Ok(Verb::Help));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse("tset"), Err("unexpected 'tset'".to_owned()));
        assert_eq!(parse("test test"), Err("unexpected 'test'".to_owned()));
        assert!(parse("").is_err());
        assert!(parse("no-std --fast").is_err());
        assert!(parse("test --check").is_err());
    }
}

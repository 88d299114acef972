//! Scenarios that come with the crate, by name.

use crate::scenario::Scenario;

/// A scenario of the library.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// It as TOML.
    pub text: &'static str,
}

impl Entry {
    /// Reads it.
    ///
    /// # Errors
    /// None: a test reads each.
    pub fn scenario(&self) -> Result<Scenario, String> {
        Scenario::parse(self.text)
    }
}

macro_rules! scenarios {
    ($($name:literal),+ $(,)?) => {
        &[$(Entry { name: $name, text: include_str!(concat!("../scenarios/", $name, ".toml")) }),+]
    };
}

/// All of them, in the order in which they are listed.
#[must_use]
pub const fn library() -> &'static [Entry] {
    scenarios![
        "clean",
        "gigabit",
        "lossy-wifi",
        "satellite",
        "bufferbloat",
        "codel-ecn",
        "reordering",
        "noisy-line",
        "asymmetric",
        "partition",
        "mtu-shrinks",
        "mtu-black-hole",
        "half-close",
        "slow-reader",
        "request-response",
        "short-connections",
        "crashing-programs",
        "host-reboots",
        "middlebox-strips-options",
        "middlebox-rewrites-seq",
        "middlebox-splits",
        "middlebox-coalesces",
        "fin-swallowed",
        "rst-injection",
        "rst-blind",
        "fairness-2",
        "fairness-4",
        "fairness-16",
        "mixed-smoltcp",
        "ipv6",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read_and_has_the_name_of_its_file() {
        for entry in library() {
            let scenario = entry.scenario().unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            assert_eq!(scenario.name, entry.name);
            assert!(!scenario.flows.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn every_scenario_can_be_written_and_read_again() {
        for entry in library() {
            let scenario = entry.scenario().expect(entry.name);
            let text = scenario.to_toml().expect(entry.name);
            let again = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            assert_eq!(text, again.to_toml().expect(entry.name));
        }
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_library() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files =
            std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").file_name());
        let mut files: Vec<_> = files.map(|name| name.to_string_lossy().replace(".toml", "")).collect();
        let mut names: Vec<_> = library().iter().map(|entry| entry.name.to_owned()).collect();
        files.sort();
        names.sort();
        assert_eq!(files, names);
    }
}

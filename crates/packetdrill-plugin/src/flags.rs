//! `--so_flags`: words of the form `name=value`, separated by blanks or commas.

use crate::sysctl;
use packetdrill::sys::Settings;
use std::net::IpAddr;
use std::time::Duration;

/// What `--so_flags` may say; shown when it says something else.
pub(crate) const USAGE: &str = "clock=virtual|real mtu=BYTES ipv4-mtu=BYTES ipv6-mtu=BYTES local=ADDRESS \
    seed=NUMBER sysctl=read|ignore patience=SECONDS, or a setting by its name under /proc/sys/net/ipv4 or net/core with \
    ':' between several numbers, e.g. tcp_fin_timeout=5 tcp_rmem=4096:540000:15728640";

/// How a run is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    /// The wall clock instead of one that stands still.
    pub(crate) real_clock: bool,
    /// Read the namespace's settings when a socket is made.
    pub(crate) read_sysctls: bool,
    /// Settings that the flags have fixed; the namespace's do not count for them.
    pub(crate) fixed: Vec<String>,
    /// How long a real clock waits for a packet when no timer runs.
    pub(crate) patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            real_clock: false,
            read_sysctls: true,
            fixed: Vec::new(),
            patience: Duration::from_secs(3),
        }
    }
}

/// Reads the flags.
///
/// # Errors
/// A line that says which word is wrong.
pub(crate) fn parse(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    let mut local = Vec::new();
    for word in text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or(format!("{word:?} is not of the form name=value"))?;
        let bad = || format!("{value:?} is no value for {name:?}");
        match name {
            "clock" => {
                options.real_clock = match value {
                    "virtual" => false,
                    "real" => true,
                    _ => return Err(bad()),
                }
            }
            "mtu" => options.settings.set_mtu(mtu(value).ok_or_else(bad)?),
            "ipv4-mtu" => options.settings.config.ipv4_mtu = Some(mtu(value).ok_or_else(bad)?),
            "ipv6-mtu" => options.settings.mtu = mtu(value).ok_or_else(bad)?,
            "local" => local.push(value.parse::<IpAddr>().map_err(|_| bad())?),
            "seed" => {
                let number: u64 = value.parse().map_err(|_| bad())?;
                options.settings.seed = [0; 32];
                options.settings.seed[..8].copy_from_slice(&number.to_le_bytes());
            }
            "sysctl" => {
                options.read_sysctls = match value {
                    "read" => true,
                    "ignore" => false,
                    _ => return Err(bad()),
                }
            }
            "patience" => {
                options.patience = Duration::from_secs(value.parse().map_err(|_| bad())?);
            }
            _ if sysctl::is_known(name) => {
                let value = value.replace(':', " ");
                options.settings.sysctl(name, &value).map_err(|error| error.to_string())?;
                options.fixed.push(name.to_owned());
            }
            _ => return Err(format!("{name:?} is unknown")),
        }
    }
    if !local.is_empty() {
        options.settings.set_addresses(&local);
    }
    Ok(options)
}

fn mtu(value: &str) -> Option<u16> {
    value.parse().ok().filter(|mtu| *mtu >= 68)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_sets_its_value_and_the_rest_stays() {
        let options = parse("clock=real,mtu=9000 local=10.0.0.1 tcp_fin_timeout=5 sysctl=ignore").unwrap();
        assert!(options.real_clock && !options.read_sysctls);
        assert_eq!((options.settings.mtu, options.settings.config.ipv4_mtu), (9000, None));
        assert_eq!(options.settings.config.addresses[0].addr(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(options.settings.config.tcp.fin_timeout, Duration::from_secs(5));
        assert_eq!(options.fixed, ["tcp_fin_timeout"]);
        assert!(!parse("").unwrap().real_clock);
    }

    #[test]
    fn a_wrong_word_is_named() {
        assert_eq!(parse("colour=red").unwrap_err(), "\"colour\" is unknown");
        assert_eq!(parse("tcp_fin_timeout=x").unwrap_err(), "tcp_fin_timeout = 'x' is not a value");
        assert_eq!(parse("mtu=12").unwrap_err(), "\"12\" is no value for \"mtu\"");
        assert_eq!(parse("clock").unwrap_err(), "\"clock\" is not of the form name=value");
    }
}

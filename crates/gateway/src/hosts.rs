//! `/etc/hosts`: what the program reads.

use std::fmt::Write;
use std::net::IpAddr;

use crate::addresses::{GATEWAY_V6, Network};

/// Name of the host's loopback, as the program sees it.
const HOST_NAME: &str = "host.lastack.internal";

/// The host's lines; `localhost` if they lack it; and [`HOST_NAME`], if the host's loopback is reached in `network`.
pub(crate) fn inside(text: &str, network: Option<&Network>) -> String {
    let mut inside = text.to_owned();
    if !inside.is_empty() && !inside.ends_with('\n') {
        inside.push('\n');
    }
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(inside, "{line}");
    };
    for loopback in ["127.0.0.1", "::1"] {
        if !names(text, loopback, "localhost") {
            add(format_args!("{loopback}\tlocalhost"));
        }
    }
    if let Some(network) = network {
        add(format_args!("{}\t{HOST_NAME}", network.gateway_v4));
        if network.program_v6.is_some() {
            add(format_args!("{GATEWAY_V6}\t{HOST_NAME}"));
        }
    }
    inside
}

fn names(text: &str, address: &str, name: &str) -> bool {
    let address = address.parse::<IpAddr>().ok();
    text.lines().any(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        words.next().and_then(|word| word.parse().ok()) == address && words.any(|word| word == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lines_are_kept_and_the_host_has_a_name() {
        let text = "127.0.0.1 localhost\n::1 ip6-localhost localhost # both\n192.0.2.7 printer";
        assert_eq!(
            inside(text, Some(&Network::default())),
            format!("{text}\n10.0.2.2\thost.lastack.internal\nfd00::2\thost.lastack.internal\n")
        );
        let without = Network { program_v6: None, ..Network::default() };
        assert!(!inside(text, Some(&without)).contains("fd00::2"));
    }

    #[test]
    fn localhost_is_there_in_any_case() {
        assert_eq!(inside("", None), "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        assert_eq!(inside("127.0.1.1 box # 127.0.0.1 localhost\n::1 localhost\n", None).lines().count(), 3);
    }
}

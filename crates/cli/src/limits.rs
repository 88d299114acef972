//! The limits of a gateway, as `run`, `attach` and `tun2socks` take them.

use clap::Args;
use lastack_gateway::{Limits, faults};
use std::time::Duration;

/// Bounds on what lastack holds.
#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// TCP connections at once; more wait. Lowered to three quarters of the open files allowed
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = count, help_heading = "Limits")]
    pub max_connections: usize,
    /// TCP connections to one destination at once; more wait
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = count, help_heading = "Limits")]
    pub max_per_destination: usize,
    /// Memory of the buffers of all TCP connections: 64MiB, 1GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = faults::size, help_heading = "Limits")]
    pub max_memory: usize,
    /// UDP flows at once; one more ends the flow that was idle the longest
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = count, help_heading = "Limits")]
    pub max_udp_flows: usize,
    /// How long a UDP flow may be idle: 90s, 5m
    #[arg(long, value_name = "TIME", default_value = "180s", value_parser = faults::duration, help_heading = "Limits")]
    pub udp_idle: Duration,
    /// How long a UDP flow to port 53 may be idle
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = faults::duration, help_heading = "Limits")]
    pub dns_idle: Duration,
}

fn count(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|count| *count > 0);
    value.ok_or_else(|| "it takes a number from 1 on".to_owned())
}

impl LimitArgs {
    /// The gateway's word for it.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            max_per_destination: self.max_per_destination,
            max_memory: self.max_memory,
            max_udp_flows: self.max_udp_flows,
            udp_idle: self.udp_idle,
            dns_idle: self.dns_idle,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn defaults_are_those_of_the_gateway() {
        let limits = Only::parse_from(["lastack"]).limits.limits();
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
    }

    #[test]
    fn none_and_nonsense_are_refused() {
        for wrong in [["--max-connections", "0"], ["--max-memory", "lots"], ["--udp-idle", "5"]] {
            assert!(Only::try_parse_from(["lastack"].into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}

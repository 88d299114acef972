//! The settings of the network namespace that the stack can honour, under their names in `/proc/sys/net/ipv4` and
//! `/proc/sys/net/core`. A script's shell commands write them there.

use lastack_core::TcpConfig;
use packetdrill::sys::Settings;
use std::time::Duration;

/// Sets one value; `None` if the text is no value for it.
type Apply = fn(&mut Settings, &[&str]) -> Option<()>;

/// Seconds of a setting.
fn seconds(words: &[&str]) -> Option<Duration> {
    Some(Duration::from_secs(number(words)?))
}

fn milliseconds(words: &[&str]) -> Option<Duration> {
    Some(Duration::from_millis(number(words)?))
}

fn number<T: std::str::FromStr>(words: &[&str]) -> Option<T> {
    words.first()?.parse().ok()
}

fn flag(words: &[&str]) -> Option<bool> {
    Some(number::<i64>(words)? != 0)
}

fn three(words: &[&str]) -> Option<[i32; 3]> {
    let all: Vec<i32> = words.iter().map_while(|word| word.parse().ok()).collect();
    all.try_into().ok()
}

/// Writes one knob of the configuration.
macro_rules! tcp {
    ($field:ident, $read:expr) => {
        |settings: &mut Settings, words: &[&str]| {
            let value = $read(words)?;
            settings.config.tcp.$field = value;
            Some(())
        }
    };
}

const IPV4: &[(&str, Apply)] = &[
    ("ip_default_ttl", tcp!(ttl, number)),
    ("tcp_abort_on_overflow", tcp!(abort_on_overflow, flag)),
    ("tcp_congestion_control", congestion),
    ("tcp_fin_timeout", tcp!(fin_timeout, seconds)),
    ("tcp_invalid_ratelimit", tcp!(invalid_ratelimit, milliseconds)),
    ("tcp_keepalive_intvl", tcp!(keepalive_intvl, seconds)),
    ("tcp_keepalive_probes", tcp!(keepalive_probes, number)),
    ("tcp_keepalive_time", tcp!(keepalive_time, seconds)),
    ("tcp_max_orphans", tcp!(max_orphans, number)),
    ("tcp_max_syn_backlog", tcp!(max_syn_backlog, number)),
    ("tcp_max_tw_buckets", tcp!(max_time_wait, number)),
    ("tcp_min_snd_mss", tcp!(min_snd_mss, number)),
    ("tcp_orphan_retries", tcp!(orphan_retries, number)),
    ("tcp_retries2", tcp!(retries2, number)),
    ("tcp_rfc1337", tcp!(rfc1337, flag)),
    ("tcp_rmem", receive_buffer),
    ("tcp_rto_max_ms", tcp!(rto_max, milliseconds)),
    ("tcp_rto_min_us", |settings, words| {
        settings.config.tcp.rto_min = Duration::from_micros(number(words)?);
        Some(())
    }),
    ("tcp_sack", tcp!(sack, flag)),
    ("tcp_syn_linear_timeouts", tcp!(syn_linear_timeouts, number)),
    ("tcp_syn_retries", tcp!(syn_retries, number)),
    ("tcp_synack_retries", tcp!(synack_retries, number)),
    ("tcp_syncookies", tcp!(syn_cookies, flag)),
    ("tcp_timestamps", tcp!(timestamps, flag)),
    ("tcp_window_scaling", tcp!(window_scaling, flag)),
    ("tcp_wmem", |settings, words| {
        settings.send_buffer = three(words)?;
        settings.config.tcp.send_buffer_max = usize::try_from(settings.send_buffer[2]).ok()?;
        Some(())
    }),
];

const CORE: &[(&str, Apply)] = &[
    ("rmem_max", |settings, words| {
        settings.receive_buffer_limit = number(words)?;
        Some(())
    }),
    ("somaxconn", tcp!(somaxconn, number)),
    ("wmem_max", |settings, words| {
        settings.send_buffer_limit = number(words)?;
        Some(())
    }),
];

fn receive_buffer(settings: &mut Settings, words: &[&str]) -> Option<()> {
    settings.set_receive_buffer(three(words)?);
    Some(())
}

/// An algorithm that the stack does not have leaves the one that it had: a host's default says nothing of a script.
fn congestion(settings: &mut Settings, words: &[&str]) -> Option<()> {
    let name = *words.first()?;
    if TcpConfig::knows_congestion(name) {
        settings.config.tcp.congestion = name.to_owned();
    }
    Some(())
}

fn find(name: &str) -> Option<Apply> {
    IPV4.iter().chain(CORE).find(|(known, _)| *known == name).map(|(_, apply)| *apply)
}

/// Whether a setting of this name is honoured.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// Sets the setting `name` to `value`, as the text in its file reads.
pub(crate) fn apply(settings: &mut Settings, name: &str, value: &str) -> Option<()> {
    let words: Vec<&str> = value.split_whitespace().collect();
    find(name)?(settings, &words)
}

/// Takes over the namespace's settings, but for those that are `fixed`. A file that is not there, or not readable,
/// changes nothing.
pub(crate) fn read(settings: &mut Settings, fixed: &[String]) {
    for (folder, table) in [("ipv4", IPV4), ("core", CORE)] {
        for (name, _) in table.iter().filter(|(name, _)| !fixed.iter().any(|fixed| fixed == name)) {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/sys/net/{folder}/{name}")) {
                let _ = apply(settings, name, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_its_file_shows_it() {
        let mut settings = Settings::default();
        assert!(apply(&mut settings, "tcp_rmem", "4096\t131072\t6291456\n").is_some());
        assert_eq!(settings.receive_buffer, [4096, 131_072, 6_291_456]);
        assert!(apply(&mut settings, "tcp_fin_timeout", "5\n").is_some());
        assert_eq!(settings.config.tcp.fin_timeout, Duration::from_secs(5));
        assert!(apply(&mut settings, "tcp_fin_timeout", "soon").is_none());
        assert!(apply(&mut settings, "tcp_congestion_control", "bbr\n").is_some());
        assert_eq!(settings.config.tcp.congestion, "cubic");
    }
}

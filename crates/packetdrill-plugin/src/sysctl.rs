//! The settings of the network namespace that the stack can honour, by their names in `/proc/sys/net/ipv4` and
//! `/proc/sys/net/core`. A script's shell commands write them there.

use packetdrill::sys::Settings;

/// Under `net/ipv4`.
const IPV4: [&str; 47] = [
    "ip_default_ttl",
    "ip_local_port_range",
    "tcp_abort_on_overflow",
    "tcp_base_mss",
    "tcp_congestion_control",
    "tcp_ecn",
    "tcp_ecn_fallback",
    "tcp_ecn_option",
    "tcp_ecn_option_beacon",
    "tcp_fastopen",
    "tcp_fastopen_blackhole_timeout_sec",
    "tcp_fastopen_key",
    "tcp_fin_timeout",
    "tcp_invalid_ratelimit",
    "tcp_keepalive_intvl",
    "tcp_keepalive_probes",
    "tcp_keepalive_time",
    "tcp_max_orphans",
    "tcp_max_syn_backlog",
    "tcp_max_tw_buckets",
    "tcp_min_snd_mss",
    "tcp_min_tso_segs",
    "tcp_moderate_rcvbuf",
    "tcp_mtu_probe_floor",
    "tcp_mtu_probing",
    "tcp_orphan_retries",
    "tcp_probe_interval",
    "tcp_probe_threshold",
    "tcp_retries1",
    "tcp_retries2",
    "tcp_rfc1337",
    "tcp_rmem",
    "tcp_rto_max_ms",
    "tcp_rto_min_us",
    "tcp_sack",
    "tcp_shrink_window",
    "tcp_slow_start_after_idle",
    "tcp_syn_linear_timeouts",
    "tcp_syn_retries",
    "tcp_synack_retries",
    "tcp_syncookies",
    "tcp_timestamps",
    "tcp_tw_reuse",
    "tcp_tw_reuse_delay",
    "tcp_window_scaling",
    "tcp_wmem",
    "min_pmtu",
];
/// How `tcp_fastopen_key` reads as long as nobody has set one.
const NO_KEY: &str = "00000000-00000000-00000000-00000000";
/// Under `net/core`.
const CORE: [&str; 3] = ["rmem_max", "somaxconn", "wmem_max"];

/// Whether a setting of this name is honoured.
pub(crate) fn is_known(name: &str) -> bool {
    IPV4.contains(&name) || CORE.contains(&name)
}

/// Takes over the namespace's settings, but for those that are `fixed`. A file that is not there, and a value that the
/// stack does not have (a host's congestion control), change nothing.
pub(crate) fn read(settings: &mut Settings, fixed: &[String]) {
    for (folder, names) in [("ipv4", &IPV4[..]), ("core", &CORE[..])] {
        for name in names.iter().filter(|name| !fixed.iter().any(|fixed| fixed == *name)) {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/sys/net/{folder}/{name}"))
                && text.trim() != NO_KEY
            {
                let _ = settings.sysctl(name, &text);
            }
        }
    }
}

//! Linux's settings under `/proc/sys`, by name, on a [`Settings`].

use super::Settings;
use lastack_core::{EcnOption, EcnPolicy, FastOpenKeys, MtuProbing};
use std::fmt;
use std::time::Duration;

/// Why a setting was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// lastack has no such knob, or not this value of it.
    Unsupported(String),
    /// The value is none.
    Invalid(String),
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) => write!(f, "lastack has no {what}"),
            Self::Invalid(what) => write!(f, "{what} is not a value"),
        }
    }
}

impl std::error::Error for SysctlError {}

/// Settings that only lastack's one behaviour can be asked of; a blank list: any value, because nothing that a script sees
/// depends on it.
const FIXED: [(&str, &[&str]); 18] = [
    ("ip_forward", &[]),
    ("tcp_app_win", &["31"]),
    ("tcp_autocorking", &[]),
    ("tcp_challenge_ack_limit", &["2147483647"]),
    ("tcp_comp_sack_nr", &[]),
    ("tcp_dsack", &["1"]),
    ("tcp_limit_output_bytes", &[]),
    ("tcp_migrate_req", &["0"]),
    ("tcp_no_metrics_save", &["1"]),
    ("tcp_notsent_lowat", &["-1", "4294967295"]),
    ("tcp_pacing_ca_ratio", &[]),
    ("tcp_pacing_ss_ratio", &[]),
    ("tcp_plb_enabled", &["0"]),
    ("tcp_recovery", &["0", "1"]),
    ("tcp_reordering", &["3"]),
    ("tcp_thin_linear_timeouts", &["0"]),
    ("tcp_tso_win_divisor", &[]),
    ("tcp_workaround_signed_windows", &["0"]),
];

impl Settings {
    /// Sets what `sysctl net.ipv4.NAME=VALUE` sets. `name` may be whole (`net.ipv4.tcp_sack`, `/proc/sys/net/ipv4/tcp_sack`) or
    /// its last part.
    ///
    /// # Errors
    /// See [`SysctlError`].
    pub fn sysctl(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        let short = name.rsplit(['.', '/']).next().unwrap_or(name);
        let value = value.trim();
        let given = Given { name: short, value };
        if let Some((_, allowed)) = FIXED.iter().find(|(known, _)| *known == short) {
            return if allowed.is_empty() || allowed.contains(&value) {
                Ok(())
            } else {
                Err(SysctlError::Unsupported(format!("{short} = {value}")))
            };
        }
        self.set_buffers(&given)
            .or_else(|| self.set_mtu_search(&given))
            .unwrap_or_else(|| self.set_tcp(&given))
    }

    fn set_buffers(&mut self, given: &Given<'_>) -> Option<Result<(), SysctlError>> {
        let result = match given.name {
            "tcp_rmem" => given.three().map(|sizes| self.set_receive_buffer(sizes)),
            "tcp_wmem" => given.three().map(|sizes| {
                self.config.tcp.send_buffer_initial = size(sizes[1]);
                self.config.tcp.send_buffer_max = size(sizes[2]);
            }),
            "rmem_max" => given.number().map(|value| self.set_receive_buffer_limit(value)),
            "tcp_moderate_rcvbuf" => given.switch().map(|on| self.config.tcp.moderate_recv_buffer = on),
            "tcp_shrink_window" => given.switch().map(|on| self.config.tcp.shrink_window = on),
            "wmem_max" => given.number().map(|value| self.send_buffer_limit = value),
            "ip_local_port_range" => {
                let mut ports = given.value.split_whitespace().map(|port| port.parse().ok());
                match (ports.next().flatten(), ports.next().flatten()) {
                    (Some(first), Some(last)) => {
                        self.config.ephemeral_ports = (first, last);
                        Ok(())
                    }
                    _ => Err(given.invalid()),
                }
            }
            _ => return None,
        };
        Some(result)
    }

    /// The search for the path's MTU.
    fn set_mtu_search(&mut self, given: &Given<'_>) -> Option<Result<(), SysctlError>> {
        let tcp = &mut self.config.tcp;
        let result = match given.name {
            "tcp_mtu_probing" => given.number::<u8>().map(|value| {
                tcp.mtu_probing = match value {
                    0 => MtuProbing::Off,
                    1 => MtuProbing::AfterBlackHole,
                    _ => MtuProbing::Always,
                };
            }),
            "tcp_base_mss" => given.number().map(|size| tcp.base_mss = size),
            "tcp_mtu_probe_floor" => given.number().map(|size| tcp.mtu_probe_floor = size),
            "tcp_probe_threshold" => given.number().map(|size| tcp.mtu_probe_threshold = size),
            "tcp_probe_interval" => {
                given.number().map(|seconds| tcp.mtu_probe_interval = Duration::from_secs(seconds))
            }
            _ => return None,
        };
        Some(result)
    }

    fn set_tcp(&mut self, given: &Given<'_>) -> Result<(), SysctlError> {
        let tcp = &mut self.config.tcp;
        match given.name {
            "tcp_syn_retries" => tcp.syn_retries = given.number()?,
            "tcp_syn_linear_timeouts" => tcp.syn_linear_timeouts = given.number()?,
            "tcp_synack_retries" => tcp.synack_retries = given.number()?,
            "tcp_retries1" => tcp.retries1 = given.number()?,
            "tcp_retries2" => tcp.retries2 = given.number()?,
            "tcp_orphan_retries" => tcp.orphan_retries = given.number()?,
            "tcp_max_orphans" => tcp.max_orphans = given.number()?,
            "tcp_max_tw_buckets" => tcp.max_time_wait = given.number()?,
            "tcp_fin_timeout" => tcp.fin_timeout = Duration::from_secs(given.number()?),
            "tcp_rfc1337" => tcp.rfc1337 = given.switch()?,
            "tcp_tw_reuse" => match given.number::<u8>()? {
                0 => tcp.time_wait_reuse_delay = None,
                1 => tcp.time_wait_reuse_delay = Some(Duration::from_secs(1)),
                // Loopback only, which no script sees.
                2 => {}
                _ => return Err(given.invalid()),
            },
            "tcp_tw_reuse_delay" => tcp.time_wait_reuse_delay = Some(Duration::from_millis(given.number()?)),
            "tcp_max_syn_backlog" => tcp.max_syn_backlog = given.number()?,
            "somaxconn" => tcp.somaxconn = given.number()?,
            "tcp_syncookies" if given.value == "2" => {
                return Err(SysctlError::Unsupported("tcp_syncookies = 2".into()));
            }
            "tcp_syncookies" => tcp.syn_cookies = given.switch()?,
            "tcp_fastopen" => {
                let bits: u32 = given.bits()?;
                tcp.fast_open_client = bits & 0x1 != 0;
                tcp.fast_open_client_without_cookie = bits & 0x4 != 0;
                tcp.fast_open_server = bits & 0x2 != 0;
                tcp.fast_open_without_cookie = bits & 0x200 != 0;
                tcp.fast_open_listeners = bits & 0x400 != 0;
            }
            "tcp_fastopen_blackhole_timeout_sec" => {
                tcp.fast_open_pause = Duration::from_secs(given.number::<u32>()?.into());
            }
            "tcp_fastopen_key" => tcp.fast_open_keys = Some(given.keys()?),
            "tcp_abort_on_overflow" => tcp.abort_on_overflow = given.switch()?,
            "tcp_timestamps" if given.value == "2" => tcp.timestamps = true,
            "tcp_timestamps" => tcp.timestamps = given.switch()?,
            "tcp_window_scaling" => tcp.window_scaling = given.switch()?,
            "tcp_sack" => tcp.sack = given.switch()?,
            "tcp_ecn" => {
                let unsupported = || SysctlError::Unsupported(format!("tcp_ecn = {}", given.value));
                tcp.ecn = EcnPolicy::from_sysctl(given.number()?).ok_or_else(unsupported)?;
            }
            "tcp_ecn_fallback" => tcp.ecn_fallback = given.switch()?,
            "tcp_ecn_option" => {
                tcp.ecn_option = match given.value {
                    "0" => EcnOption::Never,
                    "1" => EcnOption::Sparing,
                    "2" => EcnOption::Always,
                    _ => return Err(given.invalid()),
                };
            }
            "tcp_ecn_option_beacon" => tcp.ecn_option_beacon = given.number()?,
            "tcp_early_retrans" => tcp.tail_loss_probes = matches!(given.number::<u8>()?, 3 | 4),
            "tcp_frto" => tcp.frto = given.number::<u8>()? != 0,
            "tcp_pacing_ss_ratio" => tcp.pacing_ss_ratio = given.number()?,
            "tcp_pacing_ca_ratio" => tcp.pacing_ca_ratio = given.number()?,
            "tcp_slow_start_after_idle" => tcp.slow_start_after_idle = given.switch()?,
            "tcp_min_tso_segs" => tcp.segmentation_model = Some(given.number()?),
            "tcp_invalid_ratelimit" => tcp.invalid_ratelimit = Duration::from_millis(given.number()?),
            "tcp_min_snd_mss" => tcp.min_snd_mss = given.number()?,
            "min_pmtu" => tcp.min_pmtu = given.number()?,
            "tcp_congestion_control" if tcp.available_congestion_controls().contains(&given.value) => {
                given.value.clone_into(&mut tcp.congestion);
            }
            "tcp_keepalive_time" => tcp.keepalive_time = Duration::from_secs(given.number()?),
            "tcp_keepalive_intvl" => tcp.keepalive_intvl = Duration::from_secs(given.number()?),
            "tcp_keepalive_probes" => tcp.keepalive_probes = given.number()?,
            "tcp_rto_min_us" => tcp.rto_min = Duration::from_micros(given.number()?),
            "tcp_rto_max_ms" => tcp.rto_max = Duration::from_millis(given.number()?),
            "ip_default_ttl" => tcp.ttl = given.number()?,
            other => return Err(SysctlError::Unsupported(format!("setting {other} = {}", given.value))),
        }
        Ok(())
    }
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// A name with its value.
struct Given<'a> {
    name: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn invalid(&self) -> SysctlError {
        SysctlError::Invalid(format!("{} = '{}'", self.name, self.value))
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, SysctlError> {
        self.value.parse().map_err(|_| self.invalid())
    }

    /// A number that may be hexadecimal.
    fn bits(&self) -> Result<u32, SysctlError> {
        match self.value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).map_err(|_| self.invalid()),
            None => self.number(),
        }
    }

    /// One or two Fast Open keys, each of four 32-bit numbers in hexadecimal.
    fn keys(&self) -> Result<FastOpenKeys, SysctlError> {
        let mut keys = self.value.split(',').map(|text| {
            let mut key = [0; 16];
            let mut words = text.split('-');
            for place in key.chunks_exact_mut(4) {
                let word = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
                place.copy_from_slice(&word.ok_or_else(|| self.invalid())?.to_le_bytes());
            }
            if words.next().is_none() { Ok(key) } else { Err(self.invalid()) }
        });
        let primary = keys.next().ok_or_else(|| self.invalid())??;
        let backup = keys.next().transpose()?;
        if keys.next().is_none() { Ok(FastOpenKeys { primary, backup }) } else { Err(self.invalid()) }
    }

    fn switch(&self) -> Result<bool, SysctlError> {
        match self.value {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    fn three(&self) -> Result<[i32; 3], SysctlError> {
        let numbers: Vec<i32> = self.value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().map_err(|_| self.invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_its_linux_name_and_unit() {
        let mut settings = Settings::default();
        settings.sysctl("net.ipv4.tcp_fin_timeout", "5").unwrap();
        settings.sysctl("/proc/sys/net/ipv4/tcp_rmem", "4096 10000\t20000\n").unwrap();
        settings.sysctl("tcp_rto_min_us", "50000").unwrap();
        assert_eq!(settings.config.tcp.fin_timeout, Duration::from_secs(5));
        assert_eq!(settings.receive_buffer, [4096, 10_000, 20_000]);
        assert_eq!(settings.config.tcp.rto_min, Duration::from_millis(50));
    }

    #[test]
    fn what_lastack_does_not_have_is_said_not_swallowed() {
        let mut settings = Settings::default();
        assert_eq!(settings.sysctl("net.ipv4.tcp_reordering", "3"), Ok(()));
        let unsupported = |what: &str| Err(SysctlError::Unsupported(what.into()));
        assert_eq!(settings.sysctl("net.ipv4.tcp_reordering", "5"), unsupported("tcp_reordering = 5"));
        assert_eq!(settings.sysctl("net.ipv4.tcp_what", "1"), unsupported("setting tcp_what = 1"));
        assert_eq!(settings.sysctl("tcp_sack", "x"), Err(SysctlError::Invalid("tcp_sack = 'x'".into())));
    }
}

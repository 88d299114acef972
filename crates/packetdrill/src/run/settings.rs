//! Addresses, tolerances and switches of a run: defaults, then the script's own option lines, then the command line.

use crate::script::{Defines, OptionLine};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Which sockets and which packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// AF_INET and IPv4.
    #[default]
    V4,
    /// AF_INET6 and IPv6.
    V6,
    /// AF_INET6 with mapped addresses, and IPv4.
    Mapped,
}

impl IpVersion {
    /// All three.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];

    /// As `--ip_version` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::Mapped => "ipv4-mapped-ipv6",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }

    /// Packets are IPv6.
    #[must_use]
    pub fn is_v6(self) -> bool {
        self == Self::V6
    }
}

/// What a run can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--ip_version`.
    pub ip_version: IpVersion,
    /// `--local_ip`: the stack's address.
    pub local_ip: IpAddr,
    /// `--remote_ip`: the peer's address.
    pub remote_ip: IpAddr,
    /// `--bind_port`: port of the script's socket when it listens.
    pub bind_port: u16,
    /// `--connect_port`: port of the peer when the script's socket connects.
    pub connect_port: u16,
    /// `--mtu` in bytes.
    pub mtu: u16,
    /// `--tolerance_usecs`: how far from its time an event may be, in microseconds.
    pub tolerance: i64,
    /// `--tolerance_percent`: the same as a part of the time since the event before, where that is more; in millionths.
    pub tolerance_part: i64,
    /// `--tcp_ts_tick_usecs`: if not 0, timestamps are compared at this tick.
    pub timestamp_tick: i64,
    /// `--strict_segments`: a segment is not put together from shorter ones.
    pub strict_segments: bool,
    /// `--strict_tail`: packets that are left when the script ends are a failure.
    pub strict_tail: bool,
    /// `-D NAME=VALUE`.
    pub defines: Defines,
}

/// Option lines that concern the original's own machinery and change nothing here.
const IGNORED: [&str; 17] = [
    "send_omit_free",
    "gateway_ip",
    "netmask_ip",
    "speed",
    "mss",
    "non_fatal",
    "dry_run",
    "verbose",
    "init_scripts",
    "so_filename",
    "so_flags",
    "persistent_tun_dev",
    "wire_server",
    "wire_client",
    "code_command",
    "code_format",
    "code_sockopt",
];

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// An option is wrong.
    Wrong {
        /// Line of the script; 0 for the command line.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The script has addresses of one family and is run over the other: it is for the one alone.
    OtherFamily(String),
}

impl Settings {
    /// Defaults, then `lines` of the script, then `command_line`: name and value, as the option lines have them.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(lines: &[OptionLine], command_line: &[(String, String)]) -> Result<Self, SettingsError> {
        let given: Vec<_> = lines
            .iter()
            .map(|option| (option.line, option.name.as_str(), option.value.as_str()))
            .chain(command_line.iter().map(|(name, value)| (0, name.as_str(), value.as_str())))
            .collect();
        let mut version = IpVersion::default();
        for (line, _, value) in given.iter().filter(|(_, name, _)| *name == "ip_version") {
            version = IpVersion::from_name(value).ok_or_else(|| SettingsError::Wrong {
                line: *line,
                message: format!("'{value}' is no IP version; there are ipv4, ipv6 and ipv4-mapped-ipv6"),
            })?;
        }
        let mut settings = Self::defaults(version);
        for (line, name, value) in given {
            settings.set(name, value).map_err(|message| SettingsError::Wrong { line, message })?;
        }
        if settings.local_ip.is_ipv6() != version.is_v6() || settings.remote_ip.is_ipv6() != version.is_v6() {
            let (name, local, remote) = (version.name(), settings.local_ip, settings.remote_ip);
            return Err(SettingsError::OtherFamily(format!(
                "{local} and {remote} cannot be the addresses of a run over {name}"
            )));
        }
        Ok(settings)
    }

    fn defaults(ip_version: IpVersion) -> Self {
        let v6 = |tail: [u16; 3]| IpAddr::V6(Ipv6Addr::new(tail[0], tail[1], tail[2], 0, 0, 0, 0, 1));
        let (local_ip, remote_ip, mtu) = if ip_version.is_v6() {
            (v6([0xfd3d, 0x0a0b, 0x17d6]), v6([0xfd3d, 0xfa7b, 0xd17d]), 1520)
        } else {
            (Ipv4Addr::new(192, 168, 0, 1).into(), Ipv4Addr::new(192, 0, 2, 1).into(), 1500)
        };
        let (level, receive_error) = match ip_version {
            IpVersion::V4 => ("SOL_IP", "IP_RECVERR"),
            IpVersion::V6 | IpVersion::Mapped => ("SOL_IPV6", "IPV6_RECVERR"),
        };
        let (cookie, zero) = if ip_version.is_v6() {
            ("c1d1e9742a47a9bc", "82af1a8f9a205c34")
        } else {
            ("3021b9d889017eeb", "b7c12350a90dc8f5")
        };
        let code = if ip_version.is_v6() { "address_unreachable" } else { "host_unreachable" };
        let defines = [
            ("TFO_COOKIE", cookie),
            ("TFO_COOKIE_ZERO", zero),
            ("CMSG_LEVEL_IP", level),
            ("CMSG_TYPE_RECVERR", receive_error),
            ("CODE", code),
        ];
        Self {
            ip_version,
            local_ip,
            remote_ip,
            bind_port: 8080,
            connect_port: 8080,
            mtu,
            tolerance: 4000,
            tolerance_part: 125_000,
            timestamp_tick: 0,
            strict_segments: false,
            strict_tail: false,
            defines: defines.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("--{name} takes a number, not '{value}'"))
        }
        fn address(name: &str, value: &str) -> Result<IpAddr, String> {
            value.parse().map_err(|_| format!("--{name} takes an IP address, not '{value}'"))
        }
        match name {
            "ip_version" => {}
            "local_ip" => self.local_ip = address(name, value)?,
            "remote_ip" => self.remote_ip = address(name, value)?,
            "bind_port" => self.bind_port = number(name, value)?,
            "connect_port" => self.connect_port = number(name, value)?,
            "mtu" => self.mtu = number(name, value)?,
            "tolerance_usecs" => self.tolerance = number(name, value)?,
            "tolerance_percent" => self.tolerance_part = percent(name, value)?,
            "tcp_ts_tick_usecs" => self.timestamp_tick = number(name, value)?,
            "strict_segments" => self.strict_segments = switch(name, value)?,
            "strict_tail" => self.strict_tail = switch(name, value)?,
            "define" => {
                let (key, text) = value
                    .split_once('=')
                    .ok_or_else(|| format!("--define takes NAME=VALUE, not '{value}'"))?;
                self.defines.insert(key.to_owned(), text.to_owned());
            }
            _ if IGNORED.contains(&name) => {}
            _ => return Err(format!("unknown option --{name}")),
        }
        Ok(())
    }

    /// AF_INET or AF_INET6.
    #[must_use]
    pub(crate) fn domain(&self) -> i32 {
        if self.ip_version == IpVersion::V4 { libc::AF_INET } else { libc::AF_INET6 }
    }

    /// An address as the program's sockets write it.
    #[must_use]
    pub(crate) fn socket_address(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match (self.ip_version, ip) {
            (IpVersion::Mapped, IpAddr::V4(ip)) => SocketAddrV6::new(ip.to_ipv6_mapped(), port, 0, 0).into(),
            _ => SocketAddr::new(ip, port),
        }
    }
}

/// A percentage as millionths.
fn percent(name: &str, value: &str) -> Result<i64, String> {
    match value.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((percent * 10_000.0) as i64),
        _ => Err(format!("--{name} takes a number from 0 to 100, not '{value}'")),
    }
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("--{name} is a switch: nothing, 1 or 0, not '{value}'")),
    }
}

//! The running Linux kernel: a network namespace of the script's own, a TUN interface that is the peer's wire, and real
//! system calls in real time. Needs root.

mod caller;
mod ffi;

use super::command;
use super::{Backend, CommandError, Sent};
use crate::call::{Call, Out, Outcome};
use crate::run::Settings;
use caller::Caller;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// A packet that may come at any time is waited for this long, in microseconds.
const PATIENCE: i64 = 130_000_000;
/// Name of the interface, as scripts know it.
const INTERFACE: &str = "tun0";
/// Below this the clock is watched, because a sleep would take longer.
const CLOSE: Duration = Duration::from_millis(2);

/// Settings of the namespace that scripts count on, below `/proc/sys/net`. What an older kernel does not have is left out.
const SYSCTLS: [(&str, &str); 36] = [
    ("ipv4/tcp_rmem", "4096 540000 15728640"),
    ("ipv4/tcp_wmem", "4096 262144 4194304"),
    ("ipv4/tcp_timestamps", "1"),
    ("ipv4/tcp_window_scaling", "1"),
    ("ipv4/tcp_sack", "1"),
    ("ipv4/tcp_dsack", "1"),
    ("ipv4/tcp_reordering", "3"),
    ("ipv4/tcp_slow_start_after_idle", "0"),
    ("ipv4/tcp_early_retrans", "3"),
    ("ipv4/tcp_recovery", "1"),
    ("ipv4/tcp_frto", "2"),
    ("ipv4/tcp_syn_retries", "5"),
    ("ipv4/tcp_synack_retries", "5"),
    ("ipv4/tcp_syncookies", "1"),
    ("ipv4/tcp_ecn", "0"),
    ("ipv4/tcp_ecn_fallback", "1"),
    ("ipv4/tcp_fastopen", "3"),
    ("ipv4/tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"),
    ("ipv4/tcp_pacing_ss_ratio", "200"),
    ("ipv4/tcp_pacing_ca_ratio", "120"),
    ("ipv4/tcp_tso_win_divisor", "3"),
    ("ipv4/tcp_notsent_lowat", "4294967295"),
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_fin_timeout", "60"),
    ("ipv4/tcp_keepalive_time", "7200"),
    ("ipv4/tcp_keepalive_intvl", "75"),
    ("ipv4/tcp_keepalive_probes", "9"),
    ("ipv4/tcp_retries1", "3"),
    ("ipv4/tcp_retries2", "15"),
    ("ipv4/tcp_orphan_retries", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Silence: no search for duplicates of our address, no questions for routers.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

/// The kernel behind a TUN interface.
#[derive(Debug)]
pub struct Kernel {
    /// The interface; it goes with this descriptor.
    wire: File,
    caller: Caller,
    /// Makes the one call that may sleep.
    sleeper: Caller,
    origin: Instant,
    packets: VecDeque<Sent>,
    /// The call that may sleep, and its end once it has come.
    begun: Option<Call>,
    ended: Option<(Instant, Outcome)>,
    /// Descriptors that the script has open.
    open: BTreeSet<i32>,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Moves the calling thread into a new network namespace, for good, and sets it up: use a thread of its own for each
    /// script.
    ///
    /// # Errors
    /// What failed; without root it is the namespace.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| told("a network namespace (it needs root)", &error))?;
        for (name, value) in SYSCTLS {
            match fs::write(format!("/proc/sys/net/{name}"), value) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(told(name, &error)),
                _ => {}
            }
        }
        choose_congestion_control().map_err(|error| told("a congestion control", &error))?;
        let mut builder = tun_rs::DeviceBuilder::new().name(INTERFACE).mtu(settings.mtu).offload(false);
        builder = match (settings.local_ip, settings.remote_ip) {
            // A point-to-point address: the route to the peer comes with it.
            (IpAddr::V4(local), IpAddr::V4(remote)) => builder.ipv4(local, 32, Some(remote)),
            (IpAddr::V6(local), _) => builder.ipv6(local, 0),
            _ => return Err("local and remote address are of two families".into()),
        };
        let device = builder.build_sync().map_err(|error| told("the interface tun0", &error))?;
        device.enabled(true).map_err(|error| told("the interface tun0", &error))?;
        if settings.local_ip.is_ipv6() {
            settle();
        }
        let wire = device.as_fd().try_clone_to_owned().and_then(|fd: OwnedFd| {
            device.set_nonblocking(true)?;
            Ok(File::from(fd))
        });
        Ok(Self {
            wire: wire.map_err(|error| told("the interface tun0", &error))?,
            caller: Caller::new().map_err(|error| told("a thread for calls", &error))?,
            sleeper: Caller::new().map_err(|error| told("a thread for calls", &error))?,
            origin: Instant::now(),
            packets: VecDeque::new(),
            begun: None,
            ended: None,
            open: BTreeSet::new(),
            buffer: vec![0; 65_536],
        })
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(i64::MAX)
    }

    fn instant(&self, at: i64) -> Instant {
        self.origin + Duration::from_micros(u64::try_from(at).unwrap_or(0))
    }

    /// Takes what the kernel has sent.
    fn drain(&mut self) {
        while let Ok(len) = self.wire.read(&mut self.buffer) {
            let at = self.micros(Instant::now());
            let packet = self.buffer.get(..len).unwrap_or_default().to_vec();
            self.packets.push_back(Sent { at, packet });
        }
    }

    /// Waits until the kernel sends something, at the longest until `to`.
    fn wait(&mut self, to: Instant) {
        let left = to.saturating_duration_since(Instant::now());
        if left < CLOSE {
            std::thread::sleep(left.min(Duration::from_micros(50)));
        } else {
            let millis = (left - CLOSE / 2).as_millis().clamp(1, 60_000);
            let timeout = PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX));
            // A signal is no harm: the caller looks at the clock again.
            let _ = poll(&mut [PollFd::new(self.wire.as_fd(), PollFlags::POLLIN)], timeout);
        }
        self.drain();
    }

    /// Keeps book of descriptors.
    fn note(&mut self, call: &Call, outcome: &Outcome) {
        let result = i32::try_from(outcome.result).unwrap_or(-1);
        match (call, &outcome.out) {
            (Call::Socket { .. } | Call::Accept { .. } | Call::EpollCreate { .. }, _) if result >= 0 => {
                self.open.insert(result);
            }
            (_, Out::Pipe(read, write)) => self.open.extend([*read, *write]),
            (Call::Close { fd }, _) if result == 0 => {
                self.open.remove(fd);
            }
            _ => {}
        }
    }
}

/// CUBIC where the host lets a namespace have it (`tcp_allowed_congestion_control`), else Reno: anything but one that paces.
fn choose_congestion_control() -> std::io::Result<()> {
    let choose = |name| fs::write("/proc/sys/net/ipv4/tcp_congestion_control", name);
    choose("cubic").or_else(|_| choose("reno"))
}

/// Waits until the IPv6 address can be used, which is a moment after the interface came up; ten seconds at the longest.
fn settle() {
    const TENTATIVE: u32 = 0x40;
    let usable = |line: &str| {
        // Address, index, prefix length, scope, flags, name; all but the name in hexadecimal.
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let flags = fields.get(4).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        fields.last() == Some(&INTERFACE) && flags.is_some_and(|flags| flags & TENTATIVE == 0)
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
        if table.lines().any(usable) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let open = std::mem::take(&mut self.open);
        for caller in [&mut self.caller, &mut self.sleeper] {
            caller.finish(|| {
                for fd in &open {
                    ffi::perform(&Call::Shutdown { fd: *fd, how: libc::SHUT_RDWR });
                }
            });
        }
        // A call that ended after all may have made a descriptor, or closed one.
        self.open = open;
        let late = self.ended.take().or_else(|| self.sleeper.ended(Duration::ZERO));
        if let (Some(call), Some((_, outcome))) = (self.begun.take(), late) {
            self.note(&call, &outcome);
        }
        for fd in std::mem::take(&mut self.open) {
            ffi::perform(&Call::Close { fd });
        }
    }
}

impl Backend for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn start(&mut self) {
        self.drain();
        self.packets.clear();
        self.origin = Instant::now();
    }

    fn now(&mut self) -> i64 {
        self.micros(Instant::now())
    }

    fn epoch(&mut self) -> Duration {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        wall.saturating_sub(self.origin.elapsed())
    }

    fn sleep_until(&mut self, at: i64) {
        let to = self.instant(at);
        self.drain();
        while Instant::now() < to {
            self.wait(to);
        }
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.drain();
        match self.wire.write(packet) {
            // The kernel had no use for it: lost, as on a wire.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(format!("write to tun0: {error}")),
        }
        self.drain();
        Ok(())
    }

    fn next_packet(&mut self, until: i64) -> Option<Sent> {
        let to = self.instant(until);
        self.drain();
        while self.packets.is_empty() && Instant::now() < to {
            self.wait(to);
        }
        self.packets.pop_front()
    }

    fn patience(&self) -> i64 {
        PATIENCE
    }

    fn call(&mut self, call: &Call) -> Option<Outcome> {
        self.drain();
        let outcome = self.caller.call(call)?;
        self.drain();
        self.note(call, &outcome);
        Some(outcome)
    }

    fn begin(&mut self, call: &Call) {
        self.drain();
        self.ended = self.sleeper.begin(call);
        self.begun = Some(call.clone());
        self.drain();
    }

    fn end(&mut self, until: i64) -> Option<(i64, Outcome)> {
        let to = self.instant(until);
        while self.ended.is_none() && Instant::now() < to {
            self.ended = self.sleeper.ended(Duration::from_micros(500));
            self.drain();
        }
        let (at, outcome) = self.ended.take()?;
        if let Some(call) = self.begun.take() {
            self.note(&call, &outcome);
        }
        Some((self.micros(at), outcome))
    }

    fn command(&mut self, command: &str) -> Result<(), CommandError> {
        let command = command::without_defaults(command);
        if command.trim().is_empty() {
            return Ok(());
        }
        let output = Command::new("sh").arg("-c").arg(&command).output();
        let output = output.map_err(|error| CommandError::Failed(format!("sh: {error}")))?;
        self.drain();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(CommandError::Failed(format!(
            "'{}' ended with {}: {}",
            command.trim(),
            output.status,
            said.trim()
        )))
    }
}

//! A TUN interface between the kernel and a lastack host.

use std::fmt::Debug;
use std::fs::File;
use std::io::BufWriter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lastack::device::capture::{Capture, PcapngWriter, SharedWriter};
use lastack::device::impair::{Impair, Impairment};
use lastack::device::tun::{Tun, TunOptions};
use lastack::device::{Device, clock};
use lastack::{Cause, Config, ConnectionId, Host, State, TransitionEvent};

use crate::gate::Gate;

const KERNEL_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const LASTACK_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const KERNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const LASTACK_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
/// What has not happened by then does not happen. Nothing passes because of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The IP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The kernel's end of the link.
    #[must_use]
    pub fn kernel(self, port: u16) -> SocketAddr {
        let address: IpAddr = if self == Self::V4 { KERNEL_V4.into() } else { KERNEL_V6.into() };
        SocketAddr::new(address, port)
    }

    /// lastack's end of the link.
    #[must_use]
    pub fn lastack(self, port: u16) -> SocketAddr {
        let address: IpAddr = if self == Self::V4 { LASTACK_V4.into() } else { LASTACK_V6.into() };
        SocketAddr::new(address, port)
    }
}

/// How a lab is made. The default: MTU 1500, offloads, a perfect link, packets remembered for a failure's message.
pub struct LabOptions {
    /// MTU of the interface.
    pub mtu: u16,
    /// Checksum and segmentation offloads.
    pub offloads: bool,
    /// What happens to packets, in both directions.
    pub impairment: Option<Impairment>,
    /// Remember the latest packets.
    pub record: bool,
    /// Write all packets to this file.
    pub capture: Option<PathBuf>,
    /// lastack's configuration but for the addresses.
    pub config: Config,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            mtu: 1500,
            offloads: true,
            impairment: None,
            record: true,
            capture: None,
            config: Config::default(),
        }
    }
}

/// The TUN, the host on it, and what is known of both. Dropping it closes the host; in a panic it prints the packets and
/// transitions first.
pub struct Lab {
    /// lastack's side.
    pub host: Host,
    /// The stage on the TUN.
    pub gate: Gate,
    transitions: Arc<Mutex<Vec<TransitionEvent>>>,
    capture: Option<SharedWriter<BufWriter<File>>>,
}

impl Lab {
    /// With the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with(LabOptions::default())
    }

    /// Makes the interface in the namespace of the calling thread and starts the host.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn with(options: LabOptions) -> Self {
        let tun = Tun::open(&TunOptions {
            mtu: Some(options.mtu),
            ipv4: Some((KERNEL_V4, 24)),
            ipv6: vec![(KERNEL_V6, 64)],
            offloads: options.offloads,
            ..TunOptions::default()
        });
        let (gate, gated) = Gate::new(tun.expect("a TUN interface"), options.record);
        let mut device: Box<dyn Device + Send> = Box::new(gated);
        if let Some(impairment) = options.impairment {
            // Any seed; the real world around it is not repeatable.
            device = Box::new(Impair::new(device, 1, impairment.clone(), impairment, clock::monotonic()));
        }
        let mut capture = None;
        if let Some(path) = options.capture {
            let file = BufWriter::new(File::create(path).expect("a file for the capture"));
            let writer = PcapngWriter::new(file, "lastack0").expect("a capture");
            let writer = capture.insert(Arc::new(Mutex::new(writer)));
            device = Box::new(Capture::new(device, Arc::clone(writer), clock::wall()));
        }
        let host = Host::builder()
            .config(options.config)
            .address(LASTACK_V4, 24)
            .address(LASTACK_V6, 64)
            .device(device)
            .start()
            .expect("a host");
        let transitions = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&transitions);
        host.trace(move |event| lock(&record).push(*event));
        Self { host, gate, transitions, capture }
    }

    /// Every change of state so far, in order.
    #[must_use]
    pub fn transitions(&self) -> Vec<TransitionEvent> {
        lock(&self.transitions).clone()
    }

    /// The states that lastack's latest connection between these addresses has entered, and why.
    #[must_use]
    pub fn path(&self, local: SocketAddr, remote: SocketAddr) -> Vec<(State, Cause)> {
        let all = lock(&self.transitions);
        let ours = |event: &&TransitionEvent| event.local == local && event.remote == remote;
        let Some(id) = all.iter().rev().find(ours).map(|event| event.id) else { return Vec::new() };
        let path = all.iter().filter(|event| event.id == id);
        path.map(|event| (event.transition.to, event.transition.cause)).collect()
    }

    /// The state of lastack's latest connection between these addresses; CLOSED if there never was one.
    #[must_use]
    pub fn state(&self, local: SocketAddr, remote: SocketAddr) -> State {
        self.path(local, remote).last().map_or(State::Closed, |step| step.0)
    }

    /// Every connection of lastack's that is not CLOSED, listeners included.
    #[must_use]
    pub fn live(&self) -> Vec<(ConnectionId, State)> {
        let mut live = std::collections::BTreeMap::new();
        for event in lock(&self.transitions).iter() {
            live.insert(event.id, event.transition.to);
        }
        live.into_iter().filter(|(_, state)| *state != State::Closed).collect()
    }

    /// Writes out what was captured so far.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn flush_capture(&self) {
        if let Some(writer) = &self.capture {
            lock(writer).flush().expect("the capture is written");
        }
    }

    fn explain(&self) {
        for line in self.gate.record() {
            eprintln!("{line}");
        }
        for TransitionEvent { id, local, remote, transition, .. } in self.transitions() {
            let (from, to, cause) = (transition.from, transition.to, transition.cause);
            eprintln!("lastack: {} {local} {remote} {from} -> {to}: {cause}", id.0);
        }
        for entry in crate::kernel::sockets() {
            eprintln!("kernel: {entry:?}");
        }
        eprintln!("{:#?}", self.host.counters());
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
        }
        let _ = self.host.close(Duration::ZERO);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `look` gives `wanted`.
///
/// # Panics
/// If it does not within a minute: with `what` and the last value.
pub fn eventually<T: PartialEq + Debug>(what: &str, wanted: T, mut look: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let seen = look();
        if seen == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {wanted:?} expected, {seen:?} after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

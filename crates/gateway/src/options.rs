//! What a gateway and a run are told.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use lastack_device::impair::Impairment;

use crate::addresses::AddressMap;
use crate::faults::FaultRule;
use crate::namespace::INTERFACE;
use crate::outgoing::Outgoing;
use crate::owner::NamespaceId;
use crate::publish::Publish;
use crate::seeing::Notes;
use crate::upstream::Upstream;

/// Smallest and largest MTU of the program's interface, in bytes.
pub const MTU_RANGE: std::ops::RangeInclusive<u16> = 576..=65535;
/// MTU of the program's interface unless another is asked for, in bytes.
pub const DEFAULT_MTU: u16 = 65520;

/// Bounds on what a gateway holds. What is over them waits outside: a SYN gets no answer and is repeated, a datagram
/// pushes the flow out that has been idle the longest.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP connections at once, those that are being dialled included. Each has one descriptor. Default 16,384.
    pub max_connections: usize,
    /// TCP connections of the program to one destination (address and port) at once. Default 16,384.
    pub max_per_destination: usize,
    /// Bytes of the buffers of all TCP connections with programs together. At the limit what comes is lost and repeated.
    /// Beside it each connection whose reader does not read holds at most 64 KiB in each direction. Default 1 GiB.
    pub max_memory: usize,
    /// Requests to connect that wait for a decision. 1..=4096. Default 4096.
    pub max_pending: u32,
    /// UDP flows (source and destination) at once. Each has one descriptor, two through a proxy. Default 1024.
    pub max_udp_flows: usize,
    /// How long a UDP flow to port 53 may be idle. Default 30 s.
    pub dns_idle: Duration,
    /// How long any other UDP flow may be idle. Default 180 s (RFC 4787 says at least 2 minutes).
    pub udp_idle: Duration,
    /// After a reset on one side: how long the bytes before it may take to be delivered on the other. Default 10 s.
    pub reset_grace: Duration,
    /// When the gateway stops: how long what the program has sent may take to be passed on. Default 10 s.
    pub drain: Duration,
    /// Ended connections and flows that are kept for the summary; more are counted only. Default 100,000.
    pub max_records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_per_destination: 16_384,
            max_memory: 1 << 30,
            max_pending: 4096,
            max_udp_flows: 1024,
            dns_idle: Duration::from_secs(30),
            udp_idle: Duration::from_secs(180),
            reset_grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            max_records: 100_000,
        }
    }
}

/// How a [`Gateway`](crate::Gateway) behaves.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where destinations lead.
    pub addresses: AddressMap,
    /// Bounds.
    pub limits: Limits,
    /// Write a line on standard error for each change of state, and for what happens on the host's side.
    pub trace: bool,
    /// Keep a record of each connection and flow for [`Report`](crate::Report).
    pub records: bool,
    /// Through what the host's connections are made.
    pub upstream: Upstream,
    /// By which way the host's sockets leave it.
    pub outgoing: Outgoing,
    /// What is done to connections on purpose.
    pub faults: Vec<FaultRule>,
    /// For the dice of `faults` and of the impairment.
    pub seed: u64,
    /// What is done to all packets, each way.
    pub impairment: Impairment,
    /// Where the programs are, so that who opened a connection can be looked up. `None`: it stays unknown.
    pub namespace: Option<NamespaceId>,
    /// Where lines about connections go, beside the trace.
    pub notes: Option<Notes>,
}

impl GatewayOptions {
    /// Directly, without faults, records and trace.
    #[must_use]
    pub fn new(addresses: AddressMap) -> Self {
        Self {
            addresses,
            limits: Limits::default(),
            trace: false,
            records: false,
            upstream: Upstream::Direct,
            outgoing: Outgoing::default(),
            faults: Vec::new(),
            seed: 0,
            impairment: Impairment::default(),
            namespace: None,
            notes: None,
        }
    }
}

/// Form of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryFormat {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// What [`run`](crate::run) does.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: OsString,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// MTU of the program's interface in bytes, in [`MTU_RANGE`]. Below 1280 the program has no IPv6. Default
    /// [`DEFAULT_MTU`].
    pub mtu: u16,
    /// The host's loopback is reached at `10.0.2.2` and `fd00::2`. Default true.
    pub host_loopback: bool,
    /// Ports of the host that lead inside. Default none.
    pub publish: Vec<Publish>,
    /// Write a line on standard error for each change of state. Default false.
    pub trace: bool,
    /// Write a summary on standard error at the end. Default none.
    pub summary: Option<SummaryFormat>,
    /// Write all packets to this file (pcapng). Default none.
    pub capture: Option<PathBuf>,
    /// Bounds. Lowered where the process may not open as many files.
    pub limits: Limits,
    /// Through what the host's connections are made. Default directly.
    pub upstream: Upstream,
    /// What is done to connections on purpose. Default nothing.
    pub faults: Vec<FaultRule>,
    /// For the dice of faults and impairments. Default 0.
    pub seed: u64,
    /// What is done to all packets, each way. Default nothing.
    pub impairment: Impairment,
    /// A rule of `faults` that never took effect makes the exit status [`STATUS_UNUSED_FAULT`](crate::STATUS_UNUSED_FAULT).
    /// Default false: it is only said.
    pub strict_faults: bool,
}

impl RunOptions {
    /// The defaults for this program.
    #[must_use]
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            mtu: DEFAULT_MTU,
            host_loopback: true,
            publish: Vec::new(),
            trace: false,
            summary: None,
            capture: None,
            limits: Limits::default(),
            upstream: Upstream::Direct,
            faults: Vec::new(),
            seed: 0,
            impairment: Impairment::default(),
            strict_faults: false,
        }
    }
}

/// A network namespace that somebody else has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachTarget {
    /// That of a process.
    Process(u32),
    /// A file, as `/run/netns/NAME` or `/proc/PID/ns/net`.
    Path(PathBuf),
}

/// What [`attach`](crate::attach) does.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// The namespace.
    pub target: AttachTarget,
    /// The user namespace to enter before, as a file. Default: the one that owns the network namespace.
    pub userns_path: Option<PathBuf>,
    /// Name of the interface. One that exists and that nobody uses, TAP or TUN, is taken over; else a TUN is made. Default
    /// `lastack0`.
    pub interface: String,
    /// Bring the interface up with address and default route, and `lo` too. Default false: that is left to others.
    pub configure: bool,
    /// MTU of the interface in bytes, in [`MTU_RANGE`]. Default 1500.
    pub mtu: u16,
    /// The IPv4 network: address of it and length of its prefix, up to 25. The gateway has number 2 in it, the name server 3,
    /// the interface 100. Default `10.0.2.0/24`.
    pub cidr: Option<(Ipv4Addr, u8)>,
    /// Give the interface an IPv6 address and route, with [`configure`](Self::configure). Default false.
    pub ipv6: bool,
    /// The host's loopback is reached at the gateway's addresses. Default true.
    pub host_loopback: bool,
    /// The name server inside leads to the host's. Default true.
    pub dns: bool,
    /// Ports of the host that lead to the interface. Default none.
    pub publish: Vec<Publish>,
    /// A socket to make, over which ports can be led inside by slirp4netns's requests. Default none.
    pub api_socket: Option<PathBuf>,
    /// Through what the host's connections are made. Default directly.
    pub upstream: Upstream,
    /// By which way the host's sockets leave it. Default any.
    pub outgoing: Outgoing,
    /// Give up files (Landlock) and all capabilities but the one for low ports before anything is carried. Default false.
    pub sandbox: bool,
    /// Have the kernel deny system calls that lastack has no use for. Default false.
    pub seccomp: bool,
    /// Number of an inherited descriptor to which `1` is written when the network is there; then it is closed.
    pub ready_fd: Option<i32>,
    /// Number of an inherited descriptor; when its other end is closed, all is over.
    pub exit_fd: Option<i32>,
    /// Write a line on standard error for each change of state. Default false.
    pub trace: bool,
    /// Write a summary on standard error at the end. Default none.
    pub summary: Option<SummaryFormat>,
    /// Write all packets to this file (pcapng). Default none.
    pub capture: Option<PathBuf>,
    /// Bounds. Lowered where the process may not open as many files.
    pub limits: Limits,
}

impl AttachOptions {
    /// The defaults for this namespace.
    #[must_use]
    pub fn new(target: AttachTarget) -> Self {
        Self {
            target,
            userns_path: None,
            interface: INTERFACE.to_owned(),
            configure: false,
            mtu: 1500,
            cidr: None,
            ipv6: false,
            host_loopback: true,
            dns: true,
            publish: Vec::new(),
            api_socket: None,
            upstream: Upstream::Direct,
            outgoing: Outgoing::default(),
            sandbox: false,
            seccomp: false,
            ready_fd: None,
            exit_fd: None,
            trace: false,
            summary: None,
            capture: None,
            limits: Limits::default(),
        }
    }
}

//! `lastack attach`: the network of a namespace that exists already.

use crate::args::{Seeing, Summary, mtu};
use crate::limits::LimitArgs;
use clap::{Parser, ValueEnum};
use lastack_gateway::{AttachOptions, AttachTarget, Outgoing, Publish, Upstream};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Give an existing network namespace its network, in the place of slirp4netns.
///
/// Takes the TAP or TUN of that name in the namespace, or makes a TUN (layer 3), and carries what comes from it, until SIGTERM
/// or SIGINT, the end of --exit-fd, or the end of the namespace. Root is not needed for a namespace of one's own. Options and
/// addresses are those of slirp4netns: the interface has 10.0.2.100, the host's loopback is at 10.0.2.2, the name server at
/// 10.0.2.3. Started under the name slirp4netns, lastack is 'lastack attach'.
#[derive(Debug, Parser)]
#[command(
    override_usage = "lastack attach [OPTIONS] PID|PATH [NAME]",
    after_help = "Examples:\n  unshare --user --map-root-user --net sleep 1000 &\n  \
                  lastack attach --configure --mtu 65520 --disable-host-loopback $! tap0\n  \
                  lastack attach --configure --netns-type path /run/netns/blue\n  \
                  for programs that start slirp4netns (podman, rootlesskit):\n    \
                  ln -s \"$(command -v lastack)\" ~/bin/slirp4netns\n\n\
                  Exit status: 0 when the namespace, --exit-fd or a signal ended it; 125 if lastack fails; 2 for bad usage."
)]
pub struct Attach {
    /// Bring the interface up with its address and default route, and lo too
    #[arg(long, short)]
    pub configure: bool,
    /// Largest packet of the interface, in bytes, 576 to 65535
    #[arg(long, short, value_name = "BYTES", default_value_t = 1500, value_parser = mtu)]
    pub mtu: u16,
    /// The IPv4 network: the gateway is number 2 in it, the name server 3, the interface 100
    #[arg(long, value_name = "CIDR", default_value = "10.0.2.0/24", value_parser = cidr)]
    pub cidr: (Ipv4Addr, u8),
    /// With --configure, IPv6 too: fd00::15, with the gateway fd00::2
    #[arg(long, short = '6')]
    pub enable_ipv6: bool,
    /// Do not make the host's loopback reachable at the gateway's addresses
    #[arg(long, visible_alias = "no-host-loopback")]
    pub disable_host_loopback: bool,
    /// Do not lead the name server inside to the host's
    #[arg(long)]
    pub disable_dns: bool,
    /// Make a socket at PATH over which slirp4netns's requests lead ports inside (add_hostfwd, list_hostfwd, remove_hostfwd)
    #[arg(long, short, value_name = "PATH")]
    pub api_socket: Option<PathBuf>,
    /// Have connections of the host leave from this IPv4 address, or by this interface
    #[arg(long, value_name = "ADDR|NAME")]
    pub outbound_addr: Option<String>,
    /// Have connections of the host leave from this IPv6 address, or by this interface
    #[arg(long, value_name = "ADDR|NAME")]
    pub outbound_addr6: Option<String>,
    /// Through what connections are made: direct, socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT
    // What looks like a link is an address.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(long, value_name = "WHERE", default_value = "direct")]
    pub upstream: Upstream,
    /// Give up files (Landlock) and all capabilities but the one for low ports before anything is carried
    #[arg(long)]
    pub enable_sandbox: bool,
    /// Have the kernel deny system calls that lastack has no use for: to start programs, enter namespaces, mount and the like
    #[arg(long)]
    pub enable_seccomp: bool,
    /// Write 1 to this inherited descriptor when the network is there
    #[arg(long, short, value_name = "FD")]
    pub ready_fd: Option<i32>,
    /// End when the other end of this inherited descriptor is closed
    #[arg(long, short, value_name = "FD")]
    pub exit_fd: Option<i32>,
    /// What the namespace is given as
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Netns::Pid)]
    pub netns_type: Netns,
    /// User namespace to enter before; by default the owner of the network namespace
    #[arg(long, value_name = "PATH")]
    pub userns_path: Option<PathBuf>,
    /// Lead a port of the host to a port of the namespace; may be repeated
    #[arg(long, short, value_name = "[ADDR:]PORT:PORT[/tcp|udp]")]
    pub publish: Vec<Publish>,
    /// What is shown of the connections
    #[command(flatten)]
    pub seeing: Seeing,
    /// Bounds on what lastack holds
    #[command(flatten)]
    pub limits: LimitArgs,
    /// A process in the namespace; or a file, with --netns-type path
    #[arg(value_name = "PID|PATH")]
    pub target: PathBuf,
    /// Name of the interface: one that exists and that nobody uses is taken, else it is made
    #[arg(value_name = "NAME", default_value = "tap0")]
    pub name: String,
}

/// Ways to name a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Netns {
    /// By a process in it
    Pid,
    /// By a file
    Path,
}

fn cidr(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    };
    parse().ok_or_else(|| "it takes an IPv4 network, as in 10.0.2.0/24".to_owned())
}

/// As slirp4netns: an address, or an interface, which then is for both families.
fn outgoing(v4: Option<&str>, v6: Option<&str>) -> Result<Outgoing, String> {
    let mut outgoing = Outgoing::default();
    let given = v4.into_iter().map(|text| (text, false)).chain(v6.into_iter().map(|text| (text, true)));
    for (text, is_v6) in given {
        match text.parse() {
            Ok(IpAddr::V4(ip)) if !is_v6 => outgoing.v4 = Some(ip),
            Ok(IpAddr::V6(ip)) if is_v6 => outgoing.v6 = Some(ip),
            Ok(_) if is_v6 => {
                return Err(format!("--outbound-addr6 takes an IPv6 address or an interface, not {text}"));
            }
            Ok(_) => {
                return Err(format!("--outbound-addr takes an IPv4 address or an interface, not {text}"));
            }
            Err(_) if outgoing.interface.as_deref().is_some_and(|other| other != text) => {
                return Err("--outbound-addr and --outbound-addr6 name two interfaces; use one".to_owned());
            }
            Err(_) => outgoing.interface = Some(text.to_owned()),
        }
    }
    Ok(outgoing)
}

/// Carries the namespace until it is over; the exit status.
///
/// # Errors
/// The target is no number though it has to be; addresses to leave from that are none.
pub fn main(args: Attach) -> Result<ExitCode, String> {
    let target = match args.netns_type {
        Netns::Path => AttachTarget::Path(args.target),
        Netns::Pid => {
            let pid = args.target.to_str().and_then(|pid| pid.parse().ok());
            AttachTarget::Process(pid.ok_or_else(|| {
                let given = args.target.display();
                format!("'{given}' is not the number of a process; for a file: lastack attach --netns-type path {given}")
            })?)
        }
    };
    let outgoing = outgoing(args.outbound_addr.as_deref(), args.outbound_addr6.as_deref())?;
    let status = lastack_gateway::attach(AttachOptions {
        userns_path: args.userns_path,
        interface: args.name,
        configure: args.configure,
        mtu: args.mtu,
        cidr: Some(args.cidr),
        ipv6: args.enable_ipv6,
        host_loopback: !args.disable_host_loopback,
        dns: !args.disable_dns,
        publish: args.publish,
        api_socket: args.api_socket,
        outgoing,
        upstream: args.upstream,
        sandbox: args.enable_sandbox,
        seccomp: args.enable_seccomp,
        ready_fd: args.ready_fd,
        exit_fd: args.exit_fd,
        trace: args.seeing.trace,
        summary: args.seeing.summary.map(Summary::format),
        capture: args.seeing.capture,
        limits: args.limits.limits(),
        ..AttachOptions::new(target)
    });
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(crate::RUN_FAILURE)))
}

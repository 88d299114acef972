//! `lastack attach`: the network of a namespace that exists already.

use crate::args::{Summary, mtu};
use clap::{Parser, ValueEnum};
use lastack_gateway::{AttachOptions, AttachTarget, Publish};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Give an existing network namespace its network, in the place of slirp4netns.
///
/// Makes an interface (layer 3) in the namespace and carries what comes from it, until SIGTERM or SIGINT, the end of
/// --exit-fd, or the end of the namespace. Root is not needed for a namespace of one's own. Options and addresses are those
/// of slirp4netns: the interface has 10.0.2.100, the host's loopback is at 10.0.2.2, the name server at 10.0.2.3.
#[derive(Debug, Parser)]
#[command(
    override_usage = "lastack attach [OPTIONS] PID|PATH [NAME]",
    after_help = "Examples:\n  unshare --user --map-root-user --net sleep 1000 &\n  \
                  lastack attach --configure --mtu 65520 --disable-host-loopback $! tap0\n  \
                  lastack attach --configure --netns-type path /run/netns/blue\n\n\
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
    /// Print a line on standard error for each change of state, with the connection and the cause
    #[arg(long)]
    pub trace: bool,
    /// Write all packets to FILE (pcapng)
    #[arg(long, value_name = "FILE.pcapng")]
    pub capture: Option<PathBuf>,
    /// At the end, print on standard error each connection, its bytes, how it ended and who ended it
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "text")]
    pub summary: Option<Summary>,
    /// A process in the namespace; or a file, with --netns-type path
    #[arg(value_name = "PID|PATH")]
    pub target: PathBuf,
    /// Name of the interface, which must not exist yet
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

/// Carries the namespace until it is over; the exit status.
///
/// # Errors
/// The target is no number though it has to be.
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
        ready_fd: args.ready_fd,
        exit_fd: args.exit_fd,
        trace: args.trace,
        summary: args.summary.map(Summary::format),
        capture: args.capture,
        ..AttachOptions::new(target)
    });
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(crate::RUN_FAILURE)))
}

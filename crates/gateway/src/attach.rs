//! `lastack attach`: the network of a namespace that somebody else has made, in the manner of slirp4netns.

use std::fs;
use std::io::{self, PipeWriter, Write, pipe};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lastack_device::Device;
use lastack_device::tun::{Tun, TunOptions};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::wait::waitpid;

use crate::addresses::{AddressMap, Network};
use crate::api::Api;
use crate::channel::{Channel, Message};
use crate::confine;
use crate::namespace::existing::{self, Given, Place};
use crate::namespace::missing;
use crate::options::{AttachOptions, AttachTarget, GatewayOptions};
use crate::owner::NamespaceId;
use crate::program::STATUS_FAILED;
use crate::resolv;
use crate::session::{Inlets, Session, check_interface, check_mtu, fit, open_capture, raise_open_files};
use crate::sys;
use crate::trace::say;
use crate::wait::{hold_signals, wait};

/// How long a process may take to enter a network namespace of its own.
const ENTRY: Duration = Duration::from_secs(1);
/// The default network.
const CIDR: (std::net::Ipv4Addr, u8) = (std::net::Ipv4Addr::new(10, 0, 2, 0), 24);

/// Gives a network namespace an interface whose other end is lastack, and carries what comes from it, until SIGTERM,
/// SIGINT or SIGHUP, the end of [`AttachOptions::exit_fd`], or the end of the namespace: when nobody is in it any more
/// and no file names it.
///
/// Returns 0, or 125 with one line on standard error. Needs `/dev/net/tun`, and to own the namespace, or root.
///
/// For the main thread of a process that does nothing else and has one thread. Blocks.
pub fn attach(options: AttachOptions) -> i32 {
    match attach_to(options) {
        Ok(()) => 0,
        Err(message) => {
            say(message);
            STATUS_FAILED
        }
    }
}

fn attach_to(options: AttachOptions) -> Result<(), String> {
    check_mtu(options.mtu)?;
    check_interface(&options.interface)?;
    options.outgoing.check()?;
    // Later there may be no files to look its name up with.
    let upstream = options.upstream.clone().resolved()?;
    let network = network(&options)?;
    let place = place(&options)?;
    let ready = inherited("ready-fd", options.ready_fd)?;
    let exit = inherited("exit-fd", options.exit_fd)?;
    missing::check_tun()?;
    elsewhere(&place.network)?;
    let open_files = raise_open_files()?;
    let signals = hold_signals().map_err(|error| format!("cannot block signals: {error}"))?;
    let given = Given {
        name: options.interface.clone(),
        mtu: options.mtu,
        configure: options.configure.then_some(network),
    };
    let tun = interface(&place, &given)?;
    let fail = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    let interface = tun.poll_fd().map(|interface| interface.try_clone_to_owned()).transpose();
    let interface = interface.map_err(|error| fail("keep the interface", error))?;
    let capture = open_capture(options.capture.as_deref(), &options.interface)?;
    let mut ports = Vec::new();
    for publish in &options.publish {
        ports.extend(publish.bind()?);
    }
    let api = options.api_socket.as_deref().map(Api::bind).transpose()?;
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = resolv::first_name_server(&resolv_conf, |name| if_nametoindex(name).ok());
    let addresses = AddressMap {
        network,
        host_loopback: options.host_loopback,
        name_server: options.dns.then_some(server),
    };
    let gateway_options = GatewayOptions {
        limits: fit(options.limits, open_files.1),
        trace: options.trace,
        records: options.summary.is_some(),
        namespace: NamespaceId::of(&place.network).ok(),
        upstream,
        outgoing: options.outgoing,
        ..GatewayOptions::new(addresses)
    };
    let (ended, alive) = pipe().map_err(|error| fail("make a pipe", error))?;
    let alive = Some(OwnedFd::from(alive));
    if options.sandbox {
        let folder = options.api_socket.as_deref().and_then(|path| path.parent());
        let folder = folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        confine::sandbox(folder)?;
    }
    if options.seccomp {
        confine::filter_system_calls()?;
    }
    let inlets = Inlets { ports, api };
    let session = Session::start(tun, capture, gateway_options, inlets, options.summary, alive)
        .map_err(|error| fail("start the gateway", error))?;
    if let Some(ready) = ready {
        // Whoever wanted to know may be gone.
        let _ = PipeWriter::from(ready).write_all(b"1");
    }
    wait(&signals, exit.as_ref(), &ended).map_err(|error| fail("wait", error))?;
    match session.stop() {
        // The namespace is gone, and so is the interface.
        Err(_) if interface.is_some_and(is_gone) => Ok(()),
        Err(error) => Err(fail("carry the namespace's connections", error)),
        Ok(()) => Ok(()),
    }
}

fn network(options: &AttachOptions) -> Result<Network, String> {
    let (address, prefix) = options.cidr.unwrap_or(CIDR);
    let mut network = Network::numbered(address, prefix).ok_or_else(|| {
        format!("{address}/{prefix} is not a network with room for number 100; use one as 10.0.2.0/24, with a prefix up to 25")
    })?;
    if !options.ipv6 {
        network.program_v6 = None;
    }
    Ok(network)
}

fn place(options: &AttachOptions) -> Result<Place, String> {
    let network = match &options.target {
        AttachTarget::Process(pid) => format!("/proc/{pid}/ns/net").into(),
        AttachTarget::Path(path) => path.clone(),
    };
    if let AttachTarget::Process(pid) = options.target
        && !fs::exists(format!("/proc/{pid}")).unwrap_or(false)
    {
        return Err(format!("there is no process {pid}"));
    }
    Ok(Place { network, user: options.userns_path.clone() })
}

/// Refuses the namespace that lastack itself uses the network of: its connections would come back to it. A process that was
/// started a moment ago may still have to enter its own.
fn elsewhere(network: &Path) -> Result<(), String> {
    // A file that is not there, or no namespace, is found out by who opens it.
    let is_own = || NamespaceId::of(network).ok() == NamespaceId::of(Path::new("/proc/self/ns/net")).ok();
    let since = Instant::now();
    while is_own() {
        if since.elapsed() > ENTRY {
            let place = network.display();
            return Err(format!(
                "{place} is the network that lastack itself is in; it needs one of its own: unshare --net ..."
            ));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn inherited(name: &str, number: Option<i32>) -> Result<Option<OwnedFd>, String> {
    let open = |number| {
        sys::inherited(number).map_err(|_| {
            format!("--{name} {number}: there is no such descriptor; open it in the shell: {number}>FILE")
        })
    };
    number.map(open).transpose()
}

/// Makes the interface, in a process that enters the namespace and ends.
fn interface(place: &Place, given: &Given) -> Result<Tun, String> {
    let fail = |error: io::Error| format!("cannot start a process: {error}");
    let (channel, theirs) = Channel::pair().map_err(fail)?;
    let Some(child) = sys::fork().map_err(fail)? else {
        drop(channel);
        let sent = match existing::enter(place, given) {
            Ok(tun) => theirs.send(&Message::Ready, tun.poll_fd()),
            Err(error) => theirs.send(&Message::Failed(error.to_string()), None),
        };
        std::process::exit(i32::from(sent.is_err()));
    };
    drop(theirs);
    let answer = channel.receive();
    while waitpid(child, None) == Err(Errno::EINTR) {}
    match answer {
        Ok(Some((Message::Ready, Some(descriptor)))) => {
            let options = TunOptions { mtu: Some(given.mtu), offloads: true, ..TunOptions::default() };
            Tun::from_fd(descriptor, &options)
                .map_err(|error| format!("cannot take the interface over: {error}"))
        }
        Ok(Some((Message::Failed(message), _))) => Err(message),
        _ => Err("the process that makes the interface was killed".to_owned()),
    }
}

fn is_gone(interface: OwnedFd) -> bool {
    // A descriptor without an interface is not a TUN's any more.
    Tun::from_fd(interface, &TunOptions::default()).is_err()
}

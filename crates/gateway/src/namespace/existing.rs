//! An interface in a network namespace that somebody else has made.

use std::fs::{File, metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use lastack_device::tun::{Tun, TunOptions};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::netlink::Netlink;
use super::{address_ready, explain, index};
use crate::addresses::{GATEWAY_V6, Network, PREFIX_V6};
use crate::sys;
use netlink_packet_route::AddressFamily;

/// Where a namespace is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The file of the network namespace.
    pub(crate) network: PathBuf,
    /// The file of the user namespace to enter before; `None`: the one that owns the network namespace.
    pub(crate) user: Option<PathBuf>,
}

/// What the namespace is given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// Name of the interface.
    pub(crate) name: String,
    /// Its MTU in bytes.
    pub(crate) mtu: u16,
    /// Bring it up, with these addresses and default routes.
    pub(crate) configure: Option<Network>,
}

/// Takes the interface of the namespace over, or makes it, and returns its other end. The calling process ends up in the
/// namespaces of `place`, and has to have one thread.
///
/// The descriptor of an interface that is made does not keep the namespace alive: it is made in a namespace in between, and
/// moved. When the namespace goes, the interface goes, and the descriptor is told. That of one that was there holds the
/// namespace.
///
/// # Errors
/// Those of the kernel, with what was being done.
pub(crate) fn enter(place: &Place, given: &Given) -> io::Result<Tun> {
    let open = |path: &PathBuf| {
        File::open(path).map_err(|error| explain(&format!("open the namespace {}", path.display()), error))
    };
    let target: OwnedFd = open(&place.network)?.into();
    if !sys::is_network_namespace(target.as_fd()) {
        let message = format!("{} is not a network namespace", place.network.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let user = match &place.user {
        Some(path) => Some(OwnedFd::from(open(path)?)),
        // Without permission it is above this process, which then has no use for it.
        None => sys::owner_of_namespace(target.as_fd()).ok(),
    };
    if let Some(user) = user.filter(|user| !is_own_user_namespace(user)) {
        setns(user, CloneFlags::CLONE_NEWUSER)
            .map_err(|error| explain("enter the user namespace", error.into()))?;
    }
    let denied = |error: Errno| {
        explain("enter the network namespace (you have to be its owner, or root)", error.into())
    };
    setns(&target, CloneFlags::CLONE_NEWNET).map_err(denied)?;
    let tun = match index(&given.name) {
        Ok(_) => take(given)?,
        Err(_) => {
            unshare(CloneFlags::CLONE_NEWNET).map_err(denied)?;
            make(given, target)?
        }
    };
    if let Some(network) = &given.configure {
        configure(&given.name, network)?;
    }
    Ok(tun)
}

/// Makes an interface here, and moves it and this process to `target`.
fn make(given: &Given, target: OwnedFd) -> io::Result<Tun> {
    let tun = Tun::open(&TunOptions {
        name: Some(given.name.clone()),
        mtu: Some(given.mtu),
        up: false,
        ..TunOptions::default()
    })?;
    let netlink = Netlink::open().map_err(|error| explain("open rtnetlink", error))?;
    netlink
        .move_to(index(&given.name)?, target.as_fd())
        .map_err(|error| explain(&format!("move the interface {} into the namespace", given.name), error))?;
    setns(target, CloneFlags::CLONE_NEWNET)
        .map_err(|error| explain("enter the network namespace", error.into()))?;
    Ok(tun)
}

/// Takes the interface over that is here.
fn take(given: &Given) -> io::Result<Tun> {
    let options = TunOptions {
        name: Some(given.name.clone()),
        // Who configures it says how large packets are.
        mtu: given.configure.is_some().then_some(given.mtu),
        up: false,
        ethernet: true,
        ..TunOptions::default()
    };
    // The kernel does not say what it is, but whether it was asked for the right thing.
    let taken = match Tun::open(&options) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Tun::open(&TunOptions { ethernet: false, ..options })
        }
        taken => taken,
    };
    taken.map_err(|error| {
        let name = &given.name;
        let what = match error.kind() {
            io::ErrorKind::ResourceBusy => {
                format!("take the interface {name} over, which another program uses")
            }
            _ => format!("take the interface {name} over (it has to be a TAP or a TUN)"),
        };
        explain(&what, error)
    })
}

fn is_own_user_namespace(user: &OwnedFd) -> bool {
    let own = metadata("/proc/self/ns/user");
    let other = File::from(match user.try_clone() {
        Ok(user) => user,
        Err(_) => return false,
    })
    .metadata();
    matches!((own, other), (Ok(own), Ok(other)) if (own.dev(), own.ino()) == (other.dev(), other.ino()))
}

/// Gives an interface its addresses and routes; what it has already stays.
fn configure(name: &str, network: &Network) -> io::Result<()> {
    let unless_there = |result: io::Result<()>| match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    };
    let netlink = Netlink::open().map_err(|error| explain("open rtnetlink", error))?;
    netlink.up(index("lo")?).map_err(|error| explain("bring lo up", error))?;
    let interface = index(name)?;
    netlink.no_link_local(interface).map_err(|error| explain("switch link-local addresses off", error))?;
    unless_there(netlink.add_address(interface, network.program_v4.into(), network.prefix_v4))
        .map_err(|error| explain("set the IPv4 address", error))?;
    if let Some(address) = network.program_v6 {
        unless_there(netlink.add_address(interface, address.into(), PREFIX_V6))
            .map_err(|error| explain("set the IPv6 address", error))?;
    }
    netlink.up(interface).map_err(|error| explain("bring the interface up", error))?;
    unless_there(netlink.default_route(AddressFamily::Inet, interface, Some(network.gateway_v4.into())))
        .map_err(|error| explain("add the IPv4 default route", error))?;
    if let Some(address) = network.program_v6 {
        unless_there(netlink.default_route(AddressFamily::Inet6, interface, Some(GATEWAY_V6.into())))
            .map_err(|error| explain("add the IPv6 default route", error))?;
        address_ready(address).map_err(|error| explain("use the IPv6 address", error))?;
    }
    Ok(())
}

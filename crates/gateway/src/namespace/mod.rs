//! Namespaces of the program's own: network, mounts, processes, and, for an ordinary user, a user namespace.
//!
//! A process enters them; what it starts lives in them. They have no name and no file: they are gone with the last process
//! in them and the last descriptor of the interface.

pub(crate) mod existing;
pub(crate) mod files;
pub(crate) mod missing;
pub(crate) mod netlink;

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lastack_device::tun::{Tun, TunOptions};
use netlink_packet_route::AddressFamily;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::addresses::{Network, PREFIX_V6};
use netlink::Netlink;

/// Name of the interface that the program sees.
pub const INTERFACE: &str = "lastack0";
/// Smallest MTU that IPv6 works with (RFC 8200 section 5); below it the program has IPv4 only.
pub const MIN_MTU_V6: u16 = 1280;

/// How long the kernel may take to make an IPv6 address usable.
const IPV6_READY: Duration = Duration::from_secs(5);
/// The largest group number in `ping_group_range`.
const LAST_GROUP: u32 = i32::MAX as u32;

/// What the namespaces are given.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// Its addresses.
    pub(crate) network: Network,
    /// MTU of the interface in bytes.
    pub(crate) mtu: u16,
    /// Text of `/etc/resolv.conf`.
    pub(crate) resolv_conf: String,
    /// Text of `/etc/hosts`.
    pub(crate) hosts: String,
}

/// The addresses of a program whose interface has this MTU.
pub(crate) fn network(mtu: u16) -> Network {
    let mut network = Network::default();
    if mtu < MIN_MTU_V6 || !Path::new("/proc/sys/net/ipv6").exists() {
        network.program_v6 = None;
    }
    network
}

/// Puts the calling process into new namespaces with a loopback and the interface [`INTERFACE`], and returns the other
/// end of that. The process namespace is that of its children. It must not do anything outside afterwards.
///
/// # Errors
/// Those of the kernel, with what was being done, and where something is not allowed how to allow it.
pub(crate) fn enter(inside: &Inside) -> io::Result<Tun> {
    let user = make()?;
    set_up_all(inside, user).map_err(|error| if user { missing::explain_denied(error) } else { error })
}

fn set_up_all(inside: &Inside, user: bool) -> io::Result<Tun> {
    files::make_private().map_err(|error| explain("make mounts private", error))?;
    for (path, text) in [("/etc/resolv.conf", &inside.resolv_conf), ("/etc/hosts", &inside.hosts)] {
        files::replace(path, text).map_err(|error| explain(&format!("replace {path}"), error))?;
    }
    let tun = set_up(inside)?;
    allow_what_is_harmless(user);
    Ok(tun)
}

/// Makes the namespaces; true if a user namespace was needed for it.
fn make() -> io::Result<bool> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    match unshare(flags) {
        Ok(()) => return Ok(false),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(missing::no_namespaces(error)),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(missing::no_namespaces)?;
    // The same numbers inside: the program is who its user is. Groups can only be mapped once they cannot be dropped.
    let map = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| explain(&format!("write {file}"), error))
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("{user} {user} 1"))?;
    map("gid_map", format!("{group} {group} 1"))?;
    Ok(true)
}

/// In a network of one's own anybody may ping and listen on every port. Where `/proc/sys` cannot be written, it stays as
/// the kernel has it.
fn allow_what_is_harmless(user: bool) {
    let groups = if user { format!("{0} {0}", getegid()) } else { format!("0 {LAST_GROUP}") };
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", groups);
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
}

fn set_up(inside: &Inside) -> io::Result<Tun> {
    let netlink = Netlink::open().map_err(|error| explain("open rtnetlink", error))?;
    let loopback = index("lo")?;
    netlink.up(loopback).map_err(|error| explain("bring lo up", error))?;
    let Network { program_v4, prefix_v4, program_v6, .. } = inside.network;
    let tun = Tun::open(&TunOptions {
        name: Some(INTERFACE.to_owned()),
        mtu: Some(inside.mtu),
        ipv4: Some((program_v4, prefix_v4)),
        ipv6: program_v6.iter().map(|address| (*address, PREFIX_V6)).collect(),
        up: false,
        ..TunOptions::default()
    })?;
    let interface = index(INTERFACE)?;
    if program_v6.is_some() {
        netlink
            .no_link_local(interface)
            .map_err(|error| explain("switch link-local addresses off", error))?;
    }
    netlink.up(interface).map_err(|error| explain("bring the interface up", error))?;
    netlink
        .default_route(AddressFamily::Inet, interface, None)
        .map_err(|error| explain("add the IPv4 default route", error))?;
    if let Some(address) = program_v6 {
        netlink
            .default_route(AddressFamily::Inet6, interface, None)
            .map_err(|error| explain("add the IPv6 default route", error))?;
        address_ready(address).map_err(|error| explain("use the IPv6 address", error))?;
    }
    Ok(tun)
}

/// The kernel makes an IPv6 address usable a moment after it was added, by a work queue, even where there is nobody to
/// ask for duplicates. A program that came before would send from `::1`.
pub(crate) fn address_ready(ip: Ipv6Addr) -> io::Result<()> {
    let address = format!("{:032x}", ip.to_bits());
    let until = Instant::now() + IPV6_READY;
    loop {
        // Columns: address, index, prefix, scope, flags, name. Then: destination, prefix, ...
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
        let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route")?;
        if is_settled(&addresses, &address)
            && routes.lines().any(|line| line.starts_with(&format!("{address} 80 ")))
        {
            return Ok(());
        }
        if Instant::now() >= until {
            let message = format!("the kernel did not make {ip} usable within {} s", IPV6_READY.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the address is in a table as `/proc/net/if_inet6` has it, and not tentative.
fn is_settled(table: &str, address: &str) -> bool {
    table.lines().filter(|line| line.starts_with(address)).any(|line| {
        let flags = line.split_whitespace().nth(4).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & libc::IFA_F_TENTATIVE == 0)
    })
}

fn index(interface: &str) -> io::Result<u32> {
    if_nametoindex(interface).map_err(|error| explain(&format!("find interface {interface}"), error.into()))
}

fn explain(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tentative_address_is_not_settled() {
        let address = "fd000000000000000000000000000015";
        assert!(!is_settled("", address));
        assert!(!is_settled("fd000000000000000000000000000015 02 40 00 c0 lastack0\n", address));
        let table = "00000000000000000000000000000001 01 80 10 80 lo\n\
            fd000000000000000000000000000015 02 40 00 80 lastack0\n";
        assert!(is_settled(table, address));
    }
}

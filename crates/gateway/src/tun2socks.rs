//! `lastack tun2socks`: what a whole machine sends into a TUN interface, carried on through a proxy.

use std::fmt;
use std::io::{self, pipe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lastack_device::Device;
use lastack_device::tun::{Tun, TunOptions};
use nix::net::if_::if_nametoindex;

use crate::addresses::{AddressMap, Network, PREFIX_V6, PROGRAM_V6};
use crate::namespace::missing;
use crate::namespace::netlink::Netlink;
use crate::namespace::{MIN_MTU_V6, address_ready};
use crate::options::{GatewayOptions, Limits, SummaryFormat};
use crate::outgoing::Outgoing;
use crate::owner::NamespaceId;
use crate::program::STATUS_FAILED;
use crate::session::{Inlets, Session, check_interface, check_mtu, fit, open_capture, raise_open_files};
use crate::trace::say;
use crate::upstream::Upstream;
use crate::wait::{hold_signals, wait};

/// MTU of an interface that is made, in bytes.
const MTU: u16 = 1500;
/// Addresses of an interface that is made: of the range for tests of networks (RFC 2544), which is nobody's, and a local one.
const ADDRESSES: [Prefix; 2] = [
    Prefix { address: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), len: 15 },
    Prefix { address: IpAddr::V6(PROGRAM_V6), len: PREFIX_V6 },
];
/// The stack's own address: the one for those who have none (RFC 7600), which is never a destination.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// A port for asking the kernel for a route; nothing is sent there.
const NO_PORT: u16 = 9;

/// An address and the length of its network's prefix, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network, up to 32 or 128.
    pub len: u8,
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, len) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let len = len.parse().ok().filter(|len| *len <= longest)?;
            Some(Self { address, len })
        };
        parse().ok_or_else(|| "it takes an address with a prefix, as 198.18.0.1/15 or fd00::1/64".to_owned())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl Prefix {
    /// The address without the bits behind the prefix.
    fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.len)).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.len)).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        };
        Self { address, len: self.len }
    }

    /// An address in it, to ask the kernel for the way; 0.0.0.0 would be the machine itself.
    fn somewhere(self) -> SocketAddr {
        let address = match self.address {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | u32::from(self.len < 32)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | u128::from(self.len < 128) << 1).into(),
        };
        SocketAddr::new(address, NO_PORT)
    }
}

/// What is led into the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunRoute {
    /// Everything: two halves of each IP version, which win over a default route and leave it where it is.
    Default,
    /// A network.
    To(Prefix),
}

impl FromStr for TunRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let prefix: Prefix =
            text.parse().map_err(|_| "it takes 'default' or a network, as 203.0.113.0/24".to_owned())?;
        if prefix.network() != prefix {
            return Err(format!("{prefix} has bits behind its prefix; the network is {}", prefix.network()));
        }
        Ok(Self::To(prefix))
    }
}

/// What [`tun2socks`] does.
#[derive(Clone, Debug)]
pub struct Tun2SocksOptions {
    /// Name of the interface. One that exists (persistent, layer 3, used by nobody) is taken as it is; else it is made, and
    /// goes at the end.
    pub interface: String,
    /// Through what connections are made.
    pub upstream: Upstream,
    /// By which way lastack's own sockets leave the machine. Directly, an interface or a mark is needed.
    pub outgoing: Outgoing,
    /// Addresses that the interface gets. Empty: 198.18.0.1/15 and fd00::15/64 for one that is made, else none.
    pub addresses: Vec<Prefix>,
    /// What is led into the interface for as long as lastack runs. Default nothing: that is left to others.
    pub routes: Vec<TunRoute>,
    /// MTU of the interface in bytes. Default 1500 for one that is made; else it is left.
    pub mtu: Option<u16>,
    /// Write a line on standard error for each change of state. Default false.
    pub trace: bool,
    /// Write a summary on standard error at the end. Default none.
    pub summary: Option<SummaryFormat>,
    /// Write all packets to this file (pcapng). Default none.
    pub capture: Option<PathBuf>,
    /// Bounds. Lowered where the process may not open as many files.
    pub limits: Limits,
}

impl Tun2SocksOptions {
    /// The defaults for this interface and upstream.
    #[must_use]
    pub fn new(interface: impl Into<String>, upstream: Upstream) -> Self {
        Self {
            interface: interface.into(),
            upstream,
            outgoing: Outgoing::default(),
            addresses: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            trace: false,
            summary: None,
            capture: None,
            limits: Limits::default(),
        }
    }
}

/// Carries what comes from a TUN interface of this machine on, until SIGTERM, SIGINT or SIGHUP.
///
/// Returns 0, or 125 with one line on standard error. Needs `/dev/net/tun` and `CAP_NET_ADMIN`.
///
/// For the main thread of a process that does nothing else and has one thread. Blocks.
pub fn tun2socks(options: Tun2SocksOptions) -> i32 {
    match carry(options) {
        Ok(()) => 0,
        Err(message) => {
            say(message);
            STATUS_FAILED
        }
    }
}

fn carry(options: Tun2SocksOptions) -> Result<(), String> {
    check_interface(&options.interface)?;
    options.mtu.map_or(Ok(()), check_mtu)?;
    let outgoing = options.outgoing.clone();
    if options.upstream == Upstream::Direct && outgoing.interface.is_none() && outgoing.mark.is_none() {
        return Err("with --upstream direct lastack's own packets would come back through the interface; \
            say by which way they leave: --bind-interface or --fwmark"
            .to_owned());
    }
    missing::check_tun()?;
    outgoing.check()?;
    // Now: once the interface has the routes, asking for names would go through the proxy.
    let upstream = options.upstream.clone().resolved()?;
    let open_files = raise_open_files()?;
    let fail = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    let signals = hold_signals().map_err(|error| fail("block signals", error))?;
    let (tun, place) = Place::open(&options)?;
    let capture = open_capture(options.capture.as_deref(), &options.interface)?;
    let network = Network { program_v4: OWN, prefix_v4: 32, gateway_v4: OWN, dns_v4: OWN, program_v6: None };
    let gateway_options = GatewayOptions {
        limits: fit(options.limits.clone(), open_files.1),
        trace: options.trace,
        records: options.summary.is_some(),
        upstream: upstream.clone(),
        outgoing: outgoing.clone(),
        namespace: NamespaceId::of(Path::new("/proc/self/ns/net")).ok(),
        ..GatewayOptions::new(AddressMap { network, host_loopback: false, name_server: None })
    };
    let (ended, alive) = pipe().map_err(|error| fail("make a pipe", error))?;
    let alive = Some(OwnedFd::from(alive));
    let session = Session::start(tun, capture, gateway_options, Inlets::default(), options.summary, alive)
        .map_err(|error| fail("start the gateway", error))?;
    let routed = place.add_routes(&upstream, &outgoing);
    if routed.is_ok() {
        say(place.ready(&upstream));
        wait(&signals, None, &ended).map_err(|error| fail("wait", error))?;
    }
    let stopped = session.stop().map_err(|error| fail("carry the connections", error));
    place.remove_routes();
    routed.and(stopped)
}

/// The interface.
struct Place {
    name: String,
    index: u32,
    netlink: Netlink,
    /// It was there before.
    existed: bool,
    mtu: u16,
    addresses: Vec<Prefix>,
    routes: Vec<Prefix>,
}

impl Place {
    fn open(options: &Tun2SocksOptions) -> Result<(Tun, Self), String> {
        let name = options.interface.clone();
        let existed = if_nametoindex(name.as_str()).is_ok();
        let mtu = if existed { options.mtu } else { Some(options.mtu.unwrap_or(MTU)) };
        let tun_options = TunOptions { name: Some(name.clone()), mtu, up: false, ..TunOptions::default() };
        let tun = Tun::open(&tun_options).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => format!("{error}; lastack tun2socks needs root (CAP_NET_ADMIN)"),
            io::ErrorKind::ResourceBusy => format!("{error}; another program uses {name}"),
            io::ErrorKind::InvalidInput if existed => {
                format!("{error}; {name} has to be a TUN interface of layer 3 with one queue ('ip tuntap add {name} mode tun')")
            }
            _ => error.to_string(),
        })?;
        let mtu = tun.capabilities().mtu;
        let has_v6 = mtu >= MIN_MTU_V6 && Path::new("/proc/sys/net/ipv6").exists();
        let addresses = match (options.addresses.is_empty(), existed) {
            (false, _) => options.addresses.clone(),
            (true, true) => Vec::new(),
            (true, false) => ADDRESSES.into_iter().filter(|own| own.address.is_ipv4() || has_v6).collect(),
        };
        let routes = options.routes.iter().flat_map(|route| halves(*route, has_v6)).collect();
        let fail = |what: String, error: io::Error| format!("cannot {what}: {error}");
        let netlink = Netlink::open().map_err(|error| fail("open rtnetlink".to_owned(), error))?;
        let index =
            if_nametoindex(name.as_str()).map_err(|error| fail(format!("find {name}"), error.into()))?;
        if !existed {
            // The kernel would ask for routers.
            let _ = netlink.no_link_local(index);
        }
        for own in &addresses {
            match netlink.add_address(index, own.address, own.len) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                    return Err(fail(format!("give {name} the address {own}"), error));
                }
                _ => {}
            }
        }
        netlink.up(index).map_err(|error| fail(format!("bring {name} up"), error))?;
        for own in &addresses {
            if let IpAddr::V6(ip) = own.address {
                address_ready(ip).map_err(|error| fail(format!("use the address {ip}"), error))?;
            }
        }
        Ok((tun, Self { name, index, netlink, existed, mtu, addresses, routes }))
    }

    /// Leads the routes here, unless lastack's own packets would come too.
    fn add_routes(&self, upstream: &Upstream, outgoing: &Outgoing) -> Result<(), String> {
        for route in &self.routes {
            match self.netlink.add_route(self.index, route.address, route.len) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                    return Err(format!("cannot lead {route} to {}: {error}", self.name));
                }
                _ => {}
            }
        }
        let Self { name, routes, .. } = self;
        match upstream.proxy_address() {
            Some(proxy) if self.leads_here(proxy, outgoing) => Err(format!(
                "the way to the proxy {proxy} leads through {name} itself; \
                 say another: --bind-interface, a rule for --fwmark, or a route to {}",
                proxy.ip()
            )),
            Some(_) => Ok(()),
            None => match routes.iter().find(|route| self.leads_here(route.somewhere(), outgoing)) {
                None => Ok(()),
                Some(route) => Err(format!(
                    "lastack's own packets for {route} would come back through {name}; \
                     say by which way they leave: --bind-interface, or a rule for --fwmark"
                )),
            },
        }
    }

    /// Whether the kernel would send what lastack sends to there into the interface: from one of its addresses.
    fn leads_here(&self, way: SocketAddr, outgoing: &Outgoing) -> bool {
        let source = || {
            let socket = socket2::Socket::new(socket2::Domain::for_address(way), socket2::Type::DGRAM, None)?;
            outgoing.apply(&socket, way)?;
            socket.connect(&way.into())?;
            socket.local_addr()
        };
        let source = source().ok().and_then(|source| source.as_socket()).map(|source| source.ip());
        !way.ip().is_loopback() && self.addresses.iter().any(|own| Some(own.address) == source)
    }

    /// An interface that stays would lead what goes there to nowhere.
    fn remove_routes(&self) {
        if !self.existed {
            return;
        }
        for route in &self.routes {
            // It fails where somebody has removed it already.
            let _ = self.netlink.remove_route(self.index, route.address, route.len);
        }
    }

    fn ready(&self, upstream: &Upstream) -> String {
        let list = |all: &[Prefix]| all.iter().map(Prefix::to_string).collect::<Vec<_>>().join(", ");
        let Self { name, mtu, addresses, routes, .. } = self;
        let mut line = format!("{name} is up (MTU {mtu}");
        if !addresses.is_empty() {
            line.push_str(&format!(", {}", list(addresses)));
        }
        line.push_str(&format!("); what comes from it goes on through {upstream}"));
        if routes.is_empty() {
            line.push_str(&format!("; to lead traffic there: ip route add 203.0.113.0/24 dev {name}"));
        } else {
            line.push_str(&format!("; routes to it: {}", list(routes)));
        }
        line
    }
}

/// The networks of a route.
fn halves(route: TunRoute, has_v6: bool) -> Vec<Prefix> {
    let half = |address: IpAddr| Prefix { address, len: 1 };
    match route {
        TunRoute::To(prefix) => vec![prefix],
        TunRoute::Default => {
            let v4 = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(128, 0, 0, 0)].map(|ip| half(ip.into()));
            let v6 = [Ipv6Addr::UNSPECIFIED, Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0)];
            let v6 = v6.map(|ip| half(ip.into()));
            v4.into_iter().chain(v6.into_iter().filter(|_| has_v6)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_route() {
        assert_eq!("default".parse(), Ok(TunRoute::Default));
        let prefix: TunRoute = "203.0.113.0/24".parse().unwrap();
        assert_eq!(halves(prefix, true), ["203.0.113.0/24".parse().unwrap()]);
        let error = "203.0.113.7/24".parse::<TunRoute>().unwrap_err();
        assert_eq!(error, "203.0.113.7/24 has bits behind its prefix; the network is 203.0.113.0/24");
        for text in ["", "all", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/x"] {
            assert!(text.parse::<TunRoute>().unwrap_err().contains("203.0.113.0/24"), "{text}");
        }
        assert!("0.0.0.0/0".parse::<TunRoute>().is_ok() && "::/0".parse::<TunRoute>().is_ok());
    }

    #[test]
    fn default_is_two_halves_so_that_the_machines_own_stays() {
        let all = |v6| halves(TunRoute::Default, v6).iter().map(Prefix::to_string).collect::<Vec<_>>();
        assert_eq!(all(false), ["0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!(all(true)[2..], ["::/1", "8000::/1"]);
    }

    #[test]
    fn directly_without_another_way_would_be_a_circle() {
        let error = carry(Tun2SocksOptions::new("tun9", Upstream::Direct)).unwrap_err();
        assert!(error.contains("--bind-interface"), "{error}");
    }
}

//! The addresses that a program inside sees, and where each leads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The program's own IPv4 address.
pub const PROGRAM_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Length of the IPv4 network's prefix.
pub const PREFIX_V4: u8 = 24;
/// The gateway: the host's loopback, unless it is closed.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server: port 53 leads to the host's first one.
pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The program's own IPv6 address.
pub const PROGRAM_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x15);
/// Length of the IPv6 network's prefix.
pub const PREFIX_V6: u8 = 64;
/// The gateway over IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Port of the name service.
const DNS_PORT: u16 = 53;

/// The addresses of the program's network. The default are the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The program's own IPv4 address.
    pub program_v4: Ipv4Addr,
    /// Length of the IPv4 network's prefix.
    pub prefix_v4: u8,
    /// The gateway: the host's loopback, unless it is closed.
    pub gateway_v4: Ipv4Addr,
    /// The name server.
    pub dns_v4: Ipv4Addr,
    /// The program's own IPv6 address; `None`: the program has no IPv6.
    pub program_v6: Option<Ipv6Addr>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            program_v4: PROGRAM_V4,
            prefix_v4: PREFIX_V4,
            gateway_v4: GATEWAY_V4,
            dns_v4: DNS_V4,
            program_v6: Some(PROGRAM_V6),
        }
    }
}

/// Number of an attached interface in its IPv4 network, as slirp4netns has it.
const ATTACHED: u32 = 100;
/// Longest prefix of a network that has room for it.
const LONGEST_PREFIX: u8 = 25;

impl Network {
    /// A network of these numbers: 2 the gateway, 3 the name server, 100 the interface. `None` if the prefix is not
    /// 1..=25, or the address has bits behind it.
    #[must_use]
    pub fn numbered(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if !(1..=LONGEST_PREFIX).contains(&prefix) || address.to_bits() << prefix != 0 {
            return None;
        }
        let number = |number: u32| Ipv4Addr::from_bits(address.to_bits() | number);
        Some(Self {
            program_v4: number(ATTACHED),
            prefix_v4: prefix,
            gateway_v4: number(2),
            dns_v4: number(3),
            program_v6: Some(PROGRAM_V6),
        })
    }
}

/// Which destinations inside mean what on the host.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    /// The addresses inside.
    pub network: Network,
    /// The gateway's addresses lead to the host's `127.0.0.1` and `::1`.
    pub host_loopback: bool,
    /// Where port 53 of the name server inside leads. `None`: refused.
    pub name_server: Option<SocketAddr>,
}

/// Where a destination leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this address, from the host.
    Host(SocketAddr),
    /// To this address of the host's own, or to its name server: never through a proxy.
    Own(SocketAddr),
    /// The gateway itself is meant and offers nothing there: refused.
    Refused,
    /// An address that never comes over a network: the host's own loopback under its own name, or none at all. It must
    /// not reach the host by this way.
    Martian,
}

impl AddressMap {
    /// Where `destination`, as the program named it, leads.
    #[must_use]
    pub fn target(&self, destination: SocketAddr) -> Target {
        let port = destination.port();
        let Network { gateway_v4, dns_v4, .. } = self.network;
        match destination.ip() {
            IpAddr::V4(ip) if ip == gateway_v4 && self.host_loopback => {
                Target::Own((Ipv4Addr::LOCALHOST, port).into())
            }
            IpAddr::V6(GATEWAY_V6) if self.host_loopback => Target::Own((Ipv6Addr::LOCALHOST, port).into()),
            IpAddr::V4(ip) if ip == dns_v4 && port == DNS_PORT => {
                self.name_server.map_or(Target::Refused, Target::Own)
            }
            IpAddr::V4(ip) if ip == gateway_v4 || ip == dns_v4 => Target::Refused,
            IpAddr::V6(GATEWAY_V6) => Target::Refused,
            ip if is_martian(ip) => Target::Martian,
            _ => Target::Host(destination),
        }
    }
}

/// Linux takes a connect to the unspecified address for one to loopback.
fn is_martian(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(host_loopback: bool) -> AddressMap {
        AddressMap {
            host_loopback,
            name_server: Some("192.0.2.53:53".parse().unwrap()),
            ..AddressMap::default()
        }
    }

    fn target(map: &AddressMap, destination: &str) -> Target {
        map.target(destination.parse().unwrap())
    }

    #[test]
    fn gateway_leads_to_the_hosts_loopback() {
        let map = map(true);
        assert_eq!(target(&map, "10.0.2.2:80"), Target::Own("127.0.0.1:80".parse().unwrap()));
        assert_eq!(target(&map, "[fd00::2]:80"), Target::Own("[::1]:80".parse().unwrap()));
    }

    #[test]
    fn closed_loopback_is_refused_under_every_name() {
        let map = map(false);
        assert_eq!(target(&map, "10.0.2.2:80"), Target::Refused);
        assert_eq!(target(&map, "[fd00::2]:80"), Target::Refused);
        for name in
            ["127.0.0.1:80", "127.8.8.8:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[::ffff:127.0.0.1]:80"]
        {
            assert_eq!(target(&map, name), Target::Martian, "{name}");
        }
    }

    #[test]
    fn name_service_leads_to_the_hosts_server() {
        assert_eq!(target(&map(false), "10.0.2.3:53"), Target::Own("192.0.2.53:53".parse().unwrap()));
        assert_eq!(target(&map(false), "10.0.2.3:54"), Target::Refused);
        let without = AddressMap { host_loopback: true, ..AddressMap::default() };
        assert_eq!(target(&without, "10.0.2.3:53"), Target::Refused);
    }

    #[test]
    fn numbered_network_has_the_numbers_of_slirp4netns() {
        let network = Network::numbered(Ipv4Addr::new(192, 168, 5, 0), 24).unwrap();
        let names = [network.program_v4, network.gateway_v4, network.dns_v4].map(|name| name.to_string());
        assert_eq!(names, ["192.168.5.100", "192.168.5.2", "192.168.5.3"]);
        assert!(Network::numbered(Ipv4Addr::new(10, 0, 0, 128), 25).is_some());
        assert_eq!(Network::numbered(Ipv4Addr::new(10, 0, 2, 1), 24), None, "bits behind the prefix");
        assert_eq!(Network::numbered(Ipv4Addr::new(10, 0, 2, 0), 26), None, "no room for 100");
        assert_eq!(Network::numbered(Ipv4Addr::UNSPECIFIED, 0), None);
    }

    #[test]
    fn other_destinations_stay_as_they_are() {
        for name in ["192.0.2.1:443", "10.0.2.7:1", "[2001:db8::1]:443"] {
            assert_eq!(target(&map(true), name), Target::Host(name.parse().unwrap()), "{name}");
        }
    }
}

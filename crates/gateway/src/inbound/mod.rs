//! From a published port of the host to the program.
//!
//! The connection inside comes from the gateway's address. The kernel completes a client's handshake before lastack
//! hears of it, so a refusal inside is a reset to the client, at once and before any byte.

pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::{IpAddr, SocketAddr};

use crate::addresses::{GATEWAY_V6, Network};
use crate::publish::Inside;

/// Where a client of this address is led to, and from which address of the gateway: its own family first. A server that
/// listens on the other family only is found too: a client that had tried `::1` first would not try again once it was
/// let in.
fn ways(network: &Network, client: SocketAddr, inside: Inside) -> Vec<(IpAddr, SocketAddr)> {
    let port = inside.port;
    match inside.address {
        Some(IpAddr::V4(to)) => return vec![(network.gateway_v4.into(), (to, port).into())],
        Some(IpAddr::V6(to)) => return vec![(GATEWAY_V6.into(), (to, port).into())],
        None => {}
    }
    let v4 = (IpAddr::V4(network.gateway_v4), SocketAddr::from((network.program_v4, port)));
    let v6 = network.program_v6.map(|address| (IpAddr::V6(GATEWAY_V6), SocketAddr::from((address, port))));
    match v6 {
        None => vec![v4],
        Some(v6) if client.is_ipv4() => vec![v4, v6],
        Some(v6) => vec![v6, v4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_family_is_tried_first_and_ipv6_only_where_the_program_has_it() {
        let network = Network::default();
        let ports = |network: &Network, client: &str| -> Vec<String> {
            let ways = ways(network, client.parse().unwrap(), Inside { port: 80, address: None });
            ways.into_iter().map(|(from, to)| format!("{from} {to}")).collect()
        };
        let (v4, v6) = ("10.0.2.2 10.0.2.15:80", "fd00::2 [fd00::15]:80");
        assert_eq!(ports(&network, "127.0.0.1:9"), [v4, v6]);
        assert_eq!(ports(&network, "[::1]:9"), [v6, v4]);
        let without = Network { program_v6: None, ..network };
        assert_eq!(ports(&without, "[::1]:9"), [v4]);
        let other = Inside { port: 80, address: Some("10.0.2.7".parse().unwrap()) };
        let one = (network.gateway_v4.into(), "10.0.2.7:80".parse().unwrap());
        assert_eq!(ways(&network, "[::1]:9".parse().unwrap(), other), [one]);
    }
}

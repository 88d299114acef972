//! Ports of the host that lead to ports inside.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::gateway::{Leave, Shared};
use crate::inbound;

/// How the command line writes a published port.
const FORM: &str = "[ADDR:]PORT:PORT[/tcp|udp], as in 8080:80, 0.0.0.0:8080:80 or [::1]:5353:53/udp";
/// Connections that the kernel holds until they are carried on; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// Protocol of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads to a port inside: `[ADDR:]PORT:PORT[/tcp|udp]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Address of the host. `None`: its loopback, IPv4 and IPv6.
    pub address: Option<IpAddr>,
    /// Port of the host, 1..=65535.
    pub port: u16,
    /// Port inside, 1..=65535.
    pub inside: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("the form is {FORM}"))
    }
}

fn parse(text: &str) -> Option<Publish> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return None,
    };
    let (outside, inside) = ports.rsplit_once(':')?;
    let (address, port) = match outside.rsplit_once(':') {
        None => (None, outside),
        Some((address, port)) => (Some(host_address(address)?), port),
    };
    Some(Publish { address, port: number(port)?, inside: number(inside)?, protocol })
}

fn host_address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn number(port: &str) -> Option<u16> {
    // `parse` would take a sign too.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0)
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, "{}:{}", self.port, self.inside)?,
            Some(address) => write!(f, "{}:{}", SocketAddr::new(address, self.port), self.inside)?,
        }
        f.write_str(if self.protocol == Protocol::Udp { "/udp" } else { "" })
    }
}

impl Publish {
    /// Takes the port of the host, in the network namespace of the calling thread. Clients of TCP are let in by the
    /// kernel from now on, and wait until a gateway carries them.
    ///
    /// # Errors
    /// The port is taken, or must not be used: one line that says what to do.
    pub fn bind(&self) -> Result<Vec<Listening>, String> {
        let addresses = match self.address {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        let mut listening = Vec::new();
        for address in addresses {
            match self.bind_to(SocketAddr::new(address, self.port)) {
                Ok(socket) => listening.push(socket),
                // A host without IPv6 has no ::1.
                Err(error) if self.address.is_none() && address.is_ipv6() && has_no_family(&error) => {}
                Err(error) => return Err(self.explain(address, &error)),
            }
        }
        Ok(listening)
    }

    fn bind_to(&self, address: SocketAddr) -> io::Result<Listening> {
        let (kind, tcp) = match self.protocol {
            Protocol::Tcp => (Type::STREAM, true),
            Protocol::Udp => (Type::DGRAM, false),
        };
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if address.is_ipv6() {
            // 0.0.0.0 and [::] are two places, so that both can be named.
            socket.set_only_v6(true)?;
        }
        if tcp {
            // The port is free again at once, whatever TIME_WAIT is left of an earlier run.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        if tcp {
            socket.listen(BACKLOG)?;
        }
        socket.set_nonblocking(true)?;
        let socket =
            if tcp { Bound::Tcp(socket.into()) } else { Bound::Udp(std::net::UdpSocket::from(socket)) };
        Ok(Listening { socket, inside: Inside { port: self.inside, address: None } })
    }

    fn explain(&self, address: IpAddr, error: &io::Error) -> String {
        let place = SocketAddr::new(address, self.port);
        let why = match error.raw_os_error() {
            Some(libc::EADDRINUSE) => "is taken; choose another port of the host".to_owned(),
            Some(libc::EADDRNOTAVAIL) => "is not an address of this host".to_owned(),
            Some(libc::EACCES) => "is for root only; choose a port of the host from 1024 on".to_owned(),
            _ => format!("cannot be used: {error}"),
        };
        format!("cannot publish {self}: {place} {why}")
    }
}

fn has_no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// A port of the host that is taken for a port inside; see [`Publish::bind`].
#[derive(Debug)]
pub struct Listening {
    socket: Bound,
    inside: Inside,
}

/// Where a port of the host leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside {
    pub(crate) port: u16,
    /// `None`: the interface's own, of either family.
    pub(crate) address: Option<IpAddr>,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

impl Listening {
    /// Leads to another address inside than the interface's own.
    pub(crate) fn leading_to(mut self, address: Option<IpAddr>) -> Self {
        self.inside.address = address;
        self
    }

    /// Carries what comes, in tasks of `tasks`. With the sender of `closing` gone, nothing new is taken; with that of
    /// `leaving`, all ends.
    pub(crate) fn serve(
        self,
        shared: &Arc<Shared>,
        leaving: &watch::Receiver<()>,
        closing: watch::Receiver<()>,
        tasks: &mut JoinSet<Leave>,
    ) -> io::Result<()> {
        let (shared, leaving) = (Arc::clone(shared), leaving.clone());
        match self.socket {
            Bound::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tasks.spawn(inbound::tcp::serve(shared, listener, self.inside, leaving, closing));
            }
            Bound::Udp(socket) => {
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                tasks.spawn(inbound::udp::serve(shared, socket, self.inside, closing));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> (Option<String>, u16, u16, Protocol) {
        let Publish { address, port, inside, protocol } = text.parse().unwrap();
        (address.map(|address| address.to_string()), port, inside, protocol)
    }

    #[test]
    fn forms_of_a_published_port() {
        assert_eq!(published("8080:80"), (None, 8080, 80, Protocol::Tcp));
        assert_eq!(published("8080:80/tcp"), (None, 8080, 80, Protocol::Tcp));
        assert_eq!(published("0.0.0.0:5353:53/udp"), (Some("0.0.0.0".into()), 5353, 53, Protocol::Udp));
        assert_eq!(published("[::1]:1:65535"), (Some("::1".into()), 1, 65535, Protocol::Tcp));
        for text in ["8080:80", "[::1]:1:2/udp", "10.0.0.1:1:2"] {
            assert_eq!(text.parse::<Publish>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_port_is_answered_with_the_form() {
        for text in ["", "80", "80:", ":80", "0:80", "80:0", "80:65536", "+80:80", "80:80/sctp", "::1:80:80"]
        {
            assert!(text.parse::<Publish>().unwrap_err().contains("[ADDR:]PORT:PORT"), "{text}");
        }
        assert!("localhost:80:80".parse::<Publish>().is_err());
    }

    #[test]
    fn taken_port_is_named_with_what_to_do() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let publish: Publish = format!("127.0.0.1:{port}:80").parse().unwrap();
        assert_eq!(
            publish.bind().unwrap_err(),
            format!(
                "cannot publish 127.0.0.1:{port}:80: 127.0.0.1:{port} is taken; \
                 choose another port of the host"
            )
        );
    }
}

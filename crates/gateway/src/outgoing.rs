//! By which way the host's sockets leave it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

/// By which way the sockets that lastack opens on the host leave it. What goes to the host's own loopback takes none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Through this interface only (`SO_BINDTODEVICE`), whatever other routes say. Needs no privilege from Linux 5.7 on.
    pub interface: Option<String>,
    /// With this mark (`SO_MARK`), which rules of routing and of the firewall can look at. Needs `CAP_NET_ADMIN`.
    pub mark: Option<u32>,
    /// From this IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// From this IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Outgoing {
    /// Prepares a socket that is to be connected to `target`, or to send there.
    pub(crate) fn apply(&self, socket: &impl AsFd, target: SocketAddr) -> io::Result<()> {
        if target.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let reference = SockRef::from(socket);
        if let Some(interface) = &self.interface {
            reference.bind_device(Some(interface.as_bytes()))?;
        }
        if let Some(mark) = self.mark {
            reference.set_mark(mark)?;
        }
        let source: Option<IpAddr> =
            if target.is_ipv4() { self.v4.map(Into::into) } else { self.v6.map(Into::into) };
        if let Some(source) = source {
            // The port is chosen by connect, which can use one for many destinations.
            setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
            reference.bind(&SocketAddr::new(source, 0).into())?;
        }
        Ok(())
    }

    /// Whether sockets can be prepared so: the host has such an interface and addresses, and the mark is allowed.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Any address that is not the host's own: nothing is sent.
        let probes: [SocketAddr; 2] = [
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
        ];
        for probe in probes {
            let own = if probe.is_ipv4() { self.v4.is_some() } else { self.v6.is_some() };
            // One family is enough for the rest; a host may have no IPv6.
            if probe.is_ipv6() && !own {
                continue;
            }
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(probe), socket2::Type::DGRAM, None);
            let applied = socket.and_then(|socket| self.apply(&socket, probe));
            applied.map_err(|error| self.explain(&error))?;
        }
        Ok(())
    }

    fn explain(&self, error: &io::Error) -> String {
        let why = match (error.raw_os_error(), &self.interface, self.mark) {
            (Some(libc::ENODEV), Some(interface), _) => {
                return format!("the host has no interface {interface}; 'ip link' lists them");
            }
            (Some(libc::EPERM), _, Some(mark)) => {
                return format!("the mark {mark} is for root only (CAP_NET_ADMIN)");
            }
            (Some(libc::EADDRNOTAVAIL), ..) => {
                "the host has no such address; 'ip addr' lists them".to_owned()
            }
            _ => error.to_string(),
        };
        let v4 = self.v4.map(IpAddr::from);
        let sources: Vec<String> =
            v4.into_iter().chain(self.v6.map(IpAddr::from)).map(|source| source.to_string()).collect();
        format!("cannot send from {}: {why}", sources.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_does_not_have_is_named() {
        let none = Outgoing { interface: Some("lastack-none".to_owned()), ..Outgoing::default() };
        assert_eq!(none.check().unwrap_err(), "the host has no interface lastack-none; 'ip link' lists them");
        let none = Outgoing { v4: Some(Ipv4Addr::new(192, 0, 2, 77)), ..Outgoing::default() };
        assert_eq!(
            none.check().unwrap_err(),
            "cannot send from 192.0.2.77: the host has no such address; 'ip addr' lists them"
        );
        assert_eq!(Outgoing::default().check(), Ok(()));
    }

    #[test]
    fn loopback_is_reached_as_always() {
        let none =
            Outgoing { interface: Some("lastack-none".to_owned()), mark: Some(7), ..Outgoing::default() };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for loopback in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(none.apply(&socket, loopback.parse().unwrap()).is_ok(), "{loopback}");
        }
    }
}

//! Opening the host's connection, and saying inside what came of it.

use std::io;
use std::net::SocketAddr;

use lastack::Refusal;
use lastack::core::IcmpUnreach;
use tokio::net::{TcpSocket, TcpStream};

use crate::outgoing::Outgoing;

/// Connects on the host. It takes as long as the host's kernel tries.
pub(crate) async fn dial(target: SocketAddr, outgoing: &Outgoing) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What the program sends in one piece goes on in one piece, at once: it has waited at the program's side already.
    socket.set_nodelay(true)?;
    outgoing.apply(&socket, target)?;
    socket.connect(target).await
}

/// What the program is told when the host's kernel says `error`: what it would have seen without a gateway.
///
/// | host | program |
/// |---|---|
/// | `ECONNREFUSED` | RST: `ECONNREFUSED` |
/// | `EHOSTUNREACH`, `EHOSTDOWN` and errors of the address | ICMP host unreachable: `EHOSTUNREACH` |
/// | `ENETUNREACH`, `ENETDOWN`, `EAFNOSUPPORT`, `EADDRNOTAVAIL` | ICMP network unreachable: `ENETUNREACH` |
/// | `EACCES`, `EPERM` | ICMP administratively prohibited: `EACCES` over IPv6, `EHOSTUNREACH` over IPv4 |
/// | `ETIMEDOUT` | silence: its own time-out |
/// | out of descriptors, ports or memory | silence: its next SYN tries again |
pub(crate) fn refusal(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Refusal::Reset,
        Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
            Refusal::Unreachable(IcmpUnreach::Network)
        }
        Some(libc::EACCES | libc::EPERM) => Refusal::Unreachable(IcmpUnreach::Prohibited),
        Some(libc::ETIMEDOUT) => Refusal::Silent,
        _ if is_shortage(error) => Refusal::Silent,
        _ => Refusal::Unreachable(IcmpUnreach::Host),
    }
}

/// The server took the connection and reset it before the dial returned: in SYN_SENT a reset is `ECONNREFUSED`.
pub(crate) fn was_reset(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECONNRESET)
}

/// The host has run out of something that lastack uses.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN | libc::EADDRINUSE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: i32) -> Refusal {
        refusal(&io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn each_failure_of_the_host_is_the_same_failure_inside() {
        assert_eq!(of(libc::ECONNREFUSED), Refusal::Reset);
        assert_eq!(of(libc::EHOSTUNREACH), Refusal::Unreachable(IcmpUnreach::Host));
        assert_eq!(of(libc::ENETUNREACH), Refusal::Unreachable(IcmpUnreach::Network));
        assert_eq!(of(libc::EPERM), Refusal::Unreachable(IcmpUnreach::Prohibited));
        assert_eq!(of(libc::ETIMEDOUT), Refusal::Silent);
    }

    #[test]
    fn shortage_of_the_gateway_is_not_blamed_on_the_destination() {
        assert_eq!(of(libc::EMFILE), Refusal::Silent);
        assert_eq!(of(libc::ENOBUFS), Refusal::Silent);
    }
}

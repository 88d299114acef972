//! The host's end of a UDP flow: a socket that is connected to the destination, or one at a proxy (RFC 1928 section 7).

use std::future::pending;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use lastack_wire::{ipv4, ipv6, udp};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6DontFrag;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};

use crate::outgoing::Outgoing;
use crate::upstream::{Upstream, socks5};

/// Where a flow's datagrams go to on the host.
pub(crate) enum Outlet {
    /// To the destination.
    Direct(Direct),
    /// To a SOCKS5 proxy.
    Associated(Association),
}

/// A socket that is connected to the destination.
pub(crate) struct Direct {
    socket: UdpSocket,
    target: SocketAddr,
    /// Its datagrams leave in one packet that no router may cut.
    whole: AtomicBool,
}

/// What a proxy has promised to carry, for as long as a connection to it stays open.
pub(crate) struct Association {
    relay: UdpSocket,
    lifeline: TcpStream,
    target: SocketAddr,
    /// What stands before the data of each datagram.
    header: Vec<u8>,
}

impl Outlet {
    /// A socket that is connected to `target`.
    pub(crate) async fn direct(target: SocketAddr, outgoing: &Outgoing) -> io::Result<Self> {
        let socket = connected(target, outgoing).await?;
        set_whole(&socket, target, false)?;
        Ok(Self::Direct(Direct { socket, target, whole: AtomicBool::new(false) }))
    }

    /// An association with the proxy, for `target` alone. It takes as long as the proxy does.
    pub(crate) async fn associate(
        upstream: &Upstream,
        target: SocketAddr,
        outgoing: &Outgoing,
    ) -> io::Result<Self> {
        let (lifeline, relay) = upstream.associate(outgoing).await?;
        let relay = connected(relay, outgoing).await?;
        let header = socks5::datagram_header(target);
        Ok(Self::Associated(Association { relay, lifeline, target, header }))
    }

    fn socket(&self) -> &UdpSocket {
        match self {
            Self::Direct(direct) => &direct.socket,
            Self::Associated(association) => &association.relay,
        }
    }

    /// Sends a datagram now or never; `whole`: in one packet that no router may cut, or not at all (`EMSGSIZE`). A proxy
    /// does with it what it does.
    pub(crate) fn try_send(&self, data: &[u8], whole: bool) -> io::Result<()> {
        match self {
            Self::Direct(Direct { socket, target, whole: before }) => {
                if before.swap(whole, Ordering::Relaxed) != whole {
                    set_whole(socket, *target, whole)?;
                }
                socket.try_send(data).map(drop)
            }
            Self::Associated(Association { relay, header, .. }) => {
                let parts = [IoSlice::new(header), IoSlice::new(data)];
                relay.try_io(Interest::WRITABLE, || SockRef::from(relay).send_vectored(&parts)).map(drop)
            }
        }
    }

    /// Bytes of data that a packet to the destination holds now, as far as the host's kernel knows.
    pub(crate) fn room(&self) -> Option<usize> {
        let Self::Direct(Direct { socket, target, .. }) = self else { return None };
        let (mtu, header) = if target.is_ipv4() {
            (sockopt::ip_mtu(socket).ok()?, ipv4::HEADER_LEN)
        } else {
            (sockopt::ipv6_mtu(socket).ok()?, ipv6::HEADER_LEN)
        };
        usize::try_from(mtu).ok()?.checked_sub(header + udp::HEADER_LEN)
    }

    /// Takes a datagram that has come; where in the buffer its data is. `None`: it was not for the program.
    pub(crate) fn try_recv(&self, buffer: &mut [u8]) -> io::Result<Option<Range<usize>>> {
        let len = self.socket().try_recv(buffer)?;
        let Self::Associated(Association { target, .. }) = self else { return Ok(Some(0..len)) };
        let parsed = socks5::parse_datagram(buffer.get(..len).unwrap_or_default());
        Ok(parsed.filter(|(source, _)| source == target).map(|(_, at)| at..len))
    }

    /// Waits for a datagram or an error.
    pub(crate) async fn ready(&self) -> io::Result<tokio::io::Ready> {
        self.socket().ready(Interest::READABLE | Interest::ERROR).await
    }

    /// What the kernel was told by ICMP and has not told yet. Only asking makes it silent about it until there is more.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let socket = self.socket();
        let next = || match socket.take_error() {
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(Some(error)) | Err(error) => Ok(error),
        };
        socket.try_io(Interest::ERROR, next).ok()
    }

    /// Whether this error is the proxy's and not the destination's.
    pub(crate) fn is_proxy(&self) -> bool {
        matches!(self, Self::Associated(_))
    }

    /// Waits until the proxy carries nothing more.
    pub(crate) async fn ended(&self) {
        let Self::Associated(Association { lifeline, .. }) = self else { return pending().await };
        loop {
            if lifeline.readable().await.is_err() {
                return;
            }
            match lifeline.try_read(&mut [0; 64]) {
                Ok(0) => return,
                // It has nothing to say there.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// What the kernel does with datagrams that are larger than a packet can be: `PROBE` sends what the interface takes, with DF,
/// whatever is known of the path, so that routers say what they think; `DONT` cuts it.
fn set_whole(socket: &UdpSocket, target: SocketAddr, whole: bool) -> io::Result<()> {
    if target.is_ipv4() {
        let how = if whole { Ipv4PathMtuDiscovery::PROBE } else { Ipv4PathMtuDiscovery::DONT };
        return Ok(sockopt::set_ip_mtu_discover(socket, how)?);
    }
    let how = if whole { Ipv6PathMtuDiscovery::PROBE } else { Ipv6PathMtuDiscovery::DONT };
    sockopt::set_ipv6_mtu_discover(socket, how)?;
    Ok(setsockopt(socket, Ipv6DontFrag, &whole)?)
}

async fn connected(target: SocketAddr, outgoing: &Outgoing) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    outgoing.apply(&socket, target)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(target).await?;
    // Before its first notice tokio takes a socket to be full.
    socket.writable().await?;
    Ok(socket)
}

//! An async UDP socket.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use ::tokio::io::{Interest as TokioInterest, ReadBuf, Ready};
use ::tokio::net::{ToSocketAddrs, lookup_host};

use lastack_core::{IcmpUnreach, UdpMeta};

use super::{each, no_address, to_tokio};
use crate::datagram::UdpSock;
use crate::host::{Host, Interest};

/// A UDP socket, in the shape of [`tokio::net::UdpSocket`]; and for gateways one for every port.
#[derive(Debug)]
pub struct UdpSocket {
    sock: UdpSock,
}

impl UdpSocket {
    /// Binds to the first of the addresses that works; port 0 picks a port.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub async fn bind(host: &Host, addr: impl ToSocketAddrs) -> io::Result<Self> {
        each(addr, |addr| async move {
            let sock = UdpSock::open(host)?;
            sock.call(|stack, _, handle| stack.udp_bind(handle, addr))?;
            Ok(Self { sock })
        })
        .await
    }

    /// A socket that receives what no other socket is bound for, on every port of `addr`; with an unspecified address,
    /// of every address of its family (the host's [`Config::any_address`](crate::Config::any_address) has to be set).
    /// For gateways, with [`UdpSocket::recv_to`] and [`UdpSocket::send_from`].
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if there is one already.
    pub fn bind_any_port(host: &Host, addr: std::net::IpAddr) -> io::Result<Self> {
        let sock = UdpSock::open(host)?;
        sock.call(|stack, _, handle| {
            stack.udp_set_any_port(handle, true)?;
            stack.udp_bind(handle, SocketAddr::new(addr, 0))
        })?;
        Ok(Self { sock })
    }

    /// Sends to and receives from one address only.
    ///
    /// # Errors
    /// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable).
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        each(addr, |addr| async move { self.sock.call(|stack, _, handle| stack.udp_connect(handle, addr)) })
            .await
    }

    /// The local address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sock.local_addr()
    }

    /// The connected address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.sock.peer_addr()
    }

    /// The stored error, which is cleared by this.
    ///
    /// # Errors
    /// None; the shape is tokio's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.sock.take_error()
    }

    // --- sending ---

    /// Sends to the connected address.
    ///
    /// # Errors
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) after an ICMP answer to an earlier datagram, and what
    /// else Linux gives.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.sock.send(buf, None, None).await
    }

    /// Sends to the first of the addresses.
    ///
    /// # Errors
    /// As [`UdpSocket::send`].
    pub async fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let addr = lookup_host(addr).await?.next().ok_or_else(no_address)?;
        self.sock.send(buf, Some(addr), None).await
    }

    /// Sends to `remote` from `local`, which need not be the address that the socket is bound to: for gateways, which
    /// answer for others.
    ///
    /// # Errors
    /// As [`UdpSocket::send`]; [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if the host may not use `local`.
    pub async fn send_from(&self, buf: &[u8], local: SocketAddr, remote: SocketAddr) -> io::Result<usize> {
        self.sock.send(buf, Some(remote), Some(local)).await
    }

    /// [`UdpSocket::send`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.sock.try_send(buf, None, None)
    }

    /// [`UdpSocket::send_to`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        self.sock.try_send(buf, Some(target), None)
    }

    /// [`UdpSocket::send_from`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_send_from(&self, buf: &[u8], local: SocketAddr, remote: SocketAddr) -> io::Result<usize> {
        self.sock.try_send(buf, Some(remote), Some(local))
    }

    /// Refuses a datagram of `len` bytes that `peer` sent to `local`, with the ICMP error that a host or router there
    /// would send; limited in rate. For gateways that learn of a refusal elsewhere.
    pub fn refuse(
        &self,
        local: SocketAddr,
        peer: SocketAddr,
        len: usize,
        how: IcmpUnreach,
    ) -> io::Result<()> {
        self.sock.refuse(local, peer, len, how)
    }

    /// [`UdpSocket::send`] as a poll; the last caller is woken.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.sock.poll_send(cx, buf, None)
    }

    /// [`UdpSocket::send_to`] as a poll; the last caller is woken.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.sock.poll_send(cx, buf, Some(target))
    }

    // --- receiving ---

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// As [`UdpSocket::send`].
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_to(buf).await?.0)
    }

    /// Receives a datagram and says from whom.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from, _) = self.recv_to(buf).await?;
        Ok((len, from))
    }

    /// Receives a datagram and says from whom and to which address and port.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn recv_to(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        let room = buf.len();
        let meta = self.sock.recv(buf).await?;
        Ok((meta.len.min(room), meta.from, meta.to))
    }

    /// Receives a datagram and all that is known of it; [`len`](UdpMeta::len) may be more than what fit.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn recv_meta(&self, buf: &mut [u8]) -> io::Result<UdpMeta> {
        self.sock.recv(buf).await
    }

    /// [`UdpSocket::recv`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.try_recv_from(buf)?.0)
    }

    /// [`UdpSocket::recv_from`] without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buf.len();
        let meta = self.sock.try_recv(buf)?;
        Ok((meta.len.min(room), meta.from))
    }

    /// [`UdpSocket::recv`] as a poll; the last caller is woken.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(drop)
    }

    /// [`UdpSocket::recv_from`] as a poll; the last caller is woken.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let room = buf.remaining();
        let meta = ready!(self.sock.poll_recv(cx, buf.initialize_unfilled()))?;
        buf.advance(meta.len.min(room));
        Poll::Ready(Ok(meta.from))
    }

    /// Receives without taking the datagram out.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.peek_from(buf).await?.0)
    }

    /// Receives without taking the datagram out, and says from whom.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buf.len();
        let meta = self.sock.peek(buf).await?;
        Ok((meta.len.min(room), meta.from))
    }

    // --- readiness ---

    /// Waits until one of the wanted things may be possible.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
    pub async fn ready(&self, interest: TokioInterest) -> io::Result<Ready> {
        let core = match (interest.is_readable(), interest.is_writable()) {
            // A UDP socket is nearly always writable; whoever wants both gets what holds then.
            (true, true) => {
                self.sock.wait_ready(Interest::Write).await?;
                self.sock.ready()
            }
            (true, false) => self.sock.wait_ready(Interest::Read).await?,
            (false, true) => self.sock.wait_ready(Interest::Write).await?,
            (false, false) => self.sock.wait_ready(Interest::End).await?,
        };
        Ok(to_tokio(core, interest))
    }

    /// Waits until a datagram may be received.
    ///
    /// # Errors
    /// As [`UdpSocket::ready`].
    pub async fn readable(&self) -> io::Result<()> {
        self.sock.wait_ready(Interest::Read).await.map(drop)
    }

    /// Waits until a datagram may be sent.
    ///
    /// # Errors
    /// As [`UdpSocket::ready`].
    pub async fn writable(&self) -> io::Result<()> {
        self.sock.wait_ready(Interest::Write).await.map(drop)
    }

    /// [`UdpSocket::readable`] as a poll; the last caller is woken.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sock.poll_ready(cx, Interest::Read).map_ok(drop)
    }

    /// [`UdpSocket::writable`] as a poll; the last caller is woken.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sock.poll_ready(cx, Interest::Write).map_ok(drop)
    }
}

//! UDP sockets of the stack: thin forwards to the UDP layer.

use crate::error::Error;
use crate::event::Ready;
use crate::ip::IcmpUnreach;
use crate::ip::output::emit_header;
use crate::stack::{Stack, note_udp};
use crate::time::Instant;
use crate::udp::{UdpHandle, UdpMeta};
use core::net::SocketAddr;
use lastack_wire::ip::protocol;
use lastack_wire::{ipv6, udp};

impl Stack {
    /// A new UDP socket.
    pub fn udp_socket(&mut self) -> UdpHandle {
        self.udp.socket()
    }

    /// Lets the socket receive what no other socket is bound to, for every port (and with the unspecified address for
    /// every address); before binding. For gateways.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] once bound.
    pub fn udp_set_any_port(&mut self, h: UdpHandle, on: bool) -> Result<(), Error> {
        self.udp.set_any_port(h, on)
    }

    /// `SO_REUSEADDR`; before binding.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] once bound.
    pub fn udp_set_reuse_addr(&mut self, h: UdpHandle, on: bool) -> Result<(), Error> {
        self.udp.set_reuse_addr(h, on)
    }

    /// Binds to a local address; port 0 takes an ephemeral port.
    ///
    /// # Errors
    /// [`Error::AddrInUse`], [`Error::AddrNotAvailable`], [`Error::InvalidInput`] if bound already.
    pub fn udp_bind(&mut self, h: UdpHandle, local: SocketAddr) -> Result<(), Error> {
        self.udp.bind(&self.cx.cfg, &self.ip, h, local)
    }

    /// Fixes the peer: only its datagrams are received, and sends need no destination.
    ///
    /// # Errors
    /// [`Error::NetworkUnreachable`] and what [`Stack::udp_bind`] gives.
    pub fn udp_connect(&mut self, h: UdpHandle, remote: SocketAddr) -> Result<(), Error> {
        self.udp.connect(&self.cx.cfg, &self.ip, h, remote)
    }

    /// Queues a datagram, to the connected peer or to `to`; `from` overrides the local address (gateways).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when the queue is full, [`Error::MessageTooLong`], [`Error::NotConnected`] without a
    /// destination, [`Error::NetworkUnreachable`], a stored ICMP error once.
    pub fn udp_send(
        &mut self,
        now: Instant,
        h: UdpHandle,
        data: &[u8],
        to: Option<SocketAddr>,
        from: Option<SocketAddr>,
    ) -> Result<(), Error> {
        self.set_now(now);
        let Self { cx, ip, udp, udp_news, .. } = self;
        let counters = &mut cx.counters.udp;
        udp.send(&cx.cfg, ip, counters, h, data, to, from, &mut |handle, ready| {
            note_udp(udp_news, handle, ready);
        })
    }

    /// Refuses a datagram of `len` bytes that `peer` sent to `local`: an ICMP unreachable to the peer, as the host at
    /// `local` or a router before it would send it. For gateways that learn of the refusal elsewhere. It quotes the
    /// datagram's headers only, and is limited in rate as every ICMP error is (RFC 1122 4.1.3.1, RFC 4443 2.4).
    pub fn udp_refuse(
        &mut self,
        now: Instant,
        local: SocketAddr,
        peer: SocketAddr,
        len: usize,
        kind: IcmpUnreach,
    ) {
        self.set_now(now);
        let Self { cx, ip, replies, .. } = self;
        let mut quote = [0; ipv6::HEADER_LEN + udp::HEADER_LEN];
        let datagram = udp::HEADER_LEN + len;
        let (src, dst) = (peer.ip(), local.ip());
        let Some(head) = emit_header(&mut quote, src, dst, protocol::UDP, datagram, ip.ttl(), 0) else {
            return;
        };
        let Some(rest) = quote.get_mut(head..) else { return };
        let header = udp::Repr { src_port: peer.port(), dst_port: local.port(), payload_len: len };
        if header.emit_header(rest).is_ok() {
            let packet = quote.get(..head + udp::HEADER_LEN).unwrap_or_default();
            ip.unreachable(cx.now, &cx.cfg, &mut cx.counters.ip, kind, packet, replies);
        }
        cx.counters.reply_queue_drops += replies.take_dropped();
    }

    /// Takes the next datagram.
    ///
    /// # Errors
    /// [`Error::WouldBlock`]; a stored ICMP error once.
    pub fn udp_recv(&mut self, h: UdpHandle, buf: &mut [u8]) -> Result<UdpMeta, Error> {
        self.udp.recv(h, buf)
    }

    /// What the socket is ready for.
    #[must_use]
    pub fn udp_ready(&self, h: UdpHandle) -> Ready {
        self.udp.ready(&self.cx.cfg, h)
    }

    /// The stored error, once.
    pub fn udp_take_error(&mut self, h: UdpHandle) -> Option<Error> {
        self.udp.take_error(h)
    }

    /// Local address, once bound.
    #[must_use]
    pub fn udp_local_addr(&self, h: UdpHandle) -> Option<SocketAddr> {
        self.udp.local_addr(h)
    }

    /// The peer of a connected socket.
    #[must_use]
    pub fn udp_peer_addr(&self, h: UdpHandle) -> Option<SocketAddr> {
        self.udp.peer_addr(h)
    }

    /// Closes the socket. What it has queued is still sent.
    pub fn udp_close(&mut self, h: UdpHandle) {
        self.udp.close(h);
    }
}

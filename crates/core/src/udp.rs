//! UDP (RFC 768): sockets, the choice of the socket for a datagram, and the queues on both sides.
//!
//! Sockets of both families live in one table. An IPv4-mapped address means the IPv4 address; a socket bound to `[::]`
//! takes datagrams of both families, and addresses are always reported as what they are in the packet.

mod table;

use crate::config::Config;
use crate::error::Error;
use crate::event::Ready;
use crate::ip::{
    Cut, Datagram, Head, IcmpError, IcmpErrorKind, IcmpUnreach, Ip, IpCounters, Part, Replies, Stream,
};
use crate::slab::{Key, Slab};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use lastack_wire::ip::protocol;
use lastack_wire::{ChecksumState, Error as WireError, PacketMeta, ipv4, ipv6, udp};
use table::Table;

/// What a queued datagram is charged beside its data, so that empty ones are bounded too.
const DATAGRAM_OVERHEAD: usize = 128;
/// Largest payload over IPv4: 65,535 less the headers.
const MAX_PAYLOAD_V4: usize = 65_535 - ipv4::HEADER_LEN - udp::HEADER_LEN;
/// Largest payload over IPv6 without a jumbogram.
const MAX_PAYLOAD_V6: usize = 65_535 - udp::HEADER_LEN;

/// A UDP socket. Stays invalid once the socket is closed, also when its slot is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpHandle(Key);

/// What came with a received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpMeta {
    /// Length of the datagram's data in bytes. What did not fit into the buffer is lost (`MSG_TRUNC`).
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Where it was sent: with a wildcard or any-port socket, the address to answer from.
    pub to: SocketAddr,
    /// It came in one packet that no router may cut: IPv4 with DF, or IPv6 without a fragment header.
    pub dont_fragment: bool,
}

/// Counters of UDP over both IP versions. The name in parentheses is that of Linux's `/proc/net/snmp` counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpCounters {
    /// Datagrams put into a socket's queue (`InDatagrams`).
    pub in_datagrams: u64,
    /// Datagrams to a port that nobody has (`NoPorts`).
    pub no_ports: u64,
    /// Datagrams that could not be delivered for another reason (`InErrors`).
    pub in_errors: u64,
    /// Of those with a wrong checksum (`InCsumErrors`).
    pub in_csum_errors: u64,
    /// Of those dropped because the socket's queue was full (`RcvbufErrors`).
    pub rcvbuf_errors: u64,
    /// Datagrams sent (`OutDatagrams`).
    pub out_datagrams: u64,
    /// Sends refused because the socket's queue was full (`SndbufErrors`).
    pub sndbuf_errors: u64,
    /// Queued datagrams that could not be sent: no room in the device's frame, or a path MTU too small to cut for.
    pub out_errors: u64,
}

/// Told of sockets that are ready for something now that they were not ready for before.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(UdpHandle, Ready);

/// What an incoming datagram is handled with.
pub(crate) struct UdpEnv<'s> {
    pub(crate) now: Instant,
    pub(crate) cfg: &'s Config,
    pub(crate) ip: &'s mut Ip,
    pub(crate) ip_counters: &'s mut IpCounters,
    pub(crate) counters: &'s mut UdpCounters,
    pub(crate) replies: &'s mut Replies,
}

#[derive(Clone, Debug, Hash)]
struct Inbound {
    from: SocketAddr,
    to: SocketAddr,
    dont_fragment: bool,
    data: Vec<u8>,
}

/// A datagram to be sent: the UDP header, its checksum not yet filled, and the data.
#[derive(Clone, Debug, Hash)]
struct Outbound {
    socket: Key,
    head: Head,
    bytes: Vec<u8>,
    cut: Option<Cut>,
}

#[derive(Clone, Debug, Default)]
struct Socket {
    /// Address (maybe unspecified) and port; `None` before binding.
    local: Option<SocketAddr>,
    /// The application chose the address; `connect` keeps it.
    address_fixed: bool,
    remote: Option<SocketAddr>,
    any_port: bool,
    reuse: bool,
    inbound: VecDeque<Inbound>,
    inbound_charge: usize,
    outbound_charge: usize,
    /// A send was refused; tell when there is room.
    blocked: bool,
    error: Option<Error>,
}

/// All UDP sockets of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    sockets: Slab<Socket>,
    table: Table,
    outbound: VecDeque<Outbound>,
    random: Stream,
}

impl Udp {
    /// `key` is for everything that has to be unpredictable here.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self {
            sockets: Slab::new(),
            table: Table::default(),
            outbound: VecDeque::new(),
            random: Stream::new(key, 1),
        }
    }

    /// A new socket, not bound.
    pub(crate) fn socket(&mut self) -> UdpHandle {
        UdpHandle(self.sockets.insert(Socket::default()))
    }

    /// Number of sockets.
    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbound.is_empty()
    }

    fn get(&self, h: UdpHandle) -> Result<&Socket, Error> {
        self.sockets.get(h.0).ok_or(Error::BadHandle)
    }

    fn get_mut(&mut self, h: UdpHandle) -> Result<&mut Socket, Error> {
        self.sockets.get_mut(h.0).ok_or(Error::BadHandle)
    }

    /// Lets the socket receive for every address and port that no other socket has, and send from any. Bind to port 0
    /// afterwards to take only one address or family; unbound it takes all.
    ///
    /// Of several such sockets that match, the oldest gets the datagram.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] if the socket is bound.
    pub(crate) fn set_any_port(&mut self, h: UdpHandle, on: bool) -> Result<(), Error> {
        let socket = self.get_mut(h)?;
        if socket.local.is_some() {
            return Err(Error::InvalidInput);
        }
        socket.any_port = on;
        self.table.set_any_port(h.0, on);
        Ok(())
    }

    /// `SO_REUSEADDR`: sockets that all have it may be bound to the same address and port; of those that match a
    /// datagram equally well the newest gets it.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] if the socket is bound.
    pub(crate) fn set_reuse_addr(&mut self, h: UdpHandle, on: bool) -> Result<(), Error> {
        let socket = self.get_mut(h)?;
        if socket.local.is_some() {
            return Err(Error::InvalidInput);
        }
        socket.reuse = on;
        Ok(())
    }

    /// Binds to an address of the stack (unspecified: all) and a port; 0 chooses one of `ephemeral_ports` at random.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] if bound already; [`Error::AddrNotAvailable`] for an address that
    /// is not the stack's, or if no port is left; [`Error::AddrInUse`] if another socket has the port on this address
    /// or on an unspecified one.
    pub(crate) fn bind(
        &mut self,
        cfg: &Config,
        ip: &Ip,
        h: UdpHandle,
        local: SocketAddr,
    ) -> Result<(), Error> {
        let local = canonical(local);
        let socket = self.get(h)?;
        if socket.local.is_some() {
            return Err(Error::InvalidInput);
        }
        let (any_port, reuse) = (socket.any_port, socket.reuse);
        let addr = local.ip();
        if !addr.is_unspecified() && !ip.may_use(addr) {
            return Err(Error::AddrNotAvailable);
        }
        let port = match local.port() {
            0 if any_port => 0,
            0 => self.ephemeral(cfg, addr)?,
            port if self.table.conflicts(addr, port, reuse) => return Err(Error::AddrInUse),
            port => port,
        };
        self.attach(h, SocketAddr::new(addr, port), reuse);
        self.get_mut(h)?.address_fixed = !addr.is_unspecified();
        Ok(())
    }

    fn attach(&mut self, h: UdpHandle, local: SocketAddr, reuse: bool) {
        if let Some(socket) = self.sockets.get_mut(h.0) {
            if let Some(old) = socket.local.replace(local) {
                self.table.remove(h.0, old);
            }
            if local.port() != 0 {
                self.table.insert(h.0, local, reuse);
            }
        }
    }

    /// A free port (RFC 6056 section 3.3.1: a random start, then upwards).
    fn ephemeral(&mut self, cfg: &Config, addr: IpAddr) -> Result<u16, Error> {
        let (first, last) = cfg.ephemeral_ports;
        let first = first.max(1);
        let count = u64::from(last).checked_sub(u64::from(first)).ok_or(Error::AddrNotAvailable)? + 1;
        let start = self.random.below(count);
        (0..count)
            .filter_map(|step| u16::try_from(u64::from(first) + (start + step) % count).ok())
            .find(|port| !self.table.conflicts(addr, *port, false))
            .ok_or(Error::AddrNotAvailable)
    }

    /// Binds a socket that is not, to any address of the family of `like`.
    fn auto_bind(&mut self, cfg: &Config, h: UdpHandle, like: IpAddr) -> Result<(), Error> {
        let socket = self.get(h)?;
        if socket.local.is_some() || socket.any_port {
            return Ok(());
        }
        let reuse = socket.reuse;
        let addr = if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let port = self.ephemeral(cfg, addr)?;
        self.attach(h, SocketAddr::new(addr, port), reuse);
        Ok(())
    }

    /// From now on only datagrams from `remote` are received, and [`Udp::send`] needs no destination. May be called
    /// again to change the peer.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidInput`] for port 0, an unspecified address or an any-port socket;
    /// [`Error::Prohibited`] for a broadcast or multicast address; [`Error::AddressFamily`]; those of
    /// [`Ip::source_for`]; [`Error::AddrNotAvailable`] if no port is left.
    pub(crate) fn connect(
        &mut self,
        cfg: &Config,
        ip: &Ip,
        h: UdpHandle,
        remote: SocketAddr,
    ) -> Result<(), Error> {
        let remote = canonical(remote);
        let socket = self.get(h)?;
        if remote.port() == 0 || remote.ip().is_unspecified() || socket.any_port {
            return Err(Error::InvalidInput);
        }
        if ip.is_group(remote.ip()) {
            return Err(Error::Prohibited);
        }
        let (fixed, reuse) = (socket.address_fixed, socket.reuse);
        let source = match socket.local {
            Some(local) if fixed => local.ip(),
            Some(local) if local.is_ipv4() && remote.is_ipv6() => return Err(Error::AddressFamily),
            _ => ip.source_for(cfg, remote.ip())?,
        };
        if source.is_ipv4() != remote.is_ipv4() {
            return Err(Error::AddressFamily);
        }
        self.auto_bind(cfg, h, remote.ip())?;
        if !fixed && let Some(local) = self.get(h)?.local {
            self.attach(h, SocketAddr::new(source, local.port()), reuse);
        }
        self.get_mut(h)?.remote = Some(remote);
        Ok(())
    }

    /// Queues a datagram to `to`, or to the peer of a connected socket. `from` sends it from another address, and with
    /// an any-port socket from another port, than the socket's own. A datagram to one of the stack's own addresses
    /// goes straight to the socket there.
    ///
    /// # Errors
    /// A stored error first (see [`Udp::take_error`]). [`Error::WouldBlock`] until there is room in the send queue.
    /// [`Error::NotConnected`] without destination; [`Error::InvalidInput`] for port 0, or for a port in `from` that is
    /// not the socket's; [`Error::MessageTooLong`] above 65,507 bytes (IPv6: 65,527); [`Error::Prohibited`] for a
    /// broadcast or multicast destination; [`Error::AddressFamily`]; [`Error::AddrNotAvailable`] if `from` is not an
    /// address of the stack or no port is left; [`Error::NetworkUnreachable`] without a route.
    #[allow(clippy::too_many_arguments, reason = "what one sendmsg() takes, and what it needs")]
    pub(crate) fn send(
        &mut self,
        cfg: &Config,
        ip: &Ip,
        counters: &mut UdpCounters,
        h: UdpHandle,
        data: &[u8],
        to: Option<SocketAddr>,
        from: Option<SocketAddr>,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        if let Some(error) = self.get_mut(h)?.error.take() {
            return Err(error);
        }
        let to = to.map(canonical).or(self.get(h)?.remote).ok_or(Error::NotConnected)?;
        let most = if to.is_ipv4() { MAX_PAYLOAD_V4 } else { MAX_PAYLOAD_V6 };
        if to.port() == 0 || to.ip().is_unspecified() {
            return Err(Error::InvalidInput);
        }
        if data.len() > most {
            return Err(Error::MessageTooLong);
        }
        if ip.is_group(to.ip()) {
            return Err(Error::Prohibited);
        }
        self.auto_bind(cfg, h, to.ip())?;
        let from = self.source(cfg, ip, h, to, from.map(canonical))?;
        if ip.is_local(to.ip()) {
            self.send_here(cfg, counters, h, from, to, data, sink);
            return Ok(());
        }
        let socket = self.get_mut(h)?;
        let charge = data.len() + DATAGRAM_OVERHEAD;
        if socket.outbound_charge > 0 && socket.outbound_charge + charge > cfg.udp_send_buffer {
            socket.blocked = true;
            counters.sndbuf_errors += 1;
            return Err(Error::WouldBlock);
        }
        socket.outbound_charge += charge;
        let mut bytes = vec![0; udp::HEADER_LEN + data.len()];
        let repr = udp::Repr { src_port: from.port(), dst_port: to.port(), payload_len: data.len() };
        let at = repr.emit_header(&mut bytes).map_err(|_| Error::MessageTooLong)?;
        if let Some(place) = bytes.get_mut(at..) {
            place.copy_from_slice(data);
        }
        let head = Head { src: from.ip(), dst: to.ip(), protocol: protocol::UDP, ttl: ip.ttl(), tos: 0 };
        self.outbound.push_back(Outbound { socket: h.0, head, bytes, cut: None });
        Ok(())
    }

    /// Source address and port for a datagram to `to`.
    fn source(
        &self,
        cfg: &Config,
        ip: &Ip,
        h: UdpHandle,
        to: SocketAddr,
        from: Option<SocketAddr>,
    ) -> Result<SocketAddr, Error> {
        let socket = self.get(h)?;
        let bound = socket.local;
        let port = match (from.map(|from| from.port()), bound.map(|bound| bound.port())) {
            (Some(port @ 1..), _) if socket.any_port => port,
            (Some(port @ 1..), Some(own)) if port != own => return Err(Error::InvalidInput),
            (_, Some(own @ 1..)) => own,
            _ => return Err(Error::InvalidInput),
        };
        // A socket of IPv4 has no business with IPv6; one bound to `[::]` may do both.
        if let Some(bound) = bound {
            let wildcard_v6 = bound.is_ipv6() && bound.ip().is_unspecified();
            if bound.is_ipv4() != to.is_ipv4() && !wildcard_v6 {
                return Err(Error::AddressFamily);
            }
        }
        let chosen = from.map(|from| from.ip()).filter(|addr| !addr.is_unspecified());
        let addr = match chosen {
            Some(addr) if !ip.may_use(addr) => return Err(Error::AddrNotAvailable),
            Some(addr) => addr,
            None => match bound.map(|bound| bound.ip()).filter(|addr| !addr.is_unspecified()) {
                Some(addr) => addr,
                None => ip.source_for(cfg, to.ip())?,
            },
        };
        if addr.is_ipv4() != to.is_ipv4() {
            return Err(Error::AddressFamily);
        }
        Ok(SocketAddr::new(addr, port))
    }

    /// Delivers inside the stack what is sent to an own address.
    #[allow(clippy::too_many_arguments, reason = "the rest of one send()")]
    fn send_here(
        &mut self,
        cfg: &Config,
        counters: &mut UdpCounters,
        h: UdpHandle,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
        sink: Sink<'_>,
    ) {
        counters.out_datagrams += 1;
        match self.lookup(to, from) {
            Some(key) => {
                let inbound = Inbound { from, to, dont_fragment: false, data: data.to_vec() };
                self.enqueue(cfg, counters, key, inbound, sink);
            }
            None => {
                counters.no_ports += 1;
                if self.sockets.get(h.0).is_some_and(|socket| socket.remote == Some(to)) {
                    self.set_error(h.0, Error::ConnectionRefused, sink);
                }
            }
        }
    }

    /// Takes the oldest datagram. Only `buf.len()` bytes of it are kept.
    ///
    /// # Errors
    /// A stored error first (see [`Udp::take_error`]); [`Error::WouldBlock`] if there is none; [`Error::BadHandle`].
    pub(crate) fn recv(&mut self, h: UdpHandle, buf: &mut [u8]) -> Result<UdpMeta, Error> {
        let socket = self.get_mut(h)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let Inbound { from, to, dont_fragment, data } =
            socket.inbound.pop_front().ok_or(Error::WouldBlock)?;
        socket.inbound_charge = socket.inbound_charge.saturating_sub(data.len() + DATAGRAM_OVERHEAD);
        for (place, byte) in buf.iter_mut().zip(&data) {
            *place = *byte;
        }
        Ok(UdpMeta { len: data.len(), from, to, dont_fragment })
    }

    /// What the socket is ready for: IN with a datagram or error, OUT with room in the send queue, ERR with a stored
    /// error. A closed handle is ready for its error.
    pub(crate) fn ready(&self, cfg: &Config, h: UdpHandle) -> Ready {
        let Ok(socket) = self.get(h) else { return Ready::ERR | Ready::HUP };
        let mut ready = Ready::empty();
        ready.set(Ready::IN, !socket.inbound.is_empty() || socket.error.is_some());
        ready.set(Ready::OUT, socket.is_writable(cfg));
        ready.set(Ready::ERR, socket.error.is_some());
        ready
    }

    /// `SO_ERROR`: what ICMP said of a connected socket's datagrams; clears it.
    pub(crate) fn take_error(&mut self, h: UdpHandle) -> Option<Error> {
        self.get_mut(h).ok()?.error.take()
    }

    /// Where the socket is bound; after `connect` with the address that packets to the peer carry.
    pub(crate) fn local_addr(&self, h: UdpHandle) -> Option<SocketAddr> {
        self.get(h).ok()?.local
    }

    /// The peer of a connected socket.
    pub(crate) fn peer_addr(&self, h: UdpHandle) -> Option<SocketAddr> {
        self.get(h).ok()?.remote
    }

    /// Closes the socket. What it has queued is still sent; what it has not read is lost.
    pub(crate) fn close(&mut self, h: UdpHandle) {
        if let Some(socket) = self.sockets.remove(h.0) {
            if let Some(local) = socket.local {
                self.table.remove(h.0, local);
            }
            self.table.set_any_port(h.0, false);
        }
    }

    /// A datagram from the IP layer.
    pub(crate) fn receive(&mut self, env: &mut UdpEnv<'_>, datagram: &Datagram<'_>, sink: Sink<'_>) {
        let (src, dst) = (datagram.src, datagram.dst);
        let header = match udp::Datagram::parse(&datagram.payload) {
            Ok(header) if header.dst_port != 0 => header,
            _ => {
                env.counters.in_errors += 1;
                return;
            }
        };
        if !datagram.checksum_trusted
            && let Err(error) = udp::verify_checksum(src, dst, &datagram.payload)
        {
            env.counters.in_errors += 1;
            let wrong = matches!(error, WireError::BadChecksum | WireError::ZeroChecksum);
            env.counters.in_csum_errors += u64::from(wrong);
            return;
        }
        let (from, to) = (SocketAddr::new(src, header.src_port), SocketAddr::new(dst, header.dst_port));
        if let Some(key) = self.lookup(to, from) {
            let dont_fragment = datagram.dont_fragment();
            let inbound = Inbound { from, to, dont_fragment, data: header.payload.to_vec() };
            self.enqueue(env.cfg, env.counters, key, inbound, sink);
            return;
        }
        env.counters.no_ports += 1;
        if datagram.unicast && datagram.own {
            let packet = datagram.packet();
            env.ip.unreachable(env.now, env.cfg, env.ip_counters, IcmpUnreach::Port, packet, env.replies);
        }
    }

    /// The socket that fits best: connected, then a specific address, then an unspecified one, then an any-port one.
    fn lookup(&self, to: SocketAddr, from: SocketAddr) -> Option<Key> {
        let remote = |key: Key| self.sockets.get(key).map(|socket| socket.remote);
        self.table.find(to, from, remote).or_else(|| {
            self.table.any_port().find(|key| {
                let bound = self.sockets.get(*key).and_then(|socket| socket.local);
                bound.is_none_or(|bound| table::covers(bound.ip(), to.ip()))
            })
        })
    }

    fn enqueue(
        &mut self,
        cfg: &Config,
        counters: &mut UdpCounters,
        key: Key,
        inbound: Inbound,
        sink: Sink<'_>,
    ) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let charge = inbound.data.len() + DATAGRAM_OVERHEAD;
        // One datagram always fits, however small the limit.
        if !socket.inbound.is_empty() && socket.inbound_charge + charge > cfg.udp_recv_buffer {
            counters.in_errors += 1;
            counters.rcvbuf_errors += 1;
            return;
        }
        counters.in_datagrams += 1;
        socket.inbound_charge += charge;
        socket.inbound.push_back(inbound);
        sink(UdpHandle(key), Ready::IN);
    }

    /// An ICMP error about a datagram. A connected socket gets what Linux counts as hard as its error; a report on
    /// the path MTU is believed if the socket that it quotes exists.
    pub(crate) fn icmp_error(&mut self, now: Instant, ip: &mut Ip, error: &IcmpError, sink: Sink<'_>) {
        if error.protocol != protocol::UDP {
            return;
        }
        let Some(key) = self.lookup(error.local, error.remote) else { return };
        if matches!(error.kind, IcmpErrorKind::FragNeeded { .. } | IcmpErrorKind::PacketTooBig { .. }) {
            ip.learn_path_mtu(now, error);
        }
        let connected = self.sockets.get(key).is_some_and(|socket| socket.remote == Some(error.remote));
        if connected && error.hard {
            self.set_error(key, error.error(), sink);
        }
    }

    fn set_error(&mut self, key: Key, error: Error, sink: Sink<'_>) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.error = Some(error);
            sink(UdpHandle(key), Ready::ERR | Ready::IN);
        }
    }

    /// Writes the next packet into `frame`, which should hold the device's MTU. `None`: nothing to send.
    #[allow(clippy::too_many_arguments, reason = "the parts of a stack that a packet needs")]
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        cfg: &Config,
        ip: &mut Ip,
        ip_counters: &mut IpCounters,
        counters: &mut UdpCounters,
        frame: &mut [u8],
        sink: Sink<'_>,
    ) -> Option<(usize, PacketMeta)> {
        loop {
            let next = self.outbound.front_mut()?;
            let partial = next.prepare(now, ip);
            match ip.emit_part(now, &next.head, &next.bytes, &mut next.cut, frame) {
                Some(Part::Fragment(len)) => {
                    ip_counters.frag_creates += 1;
                    return Some((len, PacketMeta::default()));
                }
                Some(Part::Whole(len)) => {
                    counters.out_datagrams += 1;
                    self.sent(cfg, sink);
                    return Some((len, PacketMeta { checksum: partial, gso: None }));
                }
                Some(Part::Last(len)) => {
                    ip_counters.frag_creates += 1;
                    ip_counters.frag_oks += 1;
                    counters.out_datagrams += 1;
                    self.sent(cfg, sink);
                    return Some((len, PacketMeta::default()));
                }
                None => {
                    ip_counters.frag_fails += 1;
                    counters.out_errors += 1;
                    self.sent(cfg, sink);
                }
            }
        }
    }

    /// The datagram at the front is done with.
    fn sent(&mut self, cfg: &Config, sink: Sink<'_>) {
        let Some(done) = self.outbound.pop_front() else { return };
        let charge = done.bytes.len() - udp::HEADER_LEN + DATAGRAM_OVERHEAD;
        if let Some(socket) = self.sockets.get_mut(done.socket) {
            let was_writable = socket.is_writable(cfg) && !socket.blocked;
            socket.outbound_charge = socket.outbound_charge.saturating_sub(charge);
            if !was_writable && socket.is_writable(cfg) {
                socket.blocked = false;
                sink(UdpHandle(done.socket), Ready::OUT);
            }
        }
    }

    /// Everything that later behaviour depends on except random numbers; nothing in it depends on time.
    pub(crate) fn fingerprint(&self, _now: Instant, h: &mut impl Hasher) {
        for (key, socket) in self.sockets.iter() {
            (key.index(), socket.local, socket.address_fixed, socket.remote).hash(h);
            (socket.any_port, socket.reuse, socket.blocked, socket.error).hash(h);
            socket.inbound.hash(h);
        }
        for waiting in &self.outbound {
            (waiting.socket.index(), waiting.head, &waiting.bytes, waiting.cut.is_some()).hash(h);
        }
    }
}

impl Socket {
    /// As Linux: writable while at least half of the send buffer is free.
    fn is_writable(&self, cfg: &Config) -> bool {
        self.outbound_charge <= cfg.udp_send_buffer / 2
    }
}

impl Outbound {
    /// Fills the checksum: only the sum over the pseudo-header if the device does the rest, which it can for a
    /// datagram that is not cut.
    fn prepare(&mut self, now: Instant, ip: &Ip) -> ChecksumState {
        let Head { src, dst, .. } = self.head;
        if self.cut.is_some() {
            return ChecksumState::Complete;
        }
        let header = if src.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let whole = header + self.bytes.len() <= usize::from(ip.path_mtu(now, dst));
        // Neither fails: `bytes` starts with a whole header.
        if whole && ip.capabilities().tx_checksum {
            let _ = udp::set_partial_checksum(src, dst, &mut self.bytes);
            return ChecksumState::Partial { start: header as u16, offset: udp::CHECKSUM_OFFSET as u16 };
        }
        let _ = udp::fill_checksum(src, dst, &mut self.bytes);
        ChecksumState::Complete
    }
}

/// An IPv4-mapped address as the IPv4 address that it means; flow label and scope are left out.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests;

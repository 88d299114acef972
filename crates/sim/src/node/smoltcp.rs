//! A host that runs smoltcp.
//!
//! smoltcp has no listening queue, so a listener is a few sockets that listen at the same time; each that is taken is
//! replaced. Its clock counts microseconds.

use super::{Moved, Settings, Sock};
use crate::scenario::HostSpec;
use crate::units::Size;
use lastack_core::{Error, Instant};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Sockets that listen at the same time.
const BACKLOG: usize = 16;
/// Buffers where a scenario does not say.
const BUFFER: usize = 65_536;
/// How long a closed socket waits for an acknowledgement.
const ORPHAN: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(120);
/// First and last port of connections that it opens.
const PORTS: (u16, u16) = (49_152, 65_535);

/// Packets in and out.
struct Port {
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Rx(packet), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps
    }
}

/// A socket of the application.
enum Entry {
    Free,
    Connection(SocketHandle),
    Listener { at: SocketAddr, settings: Settings, waiting: Vec<SocketHandle> },
}

/// A host that runs smoltcp.
pub(crate) struct Smoltcp {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    entries: Vec<Entry>,
    /// Closed by the application, and not yet over.
    closing: Vec<SocketHandle>,
    address: IpAddr,
    next_port: u16,
    buffers: (usize, usize),
    congestion: Option<String>,
}

fn time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// smoltcp's congestion control of a name.
fn congestion(name: Option<&str>) -> Result<CongestionControl, String> {
    match name {
        None | Some("none") => Ok(CongestionControl::None),
        Some("reno") => Ok(CongestionControl::Reno),
        Some("cubic") => Ok(CongestionControl::Cubic),
        Some(other) => {
            Err(format!("smoltcp has no congestion control '{other}'; it has none, reno and cubic"))
        }
    }
}

impl Smoltcp {
    /// # Errors
    /// A congestion control that it does not have.
    pub(crate) fn new(
        now: Instant,
        spec: &HostSpec,
        address: IpAddr,
        mtu: u16,
        seed: u64,
    ) -> Result<Self, String> {
        congestion(spec.congestion.as_deref())?;
        let mut port = Port { mtu: mtu.into(), arrived: VecDeque::new(), sent: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut port, time(now));
        let prefix = if address.is_ipv4() { 8 } else { 64 };
        interface.update_ip_addrs(|list| {
            // The list is empty, and it holds at least one.
            let _ = list.push(IpCidr::new(address.into(), prefix));
        });
        let size =
            |size: Option<Size>| size.map_or(BUFFER, |Size(n)| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(Self {
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            entries: Vec::new(),
            closing: Vec::new(),
            address,
            next_port: PORTS.0,
            buffers: (size(spec.recv_buffer), size(spec.send_buffer)),
            congestion: spec.congestion.clone(),
        })
    }

    fn socket(&mut self, settings: &Settings) -> Socket<'static> {
        let (recv, send) = self.buffers;
        let mut socket = Socket::new(SocketBuffer::new(vec![0; recv]), SocketBuffer::new(vec![0; send]));
        // The host's name was checked when it was made; a flow's may be one that only lastack has.
        let own = congestion(self.congestion.as_deref()).unwrap_or(CongestionControl::None);
        let wanted = settings.congestion.as_deref().map(|name| congestion(Some(name)));
        socket.set_congestion_control(wanted.and_then(Result::ok).unwrap_or(own));
        socket.set_nagle_enabled(!settings.nodelay);
        socket
    }

    fn keep(&mut self, entry: Entry) -> Sock {
        match self.entries.iter().position(|entry| matches!(entry, Entry::Free)) {
            Some(free) => {
                self.entries[free] = entry;
                free
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }

    fn tcp(&mut self, sock: Sock) -> Option<&mut Socket<'static>> {
        match self.entries.get(sock) {
            Some(Entry::Connection(handle)) => Some(self.sockets.get_mut(*handle)),
            _ => None,
        }
    }

    pub(super) fn receive(&mut self, _now: Instant, packet: &[u8]) {
        self.port.arrived.push_back(packet.to_vec());
    }

    /// Takes in what arrived. Answers wait for [`Smoltcp::transmit`], so that applications may act before.
    pub(super) fn act(&mut self, now: Instant) {
        self.interface.poll_maintenance(time(now));
        let Self { interface, port, sockets, .. } = self;
        while interface.poll_ingress_single(time(now), port, sockets) != PollIngressSingleResult::None {}
    }

    pub(super) fn transmit(&mut self, now: Instant, _frame: &mut [u8], mut send: impl FnMut(&[u8])) {
        self.interface.poll_egress(time(now), &mut self.port, &mut self.sockets);
        while let Some(packet) = self.port.sent.pop_front() {
            send(&packet);
        }
        let Self { closing, sockets, .. } = self;
        closing.retain(|handle| {
            let over = sockets.get::<Socket<'_>>(*handle).state() == State::Closed;
            if over {
                sockets.remove(*handle);
            }
            !over
        });
    }

    pub(super) fn next_time(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        let at = Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        // What was due was done; on its clock it is now a little earlier than on ours.
        Some(if at > now { at } else { now + std::time::Duration::from_micros(1) })
    }

    pub(super) fn events(&mut self, socks: &mut Vec<Sock>) {
        // It does not say which; there are few.
        let live = self.entries.iter().enumerate().filter(|(_, entry)| !matches!(entry, Entry::Free));
        socks.extend(live.map(|(sock, _)| sock));
    }

    pub(super) fn listen(
        &mut self,
        _now: Instant,
        at: SocketAddr,
        settings: &Settings,
    ) -> Result<Sock, Error> {
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG {
            waiting.push(self.listening(at, settings)?);
        }
        Ok(self.keep(Entry::Listener { at, settings: settings.clone(), waiting }))
    }

    fn listening(&mut self, at: SocketAddr, settings: &Settings) -> Result<SocketHandle, Error> {
        let mut socket = self.socket(settings);
        socket.listen(at.port()).map_err(|_| Error::InvalidInput)?;
        Ok(self.sockets.add(socket))
    }

    pub(super) fn accept(&mut self, listener: Sock) -> Option<(Sock, SocketAddr)> {
        let Some(Entry::Listener { at, settings, waiting }) = self.entries.get_mut(listener) else {
            return None;
        };
        let sockets = &mut self.sockets;
        let open = |handle: &SocketHandle| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            !matches!(state, State::Listen | State::SynReceived)
        };
        let index = waiting.iter().position(open)?;
        let (taken, at, settings) = (waiting.remove(index), *at, settings.clone());
        let peer = self.sockets.get::<Socket<'_>>(taken).remote_endpoint();
        let next = self.listening(at, &settings);
        if let (Some(Entry::Listener { waiting, .. }), Ok(next)) = (self.entries.get_mut(listener), next) {
            waiting.push(next);
        }
        let Some(peer) = peer else {
            // It was reset before anybody took it.
            self.sockets.remove(taken);
            return None;
        };
        let sock = self.keep(Entry::Connection(taken));
        Some((sock, SocketAddr::new(peer.addr.into(), peer.port)))
    }

    pub(super) fn connect(
        &mut self,
        _now: Instant,
        (port, to): (Option<u16>, SocketAddr),
        settings: &Settings,
    ) -> Result<(Sock, SocketAddr), Error> {
        let port = port.unwrap_or_else(|| {
            let port = self.next_port;
            self.next_port = if port == PORTS.1 { PORTS.0 } else { port + 1 };
            port
        });
        let mut socket = self.socket(settings);
        let remote = (IpAddress::from(to.ip()), to.port());
        socket.connect(self.interface.context(), remote, port).map_err(|_| Error::NetworkUnreachable)?;
        let handle = self.sockets.add(socket);
        Ok((self.keep(Entry::Connection(handle)), SocketAddr::new(self.address, port)))
    }

    pub(super) fn crossed(&mut self, sock: Sock) -> bool {
        self.tcp(sock).is_some_and(|socket| socket.state() == State::SynReceived)
    }

    pub(super) fn connected(&mut self, sock: Sock) -> Option<Result<(), Error>> {
        match self.tcp(sock)?.state() {
            State::SynSent | State::SynReceived => None,
            State::Closed => Some(Err(Error::ConnectionRefused)),
            _ => Some(Ok(())),
        }
    }

    pub(super) fn read(&mut self, _now: Instant, sock: Sock, buffer: &mut [u8]) -> Moved {
        let Some(socket) = self.tcp(sock) else { return Moved::Failed(Error::BadHandle) };
        match socket.recv_slice(buffer) {
            Ok(0) => Moved::Nothing,
            Ok(n) => Moved::Bytes(n),
            Err(RecvError::Finished) => Moved::End,
            Err(RecvError::InvalidState) => Moved::Failed(Error::ConnectionReset),
        }
    }

    pub(super) fn write(&mut self, _now: Instant, sock: Sock, bytes: &[u8]) -> Moved {
        let Some(socket) = self.tcp(sock) else { return Moved::Failed(Error::BadHandle) };
        match socket.send_slice(bytes) {
            Ok(0) => Moved::Nothing,
            Ok(n) => Moved::Bytes(n),
            Err(_) => Moved::Failed(Error::ConnectionReset),
        }
    }

    pub(super) fn shutdown(&mut self, _now: Instant, sock: Sock) -> Result<(), Error> {
        self.tcp(sock).ok_or(Error::BadHandle)?.close();
        Ok(())
    }

    pub(super) fn close(&mut self, _now: Instant, sock: Sock) {
        match self.entries.get_mut(sock).map(|entry| std::mem::replace(entry, Entry::Free)) {
            Some(Entry::Connection(handle)) => {
                let socket = self.sockets.get_mut::<Socket<'_>>(handle);
                socket.close();
                // Without it, it repeats for ever what a peer that is gone does not acknowledge.
                socket.set_timeout(Some(ORPHAN));
                self.closing.push(handle);
            }
            Some(Entry::Listener { waiting, .. }) => {
                for handle in waiting {
                    self.sockets.remove(handle);
                }
            }
            Some(Entry::Free) | None => {}
        }
    }

    pub(super) fn abort(&mut self, now: Instant, sock: Sock) {
        if let Some(socket) = self.tcp(sock) {
            socket.abort();
        }
        self.close(now, sock);
    }
}

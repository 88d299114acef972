//! A host that runs lastack: the core itself, without a thread or a device.

use super::{Ended, Moved, Settings, Sock};
use crate::scenario::HostSpec;
use crate::trace::Sample;
use crate::units::Size;
use lastack_core::config::{EcnPolicy, MtuProbing};
use lastack_core::wire::{Capabilities, PacketMeta};
use lastack_core::{
    Cidr, Config, Error, Event, Instant, Ready, Shutdown, Stack, State, TcpHandle, TcpOption, TransitionEvent,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections that may wait to be accepted.
const BACKLOG: usize = 4096;

/// A host that runs lastack.
pub(crate) struct Lastack {
    stack: Stack,
    address: IpAddr,
    /// Handles by [`Sock`], which is their index.
    handles: Vec<Option<TcpHandle>>,
    /// Numbers of the connections whose SYN met the peer's, until they are asked for.
    crossed: BTreeSet<u32>,
}

/// How a host of a scenario is configured.
pub(crate) fn configuration(spec: &HostSpec, address: IpAddr) -> Result<Config, String> {
    let prefix = if address.is_ipv4() { 8 } else { 64 };
    let cidr = Cidr::new(address, prefix).map_err(|error| error.to_string())?;
    let mut config = Config { addresses: vec![cidr], trace_transitions: true, ..Config::default() };
    let tcp = &mut config.tcp;
    tcp.sack = spec.sack.unwrap_or(tcp.sack);
    tcp.timestamps = spec.timestamps.unwrap_or(tcp.timestamps);
    tcp.window_scaling = spec.window_scaling.unwrap_or(tcp.window_scaling);
    if let Some(number) = spec.ecn {
        let policy = EcnPolicy::from_sysctl(number);
        tcp.ecn = policy
            .ok_or_else(|| format!("host {}: ecn is 0 to 5 as Linux's tcp_ecn, not {number}", spec.name))?;
    }
    if let Some(number) = spec.mtu_probing {
        tcp.mtu_probing = match number {
            0 => MtuProbing::Off,
            1 => MtuProbing::AfterBlackHole,
            2 => MtuProbing::Always,
            _ => return Err(format!("host {}: mtu-probing is 0, 1 or 2, not {number}", spec.name)),
        };
    }
    tcp.orphan_retries = spec.orphan_retries.unwrap_or(tcp.orphan_retries);
    (tcp.fast_open_server, tcp.fast_open_listeners) = (spec.fast_open, spec.fast_open);
    if let Some(congestion) = &spec.congestion {
        tcp.congestion.clone_from(congestion);
    }
    let size = |Size(bytes): Size| usize::try_from(bytes).unwrap_or(usize::MAX);
    tcp.send_buffer_max = spec.send_buffer.map_or(tcp.send_buffer_max, size);
    tcp.recv_buffer_max = spec.recv_buffer.map_or(tcp.recv_buffer_max, size);
    Ok(config)
}

impl Lastack {
    pub(crate) fn new(now: Instant, config: Config, mtu: u16, seed: [u8; 32]) -> Self {
        let address = config.addresses.first().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |cidr| cidr.addr());
        Self {
            stack: Stack::new(config, Capabilities::plain(mtu), seed, now),
            address,
            handles: Vec::new(),
            crossed: BTreeSet::new(),
        }
    }

    fn keep(&mut self, handle: TcpHandle) -> Sock {
        let index = handle.index();
        if self.handles.len() <= index {
            self.handles.resize(index + 1, None);
        }
        self.handles[index] = Some(handle);
        index
    }

    fn handle(&self, sock: Sock) -> Option<TcpHandle> {
        self.handles.get(sock).copied().flatten()
    }

    fn set(&mut self, now: Instant, handle: TcpHandle, settings: &Settings) -> Result<(), Error> {
        if let Some(name) = &settings.congestion {
            self.stack.tcp_set_option(now, handle, TcpOption::Congestion(name.clone()))?;
        }
        if settings.nodelay {
            self.stack.tcp_set_option(now, handle, TcpOption::NoDelay(true))?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, now: Instant, packet: &[u8]) {
        self.stack.receive(now, &PacketMeta::default(), packet);
    }

    pub(super) fn act(&mut self, now: Instant) {
        if self.stack.next_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
    }

    pub(super) fn transmit(&mut self, now: Instant, frame: &mut [u8], mut send: impl FnMut(&[u8])) {
        while let Some((len, _)) = self.stack.transmit(now, frame) {
            send(&frame[..len]);
        }
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        self.stack.next_timeout()
    }

    pub(super) fn events(&mut self, socks: &mut Vec<Sock>) {
        while let Some(event) = self.stack.poll_event() {
            if let Event::Tcp(handle, _) = event
                && self.handle(handle.index()) == Some(handle)
            {
                socks.push(handle.index());
            }
        }
    }

    pub(super) fn poll_ended(&mut self) -> Option<Ended> {
        while let Some(TransitionEvent { id, transition, ending, .. }) = self.stack.poll_transition() {
            if (transition.from, transition.to) == (State::SynSent, State::SynReceived) {
                self.crossed.insert(id.0);
            }
            if let Some(ending) = ending {
                return Some(Ended { id: id.0, ending });
            }
        }
        None
    }

    pub(super) fn id(&self, sock: Sock) -> Option<u32> {
        Some(self.stack.tcp_connection(self.handle(sock)?)?.0)
    }

    pub(super) fn listen(
        &mut self,
        now: Instant,
        at: SocketAddr,
        settings: &Settings,
    ) -> Result<Sock, Error> {
        let handle = self.stack.tcp_socket();
        self.set(now, handle, settings)?;
        self.stack.tcp_bind(handle, at)?;
        self.stack.tcp_listen(now, handle, BACKLOG)?;
        Ok(self.keep(handle))
    }

    pub(super) fn accept(&mut self, listener: Sock) -> Option<(Sock, SocketAddr)> {
        let handle = self.stack.tcp_accept(self.handle(listener)?).ok()?;
        // A connection that was reset meanwhile still has the address of its peer.
        let peer = self.stack.tcp_peer_addr(handle)?;
        Some((self.keep(handle), peer))
    }

    pub(super) fn connect(
        &mut self,
        now: Instant,
        (port, to): (Option<u16>, SocketAddr),
        settings: &Settings,
    ) -> Result<(Sock, SocketAddr), Error> {
        let handle = self.stack.tcp_socket();
        let began = self.set(now, handle, settings).and_then(|()| {
            if let Some(port) = port {
                self.stack.tcp_bind(handle, SocketAddr::new(self.address, port))?;
            }
            if settings.fast_open {
                self.stack.tcp_set_option(now, handle, TcpOption::FastOpenConnect(true))?;
            }
            self.stack.tcp_connect(now, handle, to)
        });
        match (began, self.stack.tcp_local_addr(handle)) {
            (Ok(()), Some(local)) => Ok((self.keep(handle), local)),
            (began, _) => {
                self.stack.tcp_close(now, handle);
                Err(began.err().unwrap_or(Error::AddrNotAvailable))
            }
        }
    }

    pub(super) fn crossed(&mut self, sock: Sock) -> bool {
        self.id(sock).is_some_and(|id| self.crossed.remove(&id))
    }

    pub(super) fn connected(&mut self, sock: Sock) -> Option<Result<(), Error>> {
        let handle = self.handle(sock)?;
        if !self.stack.tcp_ready(handle).intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
            return None;
        }
        Some(self.stack.tcp_take_error(handle).map_or(Ok(()), Err))
    }

    pub(super) fn read(&mut self, now: Instant, sock: Sock, buffer: &mut [u8]) -> Moved {
        let Some(handle) = self.handle(sock) else { return Moved::Failed(Error::BadHandle) };
        match self.stack.tcp_read(now, handle, buffer) {
            Ok(0) => Moved::End,
            result => moved(result),
        }
    }

    pub(super) fn write(&mut self, now: Instant, sock: Sock, bytes: &[u8]) -> Moved {
        let Some(handle) = self.handle(sock) else { return Moved::Failed(Error::BadHandle) };
        moved(self.stack.tcp_write(now, handle, bytes))
    }

    pub(super) fn shutdown(&mut self, now: Instant, sock: Sock) -> Result<(), Error> {
        let handle = self.handle(sock).ok_or(Error::BadHandle)?;
        self.stack.tcp_shutdown(now, handle, Shutdown::Write)
    }

    pub(super) fn close(&mut self, now: Instant, sock: Sock) {
        if let Some(handle) = self.handles.get_mut(sock).and_then(Option::take) {
            self.stack.tcp_close(now, handle);
        }
    }

    pub(super) fn abort(&mut self, now: Instant, sock: Sock) {
        if let Some(handle) = self.handles.get_mut(sock).and_then(Option::take) {
            self.stack.tcp_abort(now, handle);
        }
    }

    pub(super) fn sample(&self, now: Instant, sock: Sock) -> Option<Sample> {
        let info = self.stack.tcp_info(self.handle(sock)?)?;
        let segments = info.segments;
        let gone = segments.sacked + segments.lost;
        Some(Sample {
            at: now.as_nanos(),
            cwnd: info.cwnd,
            ssthresh: (info.ssthresh < i32::MAX as u32).then_some(info.ssthresh),
            segment: info.segment_payload.into(),
            srtt: info.srtt.as_micros() as u64,
            rto: info.rto.as_micros() as u64,
            unacked: info.unacked,
            in_flight: segments.unacked.saturating_sub(gone) + segments.retransmitted,
            delivered: info.bytes_acked,
            retransmissions: info.retransmissions,
            send_window: info.send_window,
            recovery: info.recovery_state,
        })
    }

    pub(super) fn leftovers(&self) -> Option<String> {
        if self.stack.is_idle() {
            return None;
        }
        let counts = self.stack.counts();
        Some(format!(
            "{} sockets ({} of them orphans), {} half-open requests, {} TIME_WAIT records, {} bytes in buffers",
            counts.sockets, counts.orphans, counts.requests, counts.time_wait, counts.buffer_bytes
        ))
    }
}

fn moved(result: Result<usize, Error>) -> Moved {
    match result {
        Ok(n) => Moved::Bytes(n),
        Err(Error::WouldBlock) => Moved::Nothing,
        Err(error) => Moved::Failed(error),
    }
}

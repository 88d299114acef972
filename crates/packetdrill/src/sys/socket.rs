//! Making, naming, opening and closing sockets (Linux `inet_create`, `inet_bind`, `inet_listen`, `inet_stream_connect`,
//! `inet_accept`, `inet_shutdown`, `inet_release`).

use super::files::{Kind, Phase, Socket};
use super::reports::Reports;
use super::{Machine, Pending};
use crate::call::{Address, Fd, Out, Outcome};
use lastack_core::{Error, SendFlags, Shutdown, State, TcpHandle};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Flags that may stand beside the type of a socket, and in `accept4`.
const SOCKET_FLAGS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
/// Largest `sockaddr` that the kernel copies in (`struct sockaddr_storage`).
const ADDRESS_MAX: u32 = 128;
/// Shortest `struct sockaddr_in6` that `bind` takes (RFC 2133's).
const V6_ADDRESS_MIN: u32 = 24;
/// `sizeof(struct sockaddr_in)`.
const V4_ADDRESS_LEN: u32 = 16;
/// `IPPROTO_MPTCP`.
const MPTCP: i32 = 262;

impl Machine {
    pub(super) fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Outcome, i32> {
        let flags = kind & !0xf;
        if flags & !SOCKET_FLAGS != 0 {
            return Err(libc::EINVAL);
        }
        let v6 = match domain {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(libc::EAFNOSUPPORT),
        };
        match (kind & 0xf, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => {}
            (_, p) if p != MPTCP && !(0..256).contains(&p) => return Err(libc::EINVAL),
            (libc::SOCK_STREAM, _) => return Err(libc::EPROTONOSUPPORT),
            (0 | 11.., _) => return Err(libc::EINVAL),
            _ => return Err(libc::ESOCKTNOSUPPORT),
        }
        let handle = self.stack.tcp_socket();
        let fd = self.add_socket(handle, v6, Phase::Unconnected, flags)?;
        Ok(Outcome::ok(fd.into()))
    }

    fn add_socket(&mut self, handle: TcpHandle, v6: bool, phase: Phase, flags: i32) -> Result<Fd, i32> {
        self.files.sockets_made += 1;
        let socket = Socket {
            handle,
            v6,
            phase,
            asks_cookie: false,
            receive_timeout: None,
            send_timeout: None,
            low_water: 1,
            tells_inq: false,
            send_buffer: None,
            receive_buffer: None,
            kept: BTreeMap::new(),
            reports: Reports::default(),
            cookie: self.files.sockets_made,
        };
        let kind = Kind::Socket(Box::new(socket));
        let added = self.files.add(kind, flags & libc::SOCK_NONBLOCK != 0, flags & libc::SOCK_CLOEXEC != 0);
        if added.is_err() {
            self.stack.tcp_close(self.now, handle);
        }
        added
    }

    pub(super) fn bind(&mut self, fd: Fd, address: &Address) -> Result<Outcome, i32> {
        let (handle, v6) = self.files.socket(fd).map(|socket| (socket.handle, socket.v6))?;
        let shortest = if v6 { V6_ADDRESS_MIN } else { V4_ADDRESS_LEN };
        let local = match address {
            Address::Null => return Err(libc::EFAULT),
            // An empty AF_UNSPEC is an old way to write INADDR_ANY.
            Address::Unspecified if !v6 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Address::Unspecified => return Err(libc::EAFNOSUPPORT),
            Address::Other { len, .. } if *len > ADDRESS_MAX || *len < shortest => return Err(libc::EINVAL),
            Address::Other { .. } => return Err(libc::EAFNOSUPPORT),
            Address::Inet(SocketAddr::V4(_)) if v6 => return Err(libc::EINVAL),
            Address::Inet(SocketAddr::V6(_)) if !v6 => return Err(libc::EAFNOSUPPORT),
            Address::Inet(address) => *address,
        };
        if v6 && mapped(local.ip()) && self.v6_only(handle) {
            return Err(libc::EINVAL);
        }
        self.stack.tcp_bind(handle, local).map_err(Error::errno)?;
        self.apply_header(fd)?;
        Ok(Outcome::ok(0))
    }

    fn v6_only(&self, handle: TcpHandle) -> bool {
        self.stack.tcp_options(handle).is_some_and(|options| options.v6_only)
    }

    pub(super) fn listen(&mut self, fd: Fd, backlog: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        let (handle, v6) = (socket.handle, socket.v6);
        if socket.phase != Phase::Unconnected {
            return Err(libc::EINVAL);
        }
        if self.stack.tcp_state(handle) == Some(State::Closed) && !self.is_bound(handle) && v6 {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            self.stack.tcp_bind(handle, any).map_err(Error::errno)?;
        }
        // A negative backlog is a large one: the kernel compares without sign.
        let backlog = usize::try_from(backlog).unwrap_or(usize::MAX);
        self.stack.tcp_listen(self.now, handle, backlog).map_err(Error::errno)?;
        Ok(Outcome::ok(0))
    }

    pub(super) fn is_bound(&self, handle: TcpHandle) -> bool {
        self.stack.tcp_local_addr(handle).is_some_and(|local| local.port() != 0)
    }

    pub(super) fn accept(&mut self, p: &mut Pending, fd: Fd, flags: i32) -> Result<Option<Outcome>, i32> {
        if flags & !SOCKET_FLAGS != 0 {
            return Err(libc::EINVAL);
        }
        let parent = self.files.socket(fd)?.clone();
        let waits = !self.files.get(fd).is_some_and(super::files::File::nonblocking);
        match self.stack.tcp_accept(parent.handle) {
            Ok(child) => {
                let new = self.add_socket(child, parent.v6, Phase::Connected, flags)?;
                let cookie = self.files.sockets_made;
                let socket = self.files.socket_mut(new)?;
                // A child is a copy of its listener.
                let reports = parent.reports.inherited();
                *socket = Socket { handle: child, phase: Phase::Connected, cookie, reports, ..parent };
                let peer = self.stack.tcp_peer_addr(child).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
                let peer = in_family(peer, parent.v6);
                Ok(Some(Outcome::with(new.into(), Out::Peer(peer))))
            }
            Err(Error::WouldBlock) if waits && !p.expired(self.now) => {
                Ok(p.wait(self.now, parent.receive_timeout))
            }
            Err(error) => Err(error.errno()),
        }
    }

    pub(super) fn connect(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        address: &Address,
    ) -> Result<Option<Outcome>, i32> {
        let file_waits = !self.files.get(fd).is_some_and(super::files::File::nonblocking);
        let socket = self.files.socket(fd)?;
        let (handle, phase, limit) = (socket.handle, socket.phase, socket.send_timeout);
        let mut under_way = libc::EINPROGRESS;
        if p.waits {
            // Judged already; only how it ends is still open.
        } else if *address == Address::Unspecified {
            self.disconnect(fd)?;
            return Ok(Some(Outcome::ok(0)));
        } else {
            match address {
                Address::Null => return Err(libc::EFAULT),
                Address::Other { len, .. } if *len > ADDRESS_MAX || *len < 2 => return Err(libc::EINVAL),
                _ => {}
            }
            match phase {
                Phase::Connected => return Err(libc::EISCONN),
                Phase::Connecting if self.defers_connect(handle) => return Err(libc::EISCONN),
                Phase::Connecting => under_way = libc::EALREADY,
                Phase::Unconnected => {
                    self.start_connect(fd, address, None)?;
                    if self.defers_connect(handle) {
                        return Ok(Some(Outcome::ok(0)));
                    }
                    let fast = self.stack.tcp_fast_open(handle).is_some_and(|fast| fast.connect);
                    self.files.socket_mut(fd)?.asks_cookie = fast;
                }
            }
        }
        match self.stack.tcp_state(handle) {
            Some(State::SynSent | State::SynReceived) => {
                if file_waits && !p.expired(self.now) {
                    if !p.waits {
                        p.count = usize::from(under_way == libc::EALREADY);
                    }
                    return Ok(p.wait(self.now, limit));
                }
                // The patience of a blocking call is over: the attempt goes on without it.
                let second = p.waits && p.count == 1;
                Err(if second { libc::EALREADY } else { under_way })
            }
            Some(State::Closed) => {
                let error = self.stack.tcp_take_error(handle).map_or(libc::ECONNABORTED, Error::errno);
                self.disconnect(fd)?;
                Err(error)
            }
            _ => {
                self.files.socket_mut(fd)?.phase = Phase::Connected;
                Ok(Some(Outcome::ok(0)))
            }
        }
    }

    /// The SYN, with text if there is some and it can; gives how many bytes that takes.
    pub(super) fn start_connect(
        &mut self,
        fd: Fd,
        address: &Address,
        text: Option<(&[u8], SendFlags)>,
    ) -> Result<usize, i32> {
        let (handle, v6) = self.files.socket(fd).map(|socket| (socket.handle, socket.v6))?;
        if self.stack.tcp_state(handle) != Some(State::Closed) {
            return Err(libc::EISCONN);
        }
        let remote = match address {
            Address::Inet(SocketAddr::V4(_)) if v6 => return Err(libc::EINVAL),
            Address::Inet(SocketAddr::V6(_)) if !v6 => return Err(libc::EAFNOSUPPORT),
            Address::Inet(remote) => *remote,
            Address::Other { len, .. } if *len < if v6 { V6_ADDRESS_MIN } else { V4_ADDRESS_LEN } => {
                return Err(libc::EINVAL);
            }
            _ => return Err(libc::EAFNOSUPPORT),
        };
        if v6 && mapped(remote.ip()) && self.v6_only(handle) {
            return Err(libc::ENETUNREACH);
        }
        let begun = match text {
            Some((text, flags)) => self.stack.tcp_connect_with(self.now, handle, remote, text, flags),
            None => self.stack.tcp_connect(self.now, handle, remote).map(|()| 0),
        };
        let taken = begun.map_err(|error| match error {
            // A broadcast or multicast peer is out of reach for TCP.
            Error::Prohibited => libc::ENETUNREACH,
            error => error.errno(),
        })?;
        self.apply_header(fd)?;
        self.files.socket_mut(fd)?.phase = Phase::Connecting;
        Ok(taken)
    }

    /// `connect` with AF_UNSPEC, and what a failed `connect` leaves: a socket as new, with its options and its port.
    pub(super) fn disconnect(&mut self, fd: Fd) -> Result<(), i32> {
        let now = self.now;
        let socket = self.files.socket_mut(fd)?;
        socket.asks_cookie = false;
        socket.phase = Phase::Unconnected;
        self.stack.tcp_disconnect(now, socket.handle).map_err(Error::errno)
    }

    pub(super) fn shutdown(&mut self, fd: Fd, how: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket_mut(fd)?;
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(libc::EINVAL),
        };
        let state = self.stack.tcp_state(socket.handle);
        if state == Some(State::SynSent) {
            self.disconnect(fd)?;
            return Ok(Outcome::ok(0));
        }
        if state == Some(State::Listen) && how != Shutdown::Write {
            socket.phase = Phase::Unconnected;
        } else if socket.phase == Phase::Connecting
            && !matches!(state, Some(State::SynReceived | State::Closed))
        {
            socket.phase = Phase::Connected;
        }
        self.stack.tcp_shutdown(self.now, socket.handle, how).map_err(Error::errno)?;
        Ok(Outcome::ok(0))
    }

    pub(super) fn close(&mut self, p: &mut Pending, fd: Fd) -> Result<Option<Outcome>, i32> {
        if p.waits {
            return Ok(self.linger(p));
        }
        match self.files.remove(fd).ok_or(libc::EBADF)?.kind {
            Kind::Socket(socket) => {
                let linger = self.stack.tcp_options(socket.handle).and_then(|options| options.linger);
                let connection = self.stack.tcp_connection(socket.handle);
                self.stack.tcp_close(self.now, socket.handle);
                if let (Some(time), Some(id)) = (linger.filter(|time| !time.is_zero()), connection) {
                    p.count = id.0 as usize;
                    if self.owes(p) {
                        return Ok(p.wait(self.now, Some(time)));
                    }
                }
            }
            Kind::PipeRead(number) => self.close_pipe_end(number, true),
            Kind::PipeWrite(number) => self.close_pipe_end(number, false),
            Kind::Epoll(_) => {}
        }
        Ok(Some(Outcome::ok(0)))
    }

    /// SO_LINGER with a time: `close` sleeps until the FIN is acknowledged or the time is over; both are a success.
    fn linger(&self, p: &Pending) -> Option<Outcome> {
        (!self.owes(p) || p.expired(self.now)).then(|| Outcome::ok(0))
    }

    /// The connection that `p` closes still owes its peer data or a FIN.
    fn owes(&self, p: &Pending) -> bool {
        self.stack.orphans().any(|orphan| {
            orphan.id.0 as usize == p.count
                && matches!(orphan.state, State::FinWait1 | State::Closing | State::LastAck)
        })
    }
}

fn mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// An address as a socket of the family shows it: IPv4 in IPv6 clothes at an AF_INET6 socket.
pub(super) fn in_family(addr: SocketAddr, v6: bool) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v6 => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        other => other,
    }
}

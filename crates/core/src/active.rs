//! The opener's side: `connect()`, with Fast Open or without (RFC 9293 3.10.1, RFC 7413; Linux `tcp_v4_connect`,
//! `tcp_v6_connect`).

use crate::ctx::Ctx;
use crate::error::Error;
use crate::port::{self, Availability};
use crate::socket::{TcpHandle, canonical};
use crate::stack::Stack;
use crate::tcp::marks::SendFlags;
use crate::tcp::state::{Cause, Initiator, State};
use crate::tcp::tcb::{Is, Tcb, Tuple};
use crate::time::Instant;
use core::net::SocketAddr;

impl Stack {
    /// Opens a connection (`connect()`): the SYN is queued. It is open when the socket becomes [`Ready::OUT`](crate::Ready::OUT) without
    /// [`Ready::ERR`](crate::Ready::ERR); otherwise [`Stack::tcp_take_error`] says why not.
    ///
    /// # Errors
    /// [`Error::InProgress`], [`Error::AlreadyConnected`], [`Error::InvalidInput`] (a listener),
    /// [`Error::Prohibited`] (a broadcast or multicast peer, MUST-46), [`Error::NetworkUnreachable`] (no route),
    /// [`Error::AddrNotAvailable`] (no port is left, or the four-tuple is taken).
    pub fn tcp_connect(&mut self, now: Instant, h: TcpHandle, remote: SocketAddr) -> Result<(), Error> {
        self.open(now, h, remote, Tcb::begin_connect)
    }

    /// Opens a connection with the first bytes to send (`sendto()` with MSG_FASTOPEN; RFC 7413): as [`Stack::tcp_connect`],
    /// but with a cookie of the server the SYN carries as much of `data` as it may. Gives how many bytes that is; the rest is
    /// written when the connection is open. Without a cookie it is nothing, and the SYN asks for one. Whatever the way does
    /// to the SYN, the bytes that were taken are delivered once the connection is open.
    ///
    /// A server may see the bytes twice, once in a connection that came to nothing, if the network repeats the SYN: they
    /// should be a request that may be repeated.
    ///
    /// # Errors
    /// [`Error::NotSupported`] without [`TcpConfig::fast_open_client`](crate::TcpConfig); those of [`Stack::tcp_connect`].
    pub fn tcp_connect_with(
        &mut self,
        now: Instant,
        h: TcpHandle,
        remote: SocketAddr,
        data: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Error> {
        if !self.cx.cfg.tcp.fast_open_client {
            return Err(Error::NotSupported);
        }
        self.open(now, h, remote, |tcb, cx| tcb.begin_fast(cx, data, flags))
    }

    /// Forgets the Fast Open cookies of all servers (`ip tcp_metrics flush`).
    pub fn forget_fast_open_cookies(&mut self) {
        self.cx.fast_open.forget_peers();
    }

    /// Uses Fast Open again that was left alone because the network seemed to swallow it
    /// ([`TcpConfig::fast_open_pause`](crate::TcpConfig); writing `tcp_fastopen_blackhole_timeout_sec`).
    pub fn resume_fast_open(&mut self) {
        self.cx.fast_open.forget_black_hole();
    }

    /// Chooses addresses and port, enters SYN_SENT, and lets `begin` send the SYN.
    fn open<R>(
        &mut self,
        now: Instant,
        h: TcpHandle,
        remote: SocketAddr,
        begin: impl FnOnce(&mut Tcb, &mut Ctx) -> R,
    ) -> Result<R, Error> {
        self.set_now(now);
        let remote = canonical(remote);
        let tcb = self.tcb(h)?;
        match tcb.state() {
            State::SynSent | State::SynReceived => return Err(Error::InProgress),
            State::Listen => return Err(Error::InvalidInput),
            State::Closed if !tcb.is(Is::LEFT) => {}
            _ => return Err(Error::AlreadyConnected),
        }
        if remote.port() == 0 || remote.ip().is_unspecified() {
            return Err(Error::AddrNotAvailable);
        }
        if self.ip.is_group(remote.ip()) {
            return Err(Error::Prohibited);
        }
        let bound = tcb.is(Is::BOUND).then_some(tcb.tuple.local_addr());
        let (source, path_mtu) = self.route(remote.ip())?;
        let local = bound.map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified()).unwrap_or(source);
        if local.is_ipv6() != remote.is_ipv6() {
            return Err(Error::AddressFamily);
        }
        let mut tuple = Tuple {
            local: local.into(),
            remote: remote.ip().into(),
            local_port: bound.map_or(0, |addr| addr.port()),
            remote_port: remote.port(),
        };
        let availability = if tuple.local_port == 0 {
            let (port, availability) =
                port::choose(&mut self.tables, &self.cx, &tuple).ok_or(Error::AddrNotAvailable)?;
            tuple.local_port = port;
            availability
        } else {
            port::availability(&self.tables, &self.cx, &tuple)
        };
        let inherited = match availability {
            Availability::Taken => return Err(Error::AddrNotAvailable),
            Availability::Free => None,
            Availability::Reusable(found, inheritance) => {
                self.remove_time_wait(found, Cause::TimeWaitReuse, Initiator::Local);
                Some(inheritance)
            }
        };
        let begun = self.act(h, |tcb, cx| {
            tcb.tuple = tuple;
            if let Some(inherited) = inherited {
                tcb.ts_recent = inherited.ts_recent;
                tcb.ts_recent_at = cx.now;
            }
            let (isn, ts_offset) = cx.first_numbers(&tuple);
            let iss = inherited.map_or(isn, |inherited| inherited.iss);
            tcb.enter_syn_sent(cx, path_mtu, (iss, ts_offset));
            Ok(begin(tcb, cx))
        })?;
        self.index_connection(h.0);
        Ok(begun)
    }
}

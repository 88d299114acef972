//! What an application may do with a TCP socket, and exactly what it sees (section by section as a Linux socket behaves:
//! `inet_stream_ops`, `tcp_sendmsg`, `tcp_recvmsg`, `tcp_poll`). Every front end is a thin shell around these calls.
//!
//! No call waits. Where Linux would sleep the result is [`Error::WouldBlock`], and an [`Event`](crate::Event) tells when
//! to try again. A stored error is given once, by whichever call comes first.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::{ConnectionId, Ready, Transition};
use crate::ip::IcmpUnreach;
use crate::slab::Key;
use crate::stack::Stack;
use crate::tcp::ending::Ending;
use crate::tcp::fast_open::{FastOpenKeys, FastOpenOptions};
use crate::tcp::info::TcpInfo;
use crate::tcp::listen::Listen;
use crate::tcp::marks::SendFlags;
use crate::tcp::options::{Knob, Options as Knobs, SocketOptions, TcpOption};
use crate::tcp::set_state::set_state;
use crate::tcp::state::{Cause, Initiator, State};
use crate::tcp::tcb::{Is, Tcb, Tuple};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// A TCP socket of one stack. Valid until `tcp_close` or `tcp_abort`; afterwards calls give [`Error::BadHandle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpHandle(pub(crate) Key);

impl TcpHandle {
    /// A small number that no other live socket of the stack has: an index for the owner's tables. It is reused after
    /// the socket is gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index() as usize
    }
}

/// Which directions to shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`: reads give end of file once the queue is empty. Nothing is sent.
    Read,
    /// `SHUT_WR`: the FIN.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// A request at a deferring listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingId(Key);

/// A connection request to decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// For [`Stack::tcp_pending_accept`] and [`Stack::tcp_pending_refuse`].
    pub id: PendingId,
    /// Number of the connection that it may become.
    pub connection: ConnectionId,
    /// The address the peer wants.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
}

/// How to refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RST: the peer sees ECONNREFUSED.
    Reset,
    /// An ICMP error: the peer sees EHOSTUNREACH, ENETUNREACH and the like.
    Unreachable(IcmpUnreach),
    /// Nothing: the peer repeats its SYN and times out.
    Silent,
}

impl Stack {
    pub(crate) fn tcb(&self, h: TcpHandle) -> Result<&Tcb, Error> {
        self.tables.connections.get(h.0).filter(|tcb| tcb.is(Is::OWNED)).ok_or(Error::BadHandle)
    }

    /// Runs `f` on an owned socket, then settles what it left.
    pub(crate) fn act<R>(
        &mut self,
        h: TcpHandle,
        f: impl FnOnce(&mut Tcb, &mut Ctx) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let Self { cx, tables, .. } = self;
        match tables.connections.get_mut(h.0) {
            Some(tcb) if tcb.is(Is::OWNED) => {
                let result = f(tcb, cx);
                if tcb.is(Is::LEFT) {
                    self.settle(h.0);
                }
                result
            }
            _ => Err(Error::BadHandle),
        }
    }

    /// A new socket in CLOSED (`socket()`).
    pub fn tcp_socket(&mut self) -> TcpHandle {
        let Self { cx, tables, .. } = self;
        let knobs = Knobs::new(&cx.cfg.tcp);
        TcpHandle(tables.connections.insert_with(|key| Tcb::new(cx, key, knobs)))
    }

    /// Binds to a local address (`bind()`); port 0 takes a free ephemeral port. With [`TcpOption::AnyPort`] the port must
    /// be 0 and stays open for all.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`]: not an address of this stack. [`Error::AddrInUse`]: taken, see
    /// [`TcpOption::ReuseAddr`]. [`Error::InvalidInput`]: bound already, or a multicast address.
    pub fn tcp_bind(&mut self, h: TcpHandle, local: SocketAddr) -> Result<(), Error> {
        let tcb = self.tcb(h)?;
        if tcb.state() != State::Closed || tcb.is(Is::BOUND) || tcb.is(Is::LEFT) {
            return Err(Error::InvalidInput);
        }
        let local = canonical(local);
        let ip = local.ip();
        if !ip.is_unspecified() && !self.ip.may_use(ip) {
            return Err(Error::AddrNotAvailable);
        }
        let any_port = tcb.knobs.has(Knob::ANY_PORT);
        if any_port && local.port() != 0 {
            return Err(Error::InvalidInput);
        }
        let port = match local.port() {
            0 if any_port => 0,
            0 => self.free_port(h.0, ip).ok_or(Error::AddrInUse)?,
            port if self.tables.bind_conflicts(h.0, SocketAddr::new(ip, port), false) => {
                return Err(Error::AddrInUse);
            }
            port => port,
        };
        if !any_port {
            self.tables.bind(port, h.0);
        }
        if let Some(tcb) = self.tables.connections.get_mut(h.0) {
            tcb.tuple.local = ip.into();
            tcb.tuple.local_port = port;
            tcb.is.insert(Is::BOUND);
        }
        Ok(())
    }

    /// A port that nobody is bound to, from a random start.
    fn free_port(&mut self, key: Key, ip: IpAddr) -> Option<u16> {
        let (low, high) = self.cx.cfg.ephemeral_ports;
        let count = u32::from(high.saturating_sub(low)) + 1;
        let start = self.cx.random() % count;
        (0..count)
            .map(|step| low + ((start + step) % count) as u16)
            .find(|port| !self.tables.bind_conflicts(key, SocketAddr::new(ip, *port), true))
    }

    /// Listens for connections (`listen()`): `backlog` completed ones may wait plus one, and as many half-open ones. A
    /// second call changes the backlog.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the socket is connected; [`Error::AddrInUse`] if another socket listens there.
    pub fn tcp_listen(&mut self, now: Instant, h: TcpHandle, backlog: usize) -> Result<(), Error> {
        self.set_now(now);
        let backlog = backlog.min(self.cx.cfg.tcp.somaxconn);
        let tcb = self.tcb(h)?;
        if tcb.state() == State::Listen {
            return self.act(h, |tcb, _| {
                if let Some(listen) = tcb.rare.get(|rare| &mut rare.listen) {
                    listen.backlog = backlog;
                }
                Ok(())
            });
        }
        if tcb.state() != State::Closed || tcb.is(Is::LEFT) {
            return Err(Error::InvalidInput);
        }
        if !tcb.is(Is::BOUND) {
            let local = SocketAddr::new(tcb.tuple.local.ip(), 0);
            self.tcp_bind(h, local)?;
        }
        let tcb = self.tcb(h)?;
        let (local, any_port) = (tcb.tuple.local_addr(), tcb.knobs.has(Knob::ANY_PORT));
        if any_port {
            if self.tables.any_port_conflicts(h.0) {
                return Err(Error::AddrInUse);
            }
            self.tables.bind_any_port(h.0);
        } else if self.listeners_clash(h.0, local) {
            return Err(Error::AddrInUse);
        }
        self.act(h, |tcb, cx| {
            tcb.rare.parts().listen = Some(Box::new(Listen { backlog, ..Listen::default() }));
            tcb.listen_fast(&cx.cfg.tcp, backlog);
            set_state(tcb, cx, State::Listen, Cause::Listen, Initiator::Local);
            Ok(())
        })
    }

    /// Another listener on the same address, without `SO_REUSEPORT` on both.
    fn listeners_clash(&self, key: Key, local: SocketAddr) -> bool {
        self.tables.bind_conflicts(key, local, true)
            && self.tables.connections.iter().any(|(other, tcb)| {
                let me = self.tables.connections.get(key);
                let shared =
                    me.is_some_and(|me| me.knobs.has(Knob::REUSE_PORT)) && tcb.knobs.has(Knob::REUSE_PORT);
                other != key
                    && tcb.state() == State::Listen
                    && tcb.tuple.local_port == local.port()
                    && !shared
                    && (tcb.tuple.local.ip() == local.ip()
                        || tcb.tuple.local.ip().is_unspecified()
                        || local.ip().is_unspecified())
            })
    }

    /// Takes a completed connection from a listener (`accept()`). Linux hands out connections that were reset while
    /// they waited, and so does this.
    ///
    /// # Errors
    /// [`Error::WouldBlock`]; [`Error::InvalidInput`] if the socket does not listen.
    pub fn tcp_accept(&mut self, h: TcpHandle) -> Result<TcpHandle, Error> {
        let child = self.act(h, |tcb, _| {
            let listen = tcb.rare.get(|rare| &mut rare.listen).ok_or(Error::InvalidInput)?;
            listen.accept.pop_front().ok_or(Error::WouldBlock)
        })?;
        if let Some(tcb) = self.tables.connections.get_mut(child) {
            tcb.is.remove(Is::UNACCEPTED);
            tcb.is.insert(Is::OWNED);
            tcb.parent = None;
        }
        Ok(TcpHandle(child))
    }

    /// The next request at a deferring listener ([`TcpOption::Defer`]); each is given once.
    pub fn tcp_next_pending(&mut self, h: TcpHandle) -> Option<PendingRequest> {
        let key = self
            .act(h, |tcb, _| {
                let listen = tcb.rare.get(|rare| &mut rare.listen).ok_or(Error::InvalidInput)?;
                listen.undecided.pop_front().ok_or(Error::WouldBlock)
            })
            .ok()?;
        let request = self.tables.requests.get(key)?;
        Some(PendingRequest {
            id: PendingId(key),
            connection: request.id,
            local: request.tuple.local_addr(),
            remote: request.tuple.remote_addr(),
        })
    }

    /// Goes on with a pending request: the SYN-ACK goes out, and when the peer answers, [`Stack::tcp_accept`] gives the
    /// connection.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if the request is gone: the peer reset it, it was decided, it expired, or its listener closed.
    pub fn tcp_pending_accept(&mut self, now: Instant, id: PendingId) -> Result<(), Error> {
        self.set_now(now);
        self.accept_pending(id.0).then_some(()).ok_or(Error::BadHandle)
    }

    /// Refuses a pending request.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if the request is gone.
    pub fn tcp_pending_refuse(&mut self, now: Instant, id: PendingId, how: Refusal) -> Result<(), Error> {
        self.set_now(now);
        let (reset, unreachable) = match how {
            Refusal::Reset => (true, None),
            Refusal::Unreachable(kind) => (false, Some(kind)),
            Refusal::Silent => (false, None),
        };
        self.refuse_pending(id.0, reset, unreachable).then_some(()).ok_or(Error::BadHandle)
    }

    /// Whether a pending request still waits for its decision: the peer may have given up.
    #[must_use]
    pub fn tcp_is_pending(&self, id: PendingId) -> bool {
        self.tables.requests.get(id.0).is_some_and(|request| request.deferred)
    }

    /// Reads (`recv()`). `Ok(0)` is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`]; [`Error::NotConnected`]; the stored error once (RST, timeout), after the data that came
    /// before it. After the peer's FIN an error never shows here.
    pub fn tcp_read(&mut self, now: Instant, h: TcpHandle, buf: &mut [u8]) -> Result<usize, Error> {
        self.set_now(now);
        self.act(h, |tcb, cx| tcb.read(cx, buf))
    }

    /// Reads without taking (`MSG_PEEK`). As [`Stack::tcp_read`], but a stored error stays.
    pub fn tcp_peek(&mut self, h: TcpHandle, buf: &mut [u8]) -> Result<usize, Error> {
        self.act(h, |tcb, _| tcb.peek(buf))
    }

    /// Takes the urgent byte (`MSG_OOB`).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if it is announced and not here; [`Error::InvalidInput`] if there is none.
    pub fn tcp_read_urgent(&mut self, h: TcpHandle) -> Result<u8, Error> {
        self.act(h, |tcb, _| tcb.read_urgent(false))
    }

    /// Looks at the urgent byte (`MSG_OOB | MSG_PEEK`). As [`Stack::tcp_read_urgent`], but it stays.
    pub fn tcp_peek_urgent(&mut self, h: TcpHandle) -> Result<u8, Error> {
        self.act(h, |tcb, _| tcb.read_urgent(true))
    }

    /// The next byte to read is the one at the urgent mark (`SIOCATMARK`).
    #[must_use]
    pub fn tcp_at_mark(&self, h: TcpHandle) -> bool {
        self.tcb(h).is_ok_and(Tcb::at_urgent_mark)
    }

    /// Writes (`send()`); gives the number of bytes taken, at least 1 of a `buf` that is not empty.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] while connecting or when the buffer is full; [`Error::BrokenPipe`] when nobody will read it
    /// (with a stored error, that one first).
    pub fn tcp_write(&mut self, now: Instant, h: TcpHandle, buf: &[u8]) -> Result<usize, Error> {
        self.tcp_send(now, h, buf, SendFlags::empty())
    }

    /// Writes with flags (`send()`). As [`Stack::tcp_write`].
    pub fn tcp_send(
        &mut self,
        now: Instant,
        h: TcpHandle,
        buf: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Error> {
        self.set_now(now);
        self.act(h, |tcb, cx| tcb.write(cx, buf, flags))
    }

    /// Ends a write that was made in pieces with [`SendFlags::MORE`]: what is queued is pushed.
    pub fn tcp_push(&mut self, now: Instant, h: TcpHandle) {
        self.set_now(now);
        let _ = self.act(h, |tcb, cx| {
            tcb.push_queued();
            cx.want_output(tcb);
            Ok(())
        });
    }

    /// Shuts directions down (`shutdown()`). Shutting the sending direction queues the FIN.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn tcp_shutdown(&mut self, now: Instant, h: TcpHandle, how: Shutdown) -> Result<(), Error> {
        self.set_now(now);
        let read = how != Shutdown::Write;
        let write = how != Shutdown::Read;
        let tcb = self.tcb(h)?;
        match tcb.state() {
            _ if tcb.is(Is::LEFT) => Err(Error::NotConnected),
            // Refused, and remembered all the same, by Linux's custom.
            State::Closed => self.act(h, |tcb, cx| {
                tcb.is.set(Is::RCV_SHUT, read || tcb.is(Is::RCV_SHUT));
                tcb.is.set(Is::SND_SHUT, write || tcb.is(Is::SND_SHUT));
                cx.signal(tcb, Ready::IN | Ready::OUT | Ready::RDHUP);
                Err(Error::NotConnected)
            }),
            State::TimeWait => Err(Error::NotConnected),
            State::Listen => {
                if read {
                    self.stop_listening(h.0, Cause::Shutdown, Initiator::Local);
                }
                Ok(())
            }
            State::SynSent => self.act(h, |tcb, cx| {
                tcb.disconnect(cx, Cause::Shutdown);
                Ok(())
            }),
            _ => self.act(h, |tcb, cx| {
                tcb.shutdown(cx, read, write);
                let hup = if tcb.is_shut_both() { Ready::HUP } else { Ready::empty() };
                cx.signal(tcb, Ready::IN | Ready::OUT | Ready::RDHUP | hup);
                Ok(())
            }),
        }
    }

    /// Closes (`close()`), at once: the handle is gone. What was written is still delivered, then the FIN; with unread
    /// data or linger 0 the peer gets a RST instead. What is left belongs to nobody and ends within the bounds of
    /// [`TcpConfig`](crate::TcpConfig): see [`Stack::orphans`].
    pub fn tcp_close(&mut self, now: Instant, h: TcpHandle) {
        self.set_now(now);
        match self.tcb(h).map(Tcb::state) {
            Ok(State::Listen) => self.stop_listening(h.0, Cause::Close, Initiator::Local),
            Ok(_) => {}
            Err(_) => return,
        }
        self.with(h.0, |tcb, cx| {
            tcb.close(cx);
            // A socket that never left CLOSED has nothing to settle but itself.
            if tcb.state() == State::Closed {
                tcb.is.insert(Is::LEFT);
            }
        });
        self.free_if_unheld(h.0);
    }

    /// Dissolves the association (`connect()` with AF_UNSPEC; Linux `tcp_disconnect`): as [`Stack::tcp_abort`], but the
    /// handle stays, with its options and the address that it was bound to, and may connect or listen again.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_disconnect(&mut self, now: Instant, h: TcpHandle) -> Result<(), Error> {
        self.set_now(now);
        let tcb = self.tcb(h)?;
        // What the program aborts it is told of afterwards, by Linux's odd custom.
        let aborts = !tcb.is(Is::LEFT) && (tcb.state() == State::SynSent || tcb.needs_reset());
        if tcb.state() == State::Listen {
            self.stop_listening(h.0, Cause::Abort, Initiator::Local);
        } else {
            self.with(h.0, |tcb, cx| tcb.disconnect(cx, Cause::Abort));
        }
        let Self { cx, tables, .. } = self;
        let tcb = tables.connections.get_mut(h.0).ok_or(Error::BadHandle)?;
        tcb.rcv_buf.clear(&mut cx.pool);
        tcb.timers.clear_all(&mut cx.wheel);
        let mut fresh = Tcb::new(cx, h.0, tcb.knobs);
        fresh.knobs.window_clamp = 0;
        fresh.is.insert(tcb.is.get() & (Is::BOUND | Is::SIGNALLED | Is::QUEUED));
        fresh.news = tcb.news;
        if let Some(fast) = &tcb.rare.fast_open {
            fresh.rare.parts().fast_open = Some(Box::new(fast.kept()));
        }
        fresh.error = if aborts { Some(Error::ConnectionReset) } else { tcb.error };
        if tcb.is(Is::BOUND) {
            fresh.tuple =
                Tuple { local: tcb.tuple.local, local_port: tcb.tuple.local_port, ..Tuple::UNBOUND };
        }
        *tcb = fresh;
        Ok(())
    }

    /// Aborts (RFC 9293 3.10.5; Linux `disconnect`, linger 0): a RST where the peer has a record, and everything queued
    /// is dropped. The handle is gone.
    pub fn tcp_abort(&mut self, now: Instant, h: TcpHandle) {
        self.set_now(now);
        if self.tcb(h).is_ok_and(|tcb| tcb.state() == State::Listen) {
            self.stop_listening(h.0, Cause::Abort, Initiator::Local);
        } else if self.tcb(h).is_ok() {
            self.with(h.0, |tcb, cx| tcb.disconnect(cx, Cause::Abort));
        }
        self.tcp_close(now, h);
    }

    /// A listener ends: its half-open requests are forgotten, its unaccepted connections reset.
    pub(crate) fn stop_listening(&mut self, key: Key, cause: Cause, initiator: Initiator) {
        let Some(tcb) = self.tables.connections.get_mut(key) else { return };
        let Some(listen) = tcb.rare.existing().and_then(|rare| rare.listen.take()) else { return };
        let (port, any_port) = (tcb.tuple.local_port, tcb.knobs.has(Knob::ANY_PORT));
        let requests: Vec<Key> = self
            .tables
            .requests
            .iter()
            .filter(|(_, request)| request.listener == key)
            .map(|(request, _)| request)
            .collect();
        for request in requests {
            self.remove_request(request, Cause::ListenerClosed, Initiator::Administrator);
        }
        for child in listen.accept {
            self.with(child, |tcb, cx| {
                tcb.is.remove(Is::UNACCEPTED);
                if !tcb.is(Is::LEFT) {
                    tcb.abort_with(cx, Cause::ListenerClosed);
                }
            });
            self.free_if_unheld(child);
        }
        if any_port {
            self.tables.unbind(port, key);
        }
        self.with(key, |tcb, cx| {
            set_state(tcb, cx, State::Closed, cause, initiator);
            // The socket keeps its port and may listen again.
            tcb.is.remove(Is::LEFT);
        });
    }

    /// The stored error (`SO_ERROR`), once.
    pub fn tcp_take_error(&mut self, h: TcpHandle) -> Option<Error> {
        self.act(h, |tcb, _| Ok(tcb.error.take())).ok().flatten()
    }

    /// The error that ICMP has reported of an open connection, once (Linux gives it as `SO_ERROR` too).
    pub fn tcp_take_soft_error(&mut self, h: TcpHandle) -> Option<Error> {
        self.act(h, |tcb, _| Ok(tcb.soft_error.take())).ok().flatten()
    }

    /// What the socket is ready for (`poll()`).
    #[must_use]
    pub fn tcp_ready(&self, h: TcpHandle) -> Ready {
        self.tcb(h).map_or(Ready::ERR | Ready::HUP, |tcb| tcb.ready())
    }

    /// Local address, once bound or connected.
    #[must_use]
    pub fn tcp_local_addr(&self, h: TcpHandle) -> Option<SocketAddr> {
        self.tcb(h).ok().map(|tcb| tcb.tuple.local_addr())
    }

    /// The peer's address, once a connection was begun; it stays after the end.
    #[must_use]
    pub fn tcp_peer_addr(&self, h: TcpHandle) -> Option<SocketAddr> {
        self.tcb(h).ok().map(|tcb| tcb.tuple.remote_addr()).filter(|addr| addr.port() != 0)
    }

    /// State; CLOSED when a TIME_WAIT record has taken over (as `TCP_INFO` on Linux).
    #[must_use]
    pub fn tcp_state(&self, h: TcpHandle) -> Option<State> {
        self.tcb(h).ok().map(|tcb| if tcb.is(Is::LEFT) { State::Closed } else { tcb.state() })
    }

    /// The connection's number in traces.
    #[must_use]
    pub fn tcp_connection(&self, h: TcpHandle) -> Option<ConnectionId> {
        self.tcb(h).ok().map(|tcb| tcb.id)
    }

    /// A snapshot of the connection.
    #[must_use]
    pub fn tcp_info(&self, h: TcpHandle) -> Option<TcpInfo> {
        self.tcb(h).ok().map(|tcb| tcb.info(&self.cx))
    }

    /// The connection's last transitions, oldest first.
    #[must_use]
    pub fn tcp_history(&self, h: TcpHandle) -> Vec<Transition> {
        self.tcb(h).map(|tcb| tcb.history.iter().collect()).unwrap_or_default()
    }

    /// How the connection ended; `None` while it lives, and for a socket that never had one. A connection in TIME_WAIT
    /// has ended. What became of it after its handle was given back is told by
    /// [`TransitionEvent::ending`](crate::TransitionEvent::ending).
    #[must_use]
    pub fn tcp_close_report(&self, h: TcpHandle) -> Option<Ending> {
        self.tcb(h).ok().and_then(Tcb::ending)
    }

    /// Bytes written that the peer has not acknowledged, and 1 for a FIN (`SIOCOUTQ`).
    #[must_use]
    pub fn tcp_unacked(&self, h: TcpHandle) -> usize {
        self.tcb(h).map_or(0, |tcb| tcb.owed())
    }

    /// Of a listener: connections that wait to be accepted, and how many may (`tcpi_unacked`, `tcpi_sacked` of LISTEN).
    #[must_use]
    pub fn tcp_backlog(&self, h: TcpHandle) -> Option<(usize, usize)> {
        let listen = self.tcb(h).ok()?.rare.listen.as_ref()?;
        Some((listen.accept.len(), listen.backlog))
    }

    /// How a socket uses Fast Open.
    #[must_use]
    pub fn tcp_fast_open(&self, h: TcpHandle) -> Option<FastOpenOptions> {
        self.tcb(h).ok().map(Tcb::fast_open_options)
    }

    /// The keys of a socket's Fast Open cookies (`TCP_FASTOPEN_KEY`): its own or the stack's.
    #[must_use]
    pub fn tcp_fast_open_keys(&self, h: TcpHandle) -> Option<FastOpenKeys> {
        let own = self.tcb(h).ok()?.rare.fast_open.as_ref().and_then(|fast| fast.keys);
        Some(own.unwrap_or_else(|| self.cx.fast_open_keys()))
    }

    /// The socket's timestamp clock, in milliseconds (RFC 7323).
    #[must_use]
    pub fn tcp_timestamp(&self, now: Instant, h: TcpHandle) -> u32 {
        self.tcb(h).map_or(0, |tcb| tcb.ts_now(now))
    }

    /// Sets an option (`setsockopt()`).
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the value is out of range or comes too late; [`Error::NoSuchAlgorithm`].
    pub fn tcp_set_option(&mut self, now: Instant, h: TcpHandle, option: TcpOption) -> Result<(), Error> {
        self.set_now(now);
        self.act(h, |tcb, cx| tcb.set_option(cx, &option))
    }

    /// The options' values.
    #[must_use]
    pub fn tcp_options(&self, h: TcpHandle) -> Option<SocketOptions> {
        self.tcb(h).ok().map(|tcb| tcb.knobs.to_public())
    }
}

/// An IPv4 address in IPv6 clothes is an IPv4 address.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

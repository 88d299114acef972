//! What the blocking and the tokio sockets have in common: a handle that is given back when it is dropped, calls
//! under the shard's lock, and waiting.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lastack_core::{
    Cause, ConnectionId, Ending, Error, Instant, Ready, SendFlags, Shutdown, SocketOptions, Stack, State,
    TcpHandle, TcpInfo, TcpOption, Transition, Why,
};

use crate::error::{ConnectionError, error_of_cause};
use crate::host::{Delivery, Host, Interest, Loss, Owner, Release, Shard, Shared, gone, wants};

/// Bytes copied in one holding of the lock.
pub(crate) const CHUNK: usize = 64 << 10;

/// A TCP socket of a host. Dropping it is `close()`.
#[derive(Debug)]
pub(crate) struct TcpSock {
    pub(crate) owner: Arc<Owner>,
    handle: TcpHandle,
}

impl Drop for TcpSock {
    fn drop(&mut self) {
        self.release(Release::Close);
    }
}

impl TcpSock {
    pub(crate) fn open(host: &Host) -> io::Result<Self> {
        let owner = Arc::clone(&host.owner);
        let opened = owner.shared.look(|shard, _| shard.open_tcp());
        match opened {
            Ok(handle) => Ok(Self { owner, handle }),
            Err(e) => Err(owner.error(e)),
        }
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Gives the handle back; a second time nothing happens.
    pub(crate) fn release(&self, how: Release) {
        self.shared().with(|shard, now| shard.release_tcp(now, self.handle, how));
    }

    // --- calls ---

    /// A call that may give the driver something to send.
    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&mut Stack, Instant, TcpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        self.shared().with(|shard, now| {
            f(&mut shard.stack, now, self.handle).map_err(|e| explain(shard, self.handle, e))
        })
    }

    /// A call that only looks.
    pub(crate) fn look<R>(
        &self,
        f: impl FnOnce(&mut Stack, Instant, TcpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        self.shared().look(|shard, now| {
            f(&mut shard.stack, now, self.handle).map_err(|e| explain(shard, self.handle, e))
        })
    }

    pub(crate) fn bind(&self, local: SocketAddr) -> io::Result<()> {
        self.call(|stack, _, handle| stack.tcp_bind(handle, local))
    }

    pub(crate) fn listen(&self, backlog: usize) -> io::Result<()> {
        self.call(|stack, now, handle| stack.tcp_listen(now, handle, backlog))
    }

    pub(crate) fn try_accept(&self) -> io::Result<(Self, SocketAddr)> {
        self.shared().look(|shard, _| self.accept(shard).map_err(|e| explain(shard, self.handle, e)))
    }

    fn accept(&self, shard: &mut Shard) -> Result<(Self, SocketAddr), Error> {
        let handle = shard.accept(self.handle)?;
        let remote = shard.stack.tcp_peer_addr(handle).unwrap_or(UNKNOWN);
        Ok((Self { owner: Arc::clone(&self.owner), handle }, remote))
    }

    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (buf, _) = buf.split_at_mut(buf.len().min(CHUNK));
        self.call(|stack, now, handle| stack.tcp_read(now, handle, buf))
    }

    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let buf = buf.get(..CHUNK).unwrap_or(buf);
        self.call(|stack, now, handle| stack.tcp_write(now, handle, buf))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.call(|stack, now, handle| stack.tcp_shutdown(now, handle, how))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.look(|stack, _, handle| stack.tcp_local_addr(handle).ok_or(Error::BadHandle))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.look(|stack, _, handle| stack.tcp_peer_addr(handle).ok_or(Error::NotConnected))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.shared().look(|shard, _| {
            let error = shard.stack.tcp_take_error(self.handle);
            Ok(error.map(|e| explain(shard, self.handle, e)))
        })
    }

    pub(crate) fn set_option(&self, option: TcpOption) -> io::Result<()> {
        self.call(|stack, now, handle| stack.tcp_set_option(now, handle, option))
    }

    pub(crate) fn options(&self) -> io::Result<SocketOptions> {
        self.look(|stack, _, handle| stack.tcp_options(handle).ok_or(Error::BadHandle))
    }

    pub(crate) fn info(&self) -> io::Result<TcpInfo> {
        self.look(|stack, _, handle| stack.tcp_info(handle).ok_or(Error::BadHandle))
    }

    pub(crate) fn history(&self) -> Vec<Transition> {
        self.shared().look(|shard, _| shard.stack.tcp_history(self.handle))
    }

    pub(crate) fn close_report(&self) -> Option<Ending> {
        self.shared().look(|shard, _| shard.stack.tcp_close_report(self.handle))
    }

    pub(crate) fn why(&self) -> Option<Why> {
        self.shared().look(|shard, now| shard.stack.tcp_why(now, self.handle))
    }

    pub(crate) fn connection_id(&self) -> Option<ConnectionId> {
        self.shared().look(|shard, _| shard.stack.tcp_connection(self.handle))
    }

    pub(crate) fn ready(&self) -> Ready {
        self.shared().look(|shard, _| shard.stack.tcp_ready(self.handle))
    }

    // --- waiting ---

    /// Tries, and if it would block registers the context, both under one lock. `ticket` is where a future keeps its
    /// number; `None` is the slot of the `poll_*` functions.
    fn poll_op<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        ticket: Option<&mut u64>,
        op: impl FnOnce(&mut Shard, Instant, TcpHandle) -> Result<R, Error>,
    ) -> Poll<io::Result<R>> {
        self.shared().with_if(|shard, now| match op(shard, now, self.handle) {
            Err(Error::WouldBlock) => {
                let id = ticket.map_or(0, |id| {
                    if *id == 0 {
                        *id = shard.next_id();
                    }
                    *id
                });
                shard.wait_tcp(self.handle, interest, id, cx.waker());
                (Poll::Pending, false)
            }
            result => {
                if let Some(id) = ticket.filter(|id| **id != 0) {
                    shard.unwait_tcp(self.handle, interest, std::mem::take(id));
                }
                // A read arms no timer: it concerns the driver only if it has an ACK to send.
                let kick = result.is_ok() && (interest != Interest::Read || shard.stack.wants_transmit());
                (Poll::Ready(result.map_err(|e| explain(shard, self.handle, e))), kick)
            }
        })
    }

    /// Waits as long as `op` would block.
    async fn wait_op<R>(
        &self,
        interest: Interest,
        mut op: impl FnMut(&mut Shard, Instant, TcpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        let mut ticket = Ticket { sock: self, interest, id: 0 };
        poll_fn(|cx| self.poll_op(cx, interest, Some(&mut ticket.id), &mut op)).await
    }

    pub(crate) async fn wait_ready(&self, interest: Interest) -> io::Result<Ready> {
        self.wait_op(interest, |shard, _, handle| level(shard, handle, interest)).await
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<Ready>> {
        self.poll_op(cx, interest, None, |shard, _, handle| level(shard, handle, interest))
    }

    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (buf, _) = buf.split_at_mut(buf.len().min(CHUNK));
        self.wait_op(Interest::Read, |shard, now, handle| shard.stack.tcp_read(now, handle, buf)).await
    }

    pub(crate) async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait_op(Interest::Read, |shard, _, handle| shard.stack.tcp_peek(handle, buf)).await
    }

    pub(crate) async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let buf = buf.get(..CHUNK).unwrap_or(buf);
        self.wait_op(Interest::Write, |shard, now, handle| shard.stack.tcp_write(now, handle, buf)).await
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let (buf, _) = buf.split_at_mut(buf.len().min(CHUNK));
        self.poll_op(cx, Interest::Read, None, |shard, now, handle| shard.stack.tcp_read(now, handle, buf))
    }

    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_op(cx, Interest::Read, None, |shard, _, handle| shard.stack.tcp_peek(handle, buf))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let buf = buf.get(..CHUNK).unwrap_or(buf);
        self.poll_op(cx, Interest::Write, None, |shard, now, handle| shard.stack.tcp_write(now, handle, buf))
    }

    pub(crate) async fn wait_accept(&self) -> io::Result<(Self, SocketAddr)> {
        self.wait_op(Interest::Read, |shard, _, _| self.accept(shard)).await
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self, SocketAddr)>> {
        self.poll_op(cx, Interest::Read, None, |shard, _, _| self.accept(shard))
    }

    pub(crate) async fn wait_pending(&self) -> io::Result<lastack_core::PendingRequest> {
        self.wait_op(Interest::Read, |shard, _, handle| next_pending(&mut shard.stack, handle)).await
    }

    /// Lets a request in and waits for its connection.
    pub(crate) async fn let_in(&self, request: &lastack_core::PendingRequest) -> io::Result<Self> {
        let id = request.connection;
        let fail = |shard: &Shard, e: Error| -> io::Error {
            let reason = ConnectionError::new(e)
                .with_addresses(Some(request.local), Some(request.remote))
                .with_id(Some(id));
            match e {
                Error::BadHandle if shard.stack.tcp_state(self.handle).is_some() => {
                    reason.with_note("the request has expired or was withdrawn").into()
                }
                Error::BadHandle => reason.with_note(gone(shard)).into(),
                _ => reason.into(),
            }
        };
        let ticket = self.shared().with(|shard, now| {
            shard.expect(self.handle, id);
            match shard.stack.tcp_pending_accept(now, request.id) {
                Ok(()) => Ok(shard.next_id()),
                Err(e) => {
                    shard.unexpect(now, self.handle, id);
                    Err(fail(shard, e))
                }
            }
        })?;
        let _expected = Expected { sock: self, id, ticket };
        poll_fn(|cx| {
            self.shared().with(|shard, now| match shard.take_arrival(now, self.handle, id) {
                Ok(handle) => Poll::Ready(Ok(Self { owner: Arc::clone(&self.owner), handle })),
                Err(Error::WouldBlock) => {
                    // The accept queue tells of it by the listener; its failure by its own transition.
                    shard.wait_tcp(self.handle, Interest::Read, ticket, cx.waker());
                    let last = shard.watch(id, ticket, cx.waker()).last;
                    match last.filter(|last| last.to == State::Closed) {
                        None => Poll::Pending,
                        Some(last) => {
                            let error = error_of_cause(last.cause).unwrap_or(Error::ConnectionAborted);
                            Poll::Ready(Err(fail(shard, error)))
                        }
                    }
                }
                Err(e) => Poll::Ready(Err(fail(shard, e))),
            })
        })
        .await
    }

    /// Waits until a request is no longer pending.
    pub(crate) async fn gone(&self, request: &lastack_core::PendingRequest) {
        let ticket = self.shared().look(|shard, _| shard.next_id());
        let id = request.connection;
        let _expected = Expected { sock: self, id, ticket };
        poll_fn(|cx| {
            self.shared().look(|shard, _| {
                if shard.stack.tcp_is_pending(request.id) {
                    shard.watch(id, ticket, cx.waker());
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
        })
        .await;
    }

    /// Connects and waits for the outcome.
    pub(crate) async fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.open_to(remote, |stack, now, handle| stack.tcp_connect(now, handle, remote)).await
    }

    /// Connects with `data` as the first that is sent, and waits until the connection is open and has taken all of it.
    pub(crate) async fn connect_with_data(&self, remote: SocketAddr, data: &[u8]) -> io::Result<()> {
        let on_syn = |stack: &mut Stack, now, handle| match stack.tcp_connect_with(
            now,
            handle,
            remote,
            data,
            SendFlags::SLEEPS,
        ) {
            Err(Error::NotSupported) => stack.tcp_connect(now, handle, remote).map(|()| 0),
            result => result,
        };
        let mut sent = self.open_to(remote, on_syn).await?;
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += self.write(rest).await?;
        }
        Ok(())
    }

    /// Opens a connection by `begin`, and waits for the outcome.
    async fn open_to<R>(
        &self,
        remote: SocketAddr,
        begin: impl FnOnce(&mut Stack, Instant, TcpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        let with_remote = |e: io::Error| match crate::error_of(&e) {
            Some(reason) if reason.remote.is_none() => {
                let local = reason.local;
                reason.clone().with_addresses(local, Some(remote)).into()
            }
            _ => e,
        };
        let begun = self.call(begin).map_err(with_remote)?;
        self.wait_op(Interest::Write, |shard, _, handle| outcome(&mut shard.stack, handle))
            .await
            .map_err(with_remote)?;
        Ok(begun)
    }

    // --- how it ends ---

    pub(crate) fn poll_delivered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared().look(|shard, _| {
            if let Some(error) = failure(shard, self.handle) {
                return Poll::Ready(Err(explain(shard, self.handle, error)));
            }
            if shard.is_delivered(self.handle) {
                return Poll::Ready(Ok(()));
            }
            shard.wait_delivery(self.handle, cx.waker());
            Poll::Pending
        })
    }

    pub(crate) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.shared().look(|shard, _| {
            if let Some(error) = failure(shard, self.handle) {
                return Poll::Ready(explain(shard, self.handle, error));
            }
            shard.wait_tcp(self.handle, Interest::End, 0, cx.waker());
            Poll::Pending
        })
    }

    /// Closes, and waits until the peer has acknowledged everything, the FIN included.
    pub(crate) async fn close_linger(&self, limit: Duration) -> Delivery {
        let start = match self.shared().with(|shard, now| begin_linger(shard, now, self.handle)) {
            Ok(start) => start,
            Err(delivery) => {
                self.release(Release::Close);
                return delivery;
            }
        };
        let until = self.shared().now() + limit;
        let guard = Lingering { sock: self, start: &start, until };
        let delivery = poll_fn(|cx| {
            self.shared().look(|shard, now| {
                if let Some(delivery) = start.verdict(shard, self.handle) {
                    return Poll::Ready(delivery);
                }
                if now >= until {
                    let bytes = start.missing(shard, self.handle);
                    return Poll::Ready(Delivery::Undelivered { bytes, why: Loss::Deadline });
                }
                shard.watch(start.id, start.ticket, cx.waker());
                shard.wait_tcp(self.handle, Interest::End, start.ticket, cx.waker());
                shard.set_timer(until, start.ticket, cx.waker());
                Poll::Pending
            })
        })
        .await;
        drop(guard);
        self.release(Release::Close);
        delivery
    }
}

/// Where an address is asked for that nobody knows any more.
const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// An error with the connection it is about.
fn explain(shard: &Shard, handle: TcpHandle, error: Error) -> io::Error {
    if error == Error::WouldBlock {
        return io::ErrorKind::WouldBlock.into();
    }
    let stack = &shard.stack;
    let reason = ConnectionError::new(error)
        .with_addresses(stack.tcp_local_addr(handle), stack.tcp_peer_addr(handle))
        .with_id(stack.tcp_connection(handle));
    if error == Error::BadHandle { reason.with_note(gone(shard)).into() } else { reason.into() }
}

fn level(shard: &Shard, handle: TcpHandle, interest: Interest) -> Result<Ready, Error> {
    if shard.stack.tcp_state(handle).is_none() {
        return Err(Error::BadHandle);
    }
    let ready = shard.stack.tcp_ready(handle);
    if wants(ready, interest) { Ok(ready) } else { Err(Error::WouldBlock) }
}

fn next_pending(stack: &mut Stack, handle: TcpHandle) -> Result<lastack_core::PendingRequest, Error> {
    match stack.tcp_next_pending(handle) {
        Some(request) => Ok(request),
        None if stack.tcp_state(handle).is_none() => Err(Error::BadHandle),
        None => Err(Error::WouldBlock),
    }
}

/// What became of an attempt to connect.
fn outcome(stack: &mut Stack, handle: TcpHandle) -> Result<(), Error> {
    match stack.tcp_state(handle) {
        None => Err(Error::BadHandle),
        // The first write will send the SYN.
        Some(State::SynSent) if stack.tcp_fast_open(handle).is_some_and(|fast| fast.deferred) => Ok(()),
        Some(State::SynSent | State::SynReceived) => Err(Error::WouldBlock),
        Some(state) => match stack.tcp_take_error(handle) {
            Some(error) => Err(error),
            // Established and over within the same batch: reads will say how.
            None if state == State::Closed
                && stack.tcp_history(handle).iter().all(|t| t.to != State::Established) =>
            {
                Err(Error::ConnectionAborted)
            }
            None => Ok(()),
        },
    }
}

/// The error that ended a connection; `None` while it lives and after a graceful end.
fn failure(shard: &Shard, handle: TcpHandle) -> Option<Error> {
    match shard.stack.tcp_state(handle) {
        None => Some(Error::BadHandle),
        Some(State::Closed) => {
            let history = shard.stack.tcp_history(handle);
            let graceful = |t: &Transition| {
                t.to == State::TimeWait || t.to == State::Closed && t.cause == Cause::FinAcked
            };
            if history.iter().any(graceful) { None } else { error_of_cause(history.last()?.cause) }
        }
        Some(_) => None,
    }
}

/// Whether our FIN, and so everything before it, was acknowledged.
fn acknowledged(history: &[Transition]) -> bool {
    history.iter().any(|t| {
        matches!(t.to, State::FinWait2 | State::TimeWait)
            || t.to == State::Closed && t.cause == Cause::FinAcked
    })
}

/// State of a close that waits.
struct Linger {
    id: ConnectionId,
    ticket: u64,
    /// Bytes not acknowledged at the beginning.
    queued: u64,
    /// Bytes acknowledged until then.
    acked: u64,
}

impl Linger {
    fn missing(&self, shard: &Shard, handle: TcpHandle) -> u64 {
        let acked = shard.stack.tcp_info(handle).map_or(self.acked, |info| info.bytes_acked);
        self.queued.saturating_sub(acked.saturating_sub(self.acked))
    }

    fn verdict(&self, shard: &Shard, handle: TcpHandle) -> Option<Delivery> {
        let Some(state) = shard.stack.tcp_state(handle) else {
            return Some(Delivery::Undelivered { bytes: self.queued, why: Loss::HostStopped });
        };
        let history = shard.stack.tcp_history(handle);
        if acknowledged(&history) {
            return Some(Delivery::Delivered);
        }
        if state != State::Closed {
            return None;
        }
        let cause = history.last().map_or(Cause::Close, |t| t.cause);
        Some(Delivery::Undelivered { bytes: self.missing(shard, handle), why: Loss::Ended(cause) })
    }
}

/// Shuts both directions and keeps the handle, so that the connection's end can be read from it (Linux's close waits in
/// the same way before it lets go of the socket). `Err` = nothing to wait for.
fn begin_linger(shard: &mut Shard, now: Instant, handle: TcpHandle) -> Result<Linger, Delivery> {
    let stopped = Delivery::Undelivered { bytes: 0, why: Loss::HostStopped };
    let info = shard.stack.tcp_info(handle).ok_or(stopped)?;
    let queued = shard.queued(handle);
    let id = shard.stack.tcp_connection(handle);
    let linger = Linger {
        id: id.unwrap_or(ConnectionId(0)),
        ticket: shard.next_id(),
        queued,
        acked: info.bytes_acked,
    };
    if let Some(verdict) = linger.verdict(shard, handle) {
        return Err(verdict);
    }
    if info.unread > 0 {
        // close() resets then (RFC 2525 2.17), and does not wait.
        return Err(Delivery::Undelivered { bytes: queued, why: Loss::Ended(Cause::UnreadData) });
    }
    // SO_LINGER has one time: this one now.
    let _ = shard.stack.tcp_set_option(now, handle, TcpOption::Linger(None));
    let shut = shard.stack.tcp_shutdown(now, handle, Shutdown::Both);
    if id.is_none() || shut.is_err() {
        return Err(linger.verdict(shard, handle).unwrap_or(Delivery::Delivered));
    }
    Ok(linger)
}

/// Takes a future out of the waker table when it is dropped.
struct Ticket<'a> {
    sock: &'a TcpSock,
    interest: Interest,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            self.sock.shared().look(|shard, _| shard.unwait_tcp(self.sock.handle, self.interest, self.id));
        }
    }
}

/// The same for a close that waits.
struct Lingering<'a> {
    sock: &'a TcpSock,
    start: &'a Linger,
    until: Instant,
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.sock.shared().look(|shard, _| {
            shard.unwatch(self.start.id);
            shard.unwait_tcp(self.sock.handle, Interest::End, self.start.ticket);
            shard.clear_timer(self.until, self.start.ticket);
        });
    }
}

/// The same for a request that was let in; a connection that nobody takes is reset.
struct Expected<'a> {
    sock: &'a TcpSock,
    id: ConnectionId,
    ticket: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.sock.shared().with(|shard, now| {
            shard.unwatch(self.id);
            shard.unwait_tcp(self.sock.handle, Interest::Read, self.ticket);
            shard.unexpect(now, self.sock.handle, self.id);
        });
    }
}

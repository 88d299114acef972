//! What the blocking and the tokio UDP sockets have in common.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use lastack_core::{Error, IcmpUnreach, Instant, Ready, Stack, UdpHandle, UdpMeta};

use crate::error::ConnectionError;
use crate::host::{Host, Interest, Owner, Shard, Shared, gone, wants};

/// A UDP socket of a host. Dropping it closes it; datagrams that are queued still leave.
#[derive(Debug)]
pub(crate) struct UdpSock {
    owner: Arc<Owner>,
    handle: UdpHandle,
    /// Datagrams taken out by a peek, for the next receive.
    peeked: Mutex<Option<(Vec<u8>, UdpMeta)>>,
}

impl Drop for UdpSock {
    fn drop(&mut self) {
        self.shared().with(|shard, _| shard.release_udp(self.handle));
    }
}

/// Largest UDP payload.
const MAX_DATAGRAM: usize = 65_535;

impl UdpSock {
    pub(crate) fn open(host: &Host) -> io::Result<Self> {
        let owner = Arc::clone(&host.owner);
        let opened = owner.shared.look(|shard, _| shard.open_udp());
        match opened {
            Ok(handle) => Ok(Self { owner, handle, peeked: Mutex::new(None) }),
            Err(e) => Err(owner.error(e)),
        }
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&mut Stack, Instant, UdpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        self.shared().with(|shard, now| {
            f(&mut shard.stack, now, self.handle).map_err(|e| explain(shard, self.handle, e))
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.call(|stack, _, handle| stack.udp_local_addr(handle).ok_or(Error::BadHandle))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.call(|stack, _, handle| stack.udp_peer_addr(handle).ok_or(Error::NotConnected))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.shared().look(|shard, _| {
            let error = shard.stack.udp_take_error(self.handle);
            Ok(error.map(|e| explain(shard, self.handle, e)))
        })
    }

    pub(crate) fn ready(&self) -> Ready {
        self.shared().look(|shard, _| shard.stack.udp_ready(self.handle))
    }

    fn poll_op<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        ticket: Option<&mut u64>,
        op: impl FnOnce(&mut Stack, Instant, UdpHandle) -> Result<R, Error>,
    ) -> Poll<io::Result<R>> {
        self.shared().with_if(|shard, now| match op(&mut shard.stack, now, self.handle) {
            Err(Error::WouldBlock) => {
                let id = ticket.map_or(0, |id| {
                    if *id == 0 {
                        *id = shard.next_id();
                    }
                    *id
                });
                shard.wait_udp(self.handle, interest, id, cx.waker());
                (Poll::Pending, false)
            }
            result => {
                if let Some(id) = ticket.filter(|id| **id != 0) {
                    shard.unwait_udp(self.handle, interest, std::mem::take(id));
                }
                let ok = result.is_ok();
                (Poll::Ready(result.map_err(|e| explain(shard, self.handle, e))), ok)
            }
        })
    }

    async fn wait_op<R>(
        &self,
        interest: Interest,
        mut op: impl FnMut(&mut Stack, Instant, UdpHandle) -> Result<R, Error>,
    ) -> io::Result<R> {
        let mut ticket = Ticket { sock: self, interest, id: 0 };
        poll_fn(|cx| self.poll_op(cx, interest, Some(&mut ticket.id), &mut op)).await
    }

    pub(crate) async fn wait_ready(&self, interest: Interest) -> io::Result<Ready> {
        if interest == Interest::Read && self.has_peeked() {
            return Ok(Ready::IN);
        }
        self.wait_op(interest, |stack, _, handle| level(stack, handle, interest)).await
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<Ready>> {
        if interest == Interest::Read && self.has_peeked() {
            return Poll::Ready(Ok(Ready::IN));
        }
        self.poll_op(cx, interest, None, |stack, _, handle| level(stack, handle, interest))
    }

    // --- receiving ---

    fn peeked(&self) -> std::sync::MutexGuard<'_, Option<(Vec<u8>, UdpMeta)>> {
        self.peeked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_peeked(&self) -> bool {
        self.peeked().is_some()
    }

    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<UdpMeta> {
        if let Some((data, meta)) = self.peeked().take() {
            return Ok(hand_out(&data, meta, buf));
        }
        self.call(|stack, _, handle| stack.udp_recv(handle, buf))
    }

    pub(crate) async fn recv(&self, buf: &mut [u8]) -> io::Result<UdpMeta> {
        if let Some((data, meta)) = self.peeked().take() {
            return Ok(hand_out(&data, meta, buf));
        }
        self.wait_op(Interest::Read, |stack, _, handle| stack.udp_recv(handle, buf)).await
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<UdpMeta>> {
        if let Some((data, meta)) = self.peeked().take() {
            return Poll::Ready(Ok(hand_out(&data, meta, buf)));
        }
        self.poll_op(cx, Interest::Read, None, |stack, _, handle| stack.udp_recv(handle, buf))
    }

    pub(crate) async fn peek(&self, buf: &mut [u8]) -> io::Result<UdpMeta> {
        loop {
            if let Some((data, meta)) = &*self.peeked() {
                return Ok(hand_out(data, *meta, buf));
            }
            self.wait_ready(Interest::Read).await?;
            self.fill_peeked()?;
        }
    }

    /// Takes a datagram out for those who peek. Under the lock of the place it is kept in, so that two who peek do not
    /// take two.
    fn fill_peeked(&self) -> io::Result<()> {
        let mut place = self.peeked();
        if place.is_some() {
            return Ok(());
        }
        let mut data = vec![0; MAX_DATAGRAM];
        match self.call(|stack, _, handle| stack.udp_recv(handle, &mut data)) {
            Ok(meta) => {
                data.truncate(meta.len);
                *place = Some((data, meta));
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        }
    }

    // --- sending ---

    pub(crate) fn try_send(
        &self,
        data: &[u8],
        to: Option<SocketAddr>,
        from: Option<SocketAddr>,
    ) -> io::Result<usize> {
        self.call(|stack, now, handle| stack.udp_send(now, handle, data, to, from).map(|()| data.len()))
    }

    pub(crate) fn refuse(
        &self,
        local: SocketAddr,
        peer: SocketAddr,
        len: usize,
        how: IcmpUnreach,
    ) -> io::Result<()> {
        self.call(|stack, now, _| {
            stack.udp_refuse(now, local, peer, len, how);
            Ok(())
        })
    }

    pub(crate) async fn send(
        &self,
        data: &[u8],
        to: Option<SocketAddr>,
        from: Option<SocketAddr>,
    ) -> io::Result<usize> {
        self.wait_op(Interest::Write, |stack, now, handle| {
            stack.udp_send(now, handle, data, to, from).map(|()| data.len())
        })
        .await
    }

    pub(crate) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        self.poll_op(cx, Interest::Write, None, |stack, now, handle| {
            stack.udp_send(now, handle, data, to, None).map(|()| data.len())
        })
    }
}

fn hand_out(data: &[u8], meta: UdpMeta, buf: &mut [u8]) -> UdpMeta {
    let n = data.len().min(buf.len());
    buf[..n].copy_from_slice(&data[..n]);
    meta
}

fn level(stack: &Stack, handle: UdpHandle, interest: Interest) -> Result<Ready, Error> {
    if stack.udp_local_addr(handle).is_none() {
        return Err(Error::BadHandle);
    }
    let ready = stack.udp_ready(handle);
    if wants(ready, interest) { Ok(ready) } else { Err(Error::WouldBlock) }
}

fn explain(shard: &Shard, handle: UdpHandle, error: Error) -> io::Error {
    if error == Error::WouldBlock {
        return io::ErrorKind::WouldBlock.into();
    }
    let stack = &shard.stack;
    let reason =
        ConnectionError::new(error).with_addresses(stack.udp_local_addr(handle), stack.udp_peer_addr(handle));
    if error == Error::BadHandle { reason.with_note(gone(shard)).into() } else { reason.into() }
}

struct Ticket<'a> {
    sock: &'a UdpSock,
    interest: Interest,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            self.sock.shared().look(|shard, _| shard.unwait_udp(self.sock.handle, self.interest, self.id));
        }
    }
}

//! One core and those who wait for it, behind one mutex (law 8 of the architecture: no lock, task or channel per
//! connection).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use lastack_core::{
    Cause, ConnectionId, Error, Event, Instant, Ready, Stack, State, TcpHandle, Transition, TransitionEvent,
    UdpHandle, Why,
};

use super::report::{CloseReport, Loss, Undelivered};
use super::waiters::{Interest, SocketWaiters, Waiters};

/// Connections whose loss is remembered one by one until the host is closed; more are only counted.
const LOST_LIMIT: usize = 1024;

/// How a socket is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// As `close()`.
    Close,
    /// With a RST.
    Abort,
}

/// Where the life of a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sockets work.
    Running,
    /// All sockets are closed; what they owe is being delivered.
    Draining {
        /// What is left then is reset.
        until: Instant,
    },
    /// The driver is gone.
    Stopped,
}

/// What the table keeps for one TCP socket.
#[derive(Debug, Default)]
pub(crate) struct TcpEntry {
    waiters: SocketWaiters,
    /// Connections of a deferring listener that were accepted and wait for their [`PendingConnection`] to take them.
    ///
    /// [`PendingConnection`]: crate::tokio::PendingConnection
    arrived: BTreeMap<ConnectionId, Arrival>,
}

#[derive(Clone, Copy, Debug)]
enum Arrival {
    Expected,
    Here(TcpHandle),
}

/// Somebody follows a connection whose handle may be gone or does not exist yet.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) last: Option<Transition>,
    pub(crate) waiters: Waiters,
}

/// What a closed socket owed when it was closed.
#[derive(Clone, Copy, Debug)]
struct Owed {
    local: SocketAddr,
    remote: SocketAddr,
    bytes: u64,
}

/// A stack and its waker table.
pub(crate) struct Shard {
    pub(crate) stack: Stack,
    pub(crate) phase: Phase,
    /// Why the driver stopped by itself.
    pub(crate) failure: Option<String>,
    pub(crate) report: Option<CloseReport>,
    ended: Waiters,
    /// To be woken once the lock is released.
    pub(crate) wake: Vec<Waker>,
    /// To be dropped once the lock is released; see [`Waiters::set`].
    pub(crate) trash: Vec<Waker>,
    /// To be handed to the tracers once the lock is released.
    pub(crate) traced: Vec<TransitionEvent>,
    pub(crate) tracing: bool,
    /// Connections whose owner has not closed in time, to be told of once the lock is released.
    pub(crate) overdue: Vec<Why>,
    tcp: HashMap<TcpHandle, TcpEntry>,
    udp: HashMap<UdpHandle, SocketWaiters>,
    timers: BTreeMap<(Instant, u64), Waker>,
    watches: BTreeMap<ConnectionId, Watch>,
    owing: BTreeMap<ConnectionId, Owed>,
    lost: VecDeque<Undelivered>,
    lost_more: u64,
    deliveries: Vec<(TcpHandle, Waker)>,
    next_id: u64,
}

impl Shard {
    pub(crate) fn new(stack: Stack) -> Self {
        Self {
            stack,
            phase: Phase::Running,
            failure: None,
            report: None,
            ended: Waiters::default(),
            wake: Vec::new(),
            trash: Vec::new(),
            traced: Vec::new(),
            tracing: false,
            overdue: Vec::new(),
            tcp: HashMap::new(),
            udp: HashMap::new(),
            timers: BTreeMap::new(),
            watches: BTreeMap::new(),
            owing: BTreeMap::new(),
            lost: VecDeque::new(),
            lost_more: 0,
            deliveries: Vec::new(),
            next_id: 0,
        }
    }

    /// A number for a waiter; never 0.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // --- sockets ---

    pub(crate) fn open_tcp(&mut self) -> Result<TcpHandle, Error> {
        self.check_running()?;
        let handle = self.stack.tcp_socket();
        self.tcp.insert(handle, TcpEntry::default());
        Ok(handle)
    }

    pub(crate) fn open_udp(&mut self) -> Result<UdpHandle, Error> {
        self.check_running()?;
        let handle = self.stack.udp_socket();
        self.udp.insert(handle, SocketWaiters::default());
        Ok(handle)
    }

    fn check_running(&self) -> Result<(), Error> {
        if self.phase == Phase::Running { Ok(()) } else { Err(Error::BadHandle) }
    }

    /// The next connection of a listener's accept queue.
    pub(crate) fn accept(&mut self, listener: TcpHandle) -> Result<TcpHandle, Error> {
        let handle = self.stack.tcp_accept(listener)?;
        self.tcp.insert(handle, TcpEntry::default());
        Ok(handle)
    }

    /// Gives a socket back, and keeps account of what it still owes.
    pub(crate) fn release_tcp(&mut self, now: Instant, handle: TcpHandle, how: Release) {
        let Some(mut entry) = self.tcp.remove(&handle) else { return };
        entry.waiters.take_all(&mut self.wake);
        for arrival in entry.arrived.into_values() {
            if let Arrival::Here(child) = arrival {
                self.release_tcp(now, child, Release::Abort);
            }
        }
        self.note_debt(handle);
        match how {
            Release::Close => self.stack.tcp_close(now, handle),
            Release::Abort => self.stack.tcp_abort(now, handle),
        }
    }

    /// Called before a close: what it leaves behind is settled by the transitions that follow.
    fn note_debt(&mut self, handle: TcpHandle) {
        let owes = matches!(
            self.stack.tcp_state(handle),
            Some(
                State::SynReceived
                    | State::Established
                    | State::CloseWait
                    | State::FinWait1
                    | State::Closing
                    | State::LastAck
            )
        );
        let (Some(id), Some(local), Some(remote)) = (
            self.stack.tcp_connection(handle),
            self.stack.tcp_local_addr(handle),
            self.stack.tcp_peer_addr(handle),
        ) else {
            return;
        };
        if owes {
            let bytes = self.queued(handle);
            self.owing.insert(id, Owed { local, remote, bytes });
        }
    }

    /// Bytes written and not acknowledged by the peer.
    pub(crate) fn queued(&self, handle: TcpHandle) -> u64 {
        // `SIOCOUTQ` counts a FIN that is not acknowledged.
        let fin =
            matches!(self.stack.tcp_state(handle), Some(State::FinWait1 | State::Closing | State::LastAck));
        self.stack.tcp_unacked(handle).saturating_sub(usize::from(fin)) as u64
    }

    pub(crate) fn release_udp(&mut self, handle: UdpHandle) {
        if let Some(mut waiters) = self.udp.remove(&handle) {
            waiters.take_all(&mut self.wake);
            self.stack.udp_close(handle);
        }
    }

    /// Closes every socket, as the end of a process does.
    pub(crate) fn release_all(&mut self, now: Instant) {
        let mut handles: Vec<_> = self.tcp.keys().map(|&h| (self.stack.tcp_connection(h), h)).collect();
        handles.sort_unstable_by_key(|&(id, _)| id);
        for (_, handle) in handles {
            self.release_tcp(now, handle, Release::Close);
        }
        let udp: Vec<_> = self.udp.keys().copied().collect();
        for handle in udp {
            self.release_udp(handle);
        }
    }

    pub(crate) fn tcp_handles(&self) -> Vec<TcpHandle> {
        let mut handles: Vec<_> = self.tcp.keys().copied().collect();
        handles.sort_unstable_by_key(|&h| self.stack.tcp_connection(h));
        handles
    }

    // --- waiting ---

    /// Registers a waiter; with `id` 0 in the slot of the `poll_*` functions.
    pub(crate) fn wait_tcp(&mut self, handle: TcpHandle, interest: Interest, id: u64, waker: &Waker) {
        match self.tcp.get_mut(&handle) {
            Some(entry) => self.trash.extend(register(entry.waiters.of(interest), id, waker)),
            None => self.wake.push(waker.clone()),
        }
    }

    pub(crate) fn wait_udp(&mut self, handle: UdpHandle, interest: Interest, id: u64, waker: &Waker) {
        match self.udp.get_mut(&handle) {
            Some(waiters) => self.trash.extend(register(waiters.of(interest), id, waker)),
            None => self.wake.push(waker.clone()),
        }
    }

    pub(crate) fn unwait_tcp(&mut self, handle: TcpHandle, interest: Interest, id: u64) {
        if let Some(entry) = self.tcp.get_mut(&handle) {
            self.trash.extend(entry.waiters.of(interest).remove(id));
        }
    }

    pub(crate) fn unwait_udp(&mut self, handle: UdpHandle, interest: Interest, id: u64) {
        if let Some(waiters) = self.udp.get_mut(&handle) {
            self.trash.extend(waiters.of(interest).remove(id));
        }
    }

    /// Wakes at `at`; called again with the same `id` it replaces the waker.
    pub(crate) fn set_timer(&mut self, at: Instant, id: u64, waker: &Waker) {
        self.trash.extend(self.timers.insert((at, id), waker.clone()));
    }

    pub(crate) fn clear_timer(&mut self, at: Instant, id: u64) {
        self.trash.extend(self.timers.remove(&(at, id)));
    }

    /// Wakes when everything written on `handle` is acknowledged or the connection is over.
    pub(crate) fn wait_delivery(&mut self, handle: TcpHandle, waker: &Waker) {
        match self.deliveries.iter_mut().find(|(other, _)| *other == handle) {
            Some((_, old)) => self.trash.push(std::mem::replace(old, waker.clone())),
            None => self.deliveries.push((handle, waker.clone())),
        }
    }

    pub(crate) fn is_delivered(&self, handle: TcpHandle) -> bool {
        match self.stack.tcp_state(handle) {
            None | Some(State::Closed) => true,
            // The FIN is part of what was written.
            Some(State::FinWait1 | State::Closing | State::LastAck) => false,
            Some(_) => self.queued(handle) == 0,
        }
    }

    /// Follows a connection: `waker` is called at each of its transitions.
    pub(crate) fn watch(&mut self, id: ConnectionId, ticket: u64, waker: &Waker) -> &Watch {
        let watch = self.watches.entry(id).or_default();
        self.trash.extend(watch.waiters.add(ticket, waker));
        watch
    }

    pub(crate) fn unwatch(&mut self, id: ConnectionId) {
        if let Some(mut watch) = self.watches.remove(&id) {
            // Somebody else who follows it registers again.
            watch.waiters.take(&mut self.wake);
        }
    }

    // --- deferred accept ---

    /// A request was let in; its connection is to be kept for [`Shard::take_arrival`].
    pub(crate) fn expect(&mut self, listener: TcpHandle, id: ConnectionId) {
        if let Some(entry) = self.tcp.get_mut(&listener) {
            entry.arrived.insert(id, Arrival::Expected);
        }
    }

    /// Nobody waits for that connection any more.
    pub(crate) fn unexpect(&mut self, now: Instant, listener: TcpHandle, id: ConnectionId) {
        let Some(entry) = self.tcp.get_mut(&listener) else { return };
        let arrival = entry.arrived.remove(&id);
        if let Some(Arrival::Here(child)) = arrival {
            self.release_tcp(now, child, Release::Abort);
        }
    }

    /// The connection of a request that was let in, once its handshake is complete.
    pub(crate) fn take_arrival(
        &mut self,
        now: Instant,
        listener: TcpHandle,
        id: ConnectionId,
    ) -> Result<TcpHandle, Error> {
        loop {
            let arrived = match self.tcp.get_mut(&listener) {
                Some(entry) => &mut entry.arrived,
                None => return Err(Error::BadHandle),
            };
            if let Some(Arrival::Here(handle)) = arrived.get(&id).copied() {
                arrived.remove(&id);
                return Ok(handle);
            }
            let child = self.accept(listener)?;
            let child_id = self.stack.tcp_connection(child);
            let arrived = self.tcp.get_mut(&listener).map(|entry| &mut entry.arrived);
            match (child_id, arrived) {
                (Some(child_id), Some(arrived)) if arrived.contains_key(&child_id) => {
                    arrived.insert(child_id, Arrival::Here(child));
                    if let Some(watch) = self.watches.get_mut(&child_id) {
                        watch.waiters.take(&mut self.wake);
                    }
                }
                // Its future was dropped meanwhile.
                _ => self.release_tcp(now, child, Release::Abort),
            }
        }
    }

    // --- for the driver ---

    /// Moves the core's news to those who wait for them.
    pub(crate) fn collect(&mut self, now: Instant) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Tcp(handle, ready) => {
                    if ready.contains(Ready::OVERDUE) {
                        self.overdue.extend(self.stack.tcp_why(now, handle));
                    }
                    if let Some(entry) = self.tcp.get_mut(&handle) {
                        entry.waiters.signal(ready, &mut self.wake);
                    }
                }
                Event::Udp(handle, ready) => {
                    if let Some(waiters) = self.udp.get_mut(&handle) {
                        waiters.signal(ready, &mut self.wake);
                    }
                }
            }
        }
        while let Some(event) = self.stack.poll_transition() {
            self.settle(&event);
            if let Some(watch) = self.watches.get_mut(&event.id) {
                watch.last = Some(event.transition);
                watch.waiters.take(&mut self.wake);
            }
            if self.tracing {
                self.traced.push(event);
            }
        }
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            self.wake.push(entry.remove());
        }
        if !self.deliveries.is_empty() {
            let mut waiting = std::mem::take(&mut self.deliveries);
            waiting.retain(|(handle, waker)| {
                let done = self.is_delivered(*handle);
                if done {
                    self.wake.push(waker.clone());
                }
                !done
            });
            self.deliveries = waiting;
        }
    }

    /// Keeps the account of what closed sockets owe.
    fn settle(&mut self, event: &TransitionEvent) {
        let Transition { to, cause, .. } = event.transition;
        let over = matches!(to, State::Closed | State::TimeWait | State::FinWait2);
        if !over {
            return;
        }
        let Some(owed) = self.owing.remove(&event.id) else { return };
        let delivered = to != State::Closed || cause == Cause::FinAcked;
        let asked_for = matches!(cause, Cause::Abort | Cause::LingerZero | Cause::UnreadData);
        if !delivered && (owed.bytes > 0 || !asked_for) {
            self.lose(event.id, owed, Loss::Ended(cause));
        }
    }

    fn lose(&mut self, id: ConnectionId, owed: Owed, why: Loss) {
        if self.lost.len() == LOST_LIMIT {
            self.lost.pop_front();
            self.lost_more += 1;
        }
        let Owed { local, remote, bytes } = owed;
        self.lost.push_back(Undelivered { id, local, remote, bytes, why });
    }

    /// Wakes when the driver is gone.
    pub(crate) fn wait_ended(&mut self, id: u64, waker: &Waker) {
        self.trash.extend(self.ended.add(id, waker));
    }

    /// When the driver has to run at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let drain = match self.phase {
            Phase::Draining { until } => Some(until),
            _ => None,
        };
        let timer = self.timers.first_key_value().map(|(&(at, _), _)| at);
        [self.stack.next_timeout(), timer, drain].into_iter().flatten().min()
    }

    /// Closes all sockets; the host ends once they owe nothing more, or after `limit`.
    pub(crate) fn begin_drain(&mut self, now: Instant, limit: Duration) {
        let until = now + limit;
        match self.phase {
            Phase::Stopped => {}
            // Somebody may want it sooner than the one before.
            Phase::Draining { until: earlier } => self.phase = Phase::Draining { until: until.min(earlier) },
            Phase::Running => {
                self.release_all(now);
                self.phase = Phase::Draining { until };
            }
        }
    }

    /// Whether a drain has nothing more to wait for; `busy` says that packets wait for the device.
    pub(crate) fn is_drained(&self, now: Instant, busy: bool) -> bool {
        match self.phase {
            Phase::Running => false,
            Phase::Draining { until } => (self.owing.is_empty() && !busy) || now >= until,
            Phase::Stopped => true,
        }
    }

    /// Resets what is left, and writes the report. The resets still have to be transmitted.
    pub(crate) fn finish(&mut self, now: Instant) {
        let orphans: Vec<_> = self.stack.orphans().collect();
        let left: BTreeMap<_, _> =
            orphans.iter().map(|orphan| (orphan.id, orphan.undelivered as u64)).collect();
        for (id, mut owed) in std::mem::take(&mut self.owing) {
            owed.bytes = left.get(&id).copied().unwrap_or(owed.bytes);
            self.lose(id, owed, Loss::Deadline);
        }
        self.stack.abort_orphans(now);
        let undelivered: Vec<_> = std::mem::take(&mut self.lost).into();
        self.report =
            Some(CloseReport { undelivered, not_listed: self.lost_more, failure: self.failure.clone() });
    }

    /// The driver is about to go: nobody will be woken after this.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.ended.take(&mut self.wake);
        for entry in self.tcp.values_mut() {
            entry.waiters.take_all(&mut self.wake);
        }
        for waiters in self.udp.values_mut() {
            waiters.take_all(&mut self.wake);
        }
        for watch in self.watches.values_mut() {
            watch.waiters.take(&mut self.wake);
        }
        self.wake.extend(std::mem::take(&mut self.timers).into_values());
        self.wake.extend(self.deliveries.drain(..).map(|(_, waker)| waker));
    }
}

fn register(waiters: &mut Waiters, id: u64, waker: &Waker) -> Option<Waker> {
    if id == 0 { waiters.set(waker) } else { waiters.add(id, waker) }
}

/// What a socket is ready for, from its level.
pub(crate) fn wants(ready: Ready, interest: Interest) -> bool {
    ready.intersects(interest.flags())
}

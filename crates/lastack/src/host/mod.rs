//! A host: a stack, the device below it and the thread that drives both.

mod builder;
mod driver;
mod exit;
mod park;
mod report;
mod shard;
mod shared;
mod waiters;

pub use builder::HostBuilder;
pub use driver::{Driver, Turn};
pub use report::{CloseReport, Delivery, Loss, Undelivered};

pub(crate) use park::block_on;
pub(crate) use shard::{Release, Shard, wants};
pub(crate) use shared::{Owner, Shared, gone};
pub(crate) use waiters::Interest;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lastack_core::{ConnectionId, Counters, Counts, Instant, State, TcpInfo, TransitionEvent, Why};

/// A handle of a running stack. Clones name the same stack; sockets keep it running.
///
/// A plain thread (the driver) moves the packets, so that the stack goes on when an async runtime shuts down. It ends
/// after [`Host::close`]. When the last handle and the last socket are dropped, or the process ends by returning from
/// `main` or by [`std::process::exit`], all that closed sockets still owe is delivered first, for at most the time set
/// with [`HostBuilder::drain`]; the rest is reset. A drop does not wait for that; the end of the process does. (A
/// process that is killed, aborts or calls `_exit` delivers nothing more.)
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) owner: Arc<Owner>,
}

/// What a host knows of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// Number of the connection, if it has begun.
    pub id: Option<ConnectionId>,
    /// State.
    pub state: State,
    /// This side's address.
    pub local: Option<SocketAddr>,
    /// The peer's address; `None` for a listener.
    pub remote: Option<SocketAddr>,
    /// Bytes written by the application and not acknowledged by the peer.
    pub send_queue: u64,
    /// Bytes received and not read by the application.
    pub recv_queue: u64,
    /// A socket of the application holds it. Without one it only finishes what it owes.
    pub owned: bool,
    /// Everything else, for connections with a socket.
    pub info: Option<TcpInfo>,
}

impl Host {
    /// What is needed to start one: at least a device and an address.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Has `callback` called for each change of state of any connection, in order, from now on. It runs on the driver's
    /// thread without any lock: it may use sockets, but while it runs no packet moves, so it has to be quick and must
    /// not wait for the network.
    pub fn trace(&self, callback: impl FnMut(&TransitionEvent) + Send + 'static) {
        self.shared().add_tracer(Box::new(callback));
    }

    /// Has `callback` called for each connection whose peer has closed and whose owner neither closed nor sent anything for
    /// [`TcpConfig::close_wait_watchdog`](crate::TcpConfig): once for each, with the sentence that says what it waits
    /// for. The same goes to [`tracing`] as a warning. It runs as a callback of [`Host::trace`] does.
    pub fn on_close_wait_overdue(&self, callback: impl FnMut(&Why) + Send + 'static) {
        self.shared().add_watcher(Box::new(callback));
    }

    /// What happened so far, in numbers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared().look(|shard, _| *shard.stack.counters())
    }

    /// Records of each kind that there are now, and what their buffers hold.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared().look(|shard, _| shard.stack.counts())
    }

    /// All sockets, and the connections of closed sockets that still owe data or a FIN; in the order of their
    /// beginning. TIME_WAIT and half-open records are not among them.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.shared().look(|shard, _| snapshot(shard))
    }

    /// Why a record of any kind is still there, half-open and TIME_WAIT ones too: what it waits for, since when, who has to
    /// act, and which timer ends it. `None`: there is no such record. Looks at every record under the host's lock.
    #[must_use]
    pub fn why(&self, id: ConnectionId) -> Option<Why> {
        self.shared().look(|shard, now| shard.stack.why(now, id))
    }

    /// Ends any record as an administrator, as `ss -K` does: the peer of a connection gets a RST, and its owner sees
    /// [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted). False: there is no such record.
    pub fn kill(&self, id: ConnectionId) -> bool {
        self.shared().with(|shard, now| shard.stack.kill(now, id))
    }

    /// The time on the host's clock, as [`TransitionEvent`]s have it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared().now()
    }

    /// Closes all sockets of this host and waits until the peers have acknowledged what sockets closed now or earlier
    /// still owe, for at most `deadline`; resets what is left; then ends the host and gives the device back to the
    /// system. Says what was not delivered.
    ///
    /// Calls on sockets that were open fail with [`NotConnected`](std::io::ErrorKind::NotConnected) from now on. Calling
    /// it again gives the same report; a shorter deadline then counts.
    ///
    /// Blocks the thread; in async code use [`Host::close_async`]. Must not be called from a [`Host::trace`] callback.
    pub fn close(&self, deadline: Duration) -> CloseReport {
        block_on(self.close_async(deadline), None).unwrap_or_default()
    }

    /// [`Host::close`] for async code. The closing begins with the first poll and goes on if the future is dropped.
    pub async fn close_async(&self, deadline: Duration) -> CloseReport {
        self.shared().with(|shard, now| shard.begin_drain(now, deadline));
        ended(&self.owner.shared).await
    }
}

/// Waits until the driver is gone.
pub(crate) async fn ended(shared: &Shared) -> CloseReport {
    let id = shared.look(|shard, _| shard.next_id());
    poll_fn(|cx| {
        shared.look(|shard, _| match &shard.report {
            Some(report) if shard.phase == shard::Phase::Stopped => Poll::Ready(report.clone()),
            _ => {
                shard.wait_ended(id, cx.waker());
                Poll::Pending
            }
        })
    })
    .await
}

fn snapshot(shard: &Shard) -> Vec<Connection> {
    let stack = &shard.stack;
    let owned = shard.tcp_handles().into_iter().filter_map(|handle| {
        let info = stack.tcp_info(handle);
        Some(Connection {
            id: stack.tcp_connection(handle),
            state: stack.tcp_state(handle)?,
            local: stack.tcp_local_addr(handle),
            remote: stack.tcp_peer_addr(handle),
            send_queue: shard.queued(handle),
            recv_queue: info.as_ref().map_or(0, |info| info.unread as u64),
            owned: true,
            info,
        })
    });
    let orphans = stack.orphans().map(|orphan| Connection {
        id: Some(orphan.id),
        state: orphan.state,
        local: Some(orphan.local),
        remote: Some(orphan.remote),
        send_queue: orphan.undelivered as u64,
        recv_queue: 0,
        owned: false,
        info: None,
    });
    let mut all: Vec<_> = owned.chain(orphans).collect();
    all.sort_by_key(|connection| connection.id);
    all
}

thread_local! {
    static ON_DRIVER: Cell<bool> = const { Cell::new(false) };
}

fn on_driver_thread() -> bool {
    ON_DRIVER.get()
}

//! What a host's handles, sockets and driver share.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack_core::{Error, Instant, TransitionEvent, Why};

use super::shard::{Phase, Shard};
use crate::clock::Clock;
use crate::error::ConnectionError;

type Tracer = Box<dyn FnMut(&TransitionEvent) + Send>;
type Watcher = Box<dyn FnMut(&Why) + Send>;

/// The shard and the ways to reach its driver.
pub(crate) struct Shared {
    shard: Mutex<Shard>,
    clock: Box<dyn Clock>,
    tracers: Mutex<Vec<Tracer>>,
    watchers: Mutex<Vec<Watcher>>,
    waker: lastack_device::Waker,
    /// Somebody changed the shard since the driver last looked.
    dirty: AtomicBool,
    /// The driver waits, or is about to.
    sleeping: AtomicBool,
    /// How long the end of the process, or of the last handle, waits for what is owed.
    pub(crate) drain: Duration,
}

impl Shared {
    pub(crate) fn new(
        shard: Shard,
        clock: Box<dyn Clock>,
        waker: lastack_device::Waker,
        drain: Duration,
    ) -> Self {
        Self {
            shard: Mutex::new(shard),
            clock,
            tracers: Mutex::new(Vec::new()),
            watchers: Mutex::new(Vec::new()),
            waker,
            dirty: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            drain,
        }
    }

    /// The lock. A thread that panicked while it held it leaves a whole shard: the core does not panic, and the
    /// tables are changed in steps that each leave them whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Runs `f` under the lock, then tells the driver, if it sleeps.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Shard, Instant) -> R) -> R {
        self.with_if(|shard, now| (f(shard, now), true))
    }

    /// The same for what gives the driver nothing to do.
    pub(crate) fn look<R>(&self, f: impl FnOnce(&mut Shard, Instant) -> R) -> R {
        self.with_if(|shard, now| (f(shard, now), false))
    }

    /// The same; `f` says whether the driver has something to do.
    pub(crate) fn with_if<R>(&self, f: impl FnOnce(&mut Shard, Instant) -> (R, bool)) -> R {
        let mut shard = self.lock();
        // Read under the lock, so that the stack sees a time that does not go back.
        let (result, kick) = f(&mut shard, self.clock.now());
        let wake = std::mem::take(&mut shard.wake);
        let trash = std::mem::take(&mut shard.trash);
        drop(shard);
        drop(trash);
        if kick {
            self.kick();
        }
        for waker in wake {
            waker.wake();
        }
        result
    }

    /// Makes the driver look at the shard again.
    ///
    /// No wake-up is lost. All four accesses are sequentially consistent, so either the driver, which announces that
    /// it sleeps and then looks at `dirty`, sees our store and does not sleep; or our store comes after its look, hence
    /// after its announcement, and we see that it sleeps and wake it. A device's waker sticks until the next wait.
    pub(crate) fn kick(&self) {
        self.dirty.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// For the driver: whether it may wait now.
    pub(crate) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        if self.dirty.swap(false, Ordering::SeqCst) {
            self.sleeping.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    pub(crate) fn add_tracer(&self, tracer: Tracer) {
        self.tracers.lock().unwrap_or_else(PoisonError::into_inner).push(tracer);
        self.lock().tracing = true;
    }

    pub(crate) fn add_watcher(&self, watcher: Watcher) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// For the driver, without the shard's lock.
    pub(crate) fn tell_overdue(&self, overdue: &[Why]) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for why in overdue {
            tracing::warn!(
                connection = why.id.0,
                local = %why.local,
                remote = %why.remote,
                "{why}: close or drop the socket"
            );
            for watcher in watchers.iter_mut() {
                watcher(why);
            }
        }
    }

    /// For the driver, without the shard's lock.
    pub(crate) fn trace(&self, events: &[TransitionEvent]) {
        let mut tracers = self.tracers.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            for tracer in tracers.iter_mut() {
                tracer(event);
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("drain", &self.drain).finish_non_exhaustive()
    }
}

/// Held by each [`Host`](crate::Host) handle and each socket. When the last one goes, the host drains and ends.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
}

impl Owner {
    /// What is wrong with an error of a call that named no connection.
    pub(crate) fn error(&self, error: Error) -> std::io::Error {
        let mut reason = ConnectionError::new(error);
        if error == Error::BadHandle {
            reason = reason.with_note(gone(&self.shared.lock()));
        }
        reason.into()
    }
}

/// Why a handle of ours names nothing.
pub(crate) fn gone(shard: &Shard) -> &'static str {
    match shard.phase {
        _ if shard.failure.is_some() => "the host's device failed",
        Phase::Running => "the socket was closed",
        Phase::Draining { .. } | Phase::Stopped => "the host was closed",
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let limit = self.shared.drain;
        self.shared.with(|shard, now| shard.begin_drain(now, limit));
    }
}

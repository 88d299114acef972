//! What the program's side still has under way, so that nothing it sent is cut off when it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Counts over all connections of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Connections whose end of stream from the program has not been passed on, dialling ones included.
    unfinished: AtomicUsize,
    /// Of these, those that wait for the host's side to take data.
    blocked: AtomicUsize,
    /// Bytes passed on to the host's side, in total.
    bytes: AtomicU64,
    /// The gateway is about to stop: a connection whose program has finished sending is closed, not reset.
    leaving: AtomicBool,
}

/// A reading of an [`Activity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) unfinished: usize,
    pub(crate) blocked: usize,
    bytes: u64,
}

impl Activity {
    pub(crate) fn read(&self) -> Reading {
        Reading {
            unfinished: self.unfinished.load(Ordering::Relaxed),
            blocked: self.blocked.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

/// One connection's share of an [`Activity`]. Dropping it takes the share out.
#[derive(Debug)]
pub(crate) struct Share {
    total: Arc<Activity>,
    finished: bool,
    blocked: bool,
}

impl Share {
    pub(crate) fn new(total: &Arc<Activity>) -> Self {
        total.unfinished.fetch_add(1, Ordering::Relaxed);
        Self { total: Arc::clone(total), finished: false, blocked: false }
    }

    /// Bytes were passed on.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.total.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.set_blocked(false);
    }

    /// The host's side takes nothing now.
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        match (self.blocked, blocked) {
            (false, true) => self.total.blocked.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.total.blocked.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.blocked = blocked;
    }

    /// The program's end of stream was passed on, or the connection is over.
    pub(crate) fn finish(&mut self) {
        self.set_blocked(false);
        if !std::mem::replace(&mut self.finished, true) {
            self.total.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The gateway stops and the program has sent all it had: the kernel may deliver the rest by itself.
    pub(crate) fn may_leave(&self) -> bool {
        self.finished && self.total.leaving.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.finish();
    }
}

//! Ending a wait from another thread.

use std::fmt;
use std::sync::Arc;

/// Ends a [`Device::wait`](crate::Device::wait) from any thread.
///
/// A wake-up is not lost: if nobody waits, the next `wait` returns at once. Several wake-ups before that `wait`
/// count as one.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`, which must neither block nor panic.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Ends the wait that is under way, or the next one.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

//! Clocks that stages read: a closure, so that virtual time is deterministic.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Gives the time as the distance from an epoch of its own. It must not go backwards.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Real time that only goes forward; its epoch is this call. For [`Impair`](crate::impair::Impair).
#[must_use]
pub fn monotonic() -> Clock {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

/// Real time since the Unix epoch (UTC) as the call finds it, going forward from there at the pace of the monotonic
/// clock. For [`Capture`](crate::capture::Capture).
#[must_use]
pub fn wall() -> Clock {
    let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    Arc::new(move || base + start.elapsed())
}

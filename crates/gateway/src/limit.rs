//! Limits that are met: each is said once, counted, and listed at the end.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack::Host;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::gateway::Shared;
use crate::options::Limits;
use crate::ping::MAX_SERIES;
use crate::trace::say;

/// A limit that has not been met for so long is said again when it is.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Pause between two looks at the limits that the stack keeps.
const LOOK: Duration = Duration::from_millis(200);

/// A limit that was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitMet {
    /// Its name in [`Limits`].
    pub name: &'static str,
    /// Its value.
    pub limit: u64,
    /// How often something had to wait, go or be refused because of it.
    pub times: u64,
}

impl fmt::Display for LimitMet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, limit, times } = self;
        write!(f, "limit {name} ({limit}) was met {times} time{}", if *times == 1 { "" } else { "s" })
    }
}

/// One limit, and how often it was met.
#[derive(Debug)]
pub(crate) struct Meter {
    name: &'static str,
    limit: u64,
    /// What that means to the user, and what to do.
    meaning: &'static str,
    times: AtomicU64,
    last: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    fn new(name: &'static str, limit: usize, meaning: &'static str) -> Self {
        Self { name, limit: limit as u64, meaning, times: AtomicU64::new(0), last: Mutex::default() }
    }

    /// It was met once more.
    pub(crate) fn meet(&self) {
        self.meet_times(1);
    }

    fn meet_times(&self, times: u64) {
        self.times.fetch_add(times, Ordering::Relaxed);
        let before = lock(&self.last).replace(Instant::now());
        if before.is_none_or(|before| before.elapsed() >= FORGOTTEN) {
            say(format_args!("limit {} ({}) is met: {}", self.name, self.limit, self.meaning));
        }
    }
}

/// All limits that can be met.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) connections: Meter,
    pub(crate) per_destination: Meter,
    pub(crate) udp_flows: Meter,
    pub(crate) pings: Meter,
    pending: Meter,
    memory: Meter,
}

impl Meters {
    pub(crate) fn new(limits: &Limits) -> Self {
        let wait = "new connections wait until others end";
        Self {
            connections: Meter::new("max_connections", limits.max_connections, wait),
            per_destination: Meter::new(
                "max_per_destination",
                limits.max_per_destination,
                "new connections to a destination wait until others to it end",
            ),
            udp_flows: Meter::new(
                "max_udp_flows",
                limits.max_udp_flows,
                "a new UDP flow ends the one that was idle the longest",
            ),
            pings: Meter::new("pings", MAX_SERIES, "more pings at once get no answer"),
            pending: Meter::new(
                "max_pending",
                limits.max_pending as usize,
                "requests to connect get no answer and are repeated",
            ),
            memory: Meter::new(
                "max_memory",
                limits.max_memory,
                "connections whose readers do not read hold all of the buffers; the others are slow until they do",
            ),
        }
    }

    /// Meets what the stack has met since the last look.
    pub(crate) fn look(&self, host: &Host) {
        let (refusals, drops) = (host.counts().buffer_refusals, host.counters().listen_drops);
        for (meter, now) in [(&self.memory, refusals), (&self.pending, drops)] {
            let more = now.saturating_sub(meter.times.load(Ordering::Relaxed));
            if more > 0 {
                meter.meet_times(more);
            }
        }
    }

    /// Those that were met.
    pub(crate) fn met(&self) -> Vec<LimitMet> {
        let Self { connections, per_destination, udp_flows, pings, pending, memory } = self;
        [connections, per_destination, pending, udp_flows, pings, memory]
            .into_iter()
            .map(|meter| {
                let times = meter.times.load(Ordering::Relaxed);
                LimitMet { name: meter.name, limit: meter.limit, times }
            })
            .filter(|met| met.times > 0)
            .collect()
    }
}

/// Follows the limits that the stack keeps, for as long as the gateway runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        shared.meters.look(&shared.host);
        sleep(LOOK).await;
    }
}

/// Connections to each destination.
#[derive(Debug, Default)]
pub(crate) struct Destinations(Mutex<HashMap<SocketAddr, usize>>);

/// One connection to a destination, until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    all: Arc<Destinations>,
    destination: SocketAddr,
}

impl Destinations {
    /// One more connection there, if it is not one too many.
    pub(crate) fn enter(self: &Arc<Self>, destination: SocketAddr, limit: usize) -> Option<Visit> {
        let mut all = lock(&self.0);
        let here = all.entry(destination).or_default();
        if *here >= limit {
            return None;
        }
        *here += 1;
        Some(Visit { all: Arc::clone(self), destination })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some(here) = all.get_mut(&self.destination) {
            *here -= 1;
            if *here == 0 {
                all.remove(&self.destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_has_room_again_when_a_connection_to_it_ends() {
        let all = Arc::<Destinations>::default();
        let (here, there) = ("192.0.2.1:80".parse().unwrap(), "192.0.2.1:81".parse().unwrap());
        let first = all.enter(here, 1);
        assert!(first.is_some() && all.enter(here, 1).is_none() && all.enter(there, 1).is_some());
        drop(first);
        assert!(all.enter(here, 1).is_some());
        assert!(lock(&all.0).is_empty(), "nothing is kept of those that are gone");
    }

    #[test]
    fn only_limits_that_were_met_are_listed() {
        let meters = Meters::new(&Limits { max_udp_flows: 7, ..Limits::default() });
        assert_eq!(meters.met(), []);
        meters.udp_flows.meet();
        meters.udp_flows.meet();
        let [met] = &meters.met()[..] else { panic!("{meters:?}") };
        assert_eq!(met.to_string(), "limit max_udp_flows (7) was met 2 times");
    }
}

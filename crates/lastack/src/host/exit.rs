//! The end of the process: what is written is still delivered, within a bound.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::park::block_on;
use super::shared::Shared;

static HOSTS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// For the driver's last round after the drain.
const SLACK: Duration = Duration::from_secs(1);

/// Has the host drained when the process ends.
pub(crate) fn register(shared: &Arc<Shared>) {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.retain(|host| host.strong_count() > 0);
    hosts.push(Arc::downgrade(shared));
    drop(hosts);
    HOOK.call_once(|| {
        // Without room for the hook (never seen: the C library grows its table) the end of the process behaves as
        // after a crash of the machine; `Host::close` works all the same.
        let _ = lastack_device::at_exit(drain_all);
    });
}

fn drain_all() {
    let hosts: Vec<_> = std::mem::take(&mut *HOSTS.lock().unwrap_or_else(PoisonError::into_inner))
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    let mut last = Instant::now();
    for host in &hosts {
        host.with(|shard, now| shard.begin_drain(now, host.drain));
        last = last.max(Instant::now() + host.drain + SLACK);
    }
    for host in &hosts {
        // The end of the process was asked for by the driver's own thread: it cannot wait for itself.
        if super::on_driver_thread() {
            return;
        }
        let _ = block_on(super::ended(host), Some(last));
    }
}

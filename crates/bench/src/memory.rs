//! Bytes per idle established connection and per TIME_WAIT record.

use crate::alloc::Counting;
use crate::lastack_peer::{Churn, Family, Idle};
use crate::smoltcp_peer;
use crate::workload::Workload;
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Which stack.
    pub peer: &'static str,
    /// What was counted.
    pub what: String,
    /// How many records were alive.
    pub records: usize,
    /// Bytes alive for each, everything included: index, slab with its slack, timers.
    pub bytes: f64,
    /// Blocks of the allocator for each; the system's allocator adds 8 to 16 bytes to each block.
    pub blocks: f64,
    /// The most bytes that were ever alive while the records were made, for each record.
    pub peak: f64,
    /// The project's target in bytes, where it has one.
    pub target: Option<f64>,
}

impl Figure {
    /// Whether the figure is within its target.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.target.map(|target| self.bytes <= target)
    }
}

/// Runs `work` and divides what it left alive by `records`.
fn figure(
    counter: &Counting,
    peer: &'static str,
    what: &str,
    records: usize,
    target: Option<f64>,
    work: impl FnOnce(),
) -> Figure {
    counter.start();
    work();
    let live = counter.live();
    counter.stop();
    let each = |n: i64| n as f64 / records as f64;
    let (bytes, blocks, peak) = (each(live.bytes), each(live.blocks), each(live.peak));
    Figure { peer, what: what.to_owned(), records, bytes, blocks, peak, target }
}

/// Measures everything with `count` connections. `counter` has to be the program's global allocator.
///
/// # Panics
/// If a connection that should be there is not.
#[must_use]
pub fn measure(counter: &Counting, count: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let mut idle = Idle::new(family, count);
        let what = format!("established, {name}, never used");
        figures.push(figure(counter, "lastack", &what, 2 * count, Some(1024.0), || idle.open(count)));
        assert_eq!(idle.established(), count);
        drop(idle);

        let mut idle = Idle::new(family, count);
        let what = format!("established, {name}, a byte each way");
        figures.push(figure(counter, "lastack", &what, 2 * count, Some(1024.0), || {
            idle.open(count);
            idle.exchange();
        }));
        assert_eq!(idle.established(), count);
    }
    for (family, name, target) in [(Family::V4, "IPv4", 96.0), (Family::V6, "IPv6", 128.0)] {
        let mut churn = Churn::for_family(family);
        churn.set_gap(0);
        let what = format!("TIME_WAIT, {name}");
        figures.push(figure(counter, "lastack", &what, count, Some(target), || churn.run(count as u64)));
        assert_eq!(churn.time_wait(), count);
    }
    for buffer in [64, 4096] {
        let mut idle = smoltcp_peer::Idle::new();
        let what = format!("established or TIME_WAIT, buffers 2 x {buffer}");
        figures.push(figure(counter, "smoltcp", &what, 2 * count, None, || idle.open(count, buffer)));
        assert_eq!(idle.established(), count);
    }
    figures
}

/// The figures as a table.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut out = format!(
        "{:<8} {:<38} {:>8} {:>9} {:>8} {:>9}  target\n",
        "stack", "record", "records", "bytes", "blocks", "peak"
    );
    for f in figures {
        let target = match (f.target, f.met()) {
            (Some(target), Some(true)) => format!("{target} (met)"),
            (Some(target), _) => format!("{target} (MISSED)"),
            (None, _) => String::new(),
        };
        out += &format!(
            "{:<8} {:<38} {:>8} {:>9.1} {:>8.2} {:>9.1}  {target}\n",
            f.peer, f.what, f.records, f.bytes, f.blocks, f.peak
        );
    }
    out
}

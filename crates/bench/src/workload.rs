//! What is measured: the cases, the two stacks, and the work of one run.

use crate::{lastack_peer, smoltcp_peer};
use clap::ValueEnum;

/// Window and socket buffers of the bulk cases, in bytes, unless something else is asked for: both ends' buffers and the
/// packets between them stay in a second-level cache of 2 MiB, so that the stacks are measured and not the memory.
pub const WINDOW: usize = 256 << 10;
/// Bytes that the application hands over, and takes, in one call at the most.
pub const COPY: usize = 64 << 10;
/// Buffers of each smoltcp socket in the churn cases, in bytes: receive and send alike.
pub const CHURN_BUFFER: usize = 4 << 10;
/// Virtual time between two rounds of the driver, in microseconds.
pub const ROUND_MICROS: u64 = 10;
/// Virtual time between two connections of the churn cases, in microseconds. With a TIME_WAIT of 60 s it keeps
/// 60,000 records in lastack's table.
pub const CHURN_GAP_MICROS: u64 = 1_000;
/// The same where both stacks keep TIME_WAIT: 6,000 records in lastack's table (60 s), 1,000 sockets in smoltcp's set
/// (10 s, which is fixed).
pub const KEEPING_GAP_MICROS: u64 = 10_000;

/// Who keeps the TIME_WAIT of connections that the client has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWait {
    /// Both, for as long as they do by themselves.
    Both,
    /// lastack does; smoltcp's socket is thrown away in TIME_WAIT.
    Lastack,
    /// Neither: smoltcp's socket is thrown away, lastack is told to make no record. And lastack's timestamps, which
    /// smoltcp does not send, are off.
    Neither,
}

impl TimeWait {
    /// Virtual time between two connections, in microseconds.
    #[must_use]
    pub const fn gap_micros(self) -> u64 {
        match self {
            Self::Both => KEEPING_GAP_MICROS,
            Self::Lastack | Self::Neither => CHURN_GAP_MICROS,
        }
    }

    /// Connections made before the first that counts, so that TIME_WAIT ends as often as it begins.
    #[must_use]
    pub const fn warm_up(self, peer: Peer) -> u64 {
        match (self, peer) {
            (Self::Both, Peer::Lastack) => 6_200,
            (Self::Lastack, Peer::Lastack) => 62_000,
            _ => 1_100,
        }
    }
}

/// Which stack is on both ends of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// This project's core, driven directly.
    Lastack,
    /// smoltcp 0.14.
    Smoltcp,
}

impl Peer {
    /// Both, in the order in which they take turns.
    pub const ALL: [Peer; 2] = [Peer::Lastack, Peer::Smoltcp];

    /// Name in tables and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lastack => "lastack",
            Self::Smoltcp => "smoltcp",
        }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One connection sends as fast as it can; MTU 1500; both sides make and verify every checksum.
    #[value(name = "bulk-1500")]
    Bulk1500,
    /// The same with MTU 65535.
    #[value(name = "bulk-65535")]
    Bulk65535,
    /// The same with MTU 1500 and a link that takes segments of up to 64 KiB and their checksum off the stack.
    BulkGso,
    /// Connect, one byte there, one byte back, close begun by the client; TIME_WAIT is kept.
    Churn,
    /// The same without what only one of the two does: no TIME_WAIT, no timestamps.
    #[value(name = "churn-bare")]
    ChurnBare,
    /// The same with lastack's TIME_WAIT and timestamps, and without a TIME_WAIT on smoltcp's side.
    #[value(name = "churn-uneven")]
    ChurnUneven,
    /// As `churn-uneven` with 1,000 other connections idle.
    #[value(name = "churn-idle-1000")]
    ChurnIdle1k,
    /// As `churn-uneven` with 10,000 other connections idle.
    #[value(name = "churn-idle-10000")]
    ChurnIdle10k,
}

/// What one unit of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A byte of the application.
    Byte,
    /// A connection from SYN to TIME_WAIT.
    Connection,
}

impl Case {
    /// All cases of bulk transfer.
    pub const BULK: [Case; 3] = [Case::Bulk1500, Case::Bulk65535, Case::BulkGso];
    /// All cases of connection churn.
    pub const CHURN: [Case; 5] =
        [Case::Churn, Case::ChurnBare, Case::ChurnUneven, Case::ChurnIdle1k, Case::ChurnIdle10k];

    /// Name in tables and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk1500 => "bulk-1500",
            Self::Bulk65535 => "bulk-65535",
            Self::BulkGso => "bulk-gso",
            Self::Churn => "churn",
            Self::ChurnBare => "churn-bare",
            Self::ChurnUneven => "churn-uneven",
            Self::ChurnIdle1k => "churn-idle-1000",
            Self::ChurnIdle10k => "churn-idle-10000",
        }
    }

    /// What [`Workload::run`] counts.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Bulk1500 | Self::Bulk65535 | Self::BulkGso => Unit::Byte,
            _ => Unit::Connection,
        }
    }

    /// The link of the case: MTU, and the largest segment that the device takes (0: it takes no offload).
    #[must_use]
    pub const fn link(self) -> (u16, u32) {
        match self {
            Self::Bulk65535 => (65_535, 0),
            Self::BulkGso => (1500, 65_535),
            _ => (1500, 0),
        }
    }

    /// Who keeps TIME_WAIT in a churn case.
    #[must_use]
    pub const fn time_wait(self) -> TimeWait {
        match self {
            Self::Churn => TimeWait::Both,
            Self::ChurnBare => TimeWait::Neither,
            _ => TimeWait::Lastack,
        }
    }

    /// Connections that stand idle beside the measured one.
    #[must_use]
    pub const fn idle(self) -> usize {
        match self {
            Self::ChurnIdle1k => 1_000,
            Self::ChurnIdle10k => 10_000,
            _ => 0,
        }
    }

    /// Work of one timed run, sized for some tenths of a second. smoltcp looks at each socket for each packet, so
    /// that the cases with idle sockets get less of it.
    #[must_use]
    pub const fn work(self, peer: Peer) -> u64 {
        match (self, peer) {
            (Self::Bulk1500 | Self::Bulk65535 | Self::BulkGso, _) => 512 << 20,
            (Self::Churn | Self::ChurnIdle1k, Peer::Smoltcp) => 4_000,
            (Self::ChurnIdle10k, Peer::Smoltcp) => 300,
            _ => 50_000,
        }
    }

    /// Work of one run under callgrind, which is some fifty times slower.
    #[must_use]
    pub const fn counted_work(self, peer: Peer) -> u64 {
        match (self, peer) {
            (Self::Bulk1500 | Self::Bulk65535 | Self::BulkGso, _) => 16 << 20,
            (Self::Churn | Self::ChurnIdle1k, Peer::Smoltcp) => 100,
            (Self::ChurnIdle10k, Peer::Smoltcp) => 10,
            _ => 2_000,
        }
    }

    /// Two stacks of `peer` joined by the case's link, ready to be measured: connected and past slow start, or with
    /// the idle connections opened and the TIME_WAIT table full. `window` is that of the bulk cases, in bytes.
    #[must_use]
    pub fn prepare(self, peer: Peer, window: usize) -> Box<dyn Workload> {
        match (self.unit(), peer) {
            (Unit::Byte, Peer::Lastack) => Box::new(lastack_peer::Bulk::new(self.link(), window)),
            (Unit::Byte, Peer::Smoltcp) => Box::new(smoltcp_peer::Bulk::new(self.link(), window)),
            (Unit::Connection, Peer::Lastack) => {
                Box::new(lastack_peer::Churn::new(self.idle(), self.time_wait()))
            }
            (Unit::Connection, Peer::Smoltcp) => {
                Box::new(smoltcp_peer::Churn::new(self.idle(), self.time_wait()))
            }
        }
    }
}

/// Two joined stacks that do measured work.
pub trait Workload {
    /// Does `work` more units: bytes from one application to the other, or connections.
    ///
    /// # Panics
    /// If the stacks make no progress or the data arrives wrong in number.
    fn run(&mut self, work: u64);
    /// Packets that have crossed the link so far, in both directions.
    fn packets(&self) -> u64;
    /// Packets that carried data, or all of them in the churn cases.
    fn segments(&self) -> u64;
}

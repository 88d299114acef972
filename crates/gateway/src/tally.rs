//! What is known of both sides of a connection while it is carried, and of each when it was let go.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack::{Ending, TcpInfo};
use tokio::net::TcpStream;

use crate::sys;

/// One side of a connection, when it was let go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leg {
    /// Smoothed round-trip time, if there was a sample.
    pub(crate) rtt: Option<Duration>,
    /// Segments that were sent again to that side.
    pub(crate) retransmissions: u32,
    /// Bytes for that side that its kernel had not acknowledged.
    pub(crate) unacked: u64,
    /// Bytes of that side that had arrived and were not taken.
    pub(crate) unread: u64,
    /// How it ended, where that is known.
    pub(crate) ending: Option<Ending>,
}

/// What is known of both sides of a connection.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Somebody wants to know: the legs are worth a few system calls.
    watched: bool,
    inside: Mutex<Option<Leg>>,
    outside: Mutex<Option<Leg>>,
    /// What ended the host's connection, as an errno; 0: nothing yet.
    pub(crate) host_error: AtomicI32,
    /// A rule ended it.
    pub(crate) by_rule: AtomicBool,
    /// Bytes taken from the program, and given to it.
    pub(crate) taken: AtomicU64,
    pub(crate) given: AtomicU64,
    /// Bytes written to the host's socket, and read from it.
    pub(crate) written: AtomicU64,
    pub(crate) read: AtomicU64,
}

fn lock(leg: &Mutex<Option<Leg>>) -> MutexGuard<'_, Option<Leg>> {
    leg.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sample(rtt: Duration) -> Option<Duration> {
    Some(rtt).filter(|rtt| !rtt.is_zero())
}

impl Tally {
    pub(crate) fn new(watched: bool) -> Self {
        Self { watched, ..Self::default() }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// The program's connection is let go; the first call counts.
    pub(crate) fn let_go_inside(&self, info: Option<TcpInfo>, ending: Option<Ending>) {
        let mut leg = Leg { ending, ..Leg::default() };
        if let Some(info) = info {
            leg.rtt = sample(info.srtt);
            leg.retransmissions = info.retransmissions;
            leg.unacked = u64::from(info.unacked) + u64::from(info.unsent);
            leg.unread = info.unread.into();
        }
        // A connection that is over has emptied its queues; its ending remembers them.
        if let Some(ending) = ending {
            (leg.unacked, leg.unread) = (ending.unacked.into(), ending.unread.into());
        }
        lock(&self.inside).get_or_insert(leg);
    }

    /// The host's socket is let go, its stream ended or not; the first call counts.
    pub(crate) fn let_go_outside(&self, socket: &TcpStream, ended: bool) {
        if !self.watched {
            return;
        }
        let mut leg = Leg::default();
        if let Ok(info) = sys::tcp_info(socket.as_fd()) {
            leg.rtt = sample(Duration::from_micros(info.tcpi_rtt.into()));
            leg.retransmissions = info.tcpi_total_retrans;
        }
        // The FIN has a number in the queue too.
        let queued = sys::unacknowledged(socket.as_fd()).unwrap_or(0);
        leg.unacked = queued.saturating_sub(usize::from(ended)) as u64;
        leg.unread = rustix::io::ioctl_fionread(socket).unwrap_or(0);
        lock(&self.outside).get_or_insert(leg);
    }

    pub(crate) fn inside(&self) -> Option<Leg> {
        lock(&self.inside).clone()
    }

    pub(crate) fn outside(&self) -> Option<Leg> {
        lock(&self.outside).clone()
    }

    /// Bytes that were passed on: of the program, and for it.
    pub(crate) fn passed_on(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.given.load(Ordering::Relaxed))
    }

    /// Bytes that were left undelivered: of the program, and for it. What the host's kernel had taken and not sent, what
    /// lastack held between both sides, and what the receiving kernel had not acknowledged.
    pub(crate) fn undelivered(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (inside, outside) = (self.inside().unwrap_or_default(), self.outside().unwrap_or_default());
        let held_out = get(&self.taken).saturating_sub(get(&self.written));
        let held_in = get(&self.read).saturating_sub(get(&self.given));
        (inside.unread + held_out + outside.unacked, outside.unread + held_in + inside.unacked)
    }
}

//! The thread that owns the device. It is no task of anybody's runtime, so it outlives the sockets (law 9).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lastack_core::Instant;
use lastack_device::Device;

use super::shard::{Phase, Shard};
use super::shared::Shared;

/// Packets taken from and given to the device in one holding of the lock.
const BATCH: usize = 256;
/// How often, and how long each time, a host that ends waits for a full device.
const FLUSH_WAITS: u32 = 50;
const FLUSH_WAIT: Duration = Duration::from_millis(20);
/// Batches of arrivals that it throws away before each wait.
const FLUSH_BATCHES: u32 = 16;

/// What to do after a round.
enum Next {
    /// There is more.
    Again,
    /// Nothing until then, a packet or a kick.
    Wait(Option<Instant>),
    /// The host is over.
    Stop,
}

/// What is next after a [`Driver::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do at this time.
    Again,
    /// Nothing until this time of the host's clock, a packet, or a call of the device's [`Waker`](lastack_device::Waker),
    /// which comes as soon as a socket has something to do.
    Wait(Option<Instant>),
    /// The host is over.
    Over,
}

/// What moves the packets of a host that has no thread: see [`HostBuilder::start_stepped`](super::HostBuilder::start_stepped).
///
/// Dropping it stops the host; calls on its sockets fail then.
pub struct Driver {
    device: Box<dyn Device + Send>,
    stop: StopOnDrop,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, device: Box<dyn Device + Send>) -> Self {
        Self { device, stop: StopOnDrop(shared) }
    }

    /// Takes in what the device received, lets due timers act, gives the device what is to be sent, and wakes whom it
    /// concerns; a batch at the most. Never waits.
    pub fn turn(&mut self) -> Turn {
        let shared = &self.stop.0;
        shared.awake();
        match round(shared, &mut *self.device) {
            Ok(Next::Wait(deadline)) if shared.may_sleep() => Turn::Wait(deadline),
            Ok(Next::Again | Next::Wait(_)) => Turn::Again,
            Ok(Next::Stop) => Turn::Over,
            Err(e) => {
                fail(shared, &e);
                Turn::Over
            }
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Runs a host until it is over.
pub(crate) fn run(mut driver: Driver) {
    loop {
        match driver.turn() {
            Turn::Again => {}
            Turn::Over => return,
            Turn::Wait(deadline) => {
                let Driver { device, stop: StopOnDrop(shared) } = &mut driver;
                if let Err(e) = wait(shared, &mut **device, deadline) {
                    return fail(shared, &e);
                }
            }
        }
    }
}

/// One round: what arrived, what is due, what is to be sent; then, without the lock, whom it concerns.
fn round(shared: &Shared, device: &mut dyn Device) -> io::Result<Next> {
    let mut guard = shared.lock();
    let shard = &mut *guard;
    let now = shared.now();
    let received = device.receive(BATCH, &mut |meta, packet| shard.stack.receive(now, meta, packet))?;
    if shard.stack.next_timeout().is_some_and(|at| at <= now) {
        shard.stack.handle_timeout(now);
    }
    let mut more = received == BATCH;
    more |= transmit(shard, device, now)?;
    shard.collect(now);
    let stop = shard.is_drained(now, more || device.is_full());
    if stop {
        shard.finish(now);
        flush(shard, device, now)?;
        shard.collect(now);
    }
    let deadline = shard.next_deadline();
    let mut wake = std::mem::take(&mut shard.wake);
    let mut traced = std::mem::take(&mut shard.traced);
    let overdue = std::mem::take(&mut shard.overdue);
    drop(guard);

    if !overdue.is_empty() {
        shared.tell_overdue(&overdue);
    }
    if !traced.is_empty() {
        shared.trace(&traced);
        traced.clear();
    }
    for waker in wake.drain(..) {
        waker.wake();
    }
    give_back(shared, wake, traced);
    Ok(match (stop, more) {
        (true, _) => Next::Stop,
        (false, true) => Next::Again,
        (false, false) => Next::Wait(deadline),
    })
}

/// Sends what the stack has, a batch at the most; true if there may be more and the device takes it.
fn transmit(shard: &mut Shard, device: &mut dyn Device, now: Instant) -> io::Result<bool> {
    let mut left = BATCH;
    device.transmit(&mut |frame| {
        left = left.checked_sub(1)?;
        shard.stack.transmit(now, frame)
    })?;
    Ok(left == 0 && !device.is_full())
}

/// Sends the last of it, the resets of what is left, however many: waits for a full device, but not for ever.
fn flush(shard: &mut Shard, device: &mut dyn Device, now: Instant) -> io::Result<()> {
    let mut waits = FLUSH_WAITS;
    while shard.stack.wants_transmit() {
        let sent = device.transmit(&mut |frame| shard.stack.transmit(now, frame))?;
        if sent > 0 {
            continue;
        }
        if !device.is_full() || waits == 0 {
            break;
        }
        waits -= 1;
        // Nobody is left to read what arrives, and it would end each wait at once.
        for _ in 0..FLUSH_BATCHES {
            if device.receive(BATCH, &mut |_, _| {})? < BATCH {
                break;
            }
        }
        device.wait(Some(FLUSH_WAIT))?;
    }
    Ok(())
}

/// Keeps the room of the lists for the next round.
fn give_back(shared: &Shared, wake: Vec<std::task::Waker>, traced: Vec<lastack_core::TransitionEvent>) {
    if wake.capacity() == 0 && traced.capacity() == 0 {
        return;
    }
    let mut shard = shared.lock();
    if shard.wake.capacity() == 0 {
        shard.wake = wake;
    }
    if shard.traced.capacity() == 0 {
        shard.traced = traced;
    }
}

fn wait(shared: &Shared, device: &mut dyn Device, deadline: Option<Instant>) -> io::Result<()> {
    let timeout = deadline.map(|at| at.saturating_since(shared.now()));
    if timeout == Some(Duration::ZERO) { Ok(()) } else { device.wait(timeout) }
}

/// The device is gone: every connection ends, and says so.
fn fail(shared: &Shared, e: &io::Error) {
    shared.with(|shard, now| {
        shard.failure = Some(e.to_string());
        shard.begin_drain(now, Duration::ZERO);
        shard.finish(now);
        shard.collect(now);
    });
}

/// Says that the driver is gone, however it goes.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.with(|shard, now| {
            if shard.report.is_none() {
                shard.failure.get_or_insert_with(|| "the driver thread panicked".to_owned());
                shard.phase = Phase::Draining { until: now };
                shard.release_all(now);
                shard.finish(now);
            }
            shard.stop();
        });
    }
}

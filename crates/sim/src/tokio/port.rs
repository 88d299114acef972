//! What a simulated host stands on: its device, its clock, and the bell by which it calls for attention.

use ::tokio::runtime::Handle;
use ::tokio::time::Instant as TokioInstant;
use lastack::Clock;
use lastack_core::Instant;
use lastack_core::wire::{Capabilities, PacketMeta};
use lastack_device::{Device, Fill, Sink, Waker};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

// Everything here happens on one thread; the locks and atomics are there because a `Host` can be sent.
const ORDER: Ordering = Ordering::Relaxed;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the task that moves the packets hears of things.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// A host has something to do.
    kicked: AtomicBool,
    /// It wants to know when all other tasks wait.
    asked: AtomicBool,
    waker: Mutex<Option<std::task::Waker>>,
}

impl Bell {
    fn ring(&self) {
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whom to wake.
    pub(super) fn listen(&self, waker: &std::task::Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    /// A host has something to do.
    fn kick(&self) {
        self.kicked.store(true, ORDER);
        self.ring();
    }

    pub(super) fn take_kick(&self) -> bool {
        self.kicked.swap(false, ORDER)
    }

    /// tokio has no task that could run: called right before it would wait.
    pub(super) fn idle(&self) {
        if self.asked.swap(false, ORDER) {
            self.ring();
        }
    }

    /// Waits until no other task can run.
    pub(super) async fn all_idle(&self) {
        self.asked.store(true, ORDER);
        poll_fn(|cx| {
            self.listen(cx.waker());
            if self.asked.load(ORDER) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

/// tokio's clock, as nanoseconds since the network was made.
#[derive(Clone, Debug)]
pub(super) struct VirtualClock {
    start: TokioInstant,
    /// The last reading, for those who ask from outside of the runtime.
    last: Arc<AtomicU64>,
}

impl VirtualClock {
    pub(super) fn new(start: TokioInstant) -> Self {
        Self { start, last: Arc::default() }
    }

    pub(super) fn read(&self) -> Instant {
        if Handle::try_current().is_ok() {
            let nanos = TokioInstant::now().duration_since(self.start).as_nanos();
            self.last.store(u64::try_from(nanos).unwrap_or(u64::MAX), ORDER);
        }
        Instant::from_nanos(self.last.load(ORDER))
    }

    /// A time as tokio has it.
    pub(super) fn at(&self, at: Instant) -> TokioInstant {
        self.start + (at - Instant::ZERO)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.read()
    }
}

#[derive(Debug, Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    free: Vec<Vec<u8>>,
}

/// A host's device.
#[derive(Clone, Debug)]
pub(super) struct Port {
    mtu: u16,
    queues: Arc<Mutex<Queues>>,
    kicked: Arc<AtomicBool>,
    bell: Arc<Bell>,
}

impl Port {
    pub(super) fn new(mtu: u16, bell: Arc<Bell>) -> Self {
        Self { mtu, queues: Arc::default(), kicked: Arc::default(), bell }
    }

    /// Its host has something to do.
    pub(super) fn take_kick(&self) -> bool {
        self.kicked.swap(false, ORDER)
    }

    /// A packet comes from the network.
    pub(super) fn arrive(&self, bytes: &[u8]) {
        let mut queues = lock(&self.queues);
        let mut packet = queues.free.pop().unwrap_or_default();
        packet.clear();
        packet.extend_from_slice(bytes);
        queues.arrived.push_back(packet);
    }

    /// Hands what the host sent to the network.
    pub(super) fn send(&self, mut to: impl FnMut(&[u8])) {
        let mut queues = lock(&self.queues);
        let mut sent = std::mem::take(&mut queues.sent);
        for packet in &sent {
            to(packet);
        }
        queues.free.append(&mut sent);
    }
}

impl Device for Port {
    fn capabilities(&self) -> Capabilities {
        Capabilities::plain(self.mtu)
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let mut received = 0;
        while received < max {
            let Some(packet) = lock(&self.queues).arrived.pop_front() else { break };
            sink(&PacketMeta::default(), &packet);
            lock(&self.queues).free.push(packet);
            received += 1;
        }
        Ok(received)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let mut packet = lock(&self.queues).free.pop().unwrap_or_default();
            packet.resize(self.mtu.into(), 0);
            let Some((len, _)) = fill(&mut packet) else {
                lock(&self.queues).free.push(packet);
                return Ok(taken);
            };
            packet.truncate(len);
            lock(&self.queues).sent.push(packet);
            taken += 1;
        }
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn waker(&self) -> Waker {
        let (kicked, bell) = (Arc::clone(&self.kicked), Arc::clone(&self.bell));
        Waker::new(move || {
            kicked.store(true, ORDER);
            bell.kick();
        })
    }
}

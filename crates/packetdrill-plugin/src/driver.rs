//! The machine under a lock, its clock, and packetdrill's two threads.
//!
//! One thread runs the script. A call that the script marks as blocking comes from a second one, which has to sleep while
//! it is blocked: packetdrill looks at its state in `/proc`. With the virtual clock the thread of the script moves time;
//! when a blocked call returns, the clock stands still until its thread has asked what time it is.

use crate::flags::Options;
use crate::sysctl;
use lastack_core::Instant;
use packetdrill::call::{Call, Fd, Outcome};
use packetdrill::sys::{Descriptors, Machine, Sent, Step, Ticket};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

/// What each look at the virtual clock costs: packetdrill spins on it before an event.
const CREEP: Duration = Duration::from_micros(1);
/// How far time runs ahead in the search for a packet. Keep-alive begins after two hours.
const AHEAD: Duration = Duration::from_secs(24 * 3600);
/// Real time for which a clock is held at the most: its thread may have ended.
const HOLD: Duration = Duration::from_secs(1);
/// Stack of the timer thread. All memory is locked, so it is small.
const THREAD_STACK: usize = 128 << 10;

/// A clock that stands still for a thread.
#[derive(Clone, Copy, Debug)]
struct Hold {
    thread: ThreadId,
    until: std::time::Instant,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    /// Calls that sleep, by the thread that made them.
    sleepers: BTreeMap<Ticket, ThreadId>,
    /// Outcomes that their threads have not fetched.
    done: BTreeMap<Ticket, Outcome>,
    hold: Option<Hold>,
    ended: bool,
}

/// One run of packetdrill.
#[derive(Debug)]
pub(crate) struct Driver {
    options: Options,
    /// Wall clock: when the machine's time 0 was.
    start: Option<std::time::Instant>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Driver {
    pub(crate) fn new(options: Options, numbers: Box<dyn Descriptors>) -> Self {
        let machine = Machine::with_descriptors(&options.settings, numbers);
        let behind = Duration::from_nanos(machine.now().as_nanos());
        let start = options
            .real_clock
            .then(|| std::time::Instant::now().checked_sub(behind).unwrap_or_else(std::time::Instant::now));
        let state =
            State { machine, sleepers: BTreeMap::new(), done: BTreeMap::new(), hold: None, ended: false };
        Self { options, start, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: std::time::Instant,
    ) -> MutexGuard<'a, State> {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match self.changed.wait_timeout(state, left) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// The wall clock on the machine's scale.
    fn real_now(&self) -> Option<Instant> {
        let elapsed = self.start?.elapsed();
        Some(Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// With a real clock: what has fallen due until now happens.
    fn catch_up(&self, state: &mut State) {
        if let Some(now) = self.real_now() {
            while state.machine.now() < now {
                state.machine.advance(now);
                self.collect(state);
            }
        }
    }

    /// Hands the outcomes of blocked calls to their threads.
    fn collect(&self, state: &mut State) {
        while let Some(finished) = state.machine.finished() {
            let thread = state.sleepers.remove(&finished.ticket);
            state.done.insert(finished.ticket, finished.outcome);
            if let Some(thread) = thread.filter(|_| self.start.is_none()) {
                state.hold = Some(Hold { thread, until: std::time::Instant::now() + HOLD });
            }
        }
        self.changed.notify_all();
    }

    /// Sleeps while the clock is held for another thread.
    fn wait_for_release<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let me = std::thread::current().id();
        while let Some(hold) = state.hold.filter(|hold| hold.thread != me) {
            if std::time::Instant::now() >= hold.until {
                state.hold = None;
                break;
            }
            state = self.wait_until(state, hold.until);
        }
        state
    }

    /// Moves the virtual clock; a call that returns on the way is waited for.
    fn advance<'a>(&self, state: MutexGuard<'a, State>, by: Duration) -> MutexGuard<'a, State> {
        let mut state = self.wait_for_release(state);
        let to = state.machine.now() + by;
        while state.machine.now() < to {
            state.machine.advance(to);
            self.collect(&mut state);
            state = self.wait_for_release(state);
        }
        state
    }

    /// Makes a call, and sleeps until it returns.
    pub(crate) fn call(&self, call: Call) -> Outcome {
        let mut state = self.lock();
        self.catch_up(&mut state);
        if self.options.read_sysctls && matches!(call, Call::Socket { .. }) {
            state.machine.configure(|settings| sysctl::read(settings, &self.options.fixed));
        }
        let step = state.machine.call(call);
        self.collect(&mut state);
        let ticket = match step {
            Step::Done(outcome) => return outcome,
            Step::Blocked(ticket) => ticket,
        };
        state.sleepers.insert(ticket, std::thread::current().id());
        loop {
            if let Some(outcome) = state.done.remove(&ticket) {
                return outcome;
            }
            state = match self.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Whether `fd` is a descriptor of this run.
    pub(crate) fn owns(&self, fd: Fd) -> bool {
        self.lock().machine.owns(fd)
    }

    /// A packet arrives at the stack.
    pub(crate) fn inject(&self, packet: &[u8]) {
        let mut state = self.lock();
        self.catch_up(&mut state);
        state.machine.inject(packet);
        self.collect(&mut state);
    }

    /// The next packet of the stack; `None` if none will come.
    pub(crate) fn receive(&self) -> Option<Sent> {
        if self.start.is_some() { self.receive_real() } else { self.receive_virtual() }
    }

    /// Lets time run to the next packet: packetdrill judges whether it came at the right moment.
    fn receive_virtual(&self) -> Option<Sent> {
        let mut state = self.lock();
        let limit = state.machine.now() + AHEAD;
        loop {
            if let Some(sent) = state.machine.sent() {
                return Some(sent);
            }
            state = self.wait_for_release(state);
            let found = state.machine.advance_to_packet(limit);
            let returned = state.machine.has_finished();
            self.collect(&mut state);
            if !found && !returned {
                return None;
            }
        }
    }

    fn receive_real(&self) -> Option<Sent> {
        let mut state = self.lock();
        let mut give_up = std::time::Instant::now() + self.options.patience;
        loop {
            self.catch_up(&mut state);
            if let Some(sent) = state.machine.sent() {
                return Some(sent);
            }
            if let Some((start, at)) = self.start.zip(state.machine.next_deadline()) {
                give_up = give_up.max(start + Duration::from_nanos(at.as_nanos()) + self.options.patience);
            }
            if std::time::Instant::now() >= give_up {
                return None;
            }
            state = self.wait_until(state, give_up);
        }
    }

    /// `usleep`.
    pub(crate) fn sleep(&self, time: Duration) {
        if self.start.is_some() {
            std::thread::sleep(time);
        } else {
            drop(self.advance(self.lock(), time));
        }
    }

    /// `gettimeofday`. With the virtual clock the question itself takes a microsecond.
    pub(crate) fn time(&self) -> Instant {
        if let Some(now) = self.real_now() {
            return now;
        }
        let mut state = self.lock();
        if state.hold.is_some_and(|hold| hold.thread == std::thread::current().id()) {
            // The thread of the call that has just returned: now it knows when that was.
            state.hold = None;
            self.changed.notify_all();
            return state.machine.now();
        }
        let state = self.wait_for_release(state);
        let now = state.machine.now();
        drop(self.advance(state, CREEP));
        now
    }

    /// With a real clock: a thread that lets timers act while packetdrill sleeps.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn start(self: &std::sync::Arc<Self>) -> std::io::Result<()> {
        if self.start.is_none() {
            return Ok(());
        }
        let driver = std::sync::Arc::clone(self);
        let builder = std::thread::Builder::new().name("lastack-timers".into()).stack_size(THREAD_STACK);
        builder.spawn(move || driver.run_timers()).map(drop)
    }

    fn run_timers(&self) {
        let mut state = self.lock();
        while !state.ended {
            self.catch_up(&mut state);
            self.changed.notify_all();
            let idle = std::time::Instant::now() + Duration::from_secs(1);
            let until = match self.start.zip(state.machine.next_deadline()) {
                Some((start, at)) => idle.min(start + Duration::from_nanos(at.as_nanos())),
                None => idle,
            };
            state = self.wait_until(state, until);
        }
    }

    /// The run is over.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

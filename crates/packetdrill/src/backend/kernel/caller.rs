//! A thread that makes the calls of a script, so that one that sleeps does not stop it.

use super::ffi;
use crate::call::{Call, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a call may take, in real time, before it counts as sleeping.
const LIMIT: Duration = Duration::from_secs(2);

/// The thread, and the ways to it. It belongs to the network namespace of the thread that made it.
#[derive(Debug)]
pub(super) struct Caller {
    calls: Option<Sender<Call>>,
    outcomes: Receiver<(Instant, Outcome)>,
    inside: Arc<AtomicBool>,
    task: i32,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    pub(super) fn new() -> std::io::Result<Self> {
        let (calls, asked) = channel::<Call>();
        let (answer, outcomes) = channel();
        let (say, task) = channel();
        let inside = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&inside);
        let body = move || {
            let _ = say.send(nix::unistd::gettid().as_raw());
            while let Ok(call) = asked.recv() {
                flag.store(true, Ordering::SeqCst);
                let outcome = ffi::perform(&call);
                let at = Instant::now();
                flag.store(false, Ordering::SeqCst);
                if answer.send((at, outcome)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("script-calls".into()).spawn(body)?;
        let task = task.recv().map_err(|_| std::io::Error::other("the thread for calls did not start"))?;
        Ok(Self { calls: Some(calls), outcomes, inside, task, thread: Some(thread) })
    }

    fn send(&self, call: &Call) {
        // The thread ends only when this sender is gone.
        let _ = self.calls.as_ref().map(|calls| calls.send(call.clone()));
    }

    /// Makes a call; `None` if it sleeps.
    pub(super) fn call(&self, call: &Call) -> Option<Outcome> {
        self.send(call);
        self.outcomes.recv_timeout(LIMIT).ok().map(|(_, outcome)| outcome)
    }

    /// Begins a call; returns once it sleeps or has returned.
    pub(super) fn begin(&self, call: &Call) -> Option<(Instant, Outcome)> {
        self.send(call);
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            match self.outcomes.try_recv() {
                Ok(ended) => return Some(ended),
                Err(_) if self.inside.load(Ordering::SeqCst) && self.sleeps() => return None,
                Err(_) => thread::yield_now(),
            }
        }
        None
    }

    /// The end of a call that was begun, if it comes within `patience`.
    pub(super) fn ended(&self, patience: Duration) -> Option<(Instant, Outcome)> {
        self.outcomes.recv_timeout(patience).ok()
    }

    fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.task)).unwrap_or_default();
        // The state stands behind the name in brackets.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
    }

    /// Ends the thread. `wake` makes a call return that still sleeps.
    pub(super) fn finish(&mut self, wake: impl FnOnce()) {
        self.calls = None;
        if self.inside.load(Ordering::SeqCst) {
            wake();
        }
        let Some(thread) = self.thread.take() else { return };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < LIMIT {
            thread::sleep(Duration::from_micros(200));
        }
        // A call that nothing wakes keeps its thread until the process ends.
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

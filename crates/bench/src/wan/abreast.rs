//! Runs side by side where the machine has time for them: a run takes its time on the wall, most of which it waits.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bits per second that the roads of all runs carry together at the most, if it is more than one run. Beyond that the
/// emulator would compete with the senders for a small machine's processors.
const TOGETHER: f64 = 400e6;

/// What is to be run.
pub(super) struct Job<T> {
    pub(super) what: T,
    /// Bits per second of its road.
    pub(super) rate: f64,
    /// How long it takes, about.
    pub(super) time: Duration,
}

struct State<R> {
    /// Jobs that nobody has begun, by place.
    waiting: Vec<usize>,
    running: usize,
    rate: f64,
    results: Vec<Option<R>>,
    failure: Option<String>,
    /// Seconds of runs that are over.
    done: f64,
}

/// Runs all `jobs`, up to `most` at once; results in their order. The first failure ends it.
///
/// # Errors
/// The first failure.
pub(super) fn run<T: Sync, R: Send>(
    jobs: &[Job<T>],
    most: usize,
    work: impl Fn(&T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let state = Mutex::new(State {
        waiting: (0..jobs.len()).collect(),
        running: 0,
        rate: 0.0,
        results: jobs.iter().map(|_| None).collect(),
        failure: None,
        done: 0.0,
    });
    let (changed, begun) = (Condvar::new(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..most.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(place) = next(jobs, &state, &changed) {
                    let result = work(&jobs[place].what);
                    finish(jobs, &state, &changed, (place, result), begun);
                }
            });
        }
    });
    eprintln!();
    let state = state.into_inner().map_err(|_| "a run panicked")?;
    match state.failure {
        Some(failure) => Err(failure),
        None => state.results.into_iter().collect::<Option<_>>().ok_or_else(|| "a run is missing".to_owned()),
    }
}

/// Takes the first job for whose rate there is room, waiting for it; `None` if there is nothing left to do.
fn next<T, R>(jobs: &[Job<T>], state: &Mutex<State<R>>, changed: &Condvar) -> Option<usize> {
    let mut state = state.lock().ok()?;
    loop {
        if state.failure.is_some() || state.waiting.is_empty() {
            return None;
        }
        let fits = |place: &usize| state.running == 0 || state.rate + jobs[*place].rate <= TOGETHER;
        if let Some(index) = state.waiting.iter().position(fits) {
            let place = state.waiting.remove(index);
            state.running += 1;
            state.rate += jobs[place].rate;
            return Some(place);
        }
        state = changed.wait(state).ok()?;
    }
}

fn finish<T, R>(
    jobs: &[Job<T>],
    state: &Mutex<State<R>>,
    changed: &Condvar,
    (place, result): (usize, Result<R, String>),
    begun: Instant,
) {
    let Ok(mut state) = state.lock() else { return };
    state.running -= 1;
    state.rate -= jobs[place].rate;
    state.done += jobs[place].time.as_secs_f64();
    match result {
        Ok(result) => state.results[place] = Some(result),
        Err(error) => state.failure = state.failure.take().or(Some(error)),
    }
    let (all, count) = (jobs.iter().map(|job| job.time.as_secs_f64()).sum::<f64>(), jobs.len());
    let left = begun.elapsed().as_secs_f64() * (all - state.done).max(0.0) / state.done.max(1e-3);
    let over = state.results.iter().flatten().count();
    eprint!("\r{over} of {count} runs, about {:.0} min left ", (left / 60.0).ceil());
    changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn job(what: usize, rate: f64) -> Job<usize> {
        Job { what, rate, time: Duration::from_millis(1) }
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_wide_roads_run_alone() {
        let jobs: Vec<_> = (0..20).map(|n| job(n, if n % 5 == 0 { 1000e6 } else { 10e6 })).collect();
        let (running, wide) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = run(&jobs, 4, |n| {
            let is_wide = n % 5 == 0;
            wide.fetch_add(usize::from(is_wide), Ordering::SeqCst);
            let others = running.fetch_add(1, Ordering::SeqCst);
            assert!(others == 0 || wide.load(Ordering::SeqCst) == 0);
            thread::sleep(Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
            wide.fetch_sub(usize::from(is_wide), Ordering::SeqCst);
            Ok(n * 2)
        });
        assert_eq!(results, Ok((0..20).map(|n| n * 2).collect()));
    }

    #[test]
    fn failure_ends_everything_and_is_told() {
        let begun = AtomicUsize::new(0);
        let jobs: Vec<_> = (0..100).map(|n| job(n, 10e6)).collect();
        let result: Result<Vec<()>, _> = run(&jobs, 1, |n| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *n == 3 { Err("three".to_owned()) } else { Ok(()) }
        });
        assert_eq!((result, begun.into_inner()), (Err("three".to_owned()), 4));
    }
}

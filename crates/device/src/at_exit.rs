//! A function to run when the process ends.

use std::io;

/// Has `run` called once when the process ends by `exit` or by returning from `main` (not by a signal, `abort` or
/// `_exit`). Functions run in the reverse order of their registration, on the thread that ends the process, while
/// the other threads go on.
///
/// # Errors
/// The C library has no room for another function (`atexit`, POSIX).
pub fn at_exit(run: fn()) -> io::Result<()> {
    static RUN: std::sync::Mutex<Vec<fn()>> = std::sync::Mutex::new(Vec::new());

    extern "C" fn run_all() {
        loop {
            let next = RUN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            let Some(run) = next else { return };
            // A panic must not cross into C.
            if std::panic::catch_unwind(run).is_err() {
                return;
            }
        }
    }

    let mut list = RUN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if list.is_empty() {
        // SAFETY: `run_all` is a function without captures that lives as long as the process and never unwinds.
        #[allow(unsafe_code)]
        let status = unsafe { libc::atexit(run_all) };
        if status != 0 {
            return Err(io::Error::other("the C library takes no more functions to run at exit"));
        }
    }
    list.push(run);
    Ok(())
}

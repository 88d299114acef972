//! A network namespace for the length of a test.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

/// A test that takes longer hangs, and fails.
const HANG: Duration = Duration::from_secs(150);

/// Runs `test` on a thread in a new network namespace. Threads and processes that it starts are in it too; it ends with
/// the last of them.
///
/// With `LASTACK_SKIP_ROOT_TESTS=1` it says that it leaves the test out.
///
/// # Panics
/// Without root; if the test panics; if it takes longer than two and a half minutes.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1") {
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root for a network namespace and a TUN; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
    );
    let (done, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Dropped at the end, by a panic too.
        let _done = done;
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(status.expect("ip (Debian package iproute2) is needed").success());
        test();
    });
    assert_ne!(ended.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Timeout), "the test hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

//! The crate's only unsafe code: what the libraries offer no safe call for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{ForkResult, Pid};

/// `SIOCOUTQ`: bytes (and FIN) in the send queue of a TCP socket that the peer has not acknowledged (tcp(7)).
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the length of the call, and TIOCOUTQ (the same number as SIOCOUTQ) writes one
    // int to the pointer.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// Has `set_up` run in the child between fork and exec; its error is the result of the spawn.
///
/// `set_up` must make system calls only: no allocation, no lock, no other thread's data. The parent has threads.
pub(crate) fn before_exec(
    command: &mut Command,
    set_up: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the callers keep to the rule above: what runs after the fork is async-signal-safe.
    unsafe {
        command.pre_exec(set_up);
    }
}

/// Makes a second process, which goes on from here: `None` there, the child's number here.
///
/// # Errors
/// Those of fork(2); and if this process has more than one thread, because the child would have only one of them and
/// the locks of all.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has other threads already"));
    }
    // SAFETY: there is no other thread that could hold a lock or be in the middle of something, so the child may do
    // whatever its parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Lets the end of children be reported. A process that was started with `SIGCHLD` ignored would never hear of it.
pub(crate) fn watch_children() -> io::Result<()> {
    // SAFETY: SIG_DFL is no handler, so nothing runs in a signal's context.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

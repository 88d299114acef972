//! The crate's only unsafe code: what the libraries offer no safe call for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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

/// `NS_GET_USERNS`: the user namespace that owns a namespace (ioctl_nsfs(2)).
///
/// # Errors
/// `PermissionDenied` if it is not that of this process or below.
pub(crate) fn owner_of_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the descriptor is open for the length of the call, and this request takes no argument.
    let descriptor = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `NS_GET_NSTYPE`: whether this is a network namespace (ioctl_nsfs(2)).
pub(crate) fn is_network_namespace(file: BorrowedFd<'_>) -> bool {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the descriptor is open for the length of the call, and this request takes no argument.
    unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

/// Takes a descriptor that this process was started with, by its number. It is closed on exec from now on.
///
/// # Errors
/// There is none of this number (any more), or it is standard input, output or error.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the call reads no memory; a number that is not open is an error.
    let descriptor = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: whoever started this process says that the number is for this use, and callers ask before the process opens
    // anything that it keeps; so nobody else here owns it.
    unsafe { libc::close(number) };
    // SAFETY: the kernel has just made it for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets the end of children be reported. A process that was started with `SIGCHLD` ignored would never hear of it.
pub(crate) fn watch_children() -> io::Result<()> {
    // SAFETY: SIG_DFL is no handler, so nothing runs in a signal's context.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Retransmission time-outs in a row, and probes, that the peer of a TCP socket has not answered.
pub(crate) fn unanswered(socket: BorrowedFd<'_>) -> io::Result<(u8, u8)> {
    tcp_info(socket).map(|info| (info.tcpi_backoff, info.tcpi_probes))
}

/// What the kernel knows of a TCP socket (`TCP_INFO`, tcp(7)); what an older kernel does not know is 0.
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    // SAFETY: tcp_info has only integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the descriptor is open for the length of the call; the kernel writes at most `len` bytes to `info`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}

//! Until when a gateway for a namespace or a machine goes on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// Holds SIGTERM, SIGINT and SIGHUP back, for [`wait`]. Threads that are made later hold them back too.
pub(crate) fn hold_signals() -> io::Result<SignalFd> {
    let mut held = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| held.add(signal));
    held.thread_block()?;
    Ok(SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC)?)
}

/// Waits for a signal, for the other end of `exit` to go, or for the gateway to end.
pub(crate) fn wait(signals: &SignalFd, exit: Option<&OwnedFd>, ended: &impl AsFd) -> io::Result<()> {
    loop {
        // Without events asked for, the end alone is told.
        let mut watched = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(ended, PollFlags::empty())];
        watched.extend(exit.map(|exit| PollFd::new(exit, PollFlags::empty())));
        match poll(&mut watched, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

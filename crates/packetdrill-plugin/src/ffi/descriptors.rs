//! Descriptors of the kernel: one file for each socket, pipe end and epoll set.

use super::{errno, unpoisoned};
use packetdrill::call::Fd;
use packetdrill::sys::Descriptors;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What tells an open file from another that has got its number later.
pub(super) type Identity = (libc::dev_t, libc::ino_t);

/// Descriptors of the kernel: packetdrill closes sockets that a script leaves open with the system's `close`.
pub(super) struct Kernel {
    pub(super) open: Arc<Mutex<BTreeMap<Fd, Identity>>>,
}

pub(super) fn identity(fd: Fd) -> Option<Identity> {
    // SAFETY: all zeros is a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable for the length of the call; any number may be asked about.
    let status = unsafe { libc::fstat(fd, &raw mut stat) };
    (status == 0).then_some((stat.st_dev, stat.st_ino))
}

/// Closes `fd` if it still is the file that was opened under this number.
pub(super) fn close_if_ours(fd: Fd, opened: Identity) {
    if identity(fd) == Some(opened) {
        // SAFETY: the descriptor is of a file that this crate opened and that nobody here uses as a file.
        unsafe { libc::close(fd) };
    }
}

impl Descriptors for Kernel {
    fn open(&mut self) -> Result<Fd, i32> {
        // A file of its own for each, so that it can be known again.
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"lastack".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(errno());
        }
        unpoisoned(&self.open).insert(fd, identity(fd).unwrap_or_default());
        Ok(fd)
    }

    fn close(&mut self, fd: Fd) {
        let opened = unpoisoned(&self.open).remove(&fd);
        if let Some(opened) = opened {
            close_if_ours(fd, opened);
        }
    }
}

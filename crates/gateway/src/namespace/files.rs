//! Files that the program sees in place of the host's, in a mount namespace of its own.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A directory that is hidden for a moment, in the private mount namespace, to make a file that lies nowhere else: the
/// first that is there.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/proc"];

/// The host's later mounts still show inside; ours don't show outside.
pub(super) fn make_private() -> io::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    Ok(())
}

/// Puts a file of this text over `path`, if there is one.
pub(super) fn replace(path: &str, text: &str) -> io::Result<()> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    let scratch = SCRATCH.into_iter().find(|directory| Path::new(directory).is_dir()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "none of /tmp, /run and /proc is a directory")
    })?;
    mount(Some("tmpfs"), scratch, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
    let file = format!("{scratch}/file");
    let placed = fs::write(&file, text).and_then(|()| {
        mount(Some(file.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(io::Error::from)
    });
    // The file stays where it was put.
    umount2(scratch, MntFlags::MNT_DETACH)?;
    placed
}

/// Shows the processes of the caller's process namespace in `/proc`. Where that is not allowed (a container that covers
/// parts of `/proc`) the host's stays, in which `/proc/self` is right and other numbers are the host's.
pub(crate) fn mount_proc() {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
}

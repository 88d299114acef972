//! What the machine has to allow, and how to have it allowed: one line for each.

use std::fs::{self, OpenOptions};
use std::io;

use nix::errno::Errno;

const TUN: &str = "/dev/net/tun";

/// Whether TUN interfaces can be made by this user.
///
/// # Errors
/// A line that says what is missing and how to allow it.
pub(crate) fn check_tun() -> Result<(), String> {
    let Err(error) = OpenOptions::new().read(true).write(true).open(TUN) else { return Ok(()) };
    let advice = match error.raw_os_error() {
        Some(libc::ENOENT) => "load the module as root: modprobe tun; in a container: --device /dev/net/tun",
        Some(libc::ENODEV | libc::ENXIO) => {
            "the kernel has no TUN driver; load the module as root: modprobe tun"
        }
        Some(libc::EACCES) => "allow it as root: chmod 0666 /dev/net/tun",
        Some(libc::EPERM) => "the container does not allow the device; start it with --device /dev/net/tun",
        _ => "lastack needs it for the program's network",
    };
    Err(format!("cannot open {TUN}: {error}; {advice}"))
}

/// Switches of the kernel and of distributions: the file, the value that forbids, and what to do.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces is 0; allow them as root: sysctl -w user.max_user_namespaces=15000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone is 0; allow them as root: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts them; allow them as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Why an ordinary user cannot have namespaces of their own, as far as it can be known.
pub(super) fn no_namespaces(error: Errno) -> io::Error {
    let switch = SWITCHES
        .iter()
        .find(|(file, forbids, _)| fs::read_to_string(file).is_ok_and(|value| value.trim() == *forbids));
    let why = match (switch, error) {
        (Some((.., advice)), _) => advice,
        (None, Errno::ENOSPC | Errno::EUSERS) => {
            "there are too many already; see the limits in /proc/sys/user"
        }
        (None, _) => {
            "run lastack as root, or in a container that allows user namespaces (seccomp, --cap-add SYS_ADMIN)"
        }
    };
    io::Error::new(io::Error::from(error).kind(), format!("cannot make namespaces: {error}: {why}"))
}

/// Adds AppArmor's switch to a failure in a new user namespace: there it lets the namespace be made and nothing be done
/// in it.
pub(super) fn explain_denied(error: io::Error) -> io::Error {
    let [.., (file, forbids, advice)] = SWITCHES;
    let restricted = fs::read_to_string(file).is_ok_and(|value| value.trim() == forbids);
    if restricted && error.kind() == io::ErrorKind::PermissionDenied {
        return io::Error::new(error.kind(), format!("{error}: user namespaces: {advice}"));
    }
    error
}

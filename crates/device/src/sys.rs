//! The system calls that no safe crate wraps: the ioctls of a TUN descriptor. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Name and flags (`IFF_*`) of the interface that a TUN descriptor is attached to.
pub(crate) fn tun_interface(fd: BorrowedFd<'_>) -> io::Result<(String, c_int)> {
    // SAFETY: `ifreq` is a plain C struct of integers and a union of such; all zeros is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open while it is borrowed. TUNGETIFF writes one `ifreq`, and `request` is one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as libc::Ioctl, &raw mut request) })?;
    let name = request.ifr_name.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect::<Vec<_>>();
    // SAFETY: TUNGETIFF has set `ifru_flags`, and any bits are a valid integer.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((String::from_utf8_lossy(&name).into_owned(), c_int::from(flags)))
}

/// Hardware address of the interface that a TAP descriptor is attached to.
pub(crate) fn hardware_address(fd: BorrowedFd<'_>) -> io::Result<[u8; 6]> {
    // SAFETY: `ifreq` is a plain C struct of integers and a union of such; all zeros is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open while it is borrowed. SIOCGIFHWADDR writes one `ifreq`, and `request` is one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR as libc::Ioctl, &raw mut request) })?;
    // SAFETY: SIOCGIFHWADDR has set `ifru_hwaddr`, and any bits are valid integers.
    let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok([a, b, c, d, e, f].map(|byte| byte as u8))
}

/// Sets the length of the `virtio_net_hdr` that precedes each packet, in bytes: 10 or 12.
pub(crate) fn set_vnet_header_len(fd: BorrowedFd<'_>, len: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed. TUNSETVNETHDRSZ reads one int from the address given.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as libc::Ioctl, &raw const len) })
}

/// Says which unfinished packets (`TUN_F_*`) we take from the kernel.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed. TUNSETOFFLOAD takes an integer and no address.
    check(unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as libc::Ioctl, libc::c_ulong::from(flags))
    })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Reading and writing.

use super::memory::{address_at, bytes_at, data, pieces_at, put, put_address, room_at, rooms, spread};
use super::{make, set_errno};
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use packetdrill::call::{Address, Call, Data, Out};
use std::ptr;

pub(super) unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
) -> ssize_t {
    let (result, out) = make(userdata, Call::Read { fd, rooms: vec![room_at(buf, len)] });
    if let Out::Data(bytes) = out {
        // SAFETY: the caller's buffer has `len` bytes.
        unsafe { put(buf, len, &bytes) };
    }
    result as ssize_t
}

pub(super) unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: the caller's array has `count` pieces.
    let iov = unsafe { pieces_at(iov, usize::try_from(count).unwrap_or(0)) };
    let (result, out) = make(userdata, Call::Read { fd, rooms: rooms(iov) });
    if let Out::Data(bytes) = out {
        // SAFETY: the pieces have the lengths that they say.
        unsafe { spread(iov, &bytes) };
    }
    result as ssize_t
}

pub(super) unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: passed on with no address.
    unsafe { recvfrom(userdata, fd, buf, len, flags, ptr::null_mut(), ptr::null_mut()) }
}

pub(super) unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    let call = Call::Recv { fd, room: room_at(buf, len), flags, wants_address: !addr.is_null() };
    let (result, out) = make(userdata, call);
    if let Out::Data(bytes) = out {
        // SAFETY: the caller's buffers have the lengths that they say; TCP names no sender.
        unsafe {
            put(buf, len, &bytes);
            put_address(addr, addr_len, &[]);
        }
    }
    result as ssize_t
}

pub(super) unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: null or a message header.
    let Some(header) = (unsafe { msg.as_mut() }) else {
        set_errno(libc::EFAULT);
        return -1;
    };
    // SAFETY: the header's array has as many pieces as it says.
    let iov = unsafe { pieces_at(header.msg_iov, header.msg_iovlen) };
    let control_room = if header.msg_control.is_null() { 0 } else { header.msg_controllen };
    let call = Call::RecvMsg {
        fd,
        rooms: rooms(iov),
        name_room: (!header.msg_name.is_null()).then_some(header.msg_namelen as usize),
        control_room,
        flags,
    };
    let (result, out) = make(userdata, call);
    // The header comes filled with what the script expects: all of it is written.
    match out {
        Out::Message { data, control, flags } => {
            // SAFETY: pieces and control buffer have the lengths that the header says.
            unsafe {
                spread(iov, &data);
                put(header.msg_control, control_room, &control);
            }
            header.msg_controllen = control.len();
            header.msg_flags = flags;
            header.msg_namelen = 0;
        }
        _ => {
            header.msg_controllen = 0;
            header.msg_flags = 0;
        }
    }
    result as ssize_t
}

pub(super) unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the caller's buffer has `len` bytes.
    let piece = unsafe { bytes_at(buf, len) };
    make(userdata, Call::Write { fd, pieces: vec![piece] }).0 as ssize_t
}

pub(super) unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: the caller's array has `count` pieces of the lengths that they say.
    let pieces = unsafe { data(pieces_at(iov, usize::try_from(count).unwrap_or(0))) };
    make(userdata, Call::Write { fd, pieces }).0 as ssize_t
}

pub(super) unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's buffer has `len` bytes.
    let data = unsafe { bytes_at(buf, len) };
    make(userdata, Call::Send { fd, data, flags, to: None }).0 as ssize_t
}

pub(super) unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's buffer and address have the lengths that they say.
    let (data, to) = unsafe { (bytes_at(buf, len), destination(addr, addr_len)) };
    make(userdata, Call::Send { fd, data, flags, to }).0 as ssize_t
}

/// # Safety
/// `at` is null or readable for `len` bytes.
pub(super) unsafe fn destination(at: *const sockaddr, len: socklen_t) -> Option<Address> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { address_at(at, len) })
}

pub(super) unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: null or a message header whose parts have the lengths that it says.
    let call = unsafe {
        let Some(header) = msg.as_ref() else {
            set_errno(libc::EFAULT);
            return -1;
        };
        let control = match bytes_at(header.msg_control, header.msg_controllen) {
            Data::Bytes(bytes) => bytes,
            Data::Null(_) => Vec::new(),
        };
        Call::SendMsg {
            fd,
            pieces: data(pieces_at(header.msg_iov, header.msg_iovlen)),
            to: destination(header.msg_name.cast(), header.msg_namelen),
            control,
            flags,
        }
    };
    make(userdata, call).0 as ssize_t
}

//! Every other call of the table: sockets, options, polling, the wire and the clock.

use super::memory::{address_at, bytes_at, put, put_address};
use super::{driver, make, set_errno, simple};
use crate::driver::Driver;
use libc::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void, nfds_t, pollfd, size_t, sockaddr, socklen_t};
use packetdrill::call::{Call, Data, EpollEvent, Out, Outcome, PollFd, socket_address_bytes};
use std::time::Duration;

pub(super) unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    simple(userdata, Call::Socket { domain, kind, protocol })
}

pub(super) unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: packetdrill's address has the length that it says.
    let address = unsafe { address_at(addr, len) };
    simple(userdata, Call::Bind { fd, address })
}

pub(super) unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    simple(userdata, Call::Listen { fd, backlog })
}

pub(super) unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let (result, out) = make(userdata, Call::Accept { fd, flags: 0 });
    if let Out::Peer(peer) = out {
        // SAFETY: packetdrill's room has the length that it says.
        unsafe { put_address(addr, len, &socket_address_bytes(peer)) };
    }
    result as c_int
}

pub(super) unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: packetdrill's address has the length that it says.
    let address = unsafe { address_at(addr, len) };
    simple(userdata, Call::Connect { fd, address })
}

pub(super) unsafe extern "C" fn fcntl(
    userdata: *mut c_void,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    // Without a third argument the register holds rubbish.
    let argument = if matches!(command, libc::F_SETFL | libc::F_SETFD) { argument } else { 0 };
    simple(userdata, Call::Fcntl { fd, command, argument })
}

pub(super) unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    let (result, out) = make(userdata, Call::Ioctl { fd, request, null: argument.is_null() });
    if let Out::Int(value) = out {
        // SAFETY: these requests come with a pointer to an int.
        unsafe { put(argument, 4, &value.to_ne_bytes()) };
    }
    result as c_int
}

pub(super) unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    simple(userdata, Call::Close { fd })
}

pub(super) unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    simple(userdata, Call::Shutdown { fd, how })
}

pub(super) unsafe extern "C" fn get_option(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: `len` is null or names the room at `value`.
    unsafe { get_option_of(driver(userdata), fd, level, name, value, len) }
}

/// # Safety
/// `len` is null or points to the room at `value` in bytes.
pub(super) unsafe fn get_option_of(
    driver: &Driver,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(len) = (unsafe { len.as_mut() }) else {
        set_errno(libc::EFAULT);
        return -1;
    };
    let room = *len;
    let call = Call::GetSockOpt { fd, level, name, len: room.cast_signed(), null: value.is_null() };
    let Outcome { result, errno, out } = driver.call(call);
    if let Out::Value(bytes) = out {
        // SAFETY: the caller's promise.
        unsafe { put(value, room as usize, &bytes) };
        *len = bytes.len() as socklen_t;
    }
    if result < 0 {
        set_errno(errno);
    }
    result as c_int
}

/// Longest option value that is copied: the length of a script may lie, and no option needs more.
const VALUE_MAX: usize = 64;

/// Bytes that an option's value really has: an int, but for these.
pub(super) fn value_len(level: c_int, name: c_int) -> usize {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_LINGER) => 8,
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO | 66 | 67) => 16,
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) | (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => 16,
        (libc::IPPROTO_TCP, libc::TCP_ULP | libc::TCP_FASTOPEN_KEY) => VALUE_MAX,
        _ => 4,
    }
}

pub(super) unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let there = value_len(level, name).min(len as usize);
    // SAFETY: the script's value has as many bytes as its option, or fewer if `len` says so.
    let value = match unsafe { bytes_at(value, there) } {
        Data::Bytes(bytes) => Some(bytes),
        Data::Null(_) => None,
    };
    simple(userdata, Call::SetSockOpt { fd, level, name, value, len: len.cast_signed() })
}

pub(super) unsafe extern "C" fn poll(
    userdata: *mut c_void,
    fds: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
) -> c_int {
    let fds: &mut [pollfd] = if fds.is_null() || count == 0 {
        &mut []
    } else {
        // SAFETY: the caller's array has `count` entries.
        unsafe { std::slice::from_raw_parts_mut(fds, count as usize) }
    };
    let asked = fds.iter().map(|entry| PollFd { fd: entry.fd, events: entry.events }).collect();
    let (result, out) = make(userdata, Call::Poll { fds: asked, timeout });
    if let Out::Polled(found) = out {
        // `revents` come filled with the script's expectation: each is written.
        for (entry, revents) in fds.iter_mut().zip(found) {
            entry.revents = revents;
        }
    }
    result as c_int
}

pub(super) unsafe extern "C" fn netdev_send(
    userdata: *mut c_void,
    packet: *const c_void,
    len: size_t,
) -> c_int {
    // SAFETY: the packet has `len` bytes; it is copied or used up within the call.
    if let Data::Bytes(packet) = unsafe { bytes_at(packet, len) } {
        driver(userdata).inject(&packet);
    }
    0
}

pub(super) unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    buffer: *mut c_void,
    len: *mut size_t,
    time: *mut c_longlong,
) -> c_int {
    let sent = driver(userdata).receive();
    // SAFETY: packetdrill's pointers are to its own variables; the buffer has `*len` bytes.
    unsafe {
        match sent {
            Some(sent) => {
                put(buffer, *len, &sent.packet);
                *len = (*len).min(sent.packet.len());
                *time = sent.at.as_micros() as c_longlong;
            }
            None => *len = 0,
        }
    }
    0
}

pub(super) unsafe extern "C" fn usleep(userdata: *mut c_void, micros: c_uint) -> c_int {
    driver(userdata).sleep(Duration::from_micros(micros.into()));
    0
}

pub(super) unsafe extern "C" fn gettimeofday(
    userdata: *mut c_void,
    time: *mut libc::timeval,
    _zone: *mut c_void,
) -> c_int {
    let micros = driver(userdata).time().as_micros();
    let value = libc::timeval {
        tv_sec: (micros / 1_000_000) as libc::time_t,
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    };
    // SAFETY: packetdrill's pointer is to its own variable.
    unsafe { time.write(value) };
    0
}

pub(super) unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    simple(userdata, Call::EpollCreate { size })
}

pub(super) unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    let event = (!event.is_null()).then(|| {
        // SAFETY: not null, so an event; it may lie anywhere.
        let event = unsafe { event.read_unaligned() };
        EpollEvent { events: event.events, data: event.u64 }
    });
    simple(userdata, Call::EpollCtl { epfd, op, fd, event })
}

pub(super) unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epfd: c_int,
    events: *mut libc::epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    let (result, out) = make(userdata, Call::EpollWait { epfd, max, timeout });
    if let Out::Events(found) = out {
        for (at, event) in found.iter().enumerate() {
            let event = libc::epoll_event { events: event.events, u64: event.data };
            // SAFETY: the caller's array has room for `max` events, and no more were found.
            unsafe { events.add(at).write_unaligned(event) };
        }
    }
    result as c_int
}

pub(super) unsafe extern "C" fn pipe(userdata: *mut c_void, ends: *mut c_int) -> c_int {
    let (result, out) = make(userdata, Call::Pipe { flags: 0 });
    if let Out::Pipe(reader, writer) = out {
        // SAFETY: the caller's array has two entries.
        unsafe {
            ends.write(reader);
            ends.add(1).write(writer);
        }
    }
    result as c_int
}

pub(super) unsafe extern "C" fn splice(
    userdata: *mut c_void,
    from: c_int,
    from_offset: *mut libc::loff_t,
    to: c_int,
    to_offset: *mut libc::loff_t,
    len: size_t,
    flags: c_uint,
) -> c_int {
    // The pointers are always there; zero stands for "none".
    // SAFETY: null or a number.
    let offset = |at: *mut libc::loff_t| unsafe { at.as_ref() }.copied().filter(|offset| *offset != 0);
    let (from_offset, to_offset) = (offset(from_offset), offset(to_offset));
    simple(userdata, Call::Splice { from, from_offset, to, to_offset, len, flags })
}

//! The C side: the table of functions, arguments into [`Call`]s and results out of [`Outcome`]s, descriptors of the kernel.
//! The only unsafe code of the crate.
//!
//! Here are the table, its making and its end, and `getsockopt` for LD_PRELOAD; `calls` and `transfer` have the table's
//! functions, `memory` what crosses by pointer, `descriptors` the kernel's numbers.
#![allow(unsafe_code)]

mod calls;
mod descriptors;
mod memory;
mod transfer;

use crate::driver::Driver;
use crate::flags;
use descriptors::{Identity, Kernel, close_if_ours, identity};
use libc::{c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, iovec, msghdr, size_t, ssize_t};
use libc::{nfds_t, pollfd, sockaddr, socklen_t};
use packetdrill::call::{Call, Fd, Out, Outcome};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex};

/// The table that `packetdrill_interface_init` fills: 33 words.
#[repr(C)]
pub(crate) struct Interface {
    userdata: *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    socket: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    listen: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    recvfrom: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t,
    write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    sendto: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t,
    // Variadic in C: the third argument comes in the next ordinary register.
    fcntl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int,
    ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_void) -> c_int,
    close: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    shutdown: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    getsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    setsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    poll: unsafe extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int,
    netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    netdev_receive: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    usleep: unsafe extern "C" fn(*mut c_void, c_uint) -> c_int,
    gettimeofday: unsafe extern "C" fn(*mut c_void, *mut libc::timeval, *mut c_void) -> c_int,
    epoll_create: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    epoll_ctl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut libc::epoll_event) -> c_int,
    epoll_wait: unsafe extern "C" fn(*mut c_void, c_int, *mut libc::epoll_event, c_int, c_int) -> c_int,
    pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    splice: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut libc::loff_t,
        c_int,
        *mut libc::loff_t,
        size_t,
        c_uint,
    ) -> c_int,
}

/// The size that packetdrill's table has.
const _: () = assert!(size_of::<Interface>() == 264);

/// The run in progress, for callers that know nothing of it: `getsockopt` under LD_PRELOAD.
static CURRENT: Mutex<Option<Arc<Run>>> = Mutex::new(None);

/// One run, behind `userdata`.
struct Run {
    driver: Arc<Driver>,
    descriptors: Arc<Mutex<BTreeMap<Fd, Identity>>>,
}
fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn errno() -> i32 {
    // SAFETY: the pointer is to this thread's errno, always.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// Says what is wrong and ends the process: the interface has no other way to refuse.
fn refuse(why: &str) -> ! {
    eprintln!("liblastack_packetdrill: --so_flags: {why}; known are: {}", flags::USAGE);
    std::process::exit(1)
}

/// The entry point of the plug-in.
///
/// # Safety
/// `flags` is null or a C string; `interface` points to room for 264 bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: packetdrill hands over the text of its option.
        unsafe { CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let options = flags::parse(&text).unwrap_or_else(|why| refuse(&why));
    let descriptors = Arc::new(Mutex::new(BTreeMap::new()));
    let numbers = Box::new(Kernel { open: Arc::clone(&descriptors) });
    let driver = Arc::new(Driver::new(options, numbers));
    if let Err(error) = driver.start() {
        refuse(&format!("no thread for the real clock: {error}"));
    }
    let run = Arc::new(Run { driver, descriptors });
    *unpoisoned(&CURRENT) = Some(Arc::clone(&run));
    let userdata = Arc::into_raw(run).cast_mut().cast();
    // SAFETY: the caller's memory has the size of the table and is aligned for pointers.
    unsafe { interface.write(table(userdata)) };
}

fn table(userdata: *mut c_void) -> Interface {
    Interface {
        userdata,
        free,
        socket: calls::socket,
        bind: calls::bind,
        listen: calls::listen,
        accept: calls::accept,
        connect: calls::connect,
        read: transfer::read,
        readv: transfer::readv,
        recv: transfer::recv,
        recvfrom: transfer::recvfrom,
        recvmsg: transfer::recvmsg,
        write: transfer::write,
        writev: transfer::writev,
        send: transfer::send,
        sendto: transfer::sendto,
        sendmsg: transfer::sendmsg,
        fcntl: calls::fcntl,
        ioctl: calls::ioctl,
        close: calls::close,
        shutdown: calls::shutdown,
        getsockopt: calls::get_option,
        setsockopt: calls::setsockopt,
        poll: calls::poll,
        netdev_send: calls::netdev_send,
        netdev_receive: calls::netdev_receive,
        usleep: calls::usleep,
        gettimeofday: calls::gettimeofday,
        epoll_create: calls::epoll_create,
        epoll_ctl: calls::epoll_ctl,
        epoll_wait: calls::epoll_wait,
        pipe: calls::pipe,
        splice: calls::splice,
    }
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: `userdata` is what `packetdrill_interface_init` made, and this is its last use.
    let run = unsafe { Arc::from_raw(userdata.cast_const().cast::<Run>()) };
    run.driver.end();
    let mut current = unpoisoned(&CURRENT);
    if current.as_ref().is_some_and(|other| Arc::ptr_eq(other, &run)) {
        *current = None;
    }
    // What packetdrill has closed by itself is closed; its number may be another file's by now.
    for (fd, opened) in std::mem::take(&mut *unpoisoned(&run.descriptors)) {
        close_if_ours(fd, opened);
    }
}

fn driver<'a>(userdata: *mut c_void) -> &'a Driver {
    // SAFETY: packetdrill passes back what init gave it, and calls nothing after `free`.
    let run = unsafe { &*userdata.cast_const().cast::<Run>() };
    &run.driver
}

/// Makes a call and gives the result, with errno set.
fn make(userdata: *mut c_void, call: Call) -> (i64, Out) {
    let Outcome { result, errno, out } = driver(userdata).call(call);
    if result < 0 {
        set_errno(errno);
    }
    (result, out)
}

fn simple(userdata: *mut c_void, call: Call) -> c_int {
    make(userdata, call).0 as c_int
}
/// `getsockopt` of the C library's shape: with this file in LD_PRELOAD the assertions of a script's `%{ }%` blocks, which
/// ask the kernel, come here. Descriptors of other files go on to the kernel.
///
/// # Safety
/// As `getsockopt(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    match ours(fd) {
        // SAFETY: the caller keeps to getsockopt(2).
        Some(run) => unsafe { calls::get_option_of(&run.driver, fd, level, name, value, len) },
        // SAFETY: the same arguments, to the kernel.
        None => unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int },
    }
}

/// The run, if `fd` is a descriptor of its own.
fn ours(fd: c_int) -> Option<Arc<Run>> {
    let run = unpoisoned(&CURRENT).clone()?;
    let opened = unpoisoned(&run.descriptors).get(&fd).copied();
    (run.driver.owns(fd) && opened.is_some() && identity(fd) == opened).then_some(run)
}

/// Bytes of a file that are sent at once.
const FILE_PIECE: usize = 1 << 16;

/// `sendfile` of the C library's shape, for LD_PRELOAD: packetdrill's table has none. To the stack's sockets the file's bytes are
/// written as `sendfile(2)` does; everything else goes on to the kernel.
///
/// # Safety
/// As `sendfile(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut libc::off_t,
    count: size_t,
) -> ssize_t {
    let Some(run) = ours(to) else {
        // SAFETY: the same arguments, to the kernel.
        return unsafe { libc::syscall(libc::SYS_sendfile, to, from, offset, count) as ssize_t };
    };
    // SAFETY: null, or the caller's variable.
    let at = unsafe { offset.as_mut() };
    let mut place = match &at {
        Some(at) => **at,
        // SAFETY: takes numbers only.
        None => unsafe { libc::lseek(from, 0, libc::SEEK_CUR) },
    };
    if place < 0 {
        // Without an offset `lseek` has said what is wrong with the file.
        if at.is_some() {
            set_errno(libc::EINVAL);
        }
        return -1;
    }
    let mut sent = 0;
    let mut buffer = vec![0; count.min(FILE_PIECE)];
    while sent < count {
        let want = (count - sent).min(FILE_PIECE);
        // SAFETY: the buffer has room for `want` bytes.
        let read = unsafe { libc::pread(from, buffer.as_mut_ptr().cast(), want, place) };
        let Ok(read) = usize::try_from(read) else {
            return if sent > 0 { sent as ssize_t } else { -1 };
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        let data = packetdrill::call::Data::Bytes(bytes.to_vec());
        let Outcome { result, errno, .. } = run.driver.call(Call::Send { fd: to, data, flags: 0, to: None });
        let Ok(taken) = usize::try_from(result) else {
            if sent > 0 {
                break;
            }
            set_errno(errno);
            return -1;
        };
        sent += taken;
        place += taken as libc::off_t;
        if taken < read {
            break;
        }
    }
    match at {
        Some(at) => *at = place,
        // SAFETY: takes numbers only.
        None => drop(unsafe { libc::lseek(from, place, libc::SEEK_SET) }),
    }
    sent as ssize_t
}

/// The same under its other name.
///
/// # Safety
/// As `sendfile(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut libc::off64_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: the same arguments: file offsets have 64 bits.
    unsafe { sendfile(to, from, offset, count) }
}

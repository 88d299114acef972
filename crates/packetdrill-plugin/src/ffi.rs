//! The C side: the table of functions, arguments into [`Call`]s and results out of [`Outcome`]s, descriptors of the kernel.
//! The only unsafe code of the crate.
#![allow(unsafe_code)]

use crate::driver::Driver;
use crate::flags;
use libc::{c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, iovec, msghdr, size_t, ssize_t};
use libc::{nfds_t, pollfd, sockaddr, socklen_t};
use packetdrill::call::{Address, Call, Data, EpollEvent, Fd, Out, Outcome, PollFd, Room};
use packetdrill::sys::Descriptors;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

/// What tells an open file from another that has got its number later.
type Identity = (libc::dev_t, libc::ino_t);

/// Descriptors of the kernel: packetdrill closes sockets that a script leaves open with the system's `close`.
struct Kernel {
    open: Arc<Mutex<BTreeMap<Fd, Identity>>>,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn identity(fd: Fd) -> Option<Identity> {
    // SAFETY: all zeros is a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable for the length of the call; any number may be asked about.
    let status = unsafe { libc::fstat(fd, &raw mut stat) };
    (status == 0).then_some((stat.st_dev, stat.st_ino))
}

/// Closes `fd` if it still is the file that was opened under this number.
fn close_if_ours(fd: Fd, opened: Identity) {
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
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt: get_option,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
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

/// Bytes at `at`, copied.
///
/// # Safety
/// `at` is null or readable for `len` bytes.
unsafe fn bytes_at(at: *const c_void, len: usize) -> Data {
    if at.is_null() {
        return Data::Null(len);
    }
    // SAFETY: the caller's promise.
    Data::Bytes(unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec())
}

fn room_at(at: *const c_void, len: usize) -> Room {
    if at.is_null() { Room::Null(len) } else { Room::Bytes(len) }
}

/// Copies `bytes` to `at`, no more than `room`.
///
/// # Safety
/// `at` is null or writable for `room` bytes.
unsafe fn put(at: *mut c_void, room: usize, bytes: &[u8]) {
    if !at.is_null() {
        // SAFETY: the caller's promise; the count is at the most `room`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len().min(room)) };
    }
}

/// The pieces of an iovec array.
///
/// # Safety
/// `iov` is null or points to `count` pieces.
unsafe fn pieces_at<'a>(iov: *const iovec, count: usize) -> &'a [iovec] {
    if iov.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(iov, count) }
}

fn rooms(iov: &[iovec]) -> Vec<Room> {
    iov.iter().map(|piece| room_at(piece.iov_base, piece.iov_len)).collect()
}

/// # Safety
/// Each piece is null or readable for its length.
unsafe fn data(iov: &[iovec]) -> Vec<Data> {
    // SAFETY: the caller's promise.
    iov.iter().map(|piece| unsafe { bytes_at(piece.iov_base, piece.iov_len) }).collect()
}

/// Spreads bytes over pieces in order.
///
/// # Safety
/// Each piece is null or writable for its length.
unsafe fn spread(iov: &[iovec], mut bytes: &[u8]) {
    for piece in iov {
        let (now, later) = bytes.split_at(bytes.len().min(piece.iov_len));
        // SAFETY: the caller's promise.
        unsafe { put(piece.iov_base, piece.iov_len, now) };
        bytes = later;
    }
}

/// Reads a socket address.
///
/// # Safety
/// `at` is null or readable for `len` bytes.
unsafe fn address_at(at: *const sockaddr, len: socklen_t) -> Address {
    // SAFETY: the caller's promise; no address has more than 128 bytes.
    let bytes = match unsafe { bytes_at(at.cast(), len.min(128) as usize) } {
        Data::Bytes(bytes) => bytes,
        Data::Null(0) => Vec::new(),
        Data::Null(_) => return Address::Null,
    };
    let family = bytes.first_chunk::<2>().map_or(0, |family| u16::from_ne_bytes(*family));
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let number =
        |at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let v4 = bytes.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()).filter(|_| len >= 16);
    let v6 = bytes.get(8..24).and_then(|b| <[u8; 16]>::try_from(b).ok());
    match (c_int::from(family), v4, v6) {
        (libc::AF_UNSPEC, ..) if len >= 2 => Address::Unspecified,
        (libc::AF_INET, Some(ip), _) => {
            Address::Inet(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), word(2))))
        }
        (libc::AF_INET6, _, Some(ip)) => {
            let v6 = SocketAddrV6::new(Ipv6Addr::from(ip), word(2), u32::from_be(number(4)), number(24));
            Address::Inet(SocketAddr::V6(v6))
        }
        _ => Address::Other { family, len },
    }
}

/// The bytes of a socket address.
fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// Writes an address as the kernel does: cut to the room, with its full length told.
///
/// # Safety
/// `len` is null or points to the room at `at` in bytes.
unsafe fn put_address(at: *mut sockaddr, len: *mut socklen_t, bytes: &[u8]) {
    if len.is_null() || at.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        put(at.cast(), *len as usize, bytes);
        *len = bytes.len() as socklen_t;
    }
}

unsafe extern "C" fn socket(userdata: *mut c_void, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    simple(userdata, Call::Socket { domain, kind, protocol })
}

unsafe extern "C" fn bind(userdata: *mut c_void, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: packetdrill's address has the length that it says.
    let address = unsafe { address_at(addr, len) };
    simple(userdata, Call::Bind { fd, address })
}

unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    simple(userdata, Call::Listen { fd, backlog })
}

unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let (result, out) = make(userdata, Call::Accept { fd, flags: 0 });
    if let Out::Peer(peer) = out {
        // SAFETY: packetdrill's room has the length that it says.
        unsafe { put_address(addr, len, &address_bytes(peer)) };
    }
    result as c_int
}

unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: packetdrill's address has the length that it says.
    let address = unsafe { address_at(addr, len) };
    simple(userdata, Call::Connect { fd, address })
}

unsafe extern "C" fn read(userdata: *mut c_void, fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    let (result, out) = make(userdata, Call::Read { fd, rooms: vec![room_at(buf, len)] });
    if let Out::Data(bytes) = out {
        // SAFETY: the caller's buffer has `len` bytes.
        unsafe { put(buf, len, &bytes) };
    }
    result as ssize_t
}

unsafe extern "C" fn readv(userdata: *mut c_void, fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's array has `count` pieces.
    let iov = unsafe { pieces_at(iov, usize::try_from(count).unwrap_or(0)) };
    let (result, out) = make(userdata, Call::Read { fd, rooms: rooms(iov) });
    if let Out::Data(bytes) = out {
        // SAFETY: the pieces have the lengths that they say.
        unsafe { spread(iov, &bytes) };
    }
    result as ssize_t
}

unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: passed on with no address.
    unsafe { recvfrom(userdata, fd, buf, len, flags, ptr::null_mut(), ptr::null_mut()) }
}

unsafe extern "C" fn recvfrom(
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

unsafe extern "C" fn recvmsg(userdata: *mut c_void, fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
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

unsafe extern "C" fn write(userdata: *mut c_void, fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: the caller's buffer has `len` bytes.
    let piece = unsafe { bytes_at(buf, len) };
    make(userdata, Call::Write { fd, pieces: vec![piece] }).0 as ssize_t
}

unsafe extern "C" fn writev(userdata: *mut c_void, fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's array has `count` pieces of the lengths that they say.
    let pieces = unsafe { data(pieces_at(iov, usize::try_from(count).unwrap_or(0))) };
    make(userdata, Call::Write { fd, pieces }).0 as ssize_t
}

unsafe extern "C" fn send(
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

unsafe extern "C" fn sendto(
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
unsafe fn destination(at: *const sockaddr, len: socklen_t) -> Option<Address> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { address_at(at, len) })
}

unsafe extern "C" fn sendmsg(userdata: *mut c_void, fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
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

unsafe extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int, argument: c_long) -> c_int {
    // Without a third argument the register holds rubbish.
    let argument = if matches!(command, libc::F_SETFL | libc::F_SETFD) { argument } else { 0 };
    simple(userdata, Call::Fcntl { fd, command, argument })
}

unsafe extern "C" fn ioctl(
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

unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    simple(userdata, Call::Close { fd })
}

unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    simple(userdata, Call::Shutdown { fd, how })
}

unsafe extern "C" fn get_option(
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
unsafe fn get_option_of(
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
    let run = unpoisoned(&CURRENT).clone();
    let ours = run.filter(|run| {
        let opened = unpoisoned(&run.descriptors).get(&fd).copied();
        run.driver.owns(fd) && opened.is_some() && identity(fd) == opened
    });
    match ours {
        // SAFETY: the caller keeps to getsockopt(2).
        Some(run) => unsafe { get_option_of(&run.driver, fd, level, name, value, len) },
        // SAFETY: the same arguments, to the kernel.
        None => unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int },
    }
}

/// Longest option value that is copied: the length of a script may lie, and no option needs more.
const VALUE_MAX: usize = 64;

/// Bytes that an option's value really has: an int, but for these.
fn value_len(level: c_int, name: c_int) -> usize {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_LINGER) => 8,
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO | 66 | 67) => 16,
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) | (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => 16,
        (libc::IPPROTO_TCP, libc::TCP_ULP | libc::TCP_FASTOPEN_KEY) => VALUE_MAX,
        _ => 4,
    }
}

unsafe extern "C" fn setsockopt(
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

unsafe extern "C" fn poll(userdata: *mut c_void, fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
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

unsafe extern "C" fn netdev_send(userdata: *mut c_void, packet: *const c_void, len: size_t) -> c_int {
    // SAFETY: the packet has `len` bytes; it is copied or used up within the call.
    if let Data::Bytes(packet) = unsafe { bytes_at(packet, len) } {
        driver(userdata).inject(&packet);
    }
    0
}

unsafe extern "C" fn netdev_receive(
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

unsafe extern "C" fn usleep(userdata: *mut c_void, micros: c_uint) -> c_int {
    driver(userdata).sleep(Duration::from_micros(micros.into()));
    0
}

unsafe extern "C" fn gettimeofday(
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

unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    simple(userdata, Call::EpollCreate { size })
}

unsafe extern "C" fn epoll_ctl(
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

unsafe extern "C" fn epoll_wait(
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

unsafe extern "C" fn pipe(userdata: *mut c_void, ends: *mut c_int) -> c_int {
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

unsafe extern "C" fn splice(
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

//! System calls with whatever arguments a script gives, null pointers and wrong lengths included: that is why they are
//! made through `libc` and not through a safe wrapper. All of the unsafe code of the kernel's backend is here.
#![allow(unsafe_code)]

use crate::call::{Address, Call, Data, EpollEvent, Out, Outcome, PollFd, Room, socket_address_bytes};
use libc::{c_int, c_void, iovec, socklen_t};
use std::mem;
use std::net::SocketAddr;
use std::ptr;

/// `sizeof(struct sockaddr_storage)`.
const STORAGE: usize = 128;

/// Makes a call.
pub(super) fn perform(call: &Call) -> Outcome {
    match call {
        Call::Socket { domain, kind, protocol } => {
            // SAFETY: takes numbers only.
            done(unsafe { libc::socket(*domain, *kind, *protocol) }.into())
        }
        // SAFETY: takes numbers only.
        Call::Listen { fd, backlog } => done(unsafe { libc::listen(*fd, *backlog) }.into()),
        // SAFETY: takes numbers only.
        Call::Shutdown { fd, how } => done(unsafe { libc::shutdown(*fd, *how) }.into()),
        // SAFETY: takes a number only. Descriptors of scripts come from calls made here; nothing else owns them.
        Call::Close { fd } => done(unsafe { libc::close(*fd) }.into()),
        Call::Fcntl { fd, command, argument } => {
            // SAFETY: the commands of scripts take numbers only.
            done(unsafe { libc::fcntl(*fd, *command, *argument) }.into())
        }
        // SAFETY: takes a number only.
        Call::EpollCreate { size } => done(unsafe { libc::epoll_create(*size) }.into()),
        Call::Bind { .. } | Call::Connect { .. } | Call::Accept { .. } => addressed(call),
        Call::Read { .. } | Call::Recv { .. } | Call::RecvMsg { .. } => receive(call),
        Call::Write { .. } | Call::Send { .. } | Call::SendMsg { .. } => send(call),
        Call::GetSockOpt { .. } | Call::SetSockOpt { .. } | Call::Ioctl { .. } => option(call),
        Call::Poll { fds, timeout } => poll(fds, *timeout),
        Call::EpollCtl { .. } | Call::EpollWait { .. } => epoll(call),
        Call::Pipe { .. } | Call::Splice { .. } => pipe(call),
    }
}

fn done(result: i64) -> Outcome {
    with(result, Out::Nothing)
}

/// The outcome of a call that has just returned.
fn with(result: i64, out: Out) -> Outcome {
    if result >= 0 {
        return Outcome::with(result, out);
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Outcome { result, errno, out: Out::Nothing }
}

/// An address as it lies in memory, and its length.
fn raw(address: &Address) -> ([u8; STORAGE], socklen_t) {
    let mut storage = [0; STORAGE];
    let len = match address {
        Address::Inet(address) => {
            let bytes = socket_address_bytes(*address);
            storage[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        Address::Unspecified | Address::Null => size_of::<libc::sockaddr_in>(),
        Address::Other { family, len } => {
            storage[..2].copy_from_slice(&family.to_ne_bytes());
            (*len as usize).min(STORAGE)
        }
    };
    (storage, len as socklen_t)
}

/// The address that the kernel has written.
fn read_address(storage: &[u8; STORAGE]) -> Option<SocketAddr> {
    match Address::from_bytes(storage, STORAGE as u32) {
        Address::Inet(address) => Some(address),
        _ => None,
    }
}

fn addressed(call: &Call) -> Outcome {
    match call {
        Call::Bind { fd, address } | Call::Connect { fd, address } => {
            let (storage, len) = raw(address);
            let pointer = if *address == Address::Null {
                ptr::null()
            } else {
                storage.as_ptr().cast::<libc::sockaddr>()
            };
            let result = match call {
                // SAFETY: `pointer` is null, or points to `len` bytes that live until the call returns.
                Call::Bind { .. } => unsafe { libc::bind(*fd, pointer, len) },
                // SAFETY: the same.
                _ => unsafe { libc::connect(*fd, pointer, len) },
            };
            done(result.into())
        }
        Call::Accept { fd, flags } => {
            let mut storage = [0; STORAGE];
            let mut len = STORAGE as socklen_t;
            let at = storage.as_mut_ptr().cast();
            // SAFETY: the kernel writes at most `len` bytes to the storage, and the length to `len`.
            let result = unsafe { libc::accept4(*fd, at, &raw mut len, *flags) };
            with(result.into(), read_address(&storage).map_or(Out::Nothing, Out::Peer))
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

/// Buffers and the table that points to them.
struct Buffers {
    memory: Vec<Vec<u8>>,
    table: Vec<iovec>,
}

impl Buffers {
    fn new(rooms: &[Room]) -> Self {
        let mut memory = Vec::new();
        let mut table = Vec::new();
        for room in rooms {
            let iov_base = match room {
                Room::Null(_) => ptr::null_mut(),
                Room::Bytes(len) => {
                    memory.push(vec![0xa5; *len]);
                    memory.last_mut().map_or(ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast())
                }
            };
            table.push(iovec { iov_base, iov_len: room.len() });
        }
        Self { memory, table }
    }

    /// The first bytes that were written.
    fn data(self, result: i64) -> Vec<u8> {
        let mut data = self.memory.concat();
        data.truncate(usize::try_from(result).unwrap_or(0));
        data
    }
}

fn pieces(pieces: &[Data]) -> Vec<iovec> {
    let piece = |piece: &Data| match piece {
        Data::Bytes(bytes) => iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() },
        Data::Null(len) => iovec { iov_base: ptr::null_mut(), iov_len: *len },
    };
    pieces.iter().map(piece).collect()
}

fn receive(call: &Call) -> Outcome {
    match call {
        Call::Read { fd, rooms } => {
            let mut buffers = Buffers::new(rooms);
            let table = buffers.table.as_mut_ptr();
            let result = match buffers.table.as_slice() {
                // SAFETY: the kernel writes at most the length to the buffer, or fails where it is null.
                [one] => unsafe { libc::read(*fd, one.iov_base, one.iov_len) },
                // SAFETY: the table describes buffers that live in `buffers`.
                many => unsafe { libc::readv(*fd, table, many.len() as c_int) },
            };
            with(result as i64, Out::Data(buffers.data(result as i64)))
        }
        Call::Recv { fd, room, flags, wants_address } => {
            let mut buffers = Buffers::new(std::slice::from_ref(room));
            let mut storage = [0; STORAGE];
            let mut len = STORAGE as socklen_t;
            let at = if *wants_address { storage.as_mut_ptr().cast() } else { ptr::null_mut() };
            let at_len = if *wants_address { &raw mut len } else { ptr::null_mut() };
            let Some(one) = buffers.table.first_mut() else { return Outcome::error(libc::EINVAL) };
            // SAFETY: the kernel writes at most the lengths given to the buffer and to the storage.
            let result = unsafe { libc::recvfrom(*fd, one.iov_base, one.iov_len, *flags, at, at_len) };
            with(result as i64, Out::Data(buffers.data(result as i64)))
        }
        Call::RecvMsg { fd, rooms, name_room, control_room, flags } => {
            let mut buffers = Buffers::new(rooms);
            let mut name = vec![0u8; name_room.unwrap_or(0)];
            // Control messages have the alignment of a length.
            let mut control = vec![0u64; control_room.div_ceil(8)];
            // SAFETY: all bits zero is a valid msghdr.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_name = if name.is_empty() { ptr::null_mut() } else { name.as_mut_ptr().cast() };
            header.msg_namelen = name.len() as socklen_t;
            header.msg_iov = buffers.table.as_mut_ptr();
            header.msg_iovlen = buffers.table.len();
            header.msg_control =
                if control.is_empty() { ptr::null_mut() } else { control.as_mut_ptr().cast() };
            header.msg_controllen = *control_room;
            // SAFETY: the header describes memory that lives until the call returns, with its lengths.
            let result = unsafe { libc::recvmsg(*fd, &raw mut header, *flags) };
            let bytes: Vec<u8> =
                control.iter().flat_map(|word| word.to_ne_bytes()).take(header.msg_controllen).collect();
            let data = buffers.data(result as i64);
            with(result as i64, Out::Message { data, control: bytes, flags: header.msg_flags })
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

fn send(call: &Call) -> Outcome {
    match call {
        Call::Write { fd, pieces: data } => {
            let table = pieces(data);
            let result = match table.as_slice() {
                // SAFETY: the kernel reads at most the length from the buffer, or fails where it is null.
                [one] => unsafe { libc::write(*fd, one.iov_base, one.iov_len) },
                // SAFETY: the table describes buffers that live in `data`.
                many => unsafe { libc::writev(*fd, many.as_ptr(), many.len() as c_int) },
            };
            done(result as i64)
        }
        Call::Send { fd, data, flags, to } => {
            let table = pieces(std::slice::from_ref(data));
            let Some(one) = table.first() else { return Outcome::error(libc::EINVAL) };
            let address = to.as_ref().map(raw);
            let (at, len) = match &address {
                Some((storage, len)) => (storage.as_ptr().cast(), *len),
                None => (ptr::null(), 0),
            };
            // No signal: it would end this process.
            let flags = *flags | libc::MSG_NOSIGNAL;
            // SAFETY: the kernel reads the lengths given from the buffer and the storage, which live until it returns.
            let result = unsafe { libc::sendto(*fd, one.iov_base, one.iov_len, flags, at, len) };
            done(result as i64)
        }
        Call::SendMsg { fd, pieces: data, to, control, flags } => {
            let mut table = pieces(data);
            let mut address = to.as_ref().map(raw);
            let mut control = control.clone();
            // SAFETY: all bits zero is a valid msghdr.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            if let Some((storage, len)) = &mut address {
                header.msg_name = storage.as_mut_ptr().cast();
                header.msg_namelen = *len;
            }
            header.msg_iov = table.as_mut_ptr();
            header.msg_iovlen = table.len();
            if !control.is_empty() {
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = control.len();
            }
            // SAFETY: the header describes memory that lives until the call returns, with its lengths.
            let result = unsafe { libc::sendmsg(*fd, &raw const header, *flags | libc::MSG_NOSIGNAL) };
            done(result as i64)
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

fn option(call: &Call) -> Outcome {
    match call {
        Call::GetSockOpt { fd, level, name, len, null } => {
            let mut memory = vec![0u8; usize::try_from(*len).unwrap_or(0).max(1)];
            let mut written = *len as socklen_t;
            let at: *mut c_void = if *null { ptr::null_mut() } else { memory.as_mut_ptr().cast() };
            // SAFETY: the kernel writes at most `len` bytes to the memory; a negative length it refuses.
            let result = unsafe { libc::getsockopt(*fd, *level, *name, at, &raw mut written) };
            memory.truncate(written as usize);
            with(result.into(), Out::Value(memory))
        }
        Call::SetSockOpt { fd, level, name, value, len } => {
            let at: *const c_void = value.as_ref().map_or(ptr::null(), |value| value.as_ptr().cast());
            let there = value.as_ref().map_or(0, Vec::len);
            // More than is there is never read: the length is cut, unless the pointer is null or the length is no length.
            let len = if *len > 0 && !at.is_null() { (*len).min(there as i32) } else { *len };
            // SAFETY: `at` is null or has `len` bytes.
            done(unsafe { libc::setsockopt(*fd, *level, *name, at, len as socklen_t) }.into())
        }
        Call::Ioctl { fd, request, null } => {
            let mut number: c_int = 0;
            let at: *mut c_int = if *null { ptr::null_mut() } else { &raw mut number };
            // SAFETY: the requests of scripts write an int, or fail where the pointer is null.
            let result = unsafe { libc::ioctl(*fd, *request, at) };
            with(result.into(), Out::Int(number))
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

fn poll(entries: &[PollFd], timeout: i32) -> Outcome {
    let entry = |entry: &PollFd| libc::pollfd { fd: entry.fd, events: entry.events, revents: 0 };
    let mut entries: Vec<_> = entries.iter().map(entry).collect();
    // SAFETY: the table has as many entries as the call is told.
    let result = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
    with(result.into(), Out::Polled(entries.iter().map(|entry| entry.revents).collect()))
}

fn epoll(call: &Call) -> Outcome {
    match call {
        Call::EpollCtl { epfd, op, fd, event } => {
            let mut raw = event.map(|event| libc::epoll_event { events: event.events, u64: event.data });
            let at = raw.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
            // SAFETY: `at` is null or points to an event.
            done(unsafe { libc::epoll_ctl(*epfd, *op, *fd, at) }.into())
        }
        Call::EpollWait { epfd, max, timeout } => {
            let room = usize::try_from(*max).unwrap_or(0).clamp(1, 4096);
            let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
            let max = (*max).min(4096);
            // SAFETY: there is room for `max` events; a number below 1 is refused.
            let result = unsafe { libc::epoll_wait(*epfd, events.as_mut_ptr(), max, *timeout) };
            events.truncate(usize::try_from(result).unwrap_or(0));
            let events = events.iter().map(|event| EpollEvent { events: event.events, data: event.u64 });
            with(result.into(), Out::Events(events.collect()))
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

fn pipe(call: &Call) -> Outcome {
    match call {
        Call::Pipe { flags } => {
            let mut fds = [0; 2];
            // SAFETY: the array has room for both descriptors.
            let result = unsafe { libc::pipe2(fds.as_mut_ptr(), *flags) };
            with(result.into(), Out::Pipe(fds[0], fds[1]))
        }
        Call::Splice { from, from_offset, to, to_offset, len, flags } => {
            let (mut from_offset, mut to_offset) = (*from_offset, *to_offset);
            let from_at = from_offset.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
            let to_at = to_offset.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
            // SAFETY: both offsets are null or point to a number.
            let result = unsafe { libc::splice(*from, from_at, *to, to_at, *len, *flags) };
            done(result as i64)
        }
        _ => Outcome::error(libc::ENOSYS),
    }
}

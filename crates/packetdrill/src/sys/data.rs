//! Reading and writing (Linux `tcp_recvmsg`, `tcp_sendmsg`, and what `sock_read_iter`, `__sys_recvfrom` and `__sys_sendto`
//! do around them).

use super::fast_open::Opening;
use super::files::{File, Kind};
use super::reports::{Controls, stamps_asked};
use super::{Machine, Pending};
use crate::call::{Address, Data, Fd, Out, Outcome, Room};
use lastack_core::{Error, Ready, SendFlags, TcpHandle};

/// `SOL_TCP` control message that `TCP_INQ` asks for.
const TCP_CM_INQ: i32 = 36;
/// Bytes that are moved at once.
const PIECE: usize = 1 << 20;

/// How a read is to be done.
#[derive(Clone, Copy, Debug)]
struct Reading {
    handle: TcpHandle,
    len: usize,
    /// Bytes to wait for.
    target: usize,
    /// SO_RCVLOWAT: who sleeps is woken when so many are unread, whatever was taken before (Linux `tcp_data_ready`).
    low_water: usize,
    peek: bool,
    /// Throw the bytes away.
    trunc: bool,
    /// The first room is a null pointer.
    null: bool,
    may_wait: bool,
}

impl Machine {
    pub(super) fn read(&mut self, p: &mut Pending, fd: Fd, rooms: &[Room]) -> Result<Option<Outcome>, i32> {
        match self.files.get(fd).ok_or(libc::EBADF)?.kind {
            Kind::PipeRead(number) => return self.read_pipe(p, fd, number, rooms),
            Kind::PipeWrite(_) => return Err(libc::EBADF),
            Kind::Epoll(_) => return Err(libc::EINVAL),
            Kind::Socket(_) => {}
        }
        if rooms.iter().all(|room| room.is_empty()) {
            return Ok(Some(Outcome::with(0, Out::Data(Vec::new()))));
        }
        self.recv(p, fd, rooms, 0)
    }

    pub(super) fn recv(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        rooms: &[Room],
        flags: i32,
    ) -> Result<Option<Outcome>, i32> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            // Without room for control messages a report is only taken.
            let report = self.read_report(fd, 0, flags)?;
            return Ok(Some(Outcome::with(report.result, Out::Data(Vec::new()))));
        }
        let Some(result) = self.receive(p, fd, rooms, flags)? else { return Ok(None) };
        let data = std::mem::take(&mut p.data);
        Ok(Some(Outcome::with(result as i64, Out::Data(data))))
    }

    pub(super) fn recvmsg(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        rooms: &[Room],
        control_room: usize,
        flags: i32,
    ) -> Result<Option<Outcome>, i32> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return self.read_report(fd, control_room, flags).map(Some);
        }
        let Some(result) = self.receive(p, fd, rooms, flags)? else { return Ok(None) };
        let data = std::mem::take(&mut p.data);
        let mut out_flags = flags & libc::MSG_CMSG_CLOEXEC;
        if flags & libc::MSG_OOB != 0 && result > 0 {
            out_flags |= libc::MSG_OOB;
        }
        let mut controls = Controls::new(control_room);
        let socket = self.files.socket(fd)?;
        if socket.tells_inq && flags & libc::MSG_OOB == 0 {
            let left = self.left_to_read(socket.handle);
            controls.put(libc::SOL_TCP, TCP_CM_INQ, &left.to_ne_bytes());
        }
        out_flags |= controls.flags;
        let control = controls.bytes;
        Ok(Some(Outcome::with(result as i64, Out::Message { data, control, flags: out_flags })))
    }

    /// Linux `tcp_inq_hint`: bytes left, and 1 at the end of the stream so that the program reads on.
    fn left_to_read(&self, handle: TcpHandle) -> i32 {
        let info = self.stack.tcp_info(handle);
        let left = info.as_ref().map_or(0, |info| info.unread as i32);
        if left == 0 && info.is_some_and(|info| info.fin_received) { 1 } else { left }
    }

    /// Reads into `p.data`; `None`: sleeps.
    fn receive(&mut self, p: &mut Pending, fd: Fd, rooms: &[Room], flags: i32) -> Result<Option<usize>, i32> {
        let waits = !self.files.get(fd).is_some_and(File::nonblocking) && flags & libc::MSG_DONTWAIT == 0;
        let socket = self.files.socket(fd)?;
        let (handle, limit) = (socket.handle, socket.receive_timeout);
        let len: usize = rooms.iter().map(|room| room.len()).sum();
        let may_wait = waits && !p.expired(self.now);
        let result = if flags & libc::MSG_OOB != 0 {
            self.receive_urgent(p, handle, flags, len)
        } else {
            let usable = rooms.iter().take_while(|room| !matches!(room, Room::Null(1..)));
            let usable: usize = usable.map(|room| room.len()).sum();
            let target = if flags & libc::MSG_WAITALL != 0 { len } else { socket.low_water.min(len) };
            let trunc = flags & libc::MSG_TRUNC != 0;
            self.receive_stream(
                p,
                Reading {
                    handle,
                    len: if trunc { len } else { usable },
                    target: target.max(1),
                    low_water: socket.low_water,
                    peek: flags & libc::MSG_PEEK != 0,
                    trunc,
                    null: usable == 0 && len > 0 && !trunc,
                    may_wait,
                },
            )
        };
        match result {
            Ok(count) => Ok(Some(count)),
            Err(libc::EAGAIN) if may_wait => {
                p.wait(self.now, limit);
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    fn receive_urgent(
        &mut self,
        p: &mut Pending,
        handle: TcpHandle,
        flags: i32,
        len: usize,
    ) -> Result<usize, i32> {
        let peek = flags & libc::MSG_PEEK != 0;
        let byte = if peek { self.stack.tcp_peek_urgent(handle) } else { self.stack.tcp_read_urgent(handle) };
        let byte = byte.map_err(Error::errno)?;
        if len == 0 {
            return Ok(0);
        }
        if flags & libc::MSG_TRUNC == 0 {
            p.data.push(byte);
        }
        Ok(1)
    }

    fn receive_stream(&mut self, p: &mut Pending, how: Reading) -> Result<usize, i32> {
        let now = self.now;
        if p.waits && how.may_wait && !self.wakes(&how) {
            return Err(libc::EAGAIN);
        }
        if how.null {
            // What would be read decides: nothing to copy, nothing to fail.
            let mut probe = [0];
            return match self.stack.tcp_peek(how.handle, &mut probe) {
                Ok(0) | Err(_) => self.stack.tcp_read(now, how.handle, &mut probe).map_err(Error::errno),
                Ok(_) => Err(libc::EFAULT),
            };
        }
        if how.len == 0 {
            return self.stack.tcp_read(now, how.handle, &mut []).map_err(Error::errno);
        }
        if how.peek {
            let mut buffer = vec![0; how.len.min(PIECE)];
            let count = self.stack.tcp_peek(how.handle, &mut buffer).map_err(|error| {
                // On Linux a peek takes a stored error as a read does.
                if error != Error::WouldBlock {
                    self.stack.tcp_take_error(how.handle);
                }
                error.errno()
            })?;
            let open = self.stack.tcp_ready(how.handle).intersection(super::poll::ENDED).is_empty();
            if count < how.target.min(buffer.len()) && open && how.may_wait {
                return Err(libc::EAGAIN);
            }
            buffer.truncate(if how.trunc { 0 } else { count });
            p.data = buffer;
            return Ok(count);
        }
        while p.count < how.len {
            if p.count > 0 && (self.has_ended(how.handle) || self.stack.tcp_at_mark(how.handle)) {
                // An error, if there is one, is the next call's to tell; so is what comes after the urgent byte.
                break;
            }
            let mut buffer = vec![0; (how.len - p.count).min(PIECE)];
            match self.stack.tcp_read(now, how.handle, &mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    p.count += read;
                    buffer.truncate(if how.trunc { 0 } else { read });
                    p.data.append(&mut buffer);
                }
                Err(Error::WouldBlock) if p.count >= how.target => break,
                Err(Error::WouldBlock) if p.count > 0 && !how.may_wait => break,
                Err(error) => return Err(error.errno()),
            }
        }
        Ok(p.count)
    }

    /// Something has happened for which a sleeping reader is woken.
    fn wakes(&self, how: &Reading) -> bool {
        let ended = self.stack.tcp_ready(how.handle).intersects(super::poll::ENDED);
        ended || self.stack.tcp_info(how.handle).is_none_or(|info| info.unread as usize >= how.low_water)
    }

    /// Nothing is left to read, and nothing will come.
    fn has_ended(&self, handle: TcpHandle) -> bool {
        let ended = self.stack.tcp_ready(handle).intersects(super::poll::ENDED);
        ended && self.stack.tcp_info(handle).is_none_or(|info| info.unread == 0)
    }

    pub(super) fn write(&mut self, p: &mut Pending, fd: Fd, pieces: &[Data]) -> Result<Option<Outcome>, i32> {
        match self.files.get(fd).ok_or(libc::EBADF)?.kind {
            Kind::PipeWrite(number) => self.write_pipe(p, fd, number, pieces),
            Kind::PipeRead(_) => Err(libc::EBADF),
            Kind::Epoll(_) => Err(libc::EINVAL),
            Kind::Socket(_) => self.send(p, fd, pieces, 0, None, &[]),
        }
    }

    pub(super) fn send(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        pieces: &[Data],
        flags: i32,
        to: Option<&Address>,
        control: &[u8],
    ) -> Result<Option<Outcome>, i32> {
        let waits = !self.files.get(fd).is_some_and(File::nonblocking) && flags & libc::MSG_DONTWAIT == 0;
        let socket = self.files.socket(fd)?;
        let (handle, limit) = (socket.handle, socket.send_timeout);
        if !p.waits {
            match to {
                Some(Address::Null) => return Err(libc::EFAULT),
                Some(Address::Other { len: 129.., .. }) => return Err(libc::EINVAL),
                _ => {}
            }
        }
        let usable = pieces.iter().take_while(|piece| !matches!(piece, Data::Null(1..)));
        let bytes: Vec<u8> = usable
            .flat_map(|piece| match piece {
                Data::Bytes(bytes) => bytes.as_slice(),
                Data::Null(_) => &[],
            })
            .copied()
            .collect();
        let wanted: usize = pieces.iter().map(Data::len).sum();
        let mut how = SendFlags::empty();
        how.set(SendFlags::MORE, flags & libc::MSG_MORE != 0);
        how.set(SendFlags::END_OF_RECORD, flags & libc::MSG_EOR != 0);
        how.set(SendFlags::URGENT, flags & libc::MSG_OOB != 0);
        let may_wait = waits && !p.expired(self.now);
        how.set(SendFlags::SLEEPS, may_wait);
        match self.send_fast(p, fd, &bytes, (flags, how), to)? {
            Opening::Sleeps => return Ok(p.wait(self.now, limit)),
            Opening::Done => return Ok(Some(Outcome::ok(p.count as i64))),
            Opening::Over => {}
        }
        loop {
            let rest = bytes.get(p.count..).unwrap_or_default();
            if p.count > 0 && self.stack.tcp_ready(handle).intersects(Ready::ERR | Ready::HUP) {
                // What went wrong is the next call's to tell.
                break;
            }
            match self.stack.tcp_send(self.now, handle, rest, how) {
                Ok(_) if rest.is_empty() => break,
                Ok(taken) => {
                    p.count += taken;
                    if p.count >= bytes.len() {
                        break;
                    }
                    // What can leave does so before the next piece is looked at, as in `tcp_sendmsg`.
                    self.flush();
                }
                Err(Error::WouldBlock) if may_wait => {
                    self.stack.tcp_push(self.now, handle);
                    return Ok(p.wait(self.now, limit));
                }
                Err(Error::WouldBlock) if p.count > 0 => {
                    if flags & libc::MSG_MORE == 0 {
                        self.stack.tcp_push(self.now, handle);
                    }
                    break;
                }
                Err(error) => return Err(error.errno()),
            }
        }
        if !control_is_valid(control) {
            return Err(libc::EINVAL);
        }
        if p.count > 0 {
            self.note_sent(fd, flags, stamps_asked(control))?;
        }
        match p.count {
            0 if wanted > 0 => Err(libc::EFAULT),
            count => Ok(Some(Outcome::ok(count as i64))),
        }
    }
}

/// What TCP lets pass as control messages on the way out (Linux `sock_cmsg_send`).
fn control_is_valid(mut control: &[u8]) -> bool {
    let number = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    while control.len() >= 16 {
        let len = control.get(..8).and_then(|b| b.try_into().ok()).map_or(0, usize::from_ne_bytes);
        let (level, kind) = (number(control.get(8..12)), number(control.get(12..16)));
        if len < 16 || len > control.len() {
            return false;
        }
        if level == Some(libc::SOL_SOCKET) {
            let known = match kind {
                Some(libc::SO_MARK | libc::SO_TIMESTAMPING | libc::SO_PRIORITY) => len == 20,
                Some(libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => true,
                _ => false,
            };
            if !known {
                return false;
            }
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    true
}

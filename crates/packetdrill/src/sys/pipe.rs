//! Pipes and `splice` between a pipe and a socket, and the small change of `fcntl` and `ioctl`.

use super::files::{File, Kind, Pipe};
use super::{Machine, Pending};
use crate::call::{Data, Fd, Out, Outcome, Room};
use lastack_core::{Error, SendFlags, State};

/// Bytes that a pipe holds (Linux: 16 pages).
pub(super) const PIPE_SIZE: usize = 65_536;
/// Status flags that F_SETFL can change.
const SETTABLE: i32 = libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;
/// Linux's `SIOCOUTQNSD`: bytes not sent at all.
const SIOCOUTQNSD: u64 = 0x894b;
/// Linux's `SIOCATMARK`.
const SIOCATMARK: u64 = 0x8905;

impl Machine {
    pub(super) fn pipe(&mut self, flags: i32) -> Result<Outcome, i32> {
        if flags & !(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_DIRECT) != 0 {
            return Err(libc::EINVAL);
        }
        self.files.pipes_made += 1;
        let number = self.files.pipes_made;
        let (nonblocking, close_on_exec) = (flags & libc::O_NONBLOCK != 0, flags & libc::O_CLOEXEC != 0);
        let reader = self.files.add(Kind::PipeRead(number), nonblocking, close_on_exec)?;
        let writer = match self.files.add(Kind::PipeWrite(number), nonblocking, close_on_exec) {
            Ok(writer) => writer,
            Err(errno) => {
                self.files.remove(reader);
                return Err(errno);
            }
        };
        self.files.pipes.insert(number, Pipe { has_reader: true, has_writer: true, ..Pipe::default() });
        Ok(Outcome::with(0, Out::Pipe(reader, writer)))
    }

    pub(super) fn close_pipe_end(&mut self, number: u32, reader: bool) {
        let Some(pipe) = self.files.pipes.get_mut(&number) else { return };
        if reader {
            pipe.has_reader = false;
        } else {
            pipe.has_writer = false;
        }
        if !pipe.has_reader && !pipe.has_writer {
            self.files.pipes.remove(&number);
        }
        self.pipe_moved(number);
    }

    /// The other end may be able to go on.
    fn pipe_moved(&mut self, number: u32) {
        for fd in self.files.pipe_ends(number) {
            let all = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR;
            self.files.wake(fd, all as u32);
        }
    }

    fn may_wait(&self, p: &Pending, fd: Fd) -> bool {
        !self.files.get(fd).is_some_and(File::nonblocking) && !p.expired(self.now)
    }

    pub(super) fn read_pipe(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        number: u32,
        rooms: &[Room],
    ) -> Result<Option<Outcome>, i32> {
        let waits = self.may_wait(p, fd);
        let pipe = self.files.pipes.get_mut(&number).ok_or(libc::EBADF)?;
        let len: usize = rooms.iter().map(|room| room.len()).sum();
        if len == 0 || pipe.data.is_empty() && !pipe.has_writer {
            return Ok(Some(Outcome::with(0, Out::Data(Vec::new()))));
        }
        if pipe.data.is_empty() {
            return if waits { Ok(p.wait(self.now, None)) } else { Err(libc::EAGAIN) };
        }
        if matches!(rooms.first(), Some(Room::Null(1..))) {
            return Err(libc::EFAULT);
        }
        let count = len.min(pipe.data.len());
        let data = pipe.data.drain(..count).collect();
        self.pipe_moved(number);
        Ok(Some(Outcome::with(count as i64, Out::Data(data))))
    }

    pub(super) fn write_pipe(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        number: u32,
        pieces: &[Data],
    ) -> Result<Option<Outcome>, i32> {
        let waits = self.may_wait(p, fd);
        let pipe = self.files.pipes.get_mut(&number).ok_or(libc::EBADF)?;
        if !pipe.has_reader {
            return Err(libc::EPIPE);
        }
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Data::Bytes(more) => bytes.extend(more),
                Data::Null(0) => {}
                Data::Null(_) if bytes.is_empty() => return Err(libc::EFAULT),
                Data::Null(_) => break,
            }
        }
        let rest = bytes.get(p.count..).unwrap_or_default();
        let room = PIPE_SIZE.saturating_sub(pipe.data.len());
        let taken = rest.len().min(room);
        pipe.data.extend(rest.iter().take(taken));
        p.count += taken;
        if taken > 0 {
            self.pipe_moved(number);
        }
        match p.count {
            count if count >= bytes.len() => Ok(Some(Outcome::ok(count as i64))),
            _ if waits => Ok(p.wait(self.now, None)),
            0 => Err(libc::EAGAIN),
            count => Ok(Some(Outcome::ok(count as i64))),
        }
    }

    pub(super) fn splice(
        &mut self,
        p: &mut Pending,
        from: Fd,
        to: Fd,
        len: usize,
        flags: u32,
    ) -> Result<Option<Outcome>, i32> {
        if len == 0 {
            return Ok(Some(Outcome::ok(0)));
        }
        let source = self.files.get(from).ok_or(libc::EBADF)?;
        let target = self.files.get(to).ok_or(libc::EBADF)?;
        match (&source.kind, &target.kind) {
            (Kind::PipeRead(number), Kind::Socket(socket)) => {
                let (number, handle) = (*number, socket.handle);
                let waits = self.may_wait(p, to) && flags & libc::SPLICE_F_NONBLOCK == 0;
                self.splice_to_socket(p, number, handle, len, flags, waits)
            }
            (Kind::Socket(socket), Kind::PipeWrite(number)) => {
                let (number, handle) = (*number, socket.handle);
                let waits = self.may_wait(p, from) && flags & libc::SPLICE_F_NONBLOCK == 0;
                self.splice_from_socket(p, handle, number, len, waits)
            }
            (Kind::PipeRead(from), Kind::PipeWrite(to)) if from != to => {
                let (from, to) = (*from, *to);
                self.splice_pipes(p, from, to, len, flags & libc::SPLICE_F_NONBLOCK == 0)
            }
            _ => Err(libc::EINVAL),
        }
    }

    fn splice_to_socket(
        &mut self,
        p: &mut Pending,
        number: u32,
        handle: lastack_core::TcpHandle,
        len: usize,
        flags: u32,
        waits: bool,
    ) -> Result<Option<Outcome>, i32> {
        let pipe = self.files.pipes.get_mut(&number).ok_or(libc::EBADF)?;
        if pipe.data.is_empty() {
            return match () {
                () if !pipe.has_writer => Ok(Some(Outcome::ok(0))),
                () if waits => Ok(p.wait(self.now, None)),
                () => Err(libc::EAGAIN),
            };
        }
        let count = len.min(pipe.data.len());
        let bytes: Vec<u8> = pipe.data.iter().take(count).copied().collect();
        let mut how = SendFlags::empty();
        how.set(SendFlags::MORE, flags & libc::SPLICE_F_MORE != 0);
        match self.stack.tcp_send(self.now, handle, &bytes, how) {
            Ok(taken) => {
                if let Some(pipe) = self.files.pipes.get_mut(&number) {
                    pipe.data.drain(..taken);
                }
                self.pipe_moved(number);
                Ok(Some(Outcome::ok(taken as i64)))
            }
            Err(Error::WouldBlock) if waits => Ok(p.wait(self.now, None)),
            Err(error) => Err(error.errno()),
        }
    }

    fn splice_from_socket(
        &mut self,
        p: &mut Pending,
        handle: lastack_core::TcpHandle,
        number: u32,
        len: usize,
        waits: bool,
    ) -> Result<Option<Outcome>, i32> {
        let pipe = self.files.pipes.get(&number).ok_or(libc::EBADF)?;
        if !pipe.has_reader {
            return Err(libc::EPIPE);
        }
        let room = PIPE_SIZE.saturating_sub(pipe.data.len());
        if room == 0 {
            return if waits { Ok(p.wait(self.now, None)) } else { Err(libc::EAGAIN) };
        }
        let mut buffer = vec![0; len.min(room)];
        match self.stack.tcp_read(self.now, handle, &mut buffer) {
            Ok(read) => {
                if let Some(pipe) = self.files.pipes.get_mut(&number) {
                    pipe.data.extend(buffer.iter().take(read));
                }
                self.pipe_moved(number);
                Ok(Some(Outcome::ok(read as i64)))
            }
            Err(Error::WouldBlock) if waits => Ok(p.wait(self.now, None)),
            Err(error) => Err(error.errno()),
        }
    }

    fn splice_pipes(
        &mut self,
        p: &mut Pending,
        from: u32,
        to: u32,
        len: usize,
        waits: bool,
    ) -> Result<Option<Outcome>, i32> {
        let room = self.files.pipes.get(&to).map_or(0, |pipe| PIPE_SIZE.saturating_sub(pipe.data.len()));
        let source = self.files.pipes.get_mut(&from).ok_or(libc::EBADF)?;
        let count = len.min(room).min(source.data.len());
        if count == 0 && source.has_writer {
            return if waits { Ok(p.wait(self.now, None)) } else { Err(libc::EAGAIN) };
        }
        let moved: Vec<u8> = source.data.drain(..count).collect();
        if let Some(target) = self.files.pipes.get_mut(&to) {
            target.data.extend(moved);
        }
        self.pipe_moved(from);
        self.pipe_moved(to);
        Ok(Some(Outcome::ok(count as i64)))
    }

    pub(super) fn fcntl(&mut self, fd: Fd, command: i32, argument: i64) -> Result<Outcome, i32> {
        let file = self.files.get_mut(fd).ok_or(libc::EBADF)?;
        let mode = match file.kind {
            Kind::Socket(_) | Kind::Epoll(_) => libc::O_RDWR,
            Kind::PipeRead(_) => libc::O_RDONLY,
            Kind::PipeWrite(_) => libc::O_WRONLY,
        };
        Ok(Outcome::ok(match command {
            libc::F_GETFL => (file.flags | mode).into(),
            libc::F_SETFL => {
                file.flags = argument as i32 & SETTABLE;
                0
            }
            libc::F_GETFD => i64::from(file.close_on_exec) * i64::from(libc::FD_CLOEXEC),
            libc::F_SETFD => {
                file.close_on_exec = argument as i32 & libc::FD_CLOEXEC != 0;
                0
            }
            _ => return Err(libc::EINVAL),
        }))
    }

    pub(super) fn ioctl(&mut self, fd: Fd, request: u64, null: bool) -> Result<Outcome, i32> {
        let file = self.files.get(fd).ok_or(libc::EBADF)?;
        let value = match &file.kind {
            Kind::Socket(socket) => {
                let handle = socket.handle;
                let info = self.stack.tcp_info(handle).ok_or(libc::EBADF)?;
                let opening = matches!(info.state, State::SynSent | State::SynReceived);
                let listening = info.state == State::Listen;
                match request {
                    libc::FIONREAD | libc::TIOCOUTQ | SIOCOUTQNSD if listening => return Err(libc::EINVAL),
                    libc::FIONREAD | libc::TIOCOUTQ | SIOCOUTQNSD if opening => 0,
                    libc::FIONREAD => info.unread as i32,
                    libc::TIOCOUTQ => self.stack.tcp_unacked(handle) as i32,
                    SIOCOUTQNSD if info.path_mtu == 0 => 0,
                    SIOCOUTQNSD => {
                        let fin = info.fin == (true, false);
                        info.unsent as i32 + i32::from(fin)
                    }
                    SIOCATMARK => i32::from(self.stack.tcp_at_mark(handle)),
                    _ => return Err(libc::ENOTTY),
                }
            }
            Kind::PipeRead(number) | Kind::PipeWrite(number) if request == libc::FIONREAD => {
                self.files.pipes.get(number).map_or(0, |pipe| pipe.data.len() as i32)
            }
            _ => return Err(libc::ENOTTY),
        };
        if null {
            return Err(libc::EFAULT);
        }
        Ok(Outcome::with(0, Out::Int(value)))
    }
}

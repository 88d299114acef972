//! Readiness: `poll`, and `epoll` with level and edge triggers (Linux `tcp_poll`, `fs/select.c`, `fs/eventpoll.c`).

use super::files::{Kind, Socket};
use super::pipe::PIPE_SIZE;
use super::{Machine, Pending};
use crate::call::{EpollEvent, Fd, Out, Outcome, PollFd};
use lastack_core::Ready;
use std::time::Duration;

/// A reader need not wait for more: the end has come, or an error.
pub(super) const ENDED: Ready = Ready::RDHUP.union(Ready::HUP).union(Ready::ERR);

/// Flags of an entry that are no events.
const PRIVATE: u32 = (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLWAKEUP | libc::EPOLLEXCLUSIVE) as u32;
/// What is always reported.
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// Poll flags, which are epoll's too.
pub(super) fn poll_bits(ready: Ready) -> u32 {
    let table = [
        (Ready::IN, libc::EPOLLIN | libc::EPOLLRDNORM),
        (Ready::OUT, libc::EPOLLOUT | libc::EPOLLWRNORM),
        (Ready::RDHUP, libc::EPOLLRDHUP),
        (Ready::HUP, libc::EPOLLHUP),
        (Ready::ERR, libc::EPOLLERR),
        (Ready::PRI, libc::EPOLLPRI),
    ];
    table.iter().filter(|(flag, _)| ready.contains(*flag)).fold(0, |bits, (_, more)| bits | *more as u32)
}

/// A descriptor in an epoll set.
#[derive(Debug)]
struct Entry {
    fd: Fd,
    events: u32,
    data: u64,
}

/// An epoll set. `ready` holds the descriptors that something has happened to, in the order in which it happened; whether
/// there is something to tell is looked at when the program asks.
#[derive(Debug, Default)]
pub(super) struct Epoll {
    entries: Vec<Entry>,
    ready: Vec<Fd>,
}

impl Epoll {
    pub(super) fn forget(&mut self, fd: Fd) {
        self.entries.retain(|entry| entry.fd != fd);
        self.ready.retain(|other| *other != fd);
    }

    pub(super) fn wake(&mut self, fd: Fd, bits: u32) {
        let wanted = self.entries.iter().any(|entry| entry.fd == fd && entry.events & !PRIVATE & bits != 0);
        if wanted && !self.ready.contains(&fd) {
            self.ready.push(fd);
        }
    }
}

/// How long a timeout in milliseconds lasts; `None`: for ever.
fn patience(timeout: i32) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

impl Machine {
    /// What a descriptor is ready for; `None` for a number that is not open.
    fn readiness(&self, fd: Fd) -> Option<u32> {
        Some(match &self.files.get(fd)?.kind {
            Kind::Socket(socket) => self.socket_readiness(socket),
            Kind::PipeRead(number) => self.files.pipes.get(number).map_or(0, |pipe| {
                let data = if pipe.data.is_empty() { 0 } else { libc::EPOLLIN | libc::EPOLLRDNORM };
                (data | if pipe.has_writer { 0 } else { libc::EPOLLHUP }) as u32
            }),
            Kind::PipeWrite(number) => self.files.pipes.get(number).map_or(0, |pipe| {
                let room = if pipe.data.len() < PIPE_SIZE { libc::EPOLLOUT | libc::EPOLLWRNORM } else { 0 };
                (room | if pipe.has_reader { 0 } else { libc::EPOLLERR }) as u32
            }),
            Kind::Epoll(epoll) => {
                let any = epoll.ready.iter().any(|fd| self.pending_events(epoll, *fd).is_some());
                if any { (libc::EPOLLIN | libc::EPOLLRDNORM) as u32 } else { 0 }
            }
        })
    }

    fn socket_readiness(&self, socket: &Socket) -> u32 {
        let mut ready = self.stack.tcp_ready(socket.handle);
        if socket.low_water > 1 && ready.contains(Ready::IN) && !ready.contains(Ready::RDHUP) {
            let unread = self.stack.tcp_info(socket.handle).map_or(0, |info| info.unread as usize);
            let listens = self.stack.tcp_state(socket.handle) == Some(lastack_core::State::Listen);
            if unread < socket.low_water && !listens {
                ready.remove(Ready::IN);
            }
        }
        ready.set(Ready::ERR, ready.contains(Ready::ERR) || socket.reports.has_any());
        poll_bits(ready)
    }

    pub(super) fn poll(&mut self, p: &mut Pending, fds: &[PollFd], timeout: i32) -> Option<Outcome> {
        let look = |asked: &PollFd| {
            if asked.fd < 0 {
                return 0;
            }
            match self.readiness(asked.fd) {
                Some(bits) => {
                    let wanted = asked.events as u16 as u32 | (libc::POLLERR | libc::POLLHUP) as u32;
                    (bits & wanted) as i16
                }
                None => libc::POLLNVAL,
            }
        };
        let found: Vec<i16> = fds.iter().map(look).collect();
        let count = found.iter().filter(|bits| **bits != 0).count();
        if count == 0 && timeout != 0 && !p.expired(self.now) {
            return p.wait(self.now, patience(timeout));
        }
        Some(Outcome::with(count as i64, Out::Polled(found)))
    }

    pub(super) fn epoll_create(&mut self, size: i32) -> Result<Outcome, i32> {
        if size <= 0 {
            return Err(libc::EINVAL);
        }
        let fd = self.files.add(Kind::Epoll(Epoll::default()), false, false)?;
        Ok(Outcome::ok(fd.into()))
    }

    fn epoll(&mut self, epfd: Fd) -> Result<&mut Epoll, i32> {
        match &mut self.files.get_mut(epfd).ok_or(libc::EBADF)?.kind {
            Kind::Epoll(epoll) => Ok(epoll),
            _ => Err(libc::EINVAL),
        }
    }

    pub(super) fn epoll_ctl(
        &mut self,
        epfd: Fd,
        op: i32,
        fd: Fd,
        event: Option<EpollEvent>,
    ) -> Result<Outcome, i32> {
        if op != libc::EPOLL_CTL_DEL && event.is_none() {
            return Err(libc::EFAULT);
        }
        if self.files.get(epfd).is_none() || self.files.get(fd).is_none() {
            return Err(libc::EBADF);
        }
        if epfd == fd {
            return Err(libc::EINVAL);
        }
        let epoll = self.epoll(epfd)?;
        let at = epoll.entries.iter().position(|entry| entry.fd == fd);
        match (op, at, event) {
            (libc::EPOLL_CTL_ADD, Some(_), _) => return Err(libc::EEXIST),
            (libc::EPOLL_CTL_ADD, None, Some(EpollEvent { events, data })) => {
                epoll.entries.push(Entry { fd, events: events | ALWAYS, data });
            }
            (libc::EPOLL_CTL_MOD, Some(at), Some(EpollEvent { events, data })) => {
                if events & libc::EPOLLEXCLUSIVE as u32 != 0 {
                    return Err(libc::EINVAL);
                }
                if let Some(entry) = epoll.entries.get_mut(at) {
                    *entry = Entry { fd, events: events | ALWAYS, data };
                }
            }
            (libc::EPOLL_CTL_DEL, Some(_), _) => {
                epoll.forget(fd);
                return Ok(Outcome::ok(0));
            }
            (libc::EPOLL_CTL_DEL | libc::EPOLL_CTL_MOD, None, _) => return Err(libc::ENOENT),
            _ => return Err(libc::EINVAL),
        }
        // What holds already is news to this set.
        let bits = self.readiness(fd).unwrap_or_default();
        self.epoll(epfd)?.wake(fd, bits);
        Ok(Outcome::ok(0))
    }

    /// What there is to tell of `fd`, if it is in the set and something is.
    fn pending_events(&self, epoll: &Epoll, fd: Fd) -> Option<EpollEvent> {
        let entry = epoll.entries.iter().find(|entry| entry.fd == fd)?;
        let events = self.readiness(fd)? & entry.events & !PRIVATE;
        (events != 0).then_some(EpollEvent { events, data: entry.data })
    }

    pub(super) fn epoll_wait(
        &mut self,
        p: &mut Pending,
        epfd: Fd,
        max: i32,
        timeout: i32,
    ) -> Result<Option<Outcome>, i32> {
        let Some(max) = usize::try_from(max).ok().filter(|max| *max > 0) else { return Err(libc::EINVAL) };
        let queue = std::mem::take(&mut self.epoll(epfd)?.ready);
        let mut told = Vec::new();
        let mut left = Vec::new();
        let mut again = Vec::new();
        for fd in queue {
            if told.len() >= max {
                left.push(fd);
                continue;
            }
            let Some(Kind::Epoll(epoll)) = self.files.get(epfd).map(|file| &file.kind) else { break };
            let Some(event) = self.pending_events(epoll, fd) else { continue };
            told.push(event);
            if let Some(entry) = self.epoll(epfd)?.entries.iter_mut().find(|entry| entry.fd == fd) {
                if entry.events & libc::EPOLLONESHOT as u32 != 0 {
                    entry.events &= PRIVATE;
                } else if entry.events & libc::EPOLLET as u32 == 0 {
                    // Level triggered: to be looked at again the next time, after all others.
                    again.push(fd);
                }
            }
        }
        left.append(&mut again);
        self.epoll(epfd)?.ready = left;
        if told.is_empty() && timeout != 0 && !p.expired(self.now) {
            return Ok(p.wait(self.now, patience(timeout)));
        }
        Ok(Some(Outcome::with(told.len() as i64, Out::Events(told))))
    }
}

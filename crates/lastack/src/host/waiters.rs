//! Who waits for a socket.

use std::task::Waker;

use lastack_core::Ready;

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read or to accept, the end of the stream, an error, a request to decide on.
    Read,
    /// Room to write, the outcome of a connect, an error.
    Write,
    /// Both directions over, or an error.
    End,
}

const END: Ready = Ready::HUP.union(Ready::ERR);
const READ: Ready = Ready::IN.union(Ready::RDHUP).union(Ready::PENDING).union(Ready::PRI).union(END);
const WRITE: Ready = Ready::OUT.union(END);

impl Interest {
    /// The readiness that ends the wait.
    pub(crate) fn flags(self) -> Ready {
        match self {
            Self::Read => READ,
            Self::Write => WRITE,
            Self::End => END,
        }
    }
}

/// Wakers of one kind. The slot is that of the `poll_*` functions, where the last caller wins (as `AsyncRead` has it);
/// the rest are futures and blocked threads, each with a number so that it can take itself out.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    slot: Option<Waker>,
    more: Vec<(u64, Waker)>,
}

impl Waiters {
    /// Gives back a waker that is not needed any more. It is dropped without the lock: with some executors that drops a
    /// task, and with it sockets.
    #[must_use]
    pub(crate) fn set(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.slot {
            Some(old) if old.will_wake(waker) => None,
            _ => self.slot.replace(waker.clone()),
        }
    }

    /// As [`Waiters::set`], for a number of its own.
    #[must_use]
    pub(crate) fn add(&mut self, id: u64, waker: &Waker) -> Option<Waker> {
        match self.more.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) if old.will_wake(waker) => None,
            Some((_, old)) => Some(std::mem::replace(old, waker.clone())),
            None => {
                self.more.push((id, waker.clone()));
                None
            }
        }
    }

    /// Takes one out.
    #[must_use]
    pub(crate) fn remove(&mut self, id: u64) -> Option<Waker> {
        let at = self.more.iter().position(|(other, _)| *other == id)?;
        let (_, waker) = self.more.swap_remove(at);
        if self.more.is_empty() {
            self.more = Vec::new();
        }
        Some(waker)
    }

    pub(crate) fn take(&mut self, into: &mut Vec<Waker>) {
        into.extend(self.slot.take());
        into.extend(self.more.drain(..).map(|(_, waker)| waker));
    }
}

/// All who wait for one socket.
#[derive(Debug, Default)]
pub(crate) struct SocketWaiters {
    read: Waiters,
    write: Waiters,
    end: Waiters,
}

impl SocketWaiters {
    pub(crate) fn of(&mut self, interest: Interest) -> &mut Waiters {
        match interest {
            Interest::Read => &mut self.read,
            Interest::Write => &mut self.write,
            Interest::End => &mut self.end,
        }
    }

    /// Takes out those for whom `ready` is news.
    pub(crate) fn signal(&mut self, ready: Ready, into: &mut Vec<Waker>) {
        for interest in [Interest::Read, Interest::Write, Interest::End] {
            if ready.intersects(interest.flags()) {
                self.of(interest).take(into);
            }
        }
    }

    pub(crate) fn take_all(&mut self, into: &mut Vec<Waker>) {
        self.signal(Ready::all(), into);
    }
}

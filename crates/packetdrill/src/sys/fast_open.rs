//! Sending while the connection is being opened: MSG_FASTOPEN, and the first write after TCP_FASTOPEN_CONNECT (Linux
//! `tcp_sendmsg_fastopen`, `__inet_stream_connect`).

use super::files::Phase;
use super::{Machine, Pending};
use crate::call::{Address, Call, Fd};
use lastack_core::{Error, SendFlags, State, TcpHandle};

/// How far a send that opens its connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The connection is open, or the call has nothing to do with it: the send goes on as any other.
    Over,
    /// It sleeps until the connection is open.
    Sleeps,
    /// It returns what the SYN took.
    Done,
}

impl Machine {
    /// `connect` was called, and the SYN waits for a write.
    pub(super) fn defers_connect(&self, handle: TcpHandle) -> bool {
        self.stack.tcp_fast_open(handle).is_some_and(|fast| fast.deferred)
    }

    /// The part of a send that opens the connection. `p.count` becomes what the SYN took.
    pub(super) fn send_fast(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        bytes: &[u8],
        (flags, how): (i32, SendFlags),
        to: Option<&Address>,
    ) -> Result<Opening, i32> {
        let handle = self.files.socket(fd)?.handle;
        if !p.waits {
            if flags & libc::MSG_FASTOPEN == 0 && !self.defers_connect(handle) {
                return Ok(Opening::Over);
            }
            p.opening = Some(self.begin_fast(p, fd, bytes, how, to)?);
        }
        let Some(under_way) = p.opening else { return Ok(Opening::Over) };
        match self.stack.tcp_state(handle) {
            Some(State::SynSent | State::SynReceived) if how.contains(SendFlags::SLEEPS) => {
                Ok(Opening::Sleeps)
            }
            Some(State::SynSent | State::SynReceived) if p.count > 0 => Ok(Opening::Done),
            Some(State::SynSent | State::SynReceived) => Err(under_way),
            Some(State::Closed) => {
                let error = self.stack.tcp_take_error(handle).map_or(libc::ECONNABORTED, Error::errno);
                self.disconnect(fd)?;
                Err(error)
            }
            _ => {
                p.opening = None;
                self.files.socket_mut(fd)?.phase = Phase::Connected;
                Ok(Opening::Over)
            }
        }
    }

    /// Sends the SYN, if it has not left. Gives the errno of a call that does not wait and had no byte on it.
    fn begin_fast(
        &mut self,
        p: &mut Pending,
        fd: Fd,
        bytes: &[u8],
        how: SendFlags,
        to: Option<&Address>,
    ) -> Result<i32, i32> {
        if !self.settings.config.tcp.fast_open_client || to == Some(&Address::Unspecified) {
            return Err(libc::EOPNOTSUPP);
        }
        let socket = self.files.socket(fd)?;
        let (handle, phase) = (socket.handle, socket.phase);
        if socket.asks_cookie || self.blocked.iter().any(|other| other.opens(fd)) {
            return Err(libc::EALREADY);
        }
        if self.defers_connect(handle) {
            p.count = match self.stack.tcp_send(self.now, handle, bytes, how) {
                Ok(taken) => taken,
                Err(Error::WouldBlock) => 0,
                Err(error) => return Err(error.errno()),
            };
            return Ok(libc::EINPROGRESS);
        }
        if matches!(to, Some(Address::Other { len: 0..2, .. })) {
            return Err(libc::EINVAL);
        }
        match (phase, to) {
            (Phase::Connected, _) => Err(libc::EISCONN),
            (Phase::Connecting, _) => Ok(libc::EALREADY),
            (Phase::Unconnected, _) if self.stack.tcp_state(handle) != Some(State::Closed) => {
                Err(libc::EISCONN)
            }
            (Phase::Unconnected, None) => Err(libc::EINVAL),
            (Phase::Unconnected, Some(address)) => {
                p.count = self.start_connect(fd, address, Some((bytes, how)))?;
                Ok(libc::EINPROGRESS)
            }
        }
    }
}

impl Pending {
    /// It is a send that opens the connection of `fd`.
    fn opens(&self, fd: Fd) -> bool {
        let same = match &self.call {
            Call::Send { fd: other, .. }
            | Call::SendMsg { fd: other, .. }
            | Call::Write { fd: other, .. } => *other == fd,
            _ => false,
        };
        same && self.opening.is_some()
    }
}

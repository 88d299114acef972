//! `getsockopt` and `setsockopt`: who answers for which level, and how values cross (Linux `do_sock_setsockopt`,
//! `sk_getsockopt`, `do_tcp_setsockopt`, `do_ip_setsockopt`, `do_ipv6_setsockopt`).
//!
//! Options of features that this stack does not have are answered as by a kernel built without them: ENOPROTOOPT or
//! EOPNOTSUPP.

mod info;
mod ip_level;
mod socket_level;
mod tcp_level;

use super::Machine;
use crate::call::{Fd, Out, Outcome};
use lastack_core::{Error, TcpHandle, TcpOption};

/// An option that is kept and given back and that has no effect here: routing, queueing and namespaces of the host.
#[derive(Clone, Copy, Debug)]
struct Kept {
    level: i32,
    name: i32,
    /// Value of a new socket.
    initial: i32,
    /// Values that are taken; anything else is EINVAL.
    least: i32,
    most: i32,
    /// Anything but 0 is read back as 1.
    truth: bool,
}

const fn truth(level: i32, name: i32, initial: i32) -> Kept {
    Kept { level, name, initial, least: i32::MIN, most: i32::MAX, truth: true }
}

const fn number(level: i32, name: i32, initial: i32, least: i32, most: i32) -> Kept {
    Kept { level, name, initial, least, most, truth: false }
}

const KEPT: &[Kept] = &[
    truth(libc::SOL_SOCKET, libc::SO_DEBUG, 0),
    truth(libc::SOL_SOCKET, libc::SO_DONTROUTE, 0),
    truth(libc::SOL_SOCKET, libc::SO_BROADCAST, 0),
    truth(libc::SOL_SOCKET, libc::SO_NO_CHECK, 0),
    number(libc::SOL_SOCKET, libc::SO_PRIORITY, 0, i32::MIN, i32::MAX),
    number(libc::SOL_SOCKET, libc::SO_MARK, 0, i32::MIN, i32::MAX),
    truth(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 0),
    truth(libc::SOL_SOCKET, libc::SO_SELECT_ERR_QUEUE, 0),
    number(libc::SOL_SOCKET, libc::SO_BUSY_POLL, 0, 0, i32::MAX),
    number(libc::SOL_SOCKET, libc::SO_INCOMING_CPU, -1, i32::MIN, i32::MAX),
    number(libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 1),
    truth(libc::IPPROTO_IP, libc::IP_RECVOPTS, 0),
    truth(libc::IPPROTO_IP, libc::IP_RETOPTS, 0),
    truth(libc::IPPROTO_IP, libc::IP_PKTINFO, 0),
    truth(libc::IPPROTO_IP, libc::IP_RECVTTL, 0),
    truth(libc::IPPROTO_IP, libc::IP_RECVTOS, 0),
    truth(libc::IPPROTO_IP, libc::IP_FREEBIND, 0),
    truth(libc::IPPROTO_IP, libc::IP_TRANSPARENT, 0),
    truth(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 0),
    truth(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 0),
    truth(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 0),
    truth(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 0),
    truth(libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 0),
    truth(libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 0),
];

fn kept(level: i32, name: i32) -> Option<&'static Kept> {
    KEPT.iter().find(|option| option.level == level && option.name == name)
}

/// The int at the start of a value.
fn int(value: &[u8]) -> Result<i32, i32> {
    let bytes = value.first_chunk::<4>().ok_or(libc::EINVAL)?;
    Ok(i32::from_ne_bytes(*bytes))
}

/// An int as an answer, cut to the room.
fn int_value(value: i32, len: usize) -> Vec<u8> {
    cut(&value.to_ne_bytes(), len)
}

fn cut(bytes: &[u8], len: usize) -> Vec<u8> {
    bytes.get(..len.min(bytes.len())).unwrap_or_default().to_vec()
}

impl Machine {
    pub(super) fn getsockopt(
        &mut self,
        fd: Fd,
        level: i32,
        name: i32,
        len: i32,
        null: bool,
    ) -> Result<Outcome, i32> {
        let v6 = self.files.socket(fd)?.v6;
        // IPv6 takes a negative length for a large one; the others refuse it, once they know the level.
        let room = match usize::try_from(len) {
            Ok(len) => Ok(len),
            Err(_) if level == libc::IPPROTO_IPV6 => Ok(4),
            Err(_) => Err(libc::EINVAL),
        };
        let value = match level {
            libc::SOL_SOCKET => self.get_socket_option(fd, name, room?),
            libc::IPPROTO_TCP => self.get_tcp_option(fd, name, room?),
            libc::IPPROTO_IP => self.get_ip_option(fd, name, room?),
            libc::IPPROTO_IPV6 if v6 => self.get_ipv6_option(fd, name, room?),
            _ => Err(if v6 { libc::ENOPROTOOPT } else { libc::EOPNOTSUPP }),
        }?;
        if null && !value.is_empty() {
            return Err(libc::EFAULT);
        }
        Ok(Outcome::with(0, Out::Value(value)))
    }

    pub(super) fn setsockopt(
        &mut self,
        fd: Fd,
        level: i32,
        name: i32,
        value: Option<&[u8]>,
        len: i32,
    ) -> Result<Outcome, i32> {
        let v6 = self.files.socket(fd)?.v6;
        let len = usize::try_from(len).map_err(|_| libc::EINVAL)?;
        // The value as far as the length allows; it may lie about more than is there.
        let value = value.map(|bytes| bytes.get(..len.min(bytes.len())).unwrap_or_default());
        match level {
            libc::SOL_SOCKET => self.set_socket_option(fd, name, value, len),
            libc::IPPROTO_TCP => self.set_tcp_option(fd, name, value, len),
            libc::IPPROTO_IP => self.set_ip_option(fd, name, value, len),
            libc::IPPROTO_IPV6 if v6 => self.set_ipv6_option(fd, name, value, len),
            _ => Err(libc::ENOPROTOOPT),
        }?;
        Ok(Outcome::ok(0))
    }

    fn set_core(&mut self, handle: TcpHandle, option: TcpOption) -> Result<(), i32> {
        self.stack.tcp_set_option(self.now, handle, option).map_err(Error::errno)
    }

    fn get_kept(&self, fd: Fd, level: i32, name: i32) -> Result<i32, i32> {
        let option = kept(level, name).ok_or(libc::ENOPROTOOPT)?;
        let socket = self.files.socket(fd)?;
        Ok(socket.kept.get(&(level, name)).copied().unwrap_or(option.initial))
    }

    fn set_kept(&mut self, fd: Fd, level: i32, name: i32, value: i32) -> Result<(), i32> {
        let option = kept(level, name).ok_or(libc::ENOPROTOOPT)?;
        if !(option.least..=option.most).contains(&value) {
            return Err(libc::EINVAL);
        }
        let value = if option.truth { i32::from(value != 0) } else { value };
        self.files.socket_mut(fd)?.kept.insert((level, name), value);
        Ok(())
    }

    /// Hands the sizes of Linux's buffers to the stack.
    pub(super) fn apply_buffers(&mut self, handle: TcpHandle, send: i32, receive: Option<i32>) {
        let send = TcpOption::SendBuffer(send.max(0).unsigned_abs() as usize);
        let receive = receive.map(|memory| TcpOption::RecvBuffer(memory.max(0).unsigned_abs() as usize));
        for option in std::iter::once(send).chain(receive) {
            // Both are clamped, not refused.
            let _ = self.stack.tcp_set_option(self.now, handle, option);
        }
    }
}

//! SOL_SOCKET (Linux `sk_setsockopt`, `sk_getsockopt`).

use super::super::Machine;
use super::{cut, int, int_value};
use crate::call::{Fd, socket_address_bytes};
use lastack_core::{Error, State, TcpOption};
use std::time::Duration;

/// Least send and receive buffers (Linux `SOCK_MIN_SNDBUF`, `SOCK_MIN_RCVBUF`).
const SEND_MIN: i32 = 4608;
const RECEIVE_MIN: i32 = 2304;
/// Linux numbers that `libc` has no name for.
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
const SO_BUF_LOCK: i32 = 72;
const SO_ZEROCOPY: i32 = 60;
/// Bits of SO_BUF_LOCK.
const LOCK_SEND: i32 = 1;
const LOCK_RECEIVE: i32 = 2;
/// Linux keeps timeouts in ticks.
const TICK: Duration = Duration::from_millis(4);

impl Machine {
    pub(super) fn get_socket_option(&mut self, fd: Fd, name: i32, len: usize) -> Result<Vec<u8>, i32> {
        let socket = self.files.socket(fd)?.clone();
        let options = self.stack.tcp_options(socket.handle).ok_or(libc::EBADF)?;
        let value = match name {
            libc::SO_TYPE => libc::SOCK_STREAM,
            libc::SO_PROTOCOL => libc::IPPROTO_TCP,
            libc::SO_DOMAIN if socket.v6 => libc::AF_INET6,
            libc::SO_DOMAIN => libc::AF_INET,
            libc::SO_ACCEPTCONN => i32::from(self.stack.tcp_state(socket.handle) == Some(State::Listen)),
            libc::SO_ERROR => {
                let hard = self.stack.tcp_take_error(socket.handle);
                let error = hard.or_else(|| self.stack.tcp_take_soft_error(socket.handle));
                error.map_or(0, Error::errno)
            }
            libc::SO_REUSEADDR => options.reuse_addr.into(),
            libc::SO_REUSEPORT => options.reuse_port.into(),
            libc::SO_KEEPALIVE => options.keepalive.into(),
            SO_ZEROCOPY => socket.reports.zerocopy.into(),
            libc::SO_TIMESTAMPING => {
                // The clock that would be bound to comes behind the flags; there is none.
                let value = [socket.reports.stamping, 0].map(u32::to_ne_bytes).concat();
                return Ok(cut(&value, len));
            }
            libc::SO_OOBINLINE => options.oob_inline.into(),
            libc::SO_SNDBUF => self.send_memory(fd)?,
            libc::SO_RCVBUF => self.receive_memory(fd)?,
            libc::SO_RCVLOWAT => i32::try_from(socket.low_water).unwrap_or(i32::MAX),
            libc::SO_SNDLOWAT => 1,
            SO_BUF_LOCK => {
                i32::from(socket.send_buffer.is_some()) * LOCK_SEND
                    + i32::from(socket.receive_buffer.is_some()) * LOCK_RECEIVE
            }
            libc::SO_LINGER => {
                let seconds = options.linger.map_or(0, |time| time.as_secs() as i32);
                let value = [i32::from(options.linger.is_some()), seconds].map(i32::to_ne_bytes).concat();
                return Ok(cut(&value, len));
            }
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => return Ok(cut(&timeval(socket.receive_timeout), len)),
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => return Ok(cut(&timeval(socket.send_timeout), len)),
            libc::SO_MAX_PACING_RATE => {
                let rate = self.stack.tcp_info(socket.handle).map_or(u64::MAX, |info| info.max_pacing_rate);
                return Ok(if len < 8 {
                    int_value(u32::try_from(rate).unwrap_or(u32::MAX).cast_signed(), len)
                } else {
                    rate.to_ne_bytes().to_vec()
                });
            }
            libc::SO_COOKIE if len < 8 => return Err(libc::EINVAL),
            libc::SO_COOKIE => return Ok(socket.cookie.to_ne_bytes().to_vec()),
            libc::SO_MEMINFO => return Ok(cut(&self.memory_info(fd)?, len)),
            libc::SO_BINDTODEVICE => return Ok(Vec::new()),
            libc::SO_PEERNAME => {
                let connected = !matches!(
                    self.stack.tcp_state(socket.handle),
                    Some(State::Closed | State::Listen | State::SynSent) | None
                );
                let peer = self.stack.tcp_peer_addr(socket.handle).filter(|_| connected);
                let name = socket_address_bytes(super::super::socket::in_family(
                    peer.ok_or(libc::ENOTCONN)?,
                    socket.v6,
                ));
                return if len > name.len() { Err(libc::EINVAL) } else { Ok(cut(&name, len)) };
            }
            _ => self.get_kept(fd, libc::SOL_SOCKET, name)?,
        };
        Ok(int_value(value, len))
    }

    /// `sk_sndbuf`: what was set, or what the stack's tuning has made of the first size.
    pub(super) fn send_memory(&self, fd: Fd) -> Result<i32, i32> {
        let socket = self.files.socket(fd)?;
        let options = self.stack.tcp_options(socket.handle).ok_or(libc::EBADF)?;
        Ok(socket.send_buffer.unwrap_or(i32::try_from(options.send_buffer).unwrap_or(i32::MAX)))
    }

    /// `sk_rcvbuf`: what was set, or what the stack's tuning has made of the first size.
    pub(super) fn receive_memory(&self, fd: Fd) -> Result<i32, i32> {
        let options = self.stack.tcp_options(self.files.socket(fd)?.handle).ok_or(libc::EBADF)?;
        Ok(i32::try_from(options.recv_buffer).unwrap_or(i32::MAX))
    }

    pub(super) fn set_socket_option(
        &mut self,
        fd: Fd,
        name: i32,
        value: Option<&[u8]>,
        len: usize,
    ) -> Result<(), i32> {
        if name == libc::SO_BINDTODEVICE {
            let device = value.ok_or(libc::EFAULT)?;
            return if device.first().is_none_or(|byte| *byte == 0) { Ok(()) } else { Err(libc::ENODEV) };
        }
        if len < 4 {
            return Err(libc::EINVAL);
        }
        let bytes = value.ok_or(libc::EFAULT)?;
        let number = int(bytes)?;
        let handle = self.files.socket(fd)?.handle;
        let on = number != 0;
        match name {
            libc::SO_MAX_PACING_RATE => {
                let rate = match bytes.first_chunk::<8>() {
                    Some(long) => u64::from_ne_bytes(*long),
                    None if number == -1 => u64::MAX,
                    None => number.cast_unsigned().into(),
                };
                self.set_core(handle, TcpOption::MaxPacingRate(rate))
            }
            libc::SO_REUSEADDR => self.set_core(handle, TcpOption::ReuseAddr(on)),
            libc::SO_REUSEPORT => self.set_core(handle, TcpOption::ReusePort(on)),
            libc::SO_KEEPALIVE => self.set_core(handle, TcpOption::KeepAlive(on)),
            libc::SO_OOBINLINE => self.set_core(handle, TcpOption::OobInline(on)),
            libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
                let limit = self.settings.send_buffer_limit;
                let memory = doubled(number, name == libc::SO_SNDBUFFORCE, limit, SEND_MIN);
                self.files.socket_mut(fd)?.send_buffer = Some(memory);
                self.apply_buffers(handle, memory, None);
                Ok(())
            }
            libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
                let limit = self.settings.receive_buffer_limit;
                let memory = doubled(number, name == libc::SO_RCVBUFFORCE, limit, RECEIVE_MIN);
                self.files.socket_mut(fd)?.receive_buffer = Some(memory);
                let send = self.send_memory(fd)?;
                self.apply_buffers(handle, send, Some(memory));
                Ok(())
            }
            libc::SO_RCVLOWAT => {
                let most = self.settings.receive_buffer[2] / 2;
                let mark = if number < 0 { most } else { number.min(most) };
                self.files.socket_mut(fd)?.low_water = mark.max(1).unsigned_abs() as usize;
                Ok(())
            }
            libc::SO_LINGER => {
                let pair = bytes.first_chunk::<8>().ok_or(libc::EINVAL)?;
                let seconds = int(pair.get(4..).unwrap_or_default())?;
                // A negative time is a very long one.
                let time = Duration::from_secs(seconds.cast_unsigned().into());
                self.set_core(handle, TcpOption::Linger(on.then_some(time)))
            }
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => {
                let limit = parse_timeval(bytes)?;
                self.files.socket_mut(fd)?.receive_timeout = limit;
                Ok(())
            }
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => {
                let limit = parse_timeval(bytes)?;
                self.files.socket_mut(fd)?.send_timeout = limit;
                Ok(())
            }
            SO_ZEROCOPY if (0..=1).contains(&number) => {
                self.files.socket_mut(fd)?.reports.zerocopy = on;
                Ok(())
            }
            SO_ZEROCOPY => Err(libc::EINVAL),
            libc::SO_TIMESTAMPING => self.set_stamping(fd, number),
            SO_BUF_LOCK => self.set_buffer_lock(fd, number),
            _ => self.set_kept(fd, libc::SOL_SOCKET, name, number),
        }
    }

    fn set_buffer_lock(&mut self, fd: Fd, bits: i32) -> Result<(), i32> {
        if bits & !(LOCK_SEND | LOCK_RECEIVE) != 0 {
            return Err(libc::EINVAL);
        }
        let (send, receive) = (self.send_memory(fd)?, self.receive_memory(fd)?);
        let socket = self.files.socket_mut(fd)?;
        socket.send_buffer = (bits & LOCK_SEND != 0).then_some(send);
        socket.receive_buffer = (bits & LOCK_RECEIVE != 0).then_some(receive);
        Ok(())
    }

    /// Nine words of SO_MEMINFO: what lies in the buffers, and how large they are.
    fn memory_info(&self, fd: Fd) -> Result<Vec<u8>, i32> {
        let socket = self.files.socket(fd)?;
        let info = self.stack.tcp_info(socket.handle).ok_or(libc::EBADF)?;
        let queued = info.send_memory;
        let words = [
            info.receive.memory,
            self.receive_memory(fd)?.unsigned_abs(),
            info.unacked,
            self.send_memory(fd)?.unsigned_abs(),
            0,
            queued,
            0,
            0,
            0,
        ];
        Ok(words.map(u32::to_ne_bytes).concat())
    }
}

/// SO_SNDBUF and SO_RCVBUF: bounded, then doubled for the kernel's own costs.
fn doubled(wanted: i32, force: bool, limit: i32, least: i32) -> i32 {
    // Read without sign: a negative size is a huge one, unless the bound is lifted.
    let wanted = match wanted {
        ..0 if force => 0,
        ..0 => limit,
        n if force => n,
        n => n.min(limit),
    };
    wanted.min(i32::MAX / 2).saturating_mul(2).max(least)
}

fn timeval(time: Option<Duration>) -> Vec<u8> {
    let time = time.unwrap_or_default();
    [time.as_secs(), u64::from(time.subsec_micros())].map(u64::to_ne_bytes).concat()
}

/// A timeout: zero is none, a negative one is over at once.
fn parse_timeval(bytes: &[u8]) -> Result<Option<Duration>, i32> {
    let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_ne_bytes);
    let (Some(seconds), Some(micros)) = (word(0), word(8)) else { return Err(libc::EINVAL) };
    if !(0..1_000_000).contains(&micros) {
        return Err(libc::EDOM);
    }
    let Ok(seconds) = u64::try_from(seconds) else { return Ok(Some(Duration::ZERO)) };
    let time = Duration::from_secs(seconds) + Duration::from_micros(micros.unsigned_abs());
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    let rounded = u32::try_from(ticks).ok().and_then(|ticks| TICK.checked_mul(ticks));
    Ok(rounded.filter(|time| !time.is_zero()))
}

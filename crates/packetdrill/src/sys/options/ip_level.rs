//! IPPROTO_IP and IPPROTO_IPV6 (Linux `do_ip_setsockopt`, `do_ipv6_setsockopt`).
//!
//! An AF_INET6 socket has both sets; which one marks its packets depends on the family of its peer.

use super::super::Machine;
use super::{int, int_value};
use crate::call::Fd;
use lastack_core::{TcpHandle, TcpOption};

const V4: i32 = libc::IPPROTO_IP;
const V6: i32 = libc::IPPROTO_IPV6;
/// Bits of the TOS octet that belong to ECN, which TCP keeps for itself.
const ECN: i32 = 3;

impl Machine {
    pub(super) fn get_ip_option(&mut self, fd: Fd, name: i32, len: usize) -> Result<Vec<u8>, i32> {
        let handle = self.files.socket(fd)?.handle;
        let value = match name {
            libc::IP_TTL => self.kept_or(fd, V4, name, -1),
            libc::IP_MTU => self.path_mtu(fd)?,
            libc::IP_TOS => self.kept_or(fd, V4, name, 0),
            libc::IP_MTU_DISCOVER => self.kept_or(fd, V4, name, 1),
            libc::IP_RECVERR => i32::from(self.tells_soft_errors(handle)),
            _ => self.get_kept(fd, V4, name)?,
        };
        let value =
            if name == libc::IP_TTL && value < 0 { self.settings.config.tcp.ttl.into() } else { value };
        // A small number fits into a single byte.
        let len = if (1..4).contains(&len) && (0..=255).contains(&value) { 1 } else { len };
        Ok(int_value(value, len))
    }

    pub(super) fn set_ip_option(
        &mut self,
        fd: Fd,
        name: i32,
        value: Option<&[u8]>,
        len: usize,
    ) -> Result<(), i32> {
        let known = [libc::IP_TOS, libc::IP_TTL, libc::IP_MTU_DISCOVER, libc::IP_RECVERR];
        if !known.contains(&name) && super::kept(V4, name).is_none() {
            return Err(libc::ENOPROTOOPT);
        }
        if len == 0 && matches!(name, libc::IP_FREEBIND | libc::IP_TRANSPARENT) {
            return Err(libc::EINVAL);
        }
        // Without a length the value is 0.
        let number = match (value, len) {
            (_, 0) => 0,
            (None, _) => return Err(libc::EFAULT),
            (Some(bytes), 4..) => int(bytes)?,
            (Some(bytes), _) => bytes.first().copied().unwrap_or(0).into(),
        };
        let handle = self.files.socket(fd)?.handle;
        match name {
            libc::IP_TOS => self.keep(fd, V4, name, number & 0xff & !ECN),
            libc::IP_TTL if number == -1 || (1..=255).contains(&number) => self.keep(fd, V4, name, number),
            libc::IP_MTU_DISCOVER if (0..=5).contains(&number) => self.keep(fd, V4, name, number),
            libc::IP_RECVERR => return self.set_core(handle, TcpOption::RecvErr(number != 0)),
            libc::IP_TTL | libc::IP_MTU_DISCOVER => return Err(libc::EINVAL),
            _ => return self.set_kept(fd, V4, name, number),
        }?;
        self.apply_header(fd)
    }

    pub(super) fn get_ipv6_option(&mut self, fd: Fd, name: i32, len: usize) -> Result<Vec<u8>, i32> {
        let handle = self.files.socket(fd)?.handle;
        let value = match name {
            libc::IPV6_UNICAST_HOPS => match self.kept_or(fd, V6, name, -1) {
                ..0 => self.settings.config.tcp.ttl.into(),
                hops => hops,
            },
            libc::IPV6_TCLASS => self.kept_or(fd, V6, name, 0),
            libc::IPV6_MTU_DISCOVER => self.kept_or(fd, V6, name, 1),
            libc::IPV6_MTU => self.path_mtu(fd)?,
            // Bound to an address of IPv6 it is for IPv6 alone.
            libc::IPV6_V6ONLY => {
                let local = self.stack.tcp_local_addr(handle).filter(|_| self.is_bound(handle));
                let native = local.is_some_and(|local| local.is_ipv6() && !local.ip().is_unspecified());
                let asked = self.stack.tcp_options(handle).is_some_and(|options| options.v6_only);
                i32::from(native || asked)
            }
            libc::IPV6_RECVERR => i32::from(self.tells_soft_errors(handle)),
            _ => self.get_kept(fd, V6, name)?,
        };
        Ok(int_value(value, len))
    }

    pub(super) fn set_ipv6_option(
        &mut self,
        fd: Fd,
        name: i32,
        value: Option<&[u8]>,
        len: usize,
    ) -> Result<(), i32> {
        let number = match value {
            Some(bytes) if len >= 4 => int(bytes)?,
            _ => 0,
        };
        let handle = self.files.socket(fd)?.handle;
        let whole = [
            libc::IPV6_UNICAST_HOPS,
            libc::IPV6_TCLASS,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_MTU,
            libc::IPV6_V6ONLY,
            libc::IPV6_RECVERR,
        ];
        if len < 4 && (whole.contains(&name) || super::kept(V6, name).is_some()) {
            return Err(libc::EINVAL);
        }
        match name {
            libc::IPV6_UNICAST_HOPS if (-1..=255).contains(&number) => self.keep(fd, V6, name, number),
            libc::IPV6_TCLASS if (-1..=255).contains(&number) => {
                self.keep(fd, V6, name, number.max(0) & !ECN)
            }
            libc::IPV6_MTU_DISCOVER if (0..=5).contains(&number) => self.keep(fd, V6, name, number),
            libc::IPV6_V6ONLY if !self.is_bound(handle) => {
                return self.set_core(handle, TcpOption::V6Only(number != 0));
            }
            // Bounds what datagrams are cut to; a stream has none.
            libc::IPV6_MTU if number == 0 || number >= 1280 => return Ok(()),
            libc::IPV6_RECVERR => return self.set_core(handle, TcpOption::RecvErr(number != 0)),
            libc::IPV6_UNICAST_HOPS
            | libc::IPV6_TCLASS
            | libc::IPV6_MTU_DISCOVER
            | libc::IPV6_MTU
            | libc::IPV6_V6ONLY => {
                return Err(libc::EINVAL);
            }
            _ => return self.set_kept(fd, V6, name, number),
        }?;
        self.apply_header(fd)
    }

    fn kept_or(&self, fd: Fd, level: i32, name: i32, initial: i32) -> i32 {
        let socket = self.files.socket(fd).ok();
        socket.and_then(|socket| socket.kept.get(&(level, name)).copied()).unwrap_or(initial)
    }

    fn keep(&mut self, fd: Fd, level: i32, name: i32, value: i32) -> Result<(), i32> {
        self.files.socket_mut(fd)?.kept.insert((level, name), value);
        Ok(())
    }

    fn tells_soft_errors(&self, handle: TcpHandle) -> bool {
        self.stack.tcp_options(handle).is_some_and(|options| options.recv_err)
    }

    fn path_mtu(&self, fd: Fd) -> Result<i32, i32> {
        let handle = self.files.socket(fd)?.handle;
        // Known once a route was looked up, and kept after the end.
        match self.stack.tcp_info(handle).map_or(0, |info| info.path_mtu) {
            0 => Err(libc::ENOTCONN),
            mtu => Ok(mtu.into()),
        }
    }

    /// Hands TOS, TTL and the rules of path MTU discovery of the right family to the stack.
    pub(in crate::sys) fn apply_header(&mut self, fd: Fd) -> Result<(), i32> {
        let socket = self.files.socket(fd)?;
        let (handle, v6) = (socket.handle, socket.v6);
        let uses_v6 = match self.stack.tcp_peer_addr(handle).or_else(|| self.stack.tcp_local_addr(handle)) {
            Some(addr) if addr.port() != 0 => addr.is_ipv6(),
            _ => v6,
        };
        let (tos, ttl, discover) = if uses_v6 {
            let class = self.kept_or(fd, V6, libc::IPV6_TCLASS, 0);
            let hops = self.kept_or(fd, V6, libc::IPV6_UNICAST_HOPS, -1);
            let discover = self.kept_or(fd, V6, libc::IPV6_MTU_DISCOVER, 1);
            (class, hops, discover)
        } else {
            let ttl = self.kept_or(fd, V4, libc::IP_TTL, -1);
            let discover = self.kept_or(fd, V4, libc::IP_MTU_DISCOVER, 1);
            (self.kept_or(fd, V4, libc::IP_TOS, 0), ttl, discover)
        };
        // 0 stands for the default in both.
        let ttl = match u8::try_from(ttl) {
            Ok(0) | Err(_) => self.settings.config.tcp.ttl,
            Ok(ttl) => ttl,
        };
        self.set_core(handle, TcpOption::Tos(tos as u8))?;
        self.set_core(handle, TcpOption::Ttl(ttl))?;
        // IP_PMTUDISC_WANT and _DO believe routers; the others do not.
        self.set_core(handle, TcpOption::PathMtuDiscovery(matches!(discover, 1 | 2)))
    }
}

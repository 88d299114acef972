//! IPPROTO_TCP (Linux `do_tcp_setsockopt`, `do_tcp_getsockopt`).

use super::super::Machine;
use super::{cut, int, int_value};
use crate::call::Fd;
use lastack_core::{CongestionReport, FastOpenKeys, SocketOptions, State, TcpHandle, TcpOption};
use std::time::Duration;

/// Room for the name of a congestion control (`TCP_CA_NAME_MAX`).
const NAME_MAX: usize = 16;
/// Bounds of TCP_MAXSEG (Linux `TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
const MAXSEG: std::ops::RangeInclusive<i32> = 88..=32_767;
/// Least TCP_WINDOW_CLAMP: half of the least receive buffer.
const CLAMP_MIN: i32 = 1152;
/// Linux numbers that `libc` has no name for.
const TCP_CC_INFO: i32 = 26;
const TCP_INQ: i32 = 36;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;

impl Machine {
    pub(super) fn get_tcp_option(&mut self, fd: Fd, name: i32, len: usize) -> Result<Vec<u8>, i32> {
        let socket = self.files.socket(fd)?;
        let (handle, tells_inq) = (socket.handle, socket.tells_inq);
        let options = self.stack.tcp_options(handle).ok_or(libc::EBADF)?;
        let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let value = match name {
            libc::TCP_NODELAY => options.nodelay.into(),
            libc::TCP_MAXSEG => self.segment_size(handle, &options),
            libc::TCP_CORK => options.cork.into(),
            libc::TCP_KEEPIDLE => seconds(options.keep_idle),
            libc::TCP_KEEPINTVL => seconds(options.keep_interval),
            libc::TCP_KEEPCNT => options.keep_count.into(),
            libc::TCP_SYNCNT => options.syn_retries.into(),
            libc::TCP_LINGER2 => match options.linger2 {
                None => -1,
                Some(Duration::ZERO) => seconds(self.settings.config.tcp.fin_timeout),
                Some(time) => seconds(time),
            },
            libc::TCP_DEFER_ACCEPT => self.defer_time(options.defer_accept),
            libc::TCP_WINDOW_CLAMP => i32::try_from(options.window_clamp).unwrap_or(i32::MAX),
            libc::TCP_QUICKACK => {
                i32::from(!self.stack.tcp_info(handle).is_some_and(|info| info.interactive))
            }
            libc::TCP_USER_TIMEOUT => i32::try_from(options.user_timeout.as_millis()).unwrap_or(i32::MAX),
            libc::TCP_NOTSENT_LOWAT => options.notsent_lowat.cast_signed(),
            libc::TCP_TIMESTAMP => self.stack.tcp_timestamp(self.now, handle).cast_signed(),
            libc::TCP_THIN_DUPACK => 0,
            TCP_INQ => tells_inq.into(),
            libc::TCP_INFO => return Ok(cut(&self.tcp_info_bytes(fd)?, len)),
            TCP_CC_INFO => {
                let report = self.stack.tcp_info(handle).and_then(|info| info.congestion_report);
                return Ok(cut(&congestion_report_bytes(report), len));
            }
            libc::TCP_CONGESTION => {
                let name = self.stack.tcp_info(handle).map_or("", |info| info.congestion);
                let mut name = name.as_bytes().to_vec();
                name.resize(NAME_MAX, 0);
                return Ok(cut(&name, len));
            }
            libc::TCP_FASTOPEN | libc::TCP_FASTOPEN_CONNECT | TCP_FASTOPEN_NO_COOKIE => {
                let fast = self.stack.tcp_fast_open(handle).unwrap_or_default();
                match name {
                    libc::TCP_FASTOPEN => fast.limit as i32,
                    libc::TCP_FASTOPEN_CONNECT => fast.connect.into(),
                    _ => fast.without_cookie.into(),
                }
            }
            libc::TCP_FASTOPEN_KEY => {
                let keys = self.stack.tcp_fast_open_keys(handle).ok_or(libc::EBADF)?;
                let mut bytes = keys.primary.to_vec();
                bytes.extend(keys.backup.iter().flatten());
                return Ok(cut(&bytes, len));
            }
            _ => self.get_kept(fd, libc::IPPROTO_TCP, name)?,
        };
        Ok(int_value(value, len))
    }

    /// The size of segments in use; before a connection the one that was asked for.
    fn segment_size(&self, handle: TcpHandle, options: &SocketOptions) -> i32 {
        let open = !matches!(self.stack.tcp_state(handle), Some(State::Closed | State::Listen) | None);
        if !open && options.max_seg > 0 {
            return options.max_seg.into();
        }
        let Some(info) = self.stack.tcp_info(handle) else { return 0 };
        if info.state != State::SynSent {
            return info.segment_payload.into();
        }
        // Before the peer has said its size: the least that every peer takes, and our timestamps in it.
        let v6 = self.stack.tcp_peer_addr(handle).is_some_and(|peer| peer.is_ipv6());
        (if v6 { 1220 } else { 536 }) - if self.settings.config.tcp.timestamps { 12 } else { 0 }
    }

    /// Repeats of a SYN-ACK as the seconds that they take, as Linux tells TCP_DEFER_ACCEPT.
    fn defer_time(&self, repeats: u8) -> i32 {
        let longest = self.settings.config.tcp.rto_max.as_secs() as i32;
        let mut period = 1;
        (0..repeats).fold(0, |sum, _| {
            let sum = sum + period;
            period = (period * 2).min(longest);
            sum
        })
    }

    /// Seconds as the number of repeats that last at least so long.
    fn defer_repeats(&self, seconds: i32) -> u8 {
        (0..u8::MAX).find(|repeats| self.defer_time(*repeats) >= seconds).unwrap_or(u8::MAX)
    }

    pub(super) fn set_tcp_option(
        &mut self,
        fd: Fd,
        name: i32,
        value: Option<&[u8]>,
        len: usize,
    ) -> Result<(), i32> {
        let handle = self.files.socket(fd)?.handle;
        if name == libc::TCP_CONGESTION {
            if len < 1 {
                return Err(libc::EINVAL);
            }
            return self.set_congestion(handle, value.ok_or(libc::EFAULT)?);
        }
        if name == libc::TCP_FASTOPEN_KEY {
            return self.set_fast_open_keys(handle, value.ok_or(libc::EFAULT)?, len);
        }
        if len < 4 {
            return Err(libc::EINVAL);
        }
        let number = int(value.ok_or(libc::EFAULT)?)?;
        let on = number != 0;
        let small = |least: i32, most: i32| match number {
            n if (least..=most).contains(&n) => Ok(n.unsigned_abs()),
            _ => Err(libc::EINVAL),
        };
        let option = match name {
            libc::TCP_NODELAY => TcpOption::NoDelay(on),
            libc::TCP_CORK => TcpOption::Cork(on),
            libc::TCP_QUICKACK => TcpOption::QuickAck(on),
            libc::TCP_MAXSEG => return self.set_segment_size(handle, number),
            libc::TCP_KEEPIDLE => TcpOption::KeepIdle(Duration::from_secs(small(1, 32_767)?.into())),
            libc::TCP_KEEPINTVL => TcpOption::KeepInterval(Duration::from_secs(small(1, 32_767)?.into())),
            libc::TCP_KEEPCNT => TcpOption::KeepCount(small(1, 127)? as u8),
            libc::TCP_SYNCNT => TcpOption::SynRetries(small(1, 127)? as u8),
            libc::TCP_LINGER2 => TcpOption::Linger2(u64::try_from(number).ok().map(Duration::from_secs)),
            libc::TCP_DEFER_ACCEPT => TcpOption::DeferAccept(self.defer_repeats(number)),
            libc::TCP_WINDOW_CLAMP => return self.set_window_clamp(handle, number),
            libc::TCP_USER_TIMEOUT => {
                TcpOption::UserTimeout(Duration::from_millis(small(0, i32::MAX)?.into()))
            }
            libc::TCP_NOTSENT_LOWAT => TcpOption::NotsentLowat(number.cast_unsigned()),
            libc::TCP_THIN_DUPACK => return small(0, 1).map(|_| ()),
            TCP_INQ => {
                let on = small(0, 1)? == 1;
                self.files.socket_mut(fd)?.tells_inq = on;
                return Ok(());
            }
            libc::TCP_FASTOPEN => TcpOption::FastOpen(small(0, i32::MAX)?),
            TCP_FASTOPEN_NO_COOKIE => TcpOption::FastOpenWithoutCookie(small(0, 1)? == 1),
            libc::TCP_FASTOPEN_CONNECT => TcpOption::FastOpenConnect(small(0, 1)? == 1),
            libc::TCP_TIMESTAMP | libc::TCP_REPAIR_QUEUE | libc::TCP_REPAIR => return Err(libc::EPERM),
            _ => return self.set_kept(fd, libc::IPPROTO_TCP, name, number),
        };
        self.set_core(handle, option)
    }

    fn set_congestion(&mut self, handle: TcpHandle, name: &[u8]) -> Result<(), i32> {
        let name = name.get(..name.len().min(NAME_MAX - 1)).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned();
        self.set_core(handle, TcpOption::Congestion(name))
    }

    /// One key of 16 bytes, or two: the new one and the one before.
    fn set_fast_open_keys(&mut self, handle: TcpHandle, value: &[u8], len: usize) -> Result<(), i32> {
        if len != 16 && len != 32 {
            return Err(libc::EINVAL);
        }
        let primary = *value.first_chunk::<16>().ok_or(libc::EFAULT)?;
        let backup = value.get(16..).and_then(|rest| rest.first_chunk::<16>().copied());
        self.set_core(handle, TcpOption::FastOpenKeys(FastOpenKeys { primary, backup }))
    }

    fn set_segment_size(&mut self, handle: TcpHandle, number: i32) -> Result<(), i32> {
        if number != 0 && !MAXSEG.contains(&number) {
            return Err(libc::EINVAL);
        }
        // On an open connection Linux stores the number and goes on as before.
        match self.stack.tcp_state(handle) {
            Some(State::Closed | State::Listen) => self.set_core(handle, TcpOption::MaxSeg(number as u16)),
            _ => Ok(()),
        }
    }

    fn set_window_clamp(&mut self, handle: TcpHandle, number: i32) -> Result<(), i32> {
        let clamp = match number {
            0 if self.stack.tcp_state(handle) != Some(State::Closed) => return Err(libc::EINVAL),
            0 => 0,
            n => n.max(CLAMP_MIN).unsigned_abs(),
        };
        self.set_core(handle, TcpOption::WindowClamp(clamp))
    }
}

/// Linux's `union tcp_cc_info`; empty for an algorithm that has nothing to tell.
fn congestion_report_bytes(report: Option<CongestionReport>) -> Vec<u8> {
    match report {
        Some(CongestionReport::Dctcp { active, alpha, marked, delivered }) => {
            // `dctcp_ce_state` is the receiver's half; nobody asks for it there.
            let flags = [u16::from(active), 0].into_iter().flat_map(u16::to_ne_bytes);
            flags.chain([alpha, marked, delivered].into_iter().flat_map(u32::to_ne_bytes)).collect()
        }
        Some(CongestionReport::Bbr { bandwidth, min_rtt, pacing_gain, cwnd_gain }) => {
            let rate = [bandwidth as u32, (bandwidth >> 32) as u32];
            let words = rate.into_iter().chain([min_rtt, pacing_gain, cwnd_gain]);
            words.flat_map(u32::to_ne_bytes).collect()
        }
        _ => Vec::new(),
    }
}

//! The error queue of a socket: what became of bytes that were sent with MSG_ZEROCOPY or while SO_TIMESTAMPING was set
//! (Linux `msg_zerocopy_callback`, `__skb_tstamp_tx`, `ip_recv_error`, `ipv6_recv_error`).
//!
//! Bytes are known by their place in the stream that the socket sends. Nothing here copies less than an ordinary send does: as
//! on a TUN interface of Linux, each report of MSG_ZEROCOPY says that the bytes were copied all the same.

use super::Machine;
use crate::call::{Fd, Out, Outcome};
use lastack_core::{Instant, State, TcpHandle};
use std::collections::VecDeque;

/// Bits of SO_TIMESTAMPING (`SOF_TIMESTAMPING_*`).
const TX_SOFTWARE: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;
const OPT_STATS: u32 = 1 << 12;
const OPT_TSONLY: u32 = 1 << 11;
const OPT_ID_TCP: u32 = 1 << 16;
const KNOWN: u32 = (1 << 19) - 1;
/// What is asked for a packet; a control message of `sendmsg` may ask otherwise than the socket.
const RECORDED: u32 = 1 | TX_SOFTWARE | TX_SCHED | TX_ACK | 1 << 18;

/// `ee_origin`, and `ee_code` of a report of MSG_ZEROCOPY.
const ORIGIN_TIMESTAMPING: u8 = 4;
const ORIGIN_ZEROCOPY: u8 = 5;
const COPIED: u8 = 1;

/// `MSG_ZEROCOPY`, which `libc` does not have for every target.
pub(super) const MSG_ZEROCOPY: i32 = 0x400_0000;

/// Sends with MSG_ZEROCOPY that are reported together.
#[derive(Clone, Copy, Debug)]
struct Lent {
    first: u32,
    last: u32,
    /// Place behind their last byte.
    end: u64,
}

/// Stamps that a send still waits for.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    end: u64,
    /// Of TX_SCHED, TX_SOFTWARE, TX_ACK.
    wanted: u32,
}

/// One entry of the queue: `struct sock_extended_err`, and a time.
#[derive(Clone, Copy, Debug)]
struct Report {
    errno: i32,
    origin: u8,
    code: u8,
    info: u32,
    data: u32,
    at: Option<Instant>,
}

/// What a socket has to report, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    /// SO_ZEROCOPY.
    pub(super) zerocopy: bool,
    /// SO_TIMESTAMPING.
    pub(super) stamping: u32,
    next_id: u32,
    lent: VecDeque<Lent>,
    /// Place in the stream from which stamps are numbered (`sk_tskey`).
    base: u64,
    stamps: Vec<Stamp>,
    queue: VecDeque<Report>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    written: u64,
    sent: u64,
    acked: u64,
    ended: bool,
}

impl Reports {
    /// What a child has of its listener.
    pub(super) fn inherited(&self) -> Self {
        Self { zerocopy: self.zerocopy, stamping: self.stamping, ..Self::default() }
    }

    pub(super) fn has_any(&self) -> bool {
        !self.queue.is_empty()
    }

    fn waits(&self) -> bool {
        !self.lent.is_empty() || !self.stamps.is_empty()
    }

    /// Bytes were lent until `end`. Joins the send before while that has not left.
    fn lend(&mut self, end: u64, sent: u64) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        match self.lent.back_mut().filter(|before| before.end > sent) {
            Some(before) => (before.last, before.end) = (id, end),
            None => self.lent.push_back(Lent { first: id, last: id, end }),
        }
    }

    /// Whether something came to the queue.
    fn advance(&mut self, at: &Progress, now: Instant) -> bool {
        let before = self.queue.len();
        for stamp in &mut self.stamps {
            let reached = [(TX_SCHED, 1, at.sent), (TX_SOFTWARE, 0, at.sent), (TX_ACK, 2, at.acked)];
            for (kind, info, place) in reached {
                if stamp.wanted & kind != 0 && place >= stamp.end {
                    stamp.wanted &= !kind;
                    let numbered = self.stamping & OPT_ID != 0;
                    let data = if numbered { stamp.end.wrapping_sub(1 + self.base) as u32 } else { 0 };
                    let origin = ORIGIN_TIMESTAMPING;
                    let report = Report { errno: libc::ENOMSG, origin, code: 0, info, data, at: Some(now) };
                    self.queue.push_back(report);
                }
            }
        }
        self.stamps.retain(|stamp| stamp.wanted != 0 && !at.ended);
        let mut changed = self.queue.len() != before;
        while let Some(lent) = self.lent.pop_front_if(|lent| lent.end <= at.acked || at.ended) {
            changed = true;
            let last = self.queue.back_mut().filter(|report| {
                report.origin == ORIGIN_ZEROCOPY && report.data.wrapping_add(1) == lent.first
            });
            match last {
                Some(report) => report.data = lent.last,
                None => self.queue.push_back(Report {
                    errno: 0,
                    origin: ORIGIN_ZEROCOPY,
                    code: COPIED,
                    info: lent.first,
                    data: lent.last,
                    at: None,
                }),
            }
        }
        changed
    }
}

impl Report {
    /// `struct sock_extended_err`, and an address of no family: nobody sent this.
    fn bytes(&self, address_len: usize) -> Vec<u8> {
        let mut bytes = self.errno.to_ne_bytes().to_vec();
        bytes.extend([self.origin, 0, self.code, 0]);
        bytes.extend(self.info.to_ne_bytes());
        bytes.extend(self.data.to_ne_bytes());
        bytes.resize(16 + address_len, 0);
        bytes
    }
}

/// Control messages on their way to the program, in the room that it gave (Linux `put_cmsg`).
pub(super) struct Controls {
    room: usize,
    pub(super) bytes: Vec<u8>,
    /// MSG_CTRUNC, or nothing.
    pub(super) flags: i32,
}

impl Controls {
    pub(super) fn new(room: usize) -> Self {
        Self { room, bytes: Vec::new(), flags: 0 }
    }

    /// Adds one, cut to the room that is left.
    pub(super) fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        const HEADER: usize = 16;
        let left = self.room.saturating_sub(self.bytes.len());
        let len = (HEADER + data.len()).min(left);
        if len < HEADER + data.len() {
            self.flags = libc::MSG_CTRUNC;
        }
        let Some(data) = len.checked_sub(HEADER).and_then(|len| data.get(..len)) else { return };
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(level.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(8).min(self.room), 0);
    }
}

impl Machine {
    fn progress(&self, handle: TcpHandle) -> Option<Progress> {
        let info = self.stack.tcp_info(handle)?;
        // A FIN that is not acknowledged counts one.
        let fin = matches!(info.state, State::FinWait1 | State::Closing | State::LastAck);
        let owed = (self.stack.tcp_unacked(handle) as u64).saturating_sub(fin.into());
        let written = info.bytes_acked + owed;
        let sent = written - u64::from(info.unsent).min(owed);
        Some(Progress { written, sent, acked: info.bytes_acked, ended: info.state == State::Closed })
    }

    /// A call has put bytes into the stream, with these flags and control messages.
    pub(super) fn note_sent(&mut self, fd: Fd, flags: i32, asked: Option<u32>) -> Result<(), i32> {
        let socket = self.files.socket(fd)?;
        let reports = &socket.reports;
        let wanted = match asked {
            Some(asked) => reports.stamping & !RECORDED | asked,
            None => reports.stamping,
        };
        let wanted = wanted & (TX_SCHED | TX_SOFTWARE | TX_ACK);
        let lends = reports.zerocopy && flags & MSG_ZEROCOPY != 0;
        if wanted == 0 && !lends {
            return Ok(());
        }
        let Some(at) = self.progress(socket.handle) else { return Ok(()) };
        let reports = &mut self.files.socket_mut(fd)?.reports;
        if wanted != 0 {
            reports.stamps.push(Stamp { end: at.written, wanted });
        }
        if lends {
            reports.lend(at.written, at.sent);
        }
        Ok(())
    }

    /// Looks at what has been sent and acknowledged since.
    pub(super) fn report(&mut self) {
        let waiting: Vec<(Fd, TcpHandle)> = self.files.sockets(|socket| socket.reports.waits());
        for (fd, handle) in waiting {
            let at = self.progress(handle);
            let ended = Progress { written: 0, sent: 0, acked: 0, ended: true };
            let now = self.now;
            let Ok(socket) = self.files.socket_mut(fd) else { continue };
            if socket.reports.advance(&at.unwrap_or(ended), now) {
                self.files.wake(fd, libc::EPOLLERR as u32);
            }
        }
    }

    /// `recv` with MSG_ERRQUEUE: the oldest report. A stamp comes without the packet that it is about.
    pub(super) fn read_report(&mut self, fd: Fd, control_room: usize, flags: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket_mut(fd)?;
        let report = socket.reports.queue.pop_front().ok_or(libc::EAGAIN)?;
        let mut controls = Controls::new(control_room);
        if let Some(at) = report.at.filter(|_| socket.reports.stamping & SOFTWARE != 0) {
            let nanos = at.as_nanos();
            let mut times = [0; 6];
            times[..2].copy_from_slice(&[nanos / 1_000_000_000, nanos % 1_000_000_000]);
            controls.put(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &times.map(u64::to_ne_bytes).concat());
        }
        match socket.v6 {
            false => controls.put(libc::SOL_IP, libc::IP_RECVERR, &report.bytes(16)),
            true => controls.put(libc::SOL_IPV6, libc::IPV6_RECVERR, &report.bytes(28)),
        }
        let flags = flags & libc::MSG_CMSG_CLOEXEC | libc::MSG_ERRQUEUE | controls.flags;
        Ok(Outcome::with(0, Out::Message { data: Vec::new(), control: controls.bytes, flags }))
    }

    /// Sets SO_TIMESTAMPING (Linux `sock_set_timestamping`).
    pub(super) fn set_stamping(&mut self, fd: Fd, flags: i32) -> Result<(), i32> {
        let flags = flags.cast_unsigned();
        let socket = self.files.socket(fd)?;
        let numbers = flags & OPT_ID != 0;
        if flags & !KNOWN != 0
            || flags & OPT_ID_TCP != 0 && !numbers
            || flags & OPT_STATS != 0 && flags & OPT_TSONLY == 0
        {
            return Err(libc::EINVAL);
        }
        let mut base = socket.reports.base;
        if numbers && socket.reports.stamping & OPT_ID == 0 {
            let at = self.progress(socket.handle).ok_or(libc::EBADF)?;
            if at.ended || self.stack.tcp_state(socket.handle) == Some(State::Listen) {
                return Err(libc::EINVAL);
            }
            base = if flags & OPT_ID_TCP != 0 { at.written } else { at.acked };
        }
        let reports = &mut self.files.socket_mut(fd)?.reports;
        (reports.stamping, reports.base) = (flags, base);
        Ok(())
    }
}

/// What a control message of `sendmsg` asks of SO_TIMESTAMPING.
pub(super) fn stamps_asked(control: &[u8]) -> Option<u32> {
    let mut rest = control;
    while let Some((header, data)) = rest.split_at_checked(16) {
        let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        let len = word(0).unwrap_or(0).max(16) as usize;
        let ours = (word(8), word(12)) == (Some(libc::SOL_SOCKET as u32), Some(libc::SO_TIMESTAMPING as u32));
        if ours {
            return data.first_chunk::<4>().map(|flags| u32::from_ne_bytes(*flags));
        }
        rest = rest.get(len.next_multiple_of(8)..)?;
    }
    None
}

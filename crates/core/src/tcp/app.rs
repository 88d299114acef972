//! The application's calls on one connection: what a read, a write, an option and `poll` give in each state (Linux
//! `tcp_recvmsg`, `tcp_sendmsg`, `tcp_poll`, `tcp_setsockopt`).

use super::congestion::Congestion;
use super::marks::SendFlags;
use super::options::{Knob, TcpOption};
use super::state::State;
use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::event::Ready;

impl Tcb {
    pub(crate) fn read(&mut self, cx: &mut Ctx, buf: &mut [u8]) -> Result<usize, Error> {
        if self.state() == State::Listen {
            return Err(Error::NotConnected);
        }
        let (readable, at_mark) = self.readable_before_mark();
        if at_mark {
            // The urgent byte is not part of the stream that is read.
            self.rcv_buf.discard(&mut cx.pool, 1);
            self.urgent_passed();
            return self.read(cx, buf);
        }
        let len = buf.len().min(readable);
        if len > 0 {
            let read = self.rcv_buf.read(&mut cx.pool, buf.get_mut(..len).unwrap_or_default());
            self.eof_read = self.is(Is::DONE) && self.rcv_buf.readable() == 0;
            self.after_read(cx, read);
            return Ok(read);
        }
        if buf.is_empty() && readable > 0 {
            return Ok(0);
        }
        self.eof_read |= self.is(Is::DONE) && !buf.is_empty();
        self.read_nothing()
    }

    pub(crate) fn peek(&self, buf: &mut [u8]) -> Result<usize, Error> {
        if self.state() == State::Listen {
            return Err(Error::NotConnected);
        }
        let (readable, at_mark) = self.readable_before_mark();
        let skip = usize::from(at_mark);
        let len = buf.len().min(readable - skip);
        if len > 0 {
            return Ok(self.rcv_buf.peek(skip, buf.get_mut(..len).unwrap_or_default()));
        }
        if self.is(Is::DONE) || self.error.is_none() && self.is(Is::RCV_SHUT) {
            return Ok(0);
        }
        match self.error {
            Some(error) => Err(error),
            None if matches!(self.state(), State::Closed | State::TimeWait) => Err(Error::NotConnected),
            None => Err(Error::WouldBlock),
        }
    }

    /// The queue is empty: why (Linux `tcp_recvmsg_locked`).
    fn read_nothing(&mut self) -> Result<usize, Error> {
        if self.is(Is::DONE) {
            return Ok(0);
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.is(Is::RCV_SHUT) {
            return Ok(0);
        }
        match self.state() {
            State::Closed => Err(Error::NotConnected),
            _ => Err(Error::WouldBlock),
        }
    }

    /// Room was made: tell the peer if it matters (Linux `tcp_cleanup_rbuf`).
    fn after_read(&mut self, cx: &mut Ctx, n: usize) {
        if self.is(Is::URGENT_PENDING) && self.urg_seq.before(self.rcv_seq(self.rcv_buf.read_pos())) {
            self.urgent_passed();
        }
        if matches!(self.state(), State::Closed | State::TimeWait) {
            return;
        }
        self.tune_after_read(cx, n);
        self.ack_for_reader(cx);
    }

    /// The window follows the reader. Linux looks at it behind the first packet that a call takes.
    fn tune_after_read(&mut self, cx: &mut Ctx, n: usize) {
        let end = self.rcv_buf.read_pos();
        let mut at = end;
        if let Some(model) = self.rcv_space.memory.as_deref_mut() {
            at =
                model.first_end().filter(|first| *first > end - n as u64).map_or(end, |first| first.min(end));
            model.read(end);
        }
        self.adjust_rcv_space(cx, at);
    }

    /// The ACK that a reader who has caught up lets go.
    fn ack_for_reader(&mut self, cx: &mut Ctx) {
        let pushed = self.is(Is::ACK_PUSHED_TWICE) || (self.is(Is::ACK_PUSHED) && !self.is(Is::PINGPONG));
        let owed = self.is(Is::ACK_SCHEDULED)
            && (self.rcv_nxt.distance_from(self.rcv_wup) > u32::from(self.delack.rcv_mss)
                || (pushed && self.rcv_buf.readable() == 0));
        if owed || self.window_update_due(cx) {
            self.is.insert(Is::ACK_NOW);
            cx.want_output(self);
        }
    }

    pub(crate) fn read_urgent(&mut self, peek: bool) -> Result<u8, Error> {
        if self.state() == State::Listen {
            return Err(Error::NotConnected);
        }
        let none = !self.is(Is::URGENT_PENDING) || self.is(Is::URGENT_READ);
        if self.knobs.has(Knob::OOB_INLINE) || none {
            return Err(Error::InvalidInput);
        }
        if self.is(Is::URGENT_VALID) {
            if !peek {
                self.is.remove(Is::URGENT_VALID);
                self.is.insert(Is::URGENT_READ);
            }
            return Ok(self.urg_byte);
        }
        if self.is(Is::DONE) || self.state() == State::Closed {
            return Err(Error::InvalidInput);
        }
        Err(Error::WouldBlock)
    }

    /// Linux `tcp_sendmsg_locked`, `sk_stream_wait_connect`, `sk_stream_error`.
    pub(crate) fn write(&mut self, cx: &mut Ctx, buf: &[u8], flags: SendFlags) -> Result<usize, Error> {
        match self.state() {
            State::Established | State::CloseWait if !self.is(Is::LEFT) => {}
            State::SynReceived if self.fast_opening() => {}
            State::SynSent if self.defers_syn() => return self.write_deferred(cx, buf, flags),
            State::SynSent | State::SynReceived if self.error.is_none() && !self.is(Is::SND_SHUT) => {
                self.is.set(Is::WANT_SPACE, flags.contains(SendFlags::SLEEPS));
                return Err(Error::WouldBlock);
            }
            _ => return Err(self.error.take().unwrap_or(Error::BrokenPipe)),
        }
        if self.error.is_some() || self.is(Is::SND_SHUT) {
            return Err(self.error.take().unwrap_or(Error::BrokenPipe));
        }
        let room = if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            self.modelled_room()
        } else {
            self.send_space().min(self.lowat_space())
        };
        if buf.is_empty() {
            return Ok(0);
        }
        self.check_app_limited();
        let taken = self.snd_buf.push(&mut cx.pool, buf.get(..buf.len().min(room)).unwrap_or_default());
        if !self.is_writable() {
            // Whoever asks for readiness now is told "no", and must be told when that changes.
            self.is.insert(Is::WANT_SPACE);
        }
        if taken == 0 {
            if room > 0 && !self.is(Is::STARVED) {
                self.is.insert(Is::STARVED);
                cx.starved.push(self.key);
            }
            return Err(Error::WouldBlock);
        }
        let whole = taken == buf.len();
        let flags = if whole || !self.knobs.has(Knob::SEGMENTATION_MODEL) {
            flags
        } else {
            // The rest follows at once, or `tcp_push` does.
            flags | SendFlags::MORE
        };
        self.note_written(taken, whole, flags);
        self.is.set(Is::MORE, flags.contains(SendFlags::MORE));
        cx.want_output(self);
        Ok(taken)
    }

    /// Linux `tcp_poll`.
    pub(crate) fn ready(&self) -> Ready {
        let state = self.state();
        let mut ready = Ready::empty();
        if state == State::Listen {
            if let Some(listen) = &self.rare.listen {
                ready.set(Ready::IN, !listen.accept.is_empty());
                ready.set(Ready::PENDING, !listen.undecided.is_empty());
            }
            return ready;
        }
        if self.is_shut_both() || matches!(state, State::Closed | State::TimeWait) {
            ready |= Ready::HUP;
        }
        if self.is(Is::RCV_SHUT) {
            ready |= Ready::IN | Ready::RDHUP;
        }
        if !matches!(state, State::SynSent | State::SynReceived) || self.fast_opening() {
            // An urgent byte at the head of the queue is none that a read would give.
            let (readable, at_mark) = self.readable_before_mark();
            ready.set(Ready::IN, ready.contains(Ready::IN) || readable > usize::from(at_mark));
            ready.set(Ready::OUT, self.is(Is::SND_SHUT) || self.is_writable());
        }
        // The SYN waits for a write.
        ready.set(Ready::OUT, ready.contains(Ready::OUT) || self.defers_syn());
        ready.set(Ready::ERR, self.error.is_some());
        ready.set(Ready::PRI, self.is(Is::URGENT_VALID));
        ready
    }

    /// Bytes and FIN that the peer has not acknowledged.
    pub(crate) fn owed(&self) -> usize {
        self.snd_buf.len() + usize::from(self.is(Is::FIN_QUEUED) && !self.is(Is::LEFT) && !self.fin_acked())
    }

    pub(crate) fn set_option(&mut self, cx: &mut Ctx, option: &TcpOption) -> Result<(), Error> {
        let opened = self.state() != State::Closed;
        match option {
            TcpOption::Congestion(name) => {
                let next = Congestion::by_name(&cx.cfg.tcp, name).ok_or(Error::NoSuchAlgorithm)?;
                if next.name() != self.congestion.name() {
                    self.congestion.hand_over(next);
                    if !matches!(self.state(), State::Closed | State::Listen | State::SynSent) {
                        self.start_congestion(cx);
                    }
                }
                return Ok(());
            }
            TcpOption::MaxPacingRate(rate) => {
                self.set_max_pacing_rate(*rate);
                return Ok(());
            }
            TcpOption::QuickAck(on) => {
                // Linux `__tcp_sock_set_quickack`: the number of immediate ACKs that are left is not touched.
                self.is.set(Is::PINGPONG, !on);
                let open = matches!(self.state(), State::Established | State::CloseWait);
                if *on && open && self.is(Is::ACK_SCHEDULED) {
                    self.is.insert(Is::ACK_PUSHED);
                    self.ack_for_reader(cx);
                }
                return Ok(());
            }
            TcpOption::MaxSeg(_) if opened && self.state() != State::Listen => {
                return Err(Error::InvalidInput);
            }
            TcpOption::FastOpen(_) | TcpOption::FastOpenWithoutCookie(_)
                if opened && self.state() != State::Listen =>
            {
                return Err(Error::InvalidInput);
            }
            TcpOption::FastOpen(limit) => {
                self.fast_open_mut().limit = (*limit as usize).min(cx.cfg.tcp.somaxconn);
                return Ok(());
            }
            TcpOption::FastOpenConnect(_) if !cx.cfg.tcp.fast_open_client => return Err(Error::NotSupported),
            TcpOption::FastOpenConnect(_) if opened => return Err(Error::InvalidInput),
            TcpOption::FastOpenConnect(on) => {
                self.fast_open_mut().client.connect = *on;
                return Ok(());
            }
            TcpOption::FastOpenWithoutCookie(on) => {
                self.fast_open_mut().no_cookie = *on;
                return Ok(());
            }
            TcpOption::FastOpenKeys(keys) => {
                self.fast_open_mut().keys = Some(*keys);
                return Ok(());
            }
            TcpOption::WindowClamp(clamp @ 1..) if opened && self.state() != State::Listen => {
                self.set_window_clamp(*clamp);
                return Ok(());
            }
            TcpOption::AnyPort(_) | TcpOption::Defer(_) if opened => {
                return Err(Error::InvalidInput);
            }
            _ => {}
        }
        self.knobs.set(&cx.cfg.tcp, option)?;
        match option {
            TcpOption::NoDelay(true) | TcpOption::Cork(false) if self.has_unsent() => {
                self.is.insert(Is::PUSH_PENDING);
                cx.want_output(self);
            }
            TcpOption::KeepAlive(_) | TcpOption::KeepIdle(_) => self.arm_keepalive(cx),
            TcpOption::SendBuffer(_) => self.signal_space(cx),
            TcpOption::RecvBuffer(_) if opened && self.state() != State::Listen => self.recv_buffer_set(),
            _ => {}
        }
        Ok(())
    }
}

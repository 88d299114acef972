//! Fast Open of the side that connects (RFC 7413 4.2.2; Linux `tcp_sendmsg_fastopen`, `tcp_send_syn_data`,
//! `tcp_rcv_fastopen_synack`).
//!
//! A SYN with text stands in the queue of what is in flight as two entries: the SYN, which alone is sent again when nothing
//! comes back, and the text, which is sent again as an ordinary segment when the SYN-ACK does not acknowledge it.

use super::memory::Form;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::tcp::delivery::Stamp;
use crate::tcp::ecn::NOT_ECT;
use crate::tcp::emitted::Emitted;
use crate::tcp::marks::SendFlags;
use crate::tcp::options::Knob;
use crate::tcp::output::Extra;
use crate::tcp::scoreboard::{Sent, SentFlags};
use crate::tcp::segment::Seg;
use crate::tcp::state::State;
use crate::tcp::tcb::{Is, Tcb};
use lastack_wire::tcp::{FastOpen as Cookie, Flags, HEADER_LEN};

/// Room that text leaves to options, ours and those that a middlebox may add (Linux `MAX_TCP_OPTION_SPACE`).
const OPTION_SPACE: u16 = 40;

/// Why a connection was not opened with text, or had to send it again (`tcpi_fastopen_client_fail`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FastOpenFailure {
    /// It was, or nobody asked for it.
    #[default]
    None,
    /// There was no cookie for the server.
    CookieUnavailable,
    /// The SYN-ACK did not acknowledge the text.
    DataNotAcked,
    /// It did not after the SYN had been repeated, which is done without text.
    SynRetransmitted,
}

/// What a connecting socket has of Fast Open.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Client {
    /// `TCP_FASTOPEN_CONNECT`: the SYN waits for the first write if there is a cookie.
    pub(crate) connect: bool,
    /// It does wait.
    pub(crate) deferred: bool,
    /// The SYN was begun by way of Fast Open: the segment size that was assumed holds unless the peer says another.
    begun: bool,
    /// It asked for a cookie or had one.
    asked: bool,
    /// In the form of kind 254.
    experimental: bool,
    /// It has text.
    text: bool,
    /// It has text and was not sent yet, with this option.
    due: Option<Option<Cookie>>,
    pub(crate) failure: FastOpenFailure,
    /// A black hole was suspected before; this connection shows whether it is still there.
    probes_black_hole: bool,
}

impl Client {
    /// What outlives a connection: the option.
    pub(super) fn kept(self) -> Self {
        Self { connect: self.connect, ..Self::default() }
    }
}

/// What a SYN is to carry.
struct Plan {
    option: Option<Cookie>,
    /// Bytes of text at the most; `None`: no text, whatever the application has.
    text: Option<usize>,
}

impl Tcb {
    fn client(&self) -> Option<&Client> {
        self.rare.fast_open.as_deref().map(|fast| &fast.client)
    }

    fn client_mut(&mut self) -> &mut Client {
        &mut self.fast_open_mut().client
    }

    /// Why Fast Open did not spare a round trip.
    pub(crate) fn fast_open_failure(&self) -> FastOpenFailure {
        self.client().map_or(FastOpenFailure::None, |client| client.failure)
    }

    /// `connect()` was called, and the SYN waits for the first write.
    #[inline]
    pub(crate) fn defers_syn(&self) -> bool {
        self.client().is_some_and(|client| client.deferred)
    }

    /// `connect()`: the SYN leaves now or, with `TCP_FASTOPEN_CONNECT`, with the first write (Linux
    /// `tcp_fastopen_defer_connect`).
    pub(crate) fn begin_connect(&mut self, cx: &mut Ctx) {
        if !self.client().is_some_and(|client| client.connect) {
            return self.send_syn(cx);
        }
        if self.plan_syn(cx).text.is_some() {
            self.client_mut().deferred = true;
        } else {
            self.begin_fast(cx, &[], SendFlags::empty());
        }
    }

    /// The SYN leaves, with as much of `data` as it may take; gives how much that is.
    pub(crate) fn begin_fast(&mut self, cx: &mut Ctx, data: &[u8], flags: SendFlags) -> usize {
        let Plan { option, text } = self.plan_syn(cx);
        let room = text.map_or(0, |most| most.min(data.len()));
        let taken = self.snd_buf.push(&mut cx.pool, data.get(..room).unwrap_or_default());
        let client = self.client_mut();
        client.deferred = false;
        client.begun = true;
        client.asked = option.is_some();
        client.experimental = option.is_some_and(|option| option.experimental);
        client.text = taken > 0;
        if text.is_none() || taken < data.len() {
            // Whoever sleeps until the rest can leave lets the ACK of the SYN-ACK ride on it.
            self.is.set(Is::WANT_SPACE, flags.contains(SendFlags::SLEEPS));
        }
        self.syn_under_way(cx);
        if taken == 0 {
            let mut segment = self.handshake_segment(cx);
            segment.repr.options.fast_open = option;
            self.count_out(cx);
            cx.send_segment(segment);
            return 0;
        }
        let start = self.snd_nxt;
        let end = start + taken as u32;
        let mut marks = SentFlags::PUSH;
        if self.knobs.has(Knob::SEGMENTATION_MODEL) {
            marks |= SentFlags::BURST_END;
            self.marks.bursts += 1;
        }
        self.push_sent(Sent {
            start,
            end,
            at: cx.now,
            delivered: 0,
            stamp: Stamp::NONE,
            segs: 1,
            flags: marks,
        });
        self.snd_nxt = end;
        self.marks.burst_end = end;
        self.marks.tail = taken as u64;
        self.marks.pushed = taken as u64;
        self.note_wait(cx);
        self.client_mut().due = Some(option);
        cx.want_output(self);
        taken
    }

    /// What the SYN may carry (Linux `tcp_fastopen_cookie_check`).
    fn plan_syn(&mut self, cx: &mut Ctx) -> Plan {
        let peer = cx.fast_open.get(&self.tuple);
        self.peer_mss = if peer.mss > 0 { peer.mss } else { self.advertised_mss(cx) };
        self.sync_mss(cx);
        let room = self.mss.saturating_sub(OPTION_SPACE);
        if cx.fast_open.pauses(cx.now, cx.cfg.tcp.fast_open_pause) {
            return Plan { option: None, text: None };
        }
        let suspects = cx.fast_open.suspects_black_hole() && !cx.cfg.tcp.fast_open_pause.is_zero();
        let fast = self.fast_open_mut();
        fast.client.probes_black_hole |= suspects;
        if fast.no_cookie || cx.cfg.tcp.fast_open_client_without_cookie {
            return Plan { option: None, text: Some(room.into()) };
        }
        if peer.cookie.is_some() {
            return Plan { option: peer.cookie, text: Some(room.into()) };
        }
        fast.client.failure = FastOpenFailure::CookieUnavailable;
        Plan { option: Cookie::new(&[], peer.form == Form::Experimental), text: None }
    }

    /// The SYN with text, when the device has room for it.
    pub(crate) fn emit_fast_syn(&mut self, cx: &mut Ctx, frame: &mut [u8]) -> Option<Emitted> {
        let option = self.rare.get(|rare| &mut rare.fast_open)?.client.due.take()?;
        let mut repr = self.handshake_segment(cx).repr;
        repr.options.fast_open = option;
        let start = self.iss + 1;
        let len = self.snd_nxt.distance_from(start);
        self.stats.bytes_sent += u64::from(len);
        self.stats.data_segs_out += 1;
        self.count_out(cx);
        let header = HEADER_LEN + repr.options.emitted_len();
        let fields = (&repr.header(), &Extra::Options(&repr.options));
        self.emit_segment(cx, frame, fields, (header, NOT_ECT), (start, len), None)
    }

    /// The SYN-ACK of a SYN that was begun by way of Fast Open has come. True if its text has to be sent again, which
    /// acknowledges the SYN-ACK too.
    pub(crate) fn fast_syn_answered(&mut self, cx: &mut Ctx, seg: &Seg<'_>) -> bool {
        let Some(client) = self.client().copied().filter(|client| client.asked || client.text) else {
            return false;
        };
        let text_lost = !self.rtx.is_empty();
        self.remember_peer(cx, seg, &client);
        if text_lost {
            let repeated = self.stats.retransmissions > 0;
            self.client_mut().failure =
                if repeated { FastOpenFailure::SynRetransmitted } else { FastOpenFailure::DataNotAcked };
            cx.counters.fast_open_active_failed += 1;
            self.resend_syn_text(cx);
            return true;
        }
        self.fast_open_mut().syn_data = client.text;
        cx.counters.fast_open_active += u64::from(client.text);
        if !seg.payload.is_empty() {
            self.take_syn_text(cx, seg);
            self.fast_open_mut().syn_data = true;
        }
        if seg.has(Flags::FIN) && self.rcv_nxt == seg.text_end() {
            self.fin_in_order(cx, seg.text_end());
        }
        false
    }

    /// Cookie, segment size, and whether the next request has the other form.
    fn remember_peer(&mut self, cx: &mut Ctx, seg: &Seg<'_>, client: &Client) {
        let mut peer = cx.fast_open.get(&self.tuple);
        peer.mss = self.peer_mss;
        let answer = seg.options.fast_open.filter(|_| client.asked);
        let unanswered = client.asked && answer.is_none() && !client.text && self.stats.retransmissions == 0;
        if let Some(cookie) = answer.filter(|cookie| !cookie.cookie().is_empty()) {
            peer.cookie = Some(cookie);
        } else if unanswered && peer.cookie.is_none() {
            let next = if client.experimental { Form::StandardAgain } else { Form::Experimental };
            peer.form = peer.form.max(next);
        }
        cx.fast_open.set(&self.tuple, peer, cx.cfg.tcp.fast_open_peers);
    }

    /// A segment size that the SYN-ACK does not tell is the one that was assumed for the SYN.
    pub(crate) fn assumed_mss(&self) -> Option<u16> {
        self.client().filter(|client| client.begun).map(|_| self.peer_mss)
    }

    /// The SYN has text: where a router calls it too large, it leaves again without, at once.
    pub(crate) fn fast_syn_was_too_large(&self) -> bool {
        self.state() == State::SynSent && self.client().is_some_and(|client| client.text)
    }

    /// The retransmission timer fired. Middleboxes swallow connections that were opened with Fast Open, at the SYN or later:
    /// the third time in a row, or the end before that, is taken for one (Linux `tcp_fastopen_active_detect_blackhole`).
    pub(crate) fn detect_black_hole(&self, cx: &mut Ctx, gives_up: bool) {
        let Some(fast) = self.rare.fast_open.as_deref() else { return };
        let used = fast.client.asked || fast.client.text || fast.syn_data;
        if used && (self.retransmits == 2 || self.retransmits < 2 && gives_up) {
            black_hole_met(cx);
        }
    }

    /// A RST that is in the window and not exact, before any text: a middlebox may have sent it.
    pub(crate) fn suspicious_reset(&self, cx: &mut Ctx) {
        let asked = self.client().is_some_and(|client| client.asked);
        if asked && self.stats.data_segs_in == 0 && self.state() == State::Established {
            black_hole_met(cx);
        }
    }

    /// The record goes: what the connection has shown of the way (Linux `tcp_fastopen_active_disable_ofo_check`). Nothing but
    /// a FIN that does not fit looks like a middlebox; text that came refutes the suspicion.
    pub(crate) fn judge_fast_open(&self, cx: &mut Ctx) {
        let Some(client) = self.client().filter(|client| client.asked) else { return };
        if self.stats.data_segs_in == 0 {
            if self.fin_at.is_some() {
                black_hole_met(cx);
            }
        } else if client.probes_black_hole {
            cx.fast_open.forget_black_hole();
        }
    }

    /// A write while the SYN waits for it.
    pub(crate) fn write_deferred(
        &mut self,
        cx: &mut Ctx,
        buf: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Error> {
        match self.begin_fast(cx, buf, flags) {
            0 if !buf.is_empty() => Err(Error::WouldBlock),
            taken => Ok(taken),
        }
    }
}

fn black_hole_met(cx: &mut Ctx) {
    if !cx.cfg.tcp.fast_open_pause.is_zero() {
        cx.fast_open.black_hole_met(cx.now);
        cx.counters.fast_open_black_holes += 1;
    }
}

//! The path's MTU found by trying (RFC 4821, RFC 8899; Linux `tcp_mtu_probe`, `tcp_mtup_init`, `tcp_mtu_probing`): now and
//! then a segment leaves that is larger than the others. If it arrives, they grow; if it alone is lost, that is not taken for
//! congestion. When timeouts repeat, the path may swallow large packets without a word, and segments shrink.

use super::open::mss_for_mtu;
use super::output::Piece;
use super::scoreboard::CaState;
use super::tcb::{Is, Tcb};
use crate::config::MtuProbing;
use crate::ctx::Ctx;
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use lastack_wire::SeqNumber;
use lastack_wire::tcp::HEADER_LEN;

/// Least congestion window for a probe, in segments.
const MIN_CWND: u32 = 11;

/// The search: packets of `low` bytes arrive, larger ones than `high` do not (Linux `icsk_mtup`, `mtu_probe`).
#[derive(Clone, Debug)]
pub(crate) struct MtuProbe {
    low: u16,
    high: u16,
    /// Size of the packet under way that tries, and its numbers; 0: none.
    size: u16,
    start: SeqNumber,
    end: SeqNumber,
    /// When the search began.
    since: Instant,
}

impl MtuProbe {
    /// Feeds the state to `h`, relative to `now` and SND.UNA.
    pub(crate) fn fingerprint(&self, now: Instant, una: SeqNumber, h: &mut impl Hasher) {
        let Self { low, high, size, start, end, since } = self;
        (low, high, size, (now - *since).as_secs()).hash(h);
        if *size > 0 {
            (*start - una, *end - una).hash(h);
        }
    }
}

/// What the search wants of the sender.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probing {
    /// Nothing: send as ever.
    Not,
    /// Wait: a probe is due, and the windows do not take it yet.
    Waits,
    /// Send this.
    Sends(Piece),
}

impl Tcb {
    /// Bytes of headers in a full segment's packet.
    fn full_headers(&self) -> u32 {
        let stamps = if self.is(Is::TIMESTAMPS) { 12 } else { 0 };
        u32::from(self.tuple.ip_header_len()) + HEADER_LEN as u32 + stamps
    }

    fn mtu_of_payload(&self, payload: u32) -> u16 {
        (payload + self.full_headers()).min(u16::MAX.into()) as u16
    }

    /// Payload of a packet of `mtu` bytes, as far as the peer takes it.
    fn payload_of_mtu(&self, cx: &Ctx, mtu: u16) -> u32 {
        let mss = mss_for_mtu(&self.tuple, mtu).min(self.peer_mss).max(cx.cfg.tcp.min_snd_mss);
        let stamps = if self.is(Is::TIMESTAMPS) { 12 } else { 0 };
        u32::from(mss).saturating_sub(stamps).max(8)
    }

    /// The smallest segments of the search, and no more than `mss`, are those that are used.
    pub(crate) fn probed_mss(&mut self, cx: &Ctx, mss: u16) -> u16 {
        let path_mtu = self.path_mtu;
        let Some(probe) = self.rare.get(|rare| &mut rare.mtu_probe) else { return mss };
        probe.high = probe.high.min(path_mtu);
        let low = probe.low;
        mss.min(mss_for_mtu(&self.tuple, low).max(cx.cfg.tcp.min_snd_mss))
    }

    /// The handshake is through (Linux `tcp_mtup_init`).
    pub(crate) fn init_mtu_probe(&mut self, cx: &Ctx) {
        if cx.cfg.tcp.mtu_probing == MtuProbing::Always {
            self.start_mtu_probe(cx);
        }
    }

    fn start_mtu_probe(&mut self, cx: &Ctx) {
        let low = self.mtu_of_payload(cx.cfg.tcp.base_mss.into());
        self.rare.parts().mtu_probe = Some(MtuProbe {
            low,
            high: self.highest_mtu(),
            size: 0,
            start: self.snd_una,
            end: self.snd_una,
            since: cx.now,
        });
    }

    /// The packet of a segment as large as the peer takes.
    fn highest_mtu(&self) -> u16 {
        self.peer_mss.saturating_add(self.tuple.ip_header_len()).saturating_add(HEADER_LEN as u16)
    }

    /// Whether a larger segment leaves now (Linux `tcp_mtu_probe`). It has to be worth it: room in both windows, and enough
    /// behind it that its loss would be seen.
    pub(super) fn next_mtu_probe(&mut self, cx: &Ctx, frame: usize) -> Probing {
        let Some(probe) = self.rare.mtu_probe.as_ref() else { return Probing::Not };
        let cwnd = self.congestion.cwnd();
        let reporting = self.received.as_deref().is_some_and(|received| !received.is_empty());
        if probe.size > 0 || self.ca_state != CaState::Open || cwnd < MIN_CWND || reporting {
            return Probing::Not;
        }
        let (low, high) = (probe.low, probe.high);
        let middle = (u32::from(low) + u32::from(high)) / 2;
        let len = self.payload_of_mtu(cx, middle as u16);
        let interval = i32::from(high) - i32::from(low);
        let threshold = i32::from(cx.cfg.tcp.mtu_probe_threshold.max(1));
        if len > self.payload_of_mtu(cx, high) || interval < threshold {
            self.search_mtu_anew(cx);
            return Probing::Not;
        }
        let reordering = self.loss.as_deref().map_or(super::scoreboard::REORDERING, |board| board.reordering);
        let needed = len.saturating_add(reordering.saturating_add(1).saturating_mul(self.effective_mss()));
        let data_end = self.snd_seq(self.snd_buf.end());
        let waiting = (self.write_seq() - self.snd_nxt).max(0).cast_unsigned();
        if waiting < needed || self.snd_wnd < needed {
            return Probing::Not;
        }
        if (self.snd_nxt + needed).after(self.window_end()) {
            return Probing::Waits;
        }
        let in_flight = self.in_flight();
        if in_flight + 2 > cwnd {
            return if in_flight == 0 { Probing::Not } else { Probing::Waits };
        }
        let fits = usize::from(self.mtu_of_payload(len)) <= frame;
        if !fits
            || (self.snd_nxt + len).after(data_end)
            || self.marks.record_before(self.snd_offset(self.snd_nxt) + u64::from(len))
        {
            return Probing::Not;
        }
        Probing::Sends(Piece { mtu_probe: true, ..Piece::new(self.snd_nxt, len, false) })
    }

    /// The larger segment has left: it stands for two (Linux, in `tcp_mtu_probe`).
    pub(super) fn mtu_probe_sent(&mut self, piece: Piece) {
        let size = self.mtu_of_payload(piece.len);
        let window = &mut self.congestion.window;
        window.set_cwnd(window.cwnd.saturating_sub(1));
        if let Some(probe) = self.rare.get(|rare| &mut rare.mtu_probe) {
            (probe.size, probe.start, probe.end) = (size, piece.seq, piece.seq + piece.len);
        }
    }

    /// Something was sent again: what becomes of the larger segment tells nothing any more.
    pub(super) fn mtu_probe_inconclusive(&mut self) {
        if let Some(probe) = self.rare.get(|rare| &mut rare.mtu_probe) {
            probe.size = 0;
        }
    }

    /// After an acknowledgement: the larger segment has arrived, and all segments are so large now (Linux
    /// `tcp_mtup_probe_success`). The window in bytes stays.
    pub(crate) fn check_mtu_probe(&mut self, cx: &Ctx) {
        let una = self.snd_una;
        let Some(probe) =
            self.rare.get(|rare| &mut rare.mtu_probe).filter(|p| p.size > 0 && !p.end.after(una))
        else {
            return;
        };
        let size = core::mem::take(&mut probe.size);
        probe.low = size;
        let old = u32::from(self.mtu_of_payload(self.effective_mss()));
        if let Some(board) = self.loss.as_deref_mut() {
            board.prior_ssthresh = self.congestion.window.remembered();
        }
        let window = &mut self.congestion.window;
        window.set_cwnd((u64::from(window.cwnd) * u64::from(old) / u64::from(size.max(1))).max(1) as u32);
        window.acked = 0;
        window.ssthresh = window.remembered();
        self.window_is_fresh(cx);
        self.sync_mss(cx);
    }

    /// Only the larger segment is missing: it was too large. It is sent again in pieces, and the window stays (Linux
    /// `tcp_mtup_probe_failed`). True if that is so.
    pub(crate) fn mtu_probe_failed(&mut self, cx: &mut Ctx) -> bool {
        let (una, state) = (self.snd_una, self.ca_state);
        let Some(probe) = self
            .rare
            .get(|rare| &mut rare.mtu_probe)
            .filter(|p| p.size > 0 && p.start == una && state < CaState::Cwr)
        else {
            return false;
        };
        probe.high = core::mem::take(&mut probe.size) - 1;
        let window = &mut self.congestion.window;
        window.set_cwnd(window.cwnd.saturating_add(1));
        self.resend_too_large(cx);
        true
    }

    /// Timeouts repeat: the search begins, or looks further down (Linux `tcp_mtu_probing`; RFC 4821 7.7).
    pub(crate) fn suspect_black_hole(&mut self, cx: &Ctx) {
        let cfg = &cx.cfg.tcp;
        if cfg.mtu_probing == MtuProbing::Off {
            return;
        }
        match self.rare.mtu_probe.as_ref().map(|probe| probe.low) {
            None => self.start_mtu_probe(cx),
            Some(low) => {
                let half = self.payload_of_mtu(cx, low) / 2;
                let least = cfg.mtu_probe_floor.max(cfg.min_snd_mss);
                let low = self.mtu_of_payload(half.min(cfg.base_mss.into()).max(least.into()));
                if let Some(probe) = self.rare.get(|rare| &mut rare.mtu_probe) {
                    probe.low = low;
                }
            }
        }
        self.sync_mss(cx);
    }

    /// The search is over; after a time it begins anew, for paths change (Linux `tcp_mtu_check_reprobe`).
    fn search_mtu_anew(&mut self, cx: &Ctx) {
        let high = self.highest_mtu();
        let low = self.mtu_of_payload(self.effective_mss());
        if let Some(probe) = self.rare.get(|rare| &mut rare.mtu_probe)
            && cx.now - probe.since >= cx.cfg.tcp.mtu_probe_interval
        {
            (probe.size, probe.high, probe.low, probe.since) = (0, high, low, cx.now);
        }
    }
}

//! The window we offer (RFC 9293 3.8.6, 3.8.6.2.2; Linux `__tcp_select_window`, `tcp_select_window`).

use super::tcb::{Is, Tcb};
use crate::config::TcpConfig;
use crate::ctx::Ctx;

/// Largest shift of the window field (RFC 7323 2.3).
pub(crate) const MAX_WSCALE: u8 = 14;

/// The shift that lets the 16-bit field express `space`.
pub(crate) fn wscale_for(cfg: &TcpConfig, space: u32) -> u8 {
    if !cfg.window_scaling {
        return 0;
    }
    // Linux `tcp_select_initial_window`: so that the field still moves in steps, not so that it just suffices.
    (space.max(1).ilog2().saturating_sub(15) as u8).min(MAX_WSCALE)
}

impl Tcb {
    /// The window to offer now: never shrinks what was offered (SHLD-14), and opens in steps worth a segment (MUST-39).
    fn wanted_window(&self) -> u32 {
        let space = self.rcv_space.space;
        // The peer's FIN has its place in the window, behind which nothing will come.
        let fin = u32::from(self.is(Is::DONE));
        let free = space.saturating_sub((self.rcv_buf.readable() as u32).saturating_add(fin));
        let mss = u32::from(self.delack.rcv_mss).min(space).max(1);
        if free < space / 2 && (free < mss || free < space >> 4) {
            return 0;
        }
        if self.is(Is::SCALED) && self.rcv_wscale > 0 {
            return round_up(free, self.rcv_wscale);
        }
        let offered = self.rcv_wnd;
        if offered.saturating_add(mss) <= free || offered > free { free - free % mss } else { offered }
    }

    /// Chooses the window for a segment that is about to leave, and the value of its field.
    pub(crate) fn select_window(&mut self) -> u16 {
        let current = self.receive_window();
        let wanted = self.wanted_window();
        let shift = if self.is(Is::SCALED) { self.rcv_wscale } else { 0 };
        let window = if wanted < current { self.kept_window(current, shift) } else { wanted };
        let window = window.min((u32::from(u16::MAX) << shift).max(current));
        self.rcv_wnd = window;
        self.rcv_wup = self.rcv_nxt;
        (window >> shift).min(u32::from(u16::MAX)) as u16
    }

    /// The window that keeps the right edge where it is. The field's unit rounds it up, as on Linux; but small segments
    /// would push the edge on without end that way, so that from an eighth of the buffer on the field is rounded down
    /// while the edge that was promised stays good (RFC 7323 2.4).
    fn kept_window(&self, current: u32, shift: u8) -> u32 {
        let space = self.rcv_space.space;
        let rounded = round_up(current, shift);
        let held = (self.rcv_buf.readable() as u32).saturating_add(rounded);
        if held <= space.saturating_add(space >> 3) { rounded } else { current }
    }

    /// After a read: whether the window can open by so much that the peer should be told (Linux
    /// `__tcp_cleanup_rbuf`).
    pub(crate) fn window_update_due(&self) -> bool {
        if self.is(Is::RCV_SHUT) {
            return false;
        }
        let current = self.receive_window();
        let space = self.rcv_space.space;
        if current.saturating_mul(2) > space {
            return false;
        }
        let wanted = self.wanted_window();
        wanted > 0 && wanted >= current.saturating_mul(2)
    }

    /// The application read `n` bytes: grows the offered window when a round trip brought more than half of it
    /// (Linux `tcp_rcv_space_adjust`).
    pub(crate) fn adjust_rcv_space(&mut self, cx: &Ctx, n: usize) {
        let space = &mut self.rcv_space;
        space.copied = space.copied.saturating_add(n as u32);
        let round = self.rtt.srtt().unwrap_or(cx.cfg.tcp.rto_min).max(core::time::Duration::from_millis(1));
        if cx.now - space.since < round {
            return;
        }
        let limit = self.knobs.window_limit();
        if space.copied > space.space / 2 && !self.knobs.has(super::options::Knob::FIXED_RCVBUF) {
            space.space = space.copied.saturating_mul(4).max(space.space).min(limit);
        }
        space.copied = 0;
        space.since = cx.now;
    }
}

fn round_up(value: u32, shift: u8) -> u32 {
    let mask = (1u32 << shift) - 1;
    value.saturating_add(mask) & !mask
}

//! The window we offer (RFC 9293 3.8.6, 3.8.6.2.2; Linux `__tcp_select_window`, `tcp_select_window`). How much there is to
//! offer is for `rcv_space.rs` to say.

use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;

/// Largest shift of the window field (RFC 7323 2.3).
pub(crate) const MAX_WSCALE: u8 = 14;
/// Largest window that the field can tell at all.
pub(crate) const NO_CLAMP: u32 = (u16::MAX as u32) << MAX_WSCALE;

impl Tcb {
    /// The window to offer now: it opens in steps worth a segment (MUST-39), and shuts while a segment would not fit.
    pub(crate) fn wanted_window(&mut self, cx: &Ctx) -> u32 {
        let allowed = self.full_space();
        let full = allowed.min(self.knobs.window_clamp);
        let shift = self.rcv_shift();
        let mut free = self.free_space();
        let mss = u32::from(self.delack.rcv_mss).min(full).max(1);
        let shrinks = cx.cfg.tcp.shrink_window && shift > 0;
        if shrinks {
            free = round_down(free, shift);
        }
        if free < full >> 1 {
            self.delack.quick = 0;
            free = round_down(free, shift);
            if free < allowed >> 4 || free < mss || shrinks && free < 1 << shift {
                return 0;
            }
        }
        let free = free.min(self.rcv_space.ssthresh);
        if shift > 0 {
            return round_up(free, shift);
        }
        let offered = self.rcv_wnd;
        if offered.saturating_add(mss) <= free || offered > free {
            free - free % mss
        } else if mss == full && free > offered.saturating_add(full >> 1) {
            free
        } else {
            offered
        }
    }

    fn rcv_shift(&self) -> u8 {
        if self.is(Is::SCALED) { self.rcv_wscale } else { 0 }
    }

    /// Chooses the window for a segment that is about to leave, and the value of its field. What was offered is never taken
    /// back (SHLD-14), but with `shrink_window`.
    pub(crate) fn select_window(&mut self, cx: &Ctx) -> u16 {
        let current = self.receive_window();
        let wanted = self.wanted_window(cx);
        let shift = self.rcv_shift();
        let keeps = wanted < current && !(cx.cfg.tcp.shrink_window && shift > 0);
        let window = if keeps { self.kept_window(current, shift) } else { wanted };
        let window = if self.rcv_space.memory.is_some() {
            // Linux takes in what it could not offer.
            window
        } else {
            window.min((u32::from(u16::MAX) << shift).max(current))
        };
        self.rcv_wnd = window;
        self.rcv_wup = self.rcv_nxt;
        (window >> shift).min(u32::from(u16::MAX)) as u16
    }

    /// The window that keeps the right edge where it is. The field's unit rounds it up, as on Linux; but small segments
    /// would push the edge on without end that way, so that from an eighth of the buffer on the field is rounded down
    /// while the edge that was promised stays good (RFC 7323 2.4).
    fn kept_window(&self, current: u32, shift: u8) -> u32 {
        let space = self.full_space();
        let rounded = round_up(current, shift);
        let held = (self.rcv_buf.readable() as u32).saturating_add(rounded);
        let fits = held <= space.saturating_add(space >> 3);
        if fits || self.rcv_space.memory.is_some() { rounded } else { current }
    }

    /// After a read: whether the window can open by so much that the peer should be told (Linux
    /// `__tcp_cleanup_rbuf`).
    pub(crate) fn window_update_due(&mut self, cx: &Ctx) -> bool {
        if self.is(Is::RCV_SHUT) {
            return false;
        }
        let current = self.receive_window();
        if current.saturating_mul(2) > self.knobs.window_clamp {
            return false;
        }
        let wanted = self.wanted_window(cx);
        wanted > 0 && wanted >= current.saturating_mul(2)
    }
}

fn round_up(value: u32, shift: u8) -> u32 {
    let mask = (1u32 << shift) - 1;
    value.saturating_add(mask) & !mask
}

fn round_down(value: u32, shift: u8) -> u32 {
    value >> shift << shift
}

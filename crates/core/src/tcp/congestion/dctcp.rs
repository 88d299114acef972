//! DCTCP (RFC 8257; Linux `tcp_dctcp.c`): the window falls by the share of what was marked, not by half.
//!
//! Only for networks whose routers mark by the length of their queue and where everybody does the same: beside others it
//! takes more than its share (RFC 8257 5). Without ECN on the connection it is Reno.

use super::{
    AckSample, CaState, CongestionControl, CwndEvent, Flow, Needs, Origin, Reno, Report, Start, Window,
};
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use lastack_wire::SeqNumber;

/// All of a window was marked (Linux `DCTCP_MAX_ALPHA`); alpha begins here (`dctcp_alpha_on_init`).
const MAX_ALPHA: u32 = 1024;
/// Weight of a new observation: 1/16 (RFC 8257 4.2's g; Linux `dctcp_shift_g`).
const GAIN_SHIFT: u32 = 4;

/// DCTCP. The half that the receiver plays is the connection's ([`Needs::ECN`]).
#[derive(Clone, Debug)]
pub struct Dctcp {
    /// Marked share of the last windows, in 1/1024.
    alpha: u32,
    /// End of the window that is observed (RFC 8257 3.3: DCTCP.WindowEnd).
    window_end: SeqNumber,
    /// Segments delivered, and of those with a mark, when it began.
    delivered: u32,
    delivered_ce: u32,
    /// The window when something was lost last.
    loss_cwnd: u32,
    /// The connection has ECN.
    active: bool,
}

impl Dctcp {
    pub(super) fn new() -> Self {
        Self {
            alpha: MAX_ALPHA,
            window_end: SeqNumber(0),
            delivered: 0,
            delivered_ce: 0,
            loss_cwnd: 0,
            active: false,
        }
    }

    fn observe_from(&mut self, flow: &Flow) {
        self.window_end = flow.nxt;
        (self.delivered, self.delivered_ce) = (flow.delivered, flow.delivered_ce);
    }

    /// Segments delivered in this window, and of those marked.
    fn observed(&self, flow: &Flow) -> (u32, u32) {
        (flow.delivered.wrapping_sub(self.delivered), flow.delivered_ce.wrapping_sub(self.delivered_ce))
    }

    /// A window of data is through: the share that was marked goes into the mean (RFC 8257 3.3).
    fn update_alpha(&mut self, flow: &Flow) {
        if flow.una.before(self.window_end) {
            return;
        }
        let (all, marked) = self.observed(flow);
        let decay = self.alpha >> GAIN_SHIFT;
        // A small alpha would stay for ever if it lost whole sixteenths only.
        self.alpha -= if decay == 0 { self.alpha } else { decay };
        let share = (u64::from(marked) << (10 - GAIN_SHIFT)) / u64::from(all.max(1));
        self.alpha = self.alpha.saturating_add(share.min(MAX_ALPHA.into()) as u32).min(MAX_ALPHA);
        self.observe_from(flow);
    }

    /// A loss halves the window, as anywhere (RFC 8257 3.5).
    fn react_to_loss(&mut self, window: &mut Window) {
        self.loss_cwnd = window.cwnd;
        window.ssthresh = (window.cwnd >> 1).max(2);
    }
}

impl CongestionControl for Dctcp {
    fn needs(&self) -> Needs {
        Needs::ECN
    }

    fn on_start(&mut self, _window: &mut Window, start: &Start) {
        *self = Self { active: start.ecn, ..Self::new() };
        self.observe_from(&start.flow);
    }

    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        if self.active {
            self.update_alpha(&ack.flow);
        }
        Reno.on_ack(window, ack);
    }

    fn ssthresh(&mut self, window: &Window, flow: &Flow) -> u32 {
        if !self.active {
            return Reno.ssthresh(window, flow);
        }
        // This acknowledgement may be the one that ends a window.
        self.update_alpha(flow);
        self.loss_cwnd = window.cwnd;
        let fall = (u64::from(window.cwnd) * u64::from(self.alpha)) >> 11;
        window.cwnd.saturating_sub(fall as u32).max(2)
    }

    fn on_state(&mut self, window: &mut Window, state: CaState, flow: &Flow) {
        if self.active && state == CaState::Recovery && flow.state != state {
            self.react_to_loss(window);
        }
    }

    fn on_event(&mut self, window: &mut Window, event: CwndEvent, _flow: &Flow) {
        if self.active && event == CwndEvent::Loss {
            self.react_to_loss(window);
        }
    }

    fn undo_cwnd(&mut self, window: &Window, prior_cwnd: u32, _flow: &Flow) -> u32 {
        window.cwnd.max(if self.active { self.loss_cwnd } else { prior_cwnd })
    }

    fn report(&self, flow: &Flow) -> Option<Report> {
        let (all, marked) = if self.active { self.observed(flow) } else { (0, 0) };
        let bytes = |segments: u32| segments.saturating_mul(flow.mss);
        let alpha = if self.active { self.alpha } else { 0 };
        Some(Report::Dctcp { active: self.active, alpha, marked: bytes(marked), delivered: bytes(all) })
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, origin: &Origin, mut state: &mut dyn Hasher) {
        let Self { alpha, window_end, delivered, delivered_ce, loss_cwnd, active } = self;
        (alpha, loss_cwnd, active, (*window_end - origin.una).max(0)).hash(&mut state);
        let since = origin.delivered.wrapping_sub(*delivered);
        (since, origin.delivered_ce.wrapping_sub(*delivered_ce)).hash(&mut state);
    }
}

#[cfg(test)]
mod tests;

//! Explicit congestion notification (RFC 3168; Linux `tcp_ecn.h`): who asks for it and who grants it, which packets say that
//! they may be marked, and how marks come back.
//!
//! New data is sent as ECT(0). A router marks it CE instead of dropping it; the receiver echoes the mark (ECE) on all that it
//! sends, until the sender says that its window is smaller (CWR). What the window becomes is in `recovery` (`enter_cwr`).

use super::accurate_ecn::{Counters, ace_of, reflected};
use super::ack::{Ack, Told};
use super::congestion::Needs;
use super::output::OutSegment;
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use crate::config::EcnKind;
use crate::ctx::Ctx;
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

/// Runs of marks that are kept apart while the stack takes packets in without sending any.
const MAX_OWED: usize = 64;

/// The ECN bits of an IP header (RFC 3168 5).
pub(crate) const NOT_ECT: u8 = 0;
/// ECT(0).
pub(crate) const ECT_0: u8 = 2;
/// Congestion experienced.
pub(crate) const CE: u8 = 3;

bitflags::bitflags! {
    /// Where a connection stands with ECN (Linux `ecn_flags`). Empty: not in use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub(crate) struct Ecn: u16 {
        /// As RFC 3168 has it: in use, or asked for (Linux `TCP_ECN_OK`).
        const CLASSIC = 1;
        /// The window was reduced: the next new data says so with CWR (`TCP_ECN_QUEUE_CWR`).
        const CWR_DUE = 2;
        /// A mark came in: ECE goes out until the peer's CWR (`TCP_ECN_DEMAND_CWR`).
        const ECHO = 4;
        /// A packet came in that may be or was marked (`TCP_ECN_SEEN`).
        const SEEN = 8;
        /// The congestion control wants to know of each mark: every packet is ECT, and ECE follows the packets that come in
        /// (RFC 8257 3.1, 3.2; Linux `tcp_ca_needs_ecn`).
        const EACH = 16;
        /// The last text came with a mark (RFC 8257 3.2: DCTCP.CE).
        const MARKED = 32;
        /// Accurate ECN is in use (RFC 9768).
        const ACCURATE = 64;
        /// The SYN asked for it, and will make do with less.
        const ASKED = 128;
        /// The way spoils ECN: nothing is sent as ECT.
        const NO_ECT = 256;
    }
}

/// What is counted of a connection with ECN.
#[derive(Clone, Debug, Default)]
pub(crate) struct EcnCounts {
    /// Segments that the peer acknowledged with ECE (Linux `delivered_ce`).
    pub(crate) delivered_ce: u32,
    /// With [`Ecn::EACH`]: RCV.NXT when text came last, to which one value of ECE applies (Linux `prior_rcv_nxt`).
    pub(crate) echoed_to: SeqNumber,
    /// Acknowledgements, with their ECE, that have to leave before the next one; at most [`MAX_OWED`].
    pub(crate) owed: VecDeque<(SeqNumber, bool)>,
    /// With [`Ecn::ACCURATE`].
    pub(crate) accurate: Counters,
}

impl EcnCounts {
    /// Feeds what later behaviour depends on to `h`.
    pub(crate) fn fingerprint(&self, now: Instant, rcv_nxt: SeqNumber, h: &mut impl Hasher) {
        let Self { delivered_ce, echoed_to, owed, accurate } = self;
        (rcv_nxt - *echoed_to).hash(h);
        owed.iter().for_each(|(ack, echo)| (rcv_nxt - *ack, echo).hash(h));
        accurate.fingerprint(now, *delivered_ce, h);
    }
}

impl Ecn {
    /// What a listener grants to a SYN (Linux `tcp_ecn_create_request`). A SYN that is itself marked as capable is
    /// against RFC 3168 6.1.1, and draws nothing, unless AE tells that the peer knows a later rule.
    /// Either does not matter if the listener's congestion control `needs` ECN.
    pub(crate) fn of_syn(cx: &Ctx, seg: &Seg<'_>, needs: bool) -> Self {
        let ace = ace_of(seg.flags);
        if cx.cfg.tcp.ecn.accept >= EcnKind::Accurate && ace != 0 && ace != 3 {
            return Self::ACCURATE;
        }
        let asks = seg.has(Flags::ECE | Flags::CWR);
        if asks && needs {
            return Self::CLASSIC | Self::EACH;
        }
        let plain = seg.ecn == NOT_ECT || seg.has(Flags::AE);
        let grants = cx.cfg.tcp.ecn.accept >= EcnKind::Classic;
        if asks && plain && grants { Self::CLASSIC } else { Self::empty() }
    }

    /// The ECN bits of a SYN or SYN-ACK, and of what a request sends.
    pub(crate) fn on_handshake(self) -> u8 {
        if self.contains(Self::EACH) { ECT_0 } else { NOT_ECT }
    }

    /// The ECN bits of what carries no new text.
    pub(crate) fn on_control(self) -> u8 {
        let all = self.intersects(Self::EACH | Self::ACCURATE) && !self.contains(Self::NO_ECT);
        if all { ECT_0 } else { NOT_ECT }
    }

    /// Flags of a SYN-ACK.
    /// `ecn`: the ECN bits that the SYN came with.
    pub(crate) fn on_syn_ack(self, ecn: u8) -> Flags {
        match self {
            _ if self.contains(Self::CLASSIC) => Flags::ECE,
            _ if self.contains(Self::ACCURATE) => reflected(ecn),
            _ => Flags::empty(),
        }
    }
}

impl Tcb {
    /// A SYN is to be sent (Linux `tcp_ecn_send_syn`).
    pub(crate) fn ask_for_ecn(&mut self, cx: &Ctx) {
        let needs = self.congestion.needs(Needs::ECN);
        self.ecn = match cx.cfg.tcp.ecn.connect {
            EcnKind::Accurate => Ecn::ASKED,
            EcnKind::Off if !needs => Ecn::empty(),
            EcnKind::Off | EcnKind::Classic => Ecn::CLASSIC,
        };
        self.ecn.set(Ecn::EACH, needs);
    }

    /// With which ECN bits the SYN came that crossed ours.
    fn ecn_of_peer_syn(&self) -> u8 {
        self.rare.ecn_counts.as_ref().map_or(NOT_ECT, |counts| counts.accurate.reflects())
    }

    /// Flags of a SYN, or of the SYN-ACK to a SYN that crossed it. A repeated SYN does without: what drops SYNs that ask
    /// for ECN would drop it too (RFC 3168 6.1.1.1).
    pub(crate) fn ecn_of_handshake(&self, cx: &Ctx, answer: bool) -> Flags {
        if answer {
            return self.ecn.on_syn_ack(self.ecn_of_peer_syn());
        }
        let falls_back = self.is(Is::SYN_RETRANSMITTED) && cx.cfg.tcp.ecn_fallback;
        match self.ecn {
            _ if self.ecn.is_empty() || falls_back => Flags::empty(),
            ecn if ecn.contains(Ecn::ASKED) => Flags::ECE | Flags::CWR | Flags::AE,
            _ => Flags::ECE | Flags::CWR,
        }
    }

    /// The SYN-ACK grants it with ECE alone; what also sets CWR only reflects the SYN (Linux `tcp_ecn_rcv_synack`).
    pub(crate) fn take_ecn_of_syn_ack(&mut self, seg: &Seg<'_>) {
        if self.ecn.contains(Ecn::ASKED) {
            match ace_of(seg.flags) {
                // No ECN, or a peer that reflects the SYN.
                0 | 7 => {}
                1 | 5 => {
                    self.ecn.remove(Ecn::ASKED);
                    self.ecn.insert(Ecn::CLASSIC);
                    return;
                }
                _ => return self.begin_accurate(seg),
            }
        } else if seg.has(Flags::ECE) && !seg.has(Flags::CWR) {
            return;
        }
        self.ecn = Ecn::empty();
    }

    /// A SYN crossed ours: both have to ask (Linux `tcp_ecn_rcv_syn`).
    pub(crate) fn take_ecn_of_crossed_syn(&mut self, seg: &Seg<'_>) {
        let asked = core::mem::take(&mut self.ecn);
        let ace = ace_of(seg.flags);
        if asked.contains(Ecn::ASKED) && ace != 0 && ace != 3 {
            self.begin_accurate(seg);
        } else if !asked.is_empty() && seg.has(Flags::ECE | Flags::CWR) {
            self.ecn = (asked - Ecn::ASKED) | Ecn::CLASSIC;
        }
    }

    /// The ECN bits of a segment's IP header; adds the segment's own flags. `new_data`: text, for the first time. Only that
    /// may be marked: the mark on what carries no text would be lost with it, and one on a repeated segment would count
    /// in another window (RFC 3168 6.1.4, 6.1.5; Linux `tcp_ecn_send`).
    #[inline]
    pub(crate) fn ecn_of_segment(&mut self, new_data: bool, flags: &mut Flags) -> u8 {
        if self.ecn.is_empty() {
            return NOT_ECT;
        }
        if self.ecn.contains(Ecn::ACCURATE) {
            return self.ace_of_segment(flags);
        }
        flags.set(Flags::ECE, self.ecn.contains(Ecn::ECHO));
        if !new_data {
            return self.ecn.on_control();
        }
        flags.set(Flags::CWR, self.ecn.contains(Ecn::CWR_DUE));
        self.ecn.remove(Ecn::CWR_DUE);
        ECT_0
    }

    /// The window was reduced, for whatever reason: the peer shall know (RFC 3168 6.1.2; Linux `tcp_ecn_queue_cwr`).
    pub(crate) fn queue_cwr(&mut self) {
        if self.ecn.contains(Ecn::CLASSIC) {
            self.ecn.insert(Ecn::CWR_DUE);
        }
    }

    /// The reduction is undone (Linux `tcp_ecn_withdraw_cwr`).
    pub(crate) fn withdraw_cwr(&mut self) {
        self.ecn.remove(Ecn::CWR_DUE);
    }

    /// This acknowledgement echoes a mark (Linux `tcp_ecn_rcv_ecn_echo`).
    #[inline]
    pub(crate) fn echoes_mark(&self, seg: &Seg<'_>) -> bool {
        self.ecn.contains(Ecn::CLASSIC) && seg.has(Flags::ECE) && !seg.has(Flags::SYN)
    }

    /// Counts what was delivered since `before` if the acknowledgement echoes a mark; gives what is delivered by now.
    #[inline]
    pub(crate) fn count_echo(&mut self, cx: &mut Ctx, ack: &Ack, before: u32) -> u32 {
        let now = self.stats.delivered;
        if ack.told.contains(Told::ECE) && self.ecn.contains(Ecn::CLASSIC) {
            let delivered = now.wrapping_sub(before);
            cx.counters.delivered_ce += u64::from(delivered);
            let counts = self.ecn_counts_mut();
            counts.delivered_ce = counts.delivered_ce.wrapping_add(delivered);
        }
        now
    }

    pub(crate) fn ecn_counts_mut(&mut self) -> &mut EcnCounts {
        self.rare.parts().ecn_counts.get_or_insert_default()
    }

    /// Segments that the peer acknowledged while it echoed a mark.
    pub(crate) fn delivered_ce(&self) -> u32 {
        self.rare.ecn_counts.as_ref().map_or(0, |counts| counts.delivered_ce)
    }

    /// ECN is in use, or asked for.
    pub(crate) fn uses_ecn(&self) -> bool {
        self.ecn.intersects(Ecn::CLASSIC | Ecn::ACCURATE)
    }

    /// The congestion control begins, or another one: what it needs of ECN (Linux `tcp_init_congestion_control`).
    pub(crate) fn sync_ecn(&mut self) {
        let each = self.ecn.contains(Ecn::CLASSIC) && self.congestion.needs(Needs::ECN);
        self.ecn.set(Ecn::EACH, each);
        self.ecn.remove(Ecn::MARKED);
        if each {
            let nxt = self.rcv_nxt;
            let counts = self.ecn_counts_mut();
            counts.echoed_to = nxt;
            counts.owed.clear();
        }
    }

    /// The peer's window is smaller now: it is told of no more marks. If it came with text, perhaps the only segment that fits
    /// into that window, its acknowledgement does not wait (Linux `tcp_ecn_accept_cwr`).
    pub(crate) fn accept_cwr(&mut self, seg: &Seg<'_>) {
        if self.ecn.contains(Ecn::CLASSIC) {
            self.ecn.remove(Ecn::ECHO);
            if !seg.is_empty() {
                self.is.insert(Is::ACK_NOW);
            }
        }
    }

    /// Text came in a packet with these ECN bits (Linux `tcp_data_ecn_check`).
    #[inline]
    pub(crate) fn note_mark(&mut self, cx: &mut Ctx, ecn: u8) {
        if !self.ecn.is_empty() {
            if self.ecn.contains(Ecn::EACH) && ecn != NOT_ECT {
                self.echo_each(cx, ecn == CE);
            }
            self.note_mark_of_text(ecn);
        }
    }

    /// Text came with a mark, or without after one with: what came before is acknowledged by itself if it is not yet, and all
    /// that follows has the other value of ECE (RFC 8257 3.2; Linux `dctcp_ece_ack_update`).
    fn echo_each(&mut self, cx: &mut Ctx, marked: bool) {
        let (nxt, changed) = (self.rcv_nxt, marked != self.ecn.contains(Ecn::MARKED));
        let sent = self.rcv_wup;
        let counts = self.ecn_counts_mut();
        let before = counts.echoed_to;
        counts.echoed_to = nxt;
        if changed {
            let owed = counts.owed.back().map_or(sent, |(ack, _)| *ack);
            if before.after(owed) && counts.owed.len() < MAX_OWED {
                counts.owed.push_back((before, !marked));
            }
            self.is.insert(Is::ACK_NOW);
            cx.want_output(self);
        }
        self.ecn.set(Ecn::MARKED | Ecn::ECHO, marked);
    }

    /// An acknowledgement of what came with the other value of ECE than what came last; goes out before any other.
    pub(crate) fn next_owed_ack(&mut self, cx: &mut Ctx) -> Option<OutSegment> {
        let (ack, echo) = self.rare.get(|rare| &mut rare.ecn_counts)?.owed.pop_front()?;
        let now = (self.rcv_nxt, self.ecn);
        self.rcv_nxt = ack;
        self.ecn.set(Ecn::ECHO, echo);
        let repr = self.ack_repr(cx);
        let segment = self.address(repr);
        (self.rcv_nxt, self.ecn) = now;
        self.count_out(cx);
        Some(segment)
    }

    fn note_mark_of_text(&mut self, ecn: u8) {
        match ecn {
            // Probably sent again, so something was lost.
            NOT_ECT if self.ecn.contains(Ecn::SEEN) => self.enter_quick_ack(2),
            NOT_ECT => {}
            _ if !self.ecn.contains(Ecn::CLASSIC) => {}
            _ => {
                self.ecn.insert(Ecn::SEEN);
                if ecn == CE && !self.ecn.contains(Ecn::ECHO) {
                    self.enter_quick_ack(2);
                    self.ecn.insert(Ecn::ECHO);
                }
            }
        }
    }
}

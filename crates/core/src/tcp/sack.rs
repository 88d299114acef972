//! The peer's SACK blocks (RFC 2018, RFC 2883; Linux `tcp_sacktag_write_queue`): what arrived out of order, what arrived
//! twice, and what both tell of reordering (RFC 6675; RFC 8985 6.2).

use super::ack::{Ack, Told};
use super::scoreboard::{CaState, SentFlags};
use super::segment::Seg;
use super::tcb::Tcb;
use crate::ctx::Ctx;
use lastack_wire::SeqNumber;

/// Reordering further than so many segments is not believed (Linux `tcp_max_reordering`).
const MAX_REORDERING: u32 = 300;

/// One block of an acknowledgement.
#[derive(Clone, Copy)]
struct Block {
    start: SeqNumber,
    end: SeqNumber,
    /// It tells of a duplicate (RFC 2883 4).
    duplicate: bool,
}

impl Tcb {
    /// Takes in the SACK blocks of a segment. SND.UNA has moved already.
    pub(crate) fn take_sack(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &mut Ack) {
        ack.reord = self.snd_nxt;
        let duplicate = self.take_dsack(cx, seg, ack);
        if self.rtx.is_empty() {
            return;
        }
        let mut blocks = [None::<Block>; 4];
        for (slot, (index, (start, end))) in blocks.iter_mut().zip(seg.options.sack.iter().enumerate()) {
            let block = Block { start: *start, end: *end, duplicate: duplicate && index == 0 };
            *slot = Some(block).filter(|block| self.is_valid(block) && end.after(ack.prior_una));
        }
        let una = self.snd_una;
        blocks.sort_unstable_by_key(|block| block.map_or(i32::MAX, |block| block.start - una));
        let board = self.board();
        let seen = if board.sacked_out > 0 { board.seen } else { [(una, una); 4] };
        for block in blocks.iter().flatten() {
            self.tag_block(cx, ack, *block, &seen);
        }
        let undo = {
            let board = self.board();
            board.seen = blocks.map(|block| block.map_or((una, una), |block| (block.start, block.end)));
            board.undo_marker.is_some()
        };
        if self.ca_state != CaState::Loss || undo {
            self.note_reordering(cx, ack.reord);
        }
    }

    /// Linux `tcp_is_sackblock_valid`.
    fn is_valid(&self, block: &Block) -> bool {
        let &Block { start, end, duplicate } = block;
        if end.after(self.snd_nxt) || !start.before(end) || !start.before(self.snd_nxt) {
            return false;
        }
        if start.after(self.snd_una) {
            return true;
        }
        let Some(marker) = self.loss.as_deref().and_then(|board| board.undo_marker).filter(|_| duplicate)
        else {
            return false;
        };
        // A duplicate lies below SND.UNA as a whole, and not before the episode.
        !end.after(self.snd_una)
            && (!start.before(marker) || (end.after(marker) && !start.before(end - self.max_window)))
    }

    /// The first block may tell of a duplicate: below the acknowledgement, or inside of the second block (RFC 2883 4.1).
    /// True if it does, and is believed.
    fn take_dsack(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &mut Ack) -> bool {
        let mut blocks = seg.options.sack.iter();
        let Some(&(start, end)) = blocks.next() else { return false };
        let below = start.before(seg.ack);
        let inside = blocks.next().is_some_and(|outer| !end.after(outer.1) && !start.before(outer.0));
        if !(below || inside) || !start.before(end) {
            return false;
        }
        let len = end.distance_from(start);
        if len > self.max_window {
            return false;
        }
        let segs = len.div_ceil(self.effective_mss().max(1));
        let retransmissions = self.stats.retransmissions;
        let prior_una = ack.prior_una;
        let board = self.board();
        if segs == 1 && board.tlp_end == Some(end) {
            ack.told |= Told::DSACK_TLP;
        }
        board.dsack_dups = board.dsack_dups.saturating_add(segs);
        if board.dsack_dups > retransmissions {
            // More than we sent again: the network duplicates.
            return false;
        }
        cx.counters.dsacks_received += 1;
        if board.reord_seen > 0 && !ack.told.contains(Told::DSACK_TLP) {
            board.rack.dsack_seen = true;
        }
        ack.told |= Told::DSACKING;
        // A needless retransmission was delivered all the same.
        ack.sack_delivered += segs;
        if let Some(marker) = board.undo_marker
            && !end.after(prior_una)
            && end.after(marker)
        {
            board.undo_retrans = board.undo_retrans.map(|left| left.saturating_sub(segs));
        }
        true
    }

    /// Marks what lies in `block`. What lies in a block that the last acknowledgement had is known already.
    fn tag_block(&mut self, cx: &mut Ctx, ack: &mut Ack, block: Block, seen: &[(SeqNumber, SeqNumber); 4]) {
        let mut at = block.start;
        while at.before(block.end) {
            let mut until = block.end;
            if !block.duplicate {
                if let Some((_, end)) = seen.iter().find(|(start, end)| !start.after(at) && end.after(at)) {
                    at = *end;
                    continue;
                }
                for (start, end) in seen {
                    if start.after(at) && start.before(until) && start.before(*end) {
                        until = *start;
                    }
                }
            }
            self.tag_range(cx, ack, block, at, until);
            at = until;
        }
    }

    fn tag_range(&mut self, cx: &mut Ctx, ack: &mut Ack, block: Block, from: SeqNumber, until: SeqNumber) {
        let mut index = self.rtx_index(from);
        while let Some(sent) = self.rtx.get(index)
            && sent.start.before(until)
        {
            match self.fits(index, block) {
                Some(true) => self.tag_one(cx, ack, index, block.duplicate),
                Some(false) => {}
                None => return,
            }
            index += 1;
        }
    }

    /// Whether the entry at `index` lies in the block; one of several segments is cut where it does not. `None`: nothing
    /// further on does (Linux `tcp_match_skb_to_sack`).
    fn fits(&mut self, index: usize, block: Block) -> Option<bool> {
        let sent = *self.rtx.get(index)?;
        if !block.start.after(sent.start) && !block.end.before(sent.end) {
            return Some(true);
        }
        if sent.segs <= 1 || !sent.end.after(block.start) {
            return Some(false);
        }
        let mss = self.effective_mss().max(1);
        if block.start.after(sent.start) {
            let outside = block.start.distance_from(sent.start).div_ceil(mss) * mss;
            if outside < sent.end.distance_from(sent.start) {
                self.split(index, sent.start + outside);
            }
            return Some(false);
        }
        let inside = block.end.distance_from(sent.start) / mss * mss;
        if inside == 0 {
            return None;
        }
        self.split(index, sent.start + inside);
        Some(true)
    }

    /// Linux `tcp_sacktag_one`.
    fn tag_one(&mut self, cx: &Ctx, ack: &mut Ack, index: usize, duplicate: bool) {
        let Some(before) = self.rtx.get(index).copied() else { return };
        let high = self.highest_sack();
        let recover = self.recover;
        let segs = u32::from(before.segs);
        let mut sent = before;
        if duplicate && sent.is(SentFlags::RETRANSMITTED) {
            let board = self.board();
            if board.undo_marker.is_some_and(|marker| sent.end.after(marker)) {
                board.undo_retrans = board.undo_retrans.map(|left| left.saturating_sub(segs));
            }
            if sent.is(SentFlags::SACKED) && sent.start.before(ack.reord) {
                ack.reord = sent.start;
            }
        }
        if !sent.end.after(self.snd_una) {
            return;
        }
        if !sent.is(SentFlags::SACKED) {
            self.rack_advance(cx, &sent);
            ack.sampled(&sent);
            if sent.is(SentFlags::RESENT) {
                if sent.is(SentFlags::LOST) {
                    sent.flags -= SentFlags::LOST | SentFlags::RESENT;
                }
            } else {
                if !sent.is(SentFlags::RETRANSMITTED) {
                    if sent.start.before(high) && sent.start.before(ack.reord) {
                        ack.reord = sent.start;
                    }
                    if !sent.end.after(recover) {
                        ack.told |= Told::ORIGINAL;
                    }
                    ack.first_sack.get_or_insert(sent.at);
                    ack.last_sack = Some(sent.at);
                }
                sent.flags -= SentFlags::LOST;
            }
            sent.flags |= SentFlags::SACKED;
            ack.told |= Told::SACKED;
            ack.sack_delivered += segs;
        }
        if duplicate {
            sent.flags -= SentFlags::RESENT;
        }
        let first = self.loss.as_deref().is_none_or(|board| board.sacked_out == 0);
        let board = self.board();
        board.recount(before.flags, sent.flags, segs);
        if first || sent.end.after(board.highest_sack) {
            board.highest_sack = sent.end;
        }
        if let Some(slot) = self.rtx.get_mut(index) {
            slot.flags = sent.flags;
        }
    }

    /// An original from below the highest reported segment arrived late: reordering, and its extent (Linux
    /// `tcp_check_sack_reordering`).
    pub(crate) fn note_reordering(&mut self, cx: &mut Ctx, low: SeqNumber) {
        let high = self.highest_sack();
        if !low.before(high) {
            return;
        }
        let mss = self.effective_mss().max(1);
        let extent = high.distance_from(low);
        let board = self.board();
        if extent > board.reordering.saturating_mul(mss) {
            board.reordering = extent.div_ceil(mss).min(MAX_REORDERING);
        }
        board.reord_seen = board.reord_seen.saturating_add(1);
        cx.counters.reorderings += 1;
    }

    /// A duplicate ACK of a peer without SACK stands for a segment that arrived out of order (Linux `tcp_add_reno_sack`).
    pub(crate) fn add_reno_sack(&mut self, cx: &mut Ctx, duplicate: bool) {
        if !duplicate {
            return;
        }
        let before = self.board().sacked_out;
        self.board().sacked_out = before.saturating_add(1);
        self.limit_reno_sacks(cx, 0);
        if self.board().sacked_out > before {
            self.stats.delivered = self.stats.delivered.wrapping_add(1);
        }
    }

    /// More cannot have arrived than is in flight less the hole; more duplicates are reordering (Linux
    /// `tcp_check_reno_reordering`).
    pub(crate) fn limit_reno_sacks(&mut self, cx: &mut Ctx, acked: u32) {
        let packets = self.packets_out;
        let board = self.board();
        let holes = board.lost_out.max(1).min(packets);
        if board.sacked_out + holes > packets {
            board.sacked_out = packets - holes;
            board.reordering = packets.saturating_add(acked).min(MAX_REORDERING);
            board.reord_seen = board.reord_seen.saturating_add(1);
            cx.counters.reorderings += 1;
        }
    }

    /// `acked` segments were acknowledged: one was the hole, the others had been counted by duplicates (Linux
    /// `tcp_remove_reno_sacks`).
    pub(crate) fn remove_reno_sacks(&mut self, cx: &mut Ctx, acked: u32) {
        let sacked = self.loss.as_deref().map_or(0, |board| board.sacked_out);
        if acked > 0 {
            self.stats.delivered = self.stats.delivered.wrapping_add(acked.saturating_sub(sacked).max(1));
        }
        if let Some(board) = self.loss.as_deref_mut() {
            board.sacked_out = sacked.saturating_sub(acked.saturating_sub(1));
            self.limit_reno_sacks(cx, acked);
        }
    }
}

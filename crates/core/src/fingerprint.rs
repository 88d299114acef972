//! One number for everything that later behaviour depends on (law 5): relative to now, without counters, history and
//! names. Two stacks that behave the same are the same.
//!
//! Each record is taken apart by exhaustive patterns, so that a new field breaks the build here.

use crate::demux::Tables;
use crate::event::Ready;
use crate::stack::Stack;
use crate::tcp::congestion::Origin;
use crate::tcp::ecn::Ecn;
use crate::tcp::fast_open::{FastOpen, Handshake};
use crate::tcp::listen::{Listen, Request};
use crate::tcp::options::Knob;
use crate::tcp::scoreboard::SentFlags;
use crate::tcp::tcb::{Is, Tcb};
use crate::tcp::timers::ALL;
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use core::time::Duration;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Ages beyond this make no difference to a connection: it is past every RTO and every idle rule.
const OLD: Duration = Duration::from_secs(240);

/// A timestamp of the peer, by the time that has passed on its clock since: its secret offset does not change.
fn stamp_age(now: Instant, stamp: u32) -> u32 {
    (now.as_millis() as u32).wrapping_sub(stamp)
}

/// Hashes an age: how long ago `at` was, capped.
fn age(now: Instant, at: Instant, h: &mut impl Hasher) {
    // Zero stands for: never.
    let age = if at == Instant::ZERO { OLD } else { (now - at).min(OLD) };
    age.hash(h);
}

impl Stack {
    /// A 128-bit digest of the state relative to `now`, to SND.UNA and to RCV.NXT. The peer's last timestamp counts relative to
    /// `now` too, and so does the offset of the peer's clock. Left out:
    /// counters, history, traces, connection numbers, generations of handles, keys and the position of the random number
    /// generator. Equal stacks have equal digests; different ones collide with a chance of about 2^-64 among 2^32.
    #[must_use]
    pub fn fingerprint(&self, now: Instant) -> u128 {
        let mut h = SipHasher13::new();
        let Self { cx, tables, ip, udp, replies, udp_news, turn, since_udp } = self;
        for (key, tcb) in tables.connections.iter() {
            key.index().hash(&mut h);
            tcb.fingerprint(now, &mut h);
        }
        tables.fingerprint(now, &mut h);
        ip.fingerprint(now, &mut h);
        udp.fingerprint(now, &mut h);
        replies.fingerprint(&mut h);
        (turn, since_udp).hash(&mut h);
        udp_news.len().hash(&mut h);
        cx.orphans.hash(&mut h);
        cx.fast_open.fingerprint(now, &mut h);
        for item in &cx.out {
            item.hash_relative(&mut h);
        }
        for (at, key) in &cx.departures {
            (*at - now, key.index()).hash(&mut h);
        }
        for segment in &cx.segments {
            segment.fingerprint(tables, cx, &mut h);
        }
        h.finish128().as_u128()
    }
}

impl Tables {
    fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        for (key, request) in self.requests.iter() {
            key.index().hash(h);
            request.fingerprint(now, h);
        }
        for (key, record) in self.time_wait4.iter() {
            key.index().hash(h);
            record.fingerprint(now, &self.time_wait_wheel, h);
        }
        for (key, record) in self.time_wait6.iter() {
            key.index().hash(h);
            record.fingerprint(now, &self.time_wait_wheel, h);
        }
    }
}

impl Request {
    fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        let Self {
            id: _,
            current,
            tuple,
            listener,
            iss: _,
            irs: _,
            options,
            ts_recent,
            ts_offset: _,
            window,
            path_mtu,
            max_seg,
            rcv_wscale,
            retransmits,
            ttl,
            tos,
            ecn,
            syn_ecn,
            deferred,
            defer_accept,
            acked,
            made_at,
            sent_at,
            last_oow_ack,
            timer: _,
            quote: _,
            from_cookie,
        } = self;
        (current, tuple, listener.index(), from_cookie).hash(h);
        (options.mss, options.window_scale, options.sack_permitted).hash(h);
        options.timestamps.map(|_| stamp_age(now, *ts_recent)).hash(h);
        (window, path_mtu, max_seg, rcv_wscale, retransmits, ttl, tos, ecn, deferred).hash(h);
        syn_ecn.hash(h);
        (defer_accept, acked).hash(h);
        age(now, *made_at, h);
        age(now, *sent_at, h);
        last_oow_ack.map(|at| (now - at).min(Duration::from_secs(1))).hash(h);
    }
}

impl Tcb {
    #[expect(clippy::too_many_lines, reason = "one exhaustive pattern, so that no field is forgotten")]
    fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        let Self {
            key: _,
            id: _,
            tuple,
            current,
            is,
            ca_state,
            ecn,
            iss: _,
            snd_una,
            snd_nxt,
            snd_wnd,
            snd_wl1,
            snd_sml,
            max_window,
            snd_buf,
            marks,
            rtx,
            packets_out,
            loss,
            rack_rtt,
            max_packets_out,
            cwnd_usage_end,
            cwnd_used,
            cwnd_used_at,
            congestion,
            delivery,
            rtt,
            recover,
            snd_wscale,
            rcv_wscale,
            mss,
            peer_mss,
            path_mtu,
            irs: _,
            rcv_nxt,
            rcv_wup,
            rcv_wnd,
            rcv_buf,
            rcv_space,
            fin_at,
            eof_read,
            received: _,
            urg_seq,
            urg_byte,
            ts_recent,
            ts_offset: _,
            ts_recent_at,
            delack,
            timers,
            pending,
            retransmits,
            backoff,
            probes_out,
            retrans_stamp,
            probes_since,
            last_received,
            last_sent,
            last_oow_ack,
            knobs,
            error,
            soft_error,
            history: _,
            stats,
            rare,
            parent,
            successor,
            news,
        } = self;
        let una = self.snd_buf.start();
        (tuple, current, is.get().bits(), ca_state, ecn).hash(h);
        if let Some(counts) = &rare.ecn_counts
            && ecn.intersects(Ecn::EACH | Ecn::ACCURATE)
        {
            counts.fingerprint(now, *rcv_nxt, h);
        }
        // Numbers that lie behind SND.UNA have no meaning any more.
        for seq in [snd_nxt, snd_sml, recover, cwnd_usage_end] {
            (*seq - *snd_una).max(0).hash(h);
        }
        for seq in [snd_wl1, rcv_wup] {
            (*seq - *rcv_nxt).hash(h);
        }
        (snd_wnd, max_window, snd_wscale, rcv_wscale, mss, peer_mss, path_mtu).hash(h);
        snd_buf.fingerprint(h);
        for mark in marks.queue.iter() {
            (mark.end - una, mark.push, mark.record).hash(h);
        }
        (marks.tail.saturating_sub(una), (una + u64::from(*max_window)).saturating_sub(marks.pushed)).hash(h);
        ((marks.burst_end - *snd_nxt).max(0), marks.burst_pushes, marks.bursts).hash(h);
        marks.urgent.map(|seq| (seq - *snd_una).max(0)).hash(h);
        for sent in rtx.iter() {
            let flags = if congestion.is_plain() { sent.flags - SentFlags::APP_LIMITED } else { sent.flags };
            (sent.start - *snd_una, sent.end - *snd_una, flags.bits()).hash(h);
            let delivered = (stats.delivered.wrapping_sub(sent.delivered), sent.delivered == 0);
            (sent.segs, loss.is_some().then_some(delivered)).hash(h);
            age(now, sent.at, h);
        }
        (packets_out, rack_rtt, max_packets_out, cwnd_used, pending).hash(h);
        (now.as_millis() as u32).wrapping_sub(*cwnd_used_at).min(OLD.as_millis() as u32).hash(h);
        // Reports of duplicates are believed up to the number of retransmissions; so many at once do not come.
        let reported = loss.as_ref().map_or(0, |board| board.dsack_dups);
        (i64::from(stats.retransmissions) - i64::from(reported)).clamp(-16, 16).hash(h);
        if let Some(board) = loss {
            board.fingerprint((*snd_una, stats.delivered), now, h);
        }
        let origin = Origin {
            now,
            una: *snd_una,
            delivered: stats.delivered,
            delivered_ce: self.delivered_ce(),
            lost: loss.as_deref().map_or(0, |board| board.lost),
        };
        congestion.fingerprint(&origin, h);
        if !congestion.is_plain() {
            // Others measure the rate of delivery for the telling only.
            delivery.relative(now, stats.delivered).hash(h);
            rtx.iter().for_each(|sent| sent.stamp.ages(now).hash(h));
        }
        rare.pacer.as_ref().map(|pacer| pacer.relative(now)).hash(h);
        rtt.fingerprint(now, una, h);
        rcv_wnd.hash(h);
        rcv_space.fingerprint(now.as_micros() as u32, (rcv_buf.read_pos() as u32, *rcv_nxt), h);
        if let Some(probe) = &rare.mtu_probe {
            probe.fingerprint(now, *snd_una, h);
        }
        rcv_buf.fingerprint(h);
        (fin_at.map(|seq| seq - *rcv_nxt), eof_read).hash(h);
        let (ranges, dsack) = (self.sack_ranges(), self.dsack());
        for (start, end) in ranges.iter().chain(&dsack) {
            (*start - *rcv_nxt, *end - *rcv_nxt).hash(h);
        }
        (ranges.len(), dsack.is_some()).hash(h);
        if is.contains(Is::URGENT_PENDING) {
            (*urg_seq - *rcv_nxt, urg_byte).hash(h);
        }
        if is.contains(Is::TIMESTAMPS) {
            // When it came and when it was made: a segment may have been on its way for long.
            age(now, *ts_recent_at, h);
            stamp_age(now, *ts_recent).hash(h);
        }
        (delack.quick, delack.ato_ms, delack.rcv_mss).hash(h);
        age(now, delack.last_data, h);
        for timer in ALL {
            timers.deadline(timer).map(|at| at - now).hash(h);
        }
        (retransmits, backoff, probes_out).hash(h);
        retrans_stamp.map(|at| (now - at).as_nanos()).hash(h);
        probes_since.map(|at| (now - at).as_nanos()).hash(h);
        if knobs.has(Knob::KEEPALIVE) {
            (now - *last_received).hash(h);
        }
        age(now, *last_sent, h);
        last_oow_ack.map(|at| (now - at).min(Duration::from_secs(1))).hash(h);
        (knobs, error, soft_error).hash(h);
        // The bound of RFC 5961 5.2 is the only counter that behaviour depends on, and only while it is small.
        (stats.bytes_acked.min(u64::from(*max_window)), stats.syn_acked).hash(h);
        if let Some(listen) = &rare.listen {
            listen.fingerprint(now, h);
        }
        if let Some(fast) = &rare.fast_open {
            fast.fingerprint(now, h);
        }
        (parent.map(|key| key.index()), successor.map(|s| (s.state, s.ends - now))).hash(h);
        Ready::bits(news).hash(h);
    }
}

impl FastOpen {
    fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        let Self { limit, pending, resets, keys, no_cookie, handshake, child: _, syn_data, client } = self;
        (limit, pending, keys.map(|keys| (keys.primary, keys.backup)), no_cookie, syn_data, client).hash(h);
        for until in resets {
            (*until - now).hash(h);
        }
        if let Some(Handshake { listener, sent_at, repeats, window }) = handshake {
            (listener.index(), repeats, window).hash(h);
            age(now, *sent_at, h);
        }
    }
}

impl Listen {
    fn fingerprint(&self, now: Instant, h: &mut impl Hasher) {
        let Self { backlog, accept, half_open, young, undecided, overflow_at } = self;
        (backlog, half_open, young).hash(h);
        for key in accept.iter().chain(undecided) {
            key.index().hash(h);
        }
        overflow_at.map(|at| (now - at).min(OLD)).hash(h);
    }
}

//! Accurate ECN (RFC 9768; Linux `tcp_ecn.h`, `tcp_accecn_process`): the three flags ACE are a counter of the marked packets
//! that came in, modulo 8, and an option may tell how many bytes came with each ECN field.
//!
//! Every packet of such a connection may be marked, acknowledgements too. What its sender does about marks is what it does
//! with ECN of RFC 3168, but it knows how many there were.

use super::ack::{Ack, Told};
use super::ecn::{CE, ECT_0, Ecn, NOT_ECT};
use super::info::EcnBytes;
use super::segment::Seg;
use super::tcb::{Is, Tcb};
use crate::config::EcnOption;
use crate::ctx::Ctx;
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use core::time::Duration;
use lastack_wire::tcp::{AccurateEcn, Flags, MAX_OPTIONS_LEN, Options};

/// The counter begins here, so that nobody takes it for flags that were zeroed (RFC 9768 3.2.1).
const ACE_START: u32 = 5;
const ACE_MASK: u32 = 7;
/// Counters of ECT(1), marked and ECT(0) bytes begin here in the option.
const OPTION_START: [u32; 3] = [1, 0, 1];
/// An option is sent at least each time that a counter has gone so far (RFC 9768 3.2.3.3).
const OPTION_STRIDE: u32 = 1 << 22;
/// How many options follow a change, so that one without loss shows it (Linux).
const OPTIONS_AFTER_CHANGE: u8 = 2;

/// What the peer's options have been like (Linux `saw_accecn_opt`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    /// None came: none is sent.
    #[default]
    None,
    /// They can be used.
    Good,
    /// The first one had a counter that no peer writes: something on the way changes them.
    Mangled,
}

/// Both directions of a connection with Accurate ECN. Bytes are of ECT(1), marked, and ECT(0) packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Packets that came in marked.
    pub(crate) received_ce: u32,
    /// Bytes of text that came in.
    pub(crate) received: [u32; 3],
    /// Bytes that the peer says came to it.
    pub(crate) delivered: [u32; 3],
    pub(crate) seen: Seen,
    /// ECN bits of the last packet.
    last: u8,
    /// The next segment reflects these ECN bits of the SYN-ACK instead of counting (RFC 9768 3.2.2.1).
    reflect: Option<u8>,
    /// Options that are due whatever the time.
    demand: u8,
    /// Counters that the next option has to have, from the front.
    least: u8,
    /// When the last option left.
    option_at: Instant,
}

impl Counters {
    /// Feeds what later behaviour depends on to `h`.
    pub(crate) fn fingerprint(&self, now: Instant, delivered_ce: u32, h: &mut impl Hasher) {
        let Self { received_ce, received, delivered, seen, last, reflect, demand, least, option_at } = self;
        (delivered_ce & ACE_MASK, received_ce & ACE_MASK, received, delivered).hash(h);
        (seen, last, reflect, demand, least).hash(h);
        (now - *option_at).min(Duration::from_secs(240)).hash(h);
    }

    /// The ECN bits that the peer's SYN came with, before the first segment that counts.
    pub(crate) fn reflects(&self) -> u8 {
        self.reflect.unwrap_or(self.last)
    }
}

/// The three flags as a number.
pub(crate) fn ace_of(flags: Flags) -> u8 {
    u8::from(flags.contains(Flags::AE)) << 2
        | u8::from(flags.contains(Flags::CWR)) << 1
        | u8::from(flags.contains(Flags::ECE))
}

/// The flags of a number.
fn flags_of(ace: u8) -> Flags {
    let mut flags = Flags::empty();
    flags.set(Flags::AE, ace & 4 != 0);
    flags.set(Flags::CWR, ace & 2 != 0);
    flags.set(Flags::ECE, ace & 1 != 0);
    flags
}

/// How a handshake tells with which ECN bits its SYN or SYN-ACK came (RFC 9768 3.1.2, tables 2 and 4).
pub(crate) fn reflected(ecn: u8) -> Flags {
    flags_of(match ecn & 3 {
        0 => 0b010,
        1 => 0b011,
        2 => 0b100,
        _ => 0b110,
    })
}

/// The ECN bits that a handshake's flags tell of; `None` for flags that tell of none.
fn told_by(ace: u8) -> Option<u8> {
    match ace {
        0b010 => Some(0),
        0b011 => Some(1),
        0b100 => Some(2),
        0b110 => Some(CE),
        _ => None,
    }
}

/// How many more packets were marked when the peer's counter reads `ace`, `counted` are known, and `delivered` were delivered
/// since. The counter may have gone round: without better knowledge as often as fits (RFC 9768 3.2.2.5.2). `bytes`, from
/// the option, are the marked ones of that time, with the segment size.
fn newly_marked(ace: u8, counted: u32, delivered: u32, bytes: Option<(u32, u32)>) -> u32 {
    let delta = u32::from(ace).wrapping_sub(ACE_START).wrapping_sub(counted) & ACE_MASK;
    if delivered <= ACE_MASK {
        return delta;
    }
    let most = delivered - (delivered.wrapping_sub(delta) & ACE_MASK);
    match bytes {
        Some((0, _)) => delta,
        Some((marked, mss)) if marked > delta.saturating_mul(mss) => {
            // Half of the packets at least, if they were full ones.
            if marked < most.saturating_mul(mss) >> 1 { delta } else { most }
        }
        Some(_) => delta,
        None => most,
    }
}

impl Tcb {
    pub(crate) fn ecn_bytes(&self) -> Option<EcnBytes> {
        let Counters { received_ce, received, delivered, seen, .. } = self.rare.ecn_counts.as_ref()?.accurate;
        let told_by_peer = seen == Seen::Good;
        let bytes = EcnBytes { received_ce, received, delivered, told_by_peer };
        self.ecn.contains(Ecn::ACCURATE).then_some(bytes)
    }

    fn counters(&mut self) -> &mut Counters {
        &mut self.ecn_counts_mut().accurate
    }

    /// The SYN-ACK (or a SYN that crossed ours) came with `ecn` from a peer that has Accurate ECN too.
    pub(crate) fn begin_accurate(&mut self, seg: &Seg<'_>) {
        self.ecn = Ecn::ACCURATE;
        let now = Counters {
            received_ce: u32::from(seg.ecn == CE),
            reflect: Some(seg.ecn),
            last: seg.ecn,
            demand: OPTIONS_AFTER_CHANGE,
            ..Counters::default()
        };
        *self.counters() = now;
        self.check_reflection(told_by(ace_of(seg.flags)));
        self.meet_option(seg);
    }

    /// The third segment of a handshake that began at a listener (Linux `tcp_accecn_third_ack`).
    pub(crate) fn complete_accurate(&mut self, seg: &Seg<'_>) {
        let ace = ace_of(seg.flags);
        if ace == 0 {
            // The flags are zeroed on the way: marks would not come back.
            self.ecn.insert(Ecn::NO_ECT);
            return;
        }
        let told = told_by(ace);
        self.check_reflection(told);
        if told == Some(CE) {
            self.ecn_counts_mut().delivered_ce = 1;
        }
        self.meet_option(seg);
    }

    /// Our SYN or SYN-ACK was not ECT. If it came so to the peer, something on the way rewrites the bits (RFC 9768 3.2.2.3).
    fn check_reflection(&mut self, told: Option<u8>) {
        if told.is_some_and(|ecn| ecn != NOT_ECT) {
            self.ecn.insert(Ecn::NO_ECT);
        }
    }

    /// A child of a listener, whose SYN came with `ecn`.
    pub(crate) fn inherit_accurate(&mut self, ecn: u8) {
        if self.ecn.contains(Ecn::ACCURATE) {
            let counters = self.counters();
            (counters.last, counters.demand) = (ecn, 1);
        }
    }

    fn meet_option(&mut self, seg: &Seg<'_>) {
        let Some(option) = &seg.options.accurate_ecn else { return };
        let zeroed = option.e0b() == Some(0) || option.e1b() == Some(0);
        let counters = self.counters();
        if counters.seen == Seen::None {
            counters.seen = if zeroed { Seen::Mangled } else { Seen::Good };
        }
    }

    /// Flags and ECN bits of a segment (Linux `tcp_accecn_set_ace`).
    pub(crate) fn ace_of_segment(&mut self, flags: &mut Flags) -> u8 {
        let counters = self.counters();
        let now = match counters.reflect.take() {
            Some(ecn) => reflected(ecn),
            None => flags_of((counters.received_ce.wrapping_add(ACE_START) & ACE_MASK) as u8),
        };
        *flags |= now;
        self.ecn.on_control()
    }

    /// A device that splits packets would clear CWR on all but the first.
    pub(crate) fn ace_forbids_splitting(&self) -> bool {
        let count = self.rare.ecn_counts.as_ref().map_or(0, |counts| counts.accurate.received_ce);
        self.ecn.contains(Ecn::ACCURATE) && count.wrapping_add(ACE_START) & 2 != 0
    }

    /// A segment came that counts (Linux `tcp_ecn_received_counters`).
    pub(crate) fn count_arrival(&mut self, seg: &Seg<'_>) {
        let (ecn, len) = (seg.ecn, seg.payload.len() as u32);
        let packets = if seg.gso_size > 0 { len.div_ceil(seg.gso_size.into()).max(1) } else { 1 };
        self.ecn.set(Ecn::SEEN, self.ecn.contains(Ecn::SEEN) || ecn != NOT_ECT);
        let counters = self.counters();
        if ecn == CE {
            counters.received_ce = counters.received_ce.wrapping_add(packets);
        }
        if let Some(place) = place_of(ecn)
            && len > 0
            && let Some(bytes) = counters.received.get_mut(place)
        {
            let before = *bytes;
            *bytes = bytes.wrapping_add(len);
            if (*bytes ^ before) & !(OPTION_STRIDE - 1) != 0 {
                counters.demand = counters.demand.max(1);
            }
            // The option's counters stand in this order; those behind can be left out.
            counters.least = counters.least.max(place as u8 + 1);
        }
        let changed = counters.last != ecn;
        counters.last = ecn;
        if changed || ecn == CE {
            counters.demand = OPTIONS_AFTER_CHANGE;
        }
        if changed && len > 0 {
            // The peer shall see where the change was (RFC 9768 3.2.2.5.1).
            self.is.insert(Is::ACK_NOW);
        }
    }

    /// What an acknowledgement that delivered `delivered` segments and `bytes` tells of marks (Linux `tcp_accecn_process`).
    pub(crate) fn take_ace(&mut self, cx: &mut Ctx, seg: &Seg<'_>, ack: &mut Ack, delivered: u32) {
        if !ack.told.intersects(Told::PROGRESS) {
            // Perhaps an old one that was overtaken.
            return;
        }
        let marked = self.take_option(seg);
        if ack.told.contains(Told::SYN_ACKED) {
            return;
        }
        let mss = self.effective_mss();
        let counts = self.ecn_counts_mut();
        let bytes = marked.map(|bytes| (bytes, mss));
        let delta = newly_marked(ace_of(seg.flags), counts.delivered_ce, delivered, bytes);
        if delta > 0 {
            counts.delivered_ce = counts.delivered_ce.wrapping_add(delta);
            cx.counters.delivered_ce += u64::from(delta);
            ack.told |= Told::ECE;
        }
    }

    /// The peer's byte counters; gives how many bytes more were marked, if they tell.
    fn take_option(&mut self, seg: &Seg<'_>) -> Option<u32> {
        self.meet_option(seg);
        let option = seg.options.accurate_ecn.as_ref()?;
        let counters = self.counters();
        if counters.seen != Seen::Good {
            return None;
        }
        let fields = [option.e1b(), option.ceb(), option.e0b()];
        let mut marked = None;
        for (place, ((count, field), start)) in
            counters.delivered.iter_mut().zip(fields).zip(OPTION_START).enumerate()
        {
            let Some(field) = field else { continue };
            let delta = field.wrapping_sub(start).wrapping_sub(*count) & 0x00ff_ffff;
            // More than half of the range: an old acknowledgement that was overtaken.
            let delta = if delta & 0x0080_0000 == 0 { delta } else { 0 };
            *count = count.wrapping_add(delta);
            if place == 1 {
                marked = Some(delta);
            }
        }
        marked
    }

    /// Adds the option to those of a segment, if it is due and fits; a third SACK block gives way to counters that have
    /// changed (Linux `tcp_established_options`, `tcp_options_fit_accecn`).
    pub(crate) fn add_ecn_option(&mut self, cx: &Ctx, options: &mut Options) {
        let srtt = u64::from(self.rtt.srtt_micros());
        let counters = self.counters();
        let age = (cx.now - counters.option_at).as_micros() as u64;
        let beacon = cx.cfg.tcp.ecn_option_beacon;
        let due = match cx.cfg.tcp.ecn_option {
            EcnOption::Never => false,
            EcnOption::Sparing => {
                counters.demand > 0 || beacon > 0 && age.saturating_mul(beacon.into()) >= srtt
            }
            EcnOption::Always => true,
        };
        if !due || counters.seen == Seen::None {
            return;
        }
        let least = usize::from(counters.least);
        let mut room = MAX_OPTIONS_LEN.saturating_sub(options.emitted_len());
        if room / 4 < least && room / 4 + 2 >= least && options.sack.len() > 2 {
            options.sack.truncate(options.sack.len() - 1);
            room += 8;
        }
        // Three counters take 12 bytes, two take 8.
        let fields = (room / 4).min(3);
        if fields < least.max(2) {
            return;
        }
        let mut values = counters.received;
        for (value, start) in values.iter_mut().zip(OPTION_START) {
            *value = value.wrapping_add(start);
        }
        counters.demand = counters.demand.saturating_sub(1);
        (counters.least, counters.option_at) = (0, cx.now);
        options.accurate_ecn = Some(AccurateEcn::new(values, fields));
    }
}

/// The option of a SYN-ACK: nothing was counted yet.
pub(crate) fn first_option() -> AccurateEcn {
    AccurateEcn::new(OPTION_START, 3)
}

/// Place of the counter of these ECN bits.
fn place_of(ecn: u8) -> Option<usize> {
    match ecn {
        NOT_ECT => None,
        ECT_0 => Some(2),
        CE => Some(1),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests;

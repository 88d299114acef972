//! What is done in a shorter way where the case is a common one, path by path; and, for the tests that prove that each does
//! what the general code does, a switch that makes them decline. Without the feature `general-paths` nothing of the switch
//! is compiled.

bitflags::bitflags! {
    /// The short paths. What one of them does, the general code behind it does too: packets, events, results and
    /// [`Stack::fingerprint`](crate::Stack::fingerprint) are the same, and so are all counters but `predicted`, which
    /// counts the use of a path.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(not(feature = "general-paths"), allow(dead_code, unreachable_pub, reason = "only asked for"))]
    pub struct ShortPaths: u16 {
        /// A packet that is a whole TCP segment without IP options is read at once (`Ip::receive_plain`).
        const PLAIN_PACKET = 1 << 0;
        /// The text of a long segment is summed and put into its place in one pass (`Stack::sum_and_place`).
        const PLACED_TEXT = 1 << 1;
        /// The four-tuple is the one that was looked up last (`Tables::find`).
        const SAME_TUPLE = 1 << 2;
        /// Header prediction (`rcv_established`).
        const PREDICTION = 1 << 3;
        /// All that is in flight is one packet, and it is acknowledged (`lone_ack`).
        const LONE_ACK = 1 << 4;
        /// The algorithm of congestion control needs little of an event (`Congestion::on_plain_ack`).
        const PLAIN_CONGESTION = 1 << 5;
        /// Text in order while nothing is held beyond it (`Tcb::store_next`).
        const NEXT_TEXT = 1 << 6;
        /// A FIN by itself while nothing is held beyond it.
        const NEXT_FIN = 1 << 7;
        /// One short segment is all there is to send (`lone_output`).
        const LONE_OUTPUT = 1 << 8;
        /// All new data fits into one segment (`Tcb::next_new`).
        const ONE_SEGMENT = 1 << 9;
        /// A segment carries no options but timestamps (`Extra::Stamps`).
        const STAMPS_ALONE = 1 << 10;
        /// The retransmission timer is not set where the tail-loss probe's follows (`Tcb::probe_timer_follows`).
        const PROBE_TIMER = 1 << 11;
        /// No timer can be due (`Stack::handle_timeout`).
        const NOTHING_DUE = 1 << 12;
        /// Nothing is in flight that an acknowledgement could be of (`general_ack`).
        const NOTHING_IN_FLIGHT = 1 << 13;
    }
}

/// How often each short path was asked for, by the number of its bit.
#[cfg(feature = "general-paths")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally([core::cell::Cell<u64>; u16::BITS as usize]);

#[cfg(feature = "general-paths")]
impl Tally {
    fn of(&self, path: ShortPaths) -> Option<&core::cell::Cell<u64>> {
        self.0.get(path.bits().trailing_zeros() as usize)
    }
}

impl crate::ctx::Ctx {
    /// Whether a short path may be taken, asked when all else speaks for it.
    #[cfg(feature = "general-paths")]
    pub(crate) fn may_take(&self, path: ShortPaths) -> bool {
        if let Some(times) = self.short_paths.of(path) {
            times.set(times.get() + 1);
        }
        !self.cfg.declined.contains(path)
    }

    /// Each short path that fits is taken.
    #[cfg(not(feature = "general-paths"))]
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn may_take(&self, _: ShortPaths) -> bool {
        true
    }
}

#[cfg(feature = "general-paths")]
impl crate::Stack {
    /// How often a short path, one, could have been taken so far, whether it was or [`Config::declined`](crate::Config)
    /// forbade it.
    #[must_use]
    pub fn short_path_fits(&self, path: ShortPaths) -> u64 {
        self.cx.short_paths.of(path).map_or(0, core::cell::Cell::get)
    }
}

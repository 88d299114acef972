//! A packet in flight: its bytes, and a digest that is relative to the connection and to now.

use lastack_core::Instant;
use lastack_core::wire::tcp::{Flags, Segment};
use lastack_core::wire::{PacketMeta, SeqNumber};
use lastack_sim::{Side, segment_of};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Numbers this far from a side's initial number belong to another incarnation.
const INCARNATION: i32 = 1 << 20;

/// What is needed to make numbers on the wire relative: the same for two runs that differ in absolute time only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    /// The initial sequence number of the latest SYN.
    isn: Option<SeqNumber>,
    /// What its timestamps add to the clock.
    ts_offset: Option<u32>,
}

impl Origin {
    /// Learns from a segment that its side sends.
    pub(crate) fn learn(&mut self, now: Instant, tcp: &Segment<'_>) {
        if tcp.flags.contains(Flags::SYN) {
            self.isn = Some(tcp.seq);
        }
        if let Some(stamps) = tcp.options.timestamps {
            self.ts_offset.get_or_insert(stamps.0.wrapping_sub(millis(now)));
        }
    }

    /// The number relative to the first byte of the stream, if it belongs to the latest incarnation.
    pub(crate) fn offset(&self, seq: SeqNumber) -> Option<i32> {
        let offset = seq - (self.isn? + 1);
        (offset.abs() < INCARNATION).then_some(offset)
    }

    /// When the timestamp was taken.
    fn taken(&self, value: u32) -> Option<u32> {
        Some(value.wrapping_sub(self.ts_offset?))
    }
}

fn millis(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) from: Side,
    pub(crate) sent: Instant,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) meta: PacketMeta,
    /// Its place in the log, if there is one.
    pub(crate) index: Option<usize>,
    /// Digest of everything that does not change with time.
    digest: u64,
    /// When the echoed timestamp was taken.
    echo: Option<u32>,
}

impl Flying {
    pub(crate) fn new(
        from: Side,
        now: Instant,
        bytes: &[u8],
        meta: PacketMeta,
        origins: &[Origin; 2],
    ) -> Self {
        let mut h = siphasher::sip::SipHasher13::new();
        let mut echo = None;
        match segment_of(bytes) {
            Some((_, tcp)) => {
                hash_segment(from, &tcp, origins, &mut h);
                let of_peer = &origins[from.other() as usize];
                echo = tcp.options.timestamps.and_then(|(_, echo)| of_peer.taken(echo));
            }
            None => bytes.hash(&mut h),
        }
        Self { from, sent: now, bytes: bytes.into(), meta, index: None, digest: h.finish(), echo }
    }

    pub(crate) fn digest(&self, now: Instant) -> u64 {
        let mut h = siphasher::sip::SipHasher13::new();
        (self.digest, now - self.sent, self.echo.map(|echo| millis(now).wrapping_sub(echo))).hash(&mut h);
        h.finish()
    }
}

fn hash_segment(from: Side, tcp: &Segment<'_>, origins: &[Origin; 2], h: &mut impl Hasher) {
    let relative = |side: Side, seq: SeqNumber| origins[side as usize].offset(seq).ok_or(seq.0);
    (from, tcp.flags.bits(), relative(from, tcp.seq)).hash(h);
    if tcp.flags.contains(Flags::ACK) {
        relative(from.other(), tcp.ack).hash(h);
    }
    (tcp.window, tcp.urgent, tcp.payload).hash(h);
    let options = &tcp.options;
    (options.mss, options.window_scale, options.sack_permitted, options.timestamps.is_some()).hash(h);
    for (start, end) in &options.sack {
        (relative(from.other(), *start), relative(from.other(), *end)).hash(h);
    }
}

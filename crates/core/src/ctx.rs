//! What every part of the stack shares: time, configuration, pools, queues, counters, secrets.

use crate::buffer::ChunkPool;
use crate::config::Config;
use crate::counters::Counters;
use crate::event::{ConnectionId, Ready, TransitionEvent};
use crate::siphash::hash_words;
use crate::slab::Key;
use crate::tcp::fast_open::memory::Memory as FastOpenMemory;
use crate::tcp::fast_open::{Ended, FastOpenKeys};
use crate::tcp::output::OutSegment;
use crate::tcp::tcb::{Is, Tcb, Tuple};
use crate::time::Instant;
use crate::wheel::Wheel;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use lastack_wire::{Capabilities, SeqNumber};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;

/// Something that wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutItem {
    /// A connection may send data, a FIN or an ACK.
    Connection(Key),
    /// The front of the queue of finished segments.
    Segment,
}

impl OutItem {
    /// What it is, without the generation of its slot.
    pub(crate) fn hash_relative(self, h: &mut impl Hasher) {
        match self {
            Self::Connection(key) => (0, key.index()).hash(h),
            Self::Segment => 1.hash(h),
        }
    }
}

/// Keys of the stack's keyed functions; never logged, never compared.
#[derive(Clone)]
pub(crate) struct Secrets {
    /// Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 7.1).
    isn: [u8; 16],
    /// The four-tuple table.
    table: [u8; 16],
    /// Ephemeral ports (RFC 6056).
    port: [u8; 16],
    /// SYN cookies.
    cookie: [u8; 16],
    /// The IP layer's.
    pub(crate) ip: [u8; 16],
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Shared state. See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Ctx {
    pub(crate) now: Instant,
    pub(crate) cfg: Config,
    pub(crate) caps: Capabilities,
    pub(crate) pool: ChunkPool,
    pub(crate) wheel: Wheel,
    pub(crate) out: VecDeque<OutItem>,
    pub(crate) segments: VecDeque<OutSegment>,
    /// Paced connections that wait for the time of their next packet; each once.
    pub(crate) departures: BTreeSet<(Instant, Key)>,
    pub(crate) news: VecDeque<Key>,
    /// Connections whose writers wait for memory.
    pub(crate) starved: Vec<Key>,
    pub(crate) traced: VecDeque<TransitionEvent>,
    pub(crate) counters: Counters,
    pub(crate) secrets: Secrets,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) orphans: usize,
    /// Fast Open children of which their listener has to hear; not more than its limit lets be pending.
    pub(crate) fast_open_ended: Vec<Ended>,
    /// What connections that were opened with Fast Open have learned.
    pub(crate) fast_open: FastOpenMemory,
    next_id: u32,
    /// How often each short path was asked for.
    #[cfg(feature = "general-paths")]
    pub(crate) short_paths: crate::short_paths::Tally,
}

impl Ctx {
    pub(crate) fn new(cfg: Config, caps: Capabilities, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut key = || {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let secrets = Secrets { isn: key(), table: key(), port: key(), cookie: key(), ip: key() };
        Self {
            now,
            pool: ChunkPool::new(cfg.memory_limit),
            cfg,
            caps,
            wheel: Wheel::new(now),
            out: VecDeque::new(),
            segments: VecDeque::new(),
            departures: BTreeSet::new(),
            news: VecDeque::new(),
            starved: Vec::new(),
            traced: VecDeque::new(),
            counters: Counters::default(),
            secrets,
            rng,
            orphans: 0,
            fast_open_ended: Vec::new(),
            fast_open: FastOpenMemory::default(),
            next_id: 0,
            #[cfg(feature = "general-paths")]
            short_paths: crate::short_paths::Tally::default(),
        }
    }

    pub(crate) fn next_id(&mut self) -> ConnectionId {
        self.next_id = self.next_id.wrapping_add(1);
        ConnectionId(self.next_id)
    }

    /// Largest packet of a connection that the device takes.
    pub(crate) fn mtu(&self, tuple: &Tuple) -> u16 {
        let device = self.caps.mtu;
        if tuple.is_ipv6() { device } else { self.cfg.ipv4_mtu.map_or(device, |mtu| mtu.min(device)) }
    }

    /// Notes that a socket is worth a look.
    #[inline]
    pub(crate) fn signal(&mut self, tcb: &mut Tcb, ready: Ready) {
        if !tcb.is(Is::OWNED) {
            return;
        }
        tcb.news |= ready;
        if !tcb.is(Is::SIGNALLED) {
            self.push_news(tcb);
        }
    }

    #[inline(never)]
    fn push_news(&mut self, tcb: &mut Tcb) {
        tcb.is.insert(Is::SIGNALLED);
        self.news.push_back(tcb.key);
    }

    /// Puts a connection into the output queue, once.
    pub(crate) fn want_output(&mut self, tcb: &mut Tcb) {
        if !tcb.is(Is::QUEUED) {
            tcb.is.insert(Is::QUEUED);
            self.out.push_back(OutItem::Connection(tcb.key));
        }
    }

    /// Queues a finished segment; counted and dropped beyond the limit, as a full device queue would.
    pub(crate) fn send_segment(&mut self, segment: OutSegment) {
        if self.segments.len() >= self.cfg.reply_queue_limit {
            self.counters.reply_queue_drops += 1;
            return;
        }
        self.segments.push_back(segment);
        self.out.push_back(OutItem::Segment);
    }

    pub(crate) fn trace(&mut self, event: TransitionEvent) {
        if self.traced.len() >= self.cfg.trace_limit {
            self.counters.trace_drops += 1;
            return;
        }
        self.traced.push_back(event);
    }

    fn keyed<T: Hash + ?Sized>(key: &[u8; 16], value: &T) -> u64 {
        let mut hasher = SipHasher13::new_with_key(key);
        value.hash(&mut hasher);
        hasher.finish()
    }

    /// Place of a four-tuple in the table.
    pub(crate) fn tuple_hash(&self, tuple: &Tuple) -> u32 {
        hash_tuple(&self.secrets.table, tuple) as u32
    }

    /// Initial sequence number, and the offset of the timestamp clock: two halves of one keyed hash of the four-tuple. To
    /// the number a clock of 64 ns ticks is added, as on Linux (RFC 6528 asks for 4 microseconds at the slowest). The
    /// offset stays the same for a four-tuple that is used again, so that its peer sees a clock that rises (RFC 7323 7.1).
    pub(crate) fn first_numbers(&self, tuple: &Tuple) -> (SeqNumber, u32) {
        let clock = (self.now.as_nanos() >> 6) as u32;
        let hash = hash_tuple(&self.secrets.isn, tuple);
        (SeqNumber((hash as u32).wrapping_add(clock)), (hash >> 32) as u32)
    }

    /// Offset of a connection's timestamp clock alone.
    pub(crate) fn ts_offset(&self, tuple: &Tuple) -> u32 {
        self.first_numbers(tuple).1
    }

    /// Start of the search for an ephemeral port towards a destination (RFC 6056 3.3.3).
    pub(crate) fn port_hash(&self, tuple: &Tuple) -> u64 {
        hash_tuple(&self.secrets.port, &Tuple { local_port: 0, ..*tuple })
    }

    /// MAC of a SYN cookie.
    pub(crate) fn cookie_hash(&self, tuple: &Tuple, irs: SeqNumber, count: u32) -> u32 {
        Self::keyed(&self.secrets.cookie, &(tuple, irs.0, count)) as u32
    }

    /// Keys of Fast Open cookies: the configured ones, or one of the stack's own.
    pub(crate) fn fast_open_keys(&self) -> FastOpenKeys {
        self.cfg.tcp.fast_open_keys.unwrap_or_else(|| {
            let half = |n: u8| Self::keyed(&self.secrets.cookie, &("fast open", n)).to_le_bytes();
            let (low, high) = (half(0), half(1));
            let primary = core::array::from_fn(|n| if n < 8 { low[n] } else { high[n - 8] });
            FastOpenKeys { primary, backup: None }
        })
    }

    pub(crate) fn random(&mut self) -> u32 {
        self.rng.next_u32()
    }
}

/// SipHash-1-3 of a four-tuple, laid out by hand: this is on the path of each segment.
fn hash_tuple(key: &[u8; 16], tuple: &Tuple) -> u64 {
    let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
    match (tuple.local.as_v4(), tuple.remote.as_v4()) {
        (Some(local), Some(remote)) => hash_words(key, [u64::from(local) << 32 | u64::from(remote)], ports),
        _ => {
            let ([a, b], [c, d]) = (tuple.local.words(), tuple.remote.words());
            hash_words(key, [a, b, c, d], ports)
        }
    }
}

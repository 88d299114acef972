//! What Linux would count against a receive buffer: the memory of each packet, not its payload (`truesize`, `sk_rmem_alloc`,
//! `scaling_ratio`). lastack counts payload; this model is for conformance tests, in which windows are compared
//! (`TcpConfig::receive_memory_model`). It is of packets from a TUN interface.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use core::hash::{Hash, Hasher};

/// Room in front of a packet (`NET_SKB_PAD`), behind it (`skb_shared_info`), and the record of its buffer
/// (`struct sk_buff`).
const PAD: usize = 64;
const TAIL: usize = 320;
const RECORD: usize = 256;
/// The smallest buffer (`SKB_SMALL_HEAD_CACHE_SIZE`); larger ones are powers of two.
const SMALL: usize = 576;
/// Share of the buffer that the window gets before a segment was seen (`TCP_DEFAULT_SCALING_RATIO`), in 256ths.
const FIRST_RATIO: u8 = 128;

/// A packet's buffer in the receive queue.
#[derive(Clone, Copy, Debug, Hash)]
struct Packet {
    /// Stream offset behind its last byte.
    end: u64,
    cost: u32,
    /// Bytes that could still be copied to its end.
    room: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    ratio: u8,
    held: u32,
    queue: VecDeque<Packet>,
    /// Out of order, by the offset at which they begin.
    late: BTreeMap<u64, Packet>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { ratio: FIRST_RATIO, held: 0, queue: VecDeque::new(), late: BTreeMap::new() }
    }
}

impl Memory {
    /// Memory of an IP packet of `len` bytes, and the room that it leaves.
    pub(crate) fn cost(len: usize) -> (u32, u32) {
        let needed = PAD + len + TAIL;
        let head = if needed <= SMALL { SMALL } else { needed.next_power_of_two() };
        ((head + RECORD) as u32, (head - needed) as u32)
    }

    pub(crate) fn window_of(&self, memory: i64) -> i64 {
        (memory * i64::from(self.ratio)) >> 8
    }

    pub(crate) fn memory_of(&self, window: u64) -> u64 {
        (window << 8) / u64::from(self.ratio.max(1))
    }

    /// Segments of `len` bytes cost `cost`. True if that is another share than before.
    pub(crate) fn set_ratio(&mut self, len: u32, cost: u32) -> bool {
        let ratio = ((u64::from(len) << 8) / u64::from(cost.max(1))).clamp(1, 255) as u8;
        core::mem::replace(&mut self.ratio, ratio) != ratio
    }

    /// All that is held.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// A packet of `len` bytes brought the stream's bytes from `start` to `end`; `next` is the first that is missing now.
    pub(crate) fn take(&mut self, (start, end): (u64, u64), next: u64, len: usize) {
        let (cost, room) = Self::cost(len);
        let packet = Packet { end, cost, room };
        if end > next {
            if let Entry::Vacant(place) = self.late.entry(start) {
                place.insert(packet);
                self.held += cost;
            }
            return;
        }
        self.append(start, packet);
        while let Some(entry) = self.late.first_entry() {
            if *entry.key() >= next {
                break;
            }
            let (start, packet) = entry.remove_entry();
            self.held -= packet.cost;
            self.append(start, packet);
        }
    }

    /// Behind the last packet of the queue, or into its room (Linux `tcp_queue_rcv`, `skb_try_coalesce`).
    fn append(&mut self, start: u64, packet: Packet) {
        let len = packet.end.saturating_sub(start) as u32;
        match self.queue.back_mut() {
            Some(last) if last.end >= packet.end => {}
            Some(last) if last.room >= len => {
                last.room -= len;
                last.end = packet.end;
            }
            _ => {
                self.held += packet.cost;
                self.queue.push_back(packet);
            }
        }
    }

    /// The application has read up to `read_pos`.
    pub(crate) fn read(&mut self, read_pos: u64) {
        while let Some(packet) = self.queue.front().filter(|packet| packet.end <= read_pos) {
            self.held -= packet.cost;
            self.queue.pop_front();
        }
    }

    /// Offset behind the packet in front: how far a read comes before the window is looked at for the first time.
    pub(crate) fn first_end(&self) -> Option<u64> {
        self.queue.front().map(|packet| packet.end)
    }

    /// What came out of order is dropped.
    pub(crate) fn drop_late(&mut self) {
        for packet in core::mem::take(&mut self.late).values() {
            self.held -= packet.cost;
        }
    }

    pub(crate) fn fingerprint(&self, h: &mut impl Hasher) {
        let Self { ratio, held, queue, late } = self;
        (ratio, held, queue, late).hash(h);
    }
}

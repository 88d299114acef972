//! What lies between two stacks: a queue of packets, one for each direction, which loses and delays nothing.

use lastack_core::wire::PacketMeta;
use std::collections::VecDeque;

/// One packet under way.
#[derive(Debug)]
pub struct Packet {
    /// The frame's buffer; only the first `len` bytes belong to the packet.
    pub buffer: Box<[u8]>,
    /// Length of the packet in bytes.
    pub len: usize,
    /// What the sending device said about it.
    pub meta: PacketMeta,
}

impl Packet {
    /// The packet itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// One direction of the link. Frame buffers are taken again after use, so that neither peer pays for allocating or
/// clearing them.
#[derive(Debug)]
pub struct Link {
    queue: VecDeque<Packet>,
    pool: Vec<Box<[u8]>>,
    frame_size: usize,
    packets: u64,
}

impl Link {
    /// A link whose frames hold up to `frame_size` bytes.
    #[must_use]
    pub fn new(frame_size: usize) -> Self {
        Self { queue: VecDeque::new(), pool: Vec::new(), frame_size, packets: 0 }
    }

    /// Makes room for `count` packets under way.
    pub fn reserve(&mut self, count: usize) {
        self.queue.reserve(count);
        self.pool.reserve(count);
        while self.pool.len() < count {
            self.pool.push(vec![0; self.frame_size].into_boxed_slice());
        }
    }

    /// A frame buffer; what it holds is left over from earlier packets.
    pub fn take(&mut self) -> Box<[u8]> {
        self.pool.pop().unwrap_or_else(|| vec![0; self.frame_size].into_boxed_slice())
    }

    /// Gives a frame buffer back.
    pub fn give(&mut self, buffer: Box<[u8]>) {
        self.pool.push(buffer);
    }

    /// Sends a packet.
    pub fn push(&mut self, packet: Packet) {
        self.packets += 1;
        self.queue.push_back(packet);
    }

    /// Receives the oldest packet.
    pub fn pop(&mut self) -> Option<Packet> {
        self.queue.pop_front()
    }

    /// Whether no packet is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets sent so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }
}

//! Memory of packets, used again and again.

/// Packets, by number, and the memory of those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    slots: Vec<Vec<u8>>,
    empty: Vec<u32>,
    free: Vec<Vec<u8>>,
}

impl Pool {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// A copy of some bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut packet = self.take();
        packet.extend_from_slice(bytes);
        packet
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, mut packet: Vec<u8>) {
        packet.clear();
        self.free.push(packet);
    }

    /// Keeps a packet under a number.
    pub(crate) fn store(&mut self, packet: Vec<u8>) -> u32 {
        if let Some(slot) = self.empty.pop() {
            self.slots[slot as usize] = packet;
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 packets are in flight");
        self.slots.push(packet);
        slot
    }

    /// Takes the packet of a number out.
    pub(crate) fn fetch(&mut self, slot: u32) -> Vec<u8> {
        self.empty.push(slot);
        std::mem::take(&mut self.slots[slot as usize])
    }
}

//! Many packets in one number: two runs that differ in a bit anywhere have different ones.

use lastack_core::Instant;

const KEYS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x27d4_eb2f_1656_67c5];

/// A running checksum. It is quick and the same on every machine; it is not for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    lanes: [u64; 4],
    pub(crate) packets: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { lanes: KEYS, packets: 0 }
    }
}

impl Digest {
    /// Adds a packet, its time and its place.
    pub(crate) fn packet(&mut self, at: Instant, place: u32, bytes: &[u8]) {
        self.packets += 1;
        self.block([at.as_nanos(), u64::from(place), bytes.len() as u64, self.packets]);
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            self.block([0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i])));
        }
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        let (words, _) = last.as_chunks::<8>();
        self.block([0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i])));
    }

    fn block(&mut self, words: [u64; 4]) {
        for ((lane, word), key) in self.lanes.iter_mut().zip(words).zip(KEYS) {
            // Odd keys: each step is a permutation of the lane, so no difference is ever forgotten.
            *lane = (*lane ^ word).wrapping_mul(key | 1).rotate_left(29);
        }
    }

    /// The number.
    pub(crate) fn value(&self) -> u64 {
        self.lanes.iter().fold(self.packets, |value, lane| crate::flow::content::mix(value ^ lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_place_length_order_and_each_bit_count() {
        let digest = |packets: &[(u64, u32, &[u8])]| {
            let mut digest = Digest::default();
            for (at, place, bytes) in packets {
                digest.packet(Instant::from_nanos(*at), *place, bytes);
            }
            digest.value()
        };
        let bytes = [7; 100];
        let base = digest(&[(1, 2, &bytes)]);
        assert_eq!(base, digest(&[(1, 2, &bytes)]));
        for bit in 0..800 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(base, digest(&[(1, 2, &other)]), "bit {bit}");
        }
        assert_ne!(base, digest(&[(2, 2, &bytes)]));
        assert_ne!(base, digest(&[(1, 3, &bytes)]));
        assert_ne!(digest(&[(0, 0, &[0])]), digest(&[(0, 0, &[0, 0])]));
        assert_ne!(digest(&[(0, 0, &[1]), (0, 0, &[2])]), digest(&[(0, 0, &[2]), (0, 0, &[1])]));
    }
}

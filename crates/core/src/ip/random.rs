//! Keyed randomness: numbers that nobody without the key can foretell, and that are the same for the same key.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A stream of pseudo-random numbers (SipHash-1-3 in counter mode).
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    key: [u8; 16],
    drawn: u64,
}

impl Stream {
    /// `purpose` tells streams with the same key apart.
    pub(crate) fn new(key: [u8; 16], purpose: u64) -> Self {
        let [a, b] = [hash(&key, purpose, 0), hash(&key, purpose, 1)];
        Self { key: (u128::from(a) << 64 | u128::from(b)).to_be_bytes(), drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        hash(&self.key, 2, self.drawn)
    }

    /// Uniform in 0..`n` up to a bias of n / 2^64; 0 for n = 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

fn hash(key: &[u8; 16], a: u64, b: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write_u64(a);
    hasher.write_u64(b);
    hasher.finish()
}

/// Identification of fragmented packets: a counter behind a keyed permutation, so that a value does not come back
/// before all others were used, and yet none tells anything of the next (RFC 7739 section 5.3; RFC 6864 4.3).
///
/// Each round of the counter has a permutation of its own.
#[derive(Clone, Debug)]
pub(crate) struct Identification {
    key: [u8; 16],
    v4: u64,
    v6: u64,
}

impl Identification {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, v4: 0, v6: 0 }
    }

    pub(crate) fn next_v4(&mut self) -> u16 {
        let count = self.v4;
        self.v4 = count.wrapping_add(1);
        self.permute(count as u32 & 0xffff, count >> 16, 8) as u16
    }

    pub(crate) fn next_v6(&mut self) -> u32 {
        let count = self.v6;
        self.v6 = count.wrapping_add(1);
        self.permute(count as u32, count >> 32, 16)
    }

    /// A Feistel network of six rounds over two halves of `half` bits.
    fn permute(&self, value: u32, epoch: u64, half: u32) -> u32 {
        let mask = (1u32 << half) - 1;
        let (mut left, mut right) = (value >> half & mask, value & mask);
        for round in 0..6u64 {
            let input = epoch << 16 ^ u64::from(right);
            let mixed = hash(&self.key, 16 + round * 2 + u64::from(half == 16), input) as u32 & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << half | right
    }
}

//! The Internet checksum (RFC 1071): the 16-bit one's-complement sum.

use core::net::IpAddr;

/// Bytes summed in one round of the inner loop: eight independent 64-bit lanes.
const BLOCK: usize = 64;

/// Bytes that [`Sum::copy_bytes`] copies before it sums them: they are still in the first level of the cache then.
const COPY_PIECE: usize = 1024;

/// A running one's-complement sum.
///
/// The pieces may have any length: after an odd number of bytes the next piece goes on in the middle of a 16-bit
/// word, so that the result is that of all pieces in one.
///
/// ```
/// use lastack_wire::checksum::Sum;
/// let mut whole = Sum::new();
/// whole.add_bytes(&[1, 2, 3, 4, 5]);
/// let mut pieces = Sum::new();
/// pieces.add_bytes(&[1]);
/// pieces.add_bytes(&[2, 3, 4, 5]);
/// assert_eq!(whole.finish(), pieces.finish());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of 16- and 32-bit words in native byte order; the sum does not depend on the order (RFC 1071 2.B).
    acc: u64,
    /// The bytes so far end in the middle of a word.
    odd: bool,
}

impl Sum {
    /// The empty sum.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { acc: 0, odd: false }
    }

    /// Adds bytes, going on where the last piece ended.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let sum = sum_native(bytes);
        self.add_native(sum);
        self.odd ^= bytes.len() & 1 != 0;
    }

    /// Copies `from` to the start of `to` and adds what was copied, the shorter length of the two, as
    /// [`Sum::add_bytes`] does: a piece at a time, so that the memory is fetched once.
    pub fn copy_bytes(&mut self, from: &[u8], to: &mut [u8]) {
        let len = from.len().min(to.len());
        if len <= COPY_PIECE {
            to[..len].copy_from_slice(&from[..len]);
            return self.add_bytes(&from[..len]);
        }
        for (from, to) in from[..len].chunks(COPY_PIECE).zip(to[..len].chunks_mut(COPY_PIECE)) {
            to.copy_from_slice(from);
            self.add_bytes(from);
        }
    }

    /// Adds a number as the two bytes it has on the wire.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.add_native(u64::from(value.to_be()));
    }

    /// Adds a number as the four bytes it has on the wire.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        self.add_native(u64::from(value.to_be()));
    }

    /// Adds what another sum holds; this one has ended on a whole word.
    #[inline]
    pub(crate) fn add_sum(&mut self, other: Sum) {
        self.add_native(other.acc);
        self.odd ^= other.odd;
    }

    /// The sum of 32-bit words that were added up in native byte order; fewer than 2^32 of them.
    #[inline]
    pub(crate) const fn of_words(acc: u64) -> Self {
        Self { acc, odd: false }
    }

    /// The sum in 16 bits, not inverted.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        u16::from_be(fold16(self.acc))
    }

    /// The checksum: the sum in 16 bits, inverted.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    #[inline]
    fn add_native(&mut self, sum: u64) {
        // In the middle of a word the bytes of the piece are in the other half of each word (RFC 1071 2.B).
        let sum = if self.odd { u64::from(fold16(sum).swap_bytes()) } else { sum };
        self.acc = add_carry(self.acc, sum);
    }
}

/// One's-complement addition of 64-bit words.
#[inline]
const fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // Cannot overflow: a sum that carried is at most 2^64 - 2.
    sum.wrapping_add(carry as u64)
}

/// Folds a 64-bit one's-complement sum to 16 bits.
#[inline]
const fn fold16(sum: u64) -> u16 {
    // The upper half of a number plus itself with its halves swapped is their sum with the carry carried around.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The eight lanes of the inner loop.
///
/// `total` is the sum modulo 2^64 and `high` the sum of the upper halves, from which the sum of the lower halves
/// follows. That costs three instructions a word and has no carry chain, so that the loop becomes SIMD code.
struct Lanes {
    total: [u64; 8],
    high: [u64; 8],
}

impl Lanes {
    #[inline]
    const fn new() -> Self {
        Self { total: [0; 8], high: [0; 8] }
    }

    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<8>();
        for ((word, total), high) in words.iter().zip(&mut self.total).zip(&mut self.high) {
            let word = u64::from_ne_bytes(*word);
            *total = total.wrapping_add(word);
            *high = high.wrapping_add(word >> 32);
        }
    }

    #[inline]
    fn sum(&self) -> u64 {
        let mut total = 0u64;
        let mut high = 0u64;
        for (t, h) in self.total.iter().zip(&self.high) {
            total = total.wrapping_add(*t);
            high = high.wrapping_add(*h);
        }
        // Both halves are exact: no slice is so long that 2^32 words of 32 bits are added.
        let low = total.wrapping_sub(high << 32);
        add_carry(low, high)
    }
}

/// Sum of the bytes as words in native order; a last odd byte is the first byte of a word whose second is zero.
#[inline]
fn sum_native(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut sum = sum_tail(rest);
    if !blocks.is_empty() {
        sum = add_carry(sum, sum_blocks(blocks));
    }
    sum
}

fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    let mut lanes = Lanes::new();
    for block in blocks {
        lanes.add(block);
    }
    lanes.sum()
}

/// The same for fewer than [`BLOCK`] bytes.
#[inline]
fn sum_tail(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = 0u64;
    for word in words {
        sum = add_carry(sum, u64::from_ne_bytes(*word));
    }
    if rest.is_empty() {
        return sum;
    }
    let (word, rest) = match rest.split_first_chunk::<4>() {
        Some((word, rest)) => (u64::from(u32::from_ne_bytes(*word)), rest),
        None => (0, rest),
    };
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    add_carry(sum, word + u64::from(u32::from_ne_bytes(last)))
}

/// The sum over the pseudo-header of TCP (RFC 9293 3.1), UDP and ICMPv6 (RFC 8200 8.1).
///
/// `len` is the length of the transport header and its data in bytes. For addresses of different families the sum
/// is over both as they are; it fits no real packet.
#[inline]
#[must_use]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> Sum {
    let mut sum = Sum { acc: address(src), odd: false };
    sum.acc += address(dst) + u64::from(len.to_be()) + u64::from(u16::from(protocol).to_be());
    sum
}

/// Sum of the 32-bit words of an address, in native order.
#[inline]
fn address(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(a) => u64::from(u32::from_ne_bytes(a.octets())),
        IpAddr::V6(a) => {
            let [x, y] = halves(u128::from_ne_bytes(a.octets()));
            (x & 0xffff_ffff) + (x >> 32) + (y & 0xffff_ffff) + (y >> 32)
        }
    }
}

#[inline]
const fn halves(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

#[cfg(test)]
mod tests;

//! SipHash-1-3 of a few 64-bit words: the keyed hash of four-tuples, which every segment and connection needs. Its values
//! are those of the `siphasher` crate for the same bytes in little-endian order; knowing the length in advance halves the
//! cost.

/// The hash of `words` and the four bytes of `last`.
#[inline]
pub(crate) fn hash_words<const N: usize>(key: &[u8; 16], words: [u64; N], last: u32) -> u64 {
    let key = u128::from_le_bytes(*key);
    let (k0, k1) = (key as u64, (key >> 64) as u64);
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        absorb(&mut state, word);
    }
    // The last block holds what is no whole word, and the length in bytes, modulo 256, in its top byte.
    absorb(&mut state, (N as u64 * 8 + 4) << 56 | u64::from(last));
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

#[inline]
fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::hash_words;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    proptest! {
        #[test]
        fn hash_is_that_of_siphash_1_3(key: [u8; 16], words: [u64; 5]) {
            let bytes: [u8; 40] = core::array::from_fn(|n| words[n / 8].to_le_bytes()[n % 8]);
            let reference = SipHasher13::new_with_key(&key);
            let [a, b, c, d, e] = words;
            prop_assert_eq!(hash_words(&key, [a, b, c, d], e as u32), reference.hash(&bytes[..36]));
            prop_assert_eq!(hash_words(&key, [a], b as u32), reference.hash(&bytes[..12]));
            prop_assert_eq!(hash_words(&key, [], a as u32), reference.hash(&bytes[..4]));
        }
    }
}

//! What connections send: bytes that follow from the seed, the connection, the direction and the place in the stream.

/// The golden ratio's fraction: neighbours in the stream get unlike words.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A permutation of 64-bit words in which each bit depends on all (the finalizer of MurmurHash3, with Stafford's
/// constants).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Writes the bytes of a stream from `offset` on.
pub(crate) fn fill(key: u64, offset: u64, out: &mut [u8]) {
    let word = |index: u64| mix(key.wrapping_add(index.wrapping_mul(STEP))).to_le_bytes();
    let mut index = offset / 8;
    let skip = (offset % 8) as usize;
    let mut rest = out;
    if skip > 0 {
        let first = &word(index)[skip..];
        let len = first.len().min(rest.len());
        let (start, end) = rest.split_at_mut(len);
        start.copy_from_slice(&first[..len]);
        (rest, index) = (end, index + 1);
    }
    let (words, tail) = rest.as_chunks_mut::<8>();
    for out in words {
        *out = word(index);
        index += 1;
    }
    tail.copy_from_slice(&word(index)[..tail.len()]);
}

/// Where what was read differs from the stream, if it does. `scratch` has room for it.
pub(crate) fn difference(key: u64, offset: u64, read: &[u8], scratch: &mut [u8]) -> Option<u64> {
    let expected = &mut scratch[..read.len()];
    fill(key, offset, expected);
    if expected == read {
        return None;
    }
    let same = expected.iter().zip(read).take_while(|(a, b)| a == b).count();
    Some(offset + same as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let mut whole = [0; 1000];
        fill(7, 0, &mut whole);
        for (from, to) in [(0, 1), (1, 9), (3, 5), (8, 16), (13, 999), (999, 1000), (5, 5)] {
            let mut part = vec![0; to - from];
            fill(7, from as u64, &mut part);
            assert_eq!(part, whole[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn a_wrong_byte_is_found_at_its_place() {
        let mut bytes = [0; 100];
        fill(7, 50, &mut bytes);
        let mut scratch = [0; 100];
        assert_eq!(difference(7, 50, &bytes, &mut scratch), None);
        bytes[33] ^= 1;
        assert_eq!(difference(7, 50, &bytes, &mut scratch), Some(83));
        assert_ne!(difference(8, 50, &bytes, &mut scratch), None, "another stream");
    }
}

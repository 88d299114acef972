//! What the bulk cases send: a stream in which a byte's place in the period can be told from its value.

/// Length of the pattern: a prime, so that no power of two and no segment size is a multiple of it.
pub const PERIOD: usize = 251;

/// `len` bytes of the stream from its start.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// `len` bytes of the stream from byte `at` on, out of a `pattern` that is at least `len` + [`PERIOD`] long.
///
/// # Panics
/// If the pattern is shorter.
#[must_use]
pub fn slice_at(pattern: &[u8], at: u64, len: usize) -> &[u8] {
    // The remainder is below 251.
    let start = (at % PERIOD as u64) as usize;
    &pattern[start..start + len]
}

//! The Fast Open option (RFC 7413 4.1.1) in both of its forms: kind 34, and the older experimental one, kind 254 with a
//! number of its own.

/// Longest cookie in bytes.
pub const MAX_COOKIE_LEN: usize = 16;
/// Shortest cookie in bytes.
pub const MIN_COOKIE_LEN: usize = 4;

/// A Fast Open option: a cookie, or without one the request for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FastOpen {
    /// Kind 254 (RFC 6994) instead of 34.
    pub experimental: bool,
    len: u8,
    bytes: [u8; MAX_COOKIE_LEN],
}

impl FastOpen {
    /// An option with this cookie: 0 bytes (a request) or 4..=16, an even number. Anything else is `None`.
    #[must_use]
    pub fn new(cookie: &[u8], experimental: bool) -> Option<Self> {
        let legal = cookie.is_empty() || cookie.len() >= MIN_COOKIE_LEN && cookie.len().is_multiple_of(2);
        let mut bytes = [0; MAX_COOKIE_LEN];
        bytes.get_mut(..cookie.len()).filter(|_| legal)?.copy_from_slice(cookie);
        Some(Self { experimental, len: cookie.len() as u8, bytes })
    }

    /// The cookie; empty in a request.
    #[must_use]
    pub fn cookie(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Kind, length, and the number of the experimental form.
    const fn head_len(&self) -> usize {
        if self.experimental { 4 } else { 2 }
    }

    /// Bytes in a header, padded: 4..=20.
    pub(super) const fn emitted_len(&self) -> usize {
        (self.head_len() + self.len as usize).next_multiple_of(4)
    }

    /// The option in words, padded with no-operations behind it.
    pub(super) fn words(&self) -> impl Iterator<Item = [u8; 4]> {
        let len = self.head_len() + usize::from(self.len);
        let mut area = [super::options::NOP; MAX_COOKIE_LEN + 4];
        let head = match self.experimental {
            true => [super::options::EXPERIMENT, len as u8, FAST_OPEN_NUMBER[0], FAST_OPEN_NUMBER[1]],
            false => [super::options::FAST_OPEN, len as u8, super::options::NOP, super::options::NOP],
        };
        let (start, rest) = area.split_at_mut(self.head_len());
        start.copy_from_slice(head.get(..start.len()).unwrap_or_default());
        for (place, byte) in rest.iter_mut().zip(self.cookie()) {
            *place = *byte;
        }
        let words = self.emitted_len() / 4;
        (0..words).filter_map(move |n| area.as_chunks::<4>().0.get(n).copied())
    }
}

/// What tells Fast Open from other experiments under kind 254.
pub(super) const FAST_OPEN_NUMBER: [u8; 2] = [0xf9, 0x89];

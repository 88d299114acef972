//! TCP options: MSS (RFC 9293), window scale and timestamps (RFC 7323), SACK (RFC 2018), user timeout (RFC 5482),
//! Fast Open (RFC 7413).

use super::accurate_ecn::{AccurateEcn, ORDER_0, ORDER_1};
use super::fast_open::{FAST_OPEN_NUMBER, FastOpen};
use crate::SeqNumber;

/// Room for options in a header, in bytes.
pub const MAX_OPTIONS_LEN: usize = 40;
/// SACK blocks that fit into one header.
pub const MAX_SACK_BLOCKS: usize = 4;

const END: u8 = 0;
pub(super) const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const USER_TIMEOUT: u8 = 28;
pub(super) const FAST_OPEN: u8 = 34;
pub(super) const EXPERIMENT: u8 = 254;

/// SACK blocks of one segment: at most four, in the order of the wire (the first is the most recent, RFC 2018).
#[derive(Clone, Copy, Debug, Default)]
pub struct SackBlocks {
    blocks: [(SeqNumber, SeqNumber); MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// No blocks.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: [(SeqNumber(0), SeqNumber(0)); MAX_SACK_BLOCKS], len: 0 }
    }

    /// Appends a block: its first byte, and the byte after its last. False if there are four already.
    #[inline]
    pub fn push(&mut self, start: SeqNumber, end: SeqNumber) -> bool {
        let Some(slot) = self.blocks.get_mut(usize::from(self.len)) else { return false };
        *slot = (start, end);
        self.len += 1;
        true
    }

    /// The blocks: first byte, and the byte after the last.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(SeqNumber, SeqNumber)] {
        self.blocks.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The blocks, in the order of the wire.
    #[inline]
    pub fn iter(&self) -> core::slice::Iter<'_, (SeqNumber, SeqNumber)> {
        self.as_slice().iter()
    }

    /// Number of blocks: 0..=4.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// There is no block.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` blocks.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.len = len as u8;
        }
    }
}

impl PartialEq for SackBlocks {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SackBlocks {}

impl<'a> IntoIterator for &'a SackBlocks {
    type Item = &'a (SeqNumber, SeqNumber);
    type IntoIter = core::slice::Iter<'a, (SeqNumber, SeqNumber)>;
    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The user timeout option (RFC 5482).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserTimeout {
    /// The unit: minutes if true, seconds if false.
    pub minutes: bool,
    /// The timeout in that unit: 0..=32767. The top bit is not sent.
    pub value: u16,
}

/// Writes the timestamps as they stand alone, or with SACK-permitted in the place of the padding; gives the sum of the words
/// in native order.
#[inline]
pub(super) fn emit_timestamps(area: &mut [u8; 12], sack_permitted: bool, value: u32, echo: u32) -> u64 {
    let [a, b] = if sack_permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
    let words = [u32::from_be_bytes([a, b, TIMESTAMPS, 10]), value, echo];
    let mut sum = 0;
    for (place, word) in area.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
        sum += u64::from(word.to_be());
    }
    sum
}

/// The options of one segment. Of an option that is repeated the last counts; unknown ones are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes, as sent: may be 0.
    pub mss: Option<u16>,
    /// Window scale as sent: may be above 14, the most that RFC 7323 allows.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps: TSval, TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks, unchecked: an end may lie before its start.
    pub sack: SackBlocks,
    /// User timeout.
    pub user_timeout: Option<UserTimeout>,
    /// Fast Open. It has a meaning on segments with SYN only. Written if there is room and no SACK block.
    pub fast_open: Option<FastOpen>,
    /// The counters of Accurate ECN.
    pub accurate_ecn: Option<AccurateEcn>,
    /// A length was wrong. Where it was below 2 or ran past the header, parsing stopped there; where it was only
    /// not the length this kind has, that option was skipped. Linux does both without a word.
    pub malformed: bool,
}

impl Options {
    /// Reads the option area of a header: 0..=40 bytes; what is longer is read as well.
    #[inline]
    #[must_use]
    pub fn parse(area: &[u8]) -> Self {
        let mut options = Self::default();
        options.read(area);
        options
    }

    /// Reads the option area into options that hold nothing yet.
    #[inline]
    pub(super) fn read(&mut self, area: &[u8]) {
        match area {
            [] => {}
            // What almost every segment of an established connection looks like.
            &[NOP, NOP, TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3] => {
                let value = u32::from_be_bytes([v0, v1, v2, v3]);
                let echo = u32::from_be_bytes([e0, e1, e2, e3]);
                self.timestamps = Some((value, echo));
            }
            _ => self.parse_all(area),
        }
    }

    #[inline(never)]
    fn parse_all(&mut self, mut area: &[u8]) {
        while let &[kind, ref rest @ ..] = area {
            match kind {
                END => return,
                NOP => area = rest,
                _ => {
                    let len = rest.first().map_or(0, |len| usize::from(*len));
                    let Some((body, next)) =
                        len.checked_sub(2).and_then(|len| rest.get(1..)?.split_at_checked(len))
                    else {
                        self.malformed = true;
                        return;
                    };
                    self.parse_one(kind, body);
                    area = next;
                }
            }
        }
    }

    fn parse_one(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                self.timestamps =
                    Some((u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([e0, e1, e2, e3])));
            }
            (SACK, body) => self.parse_sack(body),
            (USER_TIMEOUT, &[a, b]) => {
                let word = u16::from_be_bytes([a, b]);
                self.user_timeout = Some(UserTimeout { minutes: word & 0x8000 != 0, value: word & 0x7fff });
            }
            (ORDER_0 | ORDER_1, body) => match AccurateEcn::parse(kind, body) {
                None => self.malformed = true,
                option => self.accurate_ecn = option,
            },
            (FAST_OPEN, cookie) => self.parse_fast_open(cookie, false),
            (EXPERIMENT, [n0, n1, cookie @ ..]) if [*n0, *n1] == FAST_OPEN_NUMBER => {
                self.parse_fast_open(cookie, true);
            }
            (MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS | USER_TIMEOUT, _) => self.malformed = true,
            _ => {}
        }
    }

    fn parse_fast_open(&mut self, cookie: &[u8], experimental: bool) {
        match FastOpen::new(cookie, experimental) {
            None => self.malformed = true,
            option => self.fast_open = option,
        }
    }

    fn parse_sack(&mut self, body: &[u8]) {
        let (blocks, rest) = body.as_chunks::<8>();
        if blocks.is_empty() || !rest.is_empty() {
            self.malformed = true;
            return;
        }
        self.sack = SackBlocks::new();
        for &[s0, s1, s2, s3, e0, e1, e2, e3] in blocks {
            let start = SeqNumber(u32::from_be_bytes([s0, s1, s2, s3]));
            let end = SeqNumber(u32::from_be_bytes([e0, e1, e2, e3]));
            // More than four cannot stand in a header.
            if !self.sack.push(start, end) {
                return;
            }
        }
    }

    /// Bytes of all options but SACK, padded: 0..=36.
    #[inline]
    const fn len_without_sack(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let timestamps = if self.timestamps.is_some() { 12 } else { 0 };
        // Together with the timestamps, SACK-permitted takes the place of their two no-operations.
        let permitted = if self.sack_permitted && self.timestamps.is_none() { 4 } else { 0 };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        let user_timeout = if self.user_timeout.is_some() { 4 } else { 0 };
        let ecn = match &self.accurate_ecn {
            Some(option) => option.emitted_len(),
            None => 0,
        };
        mss + timestamps + permitted + scale + user_timeout + ecn
    }

    /// How many SACK blocks fit beside the other options: 0..=4, at most 3 beside timestamps.
    #[inline]
    #[must_use]
    pub const fn sack_room(&self) -> usize {
        let room = (MAX_OPTIONS_LEN - 4).saturating_sub(self.len_without_sack()) / 8;
        if room < MAX_SACK_BLOCKS { room } else { MAX_SACK_BLOCKS }
    }

    /// Number of SACK blocks that will be written.
    #[inline]
    const fn sack_emitted(&self) -> usize {
        if self.sack.is_empty() {
            return 0;
        }
        let room = self.sack_room();
        if self.sack.len() < room { self.sack.len() } else { room }
    }

    /// Bytes of the Fast Open option, if it will be written.
    #[inline]
    const fn fast_open_emitted(&self) -> usize {
        match &self.fast_open {
            Some(option)
                if self.sack_emitted() == 0
                    && self.len_without_sack() + option.emitted_len() <= MAX_OPTIONS_LEN =>
            {
                option.emitted_len()
            }
            _ => 0,
        }
    }

    /// Bytes that the options take in a header, padded: 0..=40, a multiple of 4.
    #[inline]
    #[must_use]
    pub const fn emitted_len(&self) -> usize {
        let sack = match self.sack_emitted() {
            0 => 0,
            blocks => 4 + 8 * blocks,
        };
        self.len_without_sack() + sack + self.fast_open_emitted()
    }

    /// Writes the options to `area`, which is `emitted_len` bytes long. Gives the sum of its words in native order.
    #[inline]
    pub(super) fn emit(&self, area: &mut [u8]) -> u64 {
        if area.is_empty() {
            return 0;
        }
        // What almost every segment of an established connection carries.
        if let (Ok(area), Some((val, ecr))) = (<&mut [u8; 12]>::try_from(&mut *area), self.timestamps) {
            return emit_timestamps(area, self.sack_permitted, val, ecr);
        }
        self.emit_all(area)
    }

    fn emit_all(&self, area: &mut [u8]) -> u64 {
        let mut sum = 0;
        let mut words = area.as_chunks_mut::<4>().0.iter_mut();
        let mut put = |word: [u8; 4]| {
            if let Some(slot) = words.next() {
                *slot = word;
                sum += u64::from(u32::from_ne_bytes(word));
            }
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put([MSS, 4, a, b]);
        }
        if let Some((val, ecr)) = self.timestamps {
            let [a, b] = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
            put([a, b, TIMESTAMPS, 10]);
            put(val.to_be_bytes());
            put(ecr.to_be_bytes());
        }
        if let Some(option) = &self.accurate_ecn {
            option.words().for_each(&mut put);
        }
        if self.timestamps.is_none() && self.sack_permitted {
            put([NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            put([NOP, WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_emitted();
        if blocks > 0 {
            put([NOP, NOP, SACK, 2 + 8 * blocks as u8]);
            for (start, end) in self.sack.iter().take(blocks) {
                put(start.0.to_be_bytes());
                put(end.0.to_be_bytes());
            }
        }
        if let Some(UserTimeout { minutes, value }) = self.user_timeout {
            let [a, b] = (u16::from(minutes) << 15 | value & 0x7fff).to_be_bytes();
            put([USER_TIMEOUT, 4, a, b]);
        }
        if self.fast_open_emitted() > 0 {
            self.fast_open.iter().flat_map(FastOpen::words).for_each(put);
        }
        sum
    }
}

//! The states that were seen: ten bytes each, and a little room.

/// Parts of the table, which grow one after the other, so that growing takes little more memory than the table itself.
const SHARDS: usize = 256;
/// Places of a shard at the beginning.
const FIRST: usize = 64;
/// Set in a mask when the fair schedule from the state is known to end.
const WALKED: u16 = 1 << 15;

/// A set of 64-bit digests, with 15 bits that say with which budgets a state was explored, and one for the fair schedule.
#[derive(Debug)]
pub(crate) struct Seen {
    shards: Vec<Shard>,
    len: usize,
}

#[derive(Debug)]
struct Shard {
    /// A digest; zero for none.
    digests: Vec<u64>,
    masks: Vec<u16>,
    used: usize,
}

impl Shard {
    fn new(places: usize) -> Self {
        Self { digests: vec![0; places], masks: vec![0; places], used: 0 }
    }

    /// The place of a digest, or the free one where it belongs.
    fn place(&self, digest: u64) -> usize {
        let places = self.digests.len();
        // The low half finds the place: the high bits chose the shard.
        let mut at = ((digest & 0xffff_ffff) as usize * places) >> 32;
        while self.digests[at] != digest && self.digests[at] != 0 {
            at = if at + 1 == places { 0 } else { at + 1 };
        }
        at
    }

    fn grow(&mut self) {
        let mut wider = Self::new(self.digests.len() * 3 / 2);
        for (digest, mask) in self.digests.iter().zip(&self.masks).filter(|(digest, _)| **digest != 0) {
            let at = wider.place(*digest);
            (wider.digests[at], wider.masks[at]) = (*digest, *mask);
        }
        wider.used = self.used;
        *self = wider;
    }
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::new(FIRST)).collect(), len: 0 }
    }

    /// Distinct digests.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the table takes.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.digests.len() * 10).sum()
    }

    fn mask(&mut self, digest: u64) -> &mut u16 {
        let digest = digest.max(1);
        let shard = &mut self.shards[(digest >> 56) as usize];
        let mut at = shard.place(digest);
        if shard.digests[at] == 0 {
            if shard.used * 8 >= shard.digests.len() * 7 {
                shard.grow();
                at = shard.place(digest);
            }
            shard.digests[at] = digest;
            shard.used += 1;
            self.len += 1;
        }
        &mut shard.masks[at]
    }

    /// Notes that a state is explored with the budgets of `covers`, of which `own` is the widest. Whether that is new.
    pub(crate) fn visit(&mut self, digest: u64, own: u16, covers: u16) -> bool {
        let mask = self.mask(digest);
        let new = *mask & own == 0;
        *mask |= covers;
        new
    }

    /// Notes that the fair schedule passes here. Whether that is new.
    pub(crate) fn walk(&mut self, digest: u64) -> bool {
        let mask = self.mask(digest);
        let new = *mask & WALKED == 0;
        *mask |= WALKED;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scatters a number.
    fn digest(n: u64) -> u64 {
        ((u128::from(n + 1) * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED) >> 40) as u64
    }

    #[test]
    fn a_digest_is_new_once_for_each_budget_that_is_not_covered() {
        let mut seen = Seen::new();
        for n in 0..100_000 {
            assert!(seen.visit(digest(n), 0b10, 0b11), "{n}");
        }
        for n in 0..100_000 {
            assert!(!seen.visit(digest(n), 0b01, 0b01) && !seen.visit(digest(n), 0b10, 0b11), "{n}");
            assert!(seen.visit(digest(n), 0b100, 0b111), "a wider budget is new");
            assert!(seen.walk(digest(n)) && !seen.walk(digest(n)));
        }
        assert_eq!(seen.len(), 100_000);
        assert!(seen.bytes() < 100_000 * 18, "{}", seen.bytes());
    }
}

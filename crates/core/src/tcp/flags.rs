//! The flags of a connection, kept so that the processor can follow.

use super::tcb::Is;

/// A set of [`Is`] in which each byte is read and written by itself. Setting a bit of a word is compiled to a write of
/// one byte, and a read of the whole word soon after it has to wait until every earlier write has left the store buffer:
/// behind the copy of a segment's text that is some 70 cycles. And what is so already is not
/// written again, for reads that the compiler makes wider all the same.
#[derive(Clone, Debug)]
pub(crate) struct Held([u8; 4]);

impl Held {
    pub(crate) const fn new(flags: Is) -> Self {
        Self(flags.bits().to_le_bytes())
    }

    pub(crate) const fn get(&self) -> Is {
        Is::from_bits_retain(u32::from_le_bytes(self.0))
    }

    #[inline(always)]
    fn each(&mut self, flags: Is, change: impl Fn(u8, u8) -> u8) {
        for (held, mask) in self.0.iter_mut().zip(flags.bits().to_le_bytes()) {
            let new = change(*held, mask);
            if mask != 0 && new != *held {
                *held = new;
            }
        }
    }

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub(crate) fn contains(&self, flags: Is) -> bool {
        self.0.iter().zip(flags.bits().to_le_bytes()).all(|(held, mask)| mask == 0 || held & mask == mask)
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    pub(crate) fn intersects(&self, flags: Is) -> bool {
        self.0.iter().zip(flags.bits().to_le_bytes()).any(|(held, mask)| mask != 0 && held & mask != 0)
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, flags: Is) {
        self.each(flags, |held, mask| held | mask);
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, flags: Is) {
        self.each(flags, |held, mask| held & !mask);
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, flags: Is, on: bool) {
        self.each(flags, |held, mask| if on { held | mask } else { held & !mask });
    }
}

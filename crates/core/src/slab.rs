//! A paged slab: stable `u32` indices, handles that notice reuse, and growth that moves nothing.
//!
//! Page 0 and 1 hold one entry each, every next page as many as all before it, up to 256; from then
//! on all pages hold 256. So a stack with one connection stays small (and cheap to clone), and a
//! stack with a million wastes less than one page.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};

const PAGE: usize = 256;
/// Pages that together hold the first `PAGE` entries: sizes 1, 1, 2, 4, ... 128.
const SMALL_PAGES: usize = PAGE.trailing_zeros() as usize + 1;
/// End of the free list; also the one index that is never handed out.
const NIL: u32 = u32::MAX;

/// A handle to an entry. Once the entry is removed, the handle matches nothing, even when the slot is
/// used again (until the slot has been reused 2^32 - 1 times).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key(NonZeroU64);

impl Key {
    /// The generation in the upper half, the slot in the lower: one word, which is stored and loaded as one.
    #[inline]
    fn new(index: u32, generation: NonZeroU32) -> Self {
        let generation = NonZeroU64::from(generation);
        // Neither the shift nor the slot makes it zero: the generation has its bits in the upper half.
        Key(NonZeroU64::new(generation.get() << 32 | u64::from(index)).unwrap_or(generation))
    }

    /// The slot's number: small, dense, reused after removal.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0.get() as u32
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// Both halves in one number, for timers and other tables keyed by `u64`.
    #[inline]
    pub(crate) fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The inverse of [`Key::to_u64`]; `None` for a number that no key has.
    #[inline]
    pub(crate) fn from_u64(bits: u64) -> Option<Key> {
        let generation = NonZeroU32::new((bits >> 32) as u32)?;
        Some(Key::new(bits as u32, generation))
    }
}

/// `Used` keeps its generation where zero tells `Free` apart, so an entry costs 4 bytes more than a
/// `T` of alignment 4 (and 8 bytes more than one of alignment 8).
#[derive(Clone, Debug)]
enum Slot<T> {
    Used { generation: NonZeroU32, value: T },
    Free { next: u32, generation: u32 },
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    pages: Vec<Box<[Slot<T>]>>,
    free: u32,
    len: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Page number and position within the page of a slot.
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let index = index as usize;
    if index >= PAGE {
        return (SMALL_PAGES - 1 + index / PAGE, index % PAGE);
    }
    let bits = (usize::BITS - index.leading_zeros()) as usize;
    (bits, if bits == 0 { 0 } else { index - (1 << (bits - 1)) })
}

/// First index of a page, and how many entries it has.
fn page_bounds(page: usize) -> (usize, usize) {
    if page == 0 {
        (0, 1)
    } else if page < SMALL_PAGES {
        (1 << (page - 1), 1 << (page - 1))
    } else {
        ((page - SMALL_PAGES + 1) * PAGE, PAGE)
    }
}

impl<T> Slab<T> {
    /// An empty slab; allocates nothing.
    pub(crate) const fn new() -> Self {
        Slab { pages: Vec::new(), free: NIL, len: 0 }
    }

    /// Number of entries in use.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Number of slots that exist, in use or free.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        if self.pages.is_empty() { 0 } else { page_bounds(self.pages.len()).0 }
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let (page, at) = locate(index);
        self.pages.get(page)?.get(at)
    }

    #[inline]
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let (page, at) = locate(index);
        self.pages.get_mut(page)?.get_mut(at)
    }

    /// Adds a page and chains its slots so that the lowest index is handed out first.
    fn grow(&mut self) {
        let (first, size) = page_bounds(self.pages.len());
        let last = first + size - 1;
        let end = u32::try_from(last).ok().filter(|&end| end != NIL);
        // 2^32 entries are beyond any memory that this runs in; the limits of the stack lie far below.
        let end = end.expect("a slab holds fewer than 2^32 - 1 entries");
        let page = (first as u32..=end)
            .map(|index| Slot::Free { next: if index == end { NIL } else { index + 1 }, generation: 0 })
            .collect();
        self.pages.push(page);
        self.free = first as u32;
    }

    /// Stores `value` in a free slot (the one freed last, else the lowest new one).
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Stores what `make` returns, which may keep its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        if self.free == NIL {
            self.grow();
        }
        let index = self.free;
        let mut generation = NonZeroU32::MIN;
        let mut next = NIL;
        if let Some(slot) = self.slot_mut(index) {
            if let Slot::Free { next: after, generation: last } = *slot {
                generation = NonZeroU32::new(last.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
                next = after;
            }
            *slot = Slot::Used { generation, value: make(Key::new(index, generation)) };
        }
        self.free = next;
        self.len += 1;
        Key::new(index, generation)
    }

    /// The entry behind `key`, unless it was removed.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slot(key.index())? {
            Slot::Used { generation, value } if generation.get() == key.generation() => Some(value),
            _ => None,
        }
    }

    /// The entry behind `key`, unless it was removed.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slot_mut(key.index())? {
            Slot::Used { generation, value } if generation.get() == key.generation() => Some(value),
            _ => None,
        }
    }

    /// The entry in slot `index`, whoever it belongs to.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        match self.slot(index)? {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The entry in slot `index`, whoever it belongs to.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slot_mut(index)? {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The handle of the entry in slot `index`.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key> {
        match *self.slot(index)? {
            Slot::Used { generation, .. } => Some(Key::new(index, generation)),
            Slot::Free { .. } => None,
        }
    }

    /// Takes the entry out; its handles match nothing from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let free = self.free;
        let slot = self.slot_mut(key.index())?;
        match slot {
            Slot::Used { generation, .. } if generation.get() == key.generation() => {}
            _ => return None,
        }
        let vacant = Slot::Free { next: free, generation: key.generation() };
        match core::mem::replace(slot, vacant) {
            Slot::Used { value, .. } => {
                self.free = key.index();
                self.len -= 1;
                Some(value)
            }
            Slot::Free { .. } => None,
        }
    }

    /// Drops the entry where it lies; its handles match nothing from now on. False if it was gone.
    pub(crate) fn discard(&mut self, key: Key) -> bool {
        let free = self.free;
        let Some(slot) = self.slot_mut(key.index()) else { return false };
        match slot {
            Slot::Used { generation, .. } if generation.get() == key.generation() => {}
            _ => return false,
        }
        *slot = Slot::Free { next: free, generation: key.generation() };
        self.free = key.index();
        self.len -= 1;
        true
    }

    /// All entries in the order of their indices. Cost: one step for each slot, used or free.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.pages.iter().flat_map(|page| page.iter()).enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used { generation, value } => Some((Key::new(index as u32, *generation), value)),
            Slot::Free { .. } => None,
        })
    }

    /// All entries in the order of their indices, to change them in place.
    #[cfg(test)]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.pages.iter_mut().flat_map(|page| page.iter_mut()).enumerate().filter_map(|(index, slot)| {
            match slot {
                Slot::Used { generation, value } => Some((Key::new(index as u32, *generation), value)),
                Slot::Free { .. } => None,
            }
        })
    }
}

#[cfg(test)]
mod tests;

//! A global allocator that counts what is alive: the measure of [`crate::memory`].
//!
//! It counts the bytes that were asked for; what the system's allocator adds to each block is not in the figure, so
//! the number of blocks is given with it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// The system's allocator with counters, which stand still until [`Counting::start`].
pub struct Counting {
    on: AtomicBool,
    bytes: AtomicI64,
    blocks: AtomicI64,
    peak: AtomicI64,
}

/// What was alive at one moment, relative to [`Counting::start`].
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Bytes asked for and not given back.
    pub bytes: i64,
    /// Blocks not given back.
    pub blocks: i64,
    /// The most bytes so far.
    pub peak: i64,
}

impl Counting {
    /// An allocator that does not count yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            on: AtomicBool::new(false),
            bytes: AtomicI64::new(0),
            blocks: AtomicI64::new(0),
            peak: AtomicI64::new(0),
        }
    }

    /// Sets the counters to zero and counts from here on.
    pub fn start(&self) {
        self.bytes.store(0, Relaxed);
        self.blocks.store(0, Relaxed);
        self.peak.store(0, Relaxed);
        self.on.store(true, Relaxed);
    }

    /// What is alive now.
    #[must_use]
    pub fn live(&self) -> Live {
        Live {
            bytes: self.bytes.load(Relaxed),
            blocks: self.blocks.load(Relaxed),
            peak: self.peak.load(Relaxed),
        }
    }

    /// Stops counting.
    pub fn stop(&self) {
        self.on.store(false, Relaxed);
    }

    fn count(&self, bytes: i64, blocks: i64) {
        if self.on.load(Relaxed) {
            let live = self.bytes.fetch_add(bytes, Relaxed) + bytes;
            self.blocks.fetch_add(blocks, Relaxed);
            self.peak.fetch_max(live, Relaxed);
        }
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

/// A layout's size as a signed number; layouts are at most `isize::MAX` bytes long.
fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[allow(unsafe_code)]
mod global {
    use super::{Counting, GlobalAlloc, Layout, System, signed};

    // SAFETY: every call goes to the system's allocator with the caller's own arguments, and its result is handed
    // back unchanged; the counters touch no memory that is handed out and allocate nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.count(signed(layout.size()), 1);
            // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is the same for `System`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.count(-signed(layout.size()), -1);
            // SAFETY: `block` came from `System` through this allocator, with this layout.
            unsafe { System.dealloc(block, layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            self.count(signed(layout.size()), 1);
            // SAFETY: as for `alloc`.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            self.count(signed(new_size) - signed(layout.size()), 0);
            // SAFETY: `block` came from `System` through this allocator, with this layout; the caller vouches for
            // the new size.
            unsafe { System.realloc(block, layout, new_size) }
        }
    }
}

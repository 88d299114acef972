//! The chunks of a stack and the limit on them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Bytes in a chunk.
pub(crate) const CHUNK_SIZE: usize = 16_384;

/// A piece of buffer memory. A recycled chunk still holds old bytes; the buffers show only bytes that
/// were written since.
pub(crate) type Chunk = Box<Bytes>;

/// Memory that starts at a cache line: long copies into it are faster.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Bytes([u8; CHUNK_SIZE]);

impl Deref for Bytes {
    type Target = [u8; CHUNK_SIZE];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Bytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Free chunks that are kept for the next taker instead of going back to the allocator (4 MiB).
const CACHED: usize = 256;

/// Hands out chunks up to a limit and takes them back.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    cache: Vec<Chunk>,
    taken: usize,
    limit: usize,
    refused: u64,
}

impl ChunkPool {
    /// A pool that has at most `limit` bytes handed out at a time (rounded down to whole chunks).
    pub(crate) const fn new(limit: usize) -> Self {
        ChunkPool { cache: Vec::new(), taken: 0, limit, refused: 0 }
    }

    /// A chunk with unspecified contents, or `None` at the limit.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        if self.is_exhausted() {
            self.refused += 1;
            return None;
        }
        let chunk = match self.cache.pop() {
            Some(chunk) => chunk,
            None => Box::new(Bytes([0; CHUNK_SIZE])),
        };
        self.taken += 1;
        Some(chunk)
    }

    /// There is no chunk to be had because of the limit.
    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.limit.saturating_sub(self.allocated()) < CHUNK_SIZE
    }

    /// Takes back a chunk that [`ChunkPool::take`] has handed out.
    #[inline]
    pub(crate) fn give(&mut self, chunk: Chunk) {
        self.taken = self.taken.saturating_sub(1);
        if self.cache.len() < CACHED {
            self.cache.push(chunk);
        }
    }

    /// Bytes in chunks that are handed out.
    pub(crate) fn allocated(&self) -> usize {
        self.taken * CHUNK_SIZE
    }

    /// How often there was no chunk to be had because of the limit.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// The most bytes that may be handed out at a time.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

/// A clone counts the same chunks as handed out (the buffers are cloned with them) and starts without
/// a cache, so that copying a stack copies no unused memory.
impl Clone for ChunkPool {
    fn clone(&self) -> Self {
        ChunkPool { cache: Vec::new(), taken: self.taken, limit: self.limit, refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_handed_out_beyond_the_limit() {
        let mut pool = ChunkPool::new(2 * CHUNK_SIZE + 1);
        let first = pool.take().unwrap();
        let _second = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert_eq!((pool.allocated(), pool.refused()), (2 * CHUNK_SIZE, 1));
        pool.give(first);
        assert!(pool.take().is_some());
    }

    #[test]
    fn cache_of_free_chunks_is_bounded_and_not_cloned() {
        let mut pool = ChunkPool::new(usize::MAX);
        let chunks: Vec<Chunk> = (0..CACHED + 10).filter_map(|_| pool.take()).collect();
        assert_eq!(chunks.len(), CACHED + 10);
        chunks.into_iter().for_each(|chunk| pool.give(chunk));
        assert_eq!((pool.cache.len(), pool.allocated()), (CACHED, 0));
        assert!(pool.clone().cache.is_empty());
    }
}

//! Byte stores of a connection: chunks from a pool, taken where bytes land and given back when read
//! or acknowledged.
//!
//! Both buffers are addressed by *stream offset*: a `u64` that counts the bytes of one direction and
//! never wraps (the connection maps sequence numbers to it). Chunk number `n` holds the offsets from
//! `n * CHUNK_SIZE` on, so growing a buffer moves nothing and an empty one holds nothing.

mod pool;
mod recv;
mod send;

pub(crate) use pool::{CHUNK_SIZE, Chunk, ChunkPool};
pub(crate) use recv::RecvBuffer;
pub(crate) use send::SendBuffer;

use crate::queue::Queue;

/// Chunk index lists of at most this many entries are kept when a buffer runs empty.
const KEEP_INDEX: usize = 4;

/// The number of the chunk that holds `offset`.
#[inline]
fn chunk_number(offset: u64) -> u64 {
    offset / CHUNK_SIZE as u64
}

/// Where in its chunk `offset` lies.
#[inline]
fn chunk_position(offset: u64) -> usize {
    (offset % CHUNK_SIZE as u64) as usize
}

/// Lets go of a large index once it is empty: an idle connection holds no memory for past bursts.
#[inline]
fn shrink_index(chunks: &mut Queue<Chunk>) {
    if chunks.is_empty() {
        chunks.shrink_idle(KEEP_INDEX);
    }
}

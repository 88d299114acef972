//! The send buffer: bytes from the application until the peer has acknowledged them.

use super::{CHUNK_SIZE, Chunk, ChunkPool, chunk_number, chunk_position, shrink_index};
use crate::queue::Queue;
use lastack_wire::checksum::Sum;

/// A queue of bytes addressed by stream offset, for sending and sending again.
///
/// Chunks are held for the numbers from that of `start` up to the one with the last byte, no others.
#[derive(Clone, Debug)]
pub(crate) struct SendBuffer {
    chunks: Queue<Chunk>,
    start: u64,
    end: u64,
}

impl SendBuffer {
    /// An empty buffer whose first byte will have the offset `start`.
    pub(crate) const fn new(start: u64) -> Self {
        SendBuffer { chunks: Queue::new(), start, end: start }
    }

    /// Bytes held: not yet acknowledged, sent or not.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte is held.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Offset of the first byte held.
    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Offset after the last byte held.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Chunks held.
    #[cfg(test)]
    pub(crate) fn chunks_held(&self) -> usize {
        self.chunks.len()
    }

    /// Appends as much of `data` as the pool has room for and returns how much that was.
    pub(crate) fn push(&mut self, pool: &mut ChunkPool, data: &[u8]) -> usize {
        let mut rest = data;
        while !rest.is_empty() {
            let at = chunk_position(self.end);
            if self.chunk_index(self.end) == self.chunks.len() {
                let Some(chunk) = pool.take() else { break };
                self.chunks.push_back(chunk);
            }
            let Some(chunk) = self.chunks.back_mut() else { break };
            let (now, later) = rest.split_at(rest.len().min(CHUNK_SIZE - at));
            chunk[at..at + now.len()].copy_from_slice(now);
            self.end += now.len() as u64;
            rest = later;
        }
        data.len() - rest.len()
    }

    /// Copies the bytes from `offset` on into `dst`; returns how many there were. Nothing is copied
    /// from before the first or after the last byte held.
    pub(crate) fn copy_out(&self, offset: u64, dst: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices(offset, dst.len()) {
            dst[done..done + slice.len()].copy_from_slice(slice);
            done += slice.len();
        }
        done
    }

    /// As [`SendBuffer::copy_out`], and adds what was copied to `sum`.
    pub(crate) fn copy_out_summed(&self, offset: u64, dst: &mut [u8], sum: &mut Sum) {
        let mut rest = dst;
        for slice in self.slices(offset, rest.len()) {
            let Some((now, later)) = rest.split_at_mut_checked(slice.len()) else { return };
            sum.copy_bytes(slice, now);
            rest = later;
        }
    }

    /// The bytes from `offset` on, at most `len` of them, as the pieces they are stored in.
    pub(crate) fn slices(&self, offset: u64, len: usize) -> impl Iterator<Item = &[u8]> {
        let end = offset.saturating_add(len as u64).min(self.end);
        let mut at = if offset < self.start { end } else { offset };
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let from = chunk_position(at);
            let len = (CHUNK_SIZE - from).min((end - at) as usize);
            let slice = self.chunks.get(self.chunk_index(at))?.get(from..from + len)?;
            at += len as u64;
            Some(slice)
        })
    }

    /// The last `len` bytes, if they stand in one piece; else nothing.
    #[inline]
    pub(crate) fn last(&self, len: usize) -> &[u8] {
        let end = chunk_position(self.end.wrapping_sub(1)).wrapping_add(1);
        let from = if len <= self.len() { end.checked_sub(len) } else { None };
        let text = from.and_then(|from| self.chunks.back()?.get(from..end));
        text.unwrap_or_default()
    }

    /// Lets go of all bytes before the offset `up_to` (clamped to what is held).
    pub(crate) fn release(&mut self, pool: &mut ChunkPool, up_to: u64) {
        let up_to = up_to.clamp(self.start, self.end);
        let passed = self.chunk_index(up_to);
        self.start = up_to;
        let gone = if self.is_empty() { self.chunks.len() } else { passed };
        for _ in 0..gone {
            let Some(chunk) = self.chunks.pop_front() else { break };
            pool.give(chunk);
        }
        shrink_index(&mut self.chunks);
    }

    /// Feeds all bytes held to `state`.
    pub(crate) fn fingerprint(&self, state: &mut impl core::hash::Hasher) {
        state.write_usize(self.len());
        self.slices(self.start(), self.len()).for_each(|slice| state.write(slice));
    }

    /// Lets go of everything; what is pushed next follows at the offset [`SendBuffer::end`].
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        self.release(pool, self.end);
    }

    /// Place in `chunks` of the chunk with `offset`, which is not before `start`.
    #[inline]
    fn chunk_index(&self, offset: u64) -> usize {
        (chunk_number(offset) - chunk_number(self.start)) as usize
    }
}

#[cfg(test)]
mod tests;

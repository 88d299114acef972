//! The receive buffer: bytes from the peer until the application has read them, in any order of
//! arrival.

use super::{CHUNK_SIZE, Chunk, ChunkPool, chunk_number, chunk_position, shrink_index};
use crate::queue::Queue;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use lastack_wire::checksum::Sum;

/// What [`RecvBuffer::insert`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Insert {
    /// Bytes stored that were not there before.
    pub(crate) stored: usize,
    /// How far [`RecvBuffer::contiguous_end`] moved.
    pub(crate) advanced: u64,
    /// The first part of the data that was there already, `(from, to)`: what a D-SACK block reports
    /// (RFC 2883).
    pub(crate) duplicate: Option<(u64, u64)>,
    /// New bytes not stored, because the pool is at its limit or a range too many would arise.
    pub(crate) dropped: usize,
}

/// A receive ring addressed by stream offset: bytes in order, ready to read, and beyond them ranges
/// that arrived early and wait in place.
///
/// The first arrival of a byte wins, so what was once acknowledged never changes. A byte that arrives
/// far ahead costs one chunk. A range costs 16 bytes beside its chunks, and the caller bounds their number.
#[derive(Clone, Debug)]
pub(crate) struct RecvBuffer {
    read_pos: u64,
    contiguous_end: u64,
    /// Chunks without a gap in their numbers, from the one of `read_pos` on. All readable bytes are
    /// here, and so is most early data behind a short hole.
    chunks: Queue<Chunk>,
    /// Present only while early data is held.
    early: Option<Box<Early>>,
}

#[derive(Clone, Debug, Default)]
struct Early {
    /// Sorted, disjoint, not touching each other or `contiguous_end`.
    ranges: Vec<(u64, u64)>,
    /// Chunks by number, where `RecvBuffer::chunks` does not reach.
    far: BTreeMap<u64, Chunk>,
    bytes: usize,
}

impl RecvBuffer {
    /// An empty buffer whose first byte will have the offset `start`.
    pub(crate) const fn new(start: u64) -> Self {
        RecvBuffer { read_pos: start, contiguous_end: start, chunks: Queue::new(), early: None }
    }

    /// Offset of the next byte to read.
    #[inline]
    pub(crate) fn read_pos(&self) -> u64 {
        self.read_pos
    }

    /// Offset after the last byte that arrived in order: what an acknowledgement says.
    #[inline]
    pub(crate) fn contiguous_end(&self) -> u64 {
        self.contiguous_end
    }

    /// Bytes that can be read now.
    #[inline]
    pub(crate) fn readable(&self) -> usize {
        (self.contiguous_end - self.read_pos) as usize
    }

    /// Bytes held, those out of order included.
    pub(crate) fn bytes_held(&self) -> usize {
        self.readable() + self.early.as_ref().map_or(0, |early| early.bytes)
    }

    /// Chunks held.
    #[cfg(test)]
    pub(crate) fn chunks_held(&self) -> usize {
        self.chunks.len() + self.early.as_ref().map_or(0, |early| early.far.len())
    }

    /// The ranges `(from, to)` that arrived out of order: sorted, with gaps between them.
    #[inline]
    pub(crate) fn ranges(&self) -> &[(u64, u64)] {
        self.early.as_ref().map_or(&[], |early| &early.ranges)
    }

    /// The out-of-order range with the byte at `offset`.
    pub(crate) fn range_containing(&self, offset: u64) -> Option<(u64, u64)> {
        let ranges = self.ranges();
        let at = ranges.partition_point(|range| range.1 <= offset);
        ranges.get(at).copied().filter(|range| range.0 <= offset)
    }

    /// Stores what is new in `data`, whose first byte has the offset `offset`.
    ///
    /// The caller has trimmed `data` to the receive window. Data that would start another out-of-order
    /// range when there are `max_ranges` is dropped; data in order or next to a range is always taken.
    pub(crate) fn insert(
        &mut self,
        pool: &mut ChunkPool,
        offset: u64,
        data: &[u8],
        max_ranges: usize,
    ) -> Insert {
        let old_end = self.contiguous_end;
        let mut result = Insert::default();
        let (mut offset, mut data) = (offset, data);
        if offset < old_end && !data.is_empty() {
            let known = (data.len() as u64).min(old_end - offset);
            result.duplicate = Some((offset, offset + known));
            offset += known;
            data = &data[known as usize..];
        }
        if data.is_empty() || offset.checked_add(data.len() as u64).is_none() {
            return result;
        }
        if offset == old_end && self.early.is_none() {
            result.stored = self.append(pool, data);
            result.dropped = data.len() - result.stored;
        } else {
            self.insert_between(pool, offset, data, max_ranges, &mut result);
        }
        result.advanced = self.contiguous_end - old_end;
        result
    }

    /// Writes data that may be what comes next in order, whose checksum is still to be looked at, and adds it to `sum`. It
    /// does not count until [`RecvBuffer::take_placed`]; [`RecvBuffer::trim`] gives its memory back. Returns how much was
    /// written: 0 while early data is held, less than all at the pool's limit. All of it is added.
    pub(crate) fn place(&mut self, pool: &mut ChunkPool, data: &[u8], sum: &mut Sum) -> usize {
        let base = chunk_number(self.read_pos);
        let mut rest = data;
        while self.early.is_none() && !rest.is_empty() {
            let offset = self.contiguous_end + (data.len() - rest.len()) as u64;
            let index = (chunk_number(offset) - base) as usize;
            if index >= self.chunks.len() {
                if pool.is_exhausted() {
                    // Not counted yet: nobody knows whether these bytes are any good.
                    break;
                }
                let Some(chunk) = pool.take() else { break };
                self.chunks.push_back(chunk);
            }
            let Some(chunk) = self.chunks.get_mut(index) else { break };
            let from = chunk_position(offset);
            let (now, later) = rest.split_at(rest.len().min(CHUNK_SIZE - from));
            sum.copy_bytes(now, &mut chunk[from..from + now.len()]);
            rest = later;
        }
        sum.add_bytes(rest);
        data.len() - rest.len()
    }

    /// The first `placed` bytes of `data`, which begins at `offset`, are there already: [`RecvBuffer::place`] wrote them. The
    /// rest is stored if there is memory by now. As [`RecvBuffer::insert`]; `None` if the data is not what comes next after
    /// all.
    pub(crate) fn take_placed(
        &mut self,
        pool: &mut ChunkPool,
        offset: u64,
        (placed, data): (usize, &[u8]),
    ) -> Option<Insert> {
        if placed == 0 || offset != self.contiguous_end || self.early.is_some() {
            return None;
        }
        self.contiguous_end += placed as u64;
        let mut stored = placed;
        if let Some(rest @ [_, ..]) = data.get(placed..) {
            stored += self.append(pool, rest);
        }
        Some(Insert { stored, advanced: stored as u64, duplicate: None, dropped: data.len() - stored })
    }

    /// Gives back chunks behind the last byte that counts. Not for a buffer with early data.
    pub(crate) fn trim(&mut self, pool: &mut ChunkPool) {
        let needed = match self.readable() {
            0 => 0,
            _ => chunk_number(self.contiguous_end - 1) - chunk_number(self.read_pos) + 1,
        };
        while self.chunks.len() as u64 > needed {
            let Some(chunk) = self.chunks.pop_back() else { break };
            pool.give(chunk);
        }
        shrink_index(&mut self.chunks);
    }

    /// The usual case: data in order, while nothing is held beyond it. Returns how much of it was stored: not all at the
    /// pool's limit.
    pub(crate) fn append(&mut self, pool: &mut ChunkPool, data: &[u8]) -> usize {
        let base = chunk_number(self.read_pos);
        if self.chunks.is_empty() && !data.is_empty() {
            let Some(chunk) = pool.take() else { return 0 };
            self.chunks.push_back(chunk);
        }
        let stored = match self.begun_chunk().and_then(|rest| rest.get_mut(..data.len())) {
            Some(place) => {
                place.copy_from_slice(data);
                data.len()
            }
            None => write(&mut self.chunks, None, base, pool, self.contiguous_end, data),
        };
        self.contiguous_end += stored as u64;
        stored
    }

    /// The rest of the chunk in which the next byte goes, if that is the first chunk.
    #[inline]
    fn begun_chunk(&mut self) -> Option<&mut [u8]> {
        if chunk_number(self.contiguous_end) != chunk_number(self.read_pos) {
            return None;
        }
        self.chunks.front_mut()?.get_mut(chunk_position(self.contiguous_end)..)
    }

    /// Data that is out of order, or meets data that is. `from >= contiguous_end`.
    fn insert_between(
        &mut self,
        pool: &mut ChunkPool,
        from: u64,
        data: &[u8],
        max_ranges: usize,
        result: &mut Insert,
    ) {
        let mut early = self.early.take().unwrap_or_default();
        let end = from + data.len() as u64;
        let first = early.ranges.partition_point(|range| range.1 < from);
        let touched = early.ranges[first..].partition_point(|range| range.0 <= end);
        let in_order = from == self.contiguous_end;
        if touched == 0 && !in_order && early.ranges.len() >= max_ranges {
            result.dropped = data.len();
        } else {
            let stored_to = self.fill_gaps(pool, &mut early, from, data, first..first + touched, result);
            if stored_to > from {
                self.note_range(&mut early, from, stored_to, first);
            }
        }
        if !early.ranges.is_empty() {
            self.early = Some(early);
        }
    }

    /// Writes `data` where no byte is yet, in ascending order until the pool gives no more. Returns
    /// the offset up to which all is there.
    fn fill_gaps(
        &mut self,
        pool: &mut ChunkPool,
        early: &mut Early,
        from: u64,
        data: &[u8],
        touched: core::ops::Range<usize>,
        result: &mut Insert,
    ) -> u64 {
        let end = from + data.len() as u64;
        let base = chunk_number(self.read_pos);
        let mut at = from;
        let mut full_at = None;
        // The sentinel closes the last gap.
        let ends = early.ranges[touched].iter().copied().chain([(end, end)]);
        for (start, stop) in ends {
            let gap = at..start.clamp(at, end);
            let bytes = &data[(gap.start - from) as usize..(gap.end - from) as usize];
            let mut stored = 0;
            if full_at.is_none() {
                stored = write(&mut self.chunks, Some(&mut early.far), base, pool, at, bytes);
                if stored < bytes.len() {
                    full_at = Some(at + stored as u64);
                }
            }
            result.stored += stored;
            result.dropped += bytes.len() - stored;
            let known = (gap.end.max(start), stop.min(end));
            if known.0 < known.1 {
                result.duplicate.get_or_insert(known);
            }
            at = at.max(stop.min(end)).max(gap.end);
        }
        early.bytes += result.stored;
        full_at.unwrap_or(end)
    }

    /// Enters `from..to` into the ranges, or moves `contiguous_end` over it and what follows. Ranges
    /// from number `first` on may touch it.
    fn note_range(&mut self, early: &mut Early, from: u64, to: u64, first: usize) {
        let touched = early.ranges[first..].partition_point(|range| range.0 <= to);
        let old = &early.ranges[first..first + touched];
        let start = old.first().map_or(from, |range| range.0.min(from));
        let end = old.last().map_or(to, |range| range.1.max(to));
        if from != self.contiguous_end {
            match touched {
                0 => early.ranges.insert(first, (start, end)),
                _ => {
                    early.ranges[first] = (start, end);
                    early.ranges.drain(first + 1..first + touched);
                }
            }
            return;
        }
        early.ranges.drain(first..first + touched);
        early.bytes = early.bytes.saturating_sub((end - from) as usize);
        self.contiguous_end = end;
        // Readable chunks live in `chunks`.
        let base = chunk_number(self.read_pos);
        while base + (self.chunks.len() as u64) <= chunk_number(end - 1) {
            let Some(chunk) = early.far.remove(&(base + self.chunks.len() as u64)) else { break };
            self.chunks.push_back(chunk);
        }
    }

    /// Moves readable bytes into `dst` and returns how many there were.
    pub(crate) fn read(&mut self, pool: &mut ChunkPool, dst: &mut [u8]) -> usize {
        let done = self.peek(0, dst);
        self.discard(pool, done)
    }

    /// Copies readable bytes into `dst`, from `skip` bytes after the next to read on, without taking them.
    pub(crate) fn peek(&self, skip: usize, dst: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices(skip, dst.len()) {
            dst[done..done + slice.len()].copy_from_slice(slice);
            done += slice.len();
        }
        done
    }

    /// The readable bytes from `skip` on, at most `len` of them, as the pieces they are stored in.
    pub(crate) fn slices(&self, skip: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let base = chunk_number(self.read_pos);
        let mut at = self.read_pos.saturating_add(skip as u64);
        let end = at.saturating_add(len as u64).min(self.contiguous_end);
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let from = chunk_position(at);
            let len = (CHUNK_SIZE - from).min((end - at) as usize);
            let slice = self.chunks.get((chunk_number(at) - base) as usize)?.get(from..from + len)?;
            at += len as u64;
            Some(slice)
        })
    }

    /// Drops up to `n` readable bytes unread and returns how many there were.
    pub(crate) fn discard(&mut self, pool: &mut ChunkPool, n: usize) -> usize {
        let n = n.min(self.readable());
        let passed = chunk_number(self.read_pos + n as u64) - chunk_number(self.read_pos);
        self.read_pos += n as u64;
        give_front(&mut self.chunks, pool, passed as usize);
        if self.readable() == 0 {
            self.give_back_last(pool);
        }
        n
    }

    /// All is read: gives back the chunk of `read_pos` unless early data lies in it.
    fn give_back_last(&mut self, pool: &mut ChunkPool) {
        let early_from = self.ranges().first().map_or(u64::MAX, |range| range.0);
        if self.chunks.len() == 1 && chunk_number(early_from) != chunk_number(self.read_pos) {
            give_front(&mut self.chunks, pool, 1);
        }
        shrink_index(&mut self.chunks);
    }

    /// Lets go of all that arrived out of order (the peer will send it again; RFC 2018 section 8
    /// allows it) and returns how many bytes that were.
    pub(crate) fn drop_out_of_order(&mut self, pool: &mut ChunkPool) -> usize {
        let Some(early) = self.early.take() else { return 0 };
        early.far.into_values().for_each(|chunk| pool.give(chunk));
        self.trim(pool);
        early.bytes
    }

    /// Feeds all bytes held, in order or not, to `state`; offsets relative to the next byte to read.
    pub(crate) fn fingerprint(&self, state: &mut impl core::hash::Hasher) {
        let base = chunk_number(self.read_pos);
        let held = [(self.read_pos, self.contiguous_end)];
        for (from, to) in held.iter().chain(self.ranges()) {
            state.write_u64(from - self.read_pos);
            let mut at = *from;
            while at < *to {
                let (number, position) = (chunk_number(at), chunk_position(at));
                let len = (CHUNK_SIZE - position).min((to - at) as usize);
                let early = self.early.as_ref().and_then(|early| early.far.get(&number));
                let chunk = self.chunks.get((number - base) as usize).or(early);
                state.write(chunk.and_then(|chunk| chunk.get(position..position + len)).unwrap_or_default());
                at += len as u64;
            }
            state.write_u64(to - self.read_pos);
        }
    }

    /// Lets go of everything, read or not; the next byte expected stays the same.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        self.drop_out_of_order(pool);
        self.discard(pool, self.readable());
    }
}

/// Gives the first `count` chunks back.
#[inline]
fn give_front(chunks: &mut Queue<Chunk>, pool: &mut ChunkPool, count: usize) {
    for _ in 0..count {
        let Some(chunk) = chunks.pop_front() else { return };
        pool.give(chunk);
    }
}

/// Stores `data` at the offset `at`, chunk by chunk, until the pool gives no more; returns how much.
/// `chunks` holds the numbers from `base` on, `far` others; a chunk is taken where none is yet.
fn write(
    chunks: &mut Queue<Chunk>,
    mut far: Option<&mut BTreeMap<u64, Chunk>>,
    base: u64,
    pool: &mut ChunkPool,
    at: u64,
    data: &[u8],
) -> usize {
    let mut done = 0;
    while done < data.len() {
        let offset = at + done as u64;
        let number = chunk_number(offset);
        let index = (number - base) as usize;
        if index >= chunks.len() && !far.as_ref().is_some_and(|far| far.contains_key(&number)) {
            let Some(chunk) = pool.take() else { break };
            if index == chunks.len() {
                chunks.push_back(chunk);
            } else if let Some(far) = far.as_mut() {
                far.insert(number, chunk);
            } else {
                pool.give(chunk);
                break;
            }
        }
        let chunk = match chunks.get_mut(index) {
            Some(chunk) => chunk,
            None => match far.as_mut().and_then(|far| far.get_mut(&number)) {
                Some(chunk) => chunk,
                None => break,
            },
        };
        let from = chunk_position(offset);
        let len = (CHUNK_SIZE - from).min(data.len() - done);
        chunk[from..from + len].copy_from_slice(&data[done..done + len]);
        done += len;
    }
    done
}

#[cfg(test)]
mod tests;

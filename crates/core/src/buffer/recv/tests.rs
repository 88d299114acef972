use super::*;
use alloc::vec;
use proptest::prelude::*;

const C: u64 = CHUNK_SIZE as u64;

fn pool() -> ChunkPool {
    ChunkPool::new(usize::MAX)
}

/// A pool whose cached chunks are full of bytes that nobody has sent.
fn dirty_pool(limit: usize) -> ChunkPool {
    let mut pool = ChunkPool::new(limit);
    let chunks: Vec<_> = core::iter::from_fn(|| pool.take()).take(64).collect();
    for mut chunk in chunks {
        chunk.fill(0xdd);
        pool.give(chunk);
    }
    pool
}

fn read_all(buffer: &mut RecvBuffer, pool: &mut ChunkPool) -> Vec<u8> {
    let mut dst = vec![0; buffer.readable()];
    let n = buffer.read(pool, &mut dst);
    assert_eq!(n, dst.len());
    dst
}

#[test]
fn an_empty_buffer_holds_nothing() {
    assert!(size_of::<RecvBuffer>() <= 96);
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(77));
    for round in 0..3 {
        let at = buffer.contiguous_end();
        buffer.insert(&mut pool, at + 90_000, &[1; 9], 8);
        let insert = buffer.insert(&mut pool, at, &[round; 90_000], 8);
        assert_eq!((insert.advanced, insert.stored, insert.dropped), (90_009, 90_000, 0));
        assert_eq!(read_all(&mut buffer, &mut pool).len(), 90_009);
        assert_eq!((buffer.chunks_held(), pool.allocated(), buffer.bytes_held()), (0, 0, 0));
        assert!(buffer.chunks.capacity() <= 4 && buffer.early.is_none());
    }
}

#[test]
fn a_byte_at_the_far_edge_of_the_window_costs_one_chunk() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(0));
    buffer.insert(&mut pool, (1 << 30) - 1, b"x", 8);
    assert_eq!((buffer.chunks_held(), buffer.bytes_held()), (1, 1));
    assert_eq!(buffer.chunks.capacity(), 0);
    buffer.insert(&mut pool, 0, b"in order", 8);
    assert_eq!(read_all(&mut buffer, &mut pool), b"in order");
    assert_eq!((buffer.chunks_held(), pool.allocated()), (1, CHUNK_SIZE));
}

#[test]
fn first_arrival_of_a_byte_wins() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(0));
    buffer.insert(&mut pool, 2, b"CD", 8);
    let insert = buffer.insert(&mut pool, 0, b"abcdef", 8);
    assert_eq!(insert, Insert { stored: 4, advanced: 6, duplicate: Some((2, 4)), dropped: 0 });
    let again = buffer.insert(&mut pool, 0, b"ABCDEFgh", 8);
    assert_eq!(again, Insert { stored: 2, advanced: 2, duplicate: Some((0, 6)), dropped: 0 });
    assert_eq!(read_all(&mut buffer, &mut pool), b"abCDefgh");
}

#[test]
fn duplicate_is_the_first_part_already_held() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(100));
    buffer.insert(&mut pool, 110, &[1; 5], 8);
    buffer.insert(&mut pool, 120, &[1; 5], 8);
    assert_eq!(buffer.insert(&mut pool, 105, &[2; 30], 8).duplicate, Some((110, 115)));
    assert_eq!(buffer.ranges(), [(105, 135)]);
    assert_eq!(buffer.insert(&mut pool, 90, &[3; 5], 8).duplicate, Some((90, 95)));
    assert_eq!(buffer.insert(&mut pool, 120, &[3; 2], 8).duplicate, Some((120, 122)));
    assert_eq!(buffer.insert(&mut pool, 135, &[3; 2], 8).duplicate, None);
    assert_eq!(buffer.range_containing(136), Some((105, 137)));
    assert_eq!((buffer.range_containing(104), buffer.range_containing(137)), (None, None));
}

#[test]
fn a_range_too_many_is_dropped_but_neighbours_and_order_are_served() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(0));
    buffer.insert(&mut pool, 10, b"aa", 2);
    buffer.insert(&mut pool, 20, b"aa", 2);
    let refused = buffer.insert(&mut pool, 30, b"aa", 2);
    assert_eq!(refused, Insert { dropped: 2, ..Insert::default() });
    assert_eq!(buffer.insert(&mut pool, 22, b"a", 2).stored, 1);
    assert_eq!(buffer.insert(&mut pool, 12, &[b'b'; 8], 2).stored, 8);
    assert_eq!(buffer.ranges(), [(10, 23)]);
    assert_eq!(buffer.insert(&mut pool, 0, b"in order!!", 0).advanced, 23);
}

#[test]
fn at_the_pool_limit_the_part_that_fits_is_kept() {
    let mut pool = ChunkPool::new(2 * CHUNK_SIZE);
    let mut buffer = RecvBuffer::new(0);
    let early = buffer.insert(&mut pool, C + 1, &[5; 2 * CHUNK_SIZE], 8);
    assert_eq!((early.stored, early.dropped), (2 * CHUNK_SIZE - 1, CHUNK_SIZE * 2 - (2 * CHUNK_SIZE - 1)));
    assert_eq!(buffer.ranges(), [(C + 1, 3 * C)]);
    assert_eq!(buffer.insert(&mut pool, 0, &[6; 10], 8), Insert { dropped: 10, ..Insert::default() });
    assert_eq!(buffer.drop_out_of_order(&mut pool), 2 * CHUNK_SIZE - 1);
    assert_eq!((buffer.chunks_held(), pool.allocated(), buffer.bytes_held()), (0, 0, 0));
    assert_eq!(buffer.insert(&mut pool, 0, &[6; 3 * CHUNK_SIZE], 8).advanced, 2 * C);
}

#[test]
fn offsets_at_the_end_of_the_number_space_are_refused() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(0));
    assert_eq!(buffer.insert(&mut pool, u64::MAX, &[1; 2], 8), Insert::default());
}

/// CVE-2018-5390: one-byte segments at every second position of a 6 MiB window.
fn segment_smack(order: impl Iterator<Item = u64>) {
    const MAX_RANGES: usize = 1024;
    let mut pool = dirty_pool(8 << 20);
    let mut buffer = RecvBuffer::new(0);
    let mut stored = 0;
    for number in order {
        stored += buffer.insert(&mut pool, 1 + 2 * number, b"x", MAX_RANGES).stored;
        assert!(buffer.ranges().len() <= MAX_RANGES);
    }
    assert_eq!((stored, buffer.bytes_held()), (MAX_RANGES, MAX_RANGES));
    assert!(buffer.chunks_held() <= MAX_RANGES);
    let early = buffer.early.as_ref().unwrap();
    assert!(early.ranges.capacity() <= 2 * MAX_RANGES);
    // The hole fills: all is delivered, early bytes included.
    let fill = vec![b'y'; 6 << 20];
    let mut got = 0;
    for piece in fill.chunks(1460) {
        let at = buffer.contiguous_end();
        got += buffer.insert(&mut pool, at, piece, MAX_RANGES).advanced;
    }
    assert!(got >= 6 << 20);
    let data = read_all(&mut buffer, &mut pool);
    assert_eq!(data.iter().filter(|&&b| b == b'x').count(), MAX_RANGES);
    assert!(data.iter().all(|&b| b == b'x' || b == b'y'));
    assert_eq!(pool.allocated(), 0);
}

const SEGMENTS: u64 = 500_000;

#[test]
fn segment_smack_ascending_is_bounded() {
    segment_smack(0..SEGMENTS);
}

#[test]
fn segment_smack_descending_is_bounded() {
    segment_smack((0..SEGMENTS).rev());
}

#[test]
fn segment_smack_bit_reversed_is_bounded() {
    segment_smack((0..1 << 19).map(|i: u64| i.reverse_bits() >> 45).filter(|&i| i < SEGMENTS));
}

#[test]
fn segment_smack_random_is_bounded() {
    // A full-period walk over 2^19 numbers.
    let mut at = 1u64;
    segment_smack(
        core::iter::from_fn(move || {
            at = (at * 1_664_525 + 1_013_904_223) % (1 << 19);
            Some(at)
        })
        .take(1 << 19)
        .filter(|&i| i < SEGMENTS),
    );
}

/// The reference: a cell for each offset.
struct Model {
    cells: Vec<Option<u8>>,
    read: usize,
}

impl Model {
    fn end(&self) -> usize {
        let held = self.cells[self.read..].iter().take_while(|cell| cell.is_some()).count();
        self.read + held
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for at in self.end() as u64..self.cells.len() as u64 {
            if self.cells[at as usize].is_some() {
                match ranges.last_mut() {
                    Some(last) if last.1 == at => last.1 += 1,
                    _ => ranges.push((at, at + 1)),
                }
            }
        }
        ranges
    }

    /// First run of cells that hold a byte within `from..to`.
    fn duplicate(&self, from: usize, to: usize) -> Option<(u64, u64)> {
        let start = (from..to).find(|&at| self.cells[at].is_some())?;
        let end = (start..to).find(|&at| self.cells[at].is_none()).unwrap_or(to);
        Some((start as u64, end as u64))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { back: usize, ahead: usize, len: usize },
    Read(usize),
    Discard(usize),
    Peek(usize, usize),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3000, 0usize..40_000, 0usize..6000)
            .prop_map(|(back, ahead, len)| Step::Insert { back, ahead, len }),
        6 => (0usize..20, 0usize..20, 0usize..3000)
            .prop_map(|(back, ahead, len)| Step::Insert { back, ahead, len }),
        2 => (0usize..30_000).prop_map(Step::Read),
        1 => (0usize..3000).prop_map(Step::Discard),
        1 => (0usize..3000, 0usize..9000).prop_map(|(skip, len)| Step::Peek(skip, len)),
        1 => Just(Step::Prune),
    ]
}

fn check_insert(
    (buffer, pool): (&mut RecvBuffer, &mut ChunkPool),
    model: &mut Model,
    (from, data, max_ranges): (usize, &[u8], usize),
    pool_limit: usize,
) -> Result<(), TestCaseError> {
    let to = from + data.len();
    if model.cells.len() < to {
        model.cells.resize(to, None);
    }
    let (old_end, duplicate) = (model.end(), model.duplicate(from, to));
    let ranges_before = model.ranges();
    let missing = (from..to).filter(|&at| model.cells[at].is_none()).count();
    let insert = buffer.insert(pool, from as u64, data, max_ranges);
    let touches = (from <= old_end && to > old_end)
        || ranges_before.iter().any(|r| r.0 <= to as u64 && r.1 >= from as u64);
    prop_assert_eq!(insert.stored + insert.dropped, missing);
    if touches || ranges_before.len() < max_ranges {
        prop_assert!(insert.dropped == 0 || pool_limit - pool.allocated() < CHUNK_SIZE);
        prop_assert_eq!(insert.duplicate, duplicate);
    } else {
        prop_assert_eq!(insert.stored, 0);
    }
    // What was stored is the first of what was missing.
    let mut left = insert.stored;
    for at in from..to {
        if left > 0 && model.cells[at].is_none() {
            model.cells[at] = Some(data[at - from]);
            left -= 1;
        }
    }
    prop_assert_eq!(insert.advanced, (model.end() - old_end) as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn behaves_as_an_array_of_cells(
        limit in prop_oneof![Just(5usize), Just(1000usize)],
        max_ranges in prop_oneof![Just(3usize), Just(100usize)],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let pool_limit = limit * CHUNK_SIZE;
        let mut pool = dirty_pool(pool_limit);
        let mut buffer = RecvBuffer::new(0);
        let mut model = Model { cells: vec![None; 1], read: 0 };
        for (number, step) in steps.into_iter().enumerate() {
            let end = model.end();
            match step {
                Step::Insert { back, ahead, len } => {
                    let from = (end + ahead).saturating_sub(back);
                    // 0xdd is what dirty chunks hold: never sent.
                    let data: Vec<u8> = (0..len).map(|i| (i + 7 * number) as u8 % 0xdd).collect();
                    let parts = (from, &data[..], max_ranges);
                    check_insert((&mut buffer, &mut pool), &mut model, parts, pool_limit)?;
                }
                Step::Read(n) | Step::Discard(n) => {
                    let mut dst = vec![0; n];
                    let discard = matches!(step, Step::Discard(_));
                    let got = if discard { buffer.discard(&mut pool, n) } else { buffer.read(&mut pool, &mut dst) };
                    prop_assert_eq!(got, n.min(end - model.read));
                    let expected = model.cells[model.read..model.read + got].iter().map(|cell| cell.unwrap());
                    prop_assert!(discard || expected.eq(dst[..got].iter().copied()));
                    model.read += got;
                }
                Step::Peek(skip, n) => {
                    let mut dst = vec![0; n];
                    let got = buffer.peek(skip, &mut dst);
                    prop_assert_eq!(got, n.min((end - model.read).saturating_sub(skip)));
                    let at = model.read + skip;
                    let expected = model.cells[at.min(end)..(at + got).min(end)].iter().map(|cell| cell.unwrap());
                    prop_assert!(expected.eq(dst[..got].iter().copied()));
                }
                Step::Prune => {
                    let early = model.cells[end..].iter().flatten().count();
                    prop_assert_eq!(buffer.drop_out_of_order(&mut pool), early);
                    model.cells.truncate(end);
                    model.cells.push(None);
                }
            }
            prop_assert_eq!(buffer.read_pos(), model.read as u64);
            prop_assert_eq!(buffer.contiguous_end(), model.end() as u64);
            let ranges = model.ranges();
            prop_assert_eq!(buffer.ranges(), &ranges[..]);
            prop_assert_eq!(buffer.bytes_held(), model.cells[model.read..].iter().flatten().count());
            prop_assert_eq!(pool.allocated(), buffer.chunks_held() * CHUNK_SIZE);
            prop_assert!(buffer.bytes_held() > 0 || buffer.chunks_held() == 0);
            // The chunk that reading has emptied may stay while later ones hang on it.
            let used: alloc::collections::BTreeSet<usize> = (model.read..model.cells.len())
                .filter(|&at| model.cells[at].is_some())
                .map(|at| at / CHUNK_SIZE)
                .collect();
            prop_assert!(buffer.chunks_held() <= used.len() + 1);
        }
        buffer.clear(&mut pool);
        prop_assert_eq!((pool.allocated(), buffer.bytes_held(), buffer.readable()), (0, 0, 0));
    }
}

#[test]
fn placed_bytes_count_only_once_they_are_taken() {
    let data: Vec<u8> = (0..50_001u32).map(|n| (n * 7) as u8).collect();
    let (mut pool, mut buffer) = (dirty_pool(usize::MAX), RecvBuffer::new(C - 3));
    buffer.insert(&mut pool, C - 3, b"before", 8);
    let held = pool.allocated();
    let mut expected = Sum::new();
    expected.add_bytes(&data);
    for _ in 0..2 {
        let mut sum = Sum::new();
        assert_eq!(buffer.place(&mut pool, &data, &mut sum), data.len());
        assert_eq!((sum.fold(), buffer.readable()), (expected.fold(), 6));
        buffer.trim(&mut pool);
        assert_eq!(pool.allocated(), held);
    }
    assert_eq!(buffer.place(&mut pool, &data, &mut Sum::new()), data.len());
    assert_eq!(buffer.take_placed(&mut pool, C + 4, (data.len(), &data)), None);
    let insert = buffer.take_placed(&mut pool, C + 3, (data.len(), &data)).unwrap();
    assert_eq!((insert.stored, insert.advanced, insert.dropped), (data.len(), 50_001, 0));
    buffer.trim(&mut pool);
    assert_eq!(read_all(&mut buffer, &mut pool), [b"before", &data[..]].concat());
    assert_eq!((buffer.chunks_held(), pool.allocated()), (0, 0));
}

#[test]
fn placing_stops_at_the_pools_limit_sums_all_and_counts_one_refusal() {
    let (mut pool, mut buffer) = (ChunkPool::new(2 * CHUNK_SIZE), RecvBuffer::new(0));
    let data = [3; 3 * CHUNK_SIZE];
    let (mut sum, mut expected) = (Sum::new(), Sum::new());
    expected.add_bytes(&data);
    assert_eq!(buffer.place(&mut pool, &data, &mut sum), 2 * CHUNK_SIZE);
    assert_eq!(sum.fold(), expected.fold());
    assert_eq!(pool.refused(), 0, "the bytes may be none of ours");
    let insert = buffer.take_placed(&mut pool, 0, (2 * CHUNK_SIZE, &data)).unwrap();
    assert_eq!((insert.stored, insert.dropped), (2 * CHUNK_SIZE, CHUNK_SIZE));
    assert_eq!(pool.refused(), 1);
}

/// The acknowledgement in the same segment may have freed some.
#[test]
fn what_found_no_memory_when_it_was_placed_is_stored_if_there_is_some_by_now() {
    let (mut pool, mut buffer) = (ChunkPool::new(2 * CHUNK_SIZE), RecvBuffer::new(0));
    let data: Vec<u8> = (0..2 * CHUNK_SIZE).map(|at| (at * 7 + at / 256) as u8).collect();
    let held = pool.take().unwrap();
    assert_eq!(buffer.place(&mut pool, &data, &mut Sum::new()), CHUNK_SIZE);
    pool.give(held);
    let insert = buffer.take_placed(&mut pool, 0, (CHUNK_SIZE, &data)).unwrap();
    assert_eq!((insert.stored, insert.dropped, pool.refused()), (data.len(), 0, 0));
    assert_eq!(read_all(&mut buffer, &mut pool), data);
}

#[test]
fn nothing_is_placed_before_early_data() {
    let (mut pool, mut buffer) = (pool(), RecvBuffer::new(0));
    buffer.insert(&mut pool, 10, b"early", 8);
    let (mut sum, mut expected) = (Sum::new(), Sum::new());
    expected.add_bytes(b"odd");
    assert_eq!(buffer.place(&mut pool, b"odd", &mut sum), 0);
    assert_eq!((sum.fold(), buffer.take_placed(&mut pool, 0, (0, b"odd"))), (expected.fold(), None));
}

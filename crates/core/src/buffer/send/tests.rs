use super::*;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const LIMIT: usize = 8 * CHUNK_SIZE;

fn copy(buffer: &SendBuffer, offset: u64, len: usize) -> Vec<u8> {
    let mut dst = vec![0; len];
    let n = buffer.copy_out(offset, &mut dst);
    dst.truncate(n);
    dst
}

#[test]
fn an_empty_buffer_holds_nothing() {
    assert!(size_of::<SendBuffer>() <= 64);
    let mut pool = ChunkPool::new(usize::MAX);
    let mut buffer = SendBuffer::new(1000);
    assert_eq!(buffer.push(&mut pool, &[7; 100 * CHUNK_SIZE]), 100 * CHUNK_SIZE);
    buffer.clear(&mut pool);
    assert_eq!((buffer.chunks_held(), pool.allocated()), (0, 0));
    assert!(buffer.chunks.capacity() <= 4);
    assert_eq!(buffer.start(), 1000 + 100 * CHUNK_SIZE as u64);
}

#[test]
fn push_stops_where_the_pool_does_and_goes_on_after_an_acknowledgement() {
    let mut pool = ChunkPool::new(2 * CHUNK_SIZE);
    let mut buffer = SendBuffer::new(0);
    assert_eq!(buffer.push(&mut pool, &[1; 3 * CHUNK_SIZE]), 2 * CHUNK_SIZE);
    assert_eq!(buffer.push(&mut pool, &[2; 1]), 0);
    buffer.release(&mut pool, CHUNK_SIZE as u64);
    assert_eq!(buffer.push(&mut pool, &[2; 5]), 5);
    assert_eq!(copy(&buffer, 2 * CHUNK_SIZE as u64 - 1, 10), [1, 2, 2, 2, 2, 2]);
}

#[test]
fn bytes_outside_of_what_is_held_are_not_shown() {
    let mut pool = ChunkPool::new(LIMIT);
    let mut buffer = SendBuffer::new(10);
    buffer.push(&mut pool, b"abcdef");
    buffer.release(&mut pool, 12);
    assert_eq!(copy(&buffer, 11, 3), b"");
    assert_eq!(copy(&buffer, 14, 9), b"ef");
    assert_eq!(copy(&buffer, 16, 9), b"");
    assert_eq!(copy(&buffer, u64::MAX, 9), b"");
    buffer.release(&mut pool, 3);
    assert_eq!((buffer.start(), buffer.len()), (12, 4));
}

proptest! {
    #[test]
    fn behaves_as_a_plain_queue(
        start in 0u64..20_000,
        steps in prop::collection::vec((0u8..4, 0usize..12_000, any::<u8>()), 1..60),
    ) {
        let mut pool = ChunkPool::new(LIMIT);
        let mut buffer = SendBuffer::new(start);
        let mut model: Vec<u8> = Vec::new();
        let mut released = 0usize;
        for (kind, n, seed) in steps {
            if kind < 2 {
                let data: Vec<u8> = (0..n).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
                let pushed = buffer.push(&mut pool, &data);
                prop_assert!(pushed == n || pool.allocated() == LIMIT);
                model.extend_from_slice(&data[..pushed]);
            } else if kind == 2 {
                released = (released + n).min(model.len());
                buffer.release(&mut pool, start + released as u64);
            } else {
                let from = released + n.min(model.len() - released);
                let got = copy(&buffer, start + from as u64, usize::from(seed) * 40);
                let expected = &model[from..(from + usize::from(seed) * 40).min(model.len())];
                prop_assert_eq!(&got[..], expected);
            }
            prop_assert_eq!(buffer.len(), model.len() - released);
            prop_assert_eq!(buffer.is_empty(), buffer.chunks_held() == 0);
            prop_assert_eq!(pool.allocated(), buffer.chunks_held() * CHUNK_SIZE);
            prop_assert!(buffer.chunks_held() <= buffer.len() / CHUNK_SIZE + 2);
        }
        let rest = copy(&buffer.clone(), buffer.start(), buffer.len());
        prop_assert_eq!(&rest[..], &model[released..]);
    }
}

#[test]
fn the_last_bytes_are_given_only_in_one_piece() {
    let mut pool = ChunkPool::new(LIMIT);
    let mut buffer = SendBuffer::new(7);
    assert_eq!(buffer.last(0), []);
    assert_eq!(buffer.last(1), []);
    let text: Vec<u8> = (0..CHUNK_SIZE + 3).map(|n| n as u8).collect();
    buffer.push(&mut pool, &text[..CHUNK_SIZE - 7]);
    assert_eq!(buffer.last(5), &text[CHUNK_SIZE - 12..CHUNK_SIZE - 7], "up to the end of a chunk");
    buffer.push(&mut pool, &text[CHUNK_SIZE - 7..]);
    assert_eq!(buffer.last(10), &text[CHUNK_SIZE - 7..]);
    assert_eq!(buffer.last(11), [], "across two chunks");
}

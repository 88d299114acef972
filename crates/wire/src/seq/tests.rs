use proptest::prelude::*;

use super::*;

const EDGES: [u32; 8] = [0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX, 12345];

#[test]
fn order_holds_for_distances_below_2_to_the_31_from_every_edge() {
    for start in EDGES.map(SeqNumber) {
        for distance in [1, 2, 1000, (1 << 31) - 1] {
            let later = start + distance;
            assert!(start.before(later) && !later.before(start), "{start} {later}");
            assert!(later.after(start) && !start.after(later));
            assert!(start.before_eq(later) && later.after_eq(start));
            assert!(!later.before_eq(start) && !start.after_eq(later));
            assert_eq!(start.max(later), later);
            assert_eq!(later.max(start), later);
            assert_eq!(start.min(later), start);
            assert_eq!(later.min(start), start);
            assert_eq!(later - start, distance as i32);
            assert_eq!(start - later, -(distance as i32));
            assert_eq!(later.distance_from(start), distance);
            assert_eq!(later - distance, start);
        }
    }
}

#[test]
fn equal_numbers_are_neither_before_nor_after() {
    for x in EDGES.map(SeqNumber) {
        assert!(!x.before(x) && !x.after(x) && x.before_eq(x) && x.after_eq(x) && x.between(x, x));
        assert_eq!(x - x, 0);
        assert_eq!(x.distance_from(x), 0);
    }
}

#[test]
fn numbers_half_the_ring_apart_are_each_before_the_other() {
    for x in EDGES.map(SeqNumber) {
        let opposite = x + (1 << 31);
        assert!(x.before(opposite) && opposite.before(x));
        assert_eq!(opposite - x, i32::MIN);
        assert_eq!(opposite.distance_from(x), 1 << 31);
    }
}

#[test]
fn assignment_wraps_in_both_directions() {
    let mut x = SeqNumber(u32::MAX);
    x += 1;
    assert_eq!(x, SeqNumber(0));
    x -= 2;
    assert_eq!(x, SeqNumber(u32::MAX - 1));
}

proptest! {
    #[test]
    fn between_is_membership_in_the_arc(low: u32, len: u32, at: u32) {
        let low = SeqNumber(low);
        let high = low + len;
        prop_assert_eq!((low + at).between(low, high), at <= len);
        prop_assert!(low.between(low, high) && high.between(low, high));
    }

    #[test]
    fn adding_and_taking_away_is_nothing(a: u32, b: u32) {
        prop_assert_eq!(SeqNumber(a) + b - b, SeqNumber(a));
        prop_assert_eq!((SeqNumber(a) + b).distance_from(SeqNumber(a)), b);
        prop_assert_eq!((SeqNumber(a) - SeqNumber(b)) as u32, a.wrapping_sub(b));
    }
}

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The peer's counter after `marks` marks.
fn ace(marks: u32) -> u8 {
    (marks.wrapping_add(ACE_START) & ACE_MASK) as u8
}

#[test]
fn flags_and_numbers_stand_for_each_other() {
    for number in 0..8 {
        assert_eq!(ace_of(flags_of(number)), number);
    }
    for ecn in 0..4 {
        assert_eq!(told_by(ace_of(reflected(ecn))), Some(ecn));
    }
    for ace in [0, 1, 5, 7] {
        assert_eq!(told_by(ace), None);
    }
}

#[test]
fn a_counter_that_may_have_gone_round_counts_as_often_as_fits() {
    // Linux 6.18: 18 segments and an unchanged counter are 16 marks; with 10 they are 8.
    assert_eq!(newly_marked(ace(0), 0, 18, None), 16);
    assert_eq!(newly_marked(ace(0), 0, 10, None), 8);
    assert_eq!(newly_marked(ace(0), 0, 7, None), 0);
    assert_eq!(newly_marked(ace(3), 0, 18, None), 11);
}

#[test]
fn the_option_tells_whether_it_has_gone_round() {
    assert_eq!(newly_marked(ace(0), 0, 18, Some((0, 1000))), 0);
    assert_eq!(newly_marked(ace(0), 0, 18, Some((16_000, 1000))), 16);
    assert_eq!(newly_marked(ace(2), 0, 18, Some((2000, 1000))), 2);
}

proptest! {
    /// As long as fewer than eight segments are delivered at a time, all marks are counted, whatever the counters read.
    #[test]
    fn small_steps_are_counted_exactly(
        start in any::<u32>(),
        steps in prop::collection::vec((1u32..8, 0u32..8), 1..100),
    ) {
        let (mut sent, mut counted) = (start, start);
        for (delivered, marked) in steps {
            let marked = marked.min(delivered);
            sent = sent.wrapping_add(marked);
            let new = newly_marked(ace(sent), counted, delivered, None);
            prop_assert_eq!(new, marked);
            counted = counted.wrapping_add(new);
        }
    }

    /// Whatever the peer says: never more marks than segments and a turn, and the counters agree modulo 8 afterwards.
    #[test]
    fn a_count_fits_the_counter_and_what_was_delivered(
        flags in 0u8..8,
        counted in any::<u32>(),
        delivered in any::<u32>(),
        bytes in prop::option::of((any::<u32>(), 0u32..65_536)),
    ) {
        let new = newly_marked(flags, counted, delivered, bytes);
        prop_assert!(new <= delivered.max(ACE_MASK));
        prop_assert_eq!(ace(counted.wrapping_add(new)), flags);
    }

    /// With full segments and the option, marks are never missed by more than half of the segments, and never invented.
    #[test]
    fn full_segments_with_the_option(delivered in 1u32..200, share in 0u32..=100) {
        let marked = delivered * share / 100;
        let new = newly_marked(ace(marked), 0, delivered, Some((marked * 1460, 1460)));
        prop_assert!(new == marked || new.abs_diff(marked) % 8 == 0 && new <= delivered);
        if marked == 0 {
            prop_assert_eq!(new, 0);
        }
    }

    #[test]
    fn any_option_is_survived(fields in prop::collection::vec(any::<[u8; 3]>(), 0..4), kind in prop::bool::ANY) {
        let mut area: Vec<u8> = alloc::vec![if kind { 172 } else { 174 }, 2 + 3 * fields.len() as u8];
        area.extend(fields.iter().flatten());
        let options = Options::parse(&area);
        prop_assert!(options.accurate_ecn.is_some() && !options.malformed);
    }
}

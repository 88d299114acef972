//! The arithmetic of the pacer. What leaves when is in `tests/flow_pacing.rs`.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn pacer(rate: u64) -> Pacer {
    Pacer { rate, next: Instant::from_secs(5), ..Pacer::new() }
}

/// How far `bytes`, of which the last is in the `segs`th segment, put the next departure off.
fn put_off(pacer: &mut Pacer, bytes: u32, segs: u32) -> Duration {
    let before = pacer.next;
    pacer.charge(bytes, segs);
    pacer.next - before
}

#[test]
fn a_packet_takes_its_length_divided_by_the_rate() {
    for (rate, bytes, time) in [
        (1_000_000, 1000, MS),
        (1_000_000, 1, Duration::from_micros(1)),
        (125_000_000, 1460, Duration::from_nanos(11_680)),
        (3, 1, Duration::from_nanos(333_333_333)),
        (1, 65_215, Duration::from_secs(65_215)),
        (1, u32::MAX, Duration::from_secs(u32::MAX.into())),
        // Less than a nanosecond is no time.
        (2_000_000_000, 1, Duration::ZERO),
        (u64::MAX - 1, u32::MAX, Duration::ZERO),
        (1_000_000, 0, Duration::ZERO),
    ] {
        assert_eq!(put_off(&mut pacer(rate), bytes, 10), time, "{bytes} bytes at {rate}/s");
    }
}

#[test]
fn the_first_nine_segments_and_all_without_a_rate_take_no_time() {
    for (rate, segs) in [(1000, 1), (1000, 9), (0, 10), (0, u32::MAX), (u64::MAX, 10), (u64::MAX, u32::MAX)] {
        assert_eq!(put_off(&mut pacer(rate), 1460, segs), Duration::ZERO, "segment {segs} at {rate}/s");
    }
    assert_eq!(put_off(&mut pacer(1460), 1460, 10), Duration::from_secs(1));
    assert_eq!(put_off(&mut pacer(1460), 1460, u32::MAX), Duration::from_secs(1));
}

#[test]
fn time_that_was_not_used_shortens_a_packet_by_half_of_its_own_at_the_most() {
    for (credit, time, left) in
        [(0, 10, 0), (3, 7, 0), (5, 5, 0), (6, 5, 1), (1000, 5, 995), (1 << 40, 5, (1 << 40) - 5)]
    {
        let mut pacer = Pacer { credit: Duration::from_millis(credit), ..pacer(100_000) };
        assert_eq!(put_off(&mut pacer, 1000, 10), Duration::from_millis(time), "credit {credit} ms");
        assert_eq!(pacer.credit, Duration::from_millis(left));
    }
}

/// The pieces of a packet are charged one by one, a whole one at once.
#[test]
fn pieces_of_a_packet_take_as_long_as_the_packet() {
    for credit in [0, 1, 7, 20, 25, 1000] {
        let mut whole = Pacer { credit: MS * credit, ..pacer(100_000) };
        let mut parts = whole.clone();
        let time = put_off(&mut whole, 5000, 20);
        let sum: Duration = (0..5).map(|n| put_off(&mut parts, 1000, 16 + n)).sum();
        assert_eq!(time, sum, "credit {credit} ms");
        assert_eq!(whole.credit, parts.credit);
    }
}

#[test]
fn departures_saturate_at_the_end_of_time() {
    let mut pacer = Pacer { next: Instant::FAR_FUTURE - MS, ..pacer(1) };
    pacer.charge(u32::MAX, 10);
    assert_eq!(pacer.next, Instant::FAR_FUTURE);
}

#[test]
fn a_child_inherits_the_largest_rate_and_no_debt() {
    let parent =
        Pacer { max: 5000, rate: 700, burst: 3, credit: MS, waits: true, next: Instant::from_secs(9) };
    let child = parent.inherited();
    assert_eq!((child.max, child.rate), (5000, 5000));
    assert_eq!(
        (child.next, child.burst, child.credit, child.waits),
        (Instant::ZERO, 0, Duration::ZERO, false)
    );
}

/// Fingerprints of connections that behave the same are the same.
#[test]
fn beyond_a_second_it_makes_no_difference_how_long_nothing_was_sent() {
    let pacer = pacer(100);
    let at = |secs| pacer.relative(pacer.next + Duration::from_secs(secs));
    assert_eq!(at(1), at(100_000));
    assert_ne!(at(0), at(1));
    assert_ne!(pacer.relative(pacer.next - MS), at(0));
}

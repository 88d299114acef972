use super::super::tests::{Path, ms};
use super::*;
use proptest::prelude::*;

/// A controller that has just left a recovery at a window of `segments`.
fn after_loss(segments: u32, rtt: Duration) -> Path<Cubic> {
    let mut path = Path::new(Cubic::new(), rtt);
    path.cc.note_round_trip(path.now, rtt);
    path.window.set_cwnd(segments);
    path.lose(CaState::Recovery);
    path
}

/// The curve of RFC 9438 section 4.2, in segments.
fn curve(t: f64, w_max: f64, start: f64) -> f64 {
    let k = ((w_max - start) / 0.4).cbrt();
    0.4 * (t - k).powi(3) + w_max
}

/// Holds: MAY-18
#[test]
fn window_follows_the_curve_concave_then_convex() {
    // 1,000 segments over 100 ms: far from Reno's region. K is (300 / 0.4)^(1/3) = 9.09 s.
    let mut path = after_loss(1000, ms(100));
    assert_eq!((path.window.cwnd, path.window.ssthresh), (700, 700));
    let start = path.now;
    for round in 1..=140 {
        path.round();
        let t = (path.now - start).as_secs_f64();
        let (expected, got) = (curve(t, 1000.0, 700.0), f64::from(path.window.cwnd));
        assert!((got - expected).abs() < expected * 0.02, "round {round}: {got} for {expected}");
    }
    assert!(path.window.cwnd > 1040, "it probes beyond the old window: {}", path.window.cwnd);
}

#[test]
fn growth_stays_between_reno_and_slow_start_on_a_short_path() {
    // 20 segments over 10 ms: the curve is slow, Reno's estimate leads.
    let mut path = after_loss(20, ms(10));
    assert_eq!(path.window.cwnd, 14);
    (0..100).for_each(|_| path.round());
    // 8/15 of a segment a round trip: about 14 + 53.
    assert!((60..=70).contains(&path.window.cwnd), "{}", path.window.cwnd);
}

#[test]
fn loss_below_the_old_maximum_lets_go_of_more() {
    let mut path = after_loss(100, ms(100));
    assert_eq!(path.cc.last_max, 100);
    path.round();
    let cwnd = path.window.cwnd;
    path.lose(CaState::Recovery);
    assert_eq!(path.cc.last_max, cwnd * 1741 / 2048);
}

#[test]
fn a_timeout_forgets_the_curve() {
    let mut path = after_loss(100, ms(100));
    path.round();
    path.lose(CaState::Loss);
    assert_eq!((path.window.cwnd, path.cc.last_max, path.cc.epoch), (1, 0, 0));
    // A segment for each twenty at the least, as long as no loss tells what the path takes.
    (0..8).for_each(|_| path.round());
    assert!(path.cc.every <= MOST_AT_FIRST);
}

#[test]
fn idle_time_does_not_count_for_the_curve() {
    let mut used = after_loss(1000, ms(100));
    let mut paused = after_loss(1000, ms(100));
    for _ in 0..20 {
        used.round();
        paused.round();
    }
    let pause = Duration::from_secs(60);
    paused.now += pause;
    paused.cc.leave_out(paused.now, paused.now - pause);
    for _ in 0..20 {
        used.round();
        paused.round();
    }
    assert!(used.window.cwnd.abs_diff(paused.window.cwnd) < 4);
}

proptest! {
    #[test]
    fn cube_root_is_the_largest_integer_below(n in any::<u64>(), shift in 0u32..64) {
        let n = n >> shift;
        let root = u128::from(cube_root(n));
        prop_assert!(root.pow(3) <= u128::from(n) && (root + 1).pow(3) > u128::from(n));
    }

    #[test]
    fn window_never_falls_on_an_ack_and_never_grows_faster_than_half_of_what_it_acknowledges(
        segments in 2u32..50_000,
        rtt in 1u64..2000,
        acks in prop::collection::vec((1u32..64, 0u64..3000), 1..100),
    ) {
        let mut path = after_loss(segments, ms(rtt));
        let start = path.window.cwnd;
        let mut total = u64::from(start) + 2;
        for (acked, pause) in acks {
            path.now += ms(pause);
            let before = path.window.cwnd;
            path.ack(acked);
            prop_assert!(path.window.cwnd >= before);
            total += u64::from(acked) / 2 + 1;
            prop_assert!(u64::from(path.window.cwnd) <= total);
        }
    }
}

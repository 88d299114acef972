use super::super::tests::{MSS, Path, ms};
use super::*;
use proptest::prelude::*;

/// A controller that has just left a recovery at a window of `segments`.
fn after_loss(segments: u32, rtt: Duration) -> Path<Cubic> {
    let mut path = Path::new(Cubic::new(MSS, Instant::from_secs(100)), rtt);
    path.cc.set_cwnd(segments * MSS);
    path.lose(CongestionEvent::FastRetransmit);
    path.cc.on_recovery_exit(path.now);
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
    assert_eq!((path.segments(), path.cc.ssthresh()), (700, 700 * MSS));
    let start = path.now;
    for round in 1..=140 {
        path.round();
        let t = (path.now - start).as_secs_f64();
        let (expected, got) = (curve(t, 1000.0, 700.0), f64::from(path.cc.cwnd()) / f64::from(MSS));
        assert!((got - expected).abs() < expected * 0.02, "round {round}: {got} for {expected}");
    }
    assert!(path.segments() > 1040, "it probes beyond the old window: {}", path.segments());
}

#[test]
fn growth_stays_between_reno_and_slow_start_on_a_short_path() {
    // 20 segments over 10 ms: the curve is slow, Reno's estimate leads.
    let mut path = after_loss(20, ms(10));
    assert_eq!(path.segments(), 14);
    (0..100).for_each(|_| path.round());
    // 9/17 of a segment a round trip up to 20 segments, then one: about 12 + 88.
    let segments = path.segments();
    assert!((95..=115).contains(&segments), "{segments}");
}

#[test]
fn loss_below_the_old_maximum_lets_go_of_more() {
    let mut path = after_loss(100, ms(100));
    assert_eq!(path.cc.window.w_max, 100 * MSS);
    path.round();
    let cwnd = path.cc.cwnd();
    path.lose(CongestionEvent::FastRetransmit);
    assert_eq!(path.cc.window.w_max, (u64::from(cwnd) * 17 / 20) as u32);
    assert_eq!(path.cc.window.cwnd_prior, cwnd);
}

#[test]
fn the_first_epoch_after_a_timeout_starts_flat() {
    let mut path = Path::new(Cubic::new(MSS, Instant::from_secs(100)), ms(100));
    path.cc.set_cwnd(100 * MSS);
    path.lose(CongestionEvent::Timeout);
    assert_eq!((path.segments(), path.cc.ssthresh()), (1, 70 * MSS));
    (0..8).for_each(|_| path.round());
    assert_eq!(path.cc.window.k, 0);
    assert!(path.cc.window.w_max >= 70 * MSS && path.cc.window.w_max < 75 * MSS);
}

#[test]
fn unused_time_does_not_count_for_the_curve() {
    let mut used = after_loss(1000, ms(100));
    let mut paused = after_loss(1000, ms(100));
    for _ in 0..20 {
        used.round();
        paused.round();
    }
    // A minute in which the application sends little, then full windows again.
    for _ in 0..600 {
        paused.now += ms(100);
        let unused = AckSample { is_cwnd_limited: false, ..paused.ack(MSS) };
        paused.cc.on_ack(&unused);
    }
    for _ in 0..20 {
        used.round();
        paused.round();
    }
    assert!(used.cc.cwnd().abs_diff(paused.cc.cwnd()) < 4 * MSS);
}

#[test]
fn undo_restores_the_curve_unless_the_window_has_outgrown_it() {
    let mut path = after_loss(1000, ms(100));
    (0..10).for_each(|_| path.round());
    let before = path.cc.window;
    path.lose(CongestionEvent::FastRetransmit);
    path.cc.on_undo(path.now);
    let after = path.cc.window;
    assert_eq!((after.cwnd, after.k, after.epoch), (before.cwnd, before.k, before.epoch));
    path.lose(CongestionEvent::FastRetransmit);
    path.cc.set_cwnd(2000 * MSS);
    path.cc.on_undo(path.now);
    assert_eq!(path.cc.cwnd(), 2000 * MSS);
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
        acks in prop::collection::vec((1u32..65_536, 0u64..3000), 1..100),
    ) {
        let mut path = after_loss(segments, ms(rtt));
        let start = path.cc.cwnd();
        let mut total = u64::from(start) + 2 * u64::from(MSS);
        for (acked, pause) in acks {
            path.now += ms(pause);
            let before = path.cc.cwnd();
            path.cc.on_ack(&path.ack(acked));
            prop_assert!(path.cc.cwnd() >= before);
            // Half of it on the curve, or a segment for each window beside it.
            total += u64::from(acked) / 2 + u64::from(MSS) * u64::from(acked) / u64::from(before) + 1;
            prop_assert!(u64::from(path.cc.cwnd()) <= total);
        }
    }
}

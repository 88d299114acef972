use super::*;
use proptest::prelude::*;
use siphasher::sip::SipHasher13;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An estimator and the clock and offsets of a flow of one segment a round trip.
struct Flow {
    rtt: RttEstimator,
    now: Instant,
    una: u64,
}

impl Flow {
    fn new() -> Self {
        Flow { rtt: RttEstimator::new(&RttConfig::default()), now: Instant::from_secs(1), una: 1 }
    }

    fn round(&mut self, rtt: Duration) {
        self.now += rtt;
        self.una += 1000;
        self.rtt.sample(rtt, Some(rtt), self.now, (self.una, self.una + 999));
    }
}

/// Holds: R6298-2
#[test]
fn timeout_before_the_first_sample_is_one_second() {
    let rtt = RttEstimator::new(&RttConfig::default());
    assert_eq!((rtt.rto(), rtt.srtt(), rtt.min_rtt()), (ms(1000), None, None));
    assert!(size_of::<RttEstimator>() <= 56);
}

/// Holds: MUST-18, R6298-3
#[test]
fn first_sample_sets_mean_and_half_of_it_as_deviation() {
    let mut flow = Flow::new();
    flow.round(ms(300));
    assert_eq!((flow.rtt.srtt(), flow.rtt.rttvar()), (Some(ms(300)), ms(150)));
    assert_eq!(flow.rtt.rto(), ms(300 + 4 * 150));
}

/// Holds: R6298-1, R6298-5, R6298-9
#[test]
fn variance_term_never_falls_below_the_floor() {
    let mut flow = Flow::new();
    for _ in 0..200 {
        flow.round(ms(20));
    }
    // RFC 6298 would round up to a second here; Linux gives SRTT + 200 ms.
    assert_eq!(flow.rtt.rto(), ms(220));
    assert!(flow.rtt.rttvar() < ms(1));
}

/// Holds: R6298-4
#[test]
fn a_slower_path_raises_the_timeout_at_once_and_it_settles_over_round_trips() {
    let mut flow = Flow::new();
    (0..100).for_each(|_| flow.round(ms(100)));
    assert_eq!(flow.rtt.rto(), ms(300));
    flow.round(ms(500));
    // SRTT 150 ms, deviation about 100 ms.
    let after = flow.rtt.rto();
    assert!(after > ms(540) && after < ms(560), "{after:?}");
    (0..200).for_each(|_| flow.round(ms(500)));
    assert!(flow.rtt.rto() < ms(702), "{:?}", flow.rtt.rto());
}

#[test]
fn the_variance_term_falls_once_a_round_trip_not_with_each_sample() {
    let mut flow = Flow::new();
    flow.round(ms(400));
    let before = flow.rtt.rto();
    // Samples within one round trip: `una` does not pass the end of the round.
    for _ in 0..50 {
        flow.rtt.sample(ms(400), Some(ms(400)), flow.now, (flow.una + 1, flow.una + 5000));
    }
    assert_eq!(flow.rtt.rto(), before);
    flow.round(ms(400));
    flow.round(ms(400));
    assert!(flow.rtt.rto() < before);
}

#[test]
fn a_falling_rtt_does_not_raise_the_timeout() {
    let mut flow = Flow::new();
    (0..100).for_each(|_| flow.round(ms(1000)));
    let before = flow.rtt.rto();
    flow.round(ms(100));
    assert!(flow.rtt.rto() <= before);
}

/// Holds: R6298-6
#[test]
fn timeout_is_capped_and_hostile_samples_do_not_overflow() {
    let mut flow = Flow::new();
    for rtt in [Duration::MAX, Duration::ZERO, Duration::MAX, Duration::from_secs(4000)] {
        flow.round(rtt);
        assert!(flow.rtt.rto() <= Duration::from_secs(120));
    }
}

#[test]
fn minimum_forgets_a_path_after_five_minutes() {
    let mut flow = Flow::new();
    flow.round(ms(10));
    for _ in 0..140 {
        flow.round(ms(1000));
    }
    assert_eq!(flow.rtt.min_rtt(), Some(ms(10)));
    for _ in 0..200 {
        flow.round(ms(1000));
    }
    assert_eq!(flow.rtt.min_rtt(), Some(ms(1000)));
}

fn fingerprint(flow: &Flow) -> u64 {
    let mut state = SipHasher13::new();
    flow.rtt.fingerprint(flow.now, flow.una, &mut state);
    state.finish()
}

#[test]
fn fingerprint_is_relative_to_now_and_offset() {
    let (mut early, mut late) = (Flow::new(), Flow::new());
    late.now += Duration::from_secs(1000);
    late.una += 1 << 40;
    early.round(ms(30));
    late.round(ms(30));
    assert_eq!(fingerprint(&early), fingerprint(&late));
    late.round(ms(31));
    assert_ne!(fingerprint(&early), fingerprint(&late));
}

proptest! {
    #[test]
    fn timeout_stays_between_mean_plus_floor_and_ceiling(samples in prop::collection::vec(0u64..1 << 40, 1..200)) {
        let mut flow = Flow::new();
        for sample in samples {
            flow.round(Duration::from_micros(sample));
            let (rto, srtt) = (flow.rtt.rto(), flow.rtt.srtt().unwrap_or_default());
            prop_assert!(rto >= (srtt + ms(200)).min(Duration::from_secs(120)));
            prop_assert!(rto <= Duration::from_secs(120));
            prop_assert!(flow.rtt.min_rtt().unwrap() <= Duration::from_micros(sample.max(1)));
        }
    }
}

use super::*;
use siphasher::sip::SipHasher13;

pub(super) const MSS: u32 = 1460;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sender that always fills its window, over a path of a fixed round-trip time.
pub(super) struct Path<C> {
    pub(super) cc: C,
    pub(super) now: Instant,
    pub(super) rtt: Duration,
    /// ACKs the receiver sends for each segment.
    pub(super) acks_per_segment: u32,
}

impl<C: CongestionControl> Path<C> {
    pub(super) fn new(cc: C, rtt: Duration) -> Self {
        Path { cc, now: Instant::from_secs(100), rtt, acks_per_segment: 1 }
    }

    pub(super) fn ack(&self, acked: u32) -> AckSample {
        AckSample {
            now: self.now,
            acked,
            rtt: Some(self.rtt),
            srtt: Some(self.rtt),
            min_rtt: Some(self.rtt),
            in_flight: self.cc.cwnd(),
            is_cwnd_limited: true,
            in_recovery: false,
            delivered: None,
            delivery_rate: None,
            is_app_limited: false,
        }
    }

    /// A round trip: all segments of a window are acknowledged, evenly over the time.
    pub(super) fn round(&mut self) {
        let segments = (self.cc.cwnd() / MSS).max(1);
        let start = self.now;
        for segment in 1..=segments {
            self.now = start + self.rtt * segment / segments;
            for piece in 0..self.acks_per_segment {
                let upto = MSS * (piece + 1) / self.acks_per_segment;
                let acked = upto - MSS * piece / self.acks_per_segment;
                self.cc.on_ack(&self.ack(acked));
            }
        }
    }

    pub(super) fn lose(&mut self, event: CongestionEvent) {
        let context = CongestionContext { now: self.now, in_flight: self.cc.cwnd(), repeated: false };
        self.cc.on_congestion(event, &context);
    }

    pub(super) fn segments(&self) -> u32 {
        self.cc.cwnd() / MSS
    }
}

pub(super) fn fingerprint(cc: &dyn CongestionControl, now: Instant) -> u64 {
    let mut state = SipHasher13::new();
    cc.fingerprint(now, &mut state);
    state.finish()
}

fn both() -> [Congestion; 2] {
    ["reno", "cubic"].map(|name| Congestion::by_name(name, MSS, Instant::from_secs(100)).unwrap())
}

#[test]
fn controllers_are_chosen_by_name() {
    for &name in Congestion::NAMES {
        assert!(Congestion::by_name(name, MSS, Instant::ZERO).is_some());
    }
    assert!(Congestion::by_name("vegas", MSS, Instant::ZERO).is_none());
    assert_eq!(both().map(|cc| cc.name()), ["newreno", "cubic"]);
}

#[test]
fn initial_window_is_ten_segments_and_slow_start_doubles_it_each_round_trip() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        assert_eq!((path.segments(), path.cc.ssthresh()), (10, u32::MAX));
        for expected in [20, 40, 80, 160] {
            path.round();
            assert_eq!(path.segments(), expected);
        }
    }
}

/// An acknowledgement cut into 1,460 pieces is worth what it acknowledges (Savage et al. 1999).
#[test]
fn ack_division_gains_at_most_one_segment() {
    for cc in both() {
        let [honest, divided] = [1, MSS].map(|acks_per_segment| {
            let mut path = Path { acks_per_segment, ..Path::new(cc.clone(), ms(50)) };
            (0..4).for_each(|_| path.round());
            let slow_start = path.cc.cwnd();
            path.lose(CongestionEvent::FastRetransmit);
            path.cc.on_recovery_exit(path.now);
            (0..10).for_each(|_| path.round());
            (slow_start, path.cc.cwnd())
        });
        assert_eq!(divided.0, honest.0);
        assert!(divided.1 <= honest.1 + MSS, "{divided:?} {honest:?}");
    }
}

#[test]
fn one_ack_for_many_segments_counts_for_all_of_them() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), ms(50));
        cc.on_ack(&path.ack(10 * MSS));
        assert_eq!(cc.cwnd(), 20 * MSS);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), ms(50));
        let unused = AckSample { is_cwnd_limited: false, ..path.ack(MSS) };
        let recovering = AckSample { in_recovery: true, ..path.ack(MSS) };
        (0..100).for_each(|_| cc.on_ack(&unused));
        (0..100).for_each(|_| cc.on_ack(&recovering));
        assert_eq!(cc.cwnd(), 10 * MSS);
    }
}

#[test]
fn a_timeout_restarts_from_one_segment_and_a_repeated_one_keeps_the_threshold() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        (0..4).for_each(|_| path.round());
        path.lose(CongestionEvent::Timeout);
        let ssthresh = path.cc.ssthresh();
        assert_eq!(path.cc.cwnd(), MSS);
        let context = CongestionContext { now: path.now, in_flight: MSS, repeated: true };
        path.cc.on_congestion(CongestionEvent::Timeout, &context);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (MSS, ssthresh));
        // Slow start up to the threshold, slower from there.
        (0..7).for_each(|_| path.round());
        assert!(path.cc.cwnd() >= ssthresh);
        let at_threshold = path.cc.cwnd();
        path.round();
        assert!(path.cc.cwnd() < at_threshold + at_threshold / 4);
    }
}

#[test]
fn threshold_is_two_segments_at_least_and_marks_reduce_the_window_to_one() {
    for mut cc in both() {
        let context = CongestionContext { now: Instant::from_secs(101), in_flight: MSS, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (2 * MSS, 2 * MSS));
        cc.on_congestion(CongestionEvent::Ecn, &context);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 2 * MSS));
    }
}

#[test]
fn a_spurious_loss_is_undone_once() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        (0..4).for_each(|_| path.round());
        let before = path.cc.cwnd();
        path.lose(CongestionEvent::FastRetransmit);
        let context = CongestionContext { now: path.now, in_flight: MSS, repeated: true };
        path.cc.on_congestion(CongestionEvent::Timeout, &context);
        path.cc.on_undo(path.now);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (before, u32::MAX));
        path.cc.set_cwnd(MSS);
        path.cc.on_undo(path.now);
        assert_eq!(path.cc.cwnd(), MSS);
    }
}

#[test]
fn idle_time_halves_the_window_for_each_timeout_down_to_the_initial_one() {
    for mut cc in both() {
        cc.set_cwnd(80 * MSS);
        cc.on_idle_restart(Instant::from_secs(101), ms(250), ms(200));
        assert_eq!((cc.cwnd(), cc.ssthresh()), (40 * MSS, u32::MAX));
        cc.on_idle_restart(Instant::from_secs(900), Duration::from_secs(799), ms(200));
        assert_eq!(cc.cwnd(), 10 * MSS);
        cc.set_cwnd(4 * MSS);
        cc.on_idle_restart(Instant::from_secs(999), Duration::from_secs(99), ms(200));
        assert_eq!(cc.cwnd(), 4 * MSS);
        // The threshold remembers three quarters of what was given up.
        let context = CongestionContext { now: Instant::from_secs(999), in_flight: 0, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        cc.set_cwnd(40 * MSS);
        cc.on_idle_restart(Instant::from_secs(1000), ms(450), ms(200));
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10 * MSS, 30 * MSS));
    }
}

/// Holds: R5681-6
#[test]
fn a_smaller_segment_keeps_the_window_in_segments_a_larger_one_in_bytes() {
    for mut cc in both() {
        cc.on_mss_change(730);
        assert_eq!(cc.cwnd(), 7300);
        cc.on_mss_change(1460);
        assert_eq!(cc.cwnd(), 7300);
    }
}

#[test]
fn recovery_window_follows_rfc_6582() {
    for mut cc in both() {
        cc.set_cwnd(20 * MSS);
        let now = Instant::from_secs(101);
        let context = CongestionContext { now, in_flight: 20 * MSS, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        let ssthresh = cc.ssthresh();
        cc.inflate_on_entry(MSS);
        assert_eq!(cc.cwnd(), ssthresh + 3 * MSS);
        (0..5).for_each(|_| cc.inflate_on_duplicate(MSS));
        assert_eq!(cc.cwnd(), ssthresh + 8 * MSS);
        cc.deflate_on_partial_ack(4 * MSS, MSS);
        assert_eq!(cc.cwnd(), ssthresh + 5 * MSS);
        cc.deflate_on_partial_ack(100, MSS);
        assert_eq!(cc.cwnd(), ssthresh + 5 * MSS - 100);
        cc.deflate_on_full_ack(3 * MSS, MSS);
        assert_eq!(cc.cwnd(), 4 * MSS);
        cc.on_recovery_exit(now);
        assert_eq!(cc.cwnd(), 4 * MSS);
        cc.set_cwnd(99 * MSS);
        cc.on_recovery_exit(now);
        assert_eq!(cc.cwnd(), ssthresh);
    }
}

#[test]
fn hostile_sizes_neither_overflow_nor_stop_the_window() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), Duration::from_secs(10_000));
        for mss in [0, 1, u32::MAX, MSS] {
            cc.on_mss_change(mss);
            (0..10).for_each(|_| cc.on_ack(&path.ack(u32::MAX)));
            assert_eq!(cc.cwnd(), MAX_CWND);
            let context = CongestionContext { now: path.now, in_flight: u32::MAX, repeated: false };
            cc.on_congestion(CongestionEvent::FastRetransmit, &context);
            (0..10).for_each(|_| cc.on_ack(&path.ack(u32::MAX)));
            cc.set_cwnd(0);
            assert_eq!(cc.cwnd(), 1);
            cc.on_ack(&path.ack(u32::MAX));
            cc.inflate_on_entry(u32::MAX);
            cc.on_idle_restart(path.now, Duration::MAX, Duration::ZERO);
            cc.set_cwnd(MAX_CWND);
        }
    }
}

#[test]
fn fingerprint_is_relative_to_now_and_sees_the_state() {
    for name in ["reno", "cubic"] {
        let run = |start: u64, rounds: u32| {
            let mut path =
                Path::new(Congestion::by_name(name, MSS, Instant::from_secs(start)).unwrap(), ms(50));
            path.now = Instant::from_secs(start);
            path.round();
            path.lose(CongestionEvent::FastRetransmit);
            path.cc.on_recovery_exit(path.now);
            (0..rounds).for_each(|_| path.round());
            fingerprint(&path.cc.clone(), path.now)
        };
        assert_eq!(run(100, 3), run(5000, 3));
        assert_ne!(run(100, 3), run(100, 4));
    }
}

#[test]
fn a_controller_from_outside_is_cloned_with_its_state() {
    let mut custom = Congestion::Custom(NewReno::new(MSS).clone_box());
    custom.set_cwnd(5 * MSS);
    let copy = custom.clone();
    custom.set_cwnd(9 * MSS);
    assert_eq!((copy.cwnd(), copy.name(), copy.pacing_rate()), (5 * MSS, "newreno", None));
}

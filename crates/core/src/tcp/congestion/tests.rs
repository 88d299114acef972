use super::*;
use siphasher::sip::SipHasher13;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sender that always fills its window, over a path of a fixed round-trip time.
pub(super) struct Path<C> {
    pub(super) cc: C,
    pub(super) now: Instant,
    pub(super) rtt: Duration,
}

impl<C: CongestionControl> Path<C> {
    pub(super) fn new(cc: C, rtt: Duration) -> Self {
        Path { cc, now: Instant::from_secs(100), rtt }
    }

    pub(super) fn ack(&self, acked: u32) -> AckSample {
        AckSample {
            now: self.now,
            acked,
            rtt: Some(self.rtt),
            srtt: Some(self.rtt),
            min_rtt: Some(self.rtt),
            in_flight: self.cc.cwnd(),
            lost: 0,
            is_cwnd_limited: true,
            may_grow: true,
            delivered: acked,
            prior_delivered: Some(0),
        }
    }

    /// A round trip: all segments of a window are acknowledged, evenly over the time.
    pub(super) fn round(&mut self) {
        let segments = self.cc.cwnd();
        let start = self.now;
        for segment in 1..=segments {
            self.now = start + self.rtt * segment / segments;
            self.cc.on_ack(&self.ack(1));
        }
    }

    /// A loss, with what the connection does about it.
    pub(super) fn lose(&mut self, event: CongestionEvent) {
        let context = CongestionContext { now: self.now, in_flight: self.cc.cwnd(), repeated: false };
        self.cc.on_congestion(event, &context);
        self.cc.set_cwnd(if event == CongestionEvent::Timeout { 1 } else { self.cc.ssthresh() });
        self.cc.on_recovery_exit(self.now);
    }
}

pub(super) fn fingerprint(cc: &dyn CongestionControl, now: Instant) -> u64 {
    let mut state = SipHasher13::new();
    cc.fingerprint(now, &mut state);
    state.finish()
}

fn both() -> [Congestion; 2] {
    ["reno", "cubic"].map(|name| Congestion::by_name(name).unwrap())
}

#[test]
fn controllers_are_chosen_by_name() {
    for &name in Congestion::NAMES {
        assert!(Congestion::by_name(name).is_some());
    }
    assert!(Congestion::by_name("vegas").is_none());
    assert_eq!(both().map(|cc| cc.name()), ["newreno", "cubic"]);
    assert_eq!(Congestion::default().name(), "cubic");
}

#[test]
fn initial_window_is_ten_segments_and_slow_start_doubles_it_each_round_trip() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (10, u32::MAX));
        for expected in [20, 40, 80, 160] {
            path.round();
            assert_eq!(path.cc.cwnd(), expected);
        }
    }
}

#[test]
fn one_ack_for_many_segments_counts_for_all_of_them() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), ms(50));
        cc.on_ack(&path.ack(10));
        assert_eq!(cc.cwnd(), 20);
    }
}

#[test]
fn a_window_that_is_not_used_or_is_being_reduced_does_not_grow() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), ms(50));
        let unused = AckSample { is_cwnd_limited: false, ..path.ack(1) };
        let recovering = AckSample { may_grow: false, ..path.ack(1) };
        (0..100).for_each(|_| cc.on_ack(&unused));
        (0..100).for_each(|_| cc.on_ack(&recovering));
        assert_eq!(cc.cwnd(), 10);
    }
}

#[test]
fn a_repeated_timeout_keeps_the_threshold() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        (0..4).for_each(|_| path.round());
        path.lose(CongestionEvent::Timeout);
        let ssthresh = path.cc.ssthresh();
        let context = CongestionContext { now: path.now, in_flight: 1, repeated: true };
        path.cc.on_congestion(CongestionEvent::Timeout, &context);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (1, ssthresh));
        // Slow start up to the threshold, slower from there.
        (0..7).for_each(|_| path.round());
        assert!(path.cc.cwnd() >= ssthresh);
        let at_threshold = path.cc.cwnd();
        path.round();
        assert!(path.cc.cwnd() < at_threshold + at_threshold / 4);
    }
}

#[test]
fn threshold_is_two_segments_at_least() {
    for mut cc in both() {
        cc.set_cwnd(1);
        let context = CongestionContext { now: Instant::from_secs(101), in_flight: 1, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1, 2));
    }
}

#[test]
fn an_undo_restores_window_and_threshold_unless_they_are_larger() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        path.cc.set_cwnd(160);
        path.lose(CongestionEvent::FastRetransmit);
        path.cc.on_undo(160, u32::MAX);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (160, u32::MAX));
        path.cc.on_undo(20, 30);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (160, u32::MAX));
    }
}

#[test]
fn idle_time_halves_the_window_for_each_timeout_down_to_the_initial_one() {
    for mut cc in both() {
        cc.set_cwnd(80);
        cc.on_idle_restart(ms(250), ms(200));
        assert_eq!((cc.cwnd(), cc.ssthresh()), (40, u32::MAX));
        cc.on_idle_restart(Duration::from_secs(799), ms(200));
        assert_eq!(cc.cwnd(), 10);
        cc.set_cwnd(4);
        cc.on_idle_restart(Duration::from_secs(99), ms(200));
        assert_eq!(cc.cwnd(), 4);
        // The threshold remembers three quarters of what was given up.
        let context = CongestionContext { now: Instant::from_secs(999), in_flight: 0, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        cc.set_cwnd(40);
        cc.on_idle_restart(ms(450), ms(200));
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10, 30));
    }
}

#[test]
fn an_unused_window_is_given_up_and_three_quarters_are_remembered() {
    for mut cc in both() {
        let context = CongestionContext { now: Instant::from_secs(999), in_flight: 0, repeated: false };
        cc.on_congestion(CongestionEvent::FastRetransmit, &context);
        cc.set_cwnd(40);
        cc.on_unused_window(25);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (25, 30));
    }
}

/// Holds: R5681-6
#[test]
fn another_segment_size_leaves_the_window_in_segments() {
    for mut cc in both() {
        cc.on_mss_change(730);
        assert_eq!(cc.cwnd(), 10);
    }
}

#[test]
fn hostile_sizes_neither_overflow_nor_stop_the_window() {
    for mut cc in both() {
        let path = Path::new(cc.clone(), Duration::from_secs(10_000));
        for mss in [0, 1, u32::MAX, 1460] {
            cc.on_mss_change(mss);
            (0..10).for_each(|_| cc.on_ack(&path.ack(u32::MAX)));
            assert_eq!(cc.cwnd(), MAX_CWND);
            let context = CongestionContext { now: path.now, in_flight: u32::MAX, repeated: false };
            cc.on_congestion(CongestionEvent::FastRetransmit, &context);
            (0..10).for_each(|_| cc.on_ack(&path.ack(u32::MAX)));
            cc.set_cwnd(0);
            assert_eq!(cc.cwnd(), 1);
            cc.on_ack(&path.ack(u32::MAX));
            cc.on_idle_restart(Duration::MAX, Duration::ZERO);
            cc.on_undo(u32::MAX, u32::MAX);
            assert_eq!(cc.cwnd(), MAX_CWND);
            cc.on_tx_start(path.now, Duration::MAX);
        }
    }
}

#[test]
fn fingerprint_is_relative_to_now_and_sees_the_state() {
    for name in ["reno", "cubic"] {
        let run = |start: u64, rounds: u32| {
            let mut path = Path::new(Congestion::by_name(name).unwrap(), ms(50));
            path.now = Instant::from_secs(start);
            path.round();
            path.lose(CongestionEvent::FastRetransmit);
            (0..rounds).for_each(|_| path.round());
            fingerprint(&path.cc.clone(), path.now)
        };
        assert_eq!(run(100, 3), run(5000, 3));
        assert_ne!(run(100, 3), run(100, 4));
    }
}

#[test]
fn a_controller_from_outside_is_cloned_with_its_state() {
    let mut custom = Congestion::Custom(NewReno::new().clone_box());
    custom.set_cwnd(5);
    let copy = custom.clone();
    custom.set_cwnd(9);
    assert_eq!((copy.cwnd(), copy.name(), copy.pacing_rate()), (5, "newreno", None));
}

use super::*;
use crate::config::TcpConfig;
use alloc::vec::Vec;
use siphasher::sip::SipHasher13;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sender that always fills its window, over a path of a fixed round-trip time.
pub(super) struct Path<C> {
    pub(super) cc: C,
    pub(super) window: Window,
    pub(super) now: Instant,
    pub(super) rtt: Duration,
}

impl<C: CongestionControl> Path<C> {
    pub(super) fn new(cc: C, rtt: Duration) -> Self {
        Path { cc, window: Window::new(), now: Instant::from_secs(100), rtt }
    }

    pub(super) fn flow(&self) -> Flow {
        Flow {
            now: self.now,
            mss: 1460,
            una: SeqNumber(0),
            nxt: SeqNumber(0),
            in_flight: self.window.cwnd,
            delivered: 0,
            delivered_ce: 0,
            delivered_at: self.now,
            lost: 0,
            srtt: Some(self.rtt),
            min_rtt: Some(self.rtt),
            state: CaState::Open,
            is_app_limited: false,
            is_paced: false,
            next_send: self.now,
            max_pacing_rate: u64::MAX,
        }
    }

    pub(super) fn sample(&self, acked: u32) -> AckSample {
        AckSample {
            flow: self.flow(),
            acked,
            lost: 0,
            rtt: Some(self.rtt),
            prior_in_flight: self.window.cwnd,
            is_cwnd_limited: true,
            may_grow: true,
            prior_delivered: Some(0),
            rate: None,
            may_be_delayed: false,
        }
    }

    pub(super) fn ack(&mut self, acked: u32) {
        let sample = self.sample(acked);
        self.cc.on_ack(&mut self.window, &sample);
    }

    /// A round trip: all segments of a window are acknowledged, evenly over the time.
    pub(super) fn round(&mut self) {
        let segments = self.window.cwnd;
        let start = self.now;
        for segment in 1..=segments {
            self.now = start + self.rtt * segment / segments;
            self.ack(1);
        }
    }

    /// A loss, with what the connection does about it.
    pub(super) fn lose(&mut self, state: CaState) {
        let flow = self.flow();
        self.window.ssthresh = self.cc.ssthresh(&self.window, &flow);
        self.window.acked = 0;
        self.cc.on_state(&mut self.window, state, &flow);
        if state == CaState::Loss {
            self.window.set_cwnd(1);
        } else {
            self.window.set_cwnd(self.window.ssthresh);
            self.cc.on_event(&mut self.window, CwndEvent::CompleteCwr, &flow);
        }
    }
}

impl CongestionControl for Box<dyn CongestionControl> {
    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        self.as_mut().on_ack(window, ack);
    }

    fn ssthresh(&mut self, window: &Window, flow: &Flow) -> u32 {
        self.as_mut().ssthresh(window, flow)
    }

    fn on_state(&mut self, window: &mut Window, state: CaState, flow: &Flow) {
        self.as_mut().on_state(window, state, flow);
    }

    fn on_event(&mut self, window: &mut Window, event: CwndEvent, flow: &Flow) {
        self.as_mut().on_event(window, event, flow);
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        self.as_ref().clone_box()
    }

    fn fingerprint(&self, origin: &Origin, state: &mut dyn Hasher) {
        self.as_ref().fingerprint(origin, state);
    }
}

fn both() -> [Box<dyn CongestionControl>; 2] {
    [Reno.clone_box(), Cubic::new().clone_box()]
}

fn own(name: &'static str) -> Algorithm {
    Algorithm { name, make: || Box::new(Cubic::new()) }
}

#[test]
fn algorithms_are_chosen_by_name_and_ones_own_come_first() {
    let mut cfg = TcpConfig::default();
    assert_eq!(cfg.available_congestion_controls(), ["reno", "cubic", "bbr", "bbr3", "dctcp"]);
    cfg.congestion_controls = [own("mine"), own("reno")].to_vec();
    assert_eq!(cfg.available_congestion_controls(), ["cubic", "bbr", "bbr3", "dctcp", "mine", "reno"]);
    for name in cfg.available_congestion_controls() {
        let cc = Congestion::by_name(&cfg, name).unwrap();
        assert_eq!(cc.is_plain(), name == "cubic");
        assert_eq!(cc.fresh(&cfg).is_plain(), name == "cubic");
    }
    assert!(Congestion::by_name(&cfg, "vegas").is_none());
    assert_eq!(Congestion::default().name(), "cubic");
}

#[test]
fn initial_window_is_ten_segments_and_slow_start_doubles_it_each_round_trip() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        assert_eq!((path.window.cwnd, path.window.ssthresh), (10, u32::MAX));
        for expected in [20, 40, 80, 160] {
            path.round();
            assert_eq!(path.window.cwnd, expected);
        }
    }
}

#[test]
fn one_ack_for_many_segments_counts_for_all_of_them() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        path.ack(10);
        assert_eq!(path.window.cwnd, 20);
    }
}

#[test]
fn a_window_that_is_not_used_or_is_being_reduced_does_not_grow() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        let unused = AckSample { is_cwnd_limited: false, ..path.sample(1) };
        let recovering = AckSample { may_grow: false, ..path.sample(1) };
        for sample in [unused, recovering] {
            (0..100).for_each(|_| path.cc.on_ack(&mut path.window, &sample));
        }
        assert_eq!(path.window.cwnd, 10);
    }
}

#[test]
fn after_a_timeout_slow_start_goes_up_to_the_threshold() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        (0..4).for_each(|_| path.round());
        path.lose(CaState::Loss);
        assert_eq!(path.window.cwnd, 1);
        (0..7).for_each(|_| path.round());
        assert!(path.window.cwnd >= path.window.ssthresh);
        let at_threshold = path.window.cwnd;
        path.round();
        assert!(path.window.cwnd < at_threshold + at_threshold / 4);
    }
}

#[test]
fn threshold_is_two_segments_at_least() {
    for cc in both() {
        let mut path = Path::new(cc, ms(50));
        path.window.set_cwnd(1);
        path.lose(CaState::Recovery);
        assert_eq!(path.window.ssthresh, 2);
    }
}

fn congestions() -> Vec<Congestion> {
    let cfg = TcpConfig { congestion_controls: [own("own")].to_vec(), ..TcpConfig::default() };
    ["reno", "cubic", "own"].map(|name| Congestion::by_name(&cfg, name).unwrap()).to_vec()
}

fn congest(cc: &mut Congestion) {
    let flow = Path::new(Reno, ms(50)).flow();
    cc.congest(&flow);
}

#[test]
fn an_undo_restores_window_and_threshold_unless_they_are_larger() {
    for mut cc in congestions() {
        cc.window.set_cwnd(160);
        congest(&mut cc);
        let flow = Path::new(Reno, ms(50)).flow();
        cc.window.set_cwnd(cc.ssthresh());
        cc.undo(160, u32::MAX, &flow);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (160, u32::MAX));
        cc.undo(20, 30, &flow);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (160, u32::MAX));
    }
}

#[test]
fn idle_time_halves_the_window_for_each_timeout_down_to_the_initial_one() {
    for mut cc in congestions() {
        cc.window.set_cwnd(80);
        cc.window.restart(ms(250), ms(200), 10);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (40, u32::MAX));
        cc.window.restart(Duration::from_secs(799), ms(200), 10);
        assert_eq!(cc.cwnd(), 10);
        cc.window.set_cwnd(4);
        cc.window.restart(Duration::from_secs(99), ms(200), 10);
        assert_eq!(cc.cwnd(), 4);
        // The threshold remembers three quarters of what was given up.
        congest(&mut cc);
        cc.window.set_cwnd(40);
        cc.window.restart(ms(450), ms(200), 10);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10, 30));
    }
}

#[test]
fn an_unused_window_is_given_up_and_three_quarters_are_remembered() {
    for mut cc in congestions() {
        congest(&mut cc);
        cc.window.set_cwnd(40);
        cc.window.unused(25);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (25, 30));
    }
}

#[test]
fn hostile_sizes_neither_overflow_nor_stop_the_window() {
    for cc in both() {
        let mut path = Path::new(cc, Duration::from_secs(10_000));
        for _ in 0..3 {
            (0..10).for_each(|_| path.ack(u32::MAX));
            assert_eq!(path.window.cwnd, MAX_CWND);
            path.lose(CaState::Recovery);
            (0..10).for_each(|_| path.ack(u32::MAX));
            path.window.set_cwnd(0);
            assert_eq!(path.window.cwnd, 1);
            path.ack(u32::MAX);
            path.window.restart(Duration::MAX, Duration::ZERO, 10);
            let flow = path.flow();
            path.window.set_cwnd(path.cc.undo_cwnd(&path.window, u32::MAX, &flow));
            assert_eq!(path.window.cwnd, MAX_CWND);
            let flow = path.flow();
            path.cc.on_event(&mut path.window, CwndEvent::TxStart { idle: Duration::MAX }, &flow);
        }
    }
}

fn fingerprint(cc: &Congestion, now: Instant) -> u64 {
    let mut state = SipHasher13::new();
    cc.fingerprint(&Origin { now, una: SeqNumber(0), delivered: 0, delivered_ce: 0, lost: 0 }, &mut state);
    state.finish()
}

#[test]
fn fingerprint_is_relative_to_now_and_sees_the_state() {
    for cc in congestions() {
        let run = |start: u64, rounds: u32| {
            let mut cc = cc.clone();
            let mut path = Path::new(Reno, ms(50));
            path.now = Instant::from_secs(start);
            cc.congest(&path.flow());
            for _ in 0..rounds {
                path.now += ms(50);
                let sample = path.sample(4);
                if cc.is_plain() {
                    let brief = Brief {
                        now: path.now,
                        acked: 4,
                        rtt: sample.rtt,
                        grows: true,
                        una: sample.flow.una,
                        nxt: sample.flow.nxt,
                        paced: false,
                    };
                    cc.on_plain_ack(&brief);
                } else {
                    cc.on_ack(&sample);
                }
            }
            fingerprint(&cc.clone(), path.now)
        };
        assert_eq!(run(100, 9), run(5000, 9));
        assert_ne!(run(100, 9), run(100, 10));
    }
}

#[test]
fn another_algorithm_takes_window_and_threshold_over() {
    let [mut from, to, own] = <[Congestion; 3]>::try_from(congestions()).unwrap();
    from.window = Window { cwnd: 33, ssthresh: 22, acked: 5 };
    for next in [to, own] {
        let name = next.name();
        from.hand_over(next);
        assert_eq!((from.name(), &from.window), (name, &Window { cwnd: 33, ssthresh: 22, acked: 5 }));
    }
}

use super::super::bottleneck::{Bottleneck, MSS, Modal};
use super::super::tests::{Path, ms};
use super::*;

impl Modal for Bbr {
    type Mode = Mode;

    fn mode(&self) -> Mode {
        self.mode
    }
}

#[test]
fn start_up_finds_the_rate_drains_its_queue_and_goes_on_to_probe() {
    // 1,000 segments a second over 40 ms: 40 fill the path.
    let mut link = Bottleneck::new(Bbr::new(), 1000, ms(40), 1);
    link.run(Duration::from_secs(3));
    assert_eq!(link.modes, [Mode::Startup, Mode::Drain, Mode::ProbeBw]);
    let bw = link.path.cc.bw.get() * 1_000_000 / BW_UNIT;
    assert!((950..=1050).contains(&bw), "{bw} segments a second");
    // Twice what fills the path, and room for three packets.
    assert!((80..=100).contains(&link.path.window.cwnd), "{}", link.path.window.cwnd);
    // No queue to speak of but while it probes.
    assert!(link.flight.len() < 60, "{}", link.flight.len());
}

#[test]
fn the_smallest_round_trip_is_looked_for_after_ten_seconds_with_four_segments_in_flight() {
    let mut link = Bottleneck::new(Bbr::new(), 1000, ms(40), 1);
    link.run(Duration::from_millis(9_900));
    assert!(!link.modes.contains(&Mode::ProbeRtt));
    let before = link.path.window.cwnd;
    while link.path.cc.mode != Mode::ProbeRtt {
        link.run(ms(1));
    }
    link.run(ms(100));
    assert_eq!((link.path.window.cwnd, link.path.cc.limits_itself()), (4, true));
    link.run(ms(400));
    assert_eq!(link.path.cc.mode, Mode::ProbeBw);
    assert!(link.path.window.cwnd >= before - 5, "{} after {before}", link.path.window.cwnd);
}

#[test]
fn the_phase_that_a_cycle_begins_with_comes_from_the_seed_and_is_never_the_draining_one() {
    let first = |seed| {
        let mut cc = Bbr { random: seed, ..Bbr::new() };
        let flow = Path::new(Bbr::new(), ms(40)).flow();
        cc.enter_probe_bw(&flow);
        cc.cycle
    };
    let mut seen = [0; 8];
    for seed in 0..700 {
        assert_eq!(first(seed), first(seed));
        seen[usize::from(first(seed))] += 1;
    }
    assert_eq!(seen[1], 0);
    assert!((0..8).filter(|phase| *phase != 1).all(|phase| seen[phase] > 50), "{seen:?}");
}

#[test]
fn a_policer_is_recognised_by_two_intervals_of_loss_at_the_same_rate() {
    let mut link = Bottleneck::new(Bbr::new(), 1000, ms(40), 1);
    link.run(Duration::from_secs(2));
    assert!(!link.path.cc.lt.in_use);
    let mut cc = link.path.cc.clone();
    let mut flow = link.flow();
    let mut windows = 0;
    // A quarter is lost, and 500 segments a second are delivered, round trip after round trip.
    while !cc.lt.in_use {
        cc.round_start = true;
        flow.now += ms(40);
        flow.delivered_at = flow.now;
        (flow.delivered, flow.lost) = (flow.delivered + 20, flow.lost + 7);
        cc.sample_long_term(&flow, true, false);
        windows += 1;
        assert!(windows < 20);
    }
    let bw = cc.lt.bw * 1_000_000 / BW_UNIT;
    assert!((490..=510).contains(&bw), "{bw} segments a second");
    assert_eq!(cc.bandwidth(), cc.lt.bw);
    // It is believed for 48 round trips.
    for _ in 0..LT_MAX_ROUNDS {
        assert!(cc.lt.in_use);
        cc.sample_long_term(&flow, false, false);
    }
    assert!(!cc.lt.in_use);
}

#[test]
fn in_recovery_a_segment_leaves_for_each_that_was_delivered_and_then_the_window_is_back() {
    let mut link = Bottleneck::new(Bbr::new(), 1000, ms(40), 1);
    link.run(Duration::from_secs(2));
    let (mut cc, mut window) = (link.path.cc.clone(), link.path.window.clone());
    let before = window.cwnd;
    let mut sample = AckSample { flow: link.flow(), ..link.path.sample(1) };
    cc.ssthresh(&window, &sample.flow);
    sample.flow.state = CaState::Recovery;
    (sample.flow.in_flight, sample.lost) = (30, 3);
    cc.set_cwnd(&mut window, &sample);
    assert_eq!(window.cwnd, 31);
    sample.flow.state = CaState::Open;
    (sample.flow.in_flight, sample.lost) = (31, 0);
    cc.set_cwnd(&mut window, &sample);
    assert!(window.cwnd.abs_diff(before) <= 2, "{} after {before}", window.cwnd);
}

#[test]
fn after_a_pause_of_the_application_it_sends_at_the_measured_rate() {
    let mut link = Bottleneck::new(Bbr::new(), 1000, ms(40), 1);
    link.run(Duration::from_secs(2));
    let flow = Flow { is_app_limited: true, ..link.flow() };
    let Bottleneck { path, .. } = &mut link;
    path.cc.pacing_rate = 7;
    path.cc.on_event(&mut path.window, CwndEvent::TxStart { idle: ms(900) }, &flow);
    assert!(path.cc.idle_restart);
    // A hundredth below 1,000 segments a second.
    let rate = path.cc.pacing_rate / MSS;
    assert!((940..=1040).contains(&rate), "{rate} segments a second");
}

#[test]
fn hostile_numbers_neither_overflow_nor_stop_it() {
    let mut link = Bottleneck::new(Bbr::new(), 1_000_000, Duration::from_micros(1), 1);
    let sample = link.path.sample(u32::MAX);
    let rate = RateSample {
        delivered: u32::MAX,
        interval: Duration::ZERO,
        send_interval: Duration::ZERO,
        ack_interval: Duration::MAX,
        is_app_limited: false,
        is_retransmission: true,
    };
    for state in [CaState::Open, CaState::Recovery, CaState::Loss, CaState::Open] {
        for delivered in [0, u32::MAX, 1 << 31, 5] {
            let flow =
                Flow { state, delivered, in_flight: u32::MAX, mss: u32::MAX, lost: delivered, ..sample.flow };
            let sample =
                AckSample { flow, rate: Some(rate), rtt: Some(Duration::MAX), lost: u32::MAX, ..sample };
            link.path.cc.on_ack(&mut link.path.window, &sample);
            link.path.cc.on_state(&mut link.path.window, state, &flow);
            assert!(link.path.window.cwnd >= 1);
        }
    }
}

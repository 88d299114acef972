use super::super::bottleneck::{Bottleneck, MSS, Modal};
use super::super::tests::ms;
use super::*;

impl Modal for Bbr3 {
    type Mode = Phase;

    fn mode(&self) -> Phase {
        self.phase
    }
}

/// 1,000 segments a second over 40 ms: 40 fill the path.
fn link() -> Bottleneck<Bbr3> {
    Bottleneck::new(Bbr3::new(), 1000, ms(40), 1)
}

fn segments_per_second(cc: &Bbr3) -> u64 {
    cc.bandwidth() * 1_000_000 / BW_UNIT
}

#[test]
fn start_up_finds_the_rate_drains_its_queue_and_probes_in_cycles() {
    let mut link = link();
    link.run(Duration::from_secs(4));
    // After the start-up nothing is left that would have to drain.
    let begin = [Phase::Startup, Phase::Drain, Phase::Cruise];
    let cycle = [Phase::Refill, Phase::Up, Phase::Down, Phase::Cruise];
    let expected: alloc::vec::Vec<_> =
        begin.into_iter().chain(cycle.into_iter().cycle()).take(link.modes.len()).collect();
    assert_eq!(link.modes, expected);
    assert!(link.modes.len() >= 7, "{:?}", link.modes);
    let bw = segments_per_second(&link.path.cc);
    assert!((950..=1050).contains(&bw), "{bw} segments a second");
}

#[test]
fn cruising_leaves_no_queue() {
    let mut link = link();
    link.run(Duration::from_secs(1));
    while link.path.cc.phase != Phase::Cruise {
        link.run(ms(1));
    }
    link.run(ms(200));
    assert_eq!(link.path.cc.phase, Phase::Cruise);
    assert!((36..=50).contains(&link.flight.len()), "{}", link.flight.len());
}

#[test]
fn many_losses_end_the_start_up_and_bound_what_is_in_flight() {
    let mut link = link();
    // The queue holds a quarter of what the path does.
    link.queue = 10;
    let mut state = CaState::Open;
    while link.path.cc.phase == Phase::Startup {
        link.run(ms(10));
        if link.lost > 0 && state == CaState::Open {
            state = CaState::Recovery;
            let Bottleneck { path, .. } = &mut link;
            let flow = path.flow();
            path.cc.ssthresh(&path.window, &flow);
        }
        link.path.cc.prior_state = state;
        link.state = state;
    }
    let cc = &link.path.cc;
    assert!(cc.full_bw_rounds < FULL_BW_ROUNDS, "the rate had stopped to grow");
    assert!((40..200).contains(&cc.bounds.inflight_long), "{:?}", cc.bounds);
}

#[test]
fn probe_that_loses_too_much_ends_and_leaves_a_bound_with_headroom() {
    let mut link = link();
    link.run(Duration::from_secs(1));
    while link.path.cc.phase != Phase::Refill {
        link.run(ms(1));
    }
    assert_eq!(link.path.cc.bounds.inflight_long, u32::MAX);
    link.queue = 4;
    while link.path.cc.bounds.inflight_long == u32::MAX {
        link.run(ms(1));
        assert!(link.path.cc.phase != Phase::Cruise, "nothing was too much");
    }
    let long = link.path.cc.bounds.inflight_long;
    assert!((28..=60).contains(&long), "{long}");
    assert_eq!(link.path.cc.phase, Phase::Down);
    while link.path.cc.phase != Phase::Cruise {
        link.run(ms(1));
    }
    link.run(ms(50));
    assert!(link.path.window.cwnd <= link.path.cc.with_headroom(), "{}", link.path.window.cwnd);
    assert!(link.path.cc.with_headroom() < long);
}

#[test]
fn losses_outside_of_a_probe_bound_the_rate_until_the_next_one() {
    let mut link = link();
    link.run(Duration::from_secs(1));
    while link.path.cc.phase != Phase::Cruise {
        link.run(ms(1));
    }
    link.run(ms(100));
    let before = segments_per_second(&link.path.cc);
    // Half as much passes now.
    (link.service, link.queue) = (link.service * 2, 10);
    link.run(ms(600));
    let cc = &link.path.cc;
    assert!(cc.bounds.bw_short < u64::MAX && segments_per_second(cc) < before * 3 / 4, "{:?}", cc.bounds);
    while link.path.cc.phase != Phase::Refill {
        link.run(ms(1));
    }
    assert_eq!(link.path.cc.bounds.bw_short, u64::MAX);
}

/// Each round trip with a loss that no probe asked for costs what it lost, until the next probe: 0.99^62 at the worst.
#[test]
fn one_per_cent_of_loss_leaves_three_fifths_of_the_rate() {
    let mut link = link();
    link.loses_one_in = Some(100);
    link.run(Duration::from_secs(20));
    assert!(link.delivered > 12_000, "{} of 20,000", link.delivered);
}

#[test]
fn the_smallest_round_trip_is_looked_for_every_five_seconds_with_half_of_the_path() {
    let mut link = link();
    link.run(Duration::from_millis(4_900));
    assert!(!link.modes.contains(&Phase::ProbeRtt));
    while link.path.cc.phase != Phase::ProbeRtt {
        link.run(ms(1));
    }
    link.run(ms(100));
    assert!((18..=22).contains(&link.path.window.cwnd), "{}", link.path.window.cwnd);
    assert!(link.path.cc.limits_itself());
    link.run(ms(300));
    assert!(link.path.cc.in_probe_bw());
    link.run(Duration::from_secs(5));
    assert_eq!(link.modes.iter().filter(|phase| **phase == Phase::ProbeRtt).count(), 2);
}

#[test]
fn after_a_pause_of_the_application_it_sends_at_the_measured_rate() {
    let mut link = link();
    link.run(Duration::from_secs(2));
    let flow = Flow { is_app_limited: true, ..link.flow() };
    let Bottleneck { path, .. } = &mut link;
    path.cc.pacing_rate = 7;
    path.cc.on_event(&mut path.window, CwndEvent::TxStart { idle: ms(900) }, &flow);
    let rate = path.cc.pacing_rate / MSS;
    assert!((940..=1040).contains(&rate), "{rate} segments a second");
}

#[test]
fn undo_gives_back_the_bounds_that_a_loss_had_set() {
    let mut link = link();
    link.run(Duration::from_secs(2));
    let flow = link.flow();
    let Bottleneck { path, .. } = &mut link;
    let (before, cwnd) = (path.cc.bounds, path.window.cwnd);
    path.cc.ssthresh(&path.window, &flow);
    path.cc.bounds = Bounds { bw_short: 1, inflight_short: 4, inflight_long: 4 };
    assert_eq!(path.cc.undo_cwnd(&Window { cwnd: 4, ..path.window }, cwnd, &flow), cwnd);
    assert_eq!(path.cc.bounds, before);
}

#[test]
fn hostile_numbers_neither_overflow_nor_stop_it() {
    let mut link = Bottleneck::new(Bbr3::new(), 1_000_000, Duration::from_micros(1), 1);
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

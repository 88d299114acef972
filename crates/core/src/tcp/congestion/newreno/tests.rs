use super::super::tests::{Path, ms};
use super::*;

/// Holds: MUST-19, R5681-9
#[test]
fn congestion_avoidance_adds_a_segment_each_round_trip() {
    let mut path = Path::new(NewReno::new(), ms(100));
    path.lose(CongestionEvent::FastRetransmit);
    assert_eq!(path.cc.cwnd(), 5);
    for expected in 6..40 {
        path.round();
        assert_eq!(path.cc.cwnd(), expected);
    }
}

#[test]
fn loss_halves_the_window() {
    let mut path = Path::new(NewReno::new(), ms(100));
    (0..3).for_each(|_| path.round());
    path.lose(CongestionEvent::FastRetransmit);
    assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (40, 40));
}

#[test]
fn the_ack_that_crosses_the_threshold_is_split_between_the_phases() {
    let mut cc = NewReno::new();
    (cc.window.cwnd, cc.window.ssthresh) = (10, 12);
    let path = Path::new(cc.clone(), ms(100));
    cc.on_ack(&path.ack(4));
    assert_eq!((cc.window.cwnd, cc.window.acked), (12, 2));
}

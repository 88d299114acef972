use super::super::tests::{MSS, Path, ms};
use super::*;

/// Holds: MUST-19, R5681-2, R5681-9
#[test]
fn congestion_avoidance_adds_a_segment_each_round_trip() {
    let mut path = Path::new(NewReno::new(MSS), ms(100));
    path.lose(CongestionEvent::FastRetransmit);
    assert_eq!(path.segments(), 5);
    for expected in 6..40 {
        path.round();
        assert_eq!(path.segments(), expected);
    }
}

#[test]
fn loss_halves_what_is_in_flight() {
    let mut path = Path::new(NewReno::new(MSS), ms(100));
    (0..3).for_each(|_| path.round());
    path.lose(CongestionEvent::FastRetransmit);
    assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (40 * MSS, 40 * MSS));
    // What counts is the flight, not the window.
    let context = CongestionContext { now: path.now, in_flight: 12 * MSS, repeated: false };
    path.cc.on_congestion(CongestionEvent::FastRetransmit, &context);
    assert_eq!(path.cc.ssthresh(), 6 * MSS);
}

#[test]
fn the_ack_that_crosses_the_threshold_is_split_between_the_phases() {
    let mut cc = NewReno::new(MSS);
    (cc.cwnd, cc.ssthresh) = (10 * MSS, 12 * MSS);
    let path = Path::new(cc.clone(), ms(100));
    cc.on_ack(&path.ack(4 * MSS));
    assert_eq!((cc.cwnd, cc.acked), (12 * MSS, 2 * MSS));
}

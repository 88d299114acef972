use super::super::CaState;
use super::super::tests::{Path, ms};
use super::*;

/// Holds: MUST-19, R5681-9
#[test]
fn congestion_avoidance_adds_a_segment_each_round_trip() {
    let mut path = Path::new(Reno, ms(100));
    path.lose(CaState::Recovery);
    assert_eq!(path.window.cwnd, 5);
    for expected in 6..40 {
        path.round();
        assert_eq!(path.window.cwnd, expected);
    }
}

#[test]
fn loss_halves_the_window() {
    let mut path = Path::new(Reno, ms(100));
    (0..3).for_each(|_| path.round());
    path.lose(CaState::Recovery);
    assert_eq!((path.window.cwnd, path.window.ssthresh), (40, 40));
}

#[test]
fn the_ack_that_crosses_the_threshold_is_split_between_the_phases() {
    let mut path = Path::new(Reno, ms(100));
    (path.window.cwnd, path.window.ssthresh) = (10, 12);
    path.ack(4);
    assert_eq!((path.window.cwnd, path.window.acked), (12, 2));
}

use super::*;
use crate::tcp::congestion::tests::{Path, ms};

/// A sender that fills its window, round trip after round trip, of which a share is marked.
struct Sender {
    path: Path<Dctcp>,
    delivered: u32,
    delivered_ce: u32,
    una: SeqNumber,
}

impl Sender {
    fn new(ecn: bool) -> Self {
        let mut sender = Self {
            path: Path::new(Dctcp::new(), ms(1)),
            delivered: 0,
            delivered_ce: 0,
            una: SeqNumber(u32::MAX - 5000),
        };
        sender.path.window.set_cwnd(100);
        let flow = sender.flow();
        sender.path.cc.on_start(&mut sender.path.window, &Start { flow, ecn, seed: 0 });
        sender
    }

    fn flow(&self) -> Flow {
        let nxt = self.una + 1460 * self.path.window.cwnd;
        let (delivered, delivered_ce) = (self.delivered, self.delivered_ce);
        Flow { una: self.una, nxt, delivered, delivered_ce, ..self.path.flow() }
    }

    /// A window is acknowledged, `marked` of its 100 segments with marks.
    fn round(&mut self, marked: u32) {
        let end = self.flow().nxt;
        self.delivered += 100;
        self.delivered_ce += marked;
        self.una = end;
        let sample = AckSample { flow: self.flow(), may_grow: false, ..self.path.sample(100) };
        self.path.cc.on_ack(&mut self.path.window, &sample);
    }

    fn threshold(&mut self) -> u32 {
        let flow = self.flow();
        self.path.cc.ssthresh(&self.path.window, &flow)
    }
}

#[test]
fn the_first_mark_halves_the_window() {
    let mut sender = Sender::new(true);
    assert_eq!(sender.threshold(), 50);
}

#[test]
fn the_mean_follows_the_marked_share_by_a_sixteenth() {
    let mut sender = Sender::new(true);
    sender.round(0);
    assert_eq!(sender.path.cc.alpha, 1024 - 64);
    sender.round(100);
    assert_eq!(sender.path.cc.alpha, 960 - 60 + 64);
    for _ in 0..200 {
        sender.round(25);
    }
    // 25 % is 256; whole sixteenths leave a little more.
    assert!((256..=271).contains(&sender.path.cc.alpha), "{}", sender.path.cc.alpha);
    let alpha = sender.path.cc.alpha;
    assert_eq!(sender.threshold(), 100 - ((100 * alpha) >> 11));
}

#[test]
fn without_marks_the_mean_reaches_zero() {
    let mut sender = Sender::new(true);
    for _ in 0..200 {
        sender.round(0);
    }
    assert_eq!((sender.path.cc.alpha, sender.threshold()), (0, 100));
}

#[test]
fn a_part_of_a_window_does_not_move_the_mean() {
    let mut sender = Sender::new(true);
    sender.delivered += 50;
    sender.delivered_ce += 50;
    sender.una += 1460 * 50;
    let sample = AckSample { flow: sender.flow(), ..sender.path.sample(50) };
    sender.path.cc.on_ack(&mut sender.path.window, &sample);
    assert_eq!(sender.path.cc.alpha, MAX_ALPHA);
    let flow = sender.flow();
    let report = sender.path.cc.report(&flow);
    assert_eq!(report, Some(Report::Dctcp { active: true, alpha: 1024, marked: 73_000, delivered: 73_000 }));
}

#[test]
fn a_loss_halves_whatever_the_mean() {
    let mut sender = Sender::new(true);
    for _ in 0..200 {
        sender.round(0);
    }
    sender.path.lose(CaState::Recovery);
    assert_eq!(sender.path.window.ssthresh, 50);
    let flow = sender.path.flow();
    assert_eq!(sender.path.cc.undo_cwnd(&sender.path.window, 0, &flow), 100);
    sender.path.window.set_cwnd(80);
    let flow = sender.flow();
    sender.path.cc.on_event(&mut sender.path.window, CwndEvent::Loss, &flow);
    assert_eq!(sender.path.window.ssthresh, 40);
}

#[test]
fn without_ecn_it_is_reno() {
    let mut sender = Sender::new(false);
    sender.round(100);
    assert_eq!(sender.threshold(), 50);
    sender.round(0);
    assert_eq!(sender.threshold(), 50);
    let flow = sender.flow();
    let report = Report::Dctcp { active: false, alpha: 0, marked: 0, delivered: 0 };
    assert_eq!(sender.path.cc.report(&flow), Some(report));
}

#[test]
fn hostile_counts_neither_overflow_nor_leave_the_scale() {
    let mut sender = Sender::new(true);
    for n in [u32::MAX, 1 << 31, 7, u32::MAX / 2] {
        let end = sender.flow().nxt;
        sender.una = end;
        sender.delivered_ce = sender.delivered_ce.wrapping_add(n);
        let sample = AckSample { flow: sender.flow(), ..sender.path.sample(1) };
        sender.path.cc.on_ack(&mut sender.path.window, &sample);
        assert!(sender.path.cc.alpha <= MAX_ALPHA);
        assert!(sender.threshold() >= 2);
    }
}

use super::super::Cubic;
use super::super::tests::ms;
use super::*;
use core::time::Duration;

/// A sender in slow start, of which all sequence numbers are segments; `spread` is the time between two ACKs.
struct Sender {
    cc: Cubic,
    window: Window,
    now: Instant,
    una: u32,
    nxt: u32,
}

impl Sender {
    fn new(kind: HyStart) -> Self {
        Sender { cc: Cubic::with(kind), window: Window::new(), now: Instant::from_secs(100), una: 0, nxt: 0 }
    }

    /// A window leaves at once; its ACKs come one after the other, the first after `rtt`.
    fn round(&mut self, rtt: Duration, spread: Duration) {
        let segments = self.window.cwnd;
        let sent = self.now;
        self.nxt = self.una + segments;
        self.now += rtt;
        for segment in 0..segments {
            self.una += 1;
            let ack = Brief {
                now: self.now,
                acked: 1,
                rtt: Some(self.now - sent),
                grows: true,
                una: SeqNumber(self.una),
                nxt: SeqNumber(self.nxt),
                paced: false,
            };
            self.cc.acked(&mut self.window, &ack);
            self.nxt += 2;
            self.now += if segment + 1 < segments { spread } else { Duration::ZERO };
        }
        self.nxt = self.una;
    }
}

#[test]
fn classic_stops_when_a_train_of_acks_lasts_for_half_a_round_trip() {
    let mut sender = Sender::new(HyStart::Classic);
    // A segment a millisecond: 20 of them fill half of 40 ms.
    (0..2).for_each(|_| sender.round(ms(40), ms(1)));
    assert!(sender.window.in_slow_start(), "{:?}", sender.window);
    (0..2).for_each(|_| sender.round(ms(40), ms(1)));
    assert!((40..=80).contains(&sender.window.ssthresh), "{:?}", sender.window);
}

#[test]
fn classic_stops_when_the_round_trip_grows_by_an_eighth() {
    let mut sender = Sender::new(HyStart::Classic);
    (0..3).for_each(|_| sender.round(ms(100), Duration::ZERO));
    assert_eq!((sender.window.cwnd, sender.window.ssthresh), (80, u32::MAX));
    sender.round(ms(112), Duration::ZERO);
    assert_eq!(sender.window.ssthresh, u32::MAX);
    sender.round(ms(113), Duration::ZERO);
    // Known with the ninth sample.
    assert_eq!(sender.window.ssthresh, 168);
}

#[test]
fn a_small_window_is_never_too_large() {
    let mut sender = Sender::new(HyStart::Classic);
    sender.round(ms(1), ms(1));
    sender.window.set_cwnd(8);
    sender.round(ms(100), ms(1));
    assert_eq!(sender.window.ssthresh, u32::MAX);
}

#[test]
fn off_stops_at_nothing() {
    let mut sender = Sender::new(HyStart::Off);
    (1..8).for_each(|round| sender.round(ms(40 * round), ms(1)));
    assert_eq!((sender.window.cwnd, sender.window.ssthresh), (1280, u32::MAX));
}

#[test]
fn plus_plus_grows_by_a_quarter_for_five_windows_and_then_avoids_congestion() {
    grows_by_a_quarter(Sender::new(HyStart::PlusPlus));
}

#[test]
fn plus_plus_does_the_same_from_any_initial_number() {
    for una in [1 << 31, 3 << 30, u32::MAX - 5000] {
        grows_by_a_quarter(Sender { una, ..Sender::new(HyStart::PlusPlus) });
    }
}

fn grows_by_a_quarter(mut sender: Sender) {
    (0..3).for_each(|_| sender.round(ms(100), Duration::ZERO));
    assert_eq!(sender.window.cwnd, 80);
    sender.round(ms(120), Duration::ZERO);
    let conservative = sender.window.cwnd;
    assert!((80..=105).contains(&conservative), "{conservative}");
    for _ in 0..4 {
        let before = sender.window.cwnd;
        sender.round(ms(120), Duration::ZERO);
        assert_eq!(sender.window.ssthresh, u32::MAX);
        assert!(sender.window.cwnd.abs_diff(before + before / 4) <= 1, "{before} {:?}", sender.window);
    }
    sender.round(ms(120), Duration::ZERO);
    assert!(!sender.window.in_slow_start(), "{:?}", sender.window);
}

#[test]
fn plus_plus_goes_on_with_slow_start_when_the_round_trip_shrinks_again() {
    let mut sender = Sender::new(HyStart::PlusPlus);
    (0..3).for_each(|_| sender.round(ms(100), Duration::ZERO));
    sender.round(ms(120), Duration::ZERO);
    sender.round(ms(110), Duration::ZERO);
    let before = sender.window.cwnd;
    sender.round(ms(110), Duration::ZERO);
    assert!(sender.window.cwnd > 2 * before - 10, "{before} {:?}", sender.window);
}

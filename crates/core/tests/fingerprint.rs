//! `Stack::fingerprint`: two stacks that behave the same are the same (architecture, law 5).

use core::time::Duration;
use lastack_core::wire::Capabilities;
use lastack_core::{Config, Instant, Stack, TcpHandle};

struct Two {
    now: Instant,
    a: Stack,
    b: Stack,
    client: TcpHandle,
    server: TcpHandle,
}

fn stack(addr: &str, seed: u8, now: Instant) -> Stack {
    let config = Config { addresses: vec![addr.parse().unwrap()], ..Config::default() };
    Stack::new(config, Capabilities::plain(1500), [seed; 32], now)
}

impl Two {
    /// A connection from a bound port, opened at `start` with ISNs that follow from `seed` and `start`.
    fn open(start: Instant, seed: u8) -> Self {
        Self::open_with(start, seed, true)
    }

    fn open_with(start: Instant, seed: u8, timestamps: bool) -> Self {
        let (mut a, mut b) = (stack("10.0.0.1/24", seed, start), stack("10.0.0.2/24", seed + 1, start));
        a.tcp_config_mut().timestamps = timestamps;
        let listener = b.tcp_socket();
        b.tcp_bind(listener, "10.0.0.2:80".parse().unwrap()).unwrap();
        b.tcp_listen(start, listener, 16).unwrap();
        let client = a.tcp_socket();
        a.tcp_bind(client, "10.0.0.1:4000".parse().unwrap()).unwrap();
        a.tcp_connect(start, client, "10.0.0.2:80".parse().unwrap()).unwrap();
        let mut two = Self { now: start, a, b, client, server: listener };
        two.exchange();
        two.server = two.b.tcp_accept(listener).unwrap();
        two.b.tcp_close(two.now, listener);
        two
    }

    fn exchange(&mut self) {
        let mut frame = [0; 1500];
        for _ in 0..50 {
            self.now += Duration::from_millis(1);
            for _ in 0..2 {
                while let Some((len, meta)) = self.a.transmit(self.now, &mut frame) {
                    self.b.receive(self.now, &meta, &frame[..len]);
                }
                std::mem::swap(&mut self.a, &mut self.b);
            }
            self.a.handle_timeout(self.now);
            self.b.handle_timeout(self.now);
            while self.a.poll_event().is_some() || self.b.poll_event().is_some() {}
        }
    }

    fn prints(&self) -> (u128, u128) {
        (self.a.fingerprint(self.now), self.b.fingerprint(self.now))
    }
}

#[test]
fn absolute_time_and_initial_sequence_numbers_make_no_difference() {
    // The initial numbers follow the clock too.
    same(Two::open(Instant::from_secs(1), 1), Two::open(Instant::from_secs(86_400), 1));
}

/// With timestamps the offset of the peer's clock counts, which follows from its secret: how old the last stamp is decides
/// what is refused as a duplicate, and a stack cannot tell that age from the offset.
#[test]
fn without_timestamps_secrets_make_no_difference() {
    let plain = |start, seed| Two::open_with(start, seed, false);
    same(plain(Instant::from_secs(1), 1), plain(Instant::from_secs(86_400), 7));
}

fn same(mut early: Two, mut late: Two) {
    assert_eq!(early.prints(), late.prints());
    for two in [&mut early, &mut late] {
        two.a.tcp_write(two.now, two.client, b"hello").unwrap();
    }
    assert_eq!(early.prints(), late.prints());
    for two in [&mut early, &mut late] {
        two.exchange();
        two.a.tcp_close(two.now, two.client);
        two.exchange();
    }
    assert_eq!(early.prints(), late.prints());
}

#[test]
fn each_step_that_changes_behaviour_changes_the_fingerprint() {
    let mut two = Two::open(Instant::from_secs(1), 1);
    let mut seen = vec![two.prints()];
    let mut note = |two: &Two| {
        let prints = two.prints();
        assert!(!seen.contains(&prints), "step {} looks like an earlier one", seen.len());
        seen.push(prints);
    };
    two.a.tcp_write(two.now, two.client, b"one").unwrap();
    note(&two);
    two.exchange();
    note(&two);
    two.b.tcp_read(two.now, two.server, &mut [0; 1]).unwrap();
    note(&two);
    two.b.tcp_read(two.now, two.server, &mut [0; 2]).unwrap();
    two.exchange();
    two.a.tcp_close(two.now, two.client);
    note(&two);
    two.exchange();
    note(&two);
    two.b.tcp_close(two.now, two.server);
    note(&two);
    two.exchange();
    note(&two);
    // TIME_WAIT comes nearer to its end.
    two.now += Duration::from_secs(10);
    note(&two);
}

#[test]
fn a_clone_is_the_same_and_goes_its_own_way() {
    let mut two = Two::open(Instant::from_secs(1), 1);
    let copy = two.a.clone();
    assert_eq!(copy.fingerprint(two.now), two.a.fingerprint(two.now));
    two.a.tcp_write(two.now, two.client, b"more").unwrap();
    assert_ne!(copy.fingerprint(two.now), two.a.fingerprint(two.now));
    assert_eq!(copy.tcp_unacked(two.client), 0);
}

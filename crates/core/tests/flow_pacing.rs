//! When paced packets leave (Linux's internal pacing, which does as sch_fq does): at a rate, one after the other, and what is not
//! used of it is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use lastack_core::TcpInfo;

const MSS: u64 = 1460;
/// A segment every 10 ms.
const RATE: u64 = MSS * 100;
const RTT: Duration = ms(100);

fn setup() -> Setup {
    Setup { scale: Some(7), ..Setup::default() }.with(|c| c.tcp.congestion = "reno".into())
}

/// An open connection to a peer that is `RTT` away.
fn open(setup: Setup) -> Rig {
    open_at(setup, RTT)
}

fn open_at(setup: Setup, rtt: Duration) -> Rig {
    let mut rig = Rig::new(setup);
    rig.connect();
    rig.advance(rtt);
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.expect("ACK 0(0) ack 0");
    rig
}

fn info(rig: &Rig) -> TcpInfo {
    rig.stack.tcp_info(rig.h()).unwrap()
}

/// What left together: milliseconds since `since`, and how many bytes.
type Departure = (u64, u64);

/// Lets `time` pass while a peer that is `rtt` away acknowledges everything; what leaves meanwhile, by its time.
fn flow(rig: &mut Rig, rtt: Duration, time: Duration) -> Vec<Departure> {
    flow_of(rig, rtt, time, 0)
}

/// The same, with `len` bytes written each millisecond, as far as they are taken.
fn flow_of(rig: &mut Rig, rtt: Duration, time: Duration, len: usize) -> Vec<Departure> {
    let since = rig.now;
    let mut departures: Vec<Departure> = Vec::new();
    let mut acks: Vec<(Instant, i64)> = Vec::new();
    rig.pump();
    while rig.now - since < time {
        for sent in rig.sent.drain(..).filter(|sent| !sent.payload.is_empty()) {
            let (at, len) = ((sent.at - since).as_millis() as u64, sent.payload.len() as u64);
            match departures.last_mut().filter(|last| last.0 == at) {
                Some(last) => last.1 += len,
                None => departures.push((at, len)),
            }
            acks.push((sent.at + rtt, i64::from(sent.rel_seq) + len as i64));
        }
        let now = rig.now;
        if let Some(ack) = acks.iter().filter(|(at, _)| *at <= now).map(|(_, ack)| *ack).max() {
            acks.retain(|(at, _)| *at > now);
            rig.inject(seg("ACK", 0, ack));
        }
        if len > 0 {
            let _ = rig.write(&vec![b'x'; len]);
        }
        rig.advance(ms(1));
    }
    departures
}

/// Packets of `segments`, `gap` ms apart from `first` on.
fn steady(first: u64, gap: u64, segments: u64, count: u64) -> Vec<Departure> {
    (0..count).map(|n| (first + gap * n, segments * MSS)).collect()
}

#[test]
fn ten_segments_leave_at_once_and_then_packets_of_two_at_the_rate() {
    let mut rig = open(setup());
    rig.option(TcpOption::MaxPacingRate(RATE));
    rig.write_len(60 * MSS as usize);
    let departures = flow(&mut rig, RTT, s(2));
    assert_eq!(departures[0], (0, 10 * MSS), "the initial window");
    // The first packet is shortened by half: the window was shut meanwhile.
    assert_eq!(departures[1], (100, 2 * MSS));
    assert_eq!(departures[2..], steady(110, 20, 2, 24));
}

#[test]
fn no_second_carries_more_than_the_rate_and_two_packets() {
    for rate in [3 * MSS, 77_777, 1_000_000, 9_999_999] {
        let mut rig = open(setup());
        rig.option(TcpOption::MaxPacingRate(rate));
        flow_of(&mut rig, RTT, s(3), 10_000);
        let departures = flow_of(&mut rig, RTT, s(4), 10_000);
        for (i, (from, _)) in departures.iter().enumerate() {
            let second: u64 =
                departures[i..].iter().filter(|(at, _)| *at < from + 1000).map(|(_, len)| *len).sum();
            let packet = (rate / 1024).max(2 * MSS);
            assert!(second <= rate + 2 * packet, "{second} bytes in the second after {from} ms at {rate}/s");
        }
        if rate <= 1_000_000 {
            let all: u64 = departures.iter().map(|(_, len)| *len).sum();
            assert!(all >= 4 * rate - 4 * MSS, "{all} bytes in 4 s at {rate}/s: the rate is used");
        }
    }
}

#[test]
fn idle_time_is_not_made_up_for_by_a_burst() {
    for idle in [ms(150), s(1), s(10), s(100_000)] {
        let mut rig = open(setup().with(|c| c.tcp.slow_start_after_idle = false));
        rig.option(TcpOption::MaxPacingRate(RATE));
        rig.write_len(40 * MSS as usize);
        flow(&mut rig, RTT, s(2));
        rig.advance(idle);
        rig.write_len(20 * MSS as usize);
        let departures = flow(&mut rig, RTT, s(1));
        assert_eq!(departures[0], (0, 2 * MSS), "after {idle:?}");
        assert_eq!(departures[1..], steady(10, 20, 2, 9), "after {idle:?}");
    }
}

#[test]
fn a_rate_of_zero_or_without_limit_holds_nothing_back() {
    for rate in [0, u64::MAX] {
        let mut rig = open(setup());
        rig.option(TcpOption::MaxPacingRate(RATE));
        rig.option(TcpOption::MaxPacingRate(rate));
        rig.write_len(30 * MSS as usize);
        // Whatever was set before, the next acknowledgement makes the rate anew.
        let departures = flow(&mut rig, RTT, ms(500));
        assert_eq!(departures[0], (0, 10 * MSS));
        let at_once = if rate == 0 { 20 * MSS } else { 2 * MSS };
        assert_eq!(departures[1], (100, at_once), "rate {rate}");
    }
}

#[test]
fn what_a_timer_sends_again_waits_for_no_rate() {
    let mut rig = open(setup());
    rig.option(TcpOption::MaxPacingRate(100));
    rig.write_len(30 * MSS as usize);
    let since = rig.now;
    assert_eq!(rig.take().len(), 10);
    rig.advance(s(10));
    let times: Vec<_> =
        rig.sent.drain(..).map(|sent| ((sent.at - since).as_millis(), sent.rel_seq)).collect();
    // 300 ms, and doubled each time; a segment at this rate would take 14.6 s.
    assert_eq!(times, [(300, 0), (900, 0), (2100, 0), (4500, 0), (9300, 0)]);
}

#[test]
fn the_rate_is_twice_a_window_in_a_round_trip_in_slow_start_and_1_2_times_after_it() {
    let mut rig = open(setup().with(|c| c.tcp.frto = false));
    rig.option(TcpOption::MaxPacingRate(u64::MAX - 1));
    rig.write_len(60 * MSS as usize);
    rig.take();
    rig.advance(RTT);
    rig.inject(seg("ACK", 0, 10 * MSS as i64));
    let of = |info: &TcpInfo, percent: u64| {
        u64::from(info.cwnd) * MSS * percent / 100 * 1_000_000 / info.srtt.as_micros() as u64
    };
    let slow = info(&rig);
    assert_eq!((slow.cwnd, slow.srtt, slow.pacing_rate), (20, RTT, of(&slow, 200)));
    assert_eq!(slow.pacing_rate, 584_000);
    // A timeout ends slow start at half of the window.
    rig.advance(s(1));
    flow_of(&mut rig, RTT, s(3), 10_000);
    let after = info(&rig);
    assert!(after.cwnd >= after.ssthresh, "{after:?}");
    assert_eq!(after.pacing_rate / 1000, of(&after, 120) / 1000);
}

#[test]
fn a_packet_is_a_millisecond_of_the_rate_and_more_to_near_peers() {
    for (rtt, rate, segments) in [
        // Far: at least two segments, and what 1/1024 s of the rate is worth.
        (RTT, 1_000_000, 2),
        (RTT, 5 * MSS * 1024, 5),
        // Near: 64 KiB, halved for each 512 us.
        (Duration::from_micros(400), 1_000_000, 44),
        (Duration::from_micros(1100), 1_000_000, 11),
        (Duration::from_micros(1100), 5 * MSS * 1024, 16),
    ] {
        let mut rig = open_at(setup().with(|c| c.tcp.initial_window = 100), rtt);
        // The window of the handshake is not scaled.
        rig.inject(seg("ACK", 0, 0));
        rig.option(TcpOption::MaxPacingRate(rate));
        rig.write_len(100 * MSS as usize);
        let at_once = rig.sent.drain(..).count() as u64;
        assert_eq!(at_once, 10u64.next_multiple_of(segments));
        let at = rig.stack.next_timeout().unwrap();
        rig.advance(at - rig.now);
        assert_eq!(rig.take().len() as u64, segments, "{rtt:?} away at {rate}/s");
    }
}

#[test]
fn a_write_that_follows_a_packet_that_was_not_full_is_a_packet_of_its_own() {
    let mut rig = open(setup());
    rig.option(TcpOption::MaxPacingRate(RATE));
    rig.write_len(20 * MSS as usize);
    flow(&mut rig, RTT, s(1));
    for _ in 0..3 {
        rig.write_len(MSS as usize);
    }
    // Of the first, half is paid for by the time before.
    assert_eq!(flow(&mut rig, RTT, s(1)), [(0, MSS), (5, 2 * MSS)]);
}

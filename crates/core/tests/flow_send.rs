//! What a sender does: windows, Nagle, the retransmission timer, fast recovery, probes, path MTU.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use lastack_core::TcpInfo;
use proptest::prelude::*;

const MSS: i64 = 1460;

fn open(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.open();
    // The first segment after the handshake counts as news of the window, not as a duplicate.
    rig.inject(seg("ACK", 0, 0));
    rig
}

/// Reno, whose window is plain arithmetic.
fn reno() -> Setup {
    Setup::default().with(|c| c.tcp.congestion = "reno".into())
}

fn info(rig: &Rig) -> TcpInfo {
    rig.stack.tcp_info(rig.h()).unwrap()
}

/// `(SEQ, length)` of what was sent.
fn pieces(rig: &mut Rig) -> Vec<(i64, usize)> {
    rig.pump();
    rig.sent.drain(..).map(|sent| (i64::from(sent.rel_seq), sent.payload.len())).collect()
}

fn segments(from: i64, count: i64) -> Vec<(i64, usize)> {
    (0..count).map(|n| ((from + n) * MSS, MSS as usize)).collect()
}

// RFC 6928.
/// Holds: SHLD-28, R5681-1, R5681-3, R5681-4
#[test]
fn the_initial_window_is_ten_segments() {
    let mut rig = open(reno());
    rig.write_len(60_000);
    assert_eq!(pieces(&mut rig), segments(0, 10));
    assert_eq!(info(&rig).unacked, 14_600);
    assert_eq!(info(&rig).unsent, 60_000 - 14_600);
}

/// Holds: MUST-19, R5681-2, R5681-8
#[test]
fn slow_start_grows_by_what_is_acknowledged() {
    let mut rig = open(reno());
    rig.write_len(60_000);
    rig.take();
    rig.inject(seg("ACK", 0, 2 * MSS));
    assert_eq!(pieces(&mut rig), segments(10, 4));
    assert_eq!(info(&rig).cwnd, 12);
    rig.inject(seg("ACK", 0, 5 * MSS));
    assert_eq!(pieces(&mut rig), segments(14, 6));
}

/// Holds: R5681-8
#[test]
fn acknowledging_a_segment_in_pieces_grows_the_window_no_faster() {
    let mut honest = open(reno());
    honest.write_len(60_000);
    let mut divider = honest.clone();
    honest.inject(seg("ACK", 0, 4 * MSS));
    for byte in 1..=4 * MSS {
        divider.inject(seg("ACK", 0, byte));
    }
    let (fair, divided) = (info(&honest).cwnd, info(&divider).cwnd);
    assert!(divided <= fair + 1, "{divided} against {fair}");
}

/// Holds: R5961-10, R5961-12
#[test]
fn an_ack_of_what_was_never_sent_changes_nothing_and_is_challenged_at_a_limited_rate() {
    let mut rig = open(reno());
    rig.write_len(60_000);
    rig.take();
    let before = info(&rig);
    for _ in 0..100 {
        rig.inject(seg("ACK", 0, 10 * MSS + 1));
    }
    assert_eq!(rig.take(), ["ACK 14600(0) ack 0"]);
    let after = info(&rig);
    assert_eq!((before.cwnd, before.unacked), (after.cwnd, after.unacked));
}

// RFC 6582.
/// Holds: R5681-7, R5681-12, R5681-13, R5681-15, R5681-17
#[test]
fn three_duplicates_retransmit_and_the_first_two_send_new_data() {
    let mut rig = open(reno());
    rig.write_len(60_000);
    rig.take();
    for n in 10..12 {
        rig.inject(seg("ACK", 0, 0));
        assert_eq!(pieces(&mut rig), segments(n, 1), "limited transmit");
        assert_eq!(info(&rig).cwnd, 10);
    }
    rig.inject(seg("ACK", 0, 0));
    assert_eq!(pieces(&mut rig), segments(0, 1));
    assert_eq!(info(&rig).ssthresh, 5);
    assert_eq!((info(&rig).segments.sacked, info(&rig).segments.lost), (3, 1));
    assert!(info(&rig).in_recovery);
    // From now on a segment leaves for each second one that is delivered (RFC 6937), until the window is there.
    let mut next = 12;
    for more in [0, 1, 0, 1, 0, 0, 1, 1] {
        rig.inject(seg("ACK", 0, 0));
        assert_eq!(pieces(&mut rig), segments(next, more), "{next}");
        next += more;
    }
    // The full acknowledgement ends it: ssthresh.
    rig.inject(seg("ACK", 0, 13 * MSS));
    assert!(!info(&rig).in_recovery);
    assert_eq!(info(&rig).cwnd, 5);
    assert_eq!(rig.stack.counters().retrans_segs, 1);
    assert_eq!(rig.stack.counters().fast_recoveries, 1);
}

// RFC 6582 3.2 step 3.
#[test]
fn a_partial_ack_retransmits_the_next_hole_as_soon_as_the_reduced_window_lets_it_out() {
    let mut rig = open(reno());
    rig.write_len(14_600);
    rig.take();
    for _ in 0..3 {
        rig.inject(seg("ACK", 0, 0));
    }
    assert_eq!(pieces(&mut rig), segments(0, 1));
    // Five segments are in flight besides the hole, and five is the window.
    rig.inject(seg("ACK", 0, 3 * MSS));
    rig.expect_nothing();
    assert_eq!(info(&rig).segments.lost, 1);
    assert!(info(&rig).in_recovery);
    rig.inject(seg("ACK", 0, 6 * MSS));
    assert_eq!(pieces(&mut rig), segments(6, 1), "the hole after that");
    rig.inject(seg("ACK", 0, 10 * MSS));
    assert_eq!(info(&rig).unacked, 0);
    rig.advance(s(5));
    rig.expect_nothing();
}

// RFC 6582 3.2 step 2: duplicates caused by needless retransmissions begin no second recovery.
#[test]
fn duplicates_below_the_recovery_point_after_a_timeout_retransmit_nothing() {
    let mut rig = open(reno());
    rig.write_len(14_600);
    rig.take();
    rig.advance(ms(201));
    assert_eq!(pieces(&mut rig), segments(0, 1));
    for _ in 0..5 {
        rig.inject(seg("ACK", 0, 0));
    }
    rig.expect_nothing();
    assert_eq!(rig.stack.counters().fast_recoveries, 0);
}

// What a SACK peer's duplicate does not say did not happen.
/// Holds: R5681-14
#[test]
fn a_duplicate_of_a_sack_peer_counts_only_with_sack_blocks() {
    let mut rig = open(Setup { sack: true, ..reno() });
    rig.write_len(60_000);
    rig.take();
    for _ in 0..10 {
        rig.inject(seg("ACK", 0, 0));
    }
    rig.expect_nothing();
    for n in 1..=3 {
        let mut options = Options::default();
        let first = rig.iss + 1;
        options.sack.push(first + MSS as u32, first + ((n + 1) * MSS) as u32);
        rig.inject(seg("ACK", 0, 0).options(options));
    }
    let sent = pieces(&mut rig);
    assert_eq!(sent.last(), Some(&(0, 1460)), "{sent:?}");
    assert!(info(&rig).in_recovery);
}

#[test]
fn a_thousand_forged_duplicates_send_a_segment_each_at_most() {
    let mut rig = open(Setup { scale: Some(7), ..reno() });
    rig.write_len(3_000_000);
    rig.take();
    for _ in 0..1000 {
        rig.inject(seg("ACK", 0, 0));
    }
    let sent = pieces(&mut rig);
    assert_eq!(sent.iter().filter(|(seq, _)| *seq == 0).count(), 1);
    // Linux takes new data for delivered by a duplicate too; the peer's window and the send buffer bound it.
    assert!(sent.len() <= 1000, "{} segments", sent.len());
}

// RFC 5681 equation 4.
/// Holds: MUST-19, R6298-10, R6298-12, R6298-13, R5681-10
#[test]
fn the_timer_resends_the_oldest_segment_with_back_off_and_one_segment_of_window() {
    let mut rig = open(reno());
    rig.write_len(14_600);
    rig.take();
    let start = rig.now;
    rig.advance(ms(3100));
    let sent = rig.take_timed(start);
    let (times, texts): (Vec<u64>, Vec<String>) = sent.into_iter().unzip();
    assert_eq!(times, [201, 603, 1407, 3015]);
    assert!(texts.iter().all(|text| text == "ACK 0(1460) ack 0"), "{texts:?}");
    assert_eq!((info(&rig).cwnd, info(&rig).ssthresh), (1, 5));
    assert_eq!(info(&rig).backoff, 4);
}

#[test]
fn recovery_after_a_timeout_goes_on_in_slow_start() {
    let mut rig = open(reno().with(|config| config.tcp.frto = false));
    rig.write_len(60_000);
    rig.take();
    rig.advance(ms(201));
    assert_eq!(pieces(&mut rig), segments(0, 1));
    rig.inject(seg("ACK", 0, MSS));
    assert_eq!(pieces(&mut rig), segments(1, 2));
    rig.inject(seg("ACK", 0, 2 * MSS));
    assert_eq!(pieces(&mut rig), segments(3, 2));
    // The peer had the rest: what it acknowledges is not sent again.
    rig.inject(seg("ACK", 0, 9 * MSS));
    let sent = pieces(&mut rig);
    assert_eq!(sent[0], (9 * MSS, 1460));
    assert!(sent.iter().skip(1).all(|(seq, _)| *seq >= 10 * MSS), "{sent:?}");
    assert!(info(&rig).in_recovery);
    // Without SACK the state is held until something above is acknowledged (RFC 6582 4.1).
    rig.inject(seg("ACK", 0, 10 * MSS));
    assert!(info(&rig).in_recovery);
    rig.inject(seg("ACK", 0, 11 * MSS));
    assert!(!info(&rig).in_recovery);
}

// Karn's rule; the back-off stays until a segment that was sent once is acknowledged.
/// Holds: MUST-18, R6298-7
#[test]
fn a_retransmitted_segment_gives_no_sample_and_keeps_the_back_off() {
    let mut rig = open(reno());
    let before = info(&rig).srtt;
    rig.write_len(1000);
    rig.advance(ms(700));
    rig.take();
    rig.inject(seg("ACK", 0, 1000));
    assert_eq!((info(&rig).srtt, info(&rig).backoff), (before, 2));
    let start = rig.now;
    rig.write_len(1000);
    rig.advance(s(1));
    let times: Vec<u64> = rig.take_timed(start).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 804]);
    rig.inject(seg("ACK", 0, 2000));
    rig.write_len(1000);
    rig.advance(ms(50));
    rig.inject(seg("ACK", 0, 3000));
    assert_eq!(info(&rig).backoff, 0);
    assert!(info(&rig).srtt > before);
}

// Timestamps tell the transmissions apart.
/// Holds: R7323-25
#[test]
fn with_timestamps_a_retransmission_gives_a_sample() {
    let mut rig = open(Setup { timestamps: true, ..reno() });
    rig.write_len(1000);
    rig.advance(ms(250));
    let resent = rig.sent.pop_back().unwrap();
    rig.sent.clear();
    rig.advance(ms(30));
    let echo = resent.options.timestamps.unwrap().0;
    let stamp = rig.peer_ts();
    rig.inject(seg("ACK", 0, 1000).ts(stamp, echo));
    assert_eq!(info(&rig).backoff, 0);
    assert!(info(&rig).srtt < ms(50), "{:?}", info(&rig).srtt);
}

/// Holds: R6298-11
#[test]
fn the_timer_stops_when_all_is_acknowledged_and_restarts_with_progress() {
    let mut rig = open(reno());
    rig.write_len(2 * MSS as usize);
    rig.take();
    rig.advance(ms(150));
    rig.inject(seg("ACK", 0, MSS));
    rig.advance(ms(150));
    rig.expect_nothing();
    rig.inject(seg("ACK", 0, 2 * MSS));
    rig.advance(s(100));
    rig.expect_nothing();
}

// As Linux: halved for each RTO, not below the initial window.
/// Holds: R5681-18
#[test]
fn an_idle_window_is_not_trusted() {
    let mut rig = open(Setup { scale: Some(7), ..reno() });
    rig.write_len(200_000);
    let mut acked = 0;
    while acked < 200_000 {
        let sent: i64 = pieces(&mut rig).iter().map(|(seq, len)| seq + *len as i64).max().unwrap_or(acked);
        rig.inject(seg("ACK", 0, sent));
        acked = sent;
    }
    let grown = info(&rig).cwnd;
    assert!(grown > 70);
    rig.advance(s(60));
    rig.write_len(100_000);
    assert_eq!(pieces(&mut rig).len(), 10);
    assert_eq!(info(&rig).cwnd, 10);
    assert!(info(&rig).ssthresh >= grown / 4 * 3);
}

// The send buffer is in pieces of 16 KiB; the rig compares what is sent with what was written.
#[test]
fn a_lone_short_segment_carries_its_text_wherever_it_lies_in_the_buffer() {
    let mut rig = open(reno());
    let mut end = 0;
    for len in (1..300).step_by(7).cycle().take(400) {
        rig.write_len(len);
        assert_eq!(pieces(&mut rig), [(end, len)]);
        end += len as i64;
        rig.inject(seg("ACK", 0, end));
    }
    assert!(end > 3 * 16_384, "it crossed several of them");
}

// R7661 3: a window that is not used does not grow.
#[test]
fn an_unused_window_does_not_grow() {
    let mut rig = open(reno());
    for n in 1..=50 {
        rig.write_len(100);
        rig.inject(seg("ACK", 0, n * 100));
    }
    assert_eq!(info(&rig).cwnd, 10);
}

// Minshall's variant as Linux.
/// Holds: SHLD-7, MUST-60
#[test]
fn nagle_holds_a_second_small_segment_until_the_first_is_acknowledged() {
    let mut rig = open(reno());
    rig.write_len(10);
    assert_eq!(pieces(&mut rig), [(0, 10)], "nothing in flight: at once");
    rig.write_len(10);
    rig.write_len(10);
    rig.expect_nothing();
    rig.inject(seg("ACK", 0, 10));
    assert_eq!(pieces(&mut rig), [(10, 20)]);
    // A full segment goes whatever is in flight, its tail only when no small one is.
    rig.write_len(1460 + 5);
    assert_eq!(pieces(&mut rig), [(30, 1460)]);
    rig.inject(seg("ACK", 0, 30));
    assert_eq!(pieces(&mut rig), [(1490, 5)], "only a full segment is in flight");
}

/// Holds: MUST-17
#[test]
fn nodelay_sends_small_segments_at_once() {
    let mut rig = open(reno());
    rig.write_len(10);
    rig.write_len(10);
    assert_eq!(pieces(&mut rig), [(0, 10)]);
    rig.option(TcpOption::NoDelay(true));
    assert_eq!(pieces(&mut rig), [(10, 10)], "what waits is pushed");
    rig.write_len(10);
    assert_eq!(pieces(&mut rig), [(20, 10)]);
}

/// Holds: MUST-60
#[test]
fn cork_sends_full_segments_until_it_is_pulled_or_200_ms_are_over() {
    let mut rig = open(reno());
    rig.option(TcpOption::Cork(true));
    rig.write_len(2000);
    assert_eq!(pieces(&mut rig), [(0, 1460)]);
    rig.inject(seg("ACK", 0, 1460));
    rig.expect_nothing();
    rig.option(TcpOption::Cork(false));
    assert_eq!(pieces(&mut rig), [(1460, 540)]);
    rig.inject(seg("ACK", 0, 2000));
    rig.option(TcpOption::Cork(true));
    rig.write_len(100);
    let start = rig.now;
    rig.advance(ms(199));
    rig.expect_nothing();
    rig.advance(ms(2));
    assert_eq!(rig.take_timed(start), [(201, String::from("ACK 2000(100) ack 0"))]);
}

#[test]
fn a_fin_lets_the_tail_go() {
    let mut rig = open(reno());
    rig.option(TcpOption::Cork(true));
    rig.write_len(100);
    rig.expect_nothing();
    rig.shutdown(Shutdown::Write).unwrap();
    rig.expect("FIN,ACK 0(100) ack 0");
}

/// Holds: MUST-36, MUST-37, SHLD-29, SHLD-30
#[test]
fn a_zero_window_is_probed_with_back_off_for_as_long_as_the_peer_answers() {
    let mut rig = open(reno());
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.write_len(3000);
    rig.expect_nothing();
    let mut at = Vec::new();
    let start = rig.now;
    for _ in 0..30 {
        while rig.sent.is_empty() {
            rig.advance(ms(10));
        }
        let probe = rig.sent.pop_front().unwrap();
        assert_eq!((probe.rel_seq, probe.payload.len()), (-1, 0));
        at.push((probe.at - start).as_millis() as u64);
        rig.inject(seg("ACK", 0, 0).win(0));
    }
    let gaps: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(at[0], 201);
    for pair in gaps.windows(2) {
        assert!(pair[1] >= pair[0] * 3 / 2 || pair[1] >= 119_000, "{gaps:?}");
    }
    assert!(*gaps.last().unwrap() <= 120_010);
    assert_eq!(rig.app_state(), State::Established, "for ever");
    rig.inject(seg("ACK", 0, 0).win(65_535));
    assert_eq!(pieces(&mut rig), [(0, 1460), (1460, 1460), (2920, 80)]);
}

#[test]
fn an_unanswered_probe_is_repeated_and_the_loss_of_a_window_update_is_survived() {
    let mut rig = open(reno());
    rig.inject(seg("ACK", 0, 0).win(0));
    rig.write_len(100);
    // The update is lost; a probe's answer tells.
    rig.advance(ms(201));
    rig.expect("ACK -1(0) ack 0");
    rig.inject(seg("ACK", 0, 0));
    rig.expect("ACK 0(100) ack 0");
}

/// Holds: MUST-38
#[test]
fn a_sender_waits_for_a_useful_window_but_not_for_ever() {
    let mut rig = open(reno());
    rig.write_len(1460);
    rig.inject(seg("ACK", 0, 1460).win(300));
    rig.take();
    rig.write_len(5000);
    rig.expect_nothing();
    let start = rig.now;
    rig.advance(ms(250));
    assert_eq!(rig.take_timed(start), [(201, String::from("ACK 1460(300) ack 0"))], "the override");
}

#[test]
fn a_peer_whose_windows_are_all_small_gets_segments_of_half_of_them() {
    let mut rig = open(Setup { window: 1000, ..reno() });
    rig.write_len(5000);
    assert_eq!(pieces(&mut rig), [(0, 500), (500, 500)]);
}

/// Holds: MUST-34, SHLD-15, SHLD-16, R7323-10, R7323-13, R7323-15
#[test]
fn a_window_that_shrinks_below_what_was_sent_stops_new_data_and_allows_retransmission() {
    let mut rig = open(reno());
    rig.write_len(20_000);
    rig.take();
    rig.inject(seg("ACK", 0, MSS).win(1460));
    rig.expect_nothing();
    rig.advance(ms(202));
    assert_eq!(pieces(&mut rig), segments(1, 1));
    rig.inject(seg("ACK", 0, 10 * MSS));
    assert!(!pieces(&mut rig).is_empty());
}

/// Holds: R7323-8
#[test]
fn the_peers_window_is_scaled_by_its_shift() {
    let mut rig = open(Setup { scale: Some(5), window: 1000, ..reno() });
    rig.inject(seg("ACK", 0, 0).win(1000));
    assert_eq!(info(&rig).send_window, 32_000);
}

/// Holds: MUST-61
#[test]
fn psh_stands_on_the_last_segment_of_what_is_queued() {
    let mut rig = open(reno());
    rig.write_len(3000);
    let psh: Vec<bool> = rig.sent.drain(..).map(|sent| sent.flags.contains(Flags::PSH)).collect();
    assert_eq!(psh, [false, false, true]);
}

/// Holds: MUST-16
#[test]
fn options_count_against_the_segment_size() {
    let mut rig = open(Setup { timestamps: true, ..reno() });
    rig.write_len(5000);
    let sent = rig.sent.front().unwrap();
    assert_eq!((sent.payload.len(), sent.packet.len()), (1448, 1500));
}

// RFC 1191, RFC 5927.
/// Holds: MUST-16, R7323-35
/// Holds: R5681-6
#[test]
fn a_too_big_message_about_data_in_flight_cuts_the_segments_and_resends() {
    for v6 in [false, true] {
        let setup = if v6 { Setup::v6() } else { Setup::default() };
        let mut rig = open(Setup { sack: true, ..setup });
        rig.write_len(6000);
        rig.take();
        let before = info(&rig);
        // Forged: it quotes what is not in flight.
        rig.icmp("big", 1300, 100_000);
        rig.icmp("big", 1300, -5000);
        rig.expect_nothing();
        assert_eq!(info(&rig).mss, before.mss);
        assert_eq!(rig.stack.counters().icmp_out_of_window, 2);
        rig.icmp("big", 1300, 0);
        let mss = if v6 { 1240 } else { 1260 };
        let sent = pieces(&mut rig);
        assert_eq!(sent[0], (0, mss), "{sent:?}");
        assert!(sent.iter().all(|(_, len)| *len <= mss));
        assert_eq!(usize::from(info(&rig).mss), mss);
        // Not a sign of congestion: the window stays in segments, so that it shrinks with them in bytes.
        assert_eq!((info(&rig).ssthresh, info(&rig).cwnd), (u32::MAX, before.cwnd));
        // A larger one changes nothing.
        rig.icmp("big", 1400, 0);
        assert_eq!(usize::from(info(&rig).mss), mss);
        rig.inject(seg("ACK", 0, 6000));
        assert_eq!(info(&rig).unacked, 0);
        assert!(!info(&rig).in_recovery);
    }
}

#[test]
fn a_path_mtu_below_the_floor_is_raised_to_it() {
    let mut rig = open(Setup::default());
    rig.write_len(1000);
    rig.icmp("big", 100, 0);
    assert_eq!(info(&rig).path_mtu, 552);
}

#[test]
fn a_later_connection_begins_with_the_path_mtu_that_was_learned() {
    let mut rig = open(Setup::default());
    rig.write_len(5000);
    rig.icmp("big", 1300, 0);
    rig.local.set_port(81);
    rig.sent.clear();
    rig.connect();
    rig.inject(seg("SYN,ACK", -1, 0));
    assert_eq!(info(&rig).mss, 1260);
    // It is forgotten in time.
    rig.advance(s(601));
    rig.local.set_port(82);
    rig.sent.clear();
    rig.connect();
    rig.inject(seg("SYN,ACK", -1, 0));
    assert_eq!(info(&rig).mss, 1460);
}

#[test]
fn two_connections_both_heed_a_message_with_the_same_mtu() {
    let mut rig = open(Setup::default());
    rig.write_len(5000);
    let first = (rig.local, rig.iss, rig.socket.take());
    rig.local.set_port(81);
    rig.sent.clear();
    rig.open();
    rig.write_len(5000);
    rig.icmp("big", 1300, 0);
    assert_eq!(info(&rig).mss, 1260);
    (rig.local, rig.iss, rig.socket) = first;
    rig.icmp("big", 1300, 0);
    assert_eq!(info(&rig).mss, 1260);
}

// As Linux: soft in synchronized states.
/// Holds: MUST-54, MUST-56, SHLD-26
#[test]
fn icmp_errors_end_an_attempt_and_are_only_remembered_later() {
    for (kind, error) in [
        ("port", Error::ConnectionRefused),
        ("host", Error::HostUnreachable),
        ("net", Error::NetworkUnreachable),
        ("protocol", Error::ProtocolUnreachable),
        ("ttl", Error::HostUnreachable),
    ] {
        let mut rig = Rig::new(Setup::default());
        rig.connect();
        rig.icmp(kind, 0, -1);
        assert_eq!(rig.take_error(), Some(error), "{kind}");
        assert_eq!(rig.app_state(), State::Closed);
        let mut rig = open(Setup::default());
        rig.write_len(100);
        rig.icmp(kind, 0, 0);
        assert_eq!(rig.app_state(), State::Established);
        assert_eq!(rig.take_error(), None);
        rig.inject(seg("ACK", 0, 100));
        assert_eq!(info(&rig).unacked, 0);
    }
}

/// Holds: MUST-26, MUST-28, MUST-29, SHLD-12
#[test]
fn keepalive_probes_after_idle_and_resets_after_nine_unanswered() {
    let mut rig = open(Setup::default());
    rig.advance(s(10_000));
    rig.expect_nothing();
    rig.option(TcpOption::KeepAlive(true));
    let start = rig.now;
    rig.advance(s(7199));
    rig.take();
    rig.inject(seg("ACK", 0, 0).data(b"x"));
    rig.read().unwrap();
    rig.take();
    let heard = rig.now;
    rig.advance(s(7201));
    let probes = rig.take_timed(heard);
    assert_eq!(probes, [(7_200_000, String::from("ACK -1(0) ack 1"))], "since {start}");
    // An answer: alive.
    rig.inject(seg("ACK", 1, 0));
    let heard = rig.now;
    rig.advance(s(7200 + 9 * 75 + 1));
    let probes = rig.take_timed(heard);
    let expected: Vec<u64> = (0..10).map(|n| (7200 + n * 75) * 1000).collect();
    assert_eq!(probes.iter().map(|(at, _)| *at).collect::<Vec<_>>(), expected);
    assert_eq!(probes.last().unwrap().1, "RST,ACK 0(0) ack 1");
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::KeepAlive)));
    rig.expect_all_freed();
}

// RFC 5482; TCP_USER_TIMEOUT.
/// Holds: MUST-21
#[test]
fn the_user_timeout_counts_from_the_first_repeat_until_all_that_was_lost_has_arrived() {
    let mut rig = open(Setup::default());
    rig.option(TcpOption::UserTimeout(s(3)));
    rig.write_len(2 * MSS as usize);
    rig.advance(ms(2500));
    rig.inject(seg("ACK", 0, 2 * MSS));
    assert_eq!(rig.app_state(), State::Established);
    // All is well: the next loss has its own time. The back-off is the former's, as nothing gave a sample.
    rig.write_len(2 * MSS as usize);
    let sent = rig.now;
    rig.advance(ms(1608));
    assert_eq!(rig.take_timed(sent).last().map(|(at, _)| *at), Some(1608));
    // A part arrives, the rest never does: no more patience than was left.
    rig.advance(ms(100));
    rig.inject(seg("ACK", 0, 3 * MSS));
    rig.advance(ms(3216));
    assert_eq!(rig.app_state(), State::Established, "there is one attempt after progress");
    rig.advance(ms(1));
    assert_eq!(rig.app_state(), State::Closed);
    assert_eq!(rig.take_error(), Some(Error::TimedOut(Timeout::User)));
}

#[test]
fn the_send_buffer_bounds_what_is_taken_and_counts_down_with_acks() {
    let mut rig = open(Setup::default());
    rig.option(TcpOption::SendBuffer(10_000));
    assert_eq!(rig.write_len(50_000), 10_000);
    assert_eq!(rig.write(b"x"), Err(Error::WouldBlock));
    assert!(!rig.ready().contains(Ready::OUT));
    rig.events.clear();
    rig.inject(seg("ACK", 0, 1460));
    rig.inject(seg("ACK", 0, 5840));
    assert!(rig.ready().contains(Ready::OUT));
    assert_eq!(rig.events.len(), 1, "told once: {:?}", rig.events);
    assert_eq!(rig.stack.tcp_unacked(rig.h()), 10_000 - 5840);
}

// A megabyte in one-byte segments is charged with its records.
#[test]
fn one_byte_segments_do_not_escape_the_send_buffer() {
    let mut rig = open(Setup { scale: Some(7), ..Setup::default() });
    rig.option(TcpOption::NoDelay(true));
    rig.option(TcpOption::SendBuffer(4096));
    let mut taken = 0;
    while rig.write(b"x").is_ok() {
        taken += 1;
        assert!(taken < 4096);
    }
    assert!(taken >= 100, "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Windows that open, shut, shrink at random: no panic, nothing new beyond the edge, and all arrives.
    ///
    /// Holds: R7323-10
    #[test]
    fn any_sequence_of_windows_is_survived(
        scale in proptest::option::of(0..15u8),
        steps in proptest::collection::vec((any::<u16>(), 0..4u8, 0..400u64, 0..20_000usize), 1..40),
        modern in any::<bool>(),
    ) {
        let mut rig = open(Setup { scale, timestamps: modern, sack: modern, ..Setup::default() });
        let (mut written, mut sent_to, mut acked) = (0i64, 0i64, 0i64);
        let mut edge = 65_535i64;
        for (window, share, wait, write) in steps {
            written += rig.write(&vec![7; write]).unwrap_or(0) as i64;
            rig.advance(ms(wait));
            for sent in rig.sent.drain(..) {
                let end = i64::from(sent.rel_seq) + sent.payload.len() as i64;
                if end > sent_to {
                    assert!(end <= edge, "new data up to {end} beyond the edge {edge}");
                    sent_to = end;
                }
            }
            acked += (sent_to - acked) * i64::from(share) / 3;
            edge = edge.max(acked + (i64::from(window) << scale.unwrap_or(0)));
            rig.inject(seg("ACK", 0, acked).win(window));
        }
        for _ in 0..2000 {
            for sent in rig.sent.drain(..) {
                sent_to = sent_to.max(i64::from(sent.rel_seq) + sent.payload.len() as i64);
            }
            if sent_to == written && acked == written {
                break;
            }
            acked = sent_to;
            rig.inject(seg("ACK", 0, acked).win(65_535));
            rig.advance(s(130));
        }
        assert_eq!((sent_to, acked), (written, written));
        assert_eq!(rig.stack.counts().buffer_bytes, 0);
    }
}

//! TIME_WAIT: reuse from either side, assassination, restarts, and the budgets of answers.

mod common;
use common::*;
use lastack_core::wire::tcp::Options;

/// TIME_WAIT of a connection that a listener accepted; the listener still listens.
fn server_time_wait(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.open_passive();
    rig.close();
    rig.inject(seg("ACK", 0, 1));
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect_state(State::TimeWait);
    rig.take();
    rig
}

/// Holds: MAY-2
#[test]
fn a_syn_beyond_the_old_numbers_opens_a_new_incarnation() {
    // n26, W13.
    for setup in [Setup::default(), Setup::v6(), Setup::modern()] {
        let mut rig = server_time_wait(setup);
        rig.advance(s(3));
        rig.inject(seg("SYN", 5000, 0));
        let sent = rig.expect("SYN,ACK 65538(0) ack 5001");
        // Old SND.NXT was 1: its number is beyond any window of the old incarnation.
        assert_eq!(sent.seq, rig.iss + 2 + 65_537);
        rig.expect_state(State::NewSynRecv);
        assert_eq!(rig.stack.counters().time_wait_recycled, 1);
        assert_eq!(rig.stack.counts().time_wait, 0);
    }
}

/// Holds: SHLD-4
#[test]
fn a_syn_with_a_newer_stamp_opens_a_new_incarnation_whatever_its_number() {
    let mut rig = server_time_wait(Setup::modern());
    rig.advance(s(3));
    rig.inject(seg("SYN", -100_000, 0));
    assert!(rig.take()[0].starts_with("SYN,ACK 65538(0)"));
    rig.expect_state(State::NewSynRecv);
}

#[test]
fn a_syn_with_an_equal_stamp_and_an_old_number_is_an_old_duplicate() {
    let mut rig = server_time_wait(Setup::modern());
    let options = rig.syn_options();
    rig.advance(s(3));
    rig.inject(seg("SYN", -100_000, 0).options(options));
    rig.expect("ACK 1(0) ack 1");
    rig.expect_state(State::TimeWait);
}

#[test]
fn a_syn_with_fin_costs_no_record() {
    // The listener would drop it.
    let mut rig = server_time_wait(Setup::default());
    rig.inject(seg("SYN,FIN", 5000, 0));
    rig.expect("ACK 1(0) ack 1");
    rig.expect_state(State::TimeWait);
}

/// Holds: R1337-1, R1337-3
#[test]
fn the_new_incarnation_takes_no_byte_of_the_old_one() {
    // P9.
    let mut rig = server_time_wait(Setup::default());
    rig.advance(s(3));
    rig.inject(seg("SYN", 100_000, 0));
    let answer = rig.sent.pop_front().unwrap();
    let (old_iss, old_peer) = (rig.iss, rig.peer_iss);
    rig.iss = answer.seq;
    rig.peer_iss = old_peer + 1 + 100_000;
    rig.inject(seg("ACK", 0, 0));
    rig.socket = Some(rig.stack.tcp_accept(rig.listener.unwrap()).unwrap());
    // Late text, an ACK and a FIN of the old incarnation.
    let (new_iss, new_peer) = (rig.iss, rig.peer_iss);
    (rig.iss, rig.peer_iss) = (old_iss, old_peer);
    for late in [seg("ACK", 0, 1).len(5), seg("ACK", 1, 1), seg("FIN,ACK", 0, 1), seg("RST", 1, 0)] {
        rig.inject(late);
    }
    (rig.iss, rig.peer_iss) = (new_iss, new_peer);
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.expect_state(State::Established);
    rig.take();
    rig.inject(seg("ACK", 0, 0).data(b"new"));
    assert_eq!(rig.read(), Ok(b"new".to_vec()));
}

#[test]
fn a_syn_from_time_wait_skips_the_syn_queue_but_not_the_accept_queue() {
    let mut rig = server_time_wait(Setup::default().with(|config| config.tcp.syn_cookies = false));
    let h = rig.listener.unwrap();
    rig.stack.tcp_listen(rig.now, h, 0).unwrap();
    let old = rig.peer;
    rig.next_peer();
    rig.peer_syn();
    let (waiting, iss) = (rig.peer, rig.iss);
    rig.next_peer();
    // The queue is full for others.
    rig.inject(seg("SYN", -1, 0));
    rig.expect_nothing();
    rig.peer = old;
    let mut overflowing = rig.clone();
    rig.inject(seg("SYN", 5000, 0));
    assert!(rig.take()[0].starts_with("SYN,ACK"));
    // With a full accept queue the SYN is dropped, and the record is gone.
    overflowing.peer = waiting;
    overflowing.iss = iss;
    overflowing.inject(seg("ACK", 0, 0));
    overflowing.peer = old;
    let drops = overflowing.stack.counters().listen_overflows;
    overflowing.inject(seg("SYN", 5000, 0));
    overflowing.expect_nothing();
    assert_eq!(overflowing.stack.counters().listen_overflows, drops + 1);
    overflowing.expect_gone();
}

/// Holds: R1337-4
#[test]
fn rfc_1337_keeps_time_wait_from_a_rst() {
    for on in [false, true] {
        let mut rig = Start::TimeWait.rig(Setup::default().with(|config| config.tcp.rfc1337 = on));
        rig.advance(s(6));
        rig.inject(seg("RST", 1, 0));
        rig.expect_nothing();
        assert_eq!(rig.state().is_some(), on);
        rig.advance(s(54));
        rig.expect_gone();
        rig.expect_all_freed();
    }
}

#[test]
fn restarts_can_be_capped() {
    // With a cap nobody can keep the record.
    let mut rig =
        Start::TimeWait.rig(Setup::default().with(|config| config.tcp.time_wait_restarts = Some(3)));
    let since = rig.now;
    while rig.state().is_some() && rig.now - since < s(1000) {
        rig.advance(s(20));
        rig.inject(seg("ACK", 1, 1));
    }
    assert!(rig.now - since <= s(140), "{:?}", rig.now - since);
    rig.take();
    rig.expect_all_freed();
}

/// Holds: U9293-14
#[test]
fn without_a_cap_any_segment_with_ack_keeps_the_record_as_on_linux() {
    let mut rig = Start::TimeWait.rig(Setup::default());
    for _ in 0..20 {
        rig.advance(s(59));
        rig.inject(seg("ACK", 1, 1));
        rig.expect_nothing();
    }
    rig.expect_state(State::TimeWait);
    rig.advance(s(60));
    rig.expect_gone();
}

/// TIME_WAIT of an outgoing connection from the only ephemeral port.
fn client_time_wait(mut setup: Setup) -> Rig {
    setup.config.ephemeral_ports = (5000, 5000);
    let mut rig = Rig::new(setup);
    rig.local.set_port(5000);
    rig.peer.set_port(80);
    connect_out(&mut rig).unwrap();
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.close();
    rig.inject(seg("ACK", 0, 1));
    rig.inject(seg("FIN,ACK", 0, 1));
    rig.expect_state(State::TimeWait);
    rig.take();
    rig
}

fn connect_out(rig: &mut Rig) -> Result<SeqNumber, Error> {
    let h = rig.stack.tcp_socket();
    let result = rig.stack.tcp_connect(rig.now, h, rig.peer);
    if let Err(error) = result {
        rig.stack.tcp_close(rig.now, h);
        return Err(error);
    }
    rig.socket = Some(h);
    rig.pump();
    let syn = rig.sent.pop_back().unwrap();
    let distance = syn.seq - rig.iss;
    rig.iss = syn.seq;
    Ok(SeqNumber(distance as u32))
}

#[test]
fn an_outgoing_connection_takes_time_wait_over_after_a_second() {
    // Section 7, rule 7.
    let mut rig = client_time_wait(Setup::modern());
    rig.advance(ms(999));
    assert_eq!(connect_out(&mut rig), Err(Error::AddrNotAvailable));
    rig.expect_state(State::TimeWait);
    rig.advance(ms(1));
    // Old SND.NXT = ISS + 2.
    assert_eq!(connect_out(&mut rig), Ok(SeqNumber(65_539)));
    rig.expect_state(State::SynSent);
    assert_eq!(rig.stack.counters().time_wait_recycled, 1);
    assert_eq!(rig.stack.counts().time_wait, 0);
    // PAWS guards the new connection from the start (S24): an old SYN does not cross ours.
    rig.inject(seg("SYN", -1, 0).options(Options { timestamps: Some((17, 0)), ..rig.syn_options() }));
    rig.expect_state(State::SynSent);
    rig.expect_nothing();
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.expect_state(State::Established);
}

#[test]
fn without_timestamps_an_outgoing_connection_waits_for_time_wait_to_end() {
    let mut rig = client_time_wait(Setup::default());
    rig.advance(s(59));
    assert_eq!(connect_out(&mut rig), Err(Error::AddrNotAvailable));
    rig.advance(s(1));
    assert!(connect_out(&mut rig).is_ok());
}

#[test]
fn reuse_by_an_outgoing_connection_can_be_switched_off() {
    let mut rig = client_time_wait(Setup::modern().with(|config| config.tcp.time_wait_reuse_delay = None));
    rig.advance(s(59));
    assert_eq!(connect_out(&mut rig), Err(Error::AddrNotAvailable));
}

#[test]
fn fin_wait_2_is_never_taken_over() {
    let mut setup = Setup::modern();
    setup.config.ephemeral_ports = (5000, 5000);
    let mut rig = Rig::new(setup);
    rig.local.set_port(5000);
    rig.peer.set_port(80);
    connect_out(&mut rig).unwrap();
    rig.inject(seg("SYN,ACK", -1, 0));
    rig.close();
    rig.inject(seg("ACK", 0, 1));
    rig.expect_state(State::FinWait2);
    rig.advance(s(30));
    assert_eq!(connect_out(&mut rig), Err(Error::AddrNotAvailable));
}

#[test]
fn time_wait_sends_the_acks_of_its_connection() {
    let mut rig = Start::TimeWait.rig(Setup::modern());
    rig.advance(s(1));
    let stamp = rig.peer_ts();
    rig.inject(seg("FIN,ACK", 0, 1));
    let sent = rig.expect("ACK 1(0) ack 1");
    let (value, echo) = sent.options.timestamps.expect("no timestamps");
    assert_eq!(value, rig.ts_echo);
    // Only a segment that was taken moves TS.Recent; the repeated FIN is not.
    assert!(echo.wrapping_sub(stamp) as i32 <= 0);
    assert!(sent.window > 0);
}

#[test]
fn the_handle_of_time_wait_reads_what_was_received() {
    let mut rig = Start::FinWait2.rig(Setup::default());
    rig.inject(seg("FIN,ACK", 0, 1).data(b"last words"));
    rig.expect("ACK 1(0) ack 11");
    rig.expect_state(State::TimeWait);
    assert_eq!(rig.app_state(), State::Closed);
    assert_eq!(rig.ready(), Ready::IN | Ready::OUT | Ready::RDHUP | Ready::HUP);
    assert_eq!(rig.read(), Ok(b"last words".to_vec()));
    assert_eq!(rig.read(), Ok(vec![]));
    assert_eq!(rig.write(b"x"), Err(Error::BrokenPipe));
    assert_eq!(rig.shutdown(Shutdown::Write), Err(Error::NotConnected));
    assert_eq!(rig.take_error(), None);
    rig.close();
    rig.expect_nothing();
    rig.expect_state(State::TimeWait);
    rig.advance(s(60));
    rig.expect_all_freed();
}

#[test]
fn a_socket_that_is_done_is_freed_while_its_record_waits() {
    let mut rig = Start::TimeWaitOrphan.rig(Setup::default());
    let counts = rig.stack.counts();
    assert_eq!((counts.sockets, counts.time_wait, counts.buffer_bytes), (0, 1, 0));
    rig.advance(s(60));
    rig.expect_all_freed();
}

/// `n` copies of a segment draw `wanted` answers; after 500 ms one more draws one more.
fn budget(start: Start, spec: SegSpec, n: usize, wanted: usize) {
    let mut rig = start.rig(Setup::default());
    for _ in 0..n {
        rig.inject(spec.clone());
    }
    assert_eq!(rig.take().len(), wanted, "{start:?} {:?}", spec.flags);
    rig.advance(ms(499));
    rig.take();
    rig.inject(spec.clone());
    assert_eq!(rig.take().len(), usize::from(wanted > 1), "{start:?}, after 499 ms");
    rig.advance(ms(1));
    rig.take();
    rig.inject(spec);
    assert_eq!(rig.take().len(), 1, "{start:?}, after 500 ms");
}

const SYNCHRONIZED: [Start; 6] =
    [Start::Established, Start::FinWait1, Start::FinWait2, Start::Closing, Start::CloseWait, Start::LastAck];

/// Holds: R5961-12
#[test]
fn challenge_acks_are_limited_to_one_in_500_ms() {
    // P7; the FIN that is repeated meanwhile is no answer, so states with one in flight are left out.
    for start in [Start::Established, Start::FinWait2, Start::CloseWait] {
        budget(start, seg("RST", start.rcv_nxt() + 10, 0), 20, 1);
        budget(start, seg("SYN", start.rcv_nxt() + 10, 0), 20, 1);
        budget(start, seg("ACK", start.rcv_nxt(), 9999), 20, 1);
    }
}

#[test]
fn empty_duplicates_are_limited_and_text_is_not() {
    for start in
        [Start::Established, Start::FinWait2, Start::CloseWait, Start::FinWait2Orphan, Start::TimeWait]
    {
        let far = start.rcv_nxt() + 300_000;
        budget(start, seg("ACK", far, 0), 20, 1);
        budget(start, seg("ACK", far, 0).len(3), 20, 20);
        budget(start, seg("ACK", start.rcv_nxt() - 50, start.snd_una()).len(3), 20, 20);
    }
}

#[test]
fn all_kinds_of_limited_acks_share_one_slot() {
    for start in SYNCHRONIZED {
        let mut rig = start.rig(Setup::default());
        rig.inject(seg("RST", start.rcv_nxt() + 10, 0));
        rig.inject(seg("SYN", start.rcv_nxt() + 10, 0));
        rig.inject(seg("ACK", start.rcv_nxt() + 300_000, start.snd_una()));
        rig.inject(seg("ACK", start.rcv_nxt(), 9999));
        assert_eq!(rig.take().len(), 1, "{start:?}");
        assert_eq!(rig.stack.counters().acks_skipped, 3, "{start:?}");
    }
}

/// Holds: R1337-2
#[test]
fn two_desynchronized_stacks_fall_silent() {
    // P7: each believes that the other's numbers are far away.
    let mut a = Start::Established.rig(Setup::default());
    let mut b = Start::Established.rig(Setup::default());
    let mut total = 0;
    a.inject(seg("ACK", 1_000_000, 0));
    for _ in 0..1000 {
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = match (from, to) {
                (0, _) => (&mut a, &mut b),
                _ => (&mut b, &mut a),
            };
            from.pump();
            for _ in core::mem::take(&mut from.sent) {
                total += 1;
                to.inject(seg("ACK", 1_000_000, 0));
            }
        }
    }
    assert!(total <= 2, "{total} ACKs");
}

/// Holds: R5961-4
#[test]
fn an_acceptable_rst_matches_the_highest_sack_edge() {
    let mut rig = Start::Established.rig(Setup { sack: true, ..Setup::default() });
    rig.inject(seg("ACK", 100, 0).len(50));
    rig.take();
    rig.inject(seg("RST", 150, 0));
    rig.expect_nothing();
    rig.expect_gone();
    assert_eq!(rig.take_error(), Some(Error::ConnectionReset));
}

#[test]
fn a_full_memory_ends_neither_time_wait_nor_a_close_that_owes_only_a_fin() {
    // No buffer gets any memory: the limit is met from the start.
    let mut pair = Pair::new(&Config { memory_limit: 0, ..Config::default() }, ms(5));
    let (client, server) = pair.connected();
    let now = pair.now;
    pair.a.tcp_shutdown(now, client, lastack_core::Shutdown::Write).unwrap();
    pair.run(ms(100));
    // The peer lets go: its FIN goes out, no RST.
    let now = pair.now;
    pair.b.tcp_close(now, server);
    pair.run(ms(100));
    assert_eq!((pair.a.counts().sockets, pair.a.counts().time_wait), (1, 1));
    let now = pair.now;
    pair.a.tcp_close(now, client);
    assert_eq!((pair.a.counts().sockets, pair.a.counts().time_wait), (0, 1));
    assert_eq!(pair.a.counters().out_rsts + pair.b.counters().out_rsts, 0);
}

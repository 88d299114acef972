//! The send buffer grows with the congestion window (Linux `tcp_sndbuf_expand`, `tcp_new_space`).

mod common;

use common::*;
use lastack_core::{Error, TcpConfig, TcpOption};

const MSS: usize = 1460;

/// An open connection to a peer with a large window; the buffer is smaller than a segment at first.
fn open(change: impl FnOnce(&mut TcpConfig)) -> Rig {
    let mut rig = Rig::new(Setup { scale: Some(9), ..Setup::default() }.with(|config| {
        config.tcp.congestion = "reno".into();
        config.tcp.send_buffer_initial = 1000;
        change(&mut config.tcp);
    }));
    rig.open();
    rig.inject(seg("ACK", 0, 0));
    rig
}

fn buffer(rig: &Rig) -> usize {
    rig.stack.tcp_options(rig.h()).unwrap().send_buffer
}

fn cwnd(rig: &Rig) -> usize {
    rig.stack.tcp_info(rig.h()).unwrap().cwnd as usize
}

/// Writes until nothing more is taken, and acknowledges all that is sent, so many times.
fn fill_and_ack(rig: &mut Rig, rounds: usize, acked: &mut i64) {
    for _ in 0..rounds {
        while rig.write(&[b'x'; 10_000]) != Err(Error::WouldBlock) {}
        rig.pump();
        let sent = rig.sent.drain(..).map(|sent| i64::from(sent.rel_seq) + sent.payload.len() as i64).max();
        *acked = sent.unwrap_or(*acked);
        rig.inject(seg("ACK", 0, *acked));
    }
}

#[test]
fn the_handshake_makes_room_for_the_initial_window_four_times() {
    assert_eq!(buffer(&open(|_| {})), 4 * 10 * MSS);
    assert_eq!(buffer(&open(|tcp| tcp.send_buffer_initial = 100_000)), 100_000, "what there is stays");
}

#[test]
fn bbr_has_room_for_six_windows() {
    assert_eq!(buffer(&open(|tcp| tcp.congestion = "bbr".into())), 6 * 10 * MSS);
}

#[test]
fn the_send_buffer_grows_with_the_congestion_window_of_a_writer_who_waits() {
    let mut rig = open(|tcp| tcp.send_buffer_max = 1 << 20);
    let (mut acked, mut before) = (0, buffer(&rig));
    for _ in 0..4 {
        fill_and_ack(&mut rig, 1, &mut acked);
        let now = buffer(&rig);
        assert!(now > before && now <= 4 * cwnd(&rig) * MSS, "{before}, then {now}");
        before = now;
    }
    fill_and_ack(&mut rig, 6, &mut acked);
    assert_eq!(buffer(&rig), 1 << 20, "the configured limit");
}

#[test]
fn a_writer_who_never_waits_needs_no_larger_send_buffer() {
    let mut rig = open(|_| {});
    let mut acked = 0;
    for _ in 0..6 {
        rig.write_len(20 * MSS);
        acked += 20 * MSS as i64;
        while rig.stack.tcp_info(rig.h()).unwrap().bytes_acked < acked as u64 {
            rig.pump();
            let sent = rig.sent.drain(..).map(|s| i64::from(s.rel_seq) + s.payload.len() as i64).max();
            rig.inject(seg("ACK", 0, sent.expect("something in flight")));
        }
    }
    assert!(cwnd(&rig) > 10);
    assert_eq!(buffer(&rig), 4 * 10 * MSS);
}

#[test]
fn a_send_buffer_that_was_set_stays() {
    let mut rig = open(|_| {});
    let h = rig.h();
    rig.stack.tcp_set_option(rig.now, h, TcpOption::SendBuffer(60_000)).unwrap();
    fill_and_ack(&mut rig, 8, &mut 0);
    assert_eq!(buffer(&rig), 60_000);
    assert!(cwnd(&rig) > 20);
}

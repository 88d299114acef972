//! Readiness is never lost: a socket that said "not writable" says so when that changes.

mod common;

use common::Pair;
use core::time::Duration;
use lastack_core::wire::Capabilities;
use lastack_core::{Config, Event, Instant, Ready, Stack, TcpOption};

/// Writes pieces of `size` bytes, sending each at once, until the socket is not writable; then lets the peer read and
/// acknowledge everything. Whether an event said that there is room again.
fn is_told_of_room(size: usize) -> bool {
    let mut pair = Pair::new(&Config::default(), Duration::from_millis(50));
    let (client, server) = pair.connected();
    pair.a.tcp_set_option(pair.now, client, TcpOption::SendBuffer(65_536)).unwrap();
    pair.a.tcp_set_option(pair.now, client, TcpOption::NoDelay(true)).unwrap();
    while pair.a.poll_event().is_some() {}
    let mut frame = vec![0; 65_536];
    let data = vec![1; size];
    while pair.a.tcp_ready(client).contains(Ready::OUT) {
        pair.a.tcp_write(pair.now, client, &data).unwrap();
        while let Some((len, meta)) = pair.a.transmit(pair.now, &mut frame) {
            pair.b.receive(pair.now, &meta, &frame[..len]);
        }
    }
    let mut told = false;
    for _ in 0..100 {
        pair.now += Duration::from_millis(50);
        pair.a.handle_timeout(pair.now);
        pair.b.handle_timeout(pair.now);
        let _ = pair.b.tcp_read(pair.now, server, &mut [0; 65_536]);
        while let Some((len, meta)) = pair.b.transmit(pair.now, &mut frame) {
            pair.a.receive(pair.now, &meta, &frame[..len]);
        }
        while let Some((len, meta)) = pair.a.transmit(pair.now, &mut frame) {
            pair.b.receive(pair.now, &meta, &frame[..len]);
        }
        while let Some(event) = pair.a.poll_event() {
            told |= matches!(event, Event::Tcp(_, ready) if ready.contains(Ready::OUT));
        }
    }
    assert_eq!(pair.a.tcp_unacked(client), 0);
    told
}

#[test]
fn a_writer_is_told_of_room_whatever_filled_the_buffer_its_bytes_or_the_records_of_its_pieces() {
    for size in [1, 7, 20, 33, 100, 700, 1448, 2000, 3000, 5000, 9000, 43_600, 43_680] {
        assert!(is_told_of_room(size), "pieces of {size} bytes");
    }
}

#[test]
fn a_larger_send_buffer_wakes_a_writer() {
    let mut pair = Pair::new(&Config::default(), Duration::from_millis(50));
    let (client, _) = pair.connected();
    pair.a.tcp_set_option(pair.now, client, TcpOption::SendBuffer(8192)).unwrap();
    while pair.a.tcp_write(pair.now, client, &[0; 4096]).is_ok() {}
    while pair.a.poll_event().is_some() {}
    pair.a.tcp_set_option(pair.now, client, TcpOption::SendBuffer(1 << 20)).unwrap();
    let event = pair.a.poll_event();
    assert!(matches!(event, Some(Event::Tcp(of, ready)) if of == client && ready.contains(Ready::OUT)));
}

#[test]
fn a_udp_sender_is_told_of_room_though_no_send_was_refused() {
    let config = Config { addresses: vec!["10.0.0.1/24".parse().unwrap()], ..Config::default() };
    let now = Instant::from_secs(1);
    let mut stack = Stack::new(config, Capabilities::plain(1500), [1; 32], now);
    let socket = stack.udp_socket();
    stack.udp_bind(socket, "10.0.0.1:5000".parse().unwrap()).unwrap();
    while stack.udp_ready(socket).contains(Ready::OUT) {
        stack.udp_send(now, socket, &[0; 1000], Some("10.0.0.2:5000".parse().unwrap()), None).unwrap();
    }
    while stack.poll_event().is_some() {}
    while stack.transmit(now, &mut [0; 1500]).is_some() {}
    assert!(stack.udp_ready(socket).contains(Ready::OUT));
    let event = stack.poll_event();
    assert!(matches!(event, Some(Event::Udp(of, ready)) if of == socket && ready.contains(Ready::OUT)));
}

//! Calls over the stack as Linux answers them, in virtual time.

mod common;

use common::{Rig, ms};
use lastack_core::wire::tcp::Options;
use lastack_packetdrill::call::{Address, Call, Data, EpollEvent, Fd, Out, PollFd, Room};
use std::net::SocketAddr;

fn errno(number: i32) -> i64 {
    -i64::from(number)
}

#[test]
fn a_connection_is_accepted_read_written_and_closed() {
    for mut rig in [Rig::v4(), Rig::v6()] {
        let (listener, fd) = rig.accepted(true);
        assert_eq!((listener, fd), (3, 4));
        rig.inject("P.", 1, 1, 1000);
        rig.expect(".", 1, 0, 1001);
        assert_eq!(rig.read(fd, 2000), 1000);
        assert_eq!(rig.read(fd, 2000), errno(libc::EAGAIN));
        assert_eq!(rig.write(fd, 2500), 2500);
        rig.expect(".", 1, 1000, 1001);
        rig.expect(".", 1001, 1000, 1001);
        rig.expect("P.", 2001, 500, 1001);
        rig.inject(".", 1001, 2501, 0);
        assert_eq!(rig.close(fd), 0);
        rig.expect("F.", 2501, 0, 1001);
        assert_eq!(rig.read(fd, 1), errno(libc::EBADF));
    }
}

#[test]
fn the_syn_offers_what_scripts_spell_out() {
    let mut rig = Rig::v4();
    let fd = rig.socket(true);
    let address = Address::Inet(SocketAddr::new(rig.peer.ip(), 8080));
    assert_eq!(rig.get(Call::Connect { fd, address: address.clone() }), errno(libc::EINPROGRESS));
    let syn = rig.expect("S", 0, 0, 0);
    assert_eq!((syn.options.mss, syn.options.window_scale), (Some(1460), Some(8)));
    assert!(syn.options.sack_permitted && syn.options.timestamps.is_some());
    assert_eq!(syn.window, 65_535);
    assert_eq!(rig.get(Call::Connect { fd, address: address.clone() }), errno(libc::EALREADY));
    rig.inject_with("S.", 0, 1, 0, 5792, Options { mss: Some(1460), ..Options::default() });
    rig.expect(".", 1, 0, 1);
    // The first call after the handshake is told of it, the next finds it done.
    assert_eq!(rig.get(Call::Connect { fd, address: address.clone() }), 0);
    assert_eq!(rig.get(Call::Connect { fd, address }), errno(libc::EISCONN));
}

#[test]
fn a_blocking_connect_returns_when_the_syn_ack_comes() {
    let mut rig = Rig::v6();
    let fd = rig.socket(false);
    let address = Address::Inet(SocketAddr::new(rig.peer.ip(), 8080));
    let ticket = rig.blocks(Call::Connect { fd, address });
    rig.expect("S", 0, 0, 0);
    rig.advance(ms(100));
    rig.inject_with("S.", 0, 1, 0, 5792, Options { mss: Some(1460), ..Options::default() });
    let finished = rig.machine.finished().unwrap();
    assert_eq!((finished.ticket, finished.at, finished.outcome.result), (ticket, rig.machine.now(), 0));
}

#[test]
fn a_refused_connect_leaves_a_socket_that_may_try_again() {
    let mut rig = Rig::v4();
    let fd = rig.socket(false);
    let address = Address::Inet(SocketAddr::new(rig.peer.ip(), 8080));
    rig.blocks(Call::Connect { fd, address: address.clone() });
    rig.expect("S", 0, 0, 0);
    rig.inject("R.", 0, 1, 0);
    assert_eq!(rig.machine.finished().unwrap().outcome.errno, libc::ECONNREFUSED);
    assert_eq!(rig.error(fd), 0);
    rig.blocks(Call::Connect { fd, address });
    rig.expect("S", 0, 0, 0);
}

#[test]
fn the_patience_of_connect_ends_with_einprogress() {
    let mut rig = Rig::v4();
    let fd = rig.socket(false);
    let value = Some([0u64, 500_000].map(u64::to_ne_bytes).concat());
    let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDTIMEO);
    assert_eq!(rig.get(Call::SetSockOpt { fd, level, name, value, len: 16 }), 0);
    let start = rig.machine.now();
    let address = Address::Inet(SocketAddr::new(rig.peer.ip(), 8080));
    rig.blocks(Call::Connect { fd, address: address.clone() });
    rig.advance(ms(5000));
    let finished = rig.machine.finished().unwrap();
    assert_eq!((finished.outcome.errno, finished.at - start), (libc::EINPROGRESS, ms(500)));
    rig.blocks(Call::Connect { fd, address });
    rig.advance(ms(1000));
    let finished = rig.machine.finished().unwrap();
    assert_eq!((finished.outcome.errno, finished.at - start), (libc::EALREADY, ms(1000)));
}

#[test]
fn disconnect_resets_keeps_options_and_leaves_an_error() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    rig.setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    assert_eq!(rig.get(Call::Connect { fd, address: Address::Unspecified }), 0);
    rig.expect("R.", 1, 0, 1);
    assert_eq!(rig.error(fd), libc::ECONNRESET);
    assert_eq!(rig.option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
    assert_eq!(rig.write(fd, 1), errno(libc::EPIPE));
    assert_eq!(rig.read(fd, 1), errno(libc::ENOTCONN));
}

#[test]
fn a_blocking_read_returns_at_the_moment_data_comes() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(false);
    let start = rig.machine.now();
    let ticket = rig.blocks(Call::Read { fd, rooms: vec![Room::Bytes(100)] });
    rig.advance(ms(300));
    rig.inject("P.", 1, 1, 10);
    let finished = rig.machine.finished().unwrap();
    assert_eq!((finished.ticket, finished.at - start), (ticket, ms(300)));
    assert_eq!(finished.outcome.out, Out::Data(vec![0; 10]));
}

#[test]
fn advancing_stops_where_a_blocked_call_returns() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(false);
    let fds = vec![PollFd { fd, events: libc::POLLIN }];
    rig.blocks(Call::Poll { fds, timeout: 250 });
    let start = rig.machine.now();
    rig.advance(ms(10_000));
    assert_eq!(rig.machine.now() - start, ms(250));
    assert_eq!(rig.machine.finished().unwrap().outcome.out, Out::Polled(vec![0]));
}

#[test]
fn waitall_collects_across_segments_and_ends_with_the_stream() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(false);
    let recv =
        |len| Call::Recv { fd, room: Room::Bytes(len), flags: libc::MSG_WAITALL, wants_address: false };
    rig.blocks(recv(1500));
    rig.inject("P.", 1, 1, 1000);
    assert_eq!(rig.machine.finished(), None);
    rig.inject("P.", 1001, 1, 1000);
    assert_eq!(rig.machine.finished().unwrap().outcome.result, 1500);
    rig.blocks(recv(1500));
    rig.inject("F.", 2001, 1, 0);
    assert_eq!(rig.machine.finished().unwrap().outcome.result, 500);
}

#[test]
fn data_before_a_reset_is_read_first_and_the_error_once() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    rig.inject("P.", 1, 1, 100);
    rig.inject("R.", 101, 1, 0);
    let recv = Call::Recv { fd, room: Room::Bytes(500), flags: libc::MSG_WAITALL, wants_address: false };
    assert_eq!(rig.get(recv), 100);
    assert_eq!(rig.read(fd, 100), errno(libc::ECONNRESET));
    assert_eq!(rig.read(fd, 100), 0);
    assert_eq!(rig.write(fd, 1), errno(libc::EPIPE));
}

#[test]
fn peek_leaves_and_trunc_throws_away() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    rig.inject("P.", 1, 1, 1000);
    let recv = |len, flags| Call::Recv { fd, room: Room::Bytes(len), flags, wants_address: false };
    assert_eq!(rig.call(recv(10, libc::MSG_PEEK)).out, Out::Data(vec![0; 10]));

    let left = rig.call(Call::Ioctl { fd, request: libc::FIONREAD, null: false }).out;
    assert_eq!(left, Out::Int(1000));
    let outcome = rig.call(recv(400, libc::MSG_TRUNC));
    assert_eq!((outcome.result, outcome.out), (400, Out::Data(Vec::new())));
    assert_eq!(rig.read(fd, 1000), 600);
}

#[test]
fn a_null_buffer_is_a_fault_only_where_something_would_be_copied() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    let null = Call::Read { fd, rooms: vec![Room::Null(1000)] };
    assert_eq!(rig.get(null.clone()), errno(libc::EAGAIN));
    rig.inject("P.", 1, 1, 10);
    assert_eq!(rig.get(null), errno(libc::EFAULT));
    assert_eq!(rig.read(fd, 100), 10);
    assert_eq!(rig.get(Call::Write { fd, pieces: vec![Data::Null(10)] }), errno(libc::EFAULT));
    let pieces = vec![Data::Bytes(vec![1; 5]), Data::Null(10)];
    assert_eq!(rig.get(Call::Write { fd, pieces }), 5);
    assert_eq!(rig.get(Call::Bind { fd, address: Address::Null }), errno(libc::EFAULT));
}

#[test]
fn more_holds_back_until_the_probe_timer_and_then_pushes() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    let start = rig.machine.now();
    assert_eq!(rig.send(fd, 400, libc::MSG_MORE), 400);
    rig.expect_nothing();
    rig.advance(ms(300));
    let seen = rig.expect("P.", 1, 400, 1);
    assert!(seen.at > start);
    rig.inject(".", 1, 401, 0);
    // With more to follow only full segments leave, without PSH.
    assert_eq!(rig.send(fd, 1400, libc::MSG_MORE), 1400);
    rig.expect(".", 401, 1000, 1);
    rig.expect_nothing();
    assert_eq!(rig.send(fd, 100, 0), 100);
    rig.expect("P.", 1401, 500, 1);
}

#[test]
fn a_record_ends_its_segment() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    rig.setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    // The congestion window is full; what follows waits, and would be joined.
    assert_eq!(rig.write(fd, 10_000), 10_000);
    for at in 0..10 {
        // Two packets of five segments, as Linux would have had them split.
        rig.expect(if at % 5 < 4 { "." } else { "P." }, 1 + at * 1000, 1000, 1);
    }
    assert_eq!(rig.send(fd, 300, libc::MSG_EOR), 300);
    assert_eq!(rig.send(fd, 300, libc::MSG_EOR), 300);
    assert_eq!(rig.send(fd, 100, 0), 100);
    assert_eq!(rig.send(fd, 100, 0), 100);
    rig.expect_nothing();
    rig.inject(".", 1, 10_001, 0);
    rig.expect("P.", 10_001, 300, 1);
    rig.expect("P.", 10_301, 300, 1);
    rig.expect("P.", 10_601, 200, 1);
}

#[test]
fn psh_stays_with_the_end_of_a_write_when_it_is_sent_again() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    assert_eq!(rig.write(fd, 1000), 1000);
    assert_eq!(rig.write(fd, 1000), 1000);
    rig.expect("P.", 1, 1000, 1);
    rig.expect("P.", 1001, 1000, 1);
    rig.advance(ms(1500));
    rig.expect("P.", 1, 1000, 1);
}

#[test]
fn urgent_data_is_sent_with_its_pointer_and_read_out_of_line() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    assert_eq!(rig.send(fd, 10, libc::MSG_OOB), 10);
    let seen = rig.expect("PU.", 1, 10, 1);
    assert_eq!(seen.urgent, 10);
    rig.inject(".", 1, 11, 0);
    rig.inject("PU.", 1, 11, 5);
    let recv = |flags| Call::Recv { fd, room: Room::Bytes(100), flags, wants_address: false };
    assert_eq!(rig.poll(fd) & libc::POLLPRI, libc::POLLPRI);
    assert_eq!(rig.get(recv(libc::MSG_OOB | libc::MSG_PEEK)), 1);
    assert_eq!(rig.get(recv(libc::MSG_OOB)), 1);
    assert_eq!(rig.get(recv(libc::MSG_OOB)), errno(libc::EINVAL));
    assert_eq!(rig.get(recv(0)), 4);
}

#[test]
fn a_lingering_close_sleeps_until_the_fin_is_acknowledged_or_the_time_is_over() {
    for (acked, expected) in [(true, 100), (false, 2000)] {
        let mut rig = Rig::v4();
        let (_, fd) = rig.accepted(true);
        let value = Some([1i32, 2].map(i32::to_ne_bytes).concat());
        let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
        assert_eq!(rig.get(Call::SetSockOpt { fd, level, name, value, len: 8 }), 0);
        let start = rig.machine.now();
        rig.blocks(Call::Close { fd });
        rig.expect("F.", 1, 0, 1);
        rig.advance(ms(100));
        if acked {
            rig.inject(".", 1, 2, 0);
        } else {
            rig.advance(ms(5000));
        }
        let finished = rig.machine.finished().unwrap();
        assert_eq!((finished.outcome.result, finished.at - start), (0, ms(expected)));
    }
}

#[test]
fn accept_and_poll_wait_together_with_packets() {
    let mut rig = Rig::v4();
    let listener = rig.listener(false);
    rig.blocks(Call::Accept { fd: listener, flags: 0 });
    rig.inject_with("S", 0, 0, 0, 1000, Options { mss: Some(1000), ..Options::default() });
    rig.expect("S.", 0, 0, 1);
    rig.inject(".", 1, 1, 0);
    let outcome = rig.machine.finished().unwrap().outcome;
    assert_eq!((outcome.result, outcome.out), (4, Out::Peer("192.0.2.1:40000".parse().unwrap())));
    assert_eq!(rig.poll(4), libc::POLLOUT);
    rig.inject("F.", 1, 1, 0);
    assert_eq!(rig.poll(4), libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP);
    assert_eq!(rig.poll(99), libc::POLLNVAL);
}

fn epoll(rig: &mut Rig, fd: Fd, events: i32) -> Fd {
    let epfd = rig.get(Call::EpollCreate { size: 1 }) as Fd;
    let event = Some(EpollEvent { events: events as u32, data: 77 });
    assert_eq!(rig.get(Call::EpollCtl { epfd, op: libc::EPOLL_CTL_ADD, fd, event }), 0);
    epfd
}

fn events(rig: &mut Rig, epfd: Fd) -> Vec<u32> {
    match rig.call(Call::EpollWait { epfd, max: 8, timeout: 0 }).out {
        Out::Events(found) => found.iter().map(|event| event.events).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edge_is_told_once_and_a_level_as_long_as_it_lasts() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    let edge = epoll(&mut rig, fd, libc::EPOLLIN | libc::EPOLLET);
    let level = epoll(&mut rig, fd, libc::EPOLLIN);
    let once = epoll(&mut rig, fd, libc::EPOLLIN | libc::EPOLLONESHOT);
    for set in [edge, level, once] {
        assert_eq!(events(&mut rig, set), [0; 0]);
    }
    rig.inject("P.", 1, 1, 10);
    let readable = libc::EPOLLIN as u32;
    for set in [edge, level, once] {
        assert_eq!(events(&mut rig, set), [readable]);
    }
    assert_eq!(events(&mut rig, edge), [0; 0]);
    assert_eq!(events(&mut rig, level), [readable]);
    assert_eq!(events(&mut rig, once), [0; 0]);
    rig.inject("P.", 11, 1, 10);
    assert_eq!(events(&mut rig, edge), [readable]);
    assert_eq!(events(&mut rig, once), [0; 0]);
    rig.read(fd, 100);
    assert_eq!(events(&mut rig, level), [0; 0]);
}

#[test]
fn splice_moves_between_socket_and_pipe() {
    let mut rig = Rig::v4();
    let (_, fd) = rig.accepted(true);
    let Out::Pipe(reader, writer) = rig.call(Call::Pipe { flags: 0 }).out else { panic!("no pipe") };
    let splice = |from, to, len| Call::Splice { from, from_offset: None, to, to_offset: None, len, flags: 0 };
    assert_eq!(rig.get(splice(fd, writer, 1000)), errno(libc::EAGAIN));
    rig.inject("P.", 1, 1, 1000);
    rig.seen();
    assert_eq!(rig.get(splice(fd, writer, 5000)), 1000);
    assert_eq!(rig.get(splice(reader, fd, 400)), 400);
    rig.expect("P.", 1, 400, 1001);
    assert_eq!(rig.read(reader, 5000), 600);
    assert_eq!(rig.close(writer), 0);
    assert_eq!(rig.read(reader, 5000), 0);
}

/// What Linux 6.18 took and sent over a TUN, with an MSS of 1000: the send buffer asked for, the peer's window, bytes that
/// a write of 400,000 took, and `wmem_queued` after it.
const SEND_BUFFERS: [(i32, u16, i64, u32); 11] = [
    (1000, 32_896, 26_000, 30_992),
    (1000, 4096, 4000, 5664),
    (5000, 32_896, 26_000, 30_992),
    (5000, 4096, 8000, 11_328),
    (10_000, 32_896, 26_000, 30_992),
    (10_000, 4096, 16_000, 22_656),
    (20_000, 32_896, 42_000, 47_824),
    (20_000, 4096, 30_000, 42_480),
    (50_000, 32_896, 106_000, 115_152),
    (50_000, 4096, 72_000, 101_952),
    (0, 32_896, 250_000, 266_640),
];

#[test]
fn a_send_buffer_takes_what_linux_takes() {
    for (buffer, window, taken, queued) in SEND_BUFFERS {
        let mut rig = Rig::v4();
        let listener = rig.listener(false);
        let options = Options { mss: Some(1000), ..Options::default() };
        rig.inject_with("S", 0, 0, 0, window, options);
        rig.expect("S.", 0, 0, 1);
        rig.advance(ms(20));
        rig.inject_with(".", 1, 1, 0, window, Options::default());
        let fd = rig.get(Call::Accept { fd: listener, flags: libc::SOCK_NONBLOCK }) as Fd;
        if buffer > 0 {
            rig.setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, buffer);
        }
        assert_eq!(rig.write(fd, 400_000), taken, "SO_SNDBUF {buffer}, window {window}");
        assert_eq!(rig.write(fd, 400_000), errno(libc::EAGAIN));
        assert_eq!(rig.poll(fd), 0);
        let memory = rig.getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, 36).unwrap();
        assert_eq!(u32::from_ne_bytes(memory[20..24].try_into().unwrap()), queued);
        // Pairs of segments, the second with PSH.
        for at in 0..if window > 4096 { 10 } else { 4 } {
            rig.expect(if at % 2 == 0 { "." } else { "P." }, 1 + at * 1000, 1000, 1);
        }
        rig.expect_nothing();
    }
}

//! Ports and control blocks that run out in TIME_WAIT.

use super::kit::{A, B, Verdict, World, at, connected, connected_with, ensure, ms, same, secs, world};
use lastack_core::State::{Established, FinWait2, TimeWait};
use lastack_core::wire::PacketMeta;
use lastack_core::wire::tcp::Flags;
use lastack_core::{Config, Counts, Error, Instant, State, TcpHandle, TcpOption};
use lastack_sim::Side;
use std::time::Duration;

super::entries! { TimeWait;
    techempower_4092_cannot_assign_address: "TechEmpower/FrameworkBenchmarks #4092",
        "a benchmark had to sleep 60 s between its runs, until the client's ports had left TIME_WAIT",
        "a port in TIME_WAIT is taken again after a second, where timestamps make that safe";
    cockroach_6694_server_closes_first: "cockroach #6694",
        "connections that were closed and opened at a high rate filled TIME_WAIT",
        "with the server closing first the client's few ports are free at once, and the server reuses its records";
    dotnet_50854_thousands_at_the_server: "dotnet/runtime #50854",
        "thousands of server sockets in TIME_WAIT, and connections that failed in their midst",
        "500 records at a server hinder no new connection, and a minute later there are none";
    bun_33898_most_ports_taken: "bun PR 33898",
        "11,400 of 16,384 ports were in TIME_WAIT, because a client did not keep its connections",
        "with seven of ten ports in TIME_WAIT, and then all of them, connections still open";
    artillery_1038_address_in_use: "artillery #1038",
        "a load generator got EADDRINUSE once its ports had all been used",
        "a port is taken for a tuple, not for the host: other destinations have all the ports again";
    triton_173_soak: "triton_distributed #173",
        "a soak test used up the ephemeral ports of the system",
        "when every port is too young to be reused connect says EADDRNOTAVAIL, and a second later it goes on";
    swift_263_close_without_a_record: "facebookarchive/swift #263",
        "short-lived connections of a client filled TIME_WAIT",
        "a client that resets instead of closing leaves no record, and loses nothing that was answered";
    go_stress_testing_21_without_timestamps: "go-stress-testing #21",
        "a stress test ran out of ports",
        "without timestamps a port is not taken too early: it is refused for 60 s, and then free";
    tempesta_376_client_and_backend: "tempesta #376",
        "both sides of a proxy had used up their sockets in TIME_WAIT",
        "TIME_WAIT is on the side that closes first only, and full on neither";
    f_stack_725_one_table_for_all_sockets: "F-Stack #725",
        "each process had a stack of its own, which did not see the TIME_WAIT of the others",
        "all sockets of a host share one table: a port in TIME_WAIT is known to each of them";
    esp_idf_5291_control_blocks_run_out: "esp-idf #5291",
        "control blocks in TIME_WAIT were not given up, and connections failed with ENOBUFS",
        "TIME_WAIT has a limit of its own; beyond it a connection ends without a record, and is counted";
    esp_idf_9670_memory_of_each_close: "esp-idf #9670",
        "each connection that was opened and closed took a control block out of the heap for two minutes",
        "a closed connection keeps no socket and no buffer, only a small record, for a minute";
    nodemcu_1836_listen_again: "nodemcu #1836",
        "a server could not be started again while its port was in TIME_WAIT",
        "with SO_REUSEADDR, as every server sets it, the port can be listened on at once";
    nodemcu_1608_bad_connections: "nodemcu #1608",
        "connections over a bad network leaked memory with each try",
        "tries that find nobody, and connections that break off, all end and free what they had";
    nodemcu_1379_live_connections_are_not_killed: "nodemcu PR 1379",
        "the oldest connection was killed when there were too many",
        "the limit on TIME_WAIT never costs a live connection";
    esp8266_4213_shorter_time_wait: "esp8266/Arduino #4213",
        "there was no clean way to get rid of control blocks in TIME_WAIT",
        "the length of TIME_WAIT is a setting; 0 records is one too";
    esp_open_rtos_101_crash: "esp-open-rtos #101",
        "too many sockets in TIME_WAIT crashed the system",
        "a limit of 100 holds against 1000 connections in a row";
    unikraft_lwip_74_requests_per_second: "unikraft/lib-lwip PR 74",
        "with control blocks in TIME_WAIT handshakes took 20 to 30 s, and 5000 requests a second became 150",
        "with 3000 records a handshake takes its one round trip";
    unikraft_736_accept_that_hangs: "unikraft #736",
        "accept hung after some hundreds or thousands of connections",
        "the 3000th connection is accepted like the first";
    busybar_727_msl_of_ten_seconds: "busybar PR 727",
        "TIME_WAIT had to be shortened to six times less",
        "a TIME_WAIT of 20 s lasts 20 s";
    xen_api_5354_test_in_a_loop: "xen-api PR 5354",
        "a test that ran in a loop failed with EADDRINUSE until TIME_WAIT was over",
        "a listener is bound again right after its last connection, a hundred times in a row";
    neper_31_time_wait_or_not: "neper PR 31",
        "a tool always reset its connections, so that the normal end was never tested",
        "both ends are there: linger 0 without a record, a close with one, on the closing side";
    gvisor_10788_checkpoint: "gvisor #10788",
        "a stack with a connection in TIME_WAIT could not be saved",
        "a stack is a value: the copy has the record, and goes on exactly like the original";
    mp_dccp_66_reset_leaves_no_time_wait: "mp-dccp #66",
        "a fast close by a reset left the server in TIME_WAIT, its address taken",
        "TIME_WAIT never follows a RST, on either side";
}

/// The client opens so many connections in a row, a pause after each, and `first` closes first.
fn many(w: &mut World, count: usize, first: Side, pause: Duration) -> Verdict {
    for number in 0..count {
        exchange(w, first).map_err(|wrong| format!("connection {number}: {wrong}"))?;
        w.run(pause)?;
    }
    Ok(())
}

fn exchange(w: &mut World, first: Side) -> Verdict {
    w.connect()?;
    w.accept()?;
    w.write(A, 10)?;
    w.run(ms(15))?;
    same("the server reads", w.drain(B)?.0, 10)?;
    w.close(first)?;
    w.run(ms(15))?;
    w.close(first.other())?;
    w.run(ms(25))
}

fn ports(count: u16) -> impl Fn(&mut Config) {
    move |config| config.ephemeral_ports = (40_000, 40_000 + count - 1)
}

fn techempower_4092_cannot_assign_address() -> Verdict {
    let mut w = world(ports(20))?;
    many(&mut w, 200, A, ms(10))?;
    let recycled = w.pair.stack(A).counters().time_wait_recycled;
    ensure!(recycled >= 180, "only {recycled} ports were taken again");
    w.leaves_nothing()
}

fn cockroach_6694_server_closes_first() -> Verdict {
    let mut w = world(ports(5))?;
    many(&mut w, 100, B, Duration::ZERO)?;
    same("TIME_WAIT of the client", w.counts(A).time_wait, 0)?;
    let recycled = w.pair.stack(B).counters().time_wait_recycled;
    ensure!(recycled >= 95, "the server reused {recycled} records");
    w.leaves_nothing()
}

fn dotnet_50854_thousands_at_the_server() -> Verdict {
    let mut w = world(|_| ())?;
    // Fast enough that all of it happens within a minute.
    for _ in 0..500 {
        w.connect()?;
        w.accept()?;
        w.close(B)?;
        w.run(ms(15))?;
        w.close(A)?;
    }
    w.run(ms(50))?;
    ensure!(w.counts(B).time_wait >= 490, "{:?}", w.counts(B));
    exchange(&mut w, A)?;
    w.run(secs(61))?;
    same("records a minute later", w.counts(B).time_wait, 0)?;
    w.leaves_nothing()
}

fn bun_33898_most_ports_taken() -> Verdict {
    let mut w = world(ports(100))?;
    many(&mut w, 70, A, Duration::ZERO)?;
    same("ports in TIME_WAIT", w.counts(A).time_wait, 70)?;
    many(&mut w, 100, A, Duration::ZERO)?;
    same("and later", w.counts(A).time_wait, 100)?;
    w.leaves_nothing()
}

fn artillery_1038_address_in_use() -> Verdict {
    let mut w = world(|config| {
        ports(10)(config);
        config.tcp.time_wait_reuse_delay = None;
    })?;
    many(&mut w, 10, A, Duration::ZERO)?;
    same("the eleventh to the same place", open(&mut w, 80), Err(Error::AddrNotAvailable))?;
    let now = w.pair.now();
    let stack = w.pair.stack(B);
    let other = stack.tcp_socket();
    let listening = stack.tcp_bind(other, at(B, 81)).and_then(|()| stack.tcp_listen(now, other, 16));
    listening.map_err(|error| error.to_string())?;
    for _ in 0..10 {
        let socket = open(&mut w, 81).map_err(|error| format!("to another place: {error}"))?;
        w.run(ms(50))?;
        let (now, stack) = (w.pair.now(), w.pair.stack(A));
        same("its state", stack.tcp_state(socket), Some(Established))?;
        stack.tcp_abort(now, socket);
    }
    let now = w.pair.now();
    w.pair.stack(B).tcp_close(now, other);
    w.leaves_nothing()
}

/// A connection attempt to a port of B.
fn open(w: &mut World, port: u16) -> Result<TcpHandle, Error> {
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let socket = stack.tcp_socket();
    match stack.tcp_connect(now, socket, at(B, port)) {
        Ok(()) => Ok(socket),
        Err(error) => {
            stack.tcp_close(now, socket);
            Err(error)
        }
    }
}

fn triton_173_soak() -> Verdict {
    let mut w = world(ports(4))?;
    many(&mut w, 4, A, Duration::ZERO)?;
    same("with four ports, at once", open(&mut w, 80), Err(Error::AddrNotAvailable))?;
    w.run(secs(1))?;
    many(&mut w, 4, A, Duration::ZERO)?;
    w.leaves_nothing()
}

fn swift_263_close_without_a_record() -> Verdict {
    let mut w = world(ports(3))?;
    for _ in 0..50 {
        w.connect()?;
        w.accept()?;
        w.write(A, 10)?;
        w.run(ms(15))?;
        same("the server reads", w.drain(B)?.0, 10)?;
        w.write(B, 20)?;
        w.run(ms(15))?;
        same("the client reads", w.drain(A)?.0, 20)?;
        w.abort(A)?;
        w.run(ms(15))?;
        w.close(B)?;
    }
    same("records", (w.counts(A).time_wait, w.counts(B).time_wait), (0, 0))?;
    w.leaves_nothing()
}

fn go_stress_testing_21_without_timestamps() -> Verdict {
    let mut w = world(|config| {
        ports(3)(config);
        config.tcp.timestamps = false;
    })?;
    many(&mut w, 3, A, Duration::ZERO)?;
    w.run(secs(30))?;
    same("after 30 s", open(&mut w, 80), Err(Error::AddrNotAvailable))?;
    w.run(secs(31))?;
    many(&mut w, 3, A, Duration::ZERO)?;
    w.leaves_nothing()
}

fn tempesta_376_client_and_backend() -> Verdict {
    let mut w = world(|_| ())?;
    many(&mut w, 30, A, Duration::ZERO)?;
    same("the client closes first", (w.counts(A).time_wait, w.counts(B).time_wait), (30, 0))?;
    many(&mut w, 20, B, Duration::ZERO)?;
    same("then the server", (w.counts(A).time_wait, w.counts(B).time_wait), (30, 20))?;
    w.leaves_nothing()
}

fn f_stack_725_one_table_for_all_sockets() -> Verdict {
    let mut w = world(ports(2))?;
    w.connect()?;
    let first = w.socket(A)?;
    let taken = w.pair.stack(A).tcp_local_addr(first).ok_or("an address")?;
    w.accept()?;
    w.close(A)?;
    w.run(ms(20))?;
    w.close(B)?;
    w.run(ms(50))?;
    // Another program: the young record is passed over, and a bind to its port is refused.
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let bound = stack.tcp_socket();
    same("bind to the port", stack.tcp_bind(bound, taken), Err(Error::AddrInUse))?;
    stack.tcp_close(now, bound);
    w.connect()?;
    let second = w.socket(A)?;
    let other = w.pair.stack(A).tcp_local_addr(second).ok_or("an address")?;
    ensure!(other != taken, "the port in TIME_WAIT was given out");
    w.accept()?;
    w.leaves_nothing()
}

fn esp_idf_5291_control_blocks_run_out() -> Verdict {
    let mut w = world(|config| config.tcp.max_time_wait = 8)?;
    many(&mut w, 30, A, Duration::ZERO)?;
    same("records", w.counts(A).time_wait, 8)?;
    same("connections that ended without one", w.pair.stack(A).counters().time_wait_overflow, 22)?;
    w.leaves_nothing()
}

fn esp_idf_9670_memory_of_each_close() -> Verdict {
    let mut w = world(|_| ())?;
    many(&mut w, 100, A, Duration::ZERO)?;
    same("what the client has", w.counts(A), Counts { time_wait: 100, ..Counts::default() })?;
    w.run(secs(61))?;
    same("and a minute later", w.counts(A), Counts::default())?;
    w.leaves_nothing()
}

/// B gives up its listener and listens on the same port again.
fn listen_again(w: &mut World, reuse: bool) -> Result<(), Error> {
    let now = w.pair.now();
    let old = w.listener.take();
    let stack = w.pair.stack(B);
    if let Some(old) = old {
        stack.tcp_close(now, old);
    }
    let listener = stack.tcp_socket();
    let listening = stack
        .tcp_set_option(now, listener, TcpOption::ReuseAddr(reuse))
        .and_then(|()| stack.tcp_bind(listener, at(B, 80)))
        .and_then(|()| stack.tcp_listen(now, listener, 16));
    match listening {
        Ok(()) => w.listener = Some(listener),
        Err(_) => stack.tcp_close(now, listener),
    }
    listening
}

fn nodemcu_1836_listen_again() -> Verdict {
    let mut w = world(|_| ())?;
    // The server's listener, and with it its connections, allows the reuse as well.
    listen_again(&mut w, true).map_err(|error| error.to_string())?;
    exchange(&mut w, B)?;
    w.run(ms(50))?;
    same("records at the server", w.counts(B).time_wait, 1)?;
    same("without the option", listen_again(&mut w, false), Err(Error::AddrInUse))?;
    same("with it", listen_again(&mut w, true), Ok(()))?;
    exchange(&mut w, A)?;
    w.leaves_nothing()
}

fn nodemcu_1608_bad_connections() -> Verdict {
    let mut w = world(|config| config.tcp.syn_retries = 2)?;
    w.silence();
    for _ in 0..50 {
        let socket = open(&mut w, 80).map_err(|error| error.to_string())?;
        w.run(secs(30))?;
        let (now, stack) = (w.pair.now(), w.pair.stack(A));
        same("state of the try", stack.tcp_state(socket), Some(State::Closed))?;
        stack.tcp_close(now, socket);
    }
    same("what is left of the tries", w.counts(A), Counts::default())?;
    let mut w = connected()?;
    w.option(A, TcpOption::UserTimeout(secs(10)))?;
    w.silence();
    w.write(A, 1000)?;
    w.run(secs(30))?;
    w.close(A)?;
    same("what is left of a connection that broke off", w.counts(A), Counts::default())?;
    w.leaves_nothing()
}

fn nodemcu_1379_live_connections_are_not_killed() -> Verdict {
    let mut w = connected_with(|config| config.tcp.max_time_wait = 2)?;
    let live = std::mem::take(&mut w.sockets);
    many(&mut w, 20, A, Duration::ZERO)?;
    w.sockets = live;
    w.write(A, 500)?;
    w.run(ms(50))?;
    same("the live connection carries", w.drain(B)?.0, 500)?;
    w.leaves_nothing()
}

fn esp8266_4213_shorter_time_wait() -> Verdict {
    let mut w = world(|config| config.tcp.time_wait = secs(2))?;
    many(&mut w, 10, A, Duration::ZERO)?;
    w.run(secs(2))?;
    same("records after two seconds", w.counts(A).time_wait, 0)?;
    w.leaves_nothing()?;
    let mut w = world(|config| config.tcp.max_time_wait = 0)?;
    many(&mut w, 10, A, Duration::ZERO)?;
    same("records with a limit of none", w.counts(A).time_wait, 0)?;
    w.leaves_nothing()
}

fn esp_open_rtos_101_crash() -> Verdict {
    let mut w = world(|config| config.tcp.max_time_wait = 100)?;
    for _ in 0..1000 {
        w.connect()?;
        w.accept()?;
        w.close(A)?;
        w.run(ms(11))?;
        w.close(B)?;
        let records = w.counts(A).time_wait;
        ensure!(records <= 100, "{records} records");
    }
    w.leaves_nothing()
}

fn unikraft_lwip_74_requests_per_second() -> Verdict {
    let mut w = world(|config| config.tcp.time_wait = secs(600))?;
    for _ in 0..3000 {
        quick(&mut w)?;
    }
    ensure!(w.counts(B).time_wait >= 2900, "{:?}", w.counts(B));
    let before: Instant = w.pair.now();
    let socket = open(&mut w, 80).map_err(|error| error.to_string())?;
    w.run(ms(20))?;
    let stack = w.pair.stack(A);
    let established = stack.tcp_history(socket).last().copied().ok_or("no history")?;
    same("its state", established.to, Established)?;
    same("the handshake", established.at - before, ms(20))?;
    w.sockets[0] = Some(socket);
    w.run(ms(20))?;
    w.accept()?;
    w.leaves_nothing_in(secs(700))
}

/// One exchange in 50 ms that the server ends.
fn quick(w: &mut World) -> Verdict {
    w.connect()?;
    w.accept()?;
    w.close(B)?;
    w.close(A)?;
    Ok(())
}

fn unikraft_736_accept_that_hangs() -> Verdict {
    let mut w = world(|_| ())?;
    for _ in 0..3000 {
        quick(&mut w)?;
    }
    same("connections accepted", w.pair.stack(B).counters().passive_opens, 3000)?;
    exchange(&mut w, A)?;
    w.leaves_nothing()
}

fn busybar_727_msl_of_ten_seconds() -> Verdict {
    let mut w = connected_with(|config| config.tcp.time_wait = secs(20))?;
    w.close(A)?;
    w.run(ms(100))?;
    w.close(B)?;
    w.run(ms(100))?;
    w.run(ms(19_800))?;
    w.is(A, TimeWait)?;
    w.run(ms(200))?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn xen_api_5354_test_in_a_loop() -> Verdict {
    let mut w = world(|_| ())?;
    for turn in 0..100 {
        listen_again(&mut w, true).map_err(|error| format!("turn {turn}: {error}"))?;
        exchange(&mut w, B)?;
    }
    w.leaves_nothing()
}

fn neper_31_time_wait_or_not() -> Verdict {
    for zero in [true, false] {
        let mut w = connected()?;
        if zero {
            w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
        }
        w.close(A)?;
        w.run(ms(100))?;
        w.close(B)?;
        w.run(ms(100))?;
        let records = (w.counts(A).time_wait, w.counts(B).time_wait);
        same("records", records, (usize::from(!zero), 0))?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn gvisor_10788_checkpoint() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(ms(100))?;
    w.is(A, FinWait2)?;
    w.close(B)?;
    w.run(ms(100))?;
    w.is(A, TimeWait)?;
    let fin =
        w.pair.log().segments().iter().rposition(|s| s.from == B && s.has(Flags::FIN)).ok_or("a FIN")?;
    let fin = w.pair.log().packets.get(fin).ok_or("its packet")?.bytes.clone();
    let now = w.pair.now();
    let mut original = w.pair.stack(A).clone();
    let mut copy = original.clone();
    same("fingerprint of the copy", copy.fingerprint(now), original.fingerprint(now))?;
    // Both get the peer's FIN once more, and answer it alike.
    let mut answers = Vec::new();
    for stack in [&mut original, &mut copy] {
        let mut frame = vec![0; 1500];
        stack.receive(now, &PacketMeta::default(), &fin);
        let len = stack.transmit(now, &mut frame).map(|(len, _)| len).ok_or("no answer to the FIN")?;
        frame.truncate(len);
        answers.push(frame);
    }
    same("the copy's answer", answers.pop(), answers.pop())?;
    let later = now + secs(61);
    for stack in [&mut original, &mut copy] {
        stack.handle_timeout(later);
        same("records a minute later", stack.counts(), Counts::default())?;
    }
    w.leaves_nothing()
}

fn mp_dccp_66_reset_leaves_no_time_wait() -> Verdict {
    for first in [A, B] {
        let mut w = connected()?;
        // Half closed before, so that a FIN is on record when the reset comes.
        w.shutdown(first.other(), lastack_core::Shutdown::Write)?;
        w.run(ms(100))?;
        w.abort(first)?;
        w.run(ms(100))?;
        w.is_gone(A)?;
        w.is_gone(B)?;
        for side in [A, B] {
            ensure!(!w.path(side).contains(&TimeWait), "{} went through TIME_WAIT", side.name());
        }
        w.leaves_nothing()?;
    }
    Ok(())
}

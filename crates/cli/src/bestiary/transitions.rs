//! Wrong transitions, wrong timers, and resets where there is nothing to reset.

use super::kit::{A, B, Verdict, connected, connected_to_a_peer, connected_with, ensure, ms, same, secs};
use lastack_core::State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, NewSynRecv, TimeWait,
};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cause, Initiator, Shutdown, TcpOption};

super::entries! { Close;
    freertos_plus_tcp_1303_simultaneous_close: "FreeRTOS-Plus-TCP #1303",
        "a FIN in FIN_WAIT_1 led to LAST_ACK or CLOSE_WAIT, the states of the other side",
        "crossed FINs go through CLOSING and TIME_WAIT on both sides";
    gvisor_3106_time_wait_is_not_cut_short: "gvisor #3106",
        "closing the handle ended TIME_WAIT before its time",
        "the record has its own time: the handle can go whenever it likes";
    gvisor_7617_no_keepalive_in_time_wait: "gvisor #7617",
        "the keep-alive timer still ran in TIME_WAIT and sent a stray ACK",
        "a TIME_WAIT record has one timer, its own end, and says nothing unasked";
    asterinas_1531_new_syn_in_time_wait: "asterinas PR 1531",
        "what a new SYN does to TIME_WAIT was left open",
        "a SYN that is newer opens the next connection, one that is old is answered with an ACK";
    serenityos_23395_time_wait_has_a_timer: "SerenityOS PR 23395",
        "no timer led from TIME_WAIT to CLOSED",
        "a timer ends it after 60 s, as the change of state says";
    zephyr_61353_four_ways_out_of_fin_wait_1: "zephyr PR 61353",
        "FIN and ACK were not told apart in FIN_WAIT_1, so that some combinations went to the wrong state",
        "each of the four combinations goes where the RFC says";
    ipstack_6_no_reset_after_a_graceful_end: "ipstack #6",
        "a connection that had ended in order was reset behind its end",
        "a graceful end carries no RST, neither on the side that closes first nor on the other";
    ipstack_7_late_segments_draw_no_reset: "ipstack PR 7",
        "the repair of the same: a RST went out when a connection finished",
        "a late duplicate meets the TIME_WAIT record and is acknowledged";
    slirp4netns_167_fin_after_shut_wr: "slirp4netns PR 167",
        "after shutdown(SHUT_WR) the peer's FIN was answered with a RST",
        "the FIN in FIN_WAIT_2 is acknowledged, and the program reads the end of the stream";
}

fn freertos_plus_tcp_1303_simultaneous_close() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.close(B)?;
    w.run(ms(100))?;
    for side in [A, B] {
        w.ends_with(side, &[Established, FinWait1, Closing, TimeWait])?;
    }
    w.leaves_nothing()
}

fn gvisor_3106_time_wait_is_not_cut_short() -> Verdict {
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(100))?;
    w.close(B)?;
    w.run(ms(100))?;
    w.is(A, TimeWait)?;
    w.run(secs(10))?;
    w.close(A)?;
    w.is(A, TimeWait)?;
    w.run(secs(49))?;
    w.is(A, TimeWait)?;
    w.run(secs(2))?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn gvisor_7617_no_keepalive_in_time_wait() -> Verdict {
    let mut w = connected()?;
    w.option(A, TcpOption::KeepAlive(true))?;
    w.option(A, TcpOption::KeepIdle(secs(5)))?;
    w.option(A, TcpOption::KeepInterval(secs(1)))?;
    w.run(secs(7))?;
    ensure!(!w.take(A).is_empty(), "keep-alive does not work at all");
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(100))?;
    w.close(B)?;
    w.run(ms(100))?;
    w.is(A, TimeWait)?;
    w.take(A);
    w.run(secs(70))?;
    w.sent(A, &[])?;
    w.leaves_nothing()
}

fn asterinas_1531_new_syn_in_time_wait() -> Verdict {
    let mut w = connected()?;
    let socket = w.socket(A)?;
    let client = w.pair.stack(A).tcp_local_addr(socket).ok_or("an address")?;
    // B closes first and waits.
    w.close(B)?;
    w.run(ms(100))?;
    w.close(A)?;
    w.run(secs(2))?;
    w.is(B, TimeWait)?;
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let socket = stack.tcp_socket();
    let opened = stack
        .tcp_set_option(now, socket, TcpOption::ReuseAddr(true))
        .and_then(|()| stack.tcp_bind(socket, client))
        .and_then(|()| stack.tcp_connect(now, socket, super::kit::at(B, 80)));
    opened.map_err(|error| format!("connect from the same port: {error}"))?;
    w.sockets[0] = Some(socket);
    w.run(ms(100))?;
    w.accept()?;
    w.is(B, Established)?;
    w.ends_with(B, &[TimeWait, Closed, NewSynRecv, lastack_core::State::SynReceived, Established])?;
    let recycled = w.pair.stack(B).counters().time_wait_recycled;
    same("records that were reused", recycled, 1)?;
    w.leaves_nothing()
}

fn serenityos_23395_time_wait_has_a_timer() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(ms(100))?;
    w.close(B)?;
    w.run(secs(100))?;
    let changes: Vec<_> = w.pair.log().transitions(A).map(|(at, event)| (at, event.transition)).collect();
    let [.., (entered, wait), (left, end)] = changes.as_slice() else { return Err("no changes".to_owned()) };
    same("the last two states", [wait.to, end.to], [TimeWait, Closed])?;
    same("why it ended", (end.cause, end.initiator), (Cause::TimeWaitExpired, Initiator::Timer))?;
    same("how long it took", *left - *entered, secs(60))?;
    w.leaves_nothing()
}

fn zephyr_61353_four_ways_out_of_fin_wait_1() -> Verdict {
    let ways =
        [("FIN,ACK", 1, TimeWait), ("FIN,ACK", 0, Closing), ("ACK", 1, FinWait2), ("ACK", 0, FinWait1)];
    for (names, ack, state) in ways {
        let mut w = connected_to_a_peer()?;
        w.shutdown(A, Shutdown::Write)?;
        w.run(ms(1))?;
        w.say(names, 0, ack, b"")?;
        w.is(A, state).map_err(|wrong| format!("{names} ack {ack}: {wrong}"))?;
        w.leaves_nothing()?;
    }
    // Text may come with each of them.
    let mut w = connected_to_a_peer()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(1))?;
    w.say("FIN,ACK", 0, 1, b"text")?;
    w.is(A, TimeWait)?;
    same("A reads", w.drain(A)?, (4, Ok(())))?;
    w.leaves_nothing()
}

fn ipstack_6_no_reset_after_a_graceful_end() -> Verdict {
    for first in [A, B] {
        let mut w = connected()?;
        w.write(A, 100)?;
        w.write(B, 100)?;
        w.run(ms(100))?;
        same("A reads", w.drain(A)?.0, 100)?;
        same("B reads", w.drain(B)?.0, 100)?;
        w.close(first)?;
        w.run(ms(100))?;
        w.close(first.other())?;
        w.run(secs(100))?;
        same("resets", (w.count(A, Flags::RST), w.count(B, Flags::RST)), (0, 0))?;
        w.ends_with(first, &[FinWait1, FinWait2, TimeWait, Closed])?;
        w.ends_with(first.other(), &[CloseWait, LastAck, Closed])?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn ipstack_7_late_segments_draw_no_reset() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.say("ACK", 0, 0, b"hello")?;
    same("A reads", w.drain(A)?.0, 5)?;
    w.close(A)?;
    w.run(ms(1))?;
    w.say("FIN,ACK", 5, 1, b"")?;
    w.is(A, TimeWait)?;
    w.take(A);
    // The text once more, late; and the FIN.
    w.say("ACK", 0, 0, b"hello")?;
    w.say("FIN,ACK", 5, 1, b"")?;
    w.sent(A, &["ACK 1(0) ack 6", "ACK 1(0) ack 6"])?;
    w.is(A, TimeWait)?;
    w.leaves_nothing()
}

fn slirp4netns_167_fin_after_shut_wr() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(1))?;
    w.say("ACK", 0, 1, b"")?;
    w.is(A, FinWait2)?;
    w.take(A);
    w.say("FIN,ACK", 0, 1, b"")?;
    w.sent(A, &["ACK 1(0) ack 1"])?;
    w.is(A, TimeWait)?;
    same("A reads", w.read(A)?, Ok(0))?;
    w.leaves_nothing()?;
    connected_with(|config| config.tcp.timestamps = false)?.leaves_nothing()
}

//! States that never end.

use super::hosts;
use super::kit::{
    A, B, Verdict, accepted_from_a_peer, connected, connected_to_a_peer, connected_with, ensure, ms, same,
    secs, world,
};
use lastack_core::Shutdown;
use lastack_core::State::{CloseWait, Closed, Established, FinWait1, FinWait2, LastAck, TimeWait};
use lastack_core::wire::tcp::Flags;
use std::time::Duration;

super::entries! { Close;
    nuttx_8915_data_after_close_is_reset: "nuttx PR 8915",
        "a closed socket went on to acknowledge the peer's data, for twelve hours",
        "data for a connection that nobody can read draws a RST, and the record is gone";
    dragonos_1900_orphan_stops_answering: "DragonOS PR 1900",
        "an orphan in FIN_WAIT kept answering segments and was never removed",
        "an orphan takes a bare FIN and nothing else: data ends it, and silence ends it after 60 s";
    zephyr_61181_peer_that_keeps_sending: "zephyr #61181",
        "after our FIN the peer's data was acknowledged and thrown away, and the FIN repeated although it was acknowledged",
        "a half-closed connection delivers what comes, and an acknowledged FIN is never repeated";
    embox_2946_fin_wait_2_times_out: "embox PR 2946",
        "FIN_WAIT_2 had no timeout: a peer that never closed kept the socket for ever",
        "without an owner FIN_WAIT_2 ends after 60 s; with an owner it is his to decide";
    demikernel_1018_control_block_goes_after_time_wait: "demikernel #1018",
        "there was no TIME_WAIT, so that a closed control block could not be deleted at the right time",
        "TIME_WAIT lasts 60 s and then leaves nothing";
    demikernel_224_close_waits_for_the_peer: "demikernel #224",
        "close() did not wait for the peer's FIN and left the connection in an unknown state",
        "the stack ends the connection by itself, through every state, after close() has returned";
    ipstack_25_connection_that_cannot_exit: "ipstack PR 25",
        "a connection could not exit",
        "the passive close leaves no record behind once its FIN is acknowledged";
    ipstack_23_shutdown_and_time_out: "ipstack PR 23",
        "shutdown did not reach the wire, and when both sides closed at once a race left the session",
        "shutdown sends the FIN at once, and crossed FINs end on both sides";
    gvisor_8748_stack_that_closes_wakes_its_readers: "gvisor #8748",
        "closing the stack left endpoints registered, because their readers slept for ever",
        "a host that closes wakes every reader with an error and leaves no connection";
    elks_979_every_closing_state_has_a_timer: "elks PR 979",
        "after a close or an exit of the application no timeout removed the connection",
        "with a silent peer FIN_WAIT_1, FIN_WAIT_2, CLOSING and LAST_ACK all end within their bounds";
    tailscale_rs_200_accepted_in_close_wait: "tailscale-rs PR 200",
        "the accept queue held only ESTABLISHED sockets for valid: one whose peer had closed already was lost",
        "accept() gives the connection; read gives its data, then 0, and the answer still goes out";
    tailscale_rs_239_no_second_listener: "tailscale-rs PR 239",
        "a half-open socket that was reset went back to LISTEN and caught the next connections, which nobody accepted",
        "a reset request is gone, and the next client reaches the one listener";
    turmoil_269_drop_with_unread_data: "turmoil PR 269",
        "dropping a stream with unread data sent a FIN, so that the peer took a loss for a clean end",
        "a stream that is dropped with unread data resets; without, it ends in order";
    - nuttx_12391_tcp_close: "nuttx PR 12391",
        "a connection that does not get free after it was closed",
        "the report could not be found again, and a number alone is no scenario";
    - demikernel_1304_tcp_close: "demikernel PR 1304",
        "a repair of how its TCP closes",
        "the report could not be found again, and a number alone is no scenario";
    - nanos_95_tcp_close: "nanos #95",
        "a connection that does not close in a unikernel",
        "the report could not be found again, and a number alone is no scenario";
    - netguard_300_rewritten_stack: "NetGuard #300",
        "close issues of a TCP stack after it was rewritten",
        "the report only points to a page of a forum for its detail";
    - gvisor_1153_tcp_close: "gvisor #1153",
        "a wrong end of a connection in netstack",
        "the report could not be found again, and a number alone is no scenario";
}

fn nuttx_8915_data_after_close_is_reset() -> Verdict {
    // FIN_WAIT_1: our FIN is not acknowledged yet; FIN_WAIT_2: it is.
    for acknowledged in [false, true] {
        let mut w = connected_to_a_peer()?;
        w.close(A)?;
        w.run(ms(1))?;
        if acknowledged {
            w.say("ACK", 0, 1, b"")?;
        }
        w.take(A);
        let ack = i32::from(acknowledged);
        w.say("ACK", 0, ack, &[b'x'; 10])?;
        w.sent(A, &[&format!("RST {ack}(0)")])?;
        w.is_gone(A)?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn dragonos_1900_orphan_stops_answering() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.close(A)?;
    w.run(ms(1))?;
    w.say("ACK", 0, 1, b"")?;
    w.is(A, FinWait2)?;
    same("full and small records", (w.counts(A).sockets, w.counts(A).time_wait), (0, 1))?;
    w.take(A);
    w.say("ACK", 0, 1, b"late")?;
    w.sent(A, &["RST 1(0)"])?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn zephyr_61181_peer_that_keeps_sending() -> Verdict {
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(100))?;
    w.is(A, FinWait2)?;
    let mut read = 0;
    for _ in 0..50 {
        w.write(B, 1000)?;
        w.run(secs(1))?;
        read += w.drain(A)?.0;
    }
    same("bytes read in FIN_WAIT_2", read, 50_000)?;
    same("FINs", w.count(A, Flags::FIN), 1)?;
    w.close(B)?;
    same("the end", w.drain_to_end(A)?, (0, Ok(())))?;
    w.leaves_nothing()
}

fn embox_2946_fin_wait_2_times_out() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.close(A)?;
    w.run(ms(1))?;
    w.say("ACK", 0, 1, b"")?;
    w.is(A, FinWait2)?;
    w.run(secs(59))?;
    w.is(A, FinWait2)?;
    w.run(secs(2))?;
    w.is_gone(A)?;
    w.leaves_nothing()?;
    // With an owner it is half-close, which is legal for as long as he likes.
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(secs(3600))?;
    w.is(A, FinWait2)?;
    w.leaves_nothing()
}

fn demikernel_1018_control_block_goes_after_time_wait() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(ms(100))?;
    w.close(B)?;
    w.run(ms(100))?;
    w.is(A, TimeWait)?;
    same("full records", w.counts(A).sockets, 0)?;
    w.run(ms(59_800))?;
    w.is(A, TimeWait)?;
    w.run(ms(200))?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn demikernel_224_close_waits_for_the_peer() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(secs(5))?;
    w.is(A, FinWait2)?;
    w.close(B)?;
    w.run(secs(100))?;
    w.ends_with(A, &[Established, FinWait1, FinWait2, TimeWait, Closed])?;
    w.ends_with(B, &[Established, CloseWait, LastAck, Closed])?;
    w.leaves_nothing()
}

fn ipstack_25_connection_that_cannot_exit() -> Verdict {
    let mut w = accepted_from_a_peer()?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.is(A, CloseWait)?;
    same("read", w.read(A)?, Ok(0))?;
    w.close(A)?;
    w.is(A, LastAck)?;
    w.run(ms(1))?;
    w.say("ACK", 1, 1, b"")?;
    w.is_gone(A)?;
    same("records", (w.counts(A).orphans, w.counts(A).time_wait), (0, 0))?;
    w.leaves_nothing()
}

fn ipstack_23_shutdown_and_time_out() -> Verdict {
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.shutdown(B, Shutdown::Write)?;
    w.run(ms(1))?;
    same("FINs on the wire", (w.count(A, Flags::FIN), w.count(B, Flags::FIN)), (1, 1))?;
    w.run(ms(100))?;
    for side in [A, B] {
        same("read", w.read(side)?, Ok(0))?;
        w.is(side, TimeWait)?;
    }
    w.run(secs(61))?;
    w.is_gone(A)?;
    w.is_gone(B)?;
    w.leaves_nothing()
}

fn gvisor_8748_stack_that_closes_wakes_its_readers() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (_near, mut far) = link.connected().await?;
        let reader = tokio::spawn(async move { Ok(hosts::read_all(&mut far).await) });
        tokio::task::yield_now().await;
        let report = link.b.close_async(Duration::from_secs(5)).await;
        ensure!(report.is_complete(), "not everything was delivered: {report}");
        let (bytes, error) = hosts::joined(reader).await?;
        ensure!(bytes == 0 && error.is_some(), "the reader ended with {bytes} bytes and {error:?}");
        same("connections of the host", link.b.connections().len(), 0)
    })
}

fn elks_979_every_closing_state_has_a_timer() -> Verdict {
    let bounds = [(FinWait1, 140), (FinWait2, 61), (LastAck, 140)];
    for (state, bound) in bounds {
        let mut w = connected_to_a_peer()?;
        if state == LastAck {
            w.say("FIN,ACK", 0, 0, b"")?;
        }
        w.close(A)?;
        w.run(ms(1))?;
        if state == FinWait2 {
            w.say("ACK", 0, 1, b"")?;
        }
        w.is(A, state)?;
        let seconds = w.seconds_until_gone(200)?;
        ensure!(seconds <= bound, "{} lived {seconds} s", state.name());
        w.leaves_nothing()?;
    }
    let mut w = connected_to_a_peer()?;
    w.close(A)?;
    w.run(ms(1))?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.is(A, lastack_core::State::Closing)?;
    let seconds = w.seconds_until_gone(200)?;
    ensure!(seconds <= 140, "CLOSING lived {seconds} s");
    w.leaves_nothing()
}

fn tailscale_rs_200_accepted_in_close_wait() -> Verdict {
    let mut w = world(|_| ())?;
    w.connect()?;
    w.write(A, 40)?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(secs(1))?;
    w.is(B, CloseWait)?;
    w.accept()?;
    same("B reads", w.drain(B)?, (40, Ok(())))?;
    w.write(B, 1000)?;
    w.close(B)?;
    same("A reads the answer", w.drain_to_end(A)?, (1000, Ok(())))?;
    w.leaves_nothing()
}

fn tailscale_rs_239_no_second_listener() -> Verdict {
    let mut w = accepted_from_a_peer()?;
    // Another client of the same listener: half open, then reset.
    let mut other = w.peer.ok_or("a peer")?;
    other.local.set_port(40_001);
    w.peer = Some(other);
    w.say("SYN", -1, 0, b"")?;
    same("half-open requests", w.counts(A).requests, 1)?;
    w.say("RST", 0, 0, b"")?;
    same("half-open requests after the RST", w.counts(A).requests, 0)?;
    let sockets = w.counts(A).sockets;
    let mut third = other;
    third.local.set_port(40_002);
    w.peer = Some(third);
    w.say("SYN", -1, 0, b"")?;
    third.learn(&w.pair)?;
    w.peer = Some(third);
    w.say("ACK", 0, 0, b"GET /")?;
    same("sockets: one more connection, no other listener", w.counts(A).sockets, sockets + 1)?;
    let listener = w.listener.ok_or("the listener")?;
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let socket = stack.tcp_accept(listener).map_err(|error| format!("accept: {error}"))?;
    same("the server reads the request", stack.tcp_read(now, socket, &mut [0; 10]), Ok(5))?;
    stack.tcp_close(now, socket);
    w.leaves_nothing()
}

fn turmoil_269_drop_with_unread_data() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        for unread in [true, false] {
            let (near, mut far) = link.connected().await?;
            if unread {
                hosts::write(&mut far, 10).await?;
                hosts::until("the data has arrived", || near.info().is_ok_and(|info| info.unread == 10))
                    .await?;
            }
            drop(near);
            let right = unread.then_some(std::io::ErrorKind::ConnectionReset);
            same("the other end reads", hosts::read_all(&mut far).await, (0, right))?;
        }
        Ok(())
    })?;
    // The same in the core, where a FIN alone does not count as unread.
    let mut w = connected_with(|_| ())?;
    w.shutdown(B, Shutdown::Write)?;
    w.run(ms(100))?;
    w.close(A)?;
    w.run(ms(100))?;
    same("resets", w.count(A, Flags::RST), 0)?;
    w.is_gone(A)?;
    same("B reads", w.read(B)?, Ok(0))?;
    w.leaves_nothing()
}

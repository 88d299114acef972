//! Data that nobody reads, and telling a reset from an end of file.

use super::hosts;
use super::kit::{
    A, B, Verdict, connected, connected_to_a_peer, connected_to_a_slow_reader, ensure, ms, same, secs,
};
use lastack_core::State::{CloseWait, Closed, Established};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cause, Error, Initiator, Ready, Shutdown, TcpOption, Timeout};

super::entries! { Reset;
    asterinas_1855_resets_and_their_error: "asterinas PR 1855",
        "no RST was sent where Linux sends one, and one that came was not reported",
        "unread data, data after close and linger 0 reset; the peer gets ECONNRESET exactly once";
    seastar_2983_data_after_close: "seastar #2983",
        "unread data, or data after the close, has to end in a reset",
        "data for a closed socket draws a RST: the sender learns that nobody reads";
    linuxdetails_3_data_read_in_part: "LinuxDetails PR 3",
        "notes on what Linux does at a close with data unread",
        "one byte unread is enough for the RST; none, and the close is a FIN";
    akka_core_17854_reset_behind_a_response: "akka-core #17854",
        "clients got a connection reset behind responses, under load",
        "a server that has read its request and closes behind its response never resets, a thousand times";
    jetty_1848_big_response_to_a_slow_client: "jetty #1848",
        "with linger misconfigured to 0 big responses were cut off",
        "close() without linger delivers all of a response to a client that reads as slowly as it likes";
    smoltcp_349_is_the_download_whole: "smoltcp #349",
        "the end of a download by FIN could not be told from one by RST, least of all after one's own close",
        "read gives 0 after a FIN and ECONNRESET after a RST, also when this side has closed its direction";
    smoltcp_351_time_out_is_no_end_of_file: "smoltcp PR 351",
        "a time-out looked like an end of file",
        "a read that ends by a time-out says so, and by which timer";
    shotover_1998_who_ended_it: "shotover PR 1998",
        "a proxy could not tell a closed connection from a broken one",
        "every connection keeps who ended it and how: by a FIN, by a RST, from which side";
    pcapplusplus_967_reset_ends_both_directions: "PcapPlusPlus #967",
        "a RST was taken for a FIN: only one direction ended, and the connection stayed in the table",
        "a RST ends both directions at once: nothing is written or kept any more";
    pcapplusplus_1450_fin_and_then_rst: "PcapPlusPlus #1450",
        "a RST behind a FIN of the same side was ignored, and the other side waited on",
        "a RST in CLOSE_WAIT ends the connection; read stays at 0, write says EPIPE";
}

fn asterinas_1855_resets_and_their_error() -> Verdict {
    let cases: [fn(&mut super::kit::World) -> Verdict; 3] = [
        // Unread data at the close.
        |w| {
            w.write(B, 10)?;
            w.run(ms(50))?;
            w.close(A)
        },
        // Data after the close.
        |w| {
            w.close(A)?;
            w.run(ms(50))?;
            w.write(B, 10).map(|_| ())
        },
        // Linger 0.
        |w| {
            w.option(A, TcpOption::Linger(Some(std::time::Duration::ZERO)))?;
            w.close(A)
        },
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let mut w = connected()?;
        case(&mut w)?;
        w.run(ms(100))?;
        same(&format!("resets in case {number}"), w.count(A, Flags::RST), 1)?;
        w.is_gone(A)?;
        // After an end of file the error of a RST is EPIPE, which read does not show.
        let right = if number == 1 { Error::BrokenPipe } else { Error::ConnectionReset };
        let socket = w.socket(B)?;
        same("the error", w.pair.stack(B).tcp_take_error(socket), Some(right))?;
        same("the error once more", w.pair.stack(B).tcp_take_error(socket), None)?;
        same("write", w.try_write(B)?, Err(Error::BrokenPipe))?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn seastar_2983_data_after_close() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.close(A)?;
    w.run(ms(1))?;
    w.say("ACK", 0, 1, b"")?;
    w.take(A);
    w.say("PSH,ACK", 0, 1, b"more")?;
    w.sent(A, &["RST 1(0)"])?;
    w.is_gone(A)?;
    // What comes behind it finds no record.
    w.say("PSH,ACK", 4, 1, b"more")?;
    w.sent(A, &["RST 1(0)"])?;
    w.leaves_nothing()
}

fn linuxdetails_3_data_read_in_part() -> Verdict {
    for unread in [1, 0] {
        let mut w = connected()?;
        w.write(B, 100)?;
        w.run(ms(50))?;
        let (now, socket) = (w.pair.now(), w.socket(A)?);
        let read = w.pair.stack(A).tcp_read(now, socket, &mut vec![0; 100 - unread]);
        same("read", read, Ok(100 - unread))?;
        w.close(A)?;
        w.run(ms(100))?;
        same("RST and FIN", (w.count(A, Flags::RST), w.count(A, Flags::FIN)), (unread, 1 - unread))?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn akka_core_17854_reset_behind_a_response() -> Verdict {
    let mut w = super::kit::world(|_| ())?;
    for _ in 0..1000 {
        w.connect()?;
        w.accept()?;
        w.write(A, 100)?;
        w.run(ms(15))?;
        same("the server reads", w.drain(B)?.0, 100)?;
        w.write(B, 500)?;
        w.close(B)?;
        same("the client reads", w.drain_to_end(A)?, (500, Ok(())))?;
        w.close(A)?;
    }
    w.run(secs(1))?;
    same("resets", (w.count(A, Flags::RST), w.count(B, Flags::RST)), (0, 0))?;
    w.leaves_nothing()
}

fn jetty_1848_big_response_to_a_slow_client() -> Verdict {
    const BYTES: usize = 100_000;
    let mut w = connected_to_a_slow_reader()?;
    let taken = w.write(A, BYTES)?;
    w.close(A)?;
    let mut read = 0;
    loop {
        match w.read(B)? {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(Error::WouldBlock) => {}
            Err(error) => return Err(format!("after {read} bytes: {error}")),
        }
        w.run(secs(1))?;
    }
    same("bytes", read, taken)?;
    w.leaves_nothing()
}

fn smoltcp_349_is_the_download_whole() -> Verdict {
    for shut_before in [false, true] {
        for reset in [false, true] {
            let mut w = connected()?;
            if shut_before {
                w.shutdown(A, Shutdown::Write)?;
                w.run(ms(100))?;
            }
            w.write(B, 5000)?;
            w.run(ms(100))?;
            if reset {
                w.abort(B)?;
            } else {
                w.close(B)?;
            }
            w.run(ms(100))?;
            let end = if reset { Err(Error::ConnectionReset) } else { Ok(()) };
            same("A reads", w.drain(A)?, (5000, end))?;
            w.leaves_nothing()?;
        }
    }
    Ok(())
}

fn smoltcp_351_time_out_is_no_end_of_file() -> Verdict {
    let mut w = connected()?;
    w.option(A, TcpOption::KeepAlive(true))?;
    w.option(A, TcpOption::KeepIdle(secs(10)))?;
    w.option(A, TcpOption::KeepInterval(secs(1)))?;
    w.option(A, TcpOption::KeepCount(3))?;
    w.silence();
    w.run(secs(60))?;
    same("idle: read", w.read(A)?, Err(Error::TimedOut(Timeout::KeepAlive)))?;
    w.leaves_nothing()?;
    let mut w = connected()?;
    w.option(A, TcpOption::UserTimeout(secs(5)))?;
    w.silence();
    w.write(A, 10)?;
    w.run(secs(60))?;
    same("with data under way: read", w.read(A)?, Err(Error::TimedOut(Timeout::User)))?;
    w.leaves_nothing()
}

fn shotover_1998_who_ended_it() -> Verdict {
    for reset in [false, true] {
        let mut w = connected()?;
        if reset {
            w.abort(B)?;
        } else {
            w.close(B)?;
        }
        w.run(ms(100))?;
        let socket = w.socket(A)?;
        let last = w.pair.stack(A).tcp_history(socket).last().copied().ok_or("no history")?;
        let right = if reset {
            (Closed, Cause::Reset, Initiator::Peer)
        } else {
            (CloseWait, Cause::Fin, Initiator::Peer)
        };
        same("the last change", (last.to, last.cause, last.initiator), right)?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn pcapplusplus_967_reset_ends_both_directions() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.write(A, 100)?;
    w.say("RST", 0, 0, b"")?;
    w.ends_with(A, &[Established, Closed])?;
    w.is_gone(A)?;
    let socket = w.socket(A)?;
    ensure!(w.pair.stack(A).tcp_ready(socket).contains(Ready::HUP | Ready::RDHUP), "poll does not tell");
    same("write", w.try_write(A)?, Err(Error::ConnectionReset))?;
    same("read", w.read(A)?, Ok(0))?;
    w.take(A);
    w.run(secs(300))?;
    w.sent(A, &[])?;
    w.leaves_nothing()
}

fn pcapplusplus_1450_fin_and_then_rst() -> Verdict {
    // The number that the FIN took counted, and, as some stacks send it, not counted.
    for seq in [1, 0] {
        let mut w = connected_to_a_peer()?;
        w.say("FIN,ACK", 0, 0, b"")?;
        w.is(A, CloseWait)?;
        w.say("RST", seq, 0, b"")?;
        w.is_gone(A)?;
        same("read", w.read(A)?, Ok(0))?;
        same("write", w.try_write(A)?, Err(Error::BrokenPipe))?;
        w.leaves_nothing()?;
    }
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (mut near, mut far) = link.connected().await?;
        hosts::finish(&mut near).await?;
        same("the server reads", hosts::read_all(&mut far).await, (0, None))?;
        near.abort();
        same("and writes", hosts::write_until_error(&mut far).await, std::io::ErrorKind::BrokenPipe)
    })
}

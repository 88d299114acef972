//! Linger: close that blocks, close that does not reset, and reset where an end was wanted.

use super::hosts;
use super::kit::{A, B, Verdict, at, connected, connected_to_a_slow_reader, ensure, ms, same, secs, world};
use lastack_core::State::{Closed, Established};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Error, Instant, TcpOption};
use std::io::ErrorKind;
use std::time::Duration;

super::entries! { Reset;
    tokio_7751_linger_blocks_the_runtime: "tokio #7751",
        "SO_LINGER with a time made close() block a thread of the async runtime",
        "close never waits in the stack: with an hour of linger set a stream that owes data is dropped at once";
    tokio_7752_what_takes_the_place_of_linger: "tokio PR 7752",
        "set_linger was deprecated, and no other call told whether the data had arrived",
        "close_linger(limit) is a future: it says delivered, or how many bytes were not and why";
    tokio_7837_zero_linger: "tokio PR 7837",
        "an async stream had no call of its own for the reset on close",
        "set_linger_zero(true) makes the drop a RST, and the peer reads ECONNRESET";
    tokio_4324_linger_before_connecting: "tokio PR 4324",
        "linger could not be set on a socket before it was connected or listening",
        "the option holds from the socket on, and a listener's connections inherit it";
    mio_1402_linger_can_be_read_back: "mio PR 1402",
        "the linger option was missing on streams, to set and to read",
        "what was set is what options() gives back";
    zenoh_2350_shutdown_then_read_to_the_end: "zenoh #2350",
        "a library used linger where the peer's end of file tells that all was received",
        "shutdown(Write) and a read to the end are enough: the 0 comes behind the peer's last byte";
    zenoh_2349_linger_without_blocking: "zenoh PR 2349",
        "control over linger was wanted although setting it could block",
        "a linger time changes nothing on the wire: the data arrives, then the FIN, in the background";
    commonware_1260_failed_handshakes: "commonware #1260",
        "connections that a server dropped at once, for their address or their handshake, filled TIME_WAIT",
        "linger 0 or abort() leaves no record behind, at the server or at the client";
    wreq_1215_client_option: "wreq #1215",
        "a client library gave no way to end its connections with a reset",
        "the option is on every stream, and can be taken back before the close";
    esp_idf_10258_linger_zero_sends_rst: "esp-idf #10258",
        "close() with linger 0 sent a FIN: the peer's first write still succeeded",
        "the RST goes out at the close, the peer's first call says ECONNRESET and its writes EPIPE";
    nuttx_7522_linger_zero_does_not_block: "nuttx #7522",
        "close() with linger 0 followed the FIN procedure and blocked for ever while data was queued",
        "close() returns, the queue behind the closed window is dropped, and a RST says so";
    corefx_33088_linger_zero_and_reconnect: "corefx #33088",
        "linger 0 sent a FIN, and a new connection between the same addresses failed until the program ended",
        "the RST frees the four-tuple on both sides: the same port connects again at once";
    libuv_498_reset_leaves_nothing: "libuv PR 498",
        "clients that had gone silent left the server with FIN_WAIT_2 and TIME_WAIT after each close",
        "a reset leaves nothing on this side, whether the other side still exists or not";
    elks_981_reset_when_a_program_is_interrupted: "elks PR 981",
        "an interrupted program could only send a FIN, and the server went on to send",
        "with linger 0 the exit is a RST, and the server's transfer stops";
    s2n_quic_2476_always_zero_linger: "s2n-quic PR 2476",
        "linger was always 0, so that streams were cut off although everything had been written",
        "a reset that cuts off data never looks like an end: only a close without linger ends with 0";
    turmoil_159_linger_in_a_simulation: "turmoil #159",
        "a simulated TCP stream had no linger, so that resets could not be simulated",
        "the simulated stack is the real one: linger 0 resets in virtual time too";
    - rocket_2986_linger: "Rocket PR 2986",
        "a web framework and the linger option",
        "the report could not be found again, and a number alone is no scenario";
}

fn tokio_7751_linger_blocks_the_runtime() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (near, mut far) = link.connected().await?;
        let set = near.set_option(TcpOption::Linger(Some(Duration::from_secs(3600))));
        set.map_err(|error| format!("set_option: {error}"))?;
        // All that can be queued, while nobody reads.
        let mut queued = 0;
        while let Ok(n) = near.try_write(&[b'x'; 65_536]) {
            queued += n;
        }
        // On the one thread of this runtime: if it blocked, nothing below would run.
        drop(near);
        same("the other end reads", hosts::read_all(&mut far).await, (queued, None))?;
        ensure!(queued >= 65_536, "only {queued} bytes were queued");
        Ok(())
    })
}

fn tokio_7752_what_takes_the_place_of_linger() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (mut near, mut far) = link.connected().await?;
        hosts::write(&mut near, 100_000).await?;
        let reader = tokio::spawn(async move { Ok(hosts::read_all(&mut far).await) });
        let delivery = near.close_linger(Duration::from_secs(30)).await;
        ensure!(delivery.is_delivered(), "{delivery:?}");
        same("the peer reads", hosts::joined(reader).await?, (100_000, None))?;
        // The peer resets instead of reading.
        let (mut near, far) = link.connected().await?;
        hosts::write(&mut near, 100_000).await?;
        far.abort();
        let delivery = near.close_linger(Duration::from_secs(30)).await;
        ensure!(!delivery.is_delivered(), "delivered to a peer that reset");
        Ok(())
    })
}

fn tokio_7837_zero_linger() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (near, mut far) = link.connected().await?;
        near.set_linger_zero(true).map_err(|error| format!("set_linger_zero: {error}"))?;
        drop(near);
        same("the peer reads", hosts::read_all(&mut far).await, (0, Some(ErrorKind::ConnectionReset)))
    })
}

fn tokio_4324_linger_before_connecting() -> Verdict {
    let mut w = world(|_| ())?;
    let zero = TcpOption::Linger(Some(Duration::ZERO));
    let listener = w.listener.ok_or("a listener")?;
    let stack = w.pair.stack(B);
    stack.tcp_set_option(Instant::ZERO, listener, zero.clone()).map_err(|error| error.to_string())?;
    w.connect()?;
    w.accept()?;
    w.close(B)?;
    w.run(ms(100))?;
    same("resets of the accepted socket", w.count(B, Flags::RST), 1)?;
    w.close(A)?;
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let socket = stack.tcp_socket();
    let opened =
        stack.tcp_set_option(now, socket, zero).and_then(|()| stack.tcp_connect(now, socket, at(B, 80)));
    opened.map_err(|error| error.to_string())?;
    w.sockets[0] = Some(socket);
    w.run(ms(100))?;
    w.close(A)?;
    w.run(ms(100))?;
    same("resets of the connecting socket", w.count(A, Flags::RST), 1)?;
    same("FINs", w.count(A, Flags::FIN), 0)?;
    w.accept()?;
    w.leaves_nothing()
}

fn mio_1402_linger_can_be_read_back() -> Verdict {
    let mut w = connected()?;
    for linger in [Some(secs(7)), Some(Duration::ZERO), None] {
        w.option(A, TcpOption::Linger(linger))?;
        let socket = w.socket(A)?;
        let options = w.pair.stack(A).tcp_options(socket).ok_or("options")?;
        same("linger", options.linger, linger)?;
    }
    w.leaves_nothing()
}

fn zenoh_2350_shutdown_then_read_to_the_end() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (mut near, mut far) = link.connected().await?;
        let server = tokio::spawn(async move {
            let request = hosts::read_all(&mut far).await;
            hosts::write(&mut far, 50_000).await?;
            Ok(request)
        });
        hosts::write(&mut near, 20_000).await?;
        hosts::finish(&mut near).await?;
        same("the client reads", hosts::read_all(&mut near).await, (50_000, None))?;
        same("the server had read", hosts::joined(server).await?, (20_000, None))
    })
}

fn zenoh_2349_linger_without_blocking() -> Verdict {
    let mut w = connected_to_a_slow_reader()?;
    w.option(A, TcpOption::Linger(Some(secs(10))))?;
    w.write(A, 30_000)?;
    let before = w.pair.now();
    w.close(A)?;
    same("virtual time that close() took", w.pair.now() - before, Duration::ZERO)?;
    // Longer than the linger time: nothing is cut off when it is over.
    w.run(secs(20))?;
    same("B reads", w.drain_to_end(B)?, (30_000, Ok(())))?;
    same("resets", w.count(A, Flags::RST), 0)?;
    w.leaves_nothing()
}

fn commonware_1260_failed_handshakes() -> Verdict {
    for abort in [false, true] {
        let mut w = connected()?;
        if abort {
            w.abort(B)?;
        } else {
            w.option(B, TcpOption::Linger(Some(Duration::ZERO)))?;
            w.close(B)?;
        }
        w.run(ms(100))?;
        w.is_gone(B)?;
        w.is_gone(A)?;
        same("TIME_WAIT records", (w.counts(A).time_wait, w.counts(B).time_wait), (0, 0))?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn wreq_1215_client_option() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        for (zero, right) in [(true, Some(ErrorKind::ConnectionReset)), (false, None)] {
            let (near, mut far) = link.connected().await?;
            let set = near.set_linger_zero(true).and_then(|()| near.set_linger_zero(zero));
            set.map_err(|error| format!("set_linger_zero: {error}"))?;
            drop(near);
            same("the server reads", hosts::read_all(&mut far).await, (0, right))?;
        }
        Ok(())
    })
}

fn esp_idf_10258_linger_zero_sends_rst() -> Verdict {
    let mut w = connected()?;
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.close(A)?;
    w.run(ms(100))?;
    w.sent(A, &["RST,ACK 0(0) ack 0"])?;
    same("B's first write", w.try_write(B)?, Err(Error::ConnectionReset))?;
    same("B's second write", w.try_write(B)?, Err(Error::BrokenPipe))?;
    same("B's read", w.read(B)?, Ok(0))?;
    w.leaves_nothing()
}

fn nuttx_7522_linger_zero_does_not_block() -> Verdict {
    let mut w = connected_to_a_slow_reader()?;
    w.write(A, 30_000)?;
    w.run(ms(500))?;
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.close(A)?;
    w.is_gone(A)?;
    w.run(ms(100))?;
    let (bytes, end) = w.drain(B)?;
    ensure!(bytes < 30_000, "all {bytes} bytes arrived");
    same("the end for B", end, Err(Error::ConnectionReset))?;
    same("FINs", w.count(A, Flags::FIN), 0)?;
    w.leaves_nothing()
}

fn corefx_33088_linger_zero_and_reconnect() -> Verdict {
    let mut w = connected()?;
    let socket = w.socket(A)?;
    let port = w.pair.stack(A).tcp_local_addr(socket).ok_or("an address")?;
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.close(A)?;
    w.run(ms(20))?;
    let now = w.pair.now();
    let stack = w.pair.stack(A);
    let again = stack.tcp_socket();
    let opened = stack.tcp_bind(again, port).and_then(|()| stack.tcp_connect(now, again, at(B, 80)));
    opened.map_err(|error| format!("the same port again: {error}"))?;
    w.sockets[0] = Some(again);
    w.run(ms(100))?;
    w.is(A, Established)?;
    w.close(B)?;
    w.accept()?;
    w.leaves_nothing()
}

fn libuv_498_reset_leaves_nothing() -> Verdict {
    let mut w = connected()?;
    w.silence();
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.write(A, 1000)?;
    w.close(A)?;
    w.is_gone(A)?;
    w.run(ms(1))?;
    let sent = w.take(A);
    w.run(secs(600))?;
    w.sent(A, &[])?;
    ensure!(sent.last().is_some_and(|text| text.starts_with("RST,ACK")), "A sent {sent:?}");
    w.leaves_nothing()
}

fn elks_981_reset_when_a_program_is_interrupted() -> Verdict {
    let mut w = connected()?;
    w.write(B, 300_000)?;
    w.run(ms(30))?;
    ensure!(w.drain(A)?.0 > 0, "nothing has arrived");
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.close(A)?;
    w.run(ms(100))?;
    w.segments(B);
    w.run(secs(30))?;
    w.sent(B, &[])?;
    same("the server's write", w.try_write(B)?, Err(Error::ConnectionReset))?;
    w.leaves_nothing()
}

fn s2n_quic_2476_always_zero_linger() -> Verdict {
    for zero in [true, false] {
        let mut w = connected_to_a_slow_reader()?;
        w.write(A, 20_000)?;
        if zero {
            w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
        }
        w.close(A)?;
        w.run(ms(100))?;
        let (bytes, end) = w.drain_to_end(B)?;
        if zero {
            ensure!(bytes < 20_000, "nothing was cut off");
            same("the end", end, Err(Error::ConnectionReset))?;
        } else {
            same("B reads", (bytes, end), (20_000, Ok(())))?;
        }
        w.leaves_nothing()?;
    }
    Ok(())
}

fn turmoil_159_linger_in_a_simulation() -> Verdict {
    let mut w = connected()?;
    w.option(A, TcpOption::Linger(Some(Duration::ZERO)))?;
    w.run(secs(86_400))?;
    w.close(A)?;
    w.run(ms(10))?;
    w.ends_with(A, &[Established, Closed])?;
    w.ends_with(B, &[Established, Closed])?;
    same("B reads", w.read(B)?, Err(Error::ConnectionReset))?;
    w.leaves_nothing()
}

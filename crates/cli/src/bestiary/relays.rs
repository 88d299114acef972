//! Half-close that a relay drops, and programs that leave connections in CLOSE_WAIT.

use super::hosts::{self, Proxy};
use super::kit::{A, B, Verdict, connected, connected_to_a_peer, ensure, ms, same, secs, world};
use lastack::{RelayEnd, Side};
use lastack_core::State::{CloseWait, Closed, FinWait2, LastAck};
use lastack_core::{Error, Initiator, Ready, Shutdown, TcpOption, Timeout};
use std::io::ErrorKind;

super::entries! { HalfClose;
    microsandbox_1181_guest_fin_reaches_upstream: "microsandbox PR 1181",
        "a guest's FIN was not relayed: each clean close left a slot of 256 taken, until egress was dead",
        "the relay passes the end on, the server's close comes back, and both connections are gone";
    smolvm_944_connection_table_that_fills: "smolvm #944",
        "the table of proxied connections filled up with guests that had left",
        "a hundred guests come and go, and the relay is empty and takes the next one";
    lima_5329_request_ended_by_a_fin: "lima #5329",
        "a client that ends its request with a FIN never got the response: the forwarder took half a close for a whole one",
        "the request and its end go through, and then the response, as late as it likes";
    moby_27539_client_without_input: "moby #27539",
        "a client without input sent its FIN first, and the forwarder closed both sides before the answer",
        "an end of file before the first byte of the answer cuts nothing off";
    slirp4netns_350_fin_wait_2_piles_up: "slirp4netns #350",
        "sockets of connections that one side had closed stayed in FIN_WAIT_2 for ever",
        "the end is passed on whoever begins; when both have ended nothing is left";
    tun2socks_100_server_ends_first: "tun2socks #100",
        "half-close was not carried through the relay",
        "the client goes on sending into the open half until it has finished";
    tailscale_4522_client_that_breaks_off: "tailscale #4522",
        "clients that broke off left their connections to the database open, until it took no more",
        "a reset of the client is a reset at the database, behind the bytes that came before";
    kubernetes_14641_idle_upstream_that_closes: "kubernetes #14641",
        "idle connections that the backend closed stayed in CLOSE_WAIT in the proxy",
        "the end of an idle backend reaches the client, whose close ends both";
    kubernetes_18270_both_sides_close: "kubernetes #18270",
        "sessions stayed in CLOSE_WAIT on one side of the proxy and in FIN_WAIT_2 on the other",
        "with both sides closing at the same time the relay ends in order and keeps nothing";
    kubernetes_18354_reset_in_the_middle: "kubernetes #18354",
        "descriptors leaked with connections in FIN_WAIT_2 and CLOSE_WAIT after clients had gone",
        "a client that goes in the middle of a transfer resets the backend; no connection stays";
    kubernetes_8891_answer_behind_an_ended_request: "kubernetes #8891",
        "connections through the proxy were not closed properly when one side had closed",
        "a megabyte that begins after the end of the request arrives whole";
    oauth2_proxy_44_backend_closes_after_each_response: "oauth2_proxy #44",
        "a proxy did not close its side when the backend had closed after the response",
        "fifty exchanges that the backend closes leave no connection at the proxy";
    tower_web_167_client_gone_with_a_full_send_queue: "tower-web #167",
        "a server kept connections in CLOSE_WAIT with a full send queue, and its memory with them",
        "a client that is gone resets on data: the write fails and the memory is free";
    jetty_2169_reset_in_close_wait: "jetty #2169",
        "connections in CLOSE_WAIT hung around although the client was long gone",
        "in CLOSE_WAIT a RST, and a keep-alive that finds nobody, still end the connection and wake the program";
    mod_h2_79_reader_that_is_not_woken: "mod_h2 #79",
        "workers slept in connections whose clients had closed",
        "a FIN wakes a sleeping reader with 0, and a sleeping writer is not left alone either";
    tengine_488_unread_data_hides_the_end: "tengine #488",
        "connections of one protocol were never released, and CLOSE_WAIT built up",
        "poll says RDHUP as soon as the FIN is there, whatever is still unread";
    littleproxy_6_relay_that_is_given_up: "LittleProxy #6",
        "connections of the proxy were not closed on both sides",
        "a relay that is dropped resets both sides: no half is forgotten, none looks finished";
    rustdesk_server_51_table_of_relays: "rustdesk-server PR 51",
        "finished sessions were not taken out of a table and kept their sockets in CLOSE_WAIT",
        "a relay owns both streams: when it ends, whoever ended first, they are gone";
    seeker_29_data_before_the_end: "seeker PR 29",
        "a proxy's connections stayed in CLOSE_WAIT after the client had ended",
        "what the client sent before its end is delivered before the end is";
    sniproxy_6_slow_receiver: "sniproxy PR 6",
        "a proxy did not carry the end of one side to the other as it was",
        "the end waits its turn behind the buffered data, however slowly that is read";
    mofuw_60_server_that_closes_on_end_of_file: "mofuw #60",
        "connections of a server stayed in CLOSE_WAIT",
        "read is 0 once and for ever, and one close from there leads through LAST_ACK to nothing";
    reactor_netty_2985_connection_in_a_pool: "reactor-netty #2985",
        "connections of a client stayed in CLOSE_WAIT, and it could not be seen who had closed them",
        "a pooled connection shows RDHUP and its history before it is used again";
    solo_blog_67_keepalive_in_close_wait: "88250/solo-blog #67",
        "CLOSE_WAIT used a server up, and shorter keep-alive times were set against it",
        "keep-alive runs in CLOSE_WAIT and ends the connection with a peer that is gone, in its 660 s";
    imroc_38_full_accept_queue: "imroc/kubernetes-guide #38",
        "a guide to CLOSE_WAIT that piles up; one way there is a program that does not accept in time",
        "accept() hands them out one by one; each reads 0, closes, and is gone";
}

fn microsandbox_1181_guest_fin_reaches_upstream() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        // An idle keep-alive connection whose guest exits.
        drop(c.client);
        same("upstream reads", hosts::read_all(&mut c.server).await, (0, None))?;
        drop(c.server);
        let report = hosts::ended(c.relay).await?;
        ensure!(matches!(report.end, RelayEnd::Graceful) && report.first == Side::A, "{report}");
        proxy.is_empty().await
    })
}

fn smolvm_944_connection_table_that_fills() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        for _ in 0..100 {
            let mut c = proxy.open().await?;
            drop(c.client);
            same("upstream reads", hosts::read_all(&mut c.server).await, (0, None))?;
            drop(c.server);
            hosts::ended(c.relay).await?;
        }
        proxy.is_empty().await?;
        let mut next = proxy.open().await?;
        hosts::write(&mut next.client, 10).await?;
        hosts::read_exactly(&mut next.server, 10).await
    })
}

/// The client sends `request` bytes and ends; the server answers `answer` bytes after the end.
fn answer_after_the_end(request: usize, answer: usize) -> Verdict {
    hosts::run(async move {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        hosts::write(&mut c.client, request).await?;
        hosts::finish(&mut c.client).await?;
        same("the server reads", hosts::read_all(&mut c.server).await, (request, None))?;
        ensure!(!c.relay.is_finished(), "the relay ended with half of the connection open");
        let mut server = c.server;
        let writer = tokio::spawn(async move {
            hosts::write(&mut server, answer).await?;
            hosts::finish(&mut server).await?;
            Ok(server)
        });
        same("the client reads", hosts::read_all(&mut c.client).await, (answer, None))?;
        drop((c.client, hosts::joined(writer).await?));
        let report = hosts::ended(c.relay).await?;
        same("bytes carried", (report.a_to_b, report.b_to_a), (request as u64, answer as u64))?;
        proxy.is_empty().await
    })
}

fn lima_5329_request_ended_by_a_fin() -> Verdict {
    answer_after_the_end(1000, 2000)
}

fn moby_27539_client_without_input() -> Verdict {
    answer_after_the_end(0, 5)
}

fn kubernetes_8891_answer_behind_an_ended_request() -> Verdict {
    answer_after_the_end(10, 1 << 20)
}

fn slirp4netns_350_fin_wait_2_piles_up() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        for server_first in [true, false] {
            for _ in 0..10 {
                let c = proxy.open().await?;
                let (first, mut second) =
                    if server_first { (c.server, c.client) } else { (c.client, c.server) };
                drop(first);
                same("the other side reads", hosts::read_all(&mut second).await, (0, None))?;
                drop(second);
                hosts::ended(c.relay).await?;
            }
        }
        proxy.is_empty().await
    })
}

fn tun2socks_100_server_ends_first() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        hosts::write(&mut c.server, 20).await?;
        hosts::finish(&mut c.server).await?;
        same("the client reads", hosts::read_all(&mut c.client).await, (20, None))?;
        for _ in 0..5 {
            hosts::write(&mut c.client, 1000).await?;
            hosts::read_exactly(&mut c.server, 1000).await?;
        }
        hosts::finish(&mut c.client).await?;
        same("the server reads", hosts::read_all(&mut c.server).await, (0, None))?;
        drop((c.client, c.server));
        ensure!(hosts::ended(c.relay).await?.first == Side::B, "the client is said to have ended first");
        proxy.is_empty().await
    })
}

fn tailscale_4522_client_that_breaks_off() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        hosts::write(&mut c.client, 100).await?;
        hosts::read_exactly(&mut c.server, 100).await?;
        c.client.abort();
        same(
            "the database reads",
            hosts::read_all(&mut c.server).await,
            (0, Some(ErrorKind::ConnectionReset)),
        )?;
        let report = hosts::ended(c.relay).await?;
        ensure!(matches!(report.end, RelayEnd::Reset { by: Side::A, .. }), "{report}");
        drop(c.server);
        proxy.is_empty().await
    })
}

fn kubernetes_14641_idle_upstream_that_closes() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        hosts::write(&mut c.client, 100).await?;
        hosts::read_exactly(&mut c.server, 100).await?;
        hosts::write(&mut c.server, 100).await?;
        hosts::read_exactly(&mut c.client, 100).await?;
        drop(c.server);
        same("the idle client reads", hosts::read_all(&mut c.client).await, (0, None))?;
        drop(c.client);
        hosts::ended(c.relay).await?;
        proxy.is_empty().await
    })
}

fn kubernetes_18270_both_sides_close() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        for _ in 0..10 {
            let c = proxy.open().await?;
            drop((c.client, c.server));
            let report = hosts::ended(c.relay).await?;
            ensure!(matches!(report.end, RelayEnd::Graceful), "{report}");
        }
        proxy.is_empty().await
    })
}

fn kubernetes_18354_reset_in_the_middle() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        let mut server = c.server;
        let writer = tokio::spawn(async move { Ok((hosts::write_until_error(&mut server).await, server)) });
        hosts::read_exactly(&mut c.client, 100_000).await?;
        // With data unread: a RST.
        drop(c.client);
        let (error, server) = hosts::joined(writer).await?;
        same("the backend's write", error, ErrorKind::ConnectionReset)?;
        hosts::ended(c.relay).await?;
        drop(server);
        proxy.is_empty().await
    })
}

fn oauth2_proxy_44_backend_closes_after_each_response() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        for _ in 0..50 {
            let mut c = proxy.open().await?;
            hosts::write(&mut c.client, 200).await?;
            hosts::read_exactly(&mut c.server, 200).await?;
            hosts::write(&mut c.server, 3000).await?;
            drop(c.server);
            same("the client reads", hosts::read_all(&mut c.client).await, (3000, None))?;
            drop(c.client);
            hosts::ended(c.relay).await?;
        }
        proxy.is_empty().await
    })
}

fn tower_web_167_client_gone_with_a_full_send_queue() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(ms(100))?;
    w.is(B, CloseWait)?;
    w.write(B, 500_000)?;
    w.run(ms(100))?;
    same("the server's next write", w.try_write(B)?, Err(Error::BrokenPipe))?;
    same("memory of its buffers", w.counts(B).buffer_bytes, 0)?;
    w.is_gone(B)?;
    w.leaves_nothing()
}

fn jetty_2169_reset_in_close_wait() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.is(A, CloseWait)?;
    w.say("RST", 1, 0, b"")?;
    w.is_gone(A)?;
    let socket = w.socket(A)?;
    let ready = w.pair.stack(A).tcp_ready(socket);
    ensure!(ready.contains(Ready::HUP | Ready::ERR), "poll says {ready:?}");
    w.leaves_nothing()?;
    let mut w = connected_to_a_peer()?;
    w.option(A, TcpOption::KeepAlive(true))?;
    w.option(A, TcpOption::KeepIdle(secs(30)))?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.run(secs(1000))?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn mod_h2_79_reader_that_is_not_woken() -> Verdict {
    hosts::run(async {
        let link = hosts::Link::new()?;
        let (near, mut far) = link.connected().await?;
        let reader = tokio::spawn(async move { Ok(hosts::read_all(&mut far).await) });
        tokio::task::yield_now().await;
        drop(near);
        same("the sleeping reader", hosts::joined(reader).await?, (0, None))?;
        let (near, mut far) = link.connected().await?;
        let writer = tokio::spawn(async move { Ok(hosts::write_until_error(&mut far).await) });
        hosts::until("the writer sleeps", || near.info().is_ok_and(|info| info.unread > 60_000)).await?;
        drop(near);
        same("the sleeping writer", hosts::joined(writer).await?, ErrorKind::ConnectionReset)
    })
}

fn tengine_488_unread_data_hides_the_end() -> Verdict {
    let mut w = connected()?;
    w.write(A, 100)?;
    w.close(A)?;
    w.run(ms(100))?;
    let socket = w.socket(B)?;
    let ready = w.pair.stack(B).tcp_ready(socket);
    ensure!(ready.contains(Ready::IN | Ready::RDHUP) && !ready.contains(Ready::HUP), "poll says {ready:?}");
    w.leaves_nothing()
}

fn littleproxy_6_relay_that_is_given_up() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        hosts::write(&mut c.client, 10).await?;
        hosts::read_exactly(&mut c.server, 10).await?;
        c.relay.abort();
        for stream in [&mut c.client, &mut c.server] {
            same("a side reads", hosts::read_all(stream).await, (0, Some(ErrorKind::ConnectionReset)))?;
        }
        drop((c.client, c.server));
        proxy.is_empty().await
    })
}

fn rustdesk_server_51_table_of_relays() -> Verdict {
    hosts::run(async {
        let proxy = Proxy::new()?;
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(proxy.open().await?);
        }
        same(
            "connections at the proxy",
            (proxy.front.b.connections().len(), proxy.back.a.connections().len()),
            (20, 20),
        )?;
        for (number, c) in open.into_iter().enumerate() {
            match number % 3 {
                0 => drop((c.client, c.server)),
                1 => {
                    c.client.abort();
                    drop(c.server);
                }
                _ => {
                    c.server.abort();
                    drop(c.client);
                }
            }
            hosts::ended(c.relay).await?;
        }
        proxy.is_empty().await
    })
}

/// The client sends and closes before the server has read a byte.
fn data_then_end(bytes: usize, piece: usize) -> Verdict {
    hosts::run(async move {
        let proxy = Proxy::new()?;
        let mut c = proxy.open().await?;
        let mut client = c.client;
        let writer = tokio::spawn(async move {
            hosts::write(&mut client, bytes).await?;
            drop(client);
            Ok(())
        });
        let mut left = bytes;
        while left > 0 {
            hosts::read_exactly(&mut c.server, piece.min(left)).await?;
            left -= piece.min(left);
            tokio::task::yield_now().await;
        }
        same("then the server reads", hosts::read_all(&mut c.server).await, (0, None))?;
        hosts::joined(writer).await?;
        drop(c.server);
        hosts::ended(c.relay).await?;
        proxy.is_empty().await
    })
}

fn seeker_29_data_before_the_end() -> Verdict {
    data_then_end(50_000, 50_000)
}

fn sniproxy_6_slow_receiver() -> Verdict {
    data_then_end(500_000, 1000)
}

fn mofuw_60_server_that_closes_on_end_of_file() -> Verdict {
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(100))?;
    for _ in 0..3 {
        same("B reads", w.read(B)?, Ok(0))?;
    }
    w.is(B, CloseWait)?;
    w.close(B)?;
    w.is(B, LastAck)?;
    w.run(ms(100))?;
    w.ends_with(B, &[CloseWait, LastAck, Closed])?;
    w.is_gone(B)?;
    w.leaves_nothing()
}

fn reactor_netty_2985_connection_in_a_pool() -> Verdict {
    let mut w = connected()?;
    w.run(secs(100))?;
    // The server's idle time is over.
    w.close(B)?;
    w.run(ms(100))?;
    let socket = w.socket(A)?;
    let ready = w.pair.stack(A).tcp_ready(socket);
    ensure!(ready.contains(Ready::RDHUP), "poll says {ready:?}");
    let last = w.pair.stack(A).tcp_history(socket).last().copied().ok_or("no history")?;
    same("who ended it", (last.to, last.initiator), (CloseWait, Initiator::Peer))?;
    w.is(B, FinWait2)?;
    w.leaves_nothing()
}

fn solo_blog_67_keepalive_in_close_wait() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.option(A, TcpOption::KeepAlive(true))?;
    w.option(A, TcpOption::KeepIdle(secs(600)))?;
    w.option(A, TcpOption::KeepInterval(secs(15)))?;
    w.option(A, TcpOption::KeepCount(4))?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.is(A, CloseWait)?;
    let seconds = w.seconds_until_gone(1000)?;
    ensure!((655..=665).contains(&seconds), "it took {seconds} s");
    let socket = w.socket(A)?;
    let error = w.pair.stack(A).tcp_take_error(socket);
    same("the error", error, Some(Error::TimedOut(Timeout::KeepAlive)))?;
    w.leaves_nothing()
}

fn imroc_38_full_accept_queue() -> Verdict {
    let mut w = world(|_| ())?;
    for _ in 0..100 {
        w.connect()?;
        w.write(A, 10)?;
        w.shutdown(A, Shutdown::Write)?;
        w.run(ms(50))?;
        w.close(A)?;
    }
    same("sockets in the queue, and the listener", w.counts(B).sockets, 101)?;
    for _ in 0..100 {
        w.accept()?;
        same("accepted: reads", w.drain(B)?, (10, Ok(())))?;
        w.close(B)?;
    }
    w.run(secs(1))?;
    same("sockets left", w.counts(B).sockets, 1)?;
    w.leaves_nothing()
}

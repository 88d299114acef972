//! A FIN that is never sent, or lost and not repeated; data that is lost at the end.

use super::hosts;
use super::kit::{
    A, B, Verdict, World, connected, connected_to_a_peer, connected_to_a_slow_reader, ensure, ms, same, secs,
};
use lastack_core::State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Error, Shutdown};
use lastack_sim::Faults;

super::entries! { Close;
    ipstack_89_fin_after_inflight_data: "ipstack #89",
        "a shutdown while data was in flight deferred the FIN, and nothing came back to send it: every copying proxy hung",
        "the FIN stands in the send queue behind the last byte and leaves with it, without another call";
    gvisor_13393_close_behind_zero_window: "gvisor #13393",
        "close() behind a zero window left the endpoint ESTABLISHED for ever, because the state moved only when the FIN left",
        "FIN_WAIT_1 begins with the call, and the zero-window probes of an orphan end after 324.6 s";
    smoltcp_279_fin_wait_1_to_closing_without_fin: "smoltcp PR 279",
        "the peer's FIN came before our own had left: the socket went to CLOSING and never sent its FIN",
        "CLOSING goes on sending what is queued, and the FIN behind it";
    smoltcp_398_closing_repeats_data_and_fin: "smoltcp PR 398",
        "in CLOSING neither data nor FIN were sent again after a loss",
        "data and FIN are repeated together in CLOSING, as in every state";
    demikernel_1537_closing_resends_the_fin_bit: "demikernel #1537",
        "in CLOSING the segment was sent again without its FIN bit, and the project's own test expected that",
        "a repeated FIN is a FIN, with the same number";
    zephyr_46350_first_fin_lost: "zephyr #46350",
        "when the first FIN, or the ACK of it, was lost, the connection never closed",
        "the FIN is repeated with back-off, and either loss is repaired";
    zephyr_46407_last_ack_lost: "zephyr PR 46407",
        "TIME_WAIT did not answer: with the last ACK lost the peer repeated its FIN until it gave up",
        "a repeated FIN is acknowledged from the TIME_WAIT record, which starts its time anew";
    tricep_27_fin_in_the_unacked_queue: "tricep #27",
        "a FIN was not kept for retransmission, and the closing states took no ACK that covered data but not the FIN",
        "data and FIN are acknowledged apart, and the FIN alone is repeated";
    utcp_24_retransmits_in_close_wait: "utcp #24",
        "the retransmission timer did not run in CLOSE_WAIT, in the formal model that it came from neither",
        "what is lost in CLOSE_WAIT and LAST_ACK is sent again until it arrives";
    shadow_3573_fin_is_not_repeated_for_ever: "shadow #3573",
        "a simulator's TCP repeated a FIN for ever because nobody acknowledged it any more",
        "repeats back off and end after 102.2 s of the model, and the record with them";
    b86box_3199_fin_after_a_long_transfer: "86Box #3199",
        "after a long transfer the FIN never came behind the last segment, and the download hung at its end",
        "a lossy transfer of 600,000 bytes ends with the FIN behind its last byte";
    demikernel_1431_send_queue_survives_close: "demikernel #1431",
        "close() threw away what was still in the send queue",
        "all that write() took is delivered before the FIN";
    netstack_smoltcp_17_close_before_the_buffer_is_drained: "netstack-smoltcp PR 17",
        "the stream closed before its send buffer was drained, and the end of the data was lost",
        "a stream that is dropped behind a megabyte delivers the megabyte, then the end";
    smoltcp_112_fin_before_the_data: "smoltcp PR 112",
        "a FIN that overtook data was taken at once, and the data behind it never read",
        "the FIN is held until the hole before it is filled; read gives the data, then 0";
    esp_lwip_18_fin_behind_a_full_receive_queue: "esp-lwip #18",
        "the receive queue was full when the FIN came: it was acknowledged, its notice dropped, and the reader waited for ever",
        "the end of the stream is a place in the stream: a slow reader gets every byte, then 0";
    demikernel_374_fin_on_the_retransmission_queue: "demikernel PR 374",
        "the FIN marker on the queue of unacknowledged segments was not sent again",
        "a lost segment with data and FIN comes again as one segment with both";
    elks_976_exit_in_the_middle_of_a_download: "elks #976",
        "a client that was interrupted sent only a FIN, its window shrank to one byte, and the server crawled on",
        "an exit with data unread is a RST: the server learns at once, and nothing crawls";
}

fn ipstack_89_fin_after_inflight_data() -> Verdict {
    let mut w = connected()?;
    w.write(A, 20_000)?;
    w.shutdown(A, Shutdown::Write)?;
    same("B reads", w.drain_to_end(B)?, (20_000, Ok(())))?;
    w.run(ms(200))?;
    w.is(A, FinWait2)?;
    let fins: Vec<_> = w.every_segment(A).into_iter().filter(|s| s.has(Flags::FIN)).collect();
    same(
        "number behind which the FIN stands",
        fins.iter().map(|s| s.seq + s.len as i32).collect(),
        vec![20_000],
    )?;
    w.leaves_nothing()
}

fn gvisor_13393_close_behind_zero_window() -> Verdict {
    let mut w = connected_to_a_slow_reader()?;
    w.write(A, 50_000)?;
    w.run(secs(2))?;
    w.is(A, Established)?;
    w.close(A)?;
    w.is(A, FinWait1)?;
    w.run(secs(300))?;
    w.is(A, FinWait1)?;
    let seconds = w.seconds_until_gone(400)?;
    ensure!(seconds < 60, "the orphan lived {seconds} s after 300 s of probes");
    same("orphans", w.counts(A).orphans, 0)?;
    same("FINs sent behind the closed window", w.count(A, Flags::FIN), 0)?;
    w.leaves_nothing()
}

/// A has 20,000 bytes for a reader that does not read, and both close: B's FIN comes before A's can leave.
fn fin_waits_behind_a_window() -> Result<World, String> {
    let mut w = connected_to_a_slow_reader()?;
    w.write(A, 20_000)?;
    w.run(ms(100))?;
    w.shutdown(A, Shutdown::Write)?;
    w.shutdown(B, Shutdown::Write)?;
    w.run(ms(100))?;
    same("FINs that A sent", w.count(A, Flags::FIN), 0)?;
    w.is(A, Closing)?;
    Ok(w)
}

fn smoltcp_279_fin_wait_1_to_closing_without_fin() -> Verdict {
    let mut w = fin_waits_behind_a_window()?;
    same("B reads", w.drain_to_end(B)?, (20_000, Ok(())))?;
    w.run(secs(1))?;
    w.ends_with(A, &[FinWait1, Closing, TimeWait])?;
    same("FINs that A sent", w.count(A, Flags::FIN), 1)?;
    w.leaves_nothing()
}

fn smoltcp_398_closing_repeats_data_and_fin() -> Verdict {
    let mut w = connected()?;
    w.lose(A, 2, |s| !s.payload.is_empty());
    w.write(A, 500)?;
    w.shutdown(A, Shutdown::Write)?;
    w.shutdown(B, Shutdown::Write)?;
    w.run(ms(100))?;
    w.is(A, Closing)?;
    same("B reads", w.drain_to_end(B)?, (500, Ok(())))?;
    w.run(ms(100))?;
    let sent: Vec<_> =
        w.every_segment(A).into_iter().filter(|s| s.len > 0).map(|s| (s.seq, s.has(Flags::FIN))).collect();
    same("the data and its FIN bit, three times", sent, vec![(0, true); 3])?;
    w.is(A, TimeWait)?;
    w.leaves_nothing()
}

fn demikernel_1537_closing_resends_the_fin_bit() -> Verdict {
    let mut w = connected()?;
    w.lose(A, 2, |s| s.flags.contains(Flags::FIN));
    w.close(A)?;
    w.close(B)?;
    w.run(ms(50))?;
    w.is(A, Closing)?;
    w.run(secs(5))?;
    w.ends_with(A, &[FinWait1, Closing, TimeWait])?;
    let fins: Vec<_> = w.every_segment(A).into_iter().filter(|s| s.has(Flags::FIN)).map(|s| s.seq).collect();
    same("numbers of A's FINs", fins, vec![0; 3])?;
    w.leaves_nothing()
}

fn zephyr_46350_first_fin_lost() -> Verdict {
    for lost in [A, B] {
        let mut w = connected()?;
        // Of A the FIN, of B the acknowledgement of it.
        w.lose(lost, 1, move |s| lost == B || s.flags.contains(Flags::FIN));
        w.close(A)?;
        w.run(secs(2))?;
        w.close(B)?;
        w.run(secs(1))?;
        same("FINs of A", w.count(A, Flags::FIN), 2)?;
        w.ends_with(A, &[FinWait1, FinWait2, TimeWait])?;
        w.ends_with(B, &[CloseWait, LastAck, Closed])?;
        w.leaves_nothing()?;
    }
    Ok(())
}

fn zephyr_46407_last_ack_lost() -> Verdict {
    let mut w = connected()?;
    w.close(A)?;
    w.run(ms(100))?;
    w.lose(A, 1, |s| s.flags == Flags::ACK);
    w.close(B)?;
    w.run(ms(100))?;
    w.is(A, TimeWait)?;
    w.is(B, LastAck)?;
    w.run(secs(1))?;
    w.is_gone(B)?;
    same("FINs of B", w.count(B, Flags::FIN), 2)?;
    // Without the new start it would be over by now.
    w.run(ms(59_050))?;
    w.is(A, TimeWait)?;
    w.run(ms(200))?;
    w.is_gone(A)?;
    w.leaves_nothing()
}

fn tricep_27_fin_in_the_unacked_queue() -> Verdict {
    // FIN_WAIT_1, and LAST_ACK.
    for passive in [false, true] {
        let mut w = connected_to_a_peer()?;
        let fin = i32::from(passive);
        if passive {
            w.say("FIN,ACK", 0, 0, b"")?;
        }
        w.take(A);
        w.write(A, 100)?;
        w.run(ms(1))?;
        w.close(A)?;
        w.run(ms(1))?;
        w.sent(A, &[&format!("ACK 0(100) ack {fin}"), &format!("FIN,ACK 100(0) ack {fin}")])?;
        w.say("ACK", fin, 100, b"")?;
        w.is(A, if passive { LastAck } else { FinWait1 })?;
        w.run(ms(1500))?;
        let repeats = w.take(A);
        let right = format!("FIN,ACK 100(0) ack {fin}");
        ensure!(!repeats.is_empty() && repeats.iter().all(|text| *text == right), "A repeated {repeats:?}");
        w.say("ACK", fin, 101, b"")?;
        if passive {
            w.is_gone(A)?;
        } else {
            w.is(A, FinWait2)?;
        }
        w.leaves_nothing()?;
    }
    Ok(())
}

fn utcp_24_retransmits_in_close_wait() -> Verdict {
    let mut w = connected()?;
    w.shutdown(A, Shutdown::Write)?;
    w.run(ms(100))?;
    w.is(B, CloseWait)?;
    w.lose(B, 2, |s| !s.payload.is_empty());
    w.write(B, 1000)?;
    w.run(ms(50))?;
    same("A has read before the repeat", w.drain(A)?, (0, Err(Error::WouldBlock)))?;
    w.is(B, CloseWait)?;
    w.run(secs(2))?;
    same("A reads what was lost in CLOSE_WAIT", w.drain(A)?.0, 1000)?;
    w.lose(B, 1, |s| !s.payload.is_empty());
    w.write(B, 500)?;
    w.close(B)?;
    w.is(B, LastAck)?;
    same("A reads what was lost in LAST_ACK", w.drain_to_end(A)?, (500, Ok(())))?;
    w.leaves_nothing()
}

fn shadow_3573_fin_is_not_repeated_for_ever() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.say("FIN,ACK", 0, 0, b"")?;
    w.close(A)?;
    w.is(A, LastAck)?;
    let seconds = w.seconds_until_gone(200)?;
    ensure!((100..=140).contains(&seconds), "the record lived {seconds} s");
    let fins: Vec<_> = w.segments(A).into_iter().filter(|s| s.has(Flags::FIN)).map(|s| s.at).collect();
    ensure!((5..=12).contains(&fins.len()), "{} FINs", fins.len());
    let waits: Vec<_> = fins.windows(2).map(|two| two[1] - two[0]).collect();
    ensure!(waits.windows(2).all(|two| two[1] > two[0]), "no back-off: {waits:?}");
    w.run(secs(3600))?;
    w.sent(A, &[])?;
    w.leaves_nothing()
}

fn b86box_3199_fin_after_a_long_transfer() -> Verdict {
    const BYTES: usize = 600_000;
    let mut w = connected()?;
    let faults = Faults { seed: 3199, lose: 20, delay: 20, duplicate: 10, by: ms(25) };
    w.pair.set_rule(faults.rule());
    let (mut written, mut read) = (0, 0);
    while written < BYTES {
        written += w.write(A, (BYTES - written).min(50_000)).unwrap_or(0);
        w.run(ms(20))?;
        read += w.drain(B)?.0;
    }
    w.close(A)?;
    let (rest, end) = w.drain_to_end(B)?;
    same("B reads", (read + rest, end), (BYTES, Ok(())))?;
    let ends: Vec<_> =
        w.every_segment(A).into_iter().filter(|s| s.has(Flags::FIN)).map(|s| s.seq + s.len as i32).collect();
    ensure!(!ends.is_empty() && ends.iter().all(|end| *end == BYTES as i32), "FINs at {ends:?}");
    w.leaves_nothing()
}

fn demikernel_1431_send_queue_survives_close() -> Verdict {
    let mut w = connected()?;
    let taken = w.write(A, 200_000)?;
    ensure!(taken > 60_000, "write took {taken} bytes");
    w.close(A)?;
    same("B reads", w.drain_to_end(B)?, (taken, Ok(())))?;
    w.leaves_nothing()
}

fn netstack_smoltcp_17_close_before_the_buffer_is_drained() -> Verdict {
    hosts::run(async {
        const BYTES: usize = 1 << 20;
        let link = hosts::Link::new()?;
        let (mut near, mut far) = link.connected().await?;
        let writer = tokio::spawn(async move {
            hosts::write(&mut near, BYTES).await?;
            drop(near);
            Ok::<(), String>(())
        });
        same("the other end reads", hosts::read_all(&mut far).await, (BYTES, None))?;
        hosts::joined(writer).await
    })
}

fn smoltcp_112_fin_before_the_data() -> Verdict {
    let mut w = connected_to_a_peer()?;
    w.say("FIN,ACK", 100, 0, b"")?;
    w.is(A, Established)?;
    w.sent(A, &["ACK 0(0) ack 0"])?;
    same("read before the data", w.read(A)?, Err(Error::WouldBlock))?;
    w.say("ACK", 0, 0, &[b'x'; 100])?;
    w.is(A, CloseWait)?;
    same("A reads", w.drain(A)?, (100, Ok(())))?;
    w.leaves_nothing()
}

fn esp_lwip_18_fin_behind_a_full_receive_queue() -> Verdict {
    let mut w = connected_to_a_slow_reader()?;
    w.write(A, 7661)?;
    w.close(A)?;
    w.run(secs(3))?;
    let mut read = 0;
    for _ in 0..200 {
        match w.read(B)? {
            Ok(0) => {
                same("B reads", read, 7661)?;
                w.is(B, CloseWait)?;
                return w.leaves_nothing();
            }
            Ok(n) => read += n,
            Err(Error::WouldBlock) => {}
            Err(error) => return Err(format!("read fails: {error}")),
        }
        w.run(ms(100))?;
    }
    Err(format!("after {read} bytes the end of the stream never comes"))
}

fn demikernel_374_fin_on_the_retransmission_queue() -> Verdict {
    let mut w = connected()?;
    w.lose(A, 1, |s| s.flags.contains(Flags::FIN));
    w.write(A, 300)?;
    w.close(A)?;
    same("B reads", w.drain_to_end(B)?, (300, Ok(())))?;
    w.run(ms(100))?;
    let sent: Vec<_> = w.every_segment(A).into_iter().filter(|s| s.len > 0).map(|s| s.text()).collect();
    same("segments with data", sent, vec!["FIN,ACK 0(300) ack 0".to_owned(); 2])?;
    w.is(A, FinWait2)?;
    w.leaves_nothing()
}

fn elks_976_exit_in_the_middle_of_a_download() -> Verdict {
    let mut w = connected()?;
    w.write(B, 400_000)?;
    w.run(ms(100))?;
    w.close(A)?;
    w.run(ms(200))?;
    w.is_gone(A)?;
    w.is_gone(B)?;
    same("the server's write", w.try_write(B)?, Err(Error::ConnectionReset))?;
    w.segments(B);
    w.run(secs(60))?;
    w.sent(B, &[])?;
    same("FINs of the client", w.count(A, Flags::FIN), 0)?;
    w.leaves_nothing()
}

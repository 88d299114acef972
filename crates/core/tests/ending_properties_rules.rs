//! Properties of single rules of the end, over random schedules: what waits for a hole, what answers a reset, which
//! records there are.

mod common;
use common::schedule::{Step, cases, setups, step, take};
use common::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

/// A sequence number near the window's left edge, or any.
fn place() -> impl Strategy<Value = i64> {
    prop_oneof![-3i64..10, any::<i32>().prop_map(i64::from)]
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn rcv_nxt_never_passes_a_hole_and_a_fin_waits_for_the_bytes_before_it(
        setup in setups(),
        len in 1usize..3000,
        pieces in proptest::collection::vec((0usize..3000, 1usize..800, any::<bool>()), 1..40),
        reads in any::<u64>(),
    ) {
        // P5, against a set of the bytes that have come.
        let mut rig = Start::Established.rig(setup);
        let text: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let mut here = vec![false; len];
        let mut fin_here = false;
        let mut got = Vec::new();
        for (n, (from, count, fin)) in pieces.iter().enumerate() {
            let from = from % (len + 1);
            let to = (from + count).min(len);
            let fin = *fin && to == len;
            rig.inject(seg(if fin { "FIN,ACK" } else { "ACK" }, from as i64, 0).data(&text[from..to]));
            here[from..to].fill(true);
            fin_here |= fin;
            let whole = here.iter().take_while(|here| **here).count();
            let over = fin_here && whole == len;
            let limit = (whole + usize::from(over)) as i32;
            for sent in rig.sent.drain(..) {
                prop_assert!(sent.rel_ack <= limit, "ACK {} beyond {}", sent.rel_ack, limit);
            }
            prop_assert_eq!(rig.app_state() == State::CloseWait, over);
            if reads >> (n % 64) & 1 == 1 {
                match rig.read() {
                    Ok(bytes) if bytes.is_empty() => prop_assert!(over && got.len() == len, "an end before its time"),
                    Ok(bytes) => got.extend(bytes),
                    Err(error) => prop_assert_eq!(error, Error::WouldBlock),
                }
                prop_assert_eq!(&got[..], &text[..whole]);
            }
        }
    }

    #[test]
    fn after_any_schedule_a_reset_draws_at_most_one_bare_ack(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..20),
        seq in place(),
        ack in -3i64..10,
        both in any::<bool>(),
    ) {
        // P6.
        let mut rig = start.rig(setup);
        for step in &steps {
            take(&mut rig, step);
        }
        rig.sent.clear();
        let before = rig.state();
        rig.inject(seg(if both { "RST,ACK" } else { "RST" }, seq, ack));
        prop_assert!(rig.sent.len() <= 1);
        for sent in &rig.sent {
            let bare_ack = sent.flags == Flags::ACK && sent.payload.is_empty();
            let repeated_syn = before == Some(State::SynSent) && sent.flags == Flags::SYN;
            prop_assert!(bare_ack || repeated_syn, "{}", sent);
        }
    }

    #[test]
    fn a_segment_without_ack_syn_and_rst_draws_nothing_in_a_synchronized_state(
        setup in setups(),
        start in select(&[
            Start::Established, Start::FinWait1, Start::FinWait2, Start::Closing, Start::CloseWait, Start::LastAck,
            Start::FinWait1Orphan, Start::ClosingOrphan, Start::LastAckOrphan,
        ][..]),
        seq in place(),
        len in 0usize..20,
        names in select(&["", "FIN", "PSH", "URG", "FIN,PSH,URG"][..]),
    ) {
        // P6, S23.
        let mut rig = start.rig(setup);
        rig.inject(seg(names, seq, 0).len(len));
        prop_assert_eq!(rig.state(), start.state());
        prop_assert!(rig.sent.is_empty(), "{:?}", rig.take());
    }

    #[test]
    fn each_record_begins_and_ends_once_and_time_wait_never_follows_a_reset(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        // P8, P12: the records that are there are those whose transitions have not ended.
        let mut rig = start.rig(setup);
        for step in &steps {
            let known = rig.transitions.len();
            take(&mut rig, step);
            // What came is asked, too, not only the cause that is told.
            let reset = matches!(step, Step::Segment(flags, ..) if flags.contains("RST"));
            let waits = rig.transitions.iter().skip(known).any(|event| event.transition.to == State::TimeWait);
            prop_assert!(!(reset && waits), "TIME_WAIT by {:?}", step);
        }
        rig.pump();
        let mut states: BTreeMap<_, State> = BTreeMap::new();
        for event in &rig.transitions {
            let t = event.transition;
            let before = states.insert(event.id, t.to);
            prop_assert_eq!(before.unwrap_or(State::Closed), t.from, "{:?}", event);
            let by_fin = matches!(t.cause, Cause::Fin | Cause::FinAcked);
            prop_assert!(t.to != State::TimeWait || by_fin, "{:?}", t);
        }
        let open = states.values().filter(|state| **state != State::Closed).count();
        // A socket whose connection has left it is a record of its own until its owner closes it.
        let mut sockets: Vec<TcpHandle> = rig.socket.into_iter().collect();
        if let Some(listener) = rig.listener {
            sockets.extend(core::iter::from_fn(|| rig.stack.tcp_accept(listener).ok()));
        }
        let left = sockets.iter().filter(|h| rig.stack.tcp_state(**h) == Some(State::Closed)).count();
        let counts = rig.stack.counts();
        prop_assert_eq!(counts.sockets + counts.requests + counts.time_wait, open + left);
    }
}

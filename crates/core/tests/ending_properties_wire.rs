//! Properties of what goes over the wire when connections end, and of what the application is told of it.

mod common;
use common::schedule::{cases, setups, step, take};
use common::*;
use lastack_core::{Counts, Event};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

/// Where the FINs stand that were sent.
fn fins(rig: &Rig) -> BTreeSet<i32> {
    let fins = rig.sent.iter().filter(|sent| sent.flags.contains(Flags::FIN));
    fins.map(|sent| sent.rel_seq + sent.payload.len() as i32).collect()
}

/// A line that loses, delays and repeats, from a seed.
fn faults(seed: u64, loss: u64) -> impl FnMut(&Flying) -> Fate + 'static {
    let mut random = seed | 1;
    move |_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 100 {
            n if n < loss => Fate::Drop,
            n if n < loss + 10 => Fate::Delay(ms(random % 50)),
            n if n < loss + 20 => Fate::Duplicate(ms(random % 50)),
            _ => Fate::Deliver,
        }
    }
}

/// How a side of a pair lets go.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    ShutdownThenClose,
    Abort,
}

fn end() -> impl Strategy<Value = End> {
    select(&[End::Close, End::Close, End::ShutdownThenClose, End::Abort][..])
}

fn let_go(pair: &mut Pair, side: Side, h: TcpHandle, how: End) {
    let now = pair.now;
    match how {
        End::Close => pair.stack(side).tcp_close(now, h),
        End::Abort => pair.stack(side).tcp_abort(now, h),
        End::ShutdownThenClose => {
            let _ = pair.stack(side).tcp_shutdown(now, h, Shutdown::Write);
            pair.run(ms(3));
            let now = pair.now;
            pair.stack(side).tcp_close(now, h);
        }
    }
}

/// The states that one side went through, of each connection.
fn paths(pair: &Pair, side: Side) -> Vec<Vec<(State, Cause)>> {
    let mut paths = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (_, event) in pair.transitions.iter().filter(|(of, _)| *of == side) {
        paths.entry(event.id).or_default().push((event.transition.to, event.transition.cause));
    }
    paths.into_values().filter(|path| path.iter().any(|(to, _)| *to == State::Established)).collect()
}

fn went(path: &[(State, Cause)], state: State) -> bool {
    path.iter().any(|(to, _)| *to == state)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_fin_takes_one_number_once(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut rig = start.rig(setup);
        let mut seen = BTreeSet::new();
        if rig.state().is_none() {
            return Ok(());
        }
        // A FIN that the start has sent stands at the first number.
        if start.snd_nxt() == 1 {
            seen.insert(0);
        }
        for step in &steps {
            take(&mut rig, step);
            seen.extend(fins(&rig));
            rig.sent.clear();
        }
        if let Some(h) = rig.socket.take() {
            for _ in 0..2 {
                rig.stack.tcp_close(rig.now, h);
                rig.pump();
            }
        }
        rig.advance(s(400));
        seen.extend(fins(&rig));
        prop_assert!(seen.len() <= 1, "FINs at {:?}", seen);
    }

    #[test]
    fn unacceptable_empty_segments_draw_one_ack_in_a_slot(
        setup in setups(),
        start in select(&[
            Start::Established, Start::FinWait1, Start::FinWait2, Start::FinWait2Orphan, Start::Closing, Start::TimeWait,
            Start::CloseWait, Start::LastAck,
        ][..]),
        seq in select(&[-5i64, -1000, 400_000, 1 << 30][..]),
        gaps in proptest::collection::vec(0u64..200, 1..40),
    ) {
        let mut rig = start.rig(setup);
        let limit = rig.setup.config.tcp.invalid_ratelimit;
        let begun = rig.now;
        let mut acks = 0;
        for gap in gaps {
            rig.inject(seg("ACK", seq, start.snd_nxt()));
            acks += rig.sent.drain(..).filter(|sent| sent.flags == Flags::ACK).count();
            rig.advance(ms(gap));
            rig.sent.clear();
        }
        let slots = (rig.now - begun).as_millis() / limit.as_millis() + 1;
        prop_assert!(acks as u128 <= slots, "{acks} ACKs in {slots} slots");
        prop_assert!(acks > 0);
    }

    #[test]
    fn a_crowd_of_endings_leaves_nothing_and_time_wait_on_one_side_of_each(
        seed in any::<u64>(),
        loss in 0u64..15,
        ends in proptest::collection::vec((end(), end(), any::<bool>(), 0usize..2000, 0u64..40), 1..8),
    ) {
        let mut pair = Pair::new(&Config::default(), ms(5));
        let listener = pair.b.tcp_socket();
        pair.b.tcp_bind(listener, Pair::addr(Side::B, 80)).unwrap();
        pair.b.tcp_listen(pair.now, listener, 64).unwrap();
        let mut handles = Vec::new();
        for (ours, theirs, client_first, text, pause) in ends.iter().copied() {
            let client = pair.a.tcp_socket();
            pair.a.tcp_connect(pair.now, client, Pair::addr(Side::B, 80)).unwrap();
            pair.run(ms(30));
            let server = pair.b.tcp_accept(listener).unwrap();
            let now = pair.now;
            let _ = pair.a.tcp_write(now, client, &vec![b'x'; text]);
            handles.push((client, server, ours, theirs, client_first, pause));
        }
        prop_assert_eq!(pair.b.counts().sockets, handles.len() + 1, "records are opens minus closes");
        pair.rule(faults(seed, loss));
        for (client, server, ours, theirs, client_first, pause) in handles {
            let mut sides = [(Side::A, client, ours), (Side::B, server, theirs)];
            if !client_first {
                sides.reverse();
            }
            let_go(&mut pair, sides[0].0, sides[0].1, sides[0].2);
            pair.run(ms(pause));
            // All is read, so that a close is no reset.
            let (now, mut buf) = (pair.now, [0; 4096]);
            while pair.b.tcp_read(now, server, &mut buf).is_ok_and(|n| n > 0) {}
            let_go(&mut pair, sides[1].0, sides[1].1, sides[1].2);
        }
        pair.perfect();
        pair.run(s(900));
        let now = pair.now;
        pair.b.tcp_close(now, listener);
        prop_assert_eq!(pair.a.counts(), Counts::default());
        prop_assert_eq!(pair.b.counts(), Counts::default());
        prop_assert!(pair.a.is_idle() && pair.b.is_idle());
        prop_assert_eq!((pair.a.next_timeout(), pair.b.next_timeout()), (None, None), "a timer without a record");
        for (ours, theirs) in paths(&pair, Side::A).iter().zip(&paths(&pair, Side::B)) {
            for path in [ours, theirs] {
                let reset = path.iter().position(|(_, cause)| matches!(cause, Cause::Reset | Cause::Abort));
                let waited = path.iter().position(|(to, _)| *to == State::TimeWait);
                prop_assert!(reset.is_none_or(|reset| waited.is_none_or(|waited| waited < reset)), "{:?}", path);
            }
            let graceful = |path: &[(State, Cause)]| {
                matches!(path.last(), Some((State::Closed, Cause::TimeWaitExpired | Cause::FinAcked)))
            };
            if graceful(ours) && graceful(theirs) {
                let first = [ours, theirs].map(|path| went(path, State::FinWait1));
                let waited = [ours, theirs].map(|path| went(path, State::TimeWait));
                prop_assert_eq!(waited, first, "TIME_WAIT is for who closed first: {:?} {:?}", ours, theirs);
            }
        }
    }

    #[test]
    fn no_byte_of_an_old_incarnation_reaches_the_one_that_reuses_its_time_wait(
        seed in any::<u64>(),
        wait in 1020u64..20_000,
        old in 1usize..8000,
        new in 1usize..8000,
        replays in 1usize..30,
    ) {
        let mut pair = Pair::new(&Config::default(), ms(5));
        let listener = pair.b.tcp_socket();
        pair.b.tcp_bind(listener, Pair::addr(Side::B, 80)).unwrap();
        pair.b.tcp_listen(pair.now, listener, 64).unwrap();
        let connect = |pair: &mut Pair| {
            let client = pair.a.tcp_socket();
            pair.a.tcp_set_option(pair.now, client, TcpOption::ReuseAddr(true)).unwrap();
            pair.a.tcp_bind(client, Pair::addr(Side::A, 5000)).unwrap();
            pair.a.tcp_connect(pair.now, client, Pair::addr(Side::B, 80)).unwrap();
            pair.run(ms(30));
            (client, pair.b.tcp_accept(listener).unwrap())
        };
        let (client, server) = connect(&mut pair);
        let mut buf = vec![0; 1 << 16];
        pair.keep_packets(true);
        pair.a.tcp_write(pair.now, client, &vec![b'o'; old]).unwrap();
        pair.b.tcp_write(pair.now, server, &vec![b'o'; old]).unwrap();
        pair.run(ms(300));
        let now = pair.now;
        for (side, h) in [(Side::A, client), (Side::B, server)] {
            let mut got = 0;
            while let Ok(n @ 1..) = pair.stack(side).tcp_read(now, h, &mut buf) {
                got += n;
            }
            prop_assert_eq!(got, old);
        }
        pair.a.tcp_close(now, client);
        pair.run(ms(100));
        let now = pair.now;
        pair.b.tcp_close(now, server);
        pair.run(ms(wait));
        prop_assert_eq!(pair.record(Side::A, Pair::addr(Side::A, 5000)), Some(State::TimeWait));
        let stale = pair.take_packets();
        pair.keep_packets(false);
        let (client, server) = connect(&mut pair);
        let mut random = seed | 1;
        let mut got = [Vec::new(), Vec::new()];
        let now = pair.now;
        pair.a.tcp_write(now, client, &vec![b'n'; new]).unwrap();
        pair.b.tcp_write(now, server, &vec![b'n'; new]).unwrap();
        for _ in 0..replays {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (to, packet) = &stale[(random >> 33) as usize % stale.len()];
            pair.inject(*to, packet.clone());
            pair.run(ms(random >> 60));
            let now = pair.now;
            for (i, side, h) in [(0, Side::A, client), (1, Side::B, server)] {
                while let Ok(n @ 1..) = pair.stack(side).tcp_read(now, h, &mut buf) {
                    got[i].extend_from_slice(&buf[..n]);
                }
            }
        }
        pair.run(s(5));
        let now = pair.now;
        for (i, side, h) in [(0, Side::A, client), (1, Side::B, server)] {
            while let Ok(n @ 1..) = pair.stack(side).tcp_read(now, h, &mut buf) {
                got[i].extend_from_slice(&buf[..n]);
            }
            prop_assert_eq!(&got[i], &vec![b'n'; new], "at {:?}", side);
        }
    }

    #[test]
    fn whatever_becomes_ready_is_signalled(
        setup in setups(),
        start in select(&Start::ALL[..]),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut rig = start.rig(setup);
        let Some(h) = rig.socket else { return Ok(()) };
        for step in &steps {
            let before = rig.ready();
            rig.events.clear();
            take(&mut rig, step);
            let fresh = rig.ready() - before;
            let told = rig.events.iter().fold(Ready::empty(), |told, event| match event {
                Event::Tcp(of, ready) if *of == h => told | *ready,
                _ => told,
            });
            prop_assert!(told.contains(fresh), "{:?} became ready after {:?}, told {:?}", fresh, step, told);
        }
    }
}

/// Two ends that think themselves connected, each with numbers that the other does not know: what a lost and reused
/// four-tuple leaves behind.
#[test]
fn disjoint_sequence_spaces_fall_silent() {
    let connected = |later: Duration| {
        let mut pair = Pair::new(&Config::default(), ms(5));
        pair.run(later);
        let listener = pair.b.tcp_socket();
        pair.b.tcp_bind(listener, Pair::addr(Side::B, 80)).unwrap();
        pair.b.tcp_listen(pair.now, listener, 4).unwrap();
        let client = pair.a.tcp_socket();
        pair.a.tcp_bind(client, Pair::addr(Side::A, 5000)).unwrap();
        pair.a.tcp_connect(pair.now, client, Pair::addr(Side::B, 80)).unwrap();
        pair.run(ms(30));
        let server = pair.b.tcp_accept(listener).unwrap();
        (pair, client, server)
    };
    let (one, client, _) = connected(s(0));
    let (mut pair, _, server) = connected(s(100));
    pair.a = one.a;
    let now = pair.now;
    assert_eq!(pair.a.tcp_write(now, client, b"x"), Ok(1));
    assert_eq!(pair.b.tcp_write(now, server, b"x"), Ok(1));
    pair.log.clear();
    pair.run(s(60));
    // Nine transmissions each way at the most; each draws an ACK, which draws one more, and that one is limited.
    assert!(pair.log.len() <= 2 * 9 * 4, "{} packets in a minute", pair.log.len());
    assert!(pair.log.len() > 2);
    let last = pair.log.len();
    pair.run(s(5));
    assert!(pair.log.len() <= last + 4);
}

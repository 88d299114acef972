//! The pair itself, with real stacks.

use super::{Application, Fate, Io, Link, Log, Pair, Rule, Side, Stalled, Wait, What};
use crate::peer::Peer;
use crate::script::{Act, Script};
use crate::{Faults, Op, Outcome};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cidr, Config, Error, Instant, State};
use std::time::Duration;

const B: &str = "192.0.2.2:7";

fn pair(rule: Rule, seed: u8) -> Pair {
    let config = |address: &str| Config {
        addresses: vec![address.parse::<Cidr>().expect("an address with its prefix")],
        ..Config::default()
    };
    let link = Link { mtu: 1500, delay: Duration::from_millis(7), rule };
    Pair::new([config("192.0.2.1/24"), config("192.0.2.2/24")], link, [seed; 32])
}

fn talk(mut pair: Pair, limit: Instant) -> Log {
    let at = B.parse().expect("a socket address");
    let client = vec![Act::Connect(at), Act::Write(5000), Act::Close];
    pair.spawn(
        Side::B,
        Box::new(Script::new(vec![Act::Listen(at), Act::Accept, Act::ReadToEnd, Act::Close])),
    );
    pair.spawn(Side::A, Box::new(Script::new(client)));
    pair.run(limit).expect("the stacks come to rest");
    pair.into_log()
}

fn perfect() -> Rule {
    Box::new(|_, _| Fate::Deliver)
}

fn fingerprint(log: &Log) -> String {
    format!("{:?} {:?}", log.records, log.packets)
}

const HOUR: Instant = Instant::from_secs(3600);

#[test]
fn same_seed_same_log_and_another_seed_another_log() {
    let log = |seed| fingerprint(&talk(pair(perfect(), seed), HOUR));
    assert_eq!(log(1), log(1));
    assert_ne!(log(1), log(2));
}

#[test]
fn packets_arrive_after_the_delay_in_order_or_never() {
    let mut count = 0;
    let every_fourth = move |_: Side, _: &[u8]| {
        count += 1;
        if count % 4 == 0 { Fate::Lose } else { Fate::Deliver }
    };
    let log = talk(pair(Box::new(every_fourth), 1), HOUR);
    assert!(log.packets.iter().any(|p| p.arrives.is_none()), "nothing was lost");
    let mut arrived = Vec::new();
    for record in &log.records {
        if let What::Arrived(index) = record.what {
            let packet = &log.packets[index];
            assert_eq!(packet.arrives, Some(record.at));
            assert_eq!(record.at - packet.sent, Duration::from_millis(7));
            assert_eq!(record.side, packet.from.other());
            arrived.push(index);
        }
    }
    let expected: Vec<_> = (0..log.packets.len()).filter(|i| log.packets[*i].arrives.is_some()).collect();
    assert_eq!(arrived, expected);
    assert!(log.records.is_sorted_by_key(|record| record.at));
}

#[test]
fn run_stops_at_its_limit() {
    let limit = Instant::from_millis(20);
    let log = talk(pair(perfect(), 1), limit);
    assert!(log.records.iter().all(|record| record.at <= limit));
    assert!(!log.records.is_empty());
}

#[test]
fn an_application_that_never_lets_time_pass_is_reported() {
    struct Busy;
    impl Application for Busy {
        fn resume(&mut self, io: &mut Io<'_>) -> Wait {
            Wait::Until(io.now)
        }
    }
    let mut pair = pair(perfect(), 1);
    pair.spawn(Side::A, Box::new(Busy));
    assert_eq!(pair.run(HOUR).err(), Some(Stalled { at: Instant::ZERO }));
}

fn bytes_read(log: &Log, side: Side) -> usize {
    let read = log.calls(side).filter(|(_, call)| call.op == Op::Read);
    read.map(|(_, call)| if let Outcome::Bytes(n) = call.outcome { n } else { 0 }).sum()
}

#[test]
fn packets_that_are_held_back_are_overtaken_and_duplicates_arrive_twice() {
    let faults = Faults { seed: 3, lose: 0, delay: 300, duplicate: 300, by: Duration::from_millis(30) };
    let log = talk(pair(faults.rule(), 1), HOUR);
    let arrived: Vec<_> = log
        .records
        .iter()
        .filter_map(|record| if let What::Arrived(index) = record.what { Some(index) } else { None })
        .collect();
    assert!(!arrived.is_sorted(), "nothing was overtaken");
    assert!(arrived.len() > log.packets.len(), "nothing arrived twice");
    assert_eq!(bytes_read(&log, Side::B), 5000);
}

#[test]
fn faults_are_a_function_of_their_seed() {
    let log = |seed| {
        let faults = Faults { seed, lose: 200, delay: 200, duplicate: 200, by: Duration::from_millis(3) };
        fingerprint(&talk(pair(faults.rule(), 1), HOUR))
    };
    assert_eq!(log(7), log(7));
    assert_ne!(log(7), log(8));
}

#[test]
fn a_peer_written_by_hand_opens_and_resets_a_connection() {
    let mut pair = pair(perfect(), 1);
    pair.power_off(Side::B);
    let at: std::net::SocketAddr = B.parse().expect("a socket address");
    pair.spawn(Side::A, Box::new(Script::new(vec![Act::Connect(at), Act::ReadToEnd, Act::Close])));
    pair.advance(Duration::from_millis(50)).expect("rest");
    let mut peer = Peer::new(Side::B, at, at);
    peer.learn(&pair).expect("A sent a SYN");
    peer.send(&mut pair, Flags::SYN | Flags::ACK, -1, 0, &[]);
    pair.advance(Duration::from_millis(50)).expect("rest");
    peer.send(&mut pair, Flags::ACK | Flags::PSH, 0, 0, b"hello");
    peer.send(&mut pair, Flags::RST, 5, 0, &[]);
    pair.advance(Duration::from_millis(50)).expect("rest");
    let log = pair.into_log();
    assert_eq!(log.path(Side::A), [State::SynSent, State::Established, State::Closed]);
    let reads: Vec<_> =
        log.calls(Side::A).filter(|(_, c)| c.op == Op::Read).map(|(_, c)| c.outcome).collect();
    assert_eq!(reads, [Outcome::Bytes(5), Outcome::Failed(Error::ConnectionReset)]);
    let last = log.segments().last().copied().expect("segments");
    assert_eq!((last.text(), last.by_hand), ("RST 5(0)".to_owned(), true));
}

#[test]
fn a_side_that_rebooted_answers_with_a_reset() {
    let mut pair = pair(perfect(), 1);
    let at = B.parse().expect("a socket address");
    pair.spawn(Side::B, Box::new(Script::new(vec![Act::Listen(at), Act::Accept, Act::ReadToEnd])));
    let wait = Duration::from_millis(100);
    let client = vec![Act::Connect(at), Act::Sleep(wait), Act::Write(10), Act::ReadToEnd];
    pair.spawn(Side::A, Box::new(Script::new(client)));
    pair.at(Instant::from_millis(50), |pair| pair.reboot(Side::B));
    pair.run(HOUR).expect("rest");
    let log = pair.into_log();
    let (_, last) = log.calls(Side::A).last().expect("calls");
    assert_eq!(last.outcome, Outcome::Failed(Error::ConnectionReset));
    assert!(log.segments().iter().any(|s| s.from == Side::B && s.text() == "RST 0(0)"));
}

#[test]
fn a_slow_reader_reads_step_by_step() {
    let mut pair = pair(perfect(), 1);
    let at = B.parse().expect("a socket address");
    let pause = Duration::from_millis(500);
    let server = vec![Act::Listen(at), Act::Accept, Act::ReadSlowly(100, pause), Act::Close];
    pair.spawn(Side::B, Box::new(Script::new(server)));
    pair.spawn(Side::A, Box::new(Script::new(vec![Act::Connect(at), Act::Write(1000), Act::Close])));
    pair.run(HOUR).expect("rest");
    let log = pair.into_log();
    let reads: Vec<_> = log.calls(Side::B).filter(|(_, c)| c.op == Op::Read).collect();
    assert_eq!(reads.len(), 11);
    assert!(reads.windows(2).all(|two| two[1].0 - two[0].0 == pause));
}

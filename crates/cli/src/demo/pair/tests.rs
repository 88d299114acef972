//! The pair itself, with real stacks.

use super::{Application, Io, Link, Log, Pair, Side, Stalled, Wait, What};
use crate::demo::script::{Act, Script};
use lastack_core::{Cidr, Config, Instant};
use std::time::Duration;

const B: &str = "192.0.2.2:7";

fn pair(loses: super::DropRule, seed: u8) -> Pair {
    let config = |address: &str| Config {
        addresses: vec![address.parse::<Cidr>().expect("an address with its prefix")],
        ..Config::default()
    };
    let link = Link { mtu: 1500, delay: Duration::from_millis(7), loses };
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
    pair.run(limit).expect("the stacks come to rest")
}

fn fingerprint(log: &Log) -> String {
    format!("{:?} {:?}", log.records, log.packets)
}

const HOUR: Instant = Instant::from_secs(3600);

#[test]
fn same_seed_same_log_and_another_seed_another_log() {
    let log = |seed| fingerprint(&talk(pair(Box::new(|_, _| false), seed), HOUR));
    assert_eq!(log(1), log(1));
    assert_ne!(log(1), log(2));
}

#[test]
fn packets_arrive_after_the_delay_in_order_or_never() {
    let mut count = 0;
    let every_fourth = move |_: Side, _: &[u8]| {
        count += 1;
        count % 4 == 0
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
    let log = talk(pair(Box::new(|_, _| false), 1), limit);
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
    let mut pair = pair(Box::new(|_, _| false), 1);
    pair.spawn(Side::A, Box::new(Busy));
    assert_eq!(pair.run(HOUR).err(), Some(Stalled { at: Instant::ZERO }));
}

//! Links by themselves: what a scenario asks for is what happens to packets, in number and in time.

use super::{Loss, Network, address};
use crate::packet::{Header, build};
use crate::scenario::{IpVersion, Scenario};
use lastack_core::Instant;
use lastack_core::wire::tcp::Flags;
use std::net::SocketAddr;
use std::time::Duration;

const SPACING: Duration = Duration::from_millis(1);

/// A network of two hosts whose link is `text`, forward.
fn network(text: &str, seed: u64) -> (Scenario, Network) {
    let scenario = Scenario::parse(&format!(
        "name = \"t\"\nsummary = \"t\"\nhost = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n\
         link = [{{ between = [\"a\", \"b\"], forward = {{ {text} }} }}]"
    ))
    .expect("a scenario");
    let net = Network::new(&scenario, seed).expect("a network");
    (scenario, net)
}

/// A packet of `len` bytes from A to B, with a number in it.
fn packet(number: u32, len: usize) -> Vec<u8> {
    let at = |host| SocketAddr::new(address(IpVersion::V4, host), 9);
    let header = Header { flags: Flags::ACK, ..Header::default() };
    let mut payload = vec![0; len - 40];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    build(at(0), at(1), &header, &payload).expect("a packet")
}

/// What came out: when, which, and the bytes.
type Out = Vec<(Instant, u32, Vec<u8>)>;

fn number_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[40..44].try_into().expect("four bytes"))
}

/// Sends `count` packets of `len` bytes, one each `spacing`.
fn send(net: &mut Network, count: u32, len: usize, spacing: Duration) -> Out {
    let mut out = Vec::new();
    let mut run = |net: &mut Network, until: Option<Instant>| {
        while let Some(at) = net.next_time().filter(|at| until.is_none_or(|until| *at <= until)) {
            net.step(at, |host, packet| {
                if host == 1 {
                    out.push((at, number_of(packet), packet.to_vec()));
                }
                true
            });
        }
    };
    for number in 0..count {
        let now = Instant::ZERO + spacing * number;
        run(net, Some(now));
        net.send(now, 0, &packet(number, len));
    }
    run(net, None);
    out
}

fn lost(net: &Network, cause: Loss) -> u64 {
    net.pipes[0].tally.lost[cause as usize]
}

/// `n` is within five standard deviations of so many throws with this chance.
fn likely(n: u64, throws: u64, chance: f64) {
    let (mean, deviation) = (throws as f64 * chance, (throws as f64 * chance * (1.0 - chance)).sqrt());
    assert!((n as f64 - mean).abs() < 5.0 * deviation, "{n} of {throws}, with a chance of {chance}");
}

#[test]
fn a_link_without_faults_delivers_everything_after_its_delay_and_unchanged() {
    let (_, mut net) = network("delay = \"7ms\"", 1);
    let out = send(&mut net, 100, 60, SPACING);
    assert_eq!(out.len(), 100);
    for (i, (at, number, bytes)) in out.iter().enumerate() {
        assert_eq!(*number, i as u32);
        assert_eq!(*at, Instant::ZERO + SPACING * i as u32 + Duration::from_millis(7));
        assert_eq!(*bytes, packet(*number, 60));
    }
}

#[test]
fn a_rate_sends_one_packet_after_the_other() {
    // 1250 bytes at 10 Mbit/s are a millisecond.
    let (_, mut net) = network("rate = \"10M\", delay = \"5ms\"", 1);
    let out = send(&mut net, 50, 1250, Duration::ZERO);
    let times: Vec<_> = out.iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, (6..56).collect::<Vec<_>>());
    let tally = net.pipes[0].queue.tally;
    assert_eq!((tally.most, tally.longest), (49, Duration::from_millis(49)));
}

#[test]
fn drop_tail_loses_what_does_not_fit_by_packets_and_by_bytes() {
    let (_, mut net) = network("rate = \"10M\", queue = { kind = \"drop-tail\", packets = 10 }", 1);
    // One is on the wire, ten wait.
    let numbers: Vec<_> = send(&mut net, 50, 1250, Duration::ZERO).iter().map(|(_, n, _)| *n).collect();
    assert_eq!(numbers, (0..11).collect::<Vec<_>>());
    assert_eq!(lost(&net, Loss::QueueFull), 39);
    let (_, mut net) = network("rate = \"10M\", queue = { kind = \"drop-tail\", bytes = 5000 }", 1);
    assert_eq!(send(&mut net, 50, 1250, Duration::ZERO).len(), 1 + 4);
}

#[test]
fn random_loss_has_its_share_and_no_memory() {
    let (_, mut net) = network("loss = \"3%\"", 1);
    let out = send(&mut net, 20_000, 60, SPACING);
    let n = lost(&net, Loss::Random);
    assert_eq!(out.len() as u64 + n, 20_000);
    likely(n, 20_000, 0.03);
    // How often the packet behind a lost one is lost too.
    let arrived: std::collections::BTreeSet<_> = out.iter().map(|(_, number, _)| *number).collect();
    let both = (1..20_000).filter(|i| !arrived.contains(i) && !arrived.contains(&(i - 1))).count();
    likely(both as u64, n, 0.03);
}

#[test]
fn bursts_have_their_share_and_their_length() {
    let (_, mut net) = network("bursts = { begin = \"1%\", end = \"20%\" }", 1);
    let out = send(&mut net, 50_000, 60, SPACING);
    // In the long run begin / (begin + end) of the packets are in bursts, whose mean length is 1 / end.
    let n = lost(&net, Loss::Burst) as f64;
    assert!((n / 50_000.0 - 0.01 / 0.21).abs() < 0.01, "{n}");
    let numbers: Vec<_> = out.iter().map(|(_, number, _)| *number).collect();
    let bursts = numbers.windows(2).filter(|two| two[1] > two[0] + 1).count() as f64;
    assert!((n / bursts - 5.0).abs() < 0.5, "{n} packets in {bursts} bursts");
}

#[test]
fn jitter_is_even_and_keeps_the_order() {
    let (_, mut net) = network("delay = \"10ms\", jitter = \"4ms\"", 1);
    let spacing = Duration::from_millis(5);
    let out = send(&mut net, 10_000, 60, spacing);
    let more: Vec<_> = out
        .iter()
        .map(|(at, n, _)| {
            (*at - (Instant::ZERO + spacing * *n) - Duration::from_millis(10)).as_nanos() as f64
        })
        .collect();
    let mean = more.iter().sum::<f64>() / more.len() as f64;
    assert!((mean / 2e6 - 1.0).abs() < 0.03, "{mean} ns on average");
    assert!(more.iter().all(|more| (0.0..=4e6).contains(more)));
    let (_, mut net) = network("delay = \"10ms\", jitter = \"40ms\"", 1);
    let out = send(&mut net, 2000, 60, SPACING);
    assert!(out.is_sorted_by_key(|(_, number, _)| *number), "packets overtook each other");
}

#[test]
fn reordering_holds_back_its_share_for_its_time() {
    let (_, mut net) = network("delay = \"10ms\", reorder = { share = \"5%\", by = \"3500us\" }", 1);
    let out = send(&mut net, 10_000, 60, SPACING);
    let late = |(at, number, _): &&(Instant, u32, Vec<u8>)| {
        *at != Instant::ZERO + SPACING * *number + Duration::from_millis(10)
    };
    let held: Vec<_> = out.iter().filter(late).collect();
    likely(held.len() as u64, 10_000, 0.05);
    for (at, number, _) in held {
        let sent = Instant::ZERO + SPACING * *number;
        assert_eq!(*at - sent, Duration::from_micros(13_500), "overtaken by three others");
    }
}

#[test]
fn duplicates_are_exact_copies_and_have_their_share() {
    let (_, mut net) = network("duplicate = \"4%\"", 1);
    let out = send(&mut net, 10_000, 60, SPACING);
    let copies = out.windows(2).filter(|two| two[0].1 == two[1].1).count() as u64;
    assert_eq!(out.len() as u64, 10_000 + copies);
    assert!(out.windows(2).all(|two| two[0].1 != two[1].1 || two[0].2 == two[1].2));
    likely(copies, 10_000, 0.04);
    assert_eq!(net.pipes[0].tally.duplicated, copies);
}

#[test]
fn damage_is_one_bit_anywhere_and_has_its_share() {
    let (_, mut net) = network("corrupt = \"10%\"", 1);
    let out = send(&mut net, 5000, 60, SPACING);
    let mut places = std::collections::BTreeSet::new();
    for (at, _, bytes) in &out {
        // A damaged number cannot say which packet it was; its time can.
        let original = packet(at.as_millis() as u32, 60);
        let bits = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        let flipped = bits(bytes, &original);
        assert!(flipped <= 1, "{flipped} bits");
        places.extend(bytes.iter().zip(&original).position(|(a, b)| a != b));
    }
    let damaged = net.pipes[0].tally.corrupted;
    likely(damaged, 5000, 0.1);
    assert!(places.len() > 40, "only at {places:?}");
}

#[test]
fn nothing_passes_while_the_link_is_down() {
    let (scenario, mut net) = network("down = [{ from = \"100ms\", to = \"250ms\" }]", 1);
    let numbers: Vec<_> = send(&mut net, 400, 60, SPACING).iter().map(|(_, n, _)| *n).collect();
    assert_eq!(numbers, (0..100).chain(250..400).collect::<Vec<_>>());
    assert_eq!(net.faults(&scenario)[0].fired, 150);
}

#[test]
fn the_mtu_changes_at_its_time_and_the_sender_is_told() {
    let (scenario, mut net) = network("mtu-changes = [{ at = \"100ms\", mtu = 1000 }]", 1);
    let mut told = 0;
    for number in 0..200 {
        let now = Instant::ZERO + SPACING * number;
        net.send(now, 0, &packet(number, 1200));
        net.step(now, |host, packet| {
            // ICMP type 3, code 4, and the MTU.
            told += u32::from(
                host == 0 && packet[9] == 1 && packet[20..22] == [3, 4] && packet[26..28] == [3, 232],
            );
            true
        });
    }
    assert_eq!((lost(&net, Loss::TooBig), told), (100, 100));
    assert_eq!(net.faults(&scenario)[0].fired, 100);
    let (_, mut net) = network("mtu-changes = [{ at = \"100ms\", mtu = 1000 }], black-hole = true", 1);
    assert_eq!(send(&mut net, 200, 1200, SPACING).len(), 100);
}

#[test]
fn codel_keeps_a_standing_queue_near_its_target() {
    // 12 ms of packets each 10 ms: without CoDel the queue would grow without end.
    let (_, mut net) = network("rate = \"10M\", queue = { kind = \"codel\" }", 1);
    send(&mut net, 20_000, 1250, Duration::from_micros(900));
    let (codel, tally) = (lost(&net, Loss::CoDel), net.pipes[0].queue.tally);
    assert!(codel > 500 && lost(&net, Loss::QueueFull) == 0, "{codel} dropped, {tally:?}");
    // Load that does not yield is beyond CoDel; but the wait is bounded well below that of drop-tail, which is a second.
    assert!(tally.longest < Duration::from_millis(500), "{tally:?}");
    // A burst that is over within an interval is no standing queue.
    let (_, mut net) = network("rate = \"10M\", queue = { kind = \"codel\" }", 1);
    assert_eq!(send(&mut net, 90, 1250, Duration::ZERO).len(), 90);
}

#[test]
fn the_same_seed_gives_the_same_packets_and_another_one_others() {
    let text = "rate = \"10M\", jitter = \"3ms\", loss = \"5%\", duplicate = \"5%\", corrupt = \"5%\", \
                reorder = { share = \"5%\", by = \"9ms\" }";
    let run = |seed| send(&mut network(text, seed).1, 1000, 600, SPACING);
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn one_chance_does_not_shift_the_luck_of_another() {
    let lost = |text| {
        let out = send(&mut network(text, 1).1, 3000, 60, SPACING);
        let arrived: std::collections::BTreeSet<_> = out.iter().map(|(_, n, _)| *n).collect();
        (0..3000).filter(|n| !arrived.contains(n)).collect::<Vec<_>>()
    };
    assert_eq!(lost("loss = \"2%\""), lost("loss = \"2%\", duplicate = \"30%\", jitter = \"1ms\""));
}

#[test]
fn routers_pass_packets_on_by_the_shortest_way_and_take_one_from_their_time_to_live() {
    let scenario = Scenario::parse(
        r#"
name = "t"
summary = "t"
host = [{ name = "a" }, { name = "b" }]
routers = ["r", "s", "t"]
link = [
    { between = ["a", "r"], both = { delay = "1ms" } },
    { between = ["r", "s"], both = { delay = "1ms" } },
    { between = ["s", "t"], both = { delay = "1ms" } },
    { between = ["r", "t"], both = { delay = "5ms" } },
    { between = ["t", "b"], both = { delay = "1ms" } },
]
"#,
    )
    .expect("a scenario");
    let mut net = Network::new(&scenario, 1).expect("a network");
    let out = send(&mut net, 1, 60, SPACING);
    let (at, _, bytes) = &out[0];
    assert_eq!(*at, Instant::from_millis(7), "two routers, not three");
    assert_eq!(bytes[8], 62);
    assert!(lastack_core::wire::ipv4::Packet::parse(bytes).is_ok(), "the checksum of the header is right");
}

#[test]
fn hosts_without_a_way_between_them_are_an_error() {
    let scenario = Scenario::parse(
        r#"
name = "t"
summary = "t"
host = [{ name = "a" }, { name = "b" }, { name = "c" }]
link = [{ between = ["a", "b"] }, { between = ["b", "c"] }]
flow = [{ from = "a", to = "c", model = { kind = "bulk", bytes = 1 } }]
"#,
    )
    .expect("a scenario");
    let error = Network::new(&scenario, 1).err().expect("hosts do not forward");
    assert!(error.contains("no way from 'a' to 'c'"), "{error}");
}

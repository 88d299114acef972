use super::super::random::Identification;
use super::super::tests::{Bench, OWN4, OWN6, PEER4, PEER6, config};
use super::*;
use alloc::collections::BTreeSet;

#[test]
fn unfragmented_packets_say_nothing_by_their_identification() {
    let mut buf = [0xa5; 60];
    assert_eq!(emit_header(&mut buf, OWN4.into(), PEER4.into(), 6, 20, 64, 2), Some(20));
    let packet = ipv4::Packet::parse(&buf[..40]).unwrap();
    assert_eq!((packet.id(), packet.df(), packet.tos(), packet.ttl()), (0, true, 2, 64));
    assert_eq!(emit_header(&mut buf, OWN6.into(), PEER6.into(), 6, 20, 64, 2), Some(40));
    assert!(ipv6::Packet::parse(&buf).is_ok());
    assert_eq!(emit_header(&mut buf, OWN4.into(), PEER6.into(), 6, 20, 64, 2), None);
    assert_eq!(emit_header(&mut buf[..19], OWN4.into(), PEER4.into(), 6, 20, 64, 2), None);
    assert_eq!(emit_header(&mut buf, OWN4.into(), PEER4.into(), 6, 65_516, 64, 2), None);
}

#[test]
fn identifications_do_not_repeat_within_a_round_and_are_not_a_sequence() {
    let mut ids = Identification::new([3; 16]);
    let first: BTreeSet<u16> = (0..65_536).map(|_| ids.next_v4()).collect();
    assert_eq!(first.len(), 65_536);
    let (mut a, mut b) = (Identification::new([3; 16]), ids);
    let same = (0..1000).filter(|_| a.next_v4() == b.next_v4()).count();
    assert!(same < 20, "the second round repeats the first: {same}");
    let mut ids = Identification::new([4; 16]);
    let list: alloc::vec::Vec<u32> = (0..10_000).map(|_| ids.next_v6()).collect();
    assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), 10_000);
    let steps: BTreeSet<u32> = list.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 9000);
}

#[test]
fn fragments_cover_the_payload_in_multiples_of_eight() {
    let payload: alloc::vec::Vec<u8> = (0..4000).map(|n| n as u8).collect();
    for (src, dst, header) in [(IpAddr::from(OWN4), IpAddr::from(PEER4), 20), (OWN6.into(), PEER6.into(), 48)]
    {
        let mut bench = Bench::new(config());
        let head = Head { src, dst, protocol: protocol::UDP, ttl: 64, tos: 0 };
        let (mut cut, mut got) = (None, alloc::vec::Vec::new());
        let mut frame = [0; 1500];
        loop {
            let part = bench.ip.emit_part(bench.now, &head, &payload, &mut cut, &mut frame).unwrap();
            let (Part::Whole(len) | Part::Fragment(len) | Part::Last(len)) = part;
            assert!(len <= 1500);
            got.extend_from_slice(&frame[header..len]);
            match part {
                Part::Fragment(len) => assert_eq!((len - header) % 8, 0),
                Part::Last(_) => break,
                Part::Whole(_) => panic!("not cut"),
            }
        }
        assert_eq!(got, payload);
        let mut short = [0; 30];
        let none = bench.ip.emit_part(bench.now, &head, &payload, &mut None, &mut short);
        assert_eq!(none.is_some(), src.is_ipv4());
    }
}

//! Packets that are changed stay packets.

use super::{Tcp, age, each_option, mark_congestion};
use crate::packet::{Header, build, segment_of};
use lastack_core::wire::SeqNumber;
use lastack_core::wire::ip::Packet;
use lastack_core::wire::tcp::{Flags, Options};

fn packet(v6: bool) -> Vec<u8> {
    let [from, to] = if v6 { ["[fd00::1]:5", "[fd00::2]:6"] } else { ["10.0.0.1:5", "10.0.0.2:6"] };
    let options = Options { timestamps: Some((7, 8)), ..Options::default() };
    let header = Header { flags: Flags::ACK | Flags::FIN, seq: SeqNumber(100), options, ..Header::default() };
    build(from.parse().expect("an address"), to.parse().expect("an address"), &header, b"hello")
        .expect("a packet")
}

#[test]
fn a_segment_is_found_and_stays_valid_when_it_is_changed() {
    for v6 in [false, true] {
        let mut bytes = packet(v6);
        let mut tcp = Tcp::find_valid(&bytes).expect("a segment");
        assert_eq!((tcp.seq, tcp.len(), &bytes[tcp.data..]), (100, 5, &b"hello"[..]));
        tcp.set_seq(&mut bytes, 200);
        tcp.clear(&mut bytes, Flags::FIN);
        assert!(Tcp::find_valid(&bytes).is_none(), "the checksum is not written yet");
        bytes.extend_from_slice(b"more");
        tcp.finish(&mut bytes);
        assert!(Tcp::find_valid(&bytes).is_some());
        let (_, segment) = segment_of(&bytes).expect("a segment");
        assert_eq!((segment.seq.0, segment.flags, segment.payload), (200, Flags::ACK, &b"hellomore"[..]));
    }
}

#[test]
fn a_mark_is_only_for_those_who_understand_it() {
    for v6 in [false, true] {
        let mut bytes = packet(v6);
        assert!(!mark_congestion(&mut bytes), "not ECN-capable");
        // As a sender that is ECN-capable would have written it.
        if v6 {
            bytes[1] |= 0b10 << 4;
        } else {
            super::replace_word(&mut bytes, 0, 0x4502);
        }
        assert!(mark_congestion(&mut bytes));
        assert_eq!(Packet::parse(&bytes).expect("a right header").tos() & 3, 3);
    }
}

#[test]
fn a_packet_of_a_router_is_older_and_right_or_as_wrong_as_before() {
    for v6 in [false, true] {
        let mut bytes = packet(v6);
        let before = Packet::parse(&bytes).expect("a packet").ttl();
        assert!(age(&mut bytes));
        assert_eq!(Packet::parse(&bytes).expect("a right header").ttl(), before - 1);
        while Packet::parse(&bytes).expect("a right header").ttl() > 1 {
            assert!(age(&mut bytes));
        }
        assert!(!age(&mut bytes), "it ends here");
    }
    let mut bytes = packet(false);
    bytes[15] ^= 1;
    age(&mut bytes);
    assert!(Packet::parse(&bytes).is_err(), "a damaged header was mended");
}

#[test]
fn options_are_walked_to_their_end_and_no_further() {
    let mut kinds = Vec::new();
    each_option(&mut [1, 8, 3, 9, 2, 0, 5, 5], |kind, option| kinds.push((kind, option.len())));
    assert_eq!(kinds, [(1, 1), (8, 3)]);
    for mut broken in [vec![8], vec![8, 0], vec![8, 9, 1], vec![0, 8, 2]] {
        each_option(&mut broken, |kind, _| panic!("option {kind} of a broken list"));
    }
}

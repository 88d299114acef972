use super::*;
use core::net::{IpAddr, Ipv4Addr};

fn server(n: u8) -> Tuple {
    let address = |last| Addr::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    Tuple { local: address(1), remote: address(n), ..Tuple::UNBOUND }
}

fn with_mss(mss: u16) -> Peer {
    Peer { mss, ..Peer::default() }
}

#[test]
fn the_server_that_was_longest_unused_is_forgotten_first() {
    let mut memory = Memory::default();
    for n in 2..=4 {
        memory.set(&server(n), with_mss(n.into()), 3);
    }
    assert_eq!(memory.get(&server(2)).mss, 2);
    memory.set(&server(5), with_mss(5), 3);
    let known = [2, 3, 4, 5].map(|n| memory.get(&server(n)).mss);
    assert_eq!(known, [2, 0, 4, 5]);
    assert_eq!((memory.peers.len(), memory.by_use.len()), (3, 3));
}

#[test]
fn what_is_known_of_a_server_is_replaced_and_can_be_switched_off() {
    let mut memory = Memory::default();
    memory.set(&server(2), with_mss(1), 8);
    memory.set(&server(2), with_mss(2), 8);
    assert_eq!((memory.peers.len(), memory.by_use.len(), memory.get(&server(2)).mss), (1, 1, 2));
    memory.set(&server(2), with_mss(3), 0);
    assert_eq!((memory.peers.len(), memory.by_use.len()), (0, 0));
}

#[test]
fn each_black_hole_in_a_row_doubles_the_pause_up_to_64_times() {
    let (mut memory, pause) = (Memory::default(), Duration::from_secs(10));
    let start = Instant::from_secs(100);
    assert!(!memory.pauses(start, pause));
    for times in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
        memory.black_hole_met(start);
        let end = start + pause * times;
        assert!(memory.pauses(end - Duration::from_millis(1), pause), "{times}");
        assert!(!memory.pauses(end, pause), "{times}");
    }
    assert!(!memory.pauses(start, Duration::ZERO));
    memory.forget_black_hole();
    assert!(!memory.pauses(start, pause) && !memory.suspects_black_hole());
}

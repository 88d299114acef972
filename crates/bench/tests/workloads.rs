//! The workloads do what they say, on both stacks: every byte arrives in its place, every connection ends.

use lastack_bench::lastack_peer::{self, Family};
use lastack_bench::smoltcp_peer;
use lastack_bench::stream::{PERIOD, pattern, slice_at};
use lastack_bench::workload::{COPY, Case, Peer, TimeWait, WINDOW, Workload};

/// Not a multiple of the pieces in which the application writes.
const BYTES: u64 = 3_000_001;

/// Compares pieces with the stream from byte `at` on.
fn compare(at: &mut u64) -> impl FnMut(&[u8]) {
    let source = pattern(COPY + PERIOD);
    move |piece: &[u8]| {
        assert!(piece == slice_at(&source, *at, piece.len()), "wrong bytes in {} from {at}", piece.len());
        *at += piece.len() as u64;
    }
}

#[test]
fn lastack_bulk_delivers_every_byte_in_its_place() {
    for case in Case::BULK {
        let mut bulk = lastack_peer::Bulk::new(case.link(), WINDOW);
        let start = bulk.written();
        let mut at = start;
        bulk.run_checked(BYTES, compare(&mut at));
        assert_eq!(at, start + BYTES, "{}", case.name());
        assert_eq!(bulk.retransmissions(), 0, "{}: nothing is lost, so nothing is repeated", case.name());
    }
}

#[test]
fn lastack_bulk_goes_on_past_the_wrap_of_sequence_numbers() {
    let mut bulk = lastack_peer::Bulk::new(Case::BulkGso.link(), WINDOW);
    bulk.run((4 << 30) + BYTES);
    assert_eq!(bulk.retransmissions(), 0);
}

#[test]
fn smoltcp_bulk_delivers_every_byte_in_its_place() {
    for case in Case::BULK {
        let mut bulk = smoltcp_peer::Bulk::new(case.link(), WINDOW);
        let start = bulk.written();
        let mut at = start;
        bulk.run_checked(BYTES, compare(&mut at));
        assert_eq!(at, start + BYTES, "{}", case.name());
    }
}

#[test]
fn lastack_churn_leaves_a_time_wait_record_for_each_connection() {
    for family in [Family::V4, Family::V6] {
        let mut churn = lastack_peer::Churn::for_family(family);
        churn.run(500);
        assert_eq!(churn.time_wait(), 500, "{family:?}");
        assert!(churn.packets() >= 500 * 6);
    }
}

#[test]
fn lastack_churn_lets_time_wait_records_expire() {
    let mut churn = lastack_peer::Churn::for_family(Family::V4);
    churn.set_gap(1_000_000);
    churn.run(100);
    assert!((59..=62).contains(&churn.time_wait()), "{} records after 100 s", churn.time_wait());
}

#[test]
fn both_stacks_keep_their_time_wait_in_the_case_that_says_so() {
    let churn = lastack_peer::Churn::new(0, TimeWait::Both);
    assert!((5_950..=6_000).contains(&churn.time_wait()), "{} records of 60 s", churn.time_wait());
    let churn = smoltcp_peer::Churn::new(0, TimeWait::Both);
    assert!((950..=1_000).contains(&churn.time_wait()), "{} sockets of 10 s", churn.time_wait());
}

#[test]
fn neither_stack_keeps_a_time_wait_in_the_bare_case() {
    assert_eq!(lastack_peer::Churn::new(0, TimeWait::Neither).time_wait(), 0);
    assert_eq!(smoltcp_peer::Churn::new(0, TimeWait::Neither).time_wait(), 0);
}

#[test]
fn both_stacks_send_the_same_number_of_packets_for_a_connection() {
    for case in [Case::Churn, Case::ChurnBare, Case::ChurnUneven] {
        for peer in Peer::ALL {
            let mut churn = case.prepare(peer, WINDOW);
            let before = churn.packets();
            churn.run(50);
            assert_eq!(churn.packets() - before, 7 * 50, "{} on {}", case.name(), peer.name());
        }
    }
}

#[test]
fn idle_connections_stay_beside_the_churn() {
    for peer in Peer::ALL {
        let mut churn = Case::ChurnIdle1k.prepare(peer, WINDOW);
        let before = churn.packets();
        churn.run(20);
        let packets = churn.packets() - before;
        assert!((6 * 20..=12 * 20).contains(&packets), "{}: {packets} packets", peer.name());
    }
}

#[test]
fn idle_connections_are_established_at_both_ends() {
    for family in [Family::V4, Family::V6] {
        let mut idle = lastack_peer::Idle::new(family, 1_200);
        idle.open(1_200);
        assert_eq!(idle.established(), 1_200);
        idle.exchange();
        assert_eq!(idle.established(), 1_200);
    }
    let mut idle = smoltcp_peer::Idle::new();
    idle.open(100, 64);
    assert_eq!(idle.established(), 100);
}

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// The sum as RFC 1071 defines it: 16-bit words, one after the other.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn fast(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    sum.fold()
}

#[test]
fn sum_of_the_example_in_rfc1071_is_ddf2() {
    assert_eq!(fast(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
}

#[test]
fn sum_equals_the_naive_loop_for_every_short_length_and_alignment() {
    let bytes: Vec<u8> = (0..400u32).map(|i| (i * 167 + 13) as u8).collect();
    for start in 0..9 {
        for end in start..bytes.len() {
            assert_eq!(fast(&bytes[start..end]), naive(&bytes[start..end]), "{start}..{end}");
        }
    }
}

#[test]
fn carries_survive_in_64_kib_of_ones() {
    for len in [1, 2, 63, 64, 65, 1472, 65535, 65536] {
        let bytes = vec![0xff; len];
        assert_eq!(fast(&bytes), naive(&bytes), "{len}");
    }
}

#[test]
fn sum_is_zero_only_for_zeros() {
    assert_eq!(fast(&[0; 200]), 0);
    assert_eq!(fast(&[0xff; 200]), 0xffff);
    assert_eq!(Sum::new().finish(), 0xffff);
}

#[test]
fn copy_sums_what_it_copies_wherever_pieces_end() {
    let bytes: Vec<u8> = (0..5000u32).map(|i| (i * 167 + 13) as u8).collect();
    for (first, second) in [(0, 0), (1, 0), (3, 1024), (1024, 1025), (1023, 2049), (2048, 2952)] {
        let mut sum = Sum::new();
        let mut copy = vec![0xee; first + second];
        sum.copy_bytes(&bytes[..first], &mut copy[..first]);
        // The shorter of the two counts.
        sum.copy_bytes(&bytes[first..], &mut copy[first..]);
        assert_eq!(copy, bytes[..first + second]);
        assert_eq!(sum.fold(), naive(&copy), "{first} + {second}");
        let mut longer = [0xee; 7];
        sum.copy_bytes(&bytes[..2], &mut longer);
        assert_eq!(longer[2..], [0xee; 5]);
    }
}

#[test]
fn pseudo_header_equals_its_bytes() {
    let (a, b) = (Ipv4Addr::new(192, 168, 3, 77), Ipv4Addr::new(255, 255, 255, 254));
    let mut bytes = Vec::from(a.octets());
    bytes.extend(b.octets());
    bytes.extend([0, 6, 0x12, 0x34]);
    assert_eq!(pseudo_header(a.into(), b.into(), 6, 0x1234).fold(), naive(&bytes));

    let a: Ipv6Addr = "fd00:1:2:3:4:5:6:7".parse().unwrap();
    let b = Ipv6Addr::from([0xff; 16]);
    let mut bytes = Vec::from(a.octets());
    bytes.extend(b.octets());
    bytes.extend([0, 1, 0x12, 0x34, 0, 0, 0, 58]);
    let sum = pseudo_header(IpAddr::V6(a), IpAddr::V6(b), 58, 0x0001_1234);
    assert_eq!(sum.fold(), naive(&bytes));
}

proptest! {
    #[test]
    fn any_slicing_gives_the_sum_of_the_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut sum = Sum::new();
        let mut at = 0;
        for cut in cuts {
            sum.add_bytes(&bytes[at..cut]);
            at = cut;
        }
        sum.add_bytes(&bytes[at..]);
        prop_assert_eq!(sum.fold(), naive(&bytes));
        prop_assert_eq!(sum.finish(), !naive(&bytes));
    }

    #[test]
    fn numbers_add_as_their_bytes(
        prefix in prop::collection::vec(any::<u8>(), 0..5),
        a: u16,
        b: u32,
    ) {
        let mut sum = Sum::new();
        sum.add_bytes(&prefix);
        sum.add_u16(a);
        sum.add_u32(b);
        let mut bytes = prefix;
        bytes.extend(a.to_be_bytes());
        bytes.extend(b.to_be_bytes());
        prop_assert_eq!(sum.fold(), naive(&bytes));
    }
}

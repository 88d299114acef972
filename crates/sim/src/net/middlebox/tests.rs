//! What comes out of each box.

use super::super::pool::Pool;
use super::{Middlebox, Tools};
use crate::packet::{Header, build, segment_of};
use crate::scenario::{Aim, BoxSpec, OptionName, Way};
use crate::units::Time;
use lastack_core::Instant;
use lastack_core::wire::SeqNumber;
use lastack_core::wire::tcp::{Flags, Options, SackBlocks};
use std::time::Duration;

const A: &str = "10.0.0.1:5";
const B: &str = "10.0.0.2:6";

fn packet(from: &str, to: &str, header: &Header, payload: &[u8]) -> Vec<u8> {
    build(from.parse().expect("an address"), to.parse().expect("an address"), header, payload)
        .expect("a packet")
}

fn data(seq: u32, payload: &[u8], flags: Flags) -> Vec<u8> {
    packet(A, B, &Header { flags: Flags::ACK | flags, seq: SeqNumber(seq), ..Header::default() }, payload)
}

/// What comes out when one packet goes in, forward (0) or backward (1).
fn pass(b: &mut Middlebox, way: usize, packet: Vec<u8>) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut pool = Pool::default();
    let mut tools = Tools { now: Instant::from_secs(1), way, mtu: 1500, pool: &mut pool };
    b.pass(&mut tools, packet, &mut out);
    out
}

/// Sequence number, flags and text of a segment whose checksums are right.
fn read(packet: &[u8]) -> (u32, Flags, Vec<u8>) {
    assert!(super::Tcp::find_valid(packet).is_some(), "a wrong checksum");
    let (_, segment) = segment_of(packet).expect("a segment");
    (segment.seq.0, segment.flags, segment.payload.to_vec())
}

fn make(spec: &BoxSpec) -> Middlebox {
    Middlebox::new(spec, 1, 0)
}

#[test]
fn options_are_stripped_and_the_others_stay() {
    let options = vec![OptionName::Sack, OptionName::WindowScale];
    let mut b = make(&BoxSpec::StripOptions { options, syn_only: true, way: Way::Both });
    let all = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((1, 2)),
        ..Options::default()
    };
    let syn = packet(A, B, &Header { flags: Flags::SYN, options: all, ..Header::default() }, &[]);
    let out = pass(&mut b, 0, syn);
    let (_, segment) = segment_of(&out[0]).expect("a segment");
    let left = Options { mss: Some(1460), timestamps: Some((1, 2)), ..Options::default() };
    assert_eq!(segment.options, left);
    assert_eq!(b.faults().iter().map(|(_, fired)| *fired).collect::<Vec<_>>(), [1, 1]);
    let later = packet(A, B, &Header { flags: Flags::ACK, options: all, ..Header::default() }, &[]);
    assert_eq!(pass(&mut b, 0, later.clone()), [later], "no SYN");
}

#[test]
fn a_segment_is_split_and_its_fin_is_on_the_last_piece() {
    let mut b = make(&BoxSpec::Split { bytes: 4, way: Way::Forward });
    let out = pass(&mut b, 0, data(100, b"0123456789", Flags::FIN | Flags::PSH));
    let pieces: Vec<_> = out.iter().map(|packet| read(packet)).collect();
    assert_eq!(pieces[0], (100, Flags::ACK, b"0123".to_vec()));
    assert_eq!(pieces[1], (104, Flags::ACK, b"4567".to_vec()));
    assert_eq!(pieces[2], (108, Flags::ACK | Flags::FIN | Flags::PSH, b"89".to_vec()));
    assert_eq!(pass(&mut b, 1, data(100, b"0123456789", Flags::PSH)).len(), 1, "the other way");
}

#[test]
fn segments_that_follow_each_other_are_joined_until_time_or_order_ends_it() {
    let hold = Duration::from_millis(2);
    let mut b = make(&BoxSpec::Coalesce { hold: Time(hold), way: Way::Forward });
    assert!(pass(&mut b, 0, data(100, b"abc", Flags::empty())).is_empty());
    assert!(pass(&mut b, 0, data(103, b"def", Flags::empty())).is_empty());
    let out = pass(&mut b, 0, data(200, b"xyz", Flags::empty()));
    assert_eq!(read(&out[0]), (100, Flags::ACK, b"abcdef".to_vec()));
    let mut late = Vec::new();
    let at = Instant::from_secs(1);
    assert_eq!(b.flush(at, 0, &mut late), Some(at + hold), "not yet");
    b.flush(at + hold, 0, &mut late);
    assert_eq!(read(&late[0]), (200, Flags::ACK, b"xyz".to_vec()));
    assert_eq!(b.fired, 1);
    // What is no plain text passes, and what waits goes before it.
    pass(&mut b, 0, data(300, b"abc", Flags::empty()));
    let out = pass(&mut b, 0, data(303, b"", Flags::FIN));
    assert_eq!(out.iter().map(|p| read(p).0).collect::<Vec<_>>(), [300, 303]);
}

#[test]
fn sequence_numbers_are_moved_there_and_moved_back_here() {
    for forgets_sack in [false, true] {
        let mut b = make(&BoxSpec::RewriteSeq { forgets_sack });
        let out = pass(&mut b, 0, data(100, b"abc", Flags::empty()));
        let moved = read(&out[0]).0.wrapping_sub(100);
        assert_ne!(moved, 0);
        let mut sack = SackBlocks::new();
        sack.push(SeqNumber(103 + moved), SeqNumber(200 + moved));
        let options = Options { sack, ..Options::default() };
        let ack = Header { flags: Flags::ACK, ack: SeqNumber(103 + moved), options, ..Header::default() };
        let out = pass(&mut b, 1, packet(B, A, &ack, &[]));
        let (_, segment) = segment_of(&out[0]).expect("a segment");
        assert_eq!(segment.ack, SeqNumber(103));
        let block = *segment.options.sack.iter().next().expect("a block");
        let back = if forgets_sack { moved } else { 0 };
        assert_eq!(block, (SeqNumber(103 + back), SeqNumber(200 + back)));
        let fired: Vec<_> = b.faults().into_iter().map(|(_, fired)| fired).collect();
        assert_eq!(fired, if forgets_sack { vec![2, 1] } else { vec![2] });
    }
}

#[test]
fn a_forged_reset_comes_once_and_points_where_it_should() {
    for (aim, expected) in [(Aim::Exact, 103), (Aim::InWindow, 1103), (Aim::Outside, 103 + (1 << 30))] {
        let mut b = make(&BoxSpec::ForgeReset { aim, after: 2, way: Way::Both });
        assert_eq!(pass(&mut b, 0, data(97, b"abc", Flags::empty())).len(), 1);
        let out = pass(&mut b, 0, data(100, b"abc", Flags::empty()));
        assert_eq!(read(&out[1]), (expected, Flags::RST | Flags::ACK, Vec::new()));
        assert_eq!(pass(&mut b, 0, data(103, b"abc", Flags::empty())).len(), 1);
        assert_eq!(b.fired, 1);
    }
}

#[test]
fn a_fin_is_swallowed_as_often_as_asked_and_its_text_passes() {
    let mut b = make(&BoxSpec::SwallowFin { count: 2, way: Way::Both });
    assert!(pass(&mut b, 0, data(100, b"", Flags::FIN)).is_empty());
    let out = pass(&mut b, 0, data(97, b"abc", Flags::FIN));
    assert_eq!(read(&out[0]), (97, Flags::ACK, b"abc".to_vec()));
    let third = data(100, b"", Flags::FIN);
    assert_eq!(pass(&mut b, 0, third.clone()), [third]);
    assert_eq!(b.fired, 2);
}

#[test]
fn what_is_damaged_passes_as_it_is() {
    let mut damaged = data(100, b"0123456789", Flags::FIN);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for spec in [
        BoxSpec::Split { bytes: 4, way: Way::Both },
        BoxSpec::RewriteSeq { forgets_sack: false },
        BoxSpec::SwallowFin { count: 1, way: Way::Both },
        BoxSpec::StripOptions { options: vec![OptionName::All], syn_only: false, way: Way::Both },
    ] {
        assert_eq!(pass(&mut make(&spec), 0, damaged.clone()), [damaged.clone()], "{}", spec.kind());
    }
}

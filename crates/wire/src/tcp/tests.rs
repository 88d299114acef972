use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn v4() -> (IpAddr, IpAddr) {
    (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into())
}

fn v6() -> (IpAddr, IpAddr) {
    (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::from([0xfd; 16]).into())
}

fn build(repr: &Repr, payload: &[u8], (src, dst): (IpAddr, IpAddr)) -> Vec<u8> {
    let mut segment = vec![0xee; repr.header_len() + payload.len()];
    let at = repr.emit_header(&mut segment).unwrap();
    assert_eq!(at, repr.header_len());
    segment[at..].copy_from_slice(payload);
    fill_checksum(src, dst, &mut segment).unwrap();
    segment
}

/// The option area that is written for `options`.
fn area(options: Options) -> Vec<u8> {
    let mut header = [0; MAX_HEADER_LEN];
    let len = Repr { options, ..Repr::default() }.emit_header(&mut header).unwrap();
    assert_eq!(usize::from(header[12] >> 4) * 4, len);
    header[HEADER_LEN..len].to_vec()
}

fn sack(blocks: &[(u32, u32)]) -> SackBlocks {
    let mut sack = SackBlocks::new();
    for (start, end) in blocks {
        assert!(sack.push(SeqNumber(*start), SeqNumber(*end)));
    }
    sack
}

/// Options as they come back: Fast Open gives way to what has no room beside it.
fn written(mut options: Options) -> Options {
    let bare = Options { fast_open: None, ..options };
    if options.emitted_len() == bare.emitted_len() {
        options.fast_open = None;
    }
    options
}

prop_compose! {
    fn any_options()(
        mss: Option<u16>,
        window_scale: Option<u8>,
        sack_permitted: bool,
        timestamps: Option<(u32, u32)>,
        blocks in prop::collection::vec(any::<(u32, u32)>(), 0..=4),
        user_timeout in prop::option::of((any::<bool>(), 0u16..0x8000)),
        fast_open in prop::option::of((prop::collection::vec(any::<u8>(), 0..=16), any::<bool>())),
        counters in prop::option::of((any::<[u32; 3]>(), 2usize..=3)),
    ) -> Options {
        Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
            sack: sack(&blocks),
            user_timeout: user_timeout.map(|(minutes, value)| UserTimeout { minutes, value }),
            fast_open: fast_open.and_then(|(cookie, experimental)| FastOpen::new(&cookie, experimental)),
            accurate_ecn: counters.map(|(values, fields)| AccurateEcn::new(values, fields)),
            malformed: false,
        }
    }
}

prop_compose! {
    fn any_repr()(
        ports: (u16, u16),
        numbers: (u32, u32),
        flags in 0u16..0x200,
        window: u16,
        urgent: u16,
        options in any_options(),
    ) -> Repr {
        Repr {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNumber(numbers.0),
            ack: SeqNumber(numbers.1),
            flags: Flags::from_bits_truncate(flags),
            window,
            urgent,
            options,
        }
    }
}

proptest! {
    /// What is summed while it is written gives the checksum that reading the segment gives.
    #[test]
    fn checksum_from_the_written_header_is_that_of_the_segment(
        options in any_options(),
        ports: (u16, u16),
        numbers: (u32, u32, u16, u16),
        flags in 0u16..0x200,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        six: bool,
    ) {
        let (seq, ack, window, urgent) = numbers;
        let repr = Repr {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags: Flags::from_bits_truncate(flags),
            window,
            urgent,
            options,
        };
        let (src, dst) = if six { v6() } else { v4() };
        let expected = build(&repr, &payload, (src, dst));
        let mut segment = vec![0xee; repr.header_len() + payload.len()];
        let (header, mut sum) = repr.emit_header_summed(&mut segment).unwrap();
        sum.copy_bytes(&payload, &mut segment[header..]);
        finish_checksum(src, dst, &mut segment, sum).unwrap();
        prop_assert_eq!(&segment, &expected);
        prop_assert!(verify_checksum(src, dst, &segment));
        prop_assert_eq!(finish_checksum(src, dst, &mut segment[..19], sum), Err(Error::BufferTooSmall));
    }

    #[test]
    fn parsed_segment_is_the_built_one(
        mut repr in any_repr(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        over_v6: bool,
    ) {
        let (src, dst) = if over_v6 { v6() } else { v4() };
        let segment = build(&repr, &payload, (src, dst));
        repr.options.sack.truncate(repr.options.sack_room());
        repr.options = written(repr.options);
        let parsed = Segment::parse(&segment).unwrap();
        prop_assert_eq!(parsed.repr(), repr);
        prop_assert_eq!(parsed.payload, &payload[..]);
        prop_assert!(verify_checksum(src, dst, &segment));
    }

    #[test]
    fn partial_checksum_is_finished_by_the_sum_over_the_segment(
        repr in any_repr(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (src, dst) = v4();
        let whole = build(&repr, &payload, (src, dst));
        let mut segment = whole.clone();
        set_partial_checksum(src, dst, &mut segment).unwrap();
        let mut sum = Sum::new();
        sum.add_bytes(&segment);
        segment[CHECKSUM_OFFSET..][..2].copy_from_slice(&sum.finish().to_be_bytes());
        prop_assert_eq!(segment, whole);
    }

    #[test]
    fn every_single_bit_flip_is_detected(
        repr in any_repr(),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (src, dst) = v4();
        let mut segment = build(&repr, &payload, (src, dst));
        for bit in 0..segment.len() * 8 {
            segment[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify_checksum(src, dst, &segment), "bit {}", bit);
            segment[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(verify_checksum(src, dst, &segment));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(segment) = Segment::parse(&bytes) {
            let _ = segment.seg_len();
            let mut header = [0; MAX_HEADER_LEN];
            segment.repr().emit_header(&mut header).unwrap();
        }
        let _ = verify_checksum(v4().0, v4().1, &bytes);
    }

    #[test]
    fn arbitrary_options_that_were_read_are_read_again_after_writing(
        bytes in prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..=40),
    ) {
        let mut options = Options::parse(&bytes);
        let again = Options::parse(&area(options));
        options.malformed = false;
        options.sack.truncate(options.sack_room());
        prop_assert_eq!(again, written(options));
    }
}

/// Holds: MUST-7
#[test]
fn every_kind_and_length_at_every_offset_terminates() {
    for offset in 0..40 {
        for kind in 0..=255 {
            for len in 0..=255 {
                let mut bytes = [NOP; 40];
                bytes[offset] = kind;
                if let Some(slot) = bytes.get_mut(offset + 1) {
                    *slot = len;
                }
                let options = Options::parse(&bytes);
                let runs_out = offset == 39 || len < 2 || usize::from(len) > 40 - offset;
                if kind > 1 && runs_out {
                    assert!(options.malformed, "kind {kind} length {len} at {offset}");
                }
                if kind <= 1 {
                    // The byte behind is then a kind of its own, which may be malformed only after a no-operation.
                    assert!(kind == 1 || !options.malformed);
                }
            }
        }
    }
}

const NOP: u8 = 1;

#[test]
fn data_offset_below_five_or_past_the_end_is_refused() {
    let mut segment = build(&Repr::default(), &[0; 8], v4());
    for words in 0..=15u8 {
        segment[12] = words << 4;
        let parsed = Segment::parse(&segment);
        if (5..=7).contains(&words) {
            assert_eq!(parsed.unwrap().payload.len(), 28 - usize::from(words) * 4);
        } else {
            assert_eq!(parsed, Err(Error::BadHeaderLength), "{words}");
        }
    }
    assert_eq!(Segment::parse(&segment[..19]), Err(Error::Truncated));
}

#[test]
fn segment_length_counts_syn_and_fin() {
    for (flags, len) in [(Flags::ACK, 3), (Flags::SYN, 4), (Flags::FIN, 4), (Flags::SYN | Flags::FIN, 5)] {
        let segment = build(&Repr { flags, ..Repr::default() }, b"abc", v4());
        assert_eq!(Segment::parse(&segment).unwrap().seg_len(), len);
    }
}

#[test]
fn options_of_a_syn_stand_where_linux_puts_them() {
    let full = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((0x01020304, 0)),
        ..Options::default()
    };
    assert_eq!(area(full), [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
    let without_timestamps = Options { timestamps: None, ..full };
    assert_eq!(area(without_timestamps), [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
    let without_sack = Options { sack_permitted: false, ..full };
    assert_eq!(area(without_sack), [2, 4, 0x05, 0xb4, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
}

#[test]
fn timestamps_are_aligned_behind_two_no_operations() {
    let options = Options { timestamps: Some((1, 2)), ..Options::default() };
    assert_eq!(area(options), [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
}

#[test]
fn sack_blocks_that_do_not_fit_are_left_out_from_the_end() {
    let four = [(1, 2), (3, 4), (5, 6), (7, 8)];
    let mut options = Options { sack: sack(&four), ..Options::default() };
    assert_eq!(options.sack_room(), 4);
    assert_eq!(Options::parse(&area(options)).sack, sack(&four));
    options.timestamps = Some((1, 2));
    assert_eq!(options.sack_room(), 3);
    assert_eq!(Options::parse(&area(options)).sack, sack(&four[..3]));
    assert_eq!(area(options).len(), MAX_OPTIONS_LEN);
}

#[test]
fn of_a_repeated_option_the_last_counts() {
    assert_eq!(Options::parse(&[2, 4, 0, 1, 2, 4, 0, 2]).mss, Some(2));
    let mut twice = area(Options { sack: sack(&[(1, 2), (3, 4)]), ..Options::default() });
    twice.extend(area(Options { sack: sack(&[(9, 10)]), ..Options::default() }));
    assert_eq!(Options::parse(&twice).sack, sack(&[(9, 10)]));
}

/// Holds: MUST-7
#[test]
fn length_that_runs_out_stops_parsing_and_keeps_what_was_read() {
    for bad in [&[3u8, 0][..], &[3, 1], &[3], &[8, 10, 0, 0], &[99, 3]] {
        let mut bytes = vec![2, 4, 0x05, 0xb4];
        bytes.extend(bad);
        let options = Options::parse(&bytes);
        assert_eq!(options, Options { mss: Some(1460), malformed: true, ..Options::default() }, "{bad:?}");
    }
}

#[test]
fn known_option_of_a_wrong_length_is_skipped() {
    let options = Options::parse(&[2, 3, 9, 3, 3, 7, 5, 6, 0, 0, 0, 0, 28, 3, 0]);
    assert_eq!(options, Options { window_scale: Some(7), malformed: true, ..Options::default() });
    assert!(Options::parse(&[5, 2]).malformed);
}

/// Holds: MUST-6, MUST-68
#[test]
fn unknown_options_are_skipped_and_end_ends() {
    let options = Options::parse(&[254, 4, 0xf9, 0x88, 19, 2, 3, 3, 9, 0, 2, 4, 5, 0xb4]);
    assert_eq!(options, Options { window_scale: Some(9), ..Options::default() });
}

/// Holds: MUST-4, MUST-64
#[test]
fn options_are_read_at_any_alignment_between_no_operations_and_an_end() {
    let mss = Options { mss: Some(1460), ..Options::default() };
    let stamps = Options { timestamps: Some((0x0102_0304, 0x0506_0708)), ..Options::default() };
    for ahead in 0..=8 {
        let mut bytes = vec![NOP; ahead];
        bytes.extend([2, 4, 0x05, 0xb4]);
        assert_eq!(Options::parse(&bytes), mss, "{ahead}");
        // What lies behind the end is padding, even if it looks like an option.
        bytes.extend([0, 2, 4, 0, 9]);
        assert_eq!(Options::parse(&bytes), mss, "{ahead}");
        let mut bytes = vec![NOP; ahead];
        bytes.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Options::parse(&bytes), stamps, "{ahead}");
    }
}

#[test]
fn fifth_sack_block_is_refused() {
    let mut blocks = sack(&[(1, 2), (3, 4), (5, 6), (7, 8)]);
    assert!(!blocks.push(SeqNumber(9), SeqNumber(10)));
    assert_eq!(blocks.len(), 4);
    assert_eq!(blocks, sack(&[(1, 2), (3, 4), (5, 6), (7, 8)]));
}

#[test]
fn right_sum_over_less_than_a_header_is_not_a_right_checksum() {
    let (src, dst) = v4();
    let mut bytes = [7; HEADER_LEN - 2];
    let mut sum = pseudo_header(src, dst, bytes.len());
    sum.add_bytes(&bytes[2..]);
    bytes[..2].copy_from_slice(&sum.finish().to_be_bytes());
    assert!(!verify_checksum(src, dst, &bytes));
}

#[test]
fn short_buffers_are_errors() {
    let repr =
        Repr { options: Options { timestamps: Some((1, 2)), ..Options::default() }, ..Repr::default() };
    let mut buf = [0xee; 31];
    assert_eq!(repr.emit_header(&mut buf), Err(Error::BufferTooSmall));
    assert_eq!(buf, [0xee; 31]);
    let (src, dst) = v4();
    assert_eq!(fill_checksum(src, dst, &mut buf[..19]), Err(Error::BufferTooSmall));
    assert_eq!(set_partial_checksum(src, dst, &mut buf[..19]), Err(Error::BufferTooSmall));
    assert!(!verify_checksum(src, dst, &buf[..19]));
}

#[test]
fn fast_open_stands_behind_the_other_options_and_is_padded() {
    let option = |cookie: &[u8], experimental| Options {
        mss: Some(1460),
        fast_open: FastOpen::new(cookie, experimental),
        ..Options::default()
    };
    assert_eq!(area(option(&[], false)), [2, 4, 5, 180, 34, 2, 1, 1]);
    assert_eq!(area(option(&[1, 2, 3, 4], false)), [2, 4, 5, 180, 34, 6, 1, 2, 3, 4, 1, 1]);
    assert_eq!(area(option(&[], true)), [2, 4, 5, 180, 254, 4, 0xf9, 0x89]);
    assert_eq!(area(option(&[7; 6], true)), [2, 4, 5, 180, 254, 10, 0xf9, 0x89, 7, 7, 7, 7, 7, 7, 1, 1]);
}

#[test]
fn a_cookie_has_four_to_sixteen_bytes_and_an_even_number() {
    for len in 0..=20 {
        let legal = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        assert_eq!(FastOpen::new(&[9; 20][..len], false).is_some(), legal, "{len}");
        let read = Options::parse(&[&[34, 2 + len as u8][..], &[9; 20][..len]].concat());
        assert_eq!((read.fast_open.is_some(), read.malformed), (legal, !legal), "{len}");
    }
    assert_eq!(Options::parse(&[254, 4, 0xf9, 0x88]), Options::default());
}

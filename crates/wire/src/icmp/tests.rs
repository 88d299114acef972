use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn build(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0xee; message.emitted_len()];
    assert_eq!(message.emit(&mut bytes), Ok(bytes.len()));
    bytes
}

/// One message of each kind that lastack speaks, over the same data.
fn messages(code: u8, a: u16, b: u16, data: &[u8]) -> [Message<'_>; 6] {
    let [pointer, _] = a.to_be_bytes();
    [
        Message::EchoRequest { ident: a, seq: b, data },
        Message::EchoReply { ident: a, seq: b, data },
        Message::DestinationUnreachable { code: Unreachable::from_code(code), next_hop_mtu: b, quoted: data },
        Message::TimeExceeded { code, quoted: data },
        Message::ParameterProblem { code, pointer, quoted: data },
        Message::Ignored { kind: REDIRECT, code, rest: words(a, b), data },
    ]
}

proptest! {
    #[test]
    fn parsed_message_is_the_built_one(
        code: u8,
        a: u16,
        b: u16,
        data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for message in messages(code, a, b, &data) {
            let bytes = build(&message);
            prop_assert!(verify_checksum(&bytes));
            prop_assert_eq!(Message::parse(&bytes), Ok(message));
        }
    }

    #[test]
    fn every_bit_flip_is_detected(data in prop::collection::vec(any::<u8>(), 0..30)) {
        let mut bytes = build(&Message::EchoRequest { ident: 1, seq: 2, data: &data });
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Message::parse(&bytes), Err(Error::BadChecksum));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), fix: bool) {
        if fix && bytes.len() >= HEADER_LEN {
            bytes[2..4].fill(0);
            let mut sum = Sum::new();
            sum.add_bytes(&bytes);
            bytes[2..4].copy_from_slice(&sum.finish().to_be_bytes());
            let message = Message::parse(&bytes).unwrap();
            let again = build(&message);
            prop_assert_eq!(Message::parse(&again), Ok(message));
        }
        let _ = Message::parse(&bytes);
    }
}

#[test]
fn every_unreachable_code_keeps_its_number() {
    for code in 0..=255 {
        let meaning = Unreachable::from_code(code);
        assert_eq!(meaning.code(), code);
        assert_eq!(matches!(meaning, Unreachable::Other(_)), code > 15);
    }
    assert_eq!(Unreachable::Port.code(), 3);
    assert_eq!(Unreachable::FragmentationNeeded.code(), 4);
    assert_eq!(Unreachable::Filtered.code(), 13);
}

#[test]
fn source_quench_and_redirect_are_ignored_and_count_as_errors() {
    for kind in [SOURCE_QUENCH, REDIRECT] {
        let message = Message::Ignored { kind, code: 0, rest: [0; 4], data: &[] };
        assert_eq!(Message::parse(&build(&message)), Ok(message));
        assert!(message.is_error());
    }
    assert!(!Message::Ignored { kind: 13, code: 0, rest: [0; 4], data: &[] }.is_error());
    let errors = messages(1, 2, 3, &[]).map(|message| message.is_error());
    assert_eq!(errors, [false, false, true, true, true, true]);
}

#[test]
fn short_messages_and_buffers_are_errors() {
    assert_eq!(Message::parse(&[0; 7]), Err(Error::Truncated));
    let echo = Message::EchoRequest { ident: 1, seq: 2, data: &[1, 2, 3] };
    assert_eq!(echo.emit(&mut [0; 10]), Err(Error::BufferTooSmall));
}

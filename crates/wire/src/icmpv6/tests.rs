use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SRC: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const DST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn build(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0xee; message.emitted_len()];
    assert_eq!(message.emit(SRC, DST, &mut bytes), Ok(bytes.len()));
    bytes
}

/// One message of each kind that lastack speaks, over the same data.
fn messages(code: u8, a: u16, number: u32, data: &[u8]) -> [Message<'_>; 7] {
    [
        Message::EchoRequest { ident: a, seq: number as u16, data },
        Message::EchoReply { ident: a, seq: number as u16, data },
        Message::DestinationUnreachable { code: Unreachable::from_code(code), quoted: data },
        Message::PacketTooBig { mtu: number, quoted: data },
        Message::TimeExceeded { code, quoted: data },
        Message::ParameterProblem { code, pointer: number, quoted: data },
        Message::Ignored { kind: REDIRECT, code, rest: number.to_be_bytes(), data },
    ]
}

proptest! {
    #[test]
    fn parsed_message_is_the_built_one(
        code: u8,
        a: u16,
        number: u32,
        data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for message in messages(code, a, number, &data) {
            let bytes = build(&message);
            prop_assert_eq!(Message::parse(SRC, DST, &bytes), Ok(message));
        }
    }

    #[test]
    fn every_bit_flip_is_detected(data in prop::collection::vec(any::<u8>(), 0..30)) {
        let mut bytes = build(&Message::PacketTooBig { mtu: 1280, quoted: &data });
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Message::parse(SRC, DST, &bytes), Err(Error::BadChecksum));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), fix: bool) {
        if fix && bytes.len() >= HEADER_LEN {
            bytes[2..4].fill(0);
            let mut sum = pseudo_header(SRC, DST, bytes.len());
            sum.add_bytes(&bytes);
            bytes[2..4].copy_from_slice(&sum.finish().to_be_bytes());
            let message = Message::parse(SRC, DST, &bytes).unwrap();
            let again = build(&message);
            prop_assert_eq!(Message::parse(SRC, DST, &again), Ok(message));
        }
        let _ = Message::parse(SRC, DST, &bytes);
    }
}

#[test]
fn checksum_covers_the_addresses() {
    let bytes = build(&Message::EchoRequest { ident: 1, seq: 2, data: b"x" });
    assert!(verify_checksum(SRC, DST, &bytes));
    assert!(!verify_checksum(SRC, SRC, &bytes));
}

#[test]
fn every_unreachable_code_keeps_its_number() {
    for code in 0..=255 {
        assert_eq!(Unreachable::from_code(code).code(), code);
        assert_eq!(matches!(Unreachable::from_code(code), Unreachable::Other(_)), code > 6);
    }
}

#[test]
fn unknown_errors_and_redirects_must_not_be_answered_with_errors() {
    let is_error = |kind| Message::Ignored { kind, code: 0, rest: [0; 4], data: &[] }.is_error();
    assert!(is_error(100) && is_error(127) && is_error(REDIRECT));
    assert!(!is_error(135) && !is_error(200));
    let errors = messages(1, 2, 3, &[]).map(|message| message.is_error());
    assert_eq!(errors, [false, false, true, true, true, true, true]);
}

#[test]
fn short_messages_and_buffers_are_errors() {
    assert_eq!(Message::parse(SRC, DST, &[0; 7]), Err(Error::Truncated));
    let echo = Message::EchoRequest { ident: 1, seq: 2, data: &[1, 2, 3] };
    assert_eq!(echo.emit(SRC, DST, &mut [0; 10]), Err(Error::BufferTooSmall));
}

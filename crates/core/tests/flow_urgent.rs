//! The urgent pointer as Linux's default reads it: one mark, the byte before its target out of line (RFC 9293 3.8.5,
//! RFC 6093).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;

fn urgent(seq: i64, pointer: u16, data: &[u8]) -> SegSpec {
    let mut spec = seg("ACK,URG", seq, 0).data(data);
    spec.urgent = pointer;
    spec
}

fn open() -> Rig {
    let mut rig = Rig::new(Setup::default());
    rig.open();
    rig
}

fn read_urgent(rig: &mut Rig) -> Result<u8, Error> {
    let h = rig.h();
    rig.stack.tcp_read_urgent(h)
}

/// Holds: MUST-30, MUST-31, MUST-33, MUST-62
#[test]
fn the_byte_before_the_pointer_is_taken_out_of_line() {
    let mut rig = open();
    assert_eq!(read_urgent(&mut rig), Err(Error::InvalidInput), "none announced");
    rig.inject(urgent(0, 3, b"abCde"));
    assert!(rig.ready().contains(Ready::PRI));
    assert_eq!(read_urgent(&mut rig), Ok(b'C'));
    assert!(!rig.ready().contains(Ready::PRI));
    assert_eq!(read_urgent(&mut rig), Err(Error::InvalidInput), "once");
    // A read stops at the mark, the next one goes on behind it.
    assert_eq!(rig.read().unwrap(), b"ab");
    assert_eq!(rig.read().unwrap(), b"de");
    assert_eq!(rig.read(), Err(Error::WouldBlock));
}

#[test]
fn a_retransmission_does_not_bring_the_byte_back() {
    let mut rig = open();
    rig.inject(urgent(0, 3, b"abC"));
    assert_eq!(read_urgent(&mut rig), Ok(b'C'));
    rig.inject(urgent(0, 3, b"abCde"));
    assert_eq!(read_urgent(&mut rig), Err(Error::InvalidInput));
    assert_eq!(rig.read().unwrap(), b"ab");
    assert_eq!(rig.read().unwrap(), b"de");
}

#[test]
fn an_unread_urgent_byte_is_lost_once_the_stream_has_passed_it() {
    let mut rig = open();
    rig.inject(urgent(0, 1, b"Xab"));
    assert_eq!(rig.read().unwrap(), b"ab");
    assert!(!rig.ready().contains(Ready::PRI));
    assert_eq!(read_urgent(&mut rig), Err(Error::InvalidInput));
}

#[test]
fn a_lone_urgent_byte_does_not_make_the_stream_readable() {
    let mut rig = open();
    rig.inject(urgent(0, 1, b"X"));
    assert!(!rig.ready().contains(Ready::IN));
    assert_eq!(rig.read(), Err(Error::WouldBlock));
    rig.inject(seg("ACK", 1, 0).data(b"y"));
    assert!(rig.ready().contains(Ready::IN));
    assert_eq!(rig.read().unwrap(), b"y");
}

#[test]
fn the_announced_byte_may_come_later_even_without_the_flag() {
    let mut rig = open();
    rig.inject(urgent(0, 5, b"ab"));
    assert_eq!(read_urgent(&mut rig), Err(Error::WouldBlock), "announced, not here");
    rig.inject(seg("ACK", 2, 0).data(b"cdEf"));
    assert_eq!(read_urgent(&mut rig), Ok(b'E'));
    assert_eq!(rig.read().unwrap(), b"abcd");
    assert_eq!(rig.read().unwrap(), b"f");
}

#[test]
fn a_newer_mark_makes_the_older_byte_part_of_the_stream() {
    let mut rig = open();
    rig.inject(urgent(0, 2, b"aBc"));
    rig.inject(urgent(3, 2, b"dEf"));
    assert_eq!(read_urgent(&mut rig), Ok(b'E'));
    assert_eq!(rig.read().unwrap(), b"aBcd");
    assert_eq!(rig.read().unwrap(), b"f");
    // An older or equal one is ignored.
    rig.inject(urgent(6, 0, b"g"));
    assert_eq!(rig.read().unwrap(), b"g");
}

/// Holds: MUST-31
#[test]
fn oobinline_leaves_the_byte_in_the_stream() {
    let mut rig = open();
    rig.option(TcpOption::OobInline(true));
    rig.inject(urgent(0, 3, b"abCde"));
    assert_eq!(read_urgent(&mut rig), Err(Error::InvalidInput));
    let mut all = Vec::new();
    while let Ok(part) = rig.read() {
        all.extend(part);
    }
    assert_eq!(all, b"abCde");
}

/// Holds: MUST-66, U9293-12
#[test]
fn urgency_is_noted_while_the_window_is_shut() {
    let mut rig = open();
    let mut at = 0;
    while rig.stack.tcp_info(rig.h()).unwrap().recv_window > 0 {
        let len = rig.stack.tcp_info(rig.h()).unwrap().recv_window.min(1460);
        rig.inject(seg("ACK", at, 0).len(len as usize));
        at += i64::from(len);
        rig.advance(ms(300));
    }
    rig.events.clear();
    rig.inject(urgent(at, 1, b""));
    assert!(rig.events.iter().any(|event| format!("{event:?}").contains("PRI")), "{:?}", rig.events);
}

/// All pointers with no data, one byte and a full segment: never a panic, and inline the stream is what was sent.
#[test]
fn no_pointer_harms_the_stream() {
    for inline in [false, true] {
        for len in [0usize, 1, 1460] {
            for pointer in (0..=u16::MAX).step_by(if len == 1460 { 251 } else { 17 }) {
                let mut rig = open();
                rig.option(TcpOption::OobInline(inline));
                let data = vec![b'x'; len];
                rig.inject(urgent(0, pointer, &data));
                rig.inject(seg("ACK", len as i64, 0).data(b"tail"));
                let mut all = Vec::new();
                while let Ok(part) = rig.read() {
                    all.extend(part);
                }
                let expected = [&data[..], b"tail"].concat();
                let taken_out = !inline && (1..=expected.len()).contains(&usize::from(pointer));
                if taken_out {
                    assert_eq!(all.len(), expected.len() - 1, "{len} {pointer}");
                } else {
                    assert_eq!(all, expected, "{len} {pointer}");
                }
            }
        }
    }
}

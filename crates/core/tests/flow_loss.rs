//! Loss recovery against peers that say anything: the counts stay true, memory stays bounded, and honest acknowledgements
//! bring the connection back to rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::*;
use proptest::prelude::*;

const MSS: u32 = 1448;

/// What the peer or the network does next.
#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    /// Acknowledges so many bytes more, and reports blocks, in quarters of a segment from SND.UNA.
    Ack {
        more: u32,
        blocks: Vec<(u32, u32)>,
        window: u16,
        stamp: bool,
    },
    Wait(u64),
    TooBig(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let block = (0u32..160, 1u32..40);
    prop_oneof![
        2 => (1usize..40_000).prop_map(Step::Write),
        8 => (
            prop_oneof![3 => Just(0u32), 1 => 1u32..20_000],
            prop::collection::vec(block, 0..5),
            prop_oneof![8 => Just(u16::MAX), 1 => 0u16..200],
            any::<bool>()
        )
            .prop_map(|(more, blocks, window, stamp)| Step::Ack { more, blocks, window, stamp }),
        3 => (1u64..700).prop_map(Step::Wait),
        1 => (600u16..1500).prop_map(Step::TooBig),
    ]
}

fn check(rig: &Rig) {
    let info = rig.stack.tcp_info(rig.h()).unwrap();
    let segments = info.segments;
    assert!(segments.sacked + segments.lost <= segments.unacked, "{segments:?}");
    assert!(segments.retransmitted <= segments.unacked, "{segments:?}");
    assert!(info.cwnd >= 1 && info.reordering >= 1 && info.reordering <= 300, "{info:?}");
    assert_eq!(segments.unacked == 0, info.unacked == 0, "{info:?}");
}

fn play(steps: &[Step], sack: bool, timestamps: bool) {
    let setup = Setup { sack, timestamps, scale: Some(7), ..Setup::default() };
    let mut rig = Rig::new(setup.with(|config| config.tcp.segmentation_model = sack.then_some(2)));
    rig.open();
    let mut acked = 0u32;
    for step in steps {
        match step {
            Step::Write(len) => {
                let text: Vec<u8> = (0..*len).map(|at| (at % 251) as u8).collect();
                // A full buffer takes nothing.
                rig.write(&text).ok();
            }
            Step::Wait(millis) => rig.advance(ms(*millis)),
            Step::TooBig(mtu) => rig.icmp("big", *mtu, i64::from(acked)),
            Step::Ack { more, blocks, window, stamp } => {
                let outstanding = rig.stack.tcp_info(rig.h()).unwrap().unacked;
                acked += (*more).min(outstanding);
                let mut options = Options::default();
                for (start, len) in blocks {
                    let first = (rig.iss + 1 + acked) - 2 * MSS + start * MSS / 4;
                    options.sack.push(first, first + len * MSS / 4);
                }
                if timestamps {
                    let echo = if *stamp { rig.ts_echo } else { 1 };
                    options.timestamps = Some((rig.peer_ts(), echo));
                    options.sack.truncate(3);
                }
                let options =
                    if sack { options } else { Options { sack: Options::default().sack, ..options } };
                rig.inject(seg("ACK", 0, i64::from(acked)).win(*window).options(options));
            }
        }
        rig.pump();
        check(&rig);
    }
    // An honest peer from here on.
    for _ in 0..400 {
        rig.advance(ms(300));
        rig.pump();
        let info = rig.stack.tcp_info(rig.h()).unwrap();
        if info.unacked == 0 && info.unsent == 0 {
            break;
        }
        acked += info.unacked;
        let mut options = Options::default();
        if timestamps {
            options.timestamps = Some((rig.peer_ts(), rig.ts_echo));
        }
        rig.inject(seg("ACK", 0, i64::from(acked)).win(u16::MAX).options(options));
        check(&rig);
    }
    let info = rig.stack.tcp_info(rig.h()).unwrap();
    assert_eq!((info.unacked, info.unsent), (0, 0), "{info:#?}");
    assert_eq!(info.segments, lastack_core::SegmentCounts::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_peer_that_reports_anything_neither_breaks_the_counts_nor_stops_the_connection(
        steps in prop::collection::vec(step(), 1..60),
        sack in any::<bool>(),
        timestamps in any::<bool>(),
    ) {
        play(&steps, sack, timestamps);
    }
}

/// Reports the segments with these numbers; `echo` is the stamp of the first transmission.
fn report(rig: &mut Rig, segments: core::ops::Range<u32>, echo: u32) {
    let mut options = Options { timestamps: Some((rig.peer_ts(), echo)), ..Options::default() };
    let text = rig.iss + 1;
    options.sack.push(text + segments.start * MSS, text + segments.end * MSS);
    rig.inject(seg("ACK", 0, 0).win(u16::MAX).options(options));
    rig.pump();
}

/// A timeout that F-RTO undid while the first four of six segments are under way again, of which the first alone is lost
/// once more.
fn undone_with_retransmissions_under_way() -> Rig {
    // Its window grows with what is reported, too.
    let setup = Setup { sack: true, timestamps: true, scale: Some(7), ..Setup::default() };
    let mut rig = Rig::new(setup.with(|config| config.tcp.congestion = "bbr".into()));
    rig.open();
    rig.write(&vec![7; 6 * MSS as usize]).unwrap();
    rig.pump();
    let echo = rig.ts_echo;
    // The probe repeats the last segment, the timer the first.
    while rig.stack.counters().timeouts == 0 {
        rig.advance(ms(50));
        rig.pump();
    }
    rig.take();
    report(&mut rig, 5..6, echo);
    rig.advance(ms(100));
    rig.pump();
    let sent = rig.take();
    assert_eq!(sent, [1448, 2896, 4344].map(|seq| format!("ACK {seq}(1448) ack 0")));
    let before = rig.stack.counters().undos;
    report(&mut rig, 4..6, echo);
    assert_eq!(rig.stack.counters().undos, before + 1);
    rig.take();
    rig.advance(ms(100));
    report(&mut rig, 1..6, echo);
    rig
}

#[test]
fn a_lost_retransmission_is_found_although_the_timeout_was_undone() {
    let mut rig = undone_with_retransmissions_under_way();
    rig.advance(ms(200));
    rig.pump();
    let sent = rig.take();
    assert!(sent.iter().any(|line| line.starts_with("ACK 0(1448)")), "{sent:?}");
    assert_eq!(rig.stack.counters().lost_retransmissions, 1);
}

#[test]
fn the_timer_sends_the_first_segment_again_whatever_seems_to_be_under_way() {
    let mut rig = undone_with_retransmissions_under_way();
    rig.advance(ms(200));
    rig.pump();
    for _ in 0..3 {
        let timeouts = rig.stack.counters().timeouts;
        rig.take();
        while rig.stack.counters().timeouts == timeouts {
            rig.advance(ms(50));
            rig.pump();
        }
        let sent = rig.take();
        assert!(sent.iter().any(|line| line.starts_with("ACK 0(1448)")), "{sent:?}");
    }
}

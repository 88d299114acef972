//! Drawing of logs made by hand: what no scenario shows has to be drawn right as well.

use super::scenario::Scenario;
use super::story::Story;
use super::text::{self, Look, WIDTH};
use super::{json, svg};
use lastack_core::wire::tcp::{Flags, Repr};
use lastack_core::wire::{PacketMeta, SeqNumber, ipv4};
use lastack_core::{Cause, ConnectionId, Initiator, Instant, State, Transition, TransitionEvent};
use lastack_sim::{Call, Log, Op, Outcome, Packet, Record, Side, What};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use Side::{A, B};
use State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};

const ISN: [u32; 2] = [u32::MAX - 50, 7_000_000];
const DELAY: Duration = Duration::from_millis(10);

/// A log written by hand; times in milliseconds.
#[derive(Default)]
struct Hand {
    log: Log,
}

impl Hand {
    /// A handshake, and 100 bytes from A.
    fn connected() -> Self {
        let mut hand = Self::default();
        hand.segment(0, A, Flags::SYN, 0, 0, 0, false);
        hand.state(0, A, Closed, State::SynSent, Cause::Connect, Initiator::Local);
        hand.segment(10, B, Flags::SYN | Flags::ACK, 0, 1, 0, false);
        hand.state(10, B, Closed, State::NewSynRecv, Cause::Syn, Initiator::Peer);
        hand.state(20, A, State::SynSent, Established, Cause::Handshake, Initiator::Peer);
        hand.segment(20, A, Flags::ACK | Flags::PSH, 1, 1, 100, false);
        hand.state(30, B, State::NewSynRecv, State::SynReceived, Cause::Handshake, Initiator::Peer);
        hand.state(30, B, State::SynReceived, Established, Cause::Handshake, Initiator::Peer);
        hand.segment(30, B, Flags::ACK, 1, 101, 0, false);
        hand
    }

    fn addresses(side: Side) -> [SocketAddr; 2] {
        let ends = [([192, 0, 2, 1], 50_000), ([192, 0, 2, 2], 80)];
        let ends = ends.map(|(ip, port)| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port));
        if side == A { ends } else { [ends[1], ends[0]] }
    }

    fn push(&mut self, ms: u64, side: Side, what: What) {
        self.log.records.push(Record { at: Instant::from_millis(ms), side, what });
    }

    fn call(&mut self, ms: u64, side: Side, op: Op, outcome: Outcome) {
        let [local, remote] = Self::addresses(side);
        self.push(ms, side, What::Call(Call { op, outcome, local: Some(local), remote: Some(remote) }));
    }

    fn state(&mut self, ms: u64, side: Side, from: State, to: State, cause: Cause, initiator: Initiator) {
        let [local, remote] = Self::addresses(side);
        let transition = Transition { at: Instant::from_millis(ms), from, to, cause, initiator };
        self.push(
            ms,
            side,
            What::Transition(TransitionEvent {
                id: ConnectionId(1),
                local,
                remote,
                transition,
                ending: None,
            }),
        );
    }

    #[allow(clippy::too_many_arguments, reason = "one line of a script reads best as one call")]
    fn segment(&mut self, ms: u64, from: Side, flags: Flags, seq: u32, ack: u32, len: usize, lost: bool) {
        let [local, remote] = Self::addresses(from);
        let tcp = Repr {
            src_port: local.port(),
            dst_port: remote.port(),
            seq: SeqNumber(ISN[from as usize]) + seq,
            ack: SeqNumber(ISN[from.other() as usize]) + ack,
            flags,
            window: 500,
            ..Repr::default()
        };
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (local.ip(), remote.ip()) else { unreachable!() };
        let payload_len = tcp.header_len() + len;
        let ip = ipv4::Repr { src, dst, protocol: 6, ttl: 64, tos: 0, id: 0, df: true, payload_len };
        let mut bytes = vec![0; ip.total_len()];
        let at = ip.emit(&mut bytes).expect("the buffer has the packet's length");
        tcp.emit_header(&mut bytes[at..]).expect("the buffer has the packet's length");
        let sent = Instant::from_millis(ms);
        let index = self.log.packets.len();
        let arrives = (!lost).then(|| sent + DELAY);
        self.log.packets.push(Packet {
            from,
            sent,
            arrives,
            bytes,
            meta: PacketMeta::default(),
            by_hand: false,
        });
        self.push(ms, from, What::Sent(index));
        if !lost {
            self.push(ms + 10, from.other(), What::Arrived(index));
        }
    }

    fn story(mut self) -> Story {
        // Stable: what was written first at one moment happened first.
        self.log.records.sort_by_key(|record| record.at);
        Story::new(&self.log)
    }
}

fn fin() -> Flags {
    Flags::FIN | Flags::ACK
}

fn graceful() -> Story {
    let mut hand = Hand::connected();
    hand.call(100, A, Op::Close, Outcome::Done);
    hand.state(100, A, Established, FinWait1, Cause::Close, Initiator::Local);
    hand.segment(100, A, fin(), 101, 1, 0, false);
    hand.state(110, B, Established, CloseWait, Cause::Fin, Initiator::Peer);
    hand.call(110, B, Op::Read, Outcome::Bytes(0));
    hand.segment(110, B, Flags::ACK, 1, 102, 0, false);
    hand.state(120, A, FinWait1, FinWait2, Cause::FinAcked, Initiator::Peer);
    hand.call(170, B, Op::Close, Outcome::Done);
    hand.state(170, B, CloseWait, LastAck, Cause::Close, Initiator::Local);
    hand.segment(170, B, fin(), 1, 102, 0, false);
    hand.state(180, A, FinWait2, TimeWait, Cause::Fin, Initiator::Peer);
    hand.segment(180, A, Flags::ACK, 102, 2, 0, false);
    hand.state(190, B, LastAck, Closed, Cause::FinAcked, Initiator::Peer);
    hand.state(60_180, A, TimeWait, Closed, Cause::TimeWaitExpired, Initiator::Timer);
    hand.story()
}

fn simultaneous() -> Story {
    let mut hand = Hand::connected();
    for (side, seq, ack) in [(A, 101, 1), (B, 1, 101)] {
        hand.call(100, side, Op::Close, Outcome::Done);
        hand.state(100, side, Established, FinWait1, Cause::Close, Initiator::Local);
        hand.segment(100, side, fin(), seq, ack, 0, false);
    }
    for (side, seq, ack) in [(A, 102, 2), (B, 2, 102)] {
        hand.state(110, side, FinWait1, Closing, Cause::Fin, Initiator::Peer);
        hand.segment(110, side, Flags::ACK, seq, ack, 0, false);
    }
    for side in Side::BOTH {
        hand.state(120, side, Closing, TimeWait, Cause::FinAcked, Initiator::Peer);
        hand.state(60_120, side, TimeWait, Closed, Cause::TimeWaitExpired, Initiator::Timer);
    }
    hand.story()
}

/// Bursts in both directions that are on their way at the same time, and losses.
fn busy() -> Story {
    let mut hand = Hand::connected();
    hand.call(100, A, Op::Close, Outcome::Done);
    hand.state(100, A, Established, FinWait1, Cause::Close, Initiator::Local);
    hand.segment(100, A, Flags::ACK | Flags::PSH, 101, 1, 1000, false);
    hand.segment(100, A, fin(), 1101, 1, 0, true);
    hand.segment(105, B, Flags::ACK | Flags::PSH, 1, 101, 1000, false);
    hand.segment(105, B, Flags::ACK | Flags::PSH, 1001, 101, 1000, true);
    hand.segment(330, A, fin(), 1101, 1, 0, true);
    hand.segment(760, A, fin(), 1101, 1, 0, false);
    hand.story()
}

fn check_lines(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "longer than {WIDTH} columns: {line}");
        assert_eq!(line, line.trim_end(), "blanks at the end of a line");
    }
}

#[test]
fn graceful_close_has_the_six_steps_of_the_book() {
    let story = graceful();
    let steps: Vec<_> = story.steps.iter().map(|s| (s.side, s.at.as_millis())).collect();
    assert_eq!(steps, [(A, 100), (B, 110), (A, 120), (B, 170), (A, 180), (B, 190)]);
    let last: Vec<_> = story.steps.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(last[4], "A gets the FIN and acknowledges it: TIME_WAIT; CLOSED 60 s later");
    let sent: Vec<_> = story.segments.iter().map(|s| s.step.map(|i| i + 1)).collect();
    assert_eq!(sent, [None, None, None, None, Some(1), Some(2), Some(4), Some(5)]);
}

#[test]
fn mirrored_changes_of_both_sides_are_one_step() {
    let story = simultaneous();
    assert_eq!(story.steps.len(), 3);
    assert!(story.steps.iter().all(|s| s.both));
    assert!(text::draw(&story, Scenario::Simultaneous.heading(), Look::default()).contains('╳'));
}

#[test]
fn relative_numbers_wrap_with_the_sequence_space() {
    let story = graceful();
    assert_eq!(story.segments[2].seq, u32::MAX - 49);
    assert_eq!(story.segments[4].seq, 50);
    assert_eq!((story.segments[4].relative_seq, story.segments[4].relative_ack), (101, Some(1)));
}

#[test]
fn repeated_fins_are_steps_with_the_time_waited() {
    let steps = busy().steps;
    let texts: Vec<_> = steps.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts[2], "A repeats its FIN after 230 ms, and it is lost again");
    assert_eq!(texts[3], "A repeats its FIN after 430 ms");
}

#[test]
fn every_arrow_is_drawn_whole_also_among_others() {
    for story in [graceful(), simultaneous(), busy()] {
        let text = text::draw(&story, Scenario::Graceful.heading(), Look { full: true, ..Look::default() });
        check_lines(&text);
        let count = |c| text.chars().filter(|x| *x == c).count();
        let arrived = story.segments.iter().filter(|s| s.arrived.is_some()).count();
        assert_eq!(count('◀') + count('▶'), arrived, "{text}");
        assert_eq!(count('✕'), story.segments.len() - arrived, "{text}");
        for segment in &story.segments {
            assert!(text.contains(&segment.label()), "{} is missing in\n{text}", segment.label());
        }
    }
}

#[test]
fn ascii_is_ascii_and_colour_only_adds_escapes() {
    for story in [graceful(), simultaneous(), busy()] {
        let ascii = text::draw(&story, Scenario::Graceful.heading(), Look { ascii: true, ..Look::default() });
        assert!(ascii.is_ascii(), "{ascii}");
        check_lines(&ascii);
        let plain = text::draw(&story, Scenario::Graceful.heading(), Look::default());
        let coloured =
            text::draw(&story, Scenario::Graceful.heading(), Look { colour: true, ..Look::default() });
        let mut bare = String::new();
        let mut parts = coloured.split('\x1b');
        bare.push_str(parts.next().unwrap_or_default());
        for part in parts {
            bare.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        }
        assert_eq!(bare, plain);
        assert_ne!(coloured, plain);
    }
}

#[test]
fn svg_is_well_formed_and_has_every_label() {
    for story in [graceful(), simultaneous(), busy()] {
        let text = svg::draw(&story, Scenario::Graceful, true);
        let document = roxmltree::Document::parse(&text).expect("well-formed XML");
        let words: Vec<_> = document.descendants().filter_map(|n| n.text()).collect();
        for segment in &story.segments {
            assert!(words.contains(&segment.label().as_str()), "{}", segment.label());
        }
    }
}

#[test]
fn json_has_every_record() {
    let story = busy();
    let text = json::draw(&story, Scenario::Graceful).expect("renders");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["segments"].as_array().map(Vec::len), Some(story.segments.len()));
    assert_eq!(value["segments"][5]["lost"], true);
    assert_eq!(value["segments"][5]["arrived_us"], serde_json::Value::Null);
    assert_eq!(value["transitions"][0]["cause"], "connect");
}

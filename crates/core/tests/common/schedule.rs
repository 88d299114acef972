//! Random schedules of calls, segments, time and noise for a [`Rig`].

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

/// One step of a schedule.
#[derive(Clone, Debug)]
pub enum Step {
    Write(usize),
    Read,
    Shutdown(u8),
    Option(u8),
    Wait(u64),
    /// A segment: flags, where SEQ lies, where ACK lies, bytes of text, window, stamp.
    Segment(&'static str, i64, i64, usize, u16, Option<i32>),
    /// The peer acknowledges all it saw.
    AckAll,
    Icmp(&'static str, i64),
    /// Any bytes at all.
    Bytes(Vec<u8>),
}

const FLAGS: &[&str] = &[
    "",
    "ACK",
    "ACK",
    "ACK",
    "FIN,ACK",
    "FIN,ACK",
    "FIN",
    "SYN",
    "SYN,ACK",
    "RST",
    "RST,ACK",
    "SYN,FIN",
    "SYN,RST",
    "FIN,PSH,URG",
    "ACK,URG",
    "SYN,FIN,RST,PSH,ACK,URG",
];

pub fn segment() -> impl Strategy<Value = Step> {
    let place = prop_oneof![
        6 => select(&[-2i64, -1, 0, 0, 0, 0, 1, 2, 5, 6, 100][..]),
        1 => select(&[65_534i64, 65_535, 65_536, 300_000, 1 << 31, -300_000][..]),
        1 => any::<i32>().prop_map(i64::from),
    ];
    let ack = prop_oneof![
        6 => select(&[-1i64, 0, 0, 1, 1, 2, 5, 6, 100, 101][..]),
        1 => any::<i32>().prop_map(i64::from),
    ];
    let len = select(&[0usize, 0, 0, 0, 1, 5, 100, 1460][..]);
    let window = select(&[0u16, 1, 5, 100, 65_535, 65_535][..]);
    let stamp = select(&[None, None, Some(0), Some(-1), Some(-1_000_000), Some(1_000_000)][..]);
    (select(FLAGS), place, ack, len, window, stamp)
        .prop_map(|(flags, seq, ack, len, window, stamp)| Step::Segment(flags, seq, ack, len, window, stamp))
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => select(&[1usize, 5, 100, 5000][..]).prop_map(Step::Write),
        1 => Just(Step::Read),
        1 => (0u8..3).prop_map(Step::Shutdown),
        1 => (0u8..8).prop_map(Step::Option),
        2 => select(&[1u64, 40, 200, 1000, 61_000, 130_000][..]).prop_map(Step::Wait),
        8 => segment(),
        2 => Just(Step::AckAll),
        1 => (select(&["port", "host", "ttl", "big"][..]), -1i64..3).prop_map(|(kind, seq)| Step::Icmp(kind, seq)),
        1 => proptest::collection::vec(any::<u8>(), 0..80).prop_map(Step::Bytes),
    ]
}

/// How much of its sequence space the stack was seen to use.
pub fn seen(rig: &Rig) -> i64 {
    let ends = rig.sent.iter().map(|sent| {
        let controls =
            u32::from(sent.flags.contains(Flags::FIN)) + u32::from(sent.flags.contains(Flags::SYN));
        i64::from(sent.rel_seq) + sent.payload.len() as i64 + i64::from(controls)
    });
    ends.filter(|end| (0..1 << 20).contains(end)).max().unwrap_or(0)
}

/// What the peer would acknowledge next, from the last ACK of the stack.
pub fn expected(rig: &Rig) -> i64 {
    let acks =
        rig.sent.iter().filter(|sent| sent.flags.contains(Flags::ACK)).map(|sent| i64::from(sent.rel_ack));
    acks.filter(|ack| (0..1 << 20).contains(ack)).max().unwrap_or(0)
}

pub fn take(rig: &mut Rig, step: &Step) {
    match step {
        Step::Write(n) => {
            if rig.socket.is_some() {
                let at = rig.written.len();
                let _ = rig.write(&(at..at + n).map(|i| ((i * 31) >> 4) as u8).collect::<Vec<_>>());
            }
        }
        Step::Read => {
            if rig.socket.is_some() {
                let _ = rig.read();
            }
        }
        Step::Shutdown(how) => {
            let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][usize::from(*how)];
            if rig.socket.is_some() {
                let _ = rig.shutdown(how);
            }
        }
        Step::Option(which) => {
            let option = match which {
                0 => TcpOption::Linger(Some(Duration::ZERO)),
                1 => TcpOption::Linger2(Some(s(100))),
                2 => TcpOption::Linger2(None),
                3 => TcpOption::UserTimeout(s(3)),
                4 => TcpOption::KeepAlive(true),
                5 => TcpOption::KeepIdle(s(1)),
                6 => TcpOption::Cork(true),
                _ => TcpOption::NoDelay(true),
            };
            if rig.socket.is_some() {
                rig.option(option);
            }
        }
        Step::Wait(time) => rig.advance(ms(*time)),
        Step::Segment(flags, seq, ack, len, window, stamp) => {
            let mut spec = seg(flags, *seq, *ack).len(*len).win(*window);
            if let Some(stamp) = stamp {
                spec.options = Some(Options {
                    timestamps: Some((rig.peer_ts().wrapping_add(*stamp as u32), rig.ts_echo)),
                    mss: spec.flags.contains(Flags::SYN).then_some(100),
                    ..Options::default()
                });
            }
            rig.inject(spec);
        }
        Step::AckAll => {
            let (seq, ack) = (expected(rig), seen(rig));
            rig.inject(seg("ACK", seq, ack));
        }
        Step::Icmp(kind, seq) => rig.icmp(kind, 900, *seq),
        Step::Bytes(bytes) => rig.inject_packet(bytes),
    }
}

pub fn setups() -> impl Strategy<Value = Setup> {
    select(vec![Setup::default(), Setup::v6(), Setup::modern()])
        .prop_map(|setup| setup.with(|config| config.tcp.time_wait_restarts = Some(2)))
}

/// So many cases of a property; `PROPTEST_CASES` asks for more.
pub fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(default), failure_persistence: None, ..ProptestConfig::default() }
}

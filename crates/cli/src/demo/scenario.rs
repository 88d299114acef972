//! The ways in which a connection ends, as programs for the two sides and a rule of which packets get lost.

use clap::ValueEnum;
use lastack_core::wire::tcp::Flags;
use lastack_core::{Cidr, Config, Instant, Shutdown};
use lastack_sim::{Act, Fate, Link, Log, Pair, Rule, Script, Side, Stalled, segment_of};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Time from one side to the other.
pub const DELAY: Duration = Duration::from_millis(10);
/// Addresses of A and B (RFC 5737, for documentation).
const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))];
const PREFIX: u8 = 24;
const MTU: u16 = 1500;
/// B's service.
const PORT: u16 = 80;
/// Nobody listens here.
const CLOSED_PORT: u16 = 81;
const REQUEST: usize = 100;
const RESPONSE: usize = 300;
/// When the end begins: the opening and the data are over by then.
const END: Instant = Instant::from_millis(100);
/// How long B takes before it closes as well. Longer than the 40 ms that an acknowledgement may be delayed.
const LATER: Duration = Duration::from_millis(60);
/// No scenario lasts so long: the longest waits are TIME_WAIT and a few time-outs.
const LIMIT: Instant = Instant::from_secs(3600);
/// Any fixed value would do; it decides ports and initial sequence numbers.
const SEED: [u8; 32] = *b"lastack demo: the same each time";

/// A way in which a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A closes, B a little later: the six steps of the book
    Graceful,
    /// Both close at the same moment: CLOSING on both sides
    Simultaneous,
    /// A shuts its direction only; B goes on sending, then closes
    HalfClose,
    /// A aborts; B reads ECONNRESET
    Abort,
    /// A listener closes with one connection half open and one not yet accepted
    Listen,
    /// A connects to a port on which nobody listens
    Refused,
    /// A closes with data unread: RST instead of FIN
    UnreadData,
    /// A's FIN is lost twice, and the last acknowledgement once
    LostFin,
}

impl Scenario {
    /// Name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Simultaneous => "simultaneous",
            Self::HalfClose => "half-close",
            Self::Abort => "abort",
            Self::Listen => "listen",
            Self::Refused => "refused",
            Self::UnreadData => "unread-data",
            Self::LostFin => "lost-fin",
        }
    }

    /// Heading of the figure.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Graceful => "A connection ends: graceful close",
            Self::Simultaneous => "A connection ends: simultaneous close",
            Self::HalfClose => "A connection ends: half-close",
            Self::Abort => "A connection ends: abort",
            Self::Listen => "A listener closes",
            Self::Refused => "A connection is refused",
            Self::UnreadData => "A connection ends: close with unread data",
            Self::LostFin => "A connection ends: a FIN is lost",
        }
    }

    /// What the two programs do, in a sentence.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Graceful => "A closes first, B a little later.",
            Self::Simultaneous => "Both applications close at the same moment; the FINs cross on the way.",
            Self::HalfClose => {
                "A has said everything and shuts its direction; B goes on sending, then closes."
            }
            Self::Abort => "A gives the connection up and resets it.",
            Self::Listen => {
                "B closes a listener; connection 1 waits to be accepted, connection 2 is half open."
            }
            Self::Refused => "A connects to a port of B on which nobody listens.",
            Self::UnreadData => {
                "A closes without having read B's answer: B must not believe that it was read."
            }
            Self::LostFin => "The link loses A's FIN twice, and A's acknowledgement of B's FIN once.",
        }
    }

    /// Whether an opening comes before the end that the figure is about and may be left out of it.
    pub const fn has_opening(self) -> bool {
        !matches!(self, Self::Listen | Self::Refused)
    }

    /// Plays the scenario.
    pub fn play(self) -> Result<Log, Stalled> {
        let link = Link { mtu: MTU, delay: DELAY, rule: self.rule() };
        let mut pair = Pair::new(ADDRESSES.map(config), link, SEED);
        for (side, acts) in self.programs() {
            pair.spawn(side, Box::new(Script::new(acts)));
        }
        pair.run(LIMIT)?;
        Ok(pair.into_log())
    }

    fn programs(self) -> Vec<(Side, Vec<Act>)> {
        let client = |end: &[Act]| {
            let mut acts =
                vec![Act::Connect(service(PORT)), Act::Write(REQUEST), Act::Read(RESPONSE), Act::Until(END)];
            acts.extend_from_slice(end);
            (Side::A, acts)
        };
        let server = |end: &[Act]| {
            let mut acts =
                vec![Act::Listen(service(PORT)), Act::Accept, Act::Read(REQUEST), Act::Write(RESPONSE)];
            acts.extend_from_slice(end);
            (Side::B, acts)
        };
        match self {
            Self::Graceful | Self::LostFin => {
                vec![client(&[Act::Close]), server(&[Act::ReadToEnd, Act::Sleep(LATER), Act::Close])]
            }
            Self::Simultaneous => vec![client(&[Act::Close]), server(&[Act::Until(END), Act::Close])],
            Self::HalfClose => {
                let mut end = vec![Act::ReadToEnd];
                for _ in 0..3 {
                    end.extend([Act::Sleep(LATER), Act::Write(1000)]);
                }
                end.extend([Act::Sleep(LATER), Act::Close]);
                vec![client(&[Act::Shutdown(Shutdown::Write), Act::ReadToEnd, Act::Close]), server(&end)]
            }
            Self::Abort => vec![client(&[Act::Abort]), server(&[Act::ReadToEnd, Act::Write(1), Act::Close])],
            Self::Listen => vec![
                (Side::B, vec![Act::Listen(service(PORT)), Act::Until(END), Act::CloseListener]),
                (Side::A, vec![Act::Connect(service(PORT)), Act::ReadToEnd, Act::Close]),
                (
                    Side::A,
                    vec![
                        Act::Until(Instant::from_millis(40)),
                        Act::Connect(service(PORT)),
                        Act::Until(Instant::from_millis(150)),
                        Act::Write(REQUEST),
                        Act::ReadToEnd,
                        Act::Close,
                    ],
                ),
            ],
            Self::Refused => vec![(Side::A, vec![Act::Connect(service(CLOSED_PORT)), Act::Close])],
            Self::UnreadData => {
                let acts =
                    vec![Act::Connect(service(PORT)), Act::Write(REQUEST), Act::Until(END), Act::Close];
                vec![(Side::A, acts), server(&[Act::ReadToEnd, Act::Close])]
            }
        }
    }

    fn rule(self) -> Rule {
        match self {
            Self::Listen => lose_last_ack_of_second_handshake(),
            Self::LostFin => lose_two_fins_and_last_ack(),
            _ => Box::new(|_, _| Fate::Deliver),
        }
    }
}

fn service(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[Side::B as usize], port)
}

fn config(address: IpAddr) -> Config {
    let cidr = Cidr::new(address, PREFIX).expect("24 is a prefix length of IPv4");
    Config { addresses: vec![cidr], ..Config::default() }
}

fn lose_last_ack_of_second_handshake() -> Rule {
    let (mut syns, mut lost) = (0, false);
    Box::new(move |side, packet| {
        let Some((_, segment)) = segment_of(packet).filter(|_| side == Side::A) else {
            return Fate::Deliver;
        };
        syns += u32::from(segment.flags.contains(Flags::SYN));
        let lose = syns == 2 && !lost && segment.flags == Flags::ACK && segment.payload.is_empty();
        lost |= lose;
        if lose { Fate::Lose } else { Fate::Deliver }
    })
}

fn lose_two_fins_and_last_ack() -> Rule {
    let (mut fins, mut peer_closed, mut last_ack_lost) = (0, false, false);
    Box::new(move |side, packet| {
        let Some((_, segment)) = segment_of(packet) else { return Fate::Deliver };
        let fin = segment.flags.contains(Flags::FIN);
        if side == Side::B {
            peer_closed |= fin;
            return Fate::Deliver;
        }
        fins += u32::from(fin);
        let last_ack = peer_closed && !fin && !last_ack_lost;
        last_ack_lost |= last_ack;
        if last_ack || fin && fins <= 2 { Fate::Lose } else { Fate::Deliver }
    })
}

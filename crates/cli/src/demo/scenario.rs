//! The ways in which a connection ends, as programs for the two sides and a rule of which packets get lost.

use super::exchanges;
use super::text::Heading;
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
pub const PORT: u16 = 80;
/// Nobody listens here.
const CLOSED_PORT: u16 = 81;
/// Bytes that A asks with.
pub const REQUEST: usize = 100;
/// Bytes that B answers with.
pub const RESPONSE: usize = 300;
/// When the end begins: the opening and the data are over by then.
pub const END: Instant = Instant::from_millis(100);
/// How long B takes before it closes as well. Longer than the 40 ms that an acknowledgement may be delayed.
pub const LATER: Duration = Duration::from_millis(60);
/// A wait from this length on is worth an explanation.
const LONG: Duration = Duration::from_secs(1);
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
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W1,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W2,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W3,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W4,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W5,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W6,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W7,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W8,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W9,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W10,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W11,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W12,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W13,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W14,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W15,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    W16,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    Tc1,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    Tc2,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    Tc3,
    /// A canonical exchange, see the list
    #[value(hide = true)]
    Tc4,
}

/// What is played, and what is said about it.
pub struct Play {
    /// Name on the command line and in JSON.
    pub name: &'static str,
    /// Heading of the figure.
    pub title: &'static str,
    /// What happens, in a sentence.
    pub summary: &'static str,
    /// An opening comes before the end that the figure is about, and may be left out of it.
    pub has_opening: bool,
    /// Who plays.
    pub cast: fn() -> Cast,
}

/// The programs of the two sides, and what befalls them.
pub struct Cast {
    programs: Vec<(Side, Vec<Act>)>,
    rule: Rule,
    incidents: Vec<(Instant, Incident)>,
}

type Incident = fn(&mut Pair);

impl Default for Cast {
    /// Nobody yet, on a link that loses nothing.
    fn default() -> Self {
        Self { programs: Vec::new(), rule: Box::new(|_, _| Fate::Deliver), incidents: Vec::new() }
    }
}

impl Cast {
    /// One more program.
    pub fn program(mut self, side: Side, acts: impl IntoIterator<Item = Act>) -> Self {
        self.programs.push((side, acts.into_iter().collect()));
        self
    }

    /// A asks B's service, reads the answer, and then does this.
    pub fn client(self, end: impl IntoIterator<Item = Act>) -> Self {
        let start = [Act::Connect(service(PORT)), Act::Write(REQUEST), Act::Read(RESPONSE), Act::Until(END)];
        self.program(Side::A, start.into_iter().chain(end))
    }

    /// B serves one request, and then does this.
    pub fn server(self, end: impl IntoIterator<Item = Act>) -> Self {
        let start = [Act::Listen(service(PORT)), Act::Accept, Act::Read(REQUEST), Act::Write(RESPONSE)];
        self.program(Side::B, start.into_iter().chain(end))
    }

    /// What the link does.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// Something happens from outside.
    pub fn at(mut self, time: Instant, incident: Incident) -> Self {
        self.incidents.push((time, incident));
        self
    }
}

const GRACEFUL: Play = Play {
    name: "graceful",
    title: "A connection ends: graceful close",
    summary: "A closes first, B a little later.",
    has_opening: true,
    cast: graceful,
};

const SIMULTANEOUS: Play = Play {
    name: "simultaneous",
    title: "A connection ends: simultaneous close",
    summary: "Both applications close at the same moment; the FINs cross on the way.",
    has_opening: true,
    cast: simultaneous,
};

const HALF_CLOSE: Play = Play {
    name: "half-close",
    title: "A connection ends: half-close",
    summary: "A has said everything and shuts its direction; B goes on sending, then closes.",
    has_opening: true,
    cast: || {
        let mut end = vec![Act::ReadToEnd];
        for _ in 0..3 {
            end.extend([Act::Sleep(LATER), Act::Write(1000)]);
        }
        end.extend([Act::Sleep(LATER), Act::Close]);
        Cast::default().client([Act::Shutdown(Shutdown::Write), Act::ReadToEnd, Act::Close]).server(end)
    },
};

const ABORT: Play = Play {
    name: "abort",
    title: "A connection ends: abort",
    summary: "A gives the connection up and resets it.",
    has_opening: true,
    cast: || Cast::default().client([Act::Abort]).server([Act::ReadToEnd, Act::Write(1), Act::Close]),
};

const LISTEN: Play = Play {
    name: "listen",
    title: "A listener closes",
    summary: "B closes a listener; connection 1 waits to be accepted, connection 2 is half open.",
    has_opening: false,
    cast: closing_listener,
};

const REFUSED: Play = Play {
    name: "refused",
    title: "A connection is refused",
    summary: "A connects to a port of B on which nobody listens.",
    has_opening: false,
    cast: || Cast::default().program(Side::A, [Act::Connect(service(CLOSED_PORT)), Act::Close]),
};

const UNREAD_DATA: Play = Play {
    name: "unread-data",
    title: "A connection ends: close with unread data",
    summary: "A closes without having read B's answer: B must not believe that it was read.",
    has_opening: true,
    cast: unread_data,
};

const LOST_FIN: Play = Play {
    name: "lost-fin",
    title: "A connection ends: a FIN is lost",
    summary: "The link loses A's FIN twice, and A's acknowledgement of B's FIN once.",
    has_opening: true,
    cast: || graceful().rule(lose_two_fins_and_last_ack()),
};

/// A closes, B later.
pub fn graceful() -> Cast {
    Cast::default().client([Act::Close]).server([Act::ReadToEnd, Act::Sleep(LATER), Act::Close])
}

/// Both close at once.
pub fn simultaneous() -> Cast {
    Cast::default().client([Act::Close]).server([Act::Until(END), Act::Close])
}

/// A closes without reading the answer.
pub fn unread_data() -> Cast {
    let acts = [Act::Connect(service(PORT)), Act::Write(REQUEST), Act::Until(END), Act::Close];
    Cast::default().program(Side::A, acts).server([Act::ReadToEnd, Act::Close])
}

/// B closes a listener over a connection that waits and one that is half open.
pub fn closing_listener() -> Cast {
    Cast::default()
        .program(Side::B, [Act::Listen(service(PORT)), Act::Until(END), Act::CloseListener])
        .program(Side::A, [Act::Connect(service(PORT)), Act::ReadToEnd, Act::Close])
        .program(
            Side::A,
            [
                Act::Until(Instant::from_millis(40)),
                Act::Connect(service(PORT)),
                Act::Until(Instant::from_millis(150)),
                Act::Write(REQUEST),
                Act::ReadToEnd,
                Act::Close,
            ],
        )
        .rule(lose_last_ack_of_second_handshake())
}

impl Scenario {
    const fn part(self) -> &'static Play {
        match self {
            Self::Graceful => &GRACEFUL,
            Self::Simultaneous => &SIMULTANEOUS,
            Self::HalfClose => &HALF_CLOSE,
            Self::Abort => &ABORT,
            Self::Listen => &LISTEN,
            Self::Refused => &REFUSED,
            Self::UnreadData => &UNREAD_DATA,
            Self::LostFin => &LOST_FIN,
            Self::W1 => &exchanges::W1,
            Self::W2 => &exchanges::W2,
            Self::W3 => &exchanges::W3,
            Self::W4 => &exchanges::W4,
            Self::W5 => &exchanges::W5,
            Self::W6 => &exchanges::W6,
            Self::W7 => &exchanges::W7,
            Self::W8 => &exchanges::W8,
            Self::W9 => &exchanges::W9,
            Self::W10 => &exchanges::W10,
            Self::W11 => &exchanges::W11,
            Self::W12 => &exchanges::W12,
            Self::W13 => &exchanges::W13,
            Self::W14 => &exchanges::W14,
            Self::W15 => &exchanges::W15,
            Self::W16 => &exchanges::W16,
            Self::Tc1 => &exchanges::TC1,
            Self::Tc2 => &exchanges::TC2,
            Self::Tc3 => &exchanges::TC3,
            Self::Tc4 => &exchanges::TC4,
        }
    }

    /// Every scenario, in the order of the list.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        self.part().name
    }

    /// Heading of the figure.
    pub const fn title(self) -> &'static str {
        self.part().title
    }

    /// What happens, in a sentence.
    pub const fn summary(self) -> &'static str {
        self.part().summary
    }

    /// Whether an opening comes before the end that the figure is about and may be left out of it.
    pub const fn has_opening(self) -> bool {
        self.part().has_opening
    }

    /// What stands above its ladder.
    pub fn heading(self) -> Heading<'static> {
        Heading { title: self.title(), summary: self.summary(), has_opening: self.has_opening() }
    }

    /// Plays the scenario.
    pub fn play(self) -> Result<Log, Stalled> {
        let cast = (self.part().cast)();
        let link = Link { mtu: MTU, delay: DELAY, rule: cast.rule };
        let mut pair = Pair::new(ADDRESSES.map(config), link, SEED);
        pair.explain(LONG);
        for (side, acts) in cast.programs {
            pair.spawn(side, Box::new(Script::new(acts)));
        }
        for (time, incident) in cast.incidents {
            pair.at(time, incident);
        }
        pair.run(LIMIT)?;
        Ok(pair.into_log())
    }
}

/// B's address with this port.
pub fn service(port: u16) -> SocketAddr {
    address(Side::B, port)
}

/// A side's address with this port.
pub fn address(side: Side, port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[side as usize], port)
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

//! A scenario as data: hosts, routers, links with what goes wrong on them, and what the applications do.
//!
//! In TOML, every value is written as people write it; `docs/simulator.md` of the project has the whole format.
//!
//! ```
//! use lastack_sim::Scenario;
//!
//! let scenario = Scenario::parse(r#"
//!     name = "mine"
//!     summary = "a megabyte over a lossy link"
//!     host = [{ name = "client" }, { name = "server" }]
//!
//!     [[link]]
//!     between = ["client", "server"]
//!     both = { rate = "10M", delay = "20ms" }
//!     forward = { loss = "1%" }
//!
//!     [[flow]]
//!     from = "client"
//!     to = "server"
//!     model = { kind = "bulk", bytes = "1M" }
//! "#)?;
//! let report = lastack_sim::run_scenario(&scenario, 1)?;
//! assert!(report.passed(), "{:?}", report.failures);
//! # Ok::<(), String>(())
//! ```

mod check;

use crate::units::{Rate, Share, Size, Time};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Hosts at the most: each has an address of its own in a /24.
pub const MAX_HOSTS: usize = 200;
/// Connections of one scenario at the most.
pub const MAX_CONNECTIONS: u64 = 1_000_000;

/// A network, what goes wrong in it, and what its applications do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// A word, for the command line.
    pub name: String,
    /// A sentence.
    pub summary: String,
    /// Which IP the hosts speak.
    #[serde(default)]
    pub ip: IpVersion,
    /// The run fails if it takes longer than this in virtual time.
    #[serde(default = "an_hour")]
    pub limit: Time,
    /// What becomes of a run in which something that was asked for never happened.
    #[serde(default)]
    pub unfired: Unfired,
    /// Ends, in the order of their addresses.
    #[serde(rename = "host")]
    pub hosts: Vec<HostSpec>,
    /// Names of the routers between them.
    #[serde(default)]
    pub routers: Vec<String>,
    /// Links between hosts and routers.
    #[serde(rename = "link")]
    pub links: Vec<LinkSpec>,
    /// What the applications do.
    #[serde(default, rename = "flow")]
    pub flows: Vec<FlowSpec>,
}

fn an_hour() -> Time {
    Time(Duration::from_secs(3600))
}

fn one() -> u32 {
    1
}

/// Which IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpVersion {
    /// IPv4.
    #[default]
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

/// What becomes of a run in which a fault that was asked for never happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfired {
    /// It fails: it did not test what it says.
    #[default]
    Fail,
    /// It is in the report, as for scenarios that were made by chance.
    Report,
}

/// An end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostSpec {
    /// Its name.
    pub name: String,
    /// Whose TCP it runs.
    #[serde(default)]
    pub stack: StackKind,
    /// Congestion control of its connections; lastack's default is CUBIC, and smoltcp's `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congestion: Option<String>,
    /// SACK; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sack: Option<bool>,
    /// Timestamps; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<bool>,
    /// Window scaling; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_scaling: Option<bool>,
    /// ECN, by the numbers of Linux's `tcp_ecn`: 0 never, 1 asks for it, 2 (the default) grants it, 3 to 5 with AccECN;
    /// lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecn: Option<u8>,
    /// Largest send buffer of a connection: lastack's `send_buffer_max`, smoltcp's buffer (64 KiB if not given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_buffer: Option<Size>,
    /// The same for received bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recv_buffer: Option<Size>,
    /// Doublings of the retransmission timer after which a connection that nobody owns is given up, by Linux's
    /// `tcp_orphan_retries`; 0, the default, stands for 8, which are 102 s; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan_retries: Option<u8>,
    /// Search for the path's MTU, by the numbers of Linux's `tcp_mtu_probing`: 0 (the default) never, 1 after a black hole,
    /// 2 always; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_probing: Option<u8>,
    /// Fast Open (RFC 7413): its listeners take text with the SYN, and its flows with `fast-open` send it; lastack only.
    #[serde(default)]
    pub fast_open: bool,
    /// Times at which it is off. It loses everything; afterwards it is there again without its connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<Outage>,
}

/// Whose TCP a host runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackKind {
    /// This project's.
    #[default]
    Lastack,
    /// The crate smoltcp.
    Smoltcp,
}

/// A host is off for a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// From when.
    pub at: Time,
    /// How long; without it, for good.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Time>,
}

/// A link between two hosts or routers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkSpec {
    /// Its name; without one, the names of its ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its ends.
    pub between: [String; 2],
    /// What holds in both directions.
    #[serde(default)]
    pub both: Direction,
    /// What holds from the first end to the second, in the place of `both`.
    #[serde(default)]
    pub forward: Direction,
    /// What holds from the second end to the first, in the place of `both`.
    #[serde(default)]
    pub backward: Direction,
    /// Boxes in the link, in the order in which a packet from the first end meets them.
    #[serde(default, rename = "middlebox", skip_serializing_if = "Vec::is_empty")]
    pub middleboxes: Vec<BoxSpec>,
}

impl LinkSpec {
    /// Its name, or the names of its ends.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}-{}", self.between[0], self.between[1]))
    }
}

/// One direction of a link. What is not given is as good as it can be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Direction {
    /// Bits per second of IP packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Time on the way, beside that in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// Up to so much more, evenly distributed; packets stay in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Time>,
    /// Largest packet in bytes; 1500 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Other sizes from some times on. The hosts are not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mtu_changes: Vec<MtuChange>,
    /// Packets that are too large vanish without an ICMP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub black_hole: Option<bool>,
    /// Where packets wait; only with a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSpec>,
    /// Packets lost, each by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// Packets lost in bursts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<Bursts>,
    /// Packets that are held back, so that others overtake them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Reorder>,
    /// Packets that arrive twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    /// Packets of which a bit is flipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Share>,
    /// Packets that can carry an ECN mark and get one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Share>,
    /// Times in which nothing passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<Window>,
}

impl Direction {
    /// This, with what `over` has in its place.
    #[must_use]
    pub fn with(&self, over: &Self) -> Self {
        let list = |own: &Vec<Window>, other: &Vec<Window>| {
            if other.is_empty() { own.clone() } else { other.clone() }
        };
        let changes = if over.mtu_changes.is_empty() { &self.mtu_changes } else { &over.mtu_changes };
        Self {
            rate: over.rate.or(self.rate),
            delay: over.delay.or(self.delay),
            jitter: over.jitter.or(self.jitter),
            mtu: over.mtu.or(self.mtu),
            mtu_changes: changes.clone(),
            black_hole: over.black_hole.or(self.black_hole),
            queue: over.queue.or(self.queue),
            loss: over.loss.or(self.loss),
            bursts: over.bursts.or(self.bursts),
            reorder: over.reorder.or(self.reorder),
            duplicate: over.duplicate.or(self.duplicate),
            corrupt: over.corrupt.or(self.corrupt),
            mark: over.mark.or(self.mark),
            down: list(&self.down, &over.down),
        }
    }
}

/// From a time on, packets may be so large.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtuChange {
    /// From when.
    pub at: Time,
    /// Bytes.
    pub mtu: u16,
}

/// Where packets wait for their turn on the link.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum QueueSpec {
    /// What does not fit is lost.
    DropTail {
        /// Packets that may wait; 1000 if neither is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packets: Option<u32>,
        /// Bytes that may wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<Size>,
        /// From so many waiting packets on, those that can carry an ECN mark get one (as DCTCP wants it).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark_above: Option<u32>,
    },
    /// Controlled delay (RFC 8289).
    #[serde(rename = "codel")]
    CoDel {
        /// Wait that is acceptable; 5 ms if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Time>,
        /// Time in which the wait has to fall below that; 100 ms if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<Time>,
        /// Packets that may wait; 1000 if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packets: Option<u32>,
        /// Packets that can carry an ECN mark get one in the place of being lost.
        #[serde(default)]
        ecn: bool,
    },
}

/// Loss in bursts: the model of Gilbert and Elliott, whose state changes with each packet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// Chance that a burst begins with a packet.
    pub begin: Share,
    /// Chance that a burst ends with a packet.
    pub end: Share,
    /// Packets lost in a burst; all if not given.
    #[serde(default = "all")]
    pub loss: Share,
}

fn all() -> Share {
    Share::ALL
}

/// Packets that are held back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// Which share of them.
    pub share: Share,
    /// How long.
    pub by: Time,
}

/// From one time to another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From when.
    pub from: Time,
    /// Until when.
    pub to: Time,
}

/// Which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Both ways.
    #[default]
    Both,
    /// From the link's first end to its second.
    Forward,
    /// The other way.
    Backward,
}

/// A box in a link, which changes segments. Segments with a wrong checksum pass unchanged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum BoxSpec {
    /// Puts no-operation in the place of options.
    StripOptions {
        /// Which.
        options: Vec<OptionName>,
        /// Only of segments with SYN.
        #[serde(default)]
        syn_only: bool,
        /// Which way.
        #[serde(default)]
        way: Way,
    },
    /// Cuts segments that carry more than so many bytes into several.
    Split {
        /// Bytes that a segment may carry.
        bytes: u16,
        /// Which way.
        #[serde(default)]
        way: Way,
    },
    /// Joins segments that follow each other, as long as they fit the link.
    Coalesce {
        /// How long it waits for the next segment.
        hold: Time,
        /// Which way.
        #[serde(default)]
        way: Way,
    },
    /// Moves the sequence numbers of each connection by a number of its own, and back in what is acknowledged.
    RewriteSeq {
        /// It forgets the SACK blocks, as some firewalls did.
        #[serde(default)]
        forgets_sack: bool,
    },
    /// Sends a reset behind a segment with data, in the name of its sender.
    ForgeReset {
        /// Its sequence number.
        aim: Aim,
        /// Behind how many segments with data of each connection it sends one.
        after: u32,
        /// Which way.
        #[serde(default)]
        way: Way,
    },
    /// Takes FINs away.
    SwallowFin {
        /// How many of each connection and direction.
        #[serde(default = "one")]
        count: u32,
        /// Which way.
        #[serde(default)]
        way: Way,
    },
}

impl BoxSpec {
    /// Its kind, as in a scenario.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::StripOptions { .. } => "strip-options",
            Self::Split { .. } => "split",
            Self::Coalesce { .. } => "coalesce",
            Self::RewriteSeq { .. } => "rewrite-seq",
            Self::ForgeReset { .. } => "forge-reset",
            Self::SwallowFin { .. } => "swallow-fin",
        }
    }
}

/// An option of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptionName {
    /// Maximum segment size.
    Mss,
    /// Window scale.
    WindowScale,
    /// SACK permitted, and SACK blocks.
    Sack,
    /// Timestamps.
    Timestamps,
    /// Every option.
    All,
}

impl fmt::Display for OptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mss => "mss",
            Self::WindowScale => "window-scale",
            Self::Sack => "sack",
            Self::Timestamps => "timestamps",
            Self::All => "all",
        })
    }
}

/// Where a forged reset points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// At the byte that is expected next: it ends the connection.
    Exact,
    /// Into the window (RFC 5961 3: a challenge ACK, and no end).
    InWindow,
    /// Far outside of it: nothing happens.
    Outside,
}

/// Connections that do the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FlowSpec {
    /// A name for the report; without one, the kind of its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The host that connects.
    pub from: String,
    /// The host that listens.
    pub to: String,
    /// Number of connections.
    #[serde(default = "one")]
    pub count: u32,
    /// When the first begins.
    #[serde(default)]
    pub start: Time,
    /// Time from one beginning to the next.
    #[serde(default)]
    pub spacing: Time,
    /// Up to so much is added to each beginning, by chance.
    #[serde(default)]
    pub spread: Time,
    /// `spacing` is the mean of times that chance draws from an exponential distribution: arrivals are a Poisson process.
    #[serde(default)]
    pub poisson: bool,
    /// What they do.
    pub model: Model,
    /// Congestion control of these connections, both ends; lastack only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congestion: Option<String>,
    /// Nobody listens: both ends connect to each other's ports at the same time (RFC 9293 3.5, figure 7).
    #[serde(default)]
    pub simultaneous: bool,
    /// `TCP_NODELAY`, both ends.
    #[serde(default)]
    pub nodelay: bool,
    /// The client's first bytes go with the SYN, once the client has a cookie of the server (RFC 7413). Both hosts need
    /// `fast-open`. Only for requests: who shuts down before the SYN is answered gives the connection up, as on Linux.
    #[serde(default)]
    pub fast_open: bool,
    /// An application that got nothing done for so long gives up and resets. Without it, it waits for ever, and a
    /// connection that does is a failure of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Time>,
    /// Its connections may end before their work is done, as when resets are forged or hosts crash. Bytes that
    /// arrive have to be right all the same, and nobody may be told a false end.
    #[serde(default)]
    pub may_fail: bool,
}

impl FlowSpec {
    /// Its name, or the kind of its model.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(self.model.kind())
    }
}

/// What the two applications of a connection do. The client connects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// One side sends, closes, and the other reads to the end.
    Bulk {
        /// How much.
        bytes: Size,
        /// The server sends.
        #[serde(default)]
        down: bool,
    },
    /// The client sends for a time, then closes.
    Stream {
        /// How long.
        #[serde(rename = "for")]
        lasts: Time,
    },
    /// Both sides send at the same time.
    Duplex {
        /// How much each.
        bytes: Size,
    },
    /// Requests and their answers, one after the other on one connection.
    RequestResponse {
        /// How many.
        rounds: u32,
        /// Bytes of a request.
        request: Size,
        /// Bytes of a response.
        response: Size,
        /// Pause of the client before the next.
        #[serde(default)]
        think: Time,
    },
    /// The client sends a piece at a time.
    Paced {
        /// Bytes of a piece.
        piece: Size,
        /// Time from one to the next.
        every: Time,
        /// How many.
        count: u32,
    },
    /// The client sends and shuts its direction; the server then sends, and closes.
    HalfClose {
        /// Bytes of the client.
        up: Size,
        /// Bytes of the server.
        down: Size,
    },
    /// The server reads a little at a time, with pauses.
    SlowReader {
        /// Bytes that the client sends.
        bytes: Size,
        /// Bytes that a read takes.
        piece: Size,
        /// Time from one read to the next.
        every: Time,
    },
    /// A program ends in the middle of a transfer to the server.
    Crash {
        /// Bytes that the client would send.
        bytes: Size,
        /// Bytes after which it happens.
        after: Size,
        /// To whom.
        who: Who,
        /// With a reset, instead of a close as at the end of a process.
        #[serde(default)]
        reset: bool,
    },
}

impl Model {
    /// Its kind, as in a scenario.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bulk { .. } => "bulk",
            Self::Stream { .. } => "stream",
            Self::Duplex { .. } => "duplex",
            Self::RequestResponse { .. } => "request-response",
            Self::Paced { .. } => "paced",
            Self::HalfClose { .. } => "half-close",
            Self::SlowReader { .. } => "slow-reader",
            Self::Crash { .. } => "crash",
        }
    }
}

/// One of the two applications of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The one that connects.
    Client,
    /// The one that accepts.
    Server,
}

impl Who {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

impl Scenario {
    /// Reads a scenario from TOML and checks it.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Writes it as TOML.
    ///
    /// # Errors
    /// None that a scenario from [`Scenario::parse`] can have.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// Number of a host or router: hosts first.
    pub(crate) fn node(&self, name: &str) -> Option<usize> {
        self.hosts.iter().map(|h| &h.name).chain(&self.routers).position(|other| other == name)
    }
}

#[cfg(test)]
mod tests;

//! The states of a connection and the table of legal arrows between them.
//!
//! RFC 9293 3.3.2 and figure 5; Linux `include/net/tcp_states.h`, `new_state[]` in `tcp_close_state`. Two arrows of the
//! figure differ as on Linux: FIN_WAIT_1 and LAST_ACK are entered when the application closes, not when the FIN leaves.

use core::fmt;

/// State of a connection, in Linux's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// No connection: never opened, or over.
    Closed,
    /// Waiting for connection requests.
    Listen,
    /// Our SYN is out.
    SynSent,
    /// A listener's half-open request: a small record without a handle (Linux `TCP_NEW_SYN_RECV`).
    NewSynRecv,
    /// SYN received, ours not yet acknowledged; a full record (crossed SYNs, or a child for the length of one call).
    SynReceived,
    /// Data flows both ways.
    Established,
    /// We closed; our FIN is not acknowledged (it may not even have been sent).
    FinWait1,
    /// Our FIN is acknowledged; the peer has not closed.
    FinWait2,
    /// Both closed; the peer's FIN is here, ours is not acknowledged.
    Closing,
    /// Both closed and acknowledged; the record stays to answer old segments (a small record of its own).
    TimeWait,
    /// The peer closed; the application has not.
    CloseWait,
    /// The peer closed first, then we did; our FIN is not acknowledged.
    LastAck,
}

impl State {
    /// Name as the kernel's documentation spells it, for example `FIN_WAIT_1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::NewSynRecv => "NEW_SYN_RECV",
            Self::SynReceived => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::Closing => "CLOSING",
            Self::TimeWait => "TIME_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
        }
    }

    /// All states, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::NewSynRecv,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::TimeWait,
        Self::CloseWait,
        Self::LastAck,
    ];

    /// Both sides know of the connection (RFC 9293 3.5.2, third group).
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::NewSynRecv | Self::SynReceived)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// On whose account a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The application on this side.
    Local,
    /// The peer, by a segment.
    Peer,
    /// A timer of this side.
    Timer,
    /// The stack itself or its administrator: a limit, a route, an ICMP message, a listener that went away.
    Administrator,
}

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Timer => "timer",
            Self::Administrator => "administrator",
        })
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a state changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// The cause in a few words, for traces.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

causes! {
    /// `connect()`.
    Connect = "connect",
    /// `listen()`.
    Listen = "listen",
    /// A SYN arrived.
    Syn = "SYN received",
    /// The handshake completed.
    Handshake = "handshake completed",
    /// `close()`, or the owner dropped the socket.
    Close = "close",
    /// `shutdown()` of the sending direction.
    Shutdown = "shutdown",
    /// `close()` while received data was unread (RFC 2525 2.17).
    UnreadData = "close with unread data",
    /// `close()` with linger 0.
    LingerZero = "close with linger 0",
    /// `abort()`.
    Abort = "abort",
    /// `TCP_LINGER2` below zero: no FIN_WAIT_2.
    NoFinWait2 = "no FIN_WAIT_2 wanted",
    /// The peer's FIN, with everything before it.
    Fin = "FIN received",
    /// The acknowledgement of our FIN.
    FinAcked = "FIN acknowledged",
    /// An acceptable RST.
    Reset = "RST received",
    /// A SYN where only the old connection's segments were expected.
    UnexpectedSyn = "SYN received on a half-open connection",
    /// Data for a connection whose reader is gone.
    DataAfterClose = "data received after close",
    /// The SYN was never answered.
    SynTimeout = "SYN timed out",
    /// The SYN-ACK was never answered.
    SynAckTimeout = "SYN-ACK timed out",
    /// Data or FIN never acknowledged.
    RetransmissionTimeout = "retransmission timed out",
    /// Zero-window probes never answered, or an orphan at a closed window.
    ZeroWindowTimeout = "zero window timed out",
    /// Keep-alive probes never answered.
    KeepAliveTimeout = "keep-alive timed out",
    /// The user timeout.
    UserTimeout = "user timeout",
    /// The FIN_WAIT_2 timer of an orphan.
    FinWait2Timeout = "FIN_WAIT_2 timed out",
    /// A connection that nobody owns lived for `orphan_lifetime`.
    OrphanTimeout = "orphan timed out",
    /// The end of TIME_WAIT.
    TimeWaitExpired = "TIME_WAIT expired",
    /// A new connection took the record over.
    TimeWaitReuse = "TIME_WAIT reused",
    /// No room for a TIME_WAIT record (`tcp_max_tw_buckets`).
    TimeWaitLimit = "TIME_WAIT limit",
    /// Too many orphans, or too much memory in use.
    ResourceLimit = "resource limit",
    /// The listener of an unaccepted connection closed.
    ListenerClosed = "listener closed",
    /// A deferring listener refused the request, or did not decide in time.
    Refused = "request refused",
    /// An ICMP error that ends an attempt to connect.
    Icmp = "ICMP error",
    /// An administrator ended it (`ss -K`).
    Killed = "killed by the administrator",
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// One legal arrow: from, to, and the causes that may take it.
#[derive(Clone, Copy, Debug)]
pub struct Arrow {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Causes that may take the arrow.
    pub causes: &'static [Cause],
}

macro_rules! arrows {
    ($($from:ident => $to:ident : $($cause:ident),+ ;)*) => {
        /// The table of legal arrows. Any other stops a debug build, and is counted in others.
        pub const ARROWS: &[Arrow] = &[
            $(Arrow { from: State::$from, to: State::$to, causes: &[$(Cause::$cause),+] },)*
        ];
    };
}

arrows! {
    Closed => Listen: Listen;
    Closed => SynSent: Connect;
    Closed => NewSynRecv: Syn;
    Closed => SynReceived: Syn, Handshake;
    Listen => Closed: Close, Shutdown, Abort, Killed;
    SynSent => Established: Handshake;
    SynSent => SynReceived: Syn;
    SynSent => Closed: Close, Shutdown, LingerZero, Abort, Reset, SynTimeout, UserTimeout, Icmp, Killed;
    NewSynRecv => SynReceived: Handshake;
    NewSynRecv => Closed: Reset, UnexpectedSyn, SynAckTimeout, ListenerClosed, Refused, Icmp, ResourceLimit,
        Killed;
    SynReceived => Established: Handshake;
    SynReceived => FinWait1: Close, Shutdown;
    SynReceived => Closed: LingerZero, Abort, UnreadData, Reset, RetransmissionTimeout, UserTimeout, Icmp,
        ResourceLimit, ListenerClosed, DataAfterClose, Killed;
    Established => FinWait1: Close, Shutdown;
    Established => CloseWait: Fin;
    Established => Closed: UnreadData, LingerZero, Abort, Reset, RetransmissionTimeout, ZeroWindowTimeout,
        KeepAliveTimeout, UserTimeout, ResourceLimit, ListenerClosed, Killed;
    FinWait1 => FinWait2: FinAcked;
    FinWait1 => Closing: Fin;
    FinWait1 => Closed: OrphanTimeout, UnreadData, LingerZero, Abort, Reset, DataAfterClose, NoFinWait2,
        RetransmissionTimeout, ZeroWindowTimeout, UserTimeout, ResourceLimit, ListenerClosed, Killed;
    FinWait2 => TimeWait: Fin;
    FinWait2 => Closed: OrphanTimeout, UnreadData, LingerZero, Abort, Reset, UnexpectedSyn, DataAfterClose,
        NoFinWait2, FinWait2Timeout, KeepAliveTimeout, UserTimeout, TimeWaitLimit, ResourceLimit,
        TimeWaitReuse, Killed;
    Closing => TimeWait: FinAcked;
    Closing => Closed: OrphanTimeout, UnreadData, LingerZero, Abort, Reset, RetransmissionTimeout,
        ZeroWindowTimeout, UserTimeout, ResourceLimit, TimeWaitLimit, Killed;
    TimeWait => Closed: TimeWaitExpired, TimeWaitReuse, TimeWaitLimit, Reset, Abort, Killed;
    CloseWait => LastAck: Close, Shutdown;
    CloseWait => Closed: UnreadData, LingerZero, Abort, Reset, RetransmissionTimeout, ZeroWindowTimeout,
        KeepAliveTimeout, UserTimeout, ResourceLimit, ListenerClosed, Killed;
    LastAck => Closed: OrphanTimeout, FinAcked, UnreadData, LingerZero, Abort, Reset, RetransmissionTimeout,
        ZeroWindowTimeout, UserTimeout, ResourceLimit, Killed;
}

/// Whether the table has this arrow with this cause.
#[must_use]
pub const fn is_legal(from: State, to: State, cause: Cause) -> bool {
    LEGAL[from as usize][to as usize] & 1 << cause as u32 != 0
}

/// [`ARROWS`] as a matrix of bit sets of causes, made by the compiler.
const LEGAL: [[u64; State::ALL.len()]; State::ALL.len()] = {
    let mut matrix = [[0; State::ALL.len()]; State::ALL.len()];
    let mut i = 0;
    while i < ARROWS.len() {
        let arrow = &ARROWS[i];
        let mut j = 0;
        while j < arrow.causes.len() {
            matrix[arrow.from as usize][arrow.to as usize] |= 1 << arrow.causes[j] as u32;
            j += 1;
        }
        i += 1;
    }
    matrix
};

/// The table as text, one arrow a line: for people and for the reviewed snapshot.
pub fn write_table(out: &mut dyn fmt::Write) -> fmt::Result {
    for a in ARROWS {
        write!(out, "{:<12} -> {:<12} ", a.from.name(), a.to.name())?;
        for (i, c) in a.causes.iter().enumerate() {
            write!(out, "{}{c}", if i == 0 { "" } else { ", " })?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The table as a Graphviz graph.
pub fn write_graphviz(out: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(out, "digraph tcp {{\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];")?;
    for a in ARROWS {
        write!(out, "  {} -> {} [label=\"", a.from.name(), a.to.name())?;
        for (i, c) in a.causes.iter().enumerate() {
            write!(out, "{}{c}", if i == 0 { "" } else { "\\n" })?;
        }
        writeln!(out, "\"];")?;
    }
    writeln!(out, "}}")
}

//! The committed list: what the applications do, and what the network and the clock may do against them.

use crate::program::{Do, Programs, address};
use crate::world::Budget;
use lastack_core::{Cidr, TcpConfig};
use lastack_sim::Side;

/// R2 of every configuration: more repeats than the budgets can use up, fewer than by default.
pub(crate) const RETRIES2: u8 = 8;

/// A bounded world to explore.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Name for the command line: the scenario, a slash, the budget.
    pub name: String,
    /// What the applications do, in a sentence.
    pub summary: &'static str,
    /// Timestamps are offered (RFC 7323).
    pub timestamps: bool,
    /// It is small enough for the list that is explored whole every time.
    pub short: bool,
    /// What may go wrong.
    pub budget: Budget,
    /// A fault on purpose, in both stacks.
    #[cfg(feature = "deliberate-bugs")]
    pub bug: Option<lastack_core::DeliberateBug>,
    pub(crate) programs: Programs,
}

impl Configuration {
    /// What differs from the defaults.
    pub(crate) fn tune(&self, tcp: &mut TcpConfig) {
        tcp.timestamps = self.timestamps;
        tcp.syn_linear_timeouts = 0;
        tcp.retries2 = RETRIES2;
        tcp.close_wait_watchdog = None;
        #[cfg(feature = "deliberate-bugs")]
        {
            tcp.deliberate_bug = self.bug;
        }
    }

    pub(crate) fn network(&self, side: Side) -> Cidr {
        Cidr::new(address(side).ip(), 24).expect("an IPv4 prefix")
    }
}

/// What the network may do, by name.
const BUDGETS: [(&str, Budget); 6] = [
    ("reorder", Budget { losses: 0, duplicates: 0, early_timers: 0 }),
    ("loss", Budget { losses: 1, duplicates: 0, early_timers: 0 }),
    ("duplicate", Budget { losses: 0, duplicates: 1, early_timers: 0 }),
    ("timer", Budget { losses: 0, duplicates: 0, early_timers: 1 }),
    ("losses", Budget { losses: 2, duplicates: 1, early_timers: 0 }),
    ("worst", Budget { losses: 2, duplicates: 1, early_timers: 1 }),
];

struct Scenario {
    name: &'static str,
    summary: &'static str,
    /// Budgets with which it is on the short list.
    short: &'static [&'static str],
    a: [&'static [Do]; 2],
    b: [&'static [Do]; 2],
}

/// Nothing in a second thread.
const NONE: &[Do] = &[];

// Who only waits, for a peer that may vanish, needs keep-alive: a reset can be lost, or overtake the bytes before it and be
// taken for forged (RFC 5961 3.2), and it is not repeated.
#[rustfmt::skip]
const SCENARIOS: &[Scenario] = {
    use Do::{
        Abort, Accept, Close, CloseLingerZero, CloseListener, Connect, Connected, Join, KeepAlive, Listen, PowerOff,
        Read, ReadToEnd, Reboot, ShutdownWrite, Write,
    };
    &[
        Scenario {
            name: "client-closes", summary: "the client sends a byte and closes; the server reads to the end and closes",
            short: &["reorder", "loss", "duplicate", "timer", "losses"],
            a: [&[Connect, Connected, Write(1), Close], NONE],
            b: [&[Listen, Accept, CloseListener, ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "server-closes", summary: "the server sends a byte and closes; the client reads to the end and closes",
            short: &["reorder", "loss", "duplicate", "timer", "losses"],
            a: [&[Connect, Connected, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), Close], NONE],
        },
        Scenario {
            name: "both-close", summary: "both send a byte and shut their direction, at once or not",
            short: &[],
            a: [&[Connect, Connected, Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "both-close-early", summary: "both close without a byte, perhaps before the handshake is over",
            short: &["reorder", "loss", "duplicate", "timer", "losses"],
            a: [&[Connect, Connected, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Close], NONE],
        },
        Scenario {
            name: "half-close", summary: "request, end of file, a reply of two segments, end of file",
            short: &["reorder"],
            a: [&[Connect, Connected, Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, ReadToEnd, Write(1), Write(1), Close], NONE],
        },
        Scenario {
            name: "request-reply", summary: "a request, a reply, the client closes first",
            short: &["reorder", "loss", "duplicate", "timer", "losses"],
            a: [&[Connect, Connected, Write(1), Read(1), Close], NONE],
            b: [&[Listen, Accept, CloseListener, Read(1), Write(1), ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "three-segments", summary: "the client sends three segments and closes",
            short: &["reorder"],
            a: [&[Connect, Connected, Write(1), Write(1), Write(1), Close], NONE],
            b: [&[Listen, Accept, CloseListener, ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "duplex", summary: "readers and writers of their own; two segments each way, then both shut",
            short: &[],
            a: [&[Connect, Connected, Write(1), Write(1), ShutdownWrite, Join, Close], &[ReadToEnd]],
            b: [&[Listen, Accept, CloseListener, Write(1), Write(1), ShutdownWrite, Join, Close], &[ReadToEnd]],
        },
        Scenario {
            name: "three-replies", summary: "three segments and an end of file, then three back",
            short: &[],
            a: [&[Connect, Connected, Write(1), Write(1), Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, ReadToEnd, Write(1), Write(1), Write(1), Close], NONE],
        },
        Scenario {
            name: "three-each", summary: "readers and writers of their own; three segments each way, then both shut",
            short: &[],
            a: [&[Connect, Connected, Write(1), Write(1), Write(1), ShutdownWrite, Join, Close], &[ReadToEnd]],
            b: [&[Listen, Accept, CloseListener, Write(1), Write(1), Write(1), ShutdownWrite, Join, Close], &[ReadToEnd]],
        },
        Scenario {
            name: "three-each-abort", summary: "three segments each way; the client aborts behind its own",
            short: &[],
            a: [&[Connect, Connected, Write(1), Write(1), Write(1), Abort], NONE],
            b: [&[Listen, Accept, KeepAlive, CloseListener, Write(1), Write(1), Write(1), ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "three-each-reboot", summary: "three segments each way; the server's machine crashes and comes back",
            short: &[],
            a: [&[Connect, Connected, KeepAlive, Write(1), Write(1), Write(1), ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), Write(1), Write(1), Reboot], NONE],
        },
        Scenario {
            name: "abort", summary: "the client sends two segments and aborts",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, Write(1), Write(1), Abort], NONE],
            b: [&[Listen, Accept, KeepAlive, CloseListener, ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "linger-zero", summary: "the server closes with linger 0 after a byte, while the client shuts",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, KeepAlive, Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), CloseLingerZero], NONE],
        },
        Scenario {
            name: "server-aborts", summary: "the server aborts after a byte, while the client shuts",
            short: &["reorder"],
            a: [&[Connect, Connected, KeepAlive, Write(1), ShutdownWrite, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), Abort], NONE],
        },
        Scenario {
            name: "client-linger-zero", summary: "the client closes with linger 0 after two segments",
            short: &["reorder"],
            a: [&[Connect, Connected, Write(1), Write(1), CloseLingerZero], NONE],
            b: [&[Listen, Accept, KeepAlive, CloseListener, ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "unread", summary: "the server closes while bytes are unread or on their way",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, KeepAlive, Write(1), Write(1), ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Close], NONE],
        },
        Scenario {
            name: "reboot", summary: "the server's machine crashes and comes back; the client still sends",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, KeepAlive, Write(1), Write(1), ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Read(1), Reboot], NONE],
        },
        Scenario {
            name: "client-reboots", summary: "the client's machine crashes and comes back; the server answers",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, Write(1), Reboot], NONE],
            b: [&[Listen, Accept, KeepAlive, CloseListener, Read(1), Write(1), ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "client-power-off", summary: "the client's machine falls silent after a byte; the server answers",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, Write(1), PowerOff], NONE],
            b: [&[Listen, Accept, KeepAlive, CloseListener, Read(1), Write(1), ReadToEnd, Close], NONE],
        },
        Scenario {
            name: "power-off", summary: "the server's machine falls silent while the client sends",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, KeepAlive, Write(1), Write(1), ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Read(1), PowerOff], NONE],
        },
        Scenario {
            name: "silent-keepalive", summary: "the server falls silent, the client only reads, with keep-alive",
            short: &["reorder", "loss", "duplicate"],
            a: [&[Connect, Connected, KeepAlive, ReadToEnd, Close], NONE],
            b: [&[Listen, Accept, CloseListener, Write(1), PowerOff], NONE],
        },
        Scenario {
            name: "orphan-silent", summary: "the client closes, the server's machine falls silent",
            short: &["reorder", "loss", "duplicate", "timer", "losses"],
            a: [&[Connect, Connected, Write(1), Close], NONE],
            b: [&[Listen, Accept, CloseListener, PowerOff], NONE],
        },
        Scenario {
            name: "no-listener", summary: "nobody listens: the client is refused",
            short: &["reorder", "loss", "duplicate", "timer", "losses", "worst"],
            a: [&[Connect, Connected, Close], NONE],
            b: [NONE, NONE],
        },
        Scenario {
            name: "listener-goes", summary: "the listener closes before anybody is accepted",
            short: &["reorder", "loss", "duplicate", "timer", "losses", "worst"],
            a: [&[Connect, Connected, KeepAlive, Write(1), ReadToEnd, Close], NONE],
            b: [&[Listen, CloseListener], NONE],
        },
    ]
};

/// Every configuration, by scenario and budget.
#[must_use]
pub fn configurations() -> Vec<Configuration> {
    let configuration =
        |scenario: &Scenario, (budget_name, budget): &(&str, Budget), timestamps| Configuration {
            name: format!("{}/{budget_name}{}", scenario.name, if timestamps { "+ts" } else { "" }),
            summary: scenario.summary,
            timestamps,
            short: scenario.short.contains(budget_name),
            budget: *budget,
            #[cfg(feature = "deliberate-bugs")]
            bug: None,
            programs: Programs::default()
                .main(Side::A, scenario.a[0])
                .second(Side::A, scenario.a[1])
                .main(Side::B, scenario.b[0])
                .second(Side::B, scenario.b[1]),
        };
    let all = SCENARIOS.iter().flat_map(|scenario| {
        BUDGETS.iter().flat_map(move |budget| [false, true].map(|ts| configuration(scenario, budget, ts)))
    });
    all.collect()
}

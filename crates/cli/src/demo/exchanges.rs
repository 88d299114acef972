//! The canonical exchanges W1 to W16 and TC-1 to TC-4: how connections end, as RFC 9293, RFC 5961 and Linux have it.

use super::scenario::{Cast, END, LATER, PORT, Play, REQUEST, RESPONSE};
use super::scenario::{address, closing_listener, graceful, service, simultaneous, unread_data};
use lastack_core::wire::tcp::Flags;
use lastack_core::{Instant, Shutdown, TcpOption};
use lastack_sim::{Act, Fate, Pair, Peer, Rule, Side, segment_of};
use std::time::Duration;

/// B's window where it is small.
const SMALL_WINDOW: usize = 2048;
/// What a segment carries to a window that has never been larger: half of it.
const HALF_WINDOW: usize = SMALL_WINDOW / 2;
/// A's service, where A is the one that listens.
const PORT_OF_A: u16 = 80;
/// B's port, where it connects twice from the same.
const PORT_OF_B: u16 = 40_000;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn play(name: &'static str, title: &'static str, summary: &'static str, cast: fn() -> Cast) -> Play {
    Play { name, title, summary, has_opening: true, cast }
}

pub(super) const W1: Play =
    play("w1", "W1: the normal close", "A closes first, B a little later; A keeps TIME_WAIT.", graceful);

pub(super) const W2: Play = play(
    "w2",
    "W2: three segments",
    "B closes as soon as it reads the end: its FIN acknowledges A's in one segment.",
    || Cast::default().client([Act::Close]).server([Act::ReadToEnd, Act::Close]),
);

pub(super) const W3: Play = play(
    "w3",
    "W3: simultaneous close",
    "The FINs cross: both sides go through CLOSING, and both keep TIME_WAIT.",
    simultaneous,
);

pub(super) const W4: Play = play(
    "w4",
    "W4: the last acknowledgement is lost",
    "B repeats its FIN; A answers from TIME_WAIT, which begins anew.",
    || graceful().rule(lose_last_ack()),
);

pub(super) const W5: Play = play(
    "w5",
    "W5: half-close",
    "A ends its direction; B sends 5000 bytes in the course of an hour, and A reads them.",
    || {
        let mut end = vec![Act::ReadToEnd];
        for _ in 0..5 {
            end.extend([Act::Sleep(Duration::from_secs(690)), Act::Write(1000)]);
        }
        end.push(Act::Close);
        Cast::default().client([Act::Shutdown(Shutdown::Write), Act::ReadToEnd, Act::Close]).server(end)
    },
);

pub(super) const W6: Play = play(
    "w6",
    "W6: the FIN behind data",
    "A closes with four segments to send and a window for two: FIN_WAIT_1 at once, the FIN last.",
    || {
        let client =
            [Act::Connect(service(PORT)), Act::Until(END), Act::Write(4 * HALF_WINDOW - 100), Act::Close];
        slow_server([Act::ReadSlowly(HALF_WINDOW, ms(200)), Act::Close]).program(Side::A, client)
    },
);

pub(super) const W7: Play = Play {
    name: "w7",
    title: "W7: the FIN overtakes data",
    summary: "B's last 100 bytes are late: A holds the FIN until they are there.",
    has_opening: false,
    cast: || {
        let server = [
            Act::Listen(service(PORT)),
            Act::Accept,
            Act::Until(END),
            Act::Write(100),
            Act::Sleep(ms(1)),
            Act::Close,
        ];
        let client = [Act::Connect(service(PORT)), Act::ReadToEnd, Act::Sleep(LATER), Act::Close];
        Cast::default().program(Side::B, server).program(Side::A, client).rule(hold_back_first_data())
    },
};

pub(super) const W8: Play = play(
    "w8",
    "W8: data for an orphan",
    "A has read all and closed; B sends more, which nobody can read: a RST.",
    || {
        let server = [
            Act::ReadToEnd,
            Act::Sleep(LATER),
            Act::Write(100),
            Act::Sleep(ms(50)),
            Act::Write(100),
            Act::Close,
        ];
        Cast::default().client([Act::Close]).server(server)
    },
);

pub(super) const W9: Play = play(
    "w9",
    "W9: unread data at the close",
    "A closes without having read B's answer: a RST, and never a FIN.",
    unread_data,
);

pub(super) const W10: Play = play(
    "w10",
    "W10: linger 0",
    "A closes with linger 0: a RST; B reads what has come, then ECONNRESET.",
    || {
        let linger = Act::Option("SO_LINGER 0", TcpOption::Linger(Some(Duration::ZERO)));
        Cast::default().client([Act::Write(50), Act::Sleep(ms(100)), linger, Act::Close]).server([
            Act::Until(Instant::from_millis(300)),
            Act::ReadToEnd,
            Act::Write(1),
            Act::Close,
        ])
    },
);

pub(super) const W11: Play = play(
    "w11",
    "W11: a blind RST",
    "A forged RST is challenged; B ignores the question, or, if it has restarted, answers with a RST.",
    || {
        Cast::default()
            .client([Act::ReadToEnd, Act::Close])
            .server([Act::Until(Instant::from_millis(300)), Act::Write(100)])
            .at(Instant::from_millis(200), blind_reset)
            .at(Instant::from_millis(600), |pair| pair.reboot(Side::B))
            .at(Instant::from_millis(1000), blind_reset)
    },
);

pub(super) const W12: Play = play(
    "w12",
    "W12: FIN_WAIT_2 ends",
    "A has closed, B never does: A forgets the connection after 60 s, and what B sends later draws a RST.",
    || {
        let server = [
            Act::ReadToEnd,
            Act::Sleep(Duration::from_secs(90)),
            Act::Write(100),
            Act::ReadToEnd,
            Act::Sleep(ms(50)),
            Act::Write(1),
            Act::Close,
        ];
        Cast::default().client([Act::Close]).server(server)
    },
);

pub(super) const W13: Play = play(
    "w13",
    "W13: a new connection out of TIME_WAIT",
    "B comes back from the same port: A's SYN-ACK begins 65,537 behind its last number of before.",
    || {
        let a = address(Side::A, PORT_OF_A);
        let b = address(Side::B, PORT_OF_B);
        let listening = [
            Act::Listen(a),
            Act::Accept,
            Act::Read(REQUEST),
            Act::Write(RESPONSE),
            Act::Until(END),
            Act::Close,
        ];
        let again = [Act::Accept, Act::ReadToEnd, Act::Close];
        let first =
            [Act::ConnectFrom(b, a), Act::Write(REQUEST), Act::Read(RESPONSE), Act::ReadToEnd, Act::Close];
        let second = [Act::Until(Instant::from_secs(3)), Act::ConnectFrom(b, a), Act::Close];
        Cast::default()
            .program(Side::A, listening.into_iter().chain(again))
            .program(Side::B, first.into_iter().chain(second))
    },
);

pub(super) const W14: Play = Play {
    name: "w14",
    title: "W14: a listener closes",
    summary: "A completed connection gets a RST; a half-open one nothing, until its next segment draws one.",
    has_opening: false,
    cast: closing_listener,
};

pub(super) const W15: Play = Play {
    name: "w15",
    title: "W15: close in SYN_SENT",
    summary: "A closes before the answer comes: nothing is sent, and the SYN-ACK draws a RST.",
    has_opening: false,
    cast: || {
        Cast::default()
            .program(Side::B, [Act::Listen(service(PORT))])
            .program(Side::A, [Act::Begin(service(PORT)), Act::Sleep(ms(5)), Act::Close])
    },
};

pub(super) const W16: Play = play(
    "w16",
    "W16: close behind a zero window",
    "A's FIN waits behind 10,000 bytes; B answers every probe, and yet A gives up, after 345 s.",
    || {
        let server = [Act::Until(Instant::from_secs(400)), Act::ReadToEnd, Act::Close];
        slow_server(server).program(Side::A, behind_a_window(10_000))
    },
);

pub(super) const TC1: Play = play(
    "tc1",
    "TC-1: close behind a zero window, and a silent peer",
    "FIN_WAIT_1 begins with the call; the probes stay unanswered, and the record is gone in its bound.",
    || {
        slow_server([Act::Sleep(Duration::from_secs(3000))])
            .program(Side::A, behind_a_window(10_000))
            .at(Instant::from_millis(300), |pair| pair.power_off(Side::B))
    },
);

pub(super) const TC2: Play = play(
    "tc2",
    "TC-2: all that was sent is acknowledged, the FIN was not sent",
    "An acknowledgement of data is none of the FIN: A stays in FIN_WAIT_1 until that has gone out.",
    || {
        let client = [Act::Connect(service(PORT)), Act::Until(END), Act::Write(3 * HALF_WINDOW), Act::Close];
        slow_server([Act::Until(Instant::from_millis(500)), Act::ReadToEnd, Act::Close])
            .program(Side::A, client)
    },
);

pub(super) const TC3: Play = play(
    "tc3",
    "TC-3: the same in LAST_ACK",
    "A closes after B with data behind the window: LAST_ACK until the FIN itself is acknowledged.",
    || {
        let client = [
            Act::Connect(service(PORT)),
            Act::ReadToEnd,
            Act::Until(Instant::from_millis(200)),
            Act::Write(3 * HALF_WINDOW),
            Act::Close,
        ];
        let server = [
            Act::Until(END),
            Act::Shutdown(Shutdown::Write),
            Act::Until(Instant::from_millis(500)),
            Act::ReadToEnd,
            Act::Close,
        ];
        slow_server(server).program(Side::A, client)
    },
);

pub(super) const TC4: Play = play(
    "tc4",
    "TC-4: abort in CLOSING with the FIN unsent",
    "Both close while A's FIN waits behind the window; A aborts: its FIN never left, so a RST does.",
    || {
        let client = [
            Act::Connect(service(PORT)),
            Act::Until(END),
            Act::Write(3 * HALF_WINDOW),
            Act::Shutdown(Shutdown::Write),
            Act::Until(Instant::from_millis(400)),
            Act::Abort,
        ];
        let server = [
            Act::Until(Instant::from_millis(200)),
            Act::Shutdown(Shutdown::Write),
            Act::Until(Instant::from_millis(500)),
            Act::ReadToEnd,
            Act::Close,
        ];
        slow_server(server).program(Side::A, client)
    },
);

/// B accepts with a small window, and then does this.
fn slow_server(end: impl IntoIterator<Item = Act>) -> Cast {
    let window = Act::Option("SO_RCVBUF 2048", TcpOption::RecvBuffer(SMALL_WINDOW));
    let start = [Act::Listen(service(PORT)), window, Act::Accept];
    Cast::default().program(Side::B, start.into_iter().chain(end))
}

/// A writes more than B's window takes, and closes once it is shut.
fn behind_a_window(len: usize) -> [Act; 5] {
    [
        Act::Connect(service(PORT)),
        Act::Until(END),
        Act::Write(len),
        Act::Until(Instant::from_millis(250)),
        Act::Close,
    ]
}

/// Loses A's first acknowledgement behind B's FIN.
fn lose_last_ack() -> Rule {
    let (mut closed, mut lost) = (false, false);
    Box::new(move |side, packet| {
        let Some((_, segment)) = segment_of(packet) else { return Fate::Deliver };
        if side == Side::B {
            closed |= segment.flags.contains(Flags::FIN);
        } else if closed && !lost {
            lost = true;
            return Fate::Lose;
        }
        Fate::Deliver
    })
}

/// Holds B's first segment with data back.
fn hold_back_first_data() -> Rule {
    let mut held = false;
    Box::new(move |side, packet| {
        let data = |packet| segment_of(packet).is_some_and(|(_, segment)| !segment.payload.is_empty());
        if side == Side::B && !held && data(packet) {
            held = true;
            return Fate::Delay(ms(50));
        }
        Fate::Deliver
    })
}

/// A stranger resets A in B's name, with a number that lies in the window but is not the next.
fn blind_reset(pair: &mut Pair) {
    if let Some(stranger) = Peer::impostor(pair, Side::B) {
        stranger.send(pair, Flags::RST, RESPONSE as i32 + 150, 0, &[]);
    }
}

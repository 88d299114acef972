//! A server that has fallen silent, and a program that is to notice it by its own timers.
//!
//! The host's kernel acknowledges nothing to lastack while it hears nothing from the server; lastack then acknowledges
//! nothing to the program. So the program's retransmissions, its user timeout and its keep-alive end the connection as
//! they would without a gateway. What lastack had acknowledged before it knew stays acknowledged.

use std::io;
use std::os::fd::AsFd;
use std::sync::Weak;
use std::task::Context;
use std::time::Duration;

use lastack::tokio::TcpStream as Inside;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::stage::{Line, Treatment};
use crate::sys;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Unanswered retransmissions or probes after which a server counts as silent.
const UNANSWERED: u8 = 2;
/// Looks without a segment of the program after which the host's probes end.
const PROBING: u8 = 5;

/// Watches one connection.
pub(crate) struct Silence {
    looks: Interval,
    host: Weak<TcpStream>,
    /// Segments of the program so far, and bytes.
    heard: (u32, u64),
    /// Looks that the host still probes for.
    probing: u8,
    silent: bool,
}

impl Silence {
    pub(crate) fn new(host: Weak<TcpStream>) -> Self {
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { looks, host, heard: (0, 0), probing: 0, silent: false }
    }

    /// The server was silent at the last look.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Looks if it is time to.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, inside: &Inside, line: &mut Line) {
        while self.looks.poll_tick(cx).is_ready() {
            // A socket that is gone or does not tell is not silent: its end is told by reading it.
            if self.look(inside, line).is_err() {
                self.probing = 0;
            }
        }
    }

    fn look(&mut self, inside: &Inside, line: &mut Line) -> io::Result<()> {
        let Some(host) = self.host.upgrade() else { return Ok(()) };
        let program = inside.info()?;
        let heard = (program.segs_in, program.bytes_received);
        // A segment without data on a quiet connection: it may be a keep-alive probe, which wants an answer of the server.
        if heard.0 != self.heard.0 && heard.1 == self.heard.1 && program.unacked == 0 {
            if self.probing == 0 {
                probe(&host, true)?;
            }
            self.probing = PROBING;
        }
        self.heard = heard;
        let (backoff, probes) = sys::unanswered(host.as_fd())?;
        let silent = backoff >= UNANSWERED || probes >= UNANSWERED;
        if silent != self.silent {
            self.silent = silent;
            line.set(Treatment::Deaf, silent);
        }
        if !silent && self.probing > 0 {
            self.probing -= 1;
            if self.probing == 0 {
                probe(&host, false)?;
            }
        }
        Ok(())
    }
}

/// Has the host's kernel ask the server whether it is there, once a second, or no more.
fn probe(host: &TcpStream, on: bool) -> io::Result<()> {
    /// As many as the kernel takes: whether to give up is the program's decision.
    const PROBES: u32 = 127;
    let socket = SockRef::from(host);
    socket.set_keepalive(on)?;
    if on {
        let often = TcpKeepalive::new().with_time(LOOK).with_interval(LOOK).with_retries(PROBES);
        socket.set_tcp_keepalive(&often)?;
    }
    Ok(())
}

//! What the scenarios in virtual time are built with.

use lastack_core::wire::tcp::{Flags, Segment};
use lastack_core::{Config, Counts, Error, Instant, Shutdown, State, TcpHandle, TcpOption};
use lastack_sim::{Fate, Link, Pair, Peer, Sent, Side, segment_of};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) use Side::{A, B};

/// Whether lastack did right; the error says what it did instead.
pub(super) type Verdict = Result<(), String>;

/// Fails with a message unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)*) => {
        if !$holds {
            return Err(format!($($message)*));
        }
    };
}
pub(super) use ensure;

/// Two values that have to be the same.
pub(super) fn same<T: PartialEq + Debug>(what: &str, got: T, right: T) -> Verdict {
    ensure!(got == right, "{what}: {got:?} instead of {right:?}");
    Ok(())
}

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Control bits by their names: `FIN,ACK`.
pub(super) fn flags(names: &str) -> Flags {
    Flags::all()
        .iter_names()
        .filter(|(name, _)| names.split(',').any(|n| n == *name))
        .map(|(_, f)| f)
        .collect()
}

/// The byte at a place of every stream: a byte too many, too few or at another place shows.
fn stream_byte(offset: usize) -> u8 {
    (offset % 251) as u8
}

const DELAY: Duration = ms(10);
const PORT: u16 = 80;
const ADDRESSES: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

pub(super) fn at(side: Side, port: u16) -> SocketAddr {
    (ADDRESSES[side as usize], port).into()
}

/// A connection between A, who opened it, and B, who listens on port 80. Each is lastack unless its side is off.
pub(super) struct World {
    pub(super) pair: Pair,
    /// The sockets of the two sides; `None` once closed.
    pub(super) sockets: [Option<TcpHandle>; 2],
    pub(super) listener: Option<TcpHandle>,
    /// Segments of the log that have been looked at.
    seen: usize,
    /// B, written by hand.
    pub(super) peer: Option<Peer>,
    addresses: [SocketAddr; 2],
    /// B has gone and is not there to be asked.
    silent: bool,
    /// Bytes that each side's present connection has written, and read.
    written: [usize; 2],
    read: [usize; 2],
}

/// Both stacks and a listener, and no connection yet.
pub(super) fn world(change: impl Fn(&mut Config)) -> Result<World, String> {
    let config = |side: Side| {
        let text = format!("{}/24", at(side, 0).ip());
        let mut config = Config { addresses: text.parse().into_iter().collect(), ..Config::default() };
        change(&mut config);
        config
    };
    let mut pair =
        Pair::new([config(A), config(B)], Link::perfect(1500, DELAY), *b"lastack bestiary: the same again");
    let stack = pair.stack(B);
    let listener = stack.tcp_socket();
    stack.tcp_bind(listener, at(B, PORT)).map_err(words)?;
    stack.tcp_listen(Instant::ZERO, listener, 128).map_err(words)?;
    let addresses = [at(A, 0), at(B, PORT)];
    Ok(World {
        pair,
        sockets: [None; 2],
        listener: Some(listener),
        seen: 0,
        peer: None,
        addresses,
        silent: false,
        written: [0; 2],
        read: [0; 2],
    })
}

/// A connection between two lastack stacks.
pub(super) fn connected() -> Result<World, String> {
    connected_with(|_| ())
}

/// The same with another configuration of both.
pub(super) fn connected_with(change: impl Fn(&mut Config)) -> Result<World, String> {
    let mut world = world(change)?;
    world.connect()?;
    world.accept()?;
    world.run(ms(200))?;
    world.take(A);
    Ok(world)
}

/// A connection whose far side takes 2048 bytes and no more until it reads.
pub(super) fn connected_to_a_slow_reader() -> Result<World, String> {
    let mut world = world(|_| ())?;
    if let Some(listener) = world.listener {
        let set = world.pair.stack(B).tcp_set_option(Instant::ZERO, listener, TcpOption::RecvBuffer(2048));
        set.map_err(words)?;
    }
    world.connect()?;
    world.accept()?;
    world.take(A);
    Ok(world)
}

/// A connection of A with a peer that is written by hand.
pub(super) fn connected_to_a_peer() -> Result<World, String> {
    let mut world = world(|_| ())?;
    world.pair.power_off(B);
    world.connect()?;
    let mut peer = Peer::new(B, at(B, PORT), at(A, 0));
    peer.learn(&world.pair)?;
    peer.send(&mut world.pair, Flags::SYN | Flags::ACK, -1, 0, &[]);
    world.peer = Some(peer);
    world.run(ms(100))?;
    world.take(A);
    same("state after the handshake", world.state(A), Some(State::Established))?;
    Ok(world)
}

/// A connection that a peer written by hand has opened to a listener of A.
pub(super) fn accepted_from_a_peer() -> Result<World, String> {
    let mut world = world(|_| ())?;
    world.pair.power_off(B);
    let now = world.pair.now();
    let stack = world.pair.stack(A);
    let listener = stack.tcp_socket();
    stack.tcp_bind(listener, at(A, PORT)).map_err(words)?;
    stack.tcp_listen(now, listener, 8).map_err(words)?;
    world.addresses = [at(A, PORT), at(B, 40_000)];
    let mut peer = Peer::new(B, at(B, 40_000), at(A, PORT));
    peer.send(&mut world.pair, Flags::SYN, -1, 0, &[]);
    world.run(ms(50))?;
    peer.learn(&world.pair)?;
    peer.send(&mut world.pair, Flags::ACK, 0, 0, &[]);
    world.peer = Some(peer);
    world.run(ms(50))?;
    world.sockets[0] = Some(world.pair.stack(A).tcp_accept(listener).map_err(words)?);
    // The stack of B is off and has no part in it: its place takes the listener of A.
    world.listener = Some(listener);
    world.take(A);
    Ok(world)
}

fn words(error: Error) -> String {
    error.to_string()
}

impl World {
    pub(super) fn connect(&mut self) -> Verdict {
        let now = self.pair.now();
        let stack = self.pair.stack(A);
        let socket = stack.tcp_socket();
        stack.tcp_connect(now, socket, at(B, PORT)).map_err(words)?;
        self.addresses = [stack.tcp_local_addr(socket).unwrap_or(at(A, 0)), at(B, PORT)];
        self.sockets[0] = Some(socket);
        (self.written[0], self.read[0]) = (0, 0);
        self.run(ms(50))
    }

    pub(super) fn accept(&mut self) -> Verdict {
        let listener = self.listener.ok_or("the listener is closed")?;
        self.sockets[1] = Some(self.pair.stack(B).tcp_accept(listener).map_err(words)?);
        (self.written[1], self.read[1]) = (0, 0);
        Ok(())
    }

    pub(super) fn run(&mut self, time: Duration) -> Verdict {
        self.pair.advance(time).map_err(|stalled| stalled.to_string())?;
        for side in [A, B] {
            let illegal = self.pair.stack(side).counters().illegal_transitions;
            same("transitions that the table does not have", illegal, 0)?;
        }
        Ok(())
    }

    /// What the link does with each segment from now on.
    pub(super) fn rule(&mut self, mut rule: impl FnMut(Side, &Segment<'_>) -> Fate + 'static) {
        self.pair.set_rule(Box::new(move |side, packet| match segment_of(packet) {
            Some((_, segment)) => rule(side, &segment),
            None => Fate::Deliver,
        }));
    }

    /// Loses the first `count` segments of a side that satisfy the condition, from now on.
    pub(super) fn lose(&mut self, side: Side, count: usize, which: impl Fn(&Segment<'_>) -> bool + 'static) {
        let mut left = count;
        self.rule(move |from, segment| {
            if left > 0 && from == side && which(segment) {
                left -= 1;
                return Fate::Lose;
            }
            Fate::Deliver
        });
    }

    /// B falls silent for good.
    pub(super) fn silence(&mut self) {
        self.silent = true;
        self.sockets[1] = None;
        self.pair.power_off(B);
    }

    /// Runs until the record of A is gone; seconds that it took.
    pub(super) fn seconds_until_gone(&mut self, limit: u64) -> Result<u64, String> {
        for second in 0..limit {
            if self.state(A).is_none() {
                return Ok(second);
            }
            self.run(secs(1))?;
        }
        Err(format!("A is still in {:?} after {limit} s", self.state(A)))
    }

    /// The socket of a side.
    pub(super) fn socket(&self, side: Side) -> Result<TcpHandle, String> {
        self.sockets[side as usize].ok_or_else(|| format!("the socket of {} is closed", side.name()))
    }

    pub(super) fn write(&mut self, side: Side, len: usize) -> Result<usize, String> {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        let from = self.written[side as usize];
        let data: Vec<u8> = (from..from + len).map(stream_byte).collect();
        let taken = self.pair.stack(side).tcp_write(now, socket, &data).map_err(words)?;
        self.written[side as usize] += taken;
        Ok(taken)
    }

    /// What a write gives, error and all.
    pub(super) fn try_write(&mut self, side: Side) -> Result<Result<usize, Error>, String> {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        let byte = stream_byte(self.written[side as usize]);
        let result = self.pair.stack(side).tcp_write(now, socket, &[byte]);
        self.written[side as usize] += result.unwrap_or(0);
        Ok(result)
    }

    /// What a read gives: so many bytes, or the error. What the other stack has sent has to be what was written there.
    pub(super) fn read(&mut self, side: Side) -> Result<Result<usize, Error>, String> {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        let mut buffer = vec![0; 65_536];
        let result = self.pair.stack(side).tcp_read(now, socket, &mut buffer);
        let from = self.read[side as usize];
        let mut bytes = buffer.iter().take(result.unwrap_or(0)).enumerate();
        if self.peer.is_none()
            && let Some((at, _)) = bytes.find(|(i, byte)| **byte != stream_byte(from + i))
        {
            return Err(format!("{} reads a wrong byte at {}", side.name(), from + at));
        }
        self.read[side as usize] += result.unwrap_or(0);
        Ok(result)
    }

    /// Reads what is there: bytes, and what ended it (`WouldBlock` if more may come).
    pub(super) fn drain(&mut self, side: Side) -> Result<(usize, Result<(), Error>), String> {
        let mut bytes = 0;
        loop {
            match self.read(side)? {
                Ok(0) => return Ok((bytes, Ok(()))),
                Ok(n) => bytes += n,
                Err(error) => return Ok((bytes, Err(error))),
            }
        }
    }

    /// Reads, with time passing, until the stream ends: bytes and how it ended.
    pub(super) fn drain_to_end(&mut self, side: Side) -> Result<(usize, Result<(), Error>), String> {
        let mut bytes = 0;
        for _ in 0..20_000 {
            let (more, end) = self.drain(side)?;
            bytes += more;
            if end != Err(Error::WouldBlock) {
                return Ok((bytes, end));
            }
            self.run(ms(20))?;
        }
        Err(format!("{}'s stream never ends; {bytes} bytes came", side.name()))
    }

    pub(super) fn shutdown(&mut self, side: Side, how: Shutdown) -> Verdict {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        self.pair.stack(side).tcp_shutdown(now, socket, how).map_err(words)
    }

    pub(super) fn close(&mut self, side: Side) -> Verdict {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        self.sockets[side as usize] = None;
        self.pair.stack(side).tcp_close(now, socket);
        Ok(())
    }

    pub(super) fn abort(&mut self, side: Side) -> Verdict {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        self.sockets[side as usize] = None;
        self.pair.stack(side).tcp_abort(now, socket);
        Ok(())
    }

    pub(super) fn option(&mut self, side: Side, option: TcpOption) -> Verdict {
        let (now, socket) = (self.pair.now(), self.socket(side)?);
        self.pair.stack(side).tcp_set_option(now, socket, option).map_err(words)
    }

    /// State of the record of the connection, of whatever size; `None`: there is none.
    pub(super) fn state(&mut self, side: Side) -> Option<State> {
        let [a, b] = self.addresses;
        let (local, remote) = if side == A { (a, b) } else { (b, a) };
        self.pair.stack(side).tcp_record_state(local, remote)
    }

    pub(super) fn is(&mut self, side: Side, state: State) -> Verdict {
        same(&format!("state of {}", side.name()), self.state(side), Some(state))
    }

    pub(super) fn is_gone(&mut self, side: Side) -> Verdict {
        same(&format!("record of {}", side.name()), self.state(side), None)
    }

    /// The peer that is written by hand says this.
    pub(super) fn say(&mut self, names: &str, seq: i32, ack: i32, payload: &[u8]) -> Verdict {
        let peer = self.peer.ok_or("there is no peer written by hand")?;
        peer.send(&mut self.pair, flags(names), seq, ack, payload);
        self.run(ms(60))
    }

    /// Segments of a side since the last look at either side.
    pub(super) fn segments(&mut self, side: Side) -> Vec<Sent> {
        let all = self.pair.log().segments();
        let new = all.iter().skip(self.seen).filter(|s| s.from == side && !s.by_hand).copied().collect();
        self.seen = all.len();
        new
    }

    /// The same as text: `FIN,ACK 100(0) ack 300`.
    pub(super) fn take(&mut self, side: Side) -> Vec<String> {
        self.segments(side).iter().map(Sent::text).collect()
    }

    pub(super) fn sent(&mut self, side: Side, right: &[&str]) -> Verdict {
        let sent = self.take(side);
        ensure!(sent == right, "{} sent {sent:?} instead of {right:?}", side.name());
        Ok(())
    }

    /// All segments of a side from the start.
    pub(super) fn every_segment(&self, side: Side) -> Vec<Sent> {
        self.pair.log().segments().into_iter().filter(|s| s.from == side && !s.by_hand).collect()
    }

    /// How often a side sent a segment with these bits.
    pub(super) fn count(&self, side: Side, bits: Flags) -> usize {
        self.every_segment(side).iter().filter(|s| s.has(bits)).count()
    }

    pub(super) fn path(&self, side: Side) -> Vec<State> {
        self.pair.log().path(side)
    }

    pub(super) fn ends_with(&self, side: Side, states: &[State]) -> Verdict {
        let path = self.path(side);
        ensure!(path.ends_with(states), "{} went {path:?}, and not {states:?} at the end", side.name());
        Ok(())
    }

    pub(super) fn counts(&mut self, side: Side) -> Counts {
        self.pair.stack(side).counts()
    }

    /// Everybody lets go; after seven minutes nothing may be left of anything.
    pub(super) fn leaves_nothing(self) -> Verdict {
        self.leaves_nothing_in(secs(420))
    }

    /// The same after another time.
    pub(super) fn leaves_nothing_in(mut self, time: Duration) -> Verdict {
        let now = self.pair.now();
        for side in [A, B] {
            if self.sockets[side as usize].is_some() {
                self.close(side)?;
            }
        }
        if let Some(listener) = self.listener.take() {
            let side = if self.peer.is_some() && self.addresses[0].port() == PORT { A } else { B };
            self.pair.stack(side).tcp_close(now, listener);
        }
        self.run(time)?;
        same("what A has left", self.counts(A), Counts::default())?;
        // A side that is off is not lastack.
        if self.peer.is_none() && !self.silent {
            same("what B has left", self.counts(B), Counts::default())?;
        }
        Ok(())
    }
}

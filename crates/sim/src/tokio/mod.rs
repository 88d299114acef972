//! Programs for tokio, unchanged, on simulated hosts and in virtual time.
//!
//! An [`AsyncNetwork`] is the network of a [`Scenario`], whose flows are left out, with a [`Host`] for each host: the same
//! [`Host`] that real programs use, with the sockets of [`lastack::tokio`]. What [`AsyncNetwork::run`] is given runs on
//! tokio's own single-threaded runtime with its clock paused, so `tokio::spawn`, `tokio::time` and everything built on
//! them work, and an hour of waiting costs nothing.
//!
//! ```
//! use lastack::tokio::{TcpListener, TcpStream};
//! use lastack_sim::{AsyncNetwork, Scenario};
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let scenario = Scenario::parse(r#"
//!     name = "pair"
//!     summary = "two hosts, 300 ms apart, that lose every tenth packet"
//!     host = [{ name = "client" }, { name = "server" }]
//!     link = [{ between = ["client", "server"], both = { delay = "300ms", loss = "10%" } }]
//! "#)?;
//! let mut network = AsyncNetwork::new(&scenario, 1)?;
//! let (client, server) = (network.host("client").unwrap(), network.host("server").unwrap());
//! let at = (network.address("server").unwrap(), 80);
//! let (text, took) = network.run(Duration::from_secs(600), async move {
//!     let listener = TcpListener::bind(&server, at).await?;
//!     tokio::spawn(async move {
//!         let (mut stream, _) = listener.accept().await?;
//!         stream.write_all(b"hello").await
//!     });
//!     let start = tokio::time::Instant::now();
//!     let mut text = String::new();
//!     TcpStream::connect(&client, at).await?.read_to_string(&mut text).await?;
//!     Ok::<_, std::io::Error>((text, start.elapsed()))
//! })?.map_err(|error| error.to_string())?;
//! assert_eq!(text, "hello");
//! assert!(took >= Duration::from_millis(1200), "a round trip to connect, and one for the text");
//! # Ok::<(), String>(())
//! ```
//!
//! The same program, scenario and seed give the same packets at the same times, as long as the program itself draws on
//! nothing else: no real clock (an HTTP server's `Date`), no random numbers (`tokio::select!` without `biased`), no
//! hash maps walked in their order, no other threads.
//!
//! tokio's timers count milliseconds. Packets do not: they arrive to the nanosecond.

mod port;

use crate::net::{Dice, Network, Purpose, address};
use crate::report::LinkReport;
use crate::run::link_report;
use crate::scenario::{Scenario, StackKind};
use crate::{Fault, net};
use ::tokio::runtime::{Builder, Runtime};
use ::tokio::time::{Instant as TokioInstant, advance, sleep_until};
use lastack::{Driver, Host, Turn};
use lastack_core::Instant;
use port::{Bell, Port, VirtualClock};
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The step of tokio's timers.
const TICK: u64 = 1_000_000;
/// Rounds at one instant before a run is called stalled.
const ROUNDS: u32 = 1_000_000;

/// Why [`AsyncNetwork::run`] stopped before the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The limit of virtual time has passed. The program may wait for something that never comes.
    TimeLimit,
    /// Tasks wake each other without end at one instant.
    Stalled,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeLimit => "the program did not end within its limit of virtual time",
            Self::Stalled => "the program never lets time pass",
        })
    }
}

impl std::error::Error for Stopped {}

impl From<Stopped> for String {
    fn from(stopped: Stopped) -> Self {
        stopped.to_string()
    }
}

/// A host with what drives it.
struct Seat {
    host: Host,
    driver: Driver,
    port: Port,
    /// When the driver wants another turn; `None`: not before something happens.
    deadline: Option<Instant>,
    touched: bool,
}

/// The network of a scenario, with hosts for programs that use tokio. See the [module](self).
pub struct AsyncNetwork {
    scenario: Scenario,
    net: Network,
    seats: Vec<Seat>,
    bell: Arc<Bell>,
    clock: VirtualClock,
    // Last, so that tasks that are still there find their hosts when they are dropped.
    runtime: Runtime,
}

impl AsyncNetwork {
    /// Makes the network. The scenario's flows are left out; its hosts all have to run lastack, without outages.
    ///
    /// # Errors
    /// What is wrong with the scenario.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, String> {
        let mut scenario = scenario.clone();
        scenario.flows.clear();
        scenario.check()?;
        let bell = Arc::new(Bell::default());
        let for_hook = Arc::clone(&bell);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || for_hook.idle())
            .build()
            .map_err(|error| format!("tokio's runtime does not start: {error}"))?;
        let clock = VirtualClock::new(runtime.block_on(async { TokioInstant::now() }));
        let net = Network::new(&scenario, seed)?;
        let mut seats = Vec::new();
        for (number, spec) in scenario.hosts.iter().enumerate() {
            if spec.stack != StackKind::Lastack || !spec.outages.is_empty() {
                return Err(format!(
                    "host {}: programs need a host that runs lastack, without outages",
                    spec.name
                ));
            }
            let config = crate::node::configuration(spec, address(scenario.ip, number))?;
            let port = Port::new(net.mtu(number), Arc::clone(&bell));
            let secret = Dice::new(seed, Purpose::Stack, (number as u64) << 32).seed();
            let builder =
                Host::builder().config(config).device(port.clone()).clock(clock.clone()).seed(secret);
            let (host, driver) =
                builder.start_stepped().map_err(|error| format!("host {}: {error}", spec.name))?;
            seats.push(Seat { host, driver, port, deadline: None, touched: true });
        }
        Ok(Self { scenario, net, seats, bell, clock, runtime })
    }

    /// The host of a name, for the sockets of [`lastack::tokio`].
    #[must_use]
    pub fn host(&self, name: &str) -> Option<Host> {
        let number = self.scenario.hosts.iter().position(|host| host.name == name)?;
        Some(self.seats[number].host.clone())
    }

    /// A host's address.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        let number = self.scenario.hosts.iter().position(|host| host.name == name)?;
        Some(address(self.scenario.ip, number))
    }

    /// The virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.read() - Instant::ZERO
    }

    /// Runs a program until it is done, for at most `limit` of virtual time. Tasks that it spawned stay, and go on
    /// with the next call.
    ///
    /// # Errors
    /// It was not done in time.
    pub fn run<F: Future>(&mut self, limit: Duration, program: F) -> Result<F::Output, Stopped> {
        let Self { net, seats, bell, clock, runtime, .. } = self;
        let end = clock.read() + limit;
        let mut world = Running { net, seats, bell, clock, end };
        runtime.block_on(async {
            let mut program = pin!(program);
            let mut world = pin!(world.drive());
            // One after the other, always: `select!` would throw dice.
            poll_fn(|cx| match program.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => world.as_mut().poll(cx).map(Err),
            })
            .await
        })
    }

    /// Every packet that every host sent so far, with its time, as one number in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:016x}", self.net.digest.value())
    }

    /// Packets that hosts sent so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.net.digest.packets
    }

    /// What the directions of the links did so far.
    #[must_use]
    pub fn links(&self) -> Vec<LinkReport> {
        self.net.pipes.iter().map(|pipe| link_report(&self.scenario, pipe)).collect()
    }

    /// What was asked for, and how often it has happened so far.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.net.faults(&self.scenario)
    }
}

impl fmt::Debug for AsyncNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncNetwork").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// What moves packets and time during a run.
struct Running<'a> {
    net: &'a mut net::Network,
    seats: &'a mut [Seat],
    bell: &'a Bell,
    clock: &'a VirtualClock,
    end: Instant,
}

impl Running<'_> {
    /// Lets packets and time pass, until the limit.
    async fn drive(&mut self) -> Stopped {
        let (mut rounds, mut last) = (0, Instant::ZERO);
        loop {
            let now = self.clock.read();
            rounds = if now > last { 0 } else { rounds + 1 };
            last = now;
            if rounds > ROUNDS {
                return Stopped::Stalled;
            }
            if now >= self.end {
                return Stopped::TimeLimit;
            }
            self.step(now);
            // The first one lets tokio's timers that are due wake their tasks, the second one lets those run.
            self.bell.all_idle().await;
            self.bell.all_idle().await;
            if !self.bell.take_kick() && self.next().is_none_or(|next| next > now) {
                self.wait(now).await;
            }
        }
    }

    /// When something is due.
    fn next(&self) -> Option<Instant> {
        let deadlines = self.seats.iter().filter_map(|seat| seat.deadline);
        deadlines.chain(self.net.next_time()).min()
    }

    /// Everything that can be done at this time.
    fn step(&mut self, now: Instant) {
        let Self { net, seats, .. } = self;
        net.step(now, |host, packet| {
            seats[host].port.arrive(packet);
            seats[host].touched = true;
            true
        });
        for (number, seat) in seats.iter_mut().enumerate() {
            let due = seat.deadline.is_some_and(|at| at <= now);
            if !(seat.touched || due || seat.port.take_kick()) {
                continue;
            }
            seat.touched = false;
            seat.deadline = loop {
                match seat.driver.turn() {
                    Turn::Again => {}
                    Turn::Wait(deadline) => break deadline,
                    Turn::Over => break None,
                }
            };
            seat.port.send(|packet| net.send(now, number, packet));
        }
    }

    /// Nothing can be done now. tokio moves the clock to its next timer when everybody waits, by whole ticks and only right
    /// from a whole tick; so from one tick to the next the clock is moved here, and for longer a timer is set.
    async fn wait(&self, now: Instant) {
        let next = self.next().map_or(self.end, |next| next.min(self.end)).as_nanos();
        let now = now.as_nanos();
        let tick = (now / TICK + 1) * TICK;
        if !now.is_multiple_of(TICK) || next < tick {
            return advance(Duration::from_nanos(next.min(tick) - now)).await;
        }
        let mut sleep = pin!(sleep_until(self.clock.at(Instant::from_nanos(next / TICK * TICK))));
        poll_fn(|cx| {
            self.bell.listen(cx.waker());
            if self.bell.take_kick() { Poll::Ready(()) } else { sleep.as_mut().poll(cx) }
        })
        .await;
    }
}

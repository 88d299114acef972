//! Real stacks in virtual time: a network of many, and two by themselves.
//!
//! # A network
//! A [`Scenario`] is data: hosts that run lastack or smoltcp, routers, links with what goes wrong on them, middleboxes, and
//! applications. [`run_scenario`] carries it out; everything follows from the scenario and one seed, so the same packets
//! come on every machine. [`library()`] has scenarios by name.
//!
//! ```
//! let entry = lastack_sim::library().iter().find(|entry| entry.name == "half-close").unwrap();
//! let report = lastack_sim::run_scenario(&entry.scenario()?, 7)?;
//! assert!(report.passed(), "{:?}", report.failures);
//! assert_eq!(report.flows[0].completed, 20);
//! # Ok::<(), String>(())
//! ```
//!
//! Every byte is compared with what the seed says where it is read; no reader may be told a false end; when everything is
//! over no stack may hold anything; and a fault that was asked for has to happen. What does not hold is in
//! [`Report::failures`]. With [`Options`] a run also gives samples of each connection, a log of its segments and a capture.
//!
//! # Two stacks
//! A [`Pair`] is two real stacks joined by a [`Link`]. Nothing waits: an hour of TIME_WAIT costs nothing, and the same
//! seed, applications and faults give the same [`Log`], byte for byte.
//!
//! | piece | what it is |
//! |---|---|
//! | [`Pair`] | the stacks, the link, the time; crashes and reboots |
//! | [`Link`], [`Fate`], [`Faults`] | what becomes of a packet: by a rule, or by chance from a seed |
//! | [`Script`], [`Act`] | a program that does one blocking call after the other; [`Application`] for any other |
//! | [`Peer`] | an end without a stack, whose segments are written by hand, true or not |
//! | [`Log`], [`Sent`] | every call, change of state and packet; segments with relative numbers |
//!
//! ```
//! use lastack_core::{Config, Instant, State};
//! use lastack_sim::{Act, Link, Pair, Script, Side};
//! use std::time::Duration;
//!
//! let config = |address: &str| Config { addresses: vec![address.parse().unwrap()], ..Config::default() };
//! let link = Link::perfect(1500, Duration::from_millis(10));
//! let mut pair = Pair::new([config("192.0.2.1/24"), config("192.0.2.2/24")], link, [7; 32]);
//! let service = "192.0.2.2:80".parse().unwrap();
//! pair.spawn(Side::B, Box::new(Script::new(vec![Act::Listen(service), Act::Accept, Act::ReadToEnd, Act::Close])));
//! pair.spawn(Side::A, Box::new(Script::new(vec![Act::Connect(service), Act::Write(5), Act::Close])));
//! pair.run(Instant::from_secs(3600))?;
//! assert_eq!(pair.log().path(Side::A).last(), Some(&State::Closed));
//! # Ok::<(), lastack_sim::Stalled>(())
//! ```

pub mod app;
mod digest;
mod flow;
pub mod library;
pub mod link;
pub mod log;
mod net;
mod node;
pub mod packet;
pub mod pair;
pub mod peer;
#[cfg(feature = "plot")]
pub mod plot;
pub mod report;
mod run;
pub mod scenario;
pub mod script;
mod soak;
pub mod tokio;
pub mod trace;
pub mod units;

pub use app::{Application, Io, Wait};
pub use library::{Entry, library};
pub use link::{Fate, Faults, Link, Rule};
pub use log::{Call, Log, Op, Outcome, Packet, Record, Side, Waiting, What};
pub use net::{Fault, Loss};
pub use packet::{Sent, segment_of};
pub use pair::{Pair, Stalled};
pub use peer::Peer;
pub use report::{Failure, FailureKind, Report};
pub use run::{Capture, Options, run_scenario, run_with};
pub use scenario::Scenario;
pub use script::{Act, Script};
pub use soak::random_scenario;
pub use tokio::AsyncNetwork;
pub use trace::{Sample, SegmentEvent, SegmentKind, Series};

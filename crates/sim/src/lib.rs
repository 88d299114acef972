//! Two lastack stacks in virtual time.
//!
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
pub mod link;
pub mod log;
pub mod packet;
pub mod pair;
pub mod peer;
pub mod script;

pub use app::{Application, Io, Wait};
pub use link::{Fate, Faults, Link, Rule};
pub use log::{Call, Log, Op, Outcome, Packet, Record, Side, Waiting, What};
pub use packet::{Sent, segment_of};
pub use pair::{Pair, Stalled};
pub use peer::Peer;
pub use script::{Act, Script};

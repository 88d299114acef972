//! The protocol core of lastack: TCP, UDP and IP without input or output, without a clock, without a thread.
//!
//! # Contract
//! A [`Stack`] is a value. Its owner
//! 1. gives it packets with [`Stack::receive`], one by one for a whole batch, then
//! 2. lets it act on time with [`Stack::handle_timeout`] once [`Stack::next_timeout`] has come, then
//! 3. fetches packets with [`Stack::transmit`] until it gives none, then
//! 4. fetches events with [`Stack::poll_event`] (and transitions with [`Stack::poll_transition`]) until there are none.
//!
//! Socket calls (`tcp_*`, `udp_*`) may come at any time between; after one, steps 3 and 4 are due again. No call blocks,
//! none calls back. `now` must not run backwards. The same calls with the same arguments give the same results, byte for
//! byte.
//!
//! ```
//! use lastack_core::wire::Capabilities;
//! use lastack_core::{Config, Instant, Stack};
//!
//! fn stack(addr: &str, seed: u8) -> Stack {
//!     let config = Config { addresses: vec![addr.parse().unwrap()], ..Config::default() };
//!     Stack::new(config, Capabilities::plain(1500), [seed; 32], Instant::ZERO)
//! }
//!
//! /// Carries packets both ways until both sides are silent.
//! fn exchange(now: Instant, a: &mut Stack, b: &mut Stack) {
//!     let mut frame = [0; 1500];
//!     loop {
//!         let mut moved = false;
//!         while let Some((len, meta)) = a.transmit(now, &mut frame) {
//!             b.receive(now, &meta, &frame[..len]);
//!             moved = true;
//!         }
//!         while let Some((len, meta)) = b.transmit(now, &mut frame) {
//!             a.receive(now, &meta, &frame[..len]);
//!             moved = true;
//!         }
//!         if !moved {
//!             return;
//!         }
//!     }
//! }
//!
//! let now = Instant::from_secs(1);
//! let (mut a, mut b) = (stack("10.0.0.1/24", 1), stack("10.0.0.2/24", 2));
//! let listener = b.tcp_socket();
//! b.tcp_bind(listener, "10.0.0.2:80".parse().unwrap()).unwrap();
//! b.tcp_listen(now, listener, 16).unwrap();
//! let client = a.tcp_socket();
//! a.tcp_connect(now, client, "10.0.0.2:80".parse().unwrap()).unwrap();
//! exchange(now, &mut a, &mut b);
//! let server = b.tcp_accept(listener).unwrap();
//! a.tcp_write(now, client, b"hello").unwrap();
//! a.tcp_close(now, client);
//! exchange(now, &mut a, &mut b);
//! let mut buf = [0; 16];
//! assert_eq!(b.tcp_read(now, server, &mut buf), Ok(5));
//! assert_eq!(b.tcp_read(now, server, &mut buf), Ok(0)); // end of file
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod active;
mod addr;
mod admin;
pub(crate) mod buffer;
pub mod config;
pub mod counters;
pub(crate) mod ctx;
pub(crate) mod deliberate;
pub(crate) mod demux;
pub mod error;
pub mod event;
mod fingerprint;
pub(crate) mod ip;
mod passive;
mod port;
pub(crate) mod queue;
pub(crate) mod short_paths;
mod siphash;
pub(crate) mod slab;
pub mod socket;
pub mod stack;
mod stack_udp;
pub mod tcp;
pub mod time;
pub(crate) mod udp;
pub(crate) mod wheel;

pub use admin::Orphan;
pub use config::{Config, EcnKind, EcnOption, EcnPolicy, MtuProbing, Route, TcpConfig};
pub use counters::Counters;
#[cfg(feature = "deliberate-bugs")]
pub use deliberate::DeliberateBug;
pub use error::{Error, Timeout};
pub use event::{ConnectionId, Event, Ready, Transition, TransitionEvent};
pub use ip::{Cidr, CidrError, IcmpUnreach, IpCounters};
pub use lastack_wire as wire;
#[cfg(feature = "general-paths")]
pub use short_paths::ShortPaths;
pub use socket::{PendingId, PendingRequest, Refusal, Shutdown, TcpHandle};
pub use stack::{Counts, Stack};
pub use tcp::congestion::Report as CongestionReport;
pub use tcp::ending::{Ending, How};
pub use tcp::fast_open::client::FastOpenFailure;
pub use tcp::fast_open::{FastOpenKeys, FastOpenOptions};
pub use tcp::info::{EcnBytes, ReceiveTuning, SegmentCounts, TcpInfo, TimerKind};
pub use tcp::marks::SendFlags;
pub use tcp::options::{SocketOptions, TcpOption};
pub use tcp::state::{Cause, Initiator, State};
pub use tcp::why::{Actor, Wait, Why};
pub use time::Instant;
pub use udp::{UdpCounters, UdpHandle, UdpMeta};

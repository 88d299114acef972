//! A user-space TCP/IP stack with sockets in the shape of the standard library's and of tokio's.
//!
//! A [`Host`] is a stack over a [device]: a TUN interface, one end of a link in memory, or your own. It has
//! its addresses, routes and ports to itself; a process may have several. Sockets are opened on a host:
//!
//! | module | shape |
//! |---|---|
//! | [`blocking`] | [`std::net`] |
//! | [`tokio`](mod@tokio) | [`tokio::net`](::tokio::net), deferred accept for gateways |
//! | [`relay()`] | one connection carried over another, each end as it was |
//!
//! What a socket returns, and when, is what Linux's sockets return; [`error_of`] finds the reason inside of an
//! [`std::io::Error`]. How a connection ends is told by [`Host::trace`], `history()` and `info()`.
//!
//! # Ending a connection
//!
//! | | what it does | on the wire |
//! |---|---|---|
//! | drop | returns at once; data is delivered in the background | FIN behind the data; RST if received data is unread |
//! | `shutdown(Write)` | ends one direction, the other stays open | FIN behind the data |
//! | `close_linger(limit)` | waits for the peer's acknowledgement and says what became of the data | as a drop |
//! | `abort()` | ends it now, drops what is queued | RST |
//! | [`Host::close`] | all of the host's connections; says what was not delivered | FIN; RST after the limit |
//!
//! # Example
//!
//! ```
//! use lastack::device::{Capabilities, memory};
//! use lastack::{Host, blocking};
//! use std::io::{Read, Write};
//!
//! let (a, b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
//! let server = Host::builder().device(a).address([10, 0, 0, 1], 24).start()?;
//! let client = Host::builder().device(b).address([10, 0, 0, 2], 24).start()?;
//!
//! let listener = blocking::TcpListener::bind(&server, "10.0.0.1:7")?;
//! let mut stream = blocking::TcpStream::connect(&client, "10.0.0.1:7")?;
//! let (mut accepted, _) = listener.accept()?;
//!
//! stream.write_all(b"hello")?;
//! stream.shutdown(std::net::Shutdown::Write)?;
//! let mut text = String::new();
//! accepted.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod blocking;
mod clock;
mod datagram;
mod error;
mod host;
mod options;
pub mod relay;
mod socket;
pub mod tokio;

pub use lastack_core as core;
pub use lastack_device as device;

pub use clock::{Clock, SystemClock};
pub use error::{ConnectionError, error_of};
pub use host::{CloseReport, Connection, Delivery, Driver, Host, HostBuilder, Loss, Turn, Undelivered};
#[doc(inline)]
pub use relay::{RelayEnd, RelayOptions, RelayReport, RelayStream, Side, relay, relay_with};

pub use lastack_core::{
    Actor, Cause, Cidr, Config, ConnectionId, Counters, Counts, Ending, Error, How, IcmpUnreach, Initiator,
    Instant, Refusal, Route, SocketOptions, State, TcpConfig, TcpInfo, TcpOption, Timeout, Transition,
    TransitionEvent, Wait, Why,
};

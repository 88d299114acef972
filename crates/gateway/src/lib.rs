//! Carries the connections that arrive on a device on over sockets of the host, with every ending as it was.
//!
//! | module | what is in it |
//! |---|---|
//! | [`run()`] | a program in a network namespace of its own, whose whole network is lastack |
//! | [`attach()`] | the network of a namespace that somebody else has made |
//! | [`tun2socks()`] | a TUN interface of the machine, through a proxy |
//! | [`Gateway`] | the carrier of TCP and UDP, over any device |
//! | [`addresses`] | what the program sees at which address |
//! | [`summary`] | what became of each connection |
//! | [`faults`] | rules that break connections on purpose |
//! | [`upstream`] | proxies that connections are carried on through |
//! | [`namespace`] | the namespace: names and bounds |
//!
//! A connection of the program is answered only when the connection to its destination has been made: a refusal is a
//! refusal, an unreachable host is unreachable, and a time-out is the program's own. After that each side's end of
//! stream, reset and failure is passed on as the same thing, behind the bytes that came before it.

mod activity;
pub mod addresses;
mod api;
mod attach;
mod channel;
mod confine;
mod dial;
pub mod faults;
mod gateway;
mod host_socket;
mod hosts;
mod inbound;
mod limit;
pub mod namespace;
mod options;
mod outgoing;
mod outlet;
mod owner;
mod packets;
mod ping;
mod program;
mod program_stream;
mod publish;
mod resolv;
mod run;
mod seeing;
mod session;
mod silence;
mod stage;
pub mod summary;
mod sys;
mod tally;
mod tcp;
mod trace;
mod tun2socks;
mod udp;
pub mod upstream;
mod wait;

pub use attach::attach;
pub use faults::FaultRule;
pub use gateway::Gateway;
pub use limit::LimitMet;
pub use options::{
    AttachOptions, AttachTarget, DEFAULT_MTU, GatewayOptions, Limits, MTU_RANGE, RunOptions, SummaryFormat,
};
pub use outgoing::Outgoing;
pub use owner::{NamespaceId, Owner};
pub use program::{STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
pub use publish::{Listening, Protocol, Publish};
pub use run::{STATUS_UNUSED_FAULT, run};
pub use seeing::Notes;
pub use summary::Report;
pub use tun2socks::{Prefix, Tun2SocksOptions, TunRoute, tun2socks};
pub use upstream::Upstream;

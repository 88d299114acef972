//! The test kit: a stack with a peer that is driven by hand ([`Rig`]), the same in any state ([`Start`]), and two stacks
//! on a line with faults ([`Pair`]). Everything happens in virtual time.
//!
//! Sequence numbers are relative: 0 is the first byte after the sender's SYN.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses its part")]

pub mod matrix;
mod packet;
mod pair;
mod rig;
pub mod schedule;
mod start;

pub use packet::{SegSpec, Sent, addresses, flags, icmp_error, seg, set_tos};
pub use pair::{Fate, Flying, Pair, Side};
pub use rig::{LOCAL_PORT, PEER_ISS, PEER_PORT, Rig, Setup};
pub use start::Start;

pub use core::time::Duration;
pub use lastack_core::wire::SeqNumber;
pub use lastack_core::wire::tcp::{Flags, Options};
pub use lastack_core::{
    Cause, Config, Error, Initiator, Instant, Ready, Shutdown, Stack, State, TcpHandle, TcpOption, Timeout,
};

/// Milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Seconds.
pub const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

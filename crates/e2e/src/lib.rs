//! What the tests of lastack against the running Linux kernel and against real programs share.
//!
//! A test runs in a [network namespace of its own](in_namespace). A TUN interface in it joins the kernel on one side
//! and a lastack [`Host`](lastack::Host) on the other: a [`Lab`]. Nothing is left behind: the namespace ends with the
//! test's threads and the descriptors that they hold.
//!
//! | module | what it is |
//! |---|---|
//! | [`namespace`] | where a test runs |
//! | [`lab`] | the TUN, the host, the record of its transitions |
//! | [`gate`] | a stage on the TUN that counts, holds and loses packets |
//! | [`kernel`] | the kernel's sockets, as `/proc/net/tcp` and `ss` show them |
//! | [`socket`] | a connected socket of either stack with one set of calls |
//! | [`awaited`] | a tokio socket with the calls of a blocking one |
//! | [`stage`] | a socket of either stack, blocking or for tokio, and its peer: one text for all kinds |
//! | [`way`] | a way of ending as a table of steps, and its runner |
//! | [`web`] | axum and hyper over lastack, nginx and curl beside it |

pub mod awaited;
pub mod gate;
pub mod kernel;
pub mod lab;
pub mod namespace;
pub mod socket;
pub mod stage;
pub mod way;
pub mod web;

pub use gate::{Gate, To};
pub use lab::{Family, Lab, LabOptions, eventually};
pub use namespace::in_namespace;

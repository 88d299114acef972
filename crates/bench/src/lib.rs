//! Benchmarks of lastack with smoltcp beside it, in one process, on one thread and over the same in-memory link; and of its
//! gateway beside slirp4netns and pasta.
//!
//! * [`workload`]: the cases and how much work a run does;
//! * [`lastack_peer`], [`smoltcp_peer`]: the two stacks doing it;
//! * [`summary`]: interleaved timed runs, rates and ratios;
//! * [`gateway`]: `lastack run`, slirp4netns and pasta under the same loads, in network namespaces;
//! * [`wan`]: lastack and the running kernel as senders over the same emulated road, in real time;
//! * [`matrix`]: goodput over many roads in virtual time;
//! * [`competition`]: short flows beside long ones, and long ones beside each other, in virtual time;
//! * [`callgrind`]: the same work counted in instructions;
//! * [`memory`]: bytes per idle connection and per TIME_WAIT record, through the counting [`alloc`]ator;
//! * [`page`]: where tables stand in the documentation.

pub mod alloc;
pub mod callgrind;
pub mod competition;
pub mod gateway;
pub mod lastack_peer;
pub mod link;
pub mod matrix;
pub mod memory;
pub mod page;
pub mod smoltcp_peer;
pub mod stream;
pub mod summary;
pub mod wan;
pub mod workload;

//! packetdrill scripts: what a program calls, what a peer sends, and what the stack under test must send, each at its
//! time.
//!
//! [`call`] has one typed form of every system call that a script can make, with its result. It is the seam between
//! whoever reads calls (scripts, the C plug-in) and whoever carries them out. [`sys`] carries them out over a lastack stack in
//! virtual time.
//!
//! [`script`] reads scripts, [`run`] carries them out against a [`backend`].

pub mod backend;
pub mod call;
pub mod run;
pub mod script;
pub mod suite;
pub mod sys;

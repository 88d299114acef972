//! Every schedule explored, on the real code.
//!
//! A state ([`World`]) is two stacks, the packets in flight, the applications and the timers. From each state everything is tried
//! that may happen next: a call of an application, a packet that arrives (in any order), is lost or arrives twice, a timer that
//! fires. Two states that differ only in absolute time, counters or history count once: they are compared by
//! [`Stack::fingerprint`](lastack_core::Stack::fingerprint) and by relative numbers of what is in flight.
//!
//! | piece | what it is |
//! |---|---|
//! | [`configurations`] | the committed list of bounded worlds |
//! | [`explore`] | the search; with [`Limits::full`] the plain one, by the model checker `stateright` |
//! | [`Rule`] | what must hold in each state, and that from each state everything ends |
//! | [`replay`] | a schedule as a [`Log`](lastack_sim::Log), to be drawn |
//! | [`script()`] | one end of it as a packetdrill script |
//!
//! The liveness rule is checked on one fair schedule from every state: the network delivers in order, applications go on,
//! and timers wait for both.
//!
//! ```
//! let configurations = lastack_check::configurations();
//! let configuration = configurations.iter().find(|c| c.name == "client-closes/reorder").unwrap();
//! let report = lastack_check::explore(configuration, lastack_check::Limits::default(), &mut |_| ());
//! assert!(report.complete() && report.violation.is_none());
//! ```

mod configuration;
mod direct;
mod explore;
mod packet;
mod part;
mod program;
mod rules;
mod script;
mod search;
mod seen;
mod tables;
mod world;

pub use configuration::{Configuration, configurations};
pub use explore::{Limits, Progress, Report, Stop, Violation, explore, replay, undisturbed};
pub use program::{Do, Programs};
pub use rules::{Broken, Rule};
pub use script::script;
pub use world::{Action, Budget, World};

//! TCP. The files are a map of a connection's life:
//!
//! - `open`, `syn_sent`, `listen`: a connection begins, from this side or from the peer's.
//! - `fast_open`: a listener's children that take text with the SYN (RFC 7413).
//! - `rcv_established` (fast path) and `rcv_state_process` (the dispatcher, RFC 9293 3.10.7.4 step by step) take
//!   segments in; `validate` says which may count, `ack` (and
//!   `lone_ack`, its fast path), `data_queue`, `urgent` and `fin` are the steps.
//! - `output` (and `lone_output`, its fast path) sends, `window` says how much may come and `rcv_space` and `snd_space`
//!   how large the buffers are, `retransmit` and `timers` send again
//!   or give up, `rtt` and `congestion` decide when and how much, `delivery` measures for them what the path takes,
//!   `pacing` spreads it over time.
//! - `ecn` (and `accurate_ecn`) marks what is sent and echoes the marks of what is received.
//! - `scoreboard` is what is in flight; `sack` and `rack` find out what of it arrived and what is lost, `recovery` is what
//!   follows from that, `resend` sends it again, `tlp` probes the tail.
//! - `close` and `send_fin` end a connection from this side, `fin` from the peer's, `reset` by force; `time_wait` is
//!   what stays.
//! - `state` is the table of legal arrows, `set_state` the only place that moves along one.

pub(crate) mod accurate_ecn;
pub(crate) mod ack;
pub(crate) mod app;
pub(crate) mod close;
pub mod congestion;
pub(crate) mod data_queue;
pub(crate) mod delivery;
pub(crate) mod ecn;
pub(crate) mod emitted;
pub mod ending;
pub mod fast_open;
pub(crate) mod fin;
pub(crate) mod flags;
pub(crate) mod history;
pub(crate) mod icmp;
pub mod info;
pub(crate) mod listen;
pub(crate) mod lone_ack;
pub(crate) mod lone_output;
pub mod marks;
pub(crate) mod mtu_probe;
pub(crate) mod open;
pub mod options;
pub(crate) mod output;
pub(crate) mod pacing;
pub(crate) mod rack;
pub(crate) mod rare;
pub(crate) mod rcv_established;
pub(crate) mod rcv_memory;
pub(crate) mod rcv_space;
pub(crate) mod rcv_state_process;
pub(crate) mod recovery;
pub(crate) mod resend;
pub(crate) mod reset;
pub(crate) mod retransmit;
pub(crate) mod rtt;
pub(crate) mod sack;
pub(crate) mod scoreboard;
pub(crate) mod segment;
pub(crate) mod send_fin;
pub(crate) mod set_state;
pub(crate) mod snd_space;
pub mod state;
pub(crate) mod syn_sent;
pub(crate) mod tcb;
pub(crate) mod time_wait;
pub(crate) mod timers;
pub(crate) mod tlp;
pub(crate) mod urgent;
pub(crate) mod validate;
pub mod why;
pub(crate) mod window;

//! Bytes to meaning and back: the wire formats that lastack speaks.
//!
//! Nothing here allocates, keeps state or knows of a connection. Each format has a view over received bytes, which
//! checks every length once and then cannot read past the end ([`ip::Packet`], [`tcp::Segment`], [`udp::Datagram`],
//! [`icmp::Message`], [`icmpv6::Message`]), and a `Repr` that writes a header into the caller's buffer. Whatever the
//! bytes are, parsing ends in a value or an [`Error`], never in a panic.
//!
//! Checksums: the IPv4 header and ICMP are verified when they are parsed. TCP and UDP are verified by a call of their
//! own ([`tcp::verify_checksum`], [`udp::verify_checksum`]), because a device may have done it: [`PacketMeta`] says
//! so. On the way out they are filled in, or left to the device with `set_partial_checksum`.
//!
//! ```
//! use lastack_wire::{PacketPrinter, SeqNumber, ip, ipv4, tcp};
//!
//! // Build a SYN.
//! let syn = tcp::Repr {
//!     src_port: 1234,
//!     dst_port: 80,
//!     seq: SeqNumber(1),
//!     flags: tcp::Flags::SYN,
//!     window: 65535,
//!     options: tcp::Options { mss: Some(1460), ..Default::default() },
//!     ..Default::default()
//! };
//! let header = ipv4::Repr {
//!     src: [10, 0, 0, 1].into(),
//!     dst: [10, 0, 0, 2].into(),
//!     protocol: ip::protocol::TCP,
//!     ttl: 64,
//!     tos: 0,
//!     id: 0,
//!     df: true,
//!     payload_len: syn.header_len(),
//! };
//! let mut packet = [0; 44];
//! let at = header.emit(&mut packet)?;
//! syn.emit_header(&mut packet[at..])?;
//! tcp::fill_checksum(header.src.into(), header.dst.into(), &mut packet[at..])?;
//!
//! // Read it back.
//! let read = ip::Packet::parse(&packet)?;
//! assert!(tcp::verify_checksum(read.src(), read.dst(), read.payload()));
//! assert_eq!(tcp::Segment::parse(read.payload())?.repr(), syn);
//! assert_eq!(
//!     PacketPrinter::new(&packet).to_string(),
//!     "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S], seq 1, win 65535, options [mss 1460], length 0",
//! );
//! # Ok::<(), lastack_wire::Error>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod error;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod meta;
pub mod print;
mod quoted;
pub mod seq;
pub mod tcp;
pub mod udp;

pub use error::Error;
pub use meta::{Capabilities, ChecksumState, Gso, GsoKind, PacketMeta};
pub use print::PacketPrinter;
pub use quoted::Quoted;
pub use seq::SeqNumber;

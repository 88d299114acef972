//! Where the packets of lastack come from and go to.
//!
//! A [`Device`] carries IP packets (layer 3, no link header) in batches:
//!
//! | module | what it is |
//! |---|---|
//! | [`memory`] | two ends of a link inside the process, with real or virtual time |
//! | [`tun`] | a Linux TUN interface, with checksum and segmentation offloads, one or more queues |
//! | [`capture`] | a stage over a device that writes what passes as pcapng |
//! | [`impair`] | a stage over a device that delays, loses, reorders, duplicates and corrupts |
//! | [`split`] | software segmentation and checksums, for where a device does not offer them |
//!
//! Stages wrap a device and are devices, so that they stack: `Capture::new(Impair::new(tun, ..), ..)`.
//!
//! # Example
//!
//! ```
//! use lastack_device::{Capabilities, Device, PacketMeta, memory};
//!
//! let (mut a, mut b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
//! let mut packets = [b"one".as_slice(), b"two"].into_iter();
//! let sent = a.transmit(&mut |frame| {
//!     let packet = packets.next()?;
//!     frame[..packet.len()].copy_from_slice(packet);
//!     Some((packet.len(), PacketMeta::default()))
//! })?;
//! assert_eq!(sent, 2);
//! let mut got = Vec::new();
//! b.receive(64, &mut |_meta, packet| got.push(packet.to_vec()))?;
//! assert_eq!(got, [b"one", b"two"]);
//! # Ok::<(), std::io::Error>(())
//! ```

mod at_exit;
pub mod capture;
pub mod clock;
mod device;
#[cfg(target_os = "linux")]
mod ethernet;
mod headers;
pub mod impair;
pub mod memory;
pub mod split;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(test)]
mod testing;
#[cfg(target_os = "linux")]
pub mod tun;
mod vnet;
mod waker;

pub use at_exit::at_exit;
pub use device::{Device, Fill, Sink, largest_frame};
pub use lastack_wire::{Capabilities, ChecksumState, Gso, GsoKind, PacketMeta};
pub use waker::Waker;

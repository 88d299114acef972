//! The plug-in of lastack for the original packetdrill: built as `liblastack_packetdrill.so` and loaded with
//! `packetdrill --so_filename=liblastack_packetdrill.so`. How to use it stands in `docs/packetdrill.md`.
//!
//! `ffi` is the C side: the table of functions that packetdrill calls, pointers to and from typed calls. `driver` is the
//! safe side: the machine under a lock, its clock, and the two threads that packetdrill comes with. `flags` reads
//! `--so_flags`, `sysctl` the settings that a script's shell commands have made.

mod driver;
mod ffi;
mod flags;
mod sysctl;

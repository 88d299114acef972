//! The packets of both directions as pcapng.

use lastack_device::capture::{Direction, PcapngWriter};
use lastack_sim::{Log, Side};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

/// Writes each packet once, at the time and in the order of sending; lost ones too, with a comment. "Out" is A's.
pub fn write(path: &Path, log: &Log) -> io::Result<()> {
    let mut writer = PcapngWriter::new(BufWriter::new(File::create(path)?), "A-B")?;
    for packet in &log.packets {
        let direction = if packet.from == Side::A { Direction::Out } else { Direction::In };
        let comment = packet.arrives.is_none().then_some("lost on the link");
        writer.write(packet.sent.as_nanos(), direction, &packet.bytes, comment)?;
    }
    writer.flush()
}

//! Writing what passes a device as pcapng, for Wireshark and its like.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastack_wire::PacketMeta;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::systemd_journal_export::SystemdJournalExportBlock;
use pcap_file::{DataLink, PcapError};

use crate::clock::Clock;
use crate::device::{Device, Fill, Sink};
use crate::split::Segments;

/// Which way a packet passes, seen from our end of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Received (`epb_flags` inbound).
    In,
    /// Sent (`epb_flags` outbound).
    Out,
}

/// Timestamps count nanoseconds: `if_tsresol` of 10^-9.
const NANOSECONDS: u8 = 9;
/// Longest comment in bytes: the length of an option has 16 bits.
const MAX_COMMENT: usize = 65535;

/// Writes IP packets to a pcapng file: one interface of link type RAW, timestamps in nanoseconds.
pub struct PcapngWriter<W: Write> {
    inner: pcap_file::pcapng::PcapNgWriter<W>,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the section header and the interface. Each packet makes several small writes: hand over a
    /// [`BufWriter`](io::BufWriter) where `writer` is a file.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn new(writer: W, interface: &str) -> io::Result<Self> {
        let mut inner = pcap_file::pcapng::PcapNgWriter::new(writer).map_err(io_error)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(interface)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        inner.write_pcapng_block(interface).map_err(io_error)?;
        Ok(Self { inner })
    }

    /// Writes one packet as it is, without a look at its content. `time_ns` is the time in nanoseconds since the Unix
    /// epoch, or since the start of a simulation. A comment longer than 65535 bytes is cut.
    ///
    /// # Errors
    /// Those of the writer. The file may end in the middle of a block after that.
    pub fn write(
        &mut self,
        time_ns: u64,
        direction: Direction,
        packet: &[u8],
        comment: Option<&str>,
    ) -> io::Result<()> {
        let flags = match direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        let mut options = vec![EnhancedPacketOption::Flags(flags)];
        if let Some(comment) = comment {
            let end = comment.floor_char_boundary(MAX_COMMENT);
            options.push(EnhancedPacketOption::Comment(Cow::Borrowed(&comment[..end])));
        }
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(time_ns),
            original_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(packet),
            options,
        };
        self.inner.write_pcapng_block(block).map_err(io_error)?;
        Ok(())
    }

    /// Writes a line of text between the packets, for things that no packet says: a journal entry with the fields
    /// `MESSAGE` and `SYSLOG_IDENTIFIER` (`source`), which Wireshark lists among the packets at its time and finds as
    /// `systemd_journal.message`; other readers pass it over. Line breaks in both become spaces. `time_ns` as with
    /// [`write`](Self::write).
    ///
    /// # Errors
    /// Those of the writer. The file may end in the middle of a block after that.
    pub fn note(&mut self, time_ns: u64, source: &str, text: &str) -> io::Result<()> {
        /// `LOG_INFO` (syslog(3)).
        const PRIORITY: u8 = 6;
        let line = |text: &str| text.replace(['\n', '\r', '\0'], " ");
        let entry = format!(
            "__REALTIME_TIMESTAMP={}\nPRIORITY={PRIORITY}\nSYSLOG_IDENTIFIER={}\nMESSAGE={}\n",
            time_ns / 1000,
            line(source),
            line(text)
        );
        let block = SystemdJournalExportBlock { journal_entry: Cow::Owned(entry.into_bytes()) };
        self.inner.write_pcapng_block(block).map_err(io_error)?;
        Ok(())
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.get_mut().flush()
    }

    /// Gives the writer back, not flushed.
    pub fn into_inner(self) -> W {
        self.inner.into_inner()
    }
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// A writer that several captures share: the queues of one interface, the two ends of a link.
pub type SharedWriter<W> = Arc<Mutex<PcapngWriter<W>>>;

/// Writes every packet that passes the device, in both directions.
///
/// The file holds what is on a wire: packets with finished checksums, and of a packet that stands for several segments
/// each segment, with a comment that says so. A packet that does not fit its meta is written as it is, with a
/// comment. If writing fails, the network goes on and the capture ends: see [`take_error`](Self::take_error).
pub struct Capture<D, W: Write> {
    device: D,
    tee: Tee<W>,
}

struct Tee<W: Write> {
    writer: SharedWriter<W>,
    clock: Clock,
    /// Room for one finished packet, reused.
    frame: Vec<u8>,
    failed: bool,
    error: Option<io::Error>,
}

impl<D: Device, W: Write> Capture<D, W> {
    /// Captures over `device`. `clock` gives the timestamps: the time since the Unix epoch
    /// ([`clock::wall`](crate::clock::wall)), or virtual time.
    pub fn new(device: D, writer: SharedWriter<W>, clock: Clock) -> Self {
        Self { device, tee: Tee { writer, clock, frame: Vec::new(), failed: false, error: None } }
    }

    /// The error that ended the capture, once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.tee.error.take()
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<W: Write> Tee<W> {
    fn packet(&mut self, direction: Direction, meta: &PacketMeta, packet: &[u8]) {
        if self.failed {
            return;
        }
        if let Err(error) = self.write(direction, meta, packet) {
            self.failed = true;
            self.error = Some(error);
        }
    }

    fn write(&mut self, direction: Direction, meta: &PacketMeta, packet: &[u8]) -> io::Result<()> {
        let time = u64::try_from((self.clock)().as_nanos()).unwrap_or(u64::MAX);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = match Segments::new(meta, packet) {
            Ok(segments) => segments,
            Err(error) => return writer.write(time, direction, packet, Some(&error.to_string())),
        };
        if self.frame.len() < segments.len_of(0) {
            self.frame.resize(segments.len_of(0), 0);
        }
        for index in 0..segments.count() {
            let Some(len) = segments.write(index, &mut self.frame) else { break };
            let comment = (segments.count() > 1)
                .then(|| format!("segment {} of {} of one offloaded packet", index + 1, segments.count()));
            writer.write(time, direction, &self.frame[..len], comment.as_deref())?;
        }
        Ok(())
    }
}

impl<D: Device, W: Write> Device for Capture<D, W> {
    crate::pass_on!(device);

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let Self { device, tee } = self;
        device.receive(max, &mut |meta, packet| {
            tee.packet(Direction::In, meta, packet);
            sink(meta, packet);
        })
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let Self { device, tee } = self;
        device.transmit(&mut |frame| {
            let (len, meta) = fill(frame)?;
            if let Some(packet) = frame.get(..len) {
                tee.packet(Direction::Out, &meta, packet);
            }
            Some((len, meta))
        })
    }
}

#[cfg(test)]
mod tests;

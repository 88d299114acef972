//! What a run leaves for plots and for Wireshark: segments of each connection in a compact log, and pcapng of a link.

use crate::net::Tcp;
use crate::scenario::Who;
use lastack_core::Instant;
use lastack_core::wire::tcp::{Flags, Options};
use lastack_device::capture::{Direction, PcapngWriter};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;

/// One connection's numbers at one time, at the end that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Virtual time in nanoseconds.
    pub at: u64,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow-start threshold in segments; `None` before the first loss.
    pub ssthresh: Option<u32>,
    /// Bytes of data in a full segment.
    pub segment: u32,
    /// Smoothed round-trip time in microseconds; 0 before the first.
    pub srtt: u64,
    /// Retransmission timeout in microseconds, with back-off.
    pub rto: u64,
    /// Bytes sent and not acknowledged.
    pub unacked: u32,
    /// Segments believed to be on the network: sent, less what was SACKed or is lost, and what was sent again.
    pub in_flight: u32,
    /// Bytes acknowledged by the peer since the start.
    pub delivered: u64,
    /// Segments sent again since the start.
    pub retransmissions: u32,
    /// The peer's window in bytes.
    pub send_window: u32,
    /// Where recovery stands: 0 open, 1 disorder, 2 reduced, 3 recovery, 4 loss.
    pub recovery: u8,
}

/// The samples of one end of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// Number of the connection in [`Report::connections`](crate::Report::connections).
    pub connection: u32,
    /// Which end.
    pub end: Who,
    /// In order of time.
    pub samples: Vec<Sample>,
}

/// What became of a segment, or what was said about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentKind {
    /// Left its host for the first time.
    Sent,
    /// Left its host again.
    Resent,
    /// Was lost in the network.
    Lost,
    /// Arrived at its host.
    Arrived,
    /// An acknowledgement that reached its sender covers these bytes, newly.
    Acked,
    /// A SACK block that reached its sender names these bytes.
    Sacked,
}

/// A line of the log of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentEvent {
    /// Virtual time in nanoseconds.
    pub at: u64,
    /// Number of the connection.
    pub connection: u32,
    /// Which end sends these bytes.
    pub from: Who,
    /// What happened.
    pub what: SegmentKind,
    /// First byte; 0 is the first behind the SYN.
    pub start: u64,
    /// The byte behind the last; a FIN counts as one.
    pub end: u64,
}

/// Numbers of one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    /// Sequence number of the first byte.
    base: Option<u32>,
    /// The byte behind the last that was sent.
    end: u64,
    acked: u64,
}

impl Half {
    /// A sequence number as a place in the stream.
    fn place(&self, seq: u32) -> Option<u64> {
        let near = self.base?.wrapping_add(self.end as u32);
        self.end.checked_add_signed(i64::from(seq.wrapping_sub(near).cast_signed()))
    }
}

/// Pcapng of one link.
struct Capture {
    /// The pipes of the link, forward and backward.
    pipes: [usize; 2],
    writer: PcapngWriter<Box<dyn Write + Send>>,
    error: Option<io::Error>,
}

/// What is written down during a run.
#[derive(Default)]
pub(crate) struct Trace {
    capture: Option<Capture>,
    segments: bool,
    /// Connections by the address of their client, then of their server. Only looked up, never walked through.
    numbers: HashMap<(SocketAddr, SocketAddr), u32>,
    halves: Vec<[Half; 2]>,
    pub(crate) events: Vec<SegmentEvent>,
}

impl Trace {
    pub(crate) fn log_segments(&mut self) {
        self.segments = true;
    }

    /// # Errors
    /// Those of the writer.
    pub(crate) fn capture(
        &mut self,
        link: usize,
        name: &str,
        writer: Box<dyn Write + Send>,
    ) -> io::Result<()> {
        let writer = PcapngWriter::new(writer, name)?;
        self.capture = Some(Capture { pipes: [link * 2, link * 2 + 1], writer, error: None });
        Ok(())
    }

    /// Writes out the rest of the capture.
    ///
    /// # Errors
    /// The first that came up.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(mut capture) = self.capture.take() else { return Ok(()) };
        match capture.error.take() {
            Some(error) => Err(error),
            None => capture.writer.flush(),
        }
    }

    /// A connection has begun.
    pub(crate) fn begin(&mut self, number: u32, client: SocketAddr, server: SocketAddr) {
        if self.segments {
            self.numbers.insert((client, server), number);
            let len = self.halves.len().max(number as usize + 1);
            self.halves.resize(len, [Half::default(); 2]);
        }
    }

    /// A packet comes to a link.
    pub(crate) fn entered(&mut self, now: Instant, pipe: usize, packet: &[u8]) {
        self.write(now, pipe, 0, Direction::Out, packet);
    }

    /// A packet comes out of a link.
    pub(crate) fn left(&mut self, now: Instant, pipe: usize, packet: &[u8]) {
        self.write(now, pipe, 1, Direction::In, packet);
    }

    fn write(&mut self, now: Instant, pipe: usize, way: usize, direction: Direction, packet: &[u8]) {
        let Some(capture) = self.capture.as_mut().filter(|c| c.pipes[way] == pipe && c.error.is_none())
        else {
            return;
        };
        capture.error = capture.writer.write(now.as_nanos(), direction, packet, None).err();
    }

    /// The connection of a segment, and who sent it.
    fn connection(&self, tcp: &Tcp) -> Option<(u32, Who)> {
        let from_client = self.numbers.get(&(tcp.src, tcp.dst)).map(|number| (*number, Who::Client));
        from_client.or_else(|| self.numbers.get(&(tcp.dst, tcp.src)).map(|number| (*number, Who::Server)))
    }

    /// A host sends a packet.
    pub(crate) fn sent(&mut self, now: Instant, packet: &[u8]) {
        let Some((tcp, number, from)) = self.look(packet) else { return };
        let half = &mut self.halves[number as usize][from as usize];
        if tcp.flags.contains(Flags::SYN) {
            half.base = Some(tcp.seq.wrapping_add(1));
            return;
        }
        let Some((start, end)) = span(half, &tcp) else { return };
        let what = if start < half.end { SegmentKind::Resent } else { SegmentKind::Sent };
        half.end = half.end.max(end);
        self.note(now, number, from, what, (start, end));
    }

    /// A packet is lost.
    pub(crate) fn lost(&mut self, now: Instant, packet: &[u8]) {
        let Some((tcp, number, from)) = self.look(packet) else { return };
        if let Some(span) = span(&self.halves[number as usize][from as usize], &tcp) {
            self.note(now, number, from, SegmentKind::Lost, span);
        }
    }

    /// A packet arrives at a host.
    pub(crate) fn arrived(&mut self, now: Instant, packet: &[u8]) {
        let Some((tcp, number, from)) = self.look(packet) else { return };
        if let Some(span) = span(&self.halves[number as usize][from as usize], &tcp) {
            self.note(now, number, from, SegmentKind::Arrived, span);
        }
        if !tcp.flags.contains(Flags::ACK) {
            return;
        }
        let sender = from.other();
        let half = &mut self.halves[number as usize][sender as usize];
        let before = half.acked;
        let options = Options::parse(&packet[tcp.start + 20..tcp.data]);
        let blocks = options.sack.iter().filter_map(|(a, b)| Some((half.place(a.0)?, half.place(b.0)?)));
        let blocks: Vec<_> = blocks.collect();
        let acked = half.place(tcp.ack).filter(|acked| *acked > before);
        half.acked = acked.unwrap_or(before);
        if let Some(acked) = acked {
            self.note(now, number, sender, SegmentKind::Acked, (before, acked));
        }
        for block in blocks {
            self.note(now, number, sender, SegmentKind::Sacked, block);
        }
    }

    fn look(&self, packet: &[u8]) -> Option<(Tcp, u32, Who)> {
        if !self.segments {
            return None;
        }
        let tcp = Tcp::find(packet)?;
        let (number, from) = self.connection(&tcp)?;
        Some((tcp, number, from))
    }

    fn note(&mut self, now: Instant, connection: u32, from: Who, what: SegmentKind, span: (u64, u64)) {
        let (start, end) = span;
        self.events.push(SegmentEvent { at: now.as_nanos(), connection, from, what, start, end });
    }
}

/// The bytes that a segment carries, a FIN among them; `None` if there are none.
fn span(half: &Half, tcp: &Tcp) -> Option<(u64, u64)> {
    let len = tcp.len() as u64 + u64::from(tcp.flags.contains(Flags::FIN));
    if len == 0 || tcp.flags.intersects(Flags::SYN | Flags::RST) {
        return None;
    }
    let start = half.place(tcp.seq)?;
    Some((start, start + len))
}

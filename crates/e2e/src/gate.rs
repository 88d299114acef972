//! A stage over a device that counts what passes, holds it back, loses what a rule names, and remembers it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lastack::device::{Capabilities, Device, Fill, PacketMeta, Sink, Waker};
use lastack_wire::{PacketPrinter, ip, tcp};

/// Packets that the record keeps.
const RECORD: usize = 400;

/// A direction, by who gets the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Sent by lastack.
    Kernel,
    /// Sent by the kernel.
    Lastack,
}

/// What passed in one direction. Packets are those of the device: one may stand for several segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes with IP headers.
    pub bytes: u64,
    /// Packets that stand for several segments (GSO).
    pub gso_packets: u64,
    /// Bytes of them.
    pub gso_bytes: u64,
    /// Lost by a rule.
    pub lost: u64,
}

/// Which TCP segments a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With FIN.
    Fin,
    /// No data and none of SYN, FIN, RST.
    PureAck,
    /// With data.
    Data,
    /// All.
    Any,
}

impl Kind {
    fn holds(self, segment: &tcp::Segment<'_>) -> bool {
        use tcp::Flags;
        match self {
            Self::Fin => segment.flags.contains(Flags::FIN),
            Self::PureAck => {
                segment.payload.is_empty() && !segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST)
            }
            Self::Data => !segment.payload.is_empty(),
            Self::Any => true,
        }
    }
}

#[derive(Default)]
struct Line {
    held: bool,
    queue: VecDeque<(PacketMeta, Vec<u8>)>,
    /// What is lost, and how many more of them.
    rule: Option<(Kind, u64)>,
    traffic: Traffic,
}

struct Shared {
    to_kernel: Line,
    to_lastack: Line,
    start: Instant,
    record: Option<VecDeque<String>>,
}

impl Shared {
    fn line(&mut self, to: To) -> &mut Line {
        match to {
            To::Kernel => &mut self.to_kernel,
            To::Lastack => &mut self.to_lastack,
        }
    }

    /// Whether the packet goes on now.
    fn offer(&mut self, to: To, meta: &PacketMeta, packet: &[u8]) -> bool {
        let line = self.line(to);
        line.traffic.packets += 1;
        line.traffic.bytes += packet.len() as u64;
        if meta.gso.is_some() {
            line.traffic.gso_packets += 1;
            line.traffic.gso_bytes += packet.len() as u64;
        }
        let lost = line.loses(packet);
        let held = !lost && line.held;
        if held {
            line.queue.push_back((*meta, packet.to_vec()));
        }
        if let Some(record) = &mut self.record {
            record.truncate(RECORD - 1);
            let what = if lost { " LOST" } else { "" };
            let what = if held { " HELD" } else { what };
            let at = self.start.elapsed().as_secs_f64();
            record.push_front(format!("{at:10.6} to {to:?}{what}: {}", PacketPrinter::new(packet)));
        }
        !lost && !held
    }
}

impl Line {
    fn loses(&mut self, packet: &[u8]) -> bool {
        let Some((kind, left)) = &mut self.rule else { return false };
        let matches = ip::Packet::parse(packet).is_ok_and(|ip| {
            ip.protocol() == ip::protocol::TCP
                && tcp::Segment::parse(ip.payload()).is_ok_and(|segment| kind.holds(&segment))
        });
        if matches {
            *left -= 1;
            if *left == 0 {
                self.rule = None;
            }
            self.traffic.lost += 1;
        }
        matches
    }

    fn has_released(&self) -> bool {
        !self.held && !self.queue.is_empty()
    }
}

/// The test's handle of the stage.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Mutex<Shared>>,
    waker: Waker,
}

impl Gate {
    /// The stage over `device`, and its handle; with `record` it remembers the latest packets.
    pub fn new<D: Device>(device: D, record: bool) -> (Self, Gated<D>) {
        let shared = Arc::new(Mutex::new(Shared {
            to_kernel: Line::default(),
            to_lastack: Line::default(),
            start: Instant::now(),
            record: record.then(VecDeque::new),
        }));
        let gate = Self { shared: Arc::clone(&shared), waker: device.waker() };
        (gate, Gated { device, shared })
    }

    /// Keeps back what is sent from now on.
    pub fn hold(&self, to: To) {
        lock(&self.shared).line(to).held = true;
    }

    /// Lets go, in order, what was kept back.
    pub fn release(&self, to: To) {
        lock(&self.shared).line(to).held = false;
        self.waker.wake();
    }

    /// Loses the next `count` segments of a kind; replaces the direction's rule. 0: none.
    pub fn lose(&self, to: To, kind: Kind, count: u64) {
        lock(&self.shared).line(to).rule = (count > 0).then_some((kind, count));
    }

    /// What passed.
    #[must_use]
    pub fn traffic(&self, to: To) -> Traffic {
        lock(&self.shared).line(to).traffic
    }

    /// The packets remembered, a line each, oldest first.
    #[must_use]
    pub fn record(&self) -> Vec<String> {
        lock(&self.shared).record.iter().flatten().rev().cloned().collect()
    }
}

/// The stage. See [`Gate`].
pub struct Gated<D> {
    device: D,
    shared: Arc<Mutex<Shared>>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Device> Device for Gated<D> {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let mut shared = lock(&self.shared);
        let mut count = 0;
        while count < max && shared.to_lastack.has_released() {
            if let Some((meta, packet)) = shared.to_lastack.queue.pop_front() {
                sink(&meta, &packet);
                count += 1;
            }
        }
        if count < max {
            self.device.receive(max - count, &mut |meta, packet| {
                if shared.offer(To::Lastack, meta, packet) {
                    sink(meta, packet);
                    count += 1;
                }
            })?;
        }
        Ok(count)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let mut shared = lock(&self.shared);
        self.device.transmit(&mut |frame| {
            if shared.to_kernel.has_released() {
                let (meta, packet) = shared.to_kernel.queue.pop_front()?;
                frame.get_mut(..packet.len())?.copy_from_slice(&packet);
                return Some((packet.len(), meta));
            }
            loop {
                let (len, meta) = fill(frame)?;
                if shared.offer(To::Kernel, &meta, frame.get(..len)?) {
                    return Some((len, meta));
                }
            }
        })
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let shared = lock(&self.shared);
        if shared.to_kernel.has_released() || shared.to_lastack.has_released() {
            return Ok(());
        }
        drop(shared);
        self.device.wait(timeout)
    }

    fn waker(&self) -> Waker {
        self.device.waker()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.poll_fd()
    }

    fn is_full(&self) -> bool {
        self.device.is_full()
    }

    fn next_ready(&self) -> Option<Duration> {
        self.device.next_ready()
    }
}

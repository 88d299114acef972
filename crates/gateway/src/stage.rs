//! The gateway's stage between its stack and the device: packets that no stack sends for addresses that are not its own,
//! echo requests, and connections whose peer has fallen silent.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lastack::device::{Device, Fill, Sink, Waker};
use lastack_wire::ip::protocol;
use lastack_wire::tcp::Flags;
use lastack_wire::{ChecksumState, PacketMeta, ip, tcp};
use tokio::sync::mpsc;

use crate::addresses::{GATEWAY_V6, Network};

/// Packets of the gateway that wait for the device at the most; more are lost.
const MAX_REPLIES: usize = 256;
/// Echo requests that wait to be carried at the most; more are lost.
const MAX_ECHOES: usize = 256;

/// The program's end of a connection, and the other as the program has it.
pub(crate) type Pair = (SocketAddr, SocketAddr);

/// What is done to the packets of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Treatment {
    /// The program's packets get lost.
    Deaf = 1,
    /// Packets for the program get lost.
    Mute = 2,
    /// The program is told a window of zero.
    ZeroWindow = 4,
    /// What the program was told last is remembered, so that its window can be shut at once.
    Watched = 8,
}

/// What a connection's packets are treated with, and how many were.
#[derive(Debug, Default)]
struct Treated {
    flags: AtomicU8,
    /// Packets of the program that got lost.
    unheard: AtomicU64,
    /// The latest bare ACK for the program, before its window was made zero.
    last_ack: Mutex<Vec<u8>>,
}

/// What the gateway's tasks and its stage share.
#[derive(Debug)]
pub(crate) struct Side {
    replies: Mutex<VecDeque<Vec<u8>>>,
    treated: Mutex<HashMap<Pair, Arc<Treated>>>,
    any_treated: AtomicUsize,
    echoes: mpsc::Sender<Vec<u8>>,
    /// Echo requests are taken out for the gateway.
    pings: AtomicBool,
    own: (IpAddr, IpAddr),
    waker: Waker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Side {
    /// Sends a packet to the program, in its turn.
    pub(crate) fn send(&self, packet: Vec<u8>) {
        let mut replies = lock(&self.replies);
        if replies.len() < MAX_REPLIES {
            replies.push_back(packet);
            drop(replies);
            self.waker.wake();
        }
    }

    /// Hands echo requests over from now on.
    pub(crate) fn take_pings(&self) {
        self.pings.store(true, Ordering::Relaxed);
    }

    fn find(&self, pair: &Pair) -> Option<Arc<Treated>> {
        lock(&self.treated).get(pair).map(Arc::clone)
    }

    /// What to do with a packet of the program.
    fn look_in(&self, meta: &PacketMeta, packet: &[u8]) -> Way {
        let treated = self.any_treated.load(Ordering::Relaxed) > 0;
        let pings = self.pings.load(Ordering::Relaxed);
        if !treated && !pings {
            return Way::On;
        }
        let Ok(header) = ip::Packet::parse(packet) else { return Way::On };
        match header.protocol() {
            protocol::TCP if treated => self.hear(&header),
            protocol::ICMP | protocol::ICMPV6 if pings && meta.checksum == ChecksumState::Complete => {
                self.echo(&header, packet)
            }
            _ => Way::On,
        }
    }

    fn hear(&self, header: &ip::Packet<'_>) -> Way {
        let Ok(segment) = tcp::Segment::parse(header.payload()) else { return Way::On };
        let pair = (
            SocketAddr::new(header.src(), segment.src_port),
            SocketAddr::new(header.dst(), segment.dst_port),
        );
        let Some(treated) = self.find(&pair) else { return Way::On };
        if treated.flags.load(Ordering::Relaxed) & Treatment::Deaf as u8 == 0 {
            return Way::On;
        }
        treated.unheard.fetch_add(1, Ordering::Relaxed);
        Way::Lost
    }

    fn echo(&self, header: &ip::Packet<'_>, packet: &[u8]) -> Way {
        const ECHO_V4: u8 = 8;
        const ECHO_V6: u8 = 128;
        let kind = if header.protocol() == protocol::ICMP { ECHO_V4 } else { ECHO_V6 };
        let own = header.dst() == self.own.0 || header.dst() == self.own.1;
        if own || header.payload().first() != Some(&kind) {
            return Way::On;
        }
        // A full queue loses it, as a network would.
        let _ = self.echoes.try_send(packet.to_vec());
        Way::Lost
    }

    /// Changes a packet for the program; false if it gets lost.
    fn look_out(&self, meta: &PacketMeta, packet: &mut [u8]) -> bool {
        if self.any_treated.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let Ok(header) = ip::Packet::parse(packet) else { return true };
        if header.protocol() != protocol::TCP {
            return true;
        }
        let Ok(segment) = tcp::Segment::parse(header.payload()) else { return true };
        let pair = (
            SocketAddr::new(header.dst(), segment.dst_port),
            SocketAddr::new(header.src(), segment.src_port),
        );
        let Some(treated) = self.find(&pair) else { return true };
        let flags = treated.flags.load(Ordering::Relaxed);
        if flags & Treatment::Mute as u8 != 0 {
            return false;
        }
        let remembered = Treatment::ZeroWindow as u8 | Treatment::Watched as u8;
        if flags & remembered == 0 || segment.flags.intersects(Flags::SYN | Flags::RST) {
            return true;
        }
        let bare = segment.payload.is_empty() && !segment.flags.contains(Flags::FIN);
        let (src, dst, at) = (header.src(), header.dst(), header.header_len());
        if bare {
            let mut ack = packet.to_vec();
            if let Some(segment) = ack.get_mut(at..) {
                // It fails only on what is no segment.
                let _ = tcp::fill_checksum(src, dst, segment);
            }
            *lock(&treated.last_ack) = ack;
        }
        if flags & Treatment::ZeroWindow as u8 != 0 {
            shut_window(packet, meta.checksum == ChecksumState::Complete);
        }
        true
    }
}

/// Offset of the window field in a TCP header.
const WINDOW: usize = 14;

/// Tells a window of zero in a segment, with its checksum unless the device adds that.
fn shut_window(packet: &mut [u8], checksum: bool) {
    let Ok(header) = ip::Packet::parse(packet) else { return };
    let (src, dst, at) = (header.src(), header.dst(), header.header_len());
    let Some(segment) = packet.get_mut(at..) else { return };
    if let Some(window) = segment.get_mut(WINDOW..WINDOW + 2) {
        window.fill(0);
    }
    if checksum {
        // It fails only on what is no segment.
        let _ = tcp::fill_checksum(src, dst, segment);
    }
}

enum Way {
    On,
    Lost,
}

/// Treats the packets of one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    side: Arc<Side>,
    pair: Pair,
    treated: Option<Arc<Treated>>,
}

impl Line {
    pub(crate) fn new(side: &Arc<Side>, pair: Pair) -> Self {
        Self { side: Arc::clone(side), pair, treated: None }
    }

    /// Begins or ends a treatment.
    pub(crate) fn set(&mut self, treatment: Treatment, on: bool) {
        if !on && self.treated.is_none() {
            return;
        }
        let treated = self.treated.get_or_insert_with(|| {
            let treated = Arc::<Treated>::default();
            if lock(&self.side.treated).insert(self.pair, Arc::clone(&treated)).is_none() {
                self.side.any_treated.fetch_add(1, Ordering::Relaxed);
            }
            treated
        });
        let flag = treatment as u8;
        let before = if on {
            treated.flags.fetch_or(flag, Ordering::Relaxed)
        } else {
            treated.flags.fetch_and(!flag, Ordering::Relaxed)
        };
        if treatment == Treatment::ZeroWindow && (before & flag != 0) != on {
            // At once: the program waits neither for the next answer nor for its next probe.
            let mut ack = lock(&treated.last_ack).clone();
            if on {
                shut_window(&mut ack, true);
            }
            if !ack.is_empty() {
                self.side.send(ack);
            }
        }
    }

    /// Whether it is treated so.
    pub(crate) fn has(&self, treatment: Treatment) -> bool {
        let flags = self.treated.as_ref().map_or(0, |treated| treated.flags.load(Ordering::Relaxed));
        flags & treatment as u8 != 0
    }

    /// Packets of the program that got lost.
    pub(crate) fn unheard(&self) -> u64 {
        self.treated.as_ref().map_or(0, |treated| treated.unheard.load(Ordering::Relaxed))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(treated) = self.treated.take() else { return };
        let mut all = lock(&self.side.treated);
        // A later connection of the same ports may have taken the place.
        if all.get(&self.pair).is_some_and(|other| Arc::ptr_eq(other, &treated)) {
            all.remove(&self.pair);
            self.side.any_treated.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A device as the gateway's stack sees it.
pub(crate) struct Stage<D> {
    device: D,
    side: Arc<Side>,
}

impl<D: Device> Stage<D> {
    /// Puts a stage over `device`; echo requests come out of the receiver.
    pub(crate) fn new(device: D, network: &Network) -> (Self, Arc<Side>, mpsc::Receiver<Vec<u8>>) {
        let (echoes, requests) = mpsc::channel(MAX_ECHOES);
        let side = Arc::new(Side {
            replies: Mutex::default(),
            treated: Mutex::default(),
            any_treated: AtomicUsize::new(0),
            echoes,
            pings: AtomicBool::new(false),
            own: (network.gateway_v4.into(), GATEWAY_V6.into()),
            waker: device.waker(),
        });
        (Self { device, side: Arc::clone(&side) }, side, requests)
    }
}

impl<D: Device> Device for Stage<D> {
    lastack::device::pass_on!(device);

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let side = &self.side;
        self.device.receive(max, &mut |meta, packet| match side.look_in(meta, packet) {
            Way::On => sink(meta, packet),
            Way::Lost => {}
        })
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let side = &self.side;
        self.device.transmit(&mut |frame| {
            if let Some(packet) = lock(&side.replies).pop_front()
                && let Some(place) = frame.get_mut(..packet.len())
            {
                place.copy_from_slice(&packet);
                return Some((packet.len(), PacketMeta::default()));
            }
            loop {
                let (len, meta) = fill(frame)?;
                if frame.get_mut(..len).is_none_or(|packet| side.look_out(&meta, packet)) {
                    return Some((len, meta));
                }
            }
        })
    }
}

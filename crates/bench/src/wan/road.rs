//! The way between the senders and the receiver: one bottleneck with a queue, and a way back for acknowledgements.

use lastack::device::impair::{Impairment, Line};
use lastack::device::tun::Tun;
use lastack::device::{Capabilities, Device, Fill, PacketMeta, Sink};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Packets taken from a device at once.
const BATCH: usize = 64;
/// How often a road without traffic looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A device that tells a road of what it sends: its own end of a link in memory has no descriptor.
pub(super) struct Told<D> {
    device: D,
    bell: Arc<OwnedFd>,
}

impl<D: Device> Device for Told<D> {
    lastack::device::pass_on!(device);

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        self.device.receive(max, sink)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        let sent = self.device.transmit(fill)?;
        if sent > 0 {
            // It can fail only when it is rung 2^64 times unheard.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
        Ok(sent)
    }
}

/// A sender's end of the road.
struct End {
    device: Box<dyn Device + Send>,
    address: Ipv4Addr,
    /// Its way to the bottleneck.
    access: Line,
    /// Packets that wait for the device.
    waiting: VecDeque<Vec<u8>>,
}

/// The road while it is built.
pub(super) struct Road {
    forward: Line,
    back: Line,
    ends: Vec<End>,
    bell: Arc<OwnedFd>,
    seed: u64,
    jitter: Duration,
}

impl Road {
    /// A road with a direction for data and one for acknowledgements. Packets take up to `jitter` to the bottleneck.
    ///
    /// # Errors
    /// The kernel gives no eventfd.
    pub(super) fn new(
        seed: u64,
        forward: Impairment,
        back: Impairment,
        jitter: Duration,
    ) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let (forward, back) = (Line::new(forward, seed, 0), Line::new(back, seed, 1));
        Ok(Self { forward, back, ends: Vec::new(), bell: Arc::new(bell), seed, jitter })
    }

    fn join(&mut self, address: Ipv4Addr, device: Box<dyn Device + Send>) {
        let config = Impairment { jitter: self.jitter, limit: usize::MAX, ..Impairment::default() };
        // 0 and 1 are the bottleneck's.
        let access = Line::new(config, self.seed, self.ends.len() as u64 + 2);
        self.ends.push(End { device, address, access, waiting: VecDeque::new() });
    }

    /// The kernel of another namespace sends from here.
    pub(super) fn join_kernel(&mut self, address: Ipv4Addr, tun: Tun) {
        self.join(address, Box::new(tun));
    }

    /// A device for a host in this process that sends from here.
    pub(super) fn join_host(
        &mut self,
        address: Ipv4Addr,
        capabilities: Capabilities,
    ) -> impl Device + Send + use<> {
        // What comes off a road is finished.
        let plain = Capabilities::plain(capabilities.mtu);
        let (host, road) = lastack::device::memory::pair_with_capacity(capabilities, plain, 1024);
        self.join(address, Box::new(road));
        Told { device: host, bell: Arc::clone(&self.bell) }
    }

    /// Carries packets between the ends and `receiver` until it is told to stop.
    ///
    /// # Errors
    /// A device broke.
    pub(super) fn carry(mut self, mut receiver: Tun, stop: &AtomicBool) -> io::Result<()> {
        let begun = Instant::now();
        let mut arrived: VecDeque<Vec<u8>> = VecDeque::new();
        while !stop.load(Ordering::Relaxed) {
            let now = begun.elapsed();
            let mut moved = 0;
            for End { device, access, .. } in &mut self.ends {
                moved += device.receive(BATCH, &mut |meta, packet| access.offer(now, meta, packet))?;
            }
            self.gather(now);
            moved += receiver.receive(BATCH, &mut |meta, packet| self.back.offer(now, meta, packet))?;
            while self.forward.pop_due(now, |packet| arrived.push_back(packet.to_vec())).is_some() {}
            moved += receiver.transmit(&mut |frame| next(&mut arrived, frame))?;
            let ends = &mut self.ends;
            while self.back.pop_due(now, |packet| deliver(ends, packet)).is_some() {}
            for end in ends {
                moved += end.device.transmit(&mut |frame| next(&mut end.waiting, frame))?;
            }
            if moved == 0 {
                self.wait(&receiver, begun.elapsed())?;
            }
        }
        Ok(())
    }

    /// Brings what has come to the bottleneck there, in the order and at the times of its arrival.
    fn gather(&mut self, now: Duration) {
        let first = |ends: &mut Vec<End>| -> Option<(Duration, usize)> {
            ends.iter().enumerate().filter_map(|(index, end)| Some((end.access.next_due()?, index))).min()
        };
        while let Some((due, index)) = first(&mut self.ends).filter(|(due, _)| *due <= now) {
            let forward = &mut self.forward;
            self.ends[index].access.pop_due(due, |packet| forward.offer(due, &PacketMeta::default(), packet));
        }
    }

    /// Waits until something comes or is due.
    fn wait(&self, receiver: &Tun, now: Duration) -> io::Result<()> {
        let lines = self.ends.iter().map(|end| &end.access).chain([&self.forward, &self.back]);
        let due = lines.filter_map(Line::next_due).min();
        let limit = due.map_or(LOOK, |due| due.saturating_sub(now).min(LOOK));
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        let devices = self.ends.iter().filter_map(|end| end.device.poll_fd()).chain(receiver.poll_fd());
        fds.extend(devices.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        poll(&mut fds, Some(&limit))?;
        // Nothing to read: nobody rang.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        Ok(())
    }
}

/// Puts the next packet into a device's frame.
fn next(waiting: &mut VecDeque<Vec<u8>>, frame: &mut [u8]) -> Option<(usize, PacketMeta)> {
    let packet = waiting.pop_front()?;
    frame.get_mut(..packet.len())?.copy_from_slice(&packet);
    Some((packet.len(), PacketMeta::default()))
}

/// Gives a packet to the end that it is for. One for nobody (the kernel's own multicast) goes nowhere.
fn deliver(ends: &mut [End], packet: &[u8]) {
    let address =
        packet.get(16..20).and_then(|address| <[u8; 4]>::try_from(address).ok()).map(Ipv4Addr::from);
    if let Some(end) = ends.iter_mut().find(|end| Some(end.address) == address) {
        end.waiting.push_back(packet.to_vec());
    }
}

//! A Linux TUN interface (`/dev/net/tun`, layer 3), or a TAP (layer 2) whose other end is one host.
//!
//! With `IFF_VNET_HDR` each packet carries a `struct virtio_net_hdr`, so that the kernel hands over, and takes, TCP
//! packets of up to 64 KiB with unfinished checksums. What the kernel refuses is not used: an interface works without
//! any offload too.
//!
//! Creating an interface needs `CAP_NET_ADMIN`; attaching to a persistent one needs to be its owner.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lastack_wire::{Capabilities, PacketMeta};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::device::{Device, Fill, MAX_PACKET, Sink, largest_frame};
use crate::ethernet::{self, Ethernet, Frame};
use crate::sys;
use crate::vnet::{self, VNET_HDR};
use crate::waker::Waker;

/// Largest packet in bytes that is given to the kernel to be split: the longest IPv4 packet.
const MAX_GSO: u32 = 65535;
/// MTU of a TUN interface unless it was set.
const DEFAULT_MTU: u16 = 1500;
/// What we take from the kernel, from most to least; the first that it agrees to is used. UDP segmentation is never
/// asked for.
const OFFLOADS: [libc::c_uint; 3] = [
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN,
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6,
    libc::TUN_F_CSUM,
];

/// How to open a TUN interface. Addresses are those of the kernel's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunOptions {
    /// Name of the interface, up to 15 bytes. An interface of this name that exists (persistent) is attached to. `None` =
    /// the kernel chooses (`tun0`...).
    pub name: Option<String>,
    /// MTU in bytes to set: 68..=65535, at least 1280 for IPv6. `None` = leave it (1500 on a new interface).
    pub mtu: Option<u16>,
    /// IPv4 address and prefix length to set.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv6 addresses and prefix lengths to add.
    pub ipv6: Vec<(Ipv6Addr, u8)>,
    /// Bring the interface up. If false it is left as it is.
    pub up: bool,
    /// Use checksum and segmentation offloads as far as the kernel offers them.
    pub offloads: bool,
    /// A TAP: packets have an Ethernet header, and this end answers ARP and neighbour solicitations for every address but
    /// the asker's own.
    pub ethernet: bool,
}

impl Default for TunOptions {
    fn default() -> Self {
        Self {
            name: None,
            mtu: None,
            ipv4: None,
            ipv6: Vec::new(),
            up: true,
            offloads: true,
            ethernet: false,
        }
    }
}

/// What a TUN queue did not deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Received packets whose header did not fit them, or that ask for an offload we did not.
    pub rx_malformed: u64,
    /// Packets to be sent that did not fit their meta or the frame.
    pub tx_malformed: u64,
    /// Packets that the kernel refused: interface down, packet not understood, no memory.
    pub tx_refused: u64,
}

/// What stands before a packet: a header for the kernel, and one for the link.
#[derive(Clone, Copy, Debug)]
struct Header {
    vnet: [u8; VNET_HDR],
    link: [u8; ethernet::HEADER],
}

/// One queue of a TUN or TAP interface.
///
/// Dropping the last queue removes an interface that is not persistent.
#[derive(Debug)]
pub struct Tun {
    file: File,
    wake: Arc<OwnedFd>,
    name: String,
    caps: Capabilities,
    /// Each packet is preceded by a header.
    vnet_hdr: bool,
    /// The link layer of a TAP.
    link: Option<Ethernet>,
    /// Header and packet received.
    rx: Box<[u8]>,
    /// Packet to be sent.
    tx: Box<[u8]>,
    /// Header and length of the packet in `tx`, if the kernel had no room for it.
    pending: Option<(Header, usize)>,
    stats: Stats,
}

impl Tun {
    /// Creates an interface, or attaches to the persistent one of that name, and sets it up, in the network namespace
    /// of the calling thread. Blocks until IPv6 addresses can be used: milliseconds, on a TAP seconds.
    ///
    /// # Errors
    /// Those of the kernel: `PermissionDenied`, `ResourceBusy` (the name is in use), `NotFound` (no
    /// `/dev/net/tun`), and what it says of addresses and MTU.
    pub fn open(options: &TunOptions) -> io::Result<Self> {
        let device = create(options, false)?;
        let tun = Self::attach(device.as_fd().try_clone_to_owned()?, options, device.mtu()?)?;
        start(&device, options)?;
        Ok(tun)
    }

    /// The same with `queues` queues (`IFF_MULTI_QUEUE`, 1..=256; 0 counts as 1). The kernel spreads connections over
    /// them and keeps each on its queue; packets may be sent on any.
    ///
    /// # Errors
    /// Those of [`open`](Self::open). An existing interface must have been made with multiple queues.
    pub fn open_queues(options: &TunOptions, queues: usize) -> io::Result<Vec<Self>> {
        let device = create(options, true)?;
        let mtu = device.mtu()?;
        let mut tuns = vec![Self::attach(device.as_fd().try_clone_to_owned()?, options, mtu)?];
        for _ in 1..queues {
            let queue = device.try_clone()?;
            tuns.push(Self::attach(queue.as_fd().try_clone_to_owned()?, options, mtu)?);
        }
        // Only now that all queues ask for the same offloads may packets come.
        start(&device, options)?;
        Ok(tuns)
    }

    /// Takes a descriptor of `/dev/net/tun` that is attached to an interface (`TUNSETIFF` with `IFF_TUN` or `IFF_TAP` and
    /// `IFF_NO_PI`; with `IFF_VNET_HDR` if offloads are wanted), in whatever network namespace the interface is.
    ///
    /// Of the options `offloads` and `mtu` count; the rest is the business of whoever made the interface. Without
    /// `mtu` it is taken to be 1500.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is not a TUN interface's; else those of the kernel.
    pub fn from_fd(fd: OwnedFd, options: &TunOptions) -> io::Result<Self> {
        Self::attach(fd, options, options.mtu.unwrap_or(DEFAULT_MTU))
    }

    fn attach(fd: OwnedFd, options: &TunOptions, mtu: u16) -> io::Result<Self> {
        let (name, flags) = sys::tun_interface(fd.as_fd()).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("descriptor is not attached to a TUN interface: {error}"),
            )
        })?;
        // Without it the other end's address is learnt from what it sends.
        let link =
            (flags & libc::IFF_TAP != 0).then(|| Ethernet::new(sys::hardware_address(fd.as_fd()).ok()));
        let vnet_hdr = flags & libc::IFF_VNET_HDR != 0;
        if vnet_hdr {
            sys::set_vnet_header_len(fd.as_fd(), VNET_HDR as libc::c_int)?;
        }
        let offloads = vnet_hdr && options.offloads;
        if !offloads || !OFFLOADS.iter().any(|flags| sys::set_offload(fd.as_fd(), *flags).is_ok()) {
            // The setting belongs to the interface: a former user may have left it on.
            sys::set_offload(fd.as_fd(), 0)?;
        }
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        // The kernel takes unfinished packets from us whatever we take from it.
        let gso = if offloads { MAX_GSO } else { 0 };
        let caps = Capabilities { mtu, tx_checksum: offloads, tx_gso_v4: gso, tx_gso_v6: gso };
        Ok(Self {
            file: File::from(fd),
            wake: Arc::new(wake),
            name,
            caps,
            vnet_hdr,
            link,
            rx: vec![0; VNET_HDR + ethernet::HEADER + MAX_PACKET].into(),
            tx: vec![0; largest_frame(&caps)].into(),
            pending: None,
            stats: Stats::default(),
        })
    }

    /// Name of the interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What this queue did not deliver.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Makes what `fill` wrote ready for the kernel; `None` if it does not fit its meta.
    fn prepare(&mut self, len: usize, meta: &PacketMeta) -> Option<Header> {
        let packet = self.tx.get_mut(..len)?;
        let mut header = Header { vnet: [0; VNET_HDR], link: [0; ethernet::HEADER] };
        if self.vnet_hdr {
            header.vnet = vnet::encode(meta, packet).ok()?;
        } else if meta.gso.is_some() {
            return None;
        } else {
            crate::split::finish_checksum(meta, packet).ok()?;
        }
        if let Some(link) = &self.link {
            header.link = link.header(packet);
            vnet::move_back(&mut header.vnet, ethernet::HEADER as u16)?;
        }
        Some(header)
    }

    /// Writes the packet in `tx`; false if the kernel has no room for it now.
    fn write(&mut self, header: &Header, len: usize) -> io::Result<bool> {
        let vnet: &[u8] = if self.vnet_hdr { &header.vnet } else { &[] };
        let link: &[u8] = if self.link.is_some() { &header.link } else { &[] };
        loop {
            let parts = [vnet, link, &self.tx[..len]].map(IoSlice::new);
            let Err(error) = (&self.file).write_vectored(&parts) else { return Ok(true) };
            match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::AGAIN) => return Ok(false),
                // The interface is down, or the kernel has no use for the packet: lost as on a wire, and counted.
                Some(Errno::IO | Errno::INVAL | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE) => {
                    self.stats.tx_refused += 1;
                    return Ok(true);
                }
                _ => return Err(self.explain("write to", &error)),
            }
        }
    }

    fn explain(&self, what: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{what} TUN interface {}: {error}", self.name))
    }
}

/// Creates the interface or attaches to it, and sets addresses and MTU; with offloads if they are wanted and there.
fn create(options: &TunOptions, multi_queue: bool) -> io::Result<tun_rs::SyncDevice> {
    let build = |offload| {
        let mut builder = tun_rs::DeviceBuilder::new().offload(offload).multi_queue(multi_queue);
        if let Some(name) = &options.name {
            builder = builder.name(name);
        }
        if options.ethernet {
            builder = builder.layer(tun_rs::Layer::L2);
        }
        if let Some(mtu) = options.mtu {
            builder = builder.mtu(mtu);
        }
        if let Some((address, prefix)) = options.ipv4 {
            builder = builder.ipv4(address, prefix, None);
        }
        for (address, prefix) in &options.ipv6 {
            builder = builder.ipv6(*address, *prefix);
        }
        builder.inherit_enable_state().build_sync()
    };
    let built = match build(options.offloads) {
        // What a kernel without these offloads says, among others.
        Err(error) if options.offloads && error.kind() == io::ErrorKind::InvalidInput => build(false),
        result => result,
    };
    built.map_err(|error| {
        let name = options.name.as_deref().unwrap_or("(named by the kernel)");
        io::Error::new(error.kind(), format!("set up TUN interface {name}: {error}"))
    })
}

fn start(device: &tun_rs::SyncDevice, options: &TunOptions) -> io::Result<()> {
    if !options.up {
        return Ok(());
    }
    device.enabled(true)?;
    if !options.ipv6.is_empty() {
        settle(&device.name()?);
    }
    Ok(())
}

/// Waits until the kernel lets programs use the IPv6 addresses: for a moment after the interface came up they are
/// tentative, though a TUN has no neighbours that could own them, and on a TAP until it has asked (RFC 4862 5.4). Gives up
/// after three seconds.
fn settle(name: &str) {
    const TENTATIVE: u32 = 0x40;
    let tentative = |line: &str| {
        // Address, index, prefix length, scope, flags, name; all but the name in hexadecimal.
        let mut fields = line.split_ascii_whitespace().skip(4);
        let flags = fields.next().and_then(|flags| u32::from_str_radix(flags, 16).ok());
        fields.next() == Some(name) && flags.is_some_and(|flags| flags & TENTATIVE != 0)
    };
    for _ in 0..3000 {
        let Ok(table) = std::fs::read_to_string("/proc/thread-self/net/if_inet6") else { return };
        if !table.lines().any(tentative) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Device for Tun {
    fn capabilities(&self) -> Capabilities {
        self.caps
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let skip = if self.vnet_hdr { VNET_HDR } else { 0 };
        let mut count = 0;
        for _ in 0..max {
            let len = match (&self.file).read(&mut self.rx) {
                Ok(len) => len,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => continue,
                    Some(Errno::AGAIN) => break,
                    _ => return Err(self.explain("read from", &error)),
                },
            };
            let frame = self.rx.get(skip..len).unwrap_or_default();
            let packet = match &mut self.link {
                None => frame,
                Some(link) => match link.receive(frame) {
                    Frame::Ip => frame.get(ethernet::HEADER..).unwrap_or_default(),
                    Frame::Other => continue,
                    Frame::Asked(answer) => {
                        // It is lost where a full link would lose it: whoever asks asks again.
                        let none: &[u8] = if self.vnet_hdr { &[0; VNET_HDR] } else { &[] };
                        let _ = (&self.file).write_vectored(&[IoSlice::new(none), IoSlice::new(&answer)]);
                        continue;
                    }
                },
            };
            let meta = match self.rx.split_first_chunk() {
                _ if !self.vnet_hdr => Some(PacketMeta::default()),
                Some((header, _)) if len >= VNET_HDR => {
                    vnet::decode(header, frame.len() - packet.len(), packet)
                }
                _ => None,
            };
            match meta {
                Some(meta) => {
                    sink(&meta, packet);
                    count += 1;
                }
                None => self.stats.rx_malformed += 1,
            }
        }
        Ok(count)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        if let Some((header, len)) = self.pending {
            if !self.write(&header, len)? {
                return Ok(0);
            }
            self.pending = None;
        }
        let mut sent = 0;
        while let Some((len, meta)) = fill(&mut self.tx) {
            sent += 1;
            let Some(header) = self.prepare(len, &meta) else {
                self.stats.tx_malformed += 1;
                continue;
            };
            if !self.write(&header, len)? {
                self.pending = Some((header, len));
                break;
            }
        }
        Ok(sent)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = PollFlags::IN;
        if self.pending.is_some() {
            events |= PollFlags::OUT;
        }
        let mut fds = [PollFd::new(&self.file, events), PollFd::new(&self.wake, PollFlags::IN)];
        // A timeout beyond what the kernel can say is no timeout.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            // Early return on a signal is allowed, and lets the caller look at its own flags.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[1].revents().contains(PollFlags::IN) {
            // Resets the counter; the only other outcome is that it was reset already.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        let wake = Arc::clone(&self.wake);
        Waker::new(move || {
            // The only failure is a counter that is full: then the wake-up is pending already.
            let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
        })
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn is_full(&self) -> bool {
        self.pending.is_some()
    }
}

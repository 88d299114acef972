//! The one trait of this crate.

use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lastack_wire::{Capabilities, PacketMeta};

use crate::Waker;

/// Takes received packets, one by one. The slice is valid during the call only.
pub type Sink<'a> = dyn FnMut(&PacketMeta, &[u8]) + 'a;

/// Writes one packet to the start of the frame it is given and returns its length in bytes and what the device must
/// know of it; `None` if there is nothing (more) to send.
pub type Fill<'a> = dyn FnMut(&mut [u8]) -> Option<(usize, PacketMeta)> + 'a;

/// Where packets come from and go to. Packets are IP packets without a link header.
///
/// Nothing but [`wait`](Device::wait) blocks. A device may be driven by one thread in real time (receive, transmit,
/// wait, again), or without threads in virtual time (receive and transmit only).
pub trait Device {
    /// What the device can do on transmit, and the MTU of the link. Constant over the life of the device.
    fn capabilities(&self) -> Capabilities;

    /// Hands up to `max` received packets to `sink` and returns how many. Never blocks; 0 = nothing there.
    ///
    /// A received packet may be unfinished (partial checksum) or stand for several segments, up to 65535 bytes; the
    /// meta says so.
    ///
    /// # Errors
    /// The device is gone or broken. Packets handed over before the error were received.
    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize>;

    /// Asks `fill` for packets until it returns `None` or the device is full, and returns how many it took. Never
    /// blocks. A device may never be full (a TUN hardly is): `fill` ends a batch that is long enough.
    ///
    /// The frame that `fill` gets has at least [`largest_frame`] bytes, with arbitrary content. A device that is full
    /// does not call `fill`; if it finds out too late, it keeps the packet and sends it first the next time (it
    /// counts as taken). So a packet is lost only where a wire would lose it: too large for the MTU, refused by the
    /// peer. Such losses are counted by the device.
    ///
    /// # Errors
    /// The device is gone or broken.
    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize>;

    /// Waits until there is something to receive; or, if the last `transmit` ended because the device was full,
    /// until it takes packets again; or until `timeout` has passed (`None` = for ever); or a [`Waker`] was used.
    /// May return early.
    ///
    /// # Errors
    /// The device is gone or broken.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// A handle that ends a `wait` from another thread.
    fn waker(&self) -> Waker;

    /// The descriptor that becomes readable when there is something to receive (and writable when the device takes
    /// packets), for those who bring their own poll loop. `None` if there is none. [`Waker`]s don't show on it.
    #[cfg(unix)]
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// True if the last `transmit` ended because the device was full.
    fn is_full(&self) -> bool {
        false
    }

    /// When a stage with a clock of its own (impairment) next has something to hand over, as a reading of that clock:
    /// call `receive` and `transmit` then. `None` = not before something else happens. `wait` heeds it already.
    fn next_ready(&self) -> Option<Duration> {
        None
    }
}

/// Passes on, to a field, the calls of [`Device`] that a stage without a queue of its own leaves as they are: all but
/// [`receive`](Device::receive) and [`transmit`](Device::transmit). For use inside of an `impl Device`.
///
/// ```
/// use lastack_device::{Device, Fill, Sink};
///
/// /// Counts what is received.
/// struct Counted<D> {
///     device: D,
///     received: u64,
/// }
///
/// impl<D: Device> Device for Counted<D> {
///     lastack_device::pass_on!(device);
///
///     fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> std::io::Result<usize> {
///         let Self { device, received } = self;
///         device.receive(max, &mut |meta, packet| {
///             *received += 1;
///             sink(meta, packet);
///         })
///     }
///
///     fn transmit(&mut self, fill: &mut Fill<'_>) -> std::io::Result<usize> {
///         self.device.transmit(fill)
///     }
/// }
/// ```
#[macro_export]
macro_rules! pass_on {
    ($device:ident) => {
        fn capabilities(&self) -> $crate::Capabilities {
            $crate::Device::capabilities(&self.$device)
        }

        fn wait(&mut self, timeout: ::core::option::Option<::core::time::Duration>) -> ::std::io::Result<()> {
            $crate::Device::wait(&mut self.$device, timeout)
        }

        fn waker(&self) -> $crate::Waker {
            $crate::Device::waker(&self.$device)
        }

        #[cfg(unix)]
        fn poll_fd(&self) -> ::core::option::Option<::std::os::fd::BorrowedFd<'_>> {
            $crate::Device::poll_fd(&self.$device)
        }

        fn is_full(&self) -> bool {
            $crate::Device::is_full(&self.$device)
        }

        fn next_ready(&self) -> ::core::option::Option<::core::time::Duration> {
            $crate::Device::next_ready(&self.$device)
        }
    };
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        (**self).receive(max, sink)
    }
    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        (**self).transmit(fill)
    }
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        (**self).wait(timeout)
    }
    fn waker(&self) -> Waker {
        (**self).waker()
    }
    #[cfg(unix)]
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).poll_fd()
    }
    fn is_full(&self) -> bool {
        (**self).is_full()
    }
    fn next_ready(&self) -> Option<Duration> {
        (**self).next_ready()
    }
}

/// Bytes of the largest packet that may be transmitted with these capabilities: the MTU, or the largest packet the
/// device segments.
#[must_use]
pub fn largest_frame(capabilities: &Capabilities) -> usize {
    let gso = capabilities.tx_gso_v4.max(capabilities.tx_gso_v6);
    usize::from(capabilities.mtu).max(usize::try_from(gso).unwrap_or(usize::MAX).min(MAX_PACKET))
}

/// Bytes of the largest IP packet: an IPv6 header and 65535 bytes after it.
pub(crate) const MAX_PACKET: usize = 40 + 65535;

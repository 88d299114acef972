//! Making a host.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lastack_core::{Cidr, CidrError, Config, Route, Stack};
use lastack_device::Device;

use super::driver::Driver;
use super::shard::Shard;
use super::shared::{Owner, Shared};
use super::{Host, ON_DRIVER, driver, exit};
use crate::clock::{Clock, SystemClock};

/// What a [`Host`] is made of.
///
/// ```
/// use lastack::Host;
/// use lastack::device::{Capabilities, memory};
///
/// let (device, _peer) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
/// let host = Host::builder().device(device).address([10, 0, 0, 1], 24).start()?;
/// # drop(host);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub struct HostBuilder {
    config: Config,
    device: Option<Box<dyn Device + Send>>,
    clock: Option<Box<dyn Clock>>,
    seed: Option<[u8; 32]>,
    drain: Duration,
    name: String,
    wrong: Option<CidrError>,
}

impl HostBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            device: None,
            clock: None,
            seed: None,
            drain: Duration::from_secs(5),
            name: "lastack".to_owned(),
            wrong: None,
        }
    }

    /// Replaces the whole configuration, addresses and routes included. Default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds an address and the length of the prefix that is reached directly, 0..=32 for IPv4 and 0..=128 for IPv6
    /// (else [`HostBuilder::start`] fails).
    pub fn address(mut self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        match Cidr::new(address.into(), prefix) {
            Ok(cidr) => self.config.addresses.push(cidr),
            Err(e) => self.wrong = Some(e),
        }
        self
    }

    /// Adds a route for what is not in a prefix of an address.
    pub fn route(mut self, route: Route) -> Self {
        self.config.routes.push(route);
        self
    }

    /// The device. Required.
    pub fn device(mut self, device: impl Device + Send + 'static) -> Self {
        self.device = Some(Box::new(device));
        self
    }

    /// The clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// The seed of initial sequence numbers, ports and hash keys. Default, and right for everything but tests: from the
    /// operating system's randomness. A seed that others know lets them forge segments.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How long the end of the process, or of the last handle and socket, gives the peers to acknowledge what closed
    /// sockets owe. Default 5 s.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Name of the driver's thread. Default `lastack`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Starts the driver.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) without a device or with an impossible prefix; no randomness; no thread.
    pub fn start(mut self) -> io::Result<Host> {
        let name = std::mem::take(&mut self.name);
        let (host, driver) = self.start_stepped()?;
        thread::Builder::new().name(name).spawn(move || {
            ON_DRIVER.set(true);
            driver::run(driver);
        })?;
        exit::register(&host.owner.shared);
        Ok(host)
    }

    /// Makes a host without a thread: its packets move and its time passes in [`Driver::turn`] only. For those who own the
    /// time, such as a simulator; the end of the process does not wait for such a host.
    ///
    /// ```
    /// use lastack::device::{Capabilities, memory};
    /// use lastack::{Host, Turn};
    ///
    /// let (device, _peer) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    /// let (host, mut driver) = Host::builder().device(device).address([10, 0, 0, 1], 24).start_stepped()?;
    /// assert_eq!(driver.turn(), Turn::Wait(None));
    /// # drop(host);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`HostBuilder::start`], but for the thread.
    pub fn start_stepped(mut self) -> io::Result<(Host, Driver)> {
        if let Some(wrong) = self.wrong {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
        }
        let device = self.device.take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a host needs a device; call HostBuilder::device")
        })?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(io::Error::other)?;
                seed
            }
        };
        let mut config = self.config;
        // The runtime follows connections by their transitions. They are taken after every round, and this is more
        // than one round can make: every record may end at once.
        config.trace_transitions = true;
        config.trace_limit = config
            .trace_limit
            .saturating_add(config.tcp.max_time_wait)
            .saturating_add(config.tcp.max_orphans)
            .max(1 << 20);
        let clock = self.clock.unwrap_or_else(|| Box::new(SystemClock::new()));
        let stack = Stack::new(config, device.capabilities(), seed, clock.now());
        let shared = Arc::new(Shared::new(Shard::new(stack), clock, device.waker(), self.drain));
        let driver = Driver::new(Arc::clone(&shared), device);
        Ok((Host { owner: Arc::new(Owner { shared }) }, driver))
    }
}

impl fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuilder")
            .field("config", &self.config)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

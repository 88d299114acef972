//! A stack that stands for every address behind a device, and the host's sockets behind it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use lastack::device::impair::{Impair, Impairment};
use lastack::device::{Device, clock};
use lastack::tokio::{TcpListener, UdpSocket};
use lastack::{Cidr, Config, Host, Route};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::activity::Activity;
use crate::addresses::{AddressMap, GATEWAY_V6, Network, PREFIX_V6};
use crate::api::Api;
use crate::faults::Faults;
use crate::limit::{self, Destinations, Meters};
use crate::options::{GatewayOptions, Limits};
use crate::outgoing::Outgoing;
use crate::owner::Owners;
use crate::publish::Listening;
use crate::seeing::Notes;
use crate::stage::{Side, Stage};
use crate::summary::{Ledger, Report, count};
use crate::trace::{Trace, Warning, say, transition};
use crate::upstream::Upstream;
use crate::{api, ping, tcp, udp};

/// Pause between two looks while the gateway waits for the last data.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// When nothing has moved for so long, and nothing waits for the host, whoever still holds connections is not about to
/// finish them.
const DRAIN_QUIET: Duration = Duration::from_millis(500);

/// What all connections of a gateway share.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) addresses: AddressMap,
    pub(crate) limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) trace: Trace,
    pub(crate) notes: Option<Notes>,
    pub(crate) owners: Option<Owners>,
    pub(crate) meters: Meters,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) shortage: Warning,
    pub(crate) no_ping: Warning,
    pub(crate) proxy: Warning,
    pub(crate) side: Arc<Side>,
    pub(crate) faults: Faults,
    pub(crate) upstream: Upstream,
    pub(crate) outgoing: Outgoing,
}

/// Ends the TCP connections that arrive on a device, carries each on over a socket of the host, and carries UDP.
///
/// A connection is answered only when the host's has been: what refuses there refuses here. However one side ends is how
/// the other side sees it end.
pub struct Gateway {
    shared: Arc<Shared>,
    tcp: TcpListener,
    udp: UdpSocket,
    published: Vec<Listening>,
    api: Option<Api>,
    echoes: mpsc::Receiver<Vec<u8>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("host", &self.shared.host).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts a stack over `device`. Nothing is carried before [`run`](Self::run).
    ///
    /// # Errors
    /// Those of [`HostBuilder::start`](lastack::HostBuilder::start).
    pub fn new(device: impl Device + Send + 'static, options: GatewayOptions) -> io::Result<Self> {
        let GatewayOptions {
            addresses,
            limits,
            trace,
            records,
            upstream,
            outgoing,
            faults,
            seed,
            impairment,
            namespace,
            notes,
        } = options;
        let device = impair(device, seed, impairment);
        let (device, side, echoes) = Stage::new(device, &addresses.network);
        let host = Host::builder()
            .config(config(&limits, &addresses.network)?)
            .device(device)
            .name("lastack-gateway")
            .start()?;
        let trace = Trace::new(trace);
        if trace.is_on() {
            host.trace(transition);
        }
        let ledger = Arc::new(Ledger::new(if records { limits.max_records } else { 0 }));
        if records {
            let ledger = Arc::clone(&ledger);
            host.trace(move |event| ledger.transition(event));
        }
        let watched = records || trace.is_on() || notes.is_some();
        // Dual stack: both families.
        let tcp = tcp::listen(&host, (Ipv6Addr::UNSPECIFIED, 0).into(), limits.max_pending)?;
        let udp = UdpSocket::bind_any_port(&host, Ipv6Addr::UNSPECIFIED.into())?;
        let shared = Shared {
            slots: Arc::new(Semaphore::new(limits.max_connections)),
            activity: Arc::default(),
            owners: if watched { namespace.map(Owners::start).transpose()? } else { None },
            ledger,
            trace,
            notes,
            meters: Meters::new(&limits),
            destinations: Arc::default(),
            shortage: Warning::new(),
            no_ping: Warning::new(),
            proxy: Warning::new(),
            side,
            faults: Faults::new(faults, seed),
            upstream,
            outgoing,
            host,
            addresses,
            limits,
        };
        Ok(Self { shared: Arc::new(shared), tcp, udp, published: Vec::new(), api: None, echoes })
    }

    /// Carries what comes to a port of the host to a port inside, once the gateway [runs](Self::run).
    pub fn publish(&mut self, port: Listening) {
        self.published.push(port);
    }

    /// Lets ports be led inside while the gateway runs.
    pub(crate) fn serve_api(&mut self, api: Api) {
        self.api = Some(api);
    }

    /// The stack.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.shared.host
    }

    /// Carries connections and datagrams until `stop`; then waits until what the program has sent was passed on, for at
    /// most [`Limits::drain`]; then cuts what is left, and ends the stack. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The device failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<Report> {
        let Self { shared, tcp, udp, published, api, echoes } = self;
        let (leave, leaving) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(tcp::serve(Arc::clone(&shared), tcp, leaving.clone()));
        tasks.spawn(udp::serve(Arc::clone(&shared), udp, leaving.clone()));
        tasks.spawn(ping::serve(Arc::clone(&shared), echoes, leaving.clone()));
        for port in published {
            port.serve(&shared, &leaving, leaving.clone(), &mut tasks)?;
        }
        if let Some(api) = api {
            tasks.spawn(api::serve(Arc::clone(&shared), api, leaving.clone()));
        }
        drop(leaving);
        let limits = tokio::spawn(limit::watch(Arc::clone(&shared)));
        let failure = tokio::select! {
            () = stop => None,
            // Without being told to they end only when the stack does.
            Some(ended) = tasks.join_next() => Some(ended.map_or_else(io::Error::other, Leave::into_error)),
        };
        if failure.is_none() {
            drain(&shared).await;
        }
        let blocked = shared.activity.read().blocked;
        if blocked > 0 {
            let limit = shared.limits.drain.as_secs_f32();
            say(format_args!(
                "{} did not take all that the program had sent within {limit} s; reset",
                count(blocked, "connection")
            ));
        }
        shared.activity.leave();
        drop(leave);
        while tasks.join_next().await.is_some() {}
        limits.abort();
        shared.meters.look(&shared.host);
        let closed = shared.host.close_async(Duration::ZERO).await;
        shared.settle_openers().await;
        match failure {
            Some(error) => Err(closed.failure.map_or(error, io::Error::other)),
            None => Ok(Report { limits: shared.meters.met(), ..shared.ledger.take() }),
        }
    }
}

/// The device behind a bad network, if it is one: both ways the same.
fn impair(device: impl Device + Send + 'static, seed: u64, impairment: Impairment) -> Box<dyn Device + Send> {
    if impairment == Impairment::default() {
        return Box::new(device);
    }
    Box::new(Impair::new(device, seed, impairment.clone(), impairment, clock::monotonic()))
}

/// Why a task of the gateway ended.
#[derive(Debug)]
pub(crate) enum Leave {
    /// It was told to.
    Told,
    /// The stack is gone.
    Failed(io::Error),
}

impl Leave {
    fn into_error(self) -> io::Error {
        match self {
            Self::Told => io::Error::other("a task of the gateway ended by itself"),
            Self::Failed(error) => error,
        }
    }
}

/// Waits for the data that a program left behind when it ended.
async fn drain(shared: &Shared) {
    let until = Instant::now() + shared.limits.drain;
    let mut last = shared.activity.read();
    let mut moved = Instant::now();
    while Instant::now() < until {
        sleep(DRAIN_LOOK).await;
        let now = shared.activity.read();
        if now.unfinished == 0 {
            return;
        }
        if now != last {
            (last, moved) = (now, Instant::now());
        }
        if now.blocked == 0 && moved.elapsed() >= DRAIN_QUIET {
            return;
        }
    }
}

/// The stack's configuration: every address is its own, everything is behind the device.
fn config(limits: &Limits, network: &Network) -> io::Result<Config> {
    let cidr = |address: IpAddr, prefix| Cidr::new(address, prefix).map_err(io::Error::other);
    let everything = |address| Ok::<_, io::Error>(Route { to: cidr(address, 0)?, source: None });
    let mut config = Config {
        addresses: vec![
            cidr(network.gateway_v4.into(), network.prefix_v4)?,
            cidr(GATEWAY_V6.into(), PREFIX_V6)?,
        ],
        routes: vec![everything(Ipv4Addr::UNSPECIFIED.into())?, everything(Ipv6Addr::UNSPECIFIED.into())?],
        any_address: true,
        ..Config::default()
    };
    config.memory_limit = limits.max_memory;
    config.tcp.max_syn_backlog = limits.max_pending as usize;
    config.tcp.somaxconn = limits.max_pending as usize;
    Ok(config)
}

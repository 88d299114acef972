//! UDP: each flow (source and destination) has a connected socket on the host, until it has been idle for a while.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lastack::ConnectionId;
use lastack::core::IcmpUnreach;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::addresses::Target;
use crate::dial::is_shortage;
use crate::gateway::{Leave, Shared};
use crate::outlet::Outlet;
use crate::packets::too_big;
use crate::publish::Protocol;
use crate::seeing::Opener;
use crate::summary::{Direction, FlowRecord};
use crate::upstream::{Upstream, is_proxy_error};

/// Bytes of the largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Datagrams that a flow hands over before others get their turn.
const BATCH: usize = 32;
/// Port of the name service.
const DNS_PORT: u16 = 53;
/// Datagrams of a flow, and their bytes, that wait for a proxy at the most; more are lost.
const MAX_WAITING: (usize, usize) = (32, 128 << 10);

/// Source and destination, as the program has them.
type Key = (SocketAddr, SocketAddr);
type Table = Arc<Mutex<HashMap<Key, Entry>>>;

struct Entry {
    flow: Arc<Flow>,
    task: AbortHandle,
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MAX_DATAGRAM].into());
}

/// Carries datagrams until the sender of `leaving` is gone, or the stack ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    socket: lastack::tokio::UdpSocket,
    mut leaving: watch::Receiver<()>,
) -> Leave {
    let socket = Arc::new(socket);
    let table = Table::default();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.recv_meta(&mut buffer) => received,
            Some(_) = tasks.join_next() => continue,
            _ = leaving.changed() => {
                tasks.shutdown().await;
                return Leave::Told;
            }
        };
        let meta = match received {
            Ok(received) => received,
            Err(error) => return Leave::Failed(error),
        };
        let (len, source, destination) = (meta.len.min(MAX_DATAGRAM), meta.from, meta.to);
        let key = (source, destination);
        let known = lock(&table).get(&key).map(|entry| Arc::clone(&entry.flow));
        let flow = match known {
            Some(flow) => flow,
            None => match open(&shared, key).await {
                Ok(flow) => {
                    make_room(&table, &shared);
                    let flow = Arc::new(flow);
                    let task = answer(Arc::clone(&flow), Arc::clone(&socket), Arc::clone(&table));
                    let task = tasks.spawn(task);
                    lock(&table).insert(key, Entry { flow: Arc::clone(&flow), task });
                    flow
                }
                Err(how) => {
                    if let Some(how) = how {
                        // It fails only when the stack is gone.
                        let _ = socket.refuse(destination, source, len, how);
                    }
                    continue;
                }
            },
        };
        flow.send(&socket, &buffer[..len], meta.dont_fragment);
    }
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pushes the flow out that has been idle the longest, if there is no room for another.
fn make_room(table: &Table, shared: &Shared) {
    let mut table = lock(table);
    if table.len() < shared.limits.max_udp_flows {
        return;
    }
    shared.meters.udp_flows.meet();
    let oldest = table.iter().min_by_key(|(_, entry)| {
        entry.flow.begun + Duration::from_millis(entry.flow.last.load(Ordering::Relaxed))
    });
    if let Some(key) = oldest.map(|(key, _)| *key)
        && let Some(entry) = table.remove(&key)
    {
        entry.task.abort();
    }
}

/// A flow, or how its first datagram is refused: `None` in silence.
async fn open(shared: &Arc<Shared>, (source, destination): Key) -> Result<Flow, Option<IcmpUnreach>> {
    let (target, outlet) = match shared.addresses.target(destination) {
        Target::Own(target) => (target, Outlet::direct(target, &shared.outgoing).await.map(Some)),
        Target::Host(target) if shared.upstream == Upstream::Direct => {
            (target, Outlet::direct(target, &shared.outgoing).await.map(Some))
        }
        // A proxy takes its time; others do not wait for it.
        Target::Host(target) => (target, Ok(None)),
        Target::Refused => return Err(Some(IcmpUnreach::Port)),
        Target::Martian => return Err(Some(IcmpUnreach::Host)),
    };
    match outlet {
        Ok(outlet) => Ok(Flow {
            shared: Arc::clone(shared),
            opener: shared.opener(Protocol::Udp, ConnectionId(0), (source, destination)),
            source,
            destination,
            target,
            outlet: outlet.map_or_else(OnceLock::new, OnceLock::from),
            waiting: Mutex::default(),
            idle: if destination.port() == DNS_PORT {
                shared.limits.dns_idle
            } else {
                shared.limits.udp_idle
            },
            begun: Instant::now(),
            last: AtomicU64::new(0),
            counts: Counts::default(),
        }),
        Err(error) => {
            if is_shortage(&error) {
                shared.shortage.say(format_args!("cannot open a UDP socket on the host: {error}"));
            }
            Err(refusal(&error))
        }
    }
}

/// The ICMP error that stands for `error`; `None` where a network would lose the datagram in silence.
fn refusal(error: &io::Error) -> Option<IcmpUnreach> {
    if is_proxy_error(error) {
        // The only word that Linux does not take for a hint, but for port unreachable, which would be about the destination.
        return Some(IcmpUnreach::Prohibited);
    }
    match error.raw_os_error()? {
        libc::ECONNREFUSED => Some(IcmpUnreach::Port),
        libc::EHOSTUNREACH | libc::EHOSTDOWN => Some(IcmpUnreach::Host),
        libc::ENETUNREACH | libc::ENETDOWN | libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL => {
            Some(IcmpUnreach::Network)
        }
        libc::EACCES | libc::EPERM => Some(IcmpUnreach::Prohibited),
        _ => None,
    }
}

fn is_too_big(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

#[derive(Default)]
struct Counts {
    datagrams_out: AtomicU64,
    bytes_out: AtomicU64,
    datagrams_in: AtomicU64,
    bytes_in: AtomicU64,
    refused: AtomicU64,
    too_big: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<Vec<u8>>,
    bytes: usize,
}

struct Flow {
    shared: Arc<Shared>,
    source: SocketAddr,
    destination: SocketAddr,
    target: SocketAddr,
    opener: Opener,
    /// Empty until a proxy has agreed.
    outlet: OnceLock<Outlet>,
    /// What is to be sent then.
    waiting: Mutex<Waiting>,
    idle: Duration,
    begun: Instant,
    /// Milliseconds from `begun` to the latest datagram.
    last: AtomicU64,
    counts: Counts,
}

impl Flow {
    fn touch(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn expires(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed)) + self.idle
    }

    /// Passes a datagram on; it is lost where a network would lose it, and refused where it refuses.
    fn send(&self, inside: &lastack::tokio::UdpSocket, data: &[u8], whole: bool) {
        self.touch();
        if let Some(outlet) = self.outlet.get() {
            return self.send_by(outlet, inside, data, whole);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.outlet.get() {
            Some(outlet) => self.send_by(outlet, inside, data, whole),
            None if waiting.datagrams.len() < MAX_WAITING.0
                && waiting.bytes + data.len() <= MAX_WAITING.1 =>
            {
                waiting.bytes += data.len();
                waiting.datagrams.push_back(data.to_vec());
            }
            None => {}
        }
    }

    fn send_by(&self, outlet: &Outlet, inside: &lastack::tokio::UdpSocket, data: &[u8], whole: bool) {
        let mut sent = outlet.try_send(data, whole);
        // The kernel tells of an earlier datagram's fate in this call's place.
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.failed(outlet, inside, error);
            sent = outlet.try_send(data, whole);
        }
        if sent.as_ref().is_err_and(is_too_big) {
            sent = outlet.try_send(data, whole);
            if sent.as_ref().is_err_and(is_too_big) {
                // Too big for the host's interface: with an interface like that the program's kernel would have cut it.
                sent = outlet.try_send(data, false);
            } else {
                // It was about an earlier datagram.
                self.too_big(outlet);
            }
        }
        match sent {
            Ok(()) => {
                self.counts.datagrams_out.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes_out.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
            Err(error) => self.failed(outlet, inside, &error),
        }
    }

    /// Has a proxy agree to carry the flow, and sends what has waited for that, or refuses it.
    async fn associate(&self, inside: &lastack::tokio::UdpSocket) {
        let shared = &self.shared;
        let outlet = Outlet::associate(&shared.upstream, self.target, &shared.outgoing).await;
        // Who sends meanwhile waits, so that the order stays.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut waiting.datagrams);
        match outlet {
            Ok(outlet) => {
                let outlet = self.outlet.get_or_init(|| outlet);
                waiting.iter().for_each(|data| self.send_by(outlet, inside, data, false));
            }
            Err(error) => {
                if is_proxy_error(&error) {
                    shared.proxy.say(&error);
                } else if is_shortage(&error) {
                    shared.shortage.say(format_args!("cannot open a UDP socket on the host: {error}"));
                }
                waiting.iter().for_each(|_| self.refused(inside, &error));
            }
        }
    }

    /// An error of the outlet; a proxy's says nothing of the destination.
    fn failed(&self, outlet: &Outlet, inside: &lastack::tokio::UdpSocket, error: &io::Error) {
        if outlet.is_proxy() && error.kind() == io::ErrorKind::ConnectionRefused {
            return self.refused(inside, &io::Error::from_raw_os_error(libc::EACCES));
        }
        if is_too_big(error) {
            return self.too_big(outlet);
        }
        self.refused(inside, error);
    }

    /// A router does not take what may not be cut: the program is told what it takes. Which datagram it was nobody looks at.
    fn too_big(&self, outlet: &Outlet) {
        self.counts.too_big.fetch_add(1, Ordering::Relaxed);
        let packet = outlet.room().and_then(|room| too_big(self.source, self.destination, room));
        if let Some(packet) = packet {
            self.shared.side.send(packet);
        }
    }

    /// The host cannot send to there, or nobody takes it there: the program is told as it would be without a gateway.
    fn refused(&self, inside: &lastack::tokio::UdpSocket, error: &io::Error) {
        let Some(how) = refusal(error) else { return };
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        // It fails only when the stack is gone. Which datagram it was nobody looks at.
        let _ = inside.refuse(self.destination, self.source, 0, how);
    }

    /// Hands over what the host's socket has received; false if there may be more.
    fn receive(&self, outlet: &Outlet, inside: &lastack::tokio::UdpSocket, scratch: &mut [u8]) -> bool {
        for _ in 0..BATCH {
            let data = match outlet.try_recv(scratch) {
                Ok(Some(data)) => scratch.get(data).unwrap_or_default(),
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    self.failed(outlet, inside, &error);
                    continue;
                }
            };
            self.touch();
            if inside.try_send_from(data, self.destination, self.source).is_ok() {
                self.counts.datagrams_in.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes_in.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
        }
        false
    }

    fn key(&self) -> Key {
        (self.source, self.destination)
    }
}

/// Hands answers over until the flow has been idle for long enough, or a proxy no longer carries it.
async fn answer(flow: Arc<Flow>, inside: Arc<lastack::tokio::UdpSocket>, table: Table) {
    if flow.outlet.get().is_none() {
        flow.associate(&inside).await;
    }
    let Some(outlet) = flow.outlet.get() else {
        // The next datagram asks again.
        lock(&table).remove(&flow.key());
        return;
    };
    loop {
        let expires = flow.expires();
        tokio::select! {
            ready = outlet.ready() => {
                if ready.is_ok_and(|ready| ready.is_error()) {
                    while let Some(error) = outlet.take_error() {
                        flow.failed(outlet, &inside, &error);
                    }
                }
                if !SCRATCH.with_borrow_mut(|scratch| flow.receive(outlet, &inside, scratch)) {
                    tokio::task::yield_now().await;
                }
            }
            () = outlet.ended() => {
                lock(&table).remove(&flow.key());
                return;
            }
            () = sleep_until(expires) => {
                let mut table = lock(&table);
                // Decided under the lock: a datagram that comes now finds the flow, or opens another.
                if flow.expires() <= Instant::now() {
                    table.remove(&flow.key());
                    return;
                }
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let counts = &self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        if !self.shared.is_watched() {
            return;
        }
        let record = FlowRecord {
            direction: Direction::Outbound,
            opened_by: self.opener.get().cloned(),
            source: self.source,
            destination: self.destination,
            target: Some(self.target),
            datagrams_out: get(&counts.datagrams_out),
            bytes_out: get(&counts.bytes_out),
            datagrams_in: get(&counts.datagrams_in),
            bytes_in: get(&counts.bytes_in),
            refused: get(&counts.refused),
            too_big: get(&counts.too_big),
        };
        self.shared.ended(&record);
        self.shared.ledger.flow(record, &self.opener);
    }
}

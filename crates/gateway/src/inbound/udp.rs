//! UDP from a published port: each client has a socket inside, until it has been idle for a while.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack::tokio::UdpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::ways;
use crate::gateway::{Leave, Shared};
use crate::publish::Inside;
use crate::seeing::Opener;
use crate::summary::{Direction, FlowRecord};

/// Bytes of the largest datagram.
const MAX_DATAGRAM: usize = 65_535;

type Table = Arc<Mutex<HashMap<SocketAddr, Entry>>>;

struct Entry {
    flow: Arc<Flow>,
    task: AbortHandle,
}

/// Carries datagrams until the sender of `leaving` is gone.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    host: tokio::net::UdpSocket,
    inside: Inside,
    mut leaving: watch::Receiver<()>,
) -> Leave {
    let host = Arc::new(host);
    let table = Table::default();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = host.recv_from(&mut buffer) => received,
            Some(_) = tasks.join_next() => continue,
            _ = leaving.changed() => {
                tasks.shutdown().await;
                return Leave::Told;
            }
        };
        // An error is about an earlier answer, whose client is gone.
        let Ok((len, client)) = received else { continue };
        let known = lock(&table).get(&client).map(|entry| Arc::clone(&entry.flow));
        let flow = match known {
            Some(flow) => flow,
            None => match open(&shared, &host, client, inside).await {
                Ok(flow) => {
                    make_room(&table, &shared);
                    let flow = Arc::new(flow);
                    let task = tasks.spawn(answer(Arc::clone(&flow), Arc::clone(&table)));
                    lock(&table).insert(client, Entry { flow: Arc::clone(&flow), task });
                    flow
                }
                Err(error) => {
                    shared.shortage.say(format_args!("cannot open a UDP socket inside: {error}"));
                    continue;
                }
            },
        };
        flow.send(&buffer[..len]);
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pushes the client out that has been idle the longest, if there is no room for another.
fn make_room(table: &Table, shared: &Shared) {
    let mut table = lock(table);
    if table.len() < shared.limits.max_udp_flows {
        return;
    }
    shared.meters.udp_flows.meet();
    let oldest = table.iter().min_by_key(|(_, entry)| entry.flow.last());
    if let Some(client) = oldest.map(|(client, _)| *client)
        && let Some(entry) = table.remove(&client)
    {
        entry.task.abort();
    }
}

struct Flow {
    shared: Arc<Shared>,
    host: Arc<tokio::net::UdpSocket>,
    client: SocketAddr,
    /// The published address.
    destination: SocketAddr,
    target: SocketAddr,
    inside: UdpSocket,
    begun: Instant,
    /// Milliseconds from `begun` to the latest datagram.
    last: AtomicU64,
    /// Datagrams and bytes towards the client, and towards the program.
    out: (AtomicU64, AtomicU64),
    into: (AtomicU64, AtomicU64),
    refused: AtomicU64,
}

/// A datagram inside has no way of telling that nobody listens before it is sent: the family is the client's own, where
/// the program has it.
async fn open(
    shared: &Arc<Shared>,
    host: &Arc<tokio::net::UdpSocket>,
    client: SocketAddr,
    inside: Inside,
) -> io::Result<Flow> {
    let ways = ways(&shared.addresses.network, client, inside);
    let (from, target) = *ways.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let inside = UdpSocket::bind(&shared.host, SocketAddr::new(from, 0)).await?;
    inside.connect(target).await?;
    Ok(Flow {
        shared: Arc::clone(shared),
        host: Arc::clone(host),
        client,
        destination: host.local_addr()?,
        target,
        inside,
        begun: Instant::now(),
        last: AtomicU64::new(0),
        out: Default::default(),
        into: Default::default(),
        refused: AtomicU64::new(0),
    })
}

impl Flow {
    fn touch(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn expires(&self) -> Instant {
        self.last() + self.shared.limits.udp_idle
    }

    /// Passes a client's datagram on; it is lost where a network would lose it.
    fn send(&self, data: &[u8]) {
        self.touch();
        let mut sent = self.inside.try_send(data);
        // The stack tells of an earlier datagram's fate in this call's place.
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            sent = self.inside.try_send(data);
        }
        if sent.is_ok() {
            count(&self.into, data.len());
        }
    }
}

fn count(counts: &(AtomicU64, AtomicU64), bytes: usize) {
    counts.0.fetch_add(1, Ordering::Relaxed);
    counts.1.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Hands answers to the client until the flow has been idle for long enough.
async fn answer(flow: Arc<Flow>, table: Table) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            received = flow.inside.recv(&mut buffer) => match received {
                Ok(len) => {
                    flow.touch();
                    if flow.host.send_to(&buffer[..len], flow.client).await.is_ok() {
                        count(&flow.out, len);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    flow.refused.fetch_add(1, Ordering::Relaxed);
                }
                // The stack is gone, and the gateway with it.
                Err(_) => return,
            },
            () = sleep_until(flow.expires()) => {
                let mut table = lock(&table);
                // Decided under the lock: a datagram that comes now finds the flow, or opens another.
                if flow.expires() <= Instant::now() {
                    table.remove(&flow.client);
                    return;
                }
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        if !self.shared.is_watched() {
            return;
        }
        let record = FlowRecord {
            direction: Direction::Inbound,
            opened_by: None,
            source: self.client,
            destination: self.destination,
            target: Some(self.target),
            datagrams_out: get(&self.out.0),
            bytes_out: get(&self.out.1),
            datagrams_in: get(&self.into.0),
            bytes_in: get(&self.into.1),
            refused: get(&self.refused),
            too_big: 0,
        };
        self.shared.ended(&record);
        self.shared.ledger.flow(record, &Opener::default());
    }
}

//! Ping: echo requests of the program, carried by the host's ping sockets (Linux `net.ipv4.ping_group_range`), which need no
//! privilege.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastack_wire::{icmp, ip};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::addresses::Target;
use crate::gateway::{Leave, Shared};
use crate::outgoing::Outgoing;
use crate::packets::{Unreachable, echo_reply, unreachable};

/// How long a series of echo requests may pause.
const IDLE: Duration = Duration::from_secs(30);
/// Series at once; more get no answer.
pub(crate) const MAX_SERIES: usize = 256;
/// Largest message.
const MAX_MESSAGE: usize = 65_535;

/// Source, destination and identifier of a series.
type Key = (IpAddr, IpAddr, u16);
type Table = Arc<Mutex<HashMap<Key, (Arc<Series>, AbortHandle)>>>;

struct Series {
    key: Key,
    host: UdpSocket,
    last: Mutex<Last>,
}

/// The latest request: when, and the packet.
struct Last {
    at: Instant,
    packet: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An echo request, as the program sent it.
struct Request<'a> {
    key: Key,
    seq: u16,
    data: &'a [u8],
    ttl: u8,
}

fn parse(packet: &[u8]) -> Option<Request<'_>> {
    let header = ip::Packet::parse(packet).ok()?;
    // Both versions have kind, code, checksum, identifier, sequence number.
    let (head, data) = header.payload().split_first_chunk::<{ icmp::HEADER_LEN }>()?;
    let [_, 0, _, _, i0, i1, s0, s1] = *head else { return None };
    Some(Request {
        key: (header.src(), header.dst(), u16::from_be_bytes([i0, i1])),
        seq: u16::from_be_bytes([s0, s1]),
        data,
        ttl: header.ttl(),
    })
}

/// Carries echo requests until the sender of `leaving` is gone.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<Vec<u8>>,
    mut leaving: watch::Receiver<()>,
) -> Leave {
    shared.side.take_pings();
    let table = Table::default();
    let mut tasks = JoinSet::new();
    loop {
        let packet = tokio::select! {
            packet = requests.recv() => packet,
            Some(_) = tasks.join_next() => continue,
            _ = leaving.changed() => {
                tasks.shutdown().await;
                return Leave::Told;
            }
        };
        let Some(packet) = packet else {
            return Leave::Failed(io::Error::other("the stack is gone"));
        };
        let Some(request) = parse(&packet) else { continue };
        let known = lock(&table).get(&request.key).map(|(series, _)| Arc::clone(series));
        let series = match known {
            Some(series) => series,
            None if lock(&table).len() >= MAX_SERIES => {
                shared.meters.pings.meet();
                continue;
            }
            None => match open(&shared, &request, &packet) {
                Some(series) => {
                    let series = Arc::new(series);
                    let task =
                        tasks.spawn(answer(Arc::clone(&shared), Arc::clone(&series), Arc::clone(&table)));
                    lock(&table).insert(request.key, (Arc::clone(&series), task));
                    series
                }
                None => continue,
            },
        };
        series.send(&shared, &request, &packet);
    }
}

/// A ping socket for a series; without one the program is told why nothing comes.
fn open(shared: &Shared, request: &Request<'_>, packet: &[u8]) -> Option<Series> {
    let (why, error) = match shared.addresses.target(SocketAddr::new(request.key.1, 0)) {
        Target::Host(target) if shared.upstream.carries_pings() => match socket(target, &shared.outgoing) {
            Ok(host) => {
                let last = Mutex::new(Last { at: Instant::now(), packet: Vec::new() });
                return Some(Series { key: request.key, host, last });
            }
            Err(error) => (reason(&error), Some(error)),
        },
        // Pings of the gateway's own address are the stack's to answer.
        Target::Host(_) | Target::Own(_) | Target::Refused => (Unreachable::Prohibited, None),
        Target::Martian => (Unreachable::Host, None),
    };
    if let Some(error) = error.filter(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        shared.no_ping.say(format_args!(
            "ping is not carried: the host lets this user have no ping sockets ({error}); \
             allow them with: sysctl -w net.ipv4.ping_group_range='0 2147483647'"
        ));
    }
    if let Some(reply) = unreachable(why, packet) {
        shared.side.send(reply);
    }
    None
}

fn socket(target: SocketAddr, outgoing: &Outgoing) -> io::Result<UdpSocket> {
    let protocol = if target.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(protocol))?;
    outgoing.apply(&socket, target)?;
    socket.connect(&target.into())?;
    socket.set_nonblocking(true)?;
    // A datagram socket is a datagram socket, whatever its protocol.
    UdpSocket::from_std(StdSocket::from(socket))
}

fn reason(error: &io::Error) -> Unreachable {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => Unreachable::Network,
        Some(libc::EACCES | libc::EPERM) => Unreachable::Prohibited,
        _ => Unreachable::Host,
    }
}

impl Series {
    fn send(&self, shared: &Shared, request: &Request<'_>, packet: &[u8]) {
        *lock(&self.last) = Last { at: Instant::now(), packet: packet.to_vec() };
        // A router in between lowers it too.
        let hops = u32::from(request.ttl.saturating_sub(1).max(1));
        let socket = socket2::SockRef::from(&self.host);
        let (kind, limit) = if request.key.1.is_ipv4() {
            (8, socket.set_ttl_v4(hops))
        } else {
            (128, socket.set_unicast_hops_v6(hops))
        };
        // Without it the host's own limit holds.
        let _ = limit;
        // The kernel puts its own identifier and checksum into it.
        let mut message = vec![kind, 0, 0, 0, 0, 0];
        message.extend(request.seq.to_be_bytes());
        message.extend(request.data);
        // Not tokio's: before its first notice it takes a socket to be full.
        if let Err(error) = socket.send(&message)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.fail(shared, &error);
        }
    }

    fn fail(&self, shared: &Shared, error: &io::Error) {
        let packet = std::mem::take(&mut lock(&self.last).packet);
        if let Some(reply) = unreachable(reason(error), &packet) {
            shared.side.send(reply);
        }
    }

    fn expires(&self) -> Instant {
        lock(&self.last).at + IDLE
    }
}

/// Hands answers over until the series has paused for long enough.
async fn answer(shared: Arc<Shared>, series: Arc<Series>, table: Table) {
    let mut buffer = vec![0; MAX_MESSAGE];
    let (program, destination, ident) = series.key;
    loop {
        let expires = series.expires();
        tokio::select! {
            received = series.host.recv(&mut buffer) => match received {
                Ok(len) => {
                    if let Some((head, data)) = buffer.get(..len).and_then(|all| all.split_at_checked(icmp::HEADER_LEN))
                        && let [_, _, _, _, _, _, s0, s1] = *head
                        && let Some(reply) = echo_reply(destination, program, ident, u16::from_be_bytes([s0, s1]), data)
                    {
                        shared.side.send(reply);
                    }
                }
                Err(error) => series.fail(&shared, &error),
            },
            () = sleep_until(expires) => {
                let mut table = lock(&table);
                if series.expires() <= Instant::now() {
                    table.remove(&series.key);
                    return;
                }
            }
        }
    }
}

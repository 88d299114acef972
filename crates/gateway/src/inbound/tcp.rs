//! TCP from a published port.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastack::RelayStream;
use lastack::tokio::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ways;
use crate::activity::Share;
use crate::dial::is_shortage;
use crate::faults::{Armed, Plan};
use crate::gateway::{Leave, Shared};
use crate::host_socket::HostSocket;
use crate::publish::Inside;
use crate::summary::{Direction, End, Party};
use crate::tcp::{Flow, Outcome};
use crate::trace::number;

/// Pause after the kernel could not hand a client over for want of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Takes clients until the sender of `closing` is gone, and cuts their connections when that of `leaving` is. A client over
/// the limit waits, let in by the kernel, until another connection ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: tokio::net::TcpListener,
    inside: Inside,
    mut leaving: watch::Receiver<()>,
    mut closing: watch::Receiver<()>,
) -> Leave {
    let mut flows = JoinSet::new();
    let mut listener = Some(listener);
    while listener.is_some() || !flows.is_empty() {
        let accepted = tokio::select! {
            accepted = accept(&shared, listener.as_ref()) => accepted,
            Some(_) = flows.join_next() => continue,
            _ = closing.changed(), if listener.is_some() => {
                listener = None;
                continue;
            }
            _ = leaving.changed() => {
                flows.shutdown().await;
                return Leave::Told;
            }
        };
        match accepted {
            Ok((client, source, slot)) => match client.local_addr() {
                Ok(destination) => {
                    let flow = Flow::begin(&shared, Direction::Inbound, (source, destination));
                    flows.spawn(carry(flow, client, source, inside, slot));
                }
                // Gone again.
                Err(_) => drop(client),
            },
            Err(error) if is_shortage(&error) => {
                shared.shortage.say(format_args!("cannot take a client of a published port: {error}"));
                sleep(SHORTAGE_PAUSE).await;
            }
            // An error of the client's connection, which is gone (accept(2)).
            Err(_) => {}
        }
    }
    Leave::Told
}

async fn accept(
    shared: &Shared,
    listener: Option<&tokio::net::TcpListener>,
) -> io::Result<(tokio::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let Some(listener) = listener else { return pending().await };
    let slot = match Arc::clone(&shared.slots).try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            shared.meters.connections.meet();
            Arc::clone(&shared.slots).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (client, source) = listener.accept().await?;
    Ok((client, source, slot))
}

async fn carry(
    mut flow: Flow,
    client: tokio::net::TcpStream,
    source: SocketAddr,
    to: Inside,
    _slot: OwnedSemaphorePermit,
) {
    // Bytes go on at once: Nagle has had its say at the sender. It fails on a connection that is gone already.
    let _ = client.set_nodelay(true);
    let share = Share::new(&flow.shared.activity);
    let mut client = HostSocket::new(client, share, Arc::clone(&flow.tally));
    flow.trace("accepted");
    let (socket, plan) = match first_socket(&mut flow) {
        Ok((socket, plan)) if plan.refuse.is_none() => (socket, plan),
        Ok((_, plan)) => {
            plan.refuse.iter().for_each(Armed::fire);
            client.abort();
            flow.outcome = Some(Outcome::new(End::Refused, Party::Gateway, Some("a rule".to_owned())));
            return;
        }
        // The stack is gone, and the gateway with it.
        Err(_) => return,
    };
    let inside = tokio::select! {
        inside = dial(&mut flow, socket, source, to, &plan) => inside,
        error = poll_fn(|cx| client.poll_reset(cx)) => {
            flow.outcome = Some(Outcome::new(End::Reset, Party::Host, Some(error.to_string())));
            return;
        }
    };
    flow.outcome = Some(match inside {
        Ok(inside) => {
            let pair = inside.peer_addr().and_then(|program| Ok((program, inside.local_addr()?)));
            // Without addresses it is over already.
            let line = flow.line(pair.unwrap_or((source, source)), &plan);
            flow.relay(inside, client, plan, line).await
        }
        Err(error) => {
            client.abort();
            flow.trace(&error);
            let end = match error.kind() {
                io::ErrorKind::ConnectionRefused => End::Refused,
                io::ErrorKind::TimedOut => End::TimedOut,
                _ => End::Unreachable,
            };
            Outcome::new(end, Party::Program, Some(error.to_string()))
        }
    });
}

/// The socket inside of a connection, whose number is known with it, and what rules are to do to it.
fn first_socket(flow: &mut Flow) -> io::Result<(TcpSocket, Plan)> {
    let socket = TcpSocket::new(&flow.shared.host)?;
    flow.id = socket.connection_id().unwrap_or(flow.id);
    let plan = flow.shared.faults.plan(Direction::Inbound, number(flow.id), flow.destination);
    Ok((socket, plan))
}

/// Connects inside; the error is that of the first way.
async fn dial(
    flow: &mut Flow,
    first: TcpSocket,
    source: SocketAddr,
    inside: Inside,
    plan: &Plan,
) -> io::Result<TcpStream> {
    if let Some((by, rule)) = &plan.delay {
        rule.fire();
        sleep(*by).await;
    }
    let mut failure = None;
    let mut socket = Some(first);
    for (from, to) in ways(&flow.shared.addresses.network, source, inside) {
        let connect = async {
            let socket = match socket.take() {
                Some(socket) => socket,
                None => TcpSocket::new(&flow.shared.host)?,
            };
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(to).await
        };
        match connect.await {
            Ok(stream) => {
                flow.target = Some(to);
                flow.id = stream.connection_id().unwrap_or(flow.id);
                return Ok(stream);
            }
            // Nobody listens there; on the other family perhaps.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                flow.target.get_or_insert(to);
                failure.get_or_insert(error);
            }
            Err(error) => {
                flow.target.get_or_insert(to);
                return Err(failure.unwrap_or(error));
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

//! TCP: each connection is ended here and carried on over a socket of the host.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lastack::core::IcmpUnreach;
use lastack::tokio::{PendingConnection, TcpListener, TcpSocket, TcpStream};
use lastack::{ConnectionId, Host, Refusal, RelayEnd, RelayOptions, RelayReport, Side, relay_with};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

use crate::activity::Share;
use crate::addresses::Target;
use crate::dial::{is_shortage, refusal, was_reset};
use crate::faults::Plan;
use crate::gateway::{Leave, Shared};
use crate::host_socket::HostSocket;
use crate::limit::{Meter, Visit};
use crate::program_stream::{ProgramStream, SharedLine};
use crate::publish::Protocol;
use crate::seeing::Opener;
use crate::silence::Silence;
use crate::stage::{Line, Treatment};
use crate::summary::{ConnectionRecord, Direction, End, Inside, Party};
use crate::tally::{Leg, Tally};
use crate::trace::number;
use crate::upstream::{Upstream, is_proxy_error};

/// Pause between two looks at a program that has been left to its own timers.
const WAITING: Duration = Duration::from_millis(500);
/// A program that has been left to its own timers is over when it has sent nothing for so long (Linux's longest
/// retransmission time-out is 120 s), and in any case after the limit.
const QUIET: Duration = Duration::from_secs(130);
const QUIET_LIMIT: Duration = Duration::from_secs(1800);

/// A listener for every address (of the family, or of both with IPv6) and port, which asks before it answers.
pub(crate) fn listen(host: &Host, unspecified: SocketAddr, max_pending: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new(host)?;
    socket.set_any_port(true)?;
    socket.set_defer(true)?;
    socket.bind(unspecified)?;
    socket.listen(max_pending)
}

/// Takes connections until the sender of `leaving` is gone, and then cuts those that are open; or until the stack ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut leaving: watch::Receiver<()>,
) -> Leave {
    let mut flows = JoinSet::new();
    loop {
        let pending = tokio::select! {
            pending = listener.pending() => pending,
            Some(_) = flows.join_next() => continue,
            _ = leaving.changed() => {
                flows.shutdown().await;
                return Leave::Told;
            }
        };
        let pending = match pending {
            Ok(pending) => pending,
            Err(error) => return Leave::Failed(error),
        };
        let limit = shared.limits.max_per_destination;
        let Some(visit) = shared.destinations.enter(pending.local(), limit) else {
            wait_for_its_turn(pending, &shared.meters.per_destination);
            continue;
        };
        match Arc::clone(&shared.slots).try_acquire_owned() {
            Ok(slot) => {
                flows.spawn(Flow::new(&shared, &pending).carry(pending, (slot, visit)));
            }
            Err(_) => wait_for_its_turn(pending, &shared.meters.connections),
        }
    }
}

/// A request over a limit gets no answer: its SYN is repeated.
fn wait_for_its_turn(pending: PendingConnection, limit: &Meter) {
    limit.meet();
    // It fails only if the request is gone already.
    let _ = pending.refuse(Refusal::Silent);
}

/// One connection, from its request to its record.
pub(crate) struct Flow {
    pub(crate) shared: Arc<Shared>,
    pub(crate) direction: Direction,
    /// Of the connection inside.
    pub(crate) id: ConnectionId,
    source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) target: Option<SocketAddr>,
    begun: Instant,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) tally: Arc<Tally>,
    owner: Opener,
}

pub(crate) struct Outcome {
    end: End,
    ended_by: Party,
    error: Option<String>,
    delivered: bool,
}

impl Outcome {
    pub(crate) fn new(end: End, ended_by: Party, error: Option<String>) -> Self {
        Self { end, ended_by, error, delivered: true }
    }
}

impl Flow {
    fn new(shared: &Arc<Shared>, pending: &PendingConnection) -> Self {
        let addresses = (pending.remote(), pending.local());
        let mut flow = Self::begin(shared, Direction::Outbound, addresses);
        flow.id = pending.id();
        flow.owner = shared.opener(Protocol::Tcp, flow.id, addresses);
        flow
    }

    /// A connection from a source to a destination, as whoever opened it has them.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        direction: Direction,
        (source, destination): (SocketAddr, SocketAddr),
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            direction,
            id: ConnectionId(0),
            source,
            destination,
            target: None,
            begun: Instant::now(),
            outcome: None,
            tally: Arc::new(Tally::new(shared.is_watched())),
            owner: Opener::default(),
        }
    }

    async fn carry(mut self, pending: PendingConnection, _held: (OwnedSemaphorePermit, Visit)) {
        let outcome = match self.shared.addresses.target(self.destination) {
            Target::Host(target) => {
                self.target = Some(target);
                let upstream = &self.shared.upstream;
                self.connect(pending, target, upstream).await
            }
            Target::Own(target) => {
                self.target = Some(target);
                self.connect(pending, target, &Upstream::Direct).await
            }
            Target::Refused => {
                self.owner.settle().await;
                refuse(pending, Refusal::Reset, Party::Gateway, None)
            }
            Target::Martian => {
                self.owner.settle().await;
                let how = Refusal::Unreachable(IcmpUnreach::Host);
                let why = "the host's own addresses are reached at the gateway's";
                refuse(pending, how, Party::Gateway, Some(why.to_owned()))
            }
        };
        self.outcome = Some(outcome);
    }

    async fn connect(&self, pending: PendingConnection, target: SocketAddr, upstream: &Upstream) -> Outcome {
        let plan = self.shared.faults.plan(self.direction, number(self.id), self.destination);
        if let Some(rule) = &plan.refuse {
            rule.fire();
            self.owner.settle().await;
            return refuse(pending, Refusal::Reset, Party::Gateway, Some("a rule".to_owned()));
        }
        let share = Share::new(&self.shared.activity);
        self.trace(format_args!("connecting to {target}"));
        let dialled = tokio::select! {
            dialled = upstream.dial(target, &self.shared.outgoing) => dialled,
            () = pending.gone() => {
                self.trace("the program has given up");
                let why = "the program gave up before there was an answer";
                return Outcome::new(End::Unanswered, Party::Host, Some(why.to_owned()));
            }
        };
        self.owner.settle().await;
        let socket = match dialled {
            Ok(socket) => HostSocket::new(socket, share, Arc::clone(&self.tally)),
            Err(error) => return self.not_connected(pending, &error).await,
        };
        self.trace("connected");
        if let Some((by, rule)) = &plan.delay {
            rule.fire();
            tokio::time::sleep(*by).await;
        }
        // Before the program can send anything.
        let line = self.line((self.source, self.destination), &plan);
        match pending.accept().await {
            Ok(program) => self.relay(program, socket, plan, line).await,
            // The program gave up meanwhile. Dropping the host's socket resets it.
            Err(error) => {
                let end = if error.kind() == io::ErrorKind::TimedOut { End::TimedOut } else { End::Reset };
                Outcome::new(end, Party::Program, Some(error.to_string()))
            }
        }
    }

    async fn not_connected(&self, pending: PendingConnection, error: &io::Error) -> Outcome {
        self.trace(error);
        if was_reset(error) {
            return connect_and_reset(pending, error).await;
        }
        if is_proxy_error(error) {
            self.shared.proxy.say(error);
        }
        if is_shortage(error) {
            self.shared.shortage.say(format_args!(
                "cannot open a connection on the host: {error}; the program's next attempt may succeed"
            ));
        }
        refuse(pending, refusal(error), Party::Host, Some(error.to_string()))
    }

    /// The packets of the connection between the program's address and the other one inside.
    pub(crate) fn line(&self, pair: (SocketAddr, SocketAddr), plan: &Plan) -> Line {
        let mut line = Line::new(&self.shared.side, pair);
        if plan.zero_window.is_some() {
            line.set(Treatment::Watched, true);
        }
        line
    }

    pub(crate) async fn relay(
        &self,
        program: TcpStream,
        host: HostSocket,
        plan: Plan,
        line: Line,
    ) -> Outcome {
        // What the server sent in one piece goes on at once, as with the host's socket.
        if let Err(error) = program.set_nodelay(true) {
            return Outcome::new(End::Reset, Party::Program, Some(error.to_string()));
        }
        let options = RelayOptions::default().reset_grace(self.shared.limits.reset_grace);
        let line = Arc::new(Mutex::new(line));
        let silence = Silence::new(host.watched());
        let program = ProgramStream::new(program, plan, Arc::clone(&line), silence, Arc::clone(&self.tally));
        let report = relay_with(program, host, &options).await;
        let mut outcome = Outcome::from(report);
        if self.tally.by_rule.load(Ordering::Relaxed) {
            outcome.ended_by = Party::Gateway;
            outcome.error = Some("a rule".to_owned());
        }
        if let Some(error) = outcome.error.as_ref().filter(|_| outcome.ended_by == Party::Host) {
            self.trace(error);
        }
        leave_alone(&line).await;
        outcome
    }

    pub(crate) fn trace(&self, what: impl std::fmt::Display) {
        self.shared.trace.host(self.shared.host.now(), self.id, self.source, what);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if !self.shared.is_watched() {
            return;
        }
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::new(End::Cut, Party::Gateway, None));
        let (bytes_out, bytes_in) = self.tally.passed_on();
        // What the host's kernel has after a graceful end it delivers.
        let undelivered = if outcome.end == End::Graceful { (0, 0) } else { self.tally.undelivered() };
        let (inside, outside) = (self.tally.inside(), self.tally.outside());
        let rtt = |leg: &Option<Leg>| leg.as_ref().and_then(|leg| leg.rtt);
        let retransmissions = |leg: &Option<Leg>| leg.as_ref().map(|leg| leg.retransmissions);
        let record = ConnectionRecord {
            number: number(self.id),
            direction: self.direction,
            opened_by: self.owner.get().cloned(),
            source: self.source,
            destination: self.destination,
            target: self.target,
            bytes_out,
            bytes_in,
            duration: self.begun.elapsed(),
            rtt_inside: rtt(&inside),
            rtt_outside: rtt(&outside),
            retransmissions_inside: retransmissions(&inside),
            retransmissions_outside: retransmissions(&outside),
            end: outcome.end,
            ended_by: outcome.ended_by,
            error: outcome.error,
            delivered: outcome.delivered,
            undelivered_out: undelivered.0,
            undelivered_in: undelivered.1,
            inside: inside.and_then(|leg| leg.ending).map(Inside::from),
        };
        self.shared.ended(&record);
        self.shared.ledger.connection(record, &self.owner);
    }
}

/// Refuses, and says what that was.
fn refuse(pending: PendingConnection, how: Refusal, by: Party, error: Option<String>) -> Outcome {
    let end = match how {
        Refusal::Reset => End::Refused,
        Refusal::Unreachable(_) => End::Unreachable,
        Refusal::Silent => End::Unanswered,
    };
    // It fails only if the request is gone: the program has given up.
    let _ = pending.refuse(how);
    Outcome::new(end, by, error)
}

/// After a connection whose program is to hear nothing more: until its kernel has given it up.
async fn leave_alone(line: &SharedLine) {
    let look = || {
        let line = line.lock().unwrap_or_else(PoisonError::into_inner);
        line.has(Treatment::Mute).then(|| line.unheard())
    };
    let begun = tokio::time::Instant::now();
    let mut latest = (look(), begun);
    while let (Some(_), at) = latest
        && at.elapsed() < QUIET
        && begun.elapsed() < QUIET_LIMIT
    {
        tokio::time::sleep(WAITING).await;
        let now = look();
        if now != latest.0 {
            latest = (now, tokio::time::Instant::now());
        }
    }
}

/// The program's connection takes the course of the server's: established, then reset.
async fn connect_and_reset(pending: PendingConnection, error: &io::Error) -> Outcome {
    if let Ok(program) = pending.accept().await {
        program.abort();
    }
    Outcome::new(End::Reset, Party::Host, Some(error.to_string()))
}

impl From<RelayReport> for Outcome {
    fn from(report: RelayReport) -> Self {
        let party = |side| match side {
            Side::A => Party::Program,
            Side::B => Party::Host,
        };
        match report.end {
            RelayEnd::Graceful => Self::new(End::Graceful, party(report.first), None),
            RelayEnd::Reset { by, error, delivered } => {
                let end = if error.kind() == io::ErrorKind::TimedOut { End::TimedOut } else { End::Reset };
                Self { delivered, ..Self::new(end, party(by), Some(error.to_string())) }
            }
            // A kind of end that a later relay may know.
            other => Self::new(End::Cut, Party::Gateway, Some(format!("{other:?}"))),
        }
    }
}

//! What has to hold when a run is over: every byte, every end, every record (no connection is left without an account).

use super::world::{Connection, World};
use crate::flow::End;
use crate::net::{Fault, Loss, Pipe, direction_name};
use crate::report::{
    ConnectionReport, EndReport, Failure, FailureKind, FlowReport, LinkReport, Report, Spread, jain,
};
use crate::scenario::{FlowSpec, Model, Scenario, StackKind, Unfired, Who};
use lastack_core::{How, Instant};

/// Failures of one kind that are told one by one; more are counted.
const TOLD: usize = 10;

/// Looks at everything, and writes the report.
pub(super) fn settle(world: &mut World<'_>, mut failures: Vec<Failure>) -> Report {
    let at_rest = failures.iter().all(|f| f.kind == FailureKind::Capture);
    let mut account = Account::default();
    for connection in &world.connections {
        account.connection(world, connection, at_rest);
    }
    // Whoever waits for ever holds a record, and that is already told.
    let stuck = account.failures.iter().any(|f| f.kind == FailureKind::Stuck);
    if at_rest && !stuck {
        account.leaks(world);
    }
    if world.strays > 0 {
        let text = format!("{} connections were accepted that nobody had opened", world.strays);
        account.fail(FailureKind::Stray, text);
    }
    let faults = faults(world);
    if world.scenario.unfired == Unfired::Fail {
        for fault in faults.iter().filter(|fault| fault.fired == 0) {
            let text = format!(
                "{}: {} was asked for and never happened; the run did not test it",
                fault.place, fault.fault
            );
            account.fail(FailureKind::Unfired, text);
        }
    }
    failures.extend(account.finish());
    let mut series: Vec<_> = std::mem::take(&mut world.series).into_iter().collect();
    series.sort_unstable_by_key(|(who, _)| *who);
    Report {
        scenario: world.scenario.name.clone(),
        seed: world.seed,
        digest: format!("{:016x}", world.net.digest.value()),
        packets: world.net.digest.packets,
        time_ns: world.now.as_nanos(),
        failures,
        faults,
        flows: flows(world),
        fairness: jain(&world.connections.iter().filter_map(goodput).collect::<Vec<_>>()),
        links: world.net.pipes.iter().map(|pipe| link_report(world.scenario, pipe)).collect(),
        connections: world.connections.iter().map(|c| connection(world, c)).collect(),
        series: series.into_iter().map(|(_, series)| series).collect(),
        segments: Vec::new(),
    }
}

/// Failures, not too many of each kind.
#[derive(Default)]
struct Account {
    failures: Vec<Failure>,
    more: Vec<(FailureKind, usize)>,
}

impl Account {
    fn fail(&mut self, kind: FailureKind, text: String) {
        if self.failures.iter().filter(|f| f.kind == kind).count() < TOLD {
            return self.failures.push(Failure { kind, text });
        }
        match self.more.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, more)) => *more += 1,
            None => self.more.push((kind, 1)),
        }
    }

    fn finish(mut self) -> Vec<Failure> {
        let more = self.more.into_iter();
        self.failures.extend(more.map(|(kind, n)| Failure { kind, text: format!("and {n} more like that") }));
        self.failures
    }

    fn connection(&mut self, world: &World<'_>, connection: &Connection, at_rest: bool) {
        let spec = &world.scenario.flows[connection.flow];
        let name = format!("flow {} connection {}", spec.title(), connection.index);
        for who in Who::BOTH {
            let Some(end) = connection.end(who) else { continue };
            let name = format!("{name}, {who}");
            self.bytes(&name, end, connection.end(who.other()));
            self.ending(&name, world, end, connection.end(who.other()));
            if at_rest && !end.is_over() {
                let text = format!(
                    "{name}: it waits for ever, after {} bytes read and {} written ({})",
                    end.read,
                    end.wrote,
                    outcome(end)
                );
                self.fail(FailureKind::Stuck, text);
            }
        }
        if !spec.may_fail && at_rest {
            self.whole(&name, spec, world, connection);
        }
    }

    /// What holds of the bytes of any connection, however badly it fared.
    fn bytes(&mut self, name: &str, end: &End, peer: Option<&End>) {
        if let Some(at) = end.wrong {
            self.fail(FailureKind::WrongBytes, format!("{name}: byte {at} of what it read is wrong"));
        }
        let (wrote, said_end) = peer.map_or((0, false), |peer| (peer.wrote, peer.said_end));
        if end.read > wrote {
            let text = format!("{name}: it read {} bytes of {wrote} that were written", end.read);
            self.fail(FailureKind::WrongBytes, text);
        }
        if end.saw_end && !(said_end && end.read == wrote) {
            let why = if said_end { "with bytes missing" } else { "that the peer did not send" };
            let text = format!(
                "{name}: it was told an end of the stream {why}, after {} of {wrote} bytes",
                end.read
            );
            self.fail(FailureKind::FalseEnd, text);
        }
    }

    /// What holds of close reports: a graceful end means that every byte got to the peer.
    fn ending(&mut self, name: &str, world: &World<'_>, end: &End, peer: Option<&End>) {
        let runs_lastack = world.scenario.hosts[end.host].stack == StackKind::Lastack;
        let Some(ending) = end.ending else {
            // Of a connection that opened, or tried to, the stack has to say how it ended.
            if runs_lastack && end.is_over() && !end.died && end.opened.is_some() && at_rest(world) {
                let text = format!("{name}: its stack never said how the connection ended");
                self.fail(FailureKind::Leak, text);
            }
            return;
        };
        if !matches!(ending.how, How::Graceful | How::HalfClosed) {
            return;
        }
        let Some(peer) = peer.filter(|peer| !peer.died) else { return };
        let unread = peer.ending.map_or(0, |ending| u64::from(ending.unread));
        let peer_has = peer.read + unread;
        let peer_knows = world.scenario.hosts[peer.host].stack == StackKind::Lastack && peer.ending.is_some();
        if peer_knows && peer_has < end.wrote && !peer.aborted {
            let text = format!(
                "{name}: its stack says '{}', but only {peer_has} of {} bytes got to the peer",
                ending.how, end.wrote
            );
            self.fail(FailureKind::FalseEnd, text);
        }
    }

    /// A connection that had to do all of its work.
    fn whole(&mut self, name: &str, spec: &FlowSpec, world: &World<'_>, connection: &Connection) {
        for who in Who::BOTH {
            let Some(end) = connection.end(who) else {
                self.fail(FailureKind::Incomplete, format!("{name}: the server never accepted it"));
                continue;
            };
            if !end.is_over() {
                // Told as one that waits for ever.
                continue;
            }
            if !end.finished {
                let text =
                    format!("{name}, {who}: its {} did not finish: {}", spec.model.kind(), outcome(end));
                self.fail(FailureKind::Incomplete, text);
                continue;
            }
            let Some(ending) = end.ending else { continue };
            let graceful = matches!(ending.how, How::Graceful | How::HalfClosed);
            let peer_lastack = connection
                .end(who.other())
                .is_some_and(|e| world.scenario.hosts[e.host].stack == StackKind::Lastack);
            if (!graceful && peer_lastack) || ending.unacked > 0 {
                let text = format!("{name}, {who}: its work was done, but it ended badly: {ending}");
                self.fail(FailureKind::Incomplete, text);
            }
        }
    }

    /// Nothing is left when everything is over.
    fn leaks(&mut self, world: &World<'_>) {
        for (host, spec) in world.hosts.iter().zip(&world.scenario.hosts) {
            if host.off {
                continue;
            }
            if let Some(left) = host.node.leftovers() {
                let text = format!("host {}: all connections are over, but it still has {left}", spec.name);
                self.fail(FailureKind::Leak, text);
            }
        }
    }
}

/// Nothing is left to happen.
fn at_rest(world: &World<'_>) -> bool {
    world.net.next_time().is_none()
}

fn outcome(end: &End) -> String {
    if end.finished {
        "done".to_owned()
    } else if end.died {
        "its host was switched off".to_owned()
    } else if end.gave_up {
        "it lost its patience and reset".to_owned()
    } else if let Some(error) = end.error {
        format!("{error} after {} bytes read and {} written", end.read, end.wrote)
    } else if end.early {
        format!("the stream ended early, after {} bytes", end.read)
    } else if end.opened.is_none() {
        "not connected".to_owned()
    } else {
        "under way".to_owned()
    }
}

fn faults(world: &World<'_>) -> Vec<Fault> {
    let mut faults = world.net.faults(world.scenario);
    for (host, spec) in world.hosts.iter().zip(&world.scenario.hosts) {
        let place = format!("host {}", spec.name);
        faults.extend(spec.outages.iter().zip(&host.outages).map(|(outage, fired)| Fault {
            place: place.clone(),
            fault: format!("outage at {}", outage.at),
            fired: *fired,
        }));
    }
    for (number, spec) in world.scenario.flows.iter().enumerate() {
        let own = world.connections.iter().filter(|connection| connection.flow == number);
        let ends =
            own.flat_map(|connection| [Some(&connection.client), connection.server.as_ref()]).flatten();
        let mut ask = |fault: &str, fired: &dyn Fn(&End) -> bool| {
            let fired = ends.clone().filter(|end| fired(end)).count() as u64;
            faults.push(Fault { place: format!("flow {}", spec.title()), fault: fault.to_owned(), fired });
        };
        if let Model::Crash { who, .. } = spec.model {
            ask(&format!("crash of the {who}"), &|end| end.crashed);
        }
        if spec.simultaneous {
            ask("simultaneous open", &|end| end.crossed);
        }
    }
    faults
}

/// What one direction of a link did.
pub(crate) fn link_report(scenario: &Scenario, pipe: &Pipe) -> LinkReport {
    let (tally, queue) = (&pipe.tally, &pipe.queue.tally);
    let lost = Loss::ALL.into_iter().map(|cause| (cause.text(), tally.lost[cause as usize]));
    LinkReport {
        link: direction_name(scenario, pipe),
        packets: tally.packets,
        bytes: tally.bytes,
        delivered: tally.delivered,
        lost: lost.filter(|(_, n)| *n > 0).collect(),
        marked: pipe.marked(),
        duplicated: tally.duplicated,
        reordered: tally.reordered,
        corrupted: tally.corrupted,
        queue_packets: queue.most,
        queue_longest_us: queue.longest.as_micros() as u64,
        queue_mean_us: (queue.waited / u128::from(queue.left.max(1)) / 1000) as u64,
    }
}

/// Bits per second, from the beginning to the last byte read at either end.
fn goodput(connection: &Connection) -> Option<f64> {
    let ends = || Who::BOTH.into_iter().filter_map(|who| connection.end(who));
    let bytes: u64 = ends().map(|end| end.read).sum();
    let last = ends().filter_map(|end| end.last_read).max()?;
    let time = (last - connection.began).as_secs_f64();
    (time > 0.0).then(|| bytes as f64 * 8.0 / time)
}

fn flows(world: &World<'_>) -> Vec<FlowReport> {
    let mut reports = Vec::new();
    for (number, spec) in world.scenario.flows.iter().enumerate() {
        let own = || world.connections.iter().filter(|c| c.flow == number);
        let done = |c: &&Connection| c.client.finished && c.server.as_ref().is_some_and(|s| s.finished);
        let goodputs: Vec<_> = own().filter_map(goodput).collect();
        let duration = |c: &Connection| Some((c.client.closed? - c.began).as_micros() as f64);
        let again = |end: &End| end.last.map_or(0, |sample| u64::from(sample.retransmissions));
        let ends = |c: &Connection| again(&c.client) + c.server.as_ref().map_or(0, again);
        reports.push(FlowReport {
            flow: spec.title().to_owned(),
            connections: own().count() as u32,
            completed: own().filter(done).count() as u32,
            up_bytes: own().filter_map(|c| c.server.as_ref()).map(|s| s.read).sum(),
            down_bytes: own().map(|c| c.client.read).sum(),
            fairness: jain(&goodputs),
            goodput: Spread::of(goodputs),
            duration_us: Spread::of(own().filter(done).filter_map(duration).collect()),
            retransmissions: own().map(ends).sum(),
        });
    }
    reports
}

fn connection(world: &World<'_>, connection: &Connection) -> ConnectionReport {
    ConnectionReport {
        flow: world.scenario.flows[connection.flow].title().to_owned(),
        index: connection.index,
        began_ns: connection.began.as_nanos(),
        goodput: goodput(connection).unwrap_or_default(),
        client: end_report(&connection.client),
        server: connection.server.as_ref().map(end_report),
    }
}

fn end_report(end: &End) -> EndReport {
    EndReport {
        wrote: end.wrote,
        read: end.read,
        opened_ns: end.opened.map(Instant::as_nanos),
        closed_ns: end.closed.map(Instant::as_nanos),
        outcome: outcome(end),
        ending: end.ending.map(|ending| ending.to_string()),
        retransmissions: end.last.map(|sample| sample.retransmissions),
    }
}

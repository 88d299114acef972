//! What is told of each connection while the gateway runs: in the trace, and between the packets of a capture.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastack::ConnectionId;
use tokio::sync::{SetOnce, oneshot};
use tokio::time::timeout;

use crate::gateway::Shared;
use crate::owner::{Owner, Question};
use crate::publish::Protocol;
use crate::trace::number;

/// Takes a line for people about a connection, to be kept with the packets.
#[derive(Clone)]
pub struct Notes(Arc<dyn Fn(&str) + Send + Sync>);

impl Notes {
    /// Calls `take` with each line, on any thread; it has to be quick.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(crate) fn add(&self, line: fmt::Arguments<'_>) {
        (self.0)(&line.to_string());
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notes")
    }
}

/// How long a connection may wait for the answer to who opened it, which usually takes a few milliseconds. While it waits, so
/// does its program, which does not end meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the answer will be to who opened something; nowhere if nobody asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opener(Option<Arc<SetOnce<Option<Owner>>>>);

impl Opener {
    pub(crate) fn get(&self) -> Option<&Owner> {
        self.0.as_ref()?.get()?.as_ref()
    }

    /// Waits for the answer, but not for long.
    pub(crate) async fn settle(&self) {
        if let Some(answer) = &self.0 {
            // Without it who opened it stays unknown until later.
            let _ = timeout(PATIENCE, answer.wait()).await;
        }
    }
}

impl Shared {
    /// Somebody wants to know what becomes of connections.
    pub(crate) fn is_watched(&self) -> bool {
        self.trace.is_on() || self.notes.is_some() || self.ledger.is_kept()
    }

    /// Asks who opened what goes from `local` to `remote`, and tells it when it is known.
    pub(crate) fn opener(
        &self,
        protocol: Protocol,
        id: ConnectionId,
        (local, remote): (SocketAddr, SocketAddr),
    ) -> Opener {
        let Some(owners) = &self.owners else { return Opener::default() };
        let answer = Arc::new(SetOnce::new());
        let (told, trace, notes) = (Arc::clone(&answer), self.trace, self.notes.clone());
        let host = self.host.clone();
        let tell = move |owner: Option<Owner>| {
            let Some(owner) = owner else { return drop(told.set(None)) };
            let what = match protocol {
                Protocol::Tcp => format!("#{} {local} -> {remote}", number(id)),
                Protocol::Udp => format!("udp {local} -> {remote}"),
            };
            trace.line(host.now(), format_args!("{what} opened by {owner}"));
            if let Some(notes) = &notes {
                notes.add(format_args!("{what} opened by {owner}"));
            }
            // It is asked once.
            let _ = told.set(Some(owner));
        };
        owners.ask(Question { protocol, local, remote, tell: Box::new(tell) });
        Opener(Some(answer))
    }

    /// Tells how something ended.
    pub(crate) fn ended(&self, record: &dyn fmt::Display) {
        self.trace.line(self.host.now(), format_args!("{record}"));
        if let Some(notes) = &self.notes {
            notes.add(format_args!("{record}"));
        }
    }

    /// Waits until all who asked have their answers.
    pub(crate) async fn settle_openers(&self) {
        let Some(owners) = &self.owners else { return };
        let (told, answered) = oneshot::channel::<()>();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // Questions are answered in their order; this one has no answer, and goes with its sender.
        let tell = Box::new(move |_| drop(told));
        owners.ask(Question { protocol: Protocol::Tcp, local: nowhere, remote: nowhere, tell });
        let _ = answered.await;
    }
}

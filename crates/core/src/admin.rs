//! What an administrator may see and do: records that nobody owns, why a record is still there, and its end by force.

use crate::demux::Found;
use crate::event::ConnectionId;
use crate::slab::Key;
use crate::socket::TcpHandle;
use crate::stack::Stack;
use crate::tcp::listen::Request;
use crate::tcp::state::{Cause, Initiator, State};
use crate::tcp::tcb::{Is, Tcb, Tuple};
use crate::tcp::why::Why;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// A connection that its application has let go and that still owes something to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The connection's number.
    pub id: ConnectionId,
    /// This side.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// FIN_WAIT_1, FIN_WAIT_2, CLOSING or LAST_ACK.
    pub state: State,
    /// Bytes written that the peer has not acknowledged.
    pub undelivered: usize,
    /// Our FIN is not acknowledged.
    pub fin_unacked: bool,
}

impl Stack {
    /// Connections that nobody owns any more and that still owe data or a FIN to their peers, or wait for the peer's FIN.
    pub fn orphans(&self) -> impl Iterator<Item = Orphan> + '_ {
        self.tables.connections.iter().filter(|(_, tcb)| tcb.is(Is::ORPHAN)).map(|(_, tcb)| Orphan {
            id: tcb.id,
            local: tcb.tuple.local_addr(),
            remote: tcb.tuple.remote_addr(),
            state: tcb.state(),
            undelivered: tcb.snd_buf.len(),
            fin_unacked: tcb.is(Is::FIN_QUEUED) && !tcb.fin_acked(),
        })
    }

    /// Every record there is, for [`Stack::kill`]: connections and listeners, half-open requests, small records.
    #[must_use]
    pub fn records(&self) -> Vec<ConnectionId> {
        let Self { tables, .. } = self;
        let full =
            tables.connections.iter().filter(|(_, tcb)| tcb.state() != State::Closed).map(|(_, tcb)| tcb.id);
        let requests = tables.requests.iter().map(|(_, request)| request.id);
        let v4 = tables.time_wait4.iter().map(|(_, record)| record.id());
        let v6 = tables.time_wait6.iter().map(|(_, record)| record.id());
        full.chain(requests).chain(v4).chain(v6).collect()
    }

    /// Ends any record as an administrator (Linux `tcp_abort`, `ss -K`): a connection's peer gets a RST and its owner
    /// ECONNABORTED; a listener stops; a half-open request and the small records of TIME_WAIT and FIN_WAIT_2 are
    /// forgotten in silence. False if no record has that number. Looks at every record.
    pub fn kill(&mut self, now: Instant, id: ConnectionId) -> bool {
        self.set_now(now);
        let full = self.tables.connections.iter().find(|(_, tcb)| tcb.id == id && !tcb.is(Is::LEFT));
        if let Some((key, tcb)) = full {
            match tcb.state() {
                State::Closed => return false,
                State::Listen => self.stop_listening(key, Cause::Killed, Initiator::Administrator),
                _ => {
                    self.with(key, Tcb::kill);
                }
            }
            return true;
        }
        let request = self.tables.requests.iter().find(|(_, request)| request.id == id);
        if let Some((key, _)) = request {
            self.remove_request(key, Cause::Killed, Initiator::Administrator);
            return true;
        }
        let found = self.small_record(id);
        if let Some(found) = found {
            self.remove_time_wait(found, Cause::Killed, Initiator::Administrator);
        }
        found.is_some()
    }

    /// Aborts an orphan: a RST, and the record is gone. For an owner that has waited long enough.
    pub fn abort_orphan(&mut self, now: Instant, id: ConnectionId) -> bool {
        self.set_now(now);
        let found = self.tables.connections.iter().find(|(_, tcb)| tcb.is(Is::ORPHAN) && tcb.id == id);
        let Some((key, _)) = found else { return false };
        self.with(key, |tcb, cx| tcb.abort_with(cx, Cause::Abort));
        true
    }

    /// Aborts all orphans, and the small records of FIN_WAIT_2 with them: each peer gets a RST. For an owner that is about
    /// to end. Gives how many there were.
    pub fn abort_orphans(&mut self, now: Instant) -> usize {
        self.set_now(now);
        let full = self.tables.connections.iter().filter(|(_, tcb)| tcb.is(Is::ORPHAN)).map(|(key, _)| key);
        let full: Vec<Key> = full.collect();
        // No peer makes these resets: each of them has to leave.
        let limit = core::mem::replace(&mut self.cx.cfg.reply_queue_limit, usize::MAX);
        for key in &full {
            self.with(*key, |tcb, cx| tcb.abort_with(cx, Cause::Abort));
        }
        let v4 = self.tables.time_wait4.iter().filter(|(_, record)| record.state() == State::FinWait2);
        let v4 = v4.map(|(key, record)| (Found::TimeWait4(key), record.reset(&self.cx)));
        let v6 = self.tables.time_wait6.iter().filter(|(_, record)| record.state() == State::FinWait2);
        let v6 = v6.map(|(key, record)| (Found::TimeWait6(key), record.reset(&self.cx)));
        let small: Vec<_> = v4.chain(v6).collect();
        let count = full.len() + small.len();
        for (found, reset) in small {
            self.cx.counters.out_rsts += 1;
            self.cx.counters.out_segs += 1;
            self.cx.send_segment(reset);
            self.remove_time_wait(found, Cause::Abort, Initiator::Local);
        }
        self.cx.cfg.reply_queue_limit = limit;
        count
    }

    /// Why the socket's connection is still there; after its end, why the small record is that has taken over.
    pub fn tcp_why(&mut self, now: Instant, h: TcpHandle) -> Option<Why> {
        self.set_now(now);
        let tcb = self.tcb(h).ok()?;
        match self.tables.find(&self.cx, &tcb.tuple) {
            Some(found @ (Found::TimeWait4(_) | Found::TimeWait6(_))) if tcb.is(Is::LEFT) => {
                self.why_small(found).filter(|why| why.id == tcb.id)
            }
            _ => None,
        }
        .or_else(|| Some(tcb.why(&self.cx)))
    }

    /// Why a record of any kind is still there, by the connection's number. Looks at every record.
    pub fn why(&mut self, now: Instant, id: ConnectionId) -> Option<Why> {
        self.set_now(now);
        let Self { cx, tables, .. } = self;
        let full = tables.connections.iter().find(|(_, tcb)| tcb.id == id && !tcb.is(Is::LEFT));
        if let Some((_, tcb)) = full {
            return Some(tcb.why(cx));
        }
        if let Some((_, request)) = tables.requests.iter().find(|(_, request)| request.id == id) {
            let listener = tables.connections.get(request.listener);
            let listen = listener.and_then(|tcb| tcb.rare.listen.as_deref());
            let limit = listen.map_or(0, |listen| Request::synack_limit(cx, listen));
            return Some(request.why(cx, &tables.request_wheel, limit));
        }
        self.small_record(id).and_then(|found| self.why_small(found))
    }

    fn why_small(&self, found: Found) -> Option<Why> {
        let Self { cx, tables, .. } = self;
        let wheel = &tables.time_wait_wheel;
        match found {
            Found::TimeWait4(key) => tables.time_wait4.get(key).map(|record| record.why(cx, wheel)),
            Found::TimeWait6(key) => tables.time_wait6.get(key).map(|record| record.why(cx, wheel)),
            Found::Connection(_) | Found::Request(_) => None,
        }
    }

    fn small_record(&self, id: ConnectionId) -> Option<Found> {
        let v4 = self.tables.time_wait4.iter().find(|(_, record)| record.id() == id);
        let v6 = self.tables.time_wait6.iter().find(|(_, record)| record.id() == id);
        v4.map(|(key, _)| Found::TimeWait4(key)).or(v6.map(|(key, _)| Found::TimeWait6(key)))
    }

    /// Who keeps a four-tuple: for tests and for tools.
    #[must_use]
    pub fn tcp_record_state(&self, local: SocketAddr, remote: SocketAddr) -> Option<State> {
        let tuple = Tuple {
            local: local.ip().into(),
            remote: remote.ip().into(),
            local_port: local.port(),
            remote_port: remote.port(),
        };
        match self.tables.find(&self.cx, &tuple)? {
            Found::Connection(key) => self.tables.connections.get(key).map(Tcb::state),
            Found::Request(key) => self.tables.requests.get(key).map(|request| request.current.get()),
            Found::TimeWait4(key) => self.tables.time_wait4.get(key).map(|record| record.state()),
            Found::TimeWait6(key) => self.tables.time_wait6.get(key).map(|record| record.state()),
        }
    }
}

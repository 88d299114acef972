//! The stack: packets in, packets out, time, events. The way of a segment is `receive` → IP input → four-tuple look-up →
//! the connection's state machine; answers leave through `transmit`. No layer calls back up.

use crate::config::{Config, TcpConfig};
use crate::counters::Counters;
use crate::ctx::{Ctx, OutItem};
use crate::demux::{Found, Tables};
use crate::event::{Event, Ready, TransitionEvent};
use crate::ip::{Arrival, Datagram, IcmpError, IcmpErrorKind, Ip, Received, Replies};
use crate::short_paths::ShortPaths;
use crate::slab::Key;
use crate::socket::TcpHandle;
use crate::tcp::emitted::Emitted;
use crate::tcp::reset::send_reset;
use crate::tcp::segment::{Seg, Verdict};
use crate::tcp::set_state::set_state;
use crate::tcp::state::{Cause, Initiator, State};
use crate::tcp::tcb::{Is, Successor, Tcb, Tuple};
use crate::tcp::time_wait::{Record, TwAction};
use crate::time::Instant;
use crate::udp::{Udp, UdpEnv, UdpHandle};
use alloc::collections::VecDeque;
use core::net::IpAddr;
use lastack_wire::checksum::Sum;
use lastack_wire::ip::protocol;
use lastack_wire::tcp::{self, Options, Parts};
use lastack_wire::{Capabilities, PacketMeta};

/// Packets of one connection that leave before another's turn.
const OUTPUT_QUANTUM: u32 = 16;

/// Text of so many bytes and more is copied while its checksum is computed. Shorter text stays in the cache between the
/// two.
const PLACED_MIN: usize = 4096;

/// Number of records by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Full records: sockets of any state, unaccepted children and orphans.
    pub sockets: usize,
    /// Of those, connections that nobody owns any more.
    pub orphans: usize,
    /// Half-open requests.
    pub requests: usize,
    /// TIME_WAIT and ownerless FIN_WAIT_2 records.
    pub time_wait: usize,
    /// UDP sockets.
    pub udp: usize,
    /// Bytes of socket buffers in use.
    pub buffer_bytes: usize,
    /// How often so far a buffer got no memory because of [`Config::memory_limit`].
    pub buffer_refusals: u64,
}

/// A TCP/IP stack. See the crate's documentation for the contract.
#[derive(Clone, Debug)]
pub struct Stack {
    pub(crate) cx: Ctx,
    pub(crate) tables: Tables,
    pub(crate) ip: Ip,
    pub(crate) udp: Udp,
    pub(crate) replies: Replies,
    pub(crate) udp_news: VecDeque<(UdpHandle, Ready)>,
    /// Packets that the connection at the head of the queue has sent in its turn.
    pub(crate) turn: u32,
    /// TCP packets sent since UDP had its turn.
    pub(crate) since_udp: u32,
}

impl Stack {
    /// A stack on a device with `caps`. `seed` is 32 bytes of randomness: initial sequence numbers, ports and table keys
    /// come from it, so it must not be known to a peer; with the same seed and the same calls everything repeats.
    #[must_use]
    pub fn new(config: Config, caps: Capabilities, seed: [u8; 32], now: Instant) -> Self {
        let replies = Replies::new(config.reply_queue_limit);
        let cx = Ctx::new(config, caps, seed, now);
        let ip = Ip::new(&cx.cfg, caps, cx.secrets.ip);
        Self {
            tables: Tables::new(&cx),
            udp: Udp::new(cx.secrets.ip),
            ip,
            replies,
            udp_news: VecDeque::new(),
            turn: 0,
            since_udp: 0,
            cx,
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cx.cfg
    }

    /// TCP's knobs, to change while the stack runs, as a sysctl does. What a connection has copied when it was made it
    /// keeps: sizes of buffers, keep-alive times, repeats of a SYN, congestion control, TTL.
    pub fn tcp_config_mut(&mut self) -> &mut TcpConfig {
        &mut self.cx.cfg.tcp
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.cx.counters
    }

    /// Number of records by kind.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sockets: self.tables.connections.len(),
            orphans: self.cx.orphans,
            requests: self.tables.requests.len(),
            time_wait: self.tables.time_wait_len(),
            udp: self.udp.count(),
            buffer_bytes: self.cx.pool.allocated(),
            buffer_refusals: self.cx.pool.refused(),
        }
    }

    /// No record of any kind and nothing waiting to be sent: dropping the stack now loses nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let counts = self.counts();
        counts.sockets == 0
            && counts.requests == 0
            && counts.time_wait == 0
            && self.cx.out.is_empty()
            && self.replies.is_empty()
            && self.udp.is_idle()
            && self.ip.is_idle()
    }

    /// Time moves on, never back.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.cx.now = self.cx.now.max(now);
    }

    /// Takes in one packet: a whole IP packet, without link header. Answers wait for [`Stack::transmit`].
    pub fn receive(&mut self, now: Instant, meta: &PacketMeta, packet: &[u8]) {
        self.set_now(now);
        let gso_size = meta.gso.map_or(0, |gso| gso.size);
        if self.cx.may_take(ShortPaths::PLAIN_PACKET)
            && let Some(arrival) = self.ip.receive_plain(&mut self.cx.counters.ip, meta, packet)
        {
            return self.receive_tcp(&arrival, gso_size);
        }
        self.receive_any(meta, packet);
    }

    /// A packet that is not a plain segment.
    #[inline(never)]
    fn receive_any(&mut self, meta: &PacketMeta, packet: &[u8]) {
        let gso_size = meta.gso.map_or(0, |gso| gso.size);
        let Self { cx, ip, replies, .. } = self;
        match ip.receive(cx.now, &cx.cfg, &mut cx.counters.ip, meta, packet, replies) {
            Received::Upper(datagram) if datagram.protocol == protocol::TCP => {
                self.receive_tcp(&datagram.arrival(), gso_size);
            }
            Received::Upper(datagram) => self.receive_udp(&datagram),
            Received::IcmpError(error) => self.receive_icmp_error(&error),
            Received::Consumed => {}
        }
        self.cx.counters.reply_queue_drops += self.replies.take_dropped();
    }

    fn receive_udp(&mut self, datagram: &Datagram<'_>) {
        let Self { cx, ip, replies, udp, udp_news, .. } = self;
        let mut env = UdpEnv {
            now: cx.now,
            cfg: &cx.cfg,
            ip,
            ip_counters: &mut cx.counters.ip,
            counters: &mut cx.counters.udp,
            replies,
        };
        udp.receive(&mut env, datagram, &mut |handle, ready| note_udp(udp_news, handle, ready));
    }

    fn receive_tcp(&mut self, arrival: &Arrival<'_>, gso_size: u16) {
        let Arrival { src, dst, payload, packet, checksum_trusted, ecn } = *arrival;
        self.cx.counters.in_segs += 1;
        let Ok(parts) = Parts::split(payload) else {
            self.cx.counters.in_errs += 1;
            return;
        };
        let mut options = Options::default();
        parts.read_options(&mut options);
        let header = parts.header();
        let tuple =
            Tuple { local: dst, remote: src, local_port: header.dst_port, remote_port: header.src_port };
        let mut seg = Seg::new(&header, &options, parts.payload(), (gso_size, ecn));
        let valid = checksum_trusted
            || if seg.payload.len() >= PLACED_MIN && self.cx.may_take(ShortPaths::PLACED_TEXT) {
                self.sum_and_place(&tuple, &mut seg, parts.header_sum(src.ip(), dst.ip()))
            } else {
                tcp::verify_checksum(src.ip(), dst.ip(), payload)
            };
        if !valid {
            self.cx.counters.in_csum_errors += 1;
            self.cx.counters.in_errs += 1;
            return;
        }
        match self.tables.find(&self.cx, &tuple) {
            Some(Found::Connection(key)) => self.connection_segment(key, &tuple, &seg),
            Some(Found::Request(key)) => self.request_segment(key, &tuple, &seg, packet),
            Some(found) => self.time_wait_segment(found, &tuple, &seg, packet),
            None => self.listener_segment(&tuple, &seg, packet, None),
        }
    }

    /// Whether the checksum of a long segment is right. Text that seems to be what comes next on an open connection is
    /// copied to its place at the same time, so that its memory is fetched once.
    #[inline(never)]
    fn sum_and_place(&mut self, tuple: &Tuple, seg: &mut Seg<'_>, mut sum: Sum) -> bool {
        let Self { cx, tables, .. } = self;
        let tcb = match tables.find(cx, tuple) {
            Some(Found::Connection(key)) => tables.connections.get_mut(key),
            _ => None,
        };
        let next = |tcb: &&mut Tcb| {
            tcb.state() == State::Established
                && seg.seq == tcb.rcv_nxt
                && seg.payload.len() <= tcb.receive_window() as usize
        };
        let Some(tcb) = tcb.filter(next) else {
            sum.add_bytes(seg.payload);
            return sum.fold() == 0xffff;
        };
        seg.placed = tcb.rcv_buf.place(&mut cx.pool, seg.payload, &mut sum);
        let valid = sum.fold() == 0xffff;
        if !valid && seg.placed > 0 {
            tcb.rcv_buf.trim(&mut cx.pool);
        }
        valid
    }

    /// A segment for a full record.
    pub(crate) fn connection_segment(&mut self, key: Key, tuple: &Tuple, seg: &Seg<'_>) {
        let Self { cx, tables, .. } = self;
        let Some(tcb) = tables.connections.get_mut(key) else { return };
        tcb.stats.segs_in = tcb.stats.segs_in.wrapping_add(1);
        if !seg.payload.is_empty() {
            tcb.stats.data_segs_in = tcb.stats.data_segs_in.wrapping_add(1);
        }
        let verdict = if tcb.state() == State::Established {
            tcb.rcv_established(cx, seg)
        } else {
            tcb.rcv_state_process(cx, seg)
        };
        tcb.last_received = cx.now;
        if seg.placed > 0 {
            // Text that was refused after all.
            tcb.rcv_buf.trim(&mut cx.pool);
        }
        if verdict == Verdict::Reset {
            send_reset(cx, tuple, seg);
        }
        if tcb.is(Is::LEFT) {
            self.settle(key);
        }
    }

    /// After a record has left its life: takes it out of the tables, lets its successor take over, and frees it if
    /// nobody holds it.
    pub(crate) fn settle(&mut self, key: Key) {
        let Self { cx, tables, .. } = self;
        let Some(tcb) = tables.connections.get_mut(key) else { return };
        if !tcb.is(Is::LEFT) {
            return;
        }
        let tuple = tcb.tuple;
        let (indexed, orphan) = (tcb.is(Is::INDEXED), tcb.is(Is::ORPHAN));
        tcb.is.remove(Is::INDEXED | Is::ORPHAN);
        let successor = tcb.successor.take();
        if orphan {
            cx.orphans = cx.orphans.saturating_sub(1);
        }
        let old = Found::Connection(key);
        let new = successor.and_then(|successor| self.succeed(key, successor));
        let Self { cx, tables, .. } = self;
        match new {
            Some(new) => tables.replace(cx, &tuple, old, new),
            None if indexed => tables.unindex(cx, &tuple, old),
            None => {}
        }
        self.free_if_unheld(key);
    }

    pub(crate) fn free_if_unheld(&mut self, key: Key) {
        let Self { cx, tables, .. } = self;
        let Some(tcb) = tables.connections.get_mut(key) else { return };
        if tcb.is(Is::OWNED) || tcb.is(Is::UNACCEPTED) || !tcb.is(Is::LEFT) {
            return;
        }
        if tcb.rare.fast_open.is_some() {
            tcb.judge_fast_open(cx);
        }
        tcb.rcv_buf.clear(&mut cx.pool);
        tcb.timers.clear_all(&mut cx.wheel);
        if tcb.is(Is::BOUND) {
            let port = tcb.tuple.local_port;
            tables.unbind(port, key);
        }
        tables.connections.discard(key);
        // News of sockets that are gone pile up only if nobody polls events.
        if cx.news.len() > 4096 && cx.news.len() > 2 * tables.connections.len() {
            cx.news.retain(|key| tables.connections.get(*key).is_some());
        }
        if cx.starved.len() > 4096 && cx.starved.len() > 2 * tables.connections.len() {
            cx.starved.retain(|key| tables.connections.get(*key).is_some());
        }
    }

    /// Makes the small record, or ends the connection at once when there are too many (`tcp_max_tw_buckets`).
    fn succeed(&mut self, key: Key, successor: Successor) -> Option<Found> {
        let Self { cx, tables, .. } = self;
        let tcb = tables.connections.get_mut(key)?;
        if tables.time_wait4.len() + tables.time_wait6.len() >= cx.cfg.tcp.max_time_wait {
            set_state(tcb, cx, State::Closed, Cause::TimeWaitLimit, Initiator::Administrator);
            return None;
        }
        cx.counters.time_wait_made += 1;
        let tcb = tables.connections.get(key)?;
        let hash = tables.hash(cx, &tcb.tuple);
        let (wheel, now) = (&mut tables.time_wait_wheel, cx.now);
        if tcb.tuple.is_ipv6() {
            let key = tables.time_wait6.insert(Record::new(cx, tcb, successor, hash)?);
            let found = Found::TimeWait6(key);
            tables.time_wait6.let_end(wheel, now, key, found.to_timer(), successor.ends);
            Some(found)
        } else {
            let key = tables.time_wait4.insert(Record::new(cx, tcb, successor, hash)?);
            let found = Found::TimeWait4(key);
            tables.time_wait4.let_end(wheel, now, key, found.to_timer(), successor.ends);
            Some(found)
        }
    }

    #[inline(never)]
    fn time_wait_segment(&mut self, found: Found, tuple: &Tuple, seg: &Seg<'_>, packet: &[u8]) {
        let Self { cx, tables, .. } = self;
        let action = match found {
            Found::TimeWait4(key) => tables.time_wait4.get_mut(key).map(|record| record.arrive(cx, seg)),
            Found::TimeWait6(key) => tables.time_wait6.get_mut(key).map(|record| record.arrive(cx, seg)),
            Found::Connection(_) | Found::Request(_) => None,
        };
        match action {
            Some(TwAction::Syn { iss }) => {
                if tables.listener(cx, tuple).is_some() {
                    self.remove_time_wait(found, Cause::TimeWaitReuse, Initiator::Peer);
                    self.listener_segment(tuple, seg, packet, Some(iss));
                } else {
                    let action = match found {
                        Found::TimeWait4(key) => {
                            tables.time_wait4.get_mut(key).map(|record| record.refuse(cx, seg, false))
                        }
                        Found::TimeWait6(key) => {
                            tables.time_wait6.get_mut(key).map(|record| record.refuse(cx, seg, false))
                        }
                        Found::Connection(_) | Found::Request(_) => None,
                    };
                    self.time_wait_action(found, tuple, seg, action);
                }
            }
            action => self.time_wait_action(found, tuple, seg, action),
        }
    }

    fn time_wait_action(&mut self, found: Found, tuple: &Tuple, seg: &Seg<'_>, action: Option<TwAction>) {
        match action {
            Some(TwAction::Restart(time)) => self.restart_time_wait(found, time),
            Some(TwAction::Ack(restart)) => {
                let Self { cx, tables, .. } = self;
                let ack = match found {
                    Found::TimeWait4(key) => tables.time_wait4.get(key).map(|record| record.ack(cx)),
                    Found::TimeWait6(key) => tables.time_wait6.get(key).map(|record| record.ack(cx)),
                    Found::Connection(_) | Found::Request(_) => None,
                };
                if let Some(ack) = ack {
                    cx.counters.out_segs += 1;
                    cx.send_segment(ack);
                }
                if let Some(time) = restart {
                    self.restart_time_wait(found, time);
                }
            }
            Some(TwAction::Kill { cause, reset }) => {
                self.remove_time_wait(found, cause, Initiator::Peer);
                if reset {
                    send_reset(&mut self.cx, tuple, seg);
                }
            }
            Some(TwAction::Nothing | TwAction::Syn { .. }) | None => {}
        }
    }

    fn restart_time_wait(&mut self, found: Found, time: core::time::Duration) {
        let (now, tables) = (self.cx.now, &mut self.tables);
        let (wheel, timer) = (&mut tables.time_wait_wheel, found.to_timer());
        match found {
            Found::TimeWait4(key) => tables.time_wait4.let_end(wheel, now, key, timer, now + time),
            Found::TimeWait6(key) => tables.time_wait6.let_end(wheel, now, key, timer, now + time),
            Found::Connection(_) | Found::Request(_) => {}
        }
    }

    /// A small record ends.
    pub(crate) fn remove_time_wait(&mut self, found: Found, cause: Cause, initiator: Initiator) {
        let Self { cx, tables, .. } = self;
        let (now, wheel) = (cx.now, &mut tables.time_wait_wheel);
        let hash = match found {
            Found::TimeWait4(key) => tables.time_wait4.end(wheel, now, key, |record| {
                record.leave(cx, cause, initiator);
            }),
            Found::TimeWait6(key) => tables.time_wait6.end(wheel, now, key, |record| {
                record.leave(cx, cause, initiator);
            }),
            Found::Connection(_) | Found::Request(_) => None,
        };
        if let Some(hash) = hash {
            tables.unindex_hashed(hash, found);
        }
    }

    fn receive_icmp_error(&mut self, error: &IcmpError) {
        if error.protocol != protocol::TCP {
            let Self { cx, ip, udp, udp_news, .. } = self;
            udp.icmp_error(cx.now, ip, error, &mut |handle, ready| note_udp(udp_news, handle, ready));
            return;
        }
        let tuple = Tuple {
            local: error.local.ip().into(),
            remote: error.remote.ip().into(),
            local_port: error.local.port(),
            remote_port: error.remote.port(),
        };
        let Some(seq) = error.seq else { return };
        match self.tables.find(&self.cx, &tuple) {
            Some(Found::Connection(key)) => self.connection_icmp(key, error, seq),
            Some(Found::Request(key)) => {
                let ours = self.tables.requests.get(key).is_some_and(|request| request.iss == seq);
                if ours && error.ends_requests() {
                    self.remove_request(key, Cause::Icmp, Initiator::Administrator);
                }
            }
            _ => {}
        }
    }

    fn connection_icmp(&mut self, key: Key, error: &IcmpError, seq: lastack_wire::SeqNumber) {
        let Self { cx, tables, ip, .. } = self;
        let Some(tcb) = tables.connections.get_mut(key) else { return };
        if !tcb.quotes_flight(seq) {
            cx.counters.icmp_out_of_window += 1;
            return;
        }
        match error.kind {
            IcmpErrorKind::FragNeeded { .. } | IcmpErrorKind::PacketTooBig { .. } => {
                // Another connection to this peer may have learned it before: what counts is what is believed now.
                ip.learn_path_mtu(cx.now, error);
                tcb.mtu_reduced(cx, ip.path_mtu(cx.now, error.remote.ip()));
            }
            kind => {
                let unreachable =
                    matches!(kind, IcmpErrorKind::NetUnreachable | IcmpErrorKind::HostUnreachable);
                tcb.icmp_error(cx, error.error(), seq, unreachable);
            }
        }
        self.settle(key);
    }

    /// Whether [`Stack::transmit`] may have a packet: lets a driver sleep on, or a caller skip waking it. True does not
    /// promise one.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        !(self.replies.is_empty() && self.cx.out.is_empty() && self.udp.is_idle())
    }

    /// Writes the next packet into `frame` and says how long it is and what the device has to finish. `None`: nothing to
    /// send. `frame` should hold the largest packet that the capabilities allow; a packet that does not fit is dropped.
    pub fn transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<(usize, PacketMeta)> {
        self.set_now(now);
        if !self.wants_transmit() {
            self.since_udp = 0;
            return None;
        }
        if !self.replies.is_empty()
            && let Some(sent) = self.transmit_reply(frame)
        {
            return Some(sent);
        }
        if self.since_udp >= OUTPUT_QUANTUM
            && let Some(sent) = self.transmit_udp(frame)
        {
            return Some(sent);
        }
        if let Some(sent) = self.transmit_tcp(frame) {
            self.since_udp += 1;
            return Some(sent.told());
        }
        self.transmit_udp(frame)
    }

    #[cold]
    #[inline(never)]
    fn transmit_reply(&mut self, frame: &mut [u8]) -> Option<(usize, PacketMeta)> {
        while let Some(packet) = self.replies.pop() {
            if let Some(place) = frame.get_mut(..packet.len()) {
                place.copy_from_slice(&packet);
                return Some((packet.len(), PacketMeta::default()));
            }
        }
        None
    }

    #[inline]
    fn transmit_udp(&mut self, frame: &mut [u8]) -> Option<(usize, PacketMeta)> {
        self.since_udp = 0;
        if self.udp.is_idle() { None } else { self.next_datagram(frame) }
    }

    #[inline(never)]
    fn next_datagram(&mut self, frame: &mut [u8]) -> Option<(usize, PacketMeta)> {
        let Self { cx, ip, udp, udp_news, .. } = self;
        let counters = &mut cx.counters;
        udp.transmit(cx.now, &cx.cfg, ip, &mut counters.ip, &mut counters.udp, frame, &mut |handle, ready| {
            note_udp(udp_news, handle, ready);
        })
    }

    fn transmit_tcp(&mut self, frame: &mut [u8]) -> Option<Emitted> {
        while let Some(item) = self.cx.out.front().copied() {
            match item {
                OutItem::Segment => {
                    self.cx.out.pop_front();
                    let segment = self.cx.segments.pop_front();
                    let offload = self.cx.caps.tx_checksum;
                    if let Some(sent) = segment.and_then(|segment| segment.emit(offload, frame)) {
                        return Some(sent);
                    }
                }
                OutItem::Connection(key) => {
                    if let Some(sent) = self.transmit_connection(key, frame) {
                        return Some(sent);
                    }
                }
            }
        }
        None
    }

    /// A turn of the connection at the head of the output queue.
    fn transmit_connection(&mut self, key: Key, frame: &mut [u8]) -> Option<Emitted> {
        let Self { cx, tables, turn, .. } = self;
        let mut sent = None;
        let mut more = false;
        if let Some(tcb) = tables.connections.get_mut(key) {
            sent = tcb.output(cx, frame);
            more = sent.is_some() && tcb.wants_output();
            if !more {
                tcb.end_turn(cx);
            }
        }
        if !more {
            cx.out.pop_front();
            *turn = 0;
            return sent;
        }
        *turn += 1;
        if *turn >= OUTPUT_QUANTUM {
            cx.out.rotate_left(1);
            *turn = 0;
        }
        sent
    }

    /// When [`Stack::handle_timeout`] has to be called at the latest; `None`: no timer is armed. It may come early and
    /// find nothing to do; calling it then and asking again converges on the true deadline.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let earlier = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let departure = self.cx.departures.first().map(|(at, _)| *at);
        let connections = earlier(self.cx.wheel.next_deadline(), departure);
        let requests = self.tables.request_wheel.next_deadline();
        let small = self.tables.time_wait_wheel.next_deadline();
        let line = earlier(self.tables.time_wait4.due(), self.tables.time_wait6.due());
        earlier(earlier(connections, requests), earlier(earlier(small, line), self.ip.next_timeout()))
    }

    /// Lets time act: retransmissions, probes, ends of TIME_WAIT and the like. Costs next to nothing while nothing is due,
    /// so that a driver that polls may call it each time without asking [`Stack::next_timeout`].
    #[inline]
    pub fn handle_timeout(&mut self, now: Instant) {
        self.set_now(now);
        if self.may_be_due(now) || !self.cx.may_take(ShortPaths::NOTHING_DUE) {
            self.act_on_timeouts(now);
        }
    }

    /// A cheap answer that is never wrongly "no".
    #[inline]
    fn may_be_due(&self, now: Instant) -> bool {
        let Self { cx, tables, ip, .. } = self;
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        cx.wheel.may_be_due(now)
            || tables.request_wheel.may_be_due(now)
            || tables.time_wait_wheel.may_be_due(now)
            || passed(tables.time_wait4.due())
            || passed(tables.time_wait6.due())
            || !cx.departures.is_empty()
            || !ip.is_idle()
    }

    #[inline(never)]
    fn act_on_timeouts(&mut self, now: Instant) {
        while let Some(bits) = self.cx.wheel.pop_expired(now) {
            let Some(key) = Key::from_u64(bits) else { continue };
            let Self { cx, tables, .. } = self;
            match tables.connections.get_mut(key) {
                Some(tcb) => tcb.on_timer(cx),
                None => cx.counters.stale_handles += 1,
            }
            self.settle(key);
        }
        while let Some((_, key)) = self.cx.departures.first().copied().filter(|(at, _)| *at <= now) {
            self.cx.departures.pop_first();
            let Self { cx, tables, .. } = self;
            if let Some(tcb) = tables.connections.get_mut(key) {
                tcb.departs(cx);
            }
        }
        while let Some(bits) = self.tables.request_wheel.pop_expired(now) {
            if let Some(key) = Key::from_u64(bits) {
                self.request_timer(key);
            }
        }
        while let Some(key) = self.tables.time_wait4.first_due(now) {
            self.time_wait_over(Found::TimeWait4(key));
        }
        while let Some(key) = self.tables.time_wait6.first_due(now) {
            self.time_wait_over(Found::TimeWait6(key));
        }
        while let Some(bits) = self.tables.time_wait_wheel.pop_expired(now) {
            let found = Found::from_timer(bits);
            match found {
                Some(Found::TimeWait4(key)) => self.tables.time_wait4.timer_fired(key),
                Some(Found::TimeWait6(key)) => self.tables.time_wait6.timer_fired(key),
                _ => continue,
            }
            found.into_iter().for_each(|found| self.time_wait_over(found));
        }
        let Self { cx, ip, replies, .. } = self;
        ip.handle_timeout(cx.now, &cx.cfg, &mut cx.counters.ip, replies);
    }

    /// The time of a small record is over.
    fn time_wait_over(&mut self, found: Found) {
        let state = match found {
            Found::TimeWait4(key) => self.tables.time_wait4.get(key).map(Record::state),
            Found::TimeWait6(key) => self.tables.time_wait6.get(key).map(Record::state),
            Found::Connection(_) | Found::Request(_) => None,
        };
        let cause = match state {
            Some(State::FinWait2) => Cause::FinWait2Timeout,
            Some(_) => Cause::TimeWaitExpired,
            None => return,
        };
        self.remove_time_wait(found, cause, Initiator::Timer);
    }

    /// The next socket that is worth a look.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.cx.news.is_empty() && self.udp_news.is_empty() && self.cx.starved.is_empty() {
            return None;
        }
        self.next_event()
    }

    fn next_event(&mut self) -> Option<Event> {
        if !self.cx.starved.is_empty() {
            self.wake_starved();
        }
        while let Some(key) = self.cx.news.pop_front() {
            if let Some(tcb) = self.tables.connections.get_mut(key) {
                tcb.is.remove(Is::SIGNALLED);
                let ready = core::mem::take(&mut tcb.news);
                return Some(Event::Tcp(TcpHandle(key), ready));
            }
        }
        self.udp_news.pop_front().map(|(handle, ready)| Event::Udp(handle, ready))
    }

    /// Memory was given back: those who could not write for want of it may try again.
    #[cold]
    #[inline(never)]
    fn wake_starved(&mut self) {
        let Self { cx, tables, .. } = self;
        let limit = cx.pool.limit();
        if cx.pool.allocated() > limit - limit / 8 {
            return;
        }
        for key in core::mem::take(&mut cx.starved) {
            if let Some(tcb) = tables.connections.get_mut(key) {
                tcb.is.remove(Is::STARVED);
                cx.signal(tcb, Ready::OUT);
            }
        }
    }

    /// The next change of state, if [`Config::trace_transitions`] is set.
    pub fn poll_transition(&mut self) -> Option<TransitionEvent> {
        self.cx.traced.pop_front()
    }

    /// Puts a full record into the four-tuple table.
    pub(crate) fn index_connection(&mut self, key: Key) {
        let Self { cx, tables, .. } = self;
        if let Some(tcb) = tables.connections.get_mut(key) {
            tcb.is.insert(Is::INDEXED);
            let tuple = tcb.tuple;
            tables.index(cx, &tuple, Found::Connection(key));
        }
    }

    /// Runs `f` on a socket and settles what it left.
    pub(crate) fn with<R>(&mut self, key: Key, f: impl FnOnce(&mut Tcb, &mut Ctx) -> R) -> Option<R> {
        let Self { cx, tables, .. } = self;
        let tcb = tables.connections.get_mut(key)?;
        let result = f(tcb, cx);
        if tcb.is(Is::LEFT) {
            self.settle(key);
        }
        Some(result)
    }

    /// The source address for `remote`, and the path MTU.
    pub(crate) fn route(&mut self, remote: IpAddr) -> Result<(IpAddr, u16), crate::Error> {
        let source = self.ip.source_for(&self.cx.cfg, remote)?;
        Ok((source, self.ip.path_mtu(self.cx.now, remote)))
    }
}

/// Notes that a UDP socket is worth a look, once per socket.
pub(crate) fn note_udp(news: &mut VecDeque<(UdpHandle, Ready)>, handle: UdpHandle, ready: Ready) {
    match news.iter_mut().find(|(other, _)| *other == handle) {
        Some((_, flags)) => *flags |= ready,
        None => news.push_back((handle, ready)),
    }
}

//! The listener's side of opening: SYNs, half-open requests, cookies, deferred decisions (Linux `tcp_conn_request`,
//! `tcp_check_req`, `inet_csk_complete_hashdance`).

use crate::demux::Found;
use crate::event::Ready;
use crate::ip::IcmpUnreach;
use crate::slab::Key;
use crate::stack::Stack;
use crate::tcp::congestion::Needs;
use crate::tcp::fast_open::Answer;
use crate::tcp::listen::{Request, RequestAction, RequestBase, SynQueue, check_cookie, cookie_isn};
use crate::tcp::open::mss_for_mtu;
use crate::tcp::options::Knob;
use crate::tcp::pacing::Pacer;
use crate::tcp::rare::Parts;
use crate::tcp::rcv_space::FirstWindow;
use crate::tcp::reset::send_reset;
use crate::tcp::segment::{Seg, Verdict};
use crate::tcp::state::{Cause, Initiator};
use crate::tcp::tcb::{Is, Tcb, Tuple};

use alloc::boxed::Box;
use alloc::vec::Vec;
use lastack_wire::SeqNumber;
use lastack_wire::tcp::Flags;

impl Stack {
    /// A segment that no record knows (RFC 9293 3.10.7.1, 3.10.7.2). `iss` is set if a TIME_WAIT record gave way.
    pub(crate) fn listener_segment(
        &mut self,
        tuple: &Tuple,
        seg: &Seg<'_>,
        packet: &[u8],
        iss: Option<SeqNumber>,
    ) {
        let Some(listener) = self.tables.listener(&self.cx, tuple) else {
            send_reset(&mut self.cx, tuple, seg);
            return;
        };
        if seg.has(Flags::RST) {
            return;
        }
        if seg.has(Flags::ACK) {
            self.cookie_segment(listener, tuple, seg);
            return;
        }
        // A SYN with FIN is a scanner's.
        if !seg.has(Flags::SYN) || seg.has(Flags::FIN) || tuple.remote_port == 0 {
            return;
        }
        self.new_request(listener, tuple, seg, packet, iss);
    }

    fn request_base(&mut self, listener: Key, tuple: &Tuple, seg: &Seg<'_>) -> Option<RequestBase> {
        let path_mtu = self.ip.path_mtu(self.cx.now, tuple.remote.ip());
        let stamps = self.cx.cfg.tcp.timestamps && seg.options.timestamps.is_some();
        let tcb = self.tables.connections.get(listener)?;
        let mss = mss_for_mtu(tuple, self.cx.mtu(tuple));
        let mss = if tcb.knobs.max_seg > 0 { mss.min(tcb.knobs.max_seg) } else { mss };
        let segment = mss.saturating_sub(if stamps { 12 } else { 0 });
        Some(RequestBase {
            listener,
            window: FirstWindow::new(&self.cx.cfg.tcp, &tcb.knobs, segment.into()),
            max_seg: tcb.knobs.max_seg,
            path_mtu,
            ttl: tcb.knobs.ttl,
            tos: tcb.knobs.tos,
            needs_ecn: tcb.congestion.needs(Needs::ECN),
            defer_accept: tcb.knobs.defer_accept,
        })
    }

    fn new_request(
        &mut self,
        listener: Key,
        tuple: &Tuple,
        seg: &Seg<'_>,
        packet: &[u8],
        iss: Option<SeqNumber>,
    ) {
        let Some(base) = self.request_base(listener, tuple, seg) else { return };
        let Self { cx, tables, .. } = self;
        tables.settle_fast_open(cx);
        let Some(tcb) = tables.connections.get_mut(listener) else { return };
        let defer = tcb.knobs.has(Knob::DEFER);
        let Some(Parts { listen: Some(listen), fast_open, .. }) = tcb.rare.existing() else { return };
        // A SYN that takes TIME_WAIT over is not held up by the SYN queue.
        let queue = if iss.is_some() { SynQueue::Room } else { listen.syn_queue(&cx.cfg.tcp, defer) };
        if queue == SynQueue::Full || listen.accept_full() {
            cx.counters.listen_overflows += u64::from(queue != SynQueue::Full);
            cx.counters.listen_drops += 1;
            return;
        }
        if queue == SynQueue::Cookies {
            listen.overflow_at = Some(cx.now);
            let cookie = cookie_isn(cx, tuple, seg.seq, seg.options.mss);
            let request = Request::new(cx, *tuple, seg, base, Some(cookie));
            let segment = request.syn_ack(cx, true);
            cx.counters.syncookies_sent += 1;
            cx.counters.out_segs += 1;
            cx.send_segment(segment);
            return;
        }
        let fast = match fast_open {
            Some(fast) if !defer => fast.answer(cx, tuple, seg),
            _ => Answer::default(),
        };
        let mut request = Request::new(cx, *tuple, seg, base, iss);
        if fast.child {
            self.make_fast_child(&request, tuple, seg, fast.cookie);
            return;
        }
        listen.half_open += 1;
        listen.young += 1;
        request.enter(cx);
        request.deferred = defer;
        let deadline = if defer { request.patience(cx) } else { cx.now + request.synack_wait(cx) };
        let key = tables.requests.insert(request);
        let timer = tables.request_wheel.insert(deadline, key.to_u64());
        if let Some(request) = tables.requests.get_mut(key) {
            request.timer = Some(timer);
            if !defer {
                let mut segment = request.syn_ack(cx, false);
                segment.repr.options.fast_open = fast.cookie;
                cx.counters.out_segs += 1;
                cx.send_segment(segment);
            }
        }
        tables.index(cx, tuple, Found::Request(key));
        if defer && let Some(tcb) = tables.connections.get_mut(listener) {
            if let Some(listen) = tcb.rare.get(|rare| &mut rare.listen) {
                listen.undecided.push_back(key);
            }
            cx.signal(tcb, Ready::PENDING);
            self.keep_refusal_packet(key, packet);
        }
    }

    /// What an ICMP refusal will quote: the IP header and the first bytes of the SYN.
    #[inline(never)]
    fn keep_refusal_packet(&mut self, key: Key, packet: &[u8]) {
        let quote: Vec<u8> = packet.iter().take(QUOTE).copied().collect();
        if let Some(request) = self.tables.requests.get_mut(key) {
            request.quote = quote.into_boxed_slice();
        }
    }

    /// An ACK at a listener: a cookie that comes back, or nothing of ours.
    #[inline(never)]
    fn cookie_segment(&mut self, listener: Key, tuple: &Tuple, seg: &Seg<'_>) {
        let base = self.request_base(listener, tuple, seg);
        let Self { cx, tables, .. } = self;
        let tcb = tables.connections.get_mut(listener);
        let Some((base, listen)) = base.zip(tcb.and_then(|tcb| tcb.rare.listen.as_ref())) else { return };
        if seg.has(Flags::SYN) {
            send_reset(cx, tuple, seg);
            return;
        }
        let Some((irs, options, flags)) = check_cookie(cx, tuple, seg, listen) else {
            send_reset(cx, tuple, seg);
            return;
        };
        if listen.accept_full() {
            cx.counters.listen_overflows += 1;
            return;
        }
        cx.counters.syncookies_recv += 1;
        let syn = Seg { seq: irs, options: &options, flags, payload: &[], ecn: 0, ..*seg };
        let mut request = Request::new(cx, *tuple, &syn, base, Some(seg.ack - 1));
        request.from_cookie = true;
        request.enter(cx);
        self.make_child(&request, None, tuple, seg);
    }

    pub(crate) fn request_segment(&mut self, key: Key, tuple: &Tuple, seg: &Seg<'_>, packet: &[u8]) {
        let Self { cx, tables, .. } = self;
        let Some(request) = tables.requests.get_mut(key) else { return };
        match request.check(cx, seg) {
            RequestAction::Drop => {}
            RequestAction::Repeat => {
                let segment = request.syn_ack(cx, false);
                cx.counters.out_segs += 1;
                cx.send_segment(segment);
            }
            RequestAction::Waits => {
                let until = request.patience(cx);
                if let Some(timer) = request.timer {
                    tables.request_wheel.reschedule(timer, until);
                }
            }
            RequestAction::Send(repr) => {
                let segment = request.ack_segment(repr);
                cx.counters.out_segs += 1;
                cx.send_segment(segment);
            }
            RequestAction::Reset => send_reset(cx, tuple, seg),
            RequestAction::Remove { cause, reset } => {
                if reset {
                    send_reset(cx, tuple, seg);
                }
                self.remove_request(key, cause, Initiator::Peer);
            }
            RequestAction::Complete => self.complete_request(key, tuple, seg, packet),
        }
    }

    /// The third segment of the handshake.
    fn complete_request(&mut self, key: Key, tuple: &Tuple, seg: &Seg<'_>, packet: &[u8]) {
        let Self { cx, tables, .. } = self;
        let Some(listener) = tables.requests.get(key).map(|request| request.listener) else { return };
        let Some(listen) = tables.connections.get(listener).and_then(|tcb| tcb.rare.listen.as_ref()) else {
            // The listener went away: its requests went with it, so this cannot be; be safe.
            self.remove_request(key, Cause::ListenerClosed, Initiator::Administrator);
            self.listener_segment(tuple, seg, packet, None);
            return;
        };
        if listen.accept_full() {
            cx.counters.listen_overflows += 1;
            if cx.cfg.tcp.abort_on_overflow {
                send_reset(cx, tuple, seg);
                self.remove_request(key, Cause::ResourceLimit, Initiator::Administrator);
            }
            return;
        }
        if let Some(request) = self.take_request(key) {
            self.make_child(&request, Some(key), tuple, seg);
        }
    }

    /// A full record for a completed request, in its listener's accept queue; then it looks at the segment. `old` is the
    /// request's entry in the table of four-tuples, which the child takes over; a cookie has none.
    fn make_child(&mut self, request: &Request, old: Option<Key>, tuple: &Tuple, seg: &Seg<'_>) {
        let Some(key) = self.new_child(request, old, tuple) else { return };
        let Self { cx, tables, .. } = self;
        if let Some(tcb) = tables.connections.get_mut(key) {
            let verdict = tcb.rcv_state_process(cx, seg);
            tcb.last_received = cx.now;
            if verdict == Verdict::Reset {
                send_reset(cx, tuple, seg);
            }
        }
        self.settle(key);
    }

    /// The full record, in the tables and the accept queue.
    fn new_child(&mut self, request: &Request, old: Option<Key>, tuple: &Tuple) -> Option<Key> {
        let Self { cx, tables, .. } = self;
        let listener = tables.connections.get(request.listener)?;
        let (knobs, congestion) = (listener.knobs, listener.congestion.fresh(&cx.cfg.tcp));
        let pacer = listener.rare.pacer.as_ref().map(Pacer::inherited);
        let key = tables.connections.insert_with(|key| Tcb::child(cx, key, request.id, knobs, congestion));
        if let Some(child) = tables.connections.get_mut(key) {
            if pacer.is_some() {
                child.rare.parts().pacer = pacer;
            }
            child.is.insert(Is::INDEXED);
            child.take_request_over(cx, request);
        }
        if let Some(tcb) = tables.connections.get_mut(request.listener) {
            if let Some(listen) = tcb.rare.get(|rare| &mut rare.listen) {
                listen.accept.push_back(key);
            }
            cx.signal(tcb, Ready::IN);
        }
        let child = Found::Connection(key);
        match old {
            Some(old) => tables.replace(cx, tuple, Found::Request(old), child),
            None => tables.index(cx, tuple, child),
        }
        Some(key)
    }

    /// A SYN with a good cookie: its full record is in the accept queue at once.
    #[inline(never)]
    fn make_fast_child(
        &mut self,
        request: &Request,
        tuple: &Tuple,
        seg: &Seg<'_>,
        cookie: Option<lastack_wire::tcp::FastOpen>,
    ) {
        let Some(key) = self.new_child(request, None, tuple) else { return };
        let Self { cx, tables, .. } = self;
        if let Some(tcb) = tables.connections.get_mut(key) {
            tcb.open_fast(cx, seg, request.listener, cookie);
            tcb.last_received = cx.now;
        }
        if let Some(tcb) = tables.connections.get_mut(request.listener) {
            tcb.fast_open_mut().pending += 1;
        }
        cx.counters.fast_open_children += 1;
        self.settle(key);
    }

    /// Takes a request out of all tables but that of the four-tuples.
    fn take_request(&mut self, key: Key) -> Option<Request> {
        let tables = &mut self.tables;
        let request = tables.requests.remove(key)?;
        if let Some(timer) = request.timer {
            tables.request_wheel.remove(timer);
        }
        let listen = tables
            .connections
            .get_mut(request.listener)
            .and_then(|tcb| tcb.rare.get(|rare| &mut rare.listen));
        if let Some(listen) = listen {
            listen.half_open = listen.half_open.saturating_sub(1);
            if request.retransmits == 0 {
                listen.young = listen.young.saturating_sub(1);
            }
            if request.deferred {
                listen.undecided.retain(|other| *other != key);
            }
        }
        Some(request)
    }

    #[inline(never)]
    pub(crate) fn remove_request(&mut self, key: Key, cause: Cause, initiator: Initiator) -> Option<Request> {
        let mut request = self.take_request(key)?;
        let Self { cx, tables, .. } = self;
        tables.unindex(cx, &request.tuple, Found::Request(key));
        request.leave(cx, cause, initiator);
        Some(request)
    }

    /// The timer of a request: repeat the SYN-ACK, or give up.
    pub(crate) fn request_timer(&mut self, key: Key) {
        let Self { cx, tables, .. } = self;
        let Some(request) = tables.requests.get_mut(key) else {
            cx.counters.stale_handles += 1;
            return;
        };
        request.timer = None;
        let listen = tables
            .connections
            .get_mut(request.listener)
            .and_then(|tcb| tcb.rare.get(|rare| &mut rare.listen));
        let limit = listen.as_deref().map_or(0, |listen| Request::synack_limit(cx, listen));
        // Linux `syn_ack_recalc`: a request that only waits for data lives as long as the listener wants it to.
        let waits_for_data = request.acked && request.retransmits < request.defer_accept;
        if request.deferred || request.retransmits >= limit && !waits_for_data {
            let cause = if request.deferred { Cause::Refused } else { Cause::SynAckTimeout };
            self.remove_request(key, cause, Initiator::Timer);
            return;
        }
        if request.retransmits == 0
            && let Some(listen) = listen
        {
            listen.young = listen.young.saturating_sub(1);
        }
        request.retransmits += 1;
        let wait = request.synack_wait(cx);
        request.timer = Some(tables.request_wheel.insert(cx.now + wait, key.to_u64()));
        if request.acked && request.retransmits < request.defer_accept {
            return;
        }
        let segment = request.syn_ack(cx, false);
        cx.counters.retrans_segs += 1;
        cx.counters.out_segs += 1;
        cx.send_segment(segment);
    }

    /// A deferring listener says yes: the SYN-ACK goes out.
    pub(crate) fn accept_pending(&mut self, key: Key) -> bool {
        let Self { cx, tables, .. } = self;
        let Some(request) = tables.requests.get_mut(key).filter(|request| request.deferred) else {
            return false;
        };
        request.deferred = false;
        request.quote = Box::default();
        request.sent_at = cx.now;
        let wait = request.synack_wait(cx);
        if let Some(timer) = request.timer {
            tables.request_wheel.reschedule(timer, cx.now + wait);
        }
        let segment = request.syn_ack(cx, false);
        let listener = request.listener;
        cx.counters.out_segs += 1;
        cx.send_segment(segment);
        if let Some(listen) =
            tables.connections.get_mut(listener).and_then(|tcb| tcb.rare.get(|rare| &mut rare.listen))
        {
            listen.undecided.retain(|other| *other != key);
        }
        true
    }

    /// A deferring listener says no: with a RST, an ICMP error, or nothing.
    pub(crate) fn refuse_pending(&mut self, key: Key, reset: bool, unreachable: Option<IcmpUnreach>) -> bool {
        if self.tables.requests.get(key).is_none_or(|request| !request.deferred) {
            return false;
        }
        let Some(request) = self.remove_request(key, Cause::Refused, Initiator::Local) else { return false };
        let Self { cx, ip, replies, .. } = self;
        if reset {
            let syn = request.syn();
            send_reset(cx, &request.tuple, &syn);
        }
        if let Some(kind) = unreachable {
            ip.unreachable(cx.now, &cx.cfg, &mut cx.counters.ip, kind, &request.quote, replies);
        }
        true
    }
}

/// Bytes of a SYN that an ICMP error quotes: headers with all options.
const QUOTE: usize = 128;

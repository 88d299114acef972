//! One stack and a peer driven by hand.

use super::packet::{self, SegSpec, Sent, addresses};
use core::net::SocketAddr;
use core::time::Duration;
use lastack_core::wire::tcp::{Flags, Options, Repr};
use lastack_core::wire::{Capabilities, PacketMeta, SeqNumber};
use lastack_core::{
    Config, Counts, Error, Event, Instant, Ready, SendFlags, Stack, State, TcpHandle, Transition,
    TransitionEvent,
};
use std::collections::VecDeque;

/// The stack's port.
pub const LOCAL_PORT: u16 = 80;
/// The peer's port.
pub const PEER_PORT: u16 = 40_000;
/// The peer's initial sequence number: near the wrap, so that relative numbers 0.. cross it.
pub const PEER_ISS: SeqNumber = SeqNumber(u32::MAX - 2);

/// What both sides are like.
#[derive(Clone, Debug)]
pub struct Setup {
    pub v6: bool,
    /// The peer offers timestamps.
    pub timestamps: bool,
    /// The peer offers SACK.
    pub sack: bool,
    /// The peer offers window scaling with this shift.
    pub scale: Option<u8>,
    /// The peer's MSS option.
    pub mss: Option<u16>,
    /// The peer's window field.
    pub window: u16,
    pub config: Config,
    pub mtu: u16,
}

impl Default for Setup {
    /// IPv4, MSS 1460, no other option.
    fn default() -> Self {
        Self {
            v6: false,
            timestamps: false,
            sack: false,
            scale: None,
            mss: Some(1460),
            window: 65_535,
            config: Config { trace_transitions: true, ..Config::default() },
            mtu: 1500,
        }
        // What a test writes is taken whole.
        .with(|config| config.tcp.send_buffer_initial = 4 << 20)
    }
}

impl Setup {
    /// All options on.
    pub fn modern() -> Self {
        Self { timestamps: true, sack: true, scale: Some(7), ..Self::default() }
    }

    pub fn v6() -> Self {
        Self { v6: true, mss: Some(1440), ..Self::default() }
    }

    /// With a change of the configuration.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }
}

/// The stack, its socket, and the peer's view of the connection.
#[derive(Clone)]
pub struct Rig {
    pub setup: Setup,
    pub stack: Stack,
    pub now: Instant,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub listener: Option<TcpHandle>,
    /// The socket under test; `None` once closed.
    pub socket: Option<TcpHandle>,
    /// The stack's ISN, known from its SYN or SYN-ACK.
    pub iss: SeqNumber,
    pub peer_iss: SeqNumber,
    /// What the stack sent and no test has looked at yet.
    pub sent: VecDeque<Sent>,
    /// All ICMP and other packets that were not TCP.
    pub others: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    pub transitions: Vec<TransitionEvent>,
    /// TSval of the last segment the stack sent.
    pub ts_echo: u32,
    /// Offset of the peer's timestamp clock.
    pub ts_base: u32,
    /// All that [`Rig::write`] got in on this connection.
    pub written: Vec<u8>,
    /// Text of the peer's segments and where it lies.
    pub heard: Vec<(i64, Vec<u8>)>,
    /// Bytes that [`Rig::read`] got.
    pub read_to: i64,
    /// Compare all text that is sent with what was written, and what is read with what the peer sent. Not for several
    /// connections between the same two ports.
    pub check_text: bool,
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        let (ours, theirs) = addresses(setup.v6);
        let mut config = setup.config.clone();
        config.addresses = vec![format!("{ours}/{}", if setup.v6 { 64 } else { 24 }).parse().unwrap()];
        let now = Instant::from_secs(1000);
        Self {
            stack: Stack::new(config, Capabilities::plain(setup.mtu), [7; 32], now),
            now,
            local: SocketAddr::new(ours, LOCAL_PORT),
            peer: SocketAddr::new(theirs, PEER_PORT),
            listener: None,
            socket: None,
            iss: SeqNumber(0),
            peer_iss: PEER_ISS,
            sent: VecDeque::new(),
            others: Vec::new(),
            events: Vec::new(),
            transitions: Vec::new(),
            ts_echo: 0,
            ts_base: 5_000_000,
            written: Vec::new(),
            heard: Vec::new(),
            read_to: 0,
            check_text: true,
            setup,
        }
    }

    /// A listener on the local port.
    pub fn listen(&mut self, backlog: usize) -> TcpHandle {
        let h = self.stack.tcp_socket();
        self.stack.tcp_bind(h, self.local).unwrap();
        self.stack.tcp_listen(self.now, h, backlog).unwrap();
        self.listener = Some(h);
        h
    }

    /// The socket under test.
    pub fn h(&self) -> TcpHandle {
        self.socket.expect("the socket under test is closed")
    }

    /// Options of the peer's SYN.
    pub fn syn_options(&self) -> Options {
        Options {
            mss: self.setup.mss,
            window_scale: self.setup.scale,
            sack_permitted: self.setup.sack,
            timestamps: self.setup.timestamps.then(|| (self.peer_ts(), self.ts_echo)),
            ..Options::default()
        }
    }

    /// The peer's timestamp clock: milliseconds.
    pub fn peer_ts(&self) -> u32 {
        self.ts_base.wrapping_add(self.now.as_millis() as u32)
    }

    /// The packet of a peer's segment.
    pub fn build(&self, spec: &SegSpec) -> Vec<u8> {
        let usual = || {
            if spec.flags.contains(Flags::SYN) {
                self.syn_options()
            } else {
                Options {
                    timestamps: self.setup.timestamps.then(|| (self.peer_ts(), self.ts_echo)),
                    ..Options::default()
                }
            }
        };
        let repr = Repr {
            src_port: self.peer.port(),
            dst_port: self.local.port(),
            seq: self.peer_iss + 1 + spec.seq as u32,
            ack: if spec.flags.contains(Flags::ACK) { self.iss + 1 + spec.ack as u32 } else { SeqNumber(0) },
            flags: spec.flags,
            window: spec.window.unwrap_or(self.setup.window),
            urgent: spec.urgent,
            options: spec.options.unwrap_or_else(usual),
        };
        packet::tcp_packet(self.peer, self.local, &repr, &spec.payload, spec.bad_checksum)
    }

    /// The peer sends a segment; what the stack answers at once is collected.
    pub fn inject(&mut self, spec: SegSpec) {
        let packet = self.build(&spec);
        // Urgent bytes are taken out of the stream.
        self.check_text &= !spec.flags.contains(Flags::URG);
        if self.check_text && !spec.payload.is_empty() {
            self.heard.push((spec.seq + i64::from(spec.flags.contains(Flags::SYN)), spec.payload));
        }
        let opens = spec.flags.contains(Flags::SYN) && self.state() == Some(State::SynSent);
        self.inject_packet(&packet);
        if opens && self.state() != Some(State::SynSent) {
            // Whatever the number of this SYN: the stream begins behind it.
            self.read_to = spec.seq + 1;
        }
    }

    pub fn inject_packet(&mut self, packet: &[u8]) {
        self.stack.receive(self.now, &PacketMeta::default(), packet);
        self.pump();
    }

    /// A router says that the segment with relative number `seq` met trouble.
    pub fn icmp(&mut self, kind: &str, mtu: u16, seq: i64) {
        let packet = packet::icmp_error(kind, mtu, self.local, self.peer, self.iss + 1 + seq as u32);
        self.inject_packet(&packet);
    }

    /// Collects packets, events and transitions.
    pub fn pump(&mut self) {
        let mut frame = vec![0; 70_000];
        let mut count = 0;
        while let Some((len, meta)) = self.stack.transmit(self.now, &mut frame) {
            assert!(meta.gso.is_none(), "no device here splits");
            count += 1;
            assert!(count < 100_000, "the stack sends without end");
            match Sent::parse(self.now, &frame[..len], self.iss, self.peer_iss) {
                Some(sent) => {
                    let own = sent.ports == (self.local.port(), self.peer.port());
                    if self.check_text && own && !sent.flags.contains(Flags::SYN) {
                        self.expect_written(&sent);
                    }
                    if let Some((value, _)) = sent.options.timestamps {
                        self.ts_echo = value;
                    }
                    self.sent.push_back(sent);
                }
                None => self.others.push(frame[..len].to_vec()),
            }
        }
        while let Some(event) = self.stack.poll_event() {
            self.events.push(event);
        }
        while let Some(transition) = self.stack.poll_transition() {
            self.transitions.push(transition);
        }
        assert_eq!(self.stack.counters().illegal_transitions, 0, "a transition that the table does not have");
    }

    /// Text is what was written, at its place; a FIN stands behind all of it.
    fn expect_written(&self, sent: &Sent) {
        let end = sent.rel_seq + sent.payload.len() as i32;
        if !sent.payload.is_empty() {
            let at = usize::try_from(sent.rel_seq).expect("text before the first byte");
            let written = self.written.get(at..at + sent.payload.len());
            assert!(written == Some(&sent.payload), "text that was not written, or not there: {sent}");
        }
        if sent.flags.contains(Flags::FIN) {
            assert_eq!(usize::try_from(end), Ok(self.written.len()), "a FIN in the wrong place: {sent}");
        }
    }

    /// Lets `time` pass: timers fire at their deadlines, and what they send is collected with its time.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.pump();
        let mut rounds = 0;
        while let Some(at) = self.stack.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.pump();
            rounds += 1;
            assert!(rounds < 1_000_000, "timers fire without end");
        }
        self.now = end;
        self.stack.handle_timeout(end);
        self.pump();
    }

    /// Takes what was sent, as text.
    pub fn take(&mut self) -> Vec<String> {
        self.pump();
        self.sent.drain(..).map(|sent| sent.text()).collect()
    }

    /// Takes what was sent, with the milliseconds since `since`.
    pub fn take_timed(&mut self, since: Instant) -> Vec<(u64, String)> {
        self.pump();
        self.sent.drain(..).map(|sent| ((sent.at - since).as_millis() as u64, sent.text())).collect()
    }

    /// The next segment that the stack sent; it has to be this one.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> Sent {
        self.pump();
        let Some(sent) = self.sent.pop_front() else {
            panic!("expected {text:?}, but nothing was sent; the record is {:?}", self.state());
        };
        assert_eq!(sent.text(), text, "and after it: {:?}", self.take());
        sent
    }

    /// Nothing was sent.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        let sent = self.take();
        assert!(sent.is_empty(), "expected nothing, but {sent:?} was sent; the record is {:?}", self.state());
    }

    /// State of the record of the four-tuple, of whatever size; `None`: there is none.
    pub fn state(&self) -> Option<State> {
        self.stack.tcp_record_state(self.local, self.peer)
    }

    #[track_caller]
    pub fn expect_state(&self, state: State) {
        assert_eq!(self.state(), Some(state));
    }

    #[track_caller]
    pub fn expect_gone(&self) {
        assert_eq!(self.state(), None);
    }

    /// What the application sees of the state.
    pub fn app_state(&self) -> State {
        self.stack.tcp_state(self.h()).unwrap()
    }

    /// A connection begins.
    pub fn begin_text(&mut self) {
        self.written.clear();
        self.heard.clear();
        self.read_to = 0;
    }

    pub fn read(&mut self) -> Result<Vec<u8>, Error> {
        self.read_some(1 << 20)
    }

    pub fn read_some(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut buf = vec![0; most];
        let n = self.stack.tcp_read(self.now, self.h(), &mut buf)?;
        buf.truncate(n);
        if self.check_text {
            self.expect_heard(&buf);
        }
        self.read_to += n as i64;
        self.pump();
        Ok(buf)
    }

    /// Each byte is one that the peer sent at its place.
    fn expect_heard(&self, text: &[u8]) {
        let mut known = vec![false; text.len()];
        for (at, heard) in &self.heard {
            let from = (self.read_to - at).max(0) as usize;
            let to = (at - self.read_to).max(0) as usize;
            let pairs = text.iter().skip(to).zip(heard.iter().skip(from));
            for (known, (read, heard)) in known.iter_mut().skip(to).zip(pairs) {
                *known |= read == heard;
            }
        }
        let stray = known.iter().position(|known| !known);
        assert_eq!(
            stray,
            None,
            "{} bytes were read from {}, and not all were sent",
            text.len(),
            self.read_to
        );
    }

    pub fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.send(data, SendFlags::empty())
    }

    pub fn send(&mut self, data: &[u8], flags: SendFlags) -> Result<usize, Error> {
        let result = self.stack.tcp_send(self.now, self.h(), data, flags);
        self.written.extend_from_slice(&data[..result.unwrap_or(0)]);
        self.pump();
        result
    }

    pub fn write_len(&mut self, len: usize) -> usize {
        let text: Vec<u8> = (0..len).map(|i| b'A' + (i % 26) as u8).collect();
        self.write(&text).unwrap()
    }

    pub fn shutdown(&mut self, how: lastack_core::Shutdown) -> Result<(), Error> {
        let result = self.stack.tcp_shutdown(self.now, self.h(), how);
        self.pump();
        result
    }

    pub fn close(&mut self) {
        let h = self.socket.take().expect("closed already");
        self.stack.tcp_close(self.now, h);
        self.pump();
    }

    pub fn abort(&mut self) {
        let h = self.socket.take().expect("closed already");
        self.stack.tcp_abort(self.now, h);
        self.pump();
    }

    pub fn close_listener(&mut self) {
        let h = self.listener.take().expect("no listener");
        self.stack.tcp_close(self.now, h);
        self.pump();
    }

    pub fn option(&mut self, option: lastack_core::TcpOption) {
        self.stack.tcp_set_option(self.now, self.h(), option).unwrap();
        self.pump();
    }

    pub fn take_error(&mut self) -> Option<Error> {
        self.stack.tcp_take_error(self.h())
    }

    pub fn ready(&self) -> Ready {
        self.stack.tcp_ready(self.h())
    }

    pub fn history(&self) -> Vec<Transition> {
        self.stack.tcp_history(self.h())
    }

    /// The last transition of any record.
    pub fn last_transition(&self) -> Transition {
        self.transitions.last().expect("no transition").transition
    }

    /// Gives back the handles; then there must be nothing left but what was there from the start.
    #[track_caller]
    pub fn expect_all_freed(&mut self) {
        if let Some(h) = self.socket.take() {
            self.stack.tcp_close(self.now, h);
        }
        if let Some(h) = self.listener.take() {
            self.stack.tcp_close(self.now, h);
        }
        self.pump();
        assert_eq!(self.stack.counts(), Counts::default(), "something was left behind");
        assert!(self.stack.is_idle());
        assert_eq!(self.stack.next_timeout(), None, "a timer without a record");
    }
}

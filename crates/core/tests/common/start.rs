//! A connection in any state, reached by exchanging segments.

use super::packet::seg;
use super::rig::{PEER_ISS, Rig, Setup};
use lastack_core::State;

/// Where a test begins. "Orphan": the application has closed its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// A socket that was never used.
    Closed,
    /// No socket, no record.
    Nothing,
    Listen,
    SynSent,
    /// A listener's half-open request.
    NewSynRecv,
    /// Crossed SYNs.
    SynReceived,
    Established,
    FinWait1,
    FinWait1Orphan,
    FinWait2,
    /// The small record of an ownerless FIN_WAIT_2.
    FinWait2Orphan,
    Closing,
    ClosingOrphan,
    /// The small record; the handle is still held.
    TimeWait,
    /// The small record after close.
    TimeWaitOrphan,
    CloseWait,
    LastAck,
    LastAckOrphan,
}

impl Start {
    pub const ALL: [Self; 18] = [
        Self::Closed,
        Self::Nothing,
        Self::Listen,
        Self::SynSent,
        Self::NewSynRecv,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait1Orphan,
        Self::FinWait2,
        Self::FinWait2Orphan,
        Self::Closing,
        Self::ClosingOrphan,
        Self::TimeWait,
        Self::TimeWaitOrphan,
        Self::CloseWait,
        Self::LastAck,
        Self::LastAckOrphan,
    ];

    /// State of the record.
    pub fn state(self) -> Option<State> {
        Some(match self {
            Self::Closed | Self::Nothing | Self::Listen => return None,
            Self::SynSent => State::SynSent,
            Self::NewSynRecv => State::NewSynRecv,
            Self::SynReceived => State::SynReceived,
            Self::Established => State::Established,
            Self::FinWait1 | Self::FinWait1Orphan => State::FinWait1,
            Self::FinWait2 | Self::FinWait2Orphan => State::FinWait2,
            Self::Closing | Self::ClosingOrphan => State::Closing,
            Self::TimeWait | Self::TimeWaitOrphan => State::TimeWait,
            Self::CloseWait => State::CloseWait,
            Self::LastAck | Self::LastAckOrphan => State::LastAck,
        })
    }

    /// RCV.NXT: 1 once the peer's FIN was received.
    pub fn rcv_nxt(self) -> i64 {
        match self {
            Self::Closing
            | Self::ClosingOrphan
            | Self::TimeWait
            | Self::TimeWaitOrphan
            | Self::CloseWait
            | Self::LastAck
            | Self::LastAckOrphan => 1,
            _ => 0,
        }
    }

    /// SND.UNA: 1 once our FIN was acknowledged.
    pub fn snd_una(self) -> i64 {
        match self {
            Self::FinWait2 | Self::FinWait2Orphan | Self::TimeWait | Self::TimeWaitOrphan => 1,
            Self::SynSent | Self::NewSynRecv | Self::SynReceived => -1,
            _ => 0,
        }
    }

    /// SND.NXT: 1 once our FIN was sent.
    pub fn snd_nxt(self) -> i64 {
        match self {
            Self::FinWait1 | Self::FinWait1Orphan => 1,
            Self::Closing | Self::ClosingOrphan | Self::LastAck | Self::LastAckOrphan => 1,
            other => other.snd_una().max(0),
        }
    }

    /// The handle is still held.
    pub fn is_owned(self) -> bool {
        !matches!(
            self,
            Self::Nothing
                | Self::Listen
                | Self::NewSynRecv
                | Self::FinWait1Orphan
                | Self::FinWait2Orphan
                | Self::ClosingOrphan
                | Self::TimeWaitOrphan
                | Self::LastAckOrphan
        )
    }

    /// A rig in this state; nothing is left to look at.
    pub fn rig(self, setup: Setup) -> Rig {
        let mut rig = Rig::new(setup);
        self.reach(&mut rig);
        rig.sent.clear();
        rig.events.clear();
        assert_eq!(rig.state(), self.state(), "{self:?} was not reached");
        rig
    }

    fn reach(self, rig: &mut Rig) {
        use lastack_core::Shutdown::Write;
        match self {
            Self::Nothing => {}
            Self::Closed => rig.socket = Some(rig.stack.tcp_socket()),
            Self::Listen => {
                rig.listen(16);
            }
            Self::SynSent => rig.connect(),
            Self::NewSynRecv => {
                rig.listen(16);
                rig.peer_syn();
            }
            Self::SynReceived => {
                rig.connect();
                rig.inject(seg("SYN", -1, 0));
            }
            Self::Established => rig.open(),
            Self::FinWait1 | Self::FinWait1Orphan => {
                rig.open();
                rig.shutdown(Write).unwrap();
            }
            Self::FinWait2 | Self::FinWait2Orphan => {
                Self::FinWait1.reach(rig);
                rig.inject(seg("ACK", 0, 1));
            }
            Self::Closing | Self::ClosingOrphan => {
                Self::FinWait1.reach(rig);
                rig.inject(seg("FIN,ACK", 0, 0));
            }
            Self::TimeWait | Self::TimeWaitOrphan => {
                Self::FinWait2.reach(rig);
                rig.inject(seg("FIN,ACK", 0, 1));
            }
            Self::CloseWait => {
                rig.open();
                rig.inject(seg("FIN,ACK", 0, 0));
                rig.advance(core::time::Duration::from_millis(300));
            }
            Self::LastAck | Self::LastAckOrphan => {
                Self::CloseWait.reach(rig);
                rig.shutdown(Write).unwrap();
            }
        }
        let orphan = matches!(
            self,
            Self::FinWait1Orphan
                | Self::FinWait2Orphan
                | Self::ClosingOrphan
                | Self::TimeWaitOrphan
                | Self::LastAckOrphan
        );
        if orphan && rig.socket.is_some() {
            rig.close();
        }
    }
}

impl Rig {
    /// An active open whose SYN is out.
    pub fn connect(&mut self) {
        self.begin_text();
        let h = self.stack.tcp_socket();
        self.stack.tcp_bind(h, self.local).unwrap();
        self.stack.tcp_connect(self.now, h, self.peer).unwrap();
        self.socket = Some(h);
        self.pump();
        let syn = self.sent.pop_front().expect("no SYN");
        assert_eq!(syn.flags, super::flags("SYN"));
        self.iss = syn.seq;
    }

    /// The peer's SYN at a listener; the SYN-ACK is taken.
    pub fn peer_syn(&mut self) {
        self.begin_text();
        self.inject(seg("SYN", -1, 0));
        let answer = self.sent.pop_front().expect("no SYN-ACK");
        assert_eq!(answer.flags, super::flags("SYN,ACK"));
        assert_eq!(answer.ack, self.peer_iss + 1);
        self.iss = answer.seq;
    }

    /// ESTABLISHED by an active open.
    pub fn open(&mut self) {
        self.connect();
        self.inject(seg("SYN,ACK", -1, 0));
        self.expect("ACK 0(0) ack 0");
        assert_eq!(self.app_state(), State::Established);
    }

    /// ESTABLISHED at a listener and accepted; the listener stays.
    pub fn open_passive(&mut self) {
        let listener = self.listener.unwrap_or_else(|| self.listen(16));
        self.peer_syn();
        self.inject(seg("ACK", 0, 0));
        self.socket = Some(self.stack.tcp_accept(listener).expect("nothing to accept"));
        assert_eq!(self.app_state(), State::Established);
    }

    /// Another incarnation by another peer port and ISN.
    pub fn next_peer(&mut self) {
        self.peer.set_port(self.peer.port() + 1);
        self.peer_iss = PEER_ISS;
    }
}

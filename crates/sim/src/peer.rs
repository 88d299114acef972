//! A peer whose segments are written by hand, true or not.

use crate::link::Fate;
use crate::log::Side;
use crate::packet::{Header, build};
use crate::pair::Pair;
use lastack_core::wire::SeqNumber;
use lastack_core::wire::tcp::{Flags, Options};
use std::net::SocketAddr;

/// One end of a connection without a stack behind it. Numbers count from the first byte behind the SYN of their side.
///
/// Its side of the pair has to be off ([`Pair::power_off`]), unless it is a stranger who speaks in somebody's name.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The side it speaks from.
    pub side: Side,
    /// Its own address.
    pub local: SocketAddr,
    /// The address of the stack that it speaks to.
    pub remote: SocketAddr,
    /// Its initial sequence number.
    pub iss: SeqNumber,
    /// The stack's initial sequence number; known from its SYN or SYN-ACK.
    pub peer_iss: SeqNumber,
    /// The window that it offers.
    pub window: u16,
    /// Options of its SYN.
    pub syn_options: Options,
}

impl Peer {
    /// A peer that offers a window of 65,535 bytes, segments of 1460 bytes, and nothing else.
    #[must_use]
    pub fn new(side: Side, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            side,
            local,
            remote,
            // Near the wrap, so that what is relative has to be right.
            iss: SeqNumber(u32::MAX - 2),
            peer_iss: SeqNumber(0),
            window: 65_535,
            syn_options: Options { mss: Some(1460), ..Options::default() },
        }
    }

    /// A stranger who knows the numbers of a connection of the log and speaks in the name of `side`; `None` if there was
    /// no segment with a SYN from both sides.
    #[must_use]
    pub fn impostor(pair: &Pair, side: Side) -> Option<Self> {
        let segments = pair.log().segments();
        let syn = |of: Side| segments.iter().rev().find(|s| s.from == of && s.has(Flags::SYN)).copied();
        let (own, other) = (syn(side)?, syn(side.other())?);
        let mut peer = Self::new(side, own.local, own.remote);
        peer.iss = own.wire_seq;
        peer.peer_iss = other.wire_seq;
        Some(peer)
    }

    /// Takes the stack's initial number, and its address, from the last SYN that it sent to this peer's port.
    ///
    /// # Errors
    /// A line that says that there was none.
    pub fn learn(&mut self, pair: &Pair) -> Result<(), String> {
        let segments = pair.log().segments();
        let syn = |s: &&crate::packet::Sent| {
            s.from != self.side && s.has(Flags::SYN) && s.remote.port() == self.local.port()
        };
        let syn = segments.iter().rev().find(syn).ok_or("the stack sent no SYN to the peer")?;
        (self.peer_iss, self.remote) = (syn.wire_seq, syn.local);
        Ok(())
    }

    /// Sends a segment with `payload`.
    pub fn send(&self, pair: &mut Pair, flags: Flags, seq: i32, ack: i32, payload: &[u8]) {
        let options = if flags.contains(Flags::SYN) { self.syn_options } else { Options::default() };
        let header = Header {
            flags,
            seq: self.iss + 1 + seq.cast_unsigned(),
            ack: if flags.contains(Flags::ACK) {
                self.peer_iss + 1 + ack.cast_unsigned()
            } else {
                SeqNumber(0)
            },
            window: self.window,
            options,
        };
        if let Ok(packet) = build(self.local, self.remote, &header, payload) {
            pair.inject(self.side, packet, Fate::Deliver);
        }
    }
}

//! A received segment as the state machine sees it.

use lastack_wire::SeqNumber;
use lastack_wire::tcp::{Flags, Header, Options, seg_len};

/// Numbers, flags and text of one arriving segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seg<'a> {
    pub(crate) seq: SeqNumber,
    /// SEG.SEQ + SEG.LEN: SYN and FIN count.
    pub(crate) end_seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: &'a Options,
    pub(crate) payload: &'a [u8],
    /// Payload of one segment on the wire, if the device merged several.
    pub(crate) gso_size: u16,
    /// The ECN bits of the IP header.
    pub(crate) ecn: u8,
    /// Bytes of the text that stand in the receive buffer already and do not count yet.
    pub(crate) placed: usize,
}

impl<'a> Seg<'a> {
    #[inline]
    pub(crate) fn new(
        header: &Header,
        options: &'a Options,
        payload: &'a [u8],
        (gso_size, ecn): (u16, u8),
    ) -> Self {
        Self {
            seq: header.seq,
            end_seq: header.seq + seg_len(header.flags, payload),
            ack: header.ack,
            flags: header.flags,
            window: header.window,
            urgent: header.urgent,
            options,
            payload,
            gso_size,
            ecn,
            placed: 0,
        }
    }

    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// The FIN's own number, which is also the end of the text.
    pub(crate) fn text_end(&self) -> SeqNumber {
        self.end_seq - u32::from(self.has(Flags::FIN))
    }

    /// Occupies no sequence space.
    pub(crate) fn is_empty(&self) -> bool {
        self.seq == self.end_seq
    }
}

/// What is to be done with the sender of a segment after the state machine has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing more.
    Done,
    /// A reflex RST.
    Reset,
}

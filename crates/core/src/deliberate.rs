//! Faults on purpose, for the tests that prove that a search or a property finds them. Without the feature
//! `deliberate-bugs` nothing of them is compiled.

/// A fault on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "deliberate-bugs"), allow(dead_code, unreachable_pub, reason = "only asked for"))]
pub enum DeliberateBug {
    /// A lost FIN is not sent again.
    FinNotRetransmitted,
    /// In FIN_WAIT_1 every ACK is taken for that of the FIN.
    AckTakenForFin,
    /// The side that closes first forgets the connection at once.
    TimeWaitSkipped,
}

impl crate::ctx::Ctx {
    /// Whether to make this mistake.
    #[cfg(feature = "deliberate-bugs")]
    pub(crate) fn makes(&self, bug: DeliberateBug) -> bool {
        self.cfg.tcp.deliberate_bug == Some(bug)
    }

    /// No mistakes on purpose.
    #[cfg(not(feature = "deliberate-bugs"))]
    #[inline(always)]
    pub(crate) const fn makes(&self, _: DeliberateBug) -> bool {
        false
    }
}

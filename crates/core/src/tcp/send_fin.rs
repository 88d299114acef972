//! Our FIN (RFC 9293 3.10.4; Linux `tcp_send_fin`).

use super::tcb::{Is, Tcb};
use crate::ctx::Ctx;

impl Tcb {
    /// Queues the FIN: a number after the last byte written, in the same retransmission queue as data. It rides on the
    /// last unsent segment if there is one and goes alone otherwise; Nagle and cork do not hold it, windows do.
    pub(crate) fn send_fin(&mut self, cx: &mut Ctx) {
        self.is.insert(Is::FIN_QUEUED);
        // If nothing lets it go, `output` says so and the probe timer is armed then.
        cx.want_output(self);
    }
}

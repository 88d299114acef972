//! Counters, under the names of Linux's SNMP and TcpExt lists where one exists.

/// What happened, in numbers. All of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The IP layer's.
    pub ip: crate::ip::IpCounters,
    /// The UDP layer's.
    pub udp: crate::udp::UdpCounters,
    /// `ActiveOpens`.
    pub active_opens: u64,
    /// `PassiveOpens`.
    pub passive_opens: u64,
    /// `AttemptFails`: attempts that ended before ESTABLISHED.
    pub attempt_fails: u64,
    /// `EstabResets`: connections that went from ESTABLISHED or CLOSE_WAIT straight to CLOSED.
    pub estab_resets: u64,
    /// `InSegs`.
    pub in_segs: u64,
    /// `OutSegs`.
    pub out_segs: u64,
    /// `RetransSegs`.
    pub retrans_segs: u64,
    /// `InErrs`: bad header or checksum.
    pub in_errs: u64,
    /// `InCsumErrors`.
    pub in_csum_errors: u64,
    /// `OutRsts`.
    pub out_rsts: u64,
    /// Resets received and acted on.
    pub in_rsts: u64,
    /// Resets received and ignored.
    pub in_rsts_ignored: u64,
    /// `TCPDeliveredCE`: segments delivered with an acknowledgement that echoed a congestion mark.
    pub delivered_ce: u64,
    /// `TCPAbortOnData`: data arrived after the reader had gone.
    pub abort_on_data: u64,
    /// `TCPAbortOnClose`: close with unread data.
    pub abort_on_close: u64,
    /// `TCPAbortOnMemory`: orphan or memory limit.
    pub abort_on_memory: u64,
    /// `TCPAbortOnTimeout`.
    pub abort_on_timeout: u64,
    /// Connections whose application did not close in time after the peer (`TcpConfig::close_wait_watchdog`).
    pub close_wait_overdue: u64,
    /// `TCPAbortOnLinger`: linger 0, or abort.
    pub abort_on_linger: u64,
    /// `TCPTimeouts`: retransmission timer expiries.
    pub timeouts: u64,
    /// `ListenOverflows`: the accept queue was full.
    pub listen_overflows: u64,
    /// `ListenDrops`: requests dropped for any reason.
    pub listen_drops: u64,
    /// `SyncookiesSent`.
    pub syncookies_sent: u64,
    /// `SyncookiesRecv`: cookies that came back and opened a connection.
    pub syncookies_recv: u64,
    /// `SyncookiesFailed`: ACKs that carried no valid cookie.
    pub syncookies_failed: u64,
    /// `TCPChallengeACK`: challenge ACKs sent.
    pub challenge_acks: u64,
    /// `TCPFastOpenActive`: connections of which the SYN-ACK acknowledged the SYN's text.
    pub fast_open_active: u64,
    /// `TCPFastOpenActiveFail`: those whose text had to be sent again.
    pub fast_open_active_failed: u64,
    /// `TCPFastOpenBlackhole`: times that Fast Open seemed to be swallowed on its way.
    pub fast_open_black_holes: u64,
    /// `TCPFastOpenCookieReqd`: SYNs that asked for a cookie.
    pub fast_open_cookie_requests: u64,
    /// `TCPFastOpenPassiveAltKey`: SYNs with a cookie of the key before.
    pub fast_open_backup_keys: u64,
    /// `TCPFastOpenPassive`: connections that a SYN with a good cookie opened.
    pub fast_open_children: u64,
    /// `TCPFastOpenPassiveFail`: SYNs with a cookie that is not ours.
    pub fast_open_refused: u64,
    /// `TCPFastOpenListenOverflow`: SYNs that had to open in the ordinary way because too many were pending.
    pub fast_open_overflows: u64,
    /// `TCPACKSkipped*`: ACKs not sent because of the rate limit.
    pub acks_skipped: u64,
    /// `PAWSEstab`: segments refused by PAWS.
    pub paws_drops: u64,
    /// `PAWSOldAck`: old pure ACKs dropped without an answer.
    pub paws_old_ack: u64,
    /// `PAWSTimewait`: segments refused by PAWS in TIME_WAIT.
    pub paws_time_wait: u64,
    /// `TW`: TIME_WAIT and ownerless FIN_WAIT_2 records made.
    pub time_wait_made: u64,
    /// `TCPTimeWaitOverflow`: records not made because of the limit.
    pub time_wait_overflow: u64,
    /// `TWRecycled`: records taken over by a new connection.
    pub time_wait_recycled: u64,
    /// `TCPOFOQueue`: segments kept out of order.
    pub ofo_queued: u64,
    /// `TCPOFODrop`: out-of-order bytes not kept because of a limit.
    pub ofo_dropped_bytes: u64,
    /// `TCPZeroWindowDrop`: data dropped at a closed window.
    pub zero_window_drops: u64,
    /// `BeyondWindow`: segments dropped because they ended beyond the window.
    pub beyond_window: u64,
    /// `TCPWinProbe`: zero-window probes sent.
    pub window_probes: u64,
    /// `TCPKeepAlive`: keep-alive probes sent.
    pub keepalive_probes: u64,
    /// `DelayedACKs`: delayed ACKs that their timer sent.
    pub delayed_acks: u64,
    /// `TCPDSACKOldSent`, `TCPDSACKOfoSent`: D-SACK blocks sent.
    pub dsacks_sent: u64,
    /// `TCPHPHits`: segments taken by header prediction.
    pub predicted: u64,
    /// `OutOfWindowIcmps`: ICMP errors that quoted no segment in flight.
    pub icmp_out_of_window: u64,
    /// Fast recoveries begun (`TCPRenoRecovery`).
    pub fast_recoveries: u64,
    /// Retransmissions that were lost in their turn (`TCPLostRetransmit`).
    pub lost_retransmissions: u64,
    /// Tail-loss probes sent (`TCPLossProbes`).
    pub loss_probes: u64,
    /// Losses that a probe repaired (`TCPLossProbeRecovery`).
    pub loss_probe_recoveries: u64,
    /// D-SACKs received and believed (`TCPDSACKRecv`).
    pub dsacks_received: u64,
    /// Times that reordering was seen (`TCPSACKReorder`, `TCPRenoReorder`, `TCPTSReorder`).
    pub reorderings: u64,
    /// Reductions of a window that were undone as needless (`TCPFullUndo`, `TCPPartialUndo`, `TCPDSACKUndo`,
    /// `TCPLossUndo`).
    pub undos: u64,
    /// Peers that threw away what they had reported by SACK (`TCPSACKReneging`).
    pub sack_reneging: u64,
    /// Replies dropped because the queue towards the device was full.
    pub reply_queue_drops: u64,
    /// Transitions that nobody polled in time.
    pub trace_drops: u64,
    /// Transitions that the table of arrows does not have: a defect of lastack, never of a peer.
    pub illegal_transitions: u64,
    /// Events and timers for a record that was gone.
    pub stale_handles: u64,
}

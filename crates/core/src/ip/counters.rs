//! What the IP layer counts.

/// Counters of IP and ICMP, of both versions together. The name in parentheses is that of Linux's `/proc/net/snmp`
/// (or `snmp6`, `netstat`) counter with the same meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpCounters {
    /// Packets taken from the device (`InReceives`).
    pub in_receives: u64,
    /// Dropped for an error in the header: version, length, checksum, hop limit 0, extension headers
    /// (`InHdrErrors`).
    pub in_hdr_errors: u64,
    /// Dropped because the packet ends before the length it states (`InTruncatedPkts`).
    pub in_truncated_pkts: u64,
    /// Dropped because the destination is not an address of the stack (`InAddrErrors`).
    pub in_addr_errors: u64,
    /// Dropped because of the source: multicast, broadcast, unspecified, loopback, or an address of the stack itself
    /// (`IPReversePathFilter` and the martian log of Linux).
    pub in_martian_sources: u64,
    /// Dropped because of a source-route option (`InSourceRouteFail` of other systems; Linux logs them).
    pub in_source_routed: u64,
    /// Dropped because the destination is a multicast group: no group but what every node hears is ever joined
    /// (`InMcastPkts`).
    pub in_mcast_pkts: u64,
    /// Packets to a broadcast address (`InBcastPkts`).
    pub in_bcast_pkts: u64,
    /// Dropped because nobody speaks the protocol (`InUnknownProtos`).
    pub in_unknown_protos: u64,
    /// Dropped without an error in the packet: nothing to do for it here (`InDiscards`).
    pub in_discards: u64,
    /// Packets given to TCP, UDP or ICMP (`InDelivers`).
    pub in_delivers: u64,
    /// Packets with ECT(1), those that the device had merged one by one (`InECT1Pkts`).
    pub in_ect1: u64,
    /// With ECT(0) (`InECT0Pkts`).
    pub in_ect0: u64,
    /// With a congestion mark (`InCEPkts`).
    pub in_ce: u64,
    /// Fragments received (`ReasmReqds`).
    pub reasm_reqds: u64,
    /// Datagrams put together (`ReasmOKs`).
    pub reasm_oks: u64,
    /// Datagrams given up for any reason, and fragments that could not be used (`ReasmFails`).
    pub reasm_fails: u64,
    /// Datagrams whose time ran out (`ReasmTimeout`); they are in [`IpCounters::reasm_fails`] too.
    pub reasm_timeout: u64,
    /// Datagrams killed by an overlap (`ReasmOverlaps`); they are in [`IpCounters::reasm_fails`] too.
    pub reasm_overlaps: u64,
    /// Datagrams dropped to keep a memory limit; they are in [`IpCounters::reasm_fails`] too.
    pub reasm_evictions: u64,
    /// Datagrams sent in fragments (`FragOKs`).
    pub frag_oks: u64,
    /// Fragments made (`FragCreates`).
    pub frag_creates: u64,
    /// Datagrams that could not be cut into fragments (`FragFails`).
    pub frag_fails: u64,
    /// ICMP messages received (`Icmp InMsgs`).
    pub icmp_in_msgs: u64,
    /// Of those malformed, or errors that do not quote a packet of this stack (`Icmp InErrors`).
    pub icmp_in_errors: u64,
    /// Of those with a wrong checksum (`Icmp InCsumErrors`).
    pub icmp_in_csum_errors: u64,
    /// Destination unreachable, without those about the size (`InDestUnreachs`).
    pub icmp_in_dest_unreachs: u64,
    /// Fragmentation needed, or packet too big (`InPktTooBigs`).
    pub icmp_in_pkt_too_bigs: u64,
    /// Time exceeded (`InTimeExcds`).
    pub icmp_in_time_excds: u64,
    /// Parameter problem (`InParmProbs`).
    pub icmp_in_parm_probs: u64,
    /// Source quench, ignored (RFC 6633) (`InSrcQuenchs`).
    pub icmp_in_src_quenchs: u64,
    /// Redirect, ignored: the interface is point-to-point (`InRedirects`).
    pub icmp_in_redirects: u64,
    /// Echo requests (`InEchos`).
    pub icmp_in_echos: u64,
    /// Echo replies, ignored (`InEchoReps`).
    pub icmp_in_echo_reps: u64,
    /// Echo requests that were not answered: switched off, not to an own address, or not unicast.
    pub icmp_echos_ignored: u64,
    /// ICMP messages queued to be sent (`Icmp OutMsgs`).
    pub icmp_out_msgs: u64,
    /// Destination unreachable (`OutDestUnreachs`).
    pub icmp_out_dest_unreachs: u64,
    /// Time exceeded (`OutTimeExcds`).
    pub icmp_out_time_excds: u64,
    /// Parameter problem (`OutParmProbs`).
    pub icmp_out_parm_probs: u64,
    /// Echo replies (`OutEchoReps`).
    pub icmp_out_echo_reps: u64,
    /// Errors not sent because of the rate limit (`Icmp OutRateLimitGlobal`).
    pub icmp_out_rate_limit: u64,
}

impl IpCounters {
    /// `packets` came with these ECN bits.
    #[inline]
    pub(super) fn count_ecn(&mut self, ecn: u8, packets: impl FnOnce() -> usize) {
        if ecn == 0 {
            return;
        }
        let counter = match ecn {
            1 => &mut self.in_ect1,
            2 => &mut self.in_ect0,
            _ => &mut self.in_ce,
        };
        *counter += packets() as u64;
    }
}

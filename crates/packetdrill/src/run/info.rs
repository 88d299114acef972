//! Fields of `TCP_INFO` and `SO_MEMINFO` by the names that code blocks use.

/// Bytes of `TCP_INFO` asked for.
pub(super) const INFO_LEN: i32 = 280;
/// Bytes of `SO_MEMINFO`.
pub(super) const MEMINFO_LEN: i32 = 36;

/// Name, offset, width in bytes.
const FIELDS: [(&str, usize, usize); 64] = [
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_fackets", 40, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_ack_sent", 48, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
    ("tcpi_rehash", 236, 4),
    ("tcpi_total_rto", 240, 2),
    ("tcpi_total_rto_recoveries", 242, 2),
    ("tcpi_total_rto_time", 244, 4),
    ("tcpi_received_ce", 248, 4),
    ("tcpi_delivered_e1_bytes", 252, 4),
    ("tcpi_delivered_e0_bytes", 256, 4),
    ("tcpi_delivered_ce_bytes", 260, 4),
    ("tcpi_received_e1_bytes", 264, 4),
    ("tcpi_received_e0_bytes", 268, 4),
    ("tcpi_received_ce_bytes", 272, 4),
];

/// Words of `SO_MEMINFO`, in order.
const MEMINFO: [&str; 9] = [
    "SK_MEMINFO_RMEM_ALLOC",
    "SK_MEMINFO_RCVBUF",
    "SK_MEMINFO_WMEM_ALLOC",
    "SK_MEMINFO_SNDBUF",
    "SK_MEMINFO_FWD_ALLOC",
    "SK_MEMINFO_WMEM_QUEUED",
    "SK_MEMINFO_OPTMEM",
    "SK_MEMINFO_BACKLOG",
    "SK_MEMINFO_DROPS",
];

/// A name belongs to `SO_MEMINFO`.
pub(super) fn is_meminfo(name: &str) -> bool {
    MEMINFO.contains(&name)
}

/// The value of a field.
pub(super) fn field(name: &str, info: &[u8], meminfo: &[u8]) -> Option<i64> {
    if let Some(at) = MEMINFO.iter().position(|known| *known == name) {
        return number(meminfo, at * 4, 4);
    }
    match name {
        "tcpi_delivery_rate_app_limited" => return number(info, 7, 1).map(|bits| bits & 1),
        "tcpi_fastopen_client_fail" => return number(info, 7, 1).map(|bits| bits >> 1 & 3),
        "tcpi_snd_wscale" => return number(info, 6, 1).map(|bits| bits & 15),
        "tcpi_rcv_wscale" => return number(info, 6, 1).map(|bits| bits >> 4),
        _ => {}
    }
    let (_, offset, width) = FIELDS.iter().find(|(known, ..)| *known == name)?;
    number(info, *offset, *width)
}

fn number(bytes: &[u8], offset: usize, width: usize) -> Option<i64> {
    let bytes = bytes.get(offset..offset + width)?;
    let mut whole = [0; 8];
    whole.get_mut(..width)?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

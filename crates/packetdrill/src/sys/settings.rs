//! How the stack behind the calls is set up.

use lastack_core::wire::Capabilities;
use lastack_core::{Config, EcnPolicy, FastOpenKeys, Route, TcpConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses, sizes and knobs of a [`Machine`](super::Machine). The default is what packetdrill's usual runners set up:
/// addresses 192.168.0.1 and fd3d:0a0b:17d6::1, every other destination address taken as local too, an MTU of 1500
/// bytes for IPv4 and 1520 for IPv6 (an MSS of 1460 in both), receive buffers of 4096 / 540,000 / 15 MiB, send buffers of
/// 4096 / 256 KiB / 4 MiB, CUBIC, 5 repeats of a SYN, and
/// Fast Open for listeners that ask for it, with a fixed key.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The stack's configuration.
    pub config: Config,
    /// Largest IPv6 packet in bytes; IPv4 has [`Config::ipv4_mtu`] besides.
    pub mtu: u16,
    /// Randomness of the stack; a fixed value repeats every number.
    pub seed: [u8; 32],
    /// `tcp_rmem`: least, first and largest receive buffer, in Linux's units (memory, not payload).
    pub receive_buffer: [i32; 3],
    /// `net.core.rmem_max`: bound of SO_RCVBUF before it is doubled.
    pub receive_buffer_limit: i32,
    /// `net.core.wmem_max`.
    pub send_buffer_limit: i32,
}

/// Key of Fast Open cookies, a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4 in Linux's spelling: cookies in scripts depend on it.
const FAST_OPEN_KEY: [u8; 16] = 0xd4d4_d4d4_c3c3_c3c3_b2b2_b2b2_a1a1_a1a1_u128.to_le_bytes();

impl Default for Settings {
    fn default() -> Self {
        let v4 = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));
        let v6 = IpAddr::V6(Ipv6Addr::new(0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1));
        let tcp = TcpConfig {
            syn_retries: 5,
            slow_start_after_idle: false,
            segmentation_model: Some(2),
            send_buffer_initial: 256 << 10,
            send_buffer_max: 4 << 20,
            ecn: EcnPolicy::OFF,
            fast_open_server: true,
            fast_open_keys: Some(FastOpenKeys { primary: FAST_OPEN_KEY, backup: None }),
            ..TcpConfig::default()
        };
        let mut settings = Self {
            config: Config { any_address: true, ipv4_mtu: Some(1500), tcp, ..Config::default() },
            mtu: 1520,
            seed: [0x6c; 32],
            receive_buffer: [4096, 540_000, 15 << 20],
            receive_buffer_limit: 4 << 20,
            send_buffer_limit: 4 << 20,
        };
        settings.set_addresses(&[v4, v6]);
        settings.set_receive_buffer(settings.receive_buffer);
        settings.set_receive_buffer_limit(settings.receive_buffer_limit);
        settings
    }
}

impl Settings {
    /// The stack's own addresses: the source of connections that it opens. The first of each family counts.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) {
        let single = |address: &IpAddr| {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            lastack_core::Cidr::new(*address, prefix).ok()
        };
        let whole = |address: &IpAddr| {
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let to = lastack_core::Cidr::new(any, 0).ok()?;
            Some(Route { to, source: Some(*address) })
        };
        self.config.addresses = addresses.iter().filter_map(single).collect();
        self.config.routes = addresses.iter().filter_map(whole).collect();
    }

    /// `tcp_rmem`: the window that is offered at first follows from the middle size, the scale from the largest.
    pub fn set_receive_buffer(&mut self, sizes: [i32; 3]) {
        let size = |bytes: i32| bytes.max(1).unsigned_abs() as usize;
        self.receive_buffer = sizes;
        self.config.tcp.recv_buffer_initial = size(sizes[1]);
        self.config.tcp.recv_buffer_max = size(sizes[2]);
    }

    /// `net.core.rmem_max`: how large a program may make a receive buffer; the scale of windows has to do for it.
    pub fn set_receive_buffer_limit(&mut self, limit: i32) {
        self.receive_buffer_limit = limit;
        self.config.tcp.receive_memory_model = Some(limit.max(0).unsigned_abs());
    }

    /// One MTU for both families.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.config.ipv4_mtu = None;
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities::plain(self.mtu)
    }
}

//! `lastack tun2socks`: a whole machine's TUN interface, carried on through a proxy.

use crate::args::{Seeing, Summary, mtu};
use crate::limits::LimitArgs;
use clap::Parser;
use lastack_gateway::{Outgoing, Prefix, Tun2SocksOptions, TunRoute, Upstream};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

/// Carry what this machine sends into a TUN interface on through a proxy.
///
/// Takes the TUN interface of that name, or makes one that goes at the end, and ends each connection that comes out of it in
/// lastack's TCP; the proxy makes the connection to its destination. UDP goes through SOCKS5 proxies that know UDP ASSOCIATE.
/// It goes on until SIGTERM or SIGINT. Needs root (CAP_NET_ADMIN).
///
/// lastack's own connections to the proxy must not go into the interface. They don't if the proxy is on this machine or in a
/// network with a route of its own; else say their way with --bind-interface or --fwmark.
#[derive(Debug, Parser)]
#[command(
    override_usage = "lastack tun2socks [OPTIONS] --tun NAME --upstream WHERE",
    after_help = "Examples:\n  \
                  everything through a proxy that eth0 leads to, the machine's own routes as they are:\n    \
                  lastack tun2socks --tun tun0 --upstream socks5://proxy.example:1080 \\\n      \
                  --route default --bind-interface eth0\n  \
                  one network only:\n    \
                  lastack tun2socks --tun tun0 --upstream http://127.0.0.1:3128 --route 203.0.113.0/24\n  \
                  with rules of one's own (packets with the mark take the main table, all others the TUN):\n    \
                  lastack tun2socks --tun tun0 --upstream socks5://192.0.2.1:1080 --fwmark 7 &\n    \
                  ip route add default dev tun0 table 100\n    \
                  ip rule add not fwmark 7 table 100\n    \
                  ip rule add table main suppress_prefixlength 0\n\n\
                  Exit status: 0 when a signal ended it; 125 if lastack fails; 2 for bad usage."
)]
pub struct Tun2Socks {
    /// The interface: one that exists (persistent, layer 3) is taken, else it is made and goes at the end
    #[arg(long, value_name = "NAME")]
    pub tun: String,
    /// Through what connections are made: socks5://[USER:PASSWORD@]HOST:PORT, http://[USER:PASSWORD@]HOST:PORT (CONNECT), or
    /// direct, which needs --bind-interface or --fwmark
    // What looks like a link is an address.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(long, value_name = "WHERE")]
    pub upstream: Upstream,
    /// Address for the interface; may be repeated. By default 198.18.0.1/15 and fd00::15/64 for one that is made
    #[arg(long, value_name = "ADDR/LEN")]
    pub address: Vec<Prefix>,
    /// Lead a network into the interface while lastack runs, or 'default' for everything; may be repeated. 'default' is
    /// 0.0.0.0/1, 128.0.0.0/1, ::/1 and 8000::/1, so that the machine's own default routes stay
    #[arg(long, value_name = "NETWORK")]
    pub route: Vec<TunRoute>,
    /// Largest packet of the interface, in bytes, 576 to 65535; by default 1500 for one that is made
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    pub mtu: Option<u16>,
    /// Have lastack's own packets leave by this interface only (SO_BINDTODEVICE)
    #[arg(long, value_name = "NAME")]
    pub bind_interface: Option<String>,
    /// Mark lastack's own packets for 'ip rule' (SO_MARK): 7 or 0x7
    #[arg(long, value_name = "MARK", value_parser = mark)]
    pub fwmark: Option<u32>,
    /// Have lastack's own packets leave from this IPv4 address
    #[arg(long, value_name = "ADDR")]
    pub outbound_addr: Option<Ipv4Addr>,
    /// Have lastack's own packets leave from this IPv6 address
    #[arg(long, value_name = "ADDR")]
    pub outbound_addr6: Option<Ipv6Addr>,
    /// What is shown of the connections
    #[command(flatten)]
    pub seeing: Seeing,
    /// Bounds on what lastack holds
    #[command(flatten)]
    pub limits: LimitArgs,
}

fn mark(text: &str) -> Result<u32, String> {
    let mark = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    mark.map_err(|_| "it takes a number, as 7 or 0x7".to_owned())
}

/// Carries the interface until a signal; the exit status.
pub fn main(args: Tun2Socks) -> ExitCode {
    let status = lastack_gateway::tun2socks(Tun2SocksOptions {
        outgoing: Outgoing {
            interface: args.bind_interface,
            mark: args.fwmark,
            v4: args.outbound_addr,
            v6: args.outbound_addr6,
        },
        addresses: args.address,
        routes: args.route,
        mtu: args.mtu,
        trace: args.seeing.trace,
        summary: args.seeing.summary.map(Summary::format),
        capture: args.seeing.capture,
        limits: args.limits.limits(),
        ..Tun2SocksOptions::new(args.tun, args.upstream)
    });
    ExitCode::from(u8::try_from(status).unwrap_or(crate::RUN_FAILURE))
}

//! `resolv.conf`: which name server the host asks, and what the program reads instead.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use crate::addresses::DNS_V4;

/// Port of the name service.
const DNS_PORT: u16 = 53;

/// The first name server of a `resolv.conf`; without one the C library asks `127.0.0.1` (resolv.conf(5)). A scope
/// (`fe80::1%eth0`) is looked up with `index_of`.
#[must_use]
pub(crate) fn first_name_server(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> SocketAddr {
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .find_map(|rest| server(rest.split_whitespace().next()?, &index_of))
        .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, DNS_PORT).into())
}

fn server(name: &str, index_of: &impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, scope)) = name.split_once('%') {
        let scope = scope.parse().ok().or_else(|| index_of(scope))?;
        return Some(SocketAddrV6::new(address.parse().ok()?, DNS_PORT, 0, scope).into());
    }
    Some((name.parse::<IpAddr>().ok()?, DNS_PORT).into())
}

/// What the program finds in `/etc/resolv.conf`: the host's lines, but the virtual name server.
#[must_use]
pub(crate) fn inside(text: &str) -> String {
    let mut inside = format!("nameserver {DNS_V4}\n");
    for line in text.lines().filter(|line| !line.trim_start().starts_with("nameserver")) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(inside, "{line}");
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> String {
        first_name_server(text, |name| (name == "eth0").then_some(7)).to_string()
    }

    #[test]
    fn first_server_of_the_file_is_taken() {
        assert_eq!(first("# x\nsearch a\nnameserver\t192.0.2.1\nnameserver 192.0.2.2\n"), "192.0.2.1:53");
        assert_eq!(first("nameserver 2001:db8::1 # comment"), "[2001:db8::1]:53");
        assert_eq!(first("nameserver fe80::1%eth0"), "[fe80::1%7]:53");
        assert_eq!(first("nameserver fe80::1%3"), "[fe80::1%3]:53");
    }

    #[test]
    fn unusable_lines_are_skipped() {
        assert_eq!(
            first("nameserver\nnameserver x\nnameservers 1.1.1.1\nnameserver 192.0.2.9"),
            "192.0.2.9:53"
        );
        assert_eq!(first("nameserver fe80::1%none\n"), "127.0.0.1:53");
        assert_eq!(first(""), "127.0.0.1:53");
    }

    #[test]
    fn search_and_options_are_kept_inside() {
        assert_eq!(
            inside("search example.org\nnameserver 192.0.2.1\noptions ndots:2\n nameserver ::1"),
            "nameserver 10.0.2.3\nsearch example.org\noptions ndots:2\n"
        );
    }
}

//! Ping through the gateway: the program has a raw socket, the host a ping socket. Needs root.

use crate::lab::{ip, lab, run};

/// Sends an echo request and prints kind, sequence number, data and source of what comes back.
const PROGRAM: &str = "
import socket, struct, sys
address, v6 = sys.argv[1], ':' in sys.argv[1]
def checksum(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if v6 else \\
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(5)
data = b'0123456789' * 10
for seq in (1, 2):
    m = struct.pack('!BBHHH', 128 if v6 else 8, 0, 0, 4711, seq) + data
    if not v6: m = m[:2] + struct.pack('!H', checksum(m)) + m[4:]
    s.sendto(m, (address, 0))
    while True:
        reply, source = s.recvfrom(4096)
        if not v6: reply = reply[20:]
        kind, code, _, ident, number = struct.unpack('!BBHHH', reply[:8])
        if kind not in (128, 8, 133, 134, 135, 136): break
    if kind in (0, 129): print(kind, ident, number, reply[8:] == data, source[0])
    else: print('error', kind, code); break
";

fn ping(address: &str) -> (String, String) {
    let output = run(&[], &["python3", "-c", PROGRAM, address]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (text(output.stdout), text(output.stderr))
}

fn host() {
    ip("link add lan0 type veth peer name lan1");
    ip("link set lan1 up");
    ip("link set lan0 up");
    ip("addr add 198.51.100.1/24 dev lan0");
    ip("addr add 2001:db8:7::1/64 dev lan0 nodad");
    ip("route add unreachable 203.0.113.0/24");
}

#[test]
fn echo_is_answered_by_the_destination_over_both_families() {
    lab(|| {
        host();
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        assert_eq!(ping("198.51.100.1").0, "0 4711 1 True 198.51.100.1\n0 4711 2 True 198.51.100.1");
        assert_eq!(ping("2001:db8:7::1").0, "129 4711 1 True 2001:db8:7::1\n129 4711 2 True 2001:db8:7::1");
        assert_eq!(ping("203.0.113.9").0, "error 3 1", "host unreachable");
        // The gateway itself.
        assert_eq!(ping("10.0.2.2").0, "0 4711 1 True 10.0.2.2\n0 4711 2 True 10.0.2.2");
    });
}

#[test]
fn where_the_host_allows_no_ping_one_line_says_how_to() {
    lab(|| {
        host();
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "1 0").unwrap();
        let (seen, said) = ping("198.51.100.1");
        assert_eq!(seen, "error 3 13", "prohibited");
        assert!(said.starts_with("lastack: ping is not carried") && said.contains("sysctl -w"), "{said}");
        assert_eq!(said.lines().count(), 1);
    });
}

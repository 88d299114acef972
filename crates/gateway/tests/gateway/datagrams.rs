//! UDP over a way with a small MTU, fragments in both directions, and idle flows. Needs root.

use std::net::UdpSocket;
use std::sync::mpsc::channel;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::lab::{ip, lab, run};

/// A router at the other end of a link of 1500 bytes, behind which the networks 203.0.113.0/24 and 2001:db8:3::/64 are
/// reached over 1300 bytes; and on itself, at 192.0.2.2 and 2001:db8:2::2, an echo server of UDP on port 7.
fn behind_a_router(test: impl FnOnce()) {
    let (made, linked, ready, done) = (channel(), channel::<()>(), channel(), channel::<()>());
    let router = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        made.0.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        linked.1.recv().unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        ip("link add narrow0 type veth peer name narrow1");
        ip("link set narrow1 up");
        ip("link set narrow0 mtu 1300 up");
        ip("link set far0 up");
        ip("addr add 192.0.2.2/24 dev far0");
        ip("addr add 2001:db8:2::2/64 dev far0 nodad");
        ip("route add 203.0.113.0/24 dev narrow0");
        ip("-6 route add 2001:db8:3::/64 dev narrow0");
        for address in ["192.0.2.2:7", "[2001:db8:2::2]:7"] {
            let socket = UdpSocket::bind(address).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 65535];
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..len], from);
                }
            });
        }
        ready.0.send(()).unwrap();
        let _ = done.1.recv();
    });
    let task = made.1.recv().unwrap();
    let pid = task.file_name().unwrap().to_str().unwrap().to_owned();
    ip(&format!("link add near0 type veth peer name far0 netns {pid}"));
    ip("link set near0 up");
    ip("addr add 192.0.2.1/24 dev near0");
    ip("addr add 2001:db8:2::1/64 dev near0 nodad");
    linked.0.send(()).unwrap();
    ready.1.recv().unwrap();
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("-6 route add 2001:db8:3::/64 via 2001:db8:2::2");
    test();
    drop(done.0);
    router.join().unwrap();
    ip("link del near0");
}

/// Runs Python inside; what it printed.
fn inside(options: &[&str], text: &str) -> String {
    let output = run(options, &["python3", "-S", "-c", text]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `probe(host, family)`: a socket that never cuts, as those of QUIC; sends until its kernel knows the way's MTU.
const PROBE: &str = r"
import socket, time, errno
DISCOVER, DO, MTU = {socket.AF_INET: (10, 2, 14), socket.AF_INET6: (23, 2, 24)}, 2, None
def probe(host, family, size):
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
    discover, do, mtu = DISCOVER[family]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(level, discover, do)
    s.connect((host, 7))
    for _ in range(1000):
        try: s.send(bytes(size))
        except OSError as e:
            if e.errno == errno.EMSGSIZE: return s.getsockopt(level, mtu)
            raise
        time.sleep(0.01)
";

#[test]
fn mtu_of_the_way_is_told_to_a_program_that_forbids_cutting() {
    lab(|| {
        behind_a_router(|| {
            let text = format!(
                "{PROBE}print(probe('203.0.113.5', socket.AF_INET, 1400), probe('2001:db8:3::5', socket.AF_INET6, 1400))"
            );
            assert_eq!(inside(&["--mtu", "1500"], &text), "1300 1300");
        });
    });
}

#[test]
fn large_datagrams_are_cut_and_put_together_on_both_sides() {
    lab(|| {
        behind_a_router(|| {
            let text = "import socket\n\
                for host, family in (('192.0.2.2', socket.AF_INET), ('2001:db8:2::2', socket.AF_INET6)):\n    \
                s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(20); s.connect((host, 7))\n    \
                for n in (1200, 4000, 30000, 65000):\n        \
                d = bytes(i % 251 for i in range(n)); s.send(d); print(n, s.recv(65535) == d)";
            let expected = "1200 True\n4000 True\n30000 True\n65000 True\n".repeat(2);
            for mtu in ["1280", "1500", "65520"] {
                assert_eq!(inside(&["--mtu", mtu], text), expected.trim(), "MTU {mtu}");
            }
        });
    });
}

#[test]
fn idle_flow_goes_after_its_time_and_that_of_a_name_server_sooner() {
    lab(|| {
        let ports = ["127.0.0.1:53", "127.0.0.1:54"].map(|address| {
            let socket = UdpSocket::bind(address).unwrap();
            thread::spawn(move || {
                // The port that the datagram came from: another flow has another.
                while let Ok((_, from)) = socket.recv_from(&mut [0; 9]) {
                    socket.send_to(from.port().to_string().as_bytes(), from).unwrap();
                }
            });
            address
        });
        assert_eq!(ports.len(), 2);
        let text = "import socket, time\ndef ask(s): s.send(b'x'); return s.recv(9)\n\
            all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]\n\
            for s, port in zip(all, (53, 54)): s.settimeout(20); s.connect(('10.0.2.2', port))\n\
            first = [ask(s) for s in all]\n\
            while ask(all[1]) == first[1] and time.sleep(0.5) is None and ask(all[0]) == first[0]: pass\n\
            print(ask(all[1]) == first[1])";
        assert_eq!(inside(&["--dns-idle", "200ms", "--udp-idle", "60s"], text), "True");
    });
}

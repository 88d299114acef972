//! Connections through a proxy. The proxies are this test's own. Needs root.

use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};

use crate::lab::{TempFile, gateway, ip, lab, run, server, temp_file};

/// A SOCKS5 proxy with a password, and an HTTP proxy, which say what the kernel says, and pass resets on.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/proxy.py");

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn proxy() -> Proxy {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new("python3").arg(SCRIPT).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Proxy(child)
}

fn host() {
    ip("link add lan0 type veth peer name lan1");
    ip("link set lan1 up");
    ip("link set lan0 up");
    ip("addr add 198.51.100.1/24 dev lan0");
    ip("addr add 2001:db8:7::1/64 dev lan0 nodad");
    ip("route add unreachable 203.0.113.0/24");
}

const UPSTREAMS: [&str; 2] = ["socks5://me:secret@127.0.0.1:1080", "http://me:secret@127.0.0.1:3128"];

/// Runs a program with `connect(address, port)`, which gives a socket or prints an error and ends.
fn program(upstream: &str, text: &str) -> (String, String) {
    let head = "import socket, errno\n\
        def connect(a, p):\n    try: return socket.create_connection((a, p))\n    \
        except OSError as e: print(errno.errorcode[e.errno]); raise SystemExit\n\
        def read_all(s):\n    n = 0\n    while True:\n        try: d = s.recv(65536)\n        \
        except OSError as e: return n, errno.errorcode[e.errno]\n        if not d: return n, 'EOF'\n        n += len(d)\n";
    let output = run(&["--upstream", upstream], &["python3", "-c", &format!("{head}{text}")]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn proxy_carries_both_families_half_closes_and_resets() {
    lab(|| {
        host();
        let _proxy = proxy();
        for upstream in UPSTREAMS {
            for address in ["198.51.100.1", "2001:db8:7::1"] {
                // The server of the script counts to the end of the stream, answers, and closes or resets.
                let closed = format!(
                    "s = connect('{address}', 7001)\ns.sendall(bytes(200000)); s.shutdown(1); print(s.recv(6), read_all(s))"
                );
                assert_eq!(program(upstream, &closed).0, "b'200000' (300000, 'EOF')", "{upstream} {address}");
                let reset = format!("s = connect('{address}', 7002)\ns.sendall(b'x'); print(read_all(s))");
                assert_eq!(program(upstream, &reset).0, "(1000, 'ECONNRESET')", "{upstream} {address}");
            }
        }
    });
}

#[test]
fn proxy_says_why_there_is_no_connection() {
    lab(|| {
        host();
        let _proxy = proxy();
        for upstream in UPSTREAMS {
            assert_eq!(program(upstream, "connect('198.51.100.1', 1)").0, "ECONNREFUSED", "{upstream}");
        }
        assert_eq!(program(UPSTREAMS[0], "connect('203.0.113.1', 80)").0, "EHOSTUNREACH");
        // HTTP has no word for it: 502 is all it says.
        assert_eq!(program(UPSTREAMS[1], "connect('203.0.113.1', 80)").0, "ECONNREFUSED");
    });
}

#[test]
fn proxy_that_does_not_serve_is_named() {
    lab(|| {
        host();
        let (seen, said) = program("socks5://127.0.0.1:9", "connect('198.51.100.1', 7001)");
        assert_eq!(seen, "EHOSTUNREACH");
        assert!(said.starts_with("lastack: the proxy socks5://127.0.0.1:9 cannot be used: "), "{said}");
        let _proxy = proxy();
        let (_, said) = program("socks5://me:wrong@127.0.0.1:1080", "connect('198.51.100.1', 7001)");
        assert!(said.ends_with("it does not take the name and password"), "{said}");
    });
}

/// A datagram socket, connected, which waits for an answer for at most 5 s.
fn datagrams(address: &str) -> String {
    let family = if address.contains(':') { "AF_INET6" } else { "AF_INET" };
    format!(
        "s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(5); s.connect(('{address}', 7003))\n\
         def get():\n    try: return s.recv(65536)\n    except OSError as e: return errno.errorcode[e.errno]\n"
    )
}

#[test]
fn proxy_that_carries_no_datagrams_makes_them_be_refused() {
    lab(|| {
        host();
        let _proxy = proxy();
        for upstream in ["socks5://me:secret@127.0.0.1:1081", "http://me:secret@127.0.0.1:3128"] {
            // ICMP says "prohibited", for which IPv4 has no errno of its own.
            for (address, errno) in [("198.51.100.1", "EHOSTUNREACH"), ("2001:db8:7::1", "EACCES")] {
                let text = format!("{}s.send(b'x'); print(get())", datagrams(address));
                let (seen, said) = program(upstream, &text);
                assert_eq!(seen, errno, "{upstream} {address}");
                assert!(said.ends_with("carries no UDP: datagrams are refused"), "{said}");
            }
        }
        let (seen, said) = program(
            "socks5://127.0.0.1:9",
            &format!("{}s.send(b'x'); print(get())", datagrams("198.51.100.1")),
        );
        assert_eq!(seen, "EHOSTUNREACH");
        assert!(said.starts_with("lastack: the proxy socks5://127.0.0.1:9 cannot be used: "), "{said}");
    });
}

#[test]
fn datagrams_go_through_socks5_in_order_and_whole() {
    lab(|| {
        host();
        let _proxy = proxy();
        for address in ["198.51.100.1", "2001:db8:7::1"] {
            // The first ones wait for the proxy, which takes its time. 32 of them may.
            let text = format!(
                "{}for n in range(30): s.send(b'%d' % n)\n\
                 got = [get() for n in range(30)]\n\
                 print([g[6:] for g in got] == [b'%d' % n for n in range(30)], len(set(g[:5] for g in got)))\n\
                 s.send(bytes(40000)); print(len(get()))",
                datagrams(address)
            );
            assert_eq!(
                program(UPSTREAMS[0], &text),
                ("True 1\n40006".to_owned(), String::new()),
                "{address}"
            );
        }
    });
}

#[test]
fn an_association_ends_with_its_connection_and_the_next_datagram_makes_another() {
    lab(|| {
        host();
        let _proxy = proxy();
        let text = format!(
            "import time\n{}s.send(b'a'); first = get()[:5]\n\
             s.send(b'hang up'); time.sleep(1); s.send(b'b'); second = get()\n\
             print(first != second[:5], second[6:])\n\
             print(connect('198.51.100.1', 7004).recv(9))",
            datagrams("198.51.100.1")
        );
        assert_eq!(program(UPSTREAMS[0], &text).0, "True b'b'\nb'1'");
        // The program has ended, and lastack.
        let open = || {
            let mut text = String::new();
            let mut count = std::net::TcpStream::connect("127.0.0.1:7004").unwrap();
            std::io::Read::read_to_string(&mut count, &mut text).unwrap();
            text
        };
        while open() != "0" {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
}

#[test]
fn name_server_and_loopback_of_the_host_stay_direct() {
    lab(|| {
        host();
        let file = TempFile(temp_file("resolv.conf"));
        std::fs::write(&file.0, "nameserver 198.51.100.1\n").unwrap();
        mount(Some(&file.0), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let names = std::net::UdpSocket::bind("198.51.100.1:53").unwrap();
        let echo = std::thread::spawn(move || {
            let mut data = [0; 9];
            let (len, from) = names.recv_from(&mut data).unwrap();
            names.send_to(&data[..len], from).unwrap();
        });
        let (address, reached) = server("127.0.0.1", |mut stream| {
            std::io::Write::write_all(&mut stream, b"own").unwrap();
        });
        let port = address.port();
        let text = format!(
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(('10.0.2.3', 53))\n\
             s.send(b'name'); print(s.recv(9), connect('10.0.2.2', {port}).recv(9))"
        );
        // Nothing listens at the proxy.
        assert_eq!(program("socks5://127.0.0.1:9", &text).0, "b'name' b'own'");
        echo.join().unwrap();
        reached.join().unwrap();
    });
}

#[test]
fn malformed_upstream_is_one_line_with_the_form() {
    let output = gateway(&["--upstream", "socks4://a:1"]).arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("the form is direct, socks5://") && said.lines().count() == 1, "{said}");
}

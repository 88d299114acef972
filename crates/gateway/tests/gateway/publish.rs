//! Ports in: a client of the host and a server inside see each other's endings. Needs root.

use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};

use crate::lab::{gateway, lab, read_all, reset, run};

/// Ways in: IPv4, and IPv6.
const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

/// A Python program inside, with `l` listening on port 80 of both families, and that port of the host published as 8080.
struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(text: &str) -> Self {
        Self::with(&[], text)
    }

    fn with(options: &[&str], text: &str) -> Self {
        let head = "import socket, struct, sys, time, errno\n\
            def reset(s):\n    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()\n\
            def read_all(s):\n    n = 0\n    while True:\n        try: d = s.recv(65536)\n        \
            except OSError as e: return n, errno.errorcode[e.errno]\n        if not d: return n, 'EOF'\n        n += len(d)\n\
            l = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n\
            print('ready', flush=True)\n";
        let mut child = gateway(&[options, &["--publish", "8080:80"]].concat())
            .args(["python3", "-c", &format!("{head}{text}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { child, lines }
    }

    /// What it printed, once it has ended.
    fn end(mut self) -> Vec<String> {
        let lines: Vec<_> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        lines
    }
}

/// One connection over each family: what the server inside does, what the client does, and what the server printed.
fn case(server: &'static str, client: impl Fn(TcpStream) + Send + 'static, printed: &'static str) {
    lab(move || {
        let text = format!("for _ in range(2):\n    s, a = l.accept()\n    {server}");
        let server = Server::start(&text);
        for loopback in LOOPBACKS {
            client(TcpStream::connect((loopback, 8080)).unwrap());
        }
        assert_eq!(server.end(), [printed, printed]);
    });
}

#[test]
fn server_inside_sees_the_gateway_as_its_client() {
    lab(|| {
        let server = Server::start("for _ in range(2):\n    s, a = l.accept(); print(a[0]); s.close()");
        for loopback in LOOPBACKS {
            assert_eq!(read_all(TcpStream::connect((loopback, 8080)).unwrap()), (0, None));
        }
        assert_eq!(server.end(), ["::ffff:10.0.2.2", "fd00::2"]);
    });
}

#[test]
fn clients_half_close_leaves_the_answer_open() {
    case(
        "print(read_all(s))\n    for _ in range(100): s.sendall(b'x' * 10_000); time.sleep(0.001)\n    s.close()",
        |mut stream| {
            stream.write_all(&[7; 300_000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(stream), (1_000_000, None));
        },
        "(300000, 'EOF')",
    );
}

#[test]
fn servers_half_close_leaves_the_request_open() {
    case(
        "s.sendall(b'x' * 300_000); s.shutdown(socket.SHUT_WR); print(read_all(s))",
        |mut stream| {
            assert_eq!(read_all(&stream), (300_000, None));
            stream.write_all(&[7; 500_000]).unwrap();
        },
        "(500000, 'EOF')",
    );
}

#[test]
fn clients_reset_reaches_the_server_behind_its_data() {
    case(
        "s.recv(1); time.sleep(0.2); n, e = read_all(s); print((n + 1, e))",
        |mut stream| {
            stream.write_all(&[7; 100_000]).unwrap();
            // The host's kernel has handed them over, so that its own reset does not drop them.
            while crate::lab::unacknowledged(&stream) > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            reset(stream);
        },
        "(100000, 'ECONNRESET')",
    );
}

#[test]
fn servers_reset_reaches_the_client_behind_its_data() {
    case(
        "s.sendall(b'x' * 100_000); s.recv(1); reset(s); print('done')",
        |mut stream| {
            stream.read_exact(&mut [0; 100_000]).unwrap();
            stream.write_all(b"x").unwrap();
            assert_eq!(read_all(stream), (0, Some(ErrorKind::ConnectionReset)));
        },
        "done",
    );
}

#[test]
fn refusal_inside_is_a_reset_before_any_byte() {
    lab(|| {
        let mut child = gateway(&["--publish", "8080:81", "--summary"])
            .args(["sh", "-c", "echo ready; read line || true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        for loopback in LOOPBACKS {
            let stream = TcpStream::connect((loopback, 8080)).unwrap();
            assert_eq!(read_all(stream), (0, Some(ErrorKind::ConnectionReset)), "{loopback}");
        }
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let summary = String::from_utf8(output.stderr).unwrap();
        assert_eq!(summary.matches("refused by the program").count(), 2, "{summary}");
    });
}

#[test]
fn udp_port_is_published_for_several_clients() {
    lab(|| {
        let text = "import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 53))\n\
            print('ready', flush=True)\nfor _ in range(6):\n    d, a = s.recvfrom(65535); s.sendto(d, a)";
        let mut child = gateway(&["--publish", "5353:53/udp"])
            .args(["python3", "-c", text])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let clients = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"].map(|local| {
            let socket = UdpSocket::bind(local).unwrap();
            let server = SocketAddr::new(socket.local_addr().unwrap().ip(), 5353);
            socket.connect(server).unwrap();
            socket
        });
        for len in [1, 30_000] {
            for (number, client) in (0u8..).zip(&clients) {
                client.send(&vec![number; len]).unwrap();
            }
            for (number, client) in (0u8..).zip(&clients) {
                let mut buffer = [9; 65535];
                assert_eq!(client.recv(&mut buffer).unwrap(), len);
                assert!(buffer[..len].iter().all(|byte| *byte == number));
            }
        }
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn taken_port_is_one_line_and_125() {
    lab(|| {
        let other = std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
        let output = run(&["--publish", "8080:80"], &["echo", "started"]);
        drop(other);
        assert_eq!((output.status.code(), output.stdout), (Some(125), Vec::new()));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "lastack: cannot publish 8080:80: 127.0.0.1:8080 is taken; choose another port of the host\n"
        );
    });
}

#[test]
fn fault_of_the_direction_in_meets_clients_of_a_published_port() {
    lab(|| {
        let options = ["--fault", "direction=in,port=8080: reset after 10kB"];
        let server =
            Server::with(&options, "s, a = l.accept()\ns.sendall(b'x' * 100_000); print(read_all(s))");
        let stream = TcpStream::connect("127.0.0.1:8080").unwrap();
        assert_eq!(read_all(stream), (10_000, Some(ErrorKind::ConnectionReset)));
        assert_eq!(server.end(), ["(0, 'ECONNRESET')"]);
        let options =
            ["--fault", "connection=1: refuse", "--fault", "direction=out: refuse", "--strict-faults"];
        let mut server = Server::with(&options, "s, a = l.accept(); print(read_all(s))");
        let refused = TcpStream::connect("127.0.0.1:8080").unwrap();
        assert_eq!(read_all(refused), (0, Some(ErrorKind::ConnectionReset)));
        drop(TcpStream::connect("127.0.0.1:8080").unwrap());
        assert_eq!(server.lines.next().unwrap().unwrap(), "(0, 'EOF')");
        assert_eq!(server.child.wait().unwrap().code(), Some(124), "nothing was opened from inside");
    });
}

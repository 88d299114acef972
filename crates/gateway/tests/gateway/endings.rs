//! However one side ends is how the other side sees it end: between a program inside and a server of the host, both on
//! the kernel's own sockets. Needs root.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;

use lastack_device::tun::{Tun, TunOptions};

use crate::lab::{ip, lab, python, read_all, reset, run, server};

const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

/// Runs the same case over IPv4 and IPv6: what the server does, what the program does, what each saw.
fn case<T: PartialEq + std::fmt::Debug + Send + 'static>(
    serve: impl Fn(TcpStream) -> T + Copy + Send + 'static,
    program: &'static str,
    server_saw: T,
    program_saw: &'static str,
) {
    lab(move || {
        for loopback in LOOPBACKS {
            let (address, thread): (SocketAddr, JoinHandle<T>) = server(loopback, serve);
            assert_eq!(python(address, program), program_saw, "the program, {loopback}");
            assert_eq!(thread.join().unwrap(), server_saw, "the server, {loopback}");
        }
    });
}

#[test]
fn programs_half_close_leaves_the_other_direction_open() {
    case(
        |mut stream| {
            let got = read_all(&stream);
            for _ in 0..100 {
                stream.write_all(&[7; 10_000]).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            got
        },
        "s.sendall(b'x' * 300_000); s.shutdown(socket.SHUT_WR); print(read_all(s))",
        (300_000, None),
        "(1000000, 'EOF')",
    );
}

#[test]
fn servers_half_close_leaves_the_other_direction_open() {
    case(
        |mut stream| {
            stream.write_all(&[7; 300_000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_all(stream)
        },
        "print(read_all(s))\nfor _ in range(100): s.sendall(b'x' * 10_000); time.sleep(0.001)",
        (1_000_000, None),
        "(300000, 'EOF')",
    );
}

#[test]
fn servers_reset_comes_behind_its_data() {
    case(
        |mut stream| {
            stream.write_all(&[7; 100_000]).unwrap();
            // The program says when it has them all from the wire's point of view: nothing is lost in the queue.
            stream.read_exact(&mut [0; 1]).unwrap();
            reset(stream);
        },
        "s.sendall(b'x'); print(read_all(s))",
        (),
        "(100000, 'ECONNRESET')",
    );
}

#[test]
fn servers_reset_waits_for_a_slow_reader() {
    case(
        |mut stream| {
            stream.write_all(&[7; 400_000]).unwrap();
            while crate::lab::unacknowledged(&stream) > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            reset(stream);
        },
        "time.sleep(0.5); print(read_all(s))",
        (),
        "(400000, 'ECONNRESET')",
    );
}

#[test]
fn programs_reset_comes_behind_its_data() {
    case(
        |mut stream| {
            stream.read_exact(&mut [0; 100_000]).unwrap();
            stream.write_all(b"got").unwrap();
            read_all(stream)
        },
        "s.sendall(b'x' * 100_000); s.recv(3); reset(s)",
        (0, Some(ErrorKind::ConnectionReset)),
        "",
    );
}

#[test]
fn programs_reset_without_data() {
    case(read_all, "reset(s)", (0, Some(ErrorKind::ConnectionReset)), "");
}

#[test]
fn servers_reset_without_data() {
    case(
        |mut stream| {
            stream.read_exact(&mut [0; 1]).unwrap();
            reset(stream);
        },
        "s.sendall(b'x'); print(read_all(s))",
        (),
        "(0, 'ECONNRESET')",
    );
}

#[test]
fn programs_close_with_unread_data_is_a_reset() {
    case(
        |mut stream| {
            stream.write_all(b"unread").unwrap();
            read_all(stream)
        },
        "import select\nselect.select([s], [], []); s.close()",
        (0, Some(ErrorKind::ConnectionReset)),
        "",
    );
}

#[test]
fn servers_close_with_unread_data_is_a_reset() {
    case(
        |stream| {
            stream.peek(&mut [0; 1]).unwrap();
        },
        "s.sendall(b'unread'); print(read_all(s))",
        (),
        "(0, 'ECONNRESET')",
    );
}

#[test]
fn servers_reset_after_the_programs_half_close() {
    case(
        |mut stream| {
            let got = read_all(&stream);
            stream.write_all(b"partial").unwrap();
            while crate::lab::unacknowledged(&stream) > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            reset(stream);
            got
        },
        "s.sendall(b'request'); s.shutdown(socket.SHUT_WR); print(read_all(s))",
        (7, None),
        "(7, 'ECONNRESET')",
    );
}

#[test]
fn programs_reset_after_the_servers_half_close() {
    case(
        |stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            read_all(stream)
        },
        "print(read_all(s)); s.sendall(b'partial'); time.sleep(0.2); reset(s)",
        (7, Some(ErrorKind::ConnectionReset)),
        "(0, 'EOF')",
    );
}

#[test]
fn reset_after_end_of_file_is_noticed_by_the_other_side() {
    // The program has ended its stream and only waits; the server, which has read the end, resets without a word.
    case(
        |stream| {
            let got = read_all(&stream);
            reset(stream);
            got
        },
        "s.shutdown(socket.SHUT_WR); print(read_all(s))",
        (0, None),
        "(0, 'ECONNRESET')",
    );
}

#[test]
fn killed_program_ends_its_connections_as_its_kernel_does() {
    case(
        |mut stream| {
            stream.write_all(b"go").unwrap();
            read_all(stream)
        },
        "import os, signal\ns.recv(2); s.sendall(b'x' * 50_000)\n\
         if os.fork() == 0: os.kill(os.getpid(), signal.SIGKILL)\nos.wait(); s.close()",
        (50_000, None),
        "",
    );
}

/// What a program inside sees when it connects.
fn errno(host: &str, port: u16) -> String {
    let text = format!(
        "import socket, errno\ntry: socket.create_connection(('{host}', {port}))\n\
         except OSError as e: print(errno.errorcode[e.errno])"
    );
    String::from_utf8(run(&[], &["python3", "-c", &text]).stdout).unwrap().trim().to_owned()
}

#[test]
fn refusal_is_a_refusal() {
    lab(|| {
        for (loopback, gateway) in [("127.0.0.1", "10.0.2.2"), ("::1", "fd00::2")] {
            let port = TcpListener::bind((loopback, 0)).unwrap().local_addr().unwrap().port();
            assert_eq!(errno(gateway, port), "ECONNREFUSED");
        }
    });
}

#[test]
fn refused_datagram_is_refused() {
    lab(|| {
        for (loopback, family, gateway) in
            [("127.0.0.1", "AF_INET", "10.0.2.2"), ("::1", "AF_INET6", "fd00::2")]
        {
            let port = UdpSocket::bind((loopback, 0)).unwrap().local_addr().unwrap().port();
            // The first refusal, and one that the host's kernel tells of when the next datagram is sent.
            let text = format!(
                "import socket, errno\ns = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(20)\n\
                 s.connect(('{gateway}', {port}))\nfor _ in range(2):\n    s.send(b'x')\n    \
                 try: s.recv(1)\n    except OSError as e: print(errno.errorcode[e.errno])"
            );
            let output = run(&["--summary=json"], &["python3", "-c", &text]);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "ECONNREFUSED\nECONNREFUSED\n");
            let summary: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
            assert_eq!(summary["udp_flows"][0]["refused"], 2, "{summary}");
        }
    });
}

#[test]
fn unreachable_is_unreachable() {
    lab(|| {
        ip("route add unreachable 203.0.113.0/24");
        ip("route add unreachable 2001:db8:1::/64");
        assert_eq!(errno("203.0.113.5", 80), "EHOSTUNREACH");
        assert_eq!(errno("2001:db8:1::5", 80), "EHOSTUNREACH");
        assert_eq!(errno("192.0.2.5", 80), "ENETUNREACH");
        assert_eq!(errno("2001:db8:2::5", 80), "ENETUNREACH");
    });
}

#[test]
fn silence_is_silence() {
    lab(|| {
        // A link at whose other end nobody listens.
        let _link = Tun::open(&TunOptions {
            name: Some("silent0".to_owned()),
            ipv4: Some(([198, 51, 100, 1].into(), 24)),
            ..TunOptions::default()
        })
        .unwrap();
        let text = "import socket\ns = socket.socket(); s.settimeout(1.5)\n\
            try: s.connect(('198.51.100.2', 80))\nexcept TimeoutError: print('time-out')";
        let output = run(&["--summary=json"], &["python3", "-c", text]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "time-out\n");
        let summary: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(
            summary["connections"].as_array().map(Vec::len),
            Some(1),
            "repeated SYNs join the first: {summary}"
        );
    });
}

//! `run` with real programs: exit statuses, what is inside, name service, capture, summary. Needs root.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;

use crate::lab::{gateway, lab, python, run, server, temp_file, use_local_name_server};

fn status(program: &[&str]) -> (Option<i32>, String) {
    let output = run(&[], program);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn exit_status_is_the_programs() {
    lab(|| {
        assert_eq!(status(&["true"]), (Some(0), String::new()));
        assert_eq!(status(&["sh", "-c", "exit 3"]), (Some(3), String::new()));
        assert_eq!(status(&["sh", "-c", "kill -9 $$"]), (Some(137), String::new()));
    });
}

#[test]
fn failures_to_start_have_their_statuses_and_one_line() {
    lab(|| {
        let (code, line) = status(&["no-such-program"]);
        assert_eq!(code, Some(127));
        assert_eq!(
            line,
            "lastack: no-such-program: not found; give the name of a program in PATH, or a path to one\n"
        );
        let (code, line) = status(&["/etc/passwd"]);
        assert_eq!(code, Some(126));
        assert!(
            line.starts_with("lastack: /etc/passwd: cannot be executed: ") && line.lines().count() == 1,
            "{line}"
        );
        let (code, line) = status(&[]);
        assert_eq!(code, Some(125));
        assert_eq!(line, "lastack: no program given; use: lastack run [OPTIONS] -- PROGRAM ARGS...\n");
        let output = run(&["--mtu", "100"], &["true"]);
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "lastack: MTU 100 is out of range; use 576 to 65535 bytes\n"
        );
        let output = run(&["--capture", "/no/such/directory/file"], &["true"]);
        assert_eq!(output.status.code(), Some(125));
    });
}

#[test]
fn termination_signal_reaches_the_program() {
    lab(|| {
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let mut child = gateway(&[]).args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(9), None));
    });
}

#[test]
fn program_dies_with_lastack() {
    lab(|| {
        let script = "echo $$; exec sleep 1000";
        let mut child = gateway(&[]).args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Its end of the pipe closes when it is gone.
        assert_eq!(output.read_to_string(&mut line).unwrap(), 0);
    });
}

#[test]
fn program_sees_its_own_network_and_nothing_of_ours() {
    lab(|| {
        let script = "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' | sort; ls /proc/self/fd | wc -l; \
                      ulimit -n; cat /etc/resolv.conf | head -n1; grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2";
        let plain = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let plain = String::from_utf8(plain.stdout).unwrap();
        let output = run(&[], &["sh", "-c", script]);
        let inside = String::from_utf8(output.stdout).unwrap();
        let inside: Vec<_> = inside.lines().collect();
        assert_eq!(inside[..2], ["lastack0", "lo"]);
        let plain: Vec<_> = plain.lines().collect();
        let interfaces = plain.len() - 5;
        assert_eq!(inside[2..4], plain[interfaces..interfaces + 2], "descriptors and their limit");
        assert_eq!(inside[4], "nameserver 10.0.2.3");
        // Signals from 32 on are the C library's.
        let masks = |lines: &[&str]| -> Vec<u64> {
            lines.iter().map(|mask| u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff).collect()
        };
        assert_eq!(masks(&inside[5..7]), masks(&plain[interfaces + 3..]), "signals blocked and ignored");
    });
}

#[test]
fn localhost_inside_is_the_programs_own() {
    lab(|| {
        let text = "import socket\n\
            for host, family in (('127.0.0.1', socket.AF_INET), ('::1', socket.AF_INET6)):\n    \
                l = socket.socket(family); l.bind((host, 0)); l.listen()\n    \
                c = socket.create_connection((host, l.getsockname()[1])); a, _ = l.accept()\n    \
                c.sendall(b'x'); print(a.recv(1))";
        let output = run(&[], &["python3", "-c", text]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "b'x'\nb'x'\n");
    });
}

/// Answers one HTTP request.
fn http(mut stream: std::net::TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..len]);
    }
    stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n").unwrap();
}

#[test]
fn curl_fetches_over_ipv4_and_ipv6() {
    lab(|| {
        for (loopback, gateway) in [("127.0.0.1", "10.0.2.2"), ("::1", "[fd00::2]")] {
            let (address, thread) = server(loopback, http);
            let url = format!("http://{gateway}:{}/", address.port());
            let output = run(&[], &["curl", "-sS", &url]);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "hello\n");
            assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
            thread.join().unwrap();
        }
    });
}

#[test]
fn bytes_are_exact_at_every_mtu() {
    lab(|| {
        for mtu in ["576", "1280", "1500", "9000", "65520", "65535"] {
            let (address, thread) = server("127.0.0.1", |mut stream| {
                let mut data = Vec::new();
                stream.read_to_end(&mut data).unwrap();
                stream.write_all(&data).unwrap();
                data.len()
            });
            let text = format!(
                "import socket, hashlib, os\ns = socket.create_connection(('10.0.2.2', {}))\n\
                 d = os.urandom(3_000_001); s.sendall(d); s.shutdown(socket.SHUT_WR); b = b''\n\
                 while True:\n    c = s.recv(1 << 20)\n    if not c: break\n    b += c\nprint(b == d)",
                address.port()
            );
            let output = run(&["--mtu", mtu], &["python3", "-c", &text]);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "True\n", "MTU {mtu}");
            assert_eq!(thread.join().unwrap(), 3_000_001);
        }
    });
}

#[test]
fn udp_is_carried_both_ways() {
    lab(|| {
        for (loopback, family, gateway) in
            [("127.0.0.1", "AF_INET", "10.0.2.2"), ("::1", "AF_INET6", "fd00::2")]
        {
            let socket = UdpSocket::bind((loopback, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            let echo = thread::spawn(move || {
                let mut buffer = [0; 65535];
                for _ in 0..4 {
                    let (len, from) = socket.recv_from(&mut buffer).unwrap();
                    socket.send_to(&buffer[..len], from).unwrap();
                }
            });
            let text = format!(
                "import socket\ns = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(20)\n\
                 s.connect(('{gateway}', {port}))\nfor n in (0, 1, 1400, 30000):\n    \
                 s.send(b'x' * n); print(len(s.recv(65535)))"
            );
            let output = run(&["--summary=json"], &["python3", "-c", &text]);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n1\n1400\n30000\n");
            echo.join().unwrap();
            let summary: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
            let flow = &summary["udp_flows"][0];
            assert_eq!((&flow["datagrams_in"], &flow["bytes_out"]), (&4.into(), &31401.into()), "{summary}");
        }
    });
}

/// Answers one question for an IPv4 address with 192.0.2.77.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut reply = question[..12].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    reply.extend_from_slice(&question[12..end]);
    // Name as in the question, type A, class IN, 60 s, 4 bytes.
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
    reply
}

#[test]
fn names_resolve_through_the_hosts_server() {
    lab(|| {
        let _resolv_conf = use_local_name_server();
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&answer(&buffer[..len]), from).unwrap();
            }
        });
        let text = "import socket; print(socket.gethostbyname('server.example.org'))";
        let output = run(&["--summary"], &["python3", "-c", text]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "192.0.2.77\n", "{errors}");

        let listener = TcpListener::bind("127.0.0.1:53").unwrap();
        let tcp = thread::spawn(move || {
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            text
        });
        let text = "import socket; socket.create_connection(('10.0.2.3', 53)).sendall(b'over TCP')";
        assert!(run(&[], &["python3", "-c", text]).status.success());
        assert_eq!(tcp.join().unwrap(), "over TCP");
    });
}

#[test]
fn hosts_loopback_can_be_closed() {
    lab(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!(
            "import socket, errno\ntry: socket.create_connection(('10.0.2.2', {port}))\n\
             except OSError as e: print(errno.errorcode[e.errno])"
        );
        let output = run(&["--no-host-loopback", "--summary=json"], &["python3", "-c", &text]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "ECONNREFUSED\n");
        let summary: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(summary["connections"][0]["ended_by"], "gateway");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn many_connections_at_once() {
    lab(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let text = format!(
            "import socket\n\
             all = [socket.create_connection(('10.0.2.2', {port})) for _ in range(200)]\n\
             for i, s in enumerate(all): s.sendall(b'%d' % i * 1000); s.shutdown(socket.SHUT_WR)\n\
             def read(s):\n    b = b''\n    while True:\n        c = s.recv(65536)\n        if not c: return b\n        b += c\n\
             print(all and sum(read(s) == b'%d' % i * 1000 for i, s in enumerate(all)))"
        );
        let output = run(&["--summary=json"], &["python3", "-c", &text]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "200\n");
        let summary: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        let connections = summary["connections"].as_array().unwrap();
        assert_eq!(connections.len(), 200);
        let well = |connection: &serde_json::Value| {
            let inside = &connection["inside"];
            connection["end"] == "graceful" && inside["began"] == "peer" && inside["unacked"] == 0
        };
        assert!(connections.iter().all(well), "{summary}");
    });
}

#[test]
fn what_the_program_sent_arrives_after_its_exit() {
    lab(|| {
        let (address, thread) = server("127.0.0.1", |mut stream| {
            let mut data = Vec::new();
            stream.read_to_end(&mut data).unwrap();
            data.len()
        });
        python(address, "s.sendall(b'x' * 8_000_000)");
        assert_eq!(thread.join().unwrap(), 8_000_000);
    });
}

#[test]
fn background_process_does_not_hold_lastack_up() {
    lab(|| {
        let (address, thread) = server("127.0.0.1", crate::lab::read_all);
        // The child keeps the connection; the parent leaves.
        python(address, "import os\nif os.fork() == 0:\n    os.close(1); os.close(2); time.sleep(1000)\n");
        // A connection that is cut does not look like one that has ended.
        assert_eq!(thread.join().unwrap(), (0, Some(std::io::ErrorKind::ConnectionReset)));
    });
}

#[test]
fn trace_and_capture_show_the_connection() {
    lab(|| {
        let (address, thread) = server("127.0.0.1", http);
        let file = temp_file("capture.pcapng");
        let url = format!("http://10.0.2.2:{}/", address.port());
        let output = run(&["--trace", "--capture", file.to_str().unwrap()], &["curl", "-sS", &url]);
        let trace = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{trace}");
        thread.join().unwrap();
        for part in
            ["CLOSED -> NEW_SYN_RECV, SYN received, by program", "host side: connected", "-> ESTABLISHED"]
        {
            assert!(trace.contains(part), "{part} is missing in\n{trace}");
        }
        let shown = std::process::Command::new("tshark")
            .args([
                "-r",
                file.to_str().unwrap(),
                "-Y",
                "tcp.flags.syn==1",
                "-T",
                "fields",
                "-e",
                "tcp.flags.ack",
            ])
            .output()
            .expect("tshark is needed");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().count(), 2, "SYN and SYN-ACK");
    });
}

#[test]
fn many_parallel_wgets() {
    lab(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                thread::spawn(move || http(stream));
            }
        });
        let script = format!(
            "for i in $(seq 40); do wget -q -O - http://10.0.2.2:{port}/ & done | grep -c hello; wait"
        );
        let output = run(&[], &["sh", "-c", &script]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "40\n");
    });
}

#[test]
fn iperf3_runs_in_both_directions() {
    lab(|| {
        for bind in ["127.0.0.1", "::1"] {
            let gateway = if bind == "::1" { "fd00::2" } else { "10.0.2.2" };
            for direction in [&[][..], &["--reverse"]] {
                // One test, then it ends; it says when it listens.
                let mut server = std::process::Command::new("iperf3")
                    .args(["--server", "--one-off", "--forceflush", "--bind", bind])
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("iperf3 is needed");
                let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
                assert!(lines.any(|line| line.unwrap().contains("listening")));
                let program =
                    [&["iperf3", "--client", gateway, "--bytes", "50M", "--parallel", "4"], direction];
                let output = run(&[], &program.concat());
                if !output.status.success() {
                    server.kill().unwrap();
                }
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                lines.for_each(drop);
                assert!(server.wait().unwrap().success());
            }
        }
    });
}

#[test]
fn first_packet_comes_from_the_programs_own_address() {
    lab(|| {
        let text = "import socket\nfor host, family in (('10.0.2.2', socket.AF_INET), ('fd00::2', socket.AF_INET6)):\n    \
            s = socket.socket(family, socket.SOCK_DGRAM); s.connect((host, 9)); print(s.getsockname()[0])";
        for _ in 0..20 {
            let output = run(&[], &["python3", "-S", "-c", text]);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "10.0.2.15\nfd00::15\n");
        }
    });
}

//! Faults on purpose, as a program of the running kernel meets them. Needs root.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::lab::{lab, read_all, run, server};

/// Serves one connection, runs a program with `s` connected to it under a rule, and gives what it printed and said.
fn faulted(
    options: &[&str],
    serve: impl FnOnce(TcpStream) + Send + 'static,
    program: &str,
) -> (Option<i32>, String, String) {
    let (address, thread): (SocketAddr, _) = server("127.0.0.1", serve);
    let text = format!(
        "import socket, time, errno, select\n\
         def read_all(s):\n    n = 0\n    while True:\n        try: d = s.recv(65536)\n        \
         except OSError as e: return n, errno.errorcode.get(e.errno, 'SILENCE')\n        if not d: return n, 'EOF'\n        n += len(d)\n\
         began = time.monotonic()\n\
         s = socket.socket(); s.settimeout(2)\n\
         try: s.connect(('10.0.2.2', {}))\nexcept OSError as e: print(errno.errorcode.get(e.errno, 'SILENCE')); raise SystemExit\n\
         {program}",
        address.port()
    );
    let output = run(options, &["python3", "-c", &text]);
    if output.stdout.starts_with(b"ECONNREFUSED") {
        // Nobody came: let the server go.
        drop(TcpStream::connect(address));
    }
    thread.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn send(bytes: usize) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| {
        // The fault may end it early.
        let _ = stream.write_all(&vec![7; bytes]);
        drop(stream.shutdown(std::net::Shutdown::Write));
        read_all(stream);
    }
}

/// Sends once it has been asked to, so that the program's connect() is over before its reset comes.
fn send_when_asked(bytes: usize) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        send(bytes)(stream);
    }
}

#[test]
fn reset_after_some_bytes_comes_behind_exactly_these() {
    lab(|| {
        let rule = ["--fault", "all: reset after 10kB"];
        let (status, seen, said) =
            faulted(&rule, send_when_asked(100_000), "s.sendall(b'?'); print(read_all(s))");
        assert_eq!((status, seen.as_str(), said.as_str()), (Some(0), "(10000, 'ECONNRESET')", ""));
    });
}

#[test]
fn summary_says_that_a_rule_ended_the_connection() {
    lab(|| {
        let options = ["--summary", "--fault", "all: reset after 10kB"];
        let (_, _, said) = faulted(&options, send_when_asked(100_000), "s.sendall(b'?'); print(read_all(s))");
        assert!(said.contains("reset by lastack (a rule)"), "{said}");
    });
}

#[test]
fn close_early_is_an_end_of_file_in_the_middle() {
    lab(|| {
        let rule = ["--fault", "all: close early after 64KiB"];
        let (_, seen, said) = faulted(&rule, send(100_000), "print(read_all(s))");
        assert_eq!((seen.as_str(), said.as_str()), ("(65536, 'EOF')", ""));
    });
}

#[test]
fn swallowed_fin_leaves_the_program_waiting() {
    lab(|| {
        let rule = ["--fault", "all: swallow fin"];
        let (_, seen, said) = faulted(&rule, send(5000), "print(read_all(s))");
        assert_eq!((seen.as_str(), said.as_str()), ("(5000, 'SILENCE')", ""));
    });
}

#[test]
fn half_open_connection_takes_nothing_and_says_nothing() {
    lab(|| {
        let rule = ["--fault", "all: half-open after 3B"];
        let program = "print(s.recv(3), read_all(s))\n\
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 600); s.settimeout(8)\n\
            s.sendall(b'hello'); print(read_all(s))";
        let (_, seen, said) = faulted(&rule, send(5000), program);
        assert_eq!(seen, "b'\\x07\\x07\\x07' (0, 'SILENCE')\n(0, 'ETIMEDOUT')");
        assert_eq!(said, "");
    });
}

#[test]
fn delayed_syn_ack_delays_the_connection() {
    lab(|| {
        let rule = ["--fault", "all: delay syn-ack 1200ms"];
        let (_, seen, said) = faulted(&rule, send(1), "print(time.monotonic() - began >= 1.2, read_all(s))");
        assert_eq!((seen.as_str(), said.as_str()), ("True (1, 'EOF')", ""));
    });
}

#[test]
fn refused_by_a_rule_is_refused() {
    lab(|| {
        let (_, seen, said) = faulted(&["--fault", "all: refuse"], |_| {}, "print('connected')");
        assert_eq!((seen.as_str(), said.as_str()), ("ECONNREFUSED", ""));
    });
}

#[test]
fn zero_window_stops_the_program_for_its_time() {
    lab(|| {
        let rule = ["--fault", "all: zero window after 1kB for 1500ms"];
        // What the kernel takes from the program while the window is zero stays in its send queue (SIOCOUTQ).
        let program = "import fcntl, struct\n\
            queued = lambda: struct.unpack('i', fcntl.ioctl(s, 0x5411, b'....'))[0]\n\
            s.sendall(bytes(1000)); time.sleep(0.4); s.sendall(bytes(50000)); time.sleep(0.4); held = queued()\n\
            s.shutdown(socket.SHUT_WR); s.settimeout(10); s.recv(1); print(held, time.monotonic() - began >= 1.5)";
        let (_, seen, said) = faulted(
            &rule,
            |mut stream| {
                assert_eq!(read_all(&stream), (51_000, None));
                stream.write_all(b"k").unwrap();
            },
            program,
        );
        assert_eq!((seen.as_str(), said.as_str()), ("50000 True", ""));
    });
}

#[test]
fn rule_that_never_took_effect_is_said_and_is_an_error_if_strict() {
    lab(|| {
        let rule = ["--fault", "port=1: reset"];
        let (status, seen, said) = faulted(&rule, send(10), "print(read_all(s))");
        assert_eq!((status, seen.as_str()), (Some(0), "(10, 'EOF')"));
        assert_eq!(said, "lastack: the fault 'port=1: reset' never took effect");
        let strict = ["--fault", "port=1: reset", "--strict-faults"];
        assert_eq!(faulted(&strict, send(10), "read_all(s)").0, Some(124));
    });
}

#[test]
fn lossy_network_delivers_everything_all_the_same() {
    lab(|| {
        let options = ["--loss", "0.05", "--seed", "7"];
        let (_, seen, said) = faulted(&options, send(300_000), "s.settimeout(60); print(read_all(s))");
        assert_eq!((seen.as_str(), said.as_str()), ("(300000, 'EOF')", ""));
    });
}

#[test]
fn same_seed_refuses_the_same_connections() {
    lab(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || listener.incoming().for_each(drop));
        let text = format!(
            "import socket\nfor _ in range(40):\n    try: socket.create_connection(('10.0.2.2', {port})).close(); print('+', end='')\n    \
             except ConnectionRefusedError: print('-', end='')"
        );
        let roll = |seed| {
            let options = ["--fault", "all: refuse 30%", "--seed", seed];
            String::from_utf8(run(&options, &["python3", "-c", &text]).stdout).unwrap()
        };
        let first = roll("1");
        assert!(first.len() == 40 && first.contains('+') && first.contains('-'), "{first}");
        assert_eq!(first, roll("1"));
        assert_ne!(first, roll("2"));
    });
}

#[test]
fn bad_rule_is_one_line_with_the_form() {
    let output = crate::lab::gateway(&["--fault", "all: explode"]).arg("true").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.starts_with("there is no verb 'explode'; the form is") && said.lines().count() == 1,
        "{said}"
    );
}

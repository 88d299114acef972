//! `lastack run`: the way from the command line to the gateway. These tests need root and `/dev/net/tun`.

use crate::support::{lastack, temporary, text};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

#[test]
fn status_of_run_is_the_programs_own() {
    let output = lastack(&["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
    assert_eq!(lastack(&["run", "--", "sh", "-c", "kill -TERM $$"]).status.code(), Some(128 + 15));
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_be_executed_126() {
    for (program, status) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let output = lastack(&["run", "--", program]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("lastack: ") && error.contains(program), "{error}");
    }
}

#[test]
fn options_of_run_reach_the_gateway() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a connection");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).expect("a request");
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello from the host\n").expect("an answer");
    });
    let capture = temporary("run.pcapng");
    let path = capture.to_str().expect("UTF-8");
    let program = format!("ip link show | grep -q 'mtu 1400' || exit 9; curl -sS http://10.0.2.2:{port}/");
    let options = ["run", "--mtu", "1400", "--capture", path, "--trace", "--summary=json"];
    let output = lastack(&[&options[..], &["--", "sh", "-c", &program]].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    answering.join().expect("the server answers");
    assert_eq!(text(&output.stdout), "hello from the host\n");
    let (trace, summary) = error.trim_end().rsplit_once('\n').expect("a trace and a summary");
    // The server closes first, and so does the gateway towards the program.
    assert!(trace.contains("ESTABLISHED -> FIN_WAIT_1"), "{trace}");
    let summary: serde_json::Value = serde_json::from_str(summary).unwrap_or_else(|e| panic!("{e}: {error}"));
    assert_eq!(summary["connections"][0]["end"], "graceful", "{summary}");
    let magic = std::fs::read(&capture).expect("the capture is there");
    assert_eq!(magic.get(..4), Some(&[0x0a, 0x0d, 0x0d, 0x0a][..]), "not pcapng");
}

#[test]
fn without_host_loopback_the_hosts_services_are_out_of_reach() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://10.0.2.2:{}/", server.local_addr().expect("an address").port());
    let output = lastack(&["run", "--no-host-loopback", "--", "curl", "-sS", "--max-time", "5", &url]);
    assert_ne!(output.status.code(), Some(0));
    server.set_nonblocking(true).expect("can be set");
    assert!(server.accept().is_err(), "the connection reached the host's loopback");
}

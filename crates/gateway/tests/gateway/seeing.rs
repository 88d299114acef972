//! What the summary, the trace and a capture say of a connection. Needs root.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use serde_json::Value;

use crate::lab::{lab, read_all, reset, run, server, temp_file};

/// Runs Python inside with `socket`, `os` and `PORT`; what it printed, and the summary.
fn summary(options: &[&str], port: u16, text: &str) -> (String, Value) {
    let head = format!("import socket, os, struct, time; PORT = {port}\n");
    let options = [options, &["--summary=json"]].concat();
    let output = run(&options, &["python3", "-S", "-c", &format!("{head}{text}")]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let summary = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), summary)
}

#[test]
fn summary_names_the_program_that_opened_a_connection_or_flow() {
    lab(|| {
        for (loopback, gateway) in [("127.0.0.1", "10.0.2.2"), ("::1", "fd00::2")] {
            let (address, thread) = server(loopback, read_all);
            let datagrams = UdpSocket::bind((loopback, address.port())).unwrap();
            let text = format!(
                "s = socket.create_connection(('{gateway}', PORT)); s.sendall(b'x')\n\
                 u = socket.socket(s.family, socket.SOCK_DGRAM); u.sendto(b'x', ('{gateway}', PORT))\n\
                 s.close(); time.sleep(0.1); print(os.getpid())"
            );
            let (printed, summary) = summary(&[], address.port(), &text);
            assert_eq!(thread.join().unwrap(), (1, None));
            datagrams.recv(&mut [0; 1]).unwrap();
            for opened in [&summary["connections"][0], &summary["udp_flows"][0]] {
                let owner = &opened["opened_by"];
                assert!(
                    owner["program"].as_str().is_some_and(|name| name.starts_with("python")),
                    "{summary}"
                );
                assert_eq!(owner["pid_inside"].to_string(), printed.trim(), "{summary}");
            }
        }
    });
}

#[test]
fn summary_says_what_was_left_undelivered_in_each_direction() {
    lab(|| {
        // The server takes nothing and resets.
        let (address, thread) = server("127.0.0.1", |mut stream: TcpStream| {
            stream.write_all(b"x").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(500));
            reset(stream);
        });
        let text = "s = socket.create_connection(('10.0.2.2', PORT)); s.recv(1); s.setblocking(False)\n\
            n = 0\ntry:\n    while n < 64_000_000: n += s.send(bytes(65536))\nexcept BlockingIOError: pass\n\
            s.setblocking(True)\ntry: s.recv(1)\nexcept ConnectionResetError: print('reset')";
        let (printed, summary) = summary(&[], address.port(), text);
        thread.join().unwrap();
        assert_eq!(printed, "reset\n");
        let connection = &summary["connections"][0];
        assert_eq!(
            (&connection["end"], &connection["ended_by"]),
            (&"reset".into(), &"host".into()),
            "{summary}"
        );
        assert!(connection["undelivered_out"].as_u64() > Some(0), "{summary}");
        assert_eq!(connection["undelivered_in"], 0, "{summary}");
    });
    lab(|| {
        // The program takes nothing and resets.
        let (address, thread) = server("127.0.0.1", |mut stream: TcpStream| {
            let sent = stream.write_all(&vec![0; 64_000_000]);
            assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        });
        let text = "s = socket.create_connection(('10.0.2.2', PORT)); time.sleep(0.5)\n\
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close(); time.sleep(0.2)";
        let (_, summary) = summary(&[], address.port(), text);
        thread.join().unwrap();
        let connection = &summary["connections"][0];
        assert_eq!(connection["ended_by"], "program", "{summary}");
        assert!(connection["undelivered_in"].as_u64() > Some(0), "{summary}");
        assert_eq!(connection["undelivered_out"], 0, "{summary}");
    });
}

#[test]
fn summary_counts_retransmissions_and_measures_both_sides() {
    lab(|| {
        let (address, thread) = server("127.0.0.1", |mut stream: TcpStream| {
            stream.write_all(&[7; 400_000]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            read_all(stream)
        });
        let text = "s = socket.create_connection(('10.0.2.2', PORT))\nwhile s.recv(65536): pass";
        let options = ["--mtu", "1500", "--loss", "0.03", "--seed", "3"];
        let (_, summary) = summary(&options, address.port(), text);
        assert_eq!(thread.join().unwrap(), (0, None));
        let connection = &summary["connections"][0];
        assert_eq!((&connection["end"], &connection["bytes_in"]), (&"graceful".into(), &400_000.into()));
        assert!(connection["retransmissions_inside"].as_u64() > Some(0), "{summary}");
        assert_eq!(connection["retransmissions_outside"], 0, "{summary}");
        assert!(connection["rtt_inside"].as_f64() > Some(0.0), "{summary}");
        assert_eq!((&connection["undelivered_out"], &connection["undelivered_in"]), (&0.into(), &0.into()));
    });
}

#[test]
fn trace_and_capture_tell_who_opened_a_connection_and_how_it_ended() {
    lab(|| {
        let (address, thread) = server("127.0.0.1", |mut stream: TcpStream| {
            stream.read_exact(&mut [0; 1]).unwrap();
            stream.write_all(b"answer").unwrap();
        });
        let file = temp_file("seeing.pcapng");
        let text = format!(
            "import socket, time\ns = socket.create_connection(('10.0.2.2', {})); time.sleep(0.5); s.sendall(b'q')\nwhile s.recv(9): pass",
            address.port()
        );
        let path = file.to_str().unwrap();
        let output = run(&["--trace", "--capture", path], &["python3", "-S", "-c", &text]);
        thread.join().unwrap();
        let trace = String::from_utf8(output.stderr).unwrap();
        let shown = Command::new("tshark")
            .args(["-r", path, "-Y", "systemd_journal", "-T", "fields", "-e", "systemd_journal.message"])
            .output()
            .expect("tshark is needed");
        std::fs::remove_file(&file).unwrap();
        let notes = String::from_utf8(shown.stdout).unwrap();
        for part in [" opened by python", ": 1 B out, 6 B in, ", "closed, the server first; RTT "] {
            assert!(trace.contains(part), "{part} is missing in the trace\n{trace}");
            assert!(notes.contains(part), "{part} is missing in the capture\n{notes}");
        }
        assert_eq!(notes.lines().count(), 2, "{notes}");
    });
}

#[test]
fn connections_of_a_run_are_numbered_from_one_without_gaps() {
    lab(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let text = "for _ in range(4): socket.create_connection(('10.0.2.2', PORT)).recv(1)";
        let (_, summary) = summary(&[], port, text);
        let mut numbers: Vec<_> = (0..4).map(|at| summary["connections"][at]["number"].as_u64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4].map(Some), "{summary}");
    });
}

//! A reader that does not read costs the gateway its window and no more, in both directions, and hinders nobody else. Needs
//! root.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{gateway, lab};

/// Connections whose readers do not read.
const STALLED: usize = 4;
/// What one of them may cost: 6 MiB of the largest buffer, the relay's two of 64 KiB, and what an allocator takes for it.
const EACH: u64 = 9 << 20;
/// What a gateway that works may take beside.
const SLACK: u64 = 12 << 20;
/// Without progress for so long, a sender has been stopped.
const STOPPED: Duration = Duration::from_millis(700);

/// The program inside: opens the connections, pushes into them if asked to, and echoes beside them.
const PROGRAM: &str = r"
import socket, sys, time
stalled, echo, push = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == 'push'
kept = [socket.create_connection(('10.0.2.2', stalled)) for _ in range(int(sys.argv[4]))]
print('connected', flush=True)
sent, last = 0, time.monotonic()
for s in kept: s.setblocking(False)
while push and time.monotonic() - last < 0.7:
    for s in kept:
        try:
            sent += s.send(bytes(1 << 20)); last = time.monotonic()
        except BlockingIOError: time.sleep(0.001)
print(sent, flush=True)
sys.stdin.readline()
s = socket.create_connection(('10.0.2.2', echo)); got = 0
s.setblocking(True)
for _ in range(30):
    s.sendall(bytes(100_000)); n = 0
    while n < 100_000: n += len(s.recv(65536))
    got += n
print(got, flush=True)
sys.stdin.readline()
";

struct Inside {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Inside {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Memory of the gateway in bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

/// Writes into all of them for as long as any takes something; how much they took.
fn push(streams: &[TcpStream]) -> u64 {
    let data = vec![0; 1 << 20];
    let (mut sent, mut last) = (0, Instant::now());
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    while last.elapsed() < STOPPED {
        for mut stream in streams {
            match stream.write(&data) {
                Ok(len) => (sent, last) = (sent + len as u64, Instant::now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    sent
}

fn stalled_readers(outbound: bool) {
    let (stalled, echo) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [&stalled, &echo].map(|listener| listener.local_addr().unwrap().port().to_string());
    thread::spawn(move || {
        for stream in echo.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let count = STALLED.to_string();
    let who = if outbound { "push" } else { "wait" };
    let mut child = gateway(&["--summary=json"])
        .args(["python3", "-S", "-c", PROGRAM, &ports[0], &ports[1], who, &count])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let mut inside = Inside { child, lines };
    let streams: Vec<TcpStream> = (0..STALLED).map(|_| stalled.accept().unwrap().0).collect();
    assert_eq!(inside.line(), "connected");
    let before = inside.memory();
    let pushed = if outbound { 0 } else { push(&streams) };
    let sent = pushed + inside.line().parse::<u64>().unwrap();
    let held = inside.memory().saturating_sub(before);
    assert!(sent > 0);
    let most = STALLED as u64 * EACH + SLACK;
    assert!(held < most, "{held} bytes held of {sent} sent");
    // Others go on, and nothing more is taken meanwhile.
    inside.go_on();
    assert_eq!(inside.line(), "3000000");
    let held = inside.memory().saturating_sub(before);
    assert!(held < most, "{held} bytes held of {sent} sent, later");
    inside.go_on();
    assert!(inside.child.wait().unwrap().success());
}

#[test]
fn servers_that_do_not_read_cost_their_windows_and_hinder_nobody() {
    lab(|| stalled_readers(true));
}

#[test]
fn programs_that_do_not_read_cost_their_windows_and_hinder_nobody() {
    lab(|| stalled_readers(false));
}

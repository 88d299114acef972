//! Programs that are killed in the middle of everything leave nothing behind in the gateway. Needs root.

#[path = "gateway/lab.rs"]
#[allow(dead_code, reason = "the other tests need the rest of it")]
mod lab;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::{ip, lab, reset};
use lastack_device::tun::{Tun, TunOptions};
use lastack_gateway::addresses::{AddressMap, PREFIX_V4, PROGRAM_V4};
use lastack_gateway::summary::{End, Report};
use lastack_gateway::{Gateway, GatewayOptions};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::oneshot;

/// Connections at once, and rounds of them: 10,000 in all.
const AT_ONCE: usize = 200;
const ROUNDS: usize = 50;
/// Connections of one process.
const EACH: usize = 10;

/// Starts processes that open connections and do random things with them, and kills each with SIGKILL at a random moment, once
/// the gateway has heard of all of its connections.
const PROGRAM: &str = r"
import os, random, select, signal, socket, sys, time
port, rounds, processes, each = map(int, sys.argv[1:])
def play(out):
    kept = []
    for _ in range(each):
        s = socket.socket(); s.setblocking(False); kept.append(s)
        try: s.connect(('10.0.2.2', port))
        except BlockingIOError: pass
    # The gateway has all of them when they are there.
    for s in kept: select.select([], [s], [])
    os.write(out, b'.')
    while True:
        for s in kept:
            try:
                what = random.randrange(4)
                if what == 0: s.send(bytes(random.randrange(1, 60000)))
                elif what == 1: s.recv(random.randrange(1, 60000))
                elif what == 2 and random.randrange(20) == 0: s.shutdown(socket.SHUT_WR)
            except OSError: pass
        # Others want to play too.
        time.sleep(random.random() * 0.001)
random.seed(7)
for _ in range(rounds):
    read, write = os.pipe(); children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            random.seed(os.getpid())
            play(write)
        children.append(child)
    there = 0
    while there < processes: there += len(os.read(read, 100))
    for child in children:
        time.sleep(random.random() * 0.002)
        os.kill(child, signal.SIGKILL)
    for child in children: os.waitpid(child, 0)
    os.close(read); os.close(write)
";

/// What the servers do with a connection.
fn serve(mut stream: TcpStream, number: usize) {
    let mut buffer = vec![7; 50_000];
    match number % 4 {
        // Echoes until the end.
        0 => {
            while stream
                .read(&mut buffer)
                .is_ok_and(|len| len > 0 && stream.write_all(&buffer[..len]).is_ok())
            {}
        }
        // Reads all, and says nothing.
        1 => while stream.read(&mut buffer).is_ok_and(|len| len > 0) {},
        // Talks and ends; what the program says stays unread.
        2 => drop(stream.write_all(&buffer)),
        _ => {
            let _ = stream.read(&mut buffer);
            reset(stream);
        }
    }
}

fn servers() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (stream, number) in listener.incoming().zip(0..) {
            thread::spawn(move || serve(stream.unwrap(), number));
        }
    });
    port
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until `condition` holds; for ever if it never does, so that what is left over shows.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// An interface in a network namespace of its own, and a process in there that runs the program.
fn inside(port: u16) -> (Tun, thread::JoinHandle<()>) {
    let (made, tun) = std::sync::mpsc::channel();
    let running = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let options = TunOptions {
            name: Some("inside0".to_owned()),
            mtu: Some(65520),
            ipv4: Some((PROGRAM_V4, PREFIX_V4)),
            offloads: true,
            ..TunOptions::default()
        };
        made.send(Tun::open(&options).unwrap()).unwrap();
        ip("link set inside0 up");
        let numbers = [usize::from(port), ROUNDS, AT_ONCE / EACH, EACH].map(|number| number.to_string());
        let mut program = Command::new("python3");
        program.args(["-S", "-c", PROGRAM]).args(numbers).stdin(Stdio::null());
        assert!(program.status().unwrap().success());
    });
    (tun.recv().unwrap(), running)
}

#[test]
fn killed_programs_leave_nothing_behind() {
    lab(|| {
        let port = servers();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let before = open_files();
        let (tun, running) = inside(port);
        let options = GatewayOptions {
            addresses: AddressMap { host_loopback: true, ..AddressMap::default() },
            records: true,
            ..GatewayOptions::new(AddressMap::default())
        };
        let gateway = Gateway::new(tun, options).unwrap();
        let host = gateway.host().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let report = runtime.spawn(gateway.run(async {
            let _ = stopped.await;
        }));
        running.join().unwrap();
        // The listener stays, and TIME_WAIT within its time.
        until(|| {
            let counts = host.counts();
            (counts.sockets, counts.orphans, counts.requests, counts.buffer_bytes) == (1, 0, 0, 0)
        });
        assert!(host.counts().time_wait <= AT_ONCE * ROUNDS);
        stop.send(()).unwrap();
        let report: Report = runtime.block_on(report).unwrap().unwrap();
        drop(host);
        until(|| open_files() <= before);
        assert_eq!((report.connections.len(), report.not_listed), (AT_ONCE * ROUNDS, 0));
        let count = |end| report.connections.iter().filter(|record| record.end == end).count();
        assert_eq!(count(End::Cut), 0);
        assert!(count(End::Reset) > 0 && count(End::Graceful) > 0);
    });
}

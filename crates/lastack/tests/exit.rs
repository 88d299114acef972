//! What a process wrote last arrives, however the process ends: a child with a host of its own writes 1 MiB, ends at
//! once, and the parent, which is the other end of the link, reads it.

mod common;
#[path = "common/link.rs"]
mod link;

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::{A, B, addr, pattern, run_blocking};
use lastack::{Host, blocking};
use link::Link;

const SIZE: usize = 1 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, child, how, own, peer] = &args[..]
        && child == "child"
    {
        return write_and_end(how, Path::new(own), Path::new(peer));
    }
    for how in ["return", "exit", "static", "runtime"] {
        run_blocking(move || arrives(how));
        println!("test a_process_that_ends_by_{how}_has_delivered_what_it_wrote ... ok");
    }
    run_blocking(a_peer_that_does_not_read_does_not_hold_the_process_for_ever);
    println!("test a_peer_that_does_not_read_does_not_hold_the_process_for_ever ... ok");
    ExitCode::SUCCESS
}

fn host(device: Link, ip: [u8; 4], drain: Duration) -> Host {
    let builder = Host::builder().config(common::large_buffers());
    builder.device(device).address(ip, 24).drain(drain).start().expect("host")
}

fn write_and_end(how: &str, own: &Path, peer: &Path) -> ExitCode {
    static KEPT: OnceLock<(Host, blocking::TcpStream)> = OnceLock::new();
    let drain = if how == "stuck" { Duration::from_millis(200) } else { Duration::from_secs(30) };
    let host = host(Link::new(own, peer).expect("device"), A, drain);
    let connect = || blocking::TcpStream::connect(&host, addr(B, 80)).expect("connect");
    match how {
        "return" => connect().write_all(&pattern(SIZE)).expect("write"),
        "exit" => {
            let mut stream = connect();
            stream.write_all(&pattern(SIZE)).expect("write");
            std::process::exit(0);
        }
        "static" => {
            let (_, stream) = KEPT.get_or_init(|| (host.clone(), connect()));
            let mut stream = stream;
            stream.write_all(&pattern(SIZE)).expect("write");
        }
        "runtime" => tokio::runtime::Runtime::new().expect("runtime").block_on(async {
            use tokio::io::AsyncWriteExt as _;
            let mut stream = lastack::tokio::TcpStream::connect(&host, addr(B, 80)).await.expect("connect");
            stream.write_all(&pattern(SIZE)).await.expect("write");
        }),
        "stuck" => {
            let stream = connect();
            stream.set_nonblocking(true).expect("option");
            while (&stream).write(&pattern(SIZE)).is_ok() {}
        }
        other => panic!("{other}"),
    }
    ExitCode::SUCCESS
}

struct Ends {
    dir: PathBuf,
}

impl Ends {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("lastack-exit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        Self { dir }
    }

    fn path(&self, end: &str) -> PathBuf {
        self.dir.join(end)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn start(how: &str) -> (Ends, blocking::TcpListener, std::process::Child) {
    let ends = Ends::new(how);
    let device = Link::new(&ends.path("parent"), &ends.path("child")).expect("device");
    let host = host(device, B, Duration::from_secs(1));
    let listener = blocking::TcpListener::bind(&host, addr(B, 80)).expect("bind");
    let child = Command::new(std::env::current_exe().expect("own path"))
        .args([
            "child".as_ref(),
            how.as_ref(),
            ends.path("child").as_os_str(),
            ends.path("parent").as_os_str(),
        ])
        .spawn()
        .expect("child");
    (ends, listener, child)
}

fn arrives(how: &'static str) {
    let (_ends, listener, mut child) = start(how);
    let (mut stream, _) = listener.accept().expect("accept");
    // The child is done with writing long before somebody reads all of it.
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("read");
    assert!(got == pattern(SIZE), "{how}: {} bytes", got.len());
    drop(stream);
    assert!(child.wait().expect("wait").success(), "{how}");
}

fn a_peer_that_does_not_read_does_not_hold_the_process_for_ever() {
    let (_ends, listener, mut child) = start("stuck");
    let (mut stream, _) = listener.accept().expect("accept");
    let begin = Instant::now();
    assert!(child.wait().expect("wait").success());
    assert!(begin.elapsed() < common::LIMIT);
    // The stream was cut, and that is what we are told.
    let mut got = Vec::new();
    assert_eq!(stream.read_to_end(&mut got).expect_err("cut").kind(), ErrorKind::ConnectionReset);
    assert!(!got.is_empty());
}

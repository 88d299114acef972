//! A network namespace that plays the host, with servers in it and programs that run through the gateway.
//!
//! It needs root. Without it the tests fail; with `LASTACK_SKIP_ROOT_TESTS=1` they are left out.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread in new network and mount namespaces. Threads and processes that it starts are in them too.
pub(crate) fn lab(test: impl FnOnce() + Send + 'static) {
    if std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1") {
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("network namespaces need root; set LASTACK_SKIP_ROOT_TESTS=1 to leave these tests out");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status().expect("ip (iproute2) is needed");
    assert!(status.success(), "ip {words}");
}

/// A file that goes when this is dropped.
pub(crate) struct TempFile(pub(crate) PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Has the host of this lab ask 127.0.0.1 for names, as long as the result lives.
pub(crate) fn use_local_name_server() -> TempFile {
    let file = TempFile(temp_file("resolv.conf"));
    std::fs::write(&file.0, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n").unwrap();
    mount(Some(&file.0), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    file
}

/// A file name of this process's own.
pub(crate) fn temp_file(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lastack-gateway-{}-{number}-{name}", std::process::id()))
}

/// The small `lastack run` of this crate's examples.
pub(crate) fn gateway_path() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built: &Path = tests.parent().and_then(Path::parent).unwrap();
    let binary = built.join("examples/gateway-test");
    assert!(binary.exists(), "{} is missing: cargo build -p lastack-gateway --examples", binary.display());
    binary
}

/// It, with options.
pub(crate) fn gateway(options: &[&str]) -> Command {
    let mut command = Command::new(gateway_path());
    command.args(options).arg("--").stdin(Stdio::null());
    command
}

/// Runs a program inside, with options of the gateway.
pub(crate) fn run(options: &[&str], program: &[&str]) -> Output {
    gateway(options).args(program).output().unwrap()
}

/// Runs Python inside with `socket` imported and `s`, connected to a port of the host, v4 or v6; the text printed.
/// Panics if it fails.
pub(crate) fn python(server: SocketAddr, text: &str) -> String {
    let gateway = if server.is_ipv4() { "10.0.2.2" } else { "fd00::2" };
    let port = server.port();
    let head = format!(
        "import socket, struct, sys, time, errno\n\
         def reset(s):\n    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()\n\
         def read_all(s):\n    n = 0\n    while True:\n        try: d = s.recv(65536)\n        \
         except OSError as e: return n, errno.errorcode[e.errno]\n        if not d: return n, 'EOF'\n        n += len(d)\n\
         s = socket.create_connection(('{gateway}', {port}))\n"
    );
    let output = run(&["--summary"], &["python3", "-c", &format!("{head}{text}")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server for one connection: its address, and what `serve` made of it.
pub(crate) fn server<T: Send + 'static>(
    address: &str,
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, thread)
}

/// Reads to the end: how many bytes, and the error if it was not an end of file.
pub(crate) fn read_all(mut stream: impl io::Read) -> (usize, Option<io::ErrorKind>) {
    let mut buffer = [0; 65536];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (count, None),
            Ok(len) => count += len,
            Err(error) => return (count, Some(error.kind())),
        }
    }
}

/// Makes the close of a socket a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}

/// Bytes that a socket has sent and that its peer's kernel has not acknowledged.
pub(crate) fn unacknowledged(stream: &TcpStream) -> usize {
    let inode = {
        use std::os::fd::AsRawFd;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap().to_owned();
        link.trim_start_matches("socket:[").trim_end_matches(']').to_owned()
    };
    // Of this thread's namespace; columns: number, local, remote, state, tx_queue:rx_queue, ..., inode.
    let tables = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap());
    let line = tables
        .iter()
        .flat_map(|table| table.lines())
        .find(|line| line.split_whitespace().nth(9) == Some(&inode));
    let queues = line.and_then(|line| line.split_whitespace().nth(4)).unwrap();
    usize::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
}

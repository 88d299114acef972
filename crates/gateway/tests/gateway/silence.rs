//! A server that falls silent: the program's own timers end its connection, as they would on the host. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::lab::{gateway, ip, lab, run};

/// Runs the program against a server at the other end of a link, whose host vanishes once both have met.
fn forsaken(command: &mut Command, program: &str) -> String {
    let (made, linked) = (channel(), channel());
    let ((vanish, vanishing), gone) = (channel::<()>(), channel());
    let far = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let id = std::fs::read_link("/proc/thread-self").unwrap();
        made.0.send(id).unwrap();
        linked.1.recv().unwrap();
        ip("addr add 192.0.2.2/24 dev far0");
        ip("link set far0 up");
        let listener = TcpListener::bind("192.0.2.2:80").unwrap();
        gone.0.send(()).unwrap();
        let (_stream, _) = listener.accept().unwrap();
        vanishing.recv().unwrap();
        ip("addr del 192.0.2.2/24 dev far0");
        gone.0.send(()).unwrap();
        // The socket stays until the test is over.
        let _ = vanishing.recv();
    });
    let task = made.1.recv().unwrap();
    let pid = task.file_name().unwrap().to_str().unwrap().to_owned();
    ip(&format!("link add near0 type veth peer name far0 netns {pid}"));
    ip("addr add 192.0.2.1/24 dev near0");
    ip("link set near0 up");
    linked.0.send(()).unwrap();
    gone.1.recv().unwrap();
    let mut child = command
        .args(["python3", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "connected\n");
    // The host still believes that it is there.
    let neighbour =
        String::from_utf8(Command::new("ip").args(["neigh", "show", "192.0.2.2"]).output().unwrap().stdout)
            .unwrap();
    let address =
        neighbour.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap().to_owned();
    ip(&format!("neigh replace 192.0.2.2 lladdr {address} dev near0 nud permanent"));
    vanish.send(()).unwrap();
    gone.1.recv().unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    child.wait().unwrap();
    drop(vanish);
    far.join().unwrap();
    ip("link del near0");
    line.trim().to_owned()
}

/// What the program does once its server is gone.
fn program(what: &str) -> String {
    format!(
        "import socket, sys, time, errno\n\
         s = socket.create_connection(('192.0.2.2', 80)); print('connected', flush=True); sys.stdin.readline()\n\
         try:\n{what}\nexcept OSError as e: print(errno.errorcode[e.errno])"
    )
}

fn same_as_the_kernel(what: &str, expected: &'static str) {
    let program = program(what);
    lab(move || {
        let alone = forsaken(&mut Command::new("env"), &program);
        assert_eq!(alone, expected, "the kernel alone");
        assert_eq!(forsaken(&mut gateway(&[]), &program), expected, "through the gateway");
    });
}

#[test]
fn user_timeout_of_a_program_that_sends_to_a_silent_server() {
    same_as_the_kernel(
        "    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500)\n    \
         for _ in range(300): s.send(b'x'); time.sleep(0.1)",
        "ETIMEDOUT",
    );
}

#[test]
fn keepalive_of_a_program_that_waits_for_a_silent_server() {
    same_as_the_kernel(
        "    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n    \
         for option, value in (socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3):\n        \
         s.setsockopt(socket.IPPROTO_TCP, option, value)\n    \
         s.settimeout(40); s.recv(1)",
        "ETIMEDOUT",
    );
}

#[test]
fn dial_ends_when_the_program_gives_up() {
    lab(|| {
        ip("link add lan0 type veth peer name lan1");
        ip("link set lan1 up");
        ip("link set lan0 up");
        ip("addr add 198.51.100.1/24 dev lan0");
        ip("neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev lan0 nud permanent");
        // The program lives on; its socket does not.
        let text = "import socket, time\ns = socket.socket(); s.settimeout(1.5)\n\
            try: s.connect(('198.51.100.2', 80))\nexcept TimeoutError: print('gave up')\ns.close(); time.sleep(8)";
        let output = run(&["--trace", "--summary=json"], &["python3", "-c", text]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "gave up\n");
        let said = String::from_utf8(output.stderr).unwrap();
        let summary: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let [connection] = &summary["connections"].as_array().unwrap()[..] else { panic!("{summary}") };
        assert_eq!(connection["end"], "unanswered", "{summary}");
        assert_eq!(connection["number"], 1, "{summary}");
        assert!(connection["seconds"].as_f64().unwrap() < 8.0, "before the program ended: {summary}");
    });
}

//! `run` as an ordinary user and as root: identity, terminal, and that nothing is left behind. Needs root, to play both.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::lab::{TempFile, gateway, gateway_path, lab, server, temp_file};

/// The ordinary user.
const USER: u32 = 1000;

/// Gives this lab a `/dev/net` of its own in which the node can be opened by everybody, or not.
fn private_tun(mode: u32) {
    fs::create_dir_all("/dev/net").unwrap();
    mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).unwrap();
    fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(mode)).unwrap();
}

/// A copy of the gateway's binary that an ordinary user can reach.
struct Reachable(TempFile);

impl Reachable {
    fn new() -> Self {
        let copy = TempFile(temp_file("binary"));
        fs::copy(gateway_path(), &copy.0).unwrap();
        fs::set_permissions(&copy.0, fs::Permissions::from_mode(0o755)).unwrap();
        Self(copy)
    }

    fn path(&self) -> &Path {
        &self.0.0
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.path());
        command.args(options).arg("--").stdin(Stdio::null()).current_dir("/").uid(USER).gid(USER);
        command
    }
}

fn as_user(test: impl FnOnce(&Reachable) + Send + 'static) {
    lab(|| {
        private_tun(0o666);
        test(&Reachable::new());
    });
}

#[test]
fn ordinary_user_stays_who_they_are() {
    as_user(|binary| {
        let script = "id -u; id -g; grep CapEff /proc/self/status | cut -f2; pwd; echo $MARK; exit 5";
        let output = binary.command(&[]).args(["sh", "-c", script]).env("MARK", "kept").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n1000\n0000000000000000\n/\nkept\n");
        assert_eq!(output.status.code(), Some(5));
    });
}

#[test]
fn ordinary_user_has_the_whole_network() {
    as_user(|binary| {
        for (loopback, gateway) in [("127.0.0.1", "10.0.2.2"), ("::1", "fd00::2")] {
            let (address, thread) = server(loopback, crate::lab::read_all);
            let port = address.port();
            // Low ports of one's own network are free for everybody.
            let text = format!(
                "import socket\nl = socket.create_server(('', 80))\n\
                 s = socket.create_connection(('{gateway}', {port})); s.sendall(b'x' * 100_000)"
            );
            let output = binary.command(&[]).args(["python3", "-S", "-c", &text]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(thread.join().unwrap(), (100_000, None));
        }
    });
}

#[test]
fn ordinary_user_is_told_who_opened_a_connection() {
    as_user(|binary| {
        let (address, thread) = server("127.0.0.1", crate::lab::read_all);
        let text = format!(
            "import socket, time\ns = socket.create_connection(('10.0.2.2', {})); time.sleep(0.5)",
            address.port()
        );
        let output = binary.command(&["--summary"]).args(["python3", "-S", "-c", &text]).output().unwrap();
        thread.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(" by python"), "{said}");
    });
}

#[test]
fn device_that_cannot_be_opened_is_said_with_what_to_do() {
    lab(|| {
        private_tun(0o600);
        let output = Reachable::new().command(&[]).arg("true").output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "lastack: cannot open /dev/net/tun: Permission denied (os error 13); \
             allow it as root: chmod 0666 /dev/net/tun\n"
        );
    });
}

#[test]
fn forbidden_user_namespaces_are_said_with_what_to_do() {
    as_user(|binary| {
        // A user namespace has its own limit of how many may be in it: the machine's is not touched.
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && \
             exec setpriv --bounding-set=-all --inh-caps=-all {} -- true",
            binary.path().display()
        );
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(error.contains("sysctl -w user.max_user_namespaces=15000"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    });
}

/// A program with a daemon (own session, no parent of its own) that holds standard output open.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & exec sleep 1000' & echo ready; ";

#[test]
fn nothing_is_left_behind_when_lastack_is_killed() {
    as_user(|binary| {
        for mut command in [binary.command(&[]), gateway(&[])] {
            let script = format!("{DAEMON} exec sleep 1000");
            let mut child = command.args(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            child.kill().unwrap();
            child.wait().unwrap();
            // The pipe closes when the last of them is gone.
            assert_eq!(output.read_to_string(&mut line).unwrap(), 0);
        }
    });
}

#[test]
fn daemons_end_with_the_program() {
    as_user(|binary| {
        for mut command in [binary.command(&[]), gateway(&[])] {
            let script = format!("{DAEMON} exit 6");
            // Reads to the end of the pipe.
            let output = command.args(["sh", "-c", &script]).output().unwrap();
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(6), &b"ready\n"[..]));
        }
    });
}

#[test]
fn terminal_is_the_programs() {
    as_user(|binary| {
        for user in [USER, 0] {
            let output = Command::new("python3")
                .args(["-S", "-c", include_str!("terminal.py")])
                .arg(binary.path())
                .arg("--")
                .current_dir("/")
                .uid(user)
                .gid(user)
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!((&*error, String::from_utf8_lossy(&output.stdout).trim()), ("", "ok"), "user {user}");
        }
    });
}

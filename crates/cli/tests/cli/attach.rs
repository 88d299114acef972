//! `lastack attach` in the place of slirp4netns. These tests need root and `/dev/net/tun`.

use crate::support::{lastack_path, text};
use std::process::Command;

/// In namespaces that play the host, in which a `/dev/net/tun` of its own is open to everybody: a server on the loopback
/// that answers `hello` and its client's bytes, and a namespace of process `$target` that has no network yet. `$lastack` is
/// the command, which an ordinary user can reach.
const HOST: &str = r#"
set -eu
mount -t tmpfs -o mode=0755 none /dev/net
mknod -m 0666 /dev/net/tun c 10 200
mount -t tmpfs -o mode=0777 none /mnt
cp "$LASTACK" /mnt/lastack
lastack=/mnt/lastack
cd /mnt
ip link set lo up
cat > server.py <<'END'
import socket, sys, threading
def serve(l):
    while True:
        s, _ = l.accept()
        s.sendall(b'hello ' + s.recv(100)); s.close()
any = len(sys.argv) > 1
for family, host in (socket.AF_INET, '0.0.0.0' if any else '127.0.0.1'), (socket.AF_INET6, '::' if any else '::1'):
    threading.Thread(target=serve, args=[socket.create_server((host, 8000), family=family)]).start()
print('ready', flush=True)
END
cat > client.py <<'END'
import socket, sys
s = socket.create_connection((sys.argv[1], 8000)); s.sendall(b'from inside')
print(s.recv(100).decode(), '|', s.getsockname()[0])
END
mkfifo up
python3 -S server.py > up &
read line < up
end() { kill $(jobs -p) 2>&- || true; wait || true; }
trap end EXIT
"#;

/// Runs a script on such a host, as root and then as an ordinary user, whose namespace it is; the output.
fn on_a_host(script: &str) -> String {
    let user = "setpriv --reuid 1000 --regid 1000 --clear-groups";
    let mut said = Vec::new();
    for (who, namespace, enter) in
        [("", "unshare --net", "--net"), (user, "unshare --user --map-root-user --net", "--user --net")]
    {
        let target = format!(
            "{who} {namespace} sleep 1000 & target=$!\nas='{who}'\n\
            inside=\"nsenter --preserve-credentials {enter} --target $target\"\n\
            until [ \"$(readlink /proc/$target/exe)\" = \"$(readlink -f \"$(command -v sleep)\")\" ]; do sleep 0.01; done\n"
        );
        let output = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "bash",
                "-c",
                &format!("{HOST}{target}{script}\nkill $target || true"),
            ])
            .env("LASTACK", lastack_path())
            .output()
            .expect("unshare (util-linux) is needed");
        let error = text(&output.stderr);
        assert!(output.status.success(), "{who}: {error}{}", text(&output.stdout));
        said.push(text(&output.stdout));
    }
    let root = said.remove(0);
    assert_eq!(root, said.remove(0), "root and an ordinary user");
    root
}

#[test]
fn namespace_has_a_network_until_it_ends() {
    let said = on_a_host(
        "mkfifo ready\n\
         $as $lastack attach --configure --mtu 65520 --enable-ipv6 --ready-fd 5 $target tap0 5>ready & attached=$!\n\
         cat ready; echo\n\
         $inside python3 -S client.py 10.0.2.2\n\
         $inside python3 -S client.py fd00::2\n\
         $inside ip -4 route show default\n\
         $inside ip link show tap0 | grep -o 'mtu [0-9]*'\n\
         kill $target; wait $attached; echo status $?",
    );
    assert_eq!(
        said,
        "1\nhello from inside | 10.0.2.100\nhello from inside | fd00::15\n\
         default via 10.0.2.2 dev tap0 \nmtu 65520\nstatus 0\n"
    );
}

#[test]
fn exit_fd_and_a_signal_end_it_and_leave_the_namespace_without_the_interface() {
    let said = on_a_host(
        "mkfifo ready leave\n\
         $as $lastack attach -c -r 5 -e 6 $target 6<leave 5>ready & attached=$!\n\
         exec 7>leave; cat ready; echo\n\
         $inside ip -brief link show tap0 | cut -d' ' -f1\n\
         exec 7>&-; wait $attached; echo status $?\n\
         $inside ip link | grep -c tap0 || true\n\
         $as $lastack attach --configure --cidr 192.168.7.0/24 --disable-host-loopback --ready-fd 5 $target blue 5>ready & attached=$!\n\
         cat ready; echo\n\
         $inside ip -4 -brief address show blue\n\
         $inside python3 -S client.py 192.168.7.2 2>&1 | tail -n1\n\
         $as $lastack attach $target lo 2>&1 || echo status $?\n\
         kill $attached; wait $attached; echo status $?",
    );
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "1",
            "tap0",
            "status 0",
            "0",
            "1",
            "blue             UNKNOWN        192.168.7.100/24",
            "ConnectionRefusedError: [Errno 111] Connection refused",
            "lastack: cannot take the interface lo over (it has to be a TAP or a TUN): \
             set up TUN interface lo: Invalid argument (os error 22)",
            "status 125",
            "status 0",
        ]
    );
}

/// What rootlesskit does: it makes the TAP, gives it address and route, and starts slirp4netns, which it ends by a signal.
#[test]
fn tap_that_the_caller_has_made_is_taken_over_and_left() {
    let said = on_a_host(
        "mkfifo ready; ln -s lastack slirp4netns\n\
         $as $inside ip tuntap add name tap0 mode tap\n\
         $as $inside ip link set tap0 address 02:50:00:00:00:01 mtu 65520 up; $as $inside ip link set lo up\n\
         $as $inside ip addr add 10.0.2.100/24 dev tap0; $as $inside ip addr add fd00::100/64 dev tap0 nodad\n\
         $as $inside ip route add default via 10.0.2.2 dev tap0; $as $inside ip route add default via fd00::2 dev tap0\n\
         for round in 1 2; do\n\
         $as /mnt/slirp4netns --mtu 65520 -r 3 --enable-ipv6 --enable-sandbox --enable-seccomp --cidr 10.0.2.0/24 \
             $target tap0 3>ready & attached=$!\n\
         cat ready; echo\n\
         $inside python3 -S client.py 10.0.2.2\n\
         $inside python3 -S client.py fd00::2\n\
         $as $lastack attach $target tap0 2>&1 | grep -o 'which another program uses'\n\
         grep -E 'Seccomp:|NoNewPrivs' /proc/$attached/status | tr '\\n\\t' '  '; echo\n\
         grep -cE 'CapEff:.0{13}[04]00' /proc/$attached/status\n\
         kill $attached; wait $attached; echo status $?\n\
         done\n\
         $inside ip -brief link show tap0 | cut -d' ' -f1",
    );
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let round = [
        "1",
        "hello from inside | 10.0.2.100",
        "hello from inside | fd00::100",
        "which another program uses",
        "NoNewPrivs: 1 Seccomp: 2",
        // Root keeps the capability for low ports; a user has none.
        "1",
        "status 0",
    ];
    assert_eq!(lines, [&round[..], &round[..], &["tap0"]].concat());
}

/// What podman does for published ports: it asks over the socket, in one request per connection.
#[test]
fn ports_are_led_inside_and_closed_again_over_the_socket() {
    let said = on_a_host(
        "mkfifo ready leave\n\
         cat > ask.py <<'END'\n\
import json, socket, sys\n\
s = socket.socket(socket.AF_UNIX); s.connect('/mnt/api.sock')\n\
s.sendall(sys.argv[1].encode()); s.shutdown(socket.SHUT_WR)\n\
print(json.dumps(json.loads(s.makefile().read()), sort_keys=True))\n\
END\n\
         cat > fetch.py <<'END'\n\
import socket, sys\n\
try: s = socket.create_connection((sys.argv[1], 8080), 5); s.sendall(b'from outside'); print(s.recv(100).decode())\n\
except OSError as e: print(e.strerror)\n\
END\n\
         python3 -S -c \"import socket; socket.socket(socket.AF_UNIX).bind('/mnt/api.sock')\"\n\
         $as $lastack attach -c -r 5 -e 6 -a /mnt/api.sock --enable-sandbox $target tap0 6<leave 5>ready & attached=$!\n\
         exec 7>leave; cat ready; echo\n\
         $inside python3 -S server.py any >inside.log 7>&- & until grep -q ready inside.log; do sleep 0.01; done\n\
         ask() { python3 -S ask.py \"$1\"; }\n\
         ask '{\"execute\":\"add_hostfwd\",\"arguments\":{\"proto\":\"tcp\",\"host_addr\":\"127.0.0.1\",\"host_port\":8080,\"guest_addr\":\"10.0.2.100\",\"guest_port\":8000}}'\n\
         python3 -S fetch.py 127.0.0.1\n\
         ask '{\"execute\":\"list_hostfwd\"}'\n\
         ask '{\"execute\":\"add_hostfwd\",\"arguments\":{\"proto\":\"tcp\",\"host_addr\":\"127.0.0.1\",\"host_port\":8080,\"guest_addr\":\"\",\"guest_port\":1}}'\n\
         ask '{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":1}}'\n\
         ask '{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":1}}'\n\
         for try in $(seq 100); do python3 -S fetch.py 127.0.0.1 | grep refused && break; sleep 0.05; done\n\
         ask '{\"execute\":\"quit\"}'; ask 'quit'\n\
         exec 7>&-; wait $attached; echo status $?; ls /mnt/api.sock 2>&1 | grep -c 'No such'",
    );
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "1",
            r#"{"return": {"id": 1}}"#,
            "hello from outside",
            r#"{"return": {"entries": [{"guest_addr": "10.0.2.100", "guest_port": 8000, "host_addr": "127.0.0.1", "host_port": 8080, "id": 1, "proto": "tcp"}]}}"#,
            r#"{"error": {"desc": "cannot publish 127.0.0.1:8080:1: 127.0.0.1:8080 is taken; choose another port of the host"}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"desc": "bad request: there is no port 1"}}"#,
            "Connection refused",
            r#"{"error": {"desc": "bad request: there is no 'quit'; there are add_hostfwd, list_hostfwd and remove_hostfwd"}}"#,
            r#"{"error": {"desc": "bad request: expected value at line 1 column 1"}}"#,
            "status 0",
            "1",
        ]
    );
}

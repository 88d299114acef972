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
import socket, threading
def serve(l):
    while True:
        s, _ = l.accept()
        s.sendall(b'hello ' + s.recv(100)); s.close()
for family, host in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
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
         $as $lastack attach $target blue || echo status $?\n\
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
            "status 125",
            "status 0",
        ]
    );
}

//! `lastack tun2socks` on a machine whose default route leads into its interface. These tests need root and `/dev/net/tun`.

use crate::support::{lastack, lastack_path, text};
use std::process::Command;

/// Three network namespaces: this one is the machine; `proxy` is the router that it reaches by `eth0`, with the proxies; and
/// `server` is behind that, in networks that the router forwards nothing to: only the proxies reach it.
const MACHINE: &str = r#"
set -eu
ip link set lo up
unshare --net sleep 1000 & proxy=$!
unshare --net sleep 1000 & server=$!
mkfifo ready stopped
attached=
end() { kill $attached $proxy $server $(jobs -p) 2>&- || true; wait 2>&- || true; }
trap end EXIT
for target in $proxy $server; do
    until [ "$(readlink /proc/$target/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
done
at_proxy="nsenter --net --target $proxy"
at_server="nsenter --net --target $server"
ip link add eth0 type veth peer name eth0 netns $proxy
$at_proxy ip link add eth1 type veth peer name eth0 netns $server
$at_proxy ip link set lo up; $at_server ip link set lo up
link() { $1 ip addr add $3 dev $2; $1 ip addr add $4 dev $2 nodad; $1 ip link set $2 up; }
link "" eth0 192.0.2.2/24 2001:db8:2::2/64
link "$at_proxy" eth0 192.0.2.1/24 2001:db8:2::1/64
link "$at_proxy" eth1 203.0.113.1/24 2001:db8:113::1/64
link "$at_server" eth0 203.0.113.7/24 2001:db8:113::7/64
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8:2::1
$at_proxy python3 -S "$SCRIPT" > ready &
read line < ready
$at_server python3 -S "$SCRIPT" > ready &
read line < ready
cat > client.py <<'END'
import errno, socket, sys
def read_all(s):
    n = 0
    while True:
        try: d = s.recv(65536)
        except OSError as e: return n, errno.errorcode[e.errno]
        if not d: return n, 'EOF'
        n += len(d)
def attempt(address, port):
    try: return socket.create_connection((address, port), 5)
    except OSError as e: return errno.errorcode[e.errno] if e.errno else 'silence'
for address in '203.0.113.7', '2001:db8:113::7':
    s = attempt(address, 7001)
    if isinstance(s, str): print(s); continue
    s.sendall(bytes(200000)); s.shutdown(socket.SHUT_WR)
    print(s.recv(6).decode(), *read_all(s), end='; ')
    s = attempt(address, 7002); s.sendall(b'x')
    print(*read_all(s), attempt(address, 1), end='; ')
    s = socket.socket(s.family, socket.SOCK_DGRAM); s.settimeout(5); s.connect((address, 7003)); s.send(b'datagram')
    try: print(s.recv(99)[6:].decode())
    except OSError as e: print(errno.errorcode[e.errno])
END
carry() { "$LASTACK" tun2socks --tun tun0 "$@" 2> said & attached=$!; until grep -q ' is up ' said; do
    [ -d /proc/$attached ] || { cat said >&2; exit 1; }; sleep 0.01; done; cat said; }
finish() { kill -$1 $attached; wait $attached && echo status 0 || echo status $?; attached=; }
"#;

/// Small proxies and servers of the gateway's own tests.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/gateway/proxy.py");

fn on_a_machine(script: &str) -> String {
    let output = Command::new("unshare")
        .args(["--net", "--mount", "bash", "-c"])
        .arg(format!("mount -t tmpfs none /mnt; cd /mnt\n{MACHINE}{script}"))
        .env("LASTACK", lastack_path())
        .env("SCRIPT", SCRIPT)
        .output()
        .expect("unshare (util-linux) is needed");
    assert!(output.status.success(), "{}{}", text(&output.stderr), text(&output.stdout));
    text(&output.stdout)
}

#[test]
fn default_route_leads_through_a_socks5_proxy_and_back_again_at_the_end() {
    let said = on_a_machine(
        "carry --upstream socks5://me:secret@192.0.2.1:1080 --route default --bind-interface eth0\n\
         python3 -S client.py\n\
         finish TERM\n\
         ip link | grep -c tun0 || true; ip route show default",
    );
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let up = "lastack: tun0 is up (MTU 1500, 198.18.0.1/15, fd00::15/64); what comes from it goes on through \
              socks5://192.0.2.1:1080; routes to it: 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1";
    let through = "200000 300000 EOF; 1000 ECONNRESET ECONNREFUSED; datagram";
    assert_eq!(lines, [up, through, through, "status 0", "0", "default via 192.0.2.1 dev eth0"]);
}

#[test]
fn an_interface_that_was_there_stays_without_the_routes() {
    let said = on_a_machine(
        "ip tuntap add tun0 mode tun; ip addr add 198.51.100.1/24 dev tun0; ip link set tun0 mtu 1400\n\
         carry --upstream http://me:secret@192.0.2.1:3128 --route 203.0.113.0/24 --route 2001:db8:113::/64 --address fd77::1/64\n\
         python3 -S client.py\n\
         ip route show 203.0.113.0/24\n\
         finish INT\n\
         ip route show 203.0.113.0/24; ip -6 route show 2001:db8:113::/64; ip -4 -brief addr show tun0\n\
         carry --upstream http://me:secret@192.0.2.1:3128; finish HUP",
    );
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let up = "lastack: tun0 is up (MTU 1400, fd77::1/64); what comes from it goes on through http://192.0.2.1:3128; \
              routes to it: 203.0.113.0/24, 2001:db8:113::/64";
    let again = "lastack: tun0 is up (MTU 1400); what comes from it goes on through http://192.0.2.1:3128; \
                 to lead traffic there: ip route add 203.0.113.0/24 dev tun0";
    assert_eq!(
        lines,
        [
            up,
            "200000 300000 EOF; 1000 ECONNRESET ECONNREFUSED; EHOSTUNREACH",
            "200000 300000 EOF; 1000 ECONNRESET ECONNREFUSED; EACCES",
            "203.0.113.0/24 dev tun0",
            "status 0",
            "tun0             DOWN           198.51.100.1/24",
            again,
            "status 0",
        ]
    );
}

#[test]
fn own_packets_leave_by_a_mark_or_an_interface_and_never_come_back() {
    let said = on_a_machine(
        "ip rule add fwmark 7 table 7; ip route add default via 192.0.2.1 table 7; ip -6 rule add fwmark 7 table 7\n\
         ip -6 route add default via 2001:db8:2::1 table 7\n\
         $at_proxy sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n\
         $at_server ip route add default via 203.0.113.1; $at_server ip -6 route add default via 2001:db8:113::1\n\
         carry --upstream direct --route 203.0.113.0/24 --route 2001:db8:113::/64 --fwmark 0x7\n\
         python3 -S client.py\n\
         finish TERM\n\
         circle() { \"$LASTACK\" tun2socks --tun tun0 --route default \"$@\" 2>&1 || echo status $?; }\n\
         circle --upstream socks5://203.0.113.1:1080\n\
         circle --upstream direct --fwmark 8\n\
         ip link | grep -c tun0 || true",
    );
    let lines: Vec<_> = said.lines().skip(1).map(str::trim).collect();
    let through = "200000 300000 EOF; 1000 ECONNRESET ECONNREFUSED; datagram";
    assert_eq!(
        lines,
        [
            through,
            through,
            "status 0",
            "lastack: the way to the proxy 203.0.113.1:1080 leads through tun0 itself; \
             say another: --bind-interface, a rule for --fwmark, or a route to 203.0.113.1",
            "status 125",
            "lastack: lastack's own packets for 0.0.0.0/1 would come back through tun0; \
             say by which way they leave: --bind-interface, or a rule for --fwmark",
            "status 125",
            "0",
        ]
    );
}

#[test]
fn bad_usage_of_tun2socks_is_one_line_with_the_right_form() {
    let rejected = |args: &[&str], status, words: &[&str]| {
        let output = lastack(&[&["tun2socks"], args].concat());
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(status), 1), "{args:?}: {error}");
        words.iter().for_each(|word| assert!(error.contains(word), "{args:?}: {error}"));
    };
    let proxy = ["--upstream", "socks5://127.0.0.1:9"];
    rejected(&proxy, 2, &["--tun", "lastack tun2socks [OPTIONS] --tun NAME --upstream WHERE"]);
    rejected(&["--tun", "tun0"], 2, &["--upstream"]);
    rejected(&["--tun", "tun0", "--upstream", "socks4://a:1"], 2, &["socks4://a:1", "socks5://"]);
    rejected(&[&proxy[..], &["--tun", "tun0", "--route", "10.0.0.1/8"]].concat(), 2, &["10.0.0.0/8"]);
    rejected(&[&proxy[..], &["--tun", "tun0", "--fwmark", "x"]].concat(), 2, &["7 or 0x7"]);
    rejected(&[&proxy[..], &["--tun", "a name/of an interface"]].concat(), 125, &["1 to 15"]);
    rejected(&["--tun", "tun0", "--upstream", "direct"], 125, &["--bind-interface", "--fwmark"]);
    rejected(
        &[&proxy[..], &["--tun", "tun0", "--bind-interface", "none0"]].concat(),
        125,
        &["no interface none0"],
    );
}

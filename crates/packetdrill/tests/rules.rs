//! Rules of the language that are easily got wrong: what counts, what is compared, what a script may count on.

use lastack_packetdrill::backend::{Backend, CommandError, Kernel, Lastack, Sent};
use lastack_packetdrill::call::{Call, Out, Outcome};
use lastack_packetdrill::run::{Report, Settings, Verdict, run_text};
use std::time::Duration;

/// A connection that the script accepts.
const ACCEPTED: &str = "+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
";

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn run(text: &str, command_line: &[(&str, &str)]) -> Verdict {
    run_text("x.pkt", text, &options(command_line), |settings| Ok(Lastack::new(settings))).verdict
}

#[track_caller]
fn fails(verdict: &Verdict, wanted: &str) {
    let Verdict::Failed(message) = verdict else { panic!("not failed: {verdict:?}") };
    assert!(message.contains(wanted), "{message}");
}

#[test]
fn the_command_line_wins_over_the_scripts_own_options() {
    let late = format!(
        "--tolerance_usecs=300000\n{ACCEPTED}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n+.1 > P. 1:11(10) ack 1\n"
    );
    assert_eq!(run(&late, &[]), Verdict::Passed);
    fails(&run(&late, &[("tolerance_usecs", "4000")]), "timing");
    // In both directions: a script's narrow tolerance is widened.
    let narrow = late.replace("300000", "10");
    fails(&run(&narrow, &[]), "timing");
    assert_eq!(run(&narrow, &[("tolerance_usecs", "300000")]), Verdict::Passed);
    let port = format!("--bind_port=81\n{}", ACCEPTED.replace("> S.", "> 82 > 40001: S."));
    assert_eq!(run(&port, &[("bind_port", "82")]), Verdict::Passed);
}

#[test]
fn the_set_up_helper_needs_no_interface_and_no_file() {
    let helper = format!("`../../no/such/folder/defaults.sh`\n{ACCEPTED}");
    assert_eq!(run(&helper, &[]), Verdict::Passed);
}

#[test]
fn psh_and_the_order_of_options_are_compared() {
    let swapped = ACCEPTED.replace(
        "> S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,",
        "> S. 0:0(0) ack 1 <nop,nop,sackOK,mss 1460,",
    );
    assert_ne!(swapped, ACCEPTED);
    fails(&run(&swapped, &[]), "options");
    let none = ACCEPTED.replace(" ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>", " ack 1");
    fails(&run(&none, &[]), "options");
    let push = format!("{ACCEPTED}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n");
    assert_eq!(run(&push, &[]), Verdict::Passed);
    fails(&run(&push.replace("> P. 1", "> . 1"), &[]), "flags");
}

/// lastack with its packets bent on the way out.
struct Bent {
    inside: Lastack,
    bend: fn(&mut Vec<u8>),
}

impl Backend for Bent {
    fn name(&self) -> &'static str {
        "bent"
    }

    fn start(&mut self) {
        self.inside.start();
    }

    fn now(&mut self) -> i64 {
        self.inside.now()
    }

    fn epoch(&mut self) -> Duration {
        self.inside.epoch()
    }

    fn sleep_until(&mut self, at: i64) {
        self.inside.sleep_until(at);
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.inside.inject(packet)
    }

    fn next_packet(&mut self, until: i64) -> Option<Sent> {
        let mut sent = self.inside.next_packet(until)?;
        // Only what carries data.
        if sent.packet.len() > 80 {
            (self.bend)(&mut sent.packet);
        }
        Some(sent)
    }

    fn patience(&self) -> i64 {
        self.inside.patience()
    }

    fn call(&mut self, call: &Call) -> Option<Outcome> {
        self.inside.call(call)
    }

    fn begin(&mut self, call: &Call) {
        self.inside.begin(call);
    }

    fn end(&mut self, until: i64) -> Option<(i64, Outcome)> {
        self.inside.end(until)
    }

    fn command(&mut self, text: &str) -> Result<(), CommandError> {
        self.inside.command(text)
    }
}

/// Byte `at` becomes another, and the TCP checksum stays right when another byte makes up for it.
fn bent(bend: fn(&mut Vec<u8>)) -> Verdict {
    let text = format!("{ACCEPTED}+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1\n");
    run_text("x.pkt", &text, &[], |settings| Ok(Bent { inside: Lastack::new(settings), bend })).verdict
}

#[test]
fn a_byte_that_was_not_written_and_a_wrong_checksum_are_seen() {
    assert_eq!(bent(|_| {}), Verdict::Passed);
    // Only the checksum shows it.
    fails(&bent(|packet| packet[36] ^= 0x10), "checksum");
    // Two words whose sum is that of two zeros: the checksum is right.
    fails(
        &bent(|packet| {
            packet[60..62].copy_from_slice(&[0x12, 0x34]);
            packet[70..72].copy_from_slice(&[0xed, 0xcb]);
        }),
        "a byte is not zero",
    );
}

#[test]
fn packets_that_nobody_asked_for_are_seen_at_the_end_if_that_is_wanted() {
    let tail = format!("{ACCEPTED}+0 write(4, ..., 10) = 10\n");
    assert_eq!(run(&tail, &[]), Verdict::Passed);
    fails(&run(&tail, &[("strict_tail", "")]), "is left");
}

#[test]
fn an_eighth_of_the_time_that_passed_is_allowed_unless_another_part_is_asked_for() {
    let late =
        format!("{ACCEPTED}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n+.28 > P. 1:11(10) ack 1\n");
    let exact = [("tolerance_usecs", "500"), ("tolerance_percent", "0")];
    assert_eq!(run(&late, &exact[..1]), Verdict::Passed);
    fails(&run(&late, &exact), "timing error");
    assert_eq!(run(&late.replace("+.28", "+.3"), &exact), Verdict::Passed);
    assert!(matches!(run(&late, &[("tolerance_percent", "-1")]), Verdict::Broken(_)));
}

#[test]
fn addresses_of_the_other_family_are_a_reason_to_leave_a_script_out() {
    let text = format!("--local_ip=192.168.7.1\n--remote_ip=192.0.2.7\n{ACCEPTED}");
    assert_eq!(run(&text, &[]), Verdict::Passed);
    assert_eq!(run(&text, &[("ip_version", "ipv4-mapped-ipv6")]), Verdict::Passed);
    let verdict = run(&text, &[("ip_version", "ipv6")]);
    let Verdict::Skipped(message) = verdict else { panic!("{verdict:?}") };
    assert!(message.contains("192.168.7.1") && message.contains("ipv6"), "{message}");
}

#[test]
fn the_kernels_congestion_control_is_never_one_that_paces() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1"),
            "this test needs root for a network namespace; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
        );
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    // The namespace belongs to a thread.
    let name = std::thread::spawn(|| {
        let settings = Settings::new(&[], &[]).expect("settings");
        let mut kernel = Kernel::open(&settings).expect("a namespace");
        let socket = Call::Socket { domain: libc::AF_INET, kind: libc::SOCK_STREAM, protocol: 0 };
        let fd = kernel.call(&socket).expect("it does not sleep").result as i32;
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
        match kernel
            .call(&Call::GetSockOpt { fd, level, name, len: 16, null: false })
            .expect("nor does this")
            .out
        {
            Out::Value(value) => String::from_utf8_lossy(&value).trim_end_matches('\0').to_owned(),
            other => panic!("{other:?}"),
        }
    });
    let name = name.join().expect("the thread");
    assert!(["cubic", "reno"].contains(&name.as_str()), "{name}");
}

#[test]
fn a_script_for_a_bound_socket_passes_whatever_comes_first() {
    // The peer speaks before there is a socket at all, and to one that is only bound.
    let text = "+0 < S 0:0(0) win 1000\n+0 > R. 0:0(0) ack 1\n\
                +0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n\
                +0 < S 0:0(0) win 1000\n+0 > R. 0:0(0) ack 1\n";
    let report: Report = run_text("x.pkt", text, &[], |settings| Ok(Lastack::new(settings)));
    assert_eq!(report.verdict, Verdict::Passed);
}

//! Accurate ECN (RFC 9768) as scripts, against lastack and against the running kernel. Linux 6.18 has it, but its `tcp_ecn`
//! does not go beyond 2: nothing asks for it. A connection that asks for ECN of RFC 3168 goes over to it all the same when the
//! SYN-ACK is one of Accurate ECN, so that is how the kernel is asked: with another SYN, and the same from there on. It needs
//! root; `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

mod common;

use common::scripts::{Folder, check, kernel_can_be_asked};
use lastack_packetdrill::suite::Target;
use std::path::Path;

const SCRIPTS: Folder = Folder {
    path: "tests/accurate_ecn",
    least: 6,
    // What lastack knows better.
    for_kernel: |script| script != Path::new("round-with-option.pkt"),
    kernel_text: |text| text.replace("tcp_ecn=3", "tcp_ecn=1").replace("SEWA 0:0", "SEW 0:0"),
};

#[test]
fn accurate_ecn_in_lastack() {
    for version in ["ipv4", "ipv6", "ipv4-mapped-ipv6"] {
        check(&SCRIPTS.jobs(Target::Lastack, version, "4000"), 8, 0);
    }
}

#[test]
fn accurate_ecn_in_the_kernel() {
    if !kernel_can_be_asked() {
        return;
    }
    let has_it = Path::new("/proc/sys/net/ipv4/tcp_ecn_option").exists();
    assert!(has_it, "this test needs Linux 6.18 or later, which has Accurate ECN");
    for version in ["ipv4", "ipv6"] {
        check(&SCRIPTS.jobs(Target::Kernel, version, "250000"), 8, 2);
    }
}

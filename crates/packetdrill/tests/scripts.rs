//! Every script in `tests/packetdrill` passes against lastack, over IPv4, IPv6 and with mapped addresses, and against the
//! running kernel: where the two differ, this fails. The kernel needs root; `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

mod common;

use common::scripts::{Folder, check, kernel_can_be_asked};
use lastack_packetdrill::suite::{Target, run_all};

const SCRIPTS: Folder = Folder {
    path: "../../tests/packetdrill",
    least: 80,
    // Minutes of real time; docs/long-run.md has what the kernel did.
    for_kernel: |script| !script.starts_with("long"),
    kernel_text: |text| text,
};

#[test]
fn every_script_in_lastack() {
    for version in ["ipv4", "ipv6", "ipv4-mapped-ipv6"] {
        check(&SCRIPTS.jobs(Target::Lastack, version, "4000"), 2, 0);
    }
}

#[test]
fn every_script_in_the_kernel() {
    if kernel_can_be_asked() {
        // A kernel's timers are late by up to an eighth each, and the machine may be busy: what is asked here is the order
        // of things.
        let both = ["ipv4", "ipv6"].map(|version| SCRIPTS.jobs(Target::Kernel, version, "250000"));
        check(&both.concat(), 48, 3);
    }
}

#[test]
fn the_same_script_gives_the_same_run_each_time() {
    let jobs = SCRIPTS.jobs(Target::Lastack, "ipv4", "0");
    let all = || {
        let mut verdicts = Vec::new();
        run_all(&jobs, 2, |_, report| verdicts.push(report));
        verdicts
    };
    assert_eq!(all(), all());
}

//! Accurate ECN (RFC 9768) as scripts, against lastack and against the running kernel. Linux 6.18 has it, but its `tcp_ecn`
//! does not go beyond 2: nothing asks for it. A connection that asks for ECN of RFC 3168 goes over to it all the same when the
//! SYN-ACK is one of Accurate ECN, so that is how the kernel is asked: with another SYN, and the same from there on.

use lastack_packetdrill::run::Verdict;
use lastack_packetdrill::suite::{Job, Target, find, run_patiently};
use std::fs;
use std::path::Path;

/// What lastack knows better.
const NOT_IN_LINUX: [&str; 1] = ["round-with-option.pkt"];

fn jobs(target: Target, version: &str, tolerance: &str) -> Vec<Job> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accurate_ecn");
    let options = [("ip_version", version), ("tolerance_usecs", tolerance), ("strict_tail", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let scripts = find(&[folder]).expect("the folder of scripts");
    let known = |name: &str| target == Target::Lastack || !NOT_IN_LINUX.contains(&name);
    let job = |path: &Path| {
        let name = path.file_name()?.to_str().filter(|name| known(name))?;
        let mut text = fs::read_to_string(path).expect("the script can be read");
        if target == Target::Kernel {
            text = text.replace("tcp_ecn=3", "tcp_ecn=1").replace("SEWA 0:0", "SEW 0:0");
        }
        let name = format!("{name} ({version}, {})", target.name());
        Some(Job { name, text, target, options: options.to_vec() })
    };
    let found: Vec<Job> = scripts.iter().filter_map(|path| job(path)).collect();
    assert!(found.len() >= 6, "only {} scripts", found.len());
    found
}

fn check(jobs: &[Job], again: usize) {
    let mut wrong = Vec::new();
    run_patiently(jobs, 8, again, |job, report| {
        if let Verdict::Failed(why) | Verdict::Skipped(why) | Verdict::Broken(why) = report.verdict {
            wrong.push(format!("{}: {why}", job.name));
        }
    });
    assert!(wrong.is_empty(), "{} of {} scripts:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

#[test]
fn accurate_ecn_in_lastack() {
    for version in ["ipv4", "ipv6", "ipv4-mapped-ipv6"] {
        check(&jobs(Target::Lastack, version, "4000"), 0);
    }
}

#[test]
fn accurate_ecn_in_the_kernel() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1"),
            "this test needs root for network namespaces; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
        );
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    let has_it = Path::new("/proc/sys/net/ipv4/tcp_ecn_option").exists();
    assert!(has_it, "this test needs Linux 6.18 or later, which has Accurate ECN");
    for version in ["ipv4", "ipv6"] {
        check(&jobs(Target::Kernel, version, "250000"), 2);
    }
}

//! Every script in `tests/packetdrill` passes against lastack, over IPv4, IPv6 and with mapped addresses, and against the
//! running kernel: where the two differ, this fails.

use lastack_packetdrill::run::Verdict;
use lastack_packetdrill::suite::{Job, Target, find, run_all, run_patiently};
use std::fs;
use std::path::{Path, PathBuf};

fn jobs(target: Target, version: &str, tolerance: &str) -> Vec<Job> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/packetdrill");
    let options = [("ip_version", version), ("tolerance_usecs", tolerance), ("strict_tail", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let job = |path: PathBuf| {
        let name = path.strip_prefix(&folder).unwrap_or(&path).display();
        let text = fs::read_to_string(&path).expect("the script can be read");
        // A script that names an IP version is for that one alone.
        let named = text.lines().find_map(|line| line.strip_prefix("--ip_version="));
        let name = format!("{name} ({version}, {})", target.name());
        named.is_none_or(|named| named == version).then(|| Job {
            name,
            text,
            target,
            options: options.to_vec(),
        })
    };
    // Minutes of real time; docs/long-run.md has what the kernel did.
    let in_time = |path: &PathBuf| target == Target::Lastack || !path.starts_with(folder.join("long"));
    let found = find(std::slice::from_ref(&folder)).expect("the folder of scripts");
    let found: Vec<_> = found.into_iter().filter(in_time).filter_map(job).collect();
    assert!(found.len() >= 80, "only {} scripts", found.len());
    found
}

fn check(jobs: &[Job], at_once: usize, again: usize) {
    let mut wrong = Vec::new();
    run_patiently(jobs, at_once, again, |job, report| match report.verdict {
        Verdict::Passed => {}
        // Nothing of ours may be left out.
        Verdict::Failed(message) | Verdict::Skipped(message) | Verdict::Broken(message) => {
            wrong.push(format!("{}: {message}", job.name));
        }
    });
    assert!(wrong.is_empty(), "{} of {} scripts:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

#[test]
fn every_script_in_lastack() {
    for version in ["ipv4", "ipv6", "ipv4-mapped-ipv6"] {
        check(&jobs(Target::Lastack, version, "4000"), 2, 0);
    }
}

#[test]
fn every_script_in_the_kernel() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1"),
            "this test needs root for network namespaces; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
        );
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return;
    }
    // A kernel's timers are late by up to an eighth each, and the machine may be busy: what is asked here is the order of things.
    let both = ["ipv4", "ipv6"].map(|version| jobs(Target::Kernel, version, "250000"));
    check(&both.concat(), 48, 3);
}

#[test]
fn the_same_script_gives_the_same_run_each_time() {
    let jobs = jobs(Target::Lastack, "ipv4", "0");
    let all = || {
        let mut verdicts = Vec::new();
        run_all(&jobs, 2, |_, report| verdicts.push(report));
        verdicts
    };
    assert_eq!(all(), all());
}

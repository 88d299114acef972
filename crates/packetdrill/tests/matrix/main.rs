//! The matrix of states and segments, read from `tests/packetdrill/matrix/`: one script per cell, which lastack and the
//! running kernel both have to pass.
//!
//! `LASTACK_SCRIPTS=FOLDER` writes the scripts there as well.

mod table;
mod timers;

use lastack_packetdrill::run::Verdict;
use lastack_packetdrill::suite::{Job, Target, run_patiently};

const SEGMENTS: &str = include_str!("../../../../tests/packetdrill/matrix/segments.txt");
const STAMPS: &str = include_str!("../../../../tests/packetdrill/matrix/stamps.txt");
const ICMP: &str = include_str!("../../../../tests/packetdrill/matrix/icmp.txt");
const KILLED: &str = include_str!("../../../../tests/packetdrill/matrix/killed.txt");
const TIMERS: &str = include_str!("../../../../tests/packetdrill/matrix/timers.txt");
const CALLS: &str = include_str!("../../../../tests/packetdrill/matrix/calls.txt");

fn cells() -> Vec<table::Cell> {
    let cells = [SEGMENTS, STAMPS, ICMP, CALLS, KILLED].into_iter().flat_map(table::cells);
    cells.chain(timers::cells(TIMERS)).collect()
}

fn time_wait_cells() -> Vec<table::Cell> {
    [SEGMENTS, STAMPS].into_iter().flat_map(table::time_wait_cells).collect()
}

/// The script in the words that an IP version has for ICMP.
fn in_words_of(version: &str, script: &str) -> String {
    let v6 = version == "ipv6";
    let word = |four, six| if v6 { six } else { four };
    script
        .replace("NO_HOST", word("host_unreachable", "address_unreachable"))
        .replace("TOO_BIG", word("unreachable frag_needed", "packet_too_big"))
        .replace("MSS_OF_1280", word("1240", "1220"))
}

fn jobs(cells: &[table::Cell], target: Target, versions: &[&str], tolerance: &str) -> Vec<Job> {
    let options = |version: &str| {
        let exact = if target == Target::Lastack { "0" } else { "12.5" };
        let given = [("ip_version", version), ("strict_tail", ""), ("tolerance_percent", exact)];
        let all = given.into_iter().chain([("tolerance_usecs", tolerance)]);
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let job = |cell: &table::Cell, version: &str| Job {
        name: format!("{} ({version})", cell.name),
        text: timers::timed(&in_words_of(version, &cell.script), target),
        target,
        options: options(version),
    };
    // Mapped addresses have IPv4's packets.
    let family = |version: &str| if version == "ipv6" { "ipv6" } else { "ipv4" };
    let all = cells.iter().flat_map(|cell| versions.iter().map(move |version| (cell, *version)));
    all.filter(|(cell, _)| target == Target::Lastack || !cell.lastack_alone)
        .filter(|(cell, version)| cell.version.is_none_or(|only| only == family(version)))
        .map(|(cell, version)| job(cell, version))
        .collect()
}

fn check(jobs: &[Job], at_once: usize, again: usize) {
    let mut wrong = Vec::new();
    run_patiently(jobs, at_once, again, |job, report| {
        if report.verdict != Verdict::Passed {
            wrong.push(format!("{}: {:?}", job.name, report.verdict).replace("\\n", "\n  "));
        }
    });
    println!("{} cells", jobs.len());
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

#[test]
fn every_cell_in_lastack() {
    if let Some(folder) = std::env::var_os("LASTACK_SCRIPTS") {
        for cell in cells() {
            let name = cell.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let path = std::path::Path::new(&folder).join(format!("{name}.pkt"));
            let text = timers::timed(&in_words_of("ipv4", &cell.script), Target::Lastack);
            std::fs::write(path, text).expect("the script is written");
        }
    }
    let cells = cells();
    assert!(cells.len() > 700, "only {} cells", cells.len());
    check(&jobs(&cells, Target::Lastack, &["ipv4", "ipv6", "ipv4-mapped-ipv6"], "500"), 2, 0);
}

#[test]
fn every_cell_in_the_kernel() {
    if root::left_out() {
        return;
    }
    // Timings are not what these cells are about, and the machine may be busy.
    check(&jobs(&cells(), Target::Kernel, &["ipv4", "ipv6"], "150000"), 16, 3);
}

#[test]
fn what_restarts_time_wait_in_lastack() {
    let cells = time_wait_cells();
    assert!(cells.len() > 40, "only {} cells", cells.len());
    check(&jobs(&cells, Target::Lastack, &["ipv4", "ipv6", "ipv4-mapped-ipv6"], "500"), 2, 0);
}

/// Takes a little more than a minute: TIME_WAIT's 60 s are a constant of Linux. The cells wait side by side.
#[test]
fn what_restarts_time_wait_in_the_kernel() {
    if root::left_out() {
        return;
    }
    let cells = time_wait_cells();
    check(&jobs(&cells, Target::Kernel, &["ipv4"], "150000"), cells.len(), 1);
}

mod root {
    /// Without root the kernel cannot be asked; in continuous integration that is a failure.
    pub(crate) fn left_out() -> bool {
        if nix::unistd::geteuid().is_root() {
            return false;
        }
        assert!(
            std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1"),
            "this test needs root for network namespaces; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
        );
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        true
    }
}

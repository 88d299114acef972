//! The plug-in as packetdrill sees it: a host in C loads it and calls through its table, one run for each rule of the
//! interface. Needs a C compiler and root (locked memory, a network namespace); `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

/// The plug-in and the host, built once.
static BUILT: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
    let library = build_library();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/host.c");
    let host = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugin-host");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(compiler)
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o"])
        .arg(&host)
        .args([source, "-ldl"])
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (library, host)
});

/// Cargo builds no cdylib for a test by itself.
fn build_library() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--package", "lastack-packetdrill-plugin"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text
        .split('"')
        .find(|word| word.ends_with("/liblastack_packetdrill.so"))
        .unwrap_or_else(|| panic!("no library in what cargo says:\n{text}"));
    PathBuf::from(path)
}

/// What the host says; `None` if the test is left out.
fn run(test: &str, preload: bool) -> Option<Output> {
    if std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1") {
        eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
        return None;
    }
    let (library, host) = &*BUILT;
    let mut command = Command::new(host);
    command.arg(library).arg(test);
    if preload {
        command.env("LD_PRELOAD", library);
    }
    Some(command.output().expect("the host runs"))
}

#[track_caller]
fn holds(test: &str) {
    let Some(output) = run(test, false) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_server_works_in_ipv4_ipv6_and_mapped() {
    holds("families");
}

#[test]
fn a_client_has_linuxs_options_in_linuxs_order() {
    holds("connect");
}

#[test]
fn a_client_opens_with_text_on_the_syn_as_the_namespace_lets_it() {
    holds("fast_open");
}

#[test]
fn descriptors_are_the_kernels_and_none_is_closed_twice_or_leaked() {
    holds("descriptors");
}

#[test]
fn outputs_filled_with_the_expectation_are_overwritten() {
    holds("prefilled");
}

#[test]
fn without_a_packet_an_empty_one_comes_back_at_once() {
    holds("silence");
}

#[test]
fn the_clock_creeps_jumps_and_stamps_packets_with_their_own_time() {
    holds("clock");
}

#[test]
fn a_blocked_call_sleeps_and_the_clock_waits_for_it() {
    holds("blocking");
}

#[test]
fn arguments_are_read_as_packetdrill_gives_them() {
    holds("arguments");
}

#[test]
fn every_destination_is_local() {
    holds("closed");
}

#[test]
fn preloaded_getsockopt_asks_the_stack_and_passes_others_on() {
    let Some(output) = run("preload", true) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn settings_of_the_namespace_are_read_when_a_socket_is_made() {
    holds("sysctl");
}

#[test]
fn the_wall_clock_runs_timers_in_a_thread() {
    holds("real");
}

#[test]
fn a_run_locks_little_memory() {
    holds("memory");
}

#[test]
fn no_thread_spins() {
    holds("threads");
}

#[test]
fn the_start_up_spin_moves_the_clock_by_its_looks() {
    holds("startup");
}

#[test]
fn congestion_control_is_the_namespaces_where_there_is_such_and_any_may_be_chosen() {
    holds("congestion");
}

#[test]
fn timers_do_not_have_the_machines_tick() {
    holds("tick");
}

#[test]
fn a_packet_without_addresses_is_dropped() {
    holds("nowhere");
}

#[test]
fn no_interface_is_needed() {
    holds("bare");
}

#[test]
fn an_unknown_flag_is_named_and_ends_the_process() {
    let Some(output) = run("flags", false) else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("\"colour\" is unknown") && told.lines().count() == 1, "{told}");
}

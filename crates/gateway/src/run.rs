//! `lastack run`: a program whose whole network is lastack.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lastack_device::Device;
use lastack_device::capture::{Capture, PcapngWriter, SharedWriter};
use lastack_device::clock;
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::addresses::AddressMap;
use crate::gateway::Gateway;
use crate::hosts;
use crate::namespace::{self, INTERFACE, Inside, missing};
use crate::options::{GatewayOptions, Limits, MTU_RANGE, RunOptions, SummaryFormat};
use crate::program::{Launcher, Program, STATUS_FAILED, Signals};
use crate::publish::Listening;
use crate::resolv;
use crate::summary::Report;
use crate::trace::say;

/// Descriptors that lastack and its libraries use beside those of connections and flows.
const RESERVED_FILES: u64 = 64;
/// Worker threads of the runtime that moves bytes, at the most.
const MAX_WORKERS: usize = 4;

type CaptureFile = SharedWriter<BufWriter<File>>;

/// Runs a program in a network namespace of its own, and carries its connections on over sockets of this process.
///
/// Returns the program's exit status; 128 + n if signal n ended it; 127 if it was not found, 126 if it could not be
/// executed, 125 if lastack itself failed; with one line on standard error for each of these three. Needs
/// `/dev/net/tun`, and root or user namespaces. Has to be called while the process has one thread.
///
/// For the main thread of a process that does nothing else: it blocks signals, sets `SIGCHLD` to its default and raises
/// the soft limit of open files, none of which the program sees. Blocks until the program has ended and what it has
/// sent is passed on ([`Limits::drain`]).
pub fn run(options: RunOptions) -> i32 {
    match run_program(options) {
        Ok(status) => status,
        Err(message) => {
            say(message);
            STATUS_FAILED
        }
    }
}

fn run_program(options: RunOptions) -> Result<i32, String> {
    check(&options)?;
    missing::check_tun()?;
    let capture = open_capture(&options)?;
    let fail = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    let open_files = raise_open_files().map_err(|error| fail("read the limit of open files", error))?;
    let signals = Signals::hold().map_err(|error| fail("block signals", error))?;
    let before = signals.before();
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut ports = Vec::new();
    for publish in &options.publish {
        ports.extend(publish.bind()?);
    }
    let network = namespace::network(options.mtu);
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let inside = Inside {
        network,
        mtu: options.mtu,
        resolv_conf: resolv::inside(&resolv_conf),
        hosts: hosts::inside(&hosts, options.host_loopback.then_some(&network)),
    };
    let program = Program { name: options.program, args: options.args, mask: before, open_files };
    let (launcher, tun) = Launcher::new(&inside, program)?;

    let device: Box<dyn Device + Send> = match &capture {
        Some(writer) => Box::new(Capture::new(tun, Arc::clone(writer), clock::wall())),
        None => Box::new(tun),
    };
    let gateway_options = GatewayOptions {
        addresses: AddressMap {
            network,
            host_loopback: options.host_loopback,
            name_server: Some(resolv::first_name_server(&resolv_conf, |name| if_nametoindex(name).ok())),
        },
        limits: fit(options.limits, open_files.1),
        trace: options.trace,
        records: options.summary.is_some(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let gateway =
        start(device, gateway_options, ports, stopped).map_err(|error| fail("start the gateway", error))?;

    let ended = launcher.run(&signals);
    // From here on a signal ends lastack too.
    before.thread_set_mask().map_err(|error| fail("restore the signal mask", error.into()))?;
    // If the gateway is gone already, joining it says why.
    let _ = stop.send(());
    let report = gateway.join().unwrap_or_else(|_| Err(io::Error::other("the gateway panicked")));
    // Whatever the program has left running ends now.
    drop(launcher);
    let flushed =
        capture.map_or(Ok(()), |writer| writer.lock().unwrap_or_else(PoisonError::into_inner).flush());
    // The status stays the program's: it ran.
    if let Err(error) = flushed {
        say(fail("write the capture to its end", error));
    }
    match report {
        Ok(report) => summarize(options.summary, &report),
        Err(error) => say(fail("carry the program's connections", error)),
    }
    Ok(ended.unwrap_or_else(|error| {
        say(&error);
        error.status()
    }))
}

fn check(options: &RunOptions) -> Result<(), String> {
    if !MTU_RANGE.contains(&options.mtu) {
        let (min, max) = (MTU_RANGE.start(), MTU_RANGE.end());
        return Err(format!("MTU {} is out of range; use {min} to {max} bytes", options.mtu));
    }
    if options.program.is_empty() {
        return Err("no program given; use: lastack run [OPTIONS] -- PROGRAM ARGS...".to_owned());
    }
    Ok(())
}

fn open_capture(options: &RunOptions) -> Result<Option<CaptureFile>, String> {
    let Some(path) = &options.capture else { return Ok(None) };
    let writer = File::create(path).and_then(|file| PcapngWriter::new(BufWriter::new(file), INTERFACE));
    match writer {
        Ok(writer) => Ok(Some(Arc::new(Mutex::new(writer)))),
        Err(error) => Err(format!("cannot write the capture to {}: {error}", path.display())),
    }
}

/// Lets this process open as many files as it may; returns the limits before.
fn raise_open_files() -> io::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok((soft, hard))
}

/// Bounds that this many open files allow: three quarters of them for TCP at the most, the rest for UDP.
fn fit(mut limits: Limits, files: u64) -> Limits {
    let files = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    limits.max_udp_flows = limits.max_udp_flows.min(files / 4).max(1);
    limits.max_connections = limits.max_connections.min(files / 4 * 3).max(1);
    limits
}

/// Half of the processors: the stack has a thread of its own, and the program wants to run too.
fn workers() -> usize {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(1, MAX_WORKERS)
}

/// Starts the gateway on a thread of its own, with a runtime of its own.
fn start(
    device: Box<dyn Device + Send>,
    options: GatewayOptions,
    ports: Vec<Listening>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<thread::JoinHandle<io::Result<Report>>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .thread_name("lastack-relay")
        .enable_all()
        .build()?;
    let mut gateway = Gateway::new(device, options)?;
    ports.into_iter().for_each(|port| gateway.publish(port));
    thread::Builder::new().name("lastack-run".to_owned()).spawn(move || {
        runtime.block_on(gateway.run(async {
            // The sender gone means the same.
            let _ = stopped.await;
        }))
    })
}

fn summarize(format: Option<SummaryFormat>, report: &Report) {
    match format {
        None => {}
        Some(SummaryFormat::Text) => say(report),
        Some(SummaryFormat::Json) => eprintln!("{}", report.to_json()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_the_open_files() {
        let limits = fit(Limits::default(), 1024);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (720, 240));
        let limits = fit(Limits::default(), 1 << 20);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (16_384, 1024));
        let limits = fit(Limits::default(), 0);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (1, 1));
    }

    #[test]
    fn mtu_out_of_range_is_an_error_that_names_the_range() {
        let mut options = RunOptions::new("true", [""; 0]);
        options.mtu = 500;
        assert_eq!(check(&options), Err("MTU 500 is out of range; use 576 to 65535 bytes".to_owned()));
    }
}

//! `lastack run`: a program whose whole network is lastack.

use std::fs;
use std::io;

use nix::net::if_::if_nametoindex;

use crate::addresses::AddressMap;
use crate::faults::FaultRule;
use crate::hosts;
use crate::namespace::{self, INTERFACE, Inside, missing};
use crate::options::{GatewayOptions, RunOptions};
use crate::outgoing::Outgoing;
use crate::program::{Launcher, Program, STATUS_FAILED, Signals};
use crate::resolv;
use crate::session::{Inlets, Session, check_mtu, fit, open_capture, raise_open_files};
use crate::trace::say;

/// Exit status when a rule never took effect and [`RunOptions::strict_faults`] is set, whatever the program's was.
pub const STATUS_UNUSED_FAULT: i32 = 124;

/// Runs a program in a network namespace of its own, and carries its connections on over sockets of this process.
///
/// Returns the program's exit status; 128 + n if signal n ended it; 127 if it was not found, 126 if it could not be
/// executed, 125 if lastack itself failed; with one line on standard error for each of these three. Needs
/// `/dev/net/tun`, and root or user namespaces. Has to be called while the process has one thread.
///
/// For the main thread of a process that does nothing else: it blocks signals, sets `SIGCHLD` to its default and raises
/// the soft limit of open files, none of which the program sees. Blocks until the program has ended and what it has
/// sent is passed on ([`Limits::drain`](crate::Limits::drain)).
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
    check_mtu(options.mtu)?;
    if options.program.is_empty() {
        return Err("no program given; use: lastack run [OPTIONS] -- PROGRAM ARGS...".to_owned());
    }
    missing::check_tun()?;
    let fail = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    let open_files = raise_open_files()?;
    let signals = Signals::hold().map_err(|error| fail("block signals", error))?;
    let before = signals.before();
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
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
    // Files from here on are this process's alone.
    let capture = open_capture(options.capture.as_deref(), INTERFACE)?;
    let mut ports = Vec::new();
    for publish in &options.publish {
        ports.extend(publish.bind()?);
    }
    let faults = options.faults.clone();
    let gateway_options = GatewayOptions {
        addresses: AddressMap {
            network,
            host_loopback: options.host_loopback,
            name_server: Some(resolv::first_name_server(&resolv_conf, |name| if_nametoindex(name).ok())),
        },
        limits: fit(options.limits, open_files.1),
        trace: options.trace,
        records: options.summary.is_some(),
        upstream: options.upstream,
        outgoing: Outgoing::default(),
        faults: options.faults,
        seed: options.seed,
        impairment: options.impairment,
        namespace: launcher.namespace(),
        notes: None,
    };
    let inlets = Inlets { ports, api: None };
    let session = Session::start(tun, capture, gateway_options, inlets, options.summary, None)
        .map_err(|error| fail("start the gateway", error))?;

    let ended = launcher.run(&signals);
    // From here on a signal ends lastack too.
    before.thread_set_mask().map_err(|error| fail("restore the signal mask", error.into()))?;
    // The status stays the program's: it ran.
    if let Err(error) = session.stop() {
        say(fail("carry the program's connections", error));
    }
    // Whatever the program has left running ends now.
    drop(launcher);
    let unused = unused(&faults);
    match ended {
        Ok(_) if unused && options.strict_faults => Ok(STATUS_UNUSED_FAULT),
        Ok(status) => Ok(status),
        Err(error) => {
            say(&error);
            Ok(error.status())
        }
    }
}

/// Whether a rule never took effect; says which.
fn unused(faults: &[FaultRule]) -> bool {
    let unused = faults.iter().filter(|rule| rule.fired() == 0);
    unused.map(|rule| say(format_args!("the fault '{rule}' never took effect"))).count() > 0
}

//! `lastack run`: hands the program and the options to the gateway.

use crate::args::{Run, Summary};
use lastack_device::impair::Impairment;
use lastack_gateway::RunOptions;
use std::process::ExitCode;

/// Runs the program; the status is its own, or 125 to 127.
pub fn main(args: Run) -> ExitCode {
    let status = lastack_gateway::run(options(args));
    // An exit status has eight bits; the gateway promises no other.
    ExitCode::from(u8::try_from(status).unwrap_or(crate::RUN_FAILURE))
}

fn options(args: Run) -> RunOptions {
    // clap demands at least one word; an empty name would be a program that is not found.
    let mut words = args.command.into_iter();
    let program = words.next().unwrap_or_default();
    RunOptions {
        mtu: args.mtu,
        host_loopback: !args.no_host_loopback,
        publish: args.publish,
        trace: args.seeing.trace,
        capture: args.seeing.capture,
        summary: args.seeing.summary.map(Summary::format),
        limits: args.limits.limits(),
        upstream: args.upstream,
        faults: args.fault,
        strict_faults: args.strict_faults,
        seed: args.seed,
        impairment: Impairment {
            delay: args.delay,
            jitter: args.jitter,
            rate: args.rate,
            loss: args.loss,
            reorder: args.reorder,
            duplicate: args.duplicate,
            corrupt: args.corrupt,
            ..Impairment::default()
        },
        ..RunOptions::new(program, words)
    }
}

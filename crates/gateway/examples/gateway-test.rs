//! Runs a program through the library, for the tests and for trying things out: a small `lastack run`.
//!
//! `gateway-test [--mtu N] [--trace] [--summary] [--summary=json] [--capture FILE] [--no-host-loopback] [--publish PORT]
//! -- PROGRAM ARGS...`

use std::process::exit;

use lastack_gateway::{RunOptions, SummaryFormat, faults, run};

/// The value of an option.
fn value<T: std::str::FromStr<Err: std::fmt::Display>>(text: Option<std::ffi::OsString>) -> T {
    text.unwrap_or_default().to_string_lossy().parse().unwrap_or_else(|error| {
        eprintln!("{error}");
        exit(2);
    })
}

fn time(text: Option<std::ffi::OsString>) -> std::time::Duration {
    faults::duration(&text.unwrap_or_default().to_string_lossy()).unwrap_or_else(|error| {
        eprintln!("{error}");
        exit(2);
    })
}

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mut options = RunOptions::new("", [""; 0]);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--") => break,
            Some("--mtu") => {
                options.mtu = args.next().and_then(|mtu| mtu.to_str()?.parse().ok()).unwrap_or(0);
            }
            Some("--trace") => options.trace = true,
            Some("--summary") => options.summary = Some(SummaryFormat::Text),
            Some("--summary=json") => options.summary = Some(SummaryFormat::Json),
            Some("--capture") => options.capture = args.next().map(Into::into),
            Some("--publish") => {
                let port = args.next().unwrap_or_default();
                match port.to_string_lossy().parse() {
                    Ok(port) => options.publish.push(port),
                    Err(error) => {
                        eprintln!("{error}");
                        exit(2);
                    }
                }
            }
            Some("--fault") => options.faults.push(value(args.next())),
            Some("--strict-faults") => options.strict_faults = true,
            Some("--seed") => options.seed = value(args.next()),
            Some("--upstream") => options.upstream = value(args.next()),
            Some("--loss") => options.impairment.loss = value(args.next()),
            Some("--dns-idle") => options.limits.dns_idle = time(args.next()),
            Some("--udp-idle") => options.limits.udp_idle = time(args.next()),
            Some("--max-connections") => options.limits.max_connections = value(args.next()),
            Some("--max-per-destination") => options.limits.max_per_destination = value(args.next()),
            Some("--max-udp-flows") => options.limits.max_udp_flows = value(args.next()),
            Some("--no-host-loopback") => options.host_loopback = false,
            _ => {
                eprintln!("unknown option {}", arg.display());
                exit(2);
            }
        }
    }
    options.program = args.next().unwrap_or_default();
    options.args = args.collect();
    exit(run(options));
}

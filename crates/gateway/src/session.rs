//! A gateway on a thread of its own, over an interface of a namespace, with what is to be seen of it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use lastack_device::Device;
use lastack_device::capture::{Capture, PcapngWriter, SharedWriter};
use lastack_device::clock;
use lastack_device::tun::Tun;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::api::Api;
use crate::gateway::Gateway;
use crate::options::{GatewayOptions, Limits, MTU_RANGE, SummaryFormat};
use crate::publish::Listening;
use crate::seeing::Notes;
use crate::summary::Report;
use crate::trace::say;

/// Descriptors that lastack and its libraries use beside those of connections and flows.
const RESERVED_FILES: u64 = 64;
/// Worker threads of the runtime that moves bytes, at the most.
const MAX_WORKERS: usize = 4;

pub(crate) type CaptureFile = SharedWriter<BufWriter<File>>;

/// Opens the file for packets of the interface of this name.
pub(crate) fn open_capture(path: Option<&Path>, interface: &str) -> Result<Option<CaptureFile>, String> {
    let Some(path) = path else { return Ok(None) };
    let writer = File::create(path).and_then(|file| PcapngWriter::new(BufWriter::new(file), interface));
    match writer {
        Ok(writer) => Ok(Some(Arc::new(Mutex::new(writer)))),
        Err(error) => Err(format!("cannot write the capture to {}: {error}", path.display())),
    }
}

/// Longest name of an interface, in bytes.
const LONGEST_NAME: usize = 15;

/// Whether an interface can have this name.
pub(crate) fn check_interface(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(['/', ' ', ':', '%']) {
        return Ok(());
    }
    Err(format!("'{name}' is no name for an interface; use 1 to {LONGEST_NAME} letters and digits"))
}

/// Whether an interface can have this MTU.
pub(crate) fn check_mtu(mtu: u16) -> Result<(), String> {
    let (min, max) = (MTU_RANGE.start(), MTU_RANGE.end());
    if MTU_RANGE.contains(&mtu) {
        return Ok(());
    }
    Err(format!("MTU {mtu} is out of range; use {min} to {max} bytes"))
}

/// Lets this process open as many files as it may; returns the limits before.
pub(crate) fn raise_open_files() -> Result<(u64, u64), String> {
    let raise = || {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok((soft, hard))
    };
    raise().map_err(|error: nix::Error| format!("cannot read the limit of open files: {error}"))
}

/// Bounds that this many open files allow: three quarters of them for TCP at the most, the rest for UDP, where a flow through
/// a proxy has two.
pub(crate) fn fit(mut limits: Limits, files: u64) -> Limits {
    let files = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    let asked = limits.max_connections;
    limits.max_udp_flows = limits.max_udp_flows.min(files / 8).max(1);
    limits.max_connections = asked.min(files / 4 * 3).max(1);
    // What nobody asked for need not be said.
    if limits.max_connections < asked && asked != Limits::default().max_connections {
        say(format_args!(
            "limit max_connections is {} and not {asked}: no more files may be open; 'ulimit -n' raises that",
            limits.max_connections
        ));
    }
    limits
}

/// Half of the processors: the stack has a thread of its own, and the program wants to run too.
fn workers() -> usize {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(1, MAX_WORKERS)
}

/// Lines about connections, between the packets of a capture.
fn notes(capture: CaptureFile) -> Notes {
    let clock = clock::wall();
    Notes::new(move |line| {
        let mut writer = capture.lock().unwrap_or_else(PoisonError::into_inner);
        let time = u64::try_from(clock().as_nanos()).unwrap_or(u64::MAX);
        // A disk that is full ends the capture, as it does with packets.
        let _ = writer.note(time, "lastack", line);
    })
}

/// What leads inside.
#[derive(Debug, Default)]
pub(crate) struct Inlets {
    pub(crate) ports: Vec<Listening>,
    pub(crate) api: Option<Api>,
}

/// A running gateway.
pub(crate) struct Session {
    gateway: JoinHandle<io::Result<Report>>,
    stop: oneshot::Sender<()>,
    capture: Option<CaptureFile>,
    summary: Option<SummaryFormat>,
}

impl Session {
    /// Starts a gateway over `tun`. `alive` is closed when it ends, whatever ends it.
    pub(crate) fn start(
        tun: Tun,
        capture: Option<CaptureFile>,
        mut options: GatewayOptions,
        inlets: Inlets,
        summary: Option<SummaryFormat>,
        alive: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let device: Box<dyn Device + Send> = match &capture {
            Some(writer) => Box::new(Capture::new(tun, Arc::clone(writer), clock::wall())),
            None => Box::new(tun),
        };
        options.notes = capture.clone().map(notes);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers())
            .thread_name("lastack-relay")
            .enable_all()
            .build()?;
        let mut gateway = Gateway::new(device, options)?;
        inlets.ports.into_iter().for_each(|port| gateway.publish(port));
        inlets.api.into_iter().for_each(|api| gateway.serve_api(api));
        let (stop, stopped) = oneshot::channel::<()>();
        let gateway = thread::Builder::new().name("lastack-run".to_owned()).spawn(move || {
            let report = runtime.block_on(gateway.run(async {
                // The sender gone means the same.
                let _ = stopped.await;
            }));
            drop(alive);
            report
        })?;
        Ok(Self { gateway, stop, capture, summary })
    }

    /// Stops the gateway, once what was sent is passed on, and prints the summary.
    ///
    /// # Errors
    /// Why the gateway had ended by itself.
    pub(crate) fn stop(self) -> io::Result<()> {
        // If the gateway is gone already, joining it says why.
        let _ = self.stop.send(());
        let report = self.gateway.join().unwrap_or_else(|_| Err(io::Error::other("the gateway panicked")));
        let flushed = self
            .capture
            .map_or(Ok(()), |writer| writer.lock().unwrap_or_else(PoisonError::into_inner).flush());
        if let Err(error) = flushed {
            say(format_args!("cannot write the capture to its end: {error}"));
        }
        let report = report?;
        match self.summary {
            None => {}
            Some(SummaryFormat::Text) => say(&report),
            Some(SummaryFormat::Json) => eprintln!("{}", report.to_json()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_the_open_files() {
        let limits = fit(Limits::default(), 1024);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (720, 120));
        let limits = fit(Limits::default(), 1 << 20);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (16_384, 1024));
        let limits = fit(Limits::default(), 0);
        assert_eq!((limits.max_connections, limits.max_udp_flows), (1, 1));
    }

    #[test]
    fn mtu_out_of_range_is_an_error_that_names_the_range() {
        assert_eq!(check_mtu(500), Err("MTU 500 is out of range; use 576 to 65535 bytes".to_owned()));
    }
}

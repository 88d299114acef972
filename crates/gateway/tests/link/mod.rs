//! A gateway over a link in memory, with a stack of its own in the program's place. Needs no root.

use std::io;
use std::time::Duration;

use lastack::device::{Capabilities, memory};
use lastack::{Config, Host, Route};
use lastack_gateway::addresses::{AddressMap, PROGRAM_V4};
use lastack_gateway::summary::Report;
use lastack_gateway::{Gateway, GatewayOptions, Limits};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A gateway over one end of a link, and a host with the program's address on the other.
pub(crate) struct Link {
    pub(crate) program: Host,
    pub(crate) gateway: Host,
    stop: oneshot::Sender<()>,
    running: JoinHandle<io::Result<Report>>,
}

pub(crate) fn link(limits: Limits) -> Link {
    let (inside, outside) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    let program = Host::builder()
        .config(Config::default())
        .device(inside)
        .address(PROGRAM_V4, 24)
        .route(Route { to: "0.0.0.0/0".parse().unwrap(), source: None })
        .start()
        .unwrap();
    let options = GatewayOptions {
        addresses: AddressMap { host_loopback: true, ..AddressMap::default() },
        limits,
        records: true,
        ..GatewayOptions::new(AddressMap::default())
    };
    let gateway = Gateway::new(outside, options).unwrap();
    let host = gateway.host().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async {
        let _ = stopped.await;
    }));
    Link { program, gateway: host, stop, running }
}

impl Link {
    pub(crate) async fn end(self) -> Report {
        let _ = self.stop.send(());
        let report = self.running.await.unwrap().unwrap();
        let _ = self.program.close_async(Duration::ZERO).await;
        report
    }
}

/// Waits until `condition` holds; for ever if it never does, so that what is left over shows.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

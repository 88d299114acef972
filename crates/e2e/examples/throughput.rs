//! Measures one bulk connection between the kernel and lastack over a TUN, each way, at several settings.
//!
//! `cargo run --release -p lastack-e2e --example throughput` (as root: it makes a network namespace and a TUN in it).

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use lastack_e2e::socket::{Connected, Socket, connect};
use lastack_e2e::{Family, Lab, LabOptions, in_namespace, kernel};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    in_namespace(|| {
        println!(
            "{:<6} {:<9} {:<7} {:>18} {:>18}",
            "MTU", "offloads", "", "kernel > lastack", "lastack > kernel"
        );
        for (mtu, offloads) in [(1500, true), (1500, false), (65535, true), (65535, false)] {
            for family in Family::BOTH {
                let lab = Lab::with(LabOptions { mtu, offloads, record: false, ..LabOptions::default() });
                let before = kernel::retransmitted();
                let Connected { kernel, lastack, .. } = connect(&lab, family, true);
                let in_rate = measure(kernel, lastack);
                let Connected { kernel, lastack, .. } = connect(&lab, family, true);
                let out_rate = measure(lastack, kernel);
                let offloads = if offloads { "on" } else { "off" };
                let family = format!("{family:?}");
                let repeated =
                    format!("{}, {}", kernel::retransmitted() - before, lab.host.counters().retrans_segs);
                println!(
                    "{mtu:<6} {offloads:<9} {family:<7} {in_rate:>11.2} Gbit/s {out_rate:>11.2} Gbit/s {repeated:>26}"
                );
            }
        }
    });
}

/// Gbit/s of payload that arrive.
fn measure(mut from: Socket, mut to: Socket) -> f64 {
    let sender = thread::spawn(move || {
        let data = vec![7; 128 << 10];
        let start = Instant::now();
        while start.elapsed() < TIME {
            from.write(&data).expect("write");
        }
        from.shutdown(Shutdown::Write).expect("shutdown");
        from
    });
    let (mut buffer, mut bytes) = (vec![0; 128 << 10], 0);
    let start = Instant::now();
    loop {
        match to.read(&mut buffer).expect("read") {
            0 => break,
            len => bytes += len,
        }
    }
    let rate = bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9;
    drop(sender.join());
    rate
}

//! A congestion control of one's own, chosen by its name: it keeps about four segments in the queues of the path, as
//! TCP Vegas does, instead of filling them until one is lost.
//!
//! `cargo run -p lastack --example own_congestion_control`

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use lastack::core::tcp::congestion::{AckSample, Algorithm, CongestionControl, Flow, Origin, Window};
use lastack::device::{Capabilities, memory};
use lastack::{Config, Host, TcpOption, blocking};

/// Segments that may lie in queues.
const QUEUED: u128 = 4;

/// Once a round trip the window grows or shrinks by a segment.
#[derive(Clone, Debug)]
struct Gentle {
    /// The round trip is over when so many segments are delivered.
    round_end: u32,
}

impl CongestionControl for Gentle {
    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        let (Some(srtt), Some(least)) = (ack.flow.srtt, ack.flow.min_rtt) else { return };
        if !ack.may_grow || !ack.is_cwnd_limited {
            return;
        }
        // What of the window does not fit into the path lies in its queues.
        let waiting =
            srtt.saturating_sub(least).as_nanos() * u128::from(window.cwnd) / srtt.as_nanos().max(1);
        if window.in_slow_start() {
            if waiting > QUEUED {
                window.ssthresh = window.cwnd;
            }
            window.slow_start(ack.acked);
        } else if ack.flow.delivered.wrapping_sub(self.round_end) as i32 >= 0 {
            self.round_end = ack.flow.delivered.wrapping_add(ack.flow.in_flight);
            window.set_cwnd(if waiting > QUEUED { window.cwnd - 1 } else { window.cwnd + 1 });
        }
    }

    fn ssthresh(&mut self, window: &Window, _flow: &Flow) -> u32 {
        (window.cwnd / 2).max(2)
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, origin: &Origin, mut state: &mut dyn Hasher) {
        self.round_end.wrapping_sub(origin.delivered).hash(&mut state);
    }
}

pub(crate) fn main() -> std::io::Result<()> {
    let mut config = Config::default();
    config.tcp.congestion_controls =
        vec![Algorithm { name: "gentle", make: || Box::new(Gentle { round_end: 0 }) }];
    println!("to choose from: {}", config.tcp.available_congestion_controls().join(", "));
    let (a, b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    let server = Host::builder().device(a).address([10, 0, 0, 1], 24).start()?;
    let client = Host::builder().config(config).device(b).address([10, 0, 0, 2], 24).start()?;

    let listener = blocking::TcpListener::bind(&server, "10.0.0.1:9")?;
    let sink = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)
    });

    let mut stream = blocking::TcpStream::connect(&client, "10.0.0.1:9")?;
    stream.set_option(TcpOption::Congestion("gentle".into()))?;
    assert!(stream.set_option(TcpOption::Congestion("unheard-of".into())).is_err());
    stream.write_all(&vec![7; 1 << 20])?;
    stream.shutdown(Shutdown::Write)?;
    assert_eq!(sink.join().expect("the reader does not panic")?, 1 << 20);
    let info = stream.info()?;
    println!("{}: {} segments, {} bytes a second", info.congestion, info.cwnd, info.delivery_rate);
    assert_eq!(info.congestion, "gentle");
    println!("{:?}", stream.close_linger(Duration::from_secs(1)));
    Ok(())
}

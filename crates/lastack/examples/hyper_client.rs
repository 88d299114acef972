//! A hyper client, unchanged, on a TUN interface of its own: fetches from a server of the kernel's.
//!
//! ```text
//! sudo cargo run -p lastack --example hyper_client -- PATH     # as root: it makes the interface lastack0
//! ```
//!
//! It asks the kernel's end of the link, so that some HTTP server has to listen at 10.78.0.1 port 80.

#[allow(dead_code, reason = "the server's part is for the other example")]
mod web;

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use lastack::Host;
use lastack::device::tun::{Tun, TunOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/".to_owned());
    let options = TunOptions {
        name: Some("lastack0".to_owned()),
        ipv4: Some(([10, 78, 0, 1].into(), 24)),
        ..TunOptions::default()
    };
    let host = Host::builder().device(Tun::open(&options)?).address([10, 78, 0, 2], 24).start()?;
    let (status, body) = web::fetch(&host, ([10, 78, 0, 1], 80).into(), "GET", &path, Vec::new()).await?;
    eprintln!("{status}, {} bytes", body.len());
    std::io::stdout().write_all(&body)?;
    eprintln!("{}", host.close_async(Duration::from_secs(5)).await);
    Ok(())
}

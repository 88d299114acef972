//! An axum server, unchanged, on a TUN interface of its own.
//!
//! ```text
//! sudo cargo run -p lastack --example axum_server -- DIRECTORY     # as root: it makes the interface lastack0
//! curl http://10.77.0.2/files/NAME
//! curl --data-binary @FILE http://10.77.0.2/sha256
//! ```

#[allow(dead_code, reason = "the client's part is for the other example")]
mod web;

use std::error::Error;
use std::time::Duration;

use lastack::Host;
use lastack::device::tun::{Tun, TunOptions};
use lastack::tokio::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    // The kernel's end of the link is 10.77.0.1, ours 10.77.0.2.
    let options = TunOptions {
        name: Some("lastack0".to_owned()),
        ipv4: Some(([10, 77, 0, 1].into(), 24)),
        ..TunOptions::default()
    };
    let host = Host::builder().device(Tun::open(&options)?).address([10, 77, 0, 2], 24).start()?;
    let listener = TcpListener::bind(&host, "10.77.0.2:80").await?;
    println!("serving {root} at http://10.77.0.2/files/");
    axum::serve(web::Listener(listener), web::application(root.into()))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    println!("{}", host.close_async(Duration::from_secs(5)).await);
    Ok(())
}

//! Two stacks on a link in memory: one echoes, the other asks; the connection ends gracefully.
//!
//! `cargo run -p lastack --example echo`

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use lastack::device::{Capabilities, memory};
use lastack::{Host, blocking};

fn main() -> std::io::Result<()> {
    let (a, b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    let server = Host::builder().device(a).address([10, 0, 0, 1], 24).start()?;
    let client = Host::builder().device(b).address([10, 0, 0, 2], 24).start()?;
    client.trace(|event| println!("{:<12} {}", event.transition.to, event.transition.cause));

    let listener = blocking::TcpListener::bind(&server, "10.0.0.1:7")?;
    let echo = std::thread::spawn(move || -> std::io::Result<u64> {
        let (stream, _) = listener.accept()?;
        std::io::copy(&mut &stream, &mut &stream)
    });

    let mut stream = blocking::TcpStream::connect(&client, "10.0.0.1:7")?;
    stream.write_all(b"hello")?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    println!("{reply}; {:?}", stream.close_linger(Duration::from_secs(1)));
    assert_eq!(echo.join().expect("the echo does not panic")?, 5);
    Ok(())
}

//! What a program does with the network, and the server that it does it with.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one write or read.
const BLOCK: usize = 256 << 10;
/// First byte of the last block.
const LAST: u8 = 1;
/// Connections that are made at once.
const CHURNERS: usize = 4;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Bytes to the server.
    Upload {
        /// Connections at once.
        streams: usize,
    },
    /// Bytes from the server.
    Download {
        /// Connections at once.
        streams: usize,
    },
    /// Connect, a byte there, a byte back, closed by the server first; four at a time.
    Churn,
    /// A byte there and back on one connection, again and again.
    Latency,
}

impl Load {
    /// Name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Upload { streams } => format!("upload, {streams} streams").replace("1 streams", "1 stream"),
            Self::Download { streams } => {
                format!("download, {streams} streams").replace("1 streams", "1 stream")
            }
            Self::Churn => "churn".to_owned(),
            Self::Latency => "a byte there and back".to_owned(),
        }
    }

    /// What its rate is in.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Upload { .. } | Self::Download { .. } => "Gbit/s",
            Self::Churn => "connections/s",
            Self::Latency => "round trips/s",
        }
    }

    /// As one word, for a command line.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Upload { streams } => format!("up{streams}"),
            Self::Download { streams } => format!("down{streams}"),
            Self::Churn => "churn".to_owned(),
            Self::Latency => "latency".to_owned(),
        }
    }

    /// # Errors
    /// The word is none of [`word`](Self::word)'s.
    pub fn parse(word: &str) -> Result<Self, String> {
        let streams = |text: &str| text.parse().map_err(|_| format!("'{word}' has no number of streams"));
        match word {
            "churn" => Ok(Self::Churn),
            "latency" => Ok(Self::Latency),
            _ => match (word.strip_prefix("up"), word.strip_prefix("down")) {
                (Some(number), _) => Ok(Self::Upload { streams: streams(number)? }),
                (_, Some(number)) => Ok(Self::Download { streams: streams(number)? }),
                _ => Err(format!("there is no load '{word}'")),
            },
        }
    }

    /// Does it for about so long; the rate.
    ///
    /// # Errors
    /// A connection failed.
    pub fn run(self, server: SocketAddr, time: Duration) -> io::Result<f64> {
        let begun = Instant::now();
        let until = begun + time;
        let work = match self {
            Self::Upload { streams } => together(streams, || upload(server, until))?,
            Self::Download { streams } => together(streams, || download(server, until))?,
            Self::Churn => together(CHURNERS, || churn(server, until))?,
            Self::Latency => latency(server, until)?,
        };
        let rate = work as f64 / begun.elapsed().as_secs_f64();
        Ok(if self.unit() == "Gbit/s" { rate * 8e-9 } else { rate })
    }
}

/// Does the same on so many threads; the sum.
fn together(threads: usize, work: impl Fn() -> io::Result<u64> + Sync) -> io::Result<u64> {
    let sum = AtomicU64::new(0);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work().map(|done| sum.fetch_add(done, Ordering::Relaxed))))
            .collect();
        all.into_iter().try_for_each(|one| match one.join() {
            Ok(done) => done.map(drop),
            Err(_) => Err(io::Error::other("a thread panicked")),
        })
    })?;
    Ok(sum.into_inner())
}

fn connect(server: SocketAddr, kind: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

/// The server's count is the truth: what is in buffers has not arrived. The last block says that it is, because not every
/// tool carries a half-close.
fn upload(server: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut stream = connect(server, b'U')?;
    let mut block = vec![0; BLOCK];
    while Instant::now() < until {
        stream.write_all(&block)?;
    }
    block[0] = LAST;
    stream.write_all(&block)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

fn download(server: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut stream = connect(server, b'D')?;
    let mut block = vec![0; BLOCK];
    let mut count = 0;
    while Instant::now() < until {
        count += stream.read(&mut block)? as u64;
    }
    Ok(count)
}

fn churn(server: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        let mut stream = connect(server, b'C')?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if answer != b"C" {
            return Err(io::Error::other("a connection did not bring its byte"));
        }
        count += 1;
    }
    Ok(count)
}

fn latency(server: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut stream = connect(server, b'E')?;
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(count)
}

/// Serves for ever, a thread for each connection.
///
/// # Errors
/// The listener failed.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // What becomes of a connection its client says.
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut block = vec![0; if matches!(kind[0], b'U' | b'D') { BLOCK } else { 1 }];
    match kind[0] {
        b'U' => {
            let mut count = 0;
            loop {
                stream.read_exact(&mut block)?;
                count += BLOCK as u64;
                if block[0] == LAST {
                    return stream.write_all(&u64::to_be_bytes(count));
                }
            }
        }
        b'D' => loop {
            stream.write_all(&block)?;
        },
        b'E' => loop {
            stream.read_exact(&mut block)?;
            stream.write_all(&block)?;
        },
        kind => stream.write_all(&[kind]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_is_done_by_its_word() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        thread::spawn(move || serve(&listener));
        for word in ["up1", "up3", "down1", "down2", "churn", "latency"] {
            let load = Load::parse(word).unwrap();
            assert_eq!(load.word(), word);
            assert!(load.run(server, Duration::from_millis(50)).unwrap() > 0.0, "{word}");
        }
        assert!(Load::parse("sideways").is_err() && Load::parse("up").is_err());
    }
}

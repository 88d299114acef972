//! Programs over the link: axum and hyper on lastack; curl and nginx on the kernel's side.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path as UrlPath};
use axum::routing::{get, put};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use lastack::Host;
use lastack::tokio as net;
use sha2::{Digest, Sha256};

use crate::lab::eventually;
use crate::socket::Process;

/// Size of a piece of a body in bytes. No multiple of a segment's.
const PIECE: usize = 100_003;

/// A body of `len` bytes, piece by piece: a pattern without a short period.
pub fn body(len: usize) -> impl Iterator<Item = Bytes> {
    // A linear congruential generator, one step a piece; the piece is its base shifted by that.
    let base: Vec<u8> =
        (0..2 * PIECE as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let base = Bytes::from(base);
    let mut state = 1u64;
    (0..len.div_ceil(PIECE)).map(move |piece| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let from = (state >> 33) as usize % PIECE;
        base.slice(from..from + PIECE.min(len - piece * PIECE))
    })
}

/// SHA-256 of pieces, in hexadecimal.
pub fn sha256<T: AsRef<[u8]>>(pieces: impl Iterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    pieces.for_each(|piece| hash.update(piece));
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// axum accepts from anything that is a [`axum::serve::Listener`].
pub struct Listener(pub net::TcpListener);

impl axum::serve::Listener for Listener {
    type Io = net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (net::TcpStream, SocketAddr) {
        match self.0.accept().await {
            Ok(accepted) => accepted,
            // The host was closed: there will be no more connections.
            Err(_) => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// `GET /body/LEN` sends [`body`]; `PUT /sha256` answers the hash and the length of what it gets.
pub fn application() -> Router {
    let pieces = |UrlPath(len): UrlPath<usize>| async move {
        Body::from_stream(stream::iter(body(len).map(Ok::<_, Infallible>)))
    };
    Router::new()
        .route("/body/{len}", get(pieces))
        .route("/sha256", put(hash_of).layer(DefaultBodyLimit::disable()))
}

async fn hash_of(mut body: Body) -> String {
    let (mut hash, mut len) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                hash.update(data);
                len += data.len();
            }
            Err(error) => return format!("{error:?} after {len} bytes"),
        }
    }
    format!("{} {len}", hex(hash))
}

/// Serves [`application`] at an address until the runtime ends.
///
/// # Panics
/// If the address cannot be used.
pub async fn serve(host: &Host, address: SocketAddr) {
    let listener = net::TcpListener::bind(host, address).await.expect("lastack binds");
    tokio::spawn(async move { axum::serve(Listener(listener), application()).await });
}

/// Fetches with a hyper client on lastack; the hash and the length of the answer.
///
/// # Panics
/// If that fails.
pub async fn fetch(host: &Host, server: SocketAddr, path: &str) -> (String, usize) {
    let stream = net::TcpStream::connect(host, server).await.expect("lastack connects");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "e2e").header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let (mut hash, mut len) = (Sha256::new(), 0);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("the body");
        let data = frame.data_ref().map_or(&[][..], |data| data);
        hash.update(data);
        len += data.len();
    }
    connection.await.expect("the connection's task").expect("the connection ends well");
    (hex(hash), len)
}

/// Fetches with curl on the kernel's side; the hash and the length of the answer.
///
/// # Panics
/// If curl fails.
#[must_use]
pub fn curl_get(url: &str) -> (String, usize) {
    let mut child = curl().arg(url).stdout(Stdio::piped()).spawn().expect("curl (Debian package) is needed");
    let mut output = child.stdout.take().expect("a pipe");
    let mut process = Process(child);
    let (mut hash, mut len) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = output.read(&mut buffer).expect("the pipe is read");
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        len += n;
    }
    let status = process.0.wait().expect("curl ends");
    assert!(status.success(), "curl {url}: {status} after {len} bytes");
    (hex(hash), len)
}

/// Uploads a file with curl on the kernel's side; what the server answers.
///
/// # Panics
/// If curl fails.
#[must_use]
pub fn curl_put(url: &str, file: &Path) -> String {
    let output = curl().arg("--upload-file").arg(file).arg(url).output();
    let output = output.expect("curl (Debian package) is needed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {url}: {} {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn curl() -> Command {
    let mut command = Command::new("curl");
    // Nothing of the environment's: no proxy, no configuration; both families are written with brackets alike.
    command.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*", "--globoff"]);
    command
}

/// A folder that goes when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new folder for a test of this name.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lastack-e2e-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of [`body`] in it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn body(&self, name: &str, len: usize) -> PathBuf {
        let path = self.file(name);
        let mut file = io::BufWriter::new(fs::File::create(&path).expect("a file"));
        for piece in body(len) {
            io::Write::write_all(&mut file, &piece).expect("the file is written");
        }
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs nginx in the namespace of the calling thread: it serves the files of `root` at `addresses`, and is killed when
/// the result is dropped.
///
/// # Panics
/// If it does not come up.
#[must_use]
pub fn nginx(root: &TempDir, addresses: &[SocketAddr]) -> Process {
    let folder = root.0.display();
    let listen: String = addresses.iter().map(|address| format!("listen {address};\n")).collect();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .collect();
    let text = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/nginx.pid;\n\
         error_log {folder}/error.log;\nevents {{ worker_connections 64; }}\n\
         http {{\naccess_log off;\nsendfile on;\n{temp}server {{\n{listen}root {folder};\n}}\n}}\n"
    );
    let config = root.file("nginx.conf");
    fs::write(&config, text).expect("a configuration");
    // Debian has it in a folder of administration programs.
    let program =
        ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.unwrap_or("nginx"));
    command.arg("-p").arg(&root.0).arg("-c").arg(&config).arg("-e").arg(root.file("error.log"));
    command.stdin(Stdio::null());
    let process = Process(command.spawn().expect("nginx (Debian package nginx) is needed"));
    for address in addresses {
        eventually("nginx listens", true, || TcpStream::connect(address).is_ok());
    }
    process
}

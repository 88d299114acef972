//! What the two examples share with the test that runs them against each other: an axum application and a hyper client,
//! neither of which knows that the network is lastack.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use lastack::Host;
use lastack::tokio::{TcpListener, TcpStream};
use sha2::{Digest, Sha256};

/// axum accepts from anything that is a [`axum::serve::Listener`].
pub(crate) struct Listener(pub(crate) TcpListener);

impl axum::serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
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

/// `GET /files/NAME` from a directory, `POST /echo`, `POST /sha256`.
pub(crate) fn application(root: PathBuf) -> Router {
    Router::new()
        .route("/files/{name}", get(file))
        .route("/echo", post(|body: Body| async { body }))
        .route("/sha256", post(sha256))
        .with_state(root)
}

async fn file(State(root): State<PathBuf>, Path(name): Path<String>) -> Response {
    // A name, not a path: nothing outside of the directory.
    if std::path::Path::new(&name).file_name().is_none_or(|plain| plain != name.as_str()) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    match std::fs::read(root.join(name)) {
        Ok(data) => data.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn sha256(body: Body) -> Response {
    let mut body = body;
    let mut hash = Sha256::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => hash.update(frame.data_ref().map_or(&[][..], |data| data)),
            Err(e) => return (StatusCode::BAD_REQUEST, e.to_string()).into_response(),
        }
    }
    hex(&hash.finalize()).into_response()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request over a connection of its own.
pub(crate) async fn fetch(
    host: &Host,
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(host, server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", server.to_string())
        .body(Full::<Bytes>::from(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.await??;
    Ok((status, body))
}

//! slirp4netns's API: a socket over which ports of the host are led inside while the gateway runs.
//!
//! A client sends one JSON object, `{"execute": ..., "arguments": ...}`, gets one back, and the connection ends.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::{Leave, Shared};
use crate::publish::{Protocol, Publish};

/// Bytes of a request at the most.
const MAX_REQUEST: usize = 4096;
/// How long a client may take for its request and for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ports that are led inside at once at the most.
const MAX_PORTS: usize = 4096;

/// A socket for requests. Its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Api {
    listener: StdListener,
    path: PathBuf,
}

impl Api {
    /// Listens at `path`, in the place of a socket that was left there.
    pub(crate) fn bind(path: &Path) -> Result<Self, String> {
        let fail = |error: io::Error| format!("cannot listen at {}: {error}", path.display());
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path).map_err(fail)?;
        }
        let listener = StdListener::bind(path).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It fails where somebody has removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Debug, Deserialize)]
struct Request {
    execute: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Debug, Deserialize)]
struct Add {
    proto: String,
    #[serde(default, deserialize_with = "address")]
    host_addr: Option<IpAddr>,
    host_port: u16,
    #[serde(default, deserialize_with = "address")]
    guest_addr: Option<IpAddr>,
    guest_port: u16,
}

/// podman leaves an address empty that it has no opinion on.
fn address<'de, D: Deserializer<'de>>(field: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(field)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| D::Error::custom(format_args!("'{text}' is no IP address"));
    text.parse().map(Some).map_err(wrong)
}

#[derive(Debug, Deserialize)]
struct Remove {
    id: u64,
}

/// A port that is led inside.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    id: u64,
    proto: &'static str,
    host_addr: IpAddr,
    host_port: u16,
    guest_addr: IpAddr,
    guest_port: u16,
}

/// The ports, by their numbers; each with what closes it when it is dropped.
#[derive(Default)]
struct Ports {
    open: BTreeMap<u64, (Entry, watch::Sender<()>)>,
    last: u64,
    tasks: JoinSet<Leave>,
}

/// Answers requests until the sender of `leaving` is gone.
pub(crate) async fn serve(shared: Arc<Shared>, api: Api, mut leaving: watch::Receiver<()>) -> Leave {
    let listener = match api.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return Leave::Failed(error),
    };
    let mut ports = Ports::default();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = ports.tasks.join_next() => continue,
            _ = leaving.changed() => {
                ports.open.clear();
                while ports.tasks.join_next().await.is_some() {}
                return Leave::Told;
            }
        };
        let Ok((mut client, _)) = client else { continue };
        let mut left = leaving.clone();
        tokio::select! {
            // One after the other: a client that says nothing holds up the others for a while.
            _ = timeout(PATIENCE, ports.answer(&shared, &leaving, &mut client)) => {}
            _ = left.changed() => {}
        }
    }
}

impl Ports {
    async fn answer(
        &mut self,
        shared: &Arc<Shared>,
        leaving: &watch::Receiver<()>,
        client: &mut UnixStream,
    ) -> io::Result<()> {
        let answer = match read(client).await? {
            Ok(request) => self.execute(shared, leaving, request),
            Err(why) => Err(why),
        };
        let answer = match answer {
            Ok(value) => json!({ "return": value }),
            Err(why) => json!({ "error": { "desc": why } }),
        };
        client.write_all(answer.to_string().as_bytes()).await?;
        client.shutdown().await
    }

    fn execute(
        &mut self,
        shared: &Arc<Shared>,
        leaving: &watch::Receiver<()>,
        request: Request,
    ) -> Result<Value, String> {
        let bad = |error: serde_json::Error| format!("bad request: {}: {error}", request.execute);
        match request.execute.as_str() {
            "add_hostfwd" => {
                let add: Add = serde_json::from_value(request.arguments).map_err(bad)?;
                self.add(shared, leaving, &add).map(|id| json!({ "id": id }))
            }
            "list_hostfwd" => {
                let entries: Vec<_> = self.open.values().map(|(entry, _)| entry).collect();
                Ok(json!({ "entries": entries }))
            }
            "remove_hostfwd" => {
                let remove: Remove = serde_json::from_value(request.arguments).map_err(bad)?;
                let removed = self.open.remove(&remove.id);
                removed
                    .map(|_| json!({}))
                    .ok_or_else(|| format!("bad request: there is no port {}", remove.id))
            }
            other => Err(format!(
                "bad request: there is no '{other}'; there are add_hostfwd, list_hostfwd and remove_hostfwd"
            )),
        }
    }

    fn add(&mut self, shared: &Arc<Shared>, leaving: &watch::Receiver<()>, add: &Add) -> Result<u64, String> {
        if self.open.len() >= MAX_PORTS {
            return Err(format!("limit of {MAX_PORTS} ports is met: remove others"));
        }
        let (proto, protocol, any): (_, _, IpAddr) = match add.proto.as_str() {
            "tcp" | "tcp4" => ("tcp", Protocol::Tcp, Ipv4Addr::UNSPECIFIED.into()),
            "udp" | "udp4" => ("udp", Protocol::Udp, Ipv4Addr::UNSPECIFIED.into()),
            "tcp6" => ("tcp", Protocol::Tcp, Ipv6Addr::UNSPECIFIED.into()),
            "udp6" => ("udp", Protocol::Udp, Ipv6Addr::UNSPECIFIED.into()),
            other => return Err(format!("bad request: '{other}' is no protocol; use tcp or udp")),
        };
        if add.host_port == 0 || add.guest_port == 0 {
            return Err("bad request: ports are 1 to 65535".to_owned());
        }
        let host = add.host_addr.unwrap_or(any);
        let publish = Publish { address: Some(host), port: add.host_port, inside: add.guest_port, protocol };
        let network = &shared.addresses.network;
        let own = |address: &IpAddr| {
            *address == IpAddr::V4(network.program_v4) || Some(*address) == network.program_v6.map(IpAddr::V6)
        };
        // The interface's own address is both families'.
        let guest = add.guest_addr.filter(|guest| !guest.is_unspecified() && !own(guest));
        let (closer, closing) = watch::channel(());
        for port in publish.bind()? {
            port.leading_to(guest)
                .serve(shared, leaving, closing.clone(), &mut self.tasks)
                .map_err(|error| format!("cannot publish {publish}: {error}"))?;
        }
        self.last += 1;
        let guest_addr = add.guest_addr.unwrap_or(network.program_v4.into());
        let (host_port, guest_port) = (add.host_port, add.guest_port);
        let entry = Entry { id: self.last, proto, host_addr: host, host_port, guest_addr, guest_port };
        self.open.insert(self.last, (entry, closer));
        Ok(self.last)
    }
}

/// Reads a request: to the end of its object, or of what the client sends.
async fn read(client: &mut UnixStream) -> io::Result<Result<Request, String>> {
    let mut text = Vec::new();
    loop {
        let len = client.read_buf(&mut text).await?;
        match serde_json::from_slice(&text) {
            Ok(request) => return Ok(Ok(request)),
            Err(error) if error.is_eof() && len > 0 && text.len() < MAX_REQUEST => {}
            Err(error) => return Ok(Err(format!("bad request: {error}"))),
        }
    }
}

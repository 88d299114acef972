//! Where connections are carried on: at once, or through a proxy.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dial::dial;

/// How the command line writes an upstream.
const FORM: &str = "direct, socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT";
/// Bytes of an HTTP proxy's answer at the most.
const MAX_HEAD: usize = 16 << 10;

/// Name and password for a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Through what the host's connections are made. The host's own loopback is always reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    /// Nothing: the host connects to the destination.
    #[default]
    Direct,
    /// A SOCKS5 proxy (RFC 1928, RFC 1929).
    Socks5 {
        /// `HOST:PORT` of the proxy.
        proxy: String,
        /// Name and password, if it wants them.
        credentials: Option<Credentials>,
    },
    /// An HTTP proxy that knows CONNECT (RFC 9110 9.3.6).
    Http {
        /// `HOST:PORT` of the proxy.
        proxy: String,
        /// Name and password, if it wants them.
        credentials: Option<Credentials>,
    },
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "direct" {
            return Ok(Self::Direct);
        }
        parse(text).ok_or_else(|| format!("the form is {FORM}"))
    }
}

fn parse(text: &str) -> Option<Upstream> {
    let (kind, rest) = text.split_once("://")?;
    let (credentials, proxy) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((credentials, proxy)) => {
            let (user, password) = credentials.split_once(':')?;
            // RFC 1929: one byte of length each.
            let fits = |text: &str| !text.is_empty() && text.len() <= usize::from(u8::MAX);
            if !fits(user) || !fits(password) {
                return None;
            }
            (Some(Credentials { user: user.to_owned(), password: password.to_owned() }), proxy)
        }
    };
    let proxy = proxy.trim_end_matches('/');
    let (host, port) = proxy.rsplit_once(':')?;
    if host.is_empty() || port.parse::<u16>().ok().is_none_or(|port| port == 0) {
        return None;
    }
    let proxy = proxy.to_owned();
    match kind {
        "socks5" => Some(Upstream::Socks5 { proxy, credentials }),
        "http" => Some(Upstream::Http { proxy, credentials }),
        _ => None,
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Socks5 { proxy, .. } => write!(f, "socks5://{proxy}"),
            Self::Http { proxy, .. } => write!(f, "http://{proxy}"),
        }
    }
}

/// The proxy itself failed: it is not there, or does not do what it is for.
#[derive(Debug)]
pub(crate) struct ProxyError {
    what: String,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ProxyError {}

/// Whether an error is the proxy's own, and not about the destination.
pub(crate) fn is_proxy_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<ProxyError>)
}

impl Upstream {
    /// Whether datagrams can take this way.
    pub(crate) fn carries_datagrams(&self, target: SocketAddr) -> bool {
        *self == Self::Direct || target.ip().is_loopback()
    }

    /// A connection to `target`.
    ///
    /// # Errors
    /// What the host's kernel says; what the proxy says of the destination, as the same errors; a [`ProxyError`].
    pub(crate) async fn dial(&self, target: SocketAddr) -> io::Result<TcpStream> {
        if target.ip().is_loopback() {
            return dial(target).await;
        }
        match self {
            Self::Direct => dial(target).await,
            Self::Socks5 { proxy, credentials } => {
                let mut stream = self.reach(proxy).await?;
                let done = socks5(&mut stream, target, credentials.as_ref()).await;
                self.settle(done, stream)
            }
            Self::Http { proxy, credentials } => {
                let mut stream = self.reach(proxy).await?;
                let done = http_connect(&mut stream, target, credentials.as_ref()).await;
                self.settle(done, stream)
            }
        }
    }

    async fn reach(&self, proxy: &str) -> io::Result<TcpStream> {
        let mut failure = None;
        for address in tokio::net::lookup_host(proxy).await.map_err(|error| self.failed(&error))? {
            match dial(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(self.failed(&failure.unwrap_or_else(|| io::Error::other("it has no address"))))
    }

    fn failed(&self, why: &dyn fmt::Display) -> io::Error {
        io::Error::other(ProxyError { what: format!("the proxy {self} cannot be used: {why}") })
    }

    fn settle(&self, done: Result<(), Refused>, stream: TcpStream) -> io::Result<TcpStream> {
        match done {
            Ok(()) => Ok(stream),
            Err(Refused::Destination(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Err(Refused::Proxy(why)) => Err(self.failed(&why)),
        }
    }
}

/// Why a proxy does not connect.
enum Refused {
    /// The destination, as an errno.
    Destination(i32),
    /// The proxy.
    Proxy(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Proxy(error.to_string())
    }
}

async fn socks5(
    stream: &mut TcpStream,
    target: SocketAddr,
    credentials: Option<&Credentials>,
) -> Result<(), Refused> {
    const VERSION: u8 = 5;
    const NO_AUTHENTICATION: u8 = 0;
    const PASSWORD: u8 = 2;
    let methods: &[u8] =
        if credentials.is_some() { &[NO_AUTHENTICATION, PASSWORD] } else { &[NO_AUTHENTICATION] };
    let mut hello = vec![VERSION, u8::try_from(methods.len()).unwrap_or(1)];
    hello.extend(methods);
    stream.write_all(&hello).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match (answer, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, PASSWORD], Some(Credentials { user, password })) => {
            let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
            let mut login = vec![1, length(user)];
            login.extend(user.as_bytes());
            login.push(length(password));
            login.extend(password.as_bytes());
            stream.write_all(&login).await?;
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                return Err(Refused::Proxy("it does not take the name and password".to_owned()));
            }
        }
        ([VERSION, _], None) => return Err(Refused::Proxy("it wants a name and password".to_owned())),
        _ => return Err(Refused::Proxy("it does not speak SOCKS5".to_owned())),
    }
    let mut request = vec![VERSION, 1, 0];
    match target.ip() {
        IpAddr::V4(ip) => {
            request.push(1);
            request.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            request.push(4);
            request.extend(ip.octets());
        }
    }
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    if head[0] != VERSION {
        return Err(Refused::Proxy("it does not speak SOCKS5".to_owned()));
    }
    socks5_reply(head[1])?;
    let address = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        kind => return Err(Refused::Proxy(format!("it answers with an address of kind {kind}"))),
    };
    let mut bound = vec![0; address + 2];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

/// RFC 1928 section 6.
fn socks5_reply(code: u8) -> Result<(), Refused> {
    match code {
        0 => Ok(()),
        2 => Err(Refused::Destination(libc::EACCES)),
        3 => Err(Refused::Destination(libc::ENETUNREACH)),
        // A proxy that knows no better says 1 of everything.
        1 | 4 => Err(Refused::Destination(libc::EHOSTUNREACH)),
        5 => Err(Refused::Destination(libc::ECONNREFUSED)),
        6 => Err(Refused::Destination(libc::ETIMEDOUT)),
        code => Err(Refused::Proxy(format!("it answers with error {code}"))),
    }
}

async fn http_connect(
    stream: &mut TcpStream,
    target: SocketAddr,
    credentials: Option<&Credentials>,
) -> Result<(), Refused> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { user, password }) = credentials {
        let word = base64(format!("{user}:{password}").as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {word}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows the head is the server's.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(Refused::Proxy(format!("its answer is longer than {MAX_HEAD} bytes")));
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(403) => Err(Refused::Destination(libc::EACCES)),
        Some(502 | 503) => Err(Refused::Destination(libc::ECONNREFUSED)),
        Some(504) => Err(Refused::Destination(libc::ETIMEDOUT)),
        Some(407) => Err(Refused::Proxy("it wants another name and password".to_owned())),
        _ => Err(Refused::Proxy(format!("it answers '{}'", line.escape_default()))),
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value =
            chunk.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(value >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_upstream() {
        assert_eq!("direct".parse(), Ok(Upstream::Direct));
        let plain: Upstream = "socks5://127.0.0.1:1080".parse().unwrap();
        assert_eq!(plain, Upstream::Socks5 { proxy: "127.0.0.1:1080".to_owned(), credentials: None });
        let with: Upstream = "http://me:se:cret@[::1]:3128/".parse().unwrap();
        assert_eq!(with.to_string(), "http://[::1]:3128", "the password is not shown");
        assert!(!format!("{with:?}").contains("cret"));
        for text in ["", "socks4://a:1", "socks5://a", "socks5://:1", "http://a:0", "http://user@a:1"] {
            assert!(text.parse::<Upstream>().unwrap_err().contains("socks5://"), "{text}");
        }
    }

    #[test]
    fn base64_of_every_remainder() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}

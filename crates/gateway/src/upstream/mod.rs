//! Where connections are carried on: at once, or through a proxy.

mod http;
pub(crate) mod socks5;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use tokio::net::TcpStream;

use crate::dial::dial;
use crate::outgoing::Outgoing;

/// How the command line writes an upstream.
const FORM: &str = "direct, socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT";

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

/// Through what the host's connections are made. The host's own loopback and name server are always reached directly.
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
    /// Whether ping can take this way.
    pub(crate) fn carries_pings(&self) -> bool {
        *self == Self::Direct
    }

    /// Looks the proxy's name up, once for all, by the way that the host has now. Blocks.
    ///
    /// # Errors
    /// One line for the user.
    pub(crate) fn resolved(mut self) -> Result<Self, String> {
        if let Self::Socks5 { proxy, .. } | Self::Http { proxy, .. } = &mut self {
            let found = proxy.to_socket_addrs().map(|mut addresses| addresses.next());
            *proxy = match found {
                Ok(Some(address)) => address.to_string(),
                Ok(None) => return Err(format!("the proxy {proxy} has no address")),
                Err(error) => return Err(format!("cannot find the proxy {proxy}: {error}")),
            };
        }
        Ok(self)
    }

    /// The address of the proxy, if there is one and it is written as a number.
    pub(crate) fn proxy_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Direct => None,
            Self::Socks5 { proxy, .. } | Self::Http { proxy, .. } => proxy.parse().ok(),
        }
    }

    /// A connection to `target`.
    ///
    /// # Errors
    /// What the host's kernel says; what the proxy says of the destination, as the same errors; a [`ProxyError`].
    pub(crate) async fn dial(&self, target: SocketAddr, outgoing: &Outgoing) -> io::Result<TcpStream> {
        match self {
            Self::Direct => dial(target, outgoing).await,
            Self::Socks5 { proxy, credentials } => {
                let mut stream = self.reach(proxy, outgoing).await?;
                let done = socks5::connect(&mut stream, target, credentials.as_ref()).await;
                self.settle(done).map(|()| stream)
            }
            Self::Http { proxy, credentials } => {
                let mut stream = self.reach(proxy, outgoing).await?;
                let done = http::connect(&mut stream, target, credentials.as_ref()).await;
                self.settle(done).map(|()| stream)
            }
        }
    }

    /// Has a SOCKS5 proxy take datagrams: the connection that they are taken for as long as it stays open, and where to.
    ///
    /// # Errors
    /// A [`ProxyError`]: the proxy is not there, does not take datagrams, or cannot by what it is.
    pub(crate) async fn associate(&self, outgoing: &Outgoing) -> io::Result<(TcpStream, SocketAddr)> {
        let Self::Socks5 { proxy, credentials } = self else {
            return Err(self.no_datagrams());
        };
        let mut stream = self.reach(proxy, outgoing).await?;
        let done = socks5::associate(&mut stream, credentials.as_ref()).await;
        match done {
            Err(Refused::Command | Refused::Destination(_)) => Err(self.no_datagrams()),
            done => self.settle(done).map(|relay| (stream, relay)),
        }
    }

    fn no_datagrams(&self) -> io::Error {
        let what = format!("the upstream {self} carries no UDP: datagrams are refused");
        io::Error::other(ProxyError { what })
    }

    async fn reach(&self, proxy: &str, outgoing: &Outgoing) -> io::Result<TcpStream> {
        let mut failure = None;
        for address in tokio::net::lookup_host(proxy).await.map_err(|error| self.failed(&error))? {
            match dial(address, outgoing).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(self.failed(&failure.unwrap_or_else(|| io::Error::other("it has no address"))))
    }

    fn failed(&self, why: &dyn fmt::Display) -> io::Error {
        io::Error::other(ProxyError { what: format!("the proxy {self} cannot be used: {why}") })
    }

    fn settle<T>(&self, done: Result<T, Refused>) -> io::Result<T> {
        done.map_err(|refused| match refused {
            Refused::Destination(errno) => io::Error::from_raw_os_error(errno),
            Refused::Command => self.failed(&"it does not know the command"),
            Refused::Proxy(why) => self.failed(&why),
        })
    }
}

/// Why a proxy does not connect.
enum Refused {
    /// The destination, as an errno.
    Destination(i32),
    /// It does not do what it was asked for.
    Command,
    /// The proxy.
    Proxy(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Proxy(error.to_string())
    }
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
}

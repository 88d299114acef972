//! SOCKS5: CONNECT and UDP ASSOCIATE (RFC 1928, RFC 1929).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Credentials, Refused};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Has the proxy at the other end of `stream` connect to `target`.
pub(super) async fn connect(
    stream: &mut TcpStream,
    target: SocketAddr,
    credentials: Option<&Credentials>,
) -> Result<(), Refused> {
    log_in(stream, credentials).await?;
    request(stream, CONNECT, target).await.map(drop)
}

/// Has the proxy take datagrams, for as long as `stream` stays open; the address that it takes them at.
pub(super) async fn associate(
    stream: &mut TcpStream,
    credentials: Option<&Credentials>,
) -> Result<SocketAddr, Refused> {
    log_in(stream, credentials).await?;
    let proxy = stream.peer_addr()?;
    // All zeros: the port is not known to the proxy if something in between translates it (section 4).
    let any: IpAddr =
        if proxy.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut relay = request(stream, UDP_ASSOCIATE, SocketAddr::new(any, 0)).await?;
    // Many proxies say "any of mine".
    if relay.ip().is_unspecified() {
        relay.set_ip(proxy.ip());
    }
    Ok(relay)
}

async fn log_in(stream: &mut TcpStream, credentials: Option<&Credentials>) -> Result<(), Refused> {
    let methods: &[u8] =
        if credentials.is_some() { &[NO_AUTHENTICATION, PASSWORD] } else { &[NO_AUTHENTICATION] };
    let mut hello = vec![VERSION, u8::try_from(methods.len()).unwrap_or(1)];
    hello.extend(methods);
    stream.write_all(&hello).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match (answer, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => Ok(()),
        ([VERSION, PASSWORD], Some(Credentials { user, password })) => {
            let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
            let mut login = vec![1, length(user)];
            login.extend(user.as_bytes());
            login.push(length(password));
            login.extend(password.as_bytes());
            stream.write_all(&login).await?;
            stream.read_exact(&mut answer).await?;
            if answer[1] == 0 {
                return Ok(());
            }
            Err(Refused::Proxy("it does not take the name and password".to_owned()))
        }
        ([VERSION, _], None) => Err(Refused::Proxy("it wants a name and password".to_owned())),
        _ => Err(Refused::Proxy("it does not speak SOCKS5".to_owned())),
    }
}

/// Sends a request and reads the reply; the address in it. A name in it is no address: all zeros.
async fn request(stream: &mut TcpStream, command: u8, target: SocketAddr) -> Result<SocketAddr, Refused> {
    let mut request = vec![VERSION, command, 0];
    push_address(&mut request, target);
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    if head[0] != VERSION {
        return Err(Refused::Proxy("it does not speak SOCKS5".to_owned()));
    }
    reply(head[1])?;
    let ip: IpAddr = match head[3] {
        IPV4 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip).await?;
            ip.into()
        }
        IPV6 => {
            let mut ip = [0; 16];
            stream.read_exact(&mut ip).await?;
            ip.into()
        }
        NAME => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            Ipv4Addr::UNSPECIFIED.into()
        }
        kind => return Err(Refused::Proxy(format!("it answers with an address of kind {kind}"))),
    };
    Ok(SocketAddr::new(ip, stream.read_u16().await?))
}

/// RFC 1928 section 6.
fn reply(code: u8) -> Result<(), Refused> {
    match code {
        0 => Ok(()),
        2 => Err(Refused::Destination(libc::EACCES)),
        3 => Err(Refused::Destination(libc::ENETUNREACH)),
        // A proxy that knows no better says 1 of everything.
        1 | 4 => Err(Refused::Destination(libc::EHOSTUNREACH)),
        5 => Err(Refused::Destination(libc::ECONNREFUSED)),
        6 => Err(Refused::Destination(libc::ETIMEDOUT)),
        7 => Err(Refused::Command),
        code => Err(Refused::Proxy(format!("it answers with error {code}"))),
    }
}

fn push_address(to: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            to.push(IPV4);
            to.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            to.push(IPV6);
            to.extend(ip.octets());
        }
    }
    to.extend(address.port().to_be_bytes());
}

/// What stands before the data of a datagram for `target` (RFC 1928 section 7).
pub(crate) fn datagram_header(target: SocketAddr) -> Vec<u8> {
    // Reserved, reserved, not a fragment.
    let mut header = vec![0, 0, 0];
    push_address(&mut header, target);
    header
}

/// Who sent a datagram that came through a proxy, and where its data begins. `None`: it is none, or a fragment, which may be
/// dropped (RFC 1928 section 7).
pub(crate) fn parse_datagram(datagram: &[u8]) -> Option<(SocketAddr, usize)> {
    let ([_, _, 0, kind], rest) = datagram.split_first_chunk()? else { return None };
    let (ip, rest): (IpAddr, _) = match *kind {
        IPV4 => rest.split_first_chunk::<4>().map(|(ip, rest)| ((*ip).into(), rest))?,
        IPV6 => rest.split_first_chunk::<16>().map(|(ip, rest)| ((*ip).into(), rest))?,
        _ => return None,
    };
    let (port, data) = rest.split_first_chunk()?;
    Some((SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*port)), datagram.len() - data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_of_the_proxy_is_understood_or_dropped() {
        for source in ["192.0.2.1:53", "[2001:db8::1]:65535"] {
            let source: SocketAddr = source.parse().unwrap();
            let mut datagram = datagram_header(source);
            let at = datagram.len();
            assert_eq!(parse_datagram(&datagram), Some((source, at)));
            (0..at).for_each(|len| assert_eq!(parse_datagram(&datagram[..len]), None, "{len}"));
            datagram.extend(b"data");
            assert_eq!(parse_datagram(&datagram), Some((source, at)));
            datagram[2] = 1;
            assert_eq!(parse_datagram(&datagram), None, "a fragment");
        }
        let mapped = datagram_header("[::ffff:192.0.2.1]:53".parse().unwrap());
        assert_eq!(parse_datagram(&mapped).unwrap().0, "192.0.2.1:53".parse().unwrap());
        assert_eq!(parse_datagram(&[0, 0, 0, 3, 1, b'a', 0, 53]), None, "a name");
    }

    #[test]
    fn datagram_header_names_the_destination() {
        assert_eq!(datagram_header("192.0.2.1:258".parse().unwrap()), [0, 0, 0, 1, 192, 0, 2, 1, 1, 2]);
        let v6 = datagram_header("[2001:db8::1]:53".parse().unwrap());
        assert_eq!((v6.len(), &v6[..6], &v6[20..]), (22, &[0, 0, 0, 4, 0x20, 1][..], &[0, 53][..]));
    }
}

//! Socket addresses as they lie in memory.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// `sizeof(struct sockaddr_in)`.
const V4_LEN: u32 = 16;
/// Shortest `struct sockaddr_in6` that Linux takes (RFC 2133's, without `sin6_scope_id`).
const V6_LEN: usize = 24;
/// `sizeof(struct sockaddr_storage)`.
const LEN_MAX: u32 = 128;

/// A socket address as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// AF_INET or AF_INET6, whole. An IPv4-mapped address stays as it came.
    Inet(SocketAddr),
    /// AF_UNSPEC: `connect` takes it as "disconnect".
    Unspecified,
    /// Anything else: too short (EINVAL) or of another family (EAFNOSUPPORT).
    Other {
        /// `sa_family`; 0 if not even that fits.
        family: u16,
        /// `socklen_t` as given.
        len: u32,
    },
    /// A null pointer (EFAULT) with a length other than 0.
    Null,
}

impl Address {
    /// Reads an address from the program's memory. `len` is the length that the program gave, and may be more than there are
    /// bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], len: u32) -> Self {
        let family = bytes.first_chunk::<2>().map_or(0, |family| u16::from_ne_bytes(*family));
        let other = Self::Other { family, len };
        if len > LEN_MAX || bytes.len() < 2 {
            return other;
        }
        let part = |at: usize| bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>().copied());
        let port = bytes.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        match i32::from(family) {
            libc::AF_UNSPEC => Self::Unspecified,
            libc::AF_INET if len >= V4_LEN => part(4)
                .map_or(other, |ip| Self::Inet(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))),
            libc::AF_INET6 => {
                let ip = bytes.get(8..V6_LEN).and_then(|ip| <[u8; 16]>::try_from(ip).ok());
                let flow = part(4).map_or(0, u32::from_be_bytes);
                let scope = part(V6_LEN).map_or(0, u32::from_ne_bytes);
                ip.map_or(other, |ip| {
                    Self::Inet(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
                })
            }
            _ => other,
        }
    }
}

/// `struct sockaddr_in` (16 bytes) or `sockaddr_in6` (28 bytes).
#[must_use]
pub fn socket_address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_crosses_memory_unchanged() {
        for text in ["192.0.2.1:8080", "[fd3d::1]:443", "[::ffff:192.0.2.1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let bytes = socket_address_bytes(address);
            assert_eq!(Address::from_bytes(&bytes, bytes.len() as u32), Address::Inet(address));
        }
        let full = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 0x12345, 3).into();
        assert_eq!(Address::from_bytes(&socket_address_bytes(full), 28), Address::Inet(full));
    }

    #[test]
    fn a_length_that_lies_gives_no_address() {
        let bytes = socket_address_bytes("192.0.2.1:80".parse().unwrap());
        for (len, family) in [(15, 2), (129, 2), (u32::MAX, 2)] {
            assert_eq!(Address::from_bytes(&bytes, len), Address::Other { family, len });
        }
        assert_eq!(Address::from_bytes(&bytes[..1], 1), Address::Other { family: 0, len: 1 });
        let v6 = socket_address_bytes("[::1]:80".parse().unwrap());
        assert_eq!(Address::from_bytes(&v6[..23], 23), Address::Other { family: 10, len: 23 });
        assert_eq!(Address::from_bytes(&[0, 0], 2), Address::Unspecified);
    }
}
